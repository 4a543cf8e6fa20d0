//! Tallies that are written once per transaction and read once, at the end.

use std::hash::Hash;

use hashbrown::Equivalent;

use super::hash::{Entry, Map, entry_within};

/// Hashed while it grows, in the order of its keys when it is read.
///
/// A tally by name or address is touched by every transaction, and an ordered tree would compare a
/// dozen keys each time; nothing may depend on hash order, so reading sorts. Reading costs the
/// whole table each time.
#[derive(Debug, Clone)]
pub struct Table<K, V>(Map<K, V>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<K: Hash + Eq + Ord, V> Table<K, V> {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &(impl Hash + Equivalent<K> + ?Sized)) -> bool {
        self.0.contains_key(key)
    }

    /// What is noted under `key`.
    pub fn get(&self, key: &(impl Hash + Equivalent<K> + ?Sized)) -> Option<&V> {
        self.0.get(key)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &(impl Hash + Equivalent<K> + ?Sized)) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// The place of `key`.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        self.0.entry(key)
    }

    /// The place of `key` in a table of at most `most` keys; `None` if it is new and there is no
    /// room.
    pub fn entry_within(&mut self, key: K, most: usize) -> Option<Entry<'_, K, V>> {
        entry_within(&mut self.0, key, most)
    }

    /// Forgets what is noted under `key`.
    pub fn remove(&mut self, key: &(impl Hash + Equivalent<K> + ?Sized)) {
        self.0.remove(key);
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain(|key, value| keep(key, value));
    }

    /// Everything, in the order of keys.
    pub fn iter(&self) -> std::vec::IntoIter<(&K, &V)> {
        let mut all: Vec<(&K, &V)> = self.0.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        let mut all: Vec<&K> = self.0.keys().collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Everything in no order, for whoever sorts what is left of it.
    pub fn into_unordered(self) -> impl Iterator<Item = (K, V)> {
        self.0.into_iter()
    }

    /// Everything in no order, for sums and extremes alone.
    pub fn unordered(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }
}

impl<K: Hash + Eq + Ord, V> IntoIterator for Table<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        let mut all: Vec<(K, V)> = self.0.into_iter().collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter()
    }
}

impl<'a, K: Hash + Eq + Ord, V> IntoIterator for &'a Table<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::vec::IntoIter<(&'a K, &'a V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_in_the_order_of_its_keys_and_keeps_to_its_bound() {
        let mut table: Table<u32, u32> = Table::default();
        for key in [9, 3, 7, 3] {
            *table.entry(key).or_default() += 1;
        }
        assert_eq!(table.iter().collect::<Vec<_>>(), [(&3, &2), (&7, &1), (&9, &1)]);
        assert!(table.entry_within(4, 3).is_none());
        assert!(table.entry_within(9, 3).is_some());
        assert_eq!(table.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [3, 7, 9]);
    }
}
