//! Answered transactions at rest.
//!
//! A transaction stays open for [`T_KEEP`](super::timing::T_KEEP) behind its last message, and
//! nearly all of that time nothing happens to it. Meanwhile the places where its datagrams were
//! seen, most of what it is made of, are kept in few bytes each.

use std::net::{IpAddr, SocketAddr};

use smallvec::{SmallVec, smallvec};

use super::model::{Attempt, Hop, QueryTraits, Response, Transaction};
use crate::base::{Timestamp, Transport};
use crate::capture::{FileId, FrameRef, PointId, Seen};
use crate::dns::{AnswerKind, Edns, Header, Question, Rcode, Records};
use crate::packet::{Direction, Via};

/// A transaction of one attempt and one response, and nothing else.
#[derive(Debug, Clone)]
pub(super) struct Resting {
    client: SocketAddr,
    server: SocketAddr,
    transport: Transport,
    id: u16,
    question: Question,
    traits: QueryTraits,
    attempt_digest: u64,
    attempt_ip_id: Option<u16>,
    response_digest: u64,
    response_ip_id: Option<u16>,
    header: Header,
    rcode: Rcode,
    kind: AnswerKind,
    records: Records,
    edns: Option<Edns>,
    wire_len: usize,
    case_kept: bool,
    /// The addresses that hops name beside those of client and server.
    others: [IpAddr; OTHERS],
    /// What the times of hops are told from.
    start: Timestamp,
    /// How many hops are the attempt's; the others are the response's.
    sent: usize,
    hops: Box<[Brief]>,
}

/// How many more addresses a transaction at rest may have: the backend, and a masquerading node.
const OTHERS: usize = 2;

impl Resting {
    /// A transaction laid to rest; `None` if there is more to it.
    pub(super) fn of(transaction: &Transaction) -> Option<Self> {
        let ([attempt], [response]) =
            (transaction.attempts.as_slice(), transaction.responses.as_slice())
        else {
            return None;
        };
        let more = response.lost.is_some()
            || !transaction.rejections.is_empty()
            || transaction.masquerade.is_some();
        if more {
            return None;
        }
        let all = || attempt.hops.iter().chain(&response.hops);
        let start = all().map(|hop| hop.seen.ts).min()?;
        let mut ends = Ends::new(transaction.client.ip(), transaction.server.ip());
        let hops: Option<SmallVec<[Brief; 8]>> =
            all().map(|hop| Brief::of(hop, start, &mut ends)).collect();
        // All that is left out is worked out when the transaction is closed.
        Some(Self {
            client: transaction.client,
            server: transaction.server,
            transport: transaction.transport,
            id: transaction.id,
            question: transaction.question.clone(),
            traits: transaction.traits,
            attempt_digest: attempt.digest,
            attempt_ip_id: attempt.ip_id,
            response_digest: response.digest,
            response_ip_id: response.ip_id,
            header: response.header,
            rcode: response.rcode,
            kind: response.kind,
            records: response.records.clone(),
            edns: response.edns,
            wire_len: response.wire_len,
            case_kept: response.case_kept,
            others: ends.others(),
            start,
            sent: attempt.hops.len(),
            hops: Box::from(hops?.as_slice()),
        })
    }

    /// The transaction as it was.
    pub(super) fn wake(self) -> Transaction {
        let ends = Ends::with(self.client.ip(), self.server.ip(), self.others);
        let (sent, came) = self.hops.split_at_checked(self.sent).unwrap_or_default();
        let hops = |brief: &[Brief]| brief.iter().map(|hop| hop.long(self.start, &ends)).collect();
        let attempt = Attempt {
            hops: hops(sent),
            digest: self.attempt_digest,
            ip_id: self.attempt_ip_id,
            vanish: None,
        };
        let response = Response {
            hops: hops(came),
            digest: self.response_digest,
            ip_id: self.response_ip_id,
            header: self.header,
            rcode: self.rcode,
            kind: self.kind,
            records: self.records,
            edns: self.edns,
            wire_len: self.wire_len,
            case_kept: self.case_kept,
            home: None,
            lost: None,
            stopped: false,
            settled: None,
        };
        Transaction {
            client: self.client,
            server: self.server,
            transport: self.transport,
            id: self.id,
            question: self.question,
            traits: self.traits,
            attempts: smallvec![attempt],
            responses: smallvec![response],
            rejections: SmallVec::new(),
            translated: None,
            masquerade: None,
            watched_until: Timestamp::MIN,
            blind: false,
            settled: None,
        }
    }
}

/// The addresses that hops may name: the client's, the server's, and some more.
struct Ends {
    known: [IpAddr; 2 + OTHERS],
    count: usize,
}

impl Ends {
    fn new(client: IpAddr, server: IpAddr) -> Self {
        Self { count: 2, ..Self::with(client, server, [client; OTHERS]) }
    }

    fn with(client: IpAddr, server: IpAddr, [third, fourth]: [IpAddr; OTHERS]) -> Self {
        Self { known: [client, server, third, fourth], count: 2 + OTHERS }
    }

    fn others(&self) -> [IpAddr; OTHERS] {
        let [_, _, others @ ..] = self.known;
        others
    }

