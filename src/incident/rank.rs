//! The score of an incident (rulebook 7.3): monotone in harm, share, breadth and persistence,
//! in the same units for every rule.
//!
//! base = M * (0.40 + 0.25 F + 0.25 sqrt(B) + 0.10 P), score = round(100 base Q K), where
//! M = min(1, log10(1 + H) / 4) with the harm H, F is the largest share of lookups harmed over
//! one client with at least 20 lookups, one client network, or the whole capture, B the share of
//! active clients, P the persistence over ten minutes (a tenth more if it is still going on), Q
//! the weight of the class and K that of the confidence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Affected, Population, Severity};
use crate::base::Network;
use crate::detect::{Class, Finding};

/// Ten minutes are as persistent as it gets.
const PERSISTENT: Duration = Duration::from_mins(10);
/// A client with fewer lookups says nothing about a share.
const ENOUGH_LOOKUPS: u64 = 20;
/// What an efficiency-only incident can reach at most.
const EFFICIENCY_CAP: f64 = 20.0;

/// Everybody's lookups, added up once for all incidents.
pub(super) struct Everybody<'a> {
    population: &'a Population,
    networks: BTreeMap<Network, u64>,
    all: u64,
}

impl<'a> Everybody<'a> {
    pub(super) fn of(population: &'a Population) -> Self {
        let mut networks: BTreeMap<Network, u64> = BTreeMap::new();
        for (client, lookups) in &population.lookups {
            *networks.entry(Network::of(*client)).or_default() += lookups;
        }
        Self { population, networks, all: population.lookups.values().sum() }
    }
}

/// Scores an incident.
pub(super) fn score(finding: &Finding, affected: &Affected, everybody: &Everybody<'_>) -> u8 {
    let magnitude = ((1.0 + affected.harm).log10() / 4.0).min(1.0);
    let share = share(affected, everybody);
    let active = everybody.population.lookups.len().max(1) as f64;
    let breadth = (affected.clients.len() as f64 / active).min(1.0);
    let length = finding.span.length().as_secs_f64() / PERSISTENT.as_secs_f64();
    let persistence = (length.min(1.0) + if finding.ongoing { 0.1 } else { 0.0 }).min(1.0);
    let base = magnitude * (0.40 + 0.25 * share + 0.25 * breadth.sqrt() + 0.10 * persistence);
    let mut score = 100.0 * base * finding.rule.class.weight() * finding.confidence.factor();
    if finding.rule.class == Class::Efficiency {
        score = score.min(EFFICIENCY_CAP);
    }
    // 0 to 100 by construction.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let score = score.round().clamp(0.0, 100.0) as u8;
    score
}

/// F: the largest harmed share over the nested scopes.
fn share(affected: &Affected, everybody: &Everybody<'_>) -> f64 {
    let mut networks: BTreeMap<Network, f64> = BTreeMap::new();
    let (mut harm, mut largest): (f64, f64) = (0.0, 0.0);
    let of = |own: f64, lookups: u64| {
        if lookups >= ENOUGH_LOOKUPS { own / lookups as f64 } else { 0.0 }
    };
    for (client, own) in &affected.clients {
        let Some(lookups) = everybody.population.lookups.get(client) else { continue };
        largest = largest.max(of(*own, *lookups));
        *networks.entry(Network::of(*client)).or_default() += own;
        harm += own;
    }
    for (network, own) in networks {
        let lookups = everybody.networks.get(&network).copied().unwrap_or_default();
        largest = largest.max(of(own, lookups));
    }
    largest.max(harm / f64::max(everybody.all as f64, 1.0)).min(1.0)
}

/// The label of a score; classes that harm nobody stay information.
pub(super) fn severity(score: u8, class: Class) -> Severity {
    if matches!(class, Class::Efficiency | Class::Capture) {
        return Severity::Info;
    }
    match score {
        60.. => Severity::Critical,
        40.. => Severity::High,
        20.. => Severity::Medium,
        5.. => Severity::Low,
        _ => Severity::Info,
    }
}
