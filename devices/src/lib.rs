//! The chips of a PC.
//!
//! Each file is one chip: a passive register machine that knows no board. It gets the current
//! guest time as an argument, answers when it next needs to run, drives wires ([`Line`]) whose
//! other end it does not know, and reaches guest memory only through [`Dma`].
//! Port numbers and IRQ numbers live in the board (crate `beigebox`), never here.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod ata;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod debug_exit;
pub mod debugcon;
pub mod device;
pub mod dma;
pub mod floppy;
pub mod fw_cfg;
pub mod i8042;
pub mod keyboard;
pub mod line;
pub mod mouse;
pub mod ne2000;
pub mod network;
pub mod opl;
pub mod parallel;
pub mod pci;
pub mod pic;
pub mod piix;
pub mod pit;
pub mod port92;
pub mod post;
pub mod rtc;
pub mod sb16;
pub mod sound;
pub mod speaker;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod uart;
pub mod vga;
pub mod vmport;

pub use device::{
    Access, Bar, Device, Dma, IsaTransfer, Mmio, PciFunction, PortIo, RestoreError, Saved, Time, TransferDirection,
    Width,
};
pub use line::{Attention, Line};
