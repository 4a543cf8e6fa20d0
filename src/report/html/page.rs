//! What the template is filled with.

use std::io::{self, Write};

use askama::Template;

use super::distribution::distribution;
use super::figures::{Matrix, ServerRow, client_rows, matrix, server_rows};
use super::rungs::rungs;
use super::timeline::timeline;
use crate::base::Lang;
use crate::base::words::{Text, ToText, text};
use crate::incident::Incident;
use crate::report::escape::terminal;
use crate::report::filter::display_filter;
use crate::report::fold::{Entry, entries};
use crate::report::lines::{
    answers, captured, cautions, culprits, frame, hurt, is_loud, lookups, questions, ranks, sure,
    window,
};
use crate::report::provider::provider_block;
use crate::report::view::View;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    lang: Lang,
    /// The word of the contract: the class of a colour.
    status: String,
    status_word: String,
    headline: String,
    version: &'static str,
    capture: String,
    glance: Vec<(String, String)>,
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
    severity_word: String,
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
pub(in crate::report) fn write(view: &View<'_>, lang: Lang, out: &mut dyn Write) -> io::Result<()> {
    let page = page(&Words { view, lang }).render().map_err(io::Error::other)?;
    out.write_all(page.as_bytes())?;
    writeln!(out)
}

impl Page {
    /// What the template itself says.
    #[expect(clippy::needless_pass_by_value, reason = "a template makes it where it stands")]
    fn say(&self, text: Text) -> String {
        text.render(self.lang)
    }
}

/// A view and the language that it is shown in.
struct Words<'a> {
    view: &'a View<'a>,
    lang: Lang,
}

impl Words<'_> {
    fn word(&self, text: impl ToText) -> String {
        text.to_text().render(self.lang)
    }

    /// A sentence: addresses named, nothing in it that a page would obey. The template escapes it.
    fn say(&self, text: &Text) -> String {
        terminal(&self.view.names.annotate(&text.render(self.lang)))
    }
}

fn page(words: &Words<'_>) -> Page {
    let (view, lang, analysis) = (words.view, words.lang, words.view.analysis);
    let top = analysis.incidents.iter().find(|incident| is_loud(incident));
    let mut glance = Vec::new();
    if let Some(top) = top {
        glance.push((words.word(text!("culprit")), words.say(&culprits(top))));
        glance.push((words.word(text!("when")), words.word(window(analysis, top))));
        glance.push((words.word(text!("who was hurt")), words.say(&hurt(top))));
    }
    let command = top.and_then(|top| top.cause.actions.first());
    Page {
        lang,
        status: analysis.verdict.status.to_string(),
        status_word: words.word(analysis.verdict.status),
        headline: words.say(&analysis.verdict.headline),
        version: env!("CARGO_PKG_VERSION"),
        capture: analysis.span.map_or_else(String::new, |span| {
            words.word(text!("Capture: {captured}", captured = captured(analysis, span)))
        }),
        glance,
        command: command.map_or_else(String::new, |action| terminal(&action.command)),
        cautions: cautions(analysis).map(|caution| words.say(&caution)).collect(),
        timeline: timeline(analysis, lang),
        distribution: distribution(&analysis.traffic.lookup_times, lang),
        entries: entries(&analysis.incidents)
            .iter()
            .map(|entry| match entry {
                Entry::One(rank, incident) => card(words, *rank, incident),
                Entry::Many(many) => tail(words, many),
            })
            .collect(),
        matrix: matrix(analysis, &view.names, lang),
        servers: server_rows(analysis, &view.names, lang),
        clients: client_rows(analysis, &view.names, lang),
        traffic: vec![
            words.word(lookups(&analysis.traffic)),
            words.word(questions(&analysis.traffic)),
            words.word(answers(&analysis.traffic)),
        ],
        health: analysis
            .health
            .iter()
            .map(|health| (health.rule.to_owned(), words.say(&health.detail)))
            .collect(),
    }
}

fn card(words: &Words<'_>, rank: usize, incident: &Incident) -> Card {
    let (cause, view, lang) = (&incident.cause, words.view, words.lang);
    let analysis = view.analysis;
    let mut rows = vec![
        (words.word(text!("when")), words.word(window(analysis, incident))),
        (words.word(text!("culprit")), words.say(&culprits(incident))),
    ];
    if is_loud(incident) {
        let place = cause.place.words();
        rows.extend(place.map(|place| (words.word(text!("where")), words.word(place))));
        rows.push((words.word(text!("hurt")), words.say(&hurt(incident))));
    }
    let facts = cause.facts.iter();
    rows.extend(facts.map(|fact| (words.word(&fact.label), words.say(&fact.value))));
    Card {
        id: format!("incident-{rank}"),
        rank: format!("#{rank}"),
        severity: incident.severity.to_string(),
        severity_word: words.word(incident.severity),
        rule: cause.rule.id.to_owned(),
        sure: words.word(sure(incident)),
        title: words.say(&cause.title),
        open: is_loud(incident),
        rows,
        cause: words.say(&cause.cause),
        actions: cause
            .actions
            .iter()
            .map(|action| (words.say(&action.why), terminal(&action.command)))
            .collect(),
        ladder: view.ladders.get(rank - 1).and_then(|l| rungs(l, analysis, &view.names, lang)),
        evidence: cause
            .evidence
            .iter()
            .map(|proof| {
                let at = terminal(&frame(analysis, proof.seen.at));
                (at, analysis.clock(proof.seen.ts).to_string(), words.say(&proof.summary))
            })
            .collect(),
        filter: display_filter(incident),
        ruled_out: cause
            .ruled_out
            .iter()
            .map(|out| (out.rule.to_owned(), words.say(&out.because)))
            .collect(),
        explains: incident
            .symptoms
            .iter()
            .map(|symptom| (symptom.rule.to_owned(), words.say(&symptom.title)))
            .collect(),
        provider: if is_loud(incident) {
            terminal(&provider_block(view, lang, incident))
        } else {
            String::new()
        },
        tail: Vec::new(),
    }
}

fn tail(words: &Words<'_>, many: &[(usize, &Incident)]) -> Card {
    let Some((rank, first)) = many.first() else { return Card::default() };
    Card {
        id: format!("incident-{rank}"),
        rank: words.word(ranks(many.iter().map(|(rank, _)| *rank))),
        severity: first.severity.to_string(),
        severity_word: words.word(first.severity),
        rule: first.cause.rule.id.to_owned(),
        title: words.word(text!("{n} more incidents of this rule", n = many.len())),
        tail: many
            .iter()
            .map(|(rank, incident)| format!("#{rank}: {}", words.say(&incident.cause.title)))
            .collect(),
        ..Card::default()
    }
}
