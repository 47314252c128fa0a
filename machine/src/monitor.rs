//! Commands for whoever looks after a running machine: a person at `beigebox run --monitor`, a script at its QMP
//! socket, a debugger's `monitor`. One table serves all three.
//!
//! ```
//! use beigebox::monitor::{Rights, perform};
//! # let mut pc = beigebox::Machine::builder().bios(vec![0xf4; 0x1_0000]).build().unwrap();
//! let answer = perform(&mut pc, "xp/2bx 0xfffffff0", Rights::Debugger).unwrap();
//! assert_eq!(answer.text, "fffffff0: 0xf4 0xf4\n");
//! assert!(perform(&mut pc, "screendump x.png", Rights::Debugger).is_err());
//! ```

use crate::host::{self, Mode};
use crate::input::{KeyCode, key_named};
use crate::pc::Chip;
use crate::run::Machine;
use crate::trace;
use cpu::state::{Activity, Seg, cr0, cr4};
use devices::ata::Position;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// What the one who gives commands may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Looks at the guest and changes it; its files are out of reach, and so is whether it runs.
    Debugger,
    /// Everything, the files of the user who runs the machine among it.
    Operator {
        /// How images that are put into drives are opened.
        mode: Mode,
        /// Whether the machine runs at the moment.
        running: bool,
    },
}

/// What a command asks of the loop that runs the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Run no further.
    Stop,
    /// Run again.
    Continue,
    /// End.
    Quit,
}

/// How a command went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it says: nothing, or whole lines.
    pub text: String,
    /// What is to be done now.
    pub wish: Option<Wish>,
    /// Registers or memory are not what they were.
    pub changed: bool,
}

/// A command under way.
struct Call<'m> {
    machine: &'m mut Machine,
    rights: Rights,
    /// What stood behind a slash, as in `x/8xb`.
    format: &'m str,
    words: Vec<&'m str>,
    answer: Answer,
}

type Outcome = Result<(), String>;

/// One command.
struct Command {
    names: &'static [&'static str],
    parameters: &'static str,
    help: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
}

const fn command(
    names: &'static [&'static str],
    parameters: &'static str,
    help: &'static str,
    run: fn(&mut Call<'_>) -> Outcome,
) -> Command {
    Command { names, parameters, help, run }
}

const COMMANDS: &[Command] = &[
    command(&["help", "?"], "[COMMAND]", "this", help),
    command(&["info"], "SUBJECT", "registers, cpus, mem, pic, irq, block, network, chips, time, status, version", info),
    command(&["regs"], "", "all registers, segments with their hidden parts", |call| {
        call.say(&trace::registers(call.machine.cpu()))
    }),
    command(&["where"], "", "mode, CS:IP, SS:SP and the next instruction", here),
    command(&["x"], "[/FORMAT] ADDRESS", "memory at a linear address; FORMAT as in 8xb, 4wd, 10i", |call| {
        dump(call, true)
    }),
    command(&["xp"], "[/FORMAT] ADDRESS [BYTES]", "the same at a guest-physical address", |call| dump(call, false)),
    command(&["print", "p"], "EXPRESSION", "a sum of numbers and registers such as $cs_base+$esp", |call| {
        let value = call.number(0)?;
        call.say(&format!("{value:#x}\n"))
    }),
    command(&["page", "gva2gpa"], "ADDRESS", "the physical address behind a linear one", page),
    command(&["time"], "", "guest time and instructions so far", |call| {
        let counters = call.machine.counters();
        call.say(&format!("{} ns, {} instructions\n", counters.time.0, counters.instructions))
    }),
    command(&["chips"], "", "the chips on the board", chips),
    command(&["sendkey"], "KEYS", "types a chord, such as ctrl-alt-delete", send_key),
    command(&["mouse_move"], "DX DY [DZ]", "moves the mouse by so many counts", |call| {
        let count = |call: &Call<'_>, at: usize| call.signed(at).map(|count| count.clamp(-4096, 4096) as i32);
        let (dx, dy) = (count(call, 0)?, count(call, 1)?);
        let dz = if call.words.len() > 2 { count(call, 2)? } else { 0 };
        call.machine.mouse(dx, dy, dz, 0);
        Ok(())
    }),
    command(&["mouse_button"], "BUTTONS", "holds buttons of the mouse: 1 left, 2 right, 4 middle", |call| {
        let buttons = call.number(0)? as u8 & 7;
        call.machine.mouse(0, 0, 0, buttons);
        Ok(())
    }),
    command(&["nmi"], "", "a non-maskable interrupt", |call| {
        call.machine.cpu.nmi_pending = true;
        Ok(())
    }),
    command(&["system_reset", "reset"], "", "presses the reset button", |call| {
        call.machine.reset();
        call.answer.changed = true;
        Ok(())
    }),
    command(&["system_powerdown"], "", "presses the power button", |call| {
        call.machine.press_power_button();
        Ok(())
    }),
    command(&["stop", "s"], "", "the machine stands still", |call| call.wish(Wish::Stop)),
    command(&["cont", "c"], "", "and goes on", |call| call.wish(Wish::Continue)),
    command(&["quit", "q"], "", "ends the emulator", |call| {
        call.answer.wish = Some(Wish::Quit);
        Ok(())
    }),
    command(&["save"], "", "keeps the machine's state in memory (not the contents of disks)", |call| {
        let state = call.machine.save();
        call.say(&format!("{} bytes\n", state.len()))?;
        call.machine.kept = Some(state);
        Ok(())
    }),
    command(&["restore"], "", "goes back to it", |call| {
        let state = call.machine.kept.take().ok_or("nothing was saved")?;
        let result = call.machine.restore(&state);
        call.machine.kept = Some(state);
        call.answer.changed = true;
        result.map_err(|error| error.to_string())
    }),
    command(&["savevm"], "FILE", "the same in a file", save_file),
    command(&["loadvm"], "FILE", "and back", load_file),
    command(&["screendump"], "FILE", "a picture of the screen: PPM when FILE ends so, else PNG", screen_dump),
    command(&["pmemsave"], "ADDRESS BYTES FILE", "guest-physical memory to a file", |call| save_memory(call, false)),
    command(&["memsave"], "ADDRESS BYTES FILE", "memory at a linear address to a file", |call| save_memory(call, true)),
    command(&["eject"], "DEVICE", "empties floppy0, floppy1 or cd0", |call| change(call, None)),
    command(&["change"], "DEVICE FILE", "puts an image into floppy0, floppy1 or cd0", |call| {
        let path = call.file(1)?.to_owned();
        change(call, Some(&path))
    }),
];

