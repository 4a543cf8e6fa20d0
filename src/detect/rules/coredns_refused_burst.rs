//! CoreDNS itself refuses queries: it has too many in flight.
//!
//! **Signature.** A DNS pod whose own questions are visible answers REFUSED to clients without
//! asking anybody, five times or for two names, and nearly each time at least twenty of its questions
//! are on their way upstream, never less than half of the most that there ever were: a plateau. Two
//! on their way are enough if it forwards most of the refused questions at other times, or, of twenty and
//! more, names beside most of them. From clients alone:
//! nine of ten refusals come at once, within 10 ms, and meanwhile as many other answers from there take a
//! second or more.
//!
//! **Needs.** A capture that shows what the DNS pods ask: on their nodes, with `-i any`; or an upstream that
//! is slow enough for clients to show it.
//!
//! **Not this.** REFUSED that an upstream said is passed on (`upstream-refused`). REFUSED while
//! nothing is in flight is a zone that no `forward` covers.
//!
//! **Cannot tell.** The configured limit; the plateau is its measure.
//!
//! Source: rulebook 2.E; CoreDNS `plugin/forward` (`max_concurrent`); dnsmasq(8) (`--dns-forward-max`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{clock, count, list, plain, text};
use crate::detect::upstream::{AtLimit, at_limit, read_the_corefile};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Layer, Proof,
    RuledOut, Scene, Symptom, Where,
};
use crate::dns::{Name, Rcode};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "coredns-refused-burst",
    title: "CoreDNS refuses queries beyond its limit",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "CoreDNS plugin/forward max_concurrent"],
    source: include_str!("coredns_refused_burst.rs"),
    new: || Box::new(CorednsRefusedBurst),
};

/// Judges legs and clients' failures; keeps nothing of its own.
struct CorednsRefusedBurst;

impl Detector for CorednsRefusedBurst {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        at_limit(scene).iter().filter_map(|limit| finding(limit, scene)).collect()
    }
}

