//! UDP port 53 is filtered between a network and the DNS servers; other traffic passes.
//!
//! **Signature.** From one instant on no server answers the clients of a network over UDP, at least
//! ten flows fail, and meanwhile TCP connections to port 53 of the same servers succeed, or ICMP says
//! that the packets are administratively prohibited.
//!
//! **Needs.** At least one client that uses TCP 53 meanwhile, or ICMP in the capture.
//!
//! **Not this.** A dead node or a broken overlay loses TCP as well (`client-node-broken`). One silent
//! server among healthy ones is a matter of that server.
//!
//! **Cannot tell.** Which of the filters on the way drops the packets.
//!
//! Source: rulebook 2.B; RFC 792 (type 3, codes 9, 10 and 13).

use crate::base::words::{clock, count, duration, list};
use crate::detect::blackhole::{Blackhole, Words};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "udp53-blocked",
    title: "UDP port 53 is filtered",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "RFC 792", "RFC 1812 section 5.2.7.1"],
    source: include_str!("udp53_blocked.rs"),
    new: || Box::new(Udp53Blocked),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct Udp53Blocked;

impl Detector for Udp53Blocked {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        Blackhole::by_network(scene, Kind::Blocked).iter().map(finding).collect()
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, network) = (hole.server(), hole.network());
    let tcp = hole.outages.iter().map(|outage| outage.context.tcp_ok).max().unwrap_or(0);
    let rejected = hole.sum(crate::detect::Outage::rejected);
    let how = if rejected > 0 { "rejected" } else { "dropped" };
    hole.finding(&DETECTOR, Words {
        title: format!(
            "UDP port 53 between {network} and {server} is blocked from {} on; TCP passes",
            clock(hole.span.start)
        ),
        confidence: Confidence::Confirmed,
        culprits: hole.networks.iter().copied().map(Culprit::ClientSubnet).collect(),
        place: Where::PathToServer,
        cause: format!(
            "Every UDP query of {network} to {server} was {how} for {}, while {} to port 53 over \
             TCP succeeded: hosts, routes and DNS servers are alive, and UDP 53 alone does not \
             pass. A security group, a network policy or a switch's access list does that.",
            duration(hole.length()),
            count(tcp, "connection")
        ),
        actions: vec![
            (
                "compare UDP and TCP",
                format!(
                    "dig @{0} kubernetes.default.svc.cluster.local +notcp +tries=1; dig @{0} \
                     kubernetes.default.svc.cluster.local +tcp",
                    list(&hole.servers, 1)
                ),
            ),
            (
                "look for a policy that forgets UDP 53",
                "kubectl get networkpolicy -A -o yaml | grep -n -B5 -A5 'port: 53'".to_owned(),
            ),
            (
                "allow UDP 53, TCP 53 and ICMP again",
                format!("iptables-save | grep -E 'dport (53|domain)' # and the security group of {network}"),
            ),
        ],
        ruled_out: vec![
            ("client-node-broken", format!("{} over TCP succeeded", count(tcp, "connection"))),
            ("dead-backend", format!("{} fell silent at once", count(hole.servers.len() as u64, "server"))),
        ],
    })
}
