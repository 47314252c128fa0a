//! `assemble OUT FILE…`: assembles the files, joined in order, into a flat image.

use assembler::{Options, Source, assemble_files};
use std::{env, fs};

fn main() {
    let mut arguments = env::args().skip(1);
    let Some(out) = arguments.next() else {
        eprintln!("usage: assemble OUT FILE...");
        std::process::exit(2);
    };
    let texts: Vec<(String, String)> = arguments
        .map(|name| {
            let text = fs::read_to_string(&name).unwrap_or_else(|e| {
                eprintln!("{name}: {e}");
                std::process::exit(66);
            });
            (name, text)
        })
        .collect();
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    match assemble_files(&sources, &Options::default()) {
        Ok(image) => fs::write(&out, &image.bytes).unwrap_or_else(|e| {
            eprintln!("{out}: {e}");
            std::process::exit(74);
        }),
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}
