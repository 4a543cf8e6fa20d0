//! Session affinity keeps each client on one DNS backend.
//!
//! **Signature.** Of the clients with at least eight new flows, four in five use exactly one backend
//! of a service with several, and chance would do that with p < 1e-6 over all of them. With a
//! broken backend, failure is then all or nothing: pinned clients fail always, the others never,
//! where round robin would make everybody fail now and then.
//!
//! **Needs.** The query after translation; five such clients for the efficiency finding alone, one
//! that fails for the contributing cause.
//!
//! **Not this.** Clients with one long-lived socket (`stale-flow-pin`); a service with one backend;
//! topology-aware routing, which keeps whole nodes, not single clients, on a backend.
//!
//! **Cannot tell.** When the pin expires: `sessionAffinityConfig` says so, 10800 s by default.
//!
//! Source: rulebook 2.B; Kubernetes `ClientIPConfig.timeoutSeconds`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{Text, count, list, text};
use crate::base::{Network, Table, Timestamp, Transport};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, HarmKind,
    Layer, Proof, Scene, Where,
};

/// New flows of a client that are enough to see a habit (rulebook 2.B).
const ENOUGH_FLOWS: u64 = 8;
/// New flows nearer to each other than this are one burst of one lookup.
const APART: Duration = Duration::from_secs(2);
/// Share of those clients that must stick to one backend.
const STICKY: f64 = 0.8;
/// Pooled chance of that by random choice.
const CHANCE: f64 = 1e-6;
/// Clients for the finding where nothing fails (rulebook 7.6).
const ENOUGH_CLIENTS: usize = 5;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "affinity-pinned",
    title: "session affinity keeps clients on one backend",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.B", "Kubernetes API ClientIPConfig"],
    source: include_str!("affinity_pinned.rs"),
    new: || Box::new(AffinityPinned),
};

/// Judges the flows of the shared tally; keeps nothing of its own.
struct AffinityPinned;

#[derive(Default)]
struct Client {
    backends: BTreeMap<IpAddr, u64>,
    flows: u64,
    last: Option<Timestamp>,
    failed: u64,
}

impl Detector for AffinityPinned {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let services: Vec<IpAddr> = scene
            .nat
            .services()
            .filter(|(_, backends)| backends.len() > 1)
            .map(|(service, _)| service)
            .collect();
        services.into_iter().filter_map(|service| judge(service, scene)).collect()
    }
}

fn judge(service: IpAddr, scene: &Scene<'_>) -> Option<Finding> {
    let mut clients: Table<IpAddr, Client> = Table::default();
    let mut backends: BTreeSet<IpAddr> = BTreeSet::new();
    let mut frames = Vec::new();
    for flow in scene.reach.flows() {
        let cell = flow.cell();
        let translated = cell.server == service && cell.responder != service;
        if !translated || cell.transport != Transport::Udp || !flow.is_fresh() {
            continue;
        }
        backends.insert(cell.responder);
        let client = clients.entry(cell.client).or_default();
        if client.last.is_some_and(|last| flow.first.ts.since(last) < APART) {
            continue;
        }
        client.last = Some(flow.first.ts);
        client.flows += 1;
        client.failed += u64::from(flow.failed());
        *client.backends.entry(cell.responder).or_default() += 1;
        if frames.len() < 6 {
            frames.push(flow.first);
        }
    }
    let judged: Vec<(&IpAddr, &Client)> =
        clients.iter().filter(|(_, client)| client.flows >= ENOUGH_FLOWS).collect();
    let sticky: Vec<&(&IpAddr, &Client)> =
        judged.iter().filter(|(_, client)| client.backends.len() == 1).collect();
    // By random choice among n backends all flows of a client agree with n^(1-flows).
    let choices = backends.len() as f64;
    let chance: f64 =
        sticky.iter().map(|(_, client)| choices.powf(1.0 - client.flows as f64)).product();
    let share = sticky.len() as f64 / judged.len().max(1) as f64;
    if sticky.is_empty() || share < STICKY || chance >= CHANCE {
        return None;
    }
    let pinned_to_bad: Vec<IpAddr> = sticky
        .iter()
        .filter(|(_, client)| client.failed * 2 > client.flows)
        .map(|(address, _)| **address)
        .collect();
    if follows_nodes(&sticky, scene) || (sticky.len() < ENOUGH_CLIENTS && pinned_to_bad.is_empty())
    {
        return None;
    }
    let pins: Vec<Text> = sticky
        .iter()
        .map(|(address, client)| {
            text!("{address} on {backends}", address, backends = list(client.backends.keys(), 1))
        })
        .collect();
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "session affinity of {service} keeps each client on one backend{rest}",
            service,
            rest = if pinned_to_bad.is_empty() {
                Text::EMPTY
            } else {
                text!(
                    ", and {pinned_to_bad} on a broken one",
                    pinned_to_bad = list(&pinned_to_bad, 3)
                )
            }
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Service(service)],
        place: Where::ClientNode,
        span: scene.span,
        ongoing: true,
        transactions: 0,
        claim: Claim {
            // It delays nobody by itself; the bound that nothing fits keeps it from claiming.
            zones: Some(BTreeSet::new()),
            kinds: BTreeSet::from([HarmKind::Failed]),
            clients: Some(pinned_to_bad.iter().copied().collect()),
            ..Claim::default()
        },
        cause: text!(
            "The service translates each client to the backend that it had before \
             (sessionAffinity: ClientIP). Load follows single clients instead of queries, and a \
             broken backend takes all of its clients with it until the affinity expires, 10800 s \
             by default; with round robin every second query of {service} would succeed.",
            service
        ),
        facts: vec![
            Fact {
                label: text!("clients with one backend only"),
                value: text!(
                    "{sticky} of {judged} with enough flows",
                    sticky = sticky.len(),
                    judged = judged.len()
                ),
            },
            Fact {
                label: text!("chance of that"),
                value: text!("{chance}", chance = format_args!("{:.1e}", chance)),
            },
            Fact { label: text!("pins"), value: list(pins, 5) },
            Fact {
                label: text!("clients pinned to a broken backend"),
                value: count(pinned_to_bad.len() as u64, "client"),
            },
        ],
        evidence: frames
            .into_iter()
            .map(|seen| Proof { seen, summary: text!("new flow, the same backend as ever") })
            .collect(),
        actions: vec![
            Action {
                why: text!("see the affinity of the service"),
                command: "kubectl -n kube-system get svc kube-dns -o \
                          jsonpath='{.spec.sessionAffinity} {.spec.sessionAffinityConfig}'"
                    .to_owned(),
            },
            Action {
                why: text!("turn it off"),
                command: "kubectl -n kube-system patch svc kube-dns -p \
                          '{\"spec\":{\"sessionAffinity\":\"None\"}}'"
                    .to_owned(),
            },
        ],
        ruled_out: Vec::new(),
    })
}

