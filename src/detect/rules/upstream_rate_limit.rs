//! The resolver behind the cluster's DNS answers so many queries a second, and drops the rest.
//!
//! **Signature.** For ten seconds or more an upstream answers one source address the same number
//! of queries each second, within a tenth, at least twenty, while more are asked and at least a
//! tenth stays unanswered.
//!
//! **Needs.** A capture that shows what the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** Random loss takes a share of what is asked, so that answers rise and fall with
//! the questions. A silent upstream (`upstream-timeout`) answers nothing.
//!
//! **Cannot tell.** Whose limit it is: cloud resolvers have a quota for each instance or network
//! interface, and so have firewalls on the way.
//!
//! Source: rulebook 2.E; kubernetes/enhancements KEP 1024 (quotas of cloud resolvers by node).

use crate::base::words::{clock, list, percent, text};
use crate::detect::upstream::{Failing, Kind, Words, ask_it, failing, read_the_corefile};
use crate::detect::{
    Action, Class, Confidence, Descriptor, Detector, Finding, Layer, RuledOut, Scene,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-rate-limit",
    title: "the resolver behind the cluster's DNS limits the rate",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E"],
    source: include_str!("upstream_rate_limit.rs"),
    new: || Box::new(UpstreamRateLimit),
};

/// Judges what `upstream` read; keeps nothing of its own.
struct UpstreamRateLimit;

impl Detector for UpstreamRateLimit {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        failing(scene, Kind::Limited).iter().map(finding).collect()
    }
}

fn finding(failing: &Failing<'_>) -> Finding {
    let who = failing.who();
    let seconds = failing.span.length().as_secs().max(1);
    let rate = failing.answered / seconds;
    let dropped = failing.legs.len() as u64;
    let words = Words {
        title: text!(
            "{who} answers {forwarders} about {rate} queries a second and no more since {start}: \
             {share} of them are dropped",
            who,
            forwarders = list(failing.forwarders(), 1),
            rate,
            start = clock(failing.span.start),
            share = percent(dropped, dropped + failing.answered)
        ),
        confidence: Confidence::Likely,
        cause: text!(
            "Each second brought the same number of answers, whatever was asked above it: \
             {answered} answered, {dropped} not. That is how a quota for one source address looks; \
             whose it is does not show here. Searched names and short lifetimes multiply the \
             queries.",
            answered = failing.answered,
            dropped
        ),
        actions: vec![
            ask_it(failing, "+tries=1"),
            read_the_corefile(),
            Action {
                why: text!("spread the queries over more source addresses, and cache on each node"),
                command: "kubectl -n kube-system scale deployment coredns --replicas=4   # on \
                          different nodes; NodeLocal DNSCache"
                    .to_owned(),
            },
        ],
        ruled_out: vec![
            RuledOut {
                rule: "lossy-path",
                because: text!("the answers of a second stay within a tenth of their mean"),
            },
            RuledOut {
                rule: "upstream-timeout",
                because: text!(
                    "{answered} queries were answered meanwhile",
                    answered = failing.answered
                ),
            },
        ],
    };
    failing.finding(&DETECTOR, words)
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::CLUSTER;
    use crate::testkit::findings;

    /// For `seconds` the DNS pod asks 40 questions a second; those of the first `answered` in
    /// each second are answered (`also` more of them in every other second).
    fn limited(seconds: u32, answered: u32, also: u32) -> String {
        let mut text = String::from(CLUSTER);
        for second in 0..seconds {
            for n in 0..40 {
                let at = 1.0 + f64::from(second) + f64::from(n) / 50.0;
                let port = 20_000 + second * 40 + n;
                let name = format!("n{n}.s{second}.example.com.");
                text += &format!("{at:.3} core:{port} > up rd A {name}\n");
                if n < answered + also * (second % 2) {
                    let at = at + 0.005;
                    text += &format!("{at:.3} core:{port} < up {name} 5 A 203.0.113.7\n");
                }
            }
        }
        text
    }

    #[test]
    fn the_same_number_of_answers_each_second() {
        insta::assert_snapshot!(findings(&limited(15, 25, 0)), @"info upstream-rate-limit [upstream 192.0.2.53, zone example.com] likely 10:00:01.500-10:00:15.780 0/0");
    }

    #[test]
    fn answers_that_rise_and_fall_are_loss() {
        assert!(!findings(&limited(15, 20, 10)).contains("rate-limit"));
    }

    #[test]
    fn ten_seconds_are_a_plateau_and_nine_are_not() {
        assert!(findings(&limited(10, 25, 0)).contains("rate-limit"));
        assert!(!findings(&limited(9, 25, 0)).contains("rate-limit"));
    }

    #[test]
    fn questions_in_flight_at_the_captures_end_prove_nothing() {
        let text = limited(28, 40, 0).replace("1 A 10.96.0.20", "");
        assert!(!findings(&text).contains("rate-limit"));
    }
}
