//! A server's answers come after the clients gave up, or after they asked again.
//!
//! **Signature.** Answers of one server, about names that it knows by itself, arrive after the
//! client's retry or after its last patience; the delay is there from one query to the next and is
//! gone as suddenly. The server is alive: something holds its answers, or its queries, back.
//!
//! **Needs.** At least five such answers to at least two names: a fifth of what the server was asked
//! meanwhile, or five that found nobody waiting any more.
//!
//! **Not this.** Latency that climbs and sinks with the load is `coredns-overload`. If only names
//! that need an upstream come late, `upstream-timeout` and its kin are responsible. An answer right
//! after a repeat answers the repeat: the first query was lost. Nothing at all coming back is a
//! dead backend or path.
//!
//! **Cannot tell.** Whether the server or the way back is slow, unless the far end was recorded.
//!
//! Source: rulebook 2.D, 4.7 and section 3 (V19: musl gives up at 5 s, glibc takes a late answer).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, duration, list, plain, text};
use crate::base::{AddressId, Span, Table, Timestamp};
use crate::capture::Seen;
use crate::detect::load::Course;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::Name;
use crate::transaction::{Outcome, Transaction};

/// Late answers and names below which it may be one hiccup (rulebook 7.6).
const ENOUGH: usize = 5;
const NAMES: usize = 2;
/// Share of the server's transactions that are late while it lasts: below, single answers
/// straggle, as they do after any burst of loss. Answers that nobody waits for any more are no
/// stragglers: that takes longer than all repeats of a lost query.
const SHARE: f64 = 0.2;
/// No stub gives up, or asks again, sooner than this (rulebook `slow_any`).
const SOON: Duration = Duration::from_millis(900);
/// Late answers this far apart are two stretches.
const APART: Duration = Duration::from_secs(30);
/// Answers kept one by one for every server, and servers.
const MAX_LATE: usize = 10_000;
const MAX_SERVERS: usize = 1_024;
/// Seconds of traffic tallied over all servers.
const MAX_SECONDS: usize = 100_000;
/// Example frames.
const FRAMES: usize = 8;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "late-response",
    title: "answers come after the client gave up",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.D", "rulebook 4.7"],
    source: include_str!("late_response.rs"),
    new: || Box::<LateResponse>::default(),
};

/// Bounded by the caps above.
#[derive(Default)]
struct LateResponse {
    late: BTreeMap<IpAddr, Vec<Late>>,
    /// Transactions with each server by the second, those that it could answer alone.
    asked: Table<(AddressId, i64), u64>,
}

/// An answer that came too late.
struct Late {
    sent: Seen,
    came: Seen,
    delay: Duration,
    client: IpAddr,
    name: Name,
    given_up: bool,
}

fn second(ts: Timestamp) -> i64 {
    ts.nanos().div_euclid(1_000_000_000)
}

impl Detector for LateResponse {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        if transaction.attempts.is_empty() || !glance.name.service {
            return;
        }
        let server = transaction.responder();
        let key = (glance.responder, second(glance.first.ts));
        if let Some(asked) = self.asked.entry_within(key, MAX_SECONDS) {
            *asked.or_default() += 1;
        }
        let (Some(delay), Some(answer)) = (glance.delay, transaction.responses.first()) else {
            return;
        };
        if delay < SOON {
            return;
        }
        let came = answer.arrived();
        let given_up = transaction.outcome() == Outcome::Late;
        let repeated = transaction.attempts.iter().skip(1).any(|again| again.sent().ts <= came.ts);
        if !(given_up || repeated) {
            return;
        }
        if self.late.len() < MAX_SERVERS || self.late.contains_key(&server) {
            let late = self.late.entry(server).or_default();
            if late.len() < MAX_LATE {
                late.push(Late {
                    sent: glance.first,
                    came: answer.delivered(),
                    delay,
                    client: transaction.client.ip(),
                    name: transaction.question.name.clone(),
                    given_up,
                });
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let queues: BTreeSet<IpAddr> = scene
            .load
            .courses()
            .iter()
            .flat_map(Course::slow)
            .filter(|slow| slow.gradual)
            .map(|slow| slow.server)
            .collect();
        let mut findings = Vec::new();
        for (server, late) in &self.late {
            if queues.contains(server) {
                continue;
            }
            for stretch in late.chunk_by(|a, b| b.sent.ts.since(a.sent.ts) <= APART) {
                findings.extend(self.finding(*server, stretch, scene));
            }
        }
        findings
    }
}

impl LateResponse {
    fn asked(&self, server: IpAddr, span: Span, scene: &Scene<'_>) -> u64 {
        let Some(server) = scene.addresses.get(server) else { return 0 };
        let during = (server, second(span.start))..=(server, second(span.end));
        self.asked.unordered().filter(|(at, _)| during.contains(at)).map(|(_, asked)| asked).sum()
    }

