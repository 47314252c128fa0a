//! A processor in flat 32-bit protected mode that runs single helpers.

use cpu::core::{Core, Env, Fault, Leave};
use cpu::decode::{Decoded, decode};
use cpu::helpers::{sse, x87};
use cpu::insn::{Code, Insn};
use cpu::interpreter::Ways;
use cpu::state::{Attributes, CpuState, Segment, Width, cr0, cr4};
use cpu::tlb::Tlb;
use cpu::{Bus, Cycle, GuestMemory, Model};

struct NoBus;

impl Bus for NoBus {
    fn port_read(&mut self, _: Cycle<'_>, _: u16, _: Width) -> u32 {
        0
    }
    fn port_write(&mut self, _: Cycle<'_>, _: u16, _: Width, _: u32) {}
    fn mmio_read(&mut self, _: Cycle<'_>, _: u64, _: Width) -> u64 {
        0
    }
    fn mmio_write(&mut self, _: Cycle<'_>, _: u64, _: Width, _: u64) {}
    fn acknowledge_interrupt(&mut self, _: Cycle<'_>) -> Option<u8> {
        None
    }
    fn attention(&self) -> bool {
        false
    }
}

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
        let mut cpu = CpuState::new(Model::PentiumM);
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

/// Decodes the bytes of one instruction. SSE3 instructions, which no model has, get the operands of a relative.
pub fn lower(bytes: &[u8]) -> Option<Insn> {
    let mode = Guest::new().cpu.mode;
    let Decoded::Insn(lowered) = decode(bytes, 0x1000, mode, Model::PentiumM) else { return None };
    let mut insn = lowered.insn;
    let instruction = iced_x86::Decoder::new(32, bytes, 0).decode();
    if insn.code == Code::INVALID && instruction.cpuid_features().contains(&iced_x86::CpuidFeature::SSE3) {
        let relative = if bytes[0] & 0xf8 == 0xd8 {
            // FISTTP: FIST or FST.
            vec![bytes[0], bytes[1] + 8]
        } else {
            // ADDPS.
            let at = bytes.iter().position(|&b| b == 0x0f)?;
            vec![0x0f, 0x58, bytes[at + 2], 0]
        };
        insn = lower(&relative)?;
        (insn.code, insn.mnemonic, insn.len) = (instruction.code(), instruction.mnemonic(), instruction.len() as u8);
        insn.helper = x87::lookup(insn.mnemonic, insn.code).or_else(|| sse::lookup(insn.mnemonic, insn.code))?;
    }
    Some(insn)
}
