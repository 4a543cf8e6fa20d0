//! Groups one client's transactions into lookups (rulebook section 5).
//!
//! Transactions come in the order of their first frames, each with all that will ever be known
//! of it. A lookup is a list of candidate names ("rounds"), each asked for one or two types. A
//! transaction belongs to an open lookup of its client as
//!
//! - **sibling**: the other family of the candidate that is being asked, sent with it or, by
//!   resolvers that ask one after the other, right after its answer;
//! - **retry**: the same question again, known by its id, by the resolver's interval, or because
//!   an error had just come back;
//! - **fallback**: the same question over TCP after a truncated answer;
//! - **next candidate**: another name of the search list, sent as soon as the one before had
//!   failed for all its types.
//!
//! Where several lookups fit, the one whose clock fits best takes it. Nothing is grouped across
//! clients, so that grouping never creates harm: a lookup is harmed only if a step of it is.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::model::{Lookup, LookupOutcome, Role, Sent, Step};
use super::resolver::{self, Resolver};
use super::search::SearchLists;
use crate::base::{Coverage, Limit, Map, Timestamp, Transport};
use crate::capture::Seen;
use crate::dns::RecordType;
use crate::transaction::timing::{self, DEFAULT_TIMEOUT, EARLY, LATE};
use crate::transaction::{Closed, ConnectOutcome, Outcome, Response, TcpAttempt, Transaction};

/// A and AAAA from one socket leave within this (rulebook `pair_win`).
const PAIR_SAME_PORT: Duration = Duration::from_millis(20);
/// A and AAAA from two sockets leave within this (rulebook `pair_win`).
const PAIR_OTHER_PORT: Duration = Duration::from_millis(50);
/// A resolver goes on to its next question this soon after an answer.
const AT_ONCE: Duration = Duration::from_millis(150);
/// A truncated answer is followed by a TCP connection this soon; SYN retransmissions are the
/// connection's own.
const FALLBACK: Duration = Duration::from_secs(2);
/// How many lookups are open at once.
const MAX_OPEN: usize = 1 << 18;

/// Groups transactions into lookups; see the module's docs for its rules.
#[derive(Debug, Default)]
pub struct Grouper {
    open: VecDeque<Open>,
    /// Serial number of the first of `open`.
    base: u64,
    clients: Map<IpAddr, SmallVec<[u64; 2]>>,
    lists: SearchLists,
    now: Option<Timestamp>,
}

#[derive(Debug)]
struct Open {
    client: IpAddr,
    steps: Vec<Step>,
    round: usize,
    /// Leading labels of the name that are the application's own, once a suffix showed them.
    base: Option<usize>,
    /// When the last thing the application waits for in this round came or was given up.
    ends: Timestamp,
    /// Until when a further step may follow.
    horizon: Timestamp,
    approximate: bool,
}

/// How well a step fits an open lookup: the kind of tie first, then the distance from the
/// expected time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    looseness: u8,
    off: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    fit: Fit,
    role: Role,
    next_round: Option<usize>,
}

impl Grouper {
    /// Takes one transaction or connection, and hands on lookups that are over.
    pub fn take(
        &mut self,
        closed: &Closed,
        coverage: &mut Coverage,
        next: &mut impl FnMut(Lookup),
    ) {
        let first = match closed {
            Closed::Transaction(transaction) => transaction.first(),
            Closed::Connect(connect) => connect.first(),
        };
        self.advance(first.ts, coverage, next);
        match closed {
            Closed::Transaction(transaction) => {
                if !transaction.attempts.is_empty() && !transaction.is_infrastructure() {
                    self.transaction(transaction);
                }
            }
            Closed::Connect(connect) => self.connect(connect),
        }
    }

    /// Closes every lookup: the capture is over.
    pub fn finish(&mut self, next: &mut impl FnMut(Lookup)) {
        while !self.open.is_empty() {
            self.close_first(next);
        }
    }

    fn advance(&mut self, ts: Timestamp, coverage: &mut Coverage, next: &mut impl FnMut(Lookup)) {
        let now = self.now.map_or(ts, |now| now.max(ts));
        self.now = Some(now);
        while self.open.front().is_some_and(|first| first.horizon < now) {
            self.close_first(next);
        }
        if self.open.len() >= MAX_OPEN {
            coverage.limited(Limit::OpenLookups);
            self.close_first(next);
        }
    }

