//! The places that a datagram passed at one capture point, each once, in order.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::hops::{Hop, Hops};
use crate::base::Timestamp;
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(SmallVec<[Place; 4]>);

impl Path {
    /// The path that `hops` show at `point`, of a datagram between a client and the server `asked`.
    pub(super) fn of(hops: &Hops, point: PointId, asked: IpAddr) -> Self {
        let mut path = Self::default();
        if let Some(places) = hops.near_places(point, asked) {
            let mut before = Timestamp::MIN;
            let mut ordered = true;
            for (ts, place) in places {
                ordered &= before <= ts;
                before = ts;
                path.pass(place);
            }
            if ordered {
                return path;
            }
            path.0.clear();
        }
        let mut places = hops.places(point, asked);
        places.sort_by_key(|(ts, _)| *ts);
        places.into_iter().for_each(|(_, place)| path.pass(place));
        path
    }

    /// Whether `hops` show all of it and nothing else, each place behind the one before, whatever the numbers
    /// of interfaces. What takes longer to be told is for [`Self::of`].
    pub(super) fn is_shown_by(&self, hops: &Hops, point: PointId, asked: IpAddr) -> bool {
        let Some(places) = hops.near_places(point, asked) else { return false };
        let mut whole = self.0.iter();
        let mut before: Option<(Timestamp, Place)> = None;
        for (ts, place) in places {
            if before.is_some_and(|(earlier, _)| ts < earlier) {
                return false;
            }
            let again = before.is_some_and(|(_, known)| known == place);
            if !again && whole.next().is_none_or(|next| next.signature() != place.signature()) {
                return false;
            }
            before = Some((ts, place));
        }
        whole.next().is_none()
    }

    fn pass(&mut self, place: Place) {
        if self.0.last() != Some(&place) {
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

/// Different paths, each once: clients on one interface take the same.
#[derive(Debug, Default)]
pub(super) struct PathTable {
    rows: Vec<Path>,
    numbers: HashTable<u16>,
    state: RandomState,
}

impl PathTable {
    /// The path with this number.
    pub(super) fn get(&self, number: u16) -> Option<&Path> {
        self.rows.get(usize::from(number))
    }

    /// The number of a path, which is new or known; `None` if there is no room for it.
    pub(super) fn number(&mut self, path: &Path) -> Option<u16> {
        let Self { rows, numbers, state } = self;
        let same = |number: &u16| rows.get(usize::from(*number)) == Some(path);
        let hash = |path: Option<&Path>| state.hash_one(path.map(|path| path.0.as_slice()));
        if let Some(number) = numbers.find(hash(Some(path)), same) {
            return Some(*number);
        }
        let number = u16::try_from(rows.len()).ok()?;
        rows.push(path.clone());
        numbers
            .insert_unique(hash(Some(path)), number, |known| hash(rows.get(usize::from(*known))));
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hops::Spot;
    use super::*;
    use crate::capture::{FileId, FrameRef, Seen};

    #[test]
    fn a_path_has_one_number() {
        let path = |places: &[u64]| Path(places.iter().map(|place| Place(*place)).collect());
        let mut table = PathTable::default();
        for round in 0..2 {
            for at in 0..200 {
                assert_eq!(table.number(&path(&[at, at + 1])), Some(u16::try_from(at).unwrap()));
                assert!(round == 0 || table.rows.len() == 200);
            }
        }
        assert_eq!(table.get(7), Some(&path(&[7, 8])));
        assert_eq!(table.get(200), None);
    }

    #[test]
    fn a_place_keeps_all_of_a_waypoint() {
        let directions = Direction::ALL.into_iter().map(Some).chain([None]);
        for direction in directions {
            for interface in [None, Some(0), Some(u32::MAX)] {
                let via = Spot { point: PointId(3), interface, direction, ttl: 255 };
                let address = |text: &str| text.parse::<IpAddr>().unwrap();
                let (server, client) = (address("10.96.0.10"), address("10.244.1.7"));
                let at = FrameRef { file: FileId(0), number: 1 };
                let seen = Seen { ts: Timestamp::from_nanos(1), at };
                let hop = Hop { seen, via, server, client };
                for (asked, translated) in [(server, false), (client, true)] {
                    let waypoint = Waypoint { interface, direction, ttl: 255, translated };
                    assert_eq!(Waypoint::from(Place::of(&hop, asked)), waypoint);
                }
            }
        }
    }
}
