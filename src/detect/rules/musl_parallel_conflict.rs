//! musl asked two servers at once, and the one that knew nothing answered first.
//!
//! **Signature.** One socket sends the same question with the same id to two or more servers
//! within 5 ms, which only musl does. One server says that there is no such name or record,
//! another one has data; the negative answer comes first, and the lookup finds nothing under any later
//! candidate of its search list either. Or the name exists nowhere, one server says so, and another one
//! answers sooner that it has no such record: that ends musl's search, while a later candidate has data.
//!
//! **Needs.** The client's own queries and answers to all of its servers, of two lookups.
//!
//! **Not this.** The two legs of one translated query: those are one datagram. Servers that agree.
//! Data that comes first: musl takes it. A later candidate of the search list that succeeded. An empty
//! answer under a suffix for a name that nobody ever resolves.
//!
//! **Cannot tell.** Which of the servers is right about the name.
//!
//! Source: rulebook 2.D and section 3; musl `src/network/res_msend.c` (measured: V18).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::hash_map::Entry;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Map, Purge, SocketId, Span, Timestamp, entry_within};
use crate::capture::Seen;
use crate::detect::{
    Action, AskedName, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Harmed, Interest, Layer, Proof, RuledOut, Scene, Where, Which,
};
use crate::dns::{AnswerKind, Name, Question, RecordType};
use crate::lookup::{Lookup, LookupOutcome, Step};

/// Lookups that must have failed (rulebook 7.6).
const ENOUGH: usize = 2;
/// Parallel questions leave within this (rulebook 2.D).
const AT_ONCE: Duration = Duration::from_millis(5);
/// Questions that wait for their other half, which was sent within 5 ms.
const MAX_OPEN: usize = 4_096;
/// Suffixes of search lists.
const MAX_SUFFIXES: usize = 256;
/// Lookups kept one by one.
const MAX_LOOKUPS: usize = 20_000;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "musl-parallel-conflict",
    title: "the first negative answer of several servers won",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "musl src/network/res_msend.c"],
    source: include_str!("musl_parallel_conflict.rs"),
    new: || Box::<MuslParallelConflict>::default(),
};

/// A transaction that may be one half of a parallel question.
#[derive(Clone)]
struct Half {
    server: SocketId,
    responder: IpAddr,
    sent: Timestamp,
    answered: Seen,
    said: Said,
    /// The lookup, if it found nothing, as far as this server's answers go.
    denied: Option<Box<Denied>>,
}

/// What a server said of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Data,
    NoData,
    NoName,
    Other,
}

impl Said {
    fn of(kind: AnswerKind) -> Self {
        match kind {
            AnswerKind::Positive => Self::Data,
            AnswerKind::NoData => Self::NoData,
            AnswerKind::NxDomain => Self::NoName,
            _ => Self::Other,
        }
    }
}

/// A lookup that found nothing.
#[derive(Clone)]
struct Denied {
    lookup: Harmed,
    /// The candidate that was denied, and whether it was the last one.
    asked: Question,
    last: bool,
}

/// What makes two transactions one parallel question: socket, id, the digest of the name, type.
type Key = (SocketId, u16, u64, RecordType);

/// Bounded by [`MAX_OPEN`], [`MAX_SUFFIXES`] and [`MAX_LOOKUPS`].
#[derive(Default)]
struct MuslParallelConflict {
    open: Map<Key, Half>,
    purge: Purge,
    /// By the server that denied.
    conflicts: BTreeMap<IpAddr, Conflicts>,
    /// Searches that an empty answer ended, each with both answers.
    stopped: Vec<(Half, Half)>,
    /// Suffixes that musl's lookups went through.
    suffixes: BTreeSet<Name>,
    kept: usize,
}

#[derive(Default)]
struct Conflicts {
    wrong: BTreeMap<(Seen, IpAddr), Harmed>,
    span: Option<Span>,
    /// The denial, and what came too late and from whom.
    frames: Vec<(Seen, Seen, IpAddr)>,
    names: BTreeSet<Name>,
    /// The first question of which one knew what the other one denied: `dig` goes through no search list.
    example: Option<Question>,
    clients: BTreeSet<IpAddr>,
    /// The servers that knew, for one of a list may be a service with several behind it.
    known: BTreeSet<IpAddr>,
    /// The servers that said that there is no such name, where an empty answer came first.
    let_go: BTreeSet<IpAddr>,
    /// The empty answer, and what came too late and from whom.
    ends: Vec<(Seen, Seen, IpAddr)>,
    /// Of the lookups, those whose search an empty answer ended.
    stopped: u64,
}

