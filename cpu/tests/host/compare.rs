//! Runs programs on both sides, compares, and makes failing ones small.

use super::guest::{Guest, SYSTEM};
use super::native::Native;
use super::program::{Exactness, Layout, Program, Table};
use super::state::{CODE, IMAGES, Outcome, PAGE, Random, SCRATCH, Start, WRITABLE};
use cpu::interpreter::Interpreter;
use iced_x86::{Mnemonic, OpKind};
use std::collections::BTreeSet;
use std::fmt::Write;

/// States from which each program starts.
const STARTS: u64 = 16;

struct Sides {
    native: Native,
    guest: Guest<Interpreter>,
    /// What memory holds between programs.
    background: Box<[u8; WRITABLE]>,
    /// The guest's memory after a program.
    after: Box<[u8; WRITABLE]>,
    /// Runs that did not end.
    endless: u64,
}

const REGISTERS: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];

impl Sides {
    fn new() -> Sides {
        let mut native = Native::new();
        let mut guest = Guest::new(Interpreter::new(), &native.exit_page());
        let mut random = Random(0);
        let mut bytes = [[0; PAGE]; 3];
        for page in &mut bytes {
            page.chunks_exact_mut(16).for_each(|c| c.copy_from_slice(&random.vector()));
        }
        // Something that FXRSTOR accepts, and that is also an environment.
        bytes[0][0xa00..0xc00].copy_from_slice(&random.start().image);
        let background: Box<[u8; WRITABLE]> = Box::new(bytes[..2].as_flattened().try_into().unwrap());
        native.write_read_only(&bytes[2]);
        native.memory().copy_from_slice(&*background);
        guest.write(0, bytes.as_flattened());
        Sides { native, guest, after: background.clone(), background, endless: 0 }
    }
    fn load(&mut self, layout: &Layout) {
        self.native.load(&layout.bytes);
        self.guest.load(&layout.bytes);
    }
    /// Runs the loaded program from one state; returns where it ended and the differences.
    fn run(&mut self, program: &Program, layout: &Layout, start: &Start) -> (u32, String) {
        for (at, bytes) in &start.patches {
            self.native.memory()[*at..at + 16].copy_from_slice(bytes);
            self.guest.write(*at, bytes);
        }
        let mut report = String::new();
        let mut eip = CODE;
        // A jump to an address in a register may make a loop: such programs do not run on the host.
        if let Some(guest) = self.guest.run(start) {
            let host = self.native.run(start);
            eip = host.eip;
            // A jump between the instructions may find some that do not belong into programs.
            let astray = (CODE..CODE + PAGE as u32).contains(&eip) && !layout.at.contains(&eip);
            if !astray {
                differences(program, layout, start, &host, &guest, &mut report);
                self.guest.read(&mut self.after);
                self.memory_differences(program, layout, &host, &mut report);
            }
        } else {
            self.endless += 1;
        }
        self.native.memory().copy_from_slice(&*self.background);
        self.guest.write(0, &*self.background);
        (eip, report)
    }
    fn memory_differences(&mut self, program: &Program, layout: &Layout, end: &Outcome, report: &mut String) {
        use Mnemonic as M;
        if end.fault.and_then(|_| program.at(layout, end.eip)).is_some_and(|i| {
            i.memory_size().size() == 10
                || matches!(i.mnemonic(), M::Pusha | M::Pushad | M::Enter | M::Fnsave | M::Fnstenv | M::Fxsave)
        }) {
            // What the host wrote before the fault, the restarted instruction writes again.
            return;
        }
        let host = self.native.memory();
        if let Some(mnemonic) = program.stores_pointers() {
            // Selectors and operand pointer.
            let length = program.items.last().map_or(0, |item| item.instruction.memory_size().size());
            let ignored: &[usize] = match mnemonic {
                Mnemonic::Fxsave => &[12, 16, 18, 20],
                // The formats of 28 and of 14 bytes.
                _ if matches!(length, 28 | 108) => &[16, 20, 22, 24],
                _ => &[8, 10, 12],
            };
            for at in ignored {
                let at = (IMAGES - SCRATCH) as usize + at;
                self.after[at..at + 2].copy_from_slice(&host[at..at + 2]);
            }
        }
        if *host == *self.after {
            return;
        }
        for (at, (h, g)) in host.iter().zip(self.after.iter()).enumerate().filter(|(_, (h, g))| h != g).take(12) {
            let _ = write!(report, "[{:x}]={g:02x}, not {h:02x}; ", SCRATCH as usize + at);
        }
    }
    /// The differences of a program from a state.
    fn check(&mut self, program: &Program, start: &Start) -> String {
        let layout = program.layout();
        self.load(&layout);
        self.run(program, &layout, start).1
    }
    /// The smallest program and state that still differ.
    fn shrink(&mut self, mut program: Program, mut start: Start) -> (Program, Start, String) {
        let mut n = 0;
        while n < program.items.len() {
            let mut smaller = program.clone();
            smaller.items.remove(n);
            if smaller.is_defined() && !self.check(&smaller, &start).is_empty() {
                program = smaller;
                n = 0;
            } else {
                n += 1;
            }
        }
        type Simplify = Box<dyn Fn(&mut Start)>;
        let mut simpler: Vec<Simplify> = vec![
            Box::new(|s| s.patches.clear()),
            Box::new(|s| {
                s.image[..160].fill(0);
                s.image[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
                s.image[24..26].copy_from_slice(&0x1f80_u16.to_le_bytes());
            }),
            Box::new(|s| s.image[160..].fill(0)),
            Box::new(|s| s.flags = 0x202),
        ];
        for n in (0..8).filter(|&n| n != 4) {
            simpler.push(Box::new(move |s| s.gpr[n] = 0));
        }
        for change in simpler {
            let mut changed = start.clone();
            change(&mut changed);
            if !self.check(&program, &changed).is_empty() {
                start = changed;
            }
        }
        let report = self.check(&program, &start);
        (program, start, report)
    }
}

/// Whether two extended values are at most one unit in the last place apart.
fn is_close(a: &[u8], b: &[u8]) -> bool {
    let number = |v: &[u8]| v.iter().rev().fold(0u128, |n, &byte| n << 8 | u128::from(byte));
    // The step over a power of two skips the integer bit.
    let number = |v| (number(v) >> 64) << 63 | number(v) & (u128::from(u64::MAX) >> 1);
    number(a).abs_diff(number(b)) <= 1
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|b| format!("{b:02x}")).collect()
}

