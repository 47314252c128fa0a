//! NE2000 network adapter: National DP8390 (data sheet TL/F/8582) with 16 KiB of buffer, as an ISA
//! card or as the PCI function RTL8029 (10ECh:8029h).
//!
//! Registers: 00h–0Fh the DP8390 with its three pages, 10h–17h the data port, 18h–1Fh the reset
//! port. The PCI form has all of them in BAR 0.
//!
//! The cable carries 1 Gbit/s instead of 10 Mbit/s, and holds frames back while the receive ring
//! has no room for the longest one, so that a slow guest loses none; a ring that can never hold
//! one overflows as the data sheet says. A guest that takes back the interrupt of frames that it
//! leaves in the ring is told of them again: Linux's driver does so after nine, where a real card
//! would have it wait for the next frame, or lose one. Not emulated: collisions and line errors, a
//! wrong checksum on request, the configuration pages and EEPROM of the RTL8029.

#![allow(clippy::precedence, reason = "shifts before masks is how register layouts are written")]

use serde::{Deserialize, Serialize};

use crate::device::{Access, Bar, Device, PciFunction, PortIo, RestoreError, Saved, Time, Width};
use crate::line::Line;
use crate::network::Network;
use crate::pci::{BarKind, ConfigSpace, ConfigState};

const RAM_START: u16 = 0x4000;
const RAM_BYTES: usize = 0x4000;
/// Longest frame that goes over the cable, without its checksum but with a VLAN tag.
const LONGEST: usize = 1518;
/// Pages that the longest frame takes with its header and checksum.
const LONGEST_PAGES: usize = (LONGEST + 8).div_ceil(256);
/// How often the cable is looked at while the receiver runs.
const POLL_TIME: u64 = 1_000_000;
/// How soon it is looked at when there is reason to expect something: the guest has sent a frame,
/// or has made room in the ring.
const SOON: u64 = 2_000;
/// Most frames taken at one look.
const FRAMES_PER_POLL: usize = 32;
/// How long frames lie in the ring, when a guest has taken back their interrupt, before it is told again.
const PATIENCE: u64 = 100_000;
/// 1 Gbit/s.
const BYTE_TIME: u64 = 8;
/// Bytes in the FIFO.
const FIFO_BYTES: usize = 8;
/// Where a tally counter stops; from its uppermost bit on it asks for an interrupt.
const TALLY_LIMIT: u8 = 0xc0;

const STOP: u8 = 0x01;
const START: u8 = 0x02;
const TRANSMIT: u8 = 0x04;

const RECEIVED: u8 = 0x01;
const TRANSMITTED: u8 = 0x02;
const OVERWRITE: u8 = 0x10;
const COUNTERS: u8 = 0x20;
const REMOTE_DONE: u8 = 0x40;
const RESET: u8 = 0x80;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    command: u8,
    page_start: u8,
    page_stop: u8,
    boundary: u8,
    current: u8,
    transmit_page: u8,
    transmit_count: u16,
    transmit_status: u8,
    receive_status: u8,
    interrupt_status: u8,
    interrupt_mask: u8,
    remote_address: u16,
    remote_count: u16,
    receive_configuration: u8,
    transmit_configuration: u8,
    data_configuration: u8,
    station: [u8; 6],
    multicast: [u8; 8],
    missed: u8,
    /// The end of the last frame that was looped back; the oldest byte is read first.
    fifo: [u8; FIFO_BYTES],
    fifo_position: u8,
    /// A send-packet command is being carried out.
    sending_packet: bool,
    transmit_due: Option<Time>,
    poll_due: Option<Time>,
    /// When the guest is told again of frames that it has left in the ring.
    remind_due: Option<Time>,
    ram: Vec<u8>,
}

impl Default for State {
    fn default() -> State {
        State {
            command: STOP | 0x20,
            page_start: 0,
            page_stop: 0,
            boundary: 0,
            current: 0,
            transmit_page: 0,
            transmit_count: 0,
            transmit_status: 0,
            receive_status: 0,
            interrupt_status: RESET,
            interrupt_mask: 0,
            remote_address: 0,
            remote_count: 0,
            receive_configuration: 0,
            transmit_configuration: 0,
            data_configuration: 0,
            station: [0; 6],
            multicast: [0; 8],
            missed: 0,
            fifo: [0; FIFO_BYTES],
            fifo_position: 0,
            sending_packet: false,
            transmit_due: None,
            poll_due: None,
            remind_due: None,
            ram: vec![0; RAM_BYTES],
        }
    }
}

/// An NE2000 adapter.
pub struct Ne2000 {
    interrupt: Line,
    network: Option<Box<dyn Network>>,
    config: Option<ConfigSpace>,
    address: [u8; 6],
    state: State,
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    state: State,
    config: Option<ConfigState>,
}

impl Ne2000 {
    /// The ISA card with the hardware address `address`.
    #[must_use]
    pub fn isa(interrupt: Line, address: [u8; 6], network: Option<Box<dyn Network>>) -> Ne2000 {
        Ne2000 { interrupt, network, config: None, address, state: State::default() }
    }

    /// The PCI card (RTL8029) with the hardware address `address`; `interrupt` is INTA.
    #[must_use]
    pub fn pci(interrupt: Line, address: [u8; 6], network: Option<Box<dyn Network>>) -> Ne2000 {
        let config = ConfigSpace::new(0x10ec, 0x8029, 0x02_00_00, 0)
            .with_subsystem(0x10ec, 0x8029)
            .with_bar(0, BarKind::Io { size: 32 })
            .with_interrupt_pin(1);
        Ne2000 { interrupt, network, config: Some(config), address, state: State::default() }
    }

