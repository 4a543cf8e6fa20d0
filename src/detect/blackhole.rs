//! Outages put together into one finding: what the rules about silent servers say alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Descriptor;
use super::classify::Kind;
use super::finding::{Action, Claim, Confidence, Culprit, Fact, Finding, Proof, RuledOut, Where};
use super::harm::Symptom;
use super::localise::{End, Outage};
use super::mixture::mixtures;
use super::scene::Scene;
use crate::base::words::{Text, clock, count, duration, list, text};
use crate::base::{Network, Span, Timestamp};
use crate::capture::Seen;
use crate::packet::IcmpKind;

/// Outages of one kind that make one finding; never empty.
#[derive(Debug)]
pub(super) struct Blackhole<'a> {
    /// First to last bad packet.
    pub(super) span: Span,
    /// Flows that failed.
    pub(super) failed: u64,
    /// Servers that did not answer.
    pub(super) servers: BTreeSet<IpAddr>,
    /// Addresses that clients asked.
    pub(super) services: BTreeSet<IpAddr>,
    /// Networks whose clients failed.
    pub(super) networks: BTreeSet<Network>,
    /// Clients that failed.
    pub(super) clients: BTreeSet<IpAddr>,
    /// Other servers that answered these networks meanwhile.
    pub(super) others: BTreeSet<IpAddr>,
    /// Other servers of the service that answered these networks at any time.
    pub(super) mates: BTreeSet<IpAddr>,
    pub(super) outages: Vec<&'a Outage>,
    scene: &'a Scene<'a>,
}

/// What a rule says of a black hole; the rest follows from the outages.
pub(super) struct Words {
    /// See [`Finding::title`].
    pub(super) title: Text,
    /// See [`Finding::confidence`].
    pub(super) confidence: Confidence,
    /// See [`Finding::culprits`].
    pub(super) culprits: Vec<Culprit>,
    /// See [`Finding::place`].
    pub(super) place: Where,
    /// See [`Finding::cause`].
    pub(super) cause: Text,
    /// See [`Finding::actions`]: what for, and the command.
    pub(super) actions: Vec<(Text, String)>,
    /// See [`Finding::ruled_out`]: the rule, and what speaks against it.
    pub(super) ruled_out: Vec<(&'static str, Text)>,
}

/// The outages of `kind`, without those that chance makes of a silent backend which the capture does not show.
fn of_kind<'a>(scene: &'a Scene<'a>, kind: Kind) -> Vec<&'a Outage> {
    let mut outages: Vec<&Outage> =
        scene.outages.iter().filter(|outage| outage.kind == kind).collect();
    if outages.iter().any(|outage| outage.server == outage.service) {
        let mixtures = mixtures(scene);
        outages.retain(|outage| !mixtures.iter().any(|mixture| mixture.explains(outage)));
    }
    outages
}

impl<'a> Blackhole<'a> {
    /// The outages of `kind`, one finding for each server.
    pub(super) fn by_server(scene: &'a Scene<'a>, kind: Kind) -> Vec<Self> {
        Self::by(scene, kind, |outage| outage.server)
    }

