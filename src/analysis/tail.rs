//! The part behind the matcher: closed transactions in, lookups, tallies and findings out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::demote::{Doubts, weigh};
use super::engine::{Item, Next};
use super::focus::{Focus, LeftOut};
use super::health::{Directions, Loss, Sided, Watch};
use super::peers::Peers;
use super::roles::{PointRole, Roles};
use super::series::Series;
use super::traffic::Traffic;
use crate::base::{Coverage, Nodes, Set, Span, Timestamp};
use crate::detect::{
    ALL, Answers, Detector, Finding, Forward, Glance, Interest, Ledger, Load, Reach, Reachability,
    Scene, Trips, localise_and_tally,
};
use crate::lookup::{Grouper, Lookup, Profiles};
use crate::transaction::{Closed, Nat, Transaction};

/// Who wants to see transactions and lookups as they close; they may be told on another thread.
#[derive(Default)]
pub struct Sinks<'a> {
    /// Gets every transaction, in the order of first frames.
    pub transactions: Option<&'a mut (dyn FnMut(&Transaction) + Send)>,
    /// Gets every lookup, in the order in which they began.
    pub lookups: Option<&'a mut (dyn FnMut(&Lookup) + Send)>,
}

/// Everything that is kept of transactions and lookups.
pub(super) struct Tail<'a> {
    start: Timestamp,
    focus: Focus,
    outside: LeftOut,
    watch: Watch,
    coverage: Coverage,
    grouper: Grouper,
    traffic: Traffic,
    series: Series,
    reach: Reach,
    forward: Forward,
    ledger: Ledger,
    answers: Answers,
    servers: Set<IpAddr>,
    directions: Directions,
    peers: Peers,
    trips: Trips,
    roles: Roles,
    load: Load,
    detectors: Vec<Box<dyn Detector>>,
    watchers: Watchers,
    sinks: Sinks<'a>,
}

/// The places of the rules that observe transactions.
struct Watchers {
    /// Of any kind.
    of_all: Vec<usize>,
    /// Of any kind, or of those that are not plain.
    of_unusual: Vec<usize>,
}

impl Watchers {
    fn among(detectors: &[Box<dyn Detector>]) -> Self {
        let of = |interest: Interest| {
            let watches =
                |(_, detector): &(usize, &Box<dyn Detector>)| detector.interest() >= interest;
            detectors.iter().enumerate().filter(watches).map(|(place, _)| place).collect()
        };
        Self { of_all: of(Interest::All), of_unusual: of(Interest::Unusual) }
    }

    fn of(&self, glance: &Glance) -> &[usize] {
        if glance.plain { &self.of_all } else { &self.of_unusual }
    }
}

/// What is known before the first frame.
pub(super) struct Known {
    /// Which clients run on which node.
    pub(super) nodes: Nodes,
    /// The names of the capture points.
    pub(super) points: Vec<String>,
}

/// What the tail leaves behind.
pub(super) struct Results {
    pub(super) outside: LeftOut,
    pub(super) traffic: Traffic,
    pub(super) profiles: Profiles,
    pub(super) series: Series,
    pub(super) ledger: Ledger,
    pub(super) findings: Vec<Finding>,
    pub(super) watch: Watch,
    pub(super) directions: Directions,
    pub(super) sided: Sided,
    pub(super) loss: Option<Loss>,
    pub(super) reachability: Reachability,
    /// Where each capture point stands; empty where there is one alone.
    pub(super) roles: Vec<PointRole>,
}

impl Next for Tail<'_> {
    fn item(&mut self, item: Item) {
        match item {
            Item::Start(start) => self.start = start,
            Item::Notice(notice) => self.watch.note(notice),
            Item::Closed(closed) => self.closed(&closed),
        }
    }
}

impl<'a> Tail<'a> {
    pub(super) fn new(sinks: Sinks<'a>, focus: Focus, known: Known) -> Self {
        let Known { nodes, points } = known;
        let outside = LeftOut { focus: focus.words(), ..LeftOut::default() };
        let detectors: Vec<_> = ALL.iter().map(|rule| (rule.new)()).collect();
        Self {
            start: Timestamp::MIN,
            focus,
            outside,
            watch: Watch::default(),
            coverage: Coverage::default(),
            grouper: Grouper::default(),
            traffic: Traffic::default(),
            series: Series::default(),
            reach: Reach::new(nodes),
            forward: Forward::default(),
            ledger: Ledger::default(),
            answers: Answers::default(),
            servers: Set::default(),
            directions: Directions::default(),
            peers: Peers::default(),
            roles: Roles::new(points.len()),
            trips: Trips::new(points),
            load: Load::default(),
            watchers: Watchers::among(&detectors),
            detectors,
            sinks,
        }
    }

