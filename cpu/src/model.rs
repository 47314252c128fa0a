//! The processors that can be chosen, and what tells them apart.

use crate::flags::bits;
use crate::state::{cr0, cr4};
use iced_x86::{Code, CpuidFeature};
use serde::{Deserialize, Serialize};

/// CPUID leaf 1 EDX bits.
#[allow(missing_docs, reason = "the names are the manual's")]
pub mod features {
    pub const FPU: u32 = 1 << 0;
    pub const VME: u32 = 1 << 1;
    pub const DE: u32 = 1 << 2;
    pub const PSE: u32 = 1 << 3;
    pub const TSC: u32 = 1 << 4;
    pub const MSR: u32 = 1 << 5;
    pub const PAE: u32 = 1 << 6;
    pub const MCE: u32 = 1 << 7;
    pub const CX8: u32 = 1 << 8;
    pub const SEP: u32 = 1 << 11;
    pub const MTRR: u32 = 1 << 12;
    pub const PGE: u32 = 1 << 13;
    pub const MCA: u32 = 1 << 14;
    pub const CMOV: u32 = 1 << 15;
    pub const PAT: u32 = 1 << 16;
    pub const PSE36: u32 = 1 << 17;
    pub const CLFSH: u32 = 1 << 19;
    pub const MMX: u32 = 1 << 23;
    pub const FXSR: u32 = 1 << 24;
    pub const SSE: u32 = 1 << 25;
    pub const SSE2: u32 = 1 << 26;
}

/// The brand of the Pentium M 755 (Dothan).
const BRAND: &[u8; 48] = b"        Intel(R) Pentium(R) M processor 2.00GHz\0";

/// The brand of the Core Solo T1300 (Yonah).
const CORE_BRAND: &[u8; 48] = b"Genuine Intel(R) CPU           T1300  @ 1.66GHz\0";

/// A processor model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the products'")]
pub enum Model {
    I8086,
    I286,
    I386,
    I486,
    Pentium,
    Pentium2,
    Pentium3,
    #[default]
    PentiumM,
    Core,
}

