//! Bytes to [`Insn`]: iced-x86 decodes, this module lowers, and knows what each processor model
//! does differently.

use crate::core::{Core, Fault};
use crate::flags::Cond;
use crate::helpers;
use crate::insn::{Address, Insn, Operand, OperandKind, Rep};
use crate::model::Model;
use crate::semantics::Opcode;
use crate::state::{Mode, Seg, Width, gpr};
use iced_x86::{
    Code, ConditionCode, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

/// Longest instruction in bytes on processors from the 386 on.
pub const MAX_LENGTH: usize = 15;

/// What decoding found.
pub enum Decoded {
    /// An instruction.
    Insn(Lowered),
    /// The bytes end in the middle of an instruction: more are needed.
    Incomplete,
}

/// A decoded instruction and how it ends a block.
#[derive(Clone, Copy)]
pub struct Lowered {
    /// The instruction.
    pub insn: Insn,
    /// Whether straight-line execution ends with it.
    pub ends_block: bool,
    /// Whether it may have changed mode, interrupt state, memory map or devices, so that the
    /// engine looks at all of them before it goes on.
    pub slow_end: bool,
}

fn options(model: Model) -> u32 {
    let mut o = DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD | DecoderOptions::NO_WBNOINVD;
    if model <= Model::I486 {
        o |= DecoderOptions::MOV_TR | DecoderOptions::OLD_FPU;
    }
    if model < Model::PentiumM {
        o |= DecoderOptions::NO_PAUSE;
    }
    if model >= Model::Pentium2 {
        o |= DecoderOptions::FORCE_RESERVED_NOP;
    }
    o
}

/// Decodes the instruction at the start of `bytes`, whose offset in CS is `ip`.
#[must_use]
pub fn decode(bytes: &[u8], ip: u64, mode: Mode, model: Model) -> Decoded {
    let max = if model == Model::I286 { 10 } else { MAX_LENGTH };
    let mut copy = [0u8; MAX_LENGTH];
    let mut bytes = &bytes[..bytes.len().min(MAX_LENGTH)];
    // Any of them may have made it what it is.
    let seen = bytes.len();
    let mut early = Early::default();
    if model <= Model::I286 {
        copy[..bytes.len()].copy_from_slice(bytes);
        early = normalize(&mut copy[..bytes.len()], model);
        if early.pop_cs {
            return Decoded::Insn(pop_cs(early.at + early.locks + 1, ip));
        }
        bytes = &copy[..bytes.len() - early.locks];
    }
    let ip_of_rest = ip.wrapping_add(early.locks as u64);
    let mut decoder = Decoder::with_ip(mode.bitness(), bytes, ip_of_rest, options(model));
    let mut instr = Instruction::default();
    decoder.decode_out(&mut instr);
    if instr.is_invalid() {
        if decoder.last_error() == DecoderError::NoMoreBytes {
            if bytes.len() + early.locks < max {
                return Decoded::Incomplete;
            }
            return Decoded::Insn(fault(too_long, ip, seen));
        }
        // iced calls instructions of more than 15 bytes invalid: is this one?
        let mut short = Decoder::new(mode.bitness(), &bytes[..bytes.len().saturating_sub(1)], options(model));
        let full = bytes.len() + early.locks == MAX_LENGTH;
        let is_long = full && short.decode().is_invalid() && short.last_error() == DecoderError::NoMoreBytes;
        return Decoded::Insn(fault(if is_long { too_long } else { undefined }, ip, seen));
    }
    if !model.allows(instr.cpuid_features(), instr.code()) {
        return Decoded::Insn(fault(undefined, ip, seen));
    }
    let len = instr.len() + early.locks;
    if len > max {
        return Decoded::Insn(fault(too_long, ip, seen));
    }
    let mut lowered = lower(&instr, ip, len, mode, model);
    if early.escape {
        // Without a coprocessor the 8086 reads the memory operand, ignores it and goes on.
        lowered.insn.op = Opcode::Nop;
        (lowered.ends_block, lowered.slow_end) = (false, false);
    }
    lowered.insn.lock |= early.locks != 0;
    Decoded::Insn(lowered)
}

/// A system instruction behind which the world is the same: no mode, time or translation is another, and no interrupt
/// can come that could not before.
fn changes_little(mnemonic: Mnemonic, code: Code) -> bool {
    let reads_segment = matches!(code, Code::Mov_rm16_Sreg | Code::Mov_r32m16_Sreg);
    reads_segment || matches!(mnemonic, Mnemonic::Push | Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Cli)
}

/// #UD.
fn undefined(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    Err(core.undefined())
}
/// #GP(0) for more bytes than an instruction may have: 15, on the 286 10.
fn too_long(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    Err(core.protection(0))
}
fn nothing(_core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    Ok(())
}

fn blank(ip: u64) -> Insn {
    Insn {
        op: Opcode::Helper,
        ops: [Operand::NONE; 3],
        width: Width::Dword,
        src_width: Width::Dword,
        cond: Cond::O,
        rep: Rep::No,
        lock: false,
        len: 1,
        mem_size: 0,
        code: Code::INVALID,
        mnemonic: Mnemonic::INVALID,
        mem: Address {
            seg: Seg::Ds,
            base: gpr::NONE,
            index: gpr::NONE,
            shift: 0,
            width: Width::Dword,
            flat: false,
            disp: 0,
        },
        imm: 0,
        imm2: 0,
        imm_size: 0,
        ip,
        next: ip.wrapping_add(1),
        helper: nothing,
    }
}

/// Whether it is one of the shifts and rotations (opcodes D0 and D1) whose operand 1 is none of their bytes.
fn is_shift_by_one(code: Code) -> bool {
    (Code::Rol_rm8_1 as usize..=Code::Sar_rm64_1 as usize).contains(&(code as usize))
}

/// What so many bytes do that are no instruction.
fn fault(helper: crate::insn::Helper, ip: u64, bytes: usize) -> Lowered {
    let insn = Insn { helper, len: bytes as u8, next: ip.wrapping_add(bytes as u64), ..blank(ip) };
    Lowered { insn, ends_block: true, slow_end: true }
}

/// What [`normalize`] found.
#[derive(Default)]
struct Early {
    /// Where the opcode is, LOCK prefixes taken out.
    at: usize,
    /// How many LOCK prefixes were taken out.
    locks: usize,
    /// POP CS, opcode 0Fh, which only the 8086 has.
    pop_cs: bool,
    /// ESC on the 8086.
    escape: bool,
}

/// The 8086 and the 286 accept LOCK before any instruction: takes those prefixes out. The 8086
/// moreover decodes all 256 first bytes and ignores much of the reg field: undocumented encodings
/// are aliases of documented ones, by which they are replaced in place.
fn normalize(bytes: &mut [u8], model: Model) -> Early {
    let mut early = Early::default();
    let mut left = bytes.len();
    let old = model == Model::I8086;
    loop {
        let at = early.at;
        if at == left {
            return early;
        }
        match bytes[at] {
            0x26 | 0x2e | 0x36 | 0x3e | 0xf2 | 0xf3 => early.at += 1,
            0xf1 if !old => break,
            0xf0 | 0xf1 => {
                bytes.copy_within(at + 1..left, at);
                left -= 1;
                early.locks += 1;
            }
            _ => break,
        }
    }
    if !old {
        return early;
    }
    let at = early.at;
    match bytes[at] {
        0x0f => early.pop_cs = true,
        0x60..=0x6f => bytes[at] += 0x10,
        0xc0 | 0xc1 | 0xc8 | 0xc9 => bytes[at] |= 2,
        0xd8..=0xdf => {
            // All ESC opcodes have the shape of this one.
            bytes[at] = 0xd8;
            early.escape = true;
        }
        opcode => {
            if let Some(modrm) = bytes[..left].get_mut(at + 1) {
                match opcode {
                    // Two bits select the segment register.
                    0x8c | 0x8e => *modrm &= !0x20,
                    0x8f | 0xc6 | 0xc7 => *modrm &= !0x38,
                    0xff if *modrm & 0x38 == 0x38 => *modrm &= !8,
                    _ => {}
                }
            }
        }
    }
    early
}

fn pop_cs(len: usize, ip: u64) -> Lowered {
    let insn = Insn {
        len: len as u8,
        next: (ip + len as u64) & 0xffff,
        helper: helpers::integer::pop_cs,
        width: Width::Word,
        ..blank(ip)
    };
    Lowered { insn, ends_block: true, slow_end: true }
}

fn operand_of_register(r: Register) -> (Operand, usize) {
    use OperandKind as K;
    let n = r.number() as u8;
    let make = |kind, index| Operand { kind, index };
    let operand = match r {
        Register::AH => make(K::RegHigh, 0),
        Register::CH => make(K::RegHigh, 1),
        Register::DH => make(K::RegHigh, 2),
        Register::BH => make(K::RegHigh, 3),
        _ if r.is_gpr() => make(K::Reg, r.full_register().number() as u8),
        _ if r.is_segment_register() => make(K::Seg, n),
        _ if r.is_cr() => make(K::Control, n),
        _ if r.is_dr() => make(K::Debug, n),
        _ if r.is_tr() => make(K::Test, n),
        _ if r.is_st() => make(K::St, n),
        _ if r.is_mm() => make(K::Mm, n),
        _ if r.is_xmm() => make(K::Xmm, n),
        _ => Operand::NONE,
    };
    (operand, r.size())
}

fn segment(r: Register) -> Seg {
    match r {
        Register::ES => Seg::Es,
        Register::CS => Seg::Cs,
        Register::SS => Seg::Ss,
        Register::FS => Seg::Fs,
        Register::GS => Seg::Gs,
        _ => Seg::Ds,
    }
}

fn address_register(r: Register) -> u8 {
    if r == Register::None { gpr::NONE } else { r.number() as u8 }
}

fn address(instr: &Instruction, kind: OpKind, mode: Mode) -> Address {
    let seg = match kind {
        OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI => Seg::Es,
        _ => segment(instr.memory_segment()),
    };
    let width = match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Width::Word,
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Width::Dword,
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Width::Qword,
        _ => {
            let r = if instr.memory_base() != Register::None { instr.memory_base() } else { instr.memory_index() };
            let bytes = match r {
                Register::None => instr.memory_displ_size() as usize,
                Register::EIP => 4,
                Register::RIP => 8,
                // XLAT: the index AL says nothing about the address size.
                _ if r.is_gpr8() => 2,
                _ => r.size(),
            };
            Width::of_bytes(bytes).unwrap_or(Width::Dword)
        }
    };
    let string = kind != OpKind::Memory;
    let none = Register::None;
    let (base, index) = if string { (none, none) } else { (instr.memory_base(), instr.memory_index()) };
    let rip_relative = base == Register::RIP || base == Register::EIP;
    let flat = mode.has(Mode::FLAT)
        && !mode.has(Mode::LONG)
        && width == Width::Dword
        && matches!(seg, Seg::Ds | Seg::Es | Seg::Ss);
    Address {
        seg,
        base: if rip_relative { gpr::NONE } else { address_register(base) },
        index: address_register(index),
        shift: instr.memory_index_scale().trailing_zeros() as u8 & 3,
        width,
        flat,
        disp: if string { 0 } else { instr.memory_displacement64() },
    }
}

