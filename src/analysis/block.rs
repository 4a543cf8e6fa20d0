//! Frames as they leave the part that knows no order: decoded, and read where they hold a
//! message over UDP.
//!
//! Nearly every frame of a DNS capture is a datagram of its own. Only TCP, fragments and ICMP errors
//! have to wait for what came before them, so they travel on as bytes and are decoded again.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::base::Coverage;
use crate::capture::{Frame, LinkType, PointId, Seen};
use crate::flow::{CapturedMessage, Datagrams, Held, Ports};
use crate::packet::{Body, Packet, Skip, decode};

/// Bytes of a file for which a block has room for one unit. Units are about half as large, so that
/// those of one read stay in a core's L2 cache beside it.
const BYTES_A_UNIT: usize = 256;

/// Some frames of one capture point, in the order of the capture.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// What is left of each frame that carries a packet.
    pub(super) units: Vec<Unit>,
    /// The bytes of those that travel on as bytes.
    raw: Vec<u8>,
    /// The account of these frames, as far as it is settled.
    pub(super) coverage: Coverage,
    /// Frames of link types that are not read.
    pub(super) links: BTreeMap<LinkType, u64>,
    /// Bytes of the file that were read so far, compressed or not.
    pub(super) read: u64,
}

/// What is left of a frame.
#[derive(Debug)]
pub(super) enum Unit {
    /// A message over UDP.
    Message(CapturedMessage),
    /// A frame that only its predecessors explain, and where its bytes are.
    Frame(Frame<'static>, Range<usize>),
    /// Only that it came.
    Time(Seen),
}

impl Unit {
    /// The frame.
    pub(super) fn seen(&self) -> Seen {
        match self {
            Self::Message(message) => message.seen,
            Self::Frame(frame, _) => frame.seen,
            Self::Time(seen) => *seen,
        }
    }
}

impl Block {
    /// A frame that travelled on as bytes.
    pub(super) fn frame<'a>(
        raw: &'a [u8],
        frame: Frame<'static>,
        bytes: Range<usize>,
    ) -> Frame<'a> {
        Frame { bytes: raw.get(bytes).unwrap_or_default(), ..frame }
    }

    /// Its units, and the bytes that they speak of.
    pub(super) fn into_parts(self) -> (Vec<Unit>, Vec<u8>) {
        (self.units, self.raw)
    }
}

/// Makes blocks of frames; what it remembers changes no result.
pub(super) struct Decoder {
    ports: Ports,
    datagrams: Datagrams,
    block: Block,
    /// Units of one block.
    units: usize,
    /// Bytes of frames that travel on as bytes, of one block.
    raw: usize,
}

impl Decoder {
    /// One that makes blocks of about so many bytes of a file.
    pub(super) fn new(ports: Ports, bytes: usize) -> Self {
        Self {
            ports,
            datagrams: Datagrams::default(),
            block: Block::default(),
            units: (bytes / BYTES_A_UNIT).max(1),
            raw: bytes / 2,
        }
    }

    /// Takes the next frame. Each is counted exactly once, here or by whom it travels to.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, point: PointId) {
        let coverage = &mut self.block.coverage;
        coverage.frames += 1;
        coverage.cut_frames += u64::from(frame.is_cut());
        if !frame.link.carries_packets() {
            coverage.not_dns += 1;
            return;
        }
        let unit = match decode(frame, point) {
            Ok(packet) if self.needs_order(&packet) => self.keep(frame),
            Ok(packet) => self.datagram(&packet),
            Err(skip) => {
                if let Skip::LinkType(number) = skip {
                    *self.block.links.entry(LinkType(number)).or_default() += 1;
                }
                self.block.coverage.undecodable(&skip.to_string());
                Unit::Time(frame.seen)
            }
        };
        self.block.units.push(unit);
    }

    fn needs_order(&self, packet: &Packet<'_>) -> bool {
        match &packet.body {
            Body::Fragment(_) | Body::Icmp(_) => true,
            Body::Tcp(segment) => self.ports.concern(segment.src_port, segment.dst_port),
            Body::Udp(_) | Body::Other => false,
        }
    }

    fn keep(&mut self, frame: &Frame<'_>) -> Unit {
        let start = self.block.raw.len();
        self.block.raw.extend_from_slice(frame.bytes);
        Unit::Frame(Frame { bytes: &[], ..*frame }, start..self.block.raw.len())
    }

    fn datagram(&mut self, packet: &Packet<'_>) -> Unit {
        let coverage = &mut self.block.coverage;
        let (held, message) = self.datagrams.read(packet, &self.ports, coverage);
        held.count(coverage);
        message.map_or(Unit::Time(packet.seen), Unit::Message)
    }

    /// Whether the block is large enough to be handed on.
    pub(super) fn is_full(&self) -> bool {
        self.block.units.len() >= self.units || self.block.raw.len() >= self.raw
    }

    /// The block so far, of a file of which `read` bytes were read.
    pub(super) fn take(&mut self, read: u64) -> Block {
        let units = Vec::with_capacity(self.block.units.len().min(self.units));
        let mut block = std::mem::replace(&mut self.block, Block { units, ..Block::default() });
        block.read = read;
        block
    }
}

impl Held {
    /// Counts a frame that held this.
    pub(super) fn count(self, coverage: &mut Coverage) {
        match self {
            Self::Dns => coverage.dns_frames += 1,
            Self::NotDns => coverage.not_dns += 1,
            Self::Cut => coverage.undecodable(&Skip::Cut.to_string()),
        }
    }
}
