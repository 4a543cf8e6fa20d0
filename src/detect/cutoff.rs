//! Clients that no server answers, while all of those answer their neighbours.
//!
//! One such client fails in every cell of its network at once. Whoever judges networks, servers and the
//! ways between them leaves its flows out, or they look like loss at random.
//!
//! What cuts off several pods, as the policy of a namespace or a DNS proxy of the node that is away, does
//! so to all of them at one instant, and they are one: those that asked only a few times as well, for that
//! so many fail altogether while all the others are answered is no chance.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;
use statrs::function::factorial::ln_binomial;

use super::flow::Flow;
use super::reach::Reach;
use crate::base::{Network, Span, Table, Timestamp, Transport};

/// Failed flows of one client (rulebook 7.6).
const ENOUGH: usize = 5;
/// Failed flows of a client that is cut off together with one that has enough of them.
const FEW: usize = 2;
/// Answered flows of neighbours to the same servers (rulebook 6.2).
const ENOUGH_NEIGHBOURS: u64 = 4;
/// A policy that is programmed late takes effect within this.
const PROGRAMMED: Duration = Duration::from_secs(30);
/// Anything shorter is a moment (rulebook 6.7).
const MIN_LENGTH: Duration = Duration::from_secs(2);
/// What befalls all pods of a node at once is done to one after the other within this.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What chance may explain of a client that was answered before or is afterwards.
const CHANCE: f64 = 0.001;

/// Clients of one network that are judged, alone or together, the longest ones: where so many clients fail,
/// no single one is cut off, and each look is one at all flows of their network.
const MAX_JUDGED: usize = 32;

/// Every client that was cut off.
#[derive(Debug, Default)]
pub struct CutOffs<'a> {
    found: Vec<CutOff<'a>>,
    /// Each client of them, and when, in the order of their addresses.
    clients: Vec<(IpAddr, Span)>,
}

impl<'a> CutOffs<'a> {
    /// Those of a capture.
    pub fn of(reach: &'a Reach) -> Self {
        let mut found = find(reach);
        found.sort_by_key(|cut| (cut.pods.first().map(|pod| pod.client), cut.span));
        let pods = found.iter().flat_map(|cut| &cut.pods);
        let mut clients: Vec<(IpAddr, Span)> = pods.map(|pod| (pod.client, pod.span())).collect();
        clients.sort_unstable();
        Self { found, clients }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CutOff<'a>> {
        self.found.iter()
    }

    /// Whether a flow is one of those that failed by it.
    pub(super) fn cover(&self, flow: &Flow) -> bool {
        let client = flow.cell().client;
        let from = self.clients.partition_point(|(known, _)| *known < client);
        let mut own = self.clients.iter().skip(from).take_while(|(known, _)| *known == client);
        !flow.succeeded() && own.any(|(_, span)| span.contains(flow.first.ts))
    }
}

/// Clients of one network that were cut off for a while, all at once; mostly one.
#[derive(Debug)]
pub(super) struct CutOff<'a> {
    /// Who: the one that failed most often first; never empty.
    pub(super) pods: Vec<Pod<'a>>,
    /// Their network.
    pub(super) network: Network,
    /// From their first flow to their last datagram.
    pub(super) span: Span,
    /// When they were answered again.
    pub(super) healed: Option<Timestamp>,
    /// Whether any was ever answered before.
    pub(super) served_before: bool,
    /// The addresses that they asked.
    pub(super) asked: BTreeSet<IpAddr>,
    /// Whether most of their queries show no address behind those.
    pub(super) untranslated: bool,
    /// Who was answered by the same servers meanwhile.
    pub(super) neighbours: BTreeSet<IpAddr>,
    /// How many flows of theirs.
    pub(super) answered: u64,
}

/// One client that was cut off.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    /// Who.
    pub(super) client: IpAddr,
    /// Its flows, all failed, in their order; never empty.
    pub(super) failed: Vec<&'a Flow>,
}

