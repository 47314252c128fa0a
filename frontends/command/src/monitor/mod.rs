//! `--monitor` and `--qmp`: commands from outside while the machine runs.
//!
//! Both know the commands of [`beigebox::monitor`]. No peer is trusted with more than that: lines and answers that nobody
//! takes are bounded, and the machine waits for nobody.

mod link;
mod qmp;

use crate::Failure;
use crate::run::End;
use beigebox::gdb::Address;
use beigebox::host::Mode;
use beigebox::monitor::{self, Rights, Wish};
use beigebox::{Machine, Stop};
use link::{Line, Link, Listener};
use std::time::{Duration, Instant};

/// Most clients at one place.
const MOST_PEERS: usize = 8;
/// Most commands of one peer between two slices of the run.
const MOST_COMMANDS: usize = 16;
/// How long the end of the run waits for peers to take its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where commands come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stdio,
    At(Address),
}

/// `stdio`, `tcp:…` or `unix:PATH`.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    if text == "stdio" {
        return Ok(Place::Stdio);
    }
    let address = text.parse().map(Place::At);
    address.map_err(|_| format!("`{text}` is no place; give stdio, tcp:PORT, tcp:ADDRESS:PORT or unix:PATH"))
}

/// What a peer speaks.
enum Language {
    Human,
    Machine(qmp::Talk),
}

struct Peer {
    link: Link,
    language: Language,
}

struct Port {
    listener: Option<Listener>,
    peers: Vec<Peer>,
    is_machine: bool,
}

/// Where all commands arrive.
pub(crate) struct Desk {
    ports: Vec<Port>,
    running: bool,
    /// It has run at some time.
    begun: bool,
    mode: Mode,
    resets: u64,
    /// Commands have reset the machine so often since the last turn.
    own_resets: u64,
    quit: bool,
}

const PROMPT: &str = "(beigebox) ";

impl Peer {
    fn new(mut link: Link, is_machine: bool) -> Peer {
        let language = if is_machine {
            link.say(&qmp::greeting());
            Language::Machine(qmp::Talk::default())
        } else {
            link.say(&format!("Beigebox {}; `help` lists the commands\n{PROMPT}", env!("CARGO_PKG_VERSION")));
            Language::Human
        };
        Peer { link, language }
    }
}

impl Desk {
    pub(crate) fn open(
        monitor: Option<&Place>,
        qmp: Option<&Place>,
        running: bool,
        mode: Mode,
    ) -> Result<Desk, Failure> {
        let mut ports = Vec::new();
        for (name, place, is_machine) in [("monitor", monitor, false), ("qmp", qmp, true)] {
            let Some(place) = place else { continue };
            let mut port = Port { listener: None, peers: Vec::new(), is_machine };
            match place {
                Place::Stdio => port.peers.push(Peer::new(Link::stdio(), is_machine)),
                Place::At(address) => {
                    let failed =
                        |error: std::io::Error| Failure::new(crate::code::IO, format!("--{name} {address}: {error}"));
                    let listener = Listener::listen(address).map_err(failed)?;
                    eprintln!("beigebox: --{name} on {}", listener.address().map_err(failed)?);
                    port.listener = Some(listener);
                }
            }
            ports.push(port);
        }
        Ok(Desk { ports, running, begun: running, mode, resets: 0, own_resets: 0, quit: false })
    }
    /// Whether the machine is to run.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }
    fn rights(&self) -> Rights {
        Rights::Operator { mode: self.mode, running: self.running }
    }

    /// Takes what has come and answers. Returns whether the run goes on.
    pub(crate) fn turn(&mut self, machine: &mut Machine) -> bool {
        if self.ports.is_empty() {
            return true;
        }
        self.resets_are_told(machine);
        let mut ports = std::mem::take(&mut self.ports);
        for port in &mut ports {
            if port.peers.len() < MOST_PEERS
                && let Some(link) = port.listener.as_ref().and_then(Listener::accept)
            {
                port.peers.push(Peer::new(link, port.is_machine));
            }
        }
        for port in 0..ports.len() {
            for peer in 0..ports[port].peers.len() {
                for _ in 0..MOST_COMMANDS {
                    let stood = !self.running;
                    let Some(events) = self.command(&mut ports[port].peers[peer], machine) else { break };
                    for event in events {
                        tell(&mut ports, &event);
                    }
                    // What comes behind `cont` meets a machine that has run.
                    if self.quit || stood && self.running {
                        break;
                    }
                }
            }
        }
        for port in &mut ports {
            port.peers.retain_mut(|peer| peer.link.flush());
        }
        self.ports = ports;
        self.resets_are_told(machine);
        !self.quit
    }

