//! Servers that refuse queries by themselves, for they have too many on their way already: CoreDNS at
//! `max_concurrent` (`plugin/forward`), dnsmasq at `dns-forward-max`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{Map, Span, Timestamp};
use crate::detect::outside::CACHE;
use crate::detect::{Fate, Leg, Scene, Trouble, TroubleKind};
use crate::dns::{Name, Question, Rcode};

/// Refused questions, and names (rulebook 7.6).
const ENOUGH: usize = 5;
/// See [`ENOUGH`]: with two names, three will do.
const ENOUGH_OF_TWO_NAMES: usize = 3;
/// Questions in flight below which nobody sets a limit.
const BUSY: usize = 20;
/// See [`BUSY`]: where most of the refused questions were forwarded and answered at other times, no zone
/// without a forward explains the refusals, and a low limit does.
const BUSY_FOR_KNOWN: usize = 2;
/// CoreDNS gives a leg up after this long.
const LEG: Duration = Duration::from_secs(2);
/// An upstream that takes so long fills a limit.
const SLOW: Duration = Duration::from_secs(1);
/// The longest that an answer is waited for.
const LONGEST: Duration = Duration::from_secs(30);

/// What one server refused because of its limit.
#[derive(Debug)]
pub(in crate::detect) struct AtLimit<'a> {
    pub(in crate::detect) server: IpAddr,
    /// What it refused by itself.
    pub(in crate::detect) own: Vec<&'a Trouble>,
    /// How many questions were on their way at nearly each of those moments, and how many at most ever.
    pub(in crate::detect) least: usize,
    pub(in crate::detect) most: usize,
    /// Whether its own questions show, or only what clients waited for.
    pub(in crate::detect) shown: bool,
}

/// Every server that did so.
pub(in crate::detect) fn at_limit<'a>(scene: &'a Scene<'a>) -> Vec<AtLimit<'a>> {
    let mut servers: BTreeMap<IpAddr, Vec<&Trouble>> = BTreeMap::new();
    for trouble in scene.forward.outside.troubles() {
        if trouble.kind == TroubleKind::Error(Rcode::REFUSED) {
            servers.entry(trouble.responder).or_default().push(trouble);
        }
    }
    let judged = servers.into_iter().filter_map(|(server, refused)| {
        if scene.forward.shows(server) {
            by_legs(server, &refused, scene)
        } else {
            by_clients(server, &refused, scene)
        }
    });
    judged.collect()
}

/// By what the server asked itself: what it refused without asking anybody.
fn by_legs<'a>(
    server: IpAddr,
    refused: &[&'a Trouble],
    scene: &'a Scene<'a>,
) -> Option<AtLimit<'a>> {
    let legs: Vec<&Leg> =
        scene.forward.legs().iter().filter(|leg| leg.way.forwarder == server).collect();
    let mut asked: Map<&Question, Vec<&Leg>> =
        refused.iter().map(|trouble| (&trouble.question, Vec::new())).collect();
    for leg in &legs {
        if let Some(legs) = asked.get_mut(&*leg.question) {
            legs.push(leg);
        }
    }
    let own = refused.iter().copied().filter(|trouble| {
        let own_leg = |leg: &&Leg| leg.serves(trouble);
        !asked.get(&trouble.question).is_some_and(|legs| legs.iter().any(own_leg))
    });
    let answered = legs.iter().filter(|leg| matches!(leg.fate, Fate::Data | Fate::Negative(_)));
    let forwarded = answered.map(|leg| &*leg.question);
    let flights = legs.iter().map(|leg| {
        let over = leg.replied.map_or(leg.sent.ts.after(LEG), |replied| replied.ts);
        Span::between(leg.sent.ts, over)
    });
    judge(server, own.collect(), forwarded, flights, true)
}

