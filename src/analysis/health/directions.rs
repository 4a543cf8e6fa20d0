//! Looks at closed transactions and lookups: which directions were captured, how much was lost,
//! and what the edges of the capture cost.

use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::Watch;
use crate::analysis::routes::{ByRoute, Route, RouteId, Routes};
use crate::base::{Host, Network, Table, Timestamp};
use crate::detect::{Finding, Harmed, Steps, Symptom};
use crate::lookup::Lookup;
use crate::transaction::timing::T_WAIT;
use crate::transaction::{Nat, Outcome, Transaction};

/// Scopes told apart; the rest is in the whole.
const MAX_SCOPES: usize = 65_536;
/// Queries or responses below which one direction alone says nothing (rulebook `cap-one-sided`).
const ENOUGH: u64 = 50;
/// Responses below which a share of orphans says nothing.
const ENOUGH_RESPONSES: u64 = 20;
/// Orphans below which their share may be chance.
const ENOUGH_ORPHANS: u64 = 2;
/// The share of orphans above which a capture lost frames, in 1/1000 (rulebook `cap-loss`).
const LOSS: u64 = 2;
/// Orphans are spread as loss spreads them unless that is less likely than this (rulebook
/// `cap-loss`).
const SPREAD: f64 = 0.01;
/// A cell of a chi-square test with less than this expected is joined with others (Cochran).
const EXPECTED: f64 = 5.0;

/// Counts of a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Side {
    /// Query datagrams.
    queries: u64,
    /// Transactions with a query.
    transactions: u64,
    /// Of them, with any response.
    answered: u64,
    /// Of them, silent while the capture watched.
    timeouts: u64,
    /// Responses, orphans included.
    responses: u64,
    /// Responses without a query, the capture's first seconds left out.
    orphans: u64,
    /// Steps of lookups that nobody answered.
    silent: u64,
    /// Of them, not asked again by anybody.
    unproven: u64,
}

/// Which direction a scope lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analysis) enum Missing {
    /// Only queries were captured.
    Responses,
    /// Only responses were captured.
    Queries,
}

impl Side {
    fn absorb(&mut self, other: &Self) {
        self.queries += other.queries;
        self.transactions += other.transactions;
        self.answered += other.answered;
        self.timeouts += other.timeouts;
        self.responses += other.responses;
        self.orphans += other.orphans;
        self.silent += other.silent;
        self.unproven += other.unproven;
    }

    /// The direction that was not captured. Real silence makes clients ask again; that they do
    /// not, and go on with other questions, shows that they had their answers.
    fn missing(&self) -> Option<Missing> {
        let next_to_none = self.answered * 50 < self.transactions;
        let hardly_repeated = self.queries * 20 <= self.transactions * 21;
        let not_asked_again = self.unproven * 20 >= self.silent * 19;
        if self.transactions >= ENOUGH && next_to_none && hardly_repeated && not_asked_again {
            return Some(Missing::Responses);
        }
        let only_responses = self.orphans * 20 >= (self.transactions + self.orphans) * 19;
        (self.orphans >= ENOUGH && only_responses).then_some(Missing::Queries)
    }
}

/// Where one direction is missing.
#[derive(Debug, Clone, Default)]
pub(in crate::analysis) struct Sided {
    /// In the whole capture.
    pub(super) whole: Option<Missing>,
    /// Servers, as asked, of which no response was captured.
    pub(super) servers: BTreeSet<IpAddr>,
    /// Client networks to which no response was captured.
    pub(super) networks: BTreeSet<Network>,
    /// Servers of which responses alone were captured.
    pub(super) only_responses: BTreeSet<IpAddr>,
    /// Transactions that look like timeouts because of that.
    pub(in crate::analysis) timeouts: u64,
}

impl Sided {
    /// Whether the whole capture lacks responses.
    pub(in crate::analysis) fn lacks_responses(&self) -> bool {
        self.whole == Some(Missing::Responses)
    }

    /// Whether silence of this server proves nothing.
    pub(in crate::analysis) fn of_server(&self, server: IpAddr) -> bool {
        self.lacks_responses() || self.servers.contains(&server)
    }

    /// Whether silence towards this client proves nothing.
    pub(in crate::analysis) fn of_client(&self, client: IpAddr) -> bool {
        self.lacks_responses() || self.networks.contains(&Network::of(client))
    }

    /// Whether a lookup was harmed by nothing but silence that proves nothing.
    pub(in crate::analysis) fn excuses(&self, harmed: &Harmed, steps: &Steps) -> bool {
        let mut bad = steps.of(harmed).peekable();
        bad.peek().is_some()
            && bad.all(|step| {
                matches!(step.symptom, Symptom::Unanswered | Symptom::Late)
                    && (self.of_server(step.asked.server) || self.of_client(harmed.client))
            })
    }

