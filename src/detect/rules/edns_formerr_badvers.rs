//! A server does not take queries with EDNS.
//!
//! **Signature.** From one instant on a server answers queries that carry OPT with FORMERR, NOTIMP or
//! BADVERS, or not at all, and no query with OPT with anything else, while it answers the same
//! questions without OPT: three times, for two names. If it takes OPT again later, twenty times and
//! for two clients. A forwarder that takes OPT for names of its own is judged by the others alone: to
//! those it passes on what stands behind it. Whoever waits for a forwarder that is told so is hurt by it.
//!
//! **Needs.** Clients that ask with EDNS, and the same questions without, by them or by others.
//!
//! **Not this.** A server that rejects single messages as malformed, or all of them, rejects them without
//! OPT as well; one that is silent to all is gone. An answer that a cache may have kept since it was last
//! asked shows nothing. Answers that are lost for their size are lost for large names only
//! (`mtu-fragment`).
//!
//! **Cannot tell.** Whether it is the server or a middlebox before it that cannot read OPT; seen from
//! clients alone, which upstream.
//!
//! Source: rulebook 2.G; RFC 6891 sections 6.1.3 and 7; glibc `resolv/res_send.c` (FORMERR ends a
//! lookup).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{Text, clock, list, text};
use crate::base::{AddressId, Rows, Set, Span, Table};
use crate::detect::cached::Cached;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Fate, Finding, Glance,
    Interest, Layer, Leg, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, Question, QuestionId, Rcode};
use crate::transaction::{Outcome, Response, Transaction};

/// Rejected questions, and names (rulebook 7.6).
const ENOUGH: u64 = 3;
/// See [`ENOUGH`].
const NAMES: usize = 2;
/// What a server must have rejected that takes OPT again later: a client whose OPT alone is bad is
/// rejected now and then while others rest.
const ENOUGH_TO_END: u64 = 20;
/// See [`ENOUGH_TO_END`].
const CLIENTS_TO_END: usize = 2;
/// What chance may explain where a server took OPT before.
const CHANCE: f64 = 0.001;
/// Of so many answers without OPT, one may be a rejection as well.
const PLAIN: u64 = 5;
/// Servers tallied, and questions of each.
const MAX_SERVERS: usize = 4_096;
/// See [`MAX_SERVERS`].
const MAX_QUESTIONS: usize = 4_096;
/// Clients kept of each, of those that ask with EDNS and of those that ask without.
const MAX_CLIENTS: usize = 4_096;
/// Example frames kept for each server.
const FRAMES: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "edns-formerr-badvers",
    title: "a server does not take EDNS",
    class: Class::Failure,
    layer: Layer::Protocol,
    references: &["rulebook 2.G", "RFC 6891 section 7"],
    source: include_str!("edns_formerr_badvers.rs"),
    new: || Box::<EdnsFormerrBadvers>::default(),
};

/// Bounded by [`MAX_SERVERS`] times [`MAX_QUESTIONS`] and [`MAX_CLIENTS`].
#[derive(Default)]
struct EdnsFormerrBadvers {
    servers: Table<Ledger, Server>,
    stands: Rows<Stands>,
    /// Names of others alone: they come from caches.
    cached: Cached,
}

/// A server's own names, or what it passes on.
type Ledger = (AddressId, Names);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Names {
    Own,
    Others,
}

/// How a server stands to OPT for names of its own, and for others; by [`Names`].
type Stands = [Stand; 2];

/// How a server stands to OPT, and how it stood before.
#[derive(Clone, Copy, Default)]
struct Stand {
    now: Now,
    /// Questions with OPT that it took, and that it rejected before it took one again.
    taken: u32,
    rejected: u32,
}

/// How a server stands to OPT.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Now {
    /// It was not asked with OPT yet.
    #[default]
    Unknown,
    /// It took the last one: until it rejects one, nothing else of it matters.
    Accepts,
    /// It rejected the last one, or was silent to it.
    Rejects,
    /// It rejected many, and takes them again.
    Ended,
}

