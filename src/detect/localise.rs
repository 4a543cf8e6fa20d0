//! Where reachability broke: outages of a server for a group of clients (rulebook section 6).
//!
//! An outage is a run of failed flows from one client network to one server without a success
//! in between. Which rule it belongs to (a dead backend, a broken path, a blocked port, …) is
//! for the rules to say; this module finds the runs and what surrounds them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::reach::{Flow, Reach};
use crate::base::{Network, Span, Timestamp, Transport};
use crate::capture::Seen;
use crate::transaction::Nat;

/// Three failures out of three leave a healthy server with a chance of one in a million at one
/// per cent of loss (rulebook `min_flows`).
pub const MIN_FLOWS: usize = 3;
/// A run shorter than this is a burst of loss, not an outage (rulebook 6.7).
const MIN_LENGTH: Duration = Duration::from_secs(2);
/// A run of failures must be rarer than this by chance, given how often the server fails
/// outside it: random loss also makes runs.
const CHANCE: f64 = 0.001;
/// How many frames of an outage are kept as evidence.
const FRAMES: usize = 6;

/// How an outage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// New flows went elsewhere from here on, too many of them for chance.
    Removed(Timestamp),
    /// The server answered again.
    Recovered(Timestamp),
    /// It lasted until the capture ended, or until nobody asked any more.
    Open,
}

/// A server that did not answer a group of clients for a while.
#[derive(Debug, Clone)]
pub struct Outage {
    /// The server, by its own address where translation is visible.
    pub server: IpAddr,
    /// The address that clients asked.
    pub service: IpAddr,
    /// The clients' network.
    pub network: Network,
    /// The clients that failed.
    pub clients: BTreeSet<IpAddr>,
    /// First to last bad packet.
    pub span: Span,
    /// The last flow before it that was answered.
    pub last_good: Option<Timestamp>,
    /// How it ended.
    pub end: End,
    /// Flows that failed.
    pub failed: u64,
    /// Of them, flows that ICMP or a reset rejected.
    pub rejected: u64,
    /// The first failed flows, and the last.
    pub frames: Vec<Seen>,
    /// Flows of the same clients to other servers that were answered meanwhile.
    pub elsewhere_ok: u64,
    /// Flows of the same clients to other servers that failed meanwhile.
    pub elsewhere_failed: u64,
    /// TCP flows of the same network to the same server that were answered meanwhile.
    pub tcp_ok: u64,
    /// Flows from other networks to the same server that were answered meanwhile.
    pub others_ok: u64,
    /// Flows from other networks to the same server that failed meanwhile.
    pub others_failed: u64,
    /// Whether the server answered any of these clients at any time.
    pub ever_answered: bool,
    /// Servers behind the same service that answered these clients at any time.
    pub mates: BTreeSet<IpAddr>,
}

impl Outage {
    /// From the first failure to the instant at which it was over or last seen.
    pub fn length(&self) -> Duration {
        let end = match self.end {
            End::Removed(at) => at,
            End::Recovered(at) => at.min(self.span.end).max(self.span.start),
            End::Open => self.span.end,
        };
        end.since(self.span.start)
    }

    /// Whether the clients reached other servers meanwhile, so that neither they nor their node
    /// are to blame.
    pub fn clients_are_fine(&self) -> bool {
        self.elsewhere_ok >= MIN_FLOWS as u64 && self.elsewhere_ok > self.elsewhere_failed
    }
}

/// Finds every outage in `reach`, in the order of their starts.
pub fn localise(reach: &Reach, nat: &Nat) -> Vec<Outage> {
    let mut cells: BTreeMap<(IpAddr, Network), Vec<&Flow>> = BTreeMap::new();
    for flow in reach.flows() {
        // A query that never got past the service address says nothing about a server.
        let untranslated = nat.is_service(flow.cell.responder);
        if flow.cell.transport == Transport::Udp && !untranslated {
            let key = (flow.cell.responder, Network::of(flow.cell.client));
            cells.entry(key).or_default().push(flow);
        }
    }
    let mut outages: Vec<Outage> = cells
        .iter()
        .flat_map(|((server, network), flows)| {
            runs(flows).into_iter().map(|run| outage(*server, *network, flows, run, reach))
        })
        .collect();
    outages.sort_by_key(|outage| (outage.span, outage.server, outage.network));
    outages
}

