//! One IDE channel: the task file, the protocols of ATA/ATAPI-6 chapter 9, and the bus master.
//!
//! A command is latched when it is written and executed a fixed span of guest time later, so
//! that software sees BSY first and the interrupt asynchronously, as with a drive.

use serde::{Deserialize, Serialize};

use super::atapi::{Cdrom, PacketOutcome};
use super::busmaster::BusMaster;
use super::disk::{Disk, MAX_MULTIPLE, SECTOR};
use crate::device::{Access, RestoreError, Time};
use crate::line::Line;
use crate::storage::StorageError;

pub(super) const BSY: u8 = 0x80;
pub(super) const DRDY: u8 = 0x40;
pub(super) const DF: u8 = 0x20;
pub(super) const DSC: u8 = 0x10;
pub(super) const DRQ: u8 = 0x08;
pub(super) const ERR: u8 = 0x01;

pub(super) const ABRT: u8 = 0x04;
pub(super) const IDNF: u8 = 0x10;
pub(super) const UNC: u8 = 0x40;

const NIEN: u8 = 0x02;
const SRST: u8 = 0x04;
const HOB: u8 = 0x80;

/// From the command write to its execution.
const COMMAND_TIME: u64 = 8_000;
/// From one block of a PIO transfer to the next.
const BLOCK_TIME: u64 = 4_000;
/// From the write command to the request for its first block.
const FIRST_WRITE_TIME: u64 = 1_000;
/// Per sector of a bus master transfer: about 100 MB/s.
const SECTOR_TIME: u64 = 5_000;
/// From the end of SRST to ready.
const RESET_TIME: u64 = 50_000;
/// Sectors moved between storage and memory at a time.
const DMA_CHUNK: usize = 128;

/// The drive at one position of a channel.
pub(super) enum Drive {
    Absent,
    Disk(Disk),
    Cdrom(Cdrom),
}

/// The task file of one drive; index 1 holds the previous content (48-bit commands).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TaskFile {
    features: [u8; 2],
    count: [u8; 2],
    low: [u8; 2],
    mid: [u8; 2],
    high: [u8; 2],
    error: u8,
    status: u8,
}

impl TaskFile {
    fn byte_count(&self) -> usize {
        usize::from(self.high[0]) << 8 | usize::from(self.mid[0])
    }
    fn set_byte_count(&mut self, count: usize) {
        self.mid[0] = count as u8;
        self.high[0] = (count >> 8) as u8;
    }
}

/// What happens when the busy time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Pending {
    /// Execute this command.
    Command(u8),
    /// Present the next block of a PIO read.
    ReadBlock,
    /// Store the block that software has written.
    WriteBlock,
    /// Execute the command packet.
    Packet,
    /// Present the next piece of a packet command's data.
    PacketBlock,
    /// End a packet command whose data is done.
    PacketEnd,
    /// Take the parameter list that software has written.
    PacketParameters,
    /// Move the data of a bus master transfer.
    Dma,
    /// Software reset is over.
    Reset,
}

/// What the data register is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Data {
    None,
    /// Sectors to the host, from the medium.
    Read,
    /// Sectors from the host, to the medium.
    Write,
    /// One block to the host, then done.
    Reply,
    /// The 512 bytes of WRITE BUFFER.
    Scratch,
    /// The 12 bytes of a command packet.
    Packet,
    /// Data of a packet command to the host.
    PacketIn,
    /// Parameters of a packet command from the host.
    PacketOut,
    /// A disk waits for the bus master: to memory.
    DmaRead,
    /// A disk waits for the bus master: from memory.
    DmaWrite,
    /// A packet command waits for the bus master.
    DmaPacket,
    /// A packet command with parameters waits for the bus master.
    DmaPacketOut,
}

/// The registers and internal state of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    files: [TaskFile; 2],
    select: u8,
    control: u8,
    interrupt: bool,
    /// Drives that SLEEP has put where only a reset reaches them.
    asleep: [bool; 2],
    pending: Option<(Time, Pending)>,
    data: Data,
    buffer: Vec<u8>,
    position: usize,
    /// Sectors of the current transfer: next one, how many, per interrupt, with 48-bit addresses.
    lba: u64,
    remaining: u32,
    block: u32,
    extended: bool,
    packet: Vec<u8>,
    /// Byte count limit of the current packet command.
    limit: usize,
    master: BusMaster,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SavedChannel {
    state: State,
    drives: [SavedDrive; 2],
}

#[derive(Serialize, Deserialize)]
enum SavedDrive {
    Absent,
    Disk(super::disk::DiskState),
    Cdrom(super::atapi::CdromState),
}

/// One channel with its two drives.
pub(super) struct Channel {
    interrupt: Line,
    pub drives: [Drive; 2],
    state: State,
}

