//! glibc gave A and AAAA the same id, and waits for an answer that it already has.
//!
//! **Signature.** A and AAAA of one name leave one socket with the same transaction id, both are
//! answered at once, and the client asks again when its timer (5 s by default) fires all the same:
//! the resolver took both answers for one question.
//!
//! **Needs.** One such pair with its repeat: equal ids happen once in 65 536 pairs, and without
//! harm; with the repeat there is no other reason.
//!
//! **Not this.** In `conntrack-race-aaaa` one of the two has no answer: the opposite. Equal ids
//! without a repeat are harmless.
//!
//! **Cannot tell.** The version of glibc: fixed in 2.33; ids come from the clock since 2.30, so
//! that coarse clocks (ARM, some virtual machines) collide often.
//!
//! Source: rulebook 2.C; glibc bug 26600, commit f1f00c0721.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, duration, list, plain, text};
use crate::base::{Span, Transport};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, RecordType};
use crate::lookup::Lookup;
use crate::transaction::Transaction;

/// Both leave together (rulebook `pair_win`, the same port).
const PAIR: Duration = Duration::from_millis(20);
/// The shortest timeout that resolv.conf can set is one second.
const TIMER: Duration = Duration::from_millis(900);
/// Clients and names kept.
const MAX_CLIENTS: usize = 4_096;
const MAX_NAMES: usize = 64;
/// Example frames.
const FRAMES: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "glibc-id-collision",
    title: "A and AAAA share one transaction id",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.C", "glibc bug 26600"],
    source: include_str!("glibc_id_collision.rs"),
    new: || Box::<IdCollision>::default(),
};

/// Bounded by the caps above.
#[derive(Default)]
struct IdCollision {
    harmed: u64,
    harmless: u64,
    clients: BTreeMap<IpAddr, u64>,
    names: BTreeSet<Name>,
    span: Option<Span>,
    frames: Vec<(Seen, Duration)>,
}

