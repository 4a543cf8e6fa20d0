//! Who asked in vain, and when: silence that no retry confirms, but that so many questions in a row met that
//! the capture cannot have missed the answers to all of them.
//!
//! Resolvers with `attempts:1` ask each server once, and so does netty; nothing else shows that they got
//! nothing.

use std::collections::VecDeque;
use std::hash::Hash;

use crate::base::{Map, Span, Timestamp, entry_within};
use crate::transaction::timing::T_KEEP;

/// A capture misses a few answers in a hundred where it misses many.
const ENOUGH: u32 = 6;
/// Where the capture misses answers, more than one in so many is that of a candidate that failed, behind
/// which the search goes on at once.
const DOUBTS: u32 = 10;
/// Runs that go on at one time.
const MAX_OPEN: usize = 4_096;
/// Runs that are over: whoever waits for an answer is judged within [`T_KEEP`].
const MAX_OVER: usize = 256;

/// Runs of questions without an answer, by whoever asked them or was asked.
#[derive(Debug, Clone)]
pub(super) struct Runs<K> {
    open: Map<K, Run>,
    over: VecDeque<(K, Span)>,
}

/// From the first of its questions to the last.
#[derive(Debug, Clone, Copy)]
struct Run {
    span: Span,
    asked: u32,
    /// How often somebody went on as if he had been answered.
    doubts: u32,
}

impl Run {
    fn at(at: Timestamp) -> Self {
        Self { span: Span::at(at), asked: 0, doubts: 0 }
    }

    fn proves(&self) -> bool {
        self.asked >= ENOUGH && self.doubts.saturating_mul(DOUBTS) <= self.asked
    }
}

impl<K> Default for Runs<K> {
    fn default() -> Self {
        Self { open: Map::default(), over: VecDeque::new() }
    }
}

impl<K: Copy + Hash + Eq> Runs<K> {
    /// Something was answered.
    pub(super) fn heard(&mut self, key: impl FnOnce() -> K) {
        // As it nearly always is.
        if self.open.is_empty() {
            return;
        }
        let key = key();
        let Some(run) = self.open.remove(&key).filter(Run::proves) else { return };
        let old = |(_, known): &(K, Span)| known.end.after(T_KEEP) < run.span.end;
        while self.over.len() >= MAX_OVER || self.over.front().is_some_and(old) {
            self.over.pop_front();
        }
        self.over.push_back((key, run.span));
    }

    /// A question that was sent at `at` was not.
    pub(super) fn unheard(&mut self, key: K, at: Timestamp) {
        if let Some(run) = entry_within(&mut self.open, key, MAX_OPEN) {
            let run = run.or_insert(Run::at(at));
            run.span = run.span.with(at);
            run.asked = run.asked.saturating_add(1);
        }
    }

    /// Somebody went on at `at` as if he had been answered.
    pub(super) fn doubt(&mut self, key: K, at: Timestamp) {
        if let Some(run) = entry_within(&mut self.open, key, MAX_OPEN) {
            let run = run.or_insert(Run::at(at));
            run.doubts = run.doubts.saturating_add(1);
        }
    }

    /// Whether a question of `at` is one of so many that it was surely not answered.
    pub(super) fn holds(&self, key: K, at: Timestamp) -> bool {
        let open = self.open.get(&key).filter(|run| run.proves());
        let over = self.over.iter().filter(|(known, _)| *known == key).map(|(_, span)| *span);
        open.map(|run| run.span).into_iter().chain(over).any(|span| span.contains(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_in_a_row_are_a_run() {
        let at = |second| Timestamp::from_parts(second, 0);
        let mut vain: Runs<u8> = Runs::default();
        vain.heard(|| 1);
        for second in 10..15 {
            vain.unheard(1, at(second));
            vain.unheard(2, at(second));
        }
        assert!(!vain.holds(1, at(12)), "five are not enough");
        vain.unheard(1, at(15));
        vain.heard(|| 2);
        assert!(vain.holds(1, at(10)) && vain.holds(1, at(15)), "the first as well as the last");
        assert!(!vain.holds(2, at(12)) && !vain.holds(1, at(9)) && !vain.holds(1, at(16)));
        vain.heard(|| 1);
        assert!(vain.holds(1, at(12)), "what is over is remembered");
        vain.unheard(1, at(16));
        assert!(!vain.holds(1, at(16)), "and another run begins from nothing");
        (17..30).for_each(|second| vain.unheard(1, at(second)));
        vain.doubt(1, at(18));
        assert!(vain.holds(1, at(20)), "another thread's question");
        vain.doubt(1, at(18));
        assert!(!vain.holds(1, at(20)), "they were answered all the same");
    }
}
