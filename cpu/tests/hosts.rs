//! Hosts that cannot run this are refused when it is compiled, with a clear message: what `src/lib.rs` begins with is
//! compiled for some of each kind. That needs no library for them.

use std::path::Path;
use std::process::Command;

/// Stands in for the library: the one macro that the beginning of the crate calls.
const PRELUDE: &str = "#![feature(no_core, rustc_attrs)] #![no_core] #![allow(internal_features)]
#[rustc_builtin_macro] macro_rules! compile_error { ($message:expr $(,)?) => {}; }
";

/// What the compiler says when it is to make this crate for `target`, and whether it does.
fn compile(target: &str) -> (bool, String) {
    let source = include_str!("../src/lib.rs");
    let begin = source.lines().position(|line| !line.starts_with("//!")).unwrap();
    let checks: Vec<&str> = source.lines().skip(begin).take_while(|line| !line.starts_with("pub mod")).collect();
    assert!(checks.iter().any(|line| line.contains("compile_error!")), "the checks are not where they were");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("host-{target}.rs"));
    std::fs::write(&file, format!("{PRELUDE}{}", checks.join("\n"))).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let made = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--target", target, "-o"])
        .arg(folder.join(format!("host-{target}.rmeta")))
        .arg(file)
        // The prelude is not for stable compilers.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .unwrap();
    (made.status.success(), String::from_utf8_lossy(&made.stderr).into_owned())
}

#[test]
fn big_endian_hosts_are_refused() {
    for target in ["powerpc64-unknown-linux-gnu", "s390x-unknown-linux-gnu", "aarch64_be-unknown-linux-gnu"] {
        let (done, said) = compile(target);
        assert!(!done && said.contains("little-endian hosts only"), "{target}: {said}");
    }
}

#[test]
fn hosts_with_32_bits_are_refused() {
    for target in ["i686-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf", "i686-pc-windows-msvc"] {
        let (done, said) = compile(target);
        assert!(!done && said.contains("64-bit hosts only"), "{target}: {said}");
    }
}

#[test]
fn others_are_not_refused() {
    for target in
        ["x86_64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-pc-windows-msvc", "wasm32-unknown-unknown"]
    {
        let (done, said) = compile(target);
        assert!(done, "{target}: {said}");
    }
}
