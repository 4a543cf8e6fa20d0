//! What the first byte of a frame is (tcpdump.org's registry of `LINKTYPE_` values).

use super::decode::Next;
use super::view::View;
use super::{Skip, Via, cooked, ethernet, local, ppp, wireless};
use crate::capture::LinkType;

/// `LINKTYPE_PPI` and `LINKTYPE_PKTAP` wrap a frame of another link type.
const WRAPPERS: [u32; 2] = [192, 258];

/// Reads the link layer's own header, noting in `via` what it shows.
#[inline]
pub(super) fn open<'a>(via: &mut Via, link: LinkType, view: View<'a>) -> Result<Next<'a>, Skip> {
    match link {
        LinkType::LINUX_SLL2 => cooked::sll2(via, view),
        LinkType::LINUX_SLL => cooked::sll(via, view),
        LinkType::ETHERNET => noting(via, ethernet::header(view)?),
        _ => rarer(via, link, view),
    }
}

/// Everything but what nearly every capture has.
fn rarer<'a>(via: &mut Via, link: LinkType, view: View<'a>) -> Result<Next<'a>, Skip> {
    match link.0 {
        // RAW under its three numbers, IPV4, IPV6.
        12 | 14 | 101 | 228 | 229 => Ok(Next::Ip(view)),
        // NULL, LOOP.
        0 | 108 => local::bsd_loopback(view),
        // IEEE802_5, FDDI.
        6 => noting(via, local::token_ring(view)?),
        10 => noting(via, local::fddi(view)?),
        // ARCNET_BSD, ARCNET_LINUX.
        7 => local::arcnet(view),
        129 => local::arcnet_linux(view),
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
        105 => noting(via, wireless::ieee80211(view, None)?),
        119 | 163 => noting(via, wireless::prism(view)?),
        127 => noting(via, wireless::radiotap(view)?),
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

/// Notes the sender's address on the way.
#[inline]
fn noting<'a>(via: &mut Via, (sender, next): (ethernet::Mac, Next<'a>)) -> Result<Next<'a>, Skip> {
    via.link_src = (sender != [0; 6]).then_some(sender);
    Ok(next)
}
