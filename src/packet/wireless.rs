//! IEEE 802.11 data frames, and the headers that capture cards put before them: radiotap
//! (radiotap.org), Prism, AVS and PPI.

use super::decode::Next;
use super::ethernet::Mac;
use super::view::View;
use super::{Body, Skip};

/// Radiotap's flag that pads the 802.11 header to four bytes.
const PADDED: u8 = 0x20;

/// An 802.11 frame: its transmitter, and what a data frame carries. `flags` are radiotap's.
///
/// Encrypted frames, fragments and everything but data are understood and hold nothing.
pub(super) fn ieee80211(view: View<'_>, flags: Option<u8>) -> Result<(Mac, Next<'_>), Skip> {
    const DATA: u8 = 0b1000;
    const NO_DATA: u8 = 0x40;
    const QOS: u8 = 0x80;
    const BOTH_DS: u8 = 0x03;
    const MORE_FRAGMENTS: u8 = 0x04;
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    const AGGREGATED: u8 = 0x80;
    let (&[kind, control], _) = view.split::<2>()?;
    let other = Next::Body(Body::Other);
    if kind & 0b1100 != DATA || kind & NO_DATA != 0 {
        return Ok(([0; 6], other));
    }
    let (header, mut rest) = view.split::<24>()?;
    let [_, _, _, _, _, _, _, _, _, _, a, b, c, d, e, f, .., sequence, _] = *header;
    let sender = [a, b, c, d, e, f];
    if control & (PROTECTED | MORE_FRAGMENTS) != 0 || sequence & 0x0f != 0 {
        return Ok((sender, other));
    }
    let mut length = 24;
    if control & BOTH_DS == BOTH_DS {
        rest = rest.skip(6)?;
        length += 6;
    }
    let mut aggregated = false;
    if kind & QOS != 0 {
        aggregated = rest.u8(0)? & AGGREGATED != 0;
        let ht = if control & ORDER == 0 { 0 } else { 4 };
        rest = rest.skip(2 + ht)?;
        length += 2 + ht;
    }
    if flags.is_some_and(|flags| flags & PADDED != 0) {
        rest = rest.skip(length.next_multiple_of(4) - length)?;
    }
    if aggregated {
        // Of several units in one frame the first is read: two addresses and a length.
        let (&[.., l0, l1], unit) = rest.split::<14>()?;
        rest = unit.limit(usize::from(u16::from_be_bytes([l0, l1])).min(unit.wire));
    }
    Ok((sender, Next::Llc(rest)))
}

/// A radiotap header, whose flags tell how the 802.11 header is padded.
pub(super) fn radiotap(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    const TSFT: u8 = 1;
    const FLAGS: u8 = 2;
    const MORE: u8 = 0x80;
    let (&[version, _, l0, l1, present, ..], _) = view.split::<8>()?;
    if version != 0 {
        return Err(Skip::BadHeader);
    }
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let mut at = 8;
    while view.u8(at - 1)? & MORE != 0 {
        at += 4;
    }
    if present & TSFT != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    let flags = if present & FLAGS != 0 && at < length { Some(view.u8(at)?) } else { None };
    ieee80211(view.skip(length)?, flags)
}

/// A Prism header, or AVS's, which takes its place on some cards.
pub(super) fn prism(view: View<'_>) -> Result<(Mac, Next<'_>), Skip> {
    /// The largest header that can be: Prism's has 144 bytes, AVS's 64.
    const MAX_LENGTH: u32 = 1024;
    let (&[a, b, c, _, l0, l1, l2, l3], _) = view.split::<8>()?;
    let big = u32::from_be_bytes([l0, l1, l2, l3]);
    let is_avs = [a, b] == [0x80, 0x21] && c & 0xf0 == 0x10;
    let length = if is_avs || big <= MAX_LENGTH { big } else { big.swap_bytes() };
    let length = usize::try_from(length).map_err(|_| Skip::BadHeader)?;
    ieee80211(view.skip(length)?, None)
}

/// A Per-Packet Information header: the link type of what follows it.
pub(super) fn ppi(view: View<'_>) -> Result<(u32, View<'_>), Skip> {
    let (&[_, _, l0, l1, d0, d1, d2, d3], _) = view.split::<8>()?;
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    Ok((u32::from_le_bytes([d0, d1, d2, d3]), view.skip(length)?))
}
