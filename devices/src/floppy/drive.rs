//! A floppy drive and the format of the disk in it.

use serde::{Deserialize, Serialize};

use crate::storage::{Storage, StorageError};

/// Bytes per sector of every format.
pub(super) const SECTOR: usize = 512;

/// Kind of a floppy drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveKind {
    /// 5.25", 360 KB.
    Kb360,
    /// 5.25", 1.2 MB.
    Mb1_2,
    /// 3.5", 720 KB.
    Kb720,
    /// 3.5", 1.44 MB.
    Mb1_44,
    /// 3.5", 2.88 MB.
    Mb2_88,
}

impl DriveKind {
    /// The number by which the CMOS of an AT (register 10h) names this kind.
    #[must_use]
    pub const fn cmos_type(self) -> u8 {
        match self {
            DriveKind::Kb360 => 1,
            DriveKind::Mb1_2 => 2,
            DriveKind::Kb720 => 3,
            DriveKind::Mb1_44 => 4,
            DriveKind::Mb2_88 => 5,
        }
    }
    /// The kind that can read an image of `bytes` bytes.
    #[must_use]
    pub fn for_image(bytes: u64) -> DriveKind {
        match bytes {
            0..=368_640 => DriveKind::Kb360,
            368_641..=737_280 => DriveKind::Kb720,
            1_228_800 => DriveKind::Mb1_2,
            737_281..=1_763_328 => DriveKind::Mb1_44,
            _ => DriveKind::Mb2_88,
        }
    }
    /// The last track that the head can be moved to.
    pub(super) const fn last_track(self) -> u8 {
        if matches!(self, DriveKind::Kb360) { 41 } else { 83 }
    }
}

/// Tracks, sides and sectors per track of a disk, and the data rate it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Tracks per side.
    pub tracks: u8,
    /// Sides, 1 or 2.
    pub heads: u8,
    /// Sectors per track.
    pub sectors: u8,
}

impl Format {
    /// The format of an image of `bytes` bytes: the standard one of that size, else the smallest
    /// standard one that holds it.
    #[must_use]
    pub fn of_image(bytes: u64) -> Format {
        const FORMATS: [(u8, u8, u8); 14] = [
            (40, 1, 8),
            (40, 1, 9),
            (40, 2, 8),
            (40, 2, 9),
            (80, 2, 8),
            (80, 2, 9),
            (80, 2, 10),
            (80, 2, 15),
            (80, 2, 18),
            (80, 2, 19),
            (80, 2, 20),
            (80, 2, 21),
            (82, 2, 21),
            (80, 2, 36),
        ];
        let formats = FORMATS.iter().map(|&(tracks, heads, sectors)| Format { tracks, heads, sectors });
        let mut exact = formats.clone().filter(|format| format.bytes() == bytes);
        // An odd size is taken as a disk that was not written to its end.
        let mut larger = formats.filter(|format| {
            matches!((format.tracks, format.sectors), (_, 9 | 15 | 18 | 36)) && format.bytes() > bytes
        });
        exact.next().or_else(|| larger.next()).unwrap_or(Format { tracks: 80, heads: 2, sectors: 36 })
    }
    /// Size of a whole disk.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.tracks as u64 * self.heads as u64 * self.sectors as u64 * SECTOR as u64
    }
    /// Whether the disk answers at a data rate (0: 500, 1: 300, 2: 250 kbit/s, 3: 1 Mbit/s).
    pub(super) const fn has_rate(&self, rate: u8) -> bool {
        match self.sectors {
            // 300 kbit/s is 250 on the faster motor of a 1.2 MB drive.
            0..=10 => matches!(rate, 1 | 2),
            11..=21 => rate == 0,
            _ => rate == 3,
        }
    }
}

/// What a drive remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DriveState {
    /// Where the head is, and where the controller believes it to be.
    pub track: u8,
    pub present_cylinder: u8,
    /// The disk change signal.
    pub changed: bool,
    /// Last sector that READ ID met.
    pub last_id: u8,
}

/// One position of the controller's cable.
pub(super) struct Drive {
    pub kind: Option<DriveKind>,
    pub medium: Option<Box<dyn Storage>>,
    pub state: DriveState,
}

impl Drive {
    pub fn new() -> Drive {
        let state = DriveState { track: 0, present_cylinder: 0, changed: true, last_id: 0 };
        Drive { kind: None, medium: None, state }
    }
    pub fn format(&self) -> Option<Format> {
        self.kind?;
        self.medium.as_ref().map(|medium| Format::of_image(medium.len()))
    }
    pub fn write_protected(&self) -> bool {
        self.medium.as_ref().is_none_or(|medium| medium.read_only())
    }
    /// Moves the head; a step with a disk in the drive ends the disk change signal.
    pub fn move_to(&mut self, track: u8) {
        let Some(kind) = self.kind else { return };
        self.state.track = track.min(kind.last_track());
        if self.medium.is_some() {
            self.state.changed = false;
        }
    }
    fn offset(&self, head: u8, sector: u8, cylinder: u8) -> Result<u64, StorageError> {
        let format = self.format().ok_or(StorageError::OutOfRange)?;
        let track = u64::from(cylinder) * u64::from(format.heads) + u64::from(head);
        let sector = u64::from(sector).checked_sub(1).ok_or(StorageError::OutOfRange)?;
        Ok((track * u64::from(format.sectors) + sector) * SECTOR as u64)
    }
    pub fn read(&mut self, (cylinder, head, sector): (u8, u8, u8), out: &mut [u8]) -> Result<(), StorageError> {
        let offset = self.offset(head, sector, cylinder)?;
        let medium = self.medium.as_mut().ok_or(StorageError::OutOfRange)?;
        // The part of a short image that was never written reads as zeros.
        let held = usize::try_from(medium.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (held, missing) = out.split_at_mut(held);
        missing.fill(0);
        if held.is_empty() { Ok(()) } else { medium.read(offset, held) }
    }
    pub fn write(&mut self, (cylinder, head, sector): (u8, u8, u8), data: &[u8]) -> Result<(), StorageError> {
        let offset = self.offset(head, sector, cylinder)?;
        self.medium.as_mut().ok_or(StorageError::OutOfRange)?.write(offset, data)
    }
}
