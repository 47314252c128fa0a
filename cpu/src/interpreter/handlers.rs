//! Handlers: one semantics function specialised for operand kinds, width and addressing.
//!
//! A handler carries out its operation and calls the next one in tail position, so that a block
//! runs as a chain of sibling calls; the last operation of a block goes on in the same way with
//! the block behind it, where that is known. [`FUEL`] bounds the depth of the calls where the
//! compiler does not turn them into jumps.
//!
//! This module uses `unsafe` for two things. A handler gets a pointer to its operation and finds
//! the next one behind it: a checked slice costs six host instructions more for each guest
//! instruction, a fifth of all. [`Chain`] is the only maker of operations; it guarantees that one
//! that does not end the block has another behind it. And the end of a block has pointers to the
//! blocks that followed it last: they are followed only when their context is the one of now,
//! and the engine gives a context that was never used before whenever it drops a chain.
#![allow(unsafe_code, reason = "operations find their successors by pointers: see the module documentation")]

use crate::core::{Core, Env, Fault, INDIRECT, LEFT, Leave, SLOW};
use crate::decode::{Decoded, Lowered, decode};
use crate::flags::Cond;
use crate::insn::{Address, Insn, Operand, OperandKind};
use crate::memory::HostPage;
use crate::micro::{Direct, Micro};
use crate::model::Model;
use crate::semantics::{self, Opcode, Semantics};
use crate::state::{CpuState, Exception, Mode, Width, gpr};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Most ticks that blocks chained to one another take before they return to the engine's loop.
pub(super) const FUEL: i64 = if cfg!(debug_assertions) { 128 } else { 4096 };

/// Entries of the table from IP to chain.
const JUMPS: usize = 4096;

