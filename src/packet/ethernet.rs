//! Ethernet and what lies directly on it: `EtherType`s, 802.1Q tags, MPLS, LLC/SNAP, NSH.
//!
//! IEEE 802.3 and 802.2; IEEE 802.1Q for the tags; RFC 3032 for MPLS and RFC 4385 for its control
//! word; RFC 1042 for SNAP; RFC 8300 for NSH.

use super::decode::Next;
use super::view::View;
use super::{Body, Skip, ppp};

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// The largest number in the type field that is a length (IEEE 802.3 clause 3.2.6).
const MAX_LENGTH: u16 = 1500;

/// The receiver and the sender of an Ethernet frame, the type of its payload, and the payload.
#[inline]
pub(super) fn header(view: View<'_>) -> Result<([Mac; 2], u16, View<'_>), Skip> {
    let (receiver, rest) = view.split::<6>()?;
    let (sender, rest) = rest.split::<6>()?;
    let (kind, rest) = rest.split::<2>()?;
    Ok(([*receiver, *sender], u16::from_be_bytes(*kind), rest))
}

/// What an `EtherType` announces.
pub(super) fn payload(kind: u16, view: View<'_>) -> Result<Next<'_>, Skip> {
    match kind {
        0x0800 | 0x86dd => Ok(Next::Ip(view)),
        0..=MAX_LENGTH => Ok(Next::Llc(view.limit(usize::from(kind).min(view.wire)))),
        // 802.1Q, 802.1ad, and what QinQ used before it.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
            let (&[_, _, t0, t1], rest) = view.split::<4>()?;
            Ok(Next::EtherType(u16::from_be_bytes([t0, t1]), rest))
        }
        0x8847 | 0x8848 => mpls(view),
        0x8864 => ppp::over_ethernet(view),
        0x880b => Ok(Next::Ppp(view)),
        0x6558 => Ok(Next::Ethernet(view)),
        0x894f => nsh(view),
        // MACsec.
        0x88e5 => Err(Skip::Encrypted),
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// An IEEE 802.2 header.
pub(super) fn llc(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&sap, rest) = view.split::<3>()?;
    match sap {
        [0xaa, 0xaa, 0x03] => snap(rest),
        [0x06, 0x06, 0x03] => Ok(Next::Ip(rest)),
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// A SNAP header: an organisation's number and its protocol.
pub(super) fn snap(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[o0, o1, o2, t0, t1], rest) = view.split::<5>()?;
    let kind = u16::from_be_bytes([t0, t1]);
    match ([o0, o1, o2], kind) {
        // Encapsulated Ethernet, and the bridge tunnel of IEEE 802.1H.
        ([0, 0, 0 | 0xf8], MAX_LENGTH..) => Ok(Next::EtherType(kind, rest)),
        // Bridged Ethernet (RFC 2427 section 4.2), with and without its checksum.
        ([0x00, 0x80, 0xc2], 1 | 7) => Ok(Next::Ethernet(rest)),
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// A stack of MPLS labels. What follows is not named: an IP version, a pseudowire's control word
/// or a MAC header are told apart by their first bytes, as routers do it (RFC 4928).
pub(super) fn mpls(mut view: View<'_>) -> Result<Next<'_>, Skip> {
    loop {
        let (&[_, _, bottom, _], rest) = view.split::<4>()?;
        view = rest;
        if bottom & 1 == 1 {
            break;
        }
    }
    if view.looks_like_ip() {
        return Ok(Next::Ip(view));
    }
    if view.u8(0)? >> 4 == 0
        && let Ok(worded) = view.skip(4)
        && looks_like_ethernet(worded)
    {
        return Ok(Next::Ethernet(worded));
    }
    if looks_like_ethernet(view) {
        return Ok(Next::Ethernet(view));
    }
    Ok(Next::Body(Body::Other))
}

/// Whether a MAC header's type is one that is read here.
fn looks_like_ethernet(view: View<'_>) -> bool {
    matches!(
        view.u16(12),
        Ok(0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8 | 0x9100 | 0x8847 | 0x8864)
    )
}

/// A Network Service Header.
pub(super) fn nsh(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[_, length, _, protocol], _) = view.split::<4>()?;
    let rest = view.skip(usize::from(length & 0x3f) * 4)?;
    match protocol {
        1 | 2 => Ok(Next::Ip(rest)),
        3 => Ok(Next::Ethernet(rest)),
        5 => mpls(rest),
        _ => Ok(Next::Body(Body::Other)),
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::Skip;
    use crate::packet::sample::{assert_is_other, decoded, ethernet, join, query_via, v4, v6};

    #[test]
    fn tags_stack() {
        let tagged = join(&[&[0, 5, 8, 0], &v4()]);
        for outer in [0x8100, 0x88a8, 0x9100, 0x9200] {
            query_via(1, &ethernet(outer, &tagged));
            let twice = join(&[&[0, 6, 0x81, 0], &tagged]);
            query_via(1, &ethernet(outer, &twice));
        }
    }

    #[test]
    fn a_length_in_place_of_a_type_means_llc() {
        let snap = join(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4()]);
        let length = u16::try_from(snap.len()).unwrap();
        query_via(1, &ethernet(length, &join(&[&snap, &[0; 7]])));
        let direct = join(&[&[6, 6, 3], &v4()]);
        query_via(1, &ethernet(length, &direct));
        assert_is_other(1, &ethernet(38, &[0x42, 0x42, 3, 0, 0, 0]));
    }

    #[test]
    fn labels_hide_ip_or_ethernet_with_and_without_a_control_word() {
        let stack = [0, 1, 0, 64, 0, 2, 1, 64];
        query_via(1, &ethernet(0x8847, &join(&[&stack, &v4()])));
        query_via(1, &ethernet(0x8848, &join(&[&stack, &v6()])));
        let inner = ethernet(0x0800, &v4());
        query_via(1, &ethernet(0x8847, &join(&[&stack, &inner])));
        let worded = join(&[&stack, &[0; 4], &inner]);
        query_via(1, &ethernet(0x8847, &worded));
        assert_is_other(1, &ethernet(0x8847, &join(&[&stack, &[0x10, 0, 0, 7]])));
    }

    #[test]
    fn service_chains_are_followed() {
        let nsh = [0, 2, 1, 1, 0, 0, 1, 255];
        query_via(1, &ethernet(0x894f, &join(&[&nsh, &v4()])));
    }

    #[test]
    fn other_types_are_understood_and_macsec_is_encrypted() {
        assert_is_other(1, &ethernet(0x0806, &[0; 28]));
        let secured = ethernet(0x88e5, &[0; 40]);
        assert_eq!(decoded(1, &secured).unwrap_err(), Skip::Encrypted);
    }
}