    /// The PCI card with an expansion ROM of `bytes`, a power of two.
    #[must_use]
    pub fn with_rom(mut self, bytes: u32) -> Ne2000 {
        self.config = self.config.map(|config| config.with_bar(6, BarKind::Rom { size: bytes }));
        self
    }

    /// Plugs the cable into something else.
    pub fn connect(&mut self, network: Option<Box<dyn Network>>) {
        self.network = network;
    }

    /// Its hardware address, and whether the guest has its receiver on.
    #[must_use]
    pub fn station(&self) -> ([u8; 6], bool) {
        (self.address, self.listening())
    }

    fn level(&self) -> bool {
        self.state.interrupt_status & self.state.interrupt_mask & !RESET != 0
    }
    fn report(&mut self, bits: u8) {
        self.state.interrupt_status |= bits;
        self.interrupt.set(self.level());
    }

    // Buffer ----------------------------------------------------------------------------------

    fn memory(&self, at: u16) -> u8 {
        match at {
            // Each byte of the address PROM answers twice; 57h marks a 16-bit card.
            0..=0x1f => {
                let index = usize::from(at >> 1);
                self.address.get(index).copied().unwrap_or(if index >= 14 { 0x57 } else { 0 })
            }
            _ => {
                let index = usize::from(at.wrapping_sub(RAM_START));
                self.state.ram.get(index).copied().unwrap_or(0xff)
            }
        }
    }
    fn set_memory(&mut self, at: u16, value: u8) {
        if let Some(cell) = self.state.ram.get_mut(usize::from(at.wrapping_sub(RAM_START))) {
            *cell = value;
        }
    }

    /// The remote address moves on, around the receive ring.
    fn remote_step(&mut self) {
        let state = &mut self.state;
        state.remote_address = state.remote_address.wrapping_add(1);
        if state.remote_address == u16::from(state.page_stop) << 8 {
            state.remote_address = u16::from(state.page_start) << 8;
        }
        state.remote_count = state.remote_count.saturating_sub(1);
        if state.remote_count == 0 {
            if std::mem::take(&mut state.sending_packet) {
                // The packet has left the ring: the header's second byte points to the next one.
                let next = self.memory((u16::from(self.state.boundary) << 8).wrapping_add(1));
                self.state.boundary = next;
            }
            self.report(REMOTE_DONE);
        }
    }

    /// Send packet: a remote read of the oldest packet in the ring, its length from its header.
    fn send_packet(&mut self) {
        // Without auto-initialize remote the command is not executed.
        if self.state.data_configuration & 0x10 == 0 {
            return;
        }
        let start = u16::from(self.state.boundary) << 8;
        let length = u16::from_le_bytes([self.memory(start.wrapping_add(2)), self.memory(start.wrapping_add(3))]);
        self.state.remote_address = start;
        self.state.remote_count = length;
        self.state.sending_packet = length != 0;
        if length == 0 {
            self.report(REMOTE_DONE);
        }
    }

    /// Whether a remote read goes on.
    fn is_reading(&self) -> bool {
        match self.state.command >> 3 & 7 {
            1 => true,
            3 => self.state.sending_packet,
            _ => false,
        }
    }

    /// Bytes up to the end of the remote DMA transfer.
    #[must_use]
    pub fn data_left(&self) -> usize {
        usize::from(self.state.remote_count)
    }
    /// Reads of the data port one after the other, each `unit` bytes wide. Returns how many bytes
    /// were filled: whole units, and none when the port's width is another.
    pub fn data_read_block(&mut self, unit: usize, buffer: &mut [u8]) -> usize {
        if unit == 1 && self.state.data_configuration & 1 != 0 || unit > 4 || unit == 0 {
            return 0;
        }
        let whole = buffer.len() / unit * unit;
        let Some(target) = buffer.get_mut(..whole) else { return 0 };
        let mut at = 0;
        while at < whole {
            if self.state.remote_count == 0 || !self.is_reading() {
                break;
            }
            at += self.remote_read_run(target.get_mut(at..).unwrap_or_default());
        }
        // Past the end of the transfer the port gives zeroes.
        if let Some(rest) = target.get_mut(at..) {
            rest.fill(0);
        }
        whole
    }

    /// Writes of the data port one after the other, each `unit` bytes wide, up to the end of the
    /// transfer. Returns how many bytes were taken: whole units, and none when the port's width is
    /// another or no transfer goes on.
    pub fn data_write_block(&mut self, unit: usize, bytes: &[u8]) -> usize {
        if unit == 1 && self.state.data_configuration & 1 != 0 || unit > 4 || unit == 0 {
            return 0;
        }
        let left = usize::from(self.state.remote_count);
        let whole = (bytes.len() / unit).min(left.div_ceil(unit)) * unit;
        let mut rest = bytes.get(..whole).unwrap_or_default();
        if self.state.command >> 3 & 7 != 2 {
            return 0;
        }
        while !rest.is_empty() && self.state.remote_count != 0 {
            let n = self.remote_write_run(rest);
            rest = rest.get(n..).unwrap_or_default();
        }
        whole
    }

