//! What several capture points saw of each transaction (rulebook 6.4).
//!
//! Of every transaction that several points could see, it is kept at how many of them its queries
//! and its answers were seen, and when. At the end any set of transactions can be asked for
//! ([`Trips::stretch`]): how many datagrams came from one point to the other, and how long they were
//! under way. That the other point recorded at all at that instant is asked of everything it saw
//! within a second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::finding::Finding;
use super::harm::Symptom;
use super::stretch::{Pace, Stretch};
use super::{Claim, Layer};
use crate::base::{Map, Span, Timestamp};
use crate::capture::PointId;
use crate::transaction::{Attempt, Hop, Hops, Stage, Transaction};

/// Transactions that are kept one by one; beyond that those that went well are thinned out by halves,
/// and those that stay count twice.
const MAX_TRIPS: usize = 200_000;
/// Servers whose place is learned.
const MAX_SERVERS: usize = 4_096;
/// Seconds in which a point recorded anything; beyond that nothing is said of it.
const MAX_SECONDS: usize = 400_000;
/// A transaction that took less is not slow.
const SLOW: Duration = Duration::from_millis(100);

/// One transaction, at the points that saw it.
#[derive(Debug, Clone)]
pub(super) struct Trip {
    sent: Timestamp,
    last_sent: Timestamp,
    client: IpAddr,
    server: IpAddr,
    responder: IpAddr,
    /// The client's own point.
    pub(super) home: PointId,
    /// Queries that stopped there.
    pub(super) kept: u16,
    answered: bool,
    legs: SmallVec<[Leg; 2]>,
    pub(super) weight: u32,
}

/// What one point saw of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leg {
    point: PointId,
    pub(super) queries: u16,
    pub(super) answers: u16,
    /// First sighting of the query that was answered, and of its answer; the last one at home.
    asked: Option<Timestamp>,
    replied: Option<Timestamp>,
}

/// How near a point is to a server.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    /// Answers that left the server's own host there.
    initial: u64,
    /// Queries of other points that were seen there last.
    last: u64,
}

/// What the transactions of several capture points show of the ways between them; empty with one.
#[derive(Debug, Default)]
pub struct Trips {
    names: Vec<String>,
    kept: Vec<Trip>,
    sides: Map<(IpAddr, PointId), Side>,
    active: Vec<BTreeSet<i64>>,
    halved: u32,
}

/// Whose transactions are looked at.
pub struct Scope<'a> {
    /// When they were sent.
    pub span: Option<Span>,
    /// Whether this client is one of them.
    pub client: &'a dyn Fn(IpAddr) -> bool,
    /// Whether this server is, as asked or as translated.
    pub server: &'a dyn Fn(IpAddr) -> bool,
}

impl Trips {
    /// For points of these names.
    pub fn new(names: Vec<String>) -> Self {
        let active = vec![BTreeSet::new(); names.len()];
        Self { names, active, ..Self::default() }
    }

    /// Notes a transaction.
    pub fn note(&mut self, transaction: &Transaction) {
        if self.names.len() < 2 {
            return;
        }
        let hops = transaction.attempts.iter().flat_map(|attempt| &attempt.hops);
        for hop in hops.chain(transaction.responses.iter().flat_map(|response| &response.hops)) {
            if let Some(seconds) = self.active.get_mut(usize::from(hop.via.point.0))
                && seconds.len() < MAX_SECONDS
            {
                seconds.insert(second(hop.seen.ts));
            }
        }
        let Some(trip) = Trip::of(transaction) else { return };
        self.learn(transaction, &trip);
        if self.kept.len() >= MAX_TRIPS {
            self.thin_out();
        }
        // One of as many as each that stays stands for, by the microsecond that it was sent in.
        let weight = 1_u32 << self.halved.min(31);
        let micros = trip.sent.nanos().unsigned_abs() / 1_000;
        if !trip.is_well() {
            self.kept.push(trip);
        } else if micros.is_multiple_of(u64::from(weight)) {
            self.kept.push(Trip { weight, ..trip });
        }
    }

