//! A guest that is a smoltcp stack of its own speaks with the network.

use super::tcp::MOST as CONNECTIONS;
use super::*;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use std::io::{Read, Write};

/// The frames of one side.
struct Cable(UserNetwork);
struct Receive(Vec<u8>);
struct Transmit<'a>(&'a mut UserNetwork, Time);

impl phy::RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}
impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send(self.1, &frame);
        result
    }
}
fn time(at: Instant) -> Time {
    Time(at.total_micros() as u64 * 1000)
}
impl phy::Device for Cable {
    type RxToken<'a> = Receive;
    type TxToken<'a> = Transmit<'a>;
    fn receive(&mut self, at: Instant) -> Option<(Receive, Transmit<'_>)> {
        let frame = self.0.receive(time(at))?;
        Some((Receive(frame), Transmit(&mut self.0, time(at))))
    }
    fn transmit(&mut self, at: Instant) -> Option<Transmit<'_>> {
        Some(Transmit(&mut self.0, time(at)))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Guest {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: i64,
}

impl Guest {
    fn new(config: UserConfig) -> Guest {
        let mut cable = Cable(UserNetwork::new(config).unwrap());
        let hardware = HardwareAddress::Ethernet(EthernetAddress([0x52, 0x54, 0, 1, 2, 3]));
        let mut interface = Interface::new(Config::new(hardware), &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|list| list.push(IpCidr::new(IpAddress::Ipv4(GUEST), 24)).unwrap());
        let gateway: Ipv4Address = GATEWAY;
        interface.routes_mut().add_default_ipv4_route(gateway).unwrap();
        Guest { cable, interface, sockets: SocketSet::new(Vec::new()), now: 0 }
    }
    fn add(&mut self) -> smoltcp::iface::SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 20_000]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }
    fn connect(&mut self, to: SocketAddrV4) -> smoltcp::iface::SocketHandle {
        let handle = self.add();
        let local = 40_000 + (self.now % 1000) as u16;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (IpAddress::Ipv4(*to.ip()), to.port()), local).unwrap();
        handle
    }
    fn poll(&mut self) {
        self.now += 1;
        std::thread::sleep(std::time::Duration::from_micros(100));
        self.interface.poll(Instant::from_millis(self.now), &mut self.cable, &mut self.sockets);
    }
    /// Polls until `done` has an answer.
    fn until<R>(&mut self, mut done: impl FnMut(&mut SocketSet<'static>) -> Option<R>) -> R {
        for _ in 0..20_000 {
            self.poll();
            if let Some(result) = done(&mut self.sockets) {
                return result;
            }
        }
        panic!("it never happened");
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 >> 5) as u8).collect()
}

/// Sends `out`, and returns what comes back until the other end closes.
fn exchange(guest: &mut Guest, handle: smoltcp::iface::SocketHandle, out: &[u8]) -> Vec<u8> {
    let (mut sent, mut got) = (0, Vec::new());
    guest.until(|sockets| {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.can_send() && sent < out.len() {
            sent += socket.send_slice(&out[sent..]).unwrap();
            if sent == out.len() {
                socket.close();
            }
        }
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
        }
        (!socket.may_recv() && socket.state() != tcp::State::SynSent && sent == out.len()).then_some(())
    });
    got
}

#[test]
fn connections_out_carry_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(&pattern(300_000)).unwrap();
        got
    });
    let mut guest = Guest::new(UserConfig::default());
    let handle = guest.connect(SocketAddrV4::new(GATEWAY, port));
    assert!(exchange(&mut guest, handle, &pattern(200_000)) == pattern(300_000));
    assert!(server.join().unwrap() == pattern(200_000));
}

