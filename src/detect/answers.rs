//! Who was told what: every question with each server's answers to it, so that rules can hold
//! the servers against each other.
//!
//! Answers are kept by their worth (no such name, no such record, an error, a set of addresses),
//! never message by message. Only what clients asked counts, not what a DNS server asked on
//! their behalf.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZero;
use std::time::Duration;

use smallvec::SmallVec;

use super::harm::{HarmKind, Harmed};
use super::inquiries::Inquiries;
use super::zone::ClusterZones;
use crate::base::{Coverage, Few, Limit, Span, Table, Timestamp};
use crate::capture::Seen;
use crate::dns::{AnswerKind, Name, Rcode, RecordType, Records};
use crate::lookup::{Lookup, LookupOutcome, Resolver};
use crate::transaction::{Response, Transaction};

/// Questions told apart; when there are more, those asked only once make room.
const MAX_QUESTIONS: usize = 50_000;
/// Newcomers turned away before the table is searched again for those asked only once.
const PURGE_AFTER: u64 = 8_192;
/// Different answers kept for one question. A name with more has answers that rotate.
const MAX_ANSWERS: usize = 64;
/// Lookups kept one by one for an answer that no other server contradicts.
const FEW: usize = 8;
/// Lookups kept one by one in all.
const MAX_LOOKUPS: usize = 200_000;
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
    /// The set of addresses with this digest; 0 for records of other types.
    Data(u64),
}

/// What every server answered to one question.
#[derive(Debug, Default)]
pub struct Asked {
    /// By server and answer: the backend where it is known, else the address asked.
    pub told: Few<(IpAddr, Answer), Box<Told>>,
    /// The address that clients asked.
    pub service: Option<IpAddr>,
    /// The addresses behind a digest, as far as they are kept.
    pub sets: Few<u64, Box<[IpAddr]>>,
    /// Where the alias in its answers leads, if they have one.
    pub alias: Option<Name>,
    contradicted: bool,
}

/// How often one server gave one answer to one question.
#[derive(Debug)]
pub struct Told {
    /// How often.
    pub times: u64,
    /// The first and the last time that it arrived.
    pub span: Span,
    /// Of them, how often it replaced another answer of this server that was still valid by its
    /// own TTL.
    pub hasty: u64,
    /// The first few answers.
    pub frames: SmallVec<[Seen; 1]>,
    /// For a negative answer: how long it may be cached (RFC 2308 section 5).
    pub denial: Duration,
    /// Lookups that ended with it.
    pub ended: u64,
    /// Until when it may be cached, if it is the latest answer of its server.
    valid: Option<Timestamp>,
    /// How many of those lookups are kept, and the latest of them.
    kept: usize,
    last: Place,
}

/// Where a lookup stands among all that are kept, counted from 1.
type Place = Option<NonZero<u32>>;

/// A lookup that ended with an answer.
#[derive(Debug, Clone)]
struct Ended {
    client: IpAddr,
    resolver: Resolver,
    /// The one before it that ended with the same answer.
    before: Place,
    name: Name,
    start: Seen,
    end: Timestamp,
}

/// Lookups kept one by one, all in one row: most answers have one, and some have hundreds.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<Ended>);

/// Takes down what lookups were told.
#[derive(Debug, Default)]
pub struct Answers {
    zones: ClusterZones,
    questions: Table<(Name, RecordType), Box<Asked>>,
    lookups: Kept,
    /// Questions that came when the table was full.
    overflow: u64,
}

impl Answers {
    /// Notes what `lookup` was told.
    pub fn note(&mut self, lookup: &Lookup, coverage: &mut Coverage) {
        for name in lookup.candidates() {
            self.zones.learn(name);
        }
        for transaction in lookup.transactions() {
            let question = &transaction.question;
            let Some(response) = transaction.answer() else { continue };
            let Some(answer) = Answer::of(response) else { continue };
            let key = (question.name.clone(), question.rtype);
            if self.questions.len() >= MAX_QUESTIONS && !self.questions.contains_key(&key) {
                coverage.limited(Limit::Names);
                // Not for every newcomer: it costs the whole table.
                if self.overflow.is_multiple_of(PURGE_AFTER) {
                    self.questions.retain(|_, asked| asked.times() > 1);
                }
                self.overflow += 1;
                if self.questions.len() >= MAX_QUESTIONS {
                    continue;
                }
            }
            let asked = self.questions.entry(key).or_default();
            if asked.alias.is_none() {
                asked.alias.clone_from(&response.records.canonical);
            }
            asked.service.get_or_insert(transaction.server.ip());
            asked.note(transaction, response, answer, lookup, &mut self.lookups);
        }
    }

