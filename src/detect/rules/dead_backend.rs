//! A DNS server is silent and stays in the service.
//!
//! **Signature.** At least three new flows go to the server and none is answered, until the capture
//! ends, or for longer than a restart takes, and new flows go on to it, while other servers answer the
//! same clients; a server that never answered in the whole capture counts from its start. Servers that
//! the same clients ask by their own addresses, and that are silent at once, are one finding. With session affinity some clients
//! have no other server: then their neighbours' answers exonerate the node.
//!
//! **Needs.** The query after translation, or clients that ask the server directly.
//!
//! **Not this.** Taken out of the service after some 40 s: `stale-backend`. Reached by other nodes
//! meanwhile: `path-broken-pair`. ICMP from the pod itself says that nobody listens:
//! `icmp-port-unreachable`. TCP 53 works while UDP does not: `udp53-blocked`.
//!
//! **Cannot tell.** Whether the process hangs, its interface is down, or the packets are filtered on
//! the way; a capture on the server's node shows whether the queries arrive there. With clients of one
//! node alone, whatever their prefixes, it may be the way from that node: then it is likely at most.
//!
//! Source: rulebook 2.B.

use crate::base::words::{Text, clock, duration, first, text};
use crate::detect::blackhole::{Blackhole, Words, look_at_pod, look_at_server};
use crate::detect::hidden::hidden;
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene,
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
        let holes = Blackhole::by_list(scene, Kind::Dead);
        let mut findings: Vec<Finding> = holes.iter().map(finding).collect();
        findings.extend(hidden(&DETECTOR, Kind::Dead, scene));
        findings
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let one_vantage = hole.one_vantage();
    let (title, cause) = if hole.is_direct() { asked_directly(hole) } else { in_service(hole) };
    let rest = if one_vantage {
        text!(
            " With clients of one node alone in the capture, the path to it may be broken \
             instead: record on its node as well."
        )
    } else {
        Text::EMPTY
    };
    hole.finding(
        &DETECTOR,
        Words {
            title,
            confidence: if one_vantage { Confidence::Likely } else { Confidence::Confirmed },
            culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
            place: hole.place(),
            cause: text!("{cause}{rest}", cause, rest),
            actions: actions(hole),
            ruled_out: [(
                "stale-backend",
                text!("new flows kept going to it until {end}", end = clock(hole.span.end)),
            )]
            .into_iter()
            .chain(hole.not_service_wide())
            .collect(),
        },
    )
}

/// Title and cause of one that stands behind a service.
fn in_service(hole: &Blackhole<'_>) -> (Text, Text) {
    let (server, service) = (hole.server(), hole.service());
    let (start, lasted) = (clock(hole.span.start), duration(hole.length()));
    if hole.is_over() {
        let title = text!(
            "backend {server} of service {service} answered nothing from {start} on for {lasted}, \
             and got queries all the while",
            server,
            service,
            start,
            lasted
        );
        let cause = text!(
            "{server} answered nothing for {lasted} and was not taken out of service meanwhile: its \
             health check did not notice in time, or nobody checks. Then it answered again. The process \
             hung or was started anew, its network was down, or a filter dropped what went there.",
            server,
            lasted
        );
        return (title, cause);
    }
    let title = text!(
        "backend {server} of service {service} answers nothing from {start} on and still gets queries",
        server,
        service,
        start
    );
    let cause = text!(
        "{server} answered nothing for {lasted} and was not taken out of service: its health \
         check does not notice, or nobody checks. The process hangs, its network interface is \
         down, or a filter drops what goes there.",
        server,
        lasted
    );
    (title, cause)
}

/// Title and cause of one, or of several in one list, that clients ask by their own addresses.
fn asked_directly(hole: &Blackhole<'_>) -> (Text, Text) {
    let server = hole.server();
    let (start, lasted) = (clock(hole.span.start), duration(hole.length()));
    let title = if hole.is_over() {
        text!(
            "no answer from {server} from {start} on for {lasted}, while clients went on asking",
            server,
            start,
            lasted
        )
    } else {
        text!("no answer from {server} from {start} on, and clients go on asking", server, start)
    };
    let end = if hole.is_over() { text!(" Then answers came again.") } else { Text::EMPTY };
    let cause = text!(
        "No answer came from {server} for {lasted}.{end} Clients ask by that address: it stands in their \
         resolv.conf, is the resolver that they forward to, or is a backend that was recorded behind the \
         service. A process that hangs or is down, a host or network that is down, or a filter does that, \
         and every lookup that asks there first waits.",
        server,
        lasted,
        end
    );
    (title, cause)
}

