//! A query was repeated although it had been answered in time; nobody knows why.
//!
//! **Signature.** The answer is delivered, or leaves for the client where the capture was taken on the
//! way to it or at the server's side, and the same query with the same id from the same port
//! follows on a retry timer. Not harm by itself as far as the capture shows.
//!
//! **Needs.** At least twenty such repeats.
//!
//! **Not this.** A sibling that was not answered makes glibc repeat both; equal ids are
//! `glibc-id-collision`; other rules say why an answer was refused (`wrong-source-reply`,
//! `case-mismatch`) or lost on the node (`client-overload`). Here nothing of the kind is seen.
//!
//! **Cannot tell.** The reason. Where the capture shows the client's own interface, it lies in the
//! client; from further off, the answers may as well be lost on the rest of their way
//! (`path-broken-pair`, where it is all that a client asks). Information only.
//!
//! Source: rulebook 2.G, 4.6.

use std::collections::BTreeSet;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::base::Span;
use crate::base::words::{count, list, text};
use crate::capture::Seen;
use crate::detect::vanish::{is_from_afar, places_home};
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, HarmKind,
    Interest, Layer, Proof, Scene, Where, Which,
};
use crate::lookup::Lookup;
use crate::transaction::{Transaction, timing};

/// Fewer are not worth a line.
const ENOUGH: u64 = 20;
/// Clients named, example frames.
const MAX_CLIENTS: usize = 1_024;
const FRAMES: usize = 4;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "dup-query-no-effect",
    title: "queries are repeated although they were answered",
    class: Class::Capture,
    layer: Layer::Resolver,
    references: &["rulebook 2.G", "rulebook 4.6"],
    source: include_str!("dup_query_no_effect.rs"),
    new: || Box::<DupQuery>::default(),
};

/// Bounded by the caps above.
#[derive(Default)]
struct DupQuery {
    repeats: u64,
    /// Of them, those whose queries came to the capture point from elsewhere.
    from_afar: u64,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl Detector for DupQuery {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::Unusual)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if !lookup.transactions().any(|asked| asked.attempts.len() > 1) {
            return;
        }
        let asked: SmallVec<[&Transaction; 4]> = lookup.transactions().map(AsRef::as_ref).collect();
        if !asked.iter().all(|transaction| is_plain(transaction)) {
            return;
        }
        let ids: BTreeSet<(u16, u16)> =
            asked.iter().map(|asked| (asked.client.port(), asked.id)).collect();
        if ids.len() < asked.len() {
            return;
        }
        for transaction in asked.iter().filter(|asked| asked.attempts.len() > 1) {
            self.repeats += 1;
            self.from_afar += u64::from(is_from_afar(transaction));
            let own = Span::at(transaction.first().ts);
            self.span = Some(self.span.map_or(own, |span| span.join(own)));
            if self.clients.len() < MAX_CLIENTS {
                self.clients.insert(lookup.client);
            }
            let again = transaction.last_sent().filter(|_| self.frames.len() < FRAMES);
            self.frames.extend(again);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let Some(span) = self.span.filter(|_| self.repeats >= ENOUGH) else {
            return Vec::new();
        };
        let queries = count(self.repeats, "query");
        let (title, cause, place) = if self.from_afar == 0 {
            let title = text!(
                "{queries} repeated after the answer had been delivered, for no reason that the \
                 capture shows",
                queries
            );
            let cause = text!(
                "The answers were delivered to the client's interface and fit their questions; the \
                 client asked again on its timer."
            );
            (title, cause, Where::ClientNode)
        } else {
            let title = text!(
                "{queries} repeated after the answer had been sent, for no reason that the capture \
                 shows",
                queries
            );
            let cause = text!(
                "The answers passed the capture point on their way to the client and fit their \
                 questions; the client asked again on its timer. Whether they arrived does not show \
                 here: record on the client's node."
            );
            (title, cause, Where::Unknown)
        };
        vec![Finding {
            rule: &DETECTOR,
            title,
            confidence: Confidence::Possible,
            culprits: self.clients.iter().take(5).copied().map(Culprit::Client).collect(),
            place,
            span,
            ongoing: scene.lasts(span),
            transactions: self.repeats,
            claim: nothing(),
            cause,
            facts: vec![Fact { label: text!("clients"), value: list(&self.clients, 5) }],
            evidence: self
                .frames
                .iter()
                .map(|seen| Proof { seen: *seen, summary: text!("asked again, though answered") })
                .collect(),
            actions: vec![Action {
                why: text!("see whether its sockets overflow"),
                command: "kubectl exec <pod> -- nstat -az | grep -i UdpRcvbufErrors".to_owned(),
            }],
            ruled_out: Vec::new(),
        }]
    }
}

