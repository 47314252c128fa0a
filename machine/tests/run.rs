//! Whole machines with a firmware of a few bytes.

#![allow(clippy::unwrap_used, reason = "tests")]

use beigebox::{EngineKind, JitSettings, KeyCode, Machine, MemoryStorage, Stop};

/// 64 KiB of BIOS whose reset vector jumps to `code` at F000:0000.
fn bios(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(code);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    image
}

fn machine(code: &[u8]) -> Machine {
    Machine::builder().memory(2 << 20).bios(bios(code)).build().unwrap()
}

#[test]
fn exit_port_stops_at_that_instruction() {
    // mov al,'A'; out e9,al; mov al,33; out f4,al; mov al,'B'; out e9,al
    let mut pc = machine(&[0xb0, b'A', 0xe6, 0xe9, 0xb0, 33, 0xe6, 0xf4, 0xb0, b'B', 0xe6, 0xe9, 0xfa, 0xf4]);
    assert_eq!(pc.run_for(1_000_000_000), Stop::Exit(33));
    assert_eq!(pc.debug_output(), b"A");
    assert_eq!(pc.run_for(1_000_000_000), Stop::Hang);
    assert_eq!(pc.debug_output(), b"B");
}

#[test]
fn halted_time_jumps_to_the_timer() {
    // PIC bases 08h and 70h, IRQ 0 unmasked, counter 0 at 65536, handler counts and acknowledges.
    #[rustfmt::skip]
    let code = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x70, // cli; ds = ss = 0; sp = 7000h
        0xc7, 0x06, 0x20, 0x00, 0x50, 0x00,     // mov word [20h],50h
        0xc7, 0x06, 0x22, 0x00, 0x00, 0xf0,     // mov word [22h],f000h
        0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21,
        0xb0, 0xfe, 0xe6, 0x21,                 // only IRQ 0
        0xb0, 0x34, 0xe6, 0x43, 0x30, 0xc0, 0xe6, 0x40, 0xe6, 0x40, // mode 2, 65536
        0xfb,                                   // sti
        0xf4, 0xeb, 0xfd,                       // hlt; jmp hlt
    ];
    let handler = [0x43, 0xb0, 0x20, 0xe6, 0x20, 0xcf]; // inc bx; mov al,20h; out 20h,al; iret
    let mut image = bios(&code);
    image[0x50..0x50 + handler.len()].copy_from_slice(&handler);
    let mut pc = Machine::builder().memory(2 << 20).bios(image).build().unwrap();
    assert_eq!(pc.run_for(10_000_000_000), Stop::Done);
    // 10 s at 18.2 Hz.
    assert_eq!(pc.cpu().gpr.get(3), 182);
    assert!(pc.counters().instructions < 2000);
}

