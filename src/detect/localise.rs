//! Where reachability broke: outages of a server for a group of clients (rulebook section 6).
//!
//! An outage is a run of failed flows from one client network to one server without a success
//! in between. This module finds the runs and what surrounds them; [`super::classify`] says
//! which rule each belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use super::classify::{ENOUGH_TO_EXONERATE, Kind, LONGEST_RESTART, classify};
use super::cutoff::CutOffs;
use super::finding::Where;
use super::flow::{Flow, Reached};
use super::forward::Forward;
use super::odds;
use super::posterior::{Flows, State};
use super::reach::Reach;
use super::runs::{absences, runs};
use super::stretch::Stretch;
use super::surroundings::{Column, Context, Sums, Surroundings};
use super::tallies::Reachability;
use super::trips::{Scope, Trips};
use crate::base::{Network, Span, Timestamp, Transport};
use crate::capture::Seen;
use crate::packet::IcmpKind;
use crate::transaction::{Nat, Undelivered, timing};

/// Three failures out of three leave a healthy server with a chance of one in a million at one
/// per cent of loss (rulebook `min_flows`).
pub const MIN_FLOWS: u64 = 3;
/// What chance alone does more seldom than this is none: it sends so many flows elsewhere than to a server, or
/// fails so many of one network.
const CHANCE: f64 = 0.001;
/// A full connection table drops new flows where they enter a node, but not all: entries expire and one new
/// flow in so many finds the place of one. Those measured let one of 10 to 35 through.
const THROUGH_FULL_TABLE: f64 = 1.0 / 40.0;
/// Translated flows of a cell that were answered, below which it does not show that all are translated.
const ENOUGH_TRANSLATED: usize = 5;
/// A server that is dead for so large a share of the networks is dead (rulebook 6.3).
const MOST_OF_COLUMN: f64 = 0.8;
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
    /// Which rule it belongs to.
    pub kind: Kind,
    /// The server, by its own address where translation is visible.
    pub server: IpAddr,
    /// The address that clients asked.
    pub service: IpAddr,
    /// The clients' network.
    pub network: Network,
    /// The clients that failed.
    pub clients: BTreeSet<IpAddr>,
    /// First to last bad packet, or until it answered again.
    pub span: Span,
    /// When the last datagram of what failed was sent: who asked in vain may go on so afterwards.
    pub until: Timestamp,
    /// When the last datagram before it was sent that was answered.
    pub last_good: Option<Timestamp>,
    /// How it ended.
    pub end: End,
    /// Flows that failed.
    pub failed: u64,
    /// Of them, flows that ICMP rejected, by what it said and who said it.
    pub icmp: BTreeMap<(IcmpKind, IpAddr), u64>,
    /// Of them, flows whose answer came to the host and went no further (rulebook K4).
    pub other_host: u64,
    /// Of them, flows whose answer came from another address than the one asked.
    pub wrong_source: u64,
    /// The first failed flows, and the last.
    pub frames: Vec<Seen>,
    /// What surrounds it.
    pub context: Context,
    /// Whether the server answered any of these clients at any time.
    pub ever_answered: bool,
    /// What another capture point shows of the ways to the server and back.
    pub stretch: Option<Stretch>,
    /// Whether the queries were not translated: the server is the service itself then.
    pub untranslated: bool,
    /// Whether they were seen where they entered their node, and nowhere behind that.
    pub stuck: bool,
}

impl Outage {
    /// From the first failure to the instant at which it was over or last seen.
    pub fn length(&self) -> Duration {
        let end = match self.end {
            End::Removed(at) => at,
            End::Recovered(_) | End::Open => self.span.end,
        };
        end.since(self.span.start)
    }

