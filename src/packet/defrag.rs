//! IP datagrams put together from their fragments (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! Each place where a datagram was seen is put together on its own, so that copies at several
//! interfaces stay copies. What came first wins where fragments overlap. A capture with the
//! filter `port 53` holds first fragments only (rulebook K1): those come out as partial datagrams
//! once nothing more is to be expected.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::decode::decode_payload;
use super::network::protocol;
use super::view::View;
use super::{Body, Direction, Fragment, Packet, Skip, Via};
use crate::base::{Coverage, Limit, Map, Timestamp};
use crate::capture::{PointId, Seen};

/// Memory for all waiting fragments. A burst of 2 000 answers of 8 KiB, all incomplete.
const MAX_BYTES: usize = 16 << 20;
/// How long fragments wait for the rest: the time that Linux gives them (`ipfrag_time`).
const MAX_AGE: Duration = Duration::from_secs(30);
/// The longest payload that an IP datagram can have.
const MAX_DATAGRAM: usize = 65_535;
/// What a waiting fragment and a waiting datagram cost besides their bytes, about.
const FRAGMENT_COST: usize = 64;
/// See [`FRAGMENT_COST`].
const DATAGRAM_COST: usize = 384;

/// The payload of an IP datagram that travelled in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassembled {
    /// The frame that completed it, as Wireshark attributes it; the last one seen if partial.
    pub seen: Seen,
    /// Its first frame.
    pub first: Seen,
    /// Where `seen` was seen.
    pub via: Via,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What the payload is (IANA protocol number).
    pub protocol: u8,
    /// The payload from its start, as far as it was captured without a hole.
    pub payload: Vec<u8>,
    /// Length of the payload on the wire, as far as it is known.
    pub wire_len: usize,
    /// Whether fragments are missing behind `payload`.
    pub partial: bool,
}

impl Reassembled {
    /// Decodes the payload, tunnels in it included.
    ///
    /// # Errors
    ///
    /// As [`decode`](super::decode).
    pub fn packet(&self) -> Result<Packet<'_>, Skip> {
        let packet = Packet {
            seen: self.seen,
            via: self.via,
            src: self.src,
            dst: self.dst,
            body: Body::Other,
        };
        // UDP knows its own length when the last fragment, and with it IP's length, is missing.
        let wire = if self.partial && self.protocol == protocol::UDP {
            MAX_DATAGRAM
        } else {
            self.wire_len
        };
        let view = View { bytes: &self.payload, wire: wire.max(self.payload.len()) };
        decode_payload(packet, self.protocol, view)
    }
}

/// Puts fragments together, one datagram for each place where it was seen.
///
/// Bounded by 16 MiB of waiting fragments and by 30 s of capture time; the oldest datagrams make
/// room and are counted.
#[derive(Debug, Default)]
pub struct Defragmenter {
    /// In the order in which they began.
    waiting: BTreeMap<u64, Waiting>,
    by_key: Map<Key, u64>,
    next: u64,
    bytes: usize,
    /// Partial datagrams that were overtaken by another one with their identification.
    overtaken: Vec<Reassembled>,
}

/// What the fragments of one sighting of one datagram have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    point: PointId,
    interface: Option<u32>,
    direction: Option<Direction>,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

impl Key {
    fn of(packet: &Packet<'_>, fragment: &Fragment<'_>) -> Self {
        Self {
            point: packet.via.point,
            interface: packet.via.interface,
            direction: packet.via.direction,
            src: packet.src,
            dst: packet.dst,
            id: fragment.id,
            protocol: fragment.protocol,
        }
    }
}

impl Defragmenter {
    /// Takes a fragment; returns its datagram if that is now whole. Other packets are ignored.
    pub fn push(&mut self, packet: &Packet<'_>, coverage: &mut Coverage) -> Option<Reassembled> {
        let Body::Fragment(fragment) = packet.body else {
            return None;
        };
        let key = Key::of(packet, &fragment);
        let mut waiting = self.take(key, packet);
        let fits = fragment.offset + fragment.wire_len <= waiting.total.unwrap_or(MAX_DATAGRAM);
        if fits {
            waiting.add(packet, &fragment);
        } else {
            coverage.limited(Limit::Fragments);
        }
        let whole = waiting.is_whole().then(|| waiting.deliver());
        self.put(key, waiting);
        self.make_room(coverage);
        whole
    }