/// A handler: carries out the operation and those behind it.
///
/// # Safety
/// The pointer leads to an operation of a [`Chain`].
type Handler = unsafe fn(&mut CpuState, &mut Env<'_>, *const Op);

/// What an operation needs beside its registers.
#[derive(Clone, Copy)]
union Word {
    /// Where there is one: the immediate.
    imm: u64,
    /// In an operation that ends a block: its links.
    links: NonNull<Links>,
}

/// An operation of a block: what handlers need every time, in half a cache line.
#[derive(Clone, Copy)]
#[repr(C)]
struct Op {
    handler: Handler,
    /// Everything about the instruction.
    cold: NonNull<Cold>,
    word: Word,
    /// Displacement of the memory operand.
    disp: i32,
    /// The register operand; with two, the first.
    first: u8,
    /// The base register of the memory operand; without one, the second register operand.
    second: u8,
    /// The index register of the memory operand and, above, its scale.
    index: u8,
    shift: u8,
}

#[derive(Clone, Copy)]
struct Cold {
    insn: Insn,
    /// Instructions of the block behind this one.
    later: u32,
    /// In the first operation of a block: number of the upper tier's code for it, or 0.
    native: u32,
    /// In the first operation of a block: ticks that the block was found running.
    heat: u32,
}

/// Where to go on: the operations of a chain, and what they cost.
#[derive(Clone, Copy)]
pub(super) struct Target {
    ops: NonNull<Op>,
    cost: i64,
}

impl Target {
    /// Instructions of the block.
    pub(super) fn cost(self) -> i64 {
        self.cost
    }
    /// Whether the block lies in two pages. Only for targets of the context of now.
    pub(super) fn crosses(self) -> bool {
        // SAFETY: the operation behind the last instruction has links.
        unsafe { (*self.ops.add(self.cost as usize).as_ptr()).word.links.as_ref()[0].from == NOWHERE }
    }
    /// Number of the upper tier's code for the block, or 0. Only for targets of the context of now.
    pub(super) fn native(self) -> u32 {
        // SAFETY: the chain is still there, says the context.
        unsafe { (*self.ops.as_ptr()).cold.as_ref().native }
    }
    /// Sets the heat of the block to nothing. Only for targets of the context of now.
    pub(super) fn cool(self) {
        // SAFETY: as for `warm`.
        unsafe { (*self.ops.as_ptr()).cold.as_mut().heat = 0 }
    }
    /// Adds to the heat of the block. Only for targets of the context of now.
    pub(super) fn warm(self, ticks: u32) -> u32 {
        // SAFETY: the chain is still there, says the context, and no reference to it is held.
        unsafe {
            let cold = (*self.ops.as_ptr()).cold.as_mut();
            cold.heat = cold.heat.saturating_add(ticks);
            cold.heat
        }
    }
}

/// A context that no block is ever entered in.
const NOWHERE: u64 = u64::MAX;
/// The context in which no link is followed.
const ALONE: u64 = 0;

/// A way that was taken before, and the context in which it is still right.
#[derive(Clone, Copy)]
struct Link {
    context: u64,
    target: Target,
    /// Where it begins: the IP of the block, [`NOWHERE`] when that lies in two pages.
    from: u64,
}

impl Link {
    fn void(from: u64) -> Link {
        Link { context: NOWHERE, target: Target { ops: NonNull::dangling(), cost: 0 }, from }
    }
}

/// An entry of the table from IP to chain.
#[derive(Clone, Copy)]
struct Jump {
    ip: u64,
    context: u64,
    target: Target,
    /// With the same code segment and mode, and as long as `ip` still lies in this page, it is
    /// right in another context, too.
    inside: u64,
    page: Option<HostPage>,
}

const NO_JUMP: Jump =
    Jump { ip: 0, context: NOWHERE, target: Target { ops: NonNull::dangling(), cost: 0 }, inside: NOWHERE, page: None };

/// Where the two exits of a block lead.
type Links = [Link; 2];

/// What the engine and the handlers share about ways between blocks.
pub struct Ways {
    /// What a link or an entry of the table must carry to be followed: stands for translation and
    /// decoding of now. A number is never used again for anything else.
    pub(super) context: u64,
    /// The same for ways inside a page, which also hold when translations change.
    pub(super) inside: u64,
    /// Blocks are followed as long as the budget does not sink below.
    floor: i64,
    /// The way that was followed last, or would have been.
    exit: NonNull<Link>,
    jumps: Box<[Jump; JUMPS]>,
    /// What stands for the way when it is none that is remembered.
    scrap: NonNull<Link>,
}

// SAFETY: the pointers lead to what it owns and into chains of the same engine (they are followed
// only under the contexts that it gives out), which moves to another thread only together with it.
unsafe impl Send for Ways {}

impl Drop for Ways {
    fn drop(&mut self) {
        // SAFETY: it comes from a box and is given back once.
        unsafe { drop(Box::from_raw(self.scrap.as_ptr())) }
    }
}

impl Default for Ways {
    fn default() -> Ways {
        let jumps = match vec![NO_JUMP; JUMPS].into_boxed_slice().try_into() {
            Ok(jumps) => jumps,
            Err(_) => unreachable!("the length is that of the array"),
        };
        let scrap = NonNull::from(Box::leak(Box::new(Link::void(NOWHERE))));
        Ways { context: ALONE, inside: ALONE, floor: 0, exit: scrap, jumps, scrap }
    }
}

impl Ways {
    fn slot(ip: u64) -> usize {
        (ip ^ ip >> 12) as usize & (JUMPS - 1)
    }
    /// The chain at `ip`, if it was entered in this context before.
    #[inline(always)]
    pub(super) fn find(&self, ip: u64) -> Option<Target> {
        let jump = &self.jumps[Ways::slot(ip)];
        (jump.ip == ip && jump.context == self.context).then_some(jump.target)
    }
    /// The chain at `ip`, which lies in `page` now, if it was entered there when translations were
    /// others.
    pub(super) fn renew(&mut self, ip: u64, page: HostPage) -> Option<Target> {
        let jump = &mut self.jumps[Ways::slot(ip)];
        if jump.ip != ip || jump.inside != self.inside || jump.page != Some(page) {
            return None;
        }
        jump.context = self.context;
        Some(jump.target)
    }
    /// Remembers the chain at `ip` for this context. `page` is where all of it lies.
    pub(super) fn remember(&mut self, ip: u64, target: Target, page: Option<HostPage>) {
        let (context, inside) = (self.context, self.inside);
        self.jumps[Ways::slot(ip)] = Jump { ip, context, target, inside, page };
    }
    /// Lets the way that was taken last lead to `target`. No chain may have been dropped since.
    /// `is_inside` says of the IP where the way begins whether it never leaves its page.
    pub(super) fn link(&mut self, target: Target, is_inside: impl FnOnce(u64) -> bool) {
        // SAFETY: the block that was left last is still there, says the caller, and no reference
        // to its links is held anywhere.
        let link = unsafe { self.exit.as_mut() };
        link.context = if link.from != NOWHERE && is_inside(link.from) { self.inside } else { self.context };
        link.target = target;
    }
}

/// The operations of a block, ready to run: its links, its instructions and its operations in one piece of memory.
pub struct Chain {
    links: NonNull<Links>,
    cold: NonNull<[Cold]>,
    // The last one is `fall` or `stop`, which look at nothing behind them.
    ops: NonNull<[Op]>,
}

// SAFETY: a chain owns what its pointers lead to; those in its links are followed only by the
// engine that owns both ends.
unsafe impl Send for Chain {}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: all of it was allocated so, by `empty`, and is given back once; nothing in it has to be dropped.
        unsafe { dealloc(self.links.cast().as_ptr(), Chain::layout(self.ops.len()).0) }
    }
}

