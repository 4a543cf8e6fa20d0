//! The places where one datagram was seen.
//!
//! Tens of thousands of transactions are held at once, and the places where their datagrams were seen are
//! most of what they are made of: each is kept in 36 bytes, and told as a [`Hop`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use crate::base::Timestamp;
use crate::capture::{FileId, FrameRef, PointId, Seen};
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
    /// Innermost IPv4 identification; see [`Via::ip_id`].
    pub ip_id: Option<u16>,
}

impl From<Via> for Spot {
    #[inline]
    fn from(via: Via) -> Self {
        let Via { point, interface, direction, ttl, ip_id, .. } = via;
        Self { point, interface, direction, ttl, ip_id }
    }
}

impl Spot {
    /// Whether no router has lowered the TTL yet: a datagram leaves its host with one of these (Linux
    /// and macOS 64, Windows 128, network equipment 255).
    pub fn is_at_its_host(&self) -> bool {
        matches!(self.ttl, 64 | 128 | 255)
    }
}

/// The places where one datagram was seen, in the order of the capture.
#[derive(Debug, Clone, Default)]
pub struct Hops {
    /// As many as a node shows: a pod's interface, a bridge, before and behind the translation.
    sights: SmallVec<[Sight; INLINE]>,
    /// Its IPv6 addresses, each once; sightings name them by their place here.
    wide: Option<Box<Wide>>,
    /// Which sighting was the first one.
    earliest: u8,
}

/// Sightings that need no memory of their own.
const INLINE: usize = 4;
/// Sightings of one datagram that are kept: eight capture points with four each. Of more, the last
/// one.
const MOST: usize = 32;

impl Hops {
    /// A datagram that was seen once so far.
    pub(super) fn of(hop: Hop) -> Self {
        let mut hops = Self::default();
        hops.insert(0, hop);
        hops
    }

    /// Puts a sighting at a place in the list; returns by how many bytes that grew.
    pub(super) fn insert(&mut self, at: usize, hop: Hop) -> usize {
        let full = self.is_full();
        if full {
            let kept: SmallVec<[Hop; MOST]> = self.iter().take(MOST - 1).collect();
            // Only the addresses that are still named stay.
            self.wide = None;
            self.sights = kept.iter().map(|hop| Sight::of(hop, &mut self.wide)).collect();
        }
        let sight = Sight::of(&hop, &mut self.wide);
        self.sights.insert(at.min(self.sights.len()), sight);
        let sights = self.sights.iter().enumerate();
        let earliest = sights.min_by_key(|(_, sight)| sight.seen()).map_or(0, |(at, _)| at);
        self.earliest = u8::try_from(earliest).unwrap_or(0);
        if full || self.sights.len() <= INLINE { 0 } else { size_of::<Sight>() }
    }

    /// Whether another one takes the place of the last one.
    pub(super) fn is_full(&self) -> bool {
        self.sights.len() >= MOST
    }

    /// How many there are; at least one in all that the matcher makes.
    #[inline]
    pub fn len(&self) -> usize {
        self.sights.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sights.is_empty()
    }

    /// The first one in the order of the capture.
    #[inline]
    pub fn first(&self) -> Option<Hop> {
        self.get(0)
    }

    /// The last one in the order of the capture.
    pub fn last(&self) -> Option<Hop> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The one at this place of the list.
    #[inline]
    pub fn get(&self, at: usize) -> Option<Hop> {
        Some(self.sights.get(at)?.hop(self.wide.as_deref()))
    }

    /// The frame of the one at this place of the list.
    #[inline]
    pub(super) fn seen(&self, at: u8) -> Option<Seen> {
        self.sights.get(usize::from(at)).map(Sight::seen)
    }

    /// The place of a frame in the list.
    pub(super) fn place(&self, seen: Seen) -> Option<u8> {
        u8::try_from(self.sights.iter().position(|sight| sight.seen() == seen)?).ok()
    }

    /// All of them.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { sights: self.sights.iter(), wide: self.wide.as_deref() }
    }

    /// The places alone.
    #[inline]
    pub fn spots(&self) -> impl Iterator<Item = Spot> {
        self.sights.iter().map(Sight::spot)
    }

    /// The frame that was recorded first, whatever the order of the capture.
    #[inline]
    pub fn earliest(&self) -> Option<Seen> {
        self.seen(self.earliest)
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
    sights: std::slice::Iter<'a, Sight>,
    wide: Option<&'a Wide>,
}

