//! Upstreams disagree: one has the name, another says that it does not exist.
//!
//! **Signature.** For the same name and type one upstream answers with data and another NXDOMAIN
//! or without data, back and forth: data comes again after the negative answer, or the negative
//! answer again after data, within a minute each. Two names, or five negative answers. Where only
//! clients' questions show, one server has a name outside the cluster and has not, back and forth:
//! at least three changes, each within a minute. Other servers that had it and denied it count with
//! that one.
//!
//! **Needs.** To name the upstreams, a capture that shows what the DNS pods ask: on their nodes, with
//! `-i any`.
//!
//! **Not this.** A name that was just made, or just removed, changes once and on all upstreams.
//! Different addresses of one name are normal (geography, load).
//!
//! **Cannot tell.** Which of them is right. CoreDNS chooses among its upstreams at random and
//! takes NXDOMAIN for an answer, so a name that only one upstream has works by chance.
//!
//! Source: rulebook 2.E; CoreDNS `plugin/forward` (policy, `next`); Azure/AKS issue 808.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, list, text};
use crate::base::{Span, Table};
use crate::detect::upstream::read_the_corefile;
use crate::detect::{
    Action, Answer, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Fate, Finding,
    HarmKind, Inquiry, Layer, Leg, Proof, RuledOut, Said, Scene, Symptom, Told, Turn, Where,
};
use crate::dns::{Name, Question, RecordType};

/// Negative answers that are enough, and names (rulebook 7.6).
const ENOUGH: usize = 5;
/// See [`ENOUGH`].
const NAMES: usize = 2;
/// Changes of one server, where its upstreams do not show.
const CHANGES: usize = 3;
/// Longer apart than this, the data itself may have changed.
const APART: Duration = Duration::from_mins(1);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-divergent",
    title: "upstreams disagree whether a name exists",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E"],
    source: include_str!("upstream_divergent.rs"),
    new: || Box::new(UpstreamDivergent),
};

/// Judges the legs; keeps nothing of its own.
struct UpstreamDivergent;

impl Detector for UpstreamDivergent {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut questions: Table<&Question, Vec<&Leg>> = Table::default();
        for leg in scene.forward.legs().iter().filter(|leg| !leg.probe) {
            if matches!(leg.fate, Fate::Data | Fate::Negative(_)) {
                questions.entry(&leg.question).or_default().push(leg);
            }
        }
        let torn: BTreeMap<&Question, Vec<&Leg>> = questions
            .into_unordered()
            .filter_map(|(question, legs)| Some((question, torn(&legs)?.to_vec())))
            .collect();
        let negative = torn.values().flatten().filter(|leg| leg.fate != Fate::Data).count();
        let names: BTreeSet<&Name> = torn.keys().map(|question| &question.name).collect();
        if torn.is_empty() || (names.len() < NAMES && negative < ENOUGH) {
            return told(scene).into_iter().collect();
        }
        finding(&torn, &names, scene).into_iter().collect()
    }
}

