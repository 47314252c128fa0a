//! CPUID.

use crate::core::{Core, Fault};
use crate::insn::{Code, Insn, Mnemonic};
use crate::model::Model;
use crate::state::{CpuState, Width, gpr};

use crate::insn::Helper;

/// EAX, EBX, ECX and EDX that CPUID gives on `model` for `leaf`. A leaf above the highest answers
/// as the highest basic leaf, as Intel's processors do.
#[must_use]
pub fn leaf(model: Model, leaf: u32) -> [u32; 4] {
    let highest: u32 = if model >= Model::Pentium2 { 2 } else { 1 };
    if let Some(answer) = extended(model, leaf) {
        return answer;
    }
    match leaf.min(highest) {
        // "Genu" "ntel" "ineI"
        0 => [highest, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        1 => [model.signature(), model.cpuid_ebx(), model.more_features(), model.features()],
        _ => model.cache_descriptors(),
    }
}

fn extended(model: Model, leaf: u32) -> Option<[u32; 4]> {
    let brand = model.brand()?;
    match leaf {
        0x8000_0000 => Some([0x8000_0004, 0, 0, 0]),
        0x8000_0001 => Some([0, 0, 0, model.extended_features()]),
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            let word = |n: usize| {
                let mut bytes = [0; 4];
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = brand.get(at + 4 * n + i).copied().unwrap_or(0);
                }
                u32::from_le_bytes(bytes)
            };
            Some([word(0), word(1), word(2), word(3)])
        }
        _ => None,
    }
}

/// What leaf 1 says in ECX when there is a hypervisor, and where its own leaves begin.
const HYPERVISOR: u32 = 1 << 31;
const FIRST: u32 = 0x4000_0000;

/// What CPUID gives for `number` in this state: what the model says, and a hypervisor if there is to
/// be one. It is KVM ("KVMKVMKVM"), highest leaf 40000001h, and has no features (the Linux kernel's
/// "KVM CPUID bits").
#[must_use]
pub fn answer(cpu: &CpuState, number: u32) -> [u32; 4] {
    match (number, leaf(cpu.model, number)) {
        (_, answer) if !cpu.hypervisor => answer,
        (1, [eax, ebx, ecx, edx]) => [eax, ebx, ecx | HYPERVISOR, edx],
        (FIRST, _) => [FIRST + 1, 0x4b4d_564b, 0x564b_4d56, 0x0000_004d],
        (0x4000_0001..=0x4fff_ffff, _) => [0; 4],
        (_, answer) => answer,
    }
}

fn cpuid(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    let [eax, ebx, ecx, edx] = answer(core.cpu, core.cpu.gpr.read(gpr::AX, Width::Dword) as u32);
    core.cpu.gpr.write(gpr::AX, Width::Dword, u64::from(eax));
    core.cpu.gpr.write(gpr::BX, Width::Dword, u64::from(ebx));
    core.cpu.gpr.write(gpr::CX, Width::Dword, u64::from(ecx));
    core.cpu.gpr.write(gpr::DX, Width::Dword, u64::from(edx));
    Ok(())
}

pub(super) fn lookup(mnemonic: Mnemonic, _: Code) -> Option<Helper> {
    (mnemonic == Mnemonic::Cpuid).then_some(cpuid as Helper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypervisor_shows_where_it_is_asked_for() {
        let mut cpu = CpuState::new(Model::PentiumM);
        let plain = [1, FIRST, 2].map(|number| answer(&cpu, number));
        assert_eq!(plain[0][2] & HYPERVISOR, 0);
        assert_eq!(plain[1], plain[2]);
        cpu.hypervisor = true;
        let bytes: Vec<u8> = answer(&cpu, FIRST)[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes, b"KVMKVMKVM\0\0\0");
        assert_eq!(answer(&cpu, FIRST + 1), [0; 4]);
        assert_eq!(answer(&cpu, 1)[2], plain[0][2] | HYPERVISOR);
        assert_eq!(answer(&cpu, 2), plain[2]);
        cpu.reset();
        assert!(cpu.hypervisor);
    }
}
