//! The backdoor port of VMware (5658h) as far as an absolute pointer needs it.
//!
//! A guest puts a magic number and a command into its registers and executes `IN EAX, DX`; the
//! answer changes EAX to EDX. A port device cannot see registers, so this one has no port
//! interface: the board calls [`VmPort::call`] with them. Commands: 10 version, 39 pointer data,
//! 40 pointer status, 41 pointer command. Not emulated: all other commands (time, clipboard, RPC).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{Device, RestoreError, Saved};

/// The port whose reads the board hands to [`VmPort::call`].
pub const VMWARE_PORT: u16 = 0x5658;
const MAGIC: u32 = 0x564d_5868;

const GET_VERSION: u16 = 10;
const POINTER_DATA: u16 = 39;
const POINTER_STATUS: u16 = 40;
const POINTER_COMMAND: u16 = 41;

const COMMAND_ENABLE: u32 = 0x4541_4552;
const COMMAND_DISABLE: u32 = 0x0000_00f5;
const COMMAND_ABSOLUTE: u32 = 0x5342_4152;
const COMMAND_RELATIVE: u32 = 0x4c45_5252;

/// What the pointer says of itself after it was enabled.
const POINTER_ID: u32 = 0x3442_554a;
/// Status when the pointer is off or its queue was read wrongly: the guest enables it again.
const STATUS_ERROR: u32 = 0xffff_0000;
/// Words of movement that wait for the guest.
const QUEUE_SIZE: usize = 1024;
const PACKET_WORDS: usize = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    enabled: bool,
    absolute: bool,
    error: bool,
    queue: VecDeque<u32>,
}

/// The backdoor.
#[derive(Debug, Default)]
pub struct VmPort {
    state: State,
}

impl VmPort {
    /// A backdoor whose pointer is off.
    #[must_use]
    pub fn new() -> VmPort {
        VmPort::default()
    }
    /// Whether a driver in the guest wants absolute positions. While it does, the host sends
    /// them to [`pointer`](VmPort::pointer) and wakes the driver with a movement of one count of
    /// the PS/2 mouse.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.state.enabled && self.state.absolute
    }
    /// The pointer is at (`x`, `y`), where 0 and FFFFh are the edges of the screen. `wheel`
    /// counts towards the user; `buttons` are those held (bit 0 left, 1 right, 2 middle).
    pub fn pointer(&mut self, x: u16, y: u16, wheel: i8, buttons: u8) {
        if !self.is_absolute() || self.state.queue.len() + PACKET_WORDS > QUEUE_SIZE {
            return;
        }
        let held = |bit: u8, word: u32| if buttons & bit != 0 { word } else { 0 };
        let buttons = held(1, 0x20) | held(2, 0x10) | held(4, 0x08);
        self.state.queue.extend([buttons, u32::from(x), u32::from(y), i32::from(wheel) as u32]);
    }
    /// `IN EAX, DX` at the port with EAX, EBX, ECX, EDX: what they become, or `None` when the
    /// magic number is missing or the command unknown, and the read is like that of an empty port.
    pub fn call(&mut self, registers: [u32; 4]) -> Option<[u32; 4]> {
        let [eax, ebx, ecx, edx] = registers;
        if eax != MAGIC {
            return None;
        }
        let state = &mut self.state;
        match ecx as u16 {
            // Version 6, product "workstation".
            GET_VERSION => Some([6, MAGIC, 4, edx]),
            POINTER_STATUS => {
                let broken = state.error || !state.enabled;
                Some([if broken { STATUS_ERROR } else { state.queue.len() as u32 }, ebx, ecx, edx])
            }
            POINTER_DATA => {
                let words = ebx as usize;
                if words == 0 || words > 4 || words > state.queue.len() {
                    state.error = true;
                    return Some([STATUS_ERROR, ebx, ecx, edx]);
                }
                let mut answer = registers;
                for (register, word) in answer.iter_mut().zip(state.queue.drain(..words)) {
                    *register = word;
                }
                Some(answer)
            }
            POINTER_COMMAND => {
                match ebx {
                    COMMAND_ENABLE => {
                        state.enabled = true;
                        state.error = false;
                        state.queue.clear();
                        state.queue.push_back(POINTER_ID);
                    }
                    COMMAND_DISABLE => *state = State::default(),
                    COMMAND_ABSOLUTE => state.absolute = true,
                    COMMAND_RELATIVE => state.absolute = false,
                    _ => {}
                }
                Some([0, ebx, ecx, edx])
            }
            _ => None,
        }
    }
}

impl Device for VmPort {
    fn name(&self) -> &'static str {
        "vmport"
    }
    fn reset(&mut self) {
        self.state = State::default();
    }
    fn save(&self) -> Saved {
        let Self { state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.queue.len() > QUEUE_SIZE {
            return Err(RestoreError::OutOfRange("queue"));
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    crate::device_conformance!(conforms, VmPort::new());

    fn call(port: &mut VmPort, command: u16, ebx: u32) -> Option<[u32; 4]> {
        port.call([MAGIC, ebx, u32::from(command), u32::from(VMWARE_PORT)])
    }

    #[test]
    fn driver_sequence() {
        let mut port = VmPort::new();
        assert_eq!(port.call([0, 0, 10, 0x5658]), None);
        assert_eq!(call(&mut port, GET_VERSION, 0).map(|answer| answer[1]), Some(MAGIC));
        assert_eq!(call(&mut port, POINTER_STATUS, 0).map(|answer| answer[0]), Some(STATUS_ERROR));
        call(&mut port, POINTER_COMMAND, COMMAND_ENABLE);
        assert_eq!(call(&mut port, POINTER_STATUS, 0).map(|answer| answer[0]), Some(1));
        assert_eq!(call(&mut port, POINTER_DATA, 1).map(|answer| answer[0]), Some(POINTER_ID));
        port.pointer(1, 2, 0, 0);
        assert!(!port.is_absolute());
        call(&mut port, POINTER_COMMAND, COMMAND_ABSOLUTE);
        port.pointer(0x8000, 0xffff, -1, 0x3);
        assert_eq!(call(&mut port, POINTER_STATUS, 0).map(|answer| answer[0]), Some(4));
        assert_eq!(call(&mut port, POINTER_DATA, 4), Some([0x30, 0x8000, 0xffff, u32::MAX]));
        assert_eq!(call(&mut port, POINTER_DATA, 4).map(|answer| answer[0]), Some(STATUS_ERROR));
        call(&mut port, POINTER_COMMAND, COMMAND_DISABLE);
        assert!(!port.is_absolute());
    }

    #[test]
    fn random_calls_are_harmless() {
        let (mut port, mut random) = (VmPort::new(), Random::new(1));
        for _ in 0..10_000 {
            let (command, argument) = (random.below(50) as u16, random.below(8) as u32);
            call(&mut port, command, argument);
            call(&mut port, POINTER_COMMAND, [COMMAND_ENABLE, COMMAND_ABSOLUTE][random.below(2) as usize]);
            port.pointer(random.bits() as u16, 0, 0, 0);
        }
        assert!(port.state.queue.len() <= QUEUE_SIZE);
    }
}
