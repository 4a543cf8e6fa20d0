//! Hash tables for captured keys, and digests of captured bytes.
//!
//! The tables are seeded at random once a run, so that no capture can be made to collide; no
//! output may depend on their order. The digest is fixed, because digests are compared between
//! segments and threads.

use std::hash::{BuildHasher, Hash, Hasher};

/// A hash map keyed by captured values.
pub type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;
/// A hash set of captured values.
pub type Set<K> = hashbrown::HashSet<K, foldhash::fast::RandomState>;

/// The place of a key in one of those.
pub(super) type Entry<'a, K, V> = hashbrown::hash_map::Entry<'a, K, V, foldhash::fast::RandomState>;

/// The place of `key` in a table of at most `most` entries; `None` if the key is new and there is no
/// room for it.
pub fn entry_within<K: Hash + Eq, V>(
    table: &mut Map<K, V>,
    key: K,
    most: usize,
) -> Option<Entry<'_, K, V>> {
    let room = table.len() < most;
    match table.entry(key) {
        Entry::Vacant(_) if !room => None,
        place => Some(place),
    }
}

/// A 64-bit digest of `bytes`, the same in every run.
///
/// It tells copies of one datagram apart from other datagrams of the same socket within
/// milliseconds; it is no defence against anyone who wants two payloads to look alike.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0x646e_7377_6879_0001).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn digests_tell_payloads_apart() {
        assert_eq!(digest(b"one"), digest(b"one"));
        assert_ne!(digest(b"one"), digest(b"two"));
    }
}
