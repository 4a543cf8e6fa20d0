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
            Ok(if split == 0 {
                Next::Ip(rest)
            } else {
                Next::Body(Body::Other)
            })
        }
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// FDDI: frame control, two addresses; only LLC frames carry data.
pub(super) fn fddi(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    let (&[control, _, _, _, _, _, _, a, b, c, d, e, f], rest) = view.split::<13>()?;
    let next = if control & 0xf0 == 0x50 {
        Next::Llc(rest)
    } else {
        Next::Body(Body::Other)
    };
    Ok(([a, b, c, d, e, f], next))
}

/// Token ring: access control, frame control, two addresses, perhaps a source route.
pub(super) fn token_ring(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    let (&[_, control, _, _, _, _, _, _, a, b, c, d, e, f], rest) = view.split::<14>()?;
    let routed = a & 0x80 != 0;
    let rest = if routed {
        rest.skip(usize::from(rest.u8(0)? & 0x1f))?
    } else {
        rest
    };
    let next = if control & 0xc0 == 0x40 {
        Next::Llc(rest)
    } else {
        Next::Body(Body::Other)
    };
    Ok(([a & 0x7f, b, c, d, e, f], next))
}

#[cfg(test)]
mod tests {
    use crate::packet::sample::{assert_is_other, join, query_via, v4, v6};

    #[test]
    fn bsd_families_are_read_in_both_byte_orders() {
        for link in [0, 108] {
            query_via(link, &join(&[&[2, 0, 0, 0], &v4()]));
            query_via(link, &join(&[&[0, 0, 0, 2], &v4()]));
            for family in [10, 24, 28, 30] {
                query_via(link, &join(&[&[family, 0, 0, 0], &v6()]));
                query_via(link, &join(&[&[0, 0, 0, family], &v6()]));
            }
            assert_is_other(link, &join(&[&[7, 0, 0, 0], &v4()]));
        }
    }

    #[test]
    fn bsd_loopback_may_hold_other_headers() {
        query_via(0, &join(&[&[0, 0, 8, 0], &v4()]));
        query_via(0, &join(&[&[0x0f, 0, 8, 0], &v4()]));
        query_via(0, &join(&[&[0xff, 3, 0, 0x21], &v4()]));
    }

    #[test]
    fn pflog_tells_its_length() {
        let mut header = vec![0; 64];
        header[0] = 61;
        query_via(117, &join(&[&header, &v4()]));
    }

    #[test]
    fn nflog_holds_the_packet_among_its_attributes() {
        let length = u16::try_from(v4().len() + 4).unwrap();
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            let attribute = |length, kind| join(&[&order(length), &order(kind)]);
            let prefix = join(&[&attribute(5, 10), &[0, 0, 0, 0]]);
            let packet = join(&[&attribute(length, 9), &v4()]);
            query_via(239, &join(&[&[2, 0, 0, 0], &prefix, &packet]));
        }
        // An attribute shorter than its own header ends the search.
        assert!(crate::packet::sample::decoded(239, &[2, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn pktap_names_the_link_type_behind_it() {
        let mut header = vec![0; 108];
        header[0] = 108;
        header[8] = 12;
        query_via(258, &join(&[&header, &v4()]));
    }

    #[test]
    fn arcnet_datagrams_are_read_unless_they_were_split() {
        query_via(129, &join(&[&[1, 2, 0, 0, 212, 0, 0, 0], &v4()]));
        query_via(129, &join(&[&[1, 2, 0, 0, 240], &v4()]));
        query_via(7, &join(&[&[1, 2, 212, 0, 0, 0], &v4()]));
        query_via(7, &join(&[&[1, 2, 212, 0xff, 0, 0, 0, 0, 0], &v4()]));
        assert_is_other(129, &join(&[&[1, 2, 0, 0, 212, 3, 0, 0], &v4()]));
        assert_is_other(129, &join(&[&[1, 2, 0, 0, 213, 0, 0, 0], &v4()]));
    }

    #[test]
    fn old_rings_carry_llc() {
        let snap = join(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4()]);
        let fddi = join(&[&[0x51, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2], &snap]);
        assert_eq!(query_via(10, &fddi).link_src, Some([2; 6]));
        let plain = [0x10, 0x40, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];
        query_via(6, &join(&[&plain, &snap]));
        let routed = [0x10, 0x40, 1, 1, 1, 1, 1, 1, 0x82, 2, 2, 2, 2, 2];
        let via = query_via(6, &join(&[&routed, &[4, 0, 0, 0], &snap]));
        assert_eq!(via.link_src, Some([2; 6]));
        assert_is_other(6, &[0x10, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
    }
}