    fn close_first(&mut self, next: &mut impl FnMut(Lookup)) {
        let Some(open) = self.open.pop_front() else {
            return;
        };
        let serial = self.base;
        self.base += 1;
        if let Some(list) = self.clients.get_mut(&open.client) {
            list.retain(|listed| *listed != serial);
            if list.is_empty() {
                self.clients.remove(&open.client);
            }
        }
        next(open.close());
    }

    fn transaction(&mut self, transaction: &Arc<Transaction>) {
        let client = transaction.client.ip();
        let sent = transaction.first().ts;
        let serials = self.clients.get(&client).cloned().unwrap_or_default();
        let mut best: Option<(u64, Place)> = None;
        let mut same_name = false;
        for serial in serials {
            let Some(open) = index(self.base, serial).and_then(|at| self.open.get(at)) else {
                continue;
            };
            if open.horizon < sent {
                continue;
            }
            same_name |= open.asks(transaction);
            let Some(place) = open.place(transaction, &mut self.lists) else {
                continue;
            };
            if best.is_none_or(|(_, known)| place.fit < known.fit) {
                best = Some((serial, place));
            }
        }
        let found = best.and_then(|(serial, place)| {
            let at = index(self.base, serial)?;
            Some((self.open.get_mut(at)?, place))
        });
        if let Some((open, place)) = found {
            if let Some(base) = place.next_round {
                open.round += 1;
                open.base = Some(base);
            }
            open.add(place.role, Sent::Question(Arc::clone(transaction)));
        } else {
            let mut open = Open {
                client,
                steps: Vec::with_capacity(2),
                round: 0,
                base: None,
                ends: sent,
                horizon: sent,
                approximate: same_name,
            };
            open.add(Role::First, Sent::Question(Arc::clone(transaction)));
            self.clients.entry(client).or_default().push(self.base + self.open.len() as u64);
            self.open.push_back(open);
        }
    }

    /// A connection belongs to the lookup whose truncated answer made the client open it. One
    /// that belongs to none is left out: its questions open lookups of their own.
    fn connect(&mut self, connect: &Arc<TcpAttempt>) {
        let client = connect.client.ip();
        let sent = connect.first().ts;
        let serials = self.clients.get(&client).cloned().unwrap_or_default();
        let mut best: Option<(u64, Duration)> = None;
        for serial in serials {
            let Some(open) = index(self.base, serial).and_then(|at| self.open.get(at)) else {
                continue;
            };
            let Some(truncated) = open.truncated_before(sent, connect.server.ip()) else {
                continue;
            };
            let off = sent.since(truncated);
            if off <= FALLBACK && best.is_none_or(|(_, known)| off < known) {
                best = Some((serial, off));
            }
        }
        let found = best.and_then(|(serial, _)| self.open.get_mut(index(self.base, serial)?));
        if let Some(open) = found {
            open.add(Role::Fallback, Sent::Connect(Arc::clone(connect)));
        }
    }
}

fn index(base: u64, serial: u64) -> Option<usize> {
    usize::try_from(serial.checked_sub(base)?).ok()
}

impl Open {
    /// The transactions of the candidate that is being asked.
    fn current(&self) -> impl DoubleEndedIterator<Item = &Arc<Transaction>> {
        let round = self.round;
        self.steps.iter().filter(move |step| step.round == round).filter_map(Step::transaction)
    }

    /// Whether it is asking this very name.
    fn asks(&self, transaction: &Transaction) -> bool {
        self.current().any(|known| known.question.name == transaction.question.name)
    }

    /// When the last answer was truncated that a connection to `server` at `sent` could follow.
    fn truncated_before(&self, sent: Timestamp, server: IpAddr) -> Option<Timestamp> {
        self.current()
            .filter(|known| known.outcome() == Outcome::Truncated && known.server.ip() == server)
            .filter_map(|known| Some(known.answer()?.delivered().ts))
            .filter(|truncated| *truncated <= sent.after(EARLY))
            .max()
    }

