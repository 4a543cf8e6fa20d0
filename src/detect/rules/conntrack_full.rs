//! A node's connection table is full: new flows of its pods vanish where they enter the node.
//!
//! **Signature.** In a burst, queries from new sockets of one node's pods are seen at the first
//! place only (on the veth, not yet translated) and are not answered, UDP and TCP alike, whatever
//! the server; meanwhile sockets that the kernel knows, or single new ones that find a freed
//! entry, still get through, or all do again when the burst is over.
//!
//! **Needs.** At least [`ENOUGH`] new flows that failed so, more than any ordinary loss takes of what
//! was sent meanwhile (one in twenty; binomial test, p < 0.001), and a capture that shows more than the
//! first place of answered queries: `-i any` on the clients' node.
//!
//! **Not this.** Pairs of which only one is lost behind the bridge are `conntrack-race-aaaa`. Once the
//! first packet of a socket got through it has its entry: where the second of A and AAAA vanishes
//! alone in more than one of ten pairs, something else loses them, as a rule `lossy-path`.
//! Slow answers, or losses of other nodes' clients, are `coredns-overload`. Known sockets that
//! fail as well are `client-node-broken`, and so is a time in which not one of very many new ones got
//! through; a rule that drops DNS on the node never lets up.
//!
//! **Cannot tell.** DNS packets show that the node dropped them on entry; that its table was full
//! is the likely reason, which only the kernel's log confirms. What fills the table is not DNS as
//! a rule.
//!
//! Source: rulebook 2.C, K4; Linux `nf_conntrack-sysctl`; kubernetes/kubernetes #71261.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::words::{Text, clock, count, duration, list, text};
use crate::base::{
    Map, Network, Purge, SocketId, Span, Timestamp, Transport, entry_within, forget_before_growth,
};
use crate::capture::Seen;
use crate::detect::vanish::{Vanish, first_attempt_lost, places, reached};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, RuledOut, Scene, Symptom, Where, Which, odds,
};
use crate::lookup::{Lookup, Step};
use crate::transaction::{Attempt, ConnectOutcome, TcpAttempt, Transaction};

/// New flows that vanished, below which it may be something else (rulebook 7.6).
const ENOUGH: usize = 20;
/// A full table fails every pod of the node.
const CLIENTS: usize = 2;
/// Conntrack keeps an unanswered UDP entry this long: failures further apart are two bursts.
const APART: Duration = Duration::from_secs(30);
/// Flows kept one by one, and client networks and sockets remembered, of these as many as a table of
/// 2^16 places takes.
const MAX_FLOWS: usize = 50_000;
const MAX_SOCKETS: usize = 57_344;
/// Known sockets are tallied in as many seconds as this, over all networks.
const MAX_SECONDS: usize = 100_000;
/// A and AAAA are sent back to back (rulebook `pair_win`).
const PAIR: Duration = Duration::from_millis(2);
/// Second packets that vanish alone, below which ordinary loss took them.
const STRAY: u64 = 3;
/// Where ordinary loss goes on before and after, a burst is looked for in less and less time, down to this.
const SHORTEST: Duration = Duration::from_secs(2);
/// Looks that are taken at one network so, at most one for each halving.
const LOOKS: u64 = 4;
/// Example frames.
const FRAMES: usize = 8;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "conntrack-full",
    title: "new flows vanish where they enter the node",
    class: Class::Failure,
    layer: Layer::Kernel,
    references: &["rulebook 2.C", "Linux nf_conntrack-sysctl", "kubernetes/kubernetes #71261"],
    source: include_str!("conntrack_full.rs"),
    new: || Box::<ConntrackFull>::default(),
};

/// Bounded by the caps above.
#[derive(Default)]
struct ConntrackFull {
    usual: Vanish,
    /// When an answer last came to a socket.
    answered: Map<SocketId, Timestamp>,
    purge: Purge,
    vanished: BTreeMap<Network, Vec<Vanished>>,
    flows: usize,
    /// What became of queries from known sockets: passed and lost, by the second. Kept only where
    /// something vanished, for nobody asks for the others.
    known: Map<(Network, i64), (u32, u32)>,
}

/// A flow of which the first packet was seen at its first place only.
#[derive(Clone, Copy)]
struct Vanished {
    seen: Seen,
    last: Timestamp,
    client: SocketAddr,
    server: IpAddr,
    transport: Transport,
    /// What became of A and AAAA sent back to back, told of one of the two.
    pair: Option<Lost>,
}

/// What a pair lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// The second alone.
    Second,
    /// The first, or both.
    First,
}

