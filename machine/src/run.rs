//! The machine: how it is built, and the loop that runs it.

use crate::bus::{Board, IoWatch, Roms, Unknown};
use crate::clock::{self, Clock};
use crate::custom::{self, Attachment};
use crate::engine::{EngineKind, JitSettings, Processor};
use crate::input::{self, KeyCode, Typing};
use crate::loader::{self, LoadError, MemoryLayout, Payload, Plan};
use crate::pc::{self, Chip, Fitting, VideoAdapter, cmos};
use crate::probe::{Hit, Probes};
use crate::trace::{self, FaultReport, TraceOptions};
use cpu::engine::Exit;
use cpu::flags::bits;
use cpu::memory::{GuestMemory, MemoryError};
use cpu::state::{Activity, CpuState, Width, gpr};
use cpu::{Bus, Model};
use devices::ata::Position;
use devices::floppy::DriveKind;
use devices::fw_cfg::RangeKind;
use devices::network::Network;
use devices::rtc::DateTime;
use devices::storage::Storage;
use devices::{Device, Time};
use std::collections::BTreeMap;

/// Where firmware looks for something to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// First floppy drive.
    Floppy,
    /// First hard disk.
    Disk,
    /// First CD-ROM drive.
    Cdrom,
    /// Network card.
    Network,
}

impl BootDevice {
    /// The number by which CMOS names it.
    const fn code(self) -> u8 {
        match self {
            BootDevice::Floppy => 1,
            BootDevice::Disk => 2,
            BootDevice::Cdrom => 3,
            BootDevice::Network => 4,
        }
    }
}

/// Why [`Machine::run_for`] and its kin returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The guest time or the condition that was asked for has come.
    Done,
    /// As many instructions as were asked for have been retired.
    Instructions,
    /// The guest switched the machine off.
    PowerOff,
    /// The guest wrote to its exit port.
    Exit(u32),
    /// A triple fault.
    TripleFault(Box<FaultReport>),
    /// Halted with interrupts off: nothing will ever happen again.
    Hang,
    /// The guest reset the machine and [`Builder::no_reboot`] was asked for.
    Reset,
    /// A probe of the embedder: see [`Machine::add_breakpoint`].
    Breakpoint(Hit),
}

/// Why a machine cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Guest memory.
    #[error("memory of {bytes} bytes: {source}")]
    Memory {
        /// What was asked for.
        bytes: u64,
        /// What is wrong with it.
        source: MemoryError,
    },
    /// The system BIOS.
    #[error("the BIOS has {0} bytes; it must be 64, 128, 256 or 512 KiB or 1 to 16 MiB, a power of two")]
    BiosSize(usize),
    /// The display's BIOS.
    #[error("the video BIOS has {0} bytes; it must have 1 to 65536")]
    VideoBiosSize(usize),
    /// Too many drives.
    #[error("{0}")]
    Drives(&'static str),
    /// The network cards.
    #[error("{0}")]
    Network(&'static str),
    /// An option ROM.
    #[error("the option ROM {0}")]
    OptionRom(&'static str),
    /// The kernel.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A device of the embedder's own.
    #[error("{0}")]
    Device(String),
    /// No firmware at all, built without the feature `firmware`.
    #[error("no BIOS: give one")]
    NoBios,
}

type Medium = Option<Box<dyn Storage>>;

/// A drive that waits for its place on the IDE channels.
enum IdeDrive {
    Disk(Box<dyn Storage>),
    Cdrom(Medium),
}

/// A machine to be built. All settings have defaults.
pub struct Builder {
    memory: u64,
    video_memory: u64,
    video: VideoAdapter,
    model: Model,
    hypervisor: bool,
    engine: EngineKind,
    jit: JitSettings,
    rate: u64,
    bios: Option<Vec<u8>>,
    video_bios: Option<Vec<u8>>,
    floppies: [Option<(DriveKind, Medium)>; 2],
    drives: Vec<IdeDrive>,
    boot: Vec<BootDevice>,
    payload: Option<Payload>,
    debug_console: Option<u16>,
    debug_exit: Option<u16>,
    date: DateTime,
    networks: Vec<NetworkCard>,
    option_roms: Vec<Vec<u8>>,
    devices: Vec<Attachment>,
    no_reboot: bool,
    reset_on_triple_fault: bool,
}

/// The firmware that is built in: system BIOS and video BIOS.
fn built_in() -> Option<(Vec<u8>, Vec<u8>)> {
    #[cfg(feature = "firmware")]
    return Some((bios::SYSTEM.to_vec(), bios::VGA.to_vec()));
    #[cfg(not(feature = "firmware"))]
    None
}

/// Where a network card is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkSlot {
    /// An RTL8029 on the PCI bus.
    Pci,
    /// An NE2000 on the ISA bus, at port 300h.
    Isa {
        /// Its interrupt request: 3, 4, 5, 7, 9, 10 or 11.
        irq: u8,
    },
}

/// A network card.
pub struct NetworkCard {
    /// Where it is plugged in.
    pub slot: NetworkSlot,
    /// Its hardware address.
    pub address: [u8; 6],
    /// What its cable leads to.
    pub cable: Box<dyn Network>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            memory: 64 << 20,
            video_memory: 16 << 20,
            video: VideoAdapter::default(),
            model: Model::default(),
            hypervisor: false,
            engine: EngineKind::Auto,
            jit: JitSettings::default(),
            rate: clock::DEFAULT_RATE,
            bios: None,
            video_bios: None,
            floppies: [None, None],
            drives: Vec::new(),
            boot: vec![BootDevice::Floppy, BootDevice::Disk, BootDevice::Cdrom],
            payload: None,
            debug_console: Some(pc::DEBUG_CONSOLE),
            debug_exit: Some(pc::DEBUG_EXIT),
            date: DateTime::DEFAULT,
            networks: Vec::new(),
            option_roms: Vec::new(),
            devices: Vec::new(),
            no_reboot: false,
            reset_on_triple_fault: false,
        }
    }
}

