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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::sample::{QUERY, assert_is_other, decoded, ipv4, ipv6, join, v4, v6};

    fn kind_of(bytes: &[u8]) -> Option<IcmpKind> {
        match decoded(101, bytes).unwrap().body {
            Body::Icmp(error) => Some(error.kind),
            _ => None,
        }
    }

    #[test]
    fn an_error_tells_what_was_rejected() {
        for (bytes, quoted) in [
            (ipv4(1, &join(&[&[3, 3, 0, 0, 0, 0, 0, 0], &v4()])), v4()),
            (ipv6(58, &join(&[&[1, 4, 0, 0, 0, 0, 0, 0], &v6()])), v6()),
        ] {
            let Body::Icmp(error) = decoded(101, &bytes).unwrap().body else {
                panic!("no error");
            };
            assert_eq!(error.kind, IcmpKind::PortUnreachable);
            assert_eq!(Some(error.quoted), decoded(101, &quoted).unwrap().tuple());
            assert_eq!(error.payload, QUERY);
        }
    }

    #[test]
    fn eight_bytes_of_the_quoted_transport_are_enough() {
        let bytes = ipv4(1, &join(&[&[3, 1, 0, 0, 0, 0, 0, 0], &v4()[..28]]));
        let Body::Icmp(error) = decoded(101, &bytes).unwrap().body else {
            panic!("no error");
        };
        assert_eq!(error.quoted.dst.to_string(), "10.96.0.10:53");
        assert!(error.payload.is_empty());
        let tcp = ipv4(6, &[0xc3, 0x50, 0, 53, 0, 0, 0, 1]);
        let bytes = ipv4(1, &join(&[&[3, 1, 0, 0, 0, 0, 0, 0], &tcp]));
        let Body::Icmp(error) = decoded(101, &bytes).unwrap().body else {
            panic!("no error");
        };
        assert_eq!(error.quoted.to_string(), "TCP 192.0.2.1:50000 -> 192.0.2.2:53");
    }

    #[test]
    fn both_versions_speak_the_same_words() {
        use IcmpKind::{
            AdminProhibited, HostUnreachable, Other, PacketTooBig, PortUnreachable, TimeExceeded,
        };
        for (kind, code, expected) in [
            (3, 0, Some(HostUnreachable)),
            (3, 1, Some(HostUnreachable)),
            (3, 2, Some(Other)),
            (3, 3, Some(PortUnreachable)),
            (3, 4, Some(PacketTooBig)),
            (3, 13, Some(AdminProhibited)),
            (4, 0, Some(Other)),
            (5, 1, None),
            (11, 0, Some(TimeExceeded)),
            (12, 0, Some(Other)),
        ] {
            let bytes = ipv4(1, &join(&[&[kind, code, 0, 0, 0, 0, 0, 0], &v4()]));
            assert_eq!(kind_of(&bytes), expected, "{kind}/{code}");
        }
        for (kind, code, expected) in [
            (1, 0, Some(HostUnreachable)),
            (1, 1, Some(AdminProhibited)),
            (1, 3, Some(HostUnreachable)),
            (1, 4, Some(PortUnreachable)),
            (1, 6, Some(AdminProhibited)),
            (2, 0, Some(PacketTooBig)),
            (3, 0, Some(TimeExceeded)),
            (4, 1, Some(Other)),
            (137, 0, None),
        ] {
            let bytes = ipv6(58, &join(&[&[kind, code, 0, 0, 0, 0, 0, 0], &v6()]));
            assert_eq!(kind_of(&bytes), expected, "{kind}/{code}");
        }
    }

    #[test]
    fn messages_that_quote_no_ports_are_nothing_of_interest() {
        assert_is_other(101, &ipv4(1, &[8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3]));
        assert_is_other(101, &ipv4(1, &[3, 3]));
        let quoted = ipv4(1, &[0; 8]);
        assert_is_other(101, &ipv4(1, &join(&[&[3, 1, 0, 0, 0, 0, 0, 0], &quoted])));
        let mut later = v4();
        later[6..8].copy_from_slice(&[0, 9]);
        assert_is_other(101, &ipv4(1, &join(&[&[11, 1, 0, 0, 0, 0, 0, 0], &later])));
    }
}