impl Pod<'_> {
    fn span(&self) -> Span {
        let spans = self.failed.iter().map(|flow| Span::between(flow.first.ts, flow.last_sent()));
        spans.reduce(Span::join).unwrap_or(Span::at(Timestamp::MIN))
    }
}

/// What is known of a client while its flows are gone through.
#[derive(Default)]
struct Course<'a> {
    /// Flows that were answered, and that failed, up to now.
    ok: u64,
    failed: u64,
    /// When the last of them began that was answered at once.
    last_ok: Option<Timestamp>,
    /// Those that failed since, how many were answered before, and when the first was answered after all
    /// that was sent again.
    run: SmallVec<[&'a Flow; 1]>,
    ok_before: u64,
    healed: Option<Timestamp>,
}

impl<'a> Course<'a> {
    /// Ends the run of failures, and returns it if it is long enough to count.
    fn close(&mut self, client: IpAddr) -> Option<Run<'a>> {
        let (failed, healed) = (std::mem::take(&mut self.run), self.healed.take());
        let (ok_before, last_ok) = (self.ok_before, self.last_ok);
        (failed.len() >= FEW).then_some(Run { client, failed, ok_before, last_ok, healed })
    }
}

/// A run of flows that failed, while none was answered.
struct Run<'a> {
    client: IpAddr,
    failed: SmallVec<[&'a Flow; 1]>,
    ok_before: u64,
    last_ok: Option<Timestamp>,
    healed: Option<Timestamp>,
}

impl Run<'_> {
    /// When its first and its last flow began.
    fn ends(&self) -> (Timestamp, Timestamp) {
        let begun = |flow: Option<&&Flow>| flow.map_or(Timestamp::MIN, |flow| flow.first.ts);
        (begun(self.failed.first()), begun(self.failed.last()))
    }

    fn length(&self) -> Duration {
        let (first, last) = self.ends();
        last.since(first)
    }

    fn is_long(&self) -> bool {
        self.failed.len() >= ENOUGH
    }
}

/// Runs of several clients that may have begun at one instant, and ended at one.
struct Together<'a> {
    runs: Vec<Run<'a>>,
    /// When the last of them was answered for the last time, and the first one was not.
    good: Option<Timestamp>,
    first: Timestamp,
    /// When the last flow of them began that failed, and the first one was answered again.
    last: Timestamp,
    healed: Option<Timestamp>,
}

impl<'a> Together<'a> {
    fn of(run: Run<'a>) -> Self {
        let (first, last) = run.ends();
        Self { good: run.last_ok, first, last, healed: run.healed, runs: vec![run] }
    }