/// By what clients waited for: what was refused sooner than anybody else could be asked, while other names
/// took long.
fn by_clients<'a>(
    server: IpAddr,
    refused: &[&'a Trouble],
    scene: &'a Scene<'a>,
) -> Option<AtLimit<'a>> {
    let at_once = |trouble: &&Trouble| trouble.wait().is_some_and(|wait| wait < CACHE);
    let own: Vec<&Trouble> = refused.iter().copied().filter(at_once).collect();
    if own.len() * 10 < refused.len() * 9 {
        return None;
    }
    let slow = || {
        let slow = |trouble: &&Trouble| {
            trouble.responder == server && trouble.wait().is_some_and(|wait| wait >= SLOW)
        };
        scene.forward.outside.troubles().filter(slow)
    };
    let forwarded = slow().map(|trouble| &trouble.question);
    judge(server, own, forwarded, slow().map(Trouble::span), false)
}

fn judge<'a>(
    server: IpAddr,
    own: Vec<&'a Trouble>,
    forwarded: impl Iterator<Item = &'a Question>,
    flights: impl Iterator<Item = Span>,
    shown: bool,
) -> Option<AtLimit<'a>> {
    let names: BTreeSet<&Name> = own.iter().map(|trouble| &trouble.question.name).collect();
    if own.len() < ENOUGH && (own.len() < ENOUGH_OF_TWO_NAMES || names.len() < 2) {
        return None;
    }
    let busy = if has_forward(&own, forwarded) { BUSY_FOR_KNOWN } else { BUSY };
    let flights = Flights::of(flights);
    let most = flights.most()?;
    // An answer is on the wire before the server counts it as done: of so many, some meet that moment.
    let mut flying: Vec<usize> = own.iter().map(|trouble| flights.at(trouble.sent.ts)).collect();
    flying.sort_unstable();
    let least = *flying.get(flying.len() / 10)?;
    let full = least >= busy && least * 2 >= most;
    full.then_some(AtLimit { server, own, least, most, shown })
}

/// Whether most of what was refused was forwarded at other times, so that the server has a forward for it;
/// of very many, names beside them will do.
fn has_forward<'a>(refused: &[&'a Trouble], forwarded: impl Iterator<Item = &'a Question>) -> bool {
    let many = refused.len() >= BUSY;
    let asked = |trouble: &&'a Trouble| (&trouble.question, false);
    let mut questions: Map<&Question, bool> = refused.iter().map(asked).collect();
    let above = |trouble: &&Trouble| Some((trouble.question.name.parent()?, false));
    let mut zones: Map<Name, bool> =
        if many { refused.iter().filter_map(above).collect() } else { Map::default() };
    for question in forwarded {
        if let Some(known) = questions.get_mut(question) {
            *known = true;
        }
        if many
            && !question.name.is_root()
            && let Some(known) = zones.get_mut(&question.name.ending(1))
        {
            *known = true;
        }
    }
    let known = |trouble: &&&Trouble| {
        let question = &trouble.question;
        let is_beside = || zones.get(&question.name.ending(1)) == Some(&true);
        questions.get(question) == Some(&true) || is_beside()
    };
    refused.iter().filter(known).count() * 2 > refused.len()
}

/// From when to when each question was on its way, in the order of sending.
struct Flights(Vec<Span>);

impl Flights {
    fn of(flights: impl Iterator<Item = Span>) -> Self {
        let mut flights: Vec<Span> = flights.collect();
        flights.sort_unstable();
        Self(flights)
    }

    /// How many were on their way at this instant.
    fn at(&self, at: Timestamp) -> usize {
        let from = self.0.partition_point(|flight| flight.start < at.before(LONGEST));
        let to = self.0.partition_point(|flight| flight.start <= at);
        let open = self.0.get(from..to).unwrap_or_default().iter();
        open.filter(|flight| flight.end > at).count()
    }

    /// How many there were at most.
    fn most(&self) -> Option<usize> {
        let mut ends: Vec<Timestamp> = self.0.iter().map(|flight| flight.end).collect();
        ends.sort_unstable();
        // What began up to an instant, less what had ended by then.
        let begun = self.0.iter().zip(1..);
        begun.map(|(flight, n)| n - ends.partition_point(|end| *end <= flight.start)).max()
    }
}
