//! ICMP says that nobody listens on the DNS port.
//!
//! **Signature.** ICMP port unreachable (type 3 code 3, ICMPv6 type 1 code 4) comes back for
//! queries. From the pod's own address: the process is not listening (it crashed or starts up).
//! From another address on the way: a firewall there rejects. From the client's own node, for a
//! query that was never translated: the service has no endpoints.
//!
//! **Needs.** ICMP in the capture; the filter `port 53` hides it.
//!
//! **Not this.** ICMP that the client's host sends about a response: the client had closed its
//! socket, which is harmless or part of `late-response`.
//!
//! **Cannot tell.** Past the first hop, un-NAT rewrites the sender of an ICMP error to the service
//! address; then the sender is not known. glibc and Go fail at once on ICMP, musl ignores it.
//!
//! Source: rulebook 2.B; RFC 792, RFC 4443 section 3.1.

use super::icmp_host_unreachable::Rejections;
use crate::base::words::text;
use crate::detect::blackhole::{Blackhole, Words, look_at_pod};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};
use crate::packet::IcmpKind;
use crate::transaction::Transaction;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "icmp-port-unreachable",
    title: "ICMP says that nobody listens",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "RFC 792", "RFC 4443 section 3.1"],
    source: include_str!("icmp_port_unreachable.rs"),
    new: || Box::new(IcmpPortUnreachable(Rejections::new(IcmpKind::PortUnreachable))),
};

struct IcmpPortUnreachable(Rejections);

impl Detector for IcmpPortUnreachable {
    fn observe(&mut self, transaction: &Transaction) {
        self.0.note(transaction);
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let holes = Blackhole::by_server(scene, Kind::NobodyListens);
        let mut findings: Vec<Finding> = holes.iter().map(finding).collect();
        findings.extend(self.0.findings(&DETECTOR, scene));
        findings
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let server = hole.server();
    let mut actions: Vec<_> = hole.servers.iter().flat_map(|pod| look_at_pod(*pod)).collect();
    actions.push((
        text!("read what it said when it stopped"),
        "kubectl -n kube-system logs -l k8s-app=kube-dns --previous --tail=50".to_owned(),
    ));
    hole.finding(
        &DETECTOR,
        Words {
            title: text!(
                "nobody listens on port 53 of {server} any more, and {service} still sends queries \
                 there",
                server,
                service = hole.service()
            ),
            confidence: Confidence::Confirmed,
            culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
            place: Where::Server,
            cause: text!(
                "{server} itself answers queries with ICMP port unreachable: the host is up and \
                 reachable, the DNS process on it is not running or not listening, and the service \
                 still has it as a backend. Resolvers that heed ICMP fail at once, musl waits in \
                 vain.",
                server
            ),
            actions,
            ruled_out: vec![
                ("stale-backend", text!("the host answers, so its node is alive")),
                (
                    "path-broken-pair",
                    text!("ICMP comes back from {server}: the path works both ways", server),
                ),
            ],
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, findings};

    fn rejected(times: u16) -> String {
        let mut situation = Situation::cluster();
        for round in 0..60_u16 {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let bad = via == "dns1" && round >= 20 && round < 20 + 2 * times;
            let fate = if bad { Fate::Unreachable } else { Fate::Answered };
            situation.ask(f64::from(round), "pod", "kube-dns", via, fate);
        }
        findings(situation.text())
    }

    #[test]
    fn a_backend_rejects_queries_itself() {
        let said = rejected(15);
        assert!(said.contains(" icmp-port-unreachable [backend 10.244.1.10"), "{said}");
        assert!(said.contains("confirmed"), "{said}");
    }

    #[test]
    fn one_rejection_is_not_enough() {
        assert!(!rejected(1).contains("icmp-port-unreachable"));
    }
}