    /// The number of an address; `None` if there are too many.
    fn number(&mut self, address: IpAddr) -> Option<u8> {
        let known = self.known.iter().take(self.count).position(|known| *known == address);
        let at = if let Some(at) = known {
            at
        } else {
            *self.known.get_mut(self.count)? = address;
            self.count += 1;
            self.count - 1
        };
        u8::try_from(at).ok()
    }

    fn address(&self, number: u8) -> IpAddr {
        let [client, ..] = self.known;
        self.known.get(usize::from(number)).copied().unwrap_or(client)
    }
}

/// A [`Hop`] in 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Brief {
    /// Nanoseconds after the start.
    after: u32,
    file: FileId,
    frame: u32,
    interface: u32,
    point: PointId,
    ip_id: u16,
    link_src: [u8; 6],
    ttl: u8,
    tunnels: u8,
    server: u8,
    client: u8,
    direction: Option<Direction>,
    /// Which of those that may be missing are there.
    has: Has,
}

#[derive(Debug, Clone, Copy)]
struct Has(u8);

impl Has {
    const INTERFACE: u8 = 1;
    const IP_ID: u8 = 2;
    const LINK_SRC: u8 = 4;

    fn of(via: &Via) -> Self {
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        Self(
            flag(via.interface.is_some(), Self::INTERFACE)
                | flag(via.ip_id.is_some(), Self::IP_ID)
                | flag(via.link_src.is_some(), Self::LINK_SRC),
        )
    }

    fn then<T>(self, flag: u8, value: T) -> Option<T> {
        (self.0 & flag != 0).then_some(value)
    }
}

impl Brief {
    /// A hop not long after `start`; `None` if it does not fit.
    fn of(hop: &Hop, start: Timestamp, ends: &mut Ends) -> Option<Self> {
        let Hop { seen, via, server, client } = hop;
        Some(Self {
            after: u32::try_from(seen.ts.nanos().checked_sub(start.nanos())?).ok()?,
            file: seen.at.file,
            frame: seen.at.number,
            interface: via.interface.unwrap_or_default(),
            point: via.point,
            ip_id: via.ip_id.unwrap_or_default(),
            link_src: via.link_src.unwrap_or_default(),
            ttl: via.ttl,
            tunnels: via.tunnels,
            server: ends.number(*server)?,
            client: ends.number(*client)?,
            direction: via.direction,
            has: Has::of(via),
        })
    }

    fn long(&self, start: Timestamp, ends: &Ends) -> Hop {
        let ts = Timestamp::from_nanos(start.nanos().saturating_add(i64::from(self.after)));
        Hop {
            seen: Seen { ts, at: FrameRef { file: self.file, number: self.frame } },
            via: Via {
                point: self.point,
                interface: self.has.then(Has::INTERFACE, self.interface),
                direction: self.direction,
                ttl: self.ttl,
                ip_id: self.has.then(Has::IP_ID, self.ip_id),
                link_src: self.has.then(Has::LINK_SRC, self.link_src),
                tunnels: self.tunnels,
            },
            server: ends.address(self.server),
            client: ends.address(self.client),
        }
    }
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
            Just(IpAddr::from([10, 96, 0, 10])),
        ]
    }

    fn hop() -> impl Strategy<Value = Hop> {
        let via = (
            0_u16..4,
            any::<Option<u32>>(),
            proptest::option::of(proptest::sample::select(Direction::ALL.to_vec())),
            any::<u8>(),
            any::<Option<u16>>(),
            any::<Option<[u8; 6]>>(),
            0_u8..3,
        );
        let seen = (0_i64..6_000_000_000, 0_u32..3, any::<u32>());
        (seen, via, address(), address()).prop_map(|((ts, file, number), via, server, client)| {
            let (point, interface, direction, ttl, ip_id, link_src, tunnels) = via;
            let at = FrameRef { file: FileId(file), number };
            let point = PointId(point);
            Hop {
                seen: Seen { ts: Timestamp::from_nanos(ts), at },
                via: Via { point, interface, direction, ttl, ip_id, link_src, tunnels },
                server,
                client,
            }
        })
    }

    proptest! {
        #[test]
        fn hops_come_back_as_they_were(hops in proptest::collection::vec(hop(), 1..9)) {
            let start = hops.iter().map(|hop| hop.seen.ts).min().unwrap();
            let mut ends = Ends::new(IpAddr::from([10, 244, 1, 7]), IpAddr::from([10, 96, 0, 10]));
            for hop in &hops {
                let fits = hop.seen.ts.since(start).as_nanos() <= u128::from(u32::MAX);
                if let Some(brief) = Brief::of(hop, start, &mut ends) {
                    prop_assert!(fits);
                    prop_assert_eq!(brief.long(start, &ends), *hop);
                } else {
                    prop_assert!(!fits || ends.count == ends.known.len());
                }
            }
        }
    }

    #[test]
    fn a_resting_transaction_is_small() {
        assert_eq!(size_of::<Brief>(), 32);
        assert!(
            size_of::<Resting>() * 5 <= size_of::<Transaction>() * 2,
            "{}",
            size_of::<Resting>()
        );
    }
}
