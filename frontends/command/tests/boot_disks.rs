//! Disks and discs at work in Linux: shared folders, media that change, and a system that installs
//! itself on a new disk and boots from it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};
use std::io::Read;
use std::path::Path;
use std::process::Command;

fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
/// A 1440 KiB floppy with one file.
fn floppy(at: &Path, name: &str, content: &str) {
    let image = at.to_str().unwrap();
    let file = at.with_extension("content");
    std::fs::write(&file, content).unwrap();
    tool("mformat", &["-C", "-f", "1440", "-i", image, "::"]);
    tool("mcopy", &["-i", image, file.to_str().unwrap(), &format!("::/{name}")]);
}

/// A folder as a FAT disk that is written, another as a disc; disc and floppy change under way. In the
/// first minutes Linux looks at a floppy's change line only when it reads, and that read fails.
#[test]
fn folders_are_disks_and_media_change() {
    if guests::guest("vmlinuz-686").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["share/sub folder", "disc", "other"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n * n >> 7) as u8).collect();
    std::fs::write(at("share/sub folder/a rather long name"), &big).unwrap();
    std::fs::write(at("share/gone"), "gone").unwrap();
    std::fs::write(at("disc/A Long Name.text"), &big).unwrap();
    std::fs::write(at("other/second"), "the second disc\n").unwrap();
    floppy(&at("one.img"), "one", "the first floppy\n");
    floppy(&at("two.img"), "two", "the second floppy\n");
    let show = |name: &str| at(name).display().to_string();
    let script = format!(
        "/ # =>serial:for m in ata_piix sd_mod sr_mod vfat isofs floppy; do modprobe $m; done; mkdir /s /c /f; echo a-$((6*7))<enter>\n\
         a-42=>serial:mount -t vfat /dev/sda1 /s; mount -t iso9660 /dev/sr0 /c; cmp '/s/sub folder/a rather long name' '/c/A Long Name.text' && echo same-$((6*7))<enter>\n\
         same-42=>serial:mkdir /s/made; cp '/s/sub folder/a rather long name' /s/made/Copy; mv /s/sub* /s/moved; rm /s/gone; umount /s; umount /c; echo b-$((6*7))<enter>\n\
         b-42=>serial:mount -t vfat /dev/fd0 /f; cat /f/one; umount /f; echo c-$((6*7))<enter>\n\
         c-42=>disc:{}\n\
         @1ms=>floppy:{}\n\
         @1ms=>serial:mount -t iso9660 /dev/sr0 /c; cat /c/second; umount /c; mount -t vfat /dev/fd0 /f || mount -t vfat /dev/fd0 /f; cat /f/two; umount /f; echo d-$((6*7))<enter>\n\
         d-42=>disc:none\n\
         @1ms=>floppy:none\n\
         @1ms=>serial:mount -t iso9660 /dev/sr0 /c; mount -t vfat /dev/fd0 /f; poweroff -f<enter>\n",
        show("other"),
        show("two.img"),
    );
    std::fs::write(at("script"), script).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
    command.args(["run", "--display", "none", "--serial", "stdio", "--clock", "instructions", "--memory", "64M"]);
    command.args(["--append", "console=ttyS0,115200 mitigations=off cryptomgr.notests", "--time-limit", "200s"]);
    command.arg("--kernel").arg(guests::guest("vmlinuz-686").unwrap());
    command.arg("--initrd").arg(guests::guest("initramfs-modules.cpio.gz").unwrap());
    command.args(["--share", &format!("{},write", show("share")), "--cdrom", &show("disc")]);
    command.args(["--floppy", &show("one.img"), "--script", &show("script")]);
    let output = command.output().unwrap();
    let serial = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{serial}\n{messages}");
    for text in ["the first floppy", "the second disc", "the second floppy", "No medium found"] {
        assert!(serial.contains(text), "{text}: {serial}");
    }
    assert!(std::fs::read(at("share/made/Copy")).unwrap() == big);
    assert!(std::fs::read(at("share/moved/a rather long name")).unwrap() == big);
    assert!(!at("share/gone").exists() && !at("share/sub folder").exists());
}

