//! System instructions on hand-made descriptor tables.

use crate::bus::{Bus, Cycle};
use crate::core::{Core, Env, Leave};
use crate::decode::{Decoded, decode};
use crate::flags::bits;
use crate::helpers::{debug, interrupts, segments};
use crate::interpreter::Ways;
use crate::memory::GuestMemory;
use crate::model::Model;
use crate::state::{Activity, Attributes, CpuState, Exception, Seg, Segment, Shadow, Table, Width, cr0, cr4, gpr};
use crate::tlb::Tlb;

/// A board where port reads give the port number.
#[derive(Default)]
struct Board {
    written: Vec<(u16, u32)>,
}

impl Bus for Board {
    fn port_read(&mut self, _: Cycle<'_>, port: u16, _: Width) -> u32 {
        u32::from(port)
    }
    fn port_write(&mut self, _: Cycle<'_>, port: u16, _: Width, value: u32) {
        self.written.push((port, value));
    }
}

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const OTHER_TSS: u64 = 0x4000;
const STACK0: u64 = 0x8000;
const STACK3: u64 = 0x9000;

// Selectors.
const CODE0: u16 = 0x08;
const DATA0: u16 = 0x10;
const CODE3: u16 = 0x1b;
const DATA3: u16 = 0x23;
const TR: u16 = 0x28;
const TR2: u16 = 0x30;
const CONFORMING: u16 = 0x38;
const ABSENT_DATA: u16 = 0x40;
const GATE: u16 = 0x48;
const GATE16: u16 = 0x50;
const TASK_GATE: u16 = 0x58;
const READ_ONLY: u16 = 0x60;
const CODE16: u16 = 0x68;

struct Rig {
    cpu: CpuState,
    memory: GuestMemory,
    board: Board,
    tlb: Tlb,
    ways: Ways,
}

/// A segment descriptor with 4 GiB limit, or a byte limit when `flags` has no G.
fn entry(base: u64, limit: u64, access: u64, flags: u64) -> u64 {
    limit & 0xffff | (base & 0xff_ffff) << 16 | access << 40 | (limit >> 16 & 15) << 48 | flags << 52 | base >> 24 << 56
}

fn gate(selector: u16, offset: u64, access: u64, count: u64) -> u64 {
    offset & 0xffff | u64::from(selector) << 16 | count << 32 | access << 40 | (offset >> 16) << 48
}

