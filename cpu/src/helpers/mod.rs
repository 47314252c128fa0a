//! What instructions do where plain functions on the processor state say it best: loops, system
//! state, many cases. Every engine calls them.

pub mod coprocessor;
pub mod fxsave;
pub mod mmx;
pub mod packed;
pub mod x87;

pub mod integer;
pub mod string;

pub mod control;
pub mod cpuid;
pub mod debug;
pub mod interrupts;
pub mod io;
pub mod msr;
pub mod segments;
pub mod sse;
mod stack;
pub mod system;
pub mod tasks;
#[cfg(test)]
mod tests;
