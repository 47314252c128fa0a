//! PCI: configuration space, configuration mechanism 1, and the i440FX host bridge.
//!
//! After the PCI Local Bus Specification 2.1 and Intel's 82441FX data sheet (290549). Not
//! emulated: 64-bit base address registers, bridges to further buses, DRAM timing and error
//! registers of the host bridge (they read back as written).

use serde::{Deserialize, Serialize};

use crate::device::{Bar, Device, PciFunction, RestoreError, Saved, Width};

/// Offset of the command register.
pub const COMMAND: u8 = 0x04;
/// Command bit: ports decode.
pub const COMMAND_IO: u16 = 1;
/// Command bit: memory decodes.
pub const COMMAND_MEMORY: u16 = 2;
/// Command bit: the function may master the bus.
pub const COMMAND_MASTER: u16 = 4;

/// What a base address register decodes; sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io {
        /// Number of ports, 4 at least.
        size: u16,
    },
    /// 32-bit memory.
    Memory {
        /// Bytes, 16 at least.
        size: u32,
        /// Whether reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM (index 6 only).
    Rom {
        /// Bytes, 2048 at least.
        size: u32,
    },
}

/// The 256 bytes of a function's configuration space, with what a guest may write to them.
///
/// Built once with the chainable `with_…` methods; everything not made writable is read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    defaults: [u8; 256],
    writable: [u8; 256],
    clears: [u8; 256],
    bars: [Option<BarKind>; 7],
}

/// The saved content of a [`ConfigSpace`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState(Vec<u8>);

impl ConfigSpace {
    /// A type 0 header. `class` is the 24-bit class code: base class, sub-class, interface.
    #[must_use]
    pub fn new(vendor: u16, device: u16, class: u32, revision: u8) -> ConfigSpace {
        let nothing = [0; 256];
        let space =
            ConfigSpace { bytes: nothing, defaults: nothing, writable: nothing, clears: nothing, bars: [None; 7] };
        space
            .with_bytes(0x00, &vendor.to_le_bytes())
            .with_bytes(0x02, &device.to_le_bytes())
            .with_bytes(0x08, &(class << 8 | u32::from(revision)).to_le_bytes())
            .with_writable(COMMAND, &0x0547u16.to_le_bytes())
            .with_write_one_to_clear(0x06, &0xf900u16.to_le_bytes())
            .with_writable(0x0c, &[0xff, 0xff])
            .with_writable(0x3c, &[0xff])
    }
    /// Sets power-on content.
    #[must_use]
    pub fn with_bytes(mut self, offset: u8, content: &[u8]) -> ConfigSpace {
        overlay(&mut self.bytes, offset, content);
        overlay(&mut self.defaults, offset, content);
        self
    }
    /// Lets the guest write the bits that are set in `mask`.
    #[must_use]
    pub fn with_writable(mut self, offset: u8, mask: &[u8]) -> ConfigSpace {
        overlay(&mut self.writable, offset, mask);
        self
    }
    /// Makes the bits that are set in `mask` clear when the guest writes a one to them.
    #[must_use]
    pub fn with_write_one_to_clear(mut self, offset: u8, mask: &[u8]) -> ConfigSpace {
        overlay(&mut self.clears, offset, mask);
        self
    }
    /// Sets the subsystem vendor and device.
    #[must_use]
    pub fn with_subsystem(self, vendor: u16, device: u16) -> ConfigSpace {
        self.with_bytes(0x2c, &vendor.to_le_bytes()).with_bytes(0x2e, &device.to_le_bytes())
    }
    /// Sets the interrupt pin: 1 for INTA.
    #[must_use]
    pub fn with_interrupt_pin(self, pin: u8) -> ConfigSpace {
        self.with_bytes(0x3d, &[pin])
    }
    /// Marks the device as one with several functions.
    #[must_use]
    pub fn with_multifunction(self) -> ConfigSpace {
        self.with_bytes(0x0e, &[0x80])
    }
    /// Adds base address register `index` (0–5; 6 is the expansion ROM).
    #[must_use]
    pub fn with_bar(mut self, index: u8, kind: BarKind) -> ConfigSpace {
        let (mask, low) = match kind {
            BarKind::Io { size } => (!(u32::from(size.max(4)) - 1), 1),
            BarKind::Memory { size, prefetchable } => (!(size.max(16) - 1), u32::from(prefetchable) << 3),
            BarKind::Rom { size } => (!(size.max(2048) - 1) | 1, 0),
        };
        if let Some(bar) = self.bars.get_mut(usize::from(index)) {
            *bar = Some(kind);
        }
        let offset = bar_offset(index);
        self.with_writable(offset, &mask.to_le_bytes()).with_bytes(offset, &low.to_le_bytes())
    }

