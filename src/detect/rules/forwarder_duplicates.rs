//! A forwarder asks several upstream resolvers the same question at once.
//!
//! **Signature.** An address that answers clients itself sends one question to two different
//! servers within 50 ms, for at least a twentieth of its own queries.
//!
//! **Needs.** At least 200 queries of the forwarder.
//!
//! **Not this.** A client's own parallel servers (musl) are no forwarder. A second server asked
//! after seconds is a retry.
//!
//! **Cannot tell.** Whether it is meant: dnsmasq asks all servers every 50 queries or 20 s, hickory
//! two at a time. Normal behaviour, and extra load on the upstreams.
//!
//! Source: rulebook 2.E, 8.17; dnsmasq `src/forward.c`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{list, percent, text};
use crate::base::{Map, Purge, Span, Table, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, HarmKind,
    Layer, Proof, Scene, Where,
};
use crate::dns::{Name, RecordType};
use crate::transaction::Transaction;

/// Queries below which a share says little (rulebook 7.6).
const ENOUGH: u64 = 200;
/// dnsmasq asks all its servers for one query in fifty at least; two misses of two clients at the
/// same moment are rarer than this.
const SHARE: f64 = 0.02;
/// Sent together: far below any retry timer.
const TOGETHER: Duration = Duration::from_millis(50);
/// Questions remembered, and forwarders tallied.
const MAX_RECENT: usize = 16_384;
const MAX_FORWARDERS: usize = 4_096;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "forwarder-duplicates",
    title: "a forwarder asks several upstreams at once",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.E", "dnsmasq src/forward.c"],
    source: include_str!("forwarder_duplicates.rs"),
    new: || Box::<ForwarderDuplicates>::default(),
};

/// Bounded by the caps above; questions are forgotten after [`TOGETHER`].
#[derive(Default)]
struct ForwarderDuplicates {
    recent: Map<(IpAddr, RecordType, Name), (Timestamp, IpAddr)>,
    purge: Purge,
    forwarders: Table<IpAddr, Tally>,
}

/// What one address asked.
#[derive(Default)]
struct Tally {
    queries: u64,
    doubled: u64,
    upstreams: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for ForwarderDuplicates {
    fn observe(&mut self, transaction: &Transaction) {
        if transaction.attempts.is_empty() || transaction.is_infrastructure() {
            return;
        }
        let (client, server) = (transaction.client.ip(), transaction.server.ip());
        if self.forwarders.len() >= MAX_FORWARDERS && !self.forwarders.contains_key(&client) {
            return;
        }
        let seen = transaction.first();
        let tally = self.forwarders.entry(client).or_default();
        tally.queries += 1;
        if self.recent.len() >= MAX_RECENT && self.purge.is_due(seen.ts, TOGETHER) {
            self.recent.retain(|_, (at, _)| seen.ts.since(*at) <= TOGETHER);
        }
        if self.recent.len() >= MAX_RECENT {
            return;
        }
        let question = &transaction.question;
        let key = (client, question.rtype, question.name.clone());
        let before = self.recent.insert(key, (seen.ts, server));
        let doubled =
            before.is_some_and(|(at, other)| other != server && seen.ts.since(at) <= TOGETHER);
        if doubled {
            tally.doubled += 1;
            tally.upstreams.extend([server].into_iter().chain(before.map(|(_, other)| other)));
            tally.span = Some(tally.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
            if tally.frames.len() < 4 {
                tally.frames.push(seen);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.forwarders
            .iter()
            .filter(|(client, _)| scene.servers.contains(*client))
            .filter(|(_, tally)| {
                tally.queries >= ENOUGH && tally.doubled as f64 >= SHARE * tally.queries as f64
            })
            .filter_map(|(client, tally)| finding(*client, tally, scene))
            .collect()
    }
}

fn finding(forwarder: IpAddr, tally: &Tally, scene: &Scene<'_>) -> Option<Finding> {
    let span = tally.span?;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{forwarder} sends {share} of its queries to several upstreams at once ({upstreams})",
            forwarder,
            share = percent(tally.doubled, tally.queries),
            upstreams = list(&tally.upstreams, 3)
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(forwarder)],
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: tally.doubled,
        claim: Claim {
            // It harms nobody by itself; the bound that nothing fits keeps it from claiming.
            kinds: BTreeSet::from([HarmKind::Negative]),
            zones: Some(BTreeSet::new()),
            ..Claim::default()
        },
        cause: text!(
            "The forwarder asks more than one upstream and takes the first answer: quicker, and \
             more load on them."
        ),
        facts: vec![Fact {
            label: text!("its queries / asked twice"),
            value: text!("{queries} / {doubled}", queries = tally.queries, doubled = tally.doubled),
        }],
        evidence: tally
            .frames
            .iter()
            .map(|seen| Proof {
                seen: *seen,
                summary: text!("the same question to another upstream"),
            })
            .collect(),
        actions: vec![Action {
            why: text!("see how it is configured (dnsmasq: all-servers)"),
            command: format!("kubectl get pods -A -o wide | grep -wF {forwarder}"),
        }],
        ruled_out: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    /// A forwarder that serves a client and asks two upstreams `gap` seconds apart.
    fn forwarded(times: u32, gap: f64) -> String {
        let mut text = String::from(
            "pod = 10.244.0.2\nfwd = 10.244.1.10\none = 192.0.2.53\ntwo = 198.51.100.53\n",
        );
        for round in 0..times {
            let (at, port) = (f64::from(round) * 0.5, 20_000 + round * 2);
            let name = format!("n{round}.example.com.");
            let _ = writeln!(
                text,
                "{at:.4} pod:{port} > fwd rd A {name}\n\
                 {:.4} fwd:{port} > one rd A {name}\n\
                 {:.4} fwd:{} > two rd A {name}\n\
                 {:.4} fwd:{port} < one {name} 5 A 192.0.2.1\n\
                 {:.4} fwd:{} < two {name} 5 A 192.0.2.1\n\
                 {:.4} pod:{port} < fwd {name} 5 A 192.0.2.1",
                at + 0.001,
                at + 0.001 + gap,
                port + 1,
                at + 0.003 + gap,
                at + 0.004 + gap,
                port + 1,
                at + 0.005 + gap,
            );
        }
        text
    }

    #[test]
    fn a_forwarder_asks_two_upstreams_at_once() {
        let said = findings(&forwarded(110, 0.001));
        assert!(said.contains("info forwarder-duplicates [backend 10.244.1.10]"), "{said}");
    }

    #[test]
    fn a_second_upstream_after_a_while_is_a_retry_and_few_queries_say_little() {
        for text in [forwarded(110, 0.06), forwarded(99, 0.001)] {
            let said = findings(&text);
            assert!(!said.contains("forwarder-duplicates"), "{said}");
        }
    }

    #[test]
    fn a_capture_that_ends_before_there_are_enough_says_nothing() {
        assert_eq!(findings_until(&forwarded(110, 0.001), 40.0), "quiet\n");
    }
}
