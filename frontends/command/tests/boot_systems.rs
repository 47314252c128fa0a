//! The long guests: memtest86+ and Debian from its disk.
//!
//! memtest86+ waits 160 s of guest time in its last test. A slow processor (`--ips`) makes that
//! wait cost few instructions, and the tests before it cost the same.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};

/// A full pass over 16 MiB, without an error: the count of passes becomes 1.
fn memtest(boot: Boot) {
    let boot = boot.with(&["--memory", "16M", "--ips", "20000000"]).until("Pass:  1", "3000s");
    let Some(outcome) = boot.passes() else { return };
    assert!(outcome.screen.contains("Errors: 0"), "{}", outcome.report());
}

fn memtest_kernel(firmware: Firmware) {
    memtest(Boot::new(firmware).image("--kernel", "memtest86+.bin"));
}

fn memtest_cdrom(firmware: Firmware) {
    memtest(Boot::new(firmware).image("--cdrom", "memtest86+.iso"));
}

// It switches off through APM under the built-in BIOS, through ACPI under SeaBIOS.
fn debian(firmware: Firmware) -> Boot {
    Boot::new(firmware)
        .image("--disk", "debian.img")
        .with(&["--memory", "256M"])
        .on("login: ", "serial:root<enter>")
        .on("Password: ", "serial:beigebox<enter>")
}

fn debian_reboots_and_powers_off(firmware: Firmware) {
    let boot = debian(firmware)
        .with(&["--time-limit", "600s"])
        .on("# ", "serial:reboot<enter>")
        .on("login: ", "serial:root<enter>")
        .on("Password: ", "serial:beigebox<enter>")
        .on("# ", "serial:poweroff<enter>");
    let Some(outcome) = boot.passes() else { return };
    assert!(outcome.serial.contains("Restarting system"), "{}", outcome.report());
    assert!(outcome.serial.contains("Power down"), "{}", outcome.report());
}

/// Python, a compiler and compression give what they give on the host.
fn debian_computes(firmware: Firmware) {
    let Some(expected) = guests::guest("debian.expected") else { return };
    let expected = std::fs::read_to_string(expected).unwrap();
    let boot = debian(firmware).on("# ", "serial:/root/selftest.sh<enter>").until("SELFTEST-DONE", "600s");
    let Some(outcome) = boot.passes() else { return };
    let serial = outcome.serial.replace('\r', "");
    assert!(serial.contains(expected.trim_end()), "{}", outcome.report());
}

under_both_firmwares!(memtest_kernel, memtest_cdrom, debian_reboots_and_powers_off, debian_computes);