#[test]
fn refused_and_isolated_connections_are_reset() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for isolated in [false, true] {
        let mut guest = Guest::new(UserConfig { isolated, ..UserConfig::default() });
        let handle = guest.connect(SocketAddrV4::new(GATEWAY, port));
        guest.until(|sockets| (sockets.get::<tcp::Socket<'_>>(handle).state() == tcp::State::Closed).then_some(()));
    }
}

/// More connections and ports than there may be at once: the rest is refused or the oldest forgotten, and
/// those that are there go on.
#[test]
fn connections_and_ports_are_limited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let streams: Vec<_> = listener.incoming().take(CONNECTIONS).map(|stream| stream.unwrap()).collect();
        for mut stream in &streams {
            stream.write_all(b"here").unwrap();
        }
        streams
    });
    let mut guest = Guest::new(UserConfig::default());
    let handles: Vec<_> = (0..CONNECTIONS as u16 + 30)
        .map(|number| {
            let buffer = || tcp::SocketBuffer::new(vec![0; 64]);
            let handle = guest.sockets.add(tcp::Socket::new(buffer(), buffer()));
            let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(handle);
            let to = (IpAddress::Ipv4(GATEWAY), port);
            socket.connect(guest.interface.context(), to, 20_000 + number).unwrap();
            handle
        })
        .collect();
    for _ in 0..20_000 {
        guest.poll();
        assert!(guest.cable.0.tcp.count() <= CONNECTIONS);
        let all = handles.iter().map(|handle| guest.sockets.get::<tcp::Socket<'_>>(*handle));
        if all.filter(|socket| socket.recv_queue() == 4).count() == CONNECTIONS {
            break;
        }
    }
    let states = handles.iter().map(|handle| guest.sockets.get::<tcp::Socket<'_>>(*handle).state());
    assert_eq!(states.filter(|state| *state == tcp::State::Closed).count(), 30);
    drop(server.join().unwrap());
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = SocketAddrV4::new(GATEWAY, far.local_addr().unwrap().port());
    for number in 0..3 * UDP_FLOWS as u16 {
        let datagram = udp_datagram(SocketAddrV4::new(GUEST, 10_000 + number), to, b"hello");
        guest.cable.0.take_udp(EthernetAddress([0x52, 0x54, 0, 1, 2, 3]), GUEST, GATEWAY, &datagram);
        assert!(guest.cable.0.udp.len() <= UDP_FLOWS);
    }
}
#[test]
fn forwards_lead_into_the_guest() {
    let forward =
        Forward { protocol: Protocol::Tcp, host: "127.0.0.1:0".parse().unwrap(), guest: SocketAddrV4::new(GUEST, 22) };
    let mut guest = Guest::new(UserConfig { isolated: true, forwards: vec![forward], ..UserConfig::default() });
    let at = guest.cable.0.forwarded()[0];
    let handle = guest.add();
    guest.sockets.get_mut::<tcp::Socket<'_>>(handle).listen(22).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    });
    guest.until(|sockets| {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        (socket.recv_queue() == 5).then(|| {
            socket.send_slice(b"good day").unwrap();
            socket.close();
        })
    });
    for _ in 0..2000 {
        guest.poll();
    }
    assert_eq!(client.join().unwrap(), b"good day");
}

#[test]
fn the_boot_server_speaks_http_without_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kernel"), pattern(150_000)).unwrap();
    let config = UserConfig { isolated: true, boot_folder: Some(folder.path().to_owned()), ..UserConfig::default() };
    let mut guest = Guest::new(config);
    let handle = guest.connect(SocketAddrV4::new(GATEWAY, 80));
    let answer = exchange(&mut guest, handle, b"GET /kernel HTTP/1.1\r\n\r\n");
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer[body..] == pattern(150_000)[..]);
}

/// Frames of a guest without a stack.
fn udp(from: SocketAddrV4, to: SocketAddrV4, message: &[u8]) -> Vec<u8> {
    let bytes = udp_datagram(from, to, message);
    let mut network = UserNetwork::new(UserConfig::default()).unwrap();
    let packet = network.ip_packet(*from.ip(), *to.ip(), IpProtocol::Udp, &bytes);
    let mut frame = GATEWAY_HARDWARE.0.to_vec();
    frame.extend([0x52, 0x54, 0, 1, 2, 3, 8, 0]);
    frame.extend(packet);
    frame
}
fn payload(frame: &[u8]) -> Vec<u8> {
    let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    UdpPacket::new_checked(packet.payload()).unwrap().payload().to_vec()
}