/// What one server did with questions with and without OPT.
#[derive(Default)]
struct Server {
    rejected: BTreeMap<Question, u64>,
    /// Questions without OPT that it answered.
    plain: Set<QuestionId>,
    /// How often it did so since it first rejected one with OPT, by more than a cache; how often it rejected
    /// such a question as well, and how often it was silent.
    plain_taken: u64,
    plain_rejected: u64,
    plain_silent: u64,
    /// Who was answered without OPT, since then.
    plain_clients: BTreeSet<IpAddr>,
    rcodes: BTreeMap<Rcode, u64>,
    silent: u64,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    evidence: Vec<Proof>,
}

impl Detector for EdnsFormerrBadvers {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        let names = names(transaction, glance);
        let stand = &mut self.stands.row(glance.responder)[names as usize];
        if stand.now == Now::Ended || transaction.attempts.is_empty() {
            return;
        }
        let ledger = (glance.responder, names);
        let cached = names == Names::Others
            && !is_rejection(transaction.outcome())
            && self.cached.note(transaction, glance.responder);
        if accepts_edns(transaction) {
            if cached {
                return;
            }
            stand.taken = stand.taken.saturating_add(1);
            if stand.now == Now::Accepts {
                return;
            }
            stand.now = Now::Accepts;
            if let Some(server) = self.servers.get(&ledger) {
                if server.has_rejected_many() && server.is_no_chance(*stand) {
                    stand.now = Now::Ended;
                    return;
                }
                let rejected = u32::try_from(server.said() + server.silent).unwrap_or(u32::MAX);
                stand.rejected = stand.rejected.saturating_add(rejected);
                self.servers.remove(&ledger);
            }
            return;
        }
        if rejects_edns(transaction) {
            stand.now = Now::Rejects;
        } else if stand.now == Now::Accepts {
            return;
        }
        if let Some(server) = self.servers.entry_within(ledger, MAX_SERVERS) {
            server.or_default().note(transaction, cached);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut stands = self.stands;
        // The backends of a service have one configuration, and mostly one fault.
        let mut alike: BTreeMap<(IpAddr, bool), (BTreeSet<IpAddr>, Server)> = BTreeMap::new();
        let mut servers: BTreeMap<(IpAddr, Names), (Server, Stands)> = self
            .servers
            .into_unordered()
            .map(|((server, names), tally)| {
                ((scene.addresses.address(server), names), (tally, *stands.row(server)))
            })
            .collect();
        while let Some(((address, names), (mut server, stands))) = servers.pop_last() {
            let own = stands[Names::Own as usize];
            // What says that it rejects OPT does not say with authority whose the name is.
            if let Some((known, _)) = servers.get(&(address, Names::Own))
                && names == Names::Others
                && own.taken == 0
            {
                server.plain.extend(known.plain.iter().copied());
            }
            let passed_on = names == Names::Others && own.taken > 0;
            // Where its own questions show, they tell who rejects OPT.
            let bad = |leg: &Leg| leg.opt && matches!(leg.fate, Fate::Error(_) | Fate::Silent);
            let mut legs = scene.forward.legs().iter().filter(|leg| leg.way.forwarder == address);
            let shown = names == Names::Others
                && (legs.any(bad) || (passed_on && scene.forward.shows(address)));
            if shown || !server.is_no_chance(stands[names as usize]) || !server.is_enough() {
                continue;
            }
            let service = scene.service_of(address).unwrap_or(address);
            let (addresses, all) = alike.entry((service, passed_on)).or_default();
            addresses.insert(address);
            all.join(server);
        }
        alike
            .into_iter()
            .filter_map(|((_, passed_on), (servers, all))| all.finding(&servers, passed_on, scene))
            .collect()
    }
}

impl Server {
    /// How many questions with OPT it rejected.
    fn said(&self) -> u64 {
        self.rcodes.values().sum()
    }

    /// Whether it does without OPT what it does not do with it. Who hears nothing at all may be cut off.
    fn takes_plain(&self) -> bool {
        let is_silent = self.silent > self.said();
        let silent = if is_silent { self.plain_silent } else { 0 };
        (self.plain_rejected + silent) * PLAIN <= self.plain_taken
            && (!is_silent || self.clients.is_subset(&self.plain_clients))
    }

