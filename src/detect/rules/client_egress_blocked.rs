//! One pod cannot query any DNS server, or several at once, while their neighbours on the same node can.
//!
//! **Signature.** All of at least five flows of one client fail, to every server it asks, and the
//! same servers answer other clients of its network at the same time: from its first packet on, or
//! from one instant on, more of them then than chance explains. If it heals within 30 s of the pod's
//! first packet, the network policy was programmed late.
//!
//! Pods that lose DNS within one second, and get it back within one, are one finding: those as well that
//! asked too seldom to prove it alone, where chance does not fail some clients altogether and none of the
//! others (likelihood ratio 1000, over all choices of so many clients).
//!
//! **Needs.** Neighbours that use the same servers.
//!
//! **Not this.** Neighbours that are kept on another backend by affinity exonerate nobody: then the
//! server is judged (`dead-backend`). A whole network without answers is `client-node-broken`. A
//! resolv.conf with a dead address is `nameserver-dead-first`.
//!
//! **Cannot tell.** Which policy, mesh sidecar, DNS proxy or filter it is. Where the capture shows only the
//! address of a service, pods that session affinity keeps on a server that is gone look the same.
//!
//! Source: rulebook 2.B; Kubernetes `NetworkPolicy` (egress).

use crate::base::words::{Text, clock, count, duration, list, plain, text};
use crate::detect::cutoff::{CutOff, Pod};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Layer, Proof,
    RuledOut, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "client-egress-blocked",
    title: "single pods cannot query at all",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "Kubernetes NetworkPolicy"],
    source: include_str!("client_egress_blocked.rs"),
    new: || Box::new(ClientEgressBlocked),
};

/// Clients that are named one by one.
const MOST_NAMED: usize = 32;
/// Example frames.
const FRAMES: usize = 6;

/// Judges the flows of the shared tally; keeps nothing of its own.
struct ClientEgressBlocked;

impl Detector for ClientEgressBlocked {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        scene.cut_off.iter().filter_map(|cut| finding(cut, scene)).collect()
    }
}

/// What is said of one pod, or of several.
struct Words {
    title: Text,
    cause: Text,
    confidence: Confidence,
    facts: Vec<Fact>,
    actions: Vec<Action>,
}

fn finding(cut: &CutOff<'_>, scene: &Scene<'_>) -> Option<Finding> {
    let CutOff { pods, span, healed, asked, .. } = cut;
    let translates = scene.nat.services().next().is_some();
    let words = match &pods[..] {
        [] => return None,
        [pod] => of_one(pod, cut),
        pods => of_several(pods, cut, translates),
    };
    let mut flows: Vec<_> = pods.iter().flat_map(|pod| &pod.failed).collect();
    let failed = flows.len();
    flows.sort_by_key(|flow| flow.first);
    let mut facts = words.facts;
    facts.extend([
        Fact { label: text!("failed flows"), value: plain(failed) },
        Fact { label: text!("answered flows of neighbours"), value: plain(cut.answered) },
        Fact { label: text!("servers"), value: list(asked, 3) },
        Fact {
            label: text!("healed"),
            value: healed.map_or_else(|| text!("not in this capture"), clock),
        },
    ]);
    Some(Finding {
        rule: &DETECTOR,
        title: words.title,
        confidence: words.confidence,
        culprits: pods.iter().take(MOST_NAMED).map(|pod| Culprit::Client(pod.client)).collect(),
        place: if cut.untranslated && translates { Where::ClientNode } else { Where::Unknown },
        span: *span,
        ongoing: healed.is_none() && scene.lasts(*span),
        transactions: failed as u64,
        claim: Claim {
            span: Some(*span),
            clients: Some(pods.iter().map(|pod| pod.client).collect()),
            ..Claim::default()
        },
        cause: words.cause,
        facts,
        evidence: flows
            .iter()
            .take(FRAMES)
            .map(|flow| Proof { seen: flow.first, summary: text!("query without an answer") })
            .collect(),
        actions: words.actions,
        ruled_out: vec![RuledOut {
            rule: "dead-backend",
            because: text!(
                "{flows} of neighbours were answered by it",
                flows = count(cut.answered, "flow")
            ),
        }],
    })
}