#[test]
fn names_are_asked_for_and_failures_answered() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(at) = server.local_addr().unwrap() else { panic!() };
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04host\0\0\x01\0\x01";
    let frame = udp(SocketAddrV4::new(GUEST, 5000), SocketAddrV4::new(NAMESERVER, 53), question);
    let mut network = UserNetwork::new(UserConfig { nameserver: Some(at), ..UserConfig::default() }).unwrap();
    network.send(Time(1), &frame);
    let mut buffer = [0; 100];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], question);
    server.send_to(b"answer", from).unwrap();
    let answer = (0..1000).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        network.receive(Time(2))
    });
    assert_eq!(payload(&answer.unwrap()), b"answer");
    // A stranger is not let in.
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"stranger", from).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(network.receive(Time(3)), None);

    let mut network = UserNetwork::new(UserConfig::default()).unwrap();
    network.send(Time(1), &frame);
    let answer = payload(&network.receive(Time(2)).unwrap());
    assert_eq!((answer[..4].to_vec(), &answer[12..]), (vec![0x12, 0x34, 0x81, 0x82], &question[12..]));
}

#[test]
fn the_gateway_answers_echo_and_address_requests() {
    let mut network = UserNetwork::new(UserConfig { isolated: true, ..UserConfig::default() }).unwrap();
    let hardware = [0x52, 0x54, 0, 1, 2, 3];
    let mut request = [[0xff; 6], hardware].concat();
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(hardware);
    request.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    network.send(Time(0), &request);
    let reply = network.receive(Time(0)).unwrap();
    assert_eq!((&reply[..6], &reply[20..22], &reply[28..32]), (&hardware[..], &[0, 2][..], &[10, 0, 2, 2][..]));
    request[41] = 15;
    network.send(Time(0), &request);
    assert_eq!(network.receive(Time(0)), None, "a guest that probes for its own address hears nothing");

    let mut echo = vec![8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7];
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = network.ip_packet(GUEST, GATEWAY, IpProtocol::Icmp, &echo);
    let frame = [&GATEWAY_HARDWARE.0[..], &hardware, &[8, 0], &packet].concat();
    network.send(Time(0), &frame);
    let reply = network.receive(Time(0)).unwrap();
    assert_eq!((reply[34], &reply[38..45]), (0, &echo[4..]));
}

#[test]
fn fragments_are_put_together() {
    let mut network = UserNetwork::new(UserConfig { isolated: true, ..UserConfig::default() }).unwrap();
    let mut echo = vec![8, 0, 0, 0, 1, 2, 3, 4];
    echo.extend(pattern(3000));
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let hardware = [0x52, 0x54, 0, 1, 2, 3];
    // A reply finds the guest only after it has spoken.
    for (index, piece) in echo.chunks(1480).enumerate().collect::<Vec<_>>().into_iter().rev() {
        let mut bytes = network.ip_packet(GUEST, GATEWAY, IpProtocol::Icmp, piece);
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
        packet.set_ident(77);
        packet.set_dont_frag(false);
        packet.set_more_frags(index < 2);
        packet.set_frag_offset((index * 1480) as u16);
        packet.fill_checksum();
        network.send(Time(0), &[&GATEWAY_HARDWARE.0[..], &hardware, &[8, 0], &bytes].concat());
    }
    let mut answer = Vec::new();
    while let Some(frame) = network.receive(Time(0)) {
        answer.extend(Ipv4Packet::new_checked(&frame[14..]).unwrap().payload());
    }
    assert_eq!((answer[0], &answer[4..]), (0, &echo[4..]));
}