fn condition(c: ConditionCode) -> Cond {
    use ConditionCode as C;
    match c {
        C::no => Cond::No,
        C::b => Cond::B,
        C::ae => Cond::Ae,
        C::e => Cond::E,
        C::ne => Cond::Ne,
        C::be => Cond::Be,
        C::a => Cond::A,
        C::s => Cond::S,
        C::ns => Cond::Ns,
        C::p => Cond::P,
        C::np => Cond::Np,
        C::l => Cond::L,
        C::ge => Cond::Ge,
        C::le => Cond::Le,
        C::g => Cond::G,
        _ => Cond::O,
    }
}

fn lower(instr: &Instruction, ip: u64, len: usize, mode: Mode, model: Model) -> Lowered {
    let mut insn = blank(ip);
    insn.len = len as u8;
    insn.next = ip.wrapping_add(len as u64);
    match model {
        Model::I8086 => insn.next &= 0xffff,
        _ if !mode.has(Mode::LONG) => insn.next &= 0xffff_ffff,
        _ => {}
    }
    insn.code = instr.code();
    insn.mnemonic = instr.mnemonic();
    insn.lock = instr.has_lock_prefix();
    insn.rep = if instr.has_repne_prefix() {
        Rep::Repne
    } else if instr.has_rep_prefix() {
        Rep::Rep
    } else {
        Rep::No
    };
    insn.cond = condition(instr.condition_code());
    let mut sizes = [0usize; 3];
    let mut immediates = 0;
    for n in 0..instr.op_count().min(3) {
        let kind = instr.op_kind(n);
        let slot = n as usize;
        match kind {
            OpKind::Register => (insn.ops[slot], sizes[slot]) = operand_of_register(instr.op_register(n)),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                insn.ops[slot] = Operand::IMM;
                insn.imm = instr.near_branch_target();
                if model == Model::I8086 {
                    insn.imm &= 0xffff;
                }
            }
            OpKind::FarBranch16 => {
                insn.ops[slot] = Operand::IMM;
                insn.imm = u64::from(instr.far_branch_selector()) << 32 | u64::from(instr.far_branch16());
            }
            OpKind::FarBranch32 => {
                insn.ops[slot] = Operand::IMM;
                insn.imm = u64::from(instr.far_branch_selector()) << 32 | u64::from(instr.far_branch32());
            }
            OpKind::Immediate8_2nd => (insn.imm2, insn.imm_size) = (instr.immediate8_2nd(), 0),
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => {
                insn.ops[slot] = Operand::IMM;
                if immediates == 0 {
                    insn.imm = instr.immediate(n);
                    insn.imm_size = match kind {
                        _ if is_shift_by_one(instr.code()) => 0,
                        OpKind::Immediate8 => 1,
                        OpKind::Immediate16 => 2,
                        OpKind::Immediate32 => 4,
                        OpKind::Immediate64 => 8,
                        _ => 0,
                    };
                } else {
                    insn.imm2 = instr.immediate(n) as u8;
                    insn.imm_size = 0;
                }
                immediates += 1;
            }
            _ => {
                insn.ops[slot] = Operand::MEM;
                // MOVS and CMPS have two; the source's segment is the one that can be overridden.
                if kind == OpKind::Memory
                    || insn.mem_size == 0
                    || !matches!(kind, OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI)
                {
                    insn.mem = address(instr, kind, mode);
                }
                insn.mem_size = instr.memory_size().size() as u16;
                sizes[slot] = instr.memory_size().size();
            }
        }
    }
    let width_of = |bytes: usize| Width::of_bytes(bytes);
    insn.width = width_of(sizes[0]).or(width_of(sizes[1])).unwrap_or(default_width(mode));
    insn.src_width = width_of(sizes[1]).unwrap_or(insn.width);
    if let Some(width) = explicit_width(instr) {
        insn.width = width;
    }

    use Mnemonic as M;
    use Opcode as O;
    let plain = |kind: OperandKind| {
        matches!(
            kind,
            OperandKind::Reg | OperandKind::RegHigh | OperandKind::Imm | OperandKind::Mem | OperandKind::None
        )
    };
    let integer = insn.ops.iter().all(|o| plain(o.kind));
    let unmasked_shifts = model == Model::I8086;
    let op = match insn.mnemonic {
        _ if !integer => O::Helper,
        M::Add => O::Add,
        M::Or => O::Or,
        M::Adc => O::Adc,
        M::Sbb => O::Sbb,
        M::And => O::And,
        M::Sub => O::Sub,
        M::Xor => O::Xor,
        M::Cmp => O::Cmp,
        M::Test => O::Test,
        M::Inc => O::Inc,
        M::Dec => O::Dec,
        M::Neg => O::Neg,
        M::Not => O::Not,
        M::Mov => O::Mov,
        M::Movzx => O::Movzx,
        M::Movsx | M::Movsxd => O::Movsx,
        M::Lea if insn.ops[1].is_mem() => O::Lea,
        M::Xchg => O::Xchg,
        M::Xadd => O::Xadd,
        M::Cmpxchg => O::Cmpxchg,
        M::Bswap => O::Bswap,
        M::Shl | M::Sal if !unmasked_shifts => O::Shl,
        M::Shr if !unmasked_shifts => O::Shr,
        M::Sar if !unmasked_shifts => O::Sar,
        M::Rol if !unmasked_shifts => O::Rol,
        M::Ror if !unmasked_shifts => O::Ror,
        M::Shld => O::Shld,
        M::Shrd => O::Shrd,
        M::Mul => O::Mul,
        M::Imul if instr.op_count() == 3 => O::Imul3,
        M::Imul if instr.op_count() == 2 => O::Imul2,
        M::Imul => O::Imul1,
        M::Bt if !bit_string(&insn) => O::Bt,
        M::Bts if !bit_string(&insn) => O::Bts,
        M::Btr if !bit_string(&insn) => O::Btr,
        M::Btc if !bit_string(&insn) => O::Btc,
        M::Cbw => {
            (insn.src_width, insn.width) = (Width::Byte, Width::Word);
            O::Cbw
        }
        M::Cwde => {
            (insn.src_width, insn.width) = (Width::Word, Width::Dword);
            O::Cbw
        }
        M::Cdqe => {
            (insn.src_width, insn.width) = (Width::Dword, Width::Qword);
            O::Cbw
        }
        M::Cwd => {
            insn.width = Width::Word;
            O::Cwd
        }
        M::Cdq => {
            insn.width = Width::Dword;
            O::Cwd
        }
        M::Cqo => {
            insn.width = Width::Qword;
            O::Cwd
        }
        M::Push if !(model == Model::I8086 && insn.ops[0] == Operand::reg(gpr::SP)) => O::Push,
        M::Pop if !insn.ops[0].is_mem() => O::PopReg,
        M::Call if instr.is_call_near() => O::CallNear,
        M::Call if instr.is_call_near_indirect() => O::CallIndirect,
        M::Jmp if instr.is_jmp_short_or_near() => O::JmpNear,
        M::Jmp if instr.is_jmp_near_indirect() => O::JmpIndirect,
        M::Ret => O::Ret,
        M::Loop => O::Loop,
        M::Loope => O::Loope,
        M::Loopne => O::Loopne,
        M::Jcxz | M::Jecxz | M::Jrcxz => O::Jcxz,
        _ if instr.is_jcc_short_or_near() => O::Jcc,
        _ if is_setcc(insn.mnemonic) => O::Setcc,
        M::Clc => O::Clc,
        M::Stc => O::Stc,
        M::Cmc => O::Cmc,
        M::Cld => O::Cld,
        M::Std => O::Std,
        M::Lahf => O::Lahf,
        M::Sahf => O::Sahf,
        M::Leave => O::Leave,
        M::Nop | M::Reservednop | M::Pause => O::Nop,
        _ if is_cmov(insn.mnemonic) => O::Cmovcc,
        _ => O::Helper,
    };
    if insn.mnemonic == M::Xchg && insn.ops.iter().any(|o| o.is_mem()) {
        insn.lock = true;
        // The memory operand comes first, so that its store can fault before the register changes.
        if insn.ops[1].is_mem() {
            insn.ops.swap(0, 1);
        }
    }
    if matches!(insn.mnemonic, M::Loop | M::Loope | M::Loopne | M::Jcxz | M::Jecxz | M::Jrcxz) {
        insn.src_width = counter_width(instr);
    }
    insn.op = op;
    let near_flow = matches!(
        op,
        O::CallNear
            | O::CallIndirect
            | O::JmpNear
            | O::JmpIndirect
            | O::Ret
            | O::Loop
            | O::Loope
            | O::Loopne
            | O::Jcxz
            | O::Jcc
    );
    if op != O::Helper {
        return Lowered { insn, ends_block: near_flow, slow_end: false };
    }
    let (m, c) = (insn.mnemonic, insn.code);
    if let Some(helper) = helpers::integer::lookup(m, c) {
        insn.helper = helper;
        return Lowered { insn, ends_block: false, slow_end: false };
    }
    // MOVSD and CMPSD are also SSE2 instructions.
    let is_vector = insn.ops.iter().any(|o| o.kind == OperandKind::Xmm);
    if let Some(helper) = helpers::string::lookup(m).filter(|_| !is_vector) {
        insn.helper = helper;
        let io = helpers::string::is_io(m);
        return Lowered { insn, ends_block: io, slow_end: io };
    }
    if let Some(helper) = helpers::system::lookup(m, c) {
        insn.helper = helper;
        let ends = !changes_little(m, c);
        return Lowered { insn, ends_block: ends, slow_end: ends };
    }
    for lookup in [helpers::x87::lookup, helpers::mmx::lookup, helpers::sse::lookup, helpers::fxsave::lookup] {
        if let Some(helper) = lookup(m, c) {
            insn.helper = helper;
            return Lowered { insn, ends_block: false, slow_end: false };
        }
    }
    // Prefetches and the like on processors that ignore them.
    if instr.flow_control() == FlowControl::Next && is_hint(m) {
        return Lowered { insn, ends_block: false, slow_end: false };
    }
    fault(undefined, ip, usize::from(insn.len))
}

