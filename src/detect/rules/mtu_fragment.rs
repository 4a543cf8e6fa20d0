//! Large answers over UDP are lost on the way to the clients, small ones pass.
//!
//! **Signature.** Names that clients ask for with an EDNS size over 512 bytes are never answered
//! in a client network, at least five questions, each name three times or more, while the same
//! servers answer other names of the same clients at once, at least twenty of them in no more
//! than 512 bytes, and no answer as large as the lost ones might be ever arrives. That the lost
//! answers are large shows where they were answered whole or truncated to others, over TCP, or in
//! a capture of the server's node, where they leave; a name of the cluster, which the DNS answers
//! from memory, has no other reason to be silent. Or a first fragment comes to the clients' node and
//! stops there, where whole answers are seen at further places: the node waits for the others.
//!
//! **Needs.** Clients that ask with EDNS. A capture on the servers' nodes makes it sure and gives
//! the sizes.
//!
//! **Not this.** Further fragments are missing from every capture with the filter `port 53`
//! (rulebook K1): the first fragment counts as arrived, unless it stops half-way on the node. Names that fail for clients without EDNS
//! as well are not lost for their size.
//!
//! **Cannot tell.** Which hop drops: a tunnel whose header does not fit the MTU, a firewall that
//! drops fragments, or a lost ICMP "too big".
//!
//! Source: rulebook 2.G, K1; RFC 6891 section 6.2.5; RFC 8900 (fragmentation is fragile).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hashbrown::hash_map::Entry;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{AddressId, Few, Map, Network, Rows, Span, Table, Transport, entry_within};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::{Name, Question, RecordType};
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
const MAX_QUESTIONS: u32 = 8_192;
/// Client networks tallied.
const MAX_NETWORKS: usize = 4_096;
/// Questions kept of all networks together: as many as a table of 2^15 places takes.
const MAX_KEPT: usize = 28_672;
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
    networks: Vec<Side>,
    numbers: Table<Network, u16>,
    /// The number of each client's network, once it is known.
    of: Rows<Option<u16>>,
    asked: Map<Asked, Told>,
}

/// A question that one client network asked. Of the name, its digest is enough to say that a loss of
/// the same name is one of many.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    name: u64,
    rtype: RecordType,
    network: u16,
}

/// What came of it.
#[derive(Clone, Copy, Default)]
struct Told {
    /// Size of the largest answer: what a lost one would have been.
    size: u16,
    answered: bool,
    /// Answered where there was no room, or over TCP.
    small_answered: bool,
}

/// What arrived in one client network.
#[derive(Default)]
struct Side {
    /// Answers of no more than [`SMALL`] bytes, by server.
    small: Few<AddressId, u64>,
    /// The largest answer that arrived over UDP.
    largest: usize,
    /// How many questions are known.
    questions: u32,
    /// What was lost of them: of most, nothing.
    losses: BTreeMap<Question, Losses>,
    answered: u64,
    lost: u64,
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
    /// Of how many the first fragment came to the clients' node.
    incomplete: u64,
    clients: BTreeSet<IpAddr>,
    servers: BTreeSet<IpAddr>,
    span: Option<Span>,
    evidence: Vec<Proof>,
}

impl Detector for MtuFragment {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        if transaction.attempts.is_empty() || transaction.is_infrastructure() {
            return;
        }
        let arrived = arrived(transaction);
        let left = transaction.responses.first().filter(|_| arrived.is_none());
        let timeout = transaction.outcome() == Outcome::Timeout;
        if arrived.is_none() && left.is_none() && !timeout {
            return;
        }
        let Some(network) = self.network(transaction, glance) else { return };
        let Some(side) = self.networks.get_mut(usize::from(network)) else { return };
        side.count(transaction, glance, arrived);
        let Question { name, rtype, class: _ } = &transaction.question;
        let asked = Asked { name: name.digest(), rtype: *rtype, network };
        let most = if side.questions < MAX_QUESTIONS { MAX_KEPT } else { 0 };
        let told = match entry_within(&mut self.asked, asked, most) {
            Some(Entry::Occupied(known)) => known.into_mut(),
            Some(Entry::Vacant(new)) => {
                side.questions += 1;
                new.insert(Told::default())
            }
            None => return,
        };
        if let Some(response) = transaction.responses.first() {
            // A truncated answer says that the whole one is larger than that.
            let size = response.wire_len() + usize::from(response.header.truncated());
            told.size = told.size.max(u16::try_from(size).unwrap_or(u16::MAX));
        }
        let large = transaction.transport == Transport::Udp && room_of(transaction) > SMALL;
        if arrived.is_none() {
            side.lost(transaction, left, large);
        } else if large {
            told.answered = true;
        } else {
            told.small_answered = true;
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let known = Known::of(&self);
        self.numbers
            .iter()
            .filter_map(|(network, number)| {
                let side = self.networks.get(usize::from(*number))?;
                side.judge((*network, *number), &known, scene)
            })
            .collect()
    }
}

