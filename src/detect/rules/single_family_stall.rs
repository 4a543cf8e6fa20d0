//! One address family is never answered, and lookups wait for it.
//!
//! **Signature.** In the same lookup A is answered and AAAA is not on any attempt (or the other way
//! round), and for these names it never is. glibc waits 15 s and then takes what it has, musl fails
//! the whole lookup after 5 s, Go waits 10 s.
//!
//! **Needs.** At least three lookups, at least two attempts each, and no answer to that type for
//! these names anywhere in the capture; or, from the first such lookup to the last, hardly one to that type
//! for whatever name, and many to the other: from all servers, or from one of them.
//!
//! **Not this.** An empty answer is an answer. A repeat that is answered is loss, or
//! `conntrack-race-aaaa`. AAAA that fails behind the servers is `slow-or-dropped-aaaa`. A dead
//! backend fails both types alike.
//!
//! **Cannot tell.** Whether a firewall, the server or something behind it drops the type.
//!
//! Source: rulebook 2.D, section 3 (V4, V14).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{AddressId, Rows, Set, Span, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which, odds,
};
use crate::dns::{Name, Question, QuestionId, RecordType};
use crate::lookup::Lookup;
use crate::transaction::{Outcome, Transaction};

/// Lookups below which it is chance (rulebook 7.6).
const ENOUGH: u64 = 3;
/// Both attempts of a stub must have failed.
const ATTEMPTS: usize = 2;
/// Chance that losses of both types fall on one alone: three of three would be 1/8, so that names
/// asked more often count.
const CHANCE: f64 = 0.05;
/// Of the type that is not answered from the first to the last of these lookups, one in so many may be.
const HARDLY: u64 = 20;
/// Such a time is no moment.
const LASTS: Duration = Duration::from_secs(5);
/// Seconds tallied, each for every server: more than half a day of four servers.
const MAX_SECONDS: usize = 200_000;
/// Names tallied.
const MAX_NAMES: usize = 8_192;
/// Example frames.
const FRAMES: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "single-family-stall",
    title: "one of A and AAAA is never answered",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "resolv.conf(5)"],
    source: include_str!("single_family_stall.rs"),
    new: || Box::<SingleFamilyStall>::default(),
};

/// Bounded by [`MAX_NAMES`] and [`MAX_SECONDS`].
#[derive(Default)]
struct SingleFamilyStall {
    /// Names of which each type was answered.
    answered: Set<QuestionId>,
    /// What each server answered in the latest second of its questions, and in those before it.
    now: Rows<Second>,
    before: Vec<(AddressId, Second)>,
    stalls: BTreeMap<(RecordType, Name), Vec<Stall>>,
}

/// A second, and how often questions of it for A and for AAAA were answered.
#[derive(Clone, Copy, Default)]
struct Second {
    at: i64,
    answered: [u32; 2],
}

/// A lookup that lacked one type.
#[derive(Clone, Copy)]
struct Stall {
    seen: Seen,
    span: Span,
    client: IpAddr,
    server: IpAddr,
    attempts: usize,
}

impl Detector for SingleFamilyStall {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::Unusual)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        let question = &transaction.question;
        let family = matches!(question.rtype, RecordType::A | RecordType::AAAA);
        if !family || transaction.responses.is_empty() {
            return;
        }
        if self.answered.len() < MAX_NAMES {
            self.answered.insert(question.into());
        }
        let (now, at) = (self.now.row(glance.responder), second_of(glance.first.ts));
        if now.at != at {
            let before = std::mem::replace(now, Second { at, ..Second::default() });
            if before.answered != [0; 2] && self.before.len() < MAX_SECONDS {
                self.before.push((glance.responder, before));
            }
        }
        now.answered[place(question.rtype)] += 1;
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        // Each name of a search waits for itself.
        let mut names: SmallVec<[&Name; 4]> = SmallVec::new();
        for asked in lookup.transactions().filter(|asked| asked.outcome() == Outcome::Timeout) {
            if !names.contains(&&asked.question.name) {
                names.push(&asked.question.name);
            }
        }
        for name in names {
            for (lacking, other) in
                [(RecordType::AAAA, RecordType::A), (RecordType::A, RecordType::AAAA)]
            {
                let key = (lacking, name.clone());
                let room = self.stalls.len() < MAX_NAMES || self.stalls.contains_key(&key);
                if room && let Some(stall) = Stall::of(lookup, name, lacking, other) {
                    let stalls = self.stalls.entry(key).or_default();
                    if stalls.len() < MAX_NAMES {
                        stalls.push(stall);
                    }
                }
            }
        }
    }

    fn finish(mut self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        if let Some((rtype, stalls, at)) = self.dropped(scene) {
            return finding(rtype, &self.names(rtype), at, &stalls, scene).into_iter().collect();
        }
        let answered = std::mem::take(&mut self.answered);
        self.stalls.retain(|(rtype, name), _| {
            let question = Question { name: name.clone(), rtype: *rtype, class: Question::IN };
            !answered.contains(&QuestionId::from(&question))
        });
        let (a, aaaa) = (self.of(RecordType::A), self.of(RecordType::AAAA));
        let (rtype, stalls, fewer) = if a.len() > aaaa.len() {
            (RecordType::A, a, aaaa.len())
        } else {
            let fewer = a.len();
            (RecordType::AAAA, aaaa, fewer)
        };
        if !is_no_chance(&stalls, fewer) {
            return Vec::new();
        }
        finding(rtype, &self.names(rtype), At::Names, &stalls, scene).into_iter().collect()
    }
}

