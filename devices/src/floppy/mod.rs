//! Floppy controller: Intel 82077AA (data sheet 290166) in AT mode, with two drives.
//!
//! Registers, from port 3F0h: 0 and 1 status A and B, 2 digital output, 3 tape drive, 4 main status
//! and data rate select, 5 FIFO, 7 digital input and configuration control. Register 6 belongs to
//! the hard disk. Data goes over ISA DMA channel 2.
//!
//! Times are those of an ideal drive: a command takes half a millisecond plus a tenth per sector or
//! track. A command without a disk ends abnormally where a chip would wait for index pulses for
//! ever. Not emulated: the motor (a disk always turns), sector sizes other than 512 bytes, deleted
//! data marks (WRITE DELETED DATA writes ordinary data), FM, tape drives, the FIFO's threshold
//! (programmed I/O moves a sector at a time), double stepping (a 40-track disk also answers on the
//! doubled track).

#![allow(clippy::precedence, reason = "shifts before masks is how register layouts are written")]

mod drive;
#[cfg(test)]
mod tests;

pub use drive::{DriveKind, Format};

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, TransferDirection, Width};
use crate::line::Line;
use crate::storage::Storage;
use drive::{Drive, DriveState, SECTOR};

/// ISA DMA channel.
const CHANNEL: u8 = 2;
const COMMAND_TIME: u64 = 500_000;
const STEP_TIME: u64 = 100_000;
const RESET_TIME: u64 = 20_000;
/// Longest command and longest result.
const FIFO_BYTES: usize = 16;

const DOR_RUN: u8 = 0x04;
const DOR_GATE: u8 = 0x08;

const MSR_READY: u8 = 0x80;
const MSR_OUT: u8 = 0x40;
const MSR_PROGRAMMED: u8 = 0x20;
const MSR_BUSY: u8 = 0x10;

const ST0_ABNORMAL: u8 = 0x40;
const ST0_INVALID: u8 = 0x80;
const ST0_SEEK_END: u8 = 0x20;
const ST0_CHECK: u8 = 0x10;
const ST1_END_OF_CYLINDER: u8 = 0x80;
const ST1_DATA_ERROR: u8 = 0x20;
const ST1_OVERRUN: u8 = 0x10;
const ST1_NO_DATA: u8 = 0x04;
const ST1_NOT_WRITABLE: u8 = 0x02;
const ST1_NO_MARK: u8 = 0x01;
const ST2_CONTROL_MARK: u8 = 0x40;
const ST2_DATA_ERROR: u8 = 0x20;
const ST2_WRONG_CYLINDER: u8 = 0x10;
const ST2_SCAN_EQUAL: u8 = 0x08;
const ST2_SCAN_FAILED: u8 = 0x04;

/// What the chip is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Held in reset.
    Reset,
    /// Takes command bytes.
    Command,
    /// Works on a command until the event comes.
    Execution,
    /// Programmed I/O: gives a sector.
    DataIn,
    /// Programmed I/O: takes a sector.
    DataOut,
    /// Gives result bytes.
    Result,
}

/// What happens when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Event {
    ResetDone,
    Execute,
    NextSector,
}

/// The commands that move sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Read,
    ReadDeleted,
    ReadTrack,
    Write,
    Verify,
    ScanEqual,
    ScanLow,
    ScanHigh,
}

impl Kind {
    fn direction(self) -> Option<TransferDirection> {
        match self {
            Kind::Read | Kind::ReadDeleted | Kind::ReadTrack => Some(TransferDirection::ToMemory),
            Kind::Verify => None,
            _ => Some(TransferDirection::FromMemory),
        }
    }
    fn is_scan(self) -> bool {
        matches!(self, Kind::ScanEqual | Kind::ScanLow | Kind::ScanHigh)
    }
}

