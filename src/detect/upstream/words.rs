//! What the rules about upstreams say alike: facts, frames, actions and claims.

use std::collections::{BTreeMap, BTreeSet};

use super::failing::{Failing, Kind};
use crate::base::words::{clock, count, duration, list};
use crate::detect::{
    Action, Claim, Confidence, Culprit, Descriptor, Fact, Fate, Finding, Proof, RuledOut, Second,
    Symptom, Trouble, TroubleKind, Where,
};
use crate::dns::{Name, Rcode};
use crate::transaction::ConnectOutcome;

/// How many frames a finding shows of each kind.
const FRAMES: usize = 4;

/// What a rule says; the rest follows from the evidence.
pub(in crate::detect) struct Words {
    pub(in crate::detect) title: String,
    pub(in crate::detect) confidence: Confidence,
    pub(in crate::detect) cause: String,
    pub(in crate::detect) actions: Vec<Action>,
    pub(in crate::detect) ruled_out: Vec<RuledOut>,
}

impl Failing<'_> {
    /// Which lookups it explains: names outside the cluster that got this answer or none.
    fn claim(&self) -> Claim {
        let symptoms = match self.kind {
            Kind::Silent | Kind::NoTcp | Kind::Limited => BTreeSet::from([
                Symptom::Error(Rcode::SERVFAIL),
                Symptom::Unanswered,
                Symptom::Late,
                Symptom::Slow,
            ]),
            Kind::ServFail => BTreeSet::from([Symptom::Error(Rcode::SERVFAIL)]),
            Kind::Refused => BTreeSet::from([Symptom::Error(Rcode::REFUSED)]),
            Kind::Slow => BTreeSet::from([Symptom::Slow]),
        };
        let by_name = self.by_name || !matches!(self.kind, Kind::Silent | Kind::Limited);
        let zones = by_name.then(|| self.names().into_iter().cloned().collect::<BTreeSet<Name>>());
        Claim {
            span: Some(self.span),
            outside: self.scene.forward.outside.cluster_zones(),
            // Slow and silent answers need a name that failed for certain to stand with.
            zones: zones.filter(|names| !names.is_empty()),
            symptoms,
            ..Claim::default()
        }
    }

    /// How the legs ended, in words.
    fn ends(&self) -> String {
        let mut tally: BTreeMap<Fate, u64> = BTreeMap::new();
        for leg in &self.legs {
            *tally.entry(leg.fate).or_default() += 1;
        }
        let words = tally.into_iter().map(|(fate, n)| match fate {
            Fate::Error(rcode) => format!("{n} with {rcode}"),
            Fate::Silent => format!("{n} unanswered"),
            _ => format!("{n} slow"),
        });
        list(words, 4)
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(upstream) = self.upstream {
            let by = list(self.forwarders(), 3);
            facts.push(Fact { label: "upstream", value: format!("{upstream}, asked by {by}") });
        }
        if !self.legs.is_empty() {
            facts.push(Fact {
                label: "queries to it",
                value: format!("{}; {} answered otherwise meanwhile", self.ends(), self.answered),
            });
        }
        if !self.knocks.is_empty() {
            let refused =
                self.knocks.iter().filter(|knock| knock.outcome != ConnectOutcome::Silent).count();
            facts.push(Fact {
                label: "TCP connections to it",
                value: format!(
                    "{}, {refused} refused, {} unanswered, none accepted",
                    self.knocks.len(),
                    self.knocks.len() - refused
                ),
            });
        }
        if !self.troubles.is_empty() {
            facts.push(Fact {
                label: "clients' questions that failed by it",
                value: format!(
                    "{} of {}, {}",
                    self.troubles.len(),
                    list(self.clients(), 4),
                    told(&self.troubles)
                ),
            });
        }
        if let Some((middle, longest)) = self.waits() {
            facts.push(Fact {
                label: "clients waited for the answer",
                value: format!("{} (median), {} at most", duration(middle), duration(longest)),
            });
        }
        let Second { cluster_ok, cluster_bad, outside_ok, .. } = self.meanwhile;
        facts.push(Fact {
            label: "meanwhile",
            value: format!(
                "{} of cluster names answered, {cluster_bad} not; {outside_ok} of other names \
                 answered (from a cache, or by another upstream)",
                count(cluster_ok, "question")
            ),
        });
        facts.push(Fact { label: "names", value: list(self.names(), 5) });
        facts.push(Fact {
            label: "first / last",
            value: format!("{} / {}", clock(self.span.start), clock(self.span.end)),
        });
        let probes = self
            .scene
            .forward
            .legs()
            .iter()
            .filter(|leg| Some(leg.upstream) == self.upstream && leg.probe)
            .filter(|leg| self.span.contains(leg.sent.ts) && leg.question.name.is_root())
            .count();
        if probes > 0 {
            facts.push(Fact {
                label: "health probes (. NS)",
                value: format!("{probes}: CoreDNS itself took the upstream for failed"),
            });
        }
        facts
    }

    fn evidence(&self) -> Vec<Proof> {
        let who = self.who();
        let legs = self.legs.iter().take(FRAMES).flat_map(|leg| {
            let asked = format!("{} asks {who} for {}", leg.forwarder, leg.question.name);
            let answer = leg.replied.map(|seen| Proof { seen, summary: says(leg.fate) });
            let silent = if answer.is_none() { "; no answer came" } else { "" };
            [Some(Proof { seen: leg.sent, summary: format!("{asked}{silent}") }), answer]
        });
        let knocks = self.knocks.iter().take(FRAMES).flat_map(|knock| {
            let summary = format!("{} opens a TCP connection to {who}", knock.forwarder);
            let answer = knock
                .replied
                .map(|seen| Proof { seen, summary: "the connection is refused".to_owned() });
            [Some(Proof { seen: knock.sent, summary }), answer]
        });
        let troubles = self.troubles.iter().take(FRAMES).flat_map(|trouble| {
            let summary = format!("{} asks for {}", trouble.client, trouble.question.name);
            let answer = trouble.replied.map(|seen| Proof {
                seen,
                summary: match (trouble.kind, trouble.wait()) {
                    (TroubleKind::Error(rcode), Some(wait)) => {
                        format!("{} says {rcode} after {}", trouble.responder, duration(wait))
                    }
                    _ => format!("{} answers too late", trouble.responder),
                },
            });
            [Some(Proof { seen: trouble.sent, summary }), answer]
        });
        legs.chain(knocks).chain(troubles).flatten().collect()
    }

    /// The finding that says all this.
    pub(in crate::detect) fn finding(&self, rule: &'static Descriptor, words: Words) -> Finding {
        let upstream = self.upstream.map(Culprit::Upstream);
        let zone = self.zone().map(Culprit::Zone);
        let failed = if self.legs.is_empty() && self.knocks.is_empty() {
            self.troubles.len()
        } else {
            self.legs.len() + self.knocks.len()
        };
        Finding {
            rule,
            title: words.title,
            confidence: words.confidence,
            culprits: upstream.into_iter().chain(zone).collect(),
            place: Where::Upstream,
            span: self.span,
            ongoing: self.scene.lasts(self.span),
            transactions: failed as u64,
            claim: self.claim(),
            cause: words.cause,
            facts: self.facts(),
            evidence: self.evidence(),
            actions: words.actions,
            ruled_out: words.ruled_out,
        }
    }
}

