//! The places that a datagram passed at one capture point, each once, in order.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::hops::{Hop, Hops};
use crate::capture::PointId;
use crate::packet::Direction;

/// One place on the way, as it shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waypoint {
    /// Interface index, where the link type has one.
    pub interface: Option<u32>,
    /// Packet type, where the link type has one.
    pub direction: Option<Direction>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether the server's address was the one behind the service.
    pub translated: bool,
}

/// A [`Waypoint`] as a number: paths are compared for every transaction.
///
/// From the top: the index of the interface (32 bits), whether there is one (1), whether the address
/// was translated (1), the packet type from 1 on or 0 (8), the TTL (8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

impl Place {
    const SOME_INTERFACE: u64 = 1 << 17;
    const TRANSLATED: u64 = 1 << 16;

    /// The place of a sighting; the server `asked` tells whether its address was translated.
    pub(super) fn of(hop: &Hop, asked: IpAddr) -> Self {
        let direction = hop.via.direction.map_or(0, |direction| 1 + direction as u8);
        Self::new(hop.via.interface, direction, hop.via.ttl, hop.server != asked)
    }

    /// A place with a packet type from 1 on, or 0.
    pub(super) fn new(interface: Option<u32>, direction: u8, ttl: u8, translated: bool) -> Self {
        let interface = interface.map_or(0, |at| u64::from(at) << 32 | Self::SOME_INTERFACE);
        let translated = if translated { Self::TRANSLATED } else { 0 };
        Self(interface | translated | u64::from(direction) << 8 | u64::from(ttl))
    }

    /// What it looks like whatever the number of its interface.
    fn signature(self) -> u64 {
        self.0 & (Self::SOME_INTERFACE - 1)
    }

    fn is_translated(self) -> bool {
        self.0 & Self::TRANSLATED != 0
    }
}

impl From<Place> for Waypoint {
    fn from(place: Place) -> Self {
        let [i3, i2, i1, i0, _, _, direction, ttl] = place.0.to_be_bytes();
        let interface = u32::from_be_bytes([i3, i2, i1, i0]);
        Self {
            interface: (place.0 & Place::SOME_INTERFACE != 0).then_some(interface),
            direction: Direction::ALL.into_iter().find(|known| 1 + *known as u8 == direction),
            ttl,
            translated: place.is_translated(),
        }
    }
}

/// The places that a datagram passed at one capture point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Path(SmallVec<[Place; 4]>);

impl Path {
    /// The path that `hops` show at `point`, of a datagram between a client and the server `asked`.
    pub(super) fn of(hops: &Hops, point: PointId, asked: IpAddr) -> Self {
        let mut path = Self::default();
        hops.tell_places(point, asked, |place| path.pass(place));
        path
    }

    /// A datagram that the network doubled passes all of its places twice.
    fn pass(&mut self, place: Place) {
        if !self.0.contains(&place) {
            self.0.push(place);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<Waypoint> {
        self.0.get(at).copied().map(Waypoint::from)
    }

    pub(super) fn last(&self) -> Option<Waypoint> {
        self.0.last().copied().map(Waypoint::from)
    }

    /// Whether the server's address is translated on the way.
    pub(super) fn translates(&self) -> bool {
        self.0.iter().any(|place| place.is_translated())
    }

    /// Whether both are the same but for the numbers of interfaces.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.len() == other.len() && self.begins(other)
    }

    /// Whether `whole` begins like it, whatever the numbers of interfaces.
    pub(super) fn begins(&self, whole: &Self) -> bool {
        let same = |(one, other): (&Place, &Place)| one.signature() == other.signature();
        self.len() <= whole.len() && self.0.iter().zip(&whole.0).all(same)
    }

    /// Whether it goes on behind the place of `whole` where it is first missing.
    pub(super) fn is_holed(&self, whole: &Self) -> bool {
        if self == whole {
            return false;
        }
        let seen =
            |place: &Place| self.0.iter().any(|known| known.signature() == place.signature());
        let missing = whole.0.iter().position(|place| !seen(place));
        missing.is_some_and(|at| whole.0.iter().skip(at + 1).any(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hops::Spot;
    use super::*;
    use crate::base::Timestamp;
    use crate::capture::{FileId, FrameRef, Seen};

    #[test]
    fn a_place_keeps_all_of_a_waypoint() {
        let directions = Direction::ALL.into_iter().map(Some).chain([None]);
        for direction in directions {
            for interface in [None, Some(0), Some(u32::MAX)] {
                let via = Spot { point: PointId(3), interface, direction, ttl: 255 };
                let address = |text: &str| text.parse::<IpAddr>().unwrap();
                let (server, client) = (address("10.96.0.10"), address("10.244.1.7"));
                let at = FrameRef::new(FileId(0), 1);
                let seen = Seen { ts: Timestamp::from_nanos(1), at };
                let hop = Hop { seen, via, server, client };
                for (asked, translated) in [(server, false), (client, true)] {
                    let waypoint = Waypoint { interface, direction, ttl: 255, translated };
                    assert_eq!(Waypoint::from(Place::of(&hop, asked)), waypoint);
                }
            }
        }
    }

    /// As a duplicate of `tc netem` comes: behind the first at each place, or once more on the whole way.
    #[test]
    fn a_datagram_that_comes_twice_took_one_path() {
        let places = [(7, 63), (3, 62), (4, 62)];
        let places = places.map(|(interface, ttl)| Place::new(Some(interface), 1, ttl, false));
        let of = |passed: &mut dyn Iterator<Item = &Place>| {
            let mut path = Path::default();
            passed.for_each(|place| path.pass(*place));
            path
        };
        let once = of(&mut places.iter());
        assert_eq!(once.len(), 3);
        assert_eq!(of(&mut places.iter().chain(&places)), once);
        assert_eq!(of(&mut places.iter().flat_map(|place| [place, place])), once);
    }
}