    /// Back to power-on content.
    pub fn reset(&mut self) {
        self.bytes = self.defaults;
    }
    /// The dword that holds `offset`.
    #[must_use]
    pub fn read(&self, offset: u8) -> u32 {
        let at = offset & 0xfc;
        u32::from_le_bytes([self.byte(at), self.byte(at | 1), self.byte(at | 2), self.byte(at | 3)])
    }
    /// A guest's write to the dword that holds `offset`; `mask` selects the byte lanes.
    pub fn write(&mut self, offset: u8, value: u32, mask: u32) {
        let at = usize::from(offset & 0xfc);
        let lanes = value.to_le_bytes().into_iter().zip(mask.to_le_bytes());
        let bytes = self.bytes.iter_mut().zip(self.writable.iter().zip(&self.clears)).skip(at);
        for ((byte, (writable, clears)), (value, lane)) in bytes.zip(lanes) {
            *byte = *byte & !(writable & lane) | value & writable & lane;
            *byte &= !(value & clears & lane);
        }
    }
    /// One byte.
    #[must_use]
    pub fn byte(&self, offset: u8) -> u8 {
        self.bytes.get(usize::from(offset)).copied().unwrap_or(0)
    }
    /// Two bytes, the lower first.
    #[must_use]
    pub fn word(&self, offset: u8) -> u16 {
        u16::from_le_bytes([self.byte(offset), self.byte(offset.wrapping_add(1))])
    }
    /// The chip itself changes bytes (status bits), whatever the guest may write.
    pub fn set(&mut self, offset: u8, content: &[u8]) {
        overlay(&mut self.bytes, offset, content);
    }
    /// The command register.
    #[must_use]
    pub fn command(&self) -> u16 {
        self.word(COMMAND)
    }
    /// Where base address register `index` decodes now; see [`PciFunction::bar`].
    #[must_use]
    pub fn bar(&self, index: u8) -> Option<Bar> {
        let kind = (*self.bars.get(usize::from(index))?)?;
        let register = self.read(bar_offset(index));
        let memory = |size: u32| {
            let base = register & !(size - 1);
            // All ones is the probe for the size, not a place.
            let placed = base != 0 && base != !(size - 1);
            let on = self.command() & COMMAND_MEMORY != 0 && placed;
            on.then_some(Bar::Memory { base: u64::from(base), size: u64::from(size) })
        };
        match kind {
            BarKind::Io { size } => {
                let size = size.max(4);
                let base = u16::try_from(register & !(u32::from(size) - 1)).ok()?;
                let on = self.command() & COMMAND_IO != 0 && base != 0 && base.checked_add(size - 1).is_some();
                on.then_some(Bar::Io { base, size })
            }
            BarKind::Memory { size, .. } => memory(size.max(16)),
            BarKind::Rom { size } => {
                if register & 1 == 0 {
                    return None;
                }
                memory(size.max(2048))
            }
        }
    }
    /// The content, for the saved state of the function that owns it.
    #[must_use]
    pub fn save(&self) -> ConfigState {
        ConfigState(self.bytes.to_vec())
    }
    /// Takes over saved content.
    ///
    /// # Errors
    /// When it is not 256 bytes or names another vendor or device. Nothing is changed then.
    pub fn restore(&mut self, state: &ConfigState) -> Result<(), RestoreError> {
        let bytes = <[u8; 256]>::try_from(state.0.as_slice()).map_err(|_| RestoreError::OutOfRange("config"))?;
        // Identity and header must be those of this function.
        if bytes.iter().zip(&self.defaults).take(4).any(|(saved, own)| saved != own) {
            return Err(RestoreError::OutOfRange("config"));
        }
        self.bytes = bytes;
        Ok(())
    }
}