    /// Takes in another, or hands it back if it began or ended at another time.
    fn join(&mut self, run: Run<'a>) -> Option<Run<'a>> {
        let (first, last) = run.ends();
        let (good, healed) = (self.good.max(run.last_ok), earlier(self.healed, run.healed));
        let (first, last) = (self.first.min(first), self.last.max(last));
        let at_once = good.is_none_or(|good| good <= first.after(AT_ONCE))
            && healed.is_none_or(|healed| last <= healed.after(AT_ONCE));
        if !at_once {
            return Some(run);
        }
        (self.good, self.first, self.last, self.healed) = (good, first, last, healed);
        self.runs.push(run);
        None
    }

    /// The time in which surely none of them was answered.
    fn core(&self) -> Span {
        let start = self.good.map_or(self.first, |good| good.max(self.first));
        let end = self.healed.map_or(self.last, |healed| healed.min(self.last));
        Span::between(start, end.max(start))
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Puts runs of one network together, each with the latest that it fits.
fn together(mut runs: Vec<Run<'_>>) -> Vec<Together<'_>> {
    runs.sort_by_key(|run| (run.ends(), run.client));
    let mut groups: Vec<Together<'_>> = Vec::new();
    for run in runs {
        let mut left = Some(run);
        for group in groups.iter_mut().rev().take(MAX_JUDGED) {
            left = left.and_then(|run| group.join(run));
        }
        groups.extend(left.map(Together::of));
    }
    groups
}

fn find(reach: &Reach) -> Vec<CutOff<'_>> {
    let (runs, totals) = runs(reach);
    let mut networks: BTreeMap<Network, Vec<Run<'_>>> = BTreeMap::new();
    for run in runs {
        networks.entry(reach.group(run.client)).or_default().push(run);
    }
    let mut found = Vec::new();
    for (network, runs) in networks {
        let mut groups = together(runs);
        groups.retain(|group| group.runs.iter().any(Run::is_long));
        let length = |group: &Together<'_>| group.runs.iter().map(Run::length).max();
        groups.sort_by_key(|group| Reverse(length(group)));
        let looks = groups.len().min(MAX_JUDGED);
        let mut alone: Vec<Run<'_>> = Vec::new();
        for (place, group) in groups.into_iter().enumerate() {
            let several = group.runs.len() > 1 && place < looks;
            match several.then(|| judge_together(&group, network, looks, reach)).flatten() {
                Some(cut) => found.push(cut),
                None => alone.extend(group.runs.into_iter().filter(Run::is_long)),
            }
        }
        alone.sort_by_key(|run| (Reverse(run.length()), run.client));
        found.extend(alone.into_iter().take(MAX_JUDGED).filter_map(|run| {
            let totals = totals.get(&run.client).copied().unwrap_or_default();
            judge(run, totals, network, reach)
        }));
    }
    found
}

/// Runs of flows that failed, and how many flows of each of their clients were answered, and failed.
fn runs(reach: &Reach) -> (Vec<Run<'_>>, BTreeMap<IpAddr, (u64, u64)>) {
    let udp = |flow: &&Flow| flow.cell().transport == Transport::Udp;
    let mut failures: Table<IpAddr, usize> = Table::default();
    for flow in reach.flows().iter().filter(udp).filter(|flow| flow.failed()) {
        *failures.entry(flow.cell().client).or_default() += 1;
    }
    failures.retain(|_, failed| *failed >= FEW);
    if failures.values().all(|failed| *failed < ENOUGH) {
        return (Vec::new(), BTreeMap::new());
    }
    let mut courses: Table<IpAddr, Course<'_>> = Table::default();
    let mut runs: Vec<Run<'_>> = Vec::new();
    for flow in reach.flows().iter().filter(udp) {
        let client = flow.cell().client;
        if !failures.contains_key(&client) {
            continue;
        }
        if flow.failed() {
            let course = courses.entry(client).or_default();
            if course.healed.is_some_and(|at| at <= flow.first.ts) {
                runs.extend(course.close(client));
            }
            if course.run.is_empty() {
                course.ok_before = course.ok;
            }
            course.failed += 1;
            course.run.push(flow);
        } else if flow.succeeded() {
            let course = courses.entry(client).or_default();
            course.ok += u64::from(flow.weight());
            if !course.run.is_empty() {
                course.healed = earlier(course.healed, Some(flow.reached_at()));
            }
            if !flow.stalled() {
                runs.extend(course.close(client));
                course.last_ok = Some(flow.first.ts);
            }
        }
    }
    let courses: BTreeMap<IpAddr, Course<'_>> = courses.into_iter().collect();
    let mut totals: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
    for (client, mut course) in courses {
        totals.insert(client, (course.ok, course.failed));
        runs.extend(course.close(client));
    }
    (runs, totals)
}

/// Whom flows asked, and who answered them where that is visible.
struct Asked {
    servers: BTreeSet<IpAddr>,
    backends: BTreeSet<IpAddr>,
    /// Of some the capture may have missed one side of the translation.
    untranslated: bool,
}

impl Asked {
    fn of<'a>(flows: impl Iterator<Item = &'a Flow>) -> Self {
        let (mut servers, mut backends) = (BTreeSet::new(), BTreeSet::new());
        let (mut all, mut untranslated) = (0_usize, 0_usize);
        for flow in flows {
            let cell = flow.cell();
            servers.insert(cell.server);
            backends.insert(cell.responder);
            all += 1;
            untranslated += usize::from(cell.server == cell.responder);
        }
        Self { servers, backends, untranslated: untranslated * 2 > all }
    }

    /// Whether a flow asked the same: where translation is visible, the same backend must have answered; a
    /// query that vanishes before translation could have gone to any.
    fn is_same(&self, flow: &Flow) -> bool {
        let cell = flow.cell();
        cell.transport == Transport::Udp
            && flow.is_fresh()
            && (self.backends.contains(&cell.responder)
                || (self.untranslated && self.servers.contains(&cell.server)))
    }
}

/// New flows of one client in a span.
#[derive(Default)]
struct Fared<'a> {
    ok: u64,
    vain: u64,
    /// Those that were not answered at once.
    flows: SmallVec<[&'a Flow; 1]>,
}

impl<'a> Fared<'a> {
    /// What was answered only when it was sent again was not answered at that time.
    fn add(&mut self, flow: &'a Flow) {
        if flow.succeeded() && !flow.stalled() {
            self.ok += u64::from(flow.weight());
        } else if flow.began_in_vain() {
            self.vain += u64::from(flow.weight());
            self.flows.push(flow);
        }
    }
}

/// How likely so many answered and failed flows are at the rate that they show, as a logarithm.
fn likelihood(ok: u64, failed: u64) -> f64 {
    let part = |count: u64| {
        let share = count as f64 / (ok + failed) as f64;
        if count == 0 { 0.0 } else { count as f64 * share.ln() }
    };
    part(ok) + part(failed)
}

fn judge_together<'a>(
    group: &Together<'a>,
    network: Network,
    looks: usize,
    reach: &'a Reach,
) -> Option<CutOff<'a>> {
    let core = group.core();
    if core.length() < MIN_LENGTH {
        return None;
    }
    let runs = || group.runs.iter();
    let asked = Asked::of(runs().flat_map(|run| run.failed.iter().copied()));
    let mut fared: BTreeMap<IpAddr, Fared<'a>> = BTreeMap::new();
    for flow in reach.flows_in(network) {
        if asked.is_same(flow) && core.contains(flow.first.ts) {
            fared.entry(flow.cell().client).or_default().add(flow);
        }
    }
    fared.retain(|_, fared| fared.ok + fared.vain > 0);
    let members: BTreeSet<IpAddr> = runs().map(|run| run.client).collect();
    // Who asked only once, and in vain, was cut off as well.
    let is_cut = |client: &IpAddr, fared: &Fared<'_>| fared.ok == 0 || members.contains(client);
    let (cut, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        fared.into_iter().partition(|(client, fared)| is_cut(client, fared));
    let sum = |of: &BTreeMap<IpAddr, Fared<'_>>| {
        of.values().fold((0, 0), |(ok, vain), one| (ok + one.ok, vain + one.vain))
    };
    let (stray, failed) = sum(&cut);
    let (answered, unanswered) = sum(&others);
    let failing = others.values().filter(|fared| fared.vain > 0).count();
    if answered < ENOUGH_NEIGHBOURS || failing * 2 > others.len() {
        return None;
    }
    // That all fail alike, against that these fail and the others do as they do: but they were chosen for it.
    let alike = likelihood(answered + stray, unanswered + failed);
    let apart = likelihood(answered, unanswered) + likelihood(stray, failed);
    let choices = ln_binomial((cut.len() + others.len()) as u64, cut.len() as u64);
    if apart - alike - choices < (looks as f64 / CHANCE).ln() {
        return None;
    }
    let own = runs().map(|run| (run.client, run.failed.to_vec()));
    let mut pods: BTreeMap<IpAddr, Vec<&Flow>> = own.collect();
    for (client, fared) in cut {
        pods.entry(client).or_insert_with(|| fared.flows.into_vec());
    }
    let mut pods: Vec<Pod<'_>> =
        pods.into_iter().map(|(client, failed)| Pod { client, failed }).collect();
    pods.sort_by_key(|pod| Reverse(pod.failed.len()));
    Some(CutOff {
        span: pods.iter().map(Pod::span).reduce(Span::join)?,
        pods,
        network,
        healed: group.healed,
        served_before: group.good.is_some(),
        asked: asked.servers,
        untranslated: asked.untranslated,
        neighbours: others.into_keys().collect(),
        answered,
    })
}

