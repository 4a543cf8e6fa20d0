//! AAAA queries for some names are slow or never answered, while A is fine.
//!
//! **Signature.** In the same lookup, of the same name, A is answered at once and AAAA takes at
//! least ten times as long and more than a second, or fails on every attempt; hardly ever the other
//! way round. Only names from outside the cluster are affected: their AAAA goes to an upstream
//! resolver or an authority that is slow with that type or drops it.
//!
//! **Needs.** At least five such lookups of at least two clients; for dropped ones hardly any
//! AAAA of the same name may be answered between two that failed.
//!
//! **Not this.** AAAA of the cluster's own names lost as well is the network (`lossy-path`,
//! `conntrack-race-aaaa`: there the repeat is answered). AAAA answered at once without records is
//! normal for IPv4-only names. A and AAAA both failing is `upstream-timeout`.
//!
//! **Cannot tell.** From the clients' node alone: which upstream, or whose authority, does it. The
//! DNS pods' own queries would show.
//!
//! Source: rulebook 2.H; RFC 4074 (misbehaviour against AAAA queries).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{Text, clock, count, duration, list, text};
use crate::base::{Histogram, Span, Table};
use crate::capture::Seen;
use crate::detect::load::{UNNOTICED, is_cluster_name};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which, odds,
};
use crate::dns::{Name, Rcode, RecordType};
use crate::lookup::{Lookup, Step};
use crate::transaction::{Outcome, Transaction};

/// Lookups and clients below which it is chance (rulebook 2.H).
const ENOUGH: u64 = 5;
const CLIENTS: usize = 2;
/// How slow AAAA is, by itself and beside A (rulebook 2.H).
const SLOW: Duration = Duration::from_secs(1);
const RATIO: u32 = 10;
/// A must have been bad alone at most once in so many times that AAAA was.
const ONE_SIDED: u64 = 10;
/// Chance that failures of both types alike fall on AAAA alone.
const CHANCE: f64 = 0.01;
/// While AAAA is dropped, caches answer some all the same: at most one for so many that failed.
const BETWEEN: u64 = 2;
/// The control: names of the cluster fail at most this share as often.
const CONTROL: f64 = 0.25;
/// Names kept, and pairs of client and server.
const MAX_NAMES: usize = 4_096;
const MAX_PAIRS: usize = 4_096;
/// Example frames.
const FRAMES: usize = 8;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "slow-or-dropped-aaaa",
    title: "AAAA is slow or dropped while A is fine",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.H", "RFC 4074"],
    source: include_str!("slow_or_dropped_aaaa.rs"),
    new: || Box::<SlowAaaa>::default(),
};

/// Bounded by the caps above.
#[derive(Default)]
struct SlowAaaa {
    slow: Tally,
    failed: Tally,
    /// Lookups in which A was bad and AAAA fine.
    reverse: u64,
    /// Names of the cluster: pairs, and those with bad AAAA alone.
    control: (u64, u64),
    /// Outside names: pairs of which both types were asked.
    pairs: u64,
    /// Slow AAAA by who asked whom: the servers' own queries name the upstream.
    legs: Table<(IpAddr, IpAddr), u64>,
}

/// Lookups whose AAAA alone was bad.
#[derive(Default)]
struct Tally {
    lookups: u64,
    /// Names, with the good AAAA since the last bad one.
    names: Table<Name, u64>,
    /// Good AAAA between bad ones of the same name.
    between: u64,
    clients: BTreeSet<IpAddr>,
    servers: BTreeSet<IpAddr>,
    delays: Histogram,
    a_delays: Histogram,
    span: Option<Span>,
    frames: Vec<(Seen, Text)>,
}

/// How one question went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine(Duration),
    Slow(Duration),
    Failed,
}

