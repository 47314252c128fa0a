//! Regions as host code in one pass, for a hundredth of what an optimising code generator takes.
//!
//! The host's instruction set is the guest's, nearly: guest registers live in host registers, and
//! instructions are written again with those; `x87` and `sse` do so for theirs. Flags that nobody
//! needs cost nothing; others are noted as the registers from which they follow, and written down
//! where those change or where ways meet. What is not handled here is run by the semantics function or the helper that the
//! interpreter uses; a region of another kind is none for this translator.

pub(crate) mod assembler;
pub(crate) mod sse;
pub(crate) mod stubs;
pub(crate) mod x87;

use crate::context as cx;
use crate::piece::{Made, Target};
use crate::plan::Plan;
use crate::region::{Block, Edge, Region, Step};
use crate::survey::{ALL, CARRY, Surveyor};
use assembler::{AX, Asm, At, CPU, CTX, CX, DX, R8, R9, R10, R11, REM, Reg, SP, Size, at, cc, guest, host};
use cpu::flags::{Cond, FlagsOf, LazyFlags, bits};
use cpu::insn::{Address, Insn, Mnemonic, OperandKind, Rep};
use cpu::memory::PAGE;
use cpu::semantics::Opcode;
use cpu::state::{CpuState, Mode, Seg, Segment, Width, gpr};
use cpu::tlb::Tables;
use std::mem::offset_of;
use stubs::{MODIFY, READ, WRITE, WRITE_BACK, describe, form, overlay};

/// Where a recorded value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loc {
    Reg(Reg),
    Imm(u32),
}

/// Flags as they follow from registers.
#[derive(Clone, Copy, Debug)]
struct Record {
    of: FlagsOf,
    form: u32,
    size: Size,
    x: Loc,
    y: Option<Loc>,
    /// CF is the one in [`LazyFlags::cf`].
    carry_is_stored: bool,
}

impl Record {
    fn uses(&self, registers: u32) -> bool {
        let used = |l: Loc| matches!(l, Loc::Reg(r) if registers >> r & 1 != 0);
        used(self.x) || self.y.is_some_and(used)
    }
}

#[derive(Clone, Copy, Debug)]
enum Flags {
    /// In the words and [`LazyFlags`]; whether CF is known to be in [`LazyFlags::cf`].
    Stored(bool),
    Record(Record),
}

/// Flags of the host that are the guest's.
const H_CARRY: u8 = 1;
const H_ZERO: u8 = 8;
/// With ZF.
const H_REST: u8 = 2 | H_ZERO;
const H_OVERFLOW: u8 = 4;
const H_ALL: u8 = 15;

/// What is known at a point of the code.
#[derive(Clone)]
struct Path {
    flags: Flags,
    debt: i64,
    consumed: bool,
    unit: x87::Unit,
    /// What of SSE may run.
    vectors: u32,
}

impl Path {
    fn start() -> Path {
        Path {
            flags: Flags::Stored(false),
            debt: 0,
            consumed: false,
            unit: x87::Unit::default(),
            vectors: sse::UNKNOWN,
        }
    }
}

/// What of the flags must be where it can be found.
enum Need {
    No,
    /// All of it; registers whose values it may be found in are all but `clobbered`. With `carry`, CF is in
    /// [`LazyFlags::cf`].
    Name {
        clobbered: u32,
        carry: bool,
    },
    All,
}

enum End {
    Fall,
    Goto,
    Branch(u8),
    /// The target is in R8.
    Jump,
    /// What might have changed anything has not.
    On,
}

/// What is to be stored.
#[derive(Clone, Copy)]
enum Value {
    Reg(Reg),
    Imm(u32),
    /// An address of guest code, of 32 bits.
    Ip(u32),
}

/// Where the address of a page's validity is.
enum Cell {
    /// Number of the region's page.
    Here(usize),
    /// In the exit that R8 points to.
    OfExit,
}

/// Code out of the way.
enum Cold {
    Access {
        jumps: Vec<usize>,
        back: usize,
        place: At,
        is_word: bool,
        /// The offset is in [`stubs::OFFSET`].
        saved: bool,
        info: u32,
        ip: u32,
        disp: i32,
        group: Option<usize>,
        /// R10 is added to R8.
        is_split: bool,
        value: Option<Value>,
        flags: Flags,
        unit: x87::Unit,
        /// What is done with the operand, and where to go on then.
        modify: Option<(Vec<u8>, usize)>,
        /// How the value that is to be stored gets to where the function finds it.
        copy: Option<Copying>,
    },
    Leave {
        jump: usize,
        how: u32,
        ip: u32,
        /// To be added to the budget.
        plus: i32,
        /// Whether and where a page's cell is that may be valid after all, and where to go on then.
        cell: Option<(Cell, usize)>,
        flags: Flags,
    },
    Settle {
        jump: usize,
        back: usize,
    },
    One {
        jumps: Vec<usize>,
        back: usize,
        op: Target,
        debt: u32,
        flags: Flags,
        unit: x87::Unit,
    },
    /// An instruction that may change anything, and ends its block.
    Slow {
        jumps: Vec<usize>,
        op: Target,
        debt: u32,
        flags: Flags,
        unit: x87::Unit,
    },
    /// The host's x87 unit gets the guest's state.
    Bring {
        jump: usize,
        back: usize,
        ip: u32,
        /// To be added to the budget when it must not.
        plus: i32,
        flags: Flags,
    },
    /// The host's XMM registers get the guest's.
    BringVectors {
        jump: usize,
        back: usize,
        level: u32,
        ip: u32,
        plus: i32,
        flags: Flags,
        unit: x87::Unit,
    },
    /// The instruction is left to the interpreter.
    Step {
        jump: usize,
        ip: u32,
        plus: i32,
        flags: Flags,
        unit: x87::Unit,
    },
    /// The taken edge of a branch.
    Edge {
        jump: usize,
        from: usize,
        edge: Edge,
        path: Path,
    },
}

/// How a value that is in no general register is stored somewhere else.
#[derive(Clone, Copy)]
enum Copying {
    /// By the x87 instruction with this first byte and this number in the second.
    Float { first: u8, number: u8, to: usize },
    /// By the SSE instruction with this prefix, opcode and register.
    Vector { prefix: u8, op: u8, reg: u8, to: usize },
}

/// The instruction is none for this translator.
struct Not;
type Done = Result<(), Not>;

fn lazy(field: usize) -> At {
    at(CPU, (offset_of!(CpuState, lazy) + field) as i32)
}
fn carry() -> At {
    lazy(offset_of!(LazyFlags, cf))
}
/// Where these guest registers are.
fn hosts(registers: u32) -> u32 {
    (0..8).filter(|r| registers >> r & 1 != 0).map(|r| 1 << host(r)).sum()
}
fn word(offset: usize) -> At {
    at(CTX, offset as i32)
}
fn size(width: Width) -> Size {
    match width {
        Width::Byte => Size::B,
        Width::Word => Size::W,
        Width::Dword => Size::D,
        Width::Qword => Size::Q,
    }
}

/// Whether code in this mode and with this base of CS is for this translator.
pub(crate) fn takes(mode: Mode, base: u64) -> bool {
    let is = |bit| mode.has(bit);
    is(Mode::CODE32)
        && is(Mode::STACK32)
        && is(Mode::FLAT)
        && is(Mode::FLAT_CODE)
        && is(Mode::PROTECTED)
        && !is(Mode::VM86)
        && base == 0
}
/// Tells a surveyor of an instruction that the interpreter has a helper for and this translator host code; false when
/// it has none.
pub(crate) fn survey(s: &mut Surveyor, i: &Insn) -> bool {
    x87::survey(s, i) || sse::survey(s, i) || i.mnemonic == Mnemonic::Cli && !s.mode().has(Mode::USER)
}
/// Where a visible selector is.
fn selector(seg: u8) -> At {
    let seg = usize::from(seg) % Seg::ALL.len();
    at(CPU, (offset_of!(CpuState, seg) + seg * size_of::<Segment>() + offset_of!(Segment, selector)) as i32)
}
const SYSTEM_FLAGS: i32 = offset_of!(CpuState, system_flags) as i32;

struct Quick<'a> {
    a: Asm,
    /// The operations that the code refers to: block and number there.
    ops: Vec<(usize, usize)>,
    region: &'a Region,
    plan: Plan,
    path: Path,
    /// Which of the host's flags are the guest's.
    host: u8,
    inherited: Vec<Option<Path>>,
    labels: Vec<Option<usize>>,
    /// Jumps to blocks that are yet to come.
    forward: Vec<(usize, usize)>,
    cold: Vec<Cold>,
    /// The block that comes next in the code.
    next: Option<usize>,
    // The instruction at hand.
    block: usize,
    access: usize,
    later: i64,
    ip: u32,
    live: u8,
    /// Flags from before are needed behind it.
    keep: bool,
    groups: Vec<(u32, usize)>,
    free_groups: usize,
}

/// Translates; `None`: something in it is none for this translator.
pub(crate) fn translate(region: &Region) -> Option<Made> {
    let n = region.blocks.len();
    let mut q = Quick {
        a: Asm::default(),
        ops: Vec::new(),
        region,
        plan: Plan::new(region),
        path: Path::start(),
        host: 0,
        inherited: vec![None; n],
        labels: vec![None; n],
        forward: Vec::new(),
        cold: Vec::new(),
        next: None,
        block: 0,
        access: 0,
        later: 0,
        ip: 0,
        live: ALL,
        keep: false,
        groups: Vec::new(),
        free_groups: 0,
    };
    q.a.code.reserve(region.instructions * 40 + 256);
    let mut entries = Vec::new();
    for &entry in &region.entries {
        let code = q.a.here();
        for reg in [5, 3, 12, 13, 14, 15] {
            q.a.push(reg);
        }
        q.a.alu_imm(Size::Q, 5, 4, 8);
        q.a.mov(Size::Q, CPU, 6);
        q.a.mov(Size::Q, CTX, 7);
        q.a.mov(Size::Q, REM, 1);
        q.a.call_mem(word(stubs::LOAD));
        // Code that comes from other quick code begins at a round address.
        let quick = q.a.here();
        entries.push((code, quick));
        q.path = Path::start();
        q.host = 0;
        q.next = None;
        if let Some(second) = region.blocks[entry].second {
            q.check_page(second, region.blocks[entry].ip);
        }
        q.go_to(entry);
    }
    let order: Vec<usize> = (0..n).filter(|&b| q.plan.reached[b]).collect();
    for (at, &b) in order.iter().enumerate() {
        q.next = order.get(at + 1).copied();
        q.emit(b).ok()?;
    }
    q.next = None;
    // Cold code makes more of it.
    while let Some(cold) = q.cold.pop() {
        q.out_of_the_way(cold);
    }
    for (jump, block) in std::mem::take(&mut q.forward) {
        let to = q.labels[block]?;
        q.a.patch(jump, to);
    }
    Some(Made { code: q.a.code, fixups: q.a.fixups, ips: q.a.ips, ops: q.ops, entries })
}