impl Rig {
    fn bare(model: Model) -> Rig {
        let mut memory = GuestMemory::new(1 << 20, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, 1 << 20, ram, 0, false);
        Rig { cpu: CpuState::new(model), memory, board: Board::default(), tlb: Tlb::new(), ways: Ways::default() }
    }
    fn real(model: Model) -> Rig {
        let mut r = Rig::bare(model);
        for seg in Seg::ALL {
            r.cpu.seg[seg as usize] = Segment::real(0x100 * seg as u16);
        }
        r.cpu.rip = 0x200;
        r.cpu.gpr.set(gpr::SP, 0x800);
        r.cpu.update_mode();
        r
    }
    /// Flat protected mode at ring 0 with tables.
    fn protected() -> Rig {
        let mut r = Rig::bare(Model::PentiumM);
        let descriptors = [
            (CODE0, entry(0, 0xf_ffff, 0x9a, 0xc)),
            (DATA0, entry(0, 0xf_ffff, 0x92, 0xc)),
            (CODE3, entry(0, 0xf_ffff, 0xfa, 0xc)),
            (DATA3, entry(0, 0xf_ffff, 0xf2, 0xc)),
            (TR, entry(TSS, 0x200, 0x89, 0)),
            (TR2, entry(OTHER_TSS, 0x67, 0x89, 0)),
            (CONFORMING, entry(0, 0xf_ffff, 0x9e, 0xc)),
            (ABSENT_DATA, entry(0, 0xf_ffff, 0x72, 0xc)),
            (GATE, gate(CODE0, 0x12_3456, 0xec, 2)),
            (GATE16, gate(CODE0, 0x5678, 0xe4, 1)),
            (TASK_GATE, gate(TR2, 0, 0xe5, 0)),
            (READ_ONLY, entry(0, 0xf_ffff, 0xf0, 0xc)),
            (CODE16, entry(0, 0xffff, 0x9a, 0)),
        ];
        for (selector, d) in descriptors {
            r.put(GDT + u64::from(selector & !7), Width::Qword, d);
        }
        r.cpu.gdtr = Table { base: GDT, limit: 0xff };
        r.cpu.idtr = Table { base: IDT, limit: 0x7ff };
        r.cpu.cr0 |= cr0::PE;
        r.set_ring(0);
        r.ok(&[0x66, 0xb8, 0, 0]);
        r.cpu.gpr.set(gpr::AX, u64::from(TR));
        r.ok(&[0x0f, 0x00, 0xd8]);
        r.put(TSS + 4, Width::Dword, STACK0);
        r.put(TSS + 8, Width::Word, u64::from(DATA0));
        r.put(TSS + 0x66, Width::Word, 0x100);
        r.cpu.rip = 0x1_0000;
        r
    }
    fn set_ring(&mut self, ring: u8) {
        let (cs, ss, sp) = if ring == 0 { (CODE0, DATA0, STACK0) } else { (CODE3, DATA3, STACK3) };
        let dpl = u16::from(ring) << 5;
        self.cpu.seg[Seg::Cs as usize] = Segment::new(cs, 0, u32::MAX, Attributes(0xc9b | dpl), true);
        for seg in [Seg::Ss, Seg::Ds, Seg::Es] {
            self.cpu.seg[seg as usize] = Segment::new(ss, 0, u32::MAX, Attributes(0xc93 | dpl), true);
        }
        self.cpu.cpl = ring;
        self.cpu.gpr.set(gpr::SP, sp);
        self.cpu.rip = 0x1_0000;
        self.cpu.update_mode();
    }
    fn set_v86(&mut self, iopl: u64) {
        self.cpu.system_flags = bits::VM | bits::IF | iopl << 12;
        self.cpu.cpl = 3;
        for seg in Seg::ALL {
            let selector = 0x500 + 0x100 * seg as u16;
            self.cpu.seg[seg as usize] =
                Segment::new(selector, u64::from(selector) << 4, 0xffff, Attributes::V86, true);
        }
        self.cpu.gpr.set(gpr::SP, 0x800);
        self.cpu.rip = 0x200;
        self.cpu.update_mode();
    }
    fn put(&mut self, at: u64, width: Width, value: u64) {
        self.memory.write(at, &value.to_le_bytes()[..width.bytes() as usize]);
    }
    fn get(&self, at: u64, width: Width) -> u64 {
        let mut b = [0; 8];
        self.memory.read(at, &mut b[..width.bytes() as usize]);
        u64::from_le_bytes(b)
    }
    fn with<T>(&mut self, f: impl FnOnce(&mut Core<'_, '_>) -> T) -> T {
        let mut env = Env::new(&mut self.memory, &mut self.board, &mut self.tlb, &mut self.ways);
        env.stepping = true;
        f(&mut Core { cpu: &mut self.cpu, env: &mut env })
    }
    /// Runs one instruction; the exception, if it faults.
    fn exec(&mut self, bytes: &[u8]) -> Result<(), Exception> {
        let Decoded::Insn(lowered) = decode(bytes, self.cpu.rip, self.cpu.mode, self.cpu.model) else {
            panic!("incomplete");
        };
        let ip = self.cpu.rip;
        self.cpu.rip = lowered.insn.next;
        let result = self.with(|core| {
            (lowered.insn.helper)(core, &lowered.insn).map_err(|_| match core.env.leave {
                Leave::Exception(e) => e,
                other => panic!("{other:?}"),
            })
        });
        if result.is_err() {
            self.cpu.rip = ip;
        }
        result
    }
    fn ok(&mut self, bytes: &[u8]) {
        if let Err(e) = self.exec(bytes) {
            panic!("{bytes:x?}: {e:?}");
        }
    }
    fn fault(&mut self, bytes: &[u8], vector: u8, error: Option<u32>) {
        let before = self.cpu.clone();
        let e = self.exec(bytes).expect_err("should fault");
        assert_eq!((e.vector, e.error), (vector, error), "{bytes:x?}");
        assert_eq!(before, self.cpu, "a fault commits nothing");
    }
    fn idt(&mut self, vector: u8, d: u64) {
        self.put(IDT + 8 * u64::from(vector), Width::Qword, d);
    }
    fn sp(&self) -> u64 {
        self.cpu.gpr.get(gpr::SP)
    }
    fn stack(&self, n: u64) -> u64 {
        self.get(self.sp() + 4 * n, Width::Dword)
    }
    fn selector(&self, seg: Seg) -> u16 {
        self.cpu.segment(seg).selector
    }
    fn ax(&mut self, value: u16) {
        self.cpu.gpr.set(gpr::AX, u64::from(value));
    }
}