fn of_one(pod: &Pod<'_>, cut: &CutOff<'_>) -> Words {
    let (client, CutOff { span, healed, neighbours, .. }) = (pod.client, cut);
    let late = healed.is_some() && !cut.served_before;
    Words {
        title: match (cut.served_before, healed) {
            (false, Some(_)) => text!(
                "pod {client} could not query for its first {length}, then it could",
                client,
                length = duration(span.length())
            ),
            (false, None) => {
                text!("pod {client} gets no answer from any DNS server, its neighbours do", client)
            }
            (true, None) => text!(
                "pod {client} gets no answer from any DNS server since {start}, its neighbours do",
                client,
                start = clock(span.start)
            ),
            (true, Some(healed)) => text!(
                "pod {client} got no answer from any DNS server from {start} to {end}, its \
                 neighbours did",
                client,
                start = clock(span.start),
                end = clock(*healed)
            ),
        },
        cause: text!(
            "All of {flows} from {client} failed, while {neighbours} on the same node were \
             answered by the same servers. A network policy without DNS egress, a service mesh \
             that captures the pod's packets, or a wrong MTU does that{rest}.",
            flows = count(pod.failed.len() as u64, "flow"),
            client,
            neighbours = list(neighbours, 3),
            rest = if late {
                text!("; that it healed by itself speaks for a policy that was programmed late")
            } else if cut.served_before {
                text!("; it was answered before, so look for what changed then")
            } else {
                Text::EMPTY
            }
        ),
        confidence: Confidence::Likely,
        facts: Vec::new(),
        actions: vec![
            Action {
                why: text!("find the pod"),
                command: format!("kubectl get pods -A -o wide | grep -wF {client}"),
            },
            Action {
                why: text!("look for a policy that forgets DNS"),
                command: "kubectl -n <namespace> get networkpolicy -o yaml".to_owned(),
            },
        ],
    }
}

