//! What was answered and waits for its turn, in little room.
//!
//! Transactions leave in the order of their first frames, and a slow one holds back all behind it: of a
//! hundred thousand that are open nearly all were asked once, answered once, and only wait. Of those
//! half the room does. Whoever wants to know more of one, or to change it, gets it back as it was.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::hops::Near;
use super::model::{Attempt, QueryTraits, Response, Transaction};
use crate::base::{Timestamp, Transport};
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
        Transaction {
            client: self.client.into(),
            server: self.server.into(),
            transport: Transport::Udp,
            id: self.header.id,
            question: Question { name: self.name, rtype: self.rtype, class: Question::IN },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_little_room() {
        assert!(size_of::<Folded>() <= 256, "{}", size_of::<Folded>());
    }
}
