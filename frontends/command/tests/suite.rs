//! `beigebox test`: verdicts, reports, and many machines at once.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

fn beigebox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
    command.stdin(Stdio::null()).env_remove("GITHUB_ACTIONS");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A ROM that takes the place of the BIOS. `body` runs in real mode with all segments zero.
fn rom(body: &str) -> Vec<u8> {
    let source = format!(
        "bits 16\norg 0\nstart:\nxor ax,ax\nmov ds,ax\nmov es,ax\nmov ss,ax\nmov sp,0x7c00\n{body}\nforever: jmp forever\n\
         print:\ncs\nmov al,[si]\ninc si\ntest al,al\njz .done\nout 0xe9,al\nmov dx,0x3f8\nout dx,al\njmp print\n.done: ret\n\
         times 0xfff0-($-$$) db 0\njmp 0xf000:start\ntimes 0x10000-($-$$) db 0\n"
    );
    // The prefix stands on a line of its own as a byte.
    let source = source.replace("\ncs\n", "\ndb 0x2e\n");
    let rom = assembler::assemble(&source, &assembler::Options::default()).unwrap_or_else(|e| panic!("{e}\n{source}"));
    assert_eq!(rom.bytes.len(), 0x1_0000);
    rom.bytes
}

const KINDS: usize = 10;

/// The `number`th generated ROM: its image, its keys in the manifest, and the verdict it must get.
fn generated(number: usize) -> (Vec<u8>, String, &'static str) {
    // Work whose result depends on the number, so that no two machines end alike.
    let rounds = 500 + number * 37 % 4000;
    let work = format!(
        "mov cx,{rounds}\nmov eax,{number}\nwork: imul eax,eax,1664525\nadd eax,1013904223\nmov bx,cx\nand bx,0x3fc\n\
         mov [bx+0x1000],eax\nloop work\nmov [0x500],eax\n"
    );
    let says = |said: &str| format!("mov si,said\ncall print\njmp after\nsaid: db {said},0\nafter:\n");
    let exit = |value: u8| format!("mov al,{value}\nout 0xf4,al\n");
    let (body, keys, verdict) = match number % KINDS {
        0 => (exit(0x10), "ends = 'exit'", "PASS"),
        1 => (exit(number as u8 | 0x80), "ends = 'exit'", "FAIL"),
        2 => (says("'all is well'") + &exit(0x10), "expect = 'all is well'", "PASS"),
        3 => (says("'all is bad'") + &exit(0x10), "expect = 'all is well'", "FAIL"),
        4 => (says("'oh no',10"), "reject-regex = '^oh .o$'", "FAIL"),
        5 => ("lidt [cs:none]\nint3\nnone: dw 0,0,0\n".to_owned(), "", "FAIL"),
        6 => ("cli\nhlt\n".to_owned(), "ends = 'hang'", "PASS"),
        7 => (String::new(), "time-limit = '3ms'", "FAIL"),
        8 => ("mov dword [0x600],0x600d\n".to_owned(), "mailbox = '0x600=0x600d:0xbad'", "PASS"),
        _ => (
            says("'TAP version 13',10,'1..2',10,'ok 1 - one',10,'not ok 2 - two',10") + &exit(0x10),
            "guest-tests = 'tap'",
            "FAIL",
        ),
    };
    (rom(&(work + &body)), keys.to_owned(), verdict)
}

/// Writes 200 ROMs and their manifest. Returns the verdicts they must get.
fn write_generated(folder: &Path) -> BTreeMap<String, &'static str> {
    let mut manifest = String::from("[defaults]\nmemory = '1M'\nvideo-bios = 'vga.bin'\ntime-limit = '1s'\n");
    let mut verdicts = BTreeMap::new();
    fs::write(folder.join("vga.bin"), [0u8; 512]).unwrap();
    for number in 0..200 {
        let (image, keys, verdict) = generated(number);
        let name = format!("rom-{number:03}");
        fs::write(folder.join(format!("{name}.bin")), image).unwrap();
        let _ = write!(manifest, "[[test]]\nname = '{name}'\nbios = '{name}.bin'\n{keys}\n");
        verdicts.insert(name, verdict);
    }
    fs::write(folder.join("suite.toml"), manifest).unwrap();
    verdicts
}

