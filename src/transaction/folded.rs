//! What was answered and waits for its turn, in little room.
//!
//! Transactions leave in the order of their first frames, and a slow one holds back all behind it: of a
//! hundred thousand that are open nearly all were asked once, answered once, and only wait. Of those
//! less than half the room does. Whoever wants to know more of one, or to change it, gets it back as it
//! was.

use std::array;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use smallvec::smallvec;

use super::hops::Pair;
use super::model::{Attempt, QueryTraits, Response, Transaction};
use crate::base::Transport;
use crate::dns::{AnswerKind, Edns, Header, Name, Question, Rcode, RecordType, Records};

/// A transaction over UDP and IPv4 with one attempt and one response, and nothing else to be said of it yet.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    name: Name,
    records: Arc<Records>,
    seen: Pair,
    /// The client's and the server's; their addresses are those where the query was seen first.
    ports: [u16; 2],
    rtype: RecordType,
    digests: [u32; 2],
    ip_ids: [u16; 2],
    id: u16,
    flags: u16,
    /// Of the header, in its order.
    counts: [u8; 4],
    worth: Worth,
    /// EDNS payload sizes of the query and of the answer, if they have one.
    udp_sizes: [u16; 2],
    extended_rcode: u8,
    version: u8,
    extended_error: u16,
    length: u16,
    said: Said,
}

/// An [`AnswerKind`] without the code that the answer has anyway.
#[derive(Debug, Clone, Copy)]
enum Worth {
    Positive,
    NxDomain,
    NoData,
    Truncated,
    Error,
    Unknown,
}

impl Worth {
    fn of(kind: AnswerKind, rcode: Rcode) -> Option<Self> {
        Some(match kind {
            AnswerKind::Positive => Self::Positive,
            AnswerKind::NxDomain => Self::NxDomain,
            AnswerKind::NoData => Self::NoData,
            AnswerKind::Truncated => Self::Truncated,
            AnswerKind::Error(code) if code == rcode => Self::Error,
            AnswerKind::Error(_) => return None,
            AnswerKind::Unknown => Self::Unknown,
        })
    }

    fn kind(self, rcode: Rcode) -> AnswerKind {
        match self {
            Self::Positive => AnswerKind::Positive,
            Self::NxDomain => AnswerKind::NxDomain,
            Self::NoData => AnswerKind::NoData,
            Self::Truncated => AnswerKind::Truncated,
            Self::Error => AnswerKind::Error(rcode),
            Self::Unknown => AnswerKind::Unknown,
        }
    }
}

/// A bit for each thing that is so or not.
#[derive(Debug, Clone, Copy)]
struct Said(u16);

impl Said {
    const COUNT: usize = 12;

    fn of(all: [bool; Self::COUNT]) -> Self {
        Self(all.into_iter().rev().fold(0, |bits, so| bits << 1 | u16::from(so)))
    }

    fn all(self) -> [bool; Self::COUNT] {
        array::from_fn(|at| self.0 >> at & 1 != 0)
    }
}

impl Folded {
    /// The transaction in little room, if it fits there.
    pub(super) fn of(transaction: &Transaction) -> Option<Box<Self>> {
        let Transaction {
            client: SocketAddr::V4(client),
            server: SocketAddr::V4(server),
            transport: Transport::Udp,
            id,
            question: Question { name, rtype, class: Question::IN },
            traits,
            attempts,
            responses,
            rejections,
            translated: None,
            masquerade: None,
            watched_until: _,
            blind: false,
            settled: None,
        } = transaction
        else {
            return None;
        };
        let [Attempt { hops: asked, digest: query, ip_id: Some(query_id), vanish: None }] =
            attempts.as_slice()
        else {
            return None;
        };
        let [
            Response {
                hops: answered,
                digest: reply,
                ip_id: Some(reply_id),
                header,
                rcode,
                kind,
                records,
                edns,
                length,
                case_kept,
                home: None,
                lost: None,
                stopped: false,
                settled: None,
            },
        ] = responses.as_slice()
        else {
            return None;
        };
        let seen = Pair::of(asked.near()?, answered.near()?)?;
        let told = header.id == *id && *rcode == Rcode::of(*header, edns.as_ref());
        if !rejections.is_empty() || !told || seen.ends() != (*client.ip(), *server.ip()) {
            return None;
        }
        let count = |count: u16| u8::try_from(count).ok();
        let opt = edns.unwrap_or_default();
        Some(Box::new(Self {
            name: name.clone(),
            records: Arc::clone(records),
            seen,
            ports: [client.port(), server.port()],
            rtype: *rtype,
            digests: [*query, *reply],
            ip_ids: [*query_id, *reply_id],
            id: header.id,
            flags: header.flags,
            counts: [
                count(header.questions)?,
                count(header.answers)?,
                count(header.authorities)?,
                count(header.additionals)?,
            ],
            worth: Worth::of(*kind, *rcode)?,
            udp_sizes: [traits.udp_size.unwrap_or_default(), opt.udp_size],
            extended_rcode: opt.extended_rcode,
            version: opt.version,
            extended_error: opt.extended_error.unwrap_or_default(),
            length: *length,
            said: Said::of([
                traits.udp_size.is_some(),
                traits.recursion_desired,
                traits.authentic_data,
                traits.checking_disabled,
                traits.dnssec_ok,
                traits.cookie,
                traits.other_opcode,
                edns.is_some(),
                opt.dnssec_ok,
                opt.extended_error.is_some(),
                opt.cookie,
                *case_kept,
            ]),
        }))
    }

