//! Classic pcap: draft-ietf-opsawg-pcap, and the forms of it that are still met.
//!
//! pcap-parser reads the file header. Records are read here: four numbers in either byte order, in
//! Alexey Kuznetzov's modified form (24-byte record headers) followed by more, and in files of
//! versions before 2.4 with the two lengths the other way round. `libpcap.c` of Wireshark's wiretap
//! is the reference, because frame numbers must agree with it.

use std::ops::Range;

use super::order::Order;
use super::reader::{Fault, Record};
use super::window::Window;
use super::{LinkType, OpenError};
use crate::base::Timestamp;

/// Length of the file header.
const FILE_HEADER: usize = 24;
/// Length of a record header.
const RECORD_HEADER: usize = 16;
/// Length of a record header in the modified form: interface index, protocol and packet type follow.
const MODIFIED_HEADER: usize = 24;
/// Magic number of the modified form, as bytes of a big-endian file.
const MODIFIED_BIG: [u8; 4] = [0xa1, 0xb2, 0xcd, 0x34];
/// Magic number of the standard form, as bytes of a big-endian file.
const STANDARD_BIG: [u8; 4] = [0xa1, 0xb2, 0xc3, 0xd4];
/// Bits of the link-type field that must be zero. Those above tell whether and how long the frame
/// check sequence is, and a link type is 16 bits.
const LINK_RESERVED: u32 = 0x03ff_0000;
/// "Class" of NetBSD raw address families, the one meaning that the reserved bits were ever given.
const LINK_NETBSD: u32 = 0x0224_0000;

/// A classic pcap file behind its header.
pub(super) struct Classic {
    order: Order,
    /// Length of a record header.
    header: usize,
    lengths: Lengths,
    link: LinkType,
    /// The longest record that is believed.
    limit: u32,
    nanos_per_unit: i64,
}

/// Which of the two lengths of a record comes first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Version 2.3 was written both ways: the shorter one is the captured one.
    ShorterIsCaptured,
}

/// A record header.
struct Header {
    seconds: u32,
    fraction: u32,
    captured: u32,
    wire: u32,
}

impl Classic {
    /// Reads the file header; `None` if this is no classic pcap. At least 4 bytes must be there.
    pub(super) fn open(window: &mut Window) -> Result<Option<Self>, OpenError> {
        let modified = match window.data() {
            [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..] => false,
            [0x34, 0xcd, 0xb2, 0xa1, ..] | [0xa1, 0xb2, 0xcd, 0x34, ..] => true,
            _ => return Ok(None),
        };
        if !window.need(FILE_HEADER) {
            return Err(OpenError::HeaderCut);
        }
        let mut head = window.data().get(..FILE_HEADER).unwrap_or_default().to_vec();
        if head.starts_with(&MODIFIED_BIG) {
            // pcap-parser knows the modified form in little-endian files only.
            head.splice(..4, STANDARD_BIG);
        }
        let (_, header) =
            pcap_parser::parse_pcap_header(&head).map_err(|_| OpenError::NotACapture)?;
        if header.version_major != 2 {
            return Err(OpenError::Version {
                format: "pcap",
                major: header.version_major,
                minor: header.version_minor,
            });
        }
        let field = header.network.0.cast_unsigned();
        if ![0, LINK_NETBSD].contains(&(field & LINK_RESERVED)) {
            return Err(OpenError::LinkField(field));
        }
        let big = header.is_bigendian();
        let lengths = match header.version_minor {
            0..=2 => Lengths::WireFirst,
            3 => Lengths::ShorterIsCaptured,
            _ => Lengths::CapturedFirst,
        };
        window.take(FILE_HEADER);
        let link = LinkType(u16::try_from(field & 0xffff).unwrap_or(u16::MAX));
        Ok(Some(Self {
            order: if big { Order::Big } else { Order::Little },
            header: if modified { MODIFIED_HEADER } else { RECORD_HEADER },
            lengths,
            link,
            limit: link.max_captured(),
            nanos_per_unit: if header.is_nanosecond_precision() { 1 } else { 1000 },
        }))
    }

