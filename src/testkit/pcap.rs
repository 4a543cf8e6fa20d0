//! Capture files: classic pcap and pcapng, plain or compressed, whole or in a ring.

use std::io::Write as _;

use super::scenario::{MadeFrame, Scenario};
use crate::base::Timestamp;
use crate::capture::LinkType;

/// How a scenario is written.
#[derive(Debug, Clone, Default)]
pub struct PcapOptions {
    /// Classic pcap or pcapng.
    pub format: Format,
    /// Another link type than the scenario's own.
    pub link: Option<LinkType>,
    /// Big-endian headers.
    pub big_endian: bool,
    /// Timestamps of nanoseconds instead of microseconds.
    pub nanoseconds: bool,
    /// At most this many bytes of each frame are captured.
    pub snap_length: Option<u32>,
    /// What each file is compressed with.
    pub compression: Compression,
    /// A new file begins after so many frames, besides those that the scenario asks for.
    pub frames_per_file: Option<usize>,
}

/// A capture file format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap, as `tcpdump -w` writes it.
    #[default]
    Pcap,
    /// pcapng, as Wireshark writes it.
    PcapNg,
}

/// A compression format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// xz.
    Xz,
}

const SNAP_LENGTH: u32 = 262_144;

impl Scenario {
    /// The capture files, in order; one without frames if nothing was captured.
    pub fn write_pcap(&self, options: &PcapOptions) -> Vec<Vec<u8>> {
        let link = options.link.unwrap_or(self.link());
        let mut frames = self.frames_as(link, options.big_endian);
        for frame in &mut frames {
            let limit = options.snap_length.unwrap_or(SNAP_LENGTH);
            frame.bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let files = frames.chunk_by(|one, next| one.file == next.file);
        let limit = options.frames_per_file.unwrap_or(usize::MAX).max(1);
        let mut files: Vec<&[MadeFrame]> = files.flat_map(|file| file.chunks(limit)).collect();
        if files.is_empty() {
            files.push(&[]);
        }
        let written = files.into_iter().map(|file| write_file(file, link, options));
        written.map(|file| compress(file, options.compression)).collect()
    }
}

fn write_file(frames: &[MadeFrame], link: LinkType, options: &PcapOptions) -> Vec<u8> {
    let mut out = Writer { bytes: Vec::new(), big_endian: options.big_endian };
    let snap_length = options.snap_length.unwrap_or(SNAP_LENGTH);
    match options.format {
        Format::Pcap => {
            out.u32(if options.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
            out.u16(2);
            out.u16(4);
            out.u32(0);
            out.u32(0);
            out.u32(snap_length);
            out.u32(u32::from(link.0));
            for frame in frames {
                out.record(frame, options.nanoseconds);
            }
        }
        Format::PcapNg => {
            out.section();
            out.interface(link, snap_length, options.nanoseconds);
            for frame in frames {
                out.packet(frame, options.nanoseconds);
            }
        }
    }
    out.bytes
}

struct Writer {
    bytes: Vec<u8>,
    big_endian: bool,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
    }

    fn u32(&mut self, value: u32) {
        let bytes = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
    }

    /// A classic record.
    fn record(&mut self, frame: &MadeFrame, nanoseconds: bool) {
        let ticks = ticks(frame.ts, nanoseconds);
        let a_second = if nanoseconds { 1_000_000_000 } else { 1_000_000 };
        self.u32(low(ticks / a_second));
        self.u32(low(ticks % a_second));
        self.u32(length(&frame.bytes));
        self.u32(frame.orig_len);
        self.bytes.extend(&frame.bytes);
    }

    /// A Section Header Block (draft-ietf-opsawg-pcapng, section 4.1).
    fn section(&mut self) {
        self.u32(0x0a0d_0d0a);
        self.u32(28);
        self.u32(0x1a2b_3c4d);
        self.u16(1);
        self.u16(0);
        self.u32(u32::MAX);
        self.u32(u32::MAX);
        self.u32(28);
    }

    /// An Interface Description Block with `if_tsresol` (section 4.2).
    fn interface(&mut self, link: LinkType, snap_length: u32, nanoseconds: bool) {
        self.u32(1);
        self.u32(32);
        self.u16(link.0);
        self.u16(0);
        self.u32(snap_length);
        self.u16(9);
        self.u16(1);
        self.bytes.extend([if nanoseconds { 9 } else { 6 }, 0, 0, 0]);
        self.u32(0);
        self.u32(32);
    }

    /// An Enhanced Packet Block (section 4.3).
    fn packet(&mut self, frame: &MadeFrame, nanoseconds: bool) {
        let ticks = ticks(frame.ts, nanoseconds);
        let padded = frame.bytes.len().next_multiple_of(4);
        let total = u32::try_from(32 + padded).expect("a frame of less than 4 GB");
        self.u32(6);
        self.u32(total);
        self.u32(0);
        self.u32(low(ticks >> 32));
        self.u32(low(ticks));
        self.u32(length(&frame.bytes));
        self.u32(frame.orig_len);
        self.bytes.extend(&frame.bytes);
        let padding = padded - frame.bytes.len();
        self.bytes.extend(std::iter::repeat_n(0, padding));
        self.u32(total);
    }
}

fn ticks(ts: Timestamp, nanoseconds: bool) -> u64 {
    let nanos = u64::try_from(ts.nanos()).unwrap_or(0);
    if nanoseconds { nanos } else { nanos / 1000 }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a frame of less than 4 GB")
}

fn compress(file: Vec<u8>, compression: Compression) -> Vec<u8> {
    let whole = "compressing into memory does not fail";
    match compression {
        Compression::None => file,
        Compression::Gzip => {
            let level = flate2::Compression::default();
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(&file).expect(whole);
            out.finish().expect(whole)
        }
        Compression::Zstd => zstd::encode_all(file.as_slice(), 0).expect(whole),
        Compression::Xz => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 6);
            out.write_all(&file).expect(whole);
            out.finish().expect(whole)
        }
    }
}