    /// The socket that asked.
    pub(super) fn client(&self) -> SocketAddr {
        let ((client, _), [port, _]) = (self.seen.ends(), self.ports);
        SocketAddrV4::new(client, port).into()
    }

    /// Transaction id.
    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// The transaction as it was.
    pub(super) fn unfold(self) -> Transaction {
        let [asked, answered] = self.seen.both();
        let [query, reply] = self.digests;
        let [query_id, reply_id] = self.ip_ids;
        let [query_size, reply_size] = self.udp_sizes;
        let [questions, answers, authorities, additionals] = self.counts.map(u16::from);
        let [
            has_size,
            recursion_desired,
            authentic_data,
            checking_disabled,
            dnssec_ok,
            cookie,
            other_opcode,
            has_edns,
            reply_dnssec_ok,
            has_error,
            reply_cookie,
            case_kept,
        ] = self.said.all();
        let Self { id, flags, .. } = self;
        let header = Header { id, flags, questions, answers, authorities, additionals };
        let edns = has_edns.then_some(Edns {
            udp_size: reply_size,
            extended_rcode: self.extended_rcode,
            version: self.version,
            dnssec_ok: reply_dnssec_ok,
            extended_error: has_error.then_some(self.extended_error),
            cookie: reply_cookie,
        });
        let rcode = Rcode::of(header, edns.as_ref());
        let attempt =
            Attempt { hops: asked.into(), digest: query, ip_id: Some(query_id), vanish: None };
        let response = Response {
            hops: answered.into(),
            digest: reply,
            ip_id: Some(reply_id),
            header,
            rcode,
            kind: self.worth.kind(rcode),
            records: self.records,
            edns,
            length: self.length,
            case_kept,
            home: None,
            lost: None,
            stopped: false,
            settled: None,
        };
        let traits = QueryTraits {
            udp_size: has_size.then_some(query_size),
            recursion_desired,
            authentic_data,
            checking_disabled,
            dnssec_ok,
            cookie,
            other_opcode,
        };
        let (client, server) = self.seen.ends();
        let [client_port, server_port] = self.ports;
        let ends = (
            SocketAddrV4::new(client, client_port).into(),
            SocketAddrV4::new(server, server_port).into(),
        );
        let question = Question { name: self.name, rtype: self.rtype, class: Question::IN };
        Transaction {
            traits,
            attempts: smallvec![attempt],
            responses: smallvec![response],
            ..Transaction::new(ends, Transport::Udp, id, question)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::capture::{FileId, FrameRef, PointId, Seen};
    use crate::packet::Direction;
    use crate::transaction::hops::{Hop, Hops, Spot};

    fn hops(frame: u32, addresses: (&str, &str)) -> Hops {
        let (server, client) = (addresses.0.parse().unwrap(), addresses.1.parse().unwrap());
        let via = |ttl| Spot {
            point: PointId(1),
            interface: Some(7),
            direction: Some(Direction::Outgoing),
            ttl,
        };
        let seen = |at: u32| Seen {
            ts: Timestamp::from_nanos(1_780_000_000_000_000_000 + i64::from(at) * 1_000),
            at: FrameRef::new(FileId(3), at),
        };
        let mut hops = Hops::of(&Hop { seen: seen(frame), via: via(64), server, client });
        hops.push(&Hop { seen: seen(frame + 2), via: via(63), server, client });
        hops
    }

    fn transaction(client: &str) -> Transaction {
        let addresses = ("10.96.0.10", client);
        let header = Header { id: 0xabcd, flags: 0x8583, questions: 1, ..Header::default() };
        let edns = Edns {
            udp_size: 1_232,
            extended_rcode: 1,
            extended_error: Some(22),
            ..Edns::default()
        };
        let attempt =
            Attempt { hops: hops(5, addresses), digest: 0x1234_5678, ip_id: Some(9), vanish: None };
        let response = Response {
            hops: hops(9, addresses),
            digest: 0x8765_4321,
            ip_id: Some(10),
            header,
            rcode: Rcode::of(header, Some(&edns)),
            kind: AnswerKind::Error(Rcode(19)),
            records: Arc::default(),
            edns: Some(edns),
            length: 120,
            case_kept: false,
            home: None,
            lost: None,
            stopped: false,
            settled: None,
        };
        let ends =
            (SocketAddr::new(client.parse().unwrap(), 40_000), "10.96.0.10:53".parse().unwrap());
        let name = Name::parse("Web.example.com").unwrap();
        let question = Question { name, rtype: RecordType::AAAA, class: Question::IN };
        Transaction {
            traits: QueryTraits { udp_size: Some(1_232), cookie: true, ..QueryTraits::default() },
            attempts: smallvec![attempt],
            responses: smallvec![response],
            ..Transaction::new(ends, Transport::Udp, 0xabcd, question)
        }
    }

    #[test]
    fn it_unfolds_as_it_was() {
        let was = transaction("10.244.1.7");
        let folded = Folded::of(&was).expect("an ordinary one");
        assert_eq!((folded.client(), folded.id()), (was.client, was.id));
        assert_eq!(format!("{:?}", folded.unfold()), format!("{was:?}"));
    }

    /// Bits that changed places would come back as one another.
    #[test]
    fn each_flag_comes_back_by_itself() {
        let plain = || {
            let mut asked = transaction("10.244.1.7");
            asked.traits = QueryTraits::default();
            asked.responses[0].edns = Some(Edns::default());
            asked.responses[0].rcode = Rcode(3);
            asked.responses[0].kind = AnswerKind::NxDomain;
            asked
        };
        let flags: [fn(&mut Transaction); 11] = [
            |asked| asked.traits.udp_size = Some(0),
            |asked| asked.traits.recursion_desired = true,
            |asked| asked.traits.authentic_data = true,
            |asked| asked.traits.checking_disabled = true,
            |asked| asked.traits.dnssec_ok = true,
            |asked| asked.traits.cookie = true,
            |asked| asked.traits.other_opcode = true,
            |asked| asked.responses[0].edns = None,
            |asked| asked.responses[0].edns.as_mut().unwrap().dnssec_ok = true,
            |asked| asked.responses[0].edns.as_mut().unwrap().cookie = true,
            |asked| asked.responses[0].case_kept = true,
        ];
        for flag in flags {
            let mut was = plain();
            flag(&mut was);
            let folded = Folded::of(&was).expect("an ordinary one");
            assert_eq!(format!("{:?}", folded.unfold()), format!("{was:?}"));
        }
    }

    #[test]
    fn what_is_not_ordinary_stays_as_it_is() {
        assert!(Folded::of(&transaction("fd00::7")).is_none());
        let changes: [fn(&mut Transaction); 8] = [
            |asked| asked.attempts.push(asked.attempts[0].clone()),
            |asked| asked.responses.clear(),
            |asked| asked.transport = Transport::Tcp,
            |asked| asked.question.class = 3,
            |asked| asked.masquerade = Some(Box::new(asked.client)),
            |asked| asked.server = "10.96.0.11:53".parse().unwrap(),
            |asked| asked.responses[0].header.answers = 300,
            |asked| asked.responses[0].kind = AnswerKind::Error(Rcode::REFUSED),
        ];
        for change in changes {
            let mut asked = transaction("10.244.1.7");
            change(&mut asked);
            assert!(Folded::of(&asked).is_none(), "{asked:?}");
        }
    }

    #[test]
    fn it_takes_little_room() {
        assert!(size_of::<Folded>() <= 192, "{}", size_of::<Folded>());
    }
}
