//! Link types of single systems and old networks: BSD loopback, pf, NFLOG, PKTAP, ARCNET, FDDI
//! and token ring, as tcpdump.org's registry and libpcap's headers describe them.

use super::decode::Next;
use super::ethernet::Mac;
use super::view::View;
use super::{Body, Skip, ppp};

/// BSD loopback: an address family in the byte order of the capturing host, or in network order.
/// Some systems' captures say so and hold an `EtherType`, PPP or Cisco HDLC.
pub(super) fn bsd_loopback(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&family, rest) = view.split::<4>()?;
    match family {
        [0xff, 0x03, ..] => return Ok(Next::Ppp(view)),
        [0x0f, 0x00, ..] => return ppp::cisco_hdlc(view),
        _ => {}
    }
    let big = u32::from_be_bytes(family);
    // The numbers are small: read in the wrong order they are not.
    let family = u16::try_from(big).or_else(|_| u16::try_from(big.swap_bytes()));
    Ok(match family {
        Ok(2 | 10 | 24 | 28 | 30) => Next::Ip(rest),
        Ok(kind @ 0x0600..) => Next::EtherType(kind, rest),
        _ => Next::Body(Body::Other),
    })
}

/// An `EtherType` in a header of `length` bytes that begins with it.
pub(super) fn typed(view: View<'_>, length: usize) -> Result<Next<'_>, Skip> {
    Ok(Next::EtherType(view.u16(0)?, view.skip(length)?))
}

/// OpenBSD's packet filter log: a header that tells its own length, padded to four bytes.
pub(super) fn pflog(view: View<'_>) -> Result<Next<'_>, Skip> {
    let length = usize::from(view.u8(0)?);
    Ok(Next::Ip(view.skip(length.next_multiple_of(4))?))
}

/// Linux netfilter's log: attributes in the byte order of the capturing host, among them the
/// packet (`NFULA_PAYLOAD`).
pub(super) fn nflog(view: View<'_>) -> Result<Next<'_>, Skip> {
    const NFULA_PAYLOAD: u16 = 9;
    let (_, mut view) = view.split::<4>()?;
    loop {
        let (&[l0, l1, t0, t1], value) = view.split::<4>()?;
        let little = (u16::from_le_bytes([l0, l1]), u16::from_le_bytes([t0, t1]));
        let big = (u16::from_be_bytes([l0, l1]), u16::from_be_bytes([t0, t1]));
        // Attribute types are small: read in the wrong order they are at least 256.
        let (length, kind) = if little.1 < 256 { little } else { big };
        let length = usize::from(length).checked_sub(4).ok_or(Skip::BadHeader)?;
        if kind == NFULA_PAYLOAD {
            return Ok(Next::Ip(value.limit(length)));
        }
        view = value.skip(length.next_multiple_of(4))?;
    }
}

/// Apple's per-process capture: the length of the header, and the link type of what follows.
pub(super) fn pktap(view: View<'_>) -> Result<(u32, View<'_>), Skip> {
    let (&[l0, l1, l2, l3, _, _, _, _, d0, d1, d2, d3], _) = view.split::<12>()?;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let length = usize::try_from(length).map_err(|_| Skip::BadHeader)?;
    Ok((u32::from_le_bytes([d0, d1, d2, d3]), view.skip(length)?))
}

/// ARCNET as Linux hands it out: source, destination, two bytes of offset, protocol.
pub(super) fn arcnet_linux(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[_, _, _, _, protocol], rest) = view.split::<5>()?;
    arcnet_payload(protocol, rest)
}

/// ARCNET as BSD hands it out: source, destination, protocol.
pub(super) fn arcnet(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[_, _, protocol], rest) = view.split::<3>()?;
    arcnet_payload(protocol, rest)
}

/// IP over ARCNET: RFC 1051 (240) without, RFC 1201 (212, and 196 for IPv6) with a header that
/// tells how the datagram was split. Split ones are not put together.
fn arcnet_payload(protocol: u8, view: View<'_>) -> Result<Next<'_>, Skip> {
    const EXCEPTION: u8 = 0xff;
    match protocol {
        240 => Ok(Next::Ip(view)),
        212 | 196 => {
            let (&[mut split, _, _], mut rest) = view.split::<3>()?;
            if split == EXCEPTION {
                let (&[real, _, _], behind) = rest.split::<3>()?;
                (split, rest) = (real, behind);
            }
            Ok(if split == 0 { Next::Ip(rest) } else { Next::Body(Body::Other) })
        }
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// FDDI: frame control, two addresses; only LLC frames carry data.
pub(super) fn fddi(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    let (&[control, _, _, _, _, _, _, a, b, c, d, e, f], rest) = view.split::<13>()?;
    let next = if control & 0xf0 == 0x50 { Next::Llc(rest) } else { Next::Body(Body::Other) };
    Ok(([a, b, c, d, e, f], next))
}

/// Token ring: access control, frame control, two addresses, perhaps a source route.
pub(super) fn token_ring(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    let (&[_, control, _, _, _, _, _, _, a, b, c, d, e, f], rest) = view.split::<14>()?;
    let routed = a & 0x80 != 0;
    let rest = if routed { rest.skip(usize::from(rest.u8(0)? & 0x1f))? } else { rest };
    let next = if control & 0xc0 == 0x40 { Next::Llc(rest) } else { Next::Body(Body::Other) };
    Ok(([a & 0x7f, b, c, d, e, f], next))
}
