//! What of all that closes the rules get to see, and what is known of it beforehand.

use super::focus::{Focus, LeftOut};
use super::group::{Event, What};
use super::peers::Peers;
use crate::base::{Addresses, Coverage, Host, Set};
use crate::detect::Glance;
use crate::lookup::Lookup;
use crate::transaction::Closed;

/// Lets pass what is looked at, and knows who answers whom.
#[derive(Default)]
pub(super) struct Gate {
    focus: Focus,
    outside: LeftOut,
    peers: Peers,
    /// The addresses that answered somebody so far.
    servers: Set<Host>,
}

impl Gate {
    pub(super) fn new(focus: Focus) -> Self {
        let outside = LeftOut { focus: focus.words(), ..LeftOut::default() };
        Self { focus, outside, ..Self::default() }
    }

    /// What may be seen of what closed.
    pub(super) fn closed(&mut self, closed: Closed, coverage: &mut Coverage) -> Option<Event> {
        let held = self.focus.holds(&closed, &self.servers);
        match closed {
            Closed::Transaction(transaction) => {
                let (client, server) = (transaction.client.ip(), transaction.responder());
                let forwarded = self.servers.contains(&Host(client));
                let admitted = if held { self.peers.admit(client, server, coverage) } else { None };
                if (admitted.is_some() || !held) && transaction.answer().is_some() {
                    self.servers.insert(Host(server));
                }
                if !held {
                    self.outside.transactions += u64::from(!transaction.attempts.is_empty());
                    return None;
                }
                let glance =
                    admitted.map(|(client, responder)| Glance::at(&transaction, client, responder));
                Some(Event { what: What::Transaction(transaction, glance), forwarded })
            }
            Closed::Connect(connect) => {
                let client = connect.client.ip();
                let admitted =
                    held && self.peers.admit(client, connect.responder(), coverage).is_some();
                let forwarded = self.servers.contains(&Host(client));
                admitted.then_some(Event { what: What::Connect(connect), forwarded })
            }
        }
    }

    /// What may be seen of a lookup.
    pub(super) fn lookup(&mut self, lookup: Box<Lookup>) -> Option<Event> {
        if !self.focus.holds_lookup(&lookup, &self.servers) {
            self.outside.lookups += 1;
            return None;
        }
        let forwarded = self.servers.contains(&Host(lookup.client));
        let admitted = self.peers.has_client(lookup.client);
        Some(Event { what: What::Lookup { lookup, admitted }, forwarded })
    }

    /// What was left out, who answered, and the addresses that rules know by number.
    pub(super) fn into_parts(self) -> (LeftOut, Set<Host>, Addresses) {
        (self.outside, self.servers, self.peers.into_addresses())
    }
}
