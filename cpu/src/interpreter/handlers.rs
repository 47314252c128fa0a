//! Handlers: one semantics function specialised for operand kinds, width and addressing.
//!
//! A handler carries out its operation and calls the next one in tail position, so that a block
//! runs as a chain of sibling calls. The depth is bounded by the block length also where the
//! compiler does not turn the calls into jumps.
//!
//! This module uses `unsafe` for one thing: a handler gets a pointer to its operation and finds
//! the next one behind it. A checked slice costs six host instructions more for each guest
//! instruction, a fifth of all. [`Chain`] is the only way to enter a handler; it guarantees that
//! an operation that does not end the block has another one behind it.
#![allow(unsafe_code, reason = "operations find their successor behind them: see the module documentation")]

use crate::core::{Core, Env, Fault, LEFT, Leave, SLOW};
use crate::decode::Lowered;
use crate::flags::Cond;
use crate::insn::{Insn, Operand, OperandKind};
use crate::micro::{Direct, Micro};
use crate::semantics::{self, Opcode, Semantics};
use crate::state::{CpuState, Exception, Width, gpr};

/// A handler: carries out the operation and those behind it.
///
/// # Safety
/// The pointer leads to an operation of a [`Chain`].
type Handler = unsafe fn(&mut CpuState, &mut Env<'_>, *const Op);

/// An operation of a block.
#[derive(Clone, Copy)]
struct Op {
    handler: Handler,
    insn: Insn,
    /// Instructions of the block behind this one.
    later: u32,
}

/// The operations of a block, ready to run.
pub struct Chain {
    // Never empty: the last one is `fall` or `stop`, which look at nothing behind them.
    ops: Box<[Op]>,
}

impl Chain {
    /// The instructions of a block in order, none of them but the last ending it.
    pub fn new(block: &[Lowered]) -> Chain {
        let mut ops: Vec<Op> = block
            .iter()
            .enumerate()
            .map(|(n, lowered)| Op {
                handler: select(lowered),
                insn: lowered.insn,
                later: (block.len() - 1 - n) as u32,
            })
            .collect();
        if let [.., first, jump] = &mut ops[..]
            && let Some(handler) = fuse(&first.insn, &jump.insn)
        {
            first.handler = handler;
        }
        let end: Handler = match block.last() {
            Some(last) if last.slow_end => stop,
            _ => fall,
        };
        // Behind the last instruction; its IP is where a block goes on that ends in no jump.
        let mut insn = block.last().map_or_else(crate::decode::blank_insn, |last| last.insn);
        insn.ip = insn.next_ip();
        ops.push(Op { handler: end, insn, later: 0 });
        Chain { ops: ops.into_boxed_slice() }
    }
    /// Runs one instruction alone, without making a block of it.
    pub fn run_alone(lowered: &Lowered, cpu: &mut CpuState, env: &mut Env<'_>) {
        let handler = select(lowered);
        let op = Op { handler, insn: lowered.insn, later: 0 };
        let mut end = op;
        end.handler = if lowered.slow_end { stop } else { fall };
        end.insn.ip = lowered.insn.next_ip();
        let ops = [op, end];
        // SAFETY: as in `run`: the last operation goes no further.
        unsafe { handler(cpu, env, ops.as_ptr()) }
    }
    /// A chain that does nothing, for blocks that are no more.
    pub fn empty() -> Chain {
        Chain::new(&[])
    }
    /// Number of instructions.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.ops.len() - 1
    }
    /// Runs it. `env.successor` then says how it ended.
    #[inline(always)]
    pub fn run(&self, cpu: &mut CpuState, env: &mut Env<'_>) {
        let op = self.ops.as_ptr();
        // SAFETY: `ops` is not empty, and its last operation goes no further.
        unsafe { ((*op).handler)(cpu, env, op) }
    }
}

/// Operand kinds to specialise on.
const ANY: u8 = 0;
const REG: u8 = 1;
const IMM: u8 = 2;
const MEM: u8 = 3;
const FLAT: u8 = 4;
/// Flat and without an index register.
const BASE: u8 = 5;

