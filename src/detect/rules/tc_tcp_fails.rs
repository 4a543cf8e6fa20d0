//! Truncated answers send clients to TCP, and TCP does not work.
//!
//! **Signature.** In at least three lookups an answer over UDP carries TC, the client opens a TCP
//! connection to the same server, and the connection is reset, rejected by ICMP, or never
//! answered; connections that are accepted are a small share. The lookups fail, at once after a
//! reset, after minutes of SYN retries in silence.
//!
//! **Needs.** The client's UDP and TCP on port 53: a filter of `udp port 53` hides it.
//!
//! **Not this.** A truncated answer followed by TCP that works is how it should be (RFC 7766).
//! Clients that never try TCP are `tc-no-tcp`. A DNS that answers over TCP with SERVFAIL cannot
//! reach its own upstream over TCP (`upstream-tcp-unsupported`).
//!
//! **Cannot tell.** Whether TCP 53 is blocked on the way or the Service has no TCP port. A reset
//! that comes at once says the latter, or a firewall that rejects; silence says one that drops.
//!
//! Source: rulebook 2.G; RFC 7766 section 5; RFC 1035 section 4.2.1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{clock, count, list, text};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Interest,
    Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::dns::Name;
use crate::lookup::{Lookup, Sent};
use crate::transaction::{ConnectOutcome, Outcome, TcpAttempt, Transaction};

/// Lookups that must have failed so (rulebook 7.6).
const ENOUGH: u64 = 3;
/// A service of several backends of which one blocks TCP still accepts the rest; below half of
/// them failing, single connections are at fault and not the service.
const SHARE: f64 = 0.5;
/// Names and servers tallied one by one.
const MAX_NAMES: usize = 4_096;
/// Example lookups kept.
const EXAMPLES: usize = 4;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "tc-tcp-fails",
    title: "truncated answers, and TCP does not work",
    class: Class::Failure,
    layer: Layer::Protocol,
    references: &["rulebook 2.G", "RFC 7766 section 5"],
    source: include_str!("tc_tcp_fails.rs"),
    new: || Box::<TcTcpFails>::default(),
};

/// Bounded by the services that clients ask.
#[derive(Default)]
struct TcTcpFails {
    services: BTreeMap<IpAddr, Service>,
}

/// What became of the TCP connections to one asked address after truncated answers.
#[derive(Default)]
struct Service {
    lookups: u64,
    silent: u64,
    refused: u64,
    accepted: u64,
    names: BTreeMap<Name, u64>,
    clients: BTreeSet<IpAddr>,
    backends: BTreeSet<IpAddr>,
    span: Option<Span>,
    evidence: Vec<Proof>,
}

impl Detector for TcTcpFails {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::Unusual)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let truncated = lookup.transactions().find(|t| t.outcome() == Outcome::Truncated);
        let Some(truncated) = truncated else { return };
        let service = truncated.server.ip();
        if self.services.len() >= MAX_NAMES && !self.services.contains_key(&service) {
            return;
        }
        let connects: Vec<&TcpAttempt> = lookup
            .steps
            .iter()
            .filter_map(|step| match &step.sent {
                Sent::Connect(connect) => Some(connect.as_ref()),
                Sent::Question(_) => None,
            })
            .collect();
        if !connects.is_empty() {
            self.services.entry(service).or_default().note(lookup, truncated, &connects);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        // Behind a translation one service shows under its backends' addresses.
        let mut all = Service::default();
        let mut addresses = BTreeSet::new();
        for (address, service) in self.services.into_iter().filter(|(_, one)| one.fails()) {
            addresses.insert(scene.service_of(address).unwrap_or(address));
            all.join(service);
        }
        if all.lookups < ENOUGH {
            return Vec::new();
        }
        all.finding(&addresses, scene).into_iter().collect()
    }
}

