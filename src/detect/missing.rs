//! Names that nobody had, as lookups asked for them.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::net::IpAddr;

use super::spelled::{is_everyday, is_searched};
use super::zone::{ClusterName, ClusterZones};
use crate::base::{Span, Table};
use crate::capture::Seen;
use crate::dns::{Name, Rcode, RecordType};
use crate::lookup::{Lookup, LookupOutcome};

/// Complete lookups that must have failed (rulebook 7.6).
const ENOUGH: u64 = 3;
/// Names tallied; random ones are asked once and stay below [`ENOUGH`].
const MAX_NAMES: usize = 20_000;
/// Frames kept of each.
pub(super) const FRAMES: usize = 4;

/// Lookups of each name, all of whose candidates were denied. Bounded by [`MAX_NAMES`].
#[derive(Default)]
pub(super) struct MissingNames(Table<Name, Missing>);

/// Lookups of one name, all of whose candidates were denied.
pub(super) struct Missing {
    pub(super) lookups: u64,
    pub(super) transactions: u64,
    pub(super) span: Span,
    pub(super) frames: Vec<Seen>,
    pub(super) clients: BTreeMap<IpAddr, u64>,
    pub(super) servers: BTreeSet<IpAddr>,
    /// The candidates of the latest lookup.
    pub(super) candidates: Vec<Name>,
}

impl MissingNames {
    /// Takes down a lookup, if every candidate of it was denied.
    pub(super) fn note(&mut self, lookup: &Lookup) {
        if lookup.outcome != LookupOutcome::Negative || is_everyday(&lookup.name) {
            return;
        }
        let mut candidates: Vec<Name> = Vec::new();
        let mut servers = BTreeSet::new();
        let mut transactions = 0;
        for transaction in lookup.transactions() {
            let Some(answer) = transaction.answer() else { return };
            let asked = matches!(transaction.question.rtype, RecordType::A | RecordType::AAAA);
            if answer.rcode != Rcode::NXDOMAIN || !asked {
                return;
            }
            if candidates.last() != Some(&transaction.question.name) {
                candidates.push(transaction.question.name.clone());
            }
            servers.insert(transaction.responder());
            transactions += 1;
        }
        let complete = candidates.contains(&lookup.name) && !is_searched(&candidates);
        let room = self.0.len() < MAX_NAMES || self.0.contains_key(&lookup.name);
        if !complete || !room {
            return;
        }
        let start = lookup.start;
        let missing = self.0.entry(lookup.name.clone()).or_insert_with(|| Missing {
            lookups: 0,
            transactions: 0,
            span: Span::at(start.ts),
            frames: Vec::new(),
            clients: BTreeMap::new(),
            servers: BTreeSet::new(),
            candidates: Vec::new(),
        });
        missing.lookups += 1;
        missing.transactions += transactions;
        missing.span = missing.span.with(lookup.end.unwrap_or(start.ts));
        *missing.clients.entry(lookup.client).or_default() += 1;
        missing.servers.extend(servers);
        missing.candidates = candidates;
        if missing.frames.len() < FRAMES {
            missing.frames.push(start);
        }
    }

    /// All that are asked for often enough by others than these servers, in no order.
    pub(super) fn close(self, servers: &BTreeSet<IpAddr>) -> impl Iterator<Item = (Name, Missing)> {
        let own = |(name, missing): (Name, Missing)| Some((name, missing.without(servers)?));
        self.0.into_unordered().filter_map(own)
    }
}

impl Missing {
    fn absorb(&mut self, other: Self) {
        self.lookups += other.lookups;
        self.transactions += other.transactions;
        self.span = self.span.join(other.span);
        self.frames.extend(other.frames);
        self.frames.sort_unstable();
        self.frames.truncate(FRAMES);
        for (client, lookups) in other.clients {
            *self.clients.entry(client).or_default() += lookups;
        }
        self.servers.extend(other.servers);
    }

    /// What is left without the lookups that DNS servers made for others, if it is enough.
    fn without(mut self, servers: &BTreeSet<IpAddr>) -> Option<Self> {
        self.clients.retain(|client, _| !servers.contains(client));
        self.lookups = self.clients.values().sum();
        (self.lookups >= ENOUGH).then_some(self)
    }
}

/// `cart.shop` and `cart.shop.svc.cluster.local` are one Service: the form that comes first stands
/// for both.
pub(super) fn merge_forms(names: &mut Vec<(Name, Missing)>, zones: &ClusterZones) {
    let service = |name: &Name| -> Name {
        let whole =
            zones.is_cluster(name) && ClusterName::of(name).is_some_and(|parts| parts.depth() == 2);
        let short = whole.then(|| Name::from_labels(name.labels().take(2))).flatten();
        short.unwrap_or_else(|| name.clone())
    };
    let mut forms: BTreeMap<Name, (Name, Missing)> = BTreeMap::new();
    for (name, missing) in names.drain(..) {
        match forms.entry(service(&name)) {
            Entry::Vacant(place) => {
                place.insert((name, missing));
            }
            Entry::Occupied(mut known) => known.get_mut().1.absorb(missing),
        }
    }
    names.extend(forms.into_values());
}
