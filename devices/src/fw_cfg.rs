//! The firmware configuration device of QEMU's PC: how a board tells its firmware what it is.
//!
//! After QEMU's `docs/specs/fw_cfg`. Registers, from port 510h: 0 selects an item (16 bits), 1
//! gives its bytes one by one, 4–7 and 8–11 hold the big-endian address of a DMA descriptor, whose
//! lower half starts the transfer. Reading 4–11 gives the signature of the DMA interface.
//! Not emulated: items that the guest can write (DMA writes end with the error bit).

#![allow(clippy::precedence, reason = "shifts before masks is how register layouts are written")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, Dma, PortIo, RestoreError, Saved, Width};

/// Keys of the items with fixed numbers.
pub mod key {
    /// The four bytes "QEMU".
    pub const SIGNATURE: u16 = 0x00;
    /// Features of the interface.
    pub const ID: u16 = 0x01;
    /// UUID of the machine, 16 bytes.
    pub const UUID: u16 = 0x02;
    /// RAM in bytes, 64 bits.
    pub const RAM_SIZE: u16 = 0x03;
    /// Non-zero when there is no display, 16 bits.
    pub const NO_GRAPHICS: u16 = 0x04;
    /// Number of processors, 16 bits.
    pub const CPUS: u16 = 0x05;
    /// Load address of the kernel, 32 bits.
    pub const KERNEL_ADDRESS: u16 = 0x07;
    /// Size of the kernel, 32 bits.
    pub const KERNEL_SIZE: u16 = 0x08;
    /// Load address of the initial RAM disk, 32 bits.
    pub const INITRD_ADDRESS: u16 = 0x0a;
    /// Size of the initial RAM disk, 32 bits.
    pub const INITRD_SIZE: u16 = 0x0b;
    /// First boot device, 16 bits.
    pub const BOOT_DEVICE: u16 = 0x0c;
    /// NUMA nodes and their tables, 64-bit words.
    pub const NUMA: u16 = 0x0d;
    /// Non-zero to offer a boot menu, 16 bits.
    pub const BOOT_MENU: u16 = 0x0e;
    /// Largest number of processors, 16 bits.
    pub const MAX_CPUS: u16 = 0x0f;
    /// Entry point of the kernel, 32 bits.
    pub const KERNEL_ENTRY: u16 = 0x10;
    /// The kernel.
    pub const KERNEL_DATA: u16 = 0x11;
    /// The initial RAM disk.
    pub const INITRD_DATA: u16 = 0x12;
    /// Load address of the command line, 32 bits.
    pub const COMMAND_LINE_ADDRESS: u16 = 0x13;
    /// Size of the command line, 32 bits.
    pub const COMMAND_LINE_SIZE: u16 = 0x14;
    /// The command line, with a final zero byte.
    pub const COMMAND_LINE_DATA: u16 = 0x15;
    /// Load address of the kernel's set-up code, 32 bits.
    pub const SETUP_ADDRESS: u16 = 0x16;
    /// Size of the kernel's set-up code, 32 bits.
    pub const SETUP_SIZE: u16 = 0x17;
    /// The kernel's set-up code.
    pub const SETUP_DATA: u16 = 0x18;
    /// The directory of files.
    pub const DIRECTORY: u16 = 0x19;
    /// Key of the first file.
    pub const FIRST_FILE: u16 = 0x20;
    /// Further ACPI tables.
    pub const ACPI_TABLES: u16 = 0x8000;
    /// SMBIOS entries.
    pub const SMBIOS: u16 = 0x8001;
    /// Non-zero when IRQ 0 reaches input 2 of the IOAPIC, 8 bits.
    pub const IRQ0_OVERRIDE: u16 = 0x8002;
}

const CONTROL_ERROR: u32 = 0x01;
const CONTROL_READ: u32 = 0x02;
const CONTROL_SKIP: u32 = 0x04;
const CONTROL_SELECT: u32 = 0x08;
const CONTROL_WRITE: u32 = 0x10;
const DMA_SIGNATURE: &[u8; 8] = b"QEMU CFG";
/// Longest file name, without its final zero.
const NAME_BYTES: usize = 55;
/// How far a transfer may read past the end of its item (it gets zeros).
const LARGEST_OVERRUN: usize = 1 << 20;

/// Kind of a memory range for [`FwCfg::set_e820`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// Usable memory.
    Ram = 1,
    /// Not to be used.
    Reserved = 2,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    selected: u16,
    offset: u64,
    descriptor_high: u32,
}

/// The firmware configuration device.
#[derive(Clone, Debug)]
pub struct FwCfg {
    /// What the board offers; no part of the state.
    items: BTreeMap<u16, Vec<u8>>,
    files: BTreeMap<String, u16>,
    state: State,
}

impl Default for FwCfg {
    fn default() -> FwCfg {
        FwCfg::new()
    }
}

