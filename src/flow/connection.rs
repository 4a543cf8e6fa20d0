//! One TCP connection: who opened it, both streams, and how it ended (RFC 9293 section 3.3.2).

use std::net::SocketAddr;
use std::time::Duration;

use super::framer::{Piece, Stamp};
use super::stream::{Chunk, Losses, Stream};
use super::{Connection, Ports, Reset};
use crate::base::{FiveTuple, Timestamp, Transport};
use crate::capture::Seen;
use crate::packet::{TcpSegment, Via};

/// Sightings of a SYN within this time are copies of one (rulebook section 1, `copy_win`); TCP
/// repeats a SYN after a second (RFC 6298 section 2.1).
const COPY_WINDOW: Duration = Duration::from_millis(50);

/// What is known of a connection while it is followed.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) first: Seen,
    pub(super) last: Seen,
    via: Via,
    /// Both ends, the lower address first; streams and flags go by their place here.
    ends: [SocketAddr; 2],
    streams: [Stream; 2],
    fins: [Option<u32>; 2],
    /// Which end is the client, once that is known.
    client: Option<usize>,
    syns: u16,
    last_syn: Option<Stamp>,
    accepted: Option<Timestamp>,
    messages: [u32; 2],
    reset: Option<(Seen, usize)>,
}

/// Where a segment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// To this connection.
    Here,
    /// To a new one between the same ports.
    ToANewOne,
    /// To an old one, of which this is a straggler.
    Nowhere,
}

impl Live {
    /// A connection of which `tuple` is the first packet.
    pub(super) fn new(tuple: &FiveTuple, stamp: Stamp, ports: &Ports) -> Self {
        let ends = [tuple.src.min(tuple.dst), tuple.src.max(tuple.dst)];
        let is_server = ends.map(|end| ports.contains(end.port()));
        let client = match is_server {
            [false, true] => Some(0),
            [true, false] => Some(1),
            _ => None,
        };
        Self {
            first: stamp.seen,
            last: stamp.seen,
            via: stamp.via,
            ends,
            streams: [Stream::new(), Stream::new()],
            fins: [None; 2],
            client,
            syns: 0,
            last_syn: None,
            accepted: None,
            messages: [0; 2],
            reset: None,
        }
    }

    /// Whether it is over, but for stragglers.
    pub(super) fn is_closed(&self) -> bool {
        let both = self.streams.iter().zip(self.fins);
        let closed = both.into_iter().all(|(s, fin)| fin.is_some_and(|fin| s.reached(fin)));
        self.reset.is_some() || closed
    }

    /// Bytes of memory held beyond its own size.
    pub(super) fn held(&self) -> usize {
        self.streams.iter().map(Stream::held).sum()
    }

    /// Whether `segment` is part of it: a SYN with another number begins a new connection.
    pub(super) fn belongs(&self, tuple: &FiveTuple, segment: &TcpSegment<'_>) -> Belongs {
        let [from, to] = self.both(tuple);
        let start = segment.seq.wrapping_add(1);
        if !segment.syn || from.start() == Some(start) {
            return Belongs::Here;
        }
        if segment.has_ack && to.opened() {
            // A server may answer a repeated SYN with another number of its own.
            return if to.start() == Some(segment.ack) { Belongs::Here } else { Belongs::Nowhere };
        }
        if from.start().is_some() { Belongs::ToANewOne } else { Belongs::Here }
    }

