//! Truncated answers, and the client never asks over TCP.
//!
//! **Signature.** In at least three lookups of a name the only answer over UDP carries TC, and
//! its client opens no TCP connection to the server, asks no larger answer with EDNS, and gets no
//! whole answer otherwise. musl before 1.2.4 takes what the truncated answer holds; others fail. Where it
//! holds nothing and nobody ever gets an address, nobody has anything to take, and the lookups count as
//! failed, if the capture holds TCP of anybody.
//! Headless Services with more than about 28 endpoints outgrow the 512 bytes of a query without
//! EDNS.
//!
//! **Needs.** The client's UDP and TCP on port 53: with a filter of `udp port 53` the TCP that
//! follows is not in the capture, and the rule says `possible` only.
//!
//! **Not this.** TCP that is tried and fails is `tc-tcp-fails`. A client that asks again with a
//! larger EDNS size and gets the whole answer is fine. One that asks over TCP at other times does so here
//! as well, of another server than the capture shows: on the node of one replica it is so.
//!
//! **Cannot tell.** Whether the application got by with the part that came. The TCP connection
//! may use an address or a port that was not captured.
//!
//! Source: rulebook 2.G; RFC 7766 section 5; musl `src/network/res_msend.c` (TCP since 1.2.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::words::{Text, clock, count, list, plain, text};
use crate::base::{Span, Transport};
use crate::capture::Seen;
use crate::detect::{
    Action, AskedName, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Glance, Harmed, Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::Name;
use crate::lookup::{Lookup, Sent};
use crate::transaction::{Outcome, TcpAttempt, Transaction};

/// Lookups that must have ended so (rulebook 7.6).
const ENOUGH: u64 = 3;
/// Names tallied one by one.
const MAX_NAMES: usize = 4_096;
/// Lookups kept one by one for each name.
const MAX_FAILED: usize = 16_384;
/// Clients that are known to go on over TCP.
const MAX_CLIENTS: usize = 65_536;
/// Example frames kept for each name.
const FRAMES: usize = 4;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "tc-no-tcp",
    title: "truncated answers that nobody asks for over TCP",
    class: Class::Failure,
    layer: Layer::Protocol,
    references: &["rulebook 2.G", "RFC 7766 section 5"],
    source: include_str!("tc_no_tcp.rs"),
    new: || Box::<TcNoTcp>::default(),
};

/// Bounded by [`MAX_NAMES`].
#[derive(Default)]
struct TcNoTcp {
    names: BTreeMap<Name, Tally>,
    tcp_seen: bool,
    /// Clients that asked over TCP for what was truncated: what the capture does not show of theirs went
    /// another way, to another server behind the same service for example.
    able: BTreeSet<IpAddr>,
}

#[derive(Default)]
struct Tally {
    /// How many lookups of each client, and when.
    lookups: BTreeMap<IpAddr, (u64, Span)>,
    servers: BTreeSet<IpAddr>,
    sizes: BTreeSet<u16>,
    held: u16,
    /// The lookups that got nothing at all.
    failed: BTreeMap<(Seen, IpAddr), Harmed>,
    evidence: Vec<(IpAddr, Proof)>,
}

impl Detector for TcNoTcp {
    fn interest(&self) -> Interest {
        Interest::new(Which::Unusual, Which::Unusual).and_connects()
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        self.tcp_seen |= transaction.transport == Transport::Tcp;
    }

