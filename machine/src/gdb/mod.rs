//! A server for GDB.
//!
//! ```no_run
//! use beigebox::gdb::{Ran, Server};
//! # fn f(mut pc: beigebox::Machine) -> Result<(), Box<dyn std::error::Error>> {
//! let mut gdb = Server::listen(&"tcp:1234".parse()?)?;
//! gdb.wait_for_debugger();
//! loop {
//!     match gdb.run(&mut pc, 1_000_000, u64::MAX) {
//!         Ran::Stop(beigebox::Stop::Done) | Ran::Paused => {} // show the screen, look at the keyboard
//!         Ran::Stop(_) | Ran::Quit => break,
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! [`Server::run`] takes the place of [`Machine::run_limited`] in an embedder's loop. It has no thread:
//! while the debugger holds the machine, it waits for commands a short while and returns. GDB speaks
//! the remote protocol without any protection; whoever can connect owns the guest, so the server listens on
//! the loopback unless told to listen elsewhere.
//!
//! Breakpoints and watchpoints of all kinds are [probes](crate::probe): the guest's memory is not
//! patched, and debug registers are left to the guest.

mod monitor;
mod registers;
mod target;

pub use target::{I386, RegisterFile, RegisterId};

use crate::probe::{Event, ProbeId, Spot};
use crate::run::{Machine, Stop};
use cpu::state::{Activity, Shadow};
use gdbstub::common::Signal;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, SingleThreadStopReason};
use gdbstub::target::ext::breakpoints::WatchKind;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long [`Server::run`] waits for commands while the machine stands still.
const PATIENCE: Duration = Duration::from_millis(20);
/// Instructions of a range step before the connection is looked at.
const STRIDE: u32 = 1000;
/// Most bytes in a packet.
const PACKET: usize = 1 << 16;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port: `tcp:HOST:PORT`, `tcp:PORT` (the loopback), `tcp::PORT`.
    Tcp(SocketAddr),
    /// A socket in the file system: `unix:PATH`.
    Unix(PathBuf),
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address for GDB: give tcp:PORT, tcp:ADDRESS:PORT or unix:PATH")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Address, AddressError> {
        let bad = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Address::Unix(path.into())) };
        }
        let place = text.strip_prefix("tcp:").ok_or_else(bad)?;
        let local = place.strip_prefix(':').or_else(|| place.strip_prefix("localhost:")).unwrap_or(place);
        if let Ok(port) = local.parse() {
            return Ok(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port))));
        }
        place.parse().map(Address::Tcp).map_err(|_| bad())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

/// A debugger's connection, with what it has sent and nobody has read yet.
struct Link {
    stream: Stream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Link {
    fn new(stream: Stream) -> io::Result<Link> {
        match &stream {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(Duration::from_secs(5)))?;
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(Duration::from_secs(5)))?;
            }
        }
        Ok(Link { stream, input: Vec::new(), output: Vec::new() })
    }
    /// Waits for bytes, `patience` at most; none only looks. Returns whether the other end is still there.
    fn fill(&mut self, patience: Option<Duration>) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(patience.is_none())?;
                stream.set_read_timeout(patience)?;
                stream.read(&mut bytes)
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                stream.set_nonblocking(patience.is_none())?;
                stream.set_read_timeout(patience)?;
                stream.read(&mut bytes)
            }
        };
        match read {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

impl Connection for Link {
    type Error = io::Error;
    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.output.push(byte);
        Ok(())
    }
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(buf);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                Write::write_all(stream, &output)
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                stream.set_nonblocking(false)?;
                Write::write_all(stream, &output)
            }
        }
    }
}

/// What the debugger wants the machine to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Goal {
    #[default]
    Continue,
    Step,
    /// Step until the instruction lies outside.
    Range(u32, u32),
}

/// What a debugger has left in the machine.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) goal: Goal,
    pub(crate) probes: Vec<(Spot, ProbeId)>,
    /// Interrupts are taken in single steps.
    pub(crate) step_interrupts: bool,
    pub(crate) quits: bool,
}

/// How [`Server::run`] went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// As [`Machine::run_limited`] would have returned.
    Stop(Stop),
    /// The debugger holds the machine (or has yet to come); nothing or little was run.
    Paused,
    /// The debugger has ended the machine.
    Quit,
}

