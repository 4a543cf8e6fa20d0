//! pcapng: draft-ietf-opsawg-pcapng, and the obsolete Packet Block of its first version.
//!
//! Blocks are framed here rather than by pcap-parser, for four reasons: its parsers collect the
//! options of every packet in a vector, they wait for the bytes of a claimed length however large,
//! they read `if_tsoffset` in little-endian only, and they give up on resolutions of powers of two.
//! The options of an interface do go through it.
//!
//! Which blocks are frames follows Wireshark (`pcapng.c` of wiretap), because frame numbers must
//! agree: the packet blocks, and those blocks it shows without a packet. A block whose two lengths
//! agree but whose content does not make sense is skipped, and reading goes on behind it.

use super::clock::Clock;
use super::order::Order;
use super::reader::{Fault, Record};
use super::window::Window;
use super::{LinkType, OpenError};
use crate::base::Timestamp;

/// Section Header Block; the number reads the same in both byte orders.
const SECTION: u32 = 0x0a0d_0d0a;
/// Byte-order magic of a section, in its own byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Interface Description Block.
const INTERFACE: u32 = 1;
/// Packet Block, obsolete.
const OLD_PACKET: u32 = 2;
/// Simple Packet Block.
const SIMPLE_PACKET: u32 = 3;
/// Enhanced Packet Block.
const ENHANCED_PACKET: u32 = 6;

/// The fixed part of a section header up to its version, with type and length.
const SECTION_START: usize = 16;
/// Type and the two lengths: the shortest block.
const SHORTEST: u32 = 12;
/// The longest block that is held in memory; Wireshark's bound too. Others are passed over in
/// pieces.
const MAX_BLOCK: usize = 16 << 20;
/// Interfaces of one section; more than any host has.
const MAX_INTERFACES: usize = 1 << 16;

/// A pcapng file.
pub(super) struct Blocks {
    order: Order,
    interfaces: Vec<Interface>,
    /// Interfaces of the sections before this one.
    earlier: u32,
}

/// What an Interface Description Block says.
struct Interface {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
}

/// A packet within its block.
struct Found {
    interface: u32,
    units: Option<u64>,
    captured: u32,
    wire: u32,
    /// Where its bytes begin, counted from the start of the block.
    offset: usize,
}

impl Blocks {
    /// Looks at the first section header, without passing over it; `None` if this is no pcapng. At
    /// least 4 bytes must be there.
    pub(super) fn open(window: &mut Window) -> Result<Option<Self>, OpenError> {
        if Order::Little.u32(window.data(), 0) != Some(SECTION) {
            return Ok(None);
        }
        if !window.need(SECTION_START) {
            return Err(OpenError::HeaderCut);
        }
        let order = section_order(window.data()).ok_or(OpenError::NotACapture)?;
        if let Some((major, minor)) = unknown_version(order, window.data()) {
            return Err(OpenError::Version { format: "pcapng", major, minor });
        }
        Ok(Some(Self { order, interfaces: Vec::new(), earlier: 0 }))
    }