    /// Whether some other server answered the same clients meanwhile, or, where those asked no
    /// other (affinity keeps them), their neighbours: so that neither they nor their node are to
    /// blame.
    pub fn clients_are_fine(&self) -> bool {
        let asked: u64 = self.context.own_row.values().map(|flows| flows.total()).sum();
        let row = if asked >= MIN_FLOWS { &self.context.own_row } else { &self.context.row };
        row.values().any(|flows| flows.state() == State::Answers)
    }

    /// Whether the server answered enough other networks meanwhile to be exonerated: it is dead
    /// for less than four fifths of those that can be judged.
    pub fn server_is_fine(&self) -> bool {
        let Column { answering, dead, .. } = self.context.column;
        let dead = dead + 1;
        answering > 0 && (dead as f64) < MOST_OF_COLUMN * (answering + dead) as f64
    }

    /// Whether chance gives one of so many networks as many failures as these: the server answers others, and
    /// fails part of what they ask, beside what their own outages hold, which `held` has of all of them.
    fn is_chance(&self, held: &Sums) -> bool {
        let Context { others_ok: ok, others_failed, column, .. } = self.context;
        let held = held.within(self.span).unwrap_or_default().failed.saturating_sub(self.failed);
        let others = Flows { ok, failed: others_failed.saturating_sub(held) };
        let answers = ok >= ENOUGH_TO_EXONERATE && others.state() != State::Dead;
        let rate = others.failed as f64 / others.total().max(1) as f64;
        answers && rate.powf(self.failed as f64) * (column.networks + 1) as f64 >= CHANCE
    }

    /// How likely so many failures of this network would be by chance, if the server failed all
    /// networks alike: Fisher's test of the cell against the rest of its column (rulebook 6.3).
    pub fn chance_of_isolation(&self) -> f64 {
        let Context { others_ok, others_failed, .. } = self.context;
        let hits = self.failed + others_failed;
        odds::fisher(self.failed, self.failed, hits, hits + others_ok)
    }

    /// Where another capture point shows that the datagrams ended, and whether beyond doubt.
    pub fn place(&self) -> Option<(Where, bool)> {
        self.stretch.as_ref().and_then(Stretch::verdict)
    }

    /// Flows that ICMP rejected.
    pub fn rejected(&self) -> u64 {
        self.icmp.values().sum()
    }

    /// Whether it is a packet filter that rejected most of them, and says so.
    pub(super) fn is_prohibited(&self) -> bool {
        let of_filters =
            self.icmp.iter().filter(|((kind, _), _)| *kind == IcmpKind::AdminProhibited);
        of_filters.map(|(_, flows)| flows).sum::<u64>() * 2 > self.failed
    }
}

/// Finds every outage in `reach`, in the order of their starts. What servers ask the resolvers
/// behind them is left out: the rules about upstreams judge it.
pub fn localise(reach: &Reach, nat: &Nat, forward: &Forward, trips: &Trips) -> Vec<Outage> {
    localise_cells(reach, &cells(reach, nat, forward), nat, trips, &CutOffs::default())
}

/// What [`localise`] finds, and the tallies that it was found from.
pub fn localise_and_tally(
    reach: &Reach,
    nat: &Nat,
    forward: &Forward,
    trips: &Trips,
    cut_off: &CutOffs<'_>,
) -> (Vec<Outage>, Reachability) {
    let mut cells = cells(reach, nat, forward);
    // What fails those is neither a server nor the way of their network to it.
    for flows in cells.values_mut() {
        flows.retain(|flow| !cut_off.cover(flow));
    }
    (localise_cells(reach, &cells, nat, trips, cut_off), Reachability::of(reach, &cells))
}

/// Connections of clients that ask over TCP alone, of those outages in which they did not open.
pub fn unopened<'a>(reach: &'a Reach, outages: &'a [Outage]) -> impl Iterator<Item = &'a Flow> {
    let mut of: BTreeMap<(IpAddr, Network), Vec<&Outage>> = BTreeMap::new();
    for outage in outages {
        of.entry((outage.server, outage.network)).or_default().push(outage);
    }
    let tcp = |flow: &&Flow| flow.cell().transport == Transport::Tcp && reach.tells(flow);
    reach.flows().iter().filter(tcp).filter(move |flow| {
        let of_it = of.get(&(flow.cell().responder, reach.group(flow.cell().client)));
        let within = |outage: &&Outage| outage.span.contains(flow.first.ts);
        flow.failed() && of_it.into_iter().flatten().any(within)
    })
}

