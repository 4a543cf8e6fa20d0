//! An empty NOERROR answer for a search-suffixed name ends the search, and the lookup fails.
//!
//! **Signature.** A name with a search suffix that should not exist is answered NOERROR without
//! records instead of NXDOMAIN, for A and AAAA alike. musl takes that as the final word and
//! never asks for the name as it is, so the application is told that the name does not resolve;
//! glibc and Go go on, and only lose time.
//!
//! **Needs.** The client's queries and answers; names of at least two lookups under the suffix.
//!
//! **Not this.** AAAA of an IPv4-only name is empty while its A has data: that is normal. So is an
//! empty answer for a name above existing ones (an empty non-terminal such as `svc.cluster.local`,
//! RFC 8020), and one inside the cluster zone, which CoreDNS answers by itself.
//!
//! **Cannot tell.** Who made up the answer: the upstream resolver, a middlebox, or a wildcard
//! record of another type in the suffix's zone. A capture of the DNS pod's own queries would.
//!
//! Source: rulebook 2.D; RFC 2308 section 2.2, RFC 8020; musl `src/network/lookup_name.c`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Span, Table};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, HarmKind,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, Rcode, RecordType};
use crate::lookup::{Lookup, LookupOutcome, Resolver, Step};
use crate::transaction::{Outcome, Transaction};

/// Lookups that must have ended at the empty answer (rulebook 7.6).
const ENOUGH: u64 = 2;
/// Suffixes tallied at once.
const MAX_SUFFIXES: usize = 1_024;
/// Example frames kept for each suffix.
const FRAMES: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "empty-noerror",
    title: "an empty NOERROR answer ended the search",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "RFC 2308 section 2.2", "RFC 8020"],
    source: include_str!("empty_noerror.rs"),
    new: || Box::<EmptyNoerror>::default(),
};

/// Bounded by the number of search suffixes.
#[derive(Default)]
struct EmptyNoerror {
    suffixes: Table<Name, Suffix>,
}

/// What became of the names asked under one suffix.
#[derive(Default)]
struct Suffix {
    /// Candidates that were answered NXDOMAIN: what the suffix's zone normally says.
    missing: u64,
    /// Candidates of which neither A nor AAAA has a record.
    empty: u64,
    /// Of them, those after which the client asked nothing more.
    ended: u64,
    /// Of them, those after which it went on.
    went_on: u64,
    span: Option<Span>,
    frames: Vec<Seen>,
    clients: BTreeSet<IpAddr>,
    names: BTreeSet<Name>,
    servers: BTreeSet<IpAddr>,
    musl: u64,
}

