//! DHCP (RFC 2131, 2132) and BOOTP (RFC 951): which address the guest gets, and what it boots.

use std::net::Ipv4Addr;

const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;
/// A day.
const LEASE_SECONDS: u32 = 86_400;

/// Who has which address.
pub(super) struct Server {
    pub(super) gateway: Ipv4Addr,
    pub(super) nameserver: Ipv4Addr,
    /// A network without a way out names no router and no name server.
    pub(super) isolated: bool,
    pub(super) boot_file: Option<String>,
    first: Ipv4Addr,
    leases: Vec<[u8; 6]>,
}

/// Most addresses given away.
const MOST: usize = 16;

fn option(options: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        let (&code, after) = rest.split_first()?;
        match code {
            0 => rest = after,
            255 => return None,
            _ => {
                let (&length, after) = after.split_first()?;
                let value = after.get(..usize::from(length))?;
                if code == wanted {
                    return Some(value);
                }
                rest = after.get(usize::from(length)..)?;
            }
        }
    }
}

impl Server {
    pub(super) fn new(gateway: Ipv4Addr, nameserver: Ipv4Addr, first: Ipv4Addr) -> Server {
        Server { gateway, nameserver, isolated: false, boot_file: None, first, leases: Vec::new() }
    }

    /// The address for a client, the same each time.
    fn lease(&mut self, client: [u8; 6]) -> Option<Ipv4Addr> {
        let index = match self.leases.iter().position(|known| *known == client) {
            Some(index) => index,
            None if self.leases.len() < MOST => {
                self.leases.push(client);
                self.leases.len() - 1
            }
            None => return None,
        };
        Some(Ipv4Addr::from(u32::from(self.first) + index as u32))
    }

    /// The answer to a message of a client, if it gets one.
    pub(super) fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let header = message.get(..236)?;
        let (operation, kind, length) = (header[0], header[1], header[2]);
        if operation != 1 || kind != 1 || length != 6 {
            return None;
        }
        let client: [u8; 6] = header[28..34].try_into().ok()?;
        let options = match message.get(236..240) {
            Some(cookie) if cookie == COOKIE => message.get(240..).unwrap_or_default(),
            _ => &[],
        };
        let request = option(options, 53).and_then(|value| value.first().copied());
        let own = self.gateway.octets();
        if option(options, 54).is_some_and(|server| server != own) {
            return None;
        }
        let address = self.lease(client)?;
        let current = &header[12..16];
        let (answer, address) = match request {
            None => (None, address),
            Some(DISCOVER) => (Some(OFFER), address),
            Some(REQUEST) => {
                let wanted = option(options, 50).unwrap_or(current);
                if wanted == address.octets() { (Some(ACK), address) } else { (Some(NAK), Ipv4Addr::UNSPECIFIED) }
            }
            Some(INFORM) => (Some(ACK), Ipv4Addr::UNSPECIFIED),
            Some(_) => return None,
        };
        let mut reply = vec![0; 236];
        reply[..3].copy_from_slice(&[2, 1, 6]);
        reply[4..8].copy_from_slice(&header[4..8]);
        reply[10..12].copy_from_slice(&header[10..12]);
        if answer != Some(NAK) {
            reply[12..16].copy_from_slice(current);
            reply[16..20].copy_from_slice(&address.octets());
            reply[20..24].copy_from_slice(&own);
        }
        reply[28..44].copy_from_slice(&header[28..44]);
        let file = self.boot_file.as_deref().unwrap_or_default().as_bytes();
        if answer != Some(NAK) && file.len() < 128 {
            reply[108..108 + file.len()].copy_from_slice(file);
        }
        reply.extend(COOKIE);
        let mut add = |code: u8, value: &[u8]| {
            // Longer names than an option can carry are refused when the network is built.
            reply.extend([code, value.len() as u8]);
            reply.extend(value);
        };
        if let Some(answer) = answer {
            add(53, &[answer]);
            add(54, &own);
        }
        if answer != Some(NAK) {
            if answer.is_some() && request != Some(INFORM) {
                add(51, &LEASE_SECONDS.to_be_bytes());
            }
            add(1, &[255, 255, 255, 0]);
            if !self.isolated {
                add(3, &own);
                add(6, &self.nameserver.octets());
            }
            if !file.is_empty() {
                add(66, self.gateway.to_string().as_bytes());
                add(67, file);
            }
        }
        reply.push(255);
        // BOOTP clients expect 300 bytes at least.
        reply.resize(reply.len().max(300), 0);
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, extra: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        message.extend(COOKIE);
        message.extend([53, 1, kind]);
        message.extend(extra);
        message.push(255);
        message
    }

    #[test]
    fn offers_acknowledges_and_refuses() {
        let address = Ipv4Addr::new(10, 0, 2, 15);
        let mut server = Server::new(Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3), address);
        server.boot_file = Some("boot.ipxe".into());
        let offer = server.answer(&message(DISCOVER, &[])).unwrap();
        assert_eq!((&offer[16..20], &offer[20..24]), (&[10, 0, 2, 15][..], &[10, 0, 2, 2][..]));
        assert_eq!(option(&offer[240..], 53), Some(&[OFFER][..]));
        assert_eq!(option(&offer[240..], 67), Some(&b"boot.ipxe"[..]));
        assert_eq!(option(&offer[240..], 6), Some(&[10, 0, 2, 3][..]));
        let ack = server.answer(&message(REQUEST, &[50, 4, 10, 0, 2, 15])).unwrap();
        assert_eq!(option(&ack[240..], 53), Some(&[ACK][..]));
        let nak = server.answer(&message(REQUEST, &[50, 4, 10, 0, 2, 99])).unwrap();
        assert_eq!(option(&nak[240..], 53), Some(&[NAK][..]));
        assert!(server.answer(&message(REQUEST, &[54, 4, 1, 2, 3, 4])).is_none(), "another server was chosen");
        for cut in 0..offer.len() {
            server.answer(&message(DISCOVER, &[])[..cut.min(243)]);
        }
    }
}
