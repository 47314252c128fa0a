//! Devices of the embedder's own.
//!
//! A [`Device`] is what every chip of the board is: it is handed guest time and answers when it next
//! wants to run, it drives interrupt lines, and it reaches RAM by DMA and nothing else. An
//! [`Attachment`] says at which ports and addresses the guest finds it.
//!
//! ```
//! use beigebox::custom::{Access, Attachment, Device, PortIo, RestoreError, Saved, Width};
//! use beigebox::{Machine, Stop};
//!
//! /// Adds up what is written to its port.
//! #[derive(Default)]
//! struct Adder {
//!     sum: u32,
//! }
//! impl Device for Adder {
//!     fn name(&self) -> &'static str {
//!         "adder"
//!     }
//!     fn reset(&mut self) {
//!         self.sum = 0;
//!     }
//!     fn port_io(&mut self) -> Option<&mut dyn PortIo> {
//!         Some(self)
//!     }
//!     fn save(&self) -> Saved {
//!         Saved::of(&self.sum)
//!     }
//!     fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
//!         self.sum = state.decode()?;
//!         Ok(())
//!     }
//! }
//! impl PortIo for Adder {
//!     fn read(&mut self, _: &mut Access<'_>, _register: u16, width: Width) -> Option<u32> {
//!         (width == Width::Byte).then_some(self.sum & 0xff)
//!     }
//!     fn write(&mut self, _: &mut Access<'_>, _register: u16, width: Width, value: u32) -> Option<()> {
//!         (width == Width::Byte).then(|| self.sum = self.sum.wrapping_add(value))
//!     }
//! }
//!
//! # fn main() -> Result<(), beigebox::BuildError> {
//! // mov al,20; out 50h,al; out 50h,al; hlt, and the reset vector
//! let mut bios = vec![0xf4; 0x1_0000];
//! bios[..6].copy_from_slice(&[0xb0, 20, 0xe6, 0x50, 0xe6, 0x50]);
//! bios[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
//! let adder = Attachment::new(|_| Adder::default()).ports(0x50..=0x50);
//! let mut pc = Machine::builder().bios(bios).device(adder).build()?;
//! assert_eq!(pc.run_for(1_000_000), Stop::Hang);
//! assert_eq!(pc.with_device(|adder: &mut Adder| adder.sum), Some(40));
//! # Ok(()) }
//! ```
//!
//! A device takes part in [`Machine::save`], [`Machine::restore`] and [`Machine::state_hash`].

use crate::bus::Board;
use crate::run::{BuildError, Machine};
use devices::pic::PicPair;
pub use devices::{
    Access, Attention, Device, Dma, IsaTransfer, Line, Mmio, PortIo, RestoreError, Saved, Time, TransferDirection,
    Width,
};
use std::any::Any;
use std::cell::Cell;
use std::ops::RangeInclusive;

/// A device of any type, which can be asked for that type.
pub(crate) trait Attached: Device + Any {}
impl<D: Device + Any> Attached for D {}

/// The wires that lead to a slot of the board.
pub struct Slot<'a> {
    pic: &'a PicPair,
    nmi: &'a Line,
    bad: Cell<Option<u8>>,
}

impl Slot<'_> {
    /// An end of the wire of interrupt request `number`: 3 to 7, 9 to 12, 14 or 15, shared with whatever
    /// else is on it. Another number makes [`crate::Builder::build`] fail.
    #[must_use]
    pub fn irq(&self, number: u8) -> Line {
        if matches!(number, 3..=7 | 9..=12 | 14 | 15) {
            return self.pic.irq(number);
        }
        self.bad.set(Some(number));
        Line::detached()
    }
    /// An end of the wire to the non-maskable interrupt.
    #[must_use]
    pub fn nmi(&self) -> Line {
        self.nmi.share()
    }
}