impl Detector for ConntrackFull {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All).and_connects()
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let kept = |step| {
            let asked: &Transaction = Step::transaction(step)?;
            (first_attempt_lost(asked, step) == Some(false)).then(|| reached(asked))
        };
        self.usual.note(lookup.client, lookup.steps.iter().filter_map(kept));
        // Nothing that is yet to come was sent before this lookup began.
        let now = lookup.start.ts;
        self.purge.make_room(&mut self.answered, MAX_SOCKETS, (now, APART), |_, at| {
            now.since(*at) <= APART
        });
        let second = second(now);
        forget_before_growth(&mut self.known, |(network, at), _| {
            *at >= second || self.vanished.contains_key(network)
        });
        for step in &lookup.steps {
            let Some(asked) = step.transaction() else { continue };
            let Some(lost) = first_attempt_lost(asked, step) else { continue };
            if asked.transport == Transport::Tcp {
                continue;
            }
            let sent = asked.first();
            let known =
                self.answered(asked).is_some_and(|at| at <= sent.ts && sent.ts.since(at) <= APART);
            if known {
                self.known(Network::of(asked.client.ip()), sent.ts, lost);
            }
            let stopped = |attempt: &Attempt| {
                places(&attempt.hops) == 1 && attempt.backend(asked.server).is_none()
            };
            if lost && !known && asked.attempts.first().is_some_and(stopped) {
                self.vanished(Vanished {
                    seen: sent,
                    // The repeat that got through is none of it.
                    last: asked
                        .attempts
                        .iter()
                        .rfind(|attempt| stopped(attempt))
                        .map_or(sent.ts, |attempt| attempt.sent().ts),
                    client: asked.client,
                    server: asked.server.ip(),
                    transport: Transport::Udp,
                    pair: lost_of_pair(asked, lookup),
                });
            }
        }
    }

    fn observe_connect(&mut self, connect: &TcpAttempt) {
        let silent = connect.outcome() == ConnectOutcome::Silent;
        if silent && places(&connect.hops) == 1 && connect.backend().is_none() {
            let seen = connect.first();
            self.vanished(Vanished {
                seen,
                last: connect.syns.last().map_or(seen.ts, |syn| syn.ts),
                client: connect.client,
                server: connect.server.ip(),
                transport: Transport::Tcp,
                pair: None,
            });
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Self { usual, mut vanished, known, .. } = *self;
        if vanished.is_empty() {
            return Vec::new();
        }
        let known: BTreeMap<(Network, i64), (u32, u32)> = known.into_iter().collect();
        let mut findings = Vec::new();
        for (network, flows) in &mut vanished {
            if usual.usual(*network).is_none_or(|places| places < 2) {
                continue;
            }
            flows.sort_by_key(|flow| flow.seen);
            let look = |part| Burst::new(*network, part, &known, scene);
            let found = bursts(flows, APART, &look);
            findings.extend(found.iter().filter_map(|burst| burst.finding(scene)));
        }
        findings
    }
}

/// The bursts among these flows: parts with so much between them that lost more than ordinary loss takes.
fn bursts<'a>(
    flows: &'a [Vanished],
    apart: Duration,
    look: &impl Fn(&'a [Vanished]) -> Option<Burst<'a>>,
) -> Vec<Burst<'a>> {
    let mut found = Vec::new();
    for part in flows.chunk_by(|a, b| b.seen.ts.since(a.last) <= apart) {
        match look(part) {
            Some(burst) if burst.is_beyond_loss() => found.push(burst),
            Some(_) if apart / 2 >= SHORTEST => found.extend(bursts(part, apart / 2, look)),
            _ => {}
        }
    }
    found
}

/// What the pair of A and AAAA lost of which this query vanished.
fn lost_of_pair(asked: &Transaction, lookup: &Lookup) -> Option<Lost> {
    let sent = asked.first();
    let (step, mate) = lookup.steps.iter().find_map(|step| {
        let other = step.transaction()?;
        let at = other.first();
        let apart = at.ts.since(sent.ts).max(sent.ts.since(at.ts));
        let is_mate = other.client == asked.client
            && other.transport == Transport::Udp
            && other.question.rtype != asked.question.rtype
            && apart <= PAIR;
        is_mate.then_some((step, other))
    })?;
    match (mate.first() < sent, first_attempt_lost(mate, step)?) {
        (true, false) => Some(Lost::Second),
        (false, _) => Some(Lost::First),
        // Told of its first.
        (true, true) => None,
    }
}

