//! Point-to-point links: PPP (RFC 1661, RFC 1662), PPPoE (RFC 2516), Cisco HDLC and frame relay
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

/// A PPPoE session packet.
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
    let last = view.bytes.iter().take(MAX_ADDRESS).position(|b| b & 1 == 1);
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
