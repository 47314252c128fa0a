//! String instructions, with and without REP.
//!
//! Each iteration is restartable: registers move with it, so that a fault, an interrupt or the
//! end of the budget leaves whole iterations behind. An iteration counts as one instruction.

use crate::bus::Cycle;
use crate::core::{Access, Core, Fault, Leave};
use crate::flags::{FlagsOf, LazyFlags};
use crate::helpers::io;
use crate::insn::{Helper, Insn, Mnemonic, Rep};
use crate::memory::PAGE;
use crate::model::Model;
use crate::state::{Seg, Width, gpr};

/// The helper for a string instruction.
#[must_use]
pub fn lookup(m: Mnemonic) -> Option<Helper> {
    use Mnemonic as M;
    Some(match m {
        M::Movsb | M::Movsw | M::Movsd | M::Movsq => movs,
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => stos,
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => lods,
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => cmps,
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => scas,
        M::Insb | M::Insw | M::Insd => ins,
        M::Outsb | M::Outsw | M::Outsd => outs,
        _ => return None,
    })
}

/// INS and OUTS reach devices.
#[must_use]
pub fn is_io(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(m, M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd)
}

/// Whether it stores to memory, and so may overwrite itself before its last iteration.
#[must_use]
pub fn may_overwrite_itself(i: &Insn) -> bool {
    use Mnemonic as M;
    i.rep != Rep::No
        && matches!(
            i.mnemonic,
            M::Movsb
                | M::Movsw
                | M::Movsd
                | M::Movsq
                | M::Stosb
                | M::Stosw
                | M::Stosd
                | M::Stosq
                | M::Insb
                | M::Insw
                | M::Insd
        )
}

/// The course of one string instruction.
struct Course {
    width: Width,
    address: Width,
    repeated: bool,
    down: bool,
    /// Real mode of the 286, see [`Course::late`].
    late: bool,
    /// EFLAGS.TF: a trap follows each iteration.
    trapped: bool,
    /// An interrupt that a shadow held off comes after the first iteration.
    awaited: bool,
}

