//! The tolerant view of one DNS message (RFC 1035 section 4).
//!
//! Header and question are used even when what follows is damaged or was cut by the snap
//! length: [`Message::stop`] says how far the view got and why it went no further.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::{Edns, Header, Name, Rcode, RecordType};

/// What was read of one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The twelve bytes of the header.
    pub header: Header,
    /// The first question, if the message has one that can be read.
    pub question: Option<Question>,
    /// What the records of answer and authority section say, as far as they could be read.
    pub records: Records,
    /// The OPT pseudo-record (RFC 6891), if one was reached.
    pub edns: Option<Edns>,
    /// Where and why reading stopped, if it did not reach the end of the message.
    pub stop: Option<Malformed>,
    /// Length of the message on the wire in bytes.
    pub wire_len: usize,
    /// Digest of the message's captured bytes: equal for copies of one datagram.
    pub digest: u64,
}

/// What is asked (RFC 1035 section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: RecordType,
    /// QCLASS; 1 is IN.
    pub class: u16,
}

/// The records of a response, reduced to what lookups and detectors judge by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// Answer records of type A or AAAA: the addresses, in wire order, at most
    /// [`Records::MAX_ADDRESSES`].
    pub addresses: SmallVec<[IpAddr; 2]>,
    /// Number of A and AAAA records in the answer section, whatever the list above holds.
    pub address_count: u16,
    /// Digest of the set of all answer addresses, whatever their order.
    pub address_digest: u64,
    /// Number of answer records of the type asked for (A for A, AAAA for AAAA, …).
    pub matching: u16,
    /// The owner at the end of the CNAME chain, if the answer section has one.
    pub canonical: Option<Name>,
    /// The smallest TTL of the answer section, in seconds.
    pub min_ttl: Option<u32>,
    /// The SOA record of the authority section (RFC 2308): what a negative answer carries.
    pub soa: Option<Soa>,
}

impl Records {
    /// How many addresses are kept one by one.
    pub const MAX_ADDRESSES: usize = 16;
}

/// The SOA record of a negative answer (RFC 2308 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soa {
    /// The zone it belongs to.
    pub owner: Name,
    /// The record's TTL in seconds.
    pub ttl: u32,
    /// Its MINIMUM field in seconds, if it was captured.
    pub minimum: Option<u32>,
}

/// Why a message could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// The capture ends before the message does: no fault of the message.
    Cut,
    /// The counts promise more records than the message holds.
    Short,
    /// A label that is neither a label nor a pointer, or a name over 255 bytes.
    BadName,
    /// A compression pointer that does not point backwards.
    BadPointer,
    /// A record whose data runs past the message, or data that contradicts its type.
    BadRecord,
}

/// What makes a response's answer section worth to the client that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerKind {
    /// NOERROR with at least one record that answers the question.
    Positive,
    /// NXDOMAIN.
    NxDomain,
    /// NOERROR without a record that answers the question (RFC 2308 section 2.2), no referral.
    NoData,
    /// TC = 1: the client has to ask again over TCP.
    Truncated,
    /// Any other RCODE.
    Error(Rcode),
    /// NOERROR, but the records were cut by the snap length: positive or empty cannot be told
    /// where the header counts no answer either.
    Unknown,
}

impl Message {
    /// The full RCODE: the header's four bits and, with EDNS, the eight above them.
    pub fn rcode(&self) -> Rcode {
        let extended = self.edns.as_ref().map_or(0, |edns| edns.extended_rcode);
        Rcode(u16::from(extended) << 4 | self.header.rcode().0)
    }

    /// Whether a resolver could have sent it: a standard query or its response, with a question
    /// that can be read or an error that leaves it out.
    pub fn is_plausible(&self) -> bool {
        self.header.opcode() == super::Opcode::QUERY
            && self.header.questions <= 1
            && (self.question.is_some() || self.header.is_response())
    }

    /// What this response is worth; meaningless for a query.
    pub fn answer_kind(&self) -> AnswerKind {
        let rcode = self.rcode();
        if self.header.truncated() && matches!(rcode, Rcode::NOERROR) {
            return AnswerKind::Truncated;
        }
        match rcode {
            Rcode::NXDOMAIN => AnswerKind::NxDomain,
            Rcode::NOERROR if self.records.matching > 0 => AnswerKind::Positive,
            // The header's own count stands in where the records were cut or damaged.
            Rcode::NOERROR if self.stop.is_some() && self.header.answers > 0 => {
                AnswerKind::Positive
            }
            Rcode::NOERROR => AnswerKind::NoData,
            other => AnswerKind::Error(other),
        }
    }
}
