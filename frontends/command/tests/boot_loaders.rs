//! Boot loaders and firmware-like guests: GRUB from floppy, CD and disk, iPXE, U-Boot.
//!
//! GRUB polls the keyboard through the BIOS without pause, so a slow processor (`--ips`) makes
//! these runs short: the waiting between typed keys costs instructions.

mod guests;

use guests::{Boot, Firmware};

/// Menu, `c`, then the commands one after the other, each once the one before has answered.
fn grub(boot: Boot, device: &str) {
    boot.with(&["--memory", "32M", "--ips", "20000000", "--rtc", "2024-02-29T12:34:00"])
        .on("GNU GRUB", "c")
        .on("grub>", "ls<enter>")
        .on(device, "cpuid -l; echo long=$?<enter>")
        .on("long=1", "lspci<enter>")
        .on("8086:7113", "date<enter>")
        .on("2024-02-29 12:34", "vbeinfo<enter>")
        .until("1024 x", "120s")
        .passes();
}

fn grub_floppy(firmware: Firmware) {
    grub(Boot::new(firmware).image("--floppy", "grub-floppy.img"), "(fd0)");
}

fn grub_cdrom(firmware: Firmware) {
    grub(Boot::new(firmware).image("--cdrom", "grub-cdrom.iso"), "(cd) (cd,msdos1)");
}

fn grub_usb_image_as_disk(firmware: Firmware) {
    grub(Boot::new(firmware).image("--disk", "grub-usb.img"), "(hd0) (hd0,msdos1)");
}

fn ipxe(boot: Boot) {
    boot.with(&["--memory", "32M", "--ips", "20000000"]).on("Ctrl-B", "<ctrl-b>").until("iPXE>", "300s").passes();
}

fn ipxe_cdrom(firmware: Firmware) {
    ipxe(Boot::new(firmware).image("--cdrom", "ipxe.iso"));
}

fn ipxe_kernel(firmware: Firmware) {
    ipxe(Boot::new(firmware).image("--kernel", "ipxe.lkrn"));
}

under_both_firmwares!(grub_floppy, grub_cdrom, grub_usb_image_as_disk, ipxe_cdrom, ipxe_kernel);

/// U-Boot in place of a BIOS, from the reset vector to its prompt.
#[test]
fn u_boot_as_the_bios() {
    let boot = Boot::new(Firmware::Own).image("--bios", "u-boot.rom").with(&["--memory", "64M", "--ips", "50000000"]);
    boot.until("=> ", "120s").passes();
}
