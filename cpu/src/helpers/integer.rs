//! Integer instructions with many cases, divisions, or more than one memory access.

use crate::core::{Access, Core, Fault, Leave};
use crate::flags::FlagsOf;
use crate::flags::bits::{AF, CF, OF, PF, SF, ZF};
use crate::insn::{Code, Helper, Insn, Mnemonic, Operand, OperandKind};
use crate::model::Model;
use crate::state::{Seg, Segment, Width, gpr};

/// The helper for an instruction of this family.
#[must_use]
pub fn lookup(m: Mnemonic, code: Code) -> Option<Helper> {
    use Mnemonic as M;
    Some(match m {
        M::Div => div,
        M::Idiv => idiv,
        M::Aaa => aaa,
        M::Aas => aas,
        M::Aam => aam,
        M::Aad => aad,
        M::Daa => daa,
        M::Das => das,
        M::Rcl => rcl,
        M::Rcr => rcr,
        // Only the 8086 gets here: its counts are not masked.
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror => shift_8086,
        M::Bt | M::Bts | M::Btr | M::Btc => bit_string,
        M::Bsf => bsf,
        M::Bsr => bsr,
        M::Cmpxchg8b => cmpxchg8b,
        M::Enter => enter,
        M::Pusha | M::Pushad => pusha,
        M::Popa | M::Popad => popa,
        M::Pop if matches!(code, Code::Pop_rm16 | Code::Pop_rm32 | Code::Pop_rm64) => pop_mem,
        M::Push if matches!(code, Code::Push_r16 | Code::Push_rm16) => push_sp_8086,
        M::Xlatb => xlat,
        M::Salc => salc,
        _ => return None,
    })
}

/// SF, ZF and PF of `r`, as EFLAGS bits.
fn szp(width: Width, r: u64) -> u64 {
    let sign = r >> (width.bits() - 1) & 1 != 0;
    u64::from(sign) * SF | u64::from(r & width.mask() == 0) * ZF | u64::from((r as u8).count_ones() & 1 == 0) * PF
}

/// #DE. On the 8086 the pushed IP is that of the next instruction.
fn divide_error(core: &mut Core<'_, '_>) -> Fault {
    let fault = core.divide_error();
    if core.cpu.model == Model::I8086
        && let Leave::Exception(e) = &mut core.env.leave
    {
        e.is_trap = true;
    }
    fault
}

fn div(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let d = core.read_operand(i, i.dst(), i.width)?;
    let w = i.width;
    let low = core.cpu.gpr.read(gpr::AX, w);
    let n = match w {
        Width::Byte => u128::from(core.cpu.gpr.read(gpr::AX, Width::Word)),
        _ => u128::from(core.cpu.gpr.read(gpr::DX, w)) << w.bits() | u128::from(low),
    };
    if d == 0 {
        return Err(divide_error(core));
    }
    let (q, r) = match u64::try_from(n) {
        Ok(n) => (u128::from(n / d), u128::from(n % d)),
        Err(_) => (n / u128::from(d), n % u128::from(d)),
    };
    if q > u128::from(w.mask()) {
        return Err(divide_error(core));
    }
    put_quotient(core, w, q as u64, r as u64);
    Ok(())
}

fn put_quotient(core: &mut Core<'_, '_>, w: Width, q: u64, r: u64) {
    core.cpu.gpr.write(gpr::AX, w, q);
    match w {
        Width::Byte => core.cpu.gpr.write_high(gpr::AX, r),
        _ => core.cpu.gpr.write(gpr::DX, w, r),
    }
}

fn idiv(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let d = i128::from(i.width.sign_extend(core.read_operand(i, i.dst(), i.width)?));
    let w = i.width;
    let n = match w {
        Width::Byte => i128::from(Width::Word.sign_extend(core.cpu.gpr.read(gpr::AX, Width::Word))),
        _ => {
            i128::from(w.sign_extend(core.cpu.gpr.read(gpr::DX, w))) << w.bits()
                | i128::from(core.cpu.gpr.read(gpr::AX, w))
        }
    };
    if d == 0 {
        return Err(divide_error(core));
    }
    let (q, r) = match (i64::try_from(n), i64::try_from(d)) {
        (Ok(n), Ok(d)) if w != Width::Qword && n != i64::MIN => (i128::from(n / d), i128::from(n % d)),
        _ => (n.wrapping_div(d), n.wrapping_rem(d)),
    };
    // REP before IDIV negates the quotient on the 8086: its microcode keeps the sign there.
    let q = if core.cpu.model == Model::I8086 && i.rep != crate::insn::Rep::No { -q } else { q };
    let max = i128::from(w.mask() >> 1);
    // The 8086 refuses the most negative quotient too.
    let min = if core.cpu.model == Model::I8086 { -max } else { -max - 1 };
    if q > max || q < min {
        return Err(divide_error(core));
    }
    put_quotient(core, w, q as u64 & w.mask(), r as u64 & w.mask());
    Ok(())
}

