//! Lookups waited for slow answers, and nothing explains why.
//!
//! **Signature.** Answers that came at the first attempt but took more than a second for names that
//! the cluster's DNS knows by itself, or more than two for others; the lookups that waited for them
//! are charged here only if no other rule explains them. Or one server takes more than 50 ms, and five
//! times as long as the fastest, for what it knows by itself, for five seconds or more.
//!
//! **Needs.** At least five such lookups, or twenty answers of such a server.
//!
//! **Not this.** A first look at an external name takes up to two seconds on a healthy day (cold
//! caches, long chains of delegation). Lookups that waited for a retry are `timeout-retries`.
//!
//! **Cannot tell.** Why they were slow. The facts say which servers, clients and kinds of names.
//!
//! Source: rulebook 2.H, 8.16, section 1 `slow_any`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, duration, list, text};
use crate::base::{Histogram, Span};
use crate::capture::Seen;
use crate::detect::load::{UNNOTICED, is_cluster_name};
use crate::detect::slower::{Slower, slower};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, Scene, Symptom, Where, Which,
};
use crate::dns::Name;
use crate::lookup::Lookup;

/// Lookups below which there is nothing to say.
const ENOUGH: u64 = 5;
/// The cluster's names come from memory; others may need a recursion (rulebook 8.16).
const SLOW_CLUSTER: Duration = Duration::from_secs(1);
const SLOW_OTHER: Duration = Duration::from_secs(2);
/// After so long glibc and musl repeat a query from the same socket, and the answer to the repeat
/// comes this soon.
const TIMERS: [Duration; 2] = [Duration::from_millis(2_500), Duration::from_secs(5)];
const PROMPT: Duration = Duration::from_millis(150);
/// Names, servers and clients kept.
const MAX_KEPT: usize = 4_096;
/// Example frames.
const FRAMES: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "unexplained-slow",
    title: "slow answers that nothing explains",
    class: Class::Failure,
    layer: Layer::Residual,
    references: &["rulebook 2.H"],
    source: include_str!("unexplained_slow.rs"),
    new: || Box::<UnexplainedSlow>::default(),
};

/// Bounded by [`MAX_KEPT`].
#[derive(Default)]
struct UnexplainedSlow {
    lookups: u64,
    cluster: u64,
    names: BTreeSet<Name>,
    servers: BTreeMap<IpAddr, u64>,
    clients: BTreeSet<IpAddr>,
    took: Histogram,
    span: Option<Span>,
    frames: Vec<(Seen, Duration)>,
    /// The slowest answers of each server about the cluster's names.
    slowest: BTreeMap<IpAddr, Vec<(Duration, Seen)>>,
}

