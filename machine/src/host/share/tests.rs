//! Shared folders, seen with mtools, dosfstools and xorriso where those are installed.

use super::*;
use devices::storage::{Storage, StorageError};
use std::process::Command;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("sub folder/deep")).unwrap();
    std::fs::write(at("README.TXT"), "short\r\n").unwrap();
    std::fs::write(at("a long name.text"), "long").unwrap();
    std::fs::write(at("sub folder/empty"), "").unwrap();
    let big: Vec<u8> = (0..100_000u32).map(|n| (n * 7 >> 3) as u8).collect();
    std::fs::write(at("sub folder/deep/big.bin"), big).unwrap();
    for number in 0..40 {
        std::fs::write(at(&format!("sub folder/a rather long name, number {number}")), number.to_string()).unwrap();
    }
    std::fs::write(at("bad:name"), "left out").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    folder
}
/// The whole medium in a file.
fn image(medium: &mut dyn Storage) -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < medium.len() {
        let n = (medium.len() - at).min(buffer.len() as u64) as usize;
        medium.read(at, &mut buffer[..n]).unwrap();
        file.write_all(&buffer[..n]).unwrap();
        at += n as u64;
    }
    file
}
/// Standard output of a tool, or `None` where there is no such tool.
fn run(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(program).args(arguments).env("MTOOLS_SKIP_CHECK", "1").output().ok()?;
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}
fn partition(file: &tempfile::NamedTempFile) -> String {
    format!("{}@@32256", file.path().display())
}

#[test]
fn others_read_the_fat_disk() {
    let folder = folder();
    let mut disk = FatFolder::new(folder.path()).unwrap();
    assert_eq!(disk.left_out(), [PathBuf::from("bad:name")]);
    assert_eq!(disk.write(0, &[0; 512]), Err(StorageError::ReadOnly));
    let file = image(&mut disk);
    let at = partition(&file);
    let Some(list) = run("mdir", &["-/", "-b", "-i", &at, "::"]) else { return };
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(list.contains("::/a long name.text") && !list.contains("link"), "{list}");
    assert_eq!(list.matches("a rather long name").count(), 40);
    let got = run("mtype", &["-i", &at, "::/sub folder/deep/big.bin"]).unwrap();
    assert!(got == std::fs::read(folder.path().join("sub folder/deep/big.bin")).unwrap());
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes.drain(..63 * 512);
    std::fs::write(file.path(), bytes).unwrap();
    run("fsck.fat", &["-n", "-v", file.path().to_str().unwrap()]);
}

#[test]
fn large_folders_become_fat32() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("large")).unwrap().set_len(600 << 20).unwrap();
    std::fs::write(folder.path().join("small file"), "small").unwrap();
    let mut disk = FatFolder::new(folder.path()).unwrap();
    // The tables and the first clusters; the rest would be a gigabyte of zeros.
    let mut head = vec![0; 8 << 20];
    disk.read(0, &mut head).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &head[63 * 512..]).unwrap();
    file.as_file().set_len(disk.len() - 63 * 512).unwrap();
    run("fsck.fat", &["-n", "-v", file.path().to_str().unwrap()]);
    let Some(list) = run("mdir", &["-b", "-i", file.path().to_str().unwrap(), "::"]) else { return };
    assert!(String::from_utf8_lossy(&list).contains("small file"));
}

/// What mtools does to a copy of the disk is what a guest did to the disk.
#[test]
fn what_the_guest_writes_reaches_the_folder() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut disk = SharedFolder::new(folder.path()).unwrap();
    let file = image(&mut disk);
    let before = std::fs::read(file.path()).unwrap();
    let part = partition(&file);
    let new = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..70_000u32).map(|n| (n * 13 >> 4) as u8).collect();
    std::fs::write(new.path(), &content).unwrap();
    let from = new.path().to_str().unwrap();
    if run("mmd", &["-i", &part, "::/made by guest"]).is_none() {
        return;
    }
    run("mcopy", &["-i", &part, from, "::/made by guest/New File.bin"]);
    run("mcopy", &["-o", "-i", &part, from, "::/README.TXT"]);
    run("mdel", &["-i", &part, "::/a long name.text"]);
    run("mmove", &["-i", &part, "::/sub folder/deep/big.bin", "::/Moved away.bin"]);
    let big = std::fs::read(at("sub folder/deep/big.bin")).unwrap();
    // A file that the host has made meanwhile stays what it is.
    std::fs::write(at("host.txt"), "the host's").unwrap();
    run("mcopy", &["-i", &part, from, "::/host.txt"]);
    let after = std::fs::read(file.path()).unwrap();
    for (number, (old, new)) in before.chunks(512).zip(after.chunks(512)).enumerate() {
        if old != new {
            disk.write(number as u64 * 512, new).unwrap();
        }
    }
    disk.flush().unwrap();
    assert!(std::fs::read(at("made by guest/New File.bin")).unwrap() == content);
    assert!(std::fs::read(at("README.TXT")).unwrap() == content);
    assert!(std::fs::read(at("Moved away.bin")).unwrap() == big);
    assert!(at("a long name.text").exists(), "one look that misses it is not enough");
    disk.flush().unwrap();
    drop(disk);
    assert!(!at("a long name.text").exists() && !at("sub folder/deep/big.bin").exists());
    assert_eq!(std::fs::read(at("host.txt")).unwrap(), b"the host's");
    assert_eq!(std::fs::read(at("bad:name")).unwrap(), b"left out");
    assert_eq!(std::fs::read_dir(at("sub folder")).unwrap().count(), 42);
}

