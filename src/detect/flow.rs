//! One flow, and what is told of it.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Host, Timestamp, Transport};
use crate::capture::Seen;
use crate::packet::IcmpKind;
use crate::transaction::{Transaction, Undelivered};

/// A pair of client and server, over one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Who asked.
    pub client: IpAddr,
    /// The address that was asked.
    pub server: IpAddr,
    /// The address behind it where translation is visible, else the same.
    pub responder: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
}

impl Cell {
    /// That of a transaction, or of the part of it that went to `responder`.
    pub(super) fn of(transaction: &Transaction, responder: IpAddr) -> Self {
        Self {
            client: transaction.client.ip(),
            server: transaction.server.ip(),
            responder,
            transport: transaction.transport,
        }
    }
}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for address in [self.client, self.server, self.responder] {
            Host(address).hash(state);
        }
        self.transport.hash(state);
    }
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reached {
    /// Something came back in time, whatever it said.
    Yes,
    /// Something came back too late.
    Late,
    /// ICMP or a reset came back.
    Rejected,
    /// Nothing came back.
    No,
    /// The capture cannot tell.
    Unknown,
}

/// One flow, in few bytes: hundreds of thousands are kept, and nearly all are answered at once.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its first frame.
    pub first: Seen,
    course: Course,
}

/// How a flow went.
#[derive(Debug, Clone)]
enum Course {
    /// Every datagram of it was answered, and none repeated.
    Smooth {
        cell: Arc<Cell>,
        /// From its first datagram to the last, in nanoseconds.
        lasted: u32,
        port: u16,
        attempts: NonZero<u8>,
        standing: Standing,
    },
    /// There is more to be said.
    Rough(Box<Rough>),
}

/// All that may be told of a flow.
#[derive(Debug, Clone)]
struct Rough {
    going: Going,
    standing: Standing,
}

/// Whether a flow is fresh, and how often those like it were thinned out by halves.
#[derive(Debug, Clone, Copy, Default)]
struct Standing(u8);

impl Standing {
    const STALE: u8 = 0x80;

    fn is_fresh(self) -> bool {
        self.0 & Self::STALE == 0
    }

    fn set_fresh(&mut self, fresh: bool) {
        self.0 = self.halvings() | if fresh { 0 } else { Self::STALE };
    }

    fn halvings(self) -> u8 {
        self.0 & !Self::STALE
    }

    fn halve(&mut self) {
        if self.halvings() < !Self::STALE {
            self.0 += 1;
        }
    }
}

/// A flow that may still go on, and all that is told of one.
#[derive(Debug, Clone)]
pub(super) struct Going {
    pub(super) cell: Arc<Cell>,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) part: Part,
}

/// What one transaction, or one connection attempt, adds to its flow.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) first: Seen,
    pub(super) last_sent: Timestamp,
    pub(super) reached: Reached,
    pub(super) attempts: u32,
    pub(super) unanswered: u32,
    /// Whether something came back before anything was sent again.
    pub(super) prompt: bool,
    pub(super) repeated: (u16, u16),
    pub(super) lost: Option<Undelivered>,
    pub(super) icmp: Option<Box<(IcmpKind, IpAddr)>>,
    /// Whether its datagrams were seen where they entered and nowhere behind that.
    pub(super) stuck: bool,
}

impl Part {
    /// Adds a later part of the same flow.
    pub(super) fn join(&mut self, later: Self) {
        self.last_sent = self.last_sent.max(later.last_sent);
        self.reached = self.reached.min(later.reached);
        self.attempts += later.attempts;
        self.unanswered += later.unanswered;
        self.prompt |= later.prompt;
        let (repeated, answered) = self.repeated;
        self.repeated =
            (repeated.saturating_add(later.repeated.0), answered.saturating_add(later.repeated.1));
        self.lost = self.lost.or(later.lost);
        self.icmp = self.icmp.take().or(later.icmp);
        self.stuck &= later.stuck;
    }
}

impl Going {
    /// How many datagrams were sent, and for how long, if nothing else is to be told of it.
    fn smoothly(&self) -> Option<(NonZero<u8>, u32)> {
        let Part { first, last_sent, reached, attempts, unanswered, repeated, lost, .. } =
            self.part;
        let icmp = &self.part.icmp;
        let smooth = reached == Reached::Yes
            && unanswered == 0
            && repeated == (0, 0)
            && lost.is_none()
            && icmp.is_none()
            && self.weight == 1
            && last_sent >= first.ts;
        let attempts = u8::try_from(attempts).ok().and_then(NonZero::new).filter(|_| smooth)?;
        Some((attempts, u32::try_from(last_sent.since(first.ts).as_nanos()).ok()?))
    }
}

