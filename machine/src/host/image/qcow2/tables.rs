//! A cache of tables of one cluster each.

use super::super::file::Backing;
use super::header::be64;
use std::collections::HashMap;
use std::io;

/// A table of an image in memory.
pub(super) struct Table {
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Differs from the file.
    pub dirty: bool,
    used: u64,
}

impl Table {
    pub fn entry(&self, index: usize) -> u64 {
        be64(&self.bytes, index * 8)
    }
    pub fn set_entry(&mut self, index: usize, value: u64) {
        if let Some(place) = self.bytes.get_mut(index * 8..index * 8 + 8) {
            place.copy_from_slice(&value.to_be_bytes());
            self.dirty = true;
        }
    }
}

/// The tables that were used last.
pub(super) struct Tables {
    slots: Vec<Table>,
    index: HashMap<u64, usize>,
    last: usize,
    clock: u64,
    most: usize,
}

impl Tables {
    /// Keeps up to `bytes` bytes, and four tables at least.
    pub fn new(bytes: usize, cluster: u64) -> Tables {
        let most = (bytes / cluster as usize).max(4);
        Tables { slots: Vec::new(), index: HashMap::new(), last: 0, clock: 0, most }
    }
    pub fn find(&mut self, offset: u64) -> Option<&mut Table> {
        if self.slots.get(self.last).is_none_or(|table| table.offset != offset) {
            self.last = *self.index.get(&offset)?;
        }
        self.clock += 1;
        let table = self.slots.get_mut(self.last)?;
        table.used = self.clock;
        Some(table)
    }
    /// The table that must go before another comes, if there is no room.
    pub fn victim(&mut self) -> Option<&mut Table> {
        if self.slots.len() < self.most {
            return None;
        }
        self.slots.iter_mut().min_by_key(|table| table.used)
    }
    /// Takes in a table. The victim must be clean.
    pub fn insert(&mut self, offset: u64, bytes: Vec<u8>, dirty: bool) -> &mut Table {
        self.clock += 1;
        let table = Table { offset, bytes, dirty, used: self.clock };
        let at = if let Some(at) = self.index.get(&offset) {
            *at
        } else if self.slots.len() < self.most {
            self.slots.len()
        } else {
            let oldest = self.slots.iter().enumerate().min_by_key(|(_, table)| table.used);
            oldest.map_or(0, |(at, _)| at)
        };
        if at == self.slots.len() {
            self.slots.push(table);
        } else {
            self.index.remove(&self.slots[at].offset);
            self.slots[at] = table;
        }
        self.index.insert(offset, at);
        self.last = at;
        &mut self.slots[at]
    }
    pub fn forget(&mut self) {
        self.slots.clear();
        self.index.clear();
    }
    /// Forgets one table without writing it.
    pub fn discard(&mut self, offset: u64) {
        if let Some(table) = self.find(offset) {
            table.dirty = false;
        }
    }
    pub fn any_dirty(&self) -> bool {
        self.slots.iter().any(|table| table.dirty)
    }
    /// Writes what differs, in the order of the file. Returns whether anything did.
    pub fn write(&mut self, file: &mut dyn Backing) -> io::Result<bool> {
        let mut dirty: Vec<&mut Table> = self.slots.iter_mut().filter(|table| table.dirty).collect();
        dirty.sort_by_key(|table| table.offset);
        let any = !dirty.is_empty();
        for table in dirty {
            file.write_at(table.offset, &table.bytes)?;
            table.dirty = false;
        }
        Ok(any)
    }
}