impl ConntrackFull {
    /// When an answer last came to the socket of a query before it; its own is noted.
    fn answered(&mut self, asked: &Transaction) -> Option<Timestamp> {
        let socket = SocketId::from(asked.client);
        let Some(answer) = asked.responses.last() else {
            return self.answered.get(&socket).copied();
        };
        let arrived = answer.arrived().ts;
        if self.answered.len() < MAX_SOCKETS {
            return self.answered.insert(socket, arrived);
        }
        let known = self.answered.get_mut(&socket)?;
        Some(std::mem::replace(known, arrived))
    }

    fn known(&mut self, network: Network, at: Timestamp, lost: bool) {
        if let Some(tally) = entry_within(&mut self.known, (network, second(at)), MAX_SECONDS) {
            let tally = tally.or_default();
            tally.0 += u32::from(!lost);
            tally.1 += u32::from(lost);
        }
    }

    fn vanished(&mut self, flow: Vanished) {
        if self.flows < MAX_FLOWS {
            self.flows += 1;
            self.vanished.entry(Network::of(flow.client.ip())).or_default().push(flow);
        }
    }
}

fn second(at: Timestamp) -> i64 {
    at.nanos().div_euclid(1_000_000_000)
}

/// One burst on one node.
struct Burst<'a> {
    network: Network,
    flows: &'a [Vanished],
    sockets: BTreeSet<(SocketAddr, Transport)>,
    clients: BTreeSet<IpAddr>,
    span: Span,
    known_passed: u64,
    known_lost: u64,
    /// New flows of the network that were answered in the burst at once, and after it.
    passed: u64,
    after: u64,
    /// Datagrams that were answered in the burst.
    answered: u64,
}

