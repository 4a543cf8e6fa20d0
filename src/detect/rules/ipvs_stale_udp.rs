//! IPVS drops queries from source ports that had talked to a backend which is gone.
//!
//! **Signature.** After a backend disappeared, queries whose client socket had talked to it within
//! the last 300 s vanish on the client's node: they are seen before translation and never after it,
//! and no ICMP comes back. Other ports of the same clients are answered (Fisher's exact test,
//! p < 0.001, at least five failures). It ends by itself 300 s after the removal, when IPVS forgets
//! the entries.
//!
//! **Needs.** Both sides of the translation, and a minute of history before the removal.
//!
//! **Not this.** Queries that visibly go on to the dead backend are `stale-backend` or, from old
//! sockets, `stale-flow-pin`. A pair of A and AAAA of which the second vanishes is
//! `conntrack-race-aaaa`. New ports that vanish too are `conntrack-full`.
//!
//! **Cannot tell.** That the node uses IPVS at all: the pattern of copies speaks for or against it.
//!
//! Source: rulebook 2.B, K3, K6; Linux `Documentation/networking/ipvs-sysctl.rst`
//! (`expire_nodest_conn`); kubernetes/kubernetes issues 71514 and 81775.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use statrs::distribution::{DiscreteCDF, Hypergeometric};

use crate::base::words::{clock, count, list, text};
use crate::base::{AddressId, Map, Purge, SocketId, Span, Table, Timestamp, Transport};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::transaction::{Outcome, Transaction};

/// How long IPVS keeps a UDP entry by default (`ipvsadm --set`).
const REMEMBERED: Duration = Duration::from_mins(5);
/// Failures of reused ports (rulebook 7.6).
const ENOUGH: u64 = 5;
/// Chance of the association between a port's history and its failure.
const CHANCE: f64 = 0.001;
/// Sockets whose last backend is remembered.
const MAX_SOCKETS: usize = 200_000;
/// Failures that are kept one by one, and answers of one instant; beyond it their number is only
/// larger, which makes the test no weaker.
const MAX_FAILURES: usize = 10_000;
const MAX_AT_ONCE: usize = 100_000;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "ipvs-stale-udp",
    title: "IPVS drops reused source ports after a backend is gone",
    class: Class::Failure,
    layer: Layer::Path,
    references: &[
        "rulebook 2.B, K6",
        "Linux ipvs-sysctl (expire_nodest_conn)",
        "kubernetes/kubernetes #71514, #81775",
    ],
    source: include_str!("ipvs_stale_udp.rs"),
    new: || Box::<IpvsStaleUdp>::default(),
};

/// Bounded by [`MAX_SOCKETS`] and [`MAX_FAILURES`].
#[derive(Default)]
struct IpvsStaleUdp {
    /// Whom each socket talked to last, and when.
    history: Map<SocketId, (AddressId, Moment)>,
    /// What was written there last.
    latest: Option<(SocketId, (AddressId, Moment))>,
    purge: Purge,
    start: Option<Timestamp>,
    /// Untranslated queries in vain, with the backend that their port had talked to, if any.
    failures: Vec<(Seen, SocketAddr, Option<AddressId>)>,
    answered: Answered,
    service: Option<IpAddr>,
}

/// Time since the first transaction in units of 2^26 ns, 67 ms: short, and fine enough for five minutes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment(u32);

impl Moment {
    fn of(since_start: Duration) -> Self {
        Self(u32::try_from(since_start.as_nanos() >> 26).unwrap_or(u32::MAX))
    }

    /// Whether IPVS still remembers at `now` what was then.
    fn is_remembered(self, now: Self) -> bool {
        now.0.saturating_sub(self.0) <= Self::of(REMEMBERED).0
    }
}

impl IpvsStaleUdp {
    fn moment(&mut self, at: Timestamp) -> Moment {
        Moment::of(at.since(*self.start.get_or_insert(at)))
    }

    /// The backend that a socket talked to when it was last seen, if that is not too long ago.
    fn recall(known: Option<(AddressId, Moment)>, now: Moment) -> Option<AddressId> {
        known.filter(|(_, last)| last.is_remembered(now)).map(|(backend, _)| backend)
    }

