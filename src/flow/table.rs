//! The flow table: packets in, events out.
//!
//! UDP datagrams on a DNS port are messages by themselves. TCP segments are put together per
//! connection; connections are bounded in number, in bytes and in idle time. Nothing depends on
//! hash order: connections end in the order in which they fell idle.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Belongs, Live};
use super::datagram::{no_message, told};
use super::framer::{Piece, Stamp};
use super::sink::{Sink, read_piece, rejection, signal};
use super::{CapturedMessage, FlowEvent, Ports};
use crate::base::{Coverage, FiveTuple, Limit, Map, Timestamp};
use crate::capture::{PointId, Seen};
use crate::dns::{NameCache, parse};
use crate::packet::{Body, Datagram, Packet, TcpSegment};

/// TCP connections followed at the same time; the longest idle one makes room.
pub const CONNECTIONS_MOST: usize = 65_536;
/// A connection without packets for this long is over: the longest that servers keep an idle
/// connection by default is 30 s (BIND `tcp-idle-timeout`), and a client repeats a SYN after 64 s
/// at the latest (Linux `tcp_syn_retries` 6).
pub const IDLE: Duration = Duration::from_mins(2);
/// A closed connection is kept for stragglers and copies of its last packets.
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes kept of all streams together, behind holes or of unfinished messages.
pub const HELD_MOST: usize = 64 << 20;

/// What a frame turned out to hold, for the account of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// At least one DNS message ended in it.
    Dns,
    /// No DNS message ended in it.
    NotDns,
    /// It was on a DNS port, and the snap length cut even the message's header.
    Cut,
}

/// Follows every flow on a DNS port.
#[derive(Default)]
pub struct FlowTable {
    names: NameCache,
    places: Map<Key, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Connections by the time they were last known to be alive; entries may be outdated.
    idle: VecDeque<Due>,
    /// Closed connections by the time they closed.
    closed: VecDeque<Due>,
    serial: u64,
    held: usize,
    /// Nothing is due between these two times.
    quiet: Option<(Timestamp, Timestamp)>,
}

/// Both ends, the lower first, at one capture point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    point: PointId,
    ends: [SocketAddr; 2],
}

impl Key {
    fn new(point: PointId, tuple: &FiveTuple) -> Self {
        let ends = [tuple.src.min(tuple.dst), tuple.src.max(tuple.dst)];
        Self { point, ends }
    }
}

enum Find {
    Place(usize),
    New,
    Ignore,
}

struct Slot {
    key: Key,
    serial: u64,
    live: Live,
    closing: bool,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    since: Timestamp,
    place: usize,
    serial: u64,
}

impl Due {
    /// Between when and when it is not due, if it may wait for so long.
    fn quiet(self, wait: Duration) -> (Timestamp, Timestamp) {
        (self.since.before(wait), self.since.after(wait))
    }
}

