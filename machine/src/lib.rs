//! A PC as a library.
//!
//! ```no_run
//! use beigebox::{Machine, Stop};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = beigebox::host::open_disk("disk.img".as_ref(), beigebox::host::Mode::Snapshot)?;
//! let bios = std::fs::read("bios.bin")?;
//! let mut pc = Machine::builder().bios(bios).memory(64 << 20).disk(disk).build()?;
//! let stop = pc.run_for(5_000_000_000);
//! println!("{stop:?}: {}", String::from_utf8_lossy(&pc.serial_output(0)));
//! # Ok(()) }
//! ```
//!
//! [`Machine`] is the whole: [`run`] the loop that drives it, [`pc`] the page with all addresses,
//! `bus` what the processor sees of the board, [`clock`] guest time, [`loader`] kernels booted
//! without a boot sector, [`snapshot`] its state as bytes and as a hash, [`input`] keys,
//! [`display`] the screen, [`sound`] what the speaker and the sound card play, [`host`] disk images, [`trace`] what it does, written down.

mod bus;
pub mod clock;
pub mod display;
mod engine;
pub mod golden;
#[cfg(feature = "host")]
pub mod host;
pub mod input;
pub mod loader;
pub mod pc;
pub mod run;
pub mod snapshot;
pub mod sound;
pub mod trace;

pub use bus::{IoEvent, IoWatch, Unknown};
pub use cpu::Model;
pub use devices::Time;
pub use devices::network::Network;
pub use devices::rtc::DateTime;
pub use devices::storage::{MemoryStorage, Storage, StorageError};
pub use engine::{EngineKind, JitSettings};
pub use input::KeyCode;
pub use pc::VideoAdapter;
pub use run::{BootDevice, BuildError, Builder, Counters, Machine, NetworkCard, NetworkSlot, Stop};