/// A claim that fits nothing: the rule harms nobody.
fn nothing() -> Claim {
    Claim {
        kinds: BTreeSet::from([HarmKind::Negative]),
        zones: Some(BTreeSet::new()),
        ..Claim::default()
    }
}

/// Whether the first attempt was answered with something that a client takes, and any repeat came
/// on a timer.
fn is_plain(transaction: &Transaction) -> bool {
    let Some(answer) = transaction.responses.first() else { return false };
    let again = transaction.attempts.get(1).map(|attempt| attempt.sent().ts);
    answer.reached()
        && places_home(transaction, answer) > 0
        && answer.case_kept
        && transaction.outcome().is_answered()
        && again.is_none_or(|again| {
            answer.delivered().ts < again
                && timing::on_retry_grid(again.since(transaction.first().ts))
        })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::testkit::{findings, findings_until};

    fn repeats(rounds: u32, answer: f64) -> String {
        let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
        for round in 0..rounds {
            let at = f64::from(round) * 7.0;
            let (port, id, name) = (30_000 + round, 0x1000 + round, "a.example.com.");
            let _ = writeln!(
                text,
                "{at:.3} pod:{port} > dns rd id {id:x} A {name}\n\
                 {:.3} pod:{port} < dns id {id:x} {name} 5 A 192.0.2.1\n\
                 {:.3} pod:{port} > dns rd id {id:x} A {name}\n\
                 {:.3} pod:{port} < dns id {id:x} {name} 5 A 192.0.2.1",
                at + answer,
                at + 5.001,
                at + 5.002 + answer
            );
        }
        text
    }

    #[test]
    fn answered_queries_are_repeated_for_no_reason() {
        let said = findings(&repeats(20, 0.001));
        assert!(said.contains("info dup-query-no-effect"), "{said}");
    }

    #[test]
    fn nineteen_are_not_worth_a_line_and_losses_are_something_else() {
        for text in [repeats(19, 0.001), repeats(20, 5.0015)] {
            let said = findings(&text);
            assert!(!said.contains("dup-query-no-effect"), "{said}");
        }
    }

    /// As the musl of a pod repeats what its node loses.
    #[test]
    fn answers_that_stop_on_the_node_were_not_delivered() {
        let repeats = |place: &str| {
            let name = "a.example.com.";
            let mut text = String::from(
                "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
                 pod = 10.244.0.2\n",
            );
            for round in 0..60_u32 {
                let (at, port, id) = (f64::from(round) * 7.0, 30_000 + round, 0x1000 + round);
                let lost = round >= 40;
                for (at, place) in [(at, if lost { place } else { "" }), (at + 5.001, "")] {
                    let _ = writeln!(
                        text,
                        "{at:.3} pod:{port} > kube-dns via dns1 rd id {id:x} A {name}\n\
                         {:.3} pod:{port} < kube-dns id {id:x} {name} 5 A 192.0.2.1 {place}",
                        at + 0.001
                    );
                    if !lost {
                        break;
                    }
                }
            }
            findings(&text)
        };
        assert!(repeats("").contains("dup-query-no-effect"), "{}", repeats(""));
        let said = repeats("until overlay");
        assert!(!said.contains("dup-query-no-effect"), "{said}");
    }

    #[test]
    fn a_capture_that_ends_before_the_last_repeat_says_nothing() {
        let said = findings_until(&repeats(20, 0.001), 19.0 * 7.0 + 4.0);
        assert!(!said.contains("dup-query-no-effect"), "{said}");
    }

    /// A and AAAA with one id, and glibc asks both again: a known fault with a rule of its own.
    #[test]
    fn equal_ids_have_their_own_rule() {
        let pairs = |aaaa: u32| {
            let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
            for round in 0..20_u32 {
                let at = f64::from(round) * 7.0;
                let (port, id, name) = (30_000 + round, 0x1000 + round, "a.example.com.");
                let other = id + aaaa;
                for at in [at, at + 5.001] {
                    let _ = writeln!(
                        text,
                        "{at:.4} pod:{port} > dns rd id {id:x} A {name}\n\
                         {:.4} pod:{port} > dns rd id {other:x} AAAA {name}\n\
                         {:.4} pod:{port} < dns id {id:x} ? A {name} {name} 5 A 192.0.2.1\n\
                         {:.4} pod:{port} < dns id {other:x} ? AAAA {name} NOERROR",
                        at + 0.0001,
                        at + 0.001,
                        at + 0.0011
                    );
                }
            }
            findings(&text)
        };
        assert!(!pairs(0).contains("dup-query-no-effect"), "{}", pairs(0));
        assert!(pairs(0).contains("glibc-id-collision"), "{}", pairs(0));
        assert!(pairs(0x100).contains("dup-query-no-effect"), "{}", pairs(0x100));
    }
}
