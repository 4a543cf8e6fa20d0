//! When a full table may be searched for what is outdated.

use std::time::Duration;

use super::Timestamp;

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
}

#[cfg(test)]
mod tests {
    use super::*;

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
