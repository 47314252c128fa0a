//! A CD-ROM drive: the packet commands of SFF-8020i and MMC-3.
//!
//! A disc holds one data track of 2048-byte blocks. Not emulated: audio tracks (the play commands
//! answer that there are none), error correction bytes of raw sectors (zeros), writing.

use serde::{Deserialize, Serialize};

use super::disk::{finish, put_text, put_transfer_modes};
use crate::device::RestoreError;
use crate::storage::Storage;

/// Bytes per block of a data disc.
const BLOCK: usize = 2048;
/// Bytes per raw sector.
const RAW: usize = 2352;
/// No parameter list and no reply that is built at once is longer.
const LONGEST_PARAMETERS: usize = 0xffff;

const NOT_READY: u8 = 2;
const MEDIUM_ERROR: u8 = 3;
const ILLEGAL_REQUEST: u8 = 5;
const UNIT_ATTENTION: u8 = 6;

/// What a command packet leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketOutcome {
    /// Good, without data.
    Done,
    /// Check condition.
    Failed,
    /// Data for the host.
    DataIn,
    /// So many bytes of parameters from the host.
    DataOut(usize),
}

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sense {
    key: u8,
    code: u8,
    qualifier: u8,
}

impl Sense {
    const fn new(key: u8, code: u8) -> Sense {
        Sense { key, code, qualifier: 0 }
    }
}

const INVALID_FIELD: Sense = Sense::new(ILLEGAL_REQUEST, 0x24);
const OUT_OF_RANGE: Sense = Sense::new(ILLEGAL_REQUEST, 0x21);

/// Which part of a sector a read command gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Sectors {
    #[default]
    Data,
    Raw,
}

/// What a media event says to GET EVENT STATUS NOTIFICATION.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum MediaEvent {
    #[default]
    None,
    EjectRequest,
    New,
    Removed,
}

/// Settings and internal state of the drive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CdromState {
    sense: Sense,
    failed: bool,
    attention: Option<Sense>,
    locked: bool,
    open: bool,
    event: MediaEvent,
    speed: u16,
    /// Transfer mode as SET FEATURES 03h last gave it.
    pub mode: u8,
    audio_page: [u8; 16],
    recovery_page: [u8; 8],
    /// Data of the current command that is ready.
    ready: Vec<u8>,
    /// Blocks of the current command that are still on the disc.
    next: u32,
    blocks: u32,
    sectors: Sectors,
}

impl CdromState {
    pub fn check(&self) -> Result<(), RestoreError> {
        if self.ready.len() > 0x2_0000 {
            return Err(RestoreError::OutOfRange("ready"));
        }
        if self.sense.key > 15 || self.attention.is_some_and(|sense| sense.key > 15) {
            return Err(RestoreError::OutOfRange("sense"));
        }
        Ok(())
    }
}

/// A CD-ROM drive.
pub(super) struct Cdrom {
    medium: Option<Box<dyn Storage>>,
    pub state: CdromState,
}

impl Cdrom {
    pub fn new(medium: Option<Box<dyn Storage>>) -> Cdrom {
        let mut cdrom = Cdrom { medium, state: CdromState::default() };
        cdrom.reset();
        cdrom
    }

    pub fn reset(&mut self) {
        let mut audio_page = [0; 16];
        audio_page[..3].copy_from_slice(&[0x0e, 14, 4]);
        // Both channels at full volume.
        audio_page[8..12].copy_from_slice(&[1, 0xff, 2, 0xff]);
        self.state = CdromState {
            speed: 4_234,
            mode: 0x42,
            audio_page,
            recovery_page: [1, 6, 0, 5, 0, 0, 0, 0],
            ..CdromState::default()
        };
    }

    /// Exchanges the disc. The guest learns of it by a unit attention and a media event.
    pub fn insert(&mut self, medium: Option<Box<dyn Storage>>) -> Option<Box<dyn Storage>> {
        self.state.open = false;
        self.state.event = if medium.is_some() { MediaEvent::New } else { MediaEvent::Removed };
        self.state.attention = Some(Sense::new(UNIT_ATTENTION, 0x28));
        self.state.blocks = 0;
        std::mem::replace(&mut self.medium, medium)
    }

    /// The user asks for the disc with the button at the front.
    pub fn press_eject(&mut self) -> bool {
        self.state.event = MediaEvent::EjectRequest;
        !self.state.locked
    }

