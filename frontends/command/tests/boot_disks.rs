//! Disks and discs at work in Linux: shared folders, media that change, and a system that copies
//! itself to a new disk and boots from it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};
use std::io::{Read, Write};
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

/// Debian puts itself on a new qcow2 disk, checks it, moves data over the network in both directions,
/// and boots from what it made. `scripts/install-debian` is the long form of this.
#[test]
#[ignore = "takes minutes; run it with --run-ignored on an idle machine"]
fn debian_moves_to_a_new_disk() {
    let Some(image) = guests::guest("debian.img") else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let body: Vec<u8> = (0..4_000_000u32).map(|n| (n ^ n >> 5).wrapping_mul(77) as u8).collect();
    let (port, taken) = server(body.clone());
    // Runs in the guest. The boot record and GRUB's core lie in the first 2048 sectors.
    let script = format!(
        "set -e\n\
         modprobe ne2k-pci; sleep 1; e=$(ls /sys/class/net | grep ^e); ip link set $e up\n\
         ip addr add 10.0.2.15/24 dev $e; ip route add default via 10.0.2.2\n\
         dd if=/dev/sda of=/dev/sdb bs=1M count=1\n\
         blockdev --rereadpt /dev/sdb\n\
         mkfs.ext4 -q -O ^metadata_csum,^64bit -E lazy_itable_init=1 -L debian /dev/sdb1\n\
         mount /dev/sdb1 /mnt\n\
         cd /; x=; for n in lib/python3 lib/python3.11 lib/gcc lib/i386-linux-gnu/perl include share; do x=\"$x --exclude=./usr/$n\"; done\n\
         for n in drivers net fs sound; do x=\"$x --exclude=kernel/$n\"; done\n\
         tar -c --one-file-system $x . | tar -x -C /mnt\n\
         cat >/tmp/net.py <<'PY'\n\
         import hashlib, socket\n\
         def far():\n\
         \x20s = socket.create_connection((\"10.0.2.2\", {port}))\n\
         \x20return s\n\
         s = far(); s.sendall(b\"down\"); data = b\"\"\n\
         while True:\n\
         \x20part = s.recv(65536)\n\
         \x20if not part: break\n\
         \x20data += part\n\
         open(\"/mnt/root/loaded\", \"wb\").write(data)\n\
         s = far(); s.sendall(b\"up  \" + data); s.close()\n\
         PY\n\
         python3 /tmp/net.py\n\
         head -c 64M /dev/urandom | tee /mnt/root/random | sha256sum >/mnt/root/random.sum\n\
         sync; echo 3 >/proc/sys/vm/drop_caches\n\
         sha256sum </mnt/root/random | cmp - /mnt/root/random.sum\n\
         umount /mnt; e2fsck -f -n /dev/sdb1; badblocks -b 4096 -c 256 /dev/sdb 30000\n\
         echo made-$((6*7)); poweroff\n"
    );
    std::fs::create_dir(at("scripts")).unwrap();
    std::fs::write(at("scripts/make"), script).unwrap();
    let disk = at("disk.qcow2").display().to_string();
    tool(env!("CARGO_BIN_EXE_beigebox"), &["image", "create", &disk, "1536M"]);
    let share = at("scripts").display().to_string();
    let run = |arguments: &[&str], rules: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
        command.args(["run", "--display", "none", "--serial", "stdio", "--memory", "256M", "--wall-limit", "500s"]);
        command.args(["--panic-text", "Kernel panic"]).args(arguments);
        for rule in rules {
            command.args(["--on-text", rule]);
        }
        let output = command.output().unwrap();
        let serial = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{serial}\n{}", String::from_utf8_lossy(&output.stderr));
        serial
    };
    let old = format!("file={},snapshot=on", image.display());
    let login = ["login:=>serial:root<enter>", "assword:=>serial:beigebox<enter>"];
    let make = "# =>serial:stty -echo; mount -t vfat /dev/sdc1 /media || mount /dev/sdc1 /media; sh /media/make || echo made-not<enter>";
    let engine = if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        "jit"
    } else {
        "interpreter"
    };
    let first = ["--disk", &old, "--disk", &disk, "--share", &share, "--net", "user", "--engine", engine];
    let serial = run(&first, &[&login[..], &[make]].concat());
    assert!(serial.contains("made-42"), "{serial}");
    assert!(taken.join().unwrap() == body, "what came back differs");
    if let Ok(output) = Command::new("qemu-img").args(["check", &disk]).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let check = "# =>serial:sha256sum </root/random | cmp - /root/random.sum && echo same-$((6*7)); poweroff<enter>";
    let serial = run(&["--disk", &disk, "--engine", engine], &[&login[..], &[check]].concat());
    assert!(serial.contains("same-42"), "{serial}");
}

/// Gives `body` to who says "down", and returns what comes from who says "up".
fn server(body: Vec<u8>) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            if &word == b"down" {
                stream.write_all(&body).unwrap();
            } else {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                return got;
            }
        }
    });
    (port, thread)
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
