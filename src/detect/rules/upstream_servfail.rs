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

use crate::base::words::{clock, count, list};
use crate::detect::upstream::{
    Failing, Kind, Words, ask_it, failing, read_the_corefile, record_the_legs,
};
use crate::detect::{Class, Confidence, Descriptor, Detector, Finding, Layer, RuledOut, Scene};

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
    let what = failing
        .zone()
        .map_or_else(|| "external names".to_owned(), |zone| format!("names under {zone}"));
    let title = if failing.is_seen() {
        format!("{who} answers SERVFAIL for {what} since {since}, and clients are told the same")
    } else {
        format!(
            "{what} fail with SERVFAIL since {since}, too soon for a silent upstream; cluster \
             names are answered"
        )
    };
    let mut actions = vec![ask_it(failing, "+dnssec +cd"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    let mut ruled_out = vec![RuledOut {
        rule: "upstream-timeout",
        because: "an upstream that is silent makes clients wait 3.9 s or more for SERVFAIL"
            .to_owned(),
    }];
    let meanwhile = failing.meanwhile;
    if meanwhile.cluster_ok > 0 {
        ruled_out.push(RuledOut {
            rule: "coredns-unsynced",
            because: format!(
                "{} of cluster names were answered meanwhile, {} not",
                count(meanwhile.cluster_ok, "question"),
                meanwhile.cluster_bad
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
        cause: format!(
            "{} to {}. {} If every zone fails, the resolver has lost its own sources; if one zone \
             does, its servers, delegation or signatures are broken: with +cd a name that only \
             fails validation resolves. glibc and Go go on at once, musl repeats the query.",
            if failing.is_seen() {
                format!("{who} itself says SERVFAIL")
            } else {
                "SERVFAIL for external names comes at once, so somebody behind the DNS pods says \
                 it, or refuses them,"
                    .to_owned()
            },
            list(failing.forwarders(), 3),
            if failing.is_seen() {
                "The DNS pods pass it on and keep it for 5 s."
            } else {
                "This capture does not show who."
            }
        ),
        actions,
        ruled_out,
    };
    failing.finding(&DETECTOR, words)
}