/// Runs of failed flows without a success in between, as ranges of indexes.
fn runs(flows: &[&Flow]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    for (index, flow) in flows.iter().enumerate() {
        if flow.failed() {
            start.get_or_insert(index);
        } else if flow.succeeded() {
            found.extend(start.take().map(|start| start..index));
        }
    }
    found.extend(start.map(|start| start..flows.len()));
    let all_failed = flows.iter().filter(|flow| flow.failed()).count();
    let all: f64 = flows.iter().map(|flow| f64::from(flow.weight)).sum();
    found.retain(|run| {
        let failed: Vec<&&Flow> = flows[run.clone()].iter().filter(|flow| flow.failed()).collect();
        let (Some(first), Some(last)) = (failed.first(), failed.last()) else {
            return false;
        };
        let length = last.last_sent.since(first.first.ts);
        let outside = all - failed.len() as f64;
        let share = ((all_failed - failed.len()) as f64 + 0.5) / (outside + 1.0);
        let chance = share.powi(i32::try_from(failed.len()).unwrap_or(i32::MAX)) * outside.max(1.0);
        failed.len() >= MIN_FLOWS && length >= MIN_LENGTH && chance < CHANCE
            || failed.len() >= MIN_FLOWS && length >= MIN_LENGTH && outside < 0.5
    });
    found
}

fn outage(
    server: IpAddr,
    network: Network,
    flows: &[&Flow],
    run: std::ops::Range<usize>,
    reach: &Reach,
) -> Outage {
    let failed: Vec<&Flow> =
        flows[run.clone()].iter().copied().filter(|flow| flow.failed()).collect();
    let start = failed.first().map_or(Timestamp::MIN, |flow| flow.first.ts);
    let last = failed.iter().map(|flow| flow.last_sent).max().unwrap_or(start);
    let span = Span::between(start, last);
    let clients: BTreeSet<IpAddr> = failed.iter().map(|flow| flow.cell.client).collect();
    let service = failed.first().map_or(server, |flow| flow.cell.server);
    let good = |flow: &&&Flow| flow.succeeded();
    let recovered = flows[run.end..].iter().find(good).map(|flow| flow.first.ts);
    let last_new = flows.iter().filter(|flow| flow.first.ts <= last).map(|f| f.first.ts).max();

    let mut mates = BTreeSet::new();
    let (mut elsewhere_ok, mut elsewhere_failed, mut tcp_ok) = (0, 0, 0);
    let (mut others_ok, mut others_failed) = (0, 0);
    let mut after = 0_u64;
    let mut came_back = false;
    for flow in reach.flows() {
        let weight = u64::from(flow.weight);
        let cell = &flow.cell;
        let within = span.contains(flow.first.ts);
        let here = cell.responder == server;
        if cell.transport == Transport::Tcp {
            let same = here && network.contains(cell.client);
            tcp_ok += if within && same && flow.succeeded() { weight } else { 0 };
            continue;
        }
        if !network.contains(cell.client) {
            others_ok += if within && here && flow.succeeded() { weight } else { 0 };
            others_failed += if within && here && flow.failed() { weight } else { 0 };
            continue;
        }
        if here {
            came_back |= last_new.is_some_and(|last_new| flow.first.ts > last_new);
            continue;
        }
        if cell.server == service && flow.succeeded() {
            mates.insert(cell.responder);
        }
        if clients.contains(&cell.client) && within {
            elsewhere_ok += if flow.succeeded() { weight } else { 0 };
            elsewhere_failed += if flow.failed() { weight } else { 0 };
        }
        if cell.server == service && last_new.is_some_and(|last_new| flow.first.ts > last_new) {
            after += weight;
        }
    }
    // With n servers to choose from, chance sends k flows elsewhere with ((n-1)/n)^k.
    let choices = mates.len() as f64 + 1.0;
    let chance = (1.0 - 1.0 / choices).powf(after as f64);
    let removed = !came_back && !mates.is_empty() && chance < CHANCE;
    let end = match (recovered, removed) {
        (Some(at), _) => End::Recovered(at),
        (None, true) => End::Removed(last_new.unwrap_or(last)),
        (None, false) => End::Open,
    };
    let mut frames: Vec<Seen> = failed.iter().take(FRAMES - 1).map(|flow| flow.first).collect();
    frames.extend(failed.iter().skip(FRAMES - 1).next_back().map(|flow| flow.first));
    Outage {
        server,
        service,
        network,
        span,
        last_good: flows[..run.start].iter().rev().find(good).map(|flow| flow.last_sent),
        end,
        failed: failed.iter().map(|flow| u64::from(flow.weight)).sum(),
        rejected: failed
            .iter()
            .filter(|flow| flow.reached == super::reach::Reached::Rejected)
            .map(|flow| u64::from(flow.weight))
            .sum(),
        clients,
        frames,
        elsewhere_ok,
        elsewhere_failed,
        tcp_ok,
        others_ok,
        others_failed,
        ever_answered: flows.iter().any(|flow| flow.succeeded()),
        mates,
    }
}
