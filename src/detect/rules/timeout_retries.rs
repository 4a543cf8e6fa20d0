//! Lookups stalled for seconds on a resolver's retry timer, more of them than ordinary loss makes,
//! and nothing explains why.
//!
//! **Signature.** Queries are repeated at 5 s (glibc, Go, BIND's tools), 2.5 s (musl, busybox) or
//! 1, 2, 4 s (JNDI, Windows), and the lookups that waited for them took 5, 10, 15 s. At least five
//! such queries, and more than ordinary loss explains (one datagram in a hundred; binomial test,
//! p < 0.001): of the whole capture, or else of single clients or servers. The repeats are the
//! symptom of other rules; this one speaks for those that no other rule explains.
//!
//! **Needs.** Nothing but the queries and their answers.
//!
//! **Not this.** Copies of one datagram on several interfaces are no repeats. A capture that lost
//! frames shows silence where there was none: clients that do not ask again had their answer. A
//! lost datagram now and then, recovered by one repeat, is the life of UDP.
//!
//! **Cannot tell.** Why nobody answered. The report names what the capture lacks to say more:
//! the query after translation, the far end, or ICMP.
//!
//! Source: rulebook 2.D, 7.6, 8 (9) and section 3; resolv.conf(5) `timeout` and `attempts`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{Text, clock, count, list, text};
use crate::base::{Span, Table};
use crate::capture::Seen;
use crate::detect::load::delay;
use crate::detect::odds::beyond_ordinary_loss;
use crate::detect::{
    Action, Cell, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, Scene, Symptom, Where, Which,
};
use crate::lookup::{Lookup, Resolver};
use crate::transaction::{Outcome, Transaction};

/// Stalls below which there is nothing to say (rulebook 7.6).
const ENOUGH: u64 = 5;
/// The shortest stall that counts: the first common retry timer.
const STALL: Duration = Duration::from_millis(900);
/// The shortest timer of a common stub resolver: musl's.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// How many stalls are kept; more make the odds no clearer.
const MAX_STALLS: usize = 100_000;
/// Frames that prove it.
const FRAMES: usize = 8;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "timeout-retries",
    title: "stalls on a resolver's retry timer",
    class: Class::Failure,
    layer: Layer::Residual,
    references: &["rulebook 2.D", "resolv.conf(5)"],
    source: include_str!("timeout_retries.rs"),
    new: || Box::<TimeoutRetries>::default(),
};

/// Bounded by [`MAX_STALLS`].
#[derive(Default)]
struct TimeoutRetries {
    stalls: Vec<Stall>,
}

/// A query that was not answered before the client's timer fired.
struct Stall {
    client: IpAddr,
    responder: IpAddr,
    resolver: Resolver,
    span: Span,
    /// Repeats, and how long after the query before.
    repeats: Box<[(Seen, Duration)]>,
}

/// Whose stalls are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scope {
    All,
    Client(IpAddr),
    Server(IpAddr),
}

impl Scope {
    fn holds(self, client: IpAddr, responder: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Client(address) => client == address,
            Self::Server(address) => responder == address,
        }
    }
}

impl Stall {
    fn of(transaction: &Transaction, lookup: &Lookup) -> Option<Self> {
        let (first, last) = (transaction.first().ts, transaction.last_sent()?.ts);
        let silent = match transaction.outcome() {
            Outcome::Timeout => true,
            // A client that had gone before any resolver's timer fired was in a hurry.
            Outcome::Late => {
                delay(transaction, transaction.first().ts).is_none_or(|delay| delay >= PATIENCE)
            }
            _ => false,
        };
        // glibc asks for both types again when one was lost: the other one had its answer.
        let repeated = transaction.attempts.len() > 1
            && !transaction.requeried_after_answer()
            && last.since(first) >= STALL;
        let again = transaction.attempts.windows(2).filter_map(|pair| match pair {
            [before, again] => Some((again.sent(), again.sent().ts.since(before.sent().ts))),
            _ => None,
        });
        (silent || repeated).then(|| Self {
            client: lookup.client,
            responder: transaction.responder(),
            resolver: lookup.resolver,
            span: Span::between(first, last),
            repeats: again.filter(|(_, gap)| *gap >= STALL).collect(),
        })
    }
}

impl Detector for TimeoutRetries {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::Unusual)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        // Silence that the client did not mind proves nothing.
        let proven = lookup.steps.iter().filter(|step| !step.unproven);
        for transaction in proven.filter_map(|step| step.transaction()) {
            if self.stalls.len() < MAX_STALLS {
                self.stalls.extend(Stall::of(transaction, lookup));
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let scopes = beyond(&self.stalls, scene);
        let within =
            |stall: &&Stall| scopes.iter().any(|scope| scope.holds(stall.client, stall.responder));
        let stalls: Vec<&Stall> = self.stalls.iter().filter(within).collect();
        finding(&stalls, &scopes, scene).into_iter().collect()
    }
}

