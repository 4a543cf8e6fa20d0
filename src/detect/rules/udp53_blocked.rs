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

use crate::base::words::{clock, count, duration, first, text};
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
    let how = if rejected > 0 { text!("rejected") } else { text!("dropped") };
    let start = clock(hole.span.start);
    let connections = count(tcp, "connection");
    // Where nobody asked over TCP, it is ICMP that says so.
    let title = if tcp > 0 {
        text!(
            "UDP port 53 between {network} and {server} is blocked from {start} on; TCP passes",
            network,
            server,
            start
        )
    } else {
        text!(
            "UDP port 53 between {network} and {server} is blocked from {start} on: ICMP says that \
             it is prohibited",
            network,
            server,
            start
        )
    };
    let cause = if tcp > 0 {
        text!(
            "Every UDP query of {network} to {server} was {how} for {lasted}, while {connections} \
             to port 53 over TCP succeeded: hosts, routes and DNS servers are alive, and UDP 53 \
             alone does not pass. A security group, a network policy or a switch's access list \
             does that.",
            network,
            server,
            how,
            lasted = duration(hole.length()),
            connections
        )
    } else {
        text!(
            "Every UDP query of {network} to {server} was rejected for {lasted}, with ICMP errors \
             that only a packet filter sends: administratively prohibited. A firewall, a network \
             policy or a router's access list does that; whether it lets TCP pass, nobody tried.",
            network,
            server,
            lasted = duration(hole.length())
        )
    };
    hole.finding(&DETECTOR, Words {
        title,
        confidence: Confidence::Confirmed,
        culprits: hole.networks.iter().copied().map(Culprit::ClientSubnet).collect(),
        place: Where::PathToServer,
        cause,
        actions: vec![
            (
                text!("compare UDP and TCP"),
                format!(
                    "dig @{0} kubernetes.default.svc.cluster.local +notcp +tries=1; dig @{0} \
                     kubernetes.default.svc.cluster.local +tcp",
                    first(&hole.servers)
                ),
            ),
            (
                text!("look for a policy that forgets UDP 53"),
                "kubectl get networkpolicy -A -o yaml | grep -n -B5 -A5 'port: 53'".to_owned(),
            ),
            (
                text!("allow UDP 53, TCP 53 and ICMP again"),
                format!("iptables-save | grep -E 'dport (53|domain)' # and the security group of {network}"),
            ),
        ],
        ruled_out: vec![
            ("client-node-broken", if tcp > 0 {
                text!("{connections} over TCP succeeded", connections)
            } else {
                text!("the queries came as far as the filter that rejected them")
            }),
            ("dead-backend", text!(
                "{servers} fell silent at once",
                servers = count(hole.servers.len() as u64, "server")
            )),
        ],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// Both backends are silent over UDP from 10 s on; a client with TCP is served if `tcp`.
    fn udp_fails(tcp: bool) -> String {
        findings(&udp_fails_text(tcp))
    }

    fn udp_fails_text(tcp: bool) -> String {
        udp_fails_for(tcp, 30)
    }

    fn udp_fails_for(tcp: bool, flows: u16) -> String {
        let mut situation = Situation::cluster();
        for round in 0..40_u16 {
            let at = f64::from(round);
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let fate = if round >= 10 { Fate::Lost } else { Fate::Answered };
            if round < 10 + flows {
                situation.ask(at, "pod", "kube-dns", via, fate);
            }
            if tcp && round % 5 == 0 {
                let near = format!("near:{}", 30_000 + round);
                situation.line(at + 0.01, &format!("{near} > kube-dns via {via} tcp syn"));
                situation.line(at + 0.02, &format!("{near} < kube-dns via {via} tcp syn-ack"));
                situation.line(at + 0.03, &format!("{near} > kube-dns via {via} tcp A a.example."));
                situation.line(
                    at + 0.04,
                    &format!("{near} < kube-dns via {via} tcp a.example. 5 A 192.0.2.1"),
                );
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn udp_is_dropped_while_tcp_passes() {
        let said = udp_fails(true);
        assert!(said.contains(" udp53-blocked [client-subnet 10.244.0.0/24] confirmed"), "{said}");
    }

    /// The servers' nodes say that it is administratively prohibited.
    #[test]
    fn a_filter_that_says_so_needs_no_tcp() {
        let prohibited = |kind: &str| {
            let lines = udp_fails_text(false);
            let said = lines.lines().filter(|line| line.contains("pod:") && line.contains(" > "));
            let said: String = said
                .filter_map(|line| {
                    let (at, rest) = line.split_once(' ')?;
                    let (at, port) = (at.parse::<f64>().ok()?, rest.split_once(' ')?.0);
                    let late = (at >= 10.0).then_some(at + 0.001)?;
                    let via = rest.split("via ").nth(1)?.split(' ').next()?;
                    Some(format!("{late:.4} {port} < kube-dns via {via} icmp {kind}\n"))
                })
                .collect();
            findings(&format!("{lines}{said}"))
        };
        let said = prohibited("admin-prohibited");
        assert!(said.contains(" udp53-blocked [client-subnet 10.244.0.0/24] confirmed"), "{said}");
        assert!(!prohibited("host-unreachable").contains("udp53-blocked"));
    }

    #[test]
    fn without_tcp_nothing_says_that_udp_alone_is_blocked() {
        assert!(!udp_fails(false).contains("udp53-blocked"));
    }

    #[test]
    fn a_capture_that_ends_with_the_first_failures_says_nothing() {
        assert_eq!(findings_until(&udp_fails_text(true), 11.5), "quiet\n");
    }

    /// Ten flows in vain, of both servers together.
    #[test]
    fn ten_flows_are_enough_and_nine_are_not() {
        assert!(findings(&udp_fails_for(true, 10)).contains(" udp53-blocked ["));
        let said = findings(&udp_fails_for(true, 9));
        assert!(said.contains("10.244.0.0/24"), "the outage is seen: {said}");
        assert!(!said.contains("udp53-blocked"), "{said}");
    }

    /// The overlay is broken, or the node is dead: connections time out as queries do.
    #[test]
    fn connections_that_fail_as_well_are_not_udp_alone() {
        let text: String = udp_fails_text(true)
            .lines()
            .filter(|line| {
                let at: f64 = line.split(' ').next().and_then(|at| at.parse().ok()).unwrap_or(0.0);
                at < 10.0 || !line.contains("near:") || line.ends_with("tcp syn")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let said = findings(&text);
        assert!(said.contains("10.244.0.0/24") || said.contains("10.96.0.10"), "{said}");
        assert!(!said.contains("udp53-blocked"), "{said}");
    }
}
