//! A region as Cranelift IR: the instance of [`Micro`] whose values are names of values to come.

use crate::context::{self as cx, Op};
use crate::region::{Edge, Region};
use cpu::core::{Env, Fault};
use cpu::flags::{Cond, FlagsOf, LazyFlags, bits};
use cpu::insn::{Address, Insn};
use cpu::micro::Micro;
use cpu::semantics;
use cpu::state::{CpuState, Mode, Seg, Segment, Width, gpr};
use cpu::tlb::Tables;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, Function, InstBuilder, JumpTableData, MemFlagsData, SigRef, Signature, Type, Value,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use std::mem::offset_of;

/// A value: a constant, or what an instruction will have computed. Values are zero-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum V {
    /// A constant.
    C(u64),
    /// In 32 bits.
    W(Value),
    /// In 64 bits.
    Q(Value),
    /// 0 or 1, in 8 bits.
    B(Value),
}

/// A recorded flag operation.
#[derive(Clone, Copy)]
struct Record {
    of: FlagsOf,
    width: Width,
    a: V,
    b: V,
    r: V,
    /// CF where it does not follow from the rest.
    cf: Option<V>,
    /// OF where it does not.
    over: Option<V>,
}

/// Where the status flags are.
#[derive(Clone, Copy)]
enum Flags {
    /// In [`CpuState::lazy`].
    Memory,
    Values(Record),
}

/// All that an exit needs to know to make the state in memory complete.
#[derive(Clone, Copy)]
struct Moment {
    flags: Flags,
    dirty: u32,
    /// The instruction at hand.
    ip: u64,
    later: i64,
}

/// Code that is rarely run, put behind all other code.
enum Cold {
    /// A memory access that is no hit: goes on at `after` with the host address.
    Access { moment: Moment, function: i32, info: u64, offset: Value, value: Value, after: Block },
    /// The instruction at hand is one for the interpreter.
    Bail { moment: Moment },
    /// The budget does not cover the next block, whose price has been taken off.
    Short { moment: Moment, ip: u64, price: i64 },
    /// The operation was left; the helper has done everything else.
    Left,
}

/// How a block ends.
enum End {
    Fall,
    Goto,
    Branch(V),
    Jump(V),
}

/// How SysV and tail calls look.
pub(crate) fn tail_signature() -> Signature {
    let mut s = Signature::new(CallConv::Tail);
    for _ in 0..4 {
        s.params.push(AbiParam::new(I64));
    }
    s.returns.push(AbiParam::new(I64));
    s
}

fn trusted() -> MemFlagsData {
    MemFlagsData::trusted()
}
/// Guest memory: never traps, but need not be aligned.
fn guest() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Translates regions.
pub(crate) struct Emitter<'a> {
    b: FunctionBuilder<'a>,
    region: &'a Region,
    /// The helpers' view of the instructions, block by block.
    ops: &'a [Vec<Op>],
    /// Addresses of the region's exits.
    slots: &'a [usize],
    /// Addresses of the validity words of the region's pages.
    cells: &'a [usize],
    ctx: Value,
    cpu: Value,
    regs: [Variable; 8],
    rem: Variable,
    flags: Flags,
    dirty: u32,
    blocks: Vec<Block>,
    /// Flag state and dirty registers with which a block of one predecessor begins.
    inherited: Vec<Option<(Flags, u32)>>,
    emitted: Vec<bool>,
    cold: Vec<(Block, Cold)>,
    end: End,
    insn_ip: u64,
    later: i64,
    live: u8,
    /// Host address of the operand that the instruction at hand modifies.
    modified: Option<Value>,
    tail: SigRef,
    access: SigRef,
    helper: SigRef,
    simple: SigRef,
}

impl<'a> Emitter<'a> {
    /// Fills `func` with the code of `region`.
    pub(crate) fn emit(
        func: &'a mut Function,
        context: &'a mut FunctionBuilderContext,
        region: &'a Region,
        ops: &'a [Vec<Op>],
        slots: &'a [usize],
        cells: &'a [usize],
        target: TargetFrontendConfig,
    ) {
        func.signature = tail_signature();
        let mut b = FunctionBuilder::new(func, context);
        let regs = std::array::from_fn(|_| b.declare_var(I32));
        let rem = b.declare_var(I64);
        let tail = b.import_signature(tail_signature());
        let mut access = Signature::new(CallConv::PreserveAll);
        for _ in 0..5 {
            access.params.push(AbiParam::new(I64));
        }
        let access = b.import_signature(access);
        let mut helper = Signature::new(CallConv::SystemV);
        for _ in 0..3 {
            helper.params.push(AbiParam::new(I64));
        }
        helper.returns.push(AbiParam::new(I64));
        let helper = b.import_signature(helper);
        let mut simple = Signature::new(CallConv::PreserveAll);
        for _ in 0..2 {
            simple.params.push(AbiParam::new(I64));
        }
        let simple = b.import_signature(simple);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let (ctx, cpu, number, rem_in) = {
            let p = b.block_params(entry);
            (p[0], p[1], p[2], p[3])
        };
        let blocks: Vec<Block> = region.blocks.iter().map(|_| b.create_block()).collect();
        let mut e = Emitter {
            b,
            region,
            ops,
            slots,
            cells,
            ctx,
            cpu,
            regs,
            rem,
            flags: Flags::Memory,
            dirty: 0,
            inherited: vec![None; blocks.len()],
            emitted: vec![false; blocks.len()],
            blocks,
            cold: Vec::new(),
            end: End::Fall,
            insn_ip: 0,
            later: 0,
            live: 3,
            modified: None,
            tail,
            access,
            helper,
            simple,
        };
        e.reload();
        e.b.def_var(rem, rem_in);
        e.dispatch(number);
        for (n, block) in region.blocks.iter().enumerate() {
            if block.ways_in != 0 || block.is_entry {
                e.block(n);
            }
        }
        while let Some((block, cold)) = e.cold.pop() {
            e.b.switch_to_block(block);
            e.b.set_cold_block(block);
            e.cold(cold);
        }
        e.b.seal_all_blocks();
        e.b.finalize(target);
    }

    /// To the block with the number that the caller has given.
    fn dispatch(&mut self, number: Value) {
        let entries = &self.region.entries;
        let targets: Vec<Block> = entries.iter().map(|_| self.b.create_block()).collect();
        if let [only] = targets[..] {
            self.b.ins().jump(only, &[]);
        } else {
            let number = self.b.ins().ireduce(I32, number);
            let calls: Vec<_> = targets.iter().map(|t| self.b.func.dfg.block_call(*t, &[])).collect();
            let table = self.b.create_jump_table(JumpTableData::new(calls[0], &calls));
            self.b.ins().br_table(number, table);
        }
        for (target, &entry) in targets.iter().zip(entries) {
            self.b.switch_to_block(*target);
            (self.flags, self.dirty) = (Flags::Memory, 0);
            if let Some(second) = self.region.blocks[entry].second {
                self.check_page(second, self.region.blocks[entry].ip);
            }
            self.go_to(entry);
        }
    }

    // --- small things --------------------------------------------------------------------------