/// Memory of chains that are no more, by their lengths.
#[derive(Default)]
pub(super) struct Spare(Vec<Vec<Chain>>);

impl Spare {
    /// Most chains of a length that are kept.
    const MOST: usize = 32;

    /// Nothing leads to this chain any more.
    pub(super) fn put(&mut self, chain: Chain) {
        let length = chain.ops.len();
        if length >= self.0.len() {
            self.0.resize_with(length + 1, Vec::new);
        }
        let list = &mut self.0[length];
        if list.len() < Spare::MOST {
            list.push(chain);
        }
    }
    fn take(&mut self, length: usize) -> Option<Chain> {
        self.0.get_mut(length)?.pop()
    }
}

impl Chain {
    /// The instructions of a block in order, none of them but the last ending it. `crosses` says
    /// that they lie in two pages. An empty block is none.
    pub(super) fn new(block: &[Lowered], crosses: bool, spare: &mut Spare) -> Option<Chain> {
        let start = block.first()?.insn.ip;
        let (last, length) = (block.last()?, block.len());
        let chain = spare.take(length + 1).unwrap_or_else(|| Chain::empty(length + 1));
        let (links, cold, ops) = (chain.links, chain.cold.cast::<Cold>(), chain.ops.cast::<Op>());
        let void = Link::void(if crosses { NOWHERE } else { start });
        // SAFETY: the three lead to memory for so many values, of which none is read before it is written.
        unsafe {
            links.write([void; 2]);
            for (n, lowered) in block.iter().enumerate() {
                let later = (length - 1 - n) as u32;
                cold.add(n).write(Cold { insn: lowered.insn, later, native: 0, heat: 0 });
                let links = is_exit(lowered.insn.op).then_some(links);
                ops.add(n).write(operation(select(lowered), cold.add(n), links));
            }
            // Behind the last instruction; its IP is where a block goes on that ends in no jump.
            let behind = cold.add(length);
            behind.write(Cold { insn: last.insn, later: 0, native: 0, heat: 0 });
            (*behind.as_ptr()).insn.ip = last.insn.next_ip();
            let end: Handler = if last.slow_end { stop } else { fall };
            ops.add(length).write(operation(end, behind, Some(links)));
            if let [.., first, jump] = block
                && let Some(handler) = fuse(&first.insn, &jump.insn)
            {
                (*ops.add(length - 2).as_ptr()).handler = handler;
            }
        }
        Some(chain)
    }
    /// Memory for so many operations with their instructions: its layout, and where in it the two begin.
    fn layout(operations: usize) -> (Layout, usize, usize) {
        let cold = Layout::array::<Cold>(operations);
        let ops = Layout::array::<Op>(operations);
        let (Ok(cold), Ok(ops)) = (cold, ops) else { unreachable!("a block has few instructions") };
        let Ok((layout, cold)) = Layout::new::<Links>().extend(cold) else { unreachable!("as above") };
        let Ok((layout, ops)) = layout.extend(ops) else { unreachable!("as above") };
        (layout, cold, ops)
    }
    /// A chain of so many operations, with nothing written in its memory yet.
    fn empty(operations: usize) -> Chain {
        let (layout, cold, ops) = Chain::layout(operations);
        // SAFETY: the layout is not empty, and the parts begin inside it.
        let (start, cold, ops) = unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            (start, start.add(cold).cast::<Cold>(), start.add(ops).cast::<Op>())
        };
        Chain {
            links: start.cast(),
            cold: NonNull::slice_from_raw_parts(cold, operations),
            ops: NonNull::slice_from_raw_parts(ops, operations),
        }
    }
    /// Runs one instruction alone, without making a block of it. `env.ways` must be in the context
    /// [`ALONE`].
    pub fn run_alone(lowered: &Lowered, cpu: &mut CpuState, env: &mut Env<'_>) {
        env.ways.context = ALONE;
        env.ways.inside = ALONE;
        let mut links = [Link::void(NOWHERE); 2];
        let links = NonNull::from(&mut links);
        let cold = Cold { insn: lowered.insn, later: 0, native: 0, heat: 0 };
        let mut behind = cold;
        behind.insn.ip = lowered.insn.next_ip();
        let handler = select(lowered);
        let end = if lowered.slow_end { stop } else { fall };
        let ops = [
            operation(handler, NonNull::from(&cold), is_exit(lowered.insn.op).then_some(links)),
            operation(end, NonNull::from(&behind), Some(links)),
        ];
        // SAFETY: as in `run`: the last operation goes no further, and in this context no link is
        // followed.
        unsafe { handler(cpu, env, ops.as_ptr()) }
        env.ways.exit = env.ways.scrap;
    }
    /// Its code is no more: whoever still follows a link to it is sent back to the engine. To be
    /// kept until no context of now is one any more.
    pub fn retire(&mut self, ways: &mut Ways) {
        // SAFETY: it has operations, and none of them is being run.
        let ip = unsafe {
            let first = self.ops.cast::<Op>().as_mut();
            first.handler = retired;
            first.cold.as_ref().insn.ip
        };
        let jump = &mut ways.jumps[Ways::slot(ip)];
        if jump.target.ops == self.ops.cast() {
            *jump = NO_JUMP;
        }
    }
    /// The upper tier has code for the block: whoever still follows a link to it is sent back to
    /// the engine.
    pub(super) fn set_native(&mut self, number: u32) {
        // SAFETY: it has operations, and none of them is being run.
        unsafe {
            let first = self.ops.cast::<Op>().as_mut();
            first.handler = retired;
            first.cold.as_mut().native = number;
        }
    }
    /// Takes over bytes `first..end` of the block's code, which were overwritten and now are as in
    /// `code`, when no instruction has become another but for its immediate, displacement or
    /// target. Otherwise, or when the upper tier has code for the block, says false, and the chain
    /// must not be run any more. The block lies in one page.
    pub(super) fn patch(&mut self, code: &[u8], first: u64, end: u64, mode: Mode, model: Model) -> bool {
        // SAFETY: the chain owns them, and none of its operations is being run.
        let (ops, cold) = unsafe { (self.ops.as_mut(), self.cold.as_mut()) };
        let Some(start) = cold.first().filter(|cold| cold.native == 0).map(|cold| cold.insn.ip) else { return false };
        let instructions = cold.len() - 1;
        for (op, cold) in ops.iter_mut().zip(cold).take(instructions) {
            let old = &mut cold.insn;
            let at = old.ip.wrapping_sub(start);
            let behind = at + u64::from(old.len);
            if end <= at {
                break;
            }
            if behind <= first {
                continue;
            }
            let Some(bytes) = code.get(at as usize..behind as usize) else { return false };
            let constant = behind - u64::from(old.imm_size);
            if first >= constant && old.op != Opcode::Helper {
                // What comes first in a row of writes lies in it, and what follows is looked at next.
                let mut imm = [0; 8];
                let bytes = &bytes[(constant - at) as usize..];
                imm[..bytes.len()].copy_from_slice(bytes);
                old.imm = u64::from_le_bytes(imm);
                if !is_exit(old.op) {
                    op.word.imm = old.imm;
                }
                continue;
            }
            let Decoded::Insn(new) = decode(bytes, old.ip, mode, model) else { return false };
            if !is_alike(old, &new.insn) {
                return false;
            }
            *old = new.insn;
            let is_exit = is_exit(old.op);
            *op = operation(op.handler, op.cold, is_exit.then_some(self.links));
            if is_exit {
                // SAFETY: as above.
                let links = unsafe { self.links.as_mut() };
                *links = links.map(|link| Link::void(link.from));
            }
        }
        true
    }
    /// Ticks that the block was found running.
    pub(super) fn heat(&self) -> u32 {
        // SAFETY: the chain owns them, and no operation is being run.
        unsafe { self.cold.cast::<Cold>().as_ref().heat }
    }
    /// How to enter it. Not to be used when the chain is no more.
    pub(super) fn target(&self) -> Target {
        let ops = self.ops;
        Target { ops: ops.cast(), cost: ops.len() as i64 - 1 }
    }
    /// Runs a chain and those that it leads to; `env.successor` then says how the last one ended.
    ///
    /// # Safety
    /// The target's chain has not been dropped, and its price has been paid.
    #[inline(always)]
    unsafe fn enter(target: Target, cpu: &mut CpuState, env: &mut Env<'_>) {
        let op = target.ops.as_ptr();
        // SAFETY: `ops` is not empty, and its last operation goes no further than a link does.
        unsafe { ((*op).handler)(cpu, env, op) }
    }
}

