//! A name that applications ask for does not exist.
//!
//! **Signature.** At least three lookups of one name went through every candidate, the name as it
//! is among them, and each was answered NXDOMAIN, by whatever server; and nobody ever got an
//! address for it, or nobody did for longer than a change takes to reach every server (35 s): it
//! was removed, is made later, or was gone for a while.
//!
//! **Needs.** The clients' queries and answers. Names of the cluster, names close to one that
//! resolves, and names that have addresses at another time count as harm; other names are told as
//! information, for what is denied on purpose (blocklists, probes) looks the same.
//!
//! A name with a CNAME record is there: what is missing is what it leads to.
//!
//! **Not this.** Search noise: another candidate of the same lookup succeeded. Reverse lookups,
//! names with an underscore, names that programs make up to test the resolver. Names that some
//! server knows meanwhile (`replica-divergence`, `negative-sticky`) or that come and go
//! (`upstream-divergent`); Services that have addresses at another time or pods that are asked for
//! below them (`headless-nxdomain`); pods below a Service that resolves
//! (`statefulset-pod-nxdomain`).
//!
//! **Cannot tell.** Whether the name is mistyped, or what it names is missing, renamed or in
//! another namespace. The nearest name that resolves is a guess. Where many names are missing, those
//! asked most are incidents of their own and the others are one list.
//!
//! Source: rulebook 2.F; RFC 2308 section 2.1, RFC 8020.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Span;
use crate::base::words::{Text, clock, count, list, plain, text};
use crate::capture::Seen;
use crate::detect::likeness::Resolving;
use crate::detect::missing::{FRAMES, Missing, MissingNames, merge_forms};
use crate::detect::spelled::{is_complete, is_for_cluster};
use crate::detect::{
    Absence, Action, AskedName, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact,
    Finding, HarmKind, Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
    meant_as_headless,
};
use crate::dns::{Name, RecordType};
use crate::lookup::Lookup;

/// A change reaches every server within the usual TTL of 30 s and 5 s more (K8).
const SETTLED: Duration = Duration::from_secs(35);
/// A name with so large a share of all such lookups is a matter of its own.
const OWN_MATTER: f64 = 0.2;
/// More names than this beside those are told as one list.
const FEW: usize = 3;
/// Names of a list that are spelled out.
const TOLD: usize = 12;
/// Names that are compared for a suggestion.
const MAX_COMPARED: usize = 5_000;

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

/// Judges the names that nobody had.
#[derive(Default)]
struct NxdomainMissingName {
    names: MissingNames,
}

impl Detector for NxdomainMissingName {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        self.names.note(lookup);
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut names: Vec<(Name, Missing)> = self
            .names
            .close(scene.servers)
            .filter(|(name, missing)| {
                let known = |name: &Name| exists(name, scene) && absence(name, scene).is_none();
                // A name below one that resolves is a pod without a name of its own.
                let above = |name: &Name| name.parent().is_some_and(|above| exists(&above, scene));
                !missing.candidates.iter().any(|name| known(name) || above(name))
                    && is_complete(name, &missing.candidates, &scene.answers.zones)
                    && !is_part_of_search(name, scene)
            })
            .collect();
        let headless = meant_as_headless(
            scene.answers,
            names.iter().flat_map(|(_, missing)| &missing.candidates),
        );
        names.retain(|(_, missing)| !missing.candidates.iter().any(|name| headless.contains(name)));
        // They come in no order; the most asked form of a name stands for it.
        names.sort_unstable_by(|(one, a), (other, b)| {
            b.lookups.cmp(&a.lookups).then_with(|| one.cmp(other))
        });
        merge_forms(&mut names, &scene.answers.zones);
        if names.is_empty() {
            return Vec::new();
        }
        let found = scene.answers.names().filter(|asked| asked.resolves());
        let found = Resolving::new(found.map(|asked| asked.name).take(MAX_COMPARED));
        let asked: Vec<Asked> = names
            .into_iter()
            .map(|(name, missing)| {
                let at = missing.candidates.iter().find_map(|name| absence(name, scene));
                let leads = missing.candidates.iter().find_map(|name| leads_to(name, scene));
                let strange = at.is_none() && leads.is_none();
                let near = if strange { found.nearest(&missing.candidates) } else { None };
                Asked { name, missing, near, at, leads }
            })
            .collect();
        let (mut gone, never): (Vec<Asked>, Vec<Asked>) =
            asked.into_iter().partition(|one| one.at.is_some());
        let (led, never): (Vec<Asked>, Vec<Asked>) =
            never.into_iter().partition(|one| one.leads.is_some());
        let (harm, information): (Vec<Asked>, Vec<Asked>) = never
            .into_iter()
            .partition(|one| one.near.is_some() || is_for_cluster(&one.name, &scene.answers.zones));
        let mut findings: Vec<Finding> =
            led.into_iter().map(|one| finding(&[one], true, scene)).collect();
        for (group, counts) in [(harm, true), (information, false)] {
            findings.extend(matters(group).iter().map(|asked| finding(asked, counts, scene)));
        }
        // What went or came at one time is one matter.
        gone.sort_by_key(|one| one.at.map(|at| (at.before, at.after, at.span.start)));
        let together = |one: &Asked, other: &Asked| match (one.at, other.at) {
            (Some(one), Some(other)) => {
                (one.before, one.after) == (other.before, other.after)
                    && one.span.start.distance(other.span.start) <= SETTLED
            }
            _ => false,
        };
        for group in gone.chunk_by_mut(together) {
            group.sort_by_key(|one| std::cmp::Reverse(one.missing.lookups));
            findings.push(finding(group, true, scene));
        }
        findings
    }
}

