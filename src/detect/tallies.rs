//! Who reached whom, short enough to be carried by a report: what localisation looks at, told as
//! spells instead of flow by flow.
//!
//! One capture sees one node. That a server answers the others, or that the others answer this
//! node, stands in their captures, which may lie on another machine or be gone. So every report
//! carries its tallies, and whoever has several reports localises over all of them.
//!
//! A spell is either a run of failures without a success in between, which is kept exactly,
//! because it may be an outage; or everything between two of them, by the minute. Flows of a
//! spell are taken to be spread evenly over it when they are put back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::flow::{Cell, Flow, Going, Part, Reached};
use super::localise::{Cells, MIN_FLOWS};
use super::reach::Reach;
use crate::base::{Nodes, Span, Timestamp, Transport};
use crate::capture::{FileId, FrameRef, Seen};
use crate::packet::IcmpKind;
use crate::transaction::{Nat, Undelivered};

/// How many spells a report carries: a megabyte of them.
const MAX_SPELLS: usize = 5_000;
/// A spell of successes ends with its minute; with its hour or day where there are too many.
const GRIDS: [Duration; 3] =
    [Duration::from_mins(1), Duration::from_hours(1), Duration::from_hours(24)];
/// How many clients of a run of failures are named.
const CLIENTS: usize = 8;
/// How many flows stand for the successes of a spell where they are put back.
const SPREAD: u64 = 8;
/// How many flows stand for its failures: localisation counts them one by one.
const SPREAD_FAILED: u64 = 64;

/// The tallies of one capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reachability {
    /// Every group of clients with every server that it asked.
    pub cells: Vec<CellTally>,
    /// Flows of cells that were left out, because there are too many.
    pub left_out: u64,
}

/// How one group of clients fared with one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellTally {
    /// The clients: their node, or the prefix that stands for it.
    pub group: String,
    /// One of the clients.
    pub client: IpAddr,
    /// The server, by its own address where translation is visible.
    pub server: IpAddr,
    /// The address that the clients asked.
    pub service: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// What came of it, in the order of time.
    pub spells: Vec<Spell>,
}

/// A spell in which a cell fared alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spell {
    /// When its first flow began, or, if it was answered only when sent again, when that was.
    pub start: Timestamp,
    /// When its last flow began.
    pub last: Timestamp,
    /// When the last datagram of a run was sent; between runs, when the last flow began.
    pub end: Timestamp,
    /// Flows that were answered; none in a run of failures.
    pub answered: u64,
    /// Flows that failed.
    pub failed: u64,
    /// The clients that failed, as far as they are named: of runs of failures alone.
    pub clients: Vec<IpAddr>,
    /// Failed flows whose answer came to the host and went no further.
    pub other_host: u64,
    /// Failed flows whose answer came from another address than the one asked.
    pub wrong_source: u64,
    /// Failed flows that ICMP rejected, by what it said and who said it.
    pub icmp: BTreeMap<(IcmpKind, IpAddr), u64>,
}

impl Spell {
    /// A spell without flows yet, from its first flow to its last.
    pub fn between(start: Timestamp, last: Timestamp) -> Self {
        Self {
            start,
            last,
            end: last,
            answered: 0,
            failed: 0,
            clients: Vec::new(),
            other_host: 0,
            wrong_source: 0,
            icmp: BTreeMap::new(),
        }
    }

    /// Whether it is a run of failures.
    pub fn is_run(&self) -> bool {
        self.answered == 0
    }

    /// From its first flow to its last datagram.
    pub fn span(&self) -> Span {
        Span::between(self.start, self.end)
    }

    fn count(&mut self, flow: &Flow) {
        self.last = self.last.max(flow.reached_at());
        self.end = self.end.max(self.last);
        let weight = u64::from(flow.weight());
        if flow.succeeded() {
            self.answered += weight;
        } else {
            self.failed += weight;
        }
    }

