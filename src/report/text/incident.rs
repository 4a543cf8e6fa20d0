//! One incident after the other: what, when, who, why, the proof, what to do, what it is not.

use std::io::{self, Write};

use anstyle::Style as Paint;

use super::page::{Page, of_severity};
use crate::base::words::{Text, ToText, list, plain, text};
use crate::detect::Fact;
use crate::incident::Incident;
use crate::report::escape::terminal;
use crate::report::filter::display_filter;
use crate::report::fold::{Entry, entries};
use crate::report::lines::{culprits, frame, hurt, is_loud, ranks, sure, window};
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

    fn title(&self, rank: &Text, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let cause = &incident.cause;
        let severity = self.word(&incident.severity.to_text()).to_uppercase();
        let label = format!("{} {severity} {}", self.word(rank), cause.rule.id);
        let paint = Paint::new().bold().fg_color(Some(of_severity(incident.severity).into()));
        let sure = self.word(&sure(incident));
        writeln!(out, "\n{}  {sure}", self.paint(paint, &label))
    }

    fn incident(&self, rank: usize, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let (cause, analysis) = (&incident.cause, self.view.analysis);
        self.title(&text!("#{rank}", rank), incident, out)?;
        self.statement(&cause.title, out)?;
        if let Some(capture) = analysis.span {
            self.line(
                &text!("timeline"),
                &bar(capture, cause.span, self.beside().clamp(20, 80)),
                out,
            )?;
        }
        self.field(&text!("when"), &window(analysis, incident), out)?;
        self.field(&text!("culprit"), &culprits(incident), out)?;
        if is_loud(incident) {
            if let Some(place) = cause.place.words() {
                self.field(&text!("where"), &place, out)?;
            }
            self.field(&text!("hurt"), &hurt(incident), out)?;
        }
        self.field(&text!("why"), &cause.cause, out)?;
        let facts = cause.facts.iter();
        let facts = facts.map(|Fact { label, value }| text!("{label}: {value}", label, value));
        self.list(&text!("facts"), facts, out)?;
        let evidence = cause.evidence.iter().take(FRAMES).map(|proof| {
            let (at, time) = (plain(frame(analysis, proof.seen.at)), analysis.clock(proof.seen.ts));
            text!("{at}  {time}  {summary}", at, time, summary = proof.summary)
        });
        self.list(&text!("evidence"), evidence, out)?;
        if cause.evidence.len() > FRAMES {
            let more = text!("and {n} more frames", n = cause.evidence.len() - FRAMES);
            self.line(&Text::EMPTY, &self.word(&more), out)?;
        }
        self.line(&plain("wireshark"), &display_filter(incident), out)?;
        for (index, action) in cause.actions.iter().enumerate() {
            let label = if index == 0 { text!("do") } else { Text::EMPTY };
            self.field(&label, &text!("{why}:", why = action.why), out)?;
            self.line(&Text::EMPTY, &format!("  {}", terminal(&action.command)), out)?;
        }
        let of_rule = |rule, said| text!("{rule}: {said}", rule = plain(rule), said);
        let ruled_out = cause.ruled_out.iter().map(|out| of_rule(out.rule, &out.because));
        self.list(&text!("not"), ruled_out, out)?;
        let explained = incident.symptoms.iter().map(|s| of_rule(s.rule, &s.title));
        self.list(&text!("explains"), explained, out)
    }

    /// Many quiet incidents of one rule.
    fn tail(&self, many: &[(usize, &Incident)], out: &mut dyn Write) -> io::Result<()> {
        let Some((_, first)) = many.first() else { return Ok(()) };
        self.title(&ranks(many.iter().map(|(rank, _)| *rank)), first, out)?;
        let lead = text!(
            "{n} more incidents of this rule, none louder than {severity}; the JSON report has \
             them all",
            n = many.len(),
            severity = first.severity
        );
        self.statement(&lead, out)?;
        let culprits = many.iter().filter_map(|(_, incident)| incident.cause.culprits.first());
        self.field(&text!("culprits"), &list(culprits, 12), out)?;
        let titles = many.iter().take(TITLES).map(|(_, incident)| incident.cause.title.clone());
        self.list(&text!("such as"), titles, out)
    }
}
