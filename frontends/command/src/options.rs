//! The command line.

use crate::drives::{self, Drive};
use crate::image::ImageCommand;
use crate::values::{self, BootOrder, Date, Load, Stream, Vnc};
use beigebox::Model;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A PC for x86 software: boots disks, discs, floppies and kernels.
#[derive(Parser, Debug)]
#[command(name = "beigebox", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Runs a machine; the same as `beigebox IMAGE`.
    Run(Box<Run>),
    /// Makes, converts, checks and changes disk images.
    Image(Box<ImageCommand>),
    /// Runs images and kernels as tests, several at once, and reports what came of them.
    Test(Box<crate::test::Test>),
    /// What Cargo calls: `runner = "beigebox cargo-runner"`.
    CargoRunner(Box<crate::runner::CargoRunner>),
    /// Takes the command line of QEMU, as does a link to this program named qemu-system-i386.
    Qemu {
        /// Flags of QEMU; `-help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<std::ffi::OsString>,
    },
    /// Shows what the machine is, with a small guest of its own; so does `beigebox` alone.
    Demo(Box<Demo>),
    /// Prints the machine that options, preset and machine file come to.
    Config(Box<crate::config::Config>),
    /// Says what this host lacks, and how to mend it.
    Doctor,
    /// Prints completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Write the demonstration's floppy image and end.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Display {
    /// A window where there is a display, the terminal where there is one, else none.
    Auto,
    /// No screen.
    None,
    /// The screen in this terminal; Ctrl-] quits.
    Terminal,
    /// A window; Ctrl-Alt-Q quits.
    Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClockMode {
    /// Host when a person sits at the terminal, instructions otherwise.
    Auto,
    /// Guest time follows the instructions run: the same every time.
    Instructions,
    /// Guest time follows the host's clock.
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hypervisor {
    /// There is none.
    None,
    /// KVM without any of its features.
    Kvm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The translator where it is fast to translate (Linux on x86-64), else the interpreter.
    Auto,
    /// The interpreter.
    Interpreter,
    /// The translator.
    Jit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Vga {
    /// On the PCI bus, 1234h:1111h.
    Std,
    /// On the ISA bus: no PCI function, so that drivers for it leave the text screen alone.
    Isa,
    /// No display adapter.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trace {
    /// Each instruction with the registers before it, as QEMU's `-d in_asm,cpu`.
    Insn,
    /// Exceptions and interrupts, as QEMU's `-d int`.
    Int,
    /// Accesses to ports and device memory.
    Io,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The built-in guest is in drive A.
    #[arg(skip)]
    pub(crate) demo: bool,
    /// What to boot: a floppy, disk or CD image, a kernel, or a machine file (TOML). Its kind is
    /// recognised.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<PathBuf>,
    /// Settings that suit a guest: dos, win3, win95, win98, nt4, win2000, xp, linux, hobby-os, ci.
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// Floppy image for drive A, and for drive B when given twice.
    #[arg(long, value_name = "FILE", value_parser = drives::drive, help_heading = "Drives")]
    pub(crate) floppy: Vec<Drive>,
    /// Hard disk image, or `file=FILE` with options: `,format=raw|qcow2|vmdk|vdi|vhd`,
    /// `,cache=writeback|writethrough|none|directsync|unsafe`, `,readonly`, `,snapshot`,
    /// `,backing=PATH` (backing files may come from there), `,state=NAME` (internal snapshot,
    /// read-only). May be repeated.
    #[arg(long, value_name = "FILE", value_parser = drives::drive, help_heading = "Drives")]
    pub(crate) disk: Vec<Drive>,
    /// Folder of the host as a further hard disk with a FAT file system, read-only; with `,write`
    /// behind it what the guest writes reaches the folder. May be repeated.
    #[arg(long, value_name = "DIR", help_heading = "Drives")]
    pub(crate) share: Vec<PathBuf>,
    /// CD-ROM image (ISO), or a folder, which becomes a disc.
    #[arg(long, value_name = "FILE", value_parser = drives::drive, help_heading = "Drives")]
    pub(crate) cdrom: Vec<Drive>,
    /// Floppy image that Ctrl-Alt-A in the window puts into drive A; may be repeated: one after the
    /// other.
    #[arg(long, value_name = "FILE", help_heading = "Drives")]
    pub(crate) next_floppy: Vec<PathBuf>,
    /// The same for discs, Ctrl-Alt-C and the CD-ROM drive.
    #[arg(long, value_name = "FILE", help_heading = "Drives")]
    pub(crate) next_disc: Vec<PathBuf>,
    /// Keep writes to images and shared folders in memory and forget them at the end.
    #[arg(long, help_heading = "Drives")]
    pub(crate) snapshot: bool,
    /// Boot order: up to three of floppy, disk, cdrom, network.
    #[arg(long, value_name = "ORDER", value_parser = values::boot, help_heading = "Drives")]
    pub(crate) boot: Option<BootOrder>,

    /// Boot this kernel directly: Linux bzImage, multiboot 1 or 2, ELF.
    #[arg(long, value_name = "FILE", help_heading = "Direct boot")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk for a Linux kernel.
    #[arg(long, value_name = "FILE", help_heading = "Direct boot")]
    pub(crate) initrd: Option<PathBuf>,
    /// Command line for the kernel.
    #[arg(long, value_name = "TEXT", help_heading = "Direct boot", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Module for a multiboot kernel, with its command line after the file name; may be repeated.
    #[arg(long, value_name = "FILE [TEXT]", help_heading = "Direct boot")]
    pub(crate) module: Vec<String>,
    /// Flat binary at an address: entered in real mode below 1 MiB, in 32-bit mode above.
    #[arg(long, value_name = "ADDRESS:FILE", value_parser = values::load, help_heading = "Direct boot")]
    pub(crate) load: Option<Load>,

    /// System BIOS instead of the built-in one.
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(crate) bios: Option<PathBuf>,
    /// Video BIOS instead of the built-in one.
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(crate) video_bios: Option<PathBuf>,
    /// Display adapter.
    #[arg(long, value_enum, default_value = "std", help_heading = "Machine")]
    pub(crate) vga: Vga,
    /// Guest memory.
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = values::memory, default_value = "64M", help_heading = "Machine")]
    pub(crate) memory: u64,
    /// Processor: 8086, 286, 386, 486, pentium, pentium2, pentium3, pentium-m, core.
    #[arg(long, value_name = "MODEL", value_parser = values::model, default_value = "pentium-m", help_heading = "Machine")]
    pub(crate) cpu: Model,
    /// What CPUID says about a hypervisor: with `kvm` Linux takes positions of the mouse.
    #[arg(long, value_enum, default_value = "none", help_heading = "Machine")]
    pub(crate) hypervisor: Hypervisor,
    /// What runs the processor.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Machine")]
    pub(crate) engine: Engine,
    /// Instructions that code must have run before it is translated; 1 translates everything.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Machine")]
    pub(crate) jit_threshold: Option<u32>,
    /// Memory for translated code; 128M unless said.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Machine")]
    pub(crate) jit_memory: Option<u64>,
    /// Where translated code is kept, so that the same guest starts hot the next time: a folder of your own, `on` for
    /// `beigebox` in your folder for caches ($XDG_CACHE_HOME, else ~/.cache), or off. What the guest does is the same.
    #[arg(long, value_name = "FOLDER", default_value = "off", help_heading = "Machine")]
    pub(crate) jit_cache: PathBuf,
    /// About how large that folder may grow.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, default_value = "256M", help_heading = "Machine")]
    pub(crate) jit_cache_size: u64,
    /// What guest time follows.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Machine")]
    pub(crate) clock: ClockMode,
    /// Instructions per second of guest time.
    #[arg(long, value_name = "N", value_parser = values::number, help_heading = "Machine")]
    pub(crate) ips: Option<u64>,
    /// Date and time (UTC) at power-on, or `host`; a fixed date unless the clock is the host's.
    #[arg(long, value_name = "DATE", value_parser = values::date, help_heading = "Machine")]
    pub(crate) rtc: Option<Date>,
    /// End when the guest resets the machine.
    #[arg(long, help_heading = "Machine")]
    pub(crate) no_reboot: bool,
    /// Reset on a triple fault, as real boards do, instead of ending with a report.
    #[arg(long, help_heading = "Machine")]
    pub(crate) reset_on_triple_fault: bool,

    #[command(flatten)]
    pub(crate) net: crate::net::NetOptions,

    /// Where the screen is shown; several with commas between them. `auto` unless said, or `none`
    /// with --vnc.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHERE", help_heading = "Input and output")]
    pub(crate) display: Vec<Display>,
    /// Shows the screen to VNC clients and to noVNC: :N (port 5900+N), or ADDRESS:PORT, and after
    /// commas password=TEXT, password-file=FILE, websocket=PORT, origin=URL, no-password.
    #[arg(long, value_name = "[ADDRESS]:PORT", value_parser = values::vnc, help_heading = "Input and output")]
    pub(crate) vnc: Option<Vnc>,
    /// Where the speaker and the sound card are heard: none, wav:FILE or host.
    #[arg(long, value_name = "WHERE", value_parser = crate::sound::parse, default_value = "none", help_heading = "Input and output")]
    pub(crate) sound: crate::sound::SoundTo,
    /// First serial port: stdio (Ctrl-A x quits), file:PATH or null.
    #[arg(long, value_name = "WHERE", value_parser = values::stream, help_heading = "Input and output")]
    pub(crate) serial: Option<Stream>,
    /// Debug console: stdio, file:PATH or null.
    #[arg(long, value_name = "WHERE", value_parser = values::stream, help_heading = "Input and output")]
    pub(crate) debugcon: Option<Stream>,
    /// Port of the debug console; SeaBIOS writes to 0x402.
    #[arg(long, value_name = "PORT", value_parser = values::port, default_value = "0xe9", help_heading = "Input and output")]
    pub(crate) debugcon_port: u16,
    /// First port of the exit device: a write of V ends the run with code (V << 1) | 1.
    #[arg(long, value_name = "PORT", value_parser = values::port, default_value = "0xf4", help_heading = "Input and output")]
    pub(crate) debug_exit: u16,
    /// Once TEXT stands on the serial line, debug console or screen, type KEYS (`<enter>`, `<f10>`,
    /// `<ctrl-c>`). May be repeated: one rule after the other. For TEXT there can also be a time
    /// (`@2s`) or a picture that the screen must look like
    /// (`picture:FILE.png[@X,Y,WIDTHxHEIGHT][~TOLERANCE]`); for KEYS one of serial:KEYS, move:X,Y,
    /// click:X,Y, double-click:X,Y, right-click:X,Y, middle-click:X,Y, drag:X,Y..X,Y, wheel:N,
    /// screenshot:FILE, floppy:FILE, disc:FILE, reset:, or nothing.
    #[arg(long, value_name = "TEXT=>KEYS", help_heading = "Input and output")]
    pub(crate) on_text: Vec<String>,
    /// File with one such rule per line.
    #[arg(long, value_name = "FILE", help_heading = "Input and output")]
    pub(crate) script: Option<PathBuf>,

    /// End with code 0 as soon as TEXT stands on the serial line, debug console or screen (after
    /// all `--on-text` rules are done).
    #[arg(long, value_name = "TEXT", help_heading = "Ending")]
    pub(crate) exit_on_text: Vec<String>,
    /// End with code 0 as soon as the screen looks like this picture: FILE.png, and after it, if
    /// wanted, @X,Y,WIDTHxHEIGHT and ~TOLERANCE.
    #[arg(long, value_name = "FILE.png", help_heading = "Ending")]
    pub(crate) exit_on_picture: Vec<String>,
    /// End with code 6 as soon as TEXT stands there, such as the first words of a kernel's panic;
    /// may be repeated.
    #[arg(long, value_name = "TEXT", help_heading = "Ending")]
    pub(crate) panic_text: Vec<String>,
    /// End with code 124 after this much guest time.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Ending")]
    pub(crate) time_limit: Option<u64>,
    /// End with code 124 after this much real time.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Ending")]
    pub(crate) wall_limit: Option<u64>,
    /// End with code 124 after this many instructions.
    #[arg(long, value_name = "N", value_parser = values::number, help_heading = "Ending")]
    pub(crate) max_instructions: Option<u64>,
    /// Exit code of the guest that means success and becomes 0.
    #[arg(long, value_name = "CODE", help_heading = "Ending")]
    pub(crate) success_code: Option<u8>,

    /// Write the text screen to this file at the end (`-` for standard output).
    #[arg(long, value_name = "FILE", help_heading = "Looking inside")]
    pub(crate) screen_text: Option<PathBuf>,
    /// Write a picture of the screen (PNG) at the end.
    #[arg(long, value_name = "FILE", help_heading = "Looking inside")]
    pub(crate) screenshot: Option<PathBuf>,
    /// Print numbers about the run at the end, and the hash of its state.
    #[arg(long, help_heading = "Looking inside")]
    pub(crate) stats: bool,
    /// Write translated code down in this folder, one text file for each region: guest assembly, the code generator's
    /// representation where there is one, host assembly. With an address (hexadecimal, linear) only what holds it.
    #[arg(long, value_name = "FOLDER[:ADDRESS]", help_heading = "Looking inside")]
    pub(crate) jit_dump: Option<String>,
    /// Tell `perf` where translated code is (`/tmp/perf-PID.map`).
    #[arg(long, help_heading = "Looking inside")]
    pub(crate) perf_map: bool,
    /// Serve GDB here: tcp:PORT (of this host only), tcp:ADDRESS:PORT or unix:PATH. Whoever connects
    /// owns the guest.
    #[arg(long, value_name = "ADDRESS", value_parser = values::gdb, help_heading = "Looking inside")]
    pub(crate) gdb: Option<beigebox::gdb::Address>,
    /// Run nothing before a debugger has come and says so.
    #[arg(long, help_heading = "Looking inside")]
    pub(crate) gdb_wait: bool,
    /// Takes commands of an operator here: stdio, tcp:PORT (of this host only), tcp:ADDRESS:PORT or unix:PATH; `help`
    /// lists them. Whoever connects owns the guest, and reads and writes your files.
    #[arg(long, value_name = "WHERE", value_parser = crate::monitor::place, help_heading = "Looking inside")]
    pub(crate) monitor: Option<crate::monitor::Place>,
    /// The same for programs: QEMU's machine protocol (QMP).
    #[arg(long, value_name = "WHERE", value_parser = crate::monitor::place, help_heading = "Looking inside")]
    pub(crate) qmp: Option<crate::monitor::Place>,
    /// Run nothing before `cont` comes from there.
    #[arg(long, help_heading = "Looking inside")]
    pub(crate) paused: bool,
    /// Trace: insn, int, io, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT", help_heading = "Looking inside")]
    pub(crate) trace: Vec<Trace>,
    /// Where the trace goes instead of standard error.
    #[arg(long, value_name = "FILE", help_heading = "Looking inside")]
    pub(crate) trace_file: Option<PathBuf>,
}
