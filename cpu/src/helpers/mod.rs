//! What instructions do where plain functions on the processor state say it best: loops, system
//! state, many cases. Every engine calls them.

pub mod coprocessor;
pub mod fxsave;
pub mod mmx;
pub mod packed;
pub mod x87;