impl Service {
    fn note(&mut self, lookup: &Lookup, truncated: &Transaction, connects: &[&TcpAttempt]) {
        let mut failed = false;
        for connect in connects {
            match connect.outcome() {
                ConnectOutcome::Accepted => self.accepted += 1,
                ConnectOutcome::Silent => self.silent += 1,
                ConnectOutcome::Refused | ConnectOutcome::Rejected(_) => self.refused += 1,
                ConnectOutcome::Unknown => continue,
            }
            if connect.outcome() == ConnectOutcome::Accepted {
                continue;
            }
            failed = true;
            self.backends.insert(connect.responder());
            let last = connect.syns.last().copied().unwrap_or_else(|| connect.first());
            let own = Span::between(truncated.first().ts, last.ts);
            self.span = Some(self.span.map_or(own, |span| span.join(own)));
            if self.evidence.len() < EXAMPLES * 3 {
                self.evidence.extend(proofs(truncated, connect));
            }
        }
        if failed {
            self.lookups += 1;
            self.clients.insert(lookup.client);
            let name = &truncated.question.name;
            if self.names.len() < MAX_NAMES || self.names.contains_key(name) {
                *self.names.entry(name.clone()).or_default() += 1;
            }
        }
    }

    fn fails(&self) -> bool {
        let failed = (self.silent + self.refused) as f64;
        failed > 0.0 && failed >= SHARE * (failed + self.accepted as f64)
    }

    fn join(&mut self, other: Self) {
        self.lookups += other.lookups;
        self.silent += other.silent;
        self.refused += other.refused;
        self.accepted += other.accepted;
        for (name, n) in other.names {
            *self.names.entry(name).or_default() += n;
        }
        self.clients.extend(other.clients);
        self.backends.extend(other.backends);
        self.span = self.span.into_iter().chain(other.span).reduce(Span::join);
        self.evidence.extend(other.evidence);
        self.evidence.sort_by_key(|proof| proof.seen);
        self.evidence.truncate(EXAMPLES * 3);
    }

    fn finding(self, services: &BTreeSet<IpAddr>, scene: &Scene<'_>) -> Option<Finding> {
        let span = self.span?;
        let (service, servers) = (*services.first()?, list(services, 3));
        let mut names: Vec<(&Name, &u64)> = self.names.iter().collect();
        names.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let names: Vec<&Name> = names.into_iter().map(|(name, _)| name).collect();
        let first = names.first().map_or_else(String::new, ToString::to_string);
        let how = if self.refused > self.silent { text!("refused") } else { text!("unanswered") };
        let failed = self.silent + self.refused;
        let culprits = names
            .iter()
            .take(3)
            .map(|name| Culprit::Name((*name).clone()))
            .chain(services.iter().map(|service| Culprit::Service(*service)))
            .collect();
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "answers for {names} are truncated, and TCP to {servers} is {how} since {start}: \
                 {lookups} failed",
                names = list(&names, 2),
                servers,
                how,
                start = clock(span.start),
                lookups = count(self.lookups, "lookup")
            ),
            confidence: Confidence::Confirmed,
            culprits,
            place: Where::Unknown,
            span,
            ongoing: scene.lasts(span),
            transactions: failed,
            claim: Claim {
                span: Some(span),
                zones: Some(names.iter().map(|name| (*name).clone()).collect()),
                symptoms: BTreeSet::from([Symptom::Truncated]),
                ..Claim::default()
            },
            cause: text!(
                "The answers are larger than the clients take over UDP (512 bytes without EDNS), \
                 so they carry TC and the clients ask again over TCP, where {failed} of \
                 {connections} were {how}. Either TCP port 53 is blocked on the way to {backends}, \
                 or the Service has no TCP port: {rest}.",
                failed,
                connections = count(failed + self.accepted, "connection"),
                how,
                backends = list(&self.backends, 3),
                rest = if self.refused > self.silent {
                    text!(
                        "a refusal at once speaks for the missing port or a firewall that rejects"
                    )
                } else {
                    text!("silence speaks for a firewall or policy that drops")
                }
            ),
            facts: vec![
                Fact {
                    label: text!("TCP connections after a truncated answer"),
                    value: text!(
                        "{silent} unanswered, {refused} refused, {accepted} accepted",
                        silent = self.silent,
                        refused = self.refused,
                        accepted = self.accepted
                    ),
                },
                Fact { label: text!("names"), value: list(&names, 5) },
                Fact { label: text!("clients"), value: list(&self.clients, 5) },
                Fact { label: text!("connections went to"), value: list(&self.backends, 4) },
                Fact {
                    label: text!("first / last"),
                    value: text!(
                        "{start} / {end}",
                        start = clock(span.start),
                        end = clock(span.end)
                    ),
                },
            ],
            evidence: self.evidence,
            actions: vec![
                Action {
                    why: text!("ask over TCP"),
                    command: format!("dig @{service} {first} +tcp +tries=1"),
                },
                Action {
                    why: text!(
                        "see whether the Service has its TCP port, and whether a policy lets TCP \
                         53 pass"
                    ),
                    command: "kubectl -n kube-system get service kube-dns -o yaml | grep -A12 \
                              ports; kubectl get networkpolicy -A"
                        .to_owned(),
                },
                Action {
                    why: text!(
                        "see whether the answer fits into UDP with EDNS, and let clients use that"
                    ),
                    command: format!("dig @{service} {first} +bufsize=1232 +ignore"),
                },
            ],
            ruled_out: vec![
                RuledOut {
                    rule: "tc-no-tcp",
                    because: text!("the clients did try TCP, {failed} times in vain", failed),
                },
                RuledOut {
                    rule: "dead-backend",
                    because: text!("the same servers answered over UDP, truncated"),
                },
            ],
        })
    }
}

