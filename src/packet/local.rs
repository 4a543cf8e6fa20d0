//! Headers that a kernel makes up for captures of its own traffic: BSD loopback, pf's log, NFLOG,
//! PKTAP, as tcpdump.org's registry and libpcap's headers describe them.

use super::decode::Next;
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

#[cfg(test)]
mod tests {
    use crate::packet::sample::{assert_is_other, decoded, join, query_via, v4, v6};

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
        assert!(decoded(239, &[2, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn pktap_names_the_link_type_behind_it() {
        let mut header = vec![0; 108];
        header[0] = 108;
        header[8] = 12;
        query_via(258, &join(&[&header, &v4()]));
    }
}