type Make = Box<dyn FnOnce(&Slot<'_>) -> Box<dyn Attached> + Send>;

/// A device to be put on the board, and where the guest finds it.
pub struct Attachment {
    make: Make,
    ports: Vec<(RangeInclusive<u16>, u16)>,
    memory: Vec<(u64, u64)>,
}

impl Attachment {
    /// A device made by `make` when the machine is built.
    pub fn new<D: Device + 'static>(make: impl FnOnce(&Slot<'_>) -> D + Send + 'static) -> Attachment {
        Attachment { make: Box::new(|slot| Box::new(make(slot))), ports: Vec::new(), memory: Vec::new() }
    }
    /// These ports are its registers 0 and up, behind those of earlier calls. What the board has there is hidden.
    #[must_use]
    pub fn ports(mut self, ports: RangeInclusive<u16>) -> Attachment {
        let used: usize = self.ports.iter().map(|(range, _)| range.len()).sum();
        self.ports.push((ports, used.min(0xffff) as u16));
        self
    }
    /// `length` bytes of guest-physical addresses from `address` on are its window 0, of a second call its window 1
    /// and so on. Both must be multiples of 4096. RAM there is hidden.
    #[must_use]
    pub fn memory(mut self, address: u64, length: u64) -> Attachment {
        self.memory.push((address, length));
        self
    }
}

/// A device on the board.
pub(crate) struct Extra {
    pub(crate) device: Box<dyn Attached>,
    /// Ports, and the register at the first.
    pub(crate) ports: Vec<(RangeInclusive<u16>, u16)>,
    /// First and last address of each window.
    pub(crate) windows: Vec<(u64, u64)>,
    /// Tick at which it next wants to run.
    pub(crate) deadline: u64,
}

/// Most devices on one board.
const MOST: usize = 32;

/// Makes the devices and checks where they are to be.
pub(crate) fn make(board: &Board, attachments: Vec<Attachment>) -> Result<Vec<Extra>, BuildError> {
    let bad = |text: String| Err(BuildError::Device(text));
    let mut extras: Vec<Extra> = Vec::new();
    if attachments.len() > MOST {
        return bad(format!("{} devices of one's own; a board has room for {MOST}", attachments.len()));
    }
    for Attachment { make, ports, memory } in attachments {
        let slot = Slot { pic: &board.chips.pic, nmi: &board.wires.nmi, bad: Cell::new(None) };
        let device = make(&slot);
        let name = device.name();
        if let Some(number) = slot.bad.get() {
            return bad(format!("{name}: there is no interrupt request {number} for devices; use 3-7, 9-12, 14 or 15"));
        }
        let mut windows = Vec::new();
        for (first, length) in memory {
            let last = first.checked_add(length).and_then(|end| end.checked_sub(1));
            let Some(last) = last.filter(|last| length != 0 && (first | length) % 4096 == 0 && *last < 1 << 40) else {
                return bad(format!(
                    "{name}: memory at {first:#x}, {length:#x} bytes: both must be multiples of 4096, below 1 TiB"
                ));
            };
            windows.push((first, last));
        }
        for (range, _) in &ports {
            if range.is_empty() {
                return bad(format!("{name}: ports {range:x?}: none"));
            }
        }
        let meets = |other: &Extra| {
            let same_ports =
                |a: &RangeInclusive<u16>, b: &RangeInclusive<u16>| a.start() <= b.end() && b.start() <= a.end();
            other.ports.iter().any(|(a, _)| ports.iter().any(|(b, _)| same_ports(a, b)))
                || other.windows.iter().any(|a| windows.iter().any(|b| a.0 <= b.1 && b.0 <= a.1))
        };
        if let Some(other) = extras.iter().find(|other| meets(other)) {
            return bad(format!("{name} and {} are at the same ports or addresses", other.device.name()));
        }
        extras.push(Extra { device, ports, windows, deadline: u64::MAX });
    }
    Ok(extras)
}

impl Machine {
    /// Hands the first device of type `D` to `action`, brought up to date; wires that it has changed are followed
    /// afterwards. `None` when there is no such device.
    pub fn with_device<D: Device + 'static, R>(&mut self, action: impl FnOnce(&mut D) -> R) -> Option<R> {
        let is_it = |extra: &crate::custom::Extra| (&*extra.device as &dyn Any).is::<D>();
        let index = self.board.extras.iter().position(is_it)?;
        let ticks = self.cpu.ticks;
        let result = self.board.touch_extra(index, &mut self.memory, ticks, |device, _| {
            (device as &mut dyn Any).downcast_mut().map(action)
        });
        self.board.extra_changed(index, &mut self.memory, ticks);
        result
    }
}
