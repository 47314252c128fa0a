//! Other command lines than the own: QEMU's, Cargo's; machine files and what explains them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

fn beigebox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A boot sector that prints `hi` on COM1 and the debug console, and then does as `end` says.
fn sector(end: &str) -> Vec<u8> {
    let source = format!(
        "bits 16\norg 0x7c00\nxor ax,ax\nmov ds,ax\nmov si,text\nnext: lodsb\ntest al,al\njz done\nout 0xe9,al\n\
         mov ah,al\nmov dx,0x3fd\nbusy: in al,dx\ntest al,0x20\njz busy\nmov al,ah\nmov dx,0x3f8\nout dx,al\njmp next\ndone:\n{end}\nstop: cli\nhlt\njmp stop\ntext: db 'hi',10,0\n\
         times 510-($-$$) db 0\ndw 0xaa55\n"
    );
    let mut image = assembler::assemble(&source, &assembler::Options::default()).unwrap().bytes;
    image.resize(1440 << 10, 0);
    image
}

const EXIT: &str = "mov al,0x10\nout 0xf4,al\n";
const RESET: &str = "mov al,0xfe\nout 0x64,al\nwait_for_it: jmp wait_for_it\n";
const TRIPLE: &str = "lidt [none]\nint3\nnone: dw 0,0,0\n";

#[test]
fn the_command_line_of_qemu_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, end) in [("exit", EXIT), ("reset", RESET), ("triple", TRIPLE)] {
        fs::write(path.join(name), sector(end)).unwrap();
    }
    let link = path.join("qemu-system-i386");
    #[cfg(unix)]
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_beigebox"), &link).unwrap();
    let device = "-device isa-debug-exit,iobase=0xf4,iosize=0x04";
    let oracle = ["/usr/bin/qemu-system-i386"].map(PathBuf::from).into_iter().find(|path| path.is_file());
    if oracle.is_none() {
        eprintln!("qemu-system-i386 is not installed: not compared with it");
    }
    for (image, flags, code, output) in [
        ("exit", format!("-display none -serial stdio {device}"), 33, "hi\n"),
        ("exit", format!("-nographic -monitor none {device} -m 32 -no-reboot"), 33, "hi\n"),
        ("exit", format!("-display none -debugcon stdio {device} -cpu 486"), 33, "hi\n"),
        ("exit", format!("-display none {device}"), 33, ""),
        ("reset", "-display none -serial stdio -no-reboot".to_owned(), 0, "hi\n"),
        ("triple", "-display none -serial stdio -no-reboot -net none".to_owned(), 0, "hi\n"),
    ] {
        let run = |program: &Path| {
            let output = Command::new(program)
                .current_dir(path)
                .args(["-drive", &format!("file={image},format=raw,if=floppy,snapshot=on"), "-boot", "a"])
                .args(flags.split(' '))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned(), said(&output))
        };
        let (got, printed, all) = run(&link);
        assert_eq!((got, printed.as_str()), (code, output), "{flags}: {all}");
        if let Some(oracle) = &oracle {
            let (got, printed, all) = run(oracle);
            // `-nographic` shows the firmware's screen over there.
            let printed = if flags.contains("nographic") { "hi\n" } else { &printed };
            assert_eq!((got, printed), (code, output), "QEMU itself, {flags}: {all}");
        }
    }
    let unknown = beigebox().args(["qemu", "-serail", "stdio"]).output().unwrap();
    assert!(unknown.status.code() == Some(2) && said(&unknown).contains("-serial"), "{}", said(&unknown));
    let help = beigebox().args(["qemu", "-help"]).output().unwrap();
    assert!(help.status.success() && said(&help).contains("-drive"), "{}", said(&help));
}

