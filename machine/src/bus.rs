//! The board as the processor sees it: ports, device memory, interrupts; and as the run loop sees
//! it: deadlines, wires, requests to stop.

use crate::clock::Clock;
use crate::custom::{Attached, Extra};
use crate::pc::{self, Chip, Chips, Fitting, VideoAdapter, map};
use crate::probe::PortProbes;
use cpu::bus::{Bus, Cycle};
use cpu::memory::{Block, GuestMemory, RamPort};
use cpu::state::Width as CpuWidth;
use devices::ne2000::Ne2000;
use devices::pci::{ConfigBus, ConfigPorts, ConfigWrite, PciAddress};
use devices::pic::PicPair;
use devices::{
    Access, Attention, Bar, Device, Dma, IsaTransfer, Line, PciFunction, Time, TransferDirection, Width, dma::DmaPair,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Wires that do not end at an interrupt controller.
pub(crate) struct Wires {
    /// Raised by every wire of the board.
    pub(crate) attention: Attention,
    /// A20 gate.
    pub(crate) a20: Line,
    /// Reset of the processor, by the keyboard controller and port 92h.
    pub(crate) reset: Line,
    /// Reset of the whole machine, by the south bridge.
    pub(crate) hard_reset: Line,
    /// Non-maskable interrupt.
    pub(crate) nmi: Line,
}

impl Wires {
    fn new() -> Wires {
        let attention = Attention::new();
        Wires {
            a20: Line::on(&attention),
            reset: Line::on(&attention),
            hard_reset: Line::on(&attention),
            nmi: Line::on(&attention),
            attention,
        }
    }
}

/// The ROMs on the board.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roms {
    pub(crate) system: Option<Block>,
    pub(crate) video: Option<Block>,
    pub(crate) option: Option<Block>,
    /// Behind the network card's expansion ROM register.
    pub(crate) network: Option<Block>,
    /// In the socket of the ISA network card.
    pub(crate) isa_network: Option<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Nobody,
    Chip(Chip, u16),
    /// A device of the embedder's own, by number.
    Extra(u8, u16),
    Dma(u16),
    PciConfig,
    CoprocessorClear,
    DirectBoot,
    Backdoor,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    first: u16,
    target: Target,
}

/// What answers in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Chip(Chip),
    /// A device of the embedder's own, by number.
    Extra(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    first: u64,
    last: u64,
    owner: Owner,
    window: u8,
}

/// Where configurable decoders point now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    pam: [(bool, bool); devices::pci::PAM_SEGMENTS as usize],
    smram: bool,
    framebuffer: Option<Bar>,
    /// Offset in video memory of what A0000h shows, when that is plain memory.
    legacy: Option<u64>,
    rom: Option<Bar>,
    network_rom: Option<Bar>,
    io: Vec<Option<Bar>>,
    memory: Vec<Option<Bar>>,
}

/// One access that a processor made to the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoEvent {
    /// Guest time.
    pub time: Time,
    /// Port number or physical address.
    pub address: u64,
    /// Whether it is a port.
    pub is_port: bool,
    /// Whether it is a write.
    pub is_write: bool,
    /// Bytes.
    pub bytes: u8,
    /// What was written, or the answer.
    pub value: u64,
}

/// What watches the accesses.
pub type IoWatch = Box<dyn FnMut(&IoEvent) + Send>;

/// How often a port without a device was touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// What the board asks of the run loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    /// Only the processor is reset.
    pub(crate) soft_reset: bool,
    /// All chips are reset.
    pub(crate) hard_reset: bool,
    pub(crate) direct_boot: bool,
    /// The backdoor port was read: the answer goes into several registers.
    pub(crate) backdoor: bool,
}

impl Requests {
    fn any(self) -> bool {
        self != Requests::default()
    }
}

/// State of the board that belongs to no chip.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoardState {
    config_ports: ConfigPorts,
    pub(crate) requests: Requests,
    /// A20 is open after reset, until its wire has been driven high once.
    pub(crate) a20_driven: bool,
    pub(crate) a20_level: bool,
    /// The request that the coprocessor's error has made, until the guest writes to port F0h.
    pub(crate) numeric_error: bool,
}

/// Chips, wires and address decoders.
pub(crate) struct Board {
    pub(crate) chips: Chips,
    /// Devices of the embedder's own.
    pub(crate) extras: Vec<Extra>,
    pub(crate) dma: DmaPair,
    pub(crate) wires: Wires,
    pub(crate) coprocessor: Line,
    pub(crate) clock: Clock,
    pub(crate) roms: Roms,
    video: VideoAdapter,
    pub(crate) state: BoardState,
    pub(crate) watch: Option<IoWatch>,
    pub(crate) port_probes: PortProbes,
    pub(crate) unknown_ports: BTreeMap<u16, Unknown>,
    pub(crate) unknown_memory: BTreeMap<u64, Unknown>,
    /// Accesses to ports and device memory.
    pub(crate) accesses: u64,
    /// How often each chip was turned to.
    pub(crate) touches: [u64; Chip::ALL.len()],
    table: Box<[u8; 0x1_0000]>,
    routes: Vec<Route>,
    fixed_routes: usize,
    fixed_table: Box<[u8; 0x1_0000]>,
    windows: Vec<Window>,
    layout: Option<Layout>,
    deadlines: [u64; Chip::ALL.len()],
    /// Tick at which the current run of the engine ends anyway.
    horizon: u64,
    wants: bool,
    pub(crate) intr: bool,
    /// Ticks by which the processor waited for slow registers in this run. None are left between runs.
    waited: u64,
}

