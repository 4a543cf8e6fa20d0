//! Of A and AAAA sent back to back from one socket, one is lost in the client node's kernel.
//!
//! **Signature.** A and AAAA leave a new socket within 2 ms; one is answered, the other is seen
//! where it enters the node and never where it leaves; the resolver's timer (5 s glibc, 2.5 s
//! musl) repeats it, and the repeat is answered. Both packets want to create the same conntrack
//! entry, and the one that comes second is dropped.
//!
//! **Needs.** At least five such pairs, hardly any that lost both, and one of two proofs that the
//! loss is not independent: the order, as independent loss takes the first and the second packet of a
//! pair alike and the race nearly always the second (sign test, p < 0.001); or lone queries that are
//! lost five times more seldom (Fisher, p < 0.01). Where the capture shows the way out of the node
//! (`-i any`), three that stopped before it confirm the rule, and nearly all must. There an order that
//! the race, which takes the second of nineteen pairs in twenty, makes ten times likelier is enough if
//! more is lost than ordinary loss takes.
//! Behind the node, the query that was lost is first seen with its repeat.
//!
//! **Not this.** AAAA that is never answered, repeated or not, is `slow-or-dropped-aaaa`. Pairs
//! that were both answered are `glibc-id-collision`. Losses behind the way out are `lossy-path`, and so are
//! those on the node that take lone queries and the first of a pair as often as the second.
//! Pairs that vanish together at the first place, or their first query alone, are `conntrack-full`.
//!
//! **Cannot tell.** DNS packets show where the query was last seen, not why the kernel dropped it:
//! the `insert_failed` counter does. The lookups succeed in the end, late.
//!
//! Source: rulebook 2.C, K4; kubernetes/kubernetes #56903, weaveworks/weave #3287.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::words::{Text, clock, count, duration, list, percent, text};
use crate::base::{Map, Network, Purge, SocketId, Span, Table, Timestamp, Transport};
use crate::capture::Seen;
use crate::detect::vanish::{first_attempt_lost, reached, retry_answered};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, RuledOut, Scene, Symptom, Where, Which, odds,
};
use crate::dns::RecordType;
use crate::lookup::{Lookup, Role, Step};
use crate::transaction::{Attempt, Transaction};

/// Pairs below which it is chance (rulebook 7.6).
const ENOUGH: u64 = 5;
/// Vanish points that confirm it (rulebook 2.C).
const CONFIRMING: u64 = 3;
/// A pair is sent back to back: 8 µs to 1 ms measured (rulebook `pair_win`).
const PAIR: Duration = Duration::from_millis(2);
/// A socket that was used this recently has its conntrack entry already.
const ENTRY: Duration = Duration::from_secs(30);
/// The retry intervals of the resolvers that ask both types from one socket: musl and glibc.
const TIMERS: [Duration; 2] = [Duration::from_millis(2_500), Duration::from_secs(5)];
/// A lookup near the first and last pair counts as well: glibc asks one after the other for a while
/// once it lost a pair, and then no pair shows the next loss.
const MARGIN: Duration = Duration::from_secs(1);
/// See the module docs.
const SIGN: f64 = 0.001;
/// How often the race takes the second of a pair, and how much likelier than by a coin its order must be
/// (rulebook 7.5).
const SECOND: f64 = 0.95;
const LIKELIER: f64 = 10.0;
const FISHER: f64 = 0.01;
const TIMES_LONE: f64 = 5.0;
/// Sockets remembered, as many as a table of 2^16 places takes, and client networks tallied.
const MAX_SOCKETS: usize = 57_344;
const MAX_NETWORKS: usize = 4_096;
/// Example frames kept for each network.
const FRAMES: usize = 8;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "conntrack-race-aaaa",
    title: "one of A and AAAA is lost in the client node's NAT",
    class: Class::Failure,
    layer: Layer::Kernel,
    references: &["rulebook 2.C", "kubernetes/kubernetes #56903", "weaveworks/weave #3287"],
    source: include_str!("conntrack_race_aaaa.rs"),
    new: || Box::<ConntrackRace>::default(),
};