impl Channel {
    pub fn new(interrupt: Line) -> Channel {
        Channel {
            interrupt,
            drives: [Drive::Absent, Drive::Absent],
            state: State {
                files: Default::default(),
                select: 0xa0,
                control: 0,
                interrupt: false,
                asleep: [false; 2],
                pending: None,
                data: Data::None,
                buffer: Vec::new(),
                position: 0,
                lba: 0,
                remaining: 0,
                block: 1,
                extended: false,
                packet: Vec::new(),
                limit: 0xfffe,
                master: BusMaster::default(),
            },
        }
    }

    /// Power-on state.
    pub fn reset(&mut self) {
        for drive in &mut self.drives {
            match drive {
                Drive::Absent => {}
                Drive::Disk(disk) => disk.reset(),
                Drive::Cdrom(cdrom) => cdrom.reset(),
            }
        }
        self.state = Channel::new(Line::detached()).state;
        self.set_signatures();
        self.drive_line();
    }

    fn set_signatures(&mut self) {
        for index in 0..2 {
            self.set_signature(index);
        }
    }

    /// The content of the task file after a reset (ATA/ATAPI-6, 9.12).
    fn set_signature(&mut self, index: usize) {
        let Some((drive, file)) = self.drives.get(index).zip(self.state.files.get_mut(index)) else { return };
        let (mid, high, status) = match drive {
            Drive::Absent => (0xff, 0xff, 0),
            Drive::Disk(_) => (0, 0, DRDY | DSC),
            Drive::Cdrom(_) => (0x14, 0xeb, 0),
        };
        *file = TaskFile {
            count: [1, 0],
            low: [1, 0],
            mid: [mid, 0],
            high: [high, 0],
            error: 1,
            status,
            ..TaskFile::default()
        };
    }

    fn selected(&self) -> usize {
        usize::from(self.state.select >> 4 & 1)
    }
    fn file(&self) -> &TaskFile {
        &self.state.files[usize::from(self.state.select >> 4 & 1)]
    }
    fn file_mut(&mut self) -> &mut TaskFile {
        &mut self.state.files[usize::from(self.state.select >> 4 & 1)]
    }
    fn present(&self) -> bool {
        !matches!(self.drives[self.selected()], Drive::Absent)
    }
    fn populated(&self) -> bool {
        self.drives.iter().any(|drive| !matches!(drive, Drive::Absent))
    }

    fn drive_line(&self) {
        self.interrupt.set(self.state.interrupt && self.state.control & NIEN == 0);
    }
    fn raise(&mut self) {
        self.state.interrupt = true;
        self.state.master.interrupted();
        self.drive_line();
    }
    fn lower(&mut self) {
        self.state.interrupt = false;
        self.drive_line();
    }
    fn schedule(&mut self, now: Time, delay: u64, pending: Pending) {
        self.file_mut().status = BSY;
        self.state.pending = Some((now.plus(delay), pending));
    }

    pub fn next_event(&self) -> Option<Time> {
        self.state.pending.map(|(due, _)| due)
    }

    /// Does what has come due.
    pub fn advance(&mut self, cx: &mut Access<'_>) {
        let Some((due, pending)) = self.state.pending else { return };
        if due > cx.now {
            return;
        }
        self.state.pending = None;
        match pending {
            Pending::Command(command) => self.execute(cx.now, command),
            Pending::ReadBlock => self.present_block(),
            Pending::WriteBlock => self.store_block(cx.now),
            Pending::Packet => self.execute_packet(cx.now),
            Pending::PacketBlock => self.present_packet_block(),
            Pending::PacketEnd => self.end_packet(),
            Pending::PacketParameters => self.take_parameters(),
            Pending::Dma => self.run_dma(cx),
            Pending::Reset => self.set_signatures(),
        }
    }

    // Task file -------------------------------------------------------------------------------

    /// Reads register 1–7 of the command block.
    pub fn read_register(&mut self, register: u16) -> u8 {
        if register == 7 {
            let status = self.alternate_status();
            if self.present() {
                self.lower();
            }
            return status;
        }
        if !self.populated() {
            return 0;
        }
        let previous = usize::from(self.state.control & HOB != 0);
        let file = self.file();
        match register {
            1 if previous == 0 => file.error,
            1 => file.features[1],
            2 => file.count[previous],
            3 => file.low[previous],
            4 => file.mid[previous],
            5 => file.high[previous],
            _ => self.state.select | 0xa0,
        }
    }

    /// The status register without its side effect on the interrupt.
    pub fn alternate_status(&self) -> u8 {
        if self.present() { self.file().status } else { 0 }
    }

    /// Writes register 1–7 of the command block.
    pub fn write_register(&mut self, cx: &mut Access<'_>, register: u16, value: u8) {
        if register == 7 {
            return self.command(cx.now, value);
        }
        self.state.control &= !HOB;
        if self.alternate_status() & BSY != 0 {
            return;
        }
        if register == 6 {
            self.state.select = value;
            return;
        }
        for file in &mut self.state.files {
            let cell = match register {
                1 => &mut file.features,
                2 => &mut file.count,
                3 => &mut file.low,
                4 => &mut file.mid,
                5 => &mut file.high,
                _ => return,
            };
            *cell = [value, cell[0]];
        }
    }

