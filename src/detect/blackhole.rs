//! Outages put together into one finding: what the rules about silent servers say alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Descriptor;
use super::classify::Kind;
use super::finding::{Action, Claim, Confidence, Culprit, Fact, Finding, Proof, RuledOut, Where};
use super::harm::Symptom;
use super::localise::{End, Outage};
use super::scene::Scene;
use crate::base::words::{Text, clock, count, duration, list, text};
use crate::base::{Network, Span};
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
    /// Other servers of the service that answered these networks.
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

impl<'a> Blackhole<'a> {
    /// The outages of `kind`, one finding for each server.
    pub(super) fn by_server(scene: &'a Scene<'a>, kind: Kind) -> Vec<Self> {
        Self::by(scene, kind, |outage| outage.server)
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
        for outage in scene.outages.iter().filter(|outage| outage.kind == kind) {
            groups.entry(key(outage)).or_default().push(outage);
        }
        groups.into_values().filter_map(|outages| Self::of(outages, scene)).collect()
    }

    fn of(outages: Vec<&'a Outage>, scene: &'a Scene<'a>) -> Option<Self> {
        let span = outages.iter().map(|outage| outage.span).reduce(Span::join)?;
        Some(Self {
            span,
            failed: outages.iter().map(|outage| outage.failed).sum(),
            servers: outages.iter().map(|outage| outage.server).collect(),
            services: outages.iter().map(|outage| outage.service).collect(),
            networks: outages.iter().map(|outage| outage.network).collect(),
            clients: outages.iter().flat_map(|o| o.clients.iter().copied()).collect(),
            mates: outages.iter().flat_map(|o| o.context.mates.iter().copied()).collect(),
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

    /// From the first failure to the end of the outage.
    pub(super) fn length(&self) -> Duration {
        self.outages.iter().map(|outage| outage.length()).max().unwrap_or_default()
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

    /// Whether clients of one network alone are in the capture, and no point beyond them, so that
    /// the server and the path to it look alike (rulebook 6.4).
    pub(super) fn one_vantage(&self) -> bool {
        self.place() == Where::Unknown
            && self.networks.len() == 1
            && self.outages.iter().all(|outage| {
                let context = &outage.context;
                context.abroad_ok + context.abroad_failed == 0
            })
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
        let everybody = self.outages.iter().all(|one| one.kind.is_for_all())
            && self.length() * 2 >= self.span.length();
        let network = self.networks.first().filter(|_| everybody && self.networks.len() == 1);
        Claim {
            span: Some(self.span.widened(Duration::from_millis(1))),
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
            let mut others = self.mates.difference(&self.servers).peekable();
            let by = if others.peek().is_none() {
                Text::EMPTY
            } else {
                text!(", by {others}", others = list(others, 3))
            };
            say(
                text!("answered meanwhile by others"),
                text!("{flows}{by}", flows = count(elsewhere, "flow"), by),
            );
        }
        if let Some(good) = self.outages.iter().filter_map(|outage| outage.last_good).max() {
            let value =
                text!("{good} / {start}", good = clock(good), start = clock(self.span.start));
            say(text!("last answered / first failed"), value);
        } else {
            say(text!("answered before"), text!("never in this capture"));
        }
        let ended = match self.outages.iter().map(|outage| outage.end).max() {
            Some(End::Removed(at)) => {
                text!("last new flow to it at {at}, then none", at = clock(at))
            }
            Some(End::Recovered(at)) => text!("it answered again at {at}", at = clock(at)),
            Some(End::Open) | None => text!("not before the capture did"),
        };
        say(text!("ended"), text!("{ended} ({length})", ended, length = duration(self.length())));
        let said: BTreeSet<Text> = self
            .outages
            .iter()
            .flat_map(|outage| outage.icmp.iter())
            .map(|((kind, from), flows)| text!("{kind} from {from} ({flows})", kind, from, flows))
            .collect();
        if !said.is_empty() {
            say(text!("ICMP"), list(said, 3));
        }
        facts
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
