//! DNS servers answer later and later while queries queue up, and drop what does not fit.
//!
//! **Signature.** Answers that a server gives from memory (the cluster's own names) grow slower
//! with the number of queries waiting at it, at least ten times slower than at its best and slower
//! than anybody would overlook. Latency climbs to that level and sinks from it step by step, as a
//! queue fills and drains; at the top queries go unanswered.
//!
//! **Needs.** Thirty bins of a second or more with answers from the server, its fast times among
//! them.
//!
//! **Not this.** Names that need an upstream resolver are left out: if only those are slow it is
//! not the server. A delay that is there at once and stays the same whatever the load is
//! `late-response`. Losses without delay are `lossy-path`.
//!
//! **Cannot tell.** Whether CPU, its limit, or the number of replicas is too small, nor how much
//! load other nodes add: from one client's node only part of the queries is seen.
//!
//! Source: rulebook 2.C, 7.6; Little's law for the queries in flight.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, duration, list, text};
use crate::base::{Span, Timestamp};
use crate::capture::Seen;
use crate::detect::glance::NOTICED;
use crate::detect::load::{CALM, Course, Slow};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::transaction::Transaction;

/// The stretch is known to a bin.
const BIN: Duration = Duration::from_secs(1);
/// Examples kept of the slowest answers of each size.
const FRAMES: usize = 6;
/// Climbs of which examples are kept.
const MAX_CLIMBS: usize = 256;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "coredns-overload",
    title: "DNS servers answer slower the more they are asked",
    class: Class::Failure,
    layer: Layer::Service,
    references: &["rulebook 2.C", "rulebook 7.6"],
    source: include_str!("coredns_overload.rs"),
    new: || Box::<CorednsOverload>::default(),
};

/// Bounded by [`MAX_CLIMBS`] times [`FRAMES`].
#[derive(Default)]
struct CorednsOverload {
    climbs: Vec<Climb>,
}

/// Answers of which each is slower than all before it, and when the last slow one was asked for: behind
/// a calm, the next one begins another climb.
struct Climb {
    answers: Vec<(Seen, IpAddr, Duration)>,
    last: Timestamp,
}