    /// Writes the device control register.
    pub fn write_control(&mut self, now: Time, value: u8) {
        let before = self.state.control;
        self.state.control = value;
        if value & SRST != 0 && before & SRST == 0 {
            self.abandon();
            self.state.interrupt = false;
            self.state.asleep = [false; 2];
            for (file, drive) in self.state.files.iter_mut().zip(&self.drives) {
                file.status = if matches!(drive, Drive::Absent) { 0 } else { BSY };
            }
        }
        if value & SRST == 0 && before & SRST != 0 {
            self.state.select = 0xa0;
            self.state.pending = Some((now.plus(RESET_TIME), Pending::Reset));
        }
        self.drive_line();
    }

    /// Ends any transfer without a trace.
    fn abandon(&mut self) {
        self.state.pending = None;
        self.state.data = Data::None;
        self.state.buffer.clear();
        self.state.position = 0;
        for drive in &mut self.drives {
            if let Drive::Cdrom(cdrom) = drive {
                cdrom.abandon();
            }
        }
    }

    fn command(&mut self, now: Time, command: u8) {
        self.state.control &= !HOB;
        if self.state.control & SRST != 0 {
            return;
        }
        let is_cdrom = matches!(self.drives[self.selected()], Drive::Cdrom(_));
        // EXECUTE DEVICE DIAGNOSTIC is for both drives, also when the selected one is absent.
        let takes = if command == 0x90 { self.populated() } else { self.present() };
        if !takes {
            return;
        }
        let device_reset = command == 0x08 && is_cdrom;
        if self.alternate_status() & BSY != 0 && !device_reset {
            return;
        }
        if self.state.asleep[self.selected()] && !device_reset {
            return;
        }
        self.lower();
        self.abandon();
        self.file_mut().error = 0;
        let write = matches!(command, 0x30 | 0x31 | 0x34 | 0x39 | 0x3c | 0xc5 | 0xce | 0xa0 | 0xe8);
        let delay = if write { FIRST_WRITE_TIME } else { COMMAND_TIME };
        self.schedule(now, delay, Pending::Command(command));
    }

    // Completion ------------------------------------------------------------------------------

    fn done(&mut self) {
        self.state.data = Data::None;
        self.file_mut().status = DRDY | DSC;
        self.raise();
    }
    fn fail(&mut self, error: u8) {
        self.state.data = Data::None;
        self.state.buffer.clear();
        let file = self.file_mut();
        file.error = error;
        file.status = DRDY | DSC | ERR;
        self.raise();
    }
    fn abort(&mut self) {
        self.fail(ABRT);
    }
    /// A bus master or storage problem that is nobody's sector.
    fn fault(&mut self) {
        self.fail(ABRT);
        self.file_mut().status |= DF;
    }
    fn storage_failed(&mut self, error: StorageError, writing: bool) {
        self.store_address(self.state.lba);
        match error {
            StorageError::OutOfRange => self.fail(IDNF | ABRT),
            StorageError::ReadOnly => self.abort(),
            StorageError::Host if writing => self.fault(),
            StorageError::Host => self.fail(UNC),
        }
    }
    fn reply(&mut self, block: Vec<u8>) {
        self.state.buffer = block;
        self.state.position = 0;
        self.state.data = Data::Reply;
        self.file_mut().status = DRDY | DSC | DRQ;
        self.raise();
    }

    // Commands --------------------------------------------------------------------------------

    fn execute(&mut self, now: Time, command: u8) {
        if command == 0x90 {
            return self.diagnose();
        }
        match self.drives[self.selected()] {
            Drive::Absent => {}
            Drive::Disk(_) => self.execute_disk(now, command),
            Drive::Cdrom(_) => self.execute_cdrom(command),
        }
    }

    fn diagnose(&mut self) {
        let was_cdrom = matches!(self.drives[0], Drive::Cdrom(_));
        self.set_signatures();
        self.state.select = 0xa0;
        if was_cdrom {
            self.file_mut().status = 0;
        }
        self.raise();
    }

    fn disk(&mut self) -> Option<&mut Disk> {
        let index = self.selected();
        match &mut self.drives[index] {
            Drive::Disk(disk) => Some(disk),
            _ => None,
        }
    }
    fn cdrom(&mut self) -> Option<&mut Cdrom> {
        let index = self.selected();
        match &mut self.drives[index] {
            Drive::Cdrom(cdrom) => Some(cdrom),
            _ => None,
        }
    }

    /// The address in the task file, or `None` when it does not exist on the disk.
    fn address(&mut self, extended: bool) -> Option<u64> {
        let select = self.state.select;
        let file = self.file();
        let (low, mid, high) = (file.low, file.mid, file.high);
        let byte = |bytes: [u8; 2], index: usize, shift: u32| u64::from(bytes[index & 1]) << shift;
        let base = byte(low, 0, 0) | byte(mid, 0, 8) | byte(high, 0, 16);
        if extended {
            return Some(base | byte(low, 1, 24) | byte(mid, 1, 32) | byte(high, 1, 40));
        }
        if select & 0x40 != 0 {
            return Some(base | u64::from(select & 0x0f) << 24);
        }
        let cylinder = u16::from(high[0]) << 8 | u16::from(mid[0]);
        self.disk()?.lba_of_chs(cylinder, select & 0x0f, low[0])
    }

