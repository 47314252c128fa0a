//! What tests of chips need: guest memory that is plain bytes, a random number generator whose
//! sequence never changes, and a bench that plays the board for one device.

use crate::device::{Access, Device, Dma, IsaTransfer, Time, TransferDirection, Width};

/// RAM from address 0, and one ISA DMA channel that is always ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestDma {
    /// Guest memory; reads past its end give FFh.
    pub ram: Vec<u8>,
    /// The buffer behind every ISA DMA channel.
    pub isa: Vec<u8>,
    /// Next byte of `isa` to be moved; terminal count is reached at its end.
    pub isa_position: usize,
}

impl TestDma {
    /// `size` bytes of zeroed RAM and no ISA buffer.
    #[must_use]
    pub fn new(size: usize) -> TestDma {
        TestDma { ram: vec![0; size], isa: Vec::new(), isa_position: 0 }
    }
    /// Programs the ISA channel for `bytes` bytes with the given content.
    pub fn arm_isa(&mut self, content: Vec<u8>) {
        self.isa = content;
        self.isa_position = 0;
    }
}

impl Dma for TestDma {
    fn read(&mut self, addr: u64, buf: &mut [u8]) {
        for (offset, byte) in buf.iter_mut().enumerate() {
            let at = usize::try_from(addr.wrapping_add(offset as u64)).unwrap_or(usize::MAX);
            *byte = self.ram.get(at).copied().unwrap_or(0xff);
        }
    }
    fn write(&mut self, addr: u64, buf: &[u8]) {
        for (offset, byte) in buf.iter().enumerate() {
            let at = usize::try_from(addr.wrapping_add(offset as u64)).unwrap_or(usize::MAX);
            if let Some(cell) = self.ram.get_mut(at) {
                *cell = *byte;
            }
        }
    }
    fn isa_transfer(&mut self, _channel: u8, direction: TransferDirection, buf: &mut [u8]) -> IsaTransfer {
        let rest = self.isa.get_mut(self.isa_position..).unwrap_or_default();
        let bytes = rest.len().min(buf.len());
        for (mine, theirs) in rest.iter_mut().zip(buf.iter_mut()) {
            match direction {
                TransferDirection::ToMemory => *mine = *theirs,
                TransferDirection::FromMemory => *theirs = *mine,
            }
        }
        self.isa_position += bytes;
        IsaTransfer { bytes, terminal_count: bytes != 0 && self.isa_position == self.isa.len() }
    }
}

/// A small generator (xorshift64*) whose sequence depends on the seed alone.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator started from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.bits() >> 11).checked_rem(bound).unwrap_or(0)
    }
}

/// Plays the board for one device: keeps the time and brings the device up to date before each
/// access, as [`Device`] asks.
#[derive(Debug)]
pub struct Bench<D> {
    /// The device under test.
    pub device: D,
    /// The current guest time.
    pub now: Time,
    /// Guest memory.
    pub dma: TestDma,
    /// Video memory.
    pub video: Vec<u8>,
}

impl<D: Device> Bench<D> {
    /// Puts a freshly reset device on the bench, with 64 KiB of RAM and no video memory.
    #[must_use]
    pub fn new(mut device: D) -> Bench<D> {
        device.reset();
        Bench { device, now: Time::ZERO, dma: TestDma::new(0x1_0000), video: Vec::new() }
    }
    /// Runs `action` with the device and an [`Access`] for the current time.
    pub fn with<R>(&mut self, action: impl FnOnce(&mut D, &mut Access<'_>) -> R) -> R {
        let mut access = Access { now: self.now, dma: &mut self.dma, video: &mut self.video };
        action(&mut self.device, &mut access)
    }
    /// Advances the device at the current time.
    pub fn advance(&mut self) {
        self.with(|device, access| device.advance(access));
    }
    /// Reads a register; `None` when the device does not answer.
    pub fn try_read(&mut self, register: u16, width: Width) -> Option<u32> {
        self.advance();
        let value = self.with(|device, access| device.port_io()?.read(access, register, width));
        self.advance();
        value
    }
    /// Reads a byte register; FFh when the device does not answer.
    pub fn read(&mut self, register: u16) -> u8 {
        self.try_read(register, Width::Byte).map_or(0xff, |value| value as u8)
    }
    /// Writes a register.
    pub fn write_wide(&mut self, register: u16, width: Width, value: u32) {
        self.advance();
        self.with(|device, access| device.port_io().and_then(|io| io.write(access, register, width, value)));
        self.advance();
    }
    /// Writes a byte register.
    pub fn write(&mut self, register: u16, value: u8) {
        self.write_wide(register, Width::Byte, u32::from(value));
    }
    /// Lets `nanoseconds` pass, stopping at each of the device's events on the way.
    pub fn run(&mut self, nanoseconds: u64) {
        let end = self.now.plus(nanoseconds);
        self.advance();
        while let Some(event) = self.device.next_event().filter(|event| *event <= end) {
            assert!(event > self.now, "the next event must lie in the future");
            self.now = event;
            self.advance();
        }
        self.now = end;
        self.advance();
    }
}