fn actions(hole: &Blackhole<'_>) -> Vec<(Text, String)> {
    if hole.is_direct() {
        return hole.servers.iter().take(3).flat_map(|server| look_at_server(*server)).collect();
    }
    let mut actions: Vec<_> = hole.servers.iter().flat_map(|pod| look_at_pod(*pod)).collect();
    actions.push((
        text!("on its node, see whether its interface is up"),
        "ip -s link; ip addr".to_owned(),
    ));
    if !hole.is_over() {
        actions.push((
            text!("move it to another node"),
            format!(
                "kubectl -n kube-system delete pod --field-selector status.podIP={}",
                first(&hole.servers)
            ),
        ));
    }
    actions
}

#[cfg(test)]
mod tests {
    use crate::detect::Fact;
    use crate::testkit::{Fate, Situation, analyse, failover, findings, findings_until};

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
    fn a_pod_sees_every_second_socket_fail_for_good() {
        let mut situation = Situation::new("service = 10.96.0.10\npod = 10.244.0.2");
        for round in 0..60_u16 {
            let bad = round >= 20 && round % 2 == 0;
            let fate = if bad { Fate::Lost } else { Fate::Answered };
            situation.ask(f64::from(round), "pod", "service", "", fate);
        }
        let said = findings(situation.text());
        assert!(said.contains(" dead-backend [service 10.96.0.10] possible"), "{said}");
        assert!(!said.contains("lossy-path ["), "{said}");
    }

    /// The last ones that failed show only that they are not answered yet.
    #[test]
    fn a_capture_that_ends_meanwhile_does_not_end_the_silence() {
        let mut situation = Situation::new("service = 10.96.0.10\npod = 10.244.0.2");
        for round in 0..300_u16 {
            let fate = if round % 2 == 0 { Fate::Lost } else { Fate::Answered };
            situation.ask(f64::from(round) / 5.0, "pod", "service", "", fate);
        }
        let said = findings_until(situation.text(), 60.0);
        assert!(said.contains(" dead-backend [service 10.96.0.10] possible"), "{said}");
        assert!(!said.contains("stale-backend"), "{said}");
    }

    #[test]
    fn repeats_that_get_through_are_loss_and_no_backend() {
        let mut situation = Situation::new("service = 10.96.0.10\npod = 10.244.0.2");
        for round in 0..60_u16 {
            let bad = round >= 20 && round % 2 == 0;
            let fate = if bad { Fate::LostOnce } else { Fate::Answered };
            situation.ask(f64::from(round), "pod", "service", "", fate);
        }
        assert!(!findings(situation.text()).contains("dead-backend"));
    }

    #[test]
    fn three_lost_flows_are_an_outage_and_two_are_not() {
        let lost = |flows: u16| {
            let mut situation = Situation::cluster();
            for round in 0..40 + flows {
                let at = f64::from(round);
                let fate = if round < 40 { Fate::Answered } else { Fate::Lost };
                situation.ask(at, "pod", "kube-dns", "dns1", fate);
                situation.ask(at + 0.5, "pod", "kube-dns", "dns2", Fate::Answered);
            }
            situation.ask(70.0, "pod", "kube-dns", "dns2", Fate::Answered);
            findings(situation.text())
        };
        assert!(lost(3).contains(" dead-backend [backend 10.244.1.10]"), "{}", lost(3));
        assert!(!lost(2).contains("dead-backend"), "{}", lost(2));
    }

    #[test]
    fn a_capture_that_ends_with_the_first_failures_says_nothing() {
        assert_eq!(findings_until(&failover(20.0, None, 160.0), 24.0), "quiet\n");
    }

    /// Twelve nodes ask one server each, a few times: the half that asks the first one fails.
    #[test]
    fn a_server_that_fails_whoever_asks_it_is_no_matter_of_nodes() {
        let mut hosts = String::from("dns1 = 10.1.0.10\ndns2 = 10.1.0.11\n");
        for node in 0..12 {
            hosts.push_str(&format!("pod{node} = 10.244.{node}.2\n"));
        }
        let mut situation = Situation::new(&hosts);
        for round in 0..8_u8 {
            for node in 0..12_u8 {
                let (server, fate) = match node % 2 {
                    0 if round >= 4 => ("dns1", Fate::Lost),
                    0 => ("dns1", Fate::Answered),
                    _ => ("dns2", Fate::Answered),
                };
                let at = f64::from(round) * 10.0 + f64::from(node) * 0.7;
                situation.ask(at, &format!("pod{node}"), server, "", fate);
            }
        }
        let said = findings(situation.text());
        assert!(said.contains(" dead-backend [backend 10.1.0.10] confirmed"), "{said}");
        assert!(!said.contains("client-node-broken") && !said.contains("service-wide"), "{said}");
    }

