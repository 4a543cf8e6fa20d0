//! The autopath plugin answers search-suffixed names wrongly.
//!
//! **Signature.** Answers for `host.example.com.<namespace>.svc.<zone>` carry an alias to the
//! name as it is: CoreDNS walks the search list for the client (autopath). Then either one replica
//! gives addresses that no other replica gives, often private ones for a public name or against
//! its own TTL; or, for the same suffixed name, A is NXDOMAIN and AAAA is not, so that the
//! client stops its search without an address.
//!
//! **Needs.** Two lookups that got the wrong answer. Without the query after translation the
//! replica is unknown, and only private addresses beside public ones are told.
//!
//! **Not this.** Addresses of a public name that rotate, or that two replicas cached at different
//! times: those are not bound to one replica, or stay as long as their TTL. A and AAAA that
//! agree. Divergence of names that autopath has no part in is `replica-divergence`.
//!
//! **Cannot tell.** Why the plugin is wrong: a pod address that was given to a pod of another
//! namespace, a stale watch, or what the replica's own upstream said. Answers made for another
//! namespace look like an ExternalName Service and are not judged.
//!
//! Source: rulebook 2.F; coredns/coredns `plugin/autopath`, issues 7179, 3765, 2842.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{clock, count, list, plain, text};
use crate::capture::Seen;
use crate::detect::{
    Action, Answer, Asked, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Harmed, Inquiry, Interest, Layer, Proof, RuledOut, Scene, Told, Where, Which,
};
use crate::dns::{Name, Rcode, RecordType};
use crate::lookup::{Lookup, LookupOutcome};
use crate::transaction::Transaction;

/// Wrong lookups (rulebook 7.6).
const ENOUGH: usize = 2;
/// A set of addresses is bound to one replica if chance would do that less often than this.
const CHANCE: f64 = 0.01;
/// Changes against the TTL that a replica's cache would not have made.
const HASTY: u64 = 2;
/// Lookups with halves that contradict each other, kept one by one.
const MAX_SPLIT: usize = 4_096;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "autopath-wrong",
    title: "autopath answers search-suffixed names wrongly",
    class: Class::Failure,
    layer: Layer::Data,
    references: &["rulebook 2.F", "coredns plugin/autopath", "coredns/coredns#7179"],
    source: include_str!("autopath_wrong.rs"),
    new: || Box::<AutopathWrong>::default(),
};

/// Bounded by [`MAX_SPLIT`].
#[derive(Default)]
struct AutopathWrong {
    /// Lookups that ended because one family did not exist and the other did.
    split: BTreeMap<(Seen, IpAddr), Split>,
}

struct Split {
    harmed: Harmed,
    denied: Seen,
    /// The suffixed name.
    name: Name,
    /// Who denied it.
    server: IpAddr,
}

/// A set of addresses that one replica alone gives.
struct Odd<'a> {
    name: &'a Name,
    asked: &'a Asked,
    answer: Answer,
    told: &'a Told,
    usual: Answer,
    usual_frame: Option<Seen>,
    others: BTreeSet<IpAddr>,
    inside: bool,
    hasty: u64,
    by_chance: f64,
}

