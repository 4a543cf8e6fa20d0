//! When a full table may be searched for what is outdated.

use std::hash::Hash;
use std::time::Duration;

use super::{Map, Timestamp};

/// Keeps a full table from being searched again for every newcomer: a flood that fills it faster
/// than entries age would make each newcomer cost the whole table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purge {
    last: Option<Timestamp>,
}

impl Purge {
    /// Whether a search at `now` for entries older than `age` pays: not before a quarter of that
    /// age has passed since the last one.
    pub fn is_due(&mut self, now: Timestamp, age: Duration) -> bool {
        let due = self.last.is_none_or(|last| now.distance(last) >= age / 4);
        if due {
            self.last = Some(now);
        }
        due
    }

    /// Makes room in `table` for another entry, as far as entries that `keep` does not hold for are
    /// in its way: those are older than `age`, and at most `most` may stay.
    pub fn make_room<K: Hash + Eq, V>(
        &mut self,
        table: &mut Map<K, V>,
        most: usize,
        (now, age): (Timestamp, Duration),
        mut keep: impl FnMut(&K, &mut V) -> bool,
    ) {
        forget_before_growth_within(table, most, &mut keep);
        if table.len() >= most && self.is_due(now, age) {
            table.retain(keep);
        }
    }
}

/// A table that holds what matters for a moment only is searched no more often than this.
const LEAST: usize = 224;

/// Forgets what `keep` does not hold for, if `table` would have to grow for another entry: so it holds
/// what still matters and about as much again, and no entry is looked at more than a few times.
pub fn forget_before_growth<K: Hash + Eq, V>(
    table: &mut Map<K, V>,
    keep: impl FnMut(&K, &mut V) -> bool,
) {
    forget_before_growth_within(table, usize::MAX, keep);
}

/// The same for a table of at most `most` entries, which needs no room for more, and where nothing may
/// be added to a full one.
fn forget_before_growth_within<K: Hash + Eq, V>(
    table: &mut Map<K, V>,
    most: usize,
    mut keep: impl FnMut(&K, &mut V) -> bool,
) {
    if table.len() < table.capacity() || table.len() >= most {
        return;
    }
    // What was forgotten leaves places that are no room yet, so what stays is put in anew: into the same
    // block, unless as much again would not fit there.
    let kept: Vec<(K, V)> = table
        .drain()
        .filter_map(|(key, mut value)| keep(&key, &mut value).then_some((key, value)))
        .collect();
    table.reserve((kept.len() * 2).clamp(LEAST, most.max(LEAST)));
    table.extend(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_what_matters_and_as_much_again() {
        let mut table: Map<u32, u32> = Map::default();
        let mut looked_at = 0;
        for now in 0..100_000 {
            forget_before_growth(&mut table, |_, at| {
                looked_at += 1;
                now - *at <= 1_000
            });
            table.insert(now, now);
        }
        assert!(table.capacity() < 4_000 && looked_at < 300_000, "{looked_at}");
        assert!((99_000..100_000).all(|at| table.contains_key(&at)));
    }

    #[test]
    fn a_table_is_searched_a_few_times_in_the_life_of_an_entry() {
        let mut purge = Purge::default();
        let at = |ms: i64| Timestamp::from_nanos(ms * 1_000_000);
        let due = (0..1_000).filter(|ms| purge.is_due(at(*ms), Duration::from_millis(400))).count();
        assert_eq!(due, 10);
        // A clock that was set back is no reason never to search again.
        assert!(purge.is_due(at(-5_000), Duration::from_millis(400)));
    }
}