/// A sector command under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Transfer {
    kind: Kind,
    drive: u8,
    /// Side of the disk that is next, the one last used, and the address that is compared.
    side: u8,
    used_side: u8,
    cylinder: u8,
    head: u8,
    sector: u8,
    size_code: u8,
    last_sector: u8,
    step: u8,
    both_sides: bool,
    skip: bool,
    /// VERIFY: sectors still to be checked when they are counted.
    count: Option<u8>,
    /// Sectors so far of READ TRACK.
    passed: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    dor: u8,
    tdr: u8,
    rate: u8,
    precompensation: u8,
    phase: Phase,
    interrupt: bool,
    event: Option<(Time, Event)>,
    fifo: Vec<u8>,
    /// Result bytes already read.
    given: usize,
    /// Seeks under way, one for each drive.
    seeks: [Option<Time>; 4],
    seek_targets: [u8; 4],
    /// Status bytes that wait for SENSE INTERRUPT STATUS, one for each drive.
    sense: [Option<u8>; 4],
    specify: [u8; 2],
    configure: [u8; 2],
    perpendicular: u8,
    locked: bool,
    last_track_end: u8,
    transfer: Option<Transfer>,
    buffer: Vec<u8>,
    position: usize,
}

impl Default for State {
    fn default() -> State {
        State {
            dor: 0,
            tdr: 0,
            rate: 2,
            precompensation: 0,
            phase: Phase::Reset,
            interrupt: false,
            event: None,
            fifo: Vec::new(),
            given: 0,
            seeks: [None; 4],
            seek_targets: [0; 4],
            sense: [None; 4],
            specify: [0; 2],
            // FIFO off, polling on.
            configure: [0x20, 0],
            perpendicular: 0,
            locked: false,
            last_track_end: 0,
            transfer: None,
            buffer: Vec::new(),
            position: 0,
        }
    }
}

/// The floppy controller.
pub struct FloppyController {
    interrupt: Line,
    drives: [Drive; 2],
    state: State,
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    state: State,
    drives: [DriveState; 2],
}

/// Length of a command with its first byte; 1 for those that do not exist.
fn command_length(first: u8) -> usize {
    match (first, first & 0x1f) {
        (0x03, _) => 3,
        (0x04 | 0x07 | 0x12 | 0x17, _) => 2,
        (0x0f | 0x8f | 0xcf, _) => 3,
        (0x13, _) => 4,
        (_, 0x02 | 0x05 | 0x06 | 0x09 | 0x0c | 0x11 | 0x16 | 0x19 | 0x1d) => 9,
        (_, 0x0a) => 2,
        (_, 0x0d) => 6,
        _ => 1,
    }
}

impl FloppyController {
    /// A controller without drives.
    #[must_use]
    pub fn new(interrupt: Line) -> FloppyController {
        FloppyController { interrupt, drives: [Drive::new(), Drive::new()], state: State::default() }
    }

    /// Connects a drive at position `drive` (0 or 1).
    pub fn attach(&mut self, drive: usize, kind: DriveKind) {
        if let Some(drive) = self.drives.get_mut(drive) {
            drive.kind = Some(kind);
        }
    }

    /// Exchanges the disk in drive `drive` (0 or 1), which raises its disk change signal, and
    /// gives back the old one.
    pub fn insert(&mut self, drive: usize, medium: Option<Box<dyn Storage>>) -> Option<Box<dyn Storage>> {
        let Some(drive) = self.drives.get_mut(drive) else { return medium };
        drive.state.changed = true;
        std::mem::replace(&mut drive.medium, medium)
    }

    /// The kind of drive at position `drive` (0 or 1), for the CMOS.
    #[must_use]
    pub fn kind(&self, drive: usize) -> Option<DriveKind> {
        self.drives.get(drive).and_then(|drive| drive.kind)
    }

    /// Bytes and write protection of the disk in drive `drive` (0 or 1).
    #[must_use]
    pub fn medium(&self, drive: usize) -> Option<(u64, bool)> {
        let medium = self.drives.get(drive)?.medium.as_ref()?;
        Some((medium.len(), medium.read_only()))
    }

    /// Whether the motor of drive `drive` is on: the light of the drive.
    #[must_use]
    pub fn motor(&self, drive: usize) -> bool {
        drive < 4 && self.state.dor >> (4 + drive) & 1 != 0
    }

    fn drive(&mut self, index: u8) -> Option<&mut Drive> {
        self.drives.get_mut(usize::from(index & 3)).filter(|drive| drive.kind.is_some())
    }

    fn drive_line(&self) {
        self.interrupt.set(self.state.interrupt && self.state.dor & DOR_GATE != 0);
    }
    fn raise(&mut self) {
        self.state.interrupt = true;
        self.drive_line();
    }
    fn lower(&mut self) {
        self.state.interrupt = false;
        self.drive_line();
    }

    // Reset -----------------------------------------------------------------------------------

