//! A region as Cranelift IR: the instance of [`Micro`] whose values are names of values to come.

use crate::compile::Unit;
use crate::context::{self as cx, Op, Pool, flags as kinds};
use crate::plan::{Need, Plan, Replaced};
use crate::region::{Edge, Region};
use crate::sse::{self, Vectors};
use crate::survey::{CARRY, Span};
use cpu::core::{Env, Fault};
use cpu::flags::{Cond, FlagsOf, LazyFlags, bits};
use cpu::insn::{Address, Insn, Mnemonic, OperandKind, Rep};
use cpu::memory::PAGE;
use cpu::micro::Micro;
use cpu::semantics::{self, Opcode};
use cpu::state::{CpuState, Mode, Seg, Segment, Width, gpr};
use cpu::tlb::Tables;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Function, InstBuilder, MemFlagsData, SigRef, Signature, Type, Value,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

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
    /// CF is the one in memory.
    carry_stays: bool,
    /// The flags are those of a comparison of these two numbers, neither of which is a NaN.
    float: Option<(Value, Value)>,
}

/// Where the status flags are.
#[derive(Clone, Copy)]
enum Flags {
    /// In [`CpuState::lazy`] or, if they have a kind, in the words. With `carry`, [`LazyFlags::cf`] is CF anyhow.
    Memory {
        carry: bool,
    },
    Values(Record),
    /// The kind is in a variable; if that is 0 they are in memory. With `carry` as above.
    Named {
        carry: bool,
    },
}

/// All that an exit needs to know to make the state in memory complete.
#[derive(Clone, Copy)]
struct Moment {
    flags: Flags,
    dirty: u32,
    /// The instruction at hand.
    ip: u64,
    /// What is to be given back to the budget.
    later: i64,
}

/// An address as an unknown part and a constant: two addresses with the same unknown part lie
/// together.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    base: Option<Value>,
    index: Option<Value>,
    shift: u8,
    offset: u32,
}

/// Bytes of guest memory that have been checked together.
#[derive(Clone, Copy)]
struct Group {
    /// Where they begin.
    key: Key,
    bytes: u32,
    write: bool,
    /// Host address of the first, 0 when the check has failed.
    host: Value,
}

/// Where an access goes: a host address and a distance from it.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) at: Value,
    pub(crate) disp: i32,
}

/// What is known at a point of the code that is reached in one way only.
#[derive(Clone)]
pub(crate) struct Path {
    flags: Flags,
    dirty: u32,
    /// Instructions that are not yet taken off the budget's value, which covers them; less than 0: how many were taken
    /// off before they were due.
    debt: i64,
    groups: Vec<Group>,
    /// Registers whose variables do not hold their values: those are in memory.
    stale: u32,
    /// Where accesses that were left end, with the flags of now.
    left: Option<Block>,
    pub(crate) vectors: Vectors,
}

impl Path {
    fn start(dirty: u32) -> Path {
        Path {
            flags: Flags::Memory { carry: false },
            dirty,
            debt: 0,
            groups: Vec::new(),
            stale: 0,
            left: None,
            vectors: Vectors::default(),
        }
    }
}

/// How a block ends.
enum End {
    Fall,
    Goto,
    Branch(V),
    Jump(V),
}

/// Most constants that are in registers for a whole region.
const MAX_CONSTANTS: usize = 4;

/// Numbers in the loops of a region that a host with instructions of 32 bits needs two for, the most frequent first.
fn loop_constants(region: &Region) -> Vec<u32> {
    if !cfg!(target_arch = "aarch64") {
        return Vec::new();
    }
    let blocks = &region.blocks;
    let mut in_loop = vec![false; blocks.len()];
    for (n, block) in blocks.iter().enumerate() {
        for edge in [block.taken, block.fall] {
            if let Edge::Block(to) = edge
                && to <= n
            {
                in_loop[to..=n].fill(true);
            }
        }
    }
    let is_long = |c: u32| {
        let is_short = |c: u32| c < 0x1_0000 || c & 0xffff == 0;
        !is_short(c) && !is_short(!c)
    };
    let mut uses: Vec<(u32, usize)> = Vec::new();
    for step in blocks.iter().zip(in_loop).filter(|(_, is)| *is).flat_map(|(block, _)| &block.steps) {
        let i = &step.insn;
        let jumps = matches!(i.op, Opcode::Jcc | Opcode::JmpNear | Opcode::CallNear | Opcode::Helper);
        let has_imm = !jumps && i.ops.iter().any(|o| o.kind == OperandKind::Imm) && i.width == Width::Dword;
        let has_disp = i.mem.base != gpr::NONE || i.mem.index != gpr::NONE;
        for (is, c) in [(has_imm, i.imm as u32), (has_disp, i.mem.disp as u32)] {
            if is && is_long(c) {
                match uses.iter_mut().find(|(known, _)| *known == c) {
                    Some((_, times)) => *times += 1,
                    None => uses.push((c, 1)),
                }
            }
        }
    }
    uses.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    uses.into_iter().take(MAX_CONSTANTS).map(|(c, _)| c).collect()
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

pub(crate) fn trusted() -> MemFlagsData {
    MemFlagsData::trusted()
}
/// Guest memory: never traps, but need not be aligned.
pub(crate) fn guest() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Translates regions.
pub(crate) struct Emitter<'a> {
    pub(crate) b: FunctionBuilder<'a>,
    region: &'a Region,
    /// The helpers' view of the instructions, block by block.
    ops: &'a [Vec<Op>],
    /// Addresses of the region's exits.
    slots: &'a [usize],
    /// Addresses of the validity words of the region's pages.
    cells: &'a [usize],
    /// Numbers that kinds of flags refer to, and those that are there.
    pool: &'a Pool,
    pooled: Vec<u32>,
    pub(crate) ctx: Value,
    pub(crate) cpu: Value,
    regs: [Variable; 8],
    rem: Variable,
    /// The kind of flags.
    kind: Variable,
    /// Where the entries for reading and writing begin, and their second halves.
    tables: [[Value; 2]; 2],
    pub(crate) path: Path,
    blocks: Vec<Block>,
    plan: Plan,
    /// With what a block of one predecessor begins.
    inherited: Vec<Option<Path>>,
    emitted: Vec<bool>,
    /// Numbers that loops need and no instruction of the host holds.
    constants: HashMap<u32, Value>,
    /// Values that are others plus a constant.
    derived: HashMap<Value, (Value, u32)>,
    /// Which of the block's accesses comes next.
    access_number: usize,
    block_number: usize,
    end: End,
    insn_ip: u64,
    later: i64,
    live: u8,
    /// Where the operand is that the instruction at hand modifies.
    modified: Option<Host>,
    tail: SigRef,
    access: SigRef,
    helper: SigRef,
    simple: SigRef,
}

impl<'a> Emitter<'a> {
    /// Fills `func` with the code of `unit`.
    pub(crate) fn emit(
        func: &'a mut Function,
        context: &'a mut FunctionBuilderContext,
        unit: &'a Unit,
        target: TargetFrontendConfig,
    ) {
        let Unit { region, ops, slots, cells, pool } = unit;
        func.signature = tail_signature();
        let mut b = FunctionBuilder::new(func, context);
        let regs = std::array::from_fn(|_| b.declare_var(I32));
        let rem = b.declare_var(I64);
        let kind = b.declare_var(I32);
        let tail = b.import_signature(tail_signature());
        let mut access = Signature::new(CallConv::PreserveAll);
        for _ in 0..5 {
            access.params.push(AbiParam::new(I64));
        }
        let access = b.import_signature(access);
        let mut helper = Signature::new(target.default_call_conv);
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
            pool,
            pooled: Vec::new(),
            ctx,
            cpu,
            regs,
            rem,
            kind,
            tables: [[ctx; 2]; 2],
            path: Path::start(0),
            plan: Plan::new(region),
            inherited: vec![None; blocks.len()],
            emitted: vec![false; blocks.len()],
            blocks,
            constants: HashMap::new(),
            derived: HashMap::new(),
            access_number: 0,
            block_number: 0,
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
        e.b.seal_block(entry);
        if e.plan.replaced.iter().any(Option::is_some) {
            let zero = e.iconst(I32, 0);
            e.b.def_var(kind, zero);
        }
        e.b.def_var(rem, rem_in);
        e.find_tables();
        for c in loop_constants(region) {
            let v = e.iconst(I32, u64::from(c));
            e.constants.insert(c, v);
        }
        e.dispatch(number);
        for n in 0..region.blocks.len() {
            if e.plan.reached[n] {
                e.block(n);
            }
        }
        e.b.seal_all_blocks();
        e.b.finalize(target);
    }

