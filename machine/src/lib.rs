//! A PC as a library.
//!
//! ```
//! use beigebox::{Machine, MemoryStorage, Stop};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A boot sector: mov ax,0e41h; int 10h; mov al,7; out f4h,al
//! let mut floppy = vec![0; 1_474_560];
//! floppy[..9].copy_from_slice(&[0xb8, 0x41, 0x0e, 0xcd, 0x10, 0xb0, 7, 0xe6, 0xf4]);
//! floppy[510..512].copy_from_slice(&[0x55, 0xaa]);
//!
//! let mut pc = Machine::builder().memory(4 << 20).floppy(0, Some(Box::new(MemoryStorage::new(floppy)))).build()?;
//! assert_eq!(pc.run_for(5_000_000_000), Stop::Exit(7)); // within five seconds of guest time
//! assert!(pc.screen_text().contains('A'));
//! # Ok(()) }
//! ```
//!
//! A [`Machine`] has no thread (but the translator's, if that is asked for), no callback that you did not give it and
//! no global state: it is a value, `Send`, and as many as you like live side by side. Time in it is guest
//! time, which follows the instructions: what you put in at the same moments gives the same run, on every host.
//!
//! | to | use |
//! |---|---|
//! | describe a machine | [`Machine::builder`], [`Builder`]; all settings have defaults, the firmware is built in |
//! | run it | [`Machine::run_for`], [`Machine::run_until`] (a condition), [`Machine::run_until_text`], [`Machine::run_limited`] (instructions), [`Machine::step`]; each says by a [`Stop`] why it came back |
//! | see the screen | [`Machine::frame`] and the module [`display`]; [`Machine::screen_text`], [`Machine::picture`] |
//! | talk to it | [`Machine::serial_output`], [`Machine::serial_input`], [`Machine::debug_output`] |
//! | type, point | [`Machine::type_keys`], [`Machine::key`], [`Machine::mouse`], [`Machine::pointer`]; the module [`input`] |
//! | give it drives | [`Storage`] is what a drive keeps its data in: your own, [`MemoryStorage`], or an image file of [`host`] |
//! | give it a network | [`Network`] is the other end of a cable: your own, or a NAT of [`host`] |
//! | add a device | [`custom`]: ports, memory, interrupts, time, DMA |
//! | look inside | [`Machine::cpu`], [`Machine::with_cpu`], [`Machine::read_memory`], [`Machine::read_linear`] and their counterparts |
//! | stop it, follow it | [`Machine::add_breakpoint`], [`Machine::add_hook`] at instructions, memory and ports: [`probe`]; [`Machine::watch_io`], [`trace`] |
//! | keep its state | [`Machine::save`], [`Machine::restore`], [`Machine::state_hash`] |
//! | debug the guest | `gdb`, with the feature of that name; commands as text: `monitor` |
//!
//! The examples (`machine/examples`) boot a ROM and assert its output, add a device, run a boot sector in the loop of
//! a graphical program, and connect two machines. Errors are typed: [`BuildError`], [`snapshot::SnapshotError`],
//! [`StorageError`], [`input::KeysError`].
//!
//! # Features
//! `firmware` (the built-in BIOS), `host` (files, sockets and the clock of the host), `jit` (the translator)
//! are there unless left out; `gdb` (a server for GDB) and `sound` (loudspeakers) on request. Without any of them
//! the crate needs neither files nor threads nor a clock.
//!
//! Inside, [`run`] is the loop that drives the machine, [`pc`] the page with all addresses, `bus` what the processor
//! sees of the board, [`clock`] guest time, [`loader`] kernels booted without a boot sector.

mod bus;
pub mod clock;
pub mod custom;
pub mod display;
mod engine;
pub mod expect;
#[cfg(feature = "gdb")]
pub mod gdb;
pub mod golden;
#[cfg(feature = "host")]
pub mod host;
pub mod input;
pub mod loader;
#[cfg(feature = "host")]
pub mod monitor;
pub mod pc;
pub mod probe;
pub mod run;
pub mod snapshot;
pub mod sound;
pub mod trace;

pub use bus::{IoEvent, IoWatch, Unknown};
pub use cpu::Model;
pub use devices::Time;
/// The processor's state, for [`Machine::cpu`] and [`Machine::with_cpu`].
pub mod processor {
    pub use cpu::flags::bits as flags;
    pub use cpu::state::{Activity, Attributes, CpuState, Fpu, Mode, Msrs, Seg, Segment, Shadow, Table, gpr};
}
pub use custom::Attachment;
pub use devices::network::Network;
pub use devices::rtc::DateTime;
pub use devices::storage::{MemoryStorage, Storage, StorageError};
pub use engine::{EngineKind, JitCache, JitSettings};
pub use expect::Waited;
pub use input::KeyCode;
pub use pc::VideoAdapter;
pub use probe::{Event, Flow, Hit, ProbeId, Spot, WatchKind};
pub use run::{BootDevice, BuildError, Builder, Counters, Machine, NetworkCard, NetworkSlot, Stop};
