//! A server changes the case of the question, and a client that mixes cases asks again.
//!
//! **Signature.** Queries with names in mixed case (0x20) are answered with the name in another
//! case, for three or more names. A client that insists on its own case throws such an answer
//! away: it repeats the question although it was answered, or asks again in lower case. Or it waits for
//! its timer and asks anew through another socket: then half of all such answers or more are followed by
//! the same question after one and the same time, and who hears nothing else fails.
//!
//! **Needs.** The queries and their answers. Without a repeat the finding is information: glibc,
//! musl, Go and c-ares compare without case.
//!
//! **Not this.** Answers whose case was kept, whatever the client does. Names in lower case. A client
//! that asks for a name again and again at an interval of its own, however often it was answered.
//!
//! **Cannot tell.** Whether the server itself or something between changed the case.
//!
//! Source: rulebook 2.D; RFC 1035 section 2.3.3, RFC 4343; draft-vixie-dnsext-dns0x20.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Map, Span, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, HarmKind,
    Harmed, Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, QuestionId};
use crate::lookup::Lookup;
use crate::transaction::Transaction;

/// Names whose case was changed: one may be damaged by chance (rulebook 7.6).
const ENOUGH: usize = 3;
/// Repeats after one and the same time (rulebook 7.6), and how exactly a timer fires.
const REPEATS: u64 = 3;
const GRID: Duration = Duration::from_millis(50);
/// No resolver waits longer, or less, for one answer.
const LONGEST: Duration = Duration::from_millis(15_500);
const SHORTEST: Duration = Duration::from_millis(500);
/// No resolver tries more often: who asks more often has other reasons.
const TRIES: u32 = 6;
/// Questions followed one by one.
const MAX_CHAINS: usize = 20_000;
/// Servers tallied, and names of each.
const MAX_SERVERS: usize = 1_024;
const MAX_NAMES: usize = 256;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "case-mismatch",
    title: "a server does not echo the case of the question",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "RFC 4343", "draft-vixie-dnsext-dns0x20"],
    source: include_str!("case_mismatch.rs"),
    new: || Box::<CaseMismatch>::default(),
};

/// Bounded by [`MAX_SERVERS`], [`MAX_NAMES`] and [`MAX_CHAINS`].
#[derive(Default)]
struct CaseMismatch {
    servers: BTreeMap<IpAddr, Changed>,
    chains: Vec<Chain>,
    /// The latest chain of each client and question.
    open: Map<(IpAddr, QuestionId), usize>,
}

/// A question whose answer was changed, and what its client asked alike soon after.
struct Chain {
    /// The first server.
    server: IpAddr,
    lookup: Harmed,
    sent: Timestamp,
    /// The time between two questions, counted in steps of [`GRID`].
    gap: Option<u128>,
    tries: u32,
    /// Whether every answer was changed.
    in_vain: bool,
}

impl Chain {
    /// Whether its client asked again when its timer fired after `gap`.
    fn repeats(&self, gap: u128) -> bool {
        self.gap.is_some_and(|own| own.abs_diff(gap) <= 1) && self.tries <= TRIES
    }
}

