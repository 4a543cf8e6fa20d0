//! Looks at frames as they come: holes, clocks, files that overlap, and what the filter let pass.

use std::time::Duration;

use super::pace::{Pace, Turn};
use crate::base::{Span, Timestamp, digest};
use crate::capture::{FileId, PointId, Seen};
use crate::flow::FlowEvent;
use crate::packet::{Body, Packet};
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

/// Watches the frames of every point.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Watch {
    points: Vec<Pace>,
    gaps: Vec<Gap>,
    steps: Vec<Step>,
    overlaps: Vec<Overlap>,
    /// ICMP errors of any kind.
    pub(super) icmp: u64,
    /// IP fragments other than first ones.
    pub(super) later_fragments: u64,
}

/// A stretch of time without a frame where frames were to be expected.
#[derive(Debug, Clone, Copy)]
struct Gap {
    span: Span,
    straddling: u64,
}

/// A clock that went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// The time that had been reached.
    pub(super) at: Timestamp,
    /// By how much it went back.
    pub(super) back: Duration,
}

/// Two files of one point that overlap in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlap {
    /// The one read first.
    pub(super) earlier: FileId,
    /// The one read next.
    pub(super) later: FileId,
    /// How much of the first is also covered by the second.
    pub(super) by: Duration,
}

impl Watch {
    /// Takes the next frame; returns the hole that it proves, if there was one.
    pub(in crate::analysis) fn frame(&mut self, seen: Seen, point: PointId) -> Option<Span> {
        match self.pace(point).frame(seen) {
            Turn::None => None,
            Turn::Back { last, back } => {
                if last.at.file == seen.at.file {
                    keep(&mut self.steps, Step { at: last.ts, back });
                } else {
                    let (earlier, later) = (last.at.file, seen.at.file);
                    keep(&mut self.overlaps, Overlap { earlier, later, by: back });
                }
                None
            }
            Turn::Hole(span) => {
                keep(&mut self.gaps, Gap { span, straddling: 0 });
                Some(span)
            }
        }
    }

    /// Takes what a frame holds.
    pub(in crate::analysis) fn packet(&mut self, packet: &Packet<'_>) {
        match &packet.body {
            Body::Icmp(_) => self.icmp += 1,
            Body::Fragment(fragment) => self.later_fragments += u64::from(fragment.offset > 0),
            _ => {}
        }
    }

    /// Takes an event of the flow table.
    pub(in crate::analysis) fn event(&mut self, event: &FlowEvent) {
        let FlowEvent::Message(captured) = event else { return };
        if captured.message.header.is_response() {
            return;
        }
        if let Some(question) = &captured.message.question {
            let name = digest(question.name.wire());
            let client = captured.tuple.src.ip();
            self.pace(captured.via.point).asked(captured.seen.ts, client, name);
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

    /// The capture is over; returns the holes shortly before its end.
    pub(in crate::analysis) fn finish(&mut self) -> Vec<Span> {
        let last: Vec<Span> = self.points.iter_mut().filter_map(Pace::finish).collect();
        for span in &last {
            keep(&mut self.gaps, Gap { span: *span, straddling: 0 });
        }
        last
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

    fn pace(&mut self, point: PointId) -> &mut Pace {
        let place = usize::from(point.0);
        if place >= self.points.len() {
            self.points.resize_with(place + 1, Pace::default);
        }
        &mut self.points[place]
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
