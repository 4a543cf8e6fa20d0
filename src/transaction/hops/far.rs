//! Sightings of a datagram that are many, or far from each other, or over IPv6: each written out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Hop, Spot};
use crate::base::Timestamp;
use crate::capture::{FileId, FrameRef, PointId, Seen};
use crate::packet::Direction;

/// Room for sightings that is made at once: for most of those of two capture points.
const ROOM: usize = 6;

/// Sightings of one datagram, wherever they were.
#[derive(Debug, Clone)]
pub(super) struct Far {
    sights: Vec<Sight>,
    /// Its IPv6 addresses, each once; sightings name them by their place here.
    wide: Vec<Ipv6Addr>,
    /// The one that was recorded first, whatever its place in the list.
    earliest: Seen,
}

/// A [`Hop`] in 36 bytes.
#[derive(Debug, Clone, Copy)]
struct Sight {
    /// Nanoseconds, the upper half first: as one number they would have to be aligned.
    ts: [u32; 2],
    file: FileId,
    frame: u32,
    interface: u32,
    /// An IPv4 address, or the place of an IPv6 address.
    server: u32,
    client: u32,
    point: PointId,
    ttl: u8,
    direction: Option<Direction>,
    has: Has,
}

/// Whether there is an interface, and which addresses are IPv6.
#[derive(Debug, Clone, Copy)]
struct Has(u8);

impl Has {
    const INTERFACE: u8 = 1;
    const WIDE_SERVER: u8 = 2;
    const WIDE_CLIENT: u8 = 4;

    fn of(hop: &Hop) -> Self {
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        Self(
            flag(hop.via.interface.is_some(), Self::INTERFACE)
                | flag(hop.server.is_ipv6(), Self::WIDE_SERVER)
                | flag(hop.client.is_ipv6(), Self::WIDE_CLIENT),
        )
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

impl Far {
    /// These sightings; `None` if there is none.
    pub(super) fn of(hops: &[Hop]) -> Option<Self> {
        let sights = Vec::with_capacity(hops.len().max(ROOM));
        let mut far = Self { sights, wide: Vec::new(), earliest: hops.first()?.seen };
        for (at, hop) in hops.iter().enumerate() {
            far.insert(at, hop);
        }
        Some(far)
    }

    /// Puts a sighting at a place in the list.
    pub(super) fn insert(&mut self, at: usize, hop: &Hop) {
        let Hop { seen, via, server, client } = hop;
        self.earliest = self.earliest.min(*seen);
        let [t0, t1, t2, t3, t4, t5, t6, t7] = seen.ts.nanos().to_be_bytes();
        let sight = Sight {
            ts: [u32::from_be_bytes([t0, t1, t2, t3]), u32::from_be_bytes([t4, t5, t6, t7])],
            file: seen.at.file(),
            frame: seen.at.number(),
            interface: via.interface.unwrap_or_default(),
            server: self.number(server),
            client: self.number(client),
            point: via.point,
            ttl: via.ttl,
            direction: via.direction,
            has: Has::of(hop),
        };
        self.sights.insert(at.min(self.sights.len()), sight);
    }

    /// The number that stands for an address.
    fn number(&mut self, address: &IpAddr) -> u32 {
        let address = match address {
            IpAddr::V4(address) => return address.to_bits(),
            IpAddr::V6(address) => address,
        };
        let at = self.wide.iter().position(|known| known == address).unwrap_or_else(|| {
            self.wide.push(*address);
            self.wide.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.sights.capacity() * size_of::<Sight>()
            + self.wide.capacity() * size_of::<Ipv6Addr>()
    }

    pub(super) fn len(&self) -> usize {
        self.sights.len()
    }

    /// The capture point, if one alone saw it.
    pub(super) fn point(&self) -> Option<PointId> {
        let point = self.sights.first()?.point;
        self.sights.iter().all(|sight| sight.point == point).then_some(point)
    }

    /// Whether this capture point saw it.
    pub(super) fn is_seen_at(&self, point: PointId) -> bool {
        self.sights.iter().any(|sight| sight.point == point)
    }

    /// The one that was recorded first.
    #[inline(never)]
    pub(super) fn earliest(&self) -> Seen {
        self.earliest
    }

    #[inline(never)]
    pub(super) fn seen(&self, at: usize) -> Option<Seen> {
        self.sights.get(at).map(Sight::seen)
    }

    #[inline(never)]
    pub(super) fn hop(&self, at: usize) -> Option<Hop> {
        let sight = self.sights.get(at)?;
        Some(Hop {
            seen: sight.seen(),
            via: Spot {
                point: sight.point,
                interface: sight.has.has(Has::INTERFACE).then_some(sight.interface),
                direction: sight.direction,
                ttl: sight.ttl,
            },
            server: self.address(sight.has.has(Has::WIDE_SERVER), sight.server),
            client: self.address(sight.has.has(Has::WIDE_CLIENT), sight.client),
        })
    }

    fn address(&self, wide: bool, number: u32) -> IpAddr {
        if !wide {
            return IpAddr::V4(Ipv4Addr::from_bits(number));
        }
        let known = self.wide.get(number as usize).copied();
        IpAddr::V6(known.unwrap_or(Ipv6Addr::UNSPECIFIED))
    }
}

impl Sight {
    fn seen(&self) -> Seen {
        let [upper, lower] = self.ts;
        let nanos = u64::from(upper) << 32 | u64::from(lower);
        Seen {
            ts: Timestamp::from_nanos(nanos.cast_signed()),
            at: FrameRef::new(self.file, self.frame),
        }
    }
}
