//! Tables of instructions, one file a family in `families/`: each row runs in 16-bit real mode and
//! in 32-bit protected mode, as part of a block and alone.
//!
//! `text | before => after`: the text is assembled at 1000h; `16:` or `32:` before it means only
//! that mode. Before and after:
//! * registers; before, those not named are 0, ESP 3000h; after, they are unchanged;
//! * `b2000=12`, `w2000=1234`, `d2000=12345678`: memory, 0 where not named before, unchanged where
//!   not named after (1800h–3FFFh are compared);
//! * `flags`: those of CF PF AF ZF SF OF DF that are set; `undefined` names those that the manual
//!   leaves open;
//! * `ip`, after: where it goes on, else behind the instruction;
//! * `fault`, after: the vector of the exception, which leaves everything else as it says;
//! * `cpu`, before: the processor model.
//!
//! The limit of ES is 2FFFh, that of CS FFFFh.

use cpu::bus::Bus;
use cpu::engine::Engine;
use cpu::flags::bits;
use cpu::interpreter::Interpreter;
use cpu::memory::GuestMemory;
use cpu::model::Model;
use cpu::state::{Attributes, CpuState, Seg, Segment, cr0};

/// A bus on which nobody is home.
struct Nobody;

impl Bus for Nobody {}

const REGISTERS: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const FLAGS: [(&str, u64); 7] = [
    ("CF", bits::CF),
    ("PF", bits::PF),
    ("AF", bits::AF),
    ("ZF", bits::ZF),
    ("SF", bits::SF),
    ("OF", bits::OF),
    ("DF", bits::DF),
];
const CODE: u64 = 0x1000;
const STACK: u64 = 0x3000;
/// Where data may be.
const DATA: std::ops::Range<usize> = 0x1800..0x4000;
/// More ticks than any row takes.
const ENOUGH: u64 = 1000;

/// A processor's state as rows describe it.
#[derive(Clone, PartialEq)]
struct State {
    registers: [u64; 8],
    flags: u64,
    undefined: u64,
    ip: Option<u64>,
    fault: Option<u64>,
    model: Model,
    data: Vec<u8>,
}

impl State {
    /// Changes what `words` name.
    fn set(&mut self, words: &str) -> Result<(), String> {
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or(format!("`{word}` has no value"))?;
            let number = || u64::from_str_radix(value, 16).map_err(|_| format!("`{word}` is no number"));
            if let Some(n) = REGISTERS.iter().position(|&r| r == name) {
                self.registers[n] = number()?;
                continue;
            }
            match name {
                "flags" => self.flags = flags(value)?,
                "undefined" => self.undefined = flags(value)?,
                "ip" => self.ip = Some(number()?),
                "fault" => self.fault = Some(number()?),
                "cpu" => self.model = Model::from_name(value).ok_or(format!("no processor `{value}`"))?,
                _ => {
                    let size = match name.as_bytes().first() {
                        Some(b'b') => 1,
                        Some(b'w') => 2,
                        Some(b'd') => 4,
                        _ => return Err(format!("`{name}` is unknown")),
                    };
                    let at = usize::from_str_radix(&name[1..], 16).map_err(|_| format!("`{name}` is unknown"))?;
                    let at = at.checked_sub(DATA.start).filter(|&at| at + size <= self.data.len());
                    let at = at.ok_or(format!("`{name}` is no data address"))?;
                    self.data[at..at + size].copy_from_slice(&number()?.to_le_bytes()[..size]);
                }
            }
        }
        Ok(())
    }
}

fn flags(list: &str) -> Result<u64, String> {
    let find = |name: &str| FLAGS.iter().find(|f| f.0 == name).map(|f| f.1).ok_or(format!("no flag `{name}`"));
    list.split(',').filter(|name| !name.is_empty()).map(find).sum()
}

/// An engine with its memory, used for one row after the other.
struct Rig {
    memory: GuestMemory,
    engine: Interpreter,
}

impl Rig {
    fn new(alone: bool) -> Rig {
        let mut memory = GuestMemory::new(1 << 16, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, 1 << 16, ram, 0, false);
        let mut engine = Interpreter::new();
        if alone {
            engine.set_tracer(Some(Box::new(|_, _, _| {})));
        }
        Rig { memory, engine }
    }
}

