//! Who reached whom, and when: the tally that localisation judges (rulebook 6.1, 6.2).
//!
//! The unit of evidence is the flow: one client socket asking one server. Everything that a
//! socket asks within 30 s went to one backend, because conntrack pins it there, so A and AAAA
//! and their retries are one flow and not four observations.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hashbrown::HashTable;

use super::flow::{Cell, Flow, Going, Part, Reached};
use super::vanish::{is_from_afar, node_of_client, places};
use crate::base::{
    Coverage, Host, Limit, Map, Network, Nodes, Set, SocketId, Span, Timestamp, Transport,
    forget_before_growth, push_back, push_within,
};
use crate::capture::PointId;
use crate::lookup::{Lookup, Sent};
use crate::transaction::{
    Attempt, ConnectOutcome, Outcome, Response, TcpAttempt, Transaction, timing,
};

/// How many flows are kept one by one; beyond that, answered ones are thinned out by halves
/// and carry the weight of those left out, and so are the others where they are too many.
const MAX_FLOWS: usize = 1 << 18;
/// How long conntrack pins a socket that gets answers (rulebook K6: 120 s for UDP streams).
const PINNED: std::time::Duration = std::time::Duration::from_mins(2);
/// How many flows may still go on at once: those of 30 s with 4 000 new ones a second.
const MAX_PENDING: usize = 1 << 17;
/// How many pairs of client and server are told apart.
const MAX_CELLS: usize = 200_000;

/// What conntrack pins: a client's socket, and the server that it talks to over this transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Way(SocketId, SocketId);

impl Way {
    fn new(client: SocketAddr, responder: IpAddr, transport: Transport) -> Self {
        let protocol = match transport {
            Transport::Udp => 17,
            Transport::Tcp => 6,
        };
        Self(client.into(), SocketAddr::new(responder, protocol).into())
    }

    fn of(going: &Going) -> Self {
        let Cell { client, responder, transport, .. } = *going.cell;
        Self::new(SocketAddr::new(client, going.port), responder, transport)
    }
}

/// All flows of a capture, in the order of their first frames.
#[derive(Debug, Default)]
pub struct Reach {
    nodes: Nodes,
    pending: VecDeque<Going>,
    base: u64,
    /// Which of them stands for each way, by its serial number.
    index: HashTable<u64>,
    /// The one that was added to last: most of what a lookup asks goes from one socket to one server.
    latest: Option<(Way, u64)>,
    hasher: foldhash::fast::RandomState,
    flows: Vec<Flow>,
    cells: Set<Arc<Cell>>,
    /// The capture point whose own node all queries came from so far, and whether any did not.
    vantage: Option<PointId>,
    elsewhere: bool,
    /// Groups of clients that ask over TCP alone, as `use-vc` and some caches do.
    tcp_alone: BTreeSet<Network>,
    /// Places of flows by the prefix of their client, once somebody asked for those of one.
    by_prefix: OnceLock<Map<Network, Vec<u32>>>,
}

impl Reach {
    /// Nothing yet; clients are grouped by `nodes`.
    pub fn new(nodes: Nodes) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// From flows that were put back from tallies; clients are grouped by `nodes`.
    pub(super) fn from_flows(nodes: Nodes, flows: Vec<Going>) -> Self {
        let mut flows: Vec<Flow> = flows.into_iter().map(Flow::from).collect();
        flows.sort_by_key(|flow| (flow.first, *flow.cell(), flow.last_sent(), flow.reached()));
        Self { nodes, flows, ..Self::default() }
    }

    /// The group of clients that `client` belongs to: its node, as far as that can be told.
    pub fn group(&self, client: IpAddr) -> Network {
        self.nodes.group(client)
    }

    /// Whether all that asked live on one node, whatever their prefixes: the capture shows their queries
    /// where they set out, or leave (rulebook 6.6). In flat networks a prefix is no node.
    pub(super) fn is_of_one_node(&self) -> bool {
        self.vantage.is_some() && !self.elsewhere
    }

    /// Notes where the queries of a transaction set out.
    fn note_vantage(&mut self, transaction: &Transaction) {
        let own = node_of_client(transaction);
        self.elsewhere |= own.is_none() || self.vantage.is_some_and(|known| Some(known) != own);
        self.vantage = own.or(self.vantage);
    }

    /// Adds the steps of a lookup to the flows that they belong to.
    pub fn note(&mut self, lookup: &Lookup, coverage: &mut Coverage) {
        for step in &lookup.steps {
            match &step.sent {
                Sent::Question(transaction) => {
                    self.note_question(transaction, step.unproven, coverage);
                }
                Sent::Connect(_) => {}
            }
        }
    }

