//! The board: an i440FX/PIIX3 PC on one page. Every address, port and interrupt number that is
//! not a chip's own business stands here and nowhere else.

use crate::bus::Wires;
use devices::ata::{self, IdeController};
use devices::debug_exit::DebugExit;
use devices::debugcon::DebugConsole;
use devices::floppy::FloppyController;
use devices::fw_cfg::FwCfg;
use devices::i8042::I8042;
use devices::ne2000::Ne2000;
use devices::opl::Opl;
use devices::parallel::Parallel;
use devices::pci::{HostBridge, PciAddress};
use devices::pic::PicPair;
use devices::piix::{self, IsaBridge, PowerManagement};
use devices::pit::Pit;
use devices::port92::Port92;
use devices::post::Post;
use devices::rtc::{DateTime, Rtc};
use devices::sb16::{self, SoundBlaster};
use devices::speaker::SystemControl;
use devices::uart::Uart;
use devices::vga::{self, Vga};
use devices::vmport::VmPort;
use devices::{Device, Line, PciFunction};

macro_rules! chips {
    ($($name:ident $field:ident: $type:ty, $doc:literal;)*) => {
        /// Names of the chips on the board.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Chip {
            $(#[doc = $doc] $name,)*
        }
        impl Chip {
            /// All chips, in the order in which they are advanced, saved and hashed.
            pub const ALL: &[Chip] = &[$(Chip::$name,)*];
        }
        /// The chips on the board.
        pub(crate) struct Chips {
            $(pub(crate) $field: $type,)*
        }
        impl Chips {
            /// The chip of that name.
            pub(crate) fn get(&mut self, chip: Chip) -> &mut dyn Device {
                match chip {
                    $(Chip::$name => &mut self.$field,)*
                }
            }
            /// The same, to look at only.
            pub(crate) fn look(&self, chip: Chip) -> &dyn Device {
                match chip {
                    $(Chip::$name => &self.$field,)*
                }
            }
        }
    };
}

chips! {
    Pit pit: Pit, "Interval timer.";
    Rtc rtc: Rtc, "Clock and CMOS memory.";
    SystemControl system_control: SystemControl, "Port 61h: speaker, refresh, NMI sources.";
    I8042 i8042: I8042, "Keyboard controller, keyboard and mouse.";
    Port92 port92: Port92, "Fast A20 and reset.";
    Com1 com1: Uart, "First serial port.";
    Com2 com2: Uart, "Second serial port.";
    Parallel parallel: Parallel, "Parallel port.";
    Floppy floppy: FloppyController, "Floppy controller.";
    Ide ide: IdeController, "IDE function of the PIIX3.";
    Vga vga: Vga, "Display adapter.";
    HostBridge host_bridge: HostBridge, "i440FX.";
    IsaBridge isa_bridge: IsaBridge, "PIIX3 ISA bridge.";
    Power power: PowerManagement, "PIIX4 power management.";
    FwCfg fw_cfg: FwCfg, "Firmware configuration.";
    DebugConsole debug_console: DebugConsole, "Port E9h, or where it was asked for.";
    DebugExit debug_exit: DebugExit, "isa-debug-exit.";
    Post post: Post, "Port 80h.";
    Sound sound: SoundBlaster, "Sound Blaster 16.";
    Opl opl: Opl, "Synthesizer of the sound card.";
    Network network: Ne2000, "Network card on the PCI bus.";
    IsaNetwork isa_network: Ne2000, "Network card on the ISA bus.";
    Backdoor backdoor: VmPort, "Absolute pointer behind a backdoor port.";
    Pic pic: PicPair, "Interrupt controllers; last, because they see what all others have done.";
}

/// How the display adapter is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoAdapter {
    /// A VGA with the Bochs display interface as PCI function 1234h:1111h.
    #[default]
    Pci,
    /// The same chip on the ISA bus: no PCI function, its BIOS at C0000h, its linear framebuffer
    /// at a fixed address. Drivers that look for the PCI function leave its text screen alone.
    Isa,
    /// No display at all.
    None,
}

