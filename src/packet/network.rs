//! IPv4 (RFC 791) and IPv6 (RFC 8200), and what they carry.
//!
//! The headers are etherparse's; the lengths are ours, because a capture cuts packets and network
//! cards segment them late, so that a header's length can be 0 or lie beyond the frame.

use std::net::{IpAddr, Ipv4Addr};

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

/// What [`plain_udp`] reads.
pub(super) struct PlainUdp<'a> {
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) id: Option<u16>,
    pub(super) payload: View<'a>,
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

/// What a UDP datagram in one piece is carried by, where the header is of IPv4 and without options:
/// nearly every packet. Every field then has its place.
#[inline]
pub(super) fn plain_udp(view: View<'_>) -> Option<PlainUdp<'_>> {
    const MORE_AND_OFFSET: u16 = 0x3fff;
    let (header, rest) = view.split::<20>().ok()?;
    let &[version, _, l0, l1, i0, i1, f0, f1, ttl, upper, _, _, ref addresses @ ..] = header;
    let piece = u16::from_be_bytes([f0, f1]) & MORE_AND_OFFSET;
    if version != 0x45 || upper != protocol::UDP || piece != 0 {
        return None;
    }
    let payload = match usize::from(u16::from_be_bytes([l0, l1])) {
        0 => rest,
        total => rest.limit(total.checked_sub(header.len())?),
    };
    let &[s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    Some(PlainUdp {
        src: Ipv4Addr::new(s0, s1, s2, s3),
        dst: Ipv4Addr::new(d0, d1, d2, d3),
        ttl,
        id: Some(u16::from_be_bytes([i0, i1])).filter(|&id| id != 0),
        payload,
    })
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

#[cfg(test)]
mod tests {
    use crate::capture::PointId;
    use crate::packet::sample::{
        assert_is_other, assert_is_query, decoded, ethernet, frame, ipv4, ipv6, join, query_via,
        v4, v6,
    };
    use crate::packet::{Body, Skip, decode};

    #[test]
    fn the_identification_is_absent_where_it_is_0_and_in_ipv6() {
        assert_eq!(query_via(101, &v4()).ip_id, None);
        let mut bytes = v4();
        bytes[4..6].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(query_via(101, &bytes).ip_id, Some(0x1234));
        assert_eq!(query_via(101, &v6()).ip_id, None);
    }

    #[test]
    fn addresses_are_the_innermost() {
        for (protocol, inner) in [(4, v4()), (41, v6())] {
            for outer in [ipv4(protocol, &inner), ipv6(protocol, &inner)] {
                assert_eq!(query_via(101, &outer).tunnels, 1);
                let packet = decoded(101, &outer).unwrap();
                assert_eq!(packet.src.is_ipv4(), protocol == 4);
            }
        }
        let twice = ipv4(4, &ipv4(4, &v4()));
        assert_eq!(query_via(101, &twice).tunnels, 2);
        query_via(101, &ipv4(97, &join(&[&[0x30, 0], &ethernet(0x0800, &v4())])));
        query_via(101, &ipv4(137, &join(&[&[0, 2, 1, 64], &v4()])));
    }

    #[test]
    fn padding_behind_the_packet_is_no_payload() {
        query_via(1, &ethernet(0x0800, &join(&[&v4(), &[0; 11]])));
        query_via(1, &ethernet(0x86dd, &join(&[&v6(), &[0; 11]])));
    }

    #[test]
    fn a_length_of_0_means_to_the_end_of_the_frame() {
        let mut bytes = v4();
        bytes[2..4].fill(0);
        query_via(101, &bytes);
        let mut bytes = v6();
        bytes[4..6].fill(0);
        query_via(101, &bytes);
    }

    #[test]
    fn options_of_ipv4_are_stepped_over() {
        let mut bytes = v4();
        bytes[0] = 0x46;
        bytes[3] += 4;
        bytes.splice(20..20, [1, 1, 1, 0]);
        query_via(101, &bytes);
    }

    #[test]
    fn the_snap_length_cuts_the_payload_and_not_its_length() {
        let bytes = v4();
        let mut cut = frame(1, 101, &bytes);
        cut.bytes = &bytes[..40];
        let packet = decode(&cut, PointId(0)).unwrap();
        assert!(
            matches!(packet.body, Body::Udp(udp) if udp.payload.len() == 12 && udp.wire_len == 17)
        );
        cut.bytes = &bytes[..27];
        assert_eq!(decode(&cut, PointId(0)).unwrap_err(), Skip::Cut);
        // Cut by a tool that did not note the length on the wire.
        let packet = decoded(101, &bytes[..40]).unwrap();
        assert!(matches!(packet.body, Body::Udp(udp) if udp.wire_len == 17));
    }

    #[test]
    fn extension_headers_are_walked_through() {
        let udp = &v6()[40..];
        let option = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        let chain = join(&[&option(60), &option(43), &[17, 0, 0, 0, 0, 0, 0, 0], udp]);
        assert_is_query(&decoded(101, &ipv6(0, &chain)).unwrap());
        // Authentication, in both versions, and an atomic fragment.
        let authentication = |next| join(&[&[next, 4, 0, 0], &[7; 20]]);
        let chain = join(&[&authentication(17), udp]);
        assert_is_query(&decoded(101, &ipv6(51, &chain)).unwrap());
        let chain = join(&[&authentication(4), &v4()]);
        query_via(101, &ipv4(51, &chain));
        let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
        assert_is_query(&decoded(101, &ipv6(44, &join(&[&atomic, udp]))).unwrap());
        assert_eq!(decoded(101, &ipv6(0, &[60])).unwrap_err(), Skip::Cut);
    }

    #[test]
    fn fragments_are_not_decoded_beyond_their_header() {
        let mut bytes = v4();
        bytes[4..8].copy_from_slice(&[0xab, 0xcd, 0x20, 0]);
        let packet = decoded(101, &bytes).unwrap();
        let Body::Fragment(first) = packet.body else {
            panic!("no fragment: {packet:?}");
        };
        assert_eq!((first.id, first.protocol, first.offset), (0xabcd, 17, 0));
        assert_eq!((first.more, first.payload.len(), first.wire_len), (true, 25, 25));
        // What a later fragment of IPv6 begins with is payload, whatever number announces it.
        let later = [60, 0, 0x00, 0x10, 0, 1, 2, 3, 0xff, 0xff];
        let bytes = ipv6(44, &later);
        let packet = decoded(101, &bytes).unwrap();
        let Body::Fragment(later) = packet.body else {
            panic!("no fragment: {packet:?}");
        };
        assert_eq!((later.id, later.protocol, later.offset), (0x01_0203, 60, 16));
        assert_eq!((later.more, later.payload), (false, &[0xff, 0xff][..]));
    }

    #[test]
    fn what_is_not_read_is_said() {
        assert_eq!(decoded(101, &ipv4(50, &[0; 40])).unwrap_err(), Skip::Encrypted);
        assert_eq!(decoded(101, &[0x50; 40]).unwrap_err(), Skip::BadHeader);
        let mut short = v4();
        short[2..4].copy_from_slice(&[0, 19]);
        assert_eq!(decoded(101, &short).unwrap_err(), Skip::BadHeader);
        assert_is_other(101, &ipv4(132, &[0; 12]));
        assert_is_other(101, &ipv6(59, &[]));
    }
}