    pub fn is_locked(&self) -> bool {
        self.state.locked
    }
    pub fn is_open(&self) -> bool {
        self.state.open
    }
    pub fn medium(&self) -> Option<&dyn Storage> {
        self.medium.as_deref()
    }

    /// Forgets the data of the current command.
    pub fn abandon(&mut self) {
        self.state.ready.clear();
        self.state.blocks = 0;
        self.state.failed = false;
    }

    /// Number of blocks on the disc, 0 without one.
    fn capacity(&self) -> u32 {
        let bytes = self.disc().map_or(0, |medium| medium.len());
        u32::try_from(bytes / BLOCK as u64).unwrap_or(u32::MAX)
    }
    fn disc(&self) -> Option<&dyn Storage> {
        if self.state.open { None } else { self.medium.as_deref() }
    }

    // Data of the current command -------------------------------------------------------------

    fn sector_size(&self) -> usize {
        match self.state.sectors {
            Sectors::Data => BLOCK,
            Sectors::Raw => RAW,
        }
    }
    pub fn data_left(&self) -> usize {
        // At most 2^32 blocks of 2352 bytes: fits in 64 bits, and saturates elsewhere.
        self.state.ready.len().saturating_add((self.state.blocks as usize).saturating_mul(self.sector_size()))
    }
    pub fn has_data(&self) -> bool {
        self.data_left() != 0
    }

    /// Appends `want` bytes, or what is left, to `out`. False when the disc cannot be read.
    pub fn take_data(&mut self, want: usize, out: &mut Vec<u8>) -> bool {
        while self.state.ready.len() < want && self.state.blocks != 0 {
            if !self.read_block() {
                self.state.blocks = 0;
                self.state.ready.clear();
                self.fail(Sense::new(MEDIUM_ERROR, 0x11));
                return false;
            }
        }
        let part = want.min(self.state.ready.len());
        out.extend(self.state.ready.drain(..part));
        true
    }

    fn read_block(&mut self) -> bool {
        let block = self.state.next;
        let mut data = [0; BLOCK];
        let Some(medium) = self.medium.as_mut().filter(|_| !self.state.open) else { return false };
        if medium.read(u64::from(block) * BLOCK as u64, &mut data).is_err() {
            return false;
        }
        self.state.next = block.wrapping_add(1);
        self.state.blocks -= 1;
        match self.state.sectors {
            Sectors::Data => self.state.ready.extend_from_slice(&data),
            Sectors::Raw => {
                let start = self.state.ready.len();
                // Synchronisation pattern, address, mode 1 (Yellow Book).
                self.state.ready.push(0);
                self.state.ready.extend_from_slice(&[0xff; 10]);
                self.state.ready.push(0);
                let [_, m, s, f] = msf(block);
                self.state.ready.extend([m, s, f].map(|n| n / 10 << 4 | n % 10));
                self.state.ready.push(1);
                self.state.ready.extend_from_slice(&data);
                self.state.ready.resize(start + RAW, 0);
            }
        }
        true
    }

    // Status ----------------------------------------------------------------------------------

    fn fail(&mut self, sense: Sense) -> PacketOutcome {
        self.state.sense = sense;
        self.state.failed = true;
        PacketOutcome::Failed
    }
    /// Sense key of the command that has just ended; 0 when it went well.
    pub fn failed_with(&self) -> u8 {
        if self.state.failed { self.state.sense.key } else { 0 }
    }
    /// A reply, cut to the allocation length.
    fn reply(&mut self, mut data: Vec<u8>, allocation: usize) -> PacketOutcome {
        data.truncate(allocation);
        if data.is_empty() {
            return PacketOutcome::Done;
        }
        self.state.ready = data;
        self.state.blocks = 0;
        self.state.sectors = Sectors::Data;
        PacketOutcome::DataIn
    }
    fn read_blocks(&mut self, first: u32, count: u32, sectors: Sectors) -> PacketOutcome {
        if count == 0 {
            return PacketOutcome::Done;
        }
        if first.checked_add(count).is_none_or(|end| end > self.capacity()) {
            return self.fail(OUT_OF_RANGE);
        }
        self.state.next = first;
        self.state.blocks = count;
        self.state.sectors = sectors;
        PacketOutcome::DataIn
    }

    // Commands --------------------------------------------------------------------------------

