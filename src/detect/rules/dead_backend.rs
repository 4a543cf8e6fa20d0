//! A DNS server is silent and stays in the service.
//!
//! **Signature.** At least three new flows go to the server and none is answered, until the capture
//! ends or for more than two minutes, while other servers answer the same clients; a server that
//! never answered in the whole capture counts from its start. With session affinity some clients
//! have no other server: then their neighbours' answers exonerate the node.
//!
//! **Needs.** The query after translation, or clients that ask the server directly.
//!
//! **Not this.** Taken out of the service after some 40 s: `stale-backend`. Reached by other nodes
//! meanwhile: `path-broken-pair`. ICMP from the pod itself says that nobody listens:
//! `icmp-port-unreachable`. TCP 53 works while UDP does not: `udp53-blocked`.
//!
//! **Cannot tell.** Whether the process hangs, its interface is down, or the packets are filtered on
//! the way; a capture on the server's node shows whether the queries arrive there.
//!
//! Source: rulebook 2.B.

use crate::base::words::{clock, count, duration};
use crate::detect::blackhole::{Blackhole, Words, look_at_pod};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "dead-backend",
    title: "a silent DNS server stays in the service",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B"],
    source: include_str!("dead_backend.rs"),
    new: || Box::new(DeadBackend),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct DeadBackend;

impl Detector for DeadBackend {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        Blackhole::by_server(scene, Kind::Dead).iter().map(finding).collect()
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, service) = (hole.server(), hole.service());
    let direct = hole.services == hole.servers;
    let of = if direct { String::new() } else { format!(" of service {service}") };
    let one_vantage = hole.one_vantage();
    let mut actions: Vec<_> = hole.servers.iter().flat_map(|pod| look_at_pod(*pod)).collect();
    actions
        .push(("on its node, see whether its interface is up", "ip -s link; ip addr".to_owned()));
    actions.push((
        "move it to another node",
        format!(
            "kubectl -n kube-system delete pod $(kubectl -n kube-system get pod -o wide | awk \
             '/{server}/{{print $1}}')"
        ),
    ));
    hole.finding(&DETECTOR, Words {
        title: format!(
            "backend {server}{of} answers nothing from {} on and still gets queries",
            clock(hole.span.start)
        ),
        confidence: if one_vantage { Confidence::Likely } else { Confidence::Confirmed },
        culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
        place: Where::Unknown,
        cause: format!(
            "{server} answered nothing for {} and was not taken out of service: its health check \
             does not notice, or nobody checks. The process hangs, its network interface is down, \
             or a filter drops what goes there.{}",
            duration(hole.length()),
            if one_vantage {
                " With clients of one node alone in the capture, the path to it may be broken \
                 instead: record on its node as well."
            } else {
                ""
            }
        ),
        actions,
        ruled_out: vec![
            (
                "stale-backend",
                format!("new flows kept going to it until {}", clock(hole.span.end)),
            ),
            (
                "service-wide-outage",
                format!(
                    "{} of the same network were answered meanwhile",
                    count(hole.answered_elsewhere(), "flow")
                ),
            ),
        ],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{failover, findings};

    #[test]
    fn a_backend_falls_silent_and_stays_in_the_service() {
        let said = findings(&failover(20.0, None, 160.0));
        assert!(said.contains(" dead-backend [backend 10.244.1.10] likely"), "{said}");
    }

    #[test]
    fn a_backend_that_is_taken_out_is_stale() {
        assert!(!findings(&failover(20.0, Some(60.0), 100.0)).contains(" dead-backend"));
    }

    #[test]
    fn two_lost_flows_are_no_outage() {
        assert!(!findings(&failover(98.5, None, 100.0)).contains("dead-backend"));
    }
}
