//! Breakpoints, watchpoints and hooks.
//!
//! A probe waits at a [`Spot`]. Without a hook it ends the run with [`Stop::Breakpoint`]; with one the hook
//! is called between two instructions, with the whole machine in its hands, and says whether the
//! run goes on. The guest sees nothing of either: memory is not changed, and guest time is what it is
//! without. A machine without probes pays nothing for them; one with probes at instructions or
//! memory runs on the interpreter, at its full speed apart from code that touches a watched page.

use crate::bus::IoEvent;
use crate::run::{Machine, Stop};
use cpu::CpuState;
use cpu::mmu;
use cpu::state::Seg;
pub use cpu::watch::WatchKind;
use cpu::watch::{Watch, WatchHit};
use std::ops::RangeInclusive;

/// What a probe waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The instruction at this linear address (CS base plus IP), before it is run.
    Instruction(u64),
    /// A load or store that touches these linear addresses, behind the instruction that makes it.
    Memory(RangeInclusive<u64>, WatchKind),
    /// IN or OUT at these ports, behind the instruction that makes it.
    Ports(RangeInclusive<u16>, WatchKind),
}

/// Names a probe of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(u64);

/// A probe that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which one.
    pub probe: ProbeId,
    /// What has happened.
    pub event: Event,
}

/// What a probe has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The instruction is about to be run.
    Instruction {
        /// Linear address.
        address: u64,
    },
    /// An access to memory was made.
    Memory {
        /// Linear address of the first byte accessed.
        address: u64,
        /// How many bytes; wide operands may come in parts.
        bytes: u64,
        /// Whether it was a store.
        is_write: bool,
    },
    /// A port was accessed.
    Port(IoEvent),
}

/// What a hook decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The run goes on.
    Continue,
    /// The run ends with [`Stop::Breakpoint`].
    Stop,
}

type Hook = Box<dyn FnMut(&mut Machine, &Hit) -> Flow + Send>;

struct Probe {
    id: ProbeId,
    spot: Spot,
    /// Whether there is a hook, even while it is being called.
    is_hook: bool,
    hook: Option<Hook>,
}

/// The probes of a machine.
#[derive(Default)]
pub(crate) struct Probes {
    list: Vec<Probe>,
    last: u64,
}

/// Ports that are waited for, and what has happened there.
#[derive(Default)]
pub(crate) struct PortProbes {
    ranges: Vec<(RangeInclusive<u16>, WatchKind)>,
    hits: Vec<IoEvent>,
}

impl PortProbes {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
    pub(crate) fn has_hits(&self) -> bool {
        !self.hits.is_empty()
    }
    /// Notes an access to a port; returns whether someone waits for it.
    pub(crate) fn note(&mut self, event: &IoEvent) -> bool {
        let meant = event.is_port && self.ranges.iter().any(|(range, kind)| port_meets(event, range, *kind));
        if meant && self.hits.len() < 64 {
            self.hits.push(*event);
        }
        meant
    }
}

fn kind_meets(kind: WatchKind, is_write: bool) -> bool {
    kind == WatchKind::Access || is_write == (kind == WatchKind::Write)
}

fn port_meets(event: &IoEvent, range: &RangeInclusive<u16>, kind: WatchKind) -> bool {
    let last = event.address + u64::from(event.bytes.max(1)) - 1;
    kind_meets(kind, event.is_write) && u64::from(*range.start()) <= last && event.address <= u64::from(*range.end())
}

fn memory_meets(hit: &WatchHit, range: &RangeInclusive<u64>, kind: WatchKind) -> bool {
    let last = hit.address.saturating_add(hit.bytes.max(1) - 1);
    kind_meets(kind, hit.is_write) && *range.start() <= last && hit.address <= *range.end()
}

/// Linear address of the instruction at hand.
#[must_use]
pub fn linear_ip(cpu: &CpuState) -> u64 {
    cpu.segment(Seg::Cs).base.wrapping_add(cpu.rip) & 0xffff_ffff
}

impl Machine {
    /// Stops at `spot`: see [`Stop::Breakpoint`]. A run that begins at an instruction where it has
    /// just stopped goes on with that instruction.
    pub fn add_breakpoint(&mut self, spot: Spot) -> ProbeId {
        self.add_probe(spot, None)
    }
    /// Calls `hook` at `spot`. It may do anything to the machine, run it and add and remove probes included; it
    /// is not called while it is being called.
    ///
    /// ```
    /// use beigebox::{Flow, Machine, Spot, WatchKind};
    /// # let bios = vec![0xf4; 0x1_0000]; // HLT everywhere
    /// let mut pc = Machine::builder().bios(bios).build()?;
    /// pc.add_hook(Spot::Ports(0x80..=0x80, WatchKind::Write), |pc, hit| {
    ///     println!("{:?} at {}", hit.event, pc.now().0);
    ///     Flow::Continue
    /// });
    /// # Ok::<(), beigebox::BuildError>(())
    /// ```
    pub fn add_hook(&mut self, spot: Spot, hook: impl FnMut(&mut Machine, &Hit) -> Flow + Send + 'static) -> ProbeId {
        self.add_probe(spot, Some(Box::new(hook)))
    }
    fn add_probe(&mut self, spot: Spot, hook: Option<Hook>) -> ProbeId {
        self.probes.last += 1;
        let id = ProbeId(self.probes.last);
        self.probes.list.push(Probe { id, spot, is_hook: hook.is_some(), hook });
        self.arm();
        id
    }
    /// Removes a probe; returns whether it was there.
    pub fn remove_probe(&mut self, id: ProbeId) -> bool {
        let before = self.probes.list.len();
        self.probes.list.retain(|probe| probe.id != id);
        let was_there = self.probes.list.len() != before;
        if was_there {
            self.arm();
        }
        was_there
    }
    /// The probes, and what they wait for.
    #[must_use]
    pub fn probes(&self) -> Vec<(ProbeId, Spot)> {
        self.probes.list.iter().map(|probe| (probe.id, probe.spot.clone())).collect()
    }

