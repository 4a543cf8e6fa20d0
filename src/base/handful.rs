//! Tables of a handful of entries, each in a block just large enough.

/// A map in the order of its keys, for the tens of thousands of tables of which each holds one entry
/// or a few, and large ones: no place stands empty for entries that may never come.
#[derive(Debug, Clone)]
pub struct Handful<K, V>(Vec<(K, V)>);

/// Up to here a block grows by one entry at a time, beyond it by doubling.
const EXACT: usize = 8;

impl<K, V> Default for Handful<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Handful<K, V> {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.place(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// What stands under `key`, made where there is nothing yet.
    pub fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.place(&key) {
            Ok(at) => at,
            Err(at) => {
                if self.0.len() < EXACT {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, make()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Everything, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The same, to change the values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_takes_no_more_than_it_holds() {
        let mut handful: Handful<u8, u32> = Handful::default();
        for key in [5, 2, 9, 2] {
            *handful.or_insert_with(key, || 0) += 1;
        }
        assert_eq!(handful.iter().collect::<Vec<_>>(), [(&2, &2), (&5, &1), (&9, &1)]);
        assert!(handful.contains_key(&9) && handful.get(&7).is_none());
        assert_eq!((handful.len(), handful.0.capacity()), (3, 3));
    }
}