/// Device DMA: RAM, and the ISA channels unless the controller itself is being accessed.
struct BusMaster<'a, 'm> {
    ram: RamPort<'m>,
    isa: Option<&'a mut DmaPair>,
}

impl Dma for BusMaster<'_, '_> {
    fn read(&mut self, addr: u64, buf: &mut [u8]) {
        self.ram.read(addr, buf);
    }
    fn write(&mut self, addr: u64, buf: &[u8]) {
        self.ram.write(addr, buf);
    }
    fn isa_transfer(&mut self, channel: u8, direction: TransferDirection, buf: &mut [u8]) -> IsaTransfer {
        match self.isa.take() {
            Some(controller) => {
                let moved = controller.isa_transfer(channel, direction, buf, self);
                self.isa = Some(controller);
                moved
            }
            None => IsaTransfer::default(),
        }
    }
}

struct Functions<'a>(&'a mut Chips, VideoAdapter);

impl ConfigBus for Functions<'_> {
    fn function(&mut self, address: PciAddress) -> Option<&mut dyn PciFunction> {
        self.0.function(address, self.1)
    }
}

const fn width(width: CpuWidth) -> Width {
    match width {
        CpuWidth::Byte => Width::Byte,
        CpuWidth::Word => Width::Word,
        CpuWidth::Dword => Width::Dword,
        CpuWidth::Qword => Width::Qword,
    }
}

/// How many different unknown addresses are told apart; more are not remembered.
const UNKNOWN_KEPT: usize = 4096;

impl Board {
    pub(crate) fn new(fitting: &Fitting, clock: Clock) -> Board {
        let wires = Wires::new();
        let chips = Chips::new(&wires, fitting);
        let coprocessor = chips.pic.irq(pc::irq::COPROCESSOR);
        let mut board = Board {
            chips,
            extras: Vec::new(),
            dma: DmaPair::new(),
            coprocessor,
            wires,
            clock,
            roms: Roms::default(),
            video: fitting.video,
            state: BoardState {
                config_ports: ConfigPorts::default(),
                requests: Requests::default(),
                a20_driven: false,
                a20_level: true,
                numeric_error: false,
            },
            watch: None,
            port_probes: PortProbes::default(),
            unknown_ports: BTreeMap::new(),
            unknown_memory: BTreeMap::new(),
            accesses: 0,
            touches: [0; Chip::ALL.len()],
            table: vec![0; 0x1_0000].try_into().unwrap_or_else(|_| unreachable!("the length is right")),
            routes: vec![Route { first: 0, target: Target::Nobody }],
            fixed_routes: 0,
            fixed_table: vec![0; 0x1_0000].try_into().unwrap_or_else(|_| unreachable!("the length is right")),
            windows: Vec::new(),
            layout: None,
            deadlines: [u64::MAX; Chip::ALL.len()],
            horizon: u64::MAX,
            wants: true,
            intr: false,
            waited: 0,
        };
        for &(first, last, chip, register) in pc::PORTS {
            if chip != Chip::Vga || fitting.video != VideoAdapter::None {
                board.route(first, last, Target::Chip(chip, register));
            }
        }
        for &(first, last, register) in pc::DMA_PORTS {
            board.route(first, last, Target::Dma(register));
        }
        board.route(*pc::PCI_CONFIG.start(), *pc::PCI_CONFIG.end(), Target::PciConfig);
        board.route(pc::BACKDOOR, pc::BACKDOOR, Target::Backdoor);
        board.route(pc::COPROCESSOR_CLEAR, pc::COPROCESSOR_CLEAR, Target::CoprocessorClear);
        board
    }

    fn route(&mut self, first: u16, last: u16, target: Target) {
        let Ok(index) = u8::try_from(self.routes.len()) else { return };
        self.routes.push(Route { first, target });
        self.table[usize::from(first)..=usize::from(last)].fill(index);
    }
    /// Puts a chip at further fixed ports. To be called before [`Board::seal`].
    pub(crate) fn attach(&mut self, first: u16, ports: u16, chip: Chip, register: u16) {
        self.route(first, first.saturating_add(ports - 1), Target::Chip(chip, register));
    }
    /// Puts devices of the embedder's own on the board. To be called before [`Board::seal`], behind
    /// all that they may hide.
    pub(crate) fn attach_extras(&mut self, extras: Vec<Extra>) {
        for (index, extra) in extras.iter().enumerate() {
            for (range, register) in &extra.ports {
                self.route(*range.start(), *range.end(), Target::Extra(index as u8, *register));
            }
        }
        self.extras = extras;
    }
    /// Answers the direct-boot ROM.
    pub(crate) fn attach_direct_boot(&mut self) {
        self.route(pc::DIRECT_BOOT, pc::DIRECT_BOOT, Target::DirectBoot);
    }
    /// The fixed ports are complete; what follows moves with base address registers.
    pub(crate) fn seal(&mut self) {
        self.fixed_routes = self.routes.len();
        self.fixed_table.copy_from_slice(&*self.table);
    }

