//! Assembles the ROMs that the manifest lists.

use assembler::{Options, Source, assemble_files};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

/// The part of a suite for `beigebox test` that says which ROMs there are.
#[derive(Deserialize)]
struct Manifest {
    test: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    /// Named by the tests that are ROMs.
    bios: Option<String>,
    expect: toml::Value,
    #[serde(default)]
    reset_on_triple_fault: bool,
    ends: Option<String>,
}

/// The demonstration: a floppy's first sectors.
fn demo(source: &str) -> Vec<u8> {
    let options = Options { origin: 0x7c00, ..Options::default() };
    let source = Source { name: "test-roms/demo/demo.asm", text: source };
    let image = assemble_files(&[source], &options).unwrap_or_else(|e| panic!("{e}"));
    assert!(image.symbols["code_end"] <= 0xa000, "demo.asm: code goes beyond A000h");
    image.bytes
}

/// The programs in `boot-sectors/`.
const BOOT_SECTORS: [&str; 9] = ["text", "keys", "timer", "scancodes", "direct", "music", "mode13", "disk", "life"];

fn main() {
    println!("cargo::rerun-if-changed=cpu");
    println!("cargo::rerun-if-changed=devices");
    println!("cargo::rerun-if-changed=boot-sectors");
    println!("cargo::rerun-if-changed=demo");
    println!("cargo::rerun-if-changed=suite.toml");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by Cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));
    let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let manifest: Manifest = toml::from_str(&read("suite.toml")).unwrap_or_else(|e| panic!("suite.toml: {e}"));
    fs::write(out.join("demo.bin"), demo(&read("demo/demo.asm"))).expect("the build folder is writable");
    let start = read("cpu/include/start.asm");
    let end = read("cpu/include/end.asm");
    let ports = read("devices/include/ports.asm");
    let mut table = String::from("&[\n");
    for entry in manifest.test.iter().filter(|entry| entry.bios.is_some()) {
        let path = format!("{}.asm", entry.name);
        let body = read(&path);
        let expect = entry.expect.as_str().unwrap_or_else(|| panic!("{}: `expect` is one text", entry.name));
        let short = entry.name.rsplit('/').next().unwrap_or(&entry.name);
        let name = format!("rom_name db '{short}', 0\n");
        let ports = if entry.name.starts_with("devices/") { ports.as_str() } else { "" };
        let sources = [
            Source { name: "test-roms/cpu/include/start.asm", text: &start },
            Source { name: "test-roms/devices/include/ports.asm", text: ports },
            Source { name: &path, text: &body },
            Source { name: "the ROM's name", text: &name },
            Source { name: "test-roms/cpu/include/end.asm", text: &end },
        ];
        let rom = assemble_files(&sources, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(rom.bytes.len(), 0x1_0000, "{path}: the image is 64 KiB");
        assert!(rom.symbols["code_end"] <= 0xa000, "{path}: code goes beyond A000h");
        let file = out.join(format!("{short}.bin"));
        fs::write(&file, &rom.bytes).expect("the build folder is writable");
        let _ = writeln!(
            table,
            "    Rom {{ name: {:?}, image: include_bytes!({:?}), expect: {:?}, resets: {}, powers_off: {} }},",
            entry.name,
            file,
            expect,
            entry.reset_on_triple_fault,
            entry.ends.as_deref() == Some("power-off")
        );
    }
    table.push(']');
    fs::write(out.join("roms.rs"), table).expect("the build folder is writable");

    let start = read("boot-sectors/include/start.asm");
    let end = read("boot-sectors/include/end.asm");
    let mut table = String::from("&[\n");
    for name in BOOT_SECTORS {
        let path = format!("boot-sectors/{name}.asm");
        let body = read(&path);
        let sources = [
            Source { name: "test-roms/boot-sectors/include/start.asm", text: &start },
            Source { name: &path, text: &body },
            Source { name: "test-roms/boot-sectors/include/end.asm", text: &end },
        ];
        let options = Options { origin: 0x7c00, ..Options::default() };
        let sector = assemble_files(&sources, &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(sector.bytes.len(), 512, "{path}: a boot sector has 512 bytes");
        let file = out.join(format!("{name}.boot"));
        fs::write(&file, &sector.bytes).expect("the build folder is writable");
        let _ = writeln!(table, "    ({name:?}, include_bytes!({file:?})),");
    }
    table.push(']');
    fs::write(out.join("boot_sectors.rs"), table).expect("the build folder is writable");
}