/// The flows of every server and group of clients, in the order of their first frames.
pub(super) type Cells<'a> = BTreeMap<(IpAddr, Network), Vec<&'a Flow>>;

fn cells<'a>(reach: &'a Reach, nat: &Nat, forward: &Forward) -> Cells<'a> {
    let mut cells = Cells::new();
    for flow in reach.flows() {
        // A query that never got past the service address says nothing about a server.
        let untranslated = nat.is_service(flow.cell().responder);
        // A connection may be seen once more, under the address of the node that it leaves: whoever opens one to
        // an upstream does so for a server.
        let forwards = forward.shows(flow.cell().client) || flow.cell().transport == Transport::Tcp;
        let upstream = forwards
            && forward.is_upstream(flow.cell().responder)
            && !nat.is_backend(flow.cell().responder);
        if reach.tells(flow) && !untranslated && !upstream {
            let key = (flow.cell().responder, reach.group(flow.cell().client));
            cells.entry(key).or_default().push(flow);
        }
    }
    for flows in cells.values_mut() {
        keep_fresh(flows);
    }
    cells
}

/// Whether a flow kept the address of the service that it asked, and failed.
fn keeps_address(flow: &Flow) -> bool {
    flow.failed() && flow.cell().responder == flow.cell().server
}

/// The flows to every service and from every group of clients, whoever answered them, where some kept the
/// service's own address.
fn service_cells<'a>(reach: &'a Reach, nat: &Nat) -> Cells<'a> {
    let asks_service = |flow: &&Flow| {
        flow.cell().transport == Transport::Udp && nat.is_service(flow.cell().server)
    };
    let cell = |flow: &Flow| (flow.cell().server, reach.group(flow.cell().client));
    let kept = reach.flows().iter().filter(|flow| keeps_address(flow)).filter(asks_service);
    let mut cells: Cells<'a> = kept.map(|flow| (cell(flow), Vec::new())).collect();
    if !cells.is_empty() {
        for flow in reach.flows().iter().filter(asks_service) {
            if let Some(flows) = cells.get_mut(&cell(flow)) {
                flows.push(flow);
            }
        }
    }
    cells
}

/// Outages in which queries kept the service's own address: they went on into the node with it, or not one of
/// them got past the place where it entered. The service has no endpoint left, the node's rules for it are
/// gone, or one of its filters drops them all.
fn untranslated(
    reach: &Reach,
    nat: &Nat,
    mut outage: impl FnMut(&(IpAddr, Network), &[&Flow], Range<usize>) -> Outage,
) -> Vec<Outage> {
    let mut found = Vec::new();
    for (cell, flows) in service_cells(reach, nat) {
        let runs = runs(&flows);
        let all_stick =
            is_translated(&flows) && runs.iter().any(|run| is_beyond_full_table(&flows, run));
        for run in runs {
            let failed = || flows[run.clone()].iter().filter(|flow| flow.failed());
            let kept = failed().filter(|flow| keeps_address(flow)).count();
            let stuck = failed().filter(|flow| keeps_address(flow) && flow.is_stuck());
            // Who rejects them says why.
            let silent = stuck.clone().filter(|flow| flow.icmp().is_none()).count();
            let stuck = stuck.count();
            let most = |part: usize| part as u64 >= MIN_FLOWS && part * 2 > failed().count();
            if most(kept - stuck) || (all_stick && most(silent)) {
                let stuck = stuck * 2 > kept;
                found.push(Outage { untranslated: true, stuck, ..outage(&cell, &flows, run) });
            }
        }
    }
    found
}