impl MtuFragment {
    /// The number of a client's network, if there is room for it.
    fn network(&mut self, transaction: &Transaction, glance: &Glance) -> Option<u16> {
        let of = self.of.row(glance.client);
        if of.is_none() {
            let network = Network::of(transaction.client.ip());
            let place = self.numbers.entry_within(network, MAX_NETWORKS)?;
            *of = Some(*place.or_insert_with(|| {
                self.networks.push(Side::default());
                u16::try_from(self.networks.len() - 1).unwrap_or(u16::MAX)
            }));
        }
        *of
    }
}

/// What is known of the questions that were lost somewhere.
struct Known<'a> {
    asked: &'a Map<Asked, Told>,
    /// The largest answer to anybody.
    sizes: Map<(u64, RecordType), u16>,
}

impl<'a> Known<'a> {
    fn of(rule: &'a MtuFragment) -> Self {
        let lost = rule.networks.iter().flat_map(|side| side.losses.keys());
        let mut sizes: Map<(u64, RecordType), u16> =
            lost.map(|question| ((question.name.digest(), question.rtype), 0)).collect();
        if !sizes.is_empty() {
            for (asked, told) in &rule.asked {
                if let Some(size) = sizes.get_mut(&(asked.name, asked.rtype)) {
                    *size = told.size.max(*size);
                }
            }
        }
        Self { asked: &rule.asked, sizes }
    }

    fn told(&self, question: &Question, network: u16) -> Told {
        let asked = Asked { name: question.name.digest(), rtype: question.rtype, network };
        self.asked.get(&asked).copied().unwrap_or_default()
    }

    fn size(&self, question: &Question) -> usize {
        let size = self.sizes.get(&(question.name.digest(), question.rtype));
        size.copied().map_or(0, usize::from)
    }
}

/// How large an answer the client takes.
fn room_of(transaction: &Transaction) -> usize {
    transaction.traits.udp_size.map_or(SMALL, usize::from).max(SMALL)
}

/// The answer that the client's own place of capture saw, if any, and not only the first fragment of
/// it: at the server's node they all seem to be on their way.
fn arrived(transaction: &Transaction) -> Option<&Response> {
    let home = transaction.attempts.first()?.hops.first_point()?;
    let is_here = |response: &&Response| response.hops.is_seen_at(home);
    transaction.responses.iter().filter(is_here).find(|response| !response.is_incomplete())
}

impl Side {
    /// Counts what came over UDP and what did not.
    fn count(&mut self, transaction: &Transaction, glance: &Glance, arrived: Option<&Response>) {
        if transaction.transport != Transport::Udp {
            return;
        }
        let Some(response) = arrived else {
            self.lost += 1;
            return;
        };
        self.answered += 1;
        self.largest = self.largest.max(response.wire_len());
        if response.wire_len() <= SMALL {
            *self.small.or_insert_with(glance.responder, || 0) += 1;
        }
    }

    /// Notes a lost answer to a question that is known.
    fn lost(&mut self, transaction: &Transaction, left: Option<&Response>, large: bool) {
        let question = &transaction.question;
        if !self.losses.contains_key(question) {
            self.losses.insert(question.clone(), Losses::default());
        }
        let Some(losses) = self.losses.get_mut(question) else { return };
        if large {
            losses.note(transaction, left);
        } else if transaction.transport == Transport::Udp {
            losses.small_lost += 1;
        } else {
            losses.tcp_lost += 1;
        }
    }

