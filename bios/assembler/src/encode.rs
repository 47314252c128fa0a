//! Instructions: operands parsed, the opcode chosen, the bytes appended.
//!
//! Opcode values: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.

use crate::expression::{Cursor, TERM, Value, evaluate};
use crate::lexer::Token;
use crate::passes::Assembler;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Byte,
    Word,
    Dword,
    Segment,
    Control,
    Breakpoint,
    Mmx,
    Xmm,
    Stack,
}
use Class::{Breakpoint, Byte, Control, Dword, Mmx, Segment, Stack, Word, Xmm};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Register {
    class: Class,
    number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Memory {
    segment: Option<u8>,
    base: Option<Register>,
    index: Option<(Register, u8)>,
    displacement: Value,
    address_bits: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Register(Register),
    Memory(Memory),
    Immediate(Value),
    Far(Value, Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distance {
    Short,
    Near,
    Far,
}

#[derive(Clone, Copy, Debug)]
struct Operand {
    kind: Kind,
    size: Option<u8>,
    distance: Option<Distance>,
}

const BYTES: [&str; 8] = ["al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"];
const WORDS: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
const OVERRIDES: [u8; 6] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
#[rustfmt::skip]
const CONDITIONS: [(&str, u8); 30] = [
    ("o", 0), ("no", 1), ("b", 2), ("c", 2), ("nae", 2), ("ae", 3), ("nb", 3), ("nc", 3), ("e", 4), ("z", 4),
    ("ne", 5), ("nz", 5), ("be", 6), ("na", 6), ("a", 7), ("nbe", 7), ("s", 8), ("ns", 9), ("p", 10), ("pe", 10),
    ("np", 11), ("po", 11), ("l", 12), ("nge", 12), ("ge", 13), ("nl", 13), ("le", 14), ("ng", 14), ("g", 15),
    ("nle", 15),
];
const ARITHMETIC: [&str; 8] = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];
const SHIFTS: [(&str, u8); 8] =
    [("rol", 0), ("ror", 1), ("rcl", 2), ("rcr", 3), ("shl", 4), ("sal", 4), ("shr", 5), ("sar", 7)];

/// Without operands: name, operand size that needs a prefix when it is not the code's own, bytes.
#[rustfmt::skip]
const PLAIN: &[(&str, u8, &[u8])] = &[
    ("aaa", 0, &[0x37]), ("aas", 0, &[0x3f]), ("daa", 0, &[0x27]), ("das", 0, &[0x2f]),
    ("cbw", 2, &[0x98]), ("cwde", 4, &[0x98]), ("cwd", 2, &[0x99]), ("cdq", 4, &[0x99]),
    ("clc", 0, &[0xf8]), ("stc", 0, &[0xf9]), ("cli", 0, &[0xfa]), ("sti", 0, &[0xfb]), ("cld", 0, &[0xfc]),
    ("std", 0, &[0xfd]), ("cmc", 0, &[0xf5]), ("hlt", 0, &[0xf4]), ("nop", 0, &[0x90]), ("pause", 0, &[0xf3, 0x90]),
    ("wait", 0, &[0x9b]), ("fwait", 0, &[0x9b]), ("lahf", 0, &[0x9f]), ("sahf", 0, &[0x9e]), ("salc", 0, &[0xd6]),
    ("xlatb", 0, &[0xd7]), ("xlat", 0, &[0xd7]), ("leave", 0, &[0xc9]), ("int3", 0, &[0xcc]), ("int1", 0, &[0xf1]),
    ("into", 0, &[0xce]), ("iret", 0, &[0xcf]), ("iretw", 2, &[0xcf]), ("iretd", 4, &[0xcf]),
    ("pusha", 0, &[0x60]), ("pushaw", 2, &[0x60]), ("pushad", 4, &[0x60]),
    ("popa", 0, &[0x61]), ("popaw", 2, &[0x61]), ("popad", 4, &[0x61]),
    ("pushf", 0, &[0x9c]), ("pushfw", 2, &[0x9c]), ("pushfd", 4, &[0x9c]),
    ("popf", 0, &[0x9d]), ("popfw", 2, &[0x9d]), ("popfd", 4, &[0x9d]),
    ("movsb", 0, &[0xa4]), ("movsw", 2, &[0xa5]), ("movsd", 4, &[0xa5]),
    ("cmpsb", 0, &[0xa6]), ("cmpsw", 2, &[0xa7]), ("cmpsd", 4, &[0xa7]),
    ("stosb", 0, &[0xaa]), ("stosw", 2, &[0xab]), ("stosd", 4, &[0xab]),
    ("lodsb", 0, &[0xac]), ("lodsw", 2, &[0xad]), ("lodsd", 4, &[0xad]),
    ("scasb", 0, &[0xae]), ("scasw", 2, &[0xaf]), ("scasd", 4, &[0xaf]),
    ("insb", 0, &[0x6c]), ("insw", 2, &[0x6d]), ("insd", 4, &[0x6d]),
    ("outsb", 0, &[0x6e]), ("outsw", 2, &[0x6f]), ("outsd", 4, &[0x6f]),
    ("clts", 0, &[0x0f, 0x06]), ("invd", 0, &[0x0f, 0x08]), ("wbinvd", 0, &[0x0f, 0x09]), ("ud2", 0, &[0x0f, 0x0b]),
    ("wrmsr", 0, &[0x0f, 0x30]), ("rdtsc", 0, &[0x0f, 0x31]), ("rdmsr", 0, &[0x0f, 0x32]), ("rdpmc", 0, &[0x0f, 0x33]),
    ("sysenter", 0, &[0x0f, 0x34]), ("sysexit", 0, &[0x0f, 0x35]), ("emms", 0, &[0x0f, 0x77]),
    ("cpuid", 0, &[0x0f, 0xa2]), ("rsm", 0, &[0x0f, 0xaa]), ("lfence", 0, &[0x0f, 0xae, 0xe8]),
    ("mfence", 0, &[0x0f, 0xae, 0xf0]), ("sfence", 0, &[0x0f, 0xae, 0xf8]),
    ("fninit", 0, &[0xdb, 0xe3]), ("finit", 0, &[0x9b, 0xdb, 0xe3]), ("fnclex", 0, &[0xdb, 0xe2]),
    ("fld1", 0, &[0xd9, 0xe8]), ("fldl2t", 0, &[0xd9, 0xe9]), ("fldl2e", 0, &[0xd9, 0xea]), ("fldpi", 0, &[0xd9, 0xeb]),
    ("fldlg2", 0, &[0xd9, 0xec]), ("fldln2", 0, &[0xd9, 0xed]), ("fldz", 0, &[0xd9, 0xee]),
    ("fchs", 0, &[0xd9, 0xe0]), ("fabs", 0, &[0xd9, 0xe1]), ("ftst", 0, &[0xd9, 0xe4]), ("fxam", 0, &[0xd9, 0xe5]),
    ("f2xm1", 0, &[0xd9, 0xf0]), ("fyl2x", 0, &[0xd9, 0xf1]), ("fptan", 0, &[0xd9, 0xf2]), ("fpatan", 0, &[0xd9, 0xf3]),
    ("fxtract", 0, &[0xd9, 0xf4]), ("fprem1", 0, &[0xd9, 0xf5]), ("fdecstp", 0, &[0xd9, 0xf6]),
    ("fincstp", 0, &[0xd9, 0xf7]), ("fprem", 0, &[0xd9, 0xf8]), ("fyl2xp1", 0, &[0xd9, 0xf9]), ("fsqrt", 0, &[0xd9, 0xfa]),
    ("fsincos", 0, &[0xd9, 0xfb]), ("frndint", 0, &[0xd9, 0xfc]), ("fscale", 0, &[0xd9, 0xfd]), ("fsin", 0, &[0xd9, 0xfe]),
    ("fcos", 0, &[0xd9, 0xff]), ("fcompp", 0, &[0xde, 0xd9]), ("faddp", 0, &[0xde, 0xc1]), ("fmulp", 0, &[0xde, 0xc9]),
    ("fsubp", 0, &[0xde, 0xe9]), ("fsubrp", 0, &[0xde, 0xe1]), ("fdivp", 0, &[0xde, 0xf9]), ("fdivrp", 0, &[0xde, 0xf1]),
    ("fnop", 0, &[0xd9, 0xd0]),
];

/// One memory operand whose size does not matter: name, opcode, digit.
#[rustfmt::skip]
const MEMORY_ONLY: &[(&str, &[u8], u8)] = &[
    ("lgdt", &[0x0f, 0x01], 2), ("lidt", &[0x0f, 0x01], 3), ("sgdt", &[0x0f, 0x01], 0), ("sidt", &[0x0f, 0x01], 1),
    ("invlpg", &[0x0f, 0x01], 7), ("cmpxchg8b", &[0x0f, 0xc7], 1), ("fxsave", &[0x0f, 0xae], 0),
    ("fxrstor", &[0x0f, 0xae], 1), ("ldmxcsr", &[0x0f, 0xae], 2), ("stmxcsr", &[0x0f, 0xae], 3),
    ("clflush", &[0x0f, 0xae], 7), ("fldcw", &[0xd9], 5), ("fnstcw", &[0xd9], 7), ("fldenv", &[0xd9], 4),
    ("fnstenv", &[0xd9], 6), ("fnsave", &[0xdd], 6), ("frstor", &[0xdd], 4), ("prefetchnta", &[0x0f, 0x18], 0),
    ("prefetcht0", &[0x0f, 0x18], 1), ("fbld", &[0xdf], 4), ("fbstp", &[0xdf], 6),
];

/// x87 on memory: name, then opcode and digit for word, dword, qword and tword (0xff: not there).
#[rustfmt::skip]
const FLOAT_MEMORY: &[(&str, [(u8, u8); 4])] = &[
    ("fld", [(0xff, 0), (0xd9, 0), (0xdd, 0), (0xdb, 5)]), ("fst", [(0xff, 0), (0xd9, 2), (0xdd, 2), (0xff, 0)]),
    ("fstp", [(0xff, 0), (0xd9, 3), (0xdd, 3), (0xdb, 7)]), ("fild", [(0xdf, 0), (0xdb, 0), (0xdf, 5), (0xff, 0)]),
    ("fist", [(0xdf, 2), (0xdb, 2), (0xff, 0), (0xff, 0)]), ("fistp", [(0xdf, 3), (0xdb, 3), (0xdf, 7), (0xff, 0)]),
    ("fadd", [(0xff, 0), (0xd8, 0), (0xdc, 0), (0xff, 0)]), ("fmul", [(0xff, 0), (0xd8, 1), (0xdc, 1), (0xff, 0)]),
    ("fcom", [(0xff, 0), (0xd8, 2), (0xdc, 2), (0xff, 0)]), ("fcomp", [(0xff, 0), (0xd8, 3), (0xdc, 3), (0xff, 0)]),
    ("fsub", [(0xff, 0), (0xd8, 4), (0xdc, 4), (0xff, 0)]), ("fsubr", [(0xff, 0), (0xd8, 5), (0xdc, 5), (0xff, 0)]),
    ("fdiv", [(0xff, 0), (0xd8, 6), (0xdc, 6), (0xff, 0)]), ("fdivr", [(0xff, 0), (0xd8, 7), (0xdc, 7), (0xff, 0)]),
];

fn register(name: &str) -> Option<Register> {
    let n = name.to_ascii_lowercase();
    let find = |names: &[&str], name: &str| names.iter().position(|r| *r == name).map(|n| n as u8);
    let r = |class, number| Some(Register { class, number });
    if let Some(i) = find(&BYTES, &n) {
        return r(Byte, i);
    }
    if let Some(i) = find(&WORDS, &n) {
        return r(Word, i);
    }
    if let Some(i) = n.strip_prefix('e').and_then(|n| find(&WORDS, n)) {
        return r(Dword, i);
    }
    if let Some(i) = find(&SEGMENTS, &n) {
        return r(Segment, i);
    }
    for (prefix, class) in [("cr", Control), ("dr", Breakpoint), ("xmm", Xmm), ("mm", Mmx), ("st", Stack)] {
        if let Some(i) = n.strip_prefix(prefix).and_then(|d| d.parse::<u8>().ok()).filter(|i| *i < 8) {
            return r(class, i);
        }
    }
    None
}

fn size_word(name: &str) -> Option<u8> {
    let i = ["byte", "word", "dword", "qword", "tword"].iter().position(|w| name.eq_ignore_ascii_case(w))?;
    Some([1, 2, 4, 8, 10][i])
}

impl Register {
    fn size(self) -> Option<u8> {
        match self.class {
            Byte => Some(1),
            Word => Some(2),
            Dword => Some(4),
            _ => None,
        }
    }
}

impl Operand {
    fn register(&self, class: Class) -> Option<u8> {
        match self.kind {
            Kind::Register(r) if r.class == class => Some(r.number),
            _ => None,
        }
    }

    fn general(&self) -> Option<(u8, u8)> {
        match self.kind {
            Kind::Register(r) => r.size().map(|s| (r.number, s)),
            _ => None,
        }
    }

    fn immediate(&self) -> Option<Value> {
        match self.kind {
            Kind::Immediate(v) => Some(v),
            _ => None,
        }
    }

    fn memory(&self) -> Option<Memory> {
        match self.kind {
            Kind::Memory(m) => Some(m),
            _ => None,
        }
    }

    /// A general register or memory.
    fn is_place(&self) -> bool {
        self.general().is_some() || self.memory().is_some()
    }

    fn size(&self) -> Option<u8> {
        self.general().map(|g| g.1).or(self.size)
    }
}

fn fits_byte(v: Value, size: u8) -> bool {
    let n = match size {
        2 if (0xff80..=0xffff).contains(&v.number) => v.number - 0x1_0000,
        4 if (0xffff_ff80..=0xffff_ffff).contains(&v.number) => v.number - 0x1_0000_0000,
        _ => v.number,
    };
    v.constant && (-128..=127).contains(&n)
}

/// Encodes one statement.
pub struct Encoder<'a> {
    asm: &'a mut Assembler,
    prefixes: Vec<u8>,
    operand_bits: Option<u8>,
    address_bits: Option<u8>,
}

type Outcome = Result<(), String>;

impl<'a> Encoder<'a> {
    /// For the statement at the assembler's position.
    pub fn new(asm: &'a mut Assembler) -> Self {
        Self { asm, prefixes: Vec::new(), operand_bits: None, address_bits: None }
    }

    /// Prefixes, mnemonic (already lower case, the cursor behind it) and operands.
    pub fn instruction(&mut self, mnemonic: &str, mut c: Cursor<'_>) -> Outcome {
        let mut word = mnemonic.to_string();
        loop {
            match word.as_str() {
                "rep" | "repe" | "repz" => self.prefixes.push(0xf3),
                "repne" | "repnz" => self.prefixes.push(0xf2),
                "lock" => self.prefixes.push(0xf0),
                "o16" => self.operand_bits = Some(16),
                "o32" => self.operand_bits = Some(32),
                "a16" => self.address_bits = Some(16),
                "a32" => self.address_bits = Some(32),
                _ => match SEGMENTS.iter().position(|s| *s == word) {
                    Some(s) => self.prefixes.push(OVERRIDES[s]),
                    None => break,
                },
            }
            let Some(next) = c.name() else {
                c.finish()?;
                return self.lone_prefixes();
            };
            word = next.to_ascii_lowercase();
            c.at += 1;
        }
        let mut operands = Vec::new();
        while !c.done() {
            operands.push(self.operand(&mut c)?);
            if !c.take(",") {
                break;
            }
        }
        c.finish()?;
        self.encode(&word, &operands)
    }

    fn lone_prefixes(&mut self) -> Outcome {
        let p = std::mem::take(&mut self.prefixes);
        self.asm.emit(&p);
        Ok(())
    }

    fn operand(&mut self, c: &mut Cursor<'_>) -> Result<Operand, String> {
        let (mut size, mut distance) = (None, None);
        while let Some(n) = c.name() {
            if let Some(s) = size_word(n) {
                size = Some(s);
            } else {
                match n.to_ascii_lowercase().as_str() {
                    "short" => distance = Some(Distance::Short),
                    "near" => distance = Some(Distance::Near),
                    "far" => distance = Some(Distance::Far),
                    "strict" => {}
                    _ => break,
                }
            }
            c.at += 1;
        }
        let kind = if c.take("[") {
            let m = self.memory(c)?;
            c.expect("]")?;
            Kind::Memory(m)
        } else if let Some(r) = c.name().and_then(register) {
            c.at += 1;
            Kind::Register(r)
        } else {
            let v = evaluate(c, self.asm, 0)?;
            if c.take(":") { Kind::Far(v, evaluate(c, self.asm, 0)?) } else { Kind::Immediate(v) }
        };
        Ok(Operand { kind, size, distance })
    }

    fn memory(&mut self, c: &mut Cursor<'_>) -> Result<Memory, String> {
        let zero = Value { number: 0, constant: true };
        let mut m = Memory { segment: None, base: None, index: None, displacement: zero, address_bits: None };
        if let Some(s @ (2 | 4)) = c.name().and_then(size_word) {
            m.address_bits = Some(s * 8);
            c.at += 1;
        }
        if let (Some(Register { class: Segment, number }), true) = (c.name().and_then(register), c.second_is(":")) {
            m.segment = Some(number);
            c.at += 2;
        }
        let mut negative = c.take("-");
        loop {
            let scaled = match c.tokens.get(c.at..c.at + 3) {
                Some([Token::Number(n), Token::Op("*"), Token::Name(r)]) => register(r).map(|r| (r, *n, 3)),
                Some([Token::Name(r), Token::Op("*"), Token::Number(n)]) => register(r).map(|r| (r, *n, 3)),
                _ => None,
            };
            let term = scaled.or(c.name().and_then(register).map(|r| (r, 1, 1)));
            if let Some((r, scale, tokens)) = term {
                if negative || !matches!(r.class, Word | Dword) || !matches!(scale, 1 | 2 | 4 | 8) {
                    return Err("this register or scale cannot form an address".into());
                }
                c.at += tokens;
                if scale == 1 && m.base.is_none() {
                    m.base = Some(r);
                } else if m.index.is_none() {
                    m.index = Some((r, scale as u8));
                } else {
                    return Err("too many registers in the address".into());
                }
            } else {
                let v = evaluate(c, self.asm, TERM)?;
                let number = if negative { v.number.wrapping_neg() } else { v.number };
                m.displacement.number = m.displacement.number.wrapping_add(number);
                m.displacement.constant &= v.constant;
            }
            negative = c.take("-");
            if !negative && !c.take("+") {
                return Ok(m);
            }
        }
    }

    fn code_size(&self) -> u8 {
        self.asm.bits / 8
    }

    fn default_size(&self) -> u8 {
        self.operand_bits.unwrap_or(self.asm.bits) / 8
    }

    /// Prefixes and opcode; `size` 0 or 1: no operand-size prefix unless asked for.
    fn open(&mut self, size: u8, memory: Option<&Memory>, opcode: &[u8]) -> Outcome {
        let bits = self.asm.bits;
        let mut bytes = std::mem::take(&mut self.prefixes);
        if let Some(s) = memory.and_then(|m| m.segment) {
            bytes.push(OVERRIDES[usize::from(s)]);
        }
        let address = match memory {
            Some(m) => self.address_size(m)?,
            None => self.address_bits.unwrap_or(bits),
        };
        if address != bits {
            bytes.push(0x67);
        }
        let operand = if matches!(size, 2 | 4) { size * 8 } else { self.operand_bits.unwrap_or(bits) };
        if operand != bits {
            bytes.push(0x66);
        }
        bytes.extend_from_slice(opcode);
        self.asm.emit(&bytes);
        Ok(())
    }

    fn address_size(&self, m: &Memory) -> Result<u8, String> {
        let of = |r: Register| if r.class == Word { 16 } else { 32 };
        let (base, index) = (m.base.map(of), m.index.map(|(r, _)| of(r)));
        if let (Some(b), Some(i)) = (base, index)
            && b != i
        {
            return Err("16-bit and 32-bit registers in one address".into());
        }
        Ok(base.or(index).or(m.address_bits).or(self.address_bits).unwrap_or(self.asm.bits))
    }

    /// Opcode with a ModRM byte whose r/m is `place`.
    fn modrm(&mut self, size: u8, opcode: &[u8], reg: u8, place: &Operand) -> Outcome {
        match place.kind {
            Kind::Register(r) => {
                self.open(size, None, opcode)?;
                self.asm.emit(&[0xc0 | reg << 3 | r.number]);
                Ok(())
            }
            Kind::Memory(m) => {
                let wide = self.address_size(&m)? == 32;
                self.open(size, Some(&m), opcode)?;
                if wide { self.address32(reg, &m) } else { self.address16(reg, &m) }
            }
            _ => Err("a register or memory operand expected".into()),
        }
    }

    fn address16(&mut self, reg: u8, m: &Memory) -> Outcome {
        let base = m.base.map(|r| r.number);
        let index = m.index.map(|(r, _)| r.number);
        if m.index.is_some_and(|(_, s)| s != 1) {
            return Err("16-bit addresses have no scale".into());
        }
        let (bx, bp, si, di) = (3, 5, 6, 7);
        let rm = match (base, index) {
            (None, None) => {
                self.asm.emit(&[reg << 3 | 6]);
                self.asm.emit_value(m.displacement, 2);
                return Ok(());
            }
            (Some(a), Some(b)) => match (a.min(b), a.max(b)) {
                p if p == (bx, si) => 0,
                p if p == (bx, di) => 1,
                p if p == (bp, si) => 2,
                p if p == (bp, di) => 3,
                _ => return Err("these registers do not form a 16-bit address".into()),
            },
            (Some(r), None) | (None, Some(r)) => match r {
                r if r == si => 4,
                r if r == di => 5,
                r if r == bp => 6,
                r if r == bx => 7,
                _ => return Err("this register does not form a 16-bit address".into()),
            },
        };
        self.displaced(reg, rm, &[], rm == 6, m.displacement, 2);
        Ok(())
    }

    fn address32(&mut self, reg: u8, m: &Memory) -> Outcome {
        let (mut base, mut index) = (m.base.map(|r| r.number), m.index.map(|(r, s)| (r.number, s)));
        if let (Some(b), Some((4, 1))) = (base, index) {
            (base, index) = (Some(4), Some((b, 1)));
        }
        let scale = match index {
            Some((4, _)) => return Err("esp cannot be an index".into()),
            Some((_, s)) => s.trailing_zeros() as u8,
            None => 0,
        };
        match (base, index) {
            (None, None) => {
                self.asm.emit(&[reg << 3 | 5]);
                self.asm.emit_value(m.displacement, 4);
            }
            (None, Some((i, _))) => {
                self.asm.emit(&[reg << 3 | 4, scale << 6 | i << 3 | 5]);
                self.asm.emit_value(m.displacement, 4);
            }
            (Some(b), None) if b != 4 => self.displaced(reg, b, &[], b == 5, m.displacement, 4),
            (Some(b), i) => {
                let i = i.map_or(4, |(i, _)| i);
                self.displaced(reg, 4, &[scale << 6 | i << 3 | b], b == 5, m.displacement, 4);
            }
        }
        Ok(())
    }

    fn displaced(&mut self, reg: u8, rm: u8, sib: &[u8], needs: bool, d: Value, size: u8) {
        let (mode, bytes) = if d.constant && d.number == 0 && !needs {
            (0, 0)
        } else if fits_byte(d, size) {
            (0x40, 1)
        } else {
            (0x80, size)
        };
        self.asm.emit(&[mode | reg << 3 | rm]);
        self.asm.emit(sib);
        if bytes == 1 {
            self.asm.emit(&[d.number as u8]);
        } else if bytes > 1 {
            self.asm.emit_value(d, bytes);
        }
    }

    /// The common size of two operands.
    fn common(&self, a: &Operand, b: &Operand) -> Result<u8, String> {
        match (a.size(), b.size()) {
            (Some(x), Some(y)) if x != y => Err("the operands differ in size".into()),
            (Some(x), _) | (None, Some(x)) if x <= 4 => Ok(x),
            (None, None) => Err("the operand size is not known".into()),
            _ => Err("the operand size does not fit this instruction".into()),
        }
    }

    fn sized(&self, a: &Operand) -> Result<u8, String> {
        match a.size() {
            Some(s @ (1 | 2 | 4)) => Ok(s),
            Some(_) => Err("the operand size does not fit this instruction".into()),
            None => Err("the operand size is not known".into()),
        }
    }

    fn encode(&mut self, name: &str, ops: &[Operand]) -> Outcome {
        let wrong = || Err(format!("`{name}` does not take these operands"));
        if ops.is_empty()
            && let Some((_, size, bytes)) = PLAIN.iter().find(|p| p.0 == name)
        {
            return self.open(*size, None, bytes);
        }
        if let Some(i) = ARITHMETIC.iter().position(|a| *a == name) {
            let [a, b] = ops else { return wrong() };
            return self.arithmetic(i as u8, a, b);
        }
        if let Some((_, digit)) = SHIFTS.iter().find(|s| s.0 == name) {
            let [a, b] = ops else { return wrong() };
            let size = self.sized(a)?;
            let w = u8::from(size > 1);
            return match b.immediate() {
                Some(Value { number: 1, constant: true }) => self.modrm(size, &[0xd0 | w], *digit, a),
                Some(v) => {
                    self.modrm(size, &[0xc0 | w], *digit, a)?;
                    self.asm.emit_value(v, 1);
                    Ok(())
                }
                None if b.register(Byte) == Some(1) => self.modrm(size, &[0xd2 | w], *digit, a),
                None => wrong(),
            };
        }
        if let Some((_, op, digit)) = MEMORY_ONLY.iter().find(|m| m.0 == name) {
            return match ops {
                [a] if a.memory().is_some() => self.modrm(0, op, *digit, a),
                _ => wrong(),
            };
        }
        if let Some(result) = self.conditional(name, ops) {
            return result;
        }
        if name.starts_with('f') {
            return self.float(name, ops);
        }
        match (name, ops) {
            ("mov", [a, b]) => self.mov(a, b),
            ("test", [a, b]) => {
                if let Some(v) = b.immediate() {
                    let size = self.sized(a)?;
                    let w = u8::from(size > 1);
                    if a.general() == Some((0, size)) {
                        self.open(size, None, &[0xa8 | w])?;
                    } else {
                        self.modrm(size, &[0xf6 | w], 0, a)?;
                    }
                    self.asm.emit_value(v, size);
                    return Ok(());
                }
                let size = self.common(a, b)?;
                let (place, reg) = if b.general().is_some() { (a, b) } else { (b, a) };
                let Some((reg, _)) = reg.general() else { return wrong() };
                self.modrm(size, &[0x84 | u8::from(size > 1)], reg, place)
            }
            ("xchg", [a, b]) => {
                let size = self.common(a, b)?;
                match (a.general(), b.general()) {
                    (Some((0, _)), Some((r, _))) | (Some((r, _)), Some((0, _))) if size > 1 => {
                        self.open(size, None, &[0x90 | r])
                    }
                    (_, Some((r, _))) => self.modrm(size, &[0x86 | u8::from(size > 1)], r, a),
                    (Some((r, _)), None) => self.modrm(size, &[0x86 | u8::from(size > 1)], r, b),
                    _ => wrong(),
                }
            }
            ("xadd" | "cmpxchg", [a, b]) => {
                let size = self.common(a, b)?;
                let Some((r, _)) = b.general() else { return wrong() };
                let op = if name == "xadd" { 0xc0 } else { 0xb0 };
                self.modrm(size, &[0x0f, op | u8::from(size > 1)], r, a)
            }
            ("inc" | "dec", [a]) => {
                let digit = u8::from(name == "dec");
                let size = self.sized(a)?;
                match a.general() {
                    Some((r, 2 | 4)) => self.open(size, None, &[0x40 | digit << 3 | r]),
                    _ => self.modrm(size, &[0xfe | u8::from(size > 1)], digit, a),
                }
            }
            ("not" | "neg" | "mul" | "imul" | "div" | "idiv", [a]) => {
                let digit = ["not", "neg", "mul", "imul", "div", "idiv"].iter().position(|n| *n == name);
                let size = self.sized(a)?;
                self.modrm(size, &[0xf6 | u8::from(size > 1)], digit.map_or(2, |d| d as u8 + 2), a)
            }
            ("imul", [a, b]) if b.immediate().is_none() => {
                let Some((r, size @ (2 | 4))) = a.general() else { return wrong() };
                self.common(a, b)?;
                self.modrm(size, &[0x0f, 0xaf], r, b)
            }
            ("imul", [a, .., v]) => {
                let (Some((r, size @ (2 | 4))), Some(value)) = (a.general(), v.immediate()) else { return wrong() };
                let source = if ops.len() == 3 { &ops[1] } else { a };
                if fits_byte(value, size) {
                    self.modrm(size, &[0x6b], r, source)?;
                    self.asm.emit(&[value.number as u8]);
                } else {
                    self.modrm(size, &[0x69], r, source)?;
                    self.asm.emit_value(value, size);
                }
                Ok(())
            }
            ("shld" | "shrd", [a, b, n]) => {
                let op = if name == "shld" { 0xa4 } else { 0xac };
                let (Some((r, size)), true) = (b.general(), a.is_place()) else { return wrong() };
                match n.immediate() {
                    Some(v) => {
                        self.modrm(size, &[0x0f, op], r, a)?;
                        self.asm.emit_value(v, 1);
                        Ok(())
                    }
                    None => self.modrm(size, &[0x0f, op | 1], r, a),
                }
            }
            ("bt" | "bts" | "btr" | "btc", [a, b]) => {
                let i = ["bt", "bts", "btr", "btc"].iter().position(|n| *n == name).unwrap_or(0) as u8;
                if let Some(v) = b.immediate() {
                    let size = self.sized(a)?;
                    self.modrm(size, &[0x0f, 0xba], 4 + i, a)?;
                    self.asm.emit_value(v, 1);
                    return Ok(());
                }
                let Some((r, size)) = b.general() else { return wrong() };
                self.modrm(size, &[0x0f, 0xa3 | i << 3], r, a)
            }
            ("bsf" | "bsr" | "lar" | "lsl", [a, b]) => {
                let Some((r, size)) = a.general() else { return wrong() };
                let op = match name {
                    "bsf" => 0xbc,
                    "bsr" => 0xbd,
                    "lar" => 2,
                    _ => 3,
                };
                self.modrm(size, &[0x0f, op], r, b)
            }
            ("movzx" | "movsx", [a, b]) => {
                let Some((r, size @ (2 | 4))) = a.general() else { return wrong() };
                let from = self.sized(b)?;
                let op = if name == "movzx" { 0xb6 } else { 0xbe };
                self.modrm(size, &[0x0f, op | u8::from(from == 2)], r, b)
            }
            ("bswap", [a]) => match a.general() {
                Some((r, 4)) => self.open(4, None, &[0x0f, 0xc8 | r]),
                _ => wrong(),
            },
            ("lea" | "les" | "lds" | "lss" | "lfs" | "lgs" | "bound", [a, b]) => {
                let (Some((r, size @ (2 | 4))), true) = (a.general(), b.memory().is_some()) else { return wrong() };
                let op: &[u8] = match name {
                    "lea" => &[0x8d],
                    "les" => &[0xc4],
                    "lds" => &[0xc5],
                    "lss" => &[0x0f, 0xb2],
                    "lfs" => &[0x0f, 0xb4],
                    "lgs" => &[0x0f, 0xb5],
                    _ => &[0x62],
                };
                self.modrm(size, op, r, b)
            }
            ("push" | "pop", [a]) => self.stack(name == "push", a),
            ("in", [a, b]) | ("out", [b, a]) => {
                let (Some((0, size)), flip) = (a.general(), if name == "out" { 2 } else { 0 }) else { return wrong() };
                let w = u8::from(size > 1);
                match b.immediate() {
                    Some(v) => {
                        self.open(size, None, &[0xe4 | w | flip])?;
                        self.asm.emit_value(v, 1);
                        Ok(())
                    }
                    None if b.register(Word) == Some(2) => self.open(size, None, &[0xec | w | flip]),
                    None => wrong(),
                }
            }
            ("int", [a]) if a.immediate().is_some() => self.with_value(&[0xcd], a, 1),
            ("aam" | "aad", _) => {
                let op = if name == "aam" { 0xd4 } else { 0xd5 };
                let base = ops.first().and_then(Operand::immediate).map_or(10, |v| v.number);
                self.asm.emit(&[op, base as u8]);
                Ok(())
            }
            ("ret" | "retn", []) => self.open(0, None, &[0xc3]),
            ("ret" | "retn", [a]) if a.immediate().is_some() => self.with_value(&[0xc2], a, 2),
            ("retf", []) => self.open(0, None, &[0xcb]),
            ("retf", [a]) if a.immediate().is_some() => self.with_value(&[0xca], a, 2),
            ("enter", [a, b]) => match (a.immediate(), b.immediate()) {
                (Some(a), Some(b)) => {
                    self.open(0, None, &[0xc8])?;
                    self.asm.emit_value(a, 2);
                    self.asm.emit_value(b, 1);
                    Ok(())
                }
                _ => wrong(),
            },
            ("arpl", [a, b]) => match b.register(Word) {
                Some(r) => self.modrm(0, &[0x63], r, a),
                None => wrong(),
            },
            ("sldt" | "str" | "smsw", [a]) => {
                let (op, digit) = match name {
                    "sldt" => (0, 0),
                    "str" => (0, 1),
                    _ => (1, 4),
                };
                self.modrm(a.general().map_or(0, |g| g.1), &[0x0f, op], digit, a)
            }
            ("lldt" | "ltr" | "verr" | "verw" | "lmsw", [a]) => {
                let (op, digit) = match name {
                    "lldt" => (0, 2),
                    "ltr" => (0, 3),
                    "verr" => (0, 4),
                    "verw" => (0, 5),
                    _ => (1, 6),
                };
                self.modrm(0, &[0x0f, op], digit, a)
            }
            ("jmp" | "call", [a]) => self.transfer(name == "call", a),
            ("movd" | "movq" | "movaps" | "movups" | "addps" | "pxor" | "xorps" | "paddd", [a, b]) => {
                self.vector(name, a, b)
            }
            ("ud0" | "ud1", [a, b]) => match a.general() {
                Some((r, size)) => self.modrm(size, &[0x0f, if name == "ud0" { 0xff } else { 0xb9 }], r, b),
                None => wrong(),
            },
            _ if PLAIN.iter().any(|p| p.0 == name) => wrong(),
            (
                "mov" | "test" | "xchg" | "inc" | "dec" | "push" | "pop" | "in" | "out" | "int" | "ret" | "retf"
                | "jmp" | "call" | "lea" | "mul" | "div" | "not" | "neg" | "imul" | "movzx" | "movsx",
                _,
            ) => wrong(),
            _ => Err(format!("unknown instruction `{name}`")),
        }
    }

    fn with_value(&mut self, opcode: &[u8], a: &Operand, size: u8) -> Outcome {
        self.open(0, None, opcode)?;
        if let Some(v) = a.immediate() {
            self.asm.emit_value(v, size);
        }
        Ok(())
    }

    fn arithmetic(&mut self, i: u8, a: &Operand, b: &Operand) -> Outcome {
        if let Some(v) = b.immediate() {
            let size = self.sized(a)?;
            if size > 1 && fits_byte(v, size) && b.size != Some(size) {
                self.modrm(size, &[0x83], i, a)?;
                self.asm.emit(&[v.number as u8]);
                return Ok(());
            }
            if a.general() == Some((0, size)) {
                self.open(size, None, &[i << 3 | 4 | u8::from(size > 1)])?;
            } else {
                self.modrm(size, &[0x80 | u8::from(size > 1)], i, a)?;
            }
            self.asm.emit_value(v, size);
            return Ok(());
        }
        let size = self.common(a, b)?;
        let w = u8::from(size > 1);
        match (a.general(), b.general()) {
            (_, Some((r, _))) if a.is_place() => self.modrm(size, &[i << 3 | w], r, a),
            (Some((r, _)), None) => self.modrm(size, &[i << 3 | 2 | w], r, b),
            _ => Err("two memory operands or a special register".into()),
        }
    }

    fn mov(&mut self, a: &Operand, b: &Operand) -> Outcome {
        for (class, to, from) in [(Control, 0x22, 0x20), (Breakpoint, 0x23, 0x21)] {
            if let (Some(x), Some(r)) = (a.register(class), b.register(Dword)) {
                self.asm.emit(&[0x0f, to, 0xc0 | x << 3 | r]);
                return Ok(());
            }
            if let (Some(r), Some(x)) = (a.register(Dword), b.register(class)) {
                self.asm.emit(&[0x0f, from, 0xc0 | x << 3 | r]);
                return Ok(());
            }
        }
        if let (Some(s), true) = (a.register(Segment), b.is_place()) {
            return self.modrm(0, &[0x8e], s, b);
        }
        if let (Some(s), true) = (b.register(Segment), a.is_place()) {
            return self.modrm(a.general().map_or(0, |g| g.1), &[0x8c], s, a);
        }
        if let Some(v) = b.immediate() {
            let size = self.sized(a)?;
            let w = u8::from(size > 1);
            match a.general() {
                Some((r, _)) => self.open(size, None, &[0xb0 | w << 3 | r])?,
                None => self.modrm(size, &[0xc6 | w], 0, a)?,
            }
            self.asm.emit_value(v, size);
            return Ok(());
        }
        let size = self.common(a, b)?;
        let w = u8::from(size > 1);
        for (reg, place, op) in [(a, b, 0xa0), (b, a, 0xa2)] {
            if let (Some((0, _)), Some(m)) = (reg.general(), place.memory())
                && m.base.is_none()
                && m.index.is_none()
            {
                let bytes = self.address_size(&m)? / 8;
                self.open(size, Some(&m), &[op | w])?;
                self.asm.emit_value(m.displacement, bytes);
                return Ok(());
            }
        }
        match (a.general(), b.general()) {
            (_, Some((r, _))) if a.is_place() => self.modrm(size, &[0x88 | w], r, a),
            (Some((r, _)), None) if b.is_place() => self.modrm(size, &[0x8a | w], r, b),
            _ => Err("`mov` does not take these operands".into()),
        }
    }

    fn stack(&mut self, push: bool, a: &Operand) -> Outcome {
        match a.kind {
            Kind::Register(Register { class: Segment, number }) => {
                let size = a.size.unwrap_or(0);
                match (number, push) {
                    (4 | 5, _) => self.open(size, None, &[0x0f, 0x80 | number << 3 | u8::from(!push)]),
                    (1, false) => Err("cs cannot be popped".into()),
                    _ => self.open(size, None, &[number << 3 | 6 | u8::from(!push)]),
                }
            }
            Kind::Register(r) if matches!(r.class, Word | Dword) => {
                self.open(r.size().unwrap_or(0), None, &[if push { 0x50 } else { 0x58 } | r.number])
            }
            Kind::Memory(_) => {
                let size = self.sized(a)?;
                if size == 1 {
                    return Err("the stack takes no bytes".into());
                }
                self.modrm(size, &[if push { 0xff } else { 0x8f }], if push { 6 } else { 0 }, a)
            }
            Kind::Immediate(v) if push => {
                let size = a.size.unwrap_or(self.default_size());
                if a.size == Some(1) || (a.size.is_none() || size > 1) && fits_byte(v, size) {
                    self.open(if size == 1 { 0 } else { size }, None, &[0x6a])?;
                    self.asm.emit(&[v.number as u8]);
                } else {
                    self.open(size, None, &[0x68])?;
                    self.asm.emit_value(v, size);
                }
                Ok(())
            }
            _ => Err("the stack does not take this operand".into()),
        }
    }

    /// Jcc, SETcc, CMOVcc, LOOP and JCXZ.
    fn conditional(&mut self, name: &str, ops: &[Operand]) -> Option<Outcome> {
        let loops = [("loopne", 0xe0), ("loopnz", 0xe0), ("loope", 0xe1), ("loopz", 0xe1), ("loop", 0xe2)];
        let counted = loops.iter().find(|l| l.0 == name).map(|l| (l.1, None));
        let counted = counted.or(match name {
            "jcxz" => Some((0xe3, Some(16))),
            "jecxz" => Some((0xe3, Some(32))),
            _ => None,
        });
        if let Some((op, bits)) = counted {
            let target = ops.first().and_then(Operand::immediate);
            self.address_bits = bits.or(self.address_bits);
            return Some(match target {
                Some(v) => self.open(0, None, &[op]).map(|()| self.short(v)),
                None => Err(format!("`{name}` takes a label")),
            });
        }
        let condition = |prefix| {
            let rest = name.strip_prefix(prefix)?;
            CONDITIONS.iter().find(|c| c.0 == rest).map(|c| c.1)
        };
        if let Some(cc) = condition("set") {
            let [a] = ops else { return Some(Err(format!("`{name}` takes one operand"))) };
            return Some(self.modrm(0, &[0x0f, 0x90 | cc], 0, a));
        }
        if let Some(cc) = condition("cmov") {
            let [a, b] = ops else { return Some(Err(format!("`{name}` takes two operands"))) };
            let Some((r, size @ (2 | 4))) = a.general() else { return Some(Err("a register expected".into())) };
            return Some(self.modrm(size, &[0x0f, 0x40 | cc], r, b));
        }
        let cc = condition("j")?;
        let Some((v, distance)) = ops.first().and_then(|o| o.immediate().map(|v| (v, o.distance))) else {
            return Some(Err(format!("`{name}` takes a label")));
        };
        Some(self.jump(&[0x70 | cc], &[0x0f, 0x80 | cc], v, distance))
    }

    fn short(&mut self, target: Value) {
        let distance = target.number - self.asm.position() - 1;
        if !(-128..=127).contains(&distance) {
            self.asm.late = Some(format!("the target is {distance} bytes away, too far for a short jump"));
        }
        self.asm.emit(&[distance as u8]);
    }

    fn near(&mut self, target: Value) {
        let size = self.default_size();
        let distance = target.number - self.asm.position() - i64::from(size);
        let bytes = distance.to_le_bytes();
        self.asm.emit(&bytes[..usize::from(size)]);
    }

    fn jump(&mut self, short: &[u8], near: &[u8], target: Value, distance: Option<Distance>) -> Outcome {
        let reach = target.number - self.asm.position() - 1 - short.len() as i64;
        let plain = self.prefixes.is_empty() && self.default_size() == self.code_size();
        let long = match distance {
            Some(Distance::Short) => false,
            Some(_) => true,
            None => !plain || self.asm.needs_long(reach),
        };
        self.open(0, None, if long { near } else { short })?;
        if long {
            self.near(target)
        } else {
            self.short(target)
        }
        Ok(())
    }

    fn transfer(&mut self, call: bool, a: &Operand) -> Outcome {
        let digit = if call { 2 } else { 4 };
        match a.kind {
            Kind::Far(segment, offset) => {
                let size = a.size.unwrap_or(self.default_size());
                self.open(size, None, &[if call { 0x9a } else { 0xea }])?;
                self.asm.emit_value(offset, size);
                self.asm.emit_value(segment, 2);
                Ok(())
            }
            Kind::Immediate(v) => {
                if let Some(s @ (2 | 4)) = a.size {
                    self.operand_bits = Some(s * 8);
                }
                if call {
                    self.open(0, None, &[0xe8])?;
                    self.near(v);
                    return Ok(());
                }
                self.jump(&[0xeb], &[0xe9], v, a.distance)
            }
            Kind::Memory(_) if a.distance == Some(Distance::Far) => {
                self.modrm(a.size.unwrap_or(self.default_size()), &[0xff], digit + 1, a)
            }
            _ => {
                let size = a.size().unwrap_or(self.default_size());
                if a.register(Byte).is_some() || a.general().is_none() && a.memory().is_none() {
                    return Err("this cannot be jumped to".into());
                }
                self.modrm(size, &[0xff], digit, a)
            }
        }
    }

    fn float(&mut self, name: &str, ops: &[Operand]) -> Outcome {
        let wrong = || Err(format!("unknown instruction `{name}`, or not with these operands"));
        if let ("fnstsw" | "fstsw", [a]) = (name, ops) {
            if name == "fstsw" {
                self.asm.emit(&[0x9b]);
            }
            if a.register(Word) == Some(0) {
                self.asm.emit(&[0xdf, 0xe0]);
                return Ok(());
            }
            return self.modrm(0, &[0xdd], 7, a);
        }
        if let ("fstcw", [a]) = (name, ops) {
            self.asm.emit(&[0x9b]);
            return self.modrm(0, &[0xd9], 7, a);
        }
        let st = |o: &Operand| o.register(Stack);
        let pair = match ops {
            [a, b] => st(a).zip(st(b)),
            [a] => st(a).map(|n| (0, n)),
            _ => None,
        };
        if let Some((a, b)) = pair {
            let digit =
                ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"].iter().position(|n| *n == name);
            let (op, n) = match (name, digit) {
                (_, Some(d)) if a == 0 => (0xd8, (d as u8) << 3 | b),
                // With the result elsewhere the plain and reversed forms trade places.
                (_, Some(d)) if b == 0 => (0xdc, (if d > 3 { d as u8 ^ 1 } else { d as u8 }) << 3 | a),
                ("fld", _) => (0xd9, b),
                ("fxch", _) => (0xd9, 0x08 | b),
                ("fst", _) => (0xdd, 0x10 | b),
                ("fstp", _) => (0xdd, 0x18 | b),
                ("ffree", _) => (0xdd, b),
                ("fucom", _) => (0xdd, 0x20 | b),
                ("fucomp", _) => (0xdd, 0x28 | b),
                ("fcomi", _) => (0xdb, 0x30 | b),
                ("fucomi", _) => (0xdb, 0x28 | b),
                _ => return wrong(),
            };
            self.asm.emit(&[op, 0xc0 | n]);
            return Ok(());
        }
        let ([a], Some((_, forms))) = (ops, FLOAT_MEMORY.iter().find(|f| f.0 == name)) else { return wrong() };
        let form = match a.size {
            Some(2) => forms[0],
            Some(4) => forms[1],
            Some(8) => forms[2],
            Some(10) => forms[3],
            _ => return Err("the operand size is not known".into()),
        };
        if form.0 == 0xff || a.memory().is_none() {
            return wrong();
        }
        self.modrm(0, &[form.0], form.1, a)
    }

    fn vector(&mut self, name: &str, a: &Operand, b: &Operand) -> Outcome {
        let wrong = || Err(format!("`{name}` does not take these operands"));
        let number = |o: &Operand| o.register(Xmm).or(o.register(Mmx));
        let wide = a.register(Xmm).is_some() || b.register(Xmm).is_some();
        let (prefix, load, store): (&[u8], u8, u8) = match name {
            "movd" => (if wide { &[0x66] } else { &[] }, 0x6e, 0x7e),
            "movq" if wide => return wrong(),
            "movq" => (&[], 0x6f, 0x7f),
            "movaps" => (&[], 0x28, 0x29),
            "movups" => (&[], 0x10, 0x11),
            "addps" => (&[], 0x58, 0),
            "xorps" => (&[], 0x57, 0),
            "pxor" => (if wide { &[0x66] } else { &[] }, 0xef, 0),
            _ => (if wide { &[0x66] } else { &[] }, 0xfe, 0),
        };
        self.prefixes.extend_from_slice(prefix);
        match (number(a), number(b)) {
            (Some(r), _) => self.modrm(0, &[0x0f, load], r, b),
            (None, Some(r)) if store != 0 => self.modrm(0, &[0x0f, store], r, a),
            _ => wrong(),
        }
    }
}
