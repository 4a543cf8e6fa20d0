//! A bar that shows when in the capture an incident happened.

use crate::base::Span;

/// A bar of `width` cells over `capture`, filled where `incident` was.
pub(super) fn bar(capture: Span, incident: Span, width: usize) -> String {
    let whole = capture.length().as_nanos().max(1);
    let cell = |at: std::time::Duration| {
        let cell = at.as_nanos() * width as u128 / whole;
        usize::try_from(cell).unwrap_or(width).min(width.saturating_sub(1))
    };
    let from = cell(incident.start.since(capture.start));
    let to = cell(incident.end.since(capture.start)).max(from);
    (0..width).map(|at| if (from..=to).contains(&at) { '█' } else { '░' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    #[test]
    fn a_bar_is_filled_where_it_happened() {
        let span = |a, b| Span::between(Timestamp::from_nanos(a), Timestamp::from_nanos(b));
        assert_eq!(bar(span(0, 100), span(20, 49), 10), "░░███░░░░░");
        assert_eq!(bar(span(0, 100), span(100, 100), 10), "░░░░░░░░░█");
        assert_eq!(bar(span(5, 5), span(5, 5), 3), "█░░");
    }
}
