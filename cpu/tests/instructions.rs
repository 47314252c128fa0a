//! The table in `instructions.txt`: each instruction alone, and again as part of a block.

use cpu::bus::{Bus, Cycle};
use cpu::engine::Engine;
use cpu::flags::bits;
use cpu::interpreter::Interpreter;
use cpu::memory::GuestMemory;
use cpu::model::Model;
use cpu::state::{Attributes, CpuState, Seg, Segment, Width, cr0};
use iced_x86::{Decoder, DecoderOptions, Instruction, IntelFormatter};
use std::collections::BTreeMap;

/// A bus on which nobody is home.
struct Nobody;

impl Bus for Nobody {
    fn port_read(&mut self, _: Cycle<'_>, _: u16, width: Width) -> u32 {
        width.mask() as u32
    }
    fn port_write(&mut self, _: Cycle<'_>, _: u16, _: Width, _: u32) {}
    fn mmio_read(&mut self, _: Cycle<'_>, _: u64, width: Width) -> u64 {
        width.mask()
    }
    fn mmio_write(&mut self, _: Cycle<'_>, _: u64, _: Width, _: u64) {}
    fn acknowledge_interrupt(&mut self, _: Cycle<'_>) -> Option<u8> {
        None
    }
    fn attention(&self) -> bool {
        false
    }
}

const REGISTERS: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const FLAGS: [(&str, u64); 6] =
    [("CF", bits::CF), ("PF", bits::PF), ("AF", bits::AF), ("ZF", bits::ZF), ("SF", bits::SF), ("OF", bits::OF)];
const CODE: u64 = 0x1000;
const DATA: u64 = 0x2000;

type Words<'t> = BTreeMap<&'t str, &'t str>;

fn words(text: &str) -> Words<'_> {
    text.split_whitespace().map(|word| word.split_once('=').unwrap_or_else(|| panic!("`{word}`"))).collect()
}

fn number(words: &Words<'_>, name: &str) -> Option<u64> {
    words.get(name).map(|hex| u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("`{hex}`")))
}

fn flags(words: &Words<'_>, name: &str) -> u64 {
    let names = words.get(name).copied().unwrap_or_default().split(',').filter(|name| !name.is_empty());
    names.map(|name| FLAGS.iter().find(|flag| flag.0 == name).unwrap_or_else(|| panic!("`{name}`")).1).sum()
}

fn disassembled(code: &[u8]) -> String {
    let mut instruction = Instruction::default();
    Decoder::with_ip(32, code, CODE, DecoderOptions::NONE).decode_out(&mut instruction);
    assert_eq!(instruction.len(), code.len(), "not one whole instruction: {code:x?}");
    let mut text = String::new();
    iced_x86::Formatter::format(&mut IntelFormatter::new(), &instruction, &mut text);
    text
}

/// Everything that a line can name, in its order.
fn shown(cpu: &CpuState, memory: &GuestMemory, defined: u64) -> Vec<(&'static str, u64)> {
    let mut word = [0; 4];
    memory.read(DATA, &mut word);
    let mut all: Vec<_> = (0u8..).zip(REGISTERS).map(|(n, name)| (name, cpu.gpr.get(n))).collect();
    all.push(("m", u32::from_le_bytes(word).into()));
    all.push(("flags", cpu.eflags() & defined));
    all
}

fn check(line: &str, budget: u64) -> Result<(), String> {
    let [text, code, states] = line.split('|').collect::<Vec<_>>()[..] else { panic!("`{line}`") };
    let (before, after) = states.split_once("=>").unwrap_or_else(|| panic!("`{line}`"));
    let (before, after) = (words(before), words(after));
    let code: Vec<u8> = code.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    if disassembled(&code) != text.trim() {
        return Err(format!("the bytes say `{}`", disassembled(&code)));
    }

    let mut memory = GuestMemory::new(1 << 20, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 1 << 20, ram, 0, false);
    memory.write(CODE, &code);
    memory.write(CODE + code.len() as u64, &[0xeb, 0xfe]);
    let model = before.get("cpu").map_or(Model::PentiumM, |name| Model::from_name(name).unwrap());
    let mut cpu = CpuState::new(model);
    cpu.cr0 |= cr0::PE;
    for seg in Seg::ALL {
        let attributes = Attributes(if seg == Seg::Cs { 0xc9b } else { 0xc93 });
        cpu.seg[seg as usize] = Segment::new(8, 0, u32::MAX, attributes, true);
    }
    cpu.rip = CODE;
    for (n, name) in (0u8..).zip(REGISTERS) {
        cpu.gpr.set(n, number(&before, name).unwrap_or(if name == "esi" { DATA } else { 0 }));
    }
    memory.write(DATA, &(number(&before, "m").unwrap_or(0) as u32).to_le_bytes());
    cpu.set_eflags(flags(&before, "flags"));
    cpu.update_mode();

    let defined = bits::STATUS & !flags(&after, "undefined");
    let mut expected = shown(&cpu, &memory, defined);
    for (name, value) in &mut expected {
        *value = if *name == "flags" { flags(&after, name) & defined } else { number(&after, name).unwrap_or(*value) };
    }
    let mut engine = Interpreter::new();
    engine.run(&mut cpu, &mut memory, &mut Nobody, budget);
    let delivered = engine.exceptions().first().map(|exception| u64::from(exception.0));
    let fault = number(&after, "fault");
    if delivered != fault {
        return Err(format!("fault {delivered:?}, not {fault:?}"));
    }
    let got = shown(&cpu, &memory, defined);
    // A fault has nowhere to go here: what comes after it is another story.
    if fault.is_none() && got != expected {
        let differs = got.iter().zip(&expected).filter(|(got, expected)| got != expected);
        return Err(differs.map(|(got, expected)| format!("{}={:x}, not {:x}; ", got.0, got.1, expected.1)).collect());
    }
    Ok(())
}

#[test]
fn every_line_of_the_table() {
    let mut failures = Vec::new();
    for (at, line) in (1..).zip(include_str!("instructions.txt").lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        // One tick runs the instruction alone; two run it in a block with the jump behind it.
        for budget in [1, 2] {
            if let Err(problem) = check(line, budget) {
                failures.push(format!("line {at}, {budget} ticks: {}: {problem}", line.trim()));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
