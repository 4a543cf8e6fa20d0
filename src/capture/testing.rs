//! Small captures in memory, for the tests of this layer.

use std::io::{self, Read, Write};

use super::{Compression, Damage, FileId, FileStats, LinkType, OpenError, Reader};

/// A source that gives at most a few bytes at a time, as pipes and decompressors do.
pub(super) struct Dripping {
    bytes: io::Cursor<Vec<u8>>,
    most: usize,
}

impl Dripping {
    pub(super) fn new(bytes: Vec<u8>, most: usize) -> Self {
        Self { bytes: io::Cursor::new(bytes), most }
    }
}

impl Read for Dripping {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let most = self.most.min(space.len());
        self.bytes.read(&mut space[..most])
    }
}

/// `bytes` as one member, frame or stream of a compression.
pub(super) fn compressed(kind: Compression, bytes: &[u8]) -> Vec<u8> {
    match kind {
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Compression::Xz => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Compression::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
    }
}

/// Writes numbers in one byte order.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    pub(super) big: bool,
}

impl Bytes {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32s(self, values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| self.u32(*value)).collect()
    }

    /// A classic file header.
    pub(super) fn pcap(self, magic: u32, version: (u16, u16), link: u32) -> Vec<u8> {
        let mut out = self.u32(magic).to_vec();
        out.extend(self.u16(version.0));
        out.extend(self.u16(version.1));
        out.extend(self.u32s(&[0, 0, 65_535, link]));
        out
    }

    /// A classic record.
    pub(super) fn record(self, seconds: u32, fraction: u32, packet: &[u8]) -> Vec<u8> {
        let length = u32::try_from(packet.len()).unwrap();
        let mut out = self.u32s(&[seconds, fraction, length, length]);
        out.extend(packet);
        out
    }

    /// A pcapng block.
    pub(super) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = u32::try_from(12 + body.len() + padding).unwrap();
        let mut out = self.u32s(&[kind, length]);
        out.extend(body);
        out.extend(vec![0xee; padding]);
        out.extend(self.u32(length));
        out
    }

    /// A section header.
    pub(super) fn section(self) -> Vec<u8> {
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    /// An interface description with options given as code and value.
    pub(super) fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = self.u16(link).to_vec();
        body.extend([0, 0]);
        body.extend(self.u32(snaplen));
        for (code, value) in options {
            body.extend(self.u16(*code));
            body.extend(self.u16(u16::try_from(value.len()).unwrap()));
            body.extend(*value);
            body.extend(vec![0; value.len().next_multiple_of(4) - value.len()]);
        }
        self.block(1, &body)
    }

    /// An enhanced packet.
    pub(super) fn packet(self, interface: u32, units: u64, packet: &[u8]) -> Vec<u8> {
        let length = u32::try_from(packet.len()).unwrap();
        let high = u32::try_from(units >> 32).unwrap();
        let low = u32::try_from(units & 0xffff_ffff).unwrap();
        let mut body = self.u32s(&[interface, high, low, length, length]);
        body.extend(packet);
        self.block(6, &body)
    }
}

/// Little-endian, as almost every capture is.
pub(super) const LITTLE: Bytes = Bytes { big: false };
/// Big-endian.
pub(super) const BIG: Bytes = Bytes { big: true };

/// A classic capture of Ethernet frames, one a second from `first` on.
pub(super) fn capture(first: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut out = LITTLE.pcap(0xa1b2_c3d4, (2, 4), 1);
    for (second, packet) in (first..).zip(packets) {
        out.extend(LITTLE.record(second, 0, packet));
    }
    out
}

/// A frame that was read, with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u32,
    pub(super) nanos: i64,
    pub(super) interface: Option<u32>,
    pub(super) link: LinkType,
    pub(super) wire_len: u32,
    pub(super) bytes: Vec<u8>,
}

/// All that a reader says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) frames: Vec<Kept>,
    pub(super) damage: Vec<Damage>,
    pub(super) stats: FileStats,
}

/// Reads a file from a source that gives a few bytes at a time.
pub(super) fn read(file: Vec<u8>) -> Result<Whole, OpenError> {
    let mut reader = Reader::open(Box::new(Dripping::new(file, 1000)), FileId(0))?;
    let (mut frames, mut damage) = (Vec::new(), Vec::new());
    while let Some(next) = reader.next_frame() {
        match next {
            Ok(frame) => frames.push(Kept {
                number: frame.seen.at.number(),
                nanos: frame.seen.ts.nanos(),
                interface: frame.interface,
                link: frame.link,
                wire_len: frame.wire_len,
                bytes: frame.bytes.to_vec(),
            }),
            Err(what) => damage.push(what),
        }
    }
    Ok(Whole { frames, damage, stats: reader.stats().clone() })
}