    /// Puts a sector number into the task file, in the form the command used.
    fn store_address(&mut self, lba: u64) {
        let select = self.state.select;
        let extended = self.state.extended;
        let chs = self.disk().map(|disk| disk.chs_of_lba(lba));
        let file = self.file_mut();
        if extended {
            file.low = [lba as u8, (lba >> 24) as u8];
            file.mid = [(lba >> 8) as u8, (lba >> 32) as u8];
            file.high = [(lba >> 16) as u8, (lba >> 40) as u8];
        } else if select & 0x40 != 0 {
            file.low[0] = lba as u8;
            file.mid[0] = (lba >> 8) as u8;
            file.high[0] = (lba >> 16) as u8;
            self.state.select = select & 0xf0 | (lba >> 24) as u8 & 0x0f;
        } else if let Some((cylinder, head, sector)) = chs {
            file.low[0] = sector;
            file.mid[0] = cylinder as u8;
            file.high[0] = (cylinder >> 8) as u8;
            self.state.select = select & 0xf0 | head & 0x0f;
        }
    }

    /// Takes address and count from the task file; fails the command when they leave the disk.
    fn start_transfer(&mut self, extended: bool, block: u32) -> bool {
        let count = self.file().count;
        let remaining = match (extended, u32::from(count[0]), u32::from(count[1])) {
            (false, 0, _) => 256,
            (false, n, _) => n,
            (true, 0, 0) => 65_536,
            (true, n, previous) => previous << 8 | n,
        };
        self.state.extended = extended;
        let address = self.address(extended);
        let total = self.disk().map_or(0, |disk| disk.total());
        let Some(lba) = address.filter(|lba| lba + u64::from(remaining) <= total) else {
            self.fail(IDNF);
            return false;
        };
        self.state.lba = lba;
        self.state.remaining = remaining;
        self.state.block = block.max(1);
        true
    }

    fn execute_disk(&mut self, now: Time, command: u8) {
        let extended = matches!(command, 0x24 | 0x25 | 0x29 | 0x34 | 0x35 | 0x39 | 0x3d | 0x42 | 0xce);
        let multiple = u32::from(self.disk().map_or(0, |disk| disk.state.multiple));
        match command {
            0x20 | 0x21 | 0x24 => self.start_read(extended, 1),
            0x29 | 0xc4 if multiple != 0 => self.start_read(extended, multiple),
            0x30 | 0x31 | 0x34 | 0x3c => self.start_write(extended, 1),
            0x39 | 0xc5 | 0xce if multiple != 0 => self.start_write(extended, multiple),
            0x25 | 0xc8 | 0xc9 => self.start_dma(now, extended, Data::DmaRead),
            0x35 | 0x3d | 0xca | 0xcb => self.start_dma(now, extended, Data::DmaWrite),
            0x40..=0x42 => {
                if self.start_transfer(extended, 1) {
                    self.verify();
                }
            }
            0x10..=0x1f => {
                let file = self.file_mut();
                file.mid[0] = 0;
                file.high[0] = 0;
                self.done();
            }
            0x70..=0x7f => {
                self.state.extended = false;
                let total = self.disk().map_or(0, |disk| disk.total());
                match self.address(false) {
                    Some(lba) if lba < total => self.done(),
                    _ => self.fail(IDNF),
                }
            }
            0x91 => {
                let (heads, sectors) = ((self.state.select & 0x0f) + 1, self.file().count[0]);
                match self.disk() {
                    Some(disk) if sectors != 0 => {
                        disk.state.heads = heads;
                        disk.state.sectors = sectors;
                        self.done();
                    }
                    _ => self.abort(),
                }
            }
            0xc6 => {
                let count = self.file().count[0];
                match self.disk() {
                    Some(disk) if count <= MAX_MULTIPLE && (count == 0 || count.is_power_of_two()) => {
                        disk.state.multiple = count;
                        self.done();
                    }
                    _ => self.abort(),
                }
            }
            0xe7 | 0xea => match self.disk().map(|disk| disk.storage.flush()) {
                Some(Ok(())) => self.done(),
                _ => self.fault(),
            },
            0xec => {
                let block = self.disk().map(|disk| disk.identify()).unwrap_or_default();
                self.reply(block);
            }
            0xe4 => {
                let block = self.disk().map(|disk| disk.state.scratch.clone()).unwrap_or_default();
                self.reply(block);
            }
            0xe8 => {
                self.state.buffer = vec![0; SECTOR];
                self.state.position = 0;
                self.state.data = Data::Scratch;
                self.file_mut().status = DRDY | DSC | DRQ;
            }
            0xf8 | 0x27 => {
                self.state.extended = command == 0x27;
                let total = self.disk().map_or(0, |disk| disk.total());
                let limit = if command == 0x27 { total } else { total.min(0x0fff_ffff) };
                self.state.select |= 0x40;
                self.store_address(limit.saturating_sub(1));
                self.done();
            }
            0xef => self.set_features(),
            _ => self.power(command),
        }
    }

