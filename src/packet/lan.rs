//! Local networks other than Ethernet: ARCNET (RFC 1051, RFC 1201), FDDI (RFC 1390) and token ring
//! (IEEE 802.5).

use super::decode::Next;
use super::ethernet::Mac;
use super::view::View;
use super::{Body, Skip};

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
    let (&[control, _, _, _, _, _, _, m0, m1, m2, m3, m4, m5], rest) = view.split::<13>()?;
    let next = if control & 0xf0 == 0x50 { Next::Llc(rest) } else { Next::Body(Body::Other) };
    Ok(([m0, m1, m2, m3, m4, m5], next))
}

/// Token ring: access control, frame control, two addresses, perhaps a source route.
pub(super) fn token_ring(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    let (&[_, control, _, _, _, _, _, _, m0, m1, m2, m3, m4, m5], rest) = view.split::<14>()?;
    let routed = m0 & 0x80 != 0;
    let rest = if routed { rest.skip(usize::from(rest.u8(0)? & 0x1f))? } else { rest };
    let next = if control & 0xc0 == 0x40 { Next::Llc(rest) } else { Next::Body(Body::Other) };
    Ok(([m0 & 0x7f, m1, m2, m3, m4, m5], next))
}

#[cfg(test)]
mod tests {
    use crate::packet::sample::{assert_is_other, join, query_via, v4};

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
