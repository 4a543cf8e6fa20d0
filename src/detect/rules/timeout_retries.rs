//! Lookups stalled for seconds on a resolver's retry timer, and nothing explains why.
//!
//! **Signature.** Queries are repeated at 5 s (glibc, Go, BIND's tools), 2.5 s (musl, busybox) or
//! 1, 2, 4 s (JNDI, Windows), and the lookups that waited for them took 5, 10, 15 s. The repeats
//! are the symptom of other rules; this one speaks for those that no other rule explains.
//!
//! **Needs.** Nothing but the queries and their answers.
//!
//! **Not this.** Copies of one datagram on several interfaces are no repeats. A capture that lost
//! frames shows silence where there was none: clients that do not ask again had their answer.
//!
//! **Cannot tell.** Why nobody answered. The report names what the capture lacks to say more:
//! the query after translation, the far end, or ICMP.
//!
//! Source: rulebook 2.D and section 3; resolv.conf(5) `timeout` and `attempts`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Span;
use crate::base::words::{clock, count, list};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Layer, Proof,
    Scene, Symptom, Where,
};
use crate::lookup::{Lookup, Resolver};
use crate::transaction::{Outcome, Transaction};

/// Lost attempts below which there is nothing to say (rulebook 7.6).
const ENOUGH: u64 = 5;
/// The shortest stall that counts: the first common retry timer.
const STALL: Duration = Duration::from_millis(900);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "timeout-retries",
    title: "stalls on a resolver's retry timer",
    class: Class::Failure,
    layer: Layer::Residual,
    references: &["rulebook 2.D", "resolv.conf(5)"],
    source: include_str!("timeout_retries.rs"),
    new: || Box::<TimeoutRetries>::default(),
};

/// Bounded by clients, servers and resolvers.
#[derive(Default)]
struct TimeoutRetries {
    unanswered: u64,
    intervals: BTreeMap<u64, u64>,
    resolvers: BTreeMap<Resolver, u64>,
    servers: BTreeMap<IpAddr, u64>,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<(Seen, Duration)>,
}

impl TimeoutRetries {
    fn repeats(&mut self, transaction: &Transaction) {
        for pair in transaction.attempts.windows(2) {
            let [before, again] = pair else { continue };
            let gap = again.sent().ts.since(before.sent().ts);
            if gap < STALL {
                continue;
            }
            // To the tenth of a second: timers fire late.
            let tenths = u64::try_from(gap.as_millis() / 100).unwrap_or(u64::MAX);
            *self.intervals.entry(tenths).or_default() += 1;
            if self.frames.len() < 8 {
                self.frames.push((again.sent(), gap));
            }
        }
    }
}

