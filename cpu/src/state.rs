//! The architectural state of one processor. It is 64 bits wide throughout, whatever the model.

use crate::flags::{LazyFlags, bits};
use crate::model::Model;
use crate::softfloat::F80;
use serde::{Deserialize, Serialize};

/// Operand width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Word = 2,
    /// 32 bits.
    Dword = 4,
    /// 64 bits.
    Qword = 8,
}

impl Width {
    /// Number of bytes: 1, 2, 4 or 8.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self as u64
    }
    /// Number of bits: 8, 16, 32 or 64.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self as u32 * 8
    }
    /// A mask with the low `bits()` bits set.
    #[inline(always)]
    #[must_use]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
    /// The low `bits()` bits of `value` as a signed number.
    #[inline(always)]
    #[must_use]
    pub const fn sign_extend(self, value: u64) -> i64 {
        let shift = 64 - self.bits();
        ((value << shift) as i64) >> shift
    }
    /// The width of `bytes` bytes; `None` when there is none.
    #[must_use]
    pub const fn of_bytes(bytes: usize) -> Option<Width> {
        match bytes {
            1 => Some(Width::Byte),
            2 => Some(Width::Word),
            4 => Some(Width::Dword),
            8 => Some(Width::Qword),
            _ => None,
        }
    }
}

/// General-purpose register numbers as instructions encode them.
#[allow(missing_docs, reason = "the names are the manual's")]
pub mod gpr {
    pub const AX: u8 = 0;
    pub const CX: u8 = 1;
    pub const DX: u8 = 2;
    pub const BX: u8 = 3;
    pub const SP: u8 = 4;
    pub const BP: u8 = 5;
    pub const SI: u8 = 6;
    pub const DI: u8 = 7;
    /// Reads as zero; stands for "no register" in addresses.
    pub const NONE: u8 = 16;
}

/// The general-purpose registers. Slot [`gpr::NONE`] always reads as zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Gprs([u64; 32]);

impl Gprs {
    /// All zero.
    #[must_use]
    pub const fn new() -> Gprs {
        Gprs([0; 32])
    }
    /// The whole 64-bit register `index` (0–15; 16 is the constant zero).
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: u8) -> u64 {
        self.0[(index & 31) as usize]
    }
    /// Replaces the whole 64-bit register `index`.
    #[inline(always)]
    pub fn set(&mut self, index: u8, value: u64) {
        self.0[(index & 15) as usize] = value;
    }
    /// The low `width` bits of register `index`. Byte registers here are the low bytes only.
    #[inline(always)]
    #[must_use]
    pub fn read(&self, index: u8, width: Width) -> u64 {
        self.get(index) & width.mask()
    }
    /// Writes register `index` as an instruction of operand width `width` does: 8 and 16 bits
    /// keep the rest, 32 bits clear the upper half.
    #[inline(always)]
    pub fn write(&mut self, index: u8, width: Width, value: u64) {
        let slot = &mut self.0[(index & 15) as usize];
        *slot = match width {
            Width::Byte | Width::Word => *slot & !width.mask() | value & width.mask(),
            Width::Dword => value & 0xffff_ffff,
            Width::Qword => value,
        };
    }
    /// Bits 15–8 of register `index`: AH, CH, DH, BH for 0–3.
    #[inline(always)]
    #[must_use]
    pub fn read_high(&self, index: u8) -> u64 {
        self.get(index) >> 8 & 0xff
    }
    /// Writes bits 15–8 of register `index`.
    #[inline(always)]
    pub fn write_high(&mut self, index: u8, value: u64) {
        let slot = &mut self.0[(index & 15) as usize];
        *slot = *slot & !0xff00 | (value & 0xff) << 8;
    }
}

impl Default for Gprs {
    fn default() -> Self {
        Gprs::new()
    }
}