/// Linux installs itself over the network onto a new qcow2 disk, with partition, file system and boot
/// loader, writes and verifies data, and boots from what it made. `scripts/install-debian` does it with
/// all of Debian.
#[test]
fn linux_installs_itself() {
    let names = ["vmlinuz-686", "initramfs-modules.cpio.gz", "debian.img"];
    let [Some(kernel), Some(initrd), Some(debian)] = names.map(guests::guest) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("served")).unwrap();
    let serve = |name: &str, content: &[u8]| std::fs::write(at("served").join(name), content).unwrap();
    std::fs::copy(&kernel, at("served/vmlinuz")).unwrap();
    std::fs::copy(&initrd, at("served/initrd")).unwrap();
    // Boot record, partition table and GRUB's core, which lie before the first partition.
    let mut core = vec![0; 1 << 20];
    std::fs::File::open(&debian).unwrap().read_exact(&mut core).unwrap();
    serve("core", &core);
    let noise = (0..3_000_000u64).map(|n| n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11);
    serve("data", &noise.flat_map(u64::to_le_bytes).collect::<Vec<u8>>());
    let sums =
        Command::new("sha256sum").args(["data", "vmlinuz", "initrd"]).current_dir(at("served")).output().unwrap();
    serve("sums", &sums.stdout);
    serve(
        "grub.cfg",
        b"serial --unit=0\nterminal_output serial console\n\
          linux16 /vmlinuz console=ttyS0,115200 mitigations=off cryptomgr.notests\n\
          initrd16 /initrd\nboot\n",
    );
    let load = "for m in ata_piix sd_mod ext4; do modprobe $m; done";
    serve(
        "install",
        format!(
            "set -e\n\
             {load}\n\
             cd /tmp; g=http://10.0.2.2\n\
             wget -q -O core $g/core; dd if=core of=/dev/sda bs=1M; blockdev --rereadpt /dev/sda; sleep 1\n\
             mke2fs -i 65536 -L small /dev/sda1\n\
             mkdir -p /mnt; mount -t ext4 /dev/sda1 /mnt; cd /mnt; mkdir -p boot/grub\n\
             for f in vmlinuz initrd data sums; do wget -q -O $f $g/$f; done; wget -q -O boot/grub/grub.cfg $g/grub.cfg\n\
             sha256sum -c sums\n\
             dd if=/dev/urandom of=random bs=1M count=24; sha256sum random >random.sum; sync\n\
             echo 3 >/proc/sys/vm/drop_caches; sha256sum -c sums; sha256sum -c random.sum\n\
             cd /; umount /mnt\n"
        )
        .as_bytes(),
    );
    let disk = at("disk.qcow2").display().to_string();
    tool(env!("CARGO_BIN_EXE_beigebox"), &["image", "create", &disk, "1536M"]);
    let run = |arguments: &[&str], rule: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
        command.args(["run", "--display", "none", "--serial", "stdio", "--clock", "instructions", "--memory", "96M"]);
        command.args(["--disk", &disk, "--time-limit", "600s", "--on-text", &format!("/ # =>serial:{rule}<enter>")]);
        let output = command.args(arguments).output().unwrap();
        let serial = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{serial}\n{}", String::from_utf8_lossy(&output.stderr));
        serial
    };
    let (served, kernel, initrd) =
        (at("served").display().to_string(), kernel.display().to_string(), initrd.display().to_string());
    let append = "console=ttyS0,115200 mitigations=off cryptomgr.notests";
    let first =
        ["--kernel", &kernel, "--initrd", &initrd, "--append", append, "--net", "user,restrict", "--tftp", &served];
    let network = "modprobe ne2k-pci; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0";
    let install = "wget -q -O /tmp/i http://10.0.2.2/install; sh /tmp/i && echo made-$((6*7)); poweroff -f";
    let serial = run(&first, &format!("{network}; {install}"));
    assert!(serial.contains("made-42"), "{serial}");
    if let Ok(output) = Command::new("qemu-img").args(["check", &disk]).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let raw = at("raw").display().to_string();
    tool(env!("CARGO_BIN_EXE_beigebox"), &["image", "convert", "-O", "raw", &disk, &raw]);
    tool("/sbin/e2fsck", &["-f", "-n", &format!("{raw}?offset=1048576")]);
    let look = format!("{load}; mkdir -p /mnt; mount -t ext4 /dev/sda1 /mnt; cd /mnt");
    let check = "sha256sum -c sums && sha256sum -c random.sum && echo same-$((6*7)); cd /; umount /mnt; poweroff -f";
    let serial = run(&["--no-reboot"], &format!("{look}; {check}"));
    assert!(serial.contains("same-42"), "{serial}");
}

/// The same machine twice, with a network that has no way out: the same state.
#[test]
fn a_network_without_a_way_out_is_deterministic() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), vec![7; 300_000]).unwrap();
    let run = || {
        Boot::new(Firmware::Own)
            .image("--kernel", "vmlinuz-686")
            .image("--initrd", "initramfs-modules.cpio.gz")
            .with(&["--memory", "64M", "--append", "console=ttyS0,115200 mitigations=off cryptomgr.notests"])
            .with(&["--net", "user,restrict", "--tftp", folder.path().to_str().unwrap()])
            .on("/ # ", "serial:modprobe ne2k-pci; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ping -c 2 10.0.2.2; wget -O - http://10.0.2.2/file | wc -c; echo end-$((6*7))<enter>")
            .until("end-42", "200s")
            .passes()
    };
    let (Some(one), Some(two)) = (run(), run()) else { return };
    assert!(one.serial.contains("300000"), "{}", one.report());
    assert_eq!(one.state_hash(), two.state_hash());
}
