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

use crate::base::words::{clock, count, list};
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
    let what = failing
        .zone()
        .map_or_else(|| "external names".to_owned(), |zone| format!("names under {zone}"));
    let title = if failing.is_seen() {
        format!("{who} refuses {what} since {since}, and clients are told REFUSED")
    } else {
        format!(
            "{what} are REFUSED since {since} by {}, which answer cluster names",
            list(failing.forwarders(), 3)
        )
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
        cause: format!(
            "{} glibc and Go report a temporary failure at once; musl ignores REFUSED and waits \
             5 s. An upstream refuses what its access list, its zones or its quota do not allow \
             for the address that asks.",
            if failing.is_seen() {
                format!("{who} answers REFUSED, and the DNS pods pass it on.")
            } else {
                "CoreDNS passes REFUSED on from its upstream; by itself it says so only for zones \
                 that no forward covers, or at its limit of concurrent queries. This capture does \
                 not show which."
                    .to_owned()
            }
        ),
        actions,
        ruled_out: vec![RuledOut {
            rule: "upstream-timeout",
            because: format!(
                "answers came, {} of them; cluster names were answered {} meanwhile",
                failing.troubles.len(),
                count(meanwhile.cluster_ok, "time")
            ),
        }],
    };
    failing.finding(&DETECTOR, words)
}