/// Segment registers, numbered as instructions encode them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the manual's")]
pub enum Seg {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

impl Seg {
    /// All six in encoding order.
    pub const ALL: [Seg; 6] = [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs];
}

/// The access byte and flags of a descriptor, packed as bits 8–15 and 20–23 of its upper dword
/// are, moved down: bits 0–3 type, 4 S, 5–6 DPL, 7 P, 8 AVL, 9 L, 10 D/B, 11 G.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes(pub u16);

#[allow(missing_docs, reason = "the names are the manual's")]
impl Attributes {
    /// A present, writable, accessed data segment of DPL 0, as real mode has it.
    pub const REAL_DATA: Attributes = Attributes(0x93);
    /// As real mode has CS after reset: present, readable, accessed code.
    pub const REAL_CODE: Attributes = Attributes(0x9b);
    /// In virtual-8086 mode every segment is a writable data segment of DPL 3.
    pub const V86: Attributes = Attributes(0xf3);

    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 & 15) as u8
    }
    /// Code or data, not system.
    #[must_use]
    pub const fn is_code_or_data(self) -> bool {
        self.0 & 0x10 != 0
    }
    #[must_use]
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5 & 3) as u8
    }
    #[must_use]
    pub const fn present(self) -> bool {
        self.0 & 0x80 != 0
    }
    #[must_use]
    pub const fn long(self) -> bool {
        self.0 & 0x200 != 0
    }
    /// D/B: 32-bit code, 32-bit stack pointer, or 4 GiB upper bound of an expand-down segment.
    #[must_use]
    pub const fn big(self) -> bool {
        self.0 & 0x400 != 0
    }
    #[must_use]
    pub const fn granular(self) -> bool {
        self.0 & 0x800 != 0
    }
    #[must_use]
    pub const fn is_code(self) -> bool {
        self.0 & 0x18 == 0x18
    }
    #[must_use]
    pub const fn is_data(self) -> bool {
        self.0 & 0x18 == 0x10
    }
    #[must_use]
    pub const fn conforming(self) -> bool {
        self.0 & 0x1c == 0x1c
    }
    #[must_use]
    pub const fn expand_down(self) -> bool {
        self.0 & 0x1c == 0x14
    }
    #[must_use]
    pub const fn readable(self) -> bool {
        self.is_data() || self.0 & 0x1a == 0x1a
    }
    #[must_use]
    pub const fn writable(self) -> bool {
        self.0 & 0x1a == 0x12
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Base of the segment in linear addresses.
    pub base: u64,
    /// Limit in bytes, granularity applied: the last valid offset of an expand-up segment.
    pub limit: u32,
    /// Type and flags.
    pub attributes: Attributes,
    /// Whether it may be used at all: false after loading a null selector.
    pub usable: bool,
    /// One more than the last offset that a read may touch without a closer look; 0 when every
    /// read needs one (unusable, unreadable, expand-down).
    pub read_end: u64,
    /// The same for writes.
    pub write_end: u64,
}

impl Default for Segment {
    fn default() -> Self {
        Segment::real(0)
    }
}

impl Segment {
    /// A segment as real mode loads it: base is 16 × selector, limit 64 KiB.
    #[must_use]
    pub fn real(selector: u16) -> Segment {
        Segment::new(selector, u64::from(selector) << 4, 0xffff, Attributes::REAL_DATA, true)
    }
    /// A segment with the derived fields filled in.
    #[must_use]
    pub fn new(selector: u16, base: u64, limit: u32, attributes: Attributes, usable: bool) -> Segment {
        let mut s = Segment { selector, base, limit, attributes, usable, read_end: 0, write_end: 0 };
        s.derive();
        s
    }
    /// Recomputes `read_end` and `write_end`; call after changing any other field.
    pub fn derive(&mut self) {
        let plain = self.usable
            && self.attributes.present()
            && self.attributes.is_code_or_data()
            && !self.attributes.expand_down();
        let end = u64::from(self.limit) + 1;
        self.read_end = if plain && self.attributes.readable() { end } else { 0 };
        self.write_end = if plain && self.attributes.writable() { end } else { 0 };
    }
    /// Base 0 and limit 4 GiB, readable and writable.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.base == 0 && self.write_end == 1 << 32
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Linear address of the table.
    pub base: u64,
    /// Last valid byte offset.
    pub limit: u16,
}

/// CR0 bits.
#[allow(missing_docs, reason = "the names are the manual's")]
pub mod cr0 {
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}
/// CR4 bits.
#[allow(missing_docs, reason = "the names are the manual's")]
pub mod cr4 {
    pub const VME: u64 = 1 << 0;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
}
/// EFER bits.
#[allow(missing_docs, reason = "the names are the manual's")]
pub mod efer {
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
}

/// x87 state. `regs` is indexed by physical register; ST(i) is `regs[(top + i) & 7]`.
/// MMX registers are the mantissas of the physical registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fpu {
    /// The eight physical registers R0–R7.
    pub regs: [F80; 8],
    /// Top of stack, 0–7 (bits 11–13 of the status word are taken from here).
    pub top: u8,
    /// Control word.
    pub control: u16,
    /// Status word without TOP (those bits are zero here).
    pub status: u16,
    /// Tag bits: bit i set when physical register i is empty.
    pub empty: u8,
    /// Last instruction opcode (11 bits).
    pub opcode: u16,
    /// Last instruction pointer: offset and selector.
    pub ip: u64,
    /// Selector of the last instruction.
    pub cs: u16,
    /// Last operand pointer.
    pub dp: u64,
    /// Selector of the last operand.
    pub ds: u16,
}

