//! Datagrams are lost at random between clients and servers.
//!
//! **Signature.** Of the query datagrams of a client network more go unanswered than ordinary loss
//! explains (one in a hundred; binomial test, p < 0.001), at least five over at least twenty flows,
//! repeats from the same port get through as often as independent loss lets them, and no server,
//! port, name, type or size accounts for them: every rule that knows such a structure claims its
//! lookups first.
//!
//! **Needs.** Repeated queries: loss in the capture alone makes nobody ask again.
//!
//! **Not this.** A server that is silent for a while is an outage, and its flows are left out here, as
//! are those of a client that no server answers (`client-egress-blocked`).
//! The second of two parallel queries lost each time is `conntrack-race-aaaa`; delay that grows
//! with the load before answers are lost is `coredns-overload`; large answers lost is
//! `mtu-fragment`. One flow in two, three or four that fails is a silent backend as well as loss,
//! where the capture shows the service's address alone and clients take a new port for every try
//! (Go, BIND's tools): the rule says nothing then.
//!
//! **Cannot tell.** Which direction loses them, and where: a second capture point on the DNS pods'
//! node would. Only of queries that keep the service's own address is it known that the clients' node
//! lost them, before it translated them; many of those in a burst are `conntrack-full`.
//!
//! Source: rulebook 2.B; section 6.2 for the test.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{Text, count, first, list, percent, plain, text};
use crate::base::{Network, Span, Table, Transport};
use crate::capture::Seen;
use crate::detect::load::{Course, Slow};
use crate::detect::odds::beyond_ordinary_loss;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Flow, Layer,
    Proof, Reached, RuledOut, Scene, Symptom, Where, odds,
};

/// Lost datagrams (rulebook 7.6).
const ENOUGH_LOST: u64 = 5;
/// Share of the repeats that independent loss would let through which must get through: half of
/// it, since queries that are hurt by something else besides are among them.
const RECOVERY: f64 = 0.5;
/// Share of the flows that fail where one backend of four is silent; services with more are rare.
const ONE_OF_FEW: f64 = 0.25;
/// What chance may explain of servers that lose nothing beside others that do.
const SPARED: f64 = 0.001;
/// Flows.
const ENOUGH_FLOWS: u64 = 20;
/// With so much between them, losses belong to different times.
const CALM: Duration = Duration::from_secs(30);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "lossy-path",
    title: "datagrams are lost at random",
    class: Class::Failure,
    layer: Layer::Residual,
    references: &["rulebook 2.B, 6.2"],
    source: include_str!("lossy_path.rs"),
    new: || Box::new(LossyPath),
};

/// Judges the flows of the shared tally; keeps nothing of its own.
struct LossyPath;