const MOV_DS_AX: &[u8] = &[0x8e, 0xd8];
const MOV_SS_AX: &[u8] = &[0x8e, 0xd0];

#[test]
fn segment_loads_check_type_privilege_and_presence() {
    let mut r = Rig::protected();
    r.ax(DATA3);
    r.ok(MOV_DS_AX);
    assert_eq!(r.get(GDT + 0x20 + 5, Width::Byte), 0xf3, "accessed");
    r.ax(3);
    r.ok(MOV_DS_AX);
    assert!(!r.cpu.segment(Seg::Ds).usable);
    r.ax(0x200);
    r.fault(MOV_DS_AX, 13, Some(0x200));
    r.ax(ABSENT_DATA);
    r.fault(MOV_DS_AX, 11, Some(0x40));
    r.ax(TR);
    r.fault(MOV_DS_AX, 13, Some(0x28));
    r.ax(0x14);
    r.fault(MOV_DS_AX, 13, Some(0x14));
    r.fault(&[0x8e, 0xc8], 6, None);
    r.ax(0);
    r.fault(MOV_SS_AX, 13, Some(0));
    r.ax(DATA3);
    r.fault(MOV_SS_AX, 13, Some(0x20));
    r.ax(DATA0);
    r.ok(MOV_SS_AX);
    assert_eq!(r.cpu.shadow, Shadow::MovSs);
    r.set_ring(3);
    r.ax(DATA0);
    r.fault(MOV_DS_AX, 13, Some(0x10));
    r.ax(READ_ONLY);
    r.ok(MOV_DS_AX);
    assert_eq!(r.cpu.segment(Seg::Ds).write_end, 0);
    r.ax(READ_ONLY | 3);
    r.fault(MOV_SS_AX, 13, Some(0x60));
    r.ax(CONFORMING);
    r.ok(MOV_DS_AX);
}

#[test]
fn far_jumps_and_calls() {
    let mut r = Rig::protected();
    r.ok(&[0xea, 0x78, 0x56, 0x34, 0x12, CODE0 as u8, 0]);
    assert_eq!((r.cpu.rip, r.selector(Seg::Cs)), (0x1234_5678, CODE0));
    r.fault(&[0xea, 0, 0, 0, 0, 0, 0], 13, Some(0));
    r.fault(&[0xea, 0, 0, 0, 0, DATA0 as u8, 0], 13, Some(0x10));
    r.fault(&[0xea, 0, 0, 0, 0, CODE3 as u8, 0], 13, Some(0x18));
    r.fault(&[0xea, 0, 0, 1, 0, CODE16 as u8, 0], 13, Some(0));
    r.set_ring(3);
    r.ok(&[0xea, 0, 0, 2, 0, CONFORMING as u8, 0]);
    assert_eq!((r.cpu.cpl, r.selector(Seg::Cs)), (3, CONFORMING | 3));
    // Through the gate to ring 0, with two parameters.
    r.set_ring(3);
    r.put(STACK3, Width::Dword, 0x1111);
    r.put(STACK3 + 4, Width::Dword, 0x2222);
    r.ok(&[0x9a, 0, 0, 0, 0, GATE as u8 | 3, 0]);
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.selector(Seg::Cs), r.selector(Seg::Ss)), (0, 0x12_3456, CODE0, DATA0));
    assert_eq!(r.sp(), STACK0 - 24);
    assert_eq!(
        [r.stack(0), r.stack(1), r.stack(2), r.stack(3), r.stack(4), r.stack(5)],
        [0x1_0007, u64::from(CODE3), 0x1111, 0x2222, STACK3, u64::from(DATA3)]
    );
    // And back, releasing them on both stacks; ring 0 data becomes null.
    r.cpu.seg[Seg::Ds as usize] = Segment::new(DATA0, 0, u32::MAX, Attributes(0xc93), true);
    r.ok(&[0xca, 8, 0]);
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.sp()), (3, 0x1_0007, STACK3 + 8));
    assert_eq!(r.selector(Seg::Ds), 0);
    assert!(r.cpu.segment(Seg::Es).usable);
    // 16-bit gate: words.
    r.ok(&[0x9a, 0, 0, 0, 0, GATE16 as u8 | 3, 0]);
    assert_eq!((r.sp(), r.cpu.rip), (STACK0 - 10, 0x5678));
    // No inner stack.
    r.set_ring(3);
    r.put(TSS + 8, Width::Word, u64::from(DATA3));
    r.fault(&[0x9a, 0, 0, 0, 0, GATE as u8 | 3, 0], 10, Some(0x20));
    r.put(TSS + 8, Width::Word, 0);
    r.fault(&[0x9a, 0, 0, 0, 0, GATE as u8 | 3, 0], 10, Some(0));
}

