//! Who was told what: every question with each server's answers to it, so that rules can hold
//! the servers against each other.
//!
//! Answers are kept by their worth (no such name, no such record, an error, a set of addresses),
//! never message by message. Only what clients asked counts, not what a DNS server asked on
//! their behalf.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::Equivalent;

use super::asked::{ServerId, Servers};
use super::inquiries::Inquiries;
use super::kept::{Kept, Place};
use super::zone::ClusterZones;
use crate::base::{Coverage, Few, Limit, Span, Table, Timestamp};
use crate::capture::Seen;
use crate::dns::{AnswerKind, Name, Question, Rcode, RecordType, Records};
use crate::lookup::{Lookup, LookupOutcome};
use crate::transaction::{Response, Transaction};

/// Questions told apart; when there are more, those asked only once make room.
const MAX_QUESTIONS: usize = 50_000;
/// Newcomers turned away before the table is searched again for those asked only once.
const PURGE_AFTER: u64 = 8_192;
/// Different answers kept for one question. A name with more has answers that rotate.
const MAX_ANSWERS: usize = 64;
/// Up to so many answers, the block that holds them grows by one at a time, beyond by doubling.
const EXACT: usize = 8;
/// Lookups kept one by one for an answer that no other server contradicts.
const FEW: u32 = 8;
/// Example frames kept for each answer.
pub(super) const FRAMES: usize = 4;

/// What a question was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// NXDOMAIN.
    NoName,
    /// NOERROR without a record that answers the question.
    NoData,
    /// Another response code.
    Error(Rcode),
    /// This set of addresses.
    Data(SetId),
}

/// The digest of a set of addresses; 0 for records of other types. Bytes, and not a number: an answer
/// then takes ten of them instead of sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId([u8; 8]);

impl From<u64> for SetId {
    fn from(digest: u64) -> Self {
        Self(digest.to_be_bytes())
    }
}

/// What was answered to one question, while answers come.
#[derive(Debug)]
pub(super) struct Open {
    /// In the order in which they came first; no place stands empty for answers that may never come.
    pub(super) told: Vec<Told>,
    /// The address that clients asked.
    pub(super) service: IpAddr,
    contradicted: bool,
    pub(super) beside: Option<Box<Beside>>,
}

/// What few questions have beside their answers.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The addresses behind a digest, as far as they are kept.
    pub(super) sets: Few<SetId, Box<[IpAddr]>>,
    /// Where the alias in its answers leads, if they have one.
    pub(super) alias: Option<Name>,
}

/// How often one server gave one answer to one question: in few bytes, for there are more than a
/// hundred thousand of them.
#[derive(Debug)]
pub struct Told {
    /// The first and the last time that it arrived.
    pub span: Span,
    /// Until when it may be cached, if it is the latest answer of its server; else long ago.
    valid: Timestamp,
    first: Seen,
    /// The next few answers, as far as there were so many.
    next: Option<Box<[Seen; FRAMES - 1]>>,
    times: u32,
    hasty: u32,
    /// In seconds.
    denial: u32,
    ended: u32,
    /// The latest of those lookups that is kept.
    last: Place,
    /// Who gave it: the backend where it is known, else the address asked.
    pub(super) server: ServerId,
    pub(super) answer: Answer,
}

/// Takes down what lookups were told.
#[derive(Debug, Default)]
pub struct Answers {
    zones: ClusterZones,
    questions: Questions,
    servers: Servers,
    lookups: Kept,
}

/// Every question with its answers, as many as there is room for.
#[derive(Debug, Default)]
struct Questions {
    table: Table<(Name, RecordType), Open>,
    /// Those that came when the table was full.
    overflow: u64,
}

impl Answers {
    /// Notes what `lookup` was told.
    pub fn note(&mut self, lookup: &Lookup, coverage: &mut Coverage) {
        let Self { zones, questions, servers, lookups } = self;
        for transaction in lookup.transactions() {
            let question = &transaction.question;
            let told = transaction.answer().and_then(|told| Some((told, Answer::of(told)?)));
            let known = told.and_then(|_| questions.table.get_mut(&Wanted::of(question)));
            let open = if known.is_some() {
                known
            } else {
                // A name that was seen before has nothing new to teach.
                zones.learn(&question.name);
                told.and_then(|_| questions.add(transaction, coverage))
            };
            let (Some((response, answer)), Some(open)) = (told, open) else { continue };
            let Some(server) = servers.id(transaction.responder()) else {
                coverage.limited(Limit::Servers);
                continue;
            };
            open.note(response, (server, answer), lookup, lookups);
        }
    }

    /// All that was asked, once the capture is over.
    pub fn close(self) -> Inquiries {
        Inquiries::new(self.questions.table, &self.servers, self.zones, self.lookups)
    }
}

impl Questions {
    /// A place for the question of `transaction`, which is new; `None` if there is no room.
    fn add(&mut self, transaction: &Transaction, coverage: &mut Coverage) -> Option<&mut Open> {
        if self.table.len() >= MAX_QUESTIONS {
            coverage.limited(Limit::Names);
            // Not for every newcomer: it costs the whole table.
            if self.overflow.is_multiple_of(PURGE_AFTER) {
                self.table.retain(|_, open| open.told.iter().map(Told::times).sum::<u64>() > 1);
            }
            self.overflow += 1;
            if self.table.len() >= MAX_QUESTIONS {
                return None;
            }
        }
        let question = &transaction.question;
        let key = (question.name.clone(), question.rtype);
        Some(self.table.entry(key).or_insert_with(|| Open::at(transaction.server.ip())))
    }
}

/// A question to be looked up, hashed like the key that it is.
#[derive(Hash)]
struct Wanted<'a>(&'a Name, RecordType);