    /// Learns where the server is.
    fn learn(&mut self, transaction: &Transaction, trip: &Trip) {
        let responder = trip.responder;
        let mut note = |point: PointId, initial: bool| {
            let key = (responder, point);
            if self.sides.len() < MAX_SERVERS || self.sides.contains_key(&key) {
                let side = self.sides.entry(key).or_default();
                if initial {
                    side.initial += 1;
                } else {
                    side.last += 1;
                }
            }
        };
        if let Some(hop) = transaction.responses.first().and_then(|answer| answer.hops.first())
            && hop.via.is_at_its_host()
        {
            note(hop.via.point, true);
        }
        if let Some(hop) = transaction.attempts.first().and_then(Attempt::last_hop)
            && hop.via.point != trip.home
        {
            note(hop.via.point, false);
        }
    }

    fn thin_out(&mut self) {
        self.halved += 1;
        let mut keep = false;
        self.kept.retain_mut(|trip| {
            if !trip.is_well() {
                return true;
            }
            keep = !keep;
            trip.weight = trip.weight.saturating_mul(2);
            keep
        });
    }

    /// The point, other than `home`, that is nearest to a server.
    fn nearest(&self, server: IpAddr, home: PointId) -> Option<PointId> {
        let points = (0..).map(PointId).take(self.names.len());
        let near = |point: PointId| {
            let side = self.sides.get(&(server, point)).copied().unwrap_or_default();
            (side.initial > 0, side.initial + side.last)
        };
        let (initial, most) = near(home);
        points
            .filter(|point| *point != home && near(*point).1 > 0)
            .max_by_key(|point| (near(*point), std::cmp::Reverse(*point)))
            // A server on the client's own node needs no other point.
            .filter(|point| !(initial && !near(*point).0 && most > 0))
    }

    /// Whether a point recorded anything within a second of `at`.
    fn recorded(&self, point: PointId, at: Timestamp) -> bool {
        let seconds = self.active.get(usize::from(point.0));
        let at = second(at);
        seconds.is_some_and(|seconds| seconds.range(at - 1..=at + 1).next().is_some())
    }

    fn name(&self, point: PointId) -> &str {
        self.names.get(usize::from(point.0)).map_or("?", String::as_str)
    }

    /// What became of the transactions in `scope` between the two points that saw most of them;
    /// `None` where there are no two.
    pub fn stretch(&self, scope: &Scope<'_>) -> Option<Stretch> {
        /// With the times there, inside and back of each slow transaction.
        type Timed = (Stretch, Vec<[Duration; 3]>);
        let mut found: BTreeMap<(PointId, PointId), Timed> = BTreeMap::new();
        let mut nearest: BTreeMap<(IpAddr, PointId), Option<PointId>> = BTreeMap::new();
        for trip in &self.kept {
            let within =
                scope.span.is_none_or(|span| trip.sent <= span.end && span.start <= trip.last_sent);
            let asked = (scope.server)(trip.server) || (scope.server)(trip.responder);
            if !within || !asked || !(scope.client)(trip.client) {
                continue;
            }
            let far = *nearest
                .entry((trip.responder, trip.home))
                .or_insert_with(|| self.nearest(trip.responder, trip.home));
            let Some(far) = far.filter(|far| self.recorded(*far, trip.sent)) else { continue };
            let (stretch, paces) = found.entry((trip.home, far)).or_insert_with(|| {
                let names = (self.name(trip.home).to_owned(), self.name(far).to_owned());
                (Stretch::between(names), Vec::new())
            });
            stretch.add(trip, far);
            paces.extend(trip.pace(far).filter(|pace| pace.iter().sum::<Duration>() >= SLOW));
        }
        let (mut stretch, mut paces) =
            found.into_values().max_by_key(|(stretch, _)| stretch.left + stretch.kept)?;
        let mut median = |part: usize| {
            paces.sort_unstable_by_key(|pace| pace[part]);
            paces.get(paces.len() / 2).map_or(Duration::ZERO, |pace| pace[part])
        };
        let (there, inside, back) = (median(0), median(1), median(2));
        let of = paces.len() as u64;
        stretch.pace = (of > 0).then_some(Pace { there, inside, back, of });
        Some(stretch)
    }

    /// Says of each finding about datagrams that were lost or late where that was, as far as
    /// another point shows it.
    pub fn place(&self, findings: &mut [Finding]) {
        if self.names.len() < 2 {
            return;
        }
        for finding in findings {
            if is_about_ways(finding)
                && let Some(stretch) = self.stretch_of(&finding.claim, finding.span)
            {
                stretch.tell(finding);
            }
        }
    }