impl<'a> Burst<'a> {
    fn new(
        network: Network,
        flows: &'a [Vanished],
        known: &BTreeMap<(Network, i64), (u32, u32)>,
        scene: &Scene<'_>,
    ) -> Option<Self> {
        let sockets: BTreeSet<(SocketAddr, Transport)> =
            flows.iter().map(|flow| (flow.client, flow.transport)).collect();
        let clients: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.client.ip()).collect();
        if sockets.len() < ENOUGH || clients.len() < CLIENTS {
            return None;
        }
        let start = flows.first().map_or(Timestamp::MIN, |flow| flow.seen.ts);
        let end = flows.iter().map(|flow| flow.last).max().unwrap_or(start);
        let span = Span::between(start, end);
        let (mut known_passed, mut known_lost) = (0, 0);
        // Whole seconds: part of the first and of the last is not of the burst.
        let (from, to) = (second(start) + 1, second(end).max(second(start) + 1));
        for (_, (passed, lost)) in known.range((network, from)..(network, to)) {
            known_passed += u64::from(*passed);
            known_lost += u64::from(*lost);
        }
        let (mut passed, mut after, mut answered) = (0, 0, 0);
        for flow in scene.reach.flows_in(network).filter(|flow| flow.succeeded()) {
            let weight = u64::from(flow.weight());
            after += u64::from(flow.first.ts > end) * weight;
            // Many are answered when they are repeated after the burst.
            if span.contains(flow.first.ts) && flow.unanswered() == 0 {
                passed += weight;
                answered += u64::from(flow.attempts()) * weight;
            }
        }
        Some(Self {
            network,
            flows,
            sockets,
            clients,
            span,
            known_passed,
            known_lost,
            passed,
            after,
            answered,
        })
    }

    /// Whether more vanished than independent loss takes, and not as it does.
    fn is_beyond_loss(&self) -> bool {
        let of_pairs =
            |lost| self.flows.iter().filter(|flow| flow.pair == Some(lost)).count() as u64;
        let (second, first) = (of_pairs(Lost::Second), of_pairs(Lost::First));
        let lost = self.flows.len() as u64;
        let sent = lost + self.answered.saturating_sub(self.known_passed);
        (second < STRAY || second * 10 <= second + first)
            && odds::beyond_worst_ordinary_loss(lost, sent, LOOKS)
    }

    fn finding(&self, scene: &Scene<'_>) -> Option<Finding> {
        let lets_up = self.known_passed + self.passed + self.after > 0;
        let known_fine = self.known_lost * 4 <= self.known_passed;
        let nothing_passed = scene.outages.iter().any(|outage| {
            outage.stuck
                && outage.span.overlaps(self.span)
                && self.clients.iter().any(|client| outage.clients.contains(client))
        });
        if nothing_passed || !lets_up || (self.known_lost > 0 && !known_fine) {
            return None;
        }
        let (network, span) = (self.network, self.span);
        let lost = self.sockets.len() as u64;
        let seen_known = self.known_passed > 0;
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{flows} from pods of {network} vanished where they entered their node between \
                 {start} and {end}: its connection table was probably full",
                flows = count(lost, "new flow"),
                network,
                start = clock(span.start),
                end = clock(span.end)
            ),
            confidence: if seen_known || self.passed > 0 {
                Confidence::Likely
            } else {
                Confidence::Possible
            },
            culprits: vec![Culprit::ClientSubnet(network)],
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: self.flows.len() as u64,
            claim: Claim {
                span: Some(span.widened(Duration::from_millis(5))),
                network: Some(network),
                symptoms: BTreeSet::from([
                    Symptom::Unanswered,
                    Symptom::Late,
                    Symptom::Connect,
                    Symptom::AskedAgain,
                ]),
                ..Claim::default()
            },
            cause: text!(
                "The first packets of new flows were seen on the pod's interface and nowhere \
                 behind it, untranslated, whichever server they were for. That is where a packet \
                 goes when conntrack has no room for another entry.{rest}",
                rest = if seen_known {
                    Text::EMPTY
                } else {
                    text!(
                        " No socket that the kernel knew sent anything meanwhile, so a rule that \
                         drops packets on the node for a while would look the same."
                    )
                }
            ),
            facts: self.facts(),
            evidence: self.evidence(),
            actions: actions(network),
            ruled_out: self.ruled_out(),
        })
    }

    fn ruled_out(&self) -> Vec<RuledOut> {
        let mut ruled_out = vec![RuledOut {
            rule: "conntrack-race-aaaa",
            because: text!("the queries vanished before translation, lone ones as well as pairs"),
        }];
        let through = self.passed + self.known_passed;
        if through > 0 {
            ruled_out.push(RuledOut {
                rule: "client-node-broken",
                because: text!(
                    "{flows} got through meanwhile, and {after} afterwards",
                    flows = count(through, "flow"),
                    after = self.after
                ),
            });
        }
        ruled_out
    }

    fn facts(&self) -> Vec<Fact> {
        let tcp = self.sockets.iter().filter(|(_, over)| *over == Transport::Tcp).count();
        let servers: BTreeSet<IpAddr> = self.flows.iter().map(|flow| flow.server).collect();
        vec![
            Fact {
                label: text!("new flows seen at the first place only"),
                value: text!("{sockets}, {tcp} of them TCP", sockets = self.sockets.len(), tcp),
            },
            Fact { label: text!("to"), value: list(&servers, 4) },
            Fact { label: text!("clients"), value: list(&self.clients, 5) },
            Fact {
                label: text!("new flows answered meanwhile / afterwards"),
                value: text!("{passed} / {after}", passed = self.passed, after = self.after),
            },
            Fact {
                label: text!("queries from known sockets, answered / lost"),
                value: text!(
                    "{known_passed} / {known_lost}",
                    known_passed = self.known_passed,
                    known_lost = self.known_lost
                ),
            },
            Fact { label: text!("lasted"), value: duration(self.span.length()) },
        ]
    }

    fn evidence(&self) -> Vec<Proof> {
        let proof = |flow: &Vanished| Proof {
            seen: flow.seen,
            summary: text!(
                "{transport} never left the place where it entered the node",
                transport = flow.transport
            ),
        };
        let mut proofs: Vec<Proof> = self.flows.iter().take(FRAMES - 1).map(proof).collect();
        proofs.extend(self.flows.iter().skip(FRAMES - 1).next_back().map(proof));
        proofs
    }
}