fn differences(
    program: &Program,
    layout: &Layout,
    start: &Start,
    host: &Outcome,
    guest: &Outcome,
    report: &mut String,
) {
    let mut differ = |name: &str, host: u32, guest: u32| {
        if host != guest {
            let _ = write!(report, "{name}={guest:x}, not {host:x}; ");
        }
    };
    let faulting = host.fault.and_then(|_| program.at(layout, host.eip));
    let is = |mnemonics: &[Mnemonic]| faulting.is_some_and(|i| mnemonics.contains(&i.mnemonic()));
    for (n, name) in REGISTERS.iter().enumerate() {
        // The host may have loaded some registers before the fault; ESP stays.
        if n == 4 || !is(&[Mnemonic::Popa, Mnemonic::Popad]) {
            differ(name, host.gpr[n], guest.gpr[n]);
        }
    }
    differ("eip", host.eip, guest.eip);
    let undefined = program.undefined_at(layout, host.eip);
    differ("flags", host.flags & !undefined, guest.flags & !undefined);
    let vector = |o: &Outcome| o.fault.map_or(0xff, |f| u32::from(f.0));
    // Which of its two operands CMPS reads first is not defined.
    // FXSAVE and FXRSTOR may raise #AC in place of #GP. BOUND may look at the lower bound before it reads the upper one.
    let either =
        is(&[Mnemonic::Cmpsb, Mnemonic::Cmpsw, Mnemonic::Cmpsd, Mnemonic::Bound, Mnemonic::Fxsave, Mnemonic::Fxrstor]);
    if !(either && guest.fault.is_some()) {
        differ("vector", vector(host), vector(guest));
    }
    if let (Some(h), Some(g)) = (host.fault, guest.fault)
        && h.0 == g.0
        && !either
    {
        // The guest has its system where the host has nothing.
        let system = h.0 == 14 && (SYSTEM..SYSTEM + 2 * PAGE as u64).contains(&u64::from(g.2));
        differ("error", h.1, g.1 & !u32::from(system));
        if h.0 == 14 {
            // Long images are read from either end.
            let long = faulting.is_some_and(|i| i.memory_size().size() > 10);
            if !long {
                differ("cr2", h.2, g.2);
            }
        }
    }
    let exactness = program.exactness();
    if exactness == Exactness::Approximate {
        return;
    }
    let loose = exactness == Exactness::Close;
    // C1 tells the direction of rounding.
    let ignored = if loose { 0x200 } else { 0 };
    let word = |o: &Outcome, at: usize| u32::from(o.image[at]) | u32::from(o.image[at + 1]) << 8;
    let dword = |o: &Outcome, at: usize| word(o, at) | word(o, at + 2) << 16;
    differ("control", word(host, 0), word(guest, 0));
    // The host leaves x87 mode before an MMX instruction faults: TOP and tags change.
    let mmx = faulting.is_some_and(|i| (0..i.op_count()).any(|n| i.op_register(n).is_mm()));
    let ignored = if mmx { ignored | 0x3800 } else { ignored };
    differ("status", word(host, 2) & !ignored, word(guest, 2) & !ignored);
    if !mmx {
        differ("tags", host.image[4].into(), guest.image[4].into());
    }
    differ("fop", word(host, 6), word(guest, 6));
    differ("fip", dword(host, 8), dword(guest, 8));
    // Recent processors set the operand pointer for unmasked exceptions only, and the SDM leaves it undefined where the
    // instruction has no operand in memory.
    let waiting = host.image[2] & 0x80 != 0;
    let cause = program.at(layout, dword(host, 8));
    if waiting
        && cause.is_some_and(|i| (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory))
        && dword(host, 16) != u32::from_le_bytes(start.image[16..20].try_into().unwrap())
        && !program.loads_pointers()
    {
        differ("fdp", dword(host, 16), dword(guest, 16));
    }
    differ("mxcsr", dword(host, 24), dword(guest, 24));
    for n in 0..16_usize {
        let (name, n, length) = if n < 8 { ("r", n, 10) } else { ("xmm", n - 8, 16) };
        // x87 registers by their physical numbers.
        let at = |o: &Outcome| match length {
            10 => 32 + 16 * (n.wrapping_sub(word(o, 2) as usize >> 11) & 7),
            _ => 160 + 16 * n,
        };
        let (h, g) = (&host.image[at(host)..][..length], &guest.image[at(guest)..][..length]);
        if h != g && !(loose && length == 10 && is_close(h, g)) {
            let _ = write!(report, "{name}{n}={}, not {}; ", hex(g), hex(h));
        }
    }
}