#[test]
fn interrupts_and_returns() {
    let mut r = Rig::protected();
    r.idt(0x80, gate(CODE0, 0x4000, 0xee, 0));
    r.idt(0x81, gate(CODE0, 0x4000, 0x8f, 0));
    r.idt(0x82, gate(CODE0, 0x4000, 0x6e, 0));
    r.cpu.system_flags |= bits::IF | bits::NT;
    r.set_ring(3);
    r.fault(&[0xcd, 0x81], 13, Some(0x81 * 8 + 2));
    r.fault(&[0xcd, 0x82], 11, Some(0x82 * 8 + 2));
    r.fault(&[0xcd, 0x83], 13, Some(0x83 * 8 + 2));
    r.ok(&[0xcd, 0x80]);
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.sp()), (0, 0x4000, STACK0 - 20));
    assert_eq!(
        [r.stack(0), r.stack(1), r.stack(3), r.stack(4)],
        [0x1_0002, u64::from(CODE3), STACK3, u64::from(DATA3)]
    );
    assert!(!r.cpu.flag(bits::IF | bits::NT));
    assert_eq!(r.stack(2) & (bits::IF | bits::NT), bits::IF | bits::NT);
    r.ok(&[0xcf]);
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.sp()), (3, 0x1_0002, STACK3));
    assert!(r.cpu.flag(bits::IF) && r.cpu.flag(bits::NT));
    // An exception with an error code; RF in the saved flags.
    r.cpu.system_flags = bits::IF;
    r.idt(14, gate(CODE0, 0x6000, 0x8e, 0));
    let e = Exception { vector: 14, error: Some(6), cr2: Some(0xdead), is_trap: false };
    r.with(|core| interrupts::deliver(core, e));
    assert_eq!((r.cpu.rip, r.stack(0), r.cpu.cr2, r.sp()), (0x6000, 6, 0xdead, STACK0 - 24));
    assert_eq!(r.stack(3) & bits::RF, bits::RF);
    // From ring 0 to ring 0.
    r.set_ring(0);
    r.with(|core| interrupts::external(core, 0x80));
    assert_eq!((r.sp(), r.stack(0), r.stack(1)), (STACK0 - 12, 0x1_0000, u64::from(CODE0)));
}

#[test]
fn double_and_triple_faults() {
    let mut r = Rig::protected();
    r.idt(8, gate(CODE0, 0x8888, 0x8e, 0));
    let gp = Exception { vector: 13, error: Some(0), cr2: None, is_trap: false };
    r.with(|core| interrupts::deliver(core, gp));
    assert_eq!((r.cpu.rip, r.stack(0)), (0x8888, 0), "a fault in #GP delivery is a double fault");
    // A benign exception whose handler is missing becomes #GP with EXT and the vector.
    let mut r = Rig::protected();
    r.idt(13, gate(CODE0, 0x1313, 0x8e, 0));
    let ud = Exception { vector: 6, error: None, cr2: None, is_trap: false };
    r.with(|core| interrupts::deliver(core, ud));
    assert_eq!((r.cpu.rip, r.stack(0)), (0x1313, 6 * 8 + 3));
    let mut r = Rig::protected();
    r.with(|core| interrupts::deliver(core, gp));
    assert_eq!(r.cpu.activity, Activity::Shutdown);
}

