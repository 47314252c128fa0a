//! Networks for the guest: a user-mode NAT without privileges, QEMU's stream sockets with a switch
//! between machines, a TAP interface of the host, and a dump of all frames.
//!
//! All of them are a [`Network`]: they do their work when the adapter sends or asks, never wait,
//! and have no thread. What comes from outside makes a run depend on the host; a [`UserNetwork`]
//! that is [`UserConfig::isolated`] and has no forwards does not.
//!
//! Not there: IPv6, urgent data, ICMP to the outside, helpers for protocols that
//! carry addresses (FTP).

mod dhcp;
mod dump;
mod folder;
mod fragments;
mod http;
mod outside;
mod stream;
#[cfg(target_os = "linux")]
mod tap;
mod tcp;
mod tftp;

pub use dump::Dump;
pub use outside::{Datagrams, Host, Outside, Stream};
pub use stream::Switch;
#[cfg(target_os = "linux")]
pub use tap::Tap;

use devices::Time;
use devices::network::Network;
use folder::Folder;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet,
    Ipv4Repr, TcpPacket, UdpPacket, UdpRepr,
};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::PathBuf;

/// The gateway: also the host itself, the boot server and the source of forwarded connections.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The first address that DHCP gives away.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATEWAY_HARDWARE: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
/// Frames that wait for the guest before no more are made.
const QUEUE: usize = 64;
/// Guests (and aliases of one) whose hardware addresses are remembered.
const NEIGHBORS: usize = 64;
/// UDP ports of guests that are open to the outside at once.
const UDP_FLOWS: usize = 128;
/// Others that one such port talks to at once.
const UDP_PEERS: usize = 32;
/// Guest time after which an unused one is forgotten.
const UDP_IDLE: u64 = 120_000_000_000;

/// What a forward carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the host that leads into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What it carries.
    pub protocol: Protocol,
    /// Where the host listens.
    pub host: SocketAddrV4,
    /// Where it leads.
    pub guest: SocketAddrV4,
}

/// How a [`UserNetwork`] is set up.
#[derive(Clone, Debug, Default)]
pub struct UserConfig {
    /// No way out: only the gateway's own services answer. Forwards work all the same.
    pub isolated: bool,
    /// Where questions for names go; without it the answer to each is a failure.
    pub nameserver: Option<SocketAddrV4>,
    /// A folder for TFTP, and for HTTP at the gateway's port 80.
    pub boot_folder: Option<PathBuf>,
    /// What DHCP names as the file to boot: a name for TFTP, or a URL for iPXE.
    pub boot_file: Option<String>,
    /// Ports of the host that lead into the guest.
    pub forwards: Vec<Forward>,
}

/// The name server that the host uses, out of `/etc/resolv.conf`.
#[must_use]
pub fn host_nameserver() -> Option<SocketAddrV4> {
    let text = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|rest| rest.trim().parse::<Ipv4Addr>().ok()).map(|address| SocketAddrV4::new(address, 53)).next()
}

/// Why a network cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The folder of the boot server.
    #[error("{}: cannot be served: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A forward.
    #[error("the host's port {address} cannot be forwarded: {source}")]
    Forward {
        /// The host's side.
        address: SocketAddrV4,
        /// Why not.
        source: io::Error,
    },
    /// The name of the boot file.
    #[error("the boot file's name has {0} bytes; DHCP carries at most 255")]
    BootFile(usize),
}

struct UdpFlow {
    guest: SocketAddrV4,
    socket: Box<dyn Datagrams>,
    /// The address outside and the one that the guest knows it by.
    peers: Vec<(SocketAddrV4, SocketAddrV4)>,
    last: Time,
}

struct UdpForward {
    socket: UdpSocket,
    guest: SocketAddrV4,
    /// Who has sent lately; the guest sees them as ports of the gateway.
    peers: VecDeque<SocketAddrV4>,
}

/// A network of its own for one machine, with a way out over the host's sockets: 10.0.2.0/24,
/// gateway 10.0.2.2, name server 10.0.2.3, guest 10.0.2.15.
pub struct UserNetwork {
    outside: Box<dyn Outside>,
    isolated: bool,
    nameserver: Option<SocketAddrV4>,
    folder: Option<Folder>,
    dhcp: dhcp::Server,
    tftp: Option<tftp::Server>,
    tcp: tcp::Flows,
    fragments: fragments::Fragments,
    listeners: Vec<(TcpListener, SocketAddrV4)>,
    udp: Vec<UdpFlow>,
    udp_forwards: Vec<UdpForward>,
    neighbors: VecDeque<(Ipv4Addr, EthernetAddress)>,
    to_guest: VecDeque<Vec<u8>>,
    /// Where the next look at UDP begins, so that a busy port leaves room for the others.
    udp_turn: usize,
    ident: u16,
    now: Time,
}