impl FwCfg {
    /// A device with its signature, its features, an empty directory, no NUMA nodes and the IRQ 0
    /// override.
    #[must_use]
    pub fn new() -> FwCfg {
        let mut device = FwCfg { items: BTreeMap::new(), files: BTreeMap::new(), state: State::default() };
        device.add_item(key::SIGNATURE, b"QEMU".to_vec());
        device.add_item(key::ID, 3u32.to_le_bytes().to_vec());
        device.add_item(key::UUID, vec![0; 16]);
        device.add_item(key::NO_GRAPHICS, vec![0; 2]);
        device.add_item(key::NUMA, vec![0; 8]);
        device.add_item(key::BOOT_MENU, vec![0; 2]);
        device.add_item(key::IRQ0_OVERRIDE, vec![1]);
        device.rebuild_directory();
        device
    }

    /// Offers `content` as item `key`, in place of an earlier one.
    pub fn add_item(&mut self, key: u16, content: Vec<u8>) {
        self.items.insert(key, content);
    }

    /// Offers `content` as the file `name`, in place of an earlier one. Names are at most 55 bytes
    /// long; a longer one is cut.
    pub fn add_file(&mut self, name: &str, content: Vec<u8>) {
        let next = key::FIRST_FILE.saturating_add(self.files.len() as u16);
        let key = *self.files.entry(name.to_owned()).or_insert(next);
        self.items.insert(key, content);
        self.rebuild_directory();
    }

    fn rebuild_directory(&mut self) {
        let mut directory = (self.files.len() as u32).to_be_bytes().to_vec();
        for (name, key) in &self.files {
            let size = self.items.get(key).map_or(0, Vec::len);
            directory.extend((size as u32).to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let end = directory.len() + NAME_BYTES + 1;
            directory.extend(name.bytes().take(NAME_BYTES));
            directory.resize(end, 0);
        }
        self.add_item(key::DIRECTORY, directory);
    }

    /// RAM size and processor counts.
    pub fn set_machine(&mut self, ram_bytes: u64, cpus: u16, max_cpus: u16) {
        self.add_item(key::RAM_SIZE, ram_bytes.to_le_bytes().to_vec());
        self.add_item(key::CPUS, cpus.to_le_bytes().to_vec());
        self.add_item(key::MAX_CPUS, max_cpus.to_le_bytes().to_vec());
    }

    /// The file `etc/e820`: start, length and kind of each range of memory.
    pub fn set_e820(&mut self, ranges: &[(u64, u64, RangeKind)]) {
        let entry = |&(start, length, kind): &(u64, u64, RangeKind)| {
            [&start.to_le_bytes()[..], &length.to_le_bytes(), &(kind as u32).to_le_bytes()].concat()
        };
        self.add_file("etc/e820", ranges.iter().flat_map(entry).collect());
    }

    /// The file `bootorder`: OpenFirmware device paths, the first tried first, for instance
    /// `/pci@i0cf8/ide@1,1/drive@0/disk@0`.
    pub fn set_boot_order(&mut self, paths: &[&str]) {
        let mut content = paths.join("\n").into_bytes();
        content.push(0);
        self.add_file("bootorder", content);
    }

    /// Whether the firmware offers its boot menu, and how long it waits for the key.
    pub fn set_boot_menu(&mut self, offered: bool, wait_milliseconds: u16) {
        self.add_item(key::BOOT_MENU, u16::from(offered).to_le_bytes().to_vec());
        self.add_file("etc/boot-menu-wait", wait_milliseconds.to_le_bytes().to_vec());
    }

    /// After how many milliseconds the firmware restarts when nothing boots; `None` is never.
    pub fn set_boot_fail_wait(&mut self, milliseconds: Option<u32>) {
        let value = milliseconds.unwrap_or(u32::MAX);
        self.add_file("etc/boot-fail-wait", value.to_le_bytes().to_vec());
    }

    fn select(&mut self, key: u16) {
        // Bit 14 marks a write, which does nothing here.
        self.state.selected = key & !0x4000;
        self.state.offset = 0;
    }

    /// What is left of the selected item.
    fn rest(&self) -> &[u8] {
        let start = usize::try_from(self.state.offset).unwrap_or(usize::MAX);
        self.items.get(&self.state.selected).and_then(|item| item.get(start..)).unwrap_or_default()
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.rest().first().copied().unwrap_or(0);
        self.state.offset = self.state.offset.saturating_add(1);
        byte
    }

    fn transfer(&mut self, dma: &mut dyn Dma, descriptor: u64) {
        let mut raw = [0; 16];
        dma.read(descriptor, &mut raw);
        let raw = u128::from_be_bytes(raw);
        let (control, length, address) = ((raw >> 96) as u32, (raw >> 64) as u32, raw as u64);
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let length = length as usize;
        let mut result = 0;
        if control & CONTROL_READ != 0 {
            let rest = self.rest();
            if length > rest.len() + LARGEST_OVERRUN {
                result = CONTROL_ERROR;
            } else {
                let (content, zeros) = (length.min(rest.len()), length.saturating_sub(rest.len()));
                dma.write(address, rest.get(..content).unwrap_or_default());
                dma.write(address.wrapping_add(content as u64), &vec![0; zeros]);
                self.state.offset = self.state.offset.saturating_add(length as u64);
            }
        } else if control & CONTROL_WRITE != 0 {
            result = CONTROL_ERROR;
        } else if control & CONTROL_SKIP != 0 {
            self.state.offset = self.state.offset.saturating_add(length as u64);
        }
        dma.write(descriptor, &result.to_be_bytes());
    }
}

impl PortIo for FwCfg {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        match (register, width) {
            (1, Width::Byte) => Some(u32::from(self.next_byte())),
            (4..=11, Width::Byte | Width::Word | Width::Dword) => {
                let start = usize::from(register) - 4;
                let bytes = DMA_SIGNATURE.get(start..start + width.bytes() as usize)?;
                Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
            }
            _ => None,
        }
    }

    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        match (register, width) {
            (0, Width::Word) => self.select(value as u16),
            // Items cannot be written.
            (1, Width::Byte) => {}
            (4, Width::Dword) => self.state.descriptor_high = value.swap_bytes(),
            (8, Width::Dword) => {
                let high = std::mem::take(&mut self.state.descriptor_high);
                self.transfer(cx.dma, u64::from(high) << 32 | u64::from(value.swap_bytes()));
            }
            _ => return None,
        }
        Some(())
    }
}

