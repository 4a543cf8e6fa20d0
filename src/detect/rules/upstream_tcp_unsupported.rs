//! The resolver behind the cluster's DNS takes no TCP connections.
//!
//! **Signature.** At least three TCP connections of DNS pods to an upstream are refused, or
//! unanswered while the same upstream answers over UDP, and none is accepted. Clients are told
//! SERVFAIL: for every external name where the DNS is set to forward over TCP, else for those that
//! they asked over TCP after a truncated answer, because CoreDNS forwards with its client's
//! protocol and NodeLocal DNSCache upgrades to TCP.
//!
//! **Needs.** A capture that shows what the DNS pods ask: on their nodes, with `-i any`. From a
//! client's node alone: SERVFAIL over TCP for external names that UDP truncates.
//!
//! **Not this.** A single reset followed by a connection that works is the race of an idle
//! connection's close. Where the upstream answers nothing over UDP either, it is silent
//! (`upstream-timeout`).
//!
//! **Cannot tell.** Whether the upstream has no TCP service or a firewall resets for it.
//!
//! Source: rulebook 2.E; RFC 7766; CoreDNS `plugin/forward` (`prefer_udp`, `force_tcp`).

use crate::base::words::{clock, list};
use crate::detect::upstream::{
    Failing, Kind, Words, ask_it, failing, read_the_corefile, record_the_legs,
};
use crate::detect::{
    Action, Class, Confidence, Descriptor, Detector, Finding, Layer, RuledOut, Scene,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-tcp-unsupported",
    title: "the resolver behind the cluster's DNS takes no TCP",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "RFC 7766"],
    source: include_str!("upstream_tcp_unsupported.rs"),
    new: || Box::new(UpstreamTcpUnsupported),
};

/// Judges what `upstream.rs` read; keeps nothing of its own.
struct UpstreamTcpUnsupported;

impl Detector for UpstreamTcpUnsupported {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        failing(scene, Kind::NoTcp).iter().map(finding).collect()
    }
}

fn finding(failing: &Failing<'_>) -> Finding {
    let who = failing.who();
    let since = clock(failing.span.start);
    let title = if failing.is_seen() {
        format!(
            "{who} refuses TCP: {} connections of {} failed since {since}, and clients get SERVFAIL",
            failing.knocks.len(),
            list(failing.forwarders(), 3)
        )
    } else {
        format!(
            "external names fail over TCP alone since {since}: the resolver behind {} seems to \
             take no TCP",
            list(failing.forwarders(), 3)
        )
    };
    let mut actions = vec![ask_it(failing, "+tcp +tries=1"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    actions.push(Action {
        why: "forward over UDP whatever the client used".to_owned(),
        command:
            "kubectl -n kube-system edit configmap coredns   # forward . U { prefer_udp }, and \
                  no force_tcp"
                .to_owned(),
    });
    let both = failing.answered > 0;
    let words = Words {
        title,
        confidence: match (failing.is_seen(), both) {
            (true, true) => Confidence::Confirmed,
            (true, false) => Confidence::Likely,
            (false, _) => Confidence::Possible,
        },
        cause: format!(
            "{who} {}, while every name needs it for answers that UDP truncates (RFC 7766), and \
             for all answers where the DNS pods are set to forward over TCP. Either it has no TCP \
             service, or a firewall on the way resets.",
            if failing.is_seen() {
                "accepted no TCP connection on port 53"
            } else {
                "answers over UDP and, as far as clients are told, not over TCP"
            }
        ),
        actions,
        ruled_out: vec![RuledOut {
            rule: "upstream-timeout",
            because: if both {
                format!("it answered {} queries over UDP meanwhile", failing.answered)
            } else {
                "resets came back at once, so the address is alive".to_owned()
            },
        }],
    };
    failing.finding(&DETECTOR, words)
}
