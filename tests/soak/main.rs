//! An hour of a healthy cluster's everyday life, with the loss that every network has and the loss
//! that every busy capture has: nothing above info may be reported (rulebook 7.6).
//!
//! The traffic is made anew from a seed: pods with different resolvers walk their search lists, ask
//! for both families, get NXDOMAIN and NODATA on the way, wait for slow authorities, and repeat what
//! is lost as their resolver does (rulebook sections 3 and 10).

mod network;
mod random;
mod resolvers;

use std::fmt::Write;

use dnswhy::analysis::{Analysis, Options, Sinks, run_frames};
use dnswhy::incident::Severity;
use dnswhy::testkit::Scenario;

use network::{Network, View};
use random::Random;
use resolvers::{Client, Family};

/// One datagram in two hundred is lost on its way.
const LOSS: f64 = 0.005;
/// One frame in a hundred is not captured.
const CAPTURE_LOSS: f64 = 0.01;
const HOUR: f64 = 3_600.0;
/// A pod's lookups come in visits: a few names one after the other, then a pause.
const PAUSE: f64 = 40.0;
const CLIENTS: u8 = 32;

#[test]
fn an_hour_at_the_pods_is_quiet() {
    for seed in [1, 2, 3] {
        quiet(View::Pod, seed);
    }
}

#[test]
fn an_hour_on_a_node_is_quiet() {
    for seed in [4, 5] {
        quiet(View::Node, seed);
    }
}

#[test]
fn an_hour_on_the_node_of_a_backend_is_quiet() {
    for seed in [6, 7] {
        quiet(View::BackendNode, seed);
    }
}

/// The loss is not so small that nothing happened, and it is reported as what it is.
#[test]
fn what_was_lost_is_told_as_a_residual() {
    let analysis = soak(View::Pod, 8);
    assert!(analysis.residual.slow + harmed(&analysis) > 0);
}

fn quiet(view: View, seed: u64) {
    let analysis = soak(view, seed);
    let mut loud = String::new();
    for incident in analysis.incidents.iter().filter(|one| one.severity > Severity::Info) {
        let cause = &incident.cause;
        let (severity, id) = (incident.severity, cause.rule.id);
        // Writing to a string cannot fail.
        let _ = writeln!(loud, "{severity} {id} ({}): {}", cause.confidence, cause.title);
        for fact in &cause.facts {
            let _ = writeln!(loud, "    {}: {}", fact.label, fact.value);
        }
    }
    assert!(loud.is_empty(), "seed {seed}, {view:?}:\n{loud}");
}

fn harmed(analysis: &Analysis) -> u64 {
    analysis.incidents.iter().map(|incident| incident.affected.lookups).sum()
}

/// The analysis of one hour.
fn soak(view: View, seed: u64) -> Analysis {
    let mut network = Network::new(view, Random::new(seed), LOSS);
    for number in 0..CLIENTS {
        let family = Family::of(number);
        let mut client = Client::new(number, family, view);
        let mut at = network.random.between(0.0, PAUSE);
        while at < HOUR {
            at = client.visit(&mut network, at) + network.random.pause(PAUSE);
        }
    }
    let scenario = Scenario::parse(&network.into_text());
    let mut missed = Random::new(seed ^ 0x5eed);
    let mut frames = scenario.frames();
    frames.retain(|_| !missed.chance(CAPTURE_LOSS));
    for (number, frame) in (1..).zip(&mut frames) {
        frame.number = number;
    }
    run_frames(frames.iter().map(|made| made.frame()), &Options::default(), Sinks::default())
}
