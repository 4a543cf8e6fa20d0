//! Where the open entries of a socket are: serial numbers by the hash of their key.
//!
//! A slot holds half of the hash and half of the serial number and nothing else, so that the index of
//! a hundred thousand entries stays in a core's second-level cache: every message is looked up in it,
//! at a place that no cache could guess. Whether an entry is of the key that is looked for, and
//! not of another with the same half of a hash, the entry itself has to say.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

/// Entries of one key that are listed, the latest ones: a flood of questions from one socket with
/// one id costs no more than this each.
const MAX_ALIKE: usize = 64;

/// Serial numbers by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: HashTable<Slot>,
    state: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    /// The lower half of the serial number: far fewer are open at once.
    serial: u32,
}

impl Index {
    /// The entries that are listed under a key, the oldest first, beside others that only share half
    /// of a hash with it. `base` is the serial number of the oldest entry of all.
    pub(super) fn listed(&self, key: &impl Hash, base: u64) -> SmallVec<[u64; 2]> {
        let tag = self.tag(key);
        let slots = self.slots.iter_hash(home(tag)).filter(|slot| slot.tag == tag);
        let mut serials: SmallVec<[u64; 2]> = slots.map(|slot| slot.whole(base)).collect();
        serials.sort_unstable();
        serials
    }

    /// Lists an entry under a key, instead of the oldest one where there are too many.
    pub(super) fn list(&mut self, key: &impl Hash, serial: u64, base: u64) {
        let tag = self.tag(key);
        let alike = self.slots.iter_hash(home(tag)).filter(|slot| slot.tag == tag);
        let (count, oldest) = alike
            .fold((0, u64::MAX), |(count, oldest), slot| (count + 1, slot.whole(base).min(oldest)));
        if count >= MAX_ALIKE {
            self.remove(tag, oldest);
        }
        self.slots
            .insert_unique(home(tag), Slot { tag, serial: half(serial) }, |slot| home(slot.tag));
    }

    /// Strikes an entry off the list of a key.
    pub(super) fn strike(&mut self, key: &impl Hash, serial: u64) {
        self.remove(self.tag(key), serial);
    }

    fn remove(&mut self, tag: u32, serial: u64) {
        let same = |slot: &Slot| slot.tag == tag && slot.serial == half(serial);
        if let Ok(slot) = self.slots.find_entry(home(tag), same) {
            slot.remove();
        }
    }

    fn tag(&self, key: &impl Hash) -> u32 {
        let [a, b, c, d, ..] = self.state.hash_one(key).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

impl Slot {
    /// The whole serial number, which is not less than `base`.
    fn whole(self, base: u64) -> u64 {
        base + u64::from(self.serial.wrapping_sub(half(base)))
    }
}

/// What the table takes for the hash: it looks at both ends of it.
fn home(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag)
}

fn half(serial: u64) -> u32 {
    let [.., a, b, c, d] = serial.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_listed_by_their_key_and_in_their_order() {
        let mut index = Index::default();
        // Over the border of halves.
        let base = (1 << 32) - 100;
        for serial in base..base + 200 {
            index.list(&(serial % 50), serial, base);
        }
        let key = base % 50;
        assert_eq!(index.listed(&key, base).to_vec(), [base, base + 50, base + 100, base + 150]);
        index.strike(&key, base + 50);
        index.strike(&key, base + 51);
        assert_eq!(index.listed(&key, base).to_vec(), [base, base + 100, base + 150]);
        assert!(index.listed(&777, base).is_empty());
    }

    #[test]
    fn a_flood_of_one_key_keeps_the_latest() {
        let mut index = Index::default();
        for serial in 0..1_000 {
            index.list(&"same", serial, 0);
        }
        let listed = index.listed(&"same", 0);
        assert_eq!((listed.len(), listed.first()), (MAX_ALIKE, Some(&936)));
    }
}
