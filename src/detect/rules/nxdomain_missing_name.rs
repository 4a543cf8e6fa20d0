//! A name that applications ask for does not exist.
//!
//! **Signature.** At least three lookups of one name went through every candidate, the name as it
//! is among them, and each was answered NXDOMAIN, by whatever server; and nobody ever got an
//! address for it.
//!
//! **Needs.** The clients' queries and answers. Names of the cluster, and names close to one that
//! resolves, count as harm; other names are told as information, for what is denied on purpose
//! (blocklists, probes) looks the same.
//!
//! **Not this.** Search noise: another candidate of the same lookup succeeded. Reverse lookups,
//! names with an underscore, names that programs make up to test the resolver. Names that some
//! server knows or that have addresses at another time (`replica-divergence`, `negative-sticky`,
//! `headless-nxdomain`); pods below a Service that resolves (`statefulset-pod-nxdomain`).
//!
//! **Cannot tell.** Whether the name is mistyped, or what it names is missing, renamed or in
//! another namespace. The nearest name that resolves is a guess.
//!
//! Source: rulebook 2.F; RFC 2308 section 2.1, RFC 8020.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::words::{clock, count, list};
use crate::base::{Span, Table};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, ClusterName, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    HarmKind, Known, Layer, Proof, RuledOut, Scene, Symptom, Where,
};
use crate::dns::{Name, Rcode, RecordType};
use crate::lookup::{Lookup, LookupOutcome};

/// Complete lookups that must have failed (rulebook 7.6).
const ENOUGH: u64 = 3;
/// Names tallied; random ones are asked once and stay below [`ENOUGH`].
const MAX_NAMES: usize = 20_000;
/// Findings told for names of the cluster, and for others.
const MOST: (usize, usize) = (16, 4);
/// Names that are compared for a suggestion.
const MAX_COMPARED: usize = 5_000;
/// A typo is one or two letters (rulebook 2.F), in a name long enough to be told from others.
const TYPO: usize = 2;
const LONG: usize = 8;
/// Names that hosts ask for on their own, whether they exist or not.
const PROBES: [&str; 5] = ["wpad", "isatap", "localhost", "localdomain", "local"];

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "nxdomain-missing-name",
    title: "a name that is asked for does not exist",
    class: Class::Negative,
    layer: Layer::Data,
    references: &["rulebook 2.F", "RFC 2308 section 2.1"],
    source: include_str!("nxdomain_missing_name.rs"),
    new: || Box::<NxdomainMissingName>::default(),
};

/// Bounded by [`MAX_NAMES`].
#[derive(Default)]
struct NxdomainMissingName {
    names: Table<Name, Missing>,
}

/// Lookups of one name, all of whose candidates were denied.
struct Missing {
    lookups: u64,
    transactions: u64,
    span: Span,
    frames: Vec<Seen>,
    clients: BTreeMap<IpAddr, u64>,
    servers: BTreeSet<IpAddr>,
    /// The candidates of the latest lookup.
    candidates: Vec<Name>,
}

