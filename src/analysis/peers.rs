//! Whom the rules get to see: the first so many clients and servers.
//!
//! Rules keep tallies by client and by server. A capture may name millions of either, one for every
//! datagram of a flood; whoever comes when there is no room is counted in the totals alone.

use std::net::IpAddr;

use crate::base::{Coverage, Limit, Set};

/// Clients that rules tell apart: a large cluster has half as many pods.
const MAX_CLIENTS: usize = 1 << 15;
/// Servers that rules tell apart.
const MAX_SERVERS: usize = 1 << 14;

/// The clients and servers seen so far.
#[derive(Debug, Default)]
pub(super) struct Peers {
    clients: Set<IpAddr>,
    servers: Set<IpAddr>,
}

impl Peers {
    /// Whether there is room for what `client` asked `server`.
    pub(super) fn admit(
        &mut self,
        client: IpAddr,
        server: IpAddr,
        coverage: &mut Coverage,
    ) -> bool {
        if !known(&mut self.clients, client, MAX_CLIENTS) {
            coverage.limited(Limit::Clients);
            return false;
        }
        let admitted = known(&mut self.servers, server, MAX_SERVERS);
        if !admitted {
            coverage.limited(Limit::Servers);
        }
        admitted
    }

    /// Whether a client was admitted.
    pub(super) fn has_client(&self, client: IpAddr) -> bool {
        self.clients.contains(&client)
    }
}

fn known(peers: &mut Set<IpAddr>, address: IpAddr, most: usize) -> bool {
    if peers.len() < most {
        peers.insert(address);
        return true;
    }
    peers.contains(&address)
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
            assert!(peers.admit(client(n), server, &mut coverage));
        }
        assert!(!peers.admit(client(most), server, &mut coverage));
        assert!(peers.admit(client(7), server, &mut coverage));
        assert_eq!(coverage.limits[&Limit::Clients], 1);
    }
}
