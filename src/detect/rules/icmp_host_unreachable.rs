//! ICMP says that a DNS server cannot be reached.
//!
//! **Signature.** ICMP host or network unreachable (type 3, codes 0 and 1 and their kin; ICMPv6 type
//! 1, codes 0 and 3) comes back for queries: a router on the way has no route to the server or gets
//! no answer to ARP for it.
//!
//! **Needs.** ICMP in the capture; the filter `port 53` hides it.
//!
//! **Not this.** It is evidence for the rules about silent servers, which take precedence: a
//! backend that vanished makes its last router say this after some seconds.
//!
//! **Cannot tell.** Past the first hop, un-NAT rewrites the sender to the service address.
//!
//! Source: rulebook 2.B; RFC 792, RFC 4443 section 3.1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{count, list, plain, text};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, Scene, Symptom, Where, Which,
};
use crate::packet::IcmpKind;
use crate::transaction::{Outcome, Transaction};

/// ICMP errors that make a finding (rulebook 7.6).
const ENOUGH: u64 = 2;
/// Pairs of sender and server that are told apart.
const MAX_PAIRS: usize = 1_024;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "icmp-host-unreachable",
    title: "ICMP says that a DNS server cannot be reached",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B", "RFC 792", "RFC 4443 section 3.1"],
    source: include_str!("icmp_host_unreachable.rs"),
    new: || Box::new(IcmpHostUnreachable(Rejections::new(IcmpKind::HostUnreachable))),
};

struct IcmpHostUnreachable(Rejections);

impl Detector for IcmpHostUnreachable {
    fn interest(&self) -> Interest {
        Interest::new(Which::Unusual, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, _glance: &Glance) {
        self.0.note(transaction);
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.0.findings(&DETECTOR, scene)
    }
}

/// Queries that ICMP errors of one kind rejected, by who said it about which server.
pub(super) struct Rejections {
    kind: IcmpKind,
    pairs: BTreeMap<(IpAddr, IpAddr), Tally>,
}

#[derive(Default)]
struct Tally {
    rejected: u64,
    /// Of them, those that had been translated to a backend.
    translated: u64,
    span: Option<Span>,
    clients: BTreeSet<IpAddr>,
    frames: Vec<Seen>,
}

impl Rejections {
    pub(super) fn new(kind: IcmpKind) -> Self {
        Self { kind, pairs: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, transaction: &Transaction) {
        if !matches!(transaction.outcome(), Outcome::Rejected(_)) {
            return;
        }
        let Some(said) = transaction.rejections.iter().find(|said| said.kind == self.kind) else {
            return;
        };
        let pair = (said.from, transaction.responder());
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&pair) {
            return;
        }
        let tally = self.pairs.entry(pair).or_default();
        tally.rejected += 1;
        tally.translated += u64::from(transaction.backend().is_some());
        tally.span =
            Some(tally.span.map_or(Span::at(said.seen.ts), |span| span.with(said.seen.ts)));
        tally.clients.insert(transaction.client.ip());
        if tally.frames.len() < 6 {
            tally.frames.push(said.seen);
        }
    }