    /// Gets the addresses of the tables that the region looks into.
    fn find_tables(&mut self) {
        let spans = || self.region.blocks.iter().flat_map(|block| &block.spans);
        let (reads, writes) = (spans().any(|s| !s.write), spans().any(|s| s.write));
        let (mut from, mut base) = (0, self.ctx);
        for (n, is_used) in [(0, reads), (1, writes)] {
            if is_used {
                let table = self.region.tlb(n == 1);
                let first = self.b.ins().iadd_imm_s(base, (table - from) as i64);
                (from, base) = (table, first);
                let second = self.b.ins().iadd_imm_s(first, 8);
                self.tables[n] = [first, second];
            }
        }
    }
    /// To the block with the number that the caller has given.
    fn dispatch(&mut self, number: Value) {
        let entries = &self.region.entries;
        for (n, &entry) in entries.iter().enumerate() {
            if n + 1 < entries.len() {
                let (here, other) = (self.b.create_block(), self.b.create_block());
                let this = self.iconst(I64, n as u64);
                let is_this = self.b.ins().icmp(IntCC::Equal, number, this);
                self.b.ins().brif(is_this, here, &[], other, &[]);
                self.open(here);
                self.enter(entry);
                self.open(other);
            } else {
                self.enter(entry);
            }
        }
    }
    fn enter(&mut self, entry: usize) {
        self.path = Path::start(0);
        self.path.stale = 0xff;
        if let Some(second) = self.region.blocks[entry].second {
            self.check_page(second, self.region.blocks[entry].ip);
        }
        self.go_to(entry);
    }

    // --- small things --------------------------------------------------------------------------

