//! Which addresses are translated to which: learned from datagrams seen on both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{Host, Set};

/// How many service and backend pairs are learned. A cluster has a handful.
const MAX_PAIRS: usize = 4_096;

/// The translations that the capture shows, service address to backends (rulebook 4.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nat {
    backends: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// The same pairs to be looked up: every second datagram shows one.
    known: Set<(Host, Host)>,
    services: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// Services that are only known by what comes back: the capture lies behind the translation.
    mirrored: BTreeSet<IpAddr>,
}

impl Nat {
    /// Notes that a datagram to `service` went on to `backend`.
    pub fn learn(&mut self, service: IpAddr, backend: IpAddr) {
        if self.translates(service, backend) && self.mirrored.is_empty() {
            return;
        }
        self.mirrored.remove(&service);
        self.insert(service, backend);
    }

    /// Notes that `service` answered what `backend` was asked.
    pub fn learn_from_reply(&mut self, service: IpAddr, backend: IpAddr) {
        if !self.is_service(service) {
            self.mirrored.insert(service);
        }
        self.insert(service, backend);
    }

    /// Whether this service is known by its replies alone.
    pub fn is_mirrored(&self, service: IpAddr) -> bool {
        self.mirrored.contains(&service)
    }

    fn insert(&mut self, service: IpAddr, backend: IpAddr) {
        if self.known.len() < MAX_PAIRS && self.known.insert((Host(service), Host(backend))) {
            self.backends.entry(service).or_default().insert(backend);
            self.services.entry(backend).or_default().insert(service);
        }
    }

    /// Whether queries to this address are known to be translated.
    pub fn is_service(&self, address: IpAddr) -> bool {
        self.backends.contains_key(&address)
    }

    /// Whether `service` is known to be translated to `backend`.
    pub fn translates(&self, service: IpAddr, backend: IpAddr) -> bool {
        self.known.contains(&(Host(service), Host(backend)))
    }

    /// Whether both are the same address, or known to stand on the two sides of a translation.
    pub(super) fn relates(&self, one: IpAddr, other: IpAddr) -> bool {
        one == other || self.translates(one, other) || self.translates(other, one)
    }

    /// The only service that is translated to this backend, if there is just one.
    pub fn service_of(&self, backend: IpAddr) -> Option<IpAddr> {
        let services = self.services.get(&backend)?;
        services.first().copied().filter(|_| services.len() == 1)
    }

    /// Every service with its backends, in order of address.
    pub fn services(&self) -> impl Iterator<Item = (IpAddr, &BTreeSet<IpAddr>)> {
        self.backends.iter().map(|(service, backends)| (*service, backends))
    }

    /// Whether some service is known to be translated to this address.
    pub fn is_backend(&self, address: IpAddr) -> bool {
        self.services.contains_key(&address)
    }
}
