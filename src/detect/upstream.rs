//! What a failing upstream looks like: on its own legs where the capture shows them, else from
//! what clients were told (rulebook 2.E).
//!
//! The rules about upstreams judge the same evidence, and every failure must go to one of them
//! alone, so they share this reading of it, as the rules about silent servers share theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::finding::{Action, Claim, Confidence, Culprit, Fact, Finding, Proof, RuledOut, Where};
use super::forward::{Fate, Knock, Leg};
use super::harm::Symptom;
use super::outside::{Second, Trouble, TroubleKind, is_aaaa};
use super::{Descriptor, Scene};
use crate::base::words::{clock, count, duration, list};
use crate::base::{Span, Timestamp, Transport};
use crate::dns::{Name, Rcode};
use crate::transaction::ConnectOutcome;

/// Failures that are enough by themselves (rulebook 7.6).
const ENOUGH: usize = 5;
/// Failures that are enough if they are of two names: fewer than three is a coincidence.
const ENOUGH_OF_TWO_NAMES: usize = 3;
/// Refused connections that are enough: a reset is no loss, and the third is no race of an idle
/// connection's close.
const ENOUGH_KNOCKS: usize = 3;
/// Failures further apart than this are of different episodes, as in an incident's pattern.
const APART: Duration = Duration::from_secs(60);
/// CoreDNS gives a silent upstream up after this long at the least: two tries of 2 s (rulebook
/// 2.E), timers firing late by up to a tenth of a second early in the measured range.
const PLATEAU_FROM: Duration = Duration::from_millis(3_900);
/// And after this long at the most: three tries of 2 s, begun before its deadline of 5 s.
const PLATEAU_TO: Duration = Duration::from_millis(6_200);
/// CoreDNS keeps a SERVFAIL this long (rulebook K8): repeats within it say nothing new.
const CACHED: Duration = Duration::from_secs(5);
/// How many frames a finding shows of each kind.
const FRAMES: usize = 4;

/// How an upstream fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It does not answer.
    Silent,
    /// It answers SERVFAIL.
    ServFail,
    /// It answers REFUSED.
    Refused,
    /// It answers over UDP and takes no TCP connections.
    NoTcp,
}

/// One way in which one upstream failed for a while.
#[derive(Debug)]
pub(super) struct Failing<'a> {
    pub(super) kind: Kind,
    /// The upstream, where the capture shows its legs.
    pub(super) upstream: Option<IpAddr>,
    /// The clients' failures.
    pub(super) troubles: Vec<&'a Trouble>,
    /// The legs that failed.
    pub(super) legs: Vec<&'a Leg>,
    /// The connections that failed.
    pub(super) knocks: Vec<&'a Knock>,
    /// Legs to the same upstream that were answered otherwise meanwhile.
    pub(super) answered: u64,
    /// First to last bad packet.
    pub(super) span: Span,
    /// Clients' questions meanwhile.
    pub(super) meanwhile: Second,
    scene: &'a Scene<'a>,
}

/// What a rule says; the rest follows from the evidence.
pub(super) struct Words {
    pub(super) title: String,
    pub(super) confidence: Confidence,
    pub(super) cause: String,
    pub(super) actions: Vec<Action>,
    pub(super) ruled_out: Vec<RuledOut>,
}

/// Every failing of `kind`, one for each upstream, and one for clients whose upstream the
/// capture does not show.
pub(super) fn failing<'a>(scene: &'a Scene<'a>, kind: Kind) -> Vec<Failing<'a>> {
    let mut all: Vec<Failing<'a>> = scene
        .forward
        .upstreams()
        .filter(|upstream| !scene.is_service(*upstream) && !scene.nat.is_backend(*upstream))
        .flat_map(|upstream| of_upstream(scene, upstream))
        .collect();
    let mut rest: Vec<&Trouble> = Vec::new();
    for trouble in scene.forward.outside.troubles() {
        let mut taken = false;
        for failing in all.iter_mut().filter(|failing| failing.explains(trouble)) {
            failing.troubles.push(trouble);
            taken = true;
            break;
        }
        if !taken && !scene.forward.shows(trouble.responder) {
            rest.push(trouble);
        }
    }
    for failing in &mut all {
        failing.settle();
    }
    all.extend(of_clients(scene, &rest));
    all.retain(|failing| failing.kind == kind);
    all
}

