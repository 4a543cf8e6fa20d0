//! The places that a datagram passes when all is well, and where a lost one was seen last
//! (rulebook K3 and K4).
//!
//! Every node shows a datagram at other places and in another order, so the pattern is learned:
//! for each capture point, direction, client and server, from transactions that were answered.
//! With fewer than [`ENOUGH`] examples nothing is concluded. Loss only ever shortens a path, so
//! the longest of the common ones is the whole one.
//!
//! A datagram that is seen late on its path and not early shows that the capture itself misses
//! frames. Then a response that seems to stop half-way counts as lost only if the client asked
//! again.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::hops::{Hop, Hops};
use super::model::{Attempt, Response, Transaction};
use super::path::{Path, Waypoint};
use super::timing::DISORDER;
use crate::base::{Map, Network, Number, Numbered, Transport, entry_within, halves};
use crate::capture::PointId;

/// Healthy examples below which there is no pattern (rulebook K4).
const ENOUGH: u32 = 5;
/// A path that one in so many examples takes is no accident.
const COMMON: u64 = 10;
/// Pairs of clients and servers that are learned.
const MAX_KEYS: usize = 16_384;
/// Different paths that are counted for one key.
const MAX_PATHS: usize = 6;
/// Different paths in all: clients on one interface take the same.
const MAX_DIFFERENT: usize = 65_536;
/// Examples of one client and server that count for others too: enough to tell a common path.
const SHARED: u32 = 16;
/// Examples of one client and server that are all looked at. What so many have shown changes slowly, so
/// that of those behind them each [`NTH`] stands for as many.
const MANY: u32 = 128;
/// See [`MANY`].
const NTH: u32 = 8;
/// Captures with more than one hole in so many datagrams miss frames.
const HOLES: u64 = 1_000;

/// Where a datagram was seen last that never arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vanish {
    /// How far it came.
    pub stage: Stage,
    /// Where it was seen last.
    pub last: Waypoint,
    /// The first place at which it is missing.
    pub missing: Option<Waypoint>,
}

/// How far a datagram came at one capture point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Dropped before its address was translated: in the raw table, or by conntrack.
    BeforeTranslation,
    /// Translated, and dropped before it left this host: the filter or a bridge.
    OnHost,
    /// It passed every place that the healthy ones pass: it was lost further on.
    Left,
}

/// Whose paths they are: a capture point, a client, and a server or what stands for several. As
/// numbers, to be hashed and compared in few steps: every transaction is looked up by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: [u64; 2],
    server: [u64; 2],
    /// The point, and of which kind the other two are.
    rest: u32,
}

impl Key {
    fn new(point: PointId, client: IpAddr, server: IpAddr, networks: [bool; 2]) -> Self {
        let [of_client, of_server] = networks;
        let kinds = [client.is_ipv6(), server.is_ipv6(), of_client, of_server];
        let kinds = kinds.into_iter().fold(0, |bits, kind| bits << 1 | u32::from(kind));
        let rest = u32::from(point.0) << 4 | kinds;
        Self { client: halves(client), server: halves(server), rest }
    }

    /// The client with the server that answered or was chosen first.
    fn own(ends: &Ends, point: PointId) -> Self {
        Self::new(point, ends.client, ends.responder, [false; 2])
    }

    /// The client with what servers of that kind have in common: for queries the service that
    /// was asked, for responses the network that they come from.
    fn wider(ends: &Ends, point: PointId, forth: bool) -> Self {
        if forth {
            return Self::new(point, ends.client, ends.asked, [false; 2]);
        }
        Self::new(point, ends.client, first_of(ends.responder), [false, true])
    }

    /// What answers to the client's neighbours and from the server's have in common.
    fn neighbours(ends: &Ends, point: PointId) -> Self {
        Self::new(point, first_of(ends.client), first_of(ends.responder), [true; 2])
    }
}