impl Stall {
    /// That of a lookup which lacked one type of a name and had the other.
    fn of(lookup: &Lookup, name: &Name, lacking: RecordType, other: RecordType) -> Option<Self> {
        let of = |rtype: RecordType| {
            let own = move |asked: &&Arc<Transaction>| {
                asked.question.rtype == rtype && asked.question.name == *name
            };
            lookup.transactions().filter(own)
        };
        let (first, last) = (of(lacking).next()?, of(lacking).last()?);
        let silent = of(lacking).all(|asked| asked.outcome() == Outcome::Timeout);
        let fine =
            of(other).any(|asked| matches!(asked.outcome(), Outcome::Ok | Outcome::Negative));
        let attempts = of(lacking).map(|asked| asked.attempts.len()).sum();
        let end = last.last_sent().unwrap_or(last.first()).ts;
        (silent && fine && attempts >= ATTEMPTS).then(|| Self {
            seen: first.first(),
            span: Span::between(first.first().ts, end),
            client: lookup.client,
            server: first.responder(),
            attempts,
        })
    }
}

/// Where a type is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Asked for these names alone.
    Names,
    /// For a while, for whatever name.
    AllServers,
    /// The same, by some of several servers.
    SomeServers,
}

impl SingleFamilyStall {
    fn names(&self, rtype: RecordType) -> BTreeSet<Name> {
        let own = self.stalls.keys().filter(|key| key.0 == rtype);
        own.map(|key| key.1.clone()).collect()
    }

    fn of(&self, rtype: RecordType) -> Vec<Stall> {
        let own = self.stalls.iter().filter(|(key, _)| key.0 == rtype);
        own.flat_map(|(_, stalls)| stalls.iter().copied()).collect()
    }

    /// The type that was dropped for a while for whatever name, and the lookups that waited for it.
    fn dropped(&self, scene: &Scene<'_>) -> Option<(RecordType, Vec<Stall>, At)> {
        if self.stalls.is_empty() {
            return None;
        }
        let servers = self.servers(scene);
        let mut all = Server::default();
        for server in servers.values() {
            all.join(server);
        }
        [RecordType::AAAA, RecordType::A].into_iter().find_map(|rtype| {
            if all.drops(rtype) {
                return Some((rtype, all.stalls(rtype).to_vec(), At::AllServers));
            }
            let drops = servers.values().filter(|server| server.drops(rtype));
            let some: Vec<Stall> = drops.flat_map(|server| server.stalls(rtype)).copied().collect();
            (!some.is_empty()).then_some((rtype, some, At::SomeServers))
        })
    }

    /// What is known of each server.
    fn servers(&self, scene: &Scene<'_>) -> BTreeMap<IpAddr, Server> {
        let mut servers: BTreeMap<IpAddr, Server> = BTreeMap::new();
        for ((rtype, _), stalls) in &self.stalls {
            for stall in stalls {
                servers.entry(stall.server).or_default().stalls[place(*rtype)].push(*stall);
            }
        }
        let before = self.before.iter().map(|(id, second)| (scene.addresses.address(*id), second));
        for (server, second) in self.now.sorted(scene.addresses).into_iter().chain(before) {
            servers.entry(server).or_default().seconds.push(*second);
        }
        servers
    }
}

/// What one server answered, or all of them, and which lookups lacked A, and which AAAA.
#[derive(Default)]
struct Server {
    seconds: Vec<Second>,
    stalls: [Vec<Stall>; 2],
}

impl Server {
    fn join(&mut self, other: &Self) {
        self.seconds.extend(&other.seconds);
        for (own, other) in self.stalls.iter_mut().zip(&other.stalls) {
            own.extend(other);
        }
    }

