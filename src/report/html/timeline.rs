//! The timeline: questions, failures and stalls over the capture, incidents shaded.

use std::time::Duration;

use super::svg::{Area, Svg};
use crate::analysis::{Analysis, Bin};
use crate::base::Lang;
use crate::base::words::{Text, count, duration, text};
use crate::base::{Span, Timestamp};
use crate::report::fold::{Entry, entries};

/// Columns of bars; more could not be told apart.
const COLUMNS: usize = 160;
const LEFT: f64 = 92.0;
const WIDTH: f64 = 960.0;
const TRACK: f64 = 58.0;
const GAP: f64 = 16.0;
/// Incidents with a row of their own.
const ROWS: usize = 8;
const ROW: f64 = 20.0;

/// One row of bars.
struct Track {
    label: Text,
    /// So many of them in a bin.
    counted: fn(u64) -> Text,
    /// How much there is in a bin, and how much of it is bad.
    value: fn(&Bin) -> (u32, u32),
    class: &'static str,
    bad: &'static str,
}

const TRACKS: [Track; 3] = [
    Track {
        label: text!("questions"),
        counted: |n| count(n, "transaction"),
        value: |bin| (bin.transactions, bin.unanswered),
        class: "bar",
        bad: "bad",
    },
    Track {
        label: text!("failed"),
        counted: |n| count(n, "failed lookup"),
        value: |bin| (bin.failed, bin.failed),
        class: "bad",
        bad: "bad",
    },
    Track {
        label: text!("stalled"),
        counted: |n| count(n, "stalled lookup"),
        value: |bin| (bin.stalled, bin.stalled),
        class: "slow",
        bad: "slow",
    },
];

/// The axis from instants to columns.
struct Axis {
    span: Span,
}

impl Axis {
    fn x(&self, at: Timestamp) -> f64 {
        let whole = self.span.length().as_secs_f64().max(1e-9);
        let part = at.since(self.span.start).as_secs_f64() / whole;
        LEFT + part.min(1.0) * (WIDTH - LEFT - 8.0)
    }
}

/// The drawing; `None` without a capture or without questions.
pub(super) fn timeline(analysis: &Analysis, lang: Lang) -> Option<String> {
    let axis = Axis { span: analysis.span? };
    let start = analysis.series.start()?;
    let entries = entries(&analysis.incidents);
    let incidents: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::One(rank, incident) => Some((*rank, *incident)),
            Entry::Many(_) => None,
        })
        .take(ROWS)
        .collect();
    let tracks = TRACKS.len() as f64 * (TRACK + GAP);
    let rows = incidents.len() as f64 * ROW;
    let mut svg = Svg::new(WIDTH, 10.0 + tracks + rows + 26.0);
    for (_, incident) in incidents.iter().rev() {
        let span = incident.cause.span;
        let from = axis.x(span.start);
        let area = Area {
            x: from,
            y: 4.0,
            width: (axis.x(span.end) - from).max(2.0),
            height: tracks + rows,
        };
        svg.rect(&format!("shade {}", incident.severity), area, "");
    }
    for (index, track) in TRACKS.iter().enumerate() {
        let bottom = 8.0 + index as f64 * (TRACK + GAP) + TRACK;
        bars(&mut svg, &axis, (analysis, start, lang), (track, bottom));
    }
    for (index, (rank, incident)) in incidents.iter().enumerate() {
        let y = 10.0 + tracks + index as f64 * ROW;
        let span = incident.cause.span;
        let from = axis.x(span.start);
        svg.text("tick end", (LEFT - 8.0, y + 12.0), &format!("#{rank}"));
        let area =
            Area { x: from, y: y + 3.0, width: (axis.x(span.end) - from).max(3.0), height: 11.0 };
        let title = incident.cause.title.render(lang);
        let title = format!("#{rank} {}: {title}", incident.cause.rule.id);
        svg.rect(&format!("incident {}", incident.severity), area, &title);
    }
    ticks(&mut svg, &axis, (analysis, 10.0 + tracks + rows));
    let label = text!("questions, failed and stalled lookups over time, with incidents shaded");
    Some(svg.finish(&label.render(lang)))
}

