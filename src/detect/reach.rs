//! Who reached whom, and when: the tally that localisation judges (rulebook 6.1, 6.2).
//!
//! The unit of evidence is the flow: one client socket asking one server. Everything that a
//! socket asks within 30 s went to one backend, because conntrack pins it there, so A and AAAA
//! and their retries are one flow and not four observations.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::hash_map::Entry;

use crate::base::{
    Coverage, Host, Limit, Map, Network, Nodes, Set, SocketId, Timestamp, Transport,
    forget_before_growth,
};
use crate::capture::Seen;
use crate::lookup::{Lookup, Sent};
use crate::packet::IcmpKind;
use crate::transaction::{
    Attempt, ConnectOutcome, Outcome, TcpAttempt, Transaction, Undelivered, timing,
};

/// How many flows are kept one by one; beyond that, answered ones are thinned out by halves
/// and carry the weight of those left out.
const MAX_FLOWS: usize = 400_000;
/// How long conntrack pins a socket that gets answers (rulebook K6: 120 s for UDP streams).
const PINNED: std::time::Duration = std::time::Duration::from_mins(2);
/// How many flows may still go on at once: those of 30 s with 4 000 new ones a second.
const MAX_PENDING: usize = 1 << 17;
/// How many pairs of client and server are told apart.
const MAX_CELLS: usize = 200_000;

/// A pair of client and server, over one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Who asked.
    pub client: IpAddr,
    /// The address that was asked.
    pub server: IpAddr,
    /// The address behind it where translation is visible, else the same.
    pub responder: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reached {
    /// Something came back in time, whatever it said.
    Yes,
    /// Something came back too late.
    Late,
    /// ICMP or a reset came back.
    Rejected,
    /// Nothing came back.
    No,
    /// The capture cannot tell.
    Unknown,
}

/// One flow, in few bytes: hundreds of thousands are kept, and nearly all are answered at once.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its first frame.
    pub first: Seen,
    /// When its last datagram was sent.
    pub last_sent: Timestamp,
    /// Client and server, shared by all their flows.
    pub cell: Arc<Cell>,
    /// What few flows have to say, or more than fits in here.
    rest: Option<Box<Rest>>,
    /// The client's port.
    port: u16,
    /// What became of it.
    pub reached: Reached,
    attempts: u8,
    unanswered: u8,
    repeated: (u8, u8),
    standing: Standing,
}

/// What few flows have to say.
#[derive(Debug, Clone, Copy)]
struct Rest {
    attempts: u32,
    unanswered: u32,
    repeated: (u16, u16),
    lost: Option<Undelivered>,
    icmp: Option<(IcmpKind, IpAddr)>,
    weight: u32,
}

/// Whether a flow is fresh, and how often those like it were thinned out by halves.
#[derive(Debug, Clone, Copy, Default)]
struct Standing(u8);

impl Standing {
    const STALE: u8 = 0x80;

    fn is_fresh(self) -> bool {
        self.0 & Self::STALE == 0
    }

    fn set_fresh(&mut self, fresh: bool) {
        self.0 = self.halvings() | if fresh { 0 } else { Self::STALE };
    }

    fn halvings(self) -> u8 {
        self.0 & !Self::STALE
    }

    fn halve(&mut self) {
        if self.halvings() < !Self::STALE {
            self.0 += 1;
        }
    }
}

/// A flow that may still go on, and all that is told of one.
#[derive(Debug, Clone)]
pub(super) struct Going {
    pub(super) first: Seen,
    pub(super) last_sent: Timestamp,
    pub(super) cell: Arc<Cell>,
    pub(super) port: u16,
    pub(super) reached: Reached,
    pub(super) attempts: u32,
    pub(super) unanswered: u32,
    pub(super) repeated: (u16, u16),
    pub(super) lost: Option<Undelivered>,
    pub(super) icmp: Option<Box<(IcmpKind, IpAddr)>>,
    pub(super) weight: u32,
}

impl From<Going> for Flow {
    fn from(going: Going) -> Self {
        let Going { attempts, unanswered, repeated, lost, icmp, weight, .. } = going;
        let short = || {
            let few = (u8::try_from(repeated.0).ok()?, u8::try_from(repeated.1).ok()?);
            let plain = lost.is_none() && icmp.is_none() && weight == 1;
            plain.then_some((u8::try_from(attempts).ok()?, u8::try_from(unanswered).ok()?, few))
        };
        let told = short();
        let rest = || {
            let icmp = icmp.as_deref().copied();
            Box::new(Rest { attempts, unanswered, repeated, lost, icmp, weight })
        };
        let rest = told.is_none().then(rest);
        let (attempts, unanswered, repeated) = told.unwrap_or_default();
        Self {
            first: going.first,
            last_sent: going.last_sent,
            rest,
            port: going.port,
            reached: going.reached,
            attempts,
            unanswered,
            repeated,
            standing: Standing::default(),
            cell: going.cell,
        }
    }
}

