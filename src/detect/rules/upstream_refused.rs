//! The resolver behind the cluster's DNS answers REFUSED.
//!
//! **Signature.** REFUSED comes back from an upstream, and clients are told the same: five
//! questions or two names. Seen from clients alone, external names are refused by the same
//! servers that answer names of the cluster.
//!
//! **Needs.** The client's queries and answers. To name the upstream, a capture that shows what
//! the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** version.bind and zone transfers are refused by design and are not counted.
//! Servers that refuse cluster names as well refuse the client itself. REFUSED without a question
//! to the upstream, where its legs are visible, is CoreDNS's own (`coredns-refused-burst`).
//!
//! **Cannot tell.** Whether the upstream refuses this source address (an access list, a quota) or
//! this zone. From clients alone, CoreDNS refuses names by itself too: where no `forward` covers
//! the zone, or `max_concurrent` is reached.
//!
//! Source: rulebook 2.E; RFC 1035 section 4.1.1; CoreDNS `plugin/forward`.

use crate::base::words::{clock, count, list, text};
use crate::detect::upstream::{
    Failing, Kind, Words, ask_it, failing, read_the_corefile, record_the_legs,
};
use crate::detect::{Class, Confidence, Descriptor, Detector, Finding, Layer, RuledOut, Scene};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-refused",
    title: "the resolver behind the cluster's DNS refuses names",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "RFC 1035 section 4.1.1"],
    source: include_str!("upstream_refused.rs"),
    new: || Box::new(UpstreamRefused),
};

/// Judges what `upstream.rs` read; keeps nothing of its own.
struct UpstreamRefused;

impl Detector for UpstreamRefused {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        failing(scene, Kind::Refused).iter().map(finding).collect()
    }
}

fn finding(failing: &Failing<'_>) -> Finding {
    let who = failing.who();
    let since = clock(failing.span.start);
    let what = failing.what();
    let title = if failing.is_seen() {
        text!("{who} refuses {what} since {since}, and clients are told REFUSED", who, what, since)
    } else {
        let forwarders = list(failing.forwarders(), 3);
        if failing.meanwhile.cluster_ok > 0 {
            text!(
                "{what} are REFUSED since {since} by {forwarders}, which answer cluster names",
                what,
                since,
                forwarders
            )
        } else {
            text!("{what} are REFUSED since {since} by {forwarders}", what, since, forwarders)
        }
    };
    let mut actions = vec![ask_it(failing, "+tries=1"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    let meanwhile = failing.meanwhile;
    let words = Words {
        title,
        confidence: if failing.is_seen() && !failing.troubles.is_empty() {
            Confidence::Confirmed
        } else if meanwhile.cluster_ok > 0 {
            Confidence::Likely
        } else {
            Confidence::Possible
        },
        cause: text!(
            "{rest} glibc and Go report a temporary failure at once; musl ignores REFUSED and \
             waits 5 s. An upstream refuses what its access list, its zones or its quota do not \
             allow for the address that asks.",
            rest = if failing.is_seen() {
                text!("{who} answers REFUSED, and the DNS pods pass it on.", who)
            } else if meanwhile.cluster_ok == 0 {
                text!(
                    "No name of a cluster was asked for or answered there: whether these servers \
                     refuse by themselves or pass it on, this capture does not show."
                )
            } else {
                text!(
                    "CoreDNS passes REFUSED on from its upstream; by itself it says so only for \
                     zones that no forward covers, or at its limit of concurrent queries. This \
                     capture does not show which."
                )
            }
        ),
        actions,
        ruled_out: vec![RuledOut {
            rule: "upstream-timeout",
            because: text!(
                "answers came, {troubles} of them; cluster names were answered {times} meanwhile",
                troubles = failing.troubles.len(),
                times = count(meanwhile.cluster_ok, "time")
            ),
        }],
    };
    failing.finding(&DETECTOR, words)
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::{CLUSTER, passed_on, told};
    use crate::testkit::findings;

    #[test]
    fn external_names_are_refused_by_servers_that_answer_cluster_names() {
        let text = told(5, "n{n}.example.com.", "REFUSED", 0.020);
        insta::assert_snapshot!(findings(&text), @"low upstream-refused [zone example.com] likely 10:00:01.000-10:00:25.020 5/5");
    }

    #[test]
    fn the_upstream_is_named_where_it_refuses_itself() {
        let text = passed_on(5, Some("REFUSED"), 0.520);
        insta::assert_snapshot!(findings(&text), @"low upstream-refused [upstream 192.0.2.53, zone example.com] confirmed 10:00:01.000-10:00:25.520 5/5");
    }

    #[test]
    fn a_server_that_refuses_cluster_names_refuses_the_client() {
        let refused = told(5, "n{n}.example.com.", "REFUSED", 0.020);
        let all = refused.replace("aa redis.default.svc.cluster.local. 5 A 10.96.0.20", "REFUSED");
        let text = findings(&all);
        assert!(!text.contains("upstream-refused"), "{text}");
    }

    /// A dead DNS pod fails cluster names, and says nothing of what stands behind the other one.
    #[test]
    fn a_dead_pod_beside_it_does_not_hide_the_refusals() {
        let text = format!(
            "dead = 10.244.2.10
             {}repeat 20 every 1 from 1.2
             0.0   pod:61000 > dead id 9 rd A redis.default.svc.cluster.local.
             end\n",
            told(5, "n{n}.example.com.", "REFUSED", 0.020)
        );
        let said = findings(&text);
        assert!(said.contains("upstream-refused [zone example.com] likely"), "{said}");
    }

    #[test]
    fn version_queries_are_refused_by_design() {
        let text = format!(
            "{CLUSTER}repeat 9 every 3
             0.0   pod:20000 > core id 2 TXT version.bind. class CH
             0.001 pod:20000 < core id 2 REFUSED
             end\n"
        );
        assert_eq!(findings(&text), "quiet\n");
    }

    #[test]
    fn five_refusals_of_one_name_are_enough_and_four_are_not() {
        let times = |n| findings(&told(n, "a.example.com.", "REFUSED", 0.020));
        assert!(times(5).contains("upstream-refused"));
        assert_eq!(times(4), "quiet\n");
    }

    #[test]
    fn an_answer_behind_the_captures_end_is_not_a_refusal() {
        let text = told(5, "a.example.com.", "REFUSED", 0.020);
        let cut = text.replace("0.02 pod:20000 < core id 2 REFUSED", "");
        let text = findings(&cut.replace("every 6 from 1", "every 0.2 from 28.5"));
        assert!(!text.contains("upstream-refused"), "{text}");
    }

    /// One in three questions for names of the cluster is answered only when it is sent again.
    #[test]
    fn loss_beside_it_does_not_hide_the_refusals() {
        let lost = "0.0    pod:41000 > core id 1 rd A redis.default.svc.cluster.local.
             5.0    pod:41000 > core id 1 rd A redis.default.svc.cluster.local.
             5.0005 pod:41000 < core id 1 aa redis.default.svc.cluster.local. 5 A 10.96.0.20";
        let text = format!(
            "{}repeat 15 every 1.9 from 1.2
             {lost}
             end\n",
            told(5, "n{n}.example.com.", "REFUSED", 0.020)
        );
        let said = findings(&text);
        assert!(said.contains(" upstream-refused [zone example.com] likely"), "{said}");
    }
}
