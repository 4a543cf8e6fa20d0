//! What was really sent and asked: copies and legs folded, tallied in bounded memory.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::health::{Loss, Sided, Watch};
use super::peers::Ends;
use crate::base::words::{Text, ToText, text};
use crate::base::{AddressId, Addresses, Coverage, Few, Histogram, Limit, Placed, Rows, Timestamp};
use crate::detect::Glance;
use crate::dns::Rcode;
use crate::incident::Population;
use crate::lookup::{Lookup, LookupOutcome, Resolver};
use crate::transaction::{ConnectOutcome, Nat, Outcome, TcpAttempt, Transaction};

/// A lookup that took this long was slow: the first common retry timers are 1 s
/// (rulebook `slow_any`).
const SLOW: Duration = Duration::from_secs(1);

/// What was really sent and asked.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Query datagrams sent.
    pub queries: u64,
    /// Responses sent.
    pub responses: u64,
    /// Questions from one socket with one id.
    pub transactions: u64,
    /// Transactions answered in time, whatever the answer.
    pub answered: u64,
    /// Transactions that nobody answered, or that ICMP rejected.
    pub unanswered: u64,
    /// Transactions answered too late.
    pub late: u64,
    /// Transactions that the capture cannot judge.
    pub unknown: u64,
    /// Repeated query datagrams of the same socket and id.
    pub retransmissions: u64,
    /// Responses whose query is not in the capture.
    pub unsolicited: u64,
    /// TCP connections that were tried, and of which it can be told whether anybody answered.
    pub connections: u64,
    /// Those of them that nobody answered.
    pub silent_connections: u64,
    /// Lookups.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Lookups that did not fail and took a second or more.
    pub slow_lookups: u64,
    /// Answers by their full response code.
    pub rcodes: BTreeMap<Rcode, u64>,
    /// NOERROR answers without a record of the type asked for (RFC 2308 section 2.2).
    pub nodata: u64,
    /// Truncated answers.
    pub truncated: u64,
    /// From first query to answer.
    pub latency: Histogram,
    /// Lookups, as the application felt them.
    pub lookup_times: Histogram,
    /// Lookups that succeeded without a stall: a fault's own waiting is no measure of the usual.
    pub healthy_times: Histogram,
    /// Every server, by address.
    pub servers: BTreeMap<IpAddr, ServerTally>,
    /// Every client, by address.
    pub clients: BTreeMap<IpAddr, ClientTally>,
    /// Of those that have a number; the rest is in the totals.
    live_servers: Rows<Option<Box<ServerTally>>>,
    live_clients: Rows<Option<Box<ClientTally>>>,
    /// What servers beyond those told apart did: with theirs, it makes the totals.
    other_servers: Tally,
}

/// What a server is to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// The address that clients ask, translated to another.
    Service,
    /// The address behind a service.
    Backend,
    /// Asked by a server on behalf of others.
    Upstream,
    /// Asked directly.
    #[default]
    Server,
}