/// Carries out one line.
///
/// # Errors
/// A sentence that says what was wrong.
pub fn perform(machine: &mut Machine, line: &str, rights: Rights) -> Result<Answer, String> {
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Ok(Answer::default()) };
    let (name, mut format) = first.split_once('/').unwrap_or((first, ""));
    let mut words: Vec<&str> = words.collect();
    if matches!(name, "x" | "xp")
        && let Some(apart) = words.first().and_then(|word| word.strip_prefix('/'))
    {
        format = apart;
        words.remove(0);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.names.contains(&name)) else {
        return Err(format!("unknown command `{line}`; `help` lists what there is"));
    };
    let mut call = Call { machine, rights, format, words, answer: Answer::default() };
    (command.run)(&mut call)?;
    Ok(call.answer)
}

/// The key that QEMU's monitor and QMP call `name`.
#[must_use]
pub fn key_of(name: &str) -> Option<KeyCode> {
    let own = match name {
        "minus" => "Minus",
        "equal" => "Equal",
        "comma" => "Comma",
        "dot" => "Period",
        "slash" => "Slash",
        "semicolon" => "Semicolon",
        "apostrophe" => "Quote",
        "grave_accent" => "Backquote",
        "backslash" => "Backslash",
        "bracket_left" => "LeftBracket",
        "bracket_right" => "RightBracket",
        "less" => "International102",
        "asterisk" | "kp_multiply" => "KeypadMultiply",
        "kp_add" => "KeypadPlus",
        "kp_subtract" => "KeypadMinus",
        "kp_divide" => "KeypadDivide",
        "kp_enter" => "KeypadEnter",
        "kp_decimal" => "KeypadPeriod",
        "caps_lock" => "CapsLock",
        "num_lock" => "NumLock",
        "scroll_lock" => "ScrollLock",
        "print" | "sysrq" => "PrintScreen",
        "shift_r" => "RightShift",
        "ctrl_r" => "RightControl",
        "alt_r" | "altgr" => "RightAlt",
        "meta_l" => "LeftMeta",
        "meta_r" => "RightMeta",
        _ => match name.strip_prefix("kp_") {
            Some(digit) => return key_named(&format!("Keypad{digit}")),
            None => name,
        },
    };
    match own.strip_prefix("0x") {
        Some(hex) => key_of_number(u16::from_str_radix(hex, 16).ok()?),
        None => key_named(own),
    }
}

