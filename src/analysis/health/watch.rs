//! What is known of the capture itself while its transactions close: holes, clocks, files that
//! overlap, and what the filter let pass.

use std::time::Duration;

use crate::base::{Span, Timestamp};
use crate::capture::FileId;
use crate::transaction::Transaction;
use crate::transaction::timing::T_WAIT;

/// How many holes, steps and overlaps are kept one by one; all are counted.
const KEPT: usize = 1_000;
/// A question and its answer that stand this near to both edges of a hole belong together: the
/// time between them passed on the clock alone.
const NEAR: Duration = Duration::from_millis(100);
/// So many of them make a jump of the clock: one may be a slow answer.
const ENOUGH: u64 = 3;
/// A clock that is set by less than this does nothing to a finding about seconds.
const SERIOUS_STEP: Duration = Duration::from_millis(100);

/// What frames and transactions showed of the capture so far.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Watch {
    gaps: Vec<Gap>,
    steps: Vec<Step>,
    overlaps: Vec<Overlap>,
    /// ICMP errors of any kind.
    pub(super) icmp: u64,
    /// IP fragments other than first ones.
    pub(super) later_fragments: u64,
}

/// What frames show of the capture, in their order.
#[derive(Debug, Clone, Copy)]
pub(in crate::analysis) enum Notice {
    /// A hole.
    Gap(Span),
    /// The clock went back.
    Step(Step),
    /// Two files overlap.
    Overlap(Overlap),
    /// So many ICMP errors and fragments other than first ones; at the end.
    Kinds {
        /// ICMP errors of any kind.
        icmp: u64,
        /// IP fragments other than first ones.
        later_fragments: u64,
    },
}

/// A stretch of time without a frame where frames were to be expected.
#[derive(Debug, Clone, Copy)]
struct Gap {
    span: Span,
    straddling: u64,
}

/// A clock that went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analysis) struct Step {
    /// The time that had been reached.
    pub(super) at: Timestamp,
    /// By how much it went back.
    pub(super) back: Duration,
}

/// Two files of one point that overlap in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analysis) struct Overlap {
    /// The one read first.
    pub(super) earlier: FileId,
    /// The one read next.
    pub(super) later: FileId,
    /// How much of the first is also covered by the second.
    pub(super) by: Duration,
}

impl Watch {
    /// Takes what frames showed; see [`Paces`](super::Paces).
    pub(in crate::analysis) fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Gap(span) => keep(&mut self.gaps, Gap { span, straddling: 0 }),
            Notice::Step(step) => keep(&mut self.steps, step),
            Notice::Overlap(overlap) => keep(&mut self.overlaps, overlap),
            Notice::Kinds { icmp, later_fragments } => {
                self.icmp += icmp;
                self.later_fragments += later_fragments;
            }
        }
    }

    /// Takes a closed transaction.
    pub(in crate::analysis) fn closed(&mut self, transaction: &Transaction) {
        if self.gaps.is_empty() {
            return;
        }
        let Some(response) = transaction.responses.first() else { return };
        let arrived = response.arrived().ts;
        let asked = transaction.attempts.iter().map(|attempt| attempt.sent().ts);
        let Some(sent) = asked.filter(|sent| *sent <= arrived).max() else { return };
        for gap in self.gaps.iter_mut().rev().take(8) {
            let before = sent <= gap.span.start && gap.span.start.since(sent) <= NEAR;
            let behind = arrived >= gap.span.end && arrived.since(gap.span.end) <= NEAR;
            gap.straddling += u64::from(before && behind);
        }
    }

    /// Whether a wait from one instant to the other went over a hole or a step, so that nobody
    /// knows how long it was.
    pub(in crate::analysis) fn crosses(&self, from: Timestamp, to: Timestamp) -> bool {
        self.gaps.iter().any(|gap| from <= gap.span.start && gap.span.end <= to)
            || self.steps.iter().any(|step| {
                Span::between(step.at.before(step.back), step.at).overlaps(Span::between(from, to))
            })
    }

    /// Whether `at` lies so shortly behind a hole that an answer then may belong to a question in it.
    pub(super) fn is_behind_a_hole(&self, at: Timestamp) -> bool {
        self.gaps.iter().any(|gap| gap.span.end <= at && at.since(gap.span.end) <= T_WAIT)
    }

    /// Stretches of time that were not captured.
    pub(in crate::analysis) fn holes(&self) -> impl Iterator<Item = Span> {
        self.gaps.iter().filter(|gap| gap.straddling < ENOUGH).map(|gap| gap.span)
    }

    /// Stretches of time that passed on the clock alone: it was set forward, or the whole host
    /// stood still.
    pub(in crate::analysis) fn jumps(&self) -> impl Iterator<Item = Span> {
        self.gaps.iter().filter(|gap| gap.straddling >= ENOUGH).map(|gap| gap.span)
    }

    /// Times between which the clock was set, forward or back, by enough to matter.
    pub(in crate::analysis) fn clock_changes(&self) -> impl Iterator<Item = Span> {
        let back = self.steps.iter().filter(|step| step.back >= SERIOUS_STEP);
        back.map(|step| Span::between(step.at.before(step.back), step.at)).chain(self.jumps())
    }

    /// Times at which the clock went back within a file.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Files that overlap.
    pub(super) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() < KEPT {
        list.push(item);
    }
}

impl Step {
    /// Whether it is more than frames out of order.
    pub(super) fn is_serious(&self) -> bool {
        self.back >= SERIOUS_STEP
    }
}
