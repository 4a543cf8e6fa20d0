//! One incident after the other: what, when, who, why, the proof, what to do, what it is not.

use std::io::{self, Write};

use anstyle::Style as Paint;

use super::page::{Page, of_severity};
use crate::base::words::{clock, list};
use crate::incident::Incident;
use crate::report::escape::terminal;
use crate::report::filter::display_filter;
use crate::report::fold::{Entry, entries};
use crate::report::lines::{culprits, frame, hurt, is_loud, ranks, window};
use crate::report::timeline::bar;

/// Evidence frames shown.
const FRAMES: usize = 6;
/// Titles of a folded tail.
const TITLES: usize = 4;

impl Page<'_> {
    pub(super) fn incidents(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in entries(&self.view.analysis.incidents) {
            match entry {
                Entry::One(rank, incident) => self.incident(rank, incident, out)?,
                Entry::Many(many) => self.tail(&many, out)?,
            }
        }
        Ok(())
    }

    fn title(&self, rank: &str, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let cause = &incident.cause;
        let severity = incident.severity.to_string().to_uppercase();
        let label = format!("{rank} {severity} {}", cause.rule.id);
        let paint = Paint::new().bold().fg_color(Some(of_severity(incident.severity).into()));
        let sure = format!("{}, score {}", cause.confidence, incident.score);
        writeln!(out, "\n{}  {}", self.paint(paint, &label), sure)
    }

    fn incident(&self, rank: usize, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let (cause, analysis) = (&incident.cause, self.view.analysis);
        self.title(&format!("#{rank}"), incident, out)?;
        self.statement(&cause.title, out)?;
        if let Some(capture) = analysis.span {
            self.line("timeline", &bar(capture, cause.span, self.beside().clamp(20, 80)), out)?;
        }
        self.field("when", &window(incident), out)?;
        self.field("culprit", &culprits(incident), out)?;
        if is_loud(incident) {
            self.field("hurt", &hurt(incident), out)?;
        }
        self.field("why", &cause.cause, out)?;
        let facts = cause.facts.iter().map(|fact| format!("{}: {}", fact.label, fact.value));
        self.list("facts", facts, out)?;
        let evidence = cause.evidence.iter().take(FRAMES).map(|proof| {
            let at = frame(analysis, proof.seen.at);
            format!("{at}  {}  {}", clock(proof.seen.ts), proof.summary)
        });
        self.list("evidence", evidence, out)?;
        if cause.evidence.len() > FRAMES {
            self.line("", &format!("and {} more frames", cause.evidence.len() - FRAMES), out)?;
        }
        self.line("wireshark", &display_filter(incident), out)?;
        for (index, action) in cause.actions.iter().enumerate() {
            self.field(if index == 0 { "do" } else { "" }, &format!("{}:", action.why), out)?;
            self.line("", &format!("  {}", terminal(&action.command)), out)?;
        }
        let ruled_out = cause.ruled_out.iter().map(|out| format!("{}: {}", out.rule, out.because));
        self.list("not", ruled_out, out)?;
        let explained = incident.symptoms.iter().map(|s| format!("{}: {}", s.rule, s.title));
        self.list("explains", explained, out)
    }

    /// Many quiet incidents of one rule.
    fn tail(&self, many: &[(usize, &Incident)], out: &mut dyn Write) -> io::Result<()> {
        let Some((_, first)) = many.first() else { return Ok(()) };
        self.title(&ranks(many.iter().map(|(rank, _)| *rank)), first, out)?;
        let lead = format!(
            "{} more incidents of this rule, none louder than {}; the JSON report has them all",
            many.len(),
            first.severity
        );
        self.statement(&lead, out)?;
        let culprits: Vec<String> = many
            .iter()
            .filter_map(|(_, incident)| incident.cause.culprits.first())
            .map(ToString::to_string)
            .collect();
        self.field("culprits", &list(culprits, 12), out)?;
        let titles = many.iter().take(TITLES).map(|(_, incident)| incident.cause.title.clone());
        self.list("such as", titles, out)
    }
}
