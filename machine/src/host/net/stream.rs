//! QEMU's stream sockets (`-netdev stream`, `-netdev socket`): each frame with its length before it,
//! four bytes, the highest first. Who listens is a switch between all that connect.

use devices::Time;
use devices::network::Network;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Most connections to one switch.
const MOST: usize = 32;
/// Longest frame; whoever announces a longer one has lost his place in the stream and is cut off.
const LONGEST: usize = 0x1_0000;
/// Bytes that wait for a connection that does not take them; further frames to it are lost.
const WAITING: usize = 1 << 20;
/// Frames that wait for the own adapter.
const QUEUE: usize = 256;
/// Hardware addresses that are remembered.
const ADDRESSES: usize = 1024;

struct Peer {
    number: u64,
    stream: TcpStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
}

/// Connections to other machines.
pub struct Switch {
    listener: Option<TcpListener>,
    peers: Vec<Peer>,
    next_number: u64,
    /// Which connection leads to a hardware address; 0 is the own adapter.
    learned: VecDeque<([u8; 6], u64)>,
    to_guest: VecDeque<Vec<u8>>,
}

impl Switch {
    /// Connects to a switch, to another machine or to QEMU (`-netdev stream,server=on`).
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn connect(to: SocketAddr) -> io::Result<Switch> {
        let stream = TcpStream::connect(to)?;
        let mut switch = Switch::empty(None);
        switch.add(stream)?;
        Ok(switch)
    }
    /// Listens; any number of machines up to 32 may connect, then or later.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn listen(at: SocketAddr) -> io::Result<Switch> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        Ok(Switch::empty(Some(listener)))
    }
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }
    fn empty(listener: Option<TcpListener>) -> Switch {
        Switch { listener, peers: Vec::new(), next_number: 1, learned: VecDeque::new(), to_guest: VecDeque::new() }
    }
    fn add(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let _ = stream.set_nodelay(true);
        self.peers.push(Peer { number: self.next_number, stream, input: Vec::new(), output: VecDeque::new() });
        self.next_number += 1;
        Ok(())
    }

    /// Passes a frame on from connection `from` (0: the own adapter).
    fn pass(&mut self, from: u64, frame: &[u8]) {
        let (Some(target), Some(source)) = (address(frame, 0), address(frame, 6)) else { return };
        if source[0] & 1 == 0 {
            self.learned.retain(|(known, _)| *known != source);
            if self.learned.len() >= ADDRESSES {
                self.learned.pop_front();
            }
            self.learned.push_back((source, from));
        }
        let known = self.learned.iter().find(|(address, _)| *address == target).map(|(_, number)| *number);
        let wanted = |number: u64| number != from && known.is_none_or(|known| known == number);
        if wanted(0) && self.to_guest.len() < QUEUE {
            self.to_guest.push_back(frame.to_vec());
        }
        for peer in self.peers.iter_mut().filter(|peer| wanted(peer.number)) {
            if peer.output.len() < WAITING {
                peer.output.extend((frame.len() as u32).to_be_bytes());
                peer.output.extend(frame);
            }
        }
    }
    fn turn(&mut self) {
        for _ in 0..MOST {
            let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) else { break };
            if self.peers.len() < MOST {
                // One that is gone already is no loss.
                let _ = self.add(stream);
            }
        }
        let mut frames = Vec::new();
        self.peers.retain_mut(|peer| peer.read(&mut frames).is_ok());
        for (from, frame) in frames {
            self.pass(from, &frame);
        }
        self.flush();
    }
    fn flush(&mut self) {
        self.peers.retain_mut(|peer| peer.write().is_ok());
        let Switch { learned, peers, .. } = self;
        learned.retain(|(_, number)| *number == 0 || peers.iter().any(|peer| peer.number == *number));
    }
}

fn address(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

impl Peer {
    fn read(&mut self, frames: &mut Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        let mut buffer = [0; 0x4000];
        for _ in 0..8 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.input.extend(&buffer[..n]);
                    self.split(frames)?;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
    fn split(&mut self, frames: &mut Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        let mut at = 0;
        while let Some(head) = self.input.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            let length = u32::from_be_bytes(*head) as usize;
            if length > LONGEST {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(frame) = self.input.get(at + 4..at + 4 + length) else { break };
            frames.push((self.number, frame.to_vec()));
            at += 4 + length;
        }
        self.input.drain(..at);
        Ok(())
    }
    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let (first, _) = self.output.as_slices();
            match self.stream.write(first) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.output.drain(..n)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Network for Switch {
    fn send(&mut self, _now: Time, frame: &[u8]) {
        self.pass(0, frame);
        self.flush();
    }
    fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
        if self.to_guest.is_empty() {
            self.turn();
        }
        self.to_guest.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8, tag: u8) -> Vec<u8> {
        vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5, tag]
    }
    /// Frames arrive through the host's sockets, so it may take some looks.
    fn next(network: &mut Switch, others: &mut [&mut Switch]) -> Option<Vec<u8>> {
        for _ in 0..200 {
            if let Some(frame) = network.receive(Time::ZERO) {
                return Some(frame);
            }
            for other in others.iter_mut() {
                other.turn();
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        None
    }

    #[test]
    fn frames_find_their_machine() {
        let mut hub = Switch::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = hub.address().unwrap();
        let (mut one, mut two) = (Switch::connect(at).unwrap(), Switch::connect(at).unwrap());
        let mut broadcast = frame(0, 1, 1);
        broadcast[..6].fill(0xff);
        one.send(Time::ZERO, &broadcast);
        assert_eq!(next(&mut hub, &mut []), Some(broadcast.clone()));
        assert_eq!(next(&mut two, &mut [&mut hub]), Some(broadcast));
        // The first machine is known by now: an answer goes to it alone.
        two.send(Time::ZERO, &frame(1, 2, 2));
        assert_eq!(next(&mut one, &mut [&mut hub]), Some(frame(1, 2, 2)));
        assert_eq!(hub.receive(Time::ZERO), None);
        hub.send(Time::ZERO, &frame(2, 9, 3));
        assert_eq!(next(&mut two, &mut [&mut hub]), Some(frame(2, 9, 3)));
        assert_eq!(one.receive(Time::ZERO), None);
    }

    #[test]
    fn noise_is_cut_off() {
        let mut hub = Switch::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut noise = TcpStream::connect(hub.address().unwrap()).unwrap();
        noise.write_all(&[0xff; 100]).unwrap();
        for _ in 0..200 {
            assert_eq!(hub.receive(Time::ZERO), None);
            std::thread::sleep(std::time::Duration::from_millis(1));
            if hub.listener.is_some() && hub.peers.is_empty() && hub.next_number > 1 {
                return;
            }
        }
        panic!("the noise stayed connected");
    }
}
