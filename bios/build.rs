//! Assembles the two ROM images and completes their checksums.

use assembler::{Assembled, Options, Source, assemble_files};
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/font.rs"]
mod font;

const SYSTEM: [&str; 9] = ["common", "post", "system", "pci", "keyboard", "floppy", "disk", "font", "fixed"];
const VGA: [&str; 6] = ["common", "vga", "modes", "palette", "vbe", "font"];

fn build(names: &[&str], folder: &Path, fonts: &str) -> Assembled {
    let texts: Vec<(String, String)> = names
        .iter()
        .map(|name| {
            if *name == "font" {
                return ("fonts".to_string(), fonts.to_string());
            }
            let path = folder.join(format!("{name}.asm"));
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (format!("bios/src/asm/{name}.asm"), text)
        })
        .collect();
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    assemble_files(&sources, &Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Makes the bytes of `range` sum to zero by changing the one at `checksum`.
fn complete(image: &mut [u8], range: std::ops::Range<usize>, checksum: usize) {
    image[checksum] = 0;
    let sum = image[range].iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
    image[checksum] = sum.wrapping_neg();
}

fn main() {
    println!("cargo::rerun-if-changed=src/asm");
    println!("cargo::rerun-if-changed=src/font.rs");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by Cargo")).join("src/asm");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by Cargo"));

    let system = build(&SYSTEM, &folder, &font::system());
    let at = |name: &str| system.symbols[name] as usize;
    let mut image = system.bytes.clone();
    assert_eq!(image.len(), 0x1_0000, "the system image is 64 KiB");
    complete(&mut image, at("pir_table")..at("pir_slots_end"), at("pir_checksum"));
    complete(&mut image, at("bios32_header")..at("bios32_header") + 16, at("bios32_checksum"));
    complete(&mut image, at("pnp_header")..at("pnp_header") + 33, at("pnp_checksum"));
    fs::write(out.join("system.bin"), &image).expect("the build folder is writable");
    let names = ["pir_table", "pir_slots_end", "bios32_header", "pnp_header", "key_table"];
    let table: String = names.iter().map(|n| format!("    (\"{n}\", {:#x}),\n", at(n))).collect();
    fs::write(out.join("symbols.rs"), format!("[\n{table}]\n")).expect("the build folder is writable");

    fs::write(out.join("font.bin"), font::tall()).expect("the build folder is writable");
    let vga = build(&VGA, &folder, &font::display());
    let mut image = vga.bytes;
    assert!(image.len() < 0x8000, "the display ROM is at most 32 KiB");
    image.resize(0x8000, 0);
    complete(&mut image, 0..0x8000, 0x7fff);
    fs::write(out.join("vga.bin"), &image).expect("the build folder is writable");
}
