//! What servers ask on their clients' behalf: the legs between a cluster's DNS and its upstream
//! resolvers (rulebook 4.4).
//!
//! A client that was seen answering others is a forwarder, and what it asks another server is a
//! leg. CoreDNS takes a new id for every leg (rulebook 2.E), so a leg belongs to a client's
//! question by name and type, and by being sent between that question and its answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::answers::Answers;
use super::glance::Glance;
use super::outside::{Outside, Trouble};
use crate::base::{Coverage, Limit, Number, Numbered, Timestamp, Transport, push_within};
use crate::capture::{FileId, FrameRef, Seen};
use crate::dns::{Question, Rcode};
use crate::transaction::{ConnectOutcome, Outcome, Response, TcpAttempt, Transaction};

/// How many legs, and how many connections, are kept one by one.
const MAX_LEGS: usize = 200_000;
/// An answer this late made somebody wait (rulebook `upstream-slow`).
const SLOW: Duration = Duration::from_secs(1);
/// How many forwarders and upstreams are told apart: a cluster has a handful of either.
const MAX_SERVERS: usize = 4_096;
/// Frames of different interfaces or capture points may stand in another order by this much.
const DISORDER: Duration = Duration::from_millis(10);

/// A question that a server asked another server.
#[derive(Debug, Clone)]
pub struct Leg {
    /// The query.
    pub sent: Seen,
    /// The answer, or else the ICMP error, if one came.
    pub replied: Option<Seen>,
    /// Which way it went, shared by all legs that went it.
    pub way: Arc<Way>,
    /// What was asked, shared by all legs that asked it.
    pub question: Arc<Question>,
    /// What became of it.
    pub fate: Fate,
    /// Whether it is a health or loop probe, which no client waits for (rulebook K9).
    pub probe: bool,
    /// Whether the query carried OPT.
    pub opt: bool,
    /// How many legs it stands for: more than one only where very many went well.
    pub weight: u32,
}

/// A leg while more come: in few bytes, for there may be as many of them as of the clients' questions.
#[derive(Debug)]
struct Row {
    sent: Seen,
    /// The answer, or else the ICMP error; [`NO_FRAME`] if none came.
    replied: Seen,
    way: Number,
    question: Number,
    fate: Fate,
    probe: bool,
    opt: bool,
}

impl Row {
    /// Whether it went as nearly all do, and stands beside those that did not only as one of many.
    fn is_usual(&self) -> bool {
        let took = self.replied.ts.since(self.sent.ts);
        matches!(self.fate, Fate::Data | Fate::Negative(_)) && !self.probe && took < SLOW
    }
}

/// Frames are counted from 1.
const NO_FRAME: Seen = Seen { ts: Timestamp::MIN, at: FrameRef::new(FileId(0), 0) };

/// From one server to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    /// The server that asked.
    pub forwarder: IpAddr,
    /// The server that was asked.
    pub upstream: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
}

/// A TCP connection that a server opened to another server.
#[derive(Debug, Clone)]
pub struct Knock {
    /// The first SYN.
    pub sent: Seen,
    /// The reset or the ICMP error that refused it.
    pub replied: Option<Seen>,
    /// The server that asked.
    pub forwarder: IpAddr,
    /// The server that was asked.
    pub upstream: IpAddr,
    /// What became of it.
    pub outcome: ConnectOutcome,
}

/// What became of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Data came.
    Data,
    /// NXDOMAIN or NODATA came.
    Negative(Rcode),
    /// An error came.
    Error(Rcode),
    /// A truncated answer came.
    Truncated,
    /// Nothing came.
    Silent,
    /// ICMP said no.
    Rejected,
    /// The capture cannot tell.
    Unknown,
}

impl Fate {
    /// Whether the upstream said anything.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Data | Self::Negative(_) | Self::Error(_) | Self::Truncated)
    }
}

impl Leg {
    /// How long the answer took.
    pub fn wait(&self) -> Option<Duration> {
        Some(self.replied?.ts.since(self.sent.ts))
    }

    /// Whether its answer made somebody wait.
    pub fn is_slow(&self) -> bool {
        self.wait().is_some_and(|wait| wait >= SLOW)
    }

    /// How many legs these stand for.
    pub fn count<'a>(legs: impl IntoIterator<Item = &'a &'a Self>) -> u64 {
        legs.into_iter().map(|leg| u64::from(leg.weight)).sum()
    }

    /// Whether it was sent for this question of a client: same name and type, between the
    /// client's query and its answer.
    pub fn serves(&self, trouble: &Trouble) -> bool {
        let span = trouble.span().widened(DISORDER);
        *self.question == trouble.question
            && self.way.forwarder == trouble.responder
            && span.contains(self.sent.ts)
    }
}