    /// What is left when the outages that localisation found have taken their share: the ICMP
    /// errors about those are facts of theirs.
    pub(super) fn findings(self, rule: &'static Descriptor, scene: &Scene<'_>) -> Vec<Finding> {
        let kind = self.kind;
        let explained = |server: IpAddr, span: Span| {
            scene.outages.iter().any(|outage| {
                (outage.server == server || outage.service == server) && outage.span.overlaps(span)
            })
        };
        self.pairs
            .into_iter()
            .filter(|(_, tally)| tally.rejected >= ENOUGH)
            .filter_map(|((from, server), tally)| {
                let span = tally.span.filter(|span| !explained(server, *span))?;
                Some(finding(rule, kind, (from, server), &tally, span, scene))
            })
            .collect()
    }
}

fn finding(
    rule: &'static Descriptor,
    kind: IcmpKind,
    (from, server): (IpAddr, IpAddr),
    tally: &Tally,
    span: Span,
    scene: &Scene<'_>,
) -> Finding {
    let own = from == server;
    // kube-proxy rejects on the client's node, before any translation, what it has no endpoint for.
    let no_endpoint = kind == IcmpKind::PortUnreachable && !own && tally.translated == 0;
    Finding {
        rule,
        title: text!(
            "queries to {server} are rejected with ICMP {kind} by {from}",
            server,
            kind,
            from
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(server), Culprit::Node(from)],
        place: if own { Where::Server } else { Where::PathToServer },
        span,
        ongoing: scene.lasts(span),
        transactions: tally.rejected,
        claim: Claim {
            span: Some(span.widened(std::time::Duration::from_secs(10))),
            clients: Some(tally.clients.clone()),
            servers: Some(BTreeSet::from([server])),
            symptoms: BTreeSet::from([Symptom::Rejected(kind)]),
            ..Claim::default()
        },
        cause: if own {
            text!("{server} itself says that the DNS port is not open.", server)
        } else if no_endpoint && scene.is_service(server) {
            text!(
                "{server} is a service, and the queries were rejected before they were translated \
                 to a backend: kube-proxy does that on the client's own node while the service has \
                 no ready endpoint.",
                server
            )
        } else if no_endpoint {
            text!(
                "{from} says so of queries to {server}. If that is a service address, kube-proxy on \
                 the client's node has no ready endpoint for it; else a firewall rejects them.",
                from,
                server
            )
        } else {
            text!(
                "{from} says so of queries to {server}: a router without a way there, or a \
                 firewall that rejects them.",
                from,
                server
            )
        },
        facts: vec![
            Fact { label: text!("queries rejected"), value: plain(tally.rejected) },
            Fact { label: text!("by"), value: plain(from) },
            Fact { label: text!("clients"), value: list(&tally.clients, 4) },
        ],
        evidence: tally
            .frames
            .iter()
            .map(|seen| Proof {
                seen: *seen,
                summary: text!("ICMP {kind} from {from}", kind, from),
            })
            .collect(),
        actions: vec![
            Action {
                why: text!("see whether the service has endpoints"),
                command: "kubectl -n kube-system get endpointslices -l \
                          kubernetes.io/service-name=kube-dns -o wide"
                    .to_owned(),
            },
            Action {
                why: text!("see how {from} would send there", from),
                command: format!("ip route get {server}; iptables-save | grep -i reject"),
            },
        ],
        ruled_out: vec![crate::detect::RuledOut {
            rule: "lossy-path",
            because: text!(
                "{errors} came back for the queries",
                errors = count(tally.rejected, "ICMP error")
            ),
        }],
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{failover, findings, findings_until};

    /// So many queries for which a router says `kind` at once.
    fn rejected(times: u32, kind: &str) -> String {
        format!(
            "pod = 10.244.0.2\ndns = 192.0.2.53\nrouter = 10.244.0.1\nrepeat {times} every 3\n\
             0.000 pod:40000 > dns rd A www.example.org.\n\
             0.002 pod:40000 < dns icmp {kind} from router\n\
             1.000 pod:45000 > dns rd A www.example.net.\n\
             1.010 pod:45000 < dns www.example.net. 60 A 203.0.113.7\nend\n"
        )
    }

    #[test]
    fn a_router_has_no_way_to_the_server_now_and_then() {
        let said = findings(&rejected(4, "host-unreachable"));
        assert!(said.contains(" icmp-host-unreachable ["), "{said}");
        let said = findings(&rejected(4, "net-unreachable"));
        assert!(said.contains(" icmp-host-unreachable ["), "{said}");
    }

    #[test]
    fn one_error_is_not_enough() {
        assert!(!findings(&rejected(1, "host-unreachable")).contains("icmp-host-unreachable"));
        let said = findings_until(&rejected(4, "host-unreachable"), 2.5);
        assert!(!said.contains("icmp-host-unreachable"), "{said}");
    }

    #[test]
    fn an_error_about_an_answer_comes_from_a_client_that_has_gone() {
        let said = findings(
            "pod = 10.244.0.2\ndns = 192.0.2.53\nrepeat 5 every 3\n\
             0.000 pod:40000 > dns rd A www.example.org.\n\
             0.002 pod:40000 < dns www.example.org. 60 A 203.0.113.7\n\
             0.003 pod:40000 > dns icmp host-unreachable\nend\n",
        );
        assert_eq!(said, "quiet\n");
    }

    #[test]
    fn two_errors_are_enough_wherever_the_capture_ends() {
        let text = rejected(2, "host-unreachable");
        assert!(
            findings(&text)
                .contains(" icmp-host-unreachable [backend 192.0.2.53, node 10.244.0.1]")
        );
        // The second query is out, and its error not yet here.
        assert!(!findings_until(&text, 3.001).contains("icmp-host-unreachable"));
    }

    /// The last router says it of a pod that is gone: a fact of that pod's incident.
    #[test]
    fn errors_about_a_vanished_backend_belong_to_its_incident() {
        let mut text = failover(20.0, Some(60.0), 100.0);
        for at in [24.0, 28.0, 32.0, 36.0] {
            let _ = writeln!(
                text,
                "{at:.4} near:500{at:.0} > kube-dns via dns1 id {at:.0} rd A a.example.\n\
                 {:.4} near:500{at:.0} < kube-dns via dns1 icmp host-unreachable",
                at + 3.0
            );
        }
        let said = findings(&text);
        assert!(said.contains(" stale-backend [backend 10.244.1.10]"), "{said}");
        assert!(!said.contains("icmp-host-unreachable ["), "{said}");
    }
}
