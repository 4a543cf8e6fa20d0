//! Whether a response that the capture shows reached the client's socket (rulebook K4, 2.B).

use std::net::IpAddr;

use smallvec::SmallVec;

use super::hops::Hop;
use super::model::{Attempt, Response, Transaction, Undelivered, only_other_host};
use super::nat::Nat;
use super::pattern::Paths;
use crate::base::{Set, Timestamp, Transport};
use crate::capture::PointId;

/// Marks the responses of a finished transaction that did not reach the client.
pub(super) fn judge(transaction: &mut Transaction, nat: &Nat, arrivals: &Arrivals, paths: &Paths) {
    let asked = transaction.server.ip();
    let Some(home) = transaction.attempts.first().and_then(Attempt::home) else { return };
    for response in &mut transaction.responses {
        let both = response.hops.point().is_none() && response.hops.is_seen_at(home.via.point);
        response.home = both.then_some(home.via.point);
    }
    // Who answered in the place of the one that was asked. Where the query was seen before its
    // translation, an answer has to come from the address that was asked; a capture behind the
    // translation shows the backend asked and the service answering: no defect.
    let stranger = |response: &Response| {
        if response.hops.shows(asked, home.via.point, home.via.interface) {
            return None;
        }
        let here = || response.hops.iter().filter(|hop| hop.via.point == home.via.point);
        let from_asked = |hop: &Hop| hop.server == asked;
        let query = transaction.attempts.iter().flat_map(|attempt| &attempt.hops);
        let untranslated: SmallVec<[Option<u32>; 4]> =
            query.filter(from_asked).map(|hop| hop.via.interface).collect();
        // The capture may have missed the query there: where do others of its kind come from?
        let door = paths.door(transaction, home.via.point);
        let is_before = |hop: &Hop| {
            untranslated.contains(&hop.via.interface)
                || door.is_some_and(|door| door.interface == hop.via.interface)
        };
        let mut before = here().filter(is_before).peekable();
        before.peek()?;
        if before.any(|hop| from_asked(&hop)) {
            return None;
        }
        let source = response.hops.last().map_or(asked, |hop| hop.server);
        (!nat.translates(source, asked)).then_some(source)
    };
    let last_sent = transaction.last_sent().map_or(Timestamp::MIN, |seen| seen.ts);
    // Whether the client did not take an answer of this source: it asked again, or all others came
    // from the address that it had asked (BIND's tools take a new port for every try).
    let is_refused = |source: IpAddr| {
        if nat.answers_itself(asked) && !nat.is_service(source) {
            return true;
        }
        let mut responses = transaction.responses.iter();
        responses.any(|other| other.arrived().ts < last_sent && stranger(other) == Some(source))
    };
    let wrong_source = |response: &Response| {
        stranger(response)
            .filter(|source| nat.translates(asked, *source) || is_refused(*source))
            .map(|_| Undelivered::WrongSource)
    };
    // A message over TCP is known where its stream was put together, and not where else it passed.
    let of_datagrams = transaction.transport == Transport::Udp;
    let judged = |response: &Response| {
        let stopped = paths.stopped(transaction, response, home.via.point);
        // A filter for port 53 never shows further fragments. A host that waits for them in vain shows
        // it: the first goes no further there, nor does any answer that is not whole.
        let known = response.lost.filter(|lost| *lost != Undelivered::Incomplete || stopped);
        let lost = if known == Some(Undelivered::Refused) {
            // No socket takes an answer of another source: the client's host says so by ICMP.
            wrong_source(response).or(known)
        } else if known.is_some() {
            known
        } else if of_datagrams && only_other_host(&response.hops, home.via.point) {
            Some(Undelivered::OtherHost)
        } else if arrivals.vanished(response, &home) {
            Some(Undelivered::Vanished)
        } else {
            wrong_source(response)
        };
        (lost, stopped)
    };
    let verdicts: SmallVec<[(Option<Undelivered>, bool); 2]> =
        transaction.responses.iter().map(judged).collect();
    for (response, (lost, stopped)) in transaction.responses.iter_mut().zip(verdicts) {
        (response.lost, response.stopped) = (lost, stopped);
    }
}

