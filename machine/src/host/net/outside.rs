//! What the NAT reaches the outside world with. Nothing here ever waits.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

/// The sockets of the host, or what a test puts in their place.
pub trait Outside: Send {
    /// Begins to connect.
    ///
    /// # Errors
    /// The host has no more sockets, or knows at once that it will not work.
    fn connect(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream>>;
    /// A socket for datagrams.
    ///
    /// # Errors
    /// The host has no more sockets.
    fn datagrams(&mut self) -> io::Result<Box<dyn Datagrams>>;
}

/// A TCP connection. An operation that would have to wait is an error of the kind `WouldBlock`.
pub trait Stream: Send {
    /// Whether the connection is there; an error when it will never be.
    ///
    /// # Errors
    /// The connection was refused, or nobody answered.
    fn is_connected(&mut self) -> io::Result<bool>;
    /// Reads what has come; 0 bytes are the end.
    ///
    /// # Errors
    /// The connection broke.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what the host takes.
    ///
    /// # Errors
    /// The connection broke.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Says that nothing more will be written.
    fn finish(&mut self);
}

/// A UDP socket.
pub trait Datagrams: Send {
    /// Sends a datagram.
    ///
    /// # Errors
    /// It cannot be sent.
    fn send(&mut self, bytes: &[u8], to: SocketAddrV4) -> io::Result<()>;
    /// The next datagram that has come, and from where.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddrV4)>;
}

/// The host's sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Outside for Host {
    fn connect(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream>> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        let _ = socket.set_tcp_nodelay(true);
        match socket.connect(&SockAddr::from(to)) {
            Ok(()) => {}
            Err(error) if is_in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(Box::new(socket))
    }
    fn datagrams(&mut self) -> io::Result<Box<dyn Datagrams>> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Box::new(socket))
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    // EINPROGRESS on Linux and the BSDs has no kind of its own in stable Rust.
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(115 | 36))
}

impl Stream for Socket {
    fn is_connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        Ok(self.peer_addr().is_ok())
    }
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }
    fn finish(&mut self) {
        // A peer that is gone already is told nothing.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Datagrams for UdpSocket {
    fn send(&mut self, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        self.send_to(bytes, to).map(|_| ())
    }
    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
        // Errors that earlier datagrams brought back are read away, a few at most.
        for _ in 0..4 {
            match self.recv_from(buffer) {
                Ok((length, SocketAddr::V4(from))) => return Some((length, from)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }
}

/// Takes one connection from a listener.
pub(super) fn accept(listener: &TcpListener) -> Option<Box<dyn Stream>> {
    let (stream, _) = listener.accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    let _ = stream.set_nodelay(true);
    Some(Box::new(Socket::from(stream)))
}
