//! Who was told what: every question with each server's answers to it, so that rules can hold
//! the servers against each other.
//!
//! Answers are kept by their worth (no such name, no such record, an error, a set of addresses),
//! never message by message. Only what clients asked counts, not what a DNS server asked on
//! their behalf.

use std::hash::BuildHasher;
use std::net::IpAddr;

use hashbrown::HashTable;

use super::asked::{ServerId, Servers};
use super::at_once::AtOnce;
use super::inquiries::Inquiries;
use super::kept::Kept;
use super::told::{Link, Rows};
use super::turns::{MAX_ALL, Said, Turns};
use super::zone::ClusterZones;
use crate::base::{Coverage, Few, Limit, Timestamp};
use crate::dns::{AnswerKind, Name, Question, Rcode, RecordType, Records};
use crate::lookup::{Lookup, LookupOutcome};
use crate::transaction::Response;

/// Questions told apart; when there are more, those answered only once make room.
const MAX_QUESTIONS: usize = 50_000;
/// Newcomers turned away before the table is searched again for those answered only once.
const PURGE_AFTER: u64 = 8_192;
/// Different answers kept for one question. A name with more has answers that rotate.
const MAX_ANSWERS: u8 = 64;
/// Lookups kept one by one for an answer that no other server contradicts.
const FEW: u32 = 8;

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

/// A question, and what was answered to it, while answers come: in few bytes, for there are tens of
/// thousands.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) name: Name,
    pub(super) beside: Option<Box<Beside>>,
    /// The latest of its answers that came first; it leads to the others.
    pub(super) told: Link,
    pub(super) rtype: RecordType,
    /// The address that clients asked.
    pub(super) service: ServerId,
    /// How many different ones there are.
    answers: u8,
    /// Whether it was answered more than once.
    often: bool,
    contradicted: bool,
}

/// What few questions have beside their answers.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The addresses behind a digest, as far as they are kept.
    pub(super) sets: Few<SetId, Box<[IpAddr]>>,
    /// Where the alias in its answers leads, if they have one.
    pub(super) alias: Option<Name>,
    /// How the kinds of its answers took turns, if there are several.
    pub(super) turns: Option<Box<Turns>>,
}

/// Takes down what lookups were told.
#[derive(Debug, Default)]
pub struct Answers {
    zones: ClusterZones,
    questions: Questions,
    told: Rows,
    servers: Servers,
    lookups: Kept,
    at_once: AtOnce,
    /// How many turns are kept.
    turns: usize,
}

/// Every question, as many as there is room for.
#[derive(Debug, Default)]
struct Questions {
    /// Where each one stands among the known ones.
    places: HashTable<u32>,
    known: Vec<Option<Open>>,
    /// Where none stands any more.
    vacant: Vec<u32>,
    hasher: foldhash::fast::RandomState,
    /// Those that came when there was no room.
    overflow: u64,
}

impl Answers {
    /// Notes what `lookup` was told.
    pub fn note(&mut self, lookup: &Lookup, coverage: &mut Coverage) {
        let Self { zones, questions, told: rows, servers, lookups, at_once, turns } = self;
        at_once.note(lookup);
        for transaction in lookup.transactions() {
            let question = &transaction.question;
            let told = transaction.answer().and_then(|told| Some((told, Answer::of(told)?)));
            let hash = questions.hash(&question.name, question.rtype);
            let known = told.and_then(|_| questions.find((&question.name, question.rtype), hash));
            // A name that was seen before has nothing new to teach.
            if known.is_none() {
                zones.learn(&question.name);
            }
            let Some((response, answer)) = told else { continue };
            if known.is_none() && !questions.make_room((rows, lookups), coverage) {
                continue;
            }
            let server = servers.id(transaction.responder());
            let place = known.or_else(|| {
                let service = servers.id(transaction.server.ip())?;
                questions.add(question, service, hash)
            });
            let open = place.and_then(|place| questions.known.get_mut(place)?.as_mut());
            let (Some(server), Some(open)) = (server, open) else {
                coverage.limited(Limit::Servers);
                continue;
            };
            let said = (server, Said::from(answer));
            *turns += open.note_turn(rows, said, response.arrived().ts, *turns < MAX_ALL);
            open.note(rows, response, (server, answer), lookup, lookups);
        }
    }

    /// The copy of `name` that its question of this type has, if it is spelled like it: few names that
    /// are kept elsewhere need one of their own.
    pub(super) fn shared(&self, name: &Name, rtype: RecordType) -> Name {
        let Self { questions, .. } = self;
        let place = questions.find((name, rtype), questions.hash(name, rtype));
        let known = place.and_then(|place| questions.known.get(place)?.as_ref());
        let known = known.map(|known| &known.name).filter(|known| known.same_case(name));
        known.unwrap_or(name).clone()
    }

    /// All that was asked, once the capture is over.
    pub fn close(self) -> Inquiries {
        let Self { zones, questions, told, servers, lookups, at_once, .. } = self;
        Inquiries::new(questions.known, &told, &servers, zones, (lookups, at_once))
    }
}