    /// Executes a command packet.
    pub fn execute(&mut self, packet: &[u8; 12]) -> PacketOutcome {
        self.abandon();
        let [op, ..] = *packet;
        let byte = |index: usize| packet.get(index).copied().unwrap_or(0);
        let short = |index: usize| usize::from(byte(index)) << 8 | usize::from(byte(index + 1));
        let long = |index: usize| u32::from_be_bytes([byte(index), byte(index + 1), byte(index + 2), byte(index + 3)]);
        // These answer whatever the state of the drive (MMC-3, 4.1.6.1).
        match op {
            0x03 => return self.request_sense(usize::from(byte(4))),
            0x12 => return self.inquiry(byte(1), usize::from(byte(4))),
            0x46 => return self.get_configuration(byte(1), short(2), short(7)),
            0x4a => return self.event_status(byte(1), byte(4), short(7)),
            _ => {}
        }
        if let Some(sense) = self.state.attention.take() {
            return self.fail(sense);
        }
        self.state.sense = Sense::default();
        let needs_disc = matches!(
            op,
            0x00 | 0x25
                | 0x28
                | 0x2b
                | 0x42
                | 0x43
                | 0x44
                | 0x45
                | 0x47
                | 0x48
                | 0x4b
                | 0x4e
                | 0x51
                | 0xa5
                | 0xa8
                | 0xb9
                | 0xbe
        );
        if needs_disc && self.disc().is_none() {
            let qualifier = if self.state.open { 2 } else { 1 };
            return self.fail(Sense { key: NOT_READY, code: 0x3a, qualifier });
        }
        match op {
            0x00 => PacketOutcome::Done,
            0x15 => parameters_of(usize::from(byte(4))),
            0x55 => parameters_of(short(7)),
            0x1a => self.mode_sense(byte(2), usize::from(byte(4)), true),
            0x5a => self.mode_sense(byte(2), short(7), false),
            0x1b => self.start_stop(byte(4)),
            0x1e => {
                self.state.locked = byte(4) & 1 != 0;
                PacketOutcome::Done
            }
            0x25 => {
                let mut data = self.capacity().saturating_sub(1).to_be_bytes().to_vec();
                data.extend((BLOCK as u32).to_be_bytes());
                self.reply(data, 8)
            }
            0x28 => self.read_blocks(long(2), short(7) as u32, Sectors::Data),
            0xa8 => self.read_blocks(long(2), long(6), Sectors::Data),
            0x2b => match long(2) < self.capacity() {
                true => PacketOutcome::Done,
                false => self.fail(OUT_OF_RANGE),
            },
            0x42 => self.sub_channel(byte(1), byte(2), byte(3), short(7)),
            0x43 => {
                // Old drivers give the format in the last byte (SFF-8020i, 10.8.25).
                let format = if byte(2) & 0x0f != 0 { byte(2) & 0x0f } else { byte(9) >> 6 };
                self.table_of_contents(byte(1) & 2 != 0, format, byte(6), short(7))
            }
            0x44 => self.read_header(byte(1) & 2 != 0, long(2), short(7)),
            // There is no audio on the disc.
            0x45 | 0x47 | 0x48 | 0xa5 => self.fail(Sense::new(ILLEGAL_REQUEST, 0x64)),
            0x4b | 0x4e => PacketOutcome::Done,
            0x51 => self.disc_information(short(7)),
            0x52 => self.track_information(byte(1) & 3, long(2), short(7)),
            0xad => self.fail(INVALID_FIELD),
            0xb9 => {
                let block =
                    |at: usize| (u32::from(byte(at)) * 60 + u32::from(byte(at + 1))) * 75 + u32::from(byte(at + 2));
                match (block(3).checked_sub(150), block(6).checked_sub(150)) {
                    (Some(first), Some(end)) if end >= first => {
                        self.read_cd(first, end - first, byte(1), byte(9), byte(10))
                    }
                    _ => self.fail(INVALID_FIELD),
                }
            }
            0xbb => {
                self.state.speed = short(2) as u16;
                PacketOutcome::Done
            }
            0xbd => self.mechanism_status(short(8)),
            0xbe => {
                let count = u32::from_be_bytes([0, byte(6), byte(7), byte(8)]);
                self.read_cd(long(2), count, byte(1), byte(9), byte(10))
            }
            _ => self.fail(Sense::new(ILLEGAL_REQUEST, 0x20)),
        }
    }