    /// Goes on in `block`, to which no more ways will lead.
    pub(crate) fn open(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
    }
    /// The same, for code that is rarely run.
    pub(crate) fn open_cold(&mut self, block: Block) {
        self.open(block);
        self.b.set_cold_block(block);
    }
    pub(crate) fn iconst(&mut self, ty: Type, value: u64) -> Value {
        let value = match ty {
            I8 => value as u8 as i64,
            I16 => value as u16 as i64,
            I32 => value as u32 as i64,
            _ => value as i64,
        };
        self.b.ins().iconst(ty, value)
    }
    /// The same value, for a call out of the way: what wants arguments in certain registers must not move the value where
    /// it is used otherwise.
    fn copy(&mut self, v: Value) -> Value {
        self.b.ins().iadd_imm_s(v, 0)
    }
    pub(crate) fn load64(&mut self, base: Value, offset: usize) -> Value {
        self.b.ins().load(I64, trusted(), base, offset as i32)
    }
    pub(crate) fn store_at(&mut self, value: Value, base: Value, offset: usize) {
        self.b.ins().store(trusted(), value, base, offset as i32);
    }
    /// In 32 bits.
    pub(crate) fn w(&mut self, v: V) -> Value {
        match v {
            V::C(c) => match self.constants.get(&(c as u32)) {
                Some(&v) => v,
                None => self.iconst(I32, c),
            },
            V::W(v) => v,
            V::Q(v) => self.b.ins().ireduce(I32, v),
            V::B(v) => self.b.ins().uextend(I32, v),
        }
    }
    /// In 64 bits.
    pub(crate) fn q(&mut self, v: V) -> Value {
        match v {
            V::C(c) => self.iconst(I64, c),
            V::W(v) | V::B(v) => self.b.ins().uextend(I64, v),
            V::Q(v) => v,
        }
    }
    /// 0 or 1 in 8 bits, of a value that is 0 or 1 in its lowest bit.
    pub(crate) fn bit(&mut self, v: V) -> Value {
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
    pub(crate) fn compare(&mut self, cc: IntCC, width: Width, a: V, b: V) -> V {
        let signed = cc.unsigned() != cc;
        // Values are zero-extended.
        let width = if width < Width::Dword && !signed { Width::Dword } else { width };
        let (a, b) = (self.exact(width, a), self.exact(width, b));
        V::B(self.b.ins().icmp(cc, a, b))
    }
    fn is_zero(&mut self, width: Width, v: V) -> V {
        self.compare(IntCC::Equal, width, v, V::C(0))
    }
    pub(crate) fn flip(&mut self, v: V) -> V {
        match v {
            V::C(c) => V::C(c & 1 ^ 1),
            _ => {
                let v = self.bit(v);
                let one = self.iconst(I8, 1);
                V::B(self.b.ins().bxor(v, one))
            }
        }
    }
    pub(crate) fn either(&mut self, a: V, b: V) -> V {
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
        self.path.stale = 0xff;
        self.path.dirty = 0;
    }
    /// Gets those registers of `mask` that have to come from memory.
    fn refresh(&mut self, mask: u32) {
        let mask = mask & self.path.stale;
        for n in 0..8 {
            if mask >> n & 1 != 0 {
                let v = self.b.ins().load(I32, trusted(), self.cpu, Self::gpr_offset(n) as i32);
                self.b.def_var(self.regs[n], v);
            }
        }
        self.path.stale &= !mask;
    }
    fn store_registers(&mut self, mask: u32) {
        for n in 0..8 {
            if mask >> n & 1 != 0 {
                let v = self.b.use_var(self.regs[n]);
                self.store_at(v, self.cpu, Self::gpr_offset(n));
            }
        }
    }
    pub(crate) fn flush_registers(&mut self) {
        self.store_registers(self.path.dirty);
        self.path.dirty = 0;
    }
    fn lazy(field: usize) -> usize {
        offset_of!(CpuState, lazy) + field
    }
    /// Writes a record to memory.
    fn store_record(&mut self, rec: &Record) {
        let kind = rec.of as u64 | (rec.width as u64) << 8;
        let cf = if rec.carry_stays { V::C(0) } else { self.carry_of(rec) };
        let mut rec = *rec;
        if rec.float.is_some() {
            let zero = self.zero_of(&rec);
            let zero = V::W(self.w(zero));
            rec.a = self.shl(Width::Dword, zero, V::C(6));
        }
        let mut word = kind;
        if let V::C(c) = cf {
            word |= (c & 1) << 24;
        }
        if let Some(V::C(c)) = rec.over {
            word |= (2 | c & 1) << 16;
        }
        if rec.carry_stays {
            const { assert!(offset_of!(LazyFlags, width) == 1 && offset_of!(LazyFlags, over) == 2) };
            let (of, over) = (self.iconst(I16, word & 0xffff), self.iconst(I8, word >> 16 & 0xff));
            self.store_at(of, self.cpu, Self::lazy(offset_of!(LazyFlags, of)));
            self.store_at(over, self.cpu, Self::lazy(offset_of!(LazyFlags, over)));
        } else {
            let word = self.iconst(I32, word);
            self.store_at(word, self.cpu, Self::lazy(offset_of!(LazyFlags, of)));
        }
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
        self.forget_kind();
    }
    /// The flags are in [`CpuState::lazy`].
    fn forget_kind(&mut self) {
        let none = self.iconst(I32, 0);
        self.store_at(none, self.ctx, cx::FLAG_KIND);
    }
    /// The kind of a record that has one, and its operands.
    fn kind_of(rec: &Record) -> Option<(u32, V, Option<V>)> {
        if rec.cf.is_some() || rec.over.is_some() || rec.carry_stays || rec.float.is_some() {
            return None;
        }
        let kind = kinds::kind(rec.of, rec.width)?;
        Some(if rec.of == FlagsOf::Logic { (kind, rec.r, None) } else { (kind, rec.a, Some(rec.b)) })
    }
    fn store_operand(&mut self, v: V, at: usize) {
        let v = self.w(v);
        self.store_at(v, self.ctx, at);
    }
    /// Leaves a record to the engine, which completes it when somebody asks.
    fn store_flags(&mut self, rec: &Record) {
        let Some((mut kind, x, y)) = Self::kind_of(rec) else {
            self.store_record(rec);
            return;
        };
        self.store_operand(x, cx::FLAG_A);
        match y {
            Some(V::C(c)) if kinds::small(c as u32).is_some() => kind |= kinds::small(c as u32).unwrap_or(0),
            Some(y) => self.store_operand(y, cx::FLAG_B),
            None => {}
        }
        let kind = self.iconst(I32, u64::from(kind));
        self.store_at(kind, self.ctx, cx::FLAG_KIND);
    }
    /// A guest register that has this value, and keeps it unless it is one of `but`.
    fn register_of(&mut self, v: V, but: u32) -> Option<u32> {
        let V::W(v) = v else { return None };
        let known = !self.path.stale & !but & 0xff;
        (0..8).find(|&n| known >> n & 1 != 0 && self.b.use_var(self.regs[n as usize]) == v)
    }
    /// Flags on the way to a block that needs no more than their names.
    fn name_flags(&mut self, replaced: Replaced) {
        let (clobbered, carry) = (replaced.written, replaced.keeps_carry);
        let (mut kind, mut has_name) = (0, false);
        match self.path.flags {
            Flags::Values(rec) => {
                if carry {
                    self.store_carry(&rec);
                }
                match Self::kind_of(&rec) {
                    Some((all, x, y)) => {
                        has_name = true;
                        kind = all;
                        let by_result = matches!(rec.of, FlagsOf::Add | FlagsOf::Sub);
                        match (self.register_of(x, clobbered), by_result.then(|| self.register_of(rec.r, clobbered))) {
                            (Some(n), _) => kind |= kinds::X_IN_REGISTER | n << kinds::X,
                            (None, Some(Some(n))) => kind |= kinds::X_IN_REGISTER | n << kinds::X | kinds::RESULT,
                            _ => self.store_operand(x, cx::FLAG_A),
                        }
                        let small = match y {
                            Some(V::C(c)) => kinds::small(c as u32).or_else(|| self.pooled(c as u32)),
                            Some(y) => self
                                .register_of(y, clobbered)
                                .map(|n| kinds::Y_IN_REGISTER << kinds::Y_HOW | n << kinds::Y),
                            None => Some(0),
                        };
                        match (small, y) {
                            (Some(bits), _) => kind |= bits,
                            (None, Some(y)) => self.store_operand(y, cx::FLAG_B),
                            (None, None) => {}
                        }
                    }
                    None => self.store_record(&rec),
                }
            }
            _ => self.flush_flags(carry),
        }
        debug_assert!(has_name || kind == 0);
        let kind = self.iconst(I32, u64::from(kind));
        self.b.def_var(self.kind, kind);
    }
    /// A number as part of a kind, by its place in the region's pool.
    fn pooled(&mut self, number: u32) -> Option<u32> {
        let known = self.pooled.iter().position(|n| *n == number);
        let at = match known {
            Some(at) => at,
            None => {
                self.pool.get(self.pooled.len())?.store(number, Ordering::Relaxed);
                self.pooled.push(number);
                self.pooled.len() - 1
            }
        };
        Some(kinds::Y_IN_POOL << kinds::Y_HOW | (at as u32) << kinds::Y)
    }
    /// CF to where INC and DEC leave it.
    fn store_carry(&mut self, rec: &Record) {
        if !rec.carry_stays {
            let cf = self.carry_of(rec);
            let cf = self.bit(cf);
            self.store_at(cf, self.cpu, Self::lazy(offset_of!(LazyFlags, cf)));
        }
    }
    /// Flags that have a name to the words, for the engine that is about to go on.
    fn store_named(&mut self, kind: Value) {
        let pool = self.iconst(I64, std::ptr::from_ref(self.pool) as u64);
        self.store_at(pool, self.ctx, cx::FLAG_POOL);
        let old = self.b.ins().load(I32, trusted(), self.ctx, cx::FLAG_KIND as i32);
        let kind = self.b.ins().select(kind, kind, old);
        self.store_at(kind, self.ctx, cx::FLAG_KIND);
    }
    /// Flags in memory are in [`CpuState::lazy`].
    fn settle(&mut self) {
        match self.path.flags {
            Flags::Memory { carry: true } | Flags::Values(_) => return,
            Flags::Memory { .. } => {}
            Flags::Named { .. } => {
                self.flush_registers();
                let kind = self.b.use_var(self.kind);
                self.store_named(kind);
            }
        }
        self.settle_words();
        self.path.left = None;
        self.path.flags = Flags::Memory { carry: true };
    }
    /// Flags in memory are in [`CpuState::lazy`], and nothing is in the words.
    fn settle_in_full(&mut self) {
        match self.path.flags {
            Flags::Values(_) => {}
            Flags::Memory { .. } => self.settle_words(),
            Flags::Named { .. } => self.settle(),
        }
        if let Flags::Memory { .. } = self.path.flags {
            self.path.flags = Flags::Memory { carry: true };
        }
    }
    fn settle_words(&mut self) {
        let kind = self.b.ins().load(I32, trusted(), self.ctx, cx::FLAG_KIND as i32);
        let (pending, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(kind, pending, &[], after, &[]);
        self.open_cold(pending);
        self.call_simple(cx::RECORD, 0);
        self.b.ins().jump(after, &[]);
        self.open(after);
    }
    /// The flags of a comparison of two numbers that are no NaNs.
    pub(crate) fn set_float_flags(&mut self, a: Value, b: Value) {
        let none = V::C(0);
        let of = FlagsOf::All;
        let rec = Record {
            of,
            width: Width::Dword,
            a: none,
            b: none,
            r: none,
            cf: None,
            over: None,
            carry_stays: false,
            float: Some((a, b)),
        };
        self.path.left = None;
        self.path.flags = Flags::Values(rec);
    }
    /// Flags to memory, with `carry` CF where INC and DEC leave it.
    fn flush_flags(&mut self, carry: bool) {
        match self.path.flags {
            Flags::Memory { carry: false } if carry => return self.settle(),
            Flags::Memory { .. } => return,
            Flags::Values(rec) => {
                if carry {
                    self.store_carry(&rec);
                }
                self.store_flags(&rec);
                self.path.flags = Flags::Memory { carry };
            }
            Flags::Named { .. } => return self.settle(),
        }
        self.path.left = None;
    }
    /// Flags that only have a name are to be computed with.
    fn settle_named(&mut self) {
        if let Flags::Named { .. } = self.path.flags {
            self.settle();
        }
    }
    fn moment(&self) -> Moment {
        let later = self.later - self.path.debt;
        Moment { flags: self.path.flags, dirty: self.path.dirty, ip: self.insn_ip, later }
    }
    /// Makes memory complete but for RIP and the budget.
    fn complete(&mut self, moment: &Moment) {
        self.store_registers(moment.dirty);
        match moment.flags {
            Flags::Memory { .. } => {}
            Flags::Values(rec) => self.store_flags(&rec),
            Flags::Named { .. } => {
                let kind = self.b.use_var(self.kind);
                self.store_named(kind);
            }
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
    /// Leaves the instruction at hand, with its state complete, to the interpreter.
    pub(crate) fn bail(&mut self) {
        let moment = self.moment();
        self.complete(&moment);
        self.set_rip(moment.ip);
        self.set_remaining(moment.later + 1);
        self.finish(cx::STEP);
    }
    /// Goes on only when `ok` is not 0; else the instruction at hand is one for the interpreter.
    pub(crate) fn require(&mut self, ok: Value) {
        let (go, stop) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(ok, go, &[], stop, &[]);
        self.open_cold(stop);
        self.bail();
        self.open(go);
    }
    /// The access at hand was left: ends the block at hand if `host` is 0, else goes on in `after`.
    fn unless_left(&mut self, host: Value, after: Block, arguments: &[Value]) {
        let rem = self.b.use_var(self.rem);
        let later = self.later - self.path.debt;
        let rem = self.b.ins().iadd_imm_s(rem, later);
        let ip = self.iconst(I64, self.insn_ip);
        let (left, is_new) = match self.path.left {
            Some(left) => (left, false),
            None => {
                let left = self.b.create_block();
                self.b.append_block_param(left, I64);
                self.b.append_block_param(left, I64);
                self.path.left = Some(left);
                (left, true)
            }
        };
        // Here, not in the block, to which ways will still be added.
        let named = is_new && matches!(self.path.flags, Flags::Named { .. });
        let kind = named.then(|| self.b.use_var(self.kind));
        let mut registers = Vec::new();
        if is_new {
            for n in (0..8).filter(|n| self.path.dirty >> n & 1 != 0) {
                registers.push((n, self.b.use_var(self.regs[n])));
            }
        }
        let arguments: Vec<BlockArg> = arguments.iter().map(|&v| v.into()).collect();
        self.b.ins().brif(host, after, &arguments, left, &[ip.into(), rem.into()]);
        if is_new {
            self.b.switch_to_block(left);
            self.b.set_cold_block(left);
            for (n, v) in registers {
                self.store_at(v, self.cpu, Self::gpr_offset(n));
            }
            match self.path.flags {
                Flags::Memory { .. } => {}
                Flags::Values(rec) => self.store_flags(&rec),
                Flags::Named { .. } => kind.into_iter().for_each(|kind| self.store_named(kind)),
            }
            let (ip, rem) = (self.b.block_params(left)[0], self.b.block_params(left)[1]);
            self.store_at(ip, self.cpu, offset_of!(CpuState, rip));
            let env = self.load64(self.ctx, cx::ENV);
            self.store_at(rem, env, offset_of!(Env<'static>, remaining));
            self.finish(cx::LEFT);
        }
    }
    fn exit(&mut self, moment: &Moment, exit: usize, from_page: u64) {
        self.complete(moment);
        let target = self.region.exits[exit];
        let slot = self.iconst(I64, self.slots[exit] as u64);
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
            self.open_cold(stop);
            self.set_rip(target);
            self.store_at(slot, self.ctx, cx::EXIT);
            self.store_at(cell, self.ctx, cx::UNSURE);
            self.set_remaining(-self.path.debt);
            self.finish(cx::INDIRECT);
            self.open(follow);
        }
        // Where it leads nowhere yet, RIP follows from it.
        let code = self.load64(slot, cx::SLOT_CODE);
        let number = self.load64(slot, cx::SLOT_NUMBER);
        let rem = self.remaining();
        self.b.ins().return_call_indirect(self.tail, code, &[ctx, cpu, number, rem]);
    }

    // --- blocks --------------------------------------------------------------------------------

    /// What is left of the budget, all blocks so far paid.
    fn remaining(&mut self) -> Value {
        let rem = self.b.use_var(self.rem);
        if self.path.debt == 0 { rem } else { self.b.ins().iadd_imm_s(rem, -self.path.debt) }
    }
    /// Goes to a block of the region, with its price paid.
    fn go_to(&mut self, to: usize) {
        let target = &self.region.blocks[to];
        let price = target.steps.len() as i64;
        let single = self.plan.single[to];
        // What is taken off the budget's value before it is due.
        let ahead = self.plan.far[to] - price;
        if self.plan.checked[to] {
            // The way from here to where the budget is looked at next may cost as much as this.
            let rem = self.b.use_var(self.rem);
            let left = self.b.ins().iadd_imm_s(rem, -(self.plan.far[to] + self.path.debt));
            self.b.def_var(self.rem, left);
            let is_short = if cfg!(target_arch = "aarch64") {
                let sign = self.iconst(I64, 1 << 63);
                self.b.ins().band(left, sign)
            } else {
                self.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0)
            };
            let (short, enough) = (self.b.create_block(), self.b.create_block());
            self.b.ins().brif(is_short, short, &[], enough, &[]);
            self.open_cold(short);
            let moment = self.moment();
            self.complete(&moment);
            self.set_rip(target.ip);
            self.set_remaining(self.plan.far[to]);
            self.finish(cx::SHORT);
            self.open(enough);
            self.path.debt = -ahead;
        } else if single {
            self.path.debt += price;
        } else {
            let differ = self.path.debt + price + ahead;
            if differ != 0 {
                let rem = self.b.use_var(self.rem);
                let left = self.b.ins().iadd_imm_s(rem, -differ);
                self.b.def_var(self.rem, left);
            }
            self.path.debt = -ahead;
        }
        if single {
            self.inherited[to] = Some(self.path.clone());
        } else {
            match self.plan.need(to, target) {
                Need::No => {}
                Need::Name(replaced) => self.name_flags(replaced),
                Need::All { carry } => self.flush_flags(carry),
            }
            self.store_registers(self.path.dirty & !target.dirty);
            self.refresh(self.plan.live[to] | target.dirty);
        }
        self.b.ins().jump(self.blocks[to], &[]);
        self.plan.ways[to] -= 1;
        if self.plan.ways[to] == 0 && self.emitted[to] {
            self.b.seal_block(self.blocks[to]);
        }
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
        self.open_cold(stop);
        self.complete(&moment);
        self.set_rip(ip);
        let none = self.iconst(I64, 0);
        self.store_at(none, self.ctx, cx::EXIT);
        self.store_at(cell, self.ctx, cx::UNSURE);
        self.set_remaining(-self.path.debt);
        self.finish(cx::INDIRECT);
        self.open(go);
    }
    fn follow(&mut self, from: usize, edge: Edge) {
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
                self.settle_named();
                let page = self.page_of(from);
                let moment = self.moment();
                self.exit(&moment, exit, page);
            }
            Edge::None => self.finish(cx::INDIRECT),
        }
    }
    /// The linear page that a link from the end of block `from` may stay in unchecked.
    fn page_of(&self, from: usize) -> u64 {
        let block = &self.region.blocks[from];
        if block.second.is_some() { u64::MAX } else { self.region.pages[block.page].linear }
    }
    /// The direct edge of the block at hand, unless its target lies outside the code segment.
    fn edge(&mut self, from: usize, edge: Edge, target: Option<u64>) {
        match target {
            Some(target) if !self.in_segment(target) => self.bail(),
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
        if self.plan.ways[n] == 0 {
            self.b.seal_block(self.blocks[n]);
        }
        self.path = self.inherited[n].take().unwrap_or_else(|| Path::start(block.dirty));
        if !self.plan.single[n] {
            self.path.stale = !(self.plan.live[n] | block.dirty) & 0xff;
            self.path.debt = block.steps.len() as i64 - self.plan.far[n];
            self.path.flags = match self.plan.need(n, block) {
                Need::No => Flags::Memory { carry: false },
                Need::Name(replaced) => Flags::Named { carry: replaced.keeps_carry },
                Need::All { carry } => Flags::Memory { carry },
            };
        }
        self.access_number = 0;
        self.block_number = n;
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
                None if sse::is_native(&step.insn) => sse::emit(self, &step.insn),
                None if Self::is_division(&step.insn) => self.divide(&step.insn, &self.ops[n][at]),
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
                    let saved = self.path.clone();
                    self.open(no);
                    self.edge(n, block.fall, None);
                    self.path = saved;
                    self.open(yes);
                    self.edge(n, block.taken, target);
                }
            },
            End::Jump(target) => {
                self.settle_named();
                // The distance from one of them: others are near, and a small number is made at no cost.
                let first = block.guesses.first().map_or(0, |&guess| self.region.blocks[guess].ip);
                let distance = self.sub(Width::Dword, target, V::C(first));
                for &guess in &block.guesses {
                    let there = self.region.blocks[guess].ip.wrapping_sub(first) & 0xffff_ffff;
                    let is_there = self.compare(IntCC::Equal, Width::Dword, distance, V::C(there));
                    let is_there = self.test(is_there);
                    let (yes, no) = (self.b.create_block(), self.b.create_block());
                    self.b.ins().brif(is_there, yes, &[], no, &[]);
                    let saved = self.path.clone();
                    self.open(yes);
                    self.follow(n, Edge::Block(guess));
                    self.path = saved;
                    self.open(no);
                }
                self.indirect(target);
            }
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
        let fold = self.iconst(I32, u64::from(cx::JUMP_FOLD));
        let high = self.b.ins().ushr(ip, fold);
        let at = self.b.ins().bxor(ip, high);
        let at = self.b.ins().band(at, mask);
        let five = self.iconst(I32, 5);
        let at = self.b.ins().ishl(at, five);
        let at = self.b.ins().iadd(self.ctx, at);
        let found = self.load64(at, cx::JUMP_TABLE);
        let ok = self.b.ins().icmp(IntCC::Equal, key, found);
        let (hit, miss) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(ok, hit, &[], miss, &[]);
        self.open_cold(miss);
        let none = self.iconst(I64, 0);
        self.store_at(none, self.ctx, cx::EXIT);
        self.set_remaining(-self.path.debt);
        self.finish(cx::INDIRECT);
        self.open(hit);
        // Whether the page is still mapped as it was.
        let cell = self.load64(at, cx::JUMP_TABLE + 24);
        let then = self.load64(cell, 0);
        let now = self.load64(self.ctx, cx::EPOCH);
        let ok = self.b.ins().icmp(IntCC::Equal, then, now);
        let (follow, stop) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(ok, follow, &[], stop, &[]);
        self.open_cold(stop);
        let none = self.iconst(I64, 0);
        self.store_at(none, self.ctx, cx::EXIT);
        self.store_at(cell, self.ctx, cx::UNSURE);
        self.set_remaining(-self.path.debt);
        self.finish(cx::INDIRECT);
        self.open(follow);
        let code = self.load64(at, cx::JUMP_TABLE + 8);
        let number = self.load64(at, cx::JUMP_TABLE + 16);
        let rem = self.remaining();
        let (ctx, cpu) = (self.ctx, self.cpu);
        self.b.ins().return_call_indirect(self.tail, code, &[ctx, cpu, number, rem]);
    }

    fn call_helper(&mut self, op: &Op) {
        self.flush_flags(false);
        self.flush_registers();
        let rem = self.remaining();
        let f = self.load64(self.ctx, cx::HELPER);
        let op = self.iconst(I64, std::ptr::from_ref(op) as u64);
        let (ctx, rem) = (self.copy(self.ctx), self.copy(rem));
        let call = self.b.ins().call_indirect(self.helper, f, &[ctx, op, rem]);
        let left = self.b.inst_results(call)[0];
        let (go, stop) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(left, stop, &[], go, &[]);
        self.open_cold(stop);
        self.finish(cx::LEFT);
        self.open(go);
        self.path.groups.clear();
        self.path.vectors = Vectors::default();
        self.path.debt = 0;
        self.path.left = None;
        self.path.flags = Flags::Memory { carry: true };
        self.reload();
        let env = self.load64(self.ctx, cx::ENV);
        let rem = self.load64(env, offset_of!(Env<'static>, remaining));
        self.b.def_var(self.rem, rem);
    }
    fn is_division(i: &Insn) -> bool {
        matches!(i.mnemonic, Mnemonic::Div | Mnemonic::Idiv)
            && i.width == Width::Dword
            && matches!(i.ops[0].kind, OperandKind::Reg | OperandKind::Mem)
            && i.rep == Rep::No
    }
    /// DIV and IDIV where it is clear that the quotient fits; the helper, which keeps the flags, does the rest.
    fn divide(&mut self, i: &Insn, op: &Op) {
        let by = if i.ops[0].is_mem() {
            // The survey knows of no access.
            let number = std::mem::replace(&mut self.access_number, usize::MAX - 1);
            let by = self.load(&i.mem, Width::Dword);
            self.access_number = number;
            by.unwrap_or(V::C(0))
        } else {
            self.full(i.ops[0].index)
        };
        let (low, high) = (self.full(gpr::AX), self.full(gpr::DX));
        self.flush_registers();
        let (fast, slow, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let (w_by, w_low, w_high) = (self.w(by), self.w(low), self.w(high));
        let is_signed = i.mnemonic == Mnemonic::Idiv;
        let fits = if is_signed {
            // EDX is the sign of EAX, and the divisor neither 0 nor -1.
            let sign = self.sar(Width::Dword, low, V::C(31));
            let is_sign = self.compare(IntCC::Equal, Width::Dword, sign, high);
            let next = self.add(Width::Dword, by, V::C(1));
            let is_plain = self.compare(IntCC::UnsignedGreaterThan, Width::Dword, next, V::C(1));
            let both = self.both(is_sign, is_plain);
            self.test(both)
        } else {
            self.b.ins().icmp(IntCC::UnsignedLessThan, w_high, w_by)
        };
        self.b.ins().brif(fits, fast, &[], slow, &[]);
        let before = self.path.clone();
        self.open_cold(slow);
        let moment = self.moment();
        self.complete(&moment);
        let rem = self.remaining();
        let f = self.load64(self.ctx, cx::HELPER);
        let op = self.iconst(I64, std::ptr::from_ref(op) as u64);
        let (ctx, rem) = (self.copy(self.ctx), self.copy(rem));
        let call = self.b.ins().call_indirect(self.helper, f, &[ctx, op, rem]);
        let left = self.b.inst_results(call)[0];
        let (go, stop) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(left, stop, &[], go, &[]);
        self.open_cold(stop);
        self.finish(cx::LEFT);
        self.open_cold(go);
        self.path.stale = 0xff;
        self.refresh(!before.stale & 0xff | 1 << gpr::AX | 1 << gpr::DX);
        let env = self.load64(self.ctx, cx::ENV);
        let rem = self.load64(env, offset_of!(Env<'static>, remaining));
        let rem = self.b.ins().iadd_imm_s(rem, before.debt);
        self.b.def_var(self.rem, rem);
        self.b.ins().jump(after, &[]);
        self.path = before;
        self.open(fast);
        let (q, r) = if is_signed {
            let (n, d) = (self.b.ins().sextend(I64, w_low), self.b.ins().sextend(I64, w_by));
            let q = self.b.ins().sdiv(n, d);
            let p = self.b.ins().imul(q, d);
            (q, self.b.ins().isub(n, p))
        } else {
            let (low, d) = (self.b.ins().uextend(I64, w_low), self.b.ins().uextend(I64, w_by));
            let high = self.b.ins().uextend(I64, w_high);
            let bits = self.iconst(I32, 32);
            let high = self.b.ins().ishl(high, bits);
            let n = self.b.ins().bor(high, low);
            let q = self.b.ins().udiv(n, d);
            let p = self.b.ins().imul(q, d);
            (q, self.b.ins().isub(n, p))
        };
        for (register, v) in [(gpr::AX, q), (gpr::DX, r)] {
            let v = self.b.ins().ireduce(I32, v);
            self.b.def_var(self.regs[usize::from(register)], v);
            self.store_at(v, self.cpu, Self::gpr_offset(usize::from(register)));
        }
        self.b.ins().jump(after, &[]);
        self.open(after);
        self.path.stale &= !(1 << gpr::AX | 1 << gpr::DX);
        self.path.vectors = Vectors::default();
        self.path.left = None;
    }
    /// Calls one of the functions that keep all registers and answer in memory.
    pub(crate) fn call_simple(&mut self, function: usize, argument: u64) -> Value {
        let f = self.load64(self.ctx, function);
        let argument = self.iconst(I64, argument);
        let ctx = self.copy(self.ctx);
        self.b.ins().call_indirect(self.simple, f, &[ctx, argument]);
        self.load64(self.ctx, cx::HOST)
    }

    // --- flags ---------------------------------------------------------------------------------

    fn carry(&mut self) -> V {
        match self.path.flags {
            Flags::Values(rec) => self.carry_of(&rec),
            Flags::Memory { carry: true } | Flags::Named { carry: true } => self.carry_in_memory(),
            _ => {
                self.settle();
                self.carry_in_memory()
            }
        }
    }
    fn carry_in_memory(&mut self) -> V {
        let at = Self::lazy(offset_of!(LazyFlags, cf));
        V::B(self.b.ins().load(I8, trusted(), self.cpu, at as i32))
    }
    fn carry_of(&mut self, rec: &Record) -> V {
        if let Some(cf) = rec.cf {
            return cf;
        }
        if rec.carry_stays {
            return self.carry_in_memory();
        }
        if let Some((a, b)) = rec.float {
            return V::B(self.b.ins().fcmp(FloatCC::UnorderedOrLessThan, a, b));
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
        if let Some((a, b)) = rec.float {
            return V::B(self.b.ins().fcmp(FloatCC::UnorderedOrEqual, a, b));
        }
        match rec.of {
            FlagsOf::All => self.bit_of(rec.a, 6),
            FlagsOf::Sub if rec.cf.is_none() => self.compare(IntCC::Equal, rec.width, rec.a, rec.b),
            _ => self.is_zero(rec.width, rec.r),
        }
    }
    fn sign_of(&mut self, rec: &Record) -> V {
        if rec.float.is_some() {
            return V::C(0);
        }
        match rec.of {
            FlagsOf::All => self.bit_of(rec.a, 7),
            _ => self.compare(IntCC::SignedLessThan, rec.width, rec.r, V::C(0)),
        }
    }
    fn parity_of(&mut self, rec: &Record) -> V {
        if rec.float.is_some() {
            return V::C(0);
        }
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
        if rec.float.is_some() {
            return V::C(0);
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
        if rec.float.is_some() {
            return V::C(0);
        }
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
        if let Some((a, b)) = rec.float
            && plain
        {
            let cc = match cond {
                Cond::B => FloatCC::UnorderedOrLessThan,
                Cond::Ae => FloatCC::GreaterThanOrEqual,
                Cond::E | Cond::Le => FloatCC::UnorderedOrEqual,
                Cond::Ne | Cond::G => FloatCC::OrderedNotEqual,
                Cond::Be => FloatCC::UnorderedOrLessThanOrEqual,
                Cond::A => FloatCC::GreaterThan,
                _ => return V::C(u64::from(cond as u8 & 1)),
            };
            return V::B(self.b.ins().fcmp(cc, a, b));
        }
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
        self.open(yes);
        then(self);
        self.b.ins().jump(after, &[]);
        self.open(after);
    }

    // --- memory --------------------------------------------------------------------------------

    /// Offset of a memory operand, in 32 bits.
    pub(crate) fn address(&mut self, at: &Address) -> V {
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
    fn root(&self, v: Value) -> (Value, u32) {
        self.derived.get(&v).copied().unwrap_or((v, 0))
    }
    /// The parts of the address of a memory operand.
    fn key(&mut self, at: &Address) -> Option<Key> {
        if !at.flat || at.width != Width::Dword {
            return None;
        }
        let mut key = Key { base: None, index: None, shift: at.shift & 3, offset: at.disp as u32 };
        if at.base != gpr::NONE {
            let value = self.register(at.base);
            let (root, offset) = self.root(value);
            key.base = Some(root);
            key.offset = key.offset.wrapping_add(offset);
        }
        if at.index != gpr::NONE {
            let value = self.register(at.index);
            let (root, offset) = self.root(value);
            key.index = Some(root);
            key.offset = key.offset.wrapping_add(offset << key.shift);
        }
        Some(key)
    }
    fn stack_key(&self, offset: V) -> Option<Key> {
        if !self.flat_stack() {
            return None;
        }
        let (base, offset) = match offset {
            V::W(v) => {
                let (root, offset) = self.root(v);
                (Some(root), offset)
            }
            V::C(c) => (None, c as u32),
            _ => return None,
        };
        Some(Key { base, index: None, shift: 0, offset })
    }
    fn register(&mut self, index: u8) -> Value {
        self.refresh(1 << (index & 7));
        self.b.use_var(self.regs[usize::from(index & 7)])
    }
    fn full(&mut self, index: u8) -> V {
        V::W(self.register(index))
    }
    fn operand_key(&mut self, operand: Operand<'_>) -> Option<Key> {
        match operand {
            Operand::Memory(at) => self.key(at),
            Operand::Stack(offset) => self.stack_key(offset),
        }
    }
    /// The offset of an operand. Where it has a key this may stand in code out of the way.
    fn operand_offset(&mut self, operand: Operand<'_>) -> V {
        match operand {
            Operand::Memory(at) => self.address(at),
            Operand::Stack(offset) => offset,
        }
    }
    fn operand_offset64(&mut self, operand: Operand<'_>) -> Value {
        let offset = self.operand_offset(operand);
        self.q(offset)
    }
    /// Calls the function for an access that is no hit; the answer is 0 when it was left.
    fn call_access(&mut self, seg: Seg, offset: Value, size: u64, how: How, value: Value) -> Value {
        let function = match how {
            How::Read => cx::READ,
            How::Write => cx::WRITE,
            How::Modify => cx::MODIFY,
        };
        let rem = self.remaining();
        let info = self.iconst(I64, seg as u64 | size << 8);
        let f = self.load64(self.ctx, function);
        let (ctx, offset, rem, value) = (self.copy(self.ctx), self.copy(offset), self.copy(rem), self.copy(value));
        self.b.ins().call_indirect(self.access, f, &[ctx, offset, info, rem, value]);
        self.load64(self.ctx, cx::HOST)
    }
    /// Calls the function for an access that is no hit and goes on in `after`, with the host
    /// address minus `disp` and 0 for the group if `after` wants one.
    #[allow(clippy::too_many_arguments, reason = "all of one access")]
    fn slowly(&mut self, seg: Seg, offset: Value, size: u64, how: How, value: Value, disp: i32, after: Block) {
        let mut value = value;
        if size == 16 && how == How::Write {
            self.store_at(value, self.ctx, cx::BOUNCE);
            value = offset;
        }
        let host = self.call_access(seg, offset, size, how, value);
        let at = if disp == 0 { host } else { self.b.ins().iadd_imm_s(host, -i64::from(disp)) };
        if self.b.block_params(after).len() == 2 {
            let none = self.iconst(I64, 0);
            self.unless_left(host, after, &[at, none]);
        } else {
            self.unless_left(host, after, &[at]);
        }
    }
    /// Where `size` bytes of an operand are, after all checks. `value` is what is going to be
    /// stored, for the case that the store is made on the way.
    pub(crate) fn host(&mut self, at: &Address, size: u64, how: How, value: Option<Value>) -> Host {
        let operand = Operand::Memory(at);
        let (hit, slow, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let place = self.b.append_block_param(after, I64);
        let probe = self.probe(at.seg, at.flat, operand, size, how);
        let group = probe.new_group().map(|_| self.b.append_block_param(after, I64));
        self.b.ins().brif(probe.ok, hit, &[], slow, &[]);
        self.open_cold(slow);
        let offset64 = self.operand_offset64(operand);
        self.slowly(at.seg, offset64, size, how, value.unwrap_or(offset64), probe.disp, after);
        self.open(hit);
        let host = self.found(&probe);
        match group {
            Some(_) => self.b.ins().jump(after, &[host.into(), host.into()]),
            None => self.b.ins().jump(after, &[host.into()]),
        };
        self.open(after);
        self.join_group(&probe, group);
        Host { at: place, disp: probe.disp }
    }
    /// The host address that a probe has found.
    fn found(&mut self, probe: &Probe) -> Value {
        match probe.found {
            Found::Group(host) => host,
            Found::Entry { page, low, .. } => {
                let page = self.b.ins().load(I64, trusted(), page, 0);
                self.b.ins().iadd(page, low)
            }
        }
    }
    /// Later accesses near this one need no look of their own.
    fn join_group(&mut self, probe: &Probe, host: Option<Value>) {
        if let (Some(host), Some((key, span))) = (host, probe.new_group()) {
            let key = Key { offset: key.offset.wrapping_sub(span.back), ..key };
            self.path.groups.push(Group { key, bytes: span.bytes, write: span.write, host });
        }
    }
    /// Looks for the host address of `size` bytes.
    fn probe(&mut self, seg: Seg, flat: bool, operand: Operand<'_>, size: u64, how: How) -> Probe {
        let key = self.operand_key(operand);
        let write = how != How::Read;
        let number = self.access_number;
        self.access_number += 1;
        let span = self.region.blocks[self.block_number].spans.get(number).copied();
        if let Some(key) = key {
            let same = |g: &&Group| {
                let k = &g.key;
                let first = key.offset.wrapping_sub(k.offset);
                (k.base, k.index, k.shift) == (key.base, key.index, key.shift)
                    && u64::from(first) + size <= u64::from(g.bytes)
                    && (g.write || !write)
            };
            if let Some(&group) = self.path.groups.iter().rev().find(same) {
                let disp = key.offset.wrapping_sub(group.key.offset) as i32;
                return Probe { ok: group.host, disp, found: Found::Group(group.host) };
            }
        }
        // The check covers all that the block touches around this access.
        let alone = Span { back: 0, bytes: size as u32, write, shared: false, group: 0 };
        let span = match (span, key) {
            (Some(span), Some(_)) if u64::from(span.bytes) >= u64::from(span.back) + size => span,
            _ => alone,
        };
        let (linear, inside) = if flat {
            (self.start_of(operand, key, span.back), None)
        } else {
            let offset64 = self.operand_offset64(operand);
            let at = offset_of!(CpuState, seg) + size_of::<Segment>() * seg as usize;
            let field = if write { offset_of!(Segment, write_end) } else { offset_of!(Segment, read_end) };
            let end = self.load64(self.cpu, at + field);
            let last = self.b.ins().iadd_imm_s(offset64, size as i64);
            let inside = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, last, end);
            let base = self.load64(self.cpu, at + offset_of!(Segment, base));
            let sum = self.b.ins().iadd(base, offset64);
            (V::W(self.b.ins().ireduce(I32, sum)), Some(inside))
        };
        let [tags, pages] = self.table(span.write);
        let mask = (Tables::HALF as u64 - 1) << 4;
        let (tag, page) = if let V::C(c) = linear {
            let at = c >> 8 & mask;
            let (tag, page) = (self.load64(tags, at as usize), self.b.ins().iadd_imm_s(pages, at as i64));
            (tag, page)
        } else {
            let at = self.shr(Width::Dword, linear, V::C(8));
            let at = self.and(at, V::C(mask));
            let at = self.q(at);
            let tag = self.b.ins().iadd(tags, at);
            let tag = self.load64(tag, 0);
            (tag, self.b.ins().iadd(pages, at))
        };
        let linear = self.q(linear);
        let low = self.b.ins().isub(linear, tag);
        let most = self.iconst(I64, PAGE - u64::from(span.bytes));
        let mut ok = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, low, most);
        if let Some(inside) = inside {
            ok = self.b.ins().band(ok, inside);
        }
        let group = key.filter(|_| span.shared).map(|key| (key, span));
        Probe { ok, disp: span.back as i32, found: Found::Entry { page, low, group } }
    }
    /// Where what is looked for begins: `back` bytes before an operand in a flat segment.
    fn start_of(&mut self, operand: Operand<'_>, key: Option<Key>, back: u32) -> V {
        if let Some(Key { base: Some(root), index: None, offset, .. }) = key {
            return self.add(Width::Dword, V::W(root), V::C(u64::from(offset.wrapping_sub(back))));
        }
        let offset = self.operand_offset(operand);
        self.sub(Width::Dword, offset, V::C(u64::from(back)))
    }
    /// The two halves of the entries for reading or writing.
    fn table(&mut self, write: bool) -> [Value; 2] {
        let known = self.tables[usize::from(write)];
        if known[0] != self.ctx {
            return known;
        }
        let first = self.b.ins().iadd_imm_s(self.ctx, self.region.tlb(write) as i64);
        [first, self.b.ins().iadd_imm_s(first, 8)]
    }
    /// Reads after all checks. With `modify` the access is going to be written to: the answer's second part is where, 0
    /// if that goes the long way.
    fn read_from(&mut self, seg: Seg, flat: bool, operand: Operand<'_>, width: Width, how: How) -> (V, Option<Host>) {
        let (hit, slow, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let wide = Self::is_wide(width);
        let result = self.b.append_block_param(after, if wide { I64 } else { I32 });
        let probe = self.probe(seg, flat, operand, width.bytes(), how);
        // Where it is has to be known behind it.
        let asks = probe.new_group().is_some() || how == How::Modify && matches!(probe.found, Found::Entry { .. });
        let place = asks.then(|| self.b.append_block_param(after, I64));
        self.b.ins().brif(probe.ok, hit, &[], slow, &[]);
        self.open_cold(slow);
        let offset64 = self.operand_offset64(operand);
        let host = self.call_access(seg, offset64, width.bytes(), how, offset64);
        let value = self.read_at(Host { at: self.ctx, disp: cx::BOUNCE as i32 }, width);
        let mut arguments = vec![self.sized(width, value)];
        if asks {
            arguments.push(self.iconst(I64, 0));
        }
        self.unless_left(host, after, &arguments);
        self.open(hit);
        let at = self.found(&probe);
        let value = self.read_at(Host { at, disp: probe.disp }, width);
        let mut arguments: Vec<BlockArg> = vec![self.sized(width, value).into()];
        if asks {
            arguments.push(at.into());
        }
        self.b.ins().jump(after, &arguments);
        self.open(after);
        self.join_group(&probe, place);
        let at = match (how, probe.found) {
            (How::Modify, Found::Group(host)) => Some(Host { at: host, disp: probe.disp }),
            (How::Modify, _) => place.map(|at| Host { at, disp: probe.disp }),
            _ => None,
        };
        (if wide { V::Q(result) } else { V::W(result) }, at)
    }
    fn read_at(&mut self, host: Host, width: Width) -> V {
        let Host { at, disp } = host;
        match width {
            Width::Byte => V::W(self.b.ins().uload8(I32, guest(), at, disp)),
            Width::Word => V::W(self.b.ins().uload16(I32, guest(), at, disp)),
            Width::Dword => V::W(self.b.ins().load(I32, guest(), at, disp)),
            Width::Qword => V::Q(self.b.ins().load(I64, guest(), at, disp)),
        }
    }
    fn write_at(&mut self, host: Host, width: Width, value: V) {
        let Host { at, disp } = host;
        match width {
            Width::Byte => {
                let v = self.w(value);
                self.b.ins().istore8(guest(), v, at, disp);
            }
            Width::Word => {
                let v = self.w(value);
                self.b.ins().istore16(guest(), v, at, disp);
            }
            _ => {
                let v = self.sized(width, value);
                self.b.ins().store(guest(), v, at, disp);
            }
        }
    }
    fn store_to(&mut self, seg: Seg, flat: bool, operand: Operand<'_>, width: Width, value: V) {
        let (hit, slow, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let probe = self.probe(seg, flat, operand, width.bytes(), How::Write);
        let group = probe.new_group().map(|_| self.b.append_block_param(after, I64));
        self.b.ins().brif(probe.ok, hit, &[], slow, &[]);
        self.open_cold(slow);
        let (offset64, wide) = (self.operand_offset64(operand), self.q(value));
        let host = self.call_access(seg, offset64, width.bytes(), How::Write, wide);
        let none = group.map(|_| self.iconst(I64, 0));
        self.unless_left(host, after, none.as_slice());
        self.open(hit);
        let at = self.found(&probe);
        self.write_at(Host { at, disp: probe.disp }, width, value);
        match group {
            Some(_) => self.b.ins().jump(after, &[at.into()]),
            None => self.b.ins().jump(after, &[]),
        };
        self.open(after);
        self.join_group(&probe, group);
    }
    /// Whether the stack segment is flat.
    fn flat_stack(&self) -> bool {
        self.region.place.mode.has(Mode::FLAT)
    }
}

/// What a look for a host address comes to.
struct Probe {
    /// Not 0 when it is there.
    ok: Value,
    /// Where the access lies behind what was looked for.
    disp: i32,
    found: Found,
}

#[derive(Clone, Copy)]
enum Found {
    /// An address that is known.
    Group(Value),
    Entry {
        /// Where the address of the page is.
        page: Value,
        /// The distance from it.
        low: Value,
        /// What accesses to come share.
        group: Option<(Key, Span)>,
    },
}

impl Probe {
    fn new_group(&self) -> Option<(Key, Span)> {
        match self.found {
            Found::Entry { group, .. } => group,
            Found::Group(_) => None,
        }
    }
}

/// Where the operand of an access is.
#[derive(Clone, Copy)]
enum Operand<'o> {
    Memory(&'o Address),
    /// At this offset in the stack segment.
    Stack(V),
}

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
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
        self.path.left = None;
        self.path.dirty |= 1 << n;
        self.path.stale &= !(1 << n);
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
            (V::W(a), V::C(c)) | (V::C(c), V::W(a)) if width == Width::Dword => {
                let v = match self.constants.get(&(c as u32)) {
                    Some(&c) => self.b.ins().iadd(a, c),
                    None => self.b.ins().iadd_imm_s(a, i64::from(c as i32)),
                };
                let (root, offset) = self.root(a);
                self.derived.insert(v, (root, offset.wrapping_add(c as u32)));
                V::W(v)
            }
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
            (V::W(a), V::C(c)) if width == Width::Dword => {
                let v = self.b.ins().iadd_imm_s(a, -i64::from(c as i32));
                let (root, offset) = self.root(a);
                self.derived.insert(v, (root, offset.wrapping_sub(c as u32)));
                V::W(v)
            }
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
        Ok(self.read_from(at.seg, at.flat, Operand::Memory(at), width, How::Read).0)
    }
    fn load_to_modify(&mut self, at: &Address, width: Width) -> Result<V, Fault> {
        let (value, place) = self.read_from(at.seg, at.flat, Operand::Memory(at), width, How::Modify);
        self.modified = place;
        Ok(value)
    }
    fn store(&mut self, at: &Address, width: Width, value: V) -> Result<(), Fault> {
        let Some(host) = self.modified.take() else {
            self.store_to(at.seg, at.flat, Operand::Memory(at), width, value);
            return Ok(());
        };
        // The load has checked everything, unless it had to go the long way.
        let (hit, slow, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(host.at, hit, &[], slow, &[]);
        self.open_cold(slow);
        let (offset, wide) = (self.operand_offset64(Operand::Memory(at)), self.q(value));
        let done = self.call_access(at.seg, offset, width.bytes(), How::Write, wide);
        self.unless_left(done, after, &[]);
        self.open(hit);
        self.write_at(host, width, value);
        self.b.ins().jump(after, &[]);
        self.open(after);
        Ok(())
    }
    fn offset(&mut self, at: &Address) -> V {
        self.address(at)
    }
    fn load_stack(&mut self, offset: V, width: Width) -> Result<V, Fault> {
        Ok(self.read_from(Seg::Ss, self.flat_stack(), Operand::Stack(offset), width, How::Read).0)
    }
    fn store_stack(&mut self, offset: V, width: Width, value: V) -> Result<(), Fault> {
        self.store_to(Seg::Ss, self.flat_stack(), Operand::Stack(offset), width, value);
        Ok(())
    }
    fn flags(&mut self, of: FlagsOf, width: Width, a: V, b: V, r: V) {
        if self.live == 0 {
            return;
        }
        let (mut cf, mut carry_stays) = (None, false);
        if matches!(of, FlagsOf::Inc | FlagsOf::Dec) {
            match self.path.flags {
                _ if self.live & CARRY == 0 => cf = Some(V::C(0)),
                Flags::Values(rec) if rec.carry_stays && rec.cf.is_none() => carry_stays = true,
                Flags::Values(_) => cf = Some(self.carry()),
                Flags::Memory { carry: true } | Flags::Named { carry: true } => carry_stays = true,
                _ => {
                    self.settle();
                    carry_stays = true;
                }
            }
        }
        self.path.left = None;
        self.path.flags = Flags::Values(Record { of, width, a, b, r, cf, over: None, carry_stays, float: None });
    }
    fn flags_if(&mut self, cond: V, of: FlagsOf, width: Width, a: V, b: V, r: V) {
        match cond {
            V::C(0) => {}
            V::C(_) => self.flags(of, width, a, b, r),
            _ if self.live == 0 => {}
            _ => {
                self.flush_flags(false);
                let rec = Record { of, width, a, b, r, cf: None, over: None, carry_stays: false, float: None };
                self.when(cond, |e| e.store_flags(&rec));
                self.path.left = None;
                self.path.flags = Flags::Memory { carry: false };
            }
        }
    }
    fn cond(&mut self, cond: Cond) -> V {
        self.settle_named();
        match self.path.flags {
            Flags::Values(rec) => self.cond_of(&rec, cond),
            _ => match cond {
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
        self.settle_named();
        match self.path.flags {
            Flags::Values(rec) => self.status_of(&rec),
            _ => {
                let v = self.call_simple(cx::STATUS, 0);
                V::W(self.b.ins().ireduce(I32, v))
            }
        }
    }
    fn set_carry(&mut self, cf: V) {
        let cf = V::B(self.bit(cf));
        self.settle_in_full();
        match self.path.flags {
            Flags::Values(mut rec) => {
                if rec.of == FlagsOf::Shl && rec.over.is_none() {
                    rec.over = Some(self.overflow_of(&rec));
                }
                rec.cf = Some(cf);
                rec.carry_stays = false;
                self.path.left = None;
                self.path.flags = Flags::Values(rec);
            }
            _ => {
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
        self.settle_named();
        match (cond, self.path.flags) {
            (V::C(0), _) => {}
            (V::C(_), Flags::Values(mut rec)) => {
                rec.cf = Some(V::B(self.bit(cf)));
                rec.carry_stays = false;
                rec.over = Some(V::B(self.bit(of)));
                self.path.left = None;
                self.path.flags = Flags::Values(rec);
            }
            _ if self.live == 0 => {}
            _ => {
                self.flush_flags(false);
                self.settle_in_full();
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
        let ok = match target {
            V::C(target) if target <= limit => return Ok(()),
            V::C(_) => self.iconst(I8, 0),
            _ => {
                let (t, l) = (self.q(target), self.iconst(I64, limit));
                self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, t, l)
            }
        };
        self.require(ok);
        Ok(())
    }
}
