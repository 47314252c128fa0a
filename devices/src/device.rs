//! What a chip is to the board that carries it: the [`Device`] contract and its parts.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Nanoseconds of guest time since power-on. Stands still while the machine is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

impl Time {
    /// The moment of power-on.
    pub const ZERO: Time = Time(0);
    /// A moment `nanoseconds` later; saturates at the end of time.
    #[must_use]
    pub const fn plus(self, nanoseconds: u64) -> Time {
        Time(self.0.saturating_add(nanoseconds))
    }
    /// Nanoseconds from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Number of whole ticks of a clock of `hertz` from power-on to this moment.
    #[inline]
    #[must_use]
    pub const fn ticks(self, hertz: u64) -> u64 {
        if hertz <= SECOND {
            // Whole seconds apart, so that nothing needs 128 bits.
            return (self.0 / SECOND).wrapping_mul(hertz).wrapping_add(self.0 % SECOND * hertz / SECOND);
        }
        (self.0 as u128 * hertz as u128 / SECOND as u128) as u64
    }
    /// The first moment at which a clock of `hertz` has made `ticks` ticks since power-on:
    /// `Time::of_tick(n, hz).ticks(hz) == n`.
    #[inline]
    #[must_use]
    pub const fn of_tick(ticks: u64, hertz: u64) -> Time {
        if 0 < hertz && hertz <= SECOND {
            let part = (ticks % hertz * SECOND).div_ceil(hertz);
            return Time((ticks / hertz).wrapping_mul(SECOND).wrapping_add(part));
        }
        Time((ticks as u128 * SECOND as u128).div_ceil(hertz as u128) as u64)
    }
}

/// Width of one access on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Word = 2,
    /// 32 bits.
    Dword = 4,
    /// 64 bits (memory only).
    Qword = 8,
}

impl Width {
    /// Number of bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self as u32
    }
    /// A mask with the low `bytes() * 8` bits set.
    #[must_use]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self as u32)
    }
}

/// Which way an ISA DMA transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferDirection {
    /// The device gives bytes, memory takes them (8237 "write transfer").
    ToMemory,
    /// Memory gives bytes, the device takes them (8237 "read transfer").
    FromMemory,
}

/// What became of an ISA DMA transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IsaTransfer {
    /// Bytes that were moved; 0 when the channel is masked, disabled or set up for the other way.
    pub bytes: usize,
    /// The channel reached terminal count (the TC pin was raised) with the last of these bytes.
    pub terminal_count: bool,
}

/// Guest memory as a bus master sees it.
///
/// DMA reaches RAM only. Bytes outside RAM read as FFh and writes to them are dropped: a device
/// that could write to another device's registers opens a whole class of re-entrancy bugs.
pub trait Dma {
    /// Copies guest-physical memory at `addr` into `buf`.
    fn read(&mut self, addr: u64, buf: &mut [u8]);
    /// Copies `buf` to guest-physical memory at `addr`.
    fn write(&mut self, addr: u64, buf: &[u8]);
    /// Moves up to `buf.len()` bytes over ISA DMA channel `channel` (0–3 bytes, 5–7 words), as
    /// the 8237 pair is programmed. The device calls this when it would raise DREQ.
    fn isa_transfer(&mut self, channel: u8, direction: TransferDirection, buf: &mut [u8]) -> IsaTransfer;
}

/// What a device is handed for the length of one call.
pub struct Access<'a> {
    /// The current guest time. Never goes back from one call to the next.
    pub now: Time,
    /// Guest memory and the ISA DMA channels.
    pub dma: &'a mut dyn Dma,
    /// The video memory of the machine, which the processor may also reach directly through the
    /// linear framebuffer. Empty on a machine without a display adapter. Only the display adapter
    /// uses it.
    pub video: &'a mut [u8],
}