    /// What the reset bit of DOR or DSR does while it is active.
    fn hold_reset(&mut self) {
        let state = &mut self.state;
        let configure = if state.locked { state.configure } else { [0x20, 0] };
        *state = State {
            dor: state.dor,
            tdr: state.tdr,
            rate: state.rate,
            precompensation: state.precompensation,
            specify: state.specify,
            perpendicular: if state.locked { state.perpendicular } else { state.perpendicular & 0x3c },
            locked: state.locked,
            last_track_end: state.last_track_end,
            configure,
            ..State::default()
        };
        self.drive_line();
    }

    fn release_reset(&mut self, now: Time) {
        self.state.event = Some((now.plus(RESET_TIME), Event::ResetDone));
    }

    fn reset_done(&mut self) {
        self.state.phase = Phase::Command;
        for drive in &mut self.drives {
            drive.state.present_cylinder = 0;
        }
        // With polling on, all four drives report that their ready signal changed.
        if self.state.configure[0] & 0x10 == 0 {
            for (index, sense) in self.state.sense.iter_mut().enumerate() {
                *sense = Some(0xc0 | index as u8);
            }
            self.raise();
        }
    }

    // Command phase ---------------------------------------------------------------------------

    fn status(&self) -> u8 {
        let seeking =
            self.state.seeks.iter().enumerate().map(|(index, seek)| u8::from(seek.is_some()) << index).sum::<u8>();
        seeking
            | match self.state.phase {
                Phase::Reset => 0,
                Phase::Command if self.state.fifo.is_empty() => MSR_READY,
                Phase::Command => MSR_READY | MSR_BUSY,
                Phase::Execution => MSR_BUSY,
                Phase::DataIn => MSR_READY | MSR_OUT | MSR_PROGRAMMED | MSR_BUSY,
                Phase::DataOut => MSR_READY | MSR_PROGRAMMED | MSR_BUSY,
                Phase::Result => MSR_READY | MSR_OUT | MSR_BUSY,
            }
    }

    fn write_fifo(&mut self, now: Time, value: u8) {
        match self.state.phase {
            Phase::Command => {
                if self.state.fifo.len() < FIFO_BYTES {
                    self.state.fifo.push(value);
                }
                let first = self.state.fifo.first().copied().unwrap_or(0);
                if self.state.fifo.len() >= command_length(first) {
                    self.start(now);
                }
            }
            Phase::DataOut => {
                if let Some(byte) = self.state.buffer.get_mut(self.state.position) {
                    *byte = value;
                    self.state.position += 1;
                }
                if self.state.position >= self.state.buffer.len() {
                    self.sector_moved(now);
                }
            }
            _ => {}
        }
    }

    fn read_fifo(&mut self, now: Time) -> u8 {
        match self.state.phase {
            Phase::Result => {
                // The interrupt of a result phase ends with its first byte.
                if self.state.given == 0 {
                    self.lower();
                }
                let value = self.state.fifo.get(self.state.given).copied().unwrap_or(0);
                self.state.given += 1;
                if self.state.given >= self.state.fifo.len() {
                    self.idle();
                }
                value
            }
            Phase::DataIn => {
                let value = self.state.buffer.get(self.state.position).copied().unwrap_or(0);
                self.state.position += 1;
                if self.state.position >= self.state.buffer.len() {
                    self.sector_moved(now);
                }
                value
            }
            _ => 0,
        }
    }

    fn idle(&mut self) {
        self.state.phase = Phase::Command;
        self.state.fifo.clear();
        self.state.given = 0;
        self.state.transfer = None;
        // A seek may have ended while another command was under way.
        // The four reports after a reset share the interrupt that the first one ended.
        if self.state.sense.iter().flatten().any(|status| status & 0xc0 != 0xc0) {
            self.raise();
        }
    }

    fn result(&mut self, bytes: &[u8]) {
        self.state.fifo.clear();
        self.state.fifo.extend_from_slice(bytes);
        self.state.given = 0;
        self.state.phase = Phase::Result;
    }

    fn execute_later(&mut self, now: Time, delay: u64) {
        self.state.phase = Phase::Execution;
        self.state.event = Some((now.plus(delay), Event::Execute));
    }

