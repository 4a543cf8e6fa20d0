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

use crate::base::is_link_local;
use crate::base::words::{clock, duration, first, list, text};
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
    let (likely, label) = if hole.services.iter().copied().all(is_link_local) {
        let likely = text!(
            "{service} is the cache on the clients' own node: its process is down, has lost its \
             address, or a filter drops everything.",
            service
        );
        (likely, "node-local-dns")
    } else {
        let likely = text!(
            "All replicas are down, the service has no endpoints, or a filter drops everything."
        );
        (likely, "kube-dns")
    };
    hole.finding(
        &DETECTOR,
        Words {
            title: text!(
                "no DNS server answered anybody from {start} on ({lasted})",
                start = clock(hole.span.start),
                lasted = duration(hole.length())
            ),
            confidence: if hole.networks.len() > 1 {
                Confidence::Confirmed
            } else {
                Confidence::Likely
            },
            culprits: hole.services.iter().copied().map(Culprit::Service).collect(),
            place: Where::Unknown,
            cause: text!(
                "All queries to {service} went unanswered for {lasted}, whoever asked. {likely}",
                service,
                lasted = duration(hole.length()),
                likely
            ),
            actions: vec![
                (
                    text!("see whether any replica runs and is ready"),
                    format!(
                        "kubectl -n kube-system get pod,endpointslice -l k8s-app={label} -o wide"
                    ),
                ),
                (
                    text!("read what they last said"),
                    format!("kubectl -n kube-system logs -l k8s-app={label} --tail=50"),
                ),
                (
                    text!("ask the service from a node"),
                    format!("dig @{} kubernetes.default.svc.cluster.local", first(&hole.services)),
                ),
            ],
            ruled_out: vec![(
                "client-node-broken",
                text!("clients of {networks} failed alike", networks = list(&hole.networks, 3)),
            )],
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::analysis::{Options, Sinks, run_frames};
    use crate::testkit::{Fate, Scenario, Situation, findings, findings_until};

    fn asked_by(clients: &[&str], fate: Fate) -> String {
        findings(&asked_by_text(clients, fate))
    }

    fn asked_by_text(clients: &[&str], fate: Fate) -> String {
        let hosts = "dns = 192.0.2.53\na = 10.0.0.5\nb = 10.0.1.5\nc = 10.0.2.5";
        let mut situation = Situation::new(hosts);
        for round in 0..30 {
            let at = f64::from(round);
            for client in clients {
                let bad = round >= 10;
                situation.ask(at, client, "dns", "", if bad { fate } else { Fate::Answered });
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn the_only_server_answers_nobody() {
        let said = asked_by(&["a", "b", "c"], Fate::Lost);
        assert!(said.contains(" service-wide-outage [service 192.0.2.53]"), "{said}");
    }

    #[test]
    fn one_client_alone_does_not_speak_for_everybody() {
        assert!(!asked_by(&["a"], Fate::Lost).contains("service-wide-outage"));
    }

    #[test]
    fn repeats_that_are_answered_are_no_outage() {
        assert!(!asked_by(&["a", "b", "c"], Fate::LostOnce).contains("service-wide-outage"));
    }

    #[test]
    fn a_capture_that_ends_with_the_first_failures_says_nothing() {
        let text = asked_by_text(&["a", "b", "c"], Fate::Lost);
        assert_eq!(findings_until(&text, 11.5), "quiet\n");
    }

    #[test]
    fn the_cache_on_a_node_is_looked_for_by_its_own_label() {
        for (server, label) in [("192.0.2.53", "kube-dns"), ("169.254.20.10", "node-local-dns")] {
            let text = asked_by_text(&["a", "b", "c"], Fate::Lost).replace("192.0.2.53", server);
            let made = Scenario::parse(&text).frames();
            let frames = made.iter().map(|made| made.frame());
            let analysis = run_frames(frames, &Options::default(), Sinks::default());
            let cause = &analysis.incidents.first().expect("an incident").cause;
            let label = format!("k8s-app={label} ");
            assert!(cause.actions.iter().any(|one| one.command.contains(&label)), "{server}");
        }
    }
}
