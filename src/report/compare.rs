//! Two reports side by side: which incidents are gone, new, or still there, and the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;

use super::escape::{markdown, terminal};
use super::json::{IncidentV1, Report};
use super::table::{Align, table, wrap};
use super::text::Style;
use crate::analysis::Status;
use crate::base::Lang;
use crate::base::words::{Text, ToText, list, plain, text};
use crate::detect::{ALL, Culprit};
use crate::incident::Severity;

/// Culprits named of one incident.
const CULPRITS: usize = 3;

/// What changed from one report to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Always `dnswhy.comparison/1`.
    pub schema: &'static str,
    /// One sentence.
    pub headline: Text,
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

/// An incident of one or both reports: the same rule, the same culprits, in the order in which they began.
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
    pub label: Text,
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
        let (earlier, later) = (turns(before), turns(after));
        let known: BTreeMap<&Turn, &IncidentV1> = later.iter().zip(&after.incidents).collect();
        let (mut gone, mut same) = (Vec::new(), Vec::new());
        for (turn, incident) in earlier.iter().zip(&before.incidents) {
            match known.get(turn) {
                Some(still) => same.push(change(Some(incident), Some(still))),
                None => gone.push(change(Some(incident), None)),
            }
        }
        // The rest of the later report, in its order.
        let known: BTreeSet<&Turn> = earlier.iter().collect();
        let fresh = later.iter().zip(&after.incidents).filter(|(turn, _)| !known.contains(turn));
        let new: Vec<Change> = fresh.map(|(_, incident)| change(None, Some(incident))).collect();
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
        let lang = style.lang;
        let [before, after] = self.verdicts.each_ref().map(|status| terminal(&word(status, lang)));
        writeln!(out, "DNS {} -> {}", before.to_uppercase(), after.to_uppercase())?;
        writeln!(out, "  {}", self.headline.render(lang))?;
        for (title, changes) in self.parts() {
            if changes.is_empty() {
                continue;
            }
            writeln!(out, "\n{}", title.render(lang))?;
            for change in changes {
                let (severity, said) = (change.severity(lang), change.said(lang));
                let text = format!("{severity} {}: {said}", change.rule);
                for (index, line) in
                    wrap(&terminal(&text), style.width.saturating_sub(4)).iter().enumerate()
                {
                    writeln!(out, "  {}{line}", if index == 0 { "" } else { "  " })?;
                }
                writeln!(out, "    {}", change.lookups().render(lang))?;
            }
        }
        writeln!(out, "\n{}", text!("TRAFFIC").render(lang))?;
        let rows: Vec<Vec<String>> = self.traffic.iter().map(|figure| figure.cells(lang)).collect();
        let header = [
            (Text::EMPTY, Align::Left),
            (text!("before"), Align::Right),
            (text!("after"), Align::Right),
            (text!("change"), Align::Right),
        ]
        .map(|(title, align)| (title.render(lang), align));
        for line in table(&header, &rows) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Writes it for a ticket.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_markdown(&self, lang: Lang, out: &mut dyn Write) -> io::Result<()> {
        let [before, after] =
            self.verdicts.each_ref().map(|status| plain(markdown(&word(status, lang))));
        let title = text!("DNS before: {before}, after: {after}", before, after);
        writeln!(out, "# {}\n", title.render(lang))?;
        writeln!(out, "**{}**\n", markdown(&self.headline.render(lang)))?;
        for (title, changes) in self.parts() {
            if changes.is_empty() {
                continue;
            }
            writeln!(out, "## {}\n", title.render(lang))?;
            for change in changes {
                writeln!(
                    out,
                    "- {} **{}**: {} ({})",
                    markdown(&change.severity(lang)),
                    markdown(&change.rule),
                    markdown(&change.said(lang)),
                    markdown(&change.lookups().render(lang))
                )?;
            }
            writeln!(out)?;
        }
        writeln!(out, "## {}\n", text!("Traffic").render(lang))?;
        let columns = [text!("before"), text!("after"), text!("change")];
        let columns = columns.map(|column| column.render(lang));
        writeln!(out, "| | {} |\n| --- | ---: | ---: | ---: |", columns.join(" | "))?;
        for figure in &self.traffic {
            writeln!(out, "| {} |", figure.cells(lang).join(" | "))?;
        }
        Ok(())
    }

    fn parts(&self) -> [(Text, &[Change]); 3] {
        [(text!("NEW"), &self.new), (text!("STILL THERE"), &self.same), (text!("GONE"), &self.gone)]
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

/// Which incident of its kind it is: an outage may come back within one capture.
type Turn = (Key, usize);

/// Every incident of a report, told from others of its kind by the order in which they began.
fn turns(report: &Report) -> Vec<Turn> {
    let mut places: Vec<usize> = (0..report.incidents.len()).collect();
    places.sort_by_key(|place| report.incidents.get(*place).map(|incident| &incident.start));
    let mut met: BTreeMap<Key, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, Turn)> = places
        .into_iter()
        .filter_map(|place| {
            let key = key(report.incidents.get(place)?);
            let turn = met.entry(key.clone()).or_default();
            *turn += 1;
            Some((place, (key, *turn)))
        })
        .collect();
    turns.sort_unstable_by_key(|(place, _)| *place);
    turns.into_iter().map(|(_, turn)| turn).collect()
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
    fn severity(&self, lang: Lang) -> String {
        match (&self.severity_before, &self.severity_after) {
            (Some(before), Some(after)) if before != after => {
                format!("{} -> {}", word(before, lang), word(after, lang))
            }
            (Some(severity), _) | (None, Some(severity)) => word(severity, lang),
            (None, None) => String::new(),
        }
    }

    /// Its title. Reports hold it in English alone: in another language it is what the rule says of
    /// itself, and of whom.
    fn said(&self, lang: Lang) -> String {
        let rule = ALL.iter().find(|rule| lang != Lang::En && rule.id == self.rule);
        rule.map_or_else(
            || self.title.clone(),
            |rule| {
                let title = rule.title();
                if self.culprits.is_empty() {
                    return title.render(lang);
                }
                let culprits = list(self.culprits.iter().map(|who| blamed(who)), CULPRITS);
                text!("{title} ({culprits})", title, culprits).render(lang)
            },
        )
    }

    fn lookups(&self) -> Text {
        match (self.lookups_before, self.lookups_after) {
            (Some(before), Some(after)) => {
                text!("lookups hurt: {before} before, {after} after", before, after)
            }
            (Some(before), None) => text!("lookups hurt: {before} before", before),
            (None, Some(after)) => text!("lookups hurt: {after} after", after),
            (None, None) => Text::EMPTY,
        }
    }
}

