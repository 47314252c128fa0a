//! `monitor` commands: those of [`crate::monitor`] without files, and what belongs to single steps.

use crate::monitor::{Rights, Wish, perform as perform_common};
use crate::run::Machine;

const HELP: &str = "\
interrupts on|off                  whether interrupts are taken while stepping; off unless said

$eip is the linear address of the next instruction (CS base plus IP), so that `x/i $eip`, `break *ADDRESS` and
`stepi` are right in real mode too; $ip, $cs, $cs_base and so on are the parts. Code is shown as
16-bit code when the processor ran such code as GDB connected: `set architecture i386` changes that. Stack in real mode: `x/8xh $ss_base+($esp&0xffff)`.
";

/// What GDB must be told after the registers have changed behind its back.
const FLUSH: &str = "now say `maintenance flush register-cache`\n";

/// Carries out one command and returns what it says.
pub(super) fn perform(machine: &mut Machine, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["interrupts", "on"] => {
            machine.gdb.step_interrupts = true;
            return String::new();
        }
        ["interrupts", "off"] => {
            machine.gdb.step_interrupts = false;
            return String::new();
        }
        _ => {}
    }
    let line = if words.is_empty() { "help" } else { line };
    match perform_common(machine, line, Rights::Debugger) {
        Ok(answer) => {
            let mut text = answer.text;
            if matches!(words[..], [] | ["help"]) {
                text.push_str(HELP);
            }
            if answer.changed {
                text.push_str(FLUSH);
            }
            if answer.wish == Some(Wish::Quit) {
                machine.gdb.quits = true;
                text.push_str("the emulator ends when GDB goes on or leaves\n");
            }
            text
        }
        Err(problem) => problem + "\n",
    }
}
