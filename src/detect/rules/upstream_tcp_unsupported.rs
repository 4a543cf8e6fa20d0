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

use crate::base::words::{clock, list, text};
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
        text!(
            "{who} refuses TCP: {knocks} connections of {forwarders} failed since {since}, and \
             clients get SERVFAIL",
            who,
            knocks = failing.knocks.len(),
            forwarders = list(failing.forwarders(), 3),
            since
        )
    } else {
        text!(
            "external names fail over TCP alone since {since}: the resolver behind {forwarders} \
             seems to take no TCP",
            since,
            forwarders = list(failing.forwarders(), 3)
        )
    };
    let mut actions = vec![ask_it(failing, "+tcp +tries=1"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    actions.push(Action {
        why: text!("forward over UDP whatever the client used"),
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
        cause: text!(
            "{who} {rest}, while every name needs it for answers that UDP truncates (RFC 7766), \
             and for all answers where the DNS pods are set to forward over TCP. Either it has no \
             TCP service, or a firewall on the way resets.",
            who,
            rest = if failing.is_seen() {
                text!("accepted no TCP connection on port 53")
            } else {
                text!("answers over UDP and, as far as clients are told, not over TCP")
            }
        ),
        actions,
        ruled_out: vec![RuledOut {
            rule: "upstream-timeout",
            because: if both {
                text!(
                    "it answered {answered} queries over UDP meanwhile",
                    answered = failing.answered
                )
            } else {
                text!("resets came back at once, so the address is alive")
            },
        }],
    };
    failing.finding(&DETECTOR, words)
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::{CLUSTER, told};
    use crate::testkit::findings;

    /// The DNS pod tries TCP for each of `times` names; `reply` is what comes back.
    fn knocking(times: u32, reply: &str) -> String {
        format!(
            "{}repeat {times} every 6 from 1
             0.002 core:30000 > up tcp syn
             {reply}
             end\n",
            told(times, "n{n}.example.com.", "SERVFAIL", 0.020)
        )
    }

    #[test]
    fn the_upstream_resets_every_connection() {
        let text = knocking(4, "0.003 core:30000 < up tcp rst");
        insta::assert_snapshot!(findings(&text), @"low upstream-tcp-unsupported [upstream 192.0.2.53, zone example.com] likely 10:00:01.000-10:00:19.020 4/4");
    }

    /// The capture shows the connections once more behind the masquerade of the node that they leave.
    #[test]
    fn the_node_that_they_leave_is_not_to_blame() {
        let reply = "0.0022 node:30000 > up tcp syn
             0.0028 node:30000 < up tcp rst
             0.003  core:30000 < up tcp rst";
        let said = findings(&format!("node = 192.168.10.11\n{}", knocking(20, reply)));
        assert!(said.contains("upstream-tcp-unsupported"), "{said}");
        assert!(!said.contains("client-node-broken"), "{said}");
    }

    #[test]
    fn it_is_sure_where_the_same_upstream_answers_over_udp() {
        let udp = "repeat 20 every 1
             0.2   core:50000 > up id 9 rd A fine.example.org.
             0.205 core:50000 < up id 9 fine.example.org. 5 A 203.0.113.7
             end\n";
        let text = findings(&format!("{}{udp}", knocking(4, "0.003 core:30000 < up tcp rst")));
        assert!(text.contains("upstream-tcp-unsupported") && text.contains("confirmed"), "{text}");
    }

    #[test]
    fn resets_among_connections_that_work_are_the_race_of_an_idle_close() {
        let fine = "repeat 4 every 6 from 2
             0.0   core:50000 > up tcp syn
             0.001 core:50000 < up tcp syn-ack
             0.002 core:50000 > up tcp ack
             end\n";
        let text = findings(&format!("{}{fine}", knocking(4, "0.003 core:30000 < up tcp rst")));
        assert!(!text.contains("tcp-unsupported"), "{text}");
    }

    #[test]
    fn three_refused_connections_are_enough_and_two_are_not() {
        let times = |n| findings(&knocking(n, "0.003 core:30000 < up tcp rst"));
        assert!(times(3).contains("tcp-unsupported"));
        assert!(!times(2).contains("tcp-unsupported"));
    }

    #[test]
    fn connections_in_flight_at_the_captures_end_prove_nothing() {
        let text = format!(
            "{CLUSTER}repeat 5 every 0.2 from 28.5
             0.0   core:30000 > up tcp syn
             end\n"
        );
        assert_eq!(findings(&text), "quiet\n");
    }
}
