//! One replica gets far more new flows than its share.
//!
//! **Signature.** Of the new flows to a service, one backend gets more than one and a half times
//! its fair share (of two it can never get twice), far beyond chance (chi-square, p < 1e-6), for at
//! least 30 s and in every part of the capture, while the others are in service all the time.
//!
//! **Needs.** At least 200 new flows, and the backend behind each: a capture behind the translation
//! or with `-i any`.
//!
//! **Not this.** A backend that joined or left during the capture has its reasons to get less.
//! Sockets kept open for long count as one flow, so that uneven *queries* alone do not show here.
//!
//! **Cannot tell.** Whether topology-aware routing wants it so. Nothing fails by it; a hot replica
//! that is slow as well shows as `coredns-overload`.
//!
//! Source: rulebook 2.C, 8.24; Kubernetes Service `sessionAffinity`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, list, percent, text};
use crate::base::{Few, Rows, Span, Table, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Interest, Layer, Proof, RuledOut, Scene, Where, Which, odds,
};
use crate::transaction::Transaction;

/// Flows below which a share says little (rulebook 8.24).
const ENOUGH: u64 = 200;
/// More than this times the fair share is uneven (rulebook 2.C).
const TIMES_FAIR: f64 = 1.5;
/// Standard deviations that chance exceeds once in a million.
const MILLIONTH: f64 = 4.75;
/// A shorter unevenness is a burst of one client.
const SUSTAINED: Duration = Duration::from_secs(30);
/// Parts of the capture in each of which it must hold.
const PARTS: usize = 3;
/// At least this share of a client's flows goes to its favourite under session affinity.
const PINNED: f64 = 0.95;
/// Flows a client needs to show that it is pinned: chance does it with 2 in 512 at two backends.
const PINNED_FLOWS: u64 = 8;
/// Services of each backend that are tallied.
const MAX_SERVICES: usize = 64;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "coredns-imbalance",
    title: "one replica gets most of the load",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.C", "Kubernetes Service sessionAffinity"],
    source: include_str!("coredns_imbalance.rs"),
    new: || Box::<CorednsImbalance>::default(),
};

/// Queries of each backend by its service; flows come from the shared tally. Bounded by the addresses
/// that rules know by number.
#[derive(Default)]
struct CorednsImbalance {
    queries: Rows<Few<IpAddr, u64>>,
}

/// One backend of a service.
#[derive(Default)]
struct Backend {
    flows: u64,
    parts: [u64; PARTS],
    clients: Table<IpAddr, u64>,
    frames: Vec<Seen>,
}

impl Detector for CorednsImbalance {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        if transaction.attempts.is_empty() || transaction.backend().is_none() {
            return;
        }
        let (services, service) = (self.queries.row(glance.responder), transaction.server.ip());
        let sent = transaction.attempts.len() as u64;
        if let Some(queries) = services.get_mut(&service) {
            *queries += sent;
        } else if services.len() < MAX_SERVICES {
            services.or_insert_with(service, || sent);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let flows = scene.reach.flows();
        let known = |flow: &&crate::detect::Flow| flow.cell().responder != flow.cell().server;
        let mut spans: BTreeMap<IpAddr, Span> = BTreeMap::new();
        for flow in flows.iter().filter(known) {
            let at = flow.first.ts;
            spans
                .entry(flow.cell().server)
                .and_modify(|span| *span = span.with(at))
                .or_insert(Span::at(at));
        }
        let mut services: BTreeMap<IpAddr, BTreeMap<IpAddr, Backend>> = BTreeMap::new();
        for flow in flows.iter().filter(known) {
            let Some(span) = spans.get(&flow.cell().server) else { continue };
            let backends = services.entry(flow.cell().server).or_default();
            let backend = backends.entry(flow.cell().responder).or_default();
            let weight = u64::from(flow.weight());
            backend.flows += weight;
            backend.parts[part(*span, flow.first.ts)] += weight;
            *backend.clients.entry(flow.cell().client).or_default() += weight;
            if backend.frames.len() < 3 {
                backend.frames.push(flow.first);
            }
        }
        services
            .iter()
            .filter_map(|(service, backends)| {
                self.finding(*service, backends, *spans.get(service)?, scene)
            })
            .collect()
    }
}