    /// All bytes of a command have come.
    fn start(&mut self, now: Time) {
        let byte = |index: usize| self.state.fifo.get(index).copied().unwrap_or(0);
        let (first, second, third, fourth) = (byte(0), byte(1), byte(2), byte(3));
        let drive = second & 3;
        match (first, first & 0x1f) {
            (0x03, _) => {
                self.state.specify = [second, third];
                self.idle();
            }
            (0x04, _) => {
                let head = second & 4;
                let status = match self.drive(drive) {
                    Some(drive) => u8::from(drive.write_protected()) << 6 | u8::from(drive.state.track == 0) << 4,
                    None => 0,
                };
                self.result(&[0x28 | status | head | drive]);
            }
            (0x07, _) => self.seek(now, drive, 0),
            (0x08, _) => self.sense_interrupt(),
            (0x0f, _) => self.seek(now, drive, third),
            (0x8f | 0xcf, _) => {
                let present = self.drive(drive).map_or(0, |drive| drive.state.present_cylinder);
                let target =
                    if first & 0x40 != 0 { present.saturating_add(third) } else { present.saturating_sub(third) };
                self.seek(now, drive, target);
            }
            (0x0e, _) => {
                let cylinders: [u8; 2] =
                    std::array::from_fn(|index| self.drives.get(index).map_or(0, |drive| drive.state.present_cylinder));
                let state = &self.state;
                let bytes = [
                    cylinders[0],
                    cylinders[1],
                    0,
                    0,
                    state.specify[0],
                    state.specify[1],
                    state.last_track_end,
                    u8::from(state.locked) << 7 | state.perpendicular & 0x7f,
                    state.configure[0],
                    state.configure[1],
                ];
                self.result(&bytes);
            }
            (0x10, _) => self.result(&[0x90]),
            (0x12, _) => {
                let kept = if second & 0x80 != 0 { second & 0x3c } else { self.state.perpendicular & 0x3c };
                self.state.perpendicular = kept | second & 3;
                self.idle();
            }
            (0x13, _) => {
                self.state.configure = [third, fourth];
                self.idle();
            }
            (0x14 | 0x94, _) => {
                self.state.locked = first & 0x80 != 0;
                self.result(&[u8::from(self.state.locked) << 4]);
            }
            (0x17, _) => self.result(&[second]),
            (_, 0x02 | 0x05 | 0x06 | 0x09 | 0x0c | 0x11 | 0x16 | 0x19 | 0x1d) => {
                let sectors = u64::from(byte(6).saturating_sub(byte(4))) + 1;
                self.execute_later(now, COMMAND_TIME + sectors * STEP_TIME);
            }
            (_, 0x0a | 0x0d) => self.execute_later(now, COMMAND_TIME),
            _ => self.result(&[ST0_INVALID]),
        }
    }

    // Seeking ---------------------------------------------------------------------------------

    fn seek(&mut self, now: Time, drive: u8, target: u8) {
        let distance = self.drive(drive).map_or(80, |drive| drive.state.track.abs_diff(target));
        let due = now.plus(COMMAND_TIME + u64::from(distance) * STEP_TIME);
        if let Some((seek, place)) =
            self.state.seeks.get_mut(usize::from(drive)).zip(self.state.seek_targets.get_mut(usize::from(drive)))
        {
            *seek = Some(due);
            *place = target;
        }
        self.state.phase = Phase::Command;
        self.state.fifo.clear();
    }

    fn seek_done(&mut self, index: u8) {
        let target = self.state.seek_targets.get(usize::from(index)).copied().unwrap_or(0);
        let status = match self.drive(index) {
            Some(drive) => {
                drive.move_to(target);
                drive.state.present_cylinder = target;
                ST0_SEEK_END | index
            }
            // Track 0 was not found.
            None => ST0_ABNORMAL | ST0_SEEK_END | ST0_CHECK | index,
        };
        if let Some(sense) = self.state.sense.get_mut(usize::from(index)) {
            *sense = Some(status);
        }
        if matches!(self.state.phase, Phase::Command) && self.state.fifo.is_empty() {
            self.raise();
        }
    }

    fn sense_interrupt(&mut self) {
        let Some((index, status)) =
            self.state.sense.iter_mut().enumerate().find_map(|(index, sense)| Some((index, sense.take()?)))
        else {
            return self.result(&[ST0_INVALID]);
        };
        let cylinder = self.drives.get(index).map_or(0, |drive| drive.state.present_cylinder);
        // After a reset one interrupt stands for all four drives.
        self.lower();
        self.result(&[status, cylinder]);
    }

    // Execution phase -------------------------------------------------------------------------

