//! A lookup that may still go on, and which transactions fit it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::manner::{Habits, Manner, Shown, TOGETHER};
use super::model::{Role, Sent, Step};
use super::round::{AT_ONCE, CROSSING, Failure, Plain, Prompt, Round, Standing, Standings};
use super::search::SearchLists;
use super::wait;
use crate::base::{AddressId, Timestamp, Transport};
use crate::dns::{AnswerKind, RecordType};
use crate::transaction::timing::{self, DEFAULT_TIMEOUT, EARLY, LATE};
use crate::transaction::{TcpAttempt, Transaction};

/// A and AAAA from one socket leave within this (rulebook `pair_win`); where each lookup has a
/// socket of its own, those of a host that lets its processes wait do so within [`AT_ONCE`].
const PAIR_SAME_PORT: Duration = Duration::from_millis(20);
/// A and AAAA from two sockets leave within this (rulebook `pair_win`).
const PAIR_OTHER_PORT: Duration = Duration::from_millis(50);
/// A truncated answer is followed by a TCP connection this soon; SYN retransmissions are the
/// connection's own.
const FALLBACK: Duration = Duration::from_secs(2);
/// No single wait is longer than this: c-ares' last try.
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Six candidates, three servers, two tries, two families, and as much again: what belongs to
/// one lookup. A client that repeats one datagram for ever must not grow one for ever.
const MAX_STEPS: usize = 144;

/// A lookup that may still go on.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) client: IpAddr,
    /// The number of its client, if that is remembered.
    pub(super) id: Option<AddressId>,
    /// The one before it of the same client and label, by its serial number.
    pub(super) before: Option<u64>,
    /// A digest of the first label, which all candidates share.
    pub(super) label: u64,
    pub(super) habits: Habits,
    shown: Shown,
    manner: Manner,
    pub(super) steps: Vec<Step>,
    round: u16,
    /// The place of the first step of that round.
    begin: usize,
    /// What is known of that round as long as all goes well.
    plain: Option<Plain>,
    /// Whether an answer of that round was truncated.
    truncated: bool,
    /// Leading labels of the name that are the application's own, once a suffix showed them.
    pub(super) base: Option<usize>,
    /// Until when a further step may follow.
    pub(super) horizon: Timestamp,
    pub(super) approximate: bool,
}

/// The looseness of what follows an answer that the capture missed: everything else fits better.
const UNSEEN: u8 = 6;

/// How well a step fits an open lookup: the kind of tie first, then the distance from the
/// expected time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    looseness: u8,
    off: Duration,
}

/// Where a transaction belongs in a lookup.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) fit: Fit,
    pub(super) role: Role,
    /// Number of the name's own leading labels, where it begins the next candidate.
    pub(super) next_round: Option<usize>,
}

impl Place {
    /// That of the same question once more, when the timer of its resolver says so and nothing fits better.
    pub(super) fn again() -> Self {
        Self::here(Role::Retry, 5, Duration::ZERO)
    }

    /// Whether the capture missed the answer that its client went on with.
    pub(super) fn is_unseen(&self) -> bool {
        self.fit.looseness == UNSEEN
    }

    fn here(role: Role, looseness: u8, off: Duration) -> Self {
        Self { fit: Fit { looseness, off }, role, next_round: None }
    }
}

impl Open {
    /// A lookup that begins with this.
    pub(super) fn new(first: &Arc<Transaction>, label: u64, habits: Habits) -> Self {
        let shown = Shown::default();
        let mut open = Self {
            client: first.client.ip(),
            id: None,
            before: None,
            label,
            habits,
            shown,
            manner: shown.manner(habits),
            steps: Vec::with_capacity(4),
            round: 0,
            begin: 0,
            plain: Some(Plain::new()),
            truncated: false,
            base: None,
            horizon: first.first().ts,
            approximate: false,
        };
        open.add(Role::First, Sent::Question(Arc::clone(first)));
        open
    }