    fn set_features(&mut self) {
        let (feature, count) = (self.file().features[0], self.file().count[0]);
        // PIO default, PIO with flow control 0–4, multiword DMA 0–2, Ultra DMA 0–5.
        let mode_known = matches!(count, 0 | 1 | 0x08..=0x0c | 0x20..=0x22 | 0x40..=0x45);
        let known = match (&mut self.drives[usize::from(self.state.select >> 4 & 1)], feature) {
            (Drive::Disk(disk), 0x03) if mode_known => {
                disk.state.mode = count;
                true
            }
            (Drive::Cdrom(cdrom), 0x03) if mode_known => {
                cdrom.state.mode = count;
                true
            }
            (Drive::Disk(disk), 0x02 | 0x82) => {
                disk.state.write_cache = feature == 0x02;
                feature == 0x02 || disk.storage.flush().is_ok()
            }
            (Drive::Disk(disk), 0x55 | 0xaa) => {
                disk.state.look_ahead = feature == 0xaa;
                true
            }
            (_, 0x66 | 0xcc) => true,
            _ => false,
        };
        if known { self.done() } else { self.abort() }
    }

    /// Power management, shared by disks and CD-ROM drives; anything else is refused.
    fn power(&mut self, command: u8) {
        match command {
            0xe0..=0xe3 | 0x94..=0x97 => self.done(),
            0xe5 | 0x98 => {
                self.file_mut().count[0] = 0xff;
                self.done();
            }
            0xe6 | 0x99 => {
                self.done();
                let index = self.selected();
                self.state.asleep[index] = true;
            }
            _ => self.abort(),
        }
    }

    fn verify(&mut self) {
        let mut sector = [0; SECTOR];
        let last = self.state.lba + u64::from(self.state.remaining) - 1;
        // The ends stand for the whole: reading all of a large range would stall the host.
        for lba in [self.state.lba, last] {
            if let Some(Err(error)) = self.disk().map(|disk| disk.read(lba, &mut sector)) {
                self.state.lba = lba;
                return self.storage_failed(error, false);
            }
        }
        self.store_address(last);
        self.file_mut().count = [0, 0];
        self.done();
    }

    // PIO -------------------------------------------------------------------------------------

    fn start_read(&mut self, extended: bool, block: u32) {
        if self.start_transfer(extended, block) {
            self.present_block();
        }
    }

    /// Sectors of the next data block.
    fn next_block(&self) -> usize {
        self.state.remaining.min(self.state.block).min(u32::from(MAX_MULTIPLE)) as usize
    }

    fn present_block(&mut self) {
        let sectors = self.next_block();
        let lba = self.state.lba;
        let mut buffer = std::mem::take(&mut self.state.buffer);
        buffer.resize(sectors * SECTOR, 0);
        let result = self.disk().map_or(Err(StorageError::Host), |disk| disk.read(lba, &mut buffer));
        self.state.buffer = buffer;
        self.state.position = 0;
        if let Err(error) = result {
            return self.storage_failed(error, false);
        }
        self.count_sectors(sectors);
        self.state.data = Data::Read;
        self.file_mut().status = DRDY | DSC | DRQ;
        self.raise();
    }

    /// Accounts for sectors that were moved.
    fn count_sectors(&mut self, sectors: usize) {
        self.state.lba += sectors as u64;
        self.state.remaining = self.state.remaining.saturating_sub(sectors as u32);
        self.store_address(self.state.lba.saturating_sub(1));
        let left = self.state.remaining;
        self.file_mut().count = [left as u8, (left >> 8) as u8];
    }

    fn start_write(&mut self, extended: bool, block: u32) {
        if self.start_transfer(extended, block) {
            self.request_block();
        }
    }

    fn request_block(&mut self) {
        let bytes = self.next_block() * SECTOR;
        self.state.buffer.clear();
        self.state.buffer.resize(bytes, 0);
        self.state.position = 0;
        self.state.data = Data::Write;
        self.file_mut().status = DRDY | DSC | DRQ;
    }

    fn store_block(&mut self, _now: Time) {
        let lba = self.state.lba;
        let buffer = std::mem::take(&mut self.state.buffer);
        let result = self.disk().map_or(Err(StorageError::Host), |disk| disk.write(lba, &buffer));
        let sectors = buffer.len() / SECTOR;
        self.state.buffer = buffer;
        if let Err(error) = result {
            return self.storage_failed(error, true);
        }
        self.count_sectors(sectors);
        if self.state.remaining == 0 {
            return self.done();
        }
        self.request_block();
        self.raise();
    }