impl Flow {
    /// Whether it failed beyond doubt.
    pub fn failed(&self) -> bool {
        matches!(self.reached, Reached::No | Reached::Rejected)
    }

    /// Whether the server was reached.
    pub fn succeeded(&self) -> bool {
        matches!(self.reached, Reached::Yes | Reached::Late)
    }

    /// Datagrams sent.
    pub fn attempts(&self) -> u32 {
        self.rest.as_ref().map_or(u32::from(self.attempts), |rest| rest.attempts)
    }

    /// Datagrams that were not answered.
    pub fn unanswered(&self) -> u32 {
        self.rest.as_ref().map_or(u32::from(self.unanswered), |rest| rest.unanswered)
    }

    /// Transactions in it that were repeated from the same port, and of them those answered then.
    pub fn repeated(&self) -> (u16, u16) {
        let (all, answered) = self.repeated;
        self.rest.as_ref().map_or((all.into(), answered.into()), |rest| rest.repeated)
    }

    /// Why an answer that the capture shows did not reach the client.
    pub fn lost(&self) -> Option<Undelivered> {
        self.rest.as_ref()?.lost
    }

    /// What an ICMP error said, and who sent it.
    pub fn icmp(&self) -> Option<(IcmpKind, IpAddr)> {
        self.rest.as_ref()?.icmp
    }

    /// Whether its socket had not talked to this server shortly before: where a socket is pinned
    /// by conntrack, only fresh ones show where the service sends now (K6).
    pub fn is_fresh(&self) -> bool {
        self.standing.is_fresh()
    }

    /// How many flows it stands for.
    pub fn weight(&self) -> u32 {
        let own = self.rest.as_ref().map_or(1, |rest| rest.weight);
        let doubled = 1_u32.checked_shl(self.standing.halvings().into()).unwrap_or(u32::MAX);
        own.saturating_mul(doubled)
    }
}

/// All flows of a capture, in the order of their first frames.
#[derive(Debug, Default)]
pub struct Reach {
    nodes: Nodes,
    pending: VecDeque<Going>,
    base: u64,
    index: Map<(SocketId, Host, Transport), u64>,
    flows: Vec<Flow>,
    cells: Set<Arc<Cell>>,
}

impl Reach {
    /// Nothing yet; clients are grouped by `nodes`.
    pub fn new(nodes: Nodes) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// From flows that were put back from tallies; clients are grouped by `nodes`.
    pub(super) fn from_flows(nodes: Nodes, flows: Vec<Going>) -> Self {
        let mut flows: Vec<Flow> = flows.into_iter().map(Flow::from).collect();
        flows.sort_by_key(|flow| (flow.first, *flow.cell, flow.last_sent, flow.reached));
        Self { nodes, flows, ..Self::default() }
    }