    /// Notes that `client` talks to `backend`, and says whom it talked to before.
    fn remember(
        &mut self,
        client: SocketId,
        backend: AddressId,
        at: Timestamp,
    ) -> Option<AddressId> {
        let now = self.moment(at);
        // Most of what a lookup asks goes out of one socket at once.
        if self.latest == Some((client, (backend, now))) {
            return Some(backend);
        }
        let when = (at, REMEMBERED);
        self.purge.make_room(&mut self.history, MAX_SOCKETS, when, |_, (_, last)| {
            last.is_remembered(now)
        });
        let known = if self.history.len() < MAX_SOCKETS {
            self.latest = Some((client, (backend, now)));
            self.history.insert(client, (backend, now))
        } else {
            self.history.get(&client).copied()
        };
        Self::recall(known, now)
    }
}

/// Answered flows of ports with and without a history, as far as they lie between failures of ports
/// with one: only there they are ever counted.
#[derive(Default)]
struct Answered {
    /// When a port with a history last failed: what was answered before the first time proves nothing.
    failed: Option<Timestamp>,
    /// By the backend of that history: how many from some instant up to the next failure. Those of the
    /// instant of a failure stand by themselves.
    runs: Table<Option<AddressId>, Vec<(Timestamp, u32)>>,
    /// Those of the latest instant, at which a port may yet fail.
    latest: Vec<Option<AddressId>>,
    now: Timestamp,
}

impl Answered {
    /// A port with a history failed.
    fn fail(&mut self, at: Timestamp) {
        self.advance(at);
        self.failed = Some(at);
    }

    /// Notes an answer to a port that had talked to `before`.
    fn note(&mut self, before: Option<AddressId>, at: Timestamp) {
        self.advance(at);
        if self.latest.len() < MAX_AT_ONCE {
            self.latest.push(before);
        }
    }

    fn advance(&mut self, now: Timestamp) {
        if self.now == now {
            return;
        }
        let then = std::mem::replace(&mut self.now, now);
        let Some(failed) = self.failed else {
            self.latest.clear();
            return;
        };
        for before in self.latest.drain(..) {
            let runs = self.runs.entry(before).or_default();
            match runs.last_mut() {
                Some((start, times)) if *start == then || failed < then.min(*start) => {
                    *times = times.saturating_add(1);
                }
                _ => runs.push((then, 1)),
            }
        }
    }

    /// How many ports with this history were answered in `span`, from one failure to another.
    fn count(&self, before: Option<AddressId>, span: Span) -> u64 {
        let runs = self.runs.get(&before).map_or(&[][..], Vec::as_slice);
        let within = runs.iter().filter(|(start, _)| span.contains(*start));
        within.map(|(_, times)| u64::from(*times)).sum()
    }
}

impl Detector for IpvsStaleUdp {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        if transaction.transport != Transport::Udp || transaction.attempts.is_empty() {
            return;
        }
        let first = glance.first;
        let client = SocketId::from(transaction.client);
        match transaction.backend() {
            Some(_) => {
                let before = self.remember(client, glance.responder, first.ts);
                if transaction.outcome().is_answered() {
                    self.answered.note(before, first.ts);
                }
            }
            None if transaction.outcome() == Outcome::Timeout => {
                self.service.get_or_insert(transaction.server.ip());
                if self.failures.len() < MAX_FAILURES {
                    let known = self.history.get(&client).copied();
                    let before = Self::recall(known, self.moment(first.ts));
                    if before.is_some() {
                        self.answered.fail(first.ts);
                    }
                    self.failures.push((first, transaction.client, before));
                }
            }
            None => {}
        }
    }

    fn finish(mut self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.answered.advance(Timestamp::MAX);
        let backends = self.failures.iter().filter_map(|(_, _, before)| *before);
        let backends: BTreeMap<IpAddr, AddressId> =
            backends.map(|backend| (scene.addresses.address(backend), backend)).collect();
        let findings = backends.into_iter().map(|backend| self.judge(backend, scene));
        findings.flatten().collect()
    }
}

