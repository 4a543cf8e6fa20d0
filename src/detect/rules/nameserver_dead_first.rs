//! A configured name server never answers, and lookups that ask it first wait for it.
//!
//! **Signature.** An address that is asked directly answers none of at least three flows in the whole
//! capture, and the same clients are answered by another address, seconds later or at once. Stubs keep
//! no memory: they ask the dead one first every time. Or clients that ask it alone get no answer, while
//! others are answered by theirs. Several that the same clients wait for at the same time are one finding.
//!
//! **Needs.** Clients that ask two addresses, or others that ask another.
//!
//! **Not this.** A backend behind a service is `dead-backend`. musl asks all servers at once and loses
//! no time by a dead one.
//!
//! **Cannot tell.** Whether the address ever was a name server.
//!
//! The price by resolver: glibc and Go wait their timeout (5 s by default, 1 s with `timeout:1`) for
//! each name they try; dig up to BIND 9.16 waits 1 s, from 9.18 on 15 s; c-ares 2 to 3 s.
//!
//! Source: rulebook 2.D and section 3; resolv.conf(5).

use crate::base::words::{clock, count, duration, first, text};
use crate::detect::blackhole::{Blackhole, Words, give_up_sooner};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "nameserver-dead-first",
    title: "a configured name server never answers",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "resolv.conf(5)"],
    source: include_str!("nameserver_dead_first.rs"),
    new: || Box::new(NameserverDeadFirst),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct NameserverDeadFirst;

