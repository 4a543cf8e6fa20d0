//! From what was found to a [`Story`].

use super::frame::Sight;
use super::ladder::Ladder;
use super::model::{Event, FrameStory, IncidentStory, LookupStory, Story};
use super::reasons;
use crate::analysis::Analysis;
use crate::base::words::{Text, ToText, duration, plain, text};
use crate::dns::RecordType;
use crate::lookup::{Lookup, LookupOutcome, Resolver};
use crate::transaction::{Hops, Transaction, timing};

/// What is told of, and all that is known around it.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The analysis of the whole capture.
    pub analysis: &'a Analysis,
    /// The frame that was asked about.
    pub frame: Option<&'a Sight>,
    /// What it belongs to.
    pub found: Found<'a>,
    /// What servers asked, or were asked, for it meanwhile: a transaction, and whether it leads
    /// upstream.
    pub legs: &'a [(Transaction, bool)],
}

/// What a frame belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A lookup.
    Lookup(&'a Lookup),
    /// A transaction that is part of no lookup.
    Transaction(&'a Transaction),
    /// Nothing.
    Nothing,
}

/// Tells the story.
pub fn tell(scene: Scene<'_>) -> Story {
    match scene.found {
        Found::Lookup(lookup) => of_lookup(scene, lookup),
        Found::Transaction(asked) => of_transaction(scene, asked),
        Found::Nothing => Story {
            frame: scene.frame.map(|sight| frame(scene.analysis, sight, nothing(sight))),
            ..empty()
        },
    }
}

fn empty() -> Story {
    Story {
        schema: "dnswhy.explain/1",
        frame: None,
        lookup: None,
        ladder: Vec::new(),
        verdict: "unknown",
        reasons: Vec::new(),
        incident: None,
    }
}

fn frame(analysis: &Analysis, sight: &Sight, part: Text) -> FrameStory {
    FrameStory {
        file: analysis.path(sight.at).to_owned(),
        frame: sight.at.number(),
        time: sight.ts.to_string(),
        what: sight.what.clone(),
        part,
    }
}

fn nothing(sight: &Sight) -> Text {
    if sight.tie.is_some() {
        text!("it belongs to no lookup of this capture: nobody's question goes with it")
    } else {
        text!("it belongs to no lookup: it is no part of a DNS conversation that is read here")
    }
}

fn of_lookup(scene: Scene<'_>, lookup: &Lookup) -> Story {
    let analysis = scene.analysis;
    let mut ladder = Ladder::new(analysis, scene.frame.map(|sight| sight.at), lookup.start.ts);
    ladder.lookup(lookup);
    for (leg, upstream) in scene.legs {
        ladder.leg(leg, *upstream);
    }
    let judgement = reasons::judge(lookup, analysis);
    let printed = lookup.printed();
    if let Some(end) = lookup.end {
        let took = duration(end.since(lookup.start.ts));
        let forwarder = matches!(lookup.resolver, Resolver::CoreDns | Resolver::Forwarder);
        let text = match lookup.outcome {
            _ if forwarder => {
                text!(
                    "the server that asked has \"{word}\" after {took}",
                    word = lookup.outcome,
                    took
                )
            }
            LookupOutcome::Ok => text!("the application has its answer after {took}", took),
            LookupOutcome::Unknown => text!("what the application has is not known"),
            outcome => {
                let says = printed
                    .map_or_else(Text::default, |said| text!(": \"{said}\"", said = plain(said)));
                text!(
                    "the application is told \"{word}\" after {took}{says}",
                    word = outcome,
                    took,
                    says
                )
            }
        };
        let rung = ladder.rung(end, Event::End, text, &Hops::default());
        ladder.rungs.push(rung);
    }
    let rungs = ladder.finish();
    let part = |sight: &Sight| {
        let mut own = rungs.iter().filter(|rung| rung.asked_about);
        own.next().map_or_else(
            || {
                text!(
                    "it goes with the connection, the socket or the datagrams of the lookup below"
                )
            },
            |rung| {
                let copies = rung.seen.len();
                let nth = rung.seen.iter().position(|seen| seen.asked_about).unwrap_or(0) + 1;
                let copy = if copies > 1 {
                    text!(", sighting {nth} of {copies} of one datagram", nth, copies)
                } else {
                    Text::EMPTY
                };
                let after = (sight.ts.nanos() - lookup.start.ts.nanos()) as f64 / 1e9;
                text!(
                    "part of the lookup below, {after} s after its first query{copy}",
                    after = format_args!("{:+.6}", after),
                    copy
                )
            },
        )
    };
    Story {
        frame: scene.frame.map(|sight| frame(analysis, sight, part(sight))),
        lookup: Some(LookupStory {
            client: lookup.client.to_string(),
            name: lookup.name.to_string(),
            types: lookup.types.iter().map(ToString::to_string).collect(),
            start: lookup.start.ts.to_string(),
            outcome: lookup.outcome.to_text(),
            duration_seconds: lookup.duration().map(|took| took.as_secs_f64()),
            added_seconds: judgement.added.map(|added| added.as_secs_f64()),
            usual_seconds: judgement.usual.map(|usual| usual.as_secs_f64()),
            attempts: lookup.attempts(),
            servers: lookup.servers().iter().map(ToString::to_string).collect(),
            resolver: lookup.resolver.to_text(),
            observed: lookup.signs().iter().map(ToText::to_text).collect(),
            suffixes_tried: lookup.suffixes_tried,
            printed,
        }),
        ladder: rungs,
        verdict: judgement.verdict,
        reasons: judgement.reasons,
        incident: judgement.incident.and_then(|rank| {
            let cause = &analysis.incidents.get(rank)?.cause;
            Some(IncidentStory { rank: rank + 1, rule: cause.rule.id, title: cause.title.clone() })
        }),
        ..empty()
    }
}

/// A transaction outside of every lookup: traffic that no application waits for, or an answer
/// without a question.
fn of_transaction(scene: Scene<'_>, asked: &Transaction) -> Story {
    let analysis = scene.analysis;
    let mut ladder = Ladder::new(analysis, scene.frame.map(|sight| sight.at), asked.first().ts);
    ladder.question(asked, &Text::EMPTY, false);
    let part = if asked.attempts.is_empty() {
        unsolicited(asked, analysis)
    } else if asked.is_infrastructure() {
        infrastructure(asked)
    } else {
        text!("a transaction that belongs to no lookup")
    };
    Story {
        frame: scene.frame.map(|sight| frame(analysis, sight, part.clone())),
        ladder: ladder.finish(),
        verdict: if asked.is_infrastructure() { "normal" } else { "unknown" },
        reasons: vec![part],
        ..empty()
    }
}

fn unsolicited(asked: &Transaction, analysis: &Analysis) -> Text {
    let arrived = asked.first().ts;
    let early = analysis.span.is_some_and(|span| arrived.since(span.start) <= timing::T_WAIT);
    if early {
        text!("a response whose query was sent before the capture began, as far as can be told")
    } else {
        text!(
            "a response without its query: the capture missed it, or recorded one direction alone, \
             or nobody asked (a forged answer)"
        )
    }
}

fn infrastructure(asked: &Transaction) -> Text {
    let question = &asked.question;
    if question.name.is_root() && question.rtype == RecordType::NS {
        text!(
            "CoreDNS' probe of an upstream that it believes to be failing, sent every half second: \
             no application waits for it, but it tells since when that upstream is in doubt"
        )
    } else if question.rtype == RecordType::HINFO {
        text!(
            "the question that CoreDNS' loop plugin asks once at its start: a marker of a restart, \
             for which no application waits"
        )
    } else {
        text!(
            "a question about the server itself (class CHAOS): a health probe or a scanner, for \
             which no application waits"
        )
    }
}
