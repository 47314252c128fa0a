//! `beigebox image` beside qemu-img: each reads what the other has made.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

fn beigebox(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_beigebox")).current_dir(folder).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}
fn passes(folder: &Path, arguments: &[&str]) -> String {
    let (code, text) = beigebox(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {text}");
    text
}
/// `None` where there is no qemu-img.
fn qemu(folder: &Path, arguments: &[&str]) -> Option<(i32, String)> {
    let output = Command::new("qemu-img").current_dir(folder).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.code().unwrap_or(-1), text))
}

/// 12 MiB with data that compresses, data that does not, and holes.
fn content() -> Vec<u8> {
    let mut bytes = vec![0u8; 12 << 20];
    let mut noise = 1u64;
    for (at, byte) in bytes.iter_mut().enumerate() {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = match at >> 18 & 3 {
            0 => 0,
            1 => (noise >> 40) as u8,
            2 => (at >> 9) as u8,
            _ => b'x',
        };
    }
    bytes
}

#[test]
fn images_of_qemu_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes = content();
    std::fs::write(folder.join("raw"), &bytes).unwrap();
    for options in [
        &["-O", "qcow2"][..],
        &["-O", "qcow2", "-c"],
        &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "qcow2", "-o", "cluster_size=512,refcount_bits=1"],
        &["-O", "qcow2", "-o", "lazy_refcounts=on,cluster_size=2M"],
        &["-O", "vmdk"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        &["-O", "vmdk", "-o", "subformat=monolithicFlat"],
        &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
        &["-O", "vdi"],
        &["-O", "vdi", "-o", "static=on"],
        &["-O", "vpc", "-o", "force_size=on"],
        &["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
    ] {
        let mut arguments = vec!["convert", "-f", "raw"];
        arguments.extend(options);
        arguments.extend(["raw", "image.vhd"]);
        let Some((code, text)) = qemu(folder, &arguments) else { return };
        assert_eq!(code, 0, "{text}");
        passes(folder, &["image", "convert", "-O", "raw", "--force", "image.vhd", "copy"]);
        assert!(std::fs::read(folder.join("copy")).unwrap() == bytes, "{options:?}");
        passes(folder, &["image", "check", "image.vhd"]);
        std::fs::remove_file(folder.join("image.vhd")).unwrap();
    }
}

