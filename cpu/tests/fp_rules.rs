//! What x87, MMX and SSE instructions check before they run, and how their exceptions are delivered.

mod fp_support;

use cpu::core::Leave;
use cpu::softfloat::F80;
use cpu::state::{cr0, cr4, gpr};
use fp_support::{AT, Guest, lower};

impl Guest {
    /// Runs the bytes of one instruction; the vector when it faults.
    fn execute(&mut self, bytes: &[u8]) -> Option<u8> {
        self.cpu.gpr.set(gpr::DI, AT);
        let insn = lower(bytes).unwrap();
        match self.run(&insn) {
            Ok(()) => None,
            Err(_) => match self.leave {
                Leave::Exception(e) => Some(e.vector),
                other => panic!("left with {other:?}"),
            },
        }
    }
    fn st(&self, n: u8) -> F80 {
        self.cpu.fpu.regs[usize::from((self.cpu.fpu.top + n) & 7)]
    }
    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut b = [0; N];
        self.memory.read(at, &mut b);
        b
    }
}

const FLD1: &[u8] = &[0xd9, 0xe8];
const FNINIT: &[u8] = &[0xdb, 0xe3];
const FNSTSW_AX: &[u8] = &[0xdf, 0xe0];
const WAIT: &[u8] = &[0x9b];
const PADDB: &[u8] = &[0x0f, 0xfc, 0xc1];
const ADDPS: &[u8] = &[0x0f, 0x58, 0xc1];
const MOVAPS_LOAD: &[u8] = &[0x0f, 0x28, 0x07];

#[test]
fn control_registers_decide_what_is_available() {
    let mut g = Guest::new();
    // EM TS MP OSFXSR, then the vectors of FLD1, WAIT, PADDB and ADDPS.
    let table = [
        (0, 0, 0, 1, [None, None, None, None]),
        (1, 0, 0, 1, [Some(7), None, Some(6), Some(6)]),
        (0, 1, 0, 1, [Some(7), None, Some(7), Some(7)]),
        (0, 1, 1, 1, [Some(7), Some(7), Some(7), Some(7)]),
        (0, 0, 1, 0, [None, None, None, Some(6)]),
        (0, 1, 0, 0, [Some(7), None, Some(7), Some(6)]),
    ];
    for (em, ts, mp, osfxsr, expected) in table {
        g.cpu.cr0 = cr0::PE | cr0::NE | (em * cr0::EM) | (ts * cr0::TS) | (mp * cr0::MP);
        g.cpu.cr4 = osfxsr * cr4::OSFXSR;
        g.cpu.fpu.empty = 0xff;
        let got = [FLD1, WAIT, PADDB, ADDPS].map(|bytes| g.execute(bytes));
        assert_eq!(got, expected, "EM {em} TS {ts} MP {mp} OSFXSR {osfxsr}");
    }
}

#[test]
fn unmasked_x87_exceptions_wait_for_the_next_waiting_instruction() {
    let mut g = Guest::new();
    assert_eq!(g.execute(FNINIT), None);
    g.cpu.fpu.control = 0x37b;
    g.memory.write(0x1000, &[0xd8, 0xf1]);
    for constant in [&[0xd9, 0xee][..], FLD1] {
        assert_eq!(g.execute(constant), None);
    }
    // FDIV ST(0), ST(1): 1 / 0. The operand stays.
    assert_eq!(g.execute(&[0xd8, 0xf1]), None);
    assert_eq!(g.st(0), F80::ONE);
    assert_eq!(g.cpu.fpu.status & 0x80ff, 0x8084);
    assert_eq!(g.cpu.fpu.opcode, 0x0f1);
    assert!(!g.cpu.ferr);
    for waiting in [WAIT, FLD1, PADDB] {
        assert_eq!(g.execute(waiting), Some(16));
    }
    assert_eq!(g.execute(FNSTSW_AX), None);
    assert_eq!(g.cpu.gpr.get(gpr::AX) & 0xffff, 0x8084 | 6 << 11);
    // FNCLEX.
    assert_eq!(g.execute(&[0xdb, 0xe2]), None);
    assert_eq!(g.execute(WAIT), None);
}

#[test]
fn without_ne_the_error_pin_is_raised() {
    let mut g = Guest::new();
    g.cpu.cr0 &= !cr0::NE;
    g.execute(FNINIT);
    g.cpu.fpu.control = 0x37e;
    // FCHS with an empty stack.
    assert_eq!(g.execute(&[0xd9, 0xe0]), None);
    assert!(!g.cpu.ferr);
    assert_eq!(g.execute(WAIT), None);
    assert!(g.cpu.ferr);
    assert_eq!(g.execute(FNINIT), None);
    assert!(!g.cpu.ferr);
}

