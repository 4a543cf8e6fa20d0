//! Frames as they leave the part that knows no order: decoded, and read where they hold a
//! message over UDP.
//!
//! Nearly every frame of a DNS capture is a datagram of its own. Only TCP, fragments and ICMP errors
//! have to wait for what came before them, so they travel on as packets.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::base::Coverage;
use crate::capture::{Frame, LinkType, PointId, Seen};
use crate::dns::Message;
use crate::flow::{Datagrams, Held, Observed, Ports};
use crate::packet::{Body, Datagram, Packet, Skip, datagram, decode};

/// Bytes of a file for which a block has room for one unit. Units are about half as large, so that
/// those of one read stay in a core's L2 cache beside it.
const BYTES_A_UNIT: usize = 256;

/// Some frames of one capture point, in the order of the capture.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// What is left of each frame that carries a packet.
    pub(super) units: Vec<Unit>,
    /// The messages over UDP, each of which may have been seen several times.
    messages: Vec<Message>,
    /// The packets that only their predecessors explain, and where their payload is.
    packets: Vec<(Packet<'static>, Range<usize>)>,
    /// The payload of those.
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
    /// A message over UDP, by its place in the block.
    Message(Observed, usize),
    /// A packet that only its predecessors explain, by its place in the block.
    Packet(Seen, usize),
    /// Only that it came.
    Time(Seen),
}

impl Unit {
    /// The frame.
    #[inline]
    pub(super) fn seen(&self) -> Seen {
        match self {
            Self::Message(observed, _) => observed.seen,
            Self::Packet(seen, _) | Self::Time(seen) => *seen,
        }
    }
}

impl Block {
    /// The same without anything in it, for the room that it has.
    fn emptied(mut self) -> Self {
        self.units.clear();
        self.messages.clear();
        self.packets.clear();
        self.raw.clear();
        let Self { units, messages, packets, raw, .. } = self;
        Self { units, messages, packets, raw, ..Self::default() }
    }

    /// The message that a unit speaks of.
    #[inline]
    pub(super) fn message(&self, place: usize) -> Option<&Message> {
        self.messages.get(place)
    }

    /// The packet that a unit speaks of.
    pub(super) fn packet(&self, place: usize) -> Option<Packet<'_>> {
        let (packet, payload) = self.packets.get(place)?;
        Some(packet.with_payload(self.raw.get(payload.clone())?))
    }
}

/// Makes blocks of frames; what it remembers changes no result.
pub(super) struct Decoder {
    ports: Ports,
    datagrams: Datagrams,
    block: Block,
    /// The room for the next block, where there is some.
    spare: Option<Block>,
    /// Units of one block.
    units: usize,
    /// Bytes of payload that travel on as bytes, of one block.
    raw: usize,
}

impl Decoder {
    /// One that makes blocks of about so many bytes of a file.
    pub(super) fn new(ports: Ports, bytes: usize) -> Self {
        Self {
            ports,
            datagrams: Datagrams::default(),
            block: Block::default(),
            spare: None,
            units: (bytes / BYTES_A_UNIT).max(1),
            raw: bytes / 2,
        }
    }

    /// Takes the next frame. Each is counted exactly once, here or by whom it travels to.
    #[expect(clippy::inline_always, reason = "what a frame shows is then passed on in registers")]
    #[inline(always)]
    pub(super) fn frame(&mut self, frame: Frame<'_>, point: PointId) {
        let coverage = &mut self.block.coverage;
        coverage.frames += 1;
        coverage.cut_frames += u64::from(frame.is_cut());
        if let Some((via, tuple, datagram)) = datagram(&frame, point) {
            self.datagram(Observed { seen: frame.seen, via, tuple }, &datagram);
        } else if frame.link.carries_packets() {
            self.unusual(frame, point);
        } else {
            coverage.not_dns += 1;
        }
    }

    /// A frame that is no plain datagram.
    #[inline(never)]
    fn unusual(&mut self, frame: Frame<'_>, point: PointId) {
        match decode(&frame, point) {
            Ok(packet) if self.needs_order(&packet) => self.keep(&packet),
            Ok(packet) => {
                if let (Body::Udp(datagram), Some(tuple)) = (packet.body, packet.tuple()) {
                    let Packet { seen, via, .. } = packet;
                    self.datagram(Observed { seen, via, tuple }, &datagram);
                } else {
                    self.block.coverage.not_dns += 1;
                    self.block.units.push(Unit::Time(packet.seen));
                }
            }
            Err(skip) => {
                if let Skip::LinkType(number) = skip {
                    *self.block.links.entry(LinkType(number)).or_default() += 1;
                }
                self.block.coverage.undecodable(&skip.to_string());
                self.block.units.push(Unit::Time(frame.seen));
            }
        }
    }

    fn needs_order(&self, packet: &Packet<'_>) -> bool {
        match &packet.body {
            Body::Fragment(_) | Body::Icmp(_) => true,
            Body::Tcp(segment) => self.ports.concern(segment.src_port, segment.dst_port),
            Body::Udp(_) | Body::Other => false,
        }
    }

    fn keep(&mut self, packet: &Packet<'_>) {
        let start = self.block.raw.len();
        self.block.raw.extend_from_slice(packet.payload());
        self.block.units.push(Unit::Packet(packet.seen, self.block.packets.len()));
        self.block.packets.push((packet.with_payload(&[]), start..self.block.raw.len()));
    }

    #[expect(clippy::inline_always, reason = "an observation is then written to its place at once")]
    #[inline(always)]
    fn datagram(&mut self, observed: Observed, datagram: &Datagram<'_>) {
        let Block { coverage, units, .. } = &mut self.block;
        match self.datagrams.read(datagram, &self.ports, coverage) {
            Ok(place) => {
                coverage.dns_frames += 1;
                units.push(Unit::Message(observed, place));
            }
            Err(held) => {
                held.count(coverage);
                units.push(Unit::Time(observed.seen));
            }
        }
    }

    /// Whether the block is large enough to be handed on.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.block.units.len() >= self.units || self.block.raw.len() >= self.raw
    }

    /// The block so far, of a file of which `read` bytes were read.
    pub(super) fn take(&mut self, read: u64) -> Block {
        let next = self.spare.take().unwrap_or_default();
        let mut block = std::mem::replace(&mut self.block, next);
        let room = std::mem::take(&mut self.block.messages);
        block.messages = self.datagrams.take(room, &mut block.coverage);
        block.read = read;
        block
    }

    /// Takes a block that has been read. What one needs the next needs too, so that after a few of
    /// them nothing has to be allocated.
    pub(super) fn reuse(&mut self, block: Block) {
        self.spare = Some(block.emptied());
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
