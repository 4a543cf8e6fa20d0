//! What became of names that the cluster's DNS has to ask somebody else for, as clients saw it.
//!
//! CoreDNS answers its own zone from memory (rulebook K8); everything else goes to an upstream
//! resolver. Where external names fail while the same servers answer cluster names, the trouble
//! lies behind them, even if the capture never shows the upstream. This module keeps the
//! failures one by one and the rest in tallies; what they mean is for `upstream.rs` to say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::Equivalent;
use hashbrown::hash_map::Entry;

use super::glance::{Glance, NameKind};
use crate::base::{Coverage, Host, Limit, Map, Span, Timestamp, Transport, digest, push_within};
use crate::capture::Seen;
use crate::dns::{Name, Question, Rcode};
use crate::transaction::{Outcome, Response, Transaction};

/// How many failures are kept one by one.
const MAX_TROUBLES: usize = 100_000;
/// How many seconds are tallied, for each server: more than two days of one.
const MAX_SECONDS: usize = 200_000;
/// How many zones may hold a label `svc`. A capture sees one cluster or two.
const MAX_ZONES: usize = 256;
/// How many questions are tallied one by one: as many as a table holds before it doubles.
const MAX_QUESTIONS: usize = 57_344;
/// A question that was silent this often, and never answered, is no accident of loss.
const STUCK: u64 = 3;
/// An answer that took this long made somebody wait: the first common retry timers are 1 s
/// (rulebook `slow_any`).
const SLOW: Duration = Duration::from_secs(1);
/// A cache answers sooner than this: in less than a millisecond, and the way there and back.
pub(super) const CACHE: Duration = Duration::from_millis(10);

/// A question of a client that did not go well.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// The first query.
    pub sent: Seen,
    /// The answer, if one came.
    pub replied: Option<Seen>,
    /// Who asked.
    pub client: IpAddr,
    /// The address behind the one that was asked, where that is visible.
    pub responder: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// The name and type that were asked.
    pub question: Question,
    /// What was wrong.
    pub kind: TroubleKind,
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// It was an error.
    Error(Rcode),
    /// None came.
    Silent,
    /// It was right and took a second or more.
    Slow,
}

impl Trouble {
    /// How long the answer took.
    pub fn wait(&self) -> Option<Duration> {
        Some(self.replied?.ts.since(self.sent.ts))
    }

    /// From the first query to the answer.
    pub fn span(&self) -> Span {
        Span::at(self.sent.ts).with(self.replied.map_or(self.sent.ts, |seen| seen.ts))
    }
}

/// Clients' questions to one server in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Names of the cluster, answered at once.
    pub cluster_ok: u64,
    /// Names of the cluster that failed or waited.
    pub cluster_bad: u64,
    /// Of them, those that were told an error.
    pub cluster_errors: u64,
    /// Other names, answered at once.
    pub outside_ok: u64,
    /// Other names that failed or waited.
    pub outside_bad: u64,
    /// Of other names, those answered at once but not from a cache.
    pub outside_missed: u64,
}

impl Second {
    fn add(&mut self, other: Self) {
        self.cluster_ok += other.cluster_ok;
        self.cluster_bad += other.cluster_bad;
        self.cluster_errors += other.cluster_errors;
        self.outside_ok += other.outside_ok;
        self.outside_bad += other.outside_bad;
        self.outside_missed += other.outside_missed;
    }
}

/// Clients' questions, by what kind of name they ask for.
#[derive(Debug, Default)]
pub struct Outside {
    troubles: Vec<Trouble>,
    seconds: Map<(Host, i64), Second>,
    zones: Zones,
    /// By the digest of name, type and class.
    questions: Map<u64, Asked>,
}

/// What became of one question.
#[derive(Debug)]
struct Asked {
    silent: u32,
    answered: u32,
    owner: Owner,
}

/// What stands behind labels `svc`, in the order in which it was seen first.
#[derive(Debug, Default)]
struct Zones(Vec<Zone>);

#[derive(Debug)]
struct Zone {
    name: Name,
    answers: u64,
    authoritative: bool,
}