#[inline(always)]
fn operand<const KIND: u8>(o: Operand) -> Operand {
    match KIND {
        REG => Operand { kind: OperandKind::Reg, index: o.index },
        IMM => Operand::IMM,
        MEM | FLAT | BASE => Operand::MEM,
        _ => o,
    }
}

#[inline(always)]
const fn width<const W: u8>(w: Width) -> Width {
    match W {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Dword,
        8 => Width::Qword,
        _ => w,
    }
}

/// The instruction with its decoded facts turned into constants.
#[inline(always)]
fn specialise<const D: u8, const S: u8, const W: u8>(i: &Insn) -> Insn {
    let mut i = *i;
    i.ops[0] = operand::<D>(i.ops[0]);
    i.ops[1] = operand::<S>(i.ops[1]);
    i.width = width::<W>(i.width);
    if D == FLAT || S == FLAT {
        i.mem.flat = true;
        i.mem.width = Width::Dword;
    } else if D == BASE || S == BASE {
        i.mem.flat = true;
        i.mem.width = Width::Dword;
        i.mem.index = gpr::NONE;
    } else if D == MEM || S == MEM {
        i.mem.flat = false;
    }
    i
}

/// Goes on with the operation behind `op`.
///
/// # Safety
/// `op` leads to an operation of a [`Chain`] that does not end it.
#[inline(always)]
unsafe fn next(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: an operation that does not end a chain has another one behind it.
    unsafe {
        let op = op.add(1);
        ((*op).handler)(cpu, env, op);
    }
}

/// The end of a block that ends in no jump.
unsafe fn fall(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation.
    cpu.rip = unsafe { (*op).insn.ip };
    env.successor = 1;
}

/// The end of a block whose last instruction may have changed anything.
unsafe fn stop(_cpu: &mut CpuState, env: &mut Env<'_>, _op: *const Op) {
    env.successor = SLOW;
}

/// An operation could not be carried out: takes back what was paid for it and those behind it.
#[cold]
#[inline(never)]
unsafe fn leave(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation.
    let op = unsafe { &*op };
    env.successor = LEFT;
    env.remaining += i64::from(op.later);
    cpu.rip = op.insn.ip;
    match env.leave {
        // Delivering an exception takes the time of one instruction.
        Leave::Exception(Exception { is_trap: true, .. }) => cpu.rip = op.insn.next_ip(),
        Leave::Exception(_) | Leave::Again => {}
        Leave::Step => env.remaining += 1,
    }
}

unsafe fn run<S: Semantics, const D: u8, const SRC: u8, const W: u8>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
) {
    // SAFETY: the caller's pointer leads to an operation of a chain; this one does not end it.
    unsafe {
        let i = specialise::<D, SRC, W>(&(*op).insn);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again::<S>(cpu, env, op);
        }
        next(cpu, env, op);
    }
}

/// As `run`, for instructions that end a block.
unsafe fn run_last<S: Semantics, const D: u8, const SRC: u8, const W: u8>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
) {
    // SAFETY: the caller's pointer leads to an operation.
    unsafe {
        let i = specialise::<D, SRC, W>(&(*op).insn);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            again_last::<S>(cpu, env, op);
        }
    }
}

/// The long way, from the start: translations to look up, faults to raise.
#[cold]
#[inline(never)]
unsafe fn again<S: Semantics>(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: as for `run`.
    unsafe {
        if long_way::<S>(cpu, env, &(*op).insn).is_err() {
            return leave(cpu, env, op);
        }
        next(cpu, env, op);
    }
}

/// As `again`, for instructions that end a block.
#[cold]
#[inline(never)]
unsafe fn again_last<S: Semantics>(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation.
    unsafe {
        if long_way::<S>(cpu, env, &(*op).insn).is_err() {
            leave(cpu, env, op);
        }
    }
}

#[inline(never)]
fn long_way<S: Semantics>(cpu: &mut CpuState, env: &mut Env<'_>, insn: &Insn) -> Result<(), Fault> {
    S::run(&mut Direct::<false> { cpu, env }, insn)
}

