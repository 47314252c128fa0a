//! The state of a machine as bytes, and as a hash.

use crate::bus::BoardState;
use crate::input::Typing;
use crate::pc::Chip;
use crate::run::Machine;
use cpu::memory::PAGE;
use cpu::state::CpuState;
use devices::{Device, RestoreError, Saved};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// First bytes of a saved machine.
const MAGIC: &[u8; 8] = b"BEIGEBX1";

/// Why a saved machine was refused.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not a saved machine of this version.
    #[error("this is no saved machine, or one of another version")]
    Malformed,
    /// Saved from a machine of another shape.
    #[error("the saved machine has {what} {saved}, this one {own}")]
    OtherMachine {
        /// What differs.
        what: &'static str,
        /// What the saved one has.
        saved: u64,
        /// What this one has.
        own: u64,
    },
    /// The processor's state cannot be.
    #[error(transparent)]
    Processor(#[from] cpu::restore::StateError),
    /// One chip refused its state.
    #[error("chip {chip}: {source}")]
    Chip {
        /// Which one.
        chip: String,
        /// Why.
        source: RestoreError,
    },
}

#[derive(Serialize, Deserialize)]
struct SavedMachine {
    cpu: CpuState,
    board: BoardState,
    dma: Saved,
    chips: Vec<(String, Saved)>,
    ram: u64,
    video: u64,
    /// Pages that are not all zero: index among RAM and then video memory, contents.
    pages: Vec<(u32, Vec<u8>)>,
}

impl Machine {
    /// A hash of processor, RAM, video memory and all chips. Two runs of the same machine with
    /// the same inputs give the same hash at the same moment, on every host and engine.
    #[must_use]
    pub fn state_hash(&mut self) -> u128 {
        self.board.bring_up_to_date(&mut self.memory, self.cpu.ticks);
        let mut hash = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&postcard::to_allocvec(&self.settled()).unwrap_or_default());
        add(self.memory.block(self.memory.ram()));
        add(self.memory.block(self.memory.video()));
        for chip in Chip::ALL {
            add(&self.board.chips.look(*chip).save().0);
        }
        for extra in &self.board.extras {
            add(&extra.device.save().0);
        }
        add(&self.board.dma.save().0);
        add(&postcard::to_allocvec(&self.board.state).unwrap_or_default());
        hash.digest128()
    }
    /// The processor with its lazy flags computed, so that it does not matter which engine or
    /// which instruction order produced them.
    fn settled(&self) -> CpuState {
        let mut cpu = self.cpu.clone();
        cpu.set_eflags(cpu.eflags());
        cpu
    }
    /// The complete state, without the contents of drives.
    #[must_use]
    pub fn save(&mut self) -> Vec<u8> {
        self.board.bring_up_to_date(&mut self.memory, self.cpu.ticks);
        let (ram, video) = (self.memory.ram(), self.memory.video());
        let all = self.memory.block(ram).chunks(PAGE as usize).chain(self.memory.block(video).chunks(PAGE as usize));
        let pages = all
            .enumerate()
            .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
            .map(|(index, page)| (index as u32, page.to_vec()))
            .collect();
        let chips = Chip::ALL
            .iter()
            .map(|chip| {
                let chip = self.board.chips.look(*chip);
                (chip.name().to_owned(), chip.save())
            })
            .chain(self.board.extras.iter().map(|extra| (extra.device.name().to_owned(), extra.device.save())))
            .collect();
        let saved = SavedMachine {
            cpu: self.settled(),
            board: self.board.state.clone(),
            dma: self.board.dma.save(),
            chips,
            ram: ram.bytes(),
            video: video.bytes(),
            pages,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(postcard::to_allocvec(&saved).unwrap_or_default());
        bytes
    }
    /// Takes over a saved state. The machine must have been built alike, with the same drives. Keys that wait to be
    /// typed are forgotten.
    ///
    /// # Errors
    /// See [`SnapshotError`]. After an error of a chip the machine is to be reset or thrown away.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let body = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Malformed)?;
        let saved: SavedMachine = match postcard::take_from_bytes(body) {
            Ok((saved, [])) => saved,
            _ => return Err(SnapshotError::Malformed),
        };
        let (ram, video) = (self.memory.ram(), self.memory.video());
        let same = |what, saved: u64, own: u64| {
            if saved == own { Ok(()) } else { Err(SnapshotError::OtherMachine { what, saved, own }) }
        };
        same("bytes of RAM", saved.ram, ram.bytes())?;
        same("bytes of video memory", saved.video, video.bytes())?;
        same("chips", saved.chips.len() as u64, (Chip::ALL.len() + self.board.extras.len()) as u64)?;
        let total = (ram.bytes() + video.bytes()) / PAGE;
        if saved.pages.iter().any(|(index, page)| u64::from(*index) >= total || page.len() != PAGE as usize) {
            return Err(SnapshotError::Malformed);
        }
        let extras = self.board.extras.iter().map(|extra| extra.device.name());
        let names = Chip::ALL.iter().map(|chip| self.board.chips.look(*chip).name()).chain(extras);
        if !names.eq(saved.chips.iter().map(|(name, _)| name.as_str())) {
            return Err(SnapshotError::Malformed);
        }
        let mut cpu = self.cpu.clone();
        cpu.adopt(saved.cpu)?;
        for (chip, (name, state)) in Chip::ALL.iter().zip(&saved.chips) {
            let result = self.board.chips.get(*chip).restore(state);
            result.map_err(|source| SnapshotError::Chip { chip: name.clone(), source })?;
        }
        for (extra, (name, state)) in self.board.extras.iter_mut().zip(saved.chips.iter().skip(Chip::ALL.len())) {
            let result = extra.device.restore(state);
            result.map_err(|source| SnapshotError::Chip { chip: name.clone(), source })?;
        }
        let result = self.board.dma.restore(&saved.dma);
        result.map_err(|source| SnapshotError::Chip { chip: "dma".into(), source })?;
        self.memory.block_mut(ram).fill(0);
        self.memory.block_mut(video).fill(0);
        let split = (ram.bytes() / PAGE) as usize;
        for (index, page) in saved.pages {
            let index = index as usize;
            let (block, index) = if index < split { (ram, index) } else { (video, index - split) };
            let at = index * PAGE as usize;
            self.memory.block_mut(block)[at..at + PAGE as usize].copy_from_slice(&page);
        }
        self.memory.mark_video_dirty(0, video.bytes());
        self.cpu = cpu;
        // What was to be typed was for another time.
        self.typing = Typing::default();
        self.board.state = saved.board;
        // The one wire that no chip drives.
        self.board.coprocessor.restore_level(self.board.state.numeric_error);
        self.board.refresh(&mut self.memory, self.cpu.ticks);
        self.engine.forget();
        Ok(())
    }
}
