//! Taking over a processor state that comes from outside and may be hostile.

use crate::core::DEBUG_ENABLED;
use crate::flags::{LazyFlags, bits};
use crate::helpers::fxsave::mxcsr_mask;
use crate::model::Model;
use crate::state::{CpuState, Fpu, Mode, Msrs, Segment, Table, cr0, efer};

/// Why a state was refused: the part that no processor of this kind can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateError(pub &'static str);

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the processor's {} cannot be", self.0)
    }
}

impl std::error::Error for StateError {}

/// Counts of instructions beyond this come from no run, and could reach the end of their range.
const MOST_TICKS: u64 = 1 << 60;
/// The highest address, and the highest value of a register, without 64-bit mode.
const MAX: u64 = u32::MAX as u64;

impl CpuState {
    /// Takes over `saved`, a state as it stands between two instructions with its flags computed
    /// (by [`CpuState::set_eflags`] of [`CpuState::eflags`]). What can be computed from other parts
    /// (the mode, the limits of segments) is computed afresh.
    ///
    /// # Errors
    /// A part is out of the range that a processor of this model and rate can bring about, or it is
    /// another model. Then nothing has changed.
    pub fn adopt(&mut self, saved: CpuState) -> Result<(), StateError> {
        // A new field stops the build here.
        let CpuState {
            gpr,
            rip,
            lazy,
            system_flags,
            seg,
            ldtr,
            tr,
            gdtr,
            idtr,
            cr0,
            cr2,
            cr3,
            cr4,
            pdpte,
            dr,
            cpl,
            mode: _,
            tlb_half: _,
            fpu,
            xmm: _,
            mxcsr,
            msr,
            model,
            hypervisor,
            activity: _,
            shadow: _,
            nmi_blocked: _,
            intr: _,
            nmi_pending: _,
            a20: _,
            pending_debug,
            ticks,
            retired,
            tsc_offset: _,
            tsc_per_tick,
            ferr: _,
        } = &saved;
        let model = *model;
        let demand = |holds: bool, part: &'static str| if holds { Ok(()) } else { Err(StateError(part)) };
        demand(model == self.model, "model")?;
        demand(*hypervisor == self.hypervisor, "presence of a hypervisor")?;
        demand(*tsc_per_tick == self.tsc_per_tick, "rate of the time-stamp counter")?;
        demand((0..16).all(|index| gpr.get(index) <= MAX) && (16..32).all(|index| gpr.get(index) == 0), "registers")?;
        demand(*rip <= if model == Model::I8086 { 0xffff } else { MAX }, "instruction pointer")?;

        let mut plain = LazyFlags::default();
        plain.set_all(lazy.a & bits::STATUS | u64::from(lazy.cf));
        demand(plain == *lazy, "flags")?;
        // The 8086 has ones in the upper four bits.
        let ones = if model == Model::I8086 { 0xf000 } else { 0 };
        let known = model.eflags_mask() & !bits::STATUS | bits::RF | ones;
        demand(system_flags & !known == 0, "flags")?;

        demand(cr0 & !(model.cr0_mask() | model.reset_cr0()) == 0, "CR0")?;
        demand(cr4 & !model.cr4_mask() == 0, "CR4")?;
        demand(*cr2 <= MAX && *cr3 <= MAX, "CR2 or CR3")?;
        let reserved = u64::MAX << model.physical_bits() | 0x1e6;
        demand(pdpte.iter().all(|entry| entry & 1 == 0 || entry & reserved == 0), "page directory pointers")?;
        demand(dr.iter().all(|value| *value <= MAX) && dr[4] == 0 && dr[5] == 0, "debug registers")?;
        demand(*pending_debug & !(MAX | DEBUG_ENABLED) == 0, "pending debug conditions")?;

        let protected = cr0 & cr0::PE != 0;
        let v86 = system_flags & bits::VM != 0;
        demand(protected || cr0 & cr0::PG == 0, "CR0")?;
        demand(protected || !v86, "flags")?;
        demand(if v86 { *cpl == 3 } else { *cpl == 0 || protected && *cpl < 4 }, "privilege level")?;

        let segments = seg.iter().chain([ldtr, tr]);
        for &Segment { selector: _, base, limit: _, attributes, usable: _, read_end: _, write_end: _ } in segments {
            demand(base <= MAX && attributes.0 <= 0xfff, "segments")?;
        }
        for &Table { base, limit: _ } in [gdtr, idtr] {
            demand(base <= MAX, "descriptor tables")?;
        }

        let Fpu { regs: _, top, control: _, status, empty: _, opcode, ip, cs: _, dp, ds: _ } = fpu;
        demand(*top < 8 && status & 0x3800 == 0, "x87 status")?;
        demand(*opcode <= 0x7ff && *ip <= MAX && *dp <= MAX, "x87 pointers")?;
        demand(mxcsr & !mxcsr_mask(model) == 0, "MXCSR")?;

        // The rest is storage.
        let Msrs { efer, sysenter, .. } = msr;
        demand(efer & !efer::NXE == 0 && (*efer == 0 || model.has_execute_disable()), "EFER")?;
        demand(sysenter.iter().all(|value| *value <= MAX), "SYSENTER registers")?;
        demand(*ticks <= MOST_TICKS && *retired <= MOST_TICKS, "counts")?;

        *self = saved;
        for segment in self.seg.iter_mut().chain([&mut self.ldtr, &mut self.tr]) {
            segment.derive();
        }
        self.mode = Mode::default();
        self.update_mode();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Attributes, Seg, gpr};