    /// How many of `length` bytes lie together in the buffer and before the end of the transfer.
    fn remote_run(&self, length: usize) -> (usize, usize) {
        let address = self.state.remote_address;
        let before_stop = usize::from((u16::from(self.state.page_stop) << 8).wrapping_sub(address));
        let left = usize::from(self.state.remote_count);
        let run = length.min(left.saturating_sub(1)).min(before_stop.saturating_sub(1));
        (usize::from(address.wrapping_sub(RAM_START)), run)
    }
    fn remote_write_run(&mut self, bytes: &[u8]) -> usize {
        let (start, run) = self.remote_run(bytes.len());
        if let Some((source, target)) = bytes.get(..run).zip(self.state.ram.get_mut(start..start.saturating_add(run)))
            && run > 1
        {
            target.copy_from_slice(source);
            self.state.remote_address = self.state.remote_address.wrapping_add(run as u16);
            self.state.remote_count -= run as u16;
            return run;
        }
        if let Some(first) = bytes.first() {
            self.set_memory(self.state.remote_address, *first);
        }
        self.remote_step();
        1
    }

    /// Copies as many bytes as lie together in the buffer, one at least.
    fn remote_read_run(&mut self, target: &mut [u8]) -> usize {
        let address = self.state.remote_address;
        let (start, run) = self.remote_run(target.len());
        if let Some((target, source)) = target.get_mut(..run).zip(self.state.ram.get(start..start.saturating_add(run)))
            && run > 1
        {
            target.copy_from_slice(source);
            self.state.remote_address = address.wrapping_add(run as u16);
            self.state.remote_count -= run as u16;
            return run;
        }
        if let Some(first) = target.first_mut() {
            *first = self.memory(address);
        }
        self.remote_step();
        1
    }

    /// Bytes that one access of `width` moves: the data port is as wide as the card is set to.
    fn lanes(&self, width: Width) -> u32 {
        if width == Width::Byte && self.state.data_configuration & 1 != 0 { 2 } else { width.bytes().min(4) }
    }

    fn read_data(&mut self, width: Width) -> u32 {
        let mut value = 0;
        for lane in 0..self.lanes(width) {
            if self.state.remote_count == 0 || !self.is_reading() {
                break;
            }
            value |= u32::from(self.memory(self.state.remote_address)) << (8 * lane);
            self.remote_step();
        }
        value & width.mask() as u32
    }

    fn write_data(&mut self, width: Width, value: u32) {
        for lane in 0..self.lanes(width) {
            if self.state.remote_count == 0 || self.state.command >> 3 & 7 != 2 {
                break;
            }
            self.set_memory(self.state.remote_address, (value >> (8 * lane)) as u8);
            self.remote_step();
        }
    }

    // Frames ----------------------------------------------------------------------------------

    fn transmit(&mut self, now: Time) {
        let length = usize::from(self.state.transmit_count).min(LONGEST);
        let start = u16::from(self.state.transmit_page) << 8;
        let first = usize::from(start.wrapping_sub(RAM_START));
        let frame: Vec<u8> = match self.state.ram.get(first..first.saturating_add(length)) {
            Some(bytes) => bytes.to_vec(),
            None => (0..length as u16).map(|index| self.memory(start.wrapping_add(index))).collect(),
        };
        self.state.command &= !TRANSMIT;
        // Loopback mode decides which of carrier sense (10h) and collision heartbeat (40h) is
        // missed: data sheet, "loopback tests".
        match self.state.transmit_configuration >> 1 & 3 {
            0 => {
                self.state.transmit_status = 0x01;
                if let Some(network) = self.network.as_mut() {
                    network.send(now, &frame);
                }
                self.look_soon(now);
            }
            mode => {
                self.state.transmit_status = [0x01, 0x53, 0x43, 0x03].get(usize::from(mode)).copied().unwrap_or(0x01);
                self.loop_back(&frame);
            }
        }
        self.report(TRANSMITTED);
    }

    /// A frame that goes round inside the chip ends in the FIFO alone: its last byte, the checksum
    /// and the byte count, whose upper half is there twice.
    fn loop_back(&mut self, frame: &[u8]) {
        let inhibited = self.state.transmit_configuration & 1 != 0;
        let checksum = ethernet_checksum(frame).to_le_bytes();
        let [low, high] = (frame.len() as u16).wrapping_add(if inhibited { 0 } else { 4 }).to_le_bytes();
        let own = if inhibited { &[][..] } else { &checksum[..] };
        let stream: Vec<u8> = frame.iter().chain(own).copied().chain([low, high, high]).collect();
        let tail = stream.get(stream.len().saturating_sub(FIFO_BYTES)..).unwrap_or_default();
        self.state.fifo = [0; FIFO_BYTES];
        for (cell, byte) in self.state.fifo.iter_mut().zip(tail) {
            *cell = *byte;
        }
        self.state.fifo_position = 0;
        // One generator serves both directions: a checksum that was sent cannot be checked, too.
        let good = inhibited && frame.len() >= 4 && {
            let (content, sum) = frame.split_at(frame.len() - 4);
            ethernet_checksum(content).to_le_bytes() == sum
        };
        self.state.receive_status = if good { 0x01 } else { 0x02 };
    }

    /// Looks at the cable soon, if it is looked at at all.
    fn look_soon(&mut self, now: Time) {
        if let Some(due) = self.state.poll_due.as_mut() {
            *due = (*due).min(now.plus(SOON));
        }
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        let configuration = self.state.receive_configuration;
        let Some(target) = frame.get(..6) else { return false };
        match target {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => configuration & 0x04 != 0,
            [first, ..] if first & 1 != 0 => {
                let hash = address_hash(target);
                let filter = self.state.multicast.get(usize::from(hash >> 3)).copied().unwrap_or(0);
                configuration & 0x08 != 0 && filter >> (hash & 7) & 1 != 0
            }
            // "Promiscuous physical" leaves multicast to its filter.
            _ => configuration & 0x10 != 0 || target == self.state.station,
        }
    }

