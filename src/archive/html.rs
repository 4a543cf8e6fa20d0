//! The index for a browser: one file that needs no other, with links to the reports of the sets.

use std::collections::BTreeMap;
use std::io::{self, Write};

use askama::Template;

use super::index::Index;
use super::join::{Joined, Part};
use super::lines::{
    days, extent, headline, loud, note, period, quiet, waited, window, witnesses, worst,
};
use crate::base::words::count;
use crate::incident::Severity;
use crate::report::escape::terminal;

#[derive(Template)]
#[template(path = "index.html")]
struct Page {
    status: &'static str,
    all: String,
    headline: String,
    extent: String,
    version: String,
    across: Vec<AcrossCard>,
    loud: Vec<Line>,
    quiet: Vec<Line>,
    days: Vec<String>,
    days_left_out: usize,
    calendar: Vec<CalendarRow>,
    unreadable: Vec<(String, u64, String)>,
    sets: Vec<SetRow>,
}

struct AcrossCard {
    rank: usize,
    severity: String,
    rule: String,
    sure: String,
    title: String,
    rows: Vec<(&'static str, String)>,
    actions: Vec<(String, String)>,
}

/// A joined incident.
struct Line {
    rank: usize,
    severity: String,
    rule: String,
    sure: String,
    title: String,
    note: String,
    window: String,
    sets: u64,
    parts: Vec<Link>,
    clients: u64,
    lookups: u64,
    failed: u64,
    added: String,
}

/// A word with the address behind it; no link where that is empty.
struct Link {
    text: String,
    to: String,
}

/// A fault that came back: one cell for every day, with its severity or nothing.
struct CalendarRow {
    rule: String,
    culprit: String,
    cells: Vec<String>,
}

struct SetRow {
    name: Link,
    status: String,
    severity: String,
    rule: String,
    lookups: u64,
    failed: u64,
    slow: u64,
    period: String,
    problems: Vec<String>,
    more_problems: u64,
}

impl Index {
    /// Writes it as HTML.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_html(&self, out: &mut dyn Write) -> io::Result<()> {
        let page = page(self).render().map_err(io::Error::other)?;
        out.write_all(page.as_bytes())?;
        writeln!(out)
    }
}

fn page(index: &Index) -> Page {
    let links: BTreeMap<&str, String> = index
        .sets
        .iter()
        .filter_map(|set| Some((set.name.as_str(), address(set.report.as_deref()?))))
        .collect();
    let (days, days_left_out) = days(index);
    Page {
        all: count(index.totals.sets, "capture set").to_string(),
        status: match index.worst() {
            Some(Severity::Critical | Severity::High) => "failing",
            Some(Severity::Medium | Severity::Low) => "degraded",
            Some(Severity::Info) | None => "healthy",
        },
        headline: terminal(&headline(index)),
        extent: extent(index),
        version: index.version.clone(),
        across: index
            .across
            .iter()
            .map(|one| AcrossCard {
                rank: one.rank,
                severity: one.severity.clone(),
                rule: one.rule.clone(),
                sure: one.confidence.clone(),
                title: terminal(&one.title),
                rows: vec![
                    ("when", window(&one.start, &one.end)),
                    ("cause", terminal(&one.cause)),
                    ("sets", terminal(&witnesses(one))),
                ],
                actions: one
                    .actions
                    .iter()
                    .map(|(why, command)| (terminal(why), terminal(command)))
                    .collect(),
            })
            .collect(),
        loud: loud(index).map(|one| line(one, &links)).collect(),
        quiet: quiet(index).map(|one| line(one, &links)).collect(),
        calendar: index
            .recurring
            .iter()
            .map(|one| CalendarRow {
                rule: terminal(&one.rule),
                culprit: terminal(&one.culprit),
                cells: days
                    .iter()
                    .map(|day| one.days.get(day).cloned().unwrap_or_default())
                    .collect(),
            })
            .collect(),
        days,
        days_left_out,
        unreadable: index
            .unreadable
            .iter()
            .map(|set| (terminal(&set.name), set.files, terminal(&set.reason)))
            .collect(),
        sets: index
            .sets
            .iter()
            .map(|set| {
                let (severity, rule) = worst(set);
                SetRow {
                    name: link(&set.name, terminal(&set.name), &links),
                    status: set.status.clone(),
                    severity,
                    rule,
                    lookups: set.lookups,
                    failed: set.failed_lookups,
                    slow: set.slow_lookups,
                    period: period(set),
                    problems: set.problems.iter().map(|problem| terminal(problem)).collect(),
                    more_problems: set.problem_count.saturating_sub(set.problems.len() as u64),
                }
            })
            .collect(),
    }
}

fn line(one: &Joined, links: &BTreeMap<&str, String>) -> Line {
    let part = |part: &Part| {
        let text = terminal(&format!("{} #{}", part.set, part.incident));
        let mut link = link(&part.set, text, links);
        // Batch writes that ending, and no other form has anchors.
        if link.to.strip_suffix(".html").is_some() {
            link.to += &format!("#incident-{}", part.incident);
        }
        link
    };
    Line {
        rank: one.rank,
        severity: one.severity.clone(),
        rule: terminal(&one.rule),
        sure: one.confidence.clone(),
        title: terminal(&one.title),
        note: note(one),
        window: window(&one.start, &one.end),
        sets: one.sets,
        parts: one.parts.iter().map(part).collect(),
        clients: one.clients,
        lookups: one.lookups,
        failed: one.failed_lookups,
        added: waited(one.added_seconds),
    }
}

fn link(set: &str, text: String, links: &BTreeMap<&str, String>) -> Link {
    Link { text, to: links.get(set).cloned().unwrap_or_default() }
}

/// A relative path as a link: nothing in it is taken for a scheme, a query or a fragment.
fn address(path: &str) -> String {
    let mut address = String::from("./");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                address.push(char::from(byte));
            }
            _ => address += &format!("%{byte:02X}"),
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_path_and_nothing_else() {
        assert_eq!(address("a/b-1.html"), "./a/b-1.html");
        assert_eq!(address("javascript:x?#\"é"), "./javascript%3Ax%3F%23%22%C3%A9");
        assert_eq!(
            address("../n1/dns@20260102T000000Z.html"),
            "./../n1/dns%4020260102T000000Z.html"
        );
    }
}