    /// Where `transaction` belongs in this lookup, if anywhere.
    fn place(&self, transaction: &Transaction, lists: &mut SearchLists) -> Option<Place> {
        let sent = transaction.first().ts;
        let place = |looseness, off, role| {
            Some(Place { fit: Fit { looseness, off }, role, next_round: None })
        };
        if !self.asks(transaction) {
            return self.next_candidate(transaction, lists);
        }
        let same_question =
            self.current().rev().find(|known| known.question == transaction.question);
        let Some(known) = same_question else {
            return self.sibling(transaction);
        };
        if transaction.transport == Transport::Tcp && known.transport == Transport::Udp {
            let truncated = self.truncated_before(sent, transaction.server.ip())?;
            return place(1, sent.since(truncated), Role::Fallback);
        }
        let over = settled(known);
        let gap = sent.since(known.last_sent()?.ts);
        // The same id on another socket is no accident, however long the client waited.
        if known.id == transaction.id && (!over.happy || self.waits_for_other(known)) {
            return place(0, gap, Role::Retry);
        }
        if over.happy && !self.waits_for_other(known) {
            return None;
        }
        if over.failed && sent.since(over.at) <= AT_ONCE && sent.after(EARLY) >= over.at {
            return place(2, sent.since(over.at), Role::Retry);
        }
        // Go asks again with a new id, at its interval.
        let expected = timing::patience(&known.attempts);
        if !over.happy && timing::on_time(gap, expected) {
            return place(3, gap.abs_diff(expected), Role::Retry);
        }
        None
    }

    fn sibling(&self, transaction: &Transaction) -> Option<Place> {
        let first = self.current().next()?;
        let family = |rtype| matches!(rtype, RecordType::A | RecordType::AAAA);
        if !family(transaction.question.rtype) || !family(first.question.rtype) {
            return None;
        }
        let sent = transaction.first().ts;
        let same_port = first.client == transaction.client;
        let window = if same_port { PAIR_SAME_PORT } else { PAIR_OTHER_PORT };
        let off = sent.since(first.first().ts);
        let place = |looseness, off| {
            let fit = Fit { looseness, off };
            Some(Place { fit, role: Role::Sibling, next_round: None })
        };
        if off <= window && first.traits == transaction.traits {
            return place(u8::from(!same_port), off);
        }
        // One after the other: `single-request`, BIND's nslookup, glibc after a lost answer.
        let after = sent.since(self.ends);
        let follows = sent.after(EARLY) >= self.ends && after <= window;
        let answered = first.outcome().is_answered();
        (follows && answered && first.traits == transaction.traits)
            .then(|| place(2, after))
            .flatten()
    }

    fn next_candidate(&self, transaction: &Transaction, lists: &mut SearchLists) -> Option<Place> {
        let sent = transaction.first().ts;
        let last = self.current().next()?;
        let happy = self.current().any(|known| known.outcome() == Outcome::Ok);
        if happy || sent.after(EARLY) < self.ends {
            return None;
        }
        let waited = self.ends.since(self.started());
        let off = sent.since(self.ends);
        if off > AT_ONCE.max(waited * 3 / 100) || last.traits != transaction.traits {
            return None;
        }
        let candidate = lists.next(&last.question.name, &transaction.question.name, self.base)?;
        let fit = Fit { looseness: 4, off };
        Some(Place { fit, role: Role::First, next_round: Some(candidate.base) })
    }

    /// Whether the application still waits for the other family although `known` is answered.
    fn waits_for_other(&self, known: &Transaction) -> bool {
        self.current().any(|other| {
            other.question.rtype != known.question.rtype && !other.outcome().is_answered()
        })
    }

    fn started(&self) -> Timestamp {
        self.steps.first().map_or(Timestamp::MIN, |step| step.first().ts)
    }

