//! What became of names that the cluster's DNS has to ask somebody else for, as clients saw it.
//!
//! CoreDNS answers its own zone from memory (rulebook K8); everything else goes to an upstream
//! resolver. Where external names fail while the same servers answer cluster names, the trouble
//! lies behind them, even if the capture never shows the upstream. This module keeps the
//! failures one by one and the rest in tallies; what they mean is for `upstream.rs` to say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{Coverage, Limit, Map, Span, Table, Timestamp, Transport};
use crate::capture::Seen;
use crate::dns::{Ending, Name, Question, Rcode, RecordType};
use crate::transaction::{Outcome, Response, Transaction};

/// How many failures are kept one by one.
const MAX_TROUBLES: usize = 100_000;
/// How many seconds are tallied, for each server: more than two days of one.
const MAX_SECONDS: usize = 200_000;
/// How many zones may hold a label `svc`. A capture sees one cluster or two.
const MAX_ZONES: usize = 256;
/// How many questions are tallied one by one.
const MAX_QUESTIONS: usize = 65_536;
/// A question that was silent this often, and never answered, is no accident of loss.
const STUCK: u64 = 3;
/// An answer that took this long made somebody wait: the first common retry timers are 1 s
/// (rulebook `slow_any`).
const SLOW: Duration = Duration::from_secs(1);
/// A cache answers sooner than this: in less than a millisecond, and the way there and back.
const CACHE: Duration = Duration::from_millis(10);

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
        self.outside_ok += other.outside_ok;
        self.outside_bad += other.outside_bad;
        self.outside_missed += other.outside_missed;
    }
}

/// Clients' questions, by what kind of name they ask for.
#[derive(Debug, Default)]
pub struct Outside {
    troubles: Vec<Trouble>,
    seconds: BTreeMap<(IpAddr, i64), Second>,
    zones: Table<Name, Zone>,
    /// By the digest of the name, type and class: how often each was silent, and was answered.
    questions: Map<(u64, RecordType, u16), (u32, u32)>,
}

/// What stood behind a label `svc`.
#[derive(Debug, Default)]
struct Zone {
    answers: u64,
    authoritative: bool,
}

impl Outside {
    /// Takes a client's own question.
    pub fn note(&mut self, transaction: &Transaction, coverage: &mut Coverage) {
        if transaction.attempts.is_empty() || transaction.is_infrastructure() {
            return;
        }
        let name = &transaction.question.name;
        if is_reverse(name) {
            return;
        }
        self.learn(transaction);
        let cluster = self.is_cluster(name);
        let verdict = verdict(transaction);
        self.tally(&transaction.question, verdict);
        let mut second = Second::default();
        match (cluster, verdict) {
            (_, Some(Verdict::Unknown)) => return,
            (true, None) => second.cluster_ok = 1,
            (true, Some(_)) => second.cluster_bad = 1,
            (false, None) => {
                second.outside_ok = 1;
                let missed = transaction.server_latency().is_some_and(|took| took >= CACHE);
                second.outside_missed = u64::from(missed);
            }
            (false, Some(_)) => second.outside_bad = 1,
        }
        let sent = transaction.first();
        let responder = transaction.responder();
        let at = (responder, second_of(sent.ts));
        if self.seconds.len() < MAX_SECONDS || self.seconds.contains_key(&at) {
            self.seconds.entry(at).or_default().add(second);
        }
        let Some(Verdict::Bad(kind)) = verdict else { return };
        if self.troubles.len() >= MAX_TROUBLES {
            coverage.limited(Limit::HarmedLookups);
            return;
        }
        self.troubles.push(Trouble {
            sent,
            replied: transaction.responses.first().map(Response::arrived),
            client: transaction.client.ip(),
            responder,
            transport: transaction.transport,
            question: transaction.question.clone(),
            kind,
        });
    }

