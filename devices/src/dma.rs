//! The ISA DMA controllers: two Intel 8237A (data sheet 231466) and the page registers of an AT.
//!
//! Registers: 00h–0Fh the first controller (ports 00h–0Fh, channels 0–3, bytes), 20h–3Fh the
//! second (ports C0h–DFh, every other one, channels 4–7, words), 40h–4Fh the page registers
//! (ports 80h–8Fh).
//!
//! A transfer takes no guest time and moves as much as the device offers, whether the channel is
//! set for single, block or demand transfers: what differs between these is only who has the bus
//! in between. Not emulated: gating of the first controller by channel 4's mask, bus timing
//! (compressed, extended write), the priority order, and software requests other than
//! memory-to-memory.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, Dma, IsaTransfer, PortIo, RestoreError, Saved, TransferDirection, Width};

const COMMAND_MEMORY_TO_MEMORY: u8 = 0x01;
const COMMAND_HOLD_ADDRESS: u8 = 0x02;
const COMMAND_DISABLE: u8 = 0x04;
const MODE_AUTO_INITIALIZE: u8 = 0x10;
const MODE_DECREMENT: u8 = 0x20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    base_address: u16,
    base_count: u16,
    address: u16,
    count: u16,
    mode: u8,
}

impl Channel {
    /// One unit was moved; true when it was the last.
    fn step(&mut self, hold: bool) -> bool {
        if hold {
        } else if self.mode & MODE_DECREMENT != 0 {
            self.address = self.address.wrapping_sub(1);
        } else {
            self.address = self.address.wrapping_add(1);
        }
        self.count = self.count.wrapping_sub(1);
        self.count == 0xffff
    }
    fn reload(&mut self) {
        self.address = self.base_address;
        self.count = self.base_count;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Controller {
    channels: [Channel; 4],
    command: u8,
    mask: u8,
    request: u8,
    /// Terminal counts reached since the status was read.
    terminal_counts: u8,
    /// Channels whose device waits although they cannot run.
    waiting: u8,
    temporary: u8,
    /// The next access goes to the high byte.
    flip_flop: bool,
}

impl Controller {
    fn master_clear(&mut self) {
        self.command = 0;
        self.mask = 0x0f;
        self.request = 0;
        self.terminal_counts = 0;
        self.temporary = 0;
        self.flip_flop = false;
    }

    fn read(&mut self, register: u16) -> Option<u8> {
        Some(match register {
            0..8 => {
                let high = self.flip_flop;
                self.flip_flop = !high;
                let channel = self.channels.get(usize::from(register / 2))?;
                let word = if register & 1 == 0 { channel.address } else { channel.count };
                let [low_byte, high_byte] = word.to_le_bytes();
                if high { high_byte } else { low_byte }
            }
            8 => std::mem::take(&mut self.terminal_counts) | (self.waiting | self.request) << 4,
            0x0d => self.temporary,
            // As in the 82C37A and the chip sets; the first 8237A did not answer.
            0x0f => self.mask | 0xf0,
            _ => return None,
        })
    }

    fn write(&mut self, register: u16, value: u8) {
        let bit = 1 << (value & 3);
        let put = |bits: &mut u8| {
            if value & 4 != 0 {
                *bits |= bit;
            } else {
                *bits &= !bit;
            }
        };
        match register {
            0..8 => {
                let high = self.flip_flop;
                self.flip_flop = !high;
                let Some(channel) = self.channels.get_mut(usize::from(register / 2)) else { return };
                let (base, current) = if register & 1 == 0 {
                    (&mut channel.base_address, &mut channel.address)
                } else {
                    (&mut channel.base_count, &mut channel.count)
                };
                let [low_byte, high_byte] = base.to_le_bytes();
                *base = u16::from_le_bytes(if high { [low_byte, value] } else { [value, high_byte] });
                *current = *base;
            }
            8 => self.command = value,
            9 => put(&mut self.request),
            0x0a => put(&mut self.mask),
            0x0b => {
                if let Some(channel) = self.channels.get_mut(usize::from(value & 3)) {
                    channel.mode = value & 0xfc;
                }
            }
            0x0c => self.flip_flop = false,
            0x0d => self.master_clear(),
            0x0e => self.mask = 0,
            _ => self.mask = value & 0x0f,
        }
    }

    /// Channel `index` reached terminal count.
    fn finish(&mut self, index: u8) {
        let bit = 1 << index;
        self.terminal_counts |= bit;
        self.request &= !bit;
        let Some(channel) = self.channels.get_mut(usize::from(index)) else { return };
        if channel.mode & MODE_AUTO_INITIALIZE != 0 {
            channel.reload();
        } else {
            self.mask |= bit;
        }
    }

    /// Moves up to `buf` over channel `index`; a unit is `1 << shift` bytes.
    fn transfer(
        &mut self,
        index: u8,
        page: u8,
        shift: u32,
        direction: TransferDirection,
        buf: &mut [u8],
        memory: &mut dyn Dma,
    ) -> IsaTransfer {
        let nothing = IsaTransfer::default();
        let bit = 1 << index;
        let Some(channel) = self.channels.get_mut(usize::from(index)) else { return nothing };
        let (kind, cascade) = (channel.mode >> 2 & 3, channel.mode >> 6 == 3);
        let verify = kind == 0;
        let wanted = if direction == TransferDirection::ToMemory { 1 } else { 2 };
        if self.mask & bit != 0 || self.command & COMMAND_DISABLE != 0 || cascade || !(verify || kind == wanted) {
            self.waiting |= bit;
            return nothing;
        }
        self.waiting &= !bit;
        // The page supplies the address lines above the counter; a word channel's lowest is not
        // wired.
        let high = u64::from(page >> shift << shift) << 16;
        let mut moved = 0;
        let mut last = false;
        for unit in buf.chunks_exact_mut(1 << shift) {
            let address = high | u64::from(channel.address) << shift;
            match direction {
                _ if verify => {}
                TransferDirection::ToMemory => memory.write(address, unit),
                TransferDirection::FromMemory => memory.read(address, unit),
            }
            moved += unit.len();
            last = channel.step(false);
            if last {
                break;
            }
        }
        if last {
            self.finish(index);
        }
        IsaTransfer { bytes: moved, terminal_count: last }
    }

    /// Channel 0 reads, channel 1 writes, until channel 1's count ends.
    fn memory_to_memory(&mut self, pages: [u8; 2], memory: &mut dyn Dma) {
        let hold = self.command & COMMAND_HOLD_ADDRESS != 0;
        let [page0, page1] = pages.map(|page| u64::from(page) << 16);
        let [source, target, ..] = &mut self.channels;
        loop {
            let mut byte = [0];
            memory.read(page0 | u64::from(source.address), &mut byte);
            memory.write(page1 | u64::from(target.address), &byte);
            [self.temporary] = byte;
            let _ = source.step(hold);
            if target.step(false) {
                break;
            }
        }
        self.request &= !1;
        self.finish(1);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    first: Controller,
    second: Controller,
    /// Ports 80h–8Fh.
    pages: [u8; 16],
}

/// Both controllers and the page registers.
#[derive(Debug, Default)]
pub struct DmaPair {
    state: State,
}

/// Page register of each channel, as an offset from port 80h.
const PAGE_OF_CHANNEL: [u8; 8] = [7, 3, 1, 2, 0xf, 0xb, 9, 0xa];

impl DmaPair {
    /// Controllers with all channels masked.
    #[must_use]
    pub fn new() -> DmaPair {
        let mut pair = DmaPair::default();
        pair.reset();
        pair
    }

    fn page(&self, channel: u8) -> u8 {
        let register = PAGE_OF_CHANNEL.get(usize::from(channel)).copied().unwrap_or(0);
        self.state.pages.get(usize::from(register)).copied().unwrap_or(0)
    }

    /// Carries out [`Dma::isa_transfer`] for the board. `memory` is only used as memory.
    ///
    /// Stops at terminal count, also on a channel that initializes itself again: the device asks
    /// once more for what is left. On a word channel an odd byte at the end of `buf` stays.
    pub fn isa_transfer(
        &mut self,
        channel: u8,
        direction: TransferDirection,
        buf: &mut [u8],
        memory: &mut dyn Dma,
    ) -> IsaTransfer {
        let page = self.page(channel);
        match channel {
            0..=3 => self.state.first.transfer(channel, page, 0, direction, buf, memory),
            5..=7 => self.state.second.transfer(channel - 4, page, 1, direction, buf, memory),
            _ => IsaTransfer::default(),
        }
    }
}

impl PortIo for DmaPair {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        let value = match register {
            0x00..0x10 => self.state.first.read(register),
            0x20..0x40 => self.state.second.read((register - 0x20) / 2),
            0x40..0x50 => self.state.pages.get(usize::from(register - 0x40)).copied(),
            _ => None,
        };
        value.map(u32::from)
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte {
            return None;
        }
        let value = value as u8;
        match register {
            0x00..0x10 => {
                self.state.first.write(register, value);
                let first = &self.state.first;
                let starts = register == 9 && first.request & 1 != 0;
                let allowed = first.command & (COMMAND_MEMORY_TO_MEMORY | COMMAND_DISABLE) == COMMAND_MEMORY_TO_MEMORY;
                if starts && allowed {
                    let pages = [self.page(0), self.page(1)];
                    self.state.first.memory_to_memory(pages, cx.dma);
                }
            }
            0x20..0x40 => self.state.second.write((register - 0x20) / 2, value),
            0x40..0x50 => *self.state.pages.get_mut(usize::from(register - 0x40))? = value,
            _ => return None,
        }
        Some(())
    }
}

impl Device for DmaPair {
    fn name(&self) -> &'static str {
        "dma"
    }
    fn reset(&mut self) {
        self.state = State::default();
        self.state.first.master_clear();
        self.state.second.master_clear();
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        for controller in [&state.first, &state.second] {
            if controller.mask > 0x0f || controller.request > 0x0f || controller.waiting > 0x0f {
                return Err(RestoreError::OutOfRange("mask"));
            }
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, TestDma};

    crate::device_conformance!(conforms, DmaPair::new());

    fn program(bench: &mut Bench<DmaPair>, channel: u8, mode: u8, page: u8, address: u16, count: u16) {
        let (base, stride, index) = if channel < 4 { (0, 1, channel) } else { (0x20, 2, channel - 4) };
        bench.write(base + 0x0c * stride, 0);
        bench.write(base + 0x0b * stride, mode | index);
        for (register, word) in [(2 * u16::from(index), address), (2 * u16::from(index) + 1, count)] {
            for byte in word.to_le_bytes() {
                bench.write(base + register * stride, byte);
            }
        }
        bench.write(0x40 + u16::from(PAGE_OF_CHANNEL[usize::from(channel)]), page);
        bench.write(base + 0x0a * stride, index);
    }

    #[test]
    fn floppy_style_write_transfer_ends_in_terminal_count() {
        let mut bench = Bench::new(DmaPair::new());
        let mut memory = TestDma::new(0x4_0000);
        program(&mut bench, 2, 0x44, 0x03, 0xff00, 511);
        let sector: Vec<u8> = (0..=255).cycle().take(512).collect();
        let first = bench.device.isa_transfer(2, TransferDirection::ToMemory, &mut sector.clone()[..500], &mut memory);
        assert_eq!(first, IsaTransfer { bytes: 500, terminal_count: false });
        assert_eq!(bench.read(8), 0);
        let rest = bench.device.isa_transfer(2, TransferDirection::ToMemory, &mut sector.clone()[500..], &mut memory);
        assert_eq!(rest, IsaTransfer { bytes: 12, terminal_count: true });
        assert_eq!(memory.ram[0x3_ff00..], sector[..256]);
        assert_eq!(memory.ram[0x3_0000..0x3_0100], sector[256..], "the address wraps inside the page");
        assert_eq!((bench.read(8), bench.read(8)), (0x04, 0x00));
        assert_eq!(bench.read(0x0f), 0xff, "terminal count masks the channel");
        let more = bench.device.isa_transfer(2, TransferDirection::ToMemory, &mut [0; 4], &mut memory);
        assert_eq!(more.bytes, 0);
        assert_eq!(bench.read(8), 0x40, "the device waits");
    }

    #[test]
    fn direction_and_disable_are_obeyed() {
        let mut bench = Bench::new(DmaPair::new());
        let mut memory = TestDma::new(0x100);
        program(&mut bench, 1, 0x48, 0, 0x10, 3);
        let mut go = |bench: &mut Bench<DmaPair>, direction| {
            bench.device.isa_transfer(1, direction, &mut [0; 2], &mut memory).bytes
        };
        assert_eq!(go(&mut bench, TransferDirection::ToMemory), 0);
        bench.write(8, COMMAND_DISABLE);
        assert_eq!(go(&mut bench, TransferDirection::FromMemory), 0);
        bench.write(8, 0);
        assert_eq!(go(&mut bench, TransferDirection::FromMemory), 2);
    }

    #[test]
    fn auto_initialize_goes_round() {
        let mut bench = Bench::new(DmaPair::new());
        let mut memory = TestDma::new(0x100);
        memory.ram[0x20..0x24].copy_from_slice(b"wave");
        program(&mut bench, 1, 0x58, 0, 0x20, 3);
        for _ in 0..3 {
            let mut buf = [0; 6];
            let moved = bench.device.isa_transfer(1, TransferDirection::FromMemory, &mut buf, &mut memory);
            assert_eq!(moved, IsaTransfer { bytes: 4, terminal_count: true });
            assert_eq!(&buf[..4], b"wave");
        }
    }

    #[test]
    fn decrement_and_verify() {
        let mut bench = Bench::new(DmaPair::new());
        let mut memory = TestDma::new(0x100);
        program(&mut bench, 3, 0x64, 0, 0x01, 3);
        bench.device.isa_transfer(3, TransferDirection::ToMemory, &mut [1, 2, 3], &mut memory);
        assert_eq!(memory.ram[..2], [2, 1]);
        bench.write(0x0c, 0);
        assert_eq!((bench.read(6), bench.read(6)), (0xfe, 0xff), "the counter wrapped below the page");
        program(&mut bench, 3, 0x40, 0, 0x40, 1);
        let verified = bench.device.isa_transfer(3, TransferDirection::ToMemory, &mut [9, 9], &mut memory);
        assert!(verified.terminal_count);
        assert_eq!(memory.ram[0x40], 0);
    }

    #[test]
    fn word_channels_have_128_kib_pages() {
        let mut bench = Bench::new(DmaPair::new());
        let mut memory = TestDma::new(0x4_0000);
        program(&mut bench, 5, 0x44, 0x03, 0xffff, 1);
        let moved = bench.device.isa_transfer(5, TransferDirection::ToMemory, &mut [1, 2, 3, 4, 5], &mut memory);
        assert_eq!(moved, IsaTransfer { bytes: 4, terminal_count: true });
        assert_eq!(memory.ram[0x3_fffe..], [1, 2]);
        assert_eq!(memory.ram[0x2_0000..0x2_0002], [3, 4]);
        assert_eq!(bench.read(0x30), 0x02);
    }

    #[test]
    fn memory_to_memory_copies_a_block() {
        let mut bench = Bench::new(DmaPair::new());
        bench.dma.ram[0x100..0x104].copy_from_slice(b"copy");
        program(&mut bench, 0, 0x88, 0, 0x100, 0);
        program(&mut bench, 1, 0x84, 0, 0x200, 3);
        bench.write(8, COMMAND_MEMORY_TO_MEMORY);
        bench.write(9, 4);
        assert_eq!(&bench.dma.ram[0x200..0x204], b"copy");
        assert_eq!((bench.read(0x0d), bench.read(8)), (b'y', 0x02));
        bench.write(0x0d, 0);
        assert_eq!((bench.read(0x0d), bench.read(0x0f)), (0, 0xff));
        bench.write(0x0e, 0);
        assert_eq!(bench.read(0x0f), 0xf0);
    }

    #[test]
    fn page_registers_read_back() {
        let mut bench = Bench::new(DmaPair::new());
        for register in 0x40..0x50 {
            bench.write(register, register as u8 ^ 0x5a);
        }
        for register in 0x40..0x50 {
            assert_eq!(bench.read(register), register as u8 ^ 0x5a);
        }
    }
}