    fn execute(&mut self, cx: &mut Access<'_>) {
        let byte = |index: usize| self.state.fifo.get(index).copied().unwrap_or(0);
        let first = byte(0);
        let (drive, side) = (byte(1) & 3, byte(1) >> 2 & 1);
        let kind = match first & 0x1f {
            0x0a => return self.read_id(drive, side),
            0x0d => return self.format_track(cx, drive, side),
            0x02 => Kind::ReadTrack,
            0x05 | 0x09 => Kind::Write,
            0x06 => Kind::Read,
            0x0c => Kind::ReadDeleted,
            0x11 => Kind::ScanEqual,
            0x16 => Kind::Verify,
            0x19 => Kind::ScanLow,
            _ => Kind::ScanHigh,
        };
        let transfer = Transfer {
            kind,
            drive,
            side,
            used_side: side,
            cylinder: byte(2),
            head: byte(3),
            sector: if kind == Kind::ReadTrack { 1 } else { byte(4) },
            size_code: byte(5),
            last_sector: byte(6),
            step: if kind.is_scan() { byte(8).clamp(1, 2) } else { 1 },
            both_sides: first & 0x80 != 0 && kind != Kind::ReadTrack,
            skip: first & 0x20 != 0,
            count: (kind == Kind::Verify && byte(1) & 0x80 != 0).then(|| byte(8)),
            passed: 0,
        };
        self.state.last_track_end = transfer.last_sector;
        // Implied seek.
        if self.state.configure[0] & 0x40 != 0 {
            let cylinder = transfer.cylinder;
            if let Some(drive) = self.drive(drive) {
                drive.move_to(cylinder);
                drive.state.present_cylinder = cylinder;
            }
        }
        self.state.transfer = Some(transfer);
        if self.state.specify[1] & 1 != 0 && kind != Kind::Verify {
            self.present_sector();
        } else {
            self.run_dma(cx);
        }
    }

    /// Whether the sector that `transfer` names passes under the head; else the error bits.
    fn find(&self, transfer: &Transfer) -> Result<(), (u8, u8)> {
        let drive = self.drives.get(usize::from(transfer.drive));
        let Some((drive, format)) = drive.and_then(|drive| Some((drive, drive.format()?))) else {
            return Err((ST1_NO_MARK, 0));
        };
        if !format.has_rate(self.state.rate)
            || transfer.side >= format.heads
            || drive.state.track >= format.tracks.max(80)
        {
            return Err((ST1_NO_MARK, 0));
        }
        let track = drive.state.track;
        let doubled = format.tracks == 40 && u16::from(transfer.cylinder) * 2 == u16::from(track);
        if transfer.cylinder >= format.tracks || (transfer.cylinder != track && !doubled) {
            return Err((ST1_NO_DATA, ST2_WRONG_CYLINDER));
        }
        let known = transfer.head == transfer.side
            && transfer.size_code == 2
            && (1..=format.sectors).contains(&transfer.sector);
        if known { Ok(()) } else { Err((ST1_NO_DATA, 0)) }
    }

    /// Reads the sector that the transfer stands at; false when the transfer has ended.
    fn load(&mut self, buffer: &mut [u8; SECTOR]) -> bool {
        let Some(transfer) = self.state.transfer.as_mut() else { return false };
        transfer.used_side = transfer.side;
        let transfer = transfer.clone();
        if let Err((st1, st2)) = self.find(&transfer) {
            self.end(ST0_ABNORMAL, st1, st2);
            return false;
        }
        let place = (transfer.cylinder, transfer.side, transfer.sector);
        if transfer.kind == Kind::Write {
            if self.drive(transfer.drive).is_none_or(|drive| drive.write_protected()) {
                self.end(ST0_ABNORMAL, ST1_NOT_WRITABLE, 0);
                return false;
            }
            return true;
        }
        if self.drive(transfer.drive).is_none_or(|drive| drive.read(place, buffer).is_err()) {
            self.end(ST0_ABNORMAL, ST1_DATA_ERROR, ST2_DATA_ERROR);
            return false;
        }
        true
    }