/// The first address of the network that an address lies in.
fn first_of(address: IpAddr) -> IpAddr {
    match Network::of(address) {
        Network::V4(first) => IpAddr::V4(first),
        Network::V6(first) => IpAddr::V6(first),
        Network::Node(_) => address,
    }
}

/// Between whom a transaction is.
struct Ends {
    client: IpAddr,
    asked: IpAddr,
    responder: IpAddr,
}

impl Ends {
    fn of(transaction: &Transaction) -> Self {
        Self {
            client: transaction.client.ip(),
            asked: transaction.server.ip(),
            responder: transaction.responder(),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    examples: u32,
    /// Numbers of paths, and how many examples took each.
    paths: SmallVec<[(Number, u32); 4]>,
    /// The whole path, if there are enough examples: it is asked for more often than it changes.
    whole: Option<Number>,
}

impl Tally {
    /// The whole path, if there are enough examples.
    fn whole<'a>(&self, all: &'a Numbered<Path>) -> Option<&'a Path> {
        all.get(self.whole?)
    }

    /// Which of the paths is the whole one.
    fn longest(&self, all: &Numbered<Path>) -> Option<Number> {
        let common = |&&(_, count): &&(Number, u32)| {
            count >= ENOUGH && u64::from(count) * COMMON >= u64::from(self.examples)
        };
        let taken = self.paths.iter().filter(common);
        let taken = taken.filter_map(|(number, count)| Some((*number, all.get(*number)?, *count)));
        let (whole, ..) = taken.max_by_key(|(_, path, count)| (path.len(), *count))?;
        Some(whole)
    }

    /// Counts an example that stands for so many.
    fn add(&mut self, path: &Path, weight: u32, all: &mut Numbered<Path>) {
        self.examples = self.examples.saturating_add(weight);
        let find = |like: fn(&Path, &Path) -> bool| {
            let same =
                |(number, _): &(Number, u32)| all.get(*number).is_some_and(|one| like(one, path));
            self.paths.iter().position(same)
        };
        // No two that are alike are kept, so one that is the same is the one.
        let same = find(Path::eq);
        let place = same.or_else(|| find(Path::is_like));
        let mut number = || all.number_within(path, MAX_DIFFERENT, Path::eq, Path::clone);
        if let Some(place) = place {
            let Some((known, count)) = self.paths.get_mut(place) else { return };
            *count = count.saturating_add(weight);
            if same.is_some() && self.whole == Some(*known) {
                // It only became more common, and all others less.
                return;
            }
            if same.is_none() {
                *known = number().unwrap_or(*known);
            }
        } else if self.paths.len() < MAX_PATHS {
            self.paths.extend(number().map(|number| (number, weight)));
        }
        self.whole = self.longest(all);
    }
}

/// The tallies of queries and responses.
#[derive(Debug, Default)]
struct Ways {
    forth: Tally,
    back: Tally,
    /// How many transactions took them.
    taken: u32,
}

impl Ways {
    /// Takes the next transaction; returns for how many it stands, 0 if it is not looked at.
    fn take(&mut self) -> u32 {
        self.taken = self.taken.wrapping_add(1);
        match self.taken {
            ..=MANY => 1,
            taken if taken % NTH == 0 => NTH,
            _ => 0,
        }
    }

    fn tally(&self, forth: bool) -> &Tally {
        if forth { &self.forth } else { &self.back }
    }

    fn tally_mut(&mut self, forth: bool) -> &mut Tally {
        if forth { &mut self.forth } else { &mut self.back }
    }
}

/// The healthy paths of a capture.
#[derive(Debug, Default)]
pub struct Paths {
    /// Where the ways of each key are: apart from it, for a table of keys has more room than it needs.
    places: Map<Key, u32>,
    known: Vec<Ways>,
    all: Numbered<Path>,
    seen: u64,
    holes: u64,
}

