//! Clients that do not hear the answers that leave for them (rulebook 2.B, 6.4).
//!
//! A capture at the servers' side shows every answer leave, and none arrive. That answers are lost behind it
//! shows only in what their clients do: they send each query again from the same port, with the same id, when
//! their timer runs out. Where some do so with all that they ask, and others with nothing, it is the way to
//! those that loses the answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::classify::ENOUGH_TO_EXONERATE;
use super::flow::Flow;
use super::localise::MIN_FLOWS;
use super::odds;
use super::reach::Reach;
use crate::base::{Network, Span, Transport};

/// One client alone that asks again does so for a reason of its own.
const ENOUGH_CLIENTS: usize = 2;
/// Share of what the clients ask that they ask again.
const NEARLY_ALL: f64 = 0.8;
/// Share of what all others ask that they may ask again.
const HARDLY_ANY: f64 = 0.05;
/// So many flows, and so many clients of one network, must be rarer than this by chance if all clients
/// asked again alike (rulebook 6.3).
const CHANCE: f64 = 0.02;
/// Stretches of time that are judged, those with the most flows: each costs a look at all flows.
const MAX_JUDGED: usize = 8;

/// Clients that heard nothing for a while.
#[derive(Debug)]
pub(super) struct Unheard<'a> {
    /// Who.
    pub(super) clients: BTreeSet<IpAddr>,
    /// Their networks, where it is these that differ from all others; none where they lie among clients
    /// that hear. Some clients show nothing: Go takes a new port for every try.
    pub(super) networks: BTreeSet<Network>,
    /// Who answered them.
    pub(super) servers: BTreeSet<IpAddr>,
    /// What was answered and asked again, in its order.
    pub(super) flows: Vec<&'a Flow>,
    /// From the first of it to the last datagram.
    pub(super) span: Span,
    /// Flows of others that the same servers answered meanwhile, and that nobody sent again.
    pub(super) others: u64,
}

/// Flows of one client, one after the other, none of which it heard.
struct Run<'a> {
    client: IpAddr,
    flows: Vec<&'a Flow>,
    span: Span,
}

impl<'a> Run<'a> {
    fn of(client: IpAddr, flows: Vec<&'a Flow>) -> Option<Self> {
        let own = flows.iter().map(|flow| Span::between(flow.first.ts, flow.last_sent()));
        let span = own.reduce(Span::join)?;
        (flows.len() as u64 >= MIN_FLOWS).then_some(Self { client, flows, span })
    }
}

impl<'a> Unheard<'a> {
    /// Those of a capture, in the order of their starts.
    pub(super) fn of(reach: &'a Reach) -> Vec<Self> {
        let mut runs = runs(reach);
        runs.sort_by_key(|run| (run.span, run.client));
        let mut together: Vec<(Span, Vec<Run<'a>>)> = Vec::new();
        for run in runs {
            match together.last_mut() {
                Some((span, known)) if span.overlaps(run.span) => {
                    *span = span.join(run.span);
                    known.push(run);
                }
                _ => together.push((run.span, vec![run])),
            }
        }
        let flows = |runs: &[Run<'_>]| runs.iter().map(|run| run.flows.len()).sum::<usize>();
        together.sort_by_key(|(span, runs)| (Reverse(flows(runs)), *span));
        together.truncate(MAX_JUDGED);
        together.sort_by_key(|(span, _)| *span);
        together.into_iter().filter_map(|(span, runs)| judge(span, runs, reach)).collect()
    }
}

fn runs(reach: &Reach) -> Vec<Run<'_>> {
    let udp = || reach.flows().iter().filter(|flow| flow.cell().transport == Transport::Udp);
    let unheard = udp().filter(|flow| flow.is_unheard()).map(|flow| flow.cell().client);
    let mut courses: BTreeMap<IpAddr, Vec<&Flow>> =
        unheard.map(|client| (client, Vec::new())).collect();
    let mut found = Vec::new();
    if courses.is_empty() {
        return found;
    }
    for flow in udp().filter(|flow| flow.succeeded()) {
        let client = flow.cell().client;
        let Some(run) = courses.get_mut(&client) else { continue };
        if flow.is_unheard() {
            run.push(flow);
        } else {
            found.extend(Run::of(client, std::mem::take(run)));
        }
    }
    found.extend(courses.into_iter().filter_map(|(client, run)| Run::of(client, run)));
    found
}

fn judge<'a>(span: Span, runs: Vec<Run<'a>>, reach: &'a Reach) -> Option<Unheard<'a>> {
    let clients: BTreeSet<IpAddr> = runs.iter().map(|run| run.client).collect();
    let mut flows: Vec<&Flow> = runs.into_iter().flat_map(|run| run.flows).collect();
    flows.sort_by_key(|flow| (flow.first, flow.port()));
    let servers: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.cell().responder).collect();
    // Of them and of all others, what was heard and what was not.
    let (mut own, mut others) = ([0_u64; 2], [0_u64; 2]);
    let mut active: BTreeMap<Network, BTreeSet<IpAddr>> = BTreeMap::new();
    for flow in reach.flows() {
        let cell = flow.cell();
        let judged = cell.transport == Transport::Udp
            && flow.succeeded()
            && span.contains(flow.first.ts)
            && servers.contains(&cell.responder);
        if !judged {
            continue;
        }
        let side = if clients.contains(&cell.client) { &mut own } else { &mut others };
        side[usize::from(flow.is_unheard())] += u64::from(flow.weight());
        active.entry(reach.group(cell.client)).or_default().insert(cell.client);
    }
    let ([heard, unheard], [others_heard, others_unheard]) = (own, others);
    let share = |part: u64, rest: u64| part as f64 / (part + rest).max(1) as f64;
    let hits = unheard + others_unheard;
    let chance = odds::fisher(unheard, heard + unheard, hits, hits + heard + others_heard);
    let apart = clients.len() >= ENOUGH_CLIENTS
        && share(unheard, heard) >= NEARLY_ALL
        && others_heard >= ENOUGH_TO_EXONERATE
        && share(others_unheard, others_heard) <= HARDLY_ANY
        && chance < CHANCE;
    let all: usize = active.values().map(BTreeSet::len).sum();
    let networks: BTreeSet<Network> = clients.iter().map(|client| reach.group(*client)).collect();
    let members = networks.iter().filter_map(|network| active.get(network)).map(BTreeSet::len);
    let members: usize = members.sum();
    let [deaf, within, all] = [clients.len(), members, all].map(|number| number as u64);
    let whole = deaf * 2 >= within && odds::fisher(deaf, within, deaf, all) < CHANCE;
    apart.then(|| Unheard {
        clients,
        networks: if whole { networks } else { BTreeSet::new() },
        servers,
        flows,
        span,
        others: others_heard,
    })
}