    fn closed(&mut self, closed: &Closed) {
        let Self { start, watch, coverage, .. } = self;
        if let Closed::Transaction(transaction) = closed {
            watch.closed(transaction);
            self.directions.closed(transaction, *start, watch);
        }
        match closed {
            outside if !self.focus.holds(outside, &self.servers) => {
                if let Closed::Transaction(transaction) = outside {
                    self.outside.transactions += u64::from(!transaction.attempts.is_empty());
                    if transaction.answer().is_some() {
                        self.servers.insert(transaction.responder());
                    }
                }
            }
            Closed::Transaction(transaction) => {
                self.traffic.transaction(transaction, watch, coverage);
                self.series.transaction(transaction, *start, coverage);
                let (client, server) = (transaction.client.ip(), transaction.responder());
                self.trips.note(transaction);
                self.roles.note(transaction, &self.servers);
                if self.peers.admit(client, server, coverage) {
                    let glance = Glance::at(transaction);
                    self.forward.note(transaction, &glance, &self.servers, coverage);
                    self.load.note(transaction, &glance);
                    if transaction.answer().is_some() {
                        self.servers.insert(server);
                    }
                    for place in self.watchers.of(&glance) {
                        self.detectors[*place].observe(transaction, &glance);
                    }
                }
                if let Some(sink) = &mut self.sinks.transactions {
                    sink(transaction);
                }
            }
            Closed::Connect(connect) => {
                if self.peers.admit(connect.client.ip(), connect.responder(), coverage) {
                    self.reach.note_connect(connect, coverage);
                    self.forward.note_connect(connect, &self.servers, coverage);
                    for detector in &mut self.detectors {
                        detector.observe_connect(connect);
                    }
                }
            }
        }
        let mut done: smallvec::SmallVec<[Lookup; 1]> = smallvec::SmallVec::new();
        self.grouper.take(closed, coverage, &mut |lookup| done.push(lookup));
        for lookup in done {
            self.lookup(&lookup);
        }
    }

    fn lookup(&mut self, lookup: &Lookup) {
        let Self { watch, coverage, .. } = self;
        self.directions.lookup(lookup);
        if !self.focus.holds_lookup(lookup, &self.servers) {
            self.outside.lookups += 1;
            return;
        }
        // What a DNS server asks on its clients' behalf is nobody's own lookup.
        let forwarded = self.servers.contains(&lookup.client);
        if !forwarded {
            self.traffic.lookup(lookup, watch, coverage);
            self.series.lookup(lookup);
        }
        if self.peers.has_client(lookup.client) {
            self.reach.note(lookup, coverage);
            if !forwarded {
                self.ledger.note(lookup, coverage);
                self.answers.note(lookup, coverage);
            }
            for detector in &mut self.detectors {
                detector.observe_lookup(lookup);
            }
        }
        if let Some(sink) = &mut self.sinks.lookups {
            sink(lookup);
        }
    }

    /// The capture is over: `span` of it was read, and `coverage` takes up what was left out here.
    /// Rules say what they found on so many threads.
    pub(super) fn finish(
        mut self,
        span: Option<Span>,
        nat: &Nat,
        coverage: &mut Coverage,
        threads: usize,
    ) -> Results {
        let mut done = Vec::new();
        self.grouper.finish(&mut |lookup| done.push(lookup));
        for lookup in done {
            self.lookup(&lookup);
        }
        self.reach.finish(&mut self.coverage);
        coverage.absorb(&self.coverage);
        let Self { mut traffic, reach, forward, ledger, answers, servers, .. } = self;
        let Self { watch, directions, detectors, grouper, mut series, outside, .. } = self;
        let Self { trips, roles, load, .. } = self;
        let answers = answers.close();
        traffic.finish(nat, |address| forward.is_upstream(address));
        let sided = directions.sided();
        series.finish(&sided);
        let loss = directions.loss(&sided);
        let (outages, mut reachability) = localise_and_tally(&reach, nat, &forward, &trips);
        // What was not recorded cannot be told from what was not answered.
        if sided.lacks_responses() {
            reachability = Reachability::default();
        }
        let mut findings = span.map_or_else(Vec::new, |span| {
            let servers: BTreeSet<IpAddr> = servers.into_iter().collect();
            let scene = Scene {
                span,
                coverage,
                nat,
                reach: &reach,
                forward: &forward,
                load: &load,
                ledger: &ledger,
                answers: &answers,
                outages: &outages,
                servers: &servers,
            };
            finish(detectors, &scene, threads)
        });
        trips.place(&mut findings);
        let doubts = Doubts { sided: &sided, loss, watch: &watch };
        let findings = weigh(findings, &reach, &doubts);
        let profiles = grouper.into_profiles();
        Results {
            outside,
            traffic,
            profiles,
            series,
            ledger,
            findings,
            watch,
            directions,
            sided,
            loss,
            reachability,
            roles: roles.finish(),
        }
    }
}

/// What every rule found, in their order: each by itself, whoever is free takes the next.
fn finish(detectors: Vec<Box<dyn Detector>>, scene: &Scene<'_>, threads: usize) -> Vec<Finding> {
    if threads == 1 {
        return detectors.into_iter().flat_map(|detector| detector.finish(scene)).collect();
    }
    let waiting = Mutex::new(detectors.into_iter().enumerate());
    let work = || {
        let mut found = Vec::new();
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((place, detector)) = next else { return found };
            found.push((place, detector.finish(scene)));
        }
    };
    let mut found: Vec<(usize, Vec<Finding>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            found.extend(theirs);
        }
        found
    });
    found.sort_unstable_by_key(|(place, _)| *place);
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}