impl Iterator for Iter<'_> {
    type Item = Hop;

    #[inline]
    fn next(&mut self) -> Option<Hop> {
        Some(self.sights.next()?.hop(self.wide))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.sights.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Hop> {
        Some(self.sights.next_back()?.hop(self.wide))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// IPv6 addresses that sightings name.
#[derive(Debug, Clone, Default)]
struct Wide(Vec<Ipv6Addr>);

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
    ip_id: u16,
    point: PointId,
    ttl: u8,
    direction: Option<Direction>,
    has: Has,
}

/// Which of those that may be missing are there, and which addresses are IPv6.
#[derive(Debug, Clone, Copy)]
struct Has(u8);

impl Has {
    const INTERFACE: u8 = 1;
    const IP_ID: u8 = 2;
    const WIDE_SERVER: u8 = 4;
    const WIDE_CLIENT: u8 = 8;

    fn of(hop: &Hop) -> Self {
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        Self(
            flag(hop.via.interface.is_some(), Self::INTERFACE)
                | flag(hop.via.ip_id.is_some(), Self::IP_ID)
                | flag(hop.server.is_ipv6(), Self::WIDE_SERVER)
                | flag(hop.client.is_ipv6(), Self::WIDE_CLIENT),
        )
    }

    #[inline]
    fn then<T>(self, flag: u8, value: T) -> Option<T> {
        (self.0 & flag != 0).then_some(value)
    }
}

impl Sight {
    fn of(hop: &Hop, wide: &mut Option<Box<Wide>>) -> Self {
        let Hop { seen, via, server, client } = hop;
        let [t0, t1, t2, t3, t4, t5, t6, t7] = seen.ts.nanos().to_be_bytes();
        Self {
            ts: [u32::from_be_bytes([t0, t1, t2, t3]), u32::from_be_bytes([t4, t5, t6, t7])],
            file: seen.at.file,
            frame: seen.at.number,
            interface: via.interface.unwrap_or_default(),
            server: number(*server, wide),
            client: number(*client, wide),
            ip_id: via.ip_id.unwrap_or_default(),
            point: via.point,
            ttl: via.ttl,
            direction: via.direction,
            has: Has::of(hop),
        }
    }

    #[inline]
    fn seen(&self) -> Seen {
        let [upper, lower] = self.ts;
        let nanos = u64::from(upper) << 32 | u64::from(lower);
        Seen {
            ts: Timestamp::from_nanos(nanos.cast_signed()),
            at: FrameRef { file: self.file, number: self.frame },
        }
    }

    #[inline]
    fn hop(&self, wide: Option<&Wide>) -> Hop {
        Hop {
            seen: self.seen(),
            via: self.spot(),
            server: self.address(Has::WIDE_SERVER, self.server, wide),
            client: self.address(Has::WIDE_CLIENT, self.client, wide),
        }
    }

    #[inline]
    fn spot(&self) -> Spot {
        Spot {
            point: self.point,
            interface: self.has.then(Has::INTERFACE, self.interface),
            direction: self.direction,
            ttl: self.ttl,
            ip_id: self.has.then(Has::IP_ID, self.ip_id),
        }
    }

    #[inline]
    fn address(&self, flag: u8, number: u32, wide: Option<&Wide>) -> IpAddr {
        if self.has.0 & flag == 0 {
            return IpAddr::V4(Ipv4Addr::from_bits(number));
        }
        let known = wide.and_then(|wide| wide.0.get(number as usize));
        IpAddr::V6(known.copied().unwrap_or(Ipv6Addr::UNSPECIFIED))
    }
}

/// The number that stands for an address.
fn number(address: IpAddr, wide: &mut Option<Box<Wide>>) -> u32 {
    let address = match address {
        IpAddr::V4(address) => return address.to_bits(),
        IpAddr::V6(address) => address,
    };
    let Wide(known) = wide.get_or_insert_default().as_mut();
    let at = known.iter().position(|other| *other == address).unwrap_or_else(|| {
        known.push(address);
        known.len() - 1
    });
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            Just(IpAddr::from([10, 244, 1, 7])),
            Just(IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])),
        ]
    }

    fn hop() -> impl Strategy<Value = Hop> {
        let via = (
            any::<u16>(),
            any::<Option<u32>>(),
            proptest::option::of(proptest::sample::select(Direction::ALL.to_vec())),
            any::<u8>(),
            any::<Option<u16>>(),
        );
        let seen = (any::<i64>(), any::<u32>(), any::<u32>());
        (seen, via, address(), address()).prop_map(|((ts, file, number), via, server, client)| {
            let (point, interface, direction, ttl, ip_id) = via;
            let at = FrameRef { file: FileId(file), number };
            let point = PointId(point);
            Hop {
                seen: Seen { ts: Timestamp::from_nanos(ts), at },
                via: Spot { point, interface, direction, ttl, ip_id },
                server,
                client,
            }
        })
    }

    proptest! {
        #[test]
        fn hops_come_back_as_they_were(
            given in proptest::collection::vec((hop(), any::<proptest::sample::Index>()), 1..40),
        ) {
            let (mut hops, mut plain) = (Hops::default(), Vec::new());
            for (hop, at) in given {
                if plain.len() >= MOST {
                    plain.pop();
                }
                let at = at.index(plain.len() + 1);
                plain.insert(at, hop);
                hops.insert(at, hop);
                prop_assert_eq!(hops.iter().collect::<Vec<_>>(), plain.clone());
                let back: Vec<_> = hops.iter().rev().collect();
                prop_assert!(back.iter().eq(plain.iter().rev()));
                prop_assert_eq!(hops.earliest(), plain.iter().map(|hop| hop.seen).min());
                prop_assert_eq!(hops.first().zip(hops.last()), plain.first().copied().zip(plain.last().copied()));
            }
        }
    }

    #[test]
    fn a_transaction_is_small() {
        // With the count of those who share it, it fills one of the allocator's blocks.
        let size = size_of::<crate::transaction::Transaction>();
        assert!(size <= 640 - 2 * size_of::<usize>(), "{size}");
        assert_eq!(size_of::<Sight>(), 36);
        assert!(size_of::<Hops>() <= 168, "{}", size_of::<Hops>());
    }
}
