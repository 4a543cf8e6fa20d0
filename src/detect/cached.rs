//! Which answers may come from a cache that an earlier one filled.

use std::time::Duration;

use crate::base::{AddressId, Map, Purge, Timestamp};
use crate::dns::QuestionId;
use crate::transaction::Transaction;

/// Answers kept.
const MAX_ANSWERS: usize = 32_768;
/// Caches count in whole seconds.
const SLACK: Duration = Duration::from_secs(1);

/// Until when a server may answer each question as it did. Bounded by [`MAX_ANSWERS`].
#[derive(Debug, Default)]
pub(super) struct Cached {
    until: Map<(AddressId, QuestionId), Timestamp>,
    purge: Purge,
}

impl Cached {
    /// Whether the answer to `transaction` may come from `server`'s cache; takes down until when it may be
    /// kept itself.
    pub(super) fn note(&mut self, transaction: &Transaction, server: AddressId) -> bool {
        let Some(answer) = transaction.answer() else { return false };
        let (asked, records) = (transaction.first().ts, &answer.records);
        let ttl = records.min_ttl.or(records.negative_ttl()).unwrap_or(0);
        let ttl = Duration::from_secs(ttl.into());
        let until = answer.delivered().ts.after(ttl.saturating_add(SLACK));
        let key = (server, QuestionId::from(&transaction.question));
        let room = (asked, SLACK);
        self.purge.make_room(&mut self.until, MAX_ANSWERS, room, |_, until| *until >= asked);
        let known = self.until.get(&key).copied();
        if known.is_some() || self.until.len() < MAX_ANSWERS {
            self.until.insert(key, known.map_or(until, |known| known.max(until)));
        }
        known.is_some_and(|until| until >= asked)
    }
}
