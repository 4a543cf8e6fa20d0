//! What is remembered of each client from one lookup to the next (rulebook section 3, classifier).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

use super::fingerprint::{Fingerprint, Signs};
use super::in_vain::Runs;
use super::manner::{self, Habits};
use super::model::Lookup;
use super::profile::{Profile, Setup, Suffixes};
use super::resolver::{Resolver, Sign};
use super::wait::{self, TIMER};
use crate::base::{AddressId, Addresses, Coverage, Few, Host, Limit, Set, SocketId, Timestamp};
use crate::dns::AnswerKind;
use crate::transaction::{Outcome, Response, Transaction, timing};

/// Clients that are remembered; lookups of further ones are judged each by itself.
const MAX_CLIENTS: usize = 1 << 15;
/// Ports of a client that are watched for carrying several names.
const PORTS: usize = 4;
/// Different names from one port that no resolver with a port per lookup would send.
const NAMES: usize = 4;
/// Timeouts that are learned from questions that come again through another socket, in seconds: Go's,
/// where `timeout:` makes it shorter than usual.
const SECONDS: usize = 4;
/// How often one must be seen.
const AGREED: u8 = 3;
/// The same where the client had not looked that name up otherwise for some time.
const AGREED_ALONE: u8 = 2;
/// After so long its lookups have shown the usual timer, if that is what it has.
const TOLD: Duration = Duration::from_secs(11);
/// Later than that after a whole second it is chance.
const PUNCTUAL: Duration = Duration::from_millis(30);
/// Pairs of ids after which they say what a client is.
const PAIRS: u32 = 8;

/// What is remembered of every client.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    addresses: Addresses,
    /// By their numbers.
    known: Vec<Client>,
    suffixes: Suffixes,
    /// Addresses that answered somebody.
    servers: Set<Host>,
    /// The last two of them, which most answers come from as well.
    latest: Option<[IpAddr; 2]>,
    in_vain: InVain,
}

#[derive(Debug, Clone, Default)]
struct Client {
    setup: Setup,
    /// Whether it answered somebody itself.
    serves: bool,
    near: u32,
    far: u32,
    patience: Option<Duration>,
    musl_timeout: Option<Duration>,
    /// How often a question came again after so many whole seconds, through another socket.
    seconds: [Again; SECONDS],
    /// Since when.
    again_since: Option<Timestamp>,
    /// Whether one came again after the usual five seconds.
    usual_timer: bool,
    ports: SmallVec<[(u16, SmallVec<[u64; NAMES]>); PORTS]>,
    one_port: Option<u16>,
    heard: Heard,
    probes: bool,
    resolvers: Few<Resolver, Signs>,
}

/// Who asked in vain.
#[derive(Debug, Clone, Default)]
struct InVain {
    /// Servers that answered nobody.
    servers: Runs<Host>,
    /// Clients whom nobody answered.
    clients: Runs<Host>,
    /// Ports of clients that ask everything from there: netty asks each name server once.
    ports: Runs<SocketId>,
}

/// What came back to a client.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// Whether something did.
    anything: bool,
    /// The one port that all its questions come from, if something came back to that.
    port: Option<u16>,
}

/// How often a question came again after the same time.
#[derive(Debug, Clone, Copy, Default)]
struct Again {
    times: u8,
    /// Of them, those for a name that the client had not looked up otherwise for some time.
    alone: u8,
}

impl Clients {
    /// Notes what one transaction shows, before it is grouped. Returns the number of its client, if
    /// that is remembered.
    pub(super) fn note(
        &mut self,
        transaction: &Transaction,
        coverage: &mut Coverage,
    ) -> Option<AddressId> {
        if transaction.answer().is_some() && self.servers.len() < MAX_CLIENTS {
            let latest = [transaction.responder(), transaction.server.ip()];
            if self.latest.replace(latest) != Some(latest) {
                for server in latest {
                    self.serves(server);
                }
            }
        }
        let address = transaction.client.ip();
        let id = self.addresses.get(address).or_else(|| {
            let room = self.addresses.len() < MAX_CLIENTS;
            if !room {
                coverage.limited(Limit::Clients);
            }
            room.then(|| {
                let serves = self.servers.contains(&Host(address));
                self.known.push(Client { serves, ..Client::default() });
                self.addresses.id(address)
            })
        })?;
        self.known.get_mut(id.place())?.port(transaction);
        self.weigh(id, transaction);
        Some(id)
    }

    /// Notes whether anything came back for it.
    fn weigh(&mut self, id: AddressId, transaction: &Transaction) {
        let Some(known) = self.known.get_mut(id.place()) else { return };
        let (client, responder) = (Host(transaction.client.ip()), || Host(transaction.responder()));
        let port = || SocketId::from(transaction.client);
        let one_port = known.one_port == Some(transaction.client.port());
        if !transaction.responses.is_empty() {
            known.heard.anything = true;
            if one_port {
                known.heard.port = known.one_port;
            }
            self.in_vain.servers.heard(responder);
            self.in_vain.clients.heard(|| client);
            self.in_vain.ports.heard(port);
        } else if transaction.outcome() == Outcome::Timeout {
            let at = transaction.first().ts;
            // Of what never answered the capture may show one direction only.
            if self.servers.contains(&responder()) {
                self.in_vain.servers.unheard(responder(), at);
            }
            if known.heard.anything {
                self.in_vain.clients.unheard(client, at);
            }
            if one_port && known.heard.port == known.one_port {
                self.in_vain.ports.unheard(port(), at);
            }
        }
    }