    fn finding(&self, server: IpAddr, late: &[Late], scene: &Scene<'_>) -> Option<Finding> {
        let names: BTreeSet<&Name> = late.iter().map(|late| &late.name).collect();
        let (first, last) = (late.first()?, late.last()?);
        let sent = Span::between(first.sent.ts, last.sent.ts);
        let asked = self.asked(server, sent, scene);
        let given_up = late.iter().filter(|late| late.given_up).count();
        let often = late.len() >= ENOUGH && late.len() as f64 >= SHARE * asked as f64;
        if names.len() < NAMES || !(often || given_up >= ENOUGH) {
            return None;
        }
        let end = late.iter().map(|late| late.came.ts).max()?;
        let span = Span::between(first.sent.ts, end);
        let shortest = late.iter().map(|late| late.delay).min()?;
        let longest = late.iter().map(|late| late.delay).max()?;
        let clients: BTreeSet<IpAddr> = late.iter().map(|late| late.client).collect();
        let others = self.late.keys().filter(|other| **other != server).count();
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{server} answered {shortest} to {longest} after the query between {start} and \
                 {end}, later than clients wait",
                server,
                shortest = duration(shortest),
                longest = duration(longest),
                start = clock(sent.start),
                end = clock(sent.end)
            ),
            confidence: Confidence::Confirmed,
            culprits: vec![Culprit::Backend(server)],
            place: Where::Unknown,
            span,
            ongoing: scene.lasts(span),
            transactions: late.len() as u64,
            claim: Claim {
                span: Some(sent.widened(Duration::from_secs(1))),
                servers: Some(BTreeSet::from([server])),
                symptoms: BTreeSet::from([
                    Symptom::Late,
                    Symptom::Unanswered,
                    Symptom::Slow,
                    Symptom::AskedAgain,
                ]),
                ..Claim::default()
            },
            cause: text!(
                "{server} is alive, and its answers are right, but they come too late: musl has \
                 given up by then, glibc and others have asked again. The delay came from one \
                 query to the next and not with the load, so it is held back on the way or stands \
                 still now and then; names that need no upstream are late as well.",
                server
            ),
            facts: vec![
                Fact {
                    label: text!("late answers"),
                    value: text!("{late} of {asked} queries meanwhile", late = late.len(), asked),
                },
                Fact {
                    label: text!("delay"),
                    value: text!(
                        "{shortest} to {longest}",
                        shortest = duration(shortest),
                        longest = duration(longest)
                    ),
                },
                Fact { label: text!("after the client had given up"), value: plain(given_up) },
                Fact { label: text!("clients"), value: list(&clients, 5) },
                Fact { label: text!("names"), value: list(&names, 5) },
                Fact { label: text!("other servers with late answers"), value: plain(others) },
            ],
            evidence: late
                .iter()
                .take(FRAMES)
                .map(|late| Proof {
                    seen: late.came,
                    summary: text!(
                        "answer to {client} for {name}, {delay} after the query",
                        client = late.client,
                        name = late.name,
                        delay = duration(late.delay)
                    ),
                })
                .collect(),
            actions: actions(server),
            ruled_out: vec![
                RuledOut {
                    rule: "dead-backend",
                    because: text!(
                        "it answered {queries}, only late",
                        queries = count(late.len() as u64, "query")
                    ),
                },
                RuledOut {
                    rule: "coredns-overload",
                    because: text!("the delay jumped to its level instead of growing with a queue"),
                },
            ],
        })
    }
}

fn actions(server: IpAddr) -> Vec<Action> {
    vec![
        Action {
            why: text!("record at the server as well: are the answers late there already?"),
            command: format!(
                "tcpdump -i any -s 0 -C 20 -W 200 -w coredns_dns.pcap 'host {server} and port 53'"
            ),
        },
        Action {
            why: text!("see what its node and its way do"),
            command: format!(
                "kubectl get pods -A -o wide | grep -wF {server}; ping -c 5 {server}; mpstat -P ALL 1 \
                 5"
            ),
        },
        Action {
            why: text!("measure it"),
            command: format!(
                "dig @{server} kubernetes.default.svc.cluster.local +tries=1 +time=15"
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::findings;

    /// A query every two seconds, five for each of two names; from 10 s on they are answered
    /// after `delay` seconds, and repeated after 2.5 s as musl does.
    fn late(rounds: u32, delay: f64, zone: &str) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.244.1.10\n");
        for round in 0..rounds {
            let at = f64::from(round) * 2.0;
            let name = format!("{}.{zone}", ["redis", "mysql"][round as usize % 2]);
            let (port, id) = (30_000 + round, 0x1000 + round);
            let slow = round >= 5;
            let back = at + if slow { delay } else { 0.002 };
            let _ = writeln!(text, "{at:.4} pod:{port} > dns rd id {id:x} A {name}");
            if slow {
                let again = at + 2.501;
                let _ = writeln!(text, "{again:.4} pod:{port} > dns rd id {id:x} A {name}");
            }
            let _ = writeln!(text, "{back:.4} pod:{port} < dns id {id:x} {name} 5 A 10.96.0.20");
        }
        text
    }

    const CLUSTER: &str = "default.svc.cluster.local.";

    #[test]
    fn answers_come_after_musl_gave_up() {
        insta::assert_snapshot!(findings(&late(20, 6.0, CLUSTER)), @"
        medium late-response [backend 10.244.1.10] confirmed 10:00:10.000-10:00:44.000 15/15
          explains timeout-retries
        ");
    }

    #[test]
    fn an_answer_right_after_the_repeat_is_a_loss() {
        let said = findings(&late(20, 2.502, CLUSTER));
        assert!(!said.contains("late-response"), "{said}");
    }

    #[test]
    fn four_late_answers_are_not_enough() {
        let said = findings(&late(9, 6.0, CLUSTER));
        assert!(!said.contains("late-response"), "{said}");
    }

    #[test]
    fn names_that_need_an_upstream_are_not_judged() {
        let said = findings(&late(20, 6.0, "example.com."));
        assert!(!said.contains("late-response"), "{said}");
    }

    #[test]
    fn a_capture_that_ends_before_the_answers_shows_none_late() {
        let text = late(20, 60.0, CLUSTER);
        let cut: Vec<&str> = text
            .lines()
            .filter(|line| line.split(' ').next().and_then(|at| at.parse().ok()) < Some(14.0))
            .collect();
        let said = findings(&cut.join("\n"));
        assert!(!said.contains("late-response"), "{said}");
    }
}