/// What clients were told by servers that go back and forth: their upstreams do not show.
fn told(scene: &Scene<'_>) -> Option<Finding> {
    let mut torn: Vec<(&Name, IpAddr, &Told)> = Vec::new();
    for Inquiry { name, rtype, asked, place, .. } in scene.answers.all() {
        // Zones that differ do so in A as well, and many names have no AAAA.
        if place.in_cluster || *rtype != RecordType::A {
            continue;
        }
        let turns = asked.turns();
        // A name that is made, or removed, changes once, and one that was gone for a while twice.
        if !asked.servers().iter().any(|server| changes(&turns, *server) >= CHANGES) {
            continue;
        }
        for ((server, answer), no) in asked.told.iter() {
            let negative = matches!(answer, Answer::NoName | Answer::NoData);
            if negative && !scene.forward.shows(*server) && changes(&turns, *server) > 0 {
                torn.push((name, *server, no));
            }
        }
    }
    let names: BTreeSet<&Name> = torn.iter().map(|(name, ..)| *name).collect();
    let servers: BTreeSet<IpAddr> = torn.iter().map(|(_, server, _)| *server).collect();
    let negative: u64 = torn.iter().map(|(.., no)| no.times()).sum();
    let span = torn.iter().map(|(.., no)| no.span).reduce(Span::join)?;
    let (name, server) = (names.first()?, servers.first()?);
    if negative < ENOUGH as u64 {
        return None;
    }
    let listed = list(&servers, 3);
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{names} exist by chance since {start}: {servers} answer with data, say that there is \
             no such name, and have it again",
            names = list(names.iter(), 2),
            start = clock(span.start),
            servers = listed
        ),
        confidence: Confidence::Likely,
        culprits: names
            .iter()
            .take(3)
            .map(|name| Culprit::Name((*name).clone()))
            .chain(servers.iter().take(2).map(|server| Culprit::Backend(*server)))
            .collect(),
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: negative,
        claim: Claim {
            wrong: torn.iter().flat_map(|(.., no)| scene.answers.wronged(no)).collect(),
            ..Claim::default()
        },
        cause: text!(
            "The same server knows these names and does not, in turn. The DNS pods choose among \
             their upstreams at random and take the first answer, NXDOMAIN included: upstreams \
             that see different zones (split horizon) make it look like that. Which upstreams they \
             are does not show in this capture."
        ),
        facts: vec![
            Fact {
                label: text!("answers"),
                value: text!(
                    "{negative} negative for these names, by {servers}",
                    negative,
                    servers = listed
                ),
            },
            Fact { label: text!("names"), value: list(names.iter(), 5) },
        ],
        evidence: torn
            .iter()
            .flat_map(|(name, server, no)| {
                no.frames().take(2).map(move |seen| (name, server, seen))
            })
            .take(4)
            .map(|(name, server, seen)| Proof {
                seen,
                summary: text!("{server} has nothing for {name}", server, name),
            })
            .collect(),
        actions: vec![
            read_the_corefile(),
            Action {
                why: text!("ask again and again, and then each upstream by itself"),
                command: format!(
                    "for i in 1 2 3 4 5 6; do dig @{server} {name} +noall +comments | grep status; \
                     done"
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: text!("the same server answered with data before and after"),
        }],
    })
}

/// How often `server` went from yes to no or back, each time within a minute.
fn changes(turns: &[Turn], server: IpAddr) -> usize {
    let own: Vec<&Turn> =
        turns.iter().filter(|turn| turn.server == server && turn.said != Said::Error).collect();
    let changed = |pair: &&[&Turn]| match pair {
        [one, next] => {
            (one.said == Said::Data) != (next.said == Said::Data)
                && next.span.start.since(one.span.end) <= APART
        }
        _ => false,
    };
    own.windows(2).filter(changed).count()
}

/// The part of `legs` in which answers with data and without went back and forth between different
/// upstreams, if they did: from the first negative answer to the last, and the one before and after.
///
/// Before and after that the upstreams may well have agreed.
fn torn<'a, 'b>(legs: &'b [&'a Leg]) -> Option<&'b [&'a Leg]> {
    let negative = |leg: &&Leg| leg.fate != Fate::Data;
    let first = legs.iter().position(negative)?;
    let last = legs.iter().rposition(negative)?;
    let lack: BTreeSet<IpAddr> =
        legs.iter().filter(|leg| negative(leg)).map(|leg| leg.way.upstream).collect();
    let keeps_to_its_word = |leg: &&Leg| negative(leg) == lack.contains(&leg.way.upstream);
    if !legs[first..=last].iter().all(keeps_to_its_word) {
        return None;
    }
    let other = |at: &usize| legs.get(*at).is_some_and(keeps_to_its_word);
    let from = first.checked_sub(1).filter(other).unwrap_or(first);
    let to = Some(last + 1).filter(other).unwrap_or(last);
    let part = &legs[from..=to];
    let turns = part.windows(2).filter(|pair| match pair {
        [a, b] => {
            (a.fate == Fate::Data) != (b.fate == Fate::Data) && b.sent.ts.since(a.sent.ts) <= APART
        }
        _ => false,
    });
    (turns.count() >= 2).then_some(part)
}

