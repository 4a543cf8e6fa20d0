//! Packets inside UDP: VXLAN (RFC 7348), its GPE form, Geneve (RFC 8926), GTP-U (3GPP TS 29.281),
//! Teredo (RFC 4380) and MPLS (RFC 7510).
//!
//! A port alone proves nothing. Each header is checked as far as it can be, and what does not
//! hold a packet is just UDP.

use super::Datagram;
use super::decode::Next;
use super::ethernet;
use super::view::View;

const DNS: u16 = 53;
const GTP_U: u16 = 2152;
const TEREDO: u16 = 3544;
const VXLAN: u16 = 4789;
const VXLAN_GPE: u16 = 4790;
const GENEVE: u16 = 6081;
const MPLS: u16 = 6635;
/// The port of Linux before VXLAN had one, still flannel's default.
const VXLAN_LINUX: u16 = 8472;

/// Whether a datagram between these ports may be a tunnel. One from or to port 53 never is:
/// resolvers send from any port, so an answer may go to a tunnel's.
#[inline]
pub(super) fn may_listen(src_port: u16, dst_port: u16) -> bool {
    src_port != DNS
        && (matches!(dst_port, GTP_U | TEREDO | VXLAN | VXLAN_GPE | GENEVE | MPLS | VXLAN_LINUX)
            || src_port == TEREDO && dst_port != DNS)
}

/// What the tunnel holds, if it is one.
pub(super) fn inside<'a>(datagram: &Datagram<'a>) -> Option<Next<'a>> {
    let view = View { bytes: datagram.payload, wire: datagram.wire_len };
    match datagram.dst_port {
        VXLAN | VXLAN_GPE | VXLAN_LINUX => vxlan(view),
        GENEVE => geneve(view),
        GTP_U => gtp_u(view),
        MPLS => ethernet::mpls(view).ok(),
        _ => teredo(view),
    }
}

/// A network identifier must be there, and a group policy may be. Where the flags say so the
/// header names what follows (GPE), which need not be on a port of its own.
fn vxlan(view: View<'_>) -> Option<Next<'_>> {
    const PLAIN: u8 = 0x08;
    const WITH_POLICY: u8 = 0x88;
    const NAMING_NEXT: u8 = 0x0c;
    let (&[flags, _, _, protocol, ..], rest) = view.split::<8>().ok()?;
    match (flags, protocol) {
        (PLAIN | WITH_POLICY, _) => Some(Next::Ethernet(rest)),
        (NAMING_NEXT, 1 | 2) => Some(Next::Ip(rest)),
        (NAMING_NEXT, 3) => Some(Next::Ethernet(rest)),
        (NAMING_NEXT, 4) => ethernet::nsh(rest).ok(),
        (NAMING_NEXT, 5) => ethernet::mpls(rest).ok(),
        _ => None,
    }
}

/// Version 0, options, and the `EtherType` of what follows.
fn geneve(view: View<'_>) -> Option<Next<'_>> {
    let (&[first, _, t0, t1, _, _, _, _], rest) = view.split::<8>().ok()?;
    let kind = u16::from_be_bytes([t0, t1]);
    if first >> 6 != 0 || kind < 0x0600 {
        return None;
    }
    let rest = rest.skip(usize::from(first & 0x3f) * 4).ok()?;
    Some(Next::EtherType(kind, rest))
}

/// A G-PDU of version 1, with its optional fields and extension headers.
fn gtp_u(view: View<'_>) -> Option<Next<'_>> {
    const VERSION_1: u8 = 0x30;
    const OPTIONAL: u8 = 0x07;
    const EXTENDED: u8 = 0x04;
    const G_PDU: u8 = 255;
    let (&[flags, kind, l0, l1, _, _, _, _], rest) = view.split::<8>().ok()?;
    if flags & 0xf0 != VERSION_1 || kind != G_PDU {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let mut rest = rest.limit(length.min(rest.wire));
    if flags & OPTIONAL != 0 {
        let (&[_, _, _, mut following], behind) = rest.split::<4>().ok()?;
        rest = behind;
        if flags & EXTENDED == 0 {
            following = 0;
        }
        while following != 0 {
            let length = usize::from(rest.u8(0).ok()?) * 4;
            following = rest.u8(length.checked_sub(1)?).ok()?;
            rest = rest.skip(length).ok()?;
        }
    }
    rest.looks_like_ip().then_some(Next::Ip(rest))
}

/// Authentication and origin indication may stand before the IPv6 packet, which fills the rest.
fn teredo(view: View<'_>) -> Option<Next<'_>> {
    const IPV6_HEADER: usize = 40;
    let mut view = view;
    if let [0, 1, client, value, ..] = *view.bytes {
        view = view.skip(13 + usize::from(client) + usize::from(value)).ok()?;
    }
    if let [0, 0, ..] = *view.bytes {
        view = view.skip(8).ok()?;
    }
    let length = usize::from(view.u16(4).ok()?);
    let fits = view.u8(0).ok()? >> 4 == 6 && length + IPV6_HEADER <= view.wire;
    fits.then_some(Next::Ip(view))
}