#[test]
fn qemu_reads_our_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes = content();
    std::fs::write(folder.join("raw"), &bytes).unwrap();
    let same = |name: &str| {
        let Some((code, text)) = qemu(folder, &["compare", "-f", "raw", "-F", "qcow2", "raw", name]) else { return };
        assert_eq!(code, 0, "{name}: {text}");
        let (code, text) = qemu(folder, &["check", name]).unwrap();
        assert_eq!(code, 0, "{name}: {text}");
    };
    for options in [&[][..], &["-c"], &["-c", "--zstd"]] {
        let mut arguments = vec!["image", "convert", "--force"];
        arguments.extend(options);
        arguments.extend(["raw", "ours.qcow2"]);
        passes(folder, &arguments);
        same("ours.qcow2");
    }
    // An overlay, grown, with snapshots.
    passes(folder, &["image", "create", "--backing", "ours.qcow2", "overlay.qcow2"]);
    same("overlay.qcow2");
    passes(folder, &["image", "snapshot", "--create", "first", "overlay.qcow2"]);
    passes(folder, &["image", "resize", "overlay.qcow2", "3G"]);
    if let Some((code, text)) = qemu(folder, &["check", "overlay.qcow2"]) {
        assert_eq!(code, 0, "{text}");
        let (_, text) = qemu(folder, &["snapshot", "-l", "overlay.qcow2"]).unwrap();
        assert!(text.contains("first"), "{text}");
    }
    assert!(passes(folder, &["image", "info", "overlay.qcow2"]).contains("backing file: ours.qcow2"));
    passes(folder, &["image", "snapshot", "--apply", "first", "overlay.qcow2"]);
    same("overlay.qcow2");
    passes(folder, &["image", "snapshot", "--delete", "first", "overlay.qcow2"]);
    same("overlay.qcow2");
    for (size, extra) in [("100M", &["--version", "2"][..]), ("5G", &["--cluster-size", "4K"]), ("1T", &[])] {
        let mut arguments = vec!["image", "create", "--force", "new.qcow2", size];
        arguments.extend(extra);
        passes(folder, &arguments);
        if let Some((code, text)) = qemu(folder, &["check", "new.qcow2"]) {
            assert_eq!(code, 0, "{text}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let other = tempfile::tempdir().unwrap();
    let base = other.path().join("base.qcow2");
    let base = base.to_str().unwrap();
    passes(folder, &["image", "create", base, "10M"]);
    passes(folder, &["image", "create", "-b", base, "overlay.qcow2"]);
    passes(folder, &["image", "create", "a.qcow2", "10M"]);
    std::fs::copy(folder.join("a.qcow2"), folder.join("short.qcow2")).unwrap();
    let short = std::fs::OpenOptions::new().write(true).open(folder.join("short.qcow2")).unwrap();
    short.set_len(70_000).unwrap();
    let overlay = format!("file=overlay.qcow2,backing={base}");
    for (arguments, code, words) in [
        (vec!["image", "create", "a.qcow2", "10M"], 78, "already"),
        (vec!["image", "create", "b.qcow2"], 78, "how large"),
        (vec!["image", "create", "b.qcow2", "10M", "--cluster-size", "3K"], 78, "power of two"),
        (vec!["image", "info", "nothing"], 66, "nothing"),
        (vec!["image", "info", "overlay.qcow2"], 78, "outside"),
        (vec!["image", "info", "short.qcow2"], 78, "truncated"),
        (vec!["image", "resize", "a.qcow2", "5M"], 78, "smaller"),
        (vec!["image", "snapshot", "-a", "x", "a.qcow2"], 78, "no snapshot"),
        (vec!["run", "--disk", "overlay.qcow2"], 78, "backing=PATH"),
        (vec!["run", "--disk", "file=a.qcow2,format=zip"], 2, "qcow2"),
        (vec!["run", "--disk", &overlay, "--time-limit", "10ms", "--display", "none"], 124, ""),
        (vec!["run", "--disk", "a.qcow2", "--disk", "a.qcow2"], 74, "another machine"),
    ] {
        let (got, text) = beigebox(folder, &arguments);
        assert_eq!(got, code, "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    passes(folder, &["image", "info", "--allow-backing", base, "overlay.qcow2"]);
    // A chain that bites its own tail.
    let header = |name: &str, backing: &str| {
        let mut bytes = std::fs::read(folder.join("a.qcow2")).unwrap();
        bytes[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, backing.len() as u8]);
        bytes[512..512 + backing.len()].copy_from_slice(backing.as_bytes());
        bytes[112..125].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5, b'q', b'c', b'o', b'w', b'2']);
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    header("one.qcow2", "two.qcow2");
    header("two.qcow2", "one.qcow2");
    let (code, text) = beigebox(folder, &["image", "info", "one.qcow2"]);
    assert!(code == 78 && text.contains("its own chain"), "{code}: {text}");
    header("one.qcow2", "json:{}");
    let (code, text) = beigebox(folder, &["image", "info", "one.qcow2"]);
    assert!(code == 78 && text.contains("no plain file name"), "{code}: {text}");
}

/// One wrong field: where it lies, and its bytes.
type Patch<'a> = (usize, &'a [u8]);

/// Makes the sum of a VHD footer or header fit again.
fn vhd_sum(bytes: &mut [u8], part: std::ops::Range<usize>, field: usize) {
    bytes[part.start + field..part.start + field + 4].fill(0);
    let sum: u32 = bytes[part.clone()].iter().map(|byte| u32::from(*byte)).sum();
    bytes[part.start + field..part.start + field + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// Damage of every kind, in images that qemu-img made: whatever is asked of them ends with an error that
/// names file and field, no copy is left behind, and the image stays as it was.
#[test]
fn hostile_images_are_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let content: Vec<u8> = content()[..3 << 20].iter().map(|byte| byte | 1).collect();
    std::fs::write(folder.join("raw"), &content).unwrap();
    let huge = 0x7fff_ffffu32.to_le_bytes();
    let behind = 0x0010_0000u32;
    let far = (behind.to_le_bytes(), behind.to_be_bytes());
    let cut = usize::MAX;
    let sparse: &[Patch<'_>] = &[
        (4, &[9, 0, 0, 0]),
        (12, &u64::MAX.to_le_bytes()),
        (20, &[3, 0]),
        (20, &[0; 8]),
        (44, &[0; 4]),
        (44, &huge),
        (56, &u64::to_le_bytes(1 << 40)),
        (56, &[0; 8]),
        // Grain directory and grain table; see below.
        (cut - 1, &far.0),
        (cut - 2, &far.0),
        (cut, &[1]),
        (cut, &[2]),
        (cut, &[8]),
    ];
    let stream: &[Patch<'_>] = &[(cut - 2, &far.0), (cut - 3, &[0xff; 64]), (cut, &[2]), (cut, &[8])];
    let vdi: &[Patch<'_>] = &[
        (0x40, &[0]),
        (0x44, &[0, 0, 9, 0]),
        (0x4c, &[4, 0, 0, 0]),
        (0x154, &huge),
        (0x158, &[0xff; 4]),
        (0x168, &[1, 0, 0, 0]),
        (0x170, &[0xff; 8]),
        (0x178, &[0; 4]),
        (0x178, &[3, 0, 0, 0]),
        (0x180, &[1, 0, 0, 0]),
        (0x180, &[0xff; 4]),
        (0x200, &far.0),
        (cut, &[1]),
        (cut, &[2]),
        (cut, &[8]),
    ];
    let vhd: &[Patch<'_>] = &[
        (64, &[1, 2, 3, 4]),
        (60, &[0, 0, 0, 4]),
        (16, &[0xff; 8]),
        (16, &[0; 8]),
        (512 + 16, &[0xff; 8]),
        (512 + 28, &[0; 4]),
        (512 + 28, &[0xff; 4]),
        (512 + 32, &[0; 4]),
        (512 + 36, &[1, 2, 3, 4]),
        (0x600, &far.1),
        (cut, &[1]),
        (cut, &[2]),
        (cut, &[8]),
    ];
    let qcow2: &[Patch<'_>] = &[
        (4, &[0, 0, 0, 9]),
        (20, &[0, 0, 0, 40]),
        (24, &[0xff; 8]),
        (32, &[0, 0, 0, 1]),
        (36, &[0; 4]),
        (40, &[0, 0, 0, 0, 0, 0, 2, 0]),
        (40, &u64::to_be_bytes(1 << 50)),
        (48, &[0; 8]),
        (56, &[0xff; 4]),
        (60, &[0xff; 4]),
        (72, &u64::to_be_bytes(1 << 40)),
        (96, &[0, 0, 0, 9]),
        (100, &[0, 0, 0, 1]),
        // The L1 table's first entry, and the first L2 table's.
        (cut - 1, &u64::to_be_bytes(1 << 63 | 1 << 45)),
        (cut - 2, &u64::to_be_bytes(1 << 63 | 1 << 45)),
        (cut - 2, &u64::to_be_bytes(1 << 63 | 0x200)),
        (cut, &[1]),
        (cut, &[2]),
    ];
    for (format, options, patches) in [
        ("vmdk", "subformat=monolithicSparse", sparse),
        ("vmdk", "subformat=streamOptimized", stream),
        ("vdi", "static=off", vdi),
        ("vpc", "subformat=dynamic,force_size=on", vhd),
        ("qcow2", "compat=1.1", qcow2),
    ] {
        let Some((code, text)) = qemu(folder, &["convert", "-f", "raw", "-O", format, "-o", options, "raw", "good"])
        else {
            return;
        };
        assert_eq!(code, 0, "{text}");
        let good = std::fs::read(folder.join("good")).unwrap();
        let le = |at: usize| u32::from_le_bytes(good[at..at + 4].try_into().unwrap()) as usize;
        let be = |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().unwrap()) as usize;
        for (at, value) in patches {
            let mut bytes = good.clone();
            if *at == cut {
                // A half, a quarter, or all but a part at the end.
                let length = if value == &[8] { good.len() - 0x4000 } else { good.len() / 4 * usize::from(value[0]) };
                bytes.truncate(length);
            } else {
                let directory = if format == "vmdk" && options.ends_with("Sparse") { le(56) * 512 } else { 0 };
                let at = match (format, cut - *at) {
                    ("vmdk", 1) => directory,
                    // The last entry in use of the first grain table.
                    ("vmdk", 2) if directory != 0 => le(directory) * 512 + 4 * 40,
                    // A stream has its tables behind its grains: what points to a table.
                    ("vmdk", 2) => {
                        let header = good.len() - 1024;
                        le(header + 56) * 512
                    }
                    // The first grain's marker and data.
                    ("vmdk", 3) => le(64) * 512 + 8,
                    ("qcow2", 1) => be(40),
                    ("qcow2", 2) => be(be(40)) & 0xff_ffff,
                    _ => *at,
                };
                bytes[at..at + value.len()].copy_from_slice(value);
                if format == "vpc" && at < 512 && at != 64 {
                    vhd_sum(&mut bytes, 0..512, 64);
                }
                if format == "vpc" && (512..1536).contains(&at) && at != 512 + 36 {
                    vhd_sum(&mut bytes, 512..1536, 36);
                }
            }
            let what = format!("{format} {options}, {at:#x} = {value:02x?}");
            std::fs::write(folder.join("bad"), &bytes).unwrap();
            // As it is named, so that a lost signature does not make it raw.
            let ours = if format == "vpc" { "vhd" } else { format };
            let (code, text) = beigebox(folder, &["image", "convert", "-f", ours, "-O", "raw", "bad", "copy"]);
            // What is cut off the end may be what nobody needs: the rest of a block behind the disk's end.
            if code == 0 && value == &[8] && ["vpc", "vmdk"].contains(&format) {
                assert!(std::fs::read(folder.join("copy")).unwrap() == content, "{what}");
                std::fs::remove_file(folder.join("copy")).unwrap();
                let (code, text) = beigebox(folder, &["image", "check", "bad"]);
                assert!(code == 78 || format == "vmdk", "{what}: {code} {text}");
                continue;
            }
            assert_eq!(code, 78, "{what}: {text}");
            assert!(text.contains("bad: ") && text.contains(ours), "{what}: {text}");
            assert!(!folder.join("copy").exists(), "{what}: half a copy");
            let drive = format!("file=bad,format={ours},snapshot");
            let (code, text) = beigebox(folder, &["run", "--disk", &drive, "--display", "none", "--time-limit", "1ms"]);
            assert!([78, 124].contains(&code), "{what}: {code} {text}");
            beigebox(folder, &["image", "info", "bad"]);
            beigebox(folder, &["image", "check", "bad"]);
            assert!(std::fs::read(folder.join("bad")).unwrap() == bytes, "{what}: the image has changed");
        }
    }
    for (name, text, words) in [
        ("outside", "RW 16 FLAT \"../raw\" 0\n", "same folder"),
        ("absolute", "RW 16 FLAT \"/etc/passwd\" 0\n", "same folder"),
        ("missing", "RW 16 FLAT \"nothing\" 0\n", "no such regular file"),
        ("itself", "RW 16 SPARSE \"bad\"\n", "bad"),
        ("long", "RW 60000 FLAT \"raw\" 0\n", "truncated"),
        ("sectors", "RW 99999999999999999999 FLAT \"raw\" 0\n", "line of the descriptor"),
        ("kind", "RW 16 MAGIC \"raw\" 0\n", "not supported"),
        ("nothing", "CID=1\n", "no extent"),
        ("parent", "parentCID=12345678\nRW 16 FLAT \"raw\" 0\n", "merge it"),
        ("many", &"RW 16 FLAT \"raw\" 0\n".repeat(600), "512"),
    ] {
        std::fs::write(folder.join("bad"), format!("# Disk DescriptorFile\n{text}")).unwrap();
        let (code, text) = beigebox(folder, &["image", "convert", "-O", "raw", "bad", "copy"]);
        assert!(code == 78 && text.contains(words), "{name}: {code} {text}");
    }
}
