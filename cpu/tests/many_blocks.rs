//! Programs with more blocks than an interpreter keeps.

#![allow(clippy::unwrap_used, reason = "tests")]

use cpu::bus::Bus;
use cpu::interpreter::Interpreter;
use cpu::state::{Seg, Segment, gpr};
use cpu::{CpuState, Engine, Exit, GuestMemory, Model};

/// A board with nothing on it.
struct Board;

impl Bus for Board {}

/// Blocks in each of two code segments.
const HALF: u64 = 20_000;
const ROUNDS: u64 = 3;

#[test]
fn the_oldest_blocks_go_and_come_back() {
    let mut memory = GuestMemory::new(0x10_0000, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 0x10_0000, ram, 0, false);
    // inc ax; jmp $+2
    let blocks = [0x40, 0xeb, 0x00].repeat(HALF as usize);
    // mov cx, 3; the blocks; jmp 2000h:0
    memory.write(0x1_0000, &[&[0xb9, ROUNDS as u8, 0][..], &blocks, &[0xea, 0, 0, 0, 0x20]].concat());
    // The blocks; dec cx; jz $+7; jmp 1000h:3; hlt
    memory.write(0x2_0000, &[&blocks[..], &[0x49, 0x74, 5, 0xea, 3, 0, 0, 0x10, 0xf4]].concat());
    let mut cpu = CpuState::new(Model::PentiumM);
    for seg in [Seg::Ds, Seg::Es, Seg::Ss] {
        cpu.seg[seg as usize] = Segment::real(0);
    }
    cpu.seg[Seg::Cs as usize] = Segment::real(0x1000);
    cpu.rip = 0;
    cpu.update_mode();
    let mut engine = Interpreter::new();
    let (exit, done) = engine.run(&mut cpu, &mut memory, &mut Board, u64::MAX);
    assert_eq!(exit, Exit::Halted);
    assert_eq!(cpu.gpr.get(gpr::AX), 2 * HALF * ROUNDS & 0xffff);
    // MOV, and in each round the blocks, a jump to the other half, DEC, JZ, and a jump back or HLT.
    assert_eq!(done, 1 + ROUNDS * (4 * HALF + 4));
    let counters = engine.counters();
    assert!(counters.blocks > 4 * HALF, "all blocks were kept: {counters:?}");
    assert_eq!(counters.invalidated, 0);
}
