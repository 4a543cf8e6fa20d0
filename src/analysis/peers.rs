//! Whom the rules get to see: the first so many clients and servers.
//!
//! Rules keep tallies by client and by server. A capture may name millions of either, one for every
//! datagram of a flood; whoever comes when there is no room is counted in the totals alone.

use std::net::IpAddr;

use crate::base::{AddressId, Addresses, Coverage, Limit, Rows};

/// Clients that rules tell apart: a large cluster has half as many pods.
const MAX_CLIENTS: usize = 1 << 15;
/// Servers that rules tell apart.
const MAX_SERVERS: usize = 1 << 14;

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

impl Peers {
    /// The numbers of `client` and of the `server` that it asked, if there is room for them.
    pub(super) fn admit(
        &mut self,
        client: IpAddr,
        server: IpAddr,
        coverage: &mut Coverage,
    ) -> Option<(AddressId, AddressId)> {
        let Some(client) = self.client(client) else {
            coverage.limited(Limit::Clients);
            return None;
        };
        let Some(server) = self.server(server) else {
            coverage.limited(Limit::Servers);
            return None;
        };
        Some((client, server))
    }

    /// Whether a client was admitted.
    pub(super) fn has_client(&self, client: IpAddr) -> bool {
        let roles = self.addresses.get(client).and_then(|id| self.roles.get(id));
        roles.is_some_and(|roles| roles.client)
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
        let (mut peers, mut coverage) = (Peers::default(), Coverage::default());
        let server: IpAddr = "10.96.0.10".parse().unwrap();
        let client = |n: u32| IpAddr::from(n.to_be_bytes());
        let most = u32::try_from(MAX_CLIENTS).unwrap();
        for n in 0..most {
            assert!(peers.admit(client(n), server, &mut coverage).is_some());
        }
        assert!(peers.admit(client(most), server, &mut coverage).is_none());
        assert!(peers.admit(client(7), server, &mut coverage).is_some());
        assert_eq!(coverage.limits[&Limit::Clients], 1);
    }
}
