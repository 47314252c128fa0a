//! Wrong command lines and files get one clear sentence and the right code.

#![allow(clippy::unwrap_used, reason = "tests")]

use assert_cmd::Command;
use std::io::Write;

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("beigebox").unwrap().args(arguments).write_stdin("").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// A boot sector that writes `value` to the exit port.
fn verdict(value: u8) -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[..6].copy_from_slice(&[0xb0, value, 0xe6, 0xf4, 0xeb, 0xfe]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn errors_name_the_file_and_the_mend() {
    let empty = file(b"");
    let odd = file(&[1; 513]);
    let noise = file(&[1; 2_000]);
    let boot = file(&verdict(3));
    for (arguments, code, words) in [
        (vec!["run"], 2, "nothing to boot"),
        (vec!["/nonexistent/image"], 66, "/nonexistent/image"),
        (vec![path(&empty)], 78, "empty"),
        (vec![path(&noise)], 78, "--load"),
        (vec!["run", "--disk", path(&odd)], 78, "513 bytes"),
        (vec!["run", "--disk", "/nonexistent/disk"], 66, "/nonexistent/disk"),
        (vec!["run", "--floppy", path(&odd)], 78, "513 bytes"),
        (vec!["run", "--kernel", path(&noise)], 78, "neither a Linux bzImage"),
        (vec!["run", "--initrd", "x"], 78, "--kernel"),
        (vec!["run", "--memory", "3"], 2, "1M"),
        (vec!["run", "--memory", "64Q"], 2, "unit"),
        (vec!["run", "--cpu", "z80"], 2, "pentium"),
        (vec!["run", "--cpu", "286", "--floppy", path(&noise)], 78, "needs a 386"),
        (vec![path(&boot), "--cpu", "8086"], 78, "--bios"),
        (vec![path(&boot), "--vga", "none", "--video-bios", path(&noise)], 78, "--vga none"),
        (vec!["run", "--boot", "tape"], 2, "boot order"),
        (vec!["run", "--flopy", "x"], 2, "--floppy"),
        (vec!["run", "--bios", path(&odd)], 78, "513 bytes"),
        (vec!["run", "--bios", path(&odd), "--on-text", "x"], 2, "TEXT=>KEYS"),
        (vec!["run", "--time-limit", "soon"], 2, "duration"),
        (vec!["run", "--load", "7c00"], 2, "ADDRESS:FILE"),
    ] {
        let (got, _, stderr) = run(&arguments);
        assert_eq!(got, code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn guest_verdicts_become_exit_codes() {
    let boot = file(&verdict(3));
    let (code, _, stderr) = run(&[path(&boot), "--time-limit", "20s"]);
    assert_eq!(code, 7, "{stderr}");
    let (code, _, _) = run(&[path(&boot), "--time-limit", "20s", "--success-code", "7"]);
    assert_eq!(code, 0);
    let load = format!("0x7c00:{}", path(&boot));
    let (code, _, stderr) = run(&["run", "--load", &load, "--time-limit", "20s", "--stats"]);
    assert_eq!(code, 7, "{stderr}");
    assert!(stderr.contains("state hash: "));
}

#[test]
fn limits_and_hangs_have_codes_of_their_own() {
    let mut sector = verdict(0);
    sector[..2].copy_from_slice(&[0xeb, 0xfe]);
    let spin = file(&sector);
    assert_eq!(run(&[path(&spin), "--time-limit", "2s"]).0, 124);
    assert_eq!(run(&[path(&spin), "--max-instructions", "1000"]).0, 124);
    sector[..2].copy_from_slice(&[0xfa, 0xf4]);
    let hang = file(&sector);
    assert_eq!(run(&[path(&hang), "--time-limit", "20s"]).0, 10);
}

/// The text of a panic ends the run at once, also when another text is waited for.
#[test]
fn a_panic_has_a_code_of_its_own() {
    let mut image = test_roms::boot_sector("keys").unwrap().to_vec();
    image.resize(1_474_560, 0);
    let floppy = file(&image);
    let waits = ["--exit-on-text", "Keys", "--on-text", "Name?=>oops, a panic", "--time-limit", "20s"];
    let arguments = [&["run", "--floppy", path(&floppy), "--panic-text", "a panic"][..], &waits].concat();
    let (code, _, stderr) = run(&arguments);
    assert_eq!(code, 6, "{stderr}");
    assert!(stderr.contains("`a panic`"), "{stderr}");
}

/// A signal ends a run as its limits do: with what was asked for at the end.
#[cfg(unix)]
#[test]
fn a_signal_stops_cleanly() {
    let mut sector = verdict(0);
    sector[..2].copy_from_slice(&[0xeb, 0xfe]);
    let spin = file(&sector);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_beigebox"))
        .args(["run", path(&spin), "--display", "none", "--serial", "null", "--clock", "instructions", "--stats"])
        .args(["--trace", "int"])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The first interrupt shows that the machine runs.
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut first).unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("stopped by a signal") && rest.contains("state hash: "), "{rest}");
}
