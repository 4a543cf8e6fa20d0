//! What happened, in order of time: one rung for each datagram, connection and wait.

use std::time::Duration;

use super::answers;
use super::model::{Event, Rung, Sighting};
use super::words;
use crate::analysis::Analysis;
use crate::base::words::{Text, ToText, count, duration, text};
use crate::base::{Timestamp, Transport};
use crate::capture::FrameRef;
use crate::lookup::{Lookup, Role, Sent, Step};
use crate::transaction::{
    Attempt, ConnectOutcome, Hops, Outcome, Rejected, TcpAttempt, Transaction, timing,
};

/// A wait shorter than this is not worth a rung.
const WAIT: Duration = Duration::from_millis(200);

/// Builds a ladder.
pub(super) struct Ladder<'a> {
    pub(super) analysis: &'a Analysis,
    pub(super) asked: Option<FrameRef>,
    pub(super) start: Timestamp,
    pub(super) rungs: Vec<Rung>,
}

impl<'a> Ladder<'a> {
    pub(super) fn new(analysis: &'a Analysis, asked: Option<FrameRef>, start: Timestamp) -> Self {
        Self { analysis, asked, start, rungs: Vec::new() }
    }

    /// The rungs in order, with the waits between them.
    pub(super) fn finish(mut self) -> Vec<Rung> {
        // Stable: what happened at the same instant stays in the order of asking.
        self.rungs.sort_by_key(|rung| rung.at);
        let mut with_waits: Vec<Rung> = Vec::with_capacity(self.rungs.len());
        for rung in std::mem::take(&mut self.rungs) {
            if let Some(before) = with_waits.last() {
                let gap = rung.at.since(before.at);
                if gap >= WAIT {
                    let why = match rung.event {
                        Event::Query | Event::Candidate => text!("then the client's timer"),
                        Event::Connection => text!("then the client connects"),
                        Event::Answer | Event::Icmp => text!("then this comes back"),
                        Event::End => text!("then the resolver's last timer"),
                        Event::Leg | Event::Wait => text!("then"),
                    };
                    let text =
                        text!("{gap} in which nothing happens, {why}", gap = duration(gap), why);
                    with_waits.push(self.rung(before.at, Event::Wait, text, &Hops::default()));
                }
            }
            with_waits.push(rung);
        }
        with_waits
    }

    pub(super) fn rung(&self, at: Timestamp, event: Event, text: Text, hops: &Hops) -> Rung {
        let nanos = at.nanos().saturating_sub(self.start.nanos());
        let seen = words::sightings(hops, self.analysis, self.asked);
        Rung {
            offset_seconds: nanos as f64 / 1e9,
            time: at.to_string(),
            event,
            text,
            verdict: None,
            asked_about: seen.iter().any(|sighting| sighting.asked_about),
            seen,
            at,
        }
    }

    /// Everything that a lookup did.
    pub(super) fn lookup(&mut self, lookup: &Lookup) {
        let mut round = None;
        for step in &lookup.steps {
            let Some(asked) = step.transaction() else { continue };
            if round.replace(step.round) != Some(step.round) {
                let suffixed = asked.question.name != lookup.name;
                let tail = if suffixed { text!(", with a search suffix") } else { Text::EMPTY };
                let nth = step.round + 1;
                let text =
                    text!("candidate {nth}: {name}{tail}", nth, name = asked.question.name, tail);
                self.rungs.push(self.rung(
                    asked.first().ts,
                    Event::Candidate,
                    text,
                    &Hops::default(),
                ));
            }
        }
        for (index, step) in lookup.steps.iter().enumerate() {
            match &step.sent {
                Sent::Question(asked) => {
                    let how = how(&lookup.steps[..index], step, asked);
                    self.question(asked, &how, step.unproven);
                }
                Sent::Connect(connect) => self.connection(connect),
            }
        }
    }

    /// One question, its attempts and what came back. `how` says why it was sent.
    pub(super) fn question(&mut self, asked: &Transaction, how: &Text, unproven: bool) {
        let attempts = asked.attempts.len();
        for (index, attempt) in asked.attempts.iter().enumerate() {
            let mut text = text!(
                "{rtype}  id {id}  {client} to {server}",
                rtype = asked.question.rtype,
                id = format_args!("{:04x}", asked.id),
                client = asked.client,
                server = asked.server
            );
            if let Some(backend) = attempt.backend(asked.server).or(asked.translated) {
                text.push(text!(", translated to {backend}", backend));
            }
            if let Some(masquerade) = asked.masquerade.as_deref() {
                text.push(text!(", going on as {masquerade}", masquerade));
            }
            if asked.transport == Transport::Tcp {
                text.push(text!(", over TCP"));
            }
            let why = if index == 0 { how.clone() } else { text!("the same datagram again") };
            if !why.is_empty() {
                text.push(text!(" ({why})", why));
            }
            let mut rung = self.rung(attempt.sent().ts, Event::Query, text, &attempt.hops);
            rung.verdict = fate(asked, index, unproven && index + 1 == attempts);
            self.rungs.push(rung);
        }
        for response in &asked.responses {
            self.rungs.push(answers::rung(self, asked, response));
        }
        for rejected in &asked.rejections {
            self.rejection(asked, rejected);
        }
    }