    /// How its resolver behaves, as far as it shows.
    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// The candidate that is being asked for.
    pub(super) fn current(&self) -> Round<'_> {
        let steps = self.steps.get(self.begin..).unwrap_or_default();
        Round { steps, manner: self.manner, plain: self.plain.as_ref() }
    }

    /// Goes on to the next candidate, which has so many leading labels in common with the others.
    pub(super) fn next_round(&mut self, base: usize) {
        self.base = Some(base);
        self.round += 1;
        self.begin = self.steps.len();
        self.plain = Some(Plain::new());
        self.truncated = false;
    }

    /// Whether it is asking this very name.
    pub(super) fn asks(&self, transaction: &Transaction) -> bool {
        self.steps
            .iter()
            .rev()
            .find_map(Step::transaction)
            .is_some_and(|known| known.question.name == transaction.question.name)
    }

    /// Where `transaction`, sent at `sent`, belongs in this lookup, if anywhere; `asks` says whether
    /// it is for the name that this lookup is asking.
    pub(super) fn place(
        &self,
        transaction: &Transaction,
        sent: Timestamp,
        asks: bool,
        lists: &mut SearchLists,
    ) -> Option<Place> {
        if self.steps.len() >= MAX_STEPS || self.horizon < sent {
            return None;
        }
        let manner = self.manner();
        let round = self.current();
        if !asks {
            return self.next_candidate(&round, manner, (transaction, sent), lists);
        }
        if round.transactions().any(|known| is_parallel(known, transaction)) {
            return Some(Place::here(Role::Parallel, 0, Duration::ZERO));
        }
        match round.standing(transaction.question.rtype, sent) {
            None => sibling(&round, manner, (transaction, sent)),
            Some(standing) => again(&round, manner, (transaction, sent), standing),
        }
    }

    fn next_candidate(
        &self,
        round: &Round<'_>,
        manner: Manner,
        (transaction, sent): (&Transaction, Timestamp),
        lists: &mut SearchLists,
    ) -> Option<Place> {
        let last = round.transactions().next()?;
        let standings = round.standings(sent);
        if !self.may_go_on(last, transaction, &standings)
            // Near ids alone do not make a musl: one that goes on is none.
            || (manner.is_surely_musl() && stops_musl(&standings))
            || (!manner.new_ids && round.is_turned_away(&standings))
        {
            return None;
        }
        let ends = round.ends(&standings).unwrap_or(Timestamp::MIN);
        let off = sent.distance(ends);
        let waited = ends.since(self.started());
        let late = standings.iter().map(|(_, standing)| lateness(standing)).max();
        let early = late.unwrap_or_default() + EARLY;
        let in_time = sent.after(early) >= ends && off <= AT_ONCE.max(waited * 3 / 100);
        // The capture missed an answer, and the client went on as if it had one. The search list
        // must be beyond doubt then.
        let missed = !in_time && standings.iter().all(|(_, standing)| moved_on(standing, sent));
        if !in_time && !missed {
            return None;
        }
        let (from, to) = (&last.question.name, &transaction.question.name);
        if missed && !lists.follows(from, to, self.base) {
            return None;
        }
        let candidate = lists.next(from, to, self.base)?;
        let fit =
            if missed { Fit { looseness: UNSEEN, off: LATE } } else { Fit { looseness: 4, off } };
        Some(Place { fit, role: Role::First, next_round: Some(candidate) })
    }

    /// For how long its resolver has waited at `sent`, if it waits for an answer to this question and
    /// may ask anew for it with a new id.
    pub(super) fn unanswered_for(
        &self,
        transaction: &Transaction,
        sent: Timestamp,
    ) -> Option<(Duration, Place)> {
        let manner = self.manner();
        if !manner.new_ids || manner.forwarder || manner.is_surely_musl() {
            return None;
        }
        match self.current().standing(transaction.question.rtype, sent)? {
            Standing::Silent { since, .. } => Some((sent.since(since), Place::again())),
            Standing::Answered { .. } | Standing::Failed { .. } => None,
        }
    }

    /// For how long its resolver has waited at `sent`, if it waits for a candidate that was asked for once,
    /// and this is the one behind it in a search list: one with `attempts:1` goes on as soon as its
    /// `timeout:` is over.
    pub(super) fn given_up_after(
        &self,
        (transaction, sent): (&Transaction, Timestamp),
        lists: &mut SearchLists,
    ) -> Option<(Duration, Place)> {
        let (manner, round) = (self.manner(), self.current());
        if self.plain.is_some() || manner.is_surely_musl() {
            return None;
        }
        let last = round.transactions().next()?;
        let once = |(_, standing): &(RecordType, Standing)| match *standing {
            Standing::Silent { since, tries: 1, .. } => Some(sent.since(since)),
            _ => None,
        };
        let standings = round.standings(sent);
        let waited = standings.iter().filter_map(once).max()?;
        let (from, to) = (&last.question.name, &transaction.question.name);
        if !self.may_go_on(last, transaction, &standings) || !lists.follows(from, to, self.base) {
            return None;
        }
        let candidate = lists.next(from, to, self.base)?;
        let fit = Fit { looseness: 5, off: Duration::ZERO };
        Some((waited, Place { fit, role: Role::First, next_round: Some(candidate) }))
    }

    /// Whether its resolver may go on from `last` to another candidate, where the families stand like this.
    fn may_go_on(&self, last: &Transaction, next: &Transaction, standings: &Standings) -> bool {
        let found = |(_, standing): &(RecordType, Standing)| {
            matches!(standing, Standing::Answered { kind: AnswerKind::Positive, .. })
        };
        !self.habits.forwarder
            && last.traits == next.traits
            && !self.asked_before(next)
            && !standings.iter().any(found)
    }

    /// No resolver asks for one candidate twice.
    fn asked_before(&self, transaction: &Transaction) -> bool {
        let mut asked = self.steps.iter().filter_map(Step::transaction);
        asked.any(|known| known.question.name == transaction.question.name)
    }

    /// When the last answer was truncated that a connection at `sent` could follow, to `server`
    /// if given, or the last connection given up that it could replace.
    fn truncated_before(&self, sent: Timestamp, server: Option<IpAddr>) -> Option<Timestamp> {
        let round = self.current();
        let truncated = round
            .transactions()
            .filter(|known| known.transport == Transport::Udp)
            .filter(|known| server.is_none_or(|server| known.server.ip() == server))
            .flat_map(|known| &known.responses)
            .filter(|answer| answer.kind == AnswerKind::Truncated && answer.reached())
            .map(|answer| answer.delivered().ts);
        let given_up = round.connects().map(|connect| wait::connect_ends(connect, false));
        truncated.chain(given_up).filter(|at| *at <= sent.after(LATE)).max()
    }

    /// Whether a connection may belong to it.
    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// How far off a connection is from being its fallback to TCP; `same_server` asks for one to
    /// the address that truncated. Behind a translation, datagrams and connections of one service
    /// go to different addresses.
    pub(super) fn fallback(&self, connect: &TcpAttempt, same_server: bool) -> Option<Duration> {
        let sent = connect.first().ts;
        let server = same_server.then_some(connect.server.ip());
        let off = sent.distance(self.truncated_before(sent, server)?);
        (off <= FALLBACK && self.steps.len() < MAX_STEPS).then_some(off)
    }

    pub(super) fn started(&self) -> Timestamp {
        self.steps.first().map_or(Timestamp::MIN, |step| step.first().ts)
    }

    /// Appends a step, and works out until when another may follow.
    pub(super) fn add(&mut self, role: Role, sent: Sent) {
        if let Some(plain) = &mut self.plain {
            match Prompt::of(&sent, plain) {
                Some(prompt) => plain.push(prompt),
                None => self.plain = None,
            }
        }
        self.truncated |= matches!(&sent, Sent::Question(asked)
            if asked.responses.iter().any(|answer| answer.kind == AnswerKind::Truncated));
        self.steps.push(Step { round: self.round, role, sent, unproven: false });
        self.shown.add(&self.steps, self.habits);
        self.manner = self.shown.manner(self.habits);
        let last = self.plain.as_ref().map_or_else(
            || self.current().patience(),
            |plain| plain.iter().map(|prompt| prompt.delivered).max(),
        );
        let last = last.unwrap_or(self.horizon);
        let slack = AT_ONCE.max(last.since(self.started()) * 3 / 100);
        self.horizon = last.after(slack + EARLY);
    }
}

