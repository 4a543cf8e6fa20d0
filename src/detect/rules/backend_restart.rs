//! A DNS server was away for some seconds and came back, or was replaced.
//!
//! **Signature.** At least three flows to one server fail within at most 30 s, or are answered only when
//! they are sent again after that, others answer the same clients, and then the server answers again; or
//! new flows leave it within ten seconds, as in a rollout.
//!
//! **Needs.** The query after translation, or clients that ask the server directly.
//!
//! **Not this.** Silence of 25 to 75 s that ends with a removal is `stale-backend`. Sockets of a service that
//! fail in a row while one of its hidden backends is silent are chance where others are answered before and
//! after.
//!
//! **Cannot tell.** Why: a deployment, a crash, memory, a bad configuration file.
//!
//! Source: rulebook 2.B; coredns/coredns `plugin/health` (lameduck).

use std::time::Duration;

use crate::base::words::{Text, clock, duration, list, text};
use crate::detect::blackhole::{Blackhole, Words, look_at_pod};
use crate::detect::hidden::hidden;
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "backend-restart",
    title: "a DNS server was away for some seconds",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "coredns/coredns plugin/health"],
    source: include_str!("backend_restart.rs"),
    new: || Box::new(BackendRestart),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct BackendRestart;

impl Detector for BackendRestart {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let holes = Blackhole::by_server(scene, Kind::Restart);
        let mut findings: Vec<Finding> = holes.iter().map(finding).collect();
        findings.extend(hidden(&DETECTOR, Kind::Restart, scene));
        findings
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let server = hole.server();
    let times = hole.times();
    let start = clock(hole.span.start);
    let lasted: Duration = times.iter().map(|time| time.length()).sum();
    let lasted = duration(lasted);
    let others = if hole.others.is_empty() {
        Text::EMPTY
    } else {
        text!(", while {others} answered the same clients", others = list(&hole.others, 3))
    };
    let mut actions: Vec<_> = hole.servers.iter().flat_map(|pod| look_at_pod(*pod)).collect();
    actions.push((
        text!("see whether it was restarted, and why"),
        "kubectl -n kube-system describe pod -l k8s-app=kube-dns | grep -A6 'Last State'"
            .to_owned(),
    ));
    actions.push((
        text!("let it finish its answers before it stops"),
        "kubectl -n kube-system edit configmap coredns # health { lameduck 5s }".to_owned(),
    ));
    hole.finding(
        &DETECTOR,
        Words {
            title: match times.len() {
                0 | 1 => text!(
                    "backend {server} was away for {lasted} at {start}",
                    server,
                    lasted,
                    start
                ),
                times => text!(
                    "backend {server} was away {times} times from {start} on, {lasted} in all",
                    server,
                    times,
                    start,
                    lasted
                ),
            },
            confidence: Confidence::Likely,
            culprits: hole.servers.iter().copied().map(Culprit::Backend).collect(),
            place: Where::Server,
            cause: text!(
                "{server} answered nothing for a short time{others}. A restart or a rollout looks \
                 like that, or a short break in its node's network.",
                server,
                others
            ),
            actions,
            ruled_out: hole.not_service_wide().into_iter().collect(),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::testkit::{Fate, Situation, analyse, findings, findings_until};

    /// The first of two backends is silent from 20 s to `back`.
    fn away(back: f64) -> String {
        findings(&away_text(back, Fate::Lost))
    }

    fn away_text(back: f64, meanwhile: Fate) -> String {
        let mut situation = Situation::cluster();
        for round in 0..100_u16 {
            let at = f64::from(round);
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let silent = via == "dns1" && at >= 20.0 && at < back;
            situation.ask(
                at,
                "pod",
                "kube-dns",
                via,
                if silent { meanwhile } else { Fate::Answered },
            );
        }
        situation.text().to_owned()
    }

    #[test]
    fn a_backend_is_away_for_some_seconds() {
        assert!(away(32.0).contains(" backend-restart [backend 10.244.1.10]"), "{}", away(32.0));
    }

    #[test]
    fn a_minute_of_silence_is_no_restart() {
        assert!(!away(80.0).contains("backend-restart"));
    }

    #[test]
    fn two_lost_flows_are_no_restart() {
        assert!(!away(24.0).contains("backend-restart"));
    }

    #[test]
    fn three_lost_flows_within_half_a_minute_are_a_restart() {
        assert!(
            away(26.0).contains(" backend-restart [backend 10.244.1.10] likely"),
            "{}",
            away(26.0)
        );
        // It is back 28 s after the first failure, or 32 s.
        assert!(away(48.0).contains(" backend-restart ["), "{}", away(48.0));
        assert!(!away(52.0).contains("backend-restart ["), "{}", away(52.0));
    }

    /// Repeats are answered all the while: that is loss, not absence.
    #[test]
    fn a_backend_that_answers_repeats_was_never_away() {
        let said = findings(&away_text(32.0, Fate::LostOnce));
        assert!(!said.contains("backend-restart"), "{said}");
    }

    /// The resolvers' first retry finds it there again.
    #[test]
    fn three_seconds_of_silence_are_seen_by_what_had_to_be_sent_again() {
        let mut situation = Situation::cluster();
        for round in 0..200_u16 {
            let at = f64::from(round) * 0.25;
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let silent = via == "dns1" && (20.0..23.0).contains(&at);
            let fate = if silent { Fate::LostOnce } else { Fate::Answered };
            situation.ask(at, "pod", "kube-dns", via, fate);
        }
        let said = findings(situation.text());
        assert!(said.contains(" backend-restart [backend 10.244.1.10] likely"), "{said}");
        assert!(!said.contains("lossy-path"), "{said}");
    }

    /// Who asked for the last time five seconds before it was back hears it when it asks again.
    #[test]
    fn what_is_answered_when_sent_again_was_asked_while_it_was_away() {
        let mut situation = Situation::cluster();
        for round in 0..200_u16 {
            let at = f64::from(round) * 0.5;
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let fate = match at {
                _ if via != "dns1" => Fate::Answered,
                20.0..33.0 => Fate::Lost,
                33.0..38.0 => Fate::LostOnce,
                _ => Fate::Answered,
            };
            situation.ask(at, "pod", "kube-dns", via, fate);
        }
        let found = analyse(situation.text()).incidents;
        let rules: Vec<&str> = found.iter().map(|incident| incident.cause.rule.id).collect();
        assert_eq!(rules, ["backend-restart"]);
        let cause = &found[0].cause;
        assert_eq!((cause.transactions, cause.span.length()), (18, Duration::from_secs(17)));
    }

    #[test]
    fn a_capture_that_ends_before_the_server_is_back_shows_no_restart() {
        let said = findings_until(&away_text(60.0, Fate::Lost), 45.0);
        assert!(said.contains("[backend 10.244.1.10]"), "its silence is seen: {said}");
        assert!(!said.contains("backend-restart"), "{said}");
    }

    /// It is away four times for three seconds; all but Go's queries are answered when they are repeated.
    #[test]
    fn a_server_that_comes_and_goes_loses_nothing_at_random() {
        let mut situation = Situation::cluster();
        for round in 0..480_u16 {
            let at = f64::from(round) * 0.1;
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let away = via == "dns1" && at >= 8.0 && (at - 8.0) % 8.0 < 3.0 && at < 40.0;
            let fate = if away { Fate::LostOnce } else { Fate::Answered };
            situation.ask(at, "pod", "kube-dns", via, fate);
        }
        let said = findings(situation.text());
        assert!(said.contains(" backend-restart [backend 10.244.1.10]"), "{said}");
        assert!(!said.contains("lossy-path ["), "{said}");
    }

    /// It is away five times, and hardly asked when it is away first: how often it fails in all would make
    /// that a chance.
    #[test]
    fn what_was_lost_while_it_was_away_before_is_no_random_loss() {
        let mut situation = Situation::cluster();
        let mut at = 0.0;
        for round in 0..500_u16 {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let away = via == "dns1" && at >= 8.0 && (at - 8.0) % 8.0 < 3.0 && at < 45.0;
            let fate = if away { Fate::LostOnce } else { Fate::Answered };
            situation.ask(at, "pod", "kube-dns", via, fate);
            at += if at < 15.0 { 0.22 } else { 0.1 };
        }
        let said = findings(situation.text());
        assert!(said.contains(" backend-restart [backend 10.244.1.10] likely 10:00:08"), "{said}");
        assert!(!said.contains("lossy-path ["), "{said}");
    }

    /// It is away twice; a client of the first time fails again in the second, from the same port.
    #[test]
    fn what_fails_twice_from_one_port_makes_no_long_outage() {
        let mut situation = Situation::cluster();
        for round in 0..200_u16 {
            let at = f64::from(round) * 0.5;
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let silent =
                via == "dns1" && ((20.0..30.0).contains(&at) || (40.0..50.0).contains(&at));
            let fate = if silent { Fate::Lost } else { Fate::Answered };
            situation.ask(at, "pod", "kube-dns", via, fate);
        }
        for (at, id) in [(28.2, "7001"), (46.2, "7002")] {
            let query = format!("pod:39000 > kube-dns via dns1 id {id} rd A {id}.example.com.");
            situation.line(at, &query);
        }
        let found = analyse(situation.text()).incidents;
        let title = found.first().map(|one| one.cause.title.to_string()).unwrap_or_default();
        let says = "was away 2 times from 10:00:20.000 on, 20.0 s in all";
        assert!(title.ends_with(says), "{title}");
    }

    /// Behind an address that hides them, one of two backends is silent for a while, and chance sends ten
    /// queries in a row to it.
    #[test]
    fn a_service_of_which_half_is_silent_is_not_away() {
        let mut situation = Situation::new("service = 10.96.0.10\npod = 10.244.0.2");
        for round in 0..160_u16 {
            let half = (60..100).contains(&round) && round % 2 == 0;
            let fate = if half || (75..84).contains(&round) { Fate::Lost } else { Fate::Answered };
            situation.ask(f64::from(round), "pod", "service", "", fate);
        }
        let said = findings(situation.text());
        assert!(said.contains(" stale-backend [service 10.96.0.10] possible"), "{said}");
        assert!(!said.contains("backend-restart"), "{said}");
    }
}