fn part(span: Span, at: Timestamp) -> usize {
    let share = at.since(span.start).as_secs_f64() / span.length().as_secs_f64().max(1e-9);
    (0..PARTS).rev().find(|part| share * PARTS as f64 >= *part as f64).unwrap_or(0)
}

impl CorednsImbalance {
    /// Queries to a service that were translated to this backend.
    fn queries(&self, service: IpAddr, backend: IpAddr, scene: &Scene<'_>) -> u64 {
        let of = |backend| self.queries.get(backend)?.get(&service).copied();
        scene.addresses.get(backend).and_then(of).unwrap_or(0)
    }

    fn finding(
        &self,
        service: IpAddr,
        backends: &BTreeMap<IpAddr, Backend>,
        span: Span,
        scene: &Scene<'_>,
    ) -> Option<Finding> {
        let all: u64 = backends.values().map(|backend| backend.flows).sum();
        let fair = all as f64 / backends.len() as f64;
        let (hot, most) = backends.iter().max_by_key(|(_, backend)| backend.flows)?;
        // A pinned client that pauses leaves its backend idle; one whose backend left moves on.
        let pinned = is_pinned(backends);
        let always = backends.values().all(|backend| backend.parts.iter().all(|flows| *flows > 0));
        let everywhere = (0..PARTS).all(|part| {
            let sum: u64 = backends.values().map(|backend| backend.parts[part]).sum();
            most.parts[part] as f64 > TIMES_FAIR * sum as f64 / backends.len() as f64
        });
        let square = |backend: &Backend| (backend.flows as f64 - fair).powi(2) / fair;
        let z = odds::chi_square_z(backends.values().map(square).sum(), backends.len() as u64 - 1);
        if all < ENOUGH
            || backends.len() < 2
            || span.length() < SUSTAINED
            || !(everywhere && (always || pinned))
            || z < MILLIONTH
        {
            return None;
        }
        let shares = backends.iter().map(|(backend, tally)| {
            text!(
                "{backend} {flows} ({share})",
                backend,
                flows = tally.flows,
                share = percent(tally.flows, all)
            )
        });
        let queries = backends.keys().map(|backend| {
            text!("{backend} {queries}", backend, queries = self.queries(service, *backend, scene))
        });
        let coolest = backends.iter().min_by_key(|(_, backend)| backend.flows)?;
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{hot} got {share} of the new flows to service {service}, with {backends} backends \
                 to share them",
                hot,
                share = percent(most.flows, all),
                service,
                backends = backends.len()
            ),
            confidence: Confidence::Confirmed,
            culprits: vec![Culprit::Backend(*hot)],
            place: Where::Server,
            span,
            ongoing: scene.lasts(span),
            transactions: most.flows,
            claim: Claim {
                // It harms nobody by itself; the bound that nothing fits keeps it from claiming.
                kinds: BTreeSet::from([HarmKind::Negative]),
                zones: Some(BTreeSet::new()),
                ..Claim::default()
            },
            cause: text!(
                "New flows are uneven, not only queries: {rest}",
                rest = if pinned {
                    text!(
                        "every client stays with one backend (session affinity), and the busy \
                         clients are with this one."
                    )
                } else {
                    text!(
                        "the same clients go to all backends, but to this one far more often, so \
                         the translation itself is weighted: backends counted twice, a preferred \
                         zone or node, or stale rules."
                    )
                }
            ),
            facts: vec![
                Fact { label: text!("new flows by backend"), value: list(shares, 6) },
                Fact { label: text!("queries by backend"), value: list(queries, 6) },
                Fact {
                    label: text!("fair share"),
                    value: text!(
                        "{fair} flows; {times} times that",
                        fair = format_args!("{:.0}", fair),
                        times = format_args!("{:.2}", most.flows as f64 / fair)
                    ),
                },
                Fact {
                    label: text!("clients"),
                    value: text!(
                        "{clients} with {hot}, {others} with {coolest}",
                        clients = most.clients.len(),
                        hot,
                        others = coolest.1.clients.len(),
                        coolest = coolest.0
                    ),
                },
                Fact {
                    label: text!("from / to"),
                    value: text!(
                        "{start} / {end}",
                        start = clock(span.start),
                        end = clock(span.end)
                    ),
                },
            ],
            evidence: most
                .frames
                .iter()
                .map(|seen| (seen, hot))
                .chain(coolest.1.frames.iter().map(|seen| (seen, coolest.0)))
                .map(|(seen, backend)| Proof {
                    seen: *seen,
                    summary: text!("new flow that went to {backend}", backend),
                })
                .collect(),
            actions: actions(),
            ruled_out: vec![RuledOut {
                rule: "coredns-overload",
                because: text!("the finding is about shares; its latency is judged apart"),
            }],
        })
    }
}

