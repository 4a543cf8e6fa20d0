//! The usual sightings of a query and of its answer, told from one another.

use std::net::Ipv4Addr;

use super::near::{Count, End, Near, Sight, What};
use crate::base::Timestamp;
use crate::capture::PointId;

/// A query and its answer at one capture point, within one file, near each other and between the same
/// addresses: in four fifths of the room that the two take by themselves.
#[derive(Debug, Clone)]
pub(in crate::transaction) struct Pair {
    /// The query's first sighting.
    ts: Timestamp,
    frame: u32,
    /// Nanoseconds from there to the answer's.
    since: u32,
    /// Frames from there to the answer's.
    frames: u16,
    file: u16,
    point: PointId,
    client: End,
    /// Both addresses, where the server's was translated.
    server: End,
    shapes: [Shape; 2],
    sights: [[Sight; Count::Four as usize]; 2],
}

/// How many sightings a datagram of a [`Pair`] has (from the top: two bits), and the places of its server's
/// first and other address among the two of the pair (one bit each): an answer is seen behind the translation
/// first.
#[derive(Debug, Clone, Copy)]
struct Shape(u8);

impl Shape {
    const COUNTS: [Count; 4] = [Count::One, Count::Two, Count::Three, Count::Four];

    fn of(near: &Near, End(addresses): End) -> Option<Self> {
        let End([first, other]) = near.server;
        let place = |address| addresses.iter().position(|known| *known == address);
        let count = near.count as usize - 1;
        u8::try_from(count << 2 | place(first)? << 1 | place(other)?).ok().map(Self)
    }

    fn count(self) -> Count {
        Self::COUNTS.get(usize::from(self.0 >> 2)).copied().unwrap_or(Count::One)
    }

    fn server(self, both: End) -> End {
        End([both.address(self.0 & 2 != 0), both.address(self.0 & 1 != 0)])
    }
}

impl Pair {
    /// The two as a pair, if they are one.
    pub(in crate::transaction) fn of(query: &Near, answer: &Near) -> Option<Self> {
        let alike = (query.point, query.file, query.client);
        if alike != (answer.point, answer.file, answer.client) {
            return None;
        }
        let (End([first, other]), End([x, y])) = (query.server, answer.server);
        let other = [other, x, y].into_iter().find(|address| *address != first);
        let server = End([first, other.unwrap_or(first)]);
        Some(Self {
            ts: query.ts,
            frame: query.frame,
            since: u32::try_from(answer.ts.nanos().checked_sub(query.ts.nanos())?).ok()?,
            frames: u16::try_from(answer.frame.checked_sub(query.frame)?).ok()?,
            file: query.file,
            point: query.point,
            client: query.client,
            server,
            shapes: [Shape::of(query, server)?, Shape::of(answer, server)?],
            sights: [query.sights, answer.sights],
        })
    }

    /// The addresses of the client and of the server in the query's first place.
    pub(in crate::transaction) fn ends(&self) -> (Ipv4Addr, Ipv4Addr) {
        let [[Sight { what, .. }, ..], _] = self.sights;
        let [query, _] = self.shapes;
        let client = self.client.address(what.has(What::CLIENT));
        let server = query.server(self.server).address(what.has(What::SERVER));
        (Ipv4Addr::from_bits(client), Ipv4Addr::from_bits(server))
    }

    /// The two as they were.
    pub(in crate::transaction) fn both(&self) -> [Near; 2] {
        let near = |since: u32, frames: u16, shape: Shape, sights| Near {
            ts: Timestamp::from_nanos(self.ts.nanos() + i64::from(since)),
            frame: self.frame + u32::from(frames),
            file: self.file,
            server: shape.server(self.server),
            client: self.client,
            point: self.point,
            count: shape.count(),
            sights,
        };
        let ([query, answer], [asked, answered]) = (self.shapes, self.sights);
        [near(0, 0, query, asked), near(self.since, self.frames, answer, answered)]
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::capture::{FileId, FrameRef, Seen};
    use crate::transaction::hops::{Hop, Spot};

    /// Sightings of a datagram between a client and these servers, from a frame on.
    fn near(frame: u32, servers: &[u8]) -> Near {
        let hop = |(at, server): (u32, &u8)| Hop {
            seen: Seen {
                ts: Timestamp::from_nanos(1_780_000_000_000_000_000 + i64::from(at) * 1_000),
                at: FrameRef::new(FileId(7), at),
            },
            via: Spot { point: PointId(3), interface: Some(at), direction: None, ttl: 64 },
            server: IpAddr::from([10, 96, 0, *server]),
            client: IpAddr::from([10, 244, 0, 9]),
        };
        let mut hops = (frame..).zip(servers).map(hop);
        let mut near = Near::of(&hops.next().unwrap()).unwrap();
        assert!(hops.all(|hop| near.push(&hop)));
        near
    }

    #[test]
    fn a_pair_comes_apart_as_it_was() {
        let ways: [&[u8]; 6] = [&[1], &[2], &[1, 2], &[2, 1], &[2, 2, 1], &[1, 1, 2, 2]];
        for servers in ways {
            for from in ways {
                let (query, answer) = (near(4, servers), near(90, from));
                let pair = Pair::of(&query, &answer).expect("two addresses");
                assert_eq!(format!("{:?}", pair.both()), format!("{:?}", [query, answer]));
                let ends = (Ipv4Addr::new(10, 244, 0, 9), Ipv4Addr::new(10, 96, 0, servers[0]));
                assert_eq!(pair.ends(), ends);
            }
        }
    }

    #[test]
    fn what_does_not_belong_together_is_no_pair() {
        let query = near(100, &[1, 2]);
        assert!(Pair::of(&query, &near(4, &[2, 1])).is_none());
        assert!(Pair::of(&query, &near(104, &[3, 1])).is_none());
        let changes: [fn(&mut Near); 5] = [
            |near| near.file += 1,
            |near| near.frame += 1 << 16,
            |near| near.point = PointId(4),
            |near| near.client = End([7, 7]),
            |near| near.ts = near.ts.after(std::time::Duration::from_secs(5)),
        ];
        for change in changes {
            let mut answer = near(104, &[2, 1]);
            change(&mut answer);
            assert!(Pair::of(&query, &answer).is_none(), "{answer:?}");
        }
    }
}