/// Where the upstream's own legs can be recorded.
pub(in crate::detect) fn record_the_legs(failing: &Failing<'_>) -> Option<Action> {
    (!failing.is_seen()).then(|| Action {
        why: format!(
            "record what {} ask, on their nodes: it names the upstream",
            list(failing.forwarders(), 2)
        ),
        command: "tcpdump -i any -s 0 -C 20 -W 200 -w coredns_dns.pcap '(port 53) or icmp or \
                  icmp6 or (ip[6:2] & 0x1fff != 0)'"
            .to_owned(),
    })
}

/// Ask the upstream the failing question, as the DNS pod does.
pub(in crate::detect) fn ask_it(failing: &Failing<'_>, options: &str) -> Action {
    let name =
        failing.names().first().map_or_else(|| "example.com".to_owned(), ToString::to_string);
    let at = failing
        .upstream
        .map_or_else(|| "<address after forward in the Corefile>".to_owned(), |u| u.to_string());
    Action {
        why: "ask the upstream from a DNS pod's network".to_owned(),
        command: format!("dig @{at} {name} {options}"),
    }
}

/// Where the cluster's DNS forwards to.
pub(in crate::detect) fn read_the_corefile() -> Action {
    Action {
        why: "see where the cluster's DNS forwards to".to_owned(),
        command: "kubectl -n kube-system get configmap coredns -o yaml | grep -A5 forward"
            .to_owned(),
    }
}

fn told(troubles: &[&Trouble]) -> String {
    let mut tally: BTreeMap<TroubleKind, u64> = BTreeMap::new();
    for trouble in troubles {
        *tally.entry(trouble.kind).or_default() += 1;
    }
    let words = tally.into_iter().map(|(kind, n)| match kind {
        TroubleKind::Error(rcode) => format!("{n} with {rcode}"),
        TroubleKind::Silent => format!("{n} unanswered"),
        TroubleKind::Slow => format!("{n} slow"),
    });
    list(words, 4)
}

fn says(fate: Fate) -> String {
    match fate {
        Fate::Error(rcode) => format!("it answers {rcode}"),
        Fate::Truncated => "it answers truncated".to_owned(),
        Fate::Silent => "it answers too late".to_owned(),
        _ => "it answers".to_owned(),
    }
}