impl Paths {
    /// Learns from a transaction whose answer came.
    pub(super) fn learn(&mut self, transaction: &Transaction) {
        let Some(answer) = transaction.responses.first() else { return };
        if transaction.transport != Transport::Udp {
            // A message over TCP is seen where its stream was put together, not where it passed.
            return;
        }
        if answer.is_incomplete() {
            // How far it came is still to be judged.
            return;
        }
        let ends = Ends::of(transaction);
        let arrived = answer.arrived().ts;
        let last = transaction.attempts.iter().rfind(|sent| sent.sent().ts <= arrived);
        let forth = last.map(|sent| &sent.hops);
        for point in points(forth, &answer.hops) {
            let own = Key::own(&ends, point);
            let place = self.place(own);
            let ways = place.and_then(|place| self.known.get_mut(place));
            // Those that there was no room for say only what others of their kind do.
            let weight = ways.map_or(1, Ways::take);
            if weight == 0 {
                continue;
            }
            let mut wider: SmallVec<[(Key, bool, Path); 3]> = SmallVec::new();
            for (hops, forth) in
                forth.map(|hops| (hops, true)).into_iter().chain([(&answer.hops, false)])
            {
                let path = Path::of(hops, point, ends.asked);
                if path.is_empty() {
                    continue;
                }
                let mut examples = 0;
                if let Some(ways) = place.and_then(|place| self.known.get_mut(place)) {
                    let tally = ways.tally_mut(forth);
                    tally.add(&path, weight, &mut self.all);
                    examples = tally.examples;
                    if let Some(whole) = tally.whole(&self.all) {
                        let holes = if path.is_holed(whole) { weight } else { 0 };
                        self.seen += u64::from(weight);
                        self.holes += u64::from(holes);
                    }
                }
                // What stands in for keys with few examples has enough of those with many.
                if examples <= SHARED {
                    if !forth {
                        wider.push((Key::neighbours(&ends, point), forth, path.clone()));
                    }
                    wider.push((Key::wider(&ends, point, forth), forth, path));
                }
            }
            for (key, forth, path) in wider {
                if key != own
                    && let Some(place) = self.place(key)
                    && let Some(ways) = self.known.get_mut(place)
                {
                    ways.tally_mut(forth).add(&path, weight, &mut self.all);
                }
            }
        }
    }

    /// The place of the ways of a key, which is new or known; `None` if there is no room for it.
    fn place(&mut self, key: Key) -> Option<usize> {
        let Self { places, known, .. } = self;
        let place = *entry_within(places, key, MAX_KEYS)?.or_insert_with(|| {
            known.push(Ways::default());
            u32::try_from(known.len() - 1).unwrap_or(u32::MAX)
        });
        usize::try_from(place).ok()
    }

    fn healthy(&self, transaction: &Transaction, point: PointId, forth: bool) -> Option<&Path> {
        let ends = Ends::of(transaction);
        let own = self.whole(Key::own(&ends, point), forth);
        own.or_else(|| self.whole(Key::wider(&ends, point, forth), forth))
    }

    fn whole(&self, key: Key, forth: bool) -> Option<&Path> {
        let place = usize::try_from(*self.places.get(&key)?).ok()?;
        self.known.get(place)?.tally(forth).whole(&self.all)
    }

    /// Where queries like this one are seen first at `point`, if enough were.
    pub(super) fn door(&self, transaction: &Transaction, point: PointId) -> Option<Waypoint> {
        self.healthy(transaction, point, true)?.get(0)
    }

