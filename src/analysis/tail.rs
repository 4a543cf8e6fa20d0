//! The part behind the matcher: closed transactions in, lookups, tallies and findings out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use super::demote::{Doubts, weigh};
use super::engine::{Item, Next};
use super::focus::{Focus, LeftOut};
use super::gate::Gate;
use super::group::{Event, GROUP, Group, What, show_all};
use super::health::{Directions, Loss, Sided, Watch};
use super::roles::{PointRole, Roles};
use super::routes::{Route, Routes};
use super::series::Series;
use super::traffic::Traffic;
use crate::base::{Coverage, Host, Nodes, Span, Timestamp};
use crate::detect::{
    ALL, Answers, CutOffs, Detector, Finding, Forward, Ledger, Load, Reach, Reachability, Scene,
    Trips, localise_and_tally, unopened,
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
    routes: Routes,
    gate: Gate,
    watch: Watch,
    coverage: Coverage,
    grouper: Grouper,
    traffic: Traffic,
    series: Series,
    reach: Reach,
    forward: Forward,
    ledger: Ledger,
    answers: Answers,
    directions: Directions,
    trips: Trips,
    roles: Roles,
    load: Load,
    rules: Rules,
    /// What waits for its turn.
    waiting: Vec<Closed>,
    sinks: Sinks<'a>,
}

/// Where the rules look at what closed.
pub(super) enum Rules {
    /// Here, one after the other.
    Here(Vec<Box<dyn Detector>>),
    /// On another thread.
    There(SyncSender<Group>),
}

impl Rules {
    /// Every rule, in the order of the registry.
    pub(super) fn all() -> Vec<Box<dyn Detector>> {
        ALL.iter().map(|rule| (rule.new)()).collect()
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
            Item::Start(start) => {
                self.work();
                self.start = start;
            }
            Item::Notice(notice) => {
                self.work();
                self.watch.note(notice);
            }
            Item::Closed(closed) => {
                self.waiting.push(closed);
                if self.waiting.len() >= GROUP {
                    self.work();
                }
            }
        }
    }
}

impl<'a> Tail<'a> {
    pub(super) fn new(sinks: Sinks<'a>, focus: Focus, known: Known, rules: Rules) -> Self {
        let Known { nodes, points } = known;
        Self {
            start: Timestamp::MIN,
            routes: Routes::default(),
            gate: Gate::new(focus),
            watch: Watch::default(),
            coverage: Coverage::default(),
            grouper: Grouper::default(),
            traffic: Traffic::default(),
            series: Series::default(),
            reach: Reach::new(nodes),
            forward: Forward::default(),
            ledger: Ledger::default(),
            answers: Answers::default(),
            directions: Directions::default(),
            roles: Roles::new(points.len()),
            trips: Trips::new(points),
            load: Load::default(),
            rules,
            waiting: Vec::with_capacity(GROUP),
            sinks,
        }
    }

    /// Everybody takes a look at what waits.
    fn work(&mut self) {
        let closed = std::mem::replace(&mut self.waiting, Vec::with_capacity(GROUP));
        for transaction in closed.iter().filter_map(Closed::transaction) {
            self.watch.closed(transaction);
        }
        let mut lookups = Vec::new();
        for (place, closed) in closed.iter().enumerate() {
            self.grouper.take(closed, &mut self.coverage, &mut |lookup| {
                lookups.push((place, Box::new(lookup)));
            });
        }
        self.see(closed, lookups);
    }

    /// Everybody takes a look at all of these; each lookup with the place of the last thing that
    /// closed before it.
    fn see(&mut self, closed: Vec<Closed>, lookups: Vec<(usize, Box<Lookup>)>) {
        for (_, lookup) in &lookups {
            self.directions.lookup(lookup);
        }
        let mut group = Vec::with_capacity(closed.len() + lookups.len());
        let mut lookups = lookups.into_iter().peekable();
        for (place, closed) in closed.into_iter().enumerate() {
            let route = closed.transaction().and_then(|transaction| {
                let route = self.routes.number(&Route::of(transaction));
                self.directions.closed(transaction, route, self.start, &self.watch);
                route
            });
            group.extend(self.gate.closed(closed, route, &mut self.coverage));
            while let Some((_, lookup)) = lookups.next_if(|(behind, _)| *behind == place) {
                group.extend(self.gate.lookup(lookup));
            }
        }
        group.extend(lookups.filter_map(|(_, lookup)| self.gate.lookup(lookup)));
        self.tally(&group);
        self.hand_on(&group);
        match &mut self.rules {
            Rules::Here(rules) => show_all(&group, rules),
            // Without a receiver there was a panic, which joining will show.
            Rules::There(to) => drop(to.send(group)),
        }
    }

