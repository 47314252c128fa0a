//! RDMSR and WRMSR. Numbers and reserved bits are those of the Intel SDM vol. 4 and the Pentium
//! and P6 manuals.

use crate::core::{Core, Fault};
use crate::insn::{Code, Insn, Mnemonic};
use crate::model::{Model, features};
use crate::state::{Width, efer, gpr};

use super::system::{PrivilegeCheck as _, write_efer};
use crate::insn::Helper;

/// IA32_MTRRCAP: eight variable ranges, fixed ranges, write combining.
const MTRR_CAP: u64 = 0x508;
/// IA32_MCG_CAP: five banks with MCG_CTL.
const MCG_CAP: u64 = 0x105;
const BANKS: u32 = 5;
/// Enable and bootstrap bits and the base of IA32_APIC_BASE. Until there is a local APIC, the
/// global enable bit (11) is clear, as it is when the board has turned the APIC off.
const APIC_BASE: u64 = 0xf_ffff_f100;

/// Where the fixed-range MTRR `number` is stored.
fn fixed_range(number: u32) -> Option<usize> {
    Some(match number {
        0x250 => 0,
        0x258 => 1,
        0x259 => 2,
        0x268..=0x26f => (number - 0x268) as usize + 3,
        _ => return None,
    })
}

fn is_memory_type(kind: u64) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

/// The value of model-specific register `number`; `None` when there is none.
fn read(core: &Core<'_, '_>, number: u32) -> Option<u64> {
    let (msr, model) = (&core.cpu.msr, core.cpu.model);
    if model < Model::Pentium {
        return None;
    }
    match number {
        0 | 1 => return Some(0),
        0x10 => return Some(core.cpu.tsc_at(core.ticks())),
        _ => {}
    }
    if model == Model::Pentium {
        // Control and counters of the Pentium's performance monitor; TR1–TR12 as zero.
        return matches!(number, 2..=0xe | 0x11..=0x13).then_some(0);
    }
    let has = |bit: u32| model.features() & bit != 0;
    Some(match number {
        0x17 | 0x2a | 0x79 | 0xc1 | 0xc2 | 0x119 | 0x11e | 0x186 | 0x187 | 0x1db..=0x1de => 0,
        0x1b => msr.apic_base & APIC_BASE,
        0x8b => msr.bios_sign,
        0xfe => MTRR_CAP,
        0x174..=0x176 if has(features::SEP) => msr.sysenter[(number - 0x174) as usize],
        0x179 => MCG_CAP,
        0x17a => msr.machine_check[0],
        0x17b => msr.machine_check[1],
        0x198..=0x19c if model >= Model::PentiumM => 0,
        0x1a0 if model >= Model::PentiumM => msr.misc_enable,
        0x1d9 => msr.debugctl,
        0x200..=0x20f => msr.mtrr_variable[(number - 0x200) as usize],
        0x277 => msr.pat,
        0x2ff => msr.mtrr_def_type,
        _ if (0x400..0x400 + 4 * BANKS).contains(&number) => msr.machine_check[(number - 0x400) as usize + 2],
        0xc000_0080 if model.has_execute_disable() => msr.efer,
        _ => msr.mtrr_fixed[fixed_range(number)?],
    })
}

/// Writes model-specific register `number`; `None` when there is none or `value` will not do.
fn write(core: &mut Core<'_, '_>, number: u32, value: u64) -> Option<()> {
    let model = core.cpu.model;
    if model < Model::Pentium {
        return None;
    }
    match number {
        0 | 1 => return Some(()),
        0x10 => {
            // P6 processors load only the lower half and clear the upper one.
            let value = if model >= Model::Pentium2 { value & 0xffff_ffff } else { value };
            let now = core.cpu.tsc_at(core.ticks());
            core.cpu.tsc_offset = core.cpu.tsc_offset.wrapping_add(value.wrapping_sub(now));
            return Some(());
        }
        _ => {}
    }
    if model == Model::Pentium {
        return matches!(number, 2..=0xe | 0x11..=0x13).then_some(());
    }
    let address_bits = (1u64 << model.physical_bits()) - 1;
    let has = model.features();
    let msr = &mut core.cpu.msr;
    match number {
        0x2a | 0x79 | 0xc1 | 0xc2 | 0x119 | 0x11e | 0x186 | 0x187 => {}
        0x1b => msr.apic_base = value & APIC_BASE,
        0x8b => msr.bios_sign = value,
        0x174..=0x176 if has & features::SEP != 0 => msr.sysenter[(number - 0x174) as usize] = value & 0xffff_ffff,
        0x17a => msr.machine_check[0] = value & 7,
        0x17b => msr.machine_check[1] = value,
        0x199..=0x19c if model >= Model::PentiumM => {}
        0x1a0 if model >= Model::PentiumM => msr.misc_enable = value,
        0x1d9 => msr.debugctl = value & 0x7f,
        0x200..=0x20f => {
            let allowed = if number & 1 == 0 { address_bits & !0xfff | 0xff } else { address_bits & !0xfff | 0x800 };
            if value & !allowed != 0 || number & 1 == 0 && !is_memory_type(value & 0xff) {
                return None;
            }
            msr.mtrr_variable[(number - 0x200) as usize] = value;
        }
        0x277 => {
            if !value.to_le_bytes().iter().all(|&kind| is_memory_type(u64::from(kind)) || kind == 7) {
                return None;
            }
            msr.pat = value;
        }
        0x2ff => {
            if value & !0xcff != 0 || !is_memory_type(value & 0xff) {
                return None;
            }
            msr.mtrr_def_type = value;
        }
        _ if (0x400..0x400 + 4 * BANKS).contains(&number) => {
            // Status and below can only be cleared; control takes any value.
            if number & 3 != 0 && value != 0 {
                return None;
            }
            msr.machine_check[(number - 0x400) as usize + 2] = value;
        }
        _ => {
            let slot = fixed_range(number)?;
            if !value.to_le_bytes().iter().all(|&kind| is_memory_type(u64::from(kind))) {
                return None;
            }
            msr.mtrr_fixed[slot] = value;
        }
    }
    Some(())
}

fn rdmsr(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    core.require_ring_0()?;
    let number = core.cpu.gpr.read(gpr::CX, Width::Dword) as u32;
    let Some(value) = read(core, number) else {
        return Err(core.protection(0));
    };
    core.cpu.gpr.write(gpr::AX, Width::Dword, value);
    core.cpu.gpr.write(gpr::DX, Width::Dword, value >> 32);
    Ok(())
}

fn wrmsr(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    core.require_ring_0()?;
    let number = core.cpu.gpr.read(gpr::CX, Width::Dword) as u32;
    let value = core.cpu.gpr.read(gpr::DX, Width::Dword) << 32 | core.cpu.gpr.read(gpr::AX, Width::Dword);
    if number == 0xc000_0080 && core.cpu.model.has_execute_disable() {
        return write_efer(core, value & !efer::LMA);
    }
    match write(core, number, value) {
        Some(()) => Ok(()),
        None => Err(core.protection(0)),
    }
}

pub(super) fn lookup(mnemonic: Mnemonic, _: Code) -> Option<Helper> {
    Some(match mnemonic {
        Mnemonic::Rdmsr => rdmsr,
        Mnemonic::Wrmsr => wrmsr,
        _ => return None,
    })
}
