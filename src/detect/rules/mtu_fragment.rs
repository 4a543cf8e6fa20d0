//! Large answers over UDP are lost on the way to the clients, small ones pass.
//!
//! **Signature.** Names that clients ask for with an EDNS size over 512 bytes are never answered
//! in a client network, at least five questions, each name three times or more, while the same
//! servers answer other names of the same clients at once, at least twenty of them in no more
//! than 512 bytes, and no answer as large as the lost ones might be ever arrives. That the lost
//! answers are large shows where they were answered whole or truncated to others, over TCP, or in
//! a capture of the server's node, where they leave; a name of the cluster, which the DNS answers
//! from memory, has no other reason to be silent.
//!
//! **Needs.** Clients that ask with EDNS. A capture on the servers' nodes makes it sure and gives
//! the sizes.
//!
//! **Not this.** Further fragments are missing from every capture with the filter `port 53`
//! (rulebook K1): the first fragment counts as arrived. Names that fail for clients without EDNS
//! as well are not lost for their size.
//!
//! **Cannot tell.** Which hop drops: a tunnel whose header does not fit the MTU, a firewall that
//! drops fragments, or a lost ICMP "too big".
//!
//! Source: rulebook 2.G, K1; RFC 6891 section 6.2.5; RFC 8900 (fragmentation is fragile).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Network, Span, Table, Transport};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, Question};
use crate::transaction::{Outcome, Response, Transaction};

/// Lost large answers, and small ones that passed (rulebook 7.6).
const ENOUGH_LOST: u64 = 5;
/// See [`ENOUGH_LOST`].
const ENOUGH_SMALL: u64 = 20;
/// Times that a name must have been lost: twice in a row is what loss does now and then.
const EACH: u64 = 3;
/// What every path carries: the limit without EDNS (RFC 1035 section 4.2.1).
const SMALL: usize = 512;
/// All the names together must be rarer by chance than this, given how often others are lost.
const CHANCE: f64 = 0.001;
/// Questions tallied one by one in each network.
const MAX_QUESTIONS: usize = 8_192;
/// Client networks tallied.
const MAX_NETWORKS: usize = 4_096;
/// Questions kept of all networks together.
const MAX_KEPT: usize = 32_768;
/// Example frames kept for each question.
const FRAMES: usize = 3;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "mtu-fragment",
    title: "large answers are lost on the way",
    class: Class::Failure,
    layer: Layer::Protocol,
    references: &["rulebook 2.G", "RFC 6891 section 6.2.5", "RFC 8900"],
    source: include_str!("mtu_fragment.rs"),
    new: || Box::<MtuFragment>::default(),
};

/// Bounded by [`MAX_NETWORKS`] and [`MAX_KEPT`].
#[derive(Default)]
struct MtuFragment {
    networks: Table<Network, Side>,
    /// Sizes of answers to anybody, by question: what a lost one would have been.
    sizes: Table<Question, u32>,
    /// Questions of all networks together.
    kept: usize,
}

/// What arrived in one client network.
#[derive(Default)]
struct Side {
    /// Answers of no more than [`SMALL`] bytes, by server.
    small: BTreeMap<IpAddr, u64>,
    /// The largest answer that arrived over UDP.
    largest: usize,
    questions: Table<Question, Tally>,
    answered: u64,
    lost: u64,
}

/// One question that was asked with room for a large answer.
#[derive(Default)]
struct Tally {
    answered: u32,
    /// Answered where there was no room, or over TCP.
    small_answered: u32,
    /// What was lost of it: of most, nothing.
    losses: Option<Box<Losses>>,
}

/// Answers to one question that were lost.
#[derive(Default)]
struct Losses {
    lost: u64,
    /// Lost where there was no room, or over TCP.
    small_lost: u64,
    tcp_lost: u64,
    /// The smallest room that was offered for a lost answer.
    room: usize,
    /// The smallest lost answer that was seen leaving the server.
    left_server: Option<usize>,
    clients: BTreeSet<IpAddr>,
    servers: BTreeSet<IpAddr>,
    span: Option<Span>,
    evidence: Vec<Proof>,
}

impl Detector for MtuFragment {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        if transaction.attempts.is_empty() || transaction.is_infrastructure() {
            return;
        }
        let network = Network::of(transaction.client.ip());
        let question = &transaction.question;
        if let Some(response) = transaction.responses.first() {
            // A truncated answer says that the whole one is larger than that.
            let size = response.wire_len() + usize::from(response.header.truncated());
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            if let Some(known) = self.sizes.get_mut(question) {
                *known = size.max(*known);
            } else if self.sizes.len() < MAX_QUESTIONS {
                self.sizes.entry(question.clone()).insert(size);
            }
        }
        if let Some(side) = self.networks.entry_within(network, MAX_NETWORKS) {
            let side = side.or_default();
            let before = side.questions.len();
            side.note(transaction, self.kept < MAX_KEPT);
            self.kept += side.questions.len() - before;
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Self { networks, sizes, .. } = *self;
        networks
            .into_iter()
            .filter_map(|(network, side)| side.judge(network, &sizes, scene))
            .collect()
    }
}