    /// Gives up on datagrams that began 30 s before `now` or earlier; returns those whose first
    /// fragment is there, in the order in which they began.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Reassembled> {
        let mut partial = std::mem::take(&mut self.overtaken);
        while let Some(oldest) = self.waiting.first_entry()
            && oldest.get().is_stale(now)
        {
            let waiting = oldest.remove();
            self.forget(&waiting);
            partial.extend(waiting.into_partial());
        }
        partial
    }

    /// Gives up on all that is left; returns what [`expire`](Self::expire) would.
    pub fn finish(mut self) -> Vec<Reassembled> {
        let mut partial = self.overtaken;
        let waiting = std::mem::take(&mut self.waiting);
        partial.extend(waiting.into_values().filter_map(Waiting::into_partial));
        partial
    }

    /// Takes out what waits under `key`, or begins it.
    fn take(&mut self, key: Key, packet: &Packet<'_>) -> Waiting {
        let found = self.by_key.get(&key).copied();
        let Some(found) = found.and_then(|order| self.waiting.remove(&order)) else {
            return Waiting::new(self.begin(), key, packet);
        };
        self.bytes = self.bytes.saturating_sub(found.cost());
        if !found.is_stale(packet.seen.ts) && !found.pieces.is_empty() {
            return found;
        }
        // Stale, or already delivered: what comes now is another datagram or a copy.
        let mut next = Waiting::new(self.begin(), key, packet);
        if found.is_stale(packet.seen.ts) {
            self.overtaken.extend(found.into_partial());
        } else {
            next.delivered = found.delivered;
        }
        next
    }

    fn begin(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn put(&mut self, key: Key, waiting: Waiting) {
        self.bytes += waiting.cost();
        self.by_key.insert(key, waiting.order);
        self.waiting.insert(waiting.order, waiting);
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.bytes = self.bytes.saturating_sub(waiting.cost());
        self.by_key.remove(&waiting.key);
    }

    /// Drops the oldest datagrams until the rest fits.
    fn make_room(&mut self, coverage: &mut Coverage) {
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.waiting.pop_first()
        {
            self.forget(&oldest);
            if !oldest.pieces.is_empty() {
                coverage.limited(Limit::Fragments);
            }
        }
    }
}

/// A datagram that waits for more fragments, or that was delivered and may be seen again.
#[derive(Debug)]
struct Waiting {
    order: u64,
    key: Key,
    since: Timestamp,
    first: Seen,
    last: (Seen, Via),
    /// Pieces by offset; they never overlap and none is empty.
    pieces: BTreeMap<usize, Piece>,
    /// Bytes on the wire of all pieces.
    covered: usize,
    /// Bytes in memory of all pieces.
    held: usize,
    /// Length of the whole payload, once the last fragment was seen.
    total: Option<usize>,
    /// Whether it was whole once: what comes after that are copies, and no partial one is new.
    delivered: bool,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    wire: usize,
}

impl Waiting {
    fn new(order: u64, key: Key, packet: &Packet<'_>) -> Self {
        Self {
            order,
            key,
            since: packet.seen.ts,
            first: packet.seen,
            last: (packet.seen, packet.via),
            pieces: BTreeMap::new(),
            covered: 0,
            held: 0,
            total: None,
            delivered: false,
        }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.since) >= MAX_AGE
    }

    fn cost(&self) -> usize {
        DATAGRAM_COST + self.pieces.len() * FRAGMENT_COST + self.held
    }

    /// Fills the holes that the fragment covers.
    fn add(&mut self, packet: &Packet<'_>, fragment: &Fragment<'_>) {
        self.last = (packet.seen, packet.via);
        let end = fragment.offset + fragment.wire_len;
        if !fragment.more && self.total.is_none() {
            self.total = Some(end);
        }
        let before = self.pieces.range(..=fragment.offset).next_back();
        let mut at = before
            .map_or(fragment.offset, |(&start, piece)| fragment.offset.max(start + piece.wire));
        while at < end {
            let next = self.pieces.range(at..).next();
            let next = next.map(|(&start, piece)| (start, start + piece.wire));
            let stop = next.map_or(end, |(start, _)| start.min(end));
            if at < stop {
                let from = at - fragment.offset;
                let to = (stop - fragment.offset).min(fragment.payload.len());
                let bytes = fragment.payload.get(from..to).unwrap_or_default().to_vec();
                let wire = stop - at;
                self.covered += wire;
                self.held += bytes.len();
                self.pieces.insert(at, Piece { bytes, wire });
            }
            at = next.map_or(end, |(_, stop)| stop);
        }
    }

    fn is_whole(&self) -> bool {
        // Only a datagram with enough bytes is worth the walk.
        self.total.is_some_and(|total| self.covered >= total && total > 0 && self.reach() >= total)
    }

    /// How far the pieces reach from the start without a hole.
    fn reach(&self) -> usize {
        let mut reach = 0;
        for (&start, piece) in &self.pieces {
            if start > reach {
                break;
            }
            reach = start + piece.wire;
        }
        reach
    }

    /// Hands the whole datagram out and stays as its mark.
    fn deliver(&mut self) -> Reassembled {
        let whole = self.assemble(false);
        self.pieces.clear();
        self.covered = 0;
        self.held = 0;
        self.total = None;
        self.delivered = true;
        whole
    }

    /// What there is of a datagram that was never whole, if its start is there.
    fn into_partial(mut self) -> Option<Reassembled> {
        let begins = self.pieces.get(&0).is_some_and(|p| !p.bytes.is_empty());
        (begins && !self.delivered).then(|| self.assemble(true))
    }

    /// Joins the pieces up to the first byte that was not captured.
    fn assemble(&mut self, partial: bool) -> Reassembled {
        let extent = self.pieces.last_key_value();
        let extent = extent.map_or(0, |(start, piece)| start + piece.wire);
        let mut payload = Vec::with_capacity(self.held);
        for (&start, piece) in &self.pieces {
            if start != payload.len() {
                break;
            }
            payload.extend_from_slice(&piece.bytes);
        }
        let (seen, via) = self.last;
        Reassembled {
            seen,
            first: self.first,
            via,
            src: self.key.src,
            dst: self.key.dst,
            protocol: self.key.protocol,
            payload,
            wire_len: self.total.unwrap_or(extent),
            partial,
        }
    }
}