/// The start state as a line of the instruction tables names it.
fn describe(s: &Start) -> String {
    let mut text = String::new();
    for (name, value) in REGISTERS.iter().zip(s.gpr).filter(|(_, value)| *value != 0) {
        let _ = write!(text, "{name}={value:x} ");
    }
    let _ = write!(text, "flags={:x} ", s.flags);
    let w = |at: usize| u16::from_le_bytes([s.image[at], s.image[at + 1]]);
    let _ = write!(text, "control={:x} status={:x} tags={:x} mxcsr={:x} ", w(0), w(2), s.image[4], w(24));
    for n in 0..8 {
        let (st, xmm) = (&s.image[32 + 16 * n..][..10], &s.image[160 + 16 * n..][..16]);
        for (name, bytes) in [("st", st), ("xmm", xmm)] {
            if bytes.iter().any(|&b| b != 0) {
                let _ = write!(text, "{name}{n}={} ", hex(bytes));
            }
        }
    }
    for (at, bytes) in &s.patches {
        let _ = write!(text, "[{:x}]={} ", SCRATCH as usize + at, hex(bytes));
    }
    text
}

/// Compares `programs` programs, from `STARTS` states each.
pub fn compare(seed: u64, programs: u64) {
    let table = Table::new();
    assert!(table.encodings() > 900, "{} encodings", table.encodings());
    let mut sides = Sides::new();
    let mut seen = BTreeSet::new();
    let mut failures = Vec::new();
    let (mut instructions, mut faults, mut different) = (0u64, 0u64, 0u64);
    for n in 0..programs {
        let mut random = Random(Random(seed.wrapping_add(n)).next());
        let program = table.program(&mut random);
        let layout = program.layout();
        sides.load(&layout);
        for _ in 0..STARTS {
            let start = random.start();
            let (eip, report) = sides.run(&program, &layout, &start);
            let executed = layout.at.iter().position(|&at| at == eip);
            faults += u64::from(executed.is_some());
            instructions += executed.unwrap_or(program.items.len() - 1) as u64 + 1;
            if report.is_empty() {
                continue;
            }
            different += 1;
            if seen.len() < 100 {
                let (program, start, report) = sides.shrink(program.clone(), start);
                let names =
                    report.split("; ").map(|d| d.split('=').next().unwrap_or("").to_owned()).collect::<Vec<_>>();
                if seen.insert((format!("{:?}", program.codes()), names.join(" "))) {
                    let code: Vec<_> =
                        program.items.iter().flat_map(|i| &i.bytes).map(|b| format!("{b:02x}")).collect();
                    let line = format!("{} | {} | {}=> {report}", program.text(), code.join(" "), describe(&start));
                    println!("seed {}: {line}", seed + n);
                    failures.push(line);
                }
                sides.load(&layout);
            }
        }
    }
    let endless = sides.endless;
    println!(
        "{programs} programs: {instructions} instructions, {faults} faults, {endless} endless, {different} differ"
    );
    assert!(endless <= 10 + programs / 1000, "{endless} programs do not end");
    assert!(failures.is_empty(), "{} kinds of programs differ:\n{}", failures.len(), failures.join("\n"));
}
