//! TFTP (RFC 1350) for reading, with the options of RFC 2347 to 2349.

use super::folder::{Folder, Open};
use devices::Time;
use std::net::SocketAddrV4;

/// Most transfers at once; the one that rested longest gives way.
const MOST: usize = 16;
/// First of the ports from which transfers are answered.
pub(super) const FIRST_PORT: u16 = 0xc000;

struct Transfer {
    port: u16,
    client: SocketAddrV4,
    file: Open,
    block_bytes: usize,
    /// The block that the client has not acknowledged yet.
    block: u64,
    last: Time,
}

/// The server: it answers, and never sends on its own. A client that misses an answer asks again.
pub(super) struct Server {
    folder: Folder,
    transfers: Vec<Transfer>,
    next_port: u16,
}

fn error(code: u16, text: &str) -> Vec<u8> {
    let mut packet = vec![0, 5];
    packet.extend(code.to_be_bytes());
    packet.extend(text.as_bytes());
    packet.push(0);
    packet
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (text, after) = rest.split_at(end);
    *rest = after.get(1..)?;
    std::str::from_utf8(text).ok()
}

impl Server {
    pub(super) fn new(folder: Folder) -> Server {
        Server { folder, transfers: Vec::new(), next_port: 0 }
    }
    /// Whether datagrams to this port are for the server.
    pub(super) fn is_at(&self, port: u16) -> bool {
        port == 69 || self.transfers.iter().any(|transfer| transfer.port == port)
    }
    /// Takes a datagram; the answer and the port that it comes from.
    pub(super) fn answer(
        &mut self,
        now: Time,
        client: SocketAddrV4,
        port: u16,
        message: &[u8],
    ) -> Option<(u16, Vec<u8>)> {
        let (operation, rest) = message.split_first_chunk::<2>()?;
        match (port, u16::from_be_bytes(*operation)) {
            (69, 1) => Some(self.request(now, client, rest).unwrap_or_else(|packet| (69, packet))),
            (69, 2) => Some((69, error(2, "files can only be read"))),
            (69, _) => None,
            (_, 4) => {
                let block = u16::from_be_bytes(*rest.first_chunk()?);
                let transfer = self.transfers.iter_mut().find(|it| it.port == port && it.client == client)?;
                transfer.last = now;
                // The answer to an option is acknowledged as block 0.
                if block == transfer.block as u16 {
                    let sent_to = transfer.block * transfer.block_bytes as u64;
                    if transfer.block != 0 && sent_to > transfer.file.length {
                        self.transfers.retain(|it| it.port != port);
                        return None;
                    }
                    transfer.block += 1;
                } else if block.wrapping_add(1) != transfer.block as u16 {
                    return None;
                }
                Some((port, transfer.packet()))
            }
            (_, 5) => {
                self.transfers.retain(|it| it.port != port || it.client != client);
                None
            }
            _ => None,
        }
    }

    fn request(&mut self, now: Time, client: SocketAddrV4, request: &[u8]) -> Result<(u16, Vec<u8>), Vec<u8>> {
        let mut rest = request;
        let malformed = || error(4, "malformed request");
        let name = text(&mut rest).ok_or_else(malformed)?;
        let mode = text(&mut rest).ok_or_else(malformed)?;
        if !mode.eq_ignore_ascii_case("octet") {
            return Err(error(4, "only octet mode is served"));
        }
        let file = self.folder.open(name).ok_or_else(|| error(1, "file not found"))?;
        let (mut block_bytes, mut answer) = (512, Vec::new());
        while let (Some(option), Some(value)) = (text(&mut rest), text(&mut rest)) {
            let value: u64 = value.parse().unwrap_or(0);
            let granted = match option.to_ascii_lowercase().as_str() {
                "blksize" if value >= 8 => {
                    block_bytes = value.min(1468) as usize;
                    block_bytes as u64
                }
                "tsize" => file.length,
                "timeout" if (1..=255).contains(&value) => value,
                _ => continue,
            };
            answer.extend(option.to_ascii_lowercase().as_bytes());
            answer.push(0);
            answer.extend(granted.to_string().as_bytes());
            answer.push(0);
            if answer.len() > 256 {
                break;
            }
        }
        self.transfers.retain(|it| it.client != client);
        if self.transfers.len() >= MOST
            && let Some(oldest) =
                self.transfers.iter().enumerate().min_by_key(|(_, it)| it.last).map(|(index, _)| index)
        {
            self.transfers.swap_remove(oldest);
        }
        let port = FIRST_PORT + self.next_port;
        self.next_port = (self.next_port + 1) % 1024;
        let mut transfer = Transfer { port, client, file, block_bytes, block: 0, last: now };
        let packet = if answer.is_empty() {
            transfer.block = 1;
            transfer.packet()
        } else {
            [&[0, 6], answer.as_slice()].concat()
        };
        self.transfers.push(transfer);
        Ok((port, packet))
    }
}

impl Transfer {
    fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 4 + self.block_bytes];
        packet[1] = 3;
        packet[2..4].copy_from_slice(&(self.block as u16).to_be_bytes());
        let offset = self.block.saturating_sub(1) * self.block_bytes as u64;
        match self.file.read(offset, &mut packet[4..]) {
            Ok(length) => {
                packet.truncate(4 + length);
                packet
            }
            Err(_) => error(0, "the file cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_out_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|index| (index * 7 >> 3) as u8).collect();
        std::fs::write(folder.path().join("kernel"), &content).unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let mut server = Server::new(Folder::new(&folder.path().join("sub/..")).unwrap());
        let client = "10.0.2.15:2000".parse().unwrap();
        for (request, blksize) in
            [(&b"\0\x01/kernel\0octet\0"[..], 512), (b"\0\x01kernel\0OCTET\0BLKSIZE\x001024\0tsize\x000\0", 1024)]
        {
            let (port, mut packet) = server.answer(Time(1), client, 69, request).unwrap();
            if packet[1] == 6 {
                assert_eq!(packet[2..], *b"blksize\x001024\0tsize\x00100000\0");
                packet = server.answer(Time(2), client, port, &[0, 4, 0, 0]).unwrap().1;
            }
            let mut got: Vec<u8> = Vec::new();
            loop {
                got.extend(&packet[4..]);
                let acknowledge = [0, 4, packet[2], packet[3]];
                match server.answer(Time(3), client, port, &acknowledge) {
                    Some((_, next)) => packet = next,
                    None => break,
                }
                assert_eq!(packet[1], 3);
            }
            assert_eq!(got, content);
            assert_eq!(packet.len() - 4, 100_000 % blksize);
        }
        for name in ["../etc/passwd", "/etc/passwd", "sub", "", "sub/../kernel", "nothing"] {
            let request = [b"\0\x01", name.as_bytes(), b"\0octet\0"].concat();
            assert_eq!(server.answer(Time(1), client, 69, &request).unwrap().1[..4], [0, 5, 0, 1], "{name}");
        }
    }
}