impl Detector for IdCollision {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        for a in lookup.transactions().filter(|asked| asked.question.rtype == RecordType::A) {
            if let Some(aaaa) = lookup.transactions().find(|other| collide(a, other)) {
                self.note(lookup, a, aaaa);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Some(span) = self.span else { return Vec::new() };
        let clients: BTreeSet<IpAddr> = self.clients.keys().copied().collect();
        let example = self.names.first().map_or_else(|| "<name>".to_owned(), Name::to_string);
        vec![Finding {
            rule: &DETECTOR,
            title: text!(
                "{lookups} of {clients} stalled because A and AAAA had the same id: glibc before \
                 2.33 takes the two answers for one",
                lookups = count(self.harmed, "lookup"),
                clients = list(&clients, 3)
            ),
            confidence: Confidence::Confirmed,
            culprits: clients.iter().take(5).copied().map(Culprit::Client).collect(),
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: self.harmed,
            claim: Claim {
                span: Some(span.widened(Duration::from_millis(5))),
                clients: Some(clients.clone()),
                ..claim()
            },
            cause: text!(
                "Both queries were answered at once, nothing was lost; they carry one id, and the \
                 client waited for its timer and asked again. The resolver in the image tells the \
                 answers apart by their ids alone."
            ),
            facts: vec![
                Fact { label: text!("pairs with one id, asked again"), value: plain(self.harmed) },
                Fact { label: text!("pairs with one id, no harm"), value: plain(self.harmless) },
                Fact { label: text!("clients"), value: list(&clients, 5) },
                Fact { label: text!("names"), value: list(&self.names, 5) },
                Fact {
                    label: text!("first / last"),
                    value: text!(
                        "{start} / {end}",
                        start = clock(span.start),
                        end = clock(span.end)
                    ),
                },
            ],
            evidence: self
                .frames
                .iter()
                .map(|(seen, gap)| Proof {
                    seen: *seen,
                    summary: text!(
                        "asked again after {gap}, though answered",
                        gap = duration(*gap)
                    ),
                })
                .collect(),
            actions: vec![
                Action {
                    why: text!("see which glibc the image has; 2.33 is fixed"),
                    command: format!(
                        "kubectl get pods -A -o wide | grep -wF {}; kubectl exec <pod> -- ldd \
                         --version",
                        clients.first().map_or_else(String::new, IpAddr::to_string)
                    ),
                },
                Action {
                    why: text!("until then: one query after the other"),
                    command: format!("RES_OPTIONS=single-request getent ahosts {example}"),
                },
            ],
            ruled_out: vec![RuledOut {
                rule: "conntrack-race-aaaa",
                because: text!("both queries of each pair were answered"),
            }],
        }]
    }
}

fn claim() -> Claim {
    Claim { symptoms: BTreeSet::from([Symptom::AskedAgain]), ..Claim::default() }
}

/// Whether the two are A and AAAA of one name from one socket with one id, both answered before
/// anything was repeated.
fn collide(a: &Transaction, aaaa: &Transaction) -> bool {
    let prompt = |asked: &Transaction| {
        asked.answer().is_some_and(|answer| answer.delivered().ts.since(asked.first().ts) < TIMER)
    };
    a.id == aaaa.id
        && aaaa.question.rtype == RecordType::AAAA
        && a.transport == Transport::Udp
        && (a.client, a.server) == (aaaa.client, aaaa.server)
        && a.question.name == aaaa.question.name
        && a.first().ts.distance(aaaa.first().ts) <= PAIR
        && prompt(a)
        && prompt(aaaa)
}

impl IdCollision {
    fn note(&mut self, lookup: &Lookup, a: &Transaction, aaaa: &Transaction) {
        let again = [a, aaaa].into_iter().find_map(|asked| {
            let again = asked.attempts.get(1)?.sent();
            Some((again, again.ts.since(asked.first().ts))).filter(|(_, gap)| *gap >= TIMER)
        });
        let Some((seen, gap)) = again else {
            self.harmless += 1;
            return;
        };
        self.harmed += 1;
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&lookup.client) {
            *self.clients.entry(lookup.client).or_default() += 1;
        }
        if self.names.len() < MAX_NAMES {
            self.names.insert(a.question.name.clone());
        }
        let own = Span::between(a.first().ts, seen.ts);
        self.span = Some(self.span.map_or(own, |span| span.join(own)));
        if self.frames.len() < FRAMES {
            self.frames.push((seen, gap));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    fn pair(ids: [&str; 2], repeat: bool, answers: bool) -> String {
        let name = "redis.default.svc.cluster.local.";
        let [a, aaaa] = ids;
        let mut text = format!(
            "pod = 10.244.0.2\ndns = 10.96.0.10\n0.0000 pod > dns rd id {a} A {name}\n\
             0.0001 pod > dns rd id {aaaa} AAAA {name}\n\
             0.0010 pod < dns id {a} ? A {name} {name} 5 A 10.96.0.20\n"
        );
        if answers {
            let _ = writeln!(text, "0.0011 pod < dns id {aaaa} ? AAAA {name} NOERROR");
        }
        if repeat {
            let _ = writeln!(
                text,
                "5.0010 pod > dns rd id {a} A {name}\n\
                 5.0020 pod < dns id {a} ? A {name} {name} 5 A 10.96.0.20\n\
                 5.0021 pod > dns rd id {aaaa} AAAA {name}\n\
                 5.0030 pod < dns id {aaaa} ? AAAA {name} NOERROR"
            );
        }
        text
    }

    #[test]
    fn equal_ids_are_asked_again_though_answered() {
        insta::assert_snapshot!(findings(&pair(["1a2b", "1a2b"], true, true)), @"low glibc-id-collision [client 10.244.0.2] confirmed 10:00:00.000-10:00:05.001 0/1");
    }

    #[test]
    fn equal_ids_alone_are_harmless() {
        assert_eq!(findings(&pair(["1a2b", "1a2b"], false, true)), "quiet\n");
    }

    #[test]
    fn different_ids_or_a_lost_answer_are_something_else() {
        for text in [pair(["1a2b", "1a2c"], true, true), pair(["1a2b", "1a2c"], true, false)] {
            assert!(!findings(&text).contains("glibc-id-collision"));
        }
    }

    /// Whether the client asks again is not seen.
    #[test]
    fn a_capture_that_ends_before_the_repeat_says_nothing() {
        assert_eq!(findings_until(&pair(["1a2b", "1a2b"], true, true), 4.0), "quiet\n");
    }
}
