//! TCP between the guest and the host's sockets: smoltcp is the peer of the guest for every
//! address, and what it carries is copied.

use super::folder::Folder;
use super::http;
use super::outside::Stream;
use devices::Time;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Most connections at once.
pub(super) const MOST: usize = 256;
/// Bytes that wait in each direction of a connection.
const BUFFER: usize = 65_535;
/// Packets that wait for the guest before no more are made.
const QUEUE: usize = 64;
/// A guest that does not answer any more is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How late a single segment of the guest is acknowledged; more than one are at once. Each
/// acknowledgment costs the guest an interrupt.
const ACKNOWLEDGE: Duration = Duration::from_millis(1);
/// After this time without an answer its connection ends.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What is at the other end.
enum Far {
    Stream { stream: Box<dyn Stream>, connected: bool, finished: bool },
    Http { session: Box<http::Session>, over: bool },
}

struct Flow {
    handle: SocketHandle,
    guest: SocketAddrV4,
    remote: SocketAddrV4,
    far: Far,
}

/// IP packets in both directions.
#[derive(Default)]
struct Wire {
    from_guest: VecDeque<Vec<u8>>,
    to_guest: VecDeque<Vec<u8>>,
}

pub(super) struct Receive(Vec<u8>);
pub(super) struct Transmit<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}
impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
impl Device for Wire {
    type RxToken<'a> = Receive;
    type TxToken<'a> = Transmit<'a>;
    fn receive(&mut self, _: Instant) -> Option<(Receive, Transmit<'_>)> {
        let packet = self.from_guest.pop_front()?;
        Some((Receive(packet), Transmit(&mut self.to_guest)))
    }
    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        (self.to_guest.len() < QUEUE).then_some(Transmit(&mut self.to_guest))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

/// All connections.
pub(super) struct Flows {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    flows: Vec<Flow>,
    next_port: u16,
}

fn instant(now: Time) -> Instant {
    Instant::from_micros(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX))
}
fn endpoint(address: SocketAddrV4) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(*address.ip()), address.port())
}
fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(Some(ACKNOWLEDGE));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(TIMEOUT));
    socket
}

impl Flows {
    pub(super) fn new(gateway: Ipv4Addr) -> Flows {
        let mut wire = Wire::default();
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, Instant::ZERO);
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            // The list is empty and holds one at least.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(gateway), 24));
        });
        let route: Ipv4Address = gateway;
        let _ = interface.routes_mut().add_default_ipv4_route(route);
        Flows { interface, sockets: SocketSet::new(Vec::new()), wire, flows: Vec::new(), next_port: 0 }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.flows.len()
    }
    /// Whether a new connection between these two needs a place that a living one has.
    pub(super) fn is_known(&self, guest: SocketAddrV4, remote: SocketAddrV4) -> bool {
        self.flows.iter().any(|flow| {
            flow.guest == guest
                && flow.remote == remote
                && !matches!(self.sockets.get::<Socket<'_>>(flow.handle).state(), State::TimeWait | State::Closed)
        })
    }
    /// Whether there is room for one more between these two; an ended connection gives up its place. To be asked
    /// before anything is begun for the new one.
    pub(super) fn make_room(&mut self, guest: SocketAddrV4, remote: SocketAddrV4) -> bool {
        let ended = |flow: &Flow, sockets: &SocketSet<'_>| {
            matches!(sockets.get::<Socket<'_>>(flow.handle).state(), State::TimeWait | State::Closed)
        };
        let same = self.flows.iter().position(|flow| flow.guest == guest && flow.remote == remote);
        let full = self.flows.len() >= MOST;
        let old =
            same.or_else(|| if full { self.flows.iter().position(|flow| ended(flow, &self.sockets)) } else { None });
        if let Some(index) = old {
            let flow = self.flows.swap_remove(index);
            self.sockets.remove(flow.handle);
        }
        self.flows.len() < MOST
    }
    fn listen(&mut self, guest: SocketAddrV4, remote: SocketAddrV4, far: Far, wait: bool) {
        let mut socket = socket();
        if socket.listen(endpoint(remote)).is_err() {
            return;
        }
        socket.pause_synack(wait);
        let handle = self.sockets.add(socket);
        self.flows.push(Flow { handle, guest, remote, far });
    }
    /// The next packet is the guest's first to `remote`, which `stream` leads to.
    pub(super) fn accept_for(&mut self, guest: SocketAddrV4, remote: SocketAddrV4, stream: Box<dyn Stream>) {
        self.listen(guest, remote, Far::Stream { stream, connected: false, finished: false }, true);
    }
    /// The next packet is the guest's first to the boot server.
    pub(super) fn accept_http(&mut self, guest: SocketAddrV4, remote: SocketAddrV4, folder: &Folder) {
        let session = Box::new(http::Session::new(folder.clone()));
        self.listen(guest, remote, Far::Http { session, over: false }, false);
    }
    /// Connects to the guest for `stream`, from a port of the gateway.
    pub(super) fn connect(&mut self, gateway: Ipv4Addr, guest: SocketAddrV4, stream: Box<dyn Stream>) {
        let remote = SocketAddrV4::new(gateway, 0x8000 + self.next_port);
        self.next_port = (self.next_port + 1) % 0x4000;
        if !self.make_room(guest, remote) {
            return;
        }
        let mut socket = socket();
        if socket.connect(self.interface.context(), endpoint(guest), endpoint(remote)).is_err() {
            return;
        }
        let handle = self.sockets.add(socket);
        self.flows.push(Flow { handle, guest, remote, far: Far::Stream { stream, connected: true, finished: false } });
    }

    /// An IP packet from the guest.
    pub(super) fn take(&mut self, now: Time, packet: &[u8]) {
        self.wire.from_guest.push_back(packet.to_vec());
        self.interface.poll_ingress_single(instant(now), &mut self.wire, &mut self.sockets);
    }
    /// IP packets that wait for the guest.
    pub(super) fn waiting(&self) -> usize {
        self.wire.to_guest.len()
    }
    /// The next IP packet for the guest.
    pub(super) fn give(&mut self) -> Option<Vec<u8>> {
        self.wire.to_guest.pop_front()
    }
    /// Copies what can be copied and makes packets of it.
    pub(super) fn advance(&mut self, now: Time) {
        for flow in &mut self.flows {
            pump(self.sockets.get_mut(flow.handle), &mut flow.far);
        }
        self.interface.poll(instant(now), &mut self.wire, &mut self.sockets);
        let Flows { flows, sockets, .. } = self;
        flows.retain(|flow| {
            let socket = sockets.get::<Socket<'_>>(flow.handle);
            // A reset that still has to be sent keeps the address of the other end.
            let gone = socket.state() == State::Closed && socket.remote_endpoint().is_none()
                || socket.state() == State::Listen;
            if gone {
                sockets.remove(flow.handle);
            }
            !gone
        });
    }
}

