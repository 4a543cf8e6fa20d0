//! Search suffixes multiply the queries: most of the load is NXDOMAIN for expanded names.
//!
//! **Signature.** With `ndots:5` a name with fewer dots is first tried under every search suffix,
//! for A and AAAA, so that one lookup of an external name costs 2(k+1) queries for k suffixes.
//! Reported when the lookups that went through suffixes needed at least four transactions each
//! and the NXDOMAIN answers for suffixed names are at least 30 % of all transactions.
//!
//! **Needs.** At least 200 transactions.
//!
//! **Not this.** A name that does not exist under any suffix nor as it is (a typo) is no storm:
//! only lookups whose last candidate succeeded count.
//!
//! **Cannot tell.** Whether the load hurts anybody: that is for the latency rules. Nothing fails
//! by the search alone, so it is information, and a contributing cause of overload.
//!
//! Source: rulebook 2.D; resolv.conf(5) `ndots` and `search`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::words::{clock, count, list, percent, text};
use crate::base::{Set, Span, Table};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, Rcode};
use crate::lookup::{Lookup, LookupOutcome, Step};
use crate::transaction::Transaction;

/// Transactions below which a share says little (rulebook 7.6).
const ENOUGH: u64 = 200;
/// Transactions a lookup: two suffixes for A and AAAA, at least.
const AMPLIFICATION: f64 = 4.0;
/// Share of all transactions that are NXDOMAIN for suffixed names.
const SHARE: f64 = 0.30;
/// Names and suffixes that the finding shows.
const SHOWN: usize = 6;
/// Names and suffixes tallied one by one.
const MAX_NAMES: usize = 4_096;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "search-suffix-storm",
    title: "search suffixes multiply the queries",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "resolv.conf(5)"],
    source: include_str!("search_suffix_storm.rs"),
    new: || Box::<SearchSuffixStorm>::default(),
};