    /// The next record if the whole of it is in memory, as nearly all are; [`Self::next`] decides about
    /// all others, and would give the same.
    #[inline]
    pub(super) fn at_hand(&self, window: &mut Window) -> Option<Record> {
        let data = window.filled()?;
        let header = self.read(data)?;
        let length = self.header.checked_add(usize::try_from(header.captured).ok()?)?;
        let plain = (1..=self.limit).contains(&header.captured);
        if !plain || data.len() < length {
            return None;
        }
        let whole = window.take(length);
        Some(self.record(&header, whole.start + self.header..whole.end))
    }

    /// The next record; `None` at the end of the file. Every fault ends the file, for without a length
    /// that can be believed there is no next record; but for [`Fault::Another`], behind which that one's
    /// records follow: files of a ring that went through one pipe.
    pub(super) fn next(&mut self, window: &mut Window) -> Option<Result<Record, Fault>> {
        if !window.need(self.header) {
            return if window.data().is_empty() { None } else { Some(Err(Fault::Cut)) };
        }
        let header = self.read(window.data())?;
        // Of a file header that stands in the place of a record, the lengths are fields that nobody sets.
        if (header.captured, header.wire) == (0, 0)
            && let Ok(Some(another)) = Self::open(window)
        {
            *self = another;
            return Some(Err(Fault::Another));
        }
        if header.captured > self.limit {
            return Some(Err(Fault::TooLong(u64::from(header.captured), self.limit)));
        }
        let captured = usize::try_from(header.captured).unwrap_or(usize::MAX);
        if !window.need(self.header.saturating_add(captured)) {
            return Some(Err(Fault::Cut));
        }
        window.take(self.header);
        Some(Ok(self.record(&header, window.take(captured))))
    }

    /// The record with this header, and its bytes.
    #[inline]
    fn record(&self, header: &Header, bytes: Range<usize>) -> Record {
        let seconds = i64::from(header.seconds) * 1_000_000_000;
        let fraction = i64::from(header.fraction) * self.nanos_per_unit;
        Record {
            ts: Some(Timestamp::from_nanos(seconds + fraction)),
            interface: None,
            link: self.link,
            wire_len: header.wire,
            bytes,
        }
    }

    /// The record header that `data` begins with.
    #[inline]
    fn read(&self, data: &[u8]) -> Option<Header> {
        let (fields, _) = data.first_chunk::<RECORD_HEADER>()?.as_chunks::<4>();
        let &[seconds, fraction, first, second] = fields else { return None };
        let [seconds, fraction, first, second] =
            self.order.numbers([seconds, fraction, first, second]);
        let swap = match self.lengths {
            Lengths::CapturedFirst => false,
            Lengths::WireFirst => true,
            Lengths::ShorterIsCaptured => first > second,
        };
        let (captured, wire) = if swap { (second, first) } else { (first, second) };
        Some(Header { seconds, fraction, captured, wire })
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::testing::{BIG, Bytes, LITTLE, read};
    use crate::capture::{Damage, LinkType, OpenError};

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn both_byte_orders_and_resolutions_are_read() {
        for order in [LITTLE, BIG] {
            for (magic, fraction) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
                let mut file = order.pcap(magic, (2, 4), 276);
                file.extend(order.record(7, 5, b"one"));
                file.extend(order.record(u32::MAX, 0, b""));
                let read = read(file).unwrap();
                assert_eq!(read.damage, []);
                let first = &read.frames[0];
                assert_eq!((first.number, first.nanos), (1, 7 * SECOND + fraction));
                assert_eq!(
                    (first.link, first.bytes.as_slice()),
                    (LinkType::LINUX_SLL2, &b"one"[..])
                );
                let last = &read.frames[1];
                assert_eq!((last.number, last.nanos), (2, i64::from(u32::MAX) * SECOND));
            }
        }
    }

    fn modified(order: Bytes) -> Vec<u8> {
        let mut file = order.pcap(0xa1b2_cd34, (2, 4), 1);
        for packet in [b"one", b"two"] {
            file.extend(order.u32s(&[1, 2, 3, 60, 4, 0x0800_0000]));
            file.extend(packet);
        }
        file
    }

    #[test]
    fn the_modified_form_has_longer_record_headers() {
        for order in [LITTLE, BIG] {
            let read = read(modified(order)).unwrap();
            assert_eq!(read.damage, []);
            let bytes: Vec<_> = read.frames.iter().map(|frame| frame.bytes.as_slice()).collect();
            assert_eq!(bytes, [b"one", b"two"]);
            assert_eq!((read.frames[1].nanos, read.frames[1].wire_len), (SECOND + 2000, 60));
        }
    }