/// A name that nobody has, and what was probably meant.
struct Asked {
    name: Name,
    missing: Missing,
    near: Option<(Name, Text)>,
    /// When it was gone, if it has addresses at another time.
    at: Option<Absence>,
    /// The candidate that is there, and where it leads: to a name that is missing (RFC 2308 section 2.1).
    leads: Option<(Name, Name)>,
}

/// What is told together: names that are asked much more than others by themselves, the many others
/// as one list, for somebody who reads twenty incidents of the same kind reads none.
fn matters(mut asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    asked.sort_by(|a, b| {
        b.missing.lookups.cmp(&a.missing.lookups).then_with(|| a.name.cmp(&b.name))
    });
    let all: u64 = asked.iter().map(|one| one.missing.lookups).sum();
    let own = |one: &Asked| one.missing.lookups as f64 >= OWN_MATTER * all as f64;
    let rest = asked.iter().position(|one| !own(one)).unwrap_or(asked.len());
    let rest = asked.split_off(rest);
    let mut matters: Vec<Vec<Asked>> = asked.into_iter().map(|one| vec![one]).collect();
    if rest.len() > FEW {
        matters.push(rest);
    } else {
        matters.extend(rest.into_iter().map(|one| vec![one]));
    }
    matters
}

/// Where `name` leads, if it is an alias.
fn leads_to(name: &Name, scene: &Scene<'_>) -> Option<(Name, Name)> {
    let of = |rtype| scene.answers.asked(name, rtype)?.alias();
    let to = of(RecordType::A).or_else(|| of(RecordType::AAAA))?;
    Some((name.clone(), to.clone()))
}

/// When `name` was gone, if it has addresses at another time; a Service is another rule's.
fn absence(name: &Name, scene: &Scene<'_>) -> Option<Absence> {
    let asked = scene.answers.name(name).filter(|asked| !asked.place.is_service())?;
    asked.absence(SETTLED)
}

fn exists(name: &Name, scene: &Scene<'_>) -> bool {
    scene.answers.name(name).is_some_and(AskedName::resolves)
}

/// Whether it is an outside name that resolves, with a search suffix behind it.
fn is_part_of_search(name: &Name, scene: &Scene<'_>) -> bool {
    (2..name.label_count()).any(|labels| {
        Name::from_labels(name.labels().take(labels)).is_some_and(|bare| exists(&bare, scene))
    })
}