    fn is_output(&self) -> bool {
        matches!(self.state.data, Data::Write | Data::Scratch | Data::Packet | Data::PacketOut)
    }
    fn is_input(&self) -> bool {
        matches!(self.state.data, Data::Read | Data::Reply | Data::PacketIn)
    }

    /// Bytes that the data register gives up to the end of the block.
    pub fn data_left(&self) -> usize {
        let gives = self.is_input() && self.alternate_status() & DRQ != 0;
        if gives { self.state.buffer.len().saturating_sub(self.state.position) } else { 0 }
    }

    /// Fills `out` from the data register; returns how many bytes the drive had.
    pub fn data_in(&mut self, now: Time, out: &mut [u8]) -> usize {
        let mut given = 0;
        while given < out.len() && self.is_input() && self.alternate_status() & DRQ != 0 {
            let rest = self.state.buffer.get(self.state.position..).unwrap_or_default();
            let part = rest.len().min(out.len() - given);
            out[given..given + part].copy_from_slice(&rest[..part]);
            given += part;
            self.state.position += part;
            if self.state.position >= self.state.buffer.len() {
                self.block_taken(now);
            }
        }
        given
    }

    /// Takes `bytes` into the data register; returns how many the drive wanted.
    pub fn data_out(&mut self, now: Time, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && self.is_output() && self.alternate_status() & DRQ != 0 {
            let position = self.state.position;
            let room = self.state.buffer.get_mut(position..).unwrap_or_default();
            let part = room.len().min(bytes.len() - taken);
            room[..part].copy_from_slice(&bytes[taken..taken + part]);
            taken += part;
            self.state.position += part;
            if self.state.position >= self.state.buffer.len() {
                self.block_given(now);
            }
        }
        taken
    }

    fn block_taken(&mut self, now: Time) {
        match self.state.data {
            Data::Read if self.state.remaining != 0 => self.schedule(now, BLOCK_TIME, Pending::ReadBlock),
            Data::PacketIn => {
                let more = self.cdrom().is_some_and(|cdrom| cdrom.has_data());
                self.schedule(now, BLOCK_TIME, if more { Pending::PacketBlock } else { Pending::PacketEnd });
            }
            _ => self.file_mut().status = DRDY | DSC,
        }
        self.state.data = match self.state.data {
            Data::Read if self.state.remaining != 0 => Data::Read,
            Data::PacketIn => Data::PacketIn,
            _ => Data::None,
        };
    }

    fn block_given(&mut self, now: Time) {
        match self.state.data {
            Data::Write => self.schedule(now, BLOCK_TIME, Pending::WriteBlock),
            Data::Packet => self.schedule(now, COMMAND_TIME, Pending::Packet),
            Data::PacketOut => self.schedule(now, BLOCK_TIME, Pending::PacketParameters),
            Data::Scratch => {
                let buffer = std::mem::take(&mut self.state.buffer);
                if let Some(disk) = self.disk() {
                    disk.state.scratch = buffer;
                }
                self.done();
            }
            _ => {}
        }
    }

    // Packet commands -------------------------------------------------------------------------

    fn execute_cdrom(&mut self, command: u8) {
        match command {
            0xa0 => {
                self.state.buffer = vec![0; 12];
                self.state.position = 0;
                self.state.data = Data::Packet;
                let file = self.file_mut();
                file.count[0] = 1;
                file.status = DRDY | DSC | DRQ;
            }
            0xa1 => {
                let block = self.cdrom().map(|cdrom| cdrom.identify()).unwrap_or_default();
                self.reply(block);
            }
            0x08 => {
                let index = self.selected();
                self.set_signature(index);
                self.state.asleep[index] = false;
            }
            // Commands by which software finds out that this is no disk.
            0xec | 0x20 | 0x21 => {
                let index = self.selected();
                self.set_signature(index);
                self.abort();
            }
            0xef => self.set_features(),
            _ => self.power(command),
        }
    }

    fn execute_packet(&mut self, now: Time) {
        let mut packet = [0; 12];
        for (to, from) in packet.iter_mut().zip(&self.state.buffer) {
            *to = *from;
        }
        self.state.packet = packet.to_vec();
        self.state.position = 0;
        let by_dma = self.file().features[0] & 1 != 0;
        self.state.limit = match self.file().byte_count() {
            0 | 0xffff => 0xfffe,
            limit => limit,
        };
        let outcome = match self.cdrom() {
            Some(cdrom) => cdrom.execute(&packet),
            None => PacketOutcome::Done,
        };
        match outcome {
            PacketOutcome::Done | PacketOutcome::Failed => self.end_packet(),
            PacketOutcome::DataIn if by_dma => self.wait_for_master(now, Data::DmaPacket),
            PacketOutcome::DataIn => self.present_packet_block(),
            PacketOutcome::DataOut(length) => {
                self.state.buffer = vec![0; length];
                self.state.position = 0;
                if by_dma {
                    return self.wait_for_master(now, Data::DmaPacketOut);
                }
                self.state.data = Data::PacketOut;
                let file = self.file_mut();
                file.set_byte_count(length);
                file.count[0] = 0;
                file.status = DRDY | DSC | DRQ;
                self.raise();
            }
        }
    }