    /// Does with a moved sector what the command asks; false when the transfer has ended.
    fn settle(&mut self, moved: &[u8; SECTOR], on_disk: &[u8; SECTOR]) -> bool {
        let Some(transfer) = self.state.transfer.clone() else { return false };
        let place = (transfer.cylinder, transfer.side, transfer.sector);
        match transfer.kind {
            Kind::Write => {
                let written = self.drive(transfer.drive).is_some_and(|drive| drive.write(place, moved).is_ok());
                if !written {
                    self.end(ST0_ABNORMAL, ST1_DATA_ERROR, ST2_DATA_ERROR);
                }
                return written;
            }
            Kind::ScanEqual | Kind::ScanLow | Kind::ScanHigh => {
                // FFh matches everything on either side (82077AA, 5.1.8).
                let mut pairs = on_disk.iter().zip(moved).filter(|(disk, host)| **disk != 0xff && **host != 0xff);
                let equal = pairs.clone().all(|(disk, host)| disk == host);
                let met = match transfer.kind {
                    Kind::ScanLow => pairs.all(|(disk, host)| disk <= host),
                    Kind::ScanHigh => pairs.all(|(disk, host)| disk >= host),
                    _ => equal,
                };
                let st2 = if equal { ST2_SCAN_EQUAL } else { 0 };
                if met {
                    self.end(0, 0, st2);
                    return false;
                }
            }
            _ => {}
        }
        true
    }

    /// Goes to the next sector; false when there is none.
    fn step(&mut self) -> bool {
        let Some(transfer) = self.state.transfer.as_mut() else { return false };
        if let Some(count) = transfer.count.as_mut() {
            *count = count.wrapping_sub(1);
            if *count == 0 {
                transfer.advance();
                return false;
            }
        }
        transfer.passed = transfer.passed.saturating_add(1);
        let at_end = if transfer.kind == Kind::ReadTrack {
            transfer.passed >= transfer.last_sector
        } else {
            transfer.sector >= transfer.last_sector || transfer.sector == u8::MAX
        };
        let turns = at_end && transfer.both_sides && transfer.side == 0;
        transfer.advance();
        !at_end || turns
    }

    /// The transfer came to the end of the cylinder without terminal count.
    fn end_of_cylinder(&mut self) {
        let kind = self.state.transfer.as_ref().map(|transfer| transfer.kind);
        match kind {
            Some(Kind::Verify) => self.end(0, 0, 0),
            Some(kind) if kind.is_scan() => self.end(0, 0, ST2_SCAN_FAILED),
            _ => self.end(ST0_ABNORMAL, ST1_END_OF_CYLINDER, 0),
        }
    }

    /// Moves all sectors over DMA; at most 255 on each of two sides.
    fn run_dma(&mut self, cx: &mut Access<'_>) {
        for _ in 0..512 {
            let Some(kind) = self.state.transfer.as_ref().map(|transfer| transfer.kind) else { return };
            let mut on_disk = [0; SECTOR];
            if !self.load(&mut on_disk) {
                return;
            }
            let skipped =
                kind == Kind::ReadDeleted && self.state.transfer.as_ref().is_some_and(|transfer| transfer.skip);
            let mut moved = on_disk;
            let mut ended = false;
            if let Some(direction) = kind.direction().filter(|_| !skipped) {
                if direction == TransferDirection::FromMemory {
                    moved.fill(0);
                }
                let gated = self.state.dor & DOR_GATE != 0;
                let outcome =
                    if gated { cx.dma.isa_transfer(CHANNEL, direction, &mut moved) } else { Default::default() };
                if outcome.bytes == 0 || (outcome.bytes < SECTOR && !outcome.terminal_count) {
                    return self.end(ST0_ABNORMAL, ST1_OVERRUN, 0);
                }
                ended = outcome.terminal_count;
            }
            if !self.settle(&moved, &on_disk) {
                return;
            }
            // An ordinary sector under a command for deleted ones ends it.
            if kind == Kind::ReadDeleted && !skipped {
                if let Some(transfer) = self.state.transfer.as_mut() {
                    transfer.advance();
                }
                return self.end(0, 0, ST2_CONTROL_MARK);
            }
            let more = self.step();
            if ended {
                return self.end(0, 0, if kind.is_scan() { ST2_SCAN_FAILED } else { 0 });
            }
            if !more {
                return self.end_of_cylinder();
            }
        }
        self.end_of_cylinder();
    }