#[test]
fn a_faulting_store_pops_nothing() {
    let mut g = Guest::new();
    g.execute(FNINIT);
    g.execute(FLD1);
    g.cpu.seg[3].limit = 0xfff;
    g.cpu.seg[3].derive();
    let before = g.cpu.clone();
    // FSTP m80, FISTP m32, FBSTP, FNSAVE, MOVUPS, MOVQ.
    for bytes in
        [&[0xdb, 0x3f][..], &[0xdb, 0x1f], &[0xdf, 0x37], &[0xdd, 0x37], &[0x0f, 0x11, 0x07], &[0x0f, 0x7f, 0x07]]
    {
        assert_eq!(g.execute(bytes), Some(13), "{bytes:02x?}");
        g.cpu.gpr.set(gpr::DI, before.gpr.get(gpr::DI));
        assert_eq!(g.cpu, before, "{bytes:02x?}");
    }
}

#[test]
fn aligned_forms_refuse_other_addresses() {
    let mut g = Guest::new();
    let at = |g: &mut Guest, bytes: &[u8], address: u64| {
        g.cpu.gpr.set(gpr::DI, address);
        let insn = lower(bytes).unwrap();
        g.run(&insn).is_ok()
    };
    for bytes in [MOVAPS_LOAD, &[0x0f, 0x29, 0x07], &[0x0f, 0x58, 0x07], &[0x66, 0x0f, 0xe7, 0x07], &[0x0f, 0xae, 0x07]]
    {
        assert!(at(&mut g, bytes, AT), "{bytes:02x?}");
        assert!(!at(&mut g, bytes, AT + 8), "{bytes:02x?}");
    }
    for bytes in [&[0x0f, 0x10, 0x07][..], &[0xf3, 0x0f, 0x6f, 0x07], &[0xf2, 0x0f, 0xf0, 0x07]] {
        // Also across a page boundary.
        assert!(at(&mut g, bytes, 0x2ff9), "{bytes:02x?}");
    }
}

#[test]
fn unmasked_simd_exceptions_change_flags_only() {
    let mut g = Guest::new();
    let one = f32::to_bits(1.0);
    g.cpu.xmm[0] = u128::from(one);
    g.cpu.xmm[1] = 0;
    // Divide by zero unmasked; the quotients 0 / 0 of the other elements are invalid and masked.
    g.cpu.mxcsr = 0x1f80 & !0x200;
    let divps: &[u8] = &[0x0f, 0x5e, 0xc1];
    assert_eq!(g.execute(divps), Some(19));
    assert_eq!(g.cpu.mxcsr & 0x3f, 5);
    assert_eq!(g.cpu.xmm[0], u128::from(one));
    g.cpu.cr4 &= !cr4::OSXMMEXCPT;
    assert_eq!(g.execute(divps), Some(6));
    g.cpu.mxcsr = 0x1f80;
    assert_eq!(g.execute(divps), None);
    assert_eq!(g.cpu.xmm[0] as u32, f32::INFINITY.to_bits());
    // LDMXCSR with a reserved bit.
    g.memory.write(AT, &0x0001_1f80_u32.to_le_bytes());
    assert_eq!(g.execute(&[0x0f, 0xae, 0x17]), Some(13));
}

#[test]
fn mmx_registers_are_significands() {
    let mut g = Guest::new();
    g.execute(FNINIT);
    g.execute(FLD1);
    g.cpu.gpr.set(gpr::AX, 0x1234_5678);
    // MOVD MM3, EAX.
    assert_eq!(g.execute(&[0x0f, 0x6e, 0xd8]), None);
    assert_eq!((g.cpu.fpu.top, g.cpu.fpu.empty), (0, 0));
    assert_eq!(g.cpu.fpu.regs[3], F80::new(0xffff, 0x1234_5678));
    // EMMS.
    assert_eq!(g.execute(&[0x0f, 0x77]), None);
    assert_eq!((g.cpu.fpu.top, g.cpu.fpu.empty), (0, 0xff));
}

