//! What the rules about upstreams say alike: facts, frames, actions and claims.

use std::collections::{BTreeMap, BTreeSet};

use super::failing::{Failing, Kind};
use crate::base::words::{Text, clock, count, duration, list, text};
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
    pub(in crate::detect) title: Text,
    pub(in crate::detect) confidence: Confidence,
    pub(in crate::detect) cause: Text,
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
    fn ends(&self) -> Text {
        let mut tally: BTreeMap<Fate, u64> = BTreeMap::new();
        for leg in &self.legs {
            *tally.entry(leg.fate).or_default() += 1;
        }
        let words = tally.into_iter().map(|(fate, n)| match fate {
            Fate::Error(rcode) => text!("{n} with {rcode}", n, rcode),
            Fate::Silent => text!("{n} unanswered", n),
            Fate::Rejected => text!("{n} rejected by ICMP", n),
            _ => text!("{n} slow", n),
        });
        list(words, 4)
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(upstream) = self.upstream {
            let by = list(self.forwarders(), 3);
            facts.push(Fact {
                label: text!("upstream"),
                value: text!("{upstream}, asked by {by}", upstream, by),
            });
        }
        if !self.legs.is_empty() {
            facts.push(Fact {
                label: text!("queries to it"),
                value: text!(
                    "{ends}; {answered} answered otherwise meanwhile",
                    ends = self.ends(),
                    answered = self.answered
                ),
            });
        }
        if !self.knocks.is_empty() {
            let refused =
                self.knocks.iter().filter(|knock| knock.outcome != ConnectOutcome::Silent).count();
            facts.push(Fact {
                label: text!("TCP connections to it"),
                value: text!(
                    "{knocks}, {refused} refused, {silent} unanswered, none accepted",
                    knocks = self.knocks.len(),
                    refused,
                    silent = self.knocks.len() - refused
                ),
            });
        }
        if !self.troubles.is_empty() {
            facts.push(Fact {
                label: text!("clients' questions that failed by it"),
                value: text!(
                    "{troubles} of {clients}, {told}",
                    troubles = self.troubles.len(),
                    clients = list(self.clients(), 4),
                    told = told(&self.troubles)
                ),
            });
        }
        if let Some((middle, longest)) = self.waits() {
            facts.push(Fact {
                label: text!("clients waited for the answer"),
                value: text!(
                    "{middle} (median), {longest} at most",
                    middle = duration(middle),
                    longest = duration(longest)
                ),
            });
        }
        let Second { cluster_ok, cluster_bad, outside_ok, .. } = self.meanwhile;
        facts.push(Fact {
            label: text!("meanwhile"),
            value: text!(
                "{questions} of cluster names answered, {cluster_bad} not; {outside_ok} of other \
                 names answered (from a cache, or by another upstream)",
                questions = count(cluster_ok, "question"),
                cluster_bad,
                outside_ok
            ),
        });
        let spared = self.spared();
        if !spared.is_empty() {
            facts.push(Fact {
                label: text!("other replicas, which answered such names"),
                value: list(&spared, 4),
            });
        }
        facts.push(Fact { label: text!("names"), value: list(self.names(), 5) });
        facts.push(Fact {
            label: text!("first / last"),
            value: text!(
                "{start} / {end}",
                start = clock(self.span.start),
                end = clock(self.span.end)
            ),
        });
        let probes = self
            .scene
            .forward
            .legs()
            .iter()
            .filter(|leg| Some(leg.way.upstream) == self.upstream && leg.probe)
            .filter(|leg| self.span.contains(leg.sent.ts) && leg.question.name.is_root())
            .count();
        if probes > 0 {
            facts.push(Fact {
                label: text!("health probes (. NS)"),
                value: text!("{probes}: CoreDNS itself took the upstream for failed", probes),
            });
        }
        facts
    }

    fn evidence(&self) -> Vec<Proof> {
        let who = self.who();
        let legs = self.legs.iter().take(FRAMES).flat_map(|leg| {
            let asked = text!(
                "{forwarder} asks {who} for {name}",
                forwarder = leg.way.forwarder,
                who,
                name = leg.question.name
            );
            let answer = leg.replied.map(|seen| Proof { seen, summary: says(leg.fate) });
            let silent = if answer.is_none() { text!("; no answer came") } else { Text::EMPTY };
            [
                Some(Proof { seen: leg.sent, summary: text!("{asked}{silent}", asked, silent) }),
                answer,
            ]
        });
        let knocks = self.knocks.iter().take(FRAMES).flat_map(|knock| {
            let summary = text!(
                "{forwarder} opens a TCP connection to {who}",
                forwarder = knock.forwarder,
                who
            );
            let answer = knock
                .replied
                .map(|seen| Proof { seen, summary: text!("the connection is refused") });
            [Some(Proof { seen: knock.sent, summary }), answer]
        });
        let troubles = self.troubles.iter().take(FRAMES).flat_map(|trouble| {
            let summary = text!(
                "{client} asks for {name}",
                client = trouble.client,
                name = trouble.question.name
            );
            let answer = trouble.replied.map(|seen| Proof {
                seen,
                summary: match (trouble.kind, trouble.wait()) {
                    (TroubleKind::Error(rcode), Some(wait)) => {
                        text!(
                            "{responder} says {rcode} after {wait}",
                            responder = trouble.responder,
                            rcode,
                            wait = duration(wait)
                        )
                    }
                    _ => text!("{responder} answers too late", responder = trouble.responder),
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
        // Where other replicas ask the same upstream well, it is these, or their way to it.
        let alone = if self.spared().is_empty() { BTreeSet::new() } else { self.forwarders() };
        let alone = alone.into_iter().take(3).map(Culprit::Backend);
        let failed = if self.legs.is_empty() && self.knocks.is_empty() {
            self.troubles.len()
        } else {
            self.legs.len() + self.knocks.len()
        };
        Finding {
            rule,
            title: words.title,
            confidence: words.confidence,
            culprits: upstream.into_iter().chain(alone).chain(zone).collect(),
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
        why: text!(
            "record what {forwarders} ask, on their nodes: it names the upstream",
            forwarders = list(failing.forwarders(), 2)
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
        why: text!("ask the upstream from a DNS pod's network"),
        command: format!("dig @{at} {name} {options}"),
    }
}

/// Where the cluster's DNS forwards to.
pub(in crate::detect) fn read_the_corefile() -> Action {
    Action {
        why: text!("see where the cluster's DNS forwards to"),
        command: "kubectl -n kube-system get configmap coredns -o yaml | grep -A5 forward"
            .to_owned(),
    }
}

fn told(troubles: &[&Trouble]) -> Text {
    let mut tally: BTreeMap<TroubleKind, u64> = BTreeMap::new();
    for trouble in troubles {
        *tally.entry(trouble.kind).or_default() += 1;
    }
    let words = tally.into_iter().map(|(kind, n)| match kind {
        TroubleKind::Error(rcode) => text!("{n} with {rcode}", n, rcode),
        TroubleKind::Silent => text!("{n} unanswered", n),
        TroubleKind::Slow => text!("{n} slow", n),
    });
    list(words, 4)
}

fn says(fate: Fate) -> Text {
    match fate {
        Fate::Error(rcode) => text!("it answers {rcode}", rcode),
        Fate::Truncated => text!("it answers truncated"),
        Fate::Silent => text!("it answers too late"),
        Fate::Rejected => text!("ICMP rejects it"),
        _ => text!("it answers"),
    }
}
