//! Linux "cooked" captures, which `-i any` writes.
//!
//! The headers are those of tcpdump.org's `LINKTYPE_LINUX_SLL` and `LINKTYPE_LINUX_SLL2`. They are
//! read by hand: any kind of device can stand behind `any` (loopback, tun, IP in IP, PPP), and
//! etherparse knows the first header only, for few kinds of device.

use super::decode::Next;
use super::ethernet::Mac;
use super::view::View;
use super::{Body, Direction, Skip, Via, ppp, wireless};

/// Version 1: packet type, device type, address length, address, protocol.
#[inline]
pub(super) fn sll<'a>(via: &mut Via, view: View<'a>) -> Result<Next<'a>, Skip> {
    let (&[t0, t1, h0, h1, l0, l1, a, b, c, d, e, f, _, _, p0, p1], rest) = view.split::<16>()?;
    via.direction = direction(u16::from_be_bytes([t0, t1]));
    via.link_src = sender(u16::from_be_bytes([l0, l1]), [a, b, c, d, e, f]);
    payload(u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]), rest)
}

/// Version 2: protocol, interface index, device type, packet type, address length, address.
#[inline]
pub(super) fn sll2<'a>(via: &mut Via, view: View<'a>) -> Result<Next<'a>, Skip> {
    let (header, rest) = view.split::<20>()?;
    let &[p0, p1, _, _, i0, i1, i2, i3, h0, h1, kind, len, a, b, c, d, e, f, _, _] = header;
    via.interface = Some(u32::from_be_bytes([i0, i1, i2, i3]));
    via.direction = direction(u16::from(kind));
    via.link_src = sender(u16::from(len), [a, b, c, d, e, f]);
    payload(u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]), rest)
}

/// The packet type (libpcap's `sll.h`).
fn direction(kind: u16) -> Option<Direction> {
    match kind {
        0 => Some(Direction::Host),
        1 => Some(Direction::Broadcast),
        2 => Some(Direction::Multicast),
        3 => Some(Direction::OtherHost),
        4 => Some(Direction::Outgoing),
        _ => None,
    }
}

/// The sender's address; the loopback device's zeros are none.
fn sender(length: u16, address: Mac) -> Option<Mac> {
    (length == 6 && address != [0; 6]).then_some(address)
}

/// What follows, by device type (Linux `if_arp.h`) and protocol (Linux `if_ether.h`).
#[inline]
fn payload(device: u16, protocol: u16, view: View<'_>) -> Result<Next<'_>, Skip> {
    match (device, protocol) {
        // ARPHRD_NETLINK: the protocol is a netlink family.
        (824, _) => Ok(Next::Body(Body::Other)),
        // ARPHRD_FRAD, ARPHRD_IEEE80211, its Prism and its radiotap form carry their own header.
        (770, _) => ppp::frame_relay(view),
        (801, _) => wireless::ieee80211(view, None).map(|(_, next)| next),
        (802, _) => wireless::prism(view).map(|(_, next)| next),
        (803, _) => wireless::radiotap(view).map(|(_, next)| next),
        (_, 0x0600..) => Ok(Next::EtherType(protocol, view)),
        // ETH_P_802_2.
        (_, 4) => Ok(Next::Llc(view)),
        // Devices without a link layer need not name the protocol.
        (_, 0) if view.looks_like_ip() => Ok(Next::Ip(view)),
        _ => Ok(Next::Body(Body::Other)),
    }
}
