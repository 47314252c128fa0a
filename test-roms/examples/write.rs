//! Writes all images and their suite into a folder: `cargo run --example write -- FOLDER`.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| "roms".into()));
    fs::create_dir_all(&folder)?;
    for rom in test_roms::all() {
        let short = rom.name.rsplit('/').next().unwrap_or(rom.name);
        fs::write(folder.join(format!("{short}.bin")), rom.image)?;
    }
    fs::write(folder.join("demo.img"), test_roms::demo())?;
    fs::write(folder.join("suite.toml"), test_roms::SUITE)
}