#[test]
fn task_switches() {
    for nested in [false, true] {
        let mut r = Rig::protected();
        r.put(OTHER_TSS + 0x20, Width::Dword, 0x7000);
        r.put(OTHER_TSS + 0x24, Width::Dword, 2);
        r.put(OTHER_TSS + 0x28, Width::Dword, 0xaaaa);
        r.put(OTHER_TSS + 0x38, Width::Dword, 0x9800);
        for (n, selector) in [DATA3, CODE3, DATA3, DATA3, 0, 0].into_iter().enumerate() {
            r.put(OTHER_TSS + 0x48 + 4 * n as u64, Width::Word, u64::from(selector));
        }
        let opcode = if nested { 0x9a } else { 0xea };
        r.ok(&[opcode, 0, 0, 0, 0, TASK_GATE as u8, 0]);
        assert_eq!((r.cpu.rip, r.cpu.cpl, r.cpu.tr.selector), (0x7000, 3, TR2));
        assert_eq!((r.cpu.gpr.get(gpr::AX), r.sp()), (0xaaaa, 0x9800));
        assert!(r.cpu.cr0 & cr0::TS != 0);
        assert_eq!(r.cpu.flag(bits::NT), nested);
        let busy = |r: &Rig, s: u16| r.get(GDT + u64::from(s) + 5, Width::Byte) & 2 != 0;
        assert_eq!((busy(&r, TR), busy(&r, TR2)), (nested, true));
        assert_eq!(r.get(TSS + 0x20, Width::Dword), 0x1_0007);
        assert_eq!(r.get(TSS + 0x4c, Width::Word), u64::from(CODE0));
        if nested {
            assert_eq!(r.get(OTHER_TSS, Width::Word), u64::from(TR));
            r.ok(&[0xcf]);
            assert_eq!((r.cpu.rip, r.cpu.cpl, r.cpu.tr.selector), (0x1_0007, 0, TR));
            assert_eq!((busy(&r, TR), busy(&r, TR2)), (true, false));
            assert_eq!(r.get(OTHER_TSS + 0x24, Width::Dword) & bits::NT, 0);
        }
    }
    // Busy, and a bad selector in the new task.
    let mut r = Rig::protected();
    r.fault(&[0xea, 0, 0, 0, 0, TR as u8, 0], 13, Some(0x28));
    r.idt(10, gate(CODE0, 0x1010, 0x8e, 0));
    r.put(OTHER_TSS + 0x24, Width::Dword, 2);
    r.put(OTHER_TSS + 0x38, Width::Dword, 0x9800);
    r.put(OTHER_TSS + 0x4c, Width::Word, u64::from(CODE0));
    r.put(OTHER_TSS + 0x50, Width::Word, u64::from(DATA0));
    r.put(OTHER_TSS + 0x54, Width::Word, u64::from(TR));
    r.ok(&[0xea, 0, 0, 0, 0, TR2 as u8, 0]);
    assert_eq!((r.cpu.rip, r.cpu.tr.selector, r.stack(0)), (0x1010, TR2, u64::from(TR)));
}

