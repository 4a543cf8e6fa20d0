//! Replicas of the cluster's DNS give different answers to the same question.
//!
//! **Signature.** At the same time one replica says that a name of the cluster zone does not
//! exist, has no record, or has addresses of which none is among those of the other replicas;
//! each answer came at least twice. Or one replica denies a name outside the cluster for good,
//! never having it meanwhile, which another has all along, and both have asked anew for too often
//! for that to be chance.
//!
//! **Needs.** The replicas' own addresses: the query after translation. With the service address
//! alone, answers that swing back and forth faster than their own TTL allows are reported, as
//! possible. At least three lookups must have ended with the odd answer.
//!
//! **Not this.** Another order of the same addresses. Servers behind different services, as in
//! captures of two clusters. A change on its way, which every replica makes once within a TTL
//! (`negative-sticky`, where a cached denial lasts). Different addresses of names outside the
//! cluster, which rotate or depend on the place, and replicas that each have such a name by turns,
//! as their upstream says (`upstream-divergent`). Search-suffixed names that the autopath plugin answers
//! (`autopath-wrong`). A replica that knows no name at all (`coredns-unsynced`).
//!
//! **Cannot tell.** Which replica is right, where one says yes and the other no: the one that
//! denies a name is charged, for that is the answer that clients fail with. Two replicas with
//! different addresses are both named.
//!
//! Source: rulebook 2.F; coredns/coredns `plugin/kubernetes`, `plugin/cache` (TTLs, K8).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Span;
use crate::base::words::{Text, clock, count, list, plain, text};
use crate::detect::{
    Action, Answer, Asked, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Inquiry, Layer, Proof, RuledOut, Said, Scene, Told, Turn, Where,
};
use crate::dns::{Name, RecordType};
use crate::transaction::Nat;

/// Lookups that must have ended with the odd answer (rulebook 7.6).
const ENOUGH: u64 = 3;
/// How often each of the two answers must have come (rulebook 2.F).
const REPEATED: u64 = 2;
/// A change reaches every replica within the usual TTL of 30 s and 5 s more (K8).
const SETTLED: Duration = Duration::from_secs(35);
/// A replica that also gives the right answer must not be the odd one by chance.
const CHANCE: f64 = 0.01;
/// Swings on one address that no cache may make, each way.
const SWINGS: u64 = 3;
/// Names without an answer from a replica that knows none: those are another rule's.
const KNOWS_NOTHING: usize = 3;

/// Questions to the upstreams that two replicas must have had answered, each always alike: if one of two
/// upstreams had the name, so many would be chance less than once in a hundred times.
const ANEW: u64 = 7;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "replica-divergence",
    title: "replicas of the cluster DNS answer differently",
    class: Class::Failure,
    layer: Layer::Data,
    references: &["rulebook 2.F", "coredns plugin/kubernetes"],
    source: include_str!("replica_divergence.rs"),
    new: || Box::new(ReplicaDivergence),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct ReplicaDivergence;

/// An answer that only one server gave.
struct Odd<'a> {
    name: &'a Name,
    rtype: RecordType,
    asked: &'a Asked,
    answer: Answer,
    told: &'a Told,
    /// What the others said meanwhile, and who they are.
    usual: Answer,
    others: BTreeSet<IpAddr>,
    usual_frame: Option<crate::capture::Seen>,
    /// Who gave it, and whom else it could be, if the answers alone do not say who is right.
    either: bool,
    /// How often both sides must have asked their upstreams meanwhile; none for names of the cluster.
    anew: Option<u64>,
}

impl Detector for ReplicaDivergence {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut servers: BTreeMap<IpAddr, Vec<Odd<'_>>> = BTreeMap::new();
        let mut knowing: BTreeSet<IpAddr> = BTreeSet::new();
        let addresses = |inquiry: &&Inquiry| {
            matches!(inquiry.rtype, RecordType::A | RecordType::AAAA) && !inquiry.is_autopath
        };
        for inquiry in scene.answers.all().iter().filter(addresses) {
            let Inquiry { name, rtype, asked, place, .. } = inquiry;
            if !place.in_cluster {
                for odd in odd_outside(inquiry, scene.nat) {
                    servers.entry(odd.0).or_default().push(odd.1);
                }
                continue;
            }
            for ((server, answer), told) in asked.told.iter() {
                if answer.is_data() {
                    knowing.insert(*server);
                }
                if let Some(odd) = odd(name, *rtype, asked, (*server, *answer), told, scene) {
                    servers.entry(*server).or_default().push(odd);
                }
            }
        }
        servers
            .into_iter()
            .filter(|(server, odd)| {
                let own = odd.iter().filter(|odd| odd.anew.is_none());
                let names: BTreeSet<&Name> = own.map(|odd| odd.name).collect();
                knowing.contains(server) || names.len() < KNOWS_NOTHING
            })
            .filter_map(|(server, odd)| finding(server, &odd, scene))
            .collect()
    }
}

