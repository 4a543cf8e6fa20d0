//! Traffic, servers, clients, and what the capture can and cannot show.

use std::io::{self, Write};

use super::page::Page;
use crate::base::words::{count, duration, list, percent};
use crate::report::lines::{answers, clients, looks_like, lookups, lost_of, questions, servers};
use crate::report::resolvers;
use crate::report::table::{Align, table};

/// Servers and clients shown one by one.
const TOP: usize = 10;

impl Page<'_> {
    pub(super) fn traffic(&self, out: &mut dyn Write) -> io::Result<()> {
        let traffic = &self.view.analysis.traffic;
        self.heading("TRAFFIC (copies and NAT legs folded)", out)?;
        self.field("lookups", &lookups(traffic), out)?;
        self.field("questions", &questions(traffic), out)?;
        self.field("answers", &answers(traffic), out)?;
        let residual = &self.view.analysis.residual;
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

    /// A table, with a column of names if any row has one.
    fn table(
        header: &[(&str, Align)],
        rows: &mut [Vec<String>],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let last = header.len() - 1;
        let named = rows.iter().any(|row| row.get(last).is_some_and(|name| !name.is_empty()));
        let header = if named { header } else { &header[..last] };
        for row in rows.iter_mut() {
            row.truncate(header.len());
        }
        for line in table(header, rows) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    pub(super) fn servers(&self, out: &mut dyn Write) -> io::Result<()> {
        let servers = servers(self.view.analysis);
        if servers.is_empty() {
            return Ok(());
        }
        self.heading("SERVERS (busiest first)", out)?;
        let mut rows: Vec<Vec<String>> = servers
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
                    tally.late.to_string(),
                    tally.unanswered.to_string(),
                    percent(tally.unanswered, lost_of(tally)),
                    time(500),
                    time(950),
                    self.view.names.cell(*address),
                ]
            })
            .collect();
        let header = [
            ("address", Align::Left),
            ("role", Align::Left),
            ("queries", Align::Right),
            ("answered", Align::Right),
            ("late", Align::Right),
            ("unanswered", Align::Right),
            ("of all", Align::Right),
            ("median", Align::Right),
            ("p95", Align::Right),
            ("name", Align::Left),
        ];
        Self::table(&header, &mut rows, out)?;
        more(servers.len(), out)
    }

    pub(super) fn clients(&self, out: &mut dyn Write) -> io::Result<()> {
        let clients = clients(self.view.analysis);
        if clients.is_empty() {
            return Ok(());
        }
        self.heading("CLIENTS (most hurt first)", out)?;
        let mut rows: Vec<Vec<String>> = clients
            .iter()
            .take(TOP)
            .map(|(address, client)| {
                vec![
                    address.to_string(),
                    client.lookups.to_string(),
                    client.failed_lookups.to_string(),
                    client.slow_lookups.to_string(),
                    looks_like(client),
                    self.view.names.cell(*address),
                ]
            })
            .collect();
        let header = [
            ("address", Align::Left),
            ("lookups", Align::Right),
            ("failed", Align::Right),
            ("slow", Align::Right),
            ("resolver looks like", Align::Left),
            ("name", Align::Left),
        ];
        Self::table(&header, &mut rows, out)?;
        more(clients.len(), out)?;
        let shown = clients.iter().take(TOP).map(|(address, _)| address);
        let known = resolvers::lines(self.view.analysis, shown, self.style.width);
        if known.is_empty() {
            return Ok(());
        }
        self.heading("RESOLVERS (what the lookups of these clients show of them)", out)?;
        known.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    pub(super) fn capture(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let coverage = &analysis.coverage;
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
        let skipped = coverage.undecodable.iter();
        let skipped =
            skipped.map(|(reason, frames)| format!("{}: {reason}", count(*frames, "frame")));
        self.list("skipped", skipped, out)?;
        let points = analysis.points.iter();
        let points = points.map(|point| {
            let files = count(point.files.len() as u64, "file");
            let role = point.role.map_or_else(String::new, |role| format!(", {}", role.words()));
            format!("{} ({files}){role}", point.name)
        });
        self.list("points", points, out)?;
        let services = analysis.nat.services();
        let services = services
            .map(|(service, backends)| format!("{service} is translated to {}", list(backends, 6)));
        self.list("services", services, out)?;
        let health = analysis.health.iter();
        self.list("health", health.map(|h| format!("{}: {}", h.rule, h.detail)), out)?;
        self.further(out)
    }

    /// What else there is to type: nobody knows it who reads a report for the first time.
    fn further(&self, out: &mut dyn Write) -> io::Result<()> {
        let incidents = &self.view.analysis.incidents;
        let Some(first) = incidents.first() else { return Ok(()) };
        self.heading("FURTHER", out)?;
        let rule = first.cause.rule.id;
        self.line("", &format!("dnswhy rules {rule}"), out)?;
        self.line("", "    what this rule means, what it needs, and what it cannot tell", out)?;
        if let Some(proof) = first.cause.evidence.first() {
            let at = crate::report::lines::frame(self.view.analysis, proof.seen.at);
            let at = crate::report::escape::terminal(&at);
            self.line("", &format!("dnswhy explain {at}"), out)?;
            self.line("", "    the story of the lookup that this frame belongs to", out)?;
            self.line("", "dnswhy extract --incident 1 -w proof.pcapng CAPTURE...", out)?;
            self.line("", "    the packets that prove incident #1, for Wireshark", out)?;
        }
        Ok(())
    }
}

fn more(all: usize, out: &mut dyn Write) -> io::Result<()> {
    if all > TOP { writeln!(out, "  and {} more", all - TOP) } else { Ok(()) }
}