impl Course {
    fn new(core: &Core<'_, '_>, i: &Insn) -> Course {
        let width = match i.mnemonic {
            Mnemonic::Movsb
            | Mnemonic::Stosb
            | Mnemonic::Lodsb
            | Mnemonic::Cmpsb
            | Mnemonic::Scasb
            | Mnemonic::Insb
            | Mnemonic::Outsb => Width::Byte,
            Mnemonic::Movsw
            | Mnemonic::Stosw
            | Mnemonic::Lodsw
            | Mnemonic::Cmpsw
            | Mnemonic::Scasw
            | Mnemonic::Insw
            | Mnemonic::Outsw => Width::Word,
            Mnemonic::Movsq | Mnemonic::Stosq | Mnemonic::Lodsq | Mnemonic::Cmpsq | Mnemonic::Scasq => Width::Qword,
            _ => Width::Dword,
        };
        let late = core.cpu.model == Model::I286 && !core.cpu.protected();
        Course {
            width,
            address: i.mem.width,
            repeated: i.rep != Rep::No,
            down: core.cpu.flag(crate::flags::bits::DF),
            late,
            trapped: core.cpu.flag(crate::flags::bits::TF),
            awaited: core.cpu.nmi_pending && !core.cpu.nmi_blocked
                || core.cpu.intr && core.cpu.flag(crate::flags::bits::IF),
        }
    }
    /// In real mode of the 286 a word that runs over the end of its segment faults when
    /// `registers` have already moved and CX has been counted down `by` times (as captured from an
    /// 80C286; the second count is that of the next iteration).
    #[cold]
    fn late(&self, core: &mut Core<'_, '_>, fault: Fault, registers: &[u8], by: u64) -> Fault {
        if self.late && matches!(core.env.leave, Leave::Exception(_)) {
            for &register in registers {
                self.advance(core, register, 1);
            }
            if self.repeated {
                let left = self.left(core).saturating_sub(by);
                core.cpu.gpr.write(gpr::CX, self.address, left);
            }
        }
        fault
    }
    /// Iterations still to do.
    fn left(&self, core: &Core<'_, '_>) -> u64 {
        if self.repeated { core.cpu.gpr.read(gpr::CX, self.address) } else { 1 }
    }
    fn offset(&self, core: &Core<'_, '_>, register: u8) -> u64 {
        core.cpu.gpr.read(register, self.address)
    }
    /// Moves an index register by `n` iterations.
    fn advance(&self, core: &mut Core<'_, '_>, register: u8, n: u64) {
        let delta = n * self.width.bytes();
        let old = core.cpu.gpr.read(register, self.address);
        let new = if self.down { old.wrapping_sub(delta) } else { old.wrapping_add(delta) };
        core.cpu.gpr.write(register, self.address, new & self.address.mask());
    }
    /// Counts `n` iterations as done.
    fn count(&self, core: &mut Core<'_, '_>, n: u64) {
        core.env.remaining -= n as i64;
        if self.repeated {
            let left = core.cpu.gpr.read(gpr::CX, self.address).wrapping_sub(n);
            core.cpu.gpr.write(gpr::CX, self.address, left & self.address.mask());
        }
    }
    /// How many iterations the budget allows now, at least one.
    fn allowed(&self, core: &Core<'_, '_>) -> u64 {
        if self.trapped || self.awaited { 1 } else { (core.env.remaining + 1).max(1) as u64 }
    }
    /// Whether the rest has to wait: the budget is used up, a debug trap is due, or code was overwritten, which may
    /// be this very instruction: it is fetched anew behind that iteration, however the run is cut.
    fn stops(&self, core: &Core<'_, '_>) -> bool {
        core.env.remaining < 0
            || self.trapped
            || self.awaited
            || core.cpu.pending_debug != 0
            || core.env.memory.has_code_writes()
            || core.env.tlb.watches.has_hits()
    }
    /// All done: the instruction itself was paid for when its block began.
    fn finish(&self, core: &mut Core<'_, '_>) -> Result<(), Fault> {
        core.env.remaining += 1;
        Ok(())
    }
    /// The budget is used up, or the board wants attention: the rest comes later.
    fn pause(&self, core: &mut Core<'_, '_>) -> Result<(), Fault> {
        core.env.remaining += 1;
        if core.cpu.model >= Model::I386 {
            // The image that an interrupt or trap between iterations pushes has RF set (SDM vol. 3,
            // 19.3.1.1), and a breakpoint that was passed is not met again.
            core.cpu.system_flags |= crate::flags::bits::RF;
        }
        Err(core.again())
    }
    /// Iterations upwards from `offset` that stay within one page and the offset's width.
    fn room(&self, core: &Core<'_, '_>, seg: Seg, offset: u64) -> u64 {
        let linear = core.wrap_linear(core.cpu.segment(seg).base.wrapping_add(offset));
        let page = (PAGE - linear % PAGE) / self.width.bytes();
        let wrap = (self.address.mask() - offset) / self.width.bytes();
        page.min(wrap)
    }
}

fn movs(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    loop {
        let (from, to) = (c.offset(core, gpr::SI), c.offset(core, gpr::DI));
        let n = c.left(core).min(c.allowed(core));
        let done = if n > 1 && !c.down { move_bulk(core, i, &c, from, to, n)? } else { 0 };
        let done = if done == 0 {
            let value = core.load(i.mem.seg, from, c.width).map_err(|f| c.late(core, f, &[gpr::SI], 1))?;
            core.store(Seg::Es, to, c.width, value).map_err(|f| c.late(core, f, &[gpr::SI, gpr::DI], 2))?;
            1
        } else {
            done
        };
        c.advance(core, gpr::SI, done);
        c.advance(core, gpr::DI, done);
        let more = c.repeated && c.left(core) != done;
        c.count(core, done);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) {
            return c.pause(core);
        }
    }
}

/// Copies up to `n` units inside one page each way when both are plain memory that is in the TLB;
/// 0 when not.
fn move_bulk(core: &mut Core<'_, '_>, i: &Insn, c: &Course, from: u64, to: u64, n: u64) -> Result<u64, Fault> {
    let n = n.min(c.room(core, i.mem.seg, from)).min(c.room(core, Seg::Es, to));
    if n < 2 {
        return Ok(0);
    }
    let bytes = n * c.width.bytes();
    let user = core.cpu.cpl == 3;
    let fits = |core: &Core<'_, '_>, seg: Seg, offset: u64, write: bool| {
        let s = core.cpu.segment(seg);
        offset + bytes <= if write { s.write_end } else { s.read_end }
    };
    if !fits(core, i.mem.seg, from, false) || !fits(core, Seg::Es, to, true) {
        return Ok(0);
    }
    let source = core.linear(i.mem.seg, from, bytes, Access::Read)?;
    let target = core.linear(Seg::Es, to, bytes, Access::Write)?;
    let (Some(source_page), Some(target_page)) =
        (core.env.tlb.read(source, bytes, user), core.env.tlb.write(target, bytes, user))
    else {
        return Ok(0);
    };
    let (so, to) = (source % PAGE, target % PAGE);
    let memory = &mut *core.env.memory;
    if source_page == target_page && to > so && to < so + bytes {
        // Overlapping upwards: later units read what earlier ones wrote.
        let page = memory.page_mut(target_page);
        let (so, to, unit) = (so as usize, to as usize, c.width.bytes() as usize);
        for k in 0..n as usize {
            page.copy_within(so + k * unit..so + (k + 1) * unit, to + k * unit);
        }
    } else {
        memory.copy_within(source_page, so, target_page, to, bytes as usize);
    }
    Ok(n)
}

