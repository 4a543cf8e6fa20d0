//! A server that swallows queries: what the rules about silent servers say alike.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::finding::{Action, Claim, Fact, Proof};
use super::harm::Symptom;
use super::localise::{End, Outage};
use crate::base::words::{clock, count, duration, list};
use crate::base::{Network, Span};
use crate::capture::Seen;
use crate::packet::IcmpKind;

/// The outages of one server, as every client network saw them.
#[derive(Debug)]
pub(super) struct Blackhole<'a> {
    /// The server that did not answer.
    pub(super) server: IpAddr,
    /// The address that clients asked.
    pub(super) service: IpAddr,
    /// First to last bad packet.
    pub(super) span: Span,
    /// Flows that failed.
    pub(super) failed: u64,
    /// Networks that failed.
    pub(super) networks: BTreeSet<Network>,
    /// Other servers of the service that answered.
    pub(super) mates: BTreeSet<IpAddr>,
    /// Flows of the same clients that other servers answered meanwhile.
    pub(super) elsewhere_ok: u64,
    outages: Vec<&'a Outage>,
}

impl<'a> Blackhole<'a> {
    /// Puts the outages of one server together. `outages` holds at least one.
    pub(super) fn of(outages: &[&'a Outage]) -> Self {
        let first = outages[0];
        Self {
            server: first.server,
            service: first.service,
            span: outages.iter().fold(first.span, |span, outage| span.join(outage.span)),
            failed: outages.iter().map(|outage| outage.failed).sum(),
            networks: outages.iter().map(|outage| outage.network).collect(),
            mates: outages.iter().flat_map(|outage| outage.mates.iter().copied()).collect(),
            elsewhere_ok: outages.iter().map(|outage| outage.elsewhere_ok).sum(),
            outages: outages.to_vec(),
        }
    }

    /// The clients that failed.
    pub(super) fn clients(&self) -> BTreeSet<IpAddr> {
        self.outages.iter().flat_map(|outage| outage.clients.iter().copied()).collect()
    }

    /// From the first failure to the end of the outage.
    pub(super) fn length(&self) -> Duration {
        self.outages.iter().map(|outage| outage.length()).max().unwrap_or_default()
    }

    /// The harmed lookups that it explains: those that asked this server in vain.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            span: Some(self.span.widened(Duration::from_millis(1))),
            servers: Some(BTreeSet::from([self.server])),
            symptoms: BTreeSet::from([
                Symptom::Unanswered,
                Symptom::Late,
                Symptom::Connect,
                Symptom::Rejected(IcmpKind::HostUnreachable),
                Symptom::Rejected(IcmpKind::PortUnreachable),
            ]),
            ..Claim::default()
        }
    }

    /// What was measured.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            Fact {
                label: "flows to it, all unanswered",
                value: format!("{} from {}", self.failed, list(self.clients(), 4)),
            },
            Fact {
                label: "answered meanwhile by other servers",
                value: format!(
                    "{} of the same clients{}{}",
                    count(self.elsewhere_ok, "flow"),
                    if self.mates.is_empty() { "" } else { ", by " },
                    list(&self.mates, 3)
                ),
            },
        ];
        if let Some(good) = self.outages.iter().filter_map(|outage| outage.last_good).max() {
            facts.push(Fact {
                label: "last answered / first failed",
                value: format!("{} / {}", clock(good), clock(self.span.start)),
            });
        }
        let ended = self.outages.iter().map(|outage| outage.end).max();
        facts.push(Fact {
            label: "ended",
            value: match ended {
                Some(End::Removed(at)) => {
                    format!("last new flow to it at {}, then none", clock(at))
                }
                Some(End::Recovered(at)) => format!("it answered again at {}", clock(at)),
                Some(End::Open) | None => "not before the capture did".to_owned(),
            },
        });
        let rejected: u64 = self.outages.iter().map(|outage| outage.rejected).sum();
        if rejected > 0 {
            facts.push(Fact { label: "of them rejected by ICMP", value: count(rejected, "flow") });
        }
        facts.push(Fact { label: "silent for", value: duration(self.length()) });
        facts
    }

    /// The frames that prove it: the first flows that failed, and the last.
    pub(super) fn evidence(&self) -> Vec<Proof> {
        let mut frames: Vec<Seen> =
            self.outages.iter().flat_map(|outage| outage.frames.iter().copied()).collect();
        frames.sort_unstable();
        frames.dedup();
        frames
            .into_iter()
            .map(|seen| Proof {
                seen,
                summary: format!("query that went to {} and was never answered", self.server),
            })
            .collect()
    }

    /// What to do next: look at the pod and its node, then `further`.
    pub(super) fn actions(&self, further: &[(&str, String)]) -> Vec<Action> {
        let mut actions = vec![
            Action {
                why: format!("see which node {} ran on, and whether it is Ready", self.server),
                command: format!(
                    "kubectl get pods -A -o wide | grep -wF {}; kubectl get nodes -o wide",
                    self.server
                ),
            },
            Action {
                why: "see whether it is still in the service".to_owned(),
                command: "kubectl -n kube-system get endpointslices -l \
                          kubernetes.io/service-name=kube-dns -o wide"
                    .to_owned(),
            },
        ];
        let server = self.server;
        actions.push(Action {
            why: "ask it directly".to_owned(),
            command: format!("dig @{server} kubernetes.default.svc.cluster.local +tries=1 +time=2"),
        });
        for (why, command) in further {
            actions.push(Action { why: (*why).to_owned(), command: command.clone() });
        }
        actions
    }
}
