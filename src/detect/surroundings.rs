//! What surrounds an outage: how others fared meanwhile.
//!
//! The capture of a large cluster, or of a resolver that is flooded, holds thousands of outages, and each of
//! them is held against everybody else. What everybody did is added up over time once, so that an outage
//! costs what its own network did, and not the whole capture.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::classify::ENOUGH_TO_EXONERATE;
use super::cutoff::CutOffs;
use super::flow::Flow;
use super::localise::Outage;
use super::posterior::{Flows, State};
use super::reach::Reach;
use crate::base::{Host, Map, Network, Span, Timestamp, Transport};

/// Networks of a server whose outages are held against each other one by one: those with the most flows.
const MAX_COLUMN: usize = 128;
/// Flows that show how servers share them, and the part of them that each side has at least.
const ENOUGH_SHARED: u64 = 20;
const LEAST_SHARE: u64 = 10;

/// What other flows did while a server did not answer a group of clients.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Flows of the failed clients to other servers that were answered.
    pub elsewhere_ok: u64,
    /// Flows of the failed clients to other servers that failed.
    pub elsewhere_failed: u64,
    /// Flows of other clients of the network to other servers that were answered.
    pub neighbours_ok: u64,
    /// Flows of other clients of the network to other servers that failed.
    pub neighbours_failed: u64,
    /// TCP flows of the network to any server that were answered.
    pub tcp_ok: u64,
    /// Flows from other networks to the same server that were answered.
    pub others_ok: u64,
    /// Flows from other networks to the same server that failed.
    pub others_failed: u64,
    /// Flows from other networks to any server that were answered.
    pub abroad_ok: u64,
    /// Flows from other networks to any server that failed.
    pub abroad_failed: u64,
    /// The row: how the network's flows to each other server fared.
    pub row: BTreeMap<IpAddr, Flows>,
    /// The same of the failed clients alone.
    pub own_row: BTreeMap<IpAddr, Flows>,
    /// How the flows of other networks to the same server fared.
    pub column: Column,
    /// Servers behind the same service that answered this network at any time.
    pub mates: BTreeSet<IpAddr>,
    /// The share of new flows that the silent server would get if it were one of them still.
    pub(super) share: f64,
    /// Flows to those after the last flow to the silent server, until it answered again.
    pub(super) after: u64,
    /// Whether the silent server was asked again meanwhile.
    pub(super) asked_again: bool,
}

impl Context {
    /// Flows from other networks to other servers that were answered.
    pub(super) fn apart_ok(&self) -> u64 {
        self.abroad_ok.saturating_sub(self.others_ok)
    }
}

/// The other networks that asked a server meanwhile: where they are very many, those with the most flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Column {
    /// How many there are.
    pub networks: usize,
    /// Those that it answered, so often that it means something.
    pub answering: usize,
    /// Those that it did not answer.
    pub dead: usize,
}

/// What flows add up to, from the first one to each instant at which one began, or reached its server.
#[derive(Debug, Default)]
pub(super) struct Sums(Vec<(Timestamp, u32, u32)>);

impl Sums {
    /// Those of flows that failed: when each began, and how many it stands for.
    pub(super) fn of_failed(mut flows: Vec<(Timestamp, u64)>) -> Self {
        flows.sort_unstable();
        let mut sums = Self::default();
        for (at, weight) in flows {
            sums.add(at, 0, weight);
        }
        sums
    }

    /// Adds flows; later ones come later.
    fn add(&mut self, at: Timestamp, ok: u64, failed: u64) {
        let (_, known_ok, known_failed) = self.0.last().copied().unwrap_or((at, 0, 0));
        let sum =
            |known: u32, more: u64| known.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        self.0.push((at, sum(known_ok, ok), sum(known_failed, failed)));
    }

    /// Those of a span; `None` if there are none.
    pub(super) fn within(&self, span: Span) -> Option<Flows> {
        let from = self.0.partition_point(|(at, ..)| *at < span.start);
        let until = self.0.partition_point(|(at, ..)| *at <= span.end);
        let before = from.checked_sub(1).and_then(|last| self.0.get(last));
        let (_, ok, failed) = self.0.get(until.checked_sub(1)?).filter(|_| from < until)?;
        let (known_ok, known_failed) = before.map_or((0, 0), |(_, ok, failed)| (*ok, *failed));
        Some(Flows { ok: (ok - known_ok).into(), failed: (failed - known_failed).into() })
    }
}