    fn present_packet_block(&mut self) {
        let available = self.cdrom().map_or(0, |cdrom| cdrom.data_left());
        // Only the last piece may be odd (ATA/ATAPI-6, 8.21.5).
        let limit = self.state.limit;
        let want = if limit >= available { available } else { (limit & !1).max(1) };
        let mut buffer = std::mem::take(&mut self.state.buffer);
        buffer.clear();
        let result = self.cdrom().is_none_or(|cdrom| cdrom.take_data(want, &mut buffer));
        self.state.buffer = buffer;
        self.state.position = 0;
        if !result || self.state.buffer.is_empty() {
            return self.end_packet();
        }
        self.state.data = Data::PacketIn;
        let length = self.state.buffer.len();
        let file = self.file_mut();
        file.set_byte_count(length);
        file.count[0] = 2;
        file.status = DRDY | DSC | DRQ;
        self.raise();
    }

    fn take_parameters(&mut self) {
        let buffer = std::mem::take(&mut self.state.buffer);
        let packet = std::mem::take(&mut self.state.packet);
        if let Some(cdrom) = self.cdrom() {
            cdrom.parameters(&packet, &buffer);
        }
        self.end_packet();
    }

    /// Status phase of a packet command: the sense key decides between good and check condition.
    fn end_packet(&mut self) {
        self.state.data = Data::None;
        self.state.buffer.clear();
        let key = self.cdrom().map_or(0, |cdrom| cdrom.failed_with());
        let file = self.file_mut();
        file.count[0] = 3;
        file.error = key << 4 | if key == 5 { ABRT } else { 0 };
        file.status = DRDY | DSC | if key != 0 { ERR } else { 0 };
        self.raise();
    }

    // Bus master ------------------------------------------------------------------------------

    fn start_dma(&mut self, now: Time, extended: bool, data: Data) {
        if self.start_transfer(extended, 1) {
            self.wait_for_master(now, data);
        }
    }

    fn wait_for_master(&mut self, now: Time, data: Data) {
        self.state.data = data;
        self.file_mut().status = DRDY | DSC | DRQ;
        self.try_dma(now);
    }

    fn try_dma(&mut self, now: Time) {
        if !self.state.master.is_started() || self.state.pending.is_some() {
            return;
        }
        let sectors = match self.state.data {
            Data::DmaRead | Data::DmaWrite => u64::from(self.state.remaining),
            Data::DmaPacket => self.cdrom().map_or(0, |cdrom| cdrom.data_left()) as u64 / 512,
            Data::DmaPacketOut => 0,
            _ => return,
        };
        self.schedule(now, BLOCK_TIME + sectors * SECTOR_TIME, Pending::Dma);
    }

    /// Reads the bus master register at `offset` (0–7) of this channel.
    pub fn read_master(&self, offset: u16, bytes: u32) -> u32 {
        self.state.master.read(offset, bytes)
    }

    /// Writes the bus master register at `offset` (0–7) of this channel.
    pub fn write_master(&mut self, now: Time, offset: u16, bytes: u32, value: u32) {
        let was_started = self.state.master.is_started();
        self.state.master.write(offset, bytes, value);
        let is_started = self.state.master.is_started();
        if is_started && !was_started {
            self.try_dma(now);
        }
        // Stopping a transfer before its time leaves the drive waiting with its data.
        if was_started && !is_started && matches!(self.state.pending, Some((_, Pending::Dma))) {
            self.state.pending = None;
            self.file_mut().status = DRDY | DSC | DRQ;
        }
    }

    fn run_dma(&mut self, cx: &mut Access<'_>) {
        match self.state.data {
            Data::DmaRead | Data::DmaWrite => self.run_disk_dma(cx),
            Data::DmaPacket => {
                let mut buffer = Vec::new();
                while let Some(left) = self.cdrom().map(|cdrom| cdrom.data_left()).filter(|left| *left != 0) {
                    buffer.clear();
                    let fine = self.cdrom().is_some_and(|cdrom| cdrom.take_data(left.min(0x1_0000), &mut buffer));
                    if !fine || buffer.is_empty() {
                        break;
                    }
                    if self.state.master.transfer(cx.dma, &mut buffer, true) != buffer.len() {
                        return self.short_table();
                    }
                }
                self.state.master.finish();
                self.end_packet();
            }
            Data::DmaPacketOut => {
                let mut buffer = std::mem::take(&mut self.state.buffer);
                let moved = self.state.master.transfer(cx.dma, &mut buffer, false);
                let complete = moved == buffer.len();
                self.state.buffer = buffer;
                if !complete {
                    return self.short_table();
                }
                self.state.master.finish();
                self.take_parameters();
            }
            _ => {}
        }
    }