    /// The outages of `kind`, one finding for each server; but servers that the same clients ask by their own
    /// addresses stand in one list, and their lookups wait for one after the other.
    pub(super) fn by_list(scene: &'a Scene<'a>, kind: Kind) -> Vec<Self> {
        let mut groups: Vec<Vec<&Outage>> = Vec::new();
        let mut by_server: BTreeMap<(bool, IpAddr), usize> = BTreeMap::new();
        // The group of the last outage of each client, and when that was over.
        let mut by_client: BTreeMap<IpAddr, (usize, Timestamp)> = BTreeMap::new();
        for outage in of_kind(scene, kind) {
            let direct = outage.server == outage.service;
            let own = (direct, outage.server);
            let goes_on = |(_, until): &&(usize, Timestamp)| *until >= outage.span.start;
            let shared = || {
                let mut known = outage.clients.iter().filter_map(|one| by_client.get(one));
                known.find(goes_on).filter(|_| direct).map(|(group, _)| *group)
            };
            let group = by_server.get(&own).copied().or_else(shared);
            let group = group.unwrap_or_else(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            by_server.insert(own, group);
            if direct {
                let until = |client: &IpAddr| (*client, (group, outage.span.end));
                by_client.extend(outage.clients.iter().map(until));
            }
            if let Some(group) = groups.get_mut(group) {
                group.push(outage);
            }
        }
        groups.into_iter().filter_map(|outages| Self::of(outages, scene)).collect()
    }

    /// The outages of `kind`, one finding for each client network.
    pub(super) fn by_network(scene: &'a Scene<'a>, kind: Kind) -> Vec<Self> {
        Self::by(scene, kind, |outage| outage.network)
    }

    /// The outages of `kind` in one finding, if there are any.
    pub(super) fn whole(scene: &'a Scene<'a>, kind: Kind) -> Option<Self> {
        Self::by(scene, kind, |_| ()).pop()
    }

    fn by<K: Ord>(scene: &'a Scene<'a>, kind: Kind, key: impl Fn(&Outage) -> K) -> Vec<Self> {
        let mut groups: BTreeMap<K, Vec<&Outage>> = BTreeMap::new();
        for outage in of_kind(scene, kind) {
            groups.entry(key(outage)).or_default().push(outage);
        }
        groups.into_values().filter_map(|outages| Self::of(outages, scene)).collect()
    }

    fn of(outages: Vec<&'a Outage>, scene: &'a Scene<'a>) -> Option<Self> {
        let span = outages.iter().map(|outage| outage.span).reduce(Span::join)?;
        let servers: BTreeSet<IpAddr> = outages.iter().map(|outage| outage.server).collect();
        let rows = outages.iter().flat_map(|outage| &outage.context.row);
        let others = rows.filter(|(server, flows)| flows.ok > 0 && !servers.contains(server));
        Some(Self {
            others: others.map(|(server, _)| *server).collect(),
            mates: outages.iter().flat_map(|o| o.context.mates.iter().copied()).collect(),
            span,
            failed: outages.iter().map(|outage| outage.failed).sum(),
            servers,
            services: outages.iter().map(|outage| outage.service).collect(),
            networks: outages.iter().map(|outage| outage.network).collect(),
            clients: outages.iter().flat_map(|o| o.clients.iter().copied()).collect(),
            outages,
            scene,
        })
    }

    /// The servers, in words.
    pub(super) fn server(&self) -> Text {
        list(&self.servers, 3)
    }

    /// The asked addresses, in words.
    pub(super) fn service(&self) -> Text {
        list(&self.services, 3)
    }

    /// The client networks, in words.
    pub(super) fn network(&self) -> Text {
        list(&self.networks, 3)
    }

    /// The times that its outages took: those of several networks or servers at once are one.
    pub(super) fn times(&self) -> Vec<Span> {
        let mut times: Vec<Span> = Vec::new();
        for outage in &self.outages {
            let own = Span::between(outage.span.start, outage.span.start.after(outage.length()));
            match times.last_mut() {
                Some(last) if last.overlaps(own) => *last = last.join(own),
                _ => times.push(own),
            }
        }
        times
    }

    /// From the first failure to the end of the outage; of the longest one, if there were several.
    pub(super) fn length(&self) -> Duration {
        self.times().into_iter().map(Span::length).max().unwrap_or_default()
    }

    /// Whether it was over before the capture was: the servers answered again.
    pub(super) fn is_over(&self) -> bool {
        self.outages.iter().all(|outage| matches!(outage.end, End::Recovered(_)))
    }

    /// Whether clients asked the servers themselves, and no address before them.
    pub(super) fn is_direct(&self) -> bool {
        self.services == self.servers
    }

    /// Where another capture point shows that the datagrams ended.
    pub(super) fn place(&self) -> Where {
        let mut places: Vec<Where> = self
            .outages
            .iter()
            .filter_map(|outage| outage.place())
            .map(|(place, _)| place)
            .collect();
        places.dedup();
        match places[..] {
            [place] => place,
            _ => Where::Unknown,
        }
    }

    /// Whether clients of one network or one node alone are in the capture, and no point beyond them,
    /// so that the server and the path to it look alike (rulebook 6.4).
    pub(super) fn one_vantage(&self) -> bool {
        let alone = |outage: &&Outage| {
            let context = &outage.context;
            context.abroad_ok + context.abroad_failed == 0
        };
        let one_network = || self.networks.len() == 1 && self.outages.iter().all(alone);
        self.place() == Where::Unknown && (self.scene.reach.is_of_one_node() || one_network())
    }

    /// Flows of the same networks that other servers answered meanwhile.
    pub(super) fn answered_elsewhere(&self) -> u64 {
        let ok = |outage: &&Outage| outage.context.elsewhere_ok + outage.context.neighbours_ok;
        self.outages.iter().map(ok).max().unwrap_or(0)
    }

    /// What speaks against an outage of the whole service: others answered meanwhile.
    pub(super) fn not_service_wide(&self) -> Option<(&'static str, Text)> {
        let apart = self.outages.iter().map(|outage| outage.context.apart_ok());
        let because = match self.answered_elsewhere() {
            0 => {
                let flows = count(apart.max().filter(|flows| *flows > 0)?, "flow");
                text!("{flows} from other networks were answered by other servers", flows)
            }
            flows => {
                text!("{flows} were answered by others meanwhile", flows = count(flows, "flow"))
            }
        };
        Some(("service-wide-outage", because))
    }

    /// Sums a figure of the outages.
    pub(super) fn sum(&self, figure: impl Fn(&Outage) -> u64) -> u64 {
        self.outages.iter().map(|outage| figure(outage)).sum()
    }

    /// Whether it was still going on when the capture ended.
    pub(super) fn ongoing(&self) -> bool {
        self.outages.iter().any(|outage| outage.end == End::Open) && self.scene.lasts(self.span)
    }

    /// The finding.
    pub(super) fn finding(&self, rule: &'static Descriptor, words: Words) -> Finding {
        Finding {
            rule,
            title: words.title,
            confidence: words.confidence,
            culprits: words.culprits,
            place: words.place,
            span: self.span,
            ongoing: self.ongoing(),
            transactions: self.failed,
            claim: self.claim(),
            cause: words.cause,
            facts: self.facts(),
            evidence: self.evidence(),
            actions: words
                .actions
                .into_iter()
                .map(|(why, command)| Action { why, command })
                .collect(),
            ruled_out: words
                .ruled_out
                .into_iter()
                .map(|(rule, because)| RuledOut { rule, because })
                .collect(),
        }
    }

    /// The harmed lookups that it explains: those that asked these servers in vain. A query that
    /// was repeated from the same port may have been sent shortly before.
    fn claim(&self) -> Claim {
        // What fails several networks fails those as well who asked too little to show it, and what fails
        // one of them all of its clients; between outages of different times it fails nobody.
        let away: Duration = self.times().into_iter().map(Span::length).sum();
        let everybody =
            self.outages.iter().all(|one| one.kind.is_for_all()) && away * 2 >= self.span.length();
        let until = self.outages.iter().map(|outage| outage.until).max();
        let asked = until.map_or(self.span, |until| self.span.with(until));
        let network = self.networks.first().filter(|_| everybody && self.networks.len() == 1);
        Claim {
            span: Some(asked.widened(Duration::from_millis(1))),
            clients: (!everybody).then(|| self.clients.clone()),
            network: network.copied(),
            servers: Some(self.servers.clone()),
            symptoms: BTreeSet::from([
                Symptom::Unanswered,
                Symptom::Late,
                Symptom::Connect,
                Symptom::Rejected(IcmpKind::HostUnreachable),
                Symptom::Rejected(IcmpKind::PortUnreachable),
                Symptom::Rejected(IcmpKind::AdminProhibited),
            ]),
            ..Claim::default()
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact {
            label: text!("flows in vain"),
            value: text!(
                "{failed} from {clients}",
                failed = self.failed,
                clients = list(&self.clients, 4)
            ),
        }];
        let mut say = |label, value| facts.push(Fact { label, value });
        let elsewhere = self.answered_elsewhere();
        if elsewhere > 0 {
            let by = if self.others.is_empty() {
                Text::EMPTY
            } else {
                text!(", by {others}", others = list(&self.others, 3))
            };
            say(
                text!("answered meanwhile by others"),
                text!("{flows}{by}", flows = count(elsewhere, "flow"), by),
            );
        }
        let before = |good: &Timestamp| *good < self.span.start;
        let mut good = self.outages.iter().filter_map(|outage| outage.last_good).peekable();
        if good.peek().is_none() {
            say(text!("answered before"), text!("never in this capture"));
        } else if let Some(good) = good.filter(before).max() {
            let value =
                text!("{good} / {start}", good = clock(good), start = clock(self.span.start));
            say(text!("last answered / first failed"), value);
        }
        say(text!("ended"), self.ended());
        let mut rejections: BTreeMap<(IcmpKind, IpAddr), u64> = BTreeMap::new();
        for (said, flows) in self.outages.iter().flat_map(|outage| &outage.icmp) {
            *rejections.entry(*said).or_default() += flows;
        }
        let said: Vec<Text> = rejections
            .into_iter()
            .map(|((kind, from), flows)| text!("{kind} from {from} ({flows})", kind, from, flows))
            .collect();
        if !said.is_empty() {
            say(text!("ICMP"), list(said, 3));
        }
        facts
    }

    /// How the last time ended, and how long it was.
    fn ended(&self) -> Text {
        let times = self.times();
        let last = times.last().map_or(self.span.start, |last| last.start);
        let of_last = self.outages.iter().filter(|outage| outage.span.start >= last);
        let ended = match of_last.map(|outage| outage.end).max() {
            Some(End::Removed(at)) => {
                text!("last new flow to it at {at}, then none", at = clock(at))
            }
            Some(End::Recovered(at)) => text!("it answered again at {at}", at = clock(at)),
            Some(End::Open) | None => text!("not before the capture did"),
        };
        let length = duration(self.length());
        if times.len() < 2 {
            return text!("{ended} ({length})", ended, length);
        }
        text!("{ended}; {times} times, the longest {length}", ended, times = times.len(), length)
    }

    fn evidence(&self) -> Vec<Proof> {
        let mut frames: Vec<(Seen, IpAddr)> = self
            .outages
            .iter()
            .flat_map(|outage| outage.frames.iter().map(|seen| (*seen, outage.server)))
            .collect();
        frames.sort_unstable();
        frames.dedup();
        let summary = |server: IpAddr| text!("query to {server} without an answer", server);
        frames.into_iter().map(|(seen, server)| Proof { seen, summary: summary(server) }).collect()
    }
}

/// Commands that look at a server that clients ask by its own address: it may be anything.
pub(super) fn look_at_server(server: IpAddr) -> Vec<(Text, String)> {
    vec![
        (
            text!("see what has this address"),
            format!("kubectl get pods,services,nodes -A -o wide | grep -wF {server}"),
        ),
        (text!("see whether it serves at all"), format!("dig @{server} . NS +tries=1 +time=2")),
    ]
}

/// Commands that look at a DNS pod and its place in the service.
pub(super) fn look_at_pod(server: IpAddr) -> Vec<(Text, String)> {
    vec![
        (
            text!("see which node it runs on, and whether that node is Ready"),
            format!("kubectl get pods -A -o wide | grep -wF {server}; kubectl get nodes -o wide"),
        ),
        (
            text!("see whether it is still in the service"),
            "kubectl -n kube-system get endpointslices -l kubernetes.io/service-name=kube-dns \
             -o yaml"
                .to_owned(),
        ),
        (
            text!("ask it directly"),
            format!("dig @{server} kubernetes.default.svc.cluster.local +tries=1"),
        ),
    ]
}

/// The command that makes glibc clients give up sooner.
pub(super) fn give_up_sooner() -> (Text, String) {
    (
        text!("make clients give up a dead server sooner"),
        "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":{\"dnsConfig\":\
         {\"options\":[{\"name\":\"timeout\",\"value\":\"1\"},{\"name\":\"attempts\",\"value\":\
         \"3\"}]}}}}}'"
            .to_owned(),
    )
}