impl Detector for AutopathWrong {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let Some(end) = lookup.end.filter(|_| lookup.outcome == LookupOutcome::Negative) else {
            return;
        };
        let last = lookup.steps.last().map_or(0, |step| step.round);
        let asked = || {
            lookup
                .steps
                .iter()
                .filter(move |step| step.round == last)
                .filter_map(|step| step.transaction().map(AsRef::as_ref))
        };
        let found = |rtype, rcode| asked().find(|known| is(known, rtype, rcode));
        let Some(denied) = found(RecordType::A, Rcode::NXDOMAIN) else { return };
        if found(RecordType::AAAA, Rcode::NOERROR).is_none() || self.split.len() >= MAX_SPLIT {
            return;
        }
        let split = Split {
            harmed: Harmed::wrong(lookup, end),
            denied: denied.first(),
            name: denied.question.name.clone(),
            server: denied.responder(),
        };
        self.split.insert((lookup.start, lookup.client), split);
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut servers: BTreeMap<IpAddr, Vec<Odd<'_>>> = BTreeMap::new();
        let mut plugin = false;
        let autopath = |inquiry: &&Inquiry| inquiry.is_autopath;
        for Inquiry { name, rtype, asked, .. } in scene.answers.all().iter().filter(autopath) {
            plugin = true;
            if !matches!(*rtype, RecordType::A | RecordType::AAAA) {
                continue;
            }
            for ((server, answer), told) in asked.told.iter() {
                if let Some(odd) = odd(name, asked, *server, *answer, told) {
                    servers.entry(*server).or_default().push(odd);
                }
            }
        }
        let mut findings: Vec<Finding> = servers
            .into_iter()
            .filter_map(|(server, odd)| wrong_addresses(server, &odd, scene))
            .collect();
        if plugin {
            findings.extend(split_families(self.split, scene));
        }
        findings
    }
}

fn is(transaction: &Transaction, rtype: RecordType, rcode: Rcode) -> bool {
    transaction.question.rtype == rtype
        && transaction.answer().is_some_and(|answer| answer.rcode == rcode)
}

/// Whether `server` gives addresses that nobody else gives and that cannot be right by the
/// answers around them.
fn odd<'a>(
    name: &'a Name,
    asked: &'a Asked,
    server: IpAddr,
    answer: Answer,
    told: &'a Told,
) -> Option<Odd<'a>> {
    let shared = asked.told.keys().any(|(other, said)| *other != server && *said == answer);
    if shared || told.times() < ENOUGH as u64 {
        return None;
    }
    let others: BTreeSet<IpAddr> =
        asked.servers().into_iter().filter(|other| *other != server).collect();
    let (usual_by, usual, instead) = asked
        .told
        .iter()
        .filter(|((_, said), told)| asked.disjoint(answer, **said) && told.times() >= ENOUGH as u64)
        .max_by_key(|((other, _), told)| (**other != server, told.times()))
        .map(|((other, said), told)| (*other, *said, told))?;
    if !others.is_empty() && usual_by == server {
        return None;
    }
    let inside = |answer| asked.addresses(answer).iter().all(|address| is_inside(*address));
    let inside = inside(answer) && !asked.addresses(usual).iter().any(|a| is_inside(*a));
    let hasty: u64 = asked.by(server).map(|(_, told)| told.hasty()).sum();
    let mine: u64 = asked.by(server).map(|(_, told)| told.times()).sum();
    let share = mine as f64 / asked.times().max(1) as f64;
    let by_chance = if others.is_empty() { 1.0 } else { share.powf(told.times() as f64) };
    (inside || (by_chance < CHANCE && hasty >= HASTY)).then_some(Odd {
        name,
        asked,
        answer,
        told,
        usual,
        usual_frame: instead.frames().next(),
        others,
        inside,
        hasty,
        by_chance,
    })
}

/// Whether it is an address of a private network (RFC 1918, RFC 6598, RFC 4193). What blocklists
/// answer with (0.0.0.0, loopback) is none.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.octets()[0] & 0xfe == 0xfc,
    }
}

/// The application's own name: what stands before the search suffix.
fn bare(scene: &Scene<'_>, name: &Name) -> Name {
    let parts = scene.answers.zones.split(name);
    let own = parts.and_then(|parts| Name::from_labels(parts.own().take(parts.depth() - 1)));
    own.unwrap_or_else(|| name.clone())
}