/// Runs the chain and those that it leads to; `env.successor` then says how the last one ended.
/// Only for targets of the context of now, and with a budget for the whole of the first.
pub(super) fn run_chains(target: Target, cpu: &mut CpuState, env: &mut Env<'_>) {
    env.remaining -= target.cost;
    env.ways.floor = (env.remaining - FUEL).max(0);
    // SAFETY: the engine forgets all targets when it drops chains.
    unsafe { Chain::enter(target, cpu, env) }
}

/// The first operation of a block that is no more, or that the upper tier runs.
unsafe fn retired(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation.
    let Cold { insn, later, .. } = unsafe { (*op).cold.as_ref() };
    env.remaining += i64::from(*later) + 1;
    cpu.rip = insn.ip;
    env.successor = INDIRECT;
}

/// The operation of an instruction.
fn operation(handler: Handler, cold: NonNull<Cold>, links: Option<NonNull<Links>>) -> Op {
    // SAFETY: the caller has it from a reference.
    let i = unsafe { &cold.as_ref().insn };
    let word = links.map_or(Word { imm: i.imm }, |links| Word { links });
    let register = |o: Operand| if o.kind == OperandKind::Reg { Some(o.index) } else { None };
    let registers = [register(i.ops[0]), register(i.ops[1])];
    let first = registers[0].or(registers[1]).unwrap_or(0);
    let in_memory = i.op == Opcode::Lea || i.ops.iter().any(|o| o.is_mem());
    let second = if in_memory { i.mem.base } else { registers[1].unwrap_or(0) };
    Op { handler, cold, word, disp: i.mem.disp as i32, first, second, index: i.mem.index, shift: i.mem.shift }
}