/// Every leg of a capture, and what clients saw of names that need one.
#[derive(Debug, Default)]
pub struct Forward {
    /// The clients' side.
    pub outside: Outside,
    rows: Vec<Row>,
    /// Of the usual rows one in so many is kept, so that what fails late in a long capture finds room.
    stride: Stride,
    ways: Numbered<Arc<Way>>,
    /// What the legs asked.
    questions: Numbered<Arc<Question>>,
    /// What [`Forward::finish`] makes of the rows.
    legs: Vec<Leg>,
    knocks: Vec<Knock>,
    forwarders: BTreeSet<IpAddr>,
    upstreams: BTreeSet<IpAddr>,
}

/// Which of very many are kept: one in a power of two of them, of those before as of those to come.
#[derive(Debug)]
struct Stride {
    each: u32,
    seen: u32,
    /// Whether hardly any room was won when it was lengthened last.
    in_vain: bool,
}

impl Default for Stride {
    fn default() -> Self {
        Self { each: 1, seen: 0, in_vain: false }
    }
}

impl Stride {
    /// Whether the next one is kept.
    fn takes(&mut self) -> bool {
        self.seen = self.seen.wrapping_add(1);
        self.seen.is_multiple_of(self.each)
    }

    /// Keeps every other one of the usual rows, unless that made hardly any room before.
    fn lengthen(&mut self, rows: &mut Vec<Row>) {
        let Some(each) = self.each.checked_mul(2).filter(|_| !self.in_vain) else { return };
        self.each = each;
        let mut odd = false;
        rows.retain(|row| {
            odd ^= row.is_usual();
            !(row.is_usual() && odd)
        });
        self.in_vain = rows.len() > MAX_LEGS / 8 * 7;
    }
}

impl Forward {
    /// Takes a transaction; `forwarded` says whether its client answered somebody before. Names are shared
    /// with `answers`.
    pub fn note(
        &mut self,
        transaction: &Transaction,
        glance: &Glance,
        forwarded: bool,
        (answers, coverage): (&Answers, &mut Coverage),
    ) {
        let (forwarder, upstream) = (transaction.client.ip(), transaction.responder());
        if !forwarded {
            self.outside.note(transaction, glance, coverage);
            return;
        }
        if transaction.attempts.is_empty() || !self.knows(forwarder, upstream) {
            return;
        }
        let response = transaction.responses.first();
        let rejected = transaction.rejections.first().map(|rejected| rejected.seen);
        let fate = match transaction.outcome() {
            Outcome::Ok => Fate::Data,
            Outcome::Negative => Fate::Negative(response.map_or(Rcode::NOERROR, |r| r.rcode)),
            Outcome::Error(rcode) => Fate::Error(rcode),
            Outcome::Truncated => Fate::Truncated,
            Outcome::Timeout | Outcome::Late => Fate::Silent,
            Outcome::Rejected(_) => Fate::Rejected,
            Outcome::Unknown => Fate::Unknown,
        };
        let way = Way { forwarder, upstream, transport: transaction.transport };
        let row = Row {
            sent: glance.first,
            replied: response.map(Response::arrived).or(rejected).unwrap_or(NO_FRAME),
            way: self.ways.number(&way, |known, one| **known == *one, |one| Arc::new(*one)),
            // As it was spelled.
            question: self.questions.number(
                &transaction.question,
                |known, one| known.is_spelled_like(one),
                |one| {
                    let name = answers.shared(&one.name, one.rtype);
                    Arc::new(Question { name, ..one.clone() })
                },
            ),
            fate,
            probe: transaction.is_infrastructure(),
            opt: transaction.traits.udp_size.is_some(),
        };
        if row.is_usual() && !self.stride.takes() {
            return;
        }
        if self.rows.len() >= MAX_LEGS {
            self.stride.lengthen(&mut self.rows);
        }
        if !push_within(&mut self.rows, row, MAX_LEGS) {
            coverage.limited(Limit::Legs);
        }
    }