fn wrong_addresses(server: IpAddr, odd: &[Odd<'_>], scene: &Scene<'_>) -> Option<Finding> {
    let wrong: BTreeMap<_, _> =
        odd.iter().flat_map(|odd| scene.answers.wronged(odd.told)).collect();
    if wrong.len() < ENOUGH {
        return None;
    }
    let span = odd.iter().map(|odd| odd.told.span).reduce(Span::join)?;
    let first = odd.iter().max_by_key(|odd| odd.told.times())?;
    let others: BTreeSet<IpAddr> = odd.iter().flat_map(|odd| odd.others.iter().copied()).collect();
    let names: BTreeSet<Name> = odd.iter().map(|odd| bare(scene, odd.name)).collect();
    let blind = others.is_empty();
    let (said, usual) =
        (list(first.asked.addresses(first.answer), 3), list(first.asked.addresses(first.usual), 3));
    let times: u64 = odd.iter().map(|odd| odd.told.times()).sum();
    let elsewhere: u64 =
        others.iter().flat_map(|other| first.asked.by(*other)).map(|(_, told)| told.times()).sum();
    let mut evidence: Vec<Proof> = Vec::new();
    for odd in odd.iter().take(4) {
        let said = list(odd.asked.addresses(odd.answer), 3);
        evidence.extend(odd.told.frames().take(3).map(|seen| Proof {
            seen,
            summary: text!("{name} is {said}, says {server}", name = odd.name, said, server),
        }));
        let usual = list(odd.asked.addresses(odd.usual), 3);
        let summary = text!("the usual answer: {usual}", usual);
        evidence.extend(odd.usual_frame.map(|seen| Proof { seen, summary }));
    }
    let mut culprits =
        vec![if blind { Culprit::Service(server) } else { Culprit::Backend(server) }];
    culprits.extend(names.iter().take(3).map(|name| Culprit::Name(name.clone())));
    let mut facts = vec![
        Fact {
            label: text!("wrong answers"),
            value: text!(
                "{said}, {answers} from {server} alone",
                said,
                answers = count(times, "answer"),
                server
            ),
        },
        Fact {
            label: text!("usual answer"),
            value: if blind {
                text!("{usual}; the replicas behind {server} cannot be told apart", usual, server)
            } else {
                text!(
                    "{usual}; {answers} by {others} never gave another",
                    usual,
                    answers = count(elsewhere, "answer"),
                    others = list(&others, 3)
                )
            },
        },
        Fact {
            label: text!("changes sooner than the answers' own TTL"),
            value: plain(odd.iter().map(|odd| odd.hasty).sum::<u64>()),
        },
        Fact { label: text!("lookups that ended with it"), value: plain(wrong.len()) },
    ];
    if odd.iter().any(|odd| odd.inside) {
        facts.push(Fact {
            label: text!("kind of address"),
            value: text!("private, where the usual answer is public"),
        });
    }
    let sure = !blind && odd.iter().any(|odd| odd.by_chance < CHANCE);
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{kind} {server} answers {names} by autopath with the wrong address {said}, {times} \
             from {start} to {end}",
            kind = if blind { text!("service") } else { text!("replica") },
            server,
            names = list(&names, 2),
            said,
            times = count(times, "time"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: if sure { Confidence::Likely } else { Confidence::Possible },
        culprits,
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: times,
        claim: Claim { wrong, ..Claim::default() },
        cause: text!(
            "CoreDNS completes search-suffixed names by itself (autopath) and answers with an \
             alias to the name as it is. For {names} {rest} gives {said}, where {usual} is the \
             usual answer, so applications connect to the wrong place although resolving looks \
             fine. The plugin keeps its own map of pods, which may be stale; the capture does not \
             show where the address comes from.",
            names = list(&names, 2),
            rest =
                if blind { text!("one of the replicas") } else { text!("{server} alone", server) },
            said,
            usual
        ),
        facts,
        evidence,
        actions: actions(scene, server, &others, first.name),
        ruled_out: vec![RuledOut {
            rule: "replica-divergence",
            because: text!(
                "the answers carry autopath's alias, so they are not the cluster's own data"
            ),
        }],
    })
}