#[test]
fn virtual_8086_mode() {
    let mut r = Rig::protected();
    // Into it with IRETD.
    for (n, value) in
        [0x200, 0x600, bits::VM | bits::IF | 2, 0x800, 0x700, 0x10, 0x20, 0x30, 0x40].into_iter().enumerate()
    {
        r.put(STACK0 - 36 + 4 * n as u64, Width::Dword, value);
    }
    r.cpu.gpr.set(gpr::SP, STACK0 - 36);
    r.ok(&[0xcf]);
    assert!(r.cpu.v86());
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.sp(), r.cpu.segment(Seg::Cs).base), (3, 0x200, 0x800, 0x6000));
    assert_eq!((r.selector(Seg::Es), r.selector(Seg::Gs)), (0x10, 0x40));
    // IOPL 0: INT n, PUSHF, CLI and IRET fault, IN looks at the bitmap.
    for code in [&[0xcdu8, 0x21][..], &[0x9c], &[0xfa], &[0xfb], &[0xcf], &[0x9d]] {
        r.fault(code, 13, Some(0));
    }
    r.fault(&[0x0f, 0x00, 0xc0], 6, None);
    r.put(TSS + 0x100 + 0x60 / 8, Width::Byte, 1 << 1);
    r.ok(&[0xe4, 0x60]);
    assert_eq!(r.cpu.gpr.get(gpr::AX) & 0xff, 0x60);
    r.fault(&[0xe4, 0x61], 13, Some(0));
    r.fault(&[0xe5, 0x60], 13, Some(0));
    // Out of it by an interrupt.
    r.idt(0x30, gate(CODE0, 0x3030, 0x8e, 0));
    r.with(|core| interrupts::external(core, 0x30));
    assert!(!r.cpu.v86());
    assert_eq!((r.cpu.cpl, r.sp(), r.stack(3), r.stack(4), r.stack(8)), (0, STACK0 - 36, 0x800, 0x700, 0x40));
    assert!(!r.cpu.segment(Seg::Ds).usable);
    // With VME, IF is VIF, and INT n goes to the program's own handler where the bitmap says so.
    r.cpu.cr4 |= cr4::VME;
    r.set_v86(0);
    r.ok(&[0xfb]);
    assert!(r.cpu.flag(bits::VIF));
    r.put(TSS + 0x66, Width::Word, 0x120);
    r.put(0x21 * 4, Width::Dword, 0x0700_0123);
    r.ok(&[0xcd, 0x21]);
    assert_eq!((r.cpu.rip, r.selector(Seg::Cs), r.sp()), (0x123, 0x700, 0x7fa));
    assert!(r.cpu.v86() && !r.cpu.flag(bits::VIF));
    let saved = r.get((0x700 << 4) + 0x7fe, Width::Word);
    assert_eq!(saved & (bits::IF | bits::IOPL), bits::IF | bits::IOPL);
    r.ok(&[0xcf]);
    assert!(r.cpu.flag(bits::VIF) && r.cpu.iopl() == 0);
    r.cpu.system_flags |= bits::VIP;
    r.fault(&[0xfb], 13, Some(0));
    r.put(TSS + 0x100 + 0x21 / 8, Width::Byte, 2);
    r.fault(&[0xcd, 0x21], 13, Some(0));
}

#[test]
fn real_mode_interrupts() {
    let mut r = Rig::real(Model::I386);
    r.put(0x10 * 4, Width::Dword, 0x0300_0044);
    r.cpu.system_flags = bits::IF;
    r.ok(&[0xcd, 0x10]);
    assert_eq!((r.cpu.rip, r.selector(Seg::Cs), r.sp()), (0x44, 0x300, 0x7fa));
    assert!(!r.cpu.flag(bits::IF));
    r.ok(&[0xcf]);
    assert_eq!((r.cpu.rip, r.selector(Seg::Cs), r.sp()), (0x202, 0x100, 0x800));
    assert!(r.cpu.flag(bits::IF));
    r.cpu.idtr.limit = 0x3f;
    r.fault(&[0xcd, 0x10], 13, Some(0));
    // The 8086 has bits 12 to 15 always set.
    let mut r = Rig::real(Model::I8086);
    r.ok(&[0x9c]);
    assert_eq!(r.get(0x2000 + 0x7fe, Width::Word), 0xf002);
    let mut r = Rig::real(Model::I286);
    r.put(0x2000 + 0x800, Width::Word, 0xffff);
    r.ok(&[0x9d]);
    assert_eq!(r.cpu.eflags(), 0xfd7);
}

