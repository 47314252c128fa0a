//! The same programs on an engine: flat user mode under paging, exceptions delivered through gates to HLT.

use super::state::{CODE, EXIT, Outcome, PAGE, SCRATCH, Start, WRITABLE};
use cpu::bus::Bus;
use cpu::engine::{Engine, Exit};
use cpu::helpers::x87;
use cpu::memory::GuestMemory;
use cpu::model::Model;
use cpu::softfloat::F80;
use cpu::state::{Attributes, CpuState, Seg, Segment, Table, cr0, cr4, efer};

/// A bus on which nobody is home.
struct Nobody;

impl Bus for Nobody {}

// Physical addresses.
const PDPT: u64 = 0x1000;
const DIRECTORY: u64 = 0x2000;
const PAGES: u64 = 0x3000;
const SYSTEM_DIRECTORY: u64 = 0x4000;
const SYSTEM_PAGES: u64 = 0x5000;
const SYSTEM_AT: u64 = 0x6000;
/// Linear address of the system's own pages: where random addresses hardly ever fall, because the host has nothing
/// there, and an access says so by its error code.
pub const SYSTEM: u64 = 0xf3a5_4000;
// Offsets in the system's pages.
const GDT: u64 = 0;
const IDT: u64 = 0x100;
const TSS: u64 = 0x200;
/// One HLT for each vector, [`HANDLER`] bytes apart.
const HANDLERS: u64 = 0x300;
const HANDLER: u64 = 16;
/// The kernel's stack grows down from here.
const STACK: u64 = 0x2000;
const CODE_AT: u64 = 0x10000;
const EXIT_AT: u64 = 0x11000;
const SCRATCH_AT: u64 = 0x12000;

/// More instructions and iterations of REP than any program needs.
const LONGEST: u64 = 200_000;

/// An engine with the memory that programs see.
pub struct Guest<E> {
    engine: E,
    memory: GuestMemory,
    /// The state in which every program starts, but for the registers of [`Start`].
    template: CpuState,
}