/// The same question, from the same socket and with the same id, to another server at once.
fn is_parallel(known: &Transaction, transaction: &Transaction) -> bool {
    known.client == transaction.client
        && known.id == transaction.id
        && known.question == transaction.question
        && known.server != transaction.server
        && known.transport == Transport::Udp
        && known.first().ts.distance(transaction.first().ts) <= TOGETHER
}

/// The other family of the candidate.
fn sibling(
    round: &Round<'_>,
    manner: Manner,
    (transaction, sent): (&Transaction, Timestamp),
) -> Option<Place> {
    let first = round.transactions().next()?;
    let family = |rtype| matches!(rtype, RecordType::A | RecordType::AAAA);
    if manner.forwarder
        || !family(transaction.question.rtype)
        || !family(first.question.rtype)
        || first.traits != transaction.traits
    {
        return None;
    }
    let same_port = first.client == transaction.client;
    let window = if !same_port {
        PAIR_OTHER_PORT
    } else if manner.one_port {
        PAIR_SAME_PORT
    } else {
        AT_ONCE
    };
    let off = sent.since(first.first().ts);
    if off <= window {
        return Some(Place::here(Role::Sibling, u8::from(!same_port), off));
    }
    // One after the other: `single-request`, BIND's nslookup, glibc after a lost answer.
    let Standing::Answered { at, .. } = round.standing(first.question.rtype, sent)? else {
        return None;
    };
    let off = sent.distance(at);
    (sent.after(EARLY) >= at && off <= window).then(|| Place::here(Role::Sibling, 2, off))
}

