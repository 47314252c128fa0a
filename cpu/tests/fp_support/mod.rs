//! A processor in flat 32-bit protected mode that runs single helpers.

use cpu::core::{Core, Env, Fault, Leave};
use cpu::decode::{Decoded, decode};
use cpu::insn::Insn;
use cpu::interpreter::Ways;
use cpu::state::{Attributes, CpuState, Segment, cr0, cr4};
use cpu::tlb::Tlb;
use cpu::{Bus, GuestMemory, Model};

struct NoBus;

impl Bus for NoBus {}

/// Where memory operands at EDI are.
pub const AT: u64 = 0x2000;

pub struct Guest {
    pub memory: GuestMemory,
    pub tlb: Tlb,
    pub ways: Ways,
    pub cpu: CpuState,
    /// Why the last instruction faulted.
    pub leave: Leave,
}

impl Guest {
    pub fn new() -> Guest {
        let mut memory = GuestMemory::new(1 << 20, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, 1 << 20, ram, 0, false);
        let mut cpu = CpuState::new(Model::Core);
        cpu.cr0 |= cr0::PE | cr0::NE;
        cpu.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
        for (n, s) in cpu.seg.iter_mut().enumerate() {
            let attributes = Attributes(if n == 1 { 0xc9b } else { 0xc93 });
            *s = Segment::new(8, 0, u32::MAX, attributes, true);
        }
        cpu.update_mode();
        Guest { memory, tlb: Tlb::new(), ways: Ways::default(), cpu, leave: Leave::Step }
    }
    pub fn run(&mut self, insn: &Insn) -> Result<(), Fault> {
        let mut bus = NoBus;
        let mut env = Env::new(&mut self.memory, &mut bus, &mut self.tlb, &mut self.ways);
        env.leave = Leave::Step;
        env.stepping = true;
        let result = (insn.helper)(&mut Core { cpu: &mut self.cpu, env: &mut env }, insn);
        self.leave = env.leave;
        result
    }
}

/// Decodes the bytes of one instruction.
pub fn lower(bytes: &[u8]) -> Option<Insn> {
    let mode = Guest::new().cpu.mode;
    match decode(bytes, 0x1000, mode, Model::Core) {
        Decoded::Insn(lowered) => Some(lowered.insn),
        Decoded::Incomplete => None,
    }
}