impl Detector for MuslParallelConflict {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let Some(end) = lookup.end else { return };
        // Nothing that is yet to come was sent before this lookup began.
        let now = lookup.start.ts;
        self.purge.make_room(&mut self.open, MAX_OPEN, (now, AT_ONCE), |_, half| {
            now.since(half.sent) <= AT_ONCE
        });
        let several = asks_several(lookup);
        let rounds = lookup.rounds().count();
        for (at, round) in lookup.rounds().enumerate() {
            let last = at + 1 == rounds;
            if !last && !several {
                continue;
            }
            // What came first of another family may have been data.
            let failed = lookup.outcome == LookupOutcome::Negative
                || (last && several && !has_data_first(round));
            for step in round {
                let Some(asked) = step.transaction() else { continue };
                let Some(answer) = asked.answer() else { continue };
                let question = &asked.question;
                let said = Said::of(answer.kind);
                let denied = failed && matches!(said, Said::NoData | Said::NoName);
                let half = Half {
                    server: asked.server.into(),
                    responder: asked.responder(),
                    sent: asked.first().ts,
                    answered: answer.delivered(),
                    said,
                    denied: denied.then(|| {
                        let (lookup, asked) = (Harmed::wrong(lookup, end), question.clone());
                        Box::new(Denied { lookup, asked, last })
                    }),
                };
                let key = (asked.client.into(), asked.id, question.name.digest(), question.rtype);
                if self.take(key, half) {
                    self.learn(lookup);
                }
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Self { mut conflicts, stopped, suffixes, .. } = *self;
        for (no, other) in stopped {
            if let Some(denied) = no.denied.as_deref()
                && has_elsewhere(&denied.asked.name, &suffixes, scene)
            {
                conflicts.entry(no.responder).or_default().note(denied, (&no, &other));
            }
        }
        conflicts
            .into_iter()
            .filter(|(_, conflicts)| conflicts.wrong.len() >= ENOUGH)
            .filter_map(|(denied, conflicts)| finding(denied, conflicts, scene))
            .collect()
    }
}

/// Whether a lookup asked more than one server.
fn asks_several(lookup: &Lookup) -> bool {
    let mut servers = lookup.transactions().map(|asked| asked.server.ip());
    let first = servers.next();
    servers.any(|server| Some(server) != first)
}

/// Whether the answer that came first for one of the families asked here was data.
fn has_data_first(round: &[Step]) -> bool {
    let answers = || {
        let asked = round.iter().filter_map(Step::transaction);
        asked.filter_map(|asked| Some((asked.question.rtype, asked.answer()?)))
    };
    answers().any(|(rtype, answer)| {
        let others = || answers().filter(|(other, _)| *other == rtype);
        answer.kind == AnswerKind::Positive
            && others().all(|(_, other)| answer.delivered() <= other.delivered())
    })
}

/// Whether what was asked for under one of these suffixes is there under another one, or as it is.
fn has_elsewhere(asked: &Name, suffixes: &BTreeSet<Name>, scene: &Scene<'_>) -> bool {
    let resolves = |name: &Name| scene.answers.name(name).is_some_and(AskedName::resolves);
    let meant = suffixes.iter().filter_map(|suffix| asked.strip_suffix(suffix));
    meant.into_iter().any(|own| {
        resolves(&own)
            || suffixes.iter().filter_map(|suffix| own.under(suffix)).any(|name| resolves(&name))
    })
}

impl MuslParallelConflict {
    /// Learns the search list of a lookup that asked two servers at once.
    fn learn(&mut self, lookup: &Lookup) {
        for suffix in lookup.suffixes.iter().flatten() {
            if self.suffixes.len() < MAX_SUFFIXES && !self.suffixes.contains(suffix) {
                self.suffixes.insert(suffix.clone());
            }
        }
    }