fn finding(limit: &AtLimit<'_>, scene: &Scene<'_>) -> Option<Finding> {
    let AtLimit { server, ref own, least, most, shown } = *limit;
    let span = own.iter().map(|trouble| trouble.span()).reduce(Span::join)?;
    let names: BTreeSet<&Name> = own.iter().map(|trouble| &trouble.question.name).collect();
    let clients: BTreeSet<IpAddr> = own.iter().map(|trouble| trouble.client).collect();
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{server} refuses {queries} by itself since {start}, with {least} or more in flight \
             upstream",
            server,
            queries = count(own.len() as u64, "query"),
            start = clock(span.start),
            least
        ),
        confidence: if shown { Confidence::Likely } else { Confidence::Possible },
        culprits: vec![Culprit::Backend(server)],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: own.len() as u64,
        claim: Claim {
            span: Some(span),
            servers: Some(BTreeSet::from([server])),
            outside: scene.forward.outside.cluster_zones(),
            symptoms: BTreeSet::from([Symptom::Error(Rcode::REFUSED)]),
            ..Claim::default()
        },
        cause: text!(
            "{what} CoreDNS does so at max_concurrent, dnsmasq at dns-forward-max. Slow or silent \
             upstreams fill that limit; so do search lists that multiply queries.",
            what = if shown {
                text!(
                    "{server} said REFUSED without asking its upstream, while {least} to {most} of \
                     its questions were on their way.",
                    server,
                    least,
                    most
                )
            } else {
                text!(
                    "{server} said REFUSED sooner than it can have asked its upstream, while the \
                     clients seen here waited for {least} to {most} other answers from there.",
                    server,
                    least,
                    most
                )
            }
        ),
        facts: vec![
            Fact {
                label: if shown {
                    text!("refused without a question upstream")
                } else {
                    text!("refused at once")
                },
                value: plain(own.len()),
            },
            Fact {
                label: text!("in flight upstream at those moments"),
                value: text!("{least} at least, {most} at most in the capture", least, most),
            },
            Fact { label: text!("clients"), value: list(&clients, 4) },
            Fact { label: text!("names"), value: list(&names, 5) },
        ],
        evidence: own
            .iter()
            .take(6)
            .filter_map(|trouble| {
                let summary = text!("{client} is told REFUSED", client = trouble.client);
                Some(Proof { seen: trouble.replied?, summary })
            })
            .collect(),
        actions: vec![
            read_the_corefile(),
            Action {
                why: text!("see how often CoreDNS counted this itself"),
                command: format!(
                    "curl -s http://{server}:9153/metrics | grep max_concurrent_rejects"
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "upstream-refused",
            because: if shown {
                text!("no query to an upstream stands behind these answers")
            } else {
                text!("these answers came at once, and those of the upstream take seconds")
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::CLUSTER;
    use crate::testkit::findings;

    /// `flying` questions on their way upstream, and meanwhile `refused` without one.
    fn burst(flying: u32, refused: u32) -> String {
        let mut text = format!(
            "{CLUSTER}0.1 core:9 > up id 5 rd A first.example.
             0.2 core:9 < up id 5 first.example. 5 A 203.0.113.7\n"
        );
        for n in 0..flying {
            let at = 5.0 + f64::from(n) / 1_000.0;
            let (reply, port) = (at + 0.9, 20_000 + n);
            let name = format!("n{n}.example.com.");
            text += &format!("{at:.3} core:{port} > up rd A {name}\n");
            text += &format!("{reply:.3} core:{port} < up {name} 5 A 203.0.113.7\n");
        }
        for n in 0..refused {
            let at = 5.5 + f64::from(n) / 100.0;
            let (reply, port) = (at + 0.000_5, 30_000 + n);
            text += &format!("{at:.4} pod:{port} > core rd A x{n}.example.com.\n");
            text += &format!("{reply:.4} pod:{port} < core REFUSED\n");
        }
        text
    }

    #[test]
    fn a_full_dns_pod_refuses_without_asking() {
        insta::assert_snapshot!(findings(&burst(40, 6)), @"low coredns-refused-burst [backend 10.244.1.10] likely 10:00:05.500-10:00:05.550 6/6");
    }

    #[test]
    fn refusing_while_nothing_is_in_flight_is_a_zone_without_a_forward() {
        assert!(!findings(&burst(3, 6)).contains("refused-burst"));
    }

    #[test]
    fn twenty_in_flight_are_busy_and_nineteen_are_not() {
        assert!(findings(&burst(20, 6)).contains("refused-burst"));
        assert!(!findings(&burst(19, 6)).contains("refused-burst"));
    }

    #[test]
    fn two_refusals_are_not_enough_wherever_the_capture_ends() {
        assert!(findings(&burst(40, 3)).contains("refused-burst"));
        assert!(!findings(&burst(40, 2)).contains("refused-burst"));
    }

    /// `slow` lookups wait for five seconds, and as many are refused meanwhile after so long.
    fn seen_by_clients(slow: u32, refused_after: f64) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        for n in 0..slow {
            let (sent, told) = (f64::from(n) / 100.0, 2.0 + f64::from(n) / 100.0);
            let (late, back) = (sent + 4.9, told + refused_after);
            let (one, other) = (format!("s{n}.example.com."), format!("r{n}.example.com."));
            text += &format!("{sent:.4} pod:2{n:04} > dns rd A {one}\n");
            text += &format!("{late:.4} pod:2{n:04} < dns {one} 5 A 203.0.113.7\n");
            text += &format!("{told:.4} pod:3{n:04} > dns rd A {other}\n");
            text += &format!("{back:.4} pod:3{n:04} < dns REFUSED\n");
        }
        text += "repeat 200 every 0.05\n0.000 pod > dns rd A redis.default.svc.cluster.local.\n\
                 0.001 pod < dns aa redis.default.svc.cluster.local. 5 A 10.96.0.20\nend\n";
        findings(&text)
    }

    #[test]
    fn clients_that_wait_for_many_others_are_refused_at_once() {
        let said = seen_by_clients(30, 0.001);
        assert!(said.contains(" coredns-refused-burst [backend 10.96.0.10] possible"), "{said}");
        assert!(!said.contains("upstream-refused"), "{said}");
        let said = seen_by_clients(30, 0.040);
        assert!(said.contains(" upstream-refused "), "asked and told: {said}");
        assert!(!said.contains("refused-burst"), "{said}");
    }

    #[test]
    fn names_that_it_forwards_at_other_times_have_a_forward() {
        let refused = burst(3, 6);
        let mut known = String::new();
        for n in 0..6 {
            let (at, port) = (1 + n, 15_000 + n);
            known += &format!("{at}.0 core:{port} > up rd A x{n}.example.com.\n");
            known += &format!("{at}.1 core:{port} < up x{n}.example.com. 5 A 203.0.113.7\n");
        }
        let said = findings(&format!("{refused}{known}"));
        assert!(said.contains(" coredns-refused-burst [backend 10.244.1.10]"), "{said}");
    }
}
