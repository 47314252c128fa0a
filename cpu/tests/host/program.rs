//! Random programs of user-mode instructions.

use super::state::{CODE, EXIT, IMAGES, Random, SCRATCH};
use cpu::flags::bits;
use cpu::model::Model;
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, Mnemonic, OpKind,
    Register, RflagsBits,
};
use std::collections::BTreeMap;

/// An encoding without its operands.
#[derive(Clone, Copy)]
struct Template {
    prefix: Option<u8>,
    two_bytes: bool,
    opcode: u8,
    modrm: Option<u8>,
}

/// All encodings that programs are made of, by class and encoding.
pub struct Table {
    classes: [Vec<Vec<Template>>; 5],
}

/// How far a result may be from the host's.
#[derive(Clone, Copy, PartialEq)]
pub enum Exactness {
    Bits,
    /// Transcendental: one unit in the last place, and C1 with it.
    Close,
    /// RCP and RSQRT: any.
    Approximate,
}

#[derive(Clone)]
pub struct Item {
    pub bytes: Vec<u8>,
    pub instruction: Instruction,
    /// Near branches: how many instructions they jump over.
    skip: usize,
    /// Bytes of the displacement of a near branch; 0 for other instructions.
    relative: usize,
}

#[derive(Clone)]
pub struct Program {
    pub items: Vec<Item>,
}

/// A program at its place.
pub struct Layout {
    pub bytes: Vec<u8>,
    /// Address of each instruction, of the final jump, and of what follows.
    pub at: Vec<u32>,
}

fn decode(bytes: &[u8], ip: u32) -> Instruction {
    let options = DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD | DecoderOptions::NO_WBNOINVD;
    Decoder::with_ip(32, bytes, u64::from(ip), options | DecoderOptions::FORCE_RESERVED_NOP).decode()
}

fn has_modrm(two_bytes: bool, opcode: u8) -> bool {
    if two_bytes {
        !matches!(opcode, 5..=0xb | 0xe | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf)
    } else {
        match opcode {
            0..=0x3f => opcode & 7 < 4,
            0x62 | 0x63 | 0x69 | 0x6b | 0x80..=0x8f => true,
            0xc0 | 0xc1 | 0xc4..=0xc7 | 0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff => true,
            _ => false,
        }
    }
}

/// Whether an instruction belongs into programs: the model has it, it depends on nothing that differs between the
/// host's kernel and the guest, and the manual defines its result.
fn is_wanted(i: &Instruction) -> bool {
    use Mnemonic as M;
    if i.is_invalid() || !Model::Core.allows(i.cpuid_features(), i.code()) {
        return false;
    }
    let segments = (0..i.op_count()).any(|n| {
        i.op_kind(n) == OpKind::Register
            && (i.op_register(n).is_segment_register()
                || i.op_register(n).is_cr()
                || i.op_register(n).is_dr()
                || i.op_register(n).is_tr())
    });
    let far = matches!(i.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32)
        || i.is_call_far_indirect()
        || i.is_jmp_far_indirect();
    let undefined = match i.mnemonic() {
        M::Bswap => i.op0_register().size() == 2,
        // A count beyond 16 makes everything undefined.
        M::Shld | M::Shrd => {
            let word = i.op1_register().size() == 2;
            word && (i.op2_kind() == OpKind::Register || i.immediate8() & 31 > 16)
        }
        // Recent processors make these LZCNT and TZCNT.
        M::Bsf | M::Bsr => i.has_rep_prefix(),
        // With an empty mask it depends on the processor whether the address can fault.
        M::Maskmovq | M::Maskmovdqu => true,
        _ => false,
    };
    let other = matches!(
        i.mnemonic(),
        M::Int | M::Iret | M::Iretd | M::Retf | M::Syscall | M::Sysret | M::Sysenter | M::Sysexit
            | M::Cpuid | M::Rdtsc | M::Rdpmc | M::Rdmsr | M::Wrmsr
            // The kernel may emulate these.
            | M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw
            | M::Lar | M::Lsl | M::Verr | M::Verw | M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss
            | M::Rsm | M::Ud0 | M::Ud1 | M::Loadall
    );
    !(segments || far || undefined || other)
}

