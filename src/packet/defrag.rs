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
use super::pieces::{MAX_DATAGRAM, Pieces};
use super::view::View;
use super::{Body, Direction, Fragment, Packet, Skip, Via};
use crate::base::{Coverage, Limit, Map, Timestamp};
use crate::capture::{PointId, Seen};

/// Memory for all waiting fragments. A burst of 2 000 answers of 8 KiB, all incomplete.
const MAX_BYTES: usize = 16 << 20;
/// How long fragments wait for the rest: the time that Linux gives them (`ipfrag_time`).
const MAX_AGE: Duration = Duration::from_secs(30);
/// What a waiting datagram costs besides its pieces, about.
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
    /// As [`decode()`](super::decode()).
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
        if waiting.pieces.add(&fragment) {
            waiting.last = (packet.seen, packet.via);
        } else {
            coverage.limited(Limit::Fragments);
        }
        let whole = waiting.pieces.is_whole().then(|| waiting.deliver());
        self.put(key, waiting);
        self.make_room(coverage);
        whole
    }

    /// Whether nothing waits for more of its fragments, or to be taken by [`Self::expire`].
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.overtaken.is_empty()
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
    pieces: Pieces,
    /// Whether it was whole once: what comes after that are copies, and no partial one is new.
    delivered: bool,
}

