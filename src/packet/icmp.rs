//! Errors of ICMP (RFC 792) and ICMPv6 (RFC 4443), and the packets that they quote.

use std::net::SocketAddr;

use super::network::{self, protocol};
use super::view::View;
use super::{Body, IcmpError, IcmpKind, Skip, transport};
use crate::base::{FiveTuple, Transport};

/// An ICMP message.
pub(super) fn v4(view: View<'_>) -> Body<'_> {
    error(view, |kind, code| match (kind, code) {
        (3, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => Some(IcmpKind::HostUnreachable),
        (3, 3) => Some(IcmpKind::PortUnreachable),
        (3, 9 | 10 | 13) => Some(IcmpKind::AdminProhibited),
        (3, 4) => Some(IcmpKind::PacketTooBig),
        (11, _) => Some(IcmpKind::TimeExceeded),
        // Source quench and parameter problem; a redirect (5) rejects nothing.
        (3 | 4 | 12, _) => Some(IcmpKind::Other),
        _ => None,
    })
}

/// An ICMPv6 message.
pub(super) fn v6(view: View<'_>) -> Body<'_> {
    error(view, |kind, code| match (kind, code) {
        (1, 0 | 2 | 3) => Some(IcmpKind::HostUnreachable),
        (1, 4) => Some(IcmpKind::PortUnreachable),
        (1, 1 | 5 | 6) => Some(IcmpKind::AdminProhibited),
        (2, _) => Some(IcmpKind::PacketTooBig),
        (3, _) => Some(IcmpKind::TimeExceeded),
        // Types below 128 are errors.
        (0..=127, _) => Some(IcmpKind::Other),
        _ => None,
    })
}

/// An error that quotes UDP or TCP, or else nothing of interest.
fn error(view: View<'_>, kind_of: fn(u8, u8) -> Option<IcmpKind>) -> Body<'_> {
    let Ok((&[kind, code, ..], quote)) = view.split::<8>() else {
        return Body::Other;
    };
    let Some(kind) = kind_of(kind, code) else {
        return Body::Other;
    };
    match quoted(quote) {
        Ok(Some((quoted, payload))) => Body::Icmp(IcmpError { kind, quoted, payload }),
        Ok(None) | Err(_) => Body::Other,
    }
}

/// Tuple and payload of a quoted packet, of which eight bytes behind its IP header are enough.
fn quoted(view: View<'_>) -> Result<Option<(FiveTuple, &[u8])>, Skip> {
    let ip = network::parse(view)?;
    if ip.piece.is_some_and(|piece| piece.offset != 0) {
        return Ok(None);
    }
    let src_port = ip.payload.u16(0)?;
    let dst_port = ip.payload.u16(2)?;
    let (transport, payload) = match ip.protocol {
        protocol::UDP => (Transport::Udp, transport::datagram(ip.payload)?.payload),
        protocol::TCP => {
            let bytes = ip.payload.bytes;
            let header = bytes
                .get(12)
                .map_or(bytes.len(), |&offset| usize::from(offset >> 4).saturating_mul(4));
            (Transport::Tcp, bytes.get(header..).unwrap_or_default())
        }
        _ => return Ok(None),
    };
    let tuple = FiveTuple {
        transport,
        src: SocketAddr::new(ip.src, src_port),
        dst: SocketAddr::new(ip.dst, dst_port),
    };
    Ok(Some((tuple, payload)))
}
