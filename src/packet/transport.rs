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
    let (header, rest) = view.split::<20>()?;
    let &[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] = header;
    let options = usize::from(offset >> 4).checked_sub(5).ok_or(Skip::BadHeader)? * 4;
    if options > rest.wire {
        return Err(Skip::BadHeader);
    }
    let payload = rest.bytes.get(options..).unwrap_or_default();
    Ok(Next::Body(Body::Tcp(TcpSegment {
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
    })))
}
