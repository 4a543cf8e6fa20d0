//! One client sends far more queries than any other.
//!
//! **Signature.** Over ten seconds a client sends at least 50 queries a second and ten times what
//! the median client sends. The names it asks most and the answers it gets say why: no caching,
//! a tight loop over a name that fails, or a scan.
//!
//! **Needs.** At least three clients to compare, and 200 transactions of the one.
//!
//! **Not this.** DNS servers and node-local caches forward for others; many pods may stand behind
//! one translated address.
//!
//! **Cannot tell.** Which pod it is behind a shared address. It harms nobody by itself, and
//! contributes to `coredns-overload`.
//!
//! Source: rulebook 2.D, section 1 `storm`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::words::{clock, count, list, percent, text};
use crate::base::{Rows, Span, Table, Timestamp};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    HarmKind, Interest, Layer, Proof, Scene, Where, Which,
};
use crate::dns::Name;
use crate::transaction::{Outcome, Transaction};

/// Seconds over which a rate is taken, and the rate (rulebook `storm`).
const WINDOW: i64 = 10;
const SECONDS: usize = 10;
const RATE: u64 = 50;
const TIMES_MEDIAN: f64 = 10.0;
/// Clients below which there is no median; transactions below which there is no storm.
const CLIENTS: usize = 3;
const ENOUGH: u64 = 200;
/// Names of a client in its busiest window.
const MAX_NAMES: usize = 32;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "client-storm",
    title: "one client floods the servers",
    class: Class::Efficiency,
    layer: Layer::Resolver,
    references: &["rulebook 2.D"],
    source: include_str!("client_storm.rs"),
    new: || Box::<ClientStorm>::default(),
};

/// Bounded by the addresses that rules know by number.
#[derive(Default)]
struct ClientStorm {
    clients: Rows<Client>,
    all: u64,
}

/// The queries of one client.
#[derive(Default)]
struct Client {
    queries: u64,
    failed: u64,
    /// Those of the last ten seconds, by the second; whole seconds since the epoch are counted round.
    recent: [u32; SECONDS],
    now: u32,
    most: u32,
    second: i64,
    began: Option<Timestamp>,
    /// Nearly nobody's.
    storm: Option<Box<Storm>>,
}

/// What a client did in its busiest windows.
struct Storm {
    span: Span,
    first: Seen,
    names: Table<Name, u64>,
}

impl Client {
    /// Counts queries of a second; what is older than ten seconds is forgotten.
    fn count(&mut self, second: i64, sent: u32) {
        let passed = second.saturating_sub(self.second);
        if passed >= WINDOW {
            (self.recent, self.now) = ([0; SECONDS], 0);
        } else {
            for earlier in 0..passed {
                let slot = slot(second - earlier);
                self.now -= std::mem::take(&mut self.recent[slot]);
            }
        }
        self.second = self.second.max(second);
        self.recent[slot(self.second)] += sent;
        self.now += sent;
        self.most = self.most.max(self.now);
    }
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(WINDOW)).unwrap_or(0)
}