    fn iconst(&mut self, ty: Type, value: u64) -> Value {
        let value = match ty {
            I8 => value as u8 as i64,
            I16 => value as u16 as i64,
            I32 => value as u32 as i64,
            _ => value as i64,
        };
        self.b.ins().iconst(ty, value)
    }
    fn load64(&mut self, base: Value, offset: usize) -> Value {
        self.b.ins().load(I64, trusted(), base, offset as i32)
    }
    fn store_at(&mut self, value: Value, base: Value, offset: usize) {
        self.b.ins().store(trusted(), value, base, offset as i32);
    }
    /// In 32 bits.
    fn w(&mut self, v: V) -> Value {
        match v {
            V::C(c) => self.iconst(I32, c),
            V::W(v) => v,
            V::Q(v) => self.b.ins().ireduce(I32, v),
            V::B(v) => self.b.ins().uextend(I32, v),
        }
    }
    /// In 64 bits.
    fn q(&mut self, v: V) -> Value {
        match v {
            V::C(c) => self.iconst(I64, c),
            V::W(v) | V::B(v) => self.b.ins().uextend(I64, v),
            V::Q(v) => v,
        }
    }
    /// 0 or 1 in 8 bits, of a value that is 0 or 1 in its lowest bit.
    fn bit(&mut self, v: V) -> Value {
        match v {
            V::C(c) => self.iconst(I8, c & 1),
            V::B(v) => v,
            V::W(v) | V::Q(v) => {
                let v = self.b.ins().ireduce(I8, v);
                let one = self.iconst(I8, 1);
                self.b.ins().band(v, one)
            }
        }
    }
    /// Something that a branch can test.
    fn test(&mut self, v: V) -> Value {
        match v {
            V::C(c) => self.iconst(I8, u64::from(c != 0)),
            V::W(v) | V::Q(v) | V::B(v) => v,
        }
    }
    fn is_wide(width: Width) -> bool {
        width == Width::Qword
    }
    fn sized(&mut self, width: Width, v: V) -> Value {
        if Self::is_wide(width) { self.q(v) } else { self.w(v) }
    }
    fn wrap(&mut self, width: Width, v: Value) -> V {
        match width {
            Width::Qword => V::Q(v),
            Width::Dword => V::W(v),
            _ => {
                let mask = self.iconst(I32, width.mask());
                V::W(self.b.ins().band(v, mask))
            }
        }
    }
    /// In the integer type of exactly this width.
    fn exact(&mut self, width: Width, v: V) -> Value {
        match width {
            Width::Byte => match v {
                V::B(v) => v,
                _ => {
                    let v = self.w(v);
                    self.b.ins().ireduce(I8, v)
                }
            },
            Width::Word => {
                let v = self.w(v);
                self.b.ins().ireduce(I16, v)
            }
            Width::Dword => self.w(v),
            Width::Qword => self.q(v),
        }
    }
    fn compare(&mut self, cc: IntCC, width: Width, a: V, b: V) -> V {
        let (a, b) = (self.exact(width, a), self.exact(width, b));
        V::B(self.b.ins().icmp(cc, a, b))
    }
    fn is_zero(&mut self, width: Width, v: V) -> V {
        self.compare(IntCC::Equal, width, v, V::C(0))
    }
    fn flip(&mut self, v: V) -> V {
        match v {
            V::C(c) => V::C(c & 1 ^ 1),
            _ => {
                let v = self.bit(v);
                let one = self.iconst(I8, 1);
                V::B(self.b.ins().bxor(v, one))
            }
        }
    }
    fn either(&mut self, a: V, b: V) -> V {
        let (a, b) = (self.bit(a), self.bit(b));
        V::B(self.b.ins().bor(a, b))
    }
    fn both(&mut self, a: V, b: V) -> V {
        let (a, b) = (self.bit(a), self.bit(b));
        V::B(self.b.ins().band(a, b))
    }
    fn differ(&mut self, a: V, b: V) -> V {
        let (a, b) = (self.bit(a), self.bit(b));
        V::B(self.b.ins().bxor(a, b))
    }
    /// Bit `n` of a value.
    fn bit_of(&mut self, v: V, n: u32) -> V {
        if let V::C(c) = v {
            return V::C(c >> n & 1);
        }
        let n = self.imm(u64::from(n));
        let v = self.shr(Width::Qword, v, n);
        V::B(self.bit(v))
    }

    // --- state ---------------------------------------------------------------------------------