#[test]
fn cargo_runner_gives_verdicts() {
    let folder = tempfile::tempdir().unwrap();
    for (name, end, code, words) in [
        ("pass", EXIT, 0, ""),
        ("fail", "mov al,0x11\nout 0xf4,al\n", 35, "exit code 35"),
        ("reset", RESET, 4, "no verdict"),
        ("triple", TRIPLE, 8, "triple fault"),
        ("hang", "", 10, "interrupts off"),
    ] {
        // bootimage puts its image beside the kernel.
        let kernel = folder.path().join(name);
        fs::write(&kernel, "ELF").unwrap();
        fs::write(folder.path().join(format!("bootimage-{name}.bin")), sector(end)).unwrap();
        let output = beigebox().arg("cargo-runner").arg(&kernel).args(["--nocapture", "x"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {}", said(&output));
        assert!(said(&output).contains(words) && said(&output).contains("hi"), "{name}: {}", said(&output));
    }
    let kernel = folder.path().join("fail");
    let run = |options: &[&str]| beigebox().arg("cargo-runner").args(options).arg(&kernel).output().unwrap();
    assert_eq!(run(&["--success-code", "35"]).status.code(), Some(0));
    assert_eq!(run(&["--set", "memroy=1M"]).status.code(), Some(78));
}

/// A compiler with a ready-made `core` for 32 bits: the machine's own, or the one of scripts/setup.
fn compiler() -> Option<PathBuf> {
    let own = Command::new("rustc").args(["--print", "target-libdir", "--target", "i686-unknown-linux-gnu"]).output();
    if let Ok(output) = own
        && let Ok(folder) = String::from_utf8(output.stdout)
        && fs::read_dir(folder.trim()).is_ok_and(|mut entries| entries.next().is_some())
    {
        return Some("rustc".into());
    }
    let guests = env::var_os("BEIGEBOX_GUESTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.guests"), PathBuf::from);
    Some(guests.join("rust-i686/bin/rustc")).filter(|path| path.is_file())
}

#[test]
fn a_kernel_in_rust_is_tested_by_cargo() {
    let Some(compiler) = compiler() else {
        let without = env::var_os("BEIGEBOX_WITHOUT_GUESTS").is_some();
        assert!(without, "no compiler for i686-unknown-linux-gnu: run scripts/setup");
        eprintln!("left out: no compiler for i686-unknown-linux-gnu");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test-roms/hobby-kernel");
    let mut paths = vec![Path::new(env!("CARGO_BIN_EXE_beigebox")).parent().unwrap().to_owned()];
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap()));
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What this test's own Cargo has set must not reach the kernel's.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if (name.starts_with("CARGO_") && name != "CARGO_HOME") || name.starts_with("RUST") && name != "RUSTUP_HOME"
            {
                command.env_remove(name);
            }
        }
        let output = command
            .current_dir(&kernel)
            .args(arguments)
            .args(["--quiet", "--offline"])
            .env("PATH", env::join_paths(&paths).unwrap())
            .env("RUSTC", &compiler)
            .env("CARGO_TARGET_DIR", folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.success(), said(&output))
    };
    let (success, said) = cargo(&["run"]);
    assert!(success && said.contains("hello from a kernel in Rust"), "{said}");
    let (success, said) = cargo(&["test", "--test", "basic"]);
    assert!(success && said.contains("test result: ok. 3 passed"), "{said}");
    let (success, said) = cargo(&["test", "--test", "failing"]);
    assert!(!success && said.contains("test wrong ... FAILED") && said.contains("exit code 35"), "{said}");
    let (success, said) = cargo(&["test", "--test", "stuck"]);
    assert!(!success && said.contains("triple fault") && said.contains("#UD"), "{said}");
}

#[test]
fn machine_files_are_run_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("disk.img"), sector(EXIT)).unwrap();
    fs::create_dir(path.join("elsewhere")).unwrap();
    fs::write(path.join("m.toml"), "preset = 'ci'\nfloppy = 'disk.img'\nmemory = '16M'\n").unwrap();
    // Files count from the machine file, wherever it is run.
    let run = |options: &[&str]| {
        let output = beigebox().current_dir(path.join("elsewhere")).args(options).output().unwrap();
        (output.status.code().unwrap_or(-1), said(&output))
    };
    assert_eq!(run(&["../m.toml"]), (0, "hi\n".to_owned()));
    assert_eq!(run(&["run", "../m.toml", "--success-code", "1"]).0, 33);
    let (code, text) = run(&["config", "--explain", "../m.toml", "--cpu", "486"]);
    assert_eq!(code, 0);
    for words in ["cpu = '486'  # command line", "memory = '16M'  # ../m.toml:3", "snapshot = true  # preset ci"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    fs::write(path.join("m.toml"), "memory = '16M'\nflopy = 'disk.img'\n").unwrap();
    let (code, text) = run(&["../m.toml"]);
    assert!(code == 78 && text.contains("m.toml:2: ") && text.contains("`floppy`"), "{text}");
    let (code, text) = run(&["--preset", "win97"]);
    assert!(code == 78 && text.contains("win98"), "{text}");
}

#[test]
fn the_small_commands_answer() {
    let folder = tempfile::tempdir().unwrap();
    let run = |options: &[&str]| {
        let output = beigebox().current_dir(&folder).args(options).output().unwrap();
        (output.status.code().unwrap_or(-1), said(&output))
    };
    for shell in ["bash", "zsh", "fish"] {
        let (code, text) = run(&["completions", shell]);
        assert!(code == 0 && text.contains("cargo-runner"), "{shell}");
    }
    let (code, text) = run(&["doctor"]);
    assert!(code == 0 && text.contains("KVM"), "{text}");
    let (code, text) = run(&["config", "--presets"]);
    assert!(code == 0 && text.contains("hobby-os"), "{text}");
    // Without a terminal there is nothing to see, so the help is shown.
    let (code, text) = run(&[]);
    assert!(code == 2 && text.contains("Usage"), "{text}");
    let (code, _) = run(&["demo", "--write", "demo.img"]);
    assert_eq!(code, 0);
    assert_eq!(fs::metadata(folder.path().join("demo.img")).unwrap().len(), 1440 << 10);
    let (code, text) = run(&["demo", "--display", "none", "--clock", "instructions", "--exit-on-text", "demo: ready"]);
    assert!(code == 0 && text.contains("demo: ready"), "{text}");
}