/// The key of a number as QEMU has it: the code of set 1, with bit 7 for those behind a prefix E0h.
#[must_use]
pub fn key_of_number(number: u16) -> Option<KeyCode> {
    KeyCode::of_scan_code(if number & 0x80 != 0 { 0xe000 | number & 0x7f } else { number })
}

/// Types keys that go down together.
///
/// # Errors
/// When too much waits to be typed already.
pub fn type_chord(machine: &mut Machine, keys: &[KeyCode]) -> Result<(), String> {
    if machine.typing.len() > MOST_STROKES {
        return Err("the guest has not taken the keys before these yet".into());
    }
    machine.type_chord(keys);
    Ok(())
}

/// Most strokes that wait to be typed.
const MOST_STROKES: usize = 4096;
/// Most bytes in one dump.
const MOST_BYTES: usize = 1 << 16;
/// Most lines of `info mem`.
const MOST_LINES: usize = 2048;

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Call<'_> {
    #[allow(clippy::unnecessary_wraps, reason = "the last word of commands")]
    fn say(&mut self, text: &str) -> Outcome {
        self.answer.text.push_str(text);
        Ok(())
    }
    fn wish(&mut self, wish: Wish) -> Outcome {
        if self.rights == Rights::Debugger {
            return Err("whether the machine runs is the debugger's own business".into());
        }
        self.answer.wish = Some(wish);
        Ok(())
    }
    fn word(&self, at: usize) -> Result<&str, String> {
        self.words.get(at).copied().ok_or_else(|| "something is missing; `help` shows how it is written".into())
    }
    /// The name of a file of the host's.
    fn file(&self, at: usize) -> Result<&str, String> {
        if self.rights == Rights::Debugger {
            return Err("files of this host are out of a debugger's reach; `--monitor` has them".into());
        }
        self.word(at)
    }
    fn register(&self, name: &str) -> Option<u64> {
        let cpu = self.machine.cpu();
        let general = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
        let short = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
        let at = |names: &[&str]| names.iter().position(|own| *own == name);
        if let Some(index) = at(&general) {
            return Some(cpu.gpr.get(index as u8) & 0xffff_ffff);
        }
        if let Some(index) = at(&short) {
            return Some(cpu.gpr.get(index as u8) & 0xffff);
        }
        let (segment, is_base) = name.strip_suffix("_base").map_or((name, false), |segment| (segment, true));
        let segments =
            [("es", Seg::Es), ("cs", Seg::Cs), ("ss", Seg::Ss), ("ds", Seg::Ds), ("fs", Seg::Fs), ("gs", Seg::Gs)];
        if let Some((_, seg)) = segments.iter().find(|(own, _)| *own == segment) {
            let seg = cpu.segment(*seg);
            return Some(if is_base { seg.base } else { seg.selector.into() });
        }
        Some(match name {
            "eip" | "pc" => crate::probe::linear_ip(cpu),
            "ip" => cpu.rip,
            "eflags" => cpu.eflags(),
            "cr0" => cpu.cr0,
            "cr2" => cpu.cr2,
            "cr3" => cpu.cr3,
            "cr4" => cpu.cr4,
            _ => return None,
        })
    }
    /// A sum of numbers and registers.
    fn value(&self, text: &str) -> Result<u64, String> {
        let mut sum = 0u64;
        let (mut rest, mut minus) = (text, false);
        loop {
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            let (term, behind) = rest.split_at(end);
            let value = match term.strip_prefix('$') {
                Some(name) => self.register(name),
                None => number(term),
            };
            let value = value.ok_or_else(|| format!("`{text}` is no number"))?;
            sum = if minus { sum.wrapping_sub(value) } else { sum.wrapping_add(value) };
            let Some(sign) = behind.chars().next() else { return Ok(sum) };
            minus = sign == '-';
            rest = &behind[1..];
        }
    }
    fn number(&self, at: usize) -> Result<u64, String> {
        self.value(self.word(at)?)
    }
    fn signed(&self, at: usize) -> Result<i64, String> {
        let text = self.word(at)?;
        text.parse().map_err(|_| format!("`{text}` is no number"))
    }
    /// Memory at an address; how many bytes are there.
    fn read(&self, linear: bool, address: u64, buffer: &mut [u8]) -> usize {
        if linear {
            return self.machine.read_linear(address & 0xffff_ffff, buffer);
        }
        self.machine.read_memory(address, buffer);
        buffer.len()
    }
}

