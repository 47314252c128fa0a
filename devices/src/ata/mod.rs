//! The IDE function of the PIIX3 (Intel 82371SB, data sheet 290550) with its two channels and up
//! to four drives: hard disks after ATA/ATAPI-6 and CD-ROM drives after SFF-8020i and MMC-3.
//!
//! Registers:
//!
//! | registers | legacy ports | |
//! |---|---|---|
//! | 00h–07h | 1F0h–1F7h | command block of channel 0 |
//! | 08h | 3F6h | device control / alternate status of channel 0 |
//! | 10h–17h | 170h–177h | command block of channel 1 |
//! | 18h | 376h | device control / alternate status of channel 1 |
//! | 20h–2Fh | BAR 4 | bus master, 8 registers per channel |
//!
//! A channel without drives reads as 0, not as the 7Fh of a floating bus with pull-down on bit 7;
//! an absent drive reads status 0. Both legacy channels decode whatever IDETIM says, and IDETIM
//! comes up with both channels enabled, so that a machine without firmware finds its disks.
//! Not emulated: timings of the selected transfer mode, the security, SMART and host protected
//! area feature sets (aborted, and not reported), overlap and queueing.

#![allow(clippy::indexing_slicing, reason = "constant offsets into blocks that are built here, and single-bit indices")]
#![allow(clippy::precedence, reason = "shifts before masks is how register layouts are written")]

mod atapi;
mod busmaster;
mod channel;
mod disk;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::device::{Access, Bar, Device, PciFunction, PortIo, RestoreError, Saved, Time, Width};
use crate::line::Line;
use crate::pci::{BarKind, ConfigSpace, ConfigState};
use crate::storage::Storage;
use atapi::Cdrom;
use channel::{Channel, Drive, SavedChannel};
use disk::Disk;

/// First register of the command block of the first channel.
pub const PRIMARY_COMMAND: u16 = 0x00;
/// Register of the control block of the first channel.
pub const PRIMARY_CONTROL: u16 = 0x08;
/// First register of the command block of the second channel.
pub const SECONDARY_COMMAND: u16 = 0x10;
/// Register of the control block of the second channel.
pub const SECONDARY_CONTROL: u16 = 0x18;
/// First of the 16 bus master registers.
pub const BUS_MASTER: u16 = 0x20;

/// The position of a drive: channel and drive, each 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// First channel, drive 0.
    PrimaryMaster,
    /// First channel, drive 1.
    PrimarySlave,
    /// Second channel, drive 0.
    SecondaryMaster,
    /// Second channel, drive 1.
    SecondarySlave,
}

impl Position {
    /// All positions, in the order in which firmware counts drives.
    pub const ALL: [Position; 4] =
        [Position::PrimaryMaster, Position::PrimarySlave, Position::SecondaryMaster, Position::SecondarySlave];
}

/// The IDE function of the PIIX3.
pub struct IdeController {
    channels: [Channel; 2],
    config: ConfigSpace,
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    channels: [SavedChannel; 2],
    config: ConfigState,
}

impl IdeController {
    /// A controller without drives; the wires are the interrupt requests of the two channels.
    #[must_use]
    pub fn new(primary: Line, secondary: Line) -> IdeController {
        let config = ConfigSpace::new(0x8086, 0x7010, 0x01_01_80, 0)
            .with_bytes(0x06, &0x0280u16.to_le_bytes())
            .with_writable(0x04, &0x0005u16.to_le_bytes())
            .with_writable(0x0c, &[0x00, 0xf0])
            .with_bar(4, BarKind::Io { size: 16 })
            .with_bytes(0x40, &[0x00, 0x80, 0x00, 0x80])
            .with_writable(0x40, &[0xff, 0xff, 0xff, 0xff, 0xff]);
        IdeController { channels: [Channel::new(primary), Channel::new(secondary)], config }
    }

    fn slot(&mut self, position: Position) -> &mut Drive {
        let [first, second] = &mut self.channels;
        let [master, slave] = match position {
            Position::PrimaryMaster | Position::PrimarySlave => &mut first.drives,
            Position::SecondaryMaster | Position::SecondarySlave => &mut second.drives,
        };
        match position {
            Position::PrimaryMaster | Position::SecondaryMaster => master,
            Position::PrimarySlave | Position::SecondarySlave => slave,
        }
    }

    /// Puts a hard disk at `position`, before the first reset.
    pub fn attach_disk(&mut self, position: Position, storage: Box<dyn Storage>) {
        let index = position as usize;
        *self.slot(position) = Drive::Disk(Disk::new(storage, index));
    }

    /// Puts a CD-ROM drive at `position`, before the first reset.
    pub fn attach_cdrom(&mut self, position: Position, medium: Option<Box<dyn Storage>>) {
        *self.slot(position) = Drive::Cdrom(Cdrom::new(medium));
    }

    /// Exchanges the disc of the CD-ROM drive at `position`, whether or not the guest has locked
    /// it, and gives back the old one. Without such a drive, `medium` itself comes back.
    pub fn insert(&mut self, position: Position, medium: Option<Box<dyn Storage>>) -> Option<Box<dyn Storage>> {
        match self.slot(position) {
            Drive::Cdrom(cdrom) => cdrom.insert(medium),
            _ => medium,
        }
    }

    /// The user presses the eject button of the CD-ROM drive at `position`: the guest is told.
    /// Returns whether the disc may be taken out at once.
    pub fn press_eject(&mut self, position: Position) -> bool {
        match self.slot(position) {
            Drive::Cdrom(cdrom) => cdrom.press_eject(),
            _ => false,
        }
    }