    #[test]
    fn before_version_2_4_the_lengths_were_the_other_way_round() {
        for version in [(2, 2), (2, 3)] {
            let mut file = LITTLE.pcap(0xa1b2_c3d4, version, 1);
            file.extend(LITTLE.u32s(&[1, 0, 60, 3]));
            file.extend(b"one");
            let read = read(file).unwrap();
            assert_eq!((read.frames.len(), read.damage.len()), (1, 0));
            assert_eq!(read.frames[0].wire_len, 60);
        }
    }

    #[test]
    fn what_the_link_type_field_says_of_the_checksum_is_no_part_of_the_link_type() {
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 0x1400_0001);
        file.extend(LITTLE.record(0, 0, b"x"));
        assert_eq!(read(file).unwrap().frames[0].link, LinkType::ETHERNET);
        let odd = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 0x0073_04a2);
        assert_eq!(read(odd).err(), Some(OpenError::LinkField(0x0073_04a2)));
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        let header = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1);
        assert_eq!(read(Vec::new()).err(), Some(OpenError::Empty));
        assert_eq!(read(header[..3].to_vec()).err(), Some(OpenError::NotACapture));
        assert_eq!(read(header[..23].to_vec()).err(), Some(OpenError::HeaderCut));
        assert_eq!(read(b"hello, world".to_vec()).err(), Some(OpenError::NotACapture));
        let version = OpenError::Version { format: "pcap", major: 1, minor: 4 };
        assert_eq!(read(LITTLE.pcap(0xa1b2_c3d4, (1, 4), 1)).err(), Some(version));
    }

    #[test]
    fn files_one_behind_the_other_are_read_as_one() {
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 276);
        file.extend(LITTLE.record(1, 0, b"one"));
        file.extend(LITTLE.record(2, 0, b""));
        for order in [BIG, LITTLE] {
            file.extend(order.pcap(0xa1b2_3c4d, (2, 4), 1));
            file.extend(order.record(3, 5, b"two"));
        }
        let read = read(file).unwrap();
        let frames: Vec<_> =
            read.frames.iter().map(|frame| (frame.number, frame.nanos, frame.link)).collect();
        let behind = |number| (number, 3 * SECOND + 5, LinkType::ETHERNET);
        let (one, none) = ((1, SECOND), (2, 2 * SECOND));
        let first = [one, none].map(|(number, nanos)| (number, nanos, LinkType::LINUX_SLL2));
        assert_eq!(frames, [first[0], first[1], behind(3), behind(4)]);
        assert_eq!(read.damage, [Damage::Joined { after: 2 }, Damage::Joined { after: 3 }]);
    }

    #[test]
    fn a_length_that_no_record_has_ends_the_file_before_memory_does() {
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1);
        file.extend(LITTLE.record(0, 0, b"good"));
        file.extend(LITTLE.u32s(&[0, 0, 0x7fff_fff0, 60]));
        file.extend([0; 1000]);
        let read = read(file).unwrap();
        assert_eq!(read.frames.len(), 1);
        let damage = Damage::TooLong { after: 1, claimed: 0x7fff_fff0, limit: 262_144 };
        assert_eq!(read.damage, [damage]);
    }

    #[test]
    fn records_larger_than_the_buffer_are_read_up_to_the_bound_of_their_link_type() {
        let packet = vec![7; 300_000];
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), u32::from(LinkType::DBUS.0));
        file.extend(LITTLE.record(0, 0, &packet));
        file.extend(LITTLE.record(1, 0, b"next"));
        let usb = read(file).unwrap();
        assert_eq!(usb.frames[0].bytes, packet);
        assert_eq!(usb.frames[1].bytes, b"next");
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1);
        file.extend(LITTLE.record(0, 0, &packet));
        assert!(matches!(read(file).unwrap().damage[..], [Damage::TooLong { after: 0, .. }]));
    }

    #[test]
    fn zeros_at_the_end_are_empty_records_as_in_wireshark() {
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1);
        file.extend([0; 70]);
        let read = read(file).unwrap();
        assert_eq!((read.frames.len(), read.damage), (4, vec![Damage::CutShort { after: 4 }]));
    }
}