fn stos(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    let value = core.cpu.gpr.read(gpr::AX, c.width);
    loop {
        let to = c.offset(core, gpr::DI);
        let n = c.left(core).min(c.allowed(core));
        let mut done = 0;
        if n > 1 && !c.down {
            let n = n.min(c.room(core, Seg::Es, to));
            let bytes = n * c.width.bytes();
            if n > 1 && to + bytes <= core.cpu.segment(Seg::Es).write_end {
                let linear = core.linear(Seg::Es, to, bytes, Access::Write)?;
                if let Some(page) = core.env.tlb.write(linear, bytes, core.cpu.cpl == 3) {
                    let at = (linear % PAGE) as usize;
                    let target = &mut core.env.memory.page_mut(page)[at..at + bytes as usize];
                    let pattern = value.to_le_bytes();
                    match c.width {
                        Width::Byte => target.fill(pattern[0]),
                        _ if pattern[..c.width.bytes() as usize].iter().all(|&b| b == pattern[0]) => {
                            target.fill(pattern[0])
                        }
                        Width::Word => target.as_chunks_mut::<2>().0.fill([pattern[0], pattern[1]]),
                        Width::Dword => {
                            target.as_chunks_mut::<4>().0.fill([pattern[0], pattern[1], pattern[2], pattern[3]])
                        }
                        Width::Qword => target.as_chunks_mut::<8>().0.fill(pattern),
                    }
                    done = n;
                }
            }
        }
        if done == 0 {
            core.store(Seg::Es, to, c.width, value).map_err(|f| c.late(core, f, &[gpr::DI], 2))?;
            done = 1;
        }
        c.advance(core, gpr::DI, done);
        let more = c.repeated && c.left(core) != done;
        c.count(core, done);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) {
            return c.pause(core);
        }
    }
}

fn lods(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    loop {
        let from = c.offset(core, gpr::SI);
        let value = core.load(i.mem.seg, from, c.width).map_err(|f| c.late(core, f, &[gpr::SI], 1))?;
        core.cpu.gpr.write(gpr::AX, c.width, value);
        c.advance(core, gpr::SI, 1);
        let more = c.repeated && c.left(core) != 1;
        c.count(core, 1);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) {
            return c.pause(core);
        }
    }
}

/// REPE goes on while the values are equal, REPNE while they differ.
fn goes_on(rep: Rep, a: u64, b: u64) -> bool {
    match rep {
        Rep::Rep => a == b,
        Rep::Repne => a != b,
        Rep::No => false,
    }
}

/// A fault in mid-run leaves the flags as they were before the instruction (SDM vol. 2, REP); so does, on the
/// hardware, a trap between iterations.
#[cold]
fn with_flags(core: &mut Core<'_, '_>, before: LazyFlags, fault: Fault) -> Fault {
    core.cpu.lazy = before;
    fault
}

fn cmps(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    let before = core.cpu.lazy;
    loop {
        let (from, to) = (c.offset(core, gpr::SI), c.offset(core, gpr::DI));
        if c.late {
            // The 286 looks at the second operand first.
            core.linear(Seg::Es, to, c.width.bytes(), Access::Read).map_err(|f| c.late(core, f, &[gpr::DI], 0))?;
        }
        let a = core.load(i.mem.seg, from, c.width).map_err(|f| {
            let f = with_flags(core, before, f);
            c.late(core, f, &[gpr::SI, gpr::DI], 1)
        })?;
        let b = core.load(Seg::Es, to, c.width).map_err(|f| with_flags(core, before, f))?;
        c.advance(core, gpr::SI, 1);
        c.advance(core, gpr::DI, 1);
        core.cpu.lazy.record(FlagsOf::Sub, c.width, a, b, a.wrapping_sub(b) & c.width.mask());
        let more = goes_on(i.rep, a, b) && c.left(core) != 1;
        c.count(core, 1);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) {
            core.cpu.lazy = before;
            return c.pause(core);
        }
    }
}

