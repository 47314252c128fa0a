//! x
/// s
pub static SYSTEM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/system.bin"));
/// v
pub static VGA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vga.bin"));