/// A word of the contract, as people read it: a verdict or a severity.
fn said(word: &str) -> Text {
    let statuses = [Status::Healthy, Status::Degraded, Status::Failing, Status::Inconclusive];
    let severities =
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let words = statuses.iter().map(ToText::to_text);
    let mut words = words.chain(severities.iter().map(ToText::to_text));
    words.find(|known| *known == *word).unwrap_or_else(|| plain(word))
}

fn word(word: &str, lang: Lang) -> String {
    said(word).render(lang)
}

/// Who is to blame, its kind in a word for people.
fn blamed(culprit: &str) -> Text {
    let Some((kind, value)) = culprit.split_once(' ') else { return plain(culprit) };
    text!("{kind} {value}", kind = Culprit::word_of(kind), value = plain(value))
}

fn headline(verdicts: &[String; 2], [gone, new, same]: [&Vec<Change>; 3]) -> Text {
    let loud = |changes: &[Change]| {
        let loud = |s: &Option<String>| s.as_deref().is_some_and(|severity| severity != "info");
        changes.iter().filter(|c| loud(&c.severity_after) || loud(&c.severity_before)).count()
    };
    let (gone, new, same) = (loud(gone), loud(new), loud(same));
    let counted =
        text!("{gone} gone, {new} new, {same} still there (beyond info)", gone, new, same);
    match (gone, new, same) {
        (0, 0, 0) => text!("no incident in either report beyond info"),
        (_, 0, 0) => text!("it is better: {counted}", counted),
        (0, _, _) if new > 0 => text!("it is worse: {counted}", counted),
        _ if verdicts[0] == verdicts[1] => {
            text!("as {status} as before: {counted}", status = said(&verdicts[0]), counted)
        }
        _ => text!("it has changed: {counted}", counted),
    }
}