/// Whether `server` is the odd one out with `answer`.
fn odd<'a>(
    name: &'a Name,
    rtype: RecordType,
    asked: &'a Asked,
    (server, answer): (IpAddr, Answer),
    told: &'a Told,
    scene: &Scene<'_>,
) -> Option<Odd<'a>> {
    if told.times() < REPEATED || matches!(answer, Answer::Error(_)) {
        return None;
    }
    let mut others: BTreeSet<IpAddr> = BTreeSet::new();
    let mut usual: Option<(Answer, &Told)> = None;
    let mut either = false;
    for ((other, said), instead) in asked.told.iter() {
        let contradicts = match (answer, *said) {
            (Answer::NoName | Answer::NoData, Answer::Data(_)) => true,
            (Answer::Data(_), Answer::Data(_)) => asked.disjoint(answer, *said),
            _ => false,
        };
        if !contradicts || instead.times() < REPEATED {
            continue;
        }
        if *other == server || !scene.may_be_replicas(server, *other) {
            continue;
        }
        let together = told.span.overlaps(instead.span);
        let agreed =
            asked.told.get(&(*other, answer)).is_some_and(|same| same.span.overlaps(told.span));
        if !together || agreed || is_change(asked, (server, answer), (*other, *said)) {
            continue;
        }
        // Two sets of addresses, each of one server alone: either may be the right one.
        either |= answer.is_data() && !asked.by(server).any(|(own, _)| own == *said);
        others.insert(*other);
        if usual.is_none_or(|(_, known)| instead.times() > known.times()) {
            usual = Some((*said, instead));
        }
    }
    let (usual, instead) = match usual {
        Some(found) => found,
        None => swing(asked, server, answer, told)?,
    };
    let also_right = asked.by(server).find(|(own, _)| *own == usual);
    if let Some((_, right)) = also_right.filter(|_| !others.is_empty()) {
        let mine = told.times() + right.times();
        let theirs: u64 =
            others.iter().flat_map(|other| asked.by(*other)).map(|(_, t)| t.times()).sum();
        let share = mine as f64 / (mine + theirs).max(1) as f64;
        if share.powf(told.times() as f64) >= CHANCE {
            return None;
        }
    }
    // With as many on the other side, the rarer answer is the odd one.
    if either && others.len() == 1 && told.times() > instead.times() {
        return None;
    }
    Some(Odd {
        name,
        rtype,
        asked,
        answer,
        told,
        usual,
        others,
        usual_frame: instead.frames().next(),
        either,
        anew: None,
    })
}