fn of_several(pods: &[Pod<'_>], cut: &CutOff<'_>, translates: bool) -> Words {
    let CutOff { span, healed, neighbours, network, .. } = cut;
    let (hit, all) = (pods.len(), pods.len() + neighbours.len());
    // A service's address that stands for any of its servers.
    let hidden = cut.untranslated && !translates;
    let named: Vec<String> =
        pods.iter().take(MOST_NAMED).map(|pod| format!("-e {}", pod.client)).collect();
    Words {
        title: match (cut.served_before, healed) {
            (_, Some(healed)) => text!(
                "{hit} of {all} pods of {network} got no answer from any DNS server from {start} to \
                 {end}, the others did",
                hit,
                all,
                network,
                start = clock(span.start),
                end = clock(*healed)
            ),
            (true, None) => text!(
                "{hit} of {all} pods of {network} get no answer from any DNS server since {start}, \
                 the others do",
                hit,
                all,
                network,
                start = clock(span.start)
            ),
            (false, None) => text!(
                "{hit} of {all} pods of {network} get no answer from any DNS server, the others do",
                hit,
                all,
                network
            ),
        },
        cause: text!(
            "Nothing that these {hit} pods asked from {start} on was answered, while {neighbours} of \
             the same network were answered by the same servers. One thing cut them off together: a \
             network policy of their namespace without DNS egress, a DNS proxy or a service mesh that \
             takes their packets and is away, or a filter of their addresses.{rest}",
            hit,
            start = clock(span.start),
            neighbours = list(neighbours, 3),
            rest = if hidden {
                text!(
                    " The capture shows no address behind the one they asked: if the service keeps \
                     clients on one server (sessionAffinity: ClientIP), those of a silent one look \
                     the same."
                )
            } else {
                Text::EMPTY
            }
        ),
        confidence: if hidden { Confidence::Possible } else { Confidence::Likely },
        facts: vec![Fact {
            label: text!("pods"),
            value: text!("{hit} of {all} that asked meanwhile", hit, all),
        }],
        actions: vec![
            Action {
                why: text!("see what these pods have in common"),
                command: format!("kubectl get pods -A -o wide | grep -wF {}", named.join(" ")),
            },
            Action {
                why: text!("look for a policy that forgets DNS"),
                command: "kubectl -n <namespace> get networkpolicy -o yaml".to_owned(),
            },
            Action {
                why: text!("and for a DNS proxy of the node that was started anew"),
                command: "kubectl -n kube-system get pods -o wide | grep <node>".to_owned(),
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// Two pods on a node; `blocked` flows of the first fail, then it is answered.
    fn pods(blocked: u16, all: u16) -> String {
        pods_when(|round| round < blocked, all)
    }

    fn pods_when(blocked: impl Fn(u16) -> bool, all: u16) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             bad = 10.244.0.2\ngood = 10.244.0.3\n",
        );
        let name = "redis.default.svc.cluster.local.";
        for round in 0..all {
            let (at, port) = (f64::from(round) * 2.0, 40_000 + round);
            let again = at + 5.0;
            let answer = at + 0.001;
            for pod in ["bad", "good"] {
                let silent = pod == "bad" && blocked(round);
                let stop = if silent { "until veth " } else { "" };
                let ask = format!("{pod}:{port} > kube-dns via dns1 {stop}id {port:x} rd A {name}");
                let _ = writeln!(text, "{at:.3} {ask}");
                let _ = if silent {
                    writeln!(text, "{again:.3} {ask}")
                } else {
                    writeln!(
                        text,
                        "{answer:.3} {pod}:{port} < kube-dns via dns1 id {port:x} {name} 5 A 10.96.0.20"
                    )
                };
            }
        }
        text
    }

    #[test]
    fn a_pod_is_cut_off_while_its_neighbour_is_served() {
        let said = findings(&pods(20, 20));
        assert!(said.contains(" client-egress-blocked [client 10.244.0.2] likely"), "{said}");
    }

    #[test]
    fn a_policy_that_is_programmed_late_heals() {
        let said = findings(&pods(7, 20));
        assert!(said.contains("client-egress-blocked"), "{said}");
    }

    #[test]
    fn a_policy_may_come_later_and_go_again() {
        let said = findings(&pods_when(|round| round >= 12, 40));
        assert!(said.contains(" client-egress-blocked [client 10.244.0.2] likely"), "{said}");
        assert!(!said.contains("lossy-path") && !said.contains("client-node-broken"), "{said}");
        let said = findings(&pods_when(|round| (12..24).contains(&round), 40));
        assert!(said.contains(" client-egress-blocked [client 10.244.0.2] likely"), "{said}");
    }

    /// A DNS proxy that serves some pods is away: from 41 s to 69 s `bad` and `worse` ask in vain, the latter
    /// too seldom to prove anything.
    #[test]
    fn pods_that_are_cut_off_together_are_one() {
        let mut situation = Situation::cluster();
        for round in 0..120_u16 {
            let at = f64::from(round);
            let away = (41.0..69.0).contains(&at);
            let fate = if away { Fate::Lost } else { Fate::Answered };
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            situation.ask(at + 0.2, "near", "kube-dns", via, Fate::Answered);
            if round % 3 == 0 {
                situation.ask(at, "pod", "kube-dns", via, fate);
            }
            if round % 10 == 0 {
                situation.ask(at + 0.1, "other", "kube-dns", via, fate);
            }
        }
        let text = format!("other = 10.244.0.9\n{}", situation.text());
        let said = findings(&text);
        let (pod, other) = ("client 10.244.0.2", "client 10.244.0.9");
        assert!(said.contains(&format!("client-egress-blocked [{pod}, {other}]")), "{said}");
        assert_eq!(said.matches(" client-egress-blocked [").count(), 1, "{said}");
    }

    #[test]
    fn four_failures_are_not_enough() {
        assert!(!findings(&pods(4, 20)).contains("client-egress-blocked"));
    }

    #[test]
    fn a_pod_that_is_answered_now_and_then_is_not_blocked() {
        // Nine in ten fail, and the first did not.
        let said = findings(&pods_when(|round| round % 10 > 0, 20));
        assert!(!said.contains("client-egress-blocked"), "{said}");
    }

    #[test]
    fn five_failures_are_enough_when_they_are_over() {
        assert!(findings(&pods(5, 20)).contains("client-egress-blocked"));
        // The fifth query is out, and its timer is still running.
        assert!(!findings_until(&pods(20, 20), 8.5).contains("client-egress-blocked"));
    }

    /// No server answers anybody for six seconds. `near` repeats its queries from the same ports until they are
    /// answered, and `pod`, like Go, takes a new one each time.
    #[test]
    fn a_pod_that_repeats_nothing_is_not_cut_off_where_nobody_is_answered() {
        let mut situation = Situation::cluster();
        for round in 0..160_u16 {
            let at = f64::from(round) * 0.25;
            let silent = (18.0..24.0).contains(&at);
            let via = if round % 4 < 2 { "dns1" } else { "dns2" };
            let (pod, near) = match silent {
                true if at + 5.0 < 24.0 => (Fate::Lost, Fate::Lost),
                true => (Fate::Lost, Fate::LostOnce),
                false => (Fate::Answered, Fate::Answered),
            };
            let (who, fate) = if round % 2 == 0 { ("pod", pod) } else { ("near", near) };
            situation.ask(at, who, "kube-dns", via, fate);
        }
        let said = findings(situation.text());
        assert!(!said.contains("client-egress-blocked"), "{said}");
        assert!(said.contains(" client-node-broken ["), "{said}");
    }
}