/// Bounded by client networks; sockets are forgotten with their conntrack entries.
#[derive(Default)]
struct ConntrackRace {
    sockets: Map<SocketId, Timestamp>,
    purge: Purge,
    networks: Table<Network, Tally>,
}

/// What became of the pairs of one client network.
#[derive(Default)]
struct Tally {
    pairs: u64,
    /// Pairs that lost the second, the first, both.
    second: u64,
    first: u64,
    both: u64,
    /// Pairs of which one was first seen as its repeat. A lone query that was lost as early would
    /// not be seen at all, so the two cannot be compared.
    unseen: u64,
    /// Of those that lost one: stopped before the mate's last place, or passed it.
    stopped: u64,
    passed: u64,
    /// Of those that lost one and repeated it: answered then, or not.
    cured: u64,
    repeated: u64,
    lone: u64,
    lone_lost: u64,
    types: BTreeMap<RecordType, u64>,
    clients: BTreeSet<IpAddr>,
    servers: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<(Seen, Text)>,
}

impl Detector for ConntrackRace {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        // Nothing that is yet to come was sent before this lookup began.
        let now = lookup.start.ts;
        self.purge.make_room(&mut self.sockets, MAX_SOCKETS, (now, ENTRY), |_, last| {
            now.since(*last) < ENTRY
        });
        let udp = |step| {
            let asked: &Transaction = Step::transaction(step)?;
            (asked.transport == Transport::Udp).then_some((step, asked))
        };
        let mut asked: SmallVec<[(&Step, &Transaction); 8]> =
            lookup.steps.iter().filter_map(udp).collect();
        // Ports tell one client's sockets apart; those of one stay in the order of asking.
        asked.sort_by_key(|(_, asked)| asked.client.port());
        if asked.is_empty() {
            return;
        }
        let network = self.networks.entry_within(Network::of(lookup.client), MAX_NETWORKS);
        let Some(network) = network else { return };
        let tally = network.or_default();
        for asked in asked.chunk_by(|(_, one), (_, other)| one.client == other.client) {
            let Some((step, first)) = asked.first().copied() else { continue };
            if !is_new(&mut self.sockets, first) {
                continue;
            }
            match asked.get(1) {
                Some(&other) if is_pair(first, other.1) => tally.pair((step, first), other),
                None if step.role != Role::Retry => tally.lone(step, first),
                _ => {}
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let suspects = self.networks.values().filter(|tally| tally.alone() >= ENOUGH).count();
        self.networks
            .into_iter()
            .filter_map(|(network, tally)| tally.finding(network, suspects, scene))
            .collect()
    }
}

/// Whether conntrack had no entry for the socket of this query yet.
fn is_new(sockets: &mut Map<SocketId, Timestamp>, first: &Transaction) -> bool {
    let now = first.first().ts;
    if sockets.len() >= MAX_SOCKETS {
        return false;
    }
    sockets.insert(first.client.into(), now).is_none_or(|last| now.since(last) >= ENTRY)
}

/// Whether the two are the A and AAAA of one name, sent together or (behind the place of the
/// loss) so that the second is first seen when the resolver repeats it.
fn is_pair(first: &Transaction, second: &Transaction) -> bool {
    let types = (first.question.rtype, second.question.rtype);
    matches!(types, (RecordType::A, RecordType::AAAA) | (RecordType::AAAA, RecordType::A))
        && first.question.name == second.question.name
        && first.server == second.server
        && (together(first, second) || first_seen_as_repeat(first, second))
}

fn together(first: &Transaction, second: &Transaction) -> bool {
    second.first().ts.since(first.first().ts) <= PAIR
}

/// Whether the second was sent when the first had its answer: such a client asks one after the
/// other, so that only the second can be lost alone, and the order proves nothing.
fn one_by_one(first: &Transaction, second: &Transaction) -> bool {
    // By the frames, where the clock tells too little.
    first.responses.first().is_some_and(|answer| answer.delivered() < second.first())
}

fn first_seen_as_repeat(first: &Transaction, second: &Transaction) -> bool {
    let gap = second.first().ts.since(first.first().ts);
    let slack = Duration::from_millis(150);
    TIMERS.iter().any(|timer| gap + slack / 10 >= *timer && gap <= *timer + slack)
}

impl Tally {
    fn lone(&mut self, step: &Step, asked: &Transaction) {
        if let Some(lost) = first_attempt_lost(asked, step) {
            self.lone += 1;
            self.lone_lost += u64::from(lost);
        }
    }

