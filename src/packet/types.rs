//! What a frame holds once its headers are read.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::base::words::{Text, ToText, plain, text};
use crate::base::{FiveTuple, Transport};
use crate::capture::{LinkType, PointId, Seen};

/// A decoded frame: addresses, the place where it was seen, and what it carries.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Which frame, and when.
    pub seen: Seen,
    /// Where and how it was seen.
    pub via: Via,
    /// Innermost source address.
    pub src: IpAddr,
    /// Innermost destination address.
    pub dst: IpAddr,
    /// What it carries.
    pub body: Body<'a>,
}

/// Where a packet was seen: one position on its way through the capture point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// The capture point.
    pub point: PointId,
    /// Interface index of the capturing host (SLL2), or the pcapng interface.
    pub interface: Option<u32>,
    /// The cooked header's packet type, where there is one.
    pub direction: Option<Direction>,
    /// Innermost TTL or hop limit.
    pub ttl: u8,
    /// Innermost IPv4 identification; `None` for IPv6 and for atomic datagrams that carry 0.
    pub ip_id: Option<u16>,
    /// Link address of the sender of this hop, where the link type shows one.
    pub link_src: Option<[u8; 6]>,
    /// Link address of its receiver; cooked headers do not have one.
    pub link_dst: Option<[u8; 6]>,
    /// Number of outer headers (VXLAN, Geneve, IP in IP, …) around the innermost packet.
    pub tunnels: u8,
}

impl Via {
    /// At this capture point, as long as nothing else is known of it.
    #[inline]
    pub fn at(point: PointId) -> Self {
        Self {
            point,
            interface: None,
            direction: None,
            ttl: 0,
            ip_id: None,
            link_src: None,
            link_dst: None,
            tunnels: 0,
        }
    }
}

/// Packet type of a cooked capture (libpcap `sll.h`, rulebook K2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Sent to this host.
    Host,
    /// Link-layer broadcast.
    Broadcast,
    /// Link-layer multicast.
    Multicast,
    /// Sent to somebody else's link address; on a tunnel device such a packet is not delivered.
    OtherHost,
    /// Sent by this host.
    Outgoing,
}

impl Direction {
    /// Every one of them.
    pub const ALL: [Self; 5] =
        [Self::Host, Self::Broadcast, Self::Multicast, Self::OtherHost, Self::Outgoing];
}

/// What a packet carries.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// A UDP datagram.
    Udp(Datagram<'a>),
    /// A TCP segment.
    Tcp(TcpSegment<'a>),
    /// An ICMP or ICMPv6 error.
    Icmp(IcmpError<'a>),
    /// A piece of an IP datagram that has to be put together first.
    Fragment(Fragment<'a>),
    /// Understood, and nothing that DNS travels in (ARP, ICMP echo, OSPF, …).
    Other,
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The payload that was captured.
    pub payload: &'a [u8],
    /// Length of the payload on the wire; more than `payload.len()` when it was cut.
    pub wire_len: usize,
}

/// A TCP segment.
#[expect(clippy::struct_excessive_bools, reason = "they are the header's flags, each on its own")]
#[derive(Debug, Clone, Copy)]
pub struct TcpSegment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first payload byte (of the SYN if set).
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// SYN flag.
    pub syn: bool,
    /// Whether `ack` is valid.
    pub has_ack: bool,
    /// FIN flag.
    pub fin: bool,
    /// RST flag.
    pub rst: bool,
    /// The payload that was captured.
    pub payload: &'a [u8],
    /// Length of the payload on the wire; more than `payload.len()` when it was cut.
    pub wire_len: usize,
}

/// An ICMP (RFC 792) or ICMPv6 (RFC 4443) error about a UDP or TCP packet.
#[derive(Debug, Clone, Copy)]
pub struct IcmpError<'a> {
    /// What it says.
    pub kind: IcmpKind,
    /// The tuple of the packet that it quotes.
    pub quoted: FiveTuple,
    /// What it quotes of that packet's payload.
    pub payload: &'a [u8],
}

/// What an ICMP error says, with ICMP and ICMPv6 mapped to the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpKind {
    /// Type 3 codes 0, 1, 5, 6, 7, 8, 11, 12; ICMPv6 type 1 codes 0, 2, 3.
    HostUnreachable,
    /// Type 3 code 3; ICMPv6 type 1 code 4.
    PortUnreachable,
    /// Type 3 codes 9, 10, 13; ICMPv6 type 1 codes 1, 5, 6.
    AdminProhibited,
    /// Type 3 code 4; ICMPv6 type 2.
    PacketTooBig,
    /// Type 11; ICMPv6 type 3.
    TimeExceeded,
    /// Any other error that quotes a packet.
    Other,
}

