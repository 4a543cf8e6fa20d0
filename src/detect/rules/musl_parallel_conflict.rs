//! musl asked two servers at once, and the one that knew nothing answered first.
//!
//! **Signature.** One socket sends the same question with the same id to two or more servers
//! within 5 ms, which only musl does. One server says that there is no such name or record,
//! another one has data; the negative answer comes first, and the lookup ends with it.
//!
//! **Needs.** The client's own queries and answers to all of its servers, of two lookups.
//!
//! **Not this.** The two legs of one translated query: those are one datagram. Servers that agree.
//! Data that comes first: musl takes it. A later candidate of the search list that succeeded.
//!
//! **Cannot tell.** Which of the servers is right about the name.
//!
//! Source: rulebook 2.D and section 3; musl `src/network/res_msend.c` (measured: V18).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::hash_map::Entry;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Map, Purge, SocketId, Span, Timestamp, entry_within};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Harmed,
    Interest, Layer, Proof, RuledOut, Scene, Where, Which,
};
use crate::dns::{Name, RecordType};
use crate::lookup::{Lookup, LookupOutcome};
use crate::transaction::Outcome;

/// Lookups that must have failed (rulebook 7.6).
const ENOUGH: usize = 2;
/// Parallel questions leave within this (rulebook 2.D).
const AT_ONCE: Duration = Duration::from_millis(5);
/// Questions that wait for their other half, which was sent within 5 ms.
const MAX_OPEN: usize = 4_096;
/// Lookups kept one by one.
const MAX_LOOKUPS: usize = 20_000;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "musl-parallel-conflict",
    title: "the first negative answer of several servers won",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "musl src/network/res_msend.c"],
    source: include_str!("musl_parallel_conflict.rs"),
    new: || Box::<MuslParallelConflict>::default(),
};

/// A transaction that may be one half of a parallel question.
#[derive(Clone)]
struct Half {
    server: SocketId,
    responder: IpAddr,
    sent: Timestamp,
    answered: Seen,
    /// Whether the server had data.
    has_data: bool,
    /// The lookup, if it ended with a denial, as far as this server's answers go.
    denied: Option<Box<Harmed>>,
}

/// What makes two transactions one parallel question: socket, id, the digest of the name, type.
type Key = (SocketId, u16, u64, RecordType);

/// Bounded by [`MAX_OPEN`] and [`MAX_LOOKUPS`].
#[derive(Default)]
struct MuslParallelConflict {
    open: Map<Key, Half>,
    purge: Purge,
    /// By the server that denied.
    conflicts: BTreeMap<IpAddr, Conflicts>,
    kept: usize,
}

#[derive(Default)]
struct Conflicts {
    wrong: BTreeMap<(Seen, IpAddr), Harmed>,
    span: Option<Span>,
    /// The denial, and what came too late and from whom.
    frames: Vec<(Seen, Seen, IpAddr)>,
    names: BTreeSet<Name>,
    clients: BTreeSet<IpAddr>,
    /// The servers that knew, for one of a list may be a service with several behind it.
    known: BTreeSet<IpAddr>,
}

impl Detector for MuslParallelConflict {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        let Some(end) = lookup.end else { return };
        // Nothing that is yet to come was sent before this lookup began.
        let now = lookup.start.ts;
        self.purge.make_room(&mut self.open, MAX_OPEN, (now, AT_ONCE), |_, half| {
            now.since(half.sent) <= AT_ONCE
        });
        for step in lookup.last_round() {
            let Some(asked) = step.transaction() else { continue };
            let Some(answer) = asked.answer() else { continue };
            let outcome = asked.outcome();
            let denied = outcome == Outcome::Negative
                && (lookup.outcome == LookupOutcome::Negative || asks_several(lookup));
            let half = Half {
                server: asked.server.into(),
                responder: asked.responder(),
                sent: asked.first().ts,
                answered: answer.delivered(),
                has_data: outcome == Outcome::Ok,
                denied: denied.then(|| Box::new(Harmed::wrong(lookup, end))),
            };
            let question = &asked.question;
            let key = (asked.client.into(), asked.id, question.name.digest(), question.rtype);
            self.take(key, half);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.conflicts
            .into_iter()
            .filter(|(_, conflicts)| conflicts.wrong.len() >= ENOUGH)
            .filter_map(|(denied, conflicts)| finding(denied, conflicts, scene))
            .collect()
    }
}

/// Whether a lookup asked more than one server.
fn asks_several(lookup: &Lookup) -> bool {
    let mut servers = lookup.transactions().map(|asked| asked.server.ip());
    let first = servers.next();
    servers.any(|server| Some(server) != first)
}

impl MuslParallelConflict {
    /// Holds one half against the other, or keeps it until the other one comes.
    fn take(&mut self, key: Key, half: Half) {
        let mut known = match entry_within(&mut self.open, key, MAX_OPEN) {
            Some(Entry::Occupied(known)) => known,
            Some(Entry::Vacant(place)) => {
                place.insert(half);
                return;
            }
            None => return,
        };
        let other = known.get();
        if other.server == half.server || other.sent.distance(half.sent) > AT_ONCE {
            known.insert(half);
            return;
        }
        let other = other.clone();
        let (no, yes) = if half.denied.is_some() { (half, other) } else { (other, half) };
        if yes.has_data && no.answered < yes.answered {
            self.conflict(no, &yes);
        }
    }

