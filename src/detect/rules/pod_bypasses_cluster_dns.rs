//! A pod asks a resolver outside the cluster for names of the cluster.
//!
//! **Signature.** Names of the cluster zone go to a server that is no DNS service of the cluster
//! nor behind one, and has an address for none of them: it answers NXDOMAIN. Another server in the
//! capture does know names of that zone.
//!
//! **Needs.** Three lookups that failed for it, and the contrast of a server that knows the zone.
//!
//! **Not this.** A replica behind the service that lost its data (`coredns-unsynced`), a local
//! cache that answers cluster names, and what the DNS pods themselves ask their upstream. Clients that
//! ask the cluster's DNS at the same time are judged by `musl-parallel-conflict`.
//!
//! **Cannot tell.** Which setting of the pod it is: `dnsPolicy: Default`, `hostNetwork` without
//! `ClusterFirstWithHostNet`, or a resolv.conf of its own. The client may be a node and no pod.
//!
//! Source: rulebook 2.D; Kubernetes "Pod's DNS Policy".

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, list, text};
use crate::detect::{
    Action, Answer, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    HarmKind, Inquiry, Layer, Proof, RuledOut, Scene, Symptom, Tally, Told, Where,
};
use crate::dns::Name;

/// Lookups that must have failed (rulebook 7.6).
const ENOUGH: u64 = 3;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "pod-bypasses-cluster-dns",
    title: "cluster names are asked outside the cluster",
    class: Class::Negative,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "Kubernetes Pod's DNS Policy"],
    source: include_str!("pod_bypasses_cluster_dns.rs"),
    new: || Box::new(PodBypassesClusterDns),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct PodBypassesClusterDns;

/// What one server said of cluster names.
#[derive(Default)]
struct Server<'a> {
    knows: bool,
    /// What it denied.
    told: Vec<(&'a Name, &'a Told)>,
}

/// What a server denied that knows none of these names.
#[derive(Default)]
struct Denied<'a> {
    tally: Tally,
    /// In order.
    names: Vec<&'a Name>,
    clients: BTreeSet<IpAddr>,
}

impl Detector for PodBypassesClusterDns {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut servers: BTreeMap<IpAddr, Server<'_>> = BTreeMap::new();
        let inside = |inquiry: &&Inquiry| inquiry.place.depth().is_some();
        for Inquiry { name, asked, .. } in scene.answers.all().iter().filter(inside) {
            for ((address, answer), told) in asked.told.iter() {
                let server = servers.entry(*address).or_default();
                match answer {
                    Answer::Data(_) | Answer::NoData => server.knows = true,
                    Answer::NoName => server.told.push((name, told)),
                    Answer::Error(_) => {}
                }
            }
        }
        let knowing: Vec<IpAddr> = servers
            .iter()
            .filter(|(_, server)| server.knows)
            .map(|(address, _)| *address)
            .collect();
        servers
            .iter()
            .filter(|(address, server)| {
                !server.knows && !scene.nat.is_backend(**address) && !scene.is_service(**address)
            })
            .map(|(address, server)| (*address, Denied::by(*address, server, scene)))
            .filter_map(|(address, mut server)| {
                for other in &knowing {
                    scene.asked_at_once(address, *other).for_each(|client| {
                        server.clients.remove(&client);
                    });
                }
                finding(address, &server, &knowing, scene)
            })
            .collect()
    }
}

impl<'a> Denied<'a> {
    fn by(address: IpAddr, server: &Server<'a>, scene: &Scene<'_>) -> Self {
        let mut all = Self::default();
        for (name, told) in &server.told {
            all.tally.add(address, told);
            if all.names.last() != Some(name) {
                all.names.push(name);
            }
            all.clients.extend(scene.answers.clients(told));
        }
        all
    }
}