/// What differs from board to board.
pub(crate) struct Fitting {
    /// The date at power-on.
    pub(crate) date: DateTime,
    /// Bytes of video memory.
    pub(crate) video_bytes: u32,
    /// Size of the display's ROM window.
    pub(crate) video_rom: Option<u32>,
    /// How the display is fitted.
    pub(crate) video: VideoAdapter,
    /// The network card on the PCI bus, if there is one: its address, and the size of its ROM.
    pub(crate) network: Option<([u8; 6], Option<u32>)>,
    /// The network card on the ISA bus, if there is one: its address and interrupt request.
    pub(crate) isa_network: Option<([u8; 6], u8)>,
}

impl Chips {
    /// All chips, wired up.
    pub(crate) fn new(wires: &Wires, fitting: &Fitting) -> Chips {
        let attention = &wires.attention;
        let pic = PicPair::new(attention);
        let (gate2, output2) = (Line::on(attention), Line::on(attention));
        let isa_bridge =
            IsaBridge::new(std::array::from_fn(|number| pic.irq(number as u8)), wires.hard_reset.share(), attention);
        // A card that is not fitted is a chip without wires that no address leads to.
        let network = match fitting.network {
            Some((address, rom)) => {
                let card = Ne2000::pci(isa_bridge.pirq(piix::pirq_of(NETWORK_SLOT, 1)), address, None);
                if let Some(bytes) = rom { card.with_rom(bytes) } else { card }
            }
            None => Ne2000::isa(Line::detached(), [0; 6], None),
        };
        let isa_network = match fitting.isa_network {
            Some((address, number)) => Ne2000::isa(pic.irq(number), address, None),
            None => Ne2000::isa(Line::detached(), [0; 6], None),
        };
        Chips {
            pit: Pit::new(Some(pic.irq(irq::TIMER)), Some(output2.share()), gate2.share()),
            rtc: Rtc::new(pic.irq(irq::CLOCK), fitting.date),
            system_control: SystemControl::new(gate2, output2, wires.nmi.share(), attention),
            i8042: I8042::new(pic.irq(irq::KEYBOARD), pic.irq(irq::MOUSE), wires.a20.share(), wires.reset.share()),
            port92: Port92::new(wires.a20.share(), wires.reset.share()),
            com1: Uart::new(pic.irq(irq::COM1)),
            com2: Uart::new(pic.irq(irq::COM2)),
            parallel: Parallel::new(pic.irq(irq::LPT1)),
            floppy: FloppyController::new(pic.irq(irq::FLOPPY)),
            ide: IdeController::new(pic.irq(irq::IDE_PRIMARY), pic.irq(irq::IDE_SECONDARY)),
            vga: Vga::new(fitting.video_bytes, fitting.video_rom),
            host_bridge: HostBridge::new(),
            isa_bridge,
            power: PowerManagement::new(pic.irq(irq::SYSTEM_CONTROL)),
            fw_cfg: FwCfg::new(),
            debug_console: DebugConsole::new(),
            debug_exit: DebugExit::new(),
            post: Post::new(),
            sound: SoundBlaster::new(sb16::INTERRUPTS.map(|number| pic.irq(if number == 2 { 9 } else { number }))),
            opl: Opl::new(),
            network,
            isa_network,
            backdoor: VmPort::new(),
            pic,
        }
    }
    /// The function at a PCI address of a board with such a display.
    pub(crate) fn function(&mut self, address: PciAddress, video: VideoAdapter) -> Option<&mut dyn PciFunction> {
        let (_, chip) = FUNCTIONS.iter().find(|(at, _)| *at == (address.slot, address.function))?;
        if address.bus != 0 || *chip == Chip::Vga && video != VideoAdapter::Pci {
            return None;
        }
        self.get(*chip).pci()
    }
}

/// Interrupt requests of the ISA bus.
pub(crate) mod irq {
    pub(crate) const TIMER: u8 = 0;
    pub(crate) const KEYBOARD: u8 = 1;
    pub(crate) const COM2: u8 = 3;
    pub(crate) const COM1: u8 = 4;
    pub(crate) const FLOPPY: u8 = 6;
    pub(crate) const LPT1: u8 = 7;
    pub(crate) const CLOCK: u8 = 8;
    pub(crate) const SYSTEM_CONTROL: u8 = 9;
    pub(crate) const MOUSE: u8 = 12;
    pub(crate) const COPROCESSOR: u8 = 13;
    pub(crate) const IDE_PRIMARY: u8 = 14;
    pub(crate) const IDE_SECONDARY: u8 = 15;
}