impl Default for Fpu {
    fn default() -> Self {
        // State after FNINIT.
        Fpu {
            regs: [F80::default(); 8],
            top: 0,
            control: 0x37f,
            status: 0,
            empty: 0xff,
            opcode: 0,
            ip: 0,
            cs: 0,
            dp: 0,
            ds: 0,
        }
    }
}

/// Model-specific registers that are plain storage, and those with meaning to the processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msrs {
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_SYSENTER_CS, _ESP, _EIP.
    pub sysenter: [u64; 3],
    /// IA32_APIC_BASE.
    pub apic_base: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_MTRR_DEF_TYPE.
    pub mtrr_def_type: u64,
    /// IA32_MTRR_PHYSBASEn and PHYSMASKn, interleaved.
    pub mtrr_variable: [u64; 16],
    /// The eleven fixed-range MTRRs (64K, 16K ×2, 4K ×8).
    pub mtrr_fixed: [u64; 11],
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_BIOS_SIGN_ID.
    pub bios_sign: u64,
    /// MCG and machine-check banks as plain storage (MCG_STATUS, MCG_CTL, then MCi_*).
    pub machine_check: [u64; 24],
    /// IA32_DEBUGCTL and last-branch storage.
    pub debugctl: u64,
    /// TSC_AUX, STAR, LSTAR, CSTAR, FMASK, FS_BASE, GS_BASE, KERNEL_GS_BASE: for long mode.
    pub long_mode: [u64; 8],
}

impl Default for Msrs {
    fn default() -> Self {
        Msrs {
            efer: 0,
            sysenter: [0; 3],
            apic_base: 0xfee0_0900,
            pat: 0x0007_0406_0007_0406,
            mtrr_def_type: 0,
            mtrr_variable: [0; 16],
            mtrr_fixed: [0; 11],
            misc_enable: 0,
            bios_sign: 0,
            machine_check: [0; 24],
            debugctl: 0,
            long_mode: [0; 8],
        }
    }
}

/// What the processor is doing between instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Executing instructions.
    #[default]
    Running,
    /// After HLT: waits for an interrupt, NMI or reset.
    Halted,
    /// After a triple fault: waits for reset (or NMI).
    Shutdown,
}

/// An exception on its way to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Vector number.
    pub vector: u8,
    /// Error code, for the vectors that push one.
    pub error: Option<u32>,
    /// New value of CR2, for page faults.
    pub cr2: Option<u64>,
    /// Trap: RIP is that of the next instruction (#DB traps, INT n); else fault.
    pub is_trap: bool,
}

/// Facts about the mode in which code is decoded and executed. Two equal values mean that the
/// same bytes at the same IP decode to the same operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mode(pub u16);

#[allow(missing_docs, reason = "the names are the manual's")]
impl Mode {
    /// CS.D: default operand and address size 32 bits.
    pub const CODE32: u16 = 1 << 0;
    /// SS.B: the stack pointer is ESP.
    pub const STACK32: u16 = 1 << 1;
    /// DS, ES and SS are flat: base 0, limit 4 GiB, writable.
    pub const FLAT: u16 = 1 << 2;
    /// CPL is 3.
    pub const USER: u16 = 1 << 3;
    /// CR0.PE.
    pub const PROTECTED: u16 = 1 << 4;
    /// EFLAGS.VM.
    pub const VM86: u16 = 1 << 5;
    /// 64-bit code.
    pub const LONG: u16 = 1 << 6;
    /// Alignment checks are on (CR0.AM, EFLAGS.AC, CPL 3).
    pub const ALIGN: u16 = 1 << 7;
    /// CS is flat: base 0, limit 4 GiB.
    pub const FLAT_CODE: u16 = 1 << 8;

    #[inline(always)]
    #[must_use]
    pub const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }
    /// 16, 32 or 64: the bitness for the decoder.
    #[must_use]
    pub const fn bitness(self) -> u32 {
        if self.has(Mode::LONG) {
            64
        } else if self.has(Mode::CODE32) {
            32
        } else {
            16
        }
    }
    /// Width of the stack pointer.
    #[inline(always)]
    #[must_use]
    pub const fn stack_width(self) -> Width {
        if self.has(Mode::LONG) {
            Width::Qword
        } else if self.has(Mode::STACK32) {
            Width::Dword
        } else {
            Width::Word
        }
    }
    /// Neither protected nor virtual-8086 mode.
    #[must_use]
    pub const fn is_real(self) -> bool {
        self.0 & (Mode::PROTECTED | Mode::VM86) == 0
    }
}

