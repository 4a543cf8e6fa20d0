//! One client node reaches no server at all.
//!
//! **Signature.** All servers fail for one client network at the same time, UDP and TCP alike, while
//! other networks are answered. Or no query gets past the place where it enters its node, where answered
//! ones are seen translated, and so many are lost that it is no full connection table (one in 40 would get
//! through, p < 0.001; and no socket that the table knows does).
//!
//! **Needs.** Clients of two networks; with one network alone the whole service may be down instead,
//! and the report says so.
//!
//! **Not this.** TCP 53 to the same servers works: `udp53-blocked`. Other networks fail too:
//! `service-wide-outage`. One server alone fails: the rules about backends. Known sockets, or single new
//! ones, still get through where the queries enter the node: `conntrack-full`.
//!
//! **Cannot tell.** Whether the node's overlay, its service translation, its firewall or its network
//! card is at fault; the last place where the queries were seen narrows it down.
//!
//! Source: rulebook 2.B.

use crate::base::words::{Text, clock, count, duration, first, text};
use crate::detect::blackhole::{Blackhole, Words};
use crate::detect::{
    Class, Confidence, Culprit, Descriptor, Detector, Finding, Kind, Layer, Scene, Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "client-node-broken",
    title: "one node reaches no DNS server",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B"],
    source: include_str!("client_node_broken.rs"),
    new: || Box::new(ClientNodeBroken),
};

/// Judges the outages that localisation found; keeps nothing of its own.
struct ClientNodeBroken;

impl Detector for ClientNodeBroken {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        Blackhole::by_network(scene, Kind::Node).iter().map(finding).collect()
    }
}

