//! The processors that can be chosen, and what tells them apart.

use serde::{Deserialize, Serialize};

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
}

impl Model {
    /// All models, oldest first.
    pub const ALL: [Model; 8] = [
        Model::I8086,
        Model::I286,
        Model::I386,
        Model::I486,
        Model::Pentium,
        Model::Pentium2,
        Model::Pentium3,
        Model::PentiumM,
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
}