fn bars(svg: &mut Svg, axis: &Axis, of: (&Analysis, Timestamp, Lang), row: (&Track, f64)) {
    let ((analysis, start, lang), (track, bottom)) = (of, row);
    let bins = analysis.series.bins();
    let width = analysis.series.width();
    let per_column = bins.len().div_ceil(COLUMNS).max(1);
    let columns: Vec<(u64, u64)> =
        bins.chunks(per_column)
            .map(|chunk| {
                chunk.iter().map(track.value).fold((0, 0), |sum, (all, bad)| {
                    (sum.0 + u64::from(all), sum.1 + u64::from(bad))
                })
            })
            .collect();
    let most = columns.iter().map(|(all, _)| *all).max().unwrap_or(0);
    svg.text("tick end", (LEFT - 8.0, bottom - TRACK / 2.0 + 4.0), &track.label.render(lang));
    svg.line("axis", (LEFT, bottom), (WIDTH - 8.0, bottom));
    if most == 0 {
        svg.text("tick", (LEFT + 6.0, bottom - 6.0), &text!("none").render(lang));
        return;
    }
    svg.text(
        "tick end small",
        (LEFT - 8.0, bottom - TRACK + 10.0),
        &text!("max {most}", most).render(lang),
    );
    let step = width.saturating_mul(u32::try_from(per_column).unwrap_or(1));
    let mut at = start;
    for (all, bad) in columns {
        let (from, to) = (axis.x(at), axis.x(at.after(step)));
        let each = |part: u64| (part as f64 / most as f64) * TRACK;
        let title = || {
            let (time, length, all) = (analysis.clock(at), duration(step), (track.counted)(all));
            let title = if track.class == track.bad || bad == 0 {
                text!("{time}, {length}: {all}", time, length, all)
            } else {
                text!("{time}, {length}: {all}, {bad} unanswered", time, length, all, bad)
            };
            title.render(lang)
        };
        let place = |height: f64| Area {
            x: from,
            y: bottom - height,
            width: (to - from - 0.6).max(1.2),
            height,
        };
        if all > 0 {
            svg.rect(track.class, place(each(all).max(1.5)), &title());
        }
        if bad > 0 && track.class != track.bad {
            svg.rect(track.bad, place(each(bad).max(1.5)), &title());
        }
        at = at.after(step);
    }
}

/// Times under the axis, at round distances.
fn ticks(svg: &mut Svg, axis: &Axis, (analysis, y): (&Analysis, f64)) {
    const STEPS: [u64; 17] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400,
        604_800,
    ];
    let seconds = axis.span.length().as_secs();
    let step = STEPS.into_iter().find(|step| seconds / step <= 8).unwrap_or(seconds / 8);
    let first = axis.span.start.nanos().div_euclid(1_000_000_000);
    let step_signed = i64::try_from(step).unwrap_or(i64::MAX);
    let round = first.div_euclid(step_signed).saturating_add(1).saturating_mul(step_signed);
    let mut at = Timestamp::from_parts(round, 0);
    while at <= axis.span.end {
        let x = axis.x(at);
        svg.line("grid", (x, 4.0), (x, y));
        // A label that would run over the edge is left out.
        if x < WIDTH - 24.0 {
            let label = analysis.clock(at).to_string();
            // The time of day to the second; with a day, that without its year, to the minute.
            let short = if label.contains(' ') { label.get(5..16) } else { label.get(..8) };
            svg.text("tick middle", (x, y + 16.0), short.unwrap_or(&label));
        }
        let next = at.after(Duration::from_secs(step));
        // A damaged capture may reach to the end of all time.
        if next <= at {
            break;
        }
        at = next;
    }
}
