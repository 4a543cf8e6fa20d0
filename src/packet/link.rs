//! What the first byte of a frame is (tcpdump.org's registry of `LINKTYPE_` values).

use super::cooked::{self, Cooked};
use super::decode::Next;
use super::ethernet::{self, Mac};
use super::view::View;
use super::{Skip, Via, lan, local, ppp, wireless};
use crate::capture::LinkType;

/// `LINKTYPE_PPI` and `LINKTYPE_PKTAP` wrap a frame of another link type.
const WRAPPERS: [u32; 2] = [192, 258];

/// Reads the link layer's own header, noting in `via` what it shows.
pub(super) fn open<'a>(via: &mut Via, link: LinkType, view: View<'a>) -> Result<Next<'a>, Skip> {
    match link.0 {
        1 => {
            let ([receiver, sender], kind, rest) = ethernet::header(view)?;
            via.link_dst = cooked::sender(6, receiver);
            Ok(noting(via, (sender, Next::EtherType(kind, rest))))
        }
        113 => cooked(via, cooked::sll(view)?),
        276 => cooked(via, cooked::sll2(view)?),
        // RAW under its three numbers, IPV4, IPV6.
        12 | 14 | 101 | 228 | 229 => Ok(Next::Ip(view)),
        // NULL, LOOP.
        0 | 108 => local::bsd_loopback(view),
        // IEEE802_5, FDDI.
        6 => Ok(noting(via, lan::token_ring(view)?)),
        10 => Ok(noting(via, lan::fddi(view)?)),
        // ARCNET_BSD, ARCNET_LINUX.
        7 => lan::arcnet(view),
        129 => lan::arcnet_linux(view),
        // SLIP.
        8 => Ok(Next::Ip(view.skip(16)?)),
        // PPP, PPP_HDLC, PPP_ETHER, PPP_WITH_DIR.
        9 => Ok(Next::Ppp(view)),
        50 => ppp::hdlc(view),
        51 => ppp::over_ethernet(view),
        204 => Ok(Next::Ppp(view.skip(1)?)),
        // C_HDLC, FRELAY.
        104 => ppp::cisco_hdlc(view),
        107 => ppp::frame_relay(view),
        // ATM_RFC1483.
        100 => Ok(Next::Llc(view)),
        // IEEE802_11, alone and behind PRISM, radiotap and AVS.
        105 => Ok(noting(via, wireless::ieee80211(view, None)?)),
        119 | 163 => Ok(noting(via, wireless::prism(view)?)),
        127 => Ok(noting(via, wireless::radiotap(view)?)),
        // ENC, PFLOG.
        109 => Ok(Next::Ip(view.skip(12)?)),
        117 => local::pflog(view),
        // APPLE_IP_OVER_IEEE1394: two addresses of eight bytes; IPOIB: type and two bytes unused.
        138 => local::typed(view.skip(16)?, 2),
        242 => local::typed(view, 4),
        239 => local::nflog(view),
        192 | 258 => {
            let (inner, view) =
                if link.0 == 192 { wireless::ppi(view)? } else { local::pktap(view)? };
            if WRAPPERS.contains(&inner) {
                return Err(Skip::BadHeader);
            }
            let inner = LinkType(u16::try_from(inner).map_err(|_| Skip::BadHeader)?);
            open(via, inner, view)
        }
        other => Err(Skip::LinkType(other)),
    }
}

/// The IP packet in a frame of the link types that nearly every capture has, if nothing but the
/// link layer's header is before it, and what that header shows beyond `via`.
#[expect(clippy::inline_always, reason = "what it shows is then passed on in registers")]
#[inline(always)]
pub(super) fn straight(via: Via, link: LinkType, view: View<'_>) -> Option<(Via, View<'_>)> {
    match link {
        LinkType::LINUX_SLL2 => {
            let cooked = cooked::sll2(view).ok()?;
            Some((noted(via, &cooked), cooked.ip()?))
        }
        LinkType::LINUX_SLL => {
            let cooked = cooked::sll(view).ok()?;
            Some((noted(via, &cooked), cooked.ip()?))
        }
        LinkType::ETHERNET => {
            let ([receiver, sender], kind, rest) = ethernet::header(view).ok()?;
            let (link_src, link_dst) = (cooked::sender(6, sender), cooked::sender(6, receiver));
            matches!(kind, 0x0800 | 0x86dd).then_some((Via { link_src, link_dst, ..via }, rest))
        }
        _ => None,
    }
}

/// What a cooked header shows beyond `via`.
#[inline]
fn noted(via: Via, cooked: &Cooked<'_>) -> Via {
    Via {
        interface: cooked.interface.or(via.interface),
        direction: cooked.direction,
        link_src: cooked.sender,
        ..via
    }
}

fn cooked<'a>(via: &mut Via, cooked: Cooked<'a>) -> Result<Next<'a>, Skip> {
    *via = noted(*via, &cooked);
    cooked.next()
}

/// Notes the sender's address on the way.
fn noting<'a>(via: &mut Via, (sender, next): (Mac, Next<'a>)) -> Next<'a> {
    via.link_src = cooked::sender(6, sender);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::sample::{MAC, decoded, ethernet, join, query_via, v4, v6};

    #[test]
    fn raw_ip_is_told_apart_by_its_version() {
        for link in [12, 14, 101, 228, 229] {
            assert_eq!(query_via(link, &v4()).link_src, None);
            query_via(link, &v6());
        }
    }

    #[test]
    fn ethernet_shows_both_ends() {
        let via = query_via(1, &ethernet(0x0800, &v4()));
        assert_eq!(via.link_src, Some(MAC));
        assert_eq!(via.link_dst, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!((via.interface, via.direction), (None, None));
    }

    #[test]
    fn headers_of_fixed_size_are_stepped_over() {
        for (link, size) in [(8, 16), (109, 12)] {
            query_via(link, &join(&[&vec![0; size], &v4()]));
        }
        query_via(138, &join(&[&[0; 16], &[8, 0], &v4()]));
        query_via(242, &join(&[&[8, 0, 0, 0], &v4()]));
        query_via(204, &join(&[&[1, 0xff, 3, 0, 0x21], &v4()]));
        query_via(100, &join(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4()]));
    }

    #[test]
    fn a_wrapper_holds_another_link_type_but_no_wrapper() {
        let ppi = |inner: u8| [0, 0, 12, 0, inner, 0, 0, 0, 9, 9, 9, 9];
        query_via(192, &join(&[&ppi(1), &ethernet(0x0800, &v4())]));
        let twice = join(&[&ppi(192), &ppi(1), &ethernet(0x0800, &v4())]);
        assert_eq!(decoded(192, &twice).unwrap_err(), Skip::BadHeader);
        let unknown = join(&[&ppi(147), &v4()]);
        assert_eq!(decoded(192, &unknown).unwrap_err(), Skip::LinkType(147));
    }

    #[test]
    fn an_unknown_link_type_is_named() {
        assert_eq!(decoded(147, &v4()).unwrap_err(), Skip::LinkType(147));
    }

    #[test]
    fn a_frame_that_ends_in_its_link_header_is_cut() {
        for link in [
            0, 1, 6, 7, 8, 9, 10, 50, 51, 100, 104, 105, 107, 108, 109, 113, 117, 119, 127, 129,
            138, 163, 192, 204, 239, 242, 258, 276,
        ] {
            assert_eq!(decoded(link, &[]).unwrap_err(), Skip::Cut, "{link}");
        }
    }
}