    /// Programmed I/O: makes the next sector ready for the processor.
    fn present_sector(&mut self) {
        let mut sector = [0; SECTOR];
        if !self.load(&mut sector) {
            return;
        }
        let out = self.state.transfer.as_ref().and_then(|transfer| transfer.kind.direction());
        self.state.position = 0;
        if out == Some(TransferDirection::ToMemory) {
            self.state.buffer = sector.to_vec();
            self.state.phase = Phase::DataIn;
        } else {
            self.state.buffer = vec![0; SECTOR];
            self.state.phase = Phase::DataOut;
        }
        self.raise();
    }

    /// Programmed I/O: the processor has moved the last byte of a sector.
    fn sector_moved(&mut self, now: Time) {
        self.lower();
        self.state.phase = Phase::Execution;
        self.state.event = Some((now.plus(STEP_TIME), Event::NextSector));
    }

    fn next_sector(&mut self) {
        let mut moved = [0; SECTOR];
        for (to, from) in moved.iter_mut().zip(&self.state.buffer) {
            *to = *from;
        }
        self.state.buffer.clear();
        self.state.position = 0;
        let mut on_disk = [0; SECTOR];
        let Some(kind) = self.state.transfer.as_ref().map(|transfer| transfer.kind) else { return self.idle() };
        if kind.is_scan() && !self.load(&mut on_disk) {
            return;
        }
        if !self.settle(&moved, &on_disk) {
            return;
        }
        if kind == Kind::ReadDeleted {
            return self.end(0, 0, ST2_CONTROL_MARK);
        }
        if self.step() { self.present_sector() } else { self.end_of_cylinder() }
    }

    /// Result phase of a sector command.
    fn end(&mut self, st0: u8, st1: u8, st2: u8) {
        let Some(transfer) = self.state.transfer.take() else { return self.idle() };
        let st0 = st0 | transfer.drive | transfer.used_side << 2;
        let Transfer { cylinder, head, sector, size_code, .. } = transfer;
        self.finish(&[st0, st1, st2, cylinder, head, sector, size_code]);
    }

    fn finish(&mut self, bytes: &[u8]) {
        self.state.buffer.clear();
        self.state.position = 0;
        self.result(bytes);
        self.raise();
    }

    fn read_id(&mut self, drive: u8, side: u8) {
        let rate = self.state.rate;
        let found = self.drive(drive).and_then(|drive| {
            let format = drive.format()?;
            let track = drive.state.track;
            if side >= format.heads || track >= format.tracks || !format.has_rate(rate) {
                return None;
            }
            drive.state.last_id = drive.state.last_id % format.sectors + 1;
            Some((track, drive.state.last_id))
        });
        let st0 = drive | side << 2;
        match found {
            Some((track, sector)) => self.finish(&[st0, 0, 0, track, side, sector, 2]),
            None => self.finish(&[st0 | ST0_ABNORMAL, ST1_NO_MARK, 0, 0, side, 1, 2]),
        }
    }

    fn format_track(&mut self, cx: &mut Access<'_>, drive: u8, side: u8) {
        let byte = |index: usize| self.state.fifo.get(index).copied().unwrap_or(0);
        let (size_code, sectors, fill) = (byte(2), byte(3), byte(5));
        let gated = self.state.dor & DOR_GATE != 0 && self.state.specify[1] & 1 == 0;
        let rate = self.state.rate;
        let st0 = drive | side << 2;
        let mut outcome = (0, 0);
        let format = self.drive(drive).and_then(|drive| drive.format());
        let track = self.drive(drive).map_or(0, |drive| drive.state.track);
        match format {
            Some(format) if side < format.heads && track < format.tracks && format.has_rate(rate) => {
                for _ in 0..sectors {
                    let mut id = [0; 4];
                    let moved = if gated {
                        cx.dma.isa_transfer(CHANNEL, TransferDirection::FromMemory, &mut id)
                    } else {
                        Default::default()
                    };
                    if moved.bytes < id.len() {
                        outcome = (ST0_ABNORMAL, ST1_OVERRUN);
                        break;
                    }
                    let [cylinder, head, sector, code] = id;
                    let Some(drive) = self.drive(drive) else { break };
                    if drive.write_protected() {
                        outcome = (ST0_ABNORMAL, ST1_NOT_WRITABLE);
                        break;
                    }
                    // The image cannot hold another layout than its own.
                    let fits = code == 2 && size_code == 2 && (1..=format.sectors).contains(&sector);
                    let fits = fits && cylinder == track && head == side;
                    if !fits || drive.write((track, side, sector), &[fill; SECTOR]).is_err() {
                        outcome = (ST0_ABNORMAL, ST1_DATA_ERROR);
                        break;
                    }
                    if moved.terminal_count {
                        break;
                    }
                }
            }
            _ => outcome = (ST0_ABNORMAL, ST1_NO_MARK),
        }
        let (abnormal, st1) = outcome;
        self.finish(&[st0 | abnormal, st1, 0, track, side, sectors, size_code]);
    }
}