    fn gpr_offset(index: usize) -> usize {
        offset_of!(CpuState, gpr) + 8 * index
    }
    /// All registers are as they are in memory.
    fn reload(&mut self) {
        for n in 0..8 {
            let v = self.b.ins().load(I32, trusted(), self.cpu, Self::gpr_offset(n) as i32);
            self.b.def_var(self.regs[n], v);
        }
        self.dirty = 0;
    }
    fn store_registers(&mut self, mask: u32) {
        for n in 0..8 {
            if mask >> n & 1 != 0 {
                let v = self.b.use_var(self.regs[n]);
                self.store_at(v, self.cpu, Self::gpr_offset(n));
            }
        }
    }
    fn flush_registers(&mut self) {
        self.store_registers(self.dirty);
        self.dirty = 0;
    }
    fn lazy(field: usize) -> usize {
        offset_of!(CpuState, lazy) + field
    }
    /// Writes a record to memory.
    fn store_record(&mut self, rec: &Record) {
        let kind = rec.of as u64 | (rec.width as u64) << 8;
        let cf = self.carry_of(rec);
        let mut word = kind;
        if let V::C(c) = cf {
            word |= (c & 1) << 24;
        }
        if let Some(V::C(c)) = rec.over {
            word |= (2 | c & 1) << 16;
        }
        let word = self.iconst(I32, word);
        self.store_at(word, self.cpu, Self::lazy(offset_of!(LazyFlags, of)));
        if !matches!(cf, V::C(_)) {
            let cf = self.bit(cf);
            self.store_at(cf, self.cpu, Self::lazy(offset_of!(LazyFlags, cf)));
        }
        if let Some(over) = rec.over
            && !matches!(over, V::C(_))
        {
            let over = self.bit(over);
            let two = self.iconst(I8, 2);
            let over = self.b.ins().bor(over, two);
            self.store_at(over, self.cpu, Self::lazy(offset_of!(LazyFlags, over)));
        }
        use FlagsOf as F;
        let (a, b, r) = match rec.of {
            F::Add | F::Sub | F::Adc | F::Sbb => (true, true, true),
            F::Partial => (true, false, true),
            F::All => (true, false, false),
            _ => (false, false, true),
        };
        for (needed, v, field) in [
            (a, rec.a, offset_of!(LazyFlags, a)),
            (b, rec.b, offset_of!(LazyFlags, b)),
            (r, rec.r, offset_of!(LazyFlags, r)),
        ] {
            if needed {
                let v = self.q(v);
                self.store_at(v, self.cpu, Self::lazy(field));
            }
        }
    }
    fn flush_flags(&mut self) {
        if let Flags::Values(rec) = self.flags {
            self.store_record(&rec);
            self.flags = Flags::Memory;
        }
    }
    fn moment(&self) -> Moment {
        Moment { flags: self.flags, dirty: self.dirty, ip: self.insn_ip, later: self.later }
    }
    /// Makes memory complete but for RIP and the budget.
    fn complete(&mut self, moment: &Moment) {
        self.store_registers(moment.dirty);
        if let Flags::Values(rec) = moment.flags {
            self.store_record(&rec);
        }
    }
    fn set_rip(&mut self, ip: u64) {
        let ip = self.iconst(I64, ip);
        self.store_at(ip, self.cpu, offset_of!(CpuState, rip));
    }
    fn set_remaining(&mut self, plus: i64) {
        let mut rem = self.b.use_var(self.rem);
        if plus != 0 {
            let plus = self.iconst(I64, plus as u64);
            rem = self.b.ins().iadd(rem, plus);
        }
        let env = self.load64(self.ctx, cx::ENV);
        self.store_at(rem, env, offset_of!(Env<'static>, remaining));
    }
    fn finish(&mut self, how: u64) {
        let how = self.iconst(I64, how);
        self.b.ins().return_(&[how]);
    }
    fn later_block(&mut self, cold: Cold) -> Block {
        let block = self.b.create_block();
        self.cold.push((block, cold));
        block
    }

    fn cold(&mut self, cold: Cold) {
        match cold {
            Cold::Access { moment, function, info, offset, value, after } => {
                let rem = self.b.use_var(self.rem);
                let info = self.iconst(I64, info);
                let f = self.load64(self.ctx, function as usize);
                let ctx = self.ctx;
                self.b.ins().call_indirect(self.access, f, &[ctx, offset, info, rem, value]);
                let host = self.load64(self.ctx, cx::HOST);
                let left = self.b.create_block();
                self.b.ins().brif(host, after, &[host.into()], left, &[]);
                self.b.switch_to_block(left);
                self.b.set_cold_block(left);
                self.complete(&moment);
                self.set_rip(moment.ip);
                self.set_remaining(moment.later);
                self.finish(cx::LEFT);
            }
            Cold::Bail { moment } => {
                self.complete(&moment);
                self.set_rip(moment.ip);
                self.set_remaining(moment.later + 1);
                self.finish(cx::STEP);
            }
            Cold::Short { moment, ip, price } => {
                self.complete(&moment);
                self.set_rip(ip);
                self.set_remaining(price);
                self.finish(cx::SHORT);
            }
            Cold::Left => self.finish(cx::LEFT),
        }
    }
    fn exit(&mut self, moment: &Moment, exit: usize, from_page: u64) {
        self.complete(moment);
        let target = self.region.exits[exit];
        self.set_rip(target);
        let slot = self.iconst(I64, self.slots[exit] as u64);
        self.store_at(slot, self.ctx, cx::EXIT);
        let rem = self.b.use_var(self.rem);
        let (ctx, cpu) = (self.ctx, self.cpu);
        let page = (target.wrapping_add(self.region.place.base) & 0xffff_ffff) >> 12;
        if page != from_page {
            // Whether the page is still mapped as it was when the link was made.
            let cell = self.load64(slot, cx::SLOT_CELL);
            let then = self.load64(cell, 0);
            let now = self.load64(self.ctx, cx::EPOCH);
            let ok = self.b.ins().icmp(IntCC::Equal, then, now);
            let (follow, stop) = (self.b.create_block(), self.b.create_block());
            self.b.ins().brif(ok, follow, &[], stop, &[]);
            self.b.switch_to_block(stop);
            self.b.set_cold_block(stop);
            self.store_at(cell, self.ctx, cx::UNSURE);
            self.set_remaining(0);
            self.finish(cx::INDIRECT);
            self.b.switch_to_block(follow);
        }
        let code = self.load64(slot, cx::SLOT_CODE);
        let number = self.load64(slot, cx::SLOT_NUMBER);
        self.b.ins().return_call_indirect(self.tail, code, &[ctx, cpu, number, rem]);
    }

    // --- blocks --------------------------------------------------------------------------------

    /// Goes to a block of the region, with its price paid.
    fn go_to(&mut self, to: usize) {
        let target = &self.region.blocks[to];
        let price = target.steps.len() as i64;
        let moment = self.moment();
        let rem = self.b.use_var(self.rem);
        let p = self.iconst(I64, price as u64);
        let left = self.b.ins().isub(rem, p);
        self.b.def_var(self.rem, left);
        let zero = self.iconst(I64, 0);
        let is_short = self.b.ins().icmp(IntCC::SignedLessThan, left, zero);
        let cold = self.later_block(Cold::Short { moment, ip: target.ip, price });
        let enough = self.b.create_block();
        self.b.ins().brif(is_short, cold, &[], enough, &[]);
        self.b.switch_to_block(enough);
        let single = target.ways_in == 1 && !target.is_entry && !self.emitted[to];
        if single {
            self.inherited[to] = Some((self.flags, self.dirty));
        } else {
            if target.live != 0 {
                self.flush_flags();
            }
            self.store_registers(self.dirty & !target.dirty);
        }
        self.b.ins().jump(self.blocks[to], &[]);
    }
    /// Checks that code in `page` (of the region) may be entered from another page.
    fn check_page(&mut self, page: usize, ip: u64) {
        let cell = self.iconst(I64, self.cells[page] as u64);
        let then = self.load64(cell, 0);
        let now = self.load64(self.ctx, cx::EPOCH);
        let ok = self.b.ins().icmp(IntCC::Equal, then, now);
        let moment = self.moment();
        let (go, stop) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(ok, go, &[], stop, &[]);
        self.b.switch_to_block(stop);
        self.b.set_cold_block(stop);
        self.complete(&moment);
        self.set_rip(ip);
        let none = self.iconst(I64, 0);
        self.store_at(none, self.ctx, cx::EXIT);
        self.store_at(cell, self.ctx, cx::UNSURE);
        self.set_remaining(0);
        self.finish(cx::INDIRECT);
        self.b.switch_to_block(go);
    }
    fn follow(&mut self, from: usize, edge: Edge) {
        let (flags, dirty) = (self.flags, self.dirty);
        match edge {
            Edge::Block(to) => {
                let (here, there) = (&self.region.blocks[from], &self.region.blocks[to]);
                let ip = there.ip;
                if here.page != there.page || here.second.is_some() {
                    self.check_page(there.page, ip);
                }
                if let Some(second) = there.second {
                    self.check_page(second, ip);
                }
                self.go_to(to);
            }
            Edge::Exit(exit) => {
                let page = self.page_of(from);
                let moment = self.moment();
                self.exit(&moment, exit, page);
            }
            Edge::None => self.finish(cx::INDIRECT),
        }
        (self.flags, self.dirty) = (flags, dirty);
    }
    /// The linear page that a link from the end of block `from` may stay in unchecked.
    fn page_of(&self, from: usize) -> u64 {
        let block = &self.region.blocks[from];
        if block.second.is_some() { u64::MAX } else { self.region.pages[block.page].linear }
    }
    /// The direct edge of the block at hand, unless its target lies outside the code segment.
    fn edge(&mut self, from: usize, edge: Edge, target: Option<u64>) {
        match target {
            Some(target) if !self.in_segment(target) => {
                let moment = self.moment();
                self.cold(Cold::Bail { moment });
            }
            _ => self.follow(from, edge),
        }
    }
    fn in_segment(&self, target: u64) -> bool {
        self.region.place.mode.has(Mode::FLAT_CODE) || target <= u64::from(self.region.place.limit)
    }

    fn block(&mut self, n: usize) {
        let region = self.region;
        let block = &region.blocks[n];
        self.b.switch_to_block(self.blocks[n]);
        self.emitted[n] = true;
        (self.flags, self.dirty) = match self.inherited[n].take() {
            Some(inherited) => inherited,
            None => (Flags::Memory, block.dirty),
        };
        self.end = End::Fall;
        for (at, step) in block.steps.iter().enumerate() {
            self.insn_ip = step.insn.ip;
            self.later = i64::from(step.later);
            self.live = step.live;
            self.modified = None;
            match semantics::function::<Emitter<'a>>(step.insn.op) {
                Some(run) => {
                    let _ = run(self, &step.insn);
                }
                None => self.call_helper(&self.ops[n][at]),
            }
        }
        if block.slow_end {
            // The helper has completed everything, the budget included.
            self.finish(cx::SLOW);
            return;
        }
        let last = block.steps.last().map(|s| s.insn);
        let target = last.map(|i| i.imm);
        match std::mem::replace(&mut self.end, End::Fall) {
            End::Fall => self.edge(n, block.fall, None),
            End::Goto => self.edge(n, block.taken, target),
            End::Branch(cond) => match cond {
                V::C(0) => self.edge(n, block.fall, None),
                V::C(_) => self.edge(n, block.taken, target),
                _ => {
                    let cond = self.test(cond);
                    let (yes, no) = (self.b.create_block(), self.b.create_block());
                    self.b.ins().brif(cond, yes, &[], no, &[]);
                    let saved = (self.flags, self.dirty);
                    self.b.switch_to_block(no);
                    self.edge(n, block.fall, None);
                    (self.flags, self.dirty) = saved;
                    self.b.switch_to_block(yes);
                    self.edge(n, block.taken, target);
                }
            },
            End::Jump(target) => self.indirect(target),
        }
    }

    /// Goes on at an IP that is known only at run time, by the table of jumps.
    fn indirect(&mut self, target: V) {
        let moment = self.moment();
        self.complete(&moment);
        let ip = self.q(target);
        self.store_at(ip, self.cpu, offset_of!(CpuState, rip));
        let tag = self.load64(self.ctx, cx::TAG);
        let key = self.b.ins().bor(tag, ip);
        let mask = self.iconst(I64, cx::JUMPS as u64 - 1);
        let at = self.b.ins().band(ip, mask);
        let five = self.iconst(I32, 5);
        let at = self.b.ins().ishl(at, five);
        let at = self.b.ins().iadd(self.ctx, at);
        let found = self.load64(at, cx::JUMP_TABLE);
        let ok = self.b.ins().icmp(IntCC::Equal, key, found);
        let (hit, miss) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(ok, hit, &[], miss, &[]);
        self.b.switch_to_block(miss);
        self.b.set_cold_block(miss);
        let none = self.iconst(I64, 0);
        self.store_at(none, self.ctx, cx::EXIT);
        self.set_remaining(0);
        self.finish(cx::INDIRECT);
        self.b.switch_to_block(hit);
        let code = self.load64(at, cx::JUMP_TABLE + 8);
        let number = self.load64(at, cx::JUMP_TABLE + 16);
        let rem = self.b.use_var(self.rem);
        let (ctx, cpu) = (self.ctx, self.cpu);
        self.b.ins().return_call_indirect(self.tail, code, &[ctx, cpu, number, rem]);
    }

    fn call_helper(&mut self, op: &Op) {
        self.flush_registers();
        self.flush_flags();
        let rem = self.b.use_var(self.rem);
        let f = self.load64(self.ctx, cx::HELPER);
        let op = self.iconst(I64, std::ptr::from_ref(op) as u64);
        let ctx = self.ctx;
        let call = self.b.ins().call_indirect(self.helper, f, &[ctx, op, rem]);
        let left = self.b.inst_results(call)[0];
        let (go, stop) = (self.b.create_block(), self.later_block(Cold::Left));
        self.b.ins().brif(left, stop, &[], go, &[]);
        self.b.switch_to_block(go);
        self.reload();
        let env = self.load64(self.ctx, cx::ENV);
        let rem = self.load64(env, offset_of!(Env<'static>, remaining));
        self.b.def_var(self.rem, rem);
    }
    /// Calls one of the functions that keep all registers and answer in memory.
    fn call_simple(&mut self, function: usize, argument: u64) -> Value {
        let f = self.load64(self.ctx, function);
        let argument = self.iconst(I64, argument);
        let ctx = self.ctx;
        self.b.ins().call_indirect(self.simple, f, &[ctx, argument]);
        self.load64(self.ctx, cx::HOST)
    }

    // --- flags ---------------------------------------------------------------------------------

    fn carry(&mut self) -> V {
        match self.flags {
            Flags::Values(rec) => self.carry_of(&rec),
            Flags::Memory => {
                let at = Self::lazy(offset_of!(LazyFlags, cf));
                V::B(self.b.ins().load(I8, trusted(), self.cpu, at as i32))
            }
        }
    }
    fn carry_of(&mut self, rec: &Record) -> V {
        if let Some(cf) = rec.cf {
            return cf;
        }
        let (w, a, b, r) = (rec.width, rec.a, rec.b, rec.r);
        match rec.of {
            FlagsOf::Add => self.compare(IntCC::UnsignedLessThan, w, r, a),
            FlagsOf::Sub => self.compare(IntCC::UnsignedLessThan, w, a, b),
            FlagsOf::Logic => V::C(0),
            FlagsOf::Inc | FlagsOf::Dec => unreachable!("their carry is recorded"),
            FlagsOf::All | FlagsOf::Partial => V::B(self.bit(a)),
            FlagsOf::Adc => {
                let x = self.sub(w, r, a);
                let x = self.sub(w, x, b);
                let carry = V::B(self.bit(x));
                let same = self.compare(IntCC::Equal, w, r, a);
                let wraps = self.both(carry, same);
                let less = self.compare(IntCC::UnsignedLessThan, w, r, a);
                self.either(less, wraps)
            }
            FlagsOf::Sbb => {
                let x = self.sub(w, a, b);
                let x = self.sub(w, x, r);
                let borrow = V::B(self.bit(x));
                let same = self.compare(IntCC::Equal, w, a, b);
                let wraps = self.both(borrow, same);
                let less = self.compare(IntCC::UnsignedLessThan, w, a, b);
                self.either(less, wraps)
            }
            FlagsOf::Shl => {
                let bits = u64::from(w.bits());
                match b {
                    V::C(b) if b > bits => V::C(0),
                    V::C(b) => self.bit_of(a, ((bits - b) & 63) as u32),
                    _ => {
                        let n = self.sub(Width::Qword, V::C(bits), b);
                        let n = self.and(n, V::C(63));
                        let out = self.shr(Width::Qword, a, n);
                        let out = V::B(self.bit(out));
                        let fits = self.compare(IntCC::UnsignedLessThanOrEqual, Width::Qword, b, V::C(bits));
                        self.both(out, fits)
                    }
                }
            }
            FlagsOf::Shr | FlagsOf::Sar => {
                let n = self.sub(Width::Qword, b, V::C(1));
                let n = self.and(n, V::C(63));
                let a = if rec.of == FlagsOf::Sar { self.sign_extend(w, Width::Qword, a) } else { a };
                let out = self.sar(Width::Qword, a, n);
                V::B(self.bit(out))
            }
        }
    }
    fn zero_of(&mut self, rec: &Record) -> V {
        match rec.of {
            FlagsOf::All => self.bit_of(rec.a, 6),
            FlagsOf::Sub if rec.cf.is_none() => self.compare(IntCC::Equal, rec.width, rec.a, rec.b),
            _ => self.is_zero(rec.width, rec.r),
        }
    }
    fn sign_of(&mut self, rec: &Record) -> V {
        match rec.of {
            FlagsOf::All => self.bit_of(rec.a, 7),
            _ => self.compare(IntCC::SignedLessThan, rec.width, rec.r, V::C(0)),
        }
    }
    fn parity_of(&mut self, rec: &Record) -> V {
        match rec.of {
            FlagsOf::All => self.bit_of(rec.a, 2),
            _ => {
                let r = self.exact(Width::Byte, rec.r);
                let ones = self.b.ins().popcnt(r);
                let one = self.iconst(I8, 1);
                let odd = self.b.ins().band(ones, one);
                self.flip(V::B(odd))
            }
        }
    }
    fn overflow_of(&mut self, rec: &Record) -> V {
        if let Some(over) = rec.over {
            return over;
        }
        let (w, a, b, r) = (rec.width, rec.a, rec.b, rec.r);
        match rec.of {
            FlagsOf::Add | FlagsOf::Adc => {
                let (x, y) = (self.xor(a, r), self.xor(b, r));
                let z = self.and(x, y);
                self.compare(IntCC::SignedLessThan, w, z, V::C(0))
            }
            FlagsOf::Sub | FlagsOf::Sbb => {
                let (x, y) = (self.xor(a, b), self.xor(a, r));
                let z = self.and(x, y);
                self.compare(IntCC::SignedLessThan, w, z, V::C(0))
            }
            FlagsOf::Logic | FlagsOf::Sar => V::C(0),
            FlagsOf::Inc => self.compare(IntCC::Equal, w, r, V::C(1 << (w.bits() - 1))),
            FlagsOf::Dec => self.compare(IntCC::Equal, w, r, V::C((1 << (w.bits() - 1)) - 1)),
            FlagsOf::All | FlagsOf::Partial => self.bit_of(a, 11),
            FlagsOf::Shl => {
                let top = self.compare(IntCC::SignedLessThan, w, r, V::C(0));
                let cf = self.carry_of(rec);
                self.differ(top, cf)
            }
            FlagsOf::Shr => {
                let top = self.bit_of(r, w.bits() - 1);
                let below = self.bit_of(r, w.bits() - 2);
                self.differ(top, below)
            }
        }
    }
    fn adjust_of(&mut self, rec: &Record) -> V {
        match rec.of {
            FlagsOf::Add | FlagsOf::Sub | FlagsOf::Adc | FlagsOf::Sbb => {
                let x = self.xor(rec.a, rec.b);
                let x = self.xor(x, rec.r);
                self.bit_of(x, 4)
            }
            FlagsOf::Logic | FlagsOf::Shl | FlagsOf::Shr | FlagsOf::Sar => V::C(0),
            FlagsOf::Inc => {
                let low = self.and(rec.r, V::C(15));
                self.compare(IntCC::Equal, Width::Dword, low, V::C(0))
            }
            FlagsOf::Dec => {
                let low = self.and(rec.r, V::C(15));
                self.compare(IntCC::Equal, Width::Dword, low, V::C(15))
            }
            FlagsOf::All | FlagsOf::Partial => self.bit_of(rec.a, 4),
        }
    }
    fn less_of(&mut self, rec: &Record) -> V {
        match rec.of {
            FlagsOf::Sub if rec.over.is_none() => self.compare(IntCC::SignedLessThan, rec.width, rec.a, rec.b),
            FlagsOf::Logic if rec.over.is_none() => self.sign_of(rec),
            _ => {
                let (s, o) = (self.sign_of(rec), self.overflow_of(rec));
                self.differ(s, o)
            }
        }
    }
    fn cond_of(&mut self, rec: &Record, cond: Cond) -> V {
        let plain = rec.over.is_none() && rec.cf.is_none();
        // The host's own comparisons.
        let direct = match (rec.of, cond) {
            (FlagsOf::Sub, _) if plain => match cond {
                Cond::B => Some((IntCC::UnsignedLessThan, rec.a, rec.b)),
                Cond::Ae => Some((IntCC::UnsignedGreaterThanOrEqual, rec.a, rec.b)),
                Cond::Be => Some((IntCC::UnsignedLessThanOrEqual, rec.a, rec.b)),
                Cond::A => Some((IntCC::UnsignedGreaterThan, rec.a, rec.b)),
                Cond::L => Some((IntCC::SignedLessThan, rec.a, rec.b)),
                Cond::Ge => Some((IntCC::SignedGreaterThanOrEqual, rec.a, rec.b)),
                Cond::Le => Some((IntCC::SignedLessThanOrEqual, rec.a, rec.b)),
                Cond::G => Some((IntCC::SignedGreaterThan, rec.a, rec.b)),
                _ => None,
            },
            (FlagsOf::Logic, _) if plain => match cond {
                Cond::L => Some((IntCC::SignedLessThan, rec.r, V::C(0))),
                Cond::Ge => Some((IntCC::SignedGreaterThanOrEqual, rec.r, V::C(0))),
                Cond::Le => Some((IntCC::SignedLessThanOrEqual, rec.r, V::C(0))),
                Cond::G => Some((IntCC::SignedGreaterThan, rec.r, V::C(0))),
                _ => None,
            },
            _ => None,
        };
        if let Some((cc, a, b)) = direct {
            return self.compare(cc, rec.width, a, b);
        }
        if rec.of != FlagsOf::All {
            let cc = match cond {
                Cond::E => Some(IntCC::Equal),
                Cond::Ne => Some(IntCC::NotEqual),
                Cond::S => Some(IntCC::SignedLessThan),
                Cond::Ns => Some(IntCC::SignedGreaterThanOrEqual),
                _ => None,
            };
            if let Some(cc) = cc {
                if rec.of == FlagsOf::Sub && plain && matches!(cond, Cond::E | Cond::Ne) {
                    return self.compare(cc, rec.width, rec.a, rec.b);
                }
                return self.compare(cc, rec.width, rec.r, V::C(0));
            }
        }
        let v = match cond {
            Cond::O | Cond::No => self.overflow_of(rec),
            Cond::B | Cond::Ae => self.carry_of(rec),
            Cond::E | Cond::Ne => self.zero_of(rec),
            Cond::Be | Cond::A => {
                let (c, z) = (self.carry_of(rec), self.zero_of(rec));
                self.either(c, z)
            }
            Cond::S | Cond::Ns => self.sign_of(rec),
            Cond::P | Cond::Np => self.parity_of(rec),
            Cond::L | Cond::Ge => self.less_of(rec),
            Cond::Le | Cond::G => {
                let (l, z) = (self.less_of(rec), self.zero_of(rec));
                self.either(l, z)
            }
        };
        if cond as u8 & 1 != 0 { self.flip(v) } else { v }
    }
    fn status_of(&mut self, rec: &Record) -> V {
        let parts = [
            (self.carry_of(rec), 0),
            (self.parity_of(rec), 2),
            (self.adjust_of(rec), 4),
            (self.zero_of(rec), 6),
            (self.sign_of(rec), 7),
            (self.overflow_of(rec), 11),
        ];
        let mut all = V::C(0);
        for (v, n) in parts {
            let v = V::B(self.bit(v));
            let v = V::W(self.w(v));
            let v = self.shl(Width::Dword, v, V::C(n));
            all = self.or(all, v);
        }
        all
    }
    /// Runs `then` only when `cond` is not 0; it changes nothing but memory.
    fn when(&mut self, cond: V, then: impl FnOnce(&mut Self)) {
        let cond = self.test(cond);
        let (yes, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(cond, yes, &[], after, &[]);
        self.b.switch_to_block(yes);
        then(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }

    // --- memory --------------------------------------------------------------------------------

    /// Offset of a memory operand, in 32 bits.
    fn address(&mut self, at: &Address) -> V {
        let mut sum = V::C(at.disp & at.width.mask());
        if at.base != gpr::NONE {
            let base = self.full(at.base);
            sum = if at.disp & 0xffff_ffff == 0 {
                base
            } else {
                self.add(Width::Dword, base, V::C(at.disp & 0xffff_ffff))
            };
        }
        if at.index != gpr::NONE {
            let index = self.full(at.index);
            let index = self.shl(Width::Dword, index, V::C(u64::from(at.shift & 3)));
            sum = self.add(Width::Dword, sum, index);
        }
        if at.width == Width::Word { self.and(sum, V::C(0xffff)) } else { sum }
    }
    fn full(&mut self, index: u8) -> V {
        V::W(self.b.use_var(self.regs[usize::from(index & 7)]))
    }
    /// The host address of `width` bytes at `seg:offset`, after all checks. `value` is what is
    /// going to be stored, for the case that the store is made on the way.
    fn host(&mut self, seg: Seg, flat: bool, offset: V, width: Width, how: How, value: Option<V>) -> Value {
        self.flush_registers();
        let size = width.bytes();
        let write = how != How::Read;
        let offset64 = self.q(offset);
        let (linear, inside) = if flat {
            (offset64, None)
        } else {
            let at = offset_of!(CpuState, seg) + size_of::<Segment>() * seg as usize;
            let field = if write { offset_of!(Segment, write_end) } else { offset_of!(Segment, read_end) };
            let end = self.load64(self.cpu, at + field);
            let n = self.iconst(I64, size);
            let last = self.b.ins().iadd(offset64, n);
            let inside = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, last, end);
            let base = self.load64(self.cpu, at + offset_of!(Segment, base));
            let sum = self.b.ins().iadd(base, offset64);
            let sum = self.b.ins().ireduce(I32, sum);
            (self.b.ins().uextend(I64, sum), Some(inside))
        };
        let (table, generation, function) = match how {
            How::Read => (Tables::READ, Tables::READ_GENERATION, cx::READ),
            How::Write => (Tables::WRITE, Tables::WRITE_GENERATION, cx::WRITE),
            How::Modify => (Tables::WRITE, Tables::WRITE_GENERATION, cx::MODIFY),
        };
        const { assert!(Tables::ENTRY == 16) };
        let eight = self.iconst(I32, 8);
        let at = self.b.ins().ushr(linear, eight);
        let mask = self.iconst(I64, (2 * Tables::HALF as u64 - 1) << 4);
        let mut at = self.b.ins().band(at, mask);
        if self.region.place.mode.has(Mode::USER) {
            let half = self.iconst(I64, (Tables::HALF as u64) << 4);
            at = self.b.ins().bxor(at, half);
        }
        let at = self.b.ins().iadd(self.ctx, at);
        let tag = self.load64(at, table);
        let page = self.load64(at, table + 8);
        let last = if size > 1 {
            let n = self.iconst(I64, size - 1);
            self.b.ins().iadd(linear, n)
        } else {
            linear
        };
        let mask = self.iconst(I64, !0xfff);
        let want = self.b.ins().band(last, mask);
        let generation = self.load64(self.ctx, generation);
        let want = self.b.ins().bor(want, generation);
        let mut ok = self.b.ins().icmp(IntCC::Equal, tag, want);
        if let Some(inside) = inside {
            ok = self.b.ins().band(ok, inside);
        }
        let low = self.iconst(I64, 0xfff);
        let low = self.b.ins().band(linear, low);
        let host = self.b.ins().iadd(page, low);
        let after = self.b.create_block();
        let result = self.b.append_block_param(after, I64);
        let value = match value {
            Some(v) => self.q(v),
            None => offset64,
        };
        let info = seg as u64 | (width as u64) << 8;
        let moment = self.moment();
        let slow =
            self.later_block(Cold::Access { moment, function: function as i32, info, offset: offset64, value, after });
        self.b.ins().brif(ok, after, &[host.into()], slow, &[]);
        self.b.switch_to_block(after);
        result
    }
    fn read_at(&mut self, host: Value, width: Width) -> V {
        match width {
            Width::Byte => V::W(self.b.ins().uload8(I32, guest(), host, 0)),
            Width::Word => V::W(self.b.ins().uload16(I32, guest(), host, 0)),
            Width::Dword => V::W(self.b.ins().load(I32, guest(), host, 0)),
            Width::Qword => V::Q(self.b.ins().load(I64, guest(), host, 0)),
        }
    }
    fn write_at(&mut self, host: Value, width: Width, value: V) {
        match width {
            Width::Byte => {
                let v = self.w(value);
                self.b.ins().istore8(guest(), v, host, 0);
            }
            Width::Word => {
                let v = self.w(value);
                self.b.ins().istore16(guest(), v, host, 0);
            }
            _ => {
                let v = self.sized(width, value);
                self.b.ins().store(guest(), v, host, 0);
            }
        }
    }
    fn store_to(&mut self, seg: Seg, flat: bool, offset: V, width: Width, value: V) {
        let host = self.host(seg, flat, offset, width, How::Write, Some(value));
        self.write_at(host, width, value);
    }
    /// Whether the stack segment is flat.
    fn flat_stack(&self) -> bool {
        self.region.place.mode.has(Mode::FLAT)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Read,
    Write,
    Modify,
}

impl Micro for Emitter<'_> {
    type V = V;

    fn mode(&self) -> Mode {
        self.region.place.mode
    }
    fn imm(&mut self, value: u64) -> V {
        V::C(value)
    }
    fn reg(&mut self, index: u8, width: Width) -> V {
        let v = self.full(index);
        match width {
            Width::Byte | Width::Word => self.and(v, V::C(width.mask())),
            _ => v,
        }
    }
    fn set_reg(&mut self, index: u8, width: Width, value: V) {
        let n = usize::from(index & 7);
        let new = match width {
            Width::Byte | Width::Word => {
                let old = self.full(index);
                let keep = self.and(old, V::C(!width.mask() & 0xffff_ffff));
                self.or(keep, value)
            }
            _ => value,
        };
        let new = self.w(new);
        self.b.def_var(self.regs[n], new);
        self.dirty |= 1 << n;
    }
    fn reg_high(&mut self, index: u8) -> V {
        let v = self.full(index);
        let v = self.shr(Width::Dword, v, V::C(8));
        self.and(v, V::C(0xff))
    }
    fn set_reg_high(&mut self, index: u8, value: V) {
        let old = self.full(index);
        let keep = self.and(old, V::C(0xffff_00ff));
        let value = self.and(value, V::C(0xff));
        let value = self.shl(Width::Dword, value, V::C(8));
        let new = self.or(keep, value);
        self.set_reg(index, Width::Dword, new);
    }
    fn selector(&mut self, index: u8) -> V {
        let at = offset_of!(CpuState, seg) + size_of::<Segment>() * usize::from(index.min(5));
        let at = at + offset_of!(Segment, selector);
        V::W(self.b.ins().uload16(I32, trusted(), self.cpu, at as i32))
    }
    fn add(&mut self, width: Width, a: V, b: V) -> V {
        match (a, b) {
            (V::C(a), V::C(b)) => V::C(a.wrapping_add(b) & width.mask()),
            (V::C(0), v) | (v, V::C(0)) => v,
            _ => {
                let (a, b) = (self.sized(width, a), self.sized(width, b));
                let v = self.b.ins().iadd(a, b);
                self.wrap(width, v)
            }
        }
    }
    fn sub(&mut self, width: Width, a: V, b: V) -> V {
        match (a, b) {
            (V::C(a), V::C(b)) => V::C(a.wrapping_sub(b) & width.mask()),
            (v, V::C(0)) => v,
            _ => {
                let (a, b) = (self.sized(width, a), self.sized(width, b));
                let v = self.b.ins().isub(a, b);
                self.wrap(width, v)
            }
        }
    }
    fn and(&mut self, a: V, b: V) -> V {
        match (a, b) {
            (V::C(a), V::C(b)) => V::C(a & b),
            (V::C(0), _) | (_, V::C(0)) => V::C(0),
            // Values are zero-extended: a constant cuts a wide one down.
            (V::Q(q), V::C(c)) | (V::C(c), V::Q(q)) if c > 0xffff_ffff => {
                let c = self.iconst(I64, c);
                V::Q(self.b.ins().band(q, c))
            }
            (V::Q(a), V::Q(b)) => V::Q(self.b.ins().band(a, b)),
            _ => {
                let (a, b) = (self.w(a), self.w(b));
                V::W(self.b.ins().band(a, b))
            }
        }
    }
    fn or(&mut self, a: V, b: V) -> V {
        match (a, b) {
            (V::C(a), V::C(b)) => V::C(a | b),
            (V::C(0), v) | (v, V::C(0)) => v,
            (V::Q(_), _) | (_, V::Q(_)) => {
                let (a, b) = (self.q(a), self.q(b));
                V::Q(self.b.ins().bor(a, b))
            }
            _ => {
                let (a, b) = (self.w(a), self.w(b));
                V::W(self.b.ins().bor(a, b))
            }
        }
    }
    fn xor(&mut self, a: V, b: V) -> V {
        match (a, b) {
            (V::C(a), V::C(b)) => V::C(a ^ b),
            (V::C(0), v) | (v, V::C(0)) => v,
            (V::Q(_), _) | (_, V::Q(_)) => {
                let (a, b) = (self.q(a), self.q(b));
                V::Q(self.b.ins().bxor(a, b))
            }
            _ if a == b => V::C(0),
            _ => {
                let (a, b) = (self.w(a), self.w(b));
                V::W(self.b.ins().bxor(a, b))
            }
        }
    }
    fn not(&mut self, width: Width, a: V) -> V {
        match a {
            V::C(a) => V::C(!a & width.mask()),
            _ => {
                let v = self.sized(width, a);
                let v = self.b.ins().bnot(v);
                self.wrap(width, v)
            }
        }
    }
    fn shl(&mut self, width: Width, a: V, count: V) -> V {
        match (a, count) {
            (V::C(a), V::C(n)) => V::C(a << (n & 63) & width.mask()),
            (v, V::C(0)) if width != Width::Qword => v,
            (_, V::C(n)) if n & 63 >= u64::from(width.bits()) => V::C(0),
            (_, V::C(n)) => {
                let v = self.sized(width, a);
                let n = self.iconst(I32, n & 63);
                let v = self.b.ins().ishl(v, n);
                self.wrap(width, v)
            }
            _ => {
                // Counts up to 63, as on 64 bits.
                let (v, n) = (self.q(a), self.w(count));
                let v = self.b.ins().ishl(v, n);
                if width == Width::Qword {
                    return V::Q(v);
                }
                let v = self.b.ins().ireduce(I32, v);
                self.wrap(width, v)
            }
        }
    }
    fn shr(&mut self, _width: Width, a: V, count: V) -> V {
        match (a, count) {
            (V::C(a), V::C(n)) => V::C(a >> (n & 63)),
            (v, V::C(0)) => v,
            (V::Q(v), V::C(n)) => {
                let n = self.iconst(I32, n & 63);
                V::Q(self.b.ins().ushr(v, n))
            }
            (_, V::C(n)) if n & 63 >= 32 => V::C(0),
            (_, V::C(n)) => {
                let v = self.w(a);
                let n = self.iconst(I32, n & 63);
                V::W(self.b.ins().ushr(v, n))
            }
            _ => {
                let wide = matches!(a, V::Q(_)) || matches!(a, V::C(c) if c > 0xffff_ffff);
                let (v, n) = (self.q(a), self.w(count));
                let v = self.b.ins().ushr(v, n);
                if wide { V::Q(v) } else { V::W(self.b.ins().ireduce(I32, v)) }
            }
        }
    }
    fn sar(&mut self, width: Width, a: V, count: V) -> V {
        if let (V::C(a), V::C(n)) = (a, count) {
            return V::C((width.sign_extend(a) >> (n & 63)) as u64 & width.mask());
        }
        if width == Width::Dword
            && let V::C(n) = count
        {
            let v = self.w(a);
            let n = self.iconst(I32, (n & 63).min(31));
            return V::W(self.b.ins().sshr(v, n));
        }
        let v = self.sign_extend(width, Width::Qword, a);
        let (v, n) = (self.q(v), self.w(count));
        let v = self.b.ins().sshr(v, n);
        if width == Width::Qword {
            return V::Q(v);
        }
        let v = self.b.ins().ireduce(I32, v);
        self.wrap(width, v)
    }
    fn rol(&mut self, width: Width, a: V, count: V) -> V {
        let v = self.exact(width, a);
        let n = self.w(count);
        let v = self.b.ins().rotl(v, n);
        match width {
            Width::Qword => V::Q(v),
            Width::Dword => V::W(v),
            _ => V::W(self.b.ins().uextend(I32, v)),
        }
    }
    fn mul(&mut self, width: Width, a: V, b: V) -> V {
        let (a, b) = (self.sized(width, a), self.sized(width, b));
        let v = self.b.ins().imul(a, b);
        self.wrap(width, v)
    }
    fn mul_high(&mut self, width: Width, a: V, b: V) -> V {
        match width {
            Width::Qword => {
                let (a, b) = (self.q(a), self.q(b));
                V::Q(self.b.ins().umulhi(a, b))
            }
            _ => {
                let (a, b) = (self.q(a), self.q(b));
                let v = self.b.ins().imul(a, b);
                let n = self.iconst(I32, u64::from(width.bits()));
                let v = self.b.ins().ushr(v, n);
                V::W(self.b.ins().ireduce(I32, v))
            }
        }
    }
    fn mul_high_signed(&mut self, width: Width, a: V, b: V) -> V {
        if width == Width::Qword {
            let (a, b) = (self.q(a), self.q(b));
            return V::Q(self.b.ins().smulhi(a, b));
        }
        let (a, b) = (self.sign_extend(width, Width::Qword, a), self.sign_extend(width, Width::Qword, b));
        let (a, b) = (self.q(a), self.q(b));
        let v = self.b.ins().imul(a, b);
        let n = self.iconst(I32, u64::from(width.bits()));
        let v = self.b.ins().ushr(v, n);
        let v = self.b.ins().ireduce(I32, v);
        self.wrap(width, v)
    }
    fn sign_extend(&mut self, from: Width, to: Width, a: V) -> V {
        if let V::C(a) = a {
            return V::C(from.sign_extend(a) as u64 & to.mask());
        }
        if from == Width::Qword {
            return self.truncate(to, a);
        }
        if from == Width::Dword {
            let v = self.w(a);
            return if to == Width::Qword { V::Q(self.b.ins().sextend(I64, v)) } else { self.wrap(to, v) };
        }
        let v = self.exact(from, a);
        if to == Width::Qword {
            return V::Q(self.b.ins().sextend(I64, v));
        }
        let v = self.b.ins().sextend(I32, v);
        self.wrap(to, v)
    }
    fn truncate(&mut self, to: Width, a: V) -> V {
        match (to, a) {
            (_, V::C(a)) => V::C(a & to.mask()),
            (Width::Qword, v) => v,
            (Width::Dword, V::Q(_)) => V::W(self.w(a)),
            (Width::Dword, v) => v,
            _ => {
                let v = self.w(a);
                self.wrap(to, v)
            }
        }
    }
    fn byte_swap(&mut self, width: Width, a: V) -> V {
        match width {
            Width::Qword => {
                let v = self.q(a);
                V::Q(self.b.ins().bswap(v))
            }
            Width::Dword => {
                let v = self.w(a);
                V::W(self.b.ins().bswap(v))
            }
            _ => V::C(0),
        }
    }
    fn equal(&mut self, a: V, b: V) -> V {
        match (a, b) {
            (V::C(a), V::C(b)) => V::C(u64::from(a == b)),
            (V::Q(_), _) | (_, V::Q(_)) => self.compare(IntCC::Equal, Width::Qword, a, b),
            _ => self.compare(IntCC::Equal, Width::Dword, a, b),
        }
    }
    fn select(&mut self, cond: V, yes: V, no: V) -> V {
        if let V::C(c) = cond {
            return if c != 0 { yes } else { no };
        }
        if yes == no {
            return yes;
        }
        let cond = self.test(cond);
        if matches!(yes, V::Q(_)) || matches!(no, V::Q(_)) {
            let (y, n) = (self.q(yes), self.q(no));
            return V::Q(self.b.ins().select(cond, y, n));
        }
        let (y, n) = (self.w(yes), self.w(no));
        V::W(self.b.ins().select(cond, y, n))
    }
    fn load(&mut self, at: &Address, width: Width) -> Result<V, Fault> {
        let offset = self.address(at);
        let host = self.host(at.seg, at.flat, offset, width, How::Read, None);
        Ok(self.read_at(host, width))
    }
    fn load_to_modify(&mut self, at: &Address, width: Width) -> Result<V, Fault> {
        let offset = self.address(at);
        let host = self.host(at.seg, at.flat, offset, width, How::Modify, None);
        self.modified = Some(host);
        Ok(self.read_at(host, width))
    }
    fn store(&mut self, at: &Address, width: Width, value: V) -> Result<(), Fault> {
        let offset = self.address(at);
        let Some(host) = self.modified.take() else {
            self.store_to(at.seg, at.flat, offset, width, value);
            return Ok(());
        };
        // The load has checked everything, unless it had to go the long way.
        let bounce = self.iconst(I64, cx::BOUNCE as u64);
        let bounce = self.b.ins().iadd(self.ctx, bounce);
        let slowly = self.b.ins().icmp(IntCC::Equal, host, bounce);
        let after = self.b.create_block();
        let place = self.b.append_block_param(after, I64);
        let info = at.seg as u64 | (width as u64) << 8;
        let moment = self.moment();
        let (offset, wide) = (self.q(offset), self.q(value));
        let cold = Cold::Access { moment, function: cx::WRITE as i32, info, offset, value: wide, after };
        let slow = self.later_block(cold);
        self.b.ins().brif(slowly, slow, &[], after, &[host.into()]);
        self.b.switch_to_block(after);
        self.write_at(place, width, value);
        Ok(())
    }
    fn offset(&mut self, at: &Address) -> V {
        self.address(at)
    }
    fn load_stack(&mut self, offset: V, width: Width) -> Result<V, Fault> {
        let host = self.host(Seg::Ss, self.flat_stack(), offset, width, How::Read, None);
        Ok(self.read_at(host, width))
    }
    fn store_stack(&mut self, offset: V, width: Width, value: V) -> Result<(), Fault> {
        self.store_to(Seg::Ss, self.flat_stack(), offset, width, value);
        Ok(())
    }
    fn flags(&mut self, of: FlagsOf, width: Width, a: V, b: V, r: V) {
        let cf = if matches!(of, FlagsOf::Inc | FlagsOf::Dec) { Some(self.carry()) } else { None };
        self.flags = Flags::Values(Record { of, width, a, b, r, cf, over: None });
    }
    fn flags_if(&mut self, cond: V, of: FlagsOf, width: Width, a: V, b: V, r: V) {
        match cond {
            V::C(0) => {}
            V::C(_) => self.flags(of, width, a, b, r),
            _ if self.live == 0 => {}
            _ => {
                self.flush_flags();
                let rec = Record { of, width, a, b, r, cf: None, over: None };
                self.when(cond, |e| e.store_record(&rec));
            }
        }
    }
    fn cond(&mut self, cond: Cond) -> V {
        match self.flags {
            Flags::Values(rec) => self.cond_of(&rec, cond),
            Flags::Memory => match cond {
                Cond::B => self.carry(),
                Cond::Ae => {
                    let c = self.carry();
                    self.flip(c)
                }
                _ => {
                    let v = self.call_simple(cx::COND, cond as u64);
                    V::B(self.b.ins().ireduce(I8, v))
                }
            },
        }
    }
    fn status(&mut self) -> V {
        match self.flags {
            Flags::Values(rec) => self.status_of(&rec),
            Flags::Memory => {
                let v = self.call_simple(cx::STATUS, 0);
                V::W(self.b.ins().ireduce(I32, v))
            }
        }
    }
    fn set_carry(&mut self, cf: V) {
        let cf = V::B(self.bit(cf));
        match self.flags {
            Flags::Values(mut rec) => {
                if rec.of == FlagsOf::Shl && rec.over.is_none() {
                    rec.over = Some(self.overflow_of(&rec));
                }
                rec.cf = Some(cf);
                self.flags = Flags::Values(rec);
            }
            Flags::Memory => {
                // OF of a shift to the left follows from its CF: the engine sees to it.
                let at = Self::lazy(offset_of!(LazyFlags, of)) as i32;
                let of = self.b.ins().load(I8, trusted(), self.cpu, at);
                let shl = self.iconst(I8, FlagsOf::Shl as u64);
                let is_shl = self.b.ins().icmp(IntCC::Equal, of, shl);
                self.when(V::B(is_shl), |e| {
                    e.call_simple(cx::SETTLE, 0);
                });
                let cf = self.bit(cf);
                self.store_at(cf, self.cpu, Self::lazy(offset_of!(LazyFlags, cf)));
            }
        }
    }
    fn set_carry_overflow_if(&mut self, cond: V, cf: V, of: V) {
        match (cond, self.flags) {
            (V::C(0), _) => {}
            (V::C(_), Flags::Values(mut rec)) => {
                rec.cf = Some(V::B(self.bit(cf)));
                rec.over = Some(V::B(self.bit(of)));
                self.flags = Flags::Values(rec);
            }
            _ if self.live == 0 => {}
            _ => {
                self.flush_flags();
                self.when(cond, |e| {
                    let (cf, of) = (e.bit(cf), e.bit(of));
                    e.store_at(cf, e.cpu, Self::lazy(offset_of!(LazyFlags, cf)));
                    let two = e.iconst(I8, 2);
                    let of = e.b.ins().bor(of, two);
                    e.store_at(of, e.cpu, Self::lazy(offset_of!(LazyFlags, over)));
                });
            }
        }
    }
    fn set_direction(&mut self, down: bool) {
        let at = offset_of!(CpuState, system_flags);
        let old = self.load64(self.cpu, at);
        let keep = self.iconst(I64, !bits::DF);
        let mut new = self.b.ins().band(old, keep);
        if down {
            let df = self.iconst(I64, bits::DF);
            new = self.b.ins().bor(new, df);
        }
        self.store_at(new, self.cpu, at);
    }
    fn jump(&mut self, _i: &Insn, target: V) -> Result<(), Fault> {
        self.check_target(target)?;
        self.end = End::Jump(target);
        Ok(())
    }
    fn branch(&mut self, _i: &Insn, cond: V) -> Result<(), Fault> {
        self.end = End::Branch(cond);
        Ok(())
    }
    fn goto(&mut self, _i: &Insn) -> Result<(), Fault> {
        self.end = End::Goto;
        Ok(())
    }
    fn check_target(&mut self, target: V) -> Result<(), Fault> {
        if self.region.place.mode.has(Mode::FLAT_CODE) {
            return Ok(());
        }
        let limit = u64::from(self.region.place.limit);
        let moment = self.moment();
        let ok = match target {
            V::C(target) if target <= limit => return Ok(()),
            V::C(_) => self.iconst(I8, 0),
            _ => {
                let (t, l) = (self.q(target), self.iconst(I64, limit));
                self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, t, l)
            }
        };
        let go = self.b.create_block();
        let bail = self.later_block(Cold::Bail { moment });
        self.b.ins().brif(ok, go, &[], bail, &[]);
        self.b.switch_to_block(go);
        Ok(())
    }
}