    fn observe_connect(&mut self, _connect: &TcpAttempt) {
        self.tcp_seen = true;
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let truncated = lookup.transactions().find(|t| t.outcome() == Outcome::Truncated);
        let Some(truncated) = truncated else { return };
        let by_tcp = lookup.steps.iter().any(|step| match &step.sent {
            Sent::Connect(_) => true,
            Sent::Question(other) => other.transport == Transport::Tcp,
        });
        if by_tcp && self.able.len() < MAX_CLIENTS {
            self.able.insert(lookup.client);
        }
        let went_on = by_tcp
            || lookup.transactions().any(|other| {
                other.question == truncated.question && other.outcome() == Outcome::Ok
            });
        let name = &truncated.question.name;
        let room = self.names.len() < MAX_NAMES || self.names.contains_key(name);
        if !went_on && room {
            self.names.entry(name.clone()).or_default().note(lookup, truncated);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Self { names, tcp_seen, able } = *self;
        names
            .into_iter()
            .map(|(name, tally)| (name, tally.without(&able)))
            .map(|(name, mut tally)| {
                // What is whole at other times was not cut for its size: a server limits its rate so.
                // And where a capture holds no TCP at all, its filter may have left out the rest.
                if !tcp_seen || scene.answers.name(&name).is_some_and(AskedName::resolves) {
                    tally.failed.clear();
                }
                (name, tally)
            })
            .filter(|(_, tally)| tally.count() >= ENOUGH)
            .filter_map(|(name, tally)| tally.finding(&name, tcp_seen, scene))
            .collect()
    }
}

impl Tally {
    fn note(&mut self, lookup: &Lookup, truncated: &Transaction) {
        let Some(answer) = truncated.answer() else { return };
        let own = Span::between(truncated.first().ts, answer.delivered().ts);
        let (lookups, span) = self.lookups.entry(lookup.client).or_insert((0, own));
        (*lookups, *span) = (*lookups + 1, span.join(own));
        self.servers.insert(truncated.responder());
        self.sizes.insert(truncated.traits.udp_size.unwrap_or(512));
        self.held = self.held.max(answer.header.answers);
        if let Some(end) = lookup.end
            && answer.header.answers == 0
            && self.failed.len() < MAX_FAILED
            && !lookup.transactions().any(|other| other.outcome() == Outcome::Ok)
        {
            self.failed.insert((lookup.start, lookup.client), Harmed::wrong(lookup, end));
        }
        if self.evidence.len() < FRAMES {
            let summary = text!(
                "truncated after {answers} of the answer's records; no TCP follows from {client}",
                answers = answer.header.answers,
                client = lookup.client
            );
            self.evidence.push((lookup.client, Proof { seen: answer.delivered(), summary }));
        }
    }

    /// What is left of it if these clients are left out.
    fn without(mut self, able: &BTreeSet<IpAddr>) -> Self {
        self.lookups.retain(|client, _| !able.contains(client));
        self.evidence.retain(|(client, _)| !able.contains(client));
        self.failed.retain(|(_, client), _| !able.contains(client));
        self
    }

    fn count(&self) -> u64 {
        self.lookups.values().map(|(lookups, _)| lookups).sum()
    }

