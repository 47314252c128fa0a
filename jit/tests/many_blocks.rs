//! A program whose blocks come round so rarely that the interpreter has dropped each of them by then.
#![cfg(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    all(target_os = "macos", target_arch = "aarch64")
))]

use cpu::Model;
use cpu::bus::Bus;
use cpu::engine::{Engine, Exit};
use cpu::memory::GuestMemory;
use cpu::state::{Attributes, CpuState, Seg, Segment, cr0, gpr};
use jit::{Settings, Translator};

/// A board with nothing on it.
struct Board;

impl Bus for Board {}

const BLOCKS: u64 = 12_000;
/// Of each block, the last of which is a jump.
const INSTRUCTIONS: u64 = 31;
const ROUNDS: u64 = 40;

#[test]
fn what_comes_round_rarely_is_translated_in_the_end() {
    let mut memory = GuestMemory::new(1 << 20, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 1 << 20, ram, 0, false);
    // inc eax, 30 times; jmp $+2
    let block = [&[0x40; INSTRUCTIONS as usize - 1][..], &[0xeb, 0]].concat();
    let back = -((BLOCKS * block.len() as u64 + 7) as i32);
    // The blocks; dec ecx; jnz to the first; hlt
    let end = [&[0x49, 0x0f, 0x85][..], &back.to_le_bytes(), &[0xf4]].concat();
    memory.write(0x1000, &[block.repeat(BLOCKS as usize), end].concat());
    let mut cpu = CpuState::new(Model::PentiumM);
    cpu.cr0 |= cr0::PE;
    for seg in [Seg::Cs, Seg::Ds, Seg::Es, Seg::Ss] {
        let attributes = Attributes(if seg == Seg::Cs { 0xc9b } else { 0xc93 });
        cpu.seg[seg as usize] = Segment::new(8, 0, u32::MAX, attributes, true);
    }
    cpu.rip = 0x1000;
    cpu.gpr.set(gpr::CX, ROUNDS);
    cpu.update_mode();
    let settings = Settings { background: Some(false), cache: None, ..Settings::default() };
    let mut engine = Translator::new(&settings).unwrap();
    let (exit, done) = engine.run(&mut cpu, &mut memory, &mut Board, u64::MAX);
    assert_eq!(exit, Exit::Halted);
    assert_eq!(cpu.gpr.get(gpr::AX), BLOCKS * (INSTRUCTIONS - 1) * ROUNDS);
    assert_eq!(done, ROUNDS * (BLOCKS * INSTRUCTIONS + 2) + 1);
    let counters = engine.counters();
    assert!(counters.native > done / 2, "hardly anything was translated: {counters:?}");
}