    fn count_missed(&mut self) {
        let state = &mut self.state;
        state.missed = state.missed.saturating_add(1).min(TALLY_LIMIT);
        if state.missed & 0x80 != 0 {
            self.report(COUNTERS);
        }
    }

    /// The boundary as a page of the ring. Drivers keep it one page behind what they read next, and
    /// write the page before the first one when that is the first: the last one is meant.
    fn boundary_in_ring(&self) -> Option<u8> {
        let State { page_start: start, page_stop: stop, boundary, .. } = self.state;
        let meant = if start != 0 && boundary == start - 1 && stop > start { stop - 1 } else { boundary };
        (start..stop).contains(&meant).then_some(meant)
    }

    /// Pages of the receive ring that are free, or `None` when the registers describe no ring.
    fn free_pages(&self) -> Option<usize> {
        let State { page_start: start, page_stop: stop, current, .. } = self.state;
        if current < start || current >= stop {
            return None;
        }
        let ring = usize::from(stop - start);
        Some(match self.boundary_in_ring() {
            None => ring,
            Some(boundary) if boundary > current => usize::from(boundary - current),
            Some(boundary) => ring - usize::from(current - boundary),
        })
    }

    /// Whether frames lie in the ring that the guest has not taken: its boundary is neither where
    /// the next one goes nor one page behind.
    fn has_frames(&self) -> bool {
        let State { page_start: start, page_stop: stop, current, .. } = self.state;
        self.free_pages().is_some()
            && self.boundary_in_ring().is_some_and(|boundary| {
                let after = if boundary == stop - 1 { start } else { boundary + 1 };
                current != boundary && current != after
            })
    }

    /// Whether the cable may hand over a frame now: there is room for the longest, or there never
    /// can be.
    fn has_room(&self) -> bool {
        let ring = usize::from(self.state.page_stop.saturating_sub(self.state.page_start));
        self.free_pages().is_none_or(|free| free > LONGEST_PAGES || ring <= LONGEST_PAGES + 1)
    }

