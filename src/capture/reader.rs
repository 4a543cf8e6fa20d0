//! One capture file as a stream of frames.
//!
//! Frames are borrowed from the reader's buffer and numbered from 1 as Wireshark numbers them; after
//! [`Damage`] the reader goes on where the format still says where the next record is, and ends
//! where it does not.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decompress::decompress;
use super::pcap::Classic;
use super::pcapng::Blocks;
use super::window::{Window, reason};
use super::{Compression, Damage, FileId, Frame, FrameRef, LinkType, OpenError, Seen};
use crate::base::{Span, Timestamp};

/// Buffer of a reader that only looks at the first frames.
const PEEK_CAPACITY: usize = 16 << 10;
/// Bytes that such a reader takes, compressed or not: enough for any first frames, and a bound on
/// what a file without frames can cost before the analysis begins.
const PEEK_LIMIT: u64 = 4 << 20;

/// What a capture file is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Container {
    /// Classic pcap, in any of its forms.
    Pcap,
    /// pcapng.
    PcapNg,
}

/// Container and compression of a capture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format {
    /// What is inside.
    pub container: Container,
    /// How it is compressed, if it is.
    pub compression: Option<Compression>,
}

/// `pcap`, `pcapng`, `pcap.gz`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.container {
            Container::Pcap => "pcap",
            Container::PcapNg => "pcapng",
        })?;
        match self.compression {
            Some(compression) => write!(f, ".{compression}"),
            None => Ok(()),
        }
    }
}

/// What has been read of a file so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileStats {
    /// Frames handed on.
    pub frames: u64,
    /// Timestamp of the first frame that has one.
    pub first: Option<Timestamp>,
    /// Timestamp of the last frame that has one.
    pub last: Option<Timestamp>,
    /// From the earliest to the latest timestamp; clocks step and frames are reordered, so these
    /// need not be the first and the last.
    pub span: Option<Span>,
    /// Link types of the frames that carry packets.
    pub link_types: BTreeSet<LinkType>,
}

impl FileStats {
    /// Takes the time of the next frame; the first one of all begins the span.
    #[inline]
    fn time(&mut self, ts: Timestamp) {
        self.last = Some(ts);
        match &mut self.span {
            Some(span) if span.start <= ts => span.end = span.end.max(ts),
            span => {
                *span = Some(span.unwrap_or(Span::at(ts)).with(ts));
                self.first.get_or_insert(ts);
            }
        }
    }
}

/// A counter of the bytes that were taken from a source, before decompression; for progress.
#[derive(Debug, Clone, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads one capture file, frame by frame.
pub struct Reader {
    file: FileId,
    window: Window,
    parser: Parser,
    format: Format,
    stats: FileStats,
    bytes_read: BytesRead,
    link: Option<LinkType>,
    ended: bool,
}

enum Parser {
    Classic(Classic),
    Blocks(Blocks),
}

/// A frame as a container describes it, before it has a number.
pub(super) struct Record {
    pub(super) ts: Option<Timestamp>,
    pub(super) interface: Option<u32>,
    pub(super) link: LinkType,
    pub(super) wire_len: u32,
    /// Where in the window its bytes are.
    pub(super) bytes: Range<usize>,
}

impl Record {
    /// A record that is numbered as a frame and carries nothing.
    pub(super) fn without_packet() -> Self {
        Self { ts: None, interface: None, link: LinkType::NONE, wire_len: 0, bytes: 0..0 }
    }
}

