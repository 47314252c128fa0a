//! Programs that overwrite their own code, and string instructions that are cut in pieces.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use assembler::{Options, Source, assemble_files};
use cpu::bus::{Bus, Cycle};
use cpu::decode::{Decoded, decode};
use cpu::flags::bits;
use cpu::interpreter::Interpreter;
use cpu::state::{Mode, Seg, Segment, Width, gpr};
use cpu::{CpuState, Engine, Exit, GuestMemory, Model};

/// A board with nothing on it.
struct Board;

impl Bus for Board {}

fn machine(text: &str) -> (CpuState, GuestMemory) {
    let options = Options { origin: 0x1000, ..Options::default() };
    let image =
        assemble_files(&[Source { name: "test.asm", text }], &options).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = GuestMemory::new(0x1_0000, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 0x1_0000, ram, 0, false);
    memory.write(0x1000, &image.bytes);
    let mut cpu = CpuState::new(Model::PentiumM);
    for seg in [Seg::Cs, Seg::Ds, Seg::Es, Seg::Ss] {
        cpu.seg[seg as usize] = Segment::real(0);
    }
    cpu.rip = 0x1000;
    cpu.gpr.set(gpr::SP, 0x8000);
    cpu.update_mode();
    (cpu, memory)
}

/// Runs to the end, in pieces of so many instructions.
fn run(engine: &mut Interpreter, cpu: &mut CpuState, memory: &mut GuestMemory, piece: u64) {
    let mut pieces = 0;
    loop {
        match engine.run(cpu, memory, &mut Board, piece).0 {
            Exit::Halted => return,
            Exit::BudgetSpent => pieces += 1,
            exit => panic!("{exit:?}"),
        }
        assert!(pieces < 100_000, "it does not end");
    }
}

/// Each time round, the program gives its own instructions other immediates, displacements and
/// targets, in this block and in others, in part and across two instructions.
const SELF_MODIFYING: &str = "
bits 16
    mov cx, 200
again:
    add word [one + 1], 0x0103
one:
    mov ax, 0x1234
    add bx, ax
    xor byte [two + 2], 4
two:
    mov dx, [si + 0x40]
    add bx, dx
    xor byte [three + 1], 1
three:
    jmp short near1
near1:
    inc bx
    add byte [four + 2], 7
    rol bx, 1
    xor word [five + 2], 0x0302
    cmp bx, 0x4000
    jb five
four:
    add bx, 0x1111
five:
    sub bx, 3
    sbb ax, ax
    add bx, ax
    call far_away
    loop again
    hlt
far_away:
    add byte [one + 2], 0x11
    ret
";

#[test]
fn overwritten_operands_are_those_of_the_next_time() {
    let start = || {
        let (mut cpu, mut memory) = machine(SELF_MODIFYING);
        cpu.gpr.set(gpr::SI, 0x2000);
        memory.write(0x2040, &[0x21, 0x43, 0, 0, 0x65, 0x87]);
        (cpu, memory)
    };
    let (mut alone, mut alone_memory) = start();
    run(&mut Interpreter::new(), &mut alone, &mut alone_memory, 1);
    for piece in [u64::MAX, 1000, 7] {
        let (mut cpu, mut memory) = start();
        let mut engine = Interpreter::new();
        run(&mut engine, &mut cpu, &mut memory, piece);
        assert_eq!(cpu, alone, "in pieces of {piece}");
        assert_eq!(memory.block(memory.ram()), alone_memory.block(alone_memory.ram()), "in pieces of {piece}");
        if piece == u64::MAX {
            let counters = engine.counters();
            assert!(counters.patched > 900 && counters.invalidated < 500, "{counters:?}");
        }
    }
}

/// The operand 1 of some shifts is no byte of theirs: the last one is that of the register, or of the address.
#[test]
fn shifts_by_one_have_no_immediate_to_overwrite() {
    let text = "
bits 16
    mov cx, 20
again:
    xor byte [one + 1], 3
one:
    rol ax, 1
    xor byte [two + 3], 0x10
two:
    ror word [0x2040], 1
    loop again
    hlt
";
    let start = || {
        let (mut cpu, mut memory) = machine(text);
        cpu.gpr.set(gpr::AX, 0x1234);
        cpu.gpr.set(gpr::BX, 0x5679);
        memory.write(0x2040, &[0x21, 0x43]);
        memory.write(0x3040, &[0x65, 0x87]);
        (cpu, memory)
    };
    let (mut alone, mut alone_memory) = start();
    run(&mut Interpreter::new(), &mut alone, &mut alone_memory, 1);
    assert_eq!((alone.gpr.get(gpr::AX), alone.gpr.get(gpr::BX)), (0xd048, 0xe559));
    let (mut cpu, mut memory) = start();
    run(&mut Interpreter::new(), &mut cpu, &mut memory, u64::MAX);
    assert_eq!(cpu, alone);
    assert_eq!(memory.block(memory.ram()), alone_memory.block(alone_memory.ram()));
}