    /// Notes that the client behind `transaction` went on to it as if the one before had been answered.
    pub(super) fn went_on(&mut self, transaction: &Transaction, at: Timestamp) {
        self.in_vain.servers.doubt(Host(transaction.responder()), at);
        self.in_vain.clients.doubt(Host(transaction.client.ip()), at);
        self.in_vain.ports.doubt(transaction.client.into(), at);
    }

    /// Whether the answer to a question is missing in a row of so many that the capture did not miss it.
    pub(super) fn asked_in_vain(&self, asked: &Transaction) -> bool {
        let at = asked.first().ts;
        self.in_vain.servers.holds(Host(asked.responder()), at)
            || self.in_vain.clients.holds(Host(asked.client.ip()), at)
            || self.in_vain.ports.holds(asked.client.into(), at)
    }

    /// Notes that `server` answered somebody.
    fn serves(&mut self, server: IpAddr) {
        let new = self.servers.insert(Host(server));
        let id = self.addresses.get(server).filter(|_| new);
        if let Some(known) = id.and_then(|id| self.known.get_mut(id.place())) {
            known.serves = true;
        }
    }

    /// CoreDNS probes an upstream that fails with `. NS` (rulebook K9).
    pub(super) fn infrastructure(&mut self, transaction: &Transaction) {
        if !transaction.question.name.is_root() {
            return;
        }
        let id = self.addresses.get(transaction.client.ip());
        if let Some(known) = id.and_then(|id| self.known.get_mut(id.place())) {
            known.probes = true;
        }
    }

    fn get(&self, id: Option<AddressId>) -> Option<&Client> {
        self.known.get(id?.place())
    }

    /// What is known of the client behind a socket, which has this number if it is remembered.
    pub(super) fn habits(&self, id: Option<AddressId>, client: SocketAddr) -> Habits {
        let Some(known) = self.get(id) else {
            let forwarder = self.servers.contains(&Host(client.ip()));
            return Habits { forwarder, ..Habits::default() };
        };
        let (near, far, forwarder) = (known.near, known.far, known.serves);
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
            musl_timeout: known.musl_timeout,
        }
    }

    /// What the client mostly is, if that is probable.
    pub(super) fn usual(&self, id: Option<AddressId>) -> Option<Resolver> {
        let known = self.get(id)?;
        if known.probes {
            return Some(Resolver::CoreDns);
        }
        Signs::usual(&known.resolvers)
    }

    /// Notes that a client asked again at `sent`, through another socket and with a new id, what had not
    /// been answered for so long; `alone` says that it had not looked that name up otherwise for some time.
    /// Returns whether its resolver's timer made it do so.
    ///
    /// An application that polls does that as well; but then it did so before, and its resolver asks again
    /// for each after the usual time.
    pub(super) fn asked_again(
        &mut self,
        id: AddressId,
        gap: Duration,
        sent: Timestamp,
        alone: bool,
    ) -> bool {
        let Some(known) = self.known.get_mut(id.place()) else { return false };
        let Some(rounded) = in_seconds(gap, PUNCTUAL) else { return false };
        let place = usize::try_from(rounded.as_secs()).ok().and_then(|at| at.checked_sub(1));
        let Some(seen) = place.and_then(|at| known.seconds.get_mut(at)) else { return false };
        if known.patience.is_some() || known.usual_timer {
            return known.patience == Some(rounded);
        }
        seen.times = seen.times.saturating_add(1);
        seen.alone = seen.alone.saturating_add(u8::from(alone));
        let first = *known.again_since.get_or_insert(sent);
        if seen.alone >= AGREED_ALONE || (seen.times >= AGREED && sent.is_past(first, TOLD)) {
            known.patience = Some(rounded);
        }
        alone || known.patience.is_some()
    }

    /// Learns from a lookup that is over.
    pub(super) fn learn(&mut self, id: Option<AddressId>, lookup: &Lookup, signs: &[Sign]) {
        let Some(known) = id.and_then(|id| self.known.get_mut(id.place())) else {
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
        if matches!(lookup.resolver, Resolver::Musl | Resolver::Busybox) {
            // What is answered in the end shows fewer rounds than there are.
            let is_error = |response: &Response| matches!(response.kind, AnswerKind::Error(_));
            let failed = asked().filter(|asked| asked.responses.iter().all(is_error));
            known.musl_timeout = failed.filter_map(wait::musl_shown).max().or(known.musl_timeout);
        } else {
            known.patience = asked().find_map(whole_seconds).or(known.patience);
        }
        let usual = |sign: &Sign| matches!(sign, Sign::NewId(tenths) if (50..=52).contains(tenths));
        known.usual_timer |= signs.iter().any(usual);
        known.resolvers.or_insert_with(lookup.resolver, Signs::default).add(signs);
        known.setup.learn(lookup, &mut self.suffixes);
    }

    /// What is known of one client's configuration, and by which signs.
    pub(super) fn profile(&self, client: IpAddr) -> Option<Profile> {
        let known = self.get(self.addresses.get(client))?;
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
        in_seconds(gap, timing::LATE).filter(|_| gap >= TIMER)
    })
}

/// The whole seconds that a timer counted which fired so much late at most.
fn in_seconds(gap: Duration, late: Duration) -> Option<Duration> {
    let rounded = Duration::from_secs((gap + timing::EARLY).as_secs());
    (gap <= rounded + late).then_some(rounded)
}
