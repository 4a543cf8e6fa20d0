//! A DNS pod vanished, and the service went on sending to it until the endpoint was removed.
//!
//! **Signature.** The server answers nobody from one instant on; at least three new flows are
//! still translated to it and none is answered, while the same clients get answers from other
//! servers; then new flows stop going there, too many of them for chance. From the first failure
//! to the last new flow it takes about as long as Kubernetes needs to notice a dead node
//! (node-monitor-grace-period, 40 s by default).
//!
//! **Needs.** The query after translation: a capture on the client's node with `-i any`, or on an
//! interface behind the translation.
//!
//! **Not this.** New flows that keep going to the silent server are `dead-backend`. A server that
//! answers again from the same address was restarted (`backend-restart`). Other nodes that still
//! reach the server make it `path-broken-pair`. A hole in the capture mutes the rule.
//!
//! **Cannot tell.** DNS packets show that the pod answered nothing and was taken out of the
//! service; that its node died is the likely cause, not a measured one. With clients of one node
//! alone in the capture, the path to the pod may have died instead.
//!
//! Source: rulebook 2.B, K6, K7; Kubernetes `--node-monitor-grace-period`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, duration, list};
use crate::detect::blackhole::Blackhole;
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, End, Finding, Layer, MIN_FLOWS, Outage,
    RuledOut, Scene, Where,
};

/// A removal sooner than this is a rollout or a restart: no grace period is that short.
const SHORTEST: Duration = Duration::from_secs(10);
/// After this long nobody was going to remove it (rulebook `dead-backend`).
const LONGEST: Duration = Duration::from_secs(120);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "stale-backend",
    title: "a vanished DNS pod still got queries",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "Kubernetes kube-controller-manager --node-monitor-grace-period"],
    source: include_str!("stale_backend.rs"),
    new: || Box::new(StaleBackend),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct StaleBackend;

impl Detector for StaleBackend {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut servers: BTreeMap<IpAddr, Vec<&Outage>> = BTreeMap::new();
        for outage in scene.outages.iter().filter(|outage| is_stale(outage)) {
            servers.entry(outage.server).or_default().push(outage);
        }
        servers.into_values().map(|outages| finding(&Blackhole::of(&outages))).collect()
    }
}

fn is_stale(outage: &Outage) -> bool {
    let removed = matches!(outage.end, End::Removed(_));
    removed
        && outage.server != outage.service
        && outage.clients_are_fine()
        && outage.others_ok < MIN_FLOWS as u64
        && (SHORTEST..=LONGEST).contains(&outage.length())
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, service) = (hole.server, hole.service);
    let length = hole.length();
    let mut ruled_out = vec![RuledOut {
        rule: "dead-backend",
        because: format!(
            "new flows stopped going to {server} at {}, so it was taken out of the service",
            clock(hole.span.start.after(length))
        ),
    }];
    ruled_out.push(RuledOut {
        rule: "service-wide-outage",
        because: format!(
            "{} answered the same clients {} in that time",
            list(&hole.mates, 3),
            count(hole.elsewhere_ok, "time")
        ),
    });
    let one_node = hole.networks.len() == 1;
    if !one_node {
        ruled_out.push(RuledOut {
            rule: "path-broken-pair",
            because: format!("clients of {} failed alike", list(&hole.networks, 3)),
        });
    }
    Finding {
        rule: &DETECTOR,
        title: format!(
            "backend {server} of service {service} answered nothing from {} on, and the service \
             kept sending queries to it for {}",
            clock(hole.span.start),
            duration(length)
        ),
        confidence: if one_node { Confidence::Likely } else { Confidence::Confirmed },
        culprits: vec![Culprit::Backend(server)],
        place: Where::Unknown,
        span: hole.span,
        ongoing: false,
        transactions: hole.failed,
        claim: hole.claim(),
        cause: format!(
            "{server} answered nothing to anyone for {}, while {service} was still translated to \
             it; then new queries went to {} alone. That is what a node's death looks like: \
             Kubernetes needs about 40 s to notice it and to remove the pod from the service. \
             Resolvers that repeat a query from the same port stay pinned to the dead pod.{}",
            duration(length),
            list(&hole.mates, 3),
            if one_node {
                " With clients of one node only, the path to the pod may have died instead of the \
                 pod: a capture on its node would tell."
            } else {
                ""
            }
        ),
        facts: hole.facts(),
        evidence: hole.evidence(),
        actions: hole.actions(&[(
            "make clients give up a dead pod sooner",
            "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":{\"dnsConfig\":\
             {\"options\":[{\"name\":\"timeout\",\"value\":\"1\"},{\"name\":\"attempts\",\
             \"value\":\"3\"}]}}}}}'"
                .to_owned(),
        )]),
        ruled_out,
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Two backends behind a service; one dies at 20 s and is taken out at 60 s. A client asks
    /// every half second, alternating, and repeats an unanswered query after five seconds.
    fn node_death(removed: bool, capture_ends: bool) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        let end = if capture_ends { 52.0 } else { 100.0 };
        let mut port = 40_000;
        let mut at = 0.0;
        while at < end {
            for backend in ["dns1", "dns2"] {
                let dead = backend == "dns1" && at >= 20.0;
                let gone = removed && at >= 60.0;
                let via = if dead && gone { "dns2" } else { backend };
                port += 1;
                let say = |text: &mut String, at: f64, words: &str| {
                    text.push_str(&format!("{at:.3} pod:{port} {words}\n"));
                };
                let name = "redis.default.svc.cluster.local.";
                say(&mut text, at, &format!("> kube-dns via {via} rd A {name}"));
                if dead && !gone {
                    say(
                        &mut text,
                        at + 5.0,
                        &format!("> kube-dns via {via} rd id {port:x} A {name}"),
                    );
                } else {
                    let answer = format!("< kube-dns via {via} {name} 5 A 10.96.0.20");
                    say(&mut text, at + 0.001, &answer);
                }
                at += 0.5;
            }
        }
        text
    }

    #[test]
    fn a_backend_falls_silent_and_is_taken_out_forty_seconds_later() {
        insta::assert_snapshot!(findings(&node_death(true, false)));
    }
}
