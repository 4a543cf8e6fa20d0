//! The usual sightings of a datagram: a few on the interfaces of one node, each told from the first.

use std::net::{IpAddr, Ipv4Addr};

use super::{Hop, Spot};
use crate::base::Timestamp;
use crate::capture::{FileId, FrameRef, PointId, Seen};
use crate::packet::Direction;
use crate::transaction::path::Place;

/// How many there are: at most as many as a node shows, on a pod's interface, on a bridge, before and behind
/// the translation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    One = 1,
    Two,
    Three,
    Four,
}

impl Count {
    #[inline]
    fn next(self) -> Option<Self> {
        match self {
            Self::One => Some(Self::Two),
            Self::Two => Some(Self::Three),
            Self::Three => Some(Self::Four),
            Self::Four => None,
        }
    }
}

/// Sightings of one datagram over IPv4 at one capture point, within one file.
#[derive(Debug, Clone)]
pub(in crate::transaction) struct Near {
    /// The one that was recorded first, whatever its place in the list.
    pub(super) ts: Timestamp,
    pub(super) frame: u32,
    pub(super) file: u16,
    pub(super) server: End,
    pub(super) client: End,
    pub(super) point: PointId,
    pub(super) count: Count,
    pub(super) sights: [Sight; Count::Four as usize],
}

/// The address of one end, and what it was translated to, or the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(pub(super) [u32; 2]);

impl End {
    fn of(address: &IpAddr) -> Option<Self> {
        let IpAddr::V4(address) = address else { return None };
        Some(Self([address.to_bits(); 2]))
    }

    /// Takes down one more sighting: whether it shows the translated address; `None` if that is a third.
    #[inline]
    fn note(&mut self, address: &IpAddr) -> Option<bool> {
        let IpAddr::V4(address) = address else { return None };
        let (address, Self([first, other])) = (address.to_bits(), self);
        if address == *first {
            return Some(false);
        }
        if other == first {
            *other = address;
        }
        (address == *other).then_some(true)
    }

    #[inline]
    pub(super) fn address(self, translated: bool) -> u32 {
        let Self([first, other]) = self;
        if translated { other } else { first }
    }
}

/// A [`Hop`] in eleven bytes that need not be aligned.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sight {
    /// Nanoseconds after the one that was recorded first.
    since: [u8; 4],
    /// Frames after it.
    frames: [u8; 2],
    /// Linux numbers interfaces for as long as a node is up, one or two for every pod.
    interface: [u8; 3],
    ttl: u8,
    pub(super) what: What,
}

impl Sight {
    #[inline]
    fn interface(&self) -> Option<u32> {
        let [a, b, c] = self.interface;
        self.what.has(What::INTERFACE).then_some(u32::from_le_bytes([a, b, c, 0]))
    }
}

/// From the top: the packet type from 1 on or 0 (3 bits), whether there is an interface, whether the server's
/// and whether the client's address was translated (1 bit each).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct What(u8);

impl What {
    const INTERFACE: u8 = 1 << 4;
    pub(super) const SERVER: u8 = 1 << 3;
    pub(super) const CLIENT: u8 = 1 << 2;

    #[inline]
    fn new(hop: &Hop, server: bool, client: bool) -> Self {
        let direction = hop.via.direction.map_or(0, |direction| 1 + direction as u8);
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        let interface = flag(hop.via.interface.is_some(), Self::INTERFACE);
        let ends = flag(server, Self::SERVER) | flag(client, Self::CLIENT);
        Self(direction << 5 | interface | ends)
    }

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// From 1 on; 0 for none.
    #[inline]
    fn packet_type(self) -> u8 {
        self.0 >> 5
    }

    #[inline]
    fn direction(self) -> Option<Direction> {
        let number = usize::from(self.packet_type()).checked_sub(1)?;
        Direction::ALL.get(number).copied()
    }
}

