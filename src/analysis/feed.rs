//! Blocks of all capture points, made ahead by threads and handed on in one order of time.
//!
//! The files of a point follow each other; points run side by side and are merged by the
//! timestamps of their next frames. What is handed on does not depend on the number of threads:
//! a file is decoded by one of them, and files are taken in their order.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;
use std::vec::IntoIter;

use super::block::{Block, Decoder, Unit};
use super::clocks::{PointClock, Shift};
use crate::base::Coverage;
use crate::base::words::{Text, ToText};
use crate::capture::{CaptureFile, FileId, FileStats, Inventory, LinkType, PointId, Reader, Seen};
use crate::flow::Ports;

/// Blocks that a thread may be ahead: a megabyte of them.
const AHEAD: usize = 6;

/// How frames are read.
pub(super) struct Manner<'a> {
    /// Where DNS is expected.
    pub(super) ports: &'a Ports,
    /// How the clock of each point goes.
    pub(super) clocks: &'a [Option<PointClock>],
    /// What the points are called.
    pub(super) names: Vec<String>,
    /// Bytes that are read of a file at once.
    pub(super) block: usize,
}

/// What became of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    /// What was read of it.
    pub(super) stats: FileStats,
    /// What was wrong with it.
    pub(super) problems: Vec<Text>,
}

/// What takes the units in their order.
pub(super) trait Intake {
    /// The account of frames, and those of link types that are not read, before any unit of them.
    fn account(&mut self, coverage: &Coverage, links: &[(LinkType, u64)]);
    /// The next unit of all, and the block that it is of.
    fn unit(&mut self, unit: &Unit, block: &Block, point: PointId);
}

/// What comes from a producer.
enum Sent {
    Block(Box<Block>),
    /// The end of a file.
    Done(FileId, Read),
}

/// Reads files of one point one after the other, and makes blocks of them.
struct Producer<'a> {
    point: PointId,
    /// What makes its times those of the reference point.
    shift: Shift,
    files: IntoIter<&'a CaptureFile>,
    current: Option<(FileId, Reader, Vec<Text>)>,
    ended: Option<(FileId, Read)>,
    decoder: Decoder,
    block: usize,
}

impl Producer<'_> {
    fn next(&mut self) -> Option<Sent> {
        if let Some((file, read)) = self.ended.take() {
            return Some(Sent::Done(file, read));
        }
        if self.current.is_none() {
            let file = self.files.next()?;
            match file.open_in_blocks(self.block) {
                Ok(reader) => self.current = Some((file.id, reader, Vec::new())),
                Err(problem) => {
                    let problems = vec![problem.reason.to_text()];
                    return Some(Sent::Done(file.id, Read { problems, ..Read::default() }));
                }
            }
        }
        let (file, mut reader, mut problems) = self.current.take()?;
        while !self.decoder.is_full() {
            match reader.next_frame() {
                Some(Ok(mut frame)) => {
                    if !self.shift.is_none() {
                        frame.seen.ts = self.shift.apply(frame.seen.ts);
                    }
                    self.decoder.frame(frame, self.point);
                }
                Some(Err(damage)) => problems.push(damage.to_text()),
                None => {
                    let block = self.decoder.take(reader.bytes_read().get());
                    self.ended = Some((file, Read { stats: reader.stats().clone(), problems }));
                    return Some(Sent::Block(Box::new(block)));
                }
            }
        }
        let block = self.decoder.take(reader.bytes_read().get());
        self.current = Some((file, reader, problems));
        Some(Sent::Block(Box::new(block)))
    }
}

/// Where the blocks of a point come from.
enum Source<'a> {
    /// Made when they are asked for.
    Here(Box<Producer<'a>>),
    /// Made by threads, each of which takes every so many files.
    Threads { from: Vec<Worker>, files: usize, at: usize },
}

/// A thread that makes blocks.
struct Worker {
    blocks: Receiver<Sent>,
    /// Takes those that have been read, to be used again.
    spent: Sender<Box<Block>>,
}

impl Source<'_> {
    fn next(&mut self) -> Option<Sent> {
        match self {
            Self::Here(producer) => producer.next(),
            Self::Threads { from, files, at } => {
                if *at >= *files {
                    return None;
                }
                let sent = from.get(*at % from.len())?.blocks.recv().ok()?;
                *at += usize::from(matches!(sent, Sent::Done(..)));
                Some(sent)
            }
        }
    }

    /// Takes back a block that has been read.
    fn give_back(&mut self, block: Box<Block>) {
        match self {
            Self::Here(producer) => producer.decoder.reuse(*block),
            Self::Threads { from, at, .. } => {
                if let Some(worker) = from.get(*at % from.len()) {
                    // One that has come to its end needs no more.
                    let _ = worker.spent.send(block);
                }
            }
        }
    }
}

/// One point's frames.
struct Lane<'a> {
    point: PointId,
    source: Source<'a>,
    block: Box<Block>,
    /// How many of its units were handed on.
    at: usize,
    /// Bytes of the current file that were told of.
    told: u64,
}

