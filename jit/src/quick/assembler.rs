//! The few host instructions that the quick translator writes, byte by byte.

use crate::piece::{Fixup, Target};

/// A host register.
pub(crate) type Reg = u8;
/// Guest EAX, ECX, EDX, EBX.
pub(crate) const AX: Reg = 0;
pub(crate) const CX: Reg = 1;
pub(crate) const DX: Reg = 2;
/// The processor's state.
pub(crate) const CPU: Reg = 5;
/// An offset, a linear address, the host address found for it.
pub(crate) const R8: Reg = 8;
/// Scratch.
pub(crate) const R9: Reg = 9;
/// Scratch.
pub(crate) const R10: Reg = 10;
/// An operand from memory, which recorded flags may refer to.
pub(crate) const R11: Reg = 11;
/// Guest ESP.
pub(crate) const SP: Reg = 12;
/// The engine's words.
pub(crate) const CTX: Reg = 14;
/// What is left of the budget.
pub(crate) const REM: Reg = 15;

/// Where a guest register is.
pub(crate) fn host(index: u8) -> Reg {
    [0, 1, 2, 3, 12, 13, 6, 7][usize::from(index & 7)]
}

/// Which guest register is there.
pub(crate) fn guest(reg: Reg) -> Option<u8> {
    (0..8).find(|index| host(*index) == reg)
}

/// Operand size of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    B,
    W,
    D,
    Q,
}

/// `[base + index << shift + disp]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) base: Option<Reg>,
    pub(crate) index: Option<Reg>,
    pub(crate) shift: u8,
    pub(crate) disp: i32,
}

/// `[base + disp]`.
pub(crate) fn at(base: Reg, disp: i32) -> At {
    At { base: Some(base), index: None, shift: 0, disp }
}

/// Condition numbers as in opcodes.
pub(crate) mod cc {
    pub(crate) const B: u8 = 2;
    pub(crate) const AE: u8 = 3;
    pub(crate) const E: u8 = 4;
    pub(crate) const NE: u8 = 5;
    pub(crate) const A: u8 = 7;
    pub(crate) const S: u8 = 8;
    pub(crate) const L: u8 = 12;
    pub(crate) const LE: u8 = 14;
}

/// Code in the making.
#[derive(Default)]
pub(crate) struct Asm {
    pub(crate) code: Vec<u8>,
    /// Where addresses are to be put that are not known yet.
    pub(crate) fixups: Vec<Fixup>,
    /// Where the last four bytes of instructions are addresses of guest code.
    pub(crate) ips: Vec<u32>,
}

