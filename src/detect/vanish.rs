//! Where a client's queries usually pass, and where a lost one stopped (rulebook K4).

use std::net::IpAddr;

use crate::base::{Network, Table, Timestamp};
use crate::lookup::Step;
use crate::transaction::{Attempt, Hops, Outcome, Response, Transaction};

/// With fewer answered examples nothing is usual (rulebook K4).
const ENOUGH: u64 = 5;
/// Client networks learned one by one.
const MAX_NETWORKS: usize = 4_096;
/// Places are told apart up to this many.
const MOST: usize = 7;
/// A repeat sooner than this answers an error, not silence: no retry timer is that short.
const TIMER: std::time::Duration = std::time::Duration::from_millis(900);

/// At how many places of the capture the answered queries of each client network were seen.
#[derive(Debug, Default)]
pub(super) struct Vanish {
    seen: Table<Network, [u64; MOST + 1]>,
}

impl Vanish {
    /// Notes at how many places each of some datagrams from or to `client` was seen that arrived.
    pub(super) fn note(&mut self, client: IpAddr, mut places: impl Iterator<Item = usize>) {
        let Some(first) = places.next() else { return };
        if let Some(seen) = self.seen.entry_within(Network::of(client), MAX_NETWORKS) {
            let seen = seen.or_default();
            seen[first.min(MOST)] += 1;
            places.for_each(|places| seen[places.min(MOST)] += 1);
        }
    }

    /// At how many places an answered query of `network` is usually seen.
    pub(super) fn usual(&self, network: Network) -> Option<usize> {
        let seen = self.seen.get(&network)?;
        let (places, times) = seen.iter().enumerate().max_by_key(|(_, times)| **times)?;
        (*times >= ENOUGH).then_some(places)
    }
}

/// At how many places of its first capture point a query was seen on its way. A veth shows queries
/// of most pods as addressed to another host, so that says nothing here (rulebook K4).
pub(super) fn places(hops: &Hops) -> usize {
    hops.first_point().map_or(0, |point| hops.count_at(point).min(MOST))
}

/// At how many places of the capture point that saw the query first the response was seen, those
/// left out where it was addressed to another host: from there it goes nowhere.
pub(super) fn places_home(transaction: &Transaction, response: &Response) -> usize {
    let asked = transaction.attempts.first().and_then(|attempt| attempt.hops.first_point());
    asked.map_or(0, |point| response.hops.arrivals_at(point))
}

/// At how many places the first attempt was seen on its way.
pub(super) fn reached(asked: &Transaction) -> usize {
    asked.attempts.first().map_or(0, |attempt| places(&attempt.hops))
}

/// Whether the first attempt of a step was lost; `None` where the capture cannot tell.
#[inline]
pub(super) fn first_attempt_lost(transaction: &Transaction, step: &Step) -> Option<bool> {
    if transaction.attempts.len() == 1 && !transaction.responses.is_empty() {
        return Some(false);
    }
    was_lost(transaction, step)
}

#[inline(never)]
fn was_lost(transaction: &Transaction, step: &Step) -> Option<bool> {
    let first = transaction.attempts.first()?.sent().ts;
    let next = transaction.attempts.get(1).map(|attempt| attempt.sent().ts);
    let until = next.unwrap_or(Timestamp::MAX);
    if transaction.responses.iter().any(|response| response.arrived().ts <= until) {
        return Some(false);
    }
    match next {
        Some(next) => (next.since(first) >= TIMER && !transaction.blind).then_some(true),
        None => (transaction.outcome() == Outcome::Timeout && !step.unproven).then_some(true),
    }
}

/// Whether a later attempt was answered at once: the way and the server were fine.
pub(super) fn retry_answered(transaction: &Transaction) -> bool {
    transaction
        .attempts
        .iter()
        .skip(1)
        .map(Attempt::sent)
        .any(|sent| transaction.responses.iter().any(|response| response.arrived().ts >= sent.ts))
}