impl Waiting {
    fn new(order: u64, key: Key, packet: &Packet<'_>) -> Self {
        Self {
            order,
            key,
            since: packet.seen.ts,
            first: packet.seen,
            last: (packet.seen, packet.via),
            pieces: Pieces::default(),
            delivered: false,
        }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.since) >= MAX_AGE
    }

    fn cost(&self) -> usize {
        DATAGRAM_COST + self.pieces.cost()
    }

    /// Hands the whole datagram out and stays as its mark.
    fn deliver(&mut self) -> Reassembled {
        let whole = self.assemble(false);
        self.pieces = Pieces::default();
        self.delivered = true;
        whole
    }

    /// What there is of a datagram that was never whole, if its start is there.
    fn into_partial(self) -> Option<Reassembled> {
        (!self.delivered && self.pieces.has_start()).then(|| self.assemble(true))
    }

    fn assemble(&self, partial: bool) -> Reassembled {
        let (seen, via) = self.last;
        Reassembled {
            seen,
            first: self.first,
            via,
            src: self.key.src,
            dst: self.key.dst,
            protocol: self.key.protocol,
            payload: self.pieces.prefix(),
            wire_len: self.pieces.wire_len(),
            partial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use crate::packet::decode;
    use crate::packet::sample::{assert_is_query, frame, v4, v6};

    const MILLIS: i64 = 1_000_000;

    /// Fragments in the order of their pushing: what became whole, and what the account says.
    #[derive(Default)]
    struct Bench {
        defragmenter: Defragmenter,
        coverage: Coverage,
        number: u32,
    }

    impl Bench {
        fn push(&mut self, interface: u32, bytes: &[u8]) -> Option<Reassembled> {
            self.number += 1;
            let mut frame = frame(self.number, 101, bytes);
            frame.interface = Some(interface);
            let packet = decode(&frame, PointId(3)).unwrap();
            self.defragmenter.push(&packet, &mut self.coverage)
        }

        fn expire(&mut self, millis: i64) -> Vec<Reassembled> {
            let now = Timestamp::from_nanos(millis * MILLIS);
            self.defragmenter.expire(now)
        }
    }

    /// A piece of an IPv4 packet; `from` and `to` count in the payload.
    fn piece(packet: &[u8], id: u16, from: usize, to: usize) -> Vec<u8> {
        let payload = &packet[20..];
        let more = to < payload.len();
        let mut bytes = packet[..20].to_vec();
        let total = u16::try_from(20 + to - from).unwrap();
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        let offset = u16::try_from(from / 8).unwrap() | if more { 0x2000 } else { 0 };
        bytes[6..8].copy_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&payload[from..to]);
        bytes
    }

    /// The query in pieces of 8, 8 and 9 bytes.
    fn pieces(id: u16) -> [Vec<u8>; 3] {
        [(0, 8), (8, 16), (16, 25)].map(|(from, to)| piece(&v4(), id, from, to))
    }

    #[test]
    fn a_datagram_is_whole_in_any_order_of_its_fragments() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut bench = Bench::default();
            let pieces = pieces(7);
            assert_eq!(bench.push(1, &pieces[order[0]]), None);
            assert_eq!(bench.push(1, &pieces[order[1]]), None);
            let whole = bench.push(1, &pieces[order[2]]).unwrap();
            assert_is_query(&whole.packet().unwrap());
            assert_eq!((whole.first.at.number(), whole.seen.at.number()), (1, 3));
            assert!(!whole.partial);
            assert_eq!(bench.defragmenter.finish(), []);
        }
    }

    #[test]
    fn fragments_of_ipv6_are_put_together_behind_their_extension_headers() {
        let udp = &v6()[40..];
        let options = [17, 0, 1, 4, 0, 0, 0, 0];
        let payload = [&options[..], udp].concat();
        let part = |from: usize, to: usize, more: u8| {
            let offset = u8::try_from(from).unwrap() | more;
            let header = [60, 0, 0, offset, 0, 0, 0, 5];
            crate::packet::sample::ipv6(44, &[&header, &payload[from..to]].concat())
        };
        let mut bench = Bench::default();
        assert_eq!(bench.push(1, &part(0, 16, 1)), None);
        let whole = bench.push(1, &part(16, 33, 0)).unwrap();
        assert_is_query(&whole.packet().unwrap());
    }

    #[test]
    fn a_tunnel_in_pieces_is_read_once_it_is_whole() {
        let outer = crate::packet::sample::ipv4(4, &v4());
        let mut bench = Bench::default();
        assert_eq!(bench.push(1, &piece(&outer, 7, 0, 24)), None);
        let whole = bench.push(1, &piece(&outer, 7, 24, 45)).unwrap();
        let packet = whole.packet().unwrap();
        assert_is_query(&packet);
        assert_eq!(packet.via.tunnels, 1);
    }

    #[test]
    fn each_place_where_it_was_seen_makes_its_own_copy() {
        let mut bench = Bench::default();
        let pieces = pieces(7);
        let whole: Vec<_> = pieces
            .iter()
            .flat_map(|piece| [(4, piece), (2, piece)])
            .filter_map(|(interface, piece)| bench.push(interface, piece))
            .map(|whole| (whole.via.interface, whole.seen.at.number()))
            .collect();
        assert_eq!(whole, [(Some(4), 5), (Some(2), 6)]);
    }

    #[test]
    fn repeated_fragments_change_nothing() {
        let mut bench = Bench::default();
        let [first, second, third] = pieces(7);
        assert_eq!(bench.push(1, &first), None);
        assert_eq!(bench.push(1, &first), None);
        assert_eq!(bench.push(1, &second), None);
        let whole = bench.push(1, &third).unwrap();
        assert_is_query(&whole.packet().unwrap());
        // A late repetition of the first fragment is no new datagram; a whole second copy is.
        assert_eq!(bench.push(1, &first), None);
        assert_eq!(bench.push(1, &second), None);
        assert!(bench.push(1, &third).is_some());
        assert_eq!(bench.push(1, &first), None);
        assert_eq!(bench.expire(60_000), []);
        assert_eq!(bench.coverage, Coverage::default());
    }

    #[test]
    fn what_came_first_wins_where_fragments_overlap() {
        let mut other = v4();
        other[28..].fill(0xee);
        let mut bench = Bench::default();
        bench.push(1, &piece(&v4(), 7, 0, 8));
        bench.push(1, &piece(&v4(), 7, 16, 25));
        let whole = bench.push(1, &piece(&other, 7, 0, 24)).unwrap();
        assert_eq!(whole.payload[..8], v4()[20..28]);
        assert_eq!(whole.payload[8..16], [0xee; 8]);
        assert_eq!(whole.payload[16..], v4()[36..]);
    }

    #[test]
    fn a_first_fragment_alone_gives_its_question() {
        let mut bench = Bench::default();
        assert_eq!(bench.push(1, &piece(&v4(), 7, 0, 24)), None);
        assert_eq!(bench.push(1, &piece(&v4(), 8, 8, 24)), None);
        assert_eq!(bench.expire(30_000), []);
        let partial = bench.expire(30_001);
        assert_eq!(partial.len(), 1);
        assert!(partial[0].partial);
        let packet = partial[0].packet().unwrap();
        let Body::Udp(udp) = packet.body else {
            panic!("no datagram: {packet:?}");
        };
        assert_eq!((udp.dst_port, udp.payload.len(), udp.wire_len), (53, 16, 17));
        assert_eq!(bench.expire(60_000), []);
    }

    #[test]
    fn the_end_of_the_capture_gives_what_is_left_in_order() {
        let mut bench = Bench::default();
        for id in [9, 3, 7] {
            bench.push(1, &piece(&v4(), id, 0, 16));
        }
        let order: Vec<_> = bench.defragmenter.finish();
        let order: Vec<_> = order.iter().map(|partial| partial.seen.at.number()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn an_identification_used_again_is_another_datagram() {
        let mut bench = Bench::default();
        bench.push(1, &piece(&v4(), 7, 0, 16));
        bench.number = 31_000;
        assert_eq!(bench.push(1, &piece(&v4(), 7, 16, 25)), None);
        let partial = bench.expire(31_002);
        assert_eq!(partial.len(), 1);
        assert_eq!(partial[0].seen.at.number(), 1);
    }

    #[test]
    fn a_fragment_cut_by_the_snap_length_leaves_what_is_before_the_hole() {
        let mut defragmenter = Defragmenter::default();
        let mut coverage = Coverage::default();
        let mut whole = None;
        for (number, bytes) in pieces(7).iter().enumerate() {
            let mut frame = frame(u32::try_from(number).unwrap(), 101, bytes);
            frame.link = LinkType::RAW;
            frame.bytes = if number == 1 { &bytes[..24] } else { bytes };
            let packet = decode(&frame, PointId(0)).unwrap();
            whole = defragmenter.push(&packet, &mut coverage);
        }
        let whole = whole.unwrap();
        assert_eq!((whole.payload.len(), whole.wire_len), (12, 25));
        assert!(!whole.partial);
        let packet = whole.packet().unwrap();
        assert!(
            matches!(packet.body, Body::Udp(udp) if udp.payload.len() == 4 && udp.wire_len == 17)
        );
    }

    #[test]
    fn memory_is_bounded_and_what_makes_room_is_counted() {
        let mut bench = Bench::default();
        let large = crate::packet::sample::ipv4(17, &[0; 8008]);
        for id in 0..4000 {
            bench.push(1, &piece(&large, id, 0, 8000));
        }
        assert!(bench.defragmenter.bytes <= MAX_BYTES);
        let kept = bench.defragmenter.waiting.len();
        assert_eq!(bench.defragmenter.by_key.len(), kept);
        let dropped = bench.coverage.limits[&Limit::Fragments];
        assert_eq!(kept + usize::try_from(dropped).unwrap(), 4000);
        bench.expire(60_000);
        assert_eq!(bench.defragmenter.bytes, 0);
        assert!(bench.defragmenter.by_key.is_empty());
    }

    #[test]
    fn a_fragment_beyond_the_longest_datagram_is_refused() {
        let mut bench = Bench::default();
        let mut bytes = piece(&v4(), 7, 0, 25);
        bytes[6..8].copy_from_slice(&[0x1f, 0xff]);
        assert_eq!(bench.push(1, &bytes), None);
        assert_eq!(bench.coverage.limits[&Limit::Fragments], 1);
    }
}