type Stub = GdbStubStateMachine<'static, Machine, Link>;

/// A server for one debugger at a time.
pub struct Server {
    listener: Listener,
    stub: Option<Stub>,
    waits: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Listener::Unix(_, path) = &self.listener {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Server {
    /// Listens for a debugger.
    ///
    /// # Errors
    /// When the host does not let it.
    pub fn listen(address: &Address) -> io::Result<Server> {
        let listener = match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Listener::Tcp(listener)
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Listener::Unix(listener, path.clone())
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(io::Error::other("this host has no such sockets")),
        };
        Ok(Server { listener, stub: None, waits: false })
    }
    /// Where it listens: tells the port when port 0 was asked for.
    ///
    /// # Errors
    /// When the host does not know.
    pub fn address(&self) -> io::Result<Address> {
        match &self.listener {
            Listener::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            #[cfg(unix)]
            Listener::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }
    /// The machine runs nothing before a debugger has come and let it go on.
    pub fn wait_for_debugger(&mut self) {
        self.waits = true;
    }
    /// Whether a debugger is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stub.is_some()
    }

    /// Runs `machine` for `nanoseconds` of guest time and `instructions` at most, as far as the debugger lets it.
    pub fn run(&mut self, machine: &mut Machine, nanoseconds: u64, instructions: u64) -> Ran {
        if self.stub.is_none() {
            self.accept(machine);
        }
        if self.stub.is_none() {
            if self.waits {
                std::thread::sleep(PATIENCE);
                return Ran::Paused;
            }
            return Ran::Stop(machine.run_limited(nanoseconds, instructions));
        }
        let begun = Instant::now();
        let mut ran = None;
        while let Some(stub) = self.stub.take() {
            match self.turn(stub, machine, &mut ran, nanoseconds, instructions, begun) {
                Turned::On(stub) => self.stub = Some(stub),
                Turned::Back(stub, how) => {
                    self.stub = Some(stub);
                    return if machine.gdb.quits { Ran::Quit } else { how };
                }
                Turned::Gone { is_killed } => {
                    self.waits = false;
                    for (_, id) in std::mem::take(&mut machine.gdb.probes) {
                        machine.remove_probe(id);
                    }
                    if is_killed || machine.gdb.quits {
                        return Ran::Quit;
                    }
                    return ran.map_or(Ran::Paused, Ran::Stop);
                }
            }
        }
        Ran::Paused
    }

    fn accept(&mut self, machine: &mut Machine) {
        let stream = match &self.listener {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            #[cfg(unix)]
            Listener::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        let Ok(link) = stream.and_then(Link::new) else { return };
        let stub = GdbStub::builder(link).packet_buffer_size(PACKET).build();
        self.stub = stub.ok().and_then(|stub| stub.run_state_machine(machine).ok());
        machine.gdb.goal = Goal::Continue;
    }

    /// One transition of the stub.
    fn turn(
        &mut self,
        mut stub: Stub,
        machine: &mut Machine,
        ran: &mut Option<Stop>,
        nanoseconds: u64,
        instructions: u64,
        begun: Instant,
    ) -> Turned {
        let is_running = matches!(stub, GdbStubStateMachine::Running(_));
        let link = match &mut stub {
            GdbStubStateMachine::Idle(stub) => Some(stub.borrow_conn()),
            GdbStubStateMachine::Running(stub) => Some(stub.borrow_conn()),
            _ => None,
        };
        if let Some(link) = link
            && link.input.is_empty()
        {
            if !is_running && begun.elapsed() >= PATIENCE {
                return Turned::Back(stub, Ran::Paused);
            }
            match link.fill((!is_running).then_some(PATIENCE)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Turned::Gone { is_killed: false },
            }
        }
        let next = match stub {
            GdbStubStateMachine::Idle(mut idle) => {
                if idle.borrow_conn().input.is_empty() {
                    return Turned::Back(idle.into(), Ran::Paused);
                }
                let byte = idle.borrow_conn().input.remove(0);
                idle.incoming_data(machine, byte)
            }
            GdbStubStateMachine::Running(mut running) => {
                if !running.borrow_conn().input.is_empty() {
                    let byte = running.borrow_conn().input.remove(0);
                    running.incoming_data(machine, byte)
                } else if machine.gdb.quits {
                    return Turned::Back(running.into(), Ran::Quit);
                } else if ran.is_some() {
                    return Turned::Back(running.into(), Ran::Stop(Stop::Done));
                } else {
                    let stop = go(machine, nanoseconds, instructions);
                    *ran = Some(Stop::Done);
                    match stop {
                        Went::On => return Turned::Back(running.into(), Ran::Stop(Stop::Done)),
                        Went::Stepped => running.report_stop(machine, SingleThreadStopReason::DoneStep),
                        Went::Stopped(stop) => {
                            let ends =
                                matches!(stop, Stop::PowerOff | Stop::Exit(_) | Stop::Instructions | Stop::Reset);
                            let reported = running.report_stop(machine, reason(&stop));
                            if ends {
                                return match reported {
                                    Ok(stub) => Turned::Back(stub, Ran::Stop(stop)),
                                    Err(_) => {
                                        *ran = Some(stop);
                                        Turned::Gone { is_killed: false }
                                    }
                                };
                            }
                            reported
                        }
                    }
                }
            }
            GdbStubStateMachine::CtrlCInterrupt(stub) => {
                stub.interrupt_handled(machine, Some(SingleThreadStopReason::Signal(Signal::SIGINT)))
            }
            GdbStubStateMachine::Disconnected(stub) => {
                let is_killed = stub.get_reason() == DisconnectReason::Kill;
                return Turned::Gone { is_killed };
            }
        };
        next.map_or(Turned::Gone { is_killed: false }, Turned::On)
    }
}

enum Turned {
    On(Stub),
    /// [`Server::run`] is to return.
    Back(Stub, Ran),
    Gone {
        is_killed: bool,
    },
}

enum Went {
    On,
    Stepped,
    Stopped(Stop),
}

fn step(machine: &mut Machine) -> Stop {
    if !machine.gdb.step_interrupts && machine.cpu.shadow == Shadow::None && machine.cpu.activity == Activity::Running {
        machine.cpu.shadow = Shadow::Sti;
    }
    let before = machine.counters().instructions;
    match machine.step() {
        // The breakpoint of the instruction that is to be run.
        Stop::Breakpoint(hit)
            if matches!(hit.event, Event::Instruction { .. }) && machine.counters().instructions == before =>
        {
            machine.step()
        }
        other => other,
    }
}

fn go(machine: &mut Machine, nanoseconds: u64, instructions: u64) -> Went {
    let stop = match machine.gdb.goal {
        Goal::Continue => machine.run_limited(nanoseconds, instructions),
        Goal::Step => match step(machine) {
            Stop::Done => return Went::Stepped,
            other => other,
        },
        Goal::Range(start, end) => {
            for _ in 0..STRIDE {
                match step(machine) {
                    Stop::Done => {}
                    other => return Went::Stopped(other),
                }
                if !(u64::from(start)..u64::from(end)).contains(&crate::probe::linear_ip(machine.cpu())) {
                    return Went::Stepped;
                }
            }
            Stop::Done
        }
    };
    if stop == Stop::Done { Went::On } else { Went::Stopped(stop) }
}

fn reason(stop: &Stop) -> SingleThreadStopReason<u32> {
    match stop {
        Stop::Breakpoint(hit) => match hit.event {
            Event::Memory { address, is_write, .. } => SingleThreadStopReason::Watch {
                tid: (),
                kind: if is_write { WatchKind::Write } else { WatchKind::Read },
                addr: address as u32,
            },
            Event::Instruction { .. } => SingleThreadStopReason::SwBreak(()),
            Event::Port(_) => SingleThreadStopReason::Signal(Signal::SIGTRAP),
        },
        Stop::PowerOff | Stop::Reset => SingleThreadStopReason::Exited(0),
        Stop::Exit(value) => SingleThreadStopReason::Exited((value << 1 | 1) as u8),
        Stop::TripleFault(_) => SingleThreadStopReason::Signal(Signal::SIGSEGV),
        Stop::Hang => SingleThreadStopReason::Signal(Signal::SIGSTOP),
        Stop::Instructions | Stop::Done => SingleThreadStopReason::Signal(Signal::SIGINT),
    }
}
