//! Frames of all capture points in one order of time.
//!
//! The files of a point follow each other; points run side by side and are merged by the
//! timestamps of their next frames.

use std::collections::VecDeque;

use crate::base::Timestamp;
use crate::capture::{CaptureFile, Damage, FileId, FileStats, Frame, Inventory, PointId, Reader};

/// What became of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    /// What was read of it.
    pub(super) stats: FileStats,
    /// What was wrong with it.
    pub(super) problems: Vec<String>,
}

/// The files of one point, one after the other.
struct Lane<'a> {
    point: PointId,
    waiting: VecDeque<&'a CaptureFile>,
    reader: Option<(FileId, Reader)>,
    /// Timestamp of the frame that is next, once it is known.
    peeked: Option<Timestamp>,
}

/// Hands every frame of `inventory` to `each`, in the order of time over all points; `each` is
/// also told how many compressed bytes were read since the last call. Returns what became of
/// every file, by its place in the inventory.
pub(super) fn frames(
    inventory: &Inventory,
    mut each: impl FnMut(&Frame<'_>, PointId),
    mut progress: impl FnMut(u64),
) -> Vec<Read> {
    let mut reads = vec![Read::default(); inventory.files.len()];
    let mut lanes: Vec<Lane<'_>> = inventory
        .points
        .iter()
        .map(|point| Lane {
            point: point.id,
            waiting: inventory.files.iter().filter(|file| file.point == point.id).collect(),
            reader: None,
            peeked: None,
        })
        .collect();
    let mut told = Told::default();
    if let [lane] = lanes.as_mut_slice() {
        // One point needs no merging: the common case, and the fast one.
        while lane.open(&mut reads) {
            lane.drain(&mut reads, &mut each, &mut told, &mut progress);
        }
        return reads;
    }
    merge(&mut lanes, &mut reads, &mut each, &mut told, &mut progress);
    reads
}

/// Progress is told every so many frames.
#[derive(Default)]
struct Told {
    frames: u64,
    bytes: u64,
}

impl Told {
    const EVERY: u64 = 16_384;

    fn frame(&mut self, reader: &Reader, progress: &mut impl FnMut(u64)) {
        self.frames += 1;
        if self.frames.is_multiple_of(Self::EVERY) {
            let bytes = reader.bytes_read().get();
            progress(bytes.saturating_sub(self.bytes));
            self.bytes = bytes;
        }
    }

    fn file_done(&mut self, reader: &Reader, progress: &mut impl FnMut(u64)) {
        progress(reader.bytes_read().get().saturating_sub(self.bytes));
        self.bytes = 0;
    }
}

impl Lane<'_> {
    /// Opens the next file that can be opened; false when there is none left.
    fn open(&mut self, reads: &mut [Read]) -> bool {
        while self.reader.is_none() {
            let Some(file) = self.waiting.pop_front() else { return false };
            match file.open() {
                Ok(reader) => self.reader = Some((file.id, reader)),
                Err(problem) => {
                    if let Some(read) = reads.get_mut(file.id.0 as usize) {
                        read.problems.push(problem.reason.to_string());
                    }
                }
            }
        }
        true
    }

    fn drain(
        &mut self,
        reads: &mut [Read],
        each: &mut impl FnMut(&Frame<'_>, PointId),
        told: &mut Told,
        progress: &mut impl FnMut(u64),
    ) {
        let Some((id, mut reader)) = self.reader.take() else { return };
        let Some(read) = reads.get_mut(id.0 as usize) else { return };
        while let Some(frame) = reader.next_frame() {
            match frame {
                Ok(frame) => each(&frame, self.point),
                Err(damage) => read.problems.push(damage.to_string()),
            }
            told.frame(&reader, progress);
        }
        told.file_done(&reader, progress);
        read.stats = reader.stats().clone();
    }
}

/// A frame that had to be copied to be compared with those of other points.
struct Copied {
    frame: Frame<'static>,
    bytes: Vec<u8>,
}

fn merge(
    lanes: &mut [Lane<'_>],
    reads: &mut [Read],
    each: &mut impl FnMut(&Frame<'_>, PointId),
    told: &mut Told,
    progress: &mut impl FnMut(u64),
) {
    let mut next: Vec<Option<Copied>> = lanes.iter_mut().map(|lane| lane.copy(reads)).collect();
    loop {
        let earliest = next
            .iter()
            .enumerate()
            .filter_map(|(lane, copied)| Some((copied.as_ref()?.frame.seen, lane)))
            .min();
        let Some((_, lane)) = earliest else { return };
        if let Some(copied) = next[lane].take() {
            let frame = Frame { bytes: &copied.bytes, ..copied.frame };
            each(&frame, lanes[lane].point);
        }
        next[lane] = lanes[lane].copy(reads);
        if let Some((_, reader)) = &lanes[lane].reader {
            told.frames += 1;
            if told.frames.is_multiple_of(Told::EVERY) {
                progress(reader.bytes_read().get());
            }
        }
    }
}

impl Lane<'_> {
    fn copy(&mut self, reads: &mut [Read]) -> Option<Copied> {
        loop {
            if !self.open(reads) {
                return None;
            }
            let (id, reader) = self.reader.as_mut()?;
            let read = reads.get_mut(id.0 as usize)?;
            match reader.next_frame() {
                Some(Ok(frame)) => {
                    let bytes = frame.bytes.to_vec();
                    return Some(Copied { frame: Frame { bytes: &[], ..frame }, bytes });
                }
                Some(Err(Damage::CutShort { after })) => {
                    read.problems.push(Damage::CutShort { after }.to_string());
                }
                Some(Err(damage)) => read.problems.push(damage.to_string()),
                None => {
                    read.stats = reader.stats().clone();
                    self.reader = None;
                    self.peeked = None;
                }
            }
        }
    }
}
