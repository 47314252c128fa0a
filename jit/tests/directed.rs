//! Small programs for what random ones hardly meet.
#![cfg(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    all(target_os = "macos", target_arch = "aarch64")
))]

use cpu::Model;
use cpu::bus::Bus;
use cpu::engine::{Engine, Exit};
use cpu::interpreter::Interpreter;
use cpu::memory::GuestMemory;
use cpu::state::{Attributes, CpuState, Seg, Segment, cr0, gpr};
use jit::{Settings, Translator};

/// A board with nothing on it.
struct Board;

impl Bus for Board {}

const RAM: u64 = 1 << 20;
const CODE: u64 = 0x1000;

/// A processor in flat 32-bit mode before `program`, and its memory.
fn machine(program: &[u8]) -> (CpuState, GuestMemory) {
    let mut memory = GuestMemory::new(RAM, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, RAM, ram, 0, false);
    memory.write(CODE, program);
    let mut cpu = CpuState::new(Model::PentiumM);
    cpu.cr0 |= cr0::PE;
    for seg in [Seg::Cs, Seg::Ds, Seg::Es, Seg::Ss] {
        let attributes = Attributes(if seg == Seg::Cs { 0xc9b } else { 0xc93 });
        cpu.seg[seg as usize] = Segment::new(8, 0, u32::MAX, attributes, true);
    }
    cpu.rip = CODE;
    cpu.gpr.set(gpr::SP, 0x8_0000);
    cpu.update_mode();
    (cpu, memory)
}

fn translator(threshold: u32) -> Translator {
    let settings = Settings { threshold, background: Some(false), cache: None, ..Settings::default() };
    Translator::new(&settings).unwrap()
}

/// Runs until HLT, in pieces as a machine does: what the code generator has made is taken up between them.
fn halt(engine: &mut dyn Engine, cpu: &mut CpuState, memory: &mut GuestMemory) {
    loop {
        match engine.run(cpu, memory, &mut Board, 1000).0 {
            Exit::BudgetSpent => {}
            exit => {
                assert_eq!(exit, Exit::Halted);
                break;
            }
        }
    }
}

/// Runs until HLT; the registers then.
fn run(engine: &mut dyn Engine, program: &[u8]) -> CpuState {
    let (mut cpu, mut memory) = machine(program);
    for n in 0..0x40_u64 {
        memory.write(0x3000 + 4 * n, &(n as u32).wrapping_mul(0x9e37_79b9).to_le_bytes());
    }
    halt(engine, &mut cpu, &mut memory);
    cpu.lazy.settle();
    cpu
}

#[test]
fn operands_in_memory_are_there_when_old_flags_have_been_looked_at() {
    let makers: [&[u8]; 16] = [
        &[0x81, 0xc3, 0xb9, 0x79, 0x37, 0x9e],
        &[0x81, 0xeb, 0xb9, 0x79, 0x37, 0x9e],
        &[0x83, 0xd3, 0x71],
        &[0x83, 0xdb, 0x71],
        &[0x39, 0xcb],
        &[0x83, 0xe3, 0xf9],
        &[0x81, 0xf3, 0xb9, 0x79, 0x37, 0x9e],
        &[0x43],
        &[0xf7, 0xdb],
        &[0xc1, 0xe3, 3],
        &[0xd1, 0xfb],
        &[0xd3, 0xeb],
        &[0xd1, 0xc3],
        &[0x69, 0xdb, 0xb9, 0x79, 0x37, 0x9e],
        &[0x0f, 0xa3, 0xcb],
        &[0x66, 0x01, 0xcb],
    ];
    for maker in makers {
        // mov edi, f; mov ecx, 500; again: add ebx, ecx; what makes flags; call edi; dec ecx; jnz again; hlt
        // f: cmovc eax, [3000h]; cmovs edx, [3004h]; cmovle ebp, [3008h]; adc esi, [300Ch]; ret
        // Where f is entered nothing is known of the flags.
        let mut made = [0x90; 6];
        made[6 - maker.len()..].copy_from_slice(maker);
        let program = [
            &[0xbf, 0x18, 0x10, 0, 0, 0xb9, 0xf4, 1, 0, 0, 0x01, 0xcb][..],
            &made,
            &[0xff, 0xd7, 0x49, 0x75, 0xf3, 0xf4],
            &[0x0f, 0x42, 0x05, 0, 0x30, 0, 0, 0x0f, 0x48, 0x15, 4, 0x30, 0, 0, 0x0f, 0x4e, 0x2d, 8, 0x30, 0, 0],
            &[0x13, 0x35, 0x0c, 0x30, 0, 0, 0xc3],
        ]
        .concat();
        let right = run(&mut Interpreter::new(), &program);
        for threshold in [1, 20] {
            let mut translator = translator(threshold);
            assert_eq!(run(&mut translator, &program), right, "{maker:02x?}, translated after {threshold}");
            // The code generator of other hosts takes only what is hotter than that, unless it takes everything.
            assert!(threshold > 1 || translator.counters().native > 0);
        }
    }
}

const BLOCKS: u64 = 12_000;
/// Of each block, the last of which is a jump.
const INSTRUCTIONS: u64 = 31;
const ROUNDS: u64 = 40;