fn help(call: &mut Call<'_>) -> Outcome {
    let wanted = call.words.first().copied();
    for command in COMMANDS {
        if wanted.is_none_or(|wanted| command.names.contains(&wanted)) {
            let head = format!("{} {}", command.names.join("|"), command.parameters);
            call.say(&format!("{head:<34} {}\n", command.help))?;
        }
    }
    if call.answer.text.is_empty() { Err("there is no such command".into()) } else { Ok(()) }
}

fn info(call: &mut Call<'_>) -> Outcome {
    let subject = call.words.first().copied().unwrap_or("registers");
    match subject {
        "registers" => call.say(&trace::registers(call.machine.cpu())),
        "cpus" => {
            let cpu = call.machine.cpu();
            let halted = if cpu.activity == Activity::Halted { " (halted)" } else { "" };
            let text = format!("* CPU #0: pc={:#010x}{halted}\n", crate::probe::linear_ip(cpu));
            call.say(&text)
        }
        "mem" => mappings(call),
        "pic" | "irq" => interrupts(call, subject == "irq"),
        "block" => block(call),
        "network" => network(call),
        "chips" | "qtree" => chips(call),
        "time" => (COMMANDS.iter().find(|command| command.names == ["time"]).ok_or("")?.run)(call),
        "version" => call.say(&format!("Beigebox {}\n", env!("CARGO_PKG_VERSION"))),
        "status" => match call.rights {
            Rights::Operator { running: true, .. } => call.say("VM status: running\n"),
            _ => call.say("VM status: paused\n"),
        },
        _ => Err(format!(
            "`info {subject}`: there are registers, cpus, mem, pic, irq, block, network, chips, time, status, version"
        )),
    }
}

fn here(call: &mut Call<'_>) -> Outcome {
    let machine = &call.machine;
    let report = machine.fault_report();
    let cpu = machine.cpu();
    let (cs, ss) = (cpu.segment(Seg::Cs), cpu.segment(Seg::Ss));
    let mut code = [0; 15];
    let bytes = machine.read_linear(crate::probe::linear_ip(cpu), &mut code);
    let instruction = trace::disassemble(&code[..bytes], cpu.mode.bitness(), cpu.rip);
    let (ip, sp) = (cpu.rip, cpu.gpr.get(4) as u32);
    let text =
        format!("{}, {:04x}:{ip:04x}, stack {:04x}:{sp:04x}: {instruction}\n", report.mode, cs.selector, ss.selector);
    call.say(&text)
}

fn page(call: &mut Call<'_>) -> Outcome {
    let address = call.number(0)?;
    match call.machine.translate(address & 0xffff_ffff) {
        Some(physical) => call.say(&format!("{physical:#x}\n")),
        None => call.say("no page is present there\n"),
    }
}

fn chips(call: &mut Call<'_>) -> Outcome {
    let names = call.machine.chips();
    for (chip, name) in Chip::ALL.iter().zip(names) {
        let accesses = call.machine.activity(*chip);
        call.say(&format!("{chip:?} ({name}): {accesses} accesses\n"))?;
    }
    Ok(())
}

/// How memory is shown: how many units, their letter, their bytes.
fn format_of(text: &str) -> Result<(usize, char, usize), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count = if digits == 0 { 1 } else { text[..digits].parse().map_err(|_| "too many units".to_owned())? };
    let (mut letter, mut size) = ('x', 4);
    for c in text[digits..].chars() {
        match c {
            'x' | 'd' | 'u' | 'o' | 'c' | 'i' => letter = c,
            'b' => size = 1,
            'h' => size = 2,
            'w' => size = 4,
            'g' => size = 8,
            _ => return Err(format!("`{text}` is no format; write a number, one of x d u o c i, and one of b h w g")),
        }
    }
    if letter == 'c' {
        size = 1;
    }
    Ok((count, letter, size))
}

