//! The resolver behind the cluster's DNS answers SERVFAIL.
//!
//! **Signature.** SERVFAIL comes back from an upstream, and clients are told the same: five
//! questions or two names. Seen from clients alone, SERVFAIL for external names comes sooner than
//! CoreDNS would give a silent upstream up, while names of the cluster are answered.
//!
//! **Needs.** The client's queries and answers. To name the upstream, a capture that shows what
//! the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** SERVFAIL after 3.9 to 6.2 s is a silent upstream (`upstream-timeout`). SERVFAIL
//! for cluster names is said by the DNS pod itself (`coredns-unsynced`). SERVFAIL that no answer
//! of the upstream explains, where its answers are visible, is not the upstream's.
//!
//! **Cannot tell.** Why. All names failing points at the resolver and its own way out; one zone
//! alone at that zone's servers, delegation or DNSSEC. From clients alone, a refused connection
//! to the upstream looks the same.
//!
//! Source: rulebook 2.E, K8; RFC 1035 section 4.1.1; RFC 8914.

use crate::base::words::{clock, count, list, text};
use crate::detect::upstream::{
    Failing, Kind, Words, ask_it, failing, read_the_corefile, record_the_legs,
};
use crate::detect::{
    Action, Class, Confidence, Descriptor, Detector, Fate, Finding, Layer, RuledOut, Scene,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-servfail",
    title: "the resolver behind the cluster's DNS answers SERVFAIL",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "RFC 1035 section 4.1.1"],
    source: include_str!("upstream_servfail.rs"),
    new: || Box::new(UpstreamServfail),
};

/// Judges what `upstream.rs` read; keeps nothing of its own.
struct UpstreamServfail;

impl Detector for UpstreamServfail {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        failing(scene, Kind::ServFail).iter().map(finding).collect()
    }
}

fn finding(failing: &Failing<'_>) -> Finding {
    let who = failing.who();
    let since = clock(failing.span.start);
    let what = failing.what();
    let title = if failing.is_seen() {
        text!(
            "{who} answers SERVFAIL for {what} since {since}, and clients are told the same",
            who,
            what,
            since
        )
    } else {
        text!(
            "{what} fail with SERVFAIL since {since}, too soon for a silent upstream; cluster \
             names are answered",
            what,
            since
        )
    };
    let mut actions = vec![ask_it(failing, "+dnssec +cd"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    let mut ruled_out = vec![RuledOut {
        rule: "upstream-timeout",
        because: text!("an upstream that is silent makes clients wait 3.9 s or more for SERVFAIL"),
    }];
    let meanwhile = failing.meanwhile;
    if failing.legs.iter().any(|leg| leg.fate == Fate::Silent) {
        actions.push(Action {
            why: text!("see whether the answer is too large for a resolver without TCP"),
            command: format!(
                "dig {} +bufsize=4096 | grep SIZE   # through another resolver",
                failing.names().first().map_or_else(String::new, ToString::to_string)
            ),
        });
    }
    if meanwhile.cluster_ok > 0 {
        ruled_out.push(RuledOut {
            rule: "coredns-unsynced",
            because: text!(
                "{questions} of cluster names were answered meanwhile, {cluster_bad} not",
                questions = count(meanwhile.cluster_ok, "question"),
                cluster_bad = meanwhile.cluster_bad
            ),
        });
    }
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
            "{who} {scope} glibc and Go go on at once, musl repeats the query.",
            who = if failing.is_seen() {
                text!(
                    "{who} itself says SERVFAIL to {forwarders}; the DNS pods pass it on and keep \
                     it for 5 s.",
                    who,
                    forwarders = list(failing.forwarders(), 3)
                )
            } else {
                text!(
                    "SERVFAIL for external names comes at once, so somebody behind the DNS pods \
                     says it, or refuses them. This capture does not show who."
                )
            },
            scope = if failing.by_name {
                text!(
                    "Other names are answered, so the resolver works: look at the servers, the \
                     delegation and the signatures of these zones (with +cd a name that only fails \
                     validation resolves), and at the size of the answers: a resolver that cannot \
                     use TCP towards a zone's servers fails for large answers alone."
                )
            } else {
                text!(
                    "If every zone fails, the resolver has lost its own sources; if one zone does, \
                     its servers, delegation or signatures are broken."
                )
            }
        ),
        actions,
        ruled_out,
    };
    failing.finding(&DETECTOR, words)
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::{CLUSTER_FAILS, passed_on, told};
    use crate::testkit::findings;

    #[test]
    fn clients_are_told_servfail_at_once() {
        let text = told(5, "n{n}.example.com.", "SERVFAIL", 0.020);
        insta::assert_snapshot!(findings(&text), @"low upstream-servfail [zone example.com] likely 10:00:01.000-10:00:25.020 5/5");
    }

    #[test]
    fn the_upstream_is_named_where_it_says_so_itself() {
        let text = passed_on(5, Some("SERVFAIL"), 0.520);
        insta::assert_snapshot!(findings(&text), @"low upstream-servfail [upstream 192.0.2.53, zone example.com] confirmed 10:00:01.000-10:00:25.520 5/5");
    }

    #[test]
    fn servfail_that_no_answer_of_the_upstream_explains_is_not_the_upstreams() {
        let data = "NOERROR n0.example.com. 5 A 203.0.113.7";
        let text =
            passed_on(5, Some(data), 0.520).replace(&format!("id 2 {data}"), "id 2 SERVFAIL");
        let text = findings(&text);
        assert!(!text.contains("upstream"), "{text}");
    }

    #[test]
    fn three_failures_of_two_names_are_enough_and_two_are_not() {
        let times = |n| findings(&told(n, "n{n}.example.com.", "SERVFAIL", 0.020));
        assert!(times(3).contains("upstream-servfail"));
        assert_eq!(times(2), "quiet\n");
    }

    #[test]
    fn a_dns_pod_that_fails_for_cluster_names_says_so_itself() {
        let text = told(5, "n{n}.example.com.", "SERVFAIL", 0.020);
        let text = findings(&format!("{text}{CLUSTER_FAILS}"));
        assert!(!text.contains("upstream"), "{text}");
    }

    #[test]
    fn failures_that_the_captures_end_cuts_off_are_not_counted() {
        let text = told(5, "a.example.com.", "SERVFAIL", 0.020);
        let open = text.replace("0.02 pod:20000 < core id 2 SERVFAIL", "");
        let text = findings(&open.replace("every 6 from 1", "every 0.2 from 28.5"));
        assert!(!text.contains("upstream-servfail"), "{text}");
    }

    /// Of two replicas the first says SERVFAIL to every name outside, and the other has them.
    #[test]
    fn the_replica_that_fails_alone_is_named() {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        for round in 0..60_u32 {
            let (port, via) = (20_000 + round, 1 + round % 2);
            let outside = round % 4 < 2;
            let name = if outside {
                format!("n{round}.example.com.")
            } else {
                "redis.default.svc.cluster.local.".to_owned()
            };
            let answer = match (outside, via) {
                (true, 1) => "SERVFAIL".to_owned(),
                (true, _) => format!("{name} 5 A 203.0.113.7"),
                _ => format!("aa {name} 5 A 10.96.0.20"),
            };
            text += &format!("{round}.0 pod:{port} > kube-dns via dns{via} id 7 rd A {name}\n");
            text += &format!("{round}.02 pod:{port} < kube-dns via dns{via} id 7 {answer}\n");
        }
        let said = findings(&text);
        let culprits = "[backend 10.244.1.10, zone example.com]";
        assert!(said.contains(&format!(" upstream-servfail {culprits}")), "{said}");
    }
}