/// Whom a name belongs to.
#[derive(Debug, Clone, Copy)]
enum Owner {
    /// The cluster, for it has a label `svc`; with the place of the zone behind that, if it is kept.
    Service(Option<u16>),
    /// The cluster, for it lies in one of its zones.
    Cluster,
    /// Somebody else, as far as so many zones tell.
    Other(u16),
}

impl Zones {
    /// Whom `name` belongs to; `before` is what was known of it when it was last asked for.
    fn owner(&mut self, name: &Name, kind: NameKind, before: Option<Owner>) -> Owner {
        match before {
            Some(Owner::Other(zones)) if usize::from(zones) < self.0.len() => {}
            Some(known) => return known,
            None => {}
        }
        if let Some(skip) = kind.zone {
            let ending = name.ending(skip.into());
            let known = self.0.iter().position(|zone| ending.equivalent(&zone.name));
            let place = known.or_else(|| {
                (self.0.len() < MAX_ZONES).then(|| {
                    self.0.push(Zone { name: ending.to_name(), answers: 0, authoritative: false });
                    self.0.len() - 1
                })
            });
            return Owner::Service(place.and_then(|place| u16::try_from(place).ok()));
        }
        if self.0.iter().any(|zone| name.is_under(&zone.name)) {
            Owner::Cluster
        } else {
            Owner::Other(u16::try_from(self.0.len()).unwrap_or(u16::MAX))
        }
    }

    /// Learns from an answer to a name of this owner.
    fn learn(&mut self, owner: Owner, transaction: &Transaction) {
        let Owner::Service(Some(place)) = owner else { return };
        if let (Some(zone), Some(answer)) =
            (self.0.get_mut(usize::from(place)), transaction.answer())
        {
            zone.answers += 1;
            zone.authoritative |= answer.header.authoritative();
        }
    }
}

impl Outside {
    /// Takes a client's own question.
    pub fn note(&mut self, transaction: &Transaction, glance: &Glance, coverage: &mut Coverage) {
        if transaction.attempts.is_empty() || transaction.is_infrastructure() || glance.name.reverse
        {
            return;
        }
        let verdict = verdict(transaction, glance);
        let owner = self.tally(&transaction.question, glance.name, verdict);
        self.zones.learn(owner, transaction);
        let cluster = !matches!(owner, Owner::Other(_));
        let mut second = Second::default();
        match (cluster, verdict) {
            (_, Some(Verdict::Unknown)) => return,
            (true, None) => second.cluster_ok = 1,
            (true, Some(bad)) => {
                let told = matches!(bad, Verdict::Bad(TroubleKind::Error(_)));
                (second.cluster_bad, second.cluster_errors) = (1, u64::from(told));
            }
            (false, None) => {
                second.outside_ok = 1;
                let missed = glance.latency.is_some_and(|took| took >= CACHE);
                second.outside_missed = u64::from(missed && transaction.attempts.len() == 1);
            }
            (false, Some(_)) => second.outside_bad = 1,
        }
        let sent = glance.first;
        let responder = transaction.responder();
        let room = self.seconds.len() < MAX_SECONDS;
        match self.seconds.entry((Host(responder), second_of(sent.ts))) {
            Entry::Occupied(mut known) => known.get_mut().add(second),
            Entry::Vacant(new) if room => {
                new.insert(second);
            }
            Entry::Vacant(_) => {}
        }
        let Some(Verdict::Bad(kind)) = verdict else { return };
        let trouble = Trouble {
            sent,
            replied: transaction.responses.first().map(Response::arrived),
            client: transaction.client.ip(),
            responder,
            transport: transaction.transport,
            question: transaction.question.clone(),
            kind,
        };
        if !push_within(&mut self.troubles, trouble, MAX_TROUBLES) {
            coverage.limited(Limit::HarmedLookups);
        }
    }

    /// The zones of clusters: what stands behind the label `svc` of Service names, with AA
    /// where any is (rulebook K8), else all of them.
    pub fn cluster_zones(&self) -> BTreeSet<Name> {
        let zones = &self.zones.0;
        let sure = zones.iter().any(|zone| zone.authoritative);
        zones
            .iter()
            .filter(|zone| zone.answers > 0 && (zone.authoritative || !sure))
            .map(|zone| zone.name.clone())
            .collect()
    }

