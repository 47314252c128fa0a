//! Kernels entered directly: Linux to a shell, the Debian installer, GNU Mach.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use guests::{Boot, Firmware, Outcome};

/// Words that leave out what a test of the machine does not need.
const SHORT: &str = "mitigations=off cryptomgr.notests";

/// Boots Debian's kernel to the shell of its initramfs, types a command and switches off.
fn shell(firmware: Firmware) -> Option<Outcome> {
    Boot::new(firmware)
        .image("--kernel", "vmlinuz-686")
        .image("--initrd", "initramfs.cpio.gz")
        .with(&["--memory", "64M", "--append", &format!("console=ttyS0,115200 {SHORT}")])
        .on("/ # ", "serial:echo $((6*7))-answers; uname -m<enter>")
        .on("42-answers", "serial:poweroff -f<enter>")
        .with(&["--time-limit", "120s"])
        .passes()
}

fn linux_shell(firmware: Firmware) {
    let Some(outcome) = shell(firmware) else { return };
    for text in ["BOOTED", "42-answers", "i686", "Power down"] {
        assert!(outcome.serial.contains(text), "no {text:?}: {}", outcome.report());
    }
}

fn linux_shell_on_the_screen(firmware: Firmware) {
    Boot::new(firmware)
        .image("--kernel", "vmlinuz-686")
        .image("--initrd", "initramfs.cpio.gz")
        .with(&["--memory", "64M", "--append", &format!("console=tty0 {SHORT}")])
        .on("/ # ", "echo $((6*7))-answers<enter>")
        .until("42-answers", "120s")
        .passes();
}

/// On the ISA bus: a driver for the PCI display would leave text mode.
fn installer(firmware: Firmware) {
    let append = format!("vga=normal fb=false priority=high {SHORT}");
    Boot::with_isa_display(firmware)
        .image("--kernel", "installer/linux")
        .image("--initrd", "installer/initrd.gz")
        .with(&["--memory", "512M", "--append", &append])
        .until("Select a language", "300s")
        .passes();
}

fn gnumach(firmware: Firmware) {
    let boot = Boot::new(firmware).image("--kernel", "gnumach").with(&["--memory", "32M"]);
    boot.until("No bootstrap code loaded", "60s").passes();
}

under_both_firmwares!(linux_shell, linux_shell_on_the_screen, installer, gnumach);

#[test]
fn the_kernel_with_pae_boots() {
    Boot::new(Firmware::Own)
        .image("--kernel", "vmlinuz-686-pae")
        .image("--initrd", "initramfs.cpio.gz")
        .with(&["--memory", "64M", "--append", &format!("console=ttyS0,115200 {SHORT}")])
        .until("BOOTED", "120s")
        .passes();
}

/// CPU, RAM, screen and devices end the same way each time.
#[test]
fn two_boots_have_the_same_state() {
    let (Some(first), Some(second)) = (shell(Firmware::Own), shell(Firmware::Own)) else { return };
    assert_eq!(first.state_hash(), second.state_hash());
    assert_eq!(first.serial, second.serial);
}