    fn stretch_of(&self, claim: &Claim, span: Span) -> Option<Stretch> {
        let client = |client: IpAddr| claim.concerns(client);
        let server =
            |server: IpAddr| claim.servers.as_ref().is_none_or(|servers| servers.contains(&server));
        let span = claim.span.unwrap_or(span);
        self.stretch(&Scope { span: Some(span), client: &client, server: &server })
    }
}

/// Whether a finding says that datagrams were lost or late, and its cause is not one that other
/// points have no say in.
fn is_about_ways(finding: &Finding) -> bool {
    let symptoms = &finding.claim.symptoms;
    let lost = [Symptom::Unanswered, Symptom::Late, Symptom::Slow];
    matches!(
        finding.rule.layer,
        Layer::Service | Layer::Path | Layer::Kernel | Layer::Protocol | Layer::Residual
    ) && (symptoms.is_empty() || lost.iter().any(|symptom| symptoms.contains(symptom)))
}

impl Trip {
    fn of(transaction: &Transaction) -> Option<Self> {
        let first = transaction.attempts.first()?;
        let home = transaction.home()?;
        let answer = transaction.responses.first();
        let answered_by = answer.map(|answer| answer.hops.iter().map(|hop| hop.seen.ts).min());
        let asked =
            |attempt: &&Attempt| answered_by.flatten().is_none_or(|at| attempt.sent().ts <= at);
        let asked = transaction.attempts.iter().rfind(asked).unwrap_or(first);
        let mut legs: SmallVec<[Leg; 2]> = SmallVec::new();
        let mut note = |hops: &Hops, query: bool| {
            let mut met: SmallVec<[PointId; 4]> = SmallVec::new();
            for hop in hops {
                let point = hop.via.point;
                if met.contains(&point) {
                    continue;
                }
                met.push(point);
                let at = legs.iter().position(|leg| leg.point == point).unwrap_or_else(|| {
                    legs.push(Leg { point, queries: 0, answers: 0, asked: None, replied: None });
                    legs.len() - 1
                });
                let Some(leg) = legs.get_mut(at) else { continue };
                let number = if query { &mut leg.queries } else { &mut leg.answers };
                *number = number.saturating_add(1);
            }
        };
        transaction.attempts.iter().for_each(|attempt| note(&attempt.hops, true));
        transaction.responses.iter().for_each(|response| note(&response.hops, false));
        for leg in &mut legs {
            let here = |hop: &Hop| hop.via.point == leg.point;
            leg.asked = asked.hops.iter().filter(here).map(|hop| hop.seen.ts).min();
            let answers = answer
                .iter()
                .flat_map(|answer| answer.hops.iter())
                .filter(here)
                .map(|hop| hop.seen.ts);
            leg.replied = if leg.point == home { answers.max() } else { answers.min() };
        }
        let kept = transaction.attempts.iter().filter(|attempt| {
            attempt.vanish.as_ref().is_some_and(|vanish| vanish.stage != Stage::Left)
        });
        Some(Self {
            sent: first.sent().ts,
            last_sent: transaction.last_sent()?.ts,
            client: transaction.client.ip(),
            server: transaction.server.ip(),
            responder: transaction.responder(),
            home,
            kept: u16::try_from(kept.count()).unwrap_or(u16::MAX),
            answered: transaction.outcome().is_answered(),
            legs,
            weight: 1,
        })
    }

    pub(super) fn leg(&self, point: PointId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.point == point)
    }

    /// Whether one query was answered at once: such a transaction may be left out for others.
    fn is_well(&self) -> bool {
        let home = self.leg(self.home);
        let quick = home.is_some_and(|leg| {
            leg.queries == 1
                && leg.asked.zip(leg.replied).is_some_and(|(asked, at)| at.since(asked) < SLOW)
        });
        self.answered && quick
    }

    /// The times to the far point, there, and back.
    fn pace(&self, far: PointId) -> Option<[Duration; 3]> {
        let (home, far) = (self.leg(self.home)?, self.leg(far)?);
        let (arrived, left) = (far.asked?, far.replied?);
        Some([arrived.since(home.asked?), left.since(arrived), home.replied?.since(left)])
    }
}

fn second(ts: Timestamp) -> i64 {
    ts.nanos().div_euclid(1_000_000_000)
}
