//! What a client's lookups show of its configuration: search list, `ndots`, name servers, timeout
//! (rulebook 5.1 and 5.2), with the fingerprints of what asks.

use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::clients::Clients;
use super::fingerprint::Fingerprint;
use super::model::Lookup;
use crate::base::Map;
use crate::dns::Name;

/// Different suffixes of all clients that are told apart: a namespace has one of its own.
const MAX_SUFFIXES: usize = 4_096;
/// Suffixes of one list; resolvers take six, newer ones more.
const MAX_LIST: usize = 8;
/// Lookups that agree on a list before it is no longer looked at.
const ENOUGH: u32 = 32;
/// Name servers of one client; resolvers take three.
const MAX_SERVERS: usize = 4;

/// What is known of one client's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What asks; several programs may share one address.
    pub fingerprints: Vec<Fingerprint>,
    /// The suffixes of its search list, in the order in which they are tried, as far as they are
    /// seen: a lookup that finds its name does not show the rest.
    pub search: Vec<Name>,
    /// How many lookups show it, less those that contradict it; counting stops at 32.
    pub search_lookups: u32,
    /// `ndots` is at least this: names with one dot less were tried with suffixes first.
    pub ndots_at_least: Option<usize>,
    /// `ndots` is at most this: names with as many dots were tried as they are first.
    pub ndots_at_most: Option<usize>,
    /// The addresses that it asks, in the order in which they first were.
    pub nameservers: Vec<IpAddr>,
    /// How long it waits before it asks the same server again, in whole seconds.
    pub timeout: Option<Duration>,
}

/// The profiles of all clients, put together when they are asked for.
#[derive(Debug, Clone, Default)]
pub struct Profiles(Clients);

impl Profiles {
    pub(super) fn of_clients(clients: Clients) -> Self {
        Self(clients)
    }

    /// The profile of one client.
    pub fn of(&self, client: IpAddr) -> Option<Profile> {
        self.0.profile(client)
    }
}

/// Suffixes by number, shared by all clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Suffixes {
    names: Vec<Name>,
    numbers: Map<Name, u16>,
}

impl Suffixes {
    /// The number of a suffix; `None` once there are too many.
    fn number(&mut self, suffix: Name) -> Option<u16> {
        if let Some(number) = self.numbers.get(&suffix) {
            return Some(*number);
        }
        if self.names.len() >= MAX_SUFFIXES {
            return None;
        }
        let number = u16::try_from(self.names.len()).ok()?;
        self.names.push(suffix.clone());
        self.numbers.insert(suffix, number);
        Some(number)
    }

    fn get(&self, number: u16) -> Option<&Name> {
        self.names.get(usize::from(number))
    }
}

/// What is kept of one client.
#[derive(Debug, Clone, Default)]
pub(super) struct Setup {
    search: SmallVec<[u16; 4]>,
    /// Lookups that agree with `search`, less those that do not.
    agreed: u32,
    searched_dots: Option<u8>,
    as_is_dots: Option<u8>,
    servers: SmallVec<[IpAddr; 2]>,
}

impl Setup {
    /// Learns from a lookup that is over.
    pub(super) fn learn(&mut self, lookup: &Lookup, suffixes: &mut Suffixes) {
        for asked in lookup.transactions() {
            let server = asked.server.ip();
            if self.servers.len() < MAX_SERVERS && !self.servers.contains(&server) {
                self.servers.push(server);
            }
        }
        if lookup.suffixes_tried == 0 {
            return;
        }
        let dots = u8::try_from(lookup.name.dots()).unwrap_or(u8::MAX);
        let first = lookup.transactions().next();
        if first.is_some_and(|first| first.question.name == lookup.name) {
            self.as_is_dots = Some(self.as_is_dots.map_or(dots, |known| known.min(dots)));
        } else {
            self.searched_dots = Some(self.searched_dots.map_or(dots, |known| known.max(dots)));
        }
        if self.agreed < ENOUGH {
            self.list(lookup, suffixes);
        }
    }

    /// Holds the suffixes of a lookup against the list, which they confirm, make longer, or
    /// contradict.
    fn list(&mut self, lookup: &Lookup, suffixes: &mut Suffixes) {
        let base = lookup.name.label_count();
        let mut round = None;
        let tried: SmallVec<[&Name; 6]> = lookup
            .steps
            .iter()
            .filter_map(|step| Some((step.round, step.transaction()?)))
            .filter(|(of, asked)| {
                round.replace(*of) != Some(*of) && asked.question.name != lookup.name
            })
            .map(|(_, asked)| &asked.question.name)
            .take(MAX_LIST)
            .collect();
        let same = |(number, name): (&u16, &&Name)| {
            suffixes.get(*number).is_some_and(|suffix| {
                name.label_count() == base + suffix.label_count() && name.is_under(suffix)
            })
        };
        let agrees = self.search.iter().zip(&tried).all(same);
        if !agrees && self.agreed > 0 {
            self.agreed -= 1;
            return;
        }
        if !agrees {
            self.search.clear();
        }
        for name in tried.iter().skip(self.search.len()) {
            let Some(number) = suffixes.number(name.without_leading(base)) else { return };
            self.search.push(number);
        }
        self.agreed += 1;
    }

    /// The profile that this makes.
    pub(super) fn profile(
        &self,
        suffixes: &Suffixes,
        fingerprints: Vec<Fingerprint>,
        timeout: Option<Duration>,
    ) -> Profile {
        Profile {
            fingerprints,
            search: self
                .search
                .iter()
                .filter_map(|number| suffixes.get(*number).cloned())
                .collect(),
            search_lookups: self.agreed,
            ndots_at_least: self.searched_dots.map(|dots| usize::from(dots) + 1),
            ndots_at_most: self.as_is_dots.map(usize::from),
            nameservers: self.servers.to_vec(),
            timeout,
        }
    }
}