/// Whether two instructions differ in nothing but immediate, displacement and target, so that one
/// handler serves both.
fn is_alike(a: &Insn, b: &Insn) -> bool {
    let with_disp_of_a = Address { disp: a.mem.disp, ..b.mem };
    a.mem == with_disp_of_a
        && (a.op, a.ops, a.width, a.src_width, a.cond, a.rep) == (b.op, b.ops, b.width, b.src_width, b.cond, b.rep)
        && (a.lock, a.len, a.mem_size, a.code, a.mnemonic) == (b.lock, b.len, b.mem_size, b.code, b.mnemonic)
        && (a.imm_size, a.next) == (b.imm_size, b.next)
        && std::ptr::fn_addr_eq(a.helper, b.helper)
}

/// Whether an instruction ends its block by itself; helpers leave that to [`stop`].
fn is_exit(op: Opcode) -> bool {
    use Opcode as O;
    matches!(
        op,
        O::CallNear
            | O::CallIndirect
            | O::Ret
            | O::JmpNear
            | O::JmpIndirect
            | O::Jcc
            | O::Jcxz
            | O::Loop
            | O::Loope
            | O::Loopne
    )
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

/// The instruction with its decoded facts turned into constants, and with what the handler needs
/// every time taken from the operation itself.
///
/// # Safety
/// The pointer leads to an operation of a [`Chain`].
#[inline(always)]
unsafe fn specialise<const D: u8, const S: u8, const W: u8>(op: *const Op) -> Insn {
    // SAFETY: the caller's pointer leads to an operation, and an operation to its instruction.
    let (op, mut i) = unsafe { (&*op, (*op).cold.as_ref().insn) };
    i.ops[0] = operand::<D>(i.ops[0]);
    i.ops[1] = operand::<S>(i.ops[1]);
    if D == REG {
        i.ops[0].index = op.first;
    }
    if S == REG {
        i.ops[1].index = if D == REG { op.second } else { op.first };
    }
    i.width = width::<W>(i.width);
    let flat = D == FLAT || S == FLAT || D == BASE || S == BASE;
    if flat {
        let index = if D == BASE || S == BASE { gpr::NONE } else { op.index };
        i.mem = Address {
            seg: i.mem.seg,
            base: op.second,
            index,
            shift: op.shift,
            width: Width::Dword,
            flat: true,
            disp: op.disp as u64,
        };
    } else if D == MEM || S == MEM {
        i.mem.flat = false;
    }
    i
}

/// As `specialise`, for operations that do not end a block: they have the immediate.
///
/// # Safety
/// As for `specialise`.
#[inline(always)]
unsafe fn with_immediate<const D: u8, const S: u8, const W: u8>(op: *const Op) -> Insn {
    // SAFETY: the word of an operation that does not end a block is the immediate.
    unsafe {
        let mut i = specialise::<D, S, W>(op);
        if D == IMM || S == IMM {
            i.imm = (*op).word.imm;
        }
        i
    }
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

/// Goes on with a block when there is budget for all of it; false when there is not.
///
/// # Safety
/// The target's chain has not been dropped.
#[inline(always)]
unsafe fn enter(cpu: &mut CpuState, env: &mut Env<'_>, target: Target) -> bool {
    let rest = env.remaining - target.cost;
    if rest < env.ways.floor {
        return false;
    }
    env.remaining = rest;
    // SAFETY: as the caller says.
    unsafe { Chain::enter(target, cpu, env) }
    true
}

/// Goes on by exit `N` if it leads somewhere; else leaves to the engine what `prepare` sets up.
///
/// # Safety
/// `op` leads to an operation of a [`Chain`] whose word is links.
#[inline(always)]
unsafe fn exit<const N: usize>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
    prepare: impl FnOnce(&mut CpuState, &mut Env<'_>),
) {
    // SAFETY: the word is links, says the caller. A link of the context of now leads to a chain
    // that is still there.
    unsafe {
        let link = (*op).word.links.cast::<Link>().add(N);
        env.ways.exit = link;
        let Link { context, target, .. } = *link.as_ptr();
        if (context == env.ways.inside || context == env.ways.context) && enter(cpu, env, target) {
            return;
        }
        prepare(cpu, env);
    }
}

/// The end of a block that ends in no jump.
unsafe fn fall(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation; the word of the one behind the last
    // instruction is links.
    unsafe {
        exit::<1>(cpu, env, op, |cpu, env| {
            cpu.rip = (*op).cold.as_ref().insn.ip;
            env.successor = 1;
        });
    }
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
    let Cold { insn, later, .. } = unsafe { (*op).cold.as_ref() };
    env.successor = LEFT;
    env.remaining += i64::from(*later);
    cpu.rip = insn.ip;
    match env.leave {
        // Delivering an exception takes the time of one instruction.
        Leave::Exception(Exception { is_trap: true, .. }) => cpu.rip = insn.next_ip(),
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
        let i = with_immediate::<D, SRC, W>(op);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again::<S>(cpu, env, op);
        }
        next(cpu, env, op);
    }
}

/// As `run`, for instructions that end a block by going one of its two ways.
unsafe fn run_last<S: Semantics, const D: u8, const SRC: u8, const W: u8>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
) {
    // SAFETY: the caller's pointer leads to an operation whose word is links.
    unsafe {
        let i = specialise::<D, SRC, W>(op);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again_last::<S>(cpu, env, op);
        }
        // The semantics have put the IP and the exit in their places.
        if env.successor == 0 { exit::<0>(cpu, env, op, |_, _| {}) } else { exit::<1>(cpu, env, op, |_, _| {}) }
    }
}