impl Detector for NxdomainMissingName {
    fn observe_lookup(&mut self, lookup: &Lookup) {
        if lookup.outcome != LookupOutcome::Negative || is_everyday(&lookup.name) {
            return;
        }
        let mut candidates: Vec<Name> = Vec::new();
        let mut servers = BTreeSet::new();
        let mut transactions = 0;
        for transaction in lookup.transactions() {
            let Some(answer) = transaction.answer() else { return };
            let asked = matches!(transaction.question.rtype, RecordType::A | RecordType::AAAA);
            if answer.rcode != Rcode::NXDOMAIN || !asked {
                return;
            }
            if candidates.last() != Some(&transaction.question.name) {
                candidates.push(transaction.question.name.clone());
            }
            servers.insert(transaction.responder());
            transactions += 1;
        }
        let complete = candidates.contains(&lookup.name) && !is_searched(&candidates);
        let room = self.names.len() < MAX_NAMES || self.names.contains_key(&lookup.name);
        if !complete || !room {
            return;
        }
        let start = lookup.start;
        let missing = self.names.entry(lookup.name.clone()).or_insert_with(|| Missing {
            lookups: 0,
            transactions: 0,
            span: Span::at(start.ts),
            frames: Vec::new(),
            clients: BTreeMap::new(),
            servers: BTreeSet::new(),
            candidates: Vec::new(),
        });
        missing.lookups += 1;
        missing.transactions += transactions;
        missing.span = missing.span.with(lookup.end.unwrap_or(start.ts));
        *missing.clients.entry(lookup.client).or_default() += 1;
        missing.servers.extend(servers);
        missing.candidates = candidates;
        if missing.frames.len() < 4 {
            missing.frames.push(start);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let known = scene.answers.names();
        let found: Vec<&Name> = known
            .iter()
            .filter(|(_, known)| known.data.times > 0)
            .map(|(name, _)| name)
            .take(MAX_COMPARED)
            .collect();
        let mut names: Vec<(Name, Missing)> = self
            .names
            .into_unordered()
            .filter_map(|(name, missing)| Some((name, missing.without(scene.servers)?)))
            .filter(|(name, missing)| {
                // A name below one that resolves is a pod without a name of its own.
                let above = |name: &Name| name.parent().is_some_and(|above| exists(known, &above));
                !missing.candidates.iter().any(|name| exists(known, name) || above(name))
                    && is_complete(name, &missing.candidates, scene)
                    && !is_part_of_search(name, known)
            })
            .collect();
        names.sort_unstable_by(|(one, a), (other, b)| {
            b.lookups.cmp(&a.lookups).then_with(|| one.cmp(other))
        });
        let (mut harm, mut information) = (0, 0);
        let mut findings = Vec::new();
        for (name, missing) in names {
            let near = nearest(&missing.candidates, &found);
            let counts = near.is_some() || is_clusters(&name, scene);
            let (told, most) =
                if counts { (&mut harm, MOST.0) } else { (&mut information, MOST.1) };
            *told += 1;
            if *told <= most {
                findings.push(finding(&name, &missing, near.as_ref(), counts, scene));
            }
        }
        findings
    }
}

fn exists(known: &BTreeMap<Name, Known>, name: &Name) -> bool {
    known.get(name).is_some_and(|known| known.data.times > 0)
}

impl Missing {
    /// What is left without the lookups that DNS servers made for others, if it is enough.
    fn without(mut self, servers: &BTreeSet<IpAddr>) -> Option<Self> {
        self.clients.retain(|client, _| !servers.contains(client));
        self.lookups = self.clients.values().sum();
        (self.lookups >= ENOUGH).then_some(self)
    }
}

/// Whether a short name was searched from the first suffix on, the client's own namespace. After
/// a timeout glibc asks for it as it is, and that denial says nothing.
fn is_complete(name: &Name, candidates: &[Name], scene: &Scene<'_>) -> bool {
    let own = name.label_count();
    let first = |candidate: &Name| {
        candidate.common_prefix(name) == own
            && ClusterName::of(candidate).is_some_and(|parts| parts.depth() == own + 1)
    };
    let inside = scene.answers.zones.is_cluster(name);
    inside || !is_clusters(name, scene) || candidates.iter().any(first)
}

/// Whether it is an outside name that resolves, with a search suffix behind it.
fn is_part_of_search(name: &Name, known: &BTreeMap<Name, Known>) -> bool {
    (2..name.label_count()).any(|labels| {
        Name::from_labels(name.labels().take(labels)).is_some_and(|bare| exists(known, &bare))
    })
}

/// Whether all that the capture shows is a candidate that a search list made: more than a
/// Service's two labels before `svc`, and no pod. The rest of that search is missing.
fn is_searched(candidates: &[Name]) -> bool {
    let [only] = candidates else { return false };
    ClusterName::of(only)
        .is_some_and(|parts| parts.depth() > 3 || parts.depth() == 3 && !parts.has_ordinal())
}

/// Names that are denied every day in every network.
fn is_everyday(name: &Name) -> bool {
    let labels: Vec<String> =
        name.labels().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let first = labels.first().map_or("", String::as_str);
    let last = labels.last().map_or("", String::as_str);
    last == "arpa"
        || PROBES.contains(&first)
        || PROBES.contains(&last) && labels.len() == 1
        || labels.iter().any(|label| label.starts_with('_'))
}

/// Whether it can only be meant for the cluster: in its zone, or short and searched there.
fn is_clusters(name: &Name, scene: &Scene<'_>) -> bool {
    let last = name.labels().last().unwrap_or_default();
    scene.answers.zones.is_cluster(name)
        || name.label_count() <= 2 && !(last.len() == 2 || is_generic(last))
}

/// The generic top-level domains that applications ask most.
fn is_generic(label: &[u8]) -> bool {
    [
        "com", "net", "org", "io", "dev", "app", "cloud", "info", "biz", "edu", "gov", "mil",
        "example", "internal", "lan", "home", "corp",
    ]
    .iter()
    .any(|tld| label.eq_ignore_ascii_case(tld.as_bytes()))
}

/// The name that resolves and is most like one of the candidates, and how they differ.
fn nearest(candidates: &[Name], found: &[&Name]) -> Option<(Name, &'static str)> {
    let text = |name: &Name| name.to_string().to_ascii_lowercase();
    let long: Vec<(usize, String)> = candidates
        .iter()
        .map(|name| (name.wire().len(), text(name)))
        .filter(|(_, text)| text.len() >= LONG)
        .collect();
    let mut best: Option<(usize, &Name)> = None;
    for name in found {
        let length = name.wire().len();
        for (_, candidate) in long.iter().filter(|(other, _)| other.abs_diff(length) <= TYPO) {
            let distance = edit_distance(candidate, &text(name));
            if distance <= TYPO && best.is_none_or(|(known, _)| distance < known) {
                best = Some((distance, name));
            }
        }
    }
    if let Some((_, name)) = best {
        return Some((name.clone(), "one or two letters differ"));
    }
    let first = candidates.first()?;
    let moved = found.iter().find(|name| {
        let service = ClusterName::of(name);
        let short = service.as_ref().is_some_and(|parts| parts.depth() == 2);
        short && name.first_label() == first.first_label()
    })?;
    let without = first.labels().filter(|label| label.eq_ignore_ascii_case(b"svc")).count() == 0;
    let how = if without { "it lacks svc" } else { "it is in another namespace" };
    Some(((*moved).clone(), how))
}

/// Insertions, deletions, replacements and swaps between two texts, counted up to [`TYPO`] + 1.
fn edit_distance(one: &str, other: &str) -> usize {
    const MOST: usize = Name::MAX_WIRE;
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().abs_diff(other.len()) > TYPO || one.len().max(other.len()) >= MOST {
        return TYPO + 1;
    }
    let (mut before, mut row, mut next) = ([0_u16; MOST], [0_u16; MOST], [0_u16; MOST]);
    for (place, j) in row.iter_mut().zip(0..) {
        *place = j;
    }
    for (i, of_i) in (1..=one.len()).zip(1_u16..) {
        next[0] = of_i;
        let mut least_of_row = of_i;
        for j in 1..=other.len() {
            let replaced = row[j - 1] + u16::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next[j] = least;
            least_of_row = least_of_row.min(least);
        }
        if usize::from(least_of_row) > TYPO {
            return TYPO + 1;
        }
        (before, row, next) = (row, next, before);
    }
    usize::from(row[other.len()])
}

fn finding(
    name: &Name,
    missing: &Missing,
    near: Option<&(Name, &'static str)>,
    counts: bool,
    scene: &Scene<'_>,
) -> Finding {
    let span = missing.span;
    let first = name.first_label().map(|label| String::from_utf8_lossy(label).into_owned());
    let suggestion = near.map_or_else(
        || "none close to it resolves in this capture".to_owned(),
        |(near, how)| format!("{near} ({how})"),
    );
    let mut actions = vec![Action {
        why: "look for what the name may have meant".to_owned(),
        command: if counts {
            format!("kubectl get services -A | grep -i '{}'", first.unwrap_or_default())
        } else {
            format!("dig {name} +trace")
        },
    }];
    if let Some(client) = missing.clients.keys().next() {
        actions.push(Action {
            why: "find the application that asks".to_owned(),
            command: format!("kubectl get pods -A -o wide | grep -wF {client}"),
        });
    }
    Finding {
        rule: &DETECTOR,
        title: format!(
            "{name} does not exist: {} by {} ended with NXDOMAIN for every candidate, from {} to {}",
            count(missing.lookups, "lookup"),
            count(missing.clients.len() as u64, "client"),
            clock(span.start),
            clock(span.end)
        ),
        confidence: if counts { Confidence::Likely } else { Confidence::Possible },
        culprits: vec![Culprit::Name(name.clone())],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: missing.transactions,
        claim: Claim {
            zones: Some(if counts { BTreeSet::from([name.clone()]) } else { BTreeSet::new() }),
            clients: Some(missing.clients.keys().copied().collect()),
            symptoms: BTreeSet::from([Symptom::NxDomain]),
            kinds: BTreeSet::from([HarmKind::Negative]),
            ..Claim::default()
        },
        cause: format!(
            "Every server that was asked said that {name} does not exist, under each search \
             suffix and as it is. It is mistyped, or what it names is missing, renamed or in \
             another namespace.{}",
            if counts { "" } else { " A blocklist answers the same on purpose." }
        ),
        facts: vec![
            Fact { label: "nearest name that resolves", value: suggestion },
            Fact { label: "candidates, all denied", value: list(&missing.candidates, 6) },
            Fact { label: "clients", value: list(missing.clients.keys(), 5) },
            Fact { label: "servers that denied it", value: list(&missing.servers, 4) },
        ],
        evidence: missing
            .frames
            .iter()
            .map(|seen| Proof { seen: *seen, summary: format!("a lookup of {name} begins") })
            .collect(),
        actions,
        ruled_out: vec![
            RuledOut {
                rule: "replica-divergence",
                because: format!(
                    "no server has an address for it ({} asked)",
                    missing.servers.len()
                ),
            },
            RuledOut {
                rule: "search-suffix-storm",
                because: "no candidate of these lookups succeeded".to_owned(),
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::findings;

    /// One lookup a second of `name` under two suffixes and as it is, and one of a real Service.
    fn scenario(times: usize, name: &str, last: &str) -> String {
        format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\n\
             0.000 pod:39000 > dns rd A redis.shop.svc.cluster.local.\n\
             0.001 pod:39000 < dns aa redis.shop.svc.cluster.local. 5 A 10.96.0.20\n\
             repeat {times} every 1 from 1\n\
             0.000 pod:40000 > dns rd A {name}.shop.svc.cluster.local.\n\
             0.001 pod:40000 < dns aa NXDOMAIN\n\
             0.002 pod:40001 > dns rd A {name}.svc.cluster.local.\n\
             0.003 pod:40001 < dns aa NXDOMAIN\n\
             0.004 pod:40002 > dns rd A {name}.\n\
             0.005 pod:40002 < dns {last}\nend\n"
        )
    }

    #[test]
    fn a_mistyped_service_is_denied_under_every_suffix() {
        insta::assert_snapshot!(findings(&scenario(3, "redsi", "NXDOMAIN")), @"low nxdomain-missing-name [name redsi] likely 10:00:01.000-10:00:03.005 3/3");
    }

    #[test]
    fn two_lookups_are_too_few() {
        insta::assert_snapshot!(findings(&scenario(2, "redsi", "NXDOMAIN")), @"quiet");
    }

    #[test]
    fn search_noise_before_a_name_that_exists() {
        let text = scenario(9, "www.example.org", "www.example.org. 60 A 203.0.113.9");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn an_outside_name_may_be_denied_on_purpose() {
        let text = scenario(4, "ads.tracker.example", "NXDOMAIN");
        insta::assert_snapshot!(findings(&text), @"info nxdomain-missing-name [name ads.tracker.example] possible 10:00:01.000-10:00:04.005 0/0");
    }

    #[test]
    fn everyday_denials_are_silent() {
        let ptr = "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat 9 every 1\n\
                   0.000 pod:40000 > dns rd PTR 9.0.0.10.in-addr.arpa.\n\
                   0.001 pod:40000 < dns NXDOMAIN\nend\n";
        insta::assert_snapshot!(findings(ptr), @"quiet");
        assert_eq!(findings(&scenario(9, "wpad", "NXDOMAIN")), "quiet\n");
        assert_eq!(findings(&scenario(9, "probe{n}", "NXDOMAIN")), "quiet\n");
    }

    #[test]
    fn a_search_that_the_capture_cuts_is_not_complete() {
        insta::assert_snapshot!(findings(&scenario(3, "redsi", "NXDOMAIN lost")), @"quiet");
    }

    #[test]
    fn a_candidate_whose_search_the_capture_lacks_is_no_name() {
        let text = "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat 5 every 1\n\
                    0.000 pod:40000 > dns rd A cart.shop.default.svc.cluster.local.\n\
                    0.001 pod:40000 < dns aa NXDOMAIN\nend\n";
        assert_eq!(findings(text), "quiet\n");
    }

    #[test]
    fn a_name_asked_as_it_is_after_a_timeout_was_not_searched() {
        let text = "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat 5 every 30\n\
                    0.000 pod:40000 > dns rd id 1 A cart.shop.svc.cluster.local.\n\
                    5.001 pod:40000 > dns rd id 1 A cart.shop.svc.cluster.local.\n\
                    10.003 pod:40001 > dns rd id 2 A cart.\n\
                    10.004 pod:40001 < dns id 2 NXDOMAIN\nend\n";
        assert!(!findings(text).contains("nxdomain-missing-name"), "{}", findings(text));
    }

    #[test]
    fn typos_are_one_or_two_letters() {
        let distances = [("redis", "redis"), ("redis", "redsi"), ("redis", "rediss"), ("a", "xyz")]
            .map(|(one, other)| edit_distance(one, other));
        assert_eq!(distances, [0, 1, 1, 3]);
        let near = |asked: &str| {
            let found = Name::parse("redis.shop.svc.cluster.local").unwrap();
            nearest(&[Name::parse(asked).unwrap()], &[&found]).map(|(_, how)| how)
        };
        assert_eq!(near("redsi.shop.svc.cluster.local"), Some("one or two letters differ"));
        assert_eq!(near("redis.team-a.svc.cluster.local"), Some("it is in another namespace"));
        assert_eq!(near("redis.shop.cluster.local"), Some("it lacks svc"));
        assert_eq!(near("mysql.shop.svc.cluster.local"), None);
    }
}