/// Where there are more stalls than ordinary loss makes: everywhere, or else with these clients,
/// or else with these servers.
fn beyond(stalls: &[Stall], scene: &Scene<'_>) -> Vec<Scope> {
    let kinds: [fn(IpAddr, IpAddr) -> Scope; 3] =
        [|_, _| Scope::All, |client, _| Scope::Client(client), |_, server| Scope::Server(server)];
    if stalls.is_empty() {
        return Vec::new();
    }
    for kind in kinds {
        let mut tallies: Table<Scope, (u64, u64)> = Table::default();
        for stall in stalls {
            tallies.entry(kind(stall.client, stall.responder)).or_default().0 += 1;
        }
        for flow in scene.reach.flows() {
            let Cell { client, server, responder, .. } = *flow.cell();
            let (own, asked) = (kind(client, responder), kind(client, server));
            // A query that is lost before it is translated keeps the address of its service: beside those
            // stand all that were sent to it.
            for scope in std::iter::once(own).chain((asked != own).then_some(asked)) {
                if let Some(tally) = tallies.get_mut(&scope) {
                    tally.1 += u64::from(flow.attempts()) * u64::from(flow.weight());
                }
            }
        }
        // Only who stalled can be found at fault, but all were looked at.
        let looked_at = tallies.len() as u64;
        tallies.retain(|_, (stalled, sent)| {
            *stalled >= ENOUGH && beyond_ordinary_loss(*stalled, *sent, looked_at)
        });
        if !tallies.is_empty() {
            return tallies.keys().copied().collect();
        }
    }
    Vec::new()
}

fn finding(stalls: &[&Stall], scopes: &[Scope], scene: &Scene<'_>) -> Option<Finding> {
    let span = stalls.iter().map(|stall| stall.span).reduce(Span::join)?;
    let stalled = stalls.len() as u64;
    let servers = ranked(stalls.iter().map(|stall| stall.responder));
    let resolvers = ranked(stalls.iter().map(|stall| stall.resolver));
    let repeats = || stalls.iter().flat_map(|stall| stall.repeats.iter());
    // To the tenth of a second: timers fire late.
    let grid = ranked(repeats().map(|(_, gap)| gap.as_millis() / 100));
    let times = grid.iter().map(|(tenths, n)| {
        text!("{tenths} s ({n} times)", tenths = format_args!("{:.1}", *tenths as f64 / 10.0), n)
    });
    // Where the next server is asked instead, no query is sent again.
    let after = || Fact { label: text!("queries repeated after"), value: list(times, 4) };
    let repeated = (!grid.is_empty()).then(after);
    let clients: BTreeSet<IpAddr> = stalls.iter().map(|stall| stall.client).collect();
    let some = |of: fn(&Scope) -> Option<IpAddr>| {
        let some: BTreeSet<IpAddr> = scopes.iter().filter_map(of).collect();
        (!some.is_empty()).then_some(some)
    };
    let only_clients = some(|scope| match scope {
        Scope::Client(client) => Some(*client),
        _ => None,
    });
    let only_servers = some(|scope| match scope {
        Scope::Server(server) => Some(*server),
        _ => None,
    });
    let culprits: Vec<Culprit> = match &only_clients {
        Some(clients) => clients.iter().take(3).map(|client| Culprit::Client(*client)).collect(),
        None => servers.iter().take(3).map(|(server, _)| Culprit::Backend(*server)).collect(),
    };
    let lacking = if scene.nat.services().next().is_none() {
        text!(
            "The capture shows no query after translation, so the backend is not known: record \
             with -i any on the client's node."
        )
    } else {
        text!("A capture on the DNS pods' nodes would show whether the queries arrived there.")
    };
    let of_clients = only_clients
        .as_ref()
        .map_or_else(Text::default, |clients| text!(" of {clients}", clients = list(clients, 3)));
    let mut evidence: Vec<Proof> = repeats()
        .map(|(seen, gap)| Proof {
            seen: *seen,
            summary: text!(
                "the same query again, {gap} s after the one before",
                gap = format_args!("{:.4}", gap.as_secs_f64())
            ),
        })
        .collect();
    evidence.sort();
    evidence.truncate(FRAMES);
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{queries}{of_clients} to {servers} waited for a retry timer between {start} and {end}",
            queries = count(stalled, "query"),
            of_clients,
            servers = list(servers.iter().map(|(server, _)| server), 3),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Possible,
        culprits,
        place: Where::Unknown,
        span,
        ongoing: scene.lasts(span),
        transactions: stalled,
        claim: Claim {
            clients: only_clients,
            servers: only_servers,
            symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Late]),
            ..Claim::default()
        },
        cause: text!(
            "Queries were not answered in time, more of them than ordinary loss explains, and the \
             clients waited for their resolvers' timers before they asked again. No other rule \
             says why. {lacking}",
            lacking
        ),
        facts: repeated
            .into_iter()
            .chain([
                Fact {
                    label: text!("resolvers"),
                    value: list(
                        resolvers.iter().map(|(who, times)| text!("{who} ({times})", who, times)),
                        4,
                    ),
                },
                Fact {
                    label: text!("servers that did not answer"),
                    value: list(servers.iter().map(|(s, n)| text!("{s} ({n})", s, n)), 4),
                },
                Fact { label: text!("clients"), value: list(&clients, 5) },
                Fact {
                    label: text!("first / last"),
                    value: text!(
                        "{start} / {end}",
                        start = clock(span.start),
                        end = clock(span.end)
                    ),
                },
            ])
            .collect(),
        evidence,
        actions: vec![
            Action {
                why: text!("record the far end as well"),
                command: "tcpdump -i any -s 0 -C 20 -W 200 -w coredns_dns.pcap '(port 53) or icmp \
                          or icmp6 or (ip[6:2] & 0x1fff != 0)'"
                    .to_owned(),
            },
            Action {
                why: text!("see whether packets are dropped on the node"),
                command: "conntrack -S; nstat -az | grep -i udp; ip -s link".to_owned(),
            },
        ],
        ruled_out: Vec::new(),
    })
}

