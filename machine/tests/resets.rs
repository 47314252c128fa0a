//! Kernels that are booted directly, over and over: each boot finds memory and processor as the first one did.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use assembler::{Options, assemble};
use beigebox::loader::Payload;
use beigebox::processor::gpr;
use beigebox::{Machine, Spot, Stop, trace};

/// A kernel by the Linux boot protocol, whose set-up code resets the machine by the way in BX.
fn kernel() -> Vec<u8> {
    let source = "
        org 0
        bits 16
        jmp short start
        times 80h-($-$$) db 0
start:  cli
        cmp bl, 1
        je .port92
        cmp bl, 2
        je .cf9
        cmp bl, 3
        je .triple
        cmp bl, 4
        je .wait
        mov al, 0feh
        out 64h, al
        jmp .wait
.port92:
        in al, 92h
        and al, 0feh
        out 92h, al
        or al, 1
        out 92h, al
        jmp .wait
.cf9:   mov dx, 0cf9h
        mov al, 2
        out dx, al
        mov al, 6
        out dx, al
        jmp .wait
.triple:
        xor ax, ax
        mov ds, ax
        mov dword [600h], 0
        mov word [604h], 0
        lidt [600h]
        int3
.wait:  jmp .wait";
    let code = assemble(source, &Options::default()).unwrap_or_else(|error| panic!("{error}")).bytes;
    let mut file = vec![0x55; 512 * 5 + 100_000];
    file[0x200..0x200 + code.len()].copy_from_slice(&code);
    file[0x1f1] = 4;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    for (at, value) in [(0x206, 0x020f_u32), (0x210, 0x0100), (0x22c, 0x7fff_ffff), (0x238, 2047), (0x260, 0x10_0000)] {
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    file
}

#[test]
fn each_boot_after_a_reset_begins_like_the_first() {
    const ENTRY: u64 = 0x1_0200;
    let payload = Payload {
        kernel: kernel(),
        command_line: "console=ttyS0 a=b".into(),
        initrd: Some((0..9000u32).map(|at| at as u8).collect()),
        ..Payload::default()
    };
    let mut pc = Machine::builder().memory(16 << 20).direct_boot(payload).reset_on_triple_fault(true).build().unwrap();
    pc.add_breakpoint(Spot::Instruction(ENTRY));
    let mut first = None;
    // Twice each, so that each way is followed by every other boot's beginning; 4 is the reset button.
    for way in [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0] {
        let stop = pc.run_for(20_000_000_000);
        assert!(matches!(stop, Stop::Breakpoint(_)), "before way {way}: {stop:?}");
        let read = |pc: &Machine, at: u64, length: usize| {
            let mut bytes = vec![0; length];
            pc.read_memory(at, &mut bytes);
            bytes
        };
        let word = |pc: &Machine, at: u64| u32::from_le_bytes(read(pc, at, 4).try_into().unwrap());
        let line = u64::from(word(&pc, 0x1_0228));
        let initrd = u64::from(word(&pc, 0x1_0218));
        let places = [(0x1_0000, 2560), (line, 18), (initrd, 9000), (0x10_0000, 100_000)];
        let memory: Vec<Vec<u8>> = places.iter().map(|(at, length)| read(&pc, *at, *length)).collect();
        assert_eq!(memory[1], b"console=ttyS0 a=b\0");
        let found = (memory, trace::registers(pc.cpu()));
        match &first {
            None => first = Some(found),
            Some(first) => assert!(*first == found, "before way {way}: {}\n{}", first.1, found.1),
        }
        // What a kernel does: it uses all memory, the loader's as well, for something else.
        for (at, length) in [(0x1_0210, 0x60), (0x1_0400, 2000), (line, 18), (initrd, 9000), (0x10_0000, 8 << 20)] {
            pc.write_memory(at, &vec![0xa5; length]);
        }
        pc.with_cpu(|cpu| cpu.gpr.set(gpr::BX, way));
        if way == 4 {
            assert_eq!(pc.run_for(1000), Stop::Done);
            pc.reset();
        }
    }
    assert_eq!(pc.counters().resets, 10);
}
