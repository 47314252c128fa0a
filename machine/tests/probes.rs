//! Breakpoints, watchpoints and hooks: they are met exactly, and the guest does not notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use assembler::{Options, assemble};
use beigebox::{EngineKind, Event, Flow, JitSettings, Machine, Spot, Stop, WatchKind};
use std::sync::{Arc, Mutex};

/// A BIOS that runs `source` at F000:0000 and ends by HLT with interrupts off.
fn bios(source: &str) -> Vec<u8> {
    let source =
        format!("org 0\nbits 16\n{source}\ncli\nhlt\ntimes 0fff0h-($-$$) db 0f4h\njmp 0f000h:0\ntimes 11 db 0\n");
    assemble(&source, &Options::default()).unwrap_or_else(|error| panic!("{error}")).bytes
}

const ENGINES: [EngineKind; 2] = [EngineKind::Interpreter, EngineKind::Jit];

fn machine(source: &str, engine: EngineKind) -> Machine {
    let jit = JitSettings { threshold: Some(1), memory: Some(4 << 20), ..JitSettings::default() };
    Machine::builder().memory(2 << 20).bios(bios(source)).engine(engine).jit(jit).build().unwrap()
}

/// Hashes after the run, with and without `probe`.
fn leaves_no_trace(source: &str, probe: impl Fn(&mut Machine)) {
    let hashes = ENGINES.map(|engine| {
        let [mut plain, mut probed] = [machine(source, engine), machine(source, engine)];
        probe(&mut probed);
        assert_eq!(plain.run_for(100_000_000), Stop::Hang);
        while let Stop::Breakpoint(_) = probed.run_for(100_000_000) {}
        assert_eq!(plain.counters().instructions, probed.counters().instructions);
        [plain.state_hash(), probed.state_hash()]
    });
    assert!(hashes.iter().flatten().all(|hash| *hash == hashes[0][0]), "{hashes:x?}");
}

const COUNTING: &str = "
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7000h
        mov cx, 1000
.again: add ax, cx
        call add_up
        loop .again
        out 80h, al
        jmp done
add_up: add [500h], ax
        adc word [502h], 0
        ret
done:";

#[test]
fn a_breakpoint_stops_before_each_turn() {
    for engine in ENGINES {
        let mut pc = machine(COUNTING, engine);
        // `loop .again`
        let at = 0xf_0011;
        let id = pc.add_breakpoint(Spot::Instruction(at));
        for turn in 1..=1000 {
            let Stop::Breakpoint(hit) = pc.run_for(1_000_000_000) else { panic!("turn {turn}") };
            assert_eq!((hit.probe, hit.event), (id, Event::Instruction { address: at }));
            assert_eq!((pc.cpu().rip, pc.cpu().gpr.get(1)), (0x11, 1001 - turn));
        }
        assert_eq!(pc.run_for(1_000_000_000), Stop::Hang);
        assert!(pc.probes().len() == 1 && pc.remove_probe(id) && !pc.remove_probe(id) && pc.probes().is_empty());
    }
}

#[test]
fn the_guest_does_not_notice() {
    leaves_no_trace(COUNTING, |pc| {
        for address in 0xf_0000..0xf_0020 {
            pc.add_breakpoint(Spot::Instruction(address));
        }
    });
    leaves_no_trace(COUNTING, |pc| {
        pc.add_breakpoint(Spot::Memory(0x502..=0x502, WatchKind::Write));
        pc.add_breakpoint(Spot::Memory(0x6ffe..=0x6fff, WatchKind::Access));
        pc.add_breakpoint(Spot::Ports(0x80..=0x80, WatchKind::Access));
    });
}

/// All that is met while the program runs.
fn events(source: &str, spots: &[Spot]) -> Vec<Event> {
    let all = ENGINES.map(|engine| {
        let mut pc = machine(source, engine);
        for spot in spots {
            pc.add_breakpoint(spot.clone());
        }
        let mut events = Vec::new();
        loop {
            match pc.run_for(1_000_000_000) {
                Stop::Breakpoint(hit) => events.push(hit.event),
                Stop::Hang => break,
                other => panic!("{other:?}"),
            }
        }
        events
    });
    assert_eq!(all[0], all[1]);
    all[0].clone()
}

