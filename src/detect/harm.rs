//! Harmed lookups: who waited or failed, and by which steps (rulebook 7.1).

use std::net::IpAddr;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use super::answers::Answers;
use super::flow::{Cell, Flow};
use crate::base::{Coverage, Limit, Number, Numbered, Timestamp, push_within};
use crate::capture::Seen;
use crate::dns::{Name, Rcode, RecordType};
use crate::lookup::{Lookup, LookupOutcome, Resolver, Sent, Step};
use crate::packet::IcmpKind;
use crate::transaction::timing::DEFAULT_TIMEOUT;
use crate::transaction::{ConnectOutcome, Outcome, TcpAttempt, Transaction};

/// A delay below this is nobody's harm (rulebook 7.1).
const NOTICEABLE: Duration = Duration::from_millis(100);
/// A step that took longer than this is one that its lookup waited for.
const SLOW_STEP: Duration = Duration::from_millis(100);
/// How many lookups that failed or waited are kept for attribution.
const MAX_HARMED: usize = 150_000;
/// How many that were told at once that there is nothing. They are harm only if that is wrong, and
/// ordinary noise must not leave those that failed without a place.
const MAX_NEGATIVE: usize = 50_000;
/// How many bad steps of one lookup are kept.
const MAX_STEPS: usize = 12;

/// How a lookup was harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HarmKind {
    /// It failed.
    Failed,
    /// It succeeded, or was told that the name does not exist, after a delay.
    Slow,
    /// It was told at once that there is no such name or record: harm only if that is wrong.
    Negative,
    /// It got an answer that a rule shows to be wrong: the application cannot work with it.
    Wrong,
}

/// What was bad about one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symptom {
    /// At least one attempt was not answered.
    Unanswered,
    /// The answer came after the client had given up.
    Late,
    /// ICMP said no.
    Rejected(IcmpKind),
    /// A server said no.
    Error(Rcode),
    /// The name does not exist.
    NxDomain,
    /// The name has no such record.
    NoData,
    /// The answer was truncated.
    Truncated,
    /// The TCP connection failed.
    Connect,
    /// The answer came in time, after a noticeable wait.
    Slow,
    /// The answer came, and the client asked again all the same.
    AskedAgain,
}

/// A step of a harmed lookup that did the harm.
#[derive(Debug, Clone, Copy)]
pub struct BadStep<'a> {
    /// When its first frame was sent.
    pub sent: Timestamp,
    /// Who was asked.
    pub asked: Target,
    /// The name that was asked.
    pub name: &'a Name,
    /// The type that was asked.
    pub rtype: RecordType,
    /// What was bad.
    pub symptom: Symptom,
}

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address that was asked.
    pub server: IpAddr,
    /// The address behind it, where translation is visible, else the same.
    pub responder: IpAddr,
}

/// A lookup that failed, waited, or got a negative answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Harmed {
    /// Who asked.
    pub client: IpAddr,
    /// For what.
    pub name: Name,
    /// What asked.
    pub resolver: Resolver,
    /// The first query.
    pub start: Seen,
    /// The end, as the application felt it.
    pub end: Timestamp,
    /// How it was harmed.
    pub kind: HarmKind,
    /// The steps that did it, in order; see [`Steps::of`].
    pub bad: Bad,
}

/// Where the bad steps of a lookup stand among all of a [`Ledger`]; nowhere by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bad(Range<u32>);

impl Harmed {
    /// A lookup that ended in time, with the wrong answer.
    pub(super) fn wrong(lookup: &Lookup, end: Timestamp) -> Self {
        Self {
            client: lookup.client,
            name: lookup.name.clone(),
            resolver: lookup.resolver,
            start: lookup.start,
            end,
            kind: HarmKind::Wrong,
            bad: Bad::default(),
        }
    }

    /// How long the application waited.
    pub fn duration(&self) -> Duration {
        self.end.since(self.start.ts)
    }
}

/// The harmed lookups of a capture, in the order of their first frames.
#[derive(Debug, Default)]
pub struct Ledger {
    harmed: Vec<Harmed>,
    /// How many of them were only told that there is no such name or record.
    negative: usize,
    steps: Steps,
}

