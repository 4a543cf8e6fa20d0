//! One client node cannot reach one server, or its answers do not come back.
//!
//! **Signature.** The server answers other client networks and other servers answer this one, but
//! between the two nothing passes, for as long as the capture lasts. Or: the server's answers reach
//! this node and end there, addressed to somebody else's link address (packet type OTHERHOST on the
//! overlay device, and never again): a stale ARP or FDB entry still names the MAC address that this
//! node's VXLAN device had before a reboot. Or, in a capture at the servers' side: their answers leave, and
//! at least two clients send all that they ask again from the same port with the same id, on their timers,
//! while the same servers' other clients send nothing again.
//!
//! **Needs.** Two client networks and two servers in the capture; or, for the second form, a capture
//! on the client's node with `-i any`; for the third, other clients that the servers answer.
//!
//! Without the second form, the network's failures against the rest of the server's column have to be
//! beyond chance (Fisher's test, p < 0.02 over the number of cells), or the finding is only possible.
//!
//! **Not this.** A server that answers nobody: `stale-backend`, `dead-backend`. A network that reaches
//! no server: `client-node-broken`. Packet type OTHERHOST on a veth is normal.
//!
//! **Cannot tell.** Without the OTHERHOST form: which hop loses the packets, and in which direction. In the
//! third form the direction is known; that the clients have a node in common is likely where half of a
//! network does so or more, beyond chance (some resolvers, as Go's, take a new port for every try and show
//! nothing), and only possible where they lie among others.
//!
//! Source: rulebook 2.B, K4; flannel-io/flannel issues 1036 and 1795.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::Network;
use crate::base::words::{count, list, text};
use crate::detect::blackhole::{Blackhole, Words};
use crate::detect::unheard::Unheard;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Flow, HarmKind,
    Kind, Layer, Proof, RuledOut, Scene, Where,
};

/// So many failures of one network must be rarer than this by chance if the server failed all alike,
/// divided by the cells that were looked at (rulebook 6.3).
const CHANCE: f64 = 0.02;
/// Clients and frames named one by one.
const NAMED: usize = 6;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "path-broken-pair",
    title: "one node cannot reach one server",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B, K4", "flannel-io/flannel #1036, #1795"],
    source: include_str!("path_broken_pair.rs"),
    new: || Box::new(PathBrokenPair),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct PathBrokenPair;

impl Detector for PathBrokenPair {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let pairs = Blackhole::by_network(scene, Kind::Pair);
        let unheard = Unheard::of(scene.reach);
        pairs.iter().map(finding).chain(unheard.iter().map(|all| deaf(all, scene))).collect()
    }
}

