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
    let [_, _, _, _, _, _, _, _, _, _, m0, m1, m2, m3, m4, m5, .., sequence, _] = *header;
    let sender = [m0, m1, m2, m3, m4, m5];
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
    let (&[magic0, magic1, magic2, _, l0, l1, l2, l3], _) = view.split::<8>()?;
    let big = u32::from_be_bytes([l0, l1, l2, l3]);
    let is_avs = [magic0, magic1, magic2 & 0xf0] == [0x80, 0x21, 0x10];
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

#[cfg(test)]
mod tests {
    use crate::packet::sample::{MAC, assert_is_other, join, query_via, v4};

    fn data(kind: u8, control: u8, extra: &[u8]) -> Vec<u8> {
        let addresses = join(&[&[1; 6], &MAC, &[3; 6]]);
        let header = join(&[&[kind, control, 0, 0], &addresses, &[0x10, 0], extra]);
        join(&[&header, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4()])
    }

    #[test]
    fn data_frames_carry_llc_behind_a_header_of_many_sizes() {
        assert_eq!(query_via(105, &data(0x08, 1, &[])).link_src, Some(MAC));
        // Between two access points, with quality of service, with HT control.
        query_via(105, &data(0x08, 3, &[4; 6]));
        query_via(105, &data(0x88, 2, &[0, 0]));
        query_via(105, &data(0x88, 0x82, &[0, 0, 5, 5, 5, 5]));
        let length = u8::try_from(v4().len() + 8).unwrap();
        let unit = join(&[&[0x80, 0], &[1; 12], &[0, length]]);
        query_via(105, &data(0x88, 2, &unit));
    }

    #[test]
    fn what_cannot_be_read_is_understood_all_the_same() {
        assert_is_other(105, &data(0x08, 0x41, &[]));
        assert_is_other(105, &data(0x08, 0x05, &[]));
        assert_is_other(105, &data(0x48, 0x01, &[]));
        assert_is_other(105, &data(0x80, 0, &[]));
        assert_is_other(105, &[0xd4, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn radiotap_tells_how_the_header_is_padded() {
        let plain = [0, 0, 8, 0, 0, 0, 0, 0];
        query_via(127, &join(&[&plain, &data(0x08, 1, &[])]));
        let padded = [0, 0, 9, 0, 2, 0, 0, 0, 0x20];
        query_via(127, &join(&[&padded, &data(0x88, 1, &[0, 0, 0, 0])]));
        // Two words of presence, and a timestamp aligned to eight bytes before the flags.
        let mut long = [0; 25];
        long[2] = 25;
        long[4] = 3;
        long[7] = 0x80;
        long[24] = 0x20;
        query_via(127, &join(&[&long, &data(0x88, 1, &[0, 0, 0, 0])]));
    }

    #[test]
    fn prism_and_avs_tell_their_length() {
        let mut prism = vec![0; 144];
        prism[3] = 0x44;
        prism[4] = 144;
        query_via(119, &join(&[&prism, &data(0x08, 1, &[])]));
        let mut avs = vec![0; 64];
        avs[..8].copy_from_slice(&[0x80, 0x21, 0x10, 1, 0, 0, 0, 64]);
        query_via(119, &join(&[&avs, &data(0x08, 1, &[])]));
        query_via(163, &join(&[&avs, &data(0x08, 1, &[])]));
    }

    #[test]
    fn ppi_wraps_wireless_frames() {
        let ppi = [0, 0, 8, 0, 105, 0, 0, 0];
        query_via(192, &join(&[&ppi, &data(0x08, 1, &[])]));
    }
}