    /// Each of many nodes asks three times, and half of all is lost: all three of some nodes.
    #[test]
    fn what_chance_does_to_some_of_many_nodes_breaks_none() {
        let mut hosts = String::from("dns = 10.1.0.10\n");
        for node in 0..64 {
            hosts.push_str(&format!("pod{node} = 10.244.{node}.2\n"));
        }
        let mut situation = Situation::new(&hosts);
        for round in 0..3_u8 {
            for node in 0..64_u8 {
                // Each pattern of three is that of eight nodes.
                let lost = node >> round & 1 == 1;
                let fate = if lost { Fate::Lost } else { Fate::Answered };
                let at = f64::from(round) * 30.0 + f64::from(node) * 0.4;
                situation.ask(at, &format!("pod{node}"), "dns", "", fate);
            }
        }
        let said = findings(situation.text());
        assert!(!said.contains("client-node-broken") && !said.contains("service-wide"), "{said}");
    }

    /// The first of two backends is silent from 20 s to 56 s. One port was asked from meanwhile, and is used
    /// by another lookup when it is back.
    fn silent_for_36_seconds() -> String {
        let mut situation = Situation::cluster();
        for round in 0..100_u16 {
            let at = f64::from(round);
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let silent = via == "dns1" && (20.0..56.0).contains(&at);
            if round == 36 {
                let query = "pod:39000 > kube-dns via dns1 id 7001 rd A a.example.com.";
                situation.line(at, query);
                continue;
            }
            let fate = if silent { Fate::Lost } else { Fate::Answered };
            situation.ask(at, "pod", "kube-dns", via, fate);
        }
        let rest = "kube-dns via dns1 id 7002";
        situation.line(60.3, &format!("pod:39000 > {rest} rd A b.example.com."));
        situation.line(60.301, &format!("pod:39000 < {rest} b.example.com. 5 A 203.0.113.7"));
        situation.text().to_owned()
    }

    #[test]
    fn a_socket_that_is_used_again_ends_no_outage() {
        let said = findings(&silent_for_36_seconds());
        assert!(said.contains(" dead-backend [backend 10.244.1.10]"), "{said}");
        assert!(!said.contains("backend-restart"), "{said}");
    }

    #[test]
    fn what_is_over_is_told_as_over() {
        let (title, facts) = told(&silent_for_36_seconds());
        assert!(title.contains("answered nothing from") && !title.contains("still"), "{title}");
        let ends = "last answered / first failed: 10:00:18.000 / 10:00:20.000";
        assert!(facts.iter().any(|fact| fact == ends), "{facts:?}");
    }

    /// Title and facts of the first incident.
    fn told(text: &str) -> (String, Vec<String>) {
        let found = analyse(text).incidents;
        let cause = &found.first().expect("an incident").cause;
        let fact = |fact: &Fact| format!("{}: {}", fact.label, fact.value);
        (cause.title.to_string(), cause.facts.iter().map(fact).collect())
    }

    /// A client asks the second name server when the first has not answered, and the third then.
    #[test]
    fn name_servers_of_one_list_that_die_together_are_one_finding() {
        let hosts = "ns1 = 192.0.2.1\nns2 = 192.0.2.2\nns3 = 192.0.2.3\na = 10.0.0.5";
        let mut situation = Situation::new(hosts);
        for round in 0..30_u16 {
            let at = f64::from(round) * 7.0;
            if !(10..25).contains(&round) {
                for server in ["ns1", "ns2", "ns3"] {
                    situation.ask(at, "a", server, "", Fate::Answered);
                }
                continue;
            }
            for (index, server) in (0_u16..).zip(["ns1", "ns2", "ns3"]) {
                let (at, port) = (at + 2.0 * f64::from(index), 40_000 + 10 * round + index);
                let (id, name) = (0x2000 + round, "www.example.com.");
                situation.line(at, &format!("a:{port} > {server} id {id:x} rd A {name}"));
                if index == 2 {
                    let answer = format!("a:{port} < {server} id {id:x} {name} 60 A 203.0.113.7");
                    situation.line(at + 0.002, &answer);
                }
            }
        }
        let said = findings(situation.text());
        assert!(said.contains(" dead-backend [backend 192.0.2.1, backend 192.0.2.2]"), "{said}");
        let (title, facts) = told(situation.text());
        assert!(title.starts_with("no answer from 192.0.2.1, 192.0.2.2 "), "{title}");
        let others = facts.iter().find(|fact| fact.starts_with("answered meanwhile"));
        assert!(others.is_some_and(|by| by.ends_with("by 192.0.2.3")), "{facts:?}");
    }
}