/// Whether whole nodes, not single clients, keep to a backend: topology-aware routing, not affinity.
fn follows_nodes(sticky: &[&(&IpAddr, &Client)], scene: &Scene<'_>) -> bool {
    let mut used: BTreeMap<Network, BTreeSet<IpAddr>> = BTreeMap::new();
    for (address, client) in sticky {
        used.entry(scene.reach.group(**address)).or_default().extend(client.backends.keys());
    }
    used.values().all(|backends| backends.len() == 1)
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, analyse, findings, findings_until};

    /// Six clients on two backends: pinned, or in turn; the first backend dies if `dead`.
    fn clients(pinned: bool, dead: bool) -> String {
        findings(&clients_text(pinned, dead))
    }

    fn clients_text(pinned: bool, dead: bool) -> String {
        let mut hosts = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\n",
        );
        for client in 2..8 {
            hosts.push_str(&format!("c{client} = 10.244.0.{client}\n"));
        }
        let mut situation = Situation::new(&hosts);
        for round in 0..20_u16 {
            for client in 2..8_u16 {
                let turn = if pinned { client } else { client + round };
                let via = if turn % 2 == 0 { "dns1" } else { "dns2" };
                let fate =
                    if dead && via == "dns1" && round > 5 { Fate::Lost } else { Fate::Answered };
                let at = f64::from(round) * 3.0 + f64::from(client) * 0.01;
                situation.ask(at, &format!("c{client}"), "kube-dns", via, fate);
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn pinned_clients_are_noticed_and_harm_nobody() {
        let said = clients(true, false);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("info affinity-pinned [service 10.96.0.10] confirmed"), "{said}");
    }

    #[test]
    fn a_dead_backend_is_the_cause_and_affinity_contributes() {
        let said = clients(true, true);
        assert!(said.contains(" dead-backend [backend 10.244.1.10]"), "{said}");
        assert!(said.contains("info affinity-pinned"), "{said}");
    }

    #[test]
    fn clients_that_take_turns_are_not_pinned() {
        assert!(!clients(false, false).contains("affinity-pinned"));
    }

    /// Eight flows of each client are needed; the capture ends with the seventh.
    #[test]
    fn seven_flows_of_each_are_too_few() {
        assert_eq!(findings_until(&clients_text(true, false), 19.0), "quiet\n");
    }

    #[test]
    fn the_dead_backends_incident_says_that_affinity_made_it_worse() {
        let facts = |pinned: bool| {
            let analysis = analyse(&clients_text(pinned, true));
            let dead = analysis.incidents.iter().find(|one| one.cause.rule.id == "dead-backend");
            let facts = dead.expect("an incident").cause.facts.iter();
            facts
                .filter(|fact| fact.label == "made worse by")
                .map(|fact| fact.value.to_string())
                .collect()
        };
        let worse: Vec<String> = facts(true);
        assert!(
            worse
                .iter()
                .any(|fact| fact.starts_with("affinity-pinned: session affinity of 10.96.0.10")),
            "{worse:?}"
        );
        assert_eq!(facts(false), [""; 0]);
    }
}