    fn tally(&mut self, group: &[Event]) {
        let Self { start, watch, coverage, traffic, series, .. } = self;
        for Event { what, forwarded } in group {
            match what {
                What::Transaction { transaction, ends, glance, .. } => {
                    traffic.transaction(transaction, (*ends, glance.as_ref()), watch, coverage);
                }
                What::Lookup { lookup, client, .. } if !forwarded => {
                    traffic.lookup(lookup, *client, watch, coverage);
                }
                What::Connect(connect) if !forwarded => traffic.connect(connect),
                What::Lookup { .. } | What::Connect(_) => {}
            }
        }
        for Event { what, forwarded } in group {
            match what {
                What::Transaction { transaction, route, .. } => {
                    series.transaction(transaction, *route, *start, coverage);
                    self.trips.note(transaction);
                    self.roles.note(transaction, *forwarded);
                }
                What::Lookup { lookup, .. } if !forwarded => series.lookup(lookup),
                What::Lookup { .. } | What::Connect(_) => {}
            }
        }
        for Event { what, forwarded } in group {
            match what {
                What::Transaction { transaction, glance: Some(glance), .. } => {
                    let beside = (&self.answers, &mut *coverage);
                    self.forward.note(transaction, glance, *forwarded, beside);
                    self.load.note(transaction, glance);
                }
                What::Connect(connect) => {
                    self.reach.note_connect(connect, coverage);
                    self.forward.note_connect(connect, *forwarded, coverage);
                }
                What::Lookup { lookup, admitted: true, .. } => self.reach.note(lookup, coverage),
                What::Transaction { .. } | What::Lookup { .. } => {}
            }
        }
        for Event { what, forwarded } in group {
            if let What::Lookup { lookup, admitted: true, .. } = what
                && !forwarded
            {
                self.answers.note(lookup, coverage);
                self.ledger.note(lookup, &self.answers, coverage);
            }
        }
    }

    fn hand_on(&mut self, group: &[Event]) {
        if let Some(sink) = &mut self.sinks.transactions {
            for event in group {
                if let What::Transaction { transaction, .. } = &event.what {
                    sink(transaction);
                }
            }
        }
        if let Some(sink) = &mut self.sinks.lookups {
            for event in group {
                if let What::Lookup { lookup, .. } = &event.what {
                    sink(lookup);
                }
            }
        }
    }

    /// Nothing more will close: shows what is left, and gives back the rules that are here.
    pub(super) fn end(&mut self) -> Vec<Box<dyn Detector>> {
        self.work();
        let mut grouper = std::mem::take(&mut self.grouper);
        let mut lookups = Vec::new();
        grouper.finish(&mut |lookup| {
            lookups.push((0, Box::new(lookup)));
            if lookups.len() >= GROUP {
                self.see(Vec::new(), std::mem::take(&mut lookups));
            }
        });
        self.see(Vec::new(), lookups);
        self.grouper = grouper;
        self.reach.finish(&mut self.coverage);
        match std::mem::replace(&mut self.rules, Rules::Here(Vec::new())) {
            Rules::Here(rules) => rules,
            Rules::There(_) => Vec::new(),
        }
    }

    /// The capture is over: `span` of it was read, and `coverage` takes up what was left out here.
    /// Rules say what they found on so many threads.
    pub(super) fn finish(
        self,
        rules: Vec<Box<dyn Detector>>,
        span: Option<Span>,
        nat: &Nat,
        coverage: &mut Coverage,
        threads: usize,
    ) -> Results {
        coverage.absorb(&self.coverage);
        let Self { mut traffic, reach, mut forward, mut ledger, answers, gate, .. } = self;
        let Self { watch, mut directions, grouper, mut series, .. } = self;
        let Self { trips, roles, load, routes, .. } = self;
        let (outside, servers, addresses) = gate.into_parts();
        forward.finish();
        traffic.finish(&addresses, nat, |address| forward.is_upstream(address));
        directions.close(&routes);
        let sided = directions.sided();
        series.finish(&sided, &routes);
        let loss = directions.loss(&sided, nat);
        let cut_off = CutOffs::of(&reach);
        let (outages, mut reachability) =
            localise_and_tally(&reach, nat, &forward, &trips, &cut_off);
        // What was not recorded cannot be told from what was not answered.
        if sided.lacks_responses() {
            reachability = Reachability::default();
        } else {
            ledger.note_connections(unopened(&reach, &outages), &answers, coverage);
        }
        let answers = answers.close();
        let mut findings = span.map_or_else(Vec::new, |span| {
            let servers: BTreeSet<IpAddr> =
                servers.into_iter().map(|Host(address)| address).collect();
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
                cut_off: &cut_off,
                servers: &servers,
                addresses: &addresses,
            };
            finish(rules, &scene, threads)
        });
        trips.place(&mut findings);
        let doubts = Doubts { sided: &sided, loss, watch: &watch, ledger: &ledger };
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