#[derive(Default)]
struct Row {
    flows: u64,
    sent: u64,
    lost: u64,
    dead_flows: u64,
    repeated: u64,
    recovered: u64,
    /// Whether the capture shows for some flow which backend it went to.
    sees_backends: bool,
    servers: BTreeMap<IpAddr, (u64, u64)>,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Row {
    fn add(&mut self, flow: &Flow, scene: &Scene<'_>) {
        let weight = u64::from(flow.weight());
        let lost = u64::from(flow.unanswered());
        self.flows += weight;
        self.sent += u64::from(flow.attempts()) * weight;
        self.lost += lost;
        self.dead_flows += u64::from(flow.failed());
        self.repeated += u64::from(flow.repeated().0);
        self.recovered += u64::from(flow.repeated().1);
        let (server, responder) = (flow.cell().server, flow.cell().responder);
        self.sees_backends |= server != responder || scene.nat.is_service(server);
        let server = self.servers.entry(flow.cell().responder).or_default();
        server.0 += u64::from(flow.attempts()) * weight;
        server.1 += lost;
        if lost > 0 {
            self.clients.insert(flow.cell().client);
            let own = Span::between(flow.first.ts, flow.last_sent());
            self.span = Some(self.span.map_or(own, |span| span.join(own)));
            if self.frames.len() < 6 {
                self.frames.push(flow.first);
            }
        }
    }

    /// Whether repeats from the same port get through as independent loss lets them. A port that
    /// is pinned to a silent backend loses all of them (rulebook 6.5). Where there are few, most flows
    /// must get through.
    fn gets_through(&self) -> bool {
        let independent = 1.0 - self.lost as f64 / self.sent.max(1) as f64;
        let recover = self.recovered as f64 >= RECOVERY * independent * self.repeated as f64;
        if self.repeated < ENOUGH_FLOWS || self.recovered < ENOUGH_LOST {
            let few = self.repeated < ENOUGH_LOST;
            return (few || recover) && self.dead_flows * 2 < self.flows;
        }
        recover
    }

    /// Whether a silent backend explains it as well: the flows that fail are as many as go to one
    /// backend of a few while it lasts, and neither translation nor repeats from one port tell.
    fn may_be_a_backend(&self, network: Network, scene: &Scene<'_>) -> bool {
        let Some(span) = self.span.filter(|_| !self.sees_backends && self.repeated < ENOUGH_LOST)
        else {
            return false;
        };
        let (mut flows, mut dead) = (0, 0);
        for flow in scene.reach.flows_of(network) {
            if flow.cell().transport == Transport::Udp && span.contains(flow.first.ts) {
                flows += u64::from(flow.weight());
                dead += u64::from(flow.failed());
            }
        }
        dead as f64 >= ONE_OF_FEW * flows as f64
    }

    /// The lossy ones of the times at which this network lost anything: a minute of loss is none over
    /// hours.
    fn bursts(&self, network: Network, others: &Others<'_>) -> Vec<Self> {
        if self.lost < ENOUGH_LOST {
            return Vec::new();
        }
        let flows = || others.scene.reach.flows_of(network).filter(|flow| !others.explain(flow));
        let mut bursts: Vec<(Span, u64)> = Vec::new();
        for flow in flows().filter(|flow| flow.unanswered() > 0) {
            let own = Span::between(flow.first.ts, flow.last_sent());
            let lost = u64::from(flow.unanswered());
            match bursts.last_mut() {
                Some((span, sum)) if own.start.since(span.end) <= CALM => {
                    (*span, *sum) = (span.join(own), *sum + lost);
                }
                _ => bursts.push((own, lost)),
            }
        }
        let tests = bursts.len() as u64;
        bursts.retain(|(_, lost)| *lost >= ENOUGH_LOST);
        let mut rows: Vec<Self> = bursts.iter().map(|_| Self::default()).collect();
        for flow in flows() {
            let at = bursts.partition_point(|(span, _)| span.end < flow.first.ts);
            let within = bursts.get(at).is_some_and(|(span, _)| span.contains(flow.first.ts));
            if let Some(row) = rows.get_mut(at).filter(|_| within) {
                row.add(flow, others.scene);
            }
        }
        rows.retain(|row| row.is_lossy(tests));
        rows
    }

    /// Whether the loss is beyond what is ordinary in one of so many times, and yet flows get through.
    fn is_lossy(&self, times: u64) -> bool {
        self.flows >= ENOUGH_FLOWS
            && self.lost >= ENOUGH_LOST
            && self.gets_through()
            && beyond_ordinary_loss(self.lost, self.sent, times)
    }
}

impl Detector for LossyPath {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let others = Others::of(scene);
        let mut rows: Table<Network, Row> = Table::default();
        for flow in scene.reach.flows().iter().filter(|flow| !others.explain(flow)) {
            rows.entry(scene.reach.group(flow.cell().client)).or_default().add(flow, scene);
        }
        let mut found = Vec::new();
        for (network, row) in rows {
            let rows = if row.is_lossy(1) { vec![row] } else { row.bursts(network, &others) };
            let is_loss = |row: &&Row| !row.may_be_a_backend(network, scene);
            found
                .extend(rows.iter().filter(is_loss).filter_map(|row| finding(network, row, scene)));
        }
        found
    }
}