fn pump(socket: &mut Socket<'_>, far: &mut Far) {
    if socket.state() == State::TimeWait
        && let Far::Stream { stream, finished, .. } = far
        && !std::mem::replace(finished, true)
    {
        stream.finish();
    }
    if matches!(socket.state(), State::Closed | State::TimeWait | State::SynSent | State::Listen) {
        return;
    }
    match far {
        Far::Stream { stream, connected, finished } => {
            if !*connected {
                match stream.is_connected() {
                    Ok(true) => {
                        *connected = true;
                        socket.pause_synack(false);
                    }
                    Ok(false) => {}
                    Err(_) => socket.abort(),
                }
                return;
            }
            if pump_stream(socket, stream.as_mut(), finished).is_err() {
                socket.abort();
            }
        }
        Far::Http { session, over } => {
            while socket.can_recv() {
                let _ = socket.recv(|bytes| {
                    session.take(bytes);
                    (bytes.len(), ())
                });
            }
            while socket.can_send() && !*over {
                let given = socket.send(|buffer| match session.give(buffer) {
                    Some(n) => (n, Some(n)),
                    None => (0, None),
                });
                match given {
                    Ok(Some(0)) => break,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => *over = true,
                }
            }
            if *over || !socket.may_recv() && socket.state() == State::CloseWait && socket.send_queue() == 0 {
                socket.close();
            }
        }
    }
}

fn pump_stream(socket: &mut Socket<'_>, stream: &mut dyn Stream, finished: &mut bool) -> std::io::Result<()> {
    while socket.can_recv() {
        let moved = socket.recv(|bytes| match stream.write(bytes) {
            Ok(n) => (n.min(bytes.len()), Ok(n)),
            Err(error) => (0, Err(error)),
        });
        match moved.map_err(|_| std::io::Error::from(ErrorKind::NotConnected))? {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
            Err(error) => return Err(error),
        }
    }
    let guest_is_done = matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing);
    if guest_is_done && !socket.can_recv() && !*finished {
        *finished = true;
        stream.finish();
    }
    while socket.can_send() {
        let moved = socket.send(|buffer| match stream.read(buffer) {
            Ok(n) => (n.min(buffer.len()), Ok(n)),
            Err(error) => (0, Err(error)),
        });
        match moved.map_err(|_| std::io::Error::from(ErrorKind::NotConnected))? {
            Ok(0) => {
                socket.close();
                break;
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