impl Detector for EmptyNoerror {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if lookup.suffixes_tried == 0 {
            return;
        }
        for (at, (round, suffix)) in lookup.rounds().zip(&lookup.suffixes).enumerate() {
            let Some(suffix) = suffix else { continue };
            let Some(tally) = self.suffix(suffix) else { continue };
            if is_missing(round) {
                tally.missing += 1;
            } else if let Some(first) = empty(round) {
                tally.empty(first, lookup, at + 1 == lookup.suffixes.len());
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let all: BTreeSet<Name> = self.suffixes.keys().cloned().collect();
        self.suffixes
            .into_iter()
            .filter(|(suffix, _)| !is_cluster_suffix(suffix, &all))
            .filter(|(_, tally)| tally.ended >= ENOUGH || tally.went_on >= ENOUGH)
            .filter_map(|(suffix, tally)| tally.finding(&suffix, scene))
            .collect()
    }
}

impl EmptyNoerror {
    fn suffix(&mut self, suffix: &Name) -> Option<&mut Suffix> {
        Some(self.suffixes.entry_within(suffix.clone(), MAX_SUFFIXES)?.or_default())
    }
}

fn asked(round: &[Step]) -> impl Iterator<Item = &Transaction> {
    round.iter().filter_map(|step| step.transaction().map(AsRef::as_ref))
}

/// Every type was answered NXDOMAIN.
fn is_missing(round: &[Step]) -> bool {
    asked(round).all(|asked| asked.answer().is_some_and(|answer| answer.rcode == Rcode::NXDOMAIN))
}

/// The first question where A was asked, and no type has a record.
fn empty(round: &[Step]) -> Option<&Transaction> {
    let nodata = |asked: &Transaction| {
        asked.outcome() == Outcome::Negative
            && asked.answer().is_some_and(|answer| answer.rcode == Rcode::NOERROR)
    };
    let empty =
        asked(round).all(nodata) && asked(round).any(|asked| asked.question.rtype == RecordType::A);
    asked(round).next().filter(|_| empty)
}

/// Suffixes of the cluster itself, which CoreDNS answers from memory: `ns.svc.zone`, `svc.zone`
/// and `zone`.
fn is_cluster_suffix(suffix: &Name, all: &BTreeSet<Name>) -> bool {
    let service = Name::parse("svc");
    suffix.labels().take(2).any(|label| label.eq_ignore_ascii_case(b"svc"))
        || service.and_then(|svc| svc.under(suffix)).is_some_and(|under| all.contains(&under))
}

impl Suffix {
    fn empty(&mut self, first: &Transaction, lookup: &Lookup, last_round: bool) {
        let seen = first.answer().map_or(first.first(), crate::transaction::Response::delivered);
        self.empty += 1;
        self.span = Some(self.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
        self.servers.insert(first.responder());
        if last_round && lookup.outcome == LookupOutcome::Negative {
            self.ended += 1;
            self.musl += u64::from(lookup.resolver == Resolver::Musl);
            self.clients.insert(lookup.client);
            self.names.insert(lookup.name.clone());
            if self.frames.len() < FRAMES {
                self.frames.push(seen);
            }
        } else {
            self.went_on += 1;
            if self.frames.is_empty() {
                self.frames.push(seen);
            }
        }
    }

    fn finding(self, suffix: &Name, scene: &Scene<'_>) -> Option<Finding> {
        let span = self.span?;
        let harmless = self.ended < ENOUGH;
        let upstream_changed = self.missing > 0;
        let title = if harmless {
            text!(
                "names under search suffix {suffix} get empty NOERROR answers; clients go on \
                 searching",
                suffix
            )
        } else {
            text!(
                "empty NOERROR answers under search suffix {suffix} ended {lookups} that should \
                 have gone on to the real name, from {start} to {end}",
                suffix,
                lookups = count(self.ended, "lookup"),
                start = clock(span.start),
                end = clock(span.end)
            )
        };
        let example = self.names.first().map_or_else(|| "<name>".to_owned(), Name::to_string);
        let server = self.servers.first().map_or_else(String::new, |server| format!("@{server} "));
        let mut ruled_out = vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: text!("the names were never asked as they are: the search ended before that"),
        }];
        if self.empty > 0 {
            ruled_out.push(RuledOut {
                rule: "cluster-nodata",
                because: text!(
                    "A and AAAA were both empty, and {suffix} is not in the cluster zone",
                    suffix
                ),
            });
        }
        Some(Finding {
            rule: &DETECTOR,
            title,
            confidence: if upstream_changed { Confidence::Likely } else { Confidence::Possible },
            culprits: vec![Culprit::Zone(suffix.clone())],
            place: Where::Upstream,
            span,
            ongoing: scene.lasts(span),
            transactions: self.ended,
            claim: Claim {
                zones: Some(BTreeSet::from([suffix.clone()])),
                symptoms: BTreeSet::from([Symptom::NoData]),
                kinds: BTreeSet::from([HarmKind::Negative, HarmKind::Slow]),
                last_step: true,
                ..Claim::default()
            },
            cause: text!(
                "Names under {suffix} that do not exist were answered NOERROR without records \
                 instead of NXDOMAIN. musl stops its search at such an answer and tells the \
                 application that the name does not resolve; glibc and Go ask on. The resolver \
                 that the cluster forwards {suffix} to makes these answers, or something on the \
                 way does.",
                suffix
            ),
            facts: vec![
                Fact {
                    label: text!("empty answers under the suffix"),
                    value: text!(
                        "{empty}, of which {ended} ended the lookup and {went_on} did not",
                        empty = self.empty,
                        ended = self.ended,
                        went_on = self.went_on
                    ),
                },
                Fact { label: text!("NXDOMAIN under the same suffix"), value: plain(self.missing) },
                Fact {
                    label: text!("clients that stopped"),
                    value: text!(
                        "{clients} ({musl} of {lookups} look like musl)",
                        clients = list(&self.clients, 4),
                        musl = self.musl,
                        lookups = count(self.ended, "lookup")
                    ),
                },
                Fact { label: text!("first / last"), value: text!(
                    "{start} / {end}",
                    start = clock(span.start),
                    end = clock(span.end)
                ) },
            ],
            evidence: self
                .frames
                .into_iter()
                .map(|seen| Proof { seen, summary: text!(
                    "NOERROR without records under {suffix}",
                    suffix
                ) })
                .collect(),
            actions: vec![
                Action {
                    why: text!("compare with a resolver that says NXDOMAIN"),
                    command: format!("dig {server}{example}.{suffix} A; dig @<upstream> {example}.{suffix} A"),
                },
                Action {
                    why: text!("stop pods from inheriting the node's search domains"),
                    command: "grep resolvConf /var/lib/kubelet/config.yaml; cat /etc/resolv.conf".to_owned(),
                },
                Action {
                    why: text!("ask external names in full, with a trailing dot or fewer ndots"),
                    command: "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":\
                              {\"dnsConfig\":{\"options\":[{\"name\":\"ndots\",\"value\":\"2\"}]}}}}}'"
                        .to_owned(),
                },
            ],
            ruled_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// A name that exists, and then `times` a lookup as musl makes it: A and AAAA at once under
    /// the cluster's suffixes and the host's, which says `answer`, and `then` on.
    fn searches(times: usize, answer: &str, then: &str) -> String {
        let mut text = String::from(
            "pod = 10.0.0.5\ndns = 10.96.0.10\n0.000 pod:39000 > dns id f0 rd A www.example.org.\n\
             0.001 pod:39000 < dns id f0 www.example.org. 60 A 203.0.113.7\n",
        );
        let suffixes = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        for lookup in 0..times {
            let second = lookup + 1;
            let mut ask = |step: usize, suffix: &str, answer: &str| {
                let answer = answer.replace("NAME", &format!("api{lookup}.example.com{suffix}."));
                let (port, id) = (40_000 + lookup * 8 + step, lookup * 32 + step * 2 + 1);
                for (rtype, id) in [("A", id), ("AAAA", id + 1)] {
                    text.extend([format!(
                        "{second}.0{step}0 pod:{port} > dns id {id:x} rd {rtype} api{lookup}.example.com{suffix}.\n\
                         {second}.0{step}1 pod:{port} < dns id {id:x} {answer}\n"
                    )]);
                }
            };
            for (step, suffix) in suffixes.iter().enumerate() {
                ask(step, &format!(".{suffix}"), "aa NXDOMAIN");
            }
            ask(3, ".corp.example.internal", answer);
            if !then.is_empty() {
                ask(4, "", then);
            }
        }
        text
    }

    #[test]
    fn the_search_ends_at_an_empty_answer_and_the_lookup_fails() {
        insta::assert_snapshot!(findings(&searches(2, "NOERROR", "")), @"low empty-noerror [zone corp.example.internal] possible 10:00:01.031-10:00:02.031 2/2");
    }

    #[test]
    fn one_lookup_is_too_few() {
        insta::assert_snapshot!(findings(&searches(1, "NOERROR", "")), @"quiet");
    }

    #[test]
    fn clients_that_search_on_lose_nothing() {
        insta::assert_snapshot!(findings(&searches(3, "NOERROR", "NAME 60 A 203.0.113.8")), @"info empty-noerror [zone corp.example.internal] possible 10:00:01.031-10:00:03.031 0/0");
    }

    #[test]
    fn nxdomain_under_the_suffix_is_an_ordinary_search() {
        let text = searches(4, "NXDOMAIN", "NXDOMAIN");
        assert!(!findings(&text).contains("empty-noerror"), "{}", findings(&text));
    }

    #[test]
    fn a_name_found_under_the_suffix_has_no_aaaa_and_needs_none() {
        let text = searches(3, "NAME 60 A 203.0.113.8", "");
        assert!(!findings(&text).contains("empty-noerror"));
    }

    #[test]
    fn a_capture_that_ends_before_the_answer_shows_no_end_of_the_search() {
        assert!(!findings(&searches(3, "NOERROR lost", "")).contains("empty-noerror"));
    }
}