#[test]
fn flags_and_privilege() {
    let mut r = Rig::protected();
    r.set_ring(3);
    r.put(STACK3, Width::Dword, 0xffff_ffff);
    r.ok(&[0x9d]);
    assert_eq!(r.cpu.eflags() & (bits::IF | bits::IOPL | bits::VM | bits::RF | bits::VIF), 0);
    assert!(r.cpu.flag(bits::AC) && r.cpu.flag(bits::ID));
    r.cpu.system_flags = 0;
    for code in [
        &[0xfau8][..],
        &[0xf4],
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x22, 0xd8],
        &[0x0f, 0x01, 0x15, 0, 0, 0, 0],
        &[0x0f, 0x06],
        &[0x0f, 0x32],
    ] {
        r.fault(code, 13, Some(0));
    }
    r.cpu.cr4 |= cr4::PVI;
    r.ok(&[0xfb]);
    assert!(r.cpu.flag(bits::VIF) && !r.cpu.flag(bits::IF));
    r.cpu.cr4 |= cr4::TSD;
    r.fault(&[0x0f, 0x31], 13, Some(0));
    let mut r = Rig::protected();
    r.ok(&[0xfb]);
    assert_eq!(r.cpu.shadow, Shadow::Sti);
    r.ok(&[0xf4]);
    assert_eq!(r.cpu.activity, Activity::Halted);
}

#[test]
fn descriptor_queries() {
    let mut r = Rig::protected();
    let zf = |r: &Rig| r.cpu.lazy.zf();
    r.ax(CODE0);
    r.ok(&[0x0f, 0x02, 0xd8]);
    assert!(zf(&r));
    assert_eq!(r.cpu.gpr.get(gpr::BX), 0x00c0_9a00);
    r.ok(&[0x0f, 0x03, 0xd8]);
    assert_eq!(r.cpu.gpr.get(gpr::BX), 0xffff_ffff);
    r.ok(&[0x0f, 0x00, 0xe8]);
    assert!(!zf(&r), "VERW of code");
    r.ax(GATE);
    r.ok(&[0x0f, 0x03, 0xd8]);
    assert!(!zf(&r), "a gate has no limit");
    r.set_ring(3);
    r.ax(DATA0);
    r.ok(&[0x0f, 0x00, 0xe0]);
    assert!(!zf(&r), "not visible from ring 3");
    r.ax(0);
    r.ok(&[0x0f, 0x02, 0xd8]);
    assert!(!zf(&r));
    r.cpu.gpr.set(gpr::AX, 8);
    r.cpu.gpr.set(gpr::CX, 3);
    r.ok(&[0x63, 0xc8]);
    assert_eq!((r.cpu.gpr.get(gpr::AX), zf(&r)), (11, true));
}

#[test]
fn control_registers_and_paging() {
    let mut r = Rig::protected();
    r.cpu.gpr.set(gpr::AX, cr0::PG);
    r.fault(&[0x0f, 0x22, 0xc0], 13, Some(0));
    r.cpu.gpr.set(gpr::AX, cr0::PE | cr0::NW);
    r.fault(&[0x0f, 0x22, 0xc0], 13, Some(0));
    r.cpu.gpr.set(gpr::AX, 1 << 11);
    r.fault(&[0x0f, 0x22, 0xe0], 13, Some(0));
    r.fault(&[0x0f, 0x22, 0xe8], 6, None);
    // PAE: reserved bits in the pointers.
    r.put(0xa000, Width::Qword, 0xb001 | 2);
    r.cpu.gpr.set(gpr::AX, cr4::PAE);
    r.ok(&[0x0f, 0x22, 0xe0]);
    r.cpu.gpr.set(gpr::AX, 0xa000);
    r.ok(&[0x0f, 0x22, 0xd8]);
    r.cpu.gpr.set(gpr::AX, cr0::PE | cr0::PG);
    r.fault(&[0x0f, 0x22, 0xc0], 13, Some(0));
    r.put(0xa000, Width::Qword, 0xb001);
    r.put(0xb000, Width::Qword, 0x83);
    r.ok(&[0x0f, 0x22, 0xc0]);
    assert_eq!(r.cpu.pdpte[0], 0xb001);
    assert_eq!(r.with(|core| core.read_linear(0xb000, Width::Dword)).ok(), Some(0xa3), "accessed bit");
    assert!(r.tlb.is_large(0xb000));
    // CLTS, LMSW cannot leave protected mode.
    r.cpu.cr0 |= cr0::TS;
    r.ok(&[0x0f, 0x06]);
    assert_eq!(r.cpu.cr0 & cr0::TS, 0);
    r.ax(0);
    r.ok(&[0x0f, 0x01, 0xf0]);
    assert!(r.cpu.protected());
}