/// A chip.
///
/// The board calls `reset` once before anything else. It brings a device up to date with
/// `advance` before each access and whenever `next_event` has come. Nothing a guest does may make
/// any of these panic or loop without bound.
pub trait Device: Send {
    /// Short name for logs and saved states, unique per kind of chip: `"uart"`, `"pit"`.
    fn name(&self) -> &'static str;
    /// Power-on state. Wires keep their connections and drop to low.
    fn reset(&mut self);
    /// Brings internal state up to `cx.now`: count, shift, raise lines.
    fn advance(&mut self, _cx: &mut Access<'_>) {}
    /// When `advance` must next run even if the guest touches nothing. After `advance(cx)` the
    /// answer lies strictly later than `cx.now`.
    fn next_event(&self) -> Option<Time> {
        None
    }
    /// The chip's port interface, if it has one.
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        None
    }
    /// The chip's memory-mapped interface, if it has one.
    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        None
    }
    /// The chip's PCI function, if it has one.
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        None
    }
    /// The complete state, without wires and without host resources.
    fn save(&self) -> Saved;
    /// Takes over a saved state; validates every value that is later used as an index or length.
    /// Levels of outgoing lines are set again, which makes no edge.
    ///
    /// # Errors
    /// When the bytes do not decode or hold a value that this chip can never have. The device is
    /// then unchanged.
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError>;
}

/// Registers reached by IN and OUT.
pub trait PortIo {
    /// Reads register `register` (numbered as the chip's module says, not by port). `None` means
    /// that nobody answers: the bus supplies all ones and logs it once per port.
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32>;
    /// Writes register `register`. `None` means that nobody took it.
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()>;
}

/// Registers or memory reached by load and store. `offset` counts from the start of the window
/// `window` (numbered as the chip's module says) at which the board attached the chip.
pub trait Mmio {
    /// Reads `width` bytes at `offset` of window `window`; `None` when nobody answers.
    fn read(&mut self, cx: &mut Access<'_>, window: u8, offset: u64, width: Width) -> Option<u64>;
    /// Writes `width` bytes at `offset` of window `window`; `None` when nobody takes it.
    fn write(&mut self, cx: &mut Access<'_>, window: u8, offset: u64, width: Width, value: u64) -> Option<()>;
}

/// One function of a PCI device: its 256 bytes of configuration space. Where its base address
/// registers put it is asked by the board after each configuration write.
pub trait PciFunction {
    /// Reads the dword-aligned configuration register at `offset` (0, 4, … 252).
    fn config_read(&mut self, offset: u8) -> u32;
    /// Writes bytes of the dword-aligned configuration register at `offset`; `mask` has FFh in
    /// each byte lane that is written.
    fn config_write(&mut self, offset: u8, value: u32, mask: u32);
    /// Where base address register `index` (0–5; 6 is the expansion ROM) now decodes, or `None`
    /// when it does not exist, is disabled by the command register, or is not yet set.
    fn bar(&self, _index: u8) -> Option<Bar> {
        None
    }
}

/// A region that a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// I/O ports `base .. base + size`.
    Io {
        /// First port.
        base: u16,
        /// Number of ports.
        size: u16,
    },
    /// Guest-physical memory `base .. base + size`.
    Memory {
        /// First address.
        base: u64,
        /// Size in bytes.
        size: u64,
    },
}

/// The serialized state of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved(pub Vec<u8>);

impl Saved {
    /// Encodes a saved-state struct.
    #[must_use]
    pub fn of<T: Serialize>(state: &T) -> Saved {
        // Encoding into a growing vector has no failure case for plain data.
        Saved(postcard::to_allocvec(state).unwrap_or_default())
    }
    /// Decodes a saved-state struct.
    ///
    /// # Errors
    /// [`RestoreError::Malformed`] when the bytes are not such a struct, or not all of them are used.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, RestoreError> {
        match postcard::take_from_bytes(&self.0) {
            Ok((state, [])) => Ok(state),
            _ => Err(RestoreError::Malformed),
        }
    }
}

/// Why a saved state was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes do not decode as this device's state.
    #[error("the saved state does not decode")]
    Malformed,
    /// The named field holds a value that the device can never have.
    #[error("the saved state holds an impossible value in field `{0}`")]
    OutOfRange(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_exact_to_the_end_of_time() {
        let mut noise = 1u64;
        for _ in 0..10_000 {
            noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let time = noise >> (noise >> 58);
            for hertz in [1, 32_768, 1_193_182, 3_579_545, 28_322_000, SECOND, 5 * SECOND] {
                let ticks = (u128::from(time) * u128::from(hertz) / u128::from(SECOND)) as u64;
                assert_eq!(Time(time).ticks(hertz), ticks);
                let first = (u128::from(time) * u128::from(SECOND)).div_ceil(u128::from(hertz)) as u64;
                assert_eq!(Time::of_tick(time, hertz), Time(first));
            }
        }
    }
}
