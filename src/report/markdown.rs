//! The report for a ticket: GitHub-flavoured Markdown that GitLab and Jira render too, evidence
//! folded away, and a block of plain fields for each provider's support.

use std::io::{self, Write};

use super::escape::{code, fenced, markdown};
use super::filter::display_filter;
use super::fold::{Entry, entries};
use super::lines::{
    answers, cautions, clients, frame, hurt, is_loud, looks_like, lookups, lost_of, questions,
    ranks, servers, window,
};
use super::provider::provider_block;
use super::view::View;
use crate::base::words::{clock, count, date, duration, percent};
use crate::incident::Incident;

/// Servers and clients shown one by one.
const TOP: usize = 20;
/// Culprits named of one incident.
const CULPRITS: usize = 5;

/// Writes the report.
pub(super) fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { view };
    page.verdict(out)?;
    let entries = entries(&view.analysis.incidents);
    if entries.len() > 1 {
        page.overview(&entries, out)?;
    }
    for entry in &entries {
        match entry {
            Entry::One(rank, incident) => page.incident(*rank, incident, out)?,
            Entry::Many(many) => page.tail(many, out)?,
        }
    }
    page.traffic(out)?;
    page.health(out)
}

struct Page<'a> {
    view: &'a View<'a>,
}

impl Page<'_> {
    /// A sentence, addresses named.
    fn say(&self, text: &str) -> String {
        markdown(&self.view.names.annotate(text))
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let status = analysis.verdict.status.to_string();
        writeln!(out, "# DNS {status}\n\n**{}**\n", self.say(&analysis.verdict.headline))?;
        if let Some(span) = analysis.span {
            writeln!(
                out,
                "Capture: {} to {} UTC ({}), {}, {}.\n",
                date(span.start),
                clock(span.end),
                duration(span.length()),
                count(analysis.files.len() as u64, "file"),
                count(analysis.coverage.frames, "frame")
            )?;
        }
        for caution in cautions(analysis) {
            writeln!(out, "> {}\n", self.say(&caution))?;
        }
        Ok(())
    }

    fn overview(&self, entries: &[Entry<'_>], out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "| | severity | rule | what | when (UTC) |\n| --- | --- | --- | --- | --- |"
        )?;
        for entry in entries {
            let (rank, incident, what) = match entry {
                Entry::One(rank, incident) => {
                    (format!("#{rank}"), *incident, self.say(&incident.cause.title))
                }
                Entry::Many(many) => {
                    let Some((_, first)) = many.first() else { continue };
                    let rank = ranks(many.iter().map(|(rank, _)| *rank));
                    (rank, *first, format!("{} more of this rule", many.len()))
                }
            };
            let span = incident.cause.span;
            let (start, end) = (clock(span.start), clock(span.end));
            let (severity, rule) = (incident.severity, incident.cause.rule.id);
            let rank = markdown(&rank);
            writeln!(out, "| {rank} | {severity} | `{rule}` | {what} | {start} to {end} |")?;
        }
        writeln!(out)
    }

    fn incident(&self, rank: usize, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let cause = &incident.cause;
        let severity = incident.severity;
        writeln!(out, "## {rank}. {severity}: {}\n\n{}\n", cause.rule.id, self.say(&cause.title))?;
        writeln!(out, "| | |\n| --- | --- |")?;
        let culprits = cause.culprits.iter().take(CULPRITS);
        let culprits: Vec<String> =
            culprits.map(|c| format!("{} {}", c.kind(), code(&c.to_string()))).collect();
        if !culprits.is_empty() {
            writeln!(out, "| culprit | {} |", culprits.join(", "))?;
        }
        writeln!(out, "| when | {} |", markdown(&window(incident)))?;
        if is_loud(incident) {
            writeln!(out, "| hurt | {} |", self.say(&hurt(incident)))?;
        }
        writeln!(out, "| confidence | {} (score {}) |", cause.confidence, incident.score)?;
        for fact in &cause.facts {
            writeln!(out, "| {} | {} |", markdown(fact.label), self.say(&fact.value))?;
        }
        writeln!(out, "\n{}\n", self.say(&cause.cause))?;
        if !cause.actions.is_empty() {
            writeln!(out, "What to do:\n")?;
            for action in &cause.actions {
                writeln!(out, "- {}:\n\n{}\n", self.say(&action.why), fenced(&action.command, 2))?;
            }
        }
        for ruled in &cause.ruled_out {
            writeln!(out, "- not {}: {}", code(ruled.rule), self.say(&ruled.because))?;
        }
        for symptom in &incident.symptoms {
            writeln!(out, "- explains {}: {}", code(symptom.rule), self.say(&symptom.title))?;
        }
        if !(cause.ruled_out.is_empty() && incident.symptoms.is_empty()) {
            writeln!(out)?;
        }
        self.evidence(incident, out)?;
        if is_loud(incident) {
            let block = provider_block(self.view, incident);
            fold("For the provider", &fenced(&block, 0), out)?;
        }
        Ok(())
    }

    fn evidence(&self, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        if incident.cause.evidence.is_empty() {
            return Ok(());
        }
        let mut inner = String::from("| frame | time (UTC) | what |\n| --- | --- | --- |\n");
        for proof in &incident.cause.evidence {
            inner.push_str(&format!(
                "| {} | {} | {} |\n",
                code(&frame(self.view.analysis, proof.seen.at)),
                clock(proof.seen.ts),
                self.say(&proof.summary)
            ));
        }
        inner.push_str("\nIn Wireshark:\n\n");
        inner.push_str(&fenced(&display_filter(incident), 0));
        fold("Evidence", &inner, out)
    }

    /// Many quiet incidents of one rule.
    fn tail(&self, many: &[(usize, &Incident)], out: &mut dyn Write) -> io::Result<()> {
        let Some((_, first)) = many.first() else { return Ok(()) };
        let rule = first.cause.rule.id;
        let ranks = markdown(&ranks(many.iter().map(|(rank, _)| *rank)));
        writeln!(out, "## {ranks} {}: {} more of {rule}\n", first.severity, many.len())?;
        let mut inner = String::new();
        for (rank, incident) in many {
            inner.push_str(&format!("- {rank}: {}\n", self.say(&incident.cause.title)));
        }
        fold("All of them", &inner, out)
    }

    fn traffic(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let traffic = &analysis.traffic;
        writeln!(out, "## Traffic\n")?;
        for line in [lookups(traffic), questions(traffic), answers(traffic)] {
            writeln!(out, "- {}", markdown(&line))?;
        }
        writeln!(out)?;
        let servers = servers(analysis);
        if !servers.is_empty() {
            writeln!(
                out,
                "| server | role | queries | answered | late | unanswered | of all | median | p95 |\n\
                 | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
            )?;
        }
        for (address, server) in servers.into_iter().take(TOP) {
            let tally = &server.tally;
            let time =
                |per_mille| tally.latency.quantile(per_mille).map_or("-".to_owned(), duration);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                self.say(&address.to_string()),
                server.role,
                tally.queries,
                tally.answered,
                tally.late,
                tally.unanswered,
                percent(tally.unanswered, lost_of(tally)),
                time(500),
                time(950)
            )?;
        }
        let clients = clients(analysis);
        if !clients.is_empty() {
            writeln!(
                out,
                "\n| client | lookups | failed | slow | resolver looks like |\n\
                 | --- | ---: | ---: | ---: | --- |"
            )?;
        }
        for (address, client) in clients.into_iter().take(TOP) {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                self.say(&address.to_string()),
                client.lookups,
                client.failed_lookups,
                client.slow_lookups,
                markdown(&looks_like(client))
            )?;
        }
        writeln!(out)
    }

    fn health(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "## What this capture shows, and what it cannot\n")?;
        let coverage = &self.view.analysis.coverage;
        writeln!(
            out,
            "- {} read: {} with DNS, {} without, {} not understood",
            count(coverage.frames, "frame"),
            coverage.dns_frames,
            coverage.not_dns,
            coverage.undecodable.values().sum::<u64>()
        )?;
        for health in &self.view.analysis.health {
            writeln!(out, "- {}: {}", code(health.rule), self.say(&health.detail))?;
        }
        Ok(())
    }
}

/// Something to unfold; where `details` is not known, its contents stand there open.
fn fold(title: &str, inner: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<details><summary>{title}</summary>\n\n{}\n\n</details>\n", inner.trim_end())
}