impl<E: Engine> Guest<E> {
    pub fn new(engine: E, exit_page: &[u8; PAGE]) -> Guest<E> {
        const PRESENT: u64 = 0x61;
        const WRITE: u64 = 2;
        const USER: u64 = 4;
        const NO_EXECUTE: u64 = 1 << 63;
        let mut memory = GuestMemory::new(1 << 20, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, 1 << 20, ram, 0, false);
        let mut put = |at: u64, value: u64| memory.write(at, &value.to_le_bytes());
        let entry = |address: u32, shift: u32| u64::from(address) >> shift & 511;
        assert_eq!((CODE >> 30, SYSTEM >> 30), (0, 3));
        put(PDPT, DIRECTORY | 1);
        put(PDPT + 24, SYSTEM_DIRECTORY | 1);
        put(DIRECTORY + 8 * entry(CODE, 21), PAGES | PRESENT | WRITE | USER);
        put(SYSTEM_DIRECTORY + 8 * entry(SYSTEM as u32, 21), SYSTEM_PAGES | PRESENT | WRITE);
        for n in 0..2 {
            let page = SYSTEM as u32 + n * PAGE as u32;
            put(SYSTEM_PAGES + 8 * entry(page, 12), SYSTEM_AT + u64::from(n) * PAGE as u64 | PRESENT | WRITE);
        }
        let mut page =
            |address: u32, at: u64, flags: u64| put(PAGES + 8 * entry(address, 12), at | flags | PRESENT | USER);
        page(CODE, CODE_AT, 0);
        page(EXIT, EXIT_AT, 0);
        for n in 0..3 {
            let offset = n * PAGE as u32;
            let write = if (offset as usize) < WRITABLE { WRITE } else { 0 };
            page(SCRATCH + offset, SCRATCH_AT + u64::from(offset), write | NO_EXECUTE);
        }
        // Descriptors at the selectors that Linux uses: 10h kernel code, 18h kernel data, 23h and 2Bh user.
        for (n, upper) in [(2, 0x00cf_9b00_u64), (3, 0x00cf_9300), (4, 0x00cf_fb00), (5, 0x00cf_f300)] {
            put(SYSTEM_AT + GDT + 8 * n, upper << 32 | 0xffff);
        }
        for vector in 0..32 {
            let handler = SYSTEM + HANDLERS + HANDLER * vector;
            let dpl = if matches!(vector, 3 | 4) { 3 } else { 0 };
            let upper = handler & 0xffff_0000 | 0x8e00 | dpl << 13;
            put(SYSTEM_AT + IDT + 8 * vector, upper << 32 | 0x10 << 16 | handler & 0xffff);
            put(SYSTEM_AT + HANDLERS + HANDLER * vector, 0xf4);
        }
        memory.write(SYSTEM_AT + TSS + 4, &((SYSTEM + STACK) as u32).to_le_bytes());
        memory.write(SYSTEM_AT + TSS + 8, &0x18_u32.to_le_bytes());
        // No I/O bitmap.
        memory.write(SYSTEM_AT + TSS + 0x66, &[0xff, 0xff]);
        memory.write(EXIT_AT, exit_page);

        let mut cpu = CpuState::new(Model::Core);
        let user = |selector, attributes| Segment::new(selector, 0, u32::MAX, Attributes(attributes), true);
        for seg in Seg::ALL {
            cpu.seg[seg as usize] = if seg == Seg::Cs { user(0x23, 0xcfb) } else { user(0x2b, 0xcf3) };
        }
        cpu.cpl = 3;
        cpu.cr0 = cr0::PE | cr0::PG | cr0::NE | cr0::AM | cr0::MP | cr0::WP | cr0::ET;
        cpu.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
        cpu.msr.efer |= efer::NXE;
        cpu.cr3 = PDPT;
        cpu.pdpte = [DIRECTORY | 1, 0, 0, SYSTEM_DIRECTORY | 1];
        cpu.gdtr = Table { base: SYSTEM + GDT, limit: 0x2f };
        cpu.idtr = Table { base: SYSTEM + IDT, limit: 0xff };
        cpu.tr = Segment::new(0x40, SYSTEM + TSS, 0x67, Attributes(0x8b), true);
        cpu.rip = u64::from(CODE);
        cpu.fpu.empty = 0xff;
        cpu.update_mode();
        Guest { engine, memory, template: cpu }
    }
    /// Puts a program at [`CODE`].
    pub fn load(&mut self, code: &[u8]) {
        self.memory.write(CODE_AT, code);
    }
    /// Writes to [`SCRATCH`].
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.memory.write(SCRATCH_AT + offset as u64, bytes);
    }
    /// Reads the memory that programs can write to.
    pub fn read(&self, bytes: &mut [u8; WRITABLE]) {
        self.memory.read(SCRATCH_AT, bytes);
    }
    /// Runs the program from `start`; `None` when it does not end.
    pub fn run(&mut self, start: &Start) -> Option<Outcome> {
        let mut cpu = self.template.clone();
        for (n, &value) in (0..).zip(&start.gpr) {
            cpu.gpr.set(n, u64::from(value));
        }
        load_image(&mut cpu, &start.image);
        cpu.set_eflags(u64::from(start.flags));
        if start.flags & 1 << 18 != 0 {
            // Alignment checks are switched on from outside.
            self.engine.forget();
        }
        let (exit, _) = self.engine.run(&mut cpu, &mut self.memory, &mut Nobody, LONGEST);
        if exit != Exit::Halted {
            return None;
        }
        let vector = ((cpu.rip - 1 - SYSTEM - HANDLERS) / HANDLER) as u8;
        let mut at = cpu.gpr.get(4) - SYSTEM + SYSTEM_AT;
        let memory = &self.memory;
        let mut pop = || {
            let mut word = [0; 4];
            memory.read(at, &mut word);
            at += 4;
            u32::from_le_bytes(word)
        };
        let error = if matches!(vector, 8 | 10..=14 | 17) { pop() } else { 0 };
        let [eip, _, mut flags, esp] = [pop(), pop(), pop(), pop()];
        // The regular end is a jump through a selector that the guest does not have.
        let ended = eip == EXIT && vector == 13 && error == 0x30;
        if ended {
            flags &= !(1 << 16);
        }
        let mut gpr = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| cpu.gpr.get(n) as u32);
        gpr[4] = esp;
        let cr2 = cpu.cr2 as u32;
        Some(Outcome {
            gpr,
            flags,
            image: save_image(&cpu, &start.image),
            fault: (!ended).then_some((vector, error, cr2)),
            eip,
        })
    }
}

fn word(image: &[u8; 512], at: usize) -> u16 {
    u16::from_le_bytes([image[at], image[at + 1]])
}

fn load_image(cpu: &mut CpuState, image: &[u8; 512]) {
    let f = &mut cpu.fpu;
    f.control = word(image, 0);
    x87::load_status(f, word(image, 2));
    f.empty = !image[4];
    for n in 0..8 {
        let at = 32 + 16 * n;
        f.regs[(usize::from(f.top) + n) & 7] = F80::from_bytes(image[at..at + 10].try_into().unwrap());
        let at = 160 + 16 * n;
        cpu.xmm[n] = u128::from_le_bytes(image[at..at + 16].try_into().unwrap());
    }
    cpu.mxcsr = u32::from(word(image, 24));
}

fn save_image(cpu: &CpuState, start: &[u8; 512]) -> [u8; 512] {
    let mut image = *start;
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let f = &cpu.fpu;
    put(0, &f.control.to_le_bytes());
    put(2, &x87::status_word(f).to_le_bytes());
    put(4, &[!f.empty]);
    put(6, &f.opcode.to_le_bytes());
    put(8, &(f.ip as u32).to_le_bytes());
    put(16, &(f.dp as u32).to_le_bytes());
    for n in 0..8 {
        put(32 + 16 * n, &f.regs[(usize::from(f.top) + n) & 7].to_bytes());
        put(160 + 16 * n, &cpu.xmm[n].to_le_bytes());
    }
    put(24, &cpu.mxcsr.to_le_bytes());
    image
}
