//! x87 instructions as the host's own.
//!
//! The guest's stack, status and control words are brought into the host's x87 unit where an instruction first
//! needs them, and stay there from instruction to instruction until a function of the engine wants the state
//! ([`stubs::X87`] says where it is). The host then computes, rounds and raises as the guest would: that is done only
//! while the guest masks all exceptions and CR0 lets x87 instructions run, else the instruction is left to the
//! interpreter. What hosts may do differently (transcendental functions, BCD, the environment) is the helper's.
//!
//! Instruction and operand pointers are not the host's: they are noted, and written down where somebody may look.

use super::assembler::{Asm, At, CPU, R8, R9, R11, Size, at, cc, host};
use super::stubs::{READ, WRITE};
use super::{Cold, Copying, Done, End, H_ALL, Not, Quick, Value, sse, stubs, word};
use crate::survey::{ALL, Known, Surveyor};
use cpu::flags::{Cond, FlagsOf};
use cpu::insn::{Code, Insn};
use cpu::micro::Micro;
use cpu::semantics::Opcode;
use cpu::state::{CpuState, Fpu, Seg, Width, gpr};
use std::mem::offset_of;

/// What is known about the x87 unit at a point of the code.
#[derive(Clone, Copy, Default)]
pub(super) struct Unit {
    /// The host's has the guest's state.
    loaded: bool,
    /// Pointers that have not been written down; only while it is loaded.
    ip: Option<u32>,
    operand: Option<Operand>,
}

impl Unit {
    /// The state may be in memory behind code out of the way, which has written down what is noted.
    pub(super) fn doubt(&mut self) {
        self.loaded = false;
    }
}

/// The memory operand of the last instruction that had one. Its registers have not changed since.
#[derive(Clone, Copy)]
struct Operand {
    place: At,
    is_word: bool,
    seg: Seg,
}

/// How an instruction is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// On registers: both bytes.
    Register(u8, u8),
    /// The same, and the result is in EFLAGS.
    Flags(u8, u8),
    /// The same, under a condition: the register.
    Conditional(Cond, u8),
    /// With an operand that is read: first byte, number in the second, bytes.
    Read(u8, u8, u64),
    /// With an operand that is written.
    Write(u8, u8, u64),
    /// FNSTSW AX and FNSTSW m16.
    Status,
    StatusToMemory,
    /// FLDCW and FNSTCW.
    LoadControl,
    StoreControl,
    /// FNCLEX.
    Clear,
    /// WAIT, when nothing waits.
    Wait,
}