/// PCI device number of the network card.
const NETWORK_SLOT: u8 = 3;
/// Where the network card on the ISA bus is: first port, how many.
pub(crate) const ISA_NETWORK: (u16, u16) = (0x300, 32);
/// Interrupt request of the network card on the ISA bus unless asked otherwise.
pub const ISA_NETWORK_IRQ: u8 = 10;

/// Functions on PCI bus 0: device, function, chip.
pub(crate) const FUNCTIONS: &[((u8, u8), Chip)] = &[
    ((0, 0), Chip::HostBridge),
    ((1, 0), Chip::IsaBridge),
    ((1, 1), Chip::Ide),
    ((1, 3), Chip::Power),
    ((2, 0), Chip::Vga),
    ((NETWORK_SLOT, 0), Chip::Network),
];

/// Fixed ports: first, last, chip, the chip's register at the first.
pub(crate) const PORTS: &[(u16, u16, Chip, u16)] = &[
    (0x020, 0x021, Chip::Pic, 0),
    (0x040, 0x043, Chip::Pit, 0),
    (0x060, 0x060, Chip::I8042, 0),
    (0x061, 0x061, Chip::SystemControl, 0),
    (0x064, 0x064, Chip::I8042, 1),
    (0x070, 0x073, Chip::Rtc, 0),
    (0x080, 0x080, Chip::Post, 0),
    (0x092, 0x092, Chip::Port92, 0),
    (0x0b2, 0x0b3, Chip::Power, 0x200),
    (0x0a0, 0x0a1, Chip::Pic, 2),
    (0x170, 0x177, Chip::Ide, ata::SECONDARY_COMMAND),
    (0x1ce, 0x1d0, Chip::Vga, vga::DISPI_INDEX),
    (0x1f0, 0x1f7, Chip::Ide, ata::PRIMARY_COMMAND),
    (0x220, 0x223, Chip::Opl, 0),
    (0x224, 0x226, Chip::Sound, 0x04),
    (0x228, 0x229, Chip::Opl, 0),
    (0x22a, 0x22f, Chip::Sound, 0x0a),
    (0x2f8, 0x2ff, Chip::Com2, 0),
    (0x330, 0x331, Chip::Sound, sb16::MPU),
    (0x376, 0x376, Chip::Ide, ata::SECONDARY_CONTROL),
    (0x378, 0x37a, Chip::Parallel, 0),
    (0x388, 0x38b, Chip::Opl, 0),
    (0x3b0, 0x3bb, Chip::Vga, 0x00),
    (0x3c0, 0x3df, Chip::Vga, 0x10),
    (0x3f0, 0x3f5, Chip::Floppy, 0),
    (0x3f7, 0x3f7, Chip::Floppy, 7),
    (0x3f6, 0x3f6, Chip::Ide, ata::PRIMARY_CONTROL),
    (0x3f8, 0x3ff, Chip::Com1, 0),
    (0x4d0, 0x4d1, Chip::Pic, 4),
    (0x510, 0x51b, Chip::FwCfg, 0),
    // Where the tables of SeaBIOS have the general purpose events, whatever the base is. All ones
    // would be events of every kind: systems then eject all PCI devices.
    (0xafe0, 0xafe3, Chip::Power, 0x300),
];

/// Ports of the two ISA DMA controllers and their page registers: first, last, register. Port 80h
/// belongs to the POST card.
pub(crate) const DMA_PORTS: &[(u16, u16, u16)] = &[(0x000, 0x00f, 0x00), (0x081, 0x08f, 0x41), (0x0c0, 0x0df, 0x20)];

/// Data ports of the IDE channels.
pub(crate) const IDE_DATA: [u16; 2] = [0x1f0, 0x170];