impl ToText for IcmpKind {
    fn to_text(&self) -> Text {
        match self {
            Self::HostUnreachable => text!("host unreachable"),
            Self::PortUnreachable => text!("port unreachable"),
            Self::AdminProhibited => text!("administratively prohibited"),
            Self::PacketTooBig => text!("packet too big"),
            Self::TimeExceeded => text!("time exceeded"),
            Self::Other => text!("another error"),
        }
    }
}

impl fmt::Display for IcmpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// A piece of an IP datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Protocol of the whole datagram's payload (IANA number).
    pub protocol: u8,
    /// Offset of `payload` in the datagram's payload, in bytes.
    pub offset: usize,
    /// More fragments follow.
    pub more: bool,
    /// This piece of the payload.
    pub payload: &'a [u8],
    /// Length of this piece on the wire; more than `payload.len()` when it was cut.
    pub wire_len: usize,
}

/// Why a frame could not be understood; each is counted under its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// A link type that is not read, by its number.
    LinkType(u16),
    /// The frame ends before its headers do.
    Cut,
    /// A header contradicts itself.
    BadHeader,
    /// Encrypted (ESP).
    Encrypted,
    /// More layers of encapsulation than any real network has.
    TooDeep,
}

/// The name under which frames of this kind are counted in a report.
impl ToText for Skip {
    fn to_text(&self) -> Text {
        match self {
            Self::LinkType(number) => {
                text!("link type {name} ({number})", name = plain(LinkType(*number)), number)
            }
            Self::Cut => text!("cut before the end of its headers"),
            Self::BadHeader => text!("bad header"),
            Self::Encrypted => text!("encrypted"),
            Self::TooDeep => text!("encapsulated too deeply"),
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

impl<'a> Packet<'a> {
    /// The part of what it carries that lies in the frame's bytes.
    pub fn payload(&self) -> &'a [u8] {
        match self.body {
            Body::Udp(datagram) => datagram.payload,
            Body::Tcp(segment) => segment.payload,
            Body::Icmp(error) => error.payload,
            Body::Fragment(fragment) => fragment.payload,
            Body::Other => &[],
        }
    }

    /// The same packet with that part elsewhere.
    #[must_use]
    pub fn with_payload<'b>(&self, payload: &'b [u8]) -> Packet<'b> {
        let Self { seen, via, src, dst, body } = *self;
        Packet { seen, via, src, dst, body: body.with_payload(payload) }
    }

    /// The 5-tuple, if it carries UDP or TCP.
    pub fn tuple(&self) -> Option<FiveTuple> {
        let (transport, src_port, dst_port) = match &self.body {
            Body::Udp(datagram) => (Transport::Udp, datagram.src_port, datagram.dst_port),
            Body::Tcp(segment) => (Transport::Tcp, segment.src_port, segment.dst_port),
            Body::Icmp(_) | Body::Fragment(_) | Body::Other => return None,
        };
        Some(FiveTuple {
            transport,
            src: SocketAddr::new(self.src, src_port),
            dst: SocketAddr::new(self.dst, dst_port),
        })
    }
}

impl Body<'_> {
    fn with_payload(self, payload: &[u8]) -> Body<'_> {
        match self {
            Self::Udp(Datagram { src_port, dst_port, wire_len, .. }) => {
                Body::Udp(Datagram { src_port, dst_port, payload, wire_len })
            }
            Self::Tcp(TcpSegment {
                src_port,
                dst_port,
                seq,
                ack,
                syn,
                has_ack,
                fin,
                rst,
                wire_len,
                ..
            }) => Body::Tcp(TcpSegment {
                src_port,
                dst_port,
                seq,
                ack,
                syn,
                has_ack,
                fin,
                rst,
                payload,
                wire_len,
            }),
            Self::Icmp(IcmpError { kind, quoted, .. }) => {
                Body::Icmp(IcmpError { kind, quoted, payload })
            }
            Self::Fragment(Fragment { id, protocol, offset, more, wire_len, .. }) => {
                Body::Fragment(Fragment { id, protocol, offset, more, payload, wire_len })
            }
            Self::Other => Body::Other,
        }
    }
}