    /// The next frame; `None` at the end of the file.
    pub(super) fn next(&mut self, window: &mut Window) -> Option<Result<Record, Fault>> {
        loop {
            if !window.need(1) {
                return None;
            }
            match self.block(window) {
                Ok(None) => {}
                Ok(Some(record)) => return Some(Ok(record)),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }

    /// Passes over one block, which may or may not be a frame.
    fn block(&mut self, window: &mut Window) -> Result<Option<Record>, Fault> {
        if !window.need(8) {
            return Err(Fault::Cut);
        }
        if Order::Little.u32(window.data(), 0) == Some(SECTION) {
            self.section(window)?;
        }
        let (Some(kind), Some(claimed)) =
            (self.order.u32(window.data(), 0), self.order.u32(window.data(), 4))
        else {
            return Err(Fault::Cut);
        };
        if claimed < SHORTEST {
            return Err(Fault::Lost("a block is shorter than its own frame"));
        }
        match kind {
            INTERFACE | OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                self.whole(window, kind, claimed)
            }
            _ => {
                self.pass(window, claimed)?;
                Ok(is_frame_without_packet(kind).then(Record::without_packet))
            }
        }
    }

    /// Takes note of a section header; passing over it is left to the caller.
    fn section(&mut self, window: &mut Window) -> Result<(), Fault> {
        if !window.need(SECTION_START) {
            return Err(Fault::Cut);
        }
        self.order =
            section_order(window.data()).ok_or(Fault::Lost("a section has no valid byte order"))?;
        if unknown_version(self.order, window.data()).is_some() {
            return Err(Fault::Lost("a section is of an unknown version"));
        }
        let count = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.earlier = self.earlier.saturating_add(count);
        self.interfaces.clear();
        Ok(())
    }

    /// Passes over a block without holding it.
    fn pass(&self, window: &mut Window, claimed: u32) -> Result<(), Fault> {
        if !window.skip(u64::from(claimed).next_multiple_of(4) - 4) || !window.need(4) {
            return Err(Fault::Cut);
        }
        if self.order.u32(window.data(), 0) != Some(claimed) {
            return Err(Fault::Lost("the two lengths of a block differ"));
        }
        window.take(4);
        Ok(())
    }

    /// Reads a block that must be in memory as a whole.
    fn whole(
        &mut self,
        window: &mut Window,
        kind: u32,
        claimed: u32,
    ) -> Result<Option<Record>, Fault> {
        let length = usize::try_from(claimed)
            .ok()
            .map(|length| length.next_multiple_of(4))
            .filter(|length| *length <= MAX_BLOCK)
            .ok_or(Fault::Lost("a block is longer than any packet"))?;
        if !window.need(length) {
            return Err(Fault::Cut);
        }
        let block = window.data().get(..length).unwrap_or_default();
        let (content, trailer) = block.split_at(length - 4);
        if self.order.u32(trailer, 0) != Some(claimed) {
            return Err(Fault::Lost("the two lengths of a block differ"));
        }
        let found = match kind {
            INTERFACE => self.interface(content).map(|()| None),
            OLD_PACKET => self.old_packet(content).map(Some),
            SIMPLE_PACKET => self.simple_packet(content).map(Some),
            _ => self.enhanced_packet(content).map(Some),
        };
        let found = found.and_then(|found| match found {
            Some(found) => self.check(&found, length - 4).map(|link| Some((found, link))),
            None => Ok(None),
        });
        let place = window.take(length);
        let Some((found, (link, ts))) = found.map_err(Fault::BadBlock)? else {
            return Ok(None);
        };
        let from = place.start + found.offset;
        let captured = usize::try_from(found.captured).unwrap_or(usize::MAX);
        Ok(Some(Record {
            ts,
            interface: Some(self.earlier.saturating_add(found.interface)),
            link,
            wire_len: found.wire,
            bytes: from..from.saturating_add(captured),
        }))
    }

    fn interface(&mut self, content: &[u8]) -> Result<(), &'static str> {
        let (Some(link), Some(snaplen)) = (self.order.u16(content, 8), self.order.u32(content, 12))
        else {
            return Err("an interface description is too short");
        };
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err("more interfaces than can be kept");
        }
        let options = content.get(16..).unwrap_or_default();
        self.interfaces.push(Interface {
            link: LinkType(link),
            snaplen,
            clock: Clock::of_options(self.order, options),
        });
        Ok(())
    }

    fn enhanced_packet(&self, content: &[u8]) -> Result<Found, &'static str> {
        let field = |at| self.order.u32(content, at).ok_or("a packet block is too short");
        Ok(Found {
            interface: field(8)?,
            units: Some(u64::from(field(12)?) << 32 | u64::from(field(16)?)),
            captured: field(20)?,
            wire: field(24)?,
            offset: 28,
        })
    }

    fn old_packet(&self, content: &[u8]) -> Result<Found, &'static str> {
        let interface = self.order.u16(content, 8).ok_or("a packet block is too short")?;
        Ok(Found { interface: u32::from(interface), ..self.enhanced_packet(content)? })
    }

    /// A Simple Packet Block has no captured length: it is what the snap length and the block leave
    /// of the packet.
    fn simple_packet(&self, content: &[u8]) -> Result<Found, &'static str> {
        let wire = self.order.u32(content, 8).ok_or("a packet block is too short")?;
        let room = u32::try_from(content.len().saturating_sub(12)).unwrap_or(u32::MAX);
        let snaplen = match self.interfaces.first().map(|interface| interface.snaplen) {
            None | Some(0) => u32::MAX,
            Some(snaplen) => snaplen,
        };
        Ok(Found {
            interface: 0,
            units: None,
            captured: wire.min(snaplen).min(room),
            wire,
            offset: 12,
        })
    }

    /// The link type and time of a packet, if its interface exists and its bytes are in the block.
    fn check(
        &self,
        found: &Found,
        end: usize,
    ) -> Result<(LinkType, Option<Timestamp>), &'static str> {
        let interface = usize::try_from(found.interface)
            .ok()
            .and_then(|index| self.interfaces.get(index))
            .ok_or("a packet names an interface that the section has not described")?;
        if found.captured > interface.link.max_captured() {
            return Err("a packet is longer than any packet is");
        }
        let captured = usize::try_from(found.captured).unwrap_or(usize::MAX);
        if found.offset.saturating_add(captured) > end {
            return Err("a packet is longer than its block");
        }
        Ok((interface.link, found.units.map(|units| interface.clock.at(units))))
    }
}