unsafe fn run_jcc<const CC: usize>(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation.
    unsafe {
        let cond = const { Cond::ALL[CC] };
        let mut direct = Direct::<true> { cpu, env };
        let c = direct.cond(cond);
        if direct.branch(&(*op).insn, c).is_err() {
            again_last::<semantics::Jcc>(cpu, env, op);
        }
    }
}

/// A comparison and the conditional jump behind it at one go. The jump keeps its own place in the
/// block, for counting and for the long way.
unsafe fn fused<S: Semantics, const D: u8, const SRC: u8, const W: u8, const CC: usize>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
) {
    // SAFETY: the caller's pointer leads to an operation of a chain, and `Chain::new` chooses this
    // handler only when the next operation is a conditional jump.
    unsafe {
        let i = specialise::<D, SRC, W>(&(*op).insn);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again::<S>(cpu, env, op);
        }
        let jump = op.add(1);
        let mut direct = Direct::<true> { cpu, env };
        let c = direct.cond(const { Cond::ALL[CC] });
        if direct.branch(&(*jump).insn, c).is_err() {
            again_last::<semantics::Jcc>(cpu, env, jump);
        }
    }
}

macro_rules! by_cond {
    ($cc:expr, $s:ty, $d:ident, $src:ident, $w:literal) => {{
        const TABLE: [Handler; 16] = [
            fused::<$s, $d, $src, $w, 0>,
            fused::<$s, $d, $src, $w, 1>,
            fused::<$s, $d, $src, $w, 2>,
            fused::<$s, $d, $src, $w, 3>,
            fused::<$s, $d, $src, $w, 4>,
            fused::<$s, $d, $src, $w, 5>,
            fused::<$s, $d, $src, $w, 6>,
            fused::<$s, $d, $src, $w, 7>,
            fused::<$s, $d, $src, $w, 8>,
            fused::<$s, $d, $src, $w, 9>,
            fused::<$s, $d, $src, $w, 10>,
            fused::<$s, $d, $src, $w, 11>,
            fused::<$s, $d, $src, $w, 12>,
            fused::<$s, $d, $src, $w, 13>,
            fused::<$s, $d, $src, $w, 14>,
            fused::<$s, $d, $src, $w, 15>,
        ];
        TABLE[$cc as usize & 15]
    }};
}

/// The handler that runs `first` together with the Jcc behind it, where there is one.
fn fuse(first: &Insn, jump: &Insn) -> Option<Handler> {
    use semantics as s;
    if jump.op != Opcode::Jcc {
        return None;
    }
    let cc = jump.cond;
    let shapes = (shape(first, first.ops[0]), shape(first, first.ops[1]));
    Some(match (first.op, first.width, shapes) {
        (Opcode::Cmp, Width::Dword, (Shape::Reg, Shape::Reg)) => by_cond!(cc, s::Cmp, REG, REG, 4),
        (Opcode::Cmp, Width::Dword, (Shape::Reg, Shape::Imm)) => by_cond!(cc, s::Cmp, REG, IMM, 4),
        (Opcode::Cmp, Width::Dword, (Shape::Reg, Shape::Base)) => by_cond!(cc, s::Cmp, REG, BASE, 4),
        (Opcode::Cmp, Width::Dword, (Shape::Base, Shape::Imm)) => by_cond!(cc, s::Cmp, BASE, IMM, 4),
        (Opcode::Cmp, Width::Byte, (Shape::Reg, Shape::Reg)) => by_cond!(cc, s::Cmp, REG, REG, 1),
        (Opcode::Cmp, Width::Byte, (Shape::Reg, Shape::Imm)) => by_cond!(cc, s::Cmp, REG, IMM, 1),
        (Opcode::Cmp, Width::Byte, (Shape::Base, Shape::Imm)) => by_cond!(cc, s::Cmp, BASE, IMM, 1),
        (Opcode::Test, Width::Dword, (Shape::Reg, Shape::Reg)) => by_cond!(cc, s::Test, REG, REG, 4),
        (Opcode::Test, Width::Byte, (Shape::Reg, Shape::Reg)) => by_cond!(cc, s::Test, REG, REG, 1),
        (Opcode::Test, Width::Byte, (Shape::Reg, Shape::Imm)) => by_cond!(cc, s::Test, REG, IMM, 1),
        (Opcode::Test, Width::Byte, (Shape::Base, Shape::Imm)) => by_cond!(cc, s::Test, BASE, IMM, 1),
        (Opcode::Dec, Width::Dword, (Shape::Reg, _)) => by_cond!(cc, s::Dec, REG, ANY, 4),
        (Opcode::Sub, Width::Dword, (Shape::Reg, Shape::Imm)) => by_cond!(cc, s::Sub, REG, IMM, 4),
        (Opcode::Add, Width::Dword, (Shape::Reg, Shape::Imm)) => by_cond!(cc, s::Add, REG, IMM, 4),
        (Opcode::And, Width::Dword, (Shape::Reg, Shape::Imm)) => by_cond!(cc, s::And, REG, IMM, 4),
        _ => return None,
    })
}

