//! Pairs queries with responses, folding copies and NAT legs (rulebook section 4).
//!
//! The rules, in the order in which they are asked:
//!
//! 1. Transactions are found by transport, client socket and id, and told apart by question and
//!    server. The server's address is not part of the key, so that the legs before and after
//!    translation meet (4.3, 4.5).
//! 2. A sighting is a further hop of an attempt when payload and IP identification agree within
//!    [`timing::COPY_WINDOW`]; without an identification, when it follows within
//!    [`timing::ANONYMOUS_COPY_WINDOW`] at a place where that attempt was not yet seen, because one
//!    datagram never passes one place twice (4.2, K5).
//! 3. Anything else with the same key is a new attempt of the same transaction, unless the key
//!    was silent for [`timing::T_KEEP`], or was answered and the repeat fits no retry interval
//!    (4.6), or the transaction is older than [`timing::MAX_LIFE`].
//! 4. A query to another server that no translation explains is a transaction of its own.
//! 5. A response goes to the transaction whose legs hold its source; a translated source is
//!    accepted where only one transaction can be meant.
//! 6. A query whose client is unknown, but whose payload and identification were seen under
//!    another client address a moment before, is a masqueraded leg.
//!
//! Transactions leave in the order of their first frames: a slow one holds back those behind it
//! for at most [`timing::MAX_LIFE`] and [`timing::T_KEEP`].

mod errors;
mod query;
mod response;

use std::collections::VecDeque;
use std::sync::Arc;

use super::astray::Astray;
use super::closed::Closed;
use super::delivery::{self, Arrivals};
use super::latest::{Landed, Latest};
use super::masquerade::Recent;
use super::model::Transaction;
use super::nat::Nat;
use super::pattern::Paths;
use super::sighting::{MAX_ATTEMPTS, Sighting, sight};
use super::table::{Entry, Item, Table};
use super::timing::{COPY_WINDOW, MAX_LIFE, T_KEEP};
use crate::base::{Coverage, Limit, Span, Timestamp};
use crate::dns::Message;
use crate::flow::{FlowEvent, Observed};

/// Responses to one transaction, and errors about it, that are kept: as many as attempts.
const MAX_REPEATS: usize = MAX_ATTEMPTS;
/// Datagrams of a transaction that a sighting may be a copy of: those sent within a moment.
const LATEST: usize = 16;
/// A backward jump of the clock by more than this is a step, not disorder between interfaces.
const CLOCK_STEP_NANOS: i64 = 1_000_000_000;

/// Pairs queries with responses; see the module's docs for its rules.
#[derive(Debug, Default)]
pub struct Matcher {
    table: Table,
    recent: Recent,
    latest: Latest,
    nat: Nat,
    blind: VecDeque<Span>,
    now: Option<Timestamp>,
    /// Whether what comes now was held back until now.
    belated: bool,
    arrivals: Arrivals,
    astray: Astray,
    paths: Paths,
    /// Answered transactions whose copies may not all have been seen yet.
    fresh: VecDeque<(Timestamp, u64)>,
}

impl Matcher {
    /// The translations learned so far.
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// Notes that the capture missed frames during `span`.
    pub fn missed(&mut self, span: Span) {
        self.blind.push_back(span);
    }

    /// Says whether what comes next was held back, as first fragments are that wait for the others:
    /// its time says nothing of the clock.
    pub fn belated(&mut self, belated: bool) {
        self.belated = belated;
    }

    /// Takes one event, and hands on what can no longer change.
    pub fn take(
        &mut self,
        event: FlowEvent,
        coverage: &mut Coverage,
        next: &mut impl FnMut(Closed),
    ) {
        match event {
            FlowEvent::Message(message) => {
                self.message(&message.observed(), &message.message, coverage, next);
            }
            FlowEvent::Unreachable(rejection) => {
                self.advance(rejection.seen.ts, coverage, next);
                self.rejection(&rejection);
            }
            FlowEvent::Signal(signal) => {
                self.advance(signal.seen.ts, coverage, next);
                self.signal(&signal);
            }
            FlowEvent::Connection(_) => {}
        }
    }