impl Builder {
    /// Bytes of RAM: a multiple of 4096, 1 MiB at least. 64 MiB unless said.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Builder {
        self.memory = bytes;
        self
    }
    /// The processor.
    #[must_use]
    pub fn cpu(mut self, model: Model) -> Builder {
        self.model = model;
        self
    }
    /// The engine.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Builder {
        self.engine = engine;
        self
    }
    /// Whether CPUID tells the guest of a hypervisor: KVM without any of its features. Linux then
    /// takes positions of the pointer ([`Machine::pointer`]) where it otherwise takes movements.
    #[must_use]
    pub fn hypervisor(mut self, shows: bool) -> Builder {
        self.hypervisor = shows;
        self
    }
    /// How the translator works, if it is the engine.
    #[must_use]
    pub fn jit(mut self, settings: JitSettings) -> Builder {
        self.jit = settings;
        self
    }
    /// Instructions per second of guest time.
    #[must_use]
    pub fn rate(mut self, instructions: u64) -> Builder {
        self.rate = instructions;
        self
    }
    /// The system BIOS, mapped below 4 GiB and its end below 1 MiB. Without one the machine has the built-in one, which
    /// needs a 386 or later, and for its display the built-in VGA BIOS.
    #[must_use]
    pub fn bios(mut self, image: Vec<u8>) -> Builder {
        self.bios = Some(image);
        self
    }
    /// How the display adapter is fitted: on the PCI bus unless said.
    #[must_use]
    pub fn video(mut self, adapter: VideoAdapter) -> Builder {
        self.video = adapter;
        self
    }
    /// The display adapter's BIOS: behind its expansion ROM register, or at C0000h when it is on the
    /// ISA bus. A machine without a display does without.
    #[must_use]
    pub fn video_bios(mut self, image: Vec<u8>) -> Builder {
        self.video_bios = Some(image);
        self
    }
    /// Floppy drive 0 or 1 with a disk in it, or empty. The kind of drive follows from the disk.
    #[must_use]
    pub fn floppy(mut self, drive: usize, disk: Option<Box<dyn Storage>>) -> Builder {
        if let Some(slot) = self.floppies.get_mut(drive) {
            let kind = DriveKind::for_image(disk.as_ref().map_or(1_474_560, |disk| disk.len()));
            *slot = Some((kind, disk));
        }
        self
    }
    /// The next free IDE position gets a hard disk.
    #[must_use]
    pub fn disk(mut self, storage: Box<dyn Storage>) -> Builder {
        self.drives.push(IdeDrive::Disk(storage));
        self
    }
    /// A CD-ROM drive, at the second channel's first position if that is free.
    #[must_use]
    pub fn cdrom(mut self, disc: Option<Box<dyn Storage>>) -> Builder {
        self.drives.push(IdeDrive::Cdrom(disc));
        self
    }
    /// Where the firmware looks for something to boot, in order; three at most count.
    #[must_use]
    pub fn boot_order(mut self, order: &[BootDevice]) -> Builder {
        self.boot = order.to_vec();
        self
    }
    /// Boots this once the firmware's self-test is over, instead of a drive.
    #[must_use]
    pub fn direct_boot(mut self, payload: Payload) -> Builder {
        self.payload = Some(payload);
        self
    }
    /// Port of the debug console (E9h unless said); `None` removes it.
    #[must_use]
    pub fn debug_console(mut self, port: Option<u16>) -> Builder {
        self.debug_console = port;
        self
    }
    /// First of the four ports of the exit device (F4h unless said); `None` removes it.
    #[must_use]
    pub fn debug_exit(mut self, port: Option<u16>) -> Builder {
        self.debug_exit = port;
        self
    }
    /// What the clock chip shows at power-on.
    #[must_use]
    pub fn date(mut self, date: DateTime) -> Builder {
        self.date = date;
        self
    }
    /// A network card: one on each bus at most.
    #[must_use]
    pub fn network(mut self, card: NetworkCard) -> Builder {
        self.networks.push(card);
        self
    }
    /// The ROM of the network card: of the one on the PCI bus if there is one, else of the one on the
    /// ISA bus, where it is decoded at D0000h.
    #[must_use]
    pub fn option_rom(mut self, image: Vec<u8>) -> Builder {
        self.option_roms.push(image);
        self
    }
    /// A device of the embedder's own: see [`crate::custom`].
    #[must_use]
    pub fn device(mut self, device: Attachment) -> Builder {
        self.devices.push(device);
        self
    }
    /// Stop instead of resetting.
    #[must_use]
    pub fn no_reboot(mut self, stop: bool) -> Builder {
        self.no_reboot = stop;
        self
    }
    /// Reset on a triple fault, as a board does, instead of stopping with a report.
    #[must_use]
    pub fn reset_on_triple_fault(mut self, reset: bool) -> Builder {
        self.reset_on_triple_fault = reset;
        self
    }

    /// Puts the machine together and resets it.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<Machine, BuildError> {
        let own = if self.bios.is_none() { built_in() } else { None };
        let (own_bios, own_video_bios) = own.unzip();
        let bios = self.bios.or(own_bios).ok_or(BuildError::NoBios)?;
        if !bios.len().is_power_of_two() || !(0x1_0000..=16 << 20).contains(&bios.len()) {
            return Err(BuildError::BiosSize(bios.len()));
        }
        let mut video_bios = self.video_bios.or(own_video_bios).unwrap_or_default();
        if self.video == VideoAdapter::None {
            video_bios.clear();
        }
        if video_bios.len() > 0x1_0000 {
            return Err(BuildError::VideoBiosSize(video_bios.len()));
        }
        if self.memory < 1 << 20 {
            return Err(BuildError::Memory { bytes: self.memory, source: MemoryError::BadSize });
        }
        let network_rom = network_rom(self.option_roms, &self.networks)?;
        let network_bytes = network_rom.as_ref().map_or(0, Vec::len);
        let rom_bytes = (bios.len() + video_bios.len() + network_bytes).next_multiple_of(4096) + 4 * 4096;
        let mut memory = GuestMemory::new(self.memory, self.video_memory, rom_bytes as u64)
            .map_err(|source| BuildError::Memory { bytes: self.memory, source })?;
        let clock = Clock::with_rate(self.rate);
        let video_rom = (!video_bios.is_empty()).then(|| video_bios.len().next_power_of_two().max(4096) as u32);
        let (network, isa_network) = slots(&self.networks)?;
        let fitting = Fitting {
            date: self.date,
            video_bytes: self.video_memory as u32,
            video_rom,
            video: self.video,
            network: network.map(|address| (address, network_rom.as_ref().map(|rom| rom.len() as u32))),
            isa_network,
        };
        let mut board = Board::new(&fitting, clock);
        board.roms = Roms { system: memory.add_rom(&bios), ..Roms::default() };
        match &network_rom {
            Some(rom) if network.is_some() => board.roms.network = memory.add_rom(rom),
            Some(rom) => {
                board.roms.isa_network = memory.add_rom(rom);
                // Firmware that puts RAM over the whole area first finds it here.
                board.chips.fw_cfg.add_file("genroms/network.rom", rom.clone());
            }
            None => {}
        }
        if !video_bios.is_empty() {
            board.roms.video = memory.add_rom(&video_bios);
            if self.video == VideoAdapter::Isa {
                // Firmware that puts RAM over the whole area first finds it here.
                board.chips.fw_cfg.add_file("vgaroms/vgabios.bin", video_bios);
            }
        }
        if let Some(port) = self.debug_console {
            board.attach(port, 1, Chip::DebugConsole, 0);
        }
        if let Some(port) = self.debug_exit {
            board.attach(port, 4, Chip::DebugExit, 0);
        }
        let mut plan = None;
        if let Some(payload) = &self.payload {
            plan = Some(payload.plan(MemoryLayout::of(self.memory))?);
            let rom = loader::option_rom();
            board.chips.fw_cfg.add_file("genroms/beigebox.rom", rom.clone());
            board.roms.option = memory.add_rom(&rom);
            board.attach_direct_boot();
        }
        for card in self.networks {
            match card.slot {
                NetworkSlot::Pci => board.chips.network.connect(Some(card.cable)),
                NetworkSlot::Isa { .. } => {
                    let (first, ports) = pc::ISA_NETWORK;
                    board.attach(first, ports, Chip::IsaNetwork, 0);
                    board.chips.isa_network.connect(Some(card.cable));
                }
            }
        }
        let extras = custom::make(&board, self.devices)?;
        board.attach_extras(extras);
        board.seal();

        let mut floppy_types = 0;
        let mut floppies = 0u8;
        for (index, slot) in self.floppies.into_iter().enumerate() {
            if let Some((kind, disk)) = slot {
                board.chips.floppy.attach(index, kind);
                let _ = board.chips.floppy.insert(index, disk);
                floppy_types |= kind.cmos_type() << (4 * (1 - index));
                floppies += 1;
            }
        }
        place_drives(&mut board, self.drives)?;
        describe(&mut board, self.memory, &self.boot, floppy_types, floppies);

        let mut cpu = CpuState::new(self.model);
        cpu.tsc_per_tick = clock.tsc_per_tick();
        cpu.hypervisor = self.hypervisor;
        let engine = Processor::new(self.engine, self.jit);
        board.reset(&mut memory, 0);
        Ok(Machine {
            cpu,
            memory,
            board,
            engine,
            plan,
            typing: Typing::default(),
            probes: Probes::default(),
            #[cfg(feature = "gdb")]
            gdb: crate::gdb::Session::default(),
            #[cfg(feature = "host")]
            kept: None,
            no_reboot: self.no_reboot,
            reset_on_triple_fault: self.reset_on_triple_fault,
            resets: 0,
            membrane: devices::sound::Membrane::default(),
        })
    }
}

