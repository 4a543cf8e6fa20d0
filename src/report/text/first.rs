//! The first screen: verdict, culprit, window, who was hurt, proof, the next command.

use std::io::{self, Write};

use anstyle::Style as Paint;

use super::page::{Page, of_severity, of_status};
use crate::base::words::{Text, ToText, plain, text};
use crate::incident::Incident;
use crate::report::escape::terminal;
use crate::report::fold::{Entry, entries};
use crate::report::lines::{captured, cautions, culprits, frame, hurt, is_loud, ranks, window};
use crate::report::table::{cut, pad};

/// Incidents in the list of the first screen.
const LISTED: usize = 6;

impl Page<'_> {
    pub(super) fn first_screen(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let verdict = &analysis.verdict;
        let word = self.word(&text!("DNS {status}", status = verdict.status)).to_uppercase();
        let paint = Paint::new().bold().fg_color(Some(of_status(verdict.status).into()));
        writeln!(out, "{}", self.paint(paint, &word))?;
        self.statement(&verdict.headline, out)?;
        writeln!(out)?;
        if let Some(span) = analysis.span {
            self.field(&text!("capture"), &captured(analysis, span), out)?;
        }
        if let Some(top) = analysis.incidents.iter().find(|incident| is_loud(incident)) {
            self.top(top, out)?;
        }
        for caution in cautions(analysis) {
            self.field(&text!("caution"), &caution, out)?;
        }
        self.overview(out)
    }

    fn top(&self, top: &Incident, out: &mut dyn Write) -> io::Result<()> {
        self.field(&text!("culprit"), &culprits(top), out)?;
        self.field(&text!("when"), &window(self.view.analysis, top), out)?;
        self.field(&text!("hurt"), &hurt(top), out)?;
        if let Some(proof) = top.cause.evidence.first() {
            let at = plain(frame(self.view.analysis, proof.seen.at));
            let proof = text!("{at}  {summary}", at, summary = proof.summary);
            self.field(&text!("proof"), &proof, out)?;
        }
        if let Some(action) = top.cause.actions.first() {
            self.line(&text!("next"), &terminal(&action.command), out)?;
        }
        Ok(())
    }

    /// One line for each incident, where there is more than one.
    fn overview(&self, out: &mut dyn Write) -> io::Result<()> {
        let entries = entries(&self.view.analysis.incidents);
        if entries.len() < 2 {
            return Ok(());
        }
        let mut label = text!("incidents");
        for entry in entries.iter().take(LISTED) {
            let (rank, incident, title) = match entry {
                Entry::One(rank, incident) => {
                    let title = incident.cause.rule.title();
                    let title = match incident.cause.culprits.first() {
                        Some(culprit) => {
                            text!(
                                "{kind} {culprit}: {title}",
                                kind = culprit.word(),
                                culprit,
                                title
                            )
                        }
                        None => title,
                    };
                    (text!("#{rank}", rank), *incident, title)
                }
                Entry::Many(many) => {
                    let Some((_, first)) = many.first() else { continue };
                    let title = text!("{n} more of this rule", n = many.len());
                    (ranks(many.iter().map(|(rank, _)| *rank)), *first, title)
                }
            };
            let rank = self.word(&rank);
            let severity = pad(&self.word(&incident.severity.to_text()), 8);
            let paint = Paint::new().fg_color(Some(of_severity(incident.severity).into()));
            let rest = self.beside().saturating_sub(rank.len().max(3) + 11);
            let text = text!("{id}, {title}", id = plain(incident.cause.rule.id), title);
            let text = cut(&terminal(&self.word(&text)), rest);
            self.line(&label, &format!("{rank:<3} {} {text}", self.paint(paint, &severity)), out)?;
            label = Text::EMPTY;
        }
        if entries.len() > LISTED {
            let more = text!("and {n} more", n = entries.len() - LISTED);
            self.line(&Text::EMPTY, &self.word(&more), out)?;
        }
        Ok(())
    }
}