/// What a container parser stumbled over; the reader adds where.
pub(super) enum Fault {
    /// The source ended in the middle of a record.
    Cut,
    /// A record claims more bytes than the bound.
    TooLong(u64, u32),
    /// A block was skipped.
    BadBlock(&'static str),
    /// The next block cannot be found.
    Lost(&'static str),
    /// Another file begins.
    Another,
}

impl Reader {
    /// Bytes read at once: the buffer then stays in a core's second-level cache together with what
    /// is done with its records, and larger ones were measured to be slower.
    pub const BLOCK: usize = 256 << 10;

    /// Finds out what `source` holds and reads its header.
    ///
    /// # Errors
    /// If it is no capture, or one of a version that is not known.
    pub fn open(source: Box<dyn Read + Send>, file: FileId) -> Result<Self, OpenError> {
        Self::open_in_blocks(source, file, Self::BLOCK)
    }

    /// The same, reading `block` bytes at once, or more where a record is longer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in_blocks(
        source: Box<dyn Read + Send>,
        file: FileId,
        block: usize,
    ) -> Result<Self, OpenError> {
        let bytes_read = BytesRead::default();
        let counted = Counted { source, count: bytes_read.clone() };
        let (plain, compression) =
            decompress(Box::new(counted)).map_err(|error| OpenError::Unreadable(reason(&error)))?;
        Self::detect(Window::new(plain, block), file, compression, bytes_read)
    }

    /// The same with a small buffer, for some frames of many places.
    pub(super) fn glance(source: Box<dyn Read + Send>, file: FileId) -> Result<Self, OpenError> {
        let (plain, compression) =
            decompress(source).map_err(|error| OpenError::Unreadable(reason(&error)))?;
        let window = Window::new(plain, PEEK_CAPACITY);
        Self::detect(window, file, compression, BytesRead::default())
    }

    /// The same for the first frames only, at a small and bounded price.
    pub(super) fn peek(source: Box<dyn Read + Send>) -> Result<Self, OpenError> {
        let (plain, compression) = decompress(Box::new(source.take(PEEK_LIMIT)))
            .map_err(|error| OpenError::Unreadable(reason(&error)))?;
        let window = Window::new(Box::new(plain.take(PEEK_LIMIT)), PEEK_CAPACITY);
        Self::detect(window, FileId(0), compression, BytesRead::default())
    }

    fn detect(
        mut window: Window,
        file: FileId,
        compression: Option<Compression>,
        bytes_read: BytesRead,
    ) -> Result<Self, OpenError> {
        if !window.need(4) {
            return Err(match window.failure() {
                Some(reason) => OpenError::Unreadable(reason),
                None if window.data().is_empty() => OpenError::Empty,
                None => OpenError::NotACapture,
            });
        }
        let parser = if let Some(classic) = Classic::open(&mut window)? {
            Parser::Classic(classic)
        } else if let Some(blocks) = Blocks::open(&mut window)? {
            Parser::Blocks(blocks)
        } else {
            return Err(OpenError::NotACapture);
        };
        let container = match parser {
            Parser::Classic(_) => Container::Pcap,
            Parser::Blocks(_) => Container::PcapNg,
        };
        Ok(Self {
            file,
            window,
            parser,
            format: Format { container, compression },
            stats: FileStats::default(),
            bytes_read,
            link: None,
            ended: false,
        })
    }

    /// The next frame, or what is wrong with the file at this place; `None` at its end.
    ///
    /// A frame without a timestamp of its own (Simple Packet Blocks, and records without a packet)
    /// gets that of the frame before it, or the epoch where there is none.
    #[expect(clippy::inline_always, reason = "a frame is then passed on in registers")]
    #[inline(always)]
    pub fn next_frame(&mut self) -> Option<Result<Frame<'_>, Damage>> {
        match self.at_hand() {
            Some(record) => Some(Ok(self.frame(record))),
            None => self.sought(),
        }
    }

    /// The next record, where it is in memory and needs nothing but to be taken.
    #[inline]
    fn at_hand(&mut self) -> Option<Record> {
        match &self.parser {
            Parser::Classic(classic) if !self.ended => classic.at_hand(&mut self.window),
            _ => None,
        }
    }