#[derive(Default)]
struct Changed {
    names: BTreeSet<Name>,
    kept: u64,
    answers: u64,
    again: u64,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for CaseMismatch {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        for (at, transaction) in lookup.transactions().enumerate() {
            let question = &transaction.question.name;
            if !question.has_upper_case() {
                continue;
            }
            let Some(answer) = transaction.answer() else { continue };
            self.chain(lookup, transaction, answer.case_kept);
            let server = transaction.responder();
            if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&server) {
                continue;
            }
            let changed = self.servers.entry(server).or_default();
            if answer.case_kept {
                changed.kept += 1;
                continue;
            }
            let seen = answer.delivered();
            let again = transaction.requeried_after_answer()
                || lookup.transactions().skip(at + 1).any(|later| {
                    let other = &later.question;
                    other.rtype == transaction.question.rtype
                        && other.name == *question
                        && later.first().ts > seen.ts
                });
            changed.answers += 1;
            changed.again += u64::from(again);
            changed.clients.insert(lookup.client);
            if changed.names.len() < MAX_NAMES {
                changed.names.insert(question.clone());
            }
            changed.span = Some(changed.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
            if changed.frames.len() < 5 {
                changed.frames.push(seen);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let timer = self.timer();
        let mut chains: BTreeMap<IpAddr, Vec<Chain>> = BTreeMap::new();
        for chain in self.chains {
            if timer.is_some_and(|gap| chain.repeats(gap)) {
                chains.entry(chain.server).or_default().push(chain);
            }
        }
        self.servers
            .into_iter()
            .filter(|(_, changed)| changed.names.len() >= ENOUGH)
            .filter_map(|(server, changed)| {
                let dropped = chains.remove(&server).unwrap_or_default();
                finding(server, changed, (timer, &dropped), scene)
            })
            .collect()
    }
}

impl CaseMismatch {
    /// Follows a question from one socket to the next.
    fn chain(&mut self, lookup: &Lookup, asked: &Transaction, kept: bool) {
        let (key, sent) = ((lookup.client, QuestionId::from(&asked.question)), asked.first().ts);
        let known = self.open.get(&key).and_then(|at| self.chains.get_mut(*at));
        if let Some(chain) = known {
            let wait = sent.since(chain.sent);
            let gap = steps(wait);
            let same = chain.gap.is_none_or(|own| own.abs_diff(gap) <= 1);
            if same && (SHORTEST..=LONGEST).contains(&wait) {
                chain.gap = chain.gap.or(Some(gap));
                chain.sent = sent;
                chain.tries += 1;
                chain.in_vain &= !kept;
                return;
            }
        }
        self.open.remove(&key);
        if kept || self.chains.len() >= MAX_CHAINS {
            return;
        }
        let (server, lookup) = (asked.responder(), Harmed::wrong(lookup, sent));
        self.open.insert(key, self.chains.len());
        self.chains.push(Chain { server, lookup, sent, gap: None, tries: 1, in_vain: true });
    }

    /// After which time clients ask again that were answered in another case, if they do.
    fn timer(&self) -> Option<u128> {
        let mut gaps: BTreeMap<u128, u64> = BTreeMap::new();
        for chain in self.chains.iter().filter(|chain| chain.tries <= TRIES) {
            if let Some(gap) = chain.gap {
                *gaps.entry(gap).or_default() += 1;
            }
        }
        let gap = *gaps.iter().max_by_key(|(_, times)| **times)?.0;
        let alike: u64 = gaps.range(gap.saturating_sub(1)..=gap + 1).map(|(_, times)| times).sum();
        // Whoever asked again after another time was content with the answer.
        (alike >= REPEATS && alike * 2 >= self.chains.len() as u64).then_some(gap)
    }
}

fn steps(wait: Duration) -> u128 {
    (wait + GRID / 2).as_nanos() / GRID.as_nanos()
}

fn finding(
    server: IpAddr,
    changed: Changed,
    (timer, dropped): (Option<u128>, &[Chain]),
    scene: &Scene<'_>,
) -> Option<Finding> {
    let timer = timer.map_or(Duration::ZERO, |gap| GRID * u32::try_from(gap).unwrap_or(0));
    let in_vain = dropped.iter().filter(|chain| chain.in_vain).map(|chain| {
        let lookup = Harmed { end: chain.sent.after(timer), ..chain.lookup.clone() };
        ((lookup.start, lookup.client), lookup)
    });
    let wrong: BTreeMap<(Seen, IpAddr), Harmed> = in_vain.collect();
    let again = changed.again.max(dropped.len() as u64);
    let span = changed.span?;
    let harm = again > 0;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{server} changes the case of the name in its answers ({answers}, {start} to \
             {end}){rest}",
            server,
            answers = count(changed.answers, "answer"),
            start = clock(span.start),
            end = clock(span.end),
            rest = if !wrong.is_empty() {
                text!(
                    ", and clients that mix cases drop them: {lookups} failed",
                    lookups = count(wrong.len() as u64, "lookup")
                )
            } else if harm {
                text!(", and clients that mix cases ask again")
            } else {
                text!("; nobody minds")
            }
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(server)],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: again,
        claim: Claim {
            clients: Some(changed.clients.clone()),
            servers: Some(BTreeSet::from([server])),
            zones: Some(if harm { changed.names.clone() } else { BTreeSet::new() }),
            symptoms: BTreeSet::from([Symptom::AskedAgain]),
            kinds: BTreeSet::from([HarmKind::Failed, HarmKind::Slow]),
            wrong,
            ..Claim::default()
        },
        cause: text!(
            "The clients write names in mixed case, to recognise forged answers, and expect it \
             back. {server} writes the name its own way, so such a client takes the answer for \
             forged.",
            server
        ),
        facts: vec![
            Fact {
                label: text!("answers to names in mixed case"),
                value: text!(
                    "{answers} changed, {kept} kept",
                    answers = changed.answers,
                    kept = changed.kept
                ),
            },
            Fact { label: text!("asked again after it"), value: plain(again) },
            Fact { label: text!("names"), value: list(&changed.names, 4) },
            Fact { label: text!("clients"), value: list(&changed.clients, 4) },
        ],
        evidence: changed
            .frames
            .into_iter()
            .map(|seen| Proof { seen, summary: text!("an answer in another case") })
            .collect(),
        actions: vec![
            Action {
                why: text!("see it"),
                command: format!("dig @{server} wWw.ExAmPlE.cOm +noall +question +answer"),
            },
            Action {
                why: text!("do not mix cases towards this server (unbound: use-caps-for-id)"),
                command: "grep -rn 'use-caps-for-id\\|caps-whitelist' /etc/unbound".to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "glibc-id-collision",
            because: text!("the questions have ids of their own"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Names in mixed case, answered with `echo`, and asked again after five seconds if `again`.
    fn scenario(names: &[&str], lower: bool, again: bool) -> String {
        let mut text = String::from("unbound = 10.0.0.5\ndns = 192.0.2.53\n");
        for (index, name) in names.iter().enumerate() {
            let (at, port) = (index * 10, 40_000 + index);
            let echo = if lower { name.to_ascii_lowercase() } else { (*name).to_owned() };
            for second in if again { vec![at, at + 5] } else { vec![at] } {
                text.extend([format!(
                    "{second}.000 unbound:{port} > dns id {index:x} rd A {name}\n\
                     {second}.010 unbound:{port} < dns id {index:x} ? A {echo} {echo} 60 A 203.0.113.9\n"
                )]);
            }
        }
        text
    }
    const NAMES: [&str; 3] = ["wWw.eXample.com.", "gIt.exaMple.org.", "aPi.Example.net."];

    #[test]
    fn answers_in_another_case_are_asked_for_again() {
        insta::assert_snapshot!(findings(&scenario(&NAMES, true, true)), @"low case-mismatch [backend 192.0.2.53] confirmed 10:00:00.010-10:00:20.010 0/3");
    }

    #[test]
    fn nobody_minds() {
        insta::assert_snapshot!(findings(&scenario(&NAMES, true, false)), @"info case-mismatch [backend 192.0.2.53] confirmed 10:00:00.010-10:00:20.010 0/0");
    }

    /// A strict resolver drops what comes in another case, and asks anew from another socket when its
    /// timer fires; `content` asks for the same names whenever it likes.
    fn sockets(times: usize, wait: usize, tries: usize) -> String {
        let mut text = String::from("unbound = 10.0.0.5\ndns = 192.0.2.53\n");
        for index in 0..times {
            let name = NAMES[index % 3];
            let echo = name.to_ascii_lowercase();
            for attempt in 0..tries {
                let (at, port) = (index * 60 + attempt * wait, 40_000 + index * 50 + attempt);
                let id = index * 16 + attempt + 1;
                text += &format!(
                    "{at}.000 unbound:{port} > dns id {id:x} rd A {name}\n\
                     {at}.010 unbound:{port} < dns id {id:x} ? A {echo} {echo} 60 A 203.0.113.9\n"
                );
            }
        }
        text
    }

    #[test]
    fn who_drops_the_answers_asks_anew_when_its_timer_fires() {
        insta::assert_snapshot!(findings(&sockets(6, 5, 2)), @"low case-mismatch [backend 192.0.2.53] confirmed 10:00:00.010-10:05:05.010 6/6");
        // A timer of the application's own, and one repeat in six.
        let polled = findings(&sockets(6, 5, 11));
        assert!(polled.contains("info case-mismatch"), "{polled}");
        let mut once = sockets(6, 5, 1);
        once +=
            &sockets(1, 5, 2).lines().skip(4).map(|line| format!("{line}\n")).collect::<String>();
        assert!(findings(&once).contains("info case-mismatch"), "{}", findings(&once));
    }

    #[test]
    fn two_names_are_too_few() {
        assert!(!findings(&scenario(&NAMES[..2], true, true)).contains("case"));
    }

    #[test]
    fn a_kept_case_is_right() {
        assert!(!findings(&scenario(&NAMES, false, true)).contains("case"));
    }

    #[test]
    fn answers_that_the_capture_missed_have_no_case() {
        let text = scenario(&NAMES, true, true).replace("203.0.113.9", "203.0.113.9 lost");
        assert!(!findings(&text).contains("case"));
    }
}