    /// Stores bytes of a frame around the ring; returns where the next one goes.
    fn store_received(&mut self, mut at: u16, mut bytes: &[u8]) -> u16 {
        let (start, stop) = (u16::from(self.state.page_start) << 8, u16::from(self.state.page_stop) << 8);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(usize::from(stop.wrapping_sub(at)).max(1)));
            let place = usize::from(at.wrapping_sub(RAM_START));
            match self.state.ram.get_mut(place..place.saturating_add(now.len())) {
                Some(target) => target.copy_from_slice(now),
                // A ring that is not wholly in the buffer.
                None => now.iter().enumerate().for_each(|(n, byte)| self.set_memory(at.wrapping_add(n as u16), *byte)),
            }
            at = at.wrapping_add(now.len() as u16);
            if at == stop {
                at = start;
            }
            bytes = later;
        }
        at
    }

    /// Puts a frame into the receive ring.
    fn receive(&mut self, frame: &[u8]) {
        if frame.len() > LONGEST || !self.accepts(frame) {
            return;
        }
        // Monitor mode counts what it does not keep.
        if self.state.receive_configuration & 0x20 != 0 {
            return self.count_missed();
        }
        let (start, stop, current) = (self.state.page_start, self.state.page_stop, self.state.current);
        let length = frame.len().max(60) + 4;
        let pages = (length + 4).div_ceil(256);
        let ring = usize::from(stop.saturating_sub(start));
        let Some(free) = self.free_pages() else { return };
        if pages >= free {
            self.state.receive_status |= 0x10;
            self.count_missed();
            return self.report(OVERWRITE);
        }
        let mut next = usize::from(current) + pages;
        if next >= usize::from(stop) {
            next -= ring;
        }
        let status = 0x01 | u8::from(frame.first().is_some_and(|first| first & 1 != 0)) << 5;
        let header = [status, next as u8, length as u8, (length >> 8) as u8];
        let mut at = u16::from(current) << 8;
        at = self.store_received(at, &header);
        at = self.store_received(at, frame);
        // Short frames are filled up; the checksum is not computed.
        self.store_received(at, [0; 64].get(..length - frame.len()).unwrap_or_default());
        self.state.current = next as u8;
        self.state.receive_status = status;
        self.report(RECEIVED);
    }

    fn listening(&self) -> bool {
        self.state.command & (START | STOP) == START && self.state.transmit_configuration & 0x06 == 0
    }

    // Registers -------------------------------------------------------------------------------

    fn read_register(&mut self, register: u16) -> u8 {
        let state = &mut self.state;
        let [remote_low, remote_high] = state.remote_address.to_le_bytes();
        match (state.command >> 6, register) {
            (_, 0) => state.command,
            (0, 3) => state.boundary,
            (0, 4) => state.transmit_status,
            (0, 6) => {
                let position = usize::from(state.fifo_position) % FIFO_BYTES;
                state.fifo_position = (position as u8 + 1) % FIFO_BYTES as u8;
                state.fifo.get(position).copied().unwrap_or(0)
            }
            (0, 7) => state.interrupt_status,
            (0, 1 | 8) => remote_low,
            (0, 2 | 9) => remote_high,
            (0, 0x0a) if self.config.is_some() => 0x50,
            (0, 0x0b) if self.config.is_some() => 0x43,
            (0, 0x0c) => state.receive_status,
            (0, 0x0f) => std::mem::take(&mut state.missed),
            (1, 7) => state.current,
            (1, 1..=6) => state.station.get(usize::from(register) - 1).copied().unwrap_or(0),
            (1, 8..=15) => state.multicast.get(usize::from(register) - 8).copied().unwrap_or(0),
            (2, 1) => state.page_start,
            (2, 2) => state.page_stop,
            (2, 3) => state.boundary,
            (2, 4) => state.transmit_page,
            (2, 0x0c) => state.receive_configuration | 0xc0,
            (2, 0x0d) => state.transmit_configuration | 0xe0,
            (2, 0x0e) => state.data_configuration | 0x80,
            (2, 0x0f) => state.interrupt_mask | 0x80,
            _ => 0,
        }
    }

    fn write_command(&mut self, now: Time, value: u8) {
        let state = &mut self.state;
        // TXP is cleared by the chip alone. STA starts the chip and STP stops it; a command with neither
        // leaves it as it is: iPXE's driver changes pages like that while it listens.
        let keeps = if value & (START | STOP) == 0 { TRANSMIT | START | STOP } else { TRANSMIT };
        state.command = value | state.command & keeps;
        if value & STOP != 0 {
            state.interrupt_status |= RESET;
            state.command &= !TRANSMIT;
            state.transmit_due = None;
            state.poll_due = None;
            return;
        }
        if value & START != 0 {
            state.interrupt_status &= !RESET;
            state.poll_due = state.poll_due.or(Some(now.plus(POLL_TIME)));
        }
        if value & TRANSMIT != 0 && state.transmit_due.is_none() {
            let time = u64::from(state.transmit_count).max(60) * BYTE_TIME;
            state.transmit_due = Some(now.plus(time));
        }
        if value >> 3 & 7 == 3 && !state.sending_packet {
            self.send_packet();
        } else if value & 0x20 != 0 {
            // Abort or complete remote DMA.
            state.sending_packet = false;
        }
        let state = &mut self.state;
        // A remote transfer of no bytes is over at once.
        if matches!(value >> 3 & 7, 1 | 2) && state.remote_count == 0 {
            self.report(REMOTE_DONE);
        }
    }

    fn write_register(&mut self, now: Time, register: u16, value: u8) {
        let state = &mut self.state;
        let low = |word: u16| word & 0xff00 | u16::from(value);
        let high = |word: u16| word & 0x00ff | u16::from(value) << 8;
        match (state.command >> 6, register) {
            (_, 0) => self.write_command(now, value),
            (0, 1) => state.page_start = value,
            (0, 2) => state.page_stop = value,
            (0, 3) => {
                state.boundary = value;
                self.look_soon(now);
            }
            (0, 4) => state.transmit_page = value,
            (0, 5) => state.transmit_count = low(state.transmit_count),
            (0, 6) => state.transmit_count = high(state.transmit_count),
            (0, 7) => {
                state.interrupt_status &= !(value & !RESET);
                if value & RECEIVED != 0 {
                    self.state.remind_due = self.has_frames().then(|| now.plus(PATIENCE));
                }
            }
            (0, 8) => state.remote_address = low(state.remote_address),
            (0, 9) => state.remote_address = high(state.remote_address),
            (0, 0x0a) => state.remote_count = low(state.remote_count),
            (0, 0x0b) => state.remote_count = high(state.remote_count),
            (0, 0x0c) => state.receive_configuration = value & 0x3f,
            (0, 0x0d) => state.transmit_configuration = value & 0x1f,
            (0, 0x0e) => state.data_configuration = value & 0x7f,
            (0, 0x0f) => state.interrupt_mask = value & 0x7f,
            (1, 7) => state.current = value,
            (1, 1..=6) => {
                if let Some(cell) = state.station.get_mut(usize::from(register) - 1) {
                    *cell = value;
                }
            }
            (1, 8..=15) => {
                if let Some(cell) = state.multicast.get_mut(usize::from(register) - 8) {
                    *cell = value;
                }
            }
            _ => {}
        }
        self.interrupt.set(self.level());
    }

    /// The reset port: stops the chip and tells so.
    fn soft_reset(&mut self) {
        let ram = std::mem::take(&mut self.state.ram);
        self.state = State { ram, ..State::default() };
        self.interrupt.set(false);
    }
}

/// Bits 31–26 of the Ethernet checksum of an address: the place in the multicast filter.
fn address_hash(address: &[u8]) -> u8 {
    let mut crc = u32::MAX;
    for byte in address {
        for bit in 0..8 {
            let carry = crc >> 31 ^ u32::from(byte >> bit & 1);
            crc = crc << 1 ^ if carry != 0 { 0x04c1_1db7 } else { 0 };
        }
    }
    (crc >> 26) as u8
}