/// One network's flows to a server.
#[derive(Debug)]
struct Cell {
    network: Network,
    /// One of its clients.
    client: IpAddr,
    sums: Sums,
}

/// All flows of a capture, added up.
pub(super) struct Surroundings<'a> {
    reach: &'a Reach,
    cut_off: &'a CutOffs<'a>,
    all: Sums,
    servers: Map<Host, Sums>,
    columns: Map<Host, Vec<Cell>>,
    states: Map<(u64, u64), State>,
}

/// How many flows it stands for that were answered, and how many that failed.
fn fate(flow: &Flow) -> (u64, u64) {
    match (flow.succeeded(), flow.failed()) {
        (true, _) => (u64::from(flow.weight()), 0),
        (_, true) => (0, u64::from(flow.weight())),
        _ => (0, 0),
    }
}

impl<'a> Surroundings<'a> {
    /// What failed because its client was cut off is left out: it says nothing of servers and ways.
    pub(super) fn of(reach: &'a Reach, cut_off: &'a CutOffs<'a>) -> Self {
        let mut cells: Map<(Host, Network), Cell> = Map::default();
        let (mut all, mut servers) = (Sums::default(), Map::<Host, Sums>::default());
        let counts = |flow: &&Flow| reach.tells(flow) && !cut_off.cover(flow);
        let mut flows: Vec<&Flow> = reach.flows().iter().filter(counts).collect();
        flows.sort_by_key(|flow| flow.reached_at());
        for flow in flows {
            let (at, (ok, failed)) = (flow.reached_at(), fate(flow));
            let (server, client) = (Host(flow.cell().responder), flow.cell().client);
            let network = reach.group(client);
            all.add(at, ok, failed);
            servers.entry(server).or_default().add(at, ok, failed);
            let cell = cells.entry((server, network));
            let cell = cell.or_insert_with(|| Cell { network, client, sums: Sums::default() });
            cell.sums.add(at, ok, failed);
        }
        let mut columns: Map<Host, Vec<Cell>> = Map::default();
        for ((server, _), cell) in cells {
            columns.entry(server).or_default().push(cell);
        }
        for column in columns.values_mut() {
            column.sort_unstable_by_key(|cell| (Reverse(cell.sums.0.len()), cell.network));
            column.truncate(MAX_COLUMN);
        }
        Self { reach, cut_off, all, servers, columns, states: Map::default() }
    }