fn scas(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    let a = core.cpu.gpr.read(gpr::AX, c.width);
    let before = core.cpu.lazy;
    loop {
        let b = core.load(Seg::Es, c.offset(core, gpr::DI), c.width).map_err(|f| {
            let f = with_flags(core, before, f);
            c.late(core, f, &[gpr::DI], 1)
        })?;
        c.advance(core, gpr::DI, 1);
        core.cpu.lazy.record(FlagsOf::Sub, c.width, a, b, a.wrapping_sub(b) & c.width.mask());
        let more = goes_on(i.rep, a, b) && c.left(core) != 1;
        c.count(core, 1);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) {
            core.cpu.lazy = before;
            return c.pause(core);
        }
    }
}

fn ins(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    let port = core.cpu.gpr.read(gpr::DX, Width::Word) as u16;
    io::check_permission(core, port, c.width)?;
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    let unit = c.width.bytes();
    let mut buffer = [0u8; PAGE as usize];
    loop {
        let to = c.offset(core, gpr::DI);
        let n = c.left(core).min(c.allowed(core));
        // Alone, it may store to a device, which must see the time of each unit.
        let alone = c.down || n == 1 || core.env.stepping;
        let n = if alone { 1 } else { n.min(c.room(core, Seg::Es, to)).max(1) };
        // A run that does not fit the segment as a whole goes one by one up to the fault.
        let n = if to + n * unit <= core.cpu.segment(Seg::Es).write_end { n } else { 1 };
        core.probe_store(Seg::Es, to, n * unit).map_err(|f| c.late(core, f, &[gpr::DI], 2))?;
        // Behind each unit that overwrites code the instruction is fetched anew.
        let n = if n > 1 && core.overwrites_code(Seg::Es, to, n * unit)? { 1 } else { n };
        let part = &mut buffer[..(n * unit) as usize];
        let ticks = core.ticks();
        let done = core
            .env
            .bus
            .port_read_block(Cycle { memory: core.env.memory, ticks }, port, c.width, part)
            .clamp(1, n as usize);
        core.store_bytes(Seg::Es, to, &buffer[..done * unit as usize])?;
        let done = done as u64;
        c.advance(core, gpr::DI, done);
        let more = c.repeated && c.left(core) != done;
        c.count(core, done);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) || core.env.bus.attention() {
            return c.pause(core);
        }
    }
}

fn outs(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let c = Course::new(core, i);
    let port = core.cpu.gpr.read(gpr::DX, Width::Word) as u16;
    io::check_permission(core, port, c.width)?;
    if c.repeated && c.left(core) == 0 {
        return Ok(());
    }
    let unit = c.width.bytes();
    let mut buffer = [0u8; PAGE as usize];
    loop {
        let from = c.offset(core, gpr::SI);
        let n = c.left(core).min(c.allowed(core)).min(c.room(core, i.mem.seg, from));
        let part = &mut buffer[..(n * unit) as usize];
        if n > 1 && !c.down && core.load_known(i.mem.seg, from, part) {
            let ticks = core.ticks();
            let cycle = Cycle { memory: core.env.memory, ticks };
            let done = core.env.bus.port_write_block(cycle, port, c.width, part).min(n as usize) as u64;
            if done != 0 {
                c.advance(core, gpr::SI, done);
                let more = c.left(core) != done;
                c.count(core, done);
                if !more {
                    return c.finish(core);
                }
                if c.stops(core) || core.env.bus.attention() {
                    return c.pause(core);
                }
                continue;
            }
        }
        let value = core.load(i.mem.seg, from, c.width).map_err(|f| c.late(core, f, &[gpr::SI], 1))?;
        let (bus, cycle) = core.cycle();
        bus.port_write(cycle, port, c.width, value as u32);
        c.advance(core, gpr::SI, 1);
        let more = c.repeated && c.left(core) != 1;
        c.count(core, 1);
        if !more {
            return c.finish(core);
        }
        if c.stops(core) || core.env.bus.attention() {
            return c.pause(core);
        }
    }
}