    /// Takes the next message, and hands on what it shows to be over.
    pub fn message(
        &mut self,
        observed: &Observed,
        message: &Message,
        coverage: &mut Coverage,
        next: &mut impl FnMut(Closed),
    ) {
        self.advance(observed.seen.ts, coverage, next);
        let sighting = Sighting::of(observed, message);
        let copy = self.is_copy(&sighting, coverage);
        if !copy && !message.is_plausible() {
            return;
        }
        let source = sighting.is_response.then(|| sighting.server.ip());
        self.arrivals.note(sighting.via.point, sighting.seen.ts, source);
        if copy {
            return;
        }
        let landed = if sighting.is_response {
            self.response(&sighting, message, coverage)
        } else {
            self.query(&sighting, message, coverage)
        };
        self.latest.note(sighting.digest, landed);
    }

    /// Takes one more hop of a datagram that was seen a moment ago, if it is one.
    fn is_copy(&mut self, sighting: &Sighting<'_>, coverage: &mut Coverage) -> bool {
        let Some(landed) = self.latest.find(sighting.digest) else { return false };
        let Some(entry) = self.table.entry(landed.serial) else { return false };
        let Some(transaction) = entry.item.transaction() else { return false };
        let same = transaction.client == *sighting.client
            && transaction.transport == sighting.transport
            && sighting.is_datagram(transaction, landed.nth, &self.nat);
        if same {
            let bytes = hop(entry, landed.nth, sighting, &mut self.nat, coverage);
            self.table.grow(landed.serial, bytes);
        }
        same
    }

    /// Takes one more hop of a datagram that is known.
    fn hop(&mut self, landed: Landed, sighting: &Sighting<'_>, coverage: &mut Coverage) {
        let Some(entry) = self.table.entry(landed.serial) else { return };
        let bytes = hop(entry, landed.nth, sighting, &mut self.nat, coverage);
        self.table.grow(landed.serial, bytes);
    }

    /// The response of this entry, or the attempt, that a sighting is one more hop of.
    fn known(&mut self, serial: u64, sighting: &Sighting<'_>) -> Option<Landed> {
        let transaction = self.table.entry(serial)?.item.transaction()?;
        let all = if sighting.is_response {
            transaction.responses.len()
        } else {
            transaction.attempts.len()
        };
        let latest = u8::try_from(all.saturating_sub(LATEST)).ok()?;
        let nth = (latest..u8::try_from(all).ok()?)
            .find(|nth| sighting.is_datagram(transaction, *nth, &self.nat))?;
        Some(Landed { serial, nth })
    }

    /// Closes everything: the capture is over.
    pub fn finish(&mut self, next: &mut impl FnMut(Closed)) {
        self.learn_paths(Timestamp::MAX);
        while self.table.first().is_some() {
            self.close_first(next);
        }
    }

    fn advance(&mut self, ts: Timestamp, coverage: &mut Coverage, next: &mut impl FnMut(Closed)) {
        let now = match self.now {
            Some(now)
                if now.nanos().saturating_sub(ts.nanos()) > CLOCK_STEP_NANOS && !self.belated =>
            {
                // The clock went back: nothing that is open can be judged by it any more.
                self.missed(Span::between(ts, now));
                ts
            }
            Some(now) => now.max(ts),
            None => ts,
        };
        self.now = Some(now);
        self.learn_paths(now);
        while let Some(first) = self.table.first() {
            if !now.is_past(first.last_activity, T_KEEP) {
                break;
            }
            self.close_first(next);
        }
        while self.table.is_full() {
            coverage.limited(Limit::OpenTransactions);
            self.close_first(next);
        }
        while self.blind.front().is_some_and(|gap| now.is_past(gap.end, MAX_LIFE + T_KEEP)) {
            self.blind.pop_front();
        }
    }