    fn has_rejected_many(&self) -> bool {
        self.said() >= ENOUGH_TO_END && self.clients.len() >= CLIENTS_TO_END
    }

    /// Whether so many rejections in a row are more than chance makes of a server that rejects some
    /// messages and takes others.
    fn is_no_chance(&self, before: Stand) -> bool {
        let (taken, rejected) = (f64::from(before.taken), f64::from(before.rejected));
        let usual = (rejected + 0.5) / (taken + rejected + 1.0);
        let row = i32::try_from(self.said() + self.silent).unwrap_or(i32::MAX);
        before.taken == 0 || usual.powi(row) * (taken + rejected) < CHANCE
    }

    fn note(&mut self, transaction: &Transaction, cached: bool) {
        let question = &transaction.question;
        let outcome = transaction.outcome();
        if transaction.traits.udp_size.is_none() {
            let since = u64::from(self.span.is_some());
            if is_rejection(outcome) {
                self.plain_rejected += since;
            } else if outcome.is_answered() {
                self.plain_taken += if cached { 0 } else { since };
                if since > 0 && self.plain_clients.len() < MAX_CLIENTS {
                    self.plain_clients.insert(transaction.client.ip());
                }
                if self.plain.len() < MAX_QUESTIONS {
                    self.plain.insert(question.into());
                }
            } else if outcome == Outcome::Timeout {
                self.plain_silent += since;
            }
            return;
        }
        match outcome {
            Outcome::Timeout => self.silent += 1,
            Outcome::Error(rcode) if is_rejection(outcome) => {
                *self.rcodes.entry(rcode).or_default() += 1;
            }
            _ => return,
        }
        if self.rejected.len() < MAX_QUESTIONS || self.rejected.contains_key(question) {
            *self.rejected.entry(question.clone()).or_default() += 1;
        }
        if self.clients.len() < MAX_CLIENTS {
            self.clients.insert(transaction.client.ip());
        }
        let seen = transaction.answer().map_or(transaction.first(), Response::delivered);
        let own = Span::between(transaction.first().ts, seen.ts);
        self.span = Some(self.span.map_or(own, |span| span.join(own)));
        if self.evidence.len() < FRAMES {
            let what = match outcome {
                Outcome::Error(rcode) => text!("is answered {rcode}", rcode),
                _ => text!("is not answered"),
            };
            let summary = text!("the query with OPT for {name} {what}", name = question.name, what);
            self.evidence.push(Proof { seen, summary });
        }
    }

    /// The rejected questions that it answered without OPT.
    fn both(&self) -> BTreeMap<&Question, u64> {
        let both = self
            .rejected
            .iter()
            .filter(|(question, _)| self.plain.contains(&QuestionId::from(*question)));
        both.map(|(question, n)| (question, *n)).collect()
    }

    fn is_enough(&self) -> bool {
        let both = self.both();
        let names: BTreeSet<&Name> = both.keys().map(|question| &question.name).collect();
        both.values().sum::<u64>() >= ENOUGH && names.len() >= NAMES && self.takes_plain()
    }

    /// Adds what another backend of the same service did.
    fn join(&mut self, other: Self) {
        for (question, n) in other.rejected {
            *self.rejected.entry(question).or_default() += n;
        }
        self.plain.extend(other.plain);
        self.plain_taken += other.plain_taken;
        self.plain_rejected += other.plain_rejected;
        self.plain_silent += other.plain_silent;
        self.plain_clients.extend(other.plain_clients);
        for (rcode, n) in other.rcodes {
            *self.rcodes.entry(rcode).or_default() += n;
        }
        self.silent += other.silent;
        self.clients.extend(other.clients);
        self.span = self.span.map_or(other.span, |span| other.span.map(|other| span.join(other)));
        self.evidence.extend(other.evidence);
        self.evidence.sort_by_key(|proof| proof.seen);
        self.evidence.truncate(FRAMES);
    }