    fn note_question(
        &mut self,
        transaction: &Transaction,
        unproven: bool,
        coverage: &mut Coverage,
    ) {
        if transaction.attempts.is_empty() {
            return;
        }
        if !self.elsewhere {
            self.note_vantage(transaction);
        }
        let outcome = transaction.outcome();
        let reached = match outcome {
            Outcome::Late => Reached::Late,
            Outcome::Rejected(_) => Reached::Rejected,
            // The server was heard, though not to the end.
            Outcome::Timeout if transaction.responses.iter().any(Response::is_incomplete) => {
                Reached::Yes
            }
            Outcome::Timeout if !unproven => Reached::No,
            Outcome::Timeout | Outcome::Unknown => Reached::Unknown,
            _ => Reached::Yes,
        };
        // Nearly all are asked once and answered once.
        if let ([attempt], [response], []) =
            (&*transaction.attempts, &*transaction.responses, &*transaction.rejections)
        {
            let sent = attempt.sent();
            let part = Part {
                first: sent,
                last_sent: sent.ts,
                reached,
                attempts: 1,
                unanswered: 0,
                heard: Some(Span::at(sent.ts)),
                repeated: (0, 0),
                lost: response.lost,
                icmp: None,
                stuck: places(&attempt.hops) == 1,
                unwatched: false,
            };
            let cell = Cell::of(transaction, transaction.responder());
            self.add(cell, transaction.client, part, coverage);
            return;
        }
        // A repeat from the same port goes to another backend once conntrack has forgotten the
        // first: what went to each is a flow of its own, and only the last one was answered.
        let asked = transaction.server;
        let same = |one: &Attempt, next: &Attempt| one.backend(asked) == next.backend(asked);
        let mut legs = transaction.attempts.chunk_by(same).peekable();
        while let Some(attempts) = legs.next() {
            let Some(first) = attempts.first() else { continue };
            let last = legs.peek().is_none();
            let responder = if last {
                transaction.responder()
            } else {
                first.backend(asked).unwrap_or(asked.ip())
            };
            let start = first.sent();
            let sent = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
            let answered = u32::try_from(transaction.responses.len()).unwrap_or(u32::MAX);
            let (reached, unanswered) = match (last, reached) {
                (false, _) => (Reached::No, sent),
                (true, Reached::Unknown) => (Reached::Unknown, 0),
                (true, reached) => (reached, sent.saturating_sub(answered)),
            };
            let cell = Cell::of(transaction, responder);
            let part = Part {
                first: start,
                last_sent: attempts.last().map_or(start.ts, |attempt| attempt.sent().ts),
                reached,
                attempts: sent,
                unanswered,
                heard: if last { heard(attempts, &transaction.responses, reached) } else { None },
                repeated: (u16::from(sent > 1), u16::from(sent > 1 && reached == Reached::Yes)),
                lost: transaction.responses.iter().find_map(|response| response.lost),
                icmp: transaction
                    .rejections
                    .first()
                    .map(|rejected| Box::new((rejected.kind, rejected.from))),
                stuck: attempts.iter().all(|attempt| places(&attempt.hops) == 1),
                unwatched: is_from_afar(transaction)
                    && transaction.responses.iter().all(|response| response.case_kept),
            };
            self.add(cell, transaction.client, part, coverage);
        }
    }

    /// Adds a connection attempt.
    pub fn note_connect(&mut self, connect: &TcpAttempt, coverage: &mut Coverage) {
        let reached = match connect.outcome() {
            ConnectOutcome::Accepted => Reached::Yes,
            ConnectOutcome::Refused | ConnectOutcome::Rejected(_) => Reached::Rejected,
            ConnectOutcome::Silent => Reached::No,
            ConnectOutcome::Unknown => Reached::Unknown,
        };
        let attempts = u32::try_from(connect.syns.len()).unwrap_or(u32::MAX);
        let last_sent = connect.syns.last().map_or(connect.first().ts, |seen| seen.ts);
        let cell = Cell {
            client: connect.client.ip(),
            server: connect.server.ip(),
            responder: connect.responder(),
            transport: Transport::Tcp,
        };
        let part = Part {
            first: connect.first(),
            last_sent,
            reached,
            attempts,
            unanswered: attempts.saturating_sub(u32::from(reached == Reached::Yes)),
            heard: (reached == Reached::Yes).then(|| Span::at(last_sent)),
            repeated: (0, 0),
            lost: None,
            icmp: None,
            stuck: false,
            unwatched: false,
        };
        self.add(cell, connect.client, part, coverage);
    }

