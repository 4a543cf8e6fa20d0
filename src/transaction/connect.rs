//! A client's attempt to open a TCP connection to a DNS server, on all legs at once.

use std::net::{IpAddr, SocketAddr};

use smallvec::{SmallVec, smallvec};

use super::hops::{Hop, Hops};
use super::timing;
use crate::base::Timestamp;
use crate::capture::Seen;
use crate::flow::{Signal, SignalKind};
use crate::packet::IcmpKind;

/// One TCP connection to port 53 as its client knows it: copies and NAT legs folded.
#[derive(Debug, Clone)]
pub struct TcpAttempt {
    /// The socket that connects.
    pub client: SocketAddr,
    /// The address that was asked for.
    pub server: SocketAddr,
    /// The client's initial sequence number: the same on every leg.
    pub isn: u32,
    /// Each SYN really sent, oldest first; retransmissions count, copies do not.
    pub syns: SmallVec<[Seen; 2]>,
    /// Where the SYNs were seen.
    pub hops: Hops,
    /// When the server's SYN-ACK came.
    pub accepted: Option<Timestamp>,
    /// The first reset, and whether the server sent it.
    pub reset: Option<(Seen, bool)>,
    /// An ICMP error about it.
    pub rejected: Option<(Seen, IcmpKind)>,
    /// When it was closed in order.
    pub closed: Option<Timestamp>,
    /// The last instant at which the capture still watched.
    pub watched_until: Timestamp,
    /// Whether the capture missed frames meanwhile.
    pub blind: bool,
}

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectOutcome {
    /// The handshake came back.
    Accepted,
    /// The server reset it instead.
    Refused,
    /// An ICMP error came back.
    Rejected(IcmpKind),
    /// Nothing came back.
    Silent,
    /// The capture cannot tell.
    Unknown,
}

/// How many sightings of SYNs are kept: a SYN has six repeats, seen at up to four places.
const MAX_HOPS: usize = 28;

impl TcpAttempt {
    /// The attempt that a SYN begins.
    pub(super) fn new(signal: &Signal, isn: u32) -> Self {
        Self {
            client: signal.tuple.src,
            server: signal.tuple.dst,
            isn,
            syns: smallvec![signal.seen],
            hops: Hops::of(&hop(signal)),
            accepted: None,
            reset: None,
            rejected: None,
            closed: None,
            watched_until: signal.seen.ts,
            blind: false,
        }
    }

    /// The same SYN again: a copy, a leg, or a retransmission.
    pub(super) fn syn(&mut self, signal: &Signal) {
        let near = |last: &Seen| signal.seen.ts.distance(last.ts) <= timing::COPY_WINDOW;
        if !self.syns.last().is_some_and(near) {
            self.syns.push(signal.seen);
        }
        if self.hops.len() < MAX_HOPS {
            self.hops.insert(self.hops.len(), &hop(signal));
        }
    }

    /// What became of it.
    pub(super) fn take(&mut self, signal: &Signal) {
        match signal.kind {
            SignalKind::Accepted => {
                self.accepted.get_or_insert(signal.seen.ts);
            }
            SignalKind::Reset { by_server } => {
                self.reset.get_or_insert((signal.seen, by_server));
            }
            SignalKind::Closed => {
                self.closed.get_or_insert(signal.seen.ts);
            }
            SignalKind::Syn(_) => {}
        }
    }

    /// The first frame of it.
    pub fn first(&self) -> Seen {
        self.syns.first().copied().unwrap_or(Seen {
            ts: Timestamp::MIN,
            at: crate::capture::FrameRef::new(crate::capture::FileId(0), 0),
        })
    }

    /// When the client opened it, or tried to for the last time.
    pub fn latest(&self) -> Timestamp {
        self.accepted.or(self.syns.last().map(|syn| syn.ts)).unwrap_or(Timestamp::MIN)
    }

    /// The address it was translated to, where that is visible.
    pub fn backend(&self) -> Option<IpAddr> {
        self.hops.iter().rev().map(|hop| hop.server).find(|server| *server != self.server.ip())
    }

    /// The address that stands for "the server" in tallies.
    pub fn responder(&self) -> IpAddr {
        self.backend().unwrap_or(self.server.ip())
    }

    /// How it ended.
    pub fn outcome(&self) -> ConnectOutcome {
        if self.accepted.is_some() {
            return ConnectOutcome::Accepted;
        }
        if let Some((_, kind)) = self.rejected {
            return ConnectOutcome::Rejected(kind);
        }
        match self.reset {
            Some((_, true)) => return ConnectOutcome::Refused,
            Some((_, false)) => return ConnectOutcome::Unknown,
            None => {}
        }
        let last = self.syns.last().map_or(Timestamp::MIN, |seen| seen.ts);
        if self.blind || self.watched_until.since(last) < timing::DEFAULT_TIMEOUT {
            ConnectOutcome::Unknown
        } else {
            ConnectOutcome::Silent
        }
    }
}

fn hop(signal: &Signal) -> Hop {
    Hop {
        seen: signal.seen,
        via: signal.via.into(),
        server: signal.tuple.dst.ip(),
        client: signal.tuple.src.ip(),
    }
}