fn finding(asked: &[Asked], counts: bool, scene: &Scene<'_>) -> Finding {
    let names: Vec<&Name> = asked.iter().map(|one| &one.name).collect();
    let sum = |figure: fn(&Missing) -> u64| asked.iter().map(|one| figure(&one.missing)).sum();
    let (lookups, transactions): (u64, u64) =
        (sum(|missing| missing.lookups), sum(|missing| missing.transactions));
    let span = asked.iter().map(|one| one.missing.span).reduce(Span::join);
    let span = span.unwrap_or(scene.span);
    let clients: BTreeSet<IpAddr> =
        asked.iter().flat_map(|one| one.missing.clients.keys().copied()).collect();
    let servers: BTreeSet<IpAddr> =
        asked.iter().flat_map(|one| one.missing.servers.iter().copied()).collect();
    let gone = asked.first().and_then(|one| one.at);
    let (who, do_not) = match names.as_slice() {
        [name] => (plain(name), text!("does not exist")),
        several => (count(several.len() as u64, "name"), text!("do not exist")),
    };
    let leads = asked.first().and_then(|one| one.leads.as_ref());
    let do_not = match leads {
        Some((_, to)) => text!("leads to {to}, which does not exist", to),
        None if gone.is_some() => text!("did not exist"),
        None => do_not,
    };
    let (listed, said) = match names.as_slice() {
        [first, second, ..] => (
            text!(", {first} and {second} most of all", first, second),
            text!("none of these names exists"),
        ),
        _ => (Text::EMPTY, text!("{who} does not exist", who)),
    };
    let mut frames: Vec<(Seen, &Name)> =
        asked.iter().flat_map(|one| one.missing.frames.iter().map(|f| (*f, &one.name))).collect();
    frames.sort_unstable();
    frames.truncate(FRAMES);
    let mut facts = names_and_nearest(asked);
    facts.extend(gone.map(|gone| Fact {
        label: text!("addresses at other times"),
        value: match (gone.before, gone.after) {
            (true, true) => text!("before and after"),
            (true, false) => text!("before"),
            (false, _) => text!("after"),
        },
    }));
    facts.push(Fact { label: text!("clients"), value: list(&clients, 5) });
    facts.push(Fact { label: text!("servers that denied it"), value: list(&servers, 4) });
    let servers = servers.len();
    Finding {
        rule: &DETECTOR,
        title: text!(
            "{who} {do_not}{listed}: {lookups} by {clients} ended with NXDOMAIN for every \
             candidate, from {start} to {end}",
            who,
            do_not,
            listed,
            lookups = count(lookups, "lookup"),
            clients = count(clients.len() as u64, "client"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: if counts { Confidence::Likely } else { Confidence::Possible },
        culprits: names.iter().take(TOLD).map(|name| Culprit::Name((*name).clone())).collect(),
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions,
        claim: Claim {
            zones: Some(if counts {
                names.iter().copied().cloned().collect()
            } else {
                BTreeSet::new()
            }),
            symptoms: BTreeSet::from([Symptom::NxDomain]),
            kinds: BTreeSet::from([HarmKind::Negative]),
            clients: Some(clients.clone()),
            ..Claim::default()
        },
        cause: if let Some((name, to)) = leads {
            text!(
                "{name} is there, and an alias for {to}: a Service of type ExternalName, or a CNAME \
                 record. What it leads to is missing, mistyped or renamed (RFC 2308 section 2.1: \
                 NXDOMAIN is said of the last name of the chain).",
                name,
                to
            )
        } else if gone.is_some() {
            text!(
                "Meanwhile every server that was asked said that {said}, under each search suffix \
                 and as it is; before or after there are addresses. It was removed, or made later, \
                 or both, where its zone is kept.",
                said
            )
        } else {
            text!(
                "Every server that was asked said that {said}, under each search suffix and as it is. \
             A name like that is mistyped, or what it names is missing, renamed or in another \
             namespace.{rest}",
                said,
                rest = if counts {
                    Text::EMPTY
                } else {
                    text!(" A blocklist answers the same on purpose.")
                }
            )
        },
        facts,
        evidence: frames
            .into_iter()
            .map(|(seen, name)| Proof { seen, summary: text!("a lookup of {name} begins", name) })
            .collect(),
        actions: actions(&names, &clients, (counts, gone.is_some()), leads),
        ruled_out: vec![
            RuledOut {
                rule: "replica-divergence",
                because: if gone.is_some() {
                    text!("no server had an address meanwhile ({servers} asked)", servers)
                } else {
                    text!("no server has an address ({servers} asked)", servers)
                },
            },
            RuledOut {
                rule: "search-suffix-storm",
                because: text!("no candidate of these lookups succeeded"),
            },
        ],
    }
}

/// The names, and what they may have been meant to be.
fn names_and_nearest(asked: &[Asked]) -> Vec<Fact> {
    let each =
        |one: &Asked| text!("{name} ({lookups})", name = one.name, lookups = one.missing.lookups);
    let mut facts = Vec::new();
    match asked {
        [one] if one.at.is_none() => {
            let value = one.near.as_ref().map_or_else(
                || text!("none close to it resolves in this capture"),
                |(near, how)| text!("{near} ({how})", near, how),
            );
            let label = text!("nearest name that resolves");
            facts.push(match &one.leads {
                Some((name, to)) => {
                    Fact { label: text!("alias"), value: text!("{name}, for {to}", name, to) }
                }
                None => Fact { label, value },
            });
            let value = list(&one.missing.candidates, 6);
            facts.push(Fact { label: text!("candidates, all denied"), value });
        }
        several => {
            facts.push(Fact {
                label: text!("names (lookups of each)"),
                value: list(asked.iter().map(each), TOLD),
            });
            let close = several.iter().filter_map(|one| Some((&one.name, one.near.as_ref()?)));
            let close: Vec<Text> = close
                .map(|(name, (near, how))| text!("{name}: {near} ({how})", name, near, how))
                .collect();
            if !close.is_empty() {
                facts.push(Fact {
                    label: text!("nearest names that resolve"),
                    value: list(close, 4),
                });
            }
        }
    }
    facts
}

fn actions(
    names: &[&Name],
    clients: &BTreeSet<IpAddr>,
    (counts, gone): (bool, bool),
    leads: Option<&(Name, Name)>,
) -> Vec<Action> {
    let first =
        |name: &Name| name.first_label().map(|label| String::from_utf8_lossy(label).into_owned());
    let services: BTreeSet<String> =
        names.iter().take(TOLD).filter_map(|name| first(name)).collect();
    let services: Vec<String> = services.into_iter().collect();
    let look = if let Some((_, to)) = leads {
        format!("kubectl get services -A | grep -F {to}; dig {to}")
    } else if counts && !gone {
        format!("kubectl get services -A | grep -iE '{}'", services.join("|"))
    } else {
        names.first().map_or_else(String::new, |name| format!("dig {name} +trace"))
    };
    let why = if leads.is_some() {
        text!("see who leads there, and whether it is there by now")
    } else if gone {
        text!("see what its zone says by now")
    } else {
        text!("look for what the name may have meant")
    };
    let mut actions = vec![Action { why, command: look }];
    if let Some(client) = clients.first() {
        actions.push(Action {
            why: text!("find the application that asks"),
            command: format!("kubectl get pods -A -o wide | grep -wF {client}"),
        });
    }
    actions
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, findings};

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
    fn an_alias_that_leads_nowhere_is_there_itself() {
        let first = "0.001 pod:40000 < dns aa NXDOMAIN";
        let alias = "0.001 pod:40000 < dns aa NXDOMAIN legacy.shop.svc.cluster.local. 5 CNAME \
                     old.example.net.";
        let text = scenario(3, "legacy", "NXDOMAIN").replace(first, alias);
        let found = analyse(&text);
        let cause = &found.incidents.first().expect("an incident").cause;
        let title = cause.title.to_string();
        assert!(
            title.starts_with("legacy leads to old.example.net, which does not exist"),
            "{title}"
        );
    }

    #[test]
    fn a_mistyped_service_is_denied_under_every_suffix() {
        insta::assert_snapshot!(findings(&scenario(3, "redsi", "NXDOMAIN")), @"low nxdomain-missing-name [name redsi] likely 10:00:01.000-10:00:03.005 3/3");
    }

    /// So many names, asked so often each, one after the other.
    fn several(times: &[usize]) -> String {
        let mut text = String::new();
        for (number, times) in times.iter().enumerate() {
            let one = scenario(*times, &format!("lost{number}"), "NXDOMAIN");
            let begin = number * 100 + 1;
            text += &one.replace("from 1\n", &format!("from {begin}\n"));
        }
        findings(&text)
    }

    #[test]
    fn a_few_names_are_told_one_by_one() {
        assert_eq!(several(&[4, 4, 4]).matches("nxdomain-missing-name").count(), 3);
    }

    #[test]
    fn many_names_are_one_list_and_the_one_asked_most_stands_alone() {
        let said = several(&[20, 3, 3, 3, 3, 3, 3]);
        assert_eq!(said.matches("nxdomain-missing-name").count(), 2, "{said}");
        assert!(said.contains("nxdomain-missing-name [name lost0] likely"), "{said}");
        assert!(said.contains("[name lost1, name lost2, name lost3, name lost4,"), "{said}");
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

    /// An outside name at two replicas, asked every second, that is denied while `gone` says so.
    fn outside(seconds: u32, gone: impl Fn(u32) -> bool) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        for second in 0..seconds {
            let data = "git.corp.example. 5 A 192.0.2.7";
            let answer = if gone(second) { "NXDOMAIN" } else { data };
            let (port, replica) = (40_000 + second * 8, second % 2 + 1);
            text.extend([format!(
                "{second}.0 pod:{port} > kube-dns via dns{replica} rd A git.corp.example.\n\
                 {second}.001 pod:{port} < kube-dns via dns{replica} {answer}\n"
            )]);
        }
        findings(&text)
    }

    #[test]
    fn a_name_is_removed_or_made_or_gone_for_a_while() {
        let rule = " nxdomain-missing-name [name git.corp.example] likely";
        for (said, when) in [
            (outside(100, |at| at >= 40), "10:00:40.000-10:01:39.001 60/60"),
            (outside(100, |at| at < 40), "10:00:00.000-10:00:39.001 40/40"),
            (outside(150, |at| (40..90).contains(&at)), "10:00:40.000-10:01:29.001 50/50"),
        ] {
            assert!(said.ends_with(&format!("{rule} {when}\n")), "{said}");
        }
    }

    #[test]
    fn a_name_that_just_changes_or_comes_and_goes_is_not_missing() {
        for said in [outside(60, |at| at >= 30), outside(150, |at| at % 40 > 20)] {
            assert!(!said.contains("nxdomain-missing-name"), "{said}");
        }
    }
}
