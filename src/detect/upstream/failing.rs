//! One way in which one upstream fails for a while, and what clients felt of it.
//!
//! The rules about upstreams judge the same evidence, and every failure must go to one of them
//! alone, so they share this reading of it, as the rules about silent servers share theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{circles, clients, legs};
use crate::base::words::{Text, clock, plain, text};
use crate::base::{Span, Timestamp};
use crate::detect::{Fate, Knock, Leg, Scene, Second, Trouble, TroubleKind};
use crate::dns::{Name, Question, Rcode, RecordType};

/// Failures that are enough by themselves (rulebook 7.6).
pub(super) const ENOUGH: usize = 5;
/// Failures that are enough if they are of two names: fewer than three is a coincidence.
pub(super) const ENOUGH_OF_TWO_NAMES: usize = 3;
/// Failures further apart than this are of different episodes, as in an incident's pattern.
const APART: Duration = Duration::from_mins(1);
/// CoreDNS keeps a SERVFAIL this long (rulebook K8): repeats within it say nothing new.
pub(super) const CACHED: Duration = Duration::from_secs(5);

/// How an upstream fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::detect) enum Kind {
    /// It answers over UDP and takes no TCP connections.
    NoTcp,
    /// It answers so many queries a second and drops the rest.
    Limited,
    /// It answers SERVFAIL.
    ServFail,
    /// It answers REFUSED.
    Refused,
    /// It does not answer, or ICMP says that it cannot.
    Silent,
    /// It takes a second or more.
    Slow,
}

/// One way in which one upstream failed for a while.
#[derive(Debug)]
pub(in crate::detect) struct Failing<'a> {
    pub(in crate::detect) kind: Kind,
    /// The upstream, where the capture shows its legs.
    pub(in crate::detect) upstream: Option<IpAddr>,
    /// The clients' failures.
    pub(in crate::detect) troubles: Vec<&'a Trouble>,
    /// The legs that failed.
    pub(in crate::detect) legs: Vec<&'a Leg>,
    /// The connections that failed.
    pub(in crate::detect) knocks: Vec<&'a Knock>,
    /// Legs to the same upstream that were answered otherwise meanwhile.
    pub(in crate::detect) answered: u64,
    /// Whether it fails for these names alone, and answers others.
    pub(in crate::detect) by_name: bool,
    /// First to last bad packet.
    pub(in crate::detect) span: Span,
    /// Clients' questions to the same servers meanwhile.
    pub(in crate::detect) meanwhile: Second,
    pub(super) scene: &'a Scene<'a>,
}

/// Every failing of `kind`, one for each upstream, and one for clients whose upstream the
/// capture does not show.
pub(in crate::detect) fn failing<'a>(scene: &'a Scene<'a>, kind: Kind) -> Vec<Failing<'a>> {
    let mut all: Vec<Failing<'a>> = scene
        .forward
        .upstreams()
        .filter(|upstream| !scene.is_service(*upstream) && !scene.nat.is_backend(*upstream))
        .flat_map(|upstream| legs::read(scene, upstream))
        .collect();
    all.sort_by_key(|failing| (failing.kind, failing.span, failing.upstream));
    let served: Vec<Served<'a>> = all.iter().map(|failing| Served::of(&failing.legs)).collect();
    let mut rest: Vec<&Trouble> = Vec::new();
    for trouble in scene.forward.outside.troubles() {
        // The leg that was sent for this very question comes before one like it.
        let own = served.iter().position(|served| served.holds(trouble));
        let owner = own
            .filter(|index| all.get(*index).is_some_and(|failing| failing.makes(trouble)))
            .or_else(|| all.iter().position(|failing| failing.explains(trouble)));
        match owner.and_then(|index| all.get_mut(index)) {
            Some(failing) => failing.troubles.push(trouble),
            None if !scene.forward.shows(trouble.responder) => rest.push(trouble),
            None => {}
        }
    }
    for failing in &mut all {
        failing.settle();
    }
    all.extend(clients::read(scene, &rest));
    all.retain(|failing| failing.kind == kind);
    if kind == Kind::Silent {
        // Who asks the same questions back is not silent.
        for circle in circles(scene) {
            all.retain(|failing| {
                let in_it = failing.upstream.is_some_and(|server| circle.servers.contains(&server));
                !in_it || !failing.span.overlaps(circle.span)
            });
        }
    }
    all
}

