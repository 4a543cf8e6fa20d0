//! The resolver behind the cluster's DNS does not answer.
//!
//! **Signature.** Queries that DNS pods send on for their clients stay unanswered or are rejected by
//! ICMP, at least half of them, for five questions or two names. CoreDNS waits 2 s for each try and gives up after
//! 4 to 6 s, so clients are told SERVFAIL on a plateau of 3.9 to 6.2 s, or give up before; repeats
//! within the next 5 s get the same SERVFAIL from its cache at once. Ten answers or more that come 2 s
//! or 4 s after the question, two of three that are slow, are those of a second or third try: the
//! first went unanswered. Names of the cluster, which need no upstream, are answered meanwhile.
//!
//! **Needs.** The client's queries and answers. To name the upstream, a capture that shows what
//! the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** SERVFAIL at once was said by the upstream itself (`upstream-servfail`). Cluster
//! names that fail as well make it the DNS pods' own trouble or the path to them. Where only AAAA
//! fails and A is answered, somebody drops AAAA (`slow-or-dropped-aaaa`).
//!
//! **Cannot tell.** Whether the upstream is down, the way to it is cut, or a firewall drops the
//! queries. One DNS pod that gets nothing from any upstream while the others do has lost its own
//! way out.
//!
//! Source: rulebook 2.E, K8, K9; CoreDNS `plugin/forward`.

use crate::base::words::{Text, count, duration, list, text};
use crate::detect::upstream::{
    Failing, Kind, Words, ask_it, failing, read_the_corefile, record_the_legs,
};
use crate::detect::{
    Action, Class, Confidence, Descriptor, Detector, Finding, Layer, RuledOut, Scene,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-timeout",
    title: "the resolver behind the cluster's DNS does not answer",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "CoreDNS plugin/forward"],
    source: include_str!("upstream_timeout.rs"),
    new: || Box::new(UpstreamTimeout),
};

/// Judges what `upstream.rs` read; keeps nothing of its own.
struct UpstreamTimeout;

impl Detector for UpstreamTimeout {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        failing(scene, Kind::Silent).iter().map(finding).collect()
    }
}

