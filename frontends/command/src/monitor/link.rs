//! The connection to one peer: never waits, and keeps no more than is sensible.

use beigebox::gdb::Address;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// Longest line, or object, of a peer.
pub(super) const LONGEST: usize = 1 << 16;
/// Most bytes that wait for a peer to take them; who takes nothing is cut off.
const MOST_WAITING: usize = 8 << 20;

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// Standard input, read by a thread, and standard output.
    Stdio(Receiver<Vec<u8>>),
}

/// A connection.
pub(super) struct Link {
    stream: Stream,
    input: Vec<u8>,
    /// The rest of a line that was too long is thrown away.
    skips: bool,
    output: Vec<u8>,
    /// The peer has sent all that it had to send.
    ended: bool,
    broken: bool,
}

/// A line of a peer.
pub(super) enum Line {
    Text(String),
    TooLong,
}

impl Link {
    fn new(stream: Stream) -> Link {
        Link { stream, input: Vec::new(), skips: false, output: Vec::new(), ended: false, broken: false }
    }
    /// Standard input and output.
    pub(super) fn stdio() -> Link {
        let (sender, receiver) = sync_channel(16);
        // Reading blocks, so it has a thread of its own, which ends with the process.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = io::stdin().read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Link::new(Stream::Stdio(receiver))
    }
    /// Queues bytes for the peer.
    pub(super) fn say(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
    }
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() && !self.broken
    }
    fn fill(&mut self) {
        let mut buffer = [0; 4096];
        while !self.ended && self.input.len() <= LONGEST {
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut buffer),
                #[cfg(unix)]
                Stream::Unix(stream) => stream.read(&mut buffer),
                Stream::Stdio(receiver) => match receiver.try_recv() {
                    Ok(bytes) => {
                        self.input.extend_from_slice(&bytes);
                        continue;
                    }
                    Err(TryRecvError::Empty) => return,
                    Err(TryRecvError::Disconnected) => Ok(0),
                },
            };
            match read {
                Ok(0) => self.ended = true,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.ended = true,
            }
        }
    }
    /// What has come and was not taken yet.
    pub(super) fn input(&mut self) -> &mut Vec<u8> {
        self.fill();
        &mut self.input
    }
    /// The next whole line.
    pub(super) fn line(&mut self) -> Option<Line> {
        self.fill();
        loop {
            let end = self.input.iter().position(|byte| *byte == b'\n');
            if std::mem::take(&mut self.skips) {
                match end {
                    Some(end) => _ = self.input.drain(..=end),
                    None => {
                        self.input.clear();
                        self.skips = true;
                        return None;
                    }
                }
                continue;
            }
            return match end {
                Some(end) => {
                    let line: Vec<u8> = self.input.drain(..=end).collect();
                    Some(Line::Text(String::from_utf8_lossy(&line).trim().to_owned()))
                }
                None if self.input.len() > LONGEST => {
                    self.input.clear();
                    self.skips = true;
                    Some(Line::TooLong)
                }
                // The last line of a file may lack its end.
                None if self.ended && !self.input.is_empty() => {
                    let line = std::mem::take(&mut self.input);
                    Some(Line::Text(String::from_utf8_lossy(&line).trim().to_owned()))
                }
                None => None,
            };
        }
    }
    /// Sends what can be sent. Returns whether the peer is still there.
    pub(super) fn flush(&mut self) -> bool {
        while !self.output.is_empty() && !self.broken {
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(&self.output),
                #[cfg(unix)]
                Stream::Unix(stream) => stream.write(&self.output),
                Stream::Stdio(_) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&self.output).and_then(|()| out.flush()).map(|()| self.output.len())
                }
            };
            match written {
                Ok(count @ 1..) => _ = self.output.drain(..count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => self.broken = true,
            }
        }
        let is_stdio = matches!(self.stream, Stream::Stdio(_));
        if self.ended && !is_stdio && self.input.is_empty() {
            return false;
        }
        !self.broken && self.output.len() <= MOST_WAITING
    }
}

/// A socket at which peers arrive.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn listen(address: &Address) -> io::Result<Listener> {
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(listener))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                use std::os::unix::fs::FileTypeExt as _;
                // What a program that was killed has left behind: a socket that nobody answers at.
                let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
                if is_socket && UnixStream::connect(path).is_err() {
                    std::fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(listener, path.clone()))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::Error::other("this host has no such sockets")),
        }
    }
    pub(super) fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            #[cfg(unix)]
            Listener::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }
    /// A peer that has come.
    pub(super) fn accept(&self) -> Option<Link> {
        let stream = match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                stream.set_nodelay(true).ok()?;
                Stream::Tcp(stream)
            }
            #[cfg(unix)]
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Stream::Unix(stream)
            }
        };
        Some(Link::new(stream))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Listener::Unix(_, path) = self {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}