/// Legs by what they asked, to find those sent for a client's question.
struct Served<'a>(BTreeMap<(IpAddr, &'a Question), Vec<&'a Leg>>);

impl<'a> Served<'a> {
    fn of(legs: &[&'a Leg]) -> Self {
        let mut served: BTreeMap<(IpAddr, &Question), Vec<&Leg>> = BTreeMap::new();
        for leg in legs {
            served.entry((leg.way.forwarder, &*leg.question)).or_default().push(leg);
        }
        Self(served)
    }

    fn holds(&self, trouble: &Trouble) -> bool {
        self.0
            .get(&(trouble.responder, &trouble.question))
            .is_some_and(|legs| legs.iter().any(|leg| leg.serves(trouble)))
    }
}

impl<'a> Failing<'a> {
    pub(super) fn new(
        scene: &'a Scene<'a>,
        kind: Kind,
        upstream: Option<IpAddr>,
        span: Span,
    ) -> Self {
        Self {
            kind,
            upstream,
            troubles: Vec::new(),
            legs: Vec::new(),
            knocks: Vec::new(),
            answered: 0,
            by_name: false,
            span,
            meanwhile: Second::default(),
            scene,
        }
    }

    /// Whether this is what such a failing makes of a client's question.
    fn makes(&self, trouble: &Trouble) -> bool {
        match self.kind {
            Kind::Silent | Kind::NoTcp | Kind::Limited => {
                matches!(trouble.kind, TroubleKind::Error(Rcode::SERVFAIL) | TroubleKind::Silent)
            }
            Kind::ServFail => trouble.kind == TroubleKind::Error(Rcode::SERVFAIL),
            Kind::Refused => trouble.kind == TroubleKind::Error(Rcode::REFUSED),
            Kind::Slow => trouble.kind == TroubleKind::Slow,
        }
    }

    /// Whether a client's failure is likely of this failing.
    fn explains(&self, trouble: &Trouble) -> bool {
        let long = Span::between(self.span.start, self.span.end.after(CACHED));
        let name = &trouble.question.name;
        self.makes(trouble)
            && trouble.span().overlaps(long)
            && (!self.by_name || self.legs.iter().any(|leg| leg.question.name == *name))
    }

    /// Widens the span to all the evidence, and looks at what else happened meanwhile.
    pub(super) fn settle(&mut self) {
        self.troubles.sort_by_key(|trouble| trouble.sent);
        self.span = self.troubles.iter().fold(self.span, |span, t| span.join(t.span()));
        self.meanwhile = self.scene.forward.outside.during(self.span, self.forwarders());
    }

    /// Whether the capture shows the upstream.
    pub(in crate::detect) fn is_seen(&self) -> bool {
        self.upstream.is_some()
    }

    /// The upstream, in words.
    pub(in crate::detect) fn who(&self) -> Text {
        self.upstream.map_or_else(
            || text!("the resolver behind the cluster's DNS"),
            |upstream| text!("upstream {upstream}", upstream),
        )
    }

    /// When, in words.
    pub(in crate::detect) fn when(&self) -> Text {
        let start = clock(self.span.start);
        if self.scene.lasts(self.span) {
            return text!("since {start}", start);
        }
        text!("from {start} to {end}", start, end = clock(self.span.end))
    }

    /// Whether ICMP errors are what most of its legs ended with.
    pub(in crate::detect) fn is_rejected(&self) -> bool {
        let rejected = self.legs.iter().filter(|leg| leg.fate == Fate::Rejected).count();
        rejected * 2 > self.legs.len()
    }