    /// The end, the clients and the reasons of a failed flow: they are told of runs alone.
    fn explain(&mut self, flow: &Flow) {
        self.end = self.end.max(flow.last_sent());
        let client = flow.cell().client;
        if self.clients.len() < CLIENTS && !self.clients.contains(&client) {
            self.clients.push(client);
            self.clients.sort_unstable();
        }
        self.other_host += u64::from(flow.lost() == Some(Undelivered::OtherHost));
        self.wrong_source += u64::from(flow.lost() == Some(Undelivered::WrongSource));
        if let (Reached::Rejected, Some(said)) = (flow.reached(), flow.icmp()) {
            *self.icmp.entry(said).or_default() += u64::from(flow.weight());
        }
    }
}

impl Reachability {
    /// The tallies of the flows that localisation looks at, and of TCP beside them.
    pub(super) fn of(reach: &Reach, cells: &Cells<'_>) -> Self {
        let mut tcp: Cells<'_> = BTreeMap::new();
        for flow in reach.flows().iter().filter(|flow| flow.cell().transport == Transport::Tcp) {
            let key = (flow.cell().responder, reach.group(flow.cell().client));
            tcp.entry(key).or_default().push(flow);
        }
        let mut tallies = Vec::new();
        for grid in GRIDS {
            tallies = tally(cells, Transport::Udp, grid);
            tallies.extend(tally(&tcp, Transport::Tcp, grid));
            if spells(&tallies) <= MAX_SPELLS {
                break;
            }
        }
        Self::bounded(tallies)
    }

    /// Keeps the cells that failed most, as many as there is room for.
    fn bounded(mut cells: Vec<CellTally>) -> Self {
        let failed = |cell: &CellTally| cell.spells.iter().map(|one| one.failed).sum::<u64>();
        cells.sort_by(|one, other| failed(other).cmp(&failed(one)).then_with(|| one.cmp(other)));
        let mut room = MAX_SPELLS;
        let mut left_out = 0;
        cells.retain(|cell| {
            let fits = cell.spells.len() <= room;
            if fits {
                room -= cell.spells.len();
            } else {
                left_out += cell.flows();
            }
            fits
        });
        cells.sort();
        Self { cells, left_out }
    }
}

fn spells(cells: &[CellTally]) -> usize {
    cells.iter().map(|cell| cell.spells.len()).sum()
}

fn tally(cells: &Cells<'_>, transport: Transport, grid: Duration) -> Vec<CellTally> {
    let tallied = cells.iter().filter_map(|((server, group), flows)| {
        let mut flows: Vec<&Flow> =
            flows.iter().copied().filter(|flow| flow.succeeded() || flow.failed()).collect();
        flows.sort_by_key(|flow| flow.reached_at());
        let told = flows.iter().find(|flow| flow.failed()).or(flows.first())?;
        Some(CellTally {
            group: group.to_string(),
            client: told.cell().client,
            server: *server,
            service: told.cell().server,
            transport,
            spells: told_in_spells(&flows, grid),
        })
    });
    tallied.collect()
}

/// Runs of failures that may be outages, and what lies between them.
fn told_in_spells(flows: &[&Flow], grid: Duration) -> Vec<Spell> {
    let mut told: Vec<Spell> = Vec::new();
    // Whether the last spell may still grow.
    let mut open = false;
    for part in flows.chunk_by(|one, other| one.failed() == other.failed()) {
        let Some(first) = part.first() else { continue };
        if first.failed() && part.len() as u64 >= MIN_FLOWS {
            let mut run = Spell::between(first.first.ts, first.first.ts);
            for flow in part {
                run.count(flow);
                run.explain(flow);
            }
            told.push(run);
            open = false;
            continue;
        }
        for flow in part {
            let at = flow.reached_at();
            let fits = |last: &&mut Spell| slot(last.start, grid) == slot(at, grid);
            if let Some(last) = told.last_mut().filter(|_| open).filter(fits) {
                last.count(flow);
                continue;
            }
            let mut spell = Spell::between(at, at);
            spell.count(flow);
            told.push(spell);
            open = true;
        }
    }
    told
}

/// The place of an instant in the grid that all captures share.
fn slot(at: Timestamp, grid: Duration) -> i64 {
    at.nanos().div_euclid(i64::try_from(grid.as_nanos()).unwrap_or(i64::MAX))
}