    fn pair(&mut self, first: (&Step, &Transaction), second: (&Step, &Transaction)) {
        if !together(first.1, second.1) {
            // The mate was answered at once, so the other one had been sent and lost before.
            if first_attempt_lost(first.1, first.0) == Some(false) {
                self.pairs += 1;
                self.unseen += 1;
                // Resolvers that ask both from one socket ask for A first (rulebook section 3).
                let was_first = second.1.question.rtype == RecordType::A;
                self.first += u64::from(was_first);
                self.second += u64::from(!was_first);
                self.lost(
                    second.1,
                    first.1,
                    &text!("its repeat: the query itself never came this far"),
                );
            }
            return;
        }
        let lost = (first_attempt_lost(first.1, first.0), first_attempt_lost(second.1, second.0));
        let (Some(one), Some(other)) = lost else { return };
        let vanished = other && reached(second.1) < reached(first.1);
        if one_by_one(first.1, second.1) && !vanished {
            return;
        }
        self.pairs += 1;
        let (gone, mate) = match (one, other) {
            (false, false) => return,
            (true, true) => {
                self.both += 1;
                return;
            }
            (true, false) => {
                self.first += 1;
                (first.1, second.1)
            }
            (false, true) => {
                self.second += 1;
                (second.1, first.1)
            }
        };
        let what = text!("lost, though its pair from the same socket was answered");
        self.lost(gone, mate, &what);
    }

    fn lost(&mut self, gone: &Transaction, mate: &Transaction, what: &Text) {
        let (own, usual) = (reached(gone), reached(mate));
        // Only the client's own node translates; on another, a query that stops has passed that.
        let at_home =
            mate.attempts.first().is_some_and(|attempt| attempt.backend(mate.server).is_some());
        self.stopped += u64::from(at_home && own < usual);
        self.passed += u64::from(at_home && own >= usual && usual > 1);
        if gone.attempts.len() > 1 {
            self.repeated += 1;
            self.cured += u64::from(retry_answered(gone));
        }
        *self.types.entry(gone.question.rtype).or_default() += 1;
        self.clients.insert(gone.client.ip());
        self.servers.insert(gone.responder());
        self.servers.insert(mate.responder());
        let last = gone.last_sent().unwrap_or(gone.first()).ts;
        let own_span = Span::between(gone.first().ts, last);
        self.span = Some(self.span.map_or(own_span, |span| span.join(own_span)));
        if self.frames.len() < FRAMES {
            let vanish = gone.attempts.first().and_then(Attempt::last_hop);
            let seen = vanish.map_or(gone.first(), |hop| hop.seen);
            let rtype = gone.question.rtype;
            self.frames.push((
                seen,
                text!(
                    "{rtype} query seen at {own} of {usual} places; {what}",
                    rtype,
                    own,
                    usual,
                    what
                ),
            ));
        }
    }

    /// Pairs that lost one of the two.
    fn alone(&self) -> u64 {
        self.first + self.second
    }

