//! From a frame to its innermost packet.
//!
//! Every header says what follows it, so decoding is a walk: a layer reads its header and names
//! the [`Next`] one, until one holds a [`Body`]. Nothing is allocated on the way.

use std::net::{IpAddr, Ipv4Addr};

use super::view::View;
use super::{Body, Datagram, Packet, Skip, Via, ethernet, link, network, ppp, tunnel};
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
pub fn decode<'a>(frame: &Frame<'a>, point: PointId) -> Result<Packet<'a>, Skip> {
    let mut via = Via {
        point,
        interface: frame.interface,
        direction: None,
        ttl: 0,
        ip_id: None,
        link_src: None,
        tunnels: 0,
    };
    let next = link::open(&mut via, frame.link, View::of(frame))?;
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
            Next::EtherType(kind, view) => ethernet::payload(&mut packet, kind, view)?,
            Next::Body(body) => {
                packet.body = body;
                return Ok(packet);
            }
            Next::Ip(view) => network::ip(&mut packet, view)?,
            Next::Ethernet(view) => ethernet::header(view)?.1,
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