fn exactness(m: Mnemonic) -> Exactness {
    use Mnemonic as M;
    match m {
        M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos => Exactness::Close,
        M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss => Exactness::Approximate,
        _ => Exactness::Bits,
    }
}

/// Instructions that store x87 pointers, whose selectors modern processors no longer keep.
fn stores_pointers(i: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(i.mnemonic(), M::Fnstenv | M::Fstenv | M::Fnsave | M::Fsave | M::Fxsave)
}

/// Instructions after which the host's operand pointer is not that of the last unmasked exception.
fn loads_pointers(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Fldenv | Mnemonic::Frstor | Mnemonic::Fxrstor)
}

impl Table {
    pub fn new() -> Table {
        let mut by_code: BTreeMap<u16, (usize, Vec<Template>)> = BTreeMap::new();
        for prefix in [None, Some(0x66), Some(0xf3), Some(0xf2)] {
            for (two_bytes, opcode) in (0..=255).map(|o| (false, o)).chain((0..=255).map(|o| (true, o))) {
                if !two_bytes && matches!(opcode, 0x0f | 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3) {
                    continue;
                }
                let mut forms: Vec<Option<u8>> = vec![None];
                if has_modrm(two_bytes, opcode) {
                    // All register forms, and one memory form for each reg field.
                    forms = (0..8_u8).map(|reg| reg << 3 | 5).chain(0xc0..=0xff).map(Some).collect();
                }
                for modrm in forms {
                    let t = Template { prefix, two_bytes, opcode, modrm };
                    let mut bytes = t.head();
                    bytes.extend([0; 10]);
                    let i = decode(&bytes, CODE);
                    // The undefined counts come with immediates, which are zero here.
                    if is_wanted(&i) {
                        by_code.entry(i.code() as u16).or_insert((class(&i), Vec::new())).1.push(t);
                    }
                }
            }
        }
        let mut classes: [Vec<Vec<Template>>; 5] = Default::default();
        for (class, templates) in by_code.into_values() {
            classes[class].push(templates);
        }
        Table { classes }
    }
    /// Number of encodings.
    pub fn encodings(&self) -> usize {
        self.classes.iter().map(Vec::len).sum()
    }
    fn item(&self, random: &mut Random) -> Item {
        loop {
            // Integer, x87, MMX, SSE, string.
            let class = &self.classes[random.pick(&[0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4])];
            let code = &class[random.below(class.len() as u64) as usize];
            let template = random.pick(code);
            if let Some(item) = template.item(random) {
                return item;
            }
        }
    }
    /// A program of one to eight instructions.
    pub fn program(&self, random: &mut Random) -> Program {
        let wanted = 1 + random.below(8) as usize;
        let mut program = Program { items: Vec::new() };
        for _ in 0..4 * wanted {
            if program.items.len() == wanted {
                break;
            }
            program.items.push(self.item(random));
            if !program.is_defined() {
                program.items.pop();
            }
        }
        program
    }
}

fn class(i: &Instruction) -> usize {
    use CpuidFeature as F;
    let features = i.cpuid_features();
    if features.iter().any(|f| matches!(f, F::FPU | F::FPU287 | F::FPU387)) {
        1
    } else if features.contains(&F::MMX) {
        2
    } else if features.iter().any(|f| matches!(f, F::SSE | F::SSE2 | F::SSE3)) {
        3
    } else if i.is_string_instruction() {
        4
    } else {
        0
    }
}