impl CellTally {
    /// All its flows.
    pub fn flows(&self) -> u64 {
        self.spells.iter().map(|spell| spell.answered + spell.failed).sum()
    }

    /// Its flows, as far as they can be put back.
    fn put_back(&self, flows: &mut Vec<Going>) {
        for spell in &self.spells {
            let answered = spread(spell.answered, SPREAD.max(spell.failed.min(SPREAD_FAILED)));
            let failed = spread(spell.failed, SPREAD_FAILED);
            let mut reasons = Reasons::of(spell);
            let mut all: Vec<(u64, bool, u32)> = Vec::new();
            // The places of both kinds are spread over one scale, failures between successes.
            let places = |weights: &[u32], failed: bool| -> Vec<(u64, bool, u32)> {
                let n = weights.len() as u64;
                let scale = SCALE / n.max(1);
                let at = |index: u64| index * scale + if failed { scale / 2 } else { 0 };
                (0..n).zip(weights).map(|(index, weight)| (at(index), failed, *weight)).collect()
            };
            all.extend(places(&answered, false));
            all.extend(places(&failed, true));
            all.sort_unstable();
            let count = all.len();
            for (index, (_, failed, weight)) in all.into_iter().enumerate() {
                let first = between(spell.start, spell.last, index, count);
                let ends = if index + 1 == count { spell.end } else { first };
                flows.push(self.flow(spell, first, ends.max(first), failed, weight, &mut reasons));
            }
        }
    }

    fn flow(
        &self,
        spell: &Spell,
        first: Timestamp,
        last_sent: Timestamp,
        failed: bool,
        weight: u32,
        reasons: &mut Reasons,
    ) -> Going {
        let mut flow = Going {
            cell: Arc::new(Cell {
                client: self.client,
                server: self.service,
                responder: self.server,
                transport: self.transport,
            }),
            port: 0,
            weight,
            part: Part {
                first: Seen { at: FrameRef::new(FileId(0), 0), ts: first },
                last_sent,
                reached: if failed { Reached::No } else { Reached::Yes },
                attempts: 1,
                unanswered: u32::from(failed),
                heard: (!failed).then(|| Span::at(first)),
                repeated: (0, 0),
                lost: None,
                icmp: None,
                stuck: false,
                unwatched: false,
            },
        };
        if failed && spell.is_run() {
            reasons.give(&mut flow);
        }
        flow
    }
}

/// Finer than any number of flows that are put back.
const SCALE: u64 = 1 << 20;

/// What is known of the failures of a run, to be handed out to its flows.
struct Reasons {
    clients: Vec<IpAddr>,
    next: usize,
    lost: Vec<Undelivered>,
    icmp: Vec<(IcmpKind, IpAddr)>,
}

impl Reasons {
    fn of(spell: &Spell) -> Self {
        let times = |n: u64| usize::try_from(n.min(SPREAD_FAILED)).unwrap_or(0);
        let mut lost = vec![Undelivered::OtherHost; times(spell.other_host)];
        lost.extend(vec![Undelivered::WrongSource; times(spell.wrong_source)]);
        let icmp = spell.icmp.iter().flat_map(|(said, n)| vec![*said; times(*n)]).collect();
        Self { clients: spell.clients.clone(), next: 0, lost, icmp }
    }

    fn give(&mut self, flow: &mut Going) {
        if let Some(client) = self.clients.get(self.next % self.clients.len().max(1)) {
            Arc::make_mut(&mut flow.cell).client = *client;
        }
        self.next += 1;
        flow.part.lost = self.lost.pop();
        if let Some(said) = self.icmp.pop() {
            flow.part.reached = Reached::Rejected;
            flow.part.icmp = Some(Box::new(said));
        }
    }
}

/// `all` as so many weights, at most `most`, whose sum it is.
fn spread(all: u64, most: u64) -> Vec<u32> {
    let n = all.min(most);
    let share = |index: u64| all / n + u64::from(index < all % n);
    (0..n).map(|index| u32::try_from(share(index)).unwrap_or(u32::MAX)).collect()
}

