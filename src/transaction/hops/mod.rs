//! The places where one datagram was seen.
//!
//! Tens of thousands of transactions are held at once, and the places where their datagrams were seen are
//! most of what they are made of. Nearly always they lie microseconds and a few frames apart, on the
//! interfaces of one node, so that eleven bytes tell each from the first ([`near`]); what does not fit is
//! written out ([`far`]). Both are told as a [`Hop`].

mod far;
mod near;
mod pair;

use std::net::IpAddr;
use std::ops::Range;

use smallvec::SmallVec;

use self::far::Far;
pub(super) use self::near::Near;
pub(super) use self::pair::Pair;
use super::path::Place;
use crate::base::Timestamp;
use crate::capture::{PointId, Seen};
use crate::packet::{Direction, Via};

/// One sighting of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The frame.
    pub seen: Seen,
    /// The place.
    pub via: Spot,
    /// The server's address as it was written there: before or after translation.
    pub server: IpAddr,
    /// The client's address as it was written there.
    pub client: IpAddr,
}

impl Hop {
    /// Whether a datagram seen here was seen at that very place before: one datagram never
    /// passes a place twice.
    pub fn same_place(&self, other: &Self) -> bool {
        let place = |hop: &Self| (hop.via.point, hop.via.interface, hop.via.direction, hop.via.ttl);
        place(self) == place(other)
    }

    /// Whether a datagram passed this place before the other. Every router lowers the TTL, whatever the
    /// clocks of capture points and the order of their frames; between two routers the time tells.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let same_clock = self.via.point == other.via.point;
        self.via.ttl > other.via.ttl
            || (self.via.ttl == other.via.ttl && same_clock && self.seen.ts < other.seen.ts)
    }
}

/// A place on the way of a datagram through a capture point: what a [`Via`] says of it, but for what
/// nobody asks about a datagram any more once it is known which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The capture point.
    pub point: PointId,
    /// Interface index of the capturing host, where there is one.
    pub interface: Option<u32>,
    /// The cooked header's packet type, where there is one.
    pub direction: Option<Direction>,
    /// Innermost TTL or hop limit.
    pub ttl: u8,
}

impl From<Via> for Spot {
    #[inline]
    fn from(via: Via) -> Self {
        let Via { point, interface, direction, ttl, .. } = via;
        Self { point, interface, direction, ttl }
    }
}

impl Spot {
    /// Whether no router has lowered the TTL yet: a datagram leaves its host with one of these (Linux
    /// and macOS 64, Windows 128, network equipment 255).
    pub fn is_at_its_host(&self) -> bool {
        matches!(self.ttl, 64 | 128 | 255)
    }
}

/// The places where one datagram was seen, in the order of its way.
#[derive(Debug, Clone, Default)]
pub struct Hops(Form);

#[derive(Debug, Clone, Default)]
enum Form {
    #[default]
    None,
    Near(Near),
    Far(Box<Far>),
}

/// Sightings of one datagram that are kept: eight capture points with four each. Of more, the last
/// one.
const MOST: usize = 32;

impl Hops {
    /// A datagram that was seen once so far.
    pub(super) fn of(hop: &Hop) -> Self {
        let mut hops = Self::default();
        hops.insert(0, hop);
        hops
    }

    /// Its short form, if it has that.
    pub(super) fn near(&self) -> Option<&Near> {
        match &self.0 {
            Form::Near(near) => Some(near),
            Form::None | Form::Far(_) => None,
        }
    }

    /// Whether it is plain that the datagram was not seen on its way behind here before.
    #[inline]
    pub(super) fn goes_on(&self, hop: &Hop) -> bool {
        match &self.0 {
            Form::Near(near) => near.goes_on(hop),
            Form::None | Form::Far(_) => false,
        }
    }

    /// Puts a sighting at the end of the list; returns by how many bytes that grew.
    #[inline]
    pub(super) fn push(&mut self, hop: &Hop) -> usize {
        if let Form::Near(near) = &mut self.0
            && near.push(hop)
        {
            return 0;
        }
        self.insert(self.len(), hop)
    }