    fn add(&mut self, role: Role, sent: Sent) {
        let first_of_round = role == Role::First;
        let step = Step { round: self.round, role, sent, unproven: false };
        let (ends, horizon) = match &step.sent {
            Sent::Question(transaction) => {
                let settled = settled(transaction);
                let gap = transaction
                    .last_sent()
                    .zip(self.last_try(transaction))
                    .map(|(last, before)| last.ts.since(before));
                let wait = next_wait(gap, timing::patience(&transaction.attempts));
                let horizon = if settled.happy {
                    settled.at
                } else {
                    // Waits that double: the next try may be twice as far away.
                    settled.at.max(transaction.last_sent().map_or(settled.at, |l| l.ts.after(wait)))
                };
                (settled.at, horizon)
            }
            Sent::Connect(connect) => {
                let at = connect_settled(connect);
                (at, at)
            }
        };
        self.ends = if first_of_round { ends } else { self.ends.max(ends) };
        let slack = AT_ONCE.max(horizon.since(self.started()) * 3 / 100);
        self.horizon = self.horizon.max(horizon.after(slack + EARLY));
        self.steps.push(step);
    }

    /// When the try before this one was sent, if this question was asked before on another
    /// socket with the same id.
    fn last_try(&self, transaction: &Transaction) -> Option<Timestamp> {
        self.current()
            .rev()
            .find(|known| known.question == transaction.question && known.id == transaction.id)
            .and_then(|known| known.last_sent())
            .map(|seen| seen.ts)
    }

    /// Marks silence that no retry confirms.
    fn weigh_silence(&mut self) {
        let tries = |steps: &[Step], step: &Step| {
            let Some(asked) = step.transaction() else {
                return 0;
            };
            steps
                .iter()
                .filter(|other| other.round == step.round)
                .filter_map(Step::transaction)
                .filter(|other| other.question == asked.question)
                .map(|other| other.attempts.len())
                .sum()
        };
        let unproven: Vec<bool> = self
            .steps
            .iter()
            .map(|step| {
                let silent = step.transaction().is_some_and(|asked| {
                    asked.outcome() == Outcome::Timeout
                        && asked.responses.iter().all(Response::vanished)
                });
                silent && tries(&self.steps, step) == 1
            })
            .collect();
        for (step, unproven) in self.steps.iter_mut().zip(unproven) {
            step.unproven = unproven;
        }
    }

    fn close(mut self) -> Lookup {
        self.weigh_silence();
        let resolver = resolver::recognise(&self.steps);
        let (outcome, end) = self.judge(resolver);
        let first_name = self.steps.iter().find_map(|step| {
            step.transaction().map(|transaction| transaction.question.name.clone())
        });
        let asked = first_name.unwrap_or_else(crate::dns::Name::root);
        let name = self
            .base
            .and_then(|base| crate::dns::Name::from_labels(asked.labels().take(base)))
            .unwrap_or(asked);
        let mut types: SmallVec<[RecordType; 2]> = SmallVec::new();
        let mut rounds: SmallVec<[(usize, bool); 6]> = SmallVec::new();
        for step in &self.steps {
            if let Some(transaction) = step.transaction() {
                if !types.contains(&transaction.question.rtype) {
                    types.push(transaction.question.rtype);
                }
                if rounds.last().is_none_or(|(round, _)| *round != step.round) {
                    rounds.push((step.round, transaction.question.name != name));
                }
            }
        }
        types.sort_unstable();
        Lookup {
            client: self.client,
            name,
            types,
            start: self.steps.first().map_or_else(no_frame, Step::first),
            end,
            outcome,
            resolver,
            suffixes_tried: rounds.iter().filter(|(_, suffixed)| *suffixed).count(),
            approximate: self.approximate,
            steps: self.steps,
        }
    }