impl UserNetwork {
    /// A network over the host's sockets.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub fn new(config: UserConfig) -> Result<UserNetwork, NetworkError> {
        UserNetwork::over(config, Box::new(Host))
    }
    /// A network over anything.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub fn over(config: UserConfig, outside: Box<dyn Outside>) -> Result<UserNetwork, NetworkError> {
        let UserConfig { isolated, nameserver, boot_folder, boot_file, forwards } = config;
        if let Some(length) = boot_file.as_ref().map(String::len).filter(|length| *length > 255) {
            return Err(NetworkError::BootFile(length));
        }
        let folder = match boot_folder {
            Some(path) => Some(Folder::new(&path).map_err(|source| NetworkError::Folder { path, source })?),
            None => None,
        };
        let mut dhcp = dhcp::Server::new(GATEWAY, NAMESERVER, GUEST);
        dhcp.isolated = isolated;
        dhcp.boot_file = boot_file;
        let mut network = UserNetwork {
            outside,
            isolated,
            nameserver,
            tftp: folder.clone().map(tftp::Server::new),
            folder,
            dhcp,
            tcp: tcp::Flows::new(GATEWAY),
            fragments: fragments::Fragments::default(),
            listeners: Vec::new(),
            udp: Vec::new(),
            udp_forwards: Vec::new(),
            neighbors: VecDeque::new(),
            to_guest: VecDeque::new(),
            udp_turn: 0,
            ident: 0,
            now: Time::ZERO,
        };
        for forward in forwards {
            let failed = |source| NetworkError::Forward { address: forward.host, source };
            match forward.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::bind(forward.host).map_err(failed)?;
                    listener.set_nonblocking(true).map_err(failed)?;
                    network.listeners.push((listener, forward.guest));
                }
                Protocol::Udp => {
                    let socket = UdpSocket::bind(forward.host).map_err(failed)?;
                    socket.set_nonblocking(true).map_err(failed)?;
                    network.udp_forwards.push(UdpForward { socket, guest: forward.guest, peers: VecDeque::new() });
                }
            }
        }
        Ok(network)
    }
    /// Where the host listens for each TCP forward, in order; a port that was given as 0 has a
    /// number here.
    #[must_use]
    pub fn forwarded(&self) -> Vec<std::net::SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    // --- link layer --------------------------------------------------------------------------

    fn learn(&mut self, address: Ipv4Addr, hardware: EthernetAddress) {
        if !hardware.is_unicast() || address.is_unspecified() || address == GATEWAY || address == NAMESERVER {
            return;
        }
        match self.neighbors.iter_mut().find(|(known, _)| *known == address) {
            Some(known) => known.1 = hardware,
            None => {
                if self.neighbors.len() >= NEIGHBORS {
                    self.neighbors.pop_front();
                }
                self.neighbors.push_back((address, hardware));
            }
        }
    }
    fn frame(&mut self, to: EthernetAddress, protocol: EthernetProtocol, payload: &[u8]) {
        let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(payload.len())];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        frame.set_dst_addr(to);
        frame.set_src_addr(GATEWAY_HARDWARE);
        frame.set_ethertype(protocol);
        frame.payload_mut().copy_from_slice(payload);
        // Twice the mark: answers may always be queued beside what was read from sockets.
        if self.to_guest.len() < 2 * QUEUE {
            self.to_guest.push_back(bytes);
        }
    }
    /// An IP packet goes to whoever has said that the address is his; else that is asked, and the
    /// packet is lost.
    fn ip_frame(&mut self, to: Ipv4Addr, packet: &[u8]) {
        let known = self.neighbors.iter().find(|(address, _)| *address == to).map(|(_, hardware)| *hardware);
        match known {
            Some(hardware) => self.frame(hardware, EthernetProtocol::Ipv4, packet),
            None => self.arp(ArpOperation::Request, GATEWAY, EthernetAddress([0; 6]), to, EthernetAddress::BROADCAST),
        }
    }
    fn arp(
        &mut self,
        operation: ArpOperation,
        source: Ipv4Addr,
        target_hardware_addr: EthernetAddress,
        target: Ipv4Addr,
        to: EthernetAddress,
    ) {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: GATEWAY_HARDWARE,
            source_protocol_addr: source,
            target_hardware_addr,
            target_protocol_addr: target,
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes));
        self.frame(to, EthernetProtocol::Arp, &bytes);
    }
    fn take_arp(&mut self, payload: &[u8]) {
        let Ok(packet) = ArpPacket::new_checked(payload) else { return };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return;
        };
        self.learn(source_protocol_addr, source_hardware_addr);
        if operation == ArpOperation::Request && [GATEWAY, NAMESERVER].contains(&target_protocol_addr) {
            self.arp(
                ArpOperation::Reply,
                target_protocol_addr,
                source_hardware_addr,
                source_protocol_addr,
                source_hardware_addr,
            );
        }
    }

    // --- IP ----------------------------------------------------------------------------------

    fn ip_packet(&mut self, from: Ipv4Addr, to: Ipv4Addr, next_header: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let repr = Ipv4Repr { src_addr: from, dst_addr: to, next_header, payload_len: payload.len(), hop_limit: 64 };
        let mut bytes = vec![0; repr.buffer_len() + payload.len()];
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
        repr.emit(&mut packet, &ChecksumCapabilities::default());
        packet.payload_mut().copy_from_slice(payload);
        bytes
    }
    /// Sends an IP packet, in fragments when it is longer than a frame.
    fn send_ip(&mut self, from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) {
        if payload.len() <= 1480 {
            let packet = self.ip_packet(from, to, protocol, payload);
            return self.ip_frame(to, &packet);
        }
        self.ident = self.ident.wrapping_add(1);
        let pieces = payload.len().div_ceil(1480);
        for (index, piece) in payload.chunks(1480).enumerate() {
            let mut bytes = self.ip_packet(from, to, protocol, piece);
            let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
            packet.set_ident(self.ident);
            packet.set_dont_frag(false);
            packet.set_more_frags(index + 1 < pieces);
            packet.set_frag_offset((index * 1480) as u16);
            packet.fill_checksum();
            self.ip_frame(to, &bytes);
        }
    }
    fn take_ip(&mut self, hardware: EthernetAddress, payload: &[u8]) {
        let Ok(packet) = Ipv4Packet::new_checked(payload) else { return };
        let whole = payload.get(..usize::from(packet.total_len())).unwrap_or(payload);
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        if packet.version() != 4 || !packet.verify_checksum() {
            return;
        }
        if packet.more_frags() || packet.frag_offset() != 0 {
            if let Some(payload) = self.fragments.take(self.now, &packet) {
                let whole = self.ip_packet(from, to, packet.next_header(), &payload);
                self.take_ip(hardware, &whole);
            }
            return;
        }
        if !from.is_broadcast() && !from.is_multicast() && !from.is_loopback() {
            self.learn(from, hardware);
        }
        match packet.next_header() {
            IpProtocol::Udp => self.take_udp(hardware, from, to, packet.payload()),
            IpProtocol::Tcp => self.take_tcp(from, to, whole, packet.payload()),
            IpProtocol::Icmp => self.take_icmp(from, to, whole, packet.payload()),
            _ => {}
        }
    }
    /// Where on the host an address of the guest's leads.
    fn outside_of(&self, to: SocketAddrV4) -> Option<SocketAddrV4> {
        let address = *to.ip();
        if self.isolated {
            return None;
        }
        if address == GATEWAY {
            return Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, to.port()));
        }
        if address == NAMESERVER {
            return self.nameserver.filter(|_| to.port() == 53);
        }
        let own = u32::from(address) & 0xffff_ff00 == u32::from(GATEWAY) & 0xffff_ff00;
        let nobody = address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast()
            || address.octets()[0] == 0
            || address.octets()[0] >= 240;
        (!own && !nobody).then_some(to)
    }
    /// Echo of the gateway's own addresses; all else outside is prohibited and says so.
    fn take_icmp(&mut self, from: Ipv4Addr, to: Ipv4Addr, whole: &[u8], message: &[u8]) {
        if message.len() < 8 || message[0] != 8 {
            return;
        }
        let mut answer = if [GATEWAY, NAMESERVER].contains(&to) {
            let mut answer = message.to_vec();
            answer[0] = 0;
            answer
        } else if to.is_multicast() || to.is_broadcast() {
            return;
        } else {
            // Destination unreachable, communication administratively prohibited (RFC 1812).
            let mut answer = vec![3, 13, 0, 0, 0, 0, 0, 0];
            answer.extend(&whole[..whole.len().min(28)]);
            answer
        };
        answer[2..4].fill(0);
        let sum = checksum(&answer);
        answer[2..4].copy_from_slice(&sum.to_be_bytes());
        let source = if answer[0] == 0 { to } else { GATEWAY };
        self.send_ip(source, from, IpProtocol::Icmp, &answer);
    }

    // --- TCP ---------------------------------------------------------------------------------

    fn take_tcp(&mut self, from: Ipv4Addr, to: Ipv4Addr, whole: &[u8], payload: &[u8]) {
        let Ok(segment) = TcpPacket::new_checked(payload) else { return };
        let (guest, remote) = (SocketAddrV4::new(from, segment.src_port()), SocketAddrV4::new(to, segment.dst_port()));
        if segment.syn()
            && !segment.ack()
            && !segment.rst()
            && segment.verify_checksum(&from.into(), &to.into())
            && guest.port() != 0
            && remote.port() != 0
            && !self.tcp.is_known(guest, remote)
            && self.tcp.make_room(guest, remote)
        {
            if let Some(folder) = self.folder.as_ref().filter(|_| to == GATEWAY && remote.port() == 80) {
                self.tcp.accept_http(guest, remote, folder);
            } else if let Some(far) = self.outside_of(remote)
                && let Ok(stream) = self.outside.connect(far)
            {
                self.tcp.accept_for(guest, remote, stream);
            }
        }
        // Without anybody who takes it, it is answered by a reset.
        self.tcp.take(self.now, whole);
    }

    // --- UDP ---------------------------------------------------------------------------------

    fn send_udp(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let bytes = udp_datagram(from, to, payload);
        self.send_ip(*from.ip(), *to.ip(), IpProtocol::Udp, &bytes);
    }
    fn take_udp(&mut self, hardware: EthernetAddress, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) {
        let Ok(datagram) = UdpPacket::new_checked(payload) else { return };
        if !datagram.verify_checksum(&from.into(), &to.into()) {
            return;
        }
        let (guest, remote) =
            (SocketAddrV4::new(from, datagram.src_port()), SocketAddrV4::new(to, datagram.dst_port()));
        let message = datagram.payload();
        if remote.port() == 67 && (to.is_broadcast() || to == GATEWAY) {
            if let Some(reply) = self.dhcp.answer(message) {
                let (source, target) = (SocketAddrV4::new(GATEWAY, 67), SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
                let bytes = udp_datagram(source, target, &reply);
                let packet = self.ip_packet(GATEWAY, Ipv4Addr::BROADCAST, IpProtocol::Udp, &bytes);
                self.frame(hardware, EthernetProtocol::Ipv4, &packet);
            }
            return;
        }
        if let Some(tftp) = self.tftp.as_mut().filter(|tftp| to == GATEWAY && tftp.is_at(remote.port())) {
            if let Some((port, reply)) = tftp.answer(self.now, guest, remote.port(), message) {
                self.send_udp(SocketAddrV4::new(GATEWAY, port), guest, &reply);
            }
            return;
        }
        if let Some(forward) = self.udp_forwards.iter().find(|it| it.guest == guest && to == GATEWAY)
            && let Some(peer) = forward.peers.iter().find(|peer| peer.port() == remote.port())
        {
            // A peer that is gone loses the datagram, as on any network.
            let _ = forward.socket.send_to(message, peer);
            return;
        }
        match self.outside_of(remote) {
            Some(far) => self.send_outside(guest, remote, far, message),
            None if to == NAMESERVER && remote.port() == 53 => {
                if let Some(reply) = no_answer(message) {
                    self.send_udp(remote, guest, &reply);
                }
            }
            None => {}
        }
    }
    fn send_outside(&mut self, guest: SocketAddrV4, remote: SocketAddrV4, far: SocketAddrV4, message: &[u8]) {
        let index = match self.udp.iter().position(|flow| flow.guest == guest) {
            Some(index) => index,
            None => {
                if self.udp.len() >= UDP_FLOWS
                    && let Some(oldest) = (0..self.udp.len()).min_by_key(|index| self.udp[*index].last)
                {
                    self.udp.swap_remove(oldest);
                }
                let Ok(socket) = self.outside.datagrams() else { return };
                self.udp.push(UdpFlow { guest, socket, peers: Vec::new(), last: self.now });
                self.udp.len() - 1
            }
        };
        let flow = &mut self.udp[index];
        flow.last = self.now;
        flow.peers.retain(|(known, _)| *known != far);
        if flow.peers.len() >= UDP_PEERS {
            flow.peers.remove(0);
        }
        flow.peers.push((far, remote));
        let _ = flow.socket.send(message, far);
    }
    fn poll_udp(&mut self) {
        let now = self.now;
        self.udp.retain(|flow| now.since(flow.last) < UDP_IDLE);
        let mut buffer = vec![0; 0x1_0000];
        let count = self.udp.len();
        for step in 0..count {
            let index = (self.udp_turn + step) % count;
            for _ in 0..8 {
                if self.to_guest.len() >= QUEUE {
                    self.udp_turn = index;
                    return;
                }
                let flow = &mut self.udp[index];
                let Some((length, from)) = flow.socket.receive(&mut buffer) else { break };
                // Only those may answer that the guest has spoken to.
                let Some((_, known)) = flow.peers.iter().find(|(far, _)| *far == from).copied() else { continue };
                flow.last = now;
                let guest = flow.guest;
                self.send_udp(known, guest, &buffer[..length.min(65_507)]);
            }
        }
        for index in 0..self.udp_forwards.len() {
            let mut taken = Vec::new();
            let forward = &mut self.udp_forwards[index];
            while taken.len() < 8
                && let Some((length, from)) = Datagrams::receive(&mut forward.socket, &mut buffer)
            {
                forward.peers.retain(|peer| peer.port() != from.port());
                if forward.peers.len() >= UDP_PEERS {
                    forward.peers.pop_front();
                }
                forward.peers.push_back(from);
                taken.push((from.port(), buffer[..length].to_vec()));
            }
            let guest = forward.guest;
            for (port, message) in taken {
                self.send_udp(SocketAddrV4::new(GATEWAY, port), guest, &message);
            }
        }
    }
    /// Looks at the host's sockets and moves what can be moved.
    fn turn(&mut self) {
        for index in 0..self.listeners.len() {
            let (listener, guest) = &self.listeners[index];
            if let Some(stream) = outside::accept(listener) {
                let guest = *guest;
                self.tcp.connect(GATEWAY, guest, stream);
            }
        }
        self.tcp.advance(self.now);
        self.move_tcp();
        if !self.udp.is_empty() || !self.udp_forwards.is_empty() {
            self.poll_udp();
        }
    }
    fn move_tcp(&mut self) {
        while self.to_guest.len() < QUEUE
            && let Some(packet) = self.tcp.give()
        {
            if let Ok(header) = Ipv4Packet::new_checked(&packet) {
                self.ip_frame(header.dst_addr(), &packet);
            }
        }
    }
}

