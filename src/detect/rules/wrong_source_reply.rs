//! Answers come back from another address than the one that was asked, and are thrown away.
//!
//! **Signature.** A response with the right port, id and question reaches the client's own interface
//! with the backend's address as its source instead of the service's, at least three times; the
//! client's socket refuses it, and the client asks again.
//!
//! **Needs.** The client's own interface: a capture on its node with `-i any`, or inside the pod.
//!
//! **Not this.** Before un-NAT, behind the service translation, an answer from the backend's address is
//! as it should be. musl asks several servers at once and takes an answer from any of them.
//!
//! **Cannot tell.** Why the translation back is missing: bridge-nf-call-iptables off, an untracked
//! packet, an asymmetric way back, a hairpin without masquerade.
//!
//! Source: rulebook 2.B; Linux `Documentation/networking/bridge.rst` (`br_netfilter`).

use crate::base::words::{count, first, text};
use crate::detect::blackhole::{Blackhole, Words};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "wrong-source-reply",
    title: "answers come from the wrong address",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "Linux br_netfilter"],
    source: include_str!("wrong_source_reply.rs"),
    new: || Box::new(WrongSourceReply),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct WrongSourceReply;

impl Detector for WrongSourceReply {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        Blackhole::by_server(scene, Kind::WrongSource).iter().map(finding).collect()
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, service) = (hole.server(), hole.service());
    let wrong = hole.sum(|outage| outage.wrong_source);
    hole.finding(&DETECTOR, Words {
        title: text!(
            "answers of {server} reach {network} from its own address instead of {service}, and \
             are thrown away",
            server,
            network = hole.network(),
            service
        ),
        confidence: Confidence::Confirmed,
        culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
        place: Where::PathToClient,
        cause: text!(
            "The clients asked {service}; {flows} came back from {server} itself, so the clients' \
             sockets refused them and the lookups waited in vain. The translation of the service \
             address is not undone on the way back: answers that are bridged on the same node pass \
             by conntrack when bridge-nf-call-iptables is 0.",
            service,
            flows = count(wrong, "flow"),
            server
        ),
        actions: vec![
            (
                text!("on the node that translates, see whether bridged packets pass conntrack (1)"),
                "sysctl net.bridge.bridge-nf-call-iptables".to_owned(),
            ),
            (text!("see what conntrack knows of the flows"), format!("conntrack -L -d {}", first(&hole.services))),
            (
                text!("if they do not, let them"),
                "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1".to_owned(),
            ),
        ],
        ruled_out: vec![
            ("dead-backend", text!("{server} answered every one of them in time", server)),
            (
                "musl-parallel-conflict",
                text!(
                    "nobody asked {server} itself: it is only known as a backend of {service}",
                    server,
                    service
                ),
            ),
            ("late-response", text!("each answer came at once, only from the wrong address")),
        ],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, analyse, findings, findings_until};

    /// Inside a pod: the service is asked; answers come from `source`.
    fn pod_view(source: &str) -> String {
        findings(&pod_view_text(source))
    }

    fn pod_view_text(source: &str) -> String {
        pod_view_of(source, 12)
    }

    fn pod_view_of(source: &str, flows: u16) -> String {
        let hosts = "service = 10.96.0.10\nbackend = 10.244.0.10\npod = 10.244.0.2";
        let mut situation = Situation::new(hosts);
        for round in 0..flows {
            let (at, port, id) = (f64::from(round) * 7.0, 41_000 + round, 0x3000 + round);
            let name = "redis.default.svc.cluster.local.";
            let again = if source == "service" { 1 } else { 2 };
            for attempt in 0..again {
                let at = at + 5.0 * f64::from(attempt);
                situation.line(at, &format!("pod:{port} > service id {id:x} rd A {name}"));
                situation.line(
                    at + 0.001,
                    &format!("pod:{port} < {source} id {id:x} ? A {name} {name} 5 A 10.96.0.20"),
                );
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn answers_from_the_backend_are_thrown_away() {
        let said = pod_view("backend");
        assert!(said.contains("wrong-source-reply ["), "{said}");
    }

    #[test]
    fn answers_from_the_asked_address_are_fine() {
        assert_eq!(pod_view("service"), "quiet\n");
    }

    /// In a pod, with one backend of two on its own node: the service's answers come from itself or
    /// from that backend, and dig, which takes a new port for every try, is among those that ask.
    #[test]
    fn a_dig_that_takes_a_new_port_for_every_try_is_refused_as_well() {
        let hosts = "service = 10.96.0.10\nbackend = 10.244.0.10\npod = 10.244.0.2";
        let mut situation = Situation::new(hosts);
        let name = "redis.default.svc.cluster.local.";
        for round in 0..48_u16 {
            let (at, port, id) = (f64::from(round) * 1.5, 41_000 + 4 * round, 0x3000 + round);
            let good = round < 24 || round % 2 == 0;
            let tries = if good { 1 } else { 2 };
            for attempt in 0..tries {
                let at = at + 5.0 * f64::from(attempt);
                let port = if round % 4 == 1 { port + attempt } else { port };
                let source = if good { "service" } else { "backend" };
                situation.line(at, &format!("pod:{port} > service id {id:x} rd A {name}"));
                situation.line(
                    at + 0.001,
                    &format!("pod:{port} < {source} id {id:x} ? A {name} {name} 5 A 10.96.0.20"),
                );
            }
        }
        let said = findings(situation.text());
        assert!(said.contains("wrong-source-reply ["), "{said}");
    }

    /// Three flows are needed, and the third is not over when the capture ends.
    #[test]
    fn two_answers_are_too_few() {
        let said = findings_until(&pod_view_text("backend"), 13.0);
        assert!(!said.contains("wrong-source-reply"), "{said}");
    }

    #[test]
    fn three_flows_are_enough_and_two_are_not() {
        let later = "40.0 pod:50000 > 192.0.2.9 rd A a.example.\n\
                     40.1 pod:50000 < 192.0.2.9 a.example. 5 A 192.0.2.1\n";
        let said = findings(&(pod_view_of("backend", 3) + later));
        assert!(said.contains("wrong-source-reply ["), "{said}");
        let said = findings(&(pod_view_of("backend", 2) + later));
        assert!(!said.contains("wrong-source-reply"), "{said}");
    }

    /// On the overlay, before the translation is undone, that is how answers look.
    #[test]
    fn behind_the_translation_the_backend_answers_for_itself() {
        let mut situation = Situation::new(
            "capture node sll2 only overlay\nservice kube-dns = 10.96.0.10\n\
             dns1 = 10.244.1.10\npod = 10.244.0.2",
        );
        for round in 0..12_u16 {
            situation.ask(f64::from(round), "pod", "kube-dns", "dns1", Fate::Answered);
        }
        assert_eq!(findings(situation.text()), "quiet\n");
    }

    /// musl asks both at once and takes what comes first.
    #[test]
    fn an_answer_of_another_server_that_was_asked_too_is_wanted() {
        let hosts = "one = 192.0.2.1\ntwo = 192.0.2.2\npod = 10.244.0.2";
        let mut situation = Situation::new(hosts);
        for round in 0..12_u16 {
            let (at, port, id) = (f64::from(round) * 7.0, 41_000 + round, 0x3000 + round);
            for server in ["one", "two"] {
                let ask = format!("pod:{port} > {server} id {id:x} rd A a.example.");
                situation.line(at, &ask);
            }
            let answer =
                format!("pod:{port} < two id {id:x} ? A a.example. a.example. 5 A 192.0.2.9");
            situation.line(at + 0.001, &answer);
        }
        let said = findings(situation.text());
        assert!(!said.contains("wrong-source-reply"), "{said}");
    }

    /// The filter lets ICMP through as well: no socket takes the answer, and the pod's kernel says so.
    #[test]
    fn the_clients_own_error_about_such_an_answer_changes_nothing() {
        let text = pod_view_text("backend");
        let with_errors: Vec<String> = text
            .lines()
            .flat_map(|line| {
                let answer = line.split_once(" < backend");
                let error =
                    answer.map(|(socket, _)| format!("{socket} > backend icmp port-unreachable"));
                [Some(line.to_owned()), error]
            })
            .flatten()
            .collect();
        let said = findings(&with_errors.join("\n"));
        assert!(said.contains("wrong-source-reply ["), "{said}");
    }

    #[test]
    fn the_first_command_changes_nothing() {
        let found = analyse(&pod_view_text("backend")).incidents;
        let first = found.first().and_then(|one| one.cause.actions.first()).expect("an action");
        assert_eq!(first.command, "sysctl net.bridge.bridge-nf-call-iptables");
    }
}