fn judge<'a>(
    run: Run<'a>,
    (ok, failed): (u64, u64),
    network: Network,
    reach: &'a Reach,
) -> Option<CutOff<'a>> {
    let Run { client, failed: flows, ok_before, healed, .. } = run;
    let first = flows.first()?.first.ts;
    let last = flows.iter().map(|flow| flow.last_sent()).max()?;
    let span = Span::between(first, last);
    // From its first packet on it fails for good, or until the policy is programmed.
    let programmed = healed.is_none_or(|at| at.since(first) <= PROGRAMMED);
    let from_the_first = ok_before == 0 && programmed;
    let asked = Asked::of(flows.iter().copied());
    let served = ok_before > 0;
    let (mut neighbours, mut failing) = (BTreeSet::new(), BTreeSet::new());
    let (mut answered, mut unanswered) = (0, 0);
    for flow in reach.flows_in(network) {
        if flow.cell().client == client || !asked.is_same(flow) || !span.contains(flow.first.ts) {
            continue;
        }
        // What was answered only when it was sent again was not answered at that time.
        if flow.succeeded() && !flow.stalled() {
            neighbours.insert(flow.cell().client);
            answered += u64::from(flow.weight());
        } else if flow.began_in_vain() {
            failing.insert(flow.cell().client);
            unanswered += u64::from(flow.weight());
        }
    }
    // Where as many others fail, it is not this client.
    if answered < ENOUGH_NEIGHBOURS || (served && failing.len() >= neighbours.len()) {
        return None;
    }
    if !from_the_first {
        let here = flows.len() as u64;
        let ports: BTreeSet<u16> =
            flows.iter().filter(|flow| flow.is_fresh()).map(|flow| flow.port()).collect();
        // Half a failure more than was seen, of its own or of its neighbours.
        let share = |ok: u64, failed: u64| (failed as f64 + 0.5) / ((ok + failed) as f64 + 1.0);
        let usual = share(ok, failed.saturating_sub(here)).max(share(answered, unanswered));
        let chance = usual.powi(i32::try_from(here).unwrap_or(i32::MAX)) * (ok + failed) as f64;
        if ports.len() < ENOUGH || span.length() < MIN_LENGTH || chance >= CHANCE {
            return None;
        }
    }
    Some(CutOff {
        pods: vec![Pod { client, failed: flows.into_vec() }],
        network,
        span,
        healed,
        served_before: served,
        asked: asked.servers,
        untranslated: asked.untranslated,
        neighbours,
        answered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Nodes;
    use crate::capture::{FileId, FrameRef, Seen};
    use crate::detect::flow::{Cell, Going, Part, Reached};

    fn flow(client: u8, second: u32, reached: Reached) -> Going {
        let server = IpAddr::from([10, 244, 9, 10]);
        let client = IpAddr::from([10, 244, 0, client]);
        let at = FrameRef::new(FileId(0), second * 256);
        let ts = Timestamp::from_parts(second.into(), 0);
        Going {
            cell: std::sync::Arc::new(Cell {
                client,
                server,
                responder: server,
                transport: Transport::Udp,
            }),
            port: u16::try_from(second).unwrap(),
            weight: 1,
            part: Part {
                first: Seen { ts, at },
                last_sent: ts,
                reached,
                attempts: 1,
                unanswered: u32::from(reached == Reached::No),
                heard: (reached == Reached::Yes).then(|| Span::at(ts)),
                repeated: (0, 0),
                lost: None,
                icmp: None,
                stuck: false,
                unwatched: false,
            },
        }
    }

    fn clients(cut: &CutOffs<'_>) -> Vec<IpAddr> {
        cut.iter().flat_map(|cut| &cut.pods).map(|pod| pod.client).collect()
    }

    /// Hundreds may fail in a flood, each of which would cost a look at all flows of their network.
    #[test]
    fn of_many_clients_that_fail_the_longest_runs_are_judged() {
        let mut flows = Vec::new();
        for second in 0..2_000 {
            flows.push(flow(200, second, Reached::Yes));
            let (client, since) = (u8::try_from(second / 20).unwrap(), second % 20);
            // The last clients fail the longest.
            let fail = since < 6 + u32::from(client) / 10;
            flows.push(flow(client, second, if fail { Reached::No } else { Reached::Yes }));
        }
        let reach = Reach::from_flows(Nodes::default(), flows);
        let cut = CutOffs::of(&reach);
        let clients = clients(&cut);
        assert_eq!(clients.len(), MAX_JUDGED);
        assert!(clients.contains(&IpAddr::from([10, 244, 0, 99])), "{clients:?}");
        assert!(!clients.contains(&IpAddr::from([10, 244, 0, 0])), "{clients:?}");
        for flow in reach.flows() {
            let covered = clients.contains(&flow.cell().client) && !flow.succeeded();
            assert_eq!(cut.cover(flow), covered);
        }
    }

    /// Flows of pods that `silent` says of in which seconds they fail; each asks every other second, or as
    /// seldom as its address says.
    fn asked(pods: u8, silent: impl Fn(u8, u32) -> bool) -> Reach {
        let mut flows = Vec::new();
        for second in 0..120 {
            for pod in 1..=pods {
                if second % (2 + u32::from(pod)) == 0 {
                    let reached = if silent(pod, second) { Reached::No } else { Reached::Yes };
                    flows.push(flow(pod, second, reached));
                }
            }
        }
        Reach::from_flows(Nodes::default(), flows)
    }

    #[test]
    fn clients_that_are_cut_off_at_one_instant_are_one() {
        let reach = asked(9, |pod, second| pod % 2 == 1 && (50..70).contains(&second));
        let cut = CutOffs::of(&reach);
        let own = |last| IpAddr::from([10, 244, 0, last]);
        assert_eq!(cut.iter().count(), 1, "{cut:?}");
        assert_eq!(clients(&cut), [1, 3, 5, 7, 9].map(own));
    }

    #[test]
    fn clients_that_are_cut_off_at_two_instants_are_two() {
        let reach = asked(9, |pod, second| match pod {
            1 => (20..40).contains(&second),
            2 => (70..100).contains(&second),
            _ => false,
        });
        let cut = CutOffs::of(&reach);
        assert_eq!(cut.iter().map(|cut| cut.pods.len()).collect::<Vec<_>>(), [1, 1], "{cut:?}");
    }

    /// One server of two is silent, and the capture shows only the address before both: of so many that ask a
    /// few times, chance sends some to it alone.
    #[test]
    fn clients_that_chance_fails_are_not_cut_off() {
        let reach = asked(120, |pod, second| {
            let drawn =
                (u64::from(pod) * 1_000 + u64::from(second)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (50..90).contains(&second) && drawn >> 63 == 0
        });
        let cut = CutOffs::of(&reach);
        assert!(cut.iter().all(|cut| cut.pods.len() == 1), "{cut:?}");
    }
}