    /// Notes on the attempts that nothing answered how far they came.
    pub(super) fn trace(&self, transaction: &mut Transaction) {
        if transaction.attempts.len() == 1 && transaction.answer().is_some() {
            return;
        }
        let answered = |attempt: &Attempt| {
            let sent = attempt.sent().ts.before(DISORDER);
            let next = transaction.attempts.iter().map(|other| other.sent().ts);
            let next = next.filter(|at| *at > attempt.sent().ts).min();
            transaction.responses.iter().any(|response| {
                let at = response.arrived().ts;
                response.lost.is_none() && at >= sent && next.is_none_or(|next| at < next)
            })
        };
        let trace = |attempt: &Attempt| {
            let home = attempt.home()?.via.point;
            if answered(attempt) {
                return None;
            }
            self.vanish(transaction, &attempt.hops, home, true)
        };
        let traced: SmallVec<[Option<Vanish>; 2]> =
            transaction.attempts.iter().map(trace).collect();
        for (attempt, vanish) in transaction.attempts.iter_mut().zip(traced) {
            attempt.vanish = vanish.map(Box::new);
        }
    }

    /// Where a datagram of this transaction was seen last at `point`, if it took the healthy path
    /// up to there; `None` where nothing can be said.
    pub fn vanish(
        &self,
        transaction: &Transaction,
        hops: &Hops,
        point: PointId,
        forth: bool,
    ) -> Option<Vanish> {
        if transaction.transport != Transport::Udp {
            return None;
        }
        let whole = self.healthy(transaction, point, forth)?;
        Self::vanish_from(whole, transaction, hops, (point, forth))
    }

    fn vanish_from(
        whole: &Path,
        transaction: &Transaction,
        hops: &Hops,
        (point, forth): (PointId, bool),
    ) -> Option<Vanish> {
        let mine = Path::of(hops, point, transaction.server.ip());
        let last = mine.last()?;
        if !mine.begins(whole) {
            return None;
        }
        let missing = whole.get(mine.len());
        let translates = whole.translates();
        let stage = match missing {
            None => Stage::Left,
            Some(_) if forth && translates && !last.translated => Stage::BeforeTranslation,
            Some(_) => Stage::OnHost,
        };
        Some(Vanish { stage, last, missing })
    }

    /// Whether a response stopped on its way to the client, as far as the client's own capture
    /// point shows.
    pub(super) fn stopped(
        &self,
        transaction: &Transaction,
        response: &Response,
        point: PointId,
    ) -> bool {
        let hops = &response.hops;
        let last_sent = transaction.last_sent().map(|seen| seen.ts);
        let arrived = hops.earliest().map(|seen| seen.ts);
        let asked_again = last_sent.zip(arrived).is_some_and(|(sent, arrived)| sent > arrived);
        if transaction.transport != Transport::Udp
            || !(asked_again || self.holes * HOLES <= self.seen)
        {
            return false;
        }
        // Who gets first fragments alone may have too few whole answers to show where those pass.
        let near = || {
            let ends = Ends::of(transaction);
            let near = response.is_incomplete().then(|| Key::neighbours(&ends, point));
            near.and_then(|key| self.whole(key, false))
        };
        let whole = self.healthy(transaction, point, false).or_else(near);
        let vanish =
            whole.and_then(|whole| Self::vanish_from(whole, transaction, hops, (point, false)));
        vanish.is_some_and(|vanish| vanish.missing.is_some())
    }
}

/// The points that saw the one or the other.
fn points(forth: Option<&Hops>, back: &Hops) -> SmallVec<[PointId; 2]> {
    let mut points: SmallVec<[PointId; 2]> = SmallVec::new();
    if let Some(point) = back.point()
        && forth.is_none_or(|forth| forth.point() == Some(point))
    {
        points.push(point);
        return points;
    }
    let mut note = |hop: Hop| {
        if !points.contains(&hop.via.point) {
            points.push(hop.via.point);
        }
    };
    forth.into_iter().flatten().for_each(&mut note);
    back.iter().for_each(&mut note);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_looked_at_stand_for_all() {
        let mut ways = Ways::default();
        let weights: Vec<u32> = (0..MANY + NTH * 100).map(|_| ways.take()).collect();
        assert_eq!(weights.iter().sum::<u32>(), MANY + NTH * 100);
        assert_eq!(weights.iter().filter(|weight| **weight > 0).count(), MANY as usize + 100);
    }
}
