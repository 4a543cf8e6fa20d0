//! A client's own node loses good answers, or hands them over too late.
//!
//! **Signature.** Answers reach the node in time but are never seen on the client's own interface,
//! where answers usually are, and the client repeats the query on its timer, as Go does from a new
//! socket; or they are delivered, and it repeats it all the same while copies of one packet lie far
//! apart on the way through the node. Clients of other nodes are fine with the same servers.
//!
//! **Needs.** At least five such answers, and the node's interfaces one by one (`-i any`).
//!
//! **Not this.** Answers addressed to another host, from another source, or to a closed socket are
//! rules of their own. If queries are lost as well, the way is bad (`lossy-path`). A and AAAA with
//! one id are `glibc-id-collision`; glibc repeats an answered type beside one that was lost.
//!
//! **Cannot tell.** Whether CPU, CFS throttling, softirq, a full socket buffer or a rule of the packet
//! filter is to blame.
//!
//! Source: rulebook 2.C, 4.2, K4.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Network, Span, Timestamp};
use crate::capture::Seen;
use crate::detect::vanish::{Vanish, first_attempt_lost, places_home};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::lookup::{Lookup, Step};
use crate::transaction::{Response, Transaction, timing};

/// Answers below which it is chance (rulebook 7.6).
const ENOUGH: usize = 5;
/// Copies of one packet further apart than this were held up: 0.1 ms measured (rulebook 1).
const SPACING: Duration = Duration::from_millis(5);
/// Of the answered queries that were repeated, at least half must show the node as slow.
const HALF: usize = 2;
/// Answers kept one by one, over all networks.
const MAX_LOST: usize = 20_000;
/// Example frames.
const FRAMES: usize = 8;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "client-overload",
    title: "the client's node loses or delays good answers",
    class: Class::Failure,
    layer: Layer::Kernel,
    references: &["rulebook 2.C", "rulebook 4.2"],
    source: include_str!("client_overload.rs"),
    new: || Box::<ClientOverload>::default(),
};

/// Bounded by [`MAX_LOST`].
#[derive(Default)]
struct ClientOverload {
    usual: Vanish,
    ignored: BTreeMap<Network, Vec<Ignored>>,
    /// Queries that left the node and got no answer.
    unanswered: BTreeMap<Network, usize>,
    kept: usize,
}

/// An answer that came in time, and the query was repeated on the timer.
struct Ignored {
    sent: Timestamp,
    seen: Seen,
    again: Timestamp,
    client: IpAddr,
    server: IpAddr,
    places: usize,
    spread: Duration,
}

impl Detector for ClientOverload {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let asked = || lookup.transactions().map(AsRef::as_ref);
        let arrived = |asked| Some(places_home(asked, Transaction::answer(asked)?));
        // A question that is asked again from a new socket was sent but once, and answered.
        let stopped = |asked: &Transaction| asked.answer().is_some_and(|answer| answer.stopped);
        if lookup.smooth && !asked().any(stopped) {
            self.usual.note(lookup.client, asked().filter_map(arrived));
            return;
        }
        let lost = |step: &&Step| {
            step.transaction().and_then(|asked| first_attempt_lost(asked, step)) == Some(true)
        };
        let lost = lookup.steps.iter().filter(lost).count();
        if lost > 0 {
            *self.unanswered.entry(Network::of(lookup.client)).or_default() += lost;
        }
        let once = asked().filter(|asked| repeated(asked, lookup).is_none());
        self.usual.note(lookup.client, once.filter_map(arrived));
        for transaction in asked() {
            if let Some((answer, again)) = repeated(transaction, lookup)
                && !excused(transaction, lookup)
            {
                self.note(transaction, answer, again);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.ignored
            .iter()
            .filter_map(|(network, ignored)| {
                let usual = self.usual.usual(*network)?;
                let unanswered = self.unanswered.get(network).copied().unwrap_or(0);
                // A way that loses both directions is a lossy path, wherever it loses them.
                if unanswered * HALF >= ignored.len() {
                    return None;
                }
                finding(*network, ignored, usual, scene)
            })
            .collect()
    }
}

/// The answer that came before the client's timer fired, and when it asked again.
fn repeated<'a>(
    transaction: &'a Transaction,
    lookup: &Lookup,
) -> Option<(&'a Response, Timestamp)> {
    let first = transaction.attempts.first()?;
    let answer = transaction.responses.first().filter(|answer| answer.lost.is_none())?;
    // What another socket asks after an answer was delivered may be another lookup's.
    let anew = || lookup.asked_anew(transaction).filter(|_| answer.stopped);
    let again = transaction.attempts.get(1).map(|again| again.sent().ts).or_else(anew)?;
    let in_time = answer.arrived().ts <= again.before(timing::LATE);
    let on_timer = timing::on_retry_grid(again.since(first.sent().ts));
    (in_time && on_timer).then_some((answer, again))
}

