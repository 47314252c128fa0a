//! The translator: the interpreter's upper tier.
//!
//! Code starts in the interpreter, which finds out what is hot. `region` explores what belongs
//! together, `emit` turns it into Cranelift's intermediate representation by running the one set
//! of instruction semantics on values to come, `compile` makes host code of that, on a thread of
//! its own where there is a second processor. Whatever the emitter has no words for is a call of
//! the function that the interpreter calls as well. On x86-64 `quick` makes host code of flat 32-bit
//! code in one pass instead. Nothing that the guest can see depends on which tier runs what.
//!
//! It exists on Linux and macOS; elsewhere the crate is empty. `host` and `memory` know what the host is.
#![cfg(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    all(target_os = "macos", target_arch = "aarch64")
))]

mod cache;
mod compile;
mod context;
mod dump;
mod emit;
mod host;
mod memory;
mod piece;
mod plan;
mod profile;
#[cfg(target_arch = "x86_64")]
mod quick;
#[cfg(not(target_arch = "x86_64"))]
#[path = "quick/none.rs"]
mod quick;
mod region;
mod space;
mod sse;
mod survey;
mod tier;

pub use cache::{CacheError, CacheSettings};
pub use compile::StartError;
pub use dump::DumpSettings;
pub use profile::{HotRegion, Hottest};
pub use tier::{Counters, Settings, Translator};