/// What explains flows that fail, or cannot be judged.
struct Others<'a> {
    scene: &'a Scene<'a>,
    /// Servers at which queries queued, and when.
    queues: Vec<(IpAddr, Span)>,
}

impl<'a> Others<'a> {
    fn of(scene: &'a Scene<'a>) -> Self {
        let courses = scene.load.courses();
        let slow = courses.iter().flat_map(Course::slow).filter(Slow::is_queue);
        let queues = slow.map(|slow| (slow.server, slow.span)).collect();
        Self { scene, queues }
    }

    fn explain(&self, flow: &Flow) -> bool {
        let covers = |(server, span): (IpAddr, Span)| {
            server == flow.cell().responder && span.contains(flow.first.ts)
        };
        flow.cell().transport != Transport::Udp
            || matches!(flow.reached(), Reached::Unknown | Reached::Rejected)
            || flow.lost().is_some()
            || self.scene.outages.iter().any(|outage| covers((outage.server, outage.span)))
            || self.queues.iter().copied().any(covers)
            || self.scene.cut_off.cover(flow)
    }
}

/// Servers of a row, with what was sent to them and what was lost of it.
#[derive(Default)]
struct Part {
    servers: BTreeSet<IpAddr>,
    sent: u64,
    lost: u64,
}

impl Part {
    fn of<'a>(servers: impl Iterator<Item = (&'a IpAddr, &'a (u64, u64))>) -> Self {
        servers.fold(Self::default(), |mut part, (server, (sent, lost))| {
            part.servers.insert(*server);
            (part.sent, part.lost) = (part.sent + sent, part.lost + lost);
            part
        })
    }
}

impl Row {
    /// The servers that lose datagrams, and the rest: those are spared beyond chance, or none.
    fn parts(&self) -> (Part, Part) {
        let tests = self.servers.len() as u64;
        let loses =
            |(_, (sent, lost)): &(&IpAddr, &(u64, u64))| beyond_ordinary_loss(*lost, *sent, tests);
        let some = Part::of(self.servers.iter().filter(loses));
        let rest = Part::of(self.servers.iter().filter(|server| !loses(server)));
        let all = (some.lost + rest.lost, some.sent + rest.sent);
        let apart = some.lost > 0
            && rest.sent >= ENOUGH_FLOWS
            && odds::fisher(some.lost, some.sent, all.0, all.1) < SPARED;
        if apart { (some, rest) } else { (Part::of(self.servers.iter()), Part::default()) }
    }
}