/// Whether the flows of a cell that are answered show the address behind the service's.
fn is_translated(flows: &[&Flow]) -> bool {
    let answered = || flows.iter().filter(|flow| flow.succeeded());
    let kept = answered().filter(|flow| flow.cell().responder == flow.cell().server).count();
    let all = answered().count();
    all - kept >= ENOUGH_TRANSLATED && kept * 10 <= all
}

/// Whether a full connection table does not explain that the flows of a run stick where they enter their node:
/// of so many new ones not one found a place in it, and no socket that it knows got anything through.
fn is_beyond_full_table(flows: &[&Flow], run: &Range<usize>) -> bool {
    let failed = || flows[run.clone()].iter().filter(|flow| flow.failed());
    let Some(start) = failed().map(|flow| flow.first.ts).next() else { return false };
    let end = failed().map(|flow| flow.last_sent()).max().unwrap_or(start);
    let before = flows[..run.start].iter().rev();
    let mut known = before.take_while(|flow| flow.first.ts.after(timing::T_KEEP) >= start);
    let stuck = failed().filter(|flow| keeps_address(flow) && flow.is_stuck());
    let new: u64 = stuck.map(|flow| u64::from(flow.weight())).sum();
    // All that was sent was answered, or something at that time.
    let passes = |flow: &Flow| {
        flow.succeeded()
            && flow.last_sent() > start
            && (flow.unanswered() == 0 || flow.heard_before(end).is_some_and(|at| at > start))
    };
    (1.0 - THROUGH_FULL_TABLE).powf(new as f64) < CHANCE && !known.any(|flow| passes(flow))
}

fn localise_cells(
    reach: &Reach,
    cells: &Cells<'_>,
    nat: &Nat,
    trips: &Trips,
    cut_off: &CutOffs<'_>,
) -> Vec<Outage> {
    // Only where something failed.
    let mut around = None;
    let mut outage = |(server, network): &(IpAddr, Network), flows: &[&Flow], run| {
        let around = around.get_or_insert_with(|| Surroundings::of(reach, cut_off));
        outage(*server, *network, flows, run, around)
    };
    let (mut outages, mut away) = (Vec::new(), Vec::new());
    let mut held: BTreeMap<IpAddr, Vec<(Timestamp, u64)>> = BTreeMap::new();
    for (cell, flows) in cells {
        let first = outages.len();
        for run in runs(flows) {
            let failed = flows[run.clone()].iter().filter(|flow| flow.failed());
            let failed = failed.map(|flow| (flow.first.ts, u64::from(flow.weight())));
            held.entry(cell.0).or_default().extend(failed);
            outages.push(outage(cell, flows, run));
        }
        for run in absences(flows) {
            let outage = outage(cell, flows, run);
            let mut known = outages.iter().skip(first);
            if !known.any(|known: &Outage| known.span.overlaps(outage.span)) {
                away.push(outage);
            }
        }
    }
    let held: BTreeMap<IpAddr, Sums> =
        held.into_iter().map(|(server, flows)| (server, Sums::of_failed(flows))).collect();
    outages.retain(|outage| !held.get(&outage.server).is_some_and(|held| outage.is_chance(held)));
    // Only what is short and over is told from flows that were answered after all.
    away.retain(|outage| match classify(outage, &outages, nat) {
        Kind::Restart => true,
        // All of them at once.
        Kind::Node | Kind::Service => {
            let is_soon = |at: Timestamp| at.since(outage.span.start) <= LONGEST_RESTART;
            matches!(outage.end, End::Recovered(at) if is_soon(at))
        }
        _ => false,
    });
    outages.extend(away);
    outages.extend(untranslated(reach, nat, outage));
    outages.sort_by_key(|outage| (outage.span, outage.server, outage.network));
    for outage in &mut outages {
        outage.stretch = trips.stretch(&Scope {
            span: Some(outage.span),
            client: &|client| outage.network.contains(client),
            server: &|server| server == outage.server,
        });
    }
    let kinds: Vec<Kind> = outages.iter().map(|one| classify(one, &outages, nat)).collect();
    for (outage, kind) in outages.iter_mut().zip(kinds) {
        outage.kind = kind;
    }
    outages
}