/// The hardware address of the card on the PCI bus; address and interrupt of the one on the ISA bus.
type Slots = (Option<[u8; 6]>, Option<([u8; 6], u8)>);

fn slots(cards: &[NetworkCard]) -> Result<Slots, BuildError> {
    let (mut pci, mut isa) = (None, None);
    for card in cards {
        if card.address[0] & 1 != 0 {
            return Err(BuildError::Network("a network card's address is a group's: its first byte must be even"));
        }
        let taken = match card.slot {
            NetworkSlot::Pci => pci.replace(card.address).is_some(),
            NetworkSlot::Isa { irq } if matches!(irq, 3..=5 | 7 | 9..=11) => isa.replace((card.address, irq)).is_some(),
            NetworkSlot::Isa { .. } => {
                return Err(BuildError::Network("the ISA network card's interrupt must be 3, 4, 5, 7, 9, 10 or 11"));
            }
        };
        if taken {
            return Err(BuildError::Network("two network cards on one bus: there is one place on each of PCI and ISA"));
        }
    }
    if let (Some(one), Some((other, _))) = (pci, isa)
        && one == other
    {
        return Err(BuildError::Network("two network cards have the same address"));
    }
    Ok((pci, isa))
}

/// The ROM for the card on the PCI bus, grown to a power of two.
fn network_rom(roms: Vec<Vec<u8>>, cards: &[NetworkCard]) -> Result<Option<Vec<u8>>, BuildError> {
    let mut roms = roms.into_iter();
    let Some(mut rom) = roms.next() else { return Ok(None) };
    if roms.next().is_some() {
        return Err(BuildError::OptionRom("is the second one: the network card carries one"));
    }
    if cards.is_empty() {
        return Err(BuildError::OptionRom("needs a network card to sit on"));
    }
    if !cards.iter().any(|card| card.slot == NetworkSlot::Pci) {
        if rom.len() > 0x1_0000 || rom.get(..2) != Some(&[0x55, 0xaa]) {
            return Err(BuildError::OptionRom("must begin with 55h AAh and have at most 64 KiB on the ISA card"));
        }
        rom.resize(rom.len().next_multiple_of(4096), 0xff);
        return Ok(Some(rom));
    }
    if rom.len() > 0x4_0000 || rom.get(..2) != Some(&[0x55, 0xaa]) {
        return Err(BuildError::OptionRom("must begin with 55h AAh and have at most 256 KiB"));
    }
    let data = rom.get(0x18..0x1a).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    match rom.get(data..data + 8) {
        Some(b"PCIR\xec\x10\x29\x80") => {}
        // A ROM for any card with this chip; it gets this one's name. The byte behind the jump of
        // the header is there to keep the sum.
        Some(b"PCIR\0\0\0\0") => {
            let name = [0xec, 0x10, 0x29, 0x80];
            rom[data + 4..data + 8].copy_from_slice(&name);
            let sum = name.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            if let Some(byte) = rom.get_mut(6) {
                *byte = byte.wrapping_sub(sum);
            }
        }
        _ => {
            return Err(BuildError::OptionRom(
                "is not for the PCI network card: it must name the PCI device 10EC:8029, or 0000:0000",
            ));
        }
    }
    rom.resize(rom.len().next_power_of_two().max(4096), 0xff);
    Ok(Some(rom))
}

