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
    let forwarded = Forwarded::of(answered.map(|leg| &*leg.question));
    let flights = legs.iter().map(|leg| {
        let over = leg.replied.map_or(leg.sent.ts.after(LEG), |replied| replied.ts);
        Span::between(leg.sent.ts, over)
    });
    judge(server, own.collect(), &forwarded, &Flights::of(flights), true)
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
    let forwarded = Forwarded::of(slow().map(|trouble| &trouble.question));
    let flights = Flights::of(slow().map(Trouble::span));
    judge(server, own, &forwarded, &flights, false)
}

fn judge<'a>(
    server: IpAddr,
    own: Vec<&'a Trouble>,
    forwarded: &Forwarded<'_>,
    flights: &Flights,
    shown: bool,
) -> Option<AtLimit<'a>> {
    let names: BTreeSet<&Name> = own.iter().map(|trouble| &trouble.question.name).collect();
    if own.len() < ENOUGH && (own.len() < ENOUGH_OF_TWO_NAMES || names.len() < 2) {
        return None;
    }
    let busy = if forwarded.covers(&own) { BUSY_FOR_KNOWN } else { BUSY };
    let most = flights.most()?;
    // An answer is on the wire before the server counts it as done: of so many, some meet that moment.
    let mut flying: Vec<usize> = own.iter().map(|trouble| flights.at(trouble.sent.ts)).collect();
    flying.sort_unstable();
    let least = *flying.get(flying.len() / 10)?;
    let full = least >= busy && least * 2 >= most;
    full.then_some(AtLimit { server, own, least, most, shown })
}

/// What the server asked for at other times: it has a forward for that.
struct Forwarded<'a> {
    questions: BTreeSet<&'a Question>,
    /// The names above theirs.
    parents: BTreeSet<Name>,
}

impl<'a> Forwarded<'a> {
    fn of(questions: impl Iterator<Item = &'a Question>) -> Self {
        let questions: BTreeSet<&Question> = questions.collect();
        let parents = questions.iter().filter_map(|question| question.name.parent()).collect();
        Self { questions, parents }
    }

    /// Whether it holds most of what was refused; of very many, names beside them will do.
    fn covers(&self, refused: &[&Trouble]) -> bool {
        let many = refused.len() >= BUSY;
        let beside = |name: &Name| name.parent().is_some_and(|zone| self.parents.contains(&zone));
        let known = |trouble: &&&Trouble| {
            let question = &trouble.question;
            self.questions.contains(question) || (many && beside(&question.name))
        };
        refused.iter().filter(known).count() * 2 > refused.len()
    }
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