#[inline(never)]
fn call(cpu: &mut CpuState, env: &mut Env<'_>, insn: &Insn) -> Result<(), Fault> {
    (insn.helper)(&mut Core { cpu, env }, insn)
}

unsafe fn run_helper(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation of a chain, and behind a helper there is
    // always another one.
    unsafe {
        cpu.rip = (*op).insn.next_ip();
        if call(cpu, env, &(*op).insn).is_err() {
            return leave(cpu, env, op);
        }
        next(cpu, env, op);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Any,
    Reg,
    Imm,
    Mem,
    Flat,
    Base,
}

fn shape(i: &Insn, o: Operand) -> Shape {
    match o.kind {
        OperandKind::Reg => Shape::Reg,
        OperandKind::Imm => Shape::Imm,
        OperandKind::Mem if i.mem.flat && i.mem.index == gpr::NONE => Shape::Base,
        OperandKind::Mem if i.mem.flat => Shape::Flat,
        OperandKind::Mem => Shape::Mem,
        _ => Shape::Any,
    }
}

macro_rules! by_width {
    ($w:expr, $run:ident, $s:ty, $d:ident, $src:ident) => {
        match $w {
            Width::Byte => $run::<$s, $d, $src, 1>,
            Width::Word => $run::<$s, $d, $src, 2>,
            Width::Dword => $run::<$s, $d, $src, 4>,
            Width::Qword => $run::<$s, $d, $src, 8>,
        }
    };
}

/// Two operands, the first of which may be memory.
fn binary<S: Semantics>(i: &Insn) -> Handler {
    use Shape as P;
    let w = i.width;
    match (shape(i, i.ops[0]), shape(i, i.ops[1])) {
        (P::Reg, P::Reg) => by_width!(w, run, S, REG, REG),
        (P::Reg, P::Imm) => by_width!(w, run, S, REG, IMM),
        (P::Reg, P::Flat) => by_width!(w, run, S, REG, FLAT),
        (P::Flat, P::Reg) => by_width!(w, run, S, FLAT, REG),
        (P::Flat, P::Imm) => by_width!(w, run, S, FLAT, IMM),
        (P::Reg, P::Base) => by_width!(w, run, S, REG, BASE),
        (P::Base, P::Reg) => by_width!(w, run, S, BASE, REG),
        (P::Base, P::Imm) => by_width!(w, run, S, BASE, IMM),
        (P::Reg, P::Mem) => by_width!(w, run, S, REG, MEM),
        (P::Mem, P::Reg) => by_width!(w, run, S, MEM, REG),
        (P::Mem, P::Imm) => by_width!(w, run, S, MEM, IMM),
        _ => by_width!(w, run, S, ANY, ANY),
    }
}

/// One operand.
fn unary<S: Semantics>(i: &Insn) -> Handler {
    let w = i.width;
    match shape(i, i.ops[0]) {
        Shape::Reg => by_width!(w, run, S, REG, ANY),
        Shape::Flat => by_width!(w, run, S, FLAT, ANY),
        Shape::Base => by_width!(w, run, S, BASE, ANY),
        _ => by_width!(w, run, S, ANY, ANY),
    }
}

/// Shifts: the count is an immediate or CL.
fn shift<S: Semantics>(i: &Insn) -> Handler {
    let w = i.width;
    match (shape(i, i.ops[0]), shape(i, i.ops[1])) {
        (Shape::Reg, Shape::Imm) => by_width!(w, run, S, REG, IMM),
        (Shape::Reg, Shape::Reg) => by_width!(w, run, S, REG, REG),
        _ => by_width!(w, run, S, ANY, ANY),
    }
}

/// A register destination and a source of another width.
fn extend<S: Semantics>(i: &Insn) -> Handler {
    match (i.width, i.src_width, shape(i, i.ops[1])) {
        (Width::Dword, Width::Byte, Shape::Reg) => run_extend::<S, REG, 1>,
        (Width::Dword, Width::Byte, Shape::Flat) => run_extend::<S, FLAT, 1>,
        (Width::Dword, Width::Byte, Shape::Base) => run_extend::<S, BASE, 1>,
        (Width::Dword, Width::Word, Shape::Base) => run_extend::<S, BASE, 2>,
        (Width::Dword, Width::Word, Shape::Reg) => run_extend::<S, REG, 2>,
        (Width::Dword, Width::Word, Shape::Flat) => run_extend::<S, FLAT, 2>,
        _ => run::<S, ANY, ANY, 0>,
    }
}

unsafe fn run_extend<S: Semantics, const SRC: u8, const FROM: u8>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
) {
    // SAFETY: as for `run`.
    unsafe {
        let mut i = specialise::<REG, SRC, 4>(&(*op).insn);
        i.src_width = width::<FROM>(i.src_width);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again::<S>(cpu, env, op);
        }
        next(cpu, env, op);
    }
}