impl Near {
    /// One sighting, if it is a usual one.
    pub(super) fn of(hop: &Hop) -> Option<Self> {
        let mut near = Self {
            ts: hop.seen.ts,
            frame: hop.seen.at.number(),
            file: u16::try_from(hop.seen.at.file().0).ok()?,
            server: End::of(&hop.server)?,
            client: End::of(&hop.client)?,
            point: hop.via.point,
            count: Count::One,
            sights: [Sight::default(); Count::Four as usize],
        };
        let sight = near.sight(hop)?;
        near.put(0, sight);
        Some(near)
    }

    /// Whether the last one is at the same point, and not behind this one; see [`Hop::is_before`].
    #[inline]
    pub(super) fn goes_on(&self, hop: &Hop) -> bool {
        let last = self.hop(self.len() - 1);
        last.is_some_and(|last| self.point == hop.via.point && !hop.is_before(&last))
    }

    /// Puts a sighting at the end of the list, if it was recorded behind the first, is a usual one, and
    /// there is room.
    #[inline]
    pub(super) fn push(&mut self, hop: &Hop) -> bool {
        if hop.seen.ts <= self.ts {
            return false;
        }
        let (Some(count), Some(sight)) = (self.count.next(), self.sight(hop)) else { return false };
        let Some(place) = self.sights.get_mut(self.count as usize) else { return false };
        *place = sight;
        self.count = count;
        true
    }

    /// Puts a sighting at a place in the list, if it is a usual one and there is room.
    pub(super) fn insert(&mut self, at: usize, hop: &Hop) -> bool {
        if hop.seen < self.earliest() {
            return self.told_from(hop, at).map(|near| *self = near).is_some();
        }
        let (Some(count), Some(sight)) = (self.count.next(), self.sight(hop)) else { return false };
        self.count = count;
        self.put(at, sight);
        true
    }

    /// The same with one at a place in the list that was recorded before all of them.
    fn told_from(&self, first: &Hop, at: usize) -> Option<Self> {
        let mut near = Self::of(first)?;
        for (place, hop) in (0..self.len()).filter_map(|at| self.hop(at)).enumerate() {
            let place = if place < at { place } else { place + 1 };
            near.insert(place, &hop).then_some(())?;
        }
        Some(near)
    }

    #[inline]
    fn put(&mut self, at: usize, sight: Sight) {
        let mut next = sight;
        for place in self.sights.iter_mut().take(self.count as usize).skip(at) {
            next = std::mem::replace(place, next);
        }
    }

