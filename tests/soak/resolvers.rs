//! Clients, each asking as its resolver does (rulebook sections 3 and 10).

use crate::network::{Network, View};

/// A kind of resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Both types from one port; 5 s; then one after the other.
    Glibc,
    /// Both types from one port; 2.5 s; only what is missing.
    Musl,
    /// A port for each type and attempt; 5 s.
    Go,
    /// As many types as asked, same id from a new port after 2 to 3 s.
    Cares,
    /// One type; 1, 2, 4 s; same id from a new port.
    Jndi,
    /// One type after the other, FQDNs; 5 s, same id from a new port.
    Dig,
}

/// One pod.
pub(crate) struct Client {
    address: String,
    family: Family,
    suffixes: Vec<&'static str>,
    names: Vec<&'static str>,
}

const APPS: [&[&str]; 4] = [
    &["redis", "orders", "api.example.com"],
    &["ledger", "legacy.partner.example.org", "mail.infra"],
    &["redis.infra.svc.cluster.local", "www.example.net", "orders"],
    &["api.example.com", "cdn.legacy.example.org", "ledger.shop"],
];

impl Family {
    /// The resolver of the nth pod: most are glibc and musl, as in most clusters.
    pub(crate) fn of(number: u8) -> Self {
        match number % 9 {
            0..=2 => Self::Glibc,
            3 | 4 => Self::Musl,
            5 => Self::Go,
            6 => Self::Cares,
            7 => Self::Jndi,
            _ => Self::Dig,
        }
    }
}

impl Client {
    /// The nth pod; on the backend's node pods of several nodes are seen.
    pub(crate) fn new(number: u8, family: Family, view: View) -> Self {
        let node = if view == View::BackendNode { 5 + number % 4 } else { 5 };
        let mut suffixes = vec!["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        if number.is_multiple_of(2) {
            suffixes.push("eu-1.compute.internal");
        }
        let names = APPS[usize::from(number) % APPS.len()].to_vec();
        Self { address: format!("10.244.{node}.{}", 20 + number), family, suffixes, names }
    }

    /// A few lookups one after the other; when the last is done.
    pub(crate) fn visit(&mut self, network: &mut Network, mut at: f64) -> f64 {
        let names = self.names.clone();
        for name in names {
            if network.random.chance(0.7) {
                at = self.lookup(network, at, name) + network.random.between(0.002, 0.8);
            }
        }
        if network.random.chance(0.05) {
            let socket = network.socket(&self.address);
            let id = network.id();
            network.ask(at, &socket, id, "PTR 17.9.244.10.in-addr.arpa.");
        }
        at
    }

    fn lookup(&self, network: &mut Network, at: f64, name: &str) -> f64 {
        let mut at = at;
        for candidate in self.candidates(name) {
            let (done, timed_out) = match self.family {
                Family::Glibc => self.glibc(network, at, &candidate),
                Family::Musl => self.musl(network, at, &candidate),
                Family::Go => self.go(network, at, &candidate),
                Family::Cares => self.cares(network, at, &candidate),
                Family::Jndi => {
                    self.single(network, at, &format!("A {candidate}"), &[1.0, 2.0, 4.0, 8.0])
                }
                Family::Dig => {
                    let waits = [5.0, 5.0, 5.0];
                    let (done, lost) =
                        self.single(network, at, &format!("A {candidate} ad edns 1232"), &waits);
                    if lost {
                        (done, lost)
                    } else {
                        self.single(
                            network,
                            done + 0.001,
                            &format!("AAAA {candidate} ad edns 1232"),
                            &waits,
                        )
                    }
                }
            };
            at = done + network.random.between(0.000_05, 0.000_3);
            if timed_out || is_answer(&candidate) {
                return at;
            }
        }
        at
    }

    /// The names that a resolver tries, in order, as fully qualified ones.
    fn candidates(&self, name: &str) -> Vec<String> {
        let whole = format!("{name}.");
        let searches = self.family != Family::Dig && name.matches('.').count() < 5;
        if !searches {
            let fits = name.contains(".svc.") || name.contains("example");
            return vec![if fits { whole } else { format!("{name}.shop.svc.cluster.local.") }];
        }
        let suffixed = self.suffixes.iter().map(|suffix| format!("{name}.{suffix}."));
        suffixed.chain([whole]).collect()
    }

