//! A forwarder asks several upstream resolvers the same question at once.
//!
//! **Signature.** An address that answers clients itself sends one question to two different
//! servers within 50 ms, though one client alone asked it then, for at least one in a hundred of its
//! own queries.
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
use crate::base::{AddressId, Lately, Rows, Span, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Interest, Layer, Proof, Scene, Where, Which,
};
use crate::dns::RecordType;
use crate::transaction::Transaction;

/// Queries below which a share says little (rulebook 7.6).
const ENOUGH: u64 = 200;
/// dnsmasq asks all its servers for every 52nd question (`FORWARD_TEST`), so that of its queries to
/// two servers one in 53 is a second one. Half of that, for the capture's edges may cut a period.
const SHARE: f64 = 0.01;
/// Sent together: far below any retry timer.
const TOGETHER: Duration = Duration::from_millis(50);
/// Questions remembered.
const MAX_RECENT: usize = 16_384;

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

/// Who asks or is asked for what; of the name, its digest is enough within [`TOGETHER`].
type Question = (AddressId, RecordType, u64);

/// Bounded by the addresses that rules know by number, and by the cap above; questions are forgotten
/// after [`TOGETHER`].
#[derive(Default)]
struct ForwarderDuplicates {
    recent: Lately<Question, (Timestamp, IpAddr)>,
    /// When each server was last asked what, and when two clients asked it so at once.
    asked: Lately<Question, (Timestamp, Option<Timestamp>)>,
    clients: Rows<Tally>,
}

/// What one address asked.
#[derive(Default)]
struct Tally {
    queries: u32,
    /// Whether anybody ever asked it: nobody else forwards.
    asked: bool,
    /// Nearly nobody has any.
    doubled: Option<Box<Doubled>>,
}

