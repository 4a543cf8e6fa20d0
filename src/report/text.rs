//! The report for a terminal: the first screen closes the ticket, the rest proves it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Paint};

use super::escape::terminal;
use super::lines::{frame, hurt, is_loud, window};
use super::resolvers;
use super::table::{Align, table, wrap};
use super::timeline::bar;
use crate::analysis::{Analysis, Status};
use crate::base::words::{clock, count, date, duration, percent};
use crate::incident::{Incident, Severity};

/// How a text report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// Whether to colour.
    pub colour: bool,
}

impl Default for Style {
    /// As wide as a page, without colour: what a file or a pipe gets.
    fn default() -> Self {
        Self { width: 100, colour: false }
    }
}

/// Servers and clients shown one by one.
const TOP: usize = 10;
/// Evidence frames shown.
const FRAMES: usize = 6;

/// Writes the report.
pub(super) fn write(analysis: &Analysis, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { analysis, style };
    page.verdict(out)?;
    for (index, incident) in analysis.incidents.iter().enumerate() {
        page.incident(index + 1, incident, out)?;
    }
    page.traffic(out)?;
    page.servers(out)?;
    page.clients(out)?;
    page.capture(out)
}

struct Page<'a> {
    analysis: &'a Analysis,
    style: Style,
}

