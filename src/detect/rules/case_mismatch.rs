//! A server changes the case of the question, and a client that mixes cases asks again.
//!
//! **Signature.** Queries with names in mixed case (0x20) are answered with the name in another
//! case, for three or more names. A client that insists on its own case throws such an answer
//! away: it repeats the question although it was answered, or asks again in lower case.
//!
//! **Needs.** The queries and their answers. Without a repeat the finding is information: glibc,
//! musl, Go and c-ares compare without case.
//!
//! **Not this.** Answers whose case was kept, whatever the client does. Names in lower case.
//!
//! **Cannot tell.** Whether the server itself or something between changed the case.
//!
//! Source: rulebook 2.D; RFC 1035 section 2.3.3, RFC 4343; draft-vixie-dnsext-dns0x20.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{clock, count, list, plain, text};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, HarmKind,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::Name;
use crate::lookup::Lookup;

/// Names whose case was changed: one may be damaged by chance (rulebook 7.6).
const ENOUGH: usize = 3;
/// Servers tallied, and names of each.
const MAX_SERVERS: usize = 1_024;
const MAX_NAMES: usize = 256;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "case-mismatch",
    title: "a server does not echo the case of the question",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "RFC 4343", "draft-vixie-dnsext-dns0x20"],
    source: include_str!("case_mismatch.rs"),
    new: || Box::<CaseMismatch>::default(),
};

/// Bounded by [`MAX_SERVERS`] and [`MAX_NAMES`].
#[derive(Default)]
struct CaseMismatch {
    servers: BTreeMap<IpAddr, Changed>,
}

#[derive(Default)]
struct Changed {
    names: BTreeSet<Name>,
    kept: u64,
    answers: u64,
    again: u64,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for CaseMismatch {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        for (at, transaction) in lookup.transactions().enumerate() {
            let question = &transaction.question.name;
            if !question.has_upper_case() {
                continue;
            }
            let Some(answer) = transaction.answer() else { continue };
            let server = transaction.responder();
            if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&server) {
                continue;
            }
            let changed = self.servers.entry(server).or_default();
            if answer.case_kept {
                changed.kept += 1;
                continue;
            }
            let seen = answer.delivered();
            let again = transaction.requeried_after_answer()
                || lookup.transactions().skip(at + 1).any(|later| {
                    let other = &later.question;
                    other.rtype == transaction.question.rtype
                        && other.name == *question
                        && later.first().ts > seen.ts
                });
            changed.answers += 1;
            changed.again += u64::from(again);
            changed.clients.insert(lookup.client);
            if changed.names.len() < MAX_NAMES {
                changed.names.insert(question.clone());
            }
            changed.span = Some(changed.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
            if changed.frames.len() < 5 {
                changed.frames.push(seen);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.servers
            .into_iter()
            .filter(|(_, changed)| changed.names.len() >= ENOUGH)
            .filter_map(|(server, changed)| finding(server, changed, scene))
            .collect()
    }
}

fn finding(server: IpAddr, changed: Changed, scene: &Scene<'_>) -> Option<Finding> {
    let span = changed.span?;
    let harm = changed.again > 0;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{server} changes the case of the name in its answers ({answers}, {start} to \
             {end}){rest}",
            server,
            answers = count(changed.answers, "answer"),
            start = clock(span.start),
            end = clock(span.end),
            rest = if harm {
                text!(", and clients that mix cases ask again")
            } else {
                text!("; nobody minds")
            }
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(server)],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: changed.again,
        claim: Claim {
            clients: Some(changed.clients.clone()),
            servers: Some(BTreeSet::from([server])),
            zones: Some(if harm { changed.names.clone() } else { BTreeSet::new() }),
            symptoms: BTreeSet::from([Symptom::AskedAgain]),
            kinds: BTreeSet::from([HarmKind::Failed, HarmKind::Slow]),
            ..Claim::default()
        },
        cause: text!(
            "The clients write names in mixed case, to recognise forged answers, and expect it \
             back. {server} writes the name its own way, so such a client takes the answer for \
             forged.",
            server
        ),
        facts: vec![
            Fact {
                label: text!("answers to names in mixed case"),
                value: text!(
                    "{answers} changed, {kept} kept",
                    answers = changed.answers,
                    kept = changed.kept
                ),
            },
            Fact { label: text!("asked again after it"), value: plain(changed.again) },
            Fact { label: text!("names"), value: list(&changed.names, 4) },
            Fact { label: text!("clients"), value: list(&changed.clients, 4) },
        ],
        evidence: changed
            .frames
            .into_iter()
            .map(|seen| Proof { seen, summary: text!("an answer in another case") })
            .collect(),
        actions: vec![
            Action {
                why: text!("see it"),
                command: format!("dig @{server} wWw.ExAmPlE.cOm +noall +question +answer"),
            },
            Action {
                why: text!("do not mix cases towards this server (unbound: use-caps-for-id)"),
                command: "grep -rn 'use-caps-for-id\\|caps-whitelist' /etc/unbound".to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "glibc-id-collision",
            because: text!("the questions have ids of their own"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Names in mixed case, answered with `echo`, and asked again after five seconds if `again`.
    fn scenario(names: &[&str], lower: bool, again: bool) -> String {
        let mut text = String::from("unbound = 10.0.0.5\ndns = 192.0.2.53\n");
        for (index, name) in names.iter().enumerate() {
            let (at, port) = (index * 10, 40_000 + index);
            let echo = if lower { name.to_ascii_lowercase() } else { (*name).to_owned() };
            for second in if again { vec![at, at + 5] } else { vec![at] } {
                text.extend([format!(
                    "{second}.000 unbound:{port} > dns id {index:x} rd A {name}\n\
                     {second}.010 unbound:{port} < dns id {index:x} ? A {echo} {echo} 60 A 203.0.113.9\n"
                )]);
            }
        }
        text
    }
    const NAMES: [&str; 3] = ["wWw.eXample.com.", "gIt.exaMple.org.", "aPi.Example.net."];

    #[test]
    fn answers_in_another_case_are_asked_for_again() {
        insta::assert_snapshot!(findings(&scenario(&NAMES, true, true)), @"low case-mismatch [backend 192.0.2.53] confirmed 10:00:00.010-10:00:20.010 0/3");
    }

    #[test]
    fn nobody_minds() {
        insta::assert_snapshot!(findings(&scenario(&NAMES, true, false)), @"info case-mismatch [backend 192.0.2.53] confirmed 10:00:00.010-10:00:20.010 0/0");
    }

    #[test]
    fn two_names_are_too_few() {
        assert!(!findings(&scenario(&NAMES[..2], true, true)).contains("case"));
    }

    #[test]
    fn a_kept_case_is_right() {
        assert!(!findings(&scenario(&NAMES, false, true)).contains("case"));
    }

    #[test]
    fn answers_that_the_capture_missed_have_no_case() {
        let text = scenario(&NAMES, true, true).replace("203.0.113.9", "203.0.113.9 lost");
        assert!(!findings(&text).contains("case"));
    }
}
