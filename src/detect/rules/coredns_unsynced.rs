//! One replica of the cluster DNS serves the cluster zone without the API server's data.
//!
//! **Signature.** One replica answers three or more names of the cluster zone with SERVFAIL, or
//! denies three or more that other replicas have addresses for, and has no address for any
//! cluster name in that window; names outside the cluster it resolves as usual. It often begins
//! right after its start, which the loop plugin's HINFO probe marks.
//!
//! **Needs.** The replicas' own addresses: the query after translation. Another replica that
//! answers cluster names; or, for SERVFAIL, the probe of a start up to half a minute before it and
//! outside names that it answers meanwhile.
//!
//! **Not this.** SERVFAIL for outside names in the same window comes from the upstream or the whole process
//! (`upstream-servfail`, `upstream-timeout`). One or two names that differ are
//! `replica-divergence`. A second nameserver that clients ask at the same time as the cluster's service
//! is no replica of it (`musl-parallel-conflict`).
//!
//! **Cannot tell.** Why the replica has no data: the API server may be out of its reach, its
//! permissions wrong, or kube-proxy on its node not ready.
//!
//! Source: rulebook 2.F, K8, K9; coredns/coredns `plugin/kubernetes` ("not synced" is SERVFAIL).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Span, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Answer, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Harmed, Inquiry, Interest, Layer, Proof, RuledOut, Said, Scene, Symptom, Tally, Told,
    Turn, Where, Which,
};
use crate::dns::{Name, Rcode, RecordType};
use crate::transaction::Transaction;

/// Names without an answer: one or two may be missing for reasons of their own.
const ENOUGH: usize = 3;
/// Lookups that must have failed (rulebook 7.6).
const LOOKUPS: u64 = 3;
/// Answers with addresses that it must have given meanwhile, had it known the names: so few are none by
/// chance once in a hundred times.
const MISSED: f64 = 4.6;
/// It is without data for as long after its start, or was asked for nothing else.
const STARTING: Duration = Duration::from_secs(30);
/// Servers whose start is remembered.
const MAX_STARTS: usize = 1_024;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "coredns-unsynced",
    title: "a replica has no data of the API server",
    class: Class::Failure,
    layer: Layer::Data,
    references: &["rulebook 2.F", "coredns plugin/kubernetes"],
    source: include_str!("coredns_unsynced.rs"),
    new: || Box::<CorednsUnsynced>::default(),
};

/// Bounded by [`MAX_STARTS`].
#[derive(Default)]
struct CorednsUnsynced {
    starts: BTreeMap<IpAddr, Timestamp>,
}

/// What one server said of cluster names.
#[derive(Default)]
struct Replica<'a> {
    failed: Tally,
    failed_names: BTreeSet<&'a Name>,
    denied: Tally,
    denied_names: BTreeSet<&'a Name>,
    known: Vec<(&'a Name, &'a Told)>,
    /// What it said of names outside the cluster.
    outside: Vec<Turn>,
}

impl Replica<'_> {
    /// How many questions for outside names it answered in `span`, and how many it failed.
    fn outside(&self, span: Span) -> (u64, u64) {
        let (mut answered, mut failed) = (0, 0);
        for Turn { span: turn, times, said, .. } in &self.outside {
            if !turn.overlaps(span) {
                continue;
            }
            // As many as fall into it if they are spread evenly.
            let within = turn.end.min(span.end).since(turn.start.max(span.start)).as_nanos();
            let (times, all) = (u128::from(*times), turn.length().as_nanos());
            let times = if within < all { (times * within + all / 2) / all } else { times };
            let times = u64::try_from(times).unwrap_or(u64::MAX);
            match said {
                Said::Data | Said::NoData => answered += times,
                Said::Error => failed += times,
                Said::NoName => {}
            }
        }
        (answered, failed)
    }

    /// Whether it gave addresses in `span`, in which it did not know `lost`.
    ///
    /// Of an answer that came often, the first few times and the last are known; the others were spread
    /// over the time between, as likely before and after as within.
    fn knows_names(&self, span: Span, lost: &BTreeSet<&Name>) -> bool {
        let mut expected = 0.0;
        for (name, told) in &self.known {
            let within = |seen: Seen| span.contains(seen.ts);
            if told.frames().any(within) || span.contains(told.span.end) {
                return true;
            }
            let Some(last) = told.frames().last() else { continue };
            let rest = told.times().saturating_sub(told.frames().count() as u64);
            let around = last.ts < span.start && told.span.end > span.end;
            if around && !lost.contains(name) {
                let share =
                    span.length().as_secs_f64() / told.span.end.since(last.ts).as_secs_f64();
                expected += rest as f64 * share;
            }
        }
        expected >= MISSED
    }
}

