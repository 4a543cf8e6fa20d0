//! Answers with TTL 0 make clients ask for the same name again and again.
//!
//! **Signature.** A name is answered positively at least 200 times, nearly always with TTL 0, so
//! that neither CoreDNS' cache nor a local one may keep it.
//!
//! **Needs.** The answers' records.
//!
//! **Not this.** Short TTLs of a second or more work with caches (`client-storm` says who asks).
//! CoreDNS' `serve_stale` answers with TTL 0 while the upstream is down: then the upstream rules
//! come first.
//!
//! **Cannot tell.** Who set the TTL. Information, and a contributing cause of overload.
//!
//! Source: rulebook 2.D; RFC 1035 section 3.2.1 (TTL); CoreDNS `plugin/cache`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::words::{list, percent, text};
use crate::base::{Map, Span, Table, entry_within};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Interest, Layer, Proof, Scene, Where, Which,
};
use crate::dns::{AnswerKind, Name};
use crate::transaction::Transaction;

/// Answers below which a name is not hot (rulebook 7.6).
const ENOUGH: u64 = 200;
/// A cache that counts a TTL down passes through 0 now and then.
const SHARE: f64 = 0.9;
/// Names tallied, clients and frames kept of each.
const MAX_NAMES: usize = 4_096;
const MAX_CLIENTS: usize = 64;
const FRAMES: usize = 3;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "ttl0-flood",
    title: "answers with TTL 0 cannot be cached",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "RFC 1035 section 3.2.1"],
    source: include_str!("ttl0_flood.rs"),
    new: || Box::<TtlZero>::default(),
};

/// Bounded by [`MAX_NAMES`].
#[derive(Default)]
struct TtlZero {
    /// Positive answers by name, of which the digest is enough here.
    answers: Map<u64, u32>,
    /// Those with TTL 0.
    names: Table<Name, Tally>,
    all: u64,
}

/// The answers about one name that had TTL 0.
#[derive(Default)]
struct Tally {
    zero: u64,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for TtlZero {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        self.all += 1;
        let Some(answer) = transaction.answer() else { return };
        let Some(ttl) = answer.records.min_ttl.filter(|_| answer.kind == AnswerKind::Positive)
        else {
            return;
        };
        let name = &transaction.question.name;
        let Some(answers) = entry_within(&mut self.answers, name.digest(), MAX_NAMES) else {
            return;
        };
        *answers.or_default() += 1;
        if ttl > 0 {
            return;
        }
        let tally = self.names.entry(name.clone()).or_default();
        tally.zero += 1;
        let seen = answer.delivered();
        tally.span = Some(tally.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
        if tally.clients.len() < MAX_CLIENTS {
            tally.clients.insert(transaction.client.ip());
        }
        if tally.frames.len() < FRAMES {
            tally.frames.push(seen);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let hot = |(name, tally): &(&Name, &Tally)| {
            let answers = self.answers.get(&name.digest()).copied().unwrap_or_default();
            tally.zero >= ENOUGH && tally.zero as f64 >= SHARE * f64::from(answers)
        };
        let mut names: Vec<(&Name, &Tally)> = self.names.unordered().filter(hot).collect();
        names.sort_by(|a, b| b.1.zero.cmp(&a.1.zero).then_with(|| a.0.cmp(b.0)));
        let span = names.iter().filter_map(|(_, tally)| tally.span).reduce(Span::join);
        let (Some(span), Some((first, _))) = (span, names.first()) else {
            return Vec::new();
        };
        let zero: u64 = names.iter().map(|(_, tally)| tally.zero).sum();
        let clients: BTreeSet<&IpAddr> =
            names.iter().flat_map(|(_, tally)| &tally.clients).collect();
        vec![Finding {
            rule: &DETECTOR,
            title: text!(
                "{share} of all transactions are answers with TTL 0 for {names}, which nobody may \
                 cache",
                share = percent(zero, self.all),
                names = list(names.iter().map(|(name, _)| name), 3)
            ),
            confidence: Confidence::Confirmed,
            culprits: names
                .iter()
                .take(5)
                .map(|(name, _)| Culprit::Name((*name).clone()))
                .collect(),
            place: Where::Server,
            span,
            ongoing: scene.lasts(span),
            transactions: zero,
            claim: Claim {
                // It harms nobody by itself; the bound that nothing fits keeps it from claiming.
                kinds: BTreeSet::from([HarmKind::Negative]),
                zones: Some(BTreeSet::new()),
                ..Claim::default()
            },
            cause: text!(
                "A TTL of 0 forbids every cache on the way to keep the answer, so each use of the \
                 name is a query."
            ),
            facts: vec![
                Fact {
                    label: text!("answers with TTL 0"),
                    value: list(
                        names.iter().map(|(name, t)| text!("{name} {zero}", name, zero = t.zero)),
                        5,
                    ),
                },
                Fact { label: text!("clients"), value: list(&clients, 5) },
            ],
            evidence: names
                .iter()
                .flat_map(|(name, tally)| tally.frames.iter().map(move |seen| (name, seen)))
                .take(6)
                .map(|(name, seen)| Proof {
                    seen: *seen,
                    summary: text!("{name} with TTL 0", name),
                })
                .collect(),
            actions: vec![Action {
                why: text!("see which TTL the authority gives, and CoreDNS' ttl and serve_stale"),
                command: format!(
                    "dig {first} +noall +answer; kubectl -n kube-system get configmap coredns -o yaml \
                     | grep -nE 'ttl|serve_stale'"
                ),
            }],
            ruled_out: Vec::new(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{findings, findings_until};

    fn answers(times: u32, ttl: u32) -> String {
        format!(
            "pod = 10.244.0.2\ndns = 10.96.0.10\nrepeat {times} every 0.2\n\
             0.0 pod:30000 > dns rd A a.example.com.\n\
             0.001 pod:30000 < dns a.example.com. {ttl} A 192.0.2.1\nend\n"
        )
    }

    #[test]
    fn a_hot_name_has_ttl_zero() {
        let said = findings(&answers(200, 0));
        assert!(said.contains("info ttl0-flood [name a.example.com]"), "{said}");
    }

    #[test]
    fn one_second_can_be_cached_and_few_answers_do_not_matter() {
        assert_eq!(findings(&answers(200, 1)), "quiet\n");
        assert_eq!(findings(&answers(199, 0)), "quiet\n");
    }

    #[test]
    fn a_capture_that_ends_before_there_are_enough_says_nothing() {
        assert_eq!(findings_until(&answers(200, 0), 30.0), "quiet\n");
    }

    /// A cache that counts the TTL down hands out its last second as 0.
    #[test]
    fn a_ttl_that_is_counted_down_passes_through_zero() {
        let text = |zeros: u32, others: u32| {
            format!(
                "{}{}",
                answers(zeros, 0),
                answers(others, 3).replace("0.0", "0.1").replace("30000", "45000")
            )
        };
        assert!(findings(&text(270, 30)).contains("ttl0-flood"), "nine in ten");
        assert_eq!(findings(&text(270, 31)), "quiet\n");
    }
}