impl Detector for SlowAaaa {
    fn interest(&self) -> Interest {
        Interest::new(Which::Unusual, Which::All)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        if transaction.question.rtype != RecordType::AAAA {
            return;
        }
        let slow = transaction.server_latency().is_some_and(|latency| latency >= SLOW);
        if slow || transaction.outcome() == Outcome::Timeout {
            let leg = (transaction.client.ip(), transaction.responder());
            if self.legs.len() < MAX_PAIRS || self.legs.contains_key(&leg) {
                *self.legs.entry(leg).or_default() += 1;
            }
        }
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let quick = lookup.is_quicker_than(UNNOTICED);
        for round in lookup.rounds().filter(|round| round.len() > 1) {
            if quick {
                self.fine_pair(round);
            } else if let Some((other, asked)) = fate(round, RecordType::AAAA)
                && let Some((one, _)) = fate(round, RecordType::A)
            {
                self.pair(lookup, asked, one, other);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let (control, controlled) = self.control;
        let share = self.slow.lookups.max(self.failed.lookups) as f64 / self.pairs.max(1) as f64;
        if controlled as f64 > CONTROL * share * control as f64 {
            return findings;
        }
        if self.slow.is_enough(self.reverse) {
            findings.extend(self.finding(&self.slow, false, scene));
        }
        if self.failed.between * BETWEEN <= self.failed.lookups
            && self.failed.is_enough(self.reverse)
            && odds::sign(self.failed.lookups, self.reverse) < CHANCE
        {
            findings.extend(self.finding(&self.failed, true, scene));
        }
        findings
    }
}

/// What asked for a type.
fn of(round: &[Step], rtype: RecordType) -> impl Iterator<Item = (&Step, &Transaction)> {
    let asked = round.iter().filter_map(|step| Some((step, step.transaction()?.as_ref())));
    asked.filter(move |(_, asked)| asked.question.rtype == rtype)
}

/// How a type fared over all its attempts, with the first of them: the best of them counts. `None`
/// where the capture cannot tell, or where a repeat was answered and the first query was lost.
fn fate(round: &[Step], rtype: RecordType) -> Option<(Fate, &Transaction)> {
    let worth = |fate: Fate| match fate {
        Fate::Fine(_) => 2,
        Fate::Slow(_) => 1,
        Fate::Failed => 0,
    };
    let mut best: Option<(Fate, &Transaction)> = None;
    for (step, asked) in of(round, rtype) {
        let fate = match asked.outcome() {
            Outcome::Ok | Outcome::Negative | Outcome::Truncated if asked.attempts.len() == 1 => {
                let took = asked.latency()?;
                if took >= SLOW { Fate::Slow(took) } else { Fate::Fine(took) }
            }
            Outcome::Error(Rcode::SERVFAIL) | Outcome::Late => Fate::Failed,
            Outcome::Timeout if !step.unproven => Fate::Failed,
            // glibc repeats an answered type beside one that was not: the first answer counts.
            Outcome::Ok | Outcome::Negative if asked.requeried_after_answer() => {
                Fate::Fine(Duration::from_millis(1))
            }
            _ => return None,
        };
        best = Some(match best {
            Some((best, first)) if worth(best) >= worth(fate) => (best, first),
            Some((_, first)) => (fate, first),
            None => (fate, asked),
        });
    }
    best
}

impl SlowAaaa {
    /// Counts what was asked for in both types and answered at once.
    fn fine_pair(&mut self, round: &[Step]) {
        let asked = |rtype| of(round, rtype).next().map(|(_, asked)| asked);
        if let (Some(aaaa), Some(_)) = (asked(RecordType::AAAA), asked(RecordType::A))
            && !self.controls(aaaa, false)
        {
            self.pairs += 1;
            self.good(aaaa);
        }
    }

    /// Counts an AAAA of the cluster's own names, whether it was bad alone or not; `false` for others.
    fn controls(&mut self, asked: &Transaction, bad: bool) -> bool {
        let control = is_cluster_name(&asked.question.name);
        self.control.0 += u64::from(control);
        self.control.1 += u64::from(control && bad);
        control
    }

    /// Counts a good AAAA of a name that had bad ones.
    fn good(&mut self, asked: &Transaction) {
        if let Some(good) = self.failed.names.get_mut(&asked.question.name) {
            *good += 1;
        }
    }

    fn pair(&mut self, lookup: &Lookup, asked: &Transaction, a: Fate, other: Fate) {
        let bad = match (a, other) {
            (Fate::Fine(quick), Fate::Slow(long)) => long >= quick * RATIO,
            (Fate::Fine(_), Fate::Failed) => true,
            _ => false,
        };
        if self.controls(asked, bad) {
            return;
        }
        self.pairs += 1;
        self.reverse +=
            u64::from(matches!((a, other), (Fate::Slow(_) | Fate::Failed, Fate::Fine(_))));
        if matches!(other, Fate::Fine(_)) {
            self.good(asked);
        }
        if bad {
            let tally = if other == Fate::Failed { &mut self.failed } else { &mut self.slow };
            tally.note(lookup, asked, a, other);
        }
    }

    fn finding(&self, tally: &Tally, dropped: bool, scene: &Scene<'_>) -> Option<Finding> {
        let span = tally.span?;
        let upstreams: BTreeSet<IpAddr> = self
            .legs
            .iter()
            .filter(|((client, _), times)| scene.servers.contains(client) && **times >= ENOUGH)
            .map(|((_, upstream), _)| *upstream)
            .collect();
        let names: BTreeSet<Name> = tally.names.keys().cloned().collect();
        let culprits = if upstreams.is_empty() {
            zones(&names).into_iter().take(5).map(Culprit::Zone).collect()
        } else {
            upstreams.iter().copied().map(Culprit::Upstream).collect()
        };
        let took = tally.delays.quantile(500).unwrap_or_default();
        let worst = tally.delays.max().unwrap_or_default();
        let what = if dropped {
            text!("failed")
        } else {
            text!("took {took} ({worst} at worst)", took = duration(took), worst = duration(worst))
        };
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "AAAA queries for {names} {what} between {start} and {end} while A for the same \
                 names was answered at once",
                names = list(&names, 3),
                what,
                start = clock(span.start),
                end = clock(span.end)
            ),
            confidence: if upstreams.is_empty() {
                Confidence::Likely
            } else {
                Confidence::Confirmed
            },
            culprits,
            place: Where::Upstream,
            span,
            ongoing: scene.lasts(span),
            transactions: tally.lookups,
            claim: Claim {
                span: Some(span.widened(Duration::from_millis(5))),
                zones: Some(names.clone()),
                rtype: Some(RecordType::AAAA),
                symptoms: BTreeSet::from([
                    Symptom::Slow,
                    Symptom::Unanswered,
                    Symptom::Late,
                    Symptom::Error(Rcode::SERVFAIL),
                ]),
                ..Claim::default()
            },
            cause: text!(
                "The servers answer A for these names at once, and everything about the cluster's \
                 own names, so they and the way to them are fine; AAAA alone waits behind them. \
                 {rest}",
                rest = if upstreams.is_empty() {
                    text!(
                        "The upstream resolver, or the authority of these names, is slow with that \
                         type or drops it; a middlebox may as well."
                    )
                } else {
                    text!("The servers' own queries show the same at the upstream resolver.")
                }
            ),
            facts: self.facts(tally, &names, took, worst),
            evidence: tally
                .frames
                .iter()
                .map(|(seen, summary)| Proof { seen: *seen, summary: summary.clone() })
                .collect(),
            actions: actions(&names, &upstreams),
            ruled_out: self.ruled_out(tally),
        })
    }

    fn facts(
        &self,
        tally: &Tally,
        names: &BTreeSet<Name>,
        took: Duration,
        worst: Duration,
    ) -> Vec<Fact> {
        let mut facts = vec![
            Fact {
                label: text!("lookups with bad AAAA and good A"),
                value: text!(
                    "{lookups} of {pairs}; the other way round {reverse}",
                    lookups = tally.lookups,
                    pairs = self.pairs,
                    reverse = self.reverse
                ),
            },
            Fact {
                label: text!("names of the cluster with bad AAAA"),
                value: text!("{bad} of {all}", bad = self.control.1, all = self.control.0),
            },
            Fact { label: text!("names"), value: list(names, 5) },
            Fact { label: text!("clients"), value: list(&tally.clients, 5) },
            Fact { label: text!("servers asked"), value: list(&tally.servers, 5) },
        ];
        if let Some(a) = tally.a_delays.quantile(500).filter(|_| tally.delays.count() > 0) {
            facts.push(Fact {
                label: text!("AAAA took, median and worst; A took"),
                value: text!(
                    "{took}, {worst}; {a}",
                    took = duration(took),
                    worst = duration(worst),
                    a = duration(a)
                ),
            });
        }
        facts
    }

    fn ruled_out(&self, tally: &Tally) -> Vec<RuledOut> {
        vec![
            RuledOut {
                rule: "coredns-overload",
                because: text!(
                    "the same servers answered {queries} at once in the same lookups",
                    queries = count(tally.lookups, "A query")
                ),
            },
            RuledOut {
                rule: "conntrack-race-aaaa",
                because: text!(
                    "AAAA of the cluster's own names fared well ({bad} of {all} bad)",
                    bad = self.control.1,
                    all = self.control.0
                ),
            },
        ]
    }
}