fn udp_datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let mut bytes = vec![0; repr.header_len() + payload.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes),
        &(*from.ip()).into(),
        &(*to.ip()).into(),
        payload.len(),
        |target| target.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// The checksum of the internet protocols (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The answer to a question for a name that nobody can be asked: "server failure" (RFC 1035).
fn no_answer(question: &[u8]) -> Option<Vec<u8>> {
    if question.len() < 12 || question.len() > 512 || question[2] & 0x80 != 0 {
        return None;
    }
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x82;
    // Only the question stays; its name is copied as it came.
    answer[6..12].fill(0);
    let end = answer.get(12..)?.iter().position(|byte| *byte == 0)? + 12 + 5;
    answer.truncate(end);
    Some(answer)
}

impl Network for UserNetwork {
    fn send(&mut self, now: Time, bytes: &[u8]) {
        self.now = self.now.max(now);
        let Ok(frame) = EthernetFrame::new_checked(bytes) else { return };
        let to = frame.dst_addr();
        if to != GATEWAY_HARDWARE && !to.is_broadcast() && !to.is_multicast() {
            return;
        }
        let from = frame.src_addr();
        match frame.ethertype() {
            EthernetProtocol::Arp => self.take_arp(frame.payload()),
            EthernetProtocol::Ipv4 => self.take_ip(from, frame.payload()),
            _ => {}
        }
        // A guest that sends and never listens must not fill the host's memory.
        self.move_tcp();
        while self.tcp.waiting() > 4 * QUEUE {
            self.tcp.give();
        }
    }
    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        self.now = self.now.max(now);
        if self.to_guest.is_empty() {
            self.turn();
        }
        self.to_guest.pop_front()
    }
}

#[cfg(test)]
mod tests;