    /// The group of clients that `client` belongs to: its node, as far as that can be told.
    pub fn group(&self, client: IpAddr) -> Network {
        self.nodes.group(client)
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
        let outcome = transaction.outcome();
        let reached = match outcome {
            Outcome::Late => Reached::Late,
            Outcome::Rejected(_) => Reached::Rejected,
            Outcome::Timeout if !unproven => Reached::No,
            Outcome::Timeout | Outcome::Unknown => Reached::Unknown,
            _ => Reached::Yes,
        };
        // A repeat from the same port goes to another backend once conntrack has forgotten the
        // first: what went to each is a flow of its own, and only the last one was answered.
        let same = |one: &Attempt, next: &Attempt| one.backend() == next.backend();
        let mut legs = transaction.attempts.chunk_by(same).peekable();
        while let Some(attempts) = legs.next() {
            let Some(first) = attempts.first() else { continue };
            let last = legs.peek().is_none();
            let responder = if last {
                transaction.responder()
            } else {
                first.backend().unwrap_or(transaction.server.ip())
            };
            let start = first.sent();
            let sent = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
            let answered = u32::try_from(transaction.responses.len()).unwrap_or(u32::MAX);
            let (reached, unanswered) = match (last, reached) {
                (false, _) => (Reached::No, sent),
                (true, Reached::Unknown) => (Reached::Unknown, 0),
                (true, reached) => (reached, sent.saturating_sub(answered)),
            };
            let cell = Cell {
                client: transaction.client.ip(),
                server: transaction.server.ip(),
                responder,
                transport: transaction.transport,
            };
            let flow = Going {
                first: start,
                last_sent: attempts.last().map_or(start.ts, |attempt| attempt.sent().ts),
                cell: self.shared(cell),
                port: transaction.client.port(),
                reached,
                attempts: sent,
                unanswered,
                repeated: (u16::from(sent > 1), u16::from(sent > 1 && reached == Reached::Yes)),
                lost: transaction.responses.iter().find_map(|response| response.lost),
                icmp: transaction
                    .rejections
                    .first()
                    .map(|rejected| Box::new((rejected.kind, rejected.from))),
                weight: 1,
            };
            self.add(transaction.client, flow, coverage);
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
        let cell = Cell {
            client: connect.client.ip(),
            server: connect.server.ip(),
            responder: connect.responder(),
            transport: Transport::Tcp,
        };
        let cell = self.shared(cell);
        self.add(
            connect.client,
            Going {
                first: connect.first(),
                last_sent: connect.syns.last().map_or(connect.first().ts, |seen| seen.ts),
                cell,
                port: connect.client.port(),
                reached,
                attempts,
                unanswered: attempts.saturating_sub(u32::from(reached == Reached::Yes)),
                repeated: (0, 0),
                lost: None,
                icmp: None,
                weight: 1,
            },
            coverage,
        );
    }

    /// Closes what is open; the capture is over.
    pub fn finish(&mut self, coverage: &mut Coverage) {
        while !self.pending.is_empty() {
            self.settle_first(coverage);
        }
        // Lookups end in another order than their steps began.
        self.flows.sort_by(|one, other| {
            let rest = || (&one.cell, one.port).cmp(&(&other.cell, other.port));
            one.first.cmp(&other.first).then_with(rest)
        });
        let mut sockets: Map<(SocketId, IpAddr), Timestamp> = Map::default();
        for flow in &mut self.flows {
            forget_before_growth(&mut sockets, |_, last| flow.first.ts.since(*last) <= PINNED);
            let socket = SocketAddr::new(flow.cell.client, flow.port);
            let before = sockets.insert((socket.into(), flow.cell.responder), flow.last_sent);
            let fresh = before.is_none_or(|last| flow.first.ts.since(last) > PINNED);
            flow.standing.set_fresh(fresh);
        }
    }

    /// Every flow, in the order of first frames.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
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

    fn add(&mut self, client: SocketAddr, flow: Going, coverage: &mut Coverage) {
        while self
            .pending
            .front()
            .is_some_and(|first| flow.first.ts.since(first.first.ts) > timing::T_KEEP)
        {
            self.settle_first(coverage);
        }
        if self.pending.len() >= MAX_PENDING {
            coverage.limited(Limit::Flows);
            self.settle_first(coverage);
        }
        let key = (SocketId::from(client), Host(flow.cell.responder), flow.cell.transport);
        let serial = self.base + self.pending.len() as u64;
        let known = match self.index.entry(key) {
            Entry::Occupied(mut known) => {
                let at = known.get().checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
                let at = at.filter(|at| *at < self.pending.len());
                if at.is_none() {
                    known.insert(serial);
                }
                at
            }
            Entry::Vacant(new) => {
                new.insert(serial);
                None
            }
        };
        if let Some(pending) = known.and_then(|at| self.pending.get_mut(at)) {
            pending.last_sent = pending.last_sent.max(flow.last_sent);
            pending.reached = pending.reached.min(flow.reached);
            pending.attempts += flow.attempts;
            pending.unanswered += flow.unanswered;
            let (repeated, answered) = pending.repeated;
            pending.repeated = (
                repeated.saturating_add(flow.repeated.0),
                answered.saturating_add(flow.repeated.1),
            );
            pending.lost = pending.lost.or(flow.lost);
            pending.icmp = pending.icmp.take().or(flow.icmp);
            return;
        }
        self.pending.push_back(flow);
    }

    fn settle_first(&mut self, coverage: &mut Coverage) {
        let Some(flow) = self.pending.pop_front() else {
            return;
        };
        let key = (
            SocketId::from(SocketAddr::new(flow.cell.client, flow.port)),
            Host(flow.cell.responder),
            flow.cell.transport,
        );
        if let Entry::Occupied(place) = self.index.entry(key)
            && *place.get() == self.base
        {
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
        self.flows.push(Flow::from(flow));
    }

    /// Halves the number of answered flows; those that stay count twice as much.
    fn thin_out(&mut self) {
        let mut keep = false;
        self.flows.retain_mut(|flow| {
            if flow.reached != Reached::Yes {
                return true;
            }
            keep = !keep;
            flow.standing.halve();
            keep
        });
    }
}
