//! Servers that ask each other their own questions back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Span;
use crate::detect::{Leg, Scene};
use crate::dns::Name;

/// Questions that came back, and names (rulebook 7.6).
const ENOUGH: usize = 5;
/// See [`ENOUGH`]: with two names, three will do.
const ENOUGH_OF_TWO_NAMES: usize = 3;
/// A question that is only passed on comes back at once (rulebook 2.E).
pub(in crate::detect) const BACK: Duration = Duration::from_millis(50);
/// How many of a question's legs of the last moment are looked at.
const LOOK_BACK: usize = 64;

/// Servers among whom questions go round.
#[derive(Debug)]
pub(in crate::detect) struct Circle<'a> {
    pub(in crate::detect) servers: BTreeSet<IpAddr>,
    /// The questions that came back, in their order; never empty.
    pub(in crate::detect) legs: Vec<&'a Leg>,
    /// From the first to the last of them.
    pub(in crate::detect) span: Span,
}

/// Every circle of which there is enough to speak of; no server is in two of them.
pub(in crate::detect) fn circles<'a>(scene: &'a Scene<'a>) -> Vec<Circle<'a>> {
    let legs = scene.forward.legs();
    let mut pairs: BTreeMap<BTreeSet<IpAddr>, Vec<&Leg>> = BTreeMap::new();
    for (index, leg) in legs.iter().enumerate() {
        let before = &legs[index.saturating_sub(LOOK_BACK)..index];
        let back = before.iter().rev().any(|earlier| {
            earlier.way.forwarder == leg.way.upstream
                && earlier.way.upstream == leg.way.forwarder
                && earlier.question == leg.question
                && leg.sent.ts.since(earlier.sent.ts) <= BACK
        });
        if back {
            let pair = BTreeSet::from([leg.way.forwarder, leg.way.upstream]);
            pairs.entry(pair).or_default().push(leg);
        }
    }
    let mut circles: Vec<(BTreeSet<IpAddr>, Vec<&Leg>)> = Vec::new();
    for (mut servers, mut legs) in pairs.into_iter().filter(|(_, legs)| is_enough(legs)) {
        // Who stands in two of them makes one of both.
        while let Some(at) = circles.iter().position(|(known, _)| !known.is_disjoint(&servers)) {
            let (others, theirs) = circles.swap_remove(at);
            servers.extend(others);
            legs.extend(theirs);
        }
        circles.push((servers, legs));
    }
    let circle = |(servers, mut legs): (BTreeSet<IpAddr>, Vec<&'a Leg>)| {
        legs.sort_by_key(|leg| leg.sent);
        let span = legs.iter().map(|leg| Span::at(leg.sent.ts)).reduce(Span::join)?;
        Some(Circle { servers, legs, span })
    };
    circles.into_iter().filter_map(circle).collect()
}

fn is_enough(legs: &[&Leg]) -> bool {
    let names: BTreeSet<&Name> = legs.iter().map(|leg| &leg.question.name).collect();
    legs.len() >= ENOUGH || legs.len() >= ENOUGH_OF_TWO_NAMES && names.len() >= 2
}