    fn conflict(&mut self, no: Half, yes: &Half) {
        let Some(lookup) = no.denied.filter(|_| self.kept < MAX_LOOKUPS) else { return };
        self.kept += 1;
        let conflicts = self.conflicts.entry(no.responder).or_default();
        conflicts.known.insert(yes.responder);
        let at = no.answered.ts;
        conflicts.span = Some(conflicts.span.map_or(Span::at(at), |span| span.with(at)));
        conflicts.names.insert(lookup.name.clone());
        conflicts.clients.insert(lookup.client);
        if conflicts.frames.len() < 4 {
            conflicts.frames.push((no.answered, yes.answered, yes.responder));
        }
        conflicts.wrong.insert((lookup.start, lookup.client), *lookup);
    }
}

fn finding(denied: IpAddr, conflicts: Conflicts, scene: &Scene<'_>) -> Option<Finding> {
    let span = conflicts.span?;
    let known = list(&conflicts.known, 3);
    let example = conflicts.known.first()?;
    let lookups = conflicts.wrong.len() as u64;
    let name = conflicts.names.first()?.clone();
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "musl took the first answer of two servers: {denied} denied what {known} knew, and \
             {lookups} failed from {start} to {end}",
            denied,
            known,
            lookups = count(lookups, "lookup"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Backend(denied)],
        place: Where::ClientNode,
        span,
        ongoing: scene.lasts(span),
        transactions: lookups,
        claim: Claim { wrong: conflicts.wrong, ..Claim::default() },
        cause: text!(
            "musl asks every nameserver of resolv.conf at the same time and believes the first one \
             that answers at all. {denied} does not know names that {known} knows, and answers \
             sooner.",
            denied,
            known
        ),
        facts: vec![
            Fact { label: text!("lookups that failed"), value: plain(lookups) },
            Fact { label: text!("clients"), value: list(&conflicts.clients, 4) },
            Fact { label: text!("names"), value: list(&conflicts.names, 4) },
        ],
        evidence: conflicts
            .frames
            .into_iter()
            .flat_map(|(no, yes, known)| {
                [
                    Proof { seen: no, summary: text!("{denied} denies it", denied) },
                    Proof { seen: yes, summary: text!("{known} knows it, too late", known) },
                ]
            })
            .collect(),
        actions: vec![
            Action {
                why: text!("compare the two servers"),
                command: format!("dig @{denied} {name}; dig @{example} {name}"),
            },
            Action {
                why: text!("give musl images a single nameserver, or use a glibc image"),
                command: format!(
                    "kubectl get pods -A -o wide | grep -wF {}; kubectl exec <pod> -- cat \
                     /etc/resolv.conf",
                    conflicts.clients.first()?
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: text!("{known} has data for the same question", known),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::{findings, findings_until};

    /// The same question to two servers at once; the answers come after `one` and `two` ms.
    fn scenario(times: usize, one: u32, two: u32, denial: &str) -> String {
        let name = "git.corp.example.";
        format!(
            "pod = 10.0.0.5\nlocal = 10.96.0.10\ncorp = 192.0.2.53\nrepeat {times} every 1\n\
             0.0000 pod:40000 > local id 1a rd A {name}\n\
             0.0001 pod:40000 > corp id 1a rd A {name}\n\
             0.{one:03} pod:40000 < local id 1a {denial}\n\
             0.{two:03} pod:40000 < corp id 1a {name} 60 A 192.0.2.80\nend\n"
        )
    }

    #[test]
    fn a_denial_overtakes_the_data() {
        insta::assert_snapshot!(findings(&scenario(2, 1, 5, "NXDOMAIN")), @"low musl-parallel-conflict [backend 10.96.0.10] confirmed 10:00:00.001-10:00:01.001 2/2");
    }

    #[test]
    fn one_lookup_is_too_few() {
        insta::assert_snapshot!(findings(&scenario(1, 1, 5, "NXDOMAIN")), @"quiet");
    }

    #[test]
    fn data_that_comes_first_is_taken() {
        insta::assert_snapshot!(findings(&scenario(5, 5, 1, "NXDOMAIN")), @"quiet");
    }

    #[test]
    fn servers_that_agree_are_no_conflict() {
        let same = "git.corp.example. 60 A 192.0.2.80";
        insta::assert_snapshot!(findings(&scenario(5, 1, 5, same)), @"quiet");
    }

    #[test]
    fn without_the_second_answer_there_is_no_conflict_to_see() {
        let text = scenario(5, 1, 5, "NXDOMAIN").replace("192.0.2.80", "192.0.2.80 lost");
        assert!(!findings(&text).contains("musl"));
    }

    #[test]
    fn a_capture_that_ends_before_the_second_answer_says_nothing() {
        assert_eq!(findings_until(&scenario(2, 1, 5, "NXDOMAIN"), 1.003), "quiet\n");
    }

    /// The other server of the list is a service with two backends.
    #[test]
    fn one_denier_is_one_finding_whoever_knew() {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\ncorp = 192.0.2.53\n",
        );
        for round in 0..12_u32 {
            let (port, via) = (40_000 + round, 1 + round % 2);
            let name = format!("s{round}.default.svc.cluster.local.");
            text += &format!(
                "{round}.0000 pod:{port} > kube-dns via dns{via} id 1a rd A {name}\n\
                 {round}.0001 pod:{port} > corp id 1a rd A {name}\n\
                 {round}.001 pod:{port} < corp id 1a NXDOMAIN\n\
                 {round}.005 pod:{port} < kube-dns via dns{via} id 1a aa {name} 60 A 10.96.0.20\n"
            );
        }
        let said = findings(&text);
        assert_eq!(said.matches("musl-parallel-conflict [").count(), 1, "{said}");
        assert!(!said.contains("coredns-unsynced"), "{said}");
    }
}