/// The answer that the client's own place of capture saw, if any: at the server's node they all
/// seem to be on their way.
fn arrived(transaction: &Transaction) -> Option<&Response> {
    let home = transaction.attempts.first()?.hops.first()?.via.point;
    transaction
        .responses
        .iter()
        .find(|response| response.hops.iter().any(|hop| hop.via.point == home))
}

impl Side {
    fn note(&mut self, transaction: &Transaction, space: bool) {
        let udp = transaction.transport == Transport::Udp;
        let room = transaction.traits.udp_size.map_or(SMALL, usize::from).max(SMALL);
        let arrived = arrived(transaction);
        let left = transaction.responses.first().filter(|_| arrived.is_none());
        let lost = arrived.is_none()
            && (left.is_some() || matches!(transaction.outcome(), Outcome::Timeout));
        if let Some(response) = arrived {
            self.answered += u64::from(udp);
            if udp {
                self.largest = self.largest.max(response.wire_len());
                if response.wire_len() <= SMALL {
                    *self.small.entry(transaction.responder()).or_default() += 1;
                }
            }
        } else if !lost {
            return;
        }
        self.lost += u64::from(lost && udp);
        let most = if space { MAX_QUESTIONS } else { 0 };
        let question = &transaction.question;
        let space = self.questions.len() < most;
        let tally = match self.questions.get_mut(question) {
            Some(tally) => tally,
            None if space => self.questions.entry(question.clone()).or_default(),
            None => return,
        };
        let large = udp && room > SMALL;
        if !lost {
            let answered = if large { &mut tally.answered } else { &mut tally.small_answered };
            *answered = answered.saturating_add(1);
            return;
        }
        let losses = tally.losses.get_or_insert_default();
        if !large {
            *(if udp { &mut losses.small_lost } else { &mut losses.tcp_lost }) += 1;
            return;
        }
        losses.lost += 1;
        losses.room = if losses.room == 0 { room } else { losses.room.min(room) };
        if let Some(left) = left {
            let known = losses.left_server.unwrap_or(usize::MAX);
            losses.left_server = Some(known.min(left.wire_len()));
        }
        losses.example(transaction, left);
    }

    fn judge(
        self,
        network: Network,
        sizes: &Table<Question, u32>,
        scene: &Scene<'_>,
    ) -> Option<Finding> {
        let servers = |losses: &Losses| losses.servers.iter().all(|s| self.small.contains_key(s));
        let small_answered =
            |key: &Question| self.questions.get(key).is_some_and(|tally| tally.small_answered > 0);
        let lost: BTreeMap<&Question, &Losses> = self
            .questions
            .unordered()
            .filter(|(_, tally)| tally.answered == 0)
            .filter_map(|(key, tally)| Some((key, tally.losses.as_deref()?)))
            .filter(|(_, losses)| losses.lost >= EACH)
            .filter(|(_, losses)| losses.small_lost == 0 && servers(losses))
            // An answer as large as this one might be did arrive: size is not what matters.
            .filter(|(_, losses)| losses.left_server.unwrap_or(losses.room) > self.largest)
            .collect();
        let total: u64 = lost.values().map(|tally| tally.lost).sum();
        let small: u64 = self.small.values().sum();
        let others_lost = self.lost - total;
        let share = (others_lost as f64 + 0.5) / ((others_lost + self.answered) as f64 + 1.0);
        let chance: f64 = lost
            .values()
            .map(|tally| share.powi(i32::try_from(tally.lost).unwrap_or(i32::MAX)))
            .sum::<f64>()
            * self.questions.len() as f64;
        let seen_leaving = lost.values().any(|tally| tally.left_server.is_some());
        let known = lost.iter().any(|(key, losses)| {
            losses.tcp_lost > 0
                || small_answered(key)
                || sizes.get(*key).is_some_and(|size| *size as usize > self.largest)
        });
        let cluster = lost.keys().any(|Question { name, .. }| {
            scene.forward.outside.cluster_zones().iter().any(|zone| name.is_under(zone))
        });
        (total >= ENOUGH_LOST
            && small >= ENOUGH_SMALL
            && chance < CHANCE
            && (seen_leaving || known || cluster))
            .then(|| {
                finding(
                    &Lost {
                        network,
                        side: &self,
                        tallies: lost,
                        total,
                        small,
                        seen_leaving,
                        known,
                    },
                    scene,
                )
            })
            .flatten()
    }
}