    /// The next frame, for which the source may have to be read.
    #[inline(never)]
    fn sought(&mut self) -> Option<Result<Frame<'_>, Damage>> {
        if self.ended {
            return None;
        }
        let found = match &mut self.parser {
            Parser::Classic(classic) => classic.next(&mut self.window),
            Parser::Blocks(blocks) => blocks.next(&mut self.window),
        };
        match found {
            Some(Ok(record)) => Some(Ok(self.frame(record))),
            Some(Err(fault)) => Some(Err(self.damage(&fault))),
            None => self.end().map(Err),
        }
    }

    /// What the file is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What has been read so far.
    pub fn stats(&self) -> &FileStats {
        &self.stats
    }

    /// How many bytes of the source have been taken; the counter goes on counting.
    pub fn bytes_read(&self) -> BytesRead {
        self.bytes_read.clone()
    }

    /// The number of the last frame.
    fn number(&self) -> u32 {
        u32::try_from(self.stats.frames).unwrap_or(u32::MAX)
    }

    /// The file is over: at its end, or where it cannot be read any further.
    #[cold]
    fn end(&mut self) -> Option<Damage> {
        self.ended = true;
        let reason = self.window.failure()?;
        Some(Damage::Unreadable { after: self.number(), reason })
    }

    #[inline]
    fn frame(&mut self, record: Record) -> Frame<'_> {
        self.stats.frames += 1;
        if let Some(ts) = record.ts {
            self.stats.time(ts);
        }
        if self.link != Some(record.link) {
            self.meet(record.link);
        }
        let ts = record.ts.or(self.stats.last).unwrap_or_default();
        Frame {
            seen: Seen { ts, at: FrameRef::new(self.file, self.number()) },
            interface: record.interface,
            link: record.link,
            wire_len: record.wire_len,
            bytes: self.window.bytes(record.bytes),
        }
    }

    /// Takes note of a link type that the frame before did not have.
    #[cold]
    fn meet(&mut self, link: LinkType) {
        self.link = Some(link);
        if link.carries_packets() {
            self.stats.link_types.insert(link);
        }
    }

    #[cold]
    fn damage(&mut self, fault: &Fault) -> Damage {
        let after = self.number();
        self.ended = !matches!(fault, Fault::BadBlock(_) | Fault::Another);
        match *fault {
            Fault::Cut => match self.window.failure() {
                Some(reason) => Damage::Unreadable { after, reason },
                None => Damage::CutShort { after },
            },
            Fault::TooLong(claimed, limit) => Damage::TooLong { after, claimed, limit },
            Fault::BadBlock(reason) => Damage::BadBlock { after, reason },
            Fault::Lost(reason) => Damage::LostBlocks { after, reason },
            Fault::Another => Damage::Joined { after },
        }
    }
}

/// A source that counts what is taken from it.
struct Counted {
    source: Box<dyn Read + Send>,
    count: BytesRead,
}

impl Read for Counted {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(space)?;
        self.count.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::testing::{BIG, LITTLE, capture, compressed, read};

    #[test]
    fn formats_are_named_by_what_is_inside() {
        let file = capture(1, &[b"x"]);
        for (file, name) in [
            (file.clone(), "pcap"),
            (LITTLE.section(), "pcapng"),
            (compressed(Compression::Gzip, &file), "pcap.gz"),
            (compressed(Compression::Zstd, &BIG.section()), "pcapng.zst"),
        ] {
            let size = file.len() as u64;
            let mut reader = Reader::open(Box::new(io::Cursor::new(file)), FileId(3)).unwrap();
            assert_eq!(reader.format().to_string(), name);
            while let Some(frame) = reader.next_frame() {
                assert_eq!(frame.unwrap().seen.at.file(), FileId(3));
            }
            assert_eq!(reader.bytes_read().get(), size);
        }
    }

    #[test]
    fn an_error_of_the_decompressor_comes_after_all_frames_before_it() {
        let packet = [0x5a; 100];
        let mut file = compressed(Compression::Gzip, &capture(1, &[&packet[..]; 50]));
        file.extend(b"garbage behind the last member");
        let whole = read(file).unwrap();
        assert_eq!(whole.frames.len(), 50);
        assert!(matches!(&whole.damage[..], [Damage::Unreadable { after: 50, .. }]));
    }