    /// Closes what is open; the capture is over.
    pub fn finish(&mut self, coverage: &mut Coverage) {
        while !self.pending.is_empty() {
            self.settle_first(coverage);
        }
        // Lookups end in another order than their steps began.
        self.flows.sort_by(|one, other| {
            let rest = || (one.cell(), one.port()).cmp(&(other.cell(), other.port()));
            one.first.cmp(&other.first).then_with(rest)
        });
        let of = |transport| {
            let own = self.flows.iter().filter(move |flow| flow.cell().transport == transport);
            own.map(|flow| self.group(flow.cell().client))
        };
        let mut tcp_alone: BTreeSet<Network> = of(Transport::Tcp).collect();
        if !tcp_alone.is_empty() {
            of(Transport::Udp).for_each(|group| {
                tcp_alone.remove(&group);
            });
        }
        self.tcp_alone = tcp_alone;
        let mut ways: Map<(SocketId, Host), Timestamp> = Map::default();
        for flow in &mut self.flows {
            forget_before_growth(&mut ways, |_, last| flow.first.ts.since(*last) <= PINNED);
            let cell = flow.cell();
            let way = (SocketAddr::new(cell.client, flow.port()).into(), Host(cell.responder));
            let before = ways.insert(way, flow.last_sent());
            let fresh = before.is_none_or(|last| flow.first.ts.since(last) > PINNED);
            flow.set_fresh(fresh);
        }
    }

    /// Every flow, in the order of first frames.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Whether a flow shows how its client reaches servers: over UDP, or over TCP where it and those beside
    /// it use nothing else. After a truncated answer TCP may fail while the server is well.
    pub(super) fn tells(&self, flow: &Flow) -> bool {
        let cell = flow.cell();
        cell.transport == Transport::Udp
            || (!self.tcp_alone.is_empty() && self.tcp_alone.contains(&self.group(cell.client)))
    }

    /// The flows of clients in `network`, in the same order: a rule that asks for those of every client
    /// or network would go through all of them each time.
    pub fn flows_in(&self, network: Network) -> impl Iterator<Item = &Flow> {
        let (places, others) = match network {
            Network::Node(_) => (None, self.flows.as_slice()),
            Network::V4(_) | Network::V6(_) => (self.by_prefix().get(&network), &[][..]),
        };
        let places = places.map_or(&[][..], Vec::as_slice);
        let listed = places.iter().filter_map(|place| self.flows.get(*place as usize));
        listed.chain(others.iter().filter(move |flow| network.contains(flow.cell().client)))
    }

    /// The flows of the clients that stand for this group, in the same order.
    pub fn flows_of(&self, group: Network) -> impl Iterator<Item = &Flow> {
        self.flows_in(group).filter(move |flow| self.group(flow.cell().client) == group)
    }

    fn by_prefix(&self) -> &Map<Network, Vec<u32>> {
        self.by_prefix.get_or_init(|| {
            let mut places: Map<Network, Vec<u32>> = Map::default();
            for (place, flow) in (0..).zip(&self.flows) {
                places.entry(Network::of(flow.cell().client)).or_default().push(place);
            }
            places
        })
    }

    /// The one copy of `cell`; past [`MAX_CELLS`] there may be several, and their flows are not kept.
    fn shared(&mut self, cell: Cell) -> Arc<Cell> {
        if let Some(known) = self.cells.get(&cell) {
            return Arc::clone(known);
        }
        let cell = Arc::new(cell);
        if self.cells.len() < MAX_CELLS {
            self.cells.insert(Arc::clone(&cell));
        }
        cell
    }

    /// Adds what was sent from `client`, whose address is that of `cell`, to its flow.
    fn add(&mut self, cell: Cell, client: SocketAddr, part: Part, coverage: &mut Coverage) {
        let now = part.first.ts;
        let over = |first: &Going| now.since(first.part.first.ts) > timing::T_KEEP;
        while self.pending.front().is_some_and(over) {
            self.settle_first(coverage);
        }
        if self.pending.len() >= MAX_PENDING {
            coverage.limited(Limit::Flows);
            self.settle_first(coverage);
        }
        let way = Way::new(client, cell.responder, cell.transport);
        let at = |serial: u64| usize::try_from(serial.checked_sub(self.base)?).ok();
        let latest = self.latest.filter(|(latest, _)| *latest == way);
        if let Some(pending) =
            latest.and_then(|(_, serial)| at(serial)).and_then(|at| self.pending.get_mut(at))
        {
            pending.part.join(part);
            return;
        }
        let hash = self.hasher.hash_one(way);
        let going = |serial: &u64| self.pending.get(at(*serial)?);
        let is_same = |serial: &u64| going(serial).is_some_and(|one| Way::of(one) == way);
        let known = self.index.find(hash, is_same).copied();
        if let Some((serial, at)) = known.and_then(|serial| Some((serial, at(serial)?)))
            && let Some(pending) = self.pending.get_mut(at)
        {
            pending.part.join(part);
            self.latest = Some((way, serial));
            return;
        }
        let serial = self.base + self.pending.len() as u64;
        self.latest = Some((way, serial));
        self.index.insert_unique(hash, serial, |serial| {
            let at = usize::try_from(serial.saturating_sub(self.base)).ok();
            let one = at.and_then(|at| self.pending.get(at));
            one.map_or(0, |one| self.hasher.hash_one(Way::of(one)))
        });
        let cell = self.shared(cell);
        push_back(&mut self.pending, Going { cell, port: client.port(), weight: 1, part });
    }

