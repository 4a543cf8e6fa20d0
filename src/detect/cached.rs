//! Which answers may come from a cache that an earlier one filled.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::base::{AddressId, Timestamp};
use crate::dns::QuestionId;
use crate::transaction::Transaction;

/// Places for answers, each of one server to one question: the latest in its place is known, and of what it
/// took the place of nobody says that it may be cached. Eight bytes each.
const PLACES: usize = 1 << 16;
/// Caches count in whole seconds.
const SLACK: Duration = Duration::from_secs(1);

/// Until when a server may answer each question as it did. Takes one look at one place for each answer.
#[derive(Debug, Default)]
pub(super) struct Cached(Vec<Place>);

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// A part of the digest of server and question.
    tag: u32,
    /// In seconds since 1970.
    until: u32,
}

impl Cached {
    /// Whether the answer to `transaction` may come from `server`'s cache; takes down until when it may be
    /// kept itself.
    pub(super) fn note(&mut self, transaction: &Transaction, server: AddressId) -> bool {
        let Some(answer) = transaction.answer() else { return false };
        if self.0.is_empty() {
            self.0 = vec![Place::default(); PLACES];
        }
        let key = (server, QuestionId::from(&transaction.question));
        let digest = FixedState::default().hash_one(key);
        let tag = u32::try_from(digest >> 32).unwrap_or_default();
        let at = usize::try_from(digest).unwrap_or_default() % PLACES;
        let Some(place) = self.0.get_mut(at) else { return false };
        let records = &answer.records;
        let ttl =
            Duration::from_secs(records.min_ttl.or(records.negative_ttl()).unwrap_or(0).into());
        let until = seconds(answer.delivered().ts.after(ttl.saturating_add(SLACK)));
        let known = Some(place.until).filter(|_| place.tag == tag);
        *place = Place { tag, until: known.map_or(until, |known| known.max(until)) };
        known.is_some_and(|until| until >= seconds(transaction.first().ts))
    }
}

fn seconds(ts: Timestamp) -> u32 {
    u32::try_from(ts.nanos().div_euclid(1_000_000_000).max(0)).unwrap_or(u32::MAX)
}