/// The complete state of one processor, as it stands between two instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuState {
    /// General-purpose registers.
    pub gpr: Gprs,
    /// Offset of the next instruction in CS.
    pub rip: u64,
    /// The six status flags.
    pub lazy: LazyFlags,
    /// All other EFLAGS bits; the status bits are zero here. DF, IF, TF, IOPL, NT, RF, VM, …
    pub system_flags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub seg: [Segment; 6],
    /// Local descriptor table register.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table register.
    pub gdtr: Table,
    /// Interrupt descriptor table register.
    pub idtr: Table,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The four page-directory pointers that PAE paging loads with CR3.
    pub pdpte: [u64; 4],
    /// DR0–DR7 (4 and 5 unused).
    pub dr: [u64; 8],
    /// Current privilege level.
    pub cpl: u8,
    /// Derived: see [`Mode`]. Call [`CpuState::update_mode`] after changing what it rests on.
    pub mode: Mode,
    /// Derived with `mode`: which half of the TLB is in use, as an index offset.
    pub tlb_half: usize,
    /// x87 and MMX.
    pub fpu: Fpu,
    /// XMM0–XMM15.
    pub xmm: [u128; 16],
    /// MXCSR.
    pub mxcsr: u32,
    /// Model-specific registers.
    pub msr: Msrs,
    /// Which processor this is.
    pub model: Model,
    /// CPUID tells of a hypervisor: of KVM without any of its features. Guests then look for what
    /// only a virtual machine has, such as an absolute pointer.
    pub hypervisor: bool,
    /// Running, halted or shut down.
    pub activity: Activity,
    /// Interrupts (and after MOV SS also debug traps and NMI) are held off for one instruction.
    pub shadow: Shadow,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// Level of the INTR pin, set by the board.
    pub intr: bool,
    /// An NMI edge waits to be taken.
    pub nmi_pending: bool,
    /// A20 gate: false masks address bit 20.
    pub a20: bool,
    /// Debug trap conditions collected by the current instruction, as DR6 bits.
    pub pending_debug: u64,
    /// Guest time in units of one instruction: retired instructions plus time skipped in HLT.
    pub ticks: u64,
    /// Instructions retired since reset; iterations of REP count one each.
    pub retired: u64,
    /// Time-stamp counter minus `ticks * tsc_per_tick`.
    pub tsc_offset: u64,
    /// Time-stamp counter increments per tick.
    pub tsc_per_tick: u32,
    /// The FERR# pin: an instruction has found an unmasked x87 exception waiting while CR0.NE was
    /// clear (IRQ 13 on a PC), and it still waits.
    pub ferr: bool,
}

/// Interrupt shadow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shadow {
    /// None.
    #[default]
    None,
    /// The previous instruction was STI that set IF: maskable interrupts wait for one instruction.
    Sti,
    /// The previous instruction loaded SS: interrupts, NMI and debug exceptions wait.
    MovSs,
}

impl CpuState {
    /// The state after RESET of a processor of `model`.
    #[must_use]
    pub fn new(model: Model) -> CpuState {
        let mut cpu = CpuState {
            gpr: Gprs::new(),
            rip: 0xfff0,
            lazy: LazyFlags::default(),
            system_flags: 0,
            seg: [Segment::real(0); 6],
            ldtr: Segment::new(0, 0, 0xffff, Attributes(0x82), true),
            tr: Segment::new(0, 0, 0xffff, Attributes(0x8b), true),
            gdtr: Table { base: 0, limit: 0xffff },
            idtr: Table { base: 0, limit: 0x3ff },
            cr0: model.reset_cr0(),
            cr2: 0,
            cr3: 0,
            cr4: 0,
            pdpte: [0; 4],
            dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            cpl: 0,
            mode: Mode::default(),
            tlb_half: 0,
            fpu: Fpu { control: 0x40, empty: 0, ..Fpu::default() },
            xmm: [0; 16],
            mxcsr: 0x1f80,
            msr: Msrs::default(),
            model,
            hypervisor: false,
            activity: Activity::Running,
            shadow: Shadow::None,
            nmi_blocked: false,
            intr: false,
            nmi_pending: false,
            a20: true,
            pending_debug: 0,
            ticks: 0,
            retired: 0,
            tsc_offset: 0,
            tsc_per_tick: 1,
            ferr: false,
        };
        cpu.gpr.set(gpr::DX, u64::from(model.reset_edx()));
        let (selector, base) = model.reset_cs();
        cpu.rip = model.reset_ip();
        cpu.seg[Seg::Cs as usize] = Segment::new(selector, base, 0xffff, Attributes::REAL_CODE, true);
        // A code segment in real mode can be written to as well; the descriptor cache says so.
        cpu.seg[Seg::Cs as usize].attributes = Attributes::REAL_DATA;
        cpu.seg[Seg::Cs as usize].derive();
        cpu.update_mode();
        cpu
    }