    /// How it ended and when, by the last candidate asked.
    fn judge(&self, resolver: Resolver) -> (LookupOutcome, Option<Timestamp>) {
        let mut families: SmallVec<[(RecordType, &Transaction); 2]> = SmallVec::new();
        for known in self.current() {
            match families.iter_mut().find(|(rtype, _)| *rtype == known.question.rtype) {
                // The first satisfying answer of a type stands, else its last try.
                Some((_, best)) if !settled(best).happy => *best = known,
                Some(_) => {}
                None => families.push((known.question.rtype, known)),
            }
        }
        let any = |outcome: fn(Outcome) -> bool| families.iter().any(|(_, t)| outcome(t.outcome()));
        let unproven = self.steps.iter().any(|step| step.round == self.round && step.unproven);
        if unproven || any(|outcome| outcome == Outcome::Unknown) {
            return (LookupOutcome::Unknown, None);
        }
        let connects: SmallVec<[&Arc<TcpAttempt>; 1]> = self
            .steps
            .iter()
            .filter(|step| step.round == self.round)
            .filter_map(|step| match &step.sent {
                Sent::Connect(connect) => Some(connect),
                Sent::Question(_) => None,
            })
            .collect();
        let silent = |outcome: Outcome| matches!(outcome, Outcome::Timeout | Outcome::Late);
        let lost_family = any(silent);
        let outcome = if any(|outcome| outcome == Outcome::Ok) {
            // musl fails as a whole when one family is lost (rulebook 2.D).
            if lost_family && resolver == Resolver::Musl {
                LookupOutcome::Timeout
            } else {
                LookupOutcome::Ok
            }
        } else if lost_family {
            LookupOutcome::Timeout
        } else if any(|outcome| outcome == Outcome::Truncated) {
            match connects.last().map(|connect| connect.outcome()) {
                Some(ConnectOutcome::Silent) => LookupOutcome::Timeout,
                Some(ConnectOutcome::Refused | ConnectOutcome::Rejected(_)) => LookupOutcome::Error,
                Some(ConnectOutcome::Unknown) => return (LookupOutcome::Unknown, None),
                // Without TCP the client made do with what the truncated answer held.
                Some(ConnectOutcome::Accepted) | None => LookupOutcome::Ok,
            }
        } else if any(|outcome| matches!(outcome, Outcome::Error(_) | Outcome::Rejected(_))) {
            LookupOutcome::Error
        } else {
            LookupOutcome::Negative
        };
        (outcome, Some(self.ends))
    }
}

/// What the client knows of a transaction, and since when.
struct Settled {
    /// When the client had its answer, its error, or had given the socket up.
    at: Timestamp,
    /// It got an answer that it does not ask again for.
    happy: bool,
    /// It got an error, or an answer that it can do nothing with.
    failed: bool,
}

fn settled(transaction: &Transaction) -> Settled {
    let started = transaction.first().ts;
    match (transaction.outcome(), transaction.answer()) {
        (outcome, Some(answer)) => {
            // After a repeated question the application waits for the repeated answer.
            let answer = if transaction.requeried_after_answer() {
                transaction.responses.iter().rfind(|r| r.lost.is_none()).unwrap_or(answer)
            } else {
                answer
            };
            let happy = matches!(outcome, Outcome::Ok | Outcome::Negative | Outcome::Unknown);
            Settled { at: answer.delivered().ts, happy, failed: !happy }
        }
        (Outcome::Rejected(_), None) => {
            let at = transaction.rejections.last().map_or(started, |rejected| rejected.seen.ts);
            Settled { at, happy: false, failed: true }
        }
        (_, None) => {
            let last = transaction.last_sent().map_or(started, |seen: Seen| seen.ts);
            let at = last.after(timing::patience(&transaction.attempts));
            Settled { at, happy: false, failed: false }
        }
    }
}

/// When the client knew what came of its connection; a silent one is retried by the kernel with
/// waits that double, and the client gives up with it or before.
fn connect_settled(connect: &TcpAttempt) -> Timestamp {
    if let Some(accepted) = connect.accepted {
        return connect
            .closed
            .or(connect.reset.map(|(seen, _)| seen.ts))
            .map_or(accepted, |end| end.max(accepted));
    }
    if let Some((seen, _)) = connect.rejected {
        return seen.ts;
    }
    if let Some((seen, _)) = connect.reset {
        return seen.ts;
    }
    connect.syns.last().map_or(connect.first().ts, |seen| seen.ts.after(DEFAULT_TIMEOUT))
}

/// How long the next try of a resolver may take that waited `gap` before this one.
fn next_wait(gap: Option<Duration>, patience: Duration) -> Duration {
    let doubled = gap.map_or(Duration::ZERO, |gap| gap * 11 / 5);
    doubled.max(patience).min(Duration::from_secs(16)) + LATE
}

fn no_frame() -> Seen {
    Seen {
        ts: Timestamp::MIN,
        at: crate::capture::FrameRef { file: crate::capture::FileId(0), number: 0 },
    }
}