/// Leaves out flows of sockets that conntrack pins: they say nothing about where the service
/// sends now (`stale-flow-pin` judges them). Where clients hardly ever open a new socket, theirs
/// are all there is.
fn keep_fresh(flows: &mut Vec<&Flow>) {
    let fresh = flows.iter().filter(|flow| flow.is_fresh()).count();
    if fresh * 5 >= flows.len() {
        flows.retain(|flow| flow.is_fresh());
    }
}

/// When the first of these flows that reached the server did so.
fn answered_again(flows: &[&Flow]) -> Option<Timestamp> {
    let mut first = None;
    for flow in flows.iter().filter(|flow| flow.succeeded()) {
        let at = flow.reached_at();
        first = Some(first.map_or(at, |known: Timestamp| known.min(at)));
        if flow.began_well() {
            break;
        }
    }
    first
}

/// When the last datagram before this was sent that the server answered. A flow goes on for a while, so that
/// it may not be the flow that began last.
fn last_heard(flows: &[&Flow], before: Timestamp) -> Option<Timestamp> {
    let mut last: Option<Timestamp> = None;
    for flow in flows.iter().rev() {
        if last.is_some_and(|last| flow.first.ts.after(timing::T_KEEP) < last) {
            break;
        }
        last = last.max(flow.heard_before(before));
    }
    last
}

fn outage(
    server: IpAddr,
    network: Network,
    flows: &[&Flow],
    run: Range<usize>,
    around: &mut Surroundings<'_>,
) -> Outage {
    let failed: Vec<&Flow> =
        flows[run.clone()].iter().copied().filter(|flow| flow.began_in_vain()).collect();
    let start = failed.first().map_or(Timestamp::MIN, |flow| flow.first.ts);
    // What was sent again with success was sent to a server that was back.
    let sent = |flow: &&Flow| if flow.failed() { flow.last_sent() } else { flow.first.ts };
    let until = failed.iter().map(sent).max().unwrap_or(start);
    // Who failed may fail again in a later outage, from the same port.
    let recovered = answered_again(&flows[run.start..]);
    let last = recovered.map_or(until, |recovered| until.min(recovered));
    let (before, after) = flows.split_at(run.end);
    let undecided = after.iter().take_while(|flow| !flow.succeeded());
    // What is undecided was sent there as well.
    let unanswered = before.iter().skip(run.start).chain(undecided);
    let last_new = unanswered.filter(|flow| !flow.succeeded()).last();
    let last_new = last_new.map_or(start, |flow| flow.first.ts);
    let service = failed.first().map_or(server, |flow| flow.cell().server);
    let mut outage = Outage {
        kind: Kind::Dead,
        server,
        service,
        network,
        clients: failed.iter().map(|flow| flow.cell().client).collect(),
        span: Span::between(start, last),
        until,
        last_good: last_heard(&flows[..run.start], start),
        end: End::Open,
        failed: failed.iter().map(|flow| u64::from(flow.weight())).sum(),
        icmp: BTreeMap::new(),
        other_host: 0,
        wrong_source: 0,
        frames: failed.iter().take(FRAMES - 1).map(|flow| flow.first).collect(),
        context: Context::default(),
        ever_answered: flows.iter().any(|flow| flow.succeeded()),
        stretch: None,
        untranslated: false,
        stuck: false,
    };
    outage.frames.extend(failed.iter().skip(FRAMES - 1).next_back().map(|flow| flow.first));
    for flow in &failed {
        if let (Reached::Rejected, Some(said)) = (flow.reached(), flow.icmp()) {
            *outage.icmp.entry(said).or_default() += u64::from(flow.weight());
        }
        outage.other_host += u64::from(flow.lost() == Some(Undelivered::OtherHost));
        outage.wrong_source += u64::from(flow.lost() == Some(Undelivered::WrongSource));
    }
    let idle = Span::between(last_new, recovered.unwrap_or(Timestamp::MAX));
    outage.context = around.context(&outage, idle);
    if failed.iter().all(|flow| flow.cell().transport == Transport::Tcp) {
        // That TCP works elsewhere does not show that UDP alone fails.
        outage.context.tcp_ok = 0;
    }
    let chance = (1.0 - outage.context.share).powf(outage.context.after as f64);
    let avoided = !outage.context.asked_again && chance < CHANCE;
    // What is away for long and taken out meanwhile may be put back later, as a node that was down is.
    let is_back = |at: &Timestamp| !avoided || at.since(start) <= LONGEST_RESTART;
    outage.end = match recovered.filter(is_back) {
        Some(at) => End::Recovered(at),
        None if avoided => End::Removed(last_new),
        None => End::Open,
    };
    outage
}

