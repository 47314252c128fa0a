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

/// Whether the host's floating-point operations are the guest's, with the flags and NaNs that the guest gets.
pub(crate) const HAS_SSE_ARITHMETIC: bool = cfg!(target_arch = "x86_64");