fn finding(network: Network, row: &Row, scene: &Scene<'_>) -> Option<Finding> {
    let span = row.span?;
    let (lossy, spared) = row.parts();
    let mut servers: Vec<(&IpAddr, &(u64, u64))> =
        row.servers.iter().filter(|(_, (sent, _))| *sent > 0).collect();
    servers.sort_by_key(|(_, (_, lost))| Reverse(*lost));
    let servers = servers
        .into_iter()
        .map(|(server, (sent, lost))| text!("{server} {lost} of {sent}", server, lost, sent));
    let servers: Vec<Text> = servers.collect();
    let words = Words::of_entry(network, row, &lossy, scene)
        .unwrap_or_else(|| Words::of_way(network, &lossy, &spared));
    let mut ruled_out = vec![RuledOut {
        rule: "cap-loss",
        because: text!(
            "clients waited and asked again for {datagrams}: had only the capture lost them, \
             nobody would have",
            datagrams = count(row.lost, "datagram")
        ),
    }];
    if row.recovered > 0 {
        ruled_out.push(RuledOut {
            rule: "dead-backend",
            because: text!(
                "{recovered} of {repeated} repeats from the same port were answered, which a \
                 silent backend never does",
                recovered = row.recovered,
                repeated = row.repeated
            ),
        });
    }
    Some(Finding {
        rule: &DETECTOR,
        title: words.title,
        confidence: Confidence::Likely,
        culprits: words.culprits,
        place: words.place,
        span,
        ongoing: scene.lasts(span),
        transactions: row.lost,
        claim: Claim {
            clients: Some(row.clients.clone()),
            symptoms: BTreeSet::from([Symptom::Unanswered]),
            // Another time of loss is another incident.
            span: Some(span.widened(Duration::from_millis(1))),
            ..Claim::default()
        },
        cause: text!(
            "{lost} of {sent} query datagrams went unanswered, {lost_where}",
            lost = lossy.lost,
            sent = lossy.sent,
            lost_where = words.lost_where
        ),
        facts: vec![
            Fact {
                label: text!("lost"),
                value: text!(
                    "{lost} of {sent} ({share})",
                    lost = lossy.lost,
                    sent = lossy.sent,
                    share = percent(lossy.lost, lossy.sent)
                ),
            },
            Fact { label: text!("by server"), value: list(servers, 4) },
            Fact { label: text!("clients"), value: list(&row.clients, 5) },
            Fact { label: text!("flows that failed altogether"), value: plain(row.dead_flows) },
        ],
        evidence: row
            .frames
            .iter()
            .map(|seen| Proof { seen: *seen, summary: text!("query that had to be repeated") })
            .collect(),
        actions: vec![
            Action {
                why: text!("count drops on the node"),
                command:
                    "nstat -az | grep -iE 'udp.*err|drop'; ip -s link; ethtool -S eth0 | grep \
                          -i drop"
                        .to_owned(),
            },
            words.look,
        ],
        ruled_out,
    })
}

/// What is said of where the datagrams were lost.
struct Words {
    title: Text,
    culprits: Vec<Culprit>,
    place: Where,
    lost_where: Text,
    look: Action,
}

impl Words {
    /// They kept the service's own address, nine of ten: the clients' node lost them before it chose a
    /// server, so that none of those has to do with it.
    fn of_entry(network: Network, row: &Row, lossy: &Part, scene: &Scene<'_>) -> Option<Self> {
        let kept = row.servers.iter().filter(|(server, _)| scene.nat.is_service(**server));
        let (service, (_, lost)) = kept.max_by_key(|(_, (_, lost))| *lost)?;
        if lost * 10 < lossy.lost * 9 {
            return None;
        }
        Some(Self {
            title: text!(
                "{queries} of {network} to {service} vanished on their own node, before they were \
                 translated",
                queries = count(*lost, "query"),
                network,
                service
            ),
            culprits: vec![Culprit::ClientSubnet(network)],
            place: Where::ClientNode,
            lost_where: text!(
                "and {lost} of them were seen with the service's own address alone: the clients' \
                 node dropped them where they entered it, whichever server was meant. A full \
                 connection table or a rule of the packet filter does that.",
                lost
            ),
            look: Action {
                why: text!("is the node's connection table full?"),
                command: "conntrack -S; sysctl net.netfilter.nf_conntrack_count \
                          net.netfilter.nf_conntrack_max; dmesg -T | grep -i 'table full'"
                    .to_owned(),
            },
        })
    }