    /// Puts a sighting at a place in the list; returns by how many bytes that grew.
    pub(super) fn insert(&mut self, at: usize, hop: &Hop) -> usize {
        let at = at.min(self.len());
        let fits = match &mut self.0 {
            Form::None => Near::of(hop).map(|near| self.0 = Form::Near(near)).is_some(),
            Form::Near(near) => near.insert(at, hop),
            Form::Far(far) if far.len() < MOST => {
                let before = far.bytes();
                far.insert(at, hop);
                return far.bytes() - before;
            }
            Form::Far(_) => false,
        };
        if fits {
            return 0;
        }
        // Written out anew; of those that are full, only the addresses that are still named stay.
        let full = self.is_full();
        let mut hops: SmallVec<[Hop; MOST]> = self.iter().take(MOST - 1).collect();
        hops.insert(at.min(hops.len()), *hop);
        let Some(far) = Far::of(&hops) else { return 0 };
        let bytes = if full { 0 } else { far.bytes() };
        self.0 = Form::Far(Box::new(far));
        bytes
    }

    /// Whether another one takes the place of the last one.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= MOST
    }

    /// How many there are; at least one in all that the matcher makes.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::None => 0,
            Form::Near(near) => near.len(),
            Form::Far(far) => far.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first one in the list.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn first(&self) -> Option<Hop> {
        self.get(0)
    }

    /// The server's address as it was written in the first one.
    #[inline]
    pub(super) fn first_server(&self) -> Option<IpAddr> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => near.first_server(),
            Form::Far(far) => far.hop(0).map(|hop| hop.server),
        }
    }

    /// The server's address as it was written in the last one in which it was another than this.
    #[inline]
    pub(super) fn last_server_but(&self, asked: IpAddr) -> Option<IpAddr> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => near.last_server_but(asked),
            Form::Far(_) => self.iter().rev().map(|hop| hop.server).find(|server| *server != asked),
        }
    }

    /// The last one in the list.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn last(&self) -> Option<Hop> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The one at this place of the list.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn get(&self, at: usize) -> Option<Hop> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => near.hop(at),
            Form::Far(far) => far.hop(at),
        }
    }

    /// The capture point, if one alone saw it.
    #[inline]
    pub(super) fn point(&self) -> Option<PointId> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => Some(near.point()),
            Form::Far(far) => far.point(),
        }
    }

    /// Whether this capture point saw it.
    #[inline]
    pub fn is_seen_at(&self, point: PointId) -> bool {
        match &self.0 {
            Form::None => false,
            Form::Near(near) => near.point() == point,
            Form::Far(far) => far.is_seen_at(point),
        }
    }

    /// The frame of the one at this place of the list.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub(super) fn seen(&self, at: u8) -> Option<Seen> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => near.seen(at.into()),
            Form::Far(far) => far.seen(at.into()),
        }
    }

    /// When that was.
    #[inline]
    pub(super) fn ts(&self, at: u8) -> Option<Timestamp> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => near.ts(at.into()),
            Form::Far(_) => self.seen(at).map(|seen| seen.ts),
        }
    }

    /// The place of a frame in the list.
    pub(super) fn place(&self, seen: Seen) -> Option<u8> {
        (0..=u8::MAX).take(self.len()).find(|at| self.seen(*at) == Some(seen))
    }

    /// All of them.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { hops: self, places: 0..self.len() }
    }

    /// The places alone.
    #[inline]
    pub fn spots(&self) -> impl Iterator<Item = Spot> {
        self.iter().map(|hop| hop.via)
    }

    /// The capture point that is the first one in the list.
    #[inline]
    pub fn first_point(&self) -> Option<PointId> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => Some(near.point()),
            Form::Far(far) => far.hop(0).map(|hop| hop.via.point),
        }
    }

    /// Whether one shows this address of the server, on an interface of a capture point.
    #[inline]
    pub(super) fn shows(&self, server: IpAddr, point: PointId, interface: Option<u32>) -> bool {
        let is_there = |hop: Hop| {
            hop.server == server && hop.via.point == point && hop.via.interface == interface
        };
        match &self.0 {
            Form::Near(near) => near.point() == point && near.shows(server, interface),
            Form::None => false,
            Form::Far(_) => self.iter().any(is_there),
        }
    }

    /// At how many places it was seen at this capture point.
    #[inline]
    pub fn count_at(&self, point: PointId) -> usize {
        match &self.0 {
            Form::Near(near) if near.point() == point => near.len(),
            Form::None | Form::Near(_) => 0,
            Form::Far(_) => self.spots().filter(|spot| spot.point == point).count(),
        }
    }

    /// At how many of those it was not addressed to another host.
    #[inline]
    pub fn arrivals_at(&self, point: PointId) -> usize {
        let arrived =
            |spot: &Spot| spot.point == point && spot.direction != Some(Direction::OtherHost);
        match &self.0 {
            Form::Near(near) if near.point() == point => near.arrivals(),
            Form::None | Form::Near(_) => 0,
            Form::Far(_) => self.spots().filter(arrived).count(),
        }
    }

    /// Tells the places where it was seen at this capture point, one after the other; the server `asked`
    /// tells whether its address was translated there.
    #[inline]
    pub(super) fn tell_places(&self, point: PointId, asked: IpAddr, mut tell: impl FnMut(Place)) {
        match &self.0 {
            Form::Near(near) if near.point() == point => near.places(asked).for_each(tell),
            Form::None | Form::Near(_) => {}
            Form::Far(_) => {
                let here = self.iter().filter(|hop| hop.via.point == point);
                here.for_each(|hop| tell(Place::of(&hop, asked)));
            }
        }
    }

    /// The places in the list of the one that was recorded first and of the one that was recorded last.
    pub(super) fn ends(&self) -> Option<(u8, u8)> {
        if let Form::Near(near) = &self.0 {
            return Some(near.ends());
        }
        let seen = || self.iter().map(|hop| hop.seen);
        self.place(seen().min()?).zip(self.place(seen().max()?))
    }

    /// The frame that was recorded first, whatever the order of the capture.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn earliest(&self) -> Option<Seen> {
        match &self.0 {
            Form::None => None,
            Form::Near(near) => Some(near.earliest()),
            Form::Far(far) => Some(far.earliest()),
        }
    }
}