fn dump(call: &mut Call<'_>, linear: bool) -> Outcome {
    let address = call.number(0)?;
    if call.format.is_empty() {
        let bytes = if call.words.len() > 1 { call.number(1)? } else { 64 };
        let mut buffer = vec![0; bytes.min(4096) as usize];
        let there = call.read(linear, address, &mut buffer);
        for (line, chunk) in buffer[..there].chunks(16).enumerate() {
            let mut text = format!("{:08x}:", address.wrapping_add(16 * line as u64));
            for byte in chunk {
                // Writing to a string cannot fail.
                let _ = write!(text, " {byte:02x}");
            }
            call.say(&(text + "\n"))?;
        }
        return if there == buffer.len() { Ok(()) } else { call.say("no memory from there on\n") };
    }
    let (count, letter, size) = format_of(call.format)?;
    if letter == 'i' {
        return disassembly(call, linear, address, count.min(1000));
    }
    let mut buffer = vec![0; count.saturating_mul(size).min(MOST_BYTES)];
    let there = call.read(linear, address, &mut buffer);
    for (line, chunk) in buffer[..there].chunks(16).enumerate() {
        let mut text = format!("{:08x}:", address.wrapping_add(16 * line as u64));
        for unit in chunk.chunks_exact(size) {
            let value = unit.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            let unused = 64 - 8 * size as u32;
            let signed = (value << unused) as i64 >> unused;
            let _ = match letter {
                'd' => write!(text, " {signed}"),
                'u' => write!(text, " {value}"),
                'o' => write!(text, " {value:#o}"),
                'c' => write!(text, " {}", char::from(value as u8).escape_default()),
                _ => write!(text, " {value:#0width$x}", width = 2 + 2 * size),
            };
        }
        call.say(&(text + "\n"))?;
    }
    if there == buffer.len() { Ok(()) } else { call.say("no memory from there on\n") }
}

fn disassembly(call: &mut Call<'_>, linear: bool, mut address: u64, count: usize) -> Outcome {
    let bitness = call.machine.cpu().mode.bitness();
    for _ in 0..count {
        let mut code = [0; 15];
        let there = call.read(linear, address, &mut code);
        if there == 0 {
            return call.say("no memory from there on\n");
        }
        let (text, length) = trace::disassemble_one(&code[..there], bitness, address);
        call.say(&format!("{address:08x}: {text}\n"))?;
        address = address.wrapping_add(length.max(1) as u64);
    }
    Ok(())
}

/// `info mem`: the ranges of linear memory that are mapped, and by what right.
fn mappings(call: &mut Call<'_>) -> Outcome {
    let cpu = call.machine.cpu();
    if cpu.cr0 & cr0::PG == 0 {
        return Err("paging is off".into());
    }
    let (root, is_extended, has_large) = (cpu.cr3, cpu.cr4 & cr4::PAE != 0, cpu.cr4 & cr4::PSE != 0);
    let table = |address: u64| {
        let mut bytes = [0; 4096];
        call.machine.read_memory(address, &mut bytes);
        let size = if is_extended { 8 } else { 4 };
        let entry = |entry: &[u8]| entry.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        bytes.chunks_exact(size).map(entry).collect::<Vec<u64>>()
    };
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let mut ranges: Vec<(u64, u64, bool, bool)> = Vec::new();
    let mut add = |start: u64, bytes: u64, user: bool, writable: bool| match ranges.last_mut() {
        Some(last) if last.1 == start && (last.2, last.3) == (user, writable) => last.1 = start + bytes,
        _ => ranges.push((start, start + bytes, user, writable)),
    };
    let roots = if is_extended {
        table(root & 0xffff_f000)[(root as usize & 0xfe0) / 8..].iter().take(4).copied().collect()
    } else {
        vec![root & 0xffff_f000 | 1]
    };
    let (large, per_table) = if is_extended { (0x20_0000u64, 512u64) } else { (0x40_0000, 1024) };
    for (high, directory) in roots.into_iter().enumerate().filter(|(_, directory)| directory & 1 != 0) {
        for (middle, entry) in table(directory & ADDRESS).into_iter().enumerate() {
            let start = (high as u64) << 30 | middle as u64 * large;
            if entry & 1 == 0 {
                continue;
            }
            if entry & 0x80 != 0 && (is_extended || has_large) {
                add(start, large, entry & 4 != 0, entry & 2 != 0);
                continue;
            }
            for (low, page) in table(entry & ADDRESS).into_iter().enumerate().take(per_table as usize) {
                if page & 1 != 0 {
                    let both = entry & page;
                    add(start + ((low as u64) << 12), 0x1000, both & 4 != 0, both & 2 != 0);
                }
            }
        }
    }
    let lines = ranges.len();
    for (start, end, user, writable) in ranges.into_iter().take(MOST_LINES) {
        let (user, writable) = (if user { 'u' } else { '-' }, if writable { 'w' } else { '-' });
        call.say(&format!("{start:08x}-{:08x} {:08x} {user}r{writable}\n", end, end - start))?;
    }
    if lines > MOST_LINES { call.say(&format!("and {} more\n", lines - MOST_LINES)) } else { Ok(()) }
}

