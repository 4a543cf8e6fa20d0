//! IPv4 (RFC 791) and IPv6 (RFC 8200), and what they carry.
//!
//! The headers are etherparse's; the lengths are ours, because a capture cuts packets and network
//! cards segment them late, so that a header's length can be 0 or lie beyond the frame.

use std::net::IpAddr;

use etherparse::err::{ipv4, ipv6};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::decode::Next;
use super::extension::{self, Piece};
use super::view::View;
use super::{Body, Fragment, Packet, Skip, ethernet, gre, icmp, transport};

/// IANA protocol numbers.
pub(super) mod protocol {
    pub(in crate::packet) const ICMP: u8 = 1;
    pub(in crate::packet) const IPV4: u8 = 4;
    pub(in crate::packet) const TCP: u8 = 6;
    pub(in crate::packet) const UDP: u8 = 17;
    pub(in crate::packet) const IPV6: u8 = 41;
    pub(in crate::packet) const GRE: u8 = 47;
    pub(in crate::packet) const ESP: u8 = 50;
    pub(in crate::packet) const ICMPV6: u8 = 58;
    pub(in crate::packet) const ETHERIP: u8 = 97;
    pub(in crate::packet) const MPLS: u8 = 137;
}

/// One IP header with its extensions, and what follows them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ip<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) ttl: u8,
    pub(super) id: Option<u16>,
    /// Protocol of the payload, extension headers walked through.
    pub(super) protocol: u8,
    pub(super) payload: View<'a>,
    /// Set if the payload is a piece of a datagram.
    pub(super) piece: Option<Piece>,
}

/// Reads an IP header of either version, whatever it was announced as.
#[inline]
pub(super) fn parse(view: View<'_>) -> Result<Ip<'_>, Skip> {
    match view.u8(0)? >> 4 {
        4 => v4(view),
        6 => v6(view),
        _ => Err(Skip::BadHeader),
    }
}

#[inline]
fn v4(view: View<'_>) -> Result<Ip<'_>, Skip> {
    let header = Ipv4HeaderSlice::from_slice(view.bytes).map_err(|why| match why {
        ipv4::HeaderSliceError::Len(_) => Skip::Cut,
        ipv4::HeaderSliceError::Content(_) => Skip::BadHeader,
    })?;
    let header_len = header.slice().len();
    let rest = view.skip(header_len)?;
    let payload = match usize::from(header.total_len()) {
        // Segmented by the card only after it was captured: to the end of the frame.
        0 => rest,
        total => rest.limit(total.checked_sub(header_len).ok_or(Skip::BadHeader)?),
    };
    let mut ip = Ip {
        src: IpAddr::V4(header.source_addr()),
        dst: IpAddr::V4(header.destination_addr()),
        ttl: header.ttl(),
        id: Some(header.identification()).filter(|&id| id != 0),
        protocol: header.protocol().0,
        payload,
        piece: None,
    };
    if header.is_fragmenting_payload() {
        ip.piece = Some(Piece {
            id: u32::from(header.identification()),
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        });
    } else if extension::is_authentication(ip.protocol) {
        (ip.protocol, ip.payload) = extension::authentication(payload)?;
    }
    Ok(ip)
}

#[inline]
fn v6(view: View<'_>) -> Result<Ip<'_>, Skip> {
    let header = Ipv6HeaderSlice::from_slice(view.bytes).map_err(|why| match why {
        ipv6::HeaderSliceError::Len(_) => Skip::Cut,
        ipv6::HeaderSliceError::Content(_) => Skip::BadHeader,
    })?;
    let rest = view.skip(header.slice().len())?;
    let payload = match usize::from(header.payload_length()) {
        // A jumbogram (RFC 2675), or segmented later by the card: to the end of the frame.
        0 => rest,
        length => rest.limit(length),
    };
    let chain = extension::walk(header.next_header().0, payload)?;
    Ok(Ip {
        src: IpAddr::V6(header.source_addr()),
        dst: IpAddr::V6(header.destination_addr()),
        ttl: header.hop_limit(),
        id: None,
        protocol: chain.protocol,
        payload: chain.payload,
        piece: chain.piece,
    })
}

/// Reads an IP header and notes in `packet` what it shows.
#[inline]
pub(super) fn ip<'a>(packet: &mut Packet<'a>, view: View<'a>) -> Result<Next<'a>, Skip> {
    let ip = parse(view)?;
    packet.src = ip.src;
    packet.dst = ip.dst;
    packet.via.ttl = ip.ttl;
    packet.via.ip_id = ip.id;
    match ip.piece {
        None => upper(packet, ip.protocol, ip.payload),
        Some(piece) => Ok(fragment(ip.protocol, piece, ip.payload)),
    }
}

/// Reads the payload of a datagram that was put together from pieces.
pub(super) fn whole<'a>(
    packet: &mut Packet<'a>,
    protocol: u8,
    payload: View<'a>,
) -> Result<Next<'a>, Skip> {
    if packet.src.is_ipv6() {
        let chain = extension::walk(protocol, payload)?;
        match chain.piece {
            None => upper(packet, chain.protocol, chain.payload),
            Some(piece) => Ok(fragment(chain.protocol, piece, chain.payload)),
        }
    } else if extension::is_authentication(protocol) {
        let (protocol, payload) = extension::authentication(payload)?;
        upper(packet, protocol, payload)
    } else {
        upper(packet, protocol, payload)
    }
}

fn fragment(protocol: u8, piece: Piece, payload: View<'_>) -> Next<'_> {
    Next::Body(Body::Fragment(Fragment {
        id: piece.id,
        protocol,
        offset: piece.offset,
        more: piece.more,
        payload: payload.bytes,
        wire_len: payload.wire,
    }))
}

/// What the payload of a whole datagram is.
#[inline]
fn upper<'a>(packet: &mut Packet<'a>, number: u8, view: View<'a>) -> Result<Next<'a>, Skip> {
    match number {
        protocol::UDP => transport::udp(view),
        protocol::TCP => transport::tcp(view),
        protocol::ICMP => Ok(Next::Body(icmp::v4(view))),
        protocol::ICMPV6 => Ok(Next::Body(icmp::v6(view))),
        protocol::ESP => Err(Skip::Encrypted),
        _ => encapsulated(packet, number, view),
    }
}

/// Another packet behind this header, or nothing that is read here.
fn encapsulated<'a>(packet: &mut Packet<'a>, number: u8, view: View<'a>) -> Result<Next<'a>, Skip> {
    let next = match number {
        protocol::IPV4 | protocol::IPV6 => Next::Ip(view),
        protocol::GRE => gre::header(view)?,
        protocol::ETHERIP => Next::Ethernet(view.skip(2)?),
        protocol::MPLS => ethernet::mpls(view)?,
        _ => return Ok(Next::Body(Body::Other)),
    };
    packet.via.tunnels = packet.via.tunnels.saturating_add(1);
    Ok(next)
}
