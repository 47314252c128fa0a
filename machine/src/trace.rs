//! What the machine does, written down.
//!
//! The processor's trace follows QEMU's `-d in_asm,cpu,int` with one instruction per block, so
//! that the two can be compared line by line: registers before each instruction, then the
//! instruction; one numbered line per exception and interrupt.

use cpu::GuestMemory;
use cpu::interpreter::{Interpreter, TraceEvent};
use cpu::state::{CpuState, Seg, Segment};
use iced_x86::{Decoder, DecoderOptions, FastFormatter};
use std::fmt::{self, Write as _};
use std::io::Write;

/// What goes into a processor trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// Each instruction with the registers before it.
    pub instructions: bool,
    /// Exceptions and interrupts.
    pub interrupts: bool,
}

/// The registers in QEMU's form.
#[must_use]
pub fn registers(cpu: &CpuState) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_registers(&mut text, cpu);
    text
}

fn write_registers(out: &mut String, cpu: &CpuState) -> fmt::Result {
    let r = |index: u8| cpu.gpr.get(index) as u32;
    let flags = cpu.eflags();
    writeln!(out, "EAX={:08x} EBX={:08x} ECX={:08x} EDX={:08x}", r(0), r(3), r(1), r(2))?;
    writeln!(out, "ESI={:08x} EDI={:08x} EBP={:08x} ESP={:08x}", r(6), r(7), r(5), r(4))?;
    let letters: String = [(10, 'D'), (11, 'O'), (7, 'S'), (6, 'Z'), (4, 'A'), (2, 'P'), (0, 'C')]
        .iter()
        .map(|(bit, letter)| if flags >> bit & 1 != 0 { *letter } else { '-' })
        .collect();
    let halted = u8::from(cpu.activity == cpu::state::Activity::Halted);
    let a20 = u8::from(cpu.a20);
    writeln!(out, "EIP={:08x} EFL={flags:08x} [{letters}] CPL={} II=0 A20={a20} SMM=0 HLT={halted}", cpu.rip, cpu.cpl)?;
    let mut segment = |name: &str, s: &Segment| {
        let bits = u32::from(s.attributes.0);
        let attributes = (bits & 0xff) << 8 | (bits >> 8 & 0xf) << 20;
        writeln!(out, "{name:<3}={:04x} {:08x} {:08x} {attributes:08x}", s.selector, s.base, s.limit)
    };
    for (name, seg) in
        [("ES", Seg::Es), ("CS", Seg::Cs), ("SS", Seg::Ss), ("DS", Seg::Ds), ("FS", Seg::Fs), ("GS", Seg::Gs)]
    {
        segment(name, cpu.segment(seg))?;
    }
    segment("LDT", &cpu.ldtr)?;
    segment("TR", &cpu.tr)?;
    writeln!(out, "GDT=     {:08x} {:08x}", cpu.gdtr.base, cpu.gdtr.limit)?;
    writeln!(out, "IDT=     {:08x} {:08x}", cpu.idtr.base, cpu.idtr.limit)?;
    writeln!(out, "CR0={:08x} CR2={:08x} CR3={:08x} CR4={:08x}", cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4)
}

