//! ICMP says that nobody listens on the DNS port.
//!
//! **Signature.** ICMP port unreachable (type 3 code 3, ICMPv6 type 1 code 4) comes back for
//! queries. From the pod's own address: the process is not listening (it crashed or starts up).
//! So it is of the cache on the clients' own node (a link-local address), whoever else fails then.
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
use crate::base::is_link_local;
use crate::base::words::{Text, clock, duration, text};
use crate::detect::blackhole::{Blackhole, Words, look_at_pod, look_at_server};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Glance, Interest, Kind, Layer,
    Scene, Where, Which,
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
    fn interest(&self) -> Interest {
        Interest::new(Which::Unusual, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
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
    let direct = hole.is_direct();
    let of_node = hole.servers.iter().copied().all(is_link_local);
    let look = if direct { look_at_server } else { look_at_pod };
    let mut actions: Vec<_> = hole.servers.iter().take(3).flat_map(|one| look(*one)).collect();
    let label = if of_node { "node-local-dns" } else { "kube-dns" };
    actions.push((
        text!("read what it said when it stopped"),
        format!("kubectl -n kube-system logs -l k8s-app={label} --previous --tail=50"),
    ));
    let title = if !direct {
        text!(
            "nobody listens on port 53 of {server} any more, and {service} still sends queries \
             there",
            server,
            service = hole.service()
        )
    } else if hole.is_over() {
        text!(
            "nobody listened on port 53 of {server} from {start} on for {lasted}",
            server,
            start = clock(hole.span.start),
            lasted = duration(hole.length())
        )
    } else {
        text!("nobody listens on port 53 of {server} any more", server)
    };
    let still = if of_node {
        text!(". It is the cache on the clients' own node")
    } else if direct {
        Text::EMPTY
    } else {
        text!(", and the service still has it as a backend")
    };
    hole.finding(
        &DETECTOR,
        Words {
            title,
            confidence: Confidence::Confirmed,
            culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
            place: Where::Server,
            cause: text!(
                "{server} itself answers queries with ICMP port unreachable: the host is up and \
                 reachable, the DNS process on it is not running or not listening{still}. Resolvers \
                 that heed ICMP fail at once, musl waits in vain.",
                server,
                still
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
    use crate::incident::Severity;
    use crate::testkit::{Fate, Situation, analyse, findings, findings_until};

    fn rejected(times: u16) -> String {
        findings(&rejected_text(times))
    }

    fn rejected_text(times: u16) -> String {
        text(times, Fate::Unreachable)
    }

    fn text(times: u16, fate: Fate) -> String {
        let mut situation = Situation::cluster();
        for round in 0..60_u16 {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let bad = via == "dns1" && round >= 20 && round < 20 + 2 * times;
            let fate = if bad { fate } else { Fate::Answered };
            situation.ask(f64::from(round), "pod", "kube-dns", via, fate);
        }
        situation.text().to_owned()
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

    #[test]
    fn two_rejections_are_enough_wherever_the_capture_ends() {
        let text = rejected_text(2);
        assert!(findings(&text).contains(" icmp-port-unreachable [backend 10.244.1.10"));
        assert!(!findings_until(&text, 21.5).contains("icmp-port-unreachable"));
    }

    /// glibc closes its socket when it has what it wants; then its own host says so.
    #[test]
    fn an_error_about_an_answer_comes_from_a_client_that_has_gone() {
        let said = findings(
            "pod = 10.244.0.2\ndns = 192.0.2.53\nrepeat 20 every 3\n\
             0.000 pod:40000 > dns rd A www.example.org.\n\
             0.002 pod:40000 < dns www.example.org. 60 A 203.0.113.7\n\
             0.003 pod:40000 > dns icmp port-unreachable\nend\n",
        );
        assert_eq!(said, "quiet\n");
    }

    /// The same silence without a word of ICMP is another rule's.
    #[test]
    fn silence_is_no_rejection() {
        let said = findings(&text(15, Fate::Lost));
        assert!(said.contains("[backend 10.244.1.10"), "{said}");
        assert!(!said.contains("icmp-port-unreachable"), "{said}");
    }

    /// kube-proxy rejects on the client's own node what a service without endpoints is asked.
    fn without_endpoints(from: u16) -> String {
        let mut situation = Situation::cluster();
        situation.line(0.0, "near:9999 > kube-dns via dns3 rd A a.example.");
        for round in 0..60_u16 {
            for (pod, late) in [("pod", 0.0), ("near", 0.2), ("10.244.0.4", 0.4)] {
                let at = f64::from(round) + late;
                let via = if round % 2 == 0 { "dns1" } else { "dns2" };
                if round < from {
                    situation.ask(at, pod, "kube-dns", via, Fate::Answered);
                    continue;
                }
                for attempt in 0..2 {
                    let (port, at) = (40_000 + round + attempt, at + 0.0003 * f64::from(attempt));
                    for (rtype, id) in [("A", 0x100 + 2 * round), ("AAAA", 0x101 + 2 * round)] {
                        let ask = format!(
                            "{pod}:{port} > kube-dns via dns1 until veth id {id:x} rd {rtype} a.example."
                        );
                        situation.line(at, &ask);
                        let error = format!(
                            "{pod}:{port} < kube-dns icmp port-unreachable from 10.244.0.1 since veth"
                        );
                        situation.line(at + 0.00005, &error);
                    }
                }
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn a_service_without_endpoints_is_rejected_on_the_clients_node() {
        for from in [0, 20] {
            let analysis = analyse(&without_endpoints(from));
            let incident = analysis.incidents.first().expect("an incident");
            assert_eq!(incident.cause.rule.id, "icmp-port-unreachable");
            assert!(incident.severity >= Severity::High, "{}", incident.severity);
            let cause = incident.cause.cause.to_string();
            assert!(cause.contains("the service has no ready endpoint"), "{cause}");
        }
    }

    /// What was translated has an endpoint: then a host on the way rejects.
    #[test]
    fn a_firewall_on_the_way_is_not_taken_for_a_missing_endpoint() {
        let text = rejected_text(2)
            .replace("port-unreachable", "port-unreachable from 10.244.9.9 since overlay");
        let analysis = analyse(&text);
        let rule = "icmp-port-unreachable";
        let said = analysis.incidents.iter().find(|one| one.cause.rule.id == rule);
        let cause = said.expect("an incident").cause.cause.to_string();
        assert!(cause.contains("firewall") && !cause.contains("endpoint"), "{cause}");
    }

    /// The cache on the clients' own node is restarted: nobody else is asked.
    #[test]
    fn the_cache_of_the_node_says_itself_that_it_does_not_run() {
        let hosts = "cache = 169.254.20.10\na = 10.244.0.2\nb = 10.244.0.3\nc = 10.244.0.4";
        let mut situation = Situation::new(hosts);
        for round in 0..120_u16 {
            let at = f64::from(round) * 0.5;
            for client in ["a", "b", "c"] {
                let down = (40..58).contains(&round);
                let fate = if down { Fate::Unreachable } else { Fate::Answered };
                situation.ask(at, client, "cache", "", fate);
            }
        }
        let said = findings(situation.text());
        assert!(
            said.contains(" icmp-port-unreachable [backend 169.254.20.10] confirmed"),
            "{said}"
        );
        assert!(!said.contains("service-wide-outage"), "{said}");
    }
}