impl Template {
    fn head(self) -> Vec<u8> {
        let mut bytes = Vec::from_iter(self.prefix);
        if self.two_bytes {
            bytes.push(0x0f);
        }
        bytes.push(self.opcode);
        bytes.extend(self.modrm);
        bytes
    }
    fn item(mut self, random: &mut Random) -> Option<Item> {
        let mut bytes = Vec::new();
        for (prefix, n) in [(0x67, 80), (0xf0, 40), (0x66, 40), (random.pick(&[0x26, 0x2e, 0x36, 0x3e]), 40)] {
            if random.one_in(n) {
                bytes.push(prefix);
            }
        }
        let mut address = Vec::new();
        let head = self.head();
        if let Some(modrm) = &mut self.modrm
            && *modrm < 0xc0
        {
            let reg = *modrm & 0x38;
            let i = decode(&[head, vec![0; 10]].concat(), CODE);
            if stores_pointers(&i) {
                *modrm = reg | 5;
                address.extend(IMAGES.to_le_bytes());
            } else if loads_pointers(&i) && !random.one_in(3) {
                *modrm = reg | 5;
                address.extend((SCRATCH + 0xa00).to_le_bytes());
            } else {
                let small = random.pick(&[0, 0, 1, 4, 8, 16, 32, 0x7f, 0x80, 0xf0, 0xf8, 0xfc, 0xff]);
                let pointer = random.pick(&[3, 6, 7, 5, 3, 6, 7, 0]);
                match random.below(8) {
                    0..=3 => {
                        *modrm = reg | 5;
                        address.extend((SCRATCH + random.window()).to_le_bytes());
                    }
                    4 => {
                        *modrm = reg | 0x40 | pointer;
                        address.push(small);
                    }
                    5 => *modrm = reg | random.pick(&[3, 6, 7]),
                    6 => {
                        *modrm = reg | 0x44;
                        let index = random.pick(&[1, 1, 1, 4, 4, 2, 0]);
                        address.push((random.below(4) as u8) << 6 | index << 3 | random.pick(&[3, 6, 7, 5, 4]));
                        address.push(small);
                    }
                    _ => {
                        *modrm = reg | 0x84;
                        address.push((random.below(4) as u8) << 6 | 1 << 3 | 5);
                        address.extend((SCRATCH + random.window()).to_le_bytes());
                        *modrm = reg | 4;
                    }
                }
            }
        }
        bytes.extend(self.head());
        bytes.extend(address);
        let immediate = match random.below(3) {
            0 => random.integer(),
            1 => random.below(40) as u32,
            _ => random.next() as u32,
        };
        // MOV with an absolute address needs one that exists.
        let absolute = !self.two_bytes && matches!(self.opcode, 0xa0..=0xa3);
        let immediate = if absolute { SCRATCH + random.window() } else { immediate };
        bytes.extend(immediate.to_le_bytes());
        bytes.extend([random.below(4) as u8, random.below(3) as u8, 0, 0]);
        let instruction = decode(&bytes, CODE);
        if instruction.is_invalid() || !is_wanted(&instruction) || instruction.len() > bytes.len().min(15) {
            return None;
        }
        bytes.truncate(instruction.len());
        let relative = match format!("{:?}", instruction.code()) {
            name if name.contains("rel8") => 1,
            name if name.contains("rel16") => 2,
            name if name.contains("rel32") => 4,
            _ => 0,
        };
        Some(Item { bytes, instruction, relative, skip: random.pick(&[0, 0, 1, 1, 2, 3]) })
    }
}

/// Flags as EFLAGS bits.
fn eflags(rflags: u32) -> u32 {
    [
        (RflagsBits::OF, bits::OF),
        (RflagsBits::SF, bits::SF),
        (RflagsBits::ZF, bits::ZF),
        (RflagsBits::AF, bits::AF),
        (RflagsBits::CF, bits::CF),
        (RflagsBits::PF, bits::PF),
    ]
    .iter()
    .map(|&(theirs, ours)| if rflags & theirs != 0 { ours as u32 } else { 0 })
    .sum()
}

/// The flags that an instruction leaves undefined.
fn undefined_flags(i: &Instruction) -> u32 {
    use Mnemonic as M;
    let mut flags = eflags(i.rflags_undefined());
    let width = match i.op0_kind() {
        OpKind::Register => i.op0_register().size() * 8,
        _ => i.memory_size().size() * 8,
    };
    let by_register = i.op_count() > 1 && i.op_register(1) == Register::CL && i.op1_kind() == OpKind::Register;
    match i.mnemonic() {
        // CF is undefined for counts of the width and beyond; OF for all but 1.
        M::Shl | M::Sal | M::Shr if by_register || i.immediate8() & 31 >= width as u8 => {
            flags |= bits::CF as u32;
        }
        _ => {}
    }
    if by_register && matches!(i.mnemonic(), M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr) {
        flags |= bits::OF as u32;
    }
    flags
}

/// The flags that an instruction may leave as they are although it defines them.
fn is_conditional(i: &Instruction) -> bool {
    i.op_count() > 1 && i.op1_kind() == OpKind::Register && i.op1_register() == Register::CL
        || i.op_count() > 2 && i.op2_kind() == OpKind::Register && i.op2_register() == Register::CL
        || i.has_rep_prefix()
        || i.has_repne_prefix()
}