    fn of_way(network: Network, lossy: &Part, spared: &Part) -> Self {
        let names = list(&lossy.servers, 3);
        let path = Culprit::Path(network.to_string(), names.to_string());
        let (culprits, lost_where) = if spared.servers.is_empty() {
            let lost = text!(
                "whichever server, name or type they asked for, and repeats get through: \
                 datagrams or their answers are lost on the way. Congestion, a faulty link, or \
                 drops on a host's network card do that."
            );
            (vec![path, Culprit::ClientSubnet(network)], lost)
        } else {
            let lost = text!(
                "and repeats get through, while {others} lost {lost} of {sent}: the same clients \
                 reach those well, so datagrams or their answers are lost at {names}, or on the \
                 stretch of the way that leads there alone.",
                others = list(&spared.servers, 3),
                lost = spared.lost,
                sent = spared.sent,
                names
            );
            let backends = lossy.servers.iter().take(3).copied().map(Culprit::Backend);
            ([path].into_iter().chain(backends).collect(), lost)
        };
        Self {
            title: text!(
                "{share} of the query datagrams of {network} to {names} get no answer, at random",
                share = percent(lossy.lost, lossy.sent),
                network,
                names
            ),
            culprits,
            place: Where::Unknown,
            lost_where,
            look: Action {
                why: text!("measure the path"),
                command: format!("mtr -u -P 53 -rwc 100 {}", first(&lossy.servers)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// One query in `every` is lost and answered when it is repeated.
    fn loss(every: u16, queries: u16) -> String {
        findings(&loss_text(every, queries))
    }

    fn loss_text(every: u16, queries: u16) -> String {
        let mut situation = Situation::cluster();
        for round in 0..queries {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let lost = (u32::from(round) * 7_919) % u32::from(every) == 0;
            let fate = if lost { Fate::LostOnce } else { Fate::Answered };
            situation.ask(f64::from(round) * 0.7, "pod", "kube-dns", via, fate);
        }
        situation.text().to_owned()
    }

    #[test]
    fn one_in_ten_is_lost() {
        assert!(loss(10, 400).contains(" lossy-path ["), "{}", loss(10, 400));
    }

    /// Queries all the time, of which one in `every` is lost in one stretch alone.
    fn loss_for_a_while(every: u16, queries: u16) -> String {
        let mut situation = Situation::cluster();
        for round in 0..queries {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let lost = (1_000..1_100).contains(&round)
                && (u32::from(round) * 7_919) % u32::from(every) == 0;
            let fate = if lost { Fate::LostOnce } else { Fate::Answered };
            situation.ask(f64::from(round) * 0.7, "pod", "kube-dns", via, fate);
        }
        findings(situation.text())
    }

    #[test]
    fn a_minute_of_loss_in_an_hour_is_found_where_it_was() {
        let said = loss_for_a_while(6, 5_000);
        assert!(said.contains(" lossy-path [") && said.contains("10:11:4"), "{said}");
        assert!(!loss_for_a_while(40, 5_000).contains("lossy-path"));
    }

    #[test]
    fn one_in_two_hundred_is_ordinary() {
        assert!(!loss(200, 2_000).contains("lossy-path"));
    }

    /// A Go client behind its service's address asks from a new port every time. While it lasts, one
    /// query in `every` goes unanswered, and its next try is answered.
    fn go_loses(every: u32) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        for n in 0..240_u32 {
            let (at, port) = (f64::from(n) * 0.25, 41_000 + 2 * n);
            let lost = (60..180).contains(&n) && n.wrapping_mul(7_919) / 3 % every == 0;
            let mut ask = |at: f64, port: u32, answered: bool| {
                text += &format!("{at:.4} pod:{port} > dns rd edns 1232 A n{n}.example.com.\n");
                if answered {
                    let answer = format!("n{n}.example.com. 5 A 192.0.2.1");
                    text += &format!("{:.4} pod:{port} < dns {answer}\n", at + 0.001);
                }
            };
            ask(at, port, !lost);
            if lost {
                ask(at + 5.002, port + 1, true);
            }
        }
        findings(&text)
    }

    #[test]
    fn every_other_socket_may_be_a_silent_backend_where_no_port_repeats() {
        let said = go_loses(2);
        assert!(!said.contains("lossy-path") && said.contains("timeout-retries"), "{said}");
    }

    #[test]
    fn one_socket_in_eight_is_no_backend() {
        let said = go_loses(8);
        assert!(said.contains("lossy-path"), "{said}");
    }

    /// Of the queries of two pods some vanish on the veth, as few as make no full table.
    #[test]
    fn what_is_never_translated_is_no_servers_fault() {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\none = 10.244.0.2\ntwo = 10.244.0.3\n",
        );
        for round in 0..300_u16 {
            let (at, port) = (f64::from(round) * 0.2, 30_000 + round);
            let (pod, via) = (["one", "two"][usize::from(round / 2 % 2)], 1 + round % 2);
            let lost = (100..200).contains(&round) && round % 9 == 0;
            let place = if lost { "until veth" } else { "" };
            let name = "redis.default.svc.cluster.local.";
            let mut ask = |at: f64, port: u16, place: &str| {
                text +=
                    &format!("{at:.4} {pod}:{port} > kube-dns via dns{via} rd A {name} {place}\n");
                if place.is_empty() {
                    let back = at + 0.001;
                    let from = format!("kube-dns via dns{via}");
                    text += &format!("{back:.4} {pod}:{port} < {from} {name} 5 A 10.96.0.20\n");
                }
            };
            ask(at, port, place);
            if lost {
                ask(at + 5.0, port + 10_000, "");
            }
        }
        let said = findings(&text);
        assert!(said.contains(" lossy-path [client-subnet 10.244.0.0/24] likely"), "{said}");
    }

    /// Three queries of four are lost on their way, so that most flows die; two flows in ten become of
    /// their repeats what `repeats` says.
    fn heavy(repeats: Fate) -> String {
        let fates = [Fate::Lost, Fate::Lost, repeats, Fate::Lost, Fate::Answered];
        let mut situation = Situation::cluster();
        for round in 0..240_u16 {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let fate = fates[usize::from(round % 5)];
            situation.ask(f64::from(round) * 0.7, "pod", "kube-dns", via, fate);
        }
        findings(situation.text())
    }

    #[test]
    fn most_flows_may_die_where_repeats_get_through() {
        let said = heavy(Fate::LostOnce);
        assert!(said.contains(" lossy-path ["), "{said}");
        let said = heavy(Fate::Lost);
        assert!(!said.contains(" lossy-path ["), "{said}");
    }

    /// Each claims what was lost in its own time.
    #[test]
    fn two_times_of_loss_are_two_incidents() {
        let mut situation = Situation::cluster();
        for round in 0..6_000_u16 {
            let via = if round % 2 == 0 { "dns1" } else { "dns2" };
            let lost = (1_000..1_100).contains(&round) || (5_000..5_100).contains(&round);
            let fate = if lost && round % 4 == 0 { Fate::LostOnce } else { Fate::Answered };
            situation.ask(f64::from(round) * 0.7, "pod", "kube-dns", via, fate);
        }
        let said = findings(situation.text());
        let lossy: Vec<&str> = said.lines().filter(|line| line.contains(" lossy-path [")).collect();
        assert_eq!(lossy.len(), 2, "{said}");
        assert!(lossy.iter().all(|line| line.ends_with("/25")), "{said}");
    }

    #[test]
    fn four_losses_are_not_enough() {
        assert!(!loss(10, 40).contains("lossy-path"));
    }

    #[test]
    fn a_capture_that_ends_with_the_fourth_loss_says_nothing() {
        let said = findings_until(&loss_text(10, 400), 26.0);
        assert!(!said.contains("lossy-path"), "{said}");
    }

    /// Of three backends the first loses every third query.
    #[test]
    fn the_server_that_alone_loses_is_named() {
        let mut situation = Situation::cluster();
        for round in 0..300_u16 {
            let via = ["dns1", "dns2", "dns3"][usize::from(round % 3)];
            let fate = if round % 9 == 0 { Fate::LostOnce } else { Fate::Answered };
            situation.ask(f64::from(round) * 0.7, "pod", "kube-dns", via, fate);
        }
        let said = findings(situation.text());
        let culprits = "[path 10.244.0.0/24 -> 10.244.1.10, backend 10.244.1.10]";
        assert!(said.contains(&format!(" lossy-path {culprits}")), "{said}");
    }
}