/// What the legs of one upstream say.
fn of_upstream<'a>(scene: &'a Scene<'a>, upstream: IpAddr) -> Vec<Failing<'a>> {
    let forward = scene.forward;
    let legs: Vec<&Leg> =
        forward.legs().iter().filter(|leg| leg.upstream == upstream && !leg.probe).collect();
    let knocks: Vec<&Knock> =
        forward.knocks().iter().filter(|knock| knock.upstream == upstream).collect();
    let mut found = Vec::new();
    let fates = [
        (Kind::Silent, Fate::Silent),
        (Kind::ServFail, Fate::Error(Rcode::SERVFAIL)),
        (Kind::Refused, Fate::Error(Rcode::REFUSED)),
    ];
    for (kind, fate) in fates {
        let bad: Vec<&Leg> = legs.iter().copied().filter(|leg| leg.fate == fate).collect();
        let within = episodes(&bad, |leg| leg.sent.ts).filter_map(|bad| {
            let span = spanning(bad.iter().map(|leg| leg.sent.ts))?;
            let answered = legs
                .iter()
                .filter(|leg| span.contains(leg.sent.ts) && leg.fate.is_answered())
                .filter(|leg| leg.fate != fate);
            let (mut answered_count, mut other_family) = (0, false);
            for leg in answered {
                answered_count += 1;
                other_family |= !is_aaaa(&leg.question);
            }
            let one_family = bad.iter().all(|leg| is_aaaa(&leg.question)) && other_family;
            // Loss leaves most legs answered; an upstream that is gone does not.
            let mostly = kind != Kind::Silent || bad.len() as u64 >= answered_count;
            let names = bad.iter().map(|leg| &leg.question.name);
            (is_enough(bad.len(), names) && mostly && !one_family).then_some((
                bad.to_vec(),
                span,
                answered_count,
            ))
        });
        found.extend(within.map(|(legs, span, answered)| Failing {
            legs,
            answered,
            ..Failing::new(scene, kind, Some(upstream), span)
        }));
    }
    let bad: Vec<&Knock> = knocks.iter().copied().filter(|knock| is_bad(knock.outcome)).collect();
    for bad in episodes(&bad, |knock| knock.sent.ts) {
        let Some(span) = spanning(bad.iter().map(|knock| knock.sent.ts)) else { continue };
        let accepted = knocks
            .iter()
            .any(|knock| knock.outcome == ConnectOutcome::Accepted && span.contains(knock.sent.ts));
        let over_udp = legs.iter().filter(|leg| {
            leg.transport == Transport::Udp && leg.fate.is_answered() && span.contains(leg.sent.ts)
        });
        let answered = over_udp.count() as u64;
        let refused = bad.iter().any(|knock| knock.outcome != ConnectOutcome::Silent);
        if bad.len() < ENOUGH_KNOCKS || accepted {
            continue;
        }
        // Silence to SYNs alone does not tell a missing TCP service from a missing host.
        let kind = if refused || answered > 0 { Kind::NoTcp } else { Kind::Silent };
        found.push(Failing {
            knocks: bad.to_vec(),
            answered,
            ..Failing::new(scene, kind, Some(upstream), span)
        });
    }
    found
}

fn is_bad(outcome: ConnectOutcome) -> bool {
    !matches!(outcome, ConnectOutcome::Accepted | ConnectOutcome::Unknown)
}