    /// The failing names, those that failed most often first.
    pub(in crate::detect) fn names(&self) -> Vec<&'a Name> {
        let mut tally: BTreeMap<&Name, u64> = BTreeMap::new();
        let legs = self.legs.iter().map(|leg| &leg.question.name);
        for name in self.troubles.iter().map(|trouble| &trouble.question.name).chain(legs) {
            *tally.entry(name).or_default() += 1;
        }
        let mut names: Vec<(&Name, u64)> = tally.into_iter().collect();
        names.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
        names.into_iter().map(|(name, _)| name).collect()
    }

    /// The zone that all failing names lie in, if that is more than a top-level domain.
    pub(in crate::detect) fn zone(&self) -> Option<Name> {
        let names = self.names();
        let mut zone: Name = (*names.first()?).clone();
        for name in &names {
            while !name.is_under(&zone) {
                zone = zone.parent()?;
            }
        }
        (zone.label_count() >= 2).then_some(zone)
    }

    /// The failing names, in words.
    pub(in crate::detect) fn what(&self) -> Text {
        match (self.zone(), self.names().first()) {
            (Some(zone), Some(name)) if **name == zone => plain(zone),
            (Some(zone), _) => text!("names under {zone}", zone),
            (None, _) => text!("external names"),
        }
    }

    /// The servers that asked, or that gave the bad answers.
    pub(in crate::detect) fn forwarders(&self) -> BTreeSet<IpAddr> {
        let legs = self.legs.iter().map(|leg| leg.way.forwarder);
        let knocks = self.knocks.iter().map(|knock| knock.forwarder);
        let told = self.troubles.iter().map(|trouble| trouble.responder);
        let asked: BTreeSet<IpAddr> = legs.chain(knocks).collect();
        if asked.is_empty() { told.collect() } else { asked }
    }

    /// Where the upstream does not show: other servers of the same service, which answered such names well
    /// meanwhile.
    pub(super) fn spared(&self) -> BTreeSet<IpAddr> {
        let forwarders = self.forwarders();
        let others = self
            .scene
            .nat
            .services()
            .filter(|(_, backends)| !self.is_seen() && !backends.is_disjoint(&forwarders))
            .flat_map(|(_, backends)| backends.difference(&forwarders).copied());
        let outside = &self.scene.forward.outside;
        others
            .filter(|server| {
                let Second { outside_ok, outside_bad, .. } = outside.during(self.span, [*server]);
                outside_ok >= 2 * ENOUGH as u64 && outside_bad * 10 <= outside_ok
            })
            .collect()
    }

    /// The clients that were hurt.
    pub(in crate::detect) fn clients(&self) -> BTreeSet<IpAddr> {
        self.troubles.iter().map(|trouble| trouble.client).collect()
    }

    /// Whether clients got all their answers in the end, late as they were.
    pub(in crate::detect) fn is_retried(&self) -> bool {
        let slow = |trouble: &&Trouble| trouble.kind == TroubleKind::Slow;
        !self.is_seen() && !self.troubles.is_empty() && self.troubles.iter().all(slow)
    }

    /// The middle one of the clients' waits, and the longest.
    pub(in crate::detect) fn waits(&self) -> Option<(Duration, Duration)> {
        let mut waits: Vec<Duration> = self.troubles.iter().filter_map(|t| t.wait()).collect();
        waits.sort_unstable();
        Some((*waits.get(waits.len() / 2)?, *waits.last()?))
    }
}

/// Whether these failures are enough to speak of.
pub(super) fn is_enough<'n>(failures: usize, names: impl Iterator<Item = &'n Name>) -> bool {
    failures >= ENOUGH
        || failures >= ENOUGH_OF_TWO_NAMES && names.collect::<BTreeSet<_>>().len() >= 2
}

/// Whether only AAAA fails, which is another rule's.
pub(super) fn only_aaaa<'q>(mut questions: impl Iterator<Item = &'q Question>) -> bool {
    questions.all(|question| question.rtype == RecordType::AAAA)
}

/// Runs of items without a long pause between them.
pub(super) fn episodes<'s, T>(
    items: &'s [T],
    ts: impl Fn(&T) -> Timestamp + 's,
) -> impl Iterator<Item = &'s [T]> {
    items.chunk_by(move |a, b| ts(b).since(ts(a)) <= APART)
}
