//! There is no quick translator for this host.
#![allow(unsafe_code, reason = "has the quick translator's functions, which do nothing here")]
#![allow(dead_code, reason = "has its types, which nobody looks into here")]

use crate::piece::Made;
use crate::region::Region;
use crate::survey::Surveyor;
use cpu::insn::Insn;
use cpu::state::Mode;

pub(crate) fn takes(_mode: Mode, _base: u64) -> bool {
    false
}
pub(crate) fn survey(_surveyor: &mut Surveyor, _insn: &Insn) -> bool {
    false
}

pub(crate) fn translate(_region: &Region) -> Option<Made> {
    None
}

pub(crate) mod stubs {
    pub(crate) fn link() -> u64 {
        0
    }
    pub(crate) fn entered(_words: &mut [u64], _memory: &cpu::memory::GuestMemory) {}
    pub(crate) fn set_functions(_words: &mut [u64]) {}
    /// # Safety
    /// There are no conditions.
    pub(crate) unsafe fn returned(_words: *mut u64) {}
}
