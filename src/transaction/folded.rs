//! What was answered and waits for its turn, in little room.
//!
//! Transactions leave in the order of their first frames, and a slow one holds back all behind it: of a
//! hundred thousand that are open nearly all were asked once, answered once, and only wait. Of those
//! half the room does. Whoever wants to know more of one, or to change it, gets it back as it was.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use smallvec::smallvec;

use super::hops::Near;
use super::model::{Attempt, QueryTraits, Response, Transaction};
use crate::base::Transport;
use crate::dns::{AnswerKind, Edns, Header, Name, Question, Rcode, RecordType, Records};

/// A transaction over UDP and IPv4 with one attempt and one response, and nothing else to be said of it yet.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    name: Name,
    records: Arc<Records>,
    asked: Near,
    answered: Near,
    client: SocketAddrV4,
    server: SocketAddrV4,
    rtype: RecordType,
    traits: QueryTraits,
    digests: [u32; 2],
    ip_ids: [u16; 2],
    header: Header,
    kind: AnswerKind,
    edns: Option<Edns>,
    length: u16,
    case_kept: bool,
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
                // Told by the header and EDNS.
                rcode: _,
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
        if !rejections.is_empty() || header.id != *id {
            return None;
        }
        Some(Box::new(Self {
            name: name.clone(),
            rtype: *rtype,
            records: Arc::clone(records),
            asked: asked.near()?.clone(),
            answered: answered.near()?.clone(),
            client: *client,
            server: *server,
            traits: *traits,
            digests: [*query, *reply],
            ip_ids: [*query_id, *reply_id],
            header: *header,
            kind: *kind,
            edns: *edns,
            length: *length,
            case_kept: *case_kept,
        }))
    }

    /// The socket that asked.
    pub(super) fn client(&self) -> SocketAddr {
        self.client.into()
    }

    /// Transaction id.
    pub(super) fn id(&self) -> u16 {
        self.header.id
    }

    /// The transaction as it was.
    pub(super) fn unfold(self) -> Transaction {
        let [query, reply] = self.digests;
        let [query_id, reply_id] = self.ip_ids;
        let attempt =
            Attempt { hops: self.asked.into(), digest: query, ip_id: Some(query_id), vanish: None };
        let response = Response {
            hops: self.answered.into(),
            digest: reply,
            ip_id: Some(reply_id),
            header: self.header,
            rcode: Rcode::of(self.header, self.edns.as_ref()),
            kind: self.kind,
            records: self.records,
            edns: self.edns,
            length: self.length,
            case_kept: self.case_kept,
            home: None,
            lost: None,
            stopped: false,
            settled: None,
        };
        let ends = (self.client.into(), self.server.into());
        let question = Question { name: self.name, rtype: self.rtype, class: Question::IN };
        Transaction {
            traits: self.traits,
            attempts: smallvec![attempt],
            responses: smallvec![response],
            ..Transaction::new(ends, Transport::Udp, self.header.id, question)
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
        let edns = Edns { udp_size: 1_232, extended_rcode: 1, ..Edns::default() };
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

    #[test]
    fn what_is_not_ordinary_stays_as_it_is() {
        assert!(Folded::of(&transaction("fd00::7")).is_none());
        let changes: [fn(&mut Transaction); 5] = [
            |asked| asked.attempts.push(asked.attempts[0].clone()),
            |asked| asked.responses.clear(),
            |asked| asked.transport = Transport::Tcp,
            |asked| asked.question.class = 3,
            |asked| asked.masquerade = Some(Box::new(asked.client)),
        ];
        for change in changes {
            let mut asked = transaction("10.244.1.7");
            change(&mut asked);
            assert!(Folded::of(&asked).is_none(), "{asked:?}");
        }
    }

    #[test]
    fn it_takes_little_room() {
        assert!(size_of::<Folded>() <= 256, "{}", size_of::<Folded>());
    }
}
