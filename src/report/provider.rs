//! What a vendor's support asks for first, as plain fields to paste.

use std::collections::BTreeSet;

use super::lines::{culprits, frame, hurt};
use super::view::View;
use crate::base::words::list;
use crate::detect::Symptom;
use crate::incident::Incident;

/// Names, clients and examples given.
const MANY: usize = 10;

/// The fields of one incident: what, when exactly, which names, which answers, which addresses.
pub(super) fn provider_block(view: &View<'_>, incident: &Incident) -> String {
    let (cause, affected) = (&incident.cause, &incident.affected);
    let mut names: Vec<(&String, &u64)> = affected.names.iter().collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let names = names.into_iter().map(|(name, count)| format!("{name} ({count})"));
    let clients = affected.clients.keys().map(|client| {
        view.names
            .get(*client)
            .map_or(client.to_string(), |named| format!("{client} ({})", named.long()))
    });
    let nat = &view.analysis.nat;
    let servers =
        nat.services().map(|(service, backends)| format!("{service} -> {}", list(backends, MANY)));
    let mut fields = vec![
        ("problem", cause.title.clone()),
        ("first bad packet", cause.span.start.to_string()),
        ("last bad packet", cause.span.end.to_string()),
        ("still going on", if cause.ongoing { "yes, when the capture ended" } else { "no" }.into()),
        ("addresses", view.names.annotate(&culprits(incident)).into_owned()),
        ("what came back", symptoms(incident)),
        ("where it got lost", cause.place.to_string()),
        ("impact", hurt(incident)),
        ("names harmed", list(names, MANY)),
        ("clients", list(clients, MANY)),
        ("DNS services", list(servers, MANY)),
    ];
    fields.extend(cause.facts.iter().map(|fact| (fact.label, fact.value.clone())));
    fields.extend(cause.evidence.iter().take(MANY).map(|proof| {
        let at = frame(view.analysis, proof.seen.at);
        ("packet", format!("{} {at} {}", proof.seen.ts, proof.summary))
    }));
    let filled = fields.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(label, value)| format!("{label:<18} {value}\n")).collect()
}

/// The answers that the harmed lookups got: response codes, silence, ICMP.
fn symptoms(incident: &Incident) -> String {
    let words: BTreeSet<String> = incident
        .cause
        .claim
        .symptoms
        .iter()
        .map(|symptom| match symptom {
            Symptom::Unanswered => "nothing".to_owned(),
            Symptom::Late => "an answer too late".to_owned(),
            Symptom::Rejected(kind) => format!("ICMP {kind}"),
            Symptom::Error(rcode) => rcode.to_string(),
            Symptom::NxDomain => "NXDOMAIN".to_owned(),
            Symptom::NoData => "NOERROR without data".to_owned(),
            Symptom::Truncated => "a truncated answer (TC)".to_owned(),
            Symptom::Connect => "no TCP connection".to_owned(),
            Symptom::Slow => "an answer after a wait".to_owned(),
            Symptom::AskedAgain => "an answer that did not help".to_owned(),
        })
        .collect();
    list(words, MANY)
}