fn ax(core: &Core<'_, '_>) -> u64 {
    core.cpu.gpr.read(gpr::AX, Width::Word)
}

fn aaa(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    let old = ax(core);
    let adjust = old & 15 > 9 || core.cpu.lazy.af();
    let r = if !adjust {
        old
    } else if core.cpu.model == Model::I8086 {
        old.wrapping_add(0x100) & 0xff00 | old.wrapping_add(6) & 0xff
    } else {
        old.wrapping_add(0x106)
    } & 0xff0f;
    core.cpu.gpr.write(gpr::AX, Width::Word, r);
    let flags = if adjust { CF | AF } else { 0 };
    core.cpu.lazy.set_all(flags | szp(Width::Byte, r & 0xff));
    Ok(())
}

fn aas(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    let old = ax(core);
    let adjust = old & 15 > 9 || core.cpu.lazy.af();
    let r = if !adjust {
        old
    } else if core.cpu.model == Model::I8086 {
        old.wrapping_sub(0x100) & 0xff00 | old.wrapping_sub(6) & 0xff
    } else {
        old.wrapping_sub(0x106)
    } & 0xff0f;
    core.cpu.gpr.write(gpr::AX, Width::Word, r);
    let flags = if adjust { CF | AF } else { 0 };
    core.cpu.lazy.set_all(flags | szp(Width::Byte, r & 0xff));
    Ok(())
}

fn aam(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let base = i.imm & 0xff;
    if base == 0 {
        if core.cpu.model == Model::I8086 {
            core.cpu.lazy.set_all(szp(Width::Byte, 0));
        }
        return Err(divide_error(core));
    }
    let al = ax(core) & 0xff;
    let (high, low) = (al / base, al % base);
    core.cpu.gpr.write(gpr::AX, Width::Word, high << 8 | low);
    core.cpu.lazy.set_all(szp(Width::Byte, low));
    Ok(())
}

fn aad(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let old = ax(core);
    let product = (old >> 8) * (i.imm & 0xff) & 0xff;
    let r = (old & 0xff) + product & 0xff;
    // Flags as of the addition of the product.
    core.cpu.lazy.record(FlagsOf::Add, Width::Byte, old & 0xff, product, r);
    core.cpu.gpr.write(gpr::AX, Width::Word, r);
    Ok(())
}

fn daa(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    let old = ax(core) & 0xff;
    let (old_cf, old_af) = (core.cpu.lazy.cf(), core.cpu.lazy.af());
    let mut flags = 0;
    let mut add = 0;
    if old & 15 > 9 || old_af {
        add = 6;
        flags |= AF;
    }
    let limit = if core.cpu.model == Model::I8086 && old_af { 0x9f } else { 0x99 };
    if old > limit || old_cf {
        add |= 0x60;
        flags |= CF;
    }
    let r = old.wrapping_add(add) & 0xff;
    core.cpu.gpr.write(gpr::AX, Width::Byte, r);
    let overflow = (old ^ r) & (add ^ r) & 0x80 != 0;
    core.cpu.lazy.set_all(flags | szp(Width::Byte, r) | u64::from(overflow) * OF);
    Ok(())
}

fn das(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    let old = ax(core) & 0xff;
    let (old_cf, old_af) = (core.cpu.lazy.cf(), core.cpu.lazy.af());
    let mut flags = 0;
    let mut sub = 0;
    if old & 15 > 9 || old_af {
        sub = 6;
        flags |= AF;
        // The borrow of the low adjustment carries as well.
        if core.cpu.model != Model::I8086 && old < 6 {
            flags |= CF;
        }
    }
    let limit = if core.cpu.model == Model::I8086 && old_af { 0x9f } else { 0x99 };
    if old > limit || old_cf {
        sub |= 0x60;
        flags |= CF;
    }
    let r = old.wrapping_sub(sub) & 0xff;
    core.cpu.gpr.write(gpr::AX, Width::Byte, r);
    let overflow = (old ^ sub) & (old ^ r) & 0x80 != 0;
    core.cpu.lazy.set_all(flags | szp(Width::Byte, r) | u64::from(overflow) * OF);
    Ok(())
}