/// LEA of 32 bits with a 32-bit address is by far the commonest.
fn lea(i: &Insn) -> Handler {
    if i.width == Width::Dword && i.mem.width == Width::Dword && i.ops[0].kind == OperandKind::Reg {
        run::<semantics::Lea, REG, FLAT, 4>
    } else {
        run::<semantics::Lea, ANY, ANY, 0>
    }
}

fn last<S: Semantics>(i: &Insn) -> Handler {
    match i.width {
        Width::Dword => match shape(i, i.ops[0]) {
            Shape::Reg => run_last::<S, REG, ANY, 4>,
            Shape::Flat | Shape::Base => run_last::<S, FLAT, ANY, 4>,
            Shape::Imm => run_last::<S, IMM, ANY, 4>,
            _ => run_last::<S, ANY, ANY, 4>,
        },
        _ => run_last::<S, ANY, ANY, 0>,
    }
}

fn push(i: &Insn) -> Handler {
    match (i.width, shape(i, i.ops[0])) {
        (Width::Dword, Shape::Imm) => run::<semantics::Push, IMM, ANY, 4>,
        _ => unary::<semantics::Push>(i),
    }
}

fn jcc(i: &Insn) -> Handler {
    const TABLE: [Handler; 16] = [
        run_jcc::<0>,
        run_jcc::<1>,
        run_jcc::<2>,
        run_jcc::<3>,
        run_jcc::<4>,
        run_jcc::<5>,
        run_jcc::<6>,
        run_jcc::<7>,
        run_jcc::<8>,
        run_jcc::<9>,
        run_jcc::<10>,
        run_jcc::<11>,
        run_jcc::<12>,
        run_jcc::<13>,
        run_jcc::<14>,
        run_jcc::<15>,
    ];
    TABLE[i.cond as usize & 15]
}

