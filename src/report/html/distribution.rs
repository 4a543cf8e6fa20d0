//! How long lookups took: a histogram on which the retry timers stand out.

use std::time::Duration;

use super::svg::{Area, Svg};
use crate::base::Histogram;
use crate::base::Lang;
use crate::base::words::{count, duration, text};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 150.0;
/// Columns of one power of ten.
const PER_DECADE: f64 = 20.0;
/// From 0.1 ms to 100 s: shorter and longer ones stand at the edges.
const DECADES: (f64, f64) = (-4.0, 2.0);
/// Where resolvers stall: retry timers of 1, 2.5, 5 s and their sums (rulebook section 3).
const STALLS: [(f64, &str); 7] =
    [(1.0, "1"), (2.5, "2.5"), (5.0, "5 s"), (10.0, "10"), (15.0, "15"), (20.0, ""), (30.0, "30")];

fn x(seconds: f64) -> f64 {
    let (low, high) = DECADES;
    let log = seconds.max(1e-9).log10().clamp(low, high);
    LEFT + (log - low) / (high - low) * (WIDTH - LEFT - 12.0)
}

/// The column that a duration falls into, by its place on the axis.
fn column(seconds: f64) -> i64 {
    let (low, high) = DECADES;
    let log = seconds.max(1e-9).log10().clamp(low, high - 1e-9);
    // A few hundred columns at most.
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the clamp above")]
    let column = ((log - low) * PER_DECADE).floor() as i64;
    column
}

/// The drawing; `None` where nothing was timed.
pub(super) fn distribution(times: &Histogram, lang: Lang) -> Option<String> {
    let mut columns = std::collections::BTreeMap::<i64, (u64, Duration, Duration)>::new();
    for (lower, upper, count) in times.bins() {
        let middle = f64::midpoint(lower.as_secs_f64(), upper.as_secs_f64());
        let entry = columns.entry(column(middle)).or_insert((0, lower, upper));
        entry.0 += count;
        entry.2 = upper;
    }
    let most = columns.values().map(|(count, ..)| *count).max()?;
    let mut svg = Svg::new(WIDTH, HEIGHT);
    let scale = |count: u64| (1.0 + count as f64).ln() / (1.0 + most as f64).ln() * (BOTTOM - TOP);
    for (seconds, label) in STALLS {
        svg.line("stall", (x(seconds), TOP - 8.0), (x(seconds), BOTTOM));
        svg.text("tick middle", (x(seconds), TOP - 14.0), label);
    }
    for level in [1_u64, 10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        if level <= most {
            let y = BOTTOM - scale(level);
            svg.line("grid", (LEFT, y), (WIDTH - 12.0, y));
            svg.text("tick end", (LEFT - 6.0, y + 4.0), &level.to_string());
        }
    }
    for (column, (lookups, lower, upper)) in &columns {
        let low = 10_f64.powf(*column as f64 / PER_DECADE + DECADES.0);
        let high = 10_f64.powf((*column + 1) as f64 / PER_DECADE + DECADES.0);
        let height = scale(*lookups);
        let class = if high > 1.0 { "slow" } else { "bar" };
        let area =
            Area { x: x(low) + 0.5, y: BOTTOM - height, width: x(high) - x(low) - 1.0, height };
        let title = text!(
            "{lower} to {upper}: {lookups}",
            lower = duration(*lower),
            upper = duration(*upper),
            lookups = count(*lookups, "lookup")
        );
        svg.rect(class, area, &title.render(lang));
    }
    svg.line("axis", (LEFT, BOTTOM), (WIDTH - 12.0, BOTTOM));
    for (seconds, label) in [
        (1e-4, "0.1 ms"),
        (1e-3, "1 ms"),
        (1e-2, "10 ms"),
        (0.1, "100 ms"),
        (1.0, "1 s"),
        (10.0, "10 s"),
    ] {
        svg.text("tick middle", (x(seconds).max(LEFT + 20.0), BOTTOM + 17.0), label);
    }
    svg.text("tick end", (WIDTH - 12.0, BOTTOM + 17.0), "100 s");
    svg.text(
        "tick middle",
        (f64::midpoint(LEFT, WIDTH), BOTTOM + 35.0),
        &text!("how long the lookup took").render(lang),
    );
    let label = text!("how long lookups took, with the resolvers' retry timers marked");
    Some(svg.finish(&label.render(lang)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_holds_its_own_durations() {
        assert_eq!(column(1e-4), 0);
        assert_eq!(column(1.0), 80);
        assert!(column(5.005) > column(4.0) && column(1e9) == column(99.99));
    }

    #[test]
    fn nothing_timed_is_nothing_drawn() {
        assert!(distribution(&Histogram::default(), Lang::En).is_none());
        let mut times = Histogram::default();
        times.add(Duration::from_millis(5_003));
        assert!(distribution(&times, Lang::En).unwrap().contains("1 lookup"));
    }
}