impl Program {
    fn has_branches(&self) -> bool {
        self.items.iter().any(|item| item.instruction.flow_control() != FlowControl::Next)
    }
    /// The flags that are undefined before each instruction, and at the end; `None` when an instruction reads one.
    fn undefined(&self) -> Option<Vec<u32>> {
        let branches = self.has_branches();
        let mut now = 0;
        if branches {
            // What comes later may have been carried out before.
            now = self.items.iter().fold(0, |flags, item| flags | undefined_flags(&item.instruction));
        }
        let mut all = vec![now];
        for item in &self.items {
            let i = &item.instruction;
            if eflags(i.rflags_read()) & now != 0 {
                return None;
            }
            if !branches && !is_conditional(i) {
                now &= !eflags(i.rflags_modified());
            }
            now |= undefined_flags(i);
            all.push(now);
        }
        Some(all)
    }
    /// Whether its results are, with the bounds that [`Program::exactness`] tells.
    pub fn is_defined(&self) -> bool {
        let Some((_, before)) = self.items.split_last() else { return true };
        let exact = |item: &Item| {
            exactness(item.instruction.mnemonic()) == Exactness::Bits && !stores_pointers(&item.instruction)
        };
        before.iter().all(exact) && self.undefined().is_some()
    }
    pub fn exactness(&self) -> Exactness {
        self.items.last().map_or(Exactness::Bits, |item| exactness(item.instruction.mnemonic()))
    }
    /// The instruction at `eip`.
    pub fn at(&self, layout: &Layout, eip: u32) -> Option<&Instruction> {
        let n = layout.at.iter().position(|&at| at == eip)?;
        self.items.get(n).map(|item| &item.instruction)
    }
    /// Whether the last instruction stores x87 pointers at [`IMAGES`].
    pub fn stores_pointers(&self) -> Option<Mnemonic> {
        self.items.last().filter(|item| stores_pointers(&item.instruction)).map(|item| item.instruction.mnemonic())
    }
    pub fn loads_pointers(&self) -> bool {
        self.items.iter().any(|item| loads_pointers(&item.instruction))
    }
    /// The status flags that are undefined when the program leaves at `eip`.
    pub fn undefined_at(&self, layout: &Layout, eip: u32) -> u32 {
        let all = self.undefined().unwrap_or_default();
        // A branch may have led back, after instructions that come later.
        match layout.at.iter().position(|&at| at == eip).filter(|_| !self.has_branches()) {
            Some(n) if n < self.items.len() => all[n] | undefined_flags(&self.items[n].instruction),
            None if eip == EXIT && !self.has_branches() => all[self.items.len()],
            _ => all.iter().fold(0, |a, b| a | b),
        }
    }
    pub fn layout(&self) -> Layout {
        let mut at = vec![CODE];
        for item in &self.items {
            at.push(at[at.len() - 1] + item.bytes.len() as u32);
        }
        let end = at[at.len() - 1];
        at.push(end + 5);
        let mut bytes = Vec::new();
        for (n, item) in self.items.iter().enumerate() {
            bytes.extend(&item.bytes);
            if item.relative != 0 {
                let distance = at[(n + 1 + item.skip).min(self.items.len())] - at[n + 1];
                let start = bytes.len() - item.relative;
                bytes[start..].fill(0);
                bytes[start] = distance as u8;
            }
        }
        bytes.push(0xe9);
        bytes.extend((EXIT - (end + 5)).to_le_bytes());
        Layout { bytes, at }
    }
    /// The instructions as text.
    pub fn text(&self) -> String {
        let layout = self.layout();
        let mut formatter = IntelFormatter::new();
        let mut all = Vec::new();
        for n in 0..self.items.len() {
            let from = (layout.at[n] - CODE) as usize;
            let mut text = String::new();
            formatter.format(&decode(&layout.bytes[from..], layout.at[n]), &mut text);
            all.push(text);
        }
        all.join("; ")
    }
    /// The encodings of the instructions.
    pub fn codes(&self) -> Vec<Code> {
        self.items.iter().map(|item| item.instruction.code()).collect()
    }
}
