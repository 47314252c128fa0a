//! The machine as `gdbstub` wants to see it.

use super::{Goal, registers};
use crate::probe::{Spot, WatchKind};
use crate::run::Machine;
use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub::common::Signal;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadRangeStepping, SingleThreadRangeSteppingOps, SingleThreadResume,
    SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    self, Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use std::convert::Infallible;
use std::num::NonZeroUsize;

/// An i386 with its system registers.
#[derive(Debug)]
pub enum I386 {}

/// The number of a register in the target description.
#[derive(Clone, Copy, Debug)]
pub struct RegisterId(pub(crate) usize);

/// The registers in the order of the target description.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegisterFile {
    pub(crate) bytes: Vec<u8>,
}

impl RegId for RegisterId {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        Some((RegisterId(id), Some(NonZeroUsize::new(registers::size(id)?)?)))
    }
    fn to_raw_id(&self) -> Option<usize> {
        Some(self.0)
    }
}

impl Registers for RegisterFile {
    type ProgramCounter = u32;
    fn pc(&self) -> u32 {
        let at = 4 * registers::IP;
        self.bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|byte| write_byte(Some(*byte)));
    }
    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.to_vec();
        Ok(())
    }
}

impl Arch for I386 {
    type Usize = u32;
    type Registers = RegisterFile;
    type BreakpointKind = usize;
    type RegId = RegisterId;
}

/// EFAULT: memory is not there.
const FAULT: TargetError<Infallible> = TargetError::Errno(14);
/// EINVAL: that cannot be written.
const INVALID: TargetError<Infallible> = TargetError::Errno(22);

impl Target for Machine {
    type Arch = I386;
    type Error = Infallible;
    fn base_ops(&mut self) -> BaseOps<'_, I386, Infallible> {
        BaseOps::SingleThread(self)
    }
    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
    fn support_target_description_xml_override(&mut self) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
    fn use_lldb_register_info(&self) -> bool {
        false
    }
}

impl TargetDescriptionXmlOverride for Machine {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let xml = registers::XML[usize::from(self.cpu().mode.bitness() != 16)].as_bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(xml.len());
        let part = &xml[from..];
        let bytes = part.len().min(length).min(buf.len());
        buf[..bytes].copy_from_slice(&part[..bytes]);
        Ok(bytes)
    }
}

impl SingleThreadBase for Machine {
    fn read_registers(&mut self, regs: &mut RegisterFile) -> TargetResult<(), Self> {
        regs.bytes = (0..registers::COUNT).flat_map(|number| registers::read(self.cpu(), number)).collect();
        Ok(())
    }
    fn write_registers(&mut self, regs: &RegisterFile) -> TargetResult<(), Self> {
        let mut rest = &regs.bytes[..];
        self.with_cpu(|cpu| {
            for number in 0..registers::COUNT {
                let Some((value, behind)) = registers::size(number).and_then(|size| rest.split_at_checked(size)) else {
                    return;
                };
                registers::write(cpu, number, value);
                rest = behind;
            }
        });
        Ok(())
    }
    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, (), Self>> {
        Some(self)
    }
    fn read_addrs(&mut self, start: u32, data: &mut [u8]) -> TargetResult<usize, Self> {
        match self.read_linear(start.into(), data) {
            0 if !data.is_empty() => Err(FAULT),
            bytes => Ok(bytes),
        }
    }
    fn write_addrs(&mut self, start: u32, data: &[u8]) -> TargetResult<(), Self> {
        if self.write_linear(start.into(), data) == data.len() { Ok(()) } else { Err(FAULT) }
    }
    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<()> for Machine {
    fn read_register(&mut self, (): (), reg_id: RegisterId, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let value = registers::read(self.cpu(), reg_id.0);
        let Some(target) = buf.get_mut(..value.len()) else { return Err(TargetError::NonFatal) };
        target.copy_from_slice(&value);
        Ok(value.len())
    }
    fn write_register(&mut self, (): (), reg_id: RegisterId, val: &[u8]) -> TargetResult<(), Self> {
        if self.with_cpu(|cpu| registers::write(cpu, reg_id.0, val)) { Ok(()) } else { Err(INVALID) }
    }
}

impl SingleThreadResume for Machine {
    fn resume(&mut self, _signal: Option<Signal>) -> Result<(), Infallible> {
        self.gdb.goal = Goal::Continue;
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Machine {
    fn step(&mut self, _signal: Option<Signal>) -> Result<(), Infallible> {
        self.gdb.goal = Goal::Step;
        Ok(())
    }
}

impl SingleThreadRangeStepping for Machine {
    fn resume_range_step(&mut self, start: u32, end: u32) -> Result<(), Infallible> {
        self.gdb.goal = Goal::Range(start, end);
        Ok(())
    }
}

/// Most probes that a debugger can set.
const MOST_PROBES: usize = 4096;

impl Machine {
    fn insert(&mut self, spot: Spot) -> bool {
        if self.gdb.probes.len() >= MOST_PROBES {
            return false;
        }
        let id = self.add_breakpoint(spot.clone());
        self.gdb.probes.push((spot, id));
        true
    }
    fn withdraw(&mut self, spot: &Spot) -> bool {
        let Some(at) = self.gdb.probes.iter().position(|(other, _)| other == spot) else { return false };
        let (_, id) = self.gdb.probes.swap_remove(at);
        self.remove_probe(id)
    }
    fn watch_spot(address: u32, length: u32, kind: breakpoints::WatchKind) -> Spot {
        let first = u64::from(address);
        let kind = match kind {
            breakpoints::WatchKind::Write => WatchKind::Write,
            breakpoints::WatchKind::Read => WatchKind::Read,
            breakpoints::WatchKind::ReadWrite => WatchKind::Access,
        };
        Spot::Memory(first..=(first + u64::from(length.max(1)) - 1).min(0xffff_ffff), kind)
    }
}

impl Breakpoints for Machine {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Machine {
    fn add_sw_breakpoint(&mut self, addr: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.insert(Spot::Instruction(addr.into())))
    }
    fn remove_sw_breakpoint(&mut self, addr: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.withdraw(&Spot::Instruction(addr.into())))
    }
}

impl HwBreakpoint for Machine {
    fn add_hw_breakpoint(&mut self, addr: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.insert(Spot::Instruction(addr.into())))
    }
    fn remove_hw_breakpoint(&mut self, addr: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.withdraw(&Spot::Instruction(addr.into())))
    }
}

impl HwWatchpoint for Machine {
    fn add_hw_watchpoint(&mut self, addr: u32, len: u32, kind: breakpoints::WatchKind) -> TargetResult<bool, Self> {
        Ok(self.insert(Machine::watch_spot(addr, len, kind)))
    }
    fn remove_hw_watchpoint(&mut self, addr: u32, len: u32, kind: breakpoints::WatchKind) -> TargetResult<bool, Self> {
        Ok(self.withdraw(&Machine::watch_spot(addr, len, kind)))
    }
}

impl MonitorCmd for Machine {
    fn handle_monitor_cmd(&mut self, cmd: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Infallible> {
        let text = super::monitor::perform(self, &String::from_utf8_lossy(cmd));
        out.write_raw(text.as_bytes());
        Ok(())
    }
}