    fn judge(
        &self,
        (network, number): (Network, u16),
        known: &Known<'_>,
        scene: &Scene<'_>,
    ) -> Option<Finding> {
        let small = |server: &IpAddr| {
            scene.addresses.get(*server).is_some_and(|server| self.small.contains_key(&server))
        };
        let lost: BTreeMap<&Question, &Losses> = self
            .losses
            .iter()
            .filter(|(_, losses)| losses.lost >= EACH)
            .filter(|(_, losses)| losses.small_lost == 0 && losses.servers.iter().all(small))
            // An answer as large as this one might be did arrive: size is not what matters.
            .filter(|(_, losses)| losses.left_server.unwrap_or(losses.room) > self.largest)
            .filter(|(question, _)| !known.told(question, number).answered)
            .collect();
        let total: u64 = lost.values().map(|tally| tally.lost).sum();
        let servers: BTreeSet<AddressId> = lost
            .values()
            .flat_map(|losses| &losses.servers)
            .filter_map(|server| scene.addresses.get(*server))
            .collect();
        let small: u64 = servers.iter().filter_map(|server| self.small.get(server)).sum();
        let others_lost = self.lost - total;
        let share = (others_lost as f64 + 0.5) / ((others_lost + self.answered) as f64 + 1.0);
        let chance: f64 = lost
            .values()
            .map(|tally| share.powi(i32::try_from(tally.lost).unwrap_or(i32::MAX)))
            .sum::<f64>()
            * f64::from(self.questions);
        let seen_leaving = lost.values().any(|tally| tally.left_server.is_some());
        let incomplete = lost.values().map(|tally| tally.incomplete).sum();
        let known = lost.iter().any(|(question, losses)| {
            losses.tcp_lost > 0
                || known.told(question, number).small_answered
                || known.size(question) > self.largest
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
                        side: self,
                        tallies: lost,
                        total,
                        small,
                        seen_leaving,
                        incomplete,
                        known,
                    },
                    scene,
                )
            })
            .flatten()
    }
}

impl Losses {
    fn note(&mut self, transaction: &Transaction, left: Option<&Response>) {
        let room = room_of(transaction);
        self.lost += 1;
        self.room = if self.room == 0 { room } else { self.room.min(room) };
        if let Some(left) = left {
            let known = self.left_server.unwrap_or(usize::MAX);
            self.left_server = Some(known.min(left.wire_len()));
            self.incomplete += u64::from(left.is_incomplete());
        }
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
    /// Of how many the first fragment came to the clients' node.
    incomplete: u64,
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
        if self.incomplete > 0 {
            facts.push(Fact {
                label: text!("first fragments that stopped on the clients' node"),
                value: plain(self.incomplete),
            });
        }
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
    let Lost { network, side, tallies, total, small, seen_leaving, incomplete, known } = all;
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
        // What drops the others, the clients' own node or the way to it, a first fragment does not say.
        confidence: match (*seen_leaving && *incomplete == 0, *known || *seen_leaving) {
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
            rest = if *incomplete > 0 {
                text!(
                    "Their first fragments come to the clients' node and go no further there: the \
                     node waits in vain for the others, and delivers an answer whole or not at all."
                )
            } else if *seen_leaving {
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

    /// The way loses all fragments but the first, which is all that a filter for port 53 shows: what
    /// the node puts together goes on to the pod, in fragments again, as other answers show.
    #[test]
    fn first_fragments_that_stop_on_the_node_are_lost_answers() {
        let record = "big.example.com. 5 TXT \"v=spf1 include:a.example include:b.example ~all\" ";
        let record = record.repeat(24);
        let fragments = |place: &str| {
            findings(&format!(
                "capture node sll2
                 service kube-dns = 10.96.0.10
                 dns1 = 10.244.1.10
                 pod = 10.244.0.2
                 other = 10.244.0.3
                 repeat 60 every 1
                 0.5    pod:40000 > kube-dns via dns1 id 1 rd A redis.example.com.
                 0.5005 pod:40000 < kube-dns id 1 redis.example.com. 5 A 10.96.0.20
                 end
                 repeat 6 every 9 from 1
                 0.0    other:20000 > kube-dns via dns1 id 2 rd edns 4096 TXT big.example.com.
                 0.001  other:20000 < kube-dns id 2 {record} fragment 2 alone {place}
                 5.0    other:20000 > kube-dns via dns1 id 2 rd edns 4096 TXT big.example.com.
                 5.001  other:20000 < kube-dns id 2 {record} fragment 2 alone {place}
                 end\n"
            ))
        };
        let said = fragments("until overlay");
        assert!(said.contains("mtu-fragment [client-subnet 10.244.0.0/24, name big"), "{said}");
        assert!(said.contains("likely"), "{said}");
        assert!(!said.contains("client-overload"), "{said}");
        let said = fragments("");
        assert!(!said.contains("mtu-fragment"), "{said}");
    }

    #[test]
    fn queries_in_flight_at_the_captures_end_prove_nothing() {
        let text = large(6, "edns 1232", "").replace("every 4 from 1", "every 0.1 from 58");
        let text = text.replace("5.0  pod", "0.05 pod");
        assert!(!findings(&text).contains("mtu-fragment"));
    }
}
