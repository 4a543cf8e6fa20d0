//! Two reports side by side: which incidents are gone, new, or still there, and the figures.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::escape::{markdown, terminal};
use super::json::{IncidentV1, Report};
use super::table::{Align, table, wrap};
use super::text::Style;

/// What changed from one report to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Always `dnswhy.comparison/1`.
    pub schema: &'static str,
    /// One sentence.
    pub headline: String,
    /// The verdicts, before and after.
    pub verdicts: [String; 2],
    /// Incidents of the first report alone.
    pub gone: Vec<Change>,
    /// Incidents of the second report alone.
    pub new: Vec<Change>,
    /// Incidents of both.
    pub same: Vec<Change>,
    /// The traffic, figure by figure.
    pub traffic: Vec<Figure>,
}

/// An incident of one or both reports: the same rule, the same culprits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Rule id.
    pub rule: String,
    /// One sentence, of the later report where there are two.
    pub title: String,
    /// Who is to blame.
    pub culprits: Vec<String>,
    /// Severity before; null where it is new.
    pub severity_before: Option<String>,
    /// Severity after; null where it is gone.
    pub severity_after: Option<String>,
    /// Lookups hurt before.
    pub lookups_before: Option<u64>,
    /// Lookups hurt after.
    pub lookups_after: Option<u64>,
}

/// One figure of both reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What.
    pub label: &'static str,
    /// The first report's; null where nothing was measured.
    pub before: Option<f64>,
    /// The second report's.
    pub after: Option<f64>,
    /// Whether less of it is better: what a reader looks at first.
    pub less_is_better: bool,
}

impl Comparison {
    /// Compares two reports.
    pub fn of(before: &Report, after: &Report) -> Self {
        let mut later: BTreeMap<Key, &IncidentV1> = BTreeMap::new();
        for incident in &after.incidents {
            later.entry(key(incident)).or_insert(incident);
        }
        let (mut gone, mut same) = (Vec::new(), Vec::new());
        for incident in &before.incidents {
            match later.remove(&key(incident)) {
                Some(still) => same.push(change(Some(incident), Some(still))),
                None => gone.push(change(Some(incident), None)),
            }
        }
        // The rest of the later report, in its order.
        let new: Vec<Change> = after
            .incidents
            .iter()
            .filter(|incident| later.remove(&key(incident)).is_some())
            .map(|incident| change(None, Some(incident)))
            .collect();
        let verdicts = [before.verdict.status.clone(), after.verdict.status.clone()];
        let headline = headline(&verdicts, [&gone, &new, &same]);
        Self {
            schema: "dnswhy.comparison/1",
            headline,
            verdicts,
            gone,
            new,
            same,
            traffic: figures(before, after),
        }
    }

    /// Writes it for a terminal.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_text(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let [before, after] = &self.verdicts;
        writeln!(
            out,
            "DNS {} -> {}",
            terminal(before).to_uppercase(),
            terminal(after).to_uppercase()
        )?;
        writeln!(out, "  {}", self.headline)?;
        for (title, changes) in self.parts() {
            if changes.is_empty() {
                continue;
            }
            writeln!(out, "\n{title}")?;
            for change in changes {
                let text = format!("{} {}: {}", change.severity(), change.rule, change.title);
                for (index, line) in
                    wrap(&terminal(&text), style.width.saturating_sub(4)).iter().enumerate()
                {
                    writeln!(out, "  {}{line}", if index == 0 { "" } else { "  " })?;
                }
                writeln!(out, "    {}", change.lookups())?;
            }
        }
        writeln!(out, "\nTRAFFIC")?;
        let rows: Vec<Vec<String>> = self.traffic.iter().map(Figure::cells).collect();
        let header = [
            ("", Align::Left),
            ("before", Align::Right),
            ("after", Align::Right),
            ("change", Align::Right),
        ];
        for line in table(&header, &rows) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Writes it for a ticket.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        let [before, after] = &self.verdicts;
        writeln!(out, "# DNS before: {}, after: {}\n", markdown(before), markdown(after))?;
        writeln!(out, "**{}**\n", markdown(&self.headline))?;
        for (title, changes) in self.parts() {
            if changes.is_empty() {
                continue;
            }
            writeln!(out, "## {title}\n")?;
            for change in changes {
                writeln!(
                    out,
                    "- {} **{}**: {} ({})",
                    markdown(&change.severity()),
                    markdown(&change.rule),
                    markdown(&change.title),
                    markdown(&change.lookups())
                )?;
            }
            writeln!(out)?;
        }
        writeln!(out, "## Traffic\n\n| | before | after | change |\n| --- | ---: | ---: | ---: |")?;
        for figure in &self.traffic {
            writeln!(out, "| {} |", figure.cells().join(" | "))?;
        }
        Ok(())
    }

    fn parts(&self) -> [(&'static str, &[Change]); 3] {
        [("NEW", &self.new), ("STILL THERE", &self.same), ("GONE", &self.gone)]
    }
}

