//! What an application asked for once, and what came of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::manner::{Habits, Manner};
use super::resolver::{self, Resolver, Sign};
use crate::base::Timestamp;
use crate::base::words::{Text, ToText, text};
use crate::capture::Seen;
use crate::dns::{Name, Rcode, RecordType};
use crate::transaction::{TcpAttempt, Transaction};

/// One name resolution as the application felt it: every type, suffix, retry and server.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Who asked.
    pub client: IpAddr,
    /// The name as the application gave it, before any search suffix, as far as the capture
    /// shows; a name found under its first suffix cannot be told from one given in full.
    pub name: Name,
    /// The types that were asked for, in order of code.
    pub types: SmallVec<[RecordType; 2]>,
    /// The first query.
    pub start: Seen,
    /// The last answer that the application waited for, or the moment at which it gave up;
    /// `None` where the capture ends before either.
    pub end: Option<Timestamp>,
    /// How it ended.
    pub outcome: LookupOutcome,
    /// The last response code that the resolver was refused with, if that decided it.
    pub rcode: Option<Rcode>,
    /// What asked, as far as it can be told from this lookup alone.
    pub resolver: Resolver,
    /// Everything that was asked, in the order of asking.
    pub steps: Vec<Step>,
    /// The search suffix of each candidate name, in the order of asking; `None` for the name as it
    /// is.
    pub suffixes: SmallVec<[Option<Name>; 4]>,
    /// How many candidate names carried a search suffix.
    pub suffixes_tried: usize,
    /// Whether all went well, as it nearly always does: every step is a question that was sent once
    /// and answered in time, with data or a denial.
    pub smooth: bool,
    /// The longest that an answer to one of its questions took ([`Transaction::latency`]), if one came.
    pub slowest: Option<Duration>,
    /// Whether another lookup of the same name by the same client ran at the same time, so that
    /// a step may belong to that one; or an answer is missing in the capture, so that the end is
    /// that of the answers that are there.
    pub approximate: bool,
}

/// How a lookup ended (rulebook 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LookupOutcome {
    /// The application got an address, or whatever it asked for.
    Ok,
    /// The name does not exist, or has no such record.
    Negative,
    /// A server or the network said no.
    Error,
    /// Nobody answered in time.
    Timeout,
    /// The capture cannot tell.
    Unknown,
}

impl LookupOutcome {
    /// The word that `dnswhy lookups` prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Negative => "negative",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the application was told that resolving failed (not: that the name is missing).
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Error | Self::Timeout)
    }
}

impl ToText for LookupOutcome {
    fn to_text(&self) -> Text {
        match self {
            Self::Ok => text!("ok"),
            Self::Negative => text!("negative"),
            Self::Error => text!("error"),
            Self::Timeout => text!("timeout"),
            Self::Unknown => text!("unknown"),
        }
    }
}

impl fmt::Display for LookupOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One transaction's place in a lookup.
#[derive(Debug, Clone)]
pub struct Step {
    /// The candidate name it belongs to, counted from 0.
    pub round: u16,
    /// Why it was sent.
    pub role: Role,
    /// What was sent and what came of it.
    pub sent: Sent,
    /// Nothing came back as far as the capture shows, and yet the client never asked again:
    /// it had its answer, and the capture missed it; or it asks only once. Silence without a
    /// retry proves nothing (rulebook 2.A, `cap-loss` and `cap-one-sided`).
    pub unproven: bool,
}

/// What a step consists of.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A question.
    Question(Arc<Transaction>),
    /// An attempt to connect over TCP.
    Connect(Arc<TcpAttempt>),
}

/// Why a step was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The first question of a candidate name.
    First,
    /// The other address family of the same name.
    Sibling,
    /// The same question again, from a new socket or to another server.
    Retry,
    /// The same datagram to another server at the same time.
    Parallel,
    /// The same question over TCP, after truncation.
    Fallback,
    /// The connection that the question before it came over.
    Connection,
}

impl Step {
    /// The transaction, unless it is a connection.
    pub fn transaction(&self) -> Option<&Arc<Transaction>> {
        match &self.sent {
            Sent::Question(transaction) => Some(transaction),
            Sent::Connect(_) => None,
        }
    }

    /// Its first frame.
    pub fn first(&self) -> Seen {
        match &self.sent {
            Sent::Question(transaction) => transaction.first(),
            Sent::Connect(connect) => connect.first(),
        }
    }
}

impl Lookup {
    /// Its transactions, in the order of asking.
    pub fn transactions(&self) -> impl Iterator<Item = &Arc<Transaction>> {
        self.steps.iter().filter_map(Step::transaction)
    }

    /// Whether it was [smooth](Self::smooth), and every answer took less than that.
    pub fn is_quicker_than(&self, limit: Duration) -> bool {
        self.smooth && self.slowest < Some(limit)
    }

    /// When the question of `transaction`, one of its own, was asked again from a new socket or of another
    /// server.
    pub fn asked_anew(&self, transaction: &Transaction) -> Option<Timestamp> {
        let retries = self.steps.iter().filter(|step| step.role == Role::Retry);
        let same = retries.filter_map(Step::transaction).filter(|other| {
            other.question == transaction.question && other.first() > transaction.first()
        });
        same.map(|again| again.first().ts).min()
    }

    /// The steps of each candidate name, in the order of asking.
    pub fn rounds(&self) -> impl DoubleEndedIterator<Item = &[Step]> {
        self.steps.chunk_by(|one, next| one.round == next.round)
    }

    /// The names that were asked, one after the other.
    pub fn candidates(&self) -> impl Iterator<Item = &Name> {
        self.rounds().filter_map(|round| {
            let asked = round.iter().find_map(Step::transaction)?;
            Some(&asked.question.name)
        })
    }

    /// The steps of the last candidate name.
    pub fn last_round(&self) -> &[Step] {
        self.rounds().next_back().unwrap_or_default()
    }

    /// How long the application waited; `None` where the capture cannot tell.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.end?.since(self.start.ts))
    }

    /// Number of query datagrams that were sent for it.
    pub fn attempts(&self) -> usize {
        self.transactions().map(|transaction| transaction.attempts.len()).sum()
    }

    /// What its steps show of the resolver behind it, whatever else its client did.
    pub fn signs(&self) -> SmallVec<[Sign; 8]> {
        let forwarder = matches!(self.resolver, Resolver::CoreDns | Resolver::Forwarder);
        let habits = Habits { forwarder, ..Habits::default() };
        resolver::signs(&self.steps, Manner::of(&self.steps, habits))
    }

    /// The addresses that were asked, in order of first use.
    pub fn servers(&self) -> SmallVec<[IpAddr; 2]> {
        let mut servers = SmallVec::new();
        for transaction in self.transactions() {
            let server = transaction.server.ip();
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers
    }
}