    /// The failures of names outside the cluster, in the order of asking.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        let zones = self.cluster_zones();
        self.troubles
            .iter()
            .filter(move |trouble| !zones.iter().any(|zone| trouble.question.name.is_under(zone)))
    }

    /// What was asked of these servers in the seconds that `span` touches.
    pub fn during(&self, span: Span, servers: impl IntoIterator<Item = IpAddr>) -> Second {
        let mut sum = Second::default();
        let (first, last) = (second_of(span.start), second_of(span.end));
        let few = last.abs_diff(first) <= self.seconds.len() as u64;
        for server in servers {
            let of_server = |(at, second): (&(Host, i64), &Second)| {
                let held = at.0.0 == server && (first..=last).contains(&at.1);
                held.then_some(*second)
            };
            if few {
                let known = |second: i64| self.seconds.get(&(Host(server), second));
                (first..=last).filter_map(known).for_each(|second| sum.add(*second));
            } else {
                self.seconds.iter().filter_map(of_server).for_each(|second| sum.add(second));
            }
        }
        sum
    }

    /// Whether it is by their names that questions stay unanswered, and not by where they go:
    /// nearly all silent ones are for names that never got an answer, asked again and again,
    /// while others were answered.
    pub fn fails_by_name(&self) -> bool {
        let (mut silent, mut stuck, mut answered) = (0, 0, 0);
        self.questions.values().for_each(|asked| {
            let no = u64::from(asked.silent);
            silent += no;
            answered += u64::from(asked.answered);
            stuck += if no >= STUCK && asked.answered == 0 { no } else { 0 };
        });
        stuck > 0 && stuck * 10 >= silent * 9 && answered > stuck
    }

    /// Counts what became of a question, and says whom its name belongs to.
    fn tally(&mut self, question: &Question, kind: NameKind, verdict: Option<Verdict>) -> Owner {
        let (silent, answered) = match verdict {
            Some(Verdict::Bad(TroubleKind::Silent)) => (1, 0),
            Some(Verdict::Unknown) => (0, 0),
            _ => (0, 1),
        };
        let key = digest_of(question);
        if let Some(known) = self.questions.get_mut(&key) {
            known.silent = known.silent.saturating_add(silent);
            known.answered = known.answered.saturating_add(answered);
            known.owner = self.zones.owner(&question.name, kind, Some(known.owner));
            return known.owner;
        }
        let owner = self.zones.owner(&question.name, kind, None);
        if silent + answered > 0 && self.questions.len() < MAX_QUESTIONS {
            self.questions.insert(key, Asked { silent, answered, owner });
        }
        owner
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Bad(TroubleKind),
    Stalled,
    Unknown,
}

/// What was wrong with a question; `None` if nothing was.
fn verdict(transaction: &Transaction, glance: &Glance) -> Option<Verdict> {
    // The server's first word counts even if the client had stopped listening.
    if let Some(first) = transaction.responses.first()
        && matches!(first.rcode, Rcode::SERVFAIL | Rcode::REFUSED)
    {
        return Some(Verdict::Bad(TroubleKind::Error(first.rcode)));
    }
    match transaction.outcome() {
        Outcome::Ok | Outcome::Negative if glance.latency? < SLOW => None,
        // After a repeat, the wait was for the client's own timer.
        Outcome::Ok | Outcome::Negative if transaction.attempts.len() > 1 => Some(Verdict::Stalled),
        Outcome::Ok | Outcome::Negative => Some(Verdict::Bad(TroubleKind::Slow)),
        Outcome::Truncated => None,
        Outcome::Timeout | Outcome::Late => Some(Verdict::Bad(TroubleKind::Silent)),
        Outcome::Error(_) | Outcome::Rejected(_) | Outcome::Unknown => Some(Verdict::Unknown),
    }
}

fn digest_of(question: &Question) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&question.name.digest().to_be_bytes());
    bytes[8..10].copy_from_slice(&question.rtype.0.to_be_bytes());
    bytes[10..].copy_from_slice(&question.class.to_be_bytes());
    digest(&bytes)
}

fn second_of(ts: Timestamp) -> i64 {
    ts.nanos().div_euclid(1_000_000_000)
}
