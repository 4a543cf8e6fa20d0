//! What the template is filled with.

use std::io::{self, Write};

use askama::Template;

use super::distribution::distribution;
use super::figures::{Matrix, ServerRow, client_rows, matrix, server_rows};
use super::rungs::rungs;
use super::timeline::timeline;
use crate::base::words::{clock, count, date, duration};
use crate::incident::Incident;
use crate::report::escape::terminal;
use crate::report::filter::display_filter;
use crate::report::fold::{Entry, entries};
use crate::report::lines::{
    answers, cautions, culprits, frame, hurt, is_loud, lookups, questions, ranks, window,
};
use crate::report::provider::provider_block;
use crate::report::view::View;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    status: String,
    headline: String,
    version: &'static str,
    capture: String,
    glance: Vec<(&'static str, String)>,
    command: String,
    cautions: Vec<String>,
    timeline: Option<String>,
    distribution: Option<String>,
    entries: Vec<Card>,
    matrix: Matrix,
    servers: Vec<ServerRow>,
    clients: Vec<ServerRow>,
    traffic: Vec<String>,
    health: Vec<(String, String)>,
}

/// One incident, or the folded tail of a rule.
#[derive(Default)]
struct Card {
    id: String,
    rank: String,
    severity: String,
    rule: String,
    sure: String,
    title: String,
    open: bool,
    rows: Vec<(String, String)>,
    cause: String,
    actions: Vec<(String, String)>,
    ladder: Option<String>,
    evidence: Vec<(String, String, String)>,
    filter: String,
    ruled_out: Vec<(String, String)>,
    explains: Vec<(String, String)>,
    provider: String,
    tail: Vec<String>,
}

/// Writes the report.
pub(in crate::report) fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let page = page(view).render().map_err(io::Error::other)?;
    out.write_all(page.as_bytes())?;
    writeln!(out)
}

/// A sentence: addresses named, nothing in it that a page would obey. The template escapes it.
fn say(view: &View<'_>, text: &str) -> String {
    terminal(&view.names.annotate(text))
}

fn page(view: &View<'_>) -> Page {
    let analysis = view.analysis;
    let top = analysis.incidents.iter().find(|incident| is_loud(incident));
    let mut glance = Vec::new();
    if let Some(top) = top {
        glance.push(("culprit", say(view, &culprits(top))));
        glance.push(("when", window(top)));
        glance.push(("who was hurt", say(view, &hurt(top))));
    }
    let command = top.and_then(|top| top.cause.actions.first());
    Page {
        status: analysis.verdict.status.to_string(),
        headline: say(view, &analysis.verdict.headline),
        version: env!("CARGO_PKG_VERSION"),
        capture: analysis.span.map_or_else(String::new, |span| {
            format!(
                "{} to {} UTC ({}), {}, {}",
                date(span.start),
                clock(span.end),
                duration(span.length()),
                count(analysis.files.len() as u64, "file"),
                count(analysis.coverage.frames, "frame")
            )
        }),
        glance,
        command: command.map_or_else(String::new, |action| terminal(&action.command)),
        cautions: cautions(analysis).map(|caution| say(view, &caution)).collect(),
        timeline: timeline(analysis),
        distribution: distribution(&analysis.traffic.lookup_times),
        entries: entries(&analysis.incidents)
            .iter()
            .map(|entry| match entry {
                Entry::One(rank, incident) => card(view, *rank, incident),
                Entry::Many(many) => tail(view, many),
            })
            .collect(),
        matrix: matrix(analysis, &view.names),
        servers: server_rows(analysis, &view.names),
        clients: client_rows(analysis, &view.names),
        traffic: vec![
            lookups(&analysis.traffic),
            questions(&analysis.traffic),
            answers(&analysis.traffic),
        ],
        health: analysis
            .health
            .iter()
            .map(|health| (health.rule.to_owned(), say(view, &health.detail)))
            .collect(),
    }
}

fn card(view: &View<'_>, rank: usize, incident: &Incident) -> Card {
    let (cause, analysis) = (&incident.cause, view.analysis);
    let mut rows = vec![
        ("when".to_owned(), window(incident)),
        ("culprit".to_owned(), say(view, &culprits(incident))),
    ];
    if is_loud(incident) {
        rows.push(("hurt".to_owned(), say(view, &hurt(incident))));
    }
    let facts = cause.facts.iter();
    rows.extend(facts.map(|fact| (fact.label.to_owned(), say(view, &fact.value))));
    Card {
        id: format!("incident-{rank}"),
        rank: format!("#{rank}"),
        severity: incident.severity.to_string(),
        rule: cause.rule.id.to_owned(),
        sure: format!("{}, score {}", cause.confidence, incident.score),
        title: say(view, &cause.title),
        open: is_loud(incident),
        rows,
        cause: say(view, &cause.cause),
        actions: cause
            .actions
            .iter()
            .map(|action| (say(view, &action.why), terminal(&action.command)))
            .collect(),
        ladder: view.ladders.get(rank - 1).and_then(|l| rungs(l, analysis, &view.names)),
        evidence: cause
            .evidence
            .iter()
            .map(|proof| {
                let at = terminal(&frame(analysis, proof.seen.at));
                (at, clock(proof.seen.ts), say(view, &proof.summary))
            })
            .collect(),
        filter: display_filter(incident),
        ruled_out: cause
            .ruled_out
            .iter()
            .map(|out| (out.rule.to_owned(), say(view, &out.because)))
            .collect(),
        explains: incident
            .symptoms
            .iter()
            .map(|symptom| (symptom.rule.to_owned(), say(view, &symptom.title)))
            .collect(),
        provider: if is_loud(incident) {
            terminal(&provider_block(view, incident))
        } else {
            String::new()
        },
        tail: Vec::new(),
    }
}

fn tail(view: &View<'_>, many: &[(usize, &Incident)]) -> Card {
    let Some((rank, first)) = many.first() else { return Card::default() };
    Card {
        id: format!("incident-{rank}"),
        rank: ranks(many.iter().map(|(rank, _)| *rank)),
        severity: first.severity.to_string(),
        rule: first.cause.rule.id.to_owned(),
        title: format!("{} more incidents of this rule", many.len()),
        tail: many
            .iter()
            .map(|(rank, incident)| format!("#{rank}: {}", say(view, &incident.cause.title)))
            .collect(),
        ..Card::default()
    }
}
