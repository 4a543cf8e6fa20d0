//! Nobody gets an answer from any DNS server.
//!
//! **Signature.** For at least two seconds all servers fail for the clients of all networks; or the
//! only address that is asked answers nobody, and at least three clients ask it; or, where the capture
//! holds clients of one network alone, all servers were away and back at least three times, as those are
//! that crash and are started again.
//!
//! **Needs.** Three clients; two networks where more than one server is known, or a crash loop.
//!
//! **Not this.** One network alone fails (`client-node-broken`), one server alone fails, UDP alone
//! fails (`udp53-blocked`), or only queries were captured (`cap-one-sided`).
//!
//! **Cannot tell.** Whether all replicas are down, the service has no endpoints, or a filter drops
//! everything. Of the only server in the capture it does not show whether its
//! address is the service's or its own; then it says so. With clients of one node alone, whatever
//! their prefixes, it does not show whether that node reaches none: then it is likely at most.
//!
//! Source: rulebook 2.B.

use crate::base::is_link_local;
use crate::base::words::{Text, clock, duration, first, list, text};
use crate::detect::blackhole::{Blackhole, Words};
use crate::detect::{
    Class, Confidence, Context, Culprit, Descriptor, Detector, Finding, Kind, Layer, Outage, Scene,
    Where,
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

/// Whether the capture holds one server alone, by an address that may be a service's or its own.
fn is_alone(hole: &Blackhole<'_>) -> bool {
    let nobody_else = |outage: &&Outage| {
        let Context { row, abroad_failed, others_failed, .. } = &outage.context;
        row.is_empty() && abroad_failed <= others_failed && outage.context.apart_ok() == 0
    };
    hole.is_direct() && hole.servers.len() == 1 && hole.outages.iter().all(nobody_else)
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let service = hole.service();
    let of_node = hole.services.iter().copied().all(is_link_local);
    let one_vantage = hole.one_vantage() && !of_node;
    let label = if of_node { "node-local-dns" } else { "kube-dns" };
    let likely = if of_node {
        text!(
            "{service} is the cache on the clients' own node: its process is down, has lost its \
             address, or a filter drops everything.",
            service
        )
    } else if is_alone(hole) {
        text!(
            "The capture holds no other server. If {service} is the address of the service, all replicas \
             are down, it has no endpoints, or a filter drops everything; if it is that of one server, \
             that one is dead and others may answer: record with a filter that holds all of them.",
            service
        )
    } else {
        text!("All replicas are down, the service has no endpoints, or a filter drops everything.")
    };
    let times = hole.times();
    let in_all = duration(times.iter().map(|time| time.length()).sum());
    let one_node = hole.networks.len() == 1 && hole.servers.len() > 1;
    let doubt = if one_node {
        text!(
            " Servers that crash and are started again come and go like that, all at once where they \
             share what kills them. The capture shows clients of one node alone: a capture on another \
             would rule out that its network comes and goes."
        )
    } else if one_vantage {
        text!(
            " With clients of one node alone in the capture, it may as well be this node that reaches \
             no server: record on another one."
        )
    } else {
        Text::EMPTY
    };
    hole.finding(
        &DETECTOR,
        Words {
            title: if times.len() > 1 {
                text!(
                    "no DNS server answered anybody, {times} times from {start} on, {lasted} in all",
                    times = times.len(),
                    start = clock(hole.span.start),
                    lasted = in_all
                )
            } else if is_alone(hole) {
                text!(
                    "{service}, the only server in the capture, answered nobody from {start} on \
                     ({lasted})",
                    service,
                    start = clock(hole.span.start),
                    lasted = duration(hole.length())
                )
            } else {
                text!(
                    "no DNS server answered anybody from {start} on ({lasted})",
                    start = clock(hole.span.start),
                    lasted = duration(hole.length())
                )
            },
            confidence: if hole.networks.len() > 1 && !one_vantage {
                Confidence::Confirmed
            } else if one_node {
                Confidence::Possible
            } else {
                Confidence::Likely
            },
            culprits: hole.services.iter().copied().map(Culprit::Service).collect(),
            place: Where::Unknown,
            cause: text!(
                "All queries to {service} went unanswered for {lasted}, whoever asked. {likely}{doubt}",
                service,
                lasted = in_all,
                likely,
                doubt
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
            ruled_out: (!one_vantage && !one_node)
                .then(|| {
                    let networks = list(&hole.networks, 3);
                    ("client-node-broken", text!("clients of {networks} failed alike", networks))
                })
                .into_iter()
                .collect(),
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, analyse, findings, findings_until};

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

    /// In a flat network, where a prefix is no node: a capture that sees all queries set out.
    #[test]
    fn clients_of_one_node_do_not_speak_for_the_others() {
        let text = asked_by_text(&["a", "b", "c"], Fate::Lost);
        let said = findings(&text);
        assert!(said.contains("service-wide-outage [service 192.0.2.53] confirmed"), "{said}");
        let said = findings(&format!("capture node sll2\n{text}"));
        assert!(said.contains("service-wide-outage [service 192.0.2.53] likely"), "{said}");
    }

    #[test]
    fn the_cache_on_a_node_is_looked_for_by_its_own_label() {
        for (server, label) in [("192.0.2.53", "kube-dns"), ("169.254.20.10", "node-local-dns")] {
            let text = asked_by_text(&["a", "b", "c"], Fate::Lost).replace("192.0.2.53", server);
            let analysis = analyse(&text);
            let cause = &analysis.incidents.first().expect("an incident").cause;
            let label = format!("k8s-app={label} ");
            assert!(cause.actions.iter().any(|one| one.command.contains(&label)), "{server}");
        }
    }

    /// A capture that was filtered by a server's address shows no other: whether there is one is not known.
    #[test]
    fn the_only_server_of_a_capture_may_be_one_of_several() {
        let title = |text: &str| {
            let found = analyse(text).incidents;
            found.first().map(|one| one.cause.title.to_string()).unwrap_or_default()
        };
        let alone = title(&asked_by_text(&["a", "b", "c"], Fate::Lost));
        assert!(
            alone.starts_with("192.0.2.53, the only server in the capture, answered"),
            "{alone}"
        );
    }

    /// The replicas crash together, again and again, as the pods of one node see it.
    #[test]
    fn all_servers_of_one_node_that_come_and_go_crash() {
        let times = |crashes: u16| {
            let mut situation = Situation::cluster();
            for round in 0..240_u16 {
                let at = f64::from(round) * 0.5;
                let down =
                    (1..=crashes).any(|crash| (crash * 50..crash * 50 + 20).contains(&round));
                let fate = if down { Fate::Lost } else { Fate::Answered };
                for (index, via) in (0_u8..).zip(["dns1", "dns2", "dns3"]) {
                    let client = if index == 0 { "pod" } else { "near" };
                    situation.ask(at + 0.1 * f64::from(index), client, "kube-dns", via, fate);
                }
            }
            findings(situation.text())
        };
        assert!(
            times(3).contains(" service-wide-outage [service 10.96.0.10] possible"),
            "{}",
            times(3)
        );
        assert!(!times(2).contains("service-wide-outage"), "{}", times(2));
    }
}