/// The replicas that deny this name outside the cluster all the time that another one has it.
fn odd_outside<'a>(inquiry: &'a Inquiry, nat: &Nat) -> Vec<(IpAddr, Odd<'a>)> {
    let Inquiry { name, rtype, asked, .. } = inquiry;
    let is_denied = |(_, answer): (&IpAddr, &Answer)| *answer == Answer::NoName;
    if !asked.told.keys().any(is_denied) || asked.servers().len() < 2 {
        return Vec::new();
    }
    let turns = asked.turns();
    let by = |server: IpAddr, said: Said| {
        turns.iter().filter(move |turn| turn.server == server && turn.said == said)
    };
    let longest = |server, said| by(server, said).max_by_key(|turn: &&Turn| turn.span.length());
    let denied = asked.told.iter().filter(|((_, answer), _)| **answer == Answer::NoName);
    denied
        .filter_map(|((server, answer), told)| {
            let no = longest(*server, Said::NoName)?;
            // Not there as long as the longest change takes, at either side.
            let lasts = told.longest_ttl().saturating_add(Duration::from_secs(5)).max(SETTLED);
            let along = |yes: &Turn, had: &Told| {
                let ttl = had.longest_ttl().saturating_add(Duration::from_secs(5));
                let changed = by(*server, Said::Data).next().is_some()
                    || by(yes.server, Said::NoName).next().is_some();
                let limit = if changed { lasts.max(ttl) } else { SETTLED };
                let agrees = |same: &Turn| same.along(no) > SETTLED;
                no.along(yes) > limit
                    && !by(*server, Said::Data).any(|turn| no.span.contains(turn.span.start))
                    && !by(yes.server, Said::NoName).any(agrees)
            };
            let others = asked.told.iter().filter(|((other, said), had)| {
                said.is_data() && *other != server && had.times() >= REPEATED
            });
            let others: Vec<(IpAddr, Answer, &Told, &Turn)> = others
                .filter(|((other, _), _)| nat.may_be_replicas(*server, **other))
                .filter_map(|((other, said), had)| {
                    let yes = longest(*other, Said::Data).filter(|yes| along(yes, had))?;
                    Some((*other, *said, had, yes))
                })
                .collect();
            let (_, usual, had, yes) = others.iter().max_by_key(|(.., had, _)| had.times())?;
            if no.times < 2 {
                return None;
            }
            // A cache asks no oftener than answers expire, and nobody oftener than clients do.
            let together = no.along(yes).as_secs();
            let asks = |turn: &Turn, told: &Told| {
                u64::from(turn.times).min(together / told.longest_ttl().as_secs().max(1) + 1)
            };
            let odd = Odd {
                name,
                rtype: *rtype,
                asked,
                answer: *answer,
                told,
                usual: *usual,
                others: others.iter().map(|(other, ..)| *other).collect(),
                usual_frame: had.frames().next(),
                either: false,
                anew: Some(asks(no, told) + asks(yes, had)),
            };
            Some((*server, odd))
        })
        .collect()
}

/// Whether the two answers are one change, seen before on one server and after on the other.
fn is_change(asked: &Asked, one: (IpAddr, Answer), other: (IpAddr, Answer)) -> bool {
    let (Some(mine), Some(theirs)) = (asked.told.get(&one), asked.told.get(&other)) else {
        return false;
    };
    let overlap = mine.span.end.min(theirs.span.end).since(mine.span.start.max(theirs.span.start));
    let before_or_after = |at: (IpAddr, Answer), stays: Span| {
        asked.told.get(&at).is_some_and(|told| !told.span.overlaps(stays))
    };
    let switched = before_or_after((one.0, other.1), mine.span)
        || before_or_after((other.0, one.1), theirs.span);
    let settled = SETTLED.max(mine.longest_ttl().saturating_add(Duration::from_secs(5)));
    switched && overlap <= settled
}

/// One address, behind which the answer swings faster than caches may.
fn swing<'a>(
    asked: &'a Asked,
    server: IpAddr,
    answer: Answer,
    told: &Told,
) -> Option<(Answer, &'a Told)> {
    let alone = asked.servers().len() == 1;
    let negative = matches!(answer, Answer::NoName);
    asked
        .by(server)
        .find(|(other, back)| other.is_data() && back.hasty() + told.hasty() >= 2 * SWINGS)
        .filter(|(_, back)| alone && negative && told.hasty() >= SWINGS && back.times() >= SWINGS)
}

fn words(asked: &Asked, answer: Answer) -> Text {
    match answer {
        Answer::NoName => text!("NXDOMAIN"),
        Answer::NoData => text!("no record"),
        Answer::Error(rcode) => plain(rcode),
        Answer::Data(_) => list(asked.addresses(answer), 3),
    }
}