    /// What surrounds an outage; the server was `idle` from the last flow to it on, until it answered again
    /// or the capture ended.
    pub(super) fn context(&mut self, outage: &Outage, idle: Span) -> Context {
        let mut context = Context::default();
        let is_idle = |at: Timestamp| idle.start < at && at < idle.end;
        let (mut sharing, mut ours, mut ours_here) =
            (Sharing::default(), Flows::default(), Flows::default());
        for flow in self.reach.flows_in(outage.network) {
            let cell = flow.cell();
            let (ok, failed) = fate(flow);
            let here = cell.responder == outage.server;
            let within = outage.span.contains(flow.reached_at());
            if cell.transport == Transport::Tcp {
                context.tcp_ok += if within { ok } else { 0 };
            }
            if !self.reach.tells(flow) || self.cut_off.cover(flow) {
                continue;
            }
            if !here && cell.server == outage.service {
                if ok > 0 {
                    context.mates.insert(cell.responder);
                }
                context.after += if is_idle(flow.first.ts) { u64::from(flow.weight()) } else { 0 };
            }
            context.asked_again |= here && is_idle(flow.first.ts);
            if cell.server == cell.responder && outage.service == outage.server {
                sharing.note(flow, here, flow.first.ts < outage.span.start, is_idle(flow.first.ts));
            }
            if !within {
                continue;
            }
            ours.add(ok, failed);
            if here {
                ours_here.add(ok, failed);
                continue;
            }
            context.row.entry(cell.responder).or_default().add(ok, failed);
            let (to_ok, to_failed) = if outage.clients.contains(&cell.client) {
                context.own_row.entry(cell.responder).or_default().add(ok, failed);
                (&mut context.elsewhere_ok, &mut context.elsewhere_failed)
            } else {
                (&mut context.neighbours_ok, &mut context.neighbours_failed)
            };
            *to_ok += ok;
            *to_failed += failed;
        }
        let others = |sums: Option<&Sums>, ours: Flows| {
            let all = sums.and_then(|sums| sums.within(outage.span)).unwrap_or_default();
            (all.ok.saturating_sub(ours.ok), all.failed.saturating_sub(ours.failed))
        };
        (context.abroad_ok, context.abroad_failed) = others(Some(&self.all), ours);
        let server = Host(outage.server);
        (context.others_ok, context.others_failed) = others(self.servers.get(&server), ours_here);
        context.column = self.column(outage);
        if !context.mates.is_empty() {
            // With n servers to choose from, chance sends k flows elsewhere with ((n-1)/n)^k.
            context.share = 1.0 / (context.mates.len() as f64 + 1.0);
        } else if let Some(share) = sharing.share() {
            context.share = share;
            context.after = sharing.after;
            context.mates = sharing.mates;
        }
        context
    }

    /// How other networks fared with the server meanwhile.
    fn column(&mut self, outage: &Outage) -> Column {
        let Self { columns, states, .. } = self;
        let mut column = Column::default();
        let cells = columns.get(&Host(outage.server)).map_or(&[][..], Vec::as_slice);
        let others = cells.iter().filter(|cell| !outage.network.contains(cell.client));
        for flows in others.filter_map(|cell| cell.sums.within(outage.span)) {
            column.networks += 1;
            // The same few counts come again and again.
            match *states.entry((flows.ok, flows.failed)).or_insert_with(|| flows.state()) {
                State::Answers if flows.ok >= ENOUGH_TO_EXONERATE => column.answering += 1,
                State::Dead => column.dead += 1,
                State::Answers | State::Undecided => {}
            }
        }
        column
    }
}

/// Servers that share out the flows of a network where the capture does not show the address behind which
/// they stand: behind the translation, each is asked by its own.
///
/// Name servers of a resolver's list are asked in its order, or all at once, and go on being asked.
#[derive(Default)]
struct Sharing {
    mates: BTreeSet<IpAddr>,
    /// Flows before the outage, to the silent server and to the others.
    here: u64,
    there: u64,
    /// Flows to the others while it was not asked.
    after: u64,
}

impl Sharing {
    fn note(&mut self, flow: &Flow, here: bool, before: bool, idle: bool) {
        let weight = u64::from(flow.weight());
        self.here += if here && before { weight } else { 0 };
        if !here && flow.succeeded() {
            self.mates.insert(flow.cell().responder);
            self.there += if before { weight } else { 0 };
            self.after += if idle { weight } else { 0 };
        }
    }

    /// The share of the silent server before it fell silent, if there is something to share.
    fn share(&self) -> Option<f64> {
        let all = self.here + self.there;
        let shared = self.here.min(self.there) * LEAST_SHARE >= all && all >= ENOUGH_SHARED;
        shared.then(|| self.here as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_tell_what_began_within_a_span() {
        let at = Timestamp::from_nanos;
        let mut sums = Sums::default();
        for (ts, ok, failed) in [(10, 1, 0), (20, 0, 2), (20, 3, 0), (30, 0, 0), (40, 1, 1)] {
            sums.add(at(ts), ok, failed);
        }
        let within = |from, to| sums.within(Span::between(at(from), at(to)));
        assert_eq!(within(10, 40), Some(Flows { ok: 5, failed: 3 }));
        assert_eq!(within(11, 20), Some(Flows { ok: 3, failed: 2 }));
        assert_eq!(within(21, 35), Some(Flows::default()));
        assert_eq!((within(21, 29), within(41, 50), within(0, 9)), (None, None, None));
    }
}
