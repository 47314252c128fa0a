//! `monitor` commands: what GDB has no words of its own for.

use crate::pc::Chip;
use crate::run::Machine;
use crate::trace;
use cpu::state::Seg;
use std::fmt::Write as _;

const HELP: &str = "\
help                 this
regs                 all registers, segments with their hidden parts
where                mode, CS:IP, SS:SP and the next instruction
xp ADDRESS [BYTES]   guest-physical memory (GDB's own `x` takes linear addresses)
page ADDRESS         the physical address behind a linear one
time                 guest time and instructions so far
chips                the chips on the board
interrupts on|off    whether interrupts are taken while stepping; off unless said
save, restore        keep the machine's state in memory, go back to it (not the contents of disks)
reset                press the reset button
quit                 end the emulator

$eip is the linear address of the next instruction (CS base plus IP), so that `x/i $eip`, `break *ADDRESS` and
`stepi` are right in real mode too; $ip, $cs, $cs_base and so on are the parts. Code is shown as
16-bit code when the processor ran such code as GDB connected: `set architecture i386` changes that. Stack in real mode: `x/8xh $ss_base+($esp&0xffff)`.
";

/// What GDB must be told after the registers have changed behind its back.
const FLUSH: &str = "now say `maintenance flush register-cache`\n";

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Carries out one command and returns what it says.
pub(super) fn perform(machine: &mut Machine, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [] | ["help"] => HELP.into(),
        ["regs"] | ["info"] | ["info", "registers"] => trace::registers(machine.cpu()),
        ["where"] => here(machine),
        ["xp", address] => dump(machine, address, "64"),
        ["xp", address, bytes] => dump(machine, address, bytes),
        ["page", address] => match number(address).map(|linear| machine.translate(linear & 0xffff_ffff)) {
            Some(Some(physical)) => format!("{physical:#x}\n"),
            Some(None) => "no page is present there\n".into(),
            None => format!("`{address}` is no number\n"),
        },
        ["time"] => {
            let counters = machine.counters();
            format!("{} ns, {} instructions\n", counters.time.0, counters.instructions)
        }
        ["chips"] => {
            let names = machine.chips();
            Chip::ALL.iter().zip(names).fold(String::new(), |mut text, (chip, name)| {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{chip:?} ({name}): {} accesses", machine.activity(*chip));
                text
            })
        }
        ["interrupts", "on"] => {
            machine.gdb.step_interrupts = true;
            String::new()
        }
        ["interrupts", "off"] => {
            machine.gdb.step_interrupts = false;
            String::new()
        }
        ["save"] => {
            let state = machine.save();
            let text = format!("{} bytes\n", state.len());
            machine.gdb.saved = Some(state);
            text
        }
        ["restore"] => match machine.gdb.saved.take() {
            None => "nothing was saved\n".into(),
            Some(state) => {
                let result = machine.restore(&state);
                machine.gdb.saved = Some(state);
                match result {
                    Ok(()) => FLUSH.into(),
                    Err(error) => format!("{error}\n"),
                }
            }
        },
        ["reset"] => {
            machine.reset();
            FLUSH.into()
        }
        ["quit"] => {
            machine.gdb.quits = true;
            "the emulator ends when GDB goes on or leaves\n".into()
        }
        _ => format!("unknown command `{line}`\n{HELP}"),
    }
}

fn here(machine: &Machine) -> String {
    let report = machine.fault_report();
    let cpu = machine.cpu();
    let (cs, ss) = (cpu.segment(Seg::Cs), cpu.segment(Seg::Ss));
    let mut code = [0; 15];
    let bytes = machine.read_linear(crate::probe::linear_ip(cpu), &mut code);
    let instruction = trace::disassemble(&code[..bytes], cpu.mode.bitness(), cpu.rip);
    let (ip, sp) = (cpu.rip, cpu.gpr.get(4) as u32);
    format!("{}, {:04x}:{ip:04x}, stack {:04x}:{sp:04x}: {instruction}\n", report.mode, cs.selector, ss.selector)
}

fn dump(machine: &Machine, address: &str, bytes: &str) -> String {
    let (Some(address), Some(bytes)) = (number(address), number(bytes)) else {
        return "xp takes two numbers: address, how many bytes\n".into();
    };
    let mut buffer = vec![0; bytes.min(4096) as usize];
    machine.read_memory(address, &mut buffer);
    let mut text = String::new();
    for (line, chunk) in buffer.chunks(16).enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:08x}:", address.wrapping_add(16 * line as u64));
        for byte in chunk {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    text
}
