//! A DNS pod vanished, and the service went on sending to it until the endpoint was removed.
//!
//! **Signature.** The server answers nobody from one instant on; at least three new flows are
//! still translated to it and none is answered, while the same clients get answers from other
//! servers; then new flows stop going there, too many of them for chance. From the first failure
//! to the last new flow it takes about as long as Kubernetes needs to notice a dead node
//! (node-monitor-grace-period, 40 s by default): more than 10 s, less than two minutes.
//! Where only the service's address shows, its sockets tell: each of them is pinned to one backend, so
//! that for as long some fail with all their repeats, and the others do not.
//!
//! **Needs.** The query after translation: a capture on the client's node with `-i any`, or on an
//! interface behind the translation; or clients that repeat their queries from the same port.
//!
//! **Not this.** New flows that keep going to the silent server are `dead-backend`. A server that
//! answers again from the same address was restarted (`backend-restart`). Other nodes that still
//! reach the server make it `path-broken-pair`. A hole in the capture mutes the rule.
//!
//! **Cannot tell.** DNS packets show that the pod answered nothing and was taken out of the
//! service; that its node died is the likely cause, not a measured one. With clients of one node
//! alone in the capture, the path to the pod may have died instead. Without the translation, which pod
//! it was, and whether it was taken out or came back.
//!
//! Source: rulebook 2.B, K6, K7; Kubernetes `--node-monitor-grace-period`.

use crate::base::words::{Text, clock, count, duration, list, text};
use crate::detect::blackhole::{Blackhole, Words, give_up_sooner, look_at_pod};
use crate::detect::hidden::hidden;
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "stale-backend",
    title: "a vanished DNS pod still got queries",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "Kubernetes kube-controller-manager --node-monitor-grace-period"],
    source: include_str!("stale_backend.rs"),
    new: || Box::new(StaleBackend),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct StaleBackend;

