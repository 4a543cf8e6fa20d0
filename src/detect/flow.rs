//! One flow, and what is told of it.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Host, Span, Timestamp, Transport};
use crate::capture::Seen;
use crate::packet::IcmpKind;
use crate::transaction::{Transaction, Undelivered};

/// What is sent so shortly after another was sent beside it, and not because that got no answer (rulebook
/// `pair_win`).
const BESIDE: Duration = Duration::from_millis(50);

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
    /// When the first and the last of its datagrams were sent that were answered.
    pub(super) heard: Option<Span>,
    pub(super) repeated: (u16, u16),
    pub(super) lost: Option<Undelivered>,
    pub(super) icmp: Option<Box<(IcmpKind, IpAddr)>>,
    /// Whether its datagrams were seen where they entered and nowhere behind that.
    pub(super) stuck: bool,
    /// Whether its queries came from elsewhere to the capture point, so that no frame shows whether what
    /// was answered arrived.
    pub(super) unwatched: bool,
}

impl Part {
    /// Whether one of the datagrams that were sent at first was answered.
    fn began_well(&self) -> bool {
        let first = self.first.ts.after(BESIDE);
        self.heard.is_none_or(|heard| heard.start <= first)
    }

    /// Adds another part of the same flow.
    pub(super) fn join(&mut self, later: Self) {
        // Of two lookups that ask from one socket, the one that began first may be over last.
        self.first = self.first.min(later.first);
        self.last_sent = self.last_sent.max(later.last_sent);
        self.reached = self.reached.min(later.reached);
        self.attempts += later.attempts;
        self.unanswered += later.unanswered;
        self.heard = match (self.heard, later.heard) {
            (Some(one), Some(other)) => Some(one.join(other)),
            (one, other) => one.or(other),
        };
        let (repeated, answered) = self.repeated;
        self.repeated =
            (repeated.saturating_add(later.repeated.0), answered.saturating_add(later.repeated.1));
        self.lost = self.lost.or(later.lost);
        self.icmp = self.icmp.take().or(later.icmp);
        self.stuck &= later.stuck;
        self.unwatched &= later.unwatched;
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
            && self.part.began_well()
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

    /// Whether the server heard it when it began. A flow may be answered only when it was sent again, or when
    /// another lookup or another process used its socket.
    pub(super) fn began_well(&self) -> bool {
        self.succeeded() && self.rough().is_none_or(Part::began_well)
    }

    /// Whether the server did not hear it when it began, and did later: all that was sent before was lost.
    pub(super) fn stalled(&self) -> bool {
        self.rough().is_some_and(|part| {
            part.reached == Reached::Yes && part.unanswered > 0 && !part.began_well()
        })
    }

    /// Whether the server did not hear it when it began, whatever came of it later.
    pub(super) fn began_in_vain(&self) -> bool {
        self.failed() || self.stalled()
    }

    /// When it reached the server, if it did: with its first datagram, or, where that was not answered,
    /// with the first one that was.
    pub(super) fn reached_at(&self) -> Timestamp {
        let late = self.rough().filter(|part| !part.began_well());
        late.and_then(|part| part.heard).map_or(self.first.ts, |heard| heard.start)
    }

    /// When the last of its datagrams was sent that was answered and sent before this, as far as is known.
    pub(super) fn heard_before(&self, at: Timestamp) -> Option<Timestamp> {
        let heard = match self.rough() {
            None => Some(Span::between(self.first.ts, self.last_sent())),
            Some(part) => part.heard.filter(|_| self.succeeded()),
        };
        heard.and_then(|heard| [heard.end, heard.start].into_iter().find(|sent| *sent < at))
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

    /// Whether all that was sent in it was answered at once, as a capture at the server's side shows, and
    /// was sent again all the same: the client did not hear it.
    pub(super) fn is_unheard(&self) -> bool {
        self.rough().is_some_and(|part| {
            part.unwatched
                && part.reached == Reached::Yes
                && part.began_well()
                && part.unanswered == 0
                && part.repeated.0 > 0
                && part.lost.is_none()
        })
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
    use crate::capture::{FileId, FrameRef};

    /// Hundreds of thousands are kept.
    #[test]
    fn a_flow_takes_few_bytes() {
        assert_eq!(size_of::<Flow>(), 32);
    }

    fn part(first: i64, heard: Option<(i64, i64)>) -> Part {
        let at = |second| Timestamp::from_parts(second, 0);
        let reached = if heard.is_some() { Reached::Yes } else { Reached::No };
        Part {
            first: Seen { ts: at(first), at: FrameRef::new(FileId(0), 1) },
            last_sent: heard.map_or(at(first), |(_, last)| at(last)),
            reached,
            attempts: 1,
            unanswered: u32::from(heard.is_none()),
            heard: heard.map(|(first, last)| Span::between(at(first), at(last))),
            repeated: (0, 0),
            lost: None,
            icmp: None,
            stuck: false,
            unwatched: false,
        }
    }

    fn flow(parts: Vec<Part>) -> Flow {
        let address = IpAddr::from([10, 0, 0, 1]);
        let cell = Cell {
            client: address,
            server: address,
            responder: address,
            transport: Transport::Udp,
        };
        let part = parts.into_iter().reduce(|mut one, other| {
            one.join(other);
            one
        });
        let going = Going { cell: Arc::new(cell), port: 1, weight: 1, part: part.unwrap() };
        Flow::from(going)
    }

    /// What is asked later from the same socket says nothing of what was asked first.
    #[test]
    fn a_flow_reaches_its_server_when_the_first_of_it_is_answered() {
        let at = |second| Timestamp::from_parts(second, 0);
        let lost_at_first = flow(vec![part(10, None), part(25, Some((25, 25)))]);
        assert!(lost_at_first.stalled() && lost_at_first.succeeded());
        assert_eq!(lost_at_first.reached_at(), at(25));
        // Lookups end in another order than they began.
        let noted_late = flow(vec![part(25, Some((25, 25))), part(10, None)]);
        assert_eq!((noted_late.first.ts, noted_late.reached_at()), (at(10), at(25)));
        let lost_later = flow(vec![part(10, Some((10, 12))), part(25, None)]);
        assert!(lost_later.began_well() && !lost_later.began_in_vain());
        assert_eq!(lost_later.reached_at(), at(10));
        assert_eq!(lost_later.heard_before(at(20)), Some(at(12)));
        assert_eq!(lost_later.heard_before(at(11)), Some(at(10)));
        assert_eq!(lost_later.heard_before(at(10)), None);
    }
}
