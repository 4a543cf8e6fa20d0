//! What the flow table hands on, in the order of the capture.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{FiveTuple, Timestamp};
use crate::capture::Seen;
use crate::dns::Message;
use crate::packet::{IcmpKind, Via};

/// One thing that happened on a flow.
#[derive(Debug, Clone)]
pub enum FlowEvent {
    /// A whole DNS message was seen.
    Message(CapturedMessage),
    /// An ICMP error about a packet of port 53.
    Unreachable(Rejection),
    /// A TCP connection of port 53 did one of the things that decide its fate.
    Signal(Signal),
    /// A TCP connection of port 53 reached its end, or the end of the capture.
    Connection(Connection),
}

/// A step in the life of a TCP connection (RFC 9293 section 3.3.2), copies not folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// The frame.
    pub seen: Seen,
    /// Where it was seen.
    pub via: Via,
    /// Client to server, whoever sent this segment.
    pub tuple: FiveTuple,
    /// What happened.
    pub kind: SignalKind,
}

/// What a TCP segment does to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalKind {
    /// The client asks for a connection, with this initial sequence number.
    Syn(u32),
    /// The server accepts.
    Accepted,
    /// One side resets.
    Reset {
        /// Whether the server does.
        by_server: bool,
    },
    /// One side closes in order.
    Closed,
}

/// One observation of a message: where it was seen, and between whom.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    /// The frame that the message ended in.
    pub seen: Seen,
    /// Where it was seen.
    pub via: Via,
    /// From whom to whom.
    pub tuple: FiveTuple,
}

/// One observation, and the message.
#[derive(Debug, Clone)]
pub struct CapturedMessage {
    /// The frame that the message ended in.
    pub seen: Seen,
    /// Where it was seen.
    pub via: Via,
    /// From whom to whom.
    pub tuple: FiveTuple,
    /// The message.
    pub message: Arc<Message>,
}

impl CapturedMessage {
    /// The observation by itself.
    pub fn observed(&self) -> Observed {
        Observed { seen: self.seen, via: self.via, tuple: self.tuple }
    }
}

/// An ICMP error, and what it rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The frame.
    pub seen: Seen,
    /// Where it was seen.
    pub via: Via,
    /// Who says it. Un-NAT rewrites this: past the first hop it may be the service address.
    pub from: IpAddr,
    /// Whom it tells.
    pub to: IpAddr,
    /// What it says.
    pub kind: IcmpKind,
    /// The tuple of the rejected packet, in the direction in which that packet went.
    pub quoted: FiveTuple,
    /// Transaction id and QR bit of the rejected message, where enough of it is quoted.
    pub message: Option<(u16, bool)>,
}

/// The fate of one TCP connection (RFC 9293), copies folded, as seen on one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Client to server.
    pub tuple: FiveTuple,
    /// The first frame of it.
    pub first: Seen,
    /// The last frame of it.
    pub last: Seen,
    /// Where the first frame was seen.
    pub via: Via,
    /// How many SYNs the client sent, retransmissions counted and copies not; 0 where the
    /// capture begins inside the connection.
    pub syns: u16,
    /// When the server accepted it.
    pub accepted: Option<Timestamp>,
    /// DNS messages from the client.
    pub queries: u32,
    /// DNS messages from the server.
    pub responses: u32,
    /// Who reset it, if anybody did.
    pub reset: Option<Reset>,
    /// Whether either side closed it in order.
    pub finished: bool,
}

/// A TCP reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// The frame.
    pub seen: Seen,
    /// Whether the server sent it.
    pub by_server: bool,
}