fn form(i: &Insn) -> Option<Form> {
    use Code as C;
    use Form::{Flags, Read, Register, Write};
    let n = i.ops[0].index | i.ops[1].index;
    let on = |escape: u8, second: u8| Register(escape, second | n & 7);
    if i.op != Opcode::Helper || i.ip >= u64::from(u32::MAX) {
        return None;
    }
    Some(match i.code {
        C::Fadd_m32fp => Read(0xd8, 0, 4),
        C::Fmul_m32fp => Read(0xd8, 1, 4),
        C::Fcom_m32fp => Read(0xd8, 2, 4),
        C::Fcomp_m32fp => Read(0xd8, 3, 4),
        C::Fsub_m32fp => Read(0xd8, 4, 4),
        C::Fsubr_m32fp => Read(0xd8, 5, 4),
        C::Fdiv_m32fp => Read(0xd8, 6, 4),
        C::Fdivr_m32fp => Read(0xd8, 7, 4),
        C::Fadd_m64fp => Read(0xdc, 0, 8),
        C::Fmul_m64fp => Read(0xdc, 1, 8),
        C::Fcom_m64fp => Read(0xdc, 2, 8),
        C::Fcomp_m64fp => Read(0xdc, 3, 8),
        C::Fsub_m64fp => Read(0xdc, 4, 8),
        C::Fsubr_m64fp => Read(0xdc, 5, 8),
        C::Fdiv_m64fp => Read(0xdc, 6, 8),
        C::Fdivr_m64fp => Read(0xdc, 7, 8),
        C::Fiadd_m32int => Read(0xda, 0, 4),
        C::Fimul_m32int => Read(0xda, 1, 4),
        C::Ficom_m32int => Read(0xda, 2, 4),
        C::Ficomp_m32int => Read(0xda, 3, 4),
        C::Fisub_m32int => Read(0xda, 4, 4),
        C::Fisubr_m32int => Read(0xda, 5, 4),
        C::Fidiv_m32int => Read(0xda, 6, 4),
        C::Fidivr_m32int => Read(0xda, 7, 4),
        C::Fiadd_m16int => Read(0xde, 0, 2),
        C::Fimul_m16int => Read(0xde, 1, 2),
        C::Ficom_m16int => Read(0xde, 2, 2),
        C::Ficomp_m16int => Read(0xde, 3, 2),
        C::Fisub_m16int => Read(0xde, 4, 2),
        C::Fisubr_m16int => Read(0xde, 5, 2),
        C::Fidiv_m16int => Read(0xde, 6, 2),
        C::Fidivr_m16int => Read(0xde, 7, 2),
        C::Fld_m32fp => Read(0xd9, 0, 4),
        C::Fst_m32fp => Write(0xd9, 2, 4),
        C::Fstp_m32fp => Write(0xd9, 3, 4),
        C::Fld_m64fp => Read(0xdd, 0, 8),
        C::Fst_m64fp => Write(0xdd, 2, 8),
        C::Fstp_m64fp => Write(0xdd, 3, 8),
        C::Fld_m80fp => Read(0xdb, 5, 10),
        C::Fstp_m80fp => Write(0xdb, 7, 10),
        C::Fild_m16int => Read(0xdf, 0, 2),
        C::Fist_m16int => Write(0xdf, 2, 2),
        C::Fistp_m16int => Write(0xdf, 3, 2),
        C::Fild_m32int => Read(0xdb, 0, 4),
        C::Fist_m32int => Write(0xdb, 2, 4),
        C::Fistp_m32int => Write(0xdb, 3, 4),
        C::Fild_m64int => Read(0xdf, 5, 8),
        C::Fistp_m64int => Write(0xdf, 7, 8),
        C::Fadd_st0_sti => on(0xd8, 0xc0),
        C::Fmul_st0_sti => on(0xd8, 0xc8),
        C::Fcom_st0_sti => on(0xd8, 0xd0),
        C::Fcomp_st0_sti => on(0xd8, 0xd8),
        C::Fsub_st0_sti => on(0xd8, 0xe0),
        C::Fsubr_st0_sti => on(0xd8, 0xe8),
        C::Fdiv_st0_sti => on(0xd8, 0xf0),
        C::Fdivr_st0_sti => on(0xd8, 0xf8),
        C::Fadd_sti_st0 => on(0xdc, 0xc0),
        C::Fmul_sti_st0 => on(0xdc, 0xc8),
        C::Fsubr_sti_st0 => on(0xdc, 0xe0),
        C::Fsub_sti_st0 => on(0xdc, 0xe8),
        C::Fdivr_sti_st0 => on(0xdc, 0xf0),
        C::Fdiv_sti_st0 => on(0xdc, 0xf8),
        C::Faddp_sti_st0 => on(0xde, 0xc0),
        C::Fmulp_sti_st0 => on(0xde, 0xc8),
        C::Fsubrp_sti_st0 => on(0xde, 0xe0),
        C::Fsubp_sti_st0 => on(0xde, 0xe8),
        C::Fdivrp_sti_st0 => on(0xde, 0xf0),
        C::Fdivp_sti_st0 => on(0xde, 0xf8),
        C::Fucom_st0_sti => on(0xdd, 0xe0),
        C::Fucomp_st0_sti => on(0xdd, 0xe8),
        C::Fcompp => Register(0xde, 0xd9),
        C::Fucompp => Register(0xda, 0xe9),
        C::Ftst => Register(0xd9, 0xe4),
        C::Fxam => Register(0xd9, 0xe5),
        C::Fchs => Register(0xd9, 0xe0),
        C::Fabs => Register(0xd9, 0xe1),
        C::Fsqrt => Register(0xd9, 0xfa),
        C::Frndint => Register(0xd9, 0xfc),
        C::Fld_sti => on(0xd9, 0xc0),
        C::Fxch_st0_sti => on(0xd9, 0xc8),
        C::Fst_sti => on(0xdd, 0xd0),
        C::Fstp_sti => on(0xdd, 0xd8),
        C::Ffree_sti => on(0xdd, 0xc0),
        C::Fincstp => Register(0xd9, 0xf7),
        C::Fdecstp => Register(0xd9, 0xf6),
        C::Fnop => Register(0xd9, 0xd0),
        C::Fld1 => Register(0xd9, 0xe8),
        C::Fldl2t => Register(0xd9, 0xe9),
        C::Fldl2e => Register(0xd9, 0xea),
        C::Fldpi => Register(0xd9, 0xeb),
        C::Fldlg2 => Register(0xd9, 0xec),
        C::Fldln2 => Register(0xd9, 0xed),
        C::Fldz => Register(0xd9, 0xee),
        C::Fcomi_st0_sti => Flags(0xdb, 0xf0 | n & 7),
        C::Fcomip_st0_sti => Flags(0xdf, 0xf0 | n & 7),
        C::Fucomi_st0_sti => Flags(0xdb, 0xe8 | n & 7),
        C::Fucomip_st0_sti => Flags(0xdf, 0xe8 | n & 7),
        C::Fcmovb_st0_sti => Form::Conditional(Cond::B, n & 7),
        C::Fcmove_st0_sti => Form::Conditional(Cond::E, n & 7),
        C::Fcmovbe_st0_sti => Form::Conditional(Cond::Be, n & 7),
        C::Fcmovu_st0_sti => Form::Conditional(Cond::P, n & 7),
        C::Fcmovnb_st0_sti => Form::Conditional(Cond::Ae, n & 7),
        C::Fcmovne_st0_sti => Form::Conditional(Cond::Ne, n & 7),
        C::Fcmovnbe_st0_sti => Form::Conditional(Cond::A, n & 7),
        C::Fcmovnu_st0_sti => Form::Conditional(Cond::Np, n & 7),
        C::Fnstsw_AX => Form::Status,
        C::Fnstsw_m2byte => Form::StatusToMemory,
        C::Fldcw_m2byte => Form::LoadControl,
        C::Fnstcw_m2byte => Form::StoreControl,
        C::Fnclex => Form::Clear,
        C::Wait => Form::Wait,
        _ => return None,
    })
}