    fn request_sense(&mut self, allocation: usize) -> PacketOutcome {
        let sense = match self.state.attention.take() {
            Some(sense) if self.state.sense.key == 0 => sense,
            pending => {
                self.state.attention = pending;
                self.state.sense
            }
        };
        self.state.sense = Sense::default();
        let mut data = vec![0; 18];
        data[0] = 0x70;
        data[2] = sense.key;
        data[7] = 10;
        data[12] = sense.code;
        data[13] = sense.qualifier;
        self.reply(data, allocation)
    }

    fn inquiry(&mut self, flags: u8, allocation: usize) -> PacketOutcome {
        if flags & 3 != 0 {
            return self.fail(INVALID_FIELD);
        }
        let mut data = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0];
        data.extend_from_slice(b"BEIGEBOX");
        data.extend_from_slice(b"CD-ROM          ");
        data.extend_from_slice(b"1.0 ");
        self.reply(data, allocation)
    }

    fn start_stop(&mut self, flags: u8) -> PacketOutcome {
        let (start, load_eject) = (flags & 1 != 0, flags & 2 != 0);
        if !load_eject {
            return PacketOutcome::Done;
        }
        if !start && self.state.locked {
            let sense = Sense { key: ILLEGAL_REQUEST, code: 0x53, qualifier: 2 };
            return self.fail(sense);
        }
        if self.state.open && start && self.medium.is_some() {
            self.state.event = MediaEvent::New;
        }
        self.state.open = !start;
        PacketOutcome::Done
    }

    fn mode_sense(&mut self, page: u8, allocation: usize, short: bool) -> PacketOutcome {
        let (control, page) = (page >> 6, page & 0x3f);
        if control == 3 {
            return self.fail(Sense::new(ILLEGAL_REQUEST, 0x39));
        }
        let mut pages = Vec::new();
        let all = page == 0x3f;
        let changeable = control == 1;
        if all || page == 0x01 {
            pages.extend(if changeable { [1, 6, 0xff, 0xff, 0, 0, 0, 0] } else { self.state.recovery_page });
        }
        if all || page == 0x0e {
            let mut mask = [0; 16];
            mask[..2].copy_from_slice(&[0x0e, 14]);
            mask[8..12].fill(0xff);
            pages.extend(if changeable { mask } else { self.state.audio_page });
        }
        if all || page == 0x2a {
            let mut data = [0u8; 20];
            data[..2].copy_from_slice(&[0x2a, 18]);
            if !changeable {
                // Reads CD-R and CD-RW; mode 2, multi-session; lock, eject, tray loader.
                data[2] = 0x03;
                data[4] = 0x70;
                data[6] = 0x29 | u8::from(self.state.locked) << 1;
                data[8..10].copy_from_slice(&4_234u16.to_be_bytes());
                data[10..12].copy_from_slice(&[1, 0]);
                data[12..14].copy_from_slice(&512u16.to_be_bytes());
                data[14..16].copy_from_slice(&self.state.speed.to_be_bytes());
            }
            pages.extend(data);
        }
        if pages.is_empty() {
            return self.fail(INVALID_FIELD);
        }
        let medium_type = if self.state.open {
            0x71
        } else if self.medium.is_some() {
            0x01
        } else {
            0x70
        };
        let mut data = Vec::new();
        if short {
            data.extend([(pages.len() + 3) as u8, medium_type, 0, 0]);
        } else {
            data.extend(((pages.len() + 6) as u16).to_be_bytes());
            data.extend([medium_type, 0, 0, 0, 0, 0]);
        }
        data.extend(pages);
        self.reply(data, allocation)
    }

    /// Takes the parameter list of MODE SELECT.
    pub fn parameters(&mut self, packet: &[u8], data: &[u8]) {
        let header = if packet.first() == Some(&0x15) { 4 } else { 8 };
        let mut rest = data.get(header..).unwrap_or_default();
        while let [code, length, body @ ..] = rest {
            let length = usize::from(*length);
            let Some(body) = body.get(..length) else { break };
            let target: &mut [u8] = match code & 0x3f {
                0x01 if length == 6 => self.state.recovery_page.get_mut(2..4).unwrap_or_default(),
                0x0e if length == 14 => self.state.audio_page.get_mut(8..12).unwrap_or_default(),
                _ => {
                    self.fail(Sense::new(ILLEGAL_REQUEST, 0x26));
                    return;
                }
            };
            let offset = if code & 0x3f == 0x0e { 6 } else { 0 };
            for (to, from) in target.iter_mut().zip(body.iter().skip(offset)) {
                *to = *from;
            }
            rest = rest.get(2 + length..).unwrap_or_default();
        }
    }

    /// Current feature profile and the features of a read-only drive (MMC-3, 5).
    fn get_configuration(&mut self, kind: u8, first: usize, allocation: usize) -> PacketOutcome {
        let kind = kind & 3;
        if kind == 3 {
            return self.fail(INVALID_FIELD);
        }
        let profile: u16 = if self.disc().is_some() { 0x0008 } else { 0 };
        let current = u8::from(profile != 0);
        let features: [(u16, &[u8]); 7] = [
            (0x0000, &[0x00, 0x03, 4, 0x00, 0x08, current, 0]),
            (0x0001, &[0x00, 0x0b, 8, 0, 0, 0, 2, 0, 0, 0, 0]),
            (0x0002, &[0x00, 0x07, 4, 0x02, 0, 0, 0]),
            (0x0003, &[0x00, 0x0b, 4, 0x29, 0, 0, 0]),
            (0x0010, &[0x00, current, 8, 0, 0, 0x08, 0, 0, 1, 0, 0]),
            (0x001e, &[0x00, 0x08 | current, 4, 0, 0, 0, 0]),
            (0x0100, &[0x00, 0x03, 0]),
        ];
        let mut data = vec![0; 8];
        data[6..8].copy_from_slice(&profile.to_be_bytes());
        for (code, body) in features {
            let wanted = match kind {
                0 => usize::from(code) >= first,
                1 => usize::from(code) >= first && body.get(1).is_some_and(|flags| flags & 1 != 0),
                _ => usize::from(code) == first,
            };
            if wanted {
                data.extend(code.to_be_bytes());
                data.extend(body.iter().skip(1));
            }
        }
        let length = (data.len() - 4) as u32;
        data[..4].copy_from_slice(&length.to_be_bytes());
        self.reply(data, allocation)
    }

    fn event_status(&mut self, flags: u8, classes: u8, allocation: usize) -> PacketOutcome {
        // Only polled operation exists.
        if flags & 1 == 0 {
            return self.fail(INVALID_FIELD);
        }
        if classes & 0x10 == 0 {
            return self.reply(vec![0, 2, 0x80, 0x10], allocation);
        }
        let event = match std::mem::take(&mut self.state.event) {
            MediaEvent::None => 0,
            MediaEvent::EjectRequest => 1,
            MediaEvent::New => 2,
            MediaEvent::Removed => 3,
        };
        let status = u8::from(self.state.open) | u8::from(self.disc().is_some()) << 1;
        self.reply(vec![0, 6, 0x04, 0x10, event, status, 0, 0], allocation)
    }

    fn sub_channel(&mut self, flags: u8, wanted: u8, format: u8, allocation: usize) -> PacketOutcome {
        // Audio status: not playing, nothing to report.
        let mut data = vec![0, 0x15, 0, 0];
        if wanted & 0x40 != 0 {
            match format {
                1 => {
                    data.extend([1, 0x14, 1, 1]);
                    data.extend(address(flags & 2 != 0, 0));
                    data.extend([0; 4]);
                }
                2 | 3 => {
                    data.extend([format, 0, 0, 0]);
                    data.extend([0; 16]);
                }
                _ => return self.fail(INVALID_FIELD),
            }
        }
        let length = (data.len() - 4) as u16;
        data[2..4].copy_from_slice(&length.to_be_bytes());
        self.reply(data, allocation)
    }

    fn table_of_contents(&mut self, as_time: bool, format: u8, start: u8, allocation: usize) -> PacketOutcome {
        let capacity = self.capacity();
        let mut data = vec![0, 0, 1, 1];
        match format {
            0 => {
                if start > 1 && start != 0xaa {
                    return self.fail(INVALID_FIELD);
                }
                if start <= 1 {
                    data.extend([0, 0x14, 1, 0]);
                    data.extend(address(as_time, 0));
                }
                data.extend([0, 0x14, 0xaa, 0]);
                data.extend(address(as_time, capacity));
            }
            1 => {
                data.extend([0, 0x14, 1, 0]);
                data.extend(address(as_time, 0));
            }
            2 => {
                let [_, m, s, f] = msf(capacity);
                for (point, [pm, ps, pf]) in [(0xa0, [1, 0, 0]), (0xa1, [1, 0, 0]), (0xa2, [m, s, f]), (1, [0, 2, 0])] {
                    data.extend([1, 0x14, 0, point, 0, 0, 0, 0, pm, ps, pf]);
                }
            }
            _ => return self.fail(INVALID_FIELD),
        }
        let length = (data.len() - 2) as u16;
        data[..2].copy_from_slice(&length.to_be_bytes());
        self.reply(data, allocation)
    }

    fn read_header(&mut self, as_time: bool, block: u32, allocation: usize) -> PacketOutcome {
        if block >= self.capacity() {
            return self.fail(OUT_OF_RANGE);
        }
        let mut data = vec![1, 0, 0, 0];
        data.extend(address(as_time, block));
        self.reply(data, allocation)
    }

    fn disc_information(&mut self, allocation: usize) -> PacketOutcome {
        let mut data = vec![0; 34];
        data[1] = 32;
        // Complete disc, last session complete, one session with track 1.
        data[2] = 0x0e;
        data[3..7].copy_from_slice(&[1, 1, 1, 1]);
        data[7] = 0x20;
        data[16..24].fill(0xff);
        self.reply(data, allocation)
    }

    fn track_information(&mut self, kind: u8, number: u32, allocation: usize) -> PacketOutcome {
        let known = match kind {
            0 => number < self.capacity(),
            _ => number == 1,
        };
        if !known || self.disc().is_none() {
            return self.fail(INVALID_FIELD);
        }
        let mut data = vec![0; 28];
        data[1] = 26;
        data[2..4].copy_from_slice(&[1, 1]);
        data[5] = 4;
        data[6] = 1;
        data[24..28].copy_from_slice(&self.capacity().to_be_bytes());
        self.reply(data, allocation)
    }

    fn mechanism_status(&mut self, allocation: usize) -> PacketOutcome {
        let door = u8::from(self.state.open) << 4;
        self.reply(vec![0, door, 0, 0, 0, 1, 0, 0], allocation)
    }

    /// READ CD and READ CD MSF for mode 1 sectors (MMC-3, 6.19).
    fn read_cd(&mut self, first: u32, count: u32, kind: u8, parts: u8, sub_channel: u8) -> PacketOutcome {
        let kind = kind >> 2 & 7;
        if kind == 1 || kind > 2 {
            return self.fail(Sense::new(ILLEGAL_REQUEST, 0x64));
        }
        if sub_channel & 7 != 0 {
            return self.fail(INVALID_FIELD);
        }
        match parts & 0xf8 {
            0 => PacketOutcome::Done,
            0x10 => self.read_blocks(first, count, Sectors::Data),
            0xf8 => self.read_blocks(first, count, Sectors::Raw),
            _ => self.fail(INVALID_FIELD),
        }
    }

    /// The 512 bytes of IDENTIFY PACKET DEVICE (ATA/ATAPI-6, 8.16).
    pub fn identify(&self) -> Vec<u8> {
        let mut w = [0u16; 256];
        // CD-ROM, removable, answers within 50 µs, 12-byte packets.
        w[0] = 0x85c0;
        put_text(&mut w[10..20], "BBCD0001");
        w[20] = 3;
        w[21] = 256;
        put_text(&mut w[23..27], "1.0");
        put_text(&mut w[27..47], "Beigebox CD-ROM");
        // LBA, DMA, IORDY.
        w[49] = 0x0b00;
        w[53] = 7;
        put_transfer_modes(&mut w, self.state.mode);
        w[71] = 30;
        w[72] = 30;
        w[80] = 0x0070;
        w[81] = 0x0016;
        // DEVICE RESET and PACKET.
        w[82] = 1 << 14 | 1 << 9 | 1 << 4;
        w[83] = 1 << 14;
        w[84] = 1 << 14;
        w[85] = 1 << 14 | 1 << 9 | 1 << 4;
        w[87] = 1 << 14;
        w[93] = 0x6001;
        finish(&w)
    }
}

fn parameters_of(length: usize) -> PacketOutcome {
    match length.min(LONGEST_PARAMETERS) {
        0 => PacketOutcome::Done,
        length => PacketOutcome::DataOut(length),
    }
}

/// Minute, second and frame of a block; track time starts two seconds before block 0.
fn msf(block: u32) -> [u8; 4] {
    let frames = block.saturating_add(150);
    let minute = (frames / (60 * 75)).min(255) as u8;
    [0, minute, (frames / 75 % 60) as u8, (frames % 75) as u8]
}

fn address(as_time: bool, block: u32) -> [u8; 4] {
    if as_time { msf(block) } else { block.to_be_bytes() }
}