impl Losses {
    fn example(&mut self, transaction: &Transaction, left: Option<&Response>) {
        self.clients.insert(transaction.client.ip());
        self.servers.insert(transaction.responder());
        let last = transaction.last_sent().unwrap_or(transaction.first());
        let own = Span::between(transaction.first().ts, last.ts);
        self.span = Some(self.span.map_or(own, |span| span.join(own)));
        if self.evidence.len() < FRAMES {
            let room = transaction.traits.udp_size.unwrap_or_default();
            self.evidence.push(Proof {
                seen: transaction.first(),
                summary: text!(
                    "{client} asks {responder} for {name} with room for {room} bytes; no answer \
                     arrives",
                    client = transaction.client,
                    responder = transaction.responder(),
                    name = transaction.question.name,
                    room
                ),
            });
            self.evidence.extend(left.map(|response| Proof {
                seen: response.delivered(),
                summary: text!(
                    "the answer of {wire_len} bytes is seen last here, on its way",
                    wire_len = response.wire_len()
                ),
            }));
        }
    }
}

/// What the finding is made of.
struct Lost<'s> {
    network: Network,
    side: &'s Side,
    tallies: BTreeMap<&'s Question, &'s Losses>,
    total: u64,
    small: u64,
    seen_leaving: bool,
    known: bool,
}

impl Lost<'_> {
    fn servers(&self) -> BTreeSet<IpAddr> {
        self.tallies.values().flat_map(|tally| tally.servers.iter().copied()).collect()
    }

    fn clients(&self) -> BTreeSet<IpAddr> {
        self.tallies.values().flat_map(|tally| tally.clients.iter().copied()).collect()
    }

    fn facts(&self) -> Vec<Fact> {
        let mut keys: Vec<(&Question, u64)> =
            self.tallies.iter().map(|(key, tally)| (*key, tally.lost)).collect();
        keys.sort_by_key(|(key, n)| (std::cmp::Reverse(*n), *key));
        let mut facts = vec![
            Fact {
                label: text!("questions with EDNS that were never answered"),
                value: plain(self.total),
            },
            Fact {
                label: text!("answers of 512 bytes or less that arrived"),
                value: text!("{small} from the same servers", small = self.small),
            },
            Fact {
                label: text!("largest answer that arrived over UDP"),
                value: text!("{largest} bytes", largest = self.side.largest),
            },
        ];
        let left = self.tallies.values().filter_map(|tally| tally.left_server);
        facts.extend(left.min().map(|size| Fact {
            label: text!("smallest lost answer seen leaving"),
            value: text!("{size} bytes", size),
        }));
        facts.push(Fact {
            label: text!("names"),
            value: list(
                keys.iter().map(|(Question { name, rtype, .. }, n)| {
                    text!("{name} {rtype} ({n})", name, rtype, n)
                }),
                5,
            ),
        });
        facts.push(Fact { label: text!("clients"), value: list(self.clients(), 5) });
        facts.push(Fact { label: text!("servers"), value: list(self.servers(), 4) });
        facts
    }
}