/// The same question once more.
fn again(
    round: &Round<'_>,
    manner: Manner,
    (transaction, sent): (&Transaction, Timestamp),
    standing: Standing,
) -> Option<Place> {
    let rtype = transaction.question.rtype;
    let known = round.transactions().rfind(|known| known.question.rtype == rtype)?;
    if transaction.transport == Transport::Tcp && known.transport == Transport::Udp {
        let at = match standing {
            Standing::Answered { at, kind: AnswerKind::Truncated } => at,
            _ => round.truncated_sibling(transaction, sent)?,
        };
        // The connection itself may have taken its time.
        let slow = round.connects().any(|connect| connect.client == transaction.client);
        let off = sent.distance(at);
        return (off <= FALLBACK || slow).then(|| Place::here(Role::Fallback, 1, off));
    }
    // The same id on another socket is no accident.
    let same_id = |known: &Transaction| {
        known.question.rtype == rtype
            && known.id == transaction.id
            && known.transport == transaction.transport
    };
    if round.transactions().any(same_id) {
        let due = match standing {
            Standing::Answered { .. } => {
                // The other family is not answered: glibc asks for both again.
                let others = round.standings(sent);
                let open = others.iter().find(|(other, s)| *other != rtype && !s.is_answered());
                open?.1.ends()
            }
            other => other.ends(),
        };
        return Some(Place::here(Role::Retry, 0, sent.distance(due)));
    }
    if !manner.new_ids || manner.is_surely_musl() {
        return None;
    }
    let by_timer = |since: Timestamp, until: Timestamp| {
        let gap = sent.since(since);
        let alike = round.waited_for_other(rtype, sent);
        let due = [Some(until.since(since)), Some(manner.patience), Some(DEFAULT_TIMEOUT), alike];
        let due = due.into_iter().flatten().find(|due| timing::on_time(gap, *due))?;
        Some(Place::here(Role::Retry, 3, gap.abs_diff(due)))
    };
    let last = round.sendings(rtype, sent).last()?.at;
    match standing {
        // The answer and the timer met: it was read after the question had been sent again.
        Standing::Answered { at, .. } if at.after(CROSSING) >= sent => {
            by_timer(last, last.after(manner.patience))
        }
        Standing::Answered { .. } => None,
        Standing::Failed { at, .. } if sent.distance(at) <= AT_ONCE => {
            Some(Place::here(Role::Retry, 2, sent.distance(at)))
        }
        Standing::Failed { until, .. } => by_timer(last, until),
        Standing::Silent { since, until, .. } => by_timer(since, until),
    }
}