#[cfg(test)]
mod tests {
    use crate::analysis::{Analysis, Options, Sinks, run_frames};
    use crate::base::Nodes;
    use crate::testkit::{Fate, Scenario, Situation, findings};

    /// Two pods with neighbouring addresses ask two servers; one of the four pairs is broken.
    fn analyse(nodes: Nodes) -> Analysis {
        let mut situation =
            Situation::new("one = 10.0.0.2\nother = 10.0.0.3\ndns1 = 10.0.8.2\ndns2 = 10.0.9.2");
        for round in 0..30_u8 {
            let at = f64::from(round);
            for (client, server) in
                [("one", "dns1"), ("one", "dns2"), ("other", "dns1"), ("other", "dns2")]
            {
                let broken = round >= 10 && (client, server) == ("other", "dns1");
                let fate = if broken { Fate::Lost } else { Fate::Answered };
                situation.ask(at, client, server, "", fate);
            }
        }
        let made = Scenario::parse(situation.text()).frames();
        let options = Options { nodes, ..Options::default() };
        run_frames(made.iter().map(|made| made.frame()), &options, Sinks::default())
    }

    /// A query just before the end of the capture says nothing, and takes nothing back.
    #[test]
    fn what_is_undecided_hides_no_outage() {
        let silent = "pod = 10.0.0.5\ndns = 192.0.2.53\nother = 192.0.2.54
             repeat 3 every 6
             0.0   pod:2000{n} > dns   rd A a.example.
             5.0   pod:2000{n} > dns   rd A a.example.
             5.001 pod:3000{n} > other rd A a.example.
             5.002 pod:3000{n} < other a.example. 60 A 203.0.113.7
             end\n";
        let cut = format!("{silent}22.9 pod:20009 > dns rd A a.example.\n");
        for text in [silent, &cut] {
            let said = findings(text);
            assert!(said.contains("nameserver-dead-first [backend 192.0.2.53]"), "{said}");
        }
    }

    #[test]
    fn pods_of_one_range_are_told_apart_by_their_nodes() {
        let pod = |last: u8| std::net::IpAddr::from([10, 0, 0, last]);
        let nodes = Nodes::new([("worker-1", pod(2), 32), ("worker-2", pod(3), 32)]);
        let analysis = analyse(nodes);
        let cause = &analysis.incidents.first().expect("an incident").cause;
        assert_eq!(cause.rule.id, "path-broken-pair");
        let culprits: Vec<String> =
            cause.culprits.iter().map(|who| format!("{} {who}", who.kind())).collect();
        assert_eq!(culprits, ["path worker-2 -> 10.0.8.2", "node worker-2"]);
        let found = analyse(Nodes::default());
        assert!(found.incidents.iter().all(|one| one.cause.rule.id != "path-broken-pair"));
    }
}
