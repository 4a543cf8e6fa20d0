//! Traffic, servers, clients, and what the capture can and cannot show.

use std::io::{self, Write};

use super::page::Page;
use crate::base::words::{Text, ToText, count, list, percent, plain, text};
use crate::report::escape::{terminal, word_of_a_shell};
use crate::report::lines::{
    answers, clients, frame, looks_like, lookups, lost_of, questions, servers, skipped_for, time,
};
use crate::report::resolvers;
use crate::report::table::{Align, table};

/// Servers and clients shown one by one.
const TOP: usize = 10;

impl Page<'_> {
    pub(super) fn traffic(&self, out: &mut dyn Write) -> io::Result<()> {
        let traffic = &self.view.analysis.traffic;
        self.heading(&text!("TRAFFIC (copies and NAT legs folded)"), out)?;
        self.field(&text!("lookups"), &lookups(traffic), out)?;
        self.field(&text!("questions"), &questions(traffic), out)?;
        self.field(&text!("answers"), &answers(traffic), out)?;
        let residual = &self.view.analysis.residual;
        if residual.failed + residual.slow > 0 {
            let text = text!(
                "{failed} failed and {slow} were delayed without a cause that this capture shows",
                failed = count(residual.failed, "lookup"),
                slow = residual.slow
            );
            self.field(&text!("unexplained"), &text, out)?;
        }
        Ok(())
    }

    /// A table, with a column of names if any row has one.
    fn table(
        &self,
        header: &[(Text, Align)],
        rows: &mut [Vec<String>],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let last = header.len() - 1;
        let named = rows.iter().any(|row| row.get(last).is_some_and(|name| !name.is_empty()));
        let header = if named { header } else { &header[..last] };
        for row in rows.iter_mut() {
            row.truncate(header.len());
        }
        let header: Vec<_> =
            header.iter().map(|(title, align)| (self.word(title), *align)).collect();
        for line in table(&header, rows) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    pub(super) fn servers(&self, out: &mut dyn Write) -> io::Result<()> {
        let servers = servers(self.view.analysis);
        if servers.is_empty() {
            return Ok(());
        }
        self.heading(&text!("SERVERS (busiest first)"), out)?;
        let mut rows: Vec<Vec<String>> = servers
            .iter()
            .take(TOP)
            .map(|(address, server)| {
                let tally = &server.tally;
                let time = |per_mille| self.word(&time(tally.latency.quantile(per_mille)));
                vec![
                    address.to_string(),
                    self.word(&server.role.to_text()),
                    tally.questions.to_string(),
                    tally.answered.to_string(),
                    tally.late.to_string(),
                    tally.unanswered.to_string(),
                    self.word(&percent(tally.unanswered, lost_of(tally))),
                    time(500),
                    time(950),
                    self.word(&self.view.names.cell(*address)),
                ]
            })
            .collect();
        let header = [
            (text!("address"), Align::Left),
            (text!("role"), Align::Left),
            (text!("questions"), Align::Right),
            (text!("answered"), Align::Right),
            (text!("late"), Align::Right),
            (text!("unanswered"), Align::Right),
            (text!("lost"), Align::Right),
            (text!("median"), Align::Right),
            (text!("p95"), Align::Right),
            (text!("name"), Align::Left),
        ];
        self.table(&header, &mut rows, out)?;
        self.more(servers.len(), out)
    }

    pub(super) fn clients(&self, out: &mut dyn Write) -> io::Result<()> {
        let clients = clients(self.view.analysis);
        if clients.is_empty() {
            return Ok(());
        }
        self.heading(&text!("CLIENTS (most hurt first)"), out)?;
        let mut rows: Vec<Vec<String>> = clients
            .iter()
            .take(TOP)
            .map(|(address, client)| {
                vec![
                    address.to_string(),
                    client.lookups.to_string(),
                    client.failed_lookups.to_string(),
                    client.slow_lookups.to_string(),
                    self.word(&looks_like(client)),
                    self.word(&self.view.names.cell(*address)),
                ]
            })
            .collect();
        let header = [
            (text!("address"), Align::Left),
            (text!("lookups"), Align::Right),
            (text!("failed"), Align::Right),
            (text!("slow"), Align::Right),
            (text!("resolver looks like"), Align::Left),
            (text!("name"), Align::Left),
        ];
        self.table(&header, &mut rows, out)?;
        self.more(clients.len(), out)?;
        let shown = clients.iter().take(TOP).map(|(address, _)| address);
        let known = resolvers::lines(self.view.analysis, shown, self.style);
        if known.is_empty() {
            return Ok(());
        }
        self.heading(&text!("RESOLVERS (what the lookups of these clients show of them)"), out)?;
        known.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    pub(super) fn capture(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let coverage = &analysis.coverage;
        self.heading(&text!("WHAT THIS CAPTURE SHOWS, AND WHAT IT CANNOT"), out)?;
        let undecodable: u64 = coverage.undecodable.values().sum();
        let text = text!(
            "{frames} read: {dns} with DNS, {not_dns} without, {undecodable} not understood; \
             {messages} of DNS, copies and all",
            frames = count(coverage.frames, "frame"),
            dns = coverage.dns_frames,
            not_dns = coverage.not_dns,
            undecodable,
            messages = count(coverage.messages.total, "message")
        );
        self.field(&text!("frames"), &text, out)?;
        let skipped = coverage.undecodable.iter();
        let skipped = skipped.map(|(reason, n)| {
            text!("{frames}: {reason}", frames = count(*n, "frame"), reason = skipped_for(reason))
        });
        self.list(&text!("skipped"), skipped, out)?;
        let points = analysis.points.iter();
        let points = points.map(|point| {
            let files = count(point.files.len() as u64, "file");
            match point.role {
                Some(role) => text!(
                    "{point} ({files}), {role}",
                    point = plain(&point.name),
                    files,
                    role = role.words()
                ),
                None => text!("{point} ({files})", point = plain(&point.name), files),
            }
        });
        self.list(&text!("points"), points, out)?;
        let services = analysis.nat.services();
        let services = services.map(|(service, backends)| {
            text!("{service} is translated to {backends}", service, backends = list(backends, 6))
        });
        self.list(&text!("services"), services, out)?;
        let health = analysis.health.iter();
        let health =
            health.map(|h| text!("{rule}: {detail}", rule = plain(h.rule), detail = h.detail));
        self.list(&text!("health"), health, out)?;
        self.further(out)
    }

    /// What else there is to type: nobody knows it who reads a report for the first time.
    fn further(&self, out: &mut dyn Write) -> io::Result<()> {
        let incidents = &self.view.analysis.incidents;
        let Some(first) = incidents.first() else { return Ok(()) };
        self.heading(&text!("FURTHER"), out)?;
        let rule = first.cause.rule.id;
        let command = |command: &str, out: &mut dyn Write| self.line(&Text::EMPTY, command, out);
        let what =
            |what: &Text, out: &mut dyn Write| command(&format!("    {}", self.word(what)), out);
        command(&format!("dnswhy rules {rule}"), out)?;
        what(&text!("what this rule means, what it needs, and what it cannot tell"), out)?;
        // A stream is gone: neither of these could read it again.
        let analysis = self.view.analysis;
        if analysis.files.iter().any(|file| file.bytes.is_none()) {
            return Ok(());
        }
        if let Some(proof) = first.cause.evidence.first() {
            // Nor does anybody know the files of a masked report by the names that it gives them.
            if !analysis.masked {
                let at = word_of_a_shell(&frame(analysis, proof.seen.at));
                command(&format!("dnswhy explain {} CAPTURE...", terminal(&at)), out)?;
                what(&text!("the story of the lookup that this frame belongs to"), out)?;
            }
            command("dnswhy extract --incident 1 -w proof.pcapng CAPTURE...", out)?;
            what(&text!("the packets that prove incident #1, for Wireshark"), out)?;
        }
        Ok(())
    }

    fn more(&self, all: usize, out: &mut dyn Write) -> io::Result<()> {
        if all <= TOP {
            return Ok(());
        }
        writeln!(out, "  {}", self.word(&text!("and {n} more", n = all - TOP)))
    }
}