fn finding(failing: &Failing<'_>) -> Finding {
    let who = failing.who();
    let cause = if failing.is_seen() && failing.is_rejected() {
        text!(
            "{who} answered {answered} of {queries} that needed an answer, and ICMP rejected most \
             others: a firewall on the way, a router without a route, or its host, where nobody \
             listens on the port. The frames show who says it.",
            who,
            answered = failing.answered,
            queries = count(failing.answered + failing.legs.len() as u64, "query")
        )
    } else if failing.is_seen() {
        text!(
            "{who} answered {answered} of {queries} that needed an answer. That is measured; \
             whether it is down, the way to it is cut or a firewall drops the queries is not \
             visible here. If other DNS pods reach it, look at the way out of {forwarders}.",
            who,
            answered = failing.answered,
            queries = count(
                failing.answered + (failing.legs.len() + failing.knocks.len()) as u64,
                "query"
            ),
            forwarders = list(failing.forwarders(), 3)
        )
    } else if failing.is_retried() {
        text!(
            "CoreDNS waits 2 s for an upstream before it tries again, and {answers} for external \
             names came just when a second or third try was answered; cluster names came at once. \
             So an upstream, or one of several, is likely silent, or queries to it are lost; this \
             capture does not show who it is.",
            answers = count(failing.troubles.len() as u64, "answer")
        )
    } else {
        text!(
            "The DNS pods answer cluster names at once and external ones with SERVFAIL after the \
             time that CoreDNS waits for a silent upstream (tries of 2 s, 4 to 6 s in all), or not \
             at all. So the upstream is likely silent; this capture does not show who it is. \
             Resolvers that wait 5 s (musl, Go) give up at about the moment when SERVFAIL comes."
        )
    };
    let mut actions = vec![ask_it(failing, "+tries=1 +time=2"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    actions.push(Action {
        why: text!("survive it next time: a second upstream, and stale answers from the cache"),
        command: "kubectl -n kube-system edit configmap coredns   # forward . U1 U2 { policy \
                  sequential; max_fails 2 }  cache { serve_stale }"
            .to_owned(),
    });
    let meanwhile = failing.meanwhile;
    let words = Words {
        title: title(failing),
        confidence: confidence(failing),
        cause,
        actions,
        ruled_out: vec![
            if failing.is_seen() {
                RuledOut {
                    rule: "upstream-servfail",
                    because: text!("the queries that failed have no answer of it at all"),
                }
            } else if failing.is_retried() {
                RuledOut {
                    rule: "upstream-slow",
                    because: text!(
                        "the slow answers came 2 s after the question, or 4 s: by CoreDNS's timer"
                    ),
                }
            } else {
                RuledOut {
                    rule: "upstream-servfail",
                    because: text!(
                        "the clients' SERVFAIL came after CoreDNS's waiting time, not at once"
                    ),
                }
            },
            RuledOut {
                rule: "coredns-overload",
                because: text!(
                    "{questions} of cluster names were answered in time meanwhile, {cluster_bad} \
                     not",
                    questions = count(meanwhile.cluster_ok, "question"),
                    cluster_bad = meanwhile.cluster_bad
                ),
            },
        ],
    };
    failing.finding(&DETECTOR, words)
}

fn title(failing: &Failing<'_>) -> Text {
    let who = failing.who();
    let when = failing.when();
    let forwarders = list(failing.forwarders(), 3);
    match (failing.is_seen(), failing.by_name, failing.waits()) {
        (true, true, _) => text!(
            "{who} gives {forwarders} no answer for {what} {when}, while it answers others",
            who,
            forwarders,
            what = failing.what(),
            when
        ),
        (true, false, _) if failing.is_rejected() => text!(
            "queries of {forwarders} to {who} are rejected by ICMP errors {when}: external names \
             fail, cluster names do not need it",
            forwarders,
            who,
            when
        ),
        (true, false, _) => text!(
            "{who} gives {forwarders} no answer {when}: external names fail, cluster names do not \
             need it",
            who,
            forwarders,
            when
        ),
        (false, _, Some((middle, longest))) if failing.is_retried() => text!(
            "answers for external names take {middle} ({longest} at most) {when}: tries of \
             {forwarders} at the upstream go unanswered",
            middle = duration(middle),
            longest = duration(longest),
            when,
            forwarders
        ),
        (false, _, Some((_, longest))) => text!(
            "external names fail {when}: {forwarders} say SERVFAIL after up to {longest}, as long \
             as CoreDNS waits for a silent upstream",
            when,
            forwarders,
            longest = duration(longest)
        ),
        (false, _, None) => text!(
            "external names are not answered {when} by {forwarders}, which answer cluster names",
            when,
            forwarders
        ),
    }
}

/// Confirmed where the legs show the silence and clients its effect; without cluster names to
/// compare with, a busy server is as good an explanation.
fn confidence(failing: &Failing<'_>) -> Confidence {
    if failing.is_seen() && !failing.troubles.is_empty() {
        Confidence::Confirmed
    } else if failing.is_seen() || failing.meanwhile.cluster_ok > 0 {
        Confidence::Likely
    } else {
        Confidence::Possible
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::{CLUSTER, CLUSTER_FAILS, passed_on, told};
    use crate::testkit::findings;

    #[test]
    fn clients_are_told_servfail_after_the_time_that_coredns_waits() {
        let text = told(5, "n{n}.example.com.", "SERVFAIL", 5.001);
        insta::assert_snapshot!(findings(&text), @"low upstream-timeout [zone example.com] likely 10:00:01.000-10:00:30.001 5/5");
    }

    /// Twelve names that are answered after `wait`.
    fn answered_after(wait: f64) -> String {
        format!(
            "repeat 12 every 2 from 1.5
             0.0    pod:25000 > core id 4 rd A s{{n}}.example.com.
             {wait} pod:25000 < core id 4 s{{n}}.example.com. 5 A 203.0.113.7
             end\n"
        )
    }

    #[test]
    fn answers_that_come_by_coredns_timer_are_those_of_further_tries() {
        for wait in [2.005, 4.01] {
            let text = findings(&format!("{CLUSTER}{}", answered_after(wait)));
            assert!(text.contains(" upstream-timeout [zone example.com] likely"), "{text}");
            assert!(!text.contains("upstream-slow"), "{text}");
        }
        for wait in [1.9, 2.2, 3.0] {
            let text = findings(&format!("{CLUSTER}{}", answered_after(wait)));
            assert!(!text.contains("upstream-timeout") && text.contains("upstream-slow"), "{text}");
        }
    }

    #[test]
    fn one_silence_makes_errors_and_late_answers() {
        let told = told(5, "n{n}.example.com.", "SERVFAIL", 5.001);
        let text = findings(&format!("{told}{}", answered_after(2.005)));
        assert!(text.contains(" upstream-timeout [zone example.com] likely"), "{text}");
        assert!(text.contains(" 5/17") && !text.contains("upstream-slow"), "{text}");
    }

    #[test]
    fn the_upstream_is_named_where_its_legs_are_visible() {
        insta::assert_snapshot!(findings(&passed_on(5, None, 5.001)), @"low upstream-timeout [upstream 192.0.2.53, zone example.com] confirmed 10:00:01.000-10:00:30.001 5/5");
    }

    /// A router on the way says that it may not pass, and CoreDNS says SERVFAIL at once.
    #[test]
    fn an_upstream_that_icmp_errors_stand_for_gives_no_answer() {
        let legs = passed_on(5, None, 0.002).replace(
            "0.501 core:30001 > up id 8 rd A n{n}.example.com.",
            "0.0015 core:30000 > up icmp admin-prohibited from other",
        );
        let text = findings(&legs.replace("core:30000 > up icmp", "core:30000 < up icmp"));
        assert!(text.contains(" upstream-timeout [upstream 192.0.2.53"), "{text}");
        assert!(text.contains("confirmed") && text.contains(" 5/5"), "{text}");
    }

    #[test]
    fn servfail_at_once_was_said_by_the_upstream() {
        let text = findings(&told(5, "n{n}.example.com.", "SERVFAIL", 0.020));
        assert!(!text.contains("upstream-timeout") && text.contains("upstream-servfail"), "{text}");
    }

    #[test]
    fn five_failures_of_one_name_are_enough_and_four_are_not() {
        let times = |n| findings(&told(n, "a.example.com.", "SERVFAIL", 5.001));
        assert!(times(5).contains("upstream-timeout"));
        assert_eq!(times(4), "quiet\n");
    }

    #[test]
    fn cluster_names_that_fail_as_well_are_not_the_upstreams_fault() {
        let text = told(5, "n{n}.example.com.", "SERVFAIL", 5.001);
        let text = findings(&format!("{text}{CLUSTER_FAILS}"));
        assert!(!text.contains("upstream"), "{text}");
    }

    #[test]
    fn only_aaaa_failing_is_another_rules() {
        let fine = "repeat 10 every 3
             0.0   pod:60000 > core id 3 rd A n1.example.com.
             0.001 pod:60000 < core id 3 n1.example.com. 5 A 203.0.113.7
             end\n";
        let aaaa = told(5, "n{n}.example.com.", "SERVFAIL", 5.001).replace("A n{n}", "AAAA n{n}");
        let text = findings(&format!("{aaaa}{fine}"));
        assert!(!text.contains("upstream"), "{text}");
    }

    #[test]
    fn queries_in_flight_at_the_captures_end_prove_nothing() {
        let text = format!(
            "{CLUSTER}repeat 6 every 0.3 from 27.5
             0.0    pod:20000 > core id 2 rd A n{{n}}.example.com.
             0.0005 core:30000 > up id 7 rd A n{{n}}.example.com.
             end\n"
        );
        assert_eq!(findings(&text), "quiet\n");
    }
}