/// Whether the repeat has another reason: a sibling whose answer did not come or stopped on the node, or
/// with the same id, or an answer that clients refuse. One that stopped itself needs no sibling: musl
/// repeats it alone.
fn excused(transaction: &Transaction, lookup: &Lookup) -> bool {
    let answer = transaction.responses.first();
    let stops = |answer: &Response| answer.stopped;
    let unlike = |other: &Transaction| {
        other.client == transaction.client
            && other.question != transaction.question
            && (other.id == transaction.id
                || repeated(other, lookup).is_none_or(|(answer, _)| answer.stopped))
    };
    let refused = answer.is_some_and(|answer| {
        !answer.case_kept || matches!(answer.kind, crate::dns::AnswerKind::Error(_))
    });
    refused || !answer.is_some_and(stops) && lookup.transactions().any(|other| unlike(other))
}

impl ClientOverload {
    fn note(&mut self, transaction: &Transaction, answer: &Response, again: Timestamp) {
        let places = places_home(transaction, answer);
        // An answer that never came to the node, or to another host's address, is not the node's.
        if self.kept >= MAX_LOST || places == 0 {
            return;
        }
        self.kept += 1;
        let client = transaction.client.ip();
        self.ignored.entry(Network::of(client)).or_default().push(Ignored {
            sent: transaction.first().ts,
            seen: answer.delivered(),
            again,
            client,
            server: transaction.responder(),
            places,
            spread: answer.delivered().ts.since(answer.arrived().ts),
        });
    }
}