/// What one address asked twice.
#[derive(Default)]
struct Doubled {
    queries: u64,
    upstreams: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl ForwarderDuplicates {
    /// Notes a question that comes to a server, which may have to forward it.
    fn arrives(&mut self, question: Question, now: Timestamp) {
        if self.asked.noted() >= MAX_RECENT {
            return;
        }
        if let Some((last, before)) = self.asked.note(question, (now, None)) {
            let at_once = (now > last && now.since(last) <= TOGETHER).then_some(now);
            self.asked.note(question, (now, at_once.or(before)));
        }
    }

    /// Notes a question that a client sends to a server, and returns the other server that it has
    /// just sent it to by itself.
    fn sends(&mut self, question: Question, server: IpAddr, now: Timestamp) -> Option<IpAddr> {
        let (at, other) = self.recent.note(question, (now, server))?;
        if other == server || now.since(at) > TOGETHER {
            return None;
        }
        let asked = self.asked.get(&question).and_then(|(_, at_once)| at_once);
        asked.is_none_or(|at| now.since(at) > TOGETHER * 2).then_some(other)
    }
}

impl Detector for ForwarderDuplicates {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        if transaction.attempts.is_empty() || transaction.is_infrastructure() {
            return;
        }
        let client = self.clients.row(glance.client);
        client.queries = client.queries.saturating_add(1);
        let is_asked = client.asked;
        let responder = self.clients.row(glance.responder);
        responder.asked = true;
        // Before its first question it had nothing to forward.
        let asks = responder.queries > 0;
        let seen = glance.first;
        self.recent.advance(seen.ts, TOGETHER);
        self.asked.advance(seen.ts, TOGETHER * 2);
        if self.recent.noted() >= MAX_RECENT {
            return;
        }
        let (rtype, name) = (transaction.question.rtype, transaction.question.name.digest());
        if asks {
            self.arrives((glance.responder, rtype, name), seen.ts);
        }
        let server = transaction.server.ip();
        if is_asked && let Some(other) = self.sends((glance.client, rtype, name), server, seen.ts) {
            let tally = self.clients.row(glance.client);
            tally.doubled.get_or_insert_default().note(seen, [server, other]);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.clients
            .sorted(scene.addresses)
            .into_iter()
            .filter(|(client, _)| scene.servers.contains(client))
            .filter_map(|(client, tally)| {
                Some((client, u64::from(tally.queries), tally.doubled.as_deref()?))
            })
            .filter(|(_, queries, doubled)| {
                *queries >= ENOUGH && doubled.queries as f64 >= SHARE * *queries as f64
            })
            .filter_map(|(client, queries, doubled)| finding(client, queries, doubled, scene))
            .collect()
    }
}

impl Doubled {
    fn note(&mut self, seen: Seen, servers: [IpAddr; 2]) {
        self.queries += 1;
        self.upstreams.extend(servers);
        self.span = Some(self.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
        if self.frames.len() < 4 {
            self.frames.push(seen);
        }
    }
}

fn finding(
    forwarder: IpAddr,
    queries: u64,
    doubled: &Doubled,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let span = doubled.span?;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{forwarder} sends {share} of its queries to several upstreams at once ({upstreams})",
            forwarder,
            share = percent(doubled.queries, queries),
            upstreams = list(&doubled.upstreams, 3)
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(forwarder)],
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: doubled.queries,
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
            value: text!("{queries} / {doubled}", queries, doubled = doubled.queries),
        }],
        evidence: doubled
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

    #[test]
    fn two_hundred_queries_within_fifty_milliseconds_are_enough() {
        assert!(findings(&forwarded(100, 0.049)).contains("forwarder-duplicates"));
        assert!(!findings(&forwarded(99, 0.049)).contains("forwarder-duplicates"));
        assert!(!findings(&forwarded(100, 0.051)).contains("forwarder-duplicates"));
    }

    /// One question in `every` goes to both upstreams.
    fn now_and_then(every: u32) -> String {
        let mut text = String::from(
            "pod = 10.244.0.2\nfwd = 10.244.1.10\none = 192.0.2.53\ntwo = 198.51.100.53\n",
        );
        for round in 0..600 {
            let (at, port) = (f64::from(round) * 0.5, 20_000 + round * 2);
            let name = format!("n{round}.example.com.");
            let _ = writeln!(
                text,
                "{at:.4} pod:{port} > fwd rd A {name}\n\
                 {:.4} fwd:{port} > one rd A {name}\n\
                 {:.4} fwd:{port} < one {name} 5 A 192.0.2.1\n\
                 {:.4} pod:{port} < fwd {name} 5 A 192.0.2.1",
                at + 0.001,
                at + 0.003,
                at + 0.005,
            );
            if round % every == every - 1 {
                let _ = writeln!(
                    text,
                    "{:.4} fwd:{} > two rd A {name}\n{:.4} fwd:{} < two {name} 5 A 192.0.2.1",
                    at + 0.0012,
                    port + 1,
                    at + 0.0032,
                    port + 1,
                );
            }
        }
        text
    }

    /// dnsmasq asks all its servers for every 52nd question.
    #[test]
    fn dnsmasq_at_its_rarest_is_seen_and_one_in_two_hundred_is_chance() {
        assert!(findings(&now_and_then(52)).contains("forwarder-duplicates"));
        assert!(!findings(&now_and_then(200)).contains("forwarder-duplicates"));
    }

    /// Every pod in the cluster may ask two servers at once; it answers nobody.
    #[test]
    fn a_stub_with_two_servers_is_no_forwarder() {
        let text = forwarded(110, 0.001).replace("pod:", "pod2:").replace("pod =", "pod2 =");
        let alone: String = text
            .lines()
            .filter(|line| !line.contains("pod2:"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(!findings(&alone).contains("forwarder-duplicates"), "{}", findings(&alone));
    }

    /// Two pods ask the same name at the same moment, and each question goes its own way.
    #[test]
    fn two_clients_with_one_question_are_not_the_forwarders_doing() {
        let mut text = String::from(
            "pod = 10.244.0.2\nmate = 10.244.0.3\nfwd = 10.244.1.10\none = 192.0.2.53\n\
             two = 198.51.100.53\n",
        );
        for round in 0..110 {
            let (at, port) = (f64::from(round) * 0.5, 20_000 + round * 2);
            let name = format!("n{round}.example.com.");
            for (client, up, at, port) in
                [("pod", "one", at, port), ("mate", "two", at + 0.0003, port + 1)]
            {
                let _ = writeln!(
                    text,
                    "{at:.4} {client}:{port} > fwd rd A {name}\n\
                     {:.4} fwd:{port} > {up} rd A {name}\n\
                     {:.4} fwd:{port} < {up} {name} 5 A 192.0.2.1\n\
                     {:.4} {client}:{port} < fwd {name} 5 A 192.0.2.1",
                    at + 0.001,
                    at + 0.003,
                    at + 0.005,
                );
            }
        }
        assert!(!findings(&text).contains("forwarder-duplicates"), "{}", findings(&text));
    }
}