    /// Holds one half against the other, or keeps it until the other one comes; says whether it had come.
    fn take(&mut self, key: Key, half: Half) -> bool {
        let mut known = match entry_within(&mut self.open, key, MAX_OPEN) {
            Some(Entry::Occupied(known)) => known,
            Some(Entry::Vacant(place)) => {
                place.insert(half);
                return false;
            }
            None => return false,
        };
        let other = known.get();
        if other.server == half.server || other.sent.distance(half.sent) > AT_ONCE {
            known.insert(half);
            return false;
        }
        let other = other.clone();
        let (no, other) =
            if half.answered < other.answered { (half, other) } else { (other, half) };
        self.conflict(no, other);
        true
    }

    /// Takes down the answer that came first, if it denied what the `other` one knew, or ended a search
    /// that the other one would have let go on.
    fn conflict(&mut self, no: Half, other: Half) {
        let Some(denied) = no.denied.as_deref().filter(|_| self.kept < MAX_LOOKUPS) else { return };
        match (no.said, other.said) {
            (_, Said::Data) => {
                self.conflicts.entry(no.responder).or_default().note(denied, (&no, &other));
            }
            (Said::NoData, Said::NoName) if denied.last => self.stopped.push((no, other)),
            _ => return,
        }
        self.kept += 1;
    }
}

impl Conflicts {
    fn note(&mut self, denied: &Denied, (no, other): (&Half, &Half)) {
        let lookup = &denied.lookup;
        let at = no.answered.ts;
        self.span = Some(self.span.map_or(Span::at(at), |span| span.with(at)));
        self.names.insert(lookup.name.clone());
        self.clients.insert(lookup.client);
        let is_new = self.wrong.insert((lookup.start, lookup.client), lookup.clone()).is_none();
        // One that was known is a plainer example than a search that ended.
        if self.example.is_none() || self.known.is_empty() && other.said == Said::Data {
            self.example = Some(denied.asked.clone());
        }
        if other.said == Said::Data {
            self.known.insert(other.responder);
            if self.frames.len() < 4 {
                self.frames.push((no.answered, other.answered, other.responder));
            }
        } else {
            self.stopped += u64::from(is_new);
            self.let_go.insert(other.responder);
            if self.ends.len() < 2 {
                self.ends.push((no.answered, other.answered, other.responder));
            }
        }
    }
}

fn finding(denied: IpAddr, conflicts: Conflicts, scene: &Scene<'_>) -> Option<Finding> {
    let span = conflicts.span?;
    let knew = conflicts.known.first().is_some();
    let known = list(if knew { &conflicts.known } else { &conflicts.let_go }, 3);
    let example = conflicts.known.first().or(conflicts.let_go.first())?;
    let lookups = conflicts.wrong.len() as u64;
    let Question { name, rtype, .. } = conflicts.example?;
    let failed = count(lookups, "lookup");
    let (start, end) = (clock(span.start), clock(span.end));
    let title = if knew {
        text!(
            "musl took the first answer of two servers: {denied} denied what {known} knew, and \
             {lookups} failed from {start} to {end}",
            denied,
            known,
            lookups = failed,
            start,
            end
        )
    } else {
        text!(
            "musl took the first answer of two servers: an empty one of {denied} ended searches that \
             {known} would have let go on, and {lookups} failed from {start} to {end}",
            denied,
            known,
            lookups = failed,
            start,
            end
        )
    };
    let ends = conflicts.ends.into_iter().flat_map(|(no, other, known)| {
        [
            Proof { seen: no, summary: text!("{denied} has no such record", denied) },
            Proof { seen: other, summary: text!("{known} has no such name, too late", known) },
        ]
    });
    let mut facts = vec![
        Fact { label: text!("lookups that failed"), value: plain(lookups) },
        Fact { label: text!("clients"), value: list(&conflicts.clients, 4) },
        Fact { label: text!("names"), value: list(&conflicts.names, 4) },
    ];
    if conflicts.stopped > 0 {
        facts.push(Fact {
            label: text!("searches that an empty answer ended"),
            value: plain(conflicts.stopped),
        });
    }
    Some(Finding {
        rule: &DETECTOR,
        title,
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(denied)],
        place: Where::ClientNode,
        span,
        ongoing: scene.lasts(span),
        transactions: lookups,
        claim: Claim { wrong: conflicts.wrong, ..Claim::default() },
        cause: if knew {
            text!(
                "musl asks every nameserver of resolv.conf at the same time and believes the first \
                 one that answers at all. {denied} denied what {known} knew, and answered sooner.",
                denied,
                known
            )
        } else {
            text!(
                "musl asks every nameserver of resolv.conf at the same time and believes the first \
                 one that answers at all. {denied} said sooner that there is no such record, which \
                 ends a search, and {known} that there is no such name, which does not.",
                denied,
                known
            )
        },
        facts,
        evidence: conflicts
            .frames
            .into_iter()
            .flat_map(|(no, yes, known)| {
                [
                    Proof { seen: no, summary: text!("{denied} denies it", denied) },
                    Proof { seen: yes, summary: text!("{known} knows it, too late", known) },
                ]
            })
            .chain(ends)
            .collect(),
        actions: vec![
            Action {
                why: text!("compare the two servers"),
                command: format!("dig @{denied} {name} {rtype}; dig @{example} {name} {rtype}"),
            },
            Action {
                why: text!("give musl images a single nameserver, or use a glibc image"),
                command: format!(
                    "kubectl get pods -A -o wide | grep -wF {}; kubectl exec POD -- cat \
                     /etc/resolv.conf",
                    conflicts.clients.first()?
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: if knew {
                text!("the same question got data from {known}", known)
            } else {
                text!("a later candidate of the search list has data")
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, findings, findings_until};

    /// The same question to two servers at once; the answers come after `one` and `two` ms.
    fn scenario(times: usize, one: u32, two: u32, denial: &str) -> String {
        let name = "git.corp.example.";
        format!(
            "pod = 10.0.0.5\nlocal = 10.96.0.10\ncorp = 192.0.2.53\nrepeat {times} every 1\n\
             0.0000 pod:40000 > local id 1a rd A {name}\n\
             0.0001 pod:40000 > corp id 1a rd A {name}\n\
             0.{one:03} pod:40000 < local id 1a {denial}\n\
             0.{two:03} pod:40000 < corp id 1a {name} 60 A 192.0.2.80\nend\n"
        )
    }

    #[test]
    fn a_denial_overtakes_the_data() {
        insta::assert_snapshot!(findings(&scenario(2, 1, 5, "NXDOMAIN")), @"low musl-parallel-conflict [backend 10.96.0.10] confirmed 10:00:00.001-10:00:01.001 2/2");
    }

    #[test]
    fn one_lookup_is_too_few() {
        insta::assert_snapshot!(findings(&scenario(1, 1, 5, "NXDOMAIN")), @"quiet");
    }

    #[test]
    fn data_that_comes_first_is_taken() {
        insta::assert_snapshot!(findings(&scenario(5, 5, 1, "NXDOMAIN")), @"quiet");
    }

    #[test]
    fn servers_that_agree_are_no_conflict() {
        let same = "git.corp.example. 60 A 192.0.2.80";
        insta::assert_snapshot!(findings(&scenario(5, 1, 5, same)), @"quiet");
    }

    #[test]
    fn without_the_second_answer_there_is_no_conflict_to_see() {
        let text = scenario(5, 1, 5, "NXDOMAIN").replace("192.0.2.80", "192.0.2.80 lost");
        assert!(!findings(&text).contains("musl"));
    }

    #[test]
    fn a_capture_that_ends_before_the_second_answer_says_nothing() {
        assert_eq!(findings_until(&scenario(2, 1, 5, "NXDOMAIN"), 1.003), "quiet\n");
    }

    /// The second server denies names of the cluster sooner than the cluster's service knows them, and
    /// musl goes on to the next suffix.
    fn cluster_names(third: &str) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\ncorp = 172.16.5.53\n");
        for second in 0..4_u32 {
            let name = format!("s{second}.shop");
            for (at, suffix) in ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
                .into_iter()
                .enumerate()
            {
                let (ms, port) = (at * 6, 40_000 + at);
                let known = match at {
                    0 => "aa NXDOMAIN".to_owned(),
                    1 => format!("aa {name}.{suffix}. 60 A 10.96.0.2{second}"),
                    _ => third.replace("NAME", &format!("{name}.{suffix}.")),
                };
                text += &format!(
                    "{second}.{ms:03}0 pod:{port} > dns id 1{at} rd A {name}.{suffix}.\n\
                     {second}.{ms:03}1 pod:{port} > corp id 1{at} rd A {name}.{suffix}.\n\
                     {second}.{:03}0 pod:{port} < corp id 1{at} NXDOMAIN\n\
                     {second}.{:03}0 pod:{port} < dns id 1{at} {known}\n",
                    ms + 3,
                    ms + 5,
                );
            }
        }
        text
    }

    #[test]
    fn a_denial_of_an_earlier_candidate_counts_where_no_later_one_is_there() {
        let said = findings(&cluster_names("aa NXDOMAIN"));
        let want =
            "musl-parallel-conflict [backend 172.16.5.53] confirmed 10:00:00.009-10:00:03.009 4/4";
        assert!(said.contains(want), "{said}");
        assert!(!said.contains("coredns-unsynced") && !said.contains("bypasses"), "{said}");
        // What a later candidate found was not lost.
        let found = cluster_names("aa NAME 60 A 10.96.0.9")
            .replace("corp id 12 NXDOMAIN", "corp id 12 lost");
        assert!(!findings(&found).contains("musl-parallel"), "{}", findings(&found));
    }

    /// The second server has the name, but no address, and the search ends there.
    #[test]
    fn an_empty_answer_ends_a_search_that_would_have_found_the_name() {
        let text =
            cluster_names("aa NXDOMAIN").replace("< corp id 10 NXDOMAIN", "< corp id 10 NOERROR");
        let stopped: String = text
            .lines()
            .filter(|line| line.starts_with(['p', 'd', 'c', '0']) || line.contains("id 10 "))
            .map(|line| format!("{line}\n"))
            .collect();
        let found =
            stopped.replace("0.0090", "0.0120").replacen("id 10 NOERROR", "id 10 NXDOMAIN", 1);
        let others: String = (1..4)
            .map(|second| {
                format!(
                    "{second}.5 other > dns id 77 rd A s{second}.shop.svc.cluster.local.\n\
                     {second}.501 other < dns id 77 aa s{second}.shop.svc.cluster.local. 60 A 10.96.0.20\n"
                )
            })
            .collect();
        let said = findings(&format!("{found}other = 10.244.0.3\n{others}"));
        assert!(said.contains("musl-parallel-conflict [backend 172.16.5.53]"), "{said}");
        assert!(said.contains("3/3"), "{said}");
        // Nobody knows the names.
        assert!(!findings(&found).contains("musl-parallel"), "{}", findings(&found));
    }

    /// The other server of the list is a service with two backends.
    #[test]
    fn one_denier_is_one_finding_whoever_knew() {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\ncorp = 192.0.2.53\n",
        );
        for round in 0..12_u32 {
            let (port, via) = (40_000 + round, 1 + round % 2);
            let name = format!("s{round}.default.svc.cluster.local.");
            text += &format!(
                "{round}.0000 pod:{port} > kube-dns via dns{via} id 1a rd A {name}\n\
                 {round}.0001 pod:{port} > corp id 1a rd A {name}\n\
                 {round}.001 pod:{port} < corp id 1a NXDOMAIN\n\
                 {round}.005 pod:{port} < kube-dns via dns{via} id 1a aa {name} 60 A 10.96.0.20\n"
            );
        }
        let said = findings(&text);
        assert_eq!(said.matches("musl-parallel-conflict [").count(), 1, "{said}");
        assert!(!said.contains("coredns-unsynced"), "{said}");
    }

    /// `dig` goes through no search list.
    #[test]
    fn the_two_are_asked_what_one_denied_and_the_other_knew() {
        let text =
            scenario(2, 1, 5, "NXDOMAIN").replace("A git.corp.example.", "AAAA git.corp.example.");
        let text = text.replace("60 A 192.0.2.80", "60 AAAA 2001:db8::80");
        let found = analyse(&text.replace("60 AAAA git", "60 A git")).incidents;
        let first = found.first().and_then(|one| one.cause.actions.first()).expect("an action");
        assert_eq!(
            first.command,
            "dig @10.96.0.10 git.corp.example AAAA; dig @192.0.2.53 git.corp.example AAAA"
        );
    }
}