impl Detector for NameserverDeadFirst {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        Blackhole::by_list(scene, Kind::Nameserver).iter().map(finding).collect()
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let server = hole.server();
    hole.finding(&DETECTOR, Words {
        title: if hole.servers.len() > 1 {
            text!("name servers {server} never answer, and clients go on asking them", server)
        } else {
            text!("name server {server} never answers, and clients go on asking it", server)
        },
        confidence: if hole.clients.len() > 1 { Confidence::Confirmed } else { Confidence::Likely },
        culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
        place: Where::Unknown,
        cause: text!(
            "{server} answered none of {flows} in {lasted}{others}. It stands in their resolv.conf, \
             and stub resolvers remember nothing: glibc and Go wait for it in every lookup that asks \
             it first (with `rotate`, some of them). musl asks all servers at once and waits for it \
             only where the others give no usable answer.",
            server,
            flows = count(hole.failed, "flow"),
            lasted = duration(hole.length()),
            others = if hole.answered_elsewhere() > 0 {
                text!(", while other servers answered the same clients")
            } else {
                text!(", and no other server answered the same clients")
            }
        ),
        actions: vec![
            (
                text!("see which name servers the pods have"),
                "kubectl exec <pod> -- cat /etc/resolv.conf".to_owned(),
            ),
            (
                text!("see whether it serves at all"),
                format!("dig @{} . NS +tries=1 +time=2", first(&hole.servers)),
            ),
            (
                text!("take it out of resolv.conf, or let the next one be asked sooner"),
                give_up_sooner().1,
            ),
        ],
        ruled_out: hole
            .not_service_wide()
            .into_iter()
            .chain([(
                "backend-restart",
                text!("it had not answered before {start} either", start = clock(hole.span.start)),
            )])
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// glibc with two name servers: the first is silent if `dead`, and then the second is asked
    /// after five seconds.
    fn two_servers(dead: bool) -> String {
        findings(&two_servers_text(dead))
    }

    fn two_servers_text(dead: bool) -> String {
        let hosts = "ns1 = 192.0.2.1\nns2 = 192.0.2.2\na = 10.0.0.5\nb = 10.0.0.6";
        let mut situation = Situation::new(hosts);
        for round in 0..20_u16 {
            let at = f64::from(round) * 7.0;
            for client in ["a", "b"] {
                if !dead {
                    situation.ask(at, client, "ns1", "", Fate::Answered);
                    continue;
                }
                let (port, id) = (40_000 + round, 0x2000 + round);
                let name = "www.example.com.";
                situation.line(at, &format!("{client}:{port} > ns1 id {id:x} rd A {name}"));
                let next = port + 1_000;
                situation.line(at + 5.0, &format!("{client}:{next} > ns2 id {id:x} rd A {name}"));
                situation.line(
                    at + 5.002,
                    &format!("{client}:{next} < ns2 id {id:x} {name} 60 A 203.0.113.7"),
                );
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn every_lookup_waits_for_the_dead_one_first() {
        let said = two_servers(true);
        assert!(said.contains(" nameserver-dead-first [backend 192.0.2.1] confirmed"), "{said}");
        assert!(!said.contains("dead-backend"), "{said}");
    }

    #[test]
    fn a_first_server_that_answers_is_quiet() {
        assert_eq!(two_servers(false), "quiet\n");
    }

    #[test]
    fn a_capture_that_ends_during_the_second_lookup_says_nothing() {
        assert_eq!(findings_until(&two_servers_text(true), 8.0), "quiet\n");
    }

    /// Each flow is a lookup that waited: three of them, and the server has never answered.
    #[test]
    fn three_flows_are_enough_and_two_are_not() {
        let text = |clients: &[&str]| {
            let mut situation = Situation::new("ns1 = 192.0.2.1\nns2 = 192.0.2.2\na = 10.0.0.5");
            for (round, client) in (0_u16..).zip(clients) {
                let at = f64::from(round) * 7.0;
                situation.ask(at, client, "ns1", "", Fate::Lost);
                situation.ask(at + 5.5, client, "ns2", "", Fate::Answered);
            }
            for round in 0..20_u16 {
                situation.ask(30.0 + f64::from(round), "a", "ns2", "", Fate::Answered);
            }
            findings(situation.text())
        };
        assert!(text(&["a"; 3]).contains(" nameserver-dead-first [backend 192.0.2.1] likely"));
        assert!(!text(&["a"; 2]).contains("nameserver-dead-first"), "{}", text(&["a"; 2]));
    }

    /// It died in the middle of the capture: that is an outage of a server, not a wrong line in
    /// resolv.conf.
    #[test]
    fn a_server_that_answered_before_is_not_one_that_never_does() {
        let mut situation = Situation::new("ns1 = 192.0.2.1\nns2 = 192.0.2.2\na = 10.0.0.5");
        for round in 0..20_u16 {
            let at = f64::from(round) * 7.0;
            let fate = if round < 5 { Fate::Answered } else { Fate::Lost };
            situation.ask(at, "a", "ns1", "", fate);
            situation.ask(at + 5.5, "a", "ns2", "", Fate::Answered);
        }
        let said = findings(situation.text());
        assert!(said.contains("[backend 192.0.2.1]"), "its death is seen: {said}");
        assert!(!said.contains("nameserver-dead-first"), "{said}");
    }

    /// They wait for the first and then for the second, in the same lookups.
    #[test]
    fn dead_servers_of_one_list_are_one_finding() {
        let hosts = "ns1 = 192.0.2.1\nns2 = 192.0.2.2\nns3 = 192.0.2.3\na = 10.0.0.5\nb = 10.0.0.6";
        let mut situation = Situation::new(hosts);
        for round in 0..12_u16 {
            for client in ["a", "b"] {
                let (at, name) = (f64::from(round) * 15.0, "www.example.com.");
                for (index, server) in (0_u16..).zip(["ns1", "ns2", "ns3"]) {
                    let (at, port) = (at + 5.0 * f64::from(index), 40_000 + 10 * round + index);
                    let id = 0x2000 + round;
                    situation
                        .line(at, &format!("{client}:{port} > {server} id {id:x} rd A {name}"));
                }
                let (port, id) = (40_002 + 10 * round, 0x2000 + round);
                let answer = format!("{client}:{port} < ns3 id {id:x} {name} 60 A 203.0.113.7");
                situation.line(at + 10.002, &answer);
            }
        }
        let said = findings(situation.text());
        let both = " nameserver-dead-first [backend 192.0.2.1, backend 192.0.2.2] confirmed";
        assert!(said.contains(both), "{said}");
    }
}