/// The count of a rotate through carry.
fn count(core: &mut Core<'_, '_>, i: &Insn) -> Result<u64, Fault> {
    let count = core.read_operand(i, i.src(), Width::Byte)?;
    Ok(match core.cpu.model {
        Model::I8086 => count,
        _ if i.width == Width::Qword => count & 63,
        _ => count & 31,
    })
}

/// A rotation by whole turns, CF included, leaves the flags alone: OF shows it. The 8086 and the 286 set OF anew.
fn changes_flags(core: &Core<'_, '_>, count: u64, by: u32) -> bool {
    if core.cpu.model <= Model::I286 { count != 0 } else { by != 0 }
}

fn rcl(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let n = count(core, i)?;
    core.probe_operand(i, i.dst(), i.width)?;
    let a = core.read_operand(i, i.dst(), i.width)?;
    let bits = i.width.bits();
    let by = (n % u64::from(bits + 1)) as u32;
    let wide = u128::from(core.cpu.lazy.cf()) << bits | u128::from(a);
    let total = bits + 1;
    let mask = (1u128 << total) - 1;
    let r = if by == 0 { wide } else { (wide << by | wide >> (total - by)) & mask };
    let value = r as u64 & i.width.mask();
    core.write_operand(i, i.dst(), i.width, value)?;
    if changes_flags(core, n, by) {
        let cf = r >> bits & 1 != 0;
        core.cpu.lazy.set_cf_of(cf, cf != (value >> (bits - 1) & 1 != 0));
    }
    Ok(())
}

fn rcr(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let n = count(core, i)?;
    core.probe_operand(i, i.dst(), i.width)?;
    let a = core.read_operand(i, i.dst(), i.width)?;
    let bits = i.width.bits();
    let by = (n % u64::from(bits + 1)) as u32;
    let wide = u128::from(core.cpu.lazy.cf()) << bits | u128::from(a);
    let total = bits + 1;
    let mask = (1u128 << total) - 1;
    let r = if by == 0 { wide } else { (wide >> by | wide << (total - by)) & mask };
    let value = r as u64 & i.width.mask();
    core.write_operand(i, i.dst(), i.width, value)?;
    if changes_flags(core, n, by) {
        let cf = r >> bits & 1 != 0;
        let overflow = (value >> (bits - 1) ^ value >> (bits - 2)) & 1 != 0;
        core.cpu.lazy.set_cf_of(cf, overflow);
    }
    Ok(())
}

/// Shifts and rotates of the 8086, one bit per step, up to 255 of them.
fn shift_8086(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let n = core.read_operand(i, i.src(), Width::Byte)?;
    let mut v = core.read_operand(i, i.dst(), i.width)?;
    let top = i.width.bits() - 1;
    let mut cf = core.cpu.lazy.cf();
    let (mut of, mut af) = (false, false);
    if i.mnemonic == Mnemonic::Sal {
        // Undocumented: reg field 6 sets all bits (SETMO, SETMOC).
        if n != 0 {
            v = i.width.mask();
            core.write_operand(i, i.dst(), i.width, v)?;
            core.cpu.lazy.set_all(szp(i.width, v));
        }
        return Ok(());
    }
    for _ in 0..n {
        let (high, low) = (v >> top & 1 != 0, v & 1 != 0);
        match i.mnemonic {
            Mnemonic::Rol => {
                v = (v << 1 | u64::from(high)) & i.width.mask();
                cf = high;
                of = cf != (v >> top & 1 != 0);
            }
            Mnemonic::Ror => {
                v = v >> 1 | u64::from(low) << top;
                cf = low;
                of = (v >> top ^ v >> (top - 1)) & 1 != 0;
            }
            Mnemonic::Shr => {
                v >>= 1;
                cf = low;
                of = high;
                af = false;
            }
            Mnemonic::Sar => {
                v = v >> 1 | u64::from(high) << top;
                cf = low;
                of = false;
                af = false;
            }
            _ => {
                af = v & 8 != 0;
                v = v << 1 & i.width.mask();
                cf = high;
                of = cf != (v >> top & 1 != 0);
            }
        }
    }
    core.write_operand(i, i.dst(), i.width, v)?;
    if n != 0 {
        match i.mnemonic {
            Mnemonic::Rol | Mnemonic::Ror => core.cpu.lazy.set_cf_of(cf, of),
            _ => {
                let bits = u64::from(cf) * CF | u64::from(of) * OF | u64::from(af) * AF;
                core.cpu.lazy.set_all(bits | szp(i.width, v));
            }
        }
    }
    Ok(())
}