impl Detector for CorednsUnsynced {
    fn interest(&self) -> Interest {
        Interest::new(Which::Unusual, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        let probe = transaction.question.rtype == RecordType::HINFO;
        if probe && transaction.is_infrastructure() && self.starts.len() < MAX_STARTS {
            self.starts.entry(transaction.client.ip()).or_insert(transaction.first().ts);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut replicas: BTreeMap<IpAddr, Replica<'_>> = BTreeMap::new();
        for Inquiry { name, asked, place, .. } in scene.answers.all() {
            let (inside, cluster) = (place.is_service(), place.in_cluster);
            if !cluster {
                for turn in asked.turns() {
                    replicas.entry(turn.server).or_default().outside.push(turn);
                }
                continue;
            }
            for ((server, answer), told) in asked.told.iter() {
                let replica = replicas.entry(*server).or_default();
                match answer {
                    Answer::Data(_) if inside => replica.known.push((name, told)),
                    Answer::Error(Rcode::SERVFAIL) => {
                        replica.failed.add(*server, told);
                        replica.failed_names.insert(name);
                    }
                    Answer::NoName if inside => {
                        let elsewhere = asked.told.keys().any(|(other, said)| {
                            other != server
                                && said.is_data()
                                && replicas_of_one(*server, *other, scene)
                        });
                        if elsewhere {
                            replica.denied.add(*server, told);
                            replica.denied_names.insert(name);
                        }
                    }
                    _ => {}
                }
            }
        }
        let knowing: BTreeSet<IpAddr> = replicas
            .iter()
            .filter(|(_, replica)| !replica.known.is_empty())
            .map(|(server, _)| *server)
            .collect();
        replicas
            .iter()
            .filter_map(|(server, replica)| {
                let others: Vec<IpAddr> = knowing
                    .iter()
                    .copied()
                    .filter(|other| other != server && scene.may_be_replicas(*server, *other))
                    .collect();
                finding(*server, replica, &others, self.starts.get(server).copied(), scene)
            })
            .collect()
    }
}

/// Whether two servers may stand behind one service: not one that clients ask by its own address while the
/// capture shows behind which service the other stands.
fn replicas_of_one(server: IpAddr, other: IpAddr, scene: &Scene<'_>) -> bool {
    let of_service = |address| scene.nat.is_backend(address) || scene.nat.is_service(address);
    scene.may_be_replicas(server, other) && of_service(server) == of_service(other)
}

fn finding(
    server: IpAddr,
    replica: &Replica<'_>,
    others: &[IpAddr],
    start: Option<Timestamp>,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let servfail = replica.failed_names.len() >= ENOUGH;
    let (bad, names) = if servfail {
        (&replica.failed, &replica.failed_names)
    } else {
        (&replica.denied, &replica.denied_names)
    };
    let span = bad.span.filter(|_| names.len() >= ENOUGH && bad.ended >= LOOKUPS)?;
    let knows = replica.knows_names(span, names);
    let (outside_ok, outside_failed) = replica.outside(span);
    let upstream = outside_failed > 0 && outside_failed >= outside_ok;
    let fresh = start.is_some_and(|start| span.start.distance(start) <= STARTING);
    let alone = others.is_empty() && !(servfail && fresh && outside_ok > 0);
    if alone || knows || upstream {
        return None;
    }
    let word = plain(if servfail { Rcode::SERVFAIL } else { Rcode::NXDOMAIN });
    let started = start.filter(|start| *start <= span.end);
    let wrong = if servfail { BTreeMap::new() } else { denied_wrongly(server, scene) };
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "replica {server} answered {word} for {names} of the cluster zone from {start} to \
             {end}, as if it had no data of the API server",
            server,
            word,
            names = count(names.len() as u64, "name"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Likely,
        culprits: vec![Culprit::Backend(server)],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: bad.times,
        claim: Claim {
            span: Some(span.widened(Duration::from_secs(1))),
            servers: Some(BTreeSet::from([server])),
            zones: Some(scene.answers.zones.zones()),
            symptoms: BTreeSet::from([Symptom::Error(Rcode::SERVFAIL)]),
            kinds: BTreeSet::from([HarmKind::Failed, HarmKind::Slow]),
            wrong,
            ..Claim::default()
        },
        cause: if others.is_empty() {
            text!(
                "{server} runs and answers names outside the cluster, but knew no name of the cluster \
             after its start. CoreDNS says so until its first synchronisation with the API server \
             is complete: the API server is out of its reach, or its permissions are wrong.",
                server
            )
        } else {
            text!(
                "{server} runs and answers, but knew no name of the cluster while {others} did. \
             CoreDNS says so until its first synchronisation with the API server is complete: the \
             API server is out of its reach, or its permissions are wrong.",
                server,
                others = list(others, 3)
            )
        },
        facts: vec![
            Fact { label: text!("names that it did not know"), value: list(names, 4) },
            Fact {
                label: text!("answers"),
                value: text!(
                    "{word} {times}, addresses for cluster names 0",
                    word,
                    times = count(bad.times, "time")
                ),
            },
            Fact {
                label: text!("names outside the cluster"),
                value: text!(
                    "{outside_ok} answered, {outside_failed} failed",
                    outside_ok,
                    outside_failed
                ),
            },
            Fact {
                label: text!("start of the process"),
                value: started.map_or_else(
                    || text!("no loop probe in this capture"),
                    |at| text!("loop probe (HINFO) at {at}", at = clock(at)),
                ),
            },
        ],
        evidence: bad
            .frames
            .iter()
            .map(|seen| Proof { seen: *seen, summary: text!("{word} from {server}", word, server) })
            .collect(),
        actions: actions(server),
        ruled_out: vec![RuledOut {
            rule: "upstream-servfail",
            because: text!(
                "cluster names are answered from memory; outside names: {outside_ok} answered, \
                 {outside_failed} failed",
                outside_ok,
                outside_failed
            ),
        }],
    })
}

/// Lookups that ended because this server denied what another one knows.
fn denied_wrongly(server: IpAddr, scene: &Scene<'_>) -> BTreeMap<(Seen, IpAddr), Harmed> {
    let mut wrong = BTreeMap::new();
    for Inquiry { asked, .. } in scene.answers.all() {
        let elsewhere = asked.told.keys().any(|(other, said)| *other != server && said.is_data());
        if let Some(denied) = asked.told.get(&(server, Answer::NoName)).filter(|_| elsewhere) {
            wrong.extend(scene.answers.wronged(denied));
        }
    }
    wrong
}

fn actions(server: IpAddr) -> Vec<Action> {
    vec![
        Action {
            why: text!("read what {server} says about the API server", server),
            command: format!(
                "kubectl -n kube-system logs $(kubectl -n kube-system get pods -o wide | grep -wF \
                 {server} | awk '{{print $1}}') | grep -iE 'kubernetes|reflector'"
            ),
        },
        Action {
            why: text!("reach the API server from that pod's network"),
            command: "nsenter -t <pid of coredns> -n curl -k https://$(kubectl get service \
                      kubernetes -o jsonpath='{.spec.clusterIP}')/healthz"
                .to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Three names at both replicas, in `rounds`; the first replica says `bad` to all of them.
    fn scenario(rounds: usize, names: &[&str], bad: &str, outside: &str) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        let mut port = 40_000;
        let mut say = |at: f64, via: &str, name: &str, answer: &str| {
            port += 8;
            text.extend([format!(
                "{at:.3} pod:{port} > kube-dns via {via} rd A {name}\n\
                 {:.3} pod:{port} < kube-dns via {via} {answer}\n",
                at + 0.001
            )]);
        };
        for round in 0..rounds {
            let at = round as f64 * 10.0;
            for (index, name) in names.iter().enumerate() {
                let name = format!("{name}.default.svc.cluster.local.");
                let index = index as f64;
                say(at + index, "dns1", &name, bad);
                say(at + index + 0.5, "dns2", &name, &format!("aa {name} 5 A 10.96.0.7"));
            }
            say(at + 8.0, "dns1", "www.example.com.", outside);
        }
        text
    }
    const OUT: &str = "www.example.com. 60 A 203.0.113.5";

    #[test]
    fn a_replica_fails_for_cluster_names_alone() {
        insta::assert_snapshot!(findings(&scenario(1, &["a", "b", "c"], "SERVFAIL", OUT)), @"low coredns-unsynced [backend 10.244.1.10] likely 10:00:00.001-10:00:02.001 3/3");
    }

    #[test]
    fn a_replica_denies_what_the_other_knows() {
        insta::assert_snapshot!(findings(&scenario(2, &["a", "b", "c"], "NXDOMAIN", OUT)), @"low coredns-unsynced [backend 10.244.1.10] likely 10:00:00.001-10:00:12.001 6/6");
    }

    #[test]
    fn two_names_are_too_few() {
        assert!(!findings(&scenario(3, &["a", "b"], "SERVFAIL", OUT)).contains("unsynced"));
    }

    #[test]
    fn a_replica_that_fails_for_outside_names_too_has_another_trouble() {
        let text = scenario(2, &["a", "b", "c"], "SERVFAIL", "SERVFAIL");
        assert!(!findings(&text).contains("unsynced"));
    }

    #[test]
    fn answers_that_the_capture_missed_prove_nothing() {
        let text = scenario(2, &["a", "b", "c"], "SERVFAIL lost", OUT);
        assert!(!findings(&text).contains("unsynced"));
    }

    /// It knew them before, and does again: what counts is that it knew none meanwhile.
    #[test]
    fn a_replica_loses_its_data_for_a_while() {
        let known = |from: u16, to: u16, text: &mut String| {
            let mut port = 50_000 + from * 8;
            let mut at = f64::from(from);
            while at < f64::from(to) {
                for name in ["a", "b", "c", "d"] {
                    port += 1;
                    let name = format!("{name}.default.svc.cluster.local.");
                    text.extend([format!(
                        "{at:.3} pod:{port} > kube-dns via dns1 rd A {name}\n{:.3} pod:{port} < \
                         kube-dns via dns1 aa {name} 5 A 10.96.0.7\n",
                        at + 0.001
                    )]);
                    at += 1.0;
                }
            }
        };
        let lost = scenario(3, &["a", "b", "c"], "SERVFAIL", OUT);
        let (head, lost) = lost.split_once("pod = 10.244.0.2\n").unwrap();
        let mut text = format!("{head}pod = 10.244.0.2\n");
        known(0, 40, &mut text);
        for line in lost.lines() {
            let (at, words) = line.split_once(' ').unwrap();
            text.extend([format!("{:.3} {words}\n", at.parse::<f64>().unwrap() + 50.0)]);
        }
        known(90, 130, &mut text);
        let said = findings(&text);
        assert!(said.contains(" coredns-unsynced [backend 10.244.1.10] likely"), "{said}");
        // It went on knowing another name all the time.
        let mut also = String::new();
        known(52, 53, &mut also);
        let first = also.lines().take(2).map(|line| line.replace("52.", "53.")).collect::<Vec<_>>();
        let at = text.find("54.000").or(text.find("58.000")).unwrap();
        text.insert_str(at, &format!("{}\n", first.join("\n").replace("a.default", "e.default")));
        let said = findings(&text);
        assert!(!said.contains("unsynced ["), "{said}");
    }

    #[test]
    fn outside_names_that_fail_meanwhile_are_what_counts() {
        let mut text = scenario(2, &["a", "b", "c"], "SERVFAIL", "SERVFAIL");
        for second in 30..90 {
            let port = 60_000 + second;
            text += &format!("{second}.0 pod:{port} > kube-dns via dns1 rd A www.example.com.\n");
            text += &format!("{second}.001 pod:{port} < kube-dns via dns1 {OUT}\n");
        }
        let said = findings(&text);
        assert!(!said.contains("unsynced"), "{said}");
    }

    #[test]
    fn a_server_without_a_peer_needs_its_start_to_show() {
        let text = scenario(2, &["a", "b", "c"], "SERVFAIL", OUT);
        let own = text.lines().filter(|line| !line.contains("via dns2"));
        let text: Vec<&str> = own.collect();
        let said = findings(&format!("{}\n", text.join("\n")));
        assert!(!said.contains("unsynced"), "{said}");
    }
}