/// What clients were told by servers whose own questions the capture does not show.
fn of_clients<'a>(scene: &'a Scene<'a>, troubles: &[&'a Trouble]) -> Vec<Failing<'a>> {
    let mut found = Vec::new();
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED] {
        let told: Vec<&Trouble> = troubles
            .iter()
            .copied()
            .filter(|trouble| trouble.kind == TroubleKind::Error(rcode))
            .collect();
        for episode in episodes(&told, |trouble| trouble.sent.ts) {
            let kind = match rcode {
                Rcode::REFUSED => Kind::Refused,
                _ if is_plateau(episode) => Kind::Silent,
                _ if episode.iter().all(|trouble| trouble.transport == Transport::Tcp) => {
                    Kind::NoTcp
                }
                _ => Kind::ServFail,
            };
            let Some(mut failing) = Failing::seen_by_clients(scene, kind, episode) else {
                continue;
            };
            if kind == Kind::NoTcp && failing.meanwhile.outside_ok == 0 {
                failing.kind = Kind::ServFail;
            }
            let span = failing.span;
            let silent = |trouble: &&&Trouble| {
                trouble.kind == TroubleKind::Silent && span.contains(trouble.sent.ts)
            };
            if kind == Kind::Silent {
                failing.troubles.extend(troubles.iter().filter(silent));
                failing.settle();
            }
            found.push(failing);
        }
    }
    if found.iter().all(|failing| failing.kind != Kind::Silent) {
        found.extend(swallowed(scene, troubles));
    }
    found
}

/// Servers that say nothing at all where others say SERVFAIL: names, not addresses, separate
/// good from bad (rulebook 6.3).
fn swallowed<'a>(scene: &'a Scene<'a>, troubles: &[&'a Trouble]) -> Vec<Failing<'a>> {
    let silent: Vec<&Trouble> =
        troubles.iter().copied().filter(|trouble| trouble.kind == TroubleKind::Silent).collect();
    episodes(&silent, |trouble| trouble.sent.ts)
        .filter_map(|episode| {
            let failing = Failing::seen_by_clients(scene, Kind::Silent, episode)?;
            let Second { cluster_ok, cluster_bad, outside_ok, .. } = failing.meanwhile;
            let n = episode.len() as u64;
            let names: BTreeSet<&Name> = episode.iter().map(|t| &t.question.name).collect();
            // A tenth is what heavy loss may do to either side.
            let apart = outside_ok * 10 <= n && cluster_bad * 10 <= cluster_ok;
            (apart && n >= ENOUGH as u64 && names.len() >= 2 && cluster_ok >= 2 * n)
                .then_some(failing)
        })
        .collect()
}

/// Whether SERVFAIL came after CoreDNS had waited for somebody: most of those that it cannot
/// have kept from before lie on the plateau.
fn is_plateau(told: &[&Trouble]) -> bool {
    let mut kept: BTreeMap<(IpAddr, &Name, u16), Timestamp> = BTreeMap::new();
    let (mut fresh, mut waited) = (0_u64, 0_u64);
    for trouble in told {
        let Some(replied) = trouble.replied else { continue };
        let key = (trouble.responder, &trouble.question.name, trouble.question.rtype.0);
        let known = kept.get(&key).is_some_and(|at| replied.ts.since(*at) <= CACHED);
        let wait = trouble.wait().unwrap_or_default();
        let on_plateau = (PLATEAU_FROM..=PLATEAU_TO).contains(&wait);
        if !known || on_plateau {
            fresh += 1;
            waited += u64::from(on_plateau);
            kept.insert(key, replied.ts);
        }
    }
    waited >= ENOUGH_OF_TWO_NAMES as u64 && waited * 2 >= fresh
}

impl<'a> Failing<'a> {
    fn new(scene: &'a Scene<'a>, kind: Kind, upstream: Option<IpAddr>, span: Span) -> Self {
        Self {
            kind,
            upstream,
            troubles: Vec::new(),
            legs: Vec::new(),
            knocks: Vec::new(),
            answered: 0,
            span,
            meanwhile: Second::default(),
            scene,
        }
    }