    /// Whether a finding blames nobody but those of whom one direction is missing.
    pub(in crate::analysis) fn explains(&self, finding: &Finding) -> bool {
        use crate::detect::Culprit;
        !finding.culprits.is_empty()
            && finding.culprits.iter().all(|culprit| match culprit {
                Culprit::Service(address)
                | Culprit::Backend(address)
                | Culprit::Upstream(address) => self.of_server(*address),
                Culprit::Client(address) => self.of_client(*address),
                Culprit::ClientSubnet(network) => self.networks.contains(network),
                Culprit::Path(..) | Culprit::Name(_) | Culprit::Zone(_) | Culprit::Node(_) => false,
            })
    }
}

/// How many frames the capture lost, by the responses that stand without their query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::analysis) struct Loss {
    /// Responses without query.
    pub(super) orphans: u64,
    /// All responses.
    pub(super) responses: u64,
    /// Queries that nobody answered and nobody asked again.
    pub(in crate::analysis) unretried: u64,
}

impl Loss {
    /// The rulebook's `d_hat`.
    pub(in crate::analysis) fn share(&self) -> f64 {
        self.orphans as f64 / self.responses.max(1) as f64
    }
}

/// Watches closed transactions and lookups.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Directions {
    /// By who asked whom: sorted into the others at the end.
    routes: ByRoute<Side>,
    all: Side,
    /// By the address that was asked.
    servers: Table<Host, Side>,
    /// By the address that answered, behind any translation that is visible.
    responders: Table<Host, Side>,
    networks: Table<Network, Side>,
    /// Responses without query in the first seconds or behind a hole, where they are to be expected.
    pub(super) early: u64,
    /// Transactions that cannot be judged, by the second they began in; the last few seconds.
    unjudged: VecDeque<(i64, u64)>,
    /// All of these.
    pub(super) unknown: u64,
}

impl Directions {
    /// Takes a closed transaction of a capture that began at `start`.
    pub(in crate::analysis) fn closed(
        &mut self,
        transaction: &Transaction,
        route: Option<RouteId>,
        start: Timestamp,
        watch: &Watch,
    ) {
        let responses = transaction.responses.len() as u64;
        let first = transaction.first().ts;
        if transaction.attempts.is_empty() {
            if first.since(start) <= T_WAIT || watch.is_behind_a_hole(first) {
                self.early += responses;
            } else {
                self.add(transaction, route, |side| {
                    side.responses += responses;
                    side.orphans += responses;
                });
            }
            return;
        }
        let outcome = transaction.outcome();
        if outcome == Outcome::Unknown {
            self.note_unknown(first);
        }
        self.add(transaction, route, |side| {
            side.queries += transaction.attempts.len() as u64;
            side.transactions += 1;
            side.answered += u64::from(responses > 0 || !transaction.rejections.is_empty());
            side.timeouts += u64::from(outcome == Outcome::Timeout);
            side.responses += responses;
        });
    }

    /// Takes a lookup.
    pub(in crate::analysis) fn lookup(&mut self, lookup: &Lookup) {
        for step in &lookup.steps {
            let Some(transaction) = step.transaction() else { continue };
            if transaction.outcome() == Outcome::Timeout && transaction.responses.is_empty() {
                self.add(transaction, None, |side| {
                    side.silent += 1;
                    side.unproven += u64::from(step.unproven);
                });
            }
        }
    }

    /// Where one direction is missing.
    pub(in crate::analysis) fn sided(&self) -> Sided {
        let whole = self.all.missing();
        let mut sided = Sided { whole, ..Sided::default() };
        if whole.is_some() {
            sided.timeouts = self.all.timeouts;
            return sided;
        }
        let (mut by_server, mut by_network) = (0, 0);
        for (Host(server), side) in &self.servers {
            if side.missing() == Some(Missing::Responses) {
                sided.servers.insert(*server);
                by_server += side.timeouts;
            }
        }
        for (network, side) in &self.networks {
            if side.missing() == Some(Missing::Responses) {
                sided.networks.insert(*network);
                by_network += side.timeouts;
            }
        }
        for (Host(responder), side) in &self.responders {
            if side.missing() == Some(Missing::Queries) {
                sided.only_responses.insert(*responder);
            }
        }
        // The two may be the same transactions.
        sided.timeouts = by_server.max(by_network);
        sided
    }

