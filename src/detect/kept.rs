//! Lookups kept one by one for the answers that they ended with.

use std::net::IpAddr;
use std::num::NonZero;

use super::answers::Told;
use super::harm::{HarmKind, Harmed};
use crate::base::{AddressId, Addresses, Number, Numbered, Timestamp};
use crate::capture::Seen;
use crate::dns::Name;
use crate::lookup::{Lookup, Resolver};

/// Lookups kept one by one in all.
const MAX_LOOKUPS: usize = 200_000;

/// Where a lookup stands among all that are kept, counted from 1.
pub(super) type Place = Option<NonZero<u32>>;

/// A lookup that ended with an answer.
#[derive(Debug, Clone)]
struct Ended {
    start: Seen,
    end: Timestamp,
    client: AddressId,
    name: Number,
    /// The one before it that ended with the same answer.
    before: Place,
    resolver: Resolver,
}

/// Lookups kept one by one, all in one row: most answers have one, and some have hundreds.
#[derive(Debug, Default)]
pub(super) struct Kept {
    row: Vec<Ended>,
    clients: Addresses,
    /// Every lookup makes its own copy of the name that it is for; here they share one.
    names: Numbered<Name>,
}

impl Kept {
    /// Keeps `lookup`, which ended as the next one after `before` with the same answer, if there is
    /// room.
    pub(super) fn keep(&mut self, lookup: &Lookup, end: Timestamp, before: &mut Place) {
        if self.row.len() >= MAX_LOOKUPS {
            return;
        }
        self.row.push(Ended {
            start: lookup.start,
            end,
            client: self.clients.id(lookup.client),
            name: self.names.number(&lookup.name, Name::same_case, Name::clone),
            before: *before,
            resolver: lookup.resolver,
        });
        *before = u32::try_from(self.row.len()).ok().and_then(NonZero::new);
    }

    /// Those that ended with what was told, the latest first.
    fn ended(&self, told: &Told) -> impl Iterator<Item = &Ended> {
        let at = |place: Place| self.row.get(place?.get() as usize - 1);
        std::iter::successors(at(told.last()), move |ended| at(ended.before))
    }

    /// Who made them.
    pub(super) fn clients(&self, told: &Told) -> impl Iterator<Item = IpAddr> {
        self.ended(told).map(|lookup| self.clients.address(lookup.client))
    }

    /// The same as wronged ones.
    pub(super) fn wronged(&self, told: &Told) -> impl Iterator<Item = ((Seen, IpAddr), Harmed)> {
        self.ended(told).map(|lookup| {
            let client = self.clients.address(lookup.client);
            let harmed = Harmed {
                client,
                name: self.names.get(lookup.name).map_or_else(Name::root, Name::clone),
                resolver: lookup.resolver,
                start: lookup.start,
                end: lookup.end,
                kind: HarmKind::Wrong,
                bad: Box::default(),
            };
            ((lookup.start, client), harmed)
        })
    }
}
