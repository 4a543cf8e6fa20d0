//! Which addresses are translated to which: learned from datagrams seen on both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{Host, Map, Set};

/// How many service and backend pairs are learned. A cluster has a handful.
const MAX_PAIRS: usize = 4_096;
/// Answers of an address itself that show that it is no backend whose answers the capture shows
/// translated already.
const ENOUGH_OWN: u32 = 3;
/// One answer in so many that is its own shows it: a backend is hardly ever asked past its service.
const OWN_OF: u32 = 10;
/// So many answers of its own make those of others, if they are fewer, an exception.
const AS_A_RULE: u32 = 20;

/// The translations that the capture shows, service address to backends (rulebook 4.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nat {
    backends: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// The same pairs to be looked up: every second datagram shows one.
    known: Set<(Host, Host)>,
    services: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// Services that are only known by what comes back: the capture lies behind the translation.
    mirrored: BTreeSet<IpAddr>,
    /// Pairs that were seen the other way round as well, and how often more the way that they are known.
    disputed: BTreeMap<(IpAddr, IpAddr), u32>,
    /// How often an address that was asked answered by itself, and how often another one did.
    replies: Map<Host, (u32, u32)>,
}

impl Nat {
    /// Notes that a datagram to `service` went on to `backend`, and returns whether that is so as a rule:
    /// a node with several cores may record the two in the wrong order now and then.
    pub fn learn(&mut self, service: IpAddr, backend: IpAddr) -> bool {
        if self.translates(service, backend) {
            if let Some(more) = self.disputed.get_mut(&(service, backend)) {
                *more = more.saturating_add(1);
            }
            if self.mirrored.is_empty() {
                return true;
            }
        } else if self.translates(backend, service) {
            let more = self.disputed.entry((backend, service)).or_insert(1);
            // What was only concluded from replies gives way at once.
            if *more > 0 && !self.mirrored.contains(&backend) {
                *more -= 1;
                return false;
            }
            self.forget(backend, service);
            self.disputed.insert((service, backend), 1);
        }
        self.mirrored.remove(&service);
        self.insert(service, backend);
        true
    }

    /// Notes that the answer to what `asked` was asked came from `source`, where nothing on the way
    /// there shows a translation.
    ///
    /// Behind the translation, backends are asked and the service answers. Where the address that
    /// was asked answers as well, it is the service, and the other one a backend whose answer was not
    /// translated back.
    pub fn learn_from_reply(&mut self, source: IpAddr, asked: IpAddr) {
        if self.replies.len() >= MAX_PAIRS && !self.replies.contains_key(&Host(asked)) {
            return;
        }
        let (own, others) = self.replies.entry(Host(asked)).or_default();
        let count = if source == asked { &mut *own } else { &mut *others };
        *count = count.saturating_add(1);
        if *own >= ENOUGH_OWN && own.saturating_mul(OWN_OF) >= *others {
            self.forget_mirrored(asked);
        } else if source != asked && !self.is_service(asked) {
            if !self.is_service(source) {
                self.mirrored.insert(source);
            }
            self.insert(source, asked);
        }
    }

    /// Whether an address answers by itself as a rule, where no translation shows on the way to it.
    pub(super) fn answers_itself(&self, asked: IpAddr) -> bool {
        let tally = self.replies.get(&Host(asked));
        tally.is_some_and(|(own, others)| *own >= AS_A_RULE && own >= others)
    }

    /// It is no backend of services that are known by what came back alone.
    fn forget_mirrored(&mut self, backend: IpAddr) {
        let Some(services) = self.services.get(&backend) else { return };
        let wrong: Vec<IpAddr> = services.intersection(&self.mirrored).copied().collect();
        for service in wrong {
            self.forget(service, backend);
        }
    }

    /// These two are no pair.
    fn forget(&mut self, service: IpAddr, backend: IpAddr) {
        let Self { backends, services, known, mirrored, disputed, .. } = self;
        known.remove(&(Host(service), Host(backend)));
        disputed.remove(&(service, backend));
        // Returns whether nothing else is left.
        let part = |pairs: &mut BTreeMap<IpAddr, BTreeSet<IpAddr>>, one, other| {
            let none_left = pairs.get_mut(&one).is_none_or(|others| {
                others.remove(&other);
                others.is_empty()
            });
            if none_left {
                pairs.remove(&one);
            }
            none_left
        };
        part(services, backend, service);
        if part(backends, service, backend) {
            mirrored.remove(&service);
        }
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

    /// Whether two servers may stand behind one service: not those of which the capture shows that they stand
    /// behind different ones, in two clusters for example.
    pub fn may_be_replicas(&self, one: IpAddr, other: IpAddr) -> bool {
        let behind = |server: IpAddr| -> BTreeSet<IpAddr> {
            let own = self.is_service(server).then_some(server);
            self.services.get(&server).into_iter().flatten().copied().chain(own).collect()
        };
        let (one, other) = (behind(one), behind(other));
        one.is_empty() || other.is_empty() || !one.is_disjoint(&other)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_answers_for_others_is_a_service_until_they_answer_themselves() {
        let (service, backend) = (ip("10.96.0.10"), ip("10.244.1.10"));
        let mut nat = Nat::default();
        nat.learn_from_reply(service, backend);
        assert!(nat.translates(service, backend) && nat.is_mirrored(service));
        // Somebody asks the pod itself now and then.
        (0..40).for_each(|_| nat.learn_from_reply(service, backend));
        (0..3).for_each(|_| nat.learn_from_reply(backend, backend));
        assert!(nat.translates(service, backend));
    }

    #[test]
    fn the_direction_that_is_the_rule_is_known() {
        let (service, backend) = (ip("10.96.0.10"), ip("10.244.1.10"));
        let mut nat = Nat::default();
        // The very first datagram of a capture may stand in it the wrong way round.
        assert!(nat.learn(backend, service));
        (0..9).for_each(|_| {
            nat.learn(service, backend);
        });
        let is_right = |nat: &Nat| {
            nat.translates(service, backend) && !nat.is_service(backend) && !nat.is_backend(service)
        };
        assert!(is_right(&nat), "{nat:?}");
        (0..3).for_each(|_| assert!(!nat.learn(backend, service)));
        assert!(is_right(&nat), "{nat:?}");
    }

    #[test]
    fn backends_of_two_services_are_no_replicas() {
        let mut nat = Nat::default();
        for (service, backend) in [(1, 11), (1, 12), (2, 21)] {
            nat.learn(IpAddr::from([10, 96, 0, service]), IpAddr::from([10, 244, 0, backend]));
        }
        let replicas = |one: &str, other: &str| nat.may_be_replicas(ip(one), ip(other));
        assert!(replicas("10.244.0.11", "10.244.0.12") && replicas("10.244.0.11", "10.96.0.1"));
        assert!(!replicas("10.244.0.11", "10.244.0.21") && !replicas("10.96.0.2", "10.244.0.11"));
        // Of who is asked past any service, nothing is known.
        assert!(replicas("10.244.0.11", "192.0.2.53"));
    }

    #[test]
    fn an_answer_from_a_stranger_makes_no_service_of_it() {
        let (service, backend) = (ip("10.96.0.10"), ip("10.244.1.10"));
        let mut nat = Nat::default();
        nat.learn_from_reply(backend, service);
        (0..3).for_each(|_| nat.learn_from_reply(service, service));
        nat.learn_from_reply(backend, service);
        assert!(!nat.is_service(backend) && !nat.is_backend(service), "{nat:?}");
    }
}