fn figures(before: &Report, after: &Report) -> Vec<Figure> {
    type Value = fn(&Report) -> Option<f64>;
    const FIGURES: [(Text, bool, Value); 14] = [
        (text!("capture, seconds"), false, |r| Some(r.capture.duration_seconds)),
        (text!("lookups"), false, |r| Some(r.traffic.lookups as f64)),
        (text!("failed lookups"), true, |r| Some(r.traffic.failed_lookups as f64)),
        (text!("failed lookups, %"), true, |r| share(r.traffic.failed_lookups, r.traffic.lookups)),
        (text!("slow lookups"), true, |r| Some(r.traffic.slow_lookups as f64)),
        (text!("slow lookups, %"), true, |r| share(r.traffic.slow_lookups, r.traffic.lookups)),
        (text!("lookup p50, seconds"), true, |r| r.traffic.lookup_seconds.p50),
        (text!("lookup p99, seconds"), true, |r| r.traffic.lookup_seconds.p99),
        (text!("longest lookup, seconds"), true, |r| r.traffic.lookup_seconds.max),
        (text!("queries"), false, |r| Some(r.traffic.queries as f64)),
        (text!("retransmissions"), true, |r| Some(r.traffic.retransmissions as f64)),
        (text!("unanswered"), true, |r| Some(r.traffic.unanswered as f64)),
        (text!("unanswered, %"), true, |r| share(r.traffic.unanswered, r.traffic.transactions)),
        (text!("latency p95, ms"), true, |r| r.traffic.latency_ms.p95),
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
    fn cells(&self, lang: Lang) -> Vec<String> {
        let value = |value: Option<f64>| value.map_or("-".to_owned(), amount);
        let change = match (self.before, self.after) {
            (Some(before), Some(after)) if before > 0.0 => {
                format!("{:+.0} %", (after - before) * 100.0 / before)
            }
            (Some(before), Some(after)) if after > before => text!("new").render(lang),
            _ => String::new(),
        };
        vec![self.label.render(lang), value(self.before), value(self.after), change]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::View;
    use crate::testkit::analyse;

    /// One pod is not answered for a while.
    fn report() -> Report {
        let text = "
            pod = 10.244.0.2
            dns = 10.96.0.10
            repeat 60 every 1
            0.0   pod > dns rd A n{n}.example.
            0.001 pod < dns n{n}.example. 5 A 192.0.2.1
            end
            repeat 12 every 1 from 60
            0.0   pod:41000 > dns id 7000 rd A m{n}.example.
            5.0   pod:41000 > dns id 7000 rd A m{n}.example.
            end
            90.0  pod > dns rd A o.example.
            90.001 pod < dns o.example. 5 A 192.0.2.1
        ";
        Report::of(&View::of(&analyse(text)))
    }

    #[test]
    fn an_outage_that_comes_again_is_another_one() {
        let once = report();
        let mut twice = once.clone();
        let first = once.incidents.first().unwrap();
        let again = IncidentV1 { start: "2026-01-05T11:00:00Z".to_owned(), ..first.clone() };
        twice.incidents.insert(0, again);
        let counts = |before, after| {
            let Comparison { gone, new, same, .. } = Comparison::of(before, after);
            (gone.len(), new.len(), same.len())
        };
        let all = once.incidents.len();
        assert_eq!(counts(&twice, &twice), (0, 0, all + 1));
        assert_eq!(counts(&once, &twice), (0, 1, all));
        assert_eq!(counts(&twice, &once), (1, 0, all));
    }
}