    /// What an episode of clients' failures says, if it is enough and cluster names, which need
    /// no upstream, fared better.
    fn seen_by_clients(scene: &'a Scene<'a>, kind: Kind, episode: &[&'a Trouble]) -> Option<Self> {
        let span = episode.iter().map(|trouble| trouble.span()).reduce(Span::join)?;
        let mut failing = Self { troubles: episode.to_vec(), ..Self::new(scene, kind, None, span) };
        failing.settle();
        let Second { cluster_ok, cluster_bad, outside_ok, .. } = failing.meanwhile;
        // One in five is more than an upstream's trouble does to names that do not need it.
        let cluster_is_fine = cluster_bad * 5 <= cluster_ok;
        let one_family = episode.iter().all(|trouble| is_aaaa(&trouble.question)) && outside_ok > 0;
        let names = episode.iter().map(|trouble| &trouble.question.name);
        (cluster_is_fine && !one_family && is_enough(episode.len(), names)).then_some(failing)
    }

    /// Whether a client's failure is what this failing of an upstream makes of a question.
    fn explains(&self, trouble: &Trouble) -> bool {
        let kind = match self.kind {
            Kind::Silent | Kind::NoTcp => {
                matches!(trouble.kind, TroubleKind::Error(Rcode::SERVFAIL) | TroubleKind::Silent)
            }
            Kind::ServFail => trouble.kind == TroubleKind::Error(Rcode::SERVFAIL),
            Kind::Refused => trouble.kind == TroubleKind::Error(Rcode::REFUSED),
        };
        let long = Span::between(self.span.start, self.span.end.after(CACHED));
        kind && trouble.span().overlaps(long)
    }

    /// Widens the span to all the evidence, and looks at what else happened meanwhile.
    fn settle(&mut self) {
        self.troubles.sort_by_key(|trouble| trouble.sent);
        self.span = self.troubles.iter().fold(self.span, |span, t| span.join(t.span()));
        self.meanwhile = self.scene.forward.outside.during(self.span);
    }

    /// Whether the capture shows the upstream.
    pub(super) fn is_seen(&self) -> bool {
        self.upstream.is_some()
    }

    /// The upstream, in words.
    pub(super) fn who(&self) -> String {
        self.upstream.map_or_else(
            || "the resolver behind the cluster's DNS".to_owned(),
            |upstream| format!("upstream {upstream}"),
        )
    }

    /// The failing names, those that failed most often first.
    pub(super) fn names(&self) -> Vec<&'a Name> {
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
    pub(super) fn zone(&self) -> Option<Name> {
        let names = self.names();
        let mut zone: Name = (*names.first()?).clone();
        for name in &names {
            while !name.is_under(&zone) {
                zone = zone.parent()?;
            }
        }
        (zone.label_count() >= 2).then_some(zone)
    }

    /// The servers that asked, or that gave the bad answers.
    pub(super) fn forwarders(&self) -> BTreeSet<IpAddr> {
        let legs = self.legs.iter().map(|leg| leg.forwarder);
        let knocks = self.knocks.iter().map(|knock| knock.forwarder);
        let told = self.troubles.iter().map(|trouble| trouble.responder);
        let asked: BTreeSet<IpAddr> = legs.chain(knocks).collect();
        if asked.is_empty() { told.collect() } else { asked }
    }

    /// The clients that were hurt.
    pub(super) fn clients(&self) -> BTreeSet<IpAddr> {
        self.troubles.iter().map(|trouble| trouble.client).collect()
    }

    /// The longest of the clients' waits, and the middle one.
    pub(super) fn waits(&self) -> Option<(Duration, Duration)> {
        let mut waits: Vec<Duration> = self.troubles.iter().filter_map(|t| t.wait()).collect();
        waits.sort_unstable();
        Some((*waits.get(waits.len() / 2)?, *waits.last()?))
    }

    /// Which lookups it explains: names outside the cluster that got this answer or none.
    fn claim(&self) -> Claim {
        let symptoms = match self.kind {
            Kind::Silent | Kind::NoTcp => BTreeSet::from([
                Symptom::Error(Rcode::SERVFAIL),
                Symptom::Unanswered,
                Symptom::Late,
                Symptom::Slow,
            ]),
            Kind::ServFail => BTreeSet::from([Symptom::Error(Rcode::SERVFAIL)]),
            Kind::Refused => BTreeSet::from([Symptom::Error(Rcode::REFUSED)]),
        };
        let zones = (self.kind != Kind::Silent)
            .then(|| self.names().into_iter().cloned().collect::<BTreeSet<Name>>());
        Claim {
            span: Some(self.span),
            outside: self.scene.forward.outside.cluster_zones(),
            // Slow and silent answers need a name that failed for certain to stand with.
            zones: zones.filter(|names| !names.is_empty()),
            symptoms,
            ..Claim::default()
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(upstream) = self.upstream {
            let by = list(self.forwarders(), 3);
            facts.push(Fact { label: "upstream", value: format!("{upstream}, asked by {by}") });
        }
        if !self.legs.is_empty() {
            facts.push(Fact {
                label: "queries to it that failed so",
                value: format!(
                    "{}; {} answered otherwise meanwhile",
                    self.legs.len(),
                    self.answered
                ),
            });
        }
        if !self.knocks.is_empty() {
            let refused =
                self.knocks.iter().filter(|knock| knock.outcome != ConnectOutcome::Silent).count();
            facts.push(Fact {
                label: "TCP connections to it",
                value: format!(
                    "{}, {refused} refused, {} unanswered, none accepted",
                    self.knocks.len(),
                    self.knocks.len() - refused
                ),
            });
        }
        if !self.troubles.is_empty() {
            facts.push(Fact {
                label: "clients' questions that failed by it",
                value: format!(
                    "{} of {}, {}",
                    self.troubles.len(),
                    list(self.clients(), 4),
                    told(&self.troubles)
                ),
            });
        }
        if let Some((middle, longest)) = self.waits() {
            facts.push(Fact {
                label: "clients waited for the answer",
                value: format!("{} (median), {} at most", duration(middle), duration(longest)),
            });
        }
        let Second { cluster_ok, cluster_bad, outside_ok, .. } = self.meanwhile;
        facts.push(Fact {
            label: "meanwhile",
            value: format!(
                "{} of cluster names answered, {cluster_bad} not; {outside_ok} of other names \
                 answered (from a cache, or by another upstream)",
                count(cluster_ok, "question")
            ),
        });
        facts.push(Fact { label: "names", value: list(self.names(), 5) });
        facts.push(Fact {
            label: "first / last",
            value: format!("{} / {}", clock(self.span.start), clock(self.span.end)),
        });
        let probes = self
            .scene
            .forward
            .legs()
            .iter()
            .filter(|leg| Some(leg.upstream) == self.upstream && leg.probe)
            .filter(|leg| self.span.contains(leg.sent.ts) && leg.question.name.is_root())
            .count();
        if probes > 0 {
            facts.push(Fact {
                label: "health probes (. NS)",
                value: format!("{probes}: CoreDNS itself took the upstream for failed"),
            });
        }
        facts
    }

    fn evidence(&self) -> Vec<Proof> {
        let who = self.who();
        let legs = self.legs.iter().take(FRAMES).flat_map(|leg| {
            let asked = format!("{} asks {who} for {}", leg.forwarder, leg.question.name);
            let answer = leg.replied.map(|seen| Proof { seen, summary: says(leg.fate) });
            let silent = if answer.is_none() { "; no answer came" } else { "" };
            [Some(Proof { seen: leg.sent, summary: format!("{asked}{silent}") }), answer]
        });
        let knocks = self.knocks.iter().take(FRAMES).flat_map(|knock| {
            let summary = format!("{} opens a TCP connection to {who}", knock.forwarder);
            let answer = knock
                .replied
                .map(|seen| Proof { seen, summary: "the connection is refused".to_owned() });
            [Some(Proof { seen: knock.sent, summary }), answer]
        });
        let troubles = self.troubles.iter().take(FRAMES).flat_map(|trouble| {
            let summary = format!("{} asks for {}", trouble.client, trouble.question.name);
            let answer = trouble.replied.map(|seen| Proof {
                seen,
                summary: match (trouble.kind, trouble.wait()) {
                    (TroubleKind::Error(rcode), Some(wait)) => {
                        format!("{} says {rcode} after {}", trouble.responder, duration(wait))
                    }
                    _ => format!("{} answers too late", trouble.responder),
                },
            });
            [Some(Proof { seen: trouble.sent, summary }), answer]
        });
        legs.chain(knocks).chain(troubles).flatten().collect()
    }

    /// The finding that says all this.
    pub(super) fn finding(&self, rule: &'static Descriptor, words: Words) -> Finding {
        let upstream = self.upstream.map(Culprit::Upstream);
        let zone = self.zone().map(Culprit::Zone);
        let failed = if self.legs.is_empty() && self.knocks.is_empty() {
            self.troubles.len()
        } else {
            self.legs.len() + self.knocks.len()
        };
        Finding {
            rule,
            title: words.title,
            confidence: words.confidence,
            culprits: upstream.into_iter().chain(zone).collect(),
            place: Where::Upstream,
            span: self.span,
            ongoing: self.scene.lasts(self.span),
            transactions: failed as u64,
            claim: self.claim(),
            cause: words.cause,
            facts: self.facts(),
            evidence: self.evidence(),
            actions: words.actions,
            ruled_out: words.ruled_out,
        }
    }
}

/// Where the upstream's own legs can be recorded.
pub(super) fn record_the_legs(failing: &Failing<'_>) -> Option<Action> {
    (!failing.is_seen()).then(|| Action {
        why: format!(
            "record what {} ask, on their nodes: it names the upstream",
            list(failing.forwarders(), 2)
        ),
        command: "tcpdump -i any -s 0 -C 20 -W 200 -w coredns_dns.pcap '(port 53) or icmp or \
                  icmp6 or (ip[6:2] & 0x1fff != 0)'"
            .to_owned(),
    })
}

/// Ask the upstream the failing question, as the DNS pod does.
pub(super) fn ask_it(failing: &Failing<'_>, options: &str) -> Action {
    let name =
        failing.names().first().map_or_else(|| "example.com".to_owned(), ToString::to_string);
    let at = failing
        .upstream
        .map_or_else(|| "<address after forward in the Corefile>".to_owned(), |u| u.to_string());
    Action {
        why: "ask the upstream from a DNS pod's network".to_owned(),
        command: format!("dig @{at} {name} {options}"),
    }
}

/// Where the cluster's DNS forwards to.
pub(super) fn read_the_corefile() -> Action {
    Action {
        why: "see where the cluster's DNS forwards to".to_owned(),
        command: "kubectl -n kube-system get configmap coredns -o yaml | grep -A5 forward"
            .to_owned(),
    }
}

fn told(troubles: &[&Trouble]) -> String {
    let mut tally: BTreeMap<TroubleKind, u64> = BTreeMap::new();
    for trouble in troubles {
        *tally.entry(trouble.kind).or_default() += 1;
    }
    let words = tally.into_iter().map(|(kind, n)| match kind {
        TroubleKind::Error(rcode) => format!("{n} with {rcode}"),
        TroubleKind::Silent => format!("{n} unanswered"),
        TroubleKind::Slow => format!("{n} slow"),
    });
    list(words, 4)
}

fn says(fate: Fate) -> String {
    match fate {
        Fate::Error(rcode) => format!("it answers {rcode}"),
        Fate::Truncated => "it answers truncated".to_owned(),
        Fate::Silent => "it answers too late".to_owned(),
        _ => "it answers".to_owned(),
    }
}

fn is_enough<'n>(failures: usize, names: impl Iterator<Item = &'n Name>) -> bool {
    failures >= ENOUGH
        || failures >= ENOUGH_OF_TWO_NAMES && names.collect::<BTreeSet<_>>().len() >= 2
}

/// Runs of items without a long pause between them.
fn episodes<'s, T>(
    items: &'s [T],
    ts: impl Fn(&T) -> Timestamp + 's,
) -> impl Iterator<Item = &'s [T]> {
    items.chunk_by(move |a, b| ts(b).since(ts(a)) <= APART)
}

fn spanning(times: impl Iterator<Item = Timestamp>) -> Option<Span> {
    times.map(Span::at).reduce(Span::join)
}
