//! Long-lived sockets keep talking to a backend that is no longer in the service.
//!
//! **Signature.** Some clients' unchanged source ports still go to a server and get no answer, at
//! least five times, while no new source port goes there: enough new sockets are translated to
//! other servers, and answered, that chance is out. The conntrack entry of a socket that keeps
//! sending never expires, so it stays translated to the removed backend.
//!
//! **Needs.** The query after translation, and clients with new sockets beside the old ones.
//!
//! **Not this.** New sockets that go to the silent server as well are `stale-backend` or
//! `dead-backend`. With IPVS the queries of old ports vanish instead (`ipvs-stale-udp`).
//!
//! **Cannot tell.** Whether kube-proxy failed to delete the conntrack entries or was too slow.
//!
//! Source: rulebook 2.B, K6; kubernetes/kubernetes issue 125467.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{AddressId, Map, Network, Purge, SocketId, Span, Timestamp, Transport};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Glance,
    Interest, Layer, Proof, RuledOut, Scene, Symptom, Where, Which,
};
use crate::transaction::{Outcome, Transaction};

/// Failed transactions: the one flow is the fault, so transactions count (rulebook 7.6).
const ENOUGH: u64 = 5;
/// New sockets must avoid the server with less than this chance.
const CHANCE: f64 = 0.001;
/// Sockets watched at once; idle ones make room.
const MAX_SOCKETS: usize = 50_000;
/// An unanswered entry is forgotten after 30 s, one of a stream after 120 s (K6).
const PINNED: std::time::Duration = std::time::Duration::from_mins(2);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "stale-flow-pin",
    title: "old sockets stay pinned to a removed backend",
    class: Class::Failure,
    layer: Layer::Path,
    references: &["rulebook 2.B, K6", "kubernetes/kubernetes #125467"],
    source: include_str!("stale_flow_pin.rs"),
    new: || Box::<StaleFlowPin>::default(),
};

/// Bounded by [`MAX_SOCKETS`].
#[derive(Default)]
struct StaleFlowPin {
    sockets: Map<(SocketId, AddressId), Socket>,
    /// Those that failed since their last answer: nearly none.
    failed: Map<(SocketId, AddressId), Failed>,
    purge: Purge,
    /// Who was answered last, and the second of that query: one more answer in it changes nothing.
    latest: Option<((SocketId, AddressId), u32)>,
}

/// What one socket got from one server.
struct Socket {
    first: Timestamp,
    /// The second of its last query.
    last: u32,
    answered: bool,
    /// Whether it is among those that failed.
    fails: bool,
}

/// Transactions of a socket that failed since its last answer.
struct Failed {
    client: SocketAddr,
    service: IpAddr,
    transactions: Vec<(Seen, Timestamp)>,
}

/// Failed transactions kept of one socket.
const MAX_FAILED: usize = 256;

/// A socket that went on with a server that did not answer.
struct Pin {
    client: SocketAddr,
    service: IpAddr,
    first: Timestamp,
    failed: Vec<(Seen, Timestamp)>,
}

impl Detector for StaleFlowPin {
    fn interest(&self) -> Interest {
        Interest::new(Which::All, Which::None)
    }

    fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
        let Some(last) = transaction.last_sent() else { return };
        if transaction.transport != Transport::Udp || transaction.backend().is_none() {
            return;
        }
        let first = glance.first;
        let (key, at) = ((transaction.client.into(), glance.responder), second(last.ts));
        let answered = transaction.outcome().is_answered();
        if answered && self.latest == Some((key, at)) {
            return;
        }
        self.latest = None;
        if self.sockets.len() >= MAX_SOCKETS && self.purge.is_due(first.ts, PINNED) {
            let (now, pinned) = (second(first.ts), PINNED.as_secs());
            self.sockets.retain(|_, socket| {
                socket.fails || u64::from(now.saturating_sub(socket.last)) <= pinned
            });
            // What was removed would count as full, and the table would double.
            self.sockets.shrink_to_fit();
        }
        if self.sockets.len() >= MAX_SOCKETS {
            return;
        }
        let socket = self.sockets.entry(key).or_insert_with(|| Socket {
            first: first.ts,
            last: 0,
            answered: false,
            fails: false,
        });
        socket.last = at;
        if was_in_vain(transaction) {
            socket.fails = true;
            let failed = self.failed.entry(key).or_insert_with(|| Failed {
                client: transaction.client,
                service: transaction.server.ip(),
                transactions: Vec::new(),
            });
            if failed.transactions.len() < MAX_FAILED {
                failed.transactions.push((first, last.ts));
            }
        } else if answered {
            self.latest = Some((key, at));
            socket.answered = true;
            // What failed before an answer was no removal.
            if std::mem::take(&mut socket.fails) {
                self.failed.remove(&key);
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Self { sockets, failed, .. } = *self;
        let mut by_server: BTreeMap<IpAddr, Vec<Pin>> = BTreeMap::new();
        for (key, failed) in failed {
            let Some(socket) = sockets.get(&key) else { continue };
            // One transaction on a socket is a new flow; the rest of it is the pin.
            if socket.answered || failed.transactions.len() > 1 {
                by_server.entry(scene.addresses.address(key.1)).or_default().push(Pin {
                    client: failed.client,
                    service: failed.service,
                    first: socket.first,
                    failed: failed.transactions,
                });
            }
        }
        by_server
            .into_iter()
            .filter_map(|(server, mut pins)| {
                pins.sort_by_key(|pin| pin.client);
                judge(server, &pins, scene)
            })
            .collect()
    }
}

/// Whether it was asked in vain: by its outcome, or because the client was seen to give up its first try,
/// whatever the capture's end hides of the last one.
fn was_in_vain(transaction: &Transaction) -> bool {
    match transaction.outcome() {
        Outcome::Timeout | Outcome::Rejected(_) => true,
        Outcome::Unknown => {
            transaction.attempts.len() > 1 && transaction.responses.is_empty() && !transaction.blind
        }
        _ => false,
    }
}

/// The second since the epoch, to say that a socket has long been idle.
fn second(at: Timestamp) -> u32 {
    u32::try_from(at.nanos().div_euclid(1_000_000_000)).unwrap_or_default()
}

fn judge(server: IpAddr, pins: &[Pin], scene: &Scene<'_>) -> Option<Finding> {
    let failed: u64 = pins.iter().map(|pin| pin.failed.len() as u64).sum();
    let frames: BTreeSet<Seen> =
        pins.iter().flat_map(|pin| pin.failed.iter().map(|(seen, _)| *seen)).collect();
    let last = pins.iter().flat_map(|pin| pin.failed.iter().map(|(_, last)| *last)).max()?;
    let span = Span::between(frames.first()?.ts, last);
    if failed < ENOUGH {
        return None;
    }
    let service = pins.first()?.service;
    let networks: BTreeSet<Network> =
        pins.iter().map(|pin| scene.reach.group(pin.client.ip())).collect();
    let (mut elsewhere, mut mates) = (0_u64, BTreeSet::new());
    for flow in networks.iter().flat_map(|network| scene.reach.flows_of(*network)) {
        if !flow.is_fresh() || flow.cell().server != service || !span.contains(flow.first.ts) {
            continue;
        }
        if flow.cell().responder == server {
            return None;
        }
        if flow.succeeded() {
            mates.insert(flow.cell().responder);
            elsewhere += u64::from(flow.weight());
        }
    }
    let choices = mates.len() as f64 + 1.0;
    if mates.is_empty() || (1.0 - 1.0 / choices).powf(elsewhere as f64) >= CHANCE {
        return None;
    }
    let clients: BTreeSet<IpAddr> = pins.iter().map(|pin| pin.client.ip()).collect();
    let since = pins.iter().map(|pin| pin.first).min()?;
    let example = pins.first()?.client;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{sockets} of {clients} stay pinned to backend {server}, which new sockets no longer \
             reach",
            sockets = count(pins.len() as u64, "long-lived socket"),
            clients = list(&clients, 3),
            server
        ),
        confidence: Confidence::Likely,
        culprits: vec![Culprit::Backend(server)],
        place: Where::ClientNode,
        span,
        ongoing: scene.lasts(span),
        transactions: failed,
        claim: Claim {
            span: Some(span),
            clients: Some(clients.clone()),
            servers: Some(BTreeSet::from([server])),
            symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Late]),
            ..Claim::default()
        },
        cause: text!(
            "From {start} on, {server} answers nothing and {service} is translated to {mates} for \
             new sockets; but sockets that were open before keep their conntrack entry, and as \
             long as they go on sending it does not expire. kube-proxy should delete such entries \
             when it removes a backend; here it did not, or could not.",
            start = clock(span.start),
            server,
            service,
            mates = list(&mates, 3)
        ),
        facts: vec![
            Fact {
                label: text!("pinned sockets"),
                value: list(pins.iter().map(|pin| pin.client), 5),
            },
            Fact { label: text!("their queries in vain"), value: plain(failed) },
            Fact {
                label: text!("new sockets meanwhile"),
                value: text!(
                    "{elsewhere}, all to {mates}, none to {server}",
                    elsewhere,
                    mates = list(&mates, 3),
                    server
                ),
            },
            Fact { label: text!("pinned since"), value: clock(since) },
        ],
        evidence: frames
            .iter()
            .take(6)
            .map(|seen| Proof {
                seen: *seen,
                summary: text!("query from an old socket, still translated to {server}", server),
            })
            .collect(),
        actions: vec![
            Action {
                why: text!("see the entries on the client's node"),
                command: format!("conntrack -L -p udp --dport 53 --src {}", example.ip()),
            },
            Action {
                why: text!("delete them; the sockets recover at once"),
                command: format!("conntrack -D -p udp --orig-dst {service} --dport 53"),
            },
            Action {
                why: text!("see whether kube-proxy is up to date and complains"),
                command: "kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=50 | grep -i \
                          conntrack"
                    .to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "stale-backend",
            because: text!("no new socket was translated to {server} meanwhile", server),
        }],
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    /// A client with one old socket on `dns1`, which dies at 20 s, and a neighbour with new
    /// sockets; `stale` says whether those, too, still get the dead server.
    fn pinned(stale: bool, end: f64) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\nold = 10.244.0.9\npod = 10.244.0.2\n",
        );
        let name = "redis.default.svc.cluster.local.";
        let (mut at, mut id) = (0.0, 0x100);
        while at < end {
            id += 1;
            let _ = writeln!(text, "{at:.3} old:5353 > kube-dns via dns1 id {id:x} rd A {name}");
            if at < 20.0 {
                let answer = at + 0.001;
                let _ = writeln!(
                    text,
                    "{answer:.3} old:5353 < kube-dns via dns1 id {id:x} {name} 5 A 10.96.0.20"
                );
                at += 3.0;
            } else {
                let again = at + 5.0;
                let _ =
                    writeln!(text, "{again:.3} old:5353 > kube-dns via dns1 id {id:x} rd A {name}");
                at += 10.0;
            }
        }
        let mut port = 40_000;
        let mut at = 0.5;
        while at < end {
            port += 1;
            let dead = stale && port % 2 == 0 && at > 20.0;
            let via = if dead || (at < 20.0 && port % 2 == 0) { "dns1" } else { "dns2" };
            let _ =
                writeln!(text, "{at:.3} pod:{port} > kube-dns via {via} id {port:x} rd A {name}");
            if dead {
                let again = at + 5.0;
                let _ = writeln!(
                    text,
                    "{again:.3} pod:{port} > kube-dns via {via} id {port:x} rd A {name}"
                );
            } else {
                let answer = at + 0.001;
                let _ = writeln!(
                    text,
                    "{answer:.3} pod:{port} < kube-dns via {via} id {port:x} {name} 5 A 10.96.0.20"
                );
            }
            at += 1.0;
        }
        text
    }

    #[test]
    fn an_old_socket_is_pinned_while_new_ones_work() {
        let said = findings(&pinned(false, 90.0));
        assert!(said.contains(" stale-flow-pin [backend 10.244.1.10] likely"), "{said}");
    }

    #[test]
    fn new_sockets_that_fail_too_make_it_a_dead_backend() {
        let said = findings(&pinned(true, 90.0));
        assert!(!said.contains("stale-flow-pin") && said.contains("dead-backend"), "{said}");
    }

    #[test]
    fn four_failures_are_not_enough() {
        assert!(!findings(&pinned(false, 55.0)).contains("stale-flow-pin"));
    }

    /// The fifth query in vain goes out at 61 s and is given up five seconds later.
    #[test]
    fn five_failures_are_enough_and_the_fifth_must_be_beyond_doubt() {
        let text = pinned(false, 90.0);
        assert!(findings_until(&text, 80.0).contains(" stale-flow-pin ["));
        let said = findings_until(&text, 63.0);
        assert!(!said.contains("stale-flow-pin"), "{said}");
        // Repeated at 66 s, so that the first try was in vain whatever the end hides.
        let said = findings_until(&text, 68.0);
        assert!(said.contains(" stale-flow-pin ["), "{said}");
    }

    /// Without new sockets nobody knows where the service sends now.
    #[test]
    fn a_socket_without_company_proves_no_removal() {
        let alone: String = pinned(false, 90.0)
            .lines()
            .filter(|line| !line.contains("pod:"))
            .map(|line| format!("{line}\n"))
            .collect();
        let said = findings(&alone);
        assert!(said.contains("[backend 10.244.1.10]"), "the silence is seen: {said}");
        assert!(!said.contains("stale-flow-pin"), "{said}");
    }
}