fn proofs(truncated: &Transaction, connect: &TcpAttempt) -> Vec<Proof> {
    let answer = truncated.answer().map(|answer| Proof {
        seen: answer.delivered(),
        summary: text!("the answer for {name} is truncated", name = truncated.question.name),
    });
    let end = connect.reset.or(connect.rejected.map(|(seen, _)| (seen, true)));
    let end = end.map(|(seen, _)| Proof { seen, summary: text!("the connection is refused") });
    let tries = count(connect.syns.len() as u64, "SYN");
    let mut summary = text!(
        "{client} opens a TCP connection to {server}",
        client = connect.client,
        server = connect.server
    );
    if end.is_none() {
        summary = text!("{summary}: {tries}, no answer", summary, tries);
    }
    answer.into_iter().chain([Proof { seen: connect.first(), summary }]).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// `times` truncated answers, each followed by a SYN and by `reply`.
    fn truncated(times: u32, reply: &str) -> String {
        format!(
            "pod = 10.244.0.2
             dns = 10.96.0.10
             repeat {times} every 7
             0.0   pod:40000 > dns id 1 rd A big.default.svc.cluster.local.
             0.001 pod:40000 < dns id 1 aa tc big.default.svc.cluster.local. 5 A 10.244.9.9
             0.002 pod:45000 > dns tcp syn
             {reply}
             end
             40.0  pod:9 > dns id 9 rd A small.default.svc.cluster.local.
             40.001 pod:9 < dns id 9 aa small.default.svc.cluster.local. 5 A 10.96.0.9\n"
        )
    }

    #[test]
    fn connections_are_reset() {
        insta::assert_snapshot!(findings(&truncated(4, "0.003 pod:45000 < dns tcp rst")), @"low tc-tcp-fails [name big.default.svc.cluster.local, service 10.96.0.10] confirmed 10:00:00.000-10:00:21.002 4/4");
    }

    #[test]
    fn connections_are_never_answered() {
        let text = findings(&truncated(4, "1.002 pod:45000 > dns tcp syn"));
        assert!(text.contains("tc-tcp-fails") && text.contains("4/4"), "{text}");
    }

    #[test]
    fn tcp_that_works_is_how_it_should_be() {
        let text = truncated(
            4,
            "0.003 pod:45000 < dns tcp syn-ack
             0.004 pod:45000 > dns tcp ack
             0.005 pod:45000 > dns tcp id 2 rd A big.default.svc.cluster.local.
             0.006 pod:45000 < dns tcp id 2 aa big.default.svc.cluster.local. 5 A 10.244.9.9",
        );
        assert_eq!(findings(&text), "quiet\n");
    }

    #[test]
    fn three_lookups_are_enough_and_two_are_not() {
        assert!(findings(&truncated(3, "0.003 pod:45000 < dns tcp rst")).contains("tc-tcp-fails"));
        assert!(!findings(&truncated(2, "0.003 pod:45000 < dns tcp rst")).contains("tc-tcp-fails"));
    }

    #[test]
    fn connections_in_flight_at_the_captures_end_prove_nothing() {
        let text = truncated(4, "").replace("every 7", "every 0.2").replace("40.0", "1.0");
        assert_eq!(findings(&text), "quiet\n");
    }
}