/// The processor before the instruction, and memory filled.
fn prepare(memory: &mut GuestMemory, before: &State, code: &[u8], bits: u8) -> CpuState {
    // HLT everywhere: wherever the instruction goes, execution ends there.
    memory.write(CODE, &[0xf4; 0x400]);
    memory.write(CODE, code);
    memory.write(DATA.start as u64, &before.data);
    let mut cpu = CpuState::new(before.model);
    for seg in Seg::ALL {
        let limit = match seg {
            Seg::Es => 0x2fff,
            Seg::Cs => 0xffff,
            _ if bits == 16 => 0xffff,
            _ => u32::MAX,
        };
        let attributes = match (bits, seg) {
            (16, _) => Attributes::REAL_DATA,
            (_, Seg::Cs) => Attributes(0x49b),
            _ => Attributes(0xc93),
        };
        cpu.seg[seg as usize] = Segment::new(if bits == 16 { 0 } else { 8 }, 0, limit, attributes, true);
    }
    if bits == 32 {
        cpu.cr0 |= cr0::PE;
    }
    // Exceptions find no handler and shut the processor down, so that their state can be looked at.
    cpu.idtr.limit = 0;
    cpu.rip = CODE;
    for (n, &value) in (0u8..).zip(&before.registers) {
        cpu.gpr.set(n, value);
    }
    cpu.set_eflags(before.flags);
    cpu.update_mode();
    cpu
}

fn check(rig: &mut Rig, row: &str, bits: u8) -> Result<(), String> {
    let (text, states) = row.split_once('|').ok_or("no `|`")?;
    let (before_text, after_text) = states.split_once("=>").ok_or("no `=>`")?;
    let text = match text.split_once(':') {
        Some(("16", _)) if bits == 32 => return Ok(()),
        Some(("32", _)) if bits == 16 => return Ok(()),
        Some(("16" | "32", text)) => text,
        _ => text,
    };
    let options = assembler::Options { origin: CODE, bits, defines: Vec::new() };
    let code = assembler::assemble(text, &options).map_err(|e| e.to_string())?.bytes;
    let mut before = State {
        registers: [0; 8],
        flags: 0,
        undefined: 0,
        ip: None,
        fault: None,
        model: Model::PentiumM,
        data: vec![0; DATA.len()],
    };
    before.registers[4] = STACK;
    before.set(before_text)?;
    let mut after = State { flags: 0, ..before.clone() };
    after.set(after_text)?;
    if after.fault.is_some() && !after_text.contains("flags=") {
        after.flags = before.flags;
    }

    let Rig { memory, engine } = rig;
    let mut cpu = prepare(memory, &before, &code, bits);
    let delivered = engine.counters().interrupts;
    engine.run(&mut cpu, memory, &mut Nobody, ENOUGH);
    let fault = engine.exceptions().last().filter(|_| engine.counters().interrupts != delivered);

    let mut wrong = Vec::new();
    let mut compare = |name: &str, got: u64, want: u64| {
        if got != want {
            wrong.push(format!("{name} {got:x}, not {want:x}"));
        }
    };
    let none = u64::MAX;
    compare("fault", fault.map_or(none, |e| u64::from(e.0)), after.fault.unwrap_or(none));
    for (n, name) in (0u8..).zip(REGISTERS) {
        compare(name, cpu.gpr.get(n), after.registers[usize::from(n)]);
    }
    let defined = (bits::STATUS | bits::DF) & !after.undefined;
    compare("flags", cpu.eflags() & defined, after.flags & defined);
    let ip = match after.fault {
        Some(_) => CODE,
        // HLT has run.
        None => after.ip.unwrap_or(CODE + code.len() as u64) + 1,
    };
    compare("ip", cpu.rip, ip);
    let mut data = vec![0; DATA.len()];
    memory.read(DATA.start as u64, &mut data);
    for (at, (&got, &want)) in DATA.zip(data.iter().zip(&after.data)) {
        if got != want {
            compare(&format!("[{at:x}]"), got.into(), want.into());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

fn family(name: &str, table: &str) {
    let mut failures = Vec::new();
    let (mut block, mut alone) = (Rig::new(false), Rig::new(true));
    for (number, row) in (1..).zip(table.lines()) {
        if row.trim().is_empty() || row.starts_with('#') {
            continue;
        }
        for bits in [16, 32] {
            for (how, rig) in [("in a block", &mut block), ("alone", &mut alone)] {
                if let Err(what) = check(rig, row, bits) {
                    failures.push(format!("{name}.txt:{number}, {bits} bits, {how}: {}: {what}", row.trim()));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

macro_rules! families {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            family(stringify!($name), include_str!(concat!("families/", stringify!($name), ".txt")));
        })*
    };
}

families! { arithmetic unary shifts multiply decimal moves bits conditions branches stack strings faults }