impl Questions {
    fn hash(&self, name: &Name, rtype: RecordType) -> u64 {
        self.hasher.hash_one((name, rtype))
    }

    /// Where this question stands.
    fn find(&self, (name, rtype): (&Name, RecordType), hash: u64) -> Option<usize> {
        let is_same = |place: &u32| {
            self.known
                .get(*place as usize)
                .and_then(Option::as_ref)
                .is_some_and(|known| known.rtype == rtype && known.name == *name)
        };
        self.places.find(hash, is_same).map(|place| *place as usize)
    }

    /// Whether there is room for another one, at the price of those of `told` that came only once, and
    /// of the lookups that ended with them.
    fn make_room(&mut self, told: (&mut Rows, &mut Kept), coverage: &mut Coverage) -> bool {
        if self.places.len() < MAX_QUESTIONS {
            return true;
        }
        coverage.limited(Limit::Names);
        // Not for every newcomer: it costs the whole table.
        if self.overflow.is_multiple_of(PURGE_AFTER) {
            self.forget_rare(told);
        }
        self.overflow += 1;
        self.places.len() < MAX_QUESTIONS
    }

    /// Forgets those that were answered only once.
    fn forget_rare(&mut self, (told, kept): (&mut Rows, &mut Kept)) {
        let Self { places, known, vacant, .. } = self;
        places.retain(|place| {
            let open = known.get_mut(*place as usize);
            let rare = open.and_then(|open| open.take_if(|open| !open.often));
            if let Some(open) = &rare {
                told.forget(open.told, kept);
                vacant.push(*place);
            }
            rare.is_none()
        });
    }

    /// A place for `question`, which is new, asked at `service`.
    fn add(&mut self, question: &Question, service: ServerId, hash: u64) -> Option<usize> {
        let open = Open {
            name: question.name.clone(),
            beside: None,
            told: None,
            rtype: question.rtype,
            service,
            answers: 0,
            often: false,
            contradicted: false,
        };
        let place = self.vacant.pop().or_else(|| {
            self.known.push(None);
            u32::try_from(self.known.len() - 1).ok()
        })?;
        *self.known.get_mut(place as usize)? = Some(open);
        let Self { places, known, hasher, .. } = self;
        places.insert_unique(hash, place, |place| {
            let known = known.get(*place as usize).and_then(Option::as_ref);
            known.map_or(0, |known| hasher.hash_one((&known.name, known.rtype)))
        });
        Some(place as usize)
    }
}

impl Answer {
    /// What a response is worth.
    pub(super) fn of(response: &Response) -> Option<Self> {
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
    /// Takes down whose turn it is, once there are answers of two kinds. Returns for how many turns that
    /// took room.
    fn note_turn(
        &mut self,
        rows: &Rows,
        (server, said): (ServerId, Said),
        ts: Timestamp,
        room: bool,
    ) -> usize {
        let beside = self.beside.as_deref_mut();
        let turns = beside.and_then(|beside| beside.turns.as_deref_mut());
        if let Some(turns) = turns {
            return usize::from(turns.note(server, said, ts, room));
        }
        // So far all were of one kind: that of the latest one.
        if !room || rows.said(self.told).is_none_or(|known| known == said) {
            return 0;
        }
        let mut turns = Turns::begin(&rows.told(self.told));
        turns.note(server, said, ts, room);
        let count = turns.len();
        self.beside.get_or_insert_default().turns = Some(Box::new(turns));
        count
    }

    /// Takes down what `response` says, as the next one of its `lookup`.
    fn note(
        &mut self,
        rows: &mut Rows,
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
        if self.answers >= MAX_ANSWERS && !rows.has(self.told, (server, answer)) {
            return;
        }
        if let Answer::Data(digest) = answer {
            let sets = &mut self.beside.get_or_insert_default().sets;
            sets.or_insert_with(digest, || Box::from(records.addresses.as_slice()));
        }
        self.often |= self.told.is_some();
        let seen = response.arrived();
        let news = rows.compare(self.told, (server, answer), seen.ts, !self.contradicted);
        self.contradicted |= news.contradicts;
        let place = news.known.or_else(|| {
            let place = rows.add(seen, (server, answer), self.told)?;
            self.told = Some(place);
            self.answers += 1;
            Some(place)
        });
        let Some(place) = place else { return };
        rows.note(place, seen, records, news.hasty);
        let fits = match lookup.outcome {
            LookupOutcome::Ok => answer.is_data(),
            LookupOutcome::Negative => matches!(answer, Answer::NoName | Answer::NoData),
            _ => matches!(answer, Answer::Error(_)),
        };
        let Some(end) = lookup.end.filter(|_| fits) else { return };
        if let Some((ended, last)) = rows.end(place)
            && (self.contradicted || ended <= FEW)
        {
            kept.keep(lookup, end, last, &self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are tens of thousands of them.
    #[test]
    fn a_question_takes_few_bytes() {
        assert_eq!(size_of::<Option<Open>>(), 40);
    }
}