fn interrupts(call: &mut Call<'_>, by_line: bool) -> Outcome {
    let chips = call.machine.board.chips.pic.registers();
    for (index, [requests, in_service, mask, levels, vector]) in chips.into_iter().enumerate() {
        if !by_line {
            call.say(&format!(
                "pic{index}: irr={requests:02x} isr={in_service:02x} imr={mask:02x} elcr={levels:02x} vector={vector:02x}\n"
            ))?;
            continue;
        }
        for input in 0..8u8 {
            let has = |set: u8| set >> input & 1 != 0;
            let mut text = format!("irq {:2}: vector {:02x}", 8 * index + usize::from(input), vector | input);
            for (set, word) in
                [(requests, "requested"), (in_service, "in service"), (mask, "masked"), (levels, "level-triggered")]
            {
                if has(set) {
                    text = text + ", " + word;
                }
            }
            call.say(&(text + "\n"))?;
        }
    }
    Ok(())
}

/// The drives by name.
const DRIVES: [(&str, Position); 4] = [
    ("ide0-0", Position::PrimaryMaster),
    ("ide0-1", Position::PrimarySlave),
    ("ide1-0", Position::SecondaryMaster),
    ("ide1-1", Position::SecondarySlave),
];

fn block(call: &mut Call<'_>) -> Outcome {
    let medium = |medium: Option<(u64, bool)>| match medium {
        None => "empty".to_owned(),
        Some((bytes, read_only)) => format!("{bytes} bytes{}", if read_only { ", read-only" } else { "" }),
    };
    for drive in 0..2 {
        if call.machine.board.chips.floppy.kind(drive).is_some() {
            let text = medium(call.machine.board.chips.floppy.medium(drive));
            call.say(&format!("floppy{drive}: {text}\n"))?;
        }
    }
    for (name, position) in DRIVES {
        if let Some((is_cdrom, inside)) = call.machine.board.chips.ide.medium(position) {
            let cd0 = if position == Position::SecondaryMaster { " (cd0)" } else { "" };
            let kind = if is_cdrom { format!("CD-ROM{cd0}") } else { "disk".into() };
            call.say(&format!("{name}: {kind}, {}\n", medium(inside)))?;
        }
    }
    Ok(())
}

fn network(call: &mut Call<'_>) -> Outcome {
    let chips = &call.machine.board.chips;
    let mut text = String::new();
    for (name, card) in [("ne2k_pci", &chips.network), ("ne2k_isa", &chips.isa_network)] {
        let (address, listens) = card.station();
        if address == [0; 6] {
            continue;
        }
        let address: Vec<String> = address.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "{name}: {}, receiver {}", address.join(":"), if listens { "on" } else { "off" });
    }
    call.say(if text.is_empty() { "no network card\n" } else { &text })
}

fn send_key(call: &mut Call<'_>) -> Outcome {
    let text = call.word(0)?;
    let keys: Option<Vec<KeyCode>> = text.split('-').map(key_of).collect();
    let keys = keys.filter(|keys| keys.len() <= 16).ok_or_else(|| format!("`{text}` are no keys"))?;
    type_chord(call.machine, &keys)
}