#[test]
fn environments_have_four_layouts() {
    let mut g = Guest::new();
    g.execute(FNINIT);
    g.execute(FLD1);
    g.execute(&[0xd9, 0xee]);
    let f = &mut g.cpu.fpu;
    (f.cs, f.ip, f.ds, f.dp, f.opcode) = (0x1234, 0x5678, 0x2345, 0x6789, 0x1d9);
    let (control, status, tags) = (0x037f_u16, 0x3000_u16, 0x1fff_u16);
    let words = |w: &[u16]| w.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let saved = g.cpu.fpu.clone();
    let store = |g: &mut Guest, bytes: &[u8]| {
        g.cpu.fpu = saved.clone();
        assert_eq!(g.execute(bytes), None);
        g.bytes::<28>(AT)
    };
    // Protected, 32 and 16 bits.
    let image = store(&mut g, &[0xd9, 0x37]);
    let f = 0xffff;
    let expected = words(&[control, f, status, f, tags, f, 0x5678, 0, 0x1234, 0x1d9, 0x6789, 0, 0x2345, f]);
    assert_eq!(image[..], expected[..]);
    let image = store(&mut g, &[0x66, 0xd9, 0x37]);
    assert_eq!(image[..14], words(&[control, status, tags, 0x5678, 0x1234, 0x6789, 0x2345])[..]);
    // Real mode: linear addresses 179B8h and 29BD9h.
    g.cpu.cr0 &= !cr0::PE;
    g.cpu.update_mode();
    let image = store(&mut g, &[0x66, 0xd9, 0x37]);
    assert_eq!(image[..14], words(&[control, status, tags, 0x79b8, 0x11d9, 0x9bd9, 0x2000])[..]);
    // FLDENV takes it back.
    assert_eq!(g.execute(&[0x66, 0xd9, 0x27]), None);
    assert_eq!((g.cpu.fpu.ip, g.cpu.fpu.dp, g.cpu.fpu.opcode), (0x1_79b8, 0x2_9bd9, 0x1d9));
    assert_eq!((g.cpu.fpu.top, g.cpu.fpu.empty), (6, 0x3f));
}

#[test]
fn save_and_restore_keep_everything() {
    let mut g = Guest::new();
    g.execute(FNINIT);
    for constant in [0xe8, 0xeb, 0xee] {
        g.execute(&[0xd9, constant]);
    }
    for (n, x) in g.cpu.xmm.iter_mut().take(8).enumerate() {
        *x = u128::MAX / (n as u128 + 3);
    }
    let (fpu, xmm) = (g.cpu.fpu.clone(), g.cpu.xmm);
    // FNSAVE and FRSTOR.
    assert_eq!(g.execute(&[0xdd, 0x37]), None);
    assert_eq!((g.cpu.fpu.top, g.cpu.fpu.empty, g.cpu.fpu.control), (0, 0xff, 0x37f));
    assert_eq!(g.execute(&[0xdd, 0x27]), None);
    assert_eq!(g.cpu.fpu, fpu);
    // FXSAVE and FXRSTOR.
    assert_eq!(g.execute(&[0x0f, 0xae, 0x07]), None);
    assert_eq!(g.bytes::<4>(AT + 28), 0xffff_u32.to_le_bytes());
    g.cpu.xmm = [0; 16];
    g.execute(FNINIT);
    assert_eq!(g.execute(&[0x0f, 0xae, 0x0f]), None);
    assert_eq!((&g.cpu.fpu, g.cpu.xmm), (&fpu, xmm));
    // Without OSFXSR the SSE part of the image is left alone.
    g.cpu.cr4 = 0;
    g.memory.write(AT + 24, &[0xaa; 8]);
    g.memory.write(AT + 160, &[0xbb; 16]);
    assert_eq!(g.execute(&[0x0f, 0xae, 0x07]), None);
    assert_eq!(g.bytes::<8>(AT + 24), [0xaa; 8]);
    assert_eq!(g.bytes::<16>(AT + 160), [0xbb; 16]);
}

#[test]
fn masked_bytes_alone_are_stored() {
    let mut g = Guest::new();
    g.memory.write(AT, &[0; 16]);
    g.cpu.xmm[0] = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
    g.cpu.xmm[1] = 0x8000_0000_0000_0000_0000_0000_0080_ff7f;
    // MASKMOVDQU XMM0, XMM1.
    assert_eq!(g.execute(&[0x66, 0x0f, 0xf7, 0xc1]), None);
    assert_eq!(g.bytes::<16>(AT), [0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15]);
    // Bytes outside the segment matter only when they are chosen.
    g.cpu.seg[3].limit = AT as u32 + 14;
    g.cpu.seg[3].derive();
    assert_eq!(g.execute(&[0x66, 0x0f, 0xf7, 0xc1]), Some(13));
    g.cpu.xmm[1] &= u128::MAX >> 1;
    assert_eq!(g.execute(&[0x66, 0x0f, 0xf7, 0xc1]), None);
}
