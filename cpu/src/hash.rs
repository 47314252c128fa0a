//! Maps whose keys are few words: the standard hasher costs more than the look-up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A multiplicative hash. What a guest can do with keys that collide is to slow itself down.
#[derive(Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }
    fn write_u16(&mut self, v: u16) {
        self.write_u64(u64::from(v));
    }
    fn write_u32(&mut self, v: u32) {
        self.write_u64(u64::from(v));
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = (self.0.rotate_left(5) ^ v).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, v: usize) {
        self.write_u64(v as u64);
    }
}

/// The hash of a value.
#[must_use]
pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hash = Mix::default();
    value.hash(&mut hash);
    hash.finish()
}

/// A map that hashes so.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;