impl Detector for ClientStorm {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        let sent = transaction.attempts.len() as u64;
        self.all += sent;
        if sent == 0 {
            return;
        }
        let tally = self.clients.row(glance.client);
        let seen = glance.first;
        tally.queries += sent;
        tally.failed += u64::from(transaction.outcome() != Outcome::Ok);
        let began = *tally.began.get_or_insert(seen.ts);
        let attempts = u32::try_from(sent).unwrap_or(u32::MAX);
        tally.count(seen.ts.nanos().div_euclid(1_000_000_000), attempts);
        if u64::from(tally.now) >= RATE * WINDOW.unsigned_abs() {
            let start = Timestamp::from_nanos((tally.second + 1 - WINDOW) * 1_000_000_000);
            let own = Span::between(start.max(began), seen.ts);
            let storm = tally.storm.get_or_insert_with(|| {
                Box::new(Storm { span: own, first: seen, names: Table::default() })
            });
            storm.span = storm.span.join(own);
            let name = &transaction.question.name;
            if storm.names.len() < MAX_NAMES || storm.names.contains_key(name) {
                *storm.names.entry(name.clone()).or_default() += 1;
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut stubs = self.clients.sorted(scene.addresses);
        stubs.retain(|(client, tally)| tally.queries > 0 && !scene.servers.contains(client));
        let mut all: Vec<u64> = stubs.iter().map(|(_, tally)| tally.queries).collect();
        all.sort_unstable();
        if all.len() < CLIENTS {
            return Vec::new();
        }
        // Queries a window, if the median client spread them over the capture.
        let windows = (scene.span.length().as_secs_f64() / WINDOW as f64).max(1.0);
        let median = all[all.len() / 2] as f64 / windows;
        stubs
            .iter()
            .filter(|(_, tally)| {
                tally.queries >= ENOUGH && f64::from(tally.most) >= TIMES_MEDIAN * median
            })
            .filter_map(|(client, tally)| self.finding(*client, tally, median, scene))
            .collect()
    }
}

impl ClientStorm {
    fn finding(
        &self,
        client: IpAddr,
        tally: &Client,
        median: f64,
        scene: &Scene<'_>,
    ) -> Option<Finding> {
        let Storm { span, first, names } = tally.storm.as_deref()?;
        let span = *span;
        let mut names: Vec<(&Name, &u64)> = names.iter().collect();
        names.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let rate = u64::from(tally.most) / WINDOW.unsigned_abs();
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "{client} sent {rate} queries a second at {start} and {share} of all queries",
                client,
                rate,
                start = clock(span.start),
                share = percent(tally.queries, self.all)
            ),
            confidence: Confidence::Confirmed,
            culprits: vec![Culprit::Client(client)],
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: tally.queries,
            claim: Claim {
                // It harms nobody by itself; the bound that nothing fits keeps it from claiming.
                kinds: BTreeSet::from([HarmKind::Negative]),
                zones: Some(BTreeSet::new()),
                ..Claim::default()
            },
            cause: text!(
                "One client asks far more than the others: it does not cache, or tries again at \
                 once whatever the answer."
            ),
            facts: vec![
                Fact { label: text!("queries"), value: count(tally.queries, "query") },
                Fact {
                    label: text!("in its busiest ten seconds / the median client's ten"),
                    value: text!(
                        "{most} / {median}",
                        most = tally.most,
                        median = format_args!("{:.0}", median)
                    ),
                },
                Fact {
                    label: text!("without a positive answer"),
                    value: percent(tally.failed, tally.queries),
                },
                Fact {
                    label: text!("names asked most"),
                    value: list(names.iter().map(|(n, _)| n), 5),
                },
            ],
            evidence: vec![Proof { seen: *first, summary: text!("query in the storm") }],
            actions: vec![Action {
                why: text!("find the pod, and why it does not cache"),
                command: format!("kubectl get pods -A -o wide | grep -wF {client}"),
            }],
            ruled_out: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    fn storm(rate: u32, clients: u32) -> String {
        let mut text = String::from("dns = 10.96.0.10\n");
        for client in 0..clients {
            let _ = writeln!(text, "pod{client} = 10.244.0.{}", client + 2);
            let times = if client == 0 { rate * 10 } else { 10 };
            let _ = writeln!(
                text,
                "repeat {times} every {:.4}\n0.0 pod{client}:30000 > dns rd A a.example.com.\n\
                 0.0005 pod{client}:30000 < dns a.example.com. 5 A 192.0.2.1\nend",
                10.0 / f64::from(times)
            );
        }
        text
    }

    #[test]
    fn one_client_asks_sixty_times_a_second() {
        let said = findings(&storm(60, 4));
        assert!(said.contains("info client-storm [client 10.244.0.2]"), "{said}");
    }

    #[test]
    fn forty_a_second_is_busy_and_two_clients_have_no_median() {
        assert_eq!(findings(&storm(40, 4)), "quiet\n");
        assert_eq!(findings(&storm(60, 2)), "quiet\n");
    }

    #[test]
    fn a_capture_that_ends_after_a_few_seconds_has_no_storm() {
        assert_eq!(findings_until(&storm(60, 4), 3.0), "quiet\n");
    }

    #[test]
    fn fifty_a_second_are_a_storm_and_forty_nine_are_not() {
        assert!(findings(&storm(50, 4)).contains("client-storm"));
        assert!(!findings(&storm(49, 4)).contains("client-storm"));
    }

    /// The others ask seven times a second: the busy one does not stand out tenfold.
    #[test]
    fn a_busy_client_among_busy_clients_is_no_storm() {
        let mut text = storm(60, 1);
        for client in 1..4 {
            let _ = writeln!(
                text,
                "pod{client} = 10.244.0.{}\nrepeat 70 every 0.14\n\
                 0.0 pod{client}:30000 > dns rd A a.example.com.\n\
                 0.0005 pod{client}:30000 < dns a.example.com. 5 A 192.0.2.1\nend",
                client + 2
            );
        }
        assert!(!findings(&text).contains("client-storm"), "{}", findings(&text));
    }

    /// What forwards for others sends what they send.
    #[test]
    fn a_forwarder_that_answers_others_is_no_storm() {
        let text = format!(
            "{}asker = 10.244.9.9\n0.5 asker > 10.244.0.2 rd A b.example.com.\n\
             0.6 asker < 10.244.0.2 b.example.com. 5 A 192.0.2.1\n",
            storm(60, 4)
        );
        assert!(!findings(&text).contains("client-storm"), "{}", findings(&text));
    }

    /// Five seconds of it lie before the full ten of the clock and five behind.
    #[test]
    fn a_storm_is_found_wherever_its_ten_seconds_begin() {
        let later =
            storm(60, 4).replacen("repeat 600 every 0.0167", "repeat 600 every 0.0167 from 5", 1);
        assert!(later.contains("from 5"));
        assert!(findings(&later).contains("client-storm"), "{}", findings(&later));
    }
}