/// Writes a file of the host's: all of it or nothing.
fn write_file(path: &str, write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Outcome {
    let path = Path::new(path);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    // A device or a pipe takes it as it is.
    if path.exists() && !path.is_file() {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
        return write(&mut file).map_err(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    {
        let mut buffered = std::io::BufWriter::new(&mut file);
        write(&mut buffered).and_then(|()| buffered.flush()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map(|_| ()).map_err(|error| failed(error.error))
}

fn save_file(call: &mut Call<'_>) -> Outcome {
    let path = call.file(0)?.to_owned();
    let state = call.machine.save();
    write_file(&path, |out| out.write_all(&state))
}

fn load_file(call: &mut Call<'_>) -> Outcome {
    let path = call.file(0)?.to_owned();
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let most = call.machine.memory_size() + (64 << 20);
    let mut state = Vec::new();
    let file = std::fs::File::open(&path).map_err(failed)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, most), &mut state).map_err(failed)?;
    call.answer.changed = true;
    call.machine.restore(&state).map_err(|error| format!("{path}: {error}"))
}

fn screen_dump(call: &mut Call<'_>) -> Outcome {
    let path = call.file(0)?.to_owned();
    dump_screen(call.machine, &path, path.to_ascii_lowercase().ends_with(".ppm"))
}

/// Writes a picture of the screen, as PNG or PPM.
///
/// # Errors
/// A sentence that says what was wrong.
pub fn dump_screen(machine: &mut Machine, path: &str, as_ppm: bool) -> Result<(), String> {
    let picture = machine.picture();
    if !as_ppm {
        return host::write_png(&picture, path.as_ref()).map_err(|error| error.to_string());
    }
    write_file(path, |out| {
        write!(out, "P6\n{} {}\n255\n", picture.width, picture.height)?;
        picture.pixels.iter().try_for_each(|pixel| out.write_all(&pixel.to_be_bytes()[1..]))
    })
}

fn save_memory(call: &mut Call<'_>, linear: bool) -> Outcome {
    let (address, bytes, path) = (call.number(0)?, call.number(1)?, call.file(2)?.to_owned());
    if bytes > call.machine.memory_size() {
        return Err("that is more than the machine has".into());
    }
    let call = &*call;
    let mut missing = false;
    write_file(&path, |out| {
        let mut at = 0;
        while at < bytes {
            let mut buffer = vec![0; (bytes - at).min(0x1000) as usize];
            let there = call.read(linear, address.wrapping_add(at), &mut buffer);
            missing |= there < buffer.len();
            out.write_all(&buffer)?;
            at += buffer.len() as u64;
        }
        Ok(())
    })?;
    if missing { Err("parts of it are not mapped; they are zeros in the file".into()) } else { Ok(()) }
}

fn change(call: &mut Call<'_>, path: Option<&str>) -> Outcome {
    let mut device = call.word(0)?;
    if device == "-f" {
        device = call.word(1)?;
    }
    let drive = match device {
        "floppy0" | "fda" | "a" => Some(0),
        "floppy1" | "fdb" | "b" => Some(1),
        "cd0" | "ide1-cd0" | "ide1-0" | "cdrom" => None,
        _ => return Err(format!("`{device}` is no drive whose medium changes; there are floppy0, floppy1, cd0")),
    };
    let mode = match call.rights {
        Rights::Operator { mode, .. } => mode,
        // Without a file there is nothing to open.
        Rights::Debugger => Mode::Snapshot,
    };
    match drive {
        Some(number) => {
            if call.machine.board.chips.floppy.kind(number).is_none() {
                return Err(format!("there is no drive {device}"));
            }
            let disk = path.map(|path| host::open_floppy(path.as_ref(), mode)).transpose();
            call.machine.change_floppy(number, disk.map_err(|error| error.to_string())?);
        }
        None => {
            if !matches!(call.machine.board.chips.ide.medium(Position::SecondaryMaster), Some((true, _))) {
                return Err("the machine has no CD-ROM drive".into());
            }
            let disc = path.map(|path| host::open_cdrom(path.as_ref())).transpose();
            call.machine.change_cdrom(disc.map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let mut image = vec![0x90; 0x1_0000];
        // Paging with a page of 4 MiB at 0 and one page at 8 MiB; hlt.
        image[..4].copy_from_slice(b"abcd");
        Machine::builder().memory(2 << 20).bios(image).cdrom(None).floppy(0, None).build().unwrap()
    }
    const ALL: Rights = Rights::Operator { mode: Mode::Snapshot, running: true };

    #[track_caller]
    fn said(machine: &mut Machine, line: &str) -> String {
        perform(machine, line, ALL).unwrap_or_else(|error| panic!("{line}: {error}")).text
    }

    #[test]
    fn memory_is_shown_in_all_forms() {
        let mut pc = machine();
        pc.write_memory(0x1000, &[1, 0, 0, 0x80, b'A', 0xff, 0x90, 0xc3]);
        assert_eq!(said(&mut pc, "xp 0x1000 4"), "00001000: 01 00 00 80\n");
        assert_eq!(said(&mut pc, "xp/1x 4096"), "00001000: 0x80000001\n");
        assert_eq!(said(&mut pc, "x /2dh 0x1000"), "00001000: 1 -32768\n");
        assert_eq!(said(&mut pc, "xp/1cb 0x1004"), "00001004: A\n");
        assert_eq!(said(&mut pc, "xp/1gx 0xffc+4"), "00001000: 0xc390ff4180000001\n");
        assert!(said(&mut pc, "x/2i 0x1006").contains("00001007: ret"));
        assert_eq!(said(&mut pc, "p $cs_base+$ip"), "0xfffffff0\n");
        assert!(perform(&mut pc, "xp/3q 0", ALL).is_err() && perform(&mut pc, "xp/3x", ALL).is_err());
        assert!(said(&mut pc, "xp/99999999gx 0").len() < 1 << 20);
    }

    #[test]
    fn page_tables_are_shown() {
        let mut pc = machine();
        assert_eq!(perform(&mut pc, "info mem", ALL), Err("paging is off".into()));
        let entries = [(0x1000, 0x87u32), (0x1004, 0x2007), (0x2000, 0x5005), (0x2004, 0x6005), (0x2008, 0x7007)];
        for (at, entry) in entries {
            pc.write_memory(at, &entry.to_le_bytes());
        }
        pc.with_cpu(|cpu| {
            cpu.cr0 |= cr0::PE | cr0::PG;
            cpu.cr3 = 0x1000;
            cpu.cr4 |= cr4::PSE;
        });
        let text = "00000000-00400000 00400000 urw\n00400000-00402000 00002000 ur-\n00402000-00403000 00001000 urw\n";
        assert_eq!(said(&mut pc, "info mem"), text);
        assert_eq!(said(&mut pc, "page 0x401004"), "0x6004\n");
    }

    #[test]
    fn files_and_drives_are_for_operators() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut pc = machine();
        std::fs::write(path("f.img"), vec![1; 1_474_560]).unwrap();
        assert!(said(&mut pc, "info block").contains("floppy0: empty\nide1-0: CD-ROM (cd0), empty\n"));
        said(&mut pc, &format!("change floppy0 {}", path("f.img")));
        assert!(said(&mut pc, "info block").contains("floppy0: 1474560 bytes"));
        said(&mut pc, "eject floppy0");
        assert!(said(&mut pc, "info block").contains("floppy0: empty"));
        pc.run_for(1000);
        let hash = pc.state_hash();
        said(&mut pc, &format!("savevm {}", path("state")));
        pc.run_for(1000);
        said(&mut pc, &format!("loadvm {}", path("state")));
        assert_eq!(pc.state_hash(), hash);
        said(&mut pc, &format!("screendump {}", path("s.ppm")));
        assert!(std::fs::read(path("s.ppm")).unwrap().starts_with(b"P6\n640 480\n255\n"));
        said(&mut pc, &format!("pmemsave 0 4097 {}", path("m")));
        assert_eq!(std::fs::metadata(path("m")).unwrap().len(), 4097);
        for line in ["loadvm /nowhere/x", "change cd0 /nowhere/x", "eject hd0", "screendump /nowhere/x.png", "nonsense"]
        {
            assert!(perform(&mut pc, line, ALL).is_err(), "{line}");
        }
        for line in ["screendump x.png", "savevm x", "loadvm x", "change cd0 x", "pmemsave 0 1 x", "stop", "cont"] {
            assert!(perform(&mut pc, line, Rights::Debugger).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_survives_any_arguments() {
        let mut pc = machine();
        let texts = ["", "x", "0", "-1", "99999999999999999999", "$", "+", "0x", "/", "é", "18446744073709551615"];
        for command in COMMANDS {
            for first in texts {
                for second in texts {
                    let _ = perform(&mut pc, &format!("{} {first} {second}", command.names[0]), Rights::Debugger);
                    let _ = perform(&mut pc, &format!("{}/{first} {second}", command.names[0]), Rights::Debugger);
                }
            }
        }
        assert!(said(&mut pc, "help").lines().count() >= COMMANDS.len());
        for subject in ["registers", "cpus", "pic", "irq", "network", "chips", "time", "status", "version"] {
            assert!(said(&mut pc, &format!("info {subject}")).ends_with('\n'), "{subject}");
        }
    }

    #[test]
    fn keys_have_the_names_of_qemu() {
        for name in
            ["a", "1", "ret", "spc", "ctrl", "ctrl_r", "f12", "kp_5", "dot", "0x1c", "delete", "caps_lock", "pgup"]
        {
            assert!(key_of(name).is_some(), "{name}");
        }
        assert_eq!(key_of_number(0xc8), Some(KeyCode::Up));
        assert_eq!((key_of("nokey"), key_of("0xzz"), key_of("")), (None, None, None));
        let mut pc = machine();
        let many = (0..100_000).find(|_| perform(&mut pc, "sendkey ctrl-alt-delete", ALL).is_err());
        assert!(many.is_some());
    }
}
