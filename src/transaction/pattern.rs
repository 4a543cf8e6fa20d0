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

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use super::model::{Attempt, Hop, Hops, Transaction};
use super::timing::DISORDER;
use crate::base::{Map, Network, Transport, number};
use crate::capture::PointId;
use crate::packet::Direction;

/// Healthy examples below which there is no pattern (rulebook K4).
const ENOUGH: u64 = 5;
/// A path that one in so many examples takes is no accident.
const COMMON: u64 = 10;
/// Pairs of clients and servers that are learned.
const MAX_KEYS: usize = 16_384;
/// Different paths that are counted for one key.
const MAX_PATHS: usize = 6;
/// Examples of one client and server that count for others too.
const SHARED: u64 = 64;
/// Captures with more than one hole in so many datagrams miss frames.
const HOLES: u64 = 1_000;

/// One place on the way, as it shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waypoint {
    /// Interface index, where the link type has one.
    pub interface: Option<u32>,
    /// Packet type, where the link type has one.
    pub direction: Option<Direction>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether the server's address was the one behind the service.
    pub translated: bool,
}

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

/// Whose paths they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    point: PointId,
    client: IpAddr,
    server: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Host(IpAddr),
    Net(Network),
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(number(self.client));
        match self.server {
            End::Host(address) => state.write_u128(number(address)),
            End::Net(network) => network.hash(state),
        }
        state.write_u16(self.point.0);
    }
}

type Path = SmallVec<[Waypoint; 4]>;

#[derive(Debug, Default)]
struct Tally {
    examples: u64,
    paths: SmallVec<[(Path, u64); 2]>,
}

impl Tally {
    /// The whole path, if there are enough examples.
    fn whole(&self) -> Option<&Path> {
        let common =
            |(_, count): &&(Path, u64)| *count >= ENOUGH && *count * COMMON >= self.examples;
        let whole = self.paths.iter().filter(common).max_by_key(|(path, n)| (path.len(), *n))?;
        Some(&whole.0)
    }
}

/// The tallies of queries and responses.
#[derive(Debug, Default)]
struct Ways {
    forth: Tally,
    back: Tally,
}

impl Ways {
    fn tally(&self, forth: bool) -> &Tally {
        if forth { &self.forth } else { &self.back }
    }

    fn tally_mut(&mut self, forth: bool) -> &mut Tally {
        if forth { &mut self.forth } else { &mut self.back }
    }
}

impl Tally {
    /// Counts an example.
    fn add(&mut self, path: &Path) {
        self.examples += 1;
        // No two that are alike are kept, so one that is the same is the one.
        if let Some((_, count)) = self.paths.iter_mut().find(|(known, _)| known == path) {
            *count += 1;
        } else if let Some((known, count)) =
            self.paths.iter_mut().find(|(known, _)| alike(known, path))
        {
            known.clone_from(path);
            *count += 1;
        } else if self.paths.len() < MAX_PATHS {
            self.paths.push((path.clone(), 1));
        }
    }
}