/// One instruction as text.
#[must_use]
pub fn disassemble(bytes: &[u8], bitness: u32, ip: u64) -> String {
    let mut decoder = Decoder::with_ip(bitness, bytes, ip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let mut text = String::new();
    FastFormatter::new().format(&instruction, &mut text);
    text
}

/// One instruction as text, and how many bytes it has.
#[cfg(feature = "host")]
pub(crate) fn disassemble_one(bytes: &[u8], bitness: u32, ip: u64) -> (String, usize) {
    let instruction = Decoder::with_ip(bitness, bytes, ip, DecoderOptions::NONE).decode();
    let mut text = String::new();
    FastFormatter::new().format(&instruction, &mut text);
    (text, instruction.len())
}

/// A closure that writes the processor's trace to `sink`. Host errors end the trace silently: a
/// closed pipe must not stop the machine.
pub(crate) fn tracer(options: TraceOptions, mut sink: Box<dyn Write + Send>) -> cpu::interpreter::Tracer {
    let mut number = 0u64;
    let mut broken = false;
    Box::new(move |cpu, _memory, event| {
        if broken {
            return;
        }
        let cs = cpu.segment(Seg::Cs);
        let pc = cs.base.wrapping_add(cpu.rip);
        let mut interrupt = |vector: u8, error: u32, cr2: Option<u64>| {
            let last = match cr2 {
                Some(cr2) => format!("CR2={cr2:08x}"),
                None => format!("EAX={:08x}", cpu.gpr.get(0)),
            };
            let line = format!(
                "{number:6}: v={vector:02x} e={error:04x} i=0 cpl={} IP={:04x}:{:08x} pc={pc:08x} SP={:04x}:{:08x} {last}\n",
                cpu.cpl,
                cs.selector,
                cpu.rip,
                cpu.segment(Seg::Ss).selector,
                cpu.gpr.get(4),
            );
            number += 1;
            line + &registers(cpu)
        };
        let text = match event {
            TraceEvent::Instruction { bytes, len } if options.instructions => {
                let bytes = &bytes[..usize::from(len).min(bytes.len())];
                let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let instruction = disassemble(bytes, cpu.mode.bitness(), cpu.rip);
                format!(
                    "{}----------------\nIN: \n0x{pc:08x}:  {:<24} {instruction}\n\n",
                    registers(cpu),
                    hex.join(" ")
                )
            }
            TraceEvent::Exception(exception) if options.interrupts => {
                interrupt(exception.vector, exception.error.unwrap_or(0), exception.cr2)
            }
            TraceEvent::Interrupt(vector) if options.interrupts => interrupt(vector, 0, None),
            _ => return,
        };
        broken = sink.write_all(text.as_bytes()).is_err();
    })
}

/// What is known about the processor after a triple fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// The processor's mode in words.
    pub mode: &'static str,
    /// CS selector.
    pub cs: u16,
    /// Instruction pointer.
    pub ip: u64,
    /// CR2.
    pub cr2: u64,
    /// Registers in the form of a trace.
    pub registers: String,
    /// The last exceptions: vector, error code, CS, IP; oldest first.
    pub exceptions: Vec<(u8, Option<u32>, u16, u64)>,
    /// The last places that code was entered at: CS and IP; oldest first.
    pub branches: Vec<(u16, u64)>,
    /// Bytes at CS:IP as far as they can be read with paging off.
    pub code: Vec<u8>,
}

impl FaultReport {
    pub(crate) fn new(cpu: &CpuState, memory: &GuestMemory, interpreter: &Interpreter) -> FaultReport {
        let mode = match (cpu.protected(), cpu.v86(), cpu.paging()) {
            (false, ..) => "real mode",
            (true, true, _) => "virtual-8086 mode",
            (true, false, false) => "protected mode without paging",
            (true, false, true) => "protected mode with paging",
        };
        let cs = cpu.segment(Seg::Cs);
        let mut code = Vec::new();
        if !cpu.paging() {
            code = vec![0; 16];
            memory.read(cs.base.wrapping_add(cpu.rip) & 0xffff_ffff, &mut code);
        }
        let branches = interpreter.trail().into_iter().filter(|place| *place != (0, 0)).collect();
        FaultReport {
            mode,
            cs: cs.selector,
            ip: cpu.rip,
            cr2: cpu.cr2,
            registers: registers(cpu),
            exceptions: interpreter.exceptions().to_vec(),
            branches,
            code,
        }
    }
}

/// Names of the exceptions that have one.
fn exception_name(vector: u8) -> &'static str {
    const NAMES: [&str; 20] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF", "",
        "#MF", "#AC", "#MC", "#XM",
    ];
    NAMES.get(usize::from(vector)).copied().unwrap_or("")
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {:04x}:{:08x}, CR2={:08x}", self.mode, self.cs, self.ip, self.cr2)?;
        if !self.code.is_empty() {
            write!(f, "code:")?;
            for byte in &self.code {
                write!(f, " {byte:02x}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "last exceptions:")?;
        for (vector, error, cs, ip) in &self.exceptions {
            write!(f, "  {vector:02x} {:<4}", exception_name(*vector))?;
            if let Some(error) = error {
                write!(f, " error {error:04x}")?;
            }
            writeln!(f, " at {cs:04x}:{ip:08x}")?;
        }
        write!(f, "last branches:")?;
        for (cs, ip) in &self.branches {
            write!(f, " {cs:04x}:{ip:08x}")?;
        }
        writeln!(f)?;
        f.write_str(&self.registers)
    }
}
