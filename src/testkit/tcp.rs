//! TCP streams: the kit keeps the sequence numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::packets::Segment;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A segment without payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Syn,
    SynAck,
    Ack,
    Rst,
    Fin,
}

impl Control {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "syn" => Self::Syn,
            "syn-ack" => Self::SynAck,
            "ack" => Self::Ack,
            "rst" => Self::Rst,
            "fin" => Self::Fin,
            _ => return None,
        })
    }
}

/// All streams of a scenario, by client and server.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<(SocketAddr, SocketAddr), Stream>,
    opened: u32,
}

/// The next sequence number of each side, the client's first.
#[derive(Debug, Clone, Copy)]
struct Stream {
    next: [u32; 2],
    /// Where each side's latest segment began.
    latest: [u32; 2],
    fresh: bool,
}

impl Streams {
    /// A segment without payload, from the client if `forth`.
    pub(super) fn control(
        &mut self,
        key: (SocketAddr, SocketAddr),
        forth: bool,
        control: Control,
    ) -> Segment {
        let reopened = control == Control::Syn && self.streams.get(&key).is_none_or(|s| !s.fresh);
        if reopened {
            self.streams.remove(&key);
        }
        let stream = self.stream(key);
        stream.fresh &= control == Control::Syn;
        let (mine, theirs) = sides(forth);
        let (flags, length) = match control {
            // The first numbers of both sides lie just before `next`, which counts the SYNs.
            Control::Syn => (SYN, 0),
            Control::SynAck => (SYN | ACK, 0),
            Control::Ack => (ACK, 0),
            Control::Rst => (RST | ACK, 0),
            Control::Fin => (FIN | ACK, 1),
        };
        let back = u32::from(flags & SYN != 0);
        let seq = stream.next[mine].wrapping_sub(back);
        let ack = if flags & ACK != 0 { stream.next[theirs] } else { 0 };
        stream.next[mine] = stream.next[mine].wrapping_add(length);
        Segment { seq, ack, flags, payload: Vec::new() }
    }

    /// Payload, from the client if `forth`; `again` repeats the numbers of the latest.
    pub(super) fn data(
        &mut self,
        key: (SocketAddr, SocketAddr),
        forth: bool,
        again: bool,
        payload: Vec<u8>,
    ) -> Segment {
        let stream = self.stream(key);
        stream.fresh = false;
        let (mine, theirs) = sides(forth);
        if again {
            stream.next[mine] = stream.latest[mine];
        }
        let seq = stream.next[mine];
        stream.latest[mine] = seq;
        let length = u32::try_from(payload.len()).expect("a segment of less than 4 GB");
        stream.next[mine] = seq.wrapping_add(length);
        Segment { seq, ack: stream.next[theirs], flags: PSH | ACK, payload }
    }

    fn stream(&mut self, key: (SocketAddr, SocketAddr)) -> &mut Stream {
        let opened = &mut self.opened;
        self.streams.entry(key).or_insert_with(|| {
            *opened += 1;
            let next = [1_000_001, 5_000_001].map(|first: u32| first.wrapping_add(*opened << 16));
            Stream { next, latest: next, fresh: true }
        })
    }
}

impl Segment {
    /// The segment as two, the second from byte `at` of the payload on.
    pub(super) fn split(mut self, at: usize) -> [Self; 2] {
        let at = at.min(self.payload.len());
        let rest = self.payload.split_off(at);
        let moved = u32::try_from(at).expect("a segment of less than 4 GB");
        let second = Self { seq: self.seq.wrapping_add(moved), payload: rest, ..self.clone() };
        [self, second]
    }
}

fn sides(forth: bool) -> (usize, usize) {
    if forth { (0, 1) } else { (1, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (SocketAddr, SocketAddr) {
        let client = "10.0.0.5:40001".parse().unwrap();
        (client, "192.0.2.53:53".parse().unwrap())
    }

    #[test]
    fn numbers_follow_the_conversation() {
        let mut streams = Streams::default();
        let syn = streams.control(key(), true, Control::Syn);
        let again = streams.control(key(), true, Control::Syn);
        assert_eq!((syn.seq, syn.ack), (again.seq, 0));
        let accept = streams.control(key(), false, Control::SynAck);
        assert_eq!(accept.ack, syn.seq + 1);
        let query = streams.data(key(), true, false, vec![0; 10]);
        assert_eq!((query.seq, query.ack), (syn.seq + 1, accept.seq + 1));
        let repeated = streams.data(key(), true, true, vec![0; 10]);
        assert_eq!(repeated.seq, query.seq);
        let answer = streams.data(key(), false, false, vec![0; 20]);
        assert_eq!((answer.seq, answer.ack), (accept.seq + 1, query.seq + 10));
        let fin = streams.control(key(), true, Control::Fin);
        let last = streams.control(key(), false, Control::Ack);
        assert_eq!(last.ack, fin.seq + 1);
        let new = streams.control(key(), true, Control::Syn);
        assert_ne!(new.seq, syn.seq);
    }

    #[test]
    fn a_split_segment_keeps_every_byte() {
        let mut streams = Streams::default();
        let [first, second] = streams.data(key(), true, false, (0..10).collect()).split(3);
        assert_eq!(second.seq, first.seq + 3);
        assert_eq!((first.payload.len(), second.payload[0]), (3, 3));
    }
}