/// Where an instruction says that its last bytes are its immediate, they are.
#[test]
fn immediates_are_where_they_are_said_to_be() {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut with = 0;
    for n in 0..400_000 {
        let mut bytes = [0; 15];
        for byte in &mut bytes {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            *byte = (x >> 24) as u8;
        }
        if n % 4 == 0 {
            bytes[0] = 0xc0 | bytes[0] & 0x1f;
        }
        let mode = if n % 2 == 0 { Mode(0) } else { Mode(Mode::CODE32 | Mode::STACK32 | Mode::PROTECTED) };
        let Decoded::Insn(lowered) = decode(&bytes, 0x1000, mode, Model::PentiumM) else { continue };
        let (insn, size) = (lowered.insn, usize::from(lowered.insn.imm_size));
        if size == 0 {
            continue;
        }
        with += 1;
        let end = usize::from(insn.len);
        let mut last = [0; 8];
        last[..size].copy_from_slice(&bytes[end - size..end]);
        assert_eq!(insn.imm, u64::from_le_bytes(last), "{:02x?} {:?}", &bytes[..end], insn.code);
    }
    assert!(with > 20_000, "{with}");
}

/// An instruction that becomes another one is decoded anew.
#[test]
fn overwritten_instructions_are_others_the_next_time() {
    let text = "
bits 16
    mov cx, 10
again:
    xor byte [one], 0x40 ^ 0x48
one:
    inc ax
    inc bx
    loop again
    hlt
";
    let (mut cpu, mut memory) = machine(text);
    run(&mut Interpreter::new(), &mut cpu, &mut memory, u64::MAX);
    assert_eq!((cpu.gpr.get(gpr::AX), cpu.gpr.get(gpr::BX)), (0, 10));
}

/// RF holds until the last iteration is done, however often the run is cut in between.
#[test]
fn a_passed_breakpoint_is_not_met_again_between_iterations() {
    let (mut cpu, mut memory) = machine("bits 16\nrep movsb\nhlt\n");
    cpu.gpr.set(gpr::CX, 40);
    cpu.gpr.set(gpr::SI, 0x2000);
    cpu.gpr.set(gpr::DI, 0x3000);
    (cpu.dr[0], cpu.dr[7]) = (0x1000, 0x401);
    cpu.system_flags |= bits::RF;
    let mut engine = Interpreter::new();
    assert_eq!(engine.run(&mut cpu, &mut memory, &mut Board, 3), (Exit::BudgetSpent, 3));
    assert!(cpu.flag(bits::RF) && cpu.gpr.get(gpr::CX) == 37);
    run(&mut engine, &mut cpu, &mut memory, 1);
    assert_eq!((cpu.gpr.get(gpr::CX), cpu.rip, cpu.flag(bits::RF)), (0, 0x1003, false));
}

/// A string instruction that overwrites itself is another one from the next iteration on, whether it stands in a block
/// or runs alone, and wherever the run is cut.
#[test]
fn a_string_instruction_that_overwrites_itself_ends_there() {
    let cases = [
        ("rep stosb", 0x90),
        ("rep stosw", 0x9090),
        // Copies of INC CX; it goes on with them.
        ("rep movsb", 0),
        ("rep insb", 0),
    ];
    for (instruction, ax) in cases {
        for lead in ["", "    nop\n"] {
            let text = format!("bits 16\n{lead}    {instruction}\n    hlt\n");
            let end = |piece: u64| {
                let (mut cpu, mut memory) = machine(&text);
                cpu.gpr.set(gpr::AX, ax);
                cpu.gpr.set(gpr::CX, 40);
                cpu.gpr.set(gpr::SI, 0x2000);
                cpu.gpr.set(gpr::DI, 0x0ff8);
                memory.write(0x2000, &[0x41; 11]);
                memory.write(0x200b, &[0x90; 40]);
                memory.write(0x1040, &[0xf4]);
                let mut engine = Interpreter::new();
                let mut left = 400;
                while left > 0 {
                    let (exit, ran) = engine.run(&mut cpu, &mut memory, &mut Noise, piece.min(left));
                    left -= ran;
                    if exit == Exit::Halted {
                        break;
                    }
                }
                (cpu, memory)
            };
            let (alone, alone_memory) = end(1);
            assert_ne!(alone.gpr.get(gpr::CX), 0, "{instruction} has overwritten itself");
            for piece in [400, 37, 7, 2] {
                let (cpu, memory) = end(piece);
                assert_eq!(cpu, alone, "{lead}{instruction} in pieces of {piece}");
                assert_eq!(memory.block(memory.ram()), alone_memory.block(alone_memory.ram()), "{instruction}");
            }
        }
    }
}

/// A board whose ports give NOPs, several in one cycle.
struct Noise;

impl Bus for Noise {
    fn port_read(&mut self, _: Cycle<'_>, _: u16, _: Width) -> u32 {
        0x9090_9090
    }
    fn port_read_block(&mut self, _: Cycle<'_>, _: u16, _: Width, data: &mut [u8]) -> usize {
        data.fill(0x90);
        data.len()
    }
}

/// All bytes that make an instruction undefined are its own: the handler of #UD overwrites the second.
#[test]
fn an_undefined_instruction_that_is_overwritten_is_another() {
    let (mut cpu, mut memory) = machine(
        "
bits 16
    mov word [6 * 4], undefined
    mov ax, 5
bad:
    db 0x0f, 0xff, 0xc0
    hlt
undefined:
    inc bx
    mov byte [bad + 1], 0xaf
    iret
",
    );
    cpu.idtr.limit = 0x3ff;
    run(&mut Interpreter::new(), &mut cpu, &mut memory, 1000);
    assert_eq!((cpu.gpr.get(gpr::AX), cpu.gpr.get(gpr::BX)), (25, 1));
}
