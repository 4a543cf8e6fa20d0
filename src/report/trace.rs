//! A second look at the captures: the exchanges that the evidence of each incident belongs to.
//!
//! An analysis keeps the frames that prove an incident, not the packets. Whoever wants to draw or
//! to extract them reads the captures once more and picks every transaction that one of those
//! frames is part of, with all its copies.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::analysis::{Analysis, Options, Progress, Sinks, run};
use crate::base::Timestamp;
use crate::base::words::{Text, ToText, duration, join, plain, text};
use crate::capture::{FrameRef, Inventory, Seen};
use crate::incident::Incident;
use crate::report::{Ladder, Rung, RungKind};
use crate::transaction::{Attempt, Hops, Response, Transaction};

/// Packets kept for one incident, copies folded; evidence is a few frames, each of one transaction.
const MAX_RUNGS: usize = 256;
/// Frames kept for one incident.
const MAX_FRAMES: usize = 4_096;
/// An answer that took this long says so.
const WAITED: Duration = Duration::from_millis(100);

/// What proves one incident.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The packets, copies folded.
    pub ladder: Ladder,
    /// Every frame, copies and all, and why it is there.
    pub frames: BTreeMap<FrameRef, String>,
}

/// What proves each of the incidents of `analysis`, in their order.
pub fn trace(
    inventory: &Inventory,
    options: &Options,
    analysis: &Analysis,
    progress: Progress<'_>,
) -> Vec<Trace> {
    let mut traces: Vec<Trace> = analysis.incidents.iter().map(own_frames).collect();
    let mut wanted: HashMap<FrameRef, Vec<usize>> = HashMap::new();
    for (index, incident) in analysis.incidents.iter().enumerate() {
        for proof in &incident.cause.evidence {
            wanted.entry(proof.seen.at).or_default().push(index);
        }
    }
    let mut note = |transaction: &Transaction| {
        let mut owners: Vec<usize> = hops(transaction)
            .flatten()
            .filter_map(|hop| wanted.get(&hop.seen.at))
            .flatten()
            .copied()
            .collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            if let Some(trace) = traces.get_mut(owner) {
                trace.note(transaction);
            }
        }
    };
    run(inventory, options, Sinks { transactions: Some(&mut note), lookups: None }, progress);
    for trace in &mut traces {
        trace.ladder.rungs.sort_by_key(|rung| rung.seen);
    }
    traces
}

/// Evidence is there whether or not it belongs to a transaction: a SYN, an ICMP error.
fn own_frames(incident: &Incident) -> Trace {
    let rule = incident.cause.rule.id;
    let proofs = incident.cause.evidence.iter();
    let frames = proofs.map(|proof| (proof.seen.at, format!("{rule}: {}", proof.summary)));
    Trace { ladder: Ladder::default(), frames: frames.collect() }
}

fn hops(transaction: &Transaction) -> impl Iterator<Item = &Hops> {
    let attempts = transaction.attempts.iter().map(|attempt| &attempt.hops);
    attempts.chain(transaction.responses.iter().map(|response| &response.hops))
}

impl Trace {
    fn note(&mut self, transaction: &Transaction) {
        let question = format!("{} {}", transaction.question.rtype, transaction.question.name);
        let all = transaction.attempts.len();
        for (index, attempt) in transaction.attempts.iter().enumerate() {
            let (what, kind) = sent(transaction, index, attempt);
            let why = format!("query {} of {all} for {question}", index + 1);
            self.frames(&attempt.hops, &why);
            let to = attempt.backend(transaction.server).unwrap_or(transaction.server.ip());
            let ends = (transaction.client.ip(), to);
            self.rung(
                attempt.sent(),
                ends,
                text!("{what}{question}", what, question = plain(&question)),
                kind,
            );
        }
        for response in &transaction.responses {
            let (what, kind) = came(transaction, response);
            self.frames(&response.hops, &format!("answer to {question}: {what}"));
            let from = response.origin().unwrap_or(transaction.server.ip());
            self.rung(response.arrived(), (from, transaction.client.ip()), what, kind);
        }
        for rejected in &transaction.rejections {
            let what = text!("ICMP {kind}", kind = rejected.kind);
            self.insert(rejected.seen.at, format!("{what} about {question}"));
            let ends = (rejected.from, transaction.client.ip());
            self.rung(rejected.seen, ends, what, RungKind::Bad);
        }
    }

    fn rung(&mut self, seen: Seen, (from, to): (IpAddr, IpAddr), what: Text, kind: RungKind) {
        if self.ladder.rungs.len() < MAX_RUNGS {
            self.ladder.rungs.push(Rung { seen, from, to, what, kind });
        }
    }

    fn frames(&mut self, hops: &Hops, why: &str) {
        let first = hops.iter().map(|hop| hop.seen).min();
        for hop in hops {
            let copy = if Some(hop.seen) == first {
                String::new()
            } else {
                format!(" (the same datagram seen again, {} to {})", hop.client, hop.server)
            };
            self.insert(hop.seen.at, format!("{why}{copy}"));
        }
    }

    /// What a rule said of a frame stands before what the frame is.
    fn insert(&mut self, at: FrameRef, why: String) {
        if let Some(said) = self.frames.get_mut(&at) {
            said.push_str("; ");
            said.push_str(&why);
        } else if self.frames.len() < MAX_FRAMES {
            self.frames.insert(at, why);
        }
    }
}

/// What an attempt is, and whether anything came of it.
fn sent(transaction: &Transaction, index: usize, attempt: &Attempt) -> (Text, RungKind) {
    let at = attempt.sent().ts;
    let next = transaction.attempts.get(index + 1).map_or(Timestamp::MAX, |next| next.sent().ts);
    let answered = transaction
        .responses
        .iter()
        .filter(|response| response.reached())
        .any(|response| (at..next).contains(&response.arrived().ts));
    let what = if index == 0 { Text::EMPTY } else { text!("again: ") };
    (what, if answered { RungKind::Query } else { RungKind::Lost })
}

/// What a response says, and whether it helped.
fn came(transaction: &Transaction, response: &Response) -> (Text, RungKind) {
    use crate::dns::AnswerKind;
    let in_time = transaction.answer().is_some_and(|answer| std::ptr::eq(answer, response))
        || transaction.deadline().is_some_and(|deadline| response.arrived().ts <= deadline);
    let says = match response.kind {
        AnswerKind::Truncated => text!("truncated"),
        AnswerKind::NoData => text!("{rcode} without data", rcode = response.rcode),
        _ => response.rcode.to_text(),
    };
    let (after, bad) = match (response.reached(), in_time) {
        (false, _) => (text!(", not delivered"), true),
        (true, false) => (text!(", too late"), true),
        (true, true) => (Text::EMPTY, matches!(response.kind, AnswerKind::Error(_))),
    };
    let first = transaction.attempts.first().map(|attempt| attempt.sent().ts);
    let waited = first.map(|first| response.arrived().ts.since(first));
    let waited = match waited {
        Some(waited) if waited >= WAITED => text!(" after {wait}", wait = duration(waited)),
        _ => Text::EMPTY,
    };
    (join([says, waited, after], ""), if bad { RungKind::Bad } else { RungKind::Answer })
}