fn finding(hole: &Blackhole<'_>) -> Finding {
    let (server, network) = (hole.server(), hole.network());
    let abroad = hole.outages.iter().map(|outage| outage.context.abroad_ok).max().unwrap_or(0);
    let mut ruled_out = vec![(
        "udp53-blocked",
        text!("no TCP connection to port 53 succeeded meanwhile, so it is not UDP alone"),
    )];
    let doubt = if abroad > 0 {
        let because =
            text!("{flows} of other networks were answered", flows = count(abroad, "flow"));
        ruled_out.push(("service-wide-outage", because));
        Text::EMPTY
    } else {
        text!(
            " The capture shows no clients elsewhere, so either this node or the whole DNS service \
             is broken: a capture on another node would tell."
        )
    };
    let stuck = hole.outages.iter().all(|outage| outage.stuck);
    let translation = if stuck {
        ruled_out.push((
            "conntrack-full",
            text!(
                "not one of {flows} found a place in the table, which lets single ones through even \
                 where it is full",
                flows = count(hole.failed, "flow")
            ),
        ));
        text!(
            " The queries were seen where they entered the node, untranslated, and nowhere behind \
             that: a filter or a program of its network (CNI) drops them all, or the service has no \
             endpoint left and the capture left out the ICMP errors that say so."
        )
    } else if hole.outages.iter().any(|outage| outage.untranslated) {
        text!(
            " The queries went on with the address of the service itself: it has no endpoint left, or \
             this node's rules for it are gone."
        )
    } else {
        Text::EMPTY
    };
    hole.finding(
        &DETECTOR,
        Words {
            title: text!(
                "no DNS server answers {network} from {start} on{others}",
                network,
                start = clock(hole.span.start),
                others =
                    if abroad > 0 { text!(", while other nodes are served") } else { Text::EMPTY }
            ),
            confidence: if abroad > 0 { Confidence::Likely } else { Confidence::Possible },
            culprits: hole.networks.iter().copied().map(Culprit::ClientSubnet).collect(),
            place: if stuck { Where::ClientNode } else { Where::Unknown },
            cause: text!(
                "Every query of {network} to {server} went unanswered for {lasted}. The node's \
                 overlay network, its service translation (kube-proxy), a firewall on it, or its \
                 network card is the likely cause.{translation}{doubt}",
                network,
                server,
                lasted = duration(hole.length()),
                translation,
                doubt
            ),
            actions: vec![
                (
                    text!("on that node, look at the translation of the DNS service"),
                    format!("iptables-save | grep {}; ipvsadm -Ln", first(&hole.services)),
                ),
                (
                    text!("and at its routes and devices"),
                    "ip route; ip -s link; ip neigh".to_owned(),
                ),
                (
                    text!("ask a server past the service address"),
                    format!("dig @{} kubernetes.default.svc.cluster.local", first(&hole.servers)),
                ),
            ],
            ruled_out,
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// Clients here and elsewhere ask two backends; from 10 s on this node's queries meet `here`,
    /// the other's `there`.
    fn nodes(here: Fate, there: Fate) -> String {
        findings(&nodes_text(here, there))
    }

    fn nodes_text(here: Fate, there: Fate) -> String {
        let mut situation = Situation::cluster();
        for round in 0..40 {
            let at = f64::from(round);
            for (index, via) in ["dns1", "dns2"].into_iter().enumerate() {
                let at = at + 0.2 * f64::from(u8::try_from(index).unwrap());
                let bad = round >= 10;
                situation.ask(at, "pod", "kube-dns", via, if bad { here } else { Fate::Answered });
                situation.ask(at, "far", "kube-dns", via, if bad { there } else { Fate::Answered });
            }
        }
        situation.text().to_owned()
    }

    #[test]
    fn one_node_reaches_nobody_while_another_is_served() {
        let said = nodes(Fate::Lost, Fate::Answered);
        assert!(
            said.contains(" client-node-broken [client-subnet 10.244.0.0/24] likely"),
            "{said}"
        );
    }

    #[test]
    fn two_nodes_that_reach_nobody_are_an_outage_of_the_service() {
        let said = nodes(Fate::Lost, Fate::Lost);
        assert!(!said.contains(" client-node-broken ["), "{said}");
        assert!(said.contains(" service-wide-outage [service 10.96.0.10]"), "{said}");
    }

    #[test]
    fn single_losses_are_no_outage() {
        assert!(!nodes(Fate::LostOnce, Fate::Answered).contains("client-node-broken"));
    }

    /// Three failures of each server, the last of them not waited for.
    #[test]
    fn a_capture_that_ends_with_the_first_failures_says_nothing() {
        let said = findings_until(&nodes_text(Fate::Lost, Fate::Answered), 11.0);
        assert_eq!(said, "quiet\n");
    }

    /// The service has no endpoint left: queries go on into the node as they are, and are rejected there
    /// where the capture does not show it.
    #[test]
    fn queries_that_nobody_translates_are_an_outage() {
        let untranslated = |place: &str| {
            let mut situation = Situation::cluster();
            for round in 0..60_u16 {
                let at = f64::from(round);
                if !(20..40).contains(&round) {
                    situation.ask(at, "pod", "kube-dns", "dns1", Fate::Answered);
                    situation.ask(at + 0.2, "near", "kube-dns", "dns2", Fate::Answered);
                    continue;
                }
                for (client, port) in [("pod", 50_000 + round), ("near", 51_000 + round)] {
                    let query =
                        format!("{client}:{port} > kube-dns rd A a.example.com. until {place}");
                    situation.line(at, &query);
                }
            }
            findings(situation.text())
        };
        let said = untranslated("bridge");
        assert!(said.contains(" client-node-broken [client-subnet 10.244.0.0/24]"), "{said}");
        let said = untranslated("veth");
        assert!(!said.contains(" client-node-broken ["), "{said}");
    }

    /// A filter on the node drops every query where it enters, for 20 s, of so many pods. Meanwhile `known`, a
    /// socket that goes on asking, is answered, or there is none.
    fn dropped_on_entry(pods: u16, known: bool) -> String {
        let mut situation = Situation::cluster();
        for round in 0..120_u16 {
            let at = f64::from(round) / 2.0;
            let away = (20.0..40.0).contains(&at);
            for pod in 0..pods {
                let at = at + f64::from(pod) / 100.0;
                let client = ["pod", "near"][usize::from(pod % 2)];
                let via = ["dns1", "dns2"][usize::from(round % 2)];
                let port = 30_000 + round * pods + pod;
                let lost = format!("{client}:{port} > kube-dns rd A a.example.com. until veth");
                if away {
                    situation.line(at, &lost);
                } else {
                    situation.ask(at, client, "kube-dns", via, Fate::Answered);
                }
            }
            if known && round % 4 == 0 {
                let (at, id) = (at + 0.3, 0x6000 + round);
                let ask = format!("pod:1111 > kube-dns via dns1 rd id {id:x} A b.example.com.");
                let answer = "b.example.com. 5 A 203.0.113.7";
                let back = format!("pod:1111 < kube-dns via dns1 id {id:x} {answer}");
                situation.line(at, &ask);
                situation.line(at + 0.001, &back);
            }
        }
        findings(situation.text())
    }

    #[test]
    fn what_is_dropped_on_entry_without_exception_is_no_full_table() {
        let said = dropped_on_entry(8, false);
        assert!(said.contains(" client-node-broken [client-subnet 10.244.0.0/24]"), "{said}");
        assert!(!said.contains(" conntrack-full ["), "{said}");
        assert!(!said.contains(" lossy-path ["), "{said}");
        for said in [dropped_on_entry(2, false), dropped_on_entry(8, true)] {
            assert!(!said.contains(" client-node-broken ["), "{said}");
        }
    }

    /// Some queries of two nodes are lost before they are translated, while a third is served: they show the
    /// service's own address, as all that are lost there do.
    #[test]
    fn queries_that_two_nodes_lose_untranslated_say_nothing_of_the_server() {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             a = 10.244.3.2\nb = 10.244.4.2\nc = 10.244.5.2\n",
        );
        for round in 0..60_u16 {
            let port = 40_000 + round;
            for client in ["a", "b", "c"] {
                let lost = client != "c" && round >= 16;
                if lost && round % 2 == 1 {
                    continue;
                }
                let ask = format!("{client}:{port} > kube-dns rd A a.example.com.");
                let way = if lost { "until bridge" } else { "via dns1" };
                text += &format!("{round} {ask} {way}\n");
                if !lost {
                    let answer = "a.example.com. 5 A 203.0.113.7";
                    text += &format!("{round}.001 {client}:{port} < kube-dns via dns1 {answer}\n");
                }
            }
        }
        let said = findings(&text);
        assert!(said.contains(" client-node-broken ["), "{said}");
        assert!(!said.contains("dead-") && !said.contains("service-wide"), "{said}");
    }

    /// `use-vc`: nothing is sent over UDP, so that a filter of TCP is an outage.
    #[test]
    fn clients_that_ask_over_tcp_alone_are_judged_by_it() {
        let mut situation =
            Situation::new("pod = 10.0.0.5\nnear = 10.0.0.6\ndns1 = 10.0.8.2\ndns2 = 10.0.9.2");
        for round in 0..60_u16 {
            for (client, part) in [("pod", 0.0), ("near", 0.3)] {
                let (at, port) = (f64::from(round) + part, 40_000 + round);
                let server = if round % 2 == 0 { "dns1" } else { "dns2" };
                situation.line(at, &format!("{client}:{port} > {server} tcp syn"));
                if round >= 20 {
                    situation.line(at + 1.0, &format!("{client}:{port} > {server} tcp syn"));
                    continue;
                }
                situation.line(at + 0.001, &format!("{client}:{port} < {server} tcp syn-ack"));
                situation.line(
                    at + 0.002,
                    &format!("{client}:{port} > {server} tcp rd A a.example.com."),
                );
                let answer = "a.example.com. 5 A 192.0.2.1";
                situation.line(at + 0.003, &format!("{client}:{port} < {server} tcp {answer}"));
                situation.line(at + 0.004, &format!("{client}:{port} > {server} tcp fin"));
            }
        }
        let said = findings(situation.text());
        assert!(said.contains(" client-node-broken [client-subnet 10.0.0.0/24]"), "{said}");
    }
}