impl Tally {
    fn note(&mut self, lookup: &Lookup, asked: &Transaction, a: Fate, aaaa: Fate) {
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(&asked.question.name) {
            return;
        }
        self.lookups += 1;
        let good = self.names.entry(asked.question.name.clone()).or_default();
        self.between += std::mem::take(good);
        self.clients.insert(lookup.client);
        self.servers.insert(asked.responder());
        let own = Span::between(asked.first().ts, asked.last_sent().unwrap_or(asked.first()).ts);
        self.span = Some(self.span.map_or(own, |span| span.join(own)));
        if let Fate::Fine(took) = a {
            self.a_delays.add(took);
        }
        let summary = match aaaa {
            Fate::Slow(took) => {
                self.delays.add(took);
                text!("AAAA query, answered {took} later; A was quick", took = duration(took))
            }
            _ => text!("AAAA query that failed; A was answered"),
        };
        if self.frames.len() < FRAMES {
            self.frames.push((asked.first(), summary));
        }
    }

    fn is_enough(&self, reverse: u64) -> bool {
        self.lookups >= ENOUGH
            && self.clients.len() >= CLIENTS
            && reverse * ONE_SIDED <= self.lookups
    }
}

/// The registered domains above `names`, as far as two labels tell them.
fn zones(names: &BTreeSet<Name>) -> BTreeSet<Name> {
    names.iter().map(|name| name.without_leading(name.label_count().saturating_sub(2))).collect()
}

