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