impl IpvsStaleUdp {
    fn judge(&self, (backend, number): (IpAddr, AddressId), scene: &Scene<'_>) -> Option<Finding> {
        let service = self.service.filter(|service| scene.nat.is_service(*service))?;
        let mine: Vec<&(Seen, SocketAddr, Option<AddressId>)> =
            self.failures.iter().filter(|(_, _, before)| *before == Some(number)).collect();
        let (first, last) = (mine.first()?.0, mine.last()?.0);
        let span = Span::between(first.ts, last.ts);
        // The backend must be gone: nothing is translated to it any more.
        let alive = scene.reach.flows().iter().any(|flow| {
            flow.cell().responder == backend && flow.first.ts > span.start && flow.succeeded()
        });
        let within = |ts: &Timestamp| span.contains(*ts);
        let ok = |history: Option<AddressId>| self.answered.count(history, span);
        let reused_failed = mine.len() as u64;
        let reused_ok = ok(Some(number));
        let others_failed = self
            .failures
            .iter()
            .filter(|(seen, _, before)| *before != Some(number) && within(&seen.ts))
            .count() as u64;
        let others_ok: u64 =
            self.answered.runs.keys().filter(|h| **h != Some(number)).map(|h| ok(*h)).sum();
        let all = reused_failed + reused_ok + others_failed + others_ok;
        let failed = reused_failed + others_failed;
        let chance = Hypergeometric::new(all, failed, reused_failed + reused_ok)
            .map_or(1.0, |none| none.sf(reused_failed - 1));
        if alive || reused_failed < ENOUGH || chance >= CHANCE {
            return None;
        }
        let clients: BTreeSet<IpAddr> = mine.iter().map(|(_, client, _)| client.ip()).collect();
        let network = scene.reach.group(mine.first()?.1.ip());
        Some(Finding {
            rule: &DETECTOR,
            title: text!(
                "queries from ports that had talked to {backend} vanish on the node of {network} \
                 since that backend is gone",
                backend,
                network
            ),
            confidence: Confidence::Likely,
            culprits: vec![Culprit::ClientSubnet(network), Culprit::Backend(backend)],
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: reused_failed,
            claim: Claim {
                span: Some(span),
                clients: Some(clients.clone()),
                servers: Some(BTreeSet::from([service])),
                symptoms: BTreeSet::from([Symptom::Unanswered]),
                ..Claim::default()
            },
            cause: text!(
                "{queries} from source ports that were used with {backend} before were seen on \
                 their way to {service} and never left the node, while other ports worked. IPVS \
                 keeps UDP entries for 300 s and, with expire_nodest_conn=0, silently drops what \
                 belongs to a removed backend. It ends by itself about {duration} after the \
                 removal.",
                queries = count(reused_failed, "query"),
                backend,
                service,
                duration = crate::base::words::duration(REMEMBERED)
            ),
            facts: vec![
                Fact {
                    label: text!("ports used with it before: failed / answered"),
                    value: text!("{reused_failed} / {reused_ok}", reused_failed, reused_ok),
                },
                Fact {
                    label: text!("other ports: failed / answered"),
                    value: text!("{others_failed} / {others_ok}", others_failed, others_ok),
                },
                Fact {
                    label: text!("chance of that"),
                    value: text!("{chance}", chance = format_args!("{:.1e}", chance)),
                },
                Fact { label: text!("clients"), value: list(&clients, 4) },
                Fact {
                    label: text!("first / last"),
                    value: text!(
                        "{start} / {end}",
                        start = clock(span.start),
                        end = clock(span.end)
                    ),
                },
            ],
            evidence: mine
                .iter()
                .take(6)
                .map(|(seen, client, _)| Proof {
                    seen: *seen,
                    summary: text!(
                        "query from {client}, a port that had talked to {backend}",
                        client,
                        backend
                    ),
                })
                .collect(),
            actions: vec![
                Action {
                    why: text!("see the old entries on the client's node"),
                    command: "ipvsadm -Ln; ipvsadm -Lnc | grep ':53 '".to_owned(),
                },
                Action {
                    why: text!("let IPVS forget UDP entries sooner"),
                    command: "ipvsadm --set 0 0 10; sysctl net.ipv4.vs.expire_nodest_conn"
                        .to_owned(),
                },
            ],
            ruled_out: vec![RuledOut {
                rule: "stale-backend",
                because: text!("nothing was translated to {backend} any more", backend),
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Fate, Situation, findings, findings_until};

    /// A client cycles through twenty ports; the backend of the even ones is gone from round 3 on,
    /// and with `dropped` their queries never leave the node.
    fn cycle(dropped: bool, rounds: u16) -> String {
        findings(&cycle_text(dropped, rounds))
    }

    fn cycle_text(dropped: bool, rounds: u16) -> String {
        let mut situation = Situation::cluster();
        let name = "redis.default.svc.cluster.local.";
        for round in 0..rounds {
            for port in 0..20_u16 {
                let at = f64::from(round) * 30.0 + f64::from(port);
                let id = 0x1000 + round * 32 + port;
                let gone = round >= 3;
                let via = if port % 2 == 0 && !gone { "dns1" } else { "dns2" };
                let pod = format!("pod:{}", 30_000 + port);
                if gone && port % 2 == 0 && dropped {
                    let ask = format!("{pod} > kube-dns via dns1 until veth id {id:x} rd A {name}");
                    situation.line(at, &ask);
                    situation.line(at + 5.0, &ask);
                    continue;
                }
                situation.line(at, &format!("{pod} > kube-dns via {via} id {id:x} rd A {name}"));
                let answer = format!("{pod} < kube-dns via {via} id {id:x} {name} 5 A 10.96.0.20");
                situation.line(at + 0.001, &answer);
            }
        }
        situation.ask(1.0, "near", "kube-dns", "dns3", Fate::Answered);
        situation.text().to_owned()
    }

    #[test]
    fn reused_ports_vanish_after_their_backend_is_gone() {
        let said = cycle(true, 6);
        assert!(said.contains(" ipvs-stale-udp [client-subnet 10.244.0.0/24"), "{said}");
    }

    #[test]
    fn reused_ports_that_work_are_quiet() {
        assert!(!cycle(false, 6).contains("ipvs-stale-udp"));
    }

    /// Four reused ports failed when the capture ends, and five are needed.
    #[test]
    fn a_capture_that_ends_with_the_first_failures_says_nothing() {
        let said = findings_until(&cycle_text(true, 6), 97.0);
        assert!(!said.contains("ipvs-stale-udp"), "{said}");
    }

    /// The fifth reused port decides; one that was idle for longer than IPVS remembers counts no
    /// more.
    #[test]
    fn five_failures_within_five_minutes_are_enough() {
        let said = findings(&cycle_for(10, 0.0, true));
        assert!(said.contains(" ipvs-stale-udp ["), "{said}");
        assert!(!findings(&cycle_for(8, 0.0, true)).contains("ipvs-stale-udp"));
        assert!(findings(&cycle_for(10, 200.0, true)).contains(" ipvs-stale-udp ["));
        assert!(!findings(&cycle_for(10, 320.0, true)).contains("ipvs-stale-udp"));
    }

    /// `ports` of twenty are used again after `idle` seconds more; the even ones of them vanish, or
    /// all of them and new ones besides.
    fn cycle_for(ports: u16, idle: f64, only_even: bool) -> String {
        let mut situation = Situation::cluster();
        let name = "redis.default.svc.cluster.local.";
        let mut say = |at: f64, port: u16, id: u16, via: &str, lost: bool| {
            let pod = format!("pod:{port}");
            let until = if lost { "until veth " } else { "" };
            let ask = format!("{pod} > kube-dns via {via} {until}id {id:x} rd A {name}");
            situation.line(at, &ask);
            if lost {
                situation.line(at + 5.0, &ask);
            } else {
                let answer = format!("{pod} < kube-dns via {via} id {id:x} {name} 5 A 10.96.0.20");
                situation.line(at + 0.001, &answer);
            }
        };
        for round in 0..3_u16 {
            for port in 0..20_u16 {
                let at = f64::from(round) * 30.0 + f64::from(port);
                let via = if port % 2 == 0 { "dns1" } else { "dns2" };
                say(at, 30_000 + port, 0x1000 + round * 32 + port, via, false);
            }
        }
        for port in 0..20_u16 {
            let at = 90.0 + idle + f64::from(port);
            let again = port < ports;
            let lost = again && (port % 2 == 0 || !only_even);
            let via = if lost && port % 2 == 0 { "dns1" } else { "dns2" };
            say(at, if again { 30_000 } else { 40_000 } + port, 0x2000 + port, via, lost);
            say(at + 0.5, 41_000 + port, 0x3000 + port, "dns2", !only_even);
        }
        situation.ask(1.0, "near", "kube-dns", "dns3", Fate::Answered);
        situation.ask(150.0 + idle, "near", "kube-dns", "dns3", Fate::Answered);
        situation.text().to_owned()
    }

    #[test]
    fn new_ports_that_vanish_too_are_no_matter_of_old_entries() {
        let said = findings(&cycle_for(20, 0.0, false));
        assert!(said.contains("[backend 10.96.0.10]"), "the failure is seen: {said}");
        assert!(!said.contains("ipvs-stale-udp"), "{said}");
    }
}
