//! The chips of a PC.
//!
//! Each file is one chip: a passive register machine that knows no board. It gets the current
//! guest time as an argument, answers when it next needs to run, drives wires ([`Line`]) whose
//! other end it does not know, and reaches guest memory only through [`Dma`].
//! Port numbers and IRQ numbers live in the board (crate `beigebox`), never here.

pub mod device;
pub mod line;

pub use device::{
    Access, Bar, Device, Dma, IsaTransfer, Mmio, PciFunction, PortIo, RestoreError, Saved, Time, TransferDirection,
    Width,
};
pub use line::{Attention, Line};
