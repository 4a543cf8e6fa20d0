//! One direction of a TCP connection, put in order (RFC 9293 section 3.4).
//!
//! Segments come late, twice, overlapping, or never. What was received first counts. A hole is
//! given up when the receiver has acknowledged what the capture lacks, when it lasted too long,
//! when too much waits behind it, or when the connection ends; the framer then finds its way.

use std::collections::VecDeque;
use std::time::Duration;

use super::framer::{Framer, Piece, Stamp};
use crate::base::Timestamp;

/// What may wait behind a hole, in bytes of one direction with the cost of keeping them. Four
/// whole DNS messages of the largest size.
pub(super) const WAITING_MOST: usize = 256 * 1024;
/// How long after its acknowledgement a missing segment may still turn up: captures of several
/// queues or interfaces put packets out of order by milliseconds.
const REORDERED: Duration = Duration::from_millis(50);
/// How long a hole is waited for without an acknowledgement. Five retransmissions of TCP fit in
/// it (RFC 6298: doubled from 200 ms, as Linux does).
const PATIENCE: Duration = Duration::from_secs(7);
/// A segment further ahead belongs to another life of the connection.
const FAR: u32 = 16 << 20;
/// A segment further behind is no retransmission.
const STALE: u32 = 1 << 20;

/// The reassembly of one direction.
#[derive(Debug)]
pub(super) struct Stream {
    framer: Framer,
    /// Sequence number of the first byte of data, if it is known.
    start: Option<u32>,
    /// Whether the SYN was seen.
    opened: bool,
    /// Sequence number of the next byte for the framer.
    next: u32,
    /// Segments behind a hole, by their distance from `next`.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// How far the other side has acknowledged, and when it last got further.
    acked: Option<(u32, Timestamp)>,
    /// When the first hole was known to be the capture's fault.
    proven: Option<Timestamp>,
    /// Where the last byte for the framer was seen.
    last: Option<Stamp>,
}

#[derive(Debug)]
struct Waiting {
    seq: u32,
    bytes: Vec<u8>,
    wire_len: usize,
    stamp: Stamp,
}

impl Waiting {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

/// What is passed to a [`Stream`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) seq: u32,
    pub(super) bytes: &'a [u8],
    pub(super) wire_len: usize,
    pub(super) stamp: Stamp,
}

/// What happened besides messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Bytes that were never captured.
    pub(super) bytes: u64,
    /// A hole was given up because too much waited behind it.
    pub(super) limited: bool,
}

impl Stream {
    /// A direction of which nothing was seen.
    pub(super) fn new() -> Self {
        Self {
            framer: Framer::joined(),
            start: None,
            opened: false,
            next: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            acked: None,
            proven: None,
            last: None,
        }
    }

    /// Sequence number of the first byte, if it is known.
    pub(super) fn start(&self) -> Option<u32> {
        self.start
    }

    /// Whether its SYN was seen.
    pub(super) fn opened(&self) -> bool {
        self.opened
    }

    /// Whether everything up to `seq` was read.
    pub(super) fn reached(&self, seq: u32) -> bool {
        self.start.is_some() && self.next.wrapping_sub(seq) < STALE
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        self.framer.held() + self.waiting_bytes
    }

    /// The stream begins at `start`: its SYN was seen, or the acknowledgement of it.
    pub(super) fn open(&mut self, start: u32) {
        if self.start != Some(start) {
            *self = Self::new();
            self.framer = Framer::from_start();
            self.start = Some(start);
            self.next = start;
        }
        self.opened = true;
    }

    /// The other side acknowledges everything before `ack`.
    pub(super) fn acknowledge(&mut self, ack: u32, at: Timestamp) {
        let ahead = ack.wrapping_sub(self.next);
        if self.start.is_none() || ahead > FAR {
            return;
        }
        let known = self.acked.map(|(known, _)| known.wrapping_sub(self.next));
        if known.is_none_or(|known| known > FAR || known < ahead) {
            self.acked = Some((ack, at));
        }
    }

