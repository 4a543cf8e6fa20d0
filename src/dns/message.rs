//! The tolerant view of one DNS message (RFC 1035 section 4).
//!
//! Header and question are used even when what follows is damaged or was cut by the snap
//! length: [`Message::stop`] says how far the view got and why it went no further.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
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
    pub records: Arc<Records>,
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

/// A question for tables of very many: of the name, its digest is enough to find it again. Two look
/// alike once in 10^18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuestionId {
    name: u64,
    rtype: RecordType,
    class: u16,
}

impl From<&Question> for QuestionId {
    fn from(Question { name, rtype, class }: &Question) -> Self {
        Self { name: name.digest(), rtype: *rtype, class: *class }
    }
}

impl Question {
    /// The class of the Internet.
    pub const IN: u16 = 1;

    /// Whether both are one question, the case of the name included.
    pub fn is_spelled_like(&self, other: &Self) -> bool {
        self.rtype == other.rtype && self.class == other.class && self.name.same_case(&other.name)
    }

    /// Whether type and class are such as are asked for (RFC 6895 sections 3.1 and 3.2): type 0
    /// is reserved, classes in use are IN, CH, HS, NONE and ANY.
    pub fn is_plausible(&self) -> bool {
        Self::is_usual(self.rtype, self.class)
    }

    pub(super) fn is_usual(rtype: RecordType, class: u16) -> bool {
        rtype.0 != 0 && matches!(class, 1 | 3 | 4 | 254 | 255)
    }
}

/// The records of a response, reduced to what lookups and detectors judge by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
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

    /// How many seconds a negative answer may be cached (RFC 2308 section 5); `None` if it does not say.
    pub fn negative_ttl(&self) -> Option<u32> {
        let soa = self.soa.as_ref()?;
        Some(soa.minimum.map_or(soa.ttl, |minimum| minimum.min(soa.ttl)))
    }

    /// Whether they say nothing. Every record of the answer section has a TTL.
    pub(super) fn is_silent(&self) -> bool {
        self.min_ttl.is_none() && self.canonical.is_none() && self.soa.is_none()
    }

    /// The same for those that say the same; hardly ever for others.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write_u64(self.address_digest);
        hasher.write_u32(self.min_ttl.unwrap_or_default());
        hasher.write_u64(self.canonical.as_ref().map_or(0, Name::digest));
        if let Some(soa) = &self.soa {
            hasher.write_u64(soa.owner.digest());
            hasher.write_u32(soa.ttl);
        }
        hasher.finish()
    }

    /// Whether both say the same, the case of names included.
    pub(super) fn is_spelled_like(&self, other: &Self) -> bool {
        let Self { addresses, address_count, address_digest, matching, canonical, min_ttl, soa } =
            self;
        let counts = (address_count, address_digest, matching, min_ttl);
        counts == (&other.address_count, &other.address_digest, &other.matching, &other.min_ttl)
            && both(canonical.as_ref(), other.canonical.as_ref(), Name::same_case)
            && both(soa.as_ref(), other.soa.as_ref(), Soa::is_spelled_like)
            && *addresses == other.addresses
    }
}

/// Whether there is neither or both are alike.
fn both<T>(one: Option<&T>, other: Option<&T>, alike: impl Fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => alike(one, other),
        _ => false,
    }
}

/// The SOA record of a negative answer (RFC 2308 section 3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Soa {
    /// The zone it belongs to.
    pub owner: Name,
    /// The record's TTL in seconds.
    pub ttl: u32,
    /// Its MINIMUM field in seconds, if it was captured.
    pub minimum: Option<u32>,
}

impl Soa {
    /// Whether both say the same, the case of the zone's name included.
    fn is_spelled_like(&self, other: &Self) -> bool {
        self.ttl == other.ttl && self.minimum == other.minimum && self.owner.same_case(&other.owner)
    }
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
    /// Whether this reads like DNS and not like something else on a DNS port.
    ///
    /// An assigned opcode, at most one question (RFC 9619), which is readable and of a class in
    /// use (RFC 6895 section 3.2) unless the capture cut it, and no more records counted than its
    /// length has room for. Without a question everything behind the header must have been
    /// readable. Damage behind the question does not matter.
    pub fn is_plausible(&self) -> bool {
        if !self.header.is_plausible(self.wire_len) {
            return false;
        }
        match &self.question {
            Some(question) => question.is_plausible(),
            None if self.header.questions > 0 => self.stop == Some(Malformed::Cut),
            None => matches!(self.stop, None | Some(Malformed::Cut)),
        }
    }

    /// The full RCODE: the header's four bits and, with EDNS, the eight above them.
    pub fn rcode(&self) -> Rcode {
        Rcode::of(self.header, self.edns.as_ref())
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