    /// How much likelier the order is by the race than by a coin, as a logarithm.
    fn likelier(&self) -> f64 {
        let (second, first) = (self.second as f64, self.first as f64);
        second * (2.0 * SECOND).ln() + first * (2.0 * (1.0 - SECOND)).ln()
    }

    /// What proves it of one network among so many suspected ones, if anything does.
    fn confidence(&self, suspects: usize) -> Option<Confidence> {
        let one = self.alone();
        let cured = self.repeated == 0 || self.cured * 2 >= self.repeated;
        if one < ENOUGH || !cured {
            return None;
        }
        if self.both * 10 > one {
            return None;
        }
        let tests = suspects.max(1) as f64;
        let order = odds::sign(self.second, self.first);
        let lost = one - self.unseen + 2 * self.both;
        let packets = 2 * (self.pairs - self.unseen);
        let share = lost as f64 / packets.max(1) as f64;
        let lone_share = self.lone_lost as f64 / self.lone.max(1) as f64;
        let chance = odds::fisher(lost, packets, lost + self.lone_lost, packets + self.lone);
        let rarely_lone = share >= TIMES_LONE * lone_share;
        // A lone query races with nothing: lost as often, it is lost by something else.
        let ordered = order < SIGN / tests && (self.lone_lost < ENOUGH || share > lone_share);
        let proven = ordered || (self.lone > 0 && rarely_lone && chance < FISHER / tests);
        if self.stopped + self.passed < CONFIRMING {
            return proven.then_some(Confidence::Likely);
        }
        // The capture shows the way out: nearly all must have stopped before it.
        let inside = self.stopped >= CONFIRMING && self.stopped >= self.passed * 4;
        let much = odds::beyond_ordinary_loss(lost, packets, suspects as u64);
        let at_home = self.likelier() >= (LIKELIER * tests).ln() && rarely_lone && much;
        (inside && (proven || at_home)).then_some(Confidence::Confirmed)
    }

    fn finding(self, network: Network, suspects: usize, scene: &Scene<'_>) -> Option<Finding> {
        let confidence = self.confidence(suspects)?;
        let span = self.span?;
        let lost = self.alone();
        let types = list(
            self.types.iter().map(|(rtype, times)| text!("{rtype} {times} times", rtype, times)),
            2,
        );
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{lost} of {pairs} pairs of A and AAAA from {network} lost one of the two inside \
                 the client's node between {start} and {end}",
                lost,
                pairs = self.pairs,
                network,
                start = clock(span.start),
                end = clock(span.end)
            ),
            confidence,
            culprits: vec![Culprit::ClientSubnet(network)],
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: lost,
            claim: Claim {
                span: Some(span.widened(MARGIN)),
                network: Some(network),
                symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Late, Symptom::AskedAgain]),
                ..Claim::default()
            },
            cause: text!(
                "Of two queries sent back to back from a new socket, one was lost on the client's \
                 own node: {stopped} of them were last seen before the way out, {passed} behind \
                 it. That is how two packets look that race for one conntrack entry when they are \
                 translated from the service address to a backend. The kernel's counters would \
                 prove it.",
                stopped = self.stopped,
                passed = self.passed
            ),
            facts: self.facts(&types),
            evidence: self
                .frames
                .iter()
                .map(|(seen, summary)| Proof { seen: *seen, summary: summary.clone() })
                .collect(),
            actions: actions(network),
            ruled_out: self.ruled_out(),
        })
    }

    fn facts(&self, types: &Text) -> Vec<Fact> {
        let lost = self.alone();
        vec![
            Fact {
                label: text!("pairs that lost one query"),
                value: text!(
                    "{lost} of {pairs} ({share})",
                    lost,
                    pairs = self.pairs,
                    share = percent(lost, self.pairs)
                ),
            },
            Fact {
                label: text!("lost the second / the first / both"),
                value: text!(
                    "{second} / {first} / {both}",
                    second = self.second,
                    first = self.first,
                    both = self.both
                ),
            },
            Fact { label: text!("lost types"), value: types.clone() },
            Fact {
                label: text!("repeats that were answered"),
                value: text!("{cured} of {repeated}", cured = self.cured, repeated = self.repeated),
            },
            Fact {
                label: text!("lone queries lost"),
                value: text!("{lone_lost} of {lone}", lone_lost = self.lone_lost, lone = self.lone),
            },
            Fact { label: text!("clients"), value: list(&self.clients, 5) },
            Fact { label: text!("servers"), value: list(&self.servers, 5) },
            Fact {
                label: text!("each cost"),
                value: text!(
                    "{musl} (musl) or {glibc} (glibc)",
                    musl = duration(TIMERS[0]),
                    glibc = duration(TIMERS[1])
                ),
            },
        ]
    }

    fn ruled_out(&self) -> Vec<RuledOut> {
        vec![
            RuledOut {
                rule: "lossy-path",
                because: text!(
                    "{second} pairs lost the second query, {first} the first and {both} both, and of \
                     {lone} lone queries {lone_lost} were lost: independent loss takes all alike",
                    second = self.second,
                    first = self.first,
                    both = self.both,
                    lone = self.lone,
                    lone_lost = self.lone_lost
                ),
            },
            RuledOut {
                rule: "slow-or-dropped-aaaa",
                because: text!(
                    "{cured} of {queries} were answered when they were repeated",
                    cured = self.cured,
                    queries = count(self.repeated, "lost query")
                ),
            },
        ]
    }
}