/// What [`Surveyor`] wants to know of an instruction that is made of the host's; else it answers false.
pub(crate) fn survey(s: &mut Surveyor, i: &Insn) -> bool {
    let Some(form) = form(i) else { return false };
    s.vector(0, if matches!(form, Form::Flags(..)) { ALL } else { 0 });
    match form {
        Form::Read(_, _, bytes) => s.access(&i.mem, bytes, false),
        Form::Write(_, _, bytes) => s.access(&i.mem, bytes, true),
        Form::LoadControl => s.access(&i.mem, 2, false),
        Form::StoreControl | Form::StatusToMemory => s.access(&i.mem, 2, true),
        Form::Status => s.set_reg(gpr::AX, Width::Word, Known::U),
        Form::Conditional(cond, _) => {
            let _ = s.cond(cond);
        }
        _ => {}
    }
    true
}

fn control() -> At {
    at(CPU, (offset_of!(CpuState, fpu) + offset_of!(Fpu, control)) as i32)
}

impl Asm {
    pub(super) fn escape(&mut self, first: u8, number: u8, place: At) {
        self.rm(Size::D, &[first], number, place);
    }
}

impl Quick<'_> {
    /// Writes noted pointers to the words; the host's flags stay.
    pub(super) fn write_unit(&mut self, unit: Unit) {
        if let Some(ip) = unit.ip {
            self.a.store_ip(Size::Q, word(stubs::X87_IP), ip);
        }
        if let Some(operand) = unit.operand {
            match operand.place {
                At { base: None, index: None, disp, .. } => self.a.mov_imm(R9, disp as u32),
                place => self.a.lea(Size::D, R9, place),
            }
            if operand.is_word {
                self.a.rr(Size::D, &[0x0f, 0xb7], R9, R9);
            }
            self.a.store(Size::D, word(stubs::X87_DP), R9);
            self.a.store_imm(Size::D, word(stubs::X87_DP + 4), operand.seg as u32);
        }
    }
    /// Writes down what is noted. Changes R9; the host's flags stay.
    pub(super) fn settle_unit(&mut self) {
        self.write_unit(self.path.unit);
        self.path.unit = Unit { loaded: self.path.unit.loaded, ..Unit::default() };
    }
    /// The state is going to be in memory.
    pub(super) fn leave_unit(&mut self) {
        self.settle_unit();
        self.path.unit = Unit::default();
    }
    /// Before registers (of the host) are changed.
    pub(super) fn unit_changes(&mut self, registers: u32) {
        let uses = |r: Option<u8>| r.is_some_and(|r| registers >> r & 1 != 0);
        if let Some(Operand { place, .. }) = self.path.unit.operand
            && (uses(place.base) || uses(place.index))
        {
            self.settle_unit();
        }
    }
    /// Goes on when the host's x87 unit has the guest's state.
    fn ready(&mut self) {
        if self.path.unit.loaded {
            return;
        }
        self.host = 0;
        self.a.alu_mem_imm(Size::D, 7, word(stubs::X87), stubs::LOADED);
        let jump = self.a.jcc(cc::NE);
        let back = self.a.here();
        let plus = (self.later + 1 - self.path.debt) as i32;
        self.cold.push(Cold::Bring { jump, back, ip: self.ip, plus, flags: self.path.flags });
        self.path.unit.loaded = true;
    }
    fn note(&mut self, i: &Insn, operand: bool) {
        self.path.unit.ip = Some(i.ip as u32);
        if operand {
            let (place, is_word) = (Quick::place(&i.mem), i.mem.width == Width::Word);
            self.path.unit.operand = Some(Operand { place, is_word, seg: i.mem.seg });
        }
    }
    /// An x87 instruction; `None` when it is none that the host runs.
    pub(super) fn x87(&mut self, i: &Insn, n: usize, number: usize) -> Result<Option<End>, Not> {
        let Some(form) = form(i) else { return Ok(None) };
        self.ready();
        match form {
            Form::Register(first, second) => {
                self.a.byte(first);
                self.a.byte(second);
                self.note(i, false);
            }
            Form::Flags(first, second) => {
                self.a.byte(first);
                self.a.byte(second);
                self.note(i, false);
                self.set_bits(FlagsOf::All, Size::D);
                self.host = H_ALL;
            }
            Form::Conditional(cond, n) => {
                let cc = self.condition(cond);
                let (first, second) = match cc {
                    2 => (0xda, 0xc0),
                    4 => (0xda, 0xc8),
                    6 => (0xda, 0xd0),
                    10 => (0xda, 0xd8),
                    3 => (0xdb, 0xc0),
                    5 => (0xdb, 0xc8),
                    7 => (0xdb, 0xd0),
                    11 => (0xdb, 0xd8),
                    _ => return Err(Not),
                };
                self.a.byte(first);
                self.a.byte(second | n);
                self.note(i, false);
            }
            Form::Read(first, number, bytes) => {
                let place = self.touch(&i.mem, bytes, READ, None)?;
                self.a.escape(first, number, place);
                self.note(i, true);
            }
            Form::Write(first, number, bytes) => {
                self.store_float(i, first, number, bytes)?;
                self.note(i, true);
            }
            Form::Status => {
                self.changes(1 << host(gpr::AX));
                self.a.byte(0xdf);
                self.a.byte(0xe0);
            }
            Form::StatusToMemory => self.store_float(i, 0xdd, 7, 2)?,
            Form::LoadControl => {
                // The helper keeps no scratch register.
                self.free_r11();
                let place = self.touch(&i.mem, 2, READ, None)?;
                self.a.load_zero(Size::W, R9, place);
                self.a.alu_imm(Size::D, 4, R9, 0x1f3f);
                self.a.alu_imm(Size::D, 1, R9, 0x40);
                self.a.mov(Size::D, R8, R9);
                self.a.alu_imm(Size::D, 4, R8, 0x3f);
                self.a.alu_imm(Size::D, 7, R8, 0x3f);
                self.host = 0;
                let jump = self.a.jcc(cc::NE);
                self.a.store(Size::W, control(), R9);
                self.a.escape(0xd9, 5, control());
                let back = self.a.here();
                // Exceptions that are not masked are the helper's.
                let op = self.op(n, number);
                let (debt, flags, unit) = (self.path.debt as u32, self.path.flags, self.path.unit);
                self.cold.push(Cold::One { jumps: vec![jump], back, op, debt, flags, unit });
                self.path.unit.doubt();
                self.path.vectors = sse::UNKNOWN;
            }
            Form::StoreControl => {
                self.free_r11();
                self.a.load_zero(Size::W, R11, control());
                self.write(i, Width::Word, Value::Reg(R11))?;
            }
            Form::Clear => {
                self.a.byte(0xdb);
                self.a.byte(0xe2);
            }
            Form::Wait => {}
        }
        Ok(Some(End::Fall))
    }
    /// A store of the x87 unit. The one out of the way is made with a copy of the state, because it may fault.
    fn store_float(&mut self, i: &Insn, first: u8, number: u8, bytes: u64) -> Done {
        let place = self.touch(&i.mem, bytes, WRITE, None)?;
        if let Some(Cold::Access { copy, .. }) = self.cold.last_mut() {
            let to = if bytes > 8 { stubs::WIDE } else { stubs::VALUE };
            *copy = Some(Copying::Float { first, number, to });
        }
        self.a.escape(first, number, place);
        Ok(())
    }
}
