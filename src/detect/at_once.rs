//! Which servers clients ask at the same time, as musl does with every nameserver of resolv.conf.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::lookup::{Lookup, Role};

/// Pairs of servers kept, each once for every client that asks both.
const MAX_PAIRS: usize = 16_384;

/// Pairs of servers, the lesser address first, and a client that asks both at once.
#[derive(Debug, Default)]
pub(super) struct AtOnce(BTreeSet<([IpAddr; 2], IpAddr)>);

impl AtOnce {
    /// Takes down whom `lookup` asked at once.
    pub(super) fn note(&mut self, lookup: &Lookup) {
        for step in lookup.steps.iter().filter(|step| step.role == Role::Parallel) {
            let Some(asked) = step.transaction() else { continue };
            let twins = lookup.transactions().filter(|other| {
                other.client == asked.client && other.id == asked.id && other.server != asked.server
            });
            for twin in twins {
                if self.0.len() >= MAX_PAIRS {
                    return;
                }
                self.0.insert((pair(twin.server.ip(), asked.server.ip()), lookup.client));
            }
        }
    }

    /// Who asks these two at once.
    pub(super) fn clients(&self, one: IpAddr, other: IpAddr) -> impl Iterator<Item = IpAddr> {
        let pair = pair(one, other);
        // The least of all addresses.
        let from = (pair, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let from = self.0.range(from..);
        from.take_while(move |(known, _)| *known == pair).map(|(_, client)| *client)
    }
}

fn pair(one: IpAddr, other: IpAddr) -> [IpAddr; 2] {
    [one.min(other), one.max(other)]
}