    /// Takes one segment's payload.
    pub(super) fn take(&mut self, chunk: Chunk<'_>, out: &mut impl FnMut(Piece<'_>)) -> Losses {
        let mut losses = Losses::default();
        if self.start.is_none() {
            self.start = Some(chunk.seq);
            self.next = chunk.seq;
        }
        let ahead = chunk.seq.wrapping_sub(self.next);
        let behind = self.next.wrapping_sub(chunk.seq);
        if ahead == 0 || behind < STALE {
            losses.bytes += self.deliver(chunk, out);
            losses.bytes += self.drain(Some(chunk.stamp), out);
        } else if ahead <= FAR {
            losses.limited = self.hold(chunk, ahead);
            if losses.limited {
                losses.bytes += self.skip_all(out);
            }
        } else {
            // Another connection of the same addresses, whose SYN was not captured.
            losses.bytes += self.end(out);
            *self = Self::new();
            self.start = Some(chunk.seq);
            self.next = chunk.seq;
            losses.bytes += self.deliver(chunk, out);
        }
        losses
    }

    /// Gives up holes that the capture will not fill any more.
    pub(super) fn review(&mut self, now: Timestamp, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let mut lost = 0;
        while let Some(first) = self.waiting.front() {
            let waited = now.since(first.stamp.seen.ts);
            let hole = first.seq.wrapping_sub(self.next);
            if let Some((ack, at)) = self.acked
                && self.proven.is_none()
                && (hole..=FAR).contains(&ack.wrapping_sub(self.next))
            {
                self.proven = Some(at);
            }
            let proven = self.proven.is_some_and(|at| now.since(at) >= REORDERED);
            if !proven && waited < PATIENCE {
                break;
            }
            lost += self.skip(out);
        }
        lost
    }

    /// Nothing more will come: reads what waits, and counts what is missing.
    pub(super) fn end(&mut self, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let mut lost = self.skip_all(out);
        if let Some((ack, _)) = self.acked {
            // One more may have been a FIN.
            let missing = ack.wrapping_sub(self.next);
            if (2..=FAR).contains(&missing) {
                lost += u64::from(missing);
                if let Some(last) = self.last {
                    self.framer.hole(to_usize(missing), last, out);
                }
            }
        }
        lost
    }

    /// Forgets everything that takes memory.
    pub(super) fn give_up(&mut self, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let lost = self.skip_all(out);
        self.framer.abandon();
        lost
    }

    /// Passes on what of `chunk` is new; it begins at `next` or before it.
    fn deliver(&mut self, chunk: Chunk<'_>, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let known = to_usize(self.next.wrapping_sub(chunk.seq));
        let Some(wire_len) = chunk.wire_len.checked_sub(known).filter(|&left| left > 0) else {
            return 0;
        };
        let bytes = chunk.bytes.get(known..).unwrap_or_default();
        let bytes = bytes.get(..wire_len).unwrap_or(bytes);
        self.framer.feed(bytes, chunk.stamp, out);
        let cut = wire_len - bytes.len();
        if cut > 0 {
            self.framer.hole(cut, chunk.stamp, out);
        }
        self.last = Some(chunk.stamp);
        self.next = self.next.wrapping_add(u32::try_from(wire_len).unwrap_or(0));
        u64::try_from(cut).unwrap_or(0)
    }

    /// Keeps a segment until the hole before it is filled; returns whether too much is kept.
    fn hold(&mut self, chunk: Chunk<'_>, ahead: u32) -> bool {
        let distance = |waiting: &Waiting| waiting.seq.wrapping_sub(self.next);
        let place = self.waiting.partition_point(|held| distance(held) <= ahead);
        let before = place.checked_sub(1).and_then(|n| self.waiting.get(n));
        let covered = before.is_some_and(|held| {
            to_usize(distance(held)) + held.wire_len >= to_usize(ahead) + chunk.wire_len
        });
        if covered {
            return false;
        }
        let held = Waiting {
            seq: chunk.seq,
            bytes: chunk.bytes.to_vec(),
            wire_len: chunk.wire_len,
            stamp: chunk.stamp,
        };
        self.waiting_bytes += held.cost();
        self.waiting.insert(place, held);
        self.waiting_bytes > WAITING_MOST
    }

    /// Reads the segments that no hole separates from `next` any more: as seen `at` the segment
    /// that filled it, or else where each was seen itself.
    fn drain(&mut self, at: Option<Stamp>, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let mut lost = 0;
        while let Some(held) = self.waiting.pop_front() {
            if self.next.wrapping_sub(held.seq) > FAR {
                self.waiting.push_front(held);
                break;
            }
            self.waiting_bytes -= held.cost();
            let chunk = Chunk {
                seq: held.seq,
                bytes: &held.bytes,
                wire_len: held.wire_len,
                stamp: at.unwrap_or(held.stamp),
            };
            lost += self.deliver(chunk, out);
            self.proven = None;
        }
        lost
    }

    /// Gives up every hole.
    fn skip_all(&mut self, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let mut lost = 0;
        while !self.waiting.is_empty() {
            lost += self.skip(out);
        }
        lost
    }

    /// Gives up the first hole.
    fn skip(&mut self, out: &mut impl FnMut(Piece<'_>)) -> u64 {
        let Some(first) = self.waiting.front() else {
            return 0;
        };
        let (seq, stamp) = (first.seq, first.stamp);
        let hole = seq.wrapping_sub(self.next);
        self.framer.hole(to_usize(hole), self.last.unwrap_or(stamp), out);
        self.next = seq;
        self.proven = None;
        u64::from(hole) + self.drain(None, out)
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