/// The bad steps of all harmed lookups, with what many of them have in common told by number: a
/// lookup that waited has half a dozen.
#[derive(Debug, Default)]
pub struct Steps {
    rows: Vec<Row>,
    targets: Numbered<Target>,
    names: Numbered<Name>,
}

#[derive(Debug)]
struct Row {
    sent: Timestamp,
    asked: Number,
    name: Number,
    rtype: RecordType,
    symptom: Symptom,
}

impl Ledger {
    /// Notes `lookup` if it was harmed; the names that it is told by are shared with `answers`.
    pub fn note(&mut self, lookup: &Lookup, answers: &Answers, coverage: &mut Coverage) {
        let Some(end) = lookup.end else { return };
        let waited = end.since(lookup.start.ts);
        let kind = match lookup.outcome {
            LookupOutcome::Unknown => return,
            outcome if outcome.is_failure() => HarmKind::Failed,
            _ if waited >= NOTICEABLE => HarmKind::Slow,
            LookupOutcome::Negative => HarmKind::Negative,
            _ => return,
        };
        let negative = kind == HarmKind::Negative;
        let full = if negative {
            self.negative >= MAX_NEGATIVE
        } else {
            self.harmed.len() - self.negative >= MAX_HARMED
        };
        if full {
            coverage.limited(Limit::HarmedLookups);
            return;
        }
        self.negative += usize::from(negative);
        let steps = lookup.steps.iter().filter_map(|step| bad_step(step, lookup)).take(MAX_STEPS);
        let bad = self.steps.note(steps, answers);
        let harmed = Harmed {
            client: lookup.client,
            name: self.steps.shared(&lookup.name, answers),
            resolver: lookup.resolver,
            start: lookup.start,
            end,
            kind,
            bad,
        };
        push_within(&mut self.harmed, harmed, MAX_HARMED + MAX_NEGATIVE);
    }

    /// Notes connections of clients that ask over TCP alone and that never opened: each is a lookup of which
    /// nothing else shows, not even its name.
    pub fn note_connections<'a>(
        &mut self,
        flows: impl Iterator<Item = &'a Flow>,
        answers: &Answers,
        coverage: &mut Coverage,
    ) {
        let (name, known) = (Name::root(), self.harmed.len());
        for flow in flows {
            if self.harmed.len() - self.negative >= MAX_HARMED {
                coverage.limited(Limit::HarmedLookups);
                continue;
            }
            let Cell { client, server, responder, .. } = *flow.cell();
            let step = BadStep {
                sent: flow.first.ts,
                asked: Target { server, responder },
                name: &name,
                rtype: RecordType(0),
                symptom: Symptom::Connect,
            };
            let bad = self.steps.note(std::iter::once(step), answers);
            let harmed = Harmed {
                client,
                name: name.clone(),
                resolver: Resolver::Unknown,
                start: flow.first,
                end: flow.last_sent().max(flow.first.ts.after(DEFAULT_TIMEOUT)),
                kind: HarmKind::Failed,
                bad,
            };
            push_within(&mut self.harmed, harmed, MAX_HARMED + MAX_NEGATIVE);
        }
        if self.harmed.len() > known {
            self.harmed.sort_by_key(|harmed| (harmed.start, harmed.client));
        }
    }

    /// Keeps only those that `keep` holds for, which gets the steps of all.
    pub fn retain(&mut self, mut keep: impl FnMut(&Harmed, &Steps) -> bool) {
        self.harmed.retain(|harmed| keep(harmed, &self.steps));
        let negative = |harmed: &&Harmed| harmed.kind == HarmKind::Negative;
        self.negative = self.harmed.iter().filter(negative).count();
    }

    /// All of them.
    pub fn harmed(&self) -> &[Harmed] {
        &self.harmed
    }

    /// Their bad steps.
    pub fn steps(&self) -> &Steps {
        &self.steps
    }
}

