//! Which servers clients ask at the same time, as musl does with every nameserver of resolv.conf.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::lookup::{Lookup, Role};

/// Pairs of servers told apart.
const MAX_PAIRS: usize = 1_024;
/// Clients kept of each.
const MAX_CLIENTS: usize = 4_096;

/// Pairs of servers, the lesser address first, with the clients that ask both at once.
#[derive(Debug, Default)]
pub(super) struct AtOnce(BTreeMap<(IpAddr, IpAddr), BTreeSet<IpAddr>>);

impl AtOnce {
    /// Takes down whom `lookup` asked at once.
    pub(super) fn note(&mut self, lookup: &Lookup) {
        for step in lookup.steps.iter().filter(|step| step.role == Role::Parallel) {
            let Some(asked) = step.transaction() else { continue };
            let twins = lookup.transactions().filter(|other| {
                other.client == asked.client && other.id == asked.id && other.server != asked.server
            });
            for twin in twins {
                let pair = pair(twin.server.ip(), asked.server.ip());
                if self.0.len() < MAX_PAIRS || self.0.contains_key(&pair) {
                    let clients = self.0.entry(pair).or_default();
                    if clients.len() < MAX_CLIENTS {
                        clients.insert(lookup.client);
                    }
                }
            }
        }
    }

    /// Who asks these two at once.
    pub(super) fn clients(&self, one: IpAddr, other: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.0.get(&pair(one, other)).into_iter().flatten().copied()
    }
}

fn pair(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    (one.min(other), one.max(other))
}