fn actions(names: &BTreeSet<Name>, upstreams: &BTreeSet<IpAddr>) -> Vec<Action> {
    let name = names.first().map_or_else(|| "<name>".to_owned(), |name| format!("{name}."));
    let server = upstreams.first().map_or_else(|| "<upstream>".to_owned(), ToString::to_string);
    vec![
        Action {
            why: text!("ask the upstream resolver for both types"),
            command: format!(
                "for t in A AAAA; do dig @{server} {name} $t +tries=1 +time=5 | grep -E \
                 'status|Query time'; done"
            ),
        },
        Action {
            why: text!("in an IPv4-only cluster let CoreDNS answer AAAA itself"),
            command:
                "kubectl -n kube-system edit configmap coredns   # template IN AAAA . { rcode \
                      NOERROR }"
                    .to_owned(),
        },
        Action {
            why: text!("or keep glibc (2.36 and later) from asking"),
            command: "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":\
                      {\"dnsConfig\":{\"options\":[{\"name\":\"no-aaaa\"}]}}}}}'"
                .to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::findings;

    /// Lookups of two clients; A is answered after 2 ms, AAAA after `delay` seconds.
    fn lookups(count: u32, delay: f64, name: &str, types: [&str; 2]) -> String {
        let mut text = String::from("one = 10.244.0.2\ntwo = 10.244.0.3\ndns = 10.244.1.10\n");
        for round in 0..count {
            let at = f64::from(round) * 3.0;
            let pod = ["one", "two"][round as usize % 2];
            let (port, a, aaaa) = (30_000 + round, 0x1000 + round, 0x7000 + round);
            let mut say = |at: f64, words: String| {
                let _ = writeln!(text, "{at:.4} {pod}:{port} {words}");
            };
            say(at, format!("> dns rd id {a:x} {} {name}", types[0]));
            say(at + 0.0001, format!("> dns rd id {aaaa:x} {} {name}", types[1]));
            say(at + 0.002, format!("< dns id {a:x} ? {} {name} NOERROR", types[0]));
            say(at + delay, format!("< dns id {aaaa:x} ? {} {name} NOERROR", types[1]));
        }
        text
    }

    #[test]
    fn aaaa_of_outside_names_takes_a_second_and_more() {
        let text = lookups(10, 1.4, "api.example.com.", ["A", "AAAA"]);
        insta::assert_snapshot!(findings(&text), @"low slow-or-dropped-aaaa [zone example.com] likely 10:00:00.000-10:00:27.000 0/10");
    }

    #[test]
    fn nine_tenths_of_a_second_is_a_slow_upstream_at_most() {
        let said = findings(&lookups(10, 0.9, "api.example.com.", ["A", "AAAA"]));
        assert!(!said.contains("slow-or-dropped-aaaa"), "{said}");
    }

    #[test]
    fn slow_a_is_another_matter() {
        let said = findings(&lookups(10, 1.4, "api.example.com.", ["AAAA", "A"]));
        assert!(!said.contains("slow-or-dropped-aaaa"), "{said}");
    }

    #[test]
    fn names_of_the_cluster_need_no_upstream() {
        let name = "redis.default.svc.cluster.local.";
        let said = findings(&lookups(10, 1.4, name, ["A", "AAAA"]));
        assert!(!said.contains("slow-or-dropped-aaaa"), "{said}");
    }

    #[test]
    fn four_lookups_are_not_enough_nor_a_capture_that_ends_before_the_answers() {
        let said = findings(&lookups(4, 1.4, "api.example.com.", ["A", "AAAA"]));
        assert!(!said.contains("slow-or-dropped-aaaa"), "{said}");
        let said = findings(&lookups(10, 400.0, "api.example.com.", ["A", "AAAA"]));
        assert!(!said.contains("took"), "{said}");
    }
}