/// musl looks at its answers in the order of asking: NXDOMAIN sends it to the next candidate, and
/// a lost answer or an error before that ends the search (`name_from_dns`; rulebook section 3).
fn stops_musl(standings: &[(RecordType, Standing)]) -> bool {
    for (_, standing) in standings {
        match standing {
            // The capture may have missed the answer to a question that was sent but once.
            Standing::Answered { kind: AnswerKind::NxDomain, .. }
            | Standing::Silent { tries: 1, .. } => return false,
            Standing::Answered { .. } => {}
            Standing::Failed { .. } | Standing::Silent { .. } => return true,
        }
    }
    true
}

/// How late a wait seems that is taken from the one before it: that one's timer fired as much later than
/// a whole second.
fn lateness(standing: &Standing) -> Duration {
    let Standing::Silent { since, until, tries: 2.., .. } = *standing else {
        return Duration::ZERO;
    };
    let wait = until.since(since);
    let late = wait.saturating_sub(Duration::from_secs(wait.as_secs()));
    if late <= LATE { late } else { Duration::ZERO }
}

/// Whether the client may have had an answer that the capture missed.
fn moved_on(standing: &Standing, sent: Timestamp) -> bool {
    match *standing {
        Standing::Answered { at, .. } | Standing::Failed { at, .. } => sent.distance(at) <= AT_ONCE,
        Standing::Silent { since, tries, .. } => tries == 1 && sent.since(since) <= AT_ONCE,
    }
}

impl Round<'_> {
    /// Whether ICMP errors came to every try at once: glibc stops its search then, and goes on with
    /// it only if a try had run out of time (`__res_context_search` in glibc's `resolv/res_query.c`;
    /// rulebook vector V8); c-ares and BIND's tools stop as well.
    fn is_turned_away(&self, standings: &[(RecordType, Standing)]) -> bool {
        let start = self.steps.first().map_or(Timestamp::MIN, |step| step.first().ts);
        standings.iter().any(|(_, standing)| match standing {
            Standing::Failed { at, why: Failure::Rejected(_), .. } => at.since(start) < wait::TIMER,
            _ => false,
        })
    }

    /// When the answer for the other family was truncated, of a question that went on to the connection
    /// which this one comes over: glibc asks for both there, whatever became of this one over UDP
    /// (`send_vc` in glibc's `resolv/res_send.c`).
    fn truncated_sibling(&self, transaction: &Transaction, sent: Timestamp) -> Option<Timestamp> {
        let shares = self.connects().any(|connect| connect.client == transaction.client)
            || self.transactions().any(|known| known.client == transaction.client);
        let others =
            self.transactions().filter(|known| known.question.rtype != transaction.question.rtype);
        let truncated = others
            .filter(|known| known.transport == Transport::Udp)
            .flat_map(|known| &known.responses)
            .filter(|answer| answer.kind == AnswerKind::Truncated && answer.reached())
            .map(|answer| answer.delivered().ts);
        truncated.filter(|at| shares && *at <= sent.after(LATE)).max()
    }

    /// The last instant at which its resolver may ask again or go on, as far as waiting goes.
    fn patience(&self) -> Option<Timestamp> {
        let standings = self.standings(Timestamp::MAX);
        let waits = standings.into_iter().map(|(rtype, standing)| match standing {
            Standing::Answered { at, .. } => at,
            Standing::Failed { at, until, .. } => at.max(until.after(LATE)),
            Standing::Silent { since, until, .. } => {
                since.after(self.growing_wait(rtype).max(until.since(since)) + LATE)
            }
        });
        waits.chain(self.connects_end()).max()
    }

    /// The longest that the next try may take where waits double from one new socket to the next.
    fn growing_wait(&self, rtype: RecordType) -> Duration {
        let sendings = self.sendings(rtype, Timestamp::MAX);
        let [.., before, last] = sendings.as_slice() else {
            return Duration::ZERO;
        };
        if before.transaction.client == last.transaction.client {
            return Duration::ZERO;
        }
        (last.at.since(before.at) * 11 / 5).min(LONGEST_WAIT)
    }
}