impl ToText for Role {
    fn to_text(&self) -> Text {
        match self {
            Self::Service => text!("service"),
            Self::Backend => text!("backend"),
            Self::Upstream => text!("upstream"),
            Self::Server => text!("server"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// The figures of one server.
#[derive(Debug, Clone, Default)]
pub struct ServerTally {
    /// What it is.
    pub role: Role,
    /// The same figures as for the whole.
    pub tally: Tally,
}

/// The figures of one client.
#[derive(Debug, Clone, Default)]
pub struct ClientTally {
    /// The same figures as for the whole.
    pub tally: Tally,
    /// Lookups.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Lookups that did not fail and took a second or more.
    pub slow_lookups: u64,
    /// What asked, by the number of lookups that show it.
    pub resolvers: Few<Resolver, u64>,
}

/// Figures of one peer.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Transactions.
    pub questions: u64,
    /// Query datagrams.
    pub queries: u64,
    /// Transactions answered in time.
    pub answered: u64,
    /// Transactions that nobody answered.
    pub unanswered: u64,
    /// Transactions answered too late.
    pub late: u64,
    /// Answers by response code.
    pub rcodes: Few<Rcode, u64>,
    /// From first query to answer.
    pub latency: Histogram,
}

/// What one transaction adds to the figures of its peers.
#[derive(Debug, Clone, Copy)]
struct Share {
    queries: u64,
    answered: u64,
    unanswered: u64,
    late: u64,
    rcode: Option<Rcode>,
    latency: Option<Placed>,
}

impl Tally {
    fn add(&mut self, share: &Share) {
        let Share { queries, answered, unanswered, late, rcode, latency } = *share;
        self.questions += 1;
        self.queries += queries;
        self.answered += answered;
        self.unanswered += unanswered;
        self.late += late;
        if let Some(rcode) = rcode {
            *self.rcodes.or_insert_with(rcode, || 0) += 1;
        }
        if let Some(latency) = latency {
            self.latency.put(latency);
        }
    }
}

/// The rows that are there, in the order of addresses.
fn by_address<T>(rows: Rows<Option<Box<T>>>, addresses: &Addresses) -> BTreeMap<IpAddr, T> {
    let known = rows.into_known(addresses).filter_map(|(address, row)| Some((address, row?)));
    let mut known: Vec<(IpAddr, Box<T>)> = known.collect();
    // Before they are taken out of their boxes: a tree that is built sorts what it is built of.
    known.sort_unstable_by_key(|(address, _)| *address);
    known.into_iter().map(|(address, row)| (address, *row)).collect()
}

/// The latency of a transaction, where the clock can be trusted with it.
fn latency(transaction: &Transaction, glance: Option<&Glance>, watch: &Watch) -> Option<Duration> {
    let latency = glance.map_or_else(|| transaction.latency(), |glance| glance.latency)?;
    let sent = transaction.first().ts;
    (!watch.crosses(sent, sent.after(latency))).then_some(latency)
}

fn is_unanswered(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Timeout | Outcome::Rejected(_))
}

impl Traffic {
    pub(super) fn transaction(
        &mut self,
        transaction: &Transaction,
        (ends, glance): (Ends, Option<&Glance>),
        watch: &Watch,
        coverage: &mut Coverage,
    ) {
        let outcome = transaction.outcome();
        let attempts = transaction.attempts.len() as u64;
        self.responses += transaction.responses.len() as u64;
        if attempts == 0 {
            self.unsolicited += transaction.responses.len() as u64;
            return;
        }
        self.retransmissions += attempts - 1;
        self.transactions += 1;
        self.unknown += u64::from(outcome == Outcome::Unknown);
        self.truncated += u64::from(outcome == Outcome::Truncated);
        let rcode = transaction.answer().map(|answer| answer.rcode);
        let nodata = rcode == Some(Rcode::NOERROR) && outcome == Outcome::Negative;
        self.nodata += u64::from(nodata);
        let latency = latency(transaction, glance, watch).map(Placed::of);
        let share = Share {
            queries: attempts,
            answered: outcome.is_answered().into(),
            unanswered: is_unanswered(outcome).into(),
            late: (outcome == Outcome::Late).into(),
            rcode,
            latency,
        };
        if let Some(server) = ends.responder {
            self.live_servers.row(server).get_or_insert_default().tally.add(&share);
        } else {
            coverage.limited(Limit::Servers);
            self.other_servers.add(&share);
        }
        match ends.client {
            Some(client) => self.live_clients.row(client).get_or_insert_default().tally.add(&share),
            None => coverage.limited(Limit::Clients),
        }
    }

    /// Adds a connection attempt.
    pub(super) fn connect(&mut self, connect: &TcpAttempt) {
        let outcome = connect.outcome();
        self.connections += u64::from(outcome != ConnectOutcome::Unknown);
        self.silent_connections += u64::from(outcome == ConnectOutcome::Silent);
    }

    pub(super) fn lookup(
        &mut self,
        lookup: &Lookup,
        client: Option<AddressId>,
        watch: &Watch,
        coverage: &mut Coverage,
    ) {
        let failed = lookup.outcome.is_failure();
        let trusted = |end: &Timestamp| !watch.crosses(lookup.start.ts, *end);
        let duration = lookup.end.filter(trusted).and_then(|_| lookup.duration());
        let slow = !failed && duration.is_some_and(|duration| duration >= SLOW);
        self.lookups += 1;
        self.failed_lookups += u64::from(failed);
        self.slow_lookups += u64::from(slow);
        if let Some(duration) = duration {
            self.lookup_times.add(duration);
            if lookup.outcome == LookupOutcome::Ok && duration < SLOW {
                self.healthy_times.add(duration);
            }
        }
        let Some(client) = client else {
            coverage.limited(Limit::Clients);
            return;
        };
        let client = self.live_clients.row(client).get_or_insert_default();
        client.lookups += 1;
        client.failed_lookups += u64::from(failed);
        client.slow_lookups += u64::from(slow);
        *client.resolvers.or_insert_with(lookup.resolver, || 0) += 1;
    }

    /// Counts as unknown what a direction that was not captured, or frames that the capture lost,
    /// made look like timeouts.
    pub(super) fn excuse(&mut self, sided: &Sided, loss: Option<Loss>) {
        let lost = loss.map_or(0, |loss| loss.unretried);
        let excused = (sided.timeouts + lost).min(self.unanswered);
        self.unanswered -= excused;
        self.unknown += excused;
        for (address, server) in &mut self.servers {
            if sided.of_server(*address) {
                server.tally.unanswered = 0;
            }
        }
        for (address, client) in &mut self.clients {
            if sided.of_client(*address) {
                client.tally.unanswered = 0;
            }
        }
    }

    /// Sorts and sums up what was counted of these addresses, and says what each server is;
    /// `is_upstream` tells whether other servers asked an address.
    pub(super) fn finish(
        &mut self,
        addresses: &Addresses,
        nat: &Nat,
        is_upstream: impl Fn(IpAddr) -> bool,
    ) {
        self.servers = by_address(std::mem::take(&mut self.live_servers), addresses);
        self.clients = by_address(std::mem::take(&mut self.live_clients), addresses);
        let others = std::mem::take(&mut self.other_servers);
        for tally in self.servers.values().map(|server| &server.tally).chain([&others]) {
            self.queries += tally.queries;
            self.answered += tally.answered;
            self.unanswered += tally.unanswered;
            self.late += tally.late;
            self.latency.absorb(&tally.latency);
            for (rcode, times) in tally.rcodes.iter() {
                *self.rcodes.entry(*rcode).or_default() += times;
            }
        }
        let forwarded: Vec<IpAddr> = self
            .servers
            .keys()
            .copied()
            .filter(|server| self.clients.contains_key(server))
            .collect();
        for (address, server) in &mut self.servers {
            server.role = if nat.is_service(*address) {
                Role::Service
            } else if nat.is_backend(*address) || forwarded.contains(address) {
                Role::Backend
            } else if is_upstream(*address) {
                Role::Upstream
            } else {
                Role::Server
            };
        }
    }

    /// Who there was to be hurt.
    pub(super) fn population(&self) -> Population {
        let lookups = self
            .clients
            .iter()
            .filter(|(_, client)| client.lookups > 0)
            .map(|(address, client)| (*address, client.lookups))
            .collect();
        let usual = self.healthy_times.quantile(500).unwrap_or_default();
        Population { lookups, usual, span: None }
    }
}
