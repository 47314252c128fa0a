//! `--net` and what belongs to it.

use crate::options::Run;
use crate::{Failure, code};
use beigebox::host::net::{self, Dump, Forward, GATEWAY, GUEST, NAMESERVER, Protocol, Switch, UserConfig, UserNetwork};
use beigebox::{Builder, Network, NetworkCard, NetworkSlot};
use clap::Args;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetOptions {
    /// Network card and what its cable leads to: none, user, tap[=NAME], socket=HOST:PORT or
    /// socket=listen:HOST:PORT; then, with commas, restrict, dns=ADDRESS[:PORT] (user), model=pci or
    /// model=isa, mac=ADDRESS, irq=N (isa). May be repeated for a card on the other bus.
    #[arg(long, value_name = "WHAT", value_parser = card)]
    pub(crate) net: Vec<Card>,
    /// Port of the host that leads into the guest: tcp:[ADDRESS:]PORT:[GUEST-ADDRESS:]GUEST-PORT, or udp.
    #[arg(long, value_name = "FORWARD", value_parser = forward)]
    pub(crate) forward: Vec<Forward>,
    /// Folder that the network's gateway serves by TFTP and by HTTP.
    #[arg(long, value_name = "DIR")]
    pub(crate) tftp: Option<PathBuf>,
    /// What DHCP tells the guest to boot: a name for TFTP, or a URL for iPXE.
    #[arg(long, value_name = "NAME")]
    pub(crate) boot_file: Option<String>,
    /// Write all frames of the first network card to this file (pcap).
    #[arg(long, value_name = "FILE")]
    pub(crate) net_dump: Option<PathBuf>,
    /// ROM of the network card, for instance iPXE's for the PCI card.
    #[arg(long, value_name = "FILE")]
    pub(crate) option_rom: Option<PathBuf>,
}

/// What a cable leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    User { restrict: bool, nameserver: Option<SocketAddrV4> },
    Connect(SocketAddr),
    Listen(SocketAddr),
    Tap(String),
}

/// One card, or `--net none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    cable: Option<Cable>,
    slot: NetworkSlot,
    address: Option<[u8; 6]>,
}

/// A card.
pub(crate) fn card(text: &str) -> Result<Card, String> {
    let mut words = text.split(',');
    let kind = words.next().unwrap_or_default();
    let (mut restrict, mut nameserver, mut address, mut irq, mut isa) = (false, None, None, None, false);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match (key, value) {
            ("restrict" | "isolated", "" | "on" | "yes") => restrict = true,
            ("dns", value) => nameserver = Some(nameserver_of(value)?),
            ("model", "pci" | "ne2k_pci" | "rtl8029") => isa = false,
            ("model", "isa" | "ne2k_isa" | "ne2000") => isa = true,
            ("mac", value) => address = Some(hardware_address(value)?),
            ("irq", value) => {
                irq =
                    Some(value.parse::<u8>().map_err(|_| format!("`{value}` is no interrupt; write for instance 10"))?);
            }
            _ => return Err(format!("`{word}` is none of restrict, dns=, model=pci, model=isa, mac= and irq=")),
        }
    }
    let slot = match (isa, irq) {
        (true, irq) => NetworkSlot::Isa { irq: irq.unwrap_or(beigebox::pc::ISA_NETWORK_IRQ) },
        (false, None) => NetworkSlot::Pci,
        (false, Some(_)) => {
            return Err("irq= is for model=isa; the PCI card's interrupt is the firmware's choice".into());
        }
    };
    let cable = match kind {
        "none" => None,
        "user" => Some(Cable::User { restrict, nameserver }),
        "tap" => Some(Cable::Tap("tap0".into())),
        _ if kind.starts_with("tap=") => Some(Cable::Tap(interface(&kind[4..])?)),
        _ => match kind.strip_prefix("socket=") {
            Some(at) => Some(match at.strip_prefix("listen:") {
                Some(at) => Cable::Listen(socket_address(at)?),
                None => Cable::Connect(socket_address(at)?),
            }),
            None => {
                return Err(format!(
                    "`{kind}` is none of none, user, tap, tap=NAME, socket=HOST:PORT and socket=listen:HOST:PORT"
                ));
            }
        },
    };
    if !matches!(cable, Some(Cable::User { .. })) && (restrict || nameserver.is_some()) {
        return Err("restrict and dns= are for `user`".into());
    }
    Ok(Card { cable, slot, address })
}