/// A guest that writes and does not flush finds its files on the host a little later all the same.
#[test]
fn a_quiet_disk_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("OLD"), "old").unwrap();
    let mut disk = SharedFolder::new(folder.path()).unwrap();
    let (root, _) = disk.geometry().root().unwrap();
    let mut bytes = vec![0; 4096];
    disk.read(root, &mut bytes).unwrap();
    let entry = bytes.chunks_exact_mut(32).find(|entry| entry.starts_with(b"OLD ")).unwrap();
    entry[..3].copy_from_slice(b"NEW");
    disk.write(root, &bytes).unwrap();
    let start = std::time::Instant::now();
    while !at("NEW").exists() || at("OLD").exists() {
        assert!(start.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(std::fs::read(at("NEW")).unwrap(), b"old");
    drop(disk);
    assert_eq!(std::fs::read(at("NEW")).unwrap(), b"old");
}

/// A guest that writes nonsense into tables and folders can neither leave the folder nor stop us.
#[test]
fn nonsense_stays_inside() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("file"), "content").unwrap();
    let mut noise = 1u64;
    let mut next = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 33) as u32
    };
    for round in 0..20 {
        let mut disk = SharedFolder::new(&inner).unwrap();
        let (table, _) = disk.geometry().table();
        let (root, _) = disk.geometry().root().unwrap();
        for _ in 0..40 {
            let mut entry = [0u8; 32];
            for byte in &mut entry {
                *byte = next() as u8;
            }
            let names: [&[u8; 11]; 4] = [b"..         ", b"../X    TXT", b"LOOP       ", b"X/Y     Z  "];
            entry[..11].copy_from_slice(names[next() as usize % 4]);
            entry[11] = [0x10, 0x20, 0x0f][next() as usize % 3];
            let first = (next() % 8) as u16;
            entry[20..22].fill(0);
            entry[26..28].copy_from_slice(&first.to_le_bytes());
            entry[28..].copy_from_slice(&(next() % 40_000).to_le_bytes());
            disk.write(root + u64::from(next() % 16) * 32, &entry).unwrap();
            // Loops and wild numbers in the table.
            let link = if next().is_multiple_of(2) { (next() % 8) as u16 } else { next() as u16 };
            disk.write(table + u64::from(next() % 8) * 2, &link.to_le_bytes()).unwrap();
        }
        let _ = disk.flush();
        let _ = disk.flush();
        drop(disk);
        let outside: Vec<_> =
            std::fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(outside, ["inner"], "round {round}");
    }
}

#[test]
fn others_read_the_disc() {
    let folder = folder();
    let mut disc = IsoFolder::new(folder.path()).unwrap();
    let file = image(&mut disc);
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out");
    for joliet in ["on", "off"] {
        let arguments = ["-osirrox", "on", "-read_fs", if joliet == "on" { "any" } else { "ecma119" }, "-indev"];
        let mut arguments = arguments.to_vec();
        let (from, to) = (file.path().to_str().unwrap(), out.to_str().unwrap());
        arguments.extend([from, "-extract", "/", to]);
        if run("xorriso", &arguments).is_none() {
            return;
        }
        let name = if joliet == "on" { "sub folder/deep/big.bin" } else { "SUB_FOLD/DEEP/BIG.BIN" };
        let name = if out.join(name).exists() { name.to_owned() } else { name.to_ascii_lowercase() };
        let got = std::fs::read(out.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(got == std::fs::read(folder.path().join("sub folder/deep/big.bin")).unwrap());
        let names = std::fs::read_dir(out.join(&name).parent().unwrap().parent().unwrap()).unwrap().count();
        assert_eq!(names, 42, "joliet {joliet}");
        run("chmod", &["-R", "u+w", to]);
        std::fs::remove_dir_all(&out).unwrap();
    }
    let mut wrong = [0; 4];
    assert_eq!(disc.read(disc.len(), &mut wrong), Err(StorageError::OutOfRange));
}

#[test]
fn mistakes_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(FatFolder::new(file.path()).err().unwrap().to_string().contains("not a folder"));
    assert!(IsoFolder::new("/nonexistent/folder".as_ref()).err().unwrap().to_string().contains("cannot be read"));
}