/// As `run`, for instructions that end a block by going anywhere.
unsafe fn run_anywhere<S: Semantics, const D: u8, const SRC: u8, const W: u8>(
    cpu: &mut CpuState,
    env: &mut Env<'_>,
    op: *const Op,
) {
    // SAFETY: the caller's pointer leads to an operation; an entry of the table of the context of
    // now leads to a chain that is still there.
    unsafe {
        let i = specialise::<D, SRC, W>(op);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again_last::<S>(cpu, env, op);
        }
        env.ways.exit = env.ways.scrap;
        if let Some(target) = env.ways.find(cpu.rip) {
            enter(cpu, env, target);
        }
    }
}

/// The long way, from the start: translations to look up, faults to raise.
#[cold]
#[inline(never)]
unsafe fn again<S: Semantics>(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: as for `run`.
    unsafe {
        if long_way::<S>(cpu, env, &(*op).cold.as_ref().insn).is_err() {
            return leave(cpu, env, op);
        }
        if env.memory.has_code_writes() {
            return pause(cpu, env, op);
        }
        next(cpu, env, op);
    }
}

/// Leaves the block behind `op`, because the code behind it may have been overwritten.
unsafe fn pause(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation.
    let Cold { insn, later, .. } = unsafe { (*op).cold.as_ref() };
    env.remaining += i64::from(*later);
    cpu.rip = insn.next_ip();
    env.successor = SLOW;
}

