//! Linux "cooked" captures, which `-i any` writes.
//!
//! The headers are those of tcpdump.org's `LINKTYPE_LINUX_SLL` and `LINKTYPE_LINUX_SLL2`. They are
//! read by hand: any kind of device can stand behind `any` (loopback, tun, IP in IP, PPP), and
//! etherparse knows the first header only, for few kinds of device.

use super::decode::Next;
use super::ethernet::Mac;
use super::view::View;
use super::{Body, Direction, Skip, ppp, wireless};

/// What a cooked header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cooked<'a> {
    /// Index of the interface; version 1 has none.
    pub(super) interface: Option<u32>,
    pub(super) direction: Option<Direction>,
    pub(super) sender: Option<Mac>,
    /// Linux `if_arp.h`.
    device: u16,
    /// Linux `if_ether.h`.
    protocol: u16,
    payload: View<'a>,
}

/// Version 1: packet type, device type, address length, address, protocol.
#[inline]
pub(super) fn sll(view: View<'_>) -> Result<Cooked<'_>, Skip> {
    let (&[t0, t1, h0, h1, l0, l1, ref address @ .., _, _, p0, p1], payload) =
        view.split::<16>()?;
    Ok(Cooked {
        interface: None,
        direction: direction(u16::from_be_bytes([t0, t1])),
        sender: sender(u16::from_be_bytes([l0, l1]), *address),
        device: u16::from_be_bytes([h0, h1]),
        protocol: u16::from_be_bytes([p0, p1]),
        payload,
    })
}

/// Version 2: protocol, interface index, device type, packet type, address length, address.
#[inline]
pub(super) fn sll2(view: View<'_>) -> Result<Cooked<'_>, Skip> {
    let (header, payload) = view.split::<20>()?;
    let &[p0, p1, _, _, i0, i1, i2, i3, h0, h1, kind, len, ref address @ .., _, _] = header;
    Ok(Cooked {
        interface: Some(u32::from_be_bytes([i0, i1, i2, i3])),
        direction: direction(u16::from(kind)),
        sender: sender(u16::from(len), *address),
        device: u16::from_be_bytes([h0, h1]),
        protocol: u16::from_be_bytes([p0, p1]),
        payload,
    })
}

impl<'a> Cooked<'a> {
    /// The IP packet behind the header, where there is nothing special about it.
    #[inline]
    pub(super) fn ip(&self) -> Option<View<'a>> {
        let plain = !matches!(self.device, 770 | 801..=803 | 824);
        (plain && matches!(self.protocol, 0x0800 | 0x86dd)).then_some(self.payload)
    }

    /// What follows.
    pub(super) fn next(self) -> Result<Next<'a>, Skip> {
        let view = self.payload;
        match (self.device, self.protocol) {
            // ARPHRD_NETLINK: the protocol is a netlink family.
            (824, _) => Ok(Next::Body(Body::Other)),
            // ARPHRD_FRAD, ARPHRD_IEEE80211, its Prism and its radiotap form have their own header.
            (770, _) => ppp::frame_relay(view),
            (801, _) => wireless::ieee80211(view, None).map(|(_, next)| next),
            (802, _) => wireless::prism(view).map(|(_, next)| next),
            (803, _) => wireless::radiotap(view).map(|(_, next)| next),
            (_, protocol @ 0x0600..) => Ok(Next::EtherType(protocol, view)),
            // ETH_P_802_2.
            (_, 4) => Ok(Next::Llc(view)),
            // Devices without a link layer need not name the protocol.
            (_, 0) if view.looks_like_ip() => Ok(Next::Ip(view)),
            _ => Ok(Next::Body(Body::Other)),
        }
    }
}

/// The packet type (libpcap's `sll.h`).
#[inline]
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
#[inline]
pub(super) fn sender(length: u16, address: Mac) -> Option<Mac> {
    (length == 6 && address != [0; 6]).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::sample::{MAC, assert_is_other, ethernet, join, query_via, v4, v6};

    fn sll2_header(protocol: u16, interface: u8, device: u16, kind: u8) -> Vec<u8> {
        join(&[
            &protocol.to_be_bytes(),
            &[0, 0, 0, 0, 0, interface],
            &device.to_be_bytes(),
            &[kind, 6],
            &MAC,
            &[0, 0],
        ])
    }

    fn sll_header(kind: u8, device: u16, protocol: u16) -> Vec<u8> {
        join(&[&[0, kind], &device.to_be_bytes(), &[0, 6], &MAC, &[0, 0], &protocol.to_be_bytes()])
    }

    #[test]
    fn copies_of_one_query_differ_in_interface_and_direction() {
        // Measured on a client node: veth in, bridge in, overlay out (rulebook K3).
        let seen: Vec<_> = [(7, 0), (4, 0), (3, 4)]
            .into_iter()
            .map(|(interface, kind)| {
                let header = sll2_header(0x0800, interface, 1, kind);
                let via = query_via(276, &join(&[&header, &v4()]));
                (via.interface, via.direction, via.link_src)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Some(7), Some(Direction::Host), Some(MAC)),
                (Some(4), Some(Direction::Host), Some(MAC)),
                (Some(3), Some(Direction::Outgoing), Some(MAC)),
            ]
        );
    }

    #[test]
    fn every_kind_of_device_behind_any_is_read() {
        for device in [1, 512, 768, 772, 778, 65534] {
            query_via(276, &join(&[&sll2_header(0x0800, 2, device, 4), &v4()]));
            query_via(276, &join(&[&sll2_header(0x86dd, 2, device, 4), &v6()]));
            query_via(113, &join(&[&sll_header(0, device, 0x0800), &v4()]));
            query_via(113, &join(&[&sll_header(0, device, 0), &v4()]));
        }
        assert_is_other(113, &join(&[&sll_header(0, 824, 0x0800), &v4()]));
        assert_is_other(113, &join(&[&sll_header(0, 280, 0x000c), &v4()]));
    }

    #[test]
    fn tags_and_llc_follow_the_cooked_header() {
        let tag = join(&[&[0, 5, 0x08, 0], &v4()]);
        query_via(113, &join(&[&sll_header(0, 1, 0x8100), &tag]));
        let snap = join(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4()]);
        query_via(113, &join(&[&sll_header(0, 1, 4), &snap]));
        let bridged = ethernet(0x0800, &v4());
        query_via(113, &join(&[&sll_header(0, 1, 0x6558), &bridged]));
    }

    #[test]
    fn what_the_header_does_not_show_is_none() {
        let mut header = sll2_header(0x0800, 1, 772, 9);
        header[12..18].fill(0);
        let via = query_via(276, &join(&[&header, &v4()]));
        assert_eq!((via.direction, via.link_src), (None, None));
        header[11] = 0;
        assert_eq!(query_via(276, &join(&[&header, &v4()])).link_src, None);
    }
}