    /// How much the capture lost, where it lost enough to say so. Responses without query of
    /// servers of which nothing else was captured are another matter, and so are those that come
    /// from one corner of the network alone.
    pub(in crate::analysis) fn loss(&self, sided: &Sided, nat: &Nat) -> Option<Loss> {
        if sided.whole.is_some() {
            return None;
        }
        let asked = |host: &Host| !sided.only_responses.contains(&host.0);
        let seen = || self.responders.iter().filter(|(host, _)| asked(host));
        let responders: Vec<Side> = seen().map(|(_, side)| *side).collect();
        // Under a service's own address stand those of which the capture missed the rest.
        let own = seen().filter(|(Host(address), _)| !nat.is_service(*address));
        let own: Vec<Side> = own.map(|(_, side)| *side).collect();
        let networks: Vec<Side> = self.networks.values().copied().collect();
        let loss = Loss {
            orphans: responders.iter().map(|side| side.orphans).sum(),
            responses: responders.iter().map(|side| side.responses).sum(),
            unretried: self.all.unproven.saturating_sub(sided.timeouts),
        };
        let lost = loss.responses >= ENOUGH_RESPONSES
            && loss.orphans >= ENOUGH_ORPHANS
            && loss.orphans * 1_000 > loss.responses * LOSS;
        (lost && is_spread(&own) && is_spread(&networks)).then_some(loss)
    }

    /// Transactions that cannot be judged because they began less than a wait before `end`.
    pub(super) fn cut_by(&self, end: Timestamp) -> u64 {
        let from = second(end.before(T_WAIT));
        self.unjudged.iter().filter(|(second, _)| *second >= from).map(|(_, count)| count).sum()
    }

    fn note_unknown(&mut self, at: Timestamp) {
        self.unknown += 1;
        let now = second(at);
        match self.unjudged.back_mut() {
            Some((last, count)) if *last >= now => *count += 1,
            _ => self.unjudged.push_back((now, 1)),
        }
        let kept = i64::try_from(T_WAIT.as_secs()).unwrap_or(i64::MAX) + 2;
        while self.unjudged.front().is_some_and(|(first, _)| now - *first > kept) {
            self.unjudged.pop_front();
        }
    }

    fn add(
        &mut self,
        transaction: &Transaction,
        route: Option<RouteId>,
        add: impl FnOnce(&mut Side),
    ) {
        if let Some(route) = route {
            add(self.routes.row(route));
        } else {
            let mut side = Side::default();
            add(&mut side);
            self.sort(&Route::of(transaction), &side);
        }
    }

    /// Adds up what was counted by route, once nothing more will close.
    pub(in crate::analysis) fn close(&mut self, routes: &Routes) {
        let sides = std::mem::take(&mut self.routes);
        for (route, side) in routes.rows(&sides).filter(|(_, side)| **side != Side::default()) {
            self.sort(route, side);
        }
    }

    fn sort(&mut self, route: &Route, side: &Side) {
        self.all.absorb(side);
        absorb(&mut self.servers, Host(route.server()), side);
        absorb(&mut self.responders, Host(route.responder()), side);
        absorb(&mut self.networks, Network::of(route.client()), side);
    }
}

fn absorb<K: Hash + Ord>(sides: &mut Table<K, Side>, key: K, side: &Side) {
    if let Some(known) = sides.entry_within(key, MAX_SCOPES) {
        known.or_default().absorb(side);
    }
}

fn second(ts: Timestamp) -> i64 {
    ts.nanos().div_euclid(1_000_000_000)
}

/// Whether orphans are spread over scopes in proportion to their responses, as loss in the capture
/// spreads them (chi-square; rulebook `cap-loss`).
fn is_spread(sides: &[Side]) -> bool {
    let responses: u64 = sides.iter().map(|side| side.responses).sum();
    let orphans: u64 = sides.iter().map(|side| side.orphans).sum();
    let share = orphans as f64 / responses.max(1) as f64;
    let (mut cells, mut sum) = (0_u32, 0.0);
    let mut add = |observed: f64, expected: f64| {
        cells += 1;
        sum += (observed - expected).powi(2) / expected;
    };
    let (mut small_observed, mut small_expected) = (0.0, 0.0);
    for side in sides {
        let (observed, expected) = (side.orphans as f64, side.responses as f64 * share);
        if expected >= EXPECTED {
            add(observed, expected);
        } else {
            small_observed += observed;
            small_expected += expected;
        }
    }
    if small_expected > 0.0 {
        add(small_observed, small_expected);
    }
    if cells < 2 {
        return true;
    }
    ChiSquared::new(f64::from(cells - 1)).map_or(true, |chi| chi.sf(sum) > SPREAD)
}
