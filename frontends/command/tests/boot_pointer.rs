//! The pointer as a driver in the guest reports it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};

/// Linux's driver for VMware's pointer: a click in the middle of the screen and a movement into a
/// corner, read as input events: type, code and value, the low half first.
#[test]
fn linux_takes_positions_of_the_pointer() {
    let show = "for f in /dev/input/event*; do hexdump -v -e '8/2 \"%04x \" \"\\n\"' $f & done";
    let boot = Boot::new(Firmware::Own)
        .image("--kernel", "vmlinuz-686")
        .image("--initrd", "initramfs-modules.cpio.gz")
        .with(&["--memory", "128M", "--hypervisor", "kvm"])
        .with(&["--append", "console=ttyS0,115200 mitigations=off cryptomgr.notests quiet"])
        .on("/ # ", "serial:modprobe evdev; modprobe psmouse; cat /proc/bus/input/devices<enter>")
        .on("VMware VMMouse", &format!("serial:{show}; echo READ\"\"Y<enter>"))
        .on("READY", "")
        .on("@500ms", "click:360,200")
        .on("0001 0110 0000", "move:719,0")
        .until("0003 0001 0000", "60s");
    let Some(outcome) = boot.run() else { return };
    assert_eq!(outcome.code, 0, "{}", outcome.report());
    // 360 of 719 and 200 of 399, in 65536ths.
    let expected = ["0003 0000 802e", "0003 0001 8052", "0001 0110 0001", "0001 0110 0000", "0003 0000 ffff"];
    let mut rest = outcome.serial.as_str();
    for event in expected {
        let found = rest.find(event);
        rest = &rest[found.unwrap_or_else(|| panic!("no `{event}`: {}", outcome.report()))..];
    }
}