impl Detector for StaleBackend {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let holes = Blackhole::by_server(scene, Kind::Stale);
        let mut findings: Vec<Finding> = holes.iter().map(finding).collect();
        findings.extend(hidden(&DETECTOR, Kind::Stale, scene));
        findings
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, service) = (hole.server(), hole.service());
    let lasted = duration(hole.length());
    let start = clock(hole.span.start);
    let mates = list(&hole.mates, 3);
    // Behind the translation nothing shows what it is called before.
    let (title, while_asked) = if hole.services.is_subset(&hole.servers) {
        (
            text!(
                "backend {server} answered nothing from {start} on, and was sent queries for \
                 {lasted} more",
                server,
                start,
                lasted
            ),
            text!("it was still sent its share of the queries"),
        )
    } else {
        (
            text!(
                "backend {server} of service {service} answered nothing from {start} on, and the \
                 service went on sending queries to it for {lasted}",
                server,
                service,
                start,
                lasted
            ),
            text!("{service} was still translated to it", service),
        )
    };
    let mut ruled_out = vec![
        (
            "dead-backend",
            text!(
                "new flows stopped going to {server} at {after}: it was taken out of the service",
                server,
                after = clock(hole.span.start.after(hole.length()))
            ),
        ),
        (
            "service-wide-outage",
            text!(
                "{mates} answered {flows} of the same clients in that time",
                mates = list(&hole.mates, 3),
                flows = count(hole.answered_elsewhere(), "flow")
            ),
        ),
    ];
    let decided = hole.place() == Where::Server;
    let doubt = if hole.one_vantage() {
        text!(
            " With clients of one node alone in the capture, the path to the pod may have died \
             instead: a capture on its node would tell."
        )
    } else {
        ruled_out.push((
            "path-broken-pair",
            if decided {
                text!("the queries arrived on its node, and it did not answer")
            } else {
                text!("no other network reached it either")
            },
        ));
        Text::EMPTY
    };
    let apart = hole.networks.len() > 1 && !hole.one_vantage();
    let confidence = if decided || apart { Confidence::Confirmed } else { Confidence::Likely };
    let mut actions: Vec<_> = hole.servers.iter().flat_map(|pod| look_at_pod(*pod)).collect();
    actions.push(give_up_sooner());
    hole.finding(
        &DETECTOR,
        Words {
            title,
            confidence,
            culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
            place: hole.place(),
            cause: text!(
                "{server} answered nothing to anyone for {lasted}, while {while_asked}; then new \
                 queries went to {mates} alone. That is what the death of a node looks like: \
                 Kubernetes needs about 40 s to notice it and to take the pod out of the service. \
                 Resolvers that repeat a query from the same port stay pinned to the dead \
                 pod.{doubt}",
                server,
                lasted,
                while_asked,
                mates,
                doubt
            ),
            actions,
            ruled_out,
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, failover, findings};

    #[test]
    fn a_backend_falls_silent_and_is_taken_out_forty_seconds_later() {
        let said = findings(&failover(20.0, Some(60.0), 100.0));
        assert!(said.starts_with("medium stale-backend [backend 10.244.1.10] likely"), "{said}");
        assert!(!said.contains("timeout-retries ["), "{said}");
    }

    /// As after the reboot of a node whose DNS pod keeps its address.
    #[test]
    fn one_that_is_put_back_later_was_stale_all_the_same() {
        let mut text = failover(20.0, Some(60.0), 100.0);
        for round in 0..60_u32 {
            let (at, port, via) = (120 + round, 50_000 + round, 1 + round % 2);
            let name = "redis.default.svc.cluster.local.";
            text += &format!("{at}.0 pod:{port} > kube-dns via dns{via} rd A {name}\n");
            text += &format!("{at}.001 pod:{port} < kube-dns {name} 5 A 10.96.0.20\n");
        }
        let said = findings(&text);
        assert!(said.starts_with("medium stale-backend [backend 10.244.1.10] likely"), "{said}");
    }

    /// Behind the translation, as on a node's network card, the service's address does not show.
    #[test]
    fn it_is_stale_as_well_where_its_service_does_not_show() {
        let overlay = |text: String| text.replace("node sll2", "node sll2 only overlay");
        let said = findings(&overlay(failover(20.0, Some(60.0), 100.0)));
        assert!(said.starts_with("medium stale-backend [backend 10.244.1.10] likely"), "{said}");
        let said = findings(&overlay(failover(20.0, None, 160.0)));
        assert!(said.contains(" dead-backend [backend 10.244.1.10]"), "{said}");
    }

    /// systemd-resolved stays with the server that answers.
    #[test]
    fn a_resolver_that_turns_to_another_server_removes_nothing() {
        let mut text = String::from("host = 10.0.0.5\none = 192.0.2.1\nother = 192.0.2.2\n");
        for round in 0..200_u32 {
            let (at, port) = (f64::from(round) * 0.5, 20_000 + round);
            let (server, silent) = match round {
                0..40 => ("one", false),
                40..100 => ("one", true),
                _ => ("other", false),
            };
            text += &format!("{at} host:{port} > {server} rd A n{round}.example.\n");
            if !silent {
                text += &format!("{} host:{port} < {server} NXDOMAIN\n", at + 0.001);
            }
        }
        let said = findings(&text);
        assert!(!said.contains("stale-backend"), "{said}");
    }

    #[test]
    fn a_backend_that_stays_in_the_service_is_not_stale() {
        let said = findings(&failover(20.0, None, 160.0));
        assert!(said.contains(" dead-backend [backend 10.244.1.10]"), "{said}");
        assert!(!said.contains("stale-backend"), "{said}");
    }

    #[test]
    fn a_removal_within_seconds_is_a_rollout() {
        assert!(!findings(&failover(20.0, Some(26.0), 60.0)).contains("stale-backend"));
    }

    #[test]
    fn a_capture_that_ends_before_the_removal_does_not_claim_one() {
        let said = findings(&failover(20.0, None, 45.0));
        assert!(!said.contains("stale-backend"), "{said}");
    }

    /// Inside a pod only the service shows: from 20 s to `end` every second socket fails for good, but
    /// for those that are sent again after that.
    fn pod_view(end: u16) -> String {
        let mut situation = Situation::new("service = 10.96.0.10\npod = 10.244.0.2");
        for round in 0..80_u16 {
            let silent = (20..end).contains(&round) && round % 2 == 0;
            let fate = match silent {
                true if round + 5 >= end => Fate::LostOnce,
                true => Fate::Lost,
                false => Fate::Answered,
            };
            situation.ask(f64::from(round), "pod", "service", "", fate);
        }
        findings(situation.text())
    }

    #[test]
    fn a_pod_sees_every_second_socket_fail_until_the_service_has_got_rid_of_it() {
        let said = pod_view(50);
        assert!(said.contains(" stale-backend [service 10.96.0.10] possible"), "{said}");
        assert!(!said.contains("lossy-path ["), "{said}");
        assert!(!said.contains("backend-restart ["), "{said}");
    }

    #[test]
    fn a_backend_that_the_pod_still_meets_at_the_end_is_not_stale() {
        let said = pod_view(80);
        assert!(!said.contains(" stale-backend ["), "{said}");
    }

    /// Nothing answers `near`, wherever its queries go; it asks the backend last of all.
    #[test]
    fn a_pod_that_is_cut_off_does_not_hide_the_removal() {
        let mut situation = Situation::cluster();
        for round in 0..100_u16 {
            let at = f64::from(round);
            let via = if round % 2 == 0 && round < 61 { "dns1" } else { "dns2" };
            situation.ask(at + 0.5, "near", "kube-dns", via, Fate::Lost);
        }
        let text = failover(20.0, Some(60.0), 100.0) + &own_lines(situation.text());
        let said = findings(&text);
        assert!(said.contains(" stale-backend [backend 10.244.1.10] likely"), "{said}");
        assert!(said.contains(" client-egress-blocked [client 10.244.0.3]"), "{said}");
    }

    /// A situation without its hosts, and with ports of its own.
    fn own_lines(text: &str) -> String {
        let lines = text.lines().filter(|line| line.contains(" near:"));
        lines.map(|line| line.replace("near:2", "near:3") + "\n").collect()
    }
}