/// The instant of the flow `index` of `count` that are spread from `start` to `last`.
fn between(start: Timestamp, last: Timestamp, index: usize, count: usize) -> Timestamp {
    let steps = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    if steps == 0 {
        return start;
    }
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    start.after(last.since(start) / steps * index)
}

/// Tallies of several captures as one: what localisation needs.
#[derive(Debug)]
pub struct PutBack {
    /// Who reached whom.
    pub reach: Reach,
    /// The translations that the tallies show.
    pub nat: Nat,
}

impl PutBack {
    /// Puts the flows of `cells` back. Groups that are no prefixes become nodes again.
    pub fn of<'a>(cells: impl Iterator<Item = &'a CellTally>) -> Self {
        let (mut flows, mut nat) = (Vec::new(), Nat::default());
        let mut named: BTreeSet<(&str, IpAddr)> = BTreeSet::new();
        for cell in cells {
            if cell.service != cell.server {
                nat.learn(cell.service, cell.server);
            }
            if !cell.group.contains('/') {
                let failed = cell.spells.iter().flat_map(|spell| &spell.clients);
                named.extend(failed.chain([&cell.client]).map(|one| (cell.group.as_str(), *one)));
            }
            cell.put_back(&mut flows);
        }
        let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let nodes = Nodes::new(named.into_iter().map(|(name, one)| (name, one, bits(one))));
        Self { reach: Reach::from_flows(nodes, flows), nat }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Forward, Kind, Trips, localise};
    use crate::testkit::{Fate, Situation, analyse};

    /// One backend is silent for twenty seconds, and now and then a query is lost everywhere.
    #[test]
    fn an_outage_is_found_again_in_the_tallies() {
        let mut situation = Situation::cluster();
        for round in 0..90_u8 {
            for (index, via) in ["dns1", "dns2", "dns3"].into_iter().enumerate() {
                let silent = index == 0 && (30..50).contains(&round);
                let fate = match (silent, round % 23) {
                    (true, _) => Fate::Lost,
                    (false, 7) => Fate::LostOnce,
                    _ => Fate::Answered,
                };
                let at = f64::from(round) + 0.2 * f64::from(u8::try_from(index).unwrap());
                situation.ask(at, "pod", "kube-dns", via, fate);
                situation.ask(at + 0.1, "near", "kube-dns", via, fate);
            }
        }
        let analysis = analyse(situation.text());
        let cause = &analysis.incidents.first().expect("an incident").cause;
        let back = PutBack::of(analysis.reachability.cells.iter());
        let none = (Forward::default(), Trips::default());
        let outages = localise(&back.reach, &back.nat, &none.0, &none.1);
        assert_eq!(outages.len(), 1, "{outages:?}");
        assert_eq!(outages[0].span, cause.span);
        assert_eq!(outages[0].failed, cause.transactions);
        assert_eq!(outages[0].clients.len(), 2);
        assert_eq!((outages[0].kind, cause.rule.id), (Kind::Restart, "backend-restart"));
        let flows = |cells: &[CellTally]| cells.iter().map(CellTally::flows).sum::<u64>();
        assert_eq!(flows(&analysis.reachability.cells), 2 * 3 * 90);
    }

    #[test]
    fn nothing_is_lost_where_flows_are_spread() {
        for (all, most) in [(0, 8), (1, 8), (8, 8), (9, 8), (1_000_003, 64)] {
            let weights = spread(all, most);
            assert_eq!(weights.iter().map(|weight| u64::from(*weight)).sum::<u64>(), all);
            assert!(weights.len() as u64 <= most);
        }
    }

    #[test]
    fn flows_of_a_stretch_lie_between_its_ends() {
        let at = |seconds| Timestamp::from_parts(seconds, 0);
        assert_eq!(between(at(10), at(20), 0, 1), at(10));
        assert_eq!(between(at(10), at(20), 0, 3), at(10));
        assert_eq!(between(at(10), at(20), 1, 3), at(15));
        assert_eq!(between(at(10), at(20), 2, 3), at(20));
    }
}