impl Quick<'_> {
    // --- flags ---------------------------------------------------------------------------------

    fn store_loc(&mut self, to: usize, loc: Loc) {
        match loc {
            Loc::Reg(r) => self.a.store(Size::Q, word(to), r),
            Loc::Imm(v) => self.a.store_imm(Size::Q, word(to), v),
        }
    }
    fn kind(of: FlagsOf, form: u32, size: Size, carry_is_stored: bool) -> u32 {
        let bytes = match size {
            Size::B => 1,
            Size::W => 2,
            _ => 4,
        };
        of as u32 | form << 8 | bytes << 16 | if carry_is_stored { 0 } else { stubs::STALE_CARRY }
    }
    /// Writes a record to the words; the host's flags stay.
    fn write_record(&mut self, flags: Flags) {
        if let Flags::Record(rec) = flags {
            let kind = Quick::kind(rec.of, rec.form, rec.size, rec.carry_is_stored);
            self.a.store_imm(Size::D, word(stubs::FLAGS), kind);
            self.store_loc(stubs::FLAGS_X, rec.x);
            if let Some(y) = rec.y {
                self.store_loc(stubs::FLAGS_Y, y);
            }
        }
    }
    /// Flags on the way to a block that replaces them before it computes with them: where they are in registers that
    /// keep their values until then, those are named.
    fn name_flags(&mut self, clobbered: u32) {
        let Flags::Record(rec) = self.path.flags else { return };
        let stays = |loc| match loc {
            Loc::Reg(r) => guest(r).filter(|_| clobbered >> r & 1 == 0),
            Loc::Imm(_) => None,
        };
        let mut kind = Quick::kind(rec.of, rec.form, rec.size, rec.carry_is_stored);
        match stays(rec.x) {
            Some(index) => kind |= stubs::from_register(index),
            None => self.store_loc(stubs::FLAGS_X, rec.x),
        }
        if let Some(y) = rec.y {
            let short = match y {
                Loc::Imm(value) => stubs::second_number(value),
                Loc::Reg(_) => stays(y).map(stubs::second_from_register),
            };
            match short {
                Some(bits) => kind |= bits,
                None => self.store_loc(stubs::FLAGS_Y, y),
            }
        }
        self.a.store_imm(Size::D, word(stubs::FLAGS), kind);
        self.path.flags = Flags::Stored(rec.carry_is_stored);
    }
    /// Flags to memory; the host's flags stay.
    fn store_flags(&mut self) {
        if let Flags::Record(mut rec) = self.path.flags {
            // INC and DEC in loops want the carry where it can be found without the other flags.
            if !rec.carry_is_stored && self.host & H_CARRY != 0 && rec.of != FlagsOf::Logic {
                self.a.setcc_mem(cc::B, carry());
                rec.carry_is_stored = true;
            } else if rec.of == FlagsOf::Logic && !rec.carry_is_stored {
                self.a.store_imm(Size::B, carry(), 0);
                rec.carry_is_stored = true;
            }
            self.write_record(Flags::Record(rec));
            self.path.flags = Flags::Stored(rec.carry_is_stored);
        }
    }
    /// Before registers (of the host) are changed.
    fn changes(&mut self, registers: u32) {
        if self.keep
            && let Flags::Record(rec) = self.path.flags
            && rec.uses(registers)
        {
            self.store_flags();
        }
    }
    /// Behind an instruction that has set all flags.
    fn set_flags(&mut self, rec: Record, host: u8) {
        self.host = host;
        self.path.flags = if self.live == 0 { Flags::Stored(false) } else { Flags::Record(rec) };
    }
    /// Behind an instruction that has set the host's flags as the guest's: they are written down.
    fn set_bits(&mut self, of: FlagsOf, size: Size) {
        let keeps_carry = matches!(of, FlagsOf::Inc | FlagsOf::Dec);
        self.host = if keeps_carry { H_ALL & !H_CARRY } else { H_ALL };
        self.path.flags = Flags::Stored(false);
        if self.live != 0 {
            self.a.push_flags();
            self.a.pop_mem(word(stubs::FLAGS_X));
            if !keeps_carry {
                self.a.setcc_mem(cc::B, carry());
            }
            self.a.store_imm(Size::D, word(stubs::FLAGS), Quick::kind(of, form::BITS, size, true));
            self.path.flags = Flags::Stored(true);
        }
    }
    /// The host's flags become the guest's; which of them.
    fn revive(&mut self) -> u8 {
        let Flags::Record(rec) = self.path.flags else { return 0 };
        let s = rec.size;
        let load = |q: &mut Self, to: Reg, loc: Loc| match loc {
            Loc::Reg(r) => q.a.mov(Size::D, to, r),
            Loc::Imm(v) => q.a.mov_imm(to, v),
        };
        let op = |q: &mut Self, alu: u8, a: Reg, loc: Loc| match loc {
            Loc::Reg(r) => q.a.alu(s, alu, a, r),
            Loc::Imm(v) => q.a.alu_imm(s, alu, a, v),
        };
        match (rec.form, rec.of, rec.x, rec.y) {
            (form::OPERANDS, FlagsOf::Logic, x, Some(y)) => {
                load(self, R9, x);
                match y {
                    Loc::Reg(r) => self.a.test(s, R9, r),
                    Loc::Imm(v) => self.a.test_imm(s, R9, v),
                }
                H_ALL
            }
            (form::OPERANDS, _, Loc::Reg(x), Some(y)) => {
                op(self, 7, x, y);
                H_ALL
            }
            (form::RESULT, FlagsOf::Add, x, Some(y)) => {
                load(self, R9, x);
                op(self, 5, R9, y);
                op(self, 0, R9, y);
                H_ALL
            }
            (form::RESULT, FlagsOf::Sub, x, Some(y)) => {
                load(self, R9, x);
                op(self, 0, R9, y);
                op(self, 7, R9, y);
                H_ALL
            }
            (form::NEGATED, _, x, _) => {
                load(self, R9, x);
                self.a.rr(s, &[if s == Size::B { 0xf6 } else { 0xf7 }], 3, R9);
                self.a.rr(s, &[if s == Size::B { 0xf6 } else { 0xf7 }], 3, R9);
                H_ALL
            }
            (form::ALONE, of, Loc::Reg(x), _) => {
                self.a.test(s, x, x);
                if of == FlagsOf::Logic { H_ALL } else { H_REST }
            }
            _ => 0,
        }
    }
    /// CF to [`LazyFlags::cf`]; the other flags stay where they are.
    fn store_carry(&mut self) {
        match self.path.flags {
            Flags::Stored(true) => {}
            Flags::Record(rec) if rec.carry_is_stored => {}
            Flags::Record(_) => {
                if self.host & H_CARRY == 0 {
                    self.host = self.revive();
                }
                self.a.setcc_mem(cc::B, carry());
            }
            Flags::Stored(false) => {
                self.a.rm(Size::D, &[0xf7], 0, word(stubs::FLAGS));
                self.a.imm32(0xff00_0000 | stubs::STALE_CARRY);
                let jump = self.a.jcc(cc::NE);
                let back = self.a.here();
                self.cold.push(Cold::Settle { jump, back });
                self.host = 0;
                self.path.flags = Flags::Stored(true);
            }
        }
    }
    /// A condition of the host that holds when the guest's does.
    fn condition(&mut self, cond: Cond) -> u8 {
        let needs = match cond {
            Cond::B | Cond::Ae => H_CARRY,
            Cond::E | Cond::Ne => H_ZERO,
            Cond::S | Cond::Ns | Cond::P | Cond::Np => H_REST,
            Cond::Be | Cond::A => H_CARRY | H_REST,
            Cond::O | Cond::No => H_OVERFLOW,
            _ => H_REST | H_OVERFLOW,
        };
        let number = cond as u8;
        if self.host & needs == needs {
            return number;
        }
        let is_away = match self.path.flags {
            Flags::Stored(_) => true,
            Flags::Record(rec) => rec.carry_is_stored,
        };
        if needs == H_CARRY && is_away {
            self.store_carry();
            self.a.rm(Size::B, &[0x80], 7, carry());
            self.a.byte(0);
            self.host = 0;
            return if cond == Cond::B { cc::NE } else { cc::E };
        }
        if matches!(self.path.flags, Flags::Record(_)) {
            self.host = self.revive();
            if self.host & needs == needs {
                return number;
            }
        }
        self.store_flags();
        self.a.mov_imm(R9, u32::from(number));
        self.a.call_mem(word(stubs::COND));
        self.a.test(Size::D, R9, R9);
        self.host = 0;
        self.path.flags = Flags::Stored(true);
        cc::NE
    }
    /// CF of the host becomes the guest's.
    fn carry_to_host(&mut self) {
        if self.host & H_CARRY != 0 {
            return;
        }
        if let Flags::Record(rec) = self.path.flags
            && !rec.carry_is_stored
        {
            self.host = self.revive();
            if self.host & H_CARRY != 0 {
                return;
            }
            self.store_flags();
        }
        self.store_carry();
        // CF = 0 - cf borrows.
        self.a.load_zero(Size::B, R9, carry());
        self.a.rr(Size::D, &[0xf7], 3, R9);
        self.host = H_CARRY;
    }

    // --- memory --------------------------------------------------------------------------------

    fn place(m: &Address) -> At {
        At {
            base: (m.base != gpr::NONE).then(|| host(m.base)),
            index: (m.index != gpr::NONE).then(|| host(m.index)),
            shift: m.shift & 3,
            disp: m.disp as i32,
        }
    }
    fn address(&mut self, place: At, is_word: bool) {
        match place {
            At { base: Some(base), index: None, disp: 0, .. } if !is_word => self.a.mov(Size::D, R8, base),
            At { base: None, index: None, disp, .. } => {
                let disp = if is_word { disp as u32 & 0xffff } else { disp as u32 };
                self.a.mov_imm(R8, disp);
            }
            _ => {
                self.a.lea(Size::D, R8, place);
                if is_word {
                    self.a.rr(Size::D, &[0x0f, 0xb7], R8, R8);
                }
            }
        }
    }
    /// An access of the instruction at hand: where the host has it, in R8 and for reading in R10 as well. Flags of the
    /// host are lost. The cold part is the caller's to complete.
    fn touch(&mut self, m: &Address, bytes: u64, how: u32, value: Option<Value>) -> Result<At, Not> {
        self.touch_at(m.seg, m.flat, Quick::place(m), m.width == Width::Word, bytes, how, value)
    }
    fn touch_stack(&mut self, base: Reg, disp: i32, bytes: u64, how: u32, value: Option<Value>) -> Result<At, Not> {
        self.touch_at(Seg::Ss, true, at(base, disp), false, bytes, how, value)
    }
    #[allow(clippy::too_many_arguments, reason = "all of one access")]
    fn touch_at(
        &mut self,
        seg: Seg,
        flat: bool,
        place: At,
        is_word: bool,
        bytes: u64,
        how: u32,
        value: Option<Value>,
    ) -> Result<At, Not> {
        let number = self.access;
        self.access += 1;
        let (flags, unit) = (self.path.flags, self.path.unit);
        self.host = 0;
        let debt = u32::try_from(self.path.debt).map_err(|_| Not)?;
        if debt >= 1 << 13 {
            return Err(Not);
        }
        let info = describe(seg, flat, bytes, how, self.later as u32, debt);
        let is_write = how != READ;
        let cold = |jumps, back, disp, group, saved, is_split| Cold::Access {
            jumps,
            back,
            place,
            is_word,
            saved,
            info,
            ip: 0,
            disp,
            group,
            is_split,
            value,
            flags,
            unit,
            modify: None,
            copy: None,
        };
        let span = self.region.blocks[self.block].spans.get(number).copied();
        let span = span.filter(|s| {
            flat && !is_word && s.shared && (s.write || !is_write) && u64::from(s.bytes) >= u64::from(s.back) + bytes
        });
        let mut group = None;
        if let Some(span) = span {
            if let Some(&(_, slot)) = self.groups.iter().find(|(id, _)| *id == span.group) {
                self.a.load(Size::Q, R8, word(stubs::GROUPS + 8 * slot));
                self.a.test(Size::Q, R8, R8);
                let jump = self.a.jcc(cc::E);
                let back = self.a.here();
                let disp = span.back as i32;
                self.push_access(cold(vec![jump], back, disp, None, false, false));
                return Ok(at(R8, disp));
            }
            if self.free_groups < stubs::MAX_GROUPS {
                group = Some(self.free_groups);
                self.free_groups += 1;
                self.groups.push((span.group, self.free_groups - 1));
            }
        }
        let (back_by, bytes, is_write) = match (span, group) {
            (Some(span), Some(_)) => (span.back as i32, u64::from(span.bytes), span.write),
            _ => (0, bytes, is_write),
        };
        let mut jumps = Vec::new();
        let start = At { disp: place.disp.wrapping_sub(back_by), ..place };
        self.address(start, is_word);
        if !flat {
            let segment = (offset_of!(CpuState, seg) + size_of::<Segment>() * seg as usize) as i32;
            let end = if is_write { offset_of!(Segment, write_end) } else { offset_of!(Segment, read_end) };
            self.a.store(Size::Q, word(stubs::OFFSET), R8);
            self.a.lea(Size::Q, R9, at(R8, bytes as i32));
            self.a.alu_load(Size::Q, 7, R9, at(CPU, segment + end as i32));
            jumps.push(self.a.jcc(cc::A));
            self.a.alu_load(Size::D, 0, R8, at(CPU, segment + offset_of!(Segment, base) as i32));
        }
        let table = self.region.tlb(is_write);
        self.a.mov(Size::D, R9, R8);
        self.a.shift(Size::D, 5, R9, 8);
        self.a.alu_imm(Size::D, 4, R9, (Tables::HALF as u32 - 1) << 4);
        let entry = |field: usize| At { base: Some(CTX), index: Some(R9), shift: 0, disp: (table + field) as i32 };
        self.a.alu_load(Size::Q, 5, R8, entry(0));
        self.a.alu_imm(Size::Q, 7, R8, (PAGE - bytes) as u32);
        jumps.push(self.a.jcc(cc::A));
        // What is read is waited for: distance and page are found at the same time, and the access adds them.
        let is_split = how == READ && group.is_none();
        if is_split {
            self.a.load(Size::Q, R10, entry(8));
        } else {
            self.a.alu_load(Size::Q, 0, R8, entry(8));
        }
        if let Some(slot) = group {
            self.a.store(Size::Q, word(stubs::GROUPS + 8 * slot), R8);
        }
        let back = self.a.here();
        self.push_access(cold(jumps, back, back_by, group, !flat, is_split));
        Ok(At { index: is_split.then_some(R10), ..at(R8, back_by) })
    }
    fn push_access(&mut self, mut cold: Cold) {
        if let Cold::Access { ip, .. } = &mut cold {
            *ip = self.ip;
        }
        self.cold.push(cold);
    }
    fn read(&mut self, i: &Insn, bytes: Width) -> Result<At, Not> {
        self.touch(&i.mem, bytes.bytes(), READ, None)
    }
    /// Where an operand is that other code goes before, which may change R10.
    fn in_r8(&mut self, operand: At) -> At {
        let Some(index) = operand.index else { return operand };
        self.a.alu(Size::Q, 0, R8, index);
        At { index: None, ..operand }
    }
    fn write(&mut self, i: &Insn, s: Width, value: Value) -> Done {
        let to = self.touch(&i.mem, s.bytes(), WRITE, Some(value))?;
        self.put(size(s), to, value);
        Ok(())
    }
    fn put(&mut self, s: Size, to: At, value: Value) {
        match value {
            Value::Reg(r) => self.a.store(s, to, r),
            Value::Imm(v) => self.a.store_imm(s, to, v),
            Value::Ip(ip) => self.a.store_ip(s, to, ip),
        }
    }
    /// Reads, changes and writes the memory operand: `change` writes code that does so.
    fn modify(&mut self, i: &Insn, bytes: Width, change: impl FnOnce(&mut Self, At)) -> Done {
        let to = self.touch(&i.mem, bytes.bytes(), MODIFY, None)?;
        self.modify_there(to, change);
        Ok(())
    }
    /// The same with what has been touched just now.
    fn modify_there(&mut self, to: At, change: impl FnOnce(&mut Self, At)) {
        let index = self.cold.len() - 1;
        let from = self.a.here();
        change(self, to);
        let code = self.a.code[from..].to_vec();
        let here = self.a.here();
        if let Some(Cold::Access { modify, .. }) = self.cold.get_mut(index) {
            *modify = Some((code, here));
        }
    }

    // --- code out of the way -------------------------------------------------------------------

    fn out_of_the_way(&mut self, cold: Cold) {
        match cold {
            Cold::Access {
                jumps,
                back,
                place,
                is_word,
                saved,
                info,
                ip,
                disp,
                group,
                is_split,
                value,
                flags,
                unit,
                modify,
                copy,
            } => {
                for jump in jumps {
                    self.a.land(jump);
                }
                if saved {
                    self.a.load(Size::Q, R8, word(stubs::OFFSET));
                } else {
                    self.address(place, is_word);
                }
                let mut found = None;
                if let Some(Copying::Float { .. }) = copy {
                    self.a.mov_imm(R9, info);
                    self.a.call_mem(word(stubs::TRY));
                    self.a.test(Size::D, R10, R10);
                    found = Some(self.a.jcc(cc::NE));
                }
                self.write_record(flags);
                self.write_unit(unit);
                match value {
                    Some(Value::Reg(r)) => self.a.store(Size::Q, word(stubs::VALUE), r),
                    Some(Value::Imm(v)) => self.a.store_imm(Size::Q, word(stubs::VALUE), v),
                    Some(Value::Ip(ip)) => self.a.store_ip(Size::Q, word(stubs::VALUE), ip),
                    None => {}
                }
                match copy {
                    Some(Copying::Float { first, number, to }) => {
                        // It may have to be taken back.
                        self.a.call_mem(word(stubs::KEEP));
                        self.a.escape(first, number, word(to));
                    }
                    Some(Copying::Vector { prefix, op, reg, to }) => {
                        self.sse_bytes(prefix, op, reg, sse::Rm::Memory(word(to)));
                    }
                    None => {}
                }
                self.a.mov_imm(R9, info);
                self.a.mov_ip(R10, ip);
                self.a.call_mem(word(stubs::ACCESS));
                if let Some(found) = found {
                    self.a.land(found);
                }
                if disp != 0 {
                    self.a.lea(Size::Q, R8, at(R8, -disp));
                }
                if let Some(slot) = group {
                    self.a.store_imm(Size::Q, word(stubs::GROUPS + 8 * slot), 0);
                }
                if is_split {
                    self.a.mov_imm(R10, 0);
                }
                let Some((code, behind)) = modify else { return self.a.jump_back(back) };
                self.a.code.extend_from_slice(&code);
                self.a.push_flags();
                self.a.pop_mem(word(stubs::SAVED));
                self.a.mov_imm(R9, info | WRITE_BACK << 6);
                self.a.mov_ip(R10, ip);
                self.a.call_mem(word(stubs::ACCESS));
                self.a.push_mem(word(stubs::SAVED));
                self.a.pop_flags();
                self.a.jump_back(behind);
            }
            Cold::Leave { jump, how, ip, plus, cell, flags } => {
                self.a.land(jump);
                self.write_record(flags);
                if let Some((cell, back)) = &cell {
                    match cell {
                        Cell::Here(page) => self.a.mov_address(R9, Target::Cell(*page as u32)),
                        Cell::OfExit => self.a.load(Size::Q, R9, at(R8, cx::SLOT_CELL as i32)),
                    }
                    self.a.lea(Size::Q, R10, at(REM, plus));
                    self.a.call_mem(word(stubs::REVALIDATE));
                    self.a.test(Size::D, R10, R10);
                    let valid = self.a.jcc(cc::NE);
                    self.a.patch(valid, *back);
                }
                self.a.mov_ip(R10, ip);
                self.a.lea(Size::Q, R9, at(REM, plus));
                match cell {
                    Some((cell, _)) => {
                        if let Cell::Here(_) = cell {
                            self.a.mov_imm(R8, 0);
                        }
                        self.a.jmp_mem(word(stubs::LEAVE_UNSURE));
                    }
                    None => {
                        self.a.mov_imm(R8, how);
                        self.a.jmp_mem(word(stubs::LEAVE));
                    }
                }
            }
            Cold::Settle { jump, back } => {
                self.a.land(jump);
                self.a.call_mem(word(stubs::SETTLE));
                self.a.jump_back(back);
            }
            Cold::Bring { jump, back, ip, plus, flags } => {
                self.a.land(jump);
                self.write_record(flags);
                self.a.call_mem(word(stubs::BRING));
                self.back_or_step(back, ip, plus);
            }
            Cold::BringVectors { jump, back, level, ip, plus, flags, unit } => {
                self.a.land(jump);
                self.write_record(flags);
                self.write_unit(unit);
                self.a.mov_imm(R9, level);
                self.a.call_mem(word(stubs::BRING_VECTORS));
                self.back_or_step(back, ip, plus);
            }
            Cold::Step { jump, ip, plus, flags, unit } => {
                self.a.land(jump);
                self.write_record(flags);
                self.write_unit(unit);
                self.leave_to_step(ip, plus);
            }
            Cold::One { jumps, back, op, debt, flags, unit } => {
                for jump in jumps {
                    self.a.land(jump);
                }
                self.write_record(flags);
                self.write_unit(unit);
                self.a.mov_address(R9, op);
                self.a.mov_imm(R10, debt);
                self.a.call_mem(word(stubs::ONE));
                self.a.alu_imm(Size::Q, 0, REM, debt);
                self.a.jump_back(back);
            }
            Cold::Slow { jumps, op, debt, flags, unit } => {
                for jump in jumps {
                    self.a.land(jump);
                }
                self.write_record(flags);
                self.write_unit(unit);
                self.a.mov_address(R9, op);
                self.a.mov_imm(R10, debt);
                self.a.call_mem(word(stubs::ONE));
                self.a.jmp_mem(word(stubs::LEAVE_SLOW));
            }
            Cold::Edge { jump, from, edge, path } => {
                self.a.land(jump);
                self.path = path;
                self.host = 0;
                self.follow(from, edge);
            }
        }
    }

    /// Back when R10 says so, else the instruction is the interpreter's.
    fn back_or_step(&mut self, back: usize, ip: u32, plus: i32) {
        self.a.test(Size::D, R10, R10);
        let done = self.a.jcc(cc::NE);
        self.a.patch(done, back);
        self.leave_to_step(ip, plus);
    }
    fn leave_to_step(&mut self, ip: u32, plus: i32) {
        self.a.mov_ip(R10, ip);
        self.a.lea(Size::Q, R9, at(REM, plus));
        self.a.mov_imm(R8, cx::STEP as u32);
        self.a.jmp_mem(word(stubs::LEAVE));
    }

    // --- blocks --------------------------------------------------------------------------------

    fn jump_to(&mut self, block: usize) {
        match self.labels[block] {
            Some(to) => self.a.jump_back(to),
            None if self.next == Some(block) => {}
            None => {
                let jump = self.a.jmp();
                self.forward.push((jump, block));
            }
        }
    }
    fn go_to(&mut self, to: usize) {
        let price = self.region.blocks[to].steps.len() as i64;
        let single = self.plan.single[to];
        if single && !self.path.consumed {
            self.path.debt += price;
        } else {
            let flags = match self.need(to) {
                Need::No => std::mem::replace(&mut self.path.flags, Flags::Stored(false)),
                Need::Name { clobbered, carry } => {
                    if carry {
                        self.store_carry();
                        if let Flags::Record(rec) = &mut self.path.flags {
                            rec.carry_is_stored = true;
                        }
                    }
                    self.name_flags(clobbered);
                    self.path.flags
                }
                Need::All => {
                    self.store_flags();
                    self.path.flags
                }
            };
            self.settle_unit();
            let spare = self.plan.reach[to] - price;
            let pay = price + self.path.debt;
            self.host = 0;
            self.a.alu_imm(Size::Q, 5, REM, pay as u32);
            let jump = if spare == 0 {
                self.a.jcc(cc::S)
            } else {
                self.a.alu_imm(Size::Q, 7, REM, spare as u32);
                self.a.jcc(cc::L)
            };
            self.path.debt = 0;
            self.path.consumed = false;
            let ip = self.region.blocks[to].ip as u32;
            let (mut jump, how, label) = (jump, cx::SHORT as u32, self.labels[to]);
            if let Some(label) = label {
                // A loop: one jump back.
                self.a.code[jump - 1] ^= 1;
                self.a.patch(jump, label);
                jump = self.a.jmp();
            }
            self.cold.push(Cold::Leave { jump, how, ip, plus: price as i32, cell: None, flags });
            if label.is_some() {
                return;
            }
        }
        if single {
            self.inherited[to] = Some(self.path.clone());
        }
        self.jump_to(to);
    }
    /// What of the flags a block needs that several ways lead to.
    fn need(&self, to: usize) -> Need {
        match self.plan.replaced[to] {
            _ if self.plan.single[to] => Need::All,
            _ if self.region.blocks[to].live == 0 => Need::No,
            Some(r) => Need::Name { clobbered: hosts(r.written), carry: r.keeps_carry },
            None => Need::All,
        }
    }
    fn check_page(&mut self, page: usize, ip: u64) {
        self.write_down();
        self.host = 0;
        self.a.mov_address(R9, Target::Cell(page as u32));
        self.a.load(Size::Q, R9, at(R9, 0));
        self.a.alu_load(Size::Q, 7, R9, word(cx::EPOCH));
        let jump = self.a.jcc(cc::NE);
        let plus = -self.path.debt as i32;
        let cell = Some((Cell::Here(page), self.a.here()));
        self.cold.push(Cold::Leave { jump, how: 0, ip: ip as u32, plus, cell, flags: self.path.flags });
    }
    /// Whether an edge inside the region needs a look at the validity of a page.
    fn crosses(&self, from: usize, to: usize) -> bool {
        let (here, there) = (&self.region.blocks[from], &self.region.blocks[to]);
        here.page != there.page || here.second.is_some() || there.second.is_some()
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
            Edge::Exit(exit) => self.exit(from, exit),
            // A helper has seen to everything.
            Edge::None => self.a.jmp_mem(word(stubs::LEAVE_DONE)),
        }
    }
    fn pay(&mut self) {
        if self.path.debt != 0 {
            self.a.alu_imm(Size::Q, 5, REM, self.path.debt as u32);
            self.path.debt = 0;
            self.host = 0;
        }
    }
    fn exit(&mut self, from: usize, exit: usize) {
        self.write_down();
        self.pay();
        let target = self.region.exits[exit];
        self.a.mov_address(R8, Target::Exit(exit as u32));
        let block = &self.region.blocks[from];
        let here = if block.second.is_some() { u64::MAX } else { self.region.pages[block.page].linear };
        if (target & 0xffff_ffff) >> 12 != here {
            self.a.load(Size::Q, R9, at(R8, cx::SLOT_CELL as i32));
            self.a.load(Size::Q, R9, at(R9, 0));
            self.a.alu_load(Size::Q, 7, R9, word(cx::EPOCH));
            let jump = self.a.jcc(cc::NE);
            let cell = Some((Cell::OfExit, self.a.here()));
            self.cold.push(Cold::Leave { jump, how: 0, ip: target as u32, plus: 0, cell, flags: self.path.flags });
        }
        self.a.jmp_mem(at(R8, cx::SLOT_QUICK as i32));
    }

    fn emit(&mut self, n: usize) -> Done {
        let region = self.region;
        let block: &Block = &region.blocks[n];
        self.labels[n] = Some(self.a.here());
        self.path = match self.inherited[n].take() {
            Some(path) => path,
            None if self.plan.single[n] => return Err(Not),
            None => {
                let is_carry_stored = matches!(self.need(n), Need::Name { carry: true, .. });
                Path { flags: Flags::Stored(is_carry_stored), ..Path::start() }
            }
        };
        self.host = 0;
        self.block = n;
        self.groups.clear();
        self.free_groups = 0;
        let mut end = End::Fall;
        for (at, step) in block.steps.iter().enumerate() {
            self.later = i64::from(step.later);
            self.ip = step.insn.ip as u32;
            self.live = step.live;
            self.access = step.access;
            let s = &step.survey;
            self.keep = step.live & !s.defines != 0;
            if step.live & !s.defines | s.needs == 0 {
                // Nobody will ask for the flags of now.
                self.path.flags = Flags::Stored(false);
            }
            end = self.step(step, n, at)?;
            // As [`Plan`] has it, whatever the prefix means.
            self.path.consumed |= step.insn.rep != Rep::No;
        }
        if block.slow_end && !matches!(end, End::On) {
            self.leave_unit();
            if block.fall == Edge::None {
                self.a.jmp_mem(word(stubs::LEAVE_SLOW));
                return Ok(());
            }
            let last = block.steps.last().ok_or(Not)?;
            self.a.mov_ip(R8, last.insn.next_ip() as u32);
            self.a.call_mem(word(stubs::GO_ON));
        }
        // Time may have passed.
        self.path.consumed |= block.slow_end;
        match end {
            End::Fall | End::On => self.follow(n, block.fall),
            End::Goto => self.follow(n, block.taken),
            End::Branch(cc) => self.branch(n, cc),
            End::Jump => {
                self.write_down();
                for &guess in &block.guesses {
                    let there = region.blocks[guess].ip as u32;
                    self.a.compare_ip(R8, there);
                    let jump = self.a.jcc(cc::E);
                    let (edge, path) = (Edge::Block(guess), self.path.clone());
                    if self.plan.single[guess] {
                        let skip = self.a.jmp();
                        self.a.land(jump);
                        let next = self.next.take();
                        self.follow(n, edge);
                        self.next = next;
                        self.a.land(skip);
                        self.path = path;
                    } else {
                        self.cold.push(Cold::Edge { jump, from: n, edge, path });
                    }
                }
                self.pay();
                self.a.jmp_mem(word(stubs::INDIRECT));
            }
        }
        Ok(())
    }
    fn branch(&mut self, n: usize, cc: u8) {
        let (taken, fall) = (self.region.blocks[n].taken, self.region.blocks[n].fall);
        let stores = |q: &Self, edge| match edge {
            Edge::Block(to) => !q.plan.single[to] || q.crosses(n, to) || q.path.consumed,
            _ => true,
        };
        let stores_all = |q: &Self, edge| match edge {
            Edge::Block(to) => stores(q, edge) && (q.crosses(n, to) || matches!(q.need(to), Need::All)),
            _ => true,
        };
        if stores_all(self, taken) && stores_all(self, fall) {
            self.write_down();
        }
        let saved = self.path.clone();
        if let Edge::Block(to) = taken {
            if !stores(self, taken) {
                // Only the debt differs.
                let jump = self.a.jcc(cc);
                self.path.debt += self.region.blocks[to].steps.len() as i64;
                self.inherited[to] = Some(self.path.clone());
                self.forward.push((jump, to));
                self.path = saved;
                self.follow(n, fall);
                return;
            }
            if self.labels[to].is_some() {
                let skip = self.a.jcc(cc ^ 1);
                self.follow(n, taken);
                self.a.land(skip);
                self.path = saved;
                self.host = 0;
                self.follow(n, fall);
                return;
            }
        }
        let jump = self.a.jcc(cc);
        if let Edge::Block(to) = taken
            && self.plan.single[to]
        {
            // What it begins with is found out now, the code comes later.
            let skip = self.a.jmp();
            self.a.land(jump);
            let next = self.next.take();
            self.follow(n, taken);
            self.next = next;
            self.a.land(skip);
        } else {
            self.cold.push(Cold::Edge { jump, from: n, edge: taken, path: saved.clone() });
        }
        self.path = saved;
        self.host = 0;
        self.follow(n, fall);
    }

    // --- instructions --------------------------------------------------------------------------

    /// The operation `at` of block `n`, for code that refers to it.
    fn op(&mut self, n: usize, at: usize) -> Target {
        if self.ops.last() != Some(&(n, at)) {
            self.ops.push((n, at));
        }
        Target::Op(self.ops.len() as u32 - 1)
    }
    /// The function or helper of the interpreter.
    fn one(&mut self, n: usize, at: usize) -> End {
        let op = self.op(n, at);
        self.store_flags();
        self.leave_unit();
        self.path.vectors = sse::UNKNOWN;
        self.a.mov_address(R9, op);
        self.a.mov_imm(R10, self.path.debt as u32);
        self.a.call_mem(word(stubs::ONE));
        self.path.debt = 0;
        self.path.consumed |= self.region.blocks[n].steps[at].insn.rep != Rep::No;
        if cx::beside_flags(&self.region.blocks[n].steps[at].insn).is_none() {
            self.path.flags = Flags::Stored(true);
        }
        self.host = 0;
        self.groups.clear();
        End::Fall
    }

    fn step(&mut self, step: &Step, n: usize, number: usize) -> Result<End, Not> {
        let i = &step.insn;
        let (d, s) = (i.ops[0], i.ops[1]);
        let w = i.width;
        let z = size(w);
        // Registers that the instruction changes must not be recorded flags' any more; those of
        // the flags that it sets itself it may still need.
        let written = hosts(step.survey.written);
        if !matches!(i.op, Opcode::Helper | Opcode::Inc | Opcode::Dec) {
            self.changes(written);
        }
        self.unit_changes(written);
        let reg = |o: cpu::insn::Operand| match o.kind {
            OperandKind::Reg => Some(host(o.index)),
            // With instructions that have no REX prefix.
            OperandKind::RegHigh => Some(o.index & 3 | 4),
            _ => None,
        };
        let high = |o: cpu::insn::Operand| o.kind == OperandKind::RegHigh;
        let legacy = |o: cpu::insn::Operand| match o.kind {
            OperandKind::Reg => host(o.index) < 8,
            OperandKind::Mem => false,
            _ => true,
        };
        let any_high = high(d) || high(s);
        // A high byte beside a register that takes a prefix, or memory.
        let awkward = any_high && !(legacy(d) && legacy(s));
        match i.op {
            Opcode::Nop => {}
            Opcode::Mov => match (d.kind, s.kind) {
                _ if w == Width::Qword => return Err(Not),
                (OperandKind::Reg, OperandKind::Seg) if w == Width::Dword => {
                    let index = usize::from(s.index.min(5));
                    let from = offset_of!(CpuState, seg) + size_of::<Segment>() * index + offset_of!(Segment, selector);
                    self.a.load_zero(Size::W, host(d.index), at(CPU, from as i32));
                }
                (OperandKind::Reg | OperandKind::RegHigh, OperandKind::Reg | OperandKind::RegHigh) if !awkward => {
                    let (to, from) = (reg(d).ok_or(Not)?, reg(s).ok_or(Not)?);
                    self.a.rr(z, &[if z == Size::B { 0x8a } else { 0x8b }], to, from);
                }
                (OperandKind::Reg, OperandKind::Imm) => match w {
                    Width::Dword => self.a.mov_imm(host(d.index), i.imm as u32),
                    Width::Word => {
                        self.a.rr(z, &[0xc7], 0, host(d.index));
                        self.a.code.extend_from_slice(&(i.imm as u16).to_le_bytes());
                    }
                    _ => {
                        self.a.rr(z, &[0xc6], 0, host(d.index));
                        self.a.byte(i.imm as u8);
                    }
                },
                (OperandKind::RegHigh, OperandKind::Imm) => {
                    self.a.rr(z, &[0xc6], 0, d.index & 3 | 4);
                    self.a.byte(i.imm as u8);
                }
                (OperandKind::Reg, OperandKind::Mem) => {
                    let from = self.read(i, w)?;
                    self.a.load(z, host(d.index), from);
                }
                (OperandKind::Mem, OperandKind::Reg) => self.write(i, w, Value::Reg(host(s.index)))?,
                (OperandKind::Mem, OperandKind::RegHigh) => {
                    self.free_r11();
                    self.a.mov(Size::D, R11, host(s.index));
                    self.a.shift(Size::D, 5, R11, 8);
                    self.write(i, w, Value::Reg(R11))?;
                }
                (OperandKind::Mem, OperandKind::Imm) => self.write(i, w, Value::Imm(i.imm as u32))?,
                _ => return Ok(self.one(n, number)),
            },
            Opcode::Movzx | Opcode::Movsx => {
                let from = size(i.src_width);
                let op = match (i.op == Opcode::Movsx, from) {
                    (false, Size::B) => [0x0f, 0xb6],
                    (false, _) => [0x0f, 0xb7],
                    (true, Size::B) => [0x0f, 0xbe],
                    (true, _) => [0x0f, 0xbf],
                };
                match (d.kind, s.kind) {
                    (OperandKind::Reg, OperandKind::Mem) => {
                        let from = self.read(i, i.src_width)?;
                        self.a.rm(z, &op, host(d.index), from);
                    }
                    (OperandKind::Reg, OperandKind::Reg | OperandKind::RegHigh) if !awkward => {
                        self.a.rr(z, &op, host(d.index), reg(s).ok_or(Not)?);
                    }
                    _ => return Ok(self.one(n, number)),
                }
            }
            Opcode::Lea => {
                let m = &i.mem;
                let place = Quick::place(m);
                let to = host(d.index);
                match (w, m.width) {
                    (Width::Dword, Width::Dword) => match place {
                        At { base: None, index: None, disp, .. } => self.a.mov_imm(to, disp as u32),
                        _ => self.a.lea(Size::D, to, place),
                    },
                    _ => return Ok(self.one(n, number)),
                }
            }
            Opcode::Add | Opcode::Or | Opcode::Adc | Opcode::Sbb | Opcode::And | Opcode::Sub | Opcode::Xor => {
                return self.binary(i, n, number, awkward);
            }
            Opcode::Cmp | Opcode::Test => return self.compare(i, n, number, awkward),
            Opcode::Inc | Opcode::Dec => {
                let of = if i.op == Opcode::Inc { FlagsOf::Inc } else { FlagsOf::Dec };
                let how = u8::from(i.op == Opcode::Dec);
                let op = [if z == Size::B { 0xfe } else { 0xff }];
                if self.live & CARRY != 0 {
                    self.store_carry();
                }
                match d.kind {
                    OperandKind::Reg => {
                        let r = host(d.index);
                        // What was recorded has been replaced but for the carry, which is stored.
                        self.a.rr(z, &op, how, r);
                        let rec =
                            Record { of, form: form::ALONE, size: z, x: Loc::Reg(r), y: None, carry_is_stored: true };
                        self.set_flags(rec, H_ALL & !H_CARRY);
                    }
                    OperandKind::RegHigh => {
                        self.a.rr(z, &op, how, d.index & 3 | 4);
                        self.set_bits(of, z);
                    }
                    OperandKind::Mem => {
                        self.modify(i, w, |q, to| q.a.rm(z, &op, how, to))?;
                        self.set_bits(of, z);
                    }
                    _ => return Err(Not),
                }
            }
            Opcode::Neg => match d.kind {
                OperandKind::Reg => {
                    let r = host(d.index);
                    self.a.rr(z, &[if z == Size::B { 0xf6 } else { 0xf7 }], 3, r);
                    let (of, x) = (FlagsOf::Sub, Loc::Reg(r));
                    let rec = Record { of, form: form::NEGATED, size: z, x, y: None, carry_is_stored: false };
                    self.set_flags(rec, H_ALL);
                }
                _ => return Ok(self.one(n, number)),
            },
            Opcode::Not => {
                let op = [if z == Size::B { 0xf6 } else { 0xf7 }];
                match reg(d) {
                    Some(r) => self.a.rr(z, &op, 2, r),
                    None => self.modify(i, w, |q, to| q.a.rm(z, &op, 2, to))?,
                }
            }
            Opcode::Xchg => match (d.kind, s.kind) {
                (OperandKind::Reg, OperandKind::Reg) if w == Width::Dword => {
                    self.a.rr(z, &[0x87], host(s.index), host(d.index));
                }
                (OperandKind::Mem, OperandKind::Reg) if w == Width::Dword => {
                    self.free_r11();
                    let r = host(s.index);
                    self.modify(i, w, |q, to| {
                        q.a.load(z, R11, to);
                        q.a.store(z, to, r);
                    })?;
                    self.a.mov(Size::D, r, R11);
                }
                _ => return Ok(self.one(n, number)),
            },
            Opcode::Xadd => match (d.kind, s.kind) {
                (OperandKind::Mem, OperandKind::Reg) if w == Width::Dword => {
                    let r = host(s.index);
                    self.modify(i, w, |q, to| {
                        q.a.mov(Size::D, R11, r);
                        q.a.rm(z, &[0x0f, 0xc1], R11, to);
                    })?;
                    self.set_bits(FlagsOf::Add, z);
                    self.a.mov(Size::D, r, R11);
                }
                _ => return Ok(self.one(n, number)),
            },
            Opcode::Cmpxchg => match (d.kind, s.kind) {
                (OperandKind::Mem, OperandKind::Reg) if w == Width::Dword => {
                    let r = host(s.index);
                    self.modify(i, w, |q, to| {
                        q.a.load(z, R11, to);
                        q.a.mov(Size::D, R9, R11);
                        q.a.alu(z, 7, AX, R11);
                        q.a.rr(z, &[0x0f, 0x40 | cc::E], R9, r);
                        q.a.store(z, to, R9);
                    })?;
                    self.set_bits(FlagsOf::Sub, z);
                    // What they are if the comparison has gone well.
                    self.a.mov(Size::D, AX, R11);
                }
                _ => return Ok(self.one(n, number)),
            },
            Opcode::Shld | Opcode::Shrd => {
                let op = if i.op == Opcode::Shld { 0xa4 } else { 0xac };
                match (d.kind, s.kind, i.ops[2].kind) {
                    _ if self.live != 0 || w != Width::Dword => return Ok(self.one(n, number)),
                    (OperandKind::Reg, OperandKind::Reg, OperandKind::Imm) => {
                        self.a.rr(z, &[0x0f, op], host(s.index), host(d.index));
                        self.a.byte(i.imm as u8);
                    }
                    (OperandKind::Reg, OperandKind::Reg, OperandKind::Reg) => {
                        self.a.rr(z, &[0x0f, op + 1], host(s.index), host(d.index));
                    }
                    _ => return Ok(self.one(n, number)),
                }
                self.host = 0;
            }
            Opcode::Bswap if w == Width::Dword => {
                let r = host(d.index);
                if r >= 8 {
                    self.a.byte(0x41);
                }
                self.a.byte(0x0f);
                self.a.byte(0xc8 | r & 7);
            }
            Opcode::Shl | Opcode::Shr | Opcode::Sar => return self.shift(i, n, number),
            Opcode::Rol | Opcode::Ror => {
                let (OperandKind::Reg, OperandKind::Imm, Width::Dword) = (d.kind, s.kind, w) else {
                    return Ok(self.one(n, number));
                };
                let count = i.imm as u8 & 31;
                if count != 0 {
                    self.store_for_overlay();
                    let r = host(d.index);
                    let left = i.op == Opcode::Rol;
                    self.a.shift(z, u8::from(!left), r, count);
                    self.host = H_CARRY;
                    self.overlay(if left { overlay::ROL } else { overlay::ROR }, r);
                }
            }
            Opcode::Bt | Opcode::Bts | Opcode::Btr | Opcode::Btc => {
                let how = match i.op {
                    Opcode::Bt => 4,
                    Opcode::Bts => 5,
                    Opcode::Btr => 6,
                    _ => 7,
                };
                if w != Width::Dword {
                    return Ok(self.one(n, number));
                }
                self.store_for_overlay();
                match (d.kind, s.kind) {
                    (OperandKind::Reg, OperandKind::Reg) => {
                        self.a.rr(z, &[0x0f, 0x83 | how << 3], host(s.index), host(d.index));
                    }
                    (OperandKind::Reg, OperandKind::Imm) => {
                        self.a.rr(z, &[0x0f, 0xba], how, host(d.index));
                        self.a.byte(i.imm as u8);
                    }
                    (OperandKind::Mem, OperandKind::Imm) if how == 4 => {
                        let from = self.read(i, w)?;
                        self.a.rm(z, &[0x0f, 0xba], how, from);
                        self.a.byte(i.imm as u8);
                    }
                    (OperandKind::Mem, OperandKind::Imm) => self.modify(i, w, |q, to| {
                        q.a.rm(z, &[0x0f, 0xba], how, to);
                        q.a.byte(i.imm as u8);
                    })?,
                    _ => return Ok(self.one(n, number)),
                }
                self.a.setcc(cc::B, R9);
                self.host = H_CARRY;
                self.overlay(overlay::CARRY, R9);
            }
            Opcode::Imul2 | Opcode::Imul3 => {
                if d.kind != OperandKind::Reg || w == Width::Byte {
                    return Ok(self.one(n, number));
                }
                let r = host(d.index);
                let from = match s.kind {
                    OperandKind::Mem => Err(self.read(i, w)?),
                    OperandKind::Reg => Ok(host(s.index)),
                    _ => return Err(Not),
                };
                if i.op == Opcode::Imul2 {
                    match from {
                        Ok(s) => self.a.rr(z, &[0x0f, 0xaf], r, s),
                        Err(at) => self.a.rm(z, &[0x0f, 0xaf], r, at),
                    }
                } else {
                    match from {
                        Ok(s) => self.a.rr(z, &[0x69], r, s),
                        Err(at) => self.a.rm(z, &[0x69], r, at),
                    }
                    match z {
                        Size::W => self.a.code.extend_from_slice(&(i.imm as u16).to_le_bytes()),
                        _ => self.a.imm32(i.imm as u32),
                    }
                }
                self.product(z, r);
            }
            Opcode::Mul | Opcode::Imul1 => {
                if w != Width::Dword {
                    return Ok(self.one(n, number));
                }
                let how = if i.op == Opcode::Mul { 4 } else { 5 };
                match d.kind {
                    OperandKind::Mem => {
                        let from = self.read(i, w)?;
                        self.a.rm(z, &[0xf7], how, from);
                    }
                    OperandKind::Reg => self.a.rr(z, &[0xf7], how, host(d.index)),
                    _ => return Err(Not),
                }
                self.product(z, AX);
            }
            Opcode::Cbw => {
                if w == Width::Word {
                    self.a.byte(0x66);
                }
                self.a.byte(0x98);
            }
            Opcode::Cwd => {
                if w == Width::Word {
                    self.a.byte(0x66);
                }
                self.a.byte(0x99);
            }
            Opcode::Push => {
                let value = match d.kind {
                    OperandKind::Reg => Value::Reg(host(d.index)),
                    OperandKind::Imm => Value::Imm(i.imm as u32),
                    OperandKind::Mem => {
                        self.free_r11();
                        let from = self.read(i, w)?;
                        self.a.load_zero(z, R11, from);
                        Value::Reg(R11)
                    }
                    _ => return Ok(self.one(n, number)),
                };
                self.push(w, value)?;
            }
            Opcode::PopReg => {
                if d.kind != OperandKind::Reg {
                    return Ok(self.one(n, number));
                }
                let place = self.touch_stack(SP, 0, w.bytes(), READ, None)?;
                self.a.lea(Size::D, SP, at(SP, w.bytes() as i32));
                self.a.load(z, host(d.index), place);
            }
            Opcode::Leave => {
                if w != Width::Dword {
                    return Ok(self.one(n, number));
                }
                let place = self.touch_stack(host(gpr::BP), 0, 4, READ, None)?;
                self.a.lea(Size::D, SP, at(host(gpr::BP), 4));
                self.a.load(z, host(gpr::BP), place);
            }
            Opcode::CallNear if w == Width::Dword => {
                self.push_return(i)?;
                return Ok(End::Goto);
            }
            Opcode::CallIndirect if w == Width::Dword => {
                self.free_r11();
                match d.kind {
                    OperandKind::Reg => self.a.mov(Size::D, R11, host(d.index)),
                    _ => {
                        let from = self.read(i, w)?;
                        self.a.load(Size::D, R11, from);
                    }
                }
                self.push_return(i)?;
                self.a.mov(Size::D, R8, R11);
                return Ok(End::Jump);
            }
            Opcode::JmpIndirect if w == Width::Dword => {
                match d.kind {
                    OperandKind::Reg => self.a.mov(Size::D, R8, host(d.index)),
                    _ => {
                        let from = self.read(i, w)?;
                        self.a.load(Size::D, R8, from);
                    }
                }
                return Ok(End::Jump);
            }
            Opcode::Ret if w == Width::Dword => {
                let place = self.touch_stack(SP, 0, 4, READ, None)?;
                self.a.load(Size::D, R8, place);
                self.a.lea(Size::D, SP, at(SP, 4 + i.imm as i32));
                return Ok(End::Jump);
            }
            Opcode::JmpNear => return Ok(End::Goto),
            Opcode::Jcc => return Ok(End::Branch(self.condition(i.cond))),
            Opcode::Jcxz if i.src_width == Width::Dword => {
                self.store_flags();
                self.a.test(Size::D, CX, CX);
                self.host = 0;
                return Ok(End::Branch(cc::E));
            }
            Opcode::Loop if i.src_width == Width::Dword => {
                self.store_flags();
                self.a.lea(Size::D, CX, at(CX, -1));
                self.a.test(Size::D, CX, CX);
                self.host = 0;
                return Ok(End::Branch(cc::NE));
            }
            Opcode::Setcc => match d.kind {
                OperandKind::Reg => {
                    let c = self.condition(i.cond);
                    self.a.setcc(c, host(d.index));
                }
                OperandKind::RegHigh => {
                    let c = self.condition(i.cond);
                    self.a.setcc(c, d.index & 3 | 4);
                }
                _ => {
                    let c = self.condition(i.cond);
                    self.free_r11();
                    self.a.setcc(c, R11);
                    self.write(i, Width::Byte, Value::Reg(R11))?;
                }
            },
            Opcode::Cmovcc if w != Width::Byte && d.kind == OperandKind::Reg => match s.kind {
                OperandKind::Mem => {
                    let from = self.read(i, w)?;
                    let from = self.in_r8(from);
                    let c = self.condition(i.cond);
                    self.a.rm(z, &[0x0f, 0x40 | c], host(d.index), from);
                }
                _ => {
                    let c = self.condition(i.cond);
                    self.a.rr(z, &[0x0f, 0x40 | c], host(d.index), host(s.index));
                }
            },
            Opcode::Cld | Opcode::Std => {
                let down = bits::DF as u32;
                let at = at(CPU, offset_of!(CpuState, system_flags) as i32);
                match i.op {
                    Opcode::Cld => self.a.alu_mem_imm(Size::D, 4, at, !down),
                    _ => self.a.alu_mem_imm(Size::D, 1, at, down),
                }
                self.host = 0;
            }
            Opcode::Helper if matches!(i.mnemonic, Mnemonic::Div | Mnemonic::Idiv) && w == Width::Dword => {
                return self.divide(i, n, number);
            }
            Opcode::Helper
                if matches!(i.mnemonic, Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
                    && d.kind == OperandKind::Mem
                    && s.kind == OperandKind::Reg
                    && w == Width::Dword
                    && i.mem.width == Width::Dword =>
            {
                self.bit_of_string(i)?;
            }
            Opcode::Helper if i.mnemonic == Mnemonic::Cmpxchg8b && d.kind == OperandKind::Mem => {
                self.compare_eight(i)?;
            }
            Opcode::Helper if i.mnemonic == Mnemonic::Push && d.kind == OperandKind::Seg => {
                self.free_r11();
                self.changes(1 << SP);
                self.a.load_zero(Size::W, R11, selector(d.index));
                let access = std::mem::replace(&mut self.access, usize::MAX - 1);
                self.push(w, Value::Reg(R11))?;
                self.access = access;
            }
            Opcode::Helper if i.mnemonic == Mnemonic::Cli && self.is_kernel() => {
                self.host = 0;
                self.a.alu_mem_imm(Size::D, 4, at(CPU, SYSTEM_FLAGS), !bits::IF as u32);
            }
            Opcode::Helper
                if i.mnemonic == Mnemonic::Sti && self.is_kernel() && self.region.blocks[n].fall != Edge::None =>
            {
                return self.allow_interrupts(n, number);
            }
            Opcode::Helper => {
                if let Some(end) = self.x87(i, n, number)? {
                    return Ok(end);
                }
                if let Some(end) = self.sse(i)? {
                    return Ok(end);
                }
                return Ok(self.one(n, number));
            }
            Opcode::Sahf => {
                self.store_for_overlay();
                self.a.byte(0x9e);
                self.host = H_ALL & !H_OVERFLOW;
                self.overlay(overlay::SAHF, AX);
            }
            Opcode::CallNear
            | Opcode::CallIndirect
            | Opcode::JmpIndirect
            | Opcode::Ret
            | Opcode::Jcxz
            | Opcode::Loop
            | Opcode::Loope
            | Opcode::Loopne => return Err(Not),
            _ => return Ok(self.one(n, number)),
        }
        Ok(End::Fall)
    }
    /// R11 is going to be used before the instruction's last access.
    fn free_r11(&mut self) {
        if let Flags::Record(rec) = self.path.flags
            && rec.uses(1 << R11)
        {
            self.store_flags();
        }
    }
    fn push_return(&mut self, i: &Insn) -> Done {
        self.push(Width::Dword, Value::Ip(i.next_ip() as u32))
    }
    /// Stores below ESP and then moves it: a fault finds it as it was.
    fn push(&mut self, w: Width, value: Value) -> Done {
        let bytes = w.bytes() as i32;
        let place = self.touch_stack(SP, -bytes, w.bytes(), WRITE, Some(value))?;
        self.put(size(w), place, value);
        self.a.lea(Size::D, SP, at(SP, -bytes));
        Ok(())
    }
    /// Flags, and what is noted of the x87 unit, are where everybody finds them.
    fn write_down(&mut self) {
        self.store_flags();
        self.settle_unit();
    }
    /// Stores the flags before something about them changes: of such changes the words hold one.
    fn store_for_overlay(&mut self) {
        let may_have_one = matches!(self.path.flags, Flags::Stored(false));
        self.store_flags();
        if may_have_one && self.live != 0 {
            self.a.rm(Size::B, &[0x80], 7, word(stubs::FLAGS + 3));
            self.a.byte(0);
            let jump = self.a.jcc(cc::NE);
            let back = self.a.here();
            self.cold.push(Cold::Settle { jump, back });
            self.host = 0;
        }
    }
    /// Something about the flags, which are stored, has changed.
    fn overlay(&mut self, kind: u32, r: Reg) {
        if self.live != 0 {
            self.a.store(Size::Q, word(stubs::FLAGS_R), r);
            self.a.store_imm(Size::B, word(stubs::FLAGS + 3), kind);
        }
        self.path.flags = Flags::Stored(false);
    }
    /// Behind a multiplication.
    fn product(&mut self, z: Size, low: Reg) {
        self.path.flags = Flags::Stored(false);
        self.host = 0;
        if self.live != 0 {
            // SETO.
            self.a.setcc(0, R9);
            self.a.rr(Size::D, &[0x0f, 0xb6], R9, R9);
            self.a.store(Size::Q, word(stubs::FLAGS_Y), R9);
            self.a.store(Size::Q, word(stubs::FLAGS_X), low);
            let kind = Quick::kind(FlagsOf::Partial, form::PRODUCT, z, false);
            self.a.store_imm(Size::D, word(stubs::FLAGS), kind);
        }
    }

    fn binary(&mut self, i: &Insn, n: usize, number: usize, awkward: bool) -> Result<End, Not> {
        let (d, s) = (i.ops[0], i.ops[1]);
        let (w, z) = (i.width, size(i.width));
        let (alu, of) = match i.op {
            Opcode::Add => (0, FlagsOf::Add),
            Opcode::Or => (1, FlagsOf::Logic),
            Opcode::Adc => (2, FlagsOf::Adc),
            Opcode::Sbb => (3, FlagsOf::Sbb),
            Opcode::And => (4, FlagsOf::Logic),
            Opcode::Sub => (5, FlagsOf::Sub),
            _ => (6, FlagsOf::Logic),
        };
        let carries = alu == 2 || alu == 3;
        let any_high = d.kind == OperandKind::RegHigh || s.kind == OperandKind::RegHigh;
        if awkward {
            return Ok(self.one(n, number));
        }
        let number_of = |o: cpu::insn::Operand| match o.kind {
            OperandKind::RegHigh => o.index & 3 | 4,
            _ => host(o.index),
        };
        let imm = i.imm as u32;
        let result = |r: Reg, y: Loc| Record {
            of,
            form: if of == FlagsOf::Logic { form::ALONE } else { form::RESULT },
            size: z,
            x: Loc::Reg(r),
            y: (of != FlagsOf::Logic).then_some(y),
            carry_is_stored: false,
        };
        match (d.kind, s.kind) {
            (OperandKind::Reg | OperandKind::RegHigh, OperandKind::Imm) => {
                let r = number_of(d);
                if carries {
                    self.carry_to_host();
                }
                self.a.alu_imm(z, alu, r, imm);
                if carries || any_high {
                    self.set_bits(of, z);
                } else {
                    self.set_flags(result(r, Loc::Imm(imm)), H_ALL);
                }
            }
            (OperandKind::Reg | OperandKind::RegHigh, OperandKind::Reg | OperandKind::RegHigh) => {
                let (r, mut y) = (number_of(d), number_of(s));
                if carries {
                    self.carry_to_host();
                    self.a.alu(z, alu, r, y);
                    self.set_bits(of, z);
                    return Ok(End::Fall);
                }
                let mut of_result = result(r, Loc::Reg(y));
                if r == y && !any_high {
                    match alu {
                        0 if self.live != 0 => {
                            self.a.mov(Size::D, R11, y);
                            y = R11;
                            of_result = result(r, Loc::Reg(R11));
                        }
                        // As of a comparison of equals.
                        5 => {
                            let (x, y) = (Loc::Reg(r), None);
                            let of = FlagsOf::Logic;
                            of_result = Record { of, form: form::ALONE, size: z, x, y, carry_is_stored: false };
                        }
                        _ => {}
                    }
                }
                self.a.alu(z, alu, r, y);
                if any_high {
                    self.set_bits(of, z);
                } else {
                    self.set_flags(of_result, H_ALL);
                }
            }
            (OperandKind::Reg, OperandKind::Mem) => {
                let r = number_of(d);
                let from = self.read(i, w)?;
                if carries {
                    let from = self.in_r8(from);
                    self.carry_to_host();
                    self.a.alu_load(z, alu, r, from);
                    self.set_bits(of, z);
                } else if of == FlagsOf::Logic || self.live == 0 {
                    self.a.alu_load(z, alu, r, from);
                    let rec = result(r, Loc::Imm(0));
                    self.set_flags(rec, H_ALL);
                } else {
                    self.a.load_zero(z, R11, from);
                    self.a.alu(z, alu, r, R11);
                    self.set_flags(result(r, Loc::Reg(R11)), H_ALL);
                }
            }
            (OperandKind::Mem, OperandKind::Reg | OperandKind::Imm) => {
                let value = if s.kind == OperandKind::Imm { Err(imm) } else { Ok(host(s.index)) };
                if carries {
                    // The carry is needed behind the look for the operand, in the copy as well.
                    self.store_flags();
                    self.store_carry();
                    self.modify(i, w, |q, to| {
                        q.a.load_zero(Size::B, R9, carry());
                        q.a.rr(Size::D, &[0xf7], 3, R9);
                        match value {
                            Ok(r) => q.a.alu_store(z, alu, to, r),
                            Err(v) => q.a.alu_mem_imm(z, alu, to, v),
                        }
                    })?;
                    self.set_bits(of, z);
                } else if self.live == 0 {
                    self.modify(i, w, |q, to| match value {
                        Ok(r) => q.a.alu_store(z, alu, to, r),
                        Err(v) => q.a.alu_mem_imm(z, alu, to, v),
                    })?;
                    self.host = H_ALL;
                    self.path.flags = Flags::Stored(false);
                } else {
                    self.modify(i, w, |q, to| {
                        q.a.load_zero(z, R11, to);
                        match value {
                            Ok(r) => q.a.alu(z, alu, R11, r),
                            Err(v) => q.a.alu_imm(z, alu, R11, v),
                        }
                        q.a.store(z, to, R11);
                    })?;
                    let y = match value {
                        Ok(r) => Loc::Reg(r),
                        Err(v) => Loc::Imm(v),
                    };
                    self.set_flags(result(R11, y), H_ALL);
                }
            }
            _ => return Ok(self.one(n, number)),
        }
        Ok(End::Fall)
    }

    fn compare(&mut self, i: &Insn, n: usize, number: usize, awkward: bool) -> Result<End, Not> {
        let (d, s) = (i.ops[0], i.ops[1]);
        let (w, z) = (i.width, size(i.width));
        if awkward {
            return Ok(self.one(n, number));
        }
        let is_test = i.op == Opcode::Test;
        let of = if is_test { FlagsOf::Logic } else { FlagsOf::Sub };
        let number_of = |o: cpu::insn::Operand| match o.kind {
            OperandKind::RegHigh => o.index & 3 | 4,
            _ => host(o.index),
        };
        let imm = i.imm as u32;
        let mut x = match d.kind {
            OperandKind::Reg | OperandKind::RegHigh => Some(number_of(d)),
            OperandKind::Mem => None,
            _ => return Err(Not),
        };
        let mut y = match s.kind {
            OperandKind::Reg | OperandKind::RegHigh => Some(Loc::Reg(number_of(s))),
            OperandKind::Imm => Some(Loc::Imm(imm)),
            OperandKind::Mem => None,
            _ => return Err(Not),
        };
        if x.is_none() || y.is_none() {
            let from = self.read(i, w)?;
            self.a.load_zero(z, R11, from);
            x = x.or(Some(R11));
            y = y.or(Some(Loc::Reg(R11)));
        }
        let (Some(x), Some(y)) = (x, y) else { return Err(Not) };
        match (is_test, y) {
            (true, Loc::Reg(y)) => self.a.test(z, x, y),
            (true, Loc::Imm(v)) => self.a.test_imm(z, x, v),
            (false, Loc::Reg(y)) => self.a.alu(z, 7, x, y),
            (false, Loc::Imm(v)) => self.a.alu_imm(z, 7, x, v),
        }
        if d.kind == OperandKind::RegHigh || s.kind == OperandKind::RegHigh {
            self.set_bits(of, z);
        } else if is_test && y == Loc::Reg(x) {
            let x = Loc::Reg(x);
            self.set_flags(Record { of, form: form::ALONE, size: z, x, y: None, carry_is_stored: false }, H_ALL);
        } else {
            let x = Loc::Reg(x);
            let rec = Record { of, form: form::OPERANDS, size: z, x, y: Some(y), carry_is_stored: false };
            self.set_flags(rec, H_ALL);
        }
        Ok(End::Fall)
    }

    fn shift(&mut self, i: &Insn, n: usize, number: usize) -> Result<End, Not> {
        let (d, s) = (i.ops[0], i.ops[1]);
        let z = size(i.width);
        let (how, of) = match i.op {
            Opcode::Shl => (4, FlagsOf::Shl),
            Opcode::Shr => (5, FlagsOf::Shr),
            _ => (7, FlagsOf::Sar),
        };
        if d.kind != OperandKind::Reg {
            return Ok(self.one(n, number));
        }
        let r = host(d.index);
        match s.kind {
            OperandKind::Imm => {
                let count = i.imm as u8 & 31;
                if u32::from(count) >= i.width.bits() {
                    return Ok(self.one(n, number));
                }
                if count == 0 {
                    return Ok(End::Fall);
                }
                self.a.shift(z, how, r, count);
                // OF of a shift to the left follows from its CF.
                if self.live & CARRY != 0 || i.op == Opcode::Shl && self.live != 0 {
                    self.a.setcc_mem(cc::B, carry());
                }
                let rec = Record { of, form: form::ALONE, size: z, x: Loc::Reg(r), y: None, carry_is_stored: true };
                self.set_flags(rec, if count == 1 { H_ALL } else { H_ALL & !H_OVERFLOW });
            }
            OperandKind::Reg if i.width == Width::Dword => {
                let op = [0xd3];
                if self.live == 0 {
                    self.a.rr(z, &op, how, r);
                    self.host = 0;
                    return Ok(End::Fall);
                }
                self.store_flags();
                // The count may be the register that is shifted.
                self.a.mov(Size::D, R10, CX);
                self.a.rr(z, &op, how, r);
                self.a.setcc(cc::B, R9);
                self.a.test_imm(Size::B, R10, 31);
                let skip = self.a.jcc(cc::E);
                self.a.store(Size::B, carry(), R9);
                let kind = Quick::kind(of, form::ALONE, z, true);
                self.a.store_imm(Size::D, word(stubs::FLAGS), kind);
                self.a.store(Size::Q, word(stubs::FLAGS_X), r);
                self.a.land(skip);
                self.host = 0;
                self.path.flags = Flags::Stored(false);
            }
            _ => return Ok(self.one(n, number)),
        }
        Ok(End::Fall)
    }

    /// BT, BTS, BTR and BTC of memory with a bit number that leads away from the operand.
    fn bit_of_string(&mut self, i: &Insn) -> Done {
        let how = match i.mnemonic {
            Mnemonic::Bt => 4,
            Mnemonic::Bts => 5,
            Mnemonic::Btr => 6,
            _ => 7,
        };
        let bit = host(i.ops[1].index);
        self.store_for_overlay();
        match Quick::place(&i.mem) {
            At { base: None, index: None, disp, .. } => self.a.mov_imm(R9, disp as u32),
            place => self.a.lea(Size::D, R9, place),
        }
        self.a.mov(Size::D, R11, bit);
        self.a.shift(Size::D, 7, R11, 5);
        self.a.lea(Size::D, R11, At { base: Some(R9), index: Some(R11), shift: 2, disp: 0 });
        let place = at(R11, 0);
        let access = std::mem::replace(&mut self.access, usize::MAX - 1);
        let op = [0x0f, 0x83 | how << 3];
        if how == 4 {
            let from = self.touch_at(i.mem.seg, i.mem.flat, place, false, 4, READ, None)?;
            self.a.load(Size::D, R11, from);
            self.a.rr(Size::D, &op, bit, R11);
        } else {
            let to = self.touch_at(i.mem.seg, i.mem.flat, place, false, 4, MODIFY, None)?;
            self.modify_there(to, |q, to| {
                q.a.load(Size::D, R11, to);
                q.a.rr(Size::D, &op, bit, R11);
                q.a.store(Size::D, to, R11);
            });
        }
        self.access = access;
        self.a.setcc(cc::B, R9);
        self.host = H_CARRY;
        self.overlay(overlay::CARRY, R9);
        Ok(())
    }
    /// CMPXCHG8B.
    fn compare_eight(&mut self, i: &Insn) -> Done {
        let [ax, cx, dx, bx] = [gpr::AX, gpr::CX, gpr::DX, gpr::BX].map(host);
        self.store_for_overlay();
        let access = std::mem::replace(&mut self.access, usize::MAX - 1);
        self.modify(i, Width::Qword, |q, to| {
            q.a.load(Size::Q, R11, to);
            q.a.alu(Size::D, 7, ax, R11);
            let low = q.a.jcc(cc::NE);
            q.a.mov(Size::Q, R9, R11);
            q.a.shift(Size::Q, 5, R9, 32);
            q.a.alu(Size::D, 7, dx, R9);
            let high = q.a.jcc(cc::NE);
            q.a.store(Size::D, to, bx);
            q.a.store(Size::D, At { disp: to.disp + 4, ..to }, cx);
            q.a.land(low);
            q.a.land(high);
        })?;
        self.access = access;
        self.a.setcc(cc::E, R9);
        // What they are if the comparison has gone well.
        self.a.mov(Size::D, ax, R11);
        self.a.shift(Size::Q, 5, R11, 32);
        self.a.mov(Size::D, dx, R11);
        self.overlay(overlay::ZERO, R9);
        self.a.alu_imm(Size::B, 7, R9, 1);
        self.host = H_ZERO;
        Ok(())
    }

    /// DIV and IDIV where it is clear that the quotient fits; the helper does the rest.
    fn divide(&mut self, i: &Insn, n: usize, number: usize) -> Result<End, Not> {
        let d = i.ops[0];
        if self.path.debt >= 1 << 13 {
            return Err(Not);
        }
        // Divisions change EAX and EDX only.
        let keep = std::mem::replace(&mut self.keep, true);
        self.changes(1 << AX | 1 << DX);
        // Nor does the helper keep it.
        self.free_r11();
        let by = match d.kind {
            OperandKind::Mem => {
                let access = std::mem::replace(&mut self.access, usize::MAX);
                let from = self.read_alone(i)?;
                self.access = access;
                self.a.load(Size::D, R11, from);
                R11
            }
            OperandKind::Reg => host(d.index),
            _ => return Err(Not),
        };
        self.keep = keep;
        let mut jumps = Vec::new();
        if i.mnemonic == Mnemonic::Div {
            self.a.alu(Size::D, 7, DX, by);
            jumps.push(self.a.jcc(cc::AE));
            self.a.rr(Size::D, &[0xf7], 6, by);
        } else {
            // EDX is the sign of EAX, and the divisor neither 0 nor -1.
            self.a.mov(Size::D, R9, AX);
            self.a.shift(Size::D, 7, R9, 31);
            self.a.alu(Size::D, 7, R9, DX);
            jumps.push(self.a.jcc(cc::NE));
            self.a.lea(Size::D, R9, at(by, 1));
            self.a.alu_imm(Size::D, 7, R9, 1);
            // Unsigned: 0 and 1.
            jumps.push(self.a.jcc(6));
            self.a.rr(Size::D, &[0xf7], 7, by);
        }
        self.host = 0;
        let back = self.a.here();
        let op = self.op(n, number);
        let (debt, flags, unit) = (self.path.debt as u32, self.path.flags, self.path.unit);
        self.cold.push(Cold::One { jumps, back, op, debt, flags, unit });
        self.path.unit.doubt();
        self.path.vectors = sse::UNKNOWN;
        // The helper settles the flags, which is as good.
        if let Flags::Stored(_) = self.path.flags {
            self.path.flags = Flags::Stored(false);
        }
        Ok(End::Fall)
    }
    fn is_kernel(&self) -> bool {
        !self.region.place.mode.has(Mode::USER)
    }
    /// STI. If no interrupt is there and there is budget for the next instruction, behind which one could come, that
    /// is all.
    fn allow_interrupts(&mut self, n: usize, number: usize) -> Result<End, Not> {
        let debt = u32::try_from(self.path.debt).map_err(|_| Not)?;
        self.host = 0;
        let mut jumps = Vec::new();
        for pending in [offset_of!(CpuState, intr), offset_of!(CpuState, nmi_pending)] {
            self.a.alu_mem_imm(Size::B, 7, at(CPU, pending as i32), 0);
            jumps.push(self.a.jcc(cc::NE));
        }
        self.a.alu_imm(Size::Q, 7, REM, debt);
        jumps.push(self.a.jcc(cc::LE));
        self.a.alu_mem_imm(Size::D, 1, at(CPU, SYSTEM_FLAGS), bits::IF as u32);
        let op = self.op(n, number);
        self.cold.push(Cold::Slow { jumps, op, debt, flags: self.path.flags, unit: self.path.unit });
        Ok(End::On)
    }
    /// The memory operand of an instruction that is a helper.
    fn read_alone(&mut self, i: &Insn) -> Result<At, Not> {
        self.access = usize::MAX - 1;
        self.read(i, i.width)
    }
}