fn finding(all: &Lost<'_>, scene: &Scene<'_>) -> Option<Finding> {
    let Lost { network, side, tallies, total, small, seen_leaving, known } = all;
    let span = tallies.values().filter_map(|tally| tally.span).reduce(Span::join)?;
    let set: BTreeSet<Name> = tallies.keys().map(|question| question.name.clone()).collect();
    let servers = all.servers();
    let example = tallies.iter().max_by_key(|(_, tally)| tally.lost)?.0.name.clone();
    let (server, client) = (*servers.first()?, *all.clients().first()?);
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "answers over {largest} bytes do not reach {network} since {start}: {questions} for \
             {set} were lost, small ones pass",
            largest = side.largest,
            network,
            start = clock(span.start),
            questions = count(*total, "question"),
            set = list(&set, 2)
        ),
        confidence: match (seen_leaving, known) {
            (true, _) => Confidence::Confirmed,
            (false, true) => Confidence::Likely,
            (false, false) => Confidence::Possible,
        },
        culprits: std::iter::once(Culprit::ClientSubnet(*network))
            .chain(set.iter().take(4).cloned().map(Culprit::Name))
            .collect(),
        place: if *seen_leaving { Where::PathToClient } else { Where::Unknown },
        span,
        ongoing: scene.lasts(span),
        transactions: *total,
        claim: Claim {
            span: Some(span),
            network: Some(*network),
            zones: Some(set.clone()),
            symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Truncated]),
            ..Claim::default()
        },
        cause: text!(
            "Names with large answers are never answered in {network}, whichever of {servers} is \
             asked, while small answers of the same servers arrive. {rest} That fits a path whose \
             MTU is smaller than the sender believes (VXLAN takes 50 bytes off), or a firewall \
             that drops fragments; which hop it is does not show here. Fragments behind the first \
             are not in a capture filtered for port 53, so their absence proves nothing.",
            network,
            servers = list(&servers, 3),
            rest = if *seen_leaving {
                text!("The capture at the servers shows the lost answers leaving.")
            } else {
                text!(
                    "The answers' sizes are not in this capture; one at the servers would show \
                     them."
                )
            }
        ),
        facts: all.facts(),
        evidence: tallies
            .values()
            .flat_map(|tally| tally.evidence.iter().cloned())
            .take(8)
            .collect(),
        actions: vec![
            Action {
                why: text!("see at which size answers stop arriving"),
                command: format!(
                    "for s in 512 900 1232 4096; do dig @{server} {example} +bufsize=$s +tries=1 \
                     +ignore | grep -E 'SIZE|timed'; done"
                ),
            },
            Action {
                why: text!("measure the path's MTU from the DNS pod's node"),
                command: format!(
                    "ping -M do -s 1422 -c 3 {client}; ip link | grep -E 'mtu|flannel|eth0'"
                ),
            },
            Action {
                why: text!("keep answers small meanwhile"),
                command: "kubectl -n kube-system edit configmap coredns   # bufsize 1232, or less \
                          than what arrives"
                    .to_owned(),
            },
        ],
        ruled_out: vec![
            RuledOut {
                rule: "dead-backend",
                because: text!("the same servers sent {small} small answers that arrived", small),
            },
            RuledOut {
                rule: "lossy-path",
                because: text!(
                    "the loss goes by name: these names never arrive, others hardly fail"
                ),
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Thirty small answers, and `times` questions with EDNS for a large name that are asked
    /// again after five seconds; `reply` is what comes of each.
    fn large(times: u32, edns: &str, reply: &str) -> String {
        format!(
            "pod = 10.244.0.2
             core = 10.244.1.10
             repeat 60 every 1
             0.0    pod:40000 > core id 1 rd A redis.default.svc.cluster.local.
             0.0005 pod:40000 < core id 1 aa redis.default.svc.cluster.local. 5 A 10.96.0.20
             end
             repeat {times} every 4 from 1
             0.0  pod:20000 > core id 2 rd {edns} A big.default.svc.cluster.local.
             5.0  pod:20000 > core id 2 rd {edns} A big.default.svc.cluster.local.
             {reply}
             end\n"
        )
    }

    #[test]
    fn a_name_with_edns_is_never_answered_and_others_always() {
        let text = findings(&large(6, "edns 1232", ""));
        let first = "low mtu-fragment [client-subnet 10.244.0.0/24, name \
                     big.default.svc.cluster.local] possible 10:00:01.000-10:00:26.000 6/6\n";
        assert!(text.starts_with(first), "{text}");
    }

    #[test]
    fn a_name_that_fails_without_edns_as_well_is_not_lost_for_its_size() {
        let text = findings(&large(6, "", ""));
        assert!(!text.contains("mtu-fragment"), "{text}");
    }

    #[test]
    fn answers_as_large_as_the_room_that_arrive_clear_the_path() {
        let record = "2.big.example.com. 5 A 10.9.9.9 ".repeat(40);
        let arrives = format!(
            "repeat 5 every 2
             0.0   pod:50000 > core id 3 rd edns 1232 A 2.big.example.com.
             0.001 pod:50000 < core id 3 {record}
             end\n"
        );
        let text = findings(&format!("{}{arrives}", large(6, "edns 600", "")));
        assert!(!text.contains("mtu-fragment"), "{text}");
    }

    #[test]
    fn five_lost_answers_are_enough_and_four_are_not() {
        assert!(findings(&large(5, "edns 1232", "")).contains("mtu-fragment"));
        assert!(!findings(&large(4, "edns 1232", "")).contains("mtu-fragment"));
    }

    #[test]
    fn queries_in_flight_at_the_captures_end_prove_nothing() {
        let text = large(6, "edns 1232", "").replace("every 4 from 1", "every 0.1 from 58");
        let text = text.replace("5.0  pod", "0.05 pod");
        assert!(!findings(&text).contains("mtu-fragment"));
    }
}