    #[test]
    fn every_model_takes_its_own_state() {
        for model in Model::ALL {
            let mut cpu = CpuState::new(model);
            let saved = cpu.clone();
            cpu.gpr.set(gpr::AX, 7);
            assert_eq!(cpu.adopt(saved.clone()), Ok(()));
            assert_eq!(cpu, saved);
        }
    }

    #[test]
    fn what_follows_from_other_parts_is_computed() {
        let mut saved = CpuState::new(Model::PentiumM);
        saved.mode = Mode(0xffff);
        saved.tlb_half = usize::MAX;
        saved.seg[Seg::Ds as usize].write_end = u64::MAX;
        let mut cpu = CpuState::new(Model::PentiumM);
        assert_eq!(cpu.adopt(saved), Ok(()));
        assert_eq!(cpu, CpuState::new(Model::PentiumM));
    }

    #[test]
    fn impossible_states_are_refused_and_change_nothing() {
        type Damage = (&'static str, fn(&mut CpuState));
        let damages: [Damage; 24] = [
            ("model", |cpu| cpu.model = Model::I286),
            ("rate of the time-stamp counter", |cpu| cpu.tsc_per_tick = 0),
            ("registers", |cpu| cpu.gpr.set(gpr::SP, 1 << 32)),
            ("instruction pointer", |cpu| cpu.rip = 1 << 32),
            ("flags", |cpu| cpu.lazy.width = crate::state::Width::Byte),
            ("flags", |cpu| cpu.lazy.a = 1),
            ("flags", |cpu| cpu.system_flags = bits::VM),
            ("flags", |cpu| cpu.system_flags = 1 << 40),
            ("CR0", |cpu| cpu.cr0 |= cr0::PG),
            ("CR0", |cpu| cpu.cr0 |= 1 << 33),
            ("CR4", |cpu| cpu.cr4 = 1 << 31),
            ("CR2 or CR3", |cpu| cpu.cr3 = u64::MAX),
            ("page directory pointers", |cpu| cpu.pdpte[3] = u64::MAX),
            ("debug registers", |cpu| cpu.dr[5] = 1),
            ("pending debug conditions", |cpu| cpu.pending_debug = u64::MAX),
            ("privilege level", |cpu| cpu.cpl = 3),
            ("segments", |cpu| cpu.seg[0].base = u64::MAX),
            ("segments", |cpu| cpu.tr.attributes = Attributes(0xffff)),
            ("descriptor tables", |cpu| cpu.idtr.base = 1 << 63),
            ("x87 status", |cpu| cpu.fpu.top = 8),
            ("x87 pointers", |cpu| cpu.fpu.opcode = 0x800),
            ("MXCSR", |cpu| cpu.mxcsr = u32::MAX),
            ("EFER", |cpu| cpu.msr.efer = efer::LMA),
            ("counts", |cpu| cpu.ticks = u64::MAX),
        ];
        for (part, damage) in damages {
            let mut saved = CpuState::new(Model::PentiumM);
            damage(&mut saved);
            let mut cpu = CpuState::new(Model::PentiumM);
            assert_eq!(cpu.adopt(saved), Err(StateError(part)));
            assert_eq!(cpu, CpuState::new(Model::PentiumM));
        }
    }
}