    fn finding(
        &self,
        servers: &BTreeSet<IpAddr>,
        passed_on: bool,
        scene: &Scene<'_>,
    ) -> Option<Finding> {
        let span = self.span?;
        let both = self.both();
        let total: u64 = both.values().sum();
        let names: BTreeSet<&Name> = both.keys().map(|question| &question.name).collect();
        let mut said: Vec<Text> =
            self.rcodes.iter().map(|(rcode, n)| text!("{rcode} ({n})", rcode, n)).collect();
        if self.silent > 0 {
            said.push(text!("nothing ({silent})", silent = self.silent));
        }
        let said = list(said, 4);
        let (name, server) = (names.first()?, servers.first()?);
        let culprit = |server: &IpAddr| {
            if scene.forward.is_upstream(*server) {
                Culprit::Upstream(*server)
            } else {
                Culprit::Backend(*server)
            }
        };
        let listed = list(servers, 4);
        let refused = if passed_on {
            text!("EDNS is refused behind {servers}", servers = listed)
        } else {
            text!("EDNS is refused by {servers}", servers = listed)
        };
        let who = if passed_on {
            text!(
                "{servers} take OPT for names of the cluster and pass on what they are told of \
                 others: an upstream, or a middlebox before it, does not read the OPT record of \
                 RFC 6891.",
                servers = listed
            )
        } else {
            text!("The server, or a middlebox before it, does not read the OPT record of RFC 6891.")
        };
        let outside =
            if passed_on { scene.forward.outside.cluster_zones() } else { BTreeSet::new() };
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{refused}: since {start} queries with OPT get {said}, and the same questions \
                 without it are answered",
                refused,
                start = clock(span.start),
                said
            ),
            confidence: Confidence::Confirmed,
            culprits: servers.iter().map(culprit).collect(),
            place: if passed_on { Where::Upstream } else { Where::Server },
            span,
            ongoing: scene.lasts(span),
            transactions: total,
            claim: self.claim(servers, outside, scene),
            cause: text!(
                "{who} Resolvers that ask again without it (c-ares, dig) only lose time; glibc \
                 takes FORMERR for final.",
                who
            ),
            facts: vec![
                Fact {
                    label: text!("queries with OPT"),
                    value: text!("none accepted, {said}", said),
                },
                Fact { label: text!("the same questions without OPT"), value: text!("answered") },
                Fact { label: text!("names"), value: list(&names, 5) },
                Fact { label: text!("clients"), value: list(&self.clients, 5) },
            ],
            evidence: self.evidence.clone(),
            actions: vec![
                Action {
                    why: text!("compare both"),
                    command: format!("dig @{server} {name} +noedns; dig @{server} {name} +edns=0"),
                },
                Action {
                    why: text!("ask without EDNS until the server is upgraded"),
                    command:
                        "kubectl get deployment <app> -o yaml | grep -A4 edns0   # and remove \
                              it from dnsConfig.options"
                            .to_owned(),
                },
            ],
            ruled_out: vec![RuledOut {
                rule: "mtu-fragment",
                because: text!("no query with OPT is accepted, for small answers either"),
            }],
        })
    }
}

impl Server {
    /// The lookups that it hurts: of those who ask it, and of those who wait for a forwarder that asks it.
    fn claim(
        &self,
        servers: &BTreeSet<IpAddr>,
        outside: BTreeSet<Name>,
        scene: &Scene<'_>,
    ) -> Claim {
        let errors = self.rcodes.keys().map(|rcode| Symptom::Error(*rcode));
        let mut symptoms: BTreeSet<Symptom> = errors.chain([Symptom::Unanswered]).collect();
        let legs = scene.forward.legs().iter().filter(|leg| servers.contains(&leg.way.upstream));
        let forwarders: BTreeSet<IpAddr> = legs.map(|leg| leg.way.forwarder).collect();
        if forwarders.is_empty() {
            let (span, servers) = (self.span, Some(servers.clone()));
            return Claim { span, servers, outside, symptoms, ..Claim::default() };
        }
        // Silence becomes an error only when the forwarder gives up.
        if self.silent > 0 {
            symptoms.extend([Symptom::Error(Rcode::SERVFAIL), Symptom::Late, Symptom::Slow]);
        }
        Claim {
            // A forwarder asks after it was asked.
            span: self.span.map(|span| span.widened(Duration::from_secs(1))),
            servers: Some(servers.union(&forwarders).copied().collect()),
            zones: Some(self.rejected.keys().map(|question| question.name.clone()).collect()),
            outside,
            symptoms,
            ..Claim::default()
        }
    }
}

