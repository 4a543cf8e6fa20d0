//! Nobody gets an answer from any DNS server.
//!
//! **Signature.** For at least two seconds all servers fail for the clients of all networks; or the
//! only address that is asked answers nobody, and at least three clients ask it.
//!
//! **Needs.** Three clients; two networks where more than one server is known.
//!
//! **Not this.** One network alone fails (`client-node-broken`), one server alone fails, UDP alone
//! fails (`udp53-blocked`), or only queries were captured (`cap-one-sided`).
//!
//! **Cannot tell.** Whether all replicas are down, the service has no endpoints, or a filter drops
//! everything.
//!
//! Source: rulebook 2.B.

use crate::base::words::{clock, duration, list};
use crate::detect::blackhole::{Blackhole, Words};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "service-wide-outage",
    title: "nobody gets DNS answers",
    class: Class::Failure,
    layer: Layer::Service,
    references: &["rulebook 2.B"],
    source: include_str!("service_wide_outage.rs"),
    new: || Box::new(ServiceWideOutage),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct ServiceWideOutage;

impl Detector for ServiceWideOutage {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let hole = Blackhole::whole(scene, Kind::Service);
        hole.filter(|hole| hole.failed >= 10).map(|hole| finding(&hole)).into_iter().collect()
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let service = hole.service();
    hole.finding(
        &DETECTOR,
        Words {
            title: format!(
                "no DNS server answered anybody from {} on ({})",
                clock(hole.span.start),
                duration(hole.length())
            ),
            confidence: if hole.networks.len() > 1 {
                Confidence::Confirmed
            } else {
                Confidence::Likely
            },
            culprits: hole.services.iter().copied().map(Culprit::Service).collect(),
            place: Where::Unknown,
            cause: format!(
                "All queries to {service} went unanswered for {}, whoever asked. All replicas are \
             down, the service has no endpoints, or a filter drops everything.",
                duration(hole.length())
            ),
            actions: vec![
                (
                    "see whether any replica runs and is ready",
                    "kubectl -n kube-system get pod,endpointslice -l k8s-app=kube-dns -o wide"
                        .to_owned(),
                ),
                (
                    "read what they last said",
                    "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
                ),
                (
                    "ask the service from a node",
                    format!(
                        "dig @{} kubernetes.default.svc.cluster.local",
                        list(&hole.services, 1)
                    ),
                ),
            ],
            ruled_out: vec![(
                "client-node-broken",
                format!("clients of {} failed alike", list(&hole.networks, 3)),
            )],
        },
    )
}