    #[test]
    fn stats_tell_first_and_last_from_earliest_and_latest() {
        let mut file = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1);
        for second in [5, 9, 3] {
            file.extend(LITTLE.record(second, 0, b"x"));
        }
        let stats = read(file).unwrap().stats;
        let time = |second| Timestamp::from_parts(second, 0);
        assert_eq!((stats.frames, stats.first, stats.last), (3, Some(time(5)), Some(time(3))));
        assert_eq!(stats.span, Some(Span::between(time(3), time(9))));
    }

    #[test]
    fn a_bomb_costs_time_but_no_memory() {
        // 64 MiB of empty records in a few kilobytes.
        let mut file = capture(1, &[]);
        file.resize(64 << 20, 0);
        let mut reader = Reader::open(
            Box::new(io::Cursor::new(compressed(Compression::Zstd, &file))),
            FileId(0),
        )
        .unwrap();
        while reader.next_frame().is_some() {}
        assert_eq!(reader.stats().frames, ((64 << 20) - 24) / 16);
    }

    /// A capture as classic pcap or pcapng, and where each of its frames ends.
    fn written(packets: &[Vec<u8>], blocks: bool, big: bool) -> (Vec<u8>, Vec<usize>) {
        let order = if big { BIG } else { LITTLE };
        let mut file = if blocks {
            [order.section(), order.interface(1, 0, &[])].concat()
        } else {
            order.pcap(0xa1b2_c3d4, (2, 4), 1)
        };
        let mut ends = Vec::new();
        for packet in packets {
            file.extend(if blocks {
                order.packet(0, 1, packet)
            } else {
                order.record(1, 0, packet)
            });
            ends.push(file.len());
        }
        (file, ends)
    }

    proptest! {
        #[test]
        fn a_capture_cut_anywhere_yields_exactly_the_whole_frames_before_the_cut(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..12),
            blocks: bool, big: bool, cut: prop::sample::Index,
        ) {
            let (mut file, ends) = written(&packets, blocks, big);
            let start = if blocks { 28 + 20 } else { 24 };
            let cut = start + cut.index(file.len() - start + 1);
            file.truncate(cut);
            let whole = read(file).unwrap();
            let expected = ends.iter().filter(|end| **end <= cut).count();
            let got: Vec<_> = whole.frames.iter().map(|frame| frame.bytes.clone()).collect();
            prop_assert_eq!(&got, &packets[..expected]);
            let clean = cut == start || ends.contains(&cut);
            let after = u32::try_from(expected).unwrap();
            let damage = if clean { vec![] } else { vec![Damage::CutShort { after }] };
            prop_assert_eq!(whole.damage, damage);
        }

        #[test]
        fn a_record_at_hand_is_the_one_that_is_sought(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..12),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            big: bool,
        ) {
            let (mut file, _) = written(&packets, false, big);
            for (at, value) in changes {
                let at = 24 + at.index(file.len() - 23);
                if let Some(byte) = file.get_mut(at) {
                    *byte = value;
                }
            }
            let open = || Reader::open(Box::new(io::Cursor::new(file.clone())), FileId(0)).unwrap();
            let (mut reader, mut seeker) = (open(), open());
            loop {
                let (one, other) = (reader.next_frame(), seeker.sought());
                prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
                if one.is_none() {
                    break;
                }
            }
            prop_assert_eq!(reader.stats(), seeker.stats());
        }

        #[test]
        fn any_bytes_end_without_panic(
            magic in 0..14_usize, bytes in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let start: &[u8] = match magic {
                0 => &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0],
                1 => &[0xa1, 0xb2, 0xcd, 0x34, 0, 2, 0, 4],
                2 => &[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 3, 0],
                3..=5 => &LITTLE.section(),
                6 => &BIG.section(),
                7 => &[0x1f, 0x8b, 8, 0],
                8 => &[0x28, 0xb5, 0x2f, 0xfd],
                9 => &[0xfd, b'7', b'z', b'X', b'Z', 0],
                10 => &[0x04, 0x22, 0x4d, 0x18],
                11 => &[0x02, 0x21, 0x4c, 0x18],
                12 => b"BZh9",
                _ => &[],
            };
            let _ = read([start, &bytes].concat());
        }

        #[test]
        fn a_flipped_capture_ends_without_panic(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8),
            blocks: bool, big: bool,
            kind in prop::option::of(0..5_usize),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let (mut file, _) = written(&packets, blocks, big);
            if let Some(kind) = kind {
                let all = [
                    Compression::Gzip,
                    Compression::Zstd,
                    Compression::Xz,
                    Compression::Lz4,
                    Compression::Bzip2,
                ];
                file = compressed(all[kind], &file);
            }
            for (at, value) in flips {
                let at = at.index(file.len());
                file[at] = value;
            }
            let _ = read(file);
        }
    }
}
