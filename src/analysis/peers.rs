//! Whom the rules get to see: the first so many clients and servers.
//!
//! Rules keep tallies by client and by server. A capture may name millions of either, one for every
//! datagram of a flood; whoever comes when there is no room is counted in the totals alone.

use std::net::IpAddr;

use crate::base::{AddressId, Addresses, Coverage, Limit, Rows};

/// Clients that rules tell apart: a large cluster has half as many pods.
const MAX_CLIENTS: usize = 1 << 15;
/// Servers that rules tell apart.
pub(super) const MAX_SERVERS: usize = 1 << 14;

/// The clients and servers seen so far, by number.
#[derive(Debug, Default)]
pub(super) struct Peers {
    addresses: Addresses,
    /// What each of them is.
    roles: Rows<Roles>,
    clients: usize,
    servers: usize,
}

/// What an address was seen as.
#[derive(Debug, Clone, Copy, Default)]
struct Roles {
    client: bool,
    server: bool,
}

/// The numbers of those at both ends of a route, as far as there is room for them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) client: Option<AddressId>,
    pub(super) responder: Option<AddressId>,
}

impl Ends {
    /// Both of them; counts whom there is no room for.
    #[inline]
    pub(super) fn both(self, coverage: &mut Coverage) -> Option<(AddressId, AddressId)> {
        match (self.client, self.responder) {
            (Some(client), Some(responder)) => return Some((client, responder)),
            (None, _) => coverage.limited(Limit::Clients),
            (Some(_), None) => coverage.limited(Limit::Servers),
        }
        None
    }
}

impl Peers {
    /// The numbers of a client and of the server that it asks. They never change: whoever comes when
    /// there is no room will find none later.
    pub(super) fn admit(&mut self, client: IpAddr, server: IpAddr) -> Ends {
        Ends { client: self.client(client), responder: self.server(server) }
    }

    /// The number of a client, if there is room for it, and whether it was admitted.
    pub(super) fn known(&mut self, client: IpAddr) -> (Option<AddressId>, bool) {
        let id = self.number(client, self.clients < MAX_CLIENTS);
        let roles = id.and_then(|id| self.roles.get(id));
        (id, roles.is_some_and(|roles| roles.client))
    }

    /// The addresses behind the numbers.
    pub(super) fn into_addresses(self) -> Addresses {
        self.addresses
    }

    fn client(&mut self, address: IpAddr) -> Option<AddressId> {
        let id = self.number(address, self.clients < MAX_CLIENTS)?;
        let known = &mut self.roles.row(id).client;
        if !*known && self.clients >= MAX_CLIENTS {
            return None;
        }
        self.clients += usize::from(!std::mem::replace(known, true));
        Some(id)
    }

    fn server(&mut self, address: IpAddr) -> Option<AddressId> {
        let id = self.number(address, self.servers < MAX_SERVERS)?;
        let known = &mut self.roles.row(id).server;
        if !*known && self.servers >= MAX_SERVERS {
            return None;
        }
        self.servers += usize::from(!std::mem::replace(known, true));
        Some(id)
    }

    fn number(&mut self, address: IpAddr, room: bool) -> Option<AddressId> {
        if room { Some(self.addresses.id(address)) } else { self.addresses.get(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_there_first_stays() {
        let mut peers = Peers::default();
        let server: IpAddr = "10.96.0.10".parse().unwrap();
        let client = |n: u32| IpAddr::from(n.to_be_bytes());
        let most = u32::try_from(MAX_CLIENTS).unwrap();
        for n in 0..most {
            assert!(peers.admit(client(n), server).client.is_some());
        }
        assert!(peers.admit(client(7), server).client.is_some());
        let ends = peers.admit(client(most), server);
        assert!(ends.client.is_none() && ends.responder.is_some());
        let mut coverage = Coverage::default();
        assert_eq!(ends.both(&mut coverage), None);
        assert_eq!(coverage.limits[&Limit::Clients], 1);
    }
}