fn bar_offset(index: u8) -> u8 {
    if index >= 6 { 0x30 } else { 0x10 + 4 * index }
}

fn overlay(target: &mut [u8; 256], offset: u8, content: &[u8]) {
    for (byte, new) in target.iter_mut().skip(usize::from(offset)).zip(content) {
        *byte = *new;
    }
}

/// Which function a configuration cycle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Bus number.
    pub bus: u8,
    /// Device number, 0–31.
    pub slot: u8,
    /// Function number, 0–7.
    pub function: u8,
}

/// The functions that configuration cycles can reach; the board implements it.
pub trait ConfigBus {
    /// The function at `address`, if there is one.
    fn function(&mut self, address: PciAddress) -> Option<&mut dyn PciFunction>;
}

/// What became of a write to the configuration ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigWrite {
    /// The address was latched.
    Latched,
    /// A function was written: its base address registers may have moved.
    Written(PciAddress),
    /// No such function, or cycles are disabled; a PCI bus drops such a write silently.
    Nobody,
}

/// Configuration mechanism 1: the address latch (registers 0–3) and the data window (registers
/// 4–7). It is no [`Device`], because a cycle needs all functions: the board owns it and passes
/// the functions in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigPorts {
    address: u32,
}

impl ConfigPorts {
    /// Power-on state.
    pub fn reset(&mut self) {
        self.address = 0;
    }
    fn target(&self) -> Option<(PciAddress, u8)> {
        let [register, function, bus, enable] = self.address.to_le_bytes();
        let address = PciAddress { bus, slot: function >> 3, function: function & 7 };
        (enable & 0x80 != 0).then_some((address, register & 0xfc))
    }
    /// Reads register `register`; `None` when the access is not one of mechanism 1.
    pub fn read(&self, register: u16, width: Width, functions: &mut dyn ConfigBus) -> Option<u32> {
        if register == 0 && width == Width::Dword {
            return Some(self.address);
        }
        let shift = lane(register, width)?;
        let value = self
            .target()
            .and_then(|(address, offset)| functions.function(address).map(|function| function.config_read(offset)));
        Some(value.unwrap_or(u32::MAX) >> shift & width.mask() as u32)
    }
    /// Writes register `register`; `None` when the access is not one of mechanism 1.
    pub fn write(
        &mut self,
        register: u16,
        width: Width,
        value: u32,
        functions: &mut dyn ConfigBus,
    ) -> Option<ConfigWrite> {
        if register == 0 && width == Width::Dword {
            self.address = value & 0x80ff_fffc;
            return Some(ConfigWrite::Latched);
        }
        let shift = lane(register, width)?;
        let Some((address, offset)) = self.target() else { return Some(ConfigWrite::Nobody) };
        let Some(function) = functions.function(address) else { return Some(ConfigWrite::Nobody) };
        let mask = (width.mask() as u32) << shift;
        function.config_write(offset, value << shift & mask, mask);
        Some(ConfigWrite::Written(address))
    }
}

/// Bit position of an access to the data window, when it lies within the dword.
fn lane(register: u16, width: Width) -> Option<u32> {
    let first = u32::from(register.checked_sub(4)?);
    (first + width.bytes() <= 4).then_some(first * 8)
}

/// Number of segments whose reads and writes the host bridge steers.
pub const PAM_SEGMENTS: u8 = 13;

/// The host bridge: Intel 82441FX (i440FX).
#[derive(Debug)]
pub struct HostBridge {
    config: ConfigSpace,
}

impl Default for HostBridge {
    fn default() -> HostBridge {
        HostBridge::new()
    }
}

impl HostBridge {
    /// Offset of the first attribute register (PAM0).
    const PAM: u8 = 0x59;
    /// Offset of the system management RAM control register.
    const SMRAM: u8 = 0x72;
    const SMRAM_LOCKED: u8 = 0x10;
    const SMRAM_OPEN: u8 = 0x40;