/// Bounded by [`MAX_NAMES`].
#[derive(Default)]
struct SearchSuffixStorm {
    transactions: u64,
    wasted: u64,
    lookups: u64,
    spent: u64,
    suffixes: Table<Name, u64>,
    names: Table<Name, u64>,
    /// Of the names those that resolved as they are.
    in_full: Table<Name, u64>,
    clients: Set<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for SearchSuffixStorm {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::All)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        if !transaction.attempts.is_empty() && !transaction.is_infrastructure() {
            self.transactions += 1;
        }
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if lookup.suffixes_tried == 0 || lookup.outcome != LookupOutcome::Ok {
            return;
        }
        self.lookups += 1;
        let mut wasted = 0;
        for (round, suffix) in lookup.rounds().zip(&lookup.suffixes) {
            let asked = || round.iter().filter_map(Step::transaction);
            self.spent += asked().count() as u64;
            let Some(suffix) = suffix else { continue };
            let missing = |asked: &&Arc<Transaction>| {
                asked.answer().is_some_and(|answer| answer.rcode == Rcode::NXDOMAIN)
            };
            let mut times = 0;
            for seen in asked().filter(missing).map(|asked| asked.first()) {
                self.span = Some(self.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
                // One example from each of the first clients.
                let new = wasted + times == 0
                    && self.clients.len() < MAX_NAMES
                    && self.clients.insert(lookup.client);
                if self.frames.len() < 6 && new {
                    self.frames.push(seen);
                }
                times += 1;
            }
            wasted += times;
            if times > 0 {
                bump(&mut self.suffixes, suffix, times);
            }
        }
        self.wasted += wasted;
        bump(&mut self.names, &lookup.name, 1);
        if lookup.suffixes.last().is_some_and(Option::is_none) {
            bump(&mut self.in_full, &lookup.name, 1);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let amplification = self.spent as f64 / self.lookups.max(1) as f64;
        let share = self.wasted as f64 / self.transactions.max(1) as f64;
        let Some(span) = self.span else {
            return Vec::new();
        };
        if self.transactions < ENOUGH || amplification < AMPLIFICATION || share < SHARE {
            return Vec::new();
        }
        let suffixes = ranked(&self.suffixes);
        let names = ranked(&self.names);
        // What resolves under a suffix alone does not with a dot behind it.
        let in_full = ranked(&self.in_full).first().map(|name| Action {
            why: text!("or ask names that need no suffix with a trailing dot"),
            command: format!("getent ahosts {name}."),
        });
        vec![Finding {
            rule: &DETECTOR,
            title: text!(
                "{share} of all transactions are NXDOMAIN answers for search-expanded names: \
                 {amplification} transactions for one lookup, from {start} to {end}",
                share = percent(self.wasted, self.transactions),
                amplification = format_args!("{:.1}", amplification),
                start = clock(span.start),
                end = clock(span.end)
            ),
            confidence: Confidence::Confirmed,
            culprits: suffixes.iter().take(5).map(|name| Culprit::Zone((*name).clone())).collect(),
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: self.wasted,
            claim: Claim {
                symptoms: BTreeSet::from([Symptom::NxDomain]),
                // It harms nobody by itself; the bound that nothing fits keeps it from claiming.
                kinds: BTreeSet::from([HarmKind::Negative]),
                zones: Some(BTreeSet::new()),
                ..Claim::default()
            },
            cause: text!(
                "Pods search every name with fewer than ndots (5) dots under each suffix of their \
                 search list first, once for A and once for AAAA. The answers are right; they cost \
                 load and, when packets are lost, waiting time."
            ),
            facts: vec![
                Fact {
                    label: text!("wasted transactions"),
                    value: text!(
                        "{wasted} of {transactions}",
                        wasted = self.wasted,
                        transactions = self.transactions
                    ),
                },
                Fact {
                    label: text!("lookups that searched and succeeded"),
                    value: text!(
                        "{lookups}, {amplification} transactions each",
                        lookups = self.lookups,
                        amplification = format_args!("{:.1}", amplification)
                    ),
                },
                Fact { label: text!("suffixes"), value: list(&suffixes, SHOWN) },
                Fact { label: text!("names"), value: list(&names, 5) },
                Fact { label: text!("clients"), value: count(self.clients.len() as u64, "client") },
            ],
            evidence: self
                .frames
                .into_iter()
                .map(|seen| Proof { seen, summary: text!("query for a search-expanded name") })
                .collect(),
            actions: [
                Action {
                    why: text!("search less: Service names with one dot still resolve"),
                    command: "kubectl patch deployment APP -p '{\"spec\":{\"template\":{\"spec\":\
                              {\"dnsConfig\":{\"options\":[{\"name\":\"ndots\",\"value\":\"2\"}]}}}}}'"
                        .to_owned(),
                },
            ]
            .into_iter()
            .chain(in_full)
            .collect(),
            ruled_out: vec![RuledOut {
                rule: "nxdomain-missing-name",
                because: text!("every one of these lookups succeeded with its last candidate"),
            }],
        }]
    }
}

fn bump(tally: &mut Table<Name, u64>, name: &Name, times: u64) {
    if let Some(known) = tally.get_mut(name) {
        *known += times;
    } else if tally.len() < MAX_NAMES {
        tally.entry(name.clone()).insert(times);
    }
}

/// The names, those first in order that occur most and are shown.
fn ranked(tally: &Table<Name, u64>) -> Vec<&Name> {
    let mut names: Vec<(&Name, &u64)> = tally.unordered().collect();
    let order = |a: &(&Name, &u64), b: &(&Name, &u64)| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0));
    if names.len() > SHOWN {
        names.select_nth_unstable_by(SHOWN, order);
    }
    let shown = names.len().min(SHOWN);
    names[..shown].sort_unstable_by(order);
    names.into_iter().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, findings};

    /// Lookups of an outside name under `suffixes` of the search list, A and AAAA, and as it is.
    fn searches(times: usize, suffixes: usize, last: &str) -> String {
        let suffix_list = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        let mut text = format!("pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat {times} every 1\n");
        let mut candidates: Vec<String> = suffix_list
            .iter()
            .take(suffixes)
            .map(|suffix| format!("api.example.com.{suffix}."))
            .collect();
        candidates.push("api.example.com.".to_owned());
        for (step, name) in candidates.iter().enumerate() {
            let answer = if step == suffixes { last } else { "NXDOMAIN" };
            for (rtype, id) in [("A", step * 2 + 1), ("AAAA", step * 2 + 2)] {
                text.extend([format!(
                    "0.0{step}0 pod:{} > dns id {id:x} rd {rtype} {name}\n\
                     0.0{step}1 pod:{} < dns id {id:x} {answer}\n",
                    40_000 + step,
                    40_000 + step
                )]);
            }
        }
        text + "end\n"
    }
    const FOUND: &str = "api.example.com. 60 A 203.0.113.7 api.example.com. 60 AAAA 2001:db8::7";

    #[test]
    fn three_suffixes_cost_eight_transactions_a_lookup() {
        insta::assert_snapshot!(findings(&searches(25, 3, FOUND)), @"info search-suffix-storm [zone cluster.local, zone shop.svc.cluster.local, zone svc.cluster.local] confirmed 10:00:00.000-10:00:24.020 0/0");
    }

    #[test]
    fn below_two_hundred_transactions_a_share_says_little() {
        insta::assert_snapshot!(findings(&searches(24, 3, FOUND)), @"quiet");
    }

    #[test]
    fn a_name_that_does_not_exist_at_all_is_no_storm() {
        let text = searches(40, 3, "NXDOMAIN");
        assert!(!findings(&text).contains("search-suffix-storm"));
    }

    #[test]
    fn names_asked_in_full_search_nothing() {
        insta::assert_snapshot!(findings(&searches(120, 0, FOUND)), @"quiet");
    }

    #[test]
    fn searches_that_the_capture_cuts_do_not_count() {
        let text = searches(40, 3, &format!("{FOUND} lost"));
        assert!(!findings(&text).contains("search-suffix-storm"));
    }

    #[test]
    fn only_what_resolves_as_it_is_is_to_be_asked_with_a_dot() {
        let of = |text: &str| -> Vec<String> {
            let incidents = analyse(text).incidents;
            let storm = incidents.iter().find(|one| one.cause.rule.id == "search-suffix-storm");
            let actions = storm.expect("a storm").cause.actions.iter();
            actions
                .filter(|one| one.command.starts_with("getent"))
                .map(|one| one.command.clone())
                .collect()
        };
        assert_eq!(of(&searches(25, 3, FOUND)), ["getent ahosts api.example.com."]);
        // A Service of another namespace: its second suffix has it, and with a dot it is no name at all.
        let mut text = String::from("pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat 60 every 1\n");
        let names = ["redis.cache.shop.svc.cluster.local.", "redis.cache.svc.cluster.local."];
        for (step, name) in names.iter().enumerate() {
            for (rtype, id) in [("A", step * 2 + 1), ("AAAA", step * 2 + 2)] {
                let port = 40_000 + step;
                let answer = if step == 0 {
                    "NXDOMAIN"
                } else {
                    &format!("{name} 5 A 10.96.0.20 {name} 5 AAAA fd00::20")
                };
                text.extend([format!(
                    "0.0{step}0 pod:{port} > dns id {id:x} rd {rtype} {name}\n\
                     0.0{step}1 pod:{port} < dns id {id:x} {answer}\n"
                )]);
            }
        }
        assert_eq!(of(&(text + "end\n")), [""; 0]);
    }
}