    /// Takes a segment that belongs here.
    pub(super) fn take(
        &mut self,
        tuple: &FiveTuple,
        segment: &TcpSegment<'_>,
        stamp: Stamp,
        out: &mut impl FnMut(&FiveTuple, Piece<'_>),
    ) -> Losses {
        let from = self.side(tuple.src);
        self.last = stamp.seen;
        if segment.syn {
            self.syn(from, segment, stamp);
        }
        if segment.rst {
            self.reset.get_or_insert((stamp.seen, from));
        } else if self.client.is_some_and(|client| client != from) && self.syns > 0 {
            self.accepted.get_or_insert(stamp.seen.ts);
        }
        let ends = self.ends;
        let [one, other] = &mut self.streams;
        let (sender, receiver) = if from == 0 { (one, other) } else { (other, one) };
        if segment.has_ack && !segment.rst {
            receiver.acknowledge(segment.ack, stamp.seen.ts);
        }
        let seq = segment.seq.wrapping_add(u32::from(segment.syn));
        let mut losses = Losses::default();
        if segment.wire_len > 0 && !segment.rst {
            let chunk = Chunk { seq, bytes: segment.payload, wire_len: segment.wire_len, stamp };
            losses = sender.take(chunk, &mut |piece| out(tuple, piece));
        }
        if segment.fin {
            let end = seq.wrapping_add(u32::try_from(segment.wire_len).unwrap_or(0));
            if let Some(fin) = self.fins.get_mut(from) {
                fin.get_or_insert(end);
            }
        }
        let mut lost = 0;
        for (from, stream) in self.streams.iter_mut().enumerate() {
            let tuple = tuple_from(ends, from);
            lost += stream.review(stamp.seen.ts, &mut |piece| out(&tuple, piece));
        }
        losses.bytes += lost;
        losses
    }

    /// Counts a message from the source of `tuple`.
    pub(super) fn count(&mut self, tuple: &FiveTuple, is_response: bool) {
        let from = self.side(tuple.src);
        let sender_is_client = if is_response { 1 - from } else { from };
        self.client.get_or_insert(sender_is_client);
        if let Some(count) = self.messages.get_mut(from) {
            *count = count.saturating_add(1);
        }
    }

    /// Forgets what takes memory.
    pub(super) fn give_up(&mut self, out: &mut impl FnMut(&FiveTuple, Piece<'_>)) -> u64 {
        let ends = self.ends;
        let streams = self.streams.iter_mut().enumerate();
        streams
            .map(|(from, stream)| {
                let tuple = tuple_from(ends, from);
                stream.give_up(&mut |piece| out(&tuple, piece))
            })
            .sum()
    }

    /// Reads what still waits for lost segments.
    pub(super) fn end(&mut self, out: &mut impl FnMut(&FiveTuple, Piece<'_>)) -> u64 {
        let ends = self.ends;
        let streams = self.streams.iter_mut().enumerate();
        streams
            .map(|(from, stream)| {
                let tuple = tuple_from(ends, from);
                stream.end(&mut |piece| out(&tuple, piece))
            })
            .sum()
    }

    /// Its fate so far.
    pub(super) fn fate(&self) -> Connection {
        let client = self.client.unwrap_or(0);
        let [zero, one] = self.messages;
        let (queries, responses) = if client == 0 { (zero, one) } else { (one, zero) };
        Connection {
            tuple: tuple_from(self.ends, client),
            first: self.first,
            last: self.last,
            via: self.via,
            syns: self.syns,
            accepted: self.accepted,
            queries,
            responses,
            reset: self.reset.map(|(seen, from)| Reset { seen, by_server: from != client }),
            finished: self.fins.iter().any(Option::is_some),
        }
    }

    fn syn(&mut self, from: usize, segment: &TcpSegment<'_>, stamp: Stamp) {
        let [one, other] = &mut self.streams;
        let (sender, receiver) = if from == 0 { (one, other) } else { (other, one) };
        sender.open(segment.seq.wrapping_add(1));
        if segment.has_ack {
            self.client.get_or_insert(1 - from);
            if receiver.start().is_none() {
                receiver.open(segment.ack);
            }
            self.accepted.get_or_insert(stamp.seen.ts);
            return;
        }
        self.client.get_or_insert(from);
        let copy = self.last_syn.is_some_and(|last| {
            let same_packet = last.via.ip_id.is_some() && last.via.ip_id == stamp.via.ip_id;
            let elsewhere = last.via != stamp.via;
            stamp.seen.ts.distance(last.seen.ts) <= COPY_WINDOW && (same_packet || elsewhere)
        });
        if !copy {
            self.syns = self.syns.saturating_add(1);
            self.last_syn = Some(stamp);
        }
    }

    fn side(&self, address: SocketAddr) -> usize {
        let [low, _] = self.ends;
        usize::from(address != low)
    }

    /// The sender's stream and the receiver's.
    fn both(&self, tuple: &FiveTuple) -> [&Stream; 2] {
        let [one, other] = &self.streams;
        if self.side(tuple.src) == 0 { [one, other] } else { [other, one] }
    }
}

fn tuple_from(ends: [SocketAddr; 2], from: usize) -> FiveTuple {
    let [low, high] = ends;
    let (src, dst) = if from == 0 { (low, high) } else { (high, low) };
    FiveTuple { transport: Transport::Tcp, src, dst }
}
