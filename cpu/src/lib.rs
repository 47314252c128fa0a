//! An x86 processor.
//!
//! [`state`] is what it is, [`memory`] and [`bus`] what it needs, [`core`] how both are reached
//! with all checks, [`semantics`] and [`helpers`] what instructions do, [`interpreter`] the engine
//! that runs them one after the other.

#[cfg(target_endian = "big")]
compile_error!(
    "Beigebox runs on little-endian hosts only: it keeps the memory of an x86 machine as the machine sees it. \
     Build for x86_64 or aarch64."
);
#[cfg(not(any(target_pointer_width = "64", target_family = "wasm")))]
compile_error!(
    "Beigebox runs on 64-bit hosts only, and as WebAssembly: guest memory does not fit beside all else into 32 bits. \
     Build for x86_64 or aarch64, or take a 64-bit system."
);

pub mod bus;
pub mod core;
pub mod decode;
pub mod engine;
pub mod flags;
pub mod hash;
pub mod helpers;
pub mod insn;
pub mod interpreter;
pub mod memory;
pub mod micro;
pub mod mmu;
pub mod model;
pub mod restore;
pub mod semantics;
pub mod softfloat;
pub mod state;
pub mod tlb;
pub mod watch;

pub use bus::{Bus, Cycle};
pub use engine::{Engine, Exit};
pub use memory::GuestMemory;
pub use model::Model;
pub use state::CpuState;