/// Whether clients stay with one backend each.
fn is_pinned(backends: &BTreeMap<IpAddr, Backend>) -> bool {
    let mut clients: Table<IpAddr, (u64, u64)> = Table::default();
    for backend in backends.values() {
        for (client, flows) in backend.clients.unordered() {
            let tally = clients.entry(*client).or_default();
            *tally = (tally.0.max(*flows), tally.1 + flows);
        }
    }
    clients.retain(|_, (_, all)| *all >= PINNED_FLOWS);
    let faithful = |(most, all): &(u64, u64)| *most as f64 >= PINNED * *all as f64;
    // Under a weight of 19 to 1 clients look faithful too; under affinity some favour another.
    let favourites = backends
        .values()
        .filter(|backend| {
            backend
                .clients
                .unordered()
                .any(|(client, flows)| clients.get(client).is_some_and(|(most, _)| most == flows))
        })
        .count();
    let all_faithful = clients.unordered().all(|(_, tally)| faithful(tally));
    !clients.is_empty() && all_faithful && favourites > 1
}

fn actions() -> Vec<Action> {
    vec![
        Action {
            why: text!("see affinity, traffic policy and topology hints of the service"),
            command: "kubectl -n kube-system get service kube-dns -o yaml | grep -iE \
                      'affinity|policy|topology'; kubectl -n kube-system get endpointslices -l \
                      kubernetes.io/service-name=kube-dns -o yaml | grep -A3 hints"
                .to_owned(),
        },
        Action {
            why: text!("see where the replicas run, and what the node's rules weigh"),
            command:
                "kubectl -n kube-system get pod -l k8s-app=kube-dns -o wide; iptables-save -t \
                      nat | grep -i 'kube-dns.*statistic'"
                    .to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    /// `flows` new flows over 60 s; every `every`th goes to the second backend while `there`.
    fn flows(flows: u32, every: u32, there: fn(f64) -> bool) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        let name = "redis.default.svc.cluster.local.";
        for round in 0..flows {
            let at = f64::from(round) * 60.0 / f64::from(flows);
            let (port, back) = (30_000 + round, at + 0.001);
            let via = if round % every == 0 && there(at) { "dns2" } else { "dns1" };
            let _ = writeln!(text, "{at:.4} pod:{port} > kube-dns via {via} rd A {name}");
            let _ =
                writeln!(text, "{back:.4} pod:{port} < kube-dns via {via} {name} 5 A 10.96.0.20");
        }
        text
    }

    #[test]
    fn one_of_two_backends_gets_nine_of_ten_flows() {
        insta::assert_snapshot!(findings(&flows(300, 10, |_| true)), @"info coredns-imbalance [backend 10.244.1.10] confirmed 10:00:00.000-10:00:59.800 0/0");
    }

    #[test]
    fn two_of_three_flows_are_within_the_bound() {
        assert_eq!(findings(&flows(300, 3, |_| true)), "quiet\n");
    }

    #[test]
    fn a_backend_that_left_has_its_reasons() {
        assert_eq!(findings(&flows(300, 2, |at| at < 15.0)), "quiet\n");
    }

    #[test]
    fn few_flows_say_little() {
        assert_eq!(findings(&flows(190, 10, |_| true)), "quiet\n");
    }

    #[test]
    fn two_hundred_flows_are_enough_wherever_the_capture_ends() {
        let text = flows(300, 10, |_| true);
        assert!(findings_until(&text, 40.5).contains("coredns-imbalance"));
        assert_eq!(findings_until(&text, 39.0), "quiet\n");
    }
}