    /// Back to the state after RESET. Guest time and the retired count go on; `a20`, `intr` stay.
    pub fn reset(&mut self) {
        let fresh = CpuState::new(self.model);
        let old = std::mem::replace(self, fresh);
        self.ticks = old.ticks;
        self.retired = old.retired;
        self.hypervisor = old.hypervisor;
        self.tsc_per_tick = old.tsc_per_tick;
        self.tsc_offset = (old.ticks.wrapping_mul(u64::from(old.tsc_per_tick))).wrapping_neg();
        self.a20 = old.a20;
        self.intr = old.intr;
    }

    /// The whole EFLAGS register, status flags computed, reserved bit 1 set.
    #[must_use]
    pub fn eflags(&self) -> u64 {
        self.system_flags & !bits::STATUS | self.lazy.bits() | bits::RESERVED_ONE
    }
    /// Replaces EFLAGS wholesale; the caller has decided which bits may change.
    pub fn set_eflags(&mut self, value: u64) {
        self.lazy.set_all(value);
        self.system_flags = value & !(bits::STATUS | bits::RESERVED_ONE);
        self.update_mode();
    }
    /// Whether a system flag (not one of the six status flags) is set.
    #[inline(always)]
    #[must_use]
    pub fn flag(&self, bit: u64) -> bool {
        self.system_flags & bit != 0
    }
    /// IOPL, 0–3.
    #[must_use]
    pub fn iopl(&self) -> u8 {
        (self.system_flags >> 12 & 3) as u8
    }
    /// A segment register.
    #[inline(always)]
    #[must_use]
    pub fn segment(&self, seg: Seg) -> &Segment {
        &self.seg[seg as usize]
    }
    /// CR0.PE.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.cr0 & cr0::PE != 0
    }
    /// EFLAGS.VM.
    #[must_use]
    pub fn v86(&self) -> bool {
        self.system_flags & bits::VM != 0
    }
    /// CR0.PG.
    #[must_use]
    pub fn paging(&self) -> bool {
        self.cr0 & cr0::PG != 0
    }
    /// Recomputes [`CpuState::mode`]. To be called after a change of CR0.PE/AM, EFER.LMA,
    /// EFLAGS.VM/AC, CPL, CS, SS, DS or ES.
    pub fn update_mode(&mut self) {
        let cs = &self.seg[Seg::Cs as usize];
        let ss = &self.seg[Seg::Ss as usize];
        let mut m = 0;
        if cs.attributes.big() {
            m |= Mode::CODE32;
        }
        if ss.attributes.big() {
            m |= Mode::STACK32;
        }
        if [Seg::Ds, Seg::Es, Seg::Ss].iter().all(|&s| self.seg[s as usize].is_flat()) {
            m |= Mode::FLAT;
        }
        if cs.base == 0 && cs.limit == u32::MAX {
            m |= Mode::FLAT_CODE;
        }
        if self.cpl == 3 {
            m |= Mode::USER;
        }
        if self.protected() {
            m |= Mode::PROTECTED;
        }
        if self.v86() {
            m |= Mode::VM86;
        }
        if self.msr.efer & efer::LMA != 0 && cs.attributes.long() {
            m |= Mode::LONG;
        }
        if self.cpl == 3 && self.cr0 & cr0::AM != 0 && self.system_flags & bits::AC != 0 {
            m |= Mode::ALIGN;
        }
        self.mode = Mode(m);
        self.tlb_half = if self.cpl == 3 { crate::tlb::ENTRIES } else { 0 };
    }
    /// The time-stamp counter at `ticks`.
    #[must_use]
    pub fn tsc_at(&self, ticks: u64) -> u64 {
        ticks.wrapping_mul(u64::from(self.tsc_per_tick)).wrapping_add(self.tsc_offset)
    }
}