fn default_width(mode: Mode) -> Width {
    if mode.has(Mode::CODE32) { Width::Dword } else { Width::Word }
}

/// A bit instruction whose register bit number can reach beyond its memory operand.
fn bit_string(insn: &Insn) -> bool {
    insn.ops[0].is_mem() && insn.ops[1].kind == OperandKind::Reg
}

fn is_hint(m: Mnemonic) -> bool {
    matches!(
        m,
        Mnemonic::Prefetch
            | Mnemonic::Prefetchw
            | Mnemonic::Prefetchnta
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
    )
}

fn is_setcc(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Seta
            | M::Setae
            | M::Setb
            | M::Setbe
            | M::Sete
            | M::Setg
            | M::Setge
            | M::Setl
            | M::Setle
            | M::Setne
            | M::Setno
            | M::Setnp
            | M::Setns
            | M::Seto
            | M::Setp
            | M::Sets
    )
}

fn is_cmov(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovg
            | M::Cmovge
            | M::Cmovl
            | M::Cmovle
            | M::Cmovne
            | M::Cmovno
            | M::Cmovnp
            | M::Cmovns
            | M::Cmovo
            | M::Cmovp
            | M::Cmovs
    )
}

/// Operand size of instructions that no explicit operand tells.
fn explicit_width(instr: &Instruction) -> Option<Width> {
    use Mnemonic as M;
    match instr.mnemonic() {
        M::Push | M::Pop => Width::of_bytes(instr.stack_pointer_increment().unsigned_abs() as usize),
        M::Call
        | M::Jmp
        | M::Ret
        | M::Retf
        | M::Iret
        | M::Iretd
        | M::Iretq
        | M::Leave
        | M::Enter
        | M::Pusha
        | M::Pushad
        | M::Popa
        | M::Popad
        | M::Pushf
        | M::Pushfd
        | M::Pushfq
        | M::Popf
        | M::Popfd
        | M::Popfq
        | M::Bound => width_of_code(instr.code()),
        _ => None,
    }
}