impl Detector for TimeoutRetries {
    fn observe_lookup(&mut self, lookup: &Lookup) {
        let mut stalled = false;
        for transaction in lookup.transactions() {
            let silent = matches!(transaction.outcome(), Outcome::Timeout | Outcome::Late);
            let repeated = transaction.attempts.len() > 1
                && transaction
                    .last_sent()
                    .is_some_and(|last| last.ts.since(transaction.first().ts) >= STALL);
            if !silent && !repeated {
                continue;
            }
            stalled = true;
            self.unanswered += 1;
            *self.servers.entry(transaction.responder()).or_default() += 1;
            let last = transaction.last_sent().unwrap_or(transaction.first()).ts;
            let own = Span::between(transaction.first().ts, last);
            self.span = Some(self.span.map_or(own, |span| span.join(own)));
            self.repeats(transaction);
        }
        if stalled {
            self.clients.insert(lookup.client);
            *self.resolvers.entry(lookup.resolver).or_default() += 1;
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Some(span) = self.span.filter(|_| self.unanswered >= ENOUGH) else {
            return Vec::new();
        };
        let mut intervals: Vec<(u64, u64)> = self.intervals.into_iter().collect();
        intervals.sort_by_key(|(tenths, times)| (std::cmp::Reverse(*times), *tenths));
        let grid = list(
            intervals
                .iter()
                .map(|(tenths, times)| format!("{:.1} s ({times} times)", *tenths as f64 / 10.0)),
            4,
        );
        let resolvers =
            list(self.resolvers.iter().map(|(who, times)| format!("{who} ({times})")), 4);
        let mut servers: Vec<(IpAddr, u64)> = self.servers.into_iter().collect();
        servers.sort_by_key(|(server, times)| (std::cmp::Reverse(*times), *server));
        let lacking = if scene.nat.services().next().is_none() {
            "The capture shows no query after translation, so the backend is not known: record \
             with -i any on the client's node."
        } else {
            "A capture on the DNS pods' nodes would show whether the queries arrived there."
        };
        vec![Finding {
            rule: &DETECTOR,
            title: format!(
                "{} to {} stalled on a retry timer from {} to {}, and no other rule explains it",
                count(self.unanswered, "query"),
                list(servers.iter().map(|(server, _)| server), 3),
                clock(span.start),
                clock(span.end)
            ),
            confidence: Confidence::Possible,
            culprits: servers.iter().take(3).map(|(server, _)| Culprit::Backend(*server)).collect(),
            place: Where::Unknown,
            span,
            ongoing: scene.lasts(span),
            transactions: self.unanswered,
            claim: Claim {
                symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Late]),
                ..Claim::default()
            },
            cause: format!(
                "Queries were not answered in time, and the clients waited for their resolvers' \
                 timers before they asked again. {lacking}"
            ),
            facts: vec![
                Fact { label: "queries repeated after", value: grid },
                Fact { label: "resolvers", value: resolvers },
                Fact {
                    label: "servers that did not answer",
                    value: list(servers.iter().map(|(s, n)| format!("{s} ({n})")), 4),
                },
                Fact { label: "clients", value: list(&self.clients, 5) },
                Fact {
                    label: "first / last",
                    value: format!("{} / {}", clock(span.start), clock(span.end)),
                },
            ],
            evidence: self
                .frames
                .into_iter()
                .map(|(seen, gap)| Proof {
                    seen,
                    summary: format!(
                        "the same query again, {:.4} s after the one before",
                        gap.as_secs_f64()
                    ),
                })
                .collect(),
            actions: vec![
                Action {
                    why: "record the far end as well".to_owned(),
                    command:
                        "tcpdump -i any -s 0 -C 20 -W 200 -w coredns_dns.pcap '(port 53) or icmp \
                              or icmp6 or (ip[6:2] & 0x1fff != 0)'"
                            .to_owned(),
                },
                Action {
                    why: "see whether packets are dropped on the node".to_owned(),
                    command: "conntrack -S; nstat -az | grep -i udp; ip -s link".to_owned(),
                },
            ],
            ruled_out: Vec::new(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// `times` a query that is answered when it is repeated after `gap` seconds; other lookups go
    /// on until a minute later, or the capture ends with the last repeat.
    fn stalls(times: usize, gap: &str, repeated: &str, cut: bool) -> String {
        let mut text = format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat {times} every 20\n\
             0.000 pod:40000 > dns rd id 1 A www.example.org.\n\
             {gap} pod:40000 > dns rd id 1 A www.example.org.\n{repeated}end\n"
        );
        if !cut {
            let after = times * 20 + 60;
            text.extend([format!(
                "{after}.000 pod:39000 > dns rd A www.example.org.\n\
                 {after}.001 pod:39000 < dns www.example.org. 60 A 203.0.113.7\n"
            )]);
        }
        text
    }
    const ANSWER: &str = "5.010 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7\n";

    #[test]
    fn lookups_wait_five_seconds_and_nothing_explains_it() {
        insta::assert_snapshot!(findings(&stalls(5, "5.003", ANSWER, false)), @"low timeout-retries [backend 10.96.0.10] possible 10:00:00.000-10:01:25.003 0/5");
    }

    #[test]
    fn four_lost_queries_are_too_few() {
        insta::assert_snapshot!(findings(&stalls(4, "5.003", ANSWER, false)), @"quiet");
    }

    #[test]
    fn the_same_question_again_at_once_is_no_stall() {
        let text = stalls(9, "0.300", &ANSWER.replace("5.010", "0.310"), false);
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn a_single_query_without_an_answer_proves_nothing() {
        let mut text = stalls(9, "5.003", "", false);
        text = text.replace("5.003 pod:40000 > dns rd id 1 A www.example.org.\n", "");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn what_the_capture_did_not_watch_long_enough_is_unknown() {
        let text = stalls(1, "5.003", "", true).replace("repeat 1 every 20", "repeat 9 every 0.1");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }
}