    #[inline]
    fn sight(&mut self, hop: &Hop) -> Option<Sight> {
        let Hop { seen, via, server, client } = hop;
        if seen.at.file().0 != u32::from(self.file) || via.point != self.point {
            return None;
        }
        let [a, b, c, 0] = via.interface.unwrap_or(0).to_le_bytes() else { return None };
        let since = seen.ts.nanos().checked_sub(self.ts.nanos())?;
        let frames = i64::from(seen.at.number()) - i64::from(self.frame);
        Some(Sight {
            since: u32::try_from(since).ok()?.to_le_bytes(),
            frames: i16::try_from(frames).ok()?.to_le_bytes(),
            interface: [a, b, c],
            ttl: via.ttl,
            what: What::new(hop, self.server.note(server)?, self.client.note(client)?),
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// The capture point.
    #[inline]
    pub(super) fn point(&self) -> PointId {
        self.point
    }

    /// The one that was recorded first.
    #[inline]
    pub(super) fn earliest(&self) -> Seen {
        let at = FrameRef::new(FileId(self.file.into()), self.frame);
        Seen { ts: self.ts, at }
    }

    /// See [`Hops::ends`](super::Hops::ends).
    pub(super) fn ends(&self) -> (u8, u8) {
        let told =
            |sight: &Sight| (u32::from_le_bytes(sight.since), i16::from_le_bytes(sight.frames));
        let mut sights = (0..).zip(self.sights.iter().take(self.len()).map(told));
        let Some(first) = sights.next() else { return (0, 0) };
        let (mut first, mut last) = (first, first);
        for (at, sight) in sights {
            if sight < first.1 {
                first = (at, sight);
            }
            if sight > last.1 {
                last = (at, sight);
            }
        }
        (first.0, last.0)
    }

    /// The server's address as it was written in the first one.
    #[inline]
    pub(super) fn first_server(&self) -> Option<IpAddr> {
        let server = self.server.address(self.get(0)?.what.has(What::SERVER));
        Some(IpAddr::V4(Ipv4Addr::from_bits(server)))
    }

    /// See [`Hops::last_server_but`](super::Hops::last_server_but).
    #[inline]
    pub(super) fn last_server_but(&self, asked: IpAddr) -> Option<IpAddr> {
        let sights = self.sights.iter().take(self.count as usize).rev();
        let server = |sight: &Sight| {
            IpAddr::V4(Ipv4Addr::from_bits(self.server.address(sight.what.has(What::SERVER))))
        };
        sights.map(server).find(|server| *server != asked)
    }

    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    fn get(&self, at: usize) -> Option<&Sight> {
        self.sights.get(at).filter(|_| at < self.len())
    }

    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub(super) fn seen(&self, at: usize) -> Option<Seen> {
        self.get(at).map(|sight| self.frame(sight))
    }

    #[inline]
    pub(super) fn ts(&self, at: usize) -> Option<Timestamp> {
        let since = |sight: &Sight| i64::from(u32::from_le_bytes(sight.since));
        self.get(at).map(|sight| Timestamp::from_nanos(self.ts.nanos() + since(sight)))
    }

    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    fn frame(&self, sight: &Sight) -> Seen {
        let since = i64::from(u32::from_le_bytes(sight.since));
        let frames = i32::from(i16::from_le_bytes(sight.frames));
        let number = self.frame.wrapping_add_signed(frames);
        let at = FrameRef::new(FileId(self.file.into()), number);
        Seen { ts: Timestamp::from_nanos(self.ts.nanos() + since), at }
    }

    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub(super) fn hop(&self, at: usize) -> Option<Hop> {
        let sight = self.get(at)?;
        let address =
            |end: End, flag| IpAddr::V4(Ipv4Addr::from_bits(end.address(sight.what.has(flag))));
        Some(Hop {
            seen: self.frame(sight),
            via: Spot {
                point: self.point,
                interface: sight.interface(),
                direction: sight.what.direction(),
                ttl: sight.ttl,
            },
            server: address(self.server, What::SERVER),
            client: address(self.client, What::CLIENT),
        })
    }

    /// Whether one shows this address of the server, on this interface.
    pub(super) fn shows(&self, server: IpAddr, interface: Option<u32>) -> bool {
        let IpAddr::V4(server) = server else { return false };
        let server = server.to_bits();
        let is_there = |sight: &Sight| {
            self.server.address(sight.what.has(What::SERVER)) == server
                && sight.interface() == interface
        };
        self.sights.iter().take(self.count as usize).any(is_there)
    }

    /// How many of the sightings are not of a datagram for another host.
    pub(super) fn arrivals(&self) -> usize {
        let other = 1 + Direction::OtherHost as u8;
        let sights = self.sights.iter().take(self.count as usize);
        sights.filter(|sight| sight.what.packet_type() != other).count()
    }

    /// The places where it was seen, one after the other; see [`Place`].
    #[inline]
    pub(super) fn places(&self, asked: IpAddr) -> impl Iterator<Item = Place> {
        let asked = match asked {
            IpAddr::V4(asked) => Some(asked.to_bits()),
            IpAddr::V6(_) => None,
        };
        let sights = self.sights.iter().take(self.count as usize);
        sights.map(move |sight| {
            let interface = sight.interface();
            let server = Some(self.server.address(sight.what.has(What::SERVER)));
            let direction = sight.what.packet_type();
            Place::new(interface, direction, sight.ttl, server != asked)
        })
    }
}