/// A host that makes some million reads a second keeps up with a program that waits for the raster.
#[test]
fn reading_the_displays_status_takes_time() {
    // mov dx,3dah; again: in al,dx; inc cx; jmp again
    let code = [0xba, 0xda, 0x03, 0xec, 0x41, 0xeb, 0xfc];
    let mut hashes = Vec::new();
    for engine in [EngineKind::Interpreter, EngineKind::Jit] {
        let jit = JitSettings { threshold: Some(1), ..JitSettings::default() };
        let builder = Machine::builder().memory(2 << 20).bios(bios(&code)).engine(engine).jit(jit);
        let mut pc = builder.build().unwrap();
        assert_eq!(pc.run_for(50_000_000), Stop::Done);
        // 1 us and three instructions of 5 ns.
        assert!((49_200..=49_300).contains(&pc.counters().accesses), "{}", pc.counters().accesses);
        assert!(pc.now().0 - 50_000_000 <= 1_000);
        hashes.push(pc.state_hash());
    }
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn same_machine_same_hash_and_save_restore_goes_on_alike() {
    // A counter in memory: mov [bx],cx; add bx,2; inc cx; jmp
    let code = [0x89, 0x0f, 0x83, 0xc3, 0x02, 0x41, 0xeb, 0xf8];
    let (mut one, mut two) = (machine(&code), machine(&code));
    assert_eq!(one.run_for(3_000_000), Stop::Done);
    for _ in 0..3 {
        assert_eq!(two.run_for(1_000_000), Stop::Done);
    }
    assert_eq!(one.state_hash(), two.state_hash());
    let saved = one.save();
    let mut three = machine(&code);
    three.restore(&saved).unwrap();
    assert_eq!(three.state_hash(), one.state_hash());
    one.run_for(1_234_567);
    three.run_for(1_234_567);
    assert_eq!(three.state_hash(), one.state_hash());
    assert!(three.restore(&saved[..saved.len() / 2]).is_err());
    assert!(three.restore(b"").is_err());
}

#[test]
fn triple_fault_is_reported_or_resets() {
    // lidt [cs:zero table]; int3 with an empty table
    let code = [0x2e, 0x0f, 0x01, 0x1e, 0x10, 0x00, 0xcc];
    let mut image = bios(&code);
    image[0x10..0x16].fill(0);
    let mut pc = Machine::builder().memory(2 << 20).bios(image.clone()).build().unwrap();
    let Stop::TripleFault(report) = pc.run_for(1_000_000) else { panic!() };
    assert_eq!(report.mode, "real mode");
    assert!(!report.exceptions.is_empty());
    let mut pc = Machine::builder().memory(2 << 20).bios(image).reset_on_triple_fault(true).build().unwrap();
    assert_eq!(pc.run_for(100_000), Stop::Done);
    assert!(pc.counters().resets > 10);
}

#[test]
fn reset_control_and_limits() {
    // mov dx,cf9; mov al,6; out dx,al
    let code = [0xba, 0xf9, 0x0c, 0xb0, 0x02, 0xee, 0xb0, 0x06, 0xee, 0xeb, 0xfe];
    let mut pc = Machine::builder().memory(2 << 20).bios(bios(&code)).no_reboot(true).build().unwrap();
    assert_eq!(pc.run_for(1_000_000), Stop::Reset);
    let mut pc = machine(&[0xeb, 0xfe]);
    assert_eq!(pc.run_limited(u64::MAX / 4, 1000), Stop::Instructions);
    assert_eq!(pc.counters().instructions, 1000);
}

#[test]
fn unknown_ports_are_counted() {
    let mut pc = machine(&[0xba, 0x34, 0x12, 0xed, 0xef, 0xfa, 0xf4]);
    assert_eq!(pc.run_for(1_000_000), Stop::Hang);
    let count = pc.unknown_ports()[&0x1234];
    assert_eq!((count.reads, count.writes), (1, 1));
    assert_eq!(pc.cpu().gpr.get(0) & 0xffff, 0xffff);
}

#[test]
fn machines_are_send_and_take_keys() {
    fn send<T: Send>(_: &T) {}
    let mut pc = machine(&[0xfb, 0xf4, 0xeb, 0xfd]);
    send(&pc);
    pc.type_keys("a<f1>").unwrap();
    pc.key(KeyCode::B, true);
    pc.run_for(100_000_000);
    assert!(!pc.is_typing());
    assert!(pc.type_keys("<what>").is_err());
}

/// IRQ 13 comes before the instruction that finds the x87 exception waiting, not later.
#[test]
fn coprocessor_errors_interrupt_the_next_waiting_instruction() {
    #[rustfmt::skip]
    let code = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x70, // cli; ds = ss = 0; sp = 7000h
        0xc7, 0x06, 0xd4, 0x01, 0x80, 0x00,     // INT 75h
        0xc7, 0x06, 0xd6, 0x01, 0x00, 0xf0,
        0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21,
        0xb0, 0x11, 0xe6, 0xa0, 0xb0, 0x70, 0xe6, 0xa1, 0xb0, 0x02, 0xe6, 0xa1, 0xb0, 0x01, 0xe6, 0xa1,
        0xb0, 0xfb, 0xe6, 0x21, 0xb0, 0xdf, 0xe6, 0xa1, // only IRQ 13
        0x31, 0xdb, 0xfb,                       // xor bx,bx; sti
        0xdb, 0xe3,                             // fninit
        0xc7, 0x06, 0x00, 0x60, 0x7b, 0x03, 0xd9, 0x2e, 0x00, 0x60, // zero divides are not masked
        0xd9, 0xe8, 0xd9, 0xee, 0xd8, 0xf9,     // fld1; fldz; fdivr st,st(1)
        0x43, 0x43, 0x43,                       // inc bx: these still run
        0xd9, 0xe8,                             // 6ch: fld1
        0x43, 0x43,                             // these come after the handler
        0xfa, 0xf4,
    ];
    #[rustfmt::skip]
    let handler = [
        0x89, 0xd9,                             // mov cx,bx
        0x89, 0xe5, 0x8b, 0x56, 0x00,           // mov bp,sp; mov dx,[bp]
        0xe6, 0xf0, 0xdb, 0xe2,                 // out f0h,al; fnclex
        0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0xcf,
    ];
    let mut image = bios(&code);
    image[0x80..0x80 + handler.len()].copy_from_slice(&handler);
    let waiting = code.len() as u64 - 6;
    for slice in [1_000_000_000, 5, 100] {
        let mut pc = Machine::builder().memory(2 << 20).bios(image.clone()).build().unwrap();
        while pc.run_for(slice) == Stop::Done {}
        let register = |index| pc.cpu().gpr.get(index);
        assert_eq!((register(3), register(1), register(2)), (5, 3, waiting), "in pieces of {slice} ns");
    }
}