/// What makes two incidents the same: the rule and who is to blame.
type Key = (String, Vec<(String, String)>);

fn key(incident: &IncidentV1) -> Key {
    let mut culprits: Vec<_> =
        incident.culprits.iter().map(|c| (c.kind.clone(), c.value.clone())).collect();
    culprits.sort();
    (incident.rule.clone(), culprits)
}

fn change(before: Option<&IncidentV1>, after: Option<&IncidentV1>) -> Change {
    let shown = after.or(before);
    Change {
        rule: shown.map_or_else(String::new, |incident| incident.rule.clone()),
        title: shown.map_or_else(String::new, |incident| incident.title.clone()),
        culprits: shown.map_or_else(Vec::new, |incident| {
            incident.culprits.iter().map(|c| format!("{} {}", c.kind, c.value)).collect()
        }),
        severity_before: before.map(|incident| incident.severity.clone()),
        severity_after: after.map(|incident| incident.severity.clone()),
        lookups_before: before.map(|incident| incident.impact.lookups),
        lookups_after: after.map(|incident| incident.impact.lookups),
    }
}

impl Change {
    fn severity(&self) -> String {
        match (&self.severity_before, &self.severity_after) {
            (Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
            (Some(severity), _) | (None, Some(severity)) => severity.clone(),
            (None, None) => String::new(),
        }
    }

    fn lookups(&self) -> String {
        match (self.lookups_before, self.lookups_after) {
            (Some(before), Some(after)) => format!("lookups hurt: {before} before, {after} after"),
            (Some(before), None) => format!("lookups hurt: {before} before"),
            (None, Some(after)) => format!("lookups hurt: {after} after"),
            (None, None) => String::new(),
        }
    }
}

fn headline(verdicts: &[String; 2], [gone, new, same]: [&Vec<Change>; 3]) -> String {
    let loud = |changes: &[Change]| {
        let loud = |s: &Option<String>| s.as_deref().is_some_and(|severity| severity != "info");
        changes.iter().filter(|c| loud(&c.severity_after) || loud(&c.severity_before)).count()
    };
    let (gone, new, same) = (loud(gone), loud(new), loud(same));
    let counted = format!("{gone} gone, {new} new, {same} still there (beyond info)");
    match (gone, new, same) {
        (0, 0, 0) => "no incident in either report beyond info".to_owned(),
        (_, 0, 0) => format!("it is better: {counted}"),
        (0, _, _) if new > 0 => format!("it is worse: {counted}"),
        _ if verdicts[0] == verdicts[1] => format!("as {} as before: {counted}", verdicts[0]),
        _ => format!("it has changed: {counted}"),
    }
}

fn figures(before: &Report, after: &Report) -> Vec<Figure> {
    type Value = fn(&Report) -> Option<f64>;
    const FIGURES: [(&str, bool, Value); 14] = [
        ("capture, seconds", false, |r| Some(r.capture.duration_seconds)),
        ("lookups", false, |r| Some(r.traffic.lookups as f64)),
        ("failed lookups", true, |r| Some(r.traffic.failed_lookups as f64)),
        ("failed lookups, %", true, |r| share(r.traffic.failed_lookups, r.traffic.lookups)),
        ("slow lookups", true, |r| Some(r.traffic.slow_lookups as f64)),
        ("slow lookups, %", true, |r| share(r.traffic.slow_lookups, r.traffic.lookups)),
        ("lookup p50, seconds", true, |r| r.traffic.lookup_seconds.p50),
        ("lookup p99, seconds", true, |r| r.traffic.lookup_seconds.p99),
        ("longest lookup, seconds", true, |r| r.traffic.lookup_seconds.max),
        ("queries", false, |r| Some(r.traffic.queries as f64)),
        ("retransmissions", true, |r| Some(r.traffic.retransmissions as f64)),
        ("unanswered", true, |r| Some(r.traffic.unanswered as f64)),
        ("unanswered, %", true, |r| share(r.traffic.unanswered, r.traffic.transactions)),
        ("latency p95, ms", true, |r| r.traffic.latency_ms.p95),
    ];
    let figures = FIGURES.into_iter().map(|(label, less_is_better, value)| Figure {
        label,
        before: value(before),
        after: value(after),
        less_is_better,
    });
    figures.collect()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

impl Figure {
    fn cells(&self) -> Vec<String> {
        let value = |value: Option<f64>| value.map_or("-".to_owned(), amount);
        let change = match (self.before, self.after) {
            (Some(before), Some(after)) if before > 0.0 => {
                format!("{:+.0} %", (after - before) * 100.0 / before)
            }
            (Some(before), Some(after)) if after > before => "new".to_owned(),
            _ => String::new(),
        };
        vec![self.label.to_owned(), value(self.before), value(self.after), change]
    }
}

fn amount(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1_000.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