    /// The bridge after power-on. The subsystem is the one by which SeaBIOS knows a virtual board.
    #[must_use]
    pub fn new() -> HostBridge {
        let config = ConfigSpace::new(0x8086, 0x1237, 0x06_00_00, 2)
            .with_subsystem(0x1af4, 0x1100)
            .with_bytes(COMMAND, &[0x06, 0x00, 0x80, 0x02])
            .with_writable(COMMAND, &[0x40, 0x01])
            .with_writable(0x50, &[0xff; 9])
            .with_writable(HostBridge::PAM, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33])
            .with_writable(0x60, &[0xff; 8])
            .with_writable(0x68, &[0xff])
            .with_writable(0x70, &[0xff, 0xff])
            .with_bytes(HostBridge::SMRAM, &[0x02])
            .with_writable(HostBridge::SMRAM, &[0x78])
            .with_writable(0x90, &[0xff; 4])
            .with_writable(0x93, &[0x00]);
        HostBridge { config }
    }
    /// Start address and size of segment `segment`: 0 is F0000h–FFFFFh, 1–12 are the 16 KiB
    /// pieces from C0000h to EFFFFh.
    #[must_use]
    pub const fn pam_range(segment: u8) -> (u32, u32) {
        match segment {
            0 => (0xf_0000, 0x1_0000),
            _ => (0xc_0000 + 0x4000 * (segment as u32 - 1), 0x4000),
        }
    }
    /// Whether reads and writes of segment `segment` (0–12) go to RAM rather than to ROM and bus.
    #[must_use]
    pub fn pam(&self, segment: u8) -> (bool, bool) {
        let register = self.config.byte(HostBridge::PAM.saturating_add(segment.div_ceil(2)));
        // PAM0 holds only the BIOS segment, in its upper half.
        let bits = if segment.is_multiple_of(2) { register >> 4 } else { register };
        (bits & 1 != 0, bits & 2 != 0)
    }
    /// Whether A0000h–BFFFFh shows system management RAM to code outside that mode.
    #[must_use]
    pub fn smram_open(&self) -> bool {
        self.config.byte(HostBridge::SMRAM) & HostBridge::SMRAM_OPEN != 0
    }
    /// Whether system management RAM is enabled at all (G_SMRAME).
    #[must_use]
    pub fn smram_enabled(&self) -> bool {
        self.config.byte(HostBridge::SMRAM) & 0x08 != 0
    }
}

impl PciFunction for HostBridge {
    fn config_read(&mut self, offset: u8) -> u32 {
        self.config.read(offset)
    }
    fn config_write(&mut self, offset: u8, value: u32, mask: u32) {
        let before = self.config.byte(HostBridge::SMRAM);
        self.config.write(offset, value, mask);
        let after = self.config.byte(HostBridge::SMRAM);
        if before & HostBridge::SMRAM_LOCKED != 0 {
            // Once locked, only D_CLS (bit 5) can change until reset, and D_OPEN stays clear.
            self.config.set(HostBridge::SMRAM, &[before & !0x20 | after & 0x20]);
        } else if after & HostBridge::SMRAM_LOCKED != 0 {
            self.config.set(HostBridge::SMRAM, &[after & !HostBridge::SMRAM_OPEN]);
        }
    }
}

