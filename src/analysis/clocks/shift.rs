//! The correction of one clock to another.

use crate::base::{Span, Timestamp};

/// How much a clock is ahead of another, over some time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analysis) struct Piece {
    /// It holds from here on, by the clock that is corrected.
    pub(in crate::analysis) from: Timestamp,
    /// Where `offset` was measured, by the same clock.
    pub(in crate::analysis) at: Timestamp,
    /// Nanoseconds that it is ahead there.
    pub(in crate::analysis) offset: i64,
    /// How much faster it goes, in billionths.
    pub(in crate::analysis) drift: i64,
}

/// The correction of a point's times, one piece for each time that its clock was set; through the
/// clocks of other points where it has no datagrams in common with the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::analysis) struct Shift {
    /// Corrections, each to be applied to the result of the one before.
    pub(in crate::analysis) stages: Vec<Vec<Piece>>,
}

impl Shift {
    /// Whether nothing is corrected.
    pub(in crate::analysis) fn is_none(&self) -> bool {
        self.stages.is_empty()
    }

    /// The time by the clock of the reference.
    pub(in crate::analysis) fn apply(&self, ts: Timestamp) -> Timestamp {
        self.stages.iter().fold(ts, |ts, pieces| {
            let later = pieces.iter().rposition(|piece| piece.from <= ts).unwrap_or(0);
            pieces.get(later).map_or(ts, |piece| piece.apply(ts))
        })
    }

    /// The same for both ends of a span.
    pub(in crate::analysis) fn apply_to(&self, span: Span) -> Span {
        Span::between(self.apply(span.start), self.apply(span.end))
    }
}

impl Piece {
    /// How much the clock is ahead at `ts`.
    pub(in crate::analysis) fn offset_at(&self, ts: Timestamp) -> i64 {
        let passed = ts.nanos().saturating_sub(self.at.nanos());
        let drifted = i128::from(passed) * i128::from(self.drift) / 1_000_000_000;
        self.offset.saturating_add(i64::try_from(drifted).unwrap_or(0))
    }

    fn apply(&self, ts: Timestamp) -> Timestamp {
        Timestamp::from_nanos(ts.nanos().saturating_sub(self.offset_at(ts)))
    }
}