fn finding(server: IpAddr, odd: &[Odd<'_>], scene: &Scene<'_>) -> Option<Finding> {
    let outside: Option<u64> = odd.iter().map(|odd| odd.anew).sum();
    if outside.is_some_and(|anew| anew < ANEW) {
        return None;
    }
    let wrong: BTreeMap<_, _> =
        odd.iter().flat_map(|odd| scene.answers.wronged(odd.told)).collect();
    let ended = odd.iter().map(|odd| odd.told.ended()).max()?;
    if ended < ENOUGH && (wrong.len() as u64) < ENOUGH {
        return None;
    }
    let span = odd.iter().map(|odd| odd.told.span).reduce(Span::join)?;
    let others: BTreeSet<IpAddr> = odd.iter().flat_map(|odd| odd.others.iter().copied()).collect();
    let names: BTreeSet<&Name> = odd.iter().map(|odd| odd.name).collect();
    let first = odd.iter().max_by_key(|odd| odd.told.times())?;
    let blind = others.is_empty();
    let either = odd.iter().all(|odd| odd.either);
    let times: u64 = odd.iter().map(|odd| odd.told.times()).sum();
    let mut culprits =
        vec![if blind { Culprit::Service(server) } else { Culprit::Backend(server) }];
    if either {
        culprits.extend(others.iter().take(2).map(|other| Culprit::Backend(*other)));
    }
    culprits.extend(names.iter().take(3).map(|name| Culprit::Name((*name).clone())));
    let said = words(first.asked, first.answer);
    let usual = words(first.asked, first.usual);
    let mut evidence: Vec<Proof> = Vec::new();
    for odd in odd.iter().take(4) {
        for seen in odd.told.frames().take(2) {
            let said = words(odd.asked, odd.answer);
            let summary = text!(
                "{server} answers {name} {rtype} with {said}",
                server,
                name = odd.name,
                rtype = odd.rtype,
                said
            );
            evidence.push(Proof { seen, summary });
        }
        let summary = text!(
            "the usual answer for {name}: {words}",
            name = odd.name,
            words = words(odd.asked, odd.usual)
        );
        evidence.extend(odd.usual_frame.map(|seen| Proof { seen, summary }));
    }
    Some(Finding {
        rule: &DETECTOR,
        title: if blind {
            text!(
                "service {server} answered {name} with {said} and with {usual} by turns, from \
                 {start} to {end}",
                server,
                name = first.name,
                said,
                usual,
                start = clock(span.start),
                end = clock(span.end)
            )
        } else {
            text!(
                "replica {server} answered {name} with {said} from {start} to {end}, while \
                 {others} said {usual}",
                server,
                name = first.name,
                said,
                start = clock(span.start),
                end = clock(span.end),
                others = list(&others, 3),
                usual
            )
        },
        confidence: if blind || either { Confidence::Possible } else { Confidence::Likely },
        culprits,
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: times,
        claim: Claim { wrong, ..Claim::default() },
        cause: text!(
            "The same question had different answers at the same time, so the replicas do not hold \
             the same data. A replica that lost its watch of the API server, another Corefile or \
             another version are the usual reasons; the capture does not show which. {rest}",
            rest = if either {
                text!("Which of the answers is right, it does not show either.")
            } else {
                Text::EMPTY
            }
        ),
        facts: vec![
            Fact { label: text!("names with different answers"), value: list(&names, 4) },
            Fact {
                label: text!("odd answers"),
                value: text!(
                    "{said}, {answers} in all from {server}",
                    said,
                    answers = count(times, "answer"),
                    server
                ),
            },
            Fact {
                label: text!("usual answer"),
                value: text!("{usual}, from {others}", usual, others = list(&others, 4)),
            },
            Fact { label: text!("lookups that ended with it"), value: plain(ended) },
        ],
        evidence,
        actions: actions(server, &others, first),
        ruled_out: vec![
            RuledOut {
                rule: "nxdomain-missing-name",
                because: text!("the name exists: {usual} was answered in the same window", usual),
            },
            RuledOut {
                rule: "negative-sticky",
                because: text!(
                    "the answers did not change once, on every server, within their TTL"
                ),
            },
        ],
    })
}

fn actions(server: IpAddr, others: &BTreeSet<IpAddr>, odd: &Odd<'_>) -> Vec<Action> {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    vec![
        Action {
            why: text!("ask every replica"),
            command: format!(
                "for p in {server} {}; do echo $p; dig @$p {} {} +short; done",
                others.join(" "),
                odd.name,
                odd.rtype
            ),
        },
        Action {
            why: text!("find the pod {server}, look at its log, and restart it", server),
            command: format!(
                "kubectl -n kube-system logs $(kubectl -n kube-system get pod --field-selector \
                 status.podIP={server} -o name) | grep -iE 'reflector|watch|error'; kubectl -n \
                 kube-system delete pod --field-selector status.podIP={server}"
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    const HEAD: &str = "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
                        dns2 = 10.244.2.10\npod = 10.244.0.2\n";
    const NAME: &str = "redis.shop.svc.cluster.local.";

    /// Both replicas are asked in turn, `times` each, every two seconds.
    fn turns(times: usize, one: &str, other: &str) -> String {
        format!(
            "{HEAD}repeat {times} every 2\n\
             0.000 pod:40000 > kube-dns via dns1 rd A {NAME}\n\
             0.001 pod:40000 < kube-dns via dns1 aa {one}\n\
             1.000 pod:40008 > kube-dns via dns2 rd A {NAME}\n\
             1.001 pod:40008 < kube-dns via dns2 aa {other}\nend\n"
        )
    }

    #[test]
    fn one_replica_denies_what_the_other_knows() {
        let data = format!("{NAME} 5 A 10.96.0.20");
        insta::assert_snapshot!(findings(&turns(3, "NXDOMAIN", &data)), @"low replica-divergence [backend 10.244.1.10, name redis.shop.svc.cluster.local] likely 10:00:00.001-10:00:04.001 3/3");
    }

    #[test]
    fn two_failed_lookups_are_too_few() {
        let data = format!("{NAME} 5 A 10.96.0.20");
        insta::assert_snapshot!(findings(&turns(2, "NXDOMAIN", &data)), @"quiet");
    }

    #[test]
    fn the_same_addresses_in_another_order_are_no_divergence() {
        let (one, other) = (
            format!("{NAME} 5 A 10.244.3.1 {NAME} 5 A 10.244.3.2"),
            format!("{NAME} 5 A 10.244.3.2 {NAME} 5 A 10.244.3.1"),
        );
        insta::assert_snapshot!(findings(&turns(9, &one, &other)), @"quiet");
    }

    #[test]
    fn a_change_that_both_make_within_a_ttl_is_none() {
        // The second replica learns of the Service some seconds later than the first.
        let mut text = HEAD.to_owned();
        for second in 0..40 {
            for (replica, from) in [("dns1", 10), ("dns2", 16)] {
                let port = 40_000 + second * 8 + from;
                let answer = if second >= from { "10.96.0.20" } else { "" };
                let answer = if answer.is_empty() {
                    "NXDOMAIN auth cluster.local. 30 SOA ns.dns.cluster.local. h.cluster.local. 1 \
                     7200 1800 86400 5"
                        .to_owned()
                } else {
                    format!("{NAME} 30 A {answer}")
                };
                text.extend([format!(
                    "{second}.{from} pod:{port} > kube-dns via {replica} rd A {NAME}\n\
                     {second}.{from}5 pod:{port} < kube-dns via {replica} aa {answer}\n"
                )]);
            }
        }
        assert!(!findings(&text).contains("replica-divergence"), "{}", findings(&text));
    }

    #[test]
    fn an_external_name_may_have_different_addresses_everywhere() {
        let text =
            turns(9, "cdn.example.net. 60 A 203.0.113.1", "cdn.example.net. 60 A 203.0.113.9")
                .replace(NAME, "cdn.example.net.");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn answers_after_the_end_of_the_capture_do_not_count() {
        let data = format!("{NAME} 5 A 10.96.0.20");
        insta::assert_snapshot!(findings(&turns(3, "NXDOMAIN lost", &data)), @"quiet");
    }

    #[test]
    fn one_replica_denies_an_outside_name_for_good() {
        let data = "cdn.example.net. 5 A 203.0.113.1";
        let text = |times, one, other| turns(times, one, other).replace(NAME, "cdn.example.net.");
        insta::assert_snapshot!(findings(&text(40, "NXDOMAIN", data)), @"medium replica-divergence [backend 10.244.1.10, name cdn.example.net] likely 10:00:00.001-10:01:18.001 40/40");
        // Not for longer than a change takes.
        assert!(!findings(&text(17, "NXDOMAIN", data)).contains("divergence"));
        // Cached once, each, as far as this capture shows.
        let soa = "NXDOMAIN auth example.net. 300 SOA ns.example.net. h.example.net. 1 7200 1800 \
                   86400 300";
        let said = findings(&text(40, soa, &data.replace(" 5 ", " 300 ")));
        assert!(!said.contains("divergence"), "{said}");
    }
}