/// BT family with a memory operand and a register bit number: the bit string may be anywhere
/// within ±2 GiB bits of the address.
fn bit_string(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let w = i.width;
    let n = w.sign_extend(core.read_operand(i, i.src(), w)?);
    let unit = i64::from(w.bits());
    let displacement = n.div_euclid(unit).wrapping_mul(w.bytes() as i64);
    let offset = core.offset(&i.mem).wrapping_add(displacement as u64) & i.mem.width.mask();
    let bit = 1u64 << (n.rem_euclid(unit) as u32);
    let seg = i.mem.seg;
    let access = if i.mnemonic == Mnemonic::Bt { Access::Read } else { Access::Write };
    let linear = core.linear(seg, offset, w.bytes(), access)?;
    let old =
        if access == Access::Read { core.read_linear(linear, w)? } else { core.read_linear_to_modify(linear, w)? };
    match i.mnemonic {
        Mnemonic::Bts => core.write_linear(linear, w, old | bit)?,
        Mnemonic::Btr => core.write_linear(linear, w, old & !bit)?,
        Mnemonic::Btc => core.write_linear(linear, w, old ^ bit)?,
        _ => {}
    }
    core.cpu.lazy.set_cf(old & bit != 0);
    Ok(())
}

/// ZF tells whether the source was zero; the destination then stays (documented for AMD, true of
/// Intel hardware). The other flags are undefined: as of a comparison with 0.
fn bit_scan(core: &mut Core<'_, '_>, i: &Insn, scan: fn(u64) -> u32) -> Result<(), Fault> {
    let v = core.read_operand(i, i.src(), i.width)?;
    if v != 0 {
        core.write_operand(i, i.dst(), i.width, u64::from(scan(v)))?;
    }
    core.cpu.lazy.set_all(if v == 0 { ZF | PF } else { 0 });
    Ok(())
}
fn bsf(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    bit_scan(core, i, u64::trailing_zeros)
}
fn bsr(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    bit_scan(core, i, |v| 63 - v.leading_zeros())
}

fn cmpxchg8b(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    if !i.dst().is_mem() {
        return Err(core.undefined());
    }
    let offset = core.offset(&i.mem);
    let linear = core.linear(i.mem.seg, offset, 8, Access::Write)?;
    let old = core.read_linear_to_modify(linear, Width::Qword)?;
    let pair = |core: &Core<'_, '_>, high, low| {
        core.cpu.gpr.read(high, Width::Dword) << 32 | core.cpu.gpr.read(low, Width::Dword)
    };
    let expected = pair(core, gpr::DX, gpr::AX);
    let same = old == expected;
    let new = if same { pair(core, gpr::CX, gpr::BX) } else { old };
    core.write_linear(linear, Width::Qword, new)?;
    if !same {
        core.cpu.gpr.write(gpr::DX, Width::Dword, old >> 32);
        core.cpu.gpr.write(gpr::AX, Width::Dword, old & 0xffff_ffff);
    }
    let others = core.cpu.lazy.bits() & !ZF;
    core.cpu.lazy.set_all(others | u64::from(same) * ZF);
    Ok(())
}

/// A store of ENTER, which may still meet a fault or a reason to be run again alone: then stores to the
/// video window, which are otherwise made in the middle of a block, would be made twice.
fn store_frame(core: &mut Core<'_, '_>, sp: u64, w: Width, value: u64) -> Result<(), Fault> {
    if !core.env.stepping {
        let linear = core.linear(Seg::Ss, sp, w.bytes(), Access::Write)?;
        if core.env.tlb.write(linear, w.bytes(), core.cpu.cpl == 3).is_none() {
            return Err(core.step());
        }
    }
    core.store(Seg::Ss, sp, w, value)
}

