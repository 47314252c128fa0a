//! What a faster tier above the interpreter has to offer.

use crate::core::{Core, Env};
use crate::helpers::interrupts;
use crate::memory::{CodeWrite, GuestMemory, HostPage, PAGE};
use crate::state::{CpuState, Exception, Mode, Seg};

/// Bits for linear pages in which code was entered.
const ENTERED: usize = 1 << 14;
/// Block entries remembered for reports.
const TRAIL: usize = 32;
/// Exceptions remembered for reports.
const EXCEPTIONS: usize = 16;

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

/// What an engine keeps of the moments between instructions. Native code that goes on by itself behind an
/// exception or a change of mode or of translations does there, with this, what the interpreter would do.
pub struct Boundary {
    /// Rises when translations from IP to memory may have changed: ways inside a page still hold.
    translations: u64,
    /// Native code has gone on in another mode, code segment or epoch of translations.
    moved: bool,
    /// One bit for each of the linear pages, modulo their number, in which code was entered.
    entered: Box<[u64; ENTERED / 64]>,
    /// Exceptions and interrupts delivered.
    delivered: u64,
    trail: [(u16, u64); TRAIL],
    trail_at: usize,
    exceptions: Vec<(u8, Option<u32>, u16, u64)>,
}

impl Default for Boundary {
    fn default() -> Boundary {
        Boundary {
            translations: 1,
            moved: false,
            entered: Box::new([0; ENTERED / 64]),
            delivered: 0,
            trail: [(0, 0); TRAIL],
            trail_at: 0,
            exceptions: Vec::new(),
        }
    }
}

impl Boundary {
    /// The epoch of translations: code that was entered in it is still mapped as it was then.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.translations
    }
    /// Any translation may have changed.
    pub(super) fn changed(&mut self) {
        self.translations += 1;
    }
    /// Takes note of what the last instruction has done to translations.
    #[inline]
    pub fn settle(&mut self, env: &mut Env<'_>) {
        if env.flush_code {
            env.flush_code = false;
            match env.flushed_page.take() {
                Some(linear) if !self.has_entered(linear) => {}
                _ => self.changed(),
            }
        }
    }
    /// Native code goes on in another mode, code segment or epoch than those in which it was entered.
    pub fn set_moved(&mut self) {
        self.moved = true;
    }
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }
    /// Delivers an exception.
    pub fn deliver(&mut self, cpu: &mut CpuState, env: &mut Env<'_>, exception: Exception) {
        if self.exceptions.len() >= EXCEPTIONS {
            self.exceptions.remove(0);
        }
        self.exceptions.push((exception.vector, exception.error, cpu.segment(Seg::Cs).selector, cpu.rip));
        env.stepping = true;
        interrupts::deliver(&mut Core { cpu, env }, exception);
        env.stepping = false;
        self.count(cpu);
    }
    /// Counts something that was delivered just now.
    pub(super) fn count(&mut self, cpu: &CpuState) {
        self.delivered += 1;
        self.note(cpu);
    }
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }
    /// Remembers where control is now, for reports.
    pub(super) fn note(&mut self, cpu: &CpuState) {
        self.trail[self.trail_at] = (cpu.segment(Seg::Cs).selector, cpu.rip);
        self.trail_at = (self.trail_at + 1) % TRAIL;
    }
    /// See [`super::Interpreter::trail`].
    pub(super) fn trail(&self) -> Vec<(u16, u64)> {
        let mut trail: Vec<_> = self.trail[self.trail_at..].to_vec();
        trail.extend_from_slice(&self.trail[..self.trail_at]);
        trail
    }
    pub(super) fn exceptions(&self) -> &[(u8, Option<u32>, u16, u64)] {
        &self.exceptions
    }
    fn has_entered(&self, linear: u64) -> bool {
        let page = (linear / PAGE) as usize % ENTERED;
        self.entered[page / 64] >> (page % 64) & 1 != 0
    }
    /// The page of `linear` is one in which code was entered: its translation counts from now on.
    pub fn note_entry(&mut self, linear: u64) {
        let page = (linear / PAGE) as usize % ENTERED;
        self.entered[page / 64] |= 1 << (page % 64);
    }
}

/// A tier above the interpreter. The interpreter counts how often blocks run, asks for native code
/// of those that become hot, and runs it in place of them. Native code keeps the processor state,
/// the budget and the moments of all events exactly as the interpreter would.
pub trait Tier {
    /// Whether there is anything above the interpreter.
    const ACTIVE: bool;
    /// How many ticks make a block hot.
    fn threshold(&self) -> u32;
    /// Number of the native code that begins at `place`, where the processor is now; 0 when there is none.
    fn find(&mut self, place: &Place, cpu: &CpuState, env: &mut Env<'_>) -> u32;
    /// The block at `place` is hot, and is the current one. `known` tells which blocks have run.
    fn hot(&mut self, place: &Place, known: &dyn Fn(&Place) -> bool, cpu: &mut CpuState, env: &mut Env<'_>);
    /// Gives `install` the places and numbers of native code that has become ready, and with 0 places of blocks inside
    /// of it, which the interpreter will hardly come to again.
    fn collect(&mut self, install: impl FnMut(&Place, u32));
    /// Runs native code `number` at the current IP. Translations of addresses are valid for the
    /// code that the interpreter has entered in the same epoch.
    fn run(&mut self, number: u32, boundary: &mut Boundary, cpu: &mut CpuState, env: &mut Env<'_>) -> Native;
    /// Whether the code that ran last was left because it did not know any more how its target is
    /// mapped.
    fn is_unsure(&mut self) -> bool {
        false
    }
    /// The interpreter has entered the code at `place`, which runs over into `second`: in this
    /// `epoch` the pages are mapped so.
    fn entered(&mut self, place: &Place, second: Option<HostPage>, epoch: u64);
    /// Code was overwritten: drops the native code that is affected. Unless all is still `marked`, marks of code in that
    /// page have been taken away, and it marks the rest again.
    fn overwritten(&mut self, write: CodeWrite, marked: bool, memory: &mut GuestMemory);
}

/// No tier above.
pub struct Alone;

impl Tier for Alone {
    const ACTIVE: bool = false;
    fn threshold(&self) -> u32 {
        0
    }
    fn find(&mut self, _place: &Place, _cpu: &CpuState, _env: &mut Env<'_>) -> u32 {
        0
    }
    fn hot(&mut self, _place: &Place, _known: &dyn Fn(&Place) -> bool, _cpu: &mut CpuState, _env: &mut Env<'_>) {}
    fn collect(&mut self, _install: impl FnMut(&Place, u32)) {}
    fn run(&mut self, _number: u32, _boundary: &mut Boundary, _cpu: &mut CpuState, _env: &mut Env<'_>) -> Native {
        Native::None
    }
    fn entered(&mut self, _place: &Place, _second: Option<HostPage>, _epoch: u64) {}
    fn overwritten(&mut self, _write: CodeWrite, _marked: bool, _memory: &mut GuestMemory) {}
}