impl Device for FwCfg {
    fn name(&self) -> &'static str {
        "fw-cfg"
    }
    fn reset(&mut self) {
        self.state = State::default();
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { items: _, files: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        // Any selector and any offset only ever reads zeros past the end of an item.
        self.state = state.decode()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn sample() -> FwCfg {
        let mut device = FwCfg::new();
        device.set_machine(64 << 20, 1, 1);
        device.set_e820(&[(0, 0xa_0000, RangeKind::Ram), (0xf_0000, 0x1_0000, RangeKind::Reserved)]);
        device.set_boot_order(&["/pci@i0cf8/ide@1,1/drive@0/disk@0"]);
        device.set_boot_menu(false, 0);
        device.set_boot_fail_wait(None);
        device
    }

    crate::device_conformance!(conforms, sample());

    fn read_item(bench: &mut Bench<FwCfg>, key: u16, bytes: usize) -> Vec<u8> {
        bench.write_wide(0, Width::Word, u32::from(key));
        (0..bytes).map(|_| bench.read(1)).collect()
    }

    #[test]
    fn items_read_byte_by_byte_and_end_in_zeros() {
        let mut bench = Bench::new(sample());
        assert_eq!(read_item(&mut bench, key::SIGNATURE, 6), b"QEMU\0\0");
        assert_eq!(read_item(&mut bench, key::ID, 4), [3, 0, 0, 0]);
        assert_eq!(read_item(&mut bench, key::RAM_SIZE, 8), [0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(read_item(&mut bench, 0x1234, 2), [0, 0]);
        assert_eq!(bench.try_read(4, Width::Dword), Some(u32::from_le_bytes(*b"QEMU")));
        assert_eq!(bench.try_read(8, Width::Dword), Some(u32::from_le_bytes(*b" CFG")));
    }

    #[test]
    fn directory_lists_files_by_name() {
        let mut bench = Bench::new(sample());
        let directory = read_item(&mut bench, key::DIRECTORY, 4 + 64 * 4);
        assert_eq!(directory[..4], [0, 0, 0, 4]);
        assert_eq!(&directory[12..22], b"bootorder\0");
        let (size, select) = (&directory[4..8], &directory[8..10]);
        assert_eq!((size, select), (&[0, 0, 0, 34][..], &[0, 0x21][..]));
        assert_eq!(read_item(&mut bench, 0x20, 20)[8..], [0, 0, 10, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn dma_selects_skips_and_reads() {
        let mut bench = Bench::new(sample());
        let mut run = |control: u32, length: u32, address: u64| {
            bench.dma.ram[0x100..0x104].copy_from_slice(&control.to_be_bytes());
            bench.dma.ram[0x104..0x108].copy_from_slice(&length.to_be_bytes());
            bench.dma.ram[0x108..0x110].copy_from_slice(&address.to_be_bytes());
            bench.dma.ram[0x200..0x208].fill(0xee);
            bench.write_wide(8, Width::Dword, 0x100u32.swap_bytes());
            (bench.dma.ram[0x103], bench.dma.ram[0x200..0x208].to_vec())
        };
        assert_eq!(run(0x0000_000a, 6, 0x200), (0, b"QEMU\0\0\xee\xee".to_vec()));
        assert_eq!(run(0x0000_000c, 2, 0x200).0, 0);
        assert_eq!(run(0x0000_0002, 2, 0x200), (0, b"MU\xee\xee\xee\xee\xee\xee".to_vec()));
        assert_eq!(run(0x0000_000a, u32::MAX, 0x200).0, 1, "far too long");
        assert_eq!(run(0x0000_0018, 2, 0x200).0, 1, "no item can be written");
    }
}