fn enter(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let w = i.width;
    let stack = core.cpu.mode.stack_width();
    let mask = stack.mask();
    let size = i.imm & 0xffff;
    let level = i.imm2 & 31;
    if level > 1 && !core.env.stepping {
        // What it pushes may be what it copies next, so that it cannot be begun twice.
        return Err(core.step());
    }
    let old_sp = core.sp();
    let mut sp = old_sp.wrapping_sub(w.bytes()) & mask;
    let bp = core.cpu.gpr.read(gpr::BP, w);
    store_frame(core, sp, w, bp)?;
    let frame = sp;
    if level > 0 {
        let mut from = core.cpu.gpr.read(gpr::BP, stack);
        for _ in 1..level {
            from = from.wrapping_sub(w.bytes()) & mask;
            let pointer = core.load(Seg::Ss, from, w)?;
            sp = sp.wrapping_sub(w.bytes()) & mask;
            store_frame(core, sp, w, pointer)?;
        }
        sp = sp.wrapping_sub(w.bytes()) & mask;
        store_frame(core, sp, w, frame & w.mask())?;
    }
    let sp = sp.wrapping_sub(size) & mask;
    // The new top of stack must be writable, or the instruction faults as a whole. The 8086
    // family before the 386 does not look.
    if core.cpu.model >= Model::I386 {
        core.probe_word(Seg::Ss, sp, w)?;
    }
    core.set_sp(sp);
    core.cpu.gpr.write(gpr::BP, w, frame & w.mask());
    Ok(())
}

fn pusha(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let w = i.width;
    let mask = core.cpu.mode.stack_width().mask();
    let old = core.sp();
    // All eight slots are checked first, so that a fault leaves nothing behind but memory that
    // the restarted instruction writes again.
    for k in 1..=8u64 {
        let sp = old.wrapping_sub(k * w.bytes()) & mask;
        core.probe_word(Seg::Ss, sp, w)?;
    }
    for k in 1..=8u64 {
        let sp = old.wrapping_sub(k * w.bytes()) & mask;
        let value =
            if k as u8 - 1 == gpr::SP { core.cpu.gpr.read(gpr::SP, w) } else { core.cpu.gpr.read(k as u8 - 1, w) };
        core.store(Seg::Ss, sp, w, value)?;
    }
    core.set_sp(old.wrapping_sub(8 * w.bytes()));
    Ok(())
}

fn popa(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let w = i.width;
    let mask = core.cpu.mode.stack_width().mask();
    let old = core.sp();
    let mut values = [0; 8];
    for (k, value) in values.iter_mut().enumerate() {
        *value = core.load(Seg::Ss, old.wrapping_add(k as u64 * w.bytes()) & mask, w)?;
    }
    for (k, &value) in values.iter().enumerate() {
        let register = 7 - k as u8;
        if register != gpr::SP {
            core.cpu.gpr.write(register, w, value);
        }
    }
    core.set_sp(old.wrapping_add(8 * w.bytes()));
    Ok(())
}

/// POP to memory: the address is computed with the stack pointer already moved.
fn pop_mem(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let saved = core.cpu.gpr.get(gpr::SP);
    let value = core.pop(i.width)?;
    let written = core.write_operand(i, i.dst(), i.width, value);
    // In real mode of the 286 the stack pointer has moved when the store faults.
    let late = core.cpu.model == Model::I286 && !core.cpu.protected() && matches!(core.env.leave, Leave::Exception(_));
    if written.is_err() && !late {
        core.cpu.gpr.set(gpr::SP, saved);
    }
    written
}

/// PUSH SP on the 8086 stores the decremented value.
fn push_sp_8086(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    debug_assert_eq!(i.dst(), Operand { kind: OperandKind::Reg, index: gpr::SP });
    let value = core.sp().wrapping_sub(2);
    core.push(Width::Word, value)
}

/// POP CS, opcode 0Fh, which only the 8086 has.
pub(crate) fn pop_cs(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    let selector = core.pop(Width::Word)? as u16;
    core.cpu.seg[Seg::Cs as usize] = Segment::real(selector);
    core.cpu.update_mode();
    Ok(())
}

fn xlat(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let base = core.cpu.gpr.read(gpr::BX, i.mem.width);
    let offset = base.wrapping_add(core.cpu.gpr.read(gpr::AX, Width::Byte)) & i.mem.width.mask();
    let value = core.load(i.mem.seg, offset, Width::Byte)?;
    core.cpu.gpr.write(gpr::AX, Width::Byte, value);
    Ok(())
}

/// Undocumented: AL becomes FFh or 0 as CF says.
fn salc(core: &mut Core<'_, '_>, _i: &Insn) -> Result<(), Fault> {
    let value = if core.cpu.lazy.cf() { 0xff } else { 0 };
    core.cpu.gpr.write(gpr::AX, Width::Byte, value);
    Ok(())
}