    /// Whether the guest has locked the tray of the CD-ROM drive at `position`.
    #[must_use]
    pub fn is_locked(&mut self, position: Position) -> bool {
        matches!(self.slot(position), Drive::Cdrom(cdrom) if cdrom.is_locked())
    }

    /// Whether the guest has opened the tray of the CD-ROM drive at `position`.
    #[must_use]
    pub fn is_open(&mut self, position: Position) -> bool {
        matches!(self.slot(position), Drive::Cdrom(cdrom) if cdrom.is_open())
    }

    /// Whether anything is attached at `position`.
    #[must_use]
    pub fn has_drive(&mut self, position: Position) -> bool {
        !matches!(self.slot(position), Drive::Absent)
    }

    /// What is attached at `position`: whether it is a CD-ROM drive, and the bytes and write protection of its medium.
    #[must_use]
    pub fn medium(&self, position: Position) -> Option<(bool, Option<(u64, bool)>)> {
        let [first, second] = &self.channels;
        let ([master, slave], is_master) = match position {
            Position::PrimaryMaster => (&first.drives, true),
            Position::PrimarySlave => (&first.drives, false),
            Position::SecondaryMaster => (&second.drives, true),
            Position::SecondarySlave => (&second.drives, false),
        };
        match if is_master { master } else { slave } {
            Drive::Absent => None,
            Drive::Disk(disk) => Some((false, Some((disk.storage.len(), disk.storage.read_only())))),
            Drive::Cdrom(cdrom) => Some((true, cdrom.medium().map(|medium| (medium.len(), true)))),
        }
    }

    /// Bytes that channel `channel` (0, 1) gives before its drive does anything: to the end of the block.
    #[must_use]
    pub fn data_left(&self, channel: usize) -> usize {
        self.channels.get(channel).map_or(0, Channel::data_left)
    }

    /// Reads the data register of channel `channel` (0, 1) for a whole string instruction: as
    /// many bytes of `out` as the drive has ready. The rest must be read one access at a time.
    pub fn data_read_block(&mut self, cx: &mut Access<'_>, channel: usize, out: &mut [u8]) -> usize {
        self.channels.get_mut(channel).map_or(0, |channel| channel.data_in(cx.now, out))
    }

    /// Writes the data register of channel `channel` (0, 1) for a whole string instruction;
    /// returns how many bytes the drive took.
    pub fn data_write_block(&mut self, cx: &mut Access<'_>, channel: usize, bytes: &[u8]) -> usize {
        self.channels.get_mut(channel).map_or(0, |channel| channel.data_out(cx.now, bytes))
    }

    fn channel(&mut self, register: u16) -> Option<(&mut Channel, u16)> {
        let [first, second] = &mut self.channels;
        match register {
            0x00..=0x08 => Some((first, register)),
            0x10..=0x18 => Some((second, register - 0x10)),
            _ => None,
        }
    }
}

impl PortIo for IdeController {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        let bytes = width.bytes();
        if (BUS_MASTER..BUS_MASTER + 16).contains(&register) {
            let offset = register - BUS_MASTER;
            let [first, second] = &self.channels;
            let channel = if offset < 8 { first } else { second };
            return (bytes <= 4).then(|| channel.read_master(offset & 7, bytes));
        }
        let (channel, register) = self.channel(register)?;
        match (register, width) {
            (0, Width::Byte | Width::Word | Width::Dword) => {
                let mut data = [0; 4];
                channel.data_in(cx.now, data.get_mut(..bytes as usize)?);
                Some(u32::from_le_bytes(data))
            }
            (8, Width::Byte) => Some(u32::from(channel.alternate_status())),
            (1..=7, Width::Byte) => Some(u32::from(channel.read_register(register))),
            _ => None,
        }
    }

    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        let bytes = width.bytes();
        if (BUS_MASTER..BUS_MASTER + 16).contains(&register) {
            let offset = register - BUS_MASTER;
            let [first, second] = &mut self.channels;
            let channel = if offset < 8 { first } else { second };
            return (bytes <= 4).then(|| channel.write_master(cx.now, offset & 7, bytes, value));
        }
        let (channel, register) = self.channel(register)?;
        match (register, width) {
            (0, Width::Byte | Width::Word | Width::Dword) => {
                channel.data_out(cx.now, value.to_le_bytes().get(..bytes as usize)?);
            }
            (8, Width::Byte) => channel.write_control(cx.now, value as u8),
            (1..=7, Width::Byte) => channel.write_register(cx, register, value as u8),
            _ => return None,
        }
        Some(())
    }
}

impl PciFunction for IdeController {
    fn config_read(&mut self, offset: u8) -> u32 {
        self.config.read(offset)
    }
    fn config_write(&mut self, offset: u8, value: u32, mask: u32) {
        self.config.write(offset, value, mask);
    }
    /// Only BAR 4 exists; its ports are registers [`BUS_MASTER`] and on.
    fn bar(&self, index: u8) -> Option<Bar> {
        self.config.bar(index)
    }
}

impl Device for IdeController {
    fn name(&self) -> &'static str {
        "ide"
    }
    fn reset(&mut self) {
        for channel in &mut self.channels {
            channel.reset();
        }
        self.config.reset();
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        for channel in &mut self.channels {
            channel.advance(cx);
        }
    }
    fn next_event(&self) -> Option<Time> {
        self.channels.iter().filter_map(Channel::next_event).min()
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { channels: [first, second], config } = self;
        Saved::of(&SavedState { channels: [first.save(), second.save()], config: config.save() })
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let SavedState { channels, config } = state.decode()?;
        for (channel, saved) in self.channels.iter().zip(&channels) {
            channel.check(saved)?;
        }
        self.config.restore(&config)?;
        for (channel, saved) in self.channels.iter_mut().zip(channels) {
            channel.restore(saved);
        }
        Ok(())
    }
}
