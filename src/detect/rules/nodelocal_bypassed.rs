//! The node has a local DNS cache, and most pods do not use it.
//!
//! **Signature.** A link-local address (169.254/16, as NodeLocal DNSCache has) answers queries, yet
//! at least half of the pods' queries go to the service address and are translated to a DNS pod
//! with the client pod as their source.
//!
//! **Needs.** At least 200 such queries, and the query after translation (`-i any` on the node).
//!
//! **Not this.** In its iptables mode the cache takes over the service address: no translated query
//! shows then, and all is well.
//!
//! **Cannot tell.** Why: no injection of dnsConfig, kubelet's --cluster-dns unchanged, or musl,
//! which asks all its servers at once. Nothing fails by it.
//!
//! Source: rulebook 2.D; Kubernetes KEP 1024.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::words::{count, list, percent, text};
use crate::base::{Rows, Span, is_link_local};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Interest, Layer, Proof, Scene, Where, Which,
};
use crate::transaction::Transaction;

/// Transactions below which a share says little (rulebook 7.6).
const ENOUGH: u64 = 200;
/// Clients, caches and frames kept.
const MAX_ADDRESSES: usize = 1_024;
const FRAMES: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "nodelocal-bypassed",
    title: "pods do not use the node-local cache",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "Kubernetes KEP 1024"],
    source: include_str!("nodelocal_bypassed.rs"),
    new: || Box::<NodelocalBypassed>::default(),
};

/// Bounded by the caps above.
#[derive(Default)]
struct NodelocalBypassed {
    local: u64,
    past: u64,
    caches: BTreeSet<IpAddr>,
    services: BTreeSet<IpAddr>,
    clients: BTreeSet<IpAddr>,
    /// Whether each is among them.
    known: Rows<bool>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for NodelocalBypassed {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        let server = transaction.server.ip();
        if transaction.attempts.is_empty() {
            return;
        }
        if is_link_local(server) {
            if transaction.answer().is_some() {
                self.local += 1;
                if self.caches.len() < MAX_ADDRESSES {
                    self.caches.insert(server);
                }
            }
        } else if transaction.backend().is_some() && transaction.masquerade.is_none() {
            self.past += 1;
            let seen = glance.first;
            self.span = Some(self.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
            if self.clients.len() < MAX_ADDRESSES
                && !std::mem::replace(self.known.row(glance.client), true)
            {
                self.clients.insert(transaction.client.ip());
                self.services.insert(server);
                if self.frames.len() < FRAMES {
                    self.frames.push(seen);
                }
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Some(span) = self.span else { return Vec::new() };
        if self.caches.is_empty() || self.past < ENOUGH || self.past < self.local {
            return Vec::new();
        }
        let all = self.past + self.local;
        vec![Finding {
            rule: &DETECTOR,
            title: text!(
                "{share} of the queries go past the node-local cache {caches} to {services}",
                share = percent(self.past, all),
                caches = list(&self.caches, 2),
                services = list(&self.services, 2)
            ),
            confidence: Confidence::Confirmed,
            culprits: self.clients.iter().take(5).copied().map(Culprit::Client).collect(),
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: self.past,
            claim: Claim {
                // It harms nobody by itself; the bound that nothing fits keeps it from claiming.
                kinds: BTreeSet::from([HarmKind::Negative]),
                zones: Some(BTreeSet::new()),
                ..Claim::default()
            },
            cause: text!(
                "The cache answers some clients, while the others ask the service address and are \
                 translated to a DNS pod: their resolv.conf names the service."
            ),
            facts: vec![
                Fact {
                    label: text!("queries past the cache / to it"),
                    value: text!("{past} / {local}", past = self.past, local = self.local),
                },
                Fact {
                    label: text!("clients past it"),
                    value: text!(
                        "{clients}: {clients_2}",
                        clients = count(self.clients.len() as u64, "client"),
                        clients_2 = list(&self.clients, 5)
                    ),
                },
            ],
            evidence: self
                .frames
                .iter()
                .map(|seen| Proof { seen: *seen, summary: text!("query past the cache") })
                .collect(),
            actions: vec![Action {
                why: text!("see what the pods are told to ask"),
                command: "kubectl exec <pod> -- cat /etc/resolv.conf; grep -i clusterDNS -A2 \
                          /var/lib/kubelet/config.yaml"
                    .to_owned(),
            }],
            ruled_out: Vec::new(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    fn mix(past: u32, local: u32) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             cache = 169.254.20.10\npod = 10.244.0.2\n",
        );
        for (times, server, base) in [(past, "kube-dns via dns1", 30_000), (local, "cache", 20_000)]
        {
            for round in 0..times {
                let (at, port) = (f64::from(round) * 0.2, base + round);
                let _ = writeln!(
                    text,
                    "{at:.3} pod:{port} > {server} rd A a.example.com.\n\
                     {:.3} pod:{port} < {server} a.example.com. 5 A 192.0.2.1",
                    at + 0.001
                );
            }
        }
        text
    }

    #[test]
    fn most_queries_go_past_the_cache() {
        let said = findings(&mix(200, 100));
        assert!(said.contains("info nodelocal-bypassed [client 10.244.0.2]"), "{said}");
    }

    #[test]
    fn a_cache_that_is_used_and_a_cluster_without_one_are_fine() {
        assert_eq!(findings(&mix(200, 201)), "quiet\n");
        assert_eq!(findings(&mix(200, 0)), "quiet\n");
        assert_eq!(findings(&mix(199, 50)), "quiet\n");
    }

    #[test]
    fn a_capture_that_ends_before_there_are_enough_says_nothing() {
        assert_eq!(findings_until(&mix(200, 100), 30.0), "quiet\n");
    }

    /// In its iptables mode the cache answers in place of the service: nothing is translated.
    #[test]
    fn a_cache_that_takes_over_the_service_address_is_used() {
        let text = mix(250, 100).replace("service kube-dns", "kube-dns").replace(" via dns1", "");
        assert_eq!(findings(&text), "quiet\n");
    }

    #[test]
    fn two_hundred_queries_and_half_of_all_are_enough() {
        for (past, local, fires) in
            [(200, 199, true), (200, 200, true), (200, 201, false), (199, 10, false)]
        {
            let said = findings(&mix(past, local));
            assert_eq!(said.contains("nodelocal-bypassed"), fires, "{past} {local}: {said}");
        }
    }
}