impl<'a> Wanted<'a> {
    fn of(question: &'a Question) -> Self {
        Self(&question.name, question.rtype)
    }
}

impl Equivalent<(Name, RecordType)> for Wanted<'_> {
    fn equivalent(&self, (name, rtype): &(Name, RecordType)) -> bool {
        self.1 == *rtype && self.0 == name
    }
}

impl Answer {
    fn of(response: &Response) -> Option<Self> {
        match response.kind {
            AnswerKind::Positive => Some(Self::Data(SetId::from(match *response.records {
                Records { address_count: 0, .. } => 0,
                Records { address_digest, .. } => address_digest,
            }))),
            AnswerKind::NxDomain => Some(Self::NoName),
            AnswerKind::NoData => Some(Self::NoData),
            AnswerKind::Error(rcode) => Some(Self::Error(rcode)),
            AnswerKind::Truncated | AnswerKind::Unknown => None,
        }
    }

    /// Whether a client can use it.
    pub fn is_data(self) -> bool {
        matches!(self, Self::Data(_))
    }
}

impl Open {
    /// One that was asked for at this address.
    fn at(service: IpAddr) -> Self {
        Self { told: Vec::new(), service, contradicted: false, beside: None }
    }

    /// Takes down what `response` says, as the next one of its `lookup`.
    fn note(
        &mut self,
        response: &Response,
        (server, answer): (ServerId, Answer),
        lookup: &Lookup,
        kept: &mut Kept,
    ) {
        let records = &response.records;
        if records.canonical.is_some() {
            let alias = &mut self.beside.get_or_insert_default().alias;
            if alias.is_none() {
                alias.clone_from(&records.canonical);
            }
        }
        let is_known = |told: &Told| told.server == server && told.answer == answer;
        if self.told.len() >= MAX_ANSWERS && !self.told.iter().any(is_known) {
            return;
        }
        if let Answer::Data(digest) = answer {
            let sets = &mut self.beside.get_or_insert_default().sets;
            sets.or_insert_with(digest, || Box::from(records.addresses.as_slice()));
        }
        let seen = response.arrived();
        let (mut known, mut hasty) = (None, false);
        for (place, told) in self.told.iter_mut().enumerate() {
            let other = told.answer != answer;
            self.contradicted |= other;
            if told.server == server {
                let until = std::mem::replace(&mut told.valid, Timestamp::MIN);
                hasty |= other && seen.ts < until;
                known = if other { known } else { Some(place) };
            }
        }
        let place = known.unwrap_or_else(|| {
            if self.told.len() < EXACT {
                self.told.reserve_exact(1);
            }
            self.told.push(Told::at(seen, server, answer));
            self.told.len() - 1
        });
        let Some(told) = self.told.get_mut(place) else { return };
        told.note(seen, records, hasty);
        let fits = match lookup.outcome {
            LookupOutcome::Ok => answer.is_data(),
            LookupOutcome::Negative => matches!(answer, Answer::NoName | Answer::NoData),
            _ => matches!(answer, Answer::Error(_)),
        };
        let Some(end) = lookup.end.filter(|_| fits) else { return };
        told.ended = told.ended.saturating_add(1);
        if self.contradicted || told.ended <= FEW {
            kept.keep(lookup, end, &mut told.last);
        }
    }
}

impl Told {
    /// One that is to be noted as it arrives at `first`.
    fn at(first: Seen, server: ServerId, answer: Answer) -> Self {
        Self {
            span: Span::at(first.ts),
            valid: Timestamp::MIN,
            first,
            next: None,
            times: 0,
            hasty: 0,
            denial: 0,
            ended: 0,
            last: None,
            server,
            answer,
        }
    }

    /// Takes down that it arrived at `seen`.
    fn note(&mut self, seen: Seen, records: &Records, hasty: bool) {
        let ttl = u64::from(records.min_ttl.unwrap_or(0));
        self.valid = seen.ts.after(Duration::from_secs(ttl));
        self.span = self.span.with(seen.ts);
        self.hasty = self.hasty.saturating_add(u32::from(hasty));
        if let Some(soa) = &records.soa {
            let seconds = soa.minimum.map_or(soa.ttl, |minimum| minimum.min(soa.ttl));
            self.denial = self.denial.max(seconds);
        }
        if let Some(at) = (self.times as usize).checked_sub(1).filter(|at| *at < FRAMES - 1) {
            let next = self.next.get_or_insert_with(|| Box::new([seen; FRAMES - 1]));
            next.iter_mut().skip(at).for_each(|later| *later = seen);
        }
        self.times = self.times.saturating_add(1);
    }

    /// How often.
    pub fn times(&self) -> u64 {
        u64::from(self.times)
    }

    /// Of them, how often it replaced another answer of this server that was still valid by its
    /// own TTL.
    pub fn hasty(&self) -> u64 {
        u64::from(self.hasty)
    }

    /// Lookups that ended with it.
    pub fn ended(&self) -> u64 {
        u64::from(self.ended)
    }

    /// For a negative answer: how long it may be cached (RFC 2308 section 5).
    pub fn denial(&self) -> Duration {
        Duration::from_secs(u64::from(self.denial))
    }

    /// The first few answers.
    pub fn frames(&self) -> impl Iterator<Item = Seen> {
        let next = self.next.iter().flat_map(|next| next.iter());
        std::iter::once(&self.first).chain(next).take(self.times as usize).copied()
    }

    /// The latest lookup that ended with it, of those that are kept.
    pub(super) fn last(&self) -> Place {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are more than a hundred thousand of the one, and tens of thousands of the other.
    #[test]
    fn answers_take_few_bytes() {
        assert_eq!((size_of::<Told>(), size_of::<Open>()), (80, 56));
    }
}
