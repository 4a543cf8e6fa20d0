//! The report for a ticket: GitHub-flavoured Markdown that GitLab and Jira render too, evidence
//! folded away, and a block of plain fields for each provider's support.

use std::io::{self, Write};

use super::escape::{code, fenced, markdown};
use super::filter::display_filter;
use super::fold::{Entry, entries};
use super::lines::{
    answers, captured, cautions, clients, frame, hurt, is_loud, looks_like, lookups, lost_of,
    questions, ranks, servers, time, window,
};
use super::provider::provider_block;
use super::view::View;
use crate::base::words::{Text, ToText, count, percent, plain, text};
use crate::base::{Lang, Timestamp};
use crate::incident::Incident;

/// Servers and clients shown one by one.
const TOP: usize = 20;
/// How columns of a table lean.
const LEFT: &str = "---";
const RIGHT: &str = "---:";
/// Culprits named of one incident.
const CULPRITS: usize = 5;

/// Writes the report.
pub(super) fn write(view: &View<'_>, lang: Lang, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { view, lang };
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
    lang: Lang,
}

impl Page<'_> {
    /// A word in the language of the report.
    fn word(&self, text: &Text) -> String {
        markdown(&text.render(self.lang))
    }

    /// A sentence, addresses named.
    fn say(&self, text: &Text) -> String {
        markdown(&self.view.names.annotate(&text.render(self.lang)))
    }

    /// A line of a table, words translated, and the line under it that says how columns lean.
    fn header(&self, columns: &[(Text, &str)], out: &mut dyn Write) -> io::Result<()> {
        let titles: Vec<String> = columns.iter().map(|(title, _)| self.word(title)).collect();
        let lean: Vec<&str> = columns.iter().map(|(_, lean)| *lean).collect();
        let titles = titles.iter().map(|title| match title.as_str() {
            "" => " |".to_owned(),
            title => format!(" {title} |"),
        });
        writeln!(out, "|{}\n| {} |", titles.collect::<String>(), lean.join(" | "))
    }

    fn clock(&self, ts: Timestamp) -> Text {
        self.view.analysis.clock(ts)
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let verdict = &analysis.verdict;
        let status = self.word(&text!("DNS {status}", status = verdict.status));
        writeln!(out, "# {status}\n\n**{}**\n", self.say(&verdict.headline))?;
        if let Some(span) = analysis.span {
            let captured = captured(analysis, span);
            writeln!(out, "{}\n", text!("Capture: {captured}.", captured).render(self.lang))?;
        }
        for caution in cautions(analysis) {
            writeln!(out, "> {}\n", self.say(&caution))?;
        }
        Ok(())
    }

    fn overview(&self, entries: &[Entry<'_>], out: &mut dyn Write) -> io::Result<()> {
        let columns = [
            (Text::EMPTY, LEFT),
            (text!("severity"), LEFT),
            (text!("rule"), LEFT),
            (text!("what"), LEFT),
            (text!("when (UTC)"), LEFT),
        ];
        self.header(&columns, out)?;
        for entry in entries {
            let (rank, incident, what) = match entry {
                Entry::One(rank, incident) => {
                    (text!("#{rank}", rank), *incident, self.say(&incident.cause.title))
                }
                Entry::Many(many) => {
                    let Some((_, first)) = many.first() else { continue };
                    let rank = ranks(many.iter().map(|(rank, _)| *rank));
                    (rank, *first, self.word(&text!("{n} more of this rule", n = many.len())))
                }
            };
            let span = incident.cause.span;
            let (start, end) = (self.clock(span.start), self.clock(span.end));
            let when = text!("{start} to {end}", start, end);
            let when = when.render(self.lang);
            let severity = incident.severity.to_text().render(self.lang);
            let (rule, rank) = (incident.cause.rule.id, self.word(&rank));
            writeln!(out, "| {rank} | {severity} | `{rule}` | {what} | {when} |")?;
        }
        writeln!(out)
    }

    fn incident(&self, rank: usize, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        let cause = &incident.cause;
        let severity = incident.severity.to_text().render(self.lang);
        writeln!(out, "## {rank}. {severity}: {}\n\n{}\n", cause.rule.id, self.say(&cause.title))?;
        let row = |label: &Text, text: &str, out: &mut dyn Write| {
            writeln!(out, "| {} | {text} |", self.word(label))
        };
        writeln!(out, "| | |\n| --- | --- |")?;
        let culprits = cause.culprits.iter().take(CULPRITS);
        let culprits: Vec<String> = culprits
            .map(|c| format!("{} {}", self.word(&c.word()), code(&c.to_string())))
            .collect();
        if !culprits.is_empty() {
            row(&text!("culprit"), &culprits.join(", "), out)?;
        }
        row(&text!("when"), &self.word(&window(self.view.analysis, incident)), out)?;
        if is_loud(incident) {
            if let Some(place) = cause.place.words() {
                row(&text!("where"), &self.word(&place), out)?;
            }
            row(&text!("hurt"), &self.say(&hurt(incident)), out)?;
        }
        let (confidence, score) = (cause.confidence, incident.score);
        let sure = text!("{confidence} (score {score})", confidence, score).render(self.lang);
        row(&text!("confidence"), &sure, out)?;
        for fact in &cause.facts {
            row(&fact.label, &self.say(&fact.value), out)?;
        }
        writeln!(out, "\n{}\n", self.say(&cause.cause))?;
        if !cause.actions.is_empty() {
            writeln!(out, "{}\n", text!("What to do:").render(self.lang))?;
            for action in &cause.actions {
                writeln!(out, "- {}:\n\n{}\n", self.say(&action.why), fenced(&action.command, 2))?;
            }
        }
        for ruled in &cause.ruled_out {
            let rule = text!("not {rule}", rule = plain(code(ruled.rule))).render(self.lang);
            writeln!(out, "- {rule}: {}", self.say(&ruled.because))?;
        }
        for symptom in &incident.symptoms {
            let rule = text!("explains {rule}", rule = plain(code(symptom.rule)));
            writeln!(out, "- {}: {}", rule.render(self.lang), self.say(&symptom.title))?;
        }
        if !(cause.ruled_out.is_empty() && incident.symptoms.is_empty()) {
            writeln!(out)?;
        }
        self.evidence(incident, out)?;
        if is_loud(incident) {
            let block = provider_block(self.view, self.lang, incident);
            self.fold(&text!("For the provider"), &fenced(&block, 0), out)?;
        }
        Ok(())
    }

    fn evidence(&self, incident: &Incident, out: &mut dyn Write) -> io::Result<()> {
        if incident.cause.evidence.is_empty() {
            return Ok(());
        }
        let mut inner = Vec::new();
        let columns = [(text!("frame"), LEFT), (text!("time (UTC)"), LEFT), (text!("what"), LEFT)];
        self.header(&columns, &mut inner)?;
        for proof in &incident.cause.evidence {
            writeln!(
                inner,
                "| {} | {} | {} |",
                code(&frame(self.view.analysis, proof.seen.at)),
                self.clock(proof.seen.ts),
                self.say(&proof.summary)
            )?;
        }
        writeln!(inner, "\n{}\n", text!("In Wireshark:").render(self.lang))?;
        write!(inner, "{}", fenced(&display_filter(incident), 0))?;
        self.fold(&text!("Evidence"), &String::from_utf8_lossy(&inner), out)
    }

    /// Many quiet incidents of one rule.
    fn tail(&self, many: &[(usize, &Incident)], out: &mut dyn Write) -> io::Result<()> {
        let Some((_, first)) = many.first() else { return Ok(()) };
        let rule = first.cause.rule.id;
        let ranks = self.word(&ranks(many.iter().map(|(rank, _)| *rank)));
        let severity = first.severity.to_text().render(self.lang);
        let more = text!("{n} more of {rule}", n = many.len(), rule = plain(rule));
        writeln!(out, "## {ranks} {severity}: {}\n", more.render(self.lang))?;
        let mut inner = String::new();
        for (rank, incident) in many {
            inner.push_str(&format!("- {rank}: {}\n", self.say(&incident.cause.title)));
        }
        self.fold(&text!("All of them"), &inner, out)
    }

    fn traffic(&self, out: &mut dyn Write) -> io::Result<()> {
        let analysis = self.view.analysis;
        let traffic = &analysis.traffic;
        writeln!(out, "## {}\n", text!("Traffic").render(self.lang))?;
        for line in [lookups(traffic), questions(traffic), answers(traffic)] {
            writeln!(out, "- {}", self.word(&line))?;
        }
        writeln!(out)?;
        let servers = servers(analysis);
        if !servers.is_empty() {
            let columns = [
                (text!("server"), LEFT),
                (text!("role"), LEFT),
                (text!("questions"), RIGHT),
                (text!("answered"), RIGHT),
                (text!("late"), RIGHT),
                (text!("unanswered"), RIGHT),
                (text!("lost"), RIGHT),
                (text!("median"), RIGHT),
                (text!("p95"), RIGHT),
            ];
            self.header(&columns, out)?;
        }
        for (address, server) in servers.into_iter().take(TOP) {
            let tally = &server.tally;
            let time = |per_mille| time(tally.latency.quantile(per_mille)).render(self.lang);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                self.say(&address.to_text()),
                server.role.to_text().render(self.lang),
                tally.questions,
                tally.answered,
                tally.late,
                tally.unanswered,
                percent(tally.unanswered, lost_of(tally)).render(self.lang),
                time(500),
                time(950)
            )?;
        }
        let clients = clients(analysis);
        if !clients.is_empty() {
            let columns = [
                (text!("client"), LEFT),
                (text!("lookups"), RIGHT),
                (text!("failed"), RIGHT),
                (text!("slow"), RIGHT),
                (text!("resolver looks like"), LEFT),
            ];
            writeln!(out)?;
            self.header(&columns, out)?;
        }
        for (address, client) in clients.into_iter().take(TOP) {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                self.say(&address.to_text()),
                client.lookups,
                client.failed_lookups,
                client.slow_lookups,
                self.word(&looks_like(client))
            )?;
        }
        writeln!(out)
    }

    fn health(&self, out: &mut dyn Write) -> io::Result<()> {
        let heading = text!("What this capture shows, and what it cannot");
        writeln!(out, "## {}\n", heading.render(self.lang))?;
        let coverage = &self.view.analysis.coverage;
        let frames = text!(
            "{frames} read: {dns} with DNS, {not_dns} without, {undecodable} not understood",
            frames = count(coverage.frames, "frame"),
            dns = coverage.dns_frames,
            not_dns = coverage.not_dns,
            undecodable = coverage.undecodable.values().sum::<u64>()
        );
        writeln!(out, "- {}", frames.render(self.lang))?;
        for health in &self.view.analysis.health {
            writeln!(out, "- {}: {}", code(health.rule), self.say(&health.detail))?;
        }
        Ok(())
    }

    /// Something to unfold; where `details` is not known, its contents stand there open.
    fn fold(&self, title: &Text, inner: &str, out: &mut dyn Write) -> io::Result<()> {
        let (title, inner) = (self.word(title), inner.trim_end());
        writeln!(out, "<details><summary>{title}</summary>\n\n{inner}\n\n</details>\n")
    }
}