impl Detector for UnexplainedSlow {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if lookup.is_quicker_than(UNNOTICED) {
            return;
        }
        let mut slow = false;
        for transaction in lookup.transactions() {
            let took = transaction.server_latency().filter(|took| *took >= UNNOTICED);
            let Some(took) = took else { continue };
            let name = &transaction.question.name;
            let cluster = is_cluster_name(name);
            if cluster {
                self.keep_slowest(transaction.responder(), (took, transaction.first()));
            }
            if took < SLOW_CLUSTER || took < SLOW_OTHER && !cluster || answers_a_missed_repeat(took)
            {
                continue;
            }
            if self.names.len() >= MAX_KEPT || self.clients.len() >= MAX_KEPT {
                return;
            }
            slow = true;
            self.took.add(took);
            self.cluster += u64::from(cluster);
            self.names.insert(name.clone());
            *self.servers.entry(transaction.responder()).or_default() += 1;
            let seen = transaction.first();
            self.span = Some(self.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
            if self.frames.len() < FRAMES {
                self.frames.push((seen, took));
            }
        }
        if slow {
            self.lookups += 1;
            self.clients.insert(lookup.client);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        // Whoever asks the authoritative servers of the world finds some of them far away.
        let is_clusters = |slow: &Slower| self.slowest.contains_key(&slow.server);
        let slow = slower(scene.load).into_iter().filter(is_clusters);
        let mut found: Vec<Finding> = slow.map(|slow| self.slow_server(&slow, scene)).collect();
        found.extend(self.slow_answers(scene));
        found
    }
}

impl UnexplainedSlow {
    fn slow_answers(&self, scene: &Scene<'_>) -> Option<Finding> {
        let span = self.span.filter(|_| self.lookups >= ENOUGH)?;
        let mut servers: Vec<(&IpAddr, &u64)> = self.servers.iter().collect();
        servers.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{lookups} waited for slow answers of {servers} between {start} and {end}, and no \
                 other rule explains it",
                lookups = count(self.lookups, "lookup"),
                servers = list(servers.iter().map(|(server, _)| server), 3),
                start = clock(span.start),
                end = clock(span.end)
            ),
            confidence: Confidence::Possible,
            culprits: servers
                .iter()
                .take(3)
                .map(|(server, _)| Culprit::Backend(**server))
                .collect(),
            place: Where::Unknown,
            span,
            ongoing: scene.lasts(span),
            transactions: self.took.count(),
            claim: Claim {
                span: Some(span),
                zones: Some(self.names.clone()),
                symptoms: BTreeSet::from([Symptom::Slow]),
                ..Claim::default()
            },
            cause: text!(
                "The answers came, at the first attempt and late. The capture does not show where \
                 they waited: at the server, behind it, or on the way."
            ),
            facts: vec![
                Fact {
                    label: text!("answers took, median and worst"),
                    value: text!(
                        "{quantile}, {took}",
                        quantile = duration(self.took.quantile(500).unwrap_or_default()),
                        took = duration(self.took.max().unwrap_or_default())
                    ),
                },
                Fact {
                    label: text!("slow answers by server"),
                    value: list(
                        servers
                            .iter()
                            .map(|(server, times)| text!("{server} {times}", server, times)),
                        5,
                    ),
                },
                Fact {
                    label: text!("about the cluster's names / others"),
                    value: text!(
                        "{cluster} / {cluster_2}",
                        cluster = self.cluster,
                        cluster_2 = self.took.count() - self.cluster
                    ),
                },
                Fact { label: text!("names"), value: list(&self.names, 5) },
                Fact { label: text!("clients"), value: list(&self.clients, 5) },
            ],
            evidence: proofs(self.frames.iter().map(|(seen, took)| (seen, took))),
            actions: vec![record_there()],
            ruled_out: Vec::new(),
        })
    }

    /// One server is slow from one instant on.
    fn slow_server(&self, slow: &Slower, scene: &Scene<'_>) -> Finding {
        let Slower { server, span, .. } = *slow;
        let (median, usual) = (duration(slow.median), duration(slow.usual));
        Finding {
            rule: &DETECTOR,
            title: text!(
                "{server} takes {median} for what it knows by itself from {start} on, and the \
                 fastest server {usual}",
                server,
                median = median.clone(),
                start = clock(span.start),
                usual = usual.clone()
            ),
            confidence: Confidence::Likely,
            culprits: vec![Culprit::Backend(server)],
            place: Where::Unknown,
            span,
            ongoing: scene.lasts(span),
            transactions: slow.answers,
            claim: Claim {
                span: Some(span),
                servers: Some(BTreeSet::from([server])),
                symptoms: BTreeSet::from([Symptom::Slow]),
                ..Claim::default()
            },
            cause: text!(
                "The answers of {server} come, at the first attempt and late, whatever name of the \
                 cluster they are about; a lookup that walks its search list waits for several of \
                 them. The delay does not grow with the load. Whether the server, its node or the way \
                 to it is slow, the capture does not show.",
                server
            ),
            facts: vec![
                Fact {
                    label: text!("its answers"),
                    value: text!(
                        "{answers}, half of them took {median} or more",
                        answers = slow.answers,
                        median
                    ),
                },
                Fact { label: text!("the fastest server takes"), value: usual },
            ],
            evidence: proofs(
                self.slowest.get(&server).into_iter().flatten().map(|(took, seen)| (seen, took)),
            ),
            actions: vec![
                record_there(),
                Action {
                    why: text!("see whether its CPU is limited, and how busy its node is"),
                    command: format!(
                        "kubectl get pods -A -o wide | grep -wF {server}; kubectl -n kube-system top \
                     pod -l k8s-app=kube-dns; kubectl top nodes"
                    ),
                },
            ],
            ruled_out: Vec::new(),
        }
    }

    fn keep_slowest(&mut self, server: IpAddr, answer: (Duration, Seen)) {
        if self.slowest.len() >= MAX_KEPT && !self.slowest.contains_key(&server) {
            return;
        }
        let kept = self.slowest.entry(server).or_default();
        let at = kept.partition_point(|known| *known > answer);
        if at < FRAMES {
            kept.insert(at, answer);
            kept.truncate(FRAMES);
        }
    }
}

fn proofs<'a>(slow: impl Iterator<Item = (&'a Seen, &'a Duration)>) -> Vec<Proof> {
    let summary = |took: Duration| text!("query, answered {took} later", took = duration(took));
    slow.map(|(seen, took)| Proof { seen: *seen, summary: summary(*took) }).collect()
}