    fn stalls(&self, lacking: RecordType) -> &[Stall] {
        &self.stalls[place(lacking)]
    }

    /// Whether hardly one question of this type was answered from the first of these lookups to the last,
    /// whatever its name.
    fn drops(&self, rtype: RecordType) -> bool {
        let own = place(rtype);
        let other = 1 - own;
        let stalls = &self.stalls[own];
        let times = || stalls.iter().map(|stall| stall.span.start);
        let Some((first, last)) = times().min().zip(times().max()) else { return false };
        let against =
            self.stalls[other].iter().filter(|stall| (first..=last).contains(&stall.span.start));
        if last.since(first) < LASTS || !is_no_chance(stalls, against.count()) {
            return false;
        }
        // The seconds at its ends saw something of before and after.
        let within = second_of(first) + 1..second_of(last);
        let within = self.seconds.iter().filter(|second| within.contains(&second.at));
        let (mut answered, lookups) = ([0; 2], stalls.len() as u64);
        for second in within {
            answered[0] += u64::from(second.answered[own]);
            answered[1] += u64::from(second.answered[other]);
        }
        answered[0] * HARDLY <= lookups && answered[1] * 5 >= lookups * 4
    }
}

/// Whether these lookups are enough, and too many for losses of both types alike, `fewer` of which fell on
/// the other one.
fn is_no_chance(stalls: &[Stall], fewer: usize) -> bool {
    // Every unanswered attempt is an observation of its own: loss would spare some.
    let attempts: usize = stalls.iter().map(|stall| stall.attempts).sum();
    stalls.len() as u64 >= ENOUGH && odds::sign(attempts as u64, fewer as u64 * 2) < CHANCE
}

/// Where A stands of both types, and where AAAA.
fn place(rtype: RecordType) -> usize {
    usize::from(rtype == RecordType::AAAA)
}

fn second_of(ts: Timestamp) -> i64 {
    ts.nanos().div_euclid(1_000_000_000)
}

