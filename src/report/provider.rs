//! What a vendor's support asks for first, as plain fields to paste.

use std::collections::BTreeSet;

use super::lines::{culprits, frame, hurt};
use super::table::pad;
use super::view::View;
use crate::base::Lang;
use crate::base::words::{Text, ToText, list, plain, text};
use crate::detect::Symptom;
use crate::incident::Incident;

/// Names, clients and examples given.
const MANY: usize = 10;
/// Columns of the labels.
const MARGIN: usize = 18;

/// The fields of one incident: what, when exactly, which names, which answers, which addresses.
pub(super) fn provider_block(view: &View<'_>, lang: Lang, incident: &Incident) -> String {
    let (cause, affected) = (&incident.cause, &incident.affected);
    let mut names: Vec<(&String, &u64)> = affected.names.iter().collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let names = names.into_iter().map(|(name, count)| plain(format_args!("{name} ({count})")));
    let clients = affected.clients.keys().map(|client| {
        view.names
            .get(*client)
            .map_or(plain(client), |named| text!("{client} ({name})", client, name = named.long()))
    });
    let nat = &view.analysis.nat;
    let servers = nat.services().map(|(service, backends)| {
        text!("{service} -> {backends}", service, backends = list(backends, MANY))
    });
    let ongoing = if cause.ongoing { text!("yes, when the capture ended") } else { text!("no") };
    let addresses = culprits(incident).render(lang);
    let mut fields = vec![
        (text!("problem"), cause.title.clone()),
        (text!("first bad packet"), plain(cause.span.start)),
        (text!("last bad packet"), plain(cause.span.end)),
        (text!("still going on"), ongoing),
        (text!("addresses"), plain(view.names.annotate(&addresses))),
        (text!("what came back"), symptoms(incident)),
        (text!("where it got lost"), cause.place.to_text()),
        (text!("impact"), hurt(incident)),
        (text!("names harmed"), list(names, MANY)),
        (text!("clients"), list(clients, MANY)),
        (text!("DNS services"), list(servers, MANY)),
    ];
    fields.extend(cause.facts.iter().map(|fact| (fact.label.clone(), fact.value.clone())));
    fields.extend(cause.evidence.iter().take(MANY).map(|proof| {
        let at = plain(frame(view.analysis, proof.seen.at));
        let time = plain(proof.seen.ts);
        (text!("packet"), text!("{time} {at} {summary}", time, at, summary = proof.summary))
    }));
    let filled = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let line = |(label, value): (Text, Text)| {
        format!("{} {}\n", pad(&label.render(lang), MARGIN), value.render(lang))
    };
    filled.map(line).collect()
}

/// The answers that the harmed lookups got: response codes, silence, ICMP. Not what the rule could
/// explain: a vendor would look for ICMP errors that nobody saw.
fn symptoms(incident: &Incident) -> Text {
    let symptoms = incident.affected.symptoms.iter();
    let wrong = (incident.affected.misled > 0).then(|| text!("a wrong answer"));
    let words: BTreeSet<Text> = symptoms
        .map(|symptom| match symptom {
            Symptom::Unanswered => text!("nothing"),
            Symptom::Late => text!("an answer too late"),
            Symptom::Rejected(kind) => text!("ICMP {kind}", kind),
            Symptom::Error(rcode) => rcode.to_text(),
            Symptom::NxDomain => plain("NXDOMAIN"),
            Symptom::NoData => text!("NOERROR without data"),
            Symptom::Truncated => text!("a truncated answer (TC)"),
            Symptom::Connect => text!("no TCP connection"),
            Symptom::Slow => text!("an answer after a wait"),
            Symptom::AskedAgain => text!("an answer that did not help"),
        })
        .chain(wrong)
        .collect();
    list(words, MANY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::analyse;

    #[test]
    fn what_came_back_is_what_was_seen() {
        let text = "
            pod = 10.244.0.2
            dns = 10.96.0.10
            repeat 60 every 1
            0.0   pod > dns rd A n{n}.example.
            0.001 pod < dns n{n}.example. 5 A 192.0.2.1
            end
            repeat 12 every 1 from 60
            0.0   pod:41000 > dns id 7000 rd A m{n}.example.
            5.0   pod:41000 > dns id 7000 rd A m{n}.example.
            end
            90.0  pod > dns rd A o.example.
            90.001 pod < dns o.example. 5 A 192.0.2.1
        ";
        let analysis = analyse(text);
        let incident = analysis.incidents.first().unwrap();
        assert!(incident.cause.claim.symptoms.len() > 1, "{incident:?}");
        let block = provider_block(&View::of(&analysis), Lang::En, incident);
        assert!(block.contains("what came back     nothing\n"), "{block}");
    }
}