    fn settle_first(&mut self, coverage: &mut Coverage) {
        let Some(flow) = self.pending.pop_front() else {
            return;
        };
        let hash = self.hasher.hash_one(Way::of(&flow));
        if let Ok(place) = self.index.find_entry(hash, |serial| *serial == self.base) {
            place.remove();
        }
        self.base += 1;
        // Only when there is no room any more can one be missing.
        if self.cells.len() >= MAX_CELLS && !self.cells.contains(&flow.cell) {
            coverage.limited(Limit::Clients);
            return;
        }
        if self.flows.len() >= MAX_FLOWS {
            self.thin_out();
        }
        push_within(&mut self.flows, Flow::from(flow), MAX_FLOWS);
    }

    /// Halves the number of answered flows; those that stay count twice as much. The others are
    /// thinned out as well where there are so many of them that this makes little room.
    fn thin_out(&mut self) {
        self.halve(|reached| reached == Reached::Yes);
        if self.flows.len() > MAX_FLOWS / 4 * 3 {
            self.halve(|reached| reached != Reached::Yes);
        }
    }

    fn halve(&mut self, which: impl Fn(Reached) -> bool) {
        let mut keep = false;
        self.flows.retain_mut(|flow| {
            if !which(flow.reached()) {
                return true;
            }
            keep = !keep;
            flow.halve();
            keep
        });
    }
}

/// When the first and the last of these were sent that were answered: of an answer in time, the one sent
/// last before it came.
fn heard(attempts: &[Attempt], responses: &[Response], reached: Reached) -> Option<Span> {
    let first = attempts.first()?.sent().ts;
    let of = |response: &Response| {
        let arrived = response.arrived().ts;
        let sent = attempts.iter().map(|attempt| attempt.sent().ts);
        sent.take_while(|sent| *sent <= arrived).last().unwrap_or(first)
    };
    match reached {
        Reached::Yes => Some(Span::between(of(responses.first()?), of(responses.last()?))),
        Reached::Late => Some(Span::at(first)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{FileId, FrameRef, Seen};

    fn flow(number: u32, client: &str) -> Going {
        let client = client.parse().unwrap();
        let server = "10.96.0.10".parse().unwrap();
        let cell = Cell { client, server, responder: server, transport: Transport::Udp };
        let at = FrameRef::new(FileId(0), number);
        let ts = Timestamp::from_nanos(i64::from(number));
        let part = Part {
            first: Seen { ts, at },
            last_sent: ts,
            reached: Reached::Yes,
            attempts: 1,
            unanswered: 0,
            heard: Some(Span::at(ts)),
            repeated: (0, 0),
            lost: None,
            icmp: None,
            stuck: false,
            unwatched: false,
        };
        Going { cell: Arc::new(cell), port: 4_000, weight: 1, part }
    }

    #[test]
    fn the_flows_of_a_network_are_those_of_its_clients() {
        let clients = ["10.244.1.7", "10.244.2.7", "fd00::7", "10.244.1.8", "fd00:0:0:1::7"];
        let flows = (0..40).zip(clients.iter().cycle()).map(|(number, one)| flow(number, one));
        let node = ("node-1", "10.244.0.0".parse().unwrap(), 22);
        let reach = Reach::from_flows(Nodes::new([node]), flows.collect());
        let of = |client: &str| client.parse::<IpAddr>().unwrap();
        let networks = clients.iter().flat_map(|one| [Network::of(of(one)), reach.group(of(one))]);
        for network in networks.chain([Network::of(of("192.0.2.1"))]) {
            let all = reach.flows().iter().filter(|flow| network.contains(flow.cell().client));
            let first = |flow: &Flow| flow.first;
            assert!(reach.flows_in(network).map(first).eq(all.map(first)), "{network}");
        }
    }
}