fn place_drives(board: &mut Board, drives: Vec<IdeDrive>) -> Result<(), BuildError> {
    let mut free: Vec<Position> = Position::ALL.to_vec();
    if drives.len() > Position::ALL.len() {
        return Err(BuildError::Drives("more than four disks and discs: the two IDE channels carry two drives each"));
    }
    let mut take = |wanted: &[Position]| {
        let position = wanted.iter().copied().find(|position| free.contains(position));
        free.retain(|other| Some(*other) != position);
        position
    };
    // Discs go where people expect them; disks fill the rest in order.
    let disc_order =
        [Position::SecondaryMaster, Position::SecondarySlave, Position::PrimarySlave, Position::PrimaryMaster];
    let mut disks = Vec::new();
    for drive in drives {
        match drive {
            IdeDrive::Cdrom(disc) => {
                if let Some(position) = take(&disc_order) {
                    board.chips.ide.attach_cdrom(position, disc);
                }
            }
            IdeDrive::Disk(disk) => disks.push(disk),
        }
    }
    for disk in disks {
        if let Some(position) = take(&Position::ALL) {
            board.chips.ide.attach_disk(position, disk);
        }
    }
    Ok(())
}

/// Tells firmware what is fitted, by CMOS and by the firmware configuration device.
fn describe(board: &mut Board, memory: u64, boot: &[BootDevice], floppy_types: u8, floppies: u8) {
    let layout = MemoryLayout::of(memory);
    let rtc = &mut board.chips.rtc;
    let mut word = |at: u8, value: u64| {
        let [low, high, ..] = value.to_le_bytes();
        rtc.set_cmos(at, low);
        rtc.set_cmos(at + 1, high);
    };
    word(cmos::BASE_MEMORY, 640);
    let extended = (layout.low_end.saturating_sub(1 << 20) / 1024).min(0xffff);
    for at in cmos::EXTENDED_MEMORY {
        word(at, extended);
    }
    word(cmos::MEMORY_ABOVE_16M, (layout.low_end.saturating_sub(16 << 20) >> 16).min(0xffff));
    let high = layout.high_end.saturating_sub(1 << 32) >> 16;
    word(cmos::MEMORY_ABOVE_4G, high);
    rtc.set_cmos(cmos::MEMORY_ABOVE_4G + 2, (high >> 16) as u8);
    rtc.set_cmos(cmos::FLOPPY_TYPES, floppy_types);
    // Coprocessor, PS/2 mouse, and floppy drives if any, their number less one.
    let drives = if floppies == 0 { 0 } else { 1 | (floppies - 1) << 6 };
    rtc.set_cmos(cmos::EQUIPMENT, 0x06 | drives);
    let code = |index: usize| boot.get(index).map_or(0, |device| device.code());
    rtc.set_cmos(cmos::BOOT_ORDER, code(0) | code(1) << 4);
    // Bit 0: no check of the floppy's boot signature.
    rtc.set_cmos(cmos::BOOT_ORDER_THIRD, code(2) << 4 | 1);
    let fw_cfg = &mut board.chips.fw_cfg;
    fw_cfg.set_machine(layout.low_end, 1, 1);
    let mut ranges = vec![(0, layout.low_end, RangeKind::Ram)];
    if layout.high_end != 0 {
        ranges.push((1 << 32, layout.high_end - (1 << 32), RangeKind::Ram));
    }
    fw_cfg.set_e820(&ranges);
    fw_cfg.set_boot_menu(false, 0);
}