impl Asm {
    pub(crate) fn here(&self) -> usize {
        self.code.len()
    }
    pub(crate) fn byte(&mut self, b: u8) {
        self.code.push(b);
    }
    pub(crate) fn imm32(&mut self, v: u32) {
        self.code.extend_from_slice(&v.to_le_bytes());
    }
    fn imm(&mut self, size: Size, v: u32) {
        match size {
            Size::B => self.byte(v as u8),
            Size::W => self.code.extend_from_slice(&(v as u16).to_le_bytes()),
            _ => self.imm32(v),
        }
    }
    /// Prefixes and the opcode; `op` is up to two bytes, the escape 0F included.
    fn head(&mut self, size: Size, op: &[u8], reg: Reg, index: Reg, rm: Reg) {
        if size == Size::W {
            self.byte(0x66);
        }
        let rex = u8::from(size == Size::Q) << 3 | reg >> 3 << 2 | index >> 3 << 1 | rm >> 3;
        if rex != 0 {
            self.byte(0x40 | rex);
        }
        self.code.extend_from_slice(op);
    }
    /// An instruction on two registers; 4 to 7 as bytes are AH, CH, DH, BH, and then neither
    /// register may be one of R8 to R15.
    pub(crate) fn rr(&mut self, size: Size, op: &[u8], reg: Reg, rm: Reg) {
        self.head(size, op, reg, 0, rm);
        self.byte(0xc0 | (reg & 7) << 3 | rm & 7);
    }
    /// An instruction on a register and memory.
    pub(crate) fn rm(&mut self, size: Size, op: &[u8], reg: Reg, at: At) {
        let (index, base) = (at.index.unwrap_or(0), at.base.unwrap_or(0));
        self.head(size, op, reg, index, base);
        let r = (reg & 7) << 3;
        match (at.base, at.index) {
            (None, None) => {
                self.code.extend_from_slice(&[r | 4, 0x25]);
                self.imm32(at.disp as u32);
            }
            (None, Some(index)) => {
                self.code.extend_from_slice(&[r | 4, at.shift << 6 | (index & 7) << 3 | 5]);
                self.imm32(at.disp as u32);
            }
            (Some(base), index) => {
                let (mode, sib) = (
                    if at.disp == 0 && base & 7 != 5 {
                        0
                    } else if i8::try_from(at.disp).is_ok() {
                        0x40
                    } else {
                        0x80
                    },
                    index.is_some() || base & 7 == 4,
                );
                if sib {
                    self.byte(mode | r | 4);
                    self.byte(index.map_or(0x20, |i| at.shift << 6 | (i & 7) << 3) | base & 7);
                } else {
                    self.byte(mode | r | base & 7);
                }
                match mode {
                    0 => {}
                    0x40 => self.byte(at.disp as u8),
                    _ => self.imm32(at.disp as u32),
                }
            }
        }
    }
    pub(crate) fn mov(&mut self, size: Size, to: Reg, from: Reg) {
        self.rr(size, &[0x8b], to, from);
    }
    pub(crate) fn load(&mut self, size: Size, to: Reg, from: At) {
        self.rm(size, &[if size == Size::B { 0x8a } else { 0x8b }], to, from);
    }
    /// Zero-extends to 64 bits.
    pub(crate) fn load_zero(&mut self, size: Size, to: Reg, from: At) {
        match size {
            Size::B => self.rm(Size::D, &[0x0f, 0xb6], to, from),
            Size::W => self.rm(Size::D, &[0x0f, 0xb7], to, from),
            _ => self.load(size, to, from),
        }
    }
    pub(crate) fn store(&mut self, size: Size, to: At, from: Reg) {
        self.rm(size, &[if size == Size::B { 0x88 } else { 0x89 }], from, to);
    }
    /// Stores a constant, sign-extended to 64 bits for [`Size::Q`].
    pub(crate) fn store_imm(&mut self, size: Size, to: At, v: u32) {
        self.rm(size, &[if size == Size::B { 0xc6 } else { 0xc7 }], 0, to);
        self.imm(size, v);
    }
    /// Zero-extended.
    pub(crate) fn mov_imm(&mut self, to: Reg, v: u32) {
        if to >= 8 {
            self.byte(0x41);
        }
        self.byte(0xb8 | to & 7);
        self.imm32(v);
    }
    /// What was written last ends in the address of guest code.
    fn note_ip(&mut self) {
        self.ips.push(self.here() as u32 - 4);
    }
    /// An address of guest code, zero-extended.
    pub(crate) fn mov_ip(&mut self, to: Reg, ip: u32) {
        self.mov_imm(to, ip);
        self.note_ip();
    }
    /// Stores an address of guest code, sign-extended to 64 bits for [`Size::Q`], otherwise of 32.
    pub(crate) fn store_ip(&mut self, size: Size, to: At, ip: u32) {
        self.store_imm(size, to, ip);
        self.note_ip();
    }
    /// Compares with an address of guest code.
    pub(crate) fn compare_ip(&mut self, reg: Reg, ip: u32) {
        self.rr(Size::D, &[0x81], 7, reg);
        self.imm32(ip);
        self.note_ip();
    }
    /// An address that is put there later.
    pub(crate) fn mov_address(&mut self, to: Reg, of: Target) {
        self.byte(0x48 | to >> 3);
        self.byte(0xb8 | to & 7);
        self.fixups.push(Fixup { at: self.here() as u32, of });
        self.code.extend_from_slice(&[0; 8]);
    }
    pub(crate) fn lea(&mut self, size: Size, to: Reg, from: At) {
        self.rm(size, &[0x8d], to, from);
    }
    /// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP by number, with a constant.
    pub(crate) fn alu_imm(&mut self, size: Size, alu: u8, rm: Reg, v: u32) {
        match size {
            Size::B => {
                self.rr(size, &[0x80], alu, rm);
                self.byte(v as u8);
            }
            _ if small(size, v) => {
                self.rr(size, &[0x83], alu, rm);
                self.byte(v as u8);
            }
            _ => {
                self.rr(size, &[0x81], alu, rm);
                self.imm(size, v);
            }
        }
    }
    pub(crate) fn alu_mem_imm(&mut self, size: Size, alu: u8, to: At, v: u32) {
        match size {
            Size::B => {
                self.rm(size, &[0x80], alu, to);
                self.byte(v as u8);
            }
            _ if small(size, v) => {
                self.rm(size, &[0x83], alu, to);
                self.byte(v as u8);
            }
            _ => {
                self.rm(size, &[0x81], alu, to);
                self.imm(size, v);
            }
        }
    }
    pub(crate) fn alu(&mut self, size: Size, alu: u8, to: Reg, from: Reg) {
        self.rr(size, &[alu << 3 | if size == Size::B { 2 } else { 3 }], to, from);
    }
    pub(crate) fn alu_load(&mut self, size: Size, alu: u8, to: Reg, from: At) {
        self.rm(size, &[alu << 3 | if size == Size::B { 2 } else { 3 }], to, from);
    }
    pub(crate) fn alu_store(&mut self, size: Size, alu: u8, to: At, from: Reg) {
        self.rm(size, &[alu << 3 | u8::from(size != Size::B)], from, to);
    }
    pub(crate) fn test(&mut self, size: Size, a: Reg, b: Reg) {
        self.rr(size, &[if size == Size::B { 0x84 } else { 0x85 }], b, a);
    }
    pub(crate) fn test_imm(&mut self, size: Size, a: Reg, v: u32) {
        self.rr(size, &[if size == Size::B { 0xf6 } else { 0xf7 }], 0, a);
        self.imm(size, v);
    }
    /// Shift or rotate by number, by a constant.
    pub(crate) fn shift(&mut self, size: Size, how: u8, rm: Reg, count: u8) {
        self.rr(size, &[if size == Size::B { 0xc0 } else { 0xc1 }], how, rm);
        self.byte(count);
    }
    pub(crate) fn setcc(&mut self, cc: u8, to: Reg) {
        // With a REX prefix only for R8 and up: 4 to 7 are the high bytes.
        self.rr(Size::D, &[0x0f, 0x90 | cc], 0, to);
    }
    pub(crate) fn setcc_mem(&mut self, cc: u8, to: At) {
        self.rm(Size::D, &[0x0f, 0x90 | cc], 0, to);
    }
    /// A conditional jump whose target is patched later; where.
    pub(crate) fn jcc(&mut self, cc: u8) -> usize {
        self.code.extend_from_slice(&[0x0f, 0x80 | cc, 0, 0, 0, 0]);
        self.here() - 4
    }
    pub(crate) fn jmp(&mut self) -> usize {
        self.code.extend_from_slice(&[0xe9, 0, 0, 0, 0]);
        self.here() - 4
    }
    pub(crate) fn patch(&mut self, jump: usize, to: usize) {
        let distance = (to as i64 - jump as i64 - 4) as i32;
        self.code[jump..jump + 4].copy_from_slice(&distance.to_le_bytes());
    }
    /// Lets `jump` lead here.
    pub(crate) fn land(&mut self, jump: usize) {
        let here = self.here();
        self.patch(jump, here);
    }
    pub(crate) fn jump_back(&mut self, to: usize) {
        let jump = self.jmp();
        self.patch(jump, to);
    }
    pub(crate) fn call_mem(&mut self, to: At) {
        self.rm(Size::D, &[0xff], 2, to);
    }
    pub(crate) fn jmp_mem(&mut self, to: At) {
        self.rm(Size::D, &[0xff], 4, to);
    }
    pub(crate) fn push(&mut self, reg: Reg) {
        if reg >= 8 {
            self.byte(0x41);
        }
        self.byte(0x50 | reg & 7);
    }
    pub(crate) fn push_flags(&mut self) {
        self.byte(0x9c);
    }
    pub(crate) fn pop_flags(&mut self) {
        self.byte(0x9d);
    }
    pub(crate) fn pop_mem(&mut self, to: At) {
        self.rm(Size::D, &[0x8f], 0, to);
    }
    pub(crate) fn push_mem(&mut self, from: At) {
        self.rm(Size::D, &[0xff], 6, from);
    }
}

/// Whether a constant of this size is one that a sign-extended byte gives.
fn small(size: Size, v: u32) -> bool {
    match size {
        Size::W => i8::try_from(v as u16 as i16).is_ok(),
        _ => i8::try_from(v as i32).is_ok(),
    }
}
