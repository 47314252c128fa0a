//! What differs between the processors that native code runs on.
#![allow(unsafe_code, reason = "functions between native code and Rust, control registers, caches")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{begin_floats, end_floats, fetch_anew, keeping_registers, publish};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{begin_floats, end_floats, fetch_anew, keeping_registers, publish};

/// The host's floating-point operations have other NaNs and other flags than the guest's: what could show that is
/// found out operation by operation, and left to the interpreter.
pub(crate) const CHECKS_FLOATS: bool = cfg!(not(target_arch = "x86_64"));

/// What the word about vectors says: SSE instructions may run, arithmetic among them.
pub(crate) const ALL_VECTORS: u64 = 1;
/// All SSE instructions but arithmetic may run.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const MOVES_ONLY: u64 = 2;