impl From<Going> for Flow {
    fn from(going: Going) -> Self {
        let first = going.part.first;
        let standing = Standing::default();
        let course = match going.smoothly() {
            Some((attempts, lasted)) => {
                let Going { cell, port, .. } = going;
                Course::Smooth { cell, lasted, port, attempts, standing }
            }
            None => Course::Rough(Box::new(Rough { going, standing })),
        };
        Self { first, course }
    }
}

impl Flow {
    /// Client and server, shared by all their flows.
    pub fn cell(&self) -> &Cell {
        match &self.course {
            Course::Smooth { cell, .. } => cell,
            Course::Rough(rough) => &rough.going.cell,
        }
    }

    /// The client's port.
    pub(super) fn port(&self) -> u16 {
        match &self.course {
            Course::Smooth { port, .. } => *port,
            Course::Rough(rough) => rough.going.port,
        }
    }

    /// When its last datagram was sent.
    pub fn last_sent(&self) -> Timestamp {
        match &self.course {
            Course::Smooth { lasted, .. } => {
                self.first.ts.after(Duration::from_nanos(u64::from(*lasted)))
            }
            Course::Rough(rough) => rough.going.part.last_sent,
        }
    }

    /// What became of it.
    pub fn reached(&self) -> Reached {
        self.rough().map_or(Reached::Yes, |part| part.reached)
    }

    /// Whether it failed beyond doubt.
    pub fn failed(&self) -> bool {
        matches!(self.reached(), Reached::No | Reached::Rejected)
    }

    /// Whether the server was reached.
    pub fn succeeded(&self) -> bool {
        matches!(self.reached(), Reached::Yes | Reached::Late)
    }

    /// Datagrams sent.
    pub fn attempts(&self) -> u32 {
        match &self.course {
            Course::Smooth { attempts, .. } => attempts.get().into(),
            Course::Rough(rough) => rough.going.part.attempts,
        }
    }

    /// Datagrams that were not answered.
    pub fn unanswered(&self) -> u32 {
        self.rough().map_or(0, |part| part.unanswered)
    }

    /// Whether it was answered only when everything had been sent again: all that was sent before was
    /// lost.
    pub(super) fn stalled(&self) -> bool {
        self.rough()
            .is_some_and(|part| part.reached == Reached::Yes && part.unanswered > 0 && !part.prompt)
    }

    /// Whether the server did not hear it when it began, whatever came of it later.
    pub(super) fn began_in_vain(&self) -> bool {
        self.failed() || self.stalled()
    }

    /// When it reached the server, if it did: with its first datagram, or, where it was answered only when
    /// everything had been sent again, with its last one.
    pub(super) fn reached_at(&self) -> Timestamp {
        if self.stalled() { self.last_sent() } else { self.first.ts }
    }

    /// Transactions in it that were repeated from the same port, and of them those answered then.
    pub fn repeated(&self) -> (u16, u16) {
        self.rough().map_or((0, 0), |part| part.repeated)
    }

    /// Why an answer that the capture shows did not reach the client.
    pub fn lost(&self) -> Option<Undelivered> {
        self.rough()?.lost
    }

    /// Whether its datagrams were seen where they entered and nowhere behind that.
    pub(super) fn is_stuck(&self) -> bool {
        self.rough().is_some_and(|part| part.stuck)
    }

    /// What an ICMP error said, and who sent it.
    pub fn icmp(&self) -> Option<(IcmpKind, IpAddr)> {
        self.rough()?.icmp.as_deref().copied()
    }

    /// Whether its socket had not talked to this server shortly before: where a socket is pinned
    /// by conntrack, only fresh ones show where the service sends now (K6).
    pub fn is_fresh(&self) -> bool {
        self.standing().is_fresh()
    }

    /// How many flows it stands for.
    pub fn weight(&self) -> u32 {
        let own = match &self.course {
            Course::Smooth { .. } => 1,
            Course::Rough(rough) => rough.going.weight,
        };
        let doubled = 1_u32.checked_shl(self.standing().halvings().into()).unwrap_or(u32::MAX);
        own.saturating_mul(doubled)
    }

    /// Says whether it is fresh.
    pub(super) fn set_fresh(&mut self, fresh: bool) {
        self.standing_mut().set_fresh(fresh);
    }

    /// Has it stand for twice as many.
    pub(super) fn halve(&mut self) {
        self.standing_mut().halve();
    }

    fn rough(&self) -> Option<&Part> {
        match &self.course {
            Course::Smooth { .. } => None,
            Course::Rough(rough) => Some(&rough.going.part),
        }
    }

    fn standing(&self) -> Standing {
        match &self.course {
            Course::Smooth { standing, .. } => *standing,
            Course::Rough(rough) => rough.standing,
        }
    }

    fn standing_mut(&mut self) -> &mut Standing {
        match &mut self.course {
            Course::Smooth { standing, .. } => standing,
            Course::Rough(rough) => &mut rough.standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hundreds of thousands are kept.
    #[test]
    fn a_flow_takes_few_bytes() {
        assert_eq!(size_of::<Flow>(), 32);
    }
}