    fn glibc(&self, network: &mut Network, at: f64, name: &str) -> (f64, bool) {
        let (a, aaaa) = (format!("A {name}"), format!("AAAA {name}"));
        let socket = network.socket(&self.address);
        let (id_a, id_b) = (network.id(), network.id());
        let gap = network.random.between(0.000_01, 0.000_05);
        let first = network.ask(at, &socket, id_a, &a);
        let second = network.ask(at + gap, &socket, id_b, &aaaa);
        if let (Some(first), Some(second)) = (first, second) {
            return (first.max(second), false);
        }
        let again = at + 5.0 + network.random.between(0.001, 0.005);
        let one = network.ask(again, &socket, id_a, &a);
        if first.is_none() && second.is_none() {
            let other = network.ask(again + gap, &socket, id_b, &aaaa);
            let Some(done) = one.zip(other) else { return (again + 5.0, true) };
            return (done.0.max(done.1), false);
        }
        // One came: now they are asked one after the other.
        let Some(one) = one else { return (again + 5.0, true) };
        let Some(other) = network.ask(one + 0.000_2, &socket, id_b, &aaaa) else {
            return (one + 5.0, true);
        };
        (other, false)
    }

    fn musl(&self, network: &mut Network, at: f64, name: &str) -> (f64, bool) {
        let socket = network.socket(&self.address);
        let id = network.id();
        let (id_a, id_b) = (id, id.wrapping_add(180 + network.random.below(80)));
        let (a, aaaa) = (format!("A {name}"), format!("AAAA {name}"));
        let mut one = network.ask(at, &socket, id_a, &a);
        let mut other = network.ask(at + 0.000_02, &socket, id_b, &aaaa);
        let again = at + 2.5 + network.random.between(0.001, 0.004);
        if one.is_none() {
            one = network.ask(again, &socket, id_a, &a);
        }
        if other.is_none() {
            other = network.ask(again + 0.000_02, &socket, id_b, &aaaa);
        }
        match one.zip(other) {
            Some((one, other)) => (one.max(other), false),
            None => (at + 5.004, true),
        }
    }

    fn go(&self, network: &mut Network, at: f64, name: &str) -> (f64, bool) {
        let gap = network.random.between(0.000_02, 0.000_4);
        let mut end = (at, false);
        for (rtype, begin) in [("A", at), ("AAAA", at + gap)] {
            let question = format!("{rtype} {name} edns 1232");
            let mut begin = begin;
            for attempt in 0..2 {
                let (socket, id) = (network.socket(&self.address), network.id());
                if let Some(done) = network.ask(begin, &socket, id, &question) {
                    end.0 = end.0.max(done);
                    break;
                }
                begin += 5.001;
                end = (begin, end.1 || attempt == 1);
            }
        }
        end
    }

    fn cares(&self, network: &mut Network, at: f64, name: &str) -> (f64, bool) {
        let shared = network.socket(&self.address);
        let mut end = (at, false);
        for (rtype, gap) in [("A", 0.0), ("AAAA", 0.000_03)] {
            let (question, id) = (format!("{rtype} {name}"), network.id());
            let mut begin = at + gap;
            let mut socket = shared.clone();
            for wait in [2.0, 4.0, 8.0] {
                if let Some(done) = network.ask(begin, &socket, id, &question) {
                    end.0 = end.0.max(done);
                    break;
                }
                begin += wait * network.random.between(1.0, 1.5);
                socket = network.socket(&self.address);
                end.0 = begin;
            }
        }
        end
    }

    /// One question, again with the same id from a new port after each of `waits`.
    fn single(&self, network: &mut Network, at: f64, question: &str, waits: &[f64]) -> (f64, bool) {
        let id = network.id();
        let mut at = at;
        for wait in waits {
            let socket = network.socket(&self.address);
            if let Some(done) = network.ask(at, &socket, id, question) {
                return (done, false);
            }
            at += wait + network.random.between(0.001, 0.006);
        }
        (at, true)
    }
}

/// Whether a candidate exists, so that the search ends there.
fn is_answer(candidate: &str) -> bool {
    let exists = |name: &str| {
        !name.ends_with(".cluster.local.") && !name.ends_with(".internal.")
            || crate::network::is_service(name)
    };
    exists(candidate)
}