#[test]
fn what_comes_round_rarely_is_translated_in_the_end() {
    // inc eax, 30 times; jmp $+2
    let block = [&[0x40; INSTRUCTIONS as usize - 1][..], &[0xeb, 0]].concat();
    let back = -((BLOCKS * block.len() as u64 + 7) as i32);
    // The blocks; dec ecx; jnz to the first; hlt
    let end = [&[0x49, 0x0f, 0x85][..], &back.to_le_bytes(), &[0xf4]].concat();
    let (mut cpu, mut memory) = machine(&[block.repeat(BLOCKS as usize), end].concat());
    cpu.gpr.set(gpr::CX, ROUNDS);
    let mut engine = translator(250);
    let (exit, done) = engine.run(&mut cpu, &mut memory, &mut Board, u64::MAX);
    assert_eq!(exit, Exit::Halted);
    assert_eq!(cpu.gpr.get(gpr::AX), BLOCKS * (INSTRUCTIONS - 1) * ROUNDS);
    assert_eq!(done, ROUNDS * (BLOCKS * INSTRUCTIONS + 2) + 1);
    let counters = engine.counters();
    // Not asked of the code generator, which makes all code on ARM64: it wants 2000 ticks of a block, which here are 1240.
    assert!(
        counters.native > done / 2 || cfg!(target_arch = "aarch64"),
        "hardly anything was translated: {counters:?}"
    );
}

/// A function over two pages that knows where it is, at each of these linear addresses 300 times, with paging.
fn mapped(engine: &mut dyn Engine, addresses: &[u32]) -> CpuState {
    // mov esi, 3000h; next: mov edi, [esi]; add esi, 4; test edi, edi; jz done
    // mov ecx, 300; again: call edi; dec ecx; jnz again; jmp next; done: hlt
    let program = [
        &[0xbe, 0, 0x30, 0, 0, 0x8b, 0x3e, 0x83, 0xc6, 4, 0x85, 0xff, 0x74, 0x0c][..],
        &[0xb9, 0x2c, 1, 0, 0, 0xff, 0xd7, 0x49, 0x75, 0xfb, 0xeb, 0xeb, 0xf4],
    ];
    // 1FF0: call $+5; pop edx; add eax, edx; mov bl, 3; again: dec bl; jnz 2000h; jmp 2004h
    let first = [0xe8, 0, 0, 0, 0, 0x5a, 0x01, 0xd0, 0xb3, 3, 0xfe, 0xcb, 0x75, 2, 0xeb, 4];
    // 2000: add eax, ebx (or sub); jmp again; fld1; fstp st(0); ret
    let second = |op: u8| [op, 0xd8, 0xeb, 0xf6, 0xd9, 0xe8, 0xdd, 0xd8, 0xc3];
    let (mut cpu, mut memory) = machine(&program.concat());
    memory.write(0x1ff0, &first);
    memory.write(0x2000, &second(0x01));
    memory.write(0x5000, &second(0x29));
    for (n, address) in addresses.iter().enumerate() {
        memory.write(0x3000 + 4 * n as u64, &address.to_le_bytes());
    }
    // One table for all of the gigabytes, but for one in which the second page is another.
    const TABLES: [u32; 2] = [0x1_1000, 0x1_2000];
    for (n, table) in TABLES.into_iter().enumerate() {
        for page in 0..0x100 {
            let to = if n == 1 && page == 2 { 0x5000 } else { page << 12 };
            memory.write(u64::from(table + 4 * page), &(to | 3).to_le_bytes());
        }
    }
    for (gigabyte, table) in [0, 0, 1, 0].into_iter().enumerate() {
        memory.write(0x1_0000 + 0x400 * gigabyte as u64, &(TABLES[table] | 3).to_le_bytes());
    }
    cpu.cr3 = 0x1_0000;
    cpu.cr0 |= cr0::PG;
    cpu.update_mode();
    halt(engine, &mut cpu, &mut memory);
    cpu.lazy.settle();
    cpu
}

#[test]
fn code_is_made_once_for_memory_that_is_mapped_several_times() {
    let all = [0x1ff0, 0x4000_1ff0, 0x1ff0, 0x8000_1ff0, 0xc000_1ff0, 0x8000_1ff0, 0x4000_1ff0];
    let right = mapped(&mut Interpreter::new(), &all);
    for threshold in [1, 20, 250] {
        let mut translator = translator(threshold);
        let registers = mapped(&mut translator, &all);
        assert_eq!(registers, right, "translated after {threshold}");
        let counters = translator.counters();
        if cfg!(target_arch = "x86_64") {
            assert!(counters.twins >= 2, "translated after {threshold}: {counters:?}");
        }
    }
}

#[test]
fn code_from_the_cache_is_for_other_addresses_too() {
    let folder = tempfile::tempdir().unwrap();
    let cache = jit::CacheSettings { folder: folder.path().join("code"), limit: 64 << 20 };
    let settings = Settings { background: Some(false), cache: Some(cache), ..Settings::default() };
    let all: [&[u32]; 4] = [&[0x1ff0], &[0xc000_1ff0, 0x1ff0], &[0x8000_1ff0], &[0x8000_1ff0, 0x4000_1ff0]];
    for (n, addresses) in all.into_iter().enumerate() {
        let right = mapped(&mut Interpreter::new(), addresses);
        let mut translator = Translator::new(&settings).unwrap();
        assert!(translator.cache_error().is_none());
        assert_eq!(mapped(&mut translator, addresses), right, "{addresses:x?}");
        let counters = translator.counters();
        // Nearly all is there, but what is different: the function where its second page is another.
        let mut cold = self::translator(250);
        mapped(&mut cold, addresses);
        if cfg!(all(target_arch = "x86_64", target_os = "linux")) && n > 0 {
            let fewer = counters.regions < cold.counters().regions + u64::from(n == 2);
            assert!(fewer && counters.loaded > 0, "{addresses:x?}: {counters:?}, not {:?}", cold.counters());
        }
    }
}