/// How often each occurs, the most frequent first.
fn ranked<T: Ord>(items: impl Iterator<Item = T>) -> Vec<(T, u64)> {
    let mut counts: BTreeMap<T, u64> = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    let mut ranked: Vec<(T, u64)> = counts.into_iter().collect();
    // The sort is stable, so equals stay in their own order.
    ranked.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    ranked
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// `times` a query that is answered when it is repeated after `gap` seconds; other lookups go
    /// on until a minute later, or the capture ends with the last repeat.
    fn stalls(times: usize, gap: &str, repeated: &str, cut: bool) -> String {
        let mut text = format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat {times} every 20\n\
             0.000 pod:40000 > dns rd id 1 A www.example.org.\n\
             {gap} pod:40000 > dns rd id 1 A www.example.org.\n{repeated}end\n"
        );
        if !cut {
            let after = times * 20 + 60;
            text.extend([format!(
                "{after}.000 pod:39000 > dns rd A www.example.org.\n\
                 {after}.001 pod:39000 < dns www.example.org. 60 A 203.0.113.7\n"
            )]);
        }
        text
    }
    const ANSWER: &str = "5.010 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7\n";

    #[test]
    fn lookups_wait_five_seconds_and_nothing_explains_it() {
        insta::assert_snapshot!(findings(&stalls(5, "5.003", ANSWER, false)), @"low timeout-retries [backend 10.96.0.10] possible 10:00:00.000-10:01:25.003 0/5");
    }

    #[test]
    fn four_lost_queries_are_too_few() {
        insta::assert_snapshot!(findings(&stalls(4, "5.003", ANSWER, false)), @"quiet");
    }

    /// The same five stalls among lookups of other clients that are answered at once.
    fn among(answered: usize) -> String {
        format!(
            "{}other = 10.0.0.6\nrepeat {answered} every 0.1\n\
             0.000 other:30000 > dns rd A www.example.org.\n\
             0.001 other:30000 < dns www.example.org. 60 A 203.0.113.7\nend\n",
            stalls(5, "5.003", ANSWER, false)
        )
    }

    #[test]
    fn one_client_stalls_among_many_that_do_not() {
        insta::assert_snapshot!(findings(&among(900)), @"low timeout-retries [client 10.0.0.5] possible 10:00:00.000-10:01:25.003 0/5");
    }

    /// Five in seven hundred are what a network loses; had they been of one client, its own share
    /// would tell.
    #[test]
    fn ordinary_loss_is_no_incident() {
        let text = among(700).replace("other = 10.0.0.6\n", "").replace("other", "pod");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    /// They are lost before they are translated, so that no backend has them.
    #[test]
    fn ordinary_loss_where_queries_enter_the_node_is_no_incident() {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             one = 10.244.0.2\ntwo = 10.244.0.3\n",
        );
        for round in 0..1_400_u32 {
            let (at, port) = (f64::from(round) * 0.1, 20_000 + round);
            let pod = ["one", "two"][(round % 2) as usize];
            let ask = |at: f64, port: u32| {
                format!(
                    "{at:.3} {pod}:{port} > kube-dns via dns1 rd edns 1232 A n{round}.example.com."
                )
            };
            let (mut at, mut port) = (at, port);
            if round % 200 < 2 {
                text += &format!("{} until veth\n", ask(at, port));
                (at, port) = (at + 5.002, port + 10_000);
            }
            let answer = format!("via dns1 n{round}.example.com. 5 A 203.0.113.7");
            text +=
                &format!("{}\n{:.3} {pod}:{port} < kube-dns {answer}\n", ask(at, port), at + 0.001);
        }
        let said = findings(&text);
        assert!(!said.contains("timeout-retries"), "{said}");
    }

    #[test]
    fn the_same_question_again_at_once_is_no_stall() {
        let text = stalls(9, "0.300", &ANSWER.replace("5.010", "0.310"), false);
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn a_single_query_without_an_answer_proves_nothing() {
        let mut text = stalls(9, "5.003", "", false);
        text = text.replace("5.003 pod:40000 > dns rd id 1 A www.example.org.\n", "");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn what_the_capture_did_not_watch_long_enough_is_unknown() {
        let text = stalls(1, "5.003", "", true).replace("repeat 1 every 20", "repeat 9 every 0.1");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }
}