fn actions(
    scene: &Scene<'_>,
    server: IpAddr,
    others: &BTreeSet<IpAddr>,
    name: &Name,
) -> Vec<Action> {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    vec![
        Action {
            why: text!("ask every replica for the suffixed name and for the bare one"),
            command: format!(
                "for p in {server} {}; do echo $p; dig @$p {name} +short; dig @$p {} +short; done",
                others.join(" "),
                bare(scene, name)
            ),
        },
        Action {
            why: text!("take autopath out of the Corefile; lower ndots instead"),
            command: "kubectl -n kube-system get configmap coredns -o yaml | grep -n -B2 -A2 \
                      autopath; kubectl -n kube-system edit configmap coredns"
                .to_owned(),
        },
        Action {
            why: text!("restart the replica until then"),
            command: format!(
                "kubectl -n kube-system delete pod $(kubectl -n kube-system get pods -o wide | \
                 grep -wF {server} | awk '{{print $1}}')"
            ),
        },
    ]
}

/// A was denied and AAAA was not, in lookups that then gave up.
fn split_families(split: BTreeMap<(Seen, IpAddr), Split>, scene: &Scene<'_>) -> Option<Finding> {
    let split: BTreeMap<_, _> = split
        .into_iter()
        .filter(|(_, split)| {
            scene.answers.zones.split(&split.name).is_some_and(|parts| parts.depth() >= 3)
        })
        .collect();
    if split.len() < ENOUGH {
        return None;
    }
    let span = split.values().map(|split| Span::at(split.denied.ts)).reduce(Span::join)?;
    let servers: BTreeSet<IpAddr> = split.values().map(|split| split.server).collect();
    let names: BTreeSet<Name> = split.values().map(|split| split.name.clone()).collect();
    let (server, name) = (*servers.first()?, names.first()?.clone());
    let lookups = split.len() as u64;
    let evidence = split
        .values()
        .take(6)
        .map(|split| Proof {
            seen: split.denied,
            summary: text!("A of {name} is NXDOMAIN, its AAAA is not", name = split.name),
        })
        .collect();
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "autopath denied A and confirmed AAAA of the same suffixed names: {lookups} ended \
             without an address from {start} to {end}",
            lookups = count(lookups, "lookup"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Confirmed,
        culprits: servers.iter().take(3).map(|server| Culprit::Backend(*server)).collect(),
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: lookups,
        claim: Claim {
            wrong: split.into_iter().map(|(key, split)| (key, split.harmed)).collect(),
            ..Claim::default()
        },
        cause: text!(
            "A name exists or does not exist as a whole. With autopath one of the two questions \
             was completed to the name as it is, and the other was not, so the client was told \
             that the name exists without an address, and did not search on."
        ),
        facts: vec![
            Fact { label: text!("names"), value: list(&names, 4) },
            Fact { label: text!("lookups that ended with it"), value: plain(lookups) },
            Fact { label: text!("servers that denied A"), value: list(&servers, 4) },
        ],
        evidence,
        actions: actions(scene, server, &BTreeSet::new(), &name),
        ruled_out: vec![RuledOut {
            rule: "empty-noerror",
            because: text!("the names are in the cluster zone, and A was NXDOMAIN"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{findings, findings_until};

    const HEAD: &str = "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
                        dns2 = 10.244.2.10\npod = 10.244.0.2\n";
    const NAME: &str = "api.example.com.default.svc.cluster.local.";

    fn answer(address: &str) -> String {
        format!("{NAME} 30 CNAME api.example.com. api.example.com. 30 A {address}")
    }

    /// Every replica is asked twice a round, the first gives `one` at its second turn.
    fn turns(times: usize, one: &str, other: &str) -> String {
        let right = answer("93.184.216.34");
        format!(
            "{HEAD}repeat {times} every 4\n\
             0.000 pod:40000 > kube-dns via dns1 rd A {NAME}\n\
             0.001 pod:40000 < kube-dns via dns1 {right}\n\
             1.000 pod:40004 > kube-dns via dns1 rd A {NAME}\n\
             1.001 pod:40004 < kube-dns via dns1 {one}\n\
             2.000 pod:40008 > kube-dns via dns2 rd A {NAME}\n\
             2.001 pod:40008 < kube-dns via dns2 {right}\n\
             3.000 pod:40012 > kube-dns via dns2 rd A {NAME}\n\
             3.001 pod:40012 < kube-dns via dns2 {other}\nend\n"
        )
    }

    #[test]
    fn one_replica_gives_a_private_address_now_and_then() {
        let text = turns(3, &answer("10.244.3.77"), &answer("93.184.216.34"));
        insta::assert_snapshot!(findings(&text), @"low autopath-wrong [backend 10.244.1.10, name api.example.com] possible 10:00:01.001-10:00:09.001 3/3");
    }

    #[test]
    fn one_wrong_answer_is_too_few() {
        let text = turns(1, &answer("10.244.3.77"), &answer("93.184.216.34"));
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn a_public_address_that_one_replica_alone_gives_against_its_ttl() {
        let text = turns(8, &answer("203.0.113.66"), &answer("93.184.216.34"));
        insta::assert_snapshot!(findings(&text), @"low autopath-wrong [backend 10.244.1.10, name api.example.com] likely 10:00:01.001-10:00:29.001 8/8");
    }

    #[test]
    fn addresses_that_rotate_everywhere_are_right() {
        let text = turns(9, &answer("203.0.113.66"), &answer("203.0.113.66"));
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn replicas_that_cached_different_addresses_are_right() {
        let text = turns(9, &answer("93.184.216.34"), &answer("93.184.216.34"))
            .replace("< kube-dns via dns2 api.example.com.default.svc.cluster.local. 30 CNAME api.example.com. api.example.com. 30 A 93.184.216.34", &format!("< kube-dns via dns2 {}", answer("203.0.113.66")));
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn without_the_backend_the_service_is_named() {
        let text = turns(3, &answer("10.244.3.77"), &answer("93.184.216.34"))
            .replace(
                "capture node sll2\nservice kube-dns = 10.96.0.10\n",
                "kube-dns = 10.96.0.10\n",
            )
            .replace(" via dns1", "")
            .replace(" via dns2", "");
        insta::assert_snapshot!(findings(&text), @"low autopath-wrong [service 10.96.0.10, name api.example.com] possible 10:00:01.001-10:00:09.001 3/3");
    }

    #[test]
    fn a_is_denied_and_aaaa_is_not() {
        let round = |rcode: &str| {
            format!(
                "pod = 10.244.0.2\ndns = 10.96.0.10\n0.000 pod:39000 > dns rd A {NAME}\n\
                 0.001 pod:39000 < dns {}\nrepeat 2 every 1 from 1\n\
                 0.000 pod:40000 > dns id 10 rd A git.example.org.default.svc.cluster.local.\n\
                 0.000 pod:40000 > dns id 11 rd AAAA git.example.org.default.svc.cluster.local.\n\
                 0.001 pod:40000 < dns id 10 {rcode}\n0.001 pod:40000 < dns id 11 NOERROR\nend\n",
                answer("93.184.216.34")
            )
        };
        insta::assert_snapshot!(findings(&round("NXDOMAIN")), @"low autopath-wrong [backend 10.96.0.10] confirmed 10:00:01.000-10:00:02.000 2/2");
        assert!(!findings(&round("NOERROR")).contains("autopath"));
    }

    /// Two wrong answers are needed; the capture ends before the second, or right behind it.
    #[test]
    fn a_capture_that_ends_before_the_second_wrong_answer_says_nothing() {
        let text = turns(3, &answer("10.244.3.77"), &answer("93.184.216.34"));
        assert!(
            findings_until(&text, 6.5).contains("autopath-wrong"),
            "{}",
            findings_until(&text, 6.5)
        );
        assert_eq!(findings_until(&text, 4.5), "quiet\n");
    }
}