/// Runs all generated ROMs by as many processes as are asked for, each with a part of them. Returns
/// verdicts and state hashes.
fn run_generated(folder: &Path, processes: usize) -> (BTreeMap<String, String>, String) {
    let children: Vec<_> = (1..=processes)
        .map(|part| {
            beigebox()
                .current_dir(folder)
                .args(["test", "--manifest", "suite.toml", "--jobs", "2", "--artifacts"])
                .arg(format!("kept-{part}"))
                .args(["--hashes", &format!("hashes-{part}"), "--shard", &format!("{part}/{processes}")])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let (mut verdicts, mut hashes) = (BTreeMap::new(), Vec::new());
    for (part, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert!(![None, Some(0), Some(70)].contains(&output.status.code()), "{}", said(&output));
        for line in text(&output.stdout).lines() {
            if let Some((word, rest)) = line.trim_start().split_once(" [")
                && let Some((_, name)) = rest.split_once("] ")
            {
                let name = name.split([' ', ':']).next().unwrap();
                verdicts.insert(name.to_owned(), word.trim().to_owned());
            }
        }
        let part = fs::read_to_string(folder.join(format!("hashes-{}", part + 1))).unwrap();
        hashes.extend(part.lines().map(|line| format!("{} {}", &line[34..], &line[..32])));
    }
    hashes.sort();
    (verdicts, hashes.join("\n"))
}

/// 200 machines, four times more processes than cores, over and over: `BEIGEBOX_STRESS` says how
/// often (`scripts/stress`).
#[test]
fn two_hundred_roms_get_the_same_right_verdicts_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = write_generated(folder.path());
    let times: usize = env::var("BEIGEBOX_STRESS").ok().map_or(2, |times| times.parse().unwrap());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut first = String::new();
    for time in 1..=times {
        // The number of processes differs, so that what runs beside what does too.
        let processes = if time == 1 { 1 } else { cores * 4 };
        let (verdicts, hashes) = run_generated(folder.path(), processes);
        for (name, verdict) in &wanted {
            assert_eq!(verdicts.get(name).map(String::as_str), Some(*verdict), "{name} in run {time}");
        }
        if time == 1 {
            assert_eq!(hashes.lines().count(), 200);
            let mut distinct: Vec<&str> = hashes.lines().filter_map(|line| line.split(' ').nth(1)).collect();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 200, "each machine ends in a state of its own");
            first = hashes;
        } else {
            assert_eq!(first, hashes, "run {time} ended in other states");
        }
        if times > 10 && time % 10 == 0 {
            println!("{time} runs of 200 machines: all right");
        }
    }
}