    fn close_first(&mut self, next: &mut impl FnMut(Closed)) {
        let Some(entry) = self.table.pop() else { return };
        let now = self.now.unwrap_or(entry.last_activity);
        match entry.item {
            Item::Transaction(mut transaction) => {
                self.settle(&mut transaction, now);
                next(Closed::Transaction(Arc::from(transaction)));
            }
            Item::Folded(folded) => {
                let mut transaction = folded.unfold();
                self.settle(&mut transaction, now);
                next(Closed::Transaction(Arc::new(transaction)));
            }
            Item::Connect(mut connect) => {
                connect.watched_until = now;
                let waiting = Span::between(connect.first().ts, entry.last_activity.after(T_KEEP));
                connect.blind = self.was_blind(waiting);
                next(Closed::Connect(Arc::from(connect)));
            }
        }
    }

    /// Judges what only the whole transaction shows, now that nothing of it will change any more.
    fn settle(&mut self, transaction: &mut Transaction, now: Timestamp) {
        transaction.watched_until = now;
        if !self.blind.is_empty()
            && let Some(until) = transaction.deadline()
        {
            transaction.blind = self.was_blind(Span::between(transaction.first().ts, until));
        }
        delivery::name_service(transaction, &self.nat);
        self.astray.judge(transaction);
        delivery::judge(transaction, &self.nat, &self.arrivals, &self.paths);
        transaction.settle();
        self.paths.trace(transaction);
        if delivery::learn(transaction, &mut self.nat) {
            transaction.settle();
        }
    }

    /// Learns the healthy paths, once all copies of an answer have been seen.
    fn learn_paths(&mut self, until: Timestamp) {
        while let Some((at, serial)) = self.fresh.front().copied() {
            if !until.is_past(at, COPY_WINDOW * 2) {
                break;
            }
            self.fresh.pop_front();
            if let Some(entry) = self.table.entry(serial)
                && let Item::Transaction(transaction) = &entry.item
            {
                self.paths.learn(transaction);
                entry.item.fold();
            }
        }
    }

    fn was_blind(&self, span: Span) -> bool {
        self.blind.iter().any(|gap| gap.overlaps(span))
    }
}

/// Puts one more hop to an attempt or a response of an entry; returns by how many bytes that grew.
#[inline]
fn hop(
    entry: &mut Entry,
    nth: u8,
    sighting: &Sighting<'_>,
    nat: &mut Nat,
    coverage: &mut Coverage,
) -> usize {
    let (hop, nth) = (sighting.hop(), usize::from(nth));
    entry.last_activity = entry.last_activity.max(hop.seen.ts);
    let Some(transaction) = entry.item.transaction() else { return 0 };
    let hops = if sighting.is_response {
        transaction.responses.get_mut(nth).map(|response| &mut response.hops)
    } else {
        transaction.attempts.get_mut(nth).map(|attempt| &mut attempt.hops)
    };
    let Some(hops) = hops else { return 0 };
    let first = hops.first_server().unwrap_or(hop.server);
    if first == hop.server {
        coverage.copies += 1;
        return sight(hops, &hop);
    }
    coverage.nat_copies += 1;
    if sighting.is_response {
        return sight(hops, &hop);
    }
    let is_early = hops.first().is_some_and(|known| hop.is_before(&known));
    let (service, backend) = if is_early { (hop.server, first) } else { (first, hop.server) };
    let is_so = nat.learn(service, backend);
    // Whatever its place in the capture, it was seen behind the translation first.
    if is_early == is_so {
        if nth == 0 {
            transaction.server = *sighting.server;
        }
        return hops.insert(0, &hop);
    }
    if is_so { sight(hops, &hop) } else { hops.push(&hop) }
}
