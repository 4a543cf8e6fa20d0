//! The pieces of one IP datagram, sorted and without overlap.

use std::collections::BTreeMap;

use super::Fragment;

/// The longest payload that an IP datagram can have.
pub(super) const MAX_DATAGRAM: usize = 65_535;
/// What a piece costs besides its bytes, about.
const PIECE_COST: usize = 64;

/// What was captured of one datagram's payload. Where fragments overlap, the first wins.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// By offset; they never overlap and none is empty on the wire.
    by_offset: BTreeMap<usize, Piece>,
    /// Bytes on the wire of all pieces.
    covered: usize,
    /// Bytes in memory of all pieces.
    held: usize,
    /// Length of the whole payload, once the last fragment was seen.
    total: Option<usize>,
}

/// A stretch of the payload, of which the end may not have been captured.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    wire: usize,
}

impl Pieces {
    /// Fills the holes that the fragment covers. Returns false for one that lies beyond the end
    /// of its datagram, or of any.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>) -> bool {
        let end = fragment.offset.saturating_add(fragment.wire_len);
        if end > self.total.unwrap_or(MAX_DATAGRAM) {
            return false;
        }
        if !fragment.more && self.total.is_none() {
            self.total = Some(end);
        }
        let before = self.by_offset.range(..=fragment.offset).next_back();
        let mut at = before
            .map_or(fragment.offset, |(&start, piece)| fragment.offset.max(start + piece.wire));
        while at < end {
            let next = self.by_offset.range(at..).next();
            let next = next.map(|(&start, piece)| (start, start + piece.wire));
            let stop = next.map_or(end, |(start, _)| start.min(end));
            if at < stop {
                let from = at - fragment.offset;
                let to = (stop - fragment.offset).min(fragment.payload.len());
                let bytes = fragment.payload.get(from..to).unwrap_or_default().to_vec();
                let wire = stop - at;
                self.covered += wire;
                self.held += bytes.len();
                self.by_offset.insert(at, Piece { bytes, wire });
            }
            at = next.map_or(end, |(_, stop)| stop);
        }
        true
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    /// Whether the first byte was captured.
    pub(super) fn has_start(&self) -> bool {
        let first = self.by_offset.get(&0);
        first.is_some_and(|piece| !piece.bytes.is_empty())
    }

    /// Whether every byte from the first to the last was on the wire.
    pub(super) fn is_whole(&self) -> bool {
        // Only a datagram with enough bytes is worth the walk.
        let enough = |total| total > 0 && self.covered >= total && self.reach() >= total;
        self.total.is_some_and(enough)
    }

    /// What they cost in memory, about.
    pub(super) fn cost(&self) -> usize {
        self.by_offset.len() * PIECE_COST + self.held
    }

    /// Length of the payload on the wire, as far as it is known.
    pub(super) fn wire_len(&self) -> usize {
        let last = self.by_offset.last_key_value();
        let extent = last.map_or(0, |(start, piece)| start + piece.wire);
        self.total.unwrap_or(extent)
    }

    /// The payload up to the first byte that was not captured.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.held);
        for (&start, piece) in &self.by_offset {
            if start != payload.len() {
                break;
            }
            payload.extend_from_slice(&piece.bytes);
        }
        payload
    }

    /// How far they reach from the start without a hole.
    fn reach(&self) -> usize {
        let mut reach = 0;
        for (&start, piece) in &self.by_offset {
            if start > reach {
                break;
            }
            reach = start + piece.wire;
        }
        reach
    }
}