    /// All that was asked, once the capture is over.
    pub fn close(self) -> Inquiries {
        Inquiries::new(self.questions, self.zones, self.lookups)
    }
}

impl Answer {
    fn of(response: &Response) -> Option<Self> {
        match response.kind {
            AnswerKind::Positive => Some(Self::Data(match response.records.address_count {
                0 => 0,
                _ => response.records.address_digest,
            })),
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
        self.told.values().map(|told| told.times).sum()
    }

    /// The answers of one server.
    pub fn by(&self, server: IpAddr) -> impl Iterator<Item = (Answer, &Told)> {
        self.told
            .iter()
            .filter(move |((who, _), _)| *who == server)
            .map(|(key, told)| (key.1, &**told))
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
        response: &Response,
        answer: Answer,
        lookup: &Lookup,
        kept: &mut Kept,
    ) {
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
        for ((who, before), told) in self.told.iter_mut() {
            if *who == server
                && let Some(until) = told.valid.take()
            {
                hasty = *before != answer && seen.ts < until;
            }
        }
        let contradicted = self.contradicted;
        let told = self.told.or_insert_with((server, answer), || Box::new(Told::at(seen.ts)));
        let ttl = u64::from(response.records.min_ttl.unwrap_or(0));
        told.valid = Some(seen.ts.after(Duration::from_secs(ttl)));
        told.times += 1;
        told.span = told.span.with(seen.ts);
        told.hasty += u64::from(hasty);
        if let Some(soa) = &response.records.soa {
            let seconds = soa.minimum.map_or(soa.ttl, |minimum| minimum.min(soa.ttl));
            told.denial = told.denial.max(Duration::from_secs(u64::from(seconds)));
        }
        if told.frames.len() < FRAMES {
            told.frames.push(seen);
        }
        let fits = match lookup.outcome {
            LookupOutcome::Ok => answer.is_data(),
            LookupOutcome::Negative => matches!(answer, Answer::NoName | Answer::NoData),
            _ => matches!(answer, Answer::Error(_)),
        };
        let Some(end) = lookup.end.filter(|_| fits) else { return };
        told.ended += 1;
        if contradicted || told.kept < FEW {
            kept.keep(lookup, end, told);
        }
    }
}

impl Kept {
    /// Keeps `lookup`, which ended with what was told, if there is room.
    fn keep(&mut self, lookup: &Lookup, end: Timestamp, told: &mut Told) {
        if self.0.len() >= MAX_LOOKUPS {
            return;
        }
        self.0.push(Ended {
            client: lookup.client,
            resolver: lookup.resolver,
            before: told.last,
            name: lookup.name.clone(),
            start: lookup.start,
            end,
        });
        told.last = u32::try_from(self.0.len()).ok().and_then(NonZero::new);
        told.kept += 1;
    }

    /// Those that ended with what was told, the latest first.
    fn ended(&self, told: &Told) -> impl Iterator<Item = &Ended> {
        let at = |place: Place| self.0.get(place?.get() as usize - 1);
        std::iter::successors(at(told.last), move |ended| at(ended.before))
    }

    /// Who made them.
    pub(super) fn clients(&self, told: &Told) -> impl Iterator<Item = IpAddr> {
        self.ended(told).map(|lookup| lookup.client)
    }

    /// The same as wronged ones.
    pub(super) fn wronged(&self, told: &Told) -> impl Iterator<Item = ((Seen, IpAddr), Harmed)> {
        self.ended(told).map(|lookup| {
            let harmed = Harmed {
                client: lookup.client,
                name: lookup.name.clone(),
                resolver: lookup.resolver,
                start: lookup.start,
                end: lookup.end,
                kind: HarmKind::Wrong,
                bad: Box::default(),
            };
            ((lookup.start, lookup.client), harmed)
        })
    }
}

impl Told {
    fn at(instant: Timestamp) -> Self {
        Self {
            times: 0,
            span: Span::at(instant),
            hasty: 0,
            frames: SmallVec::new(),
            denial: Duration::ZERO,
            ended: 0,
            valid: None,
            kept: 0,
            last: None,
        }
    }
}