/// Whose name a question asks for, as far as it and its answer show.
fn names(transaction: &Transaction, glance: &Glance) -> Names {
    let authoritative = transaction.answer().is_some_and(|answer| answer.header.authoritative());
    if authoritative || glance.name.zone.is_some() { Names::Own } else { Names::Others }
}

/// Whether a server answered a question with OPT, and not by saying that it does not take that.
fn accepts_edns(transaction: &Transaction) -> bool {
    let outcome = transaction.outcome();
    transaction.traits.udp_size.is_some() && outcome.is_answered() && !is_rejection(outcome)
}

/// Whether it said that it does not, or nothing at all.
fn rejects_edns(transaction: &Transaction) -> bool {
    let outcome = transaction.outcome();
    transaction.traits.udp_size.is_some() && (is_rejection(outcome) || outcome == Outcome::Timeout)
}

fn is_rejection(outcome: Outcome) -> bool {
    const BADVERS: Rcode = Rcode(16);
    matches!(outcome, Outcome::Error(Rcode::FORMERR | Rcode::NOTIMP | BADVERS))
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// `times` names, each asked with OPT, which is told `rcode`, and then without.
    fn asked(times: u32, name: &str, rcode: &str) -> String {
        format!(
            "pod = 10.244.0.2
             dns = 192.0.2.53
             repeat {times} every 2
             0.0   pod:40000 > dns id 1 rd edns 1232 A {name}
             0.001 pod:40000 < dns id 1 {rcode}
             0.5   pod:45000 > dns id 2 rd A {name}
             0.501 pod:45000 < dns id 2 n{{n}}.example.com. 5 A 203.0.113.7
             end\n"
        )
    }

    #[test]
    fn formerr_with_opt_and_data_without() {
        let text = findings(&asked(4, "n{n}.example.com.", "FORMERR"));
        assert!(text.contains("edns-formerr-badvers [backend 192.0.2.53] confirmed"), "{text}");
    }

    #[test]
    fn badvers_is_the_extended_rcode() {
        assert!(findings(&asked(4, "n{n}.example.com.", "BADVERS")).contains("edns-formerr"));
    }

    #[test]
    fn a_server_that_accepts_opt_rejects_the_message() {
        let fine = "0.1 pod:9 > dns id 9 rd edns 1232 A fine.example.com.
             0.2 pod:9 < dns id 9 fine.example.com. 5 A 203.0.113.8\n";
        let text = format!("{}{fine}", asked(4, "n{n}.example.com.", "FORMERR"));
        assert!(!findings(&text).contains("edns-formerr"));
    }

    #[test]
    fn a_server_that_took_opt_until_now_is_one_that_does_not() {
        let fine = "pod = 10.244.0.2
             dns = 192.0.2.53
             0.0 pod:9 > dns id 9 rd edns 1232 A fine.example.com.
             0.1 pod:9 < dns id 9 fine.example.com. 5 A 203.0.113.8\n";
        let later = asked(8, "n{n}.example.com.", "FORMERR").replace(" 0.", " 10.");
        let later: String = later.lines().skip(2).map(|line| format!("{line}\n")).collect();
        let text = findings(&format!("{fine}{later}"));
        assert!(text.contains("edns-formerr-badvers [backend 192.0.2.53] confirmed"), "{text}");
    }

    #[test]
    fn what_a_cache_may_have_kept_shows_nothing() {
        let cached = "0.6 pod:46000 > dns id 3 rd edns 1232 A n{n}.example.com.
             0.601 pod:46000 < dns id 3 n{n}.example.com. 5 A 203.0.113.7
             end\n";
        let text = asked(4, "n{n}.example.com.", "FORMERR").replace("end\n", cached);
        assert!(findings(&text).contains("edns-formerr"), "{}", findings(&text));
    }

    #[test]
    fn a_server_that_rejects_everything_has_nothing_against_opt() {
        let all = "repeat 9 every 1 from 30
             0.0   pod:40000 > dns id 4 rd A n{n}.example.com.
             0.001 pod:40000 < dns id 4 FORMERR
             end\n";
        let text = format!("{}{all}", asked(4, "n{n}.example.com.", "FORMERR"));
        assert!(!findings(&text).contains("edns-formerr"), "{}", findings(&text));
    }

    /// A DNS pod takes over the EDNS of its clients, and its upstream says `answer` to that.
    fn behind(answer: &str, told: &str) -> String {
        format!(
            "pod = 10.244.0.2\nold = 10.244.0.3\ncore = 10.244.1.10\nup = 192.0.2.53
             repeat 9 every 20
             0.0   pod:40000 > core id 1 rd edns 1232 A n{{n}}.example.com.
             0.001 core:30000 > up id 2 rd edns 1232 A n{{n}}.example.com.
             {answer}
             {told}
             9.0   old:40000 > core id 3 rd A n{{n}}.example.com.
             9.001 core:30000 > up id 4 rd A n{{n}}.example.com.
             9.010 core:30000 < up id 4 n{{n}}.example.com. 5 A 203.0.113.7
             9.011 old:40000 < core id 3 n{{n}}.example.com. 5 A 203.0.113.7
             end\n"
        )
    }

    #[test]
    fn who_waits_for_a_forwarder_is_hurt_as_well() {
        let said =
            behind("0.010 core:30000 < up id 2 FORMERR", "0.011 pod:40000 < core id 1 FORMERR");
        let (said, want) = (findings(&said), "[upstream 192.0.2.53] confirmed");
        assert!(
            said.contains(want) && said.contains(" 9/9") && !said.contains("backend"),
            "{said}"
        );
        let again = "2.002 core:30001 > up id 5 rd edns 1232 A n{n}.example.com.";
        let silent = behind(again, "4.003 pod:40000 < core id 1 SERVFAIL");
        let said = findings(&silent);
        assert!(said.contains(&format!("edns-formerr-badvers {want}")), "{said}");
        assert!(said.contains(" 9/9") && !said.contains("upstream-timeout"), "{said}");
    }

    #[test]
    fn three_rejections_of_two_names_are_enough_and_two_are_not() {
        assert!(findings(&asked(3, "n{n}.example.com.", "FORMERR")).contains("edns-formerr"));
        assert!(!findings(&asked(2, "n{n}.example.com.", "FORMERR")).contains("edns-formerr"));
    }

    #[test]
    fn silence_at_the_captures_end_rejects_nothing() {
        let text = asked(4, "n{n}.example.com.", "FORMERR").replace("every 2", "every 0.6");
        let text = text.replace("0.001 pod:40000 < dns id 1 FORMERR", "");
        assert!(!findings(&text).contains("edns-formerr"));
    }

    /// CoreDNS takes OPT for its own names, and passes on what its upstream says to others.
    #[test]
    fn what_a_forwarder_passes_on_is_told_apart_from_its_own_names() {
        let own = "repeat 8 every 1
             0.2   pod:41000 > dns id 3 rd edns 1232 A redis.default.svc.cluster.local.
             0.201 pod:41000 < dns id 3 aa redis.default.svc.cluster.local. 5 A 10.96.0.20
             end\n";
        let text = findings(&format!("{}{own}", asked(4, "n{n}.example.com.", "FORMERR")));
        assert!(text.contains("edns-formerr-badvers [backend 192.0.2.53] confirmed"), "{text}");
        // A client whose OPT alone is bad, for names that the server takes from others with OPT.
        let aa = asked(4, "n{n}.example.com.", "FORMERR").replace("id 2 n{n}", "id 2 aa n{n}");
        let text = findings(&format!("{aa}{own}"));
        assert!(!text.contains("edns-formerr"), "{text}");
    }
}