/// As `again`, for instructions that end a block: the engine finds where it goes on.
#[cold]
#[inline(never)]
unsafe fn again_last<S: Semantics>(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    // SAFETY: the caller's pointer leads to an operation whose word is links.
    unsafe {
        if long_way::<S>(cpu, env, &(*op).cold.as_ref().insn).is_err() {
            return leave(cpu, env, op);
        }
        if env.memory.has_code_writes() {
            env.successor = SLOW;
            return;
        }
        env.ways.exit = match env.successor {
            n @ 0..2 => (*op).word.links.cast::<Link>().add(usize::from(n)),
            _ => env.ways.scrap,
        };
    }
}

#[inline(never)]
fn long_way<S: Semantics>(cpu: &mut CpuState, env: &mut Env<'_>, insn: &Insn) -> Result<(), Fault> {
    S::run(&mut Direct::<false> { cpu, env }, insn)
}

unsafe fn run_jcc<const CC: usize>(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op) {
    let c = Direct::<true> { cpu, env }.cond(const { Cond::ALL[CC] });
    // SAFETY: the operation is a conditional jump, whose word is links.
    unsafe { conditional(cpu, env, op, c != 0) }
}

/// A conditional jump whose condition is known.
///
/// # Safety
/// `op` leads to a conditional jump of a [`Chain`].
#[inline(always)]
unsafe fn conditional(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op, taken: bool) {
    // SAFETY: as the caller says. A link shows that the target was reached before in the same
    // code segment, so that it needs no check.
    unsafe {
        if taken {
            exit::<0>(cpu, env, op, |cpu, env| not_linked(cpu, env, op, true));
        } else {
            exit::<1>(cpu, env, op, |cpu, env| not_linked(cpu, env, op, false));
        }
    }
}