#[test]
fn sysenter_and_sysexit() {
    let mut r = Rig::protected();
    r.set_ring(3);
    r.fault(&[0x0f, 0x34], 13, Some(0));
    r.cpu.msr.sysenter = [u64::from(CODE0), 0x7777, 0x5555];
    r.cpu.system_flags = bits::IF;
    r.ok(&[0x0f, 0x34]);
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.sp(), r.selector(Seg::Ss)), (0, 0x5555, 0x7777, DATA0));
    assert!(!r.cpu.flag(bits::IF));
    r.cpu.gpr.set(gpr::DX, 0x1234);
    r.cpu.gpr.set(gpr::CX, 0x4321);
    r.ok(&[0x0f, 0x35]);
    assert_eq!((r.cpu.cpl, r.cpu.rip, r.sp(), r.selector(Seg::Cs)), (3, 0x1234, 0x4321, CODE3));
    r.fault(&[0x0f, 0x35], 13, Some(0));
}

#[test]
fn debug_registers() {
    let mut r = Rig::protected();
    r.cpu.dr[0] = r.cpu.rip;
    r.cpu.dr[7] = 0x401;
    assert!(debug::needs_stepping(&r.cpu));
    let e = r.with(debug::code_breakpoint).expect("breakpoint");
    assert_eq!((e.vector, e.is_trap, r.cpu.dr[6] & 15), (1, false, 1));
    r.cpu.system_flags |= bits::RF;
    assert_eq!(r.with(debug::code_breakpoint), None);
    assert!(!r.cpu.flag(bits::RF));
    let e = r.with(|core| debug::after_instruction(core, true)).expect("single step");
    assert!(e.is_trap && r.cpu.dr[6] & debug::DR6_BS != 0);
    // A data breakpoint.
    r.cpu.dr[7] = 0x401 | 1 << 16 | 3 << 18;
    r.cpu.dr[0] = 0x5000;
    r.cpu.dr[6] = 0;
    assert!(r.with(|core| core.store(Seg::Ds, 0x5002, Width::Byte, 1)).is_ok());
    let e = r.with(|core| debug::after_instruction(core, false)).expect("watchpoint");
    assert!(e.is_trap && r.cpu.dr[6] & 1 != 0);
    // General detection.
    r.cpu.dr[7] = 0x400 | 1 << 13;
    assert_eq!(r.exec(&[0x0f, 0x21, 0xc0]).map_err(|e| e.vector), Err(1));
    assert_eq!(r.cpu.dr[7] >> 13 & 1, 0);
    // DR4 is DR6 without CR4.DE.
    r.ok(&[0x0f, 0x21, 0xe0]);
    assert_eq!(r.cpu.gpr.get(gpr::AX), r.cpu.dr[6]);
    r.cpu.cr4 |= cr4::DE;
    r.fault(&[0x0f, 0x21, 0xe0], 6, None);
}

#[test]
fn identification_and_msrs() {
    let mut r = Rig::protected();
    r.cpu.gpr.set(gpr::AX, 0);
    r.ok(&[0x0f, 0xa2]);
    assert_eq!((r.cpu.gpr.get(gpr::AX), r.cpu.gpr.get(gpr::BX)), (2, 0x756e_6547));
    r.cpu.gpr.set(gpr::CX, 0x277);
    r.ok(&[0x0f, 0x32]);
    assert_eq!(r.cpu.gpr.get(gpr::AX), 0x0007_0406);
    r.cpu.gpr.set(gpr::AX, 2);
    r.fault(&[0x0f, 0x30], 13, Some(0));
    r.cpu.gpr.set(gpr::CX, 0x5000);
    r.fault(&[0x0f, 0x32], 13, Some(0));
    let mut r = Rig::real(Model::I386);
    r.fault(&[0x0f, 0xa2], 6, None);
    assert!(segments::is_null(3));
}