#[test]
fn memory_is_watched_to_the_byte() {
    let source = "
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 1004h
        mov [600h], eax         ; beside
        mov [605h], al          ; beside
        mov [601h], eax         ; hits the last byte
        mov bl, [604h]          ; reads
        inc byte [604h]         ; reads and writes
        cmp byte [604h], 1      ; reads
        mov cx, 8
        mov di, 600h
        rep stosb               ; the fifth hits
        push ax                 ; beside
        push ax                 ; hits
        call next               ; beside
next:   pop bx
        fld1
        fstp tword [5fbh]       ; its last byte";
    let written = |address, bytes| Event::Memory { address, bytes, is_write: true };
    let read = |address, bytes| Event::Memory { address, bytes, is_write: false };
    let writes = [Spot::Memory(0x604..=0x604, WatchKind::Write), Spot::Memory(0x1000..=0x1001, WatchKind::Write)];
    assert_eq!(
        events(source, &writes),
        [written(0x601, 4), written(0x604, 1), written(0x604, 1), written(0x1000, 2), written(0x5fb, 10)]
    );
    let reads = events(source, &[Spot::Memory(0x604..=0x604, WatchKind::Read)]);
    assert_eq!(reads, [read(0x604, 1), read(0x604, 1), read(0x604, 1)]);
    assert_eq!(events(source, &[Spot::Memory(0x604..=0x604, WatchKind::Access)]).len(), 4 + 3 - 1);
    assert_eq!(events(source, &[Spot::Memory(0x700..=0xeff, WatchKind::Access)]), []);
}

#[test]
fn ports_are_watched() {
    let source = "mov al, 5\nout 80h, al\nin al, 61h\nmov dx, 7fh\nmov ax, 201h\nout dx, ax\nout 81h, al\n";
    let met = events(source, &[Spot::Ports(0x80..=0x80, WatchKind::Write), Spot::Ports(0x60..=0x62, WatchKind::Read)]);
    let ports: Vec<_> = met
        .iter()
        .map(|event| match event {
            Event::Port(io) => (io.address, io.is_write, io.bytes),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ports, [(0x80, true, 1), (0x61, false, 1), (0x7f, true, 2)]);
}

#[test]
fn hooks_change_the_machine_and_stop_it() {
    for engine in ENGINES {
        let mut pc = machine(COUNTING, engine);
        let seen = Arc::new(Mutex::new(0));
        let counter = seen.clone();
        pc.add_hook(Spot::Instruction(0xf_0011), move |pc, _| {
            *counter.lock().unwrap() += 1;
            // The last turn comes at once.
            pc.with_cpu(|cpu| cpu.gpr.set(1, 1));
            Flow::Continue
        });
        let stop = pc.add_hook(Spot::Ports(0x80..=0x80, WatchKind::Write), |pc, hit| {
            assert!(pc.remove_probe(hit.probe));
            Flow::Stop
        });
        let Stop::Breakpoint(hit) = pc.run_for(1_000_000_000) else { panic!() };
        assert_eq!((hit.probe, *seen.lock().unwrap()), (stop, 1));
        assert_eq!((pc.run_for(1_000_000_000), pc.probes().len()), (Stop::Hang, 1));
    }
}

#[test]
fn steps_and_runs_to_an_instruction_count() {
    let mut pc = machine(COUNTING, EngineKind::Jit);
    assert_eq!(pc.run_limited(u64::MAX, 6), Stop::Instructions);
    assert_eq!((pc.counters().instructions, pc.cpu().rip), (6, 0xc));
    // The addition, and the call that leaves where it came from on the stack.
    assert_eq!((pc.step(), pc.step()), (Stop::Done, Stop::Done));
    let mut back = [0; 2];
    pc.read_memory(0x6ffe, &mut back);
    assert_eq!((pc.counters().instructions, u16::from_le_bytes(back)), (8, 0x11));
}

#[test]
fn linear_memory_is_read_through_page_tables() {
    // 32-bit code with paging, linear 40000000h is 00100000h.
    let source = "
        mov ax, cs
        mov ds, ax
        lgdt [table]
        mov eax, 1000h
        mov cr3, eax
        mov dword [es:1000h], 3007h
        mov dword [es:1400h], 2007h
        mov dword [es:2000h], 100007h
        mov cx, 1024
        mov edi, 3000h
        mov eax, 7
fill:   stosd
        add eax, 1000h
        loop fill
        mov eax, cr0
        or eax, 80000001h
        mov cr0, eax
        jmp code32
code32: jmp end
table:  dw 7
        dd 0f0000h+entries
entries: dq 0
end:";
    let source = source
        .replace("[es:1000h]", "[es:di+1000h]")
        .replace("lgdt [table]", "xor di, di\nxor ax, ax\nmov es, ax\nlgdt [table]");
    let mut pc = machine(&source, EngineKind::Interpreter);
    assert_eq!(pc.run_for(1_000_000_000), Stop::Hang);
    assert!(pc.cpu().paging());
    pc.write_memory(0x10_0ffe, b"ab");
    let mut bytes = [0; 4];
    assert_eq!(pc.read_linear(0x4000_0ffe, &mut bytes), 2);
    assert_eq!(
        (&bytes[..2], pc.translate(0x4000_0fff), pc.translate(0x4000_1000)),
        (&b"ab"[..], Some(0x10_0fff), None)
    );
    assert_eq!(pc.write_linear(0x4000_0ffc, b"12345"), 4);
    pc.read_memory(0x10_0ffc, &mut bytes);
    assert_eq!(&bytes, b"1234");
    // Looking sets no accessed bit.
    pc.read_memory(0x2000, &mut bytes);
    assert_eq!(bytes[0], 7);
}