    /// The capture is over: makes legs of what is known of them.
    pub fn finish(&mut self) {
        let Self { rows, ways, questions, stride, .. } = self;
        let leg = |row: Row| {
            Some(Leg {
                weight: if row.is_usual() { stride.each } else { 1 },
                sent: row.sent,
                replied: Some(row.replied).filter(|replied| *replied != NO_FRAME),
                way: Arc::clone(ways.get(row.way)?),
                question: Arc::clone(questions.get(row.question)?),
                fate: row.fate,
                probe: row.probe,
                opt: row.opt,
            })
        };
        self.legs = std::mem::take(rows).into_iter().filter_map(leg).collect();
    }

    /// Takes a connection attempt; `forwarded` as with transactions.
    pub fn note_connect(&mut self, connect: &TcpAttempt, forwarded: bool, coverage: &mut Coverage) {
        let (forwarder, upstream) = (connect.client.ip(), connect.responder());
        if !forwarded || !self.knows(forwarder, upstream) {
            return;
        }
        if self.knocks.len() >= MAX_LEGS {
            coverage.limited(Limit::Connections);
            return;
        }
        let reset = connect.reset.filter(|(_, by_server)| *by_server).map(|(seen, _)| seen);
        self.knocks.push(Knock {
            sent: connect.first(),
            replied: reset.or(connect.rejected.map(|(seen, _)| seen)),
            forwarder,
            upstream,
            outcome: connect.outcome(),
        });
    }

    /// The legs in the order of their queries.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// The connections in the order of their first SYNs.
    pub fn knocks(&self) -> &[Knock] {
        &self.knocks
    }

    /// Whether the capture shows what this server asks others: only then does the absence of a
    /// leg mean anything.
    pub fn shows(&self, forwarder: IpAddr) -> bool {
        self.forwarders.contains(&forwarder)
    }

    /// Whether some server asked this address on behalf of others.
    pub fn is_upstream(&self, address: IpAddr) -> bool {
        self.upstreams.contains(&address)
    }

    /// The addresses that servers asked.
    pub fn upstreams(&self) -> impl Iterator<Item = IpAddr> {
        self.upstreams.iter().copied()
    }

    fn knows(&mut self, forwarder: IpAddr, upstream: IpAddr) -> bool {
        let room = |set: &BTreeSet<IpAddr>, one| set.len() < MAX_SERVERS || set.contains(one);
        if !room(&self.forwarders, &forwarder) || !room(&self.upstreams, &upstream) {
            return false;
        }
        self.forwarders.insert(forwarder);
        self.upstreams.insert(upstream);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are hundreds of thousands of them.
    fn row(at: i64, fate: Fate) -> Row {
        let seen = |at| Seen { ts: Timestamp::from_nanos(at), at: FrameRef::new(FileId(0), 1) };
        let mut numbers = Numbered::default();
        let number = numbers.number(&0, |known, one| known == one, |one| *one);
        let (sent, replied) = (seen(at), seen(at + 1_000));
        Row { sent, replied, way: number, question: number, fate, probe: false, opt: false }
    }

    /// However many go well, those that fail late are kept, and those that are kept count for all.
    #[test]
    fn what_fails_late_finds_room() {
        let (mut rows, mut stride) = (Vec::new(), Stride::default());
        let (mut good, mut bad) = (0_u64, 0);
        for at in 0..i64::try_from(MAX_LEGS * 5).unwrap() {
            let fails = at > 900_000 && at % 10 == 0;
            let row = row(at, if fails { Fate::Silent } else { Fate::Data });
            *(if fails { &mut bad } else { &mut good }) += 1;
            if !row.is_usual() || stride.takes() {
                if rows.len() >= MAX_LEGS {
                    stride.lengthen(&mut rows);
                }
                assert!(push_within(&mut rows, row, MAX_LEGS));
            }
        }
        let usual = rows.iter().filter(|row| row.is_usual()).count() as u64;
        assert_eq!(rows.len() as u64 - usual, bad);
        assert!((usual * u64::from(stride.each)).abs_diff(good) < 1_000, "{usual} {good}");
    }

    #[test]
    fn where_nearly_all_fail_nothing_is_gone_through_again_and_again() {
        let all = 0..i64::try_from(MAX_LEGS).unwrap();
        let mut rows: Vec<Row> = all.map(|at| row(at, Fate::Silent)).collect();
        let mut stride = Stride::default();
        stride.lengthen(&mut rows);
        assert!(stride.in_vain);
        stride.lengthen(&mut rows);
        assert_eq!((rows.len(), stride.each), (MAX_LEGS, 2));
    }

    #[test]
    fn a_leg_takes_few_bytes() {
        assert_eq!(size_of::<Row>(), 48);
    }
}
