//! What is remembered of each client from one lookup to the next (rulebook section 3, classifier).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

use super::fingerprint::{Fingerprint, Signs};
use super::manner::{self, Habits};
use super::model::Lookup;
use super::profile::{Profile, Setup, Suffixes};
use super::resolver::{Resolver, Sign};
use super::wait::TIMER;
use crate::base::{Coverage, Few, Host, Limit, Map, Set};
use crate::transaction::{Transaction, timing};

/// Clients that are remembered; lookups of further ones are judged each by itself.
const MAX_CLIENTS: usize = 1 << 15;
/// Ports of a client that are watched for carrying several names.
const PORTS: usize = 4;
/// Different names from one port that no resolver with a port per lookup would send.
const NAMES: usize = 4;
/// Pairs of ids after which they say what a client is.
const PAIRS: u32 = 8;

/// What is remembered of every client.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    known: Map<Host, Client>,
    suffixes: Suffixes,
    /// Addresses that answered somebody.
    servers: Set<Host>,
    /// The last two of them, which most answers come from as well.
    latest: Option<[IpAddr; 2]>,
}

#[derive(Debug, Clone, Default)]
struct Client {
    setup: Setup,
    near: u32,
    far: u32,
    patience: Option<Duration>,
    ports: SmallVec<[(u16, SmallVec<[u64; NAMES]>); PORTS]>,
    one_port: Option<u16>,
    probes: bool,
    resolvers: Few<Resolver, Signs>,
}

impl Clients {
    /// Notes what one transaction shows, before it is grouped.
    pub(super) fn note(&mut self, transaction: &Transaction, coverage: &mut Coverage) {
        if transaction.answer().is_some() && self.servers.len() < MAX_CLIENTS {
            let latest = [transaction.responder(), transaction.server.ip()];
            if self.latest.replace(latest) != Some(latest) {
                self.servers.extend(latest.map(Host));
            }
        }
        let address = Host(transaction.client.ip());
        if self.known.len() >= MAX_CLIENTS && !self.known.contains_key(&address) {
            coverage.limited(Limit::Clients);
            return;
        }
        self.known.entry(address).or_default().port(transaction);
    }

    /// CoreDNS probes an upstream that fails with `. NS` (rulebook K9).
    pub(super) fn infrastructure(&mut self, transaction: &Transaction) {
        let known = self.known.get_mut(&Host(transaction.client.ip()));
        if let Some(known) = known.filter(|_| transaction.question.name.is_root()) {
            known.probes = true;
        }
    }

    /// What is known of the client behind a socket.
    pub(super) fn habits(&self, client: SocketAddr) -> Habits {
        let host = Host(client.ip());
        let forwarder = self.servers.contains(&host);
        let Some(known) = self.known.get(&host) else {
            return Habits { forwarder, ..Habits::default() };
        };
        let (near, far) = (known.near, known.far);
        Habits {
            forwarder,
            one_port: known.one_port == Some(client.port()),
            musl: match near + far {
                ..PAIRS => None,
                pairs if near * 10 >= pairs * 9 => Some(true),
                pairs if near * 20 <= pairs => Some(false),
                _ => None,
            },
            patience: known.patience.filter(|_| !forwarder),
        }
    }

    /// What the client mostly is, if that is probable.
    pub(super) fn usual(&self, client: IpAddr) -> Option<Resolver> {
        let known = self.known.get(&Host(client))?;
        if known.probes {
            return Some(Resolver::CoreDns);
        }
        Signs::usual(&known.resolvers)
    }

    /// Learns from a lookup that is over.
    pub(super) fn learn(&mut self, lookup: &Lookup, signs: &[Sign]) {
        let Some(known) = self.known.get_mut(&Host(lookup.client)) else {
            return;
        };
        let asked = || lookup.transactions().map(AsRef::as_ref);
        for (a, aaaa) in asked().zip(asked().skip(1)) {
            match manner::is_near(a, aaaa) {
                Some(true) => known.near = known.near.saturating_add(1),
                Some(false) => known.far = known.far.saturating_add(1),
                None => {}
            }
        }
        known.patience = asked().find_map(whole_seconds).or(known.patience);
        known.resolvers.or_insert_with(lookup.resolver, Signs::default).add(signs);
        known.setup.learn(lookup, &mut self.suffixes);
    }

    /// What is known of one client's configuration, and by which signs.
    pub(super) fn profile(&self, client: IpAddr) -> Option<Profile> {
        let known = self.known.get(&Host(client))?;
        let fingerprints = Fingerprint::of(&known.resolvers);
        Some(known.setup.profile(&self.suffixes, fingerprints, known.patience))
    }
}

impl Client {
    /// Watches for a port that several names come from.
    fn port(&mut self, transaction: &Transaction) {
        let port = transaction.client.port();
        let name = transaction.question.name.digest();
        if let Some((_, names)) = self.ports.iter_mut().find(|(known, _)| *known == port) {
            if !names.contains(&name) && names.len() < NAMES {
                names.push(name);
                if names.len() == NAMES {
                    self.one_port = Some(port);
                }
            }
            return;
        }
        if self.ports.len() == PORTS {
            self.ports.remove(0);
        }
        self.ports.push((port, SmallVec::from_slice(&[name])));
    }
}

/// The `timeout:` that a repeated datagram shows: stub resolvers count in whole seconds.
fn whole_seconds(asked: &Transaction) -> Option<Duration> {
    asked.attempts.windows(2).find_map(|pair| {
        let [a, b] = pair else { return None };
        let gap = b.sent().ts.since(a.sent().ts);
        let rounded = Duration::from_secs((gap + timing::EARLY).as_secs());
        (gap >= TIMER && timing::on_time(gap, rounded) && gap < rounded + timing::LATE)
            .then_some(rounded)
    })
}