    fn finding(self, name: &Name, tcp_seen: bool, scene: &Scene<'_>) -> Option<Finding> {
        let span = self.lookups.values().map(|(_, span)| *span).reduce(Span::join)?;
        let (lookups, clients) = (self.count(), self.lookups.keys().copied());
        let clients: BTreeSet<IpAddr> = clients.collect();
        let server = self.servers.first()?;
        let failed = self.failed.len() as u64;
        let title = if failed == lookups {
            text!(
                "answers for {name} are truncated to nothing, and {clients} never ask over TCP: \
                 {lookups} got no address",
                name,
                clients = list(&clients, 2),
                lookups = count(lookups, "lookup")
            )
        } else {
            text!(
                "answers for {name} are truncated, and {clients} never ask over TCP: {lookups} got \
                 a part at most",
                name,
                clients = list(&clients, 2),
                lookups = count(lookups, "lookup")
            )
        };
        Some(Finding {
            rule: &DETECTOR,
            title,
            confidence: if tcp_seen { Confidence::Likely } else { Confidence::Possible },
            culprits: vec![Culprit::Name(name.clone())],
            place: Where::Unknown,
            span,
            ongoing: scene.lasts(span),
            transactions: lookups,
            claim: Claim {
                span: Some(span),
                zones: Some(BTreeSet::from([name.clone()])),
                clients: Some(clients.clone()),
                symptoms: BTreeSet::from([Symptom::Truncated]),
                wrong: self.failed,
                ..Claim::default()
            },
            cause: text!(
                "The whole answer does not fit what the clients accept over UDP ({sizes} bytes). \
                 RFC 7766 has them ask again over TCP; these did not. An application that takes \
                 what came sees {held} addresses and no more; others report a failure.{rest}",
                sizes = list(&self.sizes, 3),
                held = self.held,
                rest = if tcp_seen {
                    Text::EMPTY
                } else {
                    text!(
                        " The capture holds no TCP at all: a filter without TCP would look the \
                         same."
                    )
                }
            ),
            facts: vec![
                Fact {
                    label: text!("lookups with a truncated answer only"),
                    value: plain(lookups),
                },
                Fact { label: text!("of them, without any record"), value: plain(failed) },
                Fact {
                    label: text!("records that came"),
                    value: text!("{held} at most", held = self.held),
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
            ],
            evidence: self.evidence.into_iter().map(|(_, proof)| proof).collect(),
            actions: vec![
                Action {
                    why: text!("see how large the whole answer is"),
                    command: format!("dig @{server} {name} +tcp | tail -5"),
                },
                Action {
                    why: text!("let glibc ask with EDNS or over TCP; musl learned TCP in 1.2.4"),
                    command:
                        "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":\
                              {\"dnsConfig\":{\"options\":[{\"name\":\"edns0\"}]}}}}}'"
                            .to_owned(),
                },
            ],
            ruled_out: vec![RuledOut {
                rule: "tc-tcp-fails",
                because: text!(
                    "no TCP connection of these clients to the server is in the capture"
                ),
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// `times` truncated answers, and what the client does then.
    fn truncated(times: u32, then: &str) -> String {
        format!(
            "pod = 10.244.0.2
             dns = 10.96.0.10
             repeat {times} every 7
             0.0   pod:40000 > dns id 1 rd A big.default.svc.cluster.local.
             0.001 pod:40000 < dns id 1 aa tc big.default.svc.cluster.local. 5 A 10.244.9.9
             {then}
             end\n"
        )
    }

    #[test]
    fn nobody_asks_over_tcp() {
        insta::assert_snapshot!(findings(&truncated(4, "")), @"info tc-no-tcp [name big.default.svc.cluster.local] possible 10:00:00.000-10:00:21.001 0/0");
    }

    /// Nobody gets by with nothing.
    #[test]
    fn an_answer_that_was_cut_to_nothing_is_a_failure() {
        let text = truncated(4, "")
            .replace(" aa tc big.default.svc.cluster.local. 5 A 10.244.9.9", " aa tc");
        // A filter that leaves TCP out would look the same.
        assert!(findings(&text).starts_with("info tc-no-tcp"), "{}", findings(&text));
        let text = format!("{text}mate = 10.244.0.3\n0.5 mate:45001 > dns tcp syn\n");
        insta::assert_snapshot!(findings(&text), @"low tc-no-tcp [name big.default.svc.cluster.local] likely 10:00:00.000-10:00:21.001 4/4");
        let then = "0.002 pod:45000 > dns tcp syn";
        let tcp = truncated(4, then)
            .replace(" aa tc big.default.svc.cluster.local. 5 A 10.244.9.9", " aa tc");
        assert!(!findings(&tcp).contains("tc-no-tcp"), "{}", findings(&tcp));
    }

    #[test]
    fn a_client_that_opens_a_connection_is_fine() {
        let text = findings(&truncated(4, "0.002 pod:45000 > dns tcp syn"));
        assert!(!text.contains("tc-no-tcp"), "{text}");
    }

    #[test]
    fn three_lookups_are_enough_and_two_are_not() {
        assert!(findings(&truncated(3, "")).contains("tc-no-tcp"));
        assert_eq!(findings(&truncated(2, "")), "quiet\n");
    }

    #[test]
    fn an_answer_behind_the_captures_end_is_not_truncated() {
        let open = truncated(4, "").replace("0.001 pod:40000 <", "0.001 pod:40000 < lost");
        let open = open.replace("< lost dns", "< dns lost").replace("every 7", "every 0.2");
        assert_eq!(findings(&open), "quiet\n");
    }

    /// The TCP of other lookups goes to a replica on another node.
    #[test]
    fn a_client_that_goes_on_over_tcp_at_other_times_does_so_here() {
        let once = "90.0   pod:50000 > dns id 9 rd A big.default.svc.cluster.local.
             90.001 pod:50000 < dns id 9 aa tc big.default.svc.cluster.local. 5 A 10.244.9.9
             90.002 pod:45000 > dns tcp syn\n";
        let text = truncated(5, "");
        assert!(findings(&text).contains("tc-no-tcp"), "{}", findings(&text));
        let said = findings(&format!("{text}{once}"));
        assert!(!said.contains("tc-no-tcp"), "{said}");
    }
}