/// The finding of the third form.
fn deaf(all: &Unheard<'_>, scene: &Scene<'_>) -> Finding {
    let Unheard { clients, networks, servers, flows, span, others } = all;
    let server = list(servers, 3);
    let whole = !networks.is_empty();
    let whom = if whole { list(networks, 3) } else { list(clients, 4) };
    let mut culprits: Vec<Culprit> = Vec::new();
    for server in servers {
        let way = |network: &Network| Culprit::Path(server.to_string(), network.to_string());
        culprits.extend(networks.iter().map(way));
    }
    culprits.extend(networks.iter().copied().map(Culprit::ClientSubnet));
    if !whole {
        culprits.extend(clients.iter().take(NAMED).copied().map(Culprit::Client));
    }
    let asked_again = |flow: &&Flow| Proof {
        seen: flow.first,
        summary: text!(
            "{client} asks; it is answered at once, and asks again",
            client = flow.cell().client
        ),
    };
    Finding {
        rule: &DETECTOR,
        title: text!("answers of {server} do not come back to {network}", server, network = whom),
        confidence: if whole { Confidence::Likely } else { Confidence::Possible },
        culprits,
        place: Where::PathToClient,
        span: *span,
        ongoing: scene.lasts(*span),
        transactions: flows.len() as u64,
        claim: Claim {
            span: Some(span.widened(Duration::from_millis(1))),
            // Of the others on their node some show nothing.
            clients: (networks.len() != 1).then(|| clients.clone()),
            network: networks.first().copied().filter(|_| networks.len() == 1),
            servers: Some(servers.clone()),
            // Whatever they were told, they did not hear it.
            kinds: BTreeSet::from([HarmKind::Failed, HarmKind::Slow, HarmKind::Negative]),
            ..Claim::default()
        },
        cause: text!(
            "The answers of {server} leave for {network} in time, and {network} asks again for each \
             of them from the same port with the same id, as who hears nothing does, while others \
             are heard. So the answers are lost behind this capture point, on the way back or on the \
             clients' node. A missing route, a stale ARP or FDB entry in the overlay, or a filter \
             between the two hosts does that.",
            server,
            network = whom
        ),
        facts: vec![
            Fact {
                label: text!("answered, and asked again all the same"),
                value: count(flows.len() as u64, "flow"),
            },
            Fact {
                label: text!("of other clients, answered and heard"),
                value: count(*others, "flow"),
            },
            Fact { label: text!("clients"), value: list(clients, 5) },
        ],
        evidence: flows.iter().take(NAMED).map(asked_again).collect(),
        actions: vec![
            Action {
                why: text!(
                    "on the node of the server, see which link address it uses for the client's node"
                ),
                command: "ip neigh show dev flannel.1; bridge fdb show dev flannel.1".to_owned(),
            },
            Action {
                why: text!("record on the clients' node, where the answers have to arrive"),
                command: "tcpdump -i any -s 0 -C 20 -W 200 -w client_dns.pcap 'port 53 or icmp'"
                    .to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "dead-backend",
            because: text!("the answers of {server} are in the capture", server = list(servers, 3)),
        }],
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, network) = (hole.server(), hole.network());
    let stale_address = hole.sum(|outage| outage.other_host);
    let stale = stale_address > 0;
    let place = if stale { Where::PathToClient } else { hole.place() };
    let back = place == Where::PathToClient;
    let decided = matches!(place, Where::PathToServer | Where::PathToClient);
    // As many cells were looked at as there are networks and servers in its row and column.
    let isolated = hole.outages.iter().all(|outage| {
        let cells = outage.context.row.len() + outage.context.column.networks + 1;
        outage.chance_of_isolation() < CHANCE / cells as f64
    });
    let mut culprits: Vec<Culprit> = Vec::new();
    for outage in &hole.outages {
        let (near, far) = (outage.network.to_string(), outage.server.to_string());
        culprits.push(if back { Culprit::Path(far, near) } else { Culprit::Path(near, far) });
    }
    culprits.extend(hole.networks.iter().copied().map(Culprit::ClientSubnet));
    let cause = if stale {
        text!(
            "{answers} from {server} came back to the node of {network} and ended there: they were \
             addressed to another link address than its own, so the kernel dropped them. The nodes \
             of {server} still use the old link address of this node's overlay device, as after a \
             reboot or a restart of its network agent.",
            answers = count(stale_address, "answer"),
            server,
            network
        )
    } else if decided {
        let lost = if back {
            text!("What {server} answers does not come back to {network}.", server, network)
        } else {
            text!("What {network} asks does not arrive at {server}.", network, server)
        };
        text!(
            "{lost} A missing route, a stale ARP or FDB entry in the overlay, or a filter between \
             the two hosts does that.",
            lost
        )
    } else {
        text!(
            "Nothing passes between {network} and {server}, while {server} answers other networks \
             and other servers answer {network}. A missing route, a stale ARP or FDB entry in the \
             overlay, or a filter between the two hosts does that.",
            network,
            server
        )
    };
    let named: Vec<_> = hole.networks.iter().filter_map(|network| network.node()).collect();
    let node = if let [node] = named.as_slice() { node.name() } else { "<client node>" };
    hole.finding(
        &DETECTOR,
        Words {
            title: if stale {
                text!(
                    "answers of {server} reach the node of {network} and are dropped there",
                    server,
                    network
                )
            } else if back {
                text!("answers of {server} do not come back to {network}", server, network)
            } else if decided {
                text!("queries of {network} do not arrive at {server}", network, server)
            } else {
                text!("nothing passes between {network} and {server}", network, server)
            },
            confidence: match (stale || decided, isolated) {
                (true, _) => Confidence::Confirmed,
                (false, true) => Confidence::Likely,
                (false, false) => Confidence::Possible,
            },
            culprits,
            place,
            cause,
            actions: vec![
            (
                text!(
                    "on the node of the server, see which link address it uses for the client's \
                     node"
                ),
                "ip neigh show dev flannel.1; bridge fdb show dev flannel.1".to_owned(),
            ),
            (
                text!("compare with the client's node"),
                format!(
                    "ip -d link show flannel.1; kubectl get node {node} -o yaml | grep -i vtepmac"
                ),
            ),
            (
                text!("make it announce itself anew"),
                format!(
                    "kubectl -n kube-flannel delete pod --field-selector spec.nodeName={node}"
                ),
            ),
        ],
            ruled_out: vec![
                if back {
                    ("dead-backend", text!("the answers of {server} are in the capture", server))
                } else if decided {
                    ("dead-backend", text!("the queries were lost before they came there"))
                } else {
                    (
                        "dead-backend",
                        text!(
                            "{flows} from other networks were answered by it",
                            flows = count(hole.sum(|o| o.context.others_ok), "flow")
                        ),
                    )
                },
                (
                    "client-node-broken",
                    text!(
                        "{flows} of the same network were answered by {others}",
                        flows = count(hole.answered_elsewhere(), "flow"),
                        others = list(&hole.others, 3)
                    ),
                ),
            ],
        },
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// Clients here and elsewhere ask three backends; `fate` is what this node's queries to the
    /// first meet, `other` what the other node's meet.
    fn pair(fate: Fate, other: Fate) -> String {
        findings(&pair_text(fate, other))
    }

    fn pair_text(fate: Fate, other: Fate) -> String {
        let mut situation = Situation::cluster();
        for round in 0..40 {
            let at = f64::from(round);
            for (index, via) in ["dns1", "dns2", "dns3"].into_iter().enumerate() {
                let bad = index == 0 && round >= 10;
                let at = at + 0.2 * f64::from(u8::try_from(index).unwrap());
                situation.ask(at, "pod", "kube-dns", via, if bad { fate } else { Fate::Answered });
                situation.ask(at, "far", "kube-dns", via, if bad { other } else { Fate::Answered });
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn one_node_cannot_reach_a_server_that_answers_another_node() {
        let said = pair(Fate::Lost, Fate::Answered);
        assert!(said.contains(" path-broken-pair [path 10.244.0.0/24 -> 10.244.1.10"), "{said}");
    }

    #[test]
    fn answers_for_another_link_address_need_no_second_node() {
        let said = pair(Fate::OtherHost, Fate::OtherHost);
        assert!(said.contains(" path-broken-pair [path 10.244.1.10 -> 10.244.0.0/24"), "{said}");
        assert!(said.contains("confirmed"), "{said}");
    }

    #[test]
    fn an_ethernet_capture_of_the_overlay_shows_it_by_the_addresses() {
        let text = pair_text(Fate::OtherHost, Fate::OtherHost);
        let text = text.replace("capture node sll2", "capture node en10mb only overlay");
        let said = findings(&text);
        assert!(said.contains(" path-broken-pair [path 10.244.1.10 -> 10.244.0.0/24"), "{said}");
        assert!(said.contains("confirmed"), "{said}");
    }

    /// Two routers may share the way: nobody asks again, so nothing is lost.
    #[test]
    fn answers_by_another_router_than_the_queries_are_answers() {
        let text = pair_text(Fate::Answered, Fate::Answered);
        let text = text.replace("capture node sll2", "capture node en10mb only overlay");
        let by_another = |line: &str| {
            let answer = line.contains(" < ") && line.contains("via dns1");
            format!("{line}{}\n", if answer { " otherhost" } else { "" })
        };
        let text: String = text.lines().map(by_another).collect();
        assert_eq!(findings(&text), "quiet\n");
    }

    #[test]
    fn a_server_that_is_silent_for_both_is_not_a_path() {
        assert!(!pair(Fate::Lost, Fate::Lost).contains("path-broken-pair"));
    }

    /// At the servers' side, with what `other` clients of another node do.
    fn unheard(pods: usize, other: bool) -> String {
        let mut text = String::from("capture backend-node sll2 dns1\ndns1 = 10.244.1.10\n");
        let pods = (0..pods).map(|pod| format!("10.244.0.{}", pod + 2));
        let pods: Vec<String> = pods.collect();
        for round in 0..8_u16 {
            let at = f64::from(round) * 6.0;
            let far = (2..8).map(|pod| format!("10.244.3.{pod}"));
            let far: Vec<String> = far.collect();
            for (index, client) in pods.iter().chain(&far).enumerate() {
                let deaf = pods.contains(client) || other;
                let (id, port) = (0x1000 + round, 30_000 + round);
                let at = at + 0.1 * f64::from(u8::try_from(index).unwrap());
                for at in [at, at + 5.001].into_iter().take(if deaf { 2 } else { 1 }) {
                    let _ = writeln!(
                        text,
                        "{at:.3} {client}:{port} > dns1 rd id {id:x} A a.example.com.\n\
                         {:.3} {client}:{port} < dns1 id {id:x} a.example.com. 5 A 192.0.2.1",
                        at + 0.001
                    );
                }
            }
        }
        findings(&text)
    }

    #[test]
    fn clients_of_one_node_that_ask_all_again_do_not_hear_its_answers() {
        let said = unheard(3, false);
        assert!(said.contains(" path-broken-pair [path 10.244.1.10 -> 10.244.0.0/24"), "{said}");
        assert!(said.contains("likely"), "{said}");
    }

    #[test]
    fn one_client_alone_or_everybody_asks_again_for_another_reason() {
        for said in [unheard(1, false), unheard(3, true)] {
            assert!(!said.contains("path-broken-pair"), "{said}");
        }
    }

    #[test]
    fn a_healthy_pair_is_quiet() {
        assert_eq!(pair(Fate::Answered, Fate::Answered), "quiet\n");
    }

    #[test]
    fn a_capture_that_ends_with_the_first_failures_says_nothing() {
        assert_eq!(findings_until(&pair_text(Fate::Lost, Fate::Answered), 11.0), "quiet\n");
    }

    /// That is chance once in three thousand times, if the server failed both nodes alike.
    #[test]
    fn five_failures_against_ten_answers_are_enough() {
        let said = findings_until(&pair_text(Fate::Lost, Fate::Answered), 24.0);
        assert!(said.contains("client-subnet 10.244.0.0/24] likely"), "{said}");
    }
}