    fn run_disk_dma(&mut self, cx: &mut Access<'_>) {
        let to_memory = self.state.data == Data::DmaRead;
        let mut buffer = Vec::new();
        while self.state.remaining != 0 {
            let sectors = (self.state.remaining as usize).min(DMA_CHUNK);
            let lba = self.state.lba;
            buffer.clear();
            buffer.resize(sectors * SECTOR, 0);
            let result = if to_memory {
                self.disk().map_or(Err(StorageError::Host), |disk| disk.read(lba, &mut buffer))
            } else {
                Ok(())
            };
            let moved = match result {
                Ok(()) => self.state.master.transfer(cx.dma, &mut buffer, to_memory),
                Err(_) => 0,
            };
            let result = result.and_then(|()| {
                if to_memory || moved != buffer.len() {
                    return Ok(());
                }
                self.disk().map_or(Err(StorageError::Host), |disk| disk.write(lba, &buffer))
            });
            if let Err(error) = result {
                self.state.master.finish();
                return self.storage_failed(error, !to_memory);
            }
            if moved != buffer.len() {
                return self.short_table();
            }
            self.count_sectors(sectors);
        }
        self.state.master.finish();
        self.done();
    }

    /// The descriptor table ended before the transfer: the bus master goes idle without an
    /// interrupt (82371SB, 2.4.2) and the drive is left to be reset.
    fn short_table(&mut self) {
        self.state.master.stop();
        self.state.data = Data::None;
        self.state.buffer.clear();
        if let Some(cdrom) = self.cdrom() {
            cdrom.abandon();
        }
        self.file_mut().status = DRDY | DSC;
    }

    // Saved state -----------------------------------------------------------------------------

    pub fn save(&self) -> SavedChannel {
        let Self { interrupt: _, drives, state } = self;
        let save = |drive: &Drive| match drive {
            Drive::Absent => SavedDrive::Absent,
            Drive::Disk(disk) => SavedDrive::Disk(disk.state.clone()),
            Drive::Cdrom(cdrom) => SavedDrive::Cdrom(cdrom.state.clone()),
        };
        let [first, second] = drives;
        SavedChannel { state: state.clone(), drives: [save(first), save(second)] }
    }

    /// Whether `saved` can be taken over: the same kinds of drives, and no impossible value.
    pub fn check(&self, saved: &SavedChannel) -> Result<(), RestoreError> {
        for (drive, saved) in self.drives.iter().zip(&saved.drives) {
            match (drive, saved) {
                (Drive::Absent, SavedDrive::Absent) => {}
                (Drive::Disk(_), SavedDrive::Disk(state)) => {
                    if state.heads == 0 || state.heads > 16 || state.sectors == 0 {
                        return Err(RestoreError::OutOfRange("geometry"));
                    }
                    if state.multiple > MAX_MULTIPLE || state.scratch.len() != SECTOR {
                        return Err(RestoreError::OutOfRange("multiple"));
                    }
                }
                (Drive::Cdrom(_), SavedDrive::Cdrom(state)) => state.check()?,
                _ => return Err(RestoreError::OutOfRange("drives")),
            }
        }
        let state = &saved.state;
        if state.position > state.buffer.len()
            || state.buffer.len() > 0x1_0000
            || state.packet.len() > 12
            || state.limit > 0xffff
        {
            return Err(RestoreError::OutOfRange("buffer"));
        }
        let moving = matches!(state.data, Data::Read | Data::Write | Data::DmaRead | Data::DmaWrite);
        if state.block == 0
            || state.remaining > 65_536
            || state.lba > 1 << 48
            || (moving && !state.buffer.len().is_multiple_of(SECTOR))
        {
            return Err(RestoreError::OutOfRange("transfer"));
        }
        // A full or empty buffer never stays connected to the data register.
        let connected = matches!(
            state.data,
            Data::Read | Data::Reply | Data::PacketIn | Data::Write | Data::Scratch | Data::Packet | Data::PacketOut
        );
        let drq = state.files.get(usize::from(state.select >> 4 & 1)).is_some_and(|file| file.status & DRQ != 0);
        if connected && drq && state.position >= state.buffer.len() {
            return Err(RestoreError::OutOfRange("position"));
        }
        if state.data == Data::Scratch && state.buffer.len() != SECTOR {
            return Err(RestoreError::OutOfRange("buffer"));
        }
        state.master.check()
    }

    /// Takes over a state that [`Channel::check`] has passed.
    pub fn restore(&mut self, saved: SavedChannel) {
        for (drive, saved) in self.drives.iter_mut().zip(saved.drives) {
            match (drive, saved) {
                (Drive::Disk(disk), SavedDrive::Disk(state)) => disk.state = state,
                (Drive::Cdrom(cdrom), SavedDrive::Cdrom(state)) => cdrom.state = state,
                _ => {}
            }
        }
        self.state = saved.state;
        self.interrupt.restore_level(self.state.interrupt && self.state.control & NIEN == 0);
    }
}