/// Input status register 1 of a monochrome and of a colour display adapter.
pub(crate) const DISPLAY_STATUS: [u16; 2] = [0x3ba, 0x3da];
/// Nanoseconds that a read of it takes beside the instruction's own tick: 8 cycles of a bus with 8 MHz.
pub(crate) const DISPLAY_STATUS_TIME: u64 = 1_000;
/// PCI configuration mechanism 1.
pub(crate) const PCI_CONFIG: std::ops::RangeInclusive<u16> = 0xcf8..=0xcff;
/// The PIIX3's reset control register, a byte between the configuration ports.
pub(crate) const RESET_CONTROL: u16 = 0xcf9;
/// Backdoor for the absolute pointer.
pub(crate) const BACKDOOR: u16 = devices::vmport::VMWARE_PORT;
/// Coprocessor: any write clears the latched error.
pub(crate) const COPROCESSOR_CLEAR: u16 = 0xf0;
/// Where the debug console is unless asked otherwise.
pub const DEBUG_CONSOLE: u16 = 0xe9;
/// Where the exit port is unless asked otherwise (four ports).
pub const DEBUG_EXIT: u16 = 0xf4;
/// The private port by which the direct-boot ROM says that POST is over.
pub(crate) const DIRECT_BOOT: u16 = 0xb1b0;

/// Base address registers that decode ports: chip, register, the chip's register at the base.
pub(crate) const IO_BARS: &[(Chip, u8, u16)] =
    &[(Chip::Ide, 4, ata::BUS_MASTER), (Chip::Power, 0, 0x000), (Chip::Power, 1, 0x100), (Chip::Network, 0, 0x000)];
/// Base address registers that decode device registers in memory: chip, register, window.
pub(crate) const MEMORY_BARS: &[(Chip, u8, u8)] = &[(Chip::Vga, 2, vga::REGISTER_WINDOW)];
/// Base address register of the linear framebuffer.
pub(crate) const FRAMEBUFFER_BAR: u8 = 0;
/// Index of the expansion ROM register.
pub(crate) const ROM_BAR: u8 = 6;

/// Physical memory.
pub(crate) mod map {
    /// Conventional memory ends here.
    pub(crate) const VIDEO: u64 = 0xa_0000;
    /// Linear framebuffer of a display on the ISA bus, where software without PCI looks for the
    /// Bochs display interface's.
    pub(crate) const ISA_FRAMEBUFFER: u64 = 0xe000_0000;
    /// Bytes of video memory that a window at its beginning shows at a time.
    pub(crate) const BANK: u64 = 0x1_0000;
    /// Option ROM area begins here; the video window ends.
    pub(crate) const OPTION_ROMS: u64 = 0xc_0000;
    /// The system BIOS's last 64 KiB begin here.
    pub(crate) const SYSTEM_BIOS: u64 = 0xf_0000;
    /// Extended memory begins here.
    pub(crate) const EXTENDED: u64 = 0x10_0000;
    /// RAM below 4 GiB ends here at the latest; the rest is above 4 GiB.
    pub(crate) const LOW_RAM_END: u64 = 0xc000_0000;
    /// The direct-boot ROM.
    pub(crate) const DIRECT_BOOT_ROM: u64 = 0xc_f000;
    /// The ROM of the ISA network card, up to E0000h.
    pub(crate) const ISA_NETWORK_ROM: u64 = 0xd_0000;
    /// Above it lies what does not fit below 4 GiB.
    pub(crate) const HIGH_RAM: u64 = 0x1_0000_0000;
}

/// CMOS bytes that tell firmware what is fitted.
pub(crate) mod cmos {
    pub(crate) const SHUTDOWN: u8 = 0x0f;
    pub(crate) const FLOPPY_TYPES: u8 = 0x10;
    pub(crate) const EQUIPMENT: u8 = 0x14;
    pub(crate) const BASE_MEMORY: u8 = 0x15;
    pub(crate) const EXTENDED_MEMORY: [u8; 2] = [0x17, 0x30];
    pub(crate) const MEMORY_ABOVE_16M: u8 = 0x34;
    pub(crate) const MEMORY_ABOVE_4G: u8 = 0x5b;
    pub(crate) const BOOT_ORDER_THIRD: u8 = 0x38;
    pub(crate) const BOOT_ORDER: u8 = 0x3d;
}