    /// Puts every chip into its power-on state and maps memory as after power-on.
    pub(crate) fn reset(&mut self, memory: &mut GuestMemory, ticks: u64) {
        for &chip in Chip::ALL {
            self.chips.get(chip).reset();
        }
        for extra in &mut self.extras {
            extra.device.reset();
        }
        self.dma.reset();
        self.coprocessor.set(false);
        self.state.config_ports.reset();
        self.state.requests = Requests::default();
        self.state.a20_driven = false;
        self.state.a20_level = true;
        self.state.numeric_error = false;
        let _ = self.wires.reset.take_edge();
        let _ = self.wires.hard_reset.take_edge();
        let _ = self.wires.nmi.take_edge();
        self.refresh(memory, ticks);
    }
    /// Looks at everything afresh: after reset, restore, or a change from outside.
    pub(crate) fn refresh(&mut self, memory: &mut GuestMemory, ticks: u64) {
        self.layout = None;
        self.remap(memory);
        for &chip in Chip::ALL {
            self.touch(chip, memory, ticks, |_, _| ());
        }
        self.touch_extras(memory, ticks);
        self.wires.attention.raise();
        self.wants = true;
    }

    // --- chips -------------------------------------------------------------------------------

    /// Brings a chip up to date, hands it to `action`, and notes when it next wants to run.
    pub(crate) fn touch<R>(
        &mut self,
        chip: Chip,
        memory: &mut GuestMemory,
        ticks: u64,
        action: impl FnOnce(&mut dyn Device, &mut Access<'_>) -> R,
    ) -> R {
        let now = self.clock.time(ticks);
        self.touches[chip as usize] += 1;
        let device = self.chips.get(chip);
        let (video, ram) = memory.split_video();
        let mut master = BusMaster { ram, isa: Some(&mut self.dma) };
        let mut access = Access { now, dma: &mut master, video };
        device.advance(&mut access);
        let result = action(device, &mut access);
        self.note_deadline(chip, now);
        result
    }
    /// As [`Board::touch`] for a device of the embedder's own.
    pub(crate) fn touch_extra<R>(
        &mut self,
        index: usize,
        memory: &mut GuestMemory,
        ticks: u64,
        action: impl FnOnce(&mut dyn Attached, &mut Access<'_>) -> R,
    ) -> R {
        let now = self.clock.time(ticks);
        let extra = &mut self.extras[index];
        let (_, ram) = memory.split_video();
        let mut master = BusMaster { ram, isa: Some(&mut self.dma) };
        let mut access = Access { now, dma: &mut master, video: &mut [] };
        extra.device.advance(&mut access);
        let result = action(&mut *extra.device, &mut access);
        extra.deadline = match extra.device.next_event() {
            Some(event) if event > now => self.clock.ticks_until(event),
            Some(_) => 0,
            None => u64::MAX,
        };
        if extra.deadline < self.horizon {
            self.wants = true;
        }
        result
    }
    fn touch_extras(&mut self, memory: &mut GuestMemory, ticks: u64) {
        for index in 0..self.extras.len() {
            self.touch_extra(index, memory, ticks, |_, _| ());
        }
    }
    /// After an embedder has changed a device of its own.
    pub(crate) fn extra_changed(&mut self, index: usize, memory: &mut GuestMemory, ticks: u64) {
        self.touch_extra(index, memory, ticks, |_, _| ());
        self.settle(memory, ticks);
    }
    fn note_deadline(&mut self, chip: Chip, now: Time) {
        let deadline = match self.chips.look(chip).next_event() {
            Some(event) if event > now => self.clock.ticks_until(event),
            Some(_) => 0,
            None => u64::MAX,
        };
        self.deadlines[chip as usize] = deadline;
        if deadline < self.horizon {
            self.wants = true;
        }
    }
    /// After an embedder has changed a chip from outside.
    pub(crate) fn changed(&mut self, chip: Chip, memory: &mut GuestMemory, ticks: u64) {
        self.touch(chip, memory, ticks, |_, _| ());
        self.settle(memory, ticks);
    }
    /// The interrupt controllers and the board follow the wires.
    fn settle(&mut self, memory: &mut GuestMemory, ticks: u64) {
        // A level can only travel so far: bounded, whatever chips do.
        for _ in 0..8 {
            if !self.wires.attention.take() {
                break;
            }
            self.touch(Chip::SystemControl, memory, ticks, |_, _| ());
            self.touch(Chip::IsaBridge, memory, ticks, |_, _| ());
            self.touch(Chip::Pic, memory, ticks, |_, _| ());
            let level = self.wires.a20.is_high();
            if level {
                self.state.a20_driven = true;
            }
            let open = level || !self.state.a20_driven;
            if open != self.state.a20_level {
                self.state.a20_level = open;
                self.wants = true;
            }
            if self.wires.reset.take_edge() {
                self.state.requests.soft_reset = true;
            }
            if self.wires.hard_reset.take_edge() {
                self.state.requests.hard_reset = true;
            }
        }
        self.look_at_requests();
    }
    fn look_at_requests(&mut self) {
        if self.chips.pic.has_interrupt() != self.intr
            || self.state.requests.any()
            || self.chips.debug_exit.has_exit()
            || self.chips.power.is_powered_off()
        {
            self.wants = true;
        }
    }

    /// Lets every chip catch up with the present, so that it does not matter when it was last
    /// touched.
    pub(crate) fn bring_up_to_date(&mut self, memory: &mut GuestMemory, ticks: u64) {
        for &chip in Chip::ALL {
            self.touch(chip, memory, ticks, |_, _| ());
        }
        self.touch_extras(memory, ticks);
        self.settle(memory, ticks);
    }

    // --- the run loop's side -----------------------------------------------------------------

    /// Runs every chip whose time has come, then lets wires settle.
    pub(crate) fn catch_up(&mut self, memory: &mut GuestMemory, ticks: u64) {
        // A chip whose events lie nearer than one tick apart runs once per tick.
        for &chip in Chip::ALL {
            if self.deadlines[chip as usize] <= ticks {
                self.touch(chip, memory, ticks, |_, _| ());
                let deadline = &mut self.deadlines[chip as usize];
                *deadline = (*deadline).max(ticks + 1);
            }
        }
        for index in 0..self.extras.len() {
            if self.extras[index].deadline <= ticks {
                self.touch_extra(index, memory, ticks, |_, _| ());
                let deadline = &mut self.extras[index].deadline;
                *deadline = (*deadline).max(ticks + 1);
            }
        }
        self.settle(memory, ticks);
    }
    /// The nearest deadline.
    pub(crate) fn next_deadline(&self) -> u64 {
        let extras = self.extras.iter().map(|extra| extra.deadline);
        self.deadlines.iter().copied().chain(extras).min().unwrap_or(u64::MAX)
    }
    /// The engine is about to run until `horizon`; what was asked so far has been seen.
    pub(crate) fn begin_run(&mut self, horizon: u64) {
        self.horizon = horizon;
        self.wants = false;
        self.waited = 0;
    }
    /// The run is over: ticks that it took beside its instructions.
    pub(crate) fn take_wait(&mut self) -> u64 {
        std::mem::take(&mut self.waited)
    }
    /// Level of the interrupt request, now told to the processor.
    pub(crate) fn sample_interrupt(&mut self) -> bool {
        self.intr = self.chips.pic.has_interrupt();
        self.intr
    }

    // --- address decoding ----------------------------------------------------------------------

    fn layout(&mut self) -> Layout {
        let mut layout = Layout { smram: self.chips.host_bridge.smram_open(), ..Layout::default() };
        for segment in 0..devices::pci::PAM_SEGMENTS {
            layout.pam[usize::from(segment)] = self.chips.host_bridge.pam(segment);
        }
        layout.legacy = self.direct_window();
        let video = self.video;
        let mut bar = |chip: Chip, index: u8| {
            if chip == Chip::Vga && video != VideoAdapter::Pci {
                return None;
            }
            self.chips.get(chip).pci().and_then(|function| function.bar(index))
        };
        layout.framebuffer = bar(Chip::Vga, pc::FRAMEBUFFER_BAR);
        layout.rom = bar(Chip::Vga, pc::ROM_BAR);
        layout.network_rom = bar(Chip::Network, pc::ROM_BAR);
        layout.io = pc::IO_BARS.iter().map(|&(chip, index, _)| bar(chip, index)).collect();
        layout.memory = pc::MEMORY_BARS.iter().map(|&(chip, index, _)| bar(chip, index)).collect();
        layout
    }
    /// Decodes afresh when a register that steers decoding has changed.
    fn remap(&mut self, memory: &mut GuestMemory) {
        let layout = self.layout();
        if self.layout.as_ref() == Some(&layout) {
            return;
        }
        self.map_memory(memory, &layout);
        self.table.copy_from_slice(&*self.fixed_table);
        self.routes.truncate(self.fixed_routes.max(1));
        for (bar, &(chip, _, register)) in layout.io.iter().zip(pc::IO_BARS) {
            if let Some(Bar::Io { base, size }) = *bar {
                // Fixed ports win over a base address register that is set on top of them.
                let last = base.saturating_add(size.max(1) - 1);
                self.route(base, last, Target::Chip(chip, register));
                for port in base..=last {
                    let fixed = self.fixed_table[usize::from(port)];
                    if fixed != 0 {
                        self.table[usize::from(port)] = fixed;
                    }
                }
            }
        }
        self.layout = Some(layout);
        self.wants = true;
    }
    fn map_memory(&mut self, memory: &mut GuestMemory, layout: &Layout) {
        let ram = memory.ram();
        let low = ram.bytes().min(map::LOW_RAM_END);
        memory.unmap_all();
        self.windows.clear();
        for (index, extra) in self.extras.iter().enumerate() {
            for (window, &(first, last)) in extra.windows.iter().enumerate() {
                self.windows.push(Window { first, last, owner: Owner::Extra(index), window: window as u8 });
            }
        }
        if self.video != VideoAdapter::None {
            self.windows.push(Window {
                first: map::VIDEO,
                last: map::OPTION_ROMS - 1,
                owner: Owner::Chip(Chip::Vga),
                window: devices::vga::LEGACY_WINDOW,
            });
        }
        // Device memory first: RAM wins where both decode, as the host bridge claims it first.
        for (bar, &(chip, _, window)) in layout.memory.iter().zip(pc::MEMORY_BARS) {
            if let Some(Bar::Memory { base, size }) = *bar {
                let last = base.saturating_add(size - 1);
                self.windows.push(Window { first: base, last, owner: Owner::Chip(chip), window });
            }
        }
        if let Some(Bar::Memory { base, size }) = layout.framebuffer {
            let video = memory.video();
            if base >= low && size >= 4096 {
                memory.map(base, size.min(video.bytes()), video, 0, false);
            }
        }
        if let Some(offset) = layout.legacy
            && offset + map::BANK <= memory.video().bytes()
        {
            memory.map(map::VIDEO, map::BANK, memory.video(), offset, false);
        }
        if let (Some(Bar::Memory { base, .. }), Some(rom)) = (layout.network_rom, self.roms.network)
            && base >= low
        {
            memory.map(base, rom.bytes(), rom, 0, true);
        }
        if let (Some(Bar::Memory { base, .. }), Some(rom)) = (layout.rom, self.roms.video)
            && base >= low
        {
            memory.map(base, rom.bytes(), rom, 0, true);
        }
        if self.video == VideoAdapter::Isa {
            let video = memory.video();
            memory.map(map::ISA_FRAMEBUFFER, video.bytes(), video, 0, false);
            if let Some(rom) = self.roms.video {
                memory.map(map::OPTION_ROMS, rom.bytes(), rom, 0, true);
            }
        }
        memory.map(0, low.min(map::VIDEO), ram, 0, false);
        if low > map::EXTENDED {
            memory.map(map::EXTENDED, low - map::EXTENDED, ram, map::EXTENDED, false);
        }
        if ram.bytes() > low {
            memory.map(map::HIGH_RAM, ram.bytes() - low, ram, low, false);
        }
        if layout.smram && low >= map::OPTION_ROMS {
            memory.map(map::VIDEO, map::OPTION_ROMS - map::VIDEO, ram, map::VIDEO, false);
        }
        if let Some(rom) = self.roms.option {
            memory.map(map::DIRECT_BOOT_ROM, rom.bytes(), rom, 0, true);
        }
        if let Some(rom) = self.roms.isa_network {
            memory.map(map::ISA_NETWORK_ROM, rom.bytes(), rom, 0, true);
        }
        if let Some(rom) = self.roms.system {
            memory.map(map::HIGH_RAM - rom.bytes(), rom.bytes(), rom, 0, true);
            let isa = rom.bytes().min(0x2_0000);
            memory.map(map::EXTENDED - isa, isa, rom, rom.bytes() - isa, true);
        }
        for segment in 0..devices::pci::PAM_SEGMENTS {
            let (start, size) = devices::pci::HostBridge::pam_range(segment);
            let (start, size) = (u64::from(start), u64::from(size));
            if start + size > low {
                continue;
            }
            match layout.pam[usize::from(segment)] {
                (false, false) => {}
                (true, writable) => memory.map(start, size, ram, start, !writable),
                // Reads from ROM, writes to the RAM behind it: the bus sorts them out.
                (false, true) => memory.unmap(start, size),
            }
        }
        for &(first, last) in self.extras.iter().flat_map(|extra| &extra.windows) {
            memory.unmap(first, last - first + 1);
        }
    }
    /// Offset in video memory of what lies at A0000h, when that is plain memory.
    fn direct_window(&self) -> Option<u64> {
        if self.video == VideoAdapter::None { None } else { self.chips.vga.direct_window() }
    }
    /// After a register of the display was written: what A0000h shows may be another part of video
    /// memory, or registers.
    fn follow_display(&mut self, memory: &mut GuestMemory) {
        if self.layout.as_ref().is_some_and(|layout| layout.legacy != self.direct_window()) {
            self.remap(memory);
        }
    }
    /// A byte of ROM as the ISA bus shows it, for segments whose reads and writes part.
    fn rom_byte(&self, memory: &GuestMemory, address: u64) -> u8 {
        if let Some(rom) = self.roms.system {
            let isa = rom.bytes().min(0x2_0000);
            if address >= map::EXTENDED - isa && address < map::EXTENDED {
                let at = rom.bytes() - (map::EXTENDED - address);
                return memory.block(rom).get(at as usize).copied().unwrap_or(0xff);
            }
        }
        let video = self.roms.video.filter(|_| self.video == VideoAdapter::Isa);
        let card = self.roms.isa_network;
        let all = [(self.roms.option, map::DIRECT_BOOT_ROM), (card, map::ISA_NETWORK_ROM), (video, map::OPTION_ROMS)];
        for (rom, first) in all {
            if let Some(rom) = rom
                && let Some(at) = address.checked_sub(first).filter(|at| *at < rom.bytes())
            {
                return memory.block(rom).get(at as usize).copied().unwrap_or(0xff);
            }
        }
        0xff
    }
    fn is_split_segment(&self, address: u64) -> bool {
        (map::OPTION_ROMS..map::EXTENDED).contains(&address)
    }

    // --- accesses ------------------------------------------------------------------------------

    fn after_access(&mut self, memory: &mut GuestMemory, ticks: u64) {
        self.settle(memory, ticks);
    }
    fn route_of(&self, port: u16) -> Route {
        self.routes.get(usize::from(self.table[usize::from(port)])).copied().unwrap_or(self.routes[0])
    }
    fn with_dma<R>(
        &mut self,
        memory: &mut GuestMemory,
        ticks: u64,
        action: impl FnOnce(&mut DmaPair, &mut Access<'_>) -> R,
    ) -> R {
        let now = self.clock.time(ticks);
        let (video, ram) = memory.split_video();
        let mut master = BusMaster { ram, isa: None };
        let mut access = Access { now, dma: &mut master, video };
        action(&mut self.dma, &mut access)
    }
    fn read_routed(&mut self, memory: &mut GuestMemory, ticks: u64, port: u16, width: Width) -> Option<u32> {
        let route = self.route_of(port);
        let offset = port - route.first;
        match route.target {
            Target::Nobody => None,
            Target::Chip(chip, register) => {
                if chip == Chip::SystemControl {
                    self.touch(Chip::Pit, memory, ticks, |_, _| ());
                }
                self.touch(chip, memory, ticks, |device, access| {
                    device.port_io()?.read(access, register + offset, width)
                })
            }
            Target::Extra(index, register) => self.touch_extra(index.into(), memory, ticks, |device, access| {
                device.port_io()?.read(access, register + offset, width)
            }),
            Target::Dma(register) => {
                // What has been played shows in the count.
                self.touch(Chip::Sound, memory, ticks, |_, _| ());
                self.with_dma(memory, ticks, |dma, access| devices::PortIo::read(dma, access, register + offset, width))
            }
            Target::PciConfig if port == pc::RESET_CONTROL && width == Width::Byte => {
                self.touch(Chip::IsaBridge, memory, ticks, |device, access| device.port_io()?.read(access, 0, width))
            }
            Target::PciConfig => {
                self.state.config_ports.read(offset, width, &mut Functions(&mut self.chips, self.video))
            }
            Target::Backdoor if width == Width::Dword => {
                self.state.requests.backdoor = true;
                Some(u32::MAX)
            }
            Target::CoprocessorClear | Target::DirectBoot | Target::Backdoor => None,
        }
    }
    fn write_routed(
        &mut self,
        memory: &mut GuestMemory,
        ticks: u64,
        port: u16,
        width: Width,
        value: u32,
    ) -> Option<()> {
        let route = self.route_of(port);
        let offset = port - route.first;
        match route.target {
            Target::Nobody => None,
            Target::Chip(chip, register) => {
                let taken = self.touch(chip, memory, ticks, |device, access| {
                    device.port_io()?.write(access, register + offset, width, value)
                });
                match chip {
                    Chip::SystemControl => self.touch(Chip::Pit, memory, ticks, |_, _| ()),
                    Chip::Vga => self.follow_display(memory),
                    _ => {}
                }
                taken
            }
            Target::Extra(index, register) => self.touch_extra(index.into(), memory, ticks, |device, access| {
                device.port_io()?.write(access, register + offset, width, value)
            }),
            Target::Dma(register) => {
                self.touch(Chip::Sound, memory, ticks, |_, _| ());
                self.with_dma(memory, ticks, |dma, access| {
                    devices::PortIo::write(dma, access, register + offset, width, value)
                })
            }
            Target::PciConfig if port == pc::RESET_CONTROL && width == Width::Byte => {
                self.touch(Chip::IsaBridge, memory, ticks, |device, access| {
                    device.port_io()?.write(access, 0, width, value)
                })
            }
            Target::PciConfig => {
                let done =
                    self.state.config_ports.write(offset, width, value, &mut Functions(&mut self.chips, self.video))?;
                if let ConfigWrite::Written(_) = done {
                    for &(_, chip) in pc::FUNCTIONS {
                        self.note_deadline(chip, self.clock.time(ticks));
                    }
                    self.remap(memory);
                }
                Some(())
            }
            Target::CoprocessorClear => {
                self.state.numeric_error = false;
                self.coprocessor.set(false);
                Some(())
            }
            Target::Backdoor => None,
            Target::DirectBoot => {
                self.state.requests.direct_boot = true;
                Some(())
            }
        }
    }
    fn note_unknown_port(&mut self, port: u16, is_write: bool) {
        if let Some(count) = entry(&mut self.unknown_ports, port) {
            if is_write { count.writes += 1 } else { count.reads += 1 }
        }
    }
    fn window(&self, address: u64) -> Option<Window> {
        self.windows.iter().find(|window| (window.first..=window.last).contains(&address)).copied()
    }
    fn watch(&mut self, event: IoEvent) {
        if let Some(watch) = &mut self.watch {
            watch(&event);
        }
        if self.port_probes.note(&event) {
            self.wants = true;
        }
    }
    /// Whether someone wants to know of each access.
    fn is_watched(&self) -> bool {
        self.watch.is_some() || !self.port_probes.is_empty()
    }
    /// The network card whose data register is at `port`, unless each access there must be seen.
    fn network_data(&self, port: u16) -> Option<Chip> {
        let route = self.route_of(port);
        match route.target {
            Target::Chip(chip @ (Chip::Network | Chip::IsaNetwork), register) if !self.is_watched() => {
                (0x10..=0x17).contains(&(register + (port - route.first))).then_some(chip)
            }
            _ => None,
        }
    }
    fn network_card(&mut self, chip: Chip) -> &mut Ne2000 {
        if chip == Chip::Network { &mut self.chips.network } else { &mut self.chips.isa_network }
    }
}

fn entry<K: Ord>(map: &mut BTreeMap<K, Unknown>, key: K) -> Option<&mut Unknown> {
    if map.len() >= UNKNOWN_KEPT && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

impl Bus for Board {
    fn port_read(&mut self, cycle: Cycle<'_>, port: u16, access_width: CpuWidth) -> u32 {
        let Cycle { memory, ticks } = cycle;
        self.accesses += 1;
        if pc::DISPLAY_STATUS.contains(&port) && self.video != VideoAdapter::None {
            // Programs read it in a loop until the raster is somewhere. Were a read as fast as an addition, a
            // second of guest time would have more of them than a host can make in one.
            self.waited += self.clock.ticks_until(Time(pc::DISPLAY_STATUS_TIME));
            self.wants = true;
        }
        let width = width(access_width);
        let value = match self.read_routed(memory, ticks, port, width) {
            Some(value) => value,
            // A wide cycle to a narrow chip becomes several narrow ones.
            None if width != Width::Byte => {
                let (mut value, mut answered) = (0, false);
                for index in 0..width.bytes().min(4) {
                    let byte = self.read_routed(memory, ticks, port.wrapping_add(index as u16), Width::Byte);
                    answered |= byte.is_some();
                    value |= (byte.unwrap_or(0xff) & 0xff) << (8 * index);
                }
                if !answered {
                    self.note_unknown_port(port, false);
                }
                value
            }
            None => {
                self.note_unknown_port(port, false);
                0xff
            }
        };
        let value = value & access_width.mask() as u32;
        if self.is_watched() {
            let time = self.clock.time(ticks);
            let bytes = width.bytes() as u8;
            let value = u64::from(value);
            self.watch(IoEvent { time, address: port.into(), is_port: true, is_write: false, bytes, value });
        }
        self.after_access(memory, ticks);
        value
    }

    fn port_write(&mut self, cycle: Cycle<'_>, port: u16, access_width: CpuWidth, value: u32) {
        let Cycle { memory, ticks } = cycle;
        self.accesses += 1;
        let width = width(access_width);
        let value = value & access_width.mask() as u32;
        if self.is_watched() {
            let time = self.clock.time(ticks);
            let bytes = width.bytes() as u8;
            let value = u64::from(value);
            self.watch(IoEvent { time, address: port.into(), is_port: true, is_write: true, bytes, value });
        }
        if self.write_routed(memory, ticks, port, width, value).is_none() {
            let mut taken = false;
            if width != Width::Byte {
                for index in 0..width.bytes().min(4) {
                    let byte = value >> (8 * index) & 0xff;
                    let at = port.wrapping_add(index as u16);
                    taken |= self.write_routed(memory, ticks, at, Width::Byte, byte).is_some();
                }
            }
            if !taken {
                self.note_unknown_port(port, true);
            }
        }
        self.after_access(memory, ticks);
    }

    fn port_read_block(&mut self, cycle: Cycle<'_>, port: u16, access_width: CpuWidth, buffer: &mut [u8]) -> usize {
        let Cycle { memory, ticks } = cycle;
        let unit = access_width.bytes() as usize;
        if buffer.len() < unit {
            return 0;
        }
        // The unit with which a device's data end, or one that it gives only in part, is an access of its own: at its
        // own time, and with what follows from it.
        if let Some(channel) = pc::IDE_DATA.iter().position(|data| *data == port)
            && !self.is_watched()
            && unit <= 4
        {
            let now = self.clock.time(ticks);
            let (video, ram) = memory.split_video();
            let mut master = BusMaster { ram, isa: Some(&mut self.dma) };
            let mut access = Access { now, dma: &mut master, video };
            self.chips.ide.advance(&mut access);
            let quiet = self.chips.ide.data_left(channel).saturating_sub(1).min(buffer.len()) / unit * unit;
            let done = self.chips.ide.data_read_block(&mut access, channel, &mut buffer[..quiet]) / unit;
            self.note_deadline(Chip::Ide, now);
            self.accesses += 1;
            self.after_access(memory, ticks);
            if done != 0 {
                return done;
            }
        } else if let Some(chip) = self.network_data(port) {
            self.touch(chip, memory, ticks, |_, _| ());
            let card = self.network_card(chip);
            let quiet = card.data_left().saturating_sub(1).min(buffer.len()) / unit * unit;
            let done = card.data_read_block(unit, &mut buffer[..quiet]) / unit;
            self.accesses += 1;
            self.after_access(memory, ticks);
            if done != 0 {
                return done;
            }
        }
        let value = self.port_read(Cycle { memory, ticks }, port, access_width);
        let first = buffer.get_mut(..unit.min(4)).unwrap_or_default();
        first.copy_from_slice(&value.to_le_bytes()[..first.len()]);
        1
    }

    fn port_write_block(&mut self, cycle: Cycle<'_>, port: u16, access_width: CpuWidth, bytes: &[u8]) -> usize {
        let Cycle { memory, ticks } = cycle;
        let unit = access_width.bytes() as usize;
        let Some(chip) = self.network_data(port) else { return 0 };
        self.touch(chip, memory, ticks, |_, _| ());
        let card = self.network_card(chip);
        let quiet = card.data_left().saturating_sub(1).min(bytes.len()) / unit * unit;
        let done = card.data_write_block(unit, &bytes[..quiet]) / unit;
        if done != 0 {
            self.accesses += 1;
            self.after_access(memory, ticks);
        }
        done
    }

    fn mmio_read(&mut self, cycle: Cycle<'_>, address: u64, access_width: CpuWidth) -> u64 {
        let Cycle { memory, ticks } = cycle;
        self.accesses += 1;
        let width = width(access_width);
        let value = match self.window(address) {
            Some(window) => {
                let offset = address - window.first;
                let value = match window.owner {
                    Owner::Chip(chip) => self.touch(chip, memory, ticks, |device, access| {
                        device.mmio()?.read(access, window.window, offset, width)
                    }),
                    Owner::Extra(index) => self.touch_extra(index, memory, ticks, |device, access| {
                        device.mmio()?.read(access, window.window, offset, width)
                    }),
                };
                self.after_access(memory, ticks);
                value
            }
            None if self.is_split_segment(address) => {
                let bytes = (0..access_width.bytes()).map(|i| u64::from(self.rom_byte(memory, address + i)) << (8 * i));
                Some(bytes.sum())
            }
            None => None,
        };
        if value.is_none()
            && let Some(count) = entry(&mut self.unknown_memory, address & !0xfff)
        {
            count.reads += 1;
        }
        let value = value.unwrap_or(u64::MAX) & access_width.mask();
        if self.is_watched() {
            let time = self.clock.time(ticks);
            let bytes = width.bytes() as u8;
            self.watch(IoEvent { time, address, is_port: false, is_write: false, bytes, value });
        }
        value
    }

    fn mmio_write(&mut self, cycle: Cycle<'_>, address: u64, access_width: CpuWidth, value: u64) {
        let Cycle { memory, ticks } = cycle;
        self.accesses += 1;
        let width = width(access_width);
        if self.is_watched() {
            let time = self.clock.time(ticks);
            let bytes = width.bytes() as u8;
            self.watch(IoEvent { time, address, is_port: false, is_write: true, bytes, value });
        }
        let taken = match self.window(address) {
            Some(window) => {
                let offset = address - window.first;
                let taken = match window.owner {
                    Owner::Chip(chip) => self.touch(chip, memory, ticks, |device, access| {
                        device.mmio()?.write(access, window.window, offset, width, value)
                    }),
                    Owner::Extra(index) => self.touch_extra(index, memory, ticks, |device, access| {
                        device.mmio()?.write(access, window.window, offset, width, value)
                    }),
                };
                if window.window == devices::vga::REGISTER_WINDOW && window.owner == Owner::Chip(Chip::Vga) {
                    self.follow_display(memory);
                }
                self.after_access(memory, ticks);
                taken.is_some()
            }
            None if self.is_split_segment(address) => {
                // Writes of such a segment reach the RAM behind the ROM.
                let ram = memory.ram();
                let segment = layout_segment(self.layout.as_ref(), address);
                if segment == Some((false, true)) {
                    let bytes = value.to_le_bytes();
                    let at = address as usize;
                    let end = at + access_width.bytes() as usize;
                    if let Some(target) = memory.block_mut(ram).get_mut(at..end) {
                        target.copy_from_slice(&bytes[..access_width.bytes() as usize]);
                    }
                }
                true
            }
            None => false,
        };
        if !taken && let Some(count) = entry(&mut self.unknown_memory, address & !0xfff) {
            count.writes += 1;
        }
    }

    fn numeric_error(&mut self, cycle: Cycle<'_>) {
        let Cycle { memory, ticks } = cycle;
        self.state.numeric_error = true;
        self.coprocessor.set(true);
        self.settle(memory, ticks);
    }
    fn acknowledge_interrupt(&mut self, cycle: Cycle<'_>) -> Option<u8> {
        let Cycle { memory, ticks } = cycle;
        let pic: &mut PicPair = &mut self.chips.pic;
        if !pic.has_interrupt() {
            self.wants = true;
            return None;
        }
        let vector = pic.acknowledge();
        self.note_deadline(Chip::Pic, self.clock.time(ticks));
        self.settle(memory, ticks);
        Some(vector)
    }

    fn attention(&self) -> bool {
        self.wants
    }
}

fn layout_segment(layout: Option<&Layout>, address: u64) -> Option<(bool, bool)> {
    let layout = layout?;
    (0..devices::pci::PAM_SEGMENTS).find_map(|segment| {
        let (start, size) = devices::pci::HostBridge::pam_range(segment);
        let inside = (u64::from(start)..u64::from(start) + u64::from(size)).contains(&address);
        if inside { layout.pam.get(usize::from(segment)).copied() } else { None }
    })
}
