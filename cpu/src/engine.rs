//! What an engine is: something that runs a processor for a while.

use crate::bus::Bus;
use crate::memory::GuestMemory;
use crate::state::CpuState;

/// Why an engine returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The budget is used up.
    BudgetSpent,
    /// The processor is halted and no interrupt is pending.
    Halted,
    /// The bus asked for attention.
    Attention,
    /// A triple fault: the processor is shut down.
    TripleFault,
    /// An instruction breakpoint of the embedder is at the current instruction, or the instruction
    /// before it has touched watched bytes.
    Breakpoint,
}

/// Interpreter, translator or hardware accelerator.
pub trait Engine: Send {
    /// Short name: `"interpreter"`.
    fn name(&self) -> &'static str;
    /// Runs `cpu` for at most `budget` instructions and returns why it stopped and how many it
    /// retired. On return `cpu` is complete: `rip`, flags and all else are those between two
    /// instructions. Interrupts are taken at exact instruction boundaries, so that every engine
    /// gives the same result.
    fn run(&mut self, cpu: &mut CpuState, memory: &mut GuestMemory, bus: &mut dyn Bus, budget: u64) -> (Exit, u64);
    /// Forgets everything derived from memory and processor state: after restore or reset.
    fn forget(&mut self);
}