    fn rejection(&mut self, asked: &Transaction, rejected: &Rejected) {
        let text = text!("ICMP {kind} from {from}", kind = rejected.kind, from = rejected.from);
        let mut rung = self.rung(rejected.seen.ts, Event::Icmp, text, &Hops::default());
        rung.asked_about = self.asked == Some(rejected.seen.at);
        rung.seen.push(Sighting {
            file: self.analysis.path(rejected.seen.at).to_owned(),
            frame: rejected.seen.at.number(),
            time: rejected.seen.ts.to_string(),
            point: String::new(),
            interface: None,
            direction: None,
            ttl: None,
            client: asked.client.ip().to_string(),
            server: rejected.server.to_string(),
            asked_about: rung.asked_about,
        });
        let sent = asked.last_sent_before(rejected.seen.ts);
        let after = duration(rejected.seen.ts.since(sent));
        rung.verdict = Some(text!("{after} after the query that it rejects", after));
        self.rungs.push(rung);
    }

    /// What the server asks others meanwhile, or who asked it.
    pub(super) fn leg(&mut self, leg: &Transaction, upstream: bool) {
        let asks = if upstream {
            text!("the server asks on")
        } else {
            text!("asked for this by a client")
        };
        let text = text!(
            "{asks}: {rtype} {name}  id {id}  {client} to {server}",
            asks,
            rtype = leg.question.rtype,
            name = leg.question.name,
            id = format_args!("{:04x}", leg.id),
            client = leg.client,
            server = leg.server
        );
        let unseen = Hops::default();
        let hops = leg.attempts.first().map_or(&unseen, |attempt| &attempt.hops);
        let mut rung = self.rung(leg.first().ts, Event::Leg, text, hops);
        rung.verdict = Some(match (leg.answer(), leg.latency()) {
            (Some(answer), Some(latency)) => {
                text!(
                    "{answer} after {latency}",
                    answer = words::answer(answer, leg.question.rtype),
                    latency = duration(latency)
                )
            }
            _ => leg.outcome().to_text(),
        });
        self.rungs.push(rung);
    }

    fn connection(&mut self, connect: &TcpAttempt) {
        let text = text!(
            "TCP connection {client} to {server}",
            client = connect.client,
            server = connect.server
        );
        let mut rung = self.rung(connect.first().ts, Event::Connection, text, &connect.hops);
        let after = |at: Timestamp| duration(at.since(connect.first().ts));
        rung.verdict = Some(match connect.outcome() {
            ConnectOutcome::Accepted => {
                let at = connect.accepted.unwrap_or(connect.first().ts);
                let over = match (connect.closed, connect.reset) {
                    (_, Some((seen, _))) => text!(", reset after {after}", after = after(seen.ts)),
                    (Some(at), None) => text!(", closed after {after}", after = after(at)),
                    (None, None) => Text::EMPTY,
                };
                text!("accepted after {after}{over}", after = after(at), over)
            }
            ConnectOutcome::Refused => {
                let at = connect.reset.map_or(connect.first().ts, |(seen, _)| seen.ts);
                text!("refused (RST) after {after}", after = after(at))
            }
            ConnectOutcome::Rejected(kind) => text!("rejected: ICMP {kind}", kind),
            ConnectOutcome::Silent => {
                let syns = count(connect.syns.len() as u64, "SYN");
                text!("nobody answered: {syns}", syns)
            }
            ConnectOutcome::Unknown => text!("the capture cannot tell what became of it"),
        });
        self.rungs.push(rung);
    }
}

/// Why a step was sent.
fn how(before: &[Step], step: &Step, asked: &Transaction) -> Text {
    let earlier = || before.iter().rev().filter_map(Step::transaction);
    match step.role {
        Role::First | Role::Connection => Text::EMPTY,
        Role::Sibling => text!("the other family"),
        Role::Parallel => text!("the same datagram to another server at once"),
        Role::Fallback => text!("after truncation"),
        Role::Retry => {
            let same = earlier().find(|other| other.question == asked.question);
            match same {
                Some(other) if other.server != asked.server => {
                    text!("again, to another server")
                }
                Some(other) if other.id == asked.id => text!("again, from a new socket"),
                _ => text!("again, from a new socket with a new id"),
            }
        }
    }
}

/// What became of one attempt, where no answer's own rung tells it.
fn fate(asked: &Transaction, index: usize, unproven: bool) -> Option<Text> {
    let attempt: &Attempt = asked.attempts.get(index)?;
    let sent = attempt.sent().ts.before(timing::DISORDER);
    let next = asked.attempts.get(index + 1).map_or(Timestamp::MAX, |next| next.sent().ts);
    let due = |at: Timestamp| at >= sent && at < next;
    let responses = || asked.responses.iter().filter(|response| due(response.arrived().ts));
    if responses().next().is_some() {
        // Its own rung says when, and whether it reached the client.
        return None;
    }
    if asked.rejections.iter().any(|rejected| due(rejected.seen.ts)) {
        return None;
    }
    if unproven {
        return Some(text!(
            "no answer in the capture, and yet the client did not ask again: it had its answer and \
             the capture missed it, or it asks but once"
        ));
    }
    if asked.blind {
        return Some(text!("no answer in the capture, which missed frames meanwhile"));
    }
    if index + 1 == asked.attempts.len() && asked.outcome() == Outcome::Unknown {
        return Some(text!("no answer before the capture ends"));
    }
    Some(text!("unanswered; {vanished}", vanished = words::vanished(attempt)))
}