/// The byte order of the section whose header `data` begins with.
fn section_order(data: &[u8]) -> Option<Order> {
    match Order::Little.u32(data, 8)? {
        BYTE_ORDER => Some(Order::Little),
        swapped if swapped.swap_bytes() == BYTE_ORDER => Some(Order::Big),
        _ => None,
    }
}

/// The version of a section, if it is none that has a meaning: 1.0, and 1.2 as some tools write it.
fn unknown_version(order: Order, section: &[u8]) -> Option<(u16, u16)> {
    let version = (order.u16(section, 12)?, order.u16(section, 14)?);
    (!matches!(version, (1, 0 | 2))).then_some(version)
}

/// Custom Blocks, systemd journal entries and sysdig events: Wireshark lists them between packets.
fn is_frame_without_packet(kind: u32) -> bool {
    matches!(kind, 0x0000_0bad | 0x4000_0bad | 9 | 0x204 | 0x216 | 0x221)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Damage;
    use crate::capture::testing::{BIG, LITTLE, Whole, read};

    fn whole(blocks: &[Vec<u8>]) -> Whole {
        read(blocks.concat()).unwrap()
    }

    #[test]
    fn sections_of_either_byte_order_start_their_interfaces_anew() {
        let read = whole(&[
            LITTLE.section(),
            LITTLE.interface(1, 0, &[]),
            LITTLE.interface(113, 0, &[]),
            LITTLE.packet(1, 5_000_001, b"12345"),
            BIG.section(),
            BIG.interface(276, 0, &[(9, &[9]), (0, &[])]),
            BIG.packet(0, 6_000_000_001, b"123"),
        ]);
        assert_eq!(read.damage, []);
        let first = &read.frames[0];
        assert_eq!((first.number, first.nanos), (1, 5_000_001_000));
        assert_eq!((first.interface, first.link), (Some(1), LinkType::LINUX_SLL));
        assert_eq!(first.bytes, b"12345", "without the padding");
        let second = &read.frames[1];
        assert_eq!((second.number, second.nanos), (2, 6_000_000_001));
        assert_eq!((second.interface, second.link), (Some(2), LinkType::LINUX_SLL2));
        assert_eq!(second.bytes, b"123");
    }

    #[test]
    fn units_are_powers_of_ten_or_two_and_may_start_elsewhere() {
        for order in [LITTLE, BIG] {
            let mut offset = 100_i64.to_le_bytes();
            if order.big {
                offset.reverse();
            }
            for (options, units, nanos) in [
                (vec![], 1, 1_000),
                (vec![(9, &[9_u8][..])], 1, 1),
                (vec![(9, &[0][..])], 3, 3_000_000_000),
                (vec![(9, &[12][..])], 1_999, 1),
                (vec![(9, &[0x8a][..])], 1_536, 1_500_000_000),
                (vec![(9, &[0x94][..])], 1, 953),
                (vec![(9, &[0x7f][..])], u64::MAX, 0),
                (vec![(9, &[0xff][..])], u64::MAX, 0),
                (vec![(9, &[0][..])], u64::MAX, i64::MAX),
                (vec![(14, &offset[..])], 1, 100_000_001_000),
                (vec![(2, &b"eth0x"[..]), (9, &[9])], 7, 7),
            ] {
                let blocks = [
                    order.section(),
                    order.interface(1, 0, &options),
                    order.packet(0, units, b"x"),
                ];
                assert_eq!(whole(&blocks).frames[0].nanos, nanos, "{options:?}");
            }
        }
    }

    #[test]
    fn simple_and_old_packet_blocks_are_read() {
        let mut simple = LITTLE.u32(9).to_vec();
        simple.extend(b"1234");
        let mut old = [LITTLE.u16(1), LITTLE.u16(0)].concat();
        old.extend(LITTLE.u32s(&[0, 2_000_000, 2, 2]));
        old.extend(b"ab");
        let read = whole(&[
            LITTLE.section(),
            LITTLE.interface(1, 4, &[]),
            LITTLE.interface(101, 0, &[]),
            LITTLE.packet(0, 1_000_000, b"x"),
            LITTLE.block(SIMPLE_PACKET, &simple),
            LITTLE.block(OLD_PACKET, &old),
        ]);
        assert_eq!(read.damage, []);
        let simple = &read.frames[1];
        assert_eq!((simple.wire_len, simple.bytes.as_slice()), (9, &b"1234"[..]));
        assert_eq!(simple.nanos, 1_000_000_000, "the time of the frame before it");
        let old = &read.frames[2];
        assert_eq!((old.nanos, old.link), (2_000_000_000, LinkType::RAW));
        assert_eq!(old.bytes, b"ab");
    }

    #[test]
    fn other_blocks_are_passed_over_and_some_are_frames() {
        let read = whole(&[
            LITTLE.section(),
            LITTLE.block(0xbad, &[0; 8]),
            LITTLE.interface(1, 0, &[]),
            LITTLE.block(0x7f00_aaaa, &vec![0; 600_000]),
            LITTLE.block(5, &[0; 12]),
            LITTLE.packet(0, 1, b"x"),
            LITTLE.block(0x4000_0bad, &[0; 8]),
        ]);
        assert_eq!(read.damage, []);
        let links: Vec<_> = read.frames.iter().map(|frame| frame.link).collect();
        assert_eq!(links, [LinkType::NONE, LinkType::ETHERNET, LinkType::NONE]);
        assert_eq!(read.frames[2].number, 3);
        assert_eq!(read.stats.link_types.into_iter().collect::<Vec<_>>(), [LinkType::ETHERNET]);
        let time = Timestamp::from_nanos(1000);
        assert_eq!((read.stats.first, read.stats.last), (Some(time), Some(time)));
    }

    #[test]
    fn a_bad_packet_in_a_sound_block_is_skipped() {
        let mut long = LITTLE.packet(0, 1, b"abcd");
        long[20..24].copy_from_slice(&LITTLE.u32(5));
        let read = whole(&[
            LITTLE.section(),
            LITTLE.packet(0, 0, b"before its interface"),
            LITTLE.interface(1, 0, &[]),
            long,
            LITTLE.block(ENHANCED_PACKET, &[0; 4]),
            LITTLE.packet(0, 2, b"good"),
        ]);
        assert_eq!(read.frames.len(), 1);
        assert_eq!(read.frames[0].number, 1);
        assert_eq!(read.damage.len(), 3);
        assert!(
            read.damage.iter().all(|damage| matches!(damage, Damage::BadBlock { after: 0, .. }))
        );
    }

    #[test]
    fn lengths_that_contradict_each_other_end_the_file() {
        for (at, value) in [(4, 8), (4, 0xffff_fff0), (4, 16), (32, 44)] {
            let mut bad = LITTLE.packet(0, 1, b"abcd");
            bad[at..at + 4].copy_from_slice(&LITTLE.u32(value));
            let read = whole(&[
                LITTLE.section(),
                LITTLE.interface(1, 0, &[]),
                LITTLE.packet(0, 0, b"good"),
                bad,
                LITTLE.packet(0, 2, b"lost"),
            ]);
            assert_eq!(read.frames.len(), 1);
            assert!(matches!(read.damage[..], [Damage::LostBlocks { after: 1, .. }]));
        }
    }

    #[test]
    fn an_unknown_version_is_refused_at_the_start_and_ends_the_file_later() {
        let mut section = LITTLE.section();
        section[12] = 2;
        let version = OpenError::Version { format: "pcapng", major: 2, minor: 0 };
        assert_eq!(read(section.clone()).err(), Some(version));
        let read = whole(&[LITTLE.section(), LITTLE.interface(1, 0, &[]), section]);
        assert!(matches!(read.damage[..], [Damage::LostBlocks { after: 0, .. }]));
    }
}
