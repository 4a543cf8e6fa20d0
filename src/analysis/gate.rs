//! What of all that closes the rules get to see, and what is known of it beforehand.

use std::net::IpAddr;

use super::focus::{Focus, LeftOut};
use super::peers::Peers;
use crate::base::{Coverage, Set};
use crate::detect::Glance;
use crate::lookup::Lookup;
use crate::transaction::{Closed, TcpAttempt, Transaction};

/// Something that closed, in the order in which it did.
pub(super) enum Event<'a> {
    /// A transaction.
    Transaction {
        transaction: &'a Transaction,
        /// Whether a DNS server asked on its clients' behalf.
        forwarded: bool,
        /// Set where its client and server are such as rules tell apart.
        glance: Option<Glance>,
    },
    /// A connection attempt of a client and a server that rules tell apart.
    Connect { connect: &'a TcpAttempt, forwarded: bool },
    /// A lookup, behind its last transaction.
    Lookup {
        lookup: &'a Lookup,
        /// Whether a DNS server asked on its clients' behalf: it is nobody's own lookup then.
        forwarded: bool,
        /// Whether its client is one that rules tell apart.
        admitted: bool,
    },
}

/// Lets pass what is looked at, and knows who answers whom.
#[derive(Default)]
pub(super) struct Gate {
    focus: Focus,
    outside: LeftOut,
    peers: Peers,
    /// The addresses that answered somebody so far.
    servers: Set<IpAddr>,
}

impl Gate {
    pub(super) fn new(focus: Focus) -> Self {
        let outside = LeftOut { focus: focus.words(), ..LeftOut::default() };
        Self { focus, outside, ..Self::default() }
    }

    /// What is to be seen of something that closed.
    pub(super) fn closed<'a>(
        &mut self,
        closed: &'a Closed,
        coverage: &mut Coverage,
    ) -> Option<Event<'a>> {
        let held = self.focus.holds(closed, &self.servers);
        match closed {
            Closed::Transaction(transaction) => {
                let (client, server) = (transaction.client.ip(), transaction.responder());
                let forwarded = self.servers.contains(&client);
                let admitted = held && self.peers.admit(client, server, coverage);
                if (admitted || !held) && transaction.answer().is_some() {
                    self.servers.insert(server);
                }
                if !held {
                    self.outside.transactions += u64::from(!transaction.attempts.is_empty());
                    return None;
                }
                let glance = admitted.then(|| Glance::at(transaction));
                Some(Event::Transaction { transaction, forwarded, glance })
            }
            Closed::Connect(connect) => {
                let client = connect.client.ip();
                let admitted = held && self.peers.admit(client, connect.responder(), coverage);
                let forwarded = self.servers.contains(&client);
                admitted.then_some(Event::Connect { connect, forwarded })
            }
        }
    }

    /// What is to be seen of a lookup.
    pub(super) fn lookup<'a>(&mut self, lookup: &'a Lookup) -> Option<Event<'a>> {
        if !self.focus.holds_lookup(lookup, &self.servers) {
            self.outside.lookups += 1;
            return None;
        }
        let forwarded = self.servers.contains(&lookup.client);
        let admitted = self.peers.has_client(lookup.client);
        Some(Event::Lookup { lookup, forwarded, admitted })
    }

    /// What was left out, and who answered.
    pub(super) fn into_parts(self) -> (LeftOut, Set<IpAddr>) {
        (self.outside, self.servers)
    }
}