    /// The zones of clusters: what stands behind the label `svc` of Service names, with AA
    /// where any is (rulebook K8), else all of them.
    pub fn cluster_zones(&self) -> BTreeSet<Name> {
        let sure = self.zones.values().any(|zone| zone.authoritative);
        self.zones
            .iter()
            .filter(|(_, zone)| zone.answers > 0 && (zone.authoritative || !sure))
            .map(|(name, _)| name.clone())
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
        for server in servers {
            let seconds = (server, second_of(span.start))..=(server, second_of(span.end));
            self.seconds.range(seconds).for_each(|(_, second)| sum.add(*second));
        }
        sum
    }

    /// Whether it is by their names that questions stay unanswered, and not by where they go:
    /// nearly all silent ones are for names that never got an answer, asked again and again,
    /// while others were answered.
    pub fn fails_by_name(&self) -> bool {
        let (mut silent, mut stuck, mut answered) = (0, 0, 0);
        for (no, yes) in self.questions.values().map(|(no, yes)| (u64::from(*no), u64::from(*yes)))
        {
            silent += no;
            answered += yes;
            stuck += if no >= STUCK && yes == 0 { no } else { 0 };
        }
        stuck > 0 && stuck * 10 >= silent * 9 && answered > stuck
    }

    fn tally(&mut self, question: &Question, verdict: Option<Verdict>) {
        let (no, yes) = match verdict {
            Some(Verdict::Bad(TroubleKind::Silent)) => (1, 0),
            Some(Verdict::Unknown) => return,
            _ => (0, 1),
        };
        let key = (question.name.digest(), question.rtype, question.class);
        if self.questions.len() < MAX_QUESTIONS || self.questions.contains_key(&key) {
            let known = self.questions.entry(key).or_default();
            known.0 = known.0.saturating_add(no);
            known.1 = known.1.saturating_add(yes);
        }
    }

    fn is_cluster(&self, name: &Name) -> bool {
        has_svc(name).is_some() || self.zones.unordered().any(|(zone, _)| name.is_under(zone))
    }

    fn learn(&mut self, transaction: &Transaction) {
        let Some(zone) = has_svc(&transaction.question.name) else { return };
        if !self.zones.contains_key(&zone) && self.zones.len() < MAX_ZONES {
            self.zones.entry(zone.to_name()).or_default();
        }
        let Some(known) = self.zones.get_mut(&zone) else { return };
        if let Some(answer) = transaction.answer() {
            known.answers += 1;
            known.authoritative |= answer.header.authoritative();
        }
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Bad(TroubleKind),
    Stalled,
    Unknown,
}

/// What was wrong with a question; `None` if nothing was.
fn verdict(transaction: &Transaction) -> Option<Verdict> {
    // The server's first word counts even if the client had stopped listening.
    if let Some(first) = transaction.responses.first()
        && matches!(first.rcode, Rcode::SERVFAIL | Rcode::REFUSED)
    {
        return Some(Verdict::Bad(TroubleKind::Error(first.rcode)));
    }
    match transaction.outcome() {
        Outcome::Ok | Outcome::Negative if transaction.latency()? < SLOW => None,
        // After a repeat, the wait was for the client's own timer.
        Outcome::Ok | Outcome::Negative if transaction.attempts.len() > 1 => Some(Verdict::Stalled),
        Outcome::Ok | Outcome::Negative => Some(Verdict::Bad(TroubleKind::Slow)),
        Outcome::Truncated => None,
        Outcome::Timeout | Outcome::Late => Some(Verdict::Bad(TroubleKind::Silent)),
        Outcome::Error(_) | Outcome::Rejected(_) | Outcome::Unknown => Some(Verdict::Unknown),
    }
}

fn second_of(ts: Timestamp) -> i64 {
    ts.nanos().div_euclid(1_000_000_000)
}

/// The zone behind the label `svc`, if the name has one with something on both sides.
fn has_svc(name: &Name) -> Option<Ending<'_>> {
    let is_svc = |(at, label): (usize, &[u8])| label.eq_ignore_ascii_case(b"svc").then_some(at);
    let at = name.labels().enumerate().filter_map(is_svc).last()?;
    (at >= 1 && name.label_count() > at + 1).then(|| name.ending(at + 1))
}

fn is_reverse(name: &Name) -> bool {
    name.labels().last().is_some_and(|label| label.eq_ignore_ascii_case(b"arpa"))
}
