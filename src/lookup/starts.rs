//! When each client last began to look up a name.

use std::time::Duration;

use crate::base::{AddressId, Timestamp};

/// A client that looked the name up so shortly before may do so once more at any time.
const ALONE: Duration = Duration::from_secs(10);
/// Places of the store.
const PLACES: usize = 1 << 12;

/// The last two lookups of each client and label, as far as they are remembered.
///
/// Direct-mapped: who finds his place taken takes it, so that a name that is asked for all the time stays.
/// What was forgotten counts as never asked for.
#[derive(Debug)]
pub(super) struct Starts(Box<[Option<Start>]>);

#[derive(Debug, Clone, Copy)]
struct Start {
    client: AddressId,
    label: u64,
    last: Timestamp,
    before: Option<Timestamp>,
}

impl Default for Starts {
    fn default() -> Self {
        Self(vec![None; PLACES].into_boxed_slice())
    }
}

impl Starts {
    /// Notes that a lookup begins.
    pub(super) fn note(&mut self, client: AddressId, label: u64, at: Timestamp) {
        let Some(place) = self.0.get_mut(place(client, label)) else { return };
        let known = place.filter(|known| known.client == client && known.label == label);
        *place = Some(Start { client, label, last: at, before: known.map(|known| known.last) });
    }

    /// Whether the lookup that began then is the last one of its client and label, and the only one for
    /// some time.
    pub(super) fn is_alone(&self, client: AddressId, label: u64, start: Timestamp) -> bool {
        let known = self.0.get(place(client, label)).copied().flatten();
        known.is_some_and(|known| {
            known.client == client
                && known.label == label
                && known.last == start
                && known.before.is_none_or(|before| start.is_past(before, ALONE))
        })
    }
}

/// By numbers that are the same in each run, so that the same is forgotten.
fn place(client: AddressId, label: u64) -> usize {
    let mixed = (label ^ client.place() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 32).unwrap_or_default() % PLACES
}
