//! Where the open entries of a socket are: serial numbers by the hash of their key.
//!
//! A slot holds half of the hash and half of the serial number and nothing else, so that the index of
//! a hundred thousand entries stays in a core's second-level cache: every message is looked up in it,
//! at a place that no cache could guess. Whether an entry is of the key that is looked for, and
//! not of another with the same half of a hash, the entry itself has to say.
//!
//! What was closed is not struck off one by one, at a place that is no longer in any cache: all of it
//! is swept out at once whenever it has become half as much as what is open.

use std::hash::{BuildHasher, Hash};
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Slots that are not worth a sweep.
const FEW: usize = 1_024;

/// Serial numbers by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: HashTable<Slot>,
    /// How many slots there may be before the next sweep.
    most: usize,
    state: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    /// The lower half of the serial number: far fewer are open at once.
    serial: u32,
}

impl Index {
    /// The entries that are listed under a key, in no order, beside others that only share half of a
    /// hash with it. `open` are the serial numbers of all that are open.
    pub(super) fn listed(&self, key: &impl Hash, open: Range<u64>) -> impl Iterator<Item = u64> {
        let tag = self.tag(key);
        let slots = self.slots.iter_hash(home(tag)).filter(move |slot| slot.tag == tag);
        slots.filter_map(move |slot| slot.whole(&open))
    }

    /// Lists an entry, the last of those that are open, under a key.
    pub(super) fn list(&mut self, key: &impl Hash, serial: u64, open: &Range<u64>) {
        // Where there is no room left, the table would grow for what was closed.
        if self.slots.len() >= self.most || self.slots.len() == self.slots.capacity() {
            self.slots.retain(|slot| slot.whole(open).is_some());
            self.most = (self.slots.len() * 3 / 2).max(FEW);
        }
        let tag = self.tag(key);
        self.slots
            .insert_unique(home(tag), Slot { tag, serial: half(serial) }, |slot| home(slot.tag));
    }

    /// Strikes off an entry that is listed under a key.
    pub(super) fn strike(&mut self, key: &impl Hash, serial: u64) {
        let tag = self.tag(key);
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
    /// The whole serial number, if it is one of those that are open.
    fn whole(self, open: &Range<u64>) -> Option<u64> {
        let serial = open.start + u64::from(self.serial.wrapping_sub(half(open.start)));
        open.contains(&serial).then_some(serial)
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn entries_are_listed_by_their_key_and_in_their_order() {
        let mut index = Index::default();
        // Over the border of halves.
        let base = (1 << 32) - 100;
        for serial in base..base + 200 {
            index.list(&(serial % 50), serial, &(base..serial + 1));
        }
        let key = base % 50;
        let listed = |from, to| {
            let mut listed: Vec<u64> = index.listed(&key, from..to).collect();
            listed.sort_unstable();
            listed
        };
        assert_eq!(listed(base, base + 200), [base, base + 50, base + 100, base + 150]);
        assert_eq!(listed(base + 1, base + 200), [base + 50, base + 100, base + 150]);
        assert_eq!(listed(base + 51, base + 150), [base + 100]);
        assert_eq!(index.listed(&777, base..base + 200).count(), 0);
        index.strike(&key, base + 50);
        let listed: Vec<u64> = index.listed(&key, base..base + 101).collect();
        assert!(!listed.contains(&(base + 50)) && listed.len() == 2);
    }

    #[test]
    fn what_was_closed_is_swept_out() {
        let mut index = Index::default();
        let base = (1 << 32) - 5_000;
        for serial in base..base + 10_000 {
            let open = base.max(serial - 100)..serial + 1;
            index.list(&(serial % 7), serial, &open);
            assert!(index.slots.len() <= FEW);
        }
        let open = base + 9_900..base + 10_000;
        for key in 0..7 {
            let listed = index.listed(&key, open.clone()).collect::<BTreeSet<u64>>();
            assert!(listed.into_iter().eq(open.clone().filter(|serial| serial % 7 == key)));
        }
    }
}
