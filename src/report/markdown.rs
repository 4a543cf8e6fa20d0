//! The report for a ticket: plain GitHub-flavoured Markdown, evidence folded away.

use std::io::{self, Write};

use super::escape::{code, markdown};
use super::lines::{frame, hurt, is_loud, window};
use crate::analysis::Analysis;
use crate::base::words::{clock, count, date, duration, percent};
use crate::incident::Incident;

/// Servers shown one by one.
const TOP: usize = 20;

/// Writes the report.
pub(super) fn write(analysis: &Analysis, out: &mut dyn Write) -> io::Result<()> {
    let status = analysis.verdict.status.to_string();
    writeln!(out, "# DNS {status}\n\n**{}**\n", markdown(&analysis.verdict.headline))?;
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
    for health in analysis.health.iter().filter(|health| health.serious) {
        writeln!(out, "> **{}**: {}\n", health.rule, markdown(&health.detail))?;
    }
    for problem in &analysis.left_out {
        writeln!(out, "> {}\n", markdown(problem))?;
    }
    for file in &analysis.files {
        for problem in &file.problems {
            writeln!(out, "> {}: {}\n", code(&file.path), markdown(problem))?;
        }
    }
    for (index, incident) in analysis.incidents.iter().enumerate() {
        self::incident(index + 1, incident, analysis, out)?;
    }
    traffic(analysis, out)?;
    health(analysis, out)
}

fn incident(
    rank: usize,
    incident: &Incident,
    analysis: &Analysis,
    out: &mut dyn Write,
) -> io::Result<()> {
    let cause = &incident.cause;
    writeln!(
        out,
        "## {rank}. {}: {}\n\n{}\n",
        incident.severity,
        cause.rule.id,
        markdown(&cause.title)
    )?;
    writeln!(out, "| | |\n| --- | --- |")?;
    let culprits: Vec<String> = cause
        .culprits
        .iter()
        .take(5)
        .map(|culprit| format!("{} {}", culprit.kind(), code(&culprit.to_string())))
        .collect();
    if !culprits.is_empty() {
        writeln!(out, "| culprit | {} |", culprits.join(", "))?;
    }
    writeln!(out, "| when | {} |", markdown(&window(incident)))?;
    if is_loud(incident) {
        writeln!(out, "| hurt | {} |", markdown(&hurt(incident)))?;
    }
    writeln!(out, "| confidence | {} (score {}) |", cause.confidence, incident.score)?;
    for fact in &cause.facts {
        writeln!(out, "| {} | {} |", markdown(fact.label), markdown(&fact.value))?;
    }
    writeln!(out, "\n{}\n", markdown(&cause.cause))?;
    if !cause.actions.is_empty() {
        writeln!(out, "Next:\n")?;
        for action in &cause.actions {
            writeln!(out, "- {}: {}", markdown(&action.why), code(&action.command))?;
        }
        writeln!(out)?;
    }
    if !cause.evidence.is_empty() {
        writeln!(
            out,
            "<details><summary>Evidence</summary>\n\n| frame | time (UTC) | what |\n| --- | --- | --- |"
        )?;
        for proof in &cause.evidence {
            writeln!(
                out,
                "| {} | {} | {} |",
                code(&frame(analysis, proof.seen.at)),
                clock(proof.seen.ts),
                markdown(&proof.summary)
            )?;
        }
        writeln!(out, "\n</details>\n")?;
    }
    for ruled in &cause.ruled_out {
        writeln!(out, "- not {}: {}", code(ruled.rule), markdown(&ruled.because))?;
    }
    for symptom in &incident.symptoms {
        writeln!(out, "- explains {}: {}", code(symptom.rule), markdown(&symptom.title))?;
    }
    writeln!(out)
}

fn traffic(analysis: &Analysis, out: &mut dyn Write) -> io::Result<()> {
    let traffic = &analysis.traffic;
    writeln!(
        out,
        "## Traffic\n\n{}: {} failed, {} slower than 1 s. {}: {} answered, {} unanswered, {} late, \
         {} unknown.\n",
        count(traffic.lookups, "lookup"),
        traffic.failed_lookups,
        traffic.slow_lookups,
        count(traffic.transactions, "transaction"),
        traffic.answered,
        traffic.unanswered,
        traffic.late,
        traffic.unknown
    )?;
    let mut servers: Vec<_> = traffic.servers.iter().collect();
    servers.sort_by_key(|(address, server)| (std::cmp::Reverse(server.tally.queries), **address));
    if !servers.is_empty() {
        writeln!(
            out,
            "| server | role | queries | answered | unanswered | share | median | p95 |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
        )?;
    }
    for (address, server) in servers.into_iter().take(TOP) {
        let tally = &server.tally;
        let time = |per_mille| tally.latency.quantile(per_mille).map_or("-".to_owned(), duration);
        writeln!(
            out,
            "| {address} | {} | {} | {} | {} | {} | {} | {} |",
            server.role,
            tally.queries,
            tally.answered,
            tally.unanswered,
            percent(tally.unanswered, tally.answered + tally.unanswered + tally.late),
            time(500),
            time(950)
        )?;
    }
    writeln!(out)
}

fn health(analysis: &Analysis, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## What this capture shows, and what it cannot\n")?;
    let coverage = &analysis.coverage;
    writeln!(
        out,
        "- {} read: {} with DNS, {} without, {} not understood",
        count(coverage.frames, "frame"),
        coverage.dns_frames,
        coverage.not_dns,
        coverage.undecodable.values().sum::<u64>()
    )?;
    for health in &analysis.health {
        writeln!(out, "- {}: {}", code(health.rule), markdown(&health.detail))?;
    }
    Ok(())
}
