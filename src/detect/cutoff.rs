//! Clients that no server answers, while all of those answer their neighbours.
//!
//! One such client fails in every cell of its network at once. Whoever judges networks, servers and the
//! ways between them leaves its flows out, or they look like loss at random.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::flow::Flow;
use super::reach::Reach;
use crate::base::{Network, Span, Table, Timestamp, Transport};

/// Failed flows of one client (rulebook 7.6).
const ENOUGH: usize = 5;
/// Answered flows of neighbours to the same servers (rulebook 6.2).
const ENOUGH_NEIGHBOURS: u64 = 4;
/// A policy that is programmed late takes effect within this.
const PROGRAMMED: Duration = Duration::from_secs(30);
/// Anything shorter is a moment (rulebook 6.7).
const MIN_LENGTH: Duration = Duration::from_secs(2);
/// What chance may explain of a client that was answered before or is afterwards.
const CHANCE: f64 = 0.001;

/// Runs of failures of one network that are judged, the longest ones: where so many clients fail, no
/// single one is cut off, and each costs a look at all flows of its network.
const MAX_JUDGED: usize = 32;

/// Every client that was cut off, in the order of their addresses.
#[derive(Debug, Default)]
pub struct CutOffs<'a>(Vec<CutOff<'a>>);

impl<'a> CutOffs<'a> {
    /// Those of a capture.
    pub fn of(reach: &'a Reach) -> Self {
        Self(find(reach))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CutOff<'a>> {
        self.0.iter()
    }

    /// Whether a flow is one of those that failed by it.
    pub(super) fn cover(&self, flow: &Flow) -> bool {
        let client = flow.cell().client;
        let from = self.0.partition_point(|cut| cut.client < client);
        let mut own = self.0.iter().skip(from).take_while(|cut| cut.client == client);
        !flow.succeeded() && own.any(|cut| cut.span.contains(flow.first.ts))
    }
}

/// A client that was cut off for a while.
#[derive(Debug)]
pub(super) struct CutOff<'a> {
    /// Who.
    pub(super) client: IpAddr,
    /// Its flows, all failed, in their order.
    pub(super) failed: Vec<&'a Flow>,
    /// From its first flow to its last datagram.
    pub(super) span: Span,
    /// When it was answered again.
    pub(super) healed: Option<Timestamp>,
    /// Whether it was ever answered before.
    pub(super) served_before: bool,
    /// The addresses that it asked.
    pub(super) asked: BTreeSet<IpAddr>,
    /// Whether most of its queries show no address behind those.
    pub(super) untranslated: bool,
    /// Who was answered by the same servers meanwhile.
    pub(super) neighbours: BTreeSet<IpAddr>,
    /// How many flows of theirs.
    pub(super) answered: u64,
}

/// What is known of a client while its flows are gone through.
#[derive(Default)]
struct Course<'a> {
    /// Flows that were answered, and that failed, up to now.
    ok: u64,
    failed: u64,
    /// Those that failed since the last one that was answered at once, how many were answered before, and
    /// when the first was answered after all that was sent again.
    run: SmallVec<[&'a Flow; 1]>,
    ok_before: u64,
    healed: Option<Timestamp>,
}

impl<'a> Course<'a> {
    /// Ends the run of failures, and returns it if it is long enough.
    fn close(&mut self, client: IpAddr) -> Option<Run<'a>> {
        let (failed, healed) = (std::mem::take(&mut self.run), self.healed.take());
        let ok_before = self.ok_before;
        (failed.len() >= ENOUGH).then_some(Run { client, failed, ok_before, healed })
    }
}

/// A run of flows that failed, while none was answered.
struct Run<'a> {
    client: IpAddr,
    failed: SmallVec<[&'a Flow; 1]>,
    ok_before: u64,
    healed: Option<Timestamp>,
}