fn actions(network: Network) -> Vec<Action> {
    vec![
        Action {
            why: text!(
                "on the node of {network}: does this counter grow while lookups stall?",
                network
            ),
            command: "conntrack -S | grep -o 'insert_failed=[0-9]*'".to_owned(),
        },
        Action {
            why: text!("let glibc send the two from different sockets, until the node is fixed"),
            command: "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":\
                      {\"dnsConfig\":{\"options\":[{\"name\":\"single-request-reopen\"}]}}}}}'"
                .to_owned(),
        },
        Action {
            why: text!(
                "for good: NodeLocal DNSCache, which skips conntrack; musl images have no option"
            )
            .to_owned(),
            command: "kubectl -n kube-system get daemonset node-local-dns; uname -r".to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::findings;

    const HOSTS: &str = "service kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\npod = 10.244.0.2\n";
    const NAME: &str = "redis.default.svc.cluster.local.";

    /// Pairs of A and AAAA one second apart; in every third the AAAA is seen until `place`.
    fn pairs(view: &str, rounds: u32, place: &str, lose: fn(u32) -> bool) -> String {
        let mut text = format!("{view}\n{HOSTS}");
        for round in 0..rounds {
            let at = f64::from(round);
            let port = 40_000 + round;
            let (a, aaaa) = (format!("{:x}", 0x1000 + round), format!("{:x}", 0x5000 + round));
            let mut say = |at: f64, words: String| {
                let _ = writeln!(text, "{at:.4} pod:{port} {words}");
            };
            let answer = |at: f64, id: &str, say: &mut dyn FnMut(f64, String)| {
                say(at, format!("< kube-dns via dns1 id {id} {NAME} 5 A 10.96.0.20"));
            };
            say(at, format!("> kube-dns via dns1 rd id {a} A {NAME}"));
            if lose(round) {
                say(at + 0.0001, format!("> kube-dns via dns1 rd id {aaaa} AAAA {NAME} {place}"));
                answer(at + 0.001, &a, &mut say);
                say(at + 5.001, format!("> kube-dns via dns1 rd id {a} A {NAME}"));
                answer(at + 5.002, &a, &mut say);
                say(at + 5.0021, format!("> kube-dns via dns1 rd id {aaaa} AAAA {NAME}"));
                say(at + 5.003, format!("< kube-dns via dns1 id {aaaa} ? AAAA {NAME} NOERROR"));
            } else {
                say(at + 0.0001, format!("> kube-dns via dns1 rd id {aaaa} AAAA {NAME}"));
                answer(at + 0.001, &a, &mut say);
                say(at + 0.0012, format!("< kube-dns via dns1 id {aaaa} ? AAAA {NAME} NOERROR"));
            }
        }
        text
    }

    const NODE: &str = "capture node sll2";

    #[test]
    fn the_second_of_a_pair_never_leaves_the_node() {
        let text = pairs(NODE, 18, "until bridge", |round| round % 3 == 1);
        insta::assert_snapshot!(findings(&text), @"
        low conntrack-race-aaaa [client-subnet 10.244.0.0/24] confirmed 10:00:01.000-10:00:21.002 0/6
          explains timeout-retries
        ");
    }

    /// One in twenty datagrams is lost on the node, whichever it is.
    fn independent(place: &str, lone: bool) -> String {
        let mut text = format!("{NODE}\n{HOSTS}");
        let mut dice = 1_u32;
        let mut lost = || {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 16).is_multiple_of(20)
        };
        for round in 0..400_u32 {
            for (part, rtype, id) in [(0.0, "A", 0x1000), (0.0001, "AAAA", 0x5000)] {
                if lone && round % 2 == 0 && rtype == "AAAA" {
                    continue;
                }
                let mut at = f64::from(round) + part;
                let (pod, id) = (format!("pod:{}", 30_000 + round), format!("id {:x}", id + round));
                let ask = format!("{pod} > kube-dns via dns1 rd {id} {rtype} {NAME}");
                while lost() {
                    let _ = writeln!(text, "{at:.4} {ask} {place}");
                    at += 5.0;
                }
                let answer = format!("{pod} < kube-dns via dns1 {id} ? {rtype} {NAME} NOERROR");
                let _ = writeln!(text, "{at:.4} {ask}\n{:.4} {answer}", at + 0.001);
            }
        }
        text
    }

    #[test]
    fn independent_loss_on_the_node_is_no_race() {
        for place in ["until bridge", "until veth"] {
            for lone in [false, true] {
                let said = findings(&independent(place, lone));
                assert!(!said.contains("conntrack-"), "{said}");
                assert!(said.contains(" lossy-path ["), "{said}");
            }
        }
    }

    #[test]
    fn four_lost_pairs_are_not_enough() {
        let text = pairs(NODE, 12, "until bridge", |round| round % 3 == 1);
        assert!(!findings(&text).contains("conntrack-race-aaaa"), "{}", findings(&text));
    }

    #[test]
    fn queries_lost_behind_the_node_are_no_race() {
        let text = pairs(NODE, 18, "until overlay", |round| round % 3 == 1);
        assert!(!findings(&text).contains("conntrack-race-aaaa"), "{}", findings(&text));
    }

    #[test]
    fn inside_a_pod_the_order_of_losses_tells() {
        let service = |text: &str| text.replace("service ", "").replace(" via dns1", "");
        let often = service(&pairs("capture pod en10mb", 36, "", |round| round % 3 == 1));
        assert!(findings(&often).contains("conntrack-race-aaaa"), "{}", findings(&often));
        let rarely = service(&pairs("capture pod en10mb", 24, "", |round| round % 3 == 1));
        assert!(!findings(&rarely).contains("conntrack-race-aaaa"), "{}", findings(&rarely));
    }

    #[test]
    fn a_capture_that_ends_before_the_repeats_proves_nothing() {
        let text = pairs(NODE, 18, "until bridge", |round| round % 3 == 1);
        let cut: Vec<&str> = text
            .lines()
            .filter(|line| line.split(' ').next().and_then(|at| at.parse().ok()) < Some(5.0))
            .collect();
        assert_eq!(findings(&cut.join("\n")), "quiet\n");
    }
}