/// The checksum that ends a frame, as it is sent: its lowest byte first.
fn ethernet_checksum(frame: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in frame {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

impl PortIo for Ne2000 {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        match (register, width) {
            (_, Width::Qword) => None,
            (0x10..=0x17, _) => Some(self.read_data(width)),
            (0..=0x0f, Width::Byte) => Some(u32::from(self.read_register(register))),
            (0x18..=0x1f, _) => {
                self.soft_reset();
                Some(0)
            }
            _ => None,
        }
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        match (register, width) {
            (_, Width::Qword) => return None,
            (0x10..=0x17, _) => self.write_data(width, value),
            (0..=0x0f, Width::Byte) => self.write_register(cx.now, register, value as u8),
            // The reset pulse starts with a read and ends with a write.
            (0x18..=0x1f, _) => {}
            _ => return None,
        }
        Some(())
    }
}

impl PciFunction for Ne2000 {
    fn config_read(&mut self, offset: u8) -> u32 {
        self.config.as_ref().map_or(u32::MAX, |config| config.read(offset))
    }
    fn config_write(&mut self, offset: u8, value: u32, mask: u32) {
        if let Some(config) = self.config.as_mut() {
            config.write(offset, value, mask);
        }
    }
    fn bar(&self, index: u8) -> Option<Bar> {
        self.config.as_ref().and_then(|config| config.bar(index))
    }
}

impl Device for Ne2000 {
    fn name(&self) -> &'static str {
        "ne2000"
    }
    fn reset(&mut self) {
        self.state = State::default();
        if let Some(config) = self.config.as_mut() {
            config.reset();
        }
        self.interrupt.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        if self.state.transmit_due.is_some_and(|due| due <= cx.now) {
            self.state.transmit_due = None;
            self.transmit(cx.now);
        }
        if self.state.poll_due.is_some_and(|due| due <= cx.now) {
            self.state.poll_due = Some(cx.now.plus(POLL_TIME));
            for taken in 0..=FRAMES_PER_POLL {
                // A receiver that does not listen lets frames wait on the cable; so does a full ring.
                if !self.listening() || !self.has_room() {
                    break;
                }
                if taken == FRAMES_PER_POLL {
                    self.look_soon(cx.now);
                    break;
                }
                let Some(frame) = self.network.as_mut().and_then(|network| network.receive(cx.now)) else { break };
                self.receive(&frame);
            }
        }
        if self.state.remind_due.is_some_and(|due| due <= cx.now) {
            self.state.remind_due = None;
            if self.listening() && self.has_frames() {
                self.report(RECEIVED);
            }
        }
    }
    fn next_event(&self) -> Option<Time> {
        let poll = self.state.poll_due.filter(|_| self.network.is_some());
        [self.state.transmit_due, poll, self.state.remind_due].into_iter().flatten().min()
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        if self.config.is_some() { Some(self) } else { None }
    }
    fn save(&self) -> Saved {
        let Self { interrupt: _, network: _, config, address: _, state } = self;
        Saved::of(&SavedState { state: state.clone(), config: config.as_ref().map(ConfigSpace::save) })
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let SavedState { state, config } = state.decode()?;
        if state.ram.len() != RAM_BYTES {
            return Err(RestoreError::OutOfRange("ram"));
        }
        if usize::from(state.fifo_position) >= FIFO_BYTES {
            return Err(RestoreError::OutOfRange("fifo_position"));
        }
        match (self.config.as_mut(), &config) {
            (Some(own), Some(saved)) => own.restore(saved)?,
            (None, None) => {}
            _ => return Err(RestoreError::OutOfRange("config")),
        }
        self.state = state;
        self.interrupt.restore_level(self.level());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Echo;
    use crate::testing::{Bench, Random};

    const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn card(interrupt: Line) -> Ne2000 {
        Ne2000::pci(interrupt, ADDRESS, Some(Box::new(Echo::default())))
    }

    // Frames on the cable are not part of the state.
    crate::device_conformance!(conforms, card(Line::detached()), replay: false);
    crate::device_conformance!(isa_conforms, Ne2000::isa(Line::detached(), ADDRESS, None));

    fn start(bench: &mut Bench<Ne2000>) {
        let page0 = [(0x0e, 0x49), (0x0c, 0x04), (0x0d, 0), (1, 0x46), (2, 0x80), (3, 0x46), (7, 0xff), (0x0f, 0x3f)];
        bench.write(0, 0x21);
        for (register, value) in page0 {
            bench.write(register, value);
        }
        bench.write(0, 0x61);
        for (index, byte) in ADDRESS.into_iter().enumerate() {
            bench.write(1 + index as u16, byte);
        }
        bench.write(7, 0x47);
        bench.write(0, 0x22);
    }

    fn remote(bench: &mut Bench<Ne2000>, address: u16, count: u16, command: u8) {
        let [low, high] = address.to_le_bytes();
        let [count_low, count_high] = count.to_le_bytes();
        for (register, value) in [(8, low), (9, high), (0x0a, count_low), (0x0b, count_high), (0, command)] {
            bench.write(register, value);
        }
    }

    #[test]
    fn prom_tells_the_address() {
        let mut bench = Bench::new(card(Line::detached()));
        bench.read(0x1f);
        bench.write(0x1f, 0);
        assert_eq!(bench.read(7), 0x80);
        bench.write(0x0e, 0x49);
        remote(&mut bench, 0, 32, 0x0a);
        let prom: Vec<u32> = (0..16).map(|_| bench.try_read(0x10, Width::Word).unwrap()).collect();
        assert_eq!(prom[..3], [0x5252, 0x5454, 0]);
        assert_eq!(prom[14..], [0x5757, 0x5757]);
        assert_eq!(bench.read(7) & 0x40, 0x40);
    }

    #[test]
    fn frames_go_out_and_come_in() {
        let irq = Line::detached();
        let mut bench = Bench::new(card(irq.share()));
        start(&mut bench);
        let mut frame = [0x77; 100];
        frame[..6].copy_from_slice(&ADDRESS);
        remote(&mut bench, 0x4000, 100, 0x12);
        for pair in frame.chunks(2) {
            bench.write_wide(0x10, Width::Word, u32::from(pair[0]) | u32::from(pair[1]) << 8);
        }
        for (register, value) in [(4, 0x40), (5, 100), (6, 0), (0, 0x26)] {
            bench.write(register, value);
        }
        assert_eq!(bench.read(0) & 4, 4);
        bench.run(1_000);
        assert_eq!((bench.read(0) & 4, bench.read(7), irq.is_high()), (0, 0x42, true));
        bench.write(7, 0x42);
        assert!(!irq.is_high());
        bench.run(3_000_000);
        assert_eq!((bench.read(7), irq.is_high()), (1, true));
        remote(&mut bench, 0x4700, 10, 0x0a);
        let words: Vec<u32> = (0..5).map(|_| bench.try_read(0x10, Width::Word).unwrap()).collect();
        assert_eq!(words, [0x4801, 104, 0x5452, 0x1200, 0x5634]);
    }

    #[test]
    fn a_full_ring_overflows_and_wraps() {
        let mut bench = Bench::new(card(Line::detached()));
        start(&mut bench);
        let mut frame = [0; 1500];
        frame[..6].fill(0xff);
        for _ in 0..9 {
            bench.device.receive(&frame);
        }
        assert_eq!(bench.read(7) & 0x11, 1);
        bench.device.receive(&frame);
        assert_eq!(bench.read(7) & 0x11, 0x11);
        bench.write(3, 0x60);
        bench.device.receive(&frame);
        bench.write(0, 0x62);
        assert_eq!(bench.read(7), 0x47 + 10 * 6 - 0x3a);
    }

    #[test]
    fn multicast_filter_and_promiscuous_mode() {
        let mut bench = Bench::new(card(Line::detached()));
        start(&mut bench);
        let group = [0x01, 0x00, 0x5e, 0, 0, 0xfb];
        let seen = |bench: &mut Bench<Ne2000>, target: [u8; 6]| {
            let before = bench.device.state.current;
            let mut frame = [0; 60];
            frame[..6].copy_from_slice(&target);
            bench.device.receive(&frame);
            let taken = bench.device.state.current != before;
            bench.device.state.boundary = bench.device.state.current.max(0x47) - 1;
            taken
        };
        let (own, other) = (ADDRESS, [2, 0, 0, 0, 0, 9]);
        for (configuration, filter, expected) in [
            (0x04, true, [true, false, false]),
            (0x0c, true, [true, false, true]),
            (0x0c, false, [true, false, false]),
            (0x14, true, [true, true, false]),
            (0x1c, true, [true, true, true]),
        ] {
            bench.write(0, 0x62);
            let hash = address_hash(&group);
            for index in 0..8 {
                let bit = if filter && hash >> 3 == index { 1 << (hash & 7) } else { 0 };
                bench.write(8 + u16::from(index), bit);
            }
            bench.write(0, 0x22);
            bench.write(0x0c, configuration);
            assert_eq!([own, other, group].map(|target| seen(&mut bench, target)), expected, "{configuration:02x}");
        }
        // The filter takes the checksum's uppermost bits in the order in which they were computed.
        let sum = !ethernet_checksum(&group);
        assert_eq!(u32::from(address_hash(&group)), sum.reverse_bits() >> 26);
    }

    #[test]
    fn loopback_ends_in_the_fifo() {
        let mut bench = Bench::new(card(Line::detached()));
        start(&mut bench);
        remote(&mut bench, 0x4000, 60, 0x12);
        for index in 0..30 {
            bench.write_wide(0x10, Width::Word, index);
        }
        for (mode, status) in [(0x02, 0x53), (0x04, 0x43), (0x06, 0x03)] {
            for (register, value) in [(0x0d, mode), (7, 0xff), (4, 0x40), (5, 60), (6, 0), (0, 0x26)] {
                bench.write(register, value);
            }
            bench.run(100_000);
            assert_eq!((bench.read(4), bench.read(7), bench.read(0x0c)), (status, 2, 2));
            let fifo: Vec<u8> = (0..8).map(|_| bench.read(6)).collect();
            assert_eq!((fifo[0], &fifo[5..]), (0, &[64, 0, 0][..]));
        }
        bench.run(10_000_000);
        assert_eq!(bench.read(7) & 1, 0, "nothing went over the cable");
    }

    #[test]
    fn send_packet_empties_the_ring() {
        let mut bench = Bench::new(card(Line::detached()));
        start(&mut bench);
        let mut frame = [0x33; 100];
        frame[..6].fill(0xff);
        bench.device.receive(&frame);
        bench.write(0x0e, 0x59);
        bench.write(3, 0x47);
        bench.write(7, 0xff);
        bench.write(0, 0x1a);
        let words: Vec<u32> = (0..52).map(|_| bench.try_read(0x10, Width::Word).unwrap()).collect();
        assert_eq!(words[..3], [0x4821, 104, 0xffff]);
        assert_eq!((bench.read(7) & 0x40, bench.read(3)), (0x40, 0x48));
    }

    #[test]
    fn a_full_ring_holds_the_cable_back() {
        let mut bench = Bench::new(Ne2000::isa(Line::detached(), ADDRESS, Some(Box::new(Echo::default()))));
        start(&mut bench);
        for _ in 0..20 {
            for (register, value) in [(4, 0x46), (5, 0xdc), (6, 5), (0, 0x26)] {
                bench.write(register, value);
            }
            bench.device.state.receive_configuration = 0x1f;
            bench.device.state.multicast = [0xff; 8];
            bench.run(20_000);
        }
        bench.run(10_000_000);
        let mut frames = 0;
        // The first packet lies where the ring's pointer stood.
        bench.write(3, 0x47);
        while bench.device.state.current != bench.device.state.boundary {
            assert_eq!(bench.read(7) & 0x10, 0);
            let at = u16::from(bench.device.state.boundary) << 8;
            let next = bench.device.memory(at + 1);
            frames += 1;
            bench.write(3, next);
            bench.run(5_000_000);
        }
        assert_eq!(frames, 20);
    }

    /// A cable with frames of many lengths, which bear numbers.
    struct Numbered(u16, Random);
    impl Network for Numbered {
        fn send(&mut self, _: Time, _: &[u8]) {}
        fn receive(&mut self, _: Time) -> Option<Vec<u8>> {
            // A sender that waits for an answer after some frames.
            if self.0 == 5000 || self.0 % 50 == 49 && self.1.below(3) != 0 {
                return None;
            }
            let length = [60, 61, 300, 939, 1514, 1514][self.1.below(6) as usize];
            let mut frame = vec![self.0 as u8; length];
            frame[..6].fill(0xff);
            frame[12..14].copy_from_slice(&self.0.to_le_bytes());
            self.0 += 1;
            Some(frame)
        }
    }

    /// A driver as Linux has it: at each interrupt it takes up to nine frames, one page behind, and
    /// then takes back the interrupt.
    #[test]
    fn frames_left_in_the_ring_are_told_again_and_not_overwritten() {
        let irq = Line::detached();
        let cable = Numbered(0, Random::new(3));
        let mut bench = Bench::new(Ne2000::pci(irq.share(), ADDRESS, Some(Box::new(cable))));
        start(&mut bench);
        let mut random = Random::new(8);
        let (mut expected, mut idle) = (0u16, 0);
        while expected < 5000 {
            bench.run(random.below(30_000));
            if !irq.is_high() {
                idle += 1;
                assert!(idle < 1000, "stuck at frame {expected}");
                continue;
            }
            idle = 0;
            for _ in 0..9 {
                bench.write(0, 0x62);
                let current = bench.read(7);
                bench.write(0, 0x22);
                let behind = bench.read(3);
                let this = if behind + 1 >= 0x80 { 0x46 } else { behind + 1 };
                if this == current {
                    break;
                }
                remote(&mut bench, u16::from(this) << 8, 18, 0x0a);
                let words: Vec<u32> = (0..9).map(|_| bench.try_read(0x10, Width::Word).unwrap()).collect();
                assert_eq!((words[0] & 0xff, words[8]), (0x21, u32::from(expected)), "frame {expected}");
                assert!(words[1] >= 64, "frame {expected}");
                bench.write(3, ((words[0] >> 8) as u8).wrapping_sub(1));
                expected += 1;
                bench.run(random.below(20_000));
            }
            bench.write(7, 0x41);
        }
    }

    #[test]
    fn commands_with_neither_start_nor_stop_leave_the_chip_running() {
        let mut bench = Bench::new(card(Line::detached()));
        start(&mut bench);
        bench.write(0, 0x40);
        bench.write(0, 0x00);
        assert!(bench.device.listening());
        bench.write(0, 0x21);
        bench.write(0, 0x00);
        assert!(!bench.device.listening());
        bench.write(0, 0x22);
        assert!(bench.device.listening());
    }

    #[test]
    fn blocks_read_what_words_read() {
        let mut random = Random::new(4);
        let [mut one, mut other] = [0, 1].map(|_| Bench::new(card(Line::detached())));
        for bench in [&mut one, &mut other] {
            start(bench);
            for (index, byte) in bench.device.state.ram.iter_mut().enumerate() {
                *byte = (index * 7 + index / 256) as u8;
            }
        }
        for _ in 0..500 {
            let (address, count) = (0x4600 + random.below(0x3a00) as u16, random.below(3000) as u16);
            let mut block = vec![0; random.below(1500) as usize * 2];
            for bench in [&mut one, &mut other] {
                remote(bench, address, count, 0x0a);
            }
            assert_eq!(one.device.data_read_block(2, &mut block), block.len());
            for pair in block.chunks(2) {
                let word = other.try_read(0x10, Width::Word).unwrap();
                assert_eq!(word, u32::from(pair[0]) | u32::from(pair[1]) << 8);
            }
            assert_eq!(one.device.save(), other.device.save());
        }
    }

    #[test]
    fn blocks_write_what_words_write() {
        let mut random = Random::new(5);
        let [mut one, mut other] = [0, 1].map(|_| Bench::new(card(Line::detached())));
        for bench in [&mut one, &mut other] {
            start(bench);
        }
        for round in 0..500 {
            let (address, count) = (0x3ff0 + random.below(0x4100) as u16, random.below(3000) as u16);
            let block: Vec<u8> = (0..random.below(1500) as usize * 2).map(|n| (n * 3 + round) as u8).collect();
            for bench in [&mut one, &mut other] {
                remote(bench, address, count, 0x12);
            }
            let taken = one.device.data_write_block(2, &block);
            assert_eq!(taken, block.len().min(usize::from(count).next_multiple_of(2)));
            for pair in block.chunks(2) {
                other.write_wide(0x10, Width::Word, u32::from(pair[0]) | u32::from(pair[1]) << 8);
            }
            assert_eq!(one.device.save(), other.device.save());
        }
    }

    #[test]
    fn any_ring_takes_any_frame() {
        let mut random = Random::new(9);
        let mut bench = Bench::new(card(Line::detached()));
        start(&mut bench);
        bench.device.state.receive_configuration = 0x1f;
        for _ in 0..2000 {
            let state = &mut bench.device.state;
            state.page_start = random.below(256) as u8;
            state.page_stop = random.below(256) as u8;
            state.boundary = random.below(256) as u8;
            state.current = random.below(256) as u8;
            state.transmit_page = random.below(256) as u8;
            state.transmit_count = random.below(0x1_0000) as u16;
            let frame = vec![0xff; random.below(0x1_0001) as usize % [7, 61, 1600, 0x1_0001][random.below(4) as usize]];
            bench.device.receive(&frame);
            bench.device.transmit(Time::ZERO);
            remote(&mut bench, random.below(0x1_0000) as u16, random.below(0x1_0000) as u16, 0x0a);
            bench.try_read(0x10, Width::Dword);
            bench.try_read(0x10, Width::Word);
        }
    }
}