impl Device for HostBridge {
    fn name(&self) -> &'static str {
        "host-bridge"
    }
    fn reset(&mut self) {
        self.config.reset();
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { config } = self;
        Saved::of(&config.save())
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        self.config.restore(&state.decode()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::device_conformance!(host_bridge_conforms, HostBridge::new());

    struct OneSlot(HostBridge);

    impl ConfigBus for OneSlot {
        fn function(&mut self, address: PciAddress) -> Option<&mut dyn PciFunction> {
            (address == PciAddress { bus: 0, slot: 0, function: 0 }).then_some(&mut self.0)
        }
    }

    #[test]
    fn mechanism_one_reaches_bytes_and_words() {
        let (mut ports, mut bus) = (ConfigPorts::default(), OneSlot(HostBridge::new()));
        assert_eq!(ports.read(4, Width::Dword, &mut bus), Some(u32::MAX), "disabled");
        assert_eq!(ports.write(0, Width::Dword, 0x8000_0000, &mut bus), Some(ConfigWrite::Latched));
        assert_eq!(ports.read(0, Width::Dword, &mut bus), Some(0x8000_0000));
        assert_eq!(ports.read(4, Width::Dword, &mut bus), Some(0x1237_8086));
        assert_eq!(ports.read(6, Width::Word, &mut bus), Some(0x1237));
        assert_eq!(ports.read(5, Width::Byte, &mut bus), Some(0x80));
        assert_eq!(ports.read(7, Width::Word, &mut bus), None);
        assert_eq!(ports.read(1, Width::Byte, &mut bus), None, "not part of the mechanism");
        ports.write(0, Width::Dword, 0x8000_0058, &mut bus);
        let host = PciAddress { bus: 0, slot: 0, function: 0 };
        assert_eq!(ports.write(5, Width::Byte, 0x30, &mut bus), Some(ConfigWrite::Written(host)));
        assert_eq!(bus.0.pam(0), (true, true));
        ports.write(6, Width::Byte, 0x21, &mut bus);
        assert_eq!((bus.0.pam(1), bus.0.pam(2), bus.0.pam(3)), ((true, false), (false, true), (false, false)));
        ports.write(0, Width::Dword, 0x8000_0800, &mut bus);
        assert_eq!(ports.read(4, Width::Dword, &mut bus), Some(u32::MAX), "an empty slot");
        assert_eq!(ports.write(4, Width::Dword, 0, &mut bus), Some(ConfigWrite::Nobody));
    }

    #[test]
    fn last_segment_is_the_last_register() {
        let mut bridge = HostBridge::new();
        bridge.config_write(0x5c, 0x3000_0000, 0xff00_0000);
        assert_eq!(bridge.pam(12), (true, true));
        assert_eq!(HostBridge::pam_range(12), (0xe_c000, 0x4000));
    }

    #[test]
    fn smram_lock_holds_until_reset() {
        let mut bridge = HostBridge::new();
        bridge.config_write(0x70, 0x48_0000, 0xff_0000);
        assert!(bridge.smram_open() && bridge.smram_enabled());
        bridge.config_write(0x70, 0x5a_0000, 0xff_0000);
        assert!(!bridge.smram_open());
        bridge.config_write(0x70, 0x40_0000, 0xff_0000);
        assert!(!bridge.smram_open() && bridge.smram_enabled());
        bridge.reset();
        assert_eq!(bridge.config_read(0x70), 0x0002_0000);
    }

    #[test]
    fn base_address_registers_size_and_decode() {
        let mut space = ConfigSpace::new(1, 2, 0x02_00_00, 0)
            .with_bar(0, BarKind::Io { size: 32 })
            .with_bar(1, BarKind::Memory { size: 0x1000, prefetchable: true })
            .with_bar(6, BarKind::Rom { size: 0x1_0000 });
        space.write(COMMAND, 3, 0xff);
        space.write(0x10, u32::MAX, u32::MAX);
        space.write(0x14, u32::MAX, u32::MAX);
        space.write(0x30, u32::MAX, u32::MAX);
        assert_eq!(space.read(0x10), 0xffff_ffe1);
        assert_eq!(space.read(0x14), 0xffff_f008);
        assert_eq!(space.read(0x30), 0xffff_0001);
        assert_eq!((space.bar(0), space.bar(1), space.bar(6)), (None, None, None));
        space.write(0x10, 0xc000, u32::MAX);
        space.write(0x14, 0xe000_0000, u32::MAX);
        space.write(0x30, 0xe010_0001, u32::MAX);
        assert_eq!(space.bar(0), Some(Bar::Io { base: 0xc000, size: 32 }));
        assert_eq!(space.bar(1), Some(Bar::Memory { base: 0xe000_0000, size: 0x1000 }));
        assert_eq!(space.bar(6), Some(Bar::Memory { base: 0xe010_0000, size: 0x1_0000 }));
        space.write(COMMAND, 0, 0xff);
        assert_eq!((space.bar(0), space.bar(1)), (None, None));
    }
}
