//! Puts IP packets together that the guest has sent in fragments (RFC 791, RFC 815).
//!
//! Fragments that overlap are never sent by an honest guest: the packet is dropped (RFC 5722 asks
//! for that in IPv6).

use devices::Time;
use smoltcp::wire::{IpProtocol, Ipv4Packet};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::Range;

/// Packets that are put together at once; the oldest gives way.
const MOST: usize = 16;
/// Longest payload of a packet.
const LONGEST: usize = 65_535 - 20;
/// Guest time for which the rest is waited for.
const PATIENCE: u64 = 30_000_000_000;

/// Nothing has come yet.
const ALL: Range<usize> = 0..usize::MAX;

type Key = (Ipv4Addr, Ipv4Addr, IpProtocol, u16);

struct Partial {
    key: Key,
    since: Time,
    payload: Vec<u8>,
    /// What has not come yet. The last range has no end before the last fragment has come.
    holes: Vec<Range<usize>>,
}

/// Packets of which parts have come.
#[derive(Default)]
pub(super) struct Fragments(VecDeque<Partial>);

impl Fragments {
    /// Takes a fragment. Returns the payload of the packet that it completes.
    pub(super) fn take(&mut self, now: Time, packet: &Ipv4Packet<&[u8]>) -> Option<Vec<u8>> {
        self.0.retain(|partial| now.since(partial.since) < PATIENCE);
        let key = (packet.src_addr(), packet.dst_addr(), packet.next_header(), packet.ident());
        let index = match self.0.iter().position(|partial| partial.key == key) {
            Some(index) => index,
            None => {
                if self.0.len() >= MOST {
                    self.0.pop_front();
                }
                self.0.push_back(Partial { key, since: now, payload: Vec::new(), holes: vec![ALL] });
                self.0.len() - 1
            }
        };
        let start = usize::from(packet.frag_offset());
        match self.0[index].add(start, packet.payload(), !packet.more_frags()) {
            Some(false) => None,
            Some(true) => self.0.remove(index).map(|partial| partial.payload),
            None => {
                self.0.remove(index);
                None
            }
        }
    }
}

impl Partial {
    /// Whether the packet is complete now, or `None` when it never can be.
    fn add(&mut self, start: usize, bytes: &[u8], last: bool) -> Option<bool> {
        let end = start + bytes.len();
        // All but the last are whole units of eight bytes.
        if bytes.is_empty() || end > LONGEST || !last && !bytes.len().is_multiple_of(8) {
            return None;
        }
        let hole = self.holes.iter().position(|hole| hole.start <= start && end <= hole.end)?;
        let hole = self.holes.swap_remove(hole);
        if hole.start < start {
            self.holes.push(hole.start..start);
        }
        if last {
            // Nothing lies behind the last one.
            if hole.end != usize::MAX {
                return None;
            }
        } else if end < hole.end {
            self.holes.push(end..hole.end);
        }
        if self.payload.len() < end {
            self.payload.resize(end, 0);
        }
        self.payload[start..end].copy_from_slice(bytes);
        Some(self.holes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial() -> Partial {
        let key = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, IpProtocol::Udp, 1);
        Partial { key, since: Time::ZERO, payload: Vec::new(), holes: vec![ALL] }
    }

    #[test]
    fn any_order_completes_a_packet() {
        let whole: Vec<u8> = (0..45).collect();
        let parts = [(0, 16, false), (16, 40, false), (40, 45, true)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut packet = partial();
            for (step, index) in order.into_iter().enumerate() {
                let (start, end, last) = parts[index];
                assert_eq!(packet.add(start, &whole[start..end], last), Some(step == 2));
            }
            assert_eq!(packet.payload, whole);
        }
    }

    #[test]
    fn lies_are_dropped() {
        for lies in [
            &[(0, 16, false), (8, 24, false)][..],
            &[(0, 16, false), (0, 16, false)],
            &[(0, 7, false)],
            &[(8, 8, true)],
            &[(65_512, 65_520, true)],
            &[(16, 24, false), (8, 16, true)],
            &[(16, 24, true), (32, 40, false)],
            &[(16, 24, true), (16, 24, true)],
        ] {
            let mut packet = partial();
            let results: Vec<_> =
                lies.iter().map(|(start, end, last)| packet.add(*start, &vec![1; end - start], *last)).collect();
            assert_eq!(results.last(), Some(&None), "{lies:?}");
        }
    }
}