impl Steps {
    /// The bad steps of a lookup, in order.
    pub fn of(&self, harmed: &Harmed) -> impl DoubleEndedIterator<Item = BadStep<'_>> {
        let Bad(Range { start, end }) = harmed.bad;
        let rows = self.rows.get(start as usize..end as usize).unwrap_or_default();
        rows.iter().filter_map(|row| {
            Some(BadStep {
                sent: row.sent,
                asked: *self.targets.get(row.asked)?,
                name: self.names.get(row.name)?,
                rtype: row.rtype,
                symptom: row.symptom,
            })
        })
    }

    /// Takes down the bad steps of a lookup.
    fn note<'a>(&mut self, steps: impl Iterator<Item = BadStep<'a>>, answers: &Answers) -> Bad {
        let place = |rows: &Vec<Row>| u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let start = place(&self.rows);
        for BadStep { sent, asked, name, rtype, symptom } in steps {
            let asked = self.targets.number(&asked, Target::eq, |target| *target);
            let name = self.name((name, rtype), answers);
            let row = Row { sent, asked, name, rtype, symptom };
            push_within(&mut self.rows, row, (MAX_HARMED + MAX_NEGATIVE) * MAX_STEPS);
        }
        Bad(start..place(&self.rows))
    }

    fn name(&mut self, (name, rtype): (&Name, RecordType), answers: &Answers) -> Number {
        self.names.number(name, Name::same_case, |name| answers.shared(name, rtype))
    }

    /// The one copy of `name`, as it was spelled.
    fn shared(&mut self, name: &Name, answers: &Answers) -> Name {
        let number = self.name((name, RecordType::A), answers);
        self.names.get(number).unwrap_or(name).clone()
    }
}

fn bad_step<'a>(step: &'a Step, lookup: &Lookup) -> Option<BadStep<'a>> {
    match &step.sent {
        Sent::Question(transaction) => bad_question(transaction, lookup),
        Sent::Connect(connect) => bad_connect(connect),
    }
}

fn bad_question<'a>(transaction: &'a Transaction, lookup: &Lookup) -> Option<BadStep<'a>> {
    transaction.attempts.last()?;
    let symptom = match transaction.outcome() {
        Outcome::Timeout => Symptom::Unanswered,
        Outcome::Late => Symptom::Late,
        Outcome::Rejected(kind) => Symptom::Rejected(kind),
        Outcome::Unknown => return None,
        outcome => {
            let answer = transaction.answer()?;
            if transaction.requeried_after_answer() {
                Symptom::AskedAgain
            } else if transaction.attempts.len() > 1 && !matches!(outcome, Outcome::Error(_)) {
                Symptom::Unanswered
            } else if answer.stopped && lookup.asked_anew(transaction).is_some() {
                Symptom::AskedAgain
            } else {
                match outcome {
                    Outcome::Error(rcode) => Symptom::Error(rcode),
                    Outcome::Truncated => Symptom::Truncated,
                    _ if transaction.latency()? >= SLOW_STEP => Symptom::Slow,
                    Outcome::Negative if answer.rcode == Rcode::NXDOMAIN => Symptom::NxDomain,
                    Outcome::Negative => Symptom::NoData,
                    _ => return None,
                }
            }
        }
    };
    // Whom the waiting was for: the server that the first attempt went to, not the one that
    // answered a later attempt.
    let waited_for = match symptom {
        Symptom::Unanswered => {
            transaction.attempts.first().and_then(|first| first.backend(transaction.server))
        }
        _ => None,
    };
    let responder = waited_for.unwrap_or_else(|| transaction.responder());
    Some(BadStep {
        sent: transaction.first().ts,
        asked: Target { server: transaction.server.ip(), responder },
        name: &transaction.question.name,
        rtype: transaction.question.rtype,
        symptom,
    })
}

fn bad_connect(connect: &TcpAttempt) -> Option<BadStep<'_>> {
    static ROOT: LazyLock<Name> = LazyLock::new(Name::root);
    let failed = !matches!(connect.outcome(), ConnectOutcome::Accepted | ConnectOutcome::Unknown);
    failed.then(|| BadStep {
        sent: connect.first().ts,
        asked: Target { server: connect.server.ip(), responder: connect.responder() },
        name: &ROOT,
        rtype: RecordType(0),
        symptom: Symptom::Connect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are hundreds of thousands of them.
    #[test]
    fn a_step_takes_few_bytes() {
        assert_eq!(size_of::<Row>(), 24);
    }
}
