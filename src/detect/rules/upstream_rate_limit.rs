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

use crate::base::words::{clock, list, percent};
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
        title: format!(
            "{who} answers {} about {rate} queries a second and no more since {}: {} of them are \
             dropped",
            list(failing.forwarders(), 1),
            clock(failing.span.start),
            percent(dropped, dropped + failing.answered)
        ),
        confidence: Confidence::Likely,
        cause: format!(
            "Each second brought the same number of answers, whatever was asked above it: {} \
             answered, {dropped} not. That is how a quota for one source address looks; whose it \
             is does not show here. Searched names and short lifetimes multiply the queries.",
            failing.answered
        ),
        actions: vec![
            ask_it(failing, "+tries=1"),
            read_the_corefile(),
            Action {
                why: "spread the queries over more source addresses, and cache on each node"
                    .to_owned(),
                command: "kubectl -n kube-system scale deployment coredns --replicas=4   # on \
                          different nodes; NodeLocal DNSCache"
                    .to_owned(),
            },
        ],
        ruled_out: vec![
            RuledOut {
                rule: "lossy-path",
                because: "the answers of a second stay within a tenth of their mean".to_owned(),
            },
            RuledOut {
                rule: "upstream-timeout",
                because: format!("{} queries were answered meanwhile", failing.answered),
            },
        ],
    };
    failing.finding(&DETECTOR, words)
}