/// The healthy paths of a capture.
#[derive(Debug, Default)]
pub struct Paths {
    known: Map<Key, Ways>,
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
        let asked = transaction.server.ip();
        let last = transaction.attempts.iter().rfind(|sent| sent.sent().ts <= answer.arrived().ts);
        let forth = last.map(|sent| &sent.hops);
        for point in points(forth.into_iter().flatten().chain(&answer.hops)) {
            let own = own_key(transaction, point);
            let mut wider: SmallVec<[(Key, bool, Path); 2]> = SmallVec::new();
            let mut ways = within(&mut self.known, own);
            for (hops, forth) in
                forth.map(|hops| (hops, true)).into_iter().chain([(&answer.hops, false)])
            {
                let path = path(hops, point, asked);
                if path.is_empty() {
                    continue;
                }
                let mut examples = 0;
                if let Some(ways) = &mut ways {
                    let tally = ways.tally_mut(forth);
                    tally.add(&path);
                    examples = tally.examples;
                    if let Some(whole) = tally.whole() {
                        self.seen += 1;
                        self.holes += u64::from(is_holed(&path, whole));
                    }
                }
                // What stands in for keys with few examples has enough of those with many.
                if examples <= SHARED {
                    wider.push((wider_key(transaction, point, forth), forth, path));
                }
            }
            for (key, forth, path) in wider {
                if key != own
                    && let Some(ways) = within(&mut self.known, key)
                {
                    ways.tally_mut(forth).add(&path);
                }
            }
        }
    }

    fn healthy(&self, transaction: &Transaction, point: PointId, forth: bool) -> Option<&Path> {
        let whole = |key: Key| self.known.get(&key).and_then(|ways| ways.tally(forth).whole());
        whole(own_key(transaction, point)).or_else(|| whole(wider_key(transaction, point, forth)))
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
            attempt.vanish = vanish;
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
        let mine = path(hops, point, transaction.server.ip());
        let last = *mine.last()?;
        let same = |(a, b): (&Waypoint, &Waypoint)| signature(a) == signature(b);
        if !whole.iter().zip(&mine).all(same) || mine.len() > whole.len() {
            return None;
        }
        let missing = whole.get(mine.len()).copied();
        let translates = whole.iter().any(|place| place.translated);
        let stage = match missing {
            None => Stage::Left,
            Some(_) if forth && translates && !last.translated => Stage::BeforeTranslation,
            Some(_) => Stage::OnHost,
        };
        Some(Vanish { stage, last, missing })
    }

    /// Whether a response stopped on its way to the client, as far as the client's own capture
    /// point shows.
    pub(super) fn stopped(&self, transaction: &Transaction, hops: &Hops, point: PointId) -> bool {
        let last_sent = transaction.last_sent().map(|seen| seen.ts);
        let arrived = hops.iter().map(|hop| hop.seen.ts).min();
        let asked_again = last_sent.zip(arrived).is_some_and(|(sent, arrived)| sent > arrived);
        (asked_again || self.holes * HOLES <= self.seen)
            && self
                .vanish(transaction, hops, point, false)
                .is_some_and(|vanish| vanish.missing.is_some())
    }
}

/// What a place looks like whatever the number of its interface.
fn signature(place: &Waypoint) -> (Option<Direction>, u8, bool) {
    (place.direction, place.ttl, place.translated)
}

fn alike(one: &Path, other: &Path) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| signature(one) == signature(other))
}

/// The place of a key, if there is one or room for it.
fn within(known: &mut Map<Key, Ways>, key: Key) -> Option<&mut Ways> {
    let room = known.len() < MAX_KEYS;
    match known.entry(key) {
        Entry::Vacant(_) if !room => None,
        place => Some(place.or_default()),
    }
}

/// The client with the server that answered or was chosen first.
fn own_key(transaction: &Transaction, point: PointId) -> Key {
    let server = End::Host(transaction.responder());
    Key { point, client: transaction.client.ip(), server }
}

/// The client with what servers of that kind have in common: for queries the service that was
/// asked, for responses the network that they come from.
fn wider_key(transaction: &Transaction, point: PointId, forth: bool) -> Key {
    let server = if forth {
        End::Host(transaction.server.ip())
    } else {
        End::Net(Network::of(transaction.responder()))
    };
    Key { point, client: transaction.client.ip(), server }
}

fn points<'a>(hops: impl Iterator<Item = &'a Hop>) -> SmallVec<[PointId; 2]> {
    let mut points = SmallVec::new();
    for hop in hops {
        if !points.contains(&hop.via.point) {
            points.push(hop.via.point);
        }
    }
    points
}

/// The places that a datagram passed at one capture point, each once, in order.
fn path(hops: &Hops, point: PointId, asked: IpAddr) -> Path {
    let here = || hops.iter().filter(|hop| hop.via.point == point);
    if here().is_sorted_by_key(|hop| hop.seen.ts) {
        return places(here(), asked);
    }
    let mut sorted: SmallVec<[&Hop; 4]> = here().collect();
    sorted.sort_by_key(|hop| hop.seen.ts);
    places(sorted.into_iter(), asked)
}

fn places<'a>(hops: impl Iterator<Item = &'a Hop>, asked: IpAddr) -> Path {
    let mut path = Path::new();
    for hop in hops {
        let place = Waypoint {
            interface: hop.via.interface,
            direction: hop.via.direction,
            ttl: hop.via.ttl,
            translated: hop.server != asked,
        };
        if path.last() != Some(&place) {
            path.push(place);
        }
    }
    path
}

/// Whether it was seen further on than at the place where it is first missing.
fn is_holed(path: &Path, whole: &Path) -> bool {
    if path == whole {
        return false;
    }
    let seen = |place: &Waypoint| path.iter().any(|known| signature(known) == signature(place));
    let missing = whole.iter().position(|place| !seen(place));
    missing.is_some_and(|at| whole.iter().skip(at + 1).any(seen))
}
