//! What of all that closes the rules get to see, and what is known of it beforehand.

use std::net::IpAddr;

use super::focus::{Focus, LeftOut};
use super::group::{Event, What};
use super::peers::{Ends, MAX_SERVERS, Peers};
use super::routes::{ByRoute, RouteId};
use crate::base::{Addresses, Coverage, Host, Set};
use crate::detect::{Glance, NameKinds};
use crate::lookup::Lookup;
use crate::transaction::Closed;

/// Lets pass what is looked at, and knows who answers whom.
#[derive(Default)]
pub(super) struct Gate {
    focus: Focus,
    outside: LeftOut,
    peers: Peers,
    routes: ByRoute<Known>,
    names: NameKinds,
    /// The addresses that answered somebody so far.
    servers: Set<Host>,
    /// The addresses that one of those asked: what they ask is asked for others as well, and where servers
    /// ask each other in a circle none of it is answered.
    asked: Set<Host>,
}

/// What is known of a route, so that nobody is looked up for every transaction.
#[derive(Default)]
struct Known {
    ends: Option<Ends>,
    /// Whether its responder is known to be a server.
    answers: bool,
    /// Whether its responder is known to be asked by one.
    asked: bool,
    /// Whether its client was one when there were so many of them.
    forwards: (usize, bool),
}

impl Known {
    /// Whether its client is among these servers, of which there are never fewer.
    fn forwards(&mut self, client: IpAddr, servers: [&Set<Host>; 2]) -> bool {
        let all = servers.iter().map(|some| some.len()).sum();
        if !self.forwards.1 && self.forwards.0 != all {
            self.forwards = (all, is_among(client, servers));
        }
        self.forwards.1
    }
}

fn is_among(client: IpAddr, servers: [&Set<Host>; 2]) -> bool {
    servers.iter().any(|some| some.contains(&Host(client)))
}

impl Gate {
    pub(super) fn new(focus: Focus) -> Self {
        let outside = LeftOut { focus: focus.words(), ..LeftOut::default() };
        Self { focus, outside, ..Self::default() }
    }

    /// What may be seen of what closed; with its route, if that has a number.
    pub(super) fn closed(
        &mut self,
        closed: Closed,
        route: Option<RouteId>,
        coverage: &mut Coverage,
    ) -> Option<Event> {
        let held = self.focus.holds(&closed, &self.servers);
        match closed {
            Closed::Transaction(transaction) if held => {
                let (client, server) = (transaction.client.ip(), transaction.responder());
                let mut apart = Known::default();
                let known = route.map_or(&mut apart, |route| self.routes.row(route));
                let forwarded = known.forwards(client, [&self.servers, &self.asked]);
                let peers = &mut self.peers;
                let ends = *known.ends.get_or_insert_with(|| peers.admit(client, server));
                let both = ends.both(coverage);
                if both.is_some() && !known.answers && transaction.answer().is_some() {
                    known.answers = true;
                    self.servers.insert(Host(server));
                }
                if both.is_some() && forwarded && !known.asked {
                    known.asked = true;
                    self.asked.insert(Host(server));
                }
                let glance = both.map(|ends| {
                    let name = self.names.of(&transaction.question.name);
                    Glance::at(&transaction, name, ends)
                });
                Some(Event {
                    what: What::Transaction { transaction, route, ends, glance },
                    forwarded,
                })
            }
            Closed::Transaction(transaction) => {
                if transaction.answer().is_some() && self.servers.len() < MAX_SERVERS {
                    self.servers.insert(Host(transaction.responder()));
                }
                self.outside.transactions += u64::from(!transaction.attempts.is_empty());
                None
            }
            Closed::Connect(connect) => {
                let client = connect.client.ip();
                let forwarded = is_among(client, [&self.servers, &self.asked]);
                let both = held.then(|| self.peers.admit(client, connect.responder()))?;
                both.both(coverage)?;
                Some(Event { what: What::Connect(connect), forwarded })
            }
        }
    }

    /// What may be seen of a lookup.
    pub(super) fn lookup(&mut self, lookup: Box<Lookup>) -> Option<Event> {
        if !self.focus.holds_lookup(&lookup, &self.servers) {
            self.outside.lookups += 1;
            return None;
        }
        let forwarded = is_among(lookup.client, [&self.servers, &self.asked]);
        let (client, admitted) = self.peers.known(lookup.client);
        Some(Event { what: What::Lookup { lookup, client, admitted }, forwarded })
    }

    /// What was left out, who answered, and the addresses that rules know by number.
    pub(super) fn into_parts(self) -> (LeftOut, Set<Host>, Addresses) {
        (self.outside, self.servers, self.peers.into_addresses())
    }
}
