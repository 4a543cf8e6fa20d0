//! Packets as a masked report may show them.
//!
//! A packet is not painted over, it is written anew from what was understood of it: whatever the
//! mask does not know of cannot be in it. Link addresses and outer headers of tunnels are gone; TTL,
//! identification, ports, sequence numbers and lengths stay, so that the evidence is still to be seen.

use std::net::IpAddr;

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FlowLabel, Ipv6Header,
    PacketBuilder, TcpHeader,
};

use crate::analysis::Mask;
use crate::base::Transport;
use crate::capture::{Frame, LinkType, PointId};
use crate::dns::rewrite;
use crate::flow::Ports;
use crate::packet::{Body, Datagram, IcmpError, IcmpKind, Packet, TcpSegment, decode};

/// The header of a DNS message: id, flags and counts tell nothing of names.
const DNS_HEADER: usize = 12;
/// What a quoted packet's TTL was is not known.
const TTL: u8 = 64;

/// A packet written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// IP, without a link layer.
    pub bytes: Vec<u8>,
    /// Its length on the wire, as far as it can be kept.
    pub wire_len: u32,
}

impl Masked {
    /// What its first byte is.
    pub const LINK: LinkType = LinkType::RAW;

    /// The packet in `frame`; `None` for one that cannot be masked: a fragment, or nothing that DNS
    /// travels in.
    pub fn of(frame: &Frame<'_>, ports: &Ports, mask: &mut Mask) -> Option<Self> {
        let packet = decode(frame, PointId(0)).ok()?;
        match &packet.body {
            Body::Udp(datagram) if ports.concern(datagram.src_port, datagram.dst_port) => {
                udp(&packet, datagram, mask)
            }
            Body::Tcp(segment) if ports.concern(segment.src_port, segment.dst_port) => {
                tcp(&packet, segment, mask)
            }
            Body::Icmp(error) => icmp(&packet, error, mask),
            _ => None,
        }
    }
}

fn udp(packet: &Packet<'_>, datagram: &Datagram<'_>, mask: &mut Mask) -> Option<Masked> {
    let headers = ip((packet.src, packet.dst), packet.via.ttl, packet.via.ip_id, mask)?;
    let builder = PacketBuilder::ip(headers).udp(datagram.src_port, datagram.dst_port);
    if let Some(payload) = rewrite(datagram.payload, mask) {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &payload).ok()?;
        let wire_len = u32::try_from(bytes.len()).ok()?;
        return Some(Masked { bytes, wire_len });
    }
    // What cannot be read is not shown: as if the snap length had cut it off.
    let shown = DNS_HEADER.min(datagram.payload.len());
    let mut payload = datagram.payload.get(..shown)?.to_vec();
    payload.resize(datagram.wire_len.max(shown), 0);
    cut(shown, payload.len(), |bytes| builder.write(bytes, &payload).ok())
}

fn tcp(packet: &Packet<'_>, segment: &TcpSegment<'_>, mask: &mut Mask) -> Option<Masked> {
    let headers = ip((packet.src, packet.dst), packet.via.ttl, packet.via.ip_id, mask)?;
    let mut header = TcpHeader::new(segment.src_port, segment.dst_port, segment.seq, u16::MAX);
    header.acknowledgment_number = segment.ack;
    header.syn = segment.syn;
    header.ack = segment.has_ack;
    header.fin = segment.fin;
    header.rst = segment.rst;
    // A name that becomes longer would move all that follows in the stream.
    let payload = vec![0; segment.wire_len];
    let builder = PacketBuilder::ip(headers).tcp_header(header);
    cut(0, payload.len(), |bytes| builder.write(bytes, &payload).ok())
}

/// The packet without the last bytes of its payload, all but `shown` of them.
fn cut(
    shown: usize,
    payload: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<Masked> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    let wire_len = u32::try_from(bytes.len()).ok()?;
    bytes.truncate(bytes.len().checked_sub(payload)? + shown);
    Some(Masked { bytes, wire_len })
}

fn icmp(packet: &Packet<'_>, error: &IcmpError<'_>, mask: &mut Mask) -> Option<Masked> {
    let headers = ip((packet.src, packet.dst), packet.via.ttl, packet.via.ip_id, mask)?;
    let quoted = quote(error, mask)?;
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ip(headers);
    match packet.src {
        IpAddr::V4(_) => {
            let (kind, code) = match error.kind {
                IcmpKind::HostUnreachable => (3, 1),
                IcmpKind::PortUnreachable => (3, 3),
                IcmpKind::AdminProhibited => (3, 13),
                IcmpKind::PacketTooBig => (3, 4),
                IcmpKind::TimeExceeded => (11, 0),
                IcmpKind::Other => return None,
            };
            builder.icmpv4_raw(kind, code, [0; 4]).write(&mut bytes, &quoted).ok()?;
        }
        IpAddr::V6(_) => {
            let (kind, code) = match error.kind {
                IcmpKind::HostUnreachable => (1, 0),
                IcmpKind::PortUnreachable => (1, 4),
                IcmpKind::AdminProhibited => (1, 1),
                IcmpKind::PacketTooBig => (2, 0),
                IcmpKind::TimeExceeded => (3, 0),
                IcmpKind::Other => return None,
            };
            builder.icmpv6_raw(kind, code, [0; 4]).write(&mut bytes, &quoted).ok()?;
        }
    }
    let wire_len = u32::try_from(bytes.len()).ok()?;
    Some(Masked { bytes, wire_len })
}

/// The headers that an ICMP error quotes.
fn quote(error: &IcmpError<'_>, mask: &mut Mask) -> Option<Vec<u8>> {
    let tuple = error.quoted;
    let builder = PacketBuilder::ip(ip((tuple.src.ip(), tuple.dst.ip()), TTL, None, mask)?);
    let mut bytes = Vec::new();
    match tuple.transport {
        Transport::Udp => {
            builder.udp(tuple.src.port(), tuple.dst.port()).write(&mut bytes, &[]).ok()?;
        }
        Transport::Tcp => {
            builder.tcp(tuple.src.port(), tuple.dst.port(), 0, 0).write(&mut bytes, &[]).ok()?;
        }
    }
    Some(bytes)
}

/// The IP header between the addresses that stand for these.
fn ip(
    (src, dst): (IpAddr, IpAddr),
    ttl: u8,
    ip_id: Option<u16>,
    mask: &mut Mask,
) -> Option<IpHeaders> {
    match (mask.address(src), mask.address(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header =
                Ipv4Header::new(0, ttl, IpNumber::UDP, src.octets(), dst.octets()).ok()?;
            header.identification = ip_id.unwrap_or(0);
            header.dont_fragment = ip_id.is_none();
            Some(IpHeaders::Ipv4(header, Ipv4Extensions::default()))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber::UDP,
                hop_limit: ttl,
                source: src.octets(),
                destination: dst.octets(),
            };
            Some(IpHeaders::Ipv6(header, Ipv6Extensions::default()))
        }
        _ => None,
    }
}
