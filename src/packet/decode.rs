//! From a frame to its innermost packet.
//!
//! Every header says what follows it, so decoding is a walk: a layer reads its header and names
//! the [`Next`] one, until one holds a [`Body`]. Nothing is allocated on the way.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use super::view::View;
use super::{Body, Datagram, Packet, Skip, Via, ethernet, link, network, ppp, transport, tunnel};
use crate::base::{FiveTuple, Transport};
use crate::capture::{Frame, PointId};

/// How many headers a frame may hold. Three tunnels inside each other, with two tags and a label
/// in each, are below 24; nothing real comes near it.
const MAX_LAYERS: u8 = 32;

/// What the bytes behind a header are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next<'a> {
    /// A MAC header.
    Ethernet(View<'a>),
    /// Whatever the `EtherType` (or 802.3 length) says.
    EtherType(u16, View<'a>),
    /// An IEEE 802.2 header.
    Llc(View<'a>),
    /// A PPP frame.
    Ppp(View<'a>),
    /// An IP header of either version.
    Ip(View<'a>),
    /// A datagram to a tunnel's port, which may be a tunnel.
    Tunnel(Datagram<'a>),
    /// The end of the walk.
    Body(Body<'a>),
}

/// Reads a frame's headers down to the innermost packet.
///
/// # Errors
///
/// [`Skip`] says why the frame could not be understood; what is understood and holds neither UDP
/// nor TCP is a [`Body::Other`].
#[inline]
pub fn decode<'a>(frame: &Frame<'a>, point: PointId) -> Result<Packet<'a>, Skip> {
    let view = View::of(frame);
    match straight(frame, point, view) {
        Some(packet) => Ok(packet),
        None => layers(frame, point, view),
    }
}

/// The datagram of a frame like nearly all: one link header, IPv4 without options, UDP. What it cannot
/// read [`decode()`] decides about.
#[expect(clippy::inline_always, reason = "what it shows is then passed on in registers")]
#[inline(always)]
pub fn datagram<'a>(frame: &Frame<'a>, point: PointId) -> Option<(Via, FiveTuple, Datagram<'a>)> {
    let (via, view) = link::straight(recorded(frame, point), frame.link, View::of(frame))?;
    let ip = network::plain_udp(view)?;
    let datagram = transport::datagram(ip.payload).ok()?;
    if tunnel::may_listen(datagram.src_port, datagram.dst_port) {
        return None;
    }
    let via = Via { ttl: ip.ttl, ip_id: ip.id, ..via };
    let tuple = FiveTuple {
        transport: Transport::Udp,
        src: SocketAddrV4::new(ip.src, datagram.src_port).into(),
        dst: SocketAddrV4::new(ip.dst, datagram.dst_port).into(),
    };
    Some((via, tuple, datagram))
}

/// Where a frame was seen, as far as its record tells.
#[inline]
fn recorded(frame: &Frame<'_>, point: PointId) -> Via {
    Via { interface: frame.interface, ..Via::at(point) }
}

/// The way of nearly every frame: one link header, IP without extensions, UDP or TCP. It is made of
/// the parts that the walk is made of, and what it cannot read the walk decides about.
#[inline]
fn straight<'a>(frame: &Frame<'a>, point: PointId, view: View<'a>) -> Option<Packet<'a>> {
    let (via, view) = link::straight(recorded(frame, point), frame.link, view)?;
    let ip = network::parse(view).ok()?;
    if ip.piece.is_some() {
        return None;
    }
    let body = match ip.protocol {
        network::protocol::UDP => Body::Udp(transport::datagram(ip.payload).ok()?),
        network::protocol::TCP => Body::Tcp(transport::segment(ip.payload).ok()?),
        _ => return None,
    };
    if let Body::Udp(datagram) = body
        && tunnel::may_listen(datagram.src_port, datagram.dst_port)
    {
        return None;
    }
    let via = Via { ttl: ip.ttl, ip_id: ip.id, ..via };
    Some(Packet { seen: frame.seen, via, src: ip.src, dst: ip.dst, body })
}

/// The way of all others, layer by layer.
#[inline(never)]
fn layers<'a>(frame: &Frame<'a>, point: PointId, view: View<'a>) -> Result<Packet<'a>, Skip> {
    let mut via = recorded(frame, point);
    let next = link::open(&mut via, frame.link, view)?;
    let packet = Packet {
        seen: frame.seen,
        via,
        src: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        dst: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        body: Body::Other,
    };
    walk(packet, next, MAX_LAYERS)
}

/// Decodes what an IP header's payload holds, for datagrams that arrived in pieces.
pub(super) fn decode_payload<'a>(
    mut packet: Packet<'a>,
    protocol: u8,
    payload: View<'a>,
) -> Result<Packet<'a>, Skip> {
    let next = network::whole(&mut packet, protocol, payload)?;
    walk(packet, next, MAX_LAYERS)
}

/// Goes from layer to layer, at most `layers` of them.
fn walk<'a>(
    mut packet: Packet<'a>,
    mut next: Next<'a>,
    mut layers: u8,
) -> Result<Packet<'a>, Skip> {
    loop {
        next = match next {
            Next::EtherType(kind, view) => ethernet::payload(kind, view)?,
            Next::Body(body) => {
                packet.body = body;
                return Ok(packet);
            }
            Next::Ip(view) => network::ip(&mut packet, view)?,
            Next::Ethernet(view) => {
                let (_, kind, rest) = ethernet::header(view)?;
                Next::EtherType(kind, rest)
            }
            Next::Llc(view) => ethernet::llc(view)?,
            Next::Ppp(view) => ppp::frame(view)?,
            Next::Tunnel(datagram) => return enter(packet, datagram, layers),
        };
        layers = layers.checked_sub(1).ok_or(Skip::TooDeep)?;
    }
}

