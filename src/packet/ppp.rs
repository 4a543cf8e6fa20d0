//! Point-to-point links: PPP (RFC 1661, RFC 1662), PPP over Ethernet (RFC 2516), Cisco HDLC and frame relay
//! (RFC 2427).

use super::decode::Next;
use super::view::View;
use super::{Body, Skip, ethernet};

/// A PPP frame, with or without address and control, its protocol in one byte or two.
pub(super) fn frame(view: View<'_>) -> Result<Next<'_>, Skip> {
    let view = match view.bytes {
        [0xff, 0x03, ..] => view.skip(2)?,
        _ => view,
    };
    let first = view.u8(0)?;
    let (protocol, rest) = if first & 1 == 1 {
        (u16::from(first), view.skip(1)?)
    } else {
        (view.u16(0)?, view.skip(2)?)
    };
    match protocol {
        0x0021 | 0x0057 => Ok(Next::Ip(rest)),
        0x0281 | 0x0283 => ethernet::mpls(rest),
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// PPP in HDLC-like framing; links of this type may speak Cisco HDLC instead.
pub(super) fn hdlc(view: View<'_>) -> Result<Next<'_>, Skip> {
    match view.u8(0)? {
        0x0f | 0x8f => cisco_hdlc(view),
        _ => frame(view),
    }
}

/// A session packet of PPP over Ethernet.
pub(super) fn over_ethernet(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[version, code, _, _, l0, l1], rest) = view.split::<6>()?;
    if version != 0x11 {
        return Err(Skip::BadHeader);
    }
    if code != 0 {
        return Ok(Next::Body(Body::Other));
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    frame(rest.limit(length.min(rest.wire)))
}

/// Cisco HDLC: address, control, `EtherType`.
pub(super) fn cisco_hdlc(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[_, _, t0, t1], rest) = view.split::<4>()?;
    match u16::from_be_bytes([t0, t1]) {
        kind @ 0x0600.. => Ok(Next::EtherType(kind, rest)),
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// Frame relay: an address of two to four bytes, then RFC 2427's header or Cisco's `EtherType`.
pub(super) fn frame_relay(view: View<'_>) -> Result<Next<'_>, Skip> {
    const MAX_ADDRESS: usize = 4;
    let address = view.bytes.get(..MAX_ADDRESS).ok_or(Skip::Cut)?;
    let last = address.iter().position(|byte| byte & 1 == 1);
    let view = view.skip(last.ok_or(Skip::BadHeader)? + 1)?;
    let view = match view.bytes {
        [0x03, 0x00, ..] => view.skip(2)?,
        [0x03, ..] => view.skip(1)?,
        _ => {
            return match view.u16(0)? {
                kind @ 0x0600.. => Ok(Next::EtherType(kind, view.skip(2)?)),
                _ => Ok(Next::Body(Body::Other)),
            };
        }
    };
    let (&[nlpid], rest) = view.split::<1>()?;
    match nlpid {
        0xcc | 0x8e => Ok(Next::Ip(rest)),
        0x80 => ethernet::snap(rest),
        0xcf => frame(rest),
        _ => Ok(Next::Body(Body::Other)),
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::sample::{assert_is_other, ethernet, join, query_via, v4, v6};

    #[test]
    fn address_and_control_and_half_the_protocol_may_be_missing() {
        query_via(9, &join(&[&[0xff, 3, 0, 0x21], &v4()]));
        query_via(9, &join(&[&[0, 0x57], &v6()]));
        query_via(9, &join(&[&[0x21], &v4()]));
        query_via(9, &join(&[&[0x02, 0x81, 0, 0, 0x11, 9], &v4()]));
        assert_is_other(9, &[0xff, 3, 0xc0, 0x21, 1, 1, 0, 4]);
    }

    #[test]
    fn serial_links_speak_ppp_or_cisco_hdlc() {
        query_via(50, &join(&[&[0xff, 3, 0, 0x21], &v4()]));
        query_via(50, &join(&[&[0x0f, 0, 8, 0], &v4()]));
        query_via(104, &join(&[&[0x0f, 0, 0x86, 0xdd], &v6()]));
        assert_is_other(104, &[0x8f, 0, 0x20, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_pppoe_session_ends_before_the_padding() {
        let length = u8::try_from(v4().len() + 2).unwrap();
        let session = join(&[&[0x11, 0, 0, 1, 0, length, 0, 0x21], &v4(), &[0; 9]]);
        query_via(51, &session);
        query_via(1, &ethernet(0x8864, &session));
        assert_is_other(1, &ethernet(0x8863, &[0x11, 9, 0, 0, 0, 0]));
    }

    #[test]
    fn frame_relay_names_its_payload_in_three_ways() {
        query_via(107, &join(&[&[0x18, 0x41, 3, 0xcc], &v4()]));
        query_via(107, &join(&[&[0x18, 0x41, 8, 0], &v4()]));
        let snap = [0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0];
        query_via(107, &join(&[&snap, &v4()]));
        let bridged = [0x18, 0x41, 3, 0, 0x80, 0, 0x80, 0xc2, 0, 7];
        query_via(107, &join(&[&bridged, &ethernet(0x0800, &v4())]));
        assert_is_other(107, &[0x18, 0x41, 3, 8, 0, 0]);
    }
}
