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

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::closed::Closed;
use super::connect::TcpAttempt;
use super::delivery::{self, Arrivals};
use super::hops::{Hop, Hops};
use super::masquerade::Recent;
use super::model::{Attempt, QueryTraits, Rejected, Response, Transaction, Undelivered};
use super::nat::Nat;
use super::pattern::Paths;
use super::sighting::{MAX_ATTEMPTS, Sighting, sight, takes_attempt};
use super::table::{Item, SocketKey, Table};
use super::timing::{COPY_WINDOW, MAX_LIFE, T_KEEP};
use crate::base::{Coverage, Limit, Span, Timestamp};
use crate::dns::{AnswerKind, Message};
use crate::flow::{FlowEvent, Observed, Rejection, Signal, SignalKind};

/// Responses to one transaction, and errors about it, that are kept: as many as attempts.
const MAX_REPEATS: usize = MAX_ATTEMPTS;
/// Datagrams of a transaction that a sighting may be a copy of: those sent within a moment.
const LATEST: usize = 16;
/// Answers whose copies are waited for at once.
const FRESH: usize = 8_192;
/// A backward jump of the clock by more than this is a step, not disorder between interfaces.
const CLOCK_STEP_NANOS: i64 = 1_000_000_000;

/// Pairs queries with responses; see the module's docs for its rules.
#[derive(Debug, Default)]
pub struct Matcher {
    table: Table,
    recent: Recent,
    nat: Nat,
    blind: VecDeque<Span>,
    now: Option<Timestamp>,
    /// Whether what comes now was held back until now.
    belated: bool,
    arrivals: Arrivals,
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
        if !message.is_plausible() {
            return;
        }
        if message.header.is_response() {
            self.response(observed, message, coverage);
        } else {
            self.query(observed, message, coverage);
        }
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
            Item::Transaction(transaction) => next(self.closed(transaction, now)),
            Item::Connect(mut connect) => {
                connect.watched_until = now;
                let waiting = Span::between(connect.first().ts, entry.last_activity.after(T_KEEP));
                connect.blind = self.was_blind(waiting);
                next(Closed::Connect(Arc::from(connect)));
            }
        }
    }

    /// The transaction as it is now that nothing of it will change any more.
    fn closed(&mut self, mut transaction: Arc<Transaction>, now: Timestamp) -> Closed {
        // Nobody shares it yet.
        if let Some(transaction) = Arc::get_mut(&mut transaction) {
            transaction.watched_until = now;
            self.settle(transaction);
        }
        Closed::Transaction(transaction)
    }

    /// Judges what only the whole transaction shows.
    fn settle(&mut self, transaction: &mut Transaction) {
        if !self.blind.is_empty()
            && let Some(until) = transaction.deadline()
        {
            transaction.blind = self.was_blind(Span::between(transaction.first().ts, until));
        }
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
            }
        }
    }

    fn was_blind(&self, span: Span) -> bool {
        self.blind.iter().any(|gap| gap.overlaps(span))
    }

    fn query(&mut self, observed: &Observed, message: &Message, coverage: &mut Coverage) {
        let Observed { seen, via, tuple } = *observed;
        let Some(question) = &message.question else {
            return;
        };
        let key = SocketKey::of_messages(tuple.transport, tuple.src, message.header.id);
        let hop = Hop { seen, via: via.into(), server: tuple.dst.ip(), client: tuple.src.ip() };
        let sighting = Sighting::of(observed, message, hop);
        let candidates = self.table.candidates(&key);

        // A further hop of an attempt that is known already; an attempt that was sent to this very
        // address comes before one that a translation would have to explain.
        for exact in [true, false] {
            for &serial in &candidates {
                let Some(entry) = self.table.entry(serial) else {
                    continue;
                };
                let Some(transaction) = entry.item.transaction() else {
                    continue;
                };
                if transaction.question != *question
                    || (transaction.server.ip() == hop.server) != exact
                {
                    continue;
                }
                let latest = transaction.attempts.len().saturating_sub(LATEST);
                let mut latest = transaction.attempts.iter_mut().enumerate().skip(latest);
                let Some((nth, attempt)) = latest.find(|(_, attempt)| {
                    sighting.continues(&attempt.hops, attempt.digest, attempt.ip_id)
                }) else {
                    continue;
                };
                let mut first = attempt.hops.first().map_or(hop.server, |first| first.server);
                let bytes = sight(&mut attempt.hops, hop);
                let mut later = hop.server;
                if first != later && attempt.hops.first() == Some(hop) {
                    // It was seen behind the translation first, by a clock that is a little off.
                    std::mem::swap(&mut first, &mut later);
                    if nth == 0 {
                        transaction.server = tuple.dst;
                    }
                }
                entry.last_activity = entry.last_activity.max(seen.ts);
                self.table.grow(serial, bytes);
                if first == later {
                    coverage.copies += 1;
                } else {
                    coverage.nat_copies += 1;
                    self.nat.learn(first, later);
                }
                return;
            }
        }

        let attempt = Attempt {
            hops: Hops::of(hop),
            digest: sighting.digest,
            ip_id: sighting.ip_id,
            vanish: None,
        };
        // A further attempt of a transaction that is known already.
        for &serial in candidates.iter().rev() {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            let last_activity = entry.last_activity;
            let Some(transaction) = entry.item.transaction() else {
                continue;
            };
            if transaction.question != *question
                || !takes_attempt(transaction, seen.ts, last_activity)
                || !self.nat.relates(transaction.server.ip(), hop.server)
            {
                continue;
            }
            if transaction.attempts.is_empty() {
                // The response stood before its query in the capture.
                transaction.traits = QueryTraits::of(message.header, message.edns.as_ref());
                transaction.server = tuple.dst;
            }
            transaction.attempts.push(attempt);
            entry.last_activity = entry.last_activity.max(seen.ts);
            self.table.grow(serial, size_of::<Attempt>());
            return;
        }

        if self.masqueraded(&sighting, tuple.src, (key, &candidates), coverage) {
            return;
        }
        let transaction = Transaction {
            client: tuple.src,
            server: tuple.dst,
            transport: tuple.transport,
            id: message.header.id,
            question: question.clone(),
            traits: QueryTraits::of(message.header, message.edns.as_ref()),
            attempts: smallvec![attempt],
            responses: SmallVec::new(),
            rejections: SmallVec::new(),
            translated: None,
            masquerade: None,
            watched_until: seen.ts,
            blind: false,
            settled: None,
        };
        let serial =
            self.table.open(Item::Transaction(Arc::new(transaction)), &candidates, seen.ts);
        self.recent.note(&sighting, serial);
    }

    /// Whether it is the same datagram as a moment ago, under another client address.
    fn masqueraded(
        &mut self,
        sighting: &Sighting,
        client: SocketAddr,
        (key, candidates): (SocketKey, &[u64]),
        coverage: &mut Coverage,
    ) -> bool {
        let Some(serial) = self.recent.find(sighting) else { return false };
        let Some(entry) = self.table.entry(serial) else { return false };
        if let Some(transaction) = entry.item.transaction() {
            transaction.masquerade.get_or_insert_with(|| Box::new(client));
            let mut attempts = transaction.attempts.iter_mut().rev();
            if let Some(attempt) = attempts.find(|attempt| attempt.ip_id == sighting.ip_id) {
                sight(&mut attempt.hops, sighting.hop);
            }
        }
        self.table.list_also(key, candidates, serial);
        self.table.grow(serial, size_of::<SocketKey>() + size_of::<Hop>());
        coverage.nat_copies += 1;
        true
    }

    fn response(&mut self, observed: &Observed, message: &Message, coverage: &mut Coverage) {
        let Observed { seen, via, tuple } = *observed;
        self.arrivals.note(via.point, seen.ts, tuple.src.ip());
        let key = SocketKey::of_messages(tuple.transport, tuple.dst, message.header.id);
        let hop = Hop { seen, via: via.into(), server: tuple.src.ip(), client: tuple.dst.ip() };
        let sighting = Sighting::of(observed, message, hop);
        let candidates = self.table.candidates(&key);

        for &serial in &candidates {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            let Some(transaction) = entry.item.transaction() else {
                continue;
            };
            let latest = transaction.responses.len().saturating_sub(LATEST);
            let Some(response) = transaction
                .responses
                .iter_mut()
                .skip(latest)
                .find(|known| sighting.continues(&known.hops, known.digest, known.ip_id))
            else {
                continue;
            };
            let first = response.hops.first().map_or(hop.server, |first| first.server);
            let bytes = sight(&mut response.hops, hop);
            entry.last_activity = entry.last_activity.max(seen.ts);
            self.table.grow(serial, bytes);
            if first == hop.server {
                coverage.copies += 1;
            } else {
                coverage.nat_copies += 1;
            }
            return;
        }

        let kind = message.answer_kind();
        let rcode = message.rcode();
        let asked = message.question.as_ref();
        let mut response = Response {
            hops: Hops::of(hop),
            digest: sighting.digest,
            ip_id: sighting.ip_id,
            header: message.header,
            rcode,
            kind,
            records: Arc::clone(&message.records),
            edns: message.edns,
            length: u16::try_from(message.wire_len).unwrap_or(u16::MAX),
            case_kept: true,
            home: None,
            lost: None,
            stopped: false,
            settled: None,
        };
        if let Some(serial) = self.asked_by(&candidates, asked, kind, &hop) {
            if let Some(entry) = self.table.entry(serial) {
                entry.last_activity = entry.last_activity.max(seen.ts);
                if let Some(transaction) = entry.item.transaction() {
                    if let Some(asked) = asked {
                        response.case_kept = asked.name.same_case(&transaction.question.name);
                    }
                    if transaction.responses.len() >= MAX_REPEATS {
                        coverage.limited(Limit::OpenTransactions);
                        return;
                    }
                    transaction.responses.push(response);
                    if transaction.responses.len() == 1 && self.fresh.len() < FRESH {
                        self.fresh.push_back((seen.ts, serial));
                    }
                }
            }
            self.table.grow(serial, size_of::<Response>());
            return;
        }
        // Nobody asked, as far as the capture shows.
        let Some(question) = asked else { return };
        let transaction = Transaction {
            client: tuple.dst,
            server: tuple.src,
            transport: tuple.transport,
            id: message.header.id,
            question: question.clone(),
            traits: QueryTraits::default(),
            attempts: SmallVec::new(),
            responses: smallvec![response],
            rejections: SmallVec::new(),
            translated: None,
            masquerade: None,
            watched_until: seen.ts,
            blind: false,
            settled: None,
        };
        self.table.open(Item::Transaction(Arc::new(transaction)), &candidates, seen.ts);
    }

    /// The transaction that a response belongs to (rules 5 and 4.9).
    fn asked_by(
        &mut self,
        candidates: &[u64],
        asked: Option<&crate::dns::Question>,
        kind: AnswerKind,
        hop: &Hop,
    ) -> Option<u64> {
        let mut best: Option<(u8, u64)> = None;
        for &serial in candidates {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            if hop.seen.ts.is_past(entry.last_activity, T_KEEP) {
                continue;
            }
            let Item::Transaction(transaction) = &entry.item else {
                continue;
            };
            let same_question = match asked {
                Some(question) => *question == transaction.question,
                // Servers that refuse may leave the question out (4.9).
                None => matches!(kind, AnswerKind::Error(_)),
            };
            if !same_question {
                continue;
            }
            if candidates.len() == 1 {
                return Some(serial);
            }
            let asked = transaction.server.ip();
            let related = self.nat.relates(asked, hop.server);
            let leg = asked == hop.server
                || transaction
                    .attempts
                    .iter()
                    .any(|attempt| attempt.hops.iter().any(|seen| seen.server == hop.server));
            let open = transaction.responses.is_empty();
            let rank = match (leg, related, open) {
                (true, _, true) => 5,
                (_, true, true) => 4,
                (true, _, false) => 3,
                (_, true, false) => 2,
                (false, false, true) => 1,
                (false, false, false) => 0,
            };
            // Among equals the latest question is the one that is being answered.
            if best.is_none_or(|(known, _)| rank >= known) {
                best = Some((rank, serial));
            }
        }
        best.map(|(_, serial)| serial)
    }

    fn rejection(&mut self, rejection: &Rejection) {
        let Some((id, is_response)) = rejection.message else {
            return;
        };
        let quoted = rejection.quoted;
        let client = if is_response { quoted.dst } else { quoted.src };
        let server = if is_response { quoted.src.ip() } else { quoted.dst.ip() };
        let key = SocketKey::of_messages(quoted.transport, client, id);
        let candidates = self.table.candidates(&key);
        for &serial in candidates.iter().rev() {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            if rejection.seen.ts.is_past(entry.last_activity, T_KEEP) {
                continue;
            }
            let Some(transaction) = entry.item.transaction() else {
                continue;
            };
            if is_response {
                // The client's own host says that nobody listens any more.
                if let Some(response) = transaction
                    .responses
                    .iter_mut()
                    .rev()
                    .find(|response| response.hops.iter().any(|hop| hop.server == server))
                {
                    response.lost.get_or_insert(Undelivered::Refused);
                }
            } else if let Some(known) = transaction.rejections.last_mut().filter(|known| {
                known.kind == rejection.kind
                    && rejection.seen.ts.distance(known.seen.ts) <= COPY_WINDOW
                    && transaction.attempts.len() <= 1
            }) {
                // A further copy on its way back; the first one names the true sender.
                if rejection.seen < known.seen {
                    known.seen = rejection.seen;
                    known.from = rejection.from;
                    known.server = server;
                }
            } else if transaction.rejections.len() < MAX_REPEATS {
                transaction.rejections.push(Rejected {
                    seen: rejection.seen,
                    kind: rejection.kind,
                    from: rejection.from,
                    server,
                });
            }
            entry.last_activity = entry.last_activity.max(rejection.seen.ts);
            return;
        }
    }

    fn signal(&mut self, signal: &Signal) {
        let key = SocketKey::of_connections(signal.tuple.src);
        let ts = signal.seen.ts;
        let candidates = self.table.candidates(&key);
        if let SignalKind::Syn(isn) = signal.kind {
            for &serial in candidates.iter().rev() {
                let Some(entry) = self.table.entry(serial) else { continue };
                let fresh = !ts.is_past(entry.last_activity, T_KEEP);
                let Item::Connect(connect) = &mut entry.item else { continue };
                if connect.isn != isn || !fresh {
                    continue;
                }
                connect.syn(signal);
                let service = connect.server.ip();
                entry.last_activity = entry.last_activity.max(ts);
                if service != signal.tuple.dst.ip() {
                    self.nat.learn(service, signal.tuple.dst.ip());
                }
                return;
            }
            let connect = TcpAttempt::new(signal, isn);
            self.table.open(Item::Connect(Box::new(connect)), &candidates, ts);
            return;
        }
        let Some(&serial) = candidates.last() else { return };
        let Some(entry) = self.table.entry(serial) else { return };
        entry.last_activity = entry.last_activity.max(ts);
        if let Item::Connect(connect) = &mut entry.item {
            connect.take(signal);
        }
    }
}
