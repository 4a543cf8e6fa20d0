//! A forwarding loop: a DNS server is asked its own question back.
//!
//! **Signature.** A DNS server sends a question to another server, and within 50 ms the same
//! question comes to it from there (from itself, where it asks itself): five times, or three times
//! with two names. CoreDNS notices such a loop by its HINFO probe and exits.
//!
//! **Needs.** A capture that shows what the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** A node's cache that asks the cluster's DNS, which asks an upstream, is a chain:
//! nothing comes back.
//!
//! **Cannot tell.** What closes the loop; mostly the node's /etc/resolv.conf, which names a local
//! stub (127.0.0.53) or the cluster's DNS itself, and which CoreDNS takes its upstreams from.
//!
//! Source: rulebook 2.E; CoreDNS `plugin/loop`.

use std::collections::BTreeSet;

use crate::base::words::{clock, count, list, plain, text};
use crate::detect::upstream::{BACK, Circle, circles, read_the_corefile};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Layer, Proof,
    Scene, Symptom, Where,
};
use crate::dns::{Name, Rcode};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-loop",
    title: "DNS servers forward to each other in a circle",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "CoreDNS plugin/loop"],
    source: include_str!("upstream_loop.rs"),
    new: || Box::new(UpstreamLoop),
};

/// Judges the legs; keeps nothing of its own.
struct UpstreamLoop;

impl Detector for UpstreamLoop {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        circles(scene).iter().map(|circle| finding(circle, scene)).collect()
    }
}

fn finding(Circle { servers: circle, legs, span }: &Circle<'_>, scene: &Scene<'_>) -> Finding {
    let span = *span;
    let names: BTreeSet<&Name> = legs.iter().map(|leg| &leg.question.name).collect();
    let probes = legs.iter().filter(|leg| leg.probe).count();
    Finding {
        rule: &DETECTOR,
        title: text!(
            "{circle} ask each other the same questions in a circle since {start}: {questions} \
             came back",
            circle = list(circle, 3),
            start = clock(span.start),
            questions = count(legs.len() as u64, "question")
        ),
        confidence: Confidence::Confirmed,
        culprits: circle.iter().map(|server| Culprit::Upstream(*server)).collect(),
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: legs.len() as u64,
        claim: Claim {
            // Who made the first one go round had asked a moment before.
            span: Some(span.widened(BACK)),
            outside: scene.forward.outside.cluster_zones(),
            symptoms: BTreeSet::from([
                Symptom::Error(Rcode::SERVFAIL),
                // What goes round fills CoreDNS's `max_concurrent`.
                Symptom::Error(Rcode::REFUSED),
                Symptom::Unanswered,
                Symptom::Late,
            ]),
            ..Claim::default()
        },
        cause: text!(
            "A question that a server passes on comes back to it within 50 ms, and goes round \
             until something gives up. CoreDNS takes its upstreams from the node's \
             /etc/resolv.conf; where that names a local stub or the cluster's DNS, the circle is \
             closed. Its loop plugin then stops the process, which looks like a crash loop."
        ),
        facts: vec![
            Fact { label: text!("servers"), value: list(circle, 4) },
            Fact { label: text!("questions that came back"), value: plain(legs.len()) },
            Fact { label: text!("of them CoreDNS's own loop probes"), value: plain(probes) },
            Fact { label: text!("names"), value: list(&names, 5) },
        ],
        evidence: legs
            .iter()
            .take(6)
            .map(|leg| Proof {
                seen: leg.sent,
                summary: text!(
                    "{upstream} is asked for {name} by {forwarder}, which it has just asked",
                    upstream = leg.way.upstream,
                    name = leg.question.name,
                    forwarder = leg.way.forwarder
                ),
            })
            .collect(),
        actions: vec![
            read_the_corefile(),
            Action {
                why: text!("see what the node's resolver file names"),
                command: "cat /etc/resolv.conf /run/systemd/resolve/resolv.conf   # on the DNS \
                          pod's node; kubelet: resolvConf"
                    .to_owned(),
            },
            Action {
                why: text!("see whether CoreDNS says so"),
                command:
                    "kubectl -n kube-system logs -l k8s-app=kube-dns --previous | grep -i loop"
                        .to_owned(),
            },
        ],
        ruled_out: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::CLUSTER;
    use crate::testkit::findings;

    /// `times` questions that the upstream asks back after `back` seconds.
    fn circle(times: u32, back: f64) -> String {
        format!(
            "{CLUSTER}0.1 pod:9 > up id 5 rd A first.example.
             0.2 pod:9 < up id 5 first.example. 5 A 203.0.113.7
             repeat {times} every 4 from 1
             0.0    pod:20000 > core id 2 rd A n{{n}}.example.com.
             0.001  core:30000 > up id 7 rd A n{{n}}.example.com.
             {back} up:31000 > core id 8 rd A n{{n}}.example.com.
             end\n"
        )
    }

    #[test]
    fn the_upstream_asks_the_same_question_back() {
        let text = findings(&circle(6, 0.002));
        assert!(
            text.contains("upstream-loop [upstream 10.244.1.10, upstream 192.0.2.53]"),
            "{text}"
        );
    }

    #[test]
    fn a_question_asked_much_later_is_its_own() {
        assert!(!findings(&circle(6, 0.9)).contains("upstream-loop"));
    }

    #[test]
    fn three_questions_with_two_names_are_enough_and_two_are_not() {
        assert!(findings(&circle(3, 0.002)).contains("upstream-loop"));
        assert!(!findings(&circle(2, 0.002)).contains("upstream-loop"));
    }

    #[test]
    fn nothing_comes_back_where_the_capture_ends_first() {
        let text = circle(6, 0.002).replace("up:31000 > core id 8", "up:31000 > core lost id 8");
        assert!(!findings(&text).contains("upstream-loop"));
    }

    /// The upstream has no other than the one that asks it, from the first question on: nobody ever hears an
    /// answer of it, and what it asks is no client's question.
    #[test]
    fn a_server_that_only_ever_asks_back_is_no_silent_upstream() {
        let text = findings(&format!(
            "{CLUSTER}repeat 6 every 4 from 1
             0.0    pod:20000 > core id 2 rd A n{{n}}.example.com.
             0.001  core:30000 > up id 7 rd A n{{n}}.example.com.
             0.002  up:31000 > core id 8 rd A n{{n}}.example.com.
             3.9    pod:20000 < core id 2 SERVFAIL
             end\n"
        ));
        assert!(
            text.contains(" upstream-loop [upstream 10.244.1.10, upstream 192.0.2.53]"),
            "{text}"
        );
        assert!(!text.contains("upstream-timeout") && text.contains(" 6/6"), "{text}");
    }

    /// Two replicas that forward to the service's address ask each other, and themselves.
    #[test]
    fn circles_that_share_a_server_are_one() {
        let text = findings(&format!(
            "{CLUSTER}mate = 10.244.1.11
             0.1 pod:9 > mate id 5 rd A first.example.
             0.2 pod:9 < mate id 5 first.example. 5 A 203.0.113.7
             repeat 6 every 4 from 1
             0.0    pod:20000 > core id 2 rd A n{{n}}.example.com.
             0.001  core:30000 > mate id 7 rd A n{{n}}.example.com.
             0.002  mate:31000 > core id 8 rd A n{{n}}.example.com.
             0.003  core:30001 > core id 9 rd A n{{n}}.example.com.
             0.004  core:30002 > core id a rd A n{{n}}.example.com.
             end\n"
        ));
        assert_eq!(text.matches("upstream-loop [").count(), 1, "{text}");
    }
}