/// The name of an interface, as Linux allows it.
fn interface(name: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':' || c == '%';
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(odd) {
        return Err(format!("`{name}` is no name of an interface; write for instance tap=tap0"));
    }
    Ok(name.to_owned())
}

fn nameserver_of(text: &str) -> Result<SocketAddrV4, String> {
    let address = text.parse::<Ipv4Addr>().map(|address| SocketAddrV4::new(address, 53));
    address.or_else(|_| text.parse()).map_err(|_| format!("`{text}` is no IPv4 address; write for instance 9.9.9.9"))
}

fn hardware_address(text: &str) -> Result<[u8; 6], String> {
    let bad = || format!("`{text}` is no hardware address; write for instance 52:54:00:12:34:56");
    let bytes: Vec<u8> =
        text.split([':', '-']).map(|part| u8::from_str_radix(part, 16).map_err(|_| bad())).collect::<Result<_, _>>()?;
    let address: [u8; 6] = bytes.try_into().map_err(|_| bad())?;
    if address[0] & 1 != 0 {
        return Err(format!("`{text}` is the address of a group; the first byte of a card's is even"));
    }
    Ok(address)
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let text = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    let found = text.to_socket_addrs().map_err(|error| format!("`{text}` is no HOST:PORT: {error}"))?.next();
    found.ok_or_else(|| format!("`{text}` has no address"))
}

/// A forward.
pub(crate) fn forward(text: &str) -> Result<Forward, String> {
    let bad = || format!("`{text}` is no forward; write for instance tcp:127.0.0.1:2222:22");
    let parts: Vec<&str> = text.split(':').collect();
    let protocol = match parts.first() {
        Some(&"tcp") => Protocol::Tcp,
        Some(&"udp") => Protocol::Udp,
        _ => return Err(bad()),
    };
    let port = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let address = |text: &str| if text.is_empty() { Ok(Ipv4Addr::LOCALHOST) } else { text.parse().map_err(|_| bad()) };
    let (host, guest) = match parts[1..] {
        [host, guest] => ((Ipv4Addr::LOCALHOST, port(host)?), (GUEST, port(guest)?)),
        [on, host, guest] => ((address(on)?, port(host)?), (GUEST, port(guest)?)),
        [on, host, to, guest] => ((address(on)?, port(host)?), (to.parse().map_err(|_| bad())?, port(guest)?)),
        _ => return Err(bad()),
    };
    if guest.1 == 0 || [GATEWAY, NAMESERVER].contains(&guest.0) {
        return Err(bad());
    }
    Ok(Forward { protocol, host: SocketAddrV4::new(host.0, host.1), guest: SocketAddrV4::new(guest.0, guest.1) })
}

impl NetOptions {
    /// Whether the outside world can reach the guest, or the guest it: then guest time that leaps
    /// ahead of real time would make every answer late.
    pub(crate) fn is_live(&self) -> bool {
        let live = |card: &Card| !matches!(card.cable, None | Some(Cable::User { restrict: true, .. }));
        self.net.iter().any(live) || !self.forward.is_empty()
    }
    /// Whether there is a network card.
    pub(crate) fn has_card(&self) -> bool {
        self.net.iter().any(|card| card.cable.is_some())
    }
}