fn finding(
    torn: &BTreeMap<&Question, Vec<&Leg>>,
    names: &BTreeSet<&Name>,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let legs: Vec<&Leg> = torn.values().flatten().copied().collect();
    let bad = legs.iter().filter(|leg| leg.fate != Fate::Data);
    let span = bad.map(|leg| Span::at(leg.sent.ts)).reduce(Span::join)?;
    let saying = |data: bool| -> BTreeSet<IpAddr> {
        legs.iter().filter(|l| (l.fate == Fate::Data) == data).map(|l| l.way.upstream).collect()
    };
    let (have, lack) = (saying(true), saying(false));
    let name = names.first()?;
    let negative = legs.iter().filter(|leg| leg.fate != Fate::Data).count();
    let first = torn.values().next()?;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{have} have {names}, {lack} say that there is no such name: it works by chance since \
             {start}",
            have = list(&have, 3),
            names = list(names.iter(), 2),
            lack = list(&lack, 3),
            start = clock(span.start)
        ),
        confidence: Confidence::Confirmed,
        culprits: lack
            .iter()
            .chain(&have)
            .map(|upstream| Culprit::Upstream(*upstream))
            .chain(names.iter().take(3).map(|name| Culprit::Name((*name).clone())))
            .collect(),
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: negative as u64,
        claim: Claim {
            // Clients asked before their server did.
            span: Some(span.widened(Duration::from_secs(1))),
            zones: Some(names.iter().map(|name| (*name).clone()).collect()),
            symptoms: BTreeSet::from([Symptom::NxDomain, Symptom::NoData]),
            kinds: BTreeSet::from([HarmKind::Negative, HarmKind::Failed]),
            ..Claim::default()
        },
        cause: text!(
            "The DNS pods choose among their upstreams at random and take the first answer, \
             NXDOMAIN included. Upstreams that see different zones (split horizon) must not stand \
             in one forward line. Which of them is right does not show here."
        ),
        facts: vec![
            Fact { label: text!("have the names"), value: list(&have, 4) },
            Fact { label: text!("say NXDOMAIN or no data"), value: list(&lack, 4) },
            Fact {
                label: text!("answers"),
                value: text!(
                    "{negative} negative of {legs} for these names",
                    negative,
                    legs = legs.len()
                ),
            },
            Fact { label: text!("names"), value: list(names.iter(), 5) },
        ],
        evidence: first
            .iter()
            .take(4)
            .filter_map(|leg| {
                let words = if leg.fate == Fate::Data {
                    text!("has data for")
                } else {
                    text!("has nothing for")
                };
                let summary = text!(
                    "{upstream} {words} {name}",
                    upstream = leg.way.upstream,
                    words,
                    name = leg.question.name
                );
                Some(Proof { seen: leg.replied?, summary })
            })
            .collect(),
        actions: vec![
            Action {
                why: text!("ask both"),
                command: format!(
                    "for u in {} {}; do dig @$u {name} +short; done",
                    have.first()?,
                    lack.first()?
                ),
            },
            read_the_corefile(),
            Action {
                why: text!("give the zone a forward of its own"),
                command: format!(
                    "kubectl -n kube-system edit configmap coredns   # {}:53 {{ forward . {} }}",
                    name.parent().unwrap_or_else(Name::root),
                    have.first()?
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: text!("{have} answered with data meanwhile", have = list(&have, 2)),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::CLUSTER;
    use crate::testkit::findings;

    /// `rounds` of a question to each of two upstreams, who say this.
    fn split(rounds: u32, one: &str, two: &str) -> String {
        format!(
            "{CLUSTER}repeat {rounds} every 4 from 1
             0.0   pod:20000 > core id 2 rd A db.corp.example.
             0.001 core:30000 > up id 7 rd A db.corp.example.
             0.005 core:30000 < up id 7 {one}
             0.006 pod:20000 < core id 2 {one}
             2.0   pod:20001 > core id 3 rd A db.corp.example.
             2.001 core:30001 > other id 8 rd A db.corp.example.
             2.005 core:30001 < other id 8 {two}
             2.006 pod:20001 < core id 3 {two}
             end\n"
        )
    }

    const DATA: &str = "db.corp.example. 5 A 10.9.9.9";

    #[test]
    fn one_upstream_has_the_name_and_the_other_has_not() {
        insta::assert_snapshot!(findings(&split(6, DATA, "NXDOMAIN")), @"low upstream-divergent [upstream 192.0.2.54, upstream 192.0.2.53, name db.corp.example] confirmed 10:00:03.001-10:00:23.001 6/6");
    }

    #[test]
    fn different_addresses_are_normal() {
        let text = findings(&split(6, DATA, "db.corp.example. 5 A 10.8.8.8"));
        assert!(!text.contains("divergent"), "{text}");
    }

    #[test]
    fn a_name_that_was_made_meanwhile_changes_once() {
        let before = split(3, "NXDOMAIN", "NXDOMAIN");
        let after = split(3, DATA, DATA).replace(CLUSTER, "").replace("from 1", "from 14");
        assert!(!findings(&format!("{before}{after}")).contains("divergent"));
    }

    #[test]
    fn five_negative_answers_are_enough_and_four_are_not() {
        assert!(findings(&split(5, DATA, "NXDOMAIN")).contains("divergent"));
        assert!(!findings(&split(4, DATA, "NXDOMAIN")).contains("divergent"));
    }

    #[test]
    fn an_answer_behind_the_captures_end_contradicts_nobody() {
        let text = split(6, DATA, "NXDOMAIN").replace("2.005 core:30001 < other id 8 NXDOMAIN", "");
        assert!(!findings(&text).contains("divergent"));
    }

    /// One of them loses the zone: the time before that is no part of it.
    #[test]
    fn it_begins_with_the_first_answer_that_denies_the_name() {
        let before = split(3, DATA, DATA);
        let after = split(6, DATA, "NXDOMAIN").replace(CLUSTER, "").replace("from 1", "from 14");
        let said = findings(&format!("{before}{after}"));
        assert!(said.contains("upstream-divergent [upstream 192.0.2.54, "), "{said}");
        assert!(said.contains(" 10:00:16.001-"), "{said}");
    }

    /// `core` answers from one upstream or the other, and what it asks them does not show.
    fn seen_by_clients(answers: &str) -> String {
        let mut text = String::from("pod = 10.244.0.2\ncore = 10.244.1.10\n");
        for (n, answer) in answers.chars().enumerate() {
            let port = 20_000 + n;
            let said = if answer == 'y' { "git.example.com. 5 A 203.0.113.7" } else { "NXDOMAIN" };
            text += &format!("{n}.0 pod:{port} > core id 2 rd A git.example.com.\n");
            text += &format!("{n}.01 pod:{port} < core id 2 {said}\n");
        }
        findings(&text)
    }

    #[test]
    fn a_name_that_comes_and_goes_at_one_server_is_one_of_divergent_upstreams() {
        let said = seen_by_clients("ynynnyyny");
        assert!(!said.contains("upstream-divergent"), "four denials: {said}");
        let said = seen_by_clients("ynynnyynyny");
        assert!(said.contains(" upstream-divergent [name git.example.com"), "{said}");
    }

    #[test]
    fn a_name_that_is_made_or_removed_changes_once_and_one_that_was_gone_twice() {
        for answers in ["nnnnnnnyyyyyyy", "yyyyyyynnnnnnn", "yyyyynnnnnnnyyyyy"] {
            let said = seen_by_clients(answers);
            assert!(!said.contains("upstream-divergent"), "{said}");
        }
    }

    #[test]
    fn a_name_that_was_there_for_a_while_before_it_comes_and_goes() {
        let said = seen_by_clients(&format!("{}{}", "y".repeat(30), "ynnynyynnyny"));
        assert!(said.contains(" upstream-divergent [name git.example.com"), "{said}");
        assert!(said.contains(" 10:00:31.010-"), "{said}");
    }
}
