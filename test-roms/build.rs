//! Assembles the ROMs that the manifest lists.

use assembler::{Options, Source, assemble_files};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    rom: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    source: String,
    expect: String,
    #[serde(default = "success")]
    exit: u32,
    #[serde(default)]
    resets: bool,
}

/// What `finish` writes to the exit port.
fn success() -> u32 {
    0x10
}

fn main() {
    println!("cargo::rerun-if-changed=cpu");
    println!("cargo::rerun-if-changed=manifest.toml");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by Cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let manifest: Manifest = toml::from_str(&read("manifest.toml")).unwrap_or_else(|e| panic!("manifest.toml: {e}"));
    let start = read("cpu/include/start.asm");
    let end = read("cpu/include/end.asm");
    let mut table = String::from("&[\n");
    for entry in &manifest.rom {
        let body = read(&entry.source);
        let short = entry.name.rsplit('/').next().unwrap_or(&entry.name);
        let name = format!("rom_name db '{short}', 0\n");
        let sources = [
            Source { name: "test-roms/cpu/include/start.asm", text: &start },
            Source { name: &entry.source, text: &body },
            Source { name: "the ROM's name", text: &name },
            Source { name: "test-roms/cpu/include/end.asm", text: &end },
        ];
        let rom = assemble_files(&sources, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(rom.bytes.len(), 0x1_0000, "{}: the image is 64 KiB", entry.source);
        assert!(rom.symbols["code_end"] <= 0xa000, "{}: code goes beyond A000h", entry.source);
        let file = out.join(format!("{short}.bin"));
        fs::write(&file, &rom.bytes).expect("the build folder is writable");
        let _ = writeln!(
            table,
            "    Rom {{ name: {:?}, image: include_bytes!({:?}), expect: {:?}, exit: {}, resets: {} }},",
            entry.name, file, entry.expect, entry.exit, entry.resets
        );
    }
    table.push(']');
    fs::write(out.join("roms.rs"), table).expect("the build folder is writable");
}