/// Adds the cards to a machine.
pub(crate) fn fit(mut builder: Builder, options: &Run) -> Result<Builder, Failure> {
    let options = &options.net;
    let bad = |text: String| Failure::new(code::CONFIGURATION, text);
    let has_user = options.net.iter().any(|card| matches!(card.cable, Some(Cable::User { .. })));
    let needs_user = [
        ("--forward", !options.forward.is_empty()),
        ("--tftp", options.tftp.is_some()),
        ("--boot-file", options.boot_file.is_some()),
    ];
    if let Some((option, _)) = needs_user.iter().find(|(_, given)| *given && !has_user) {
        return Err(bad(format!("{option} needs --net user")));
    }
    if options.net_dump.is_some() && !options.has_card() {
        return Err(bad("--net-dump needs a network card: --net user".into()));
    }
    let (mut dump, mut user_done) = (options.net_dump.as_ref(), false);
    for (index, card) in options.net.iter().enumerate() {
        let Some(cable) = &card.cable else { continue };
        let socket = |verb: &str, at: &SocketAddr, error: std::io::Error| {
            Failure::new(code::IO, format!("--net socket: cannot {verb} {at}: {error}"))
        };
        let mut network: Box<dyn Network> = match cable {
            Cable::User { restrict, nameserver } => {
                // What was said once is for the first of such networks.
                let first = !std::mem::replace(&mut user_done, true);
                let config = UserConfig {
                    isolated: *restrict,
                    nameserver: nameserver.or_else(net::host_nameserver).filter(|_| !restrict),
                    boot_folder: options.tftp.clone().filter(|_| first),
                    boot_file: options.boot_file.clone().filter(|_| first),
                    forwards: if first { options.forward.clone() } else { Vec::new() },
                };
                Box::new(UserNetwork::new(config).map_err(|error| bad(error.to_string()))?)
            }
            Cable::Connect(at) => Box::new(Switch::connect(*at).map_err(|error| socket("connect to", at, error))?),
            Cable::Tap(name) => tap(name)?,
            Cable::Listen(at) => Box::new(Switch::listen(*at).map_err(|error| socket("listen on", at, error))?),
        };
        if let Some(path) = dump.take() {
            let failed = |error: std::io::Error| Failure::file(path, "written", &error);
            network = Box::new(Dump::new(network, File::create(path).map_err(failed)?).map_err(failed)?);
        }
        let address = card.address.unwrap_or([0x52, 0x54, 0x00, 0x12, 0x34, 0x56 + index as u8]);
        builder = builder.network(NetworkCard { slot: card.slot, address, cable: network });
    }
    if let Some(path) = &options.option_rom {
        builder = builder.option_rom(std::fs::read(path).map_err(|error| Failure::file(path, "read", &error))?);
    }
    Ok(builder)
}

#[cfg(target_os = "linux")]
fn tap(name: &str) -> Result<Box<dyn Network>, Failure> {
    let failed = |error: std::io::Error| {
        let mend = match error.raw_os_error() {
            // EPERM and EACCES, EBUSY.
            Some(1 | 13) => format!("; make it once as root with `ip tuntap add {name} mode tap user $USER`"),
            Some(16) => "; another machine uses it".to_owned(),
            _ => String::new(),
        };
        Failure::new(code::IO, format!("--net tap: interface {name}: {error}{mend}"))
    };
    Ok(Box::new(net::Tap::open(name).map_err(failed)?))
}
#[cfg(not(target_os = "linux"))]
fn tap(name: &str) -> Result<Box<dyn Network>, Failure> {
    Err(Failure::new(code::CONFIGURATION, format!("--net tap={name}: TAP interfaces are there on Linux only")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_forwards_parse() {
        let plain = card("user").unwrap();
        assert_eq!((plain.slot, plain.address), (NetworkSlot::Pci, None));
        let isa = card("user,restrict,model=isa,irq=9,mac=52:54:0:1:2:3").unwrap();
        assert_eq!(isa.slot, NetworkSlot::Isa { irq: 9 });
        assert_eq!(isa.address, Some([0x52, 0x54, 0, 1, 2, 3]));
        assert_eq!(isa.cable, Some(Cable::User { restrict: true, nameserver: None }));
        assert_eq!(card("socket=listen:127.0.0.1:9").unwrap().cable, Some(Cable::Listen(([127, 0, 0, 1], 9).into())));
        assert_eq!(card("none").unwrap().cable, None);
        assert_eq!(card("tap").unwrap().cable, Some(Cable::Tap("tap0".into())));
        assert_eq!(card("tap=lab3").unwrap().cable, Some(Cable::Tap("lab3".into())));
        for text in [
            "",
            "tap=",
            "user,speed=9",
            "user,irq=9",
            "socket=x",
            "user,mac=1:2",
            "user,mac=1:2:3:4:5:6",
            "none,dns=1.1.1.1",
        ] {
            assert!(card(text).is_err(), "{text}");
        }
        let made = forward("tcp:127.0.0.1:2222:22").unwrap();
        assert_eq!((made.host.port(), *made.guest.ip(), made.guest.port()), (2222, GUEST, 22));
        assert_eq!(
            forward("udp:53:10.0.2.16:53").err(),
            Some("`udp:53:10.0.2.16:53` is no forward; write for instance tcp:127.0.0.1:2222:22".into())
        );
        assert_eq!(*forward("udp::53:10.0.2.16:53").unwrap().guest.ip(), Ipv4Addr::new(10, 0, 2, 16));
        assert!(forward("tcp:22").is_err() && forward("icmp:1:2").is_err() && forward("tcp:1:99999").is_err());
    }
}