/// The handler for a decoded instruction.
fn select(lowered: &Lowered) -> Handler {
    use semantics as s;
    let i = &lowered.insn;
    match i.op {
        Opcode::Helper => run_helper,
        Opcode::Add => binary::<s::Add>(i),
        Opcode::Or => binary::<s::Or>(i),
        Opcode::Adc => binary::<s::Adc>(i),
        Opcode::Sbb => binary::<s::Sbb>(i),
        Opcode::And => binary::<s::And>(i),
        Opcode::Sub => binary::<s::Sub>(i),
        Opcode::Xor => binary::<s::Xor>(i),
        Opcode::Cmp => binary::<s::Cmp>(i),
        Opcode::Test => binary::<s::Test>(i),
        Opcode::Mov => binary::<s::Mov>(i),
        Opcode::Inc => unary::<s::Inc>(i),
        Opcode::Dec => unary::<s::Dec>(i),
        Opcode::Neg => unary::<s::Neg>(i),
        Opcode::Not => unary::<s::Not>(i),
        Opcode::Movzx => extend::<s::Movzx>(i),
        Opcode::Movsx => extend::<s::Movsx>(i),
        Opcode::Lea => lea(i),
        Opcode::Xchg => run::<s::Xchg, ANY, ANY, 0>,
        Opcode::Xadd => run::<s::Xadd, ANY, ANY, 0>,
        Opcode::Cmpxchg => run::<s::Cmpxchg, ANY, ANY, 0>,
        Opcode::Bswap => run::<s::Bswap, REG, ANY, 0>,
        Opcode::Shl => shift::<s::Shl>(i),
        Opcode::Shr => shift::<s::Shr>(i),
        Opcode::Sar => shift::<s::Sar>(i),
        Opcode::Rol => shift::<s::Rol>(i),
        Opcode::Ror => shift::<s::Ror>(i),
        Opcode::Shld => shift::<s::Shld>(i),
        Opcode::Shrd => shift::<s::Shrd>(i),
        Opcode::Mul => unary::<s::Mul>(i),
        Opcode::Imul1 => unary::<s::Imul1>(i),
        Opcode::Imul2 => binary::<s::Imul2>(i),
        Opcode::Imul3 => binary::<s::Imul3>(i),
        Opcode::Bt => shift::<s::Bt>(i),
        Opcode::Bts => shift::<s::Bts>(i),
        Opcode::Btr => shift::<s::Btr>(i),
        Opcode::Btc => shift::<s::Btc>(i),
        Opcode::Cbw => run::<s::Cbw, ANY, ANY, 0>,
        Opcode::Cwd => by_width!(i.width, run, s::Cwd, ANY, ANY),
        Opcode::Push => push(i),
        Opcode::PopReg => unary::<s::PopReg>(i),
        Opcode::CallNear => last::<s::CallNear>(i),
        Opcode::CallIndirect => last::<s::CallIndirect>(i),
        Opcode::Ret => last::<s::Ret>(i),
        Opcode::JmpNear => last::<s::JmpNear>(i),
        Opcode::JmpIndirect => last::<s::JmpIndirect>(i),
        Opcode::Jcc => jcc(i),
        Opcode::Jcxz => run_last::<s::Jcxz, ANY, ANY, 0>,
        Opcode::Loop => run_last::<s::Loop, ANY, ANY, 0>,
        Opcode::Loope => run_last::<s::Loope, ANY, ANY, 0>,
        Opcode::Loopne => run_last::<s::Loopne, ANY, ANY, 0>,
        Opcode::Setcc => run::<s::Setcc, ANY, ANY, 1>,
        Opcode::Cmovcc => run::<s::Cmovcc, ANY, ANY, 0>,
        Opcode::Clc => run::<s::Clc, ANY, ANY, 0>,
        Opcode::Stc => run::<s::Stc, ANY, ANY, 0>,
        Opcode::Cmc => run::<s::Cmc, ANY, ANY, 0>,
        Opcode::Cld => run::<s::Cld, ANY, ANY, 0>,
        Opcode::Std => run::<s::Std, ANY, ANY, 0>,
        Opcode::Lahf => run::<s::Lahf, ANY, ANY, 0>,
        Opcode::Sahf => run::<s::Sahf, ANY, ANY, 0>,
        Opcode::Leave => by_width!(i.width, run, s::Leave, ANY, ANY),
        Opcode::Nop => run::<s::Nop, ANY, ANY, 0>,
    }
}