fn actions(network: Network) -> Vec<Action> {
    vec![
        Action {
            why: text!("on the node of {network}: did the kernel say so?", network),
            command: "dmesg -T | grep -i 'nf_conntrack: table full'; sysctl \
                      net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max"
                .to_owned(),
        },
        Action {
            why: text!("see who holds the entries"),
            command:
                "conntrack -L 2>/dev/null | awk '{print $1, $4}' | sort | uniq -c | sort -rn | \
                      head"
                    .to_owned(),
        },
        Action {
            why: text!("make room (kube-proxy: conntrack.maxPerCore)"),
            command: "sysctl -w net.netfilter.nf_conntrack_max=$((2 * $(sysctl -n \
                      net.netfilter.nf_conntrack_max)))"
                .to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::findings;

    const HOSTS: &str = "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
                         one = 10.244.0.2\ntwo = 10.244.0.3\n";

    /// Two pods ask every second, from a new port each time; from 10 s on and for `full` seconds
    /// their queries end at `place`.
    fn burst(full: u32, place: &str, length: u32) -> String {
        let mut text = HOSTS.to_owned();
        let name = "redis.default.svc.cluster.local.";
        for second in 0..length {
            for (pod, part) in [("one", 0.0), ("two", 0.5)] {
                let (at, port) = (f64::from(second) + part, 40_000 + second);
                let lost = (10..10 + full).contains(&second);
                let place = if lost { place } else { "" };
                let ask = format!("> kube-dns via dns1 rd A {name} {place}");
                let _ = writeln!(text, "{at:.3} {pod}:{port} {ask}");
                if lost {
                    let (again, port) = (at + 5.0, port + 10_000);
                    let _ = writeln!(text, "{again:.3} {pod}:{port} {ask}");
                } else {
                    let back = at + 0.001;
                    let _ = writeln!(
                        text,
                        "{back:.3} {pod}:{port} < kube-dns via dns1 {name} 5 A 10.96.0.20"
                    );
                }
            }
        }
        text
    }

    #[test]
    fn new_flows_of_two_pods_end_on_the_veth_for_a_while() {
        insta::assert_snapshot!(findings(&burst(11, "until veth", 40)), @"
        low conntrack-full [client-subnet 10.244.0.0/24] likely 10:00:10.000-10:00:25.500 0/10
          explains lossy-path
          explains timeout-retries
        ");
    }

    /// Two pods send A and AAAA from a new port each time; from 10 s on and for 20 s one of the two
    /// vanishes in every second pair: which one, `which` says.
    fn pairs(which: fn(u32) -> usize) -> String {
        let mut text = HOSTS.to_owned();
        let name = "redis.default.svc.cluster.local.";
        for round in 0..200_u32 {
            let pod = format!("{}:{}", ["one", "two"][(round % 2) as usize], 40_000 + round);
            for (place, (rtype, id)) in [("A", 0x1000), ("AAAA", 0x5000)].into_iter().enumerate() {
                let mut at = f64::from(round) * 0.2 + [0.0, 0.0001][place];
                let id = format!("id {:x}", id + round);
                let ask = format!("{pod} > kube-dns via dns1 rd {id} {rtype} {name}");
                if (50..150).contains(&round) && round % 3 > 0 && which(round) == place {
                    let _ = writeln!(text, "{at:.4} {ask} until veth");
                    at += 25.0;
                }
                let answer = format!("{pod} < kube-dns via dns1 {id} ? {rtype} {name} NOERROR");
                let _ = writeln!(text, "{at:.4} {ask}\n{:.4} {answer}", at + 0.001);
            }
        }
        text
    }

    #[test]
    fn a_socket_that_got_one_packet_through_has_its_entry() {
        let said = findings(&pairs(|_| 0));
        assert!(said.contains(" conntrack-full ["), "{said}");
        // It ends with what vanished last, not with its repeat.
        assert!(said.contains("10:00:10.000-10:00:29."), "{said}");
        let said = findings(&pairs(|round| (round / 3 % 2) as usize));
        assert!(!said.contains(" conntrack-full ["), "{said}");
    }

    #[test]
    fn few_among_many_that_get_through_are_no_burst() {
        let mut text = burst(0, "", 20);
        let name = "redis.default.svc.cluster.local.";
        for round in 0..3_000_u32 {
            let (pod, port) = (["one", "two"][(round % 2) as usize], 20_000 + round);
            let mut at = 20.0 + f64::from(round) * 0.05;
            let ask = format!("{pod}:{port} > kube-dns via dns1 rd A {name}");
            if round % 100 == 0 || round % 100 == 1 {
                let _ = writeln!(text, "{at:.3} {ask} until veth");
                at += 5.0;
            }
            let _ = writeln!(text, "{at:.3} {ask}");
            let back = at + 0.001;
            let _ =
                writeln!(text, "{back:.4} {pod}:{port} < kube-dns via dns1 {name} 5 A 10.96.0.20");
        }
        let said = findings(&text);
        assert!(!said.contains(" conntrack-full ["), "{said}");
    }

    #[test]
    fn a_few_flows_or_flows_that_leave_the_node_are_no_full_table() {
        let few = burst(4, "until veth", 40);
        let leave = burst(11, "until overlay", 40);
        // The end of the capture is no silence.
        let cut = burst(2, "until veth", 12);
        for said in [few, leave, cut].map(|text| findings(&text)) {
            assert!(!said.contains("conntrack-full"), "{said}");
        }
    }
}