    /// Tells engine and board what is waited for.
    fn arm(&mut self) {
        let (mut breakpoints, mut watches, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for probe in &self.probes.list {
            match &probe.spot {
                Spot::Instruction(address) => breakpoints.push(*address),
                Spot::Memory(range, kind) if !range.is_empty() => {
                    watches.push(Watch { first: *range.start(), last: *range.end(), kind: *kind });
                }
                Spot::Ports(range, kind) if !range.is_empty() => ports.push((range.clone(), *kind)),
                Spot::Memory(..) | Spot::Ports(..) => {}
            }
        }
        self.engine.set_probes(breakpoints, watches);
        self.board.port_probes.ranges = ports;
    }

    /// The engine or the board says that a probe was met.
    pub(crate) fn meet_probes(&mut self, at_instruction: bool) -> Option<Stop> {
        let accesses = self.engine.take_watch_hits();
        let mut hits = Vec::new();
        let ports = std::mem::take(&mut self.board.port_probes.hits);
        let address = linear_ip(&self.cpu);
        // An engine that stops for an access has not looked at the next instruction yet.
        let at_instruction = at_instruction && accesses.is_empty();
        for probe in &self.probes.list {
            let mut met = |event| hits.push(Hit { probe: probe.id, event });
            match &probe.spot {
                Spot::Instruction(at) if at_instruction && *at == address => met(Event::Instruction { address }),
                Spot::Instruction(_) => {}
                Spot::Memory(range, kind) => {
                    for hit in accesses.iter().filter(|hit| memory_meets(hit, range, *kind)) {
                        let WatchHit { address, bytes, is_write } = *hit;
                        met(Event::Memory { address, bytes, is_write });
                    }
                }
                Spot::Ports(range, kind) => {
                    for event in ports.iter().filter(|event| port_meets(event, range, *kind)) {
                        met(Event::Port(*event));
                    }
                }
            }
        }
        let mut stop = None;
        for hit in hits {
            // One that was removed by the hook of another is passed over.
            let Some(probe) = self.probes.list.iter_mut().find(|probe| probe.id == hit.probe) else { continue };
            let ends = match probe.hook.take() {
                None => !probe.is_hook,
                Some(mut hook) => {
                    let flow = hook(self, &hit);
                    if let Some(probe) = self.probes.list.iter_mut().find(|probe| probe.id == hit.probe) {
                        probe.hook = Some(hook);
                    }
                    flow == Flow::Stop
                }
            };
            if ends && stop.is_none() {
                stop = Some(Stop::Breakpoint(hit));
            }
        }
        stop
    }

    // --- memory as programs see it --------------------------------------------------------------

    /// The guest-physical address behind a linear one, by the guest's page tables as they are;
    /// `None` where no page is present. Nothing is changed: no accessed bits, no fault.
    #[must_use]
    pub fn translate(&self, linear: u64) -> Option<u64> {
        mmu::look_up(&self.cpu, &self.memory, linear)
    }
    /// Copies memory at a linear address to `buf`, as far as pages are present; returns how much.
    /// Registers of devices are not touched: they read as FFh.
    #[must_use]
    pub fn read_linear(&self, linear: u64, buf: &mut [u8]) -> usize {
        self.pages(linear, buf.len(), |at, physical, length| {
            self.memory.read(physical, &mut buf[at..at + length]);
        })
    }
    /// Copies `bytes` to memory at a linear address, read-only pages included, as far as pages are present; returns
    /// how much. ROM and device registers are left alone.
    pub fn write_linear(&mut self, linear: u64, bytes: &[u8]) -> usize {
        let mut parts = Vec::new();
        let done = self.pages(linear, bytes.len(), |at, physical, length| parts.push((at, physical, length)));
        for (at, physical, length) in parts {
            self.memory.write(physical, &bytes[at..at + length]);
        }
        done
    }
    /// Splits a range of linear addresses into pieces of pages that are present.
    fn pages(&self, linear: u64, length: usize, mut piece: impl FnMut(usize, u64, usize)) -> usize {
        let mut at = 0;
        while at < length {
            let here = linear.wrapping_add(at as u64) & 0xffff_ffff;
            let Some(physical) = self.translate(here) else { break };
            let bytes = ((cpu::memory::PAGE - here % cpu::memory::PAGE) as usize).min(length - at);
            piece(at, physical, bytes);
            at += bytes;
        }
        at
    }
}