fn finding(
    address: IpAddr,
    server: &Denied<'_>,
    knowing: &[IpAddr],
    scene: &Scene<'_>,
) -> Option<Finding> {
    let span = server.tally.span?;
    let example = server.names.first()?;
    let cluster = knowing.first()?;
    let client = server.clients.first()?;
    let claim = Claim {
        // The question comes before its answer.
        span: Some(span.widened(Duration::from_secs(1))),
        clients: Some(server.clients.clone()),
        servers: Some(BTreeSet::from([address])),
        zones: Some(scene.answers.zones.zones()),
        symptoms: BTreeSet::from([Symptom::NxDomain]),
        kinds: BTreeSet::from([HarmKind::Negative, HarmKind::Slow]),
        ..Claim::default()
    };
    // Every candidate and both families are answers, but one lookup fails.
    let steps = scene.ledger.steps();
    let failed = scene.ledger.harmed().iter().filter(|harmed| claim.holds(harmed, steps));
    let lookups = (failed.count() as u64).min(server.tally.ended);
    if lookups < ENOUGH {
        return None;
    }
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{clients} asked {address} for names of the cluster, which it does not know: {lookups} \
             failed from {start} to {end}",
            clients = list(&server.clients, 2),
            address,
            lookups = count(lookups, "lookup"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Confirmed,
        culprits: server
            .clients
            .iter()
            .take(3)
            .map(|client| Culprit::Client(*client))
            .chain([Culprit::Upstream(address)])
            .collect(),
        place: Where::ClientNode,
        span,
        ongoing: scene.lasts(span),
        transactions: server.tally.times,
        claim,
        cause: text!(
            "{address} is not the cluster's DNS ({knowing} is), so it cannot know {example}. The \
             client's resolv.conf names it: dnsPolicy Default, hostNetwork without \
             ClusterFirstWithHostNet, or a dnsConfig of its own.",
            address,
            knowing = list(knowing, 2),
            example
        ),
        facts: vec![
            Fact { label: text!("names asked there"), value: list(&server.names, 4) },
            Fact { label: text!("clients"), value: list(&server.clients, 4) },
            Fact { label: text!("servers that know the cluster's names"), value: list(knowing, 4) },
        ],
        evidence: server
            .tally
            .frames
            .iter()
            .map(|seen| Proof {
                seen: *seen,
                summary: text!("{address} says NXDOMAIN for a cluster name", address),
            })
            .collect(),
        actions: vec![
            Action {
                why: text!("see the pod's DNS settings"),
                command: format!(
                    "kubectl get pods -A -o wide | grep -wF {client}; kubectl -n <namespace> get \
                     pod <pod> -o jsonpath='{{.spec.dnsPolicy}} {{.spec.hostNetwork}} \
                     {{.spec.dnsConfig}}'; kubectl -n <namespace> exec <pod> -- cat \
                     /etc/resolv.conf"
                ),
            },
            Action {
                why: text!("compare the two servers"),
                command: format!("dig @{address} {example}; dig @{cluster} {example}"),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: text!("{address} has an address for no name of the cluster at all", address),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// One pod asks the cluster's DNS once, another one asks elsewhere, `times`.
    fn scenario(times: usize, cluster: &str, elsewhere: &str) -> String {
        format!(
            "good = 10.0.0.5\nbad = 10.0.0.6\ndns = 10.96.0.10\nother = 192.0.2.53\n\
             0.000 good > dns rd A redis.shop.svc.cluster.local.\n0.001 good < dns aa {cluster}\n\
             repeat {times} every 1 from 1\n\
             0.000 bad:40000 > other rd A redis.shop.svc.cluster.local.\n\
             0.004 bad:40000 < other {elsewhere}\nend\n"
        )
    }
    const KNOWN: &str = "redis.shop.svc.cluster.local. 5 A 10.96.0.20";

    #[test]
    fn a_pod_asks_a_resolver_that_cannot_know() {
        insta::assert_snapshot!(findings(&scenario(3, KNOWN, "NXDOMAIN")), @"low pod-bypasses-cluster-dns [client 10.0.0.6, upstream 192.0.2.53] confirmed 10:00:01.004-10:00:03.004 3/3");
    }

    #[test]
    fn two_lookups_are_too_few() {
        insta::assert_snapshot!(findings(&scenario(2, KNOWN, "NXDOMAIN")), @"quiet");
    }

    #[test]
    fn without_a_server_that_knows_the_zone_it_is_a_missing_name() {
        let text = scenario(5, "NXDOMAIN", "NXDOMAIN");
        assert!(!findings(&text).contains("bypasses"));
    }

    #[test]
    fn a_local_cache_that_knows_the_zone_is_no_bypass() {
        insta::assert_snapshot!(findings(&scenario(5, KNOWN, KNOWN)), @"quiet");
    }

    #[test]
    fn answers_that_the_capture_missed_prove_nothing() {
        assert!(!findings(&scenario(5, KNOWN, "NXDOMAIN lost")).contains("bypasses"));
    }
}