fn record_there() -> Action {
    Action {
        why: text!("record at the DNS pods as well, with their own queries"),
        command: "tcpdump -i any -s 0 -C 20 -W 200 -w coredns_dns.pcap 'port 53'".to_owned(),
    }
}

/// Whether a repeat was due that short a while before the answer.
fn answers_a_missed_repeat(took: Duration) -> bool {
    TIMERS.iter().any(|timer| took.checked_sub(*timer).is_some_and(|after| after <= PROMPT))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    fn slow(times: u32, delay: f64, name: &str) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        for round in 0..times {
            let (at, port) = (f64::from(round) * 9.0, 30_000 + round);
            let _ = writeln!(
                text,
                "{at:.3} pod:{port} > dns rd A {name}\n{:.3} pod:{port} < dns {name} 5 A 192.0.2.1",
                at + delay
            );
        }
        text
    }

    #[test]
    fn answers_take_three_seconds_and_nothing_says_why() {
        let said = findings(&slow(6, 3.0, "api.example.com."));
        assert!(said.contains("unexplained-slow [backend 10.96.0.10] possible"), "{said}");
    }

    /// musl repeats after 2.5 s: that the capture missed the repeats is no slowness of the server.
    #[test]
    fn answers_to_repeats_that_the_capture_missed_are_not_slow() {
        assert_eq!(findings(&slow(6, 2.56, "redis.default.svc.cluster.local.")), "quiet\n");
        let said = findings(&slow(6, 2.7, "redis.default.svc.cluster.local."));
        assert!(said.contains("unexplained-slow"), "{said}");
    }

    #[test]
    fn a_long_recursion_and_four_lookups_are_no_incident() {
        assert_eq!(findings(&slow(6, 1.9, "api.example.com.")), "quiet\n");
        assert_eq!(findings(&slow(4, 3.0, "api.example.com.")), "quiet\n");
    }

    #[test]
    fn five_lookups_beyond_two_seconds_are_enough() {
        assert!(findings(&slow(5, 2.1, "api.example.com.")).contains("unexplained-slow ["));
        assert!(!findings(&slow(5, 1.95, "api.example.com.")).contains("unexplained-slow"));
        let cluster = "redis.default.svc.cluster.local.";
        assert!(findings(&slow(5, 1.1, cluster)).contains("unexplained-slow ["));
        assert!(!findings(&slow(5, 0.9, cluster)).contains("unexplained-slow"));
    }

    /// The fifth answer is still out: it may come soon or never.
    #[test]
    fn a_capture_that_ends_before_the_fifth_answer_says_nothing() {
        let text = slow(5, 3.0, "api.example.com.");
        assert!(!findings_until(&text, 4.0 * 9.0 + 2.5).contains("unexplained-slow"));
    }

    /// Two servers that are asked in turn: one of them takes `delay` from 20 s on, for `seconds`.
    fn slow_server(delay: f64, seconds: u32) -> String {
        slow_server_of("default.svc.cluster.local", delay, seconds)
    }

    fn slow_server_of(zone: &str, delay: f64, seconds: u32) -> String {
        let mut text = String::from("pod = 10.244.0.2\na = 10.244.1.10\nb = 10.244.2.10\n");
        for round in 0..240_u32 {
            let (at, port) = (f64::from(round) / 4.0, 30_000 + round);
            let slow = round % 2 == 1 && (80..80 + 4 * seconds).contains(&round);
            let (server, took) =
                (if round % 2 == 1 { "b" } else { "a" }, if slow { delay } else { 0.001 });
            let name = format!("n{}.{zone}.", round % 7);
            let _ = writeln!(
                text,
                "{at:.3} pod:{port} > {server} rd A {name}\n{:.3} pod:{port} < {server} aa {name} 5 A \
                 10.96.0.7",
                at + took
            );
        }
        findings(&text)
    }

    #[test]
    fn a_server_that_takes_a_third_of_a_second_for_each_answer_is_named() {
        let said = slow_server(0.3, 30);
        assert!(
            said.contains(" unexplained-slow [backend 10.244.2.10] likely 10:00:20."),
            "{said}"
        );
    }

    #[test]
    fn an_authoritative_server_far_away_is_nobodys_trouble() {
        let said = slow_server_of("example.com", 0.3, 30);
        assert!(!said.contains("unexplained-slow [backend"), "{said}");
    }

    #[test]
    fn forty_milliseconds_and_hiccups_are_nobodys_trouble() {
        assert!(!slow_server(0.04, 30).contains("unexplained-slow"), "{}", slow_server(0.04, 30));
        assert!(!slow_server(0.3, 3).contains("unexplained-slow"), "{}", slow_server(0.3, 3));
    }
}