/// A key held for a moment does not repeat, however long the keyboard has been left alone before.
#[test]
fn short_strokes_do_not_repeat() {
    #[rustfmt::skip]
    let code = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x70, // cli; ds = ss = 0; sp = 7000h
        0xc7, 0x06, 0x24, 0x00, 0x50, 0x00,     // INT 9
        0xc7, 0x06, 0x26, 0x00, 0x00, 0xf0,
        0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21,
        0xb0, 0xfd, 0xe6, 0x21,                 // only IRQ 1
        0xb0, 0x60, 0xe6, 0x64, 0xb0, 0x41, 0xe6, 0x60, // translated, with interrupts
        0xb0, 0xae, 0xe6, 0x64,
        0xfb, 0xf4, 0xeb, 0xfd,                 // sti; hlt; jmp hlt
    ];
    let handler = [0xe4, 0x60, 0xe6, 0xe9, 0xb0, 0x20, 0xe6, 0x20, 0xcf]; // in al,60h; out e9h,al; eoi; iret
    let mut image = bios(&code);
    image[0x50..0x50 + handler.len()].copy_from_slice(&handler);
    let mut pc = Machine::builder().memory(2 << 20).bios(image).build().unwrap();
    assert_eq!(pc.run_for(495_000_000), Stop::Done);
    pc.type_keys("c").unwrap();
    assert_eq!(pc.run_for(200_000_000), Stop::Done);
    assert_eq!(pc.debug_output(), [0x2e, 0xae]);
}

/// A drive and the processor see the time of each unit that REP INS reads, however a run is cut.
#[test]
fn repeated_input_takes_its_time() {
    #[rustfmt::skip]
    let code = [
        0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xc0, 0x31, 0xff, 0x31, 0xdb, // cli; cld; es = di = bx = 0
        0xba, 0xf6, 0x01, 0xb0, 0xe0, 0xee,     // 1F6h: LBA, first drive
        0xba, 0xf2, 0x01, 0xb0, 0x04, 0xee,     // 1F2h: four sectors
        0x42, 0xb0, 0x00, 0xee, 0x42, 0xee, 0x42, 0xee, // from sector 0
        0xba, 0xf7, 0x01, 0xb0, 0x20, 0xee,     // READ SECTORS
        0xbe, 0x04, 0x00,                       // mov si,4
        0xba, 0xf7, 0x01,                       // 27h: mov dx,1f7h
        0x43, 0xec, 0xa8, 0x80, 0x75, 0xfa,     // 2ah: inc bx; in al,dx; test al,80h; jnz 2ah
        0xa8, 0x08, 0x74, 0xf6,                 // test al,8; jz 2ah
        0xba, 0xf0, 0x01, 0xb9, 0x00, 0x01, 0xf3, 0x6d, // mov dx,1f0h; mov cx,256; rep insw
        0x4e, 0x75, 0xe6,                       // dec si; jnz 27h
        0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6, 0x40, 0xe6, 0x40, // counter 0 of the timer goes
        0xb9, 0x09, 0x00, 0xbf, 0x00, 0x20, 0xba, 0x40, 0x00, 0xf3, 0x6c, // di = 2000h: rep insb of 9 from 40h
        0xf4,
    ];
    let content: Vec<u8> = (0..1u32 << 20).map(|at| (at / 3) as u8).collect();
    let run = |slice| {
        let disk = Box::new(MemoryStorage::new(content.clone()));
        let mut pc = Machine::builder().memory(2 << 20).bios(bios(&code)).disk(disk).build().unwrap();
        while pc.run_for(slice) == Stop::Done {}
        let (mut read, mut timer) = (vec![0; 2048], [0; 9]);
        pc.read_memory(0, &mut read);
        pc.read_memory(0x2000, &mut timer);
        assert_eq!(read, content[..2048]);
        (pc.cpu().gpr.get(3), pc.cpu().retired, timer)
    };
    let whole = run(1_000_000_000);
    for slice in [5, 35, 1000, 12_345] {
        assert_eq!(run(slice), whole, "in pieces of {slice} ns");
    }
}