impl Model {
    /// All models, oldest first.
    pub const ALL: [Model; 9] = [
        Model::I8086,
        Model::I286,
        Model::I386,
        Model::I486,
        Model::Pentium,
        Model::Pentium2,
        Model::Pentium3,
        Model::PentiumM,
        Model::Core,
    ];
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Model::I8086 => "8086",
            Model::I286 => "286",
            Model::I386 => "386",
            Model::I486 => "486",
            Model::Pentium => "pentium",
            Model::Pentium2 => "pentium2",
            Model::Pentium3 => "pentium3",
            Model::PentiumM => "pentium-m",
            Model::Core => "core",
        }
    }
    /// The model of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Model> {
        Model::ALL.into_iter().find(|m| m.name() == name)
    }
    /// EDX after RESET: family, model and stepping (from the 386 on).
    #[must_use]
    pub const fn reset_edx(self) -> u32 {
        match self {
            Model::I8086 | Model::I286 => 0,
            Model::I386 => 0x0308,
            _ => self.signature(),
        }
    }
    /// CPUID leaf 1 EAX: type, family, model, stepping.
    #[must_use]
    pub const fn signature(self) -> u32 {
        match self {
            Model::I8086 | Model::I286 | Model::I386 => 0,
            Model::I486 => 0x0480,
            Model::Pentium => 0x0543,
            Model::Pentium2 => 0x0652,
            Model::Pentium3 => 0x0683,
            Model::PentiumM => 0x06d8,
            Model::Core => 0x06e8,
        }
    }
    /// CR0 after RESET. On the 286 this is the machine status word.
    #[must_use]
    pub const fn reset_cr0(self) -> u64 {
        match self {
            Model::I8086 => 0,
            Model::I286 => 0xfff0,
            Model::I386 => 0x10,
            _ => 0x6000_0010,
        }
    }
    /// CS selector and base after RESET.
    #[must_use]
    pub const fn reset_cs(self) -> (u16, u64) {
        match self {
            Model::I8086 => (0xffff, 0xf_fff0),
            Model::I286 => (0xf000, 0xff_0000),
            _ => (0xf000, 0xffff_0000),
        }
    }
    /// IP after RESET.
    #[must_use]
    pub const fn reset_ip(self) -> u64 {
        match self {
            Model::I8086 => 0,
            _ => 0xfff0,
        }
    }
    /// Number of physical address bits.
    #[must_use]
    pub const fn physical_bits(self) -> u32 {
        match self {
            Model::I8086 => 20,
            Model::I286 => 24,
            Model::I386 | Model::I486 | Model::Pentium => 32,
            _ => 36,
        }
    }
    /// CPUID leaf 1 EDX: what the product has, less what is not implemented (local APIC, debug
    /// store, thermal monitor and the like).
    #[must_use]
    pub const fn features(self) -> u32 {
        use features::*;
        const P5: u32 = FPU | VME | DE | PSE | TSC | MSR | MCE | CX8 | MMX;
        const P6: u32 = P5 | PAE | SEP | MTRR | PGE | MCA | CMOV | PAT | PSE36 | FXSR;
        match self {
            Model::I8086 | Model::I286 | Model::I386 => 0,
            Model::I486 => FPU,
            Model::Pentium => P5,
            Model::Pentium2 => P6,
            Model::Pentium3 => P6 | SSE,
            Model::PentiumM | Model::Core => P6 | SSE | SSE2 | CLFSH,
        }
    }
    /// Whether the model has SSE3.
    #[must_use]
    pub const fn has_sse3(self) -> bool {
        matches!(self, Model::Core)
    }
    /// CPUID leaf 1 ECX: what the product has, less what is not implemented (MONITOR, SpeedStep
    /// and the like).
    #[must_use]
    pub const fn more_features(self) -> u32 {
        if self.has_sse3() { 1 } else { 0 }
    }
    /// Whether paging has the execute-disable bit (and EFER exists): late Dothan Pentium M, Core.
    #[must_use]
    pub const fn has_execute_disable(self) -> bool {
        matches!(self, Model::PentiumM | Model::Core)
    }
    /// CPUID leaf 80000001h EDX.
    #[must_use]
    pub const fn extended_features(self) -> u32 {
        if self.has_execute_disable() { 1 << 20 } else { 0 }
    }
    /// CPUID leaf 1 EBX: brand index and CLFLUSH line size.
    #[must_use]
    pub const fn cpuid_ebx(self) -> u32 {
        match self {
            Model::Pentium3 => 0x02,
            Model::PentiumM => 0x0816,
            Model::Core => 0x0800,
            _ => 0,
        }
    }
    /// The 48 bytes of the brand string, for models that have one.
    #[must_use]
    pub const fn brand(self) -> Option<&'static [u8; 48]> {
        match self {
            Model::PentiumM => Some(BRAND),
            Model::Core => Some(CORE_BRAND),
            _ => None,
        }
    }
    /// CPUID leaf 2: cache and TLB descriptors (Intel AP-485).
    #[must_use]
    pub const fn cache_descriptors(self) -> [u32; 4] {
        match self {
            // 16 KiB + 16 KiB, 512 KiB.
            Model::Pentium2 => [0x0302_0101, 0, 0, 0x0c04_0843],
            // 16 KiB + 16 KiB, 256 KiB.
            Model::Pentium3 => [0x0302_0101, 0, 0, 0x0c04_0882],
            // 32 KiB + 32 KiB, 2 MiB, 64-byte lines.
            Model::PentiumM | Model::Core => [0x02b3_b001, 0xf0, 0, 0x2c04_307d],
            _ => [0; 4],
        }
    }
    /// The EFLAGS bits that exist and can be changed, the six status flags included.
    #[must_use]
    pub const fn eflags_mask(self) -> u64 {
        let base = bits::STATUS | bits::TF | bits::IF | bits::DF;
        let i286 = base | bits::IOPL | bits::NT;
        let i386 = i286 | bits::RF | bits::VM;
        match self {
            Model::I8086 => base,
            Model::I286 => i286,
            Model::I386 => i386,
            Model::I486 => i386 | bits::AC | bits::ID,
            _ => i386 | bits::AC | bits::ID | bits::VIF | bits::VIP,
        }
    }
    /// The CR0 bits (286: bits of the machine status word) that can be set.
    #[must_use]
    pub const fn cr0_mask(self) -> u64 {
        let i286 = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
        match self {
            Model::I8086 => 0,
            Model::I286 => i286,
            Model::I386 => i286 | cr0::ET | cr0::PG,
            _ => i286 | cr0::ET | cr0::PG | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD,
        }
    }
    /// The CR4 bits that exist; 0 when there is no CR4.
    #[must_use]
    pub const fn cr4_mask(self) -> u64 {
        let p5 = cr4::VME | cr4::PVI | cr4::TSD | cr4::DE | cr4::PSE | cr4::MCE;
        let p6 = p5 | cr4::PAE | cr4::PGE | cr4::PCE | cr4::OSFXSR;
        match self {
            Model::I8086 | Model::I286 | Model::I386 | Model::I486 => 0,
            Model::Pentium => p5,
            Model::Pentium2 => p6,
            _ => p6 | cr4::OSXMMEXCPT,
        }
    }
    /// Whether the instruction with encoding `code`, which needs all of `needed`, exists.
    #[must_use]
    pub fn allows(self, needed: &[CpuidFeature], code: Code) -> bool {
        let exists = match code {
            // PAUSE and the reserved NOPs of early processors are plain NOPs.
            Code::Pause => return true,
            // Neither the 286's and 386's LOADALL nor the 486's early CMPXCHG are implemented.
            Code::Loadall286 | Code::Loadall386 => false,
            // Test registers; what iced needs for them is no feature of a model.
            Code::Mov_r32_tr | Code::Mov_tr_r32 => return matches!(self, Model::I386 | Model::I486),
            // POP CS.
            Code::Popw_CS => self == Model::I8086,
            _ => true,
        };
        exists && needed.iter().all(|&feature| self.has(feature))
    }
    fn has(self, feature: CpuidFeature) -> bool {
        use CpuidFeature as F;
        let cpuid = |bit: u32| self.features() & bit != 0;
        match feature {
            F::INTEL8086 | F::FPU => true,
            F::INTEL8086_ONLY => self == Model::I8086,
            F::INTEL186 | F::INTEL286 | F::FPU287 => self >= Model::I286,
            F::INTEL286_ONLY | F::FPU287XL_ONLY => self == Model::I286,
            F::INTEL386 | F::FPU387 => self >= Model::I386,
            F::INTEL386_ONLY => self == Model::I386,
            F::INTEL486 | F::CPUID => self >= Model::I486,
            F::PAUSE => true,
            F::CMOV => cpuid(features::CMOV),
            F::MULTIBYTENOP | F::RDPMC => self >= Model::Pentium2,
            F::CLFSH => cpuid(features::CLFSH),
            F::CX8 => cpuid(features::CX8),
            F::FXSR => cpuid(features::FXSR),
            F::MMX => cpuid(features::MMX),
            F::MSR => cpuid(features::MSR),
            F::TSC => cpuid(features::TSC),
            F::SEP => cpuid(features::SEP),
            F::SSE => cpuid(features::SSE),
            F::SSE2 => cpuid(features::SSE2),
            F::SSE3 => self.has_sse3(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_appear_with_their_processor() {
        let since = |code: Code| Model::ALL.into_iter().find(|m| m.allows(code.cpuid_features(), code));
        assert_eq!(since(Code::Add_rm8_r8), Some(Model::I8086));
        assert_eq!(since(Code::Pushaw), Some(Model::I286));
        assert_eq!(since(Code::Lgdt_m1632_16), Some(Model::I286));
        assert_eq!(since(Code::Movzx_r32_rm8), Some(Model::I386));
        assert_eq!(since(Code::Xadd_rm32_r32), Some(Model::I486));
        assert_eq!(since(Code::Cpuid), Some(Model::I486));
        assert_eq!(since(Code::Invlpg_m), Some(Model::I486));
        assert_eq!(since(Code::Rdtsc), Some(Model::Pentium));
        assert_eq!(since(Code::Cmpxchg8b_m64), Some(Model::Pentium));
        assert_eq!(since(Code::Cmove_r32_rm32), Some(Model::Pentium2));
        assert_eq!(since(Code::Fcmove_st0_sti), Some(Model::Pentium2));
        assert_eq!(since(Code::Sysenter), Some(Model::Pentium2));
        assert_eq!(since(Code::Addps_xmm_xmmm128), Some(Model::Pentium3));
        assert_eq!(since(Code::Addpd_xmm_xmmm128), Some(Model::PentiumM));
        assert_eq!(since(Code::Addsubps_xmm_xmmm128), Some(Model::Core));
        assert_eq!(since(Code::Fisttp_m32int), Some(Model::Core));
        assert_eq!(since(Code::Mwait), None);
        assert_eq!(since(Code::Mov_r32_tr), Some(Model::I386));
        assert!(!Model::Pentium.allows(Code::Mov_r32_tr.cpuid_features(), Code::Mov_r32_tr));
    }

    #[test]
    fn brand_fills_its_leaves() {
        for model in [Model::PentiumM, Model::Core] {
            assert_eq!(model.brand().map(|b| b[47]), Some(0));
        }
    }
}
