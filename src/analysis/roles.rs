//! Where each capture point stands, by what it sees.
//!
//! A datagram leaves a host with a TTL that routers have not lowered yet, so a point that sees queries
//! with such a TTL is on the clients' node, and one that sees answers with it on the server's.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::base::words::{Text, text};
use crate::capture::PointId;
use crate::transaction::{Attempt, Hop, Transaction};

/// One in so many transactions answered on a node makes it one of DNS servers.
const SOME: u64 = 5;

/// Where a capture point stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointRole {
    /// On a node that clients run on.
    ClientNode,
    /// On a node that a DNS server runs on.
    DnsNode,
    /// Inside a pod.
    Pod,
    /// Where the cluster's servers ask others.
    Upstream,
    /// Between the two.
    Between,
    /// Nothing says.
    Unknown,
}

/// The word of the JSON contract.
impl fmt::Display for PointRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientNode => "client-node",
            Self::DnsNode => "dns-node",
            Self::Pod => "pod",
            Self::Upstream => "upstream",
            Self::Between => "between",
            Self::Unknown => "unknown",
        })
    }
}

impl PointRole {
    /// The same for people.
    pub fn words(self) -> Text {
        match self {
            Self::ClientNode => text!("on the clients' node"),
            Self::DnsNode => text!("on a DNS server's node"),
            Self::Pod => text!("inside a pod"),
            Self::Upstream => text!("at the upstream side"),
            Self::Between => text!("between clients and servers"),
            Self::Unknown => text!("somewhere"),
        }
    }
}

/// What was seen at each point; nothing is noted where there is one alone.
#[derive(Debug, Default)]
pub(super) struct Roles {
    points: Vec<Seen>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Transactions that clients began, and those that servers began for them.
    asked: u64,
    forwarded: u64,
    /// Of the first, whose queries were first seen here, and whose client is here,
    home: u64,
    clients_here: u64,
    /// and whose queries came here from elsewhere and no further.
    last: u64,
    /// Transactions of either kind whose server is here.
    servers_here: u64,
    upstreams_here: u64,
    /// A few, to tell one from several.
    clients: BTreeSet<IpAddr>,
    servers: BTreeSet<IpAddr>,
    interfaces: BTreeSet<Option<u32>>,
}

impl Roles {
    pub(super) fn new(points: usize) -> Self {
        Self { points: if points > 1 { vec![Seen::default(); points] } else { Vec::new() } }
    }

    /// Notes a transaction; `forwarded` says whether its client answers others.
    pub(super) fn note(&mut self, transaction: &Transaction, forwarded: bool) {
        if self.points.is_empty() {
            return;
        }
        let (home, responder) = (transaction.home(), transaction.responder());
        let first = transaction.attempts.first();
        let query = first.and_then(Attempt::home);
        let last = first.and_then(Attempt::last_hop);
        let answer = transaction.responses.first().and_then(|response| response.hops.first());
        let initial = |hop: Option<Hop>, point: PointId| {
            hop.is_some_and(|hop| hop.via.point == point && hop.via.is_at_its_host())
        };
        for (point, seen) in (0..).map(PointId).zip(&mut self.points) {
            let attempts = transaction.attempts.iter().flat_map(|attempt| &attempt.hops);
            let responses = transaction.responses.iter().flat_map(|response| &response.hops);
            let mut here =
                attempts.chain(responses).filter(|hop| hop.via.point == point).peekable();
            if here.peek().is_none() {
                continue;
            }
            for hop in here {
                few(&mut seen.interfaces, hop.via.interface);
            }
            if forwarded {
                seen.forwarded += 1;
                seen.upstreams_here += u64::from(initial(answer, point));
                continue;
            }
            seen.asked += 1;
            few(&mut seen.clients, transaction.client.ip());
            few(&mut seen.servers, responder);
            seen.home += u64::from(home == Some(point));
            seen.clients_here += u64::from(initial(query, point));
            let came = last.is_some_and(|hop| hop.via.point == point) && home != Some(point);
            seen.last += u64::from(came);
            seen.servers_here += u64::from(initial(answer, point));
        }
    }

    /// The role of each point; none where there is one alone.
    pub(super) fn finish(&self) -> Vec<PointRole> {
        self.points.iter().map(Seen::role).collect()
    }
}

fn few<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    if set.len() < 2 {
        set.insert(item);
    }
}

impl Seen {
    fn role(&self) -> PointRole {
        if self.asked + self.forwarded == 0 {
            return PointRole::Unknown;
        }
        let narrow = self.interfaces.len() == 1;
        let one_client = self.clients.len() == 1 && self.clients_here == self.asked;
        let one_server = self.servers.len() == 1 && self.servers_here * 2 > self.asked;
        if narrow && self.asked > 0 && (one_client || one_server) {
            return PointRole::Pod;
        }
        if self.servers_here > 0 && self.servers_here * SOME >= self.asked {
            return PointRole::DnsNode;
        }
        if self.clients_here * SOME >= self.asked && self.clients_here > 0 {
            return PointRole::ClientNode;
        }
        if self.asked * SOME < self.forwarded {
            return PointRole::Upstream;
        }
        if self.home * 2 > self.asked {
            PointRole::ClientNode
        } else if self.last * 2 > self.asked {
            PointRole::DnsNode
        } else {
            PointRole::Between
        }
    }
}