impl FlowTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends what has been closed or idle for long enough at `now`: a message went by that no
    /// connection carries.
    #[inline]
    pub fn advance(
        &mut self,
        now: Timestamp,
        coverage: &mut Coverage,
        next: &mut impl FnMut(FlowEvent, &mut Coverage),
    ) {
        if self.may_expire(now) {
            self.expire(now, &mut Sink { coverage, next });
        }
    }

    /// Whether [`Self::advance`] may have something to do at `now`.
    #[inline]
    pub fn may_expire(&self, now: Timestamp) -> bool {
        self.quiet.is_none_or(|(from, until)| now <= from || now >= until)
    }

    /// Takes the next packet, and hands on what it brings to an end.
    pub fn follow(
        &mut self,
        packet: &Packet<'_>,
        ports: &Ports,
        coverage: &mut Coverage,
        next: &mut impl FnMut(FlowEvent, &mut Coverage),
    ) -> Held {
        self.advance(packet.seen.ts, coverage, next);
        let sink = &mut Sink { coverage, next };
        match &packet.body {
            Body::Udp(datagram) if ports.concern(datagram.src_port, datagram.dst_port) => {
                self.datagram(packet, datagram, sink)
            }
            Body::Tcp(segment) if ports.concern(segment.src_port, segment.dst_port) => {
                self.segment(packet, ports, sink)
            }
            Body::Icmp(error) => {
                let (src, dst) = (error.quoted.src.port(), error.quoted.dst.port());
                if ports.concern(src, dst) {
                    sink.event(FlowEvent::Unreachable(rejection(packet, error)));
                }
                Held::NotDns
            }
            _ => Held::NotDns,
        }
    }

    /// Ends every connection, in the order in which they began.
    pub fn finish(
        &mut self,
        coverage: &mut Coverage,
        next: &mut impl FnMut(FlowEvent, &mut Coverage),
    ) {
        let slots = self.slots.iter().enumerate();
        let mut places: Vec<(Seen, usize)> =
            slots.filter_map(|(place, slot)| Some((slot.as_ref()?.live.first, place))).collect();
        places.sort_unstable();
        for (_, place) in places {
            self.remove(place, &mut Sink { coverage, next });
        }
        self.idle.clear();
        self.closed.clear();
    }

    /// The number of TCP connections that are followed.
    pub fn connections(&self) -> usize {
        self.places.len()
    }

    fn datagram<F: FnMut(FlowEvent, &mut Coverage)>(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Datagram<'_>,
        sink: &mut Sink<'_, F>,
    ) -> Held {
        let message = parse(datagram.payload, datagram.wire_len, &mut self.names);
        let (Some(message), Some(tuple)) = (message, packet.tuple()) else {
            return no_message(datagram, sink.coverage);
        };
        told(&message, 1, sink.coverage);
        let (seen, via, message) = (packet.seen, packet.via, Arc::new(message));
        sink.event(FlowEvent::Message(CapturedMessage { seen, via, tuple, message }));
        Held::Dns
    }

    fn segment<F: FnMut(FlowEvent, &mut Coverage)>(
        &mut self,
        packet: &Packet<'_>,
        ports: &Ports,
        sink: &mut Sink<'_, F>,
    ) -> Held {
        let (Body::Tcp(segment), Some(tuple)) = (&packet.body, packet.tuple()) else {
            return Held::NotDns;
        };
        let stamp = Stamp { seen: packet.seen, via: packet.via };
        let key = Key::new(stamp.via.point, &tuple);
        let place = match self.find(key, &tuple, segment, sink) {
            Find::Place(place) => place,
            Find::Ignore => return Held::NotDns,
            Find::New => self.insert(key, Live::new(&tuple, stamp, ports), sink),
        };
        if let Some(signal) = signal(packet, segment, &tuple, ports) {
            sink.event(FlowEvent::Signal(signal));
        }
        let Some(Some(slot)) = self.slots.get_mut(place) else {
            return Held::NotDns;
        };
        let (live, names) = (&mut slot.live, &mut self.names);
        let mut messages = Vec::new();
        let mut found = |tuple: &FiveTuple, piece: Piece<'_>| {
            messages.extend(read_piece(tuple, &piece, names));
        };
        let before = live.held();
        let mut losses = live.take(&tuple, segment, stamp, &mut found);
        if self.held + live.held() > HELD_MOST + before {
            losses.bytes += live.give_up(&mut found);
            losses.limited = true;
        }
        self.held = (self.held + live.held()).saturating_sub(before);
        sink.coverage.lost_stream_bytes += losses.bytes;
        if losses.limited {
            sink.coverage.limited(Limit::StreamBytes);
        }
        if live.is_closed() && !slot.closing {
            slot.closing = true;
            self.closed.push_back(Due { since: packet.seen.ts, place, serial: slot.serial });
            self.quiet = None;
        }
        let held = if messages.is_empty() { Held::NotDns } else { Held::Dns };
        for message in messages {
            live.count(&message.tuple, message.message.header.is_response());
            sink.message(message);
        }
        held
    }

    fn find<F: FnMut(FlowEvent, &mut Coverage)>(
        &mut self,
        key: Key,
        tuple: &FiveTuple,
        segment: &TcpSegment<'_>,
        sink: &mut Sink<'_, F>,
    ) -> Find {
        let Some(&place) = self.places.get(&key) else {
            // An acknowledgement alone has nothing to tell; often its connection is over.
            let silent = !segment.syn && !segment.rst && segment.wire_len == 0;
            return if silent { Find::Ignore } else { Find::New };
        };
        let belongs = match self.slots.get(place) {
            Some(Some(slot)) => slot.live.belongs(tuple, segment),
            _ => Belongs::Here,
        };
        match belongs {
            Belongs::Here => Find::Place(place),
            Belongs::Nowhere => Find::Ignore,
            Belongs::ToANewOne => {
                self.remove(place, sink);
                Find::New
            }
        }
    }

    fn insert<F: FnMut(FlowEvent, &mut Coverage)>(
        &mut self,
        key: Key,
        live: Live,
        sink: &mut Sink<'_, F>,
    ) -> usize {
        while self.places.len() >= CONNECTIONS_MOST && self.evict(sink) {}
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.serial += 1;
        let (serial, since) = (self.serial, live.first.ts);
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Some(Slot { key, serial, live, closing: false });
        }
        self.places.insert(key, place);
        self.idle.push_back(Due { since, place, serial });
        self.quiet = None;
        place
    }

    /// Ends what has been closed or idle for long enough at `now`. What was last seen as long
    /// after `now`, because the clock was set back, ends too and cannot hold up the queue.
    fn expire<F: FnMut(FlowEvent, &mut Coverage)>(
        &mut self,
        now: Timestamp,
        sink: &mut Sink<'_, F>,
    ) {
        while let Some(due) = self.closed.front().copied() {
            if now.distance(due.since) < LINGER {
                break;
            }
            self.closed.pop_front();
            if self.alive(due).is_some() {
                self.remove(due.place, sink);
            }
        }
        while let Some(due) = self.idle.front().copied() {
            if now.distance(due.since) < IDLE {
                break;
            }
            self.idle.pop_front();
            match self.alive(due) {
                Some(last) if last > due.since => {
                    self.idle.push_back(Due { since: last, ..due });
                }
                Some(_) => self.remove(due.place, sink),
                None => {}
            }
        }
        let closed = self.closed.front().map(|due| due.quiet(LINGER));
        let idle = self.idle.front().map(|due| due.quiet(IDLE));
        self.quiet = match (closed, idle) {
            (Some(one), Some(other)) => Some((one.0.max(other.0), one.1.min(other.1))),
            (one, other) => one.or(other).or(Some((Timestamp::MIN, Timestamp::MAX))),
        };
    }

    /// Ends the connection that has been idle for longest; `false` if there is none.
    fn evict<F: FnMut(FlowEvent, &mut Coverage)>(&mut self, sink: &mut Sink<'_, F>) -> bool {
        while let Some(due) = self.idle.pop_front() {
            match self.alive(due) {
                Some(last) if last > due.since => {
                    self.idle.push_back(Due { since: last, ..due });
                }
                Some(_) => {
                    sink.coverage.limited(Limit::Connections);
                    self.remove(due.place, sink);
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// When the connection that `due` speaks of was last seen, if it is still followed.
    fn alive(&self, due: Due) -> Option<Timestamp> {
        let slot = self.slots.get(due.place)?.as_ref()?;
        (slot.serial == due.serial).then_some(slot.live.last.ts)
    }

    fn remove<F: FnMut(FlowEvent, &mut Coverage)>(&mut self, place: usize, sink: &mut Sink<'_, F>) {
        let Some(mut slot) = self.slots.get_mut(place).and_then(Option::take) else {
            return;
        };
        self.places.remove(&slot.key);
        self.free.push(place);
        let (live, names) = (&mut slot.live, &mut self.names);
        self.held = self.held.saturating_sub(live.held());
        let mut messages = Vec::new();
        let lost = live.end(&mut |tuple, piece| {
            messages.extend(read_piece(tuple, &piece, names));
        });
        sink.coverage.lost_stream_bytes += lost;
        for message in messages {
            live.count(&message.tuple, message.message.header.is_response());
            sink.message(message);
        }
        sink.event(FlowEvent::Connection(live.fate()));
    }
}
