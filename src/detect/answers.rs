//! Who was told what: every question with each server's answers to it, so that rules can hold
//! the servers against each other.
//!
//! Answers are kept by their worth (no such name, no such record, an error, a set of addresses),
//! never message by message. Only what clients asked counts, not what a DNS server asked on
//! their behalf.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::Equivalent;

use super::inquiries::Inquiries;
use super::kept::{Kept, Place};
use super::zone::ClusterZones;
use crate::base::{Coverage, Few, Handful, Limit, Span, Table, Timestamp};
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

/// What every server answered to one question.
#[derive(Debug, Default)]
pub struct Asked {
    /// By server and answer: the backend where it is known, else the address asked.
    pub told: Handful<(IpAddr, Answer), Told>,
    /// The address that clients asked.
    pub service: Option<IpAddr>,
    /// The addresses behind a digest, as far as they are kept.
    sets: Few<SetId, Box<[IpAddr]>>,
    /// Where the alias in its answers leads, if they have one.
    pub alias: Option<Name>,
    contradicted: bool,
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
}

/// Takes down what lookups were told.
#[derive(Debug, Default)]
pub struct Answers {
    zones: ClusterZones,
    questions: Questions,
    lookups: Kept,
}

/// Every question with its answers, as many as there is room for.
#[derive(Debug, Default)]
struct Questions {
    table: Table<(Name, RecordType), Box<Asked>>,
    /// Those that came when the table was full.
    overflow: u64,
}

impl Answers {
    /// Notes what `lookup` was told.
    pub fn note(&mut self, lookup: &Lookup, coverage: &mut Coverage) {
        for transaction in lookup.transactions() {
            let question = &transaction.question;
            let told = transaction.answer().and_then(|told| Some((told, Answer::of(told)?)));
            if let Some(told) = told
                && let Some(asked) = self.questions.table.get_mut(&Wanted::of(question))
            {
                asked.note(transaction, told, lookup, &mut self.lookups);
                continue;
            }
            // A name that was seen before has nothing new to teach.
            self.zones.learn(&question.name);
            if let Some(told) = told
                && let Some(asked) = self.questions.add(question, coverage)
            {
                asked.note(transaction, told, lookup, &mut self.lookups);
            }
        }
    }

    /// All that was asked, once the capture is over.
    pub fn close(self) -> Inquiries {
        Inquiries::new(self.questions.table, self.zones, self.lookups)
    }
}

impl Questions {
    /// A place for `question`, which is new; `None` if there is no room.
    fn add(&mut self, question: &Question, coverage: &mut Coverage) -> Option<&mut Asked> {
        if self.table.len() >= MAX_QUESTIONS {
            coverage.limited(Limit::Names);
            // Not for every newcomer: it costs the whole table.
            if self.overflow.is_multiple_of(PURGE_AFTER) {
                self.table.retain(|_, asked| asked.times() > 1);
            }
            self.overflow += 1;
            if self.table.len() >= MAX_QUESTIONS {
                return None;
            }
        }
        Some(self.table.entry((question.name.clone(), question.rtype)).or_default())
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

impl Asked {
    /// How often it was answered.
    pub fn times(&self) -> u64 {
        self.told.values().map(Told::times).sum()
    }

    /// The answers of one server.
    pub fn by(&self, server: IpAddr) -> impl Iterator<Item = (Answer, &Told)> {
        self.told
            .iter()
            .filter(move |((who, _), _)| *who == server)
            .map(|(key, told)| (key.1, told))
    }

    /// The servers that answered it.
    pub fn servers(&self) -> BTreeSet<IpAddr> {
        self.told.keys().map(|(server, _)| *server).collect()
    }

    /// Whether two answers are sets of addresses that share none.
    pub fn disjoint(&self, one: Answer, other: Answer) -> bool {
        let (Answer::Data(one), Answer::Data(other)) = (one, other) else { return false };
        let (Some(one), Some(other)) = (self.sets.get(&one), self.sets.get(&other)) else {
            return false;
        };
        // A list that was cut short may share what was left out.
        let whole = |set: &[IpAddr]| (1..Records::MAX_ADDRESSES).contains(&set.len());
        whole(one) && whole(other) && !one.iter().any(|address| other.contains(address))
    }

    /// The addresses of an answer.
    pub fn addresses(&self, answer: Answer) -> &[IpAddr] {
        match answer {
            Answer::Data(digest) => self.sets.get(&digest).map_or(&[], AsRef::as_ref),
            _ => &[],
        }
    }

    fn note(
        &mut self,
        transaction: &Transaction,
        (response, answer): (&Response, Answer),
        lookup: &Lookup,
        kept: &mut Kept,
    ) {
        if self.alias.is_none() {
            self.alias.clone_from(&response.records.canonical);
        }
        self.service.get_or_insert(transaction.server.ip());
        let server = transaction.responder();
        let seen = response.arrived();
        if self.told.len() >= MAX_ANSWERS && !self.told.contains_key(&(server, answer)) {
            return;
        }
        if let Answer::Data(digest) = answer {
            self.sets.or_insert_with(digest, || Box::from(response.records.addresses.as_slice()));
        }
        let contradicts = |told: &Self| told.told.keys().any(|(_, other)| *other != answer);
        self.contradicted = self.contradicted || contradicts(self);
        let mut hasty = false;
        for ((_, before), told) in self.told.iter_mut().filter(|((who, _), _)| *who == server) {
            let until = std::mem::replace(&mut told.valid, Timestamp::MIN);
            hasty |= *before != answer && seen.ts < until;
        }
        let contradicted = self.contradicted;
        let told = self.told.or_insert_with((server, answer), || Told::at(seen));
        told.note(seen, &response.records, hasty);
        let fits = match lookup.outcome {
            LookupOutcome::Ok => answer.is_data(),
            LookupOutcome::Negative => matches!(answer, Answer::NoName | Answer::NoData),
            _ => matches!(answer, Answer::Error(_)),
        };
        let Some(end) = lookup.end.filter(|_| fits) else { return };
        told.ended = told.ended.saturating_add(1);
        if contradicted || told.ended <= FEW {
            kept.keep(lookup, end, &mut told.last);
        }
    }
}

impl Told {
    /// One that is to be noted as it arrives at `first`.
    fn at(first: Seen) -> Self {
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