    /// Carries out one command of a peer, if there is one. The answer are events for all.
    fn command(&mut self, peer: &mut Peer, machine: &mut Machine) -> Option<Vec<String>> {
        let mut events = Vec::new();
        match &mut peer.language {
            Language::Human => {
                let text = match peer.link.line()? {
                    Line::Text(text) => text,
                    Line::TooLong => {
                        peer.link.say(&format!("Error: the line is too long\n{PROMPT}"));
                        return Some(events);
                    }
                };
                let before = machine.counters().resets;
                match monitor::perform(machine, &text, self.rights()) {
                    Ok(answer) => {
                        peer.link.say(&answer.text);
                        if let Some(wish) = answer.wish {
                            self.grant(wish, &mut events);
                        }
                        if text.trim() == "system_powerdown" {
                            events.push(qmp::event("POWERDOWN", None));
                        }
                    }
                    Err(problem) => peer.link.say(&format!("Error: {problem}\n")),
                }
                self.own_resets += machine.counters().resets.saturating_sub(before);
                if !self.quit {
                    peer.link.say(PROMPT);
                }
            }
            Language::Machine(talk) => {
                let request = match talk.next(peer.link.input())? {
                    Ok(request) => request,
                    Err(reply) => {
                        peer.link.say(&reply);
                        return Some(events);
                    }
                };
                let before = machine.counters().resets;
                let rights = self.rights();
                let state = qmp::State { rights, begun: self.begun };
                let reply = talk.perform(&request, machine, state);
                peer.link.say(&reply.text);
                events.extend(reply.event);
                self.own_resets += machine.counters().resets.saturating_sub(before);
                if let Some(wish) = reply.wish {
                    self.grant(wish, &mut events);
                }
            }
        }
        Some(events)
    }

    fn grant(&mut self, wish: Wish, events: &mut Vec<String>) {
        match wish {
            Wish::Stop if self.running => {
                self.running = false;
                events.push(qmp::event("STOP", None));
            }
            Wish::Continue if !self.running => {
                self.running = true;
                self.begun = true;
                events.push(qmp::event("RESUME", None));
            }
            Wish::Stop | Wish::Continue => {}
            Wish::Quit => self.quit = true,
        }
    }

    fn resets_are_told(&mut self, machine: &Machine) {
        let resets = machine.counters().resets;
        let new = resets.saturating_sub(self.resets);
        self.resets = resets;
        let own = std::mem::take(&mut self.own_resets).min(new);
        let (host, guest) = ("host-qmp-system-reset", "guest-reset");
        for _ in 0..own.min(64) {
            tell(&mut self.ports, &qmp::event("RESET", Some((false, host))));
        }
        for _ in 0..(new - own).min(64) {
            tell(&mut self.ports, &qmp::event("RESET", Some((true, guest))));
        }
    }

    /// The run is over: says so to those who listen.
    pub(crate) fn finish(&mut self, machine: &mut Machine, end: &End) {
        if self.ports.is_empty() {
            return;
        }
        self.resets_are_told(machine);
        let (guest, reason) = match end {
            End::Stop(Stop::Reset) => (true, "guest-reset"),
            End::Stop(Stop::TripleFault(_) | Stop::Hang) | End::Panic(_) => (true, "guest-panic"),
            End::Stop(_) => (true, "guest-shutdown"),
            End::Quit if self.quit => (false, "host-qmp-quit"),
            End::Quit => (false, "host-ui"),
            End::Signal => (false, "host-signal"),
            End::Text | End::Limit(_) => (false, "host-error"),
        };
        tell(&mut self.ports, &qmp::event("SHUTDOWN", Some((guest, reason))));
        let begun = Instant::now();
        while begun.elapsed() < LAST_WORDS {
            let mut waits = false;
            for peer in self.ports.iter_mut().flat_map(|port| &mut port.peers) {
                waits |= peer.link.flush() && peer.link.has_output();
            }
            if !waits {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// An event for every program that has finished its introduction.
fn tell(ports: &mut [Port], event: &str) {
    for peer in ports.iter_mut().flat_map(|port| &mut port.peers) {
        if matches!(&peer.language, Language::Machine(talk) if talk.is_ready()) {
            peer.link.say(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("stdio"), Ok(Place::Stdio));
        assert!(matches!(place("tcp:4444"), Ok(Place::At(Address::Tcp(_)))));
        assert!(matches!(place("unix:/x"), Ok(Place::At(Address::Unix(_)))));
        assert!(place("pty").is_err() && place("").is_err());
    }
}
