//! Where a client's queries usually pass, and where a lost one stopped (rulebook K4).

use std::net::IpAddr;

use crate::base::{Network, Table, Timestamp};
use crate::capture::PointId;
use crate::lookup::Step;
use crate::packet::Direction;
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

/// The capture point on the client's own node, if the first query shows by its packet type that it set
/// out or left there.
pub(super) fn node_of_client(transaction: &Transaction) -> Option<PointId> {
    let hop = transaction.attempts.first()?.hops.first()?;
    let here = match hop.via.direction? {
        Direction::Outgoing => true,
        _ => hop.via.is_at_its_host(),
    };
    here.then_some(hop.via.point)
}

/// Whether the queries of a transaction came to the capture point from elsewhere: what it saw of the
/// answers, it saw leaving, and not arriving.
pub(super) fn is_from_afar(transaction: &Transaction) -> bool {
    let first = transaction.attempts.first().and_then(|attempt| attempt.hops.first());
    first.is_some_and(|hop| {
        !hop.via.is_at_its_host() && hop.via.direction != Some(Direction::Outgoing)
    })
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
