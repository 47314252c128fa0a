//! Regions written down for people: the guest's instructions, what was made of them, the host's.

use crate::region::Page;
use cpu::interpreter::tier::Place;
use cpu::memory::{GuestMemory, PAGE};
use iced_x86::{Decoder, DecoderOptions, FastFormatter};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Where regions are written down, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpSettings {
    /// The folder, one file for each region. It must be there.
    pub folder: PathBuf,
    /// Only regions with code at this linear address.
    pub address: Option<u64>,
}

impl DumpSettings {
    /// Whether a region with these pieces of code (linear address, length) is wanted.
    pub(crate) fn wants(&self, pieces: impl IntoIterator<Item = (u64, u64)>) -> bool {
        let Some(address) = self.address else { return true };
        pieces.into_iter().any(|(at, length)| (at..at + length).contains(&address))
    }
    /// Writes a region down. What cannot be written is no loss.
    pub(crate) fn write(&self, place: &Place, code: usize, text: &str) {
        let name = format!("{:x}-{:x}-{code:x}.txt", place.base, place.ip);
        let _ = std::fs::write(self.folder.join(name), text);
    }
    /// Writes down quick code that was made for these pieces of guest code: number of the page, offset, length.
    pub(crate) fn write_quick(
        &self,
        place: &Place,
        pages: &[Page],
        ranges: &[(u8, u16, u16)],
        memory: &GuestMemory,
        code: (usize, &[u8]),
    ) {
        let pieces = || {
            ranges.iter().map(|&(page, offset, length)| {
                let page = &pages[usize::from(page)];
                (page.linear * PAGE + u64::from(offset), u64::from(length), page.page, usize::from(offset))
            })
        };
        if !self.wants(pieces().map(|(at, length, ..)| (at, length))) {
            return;
        }
        let (at, bytes) = code;
        let mut text = format!(
            "region {:x}:{:x}, mode {:x}, one-pass code at {at:x}, {} bytes\n\nguest\n",
            place.base,
            place.ip,
            place.mode.0,
            bytes.len()
        );
        for (at, length, page, offset) in pieces() {
            text.push('\n');
            list(&mut text, place.mode.bitness(), at, &memory.page(page)[offset..offset + length as usize]);
        }
        text.push_str("\nhost\n\n");
        list(&mut text, 64, at as u64, bytes);
        self.write(place, at, &text);
    }
}

/// Lists x86 code.
fn list(text: &mut String, bitness: u32, at: u64, bytes: &[u8]) {
    let mut decoder = Decoder::with_ip(bitness, bytes, at, DecoderOptions::NONE);
    let (mut formatter, mut line) = (FastFormatter::new(), String::new());
    while decoder.can_decode() {
        let instruction = decoder.decode();
        line.clear();
        formatter.format(&instruction, &mut line);
        let _ = writeln!(text, "  {:08x}  {line}", instruction.ip());
    }
}