impl Transfer {
    /// The address after this one, as the result phase shows it (82077AA, table 5-8).
    fn advance(&mut self) {
        let at_end = self.sector >= self.last_sector && self.kind != Kind::ReadTrack;
        if !at_end {
            self.sector = self.sector.saturating_add(self.step);
            return;
        }
        self.sector = 1;
        if self.both_sides {
            self.head ^= 1;
            self.side ^= 1;
        }
        if !self.both_sides || self.side == 0 {
            self.cylinder = self.cylinder.wrapping_add(1);
        }
    }
}

impl PortIo for FloppyController {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        let selected = self.state.dor & 3;
        let value = match register {
            // Interrupt pending; the second drive's presence is active low.
            0 => u8::from(self.state.interrupt) << 7 | u8::from(self.kind(1).is_none()) << 6,
            1 => 0xc0 | (self.state.dor & 1) << 5 | self.state.dor >> 4 & 3,
            2 => self.state.dor,
            3 => self.state.tdr,
            4 => self.status(),
            5 => self.read_fifo(cx.now),
            7 => u8::from(self.drive(selected).is_some_and(|drive| drive.state.changed || drive.medium.is_none())) << 7,
            _ => return None,
        };
        Some(u32::from(value))
    }

    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte {
            return None;
        }
        let value = value as u8;
        match register {
            2 => {
                let before = self.state.dor;
                self.state.dor = value;
                if value & DOR_RUN == 0 {
                    self.hold_reset();
                } else if before & DOR_RUN == 0 {
                    self.release_reset(cx.now);
                }
                self.drive_line();
            }
            3 => self.state.tdr = value & 3,
            4 => {
                self.state.rate = value & 3;
                self.state.precompensation = value >> 2 & 7;
                if value & 0x80 != 0 && self.state.dor & DOR_RUN != 0 {
                    self.hold_reset();
                    self.release_reset(cx.now);
                }
            }
            5 => self.write_fifo(cx.now, value),
            7 => self.state.rate = value & 3,
            _ => return None,
        }
        Some(())
    }
}

impl Device for FloppyController {
    fn name(&self) -> &'static str {
        "floppy"
    }
    fn reset(&mut self) {
        self.state = State::default();
        for drive in &mut self.drives {
            drive.state = Drive::new().state;
        }
        self.drive_line();
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        for index in 0..4u8 {
            let seek = self.state.seeks.get_mut(usize::from(index));
            if let Some(seek) = seek.filter(|seek| seek.is_some_and(|due| due <= cx.now)) {
                *seek = None;
                self.seek_done(index);
            }
        }
        let Some((due, event)) = self.state.event else { return };
        if due > cx.now {
            return;
        }
        self.state.event = None;
        match event {
            Event::ResetDone => self.reset_done(),
            Event::Execute => self.execute(cx),
            Event::NextSector => self.next_sector(),
        }
    }
    fn next_event(&self) -> Option<Time> {
        let seeks = self.state.seeks.iter().flatten().copied();
        seeks.chain(self.state.event.map(|(due, _)| due)).min()
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { interrupt: _, drives: [first, second], state } = self;
        Saved::of(&SavedState { state: state.clone(), drives: [first.state.clone(), second.state.clone()] })
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let SavedState { state, drives } = state.decode()?;
        if state.fifo.len() > FIFO_BYTES || state.given > state.fifo.len() {
            return Err(RestoreError::OutOfRange("fifo"));
        }
        if state.buffer.len() > SECTOR || state.position > state.buffer.len() {
            return Err(RestoreError::OutOfRange("buffer"));
        }
        if state.transfer.as_ref().is_some_and(|t| t.drive > 3 || t.side > 1 || t.used_side > 1) {
            return Err(RestoreError::OutOfRange("transfer"));
        }
        for (drive, state) in self.drives.iter_mut().zip(drives) {
            drive.state = state;
        }
        self.state = state;
        self.interrupt.restore_level(self.state.interrupt && self.state.dor & DOR_GATE != 0);
        Ok(())
    }
}