/// As the semantics of Jcc say.
#[cold]
#[inline(never)]
unsafe fn not_linked(cpu: &mut CpuState, env: &mut Env<'_>, op: *const Op, taken: bool) {
    // SAFETY: the caller's pointer leads to an operation.
    unsafe {
        let insn = &(*op).cold.as_ref().insn;
        let mut direct = Direct::<false> { cpu, env };
        if direct.branch(insn, u64::from(taken)).is_err() {
            leave(cpu, env, op);
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
        let i = with_immediate::<D, SRC, W>(op);
        if S::run(&mut Direct::<true> { cpu, env }, &i).is_err() {
            return again::<S>(cpu, env, op);
        }
        let c = Direct::<true> { cpu, env }.cond(const { Cond::ALL[CC] });
        conditional(cpu, env, op.add(1), c != 0);
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
        let insn = &(*op).cold.as_ref().insn;
        cpu.rip = insn.next_ip();
        if call(cpu, env, insn).is_err() {
            return leave(cpu, env, op);
        }
        // Helpers that change the IP end their block, and then `stop` comes next.
        if env.memory.has_code_writes() && (*op).cold.as_ref().later != 0 {
            return pause(cpu, env, op);
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
        let mut i = specialise::<REG, SRC, 4>(op);
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

/// Jumps and calls to a constant target.
fn direct<S: Semantics>(i: &Insn) -> Handler {
    match i.width {
        Width::Dword => run_last::<S, ANY, ANY, 4>,
        _ => run_last::<S, ANY, ANY, 0>,
    }
}

/// Jumps, calls and returns to a target that is a value.
fn anywhere<S: Semantics>(i: &Insn) -> Handler {
    match i.width {
        Width::Dword => match shape(i, i.ops[0]) {
            Shape::Reg => run_anywhere::<S, REG, ANY, 4>,
            Shape::Flat | Shape::Base => run_anywhere::<S, FLAT, ANY, 4>,
            _ => run_anywhere::<S, ANY, ANY, 4>,
        },
        _ => run_anywhere::<S, ANY, ANY, 0>,
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
        Opcode::CallNear => direct::<s::CallNear>(i),
        Opcode::CallIndirect => anywhere::<s::CallIndirect>(i),
        Opcode::Ret => anywhere::<s::Ret>(i),
        Opcode::JmpNear => direct::<s::JmpNear>(i),
        Opcode::JmpIndirect => anywhere::<s::JmpIndirect>(i),
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
