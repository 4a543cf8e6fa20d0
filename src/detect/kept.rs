//! Lookups kept one by one for the answers that they ended with.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::time::Duration;

use super::harm::{Bad, HarmKind, Harmed};
use super::told::Told;
use crate::base::{Addresses, Map, Number, Numbered, Timestamp, push_within};
use crate::capture::Seen;
use crate::dns::Name;
use crate::lookup::{Lookup, Resolver};

/// Lookups kept one by one in all.
const MAX_LOOKUPS: usize = 1 << 17;

/// Where a lookup stands among all that are kept, counted from 1.
pub(super) type Place = Option<NonZero<u32>>;

/// A lookup that ended with an answer, in few bytes.
#[derive(Debug, Clone)]
struct Ended {
    start: Seen,
    /// From its start to its end in nanoseconds, if that is not among the long ones.
    took: u32,
    name: Number,
    /// The one before it that ended with the same answer.
    before: Place,
    client: u16,
    resolver: Resolver,
}

/// Lookups kept one by one, all in one row: most answers have one, and some have hundreds.
#[derive(Debug, Default)]
pub(super) struct Kept {
    row: Vec<Ended>,
    /// One that is free; it leads to the others.
    free: Place,
    /// When those ended that took longer than a row can tell.
    long: Map<NonZero<u32>, Timestamp>,
    clients: Addresses,
    /// Every lookup makes its own copy of the name that it is for; here they share one.
    names: Numbered<Name>,
}

impl Kept {
    /// Keeps `lookup`, which ended as the next one after `before` with the same answer, if there is
    /// room; the name that was asked is likely its own.
    pub(super) fn keep(
        &mut self,
        lookup: &Lookup,
        end: Timestamp,
        before: &mut Place,
        asked: &Name,
    ) {
        if self.row.len() >= MAX_LOOKUPS && self.free.is_none() {
            return;
        }
        let behind = || u32::try_from(self.row.len() + 1).ok().and_then(NonZero::new);
        let next = self.free.or_else(behind);
        // Rules tell fewer clients apart than there are numbers.
        let client = u16::try_from(self.clients.id(lookup.client).place());
        let (Some(place), Ok(client)) = (next, client) else { return };
        let took = u32::try_from(end.since(lookup.start.ts).as_nanos()).ok();
        if took.is_none() || end < lookup.start.ts {
            self.long.insert(place, end);
        }
        let ended = Ended {
            start: lookup.start,
            took: took.unwrap_or(u32::MAX),
            name: self.names.number(&lookup.name, Name::same_case, |name| {
                if asked.same_case(name) { asked.clone() } else { name.clone() }
            }),
            before: *before,
            client,
            resolver: lookup.resolver,
        };
        if let Some(free) = self.free.and_then(|free| self.row.get_mut(free.get() as usize - 1)) {
            self.free = std::mem::replace(free, ended).before;
        } else {
            push_within(&mut self.row, ended, MAX_LOOKUPS);
        }
        *before = Some(place);
    }

    /// Makes room of those that lead from `last`.
    pub(super) fn forget(&mut self, last: Place) {
        let mut link = last;
        while let Some(place) = link {
            let Some(ended) = self.row.get_mut(place.get() as usize - 1) else { return };
            link = std::mem::replace(&mut ended.before, self.free);
            self.free = Some(place);
            self.long.remove(&place);
        }
    }

    /// Those that ended with what was told, the latest first.
    fn ended(&self, told: &Told) -> impl Iterator<Item = (NonZero<u32>, &Ended)> {
        let at = |place: Place| Some((place?, self.row.get(place?.get() as usize - 1)?));
        std::iter::successors(at(told.last()), move |(_, ended)| at(ended.before))
    }

    fn client(&self, ended: &Ended) -> IpAddr {
        let known = self.clients.known().get(usize::from(ended.client));
        known.copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Who made them.
    pub(super) fn clients(&self, told: &Told) -> impl Iterator<Item = IpAddr> {
        self.ended(told).map(|(_, lookup)| self.client(lookup))
    }

    /// The same as wronged ones.
    pub(super) fn wronged(&self, told: &Told) -> impl Iterator<Item = ((Seen, IpAddr), Harmed)> {
        self.ended(told).map(|(place, lookup)| {
            let client = self.client(lookup);
            let end = lookup.start.ts.after(Duration::from_nanos(lookup.took.into()));
            let harmed = Harmed {
                client,
                name: self.names.get(lookup.name).map_or_else(Name::root, Name::clone),
                resolver: lookup.resolver,
                start: lookup.start,
                end: self.long.get(&place).copied().unwrap_or(end),
                kind: HarmKind::Wrong,
                bad: Bad::default(),
            };
            ((lookup.start, client), harmed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are more than a hundred thousand of them.
    #[test]
    fn a_lookup_takes_few_bytes() {
        assert_eq!(size_of::<Ended>(), 32);
    }
}