fn width_of_code(code: Code) -> Option<Width> {
    use Code as C;
    Some(match code {
        C::Call_rel16
        | C::Call_rm16
        | C::Call_m1616
        | C::Call_ptr1616
        | C::Jmp_rel16
        | C::Jmp_rel8_16
        | C::Jmp_rm16
        | C::Jmp_m1616
        | C::Jmp_ptr1616
        | C::Retnw
        | C::Retnw_imm16
        | C::Retfw
        | C::Retfw_imm16
        | C::Iretw
        | C::Leavew
        | C::Enterw_imm16_imm8
        | C::Pushaw
        | C::Popaw
        | C::Pushfw
        | C::Popfw
        | C::Bound_r16_m1616 => Width::Word,
        C::Call_rel32_32
        | C::Call_rm32
        | C::Call_m1632
        | C::Call_ptr1632
        | C::Jmp_rel32_32
        | C::Jmp_rel8_32
        | C::Jmp_rm32
        | C::Jmp_m1632
        | C::Jmp_ptr1632
        | C::Retnd
        | C::Retnd_imm16
        | C::Retfd
        | C::Retfd_imm16
        | C::Iretd
        | C::Leaved
        | C::Enterd_imm16_imm8
        | C::Pushad
        | C::Popad
        | C::Pushfd
        | C::Popfd
        | C::Bound_r32_m3232 => Width::Dword,
        C::Call_rel32_64
        | C::Call_rm64
        | C::Call_m1664
        | C::Jmp_rel32_64
        | C::Jmp_rel8_64
        | C::Jmp_rm64
        | C::Jmp_m1664
        | C::Retnq
        | C::Retnq_imm16
        | C::Retfq
        | C::Retfq_imm16
        | C::Iretq
        | C::Leaveq
        | C::Enterq_imm16_imm8
        | C::Pushfq
        | C::Popfq => Width::Qword,
        _ => return None,
    })
}

fn counter_width(instr: &Instruction) -> Width {
    use Code as C;
    match instr.code() {
        C::Loop_rel8_16_CX
        | C::Loop_rel8_32_CX
        | C::Loope_rel8_16_CX
        | C::Loope_rel8_32_CX
        | C::Loopne_rel8_16_CX
        | C::Loopne_rel8_32_CX
        | C::Jcxz_rel8_16
        | C::Jcxz_rel8_32 => Width::Word,
        C::Loop_rel8_16_RCX
        | C::Loop_rel8_64_RCX
        | C::Loope_rel8_16_RCX
        | C::Loope_rel8_64_RCX
        | C::Loopne_rel8_16_RCX
        | C::Loopne_rel8_64_RCX
        | C::Jrcxz_rel8_16
        | C::Jrcxz_rel8_64 => Width::Qword,
        _ => Width::Dword,
    }
}
