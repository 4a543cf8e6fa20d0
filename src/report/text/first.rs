//! The first screen: verdict, culprit, window, who was hurt, proof, the next command.

use std::io::{self, Write};

use anstyle::Style as Paint;

use super::page::{Page, of_severity, of_status};
use crate::base::words::{clock, count, date, duration};
use crate::incident::Incident;
use crate::report::escape::terminal;
use crate::report::fold::{Entry, entries};
use crate::report::lines::{cautions, culprits, frame, hurt, is_loud, ranks, window};

/// Incidents in the list of the first screen.
const LISTED: usize = 6;

impl Page<'_> {
    pub(super) fn first_screen(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let verdict = &analysis.verdict;
        let word = format!("DNS {}", verdict.status.to_string().to_uppercase());
        let paint = Paint::new().bold().fg_color(Some(of_status(verdict.status).into()));
        writeln!(out, "{}", self.paint(paint, &word))?;
        self.statement(&verdict.headline, out)?;
        writeln!(out)?;
        if let Some(span) = analysis.span {
            let text = format!(
                "{} to {} UTC ({}), {}, {}",
                date(span.start),
                clock(span.end),
                duration(span.length()),
                count(analysis.files.len() as u64, "file"),
                count(analysis.coverage.frames, "frame")
            );
            self.field("capture", &text, out)?;
        }
        if let Some(top) = analysis.incidents.iter().find(|incident| is_loud(incident)) {
            self.top(top, out)?;
        }
        for caution in cautions(analysis) {
            self.field("caution", &caution, out)?;
        }
        self.overview(out)
    }

    fn top(&self, top: &Incident, out: &mut dyn Write) -> io::Result<()> {
        self.field("culprit", &culprits(top), out)?;
        self.field("when", &window(top), out)?;
        self.field("hurt", &hurt(top), out)?;
        if let Some(proof) = top.cause.evidence.first() {
            let proof = format!("{}  {}", frame(self.view.analysis, proof.seen.at), proof.summary);
            self.field("proof", &proof, out)?;
        }
        if let Some(action) = top.cause.actions.first() {
            self.line("next", &terminal(&action.command), out)?;
        }
        Ok(())
    }

    /// One line for each incident, where there is more than one.
    fn overview(&self, out: &mut dyn Write) -> io::Result<()> {
        let entries = entries(&self.view.analysis.incidents);
        if entries.len() < 2 {
            return Ok(());
        }
        let mut label = "incidents";
        for entry in entries.iter().take(LISTED) {
            let (rank, incident, title) = match entry {
                Entry::One(rank, incident) => {
                    let title = incident.cause.rule.title;
                    let title = match incident.cause.culprits.first() {
                        Some(culprit) => format!("{} {culprit}: {title}", culprit.kind()),
                        None => title.to_owned(),
                    };
                    (format!("#{rank}"), *incident, title)
                }
                Entry::Many(many) => {
                    let Some((_, first)) = many.first() else { continue };
                    let title = format!("{} more of this rule", many.len());
                    (ranks(many.iter().map(|(rank, _)| *rank)), *first, title)
                }
            };
            let severity = format!("{:<8}", incident.severity.to_string());
            let paint = Paint::new().fg_color(Some(of_severity(incident.severity).into()));
            let rest = self.beside().saturating_sub(rank.len().max(3) + 11);
            let text = format!("{}, {title}", incident.cause.rule.id);
            let text = crate::report::table::cut(&terminal(&text), rest);
            self.line(label, &format!("{rank:<3} {} {text}", self.paint(paint, &severity)), out)?;
            label = "";
        }
        if entries.len() > LISTED {
            self.line("", &format!("and {} more", entries.len() - LISTED), out)?;
        }
        Ok(())
    }
}
