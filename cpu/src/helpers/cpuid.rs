//! CPUID.

use crate::core::{Core, Fault};
use crate::insn::{Code, Insn, Mnemonic};
use crate::model::Model;
use crate::state::{Width, gpr};

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

fn cpuid(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    let [eax, ebx, ecx, edx] = leaf(core.cpu.model, core.cpu.gpr.read(gpr::AX, Width::Dword) as u32);
    core.cpu.gpr.write(gpr::AX, Width::Dword, u64::from(eax));
    core.cpu.gpr.write(gpr::BX, Width::Dword, u64::from(ebx));
    core.cpu.gpr.write(gpr::CX, Width::Dword, u64::from(ecx));
    core.cpu.gpr.write(gpr::DX, Width::Dword, u64::from(edx));
    Ok(())
}

pub(super) fn lookup(mnemonic: Mnemonic, _: Code) -> Option<Helper> {
    (mnemonic == Mnemonic::Cpuid).then_some(cpuid as Helper)
}