#[test]
fn the_suite_passes() {
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("suite.toml");
    fs::write(&suite, test_roms::SUITE).unwrap();
    for rom in test_roms::all() {
        let short = rom.name.rsplit('/').next().unwrap();
        fs::write(folder.path().join(format!("{short}.bin")), rom.image).unwrap();
    }
    fs::write(folder.path().join("demo.img"), test_roms::demo()).unwrap();
    let output = beigebox().current_dir(&folder).args(["test", "--manifest", "suite.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(text(&output.stdout).contains("demo/graphics"), "{}", said(&output));
}

#[test]
fn verdicts_have_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..KINDS {
        fs::write(folder.path().join(format!("{number}.bin")), generated(number).0).unwrap();
    }
    for (number, options, code) in [
        (0, &["--ends", "exit"][..], 0),
        (0, &["--ends", "power-off"], 4),
        (1, &[], 3),
        (1, &["--success-code", "3"], 0),
        (2, &["--expect", "all is well"], 0),
        (2, &["--expect-regex", "^all .* well$"], 0),
        (3, &["--expect", "all is well"], 4),
        (4, &["--reject", "oh no"], 6),
        (5, &[], 8),
        (5, &["--ends", "triple-fault"], 0),
        (6, &[], 10),
        (7, &["--time-limit", "2ms"], 124),
        (7, &["--max-instructions", "1000"], 124),
        (7, &["--wall-limit", "100ms"], 124),
        (7, &["--time-limit", "2ms", "--ends", "time-limit"], 0),
        (8, &["--mailbox", "0x600=0x600d"], 0),
        (8, &["--mailbox", "0x600=1:0x600d"], 4),
        (9, &[], 4),
        (9, &["--guest-tests", "off"], 0),
    ] {
        let rom = folder.path().join(format!("{number}.bin"));
        let manifest = folder.path().join("one.toml");
        fs::write(&manifest, format!("[[test]]\nname = 'x'\nbios = '{number}.bin'\n")).unwrap();
        // The options about verdicts belong to files; the image is any floppy, the ROM is the BIOS.
        let floppy = folder.path().join("floppy.img");
        fs::write(&floppy, vec![0; 1440 << 10]).unwrap();
        let output = beigebox()
            .current_dir(&folder)
            .args(["test", "floppy.img", "--bios"])
            .arg(&rom)
            .args(options)
            .output()
            .unwrap();
        // The sixth's `lidt` and others have no code of their own beyond these.
        let code = if number == 1 && code == 3 { i32::from((1u8 | 0x80) << 1 | 1) } else { code };
        assert_eq!(output.status.code(), Some(code), "{number} {options:?}: {}", said(&output));
    }
}

#[test]
fn a_failure_leaves_evidence_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("bad.bin"), generated(5).0).unwrap();
    fs::write(path.join("tap.bin"), generated(9).0).unwrap();
    fs::write(
        path.join("m.toml"),
        "[[test]]\nname = 'bad'\nbios = 'bad.bin'\n\n[[test]]\nname = 'tap'\nbios = 'tap.bin'\n\n\
         [[test]]\nname = 'later'\nbios = 'tap.bin'\nskip = 'not today'\n",
    )
    .unwrap();
    let output = beigebox()
        .current_dir(path)
        .args(["test", "--manifest", "m.toml", "--junit", "j.xml", "--github", "--retries", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let out = text(&output.stdout);
    for words in ["FAIL", "::error file=m.toml,line=1,title=bad::triple fault", "before: triple fault", "1 skipped"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let xml = fs::read_to_string(path.join("j.xml")).unwrap();
    for words in ["tests=\"5\"", "failures=\"3\"", "skipped=\"1\"", "tap::two", "not today", "rerunFailure"] {
        assert!(xml.contains(words), "{words}: {xml}");
    }
    let kept = path.join("beigebox-failures");
    for file in ["bad/screen.png", "bad/serial.log", "bad/report.txt", "tap/debugcon.log"] {
        assert!(kept.join(file).is_file(), "{file}");
    }
    let report = fs::read_to_string(kept.join("bad/report.txt")).unwrap();
    assert!(report.contains("last exceptions") && report.contains("real mode"), "{report}");
    // From anywhere, and without being told where the program is.
    let replayed =
        Command::new("sh").arg(kept.join("bad/replay.sh")).current_dir("/").stdin(Stdio::null()).output().unwrap();
    assert_eq!(replayed.status.code(), Some(8), "{}", said(&replayed));
    let look = Command::new("sh")
        .arg(kept.join("bad/replay.sh"))
        .arg("look")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(look.status.code(), Some(8), "{}", said(&look));
    assert!(said(&look).contains("state hash"), "{}", said(&look));
}

#[test]
fn pictures_are_blessed_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("demo.img"), test_roms::demo()).unwrap();
    fs::write(
        path.join("m.toml"),
        "[[test]]\nimage = 'demo.img'\nexpect = 'demo: ready'\npicture = 'wanted.png'\ntime-limit = '3s'\n",
    )
    .unwrap();
    let run = |options: &[&str]| {
        let output =
            beigebox().current_dir(path).args(["test", "--manifest", "m.toml"]).args(options).output().unwrap();
        (output.status.code().unwrap(), said(&output))
    };
    let (code, said) = run(&[]);
    assert!(code == 66 && said.contains("wanted.png"), "{said}");
    let (code, said) = run(&["--bless"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&[]);
    assert_eq!(code, 0, "{said}");
    // Another machine shows other numbers.
    let (code, said) = run(&["--memory", "32M"]);
    assert!(code == 124 && said.contains("pixels"), "{said}");
    assert!(path.join("beigebox-failures/demo/wanted.png").is_file());
}

#[test]
fn a_signal_stops_cleanly_with_the_report_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut manifest = String::new();
    for number in 0..8 {
        fs::write(path.join(format!("{number}.bin")), generated(7).0).unwrap();
        let _ = write!(manifest, "[[test]]\nname = 't{number}'\nbios = '{number}.bin'\ntime-limit = '1h'\n");
    }
    fs::write(path.join("m.toml"), manifest).unwrap();
    let child = beigebox()
        .current_dir(path)
        .args(["test", "--manifest", "m.toml", "--junit", "j.xml", "--jobs", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(1500));
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    let xml = fs::read_to_string(path.join("j.xml")).unwrap();
    assert!(xml.contains("tests=\"8\"") && xml.contains("signal"), "{xml}");
}

#[test]
fn mistakes_in_a_manifest_are_pointed_at() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.toml"), "[[test]]\nname = 'a'\nexpct = 'x'\n").unwrap();
    let run = |options: &[&str]| beigebox().current_dir(&folder).arg("test").args(options).output().unwrap();
    let output = run(&["--manifest", "m.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("m.toml:3: ") && said(&output).contains("`expect`"), "{}", said(&output));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--manifest", "none.toml"]).status.code(), Some(66));
    assert_eq!(run(&["--shard", "3/2", "x"]).status.code(), Some(2));
    assert_eq!(run(&["missing.img"]).status.code(), Some(66));
}
