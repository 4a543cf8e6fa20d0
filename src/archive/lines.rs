//! The words that the index has in Markdown and in HTML: decided once, escaped by each.

use std::collections::BTreeSet;
use std::time::Duration;

use super::across::Across;
use super::index::Index;
use super::join::Joined;
use super::record::SetRecord;
use crate::base::text::plain;
use crate::base::words::{count, date, duration, list};
use crate::base::{Span, Timestamp};
use crate::incident::Severity;

/// How many sets a line names.
const NAMED: usize = 3;
/// Days that a calendar shows; what lies before is in the JSON.
const DAYS: usize = 62;

/// One sentence over all.
pub(super) fn headline(index: &Index) -> String {
    let sets = count(index.totals.sets, "capture set");
    let unread = match index.totals.unreadable {
        0 => String::new(),
        n => format!(", {n} more could not be read"),
    };
    match index.incidents.iter().find(|one| one.severity() > Severity::Info) {
        Some(worst) => format!(
            "{sets}{unread}: {}; the worst is {} ({}): {}",
            count(index.loud() as u64, "incident"),
            worst.rule,
            worst.severity,
            worst.title
        ),
        None => format!("{sets}{unread}: no incident above info"),
    }
}

/// What was read, in one sentence.
pub(super) fn extent(index: &Index) -> String {
    let totals = &index.totals;
    let span = totals.start.as_deref().zip(totals.end.as_deref());
    let when = span.map_or_else(String::new, |(start, end)| {
        format!("{} to {} UTC, ", moment(start), moment(end))
    });
    format!(
        "{when}{}, {}, {}, {} failed, {} of the others took 1 s or more",
        count(totals.files, "file"),
        count(totals.frames, "frame"),
        count(totals.lookups, "lookup"),
        totals.failed_lookups,
        totals.slow_lookups
    )
}

/// Lines above information.
pub(super) fn loud(index: &Index) -> impl Iterator<Item = &Joined> {
    index.incidents.iter().filter(|one| one.severity() > Severity::Info)
}

/// Lines of information.
pub(super) fn quiet(index: &Index) -> impl Iterator<Item = &Joined> {
    index.incidents.iter().filter(|one| one.severity() == Severity::Info)
}

/// First to last bad packet, in words; the day is told once if it is one.
pub(super) fn window(start: &str, end: &str) -> String {
    let known = Timestamp::parse(start).zip(Timestamp::parse(end));
    let Some(span) = known.map(|(start, end)| Span::between(start, end)) else {
        return format!("{start} to {end}");
    };
    let (start, end) = (date(span.start).to_string(), date(span.end).to_string());
    let end = match (start.split_once(' '), end.split_once(' ')) {
        (Some((day, _)), Some((same, time))) if day == same => time,
        _ => &end,
    };
    format!("{start} to {end} ({})", duration(span.length()))
}

fn moment(time: &str) -> String {
    Timestamp::parse(time).map_or_else(|| time.to_owned(), |at| date(at).to_string())
}

/// A sum of waiting, where anybody waited.
pub(super) fn waited(seconds: f64) -> String {
    if seconds == 0.0 {
        return "-".to_owned();
    }
    let length = Duration::try_from_secs_f64(seconds);
    length.map_or_else(|_| "-".to_owned(), |length| duration(length).to_string())
}

/// Who saw it and who was not hurt, in one sentence.
pub(super) fn witnesses(across: &Across) -> String {
    let mut said = format!("seen in {}", few(&across.sets));
    if !across.judged_with.is_empty() {
        said += "; judged with ";
        said += &few(&across.judged_with);
    }
    if !across.answers_seen_by.is_empty() {
        said += "; answers that never arrived are in ";
        said += &few(&across.answers_seen_by);
    }
    said
}

/// The first of some names, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    list(names.iter().map(plain), NAMED).to_string()
}

/// What a line of the index is, beyond its title.
pub(super) fn note(line: &Joined) -> String {
    match line.explained_by {
        Some(rank) => format!("explained across sets by A{rank}"),
        None if line.ongoing => "still going on when the captures ended".to_owned(),
        None => String::new(),
    }
}

/// The period of a set.
pub(super) fn period(set: &SetRecord) -> String {
    match (&set.start, &set.end) {
        (Some(start), Some(end)) => window(start, end),
        _ => "no frames".to_owned(),
    }
}

/// The worst of a set: its severity, and its rule.
pub(super) fn worst(set: &SetRecord) -> (String, String) {
    match set.worst() {
        Some(incident) => (incident.severity.clone(), incident.rule.clone()),
        None => (String::new(), "-".to_owned()),
    }
}

/// The days that the calendar shows: all with something in them, the last ones where there are too
/// many. Returns how many are left out as well.
pub(super) fn days(index: &Index) -> (Vec<String>, usize) {
    let all: BTreeSet<&String> = index.recurring.iter().flat_map(|one| one.days.keys()).collect();
    let left_out = all.len().saturating_sub(DAYS);
    (all.into_iter().skip(left_out).cloned().collect(), left_out)
}