/// These names are all that were seen, or, where the type is dropped for whatever name, examples.
fn finding(
    rtype: RecordType,
    names: &BTreeSet<Name>,
    at: At,
    stalls: &[Stall],
    scene: &Scene<'_>,
) -> Option<Finding> {
    let span = stalls.iter().map(|stall| stall.span).reduce(Span::join)?;
    let clients: BTreeSet<IpAddr> = stalls.iter().map(|stall| stall.client).collect();
    let servers: BTreeSet<IpAddr> = stalls.iter().map(|stall| stall.server).collect();
    let other = if rtype == RecordType::A { RecordType::AAAA } else { RecordType::A };
    let example = names.first().map_or_else(|| "<name>".to_owned(), Name::to_string);
    let lookups = count(stalls.len() as u64, "lookup");
    let (title, cause) = if at == At::Names {
        let title = text!(
            "{rtype} of {names} was never answered while {other} was, and {lookups} waited for it",
            rtype,
            names = list(names, 3),
            other,
            lookups
        );
        let cause = text!(
            "The servers answer {other} for these names and never {rtype}, whatever is repeated: \
             the type is dropped at the server, behind it, or by a filter on the way.",
            other,
            rtype
        );
        (title, cause)
    } else {
        let title = text!(
            "{rtype} was hardly ever answered from {start} to {end} while {other} was, and \
             {lookups} waited for it",
            rtype,
            start = clock(span.start),
            end = clock(span.end),
            other,
            lookups
        );
        let cause = text!(
            "In this time the servers answered {other} and hardly ever {rtype}, for whatever name: \
             the type is dropped at the server, behind it, or by a filter on the way.",
            other,
            rtype
        );
        (title, cause)
    };
    let server = servers.first().map_or_else(String::new, |server| format!("@{server} "));
    Some(Finding {
        rule: &DETECTOR,
        title,
        confidence: Confidence::Likely,
        culprits: servers.iter().take(3).copied().map(Culprit::Backend).collect(),
        place: Where::Unknown,
        span,
        ongoing: scene.lasts(span),
        transactions: stalls.len() as u64,
        claim: Claim {
            span: Some(span.widened(Duration::from_millis(5))),
            // A try from another port may have met another server: who made it waited all the same.
            clients: (at == At::Names).then(|| clients.clone()),
            servers: (at == At::SomeServers).then(|| servers.clone()),
            zones: (at == At::Names).then(|| names.clone()),
            rtype: Some(rtype),
            symptoms: BTreeSet::from([Symptom::Unanswered]),
            ..Claim::default()
        },
        cause,
        facts: vec![
            Fact { label: text!("names"), value: list(names, 5) },
            Fact { label: text!("servers asked"), value: list(&servers, 4) },
            Fact { label: text!("clients"), value: list(&clients, 5) },
            Fact {
                label: text!("attempts without an answer"),
                value: plain(stalls.iter().map(|stall| stall.attempts).sum::<usize>()),
            },
            Fact {
                label: text!("first / last"),
                value: text!("{start} / {end}", start = clock(span.start), end = clock(span.end)),
            },
        ],
        evidence: stalls
            .iter()
            .take(FRAMES)
            .map(|stall| Proof {
                seen: stall.seen,
                summary: text!(
                    "{rtype} query of {client}, never answered",
                    rtype,
                    client = stall.client
                ),
            })
            .collect(),
        actions: vec![
            Action {
                why: text!("ask for both types by hand"),
                command: format!(
                    "for t in A AAAA; do dig {server}{example}. $t +tries=1 +time=5; done"
                ),
            },
            Action {
                why: text!("stop-gap for glibc 2.36 and later, if it is AAAA"),
                command: "RES_OPTIONS=no-aaaa getent ahosts <name>".to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "conntrack-race-aaaa",
            because: text!("the repeats were not answered either"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    /// Lookups of musl whose AAAA is repeated and, if `cured`, answered then.
    fn lookups(times: u32, cured: bool, cut: bool) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        let name = "api.example.com.";
        for round in 0..times {
            let at = f64::from(round) * 20.0;
            let (port, a, aaaa) = (30_000 + round, 0x1000 + round, 0x10a0 + round);
            let _ = writeln!(
                text,
                "{at:.4} pod:{port} > dns rd id {a:x} A {name}\n\
                 {:.4} pod:{port} > dns rd id {aaaa:x} AAAA {name}\n\
                 {:.4} pod:{port} < dns id {a:x} ? A {name} {name} 5 A 192.0.2.1",
                at + 0.0001,
                at + 0.001
            );
            if !cut {
                let again = at + 2.501;
                let _ = writeln!(text, "{again:.4} pod:{port} > dns rd id {aaaa:x} AAAA {name}");
            }
            if cured {
                let back = at + 2.502;
                let _ =
                    writeln!(text, "{back:.4} pod:{port} < dns id {aaaa:x} ? AAAA {name} NOERROR");
            }
        }
        // The capture goes on long enough for the last one to fail.
        let end = f64::from(times) * 20.0 + 10.0;
        let _ = writeln!(
            text,
            "{end:.4} pod:50000 > dns rd A b.example.com.\n\
             {:.4} pod:50000 < dns b.example.com. 5 A 192.0.2.1",
            end + 0.001
        );
        text
    }

    #[test]
    fn aaaa_is_never_answered_and_musl_fails() {
        let said = findings(&lookups(4, false, false));
        assert!(said.contains("single-family-stall [backend 10.96.0.10] likely"), "{said}");
    }

    #[test]
    fn two_lookups_or_an_answered_repeat_are_not_enough() {
        for text in [lookups(2, false, false), lookups(4, true, false), lookups(4, false, true)] {
            let said = findings(&text);
            assert!(!said.contains("single-family-stall"), "{said}");
        }
    }

    #[test]
    fn a_capture_that_ends_during_the_third_lookup_says_nothing() {
        let said = findings_until(&lookups(4, false, false), 43.0);
        assert!(!said.contains("single-family-stall"), "{said}");
    }

    #[test]
    fn three_lookups_are_enough() {
        let said = findings(&lookups(3, false, false));
        assert!(said.contains("single-family-stall ["), "{said}");
    }

    /// An IPv4-only name has no AAAA, and the server says so.
    #[test]
    fn an_empty_answer_is_an_answer() {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        let name = "api.example.com.";
        for round in 0..6_u32 {
            let (at, port) = (f64::from(round) * 20.0, 30_000 + round);
            let _ = writeln!(
                text,
                "{at:.4} pod:{port} > dns rd id {0:x} A {name}\n\
                 {at:.4} pod:{port} > dns rd id {1:x} AAAA {name}\n\
                 {2:.4} pod:{port} < dns id {0:x} ? A {name} {name} 5 A 192.0.2.1\n\
                 {2:.4} pod:{port} < dns id {1:x} ? AAAA {name} NOERROR",
                0x1000 + round,
                0x10a0 + round,
                at + 0.001
            );
        }
        assert_eq!(findings(&text), "quiet\n");
    }

    /// As many lookups lack A as lack AAAA: loss takes either.
    #[test]
    fn losses_of_both_types_are_loss() {
        let mut text = lookups(4, false, false);
        for line in lookups(4, false, false).lines().skip(2) {
            let (at, rest) = line.split_once(' ').expect("a time");
            let at: f64 = at.parse().expect("a time");
            let turned = rest
                .replace("api.", "www.")
                .replace(" AAAA ", " A? ")
                .replace(" A ", " AAAA ")
                .replace(" A? ", " A ")
                .replace("192.0.2.1", "2001:db8::1")
                .replace("pod:3", "pod:4")
                .replace("pod:5", "pod:6")
                .replace("id 1", "id 2");
            let _ = writeln!(text, "{:.4} {turned}", at + 3.0);
        }
        assert!(!findings(&text).contains("single-family-stall"), "{}", findings(&text));
    }

    /// A is answered all the time, and AAAA but for the time from 30 s to 60 s.
    #[test]
    fn a_type_that_is_dropped_for_a_while_was_answered_before() {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        for round in 0..90_u32 {
            let (at, port) = (f64::from(round), 30_000 + round);
            let (name, a, aaaa) =
                (format!("n{}.example.com.", round % 5), 0x1000 + round, 0x5000 + round);
            let dropped = (30..60).contains(&round);
            let _ = writeln!(
                text,
                "{at:.4} pod:{port} > dns rd id {a:x} A {name}\n\
                 {:.4} pod:{port} > dns rd id {aaaa:x} AAAA {name}\n\
                 {:.4} pod:{port} < dns id {a:x} ? A {name} {name} 5 A 192.0.2.1",
                at + 0.0001,
                at + 0.001
            );
            let answer = format!("pod:{port} < dns id {aaaa:x} ? AAAA {name} NOERROR");
            let _ = if dropped {
                writeln!(text, "{:.4} pod:{port} > dns rd id {aaaa:x} AAAA {name}", at + 2.5)
            } else {
                writeln!(text, "{:.4} {answer}", at + 0.002)
            };
        }
        let said = findings(&text);
        assert!(said.contains(" single-family-stall ["), "{said}");
        assert!(!said.contains("lossy-path ["), "{said}");
    }

    /// glibc of 10.244.0.2 asks for a name under two suffixes, each first for A, and waits for AAAA twice;
    /// `dns1` and `dns2` take turns and answer AAAA if they are to.
    fn searches(answers: [bool; 2]) -> String {
        let mut text = String::from(
            "capture node sll2\npod = 10.244.0.2\nservice dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\n",
        );
        for round in 0..40_u32 {
            let at = f64::from(round) * 12.0;
            let (via, answers) =
                if round % 2 == 0 { ("dns1", answers[0]) } else { ("dns2", answers[1]) };
            for (step, suffix) in [(0_u32, "shop.svc.cluster.local."), (1, "svc.cluster.local.")] {
                let at = at + f64::from(step) * if answers { 0.01 } else { 5.1 };
                let (port, a, aaaa) = (
                    30_000 + round * 2 + step,
                    0x1000 + round * 2 + step,
                    0x5000 + round * 2 + step,
                );
                let name = format!("api{}.{suffix}", round % 5);
                let told = if step == 0 { "NXDOMAIN" } else { "NOERROR" };
                let ask = |at: f64, id: u32, rtype: &str| {
                    format!("{at:.4} pod:{port} > dns via {via} rd id {id:x} {rtype} {name}\n")
                };
                let tell = |at: f64, id: u32, rtype: &str| {
                    format!(
                        "{at:.4} pod:{port} < dns via {via} id {id:x} ? {rtype} {name} {told}\n"
                    )
                };
                text += &ask(at, a, "A");
                text += &ask(at + 0.0001, aaaa, "AAAA");
                text += &tell(at + 0.001, a, "A");
                if answers {
                    text += &tell(at + 0.002, aaaa, "AAAA");
                } else {
                    text += &ask(at + 2.5, aaaa, "AAAA");
                }
            }
        }
        text
    }

    /// Each name of a search waits for itself.
    #[test]
    fn a_type_that_is_dropped_is_seen_in_searches() {
        let said = findings(&searches([false, false]));
        assert!(
            said.contains(" single-family-stall [backend 10.244.1.10, backend 10.244.2.10]"),
            "{said}"
        );
    }

    #[test]
    fn one_of_two_servers_that_drops_a_type_is_named() {
        let said = findings(&searches([false, true]));
        assert!(said.contains(" single-family-stall [backend 10.244.1.10] likely"), "{said}");
        assert!(!said.contains("lossy-path ["), "{said}");
    }
}