fn find(reach: &Reach) -> Vec<CutOff<'_>> {
    let udp = |flow: &&Flow| flow.cell().transport == Transport::Udp;
    let mut failures: Table<IpAddr, usize> = Table::default();
    for flow in reach.flows().iter().filter(udp).filter(|flow| flow.failed()) {
        *failures.entry(flow.cell().client).or_default() += 1;
    }
    failures.retain(|_, failed| *failed >= ENOUGH);
    if failures.is_empty() {
        return Vec::new();
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
                let at = flow.reached_at();
                course.healed = Some(course.healed.map_or(at, |known| known.min(at)));
            }
            if !flow.stalled() {
                runs.extend(course.close(client));
            }
        }
    }
    let courses: BTreeMap<IpAddr, Course<'_>> = courses.into_iter().collect();
    let mut totals: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
    for (client, mut course) in courses {
        totals.insert(client, (course.ok, course.failed));
        runs.extend(course.close(client));
    }
    let length = |run: &Run<'_>| {
        let ends = run.failed.first().zip(run.failed.last());
        ends.map(|(first, last)| last.first.ts.since(first.first.ts))
    };
    runs.sort_by_key(|run| (Reverse(length(run)), run.client));
    let mut judged: BTreeMap<Network, usize> = BTreeMap::new();
    runs.retain(|run| {
        let judged = judged.entry(reach.group(run.client)).or_default();
        *judged += 1;
        *judged <= MAX_JUDGED
    });
    let mut found: Vec<CutOff<'_>> = runs
        .into_iter()
        .filter_map(|run| {
            let totals = totals.get(&run.client).copied().unwrap_or_default();
            judge(run, totals, reach)
        })
        .collect();
    found.sort_by_key(|cut| (cut.client, cut.span));
    found
}

fn judge<'a>(run: Run<'a>, (ok, failed): (u64, u64), reach: &'a Reach) -> Option<CutOff<'a>> {
    let Run { client, failed: flows, ok_before, healed } = run;
    let first = flows.first()?.first.ts;
    let last = flows.iter().map(|flow| flow.last_sent()).max()?;
    let span = Span::between(first, last);
    // From its first packet on it fails for good, or until the policy is programmed.
    let programmed = healed.is_none_or(|at| at.since(first) <= PROGRAMMED);
    let from_the_first = ok_before == 0 && programmed;
    let asked: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.cell().server).collect();
    let backends: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.cell().responder).collect();
    // Of some the capture may have missed one side of the translation.
    let is_untranslated = |flow: &&&Flow| flow.cell().server == flow.cell().responder;
    let untranslated = flows.iter().filter(is_untranslated).count() * 2 > flows.len();
    let served = ok_before > 0;
    let (mut neighbours, mut failing) = (BTreeSet::new(), BTreeSet::new());
    let (mut answered, mut unanswered) = (0, 0);
    for flow in reach.flows_in(reach.group(client)) {
        // Where translation is visible, the same backend must have answered; a query that vanishes
        // before translation could have gone to any.
        let same = backends.contains(&flow.cell().responder)
            || (untranslated && asked.contains(&flow.cell().server));
        let judged = flow.cell().transport == Transport::Udp && flow.is_fresh();
        if flow.cell().client == client || !same || !judged || !span.contains(flow.first.ts) {
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
        client,
        failed: flows.into_vec(),
        span,
        healed,
        served_before: served,
        asked,
        untranslated,
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

    /// Hundreds may fail in a flood, each of which would cost a look at all flows of their network.
    #[test]
    fn of_many_clients_that_fail_the_longest_runs_are_judged() {
        let mut flows = Vec::new();
        for second in 0..20 {
            flows.push(flow(200, second, Reached::Yes));
            // The last clients fail the longest.
            let fail = (0..100).filter(|client| second < 6 + u32::from(*client) / 10);
            flows.extend(fail.map(|client| flow(client, second, Reached::No)));
        }
        let reach = Reach::from_flows(Nodes::default(), flows);
        let cut = CutOffs::of(&reach);
        let clients: Vec<IpAddr> = cut.iter().map(|cut| cut.client).collect();
        assert_eq!(clients.len(), MAX_JUDGED);
        assert!(clients.contains(&IpAddr::from([10, 244, 0, 99])), "{clients:?}");
        assert!(!clients.contains(&IpAddr::from([10, 244, 0, 0])), "{clients:?}");
        for flow in reach.flows() {
            assert_eq!(cut.cover(flow), clients.contains(&flow.cell().client));
        }
    }
}