/// A PC.
///
/// It owns no thread and no global state: an embedder drives it by [`Machine::run_for`], and may
/// have as many as it likes.
pub struct Machine {
    pub(crate) cpu: CpuState,
    pub(crate) memory: GuestMemory,
    pub(crate) board: Board,
    pub(crate) engine: Processor,
    plan: Option<Plan>,
    pub(crate) typing: Typing,
    pub(crate) probes: Probes,
    #[cfg(feature = "gdb")]
    pub(crate) gdb: crate::gdb::Session,
    /// The state that the monitor keeps in memory.
    #[cfg(feature = "host")]
    pub(crate) kept: Option<Vec<u8>>,
    no_reboot: bool,
    reset_on_triple_fault: bool,
    resets: u64,
    pub(crate) membrane: devices::sound::Membrane,
}

/// Numbers about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Guest time since power-on.
    pub time: Time,
    /// Accesses to ports and device memory.
    pub accesses: u64,
    /// Resets since power-on.
    pub resets: u64,
}

impl Machine {
    /// A machine to be described.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    // --- running -----------------------------------------------------------------------------

    /// Guest time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.board.clock.time(self.cpu.ticks)
    }
    /// Runs for `nanoseconds` of guest time, or until something happens. The last instruction is finished: one that reads
    /// the display's status ends up to a microsecond later.
    pub fn run_for(&mut self, nanoseconds: u64) -> Stop {
        let until = self.now().plus(nanoseconds);
        self.run(until, u64::MAX)
    }
    /// Runs for `nanoseconds` of guest time at most and `instructions` at most.
    pub fn run_limited(&mut self, nanoseconds: u64, instructions: u64) -> Stop {
        let until = self.now().plus(nanoseconds);
        self.run(until, instructions)
    }
    /// Runs until `condition` holds (it is asked after every millisecond of guest time), for
    /// `nanoseconds` at most. [`Stop::Done`] says nothing about which of both it was.
    pub fn run_until(&mut self, nanoseconds: u64, mut condition: impl FnMut(&mut Machine) -> bool) -> Stop {
        let until = self.now().plus(nanoseconds);
        while !condition(self) {
            let left = until.since(self.now());
            if left == 0 {
                break;
            }
            match self.run_for(left.min(1_000_000)) {
                Stop::Done => {}
                other => return other,
            }
        }
        Stop::Done
    }
    /// Runs one instruction.
    pub fn step(&mut self) -> Stop {
        match self.run(Time(u64::MAX), 1) {
            Stop::Instructions => Stop::Done,
            other => other,
        }
    }
    /// When something happens next that the processor has not brought about: a device's event, or
    /// a key that is typed.
    #[must_use]
    pub fn next_event(&self) -> Time {
        let board = self.board.clock.time(self.board.next_deadline());
        self.typing.next_event().map_or(board, |typed| typed.min(board))
    }
    /// Moves guest time forward to `time` without running instructions. For a machine that follows
    /// the host's clock and is halted, and not beyond its next event: a guest that works would
    /// find its processor slower than its timers, and measure nonsense.
    pub fn skip_to(&mut self, time: Time) {
        self.cpu.ticks = self.cpu.ticks.max(self.board.clock.ticks_until(time));
    }
    /// Whether the processor waits for an interrupt, and none has come.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        let woken = self.cpu.nmi_pending || self.cpu.intr && self.cpu.flag(bits::IF);
        self.cpu.activity == Activity::Halted && !woken
    }

    fn run(&mut self, until: Time, instructions: u64) -> Stop {
        let limit = self.board.clock.ticks_until(until);
        let last = self.cpu.retired.saturating_add(instructions);
        loop {
            if let Some(stop) = self.attend() {
                return stop;
            }
            if self.cpu.ticks >= limit {
                return Stop::Done;
            }
            if self.cpu.retired >= last {
                return Stop::Instructions;
            }
            let typed = match self.typing.next_event() {
                Some(time) => self.board.clock.ticks_until(time),
                None => u64::MAX,
            };
            let deadline = self.board.next_deadline().min(typed).max(self.cpu.ticks + 1);
            let mut budget = deadline.min(limit) - self.cpu.ticks;
            budget = budget.min(last - self.cpu.retired);
            // Bounded so that ticks and budget never come near the ends of their range.
            budget = budget.min(1 << 40);
            self.board.begin_run(self.cpu.ticks + budget);
            let (exit, _) = self.engine.run(&mut self.cpu, &mut self.memory, &mut self.board, budget);
            self.cpu.ticks = self.cpu.ticks.saturating_add(self.board.take_wait());
            match exit {
                Exit::BudgetSpent | Exit::Attention => {}
                Exit::Breakpoint => {
                    if let Some(stop) = self.meet_probes(true) {
                        return stop;
                    }
                    continue;
                }
                Exit::Halted => {
                    if let Some(stop) = self.rest(deadline.min(limit)) {
                        return stop;
                    }
                }
                Exit::TripleFault => {
                    let report = Box::new(FaultReport::new(&self.cpu, &self.memory, self.engine.interpreter()));
                    if self.no_reboot || !self.reset_on_triple_fault {
                        return Stop::TripleFault(report);
                    }
                    self.soft_reset();
                }
            }
            if self.board.port_probes.has_hits()
                && let Some(stop) = self.meet_probes(false)
            {
                return stop;
            }
        }
    }

    /// The processor is halted: time jumps to the next thing that can happen.
    fn rest(&mut self, until: u64) -> Option<Stop> {
        if self.board.attention() {
            return None;
        }
        let can_wake = self.cpu.flag(bits::IF) || self.cpu.nmi_pending;
        if !can_wake && self.typing.is_empty() {
            return Some(Stop::Hang);
        }
        self.cpu.ticks = self.cpu.ticks.max(until);
        None
    }

    /// Looks after the board: deadlines, wires, requests. Returns why the run must end, if so.
    fn attend(&mut self) -> Option<Stop> {
        let ticks = self.cpu.ticks;
        let now = self.now();
        while let Some(stroke) = self.typing.take(now) {
            self.perform(stroke);
        }
        self.board.catch_up(&mut self.memory, ticks);
        if self.board.state.requests.backdoor {
            self.board.state.requests.backdoor = false;
            self.call_backdoor();
        }
        if let Some(value) = self.board.chips.debug_exit.take_exit() {
            return Some(Stop::Exit(value));
        }
        if self.board.chips.power.take_power_off() {
            return Some(Stop::PowerOff);
        }
        if self.board.state.requests.direct_boot {
            self.board.state.requests.direct_boot = false;
            if let Some(plan) = &self.plan {
                plan.enter(&mut self.cpu, &mut self.memory);
                self.engine.forget();
            }
        }
        if self.board.state.requests.hard_reset || self.board.state.requests.soft_reset {
            if self.no_reboot {
                self.board.state.requests.hard_reset = false;
                self.board.state.requests.soft_reset = false;
                return Some(Stop::Reset);
            }
            // Software that returns from protected mode through a reset says so in CMOS.
            let resumes = self.board.chips.rtc.cmos(cmos::SHUTDOWN) != 0;
            if resumes && !self.board.state.requests.hard_reset {
                self.soft_reset();
            } else {
                self.reset();
            }
        }
        if self.board.wires.nmi.take_edge() && !self.board.chips.rtc.nmi_masked() {
            self.cpu.nmi_pending = true;
        }
        if self.cpu.a20 != self.board.state.a20_level {
            self.cpu.a20 = self.board.state.a20_level;
            self.engine.forget();
        }
        self.cpu.intr = self.board.sample_interrupt();
        None
    }

    /// The guest has read the backdoor port with a doubleword IN. That the magic number stood in
    /// EAX before is taken for granted: the answer has already replaced it.
    fn call_backdoor(&mut self) {
        const MAGIC: u32 = 0x564d_5868;
        let order = [gpr::AX, gpr::BX, gpr::CX, gpr::DX];
        let mut registers = order.map(|register| self.cpu.gpr.get(register) as u32);
        registers[0] = MAGIC;
        if let Some(answer) = self.board.chips.backdoor.call(registers) {
            for (register, value) in order.into_iter().zip(answer) {
                self.cpu.gpr.write(register, Width::Dword, u64::from(value));
            }
        }
    }

    /// Presses the reset button.
    pub fn reset(&mut self) {
        self.resets += 1;
        self.board.reset(&mut self.memory, self.cpu.ticks);
        self.reset_processor();
    }
    fn soft_reset(&mut self) {
        self.resets += 1;
        self.board.state.requests.soft_reset = false;
        self.reset_processor();
    }
    fn reset_processor(&mut self) {
        self.cpu.reset();
        self.cpu.a20 = self.board.state.a20_level;
        self.engine.forget();
    }
    /// Presses the power button; a guest that knows ACPI shuts down.
    pub fn press_power_button(&mut self) {
        self.board.chips.power.press_power_button();
        self.board.changed(Chip::Power, &mut self.memory, self.cpu.ticks);
    }

    // --- serial, parallel, debug --------------------------------------------------------------

    /// What the guest has sent over serial port 0 or 1 since the last call.
    pub fn serial_output(&mut self, port: usize) -> Vec<u8> {
        match port {
            0 => self.board.chips.com1.take_output(),
            1 => self.board.chips.com2.take_output(),
            _ => Vec::new(),
        }
    }
    /// What the guest has written to serial port 0 or 1 and the port has not sent yet: the last words
    /// of a guest that stopped the machine at once.
    #[must_use]
    pub fn serial_unsent(&self, port: usize) -> Vec<u8> {
        match port {
            0 => self.board.chips.com1.unsent(),
            1 => self.board.chips.com2.unsent(),
            _ => Vec::new(),
        }
    }
    /// Sends bytes to the guest over serial port 0 or 1.
    pub fn serial_input(&mut self, port: usize, bytes: &[u8]) {
        let chip = match port {
            0 => Chip::Com1,
            1 => Chip::Com2,
            _ => return,
        };
        // The time of arrival counts from now.
        self.board.changed(chip, &mut self.memory, self.cpu.ticks);
        if port == 0 {
            self.board.chips.com1.receive(bytes);
        } else {
            self.board.chips.com2.receive(bytes);
        }
        self.board.changed(chip, &mut self.memory, self.cpu.ticks);
    }
    /// What the guest has written to its debug console since the last call.
    pub fn debug_output(&mut self) -> Vec<u8> {
        self.board.chips.debug_console.take_output()
    }
    /// What the guest has printed since the last call.
    pub fn printer_output(&mut self) -> Vec<u8> {
        self.board.chips.parallel.take_output()
    }
    /// The last codes on the diagnostics port.
    #[must_use]
    pub fn post_codes(&self) -> Vec<u8> {
        self.board.chips.post.codes()
    }

    // --- keyboard and mouse -------------------------------------------------------------------

    /// Presses or releases a key now.
    pub fn key(&mut self, key: KeyCode, pressed: bool) {
        self.board.changed(Chip::I8042, &mut self.memory, self.cpu.ticks);
        self.board.chips.i8042.key(key, pressed);
        self.board.changed(Chip::I8042, &mut self.memory, self.cpu.ticks);
    }
    /// Queues keys: see [`input::parse_keys`] for the spelling.
    ///
    /// # Errors
    /// When the text names no key; nothing is queued then.
    pub fn type_keys(&mut self, script: &str) -> Result<(), input::KeysError> {
        let now = self.now();
        for chord in input::parse_keys(script)? {
            self.typing.chord(&chord, now);
        }
        Ok(())
    }
    /// Queues one chord: keys that go down together.
    pub fn type_chord(&mut self, keys: &[KeyCode]) {
        let now = self.now();
        self.typing.chord(keys, now);
    }
    /// Whether queued keys or movements of the mouse wait to be carried out.
    #[must_use]
    pub fn is_typing(&self) -> bool {
        !self.typing.is_empty()
    }
    /// Moves the mouse and sets its buttons (bit 0 left, 1 right, 2 middle).
    pub fn mouse(&mut self, dx: i32, dy: i32, wheel: i32, buttons: u8) {
        self.board.changed(Chip::I8042, &mut self.memory, self.cpu.ticks);
        self.board.chips.i8042.movement(dx, dy, wheel, buttons);
        self.board.changed(Chip::I8042, &mut self.memory, self.cpu.ticks);
    }

    /// Whether a driver in the guest takes absolute positions: then [`Machine::pointer`] is the
    /// way to move the pointer, and [`Machine::mouse`] with a movement of 0 wakes the driver.
    #[must_use]
    pub fn takes_absolute_pointer(&self) -> bool {
        self.board.chips.backdoor.is_absolute()
    }
    /// Puts the pointer at (`x`, `y`), where 0 and FFFFh are the edges of the screen.
    pub fn pointer(&mut self, x: u16, y: u16, wheel: i8, buttons: u8) {
        self.board.chips.backdoor.pointer(x, y, wheel, buttons);
        self.mouse(1, 0, 0, 0);
    }

    // --- drives -------------------------------------------------------------------------------

    /// Exchanges the disk of floppy drive 0 or 1; gives back the old one.
    pub fn change_floppy(&mut self, drive: usize, disk: Option<Box<dyn Storage>>) -> Option<Box<dyn Storage>> {
        self.board.chips.floppy.insert(drive, disk)
    }
    /// Exchanges the disc of the first CD-ROM drive; gives back the old one, or `disc` when there
    /// is no such drive.
    pub fn change_cdrom(&mut self, disc: Option<Box<dyn Storage>>) -> Option<Box<dyn Storage>> {
        self.board.chips.ide.insert(Position::SecondaryMaster, disc)
    }

    // --- looking inside -----------------------------------------------------------------------

    /// The processor.
    #[must_use]
    pub fn cpu(&self) -> &CpuState {
        &self.cpu
    }
    /// The processor, to be changed between two runs. Derived state is recomputed.
    pub fn with_cpu<R>(&mut self, change: impl FnOnce(&mut CpuState) -> R) -> R {
        let result = change(&mut self.cpu);
        self.cpu.update_mode();
        self.engine.forget();
        result
    }
    /// Reads guest-physical memory; what is no memory reads as FFh.
    pub fn read_memory(&self, address: u64, buf: &mut [u8]) {
        self.memory.read(address, buf);
    }
    /// Writes guest-physical RAM; other bytes are dropped.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes);
    }
    /// Bytes of RAM.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        self.memory.ram().bytes()
    }
    /// A number that grows whenever the guest or an event turns to a chip: whoever compares it
    /// with an earlier one sees activity, as by the light of a drive.
    #[must_use]
    pub fn activity(&self, chip: Chip) -> u64 {
        self.board.touches[chip as usize]
    }
    /// Name of the engine.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }
    /// Numbers about the run so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            instructions: self.cpu.retired,
            time: self.now(),
            accesses: self.board.accesses,
            resets: self.resets,
        }
    }
    /// Ports that the guest touched although nobody is there.
    #[must_use]
    pub fn unknown_ports(&self) -> &BTreeMap<u16, Unknown> {
        &self.board.unknown_ports
    }
    /// The same for pages of guest-physical memory.
    #[must_use]
    pub fn unknown_memory(&self) -> &BTreeMap<u64, Unknown> {
        &self.board.unknown_memory
    }
    /// The state that a triple-fault report shows, at this moment.
    #[must_use]
    pub fn fault_report(&self) -> FaultReport {
        FaultReport::new(&self.cpu, &self.memory, self.engine.interpreter())
    }
    /// Watches every access to ports and device memory; `None` ends it.
    pub fn watch_io(&mut self, watch: Option<IoWatch>) {
        self.board.watch = watch;
    }
    /// Writes a trace of the processor to `sink`, one instruction at a time.
    pub fn trace(&mut self, options: TraceOptions, sink: Box<dyn std::io::Write + Send>) {
        self.engine.set_tracer(Some(trace::tracer(options, sink)));
    }
    /// Ends the trace.
    pub fn end_trace(&mut self) {
        self.engine.set_tracer(None);
    }
    /// What the engine has done so far, as lines for a reader.
    #[must_use]
    pub fn engine_statistics(&self) -> String {
        self.engine.statistics(self.cpu.retired)
    }
    /// Why translated code is not kept for the next run, if [`JitSettings::cache`] asked for that.
    #[must_use]
    pub fn jit_cache_error(&self) -> Option<String> {
        self.engine.cache_error()
    }
    /// One line per chip: name and state size. For diagnostics.
    #[must_use]
    pub fn chips(&self) -> Vec<&'static str> {
        Chip::ALL.iter().map(|chip| Device::name(self.board.chips.look(*chip))).collect()
    }
}
