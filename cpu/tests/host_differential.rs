//! Random 32-bit user-mode programs on the host's own processor and on the interpreter: registers, flags, memory, x87,
//! MMX and SSE state and exceptions must be the same.
//!
//! `BEIGEBOX_DIFFERENTIAL=n` sets the number of programs, `BEIGEBOX_DIFFERENTIAL_SEED=n` the first one's seed.
#![allow(unsafe_code, reason = "32-bit code runs on the host's processor")]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host {
    pub mod compare;
    pub mod guest;
    pub mod native;
    pub mod program;
    pub mod state;
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn programs_agree_with_the_host() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let programs = number("BEIGEBOX_DIFFERENTIAL").unwrap_or(if cfg!(debug_assertions) { 5_000 } else { 60_000 });
    let seed = number("BEIGEBOX_DIFFERENTIAL_SEED").unwrap_or(1);
    host::compare::compare(seed, programs);
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[test]
fn programs_agree_with_the_host() {
    println!("left out: this host is not x86-64 Linux and cannot run 32-bit programs");
}
