//! When an incident happens (rulebook 6.8).

use std::time::Duration;

use super::model::{Pattern, Population};
use crate::base::{Span, Timestamp};
use crate::detect::Finding;

/// What begins or ends this near to the capture's edge was there before or after it.
const EDGE: Duration = Duration::from_secs(10);
/// Bad packets further apart than this, and than a fifth of the whole, are separate bursts.
const APART: Duration = Duration::from_mins(1);

/// The pattern of an incident whose harmed lookups began at `times`, in order.
pub(super) fn pattern(finding: &Finding, times: &[Timestamp], population: &Population) -> Pattern {
    let Some(capture) = population.span else {
        return Pattern::Burst;
    };
    let from_start = finding.span.start.since(capture.start) <= edge(capture);
    let to_end = finding.ongoing || capture.end.since(finding.span.end) <= edge(capture);
    let apart = APART.max(finding.span.length() / 5);
    let bursts =
        1 + times.windows(2).filter(|pair| matches!(pair, [a, b] if b.since(*a) > apart)).count();
    match (from_start, to_end) {
        _ if bursts >= 3 => Pattern::Recurring,
        (true, true) => Pattern::Always,
        (false, true) => Pattern::Step,
        _ if times.len() <= 3 => Pattern::Rare,
        _ => Pattern::Burst,
    }
}

/// A short capture has short edges.
fn edge(capture: Span) -> Duration {
    EDGE.min(capture.length() / 10)
}