/// Decodes what a UDP tunnel holds; a datagram that holds no tunnel is just UDP.
fn enter<'a>(
    mut packet: Packet<'a>,
    datagram: Datagram<'a>,
    layers: u8,
) -> Result<Packet<'a>, Skip> {
    packet.body = Body::Udp(datagram);
    let plain = packet;
    let Some(next) = tunnel::inside(&datagram) else {
        return Ok(plain);
    };
    let layers = layers.checked_sub(1).ok_or(Skip::TooDeep)?;
    packet.via.tunnels = packet.via.tunnels.saturating_add(1);
    match walk(packet, next, layers) {
        Err(Skip::Cut) if datagram.payload.len() < datagram.wire_len => Err(Skip::Cut),
        Err(Skip::Cut | Skip::BadHeader | Skip::LinkType(_)) => Ok(plain),
        inner => inner,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Coverage;
    use crate::packet::Defragmenter;
    use crate::packet::sample::{decoded, ethernet, frame, ipv4, join, query_via, udp_v4, v4};

    const LINKS: [u16; 33] = [
        0, 1, 6, 7, 8, 9, 10, 12, 14, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119,
        127, 129, 138, 163, 192, 204, 228, 229, 239, 242, 258, 276,
    ];

    #[test]
    fn layers_without_end_are_too_deep() {
        let mut bytes = v4();
        for _ in 0..8 {
            bytes = ipv4(4, &bytes);
        }
        assert_eq!(query_via(101, &bytes).tunnels, 8);
        for _ in 0..40 {
            bytes = ipv4(4, &bytes);
        }
        assert_eq!(decoded(101, &bytes).unwrap_err(), Skip::TooDeep);
        let mut bytes = v4();
        for _ in 0..20 {
            let vxlan = join(&[&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(0x0800, &bytes)]);
            bytes = udp_v4(50000, 4789, &vxlan);
        }
        assert_eq!(decoded(101, &bytes).unwrap_err(), Skip::TooDeep);
    }

    #[test]
    fn three_tunnels_inside_each_other_are_read() {
        let mut bytes = v4();
        for _ in 0..3 {
            let inner = ethernet(0x8100, &join(&[&[0, 1, 8, 0], &bytes]));
            let vxlan = join(&[&[8, 0, 0, 0, 0, 0, 1, 0], &inner]);
            bytes = udp_v4(50000, 4789, &vxlan);
        }
        assert_eq!(query_via(101, &bytes).tunnels, 3);
    }

    /// Bytes that get further than noise: a whole packet with some of its bytes changed.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let vxlan = join(&[&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(0x0800, &v4())]);
        let gre = ipv4(47, &join(&[&[0xb0, 0, 8, 0], &[0; 12], &v4()]));
        let icmp = ipv4(1, &join(&[&[3, 3, 0, 0, 0, 0, 0, 0], &v4()]));
        let whole = prop::sample::select(vec![udp_v4(50000, 4789, &vxlan), gre, icmp]);
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        (whole, changes).prop_map(|(mut bytes, changes)| {
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes
        })
    }

    fn swallow(link: u16, bytes: &[u8], wire_len: u32) {
        let mut frame = frame(1, link, bytes);
        frame.wire_len = wire_len;
        let mut defragmenter = Defragmenter::default();
        if let Ok(packet) = decode(&frame, PointId(0)) {
            let whole = defragmenter.push(&packet, &mut Coverage::default());
            for datagram in whole.into_iter().chain(defragmenter.finish()) {
                let _ = datagram.packet();
            }
        }
    }

    proptest! {
        #[test]
        fn all_ways_decode_alike(
            bytes in damaged(),
            plain in any::<bool>(),
            changes in prop::collection::vec((0..60_usize, any::<u8>()), 0..3),
            wire_len in 0..200_u32,
        ) {
            let ip = if plain { v4() } else { bytes };
            let sll = [0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, 0];
            let sll2 = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0];
            for (link, mut bytes) in [
                (1, ethernet(0x0800, &ip)),
                (113, join(&[&sll, &ip])),
                (276, join(&[&sll2, &ip])),
            ] {
                for &(at, value) in &changes {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = value;
                    }
                }
                let mut frame = frame(1, link, &bytes);
                frame.wire_len = wire_len;
                let short = decode(&frame, PointId(1));
                let long = layers(&frame, PointId(1), View::of(&frame));
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
                if let Some((via, tuple, datagram)) = datagram(&frame, PointId(1)) {
                    let long = long.unwrap();
                    prop_assert_eq!((via, Some(tuple)), (long.via, long.tuple()));
                    prop_assert_eq!(format!("{:?}", Body::Udp(datagram)), format!("{:?}", long.body));
                }
            }
        }

        #[test]
        fn any_bytes_of_any_link_type_are_decoded_or_skipped(
            bytes in prop::collection::vec(any::<u8>(), 0..160),
            wire_len in any::<u32>(),
        ) {
            for link in LINKS {
                swallow(link, &bytes, wire_len);
            }
        }

        #[test]
        fn damaged_packets_are_decoded_or_skipped(bytes in damaged(), cut in 0..200_usize) {
            let cut = bytes.get(..cut).unwrap_or(&bytes);
            swallow(101, cut, u32::try_from(bytes.len()).unwrap());
            swallow(1, &ethernet(0x0800, cut), 0);
        }
    }
}