fn finding(
    network: Network,
    ignored: &[Ignored],
    usual: usize,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let stopped = ignored.iter().filter(|one| one.places < usual).count();
    let spread = ignored.iter().filter(|one| one.spread > SPACING).count();
    let held_up = spread * HALF >= ignored.len();
    if stopped < ENOUGH && !(ignored.len() >= ENOUGH && held_up) {
        return None;
    }
    let span = ignored.iter().map(|one| Span::between(one.sent, one.again)).reduce(Span::join)?;
    let likely = if spread > 0 {
        text!(
            "A node short of CPU, or a pod that its limit throttles, loses and delays packets like \
             that."
        )
    } else {
        text!(
            "Those that came through came at once: a packet filter or a full queue on the node \
             drops the others, or it is short of CPU for moments."
        )
    };
    let clients: BTreeSet<IpAddr> = ignored.iter().map(|one| one.client).collect();
    let servers: BTreeSet<IpAddr> = ignored.iter().map(|one| one.server).collect();
    let others = scene.reach.flows().iter().filter(|flow| {
        !network.contains(flow.cell().client) && servers.contains(&flow.cell().responder)
    });
    let (mut fine, mut failed) = (0, 0);
    for flow in others.filter(|flow| span.contains(flow.first.ts)) {
        fine += u64::from(flow.succeeded()) * u64::from(flow.weight());
        failed += u64::from(flow.failed()) * u64::from(flow.weight());
    }
    if failed > fine {
        return None;
    }
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{answers} reached the node of {network} in time between {start} and {end}, and its \
             pods asked again all the same",
            answers = count(ignored.len() as u64, "answer"),
            network,
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: if stopped >= ENOUGH { Confidence::Likely } else { Confidence::Possible },
        culprits: vec![Culprit::ClientSubnet(network)],
        place: Where::ClientNode,
        span,
        ongoing: scene.lasts(span),
        transactions: ignored.len() as u64,
        claim: Claim {
            span: Some(span),
            clients: Some(clients.clone()),
            symptoms: BTreeSet::from([Symptom::AskedAgain, Symptom::Unanswered, Symptom::Late]),
            ..Claim::default()
        },
        cause: text!(
            "Good answers came to the node before the clients' timers fired. {stopped} of them \
             were not seen on the pod's own interface, where answers usually are; {spread} took \
             more than 5 ms through the node. {likely}",
            stopped,
            spread,
            likely
        ),
        facts: vec![
            Fact { label: text!("answers in time, asked again"), value: plain(ignored.len()) },
            Fact { label: text!("of them not seen at the pod"), value: plain(stopped) },
            Fact { label: text!("of them slow through the node"), value: plain(spread) },
            Fact { label: text!("clients"), value: list(&clients, 5) },
            Fact {
                label: text!("other networks with the same servers, answered / failed"),
                value: text!("{fine} / {failed}", fine, failed),
            },
        ],
        evidence: ignored
            .iter()
            .take(FRAMES)
            .map(|one| Proof {
                seen: one.seen,
                summary: text!(
                    "last copy of an answer to {client}, seen at {places} of {usual} places",
                    client = one.client,
                    places = one.places,
                    usual
                ),
            })
            .collect(),
        actions: vec![
            Action {
                why: text!(
                    "on the node of {network}: is the CPU, or a socket buffer, full?",
                    network
                ),
                command: "mpstat -P ALL 1 5; nstat -az | grep -iE 'udp.*err|SoftirqSqueezed'"
                    .to_owned(),
            },
            Action {
                why: text!("does a rule there drop them?"),
                command: "iptables-save -c | grep -w DROP; nft list ruleset | grep -w drop"
                    .to_owned(),
            },
            Action {
                why: text!("are the pods throttled?"),
                command: format!(
                    "kubectl get pods -A -o wide | grep -wE '{}'; kubectl exec <pod> -- cat \
                     /sys/fs/cgroup/cpu.stat",
                    clients.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join("|")
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "late-response",
            because: text!("the answers came to the node in time"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    /// Ten queries that are answered and ten whose first answer is seen until `place`.
    fn answers(bad: u32, place: &str, cut: bool) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             pod = 10.244.0.2\n",
        );
        let name = "redis.default.svc.cluster.local.";
        for round in 0..10 + bad {
            let (at, port, id) = (f64::from(round) * 6.0, 40_000 + round, 0x1000 + round);
            let lost = round >= 10;
            let place = if lost { place } else { "" };
            let _ = writeln!(text, "{at:.3} pod:{port} > kube-dns via dns1 rd id {id:x} A {name}");
            let back = at + 0.001;
            let _ = writeln!(
                text,
                "{back:.3} pod:{port} < kube-dns via dns1 {name} 5 A 10.96.0.20 {place}"
            );
            if lost && !cut {
                let (again, back) = (at + 5.001, at + 5.002);
                let _ = writeln!(
                    text,
                    "{again:.3} pod:{port} > kube-dns via dns1 rd id {id:x} A {name}\n\
                     {back:.3} pod:{port} < kube-dns via dns1 {name} 5 A 10.96.0.20"
                );
            }
        }
        text
    }

    #[test]
    fn answers_end_on_the_overlay_of_the_clients_node() {
        insta::assert_snapshot!(findings(&answers(6, "until overlay", false)), @"low client-overload [client-subnet 10.244.0.0/24] likely 10:01:00.000-10:01:35.001 0/6");
    }

    /// Ten healthy pairs of A and AAAA, and six of which `again` makes the A that stops on the overlay be
    /// asked again, with port and id of the pair.
    fn pairs(again: impl Fn(f64, u32, u32) -> String) -> String {
        let mut text = answers(0, "", false);
        let name = "redis.default.svc.cluster.local.";
        for round in 0..16_u32 {
            let (at, port, id) = (100.0 + f64::from(round) * 8.0, 45_000 + round, 0x2000 + round);
            let (other, lost) = (id + 0x1000, round >= 10);
            let place = if lost { "until overlay" } else { "" };
            let _ = writeln!(
                text,
                "{at:.4} pod:{port} > kube-dns via dns1 rd id {id:x} A {name}\n\
                 {:.4} pod:{port} > kube-dns via dns1 rd id {other:x} AAAA {name}\n\
                 {:.4} pod:{port} < kube-dns id {id:x} ? A {name} {name} 5 A 10.96.0.20 {place}\n\
                 {:.4} pod:{port} < kube-dns id {other:x} ? AAAA {name} NOERROR",
                at + 0.0001,
                at + 0.001,
                at + 0.0011
            );
            if lost {
                text += &again(at, port, id);
            }
        }
        findings(&text)
    }

    #[test]
    fn musl_repeats_only_the_one_that_stopped() {
        let said = pairs(|at, port, id| {
            let name = "redis.default.svc.cluster.local.";
            format!(
                "{:.4} pod:{port} > kube-dns via dns1 rd id {id:x} A {name}\n\
                 {:.4} pod:{port} < kube-dns id {id:x} ? A {name} {name} 5 A 10.96.0.20\n",
                at + 2.5,
                at + 2.501
            )
        });
        assert!(said.contains(" client-overload [client-subnet 10.244.0.0/24] likely"), "{said}");
        assert!(said.contains(" 0/6"), "{said}");
    }

    #[test]
    fn go_asks_again_from_a_new_socket() {
        let mut text = answers(0, "", false);
        let name = "redis.default.svc.cluster.local.";
        for round in 0..6_u32 {
            let (at, port) = (100.0 + f64::from(round) * 8.0, 45_000 + round);
            for (at, port, place) in [(at, port, "until overlay"), (at + 5.002, port + 5_000, "")] {
                let _ = writeln!(
                    text,
                    "{at:.4} pod:{port} > kube-dns via dns1 rd id {port:x} A {name} edns 1232\n\
                     {:.4} pod:{port} < kube-dns id {port:x} {name} 5 A 10.96.0.20 {place}",
                    at + 0.001
                );
            }
        }
        let said = findings(&text);
        assert!(said.contains(" client-overload [client-subnet 10.244.0.0/24] likely"), "{said}");
        assert!(said.contains(" 0/6"), "{said}");
    }

    #[test]
    fn answers_that_reach_the_pod_prove_nothing() {
        let said = findings(&answers(6, "", false));
        assert!(!said.contains("client-overload"), "{said}");
    }

    #[test]
    fn four_answers_are_not_enough_and_no_repeat_is_no_harm() {
        for text in [answers(4, "until overlay", false), answers(6, "until overlay", true)] {
            let said = findings(&text);
            assert!(!said.contains("client-overload"), "{said}");
        }
    }

    #[test]
    fn five_answers_are_enough() {
        let said = findings(&answers(5, "until overlay", false));
        assert!(said.contains(" client-overload ["), "{said}");
    }

    #[test]
    fn queries_that_are_lost_as_well_make_it_a_bad_way() {
        let mut text = answers(6, "until overlay", false);
        let name = "redis.default.svc.cluster.local.";
        for round in 0..3 {
            let (at, port) = (200.0 + f64::from(round) * 8.0, 45_000 + round);
            let ask = format!("pod:{port} > kube-dns via dns1 rd id {port:x} A {name}");
            let _ = writeln!(
                text,
                "{at:.3} {ask}\n{:.3} {ask}\n{:.3} pod:{port} < kube-dns {name} 5 A 10.96.0.20",
                at + 5.001,
                at + 5.002
            );
        }
        let said = findings(&text);
        assert!(!said.contains("client-overload"), "{said}");
    }

    /// Answers reach the pod, their copies `apart` seconds from one another on the way.
    fn slow_through_the_node(apart: f64) -> String {
        let mut text = answers(0, "", false);
        let name = "redis.default.svc.cluster.local.";
        for round in 0..6 {
            let (at, port) = (100.0 + f64::from(round) * 8.0, 45_000 + round);
            let ask = format!("pod:{port} > kube-dns via dns1 rd id {port:x} A {name}");
            let answer = format!("pod:{port} < kube-dns {name} 5 A 10.96.0.20");
            let _ = writeln!(
                text,
                "{at:.4} {ask}\n{:.4} {answer} ipid {port} until overlay\n\
                 {:.4} {answer} ipid {port} since bridge\n{:.4} {ask}\n{:.4} {answer}",
                at + 0.001,
                at + 0.001 + apart,
                at + 5.001,
                at + 5.002
            );
        }
        findings(&text)
    }

    #[test]
    fn copies_six_milliseconds_apart_were_held_up_and_four_are_scheduling() {
        let said = slow_through_the_node(0.006);
        assert!(said.contains(" client-overload [client-subnet 10.244.0.0/24] possible"), "{said}");
        let said = slow_through_the_node(0.004);
        assert!(!said.contains("client-overload"), "{said}");
    }

    #[test]
    fn a_capture_that_ends_before_the_fifth_repeat_says_nothing() {
        let text = answers(5, "until overlay", false);
        assert!(!findings_until(&text, 14.0 * 6.0 + 4.0).contains("client-overload"));
        assert!(findings_until(&text, 14.0 * 6.0 + 5.1).contains("client-overload"));
    }
}