/// Hands everything in `inventory` to `intake`; `progress` is told how many compressed bytes were
/// read since the last call. With `ahead` more threads than this one, they decode in `scope`.
/// Returns what became of every file, by its place in the inventory.
pub(super) fn feed<'scope, 'env: 'scope>(
    inventory: &'env Inventory,
    manner: &Manner<'_>,
    ahead: usize,
    scope: &'scope Scope<'scope, 'env>,
    intake: &mut impl Intake,
    progress: &mut dyn FnMut(u64),
) -> Vec<Read> {
    let mut reads = vec![Read::default(); inventory.files.len()];
    let points = inventory.points.len().max(1);
    let mut lanes: Vec<Lane<'_>> = inventory
        .points
        .iter()
        .map(|point| {
            let files: Vec<&CaptureFile> =
                inventory.files.iter().filter(|file| file.point == point.id).collect();
            let workers = ahead.div_ceil(points).min(files.len());
            Lane {
                point: point.id,
                source: source(point.id, files, manner, workers, scope),
                block: Box::default(),
                at: 0,
                told: 0,
            }
        })
        .collect();
    if let [lane] = lanes.as_mut_slice() {
        // One point needs no merging: the common case, and the fast one.
        while lane.fill(&mut reads, intake, progress) {
            for unit in &lane.block.units {
                intake.unit(unit, &lane.block, lane.point);
            }
        }
        return reads;
    }
    let mut next: Vec<Option<Seen>> =
        lanes.iter_mut().map(|lane| lane.peek(&mut reads, intake, progress)).collect();
    let earliest = |next: &[Option<Seen>]| {
        next.iter().enumerate().filter_map(|(at, seen)| Some(((*seen)?, at))).min()
    };
    while let Some((_, at)) = earliest(&next) {
        let Some(lane) = lanes.get_mut(at) else { break };
        if let Some(unit) = lane.block.units.get(lane.at) {
            intake.unit(unit, &lane.block, lane.point);
            lane.at += 1;
        }
        let seen = lane.peek(&mut reads, intake, progress);
        if let Some(place) = next.get_mut(at) {
            *place = seen;
        }
    }
    reads
}

fn source<'scope, 'env: 'scope>(
    point: PointId,
    files: Vec<&'env CaptureFile>,
    manner: &Manner<'_>,
    workers: usize,
    scope: &'scope Scope<'scope, 'env>,
) -> Source<'env> {
    let producer = |files: Vec<&'env CaptureFile>| Producer {
        point,
        shift: manner
            .clocks
            .get(usize::from(point.0))
            .cloned()
            .flatten()
            .map_or_else(Shift::default, |clock| clock.shift),
        files: files.into_iter(),
        current: None,
        ended: None,
        decoder: Decoder::new(manner.ports.clone(), manner.block),
        block: manner.block,
    };
    if workers == 0 {
        return Source::Here(Box::new(producer(files)));
    }
    let share = |nth: usize| files.iter().copied().skip(nth).step_by(workers).collect();
    let spawn = |nth: usize| {
        let (to, blocks) = sync_channel(AHEAD);
        let (spent, back) = channel();
        let mut producer = producer(share(nth));
        scope.spawn(move || work(&mut producer, &to, &back));
        Worker { blocks, spent }
    };
    Source::Threads { from: (0..workers).map(spawn).collect(), files: files.len(), at: 0 }
}

fn work(producer: &mut Producer<'_>, to: &SyncSender<Sent>, back: &Receiver<Box<Block>>) {
    while let Some(sent) = producer.next() {
        if to.send(sent).is_err() {
            // Nobody listens any more.
            return;
        }
        if let Ok(block) = back.try_recv() {
            producer.decoder.reuse(*block);
        }
    }
}

impl Lane<'_> {
    /// Takes the next block that holds a unit; false at the end of the last file.
    fn fill(
        &mut self,
        reads: &mut [Read],
        intake: &mut impl Intake,
        progress: &mut dyn FnMut(u64),
    ) -> bool {
        while let Some(sent) = self.source.next() {
            match sent {
                Sent::Block(block) => {
                    let links: Vec<_> = block.links.iter().map(|(&l, &n)| (l, n)).collect();
                    intake.account(&block.coverage, &links);
                    progress(block.read.saturating_sub(self.told));
                    self.told = block.read;
                    self.source.give_back(std::mem::replace(&mut self.block, block));
                    self.at = 0;
                    if !self.block.units.is_empty() {
                        return true;
                    }
                }
                Sent::Done(file, read) => {
                    self.told = 0;
                    if let Some(place) = reads.get_mut(file.0 as usize) {
                        *place = read;
                    }
                }
            }
        }
        false
    }

    /// The frame that is next.
    fn peek(
        &mut self,
        reads: &mut [Read],
        intake: &mut impl Intake,
        progress: &mut dyn FnMut(u64),
    ) -> Option<Seen> {
        if self.at >= self.block.units.len() && !self.fill(reads, intake, progress) {
            return None;
        }
        self.block.units.get(self.at).map(Unit::seen)
    }
}