impl From<Near> for Hops {
    fn from(near: Near) -> Self {
        Self(Form::Near(near))
    }
}

impl<'a> IntoIterator for &'a Hops {
    type Item = Hop;
    type IntoIter = Iter<'a>;

    #[inline]
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The sightings of a datagram, one after the other.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    hops: &'a Hops,
    places: Range<usize>,
}

impl Iterator for Iter<'_> {
    type Item = Hop;

    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    fn next(&mut self) -> Option<Hop> {
        self.hops.get(self.places.next()?)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    fn next_back(&mut self) -> Option<Hop> {
        self.hops.get(self.places.next_back()?)
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::capture::{FileId, FrameRef};

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            Just(IpAddr::from([10, 244, 1, 7])),
            Just(IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])),
        ]
    }

    /// Anything, or one of those that a node shows: some of the latter are near each other.
    fn hop() -> impl Strategy<Value = Hop> {
        let near = |middle: u32| middle - 40_000..middle + 40_000;
        let seen = prop_oneof![
            (any::<i64>(), any::<u32>(), any::<u32>()),
            (-3_000_000_000..3_000_000_000_i64, 1..3_u32, near(100_000)),
            (-90_000..90_000_i64, Just(1), near(50_000)),
        ];
        let via = (
            prop_oneof![any::<u16>(), Just(3)],
            prop_oneof![any::<Option<u32>>(), (1..90_000_u32).prop_map(Some)],
            proptest::option::of(proptest::sample::select(Direction::ALL.to_vec())),
            any::<u8>(),
        );
        let place =
            (seen, via).prop_map(|((ts, file, number), (point, interface, direction, ttl))| {
                let at = FrameRef::new(FileId(file), number);
                let seen = Seen { ts: Timestamp::from_nanos(ts), at };
                (seen, Spot { point: PointId(point), interface, direction, ttl })
            });
        (place, address(), address()).prop_map(|((seen, via), server, client)| Hop {
            seen,
            via,
            server,
            client,
        })
    }

    /// Those of a node: a few interfaces, a client, a service and its backend.
    fn usual() -> impl Strategy<Value = Hop> {
        let address = |last: u8| IpAddr::from([10, 96, 0, last]);
        let via = (1..90_000_u32, proptest::sample::select(Direction::ALL.to_vec()), any::<u8>());
        (0..50_000_000_i64, 1_000..1_090_u32, via, 1..3_u8).prop_map(
            move |(ts, number, (interface, direction, ttl), server)| Hop {
                seen: Seen {
                    ts: Timestamp::from_nanos(1_780_000_000_000_000_000 + ts),
                    at: FrameRef::new(FileId(7), number),
                },
                via: Spot {
                    point: PointId(0),
                    interface: Some(interface),
                    direction: Some(direction),
                    ttl,
                },
                server: address(server),
                client: address(9),
            },
        )
    }

    fn check(given: Vec<(Hop, proptest::sample::Index)>) -> Result<Hops, TestCaseError> {
        let (mut hops, mut plain) = (Hops::default(), Vec::new());
        for (hop, at) in given {
            if plain.len() >= MOST {
                plain.pop();
            }
            let at = at.index(plain.len() + 1);
            plain.insert(at, hop);
            if at + 1 == plain.len() {
                hops.push(&hop);
            } else {
                hops.insert(at, &hop);
            }
            prop_assert_eq!(hops.iter().collect::<Vec<_>>(), plain.clone());
            let back: Vec<_> = hops.iter().rev().collect();
            prop_assert!(back.iter().eq(plain.iter().rev()));
            prop_assert_eq!(hops.earliest(), plain.iter().map(|hop| hop.seen).min());
            let ends = plain.first().copied().zip(plain.last().copied());
            prop_assert_eq!(hops.first().zip(hops.last()), ends);
            prop_assert_eq!(hops.first_server(), plain.first().map(|hop| hop.server));
            let seen = |at: u8| hops.seen(at);
            let ends = hops.ends().map(|(first, last)| (seen(first), seen(last)));
            let frames = || plain.iter().map(|hop| hop.seen);
            prop_assert_eq!(ends, Some((frames().min(), frames().max())));
            for point in plain.iter().map(|hop| hop.via.point) {
                let asked = IpAddr::from([10, 96, 0, 1]);
                let here = plain.iter().filter(|hop| hop.via.point == point);
                let places: Vec<_> = here.map(|hop| Place::of(hop, asked)).collect();
                let mut told = Vec::new();
                hops.tell_places(point, asked, |place| told.push(place));
                prop_assert_eq!(told, places);
            }
            for (one, other) in plain.iter().zip(plain.iter().rev()) {
                let at = |hop: &Hop| (hop.server, hop.via.point, hop.via.interface);
                let (wanted, server) = (at(one), other.server);
                prop_assert!(hops.shows(wanted.0, wanted.1, wanted.2));
                let mixed = (server, wanted.1, wanted.2);
                let is_there = plain.iter().any(|hop| at(hop) == mixed);
                prop_assert_eq!(hops.shows(mixed.0, mixed.1, mixed.2), is_there);
            }
            let points: BTreeSet<_> = plain.iter().map(|hop| hop.via.point).collect();
            prop_assert_eq!(hops.point(), points.first().copied().filter(|_| points.len() == 1));
            prop_assert!(points.iter().all(|point| hops.is_seen_at(*point)));
            prop_assert!(
                !(0..9).map(PointId).any(|at| hops.is_seen_at(at) != points.contains(&at))
            );
        }
        Ok(hops)
    }

    proptest! {
        #[test]
        fn hops_come_back_as_they_were(
            given in proptest::collection::vec((hop(), any::<proptest::sample::Index>()), 1..40),
        ) {
            check(given)?;
        }

        #[test]
        fn the_usual_ones_are_told_from_the_first(
            given in proptest::collection::vec((usual(), any::<proptest::sample::Index>()), 1..5),
        ) {
            let hops = check(given)?;
            prop_assert!(matches!(hops.0, Form::Near(_)));
        }
    }

    #[test]
    fn a_transaction_is_small() {
        // With the count of those who share it, it fills one of the allocator's blocks.
        let size = size_of::<crate::transaction::Transaction>();
        assert!(size <= 448 - 2 * size_of::<usize>(), "{size}");
        assert!(size_of::<Hops>() <= 80, "{}", size_of::<Hops>());
    }
}