/// The capture may have missed what stands before the translation in a query; a repeat of it or its answer
/// shows as well that the service was asked.
pub(super) fn name_service(transaction: &mut Transaction, nat: &Nat) {
    let asked = transaction.server.ip();
    if !nat.is_backend(asked) {
        return;
    }
    let attempts = transaction.attempts.iter().map(|attempt| &attempt.hops);
    let responses = transaction.responses.iter().map(|response| &response.hops);
    let mut seen = attempts.chain(responses).flatten().map(|hop| hop.server);
    let is_asked = |address: &IpAddr| nat.translates(*address, asked) && !nat.is_mirrored(*address);
    if let Some(service) = seen.find(is_asked) {
        transaction.server.set_ip(service);
    }
}

/// A capture behind the translation shows backends asked and the service answering. What the way
/// back teaches holds for the unanswered as well. Returns whether that changed the transaction.
pub(super) fn learn(transaction: &mut Transaction, nat: &mut Nat) -> bool {
    let asked = transaction.server.ip();
    if transaction.attempts.iter().any(|attempt| attempt.backend(transaction.server).is_some()) {
        return false;
    }
    let source = transaction.answer().and_then(|answer| answer.hops.last()).map(|hop| hop.server);
    if let Some(source) = source {
        nat.learn_from_reply(source, asked);
    }
    // Where the translation itself is visible, what was asked is what was asked.
    if let Some(service) = nat.service_of(asked)
        && nat.is_mirrored(service)
    {
        transaction.server.set_ip(service);
        transaction.translated = Some(asked);
        return true;
    }
    false
}

/// How many servers are remembered for each capture point.
const MAX_SOURCES: usize = 4_096;

/// Whose responses each capture point saw, and when it saw the last message of anybody; by point.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Vec<Option<Arrived>>);

#[derive(Debug)]
struct Arrived {
    latest: Timestamp,
    sources: Set<IpAddr>,
    /// The latest two of them: responses come from a backend and then from its service, again and again.
    again: [Option<IpAddr>; 2],
}

impl Arrivals {
    /// Notes a message; a response with its source.
    pub(super) fn note(&mut self, point: PointId, ts: Timestamp, source: Option<IpAddr>) {
        let place = usize::from(point.0);
        if place >= self.0.len() {
            self.0.resize_with(place + 1, || None);
        }
        let Some(arrived) = self.0.get_mut(place) else { return };
        let arrived = arrived.get_or_insert_with(|| Arrived {
            latest: ts,
            sources: Set::default(),
            again: [None; 2],
        });
        arrived.latest = ts.max(arrived.latest);
        if let Some(address) = source
            && !arrived.again.contains(&source)
        {
            arrived.again = [source, arrived.again[0]];
            if arrived.sources.len() < MAX_SOURCES {
                arrived.sources.insert(address);
            }
        }
    }

    fn at(&self, point: PointId) -> Option<&Arrived> {
        self.0.get(usize::from(point.0))?.as_ref()
    }

    /// Whether a response was seen on its way at other capture points, and never at the one where
    /// its query was seen first: the client's own. That point must have gone on recording, and
    /// responses of that server, so that neither its filter nor its end explains the absence.
    fn vanished(&self, response: &Response, home: &Hop) -> bool {
        if response.hops.is_seen_at(home.via.point) {
            return false;
        }
        self.at(home.via.point).is_some_and(|Arrived { latest, sources, .. }| {
            *latest > response.delivered().ts
                && (sources.contains(&home.server)
                    || response.hops.iter().any(|hop| sources.contains(&hop.server)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point that hears no answer any more goes on recording all the same.
    #[test]
    fn a_point_records_as_long_as_it_shows_anything() {
        let (point, at) = (PointId(1), |s: i64| Timestamp::from_nanos(s * 1_000_000_000));
        let source = IpAddr::from([10, 244, 1, 10]);
        let mut arrivals = Arrivals::default();
        arrivals.note(point, at(1), Some(source));
        arrivals.note(point, at(9), None);
        let arrived = arrivals.at(point).unwrap();
        assert_eq!((arrived.latest, arrived.sources.len()), (at(9), 1));
        assert!(arrivals.at(PointId(0)).is_none());
    }
}
