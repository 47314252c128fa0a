//! What a faster tier above the interpreter has to offer.

use crate::core::Env;
use crate::memory::{CodeWrite, GuestMemory, HostPage};
use crate::state::{CpuState, Mode};

/// What makes two pieces of code the same block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The page in which it starts.
    pub page: HostPage,
    /// Where in that page.
    pub offset: u16,
    /// The mode in which it is decoded.
    pub mode: Mode,
    /// Limit of CS.
    pub limit: u32,
    /// Offset in CS.
    pub ip: u64,
    /// Base of CS.
    pub base: u64,
}

/// How [`Tier::run`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// [`Env::successor`] says where to go on: `INDIRECT` at `rip`, `LEFT` or `SLOW`.
    Ran,
    /// The budget does not cover the block at `rip`.
    Short,
    /// The instruction at `rip` is one for the interpreter.
    Step,
    /// There is no such code any more; nothing was run.
    None,
}

/// A tier above the interpreter. The interpreter counts how often blocks run, asks for native code
/// of those that become hot, and runs it in place of them. Native code keeps the processor state,
/// the budget and the moments of all events exactly as the interpreter would.
pub trait Tier {
    /// Whether there is anything above the interpreter.
    const ACTIVE: bool;
    /// How many ticks make a block hot.
    fn threshold(&self) -> u32;
    /// Number of the native code that begins at `place`; 0 when there is none.
    fn find(&mut self, place: &Place) -> u32;
    /// The block at `place` is hot, and is the current one. `known` tells which blocks have run.
    fn hot(&mut self, place: &Place, known: &dyn Fn(&Place) -> bool, cpu: &mut CpuState, env: &mut Env<'_>);
    /// Gives `install` the places and numbers of native code that has become ready.
    fn collect(&mut self, install: impl FnMut(&Place, u32));
    /// Runs native code `number` at the current IP. Translations of addresses are valid for the
    /// code that the interpreter has entered in the same `epoch`.
    fn run(&mut self, number: u32, epoch: u64, cpu: &mut CpuState, env: &mut Env<'_>) -> Native;
    /// Whether the code that ran last was left because it did not know any more how its target is
    /// mapped.
    fn is_unsure(&mut self) -> bool {
        false
    }
    /// The interpreter has entered the code at `place`, which runs over into `second`: in this
    /// `epoch` the pages are mapped so.
    fn entered(&mut self, place: &Place, second: Option<HostPage>, epoch: u64);
    /// Code was overwritten, and marks of code in that page have been taken away: drops the native
    /// code that is affected and marks the rest again.
    fn overwritten(&mut self, write: CodeWrite, memory: &mut GuestMemory);
    /// Drops all native code.
    fn forget(&mut self, memory: &mut GuestMemory);
}

/// No tier above.
pub struct Alone;

impl Tier for Alone {
    const ACTIVE: bool = false;
    fn threshold(&self) -> u32 {
        0
    }
    fn find(&mut self, _place: &Place) -> u32 {
        0
    }
    fn hot(&mut self, _place: &Place, _known: &dyn Fn(&Place) -> bool, _cpu: &mut CpuState, _env: &mut Env<'_>) {}
    fn collect(&mut self, _install: impl FnMut(&Place, u32)) {}
    fn run(&mut self, _number: u32, _epoch: u64, _cpu: &mut CpuState, _env: &mut Env<'_>) -> Native {
        Native::None
    }
    fn entered(&mut self, _place: &Place, _second: Option<HostPage>, _epoch: u64) {}
    fn overwritten(&mut self, _write: CodeWrite, _memory: &mut GuestMemory) {}
    fn forget(&mut self, _memory: &mut GuestMemory) {}
}