impl Page<'_> {
    fn paint(&self, paint: Paint, text: &str) -> String {
        if self.style.colour {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn heading(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint(Paint::new().bold(), text))
    }

    /// A labelled paragraph: the label in the margin, the text wrapped beside it.
    fn field(&self, label: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let lines = wrap(&terminal(text), self.style.width.saturating_sub(14).max(30));
        let label_painted = self.paint(Paint::new().dimmed(), &format!("{label:<11}"));
        for (index, line) in lines.iter().enumerate() {
            if index == 0 {
                writeln!(out, "  {label_painted} {line}")?;
            } else {
                writeln!(out, "  {:<11} {line}", "")?;
            }
        }
        Ok(())
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = &self.analysis.verdict;
        let colour = match verdict.status {
            Status::Healthy => AnsiColor::Green,
            Status::Degraded | Status::Inconclusive => AnsiColor::Yellow,
            Status::Failing => AnsiColor::Red,
        };
        let word = format!("DNS {}", verdict.status.to_string().to_uppercase());
        let paint = Paint::new().bold().fg_color(Some(colour.into()));
        let headline = wrap(&terminal(&verdict.headline), self.style.width.saturating_sub(2));
        writeln!(out, "{}", self.paint(paint, &word))?;
        for line in headline {
            writeln!(out, "  {line}")?;
        }
        writeln!(out)?;
        if let Some(span) = self.analysis.span {
            let text = format!(
                "{} to {} UTC ({}), {}, {}",
                date(span.start),
                clock(span.end),
                duration(span.length()),
                count(self.analysis.files.len() as u64, "file"),
                count(self.analysis.coverage.frames, "frame")
            );
            self.field("capture", &text, out)?;
        }
        let Some(top) = self.analysis.incidents.iter().find(|incident| is_loud(incident)) else {
            return self.caveats(out);
        };
        self.field("culprit", &Self::culprits(top), out)?;
        self.field("when", &window(top), out)?;
        self.field("hurt", &hurt(top), out)?;
        if let Some(proof) = top.cause.evidence.first() {
            let proof = format!("{}  {}", frame(self.analysis, proof.seen.at), proof.summary);
            self.field("proof", &proof, out)?;
        }
        if let Some(action) = top.cause.actions.first() {
            self.field("next", &action.command, out)?;
        }
        let others = self.analysis.incidents.iter().filter(|i| is_loud(i)).count() - 1;
        if others > 0 {
            self.field("also", &format!("{} below", count(others as u64, "more incident")), out)?;
        }
        self.caveats(out)
    }

    fn caveats(&self, out: &mut dyn Write) -> io::Result<()> {
        for health in self.analysis.health.iter().filter(|health| health.serious) {
            self.field("caution", &format!("{}: {}", health.rule, health.detail), out)?;
        }
        for problem in self.problems() {
            self.field("caution", &problem, out)?;
        }
        Ok(())
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        let left_out = self.analysis.left_out.iter().cloned();
        let damaged = self.analysis.files.iter().flat_map(|file| {
            file.problems.iter().map(move |problem| format!("{}: {problem}", file.path))
        });
        left_out.chain(damaged)
    }

    fn culprits(incident: &Incident) -> String {
        let culprits = &incident.cause.culprits;
        if culprits.is_empty() {
            return "not told by this capture".to_owned();
        }
        culprits
            .iter()
            .take(5)
            .map(|culprit| format!("{} {culprit}", culprit.kind()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn incident(&self, rank: usize, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let cause = &incident.cause;
        let colour = match incident.severity {
            Severity::Critical | Severity::High => AnsiColor::Red,
            Severity::Medium => AnsiColor::Yellow,
            Severity::Low => AnsiColor::Cyan,
            Severity::Info => AnsiColor::Blue,
        };
        let label =
            format!("#{rank} {} {}", incident.severity.to_string().to_uppercase(), cause.rule.id);
        let paint = Paint::new().bold().fg_color(Some(colour.into()));
        writeln!(
            out,
            "\n{}  {}, score {}",
            self.paint(paint, &label),
            cause.confidence,
            incident.score
        )?;
        for line in wrap(&terminal(&cause.title), self.style.width.saturating_sub(2)) {
            writeln!(out, "  {line}")?;
        }
        if let Some(capture) = self.analysis.span {
            let width = self.style.width.saturating_sub(14).clamp(20, 80);
            self.field("timeline", &bar(capture, cause.span, width), out)?;
        }
        self.field("when", &window(incident), out)?;
        self.field("culprit", &Self::culprits(incident), out)?;
        if is_loud(incident) {
            self.field("hurt", &hurt(incident), out)?;
        }
        self.field("why", &cause.cause, out)?;
        for fact in &cause.facts {
            self.field("fact", &format!("{}: {}", fact.label, fact.value), out)?;
        }
        for proof in cause.evidence.iter().take(FRAMES) {
            let text = format!(
                "{}  {}  {}",
                frame(self.analysis, proof.seen.at),
                clock(proof.seen.ts),
                proof.summary
            );
            self.field("frame", &text, out)?;
        }
        for action in &cause.actions {
            self.field("do", &format!("{}:", action.why), out)?;
            writeln!(out, "  {:<11}   {}", "", terminal(&action.command))?;
        }
        for out_ruled in &cause.ruled_out {
            self.field("not", &format!("{}: {}", out_ruled.rule, out_ruled.because), out)?;
        }
        for symptom in &incident.symptoms {
            self.field("explains", &format!("{}: {}", symptom.rule, symptom.title), out)?;
        }
        Ok(())
    }

    fn traffic(&self, out: &mut dyn Write) -> io::Result<()> {
        let traffic = &self.analysis.traffic;
        self.heading("TRAFFIC (copies and NAT legs folded)", out)?;
        let text = format!(
            "{}, {} failed, {} slower than 1 s; {}",
            count(traffic.lookups, "lookup"),
            traffic.failed_lookups,
            traffic.slow_lookups,
            match (traffic.lookup_times.quantile(500), traffic.lookup_times.max()) {
                (Some(p50), Some(max)) =>
                    format!("half took at most {}, the longest {}", duration(p50), duration(max)),
                _ => "none could be timed".to_owned(),
            }
        );
        self.field("lookups", &text, out)?;
        let text = format!(
            "{}: {} answered, {} unanswered, {} late, {} unknown; {} in {} sent",
            count(traffic.transactions, "transaction"),
            traffic.answered,
            traffic.unanswered,
            traffic.late,
            traffic.unknown,
            count(traffic.retransmissions, "retransmission"),
            count(traffic.queries, "query"),
        );
        self.field("questions", &text, out)?;
        let rcodes: Vec<String> =
            traffic.rcodes.iter().map(|(rcode, count)| format!("{rcode} {count}")).collect();
        let text = format!(
            "{}; {} without data, {} truncated",
            rcodes.join(", "),
            traffic.nodata,
            traffic.truncated
        );
        self.field("answers", &text, out)?;
        let residual = &self.analysis.residual;
        if residual.failed + residual.slow > 0 {
            let text = format!(
                "{} failed and {} were delayed without a cause that this capture shows",
                count(residual.failed, "lookup"),
                residual.slow
            );
            self.field("unexplained", &text, out)?;
        }
        Ok(())
    }

    fn servers(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut servers: Vec<_> = self.analysis.traffic.servers.iter().collect();
        if servers.is_empty() {
            return Ok(());
        }
        servers
            .sort_by_key(|(address, server)| (std::cmp::Reverse(server.tally.queries), **address));
        self.heading("SERVERS", out)?;
        let rows: Vec<Vec<String>> = servers
            .iter()
            .take(TOP)
            .map(|(address, server)| {
                let tally = &server.tally;
                let time =
                    |per_mille| tally.latency.quantile(per_mille).map_or("-".to_owned(), duration);
                vec![
                    address.to_string(),
                    server.role.to_string(),
                    tally.queries.to_string(),
                    tally.answered.to_string(),
                    tally.unanswered.to_string(),
                    percent(tally.unanswered, tally.answered + tally.unanswered + tally.late),
                    time(500),
                    time(950),
                ]
            })
            .collect();
        let header = [
            ("address", Align::Left),
            ("role", Align::Left),
            ("queries", Align::Right),
            ("answered", Align::Right),
            ("unanswered", Align::Right),
            ("", Align::Right),
            ("median", Align::Right),
            ("p95", Align::Right),
        ];
        for line in table(&header, &rows) {
            writeln!(out, "{line}")?;
        }
        more(servers.len(), out)
    }

    fn clients(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut clients: Vec<_> =
            self.analysis.traffic.clients.iter().filter(|(_, client)| client.lookups > 0).collect();
        if clients.is_empty() {
            return Ok(());
        }
        clients.sort_by_key(|(address, client)| {
            (std::cmp::Reverse(client.failed_lookups + client.slow_lookups), **address)
        });
        self.heading("CLIENTS (most hurt first)", out)?;
        let rows: Vec<Vec<String>> = clients
            .iter()
            .take(TOP)
            .map(|(address, client)| {
                let mut resolvers: Vec<_> = client.resolvers.iter().collect();
                resolvers
                    .sort_by_key(|(resolver, lookups)| (std::cmp::Reverse(**lookups), **resolver));
                let names: Vec<String> =
                    resolvers.iter().take(3).map(|(resolver, _)| resolver.to_string()).collect();
                vec![
                    address.to_string(),
                    client.lookups.to_string(),
                    client.failed_lookups.to_string(),
                    client.slow_lookups.to_string(),
                    names.join(", "),
                ]
            })
            .collect();
        let header = [
            ("address", Align::Left),
            ("lookups", Align::Right),
            ("failed", Align::Right),
            ("slow", Align::Right),
            ("looks like", Align::Left),
        ];
        for line in table(&header, &rows) {
            writeln!(out, "{line}")?;
        }
        more(clients.len(), out)?;
        let shown = clients.iter().take(TOP).map(|(address, _)| *address);
        let known = resolvers::lines(self.analysis, shown, self.style.width);
        if known.is_empty() {
            return Ok(());
        }
        self.heading("RESOLVERS (what the lookups of these clients show of them)", out)?;
        for line in known {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn capture(&self, out: &mut dyn Write) -> io::Result<()> {
        let coverage = &self.analysis.coverage;
        self.heading("WHAT THIS CAPTURE SHOWS, AND WHAT IT CANNOT", out)?;
        let undecodable: u64 = coverage.undecodable.values().sum();
        let text = format!(
            "{} read: {} with DNS, {} without, {} not understood; {} of DNS, copies and all",
            count(coverage.frames, "frame"),
            coverage.dns_frames,
            coverage.not_dns,
            undecodable,
            count(coverage.messages.total, "message"),
        );
        self.field("frames", &text, out)?;
        for (reason, frames) in &coverage.undecodable {
            self.field("skipped", &format!("{}: {reason}", count(*frames, "frame")), out)?;
        }
        for point in &self.analysis.points {
            let text = format!("{} ({})", point.name, count(point.files.len() as u64, "file"));
            self.field("point", &text, out)?;
        }
        for (service, backends) in self.analysis.nat.services() {
            let text =
                format!("{service} is translated to {}", crate::base::words::list(backends, 6));
            self.field("service", &text, out)?;
        }
        for health in &self.analysis.health {
            self.field(health.rule, &health.detail, out)?;
        }
        Ok(())
    }
}

fn more(all: usize, out: &mut dyn Write) -> io::Result<()> {
    if all > TOP { writeln!(out, "  and {} more", all - TOP) } else { Ok(()) }
}