impl Detector for CorednsOverload {
    fn interest(&self) -> Interest {
        Interest::new(Which::Unusual, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        let Some(delay) = glance.delay else { return };
        if delay < NOTICED || !glance.name.service {
            return;
        }
        let at = glance.first.ts;
        let goes_on = |climb: &Climb| at.since(climb.last) <= CALM;
        if !self.climbs.last().is_some_and(goes_on) && self.climbs.len() < MAX_CLIMBS {
            self.climbs.push(Climb { answers: Vec::new(), last: at });
        }
        let Some(climb) = self.climbs.last_mut() else { return };
        climb.last = climb.last.max(at);
        let half_more = climb.answers.last().is_none_or(|(_, _, last)| delay >= *last * 3 / 2);
        let room = climb.answers.len() < FRAMES;
        if let Some(answer) = transaction.responses.first().filter(|_| half_more && room) {
            climb.answers.push((answer.delivered(), transaction.responder(), delay));
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut slow: Vec<Slow> =
            scene.load.courses().iter().flat_map(Course::slow).filter(Slow::follows_load).collect();
        slow.sort_by_key(|slow| (slow.span, slow.server));
        let mut together: Vec<(Span, Vec<Slow>)> = Vec::new();
        for one in slow {
            match together.last_mut() {
                Some((span, others)) if span.overlaps(one.span) => {
                    *span = span.join(one.span);
                    others.push(one);
                }
                _ => together.push((one.span, vec![one])),
            }
        }
        together.iter().map(|(span, slow)| self.finding(slow, *span, scene)).collect()
    }
}

impl CorednsOverload {
    /// Servers that were slow at the same time.
    fn finding(&self, slow: &[Slow], span: Span, scene: &Scene<'_>) -> Finding {
        let servers: BTreeSet<IpAddr> = slow.iter().map(|slow| slow.server).collect();
        let top = slow.iter().map(|slow| slow.worst).max().unwrap_or_default();
        let fast = slow.iter().map(|slow| slow.best).min().unwrap_or_default();
        let lost: u64 = slow.iter().map(|slow| slow.lost).sum();
        let replicas: BTreeSet<IpAddr> = scene
            .nat
            .services()
            .filter(|(_, backends)| !backends.is_disjoint(&servers))
            .flat_map(|(_, backends)| backends.iter().copied())
            .collect();
        let others: BTreeSet<IpAddr> = replicas.difference(&servers).copied().collect();
        Finding {
            rule: &DETECTOR,
            title: text!(
                "{servers} answered slower the more was asked: {top} at worst instead of {fast} \
                 between {start} and {end}",
                servers = list(&servers, 4),
                top = duration(top),
                fast = duration(fast),
                start = clock(span.start),
                end = clock(span.end)
            ),
            confidence: Confidence::Likely,
            culprits: servers.iter().copied().map(Culprit::Backend).collect(),
            place: Where::Server,
            span,
            ongoing: scene.lasts(span),
            transactions: lost,
            claim: Claim {
                span: Some(span.widened(BIN)),
                servers: Some(servers.clone()),
                symptoms: BTreeSet::from([
                    Symptom::Unanswered,
                    Symptom::Late,
                    Symptom::Slow,
                    Symptom::AskedAgain,
                    Symptom::Connect,
                ]),
                ..Claim::default()
            },
            cause: text!(
                "Answers that need nobody else took up to {top}, and the more queries waited the \
                 longer: queries queue at the server, and {queries} did not get an answer at all. \
                 Clients that ask again add to the queue. {reason}",
                top = duration(top),
                queries = count(lost, "query"),
                reason = if others.is_empty() {
                    text!("Too few replicas, or too little CPU for them, is the likely reason.")
                } else {
                    text!(
                        "{others} of the same service did not slow down with it: it gets more than \
                         its share of the queries, or less CPU than they do.",
                        others = list(&others, 3)
                    )
                }
            ),
            facts: facts(slow),
            evidence: self
                .climbs
                .iter()
                .flat_map(|climb| &climb.answers)
                .filter(|(seen, _, _)| span.widened(BIN).contains(seen.ts))
                .take(FRAMES)
                .map(|(seen, server, delay)| Proof {
                    seen: *seen,
                    summary: text!(
                        "answer of {server}, {delay} after the query",
                        server,
                        delay = duration(*delay)
                    ),
                })
                .collect(),
            actions: actions(&servers, replicas.len().max(servers.len())),
            ruled_out: vec![
                RuledOut {
                    rule: "late-response",
                    because: text!("latency rose and sank step by step, it did not jump"),
                },
                RuledOut {
                    rule: "upstream-slow",
                    because: text!("names of the cluster itself were slow, which need no upstream"),
                },
            ],
        }
    }
}

fn facts(slow: &[Slow]) -> Vec<Fact> {
    let mut facts = Vec::new();
    for one in slow {
        facts.push(Fact {
            label: text!("95 % of the answers within"),
            value: text!(
                "{server}: {best} in its best tenth of the time, {worst} in its worst",
                server = one.server,
                best = duration(one.best),
                worst = duration(one.worst)
            ),
        });
        facts.push(Fact {
            label: text!("queries a second, slow / otherwise"),
            value: text!(
                "{server}: {rate} / {rate_2}",
                server = one.server,
                rate = format_args!("{:.1}", one.rate.0),
                rate_2 = format_args!("{:.1}", one.rate.1)
            ),
        });
        facts.push(Fact {
            label: text!("latency goes with the queries in flight"),
            value: text!(
                "{server}: rank correlation {rho} over {bins} bins, up to {in_flight} in flight",
                server = one.server,
                rho = format_args!("{:.2}", one.rho),
                bins = one.bins,
                in_flight = one.in_flight
            ),
        });
        facts.push(Fact {
            label: text!("queries not answered meanwhile"),
            value: text!("{server}: {lost}", server = one.server, lost = one.lost),
        });
    }
    facts
}

fn actions(servers: &BTreeSet<IpAddr>, replicas: usize) -> Vec<Action> {
    vec![
        Action {
            why: text!("see whether the DNS pods run into their CPU limit"),
            command: format!(
                "kubectl -n kube-system top pod -l k8s-app=kube-dns; kubectl -n kube-system get pod \
                 -o wide | grep -wE '{}'",
                servers.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
            ),
        },
        Action {
            why: text!("spread the load"),
            command: format!(
                "kubectl -n kube-system scale deployment coredns --replicas={}",
                replicas * 2
            ),
        },
        Action {
            why: text!("ask less: a cache on every node, fewer search suffixes"),
            command: "kubectl -n kube-system get daemonset node-local-dns".to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::findings;

    const NAME: &str = "redis.default.svc.cluster.local.";

    /// Four queries a second for `length` seconds, each answered after `delay(second)` seconds.
    fn course(length: u32, name: &str, delay: fn(f64) -> f64) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.244.1.10\n");
        for round in 0..length * 4 {
            let at = f64::from(round) / 4.0;
            let (port, id, back) = (30_000 + round, 0x1000 + round, at + delay(at));
            let _ = writeln!(text, "{at:.4} pod:{port} > dns rd id {id:x} A {name}");
            let _ = writeln!(text, "{back:.4} pod:{port} < dns id {id:x} {name} 5 A 10.96.0.20");
        }
        text
    }

    /// A queue that fills from 12 s on, is full at 20 s, and drains from 30 s on.
    fn queue(at: f64) -> f64 {
        0.02 + 2.0 * ((at - 12.0) / 8.0).clamp(0.0, 1.0) * ((38.0 - at) / 8.0).clamp(0.0, 1.0)
    }

    #[test]
    fn latency_climbs_with_the_queue_and_sinks_again() {
        insta::assert_snapshot!(findings(&course(50, NAME, queue)), @"
        medium coredns-overload [backend 10.244.1.10] likely 10:00:12.750-10:00:38.000 0/101
          explains unexplained-slow
        ");
    }

    #[test]
    fn half_a_minute_of_it_in_a_quarter_of_an_hour_is_found_each_time() {
        let twice = |at: f64| queue(at - 200.0).max(queue(at - 700.0));
        insta::assert_snapshot!(findings(&course(900, NAME, twice)), @"
        medium coredns-overload [backend 10.244.1.10] likely 10:03:32.750-10:03:58.000 0/101
        medium coredns-overload [backend 10.244.1.10] likely 10:11:52.750-10:12:18.000 0/101
          explains unexplained-slow
        ");
    }

    #[test]
    fn a_delay_that_jumps_is_no_queue() {
        let said =
            findings(&course(50, NAME, |at| if (12.0..38.0).contains(&at) { 2.0 } else { 0.02 }));
        assert!(!said.contains("coredns-overload"), "{said}");
    }

    #[test]
    fn slow_external_names_are_not_the_servers_fault() {
        let said = findings(&course(50, "api.example.com.", queue));
        assert!(!said.contains("coredns-overload"), "{said}");
    }

    #[test]
    fn five_times_slower_is_not_enough() {
        let said = findings(&course(50, NAME, |at| 0.02 + (queue(at) - 0.02) / 25.0));
        assert!(!said.contains("coredns-overload"), "{said}");
    }

    #[test]
    fn a_capture_that_ends_in_the_climb_is_too_short() {
        let said = findings(&course(25, NAME, queue));
        assert!(!said.contains("coredns-overload"), "{said}");
    }
}
