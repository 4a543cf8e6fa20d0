//! Tables of which most hold one entry.

use smallvec::SmallVec;

/// A map in the order of its keys, for the thousands of tables that hold one entry or two: a tree
/// would take half a kilobyte for each of them.
#[derive(Debug, Clone)]
pub struct Few<K, V>(SmallVec<[(K, V); 1]>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

/// Up to so many are looked through one after the other.
const SCANNED: usize = 8;

impl<K: Ord, V> Few<K, V> {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// What stands under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.place(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Where `key` stands, or where it would.
    #[inline]
    fn place(&self, key: &K) -> Result<usize, usize> {
        if self.0.len() > SCANNED {
            return self.0.binary_search_by(|(known, _)| known.cmp(key));
        }
        // Most keys are there, and that they are alike is seen sooner than which one comes first.
        let at = self.0.iter().position(|(known, _)| known == key);
        at.ok_or_else(|| self.0.iter().take_while(|(known, _)| known < key).count())
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// What stands under `key`, made where there is nothing yet.
    #[inline]
    pub fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.place(&key) {
            Ok(at) => at,
            Err(at) => {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_in_order() {
        let mut few: Few<u8, u32> = Few::default();
        for key in [5, 2, 9, 2] {
            *few.or_insert_with(key, || 0) += 1;
        }
        assert_eq!(few.iter().collect::<Vec<_>>(), [(&2, &2), (&5, &1), (&9, &1)]);
        assert!(few.contains_key(&9) && few.get(&7).is_none());
        for key in (0..20).rev() {
            few.or_insert_with(key, || 7);
        }
        assert!(few.keys().copied().eq(0..20) && few.get(&2) == Some(&2));
    }
}
