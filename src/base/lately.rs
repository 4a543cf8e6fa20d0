//! What happened lately, forgotten wholesale.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Timestamp;

/// A table of what was noted within a window of time, and perhaps as long before it.
///
/// Two tables take turns: what is noted goes into the young one, and when that has taken in a whole
/// window, the old one is emptied and they change places. So nothing is ever searched for what is
/// outdated. For windows of which little is noted; whoever asks compares the times.
#[derive(Debug)]
pub struct Lately<K, V> {
    young: HashTable<(K, V)>,
    old: HashTable<(K, V)>,
    hasher: foldhash::fast::RandomState,
    since: Timestamp,
}

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            since: Timestamp::MIN,
        }
    }
}

impl<K: Copy + Hash + Eq, V: Copy> Lately<K, V> {
    /// Forgets what was noted earlier than `window` before `now`, once that pays.
    #[inline]
    pub fn advance(&mut self, now: Timestamp, window: Duration) {
        if now.is_past(self.since, window) {
            self.turn(now, window);
        }
    }

    #[cold]
    fn turn(&mut self, now: Timestamp, window: Duration) {
        if now.is_past(self.since, window * 2) {
            self.young.clear();
        }
        self.old.clear();
        std::mem::swap(&mut self.young, &mut self.old);
        self.since = now;
    }

    /// How much was noted in this window.
    pub fn noted(&self) -> usize {
        self.young.len()
    }

    /// What was noted last under `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let (hash, same) = (self.hasher.hash_one(key), |(known, _): &(K, V)| known == key);
        let noted = self.young.find(hash, same).or_else(|| self.old.find(hash, same));
        noted.map(|(_, value)| *value)
    }

    /// Notes something under `key`, and returns what was noted there before.
    pub fn note(&mut self, key: K, value: V) -> Option<V> {
        let Self { young, old, hasher, .. } = self;
        let (hash, same) = (hasher.hash_one(key), |(known, _): &(K, V)| *known == key);
        match young.entry(hash, same, |(known, _)| hasher.hash_one(known)) {
            Entry::Occupied(mut noted) => Some(std::mem::replace(&mut noted.get_mut().1, value)),
            Entry::Vacant(place) => {
                place.insert((key, value));
                old.find(hash, same).map(|(_, value)| *value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_remembered_and_little_more() {
        let at = |ms: i64| Timestamp::from_nanos(ms * 1_000_000);
        let window = Duration::from_millis(10);
        let mut lately: Lately<i64, i64> = Lately::default();
        for now in 0..1_000 {
            lately.advance(at(now), window);
            assert_eq!(lately.note(now % 7, now), (now >= 7).then_some(now - 7));
            assert_eq!(lately.note(-now, now), (now == 0).then_some(0));
            assert!(now < 10 || lately.get(&(10 - now)).is_some());
            assert!(lately.noted() + lately.old.len() <= 40);
        }
        lately.advance(at(2_000), window);
        assert_eq!((lately.get(&-999), lately.noted()), (None, 0));
    }
}
