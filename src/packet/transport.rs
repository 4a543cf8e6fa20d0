//! UDP (RFC 768) and TCP (RFC 9293) headers.
//!
//! Read by hand: etherparse's `TcpSlice` refuses a header whose options were cut by the snap
//! length, and its `UdpSlice` does not tell how much of the payload was cut.

use super::decode::Next;
use super::view::View;
use super::{Body, Datagram, Skip, TcpSegment, tunnel};

/// Length of a UDP header.
const UDP_HEADER: u16 = 8;

/// Reads a UDP header. Its length counts where it is shorter than the IP payload; where it lies
/// beyond, the IP payload is all there is; 0 means a jumbogram (RFC 2675 section 4).
#[inline]
pub(super) fn udp(view: View<'_>) -> Result<Next<'_>, Skip> {
    let datagram = datagram(view)?;
    Ok(if tunnel::may_listen(datagram.src_port, datagram.dst_port) {
        Next::Tunnel(datagram)
    } else {
        Next::Body(Body::Udp(datagram))
    })
}

/// The same, without asking whether it is a tunnel.
#[inline]
pub(super) fn datagram(view: View<'_>) -> Result<Datagram<'_>, Skip> {
    let (&[s0, s1, d0, d1, l0, l1, _, _], rest) = view.split::<8>()?;
    let payload = match u16::from_be_bytes([l0, l1]) {
        0 => rest,
        length => {
            let length = length.checked_sub(UDP_HEADER).ok_or(Skip::BadHeader)?;
            rest.limit(usize::from(length).min(rest.wire))
        }
    };
    Ok(Datagram {
        src_port: u16::from_be_bytes([s0, s1]),
        dst_port: u16::from_be_bytes([d0, d1]),
        payload: payload.bytes,
        wire_len: payload.wire,
    })
}

/// Reads a TCP header.
#[inline]
pub(super) fn tcp(view: View<'_>) -> Result<Next<'_>, Skip> {
    Ok(Next::Body(Body::Tcp(segment(view)?)))
}

#[inline]
pub(super) fn segment(view: View<'_>) -> Result<TcpSegment<'_>, Skip> {
    let (header, rest) = view.split::<20>()?;
    let &[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] = header;
    let options = usize::from(offset >> 4).checked_sub(5).ok_or(Skip::BadHeader)? * 4;
    if options > rest.wire {
        return Err(Skip::BadHeader);
    }
    let payload = rest.bytes.get(options..).unwrap_or_default();
    Ok(TcpSegment {
        src_port: u16::from_be_bytes([s0, s1]),
        dst_port: u16::from_be_bytes([d0, d1]),
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        syn: flags & 0x02 != 0,
        has_ack: flags & 0x10 != 0,
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
        payload,
        wire_len: rest.wire - options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::PointId;
    use crate::packet::decode;
    use crate::packet::sample::{QUERY, decoded, frame, ipv4, join, query_via, v4};

    fn with_udp_length(length: u16) -> Vec<u8> {
        let mut bytes = v4();
        bytes[24..26].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn the_shorter_of_both_lengths_counts() {
        let bytes = with_udp_length(8 + 12);
        let packet = decoded(101, &bytes).unwrap();
        assert!(
            matches!(packet.body, Body::Udp(udp) if udp.payload == &QUERY[..12] && udp.wire_len == 12)
        );
        query_via(101, &with_udp_length(0));
        query_via(101, &with_udp_length(999));
        let wrong = with_udp_length(7);
        assert_eq!(decoded(101, &wrong).unwrap_err(), Skip::BadHeader);
    }

    fn segment(offset: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        let head = [0xc3, 0x50, 0, 53, 0, 0, 0, 7, 0, 0, 0, 9, offset, flags, 1, 0, 0, 0, 0, 0];
        ipv4(6, &join(&[&head, rest]))
    }

    #[test]
    fn a_segment_shows_its_flags_and_payload() {
        let bytes = segment(0x60, 0x18, b"oooopayload");
        let packet = decoded(101, &bytes).unwrap();
        let Body::Tcp(tcp) = packet.body else {
            panic!("no segment: {packet:?}");
        };
        assert_eq!((tcp.src_port, tcp.dst_port), (50000, 53));
        assert_eq!((tcp.seq, tcp.ack, tcp.has_ack), (7, 9, true));
        assert_eq!((tcp.payload, tcp.wire_len), (&b"payload"[..], 7));
        for (flag, expected) in [
            (0x01, [true, false, false]),
            (0x02, [false, true, false]),
            (0x04, [false, false, true]),
        ] {
            let bytes = segment(0x50, flag, b"");
            let packet = decoded(101, &bytes).unwrap();
            let Body::Tcp(tcp) = packet.body else {
                panic!("no segment: {packet:?}");
            };
            assert_eq!([tcp.fin, tcp.syn, tcp.rst], expected);
        }
    }

    #[test]
    fn options_cut_by_the_snap_length_lose_no_header() {
        let bytes = segment(0x80, 0x10, b"ooooooooooootwo");
        let mut cut = frame(1, 101, &bytes);
        cut.bytes = &bytes[..44];
        let packet = decode(&cut, PointId(0)).unwrap();
        assert!(
            matches!(packet.body, Body::Tcp(tcp) if tcp.payload.is_empty() && tcp.wire_len == 3)
        );
    }

    #[test]
    fn an_impossible_data_offset_is_a_bad_header() {
        for offset in [0x40, 0xf0] {
            let bytes = segment(offset, 0x10, b"");
            assert_eq!(decoded(101, &bytes).unwrap_err(), Skip::BadHeader);
        }
    }
}
