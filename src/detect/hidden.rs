//! What the rules about silent servers say of one that the capture does not show: a backend behind a
//! service whose translation happens elsewhere (rulebook 6.5).

use std::collections::BTreeSet;

use super::Descriptor;
use super::classify::Kind;
use super::finding::{Action, Claim, Confidence, Culprit, Fact, Finding, Proof, RuledOut, Where};
use super::harm::Symptom;
use super::mixture::{Mixture, mixtures};
use super::scene::Scene;
use crate::base::words::{Text, clock, count, duration, list, plain, text};

/// The findings of `rule` about hidden backends that are silent in the way of `kind`.
pub(super) fn hidden(rule: &'static Descriptor, kind: Kind, scene: &Scene<'_>) -> Vec<Finding> {
    let of_kind = mixtures(scene).into_iter().filter(|mixture| mixture.kind() == kind);
    of_kind.map(|mixture| finding(rule, &mixture, scene)).collect()
}

fn finding(rule: &'static Descriptor, mixture: &Mixture, scene: &Scene<'_>) -> Finding {
    let (service, n) = (mixture.service, mixture.one_in());
    let mut facts = vec![
        Fact { label: text!("sockets in vain"), value: plain(mixture.failed) },
        Fact { label: text!("sockets answered meanwhile"), value: plain(mixture.answered) },
        Fact { label: text!("clients"), value: list(&mixture.clients, 5) },
        Fact { label: text!("silent for"), value: duration(mixture.length()) },
    ];
    facts.extend(mixture.over.map(|over| Fact {
        label: text!("ended"),
        value: text!("no new socket was left without an answer after {at}", at = clock(over)),
    }));
    Finding {
        rule,
        title: title(mixture),
        confidence: Confidence::Possible,
        culprits: vec![Culprit::Service(service)],
        place: Where::Unknown,
        span: mixture.span,
        ongoing: mixture.over.is_none() && scene.lasts(mixture.span),
        transactions: mixture.failed,
        claim: Claim {
            span: Some(mixture.span),
            clients: Some(mixture.clients.clone()),
            servers: Some(BTreeSet::from([service])),
            symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Late]),
            ..Claim::default()
        },
        cause: text!(
            "{sockets} to {service} got no answer however often they repeated the query, while \
             {others} were answered at the same time: sockets that are pinned to one silent \
             backend look like that, and random loss does not.{end} The capture shows no \
             translation, so it cannot say which backend. A search that is answered goes on and \
             one that is not stops, so that fewer than {n} backends may share the service.",
            n,
            sockets = count(mixture.failed, "socket"),
            service,
            others = count(mixture.answered, "other"),
            end = end(mixture)
        ),
        facts,
        evidence: mixture
            .frames
            .iter()
            .map(|seen| Proof {
                seen: *seen,
                summary: text!("query from a socket that never got an answer"),
            })
            .collect(),
        actions: actions(),
        ruled_out: vec![RuledOut {
            rule: "lossy-path",
            because: text!("repeats from the same port failed with the first query"),
        }],
    }
}

fn title(mixture: &Mixture) -> Text {
    let (service, n, start) = (mixture.service, mixture.one_in(), clock(mixture.span.start));
    if mixture.over.is_none() {
        return text!(
            "one of up to {n} backends of {service} answers nothing from {start} on",
            n,
            service,
            start
        );
    }
    text!(
        "one of up to {n} backends of {service} answered nothing from {start} on, for {lasted}",
        n,
        service,
        start,
        lasted = duration(mixture.length())
    )
}

/// What is known of its end.
fn end(mixture: &Mixture) -> Text {
    match mixture.kind() {
        Kind::Stale => text!(
            " Then it was over for all of them at once: the service has got rid of it, as of a pod \
             whose node died, which takes Kubernetes some 40 s, or it was back."
        ),
        Kind::Restart => text!(
            " It was over as soon as with a restart, a rollout, or a short break in the network of \
             its node."
        ),
        _ => text!(" Whether the service still has it does not show."),
    }
}

fn actions() -> Vec<Action> {
    vec![
        Action {
            why: text!("ask every backend by itself"),
            command: "for p in $(kubectl -n kube-system get pod -l k8s-app=kube-dns -o \
                      jsonpath='{.items[*].status.podIP}'); do dig @$p \
                      kubernetes.default.svc.cluster.local +tries=1 +time=2; done"
                .to_owned(),
        },
        Action {
            why: text!(
                "record where the translation can be seen, with the port that the DNS pods \
                 listen on if it is not 53 (on OpenShift 5353; then analyze with --port)"
            ),
            command: "tcpdump -i any -s 0 -C 20 -W 200 -w client_dns.pcap 'port 53 or port \
                      5353 or icmp'"
                .to_owned(),
        },
    ]
}
