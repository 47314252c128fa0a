//! What reaches the bus reaches it once, in blocks as in single steps.

#![allow(clippy::unwrap_used, reason = "tests")]

use cpu::bus::{Bus, Cycle};
use cpu::interpreter::Interpreter;
use cpu::state::{Seg, Segment, Width, gpr};
use cpu::{CpuState, Engine, Exit, GuestMemory, Model};

/// Notes where stores arrive.
#[derive(Default)]
struct Board(Vec<u64>);

impl Bus for Board {
    fn mmio_write(&mut self, _: Cycle<'_>, address: u64, _: Width, _: u64) {
        self.0.push(address);
    }
}

/// ENTER pushes into the video window and looks at a new top of stack outside of RAM.
#[test]
fn enter_stores_once() {
    let mut memory = GuestMemory::new(0x1_0000, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 0x1_0000, ram, 0, false);
    // nop; enter 100h,3; hlt
    memory.write(0x100, &[0x90, 0xc8, 0x00, 0x01, 0x03, 0xf4]);
    let mut cpu = CpuState::new(Model::PentiumM);
    cpu.seg[Seg::Cs as usize] = Segment::real(0);
    cpu.seg[Seg::Ss as usize] = Segment::real(0x9800);
    cpu.rip = 0x100;
    cpu.gpr.set(gpr::SP, 0x8010);
    cpu.update_mode();
    let mut board = Board::default();
    assert_eq!(Interpreter::new().run(&mut cpu, &mut memory, &mut board, 100), (Exit::Halted, 3));
    assert_eq!(board.0, [0xa_000e, 0xa_000c, 0xa_000a, 0xa_0008]);
    assert_eq!(cpu.gpr.get(gpr::SP), 0x7f08);
}

/// ENTER pushes onto frame pointers that it has copied before one of its stores crosses a page.
#[test]
fn enter_copies_what_it_overwrites() {
    let run = |piece: u64| {
        let mut memory = GuestMemory::new(0x1_1000, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, 0x1_1000, ram, 0, false);
        // push ax; pop ax; mov [ss:800h],ax; enter 0,6; hlt
        memory.write(0x100, &[0x50, 0x58, 0x36, 0xa3, 0x00, 0x08, 0xc8, 0x00, 0x00, 0x06, 0xf4]);
        memory.write(0xfff5, &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e]);
        let mut cpu = CpuState::new(Model::PentiumM);
        cpu.seg[Seg::Ss as usize] = Segment::real(0xf00);
        cpu.seg[Seg::Cs as usize] = Segment::real(0);
        cpu.rip = 0x100;
        cpu.gpr.set(gpr::SP, 0x1007);
        cpu.gpr.set(gpr::BP, 0x1003);
        cpu.update_mode();
        let mut engine = Interpreter::new();
        while engine.run(&mut cpu, &mut memory, &mut Board::default(), piece).0 != Exit::Halted {}
        (cpu, memory.block(memory.ram()).to_vec())
    };
    let (whole, alone) = (run(100), run(1));
    assert_eq!(whole.0, alone.0);
    assert_eq!(whole.1[0xfff0..0x1_0010], alone.1[0xfff0..0x1_0010]);
    assert_eq!(whole.1[0x1_0003..0x1_0005], [0x1d, 0x1e]);
}
