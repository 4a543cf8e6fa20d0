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
    if src_port == DNS || dst_port == DNS {
        return false;
    }
    matches!(dst_port, GTP_U | TEREDO | VXLAN | VXLAN_GPE | GENEVE | MPLS | VXLAN_LINUX)
        || src_port == TEREDO
}

/// What the tunnel holds, if it is one.
pub(super) fn inside<'a>(datagram: &Datagram<'a>) -> Option<Next<'a>> {
    let view = View { bytes: datagram.payload, wire: datagram.wire_len };
    match datagram.dst_port {
        VXLAN | VXLAN_GPE | VXLAN_LINUX => vxlan(view),
        GENEVE => geneve(view),
        GTP_U => gtp_u(view),
        MPLS => mpls(view),
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
        (PLAIN | WITH_POLICY, _) | (NAMING_NEXT, 3) => Some(Next::Ethernet(rest)),
        (NAMING_NEXT, 1 | 2) => Some(Next::Ip(rest)),
        (NAMING_NEXT, 4) => ethernet::nsh(rest).ok(),
        (NAMING_NEXT, 5) => mpls(rest),
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

/// A stack of labels above something that can be read.
fn mpls(view: View<'_>) -> Option<Next<'_>> {
    let next = ethernet::mpls(view).ok()?;
    (!matches!(next, Next::Body(_))).then_some(next)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::PointId;
    use crate::packet::sample::{decoded, ethernet, frame, ipv6, join, query_via, udp_v4, v4, v6};
    use crate::packet::{Body, Skip, decode};

    const VNI: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];

    #[track_caller]
    fn assert_is_plain(dst_port: u16, payload: &[u8]) {
        let bytes = udp_v4(40000, dst_port, payload);
        let packet = decoded(101, &bytes).unwrap();
        let Body::Udp(udp) = packet.body else {
            panic!("no datagram: {packet:?}");
        };
        assert_eq!((udp.dst_port, udp.payload), (dst_port, payload));
        assert_eq!(packet.via.tunnels, 0);
        assert_eq!(packet.src.to_string(), "10.244.1.10");
    }

    #[test]
    fn vxlan_is_read_on_both_ports() {
        let inner = ethernet(0x0800, &v4());
        for port in [VXLAN, VXLAN_LINUX, VXLAN_GPE] {
            let bytes = udp_v4(50000, port, &join(&[&VNI, &inner]));
            assert_eq!(query_via(101, &bytes).tunnels, 1);
        }
        let policy = [0x88, 0x40, 0, 7, 0, 0, 42, 0];
        query_via(101, &udp_v4(50000, VXLAN, &join(&[&policy, &inner])));
    }

    #[test]
    fn the_outer_frame_says_who_sent_this_hop() {
        let inner = ethernet(0x0800, &v4());
        let outer = udp_v4(50000, VXLAN, &join(&[&VNI, &inner]));
        let mut frame = ethernet(0x0800, &outer);
        frame[6] = 6;
        assert_eq!(query_via(1, &frame).link_src, Some([6, 0, 0, 0, 0, 0x99]));
    }

    #[test]
    fn vxlan_gpe_names_what_follows() {
        let gpe = |protocol| [0x0c, 0, 0, protocol, 0, 0, 42, 0];
        for (protocol, inner) in [
            (1, v4()),
            (2, v6()),
            (3, ethernet(0x0800, &v4())),
            (4, join(&[&[0, 2, 1, 1, 0, 0, 1, 255], &v4()])),
            (5, join(&[&[0, 2, 1, 64], &v4()])),
        ] {
            let bytes = udp_v4(50000, VXLAN_GPE, &join(&[&gpe(protocol), &inner]));
            query_via(101, &bytes);
        }
    }

    #[test]
    fn geneve_options_are_stepped_over() {
        let inner = ethernet(0x0800, &v4());
        let header = [1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 4];
        query_via(101, &udp_v4(50000, GENEVE, &join(&[&header, &inner])));
        let header = [0, 0, 8, 0, 0, 0, 42, 0];
        query_via(101, &udp_v4(50000, GENEVE, &join(&[&header, &v4()])));
    }

    #[test]
    fn gtp_extension_headers_are_stepped_over() {
        let length = |extra: usize| u8::try_from(v4().len() + extra).unwrap();
        let plain = [0x30, 255, 0, length(0), 0, 0, 0, 1];
        query_via(101, &udp_v4(2152, GTP_U, &join(&[&plain, &v4()])));
        let numbered = [0x32, 255, 0, length(4), 0, 0, 0, 1, 0, 9, 0, 0x85];
        query_via(101, &udp_v4(2152, GTP_U, &join(&[&numbered, &v4()])));
        let extended = [0x34, 255, 0, length(8), 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0];
        query_via(101, &udp_v4(2152, GTP_U, &join(&[&extended, &v4()])));
        // An echo request, and an extension header without length.
        assert_is_plain(GTP_U, &[0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_is_plain(GTP_U, &[0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x85, 0, 0, 0, 0]);
    }

    #[test]
    fn teredo_indications_are_stepped_over() {
        query_via(101, &udp_v4(50000, TEREDO, &v6()));
        query_via(101, &udp_v4(TEREDO, 50000, &v6()));
        let origin = [0, 0, 1, 2, 3, 4, 5, 6];
        query_via(101, &udp_v4(TEREDO, 50000, &join(&[&origin, &v6()])));
        let trust = join(&[&[0, 1, 0, 0], &[7; 9], &origin]);
        query_via(101, &udp_v4(50000, TEREDO, &join(&[&trust, &v6()])));
        assert_is_plain(TEREDO, b"something else");
    }

    #[test]
    fn mpls_in_udp_is_read() {
        let labelled = join(&[&[0, 2, 1, 64], &v4()]);
        query_via(101, &udp_v4(50000, MPLS, &labelled));
    }

    #[test]
    fn what_is_no_tunnel_is_just_udp() {
        for port in [VXLAN, VXLAN_LINUX, VXLAN_GPE, GENEVE, GTP_U, TEREDO, MPLS] {
            assert_is_plain(port, b"");
            assert_is_plain(port, b"no tunnel at all, just some text");
        }
        // A tunnel header before something that is no packet.
        let broken = ethernet(0x0800, &[0x45; 12]);
        assert_is_plain(VXLAN, &join(&[&VNI, &broken]));
    }

    #[test]
    fn dns_from_a_tunnels_port_is_dns() {
        let payload = join(&[&VNI, &ethernet(0x0800, &v4())]);
        let bytes = udp_v4(53, VXLAN, &payload);
        let packet = decoded(101, &bytes).unwrap();
        assert!(matches!(packet.body, Body::Udp(udp) if udp.src_port == 53));
        assert_eq!(packet.via.tunnels, 0);
    }

    #[test]
    fn a_tunnel_that_was_cut_inside_is_cut() {
        let bytes = udp_v4(50000, VXLAN, &join(&[&VNI, &ethernet(0x0800, &v4())]));
        let mut cut = frame(1, 101, &bytes);
        cut.bytes = &bytes[..60];
        assert_eq!(decode(&cut, PointId(0)).unwrap_err(), Skip::Cut);
    }

    #[test]
    fn encryption_inside_a_tunnel_is_not_hidden() {
        let inner = ethernet(0x86dd, &ipv6(50, &[0; 32]));
        let bytes = udp_v4(50000, VXLAN, &join(&[&VNI, &inner]));
        assert_eq!(decoded(101, &bytes).unwrap_err(), Skip::Encrypted);
    }
}
