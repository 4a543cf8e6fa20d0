//! From an inventory of captures to an analysis.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::block::Decoder;
use super::clocks::{Clocks, compare};
use super::days::{date_findings, date_health};
use super::engine::{Engine, Item, Next, Read as Engined};
use super::feed::{Intake, Manner, Read, feed};
use super::focus::Focus;
use super::group::{Group, show_all};
use super::health::{Facts, judge};
use super::mask::Mask;
use super::outcome::{Analysis, FileAccount, PointAccount};
use super::tail::{Known, Results, Rules, Sinks, Tail};
use super::verdict::Verdict;
use crate::base::words::{Text, ToText, count, join, plain, text};
use crate::base::{Coverage, Nodes, Span};
use crate::capture::{Frame, Inventory, LinkType, PointId, Reader};
use crate::detect::{Detector, HarmKind, Ledger};
use crate::flow::Ports;
use crate::incident::correlate;
use crate::transaction::Nat;

/// Items that are handed to another thread at once.
const BATCH: usize = 256;
/// Batches that the matcher may be ahead of the tallies, and groups that those may be ahead of the rules:
/// with fewer, stages that share few cores wait for each other.
const AHEAD: usize = 16;

/// What may be set.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// DNS ports beside 53.
    pub ports: Vec<u16>,
    /// Threads to work with; as many as there are cores where nothing is said. The result does not
    /// depend on it.
    pub threads: Option<NonZero<usize>>,
    /// Bytes that are read of a file at once; [`Reader::BLOCK`] where nothing is said. The result
    /// does not depend on it.
    pub block: Option<NonZero<usize>>,
    /// Which node each client lives on, where that is known.
    pub nodes: Nodes,
    /// What to look at.
    pub focus: Focus,
    /// How addresses and names are masked, if they are.
    pub mask: Option<Mask>,
}

/// Told how many bytes of input were read since the last call.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// Analyses everything in `inventory`.
pub fn run(
    inventory: &Inventory,
    options: &Options,
    sinks: Sinks<'_>,
    progress: Progress<'_>,
) -> Analysis {
    let ports = Ports::new(options.ports.iter().copied());
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = options.threads.map_or_else(cores, NonZero::get);
    let clocks = compare(inventory, &ports, threads);
    let names = names(inventory, options.mask.is_some());
    let block = options.block.map_or(Reader::BLOCK, NonZero::get);
    let manner = Manner { ports: &ports, clocks: &clocks.points, names, block };
    let (reads, ended) = if threads == 1 {
        let known = known(options, &manner.names);
        let tail = Tail::new(sinks, options.focus.clone(), known, Rules::Here(Rules::all()));
        let mut engine = Engine::new(ports.clone(), options.mask.clone(), tail);
        let reads =
            std::thread::scope(|scope| feed(inventory, &manner, 0, scope, &mut engine, progress));
        (reads, Ended::alone(engine.finish()))
    } else {
        side_by_side(inventory, options, &manner, threads, sinks, progress)
    };
    let mut inputs = Inputs {
        files: files(inventory, &reads),
        points: points(inventory, &reads, &clocks),
        duplicates: inventory.problems.iter().filter(|input| input.reason.is_duplicate()).count(),
    };
    if options.mask.is_some() {
        inputs.hide_paths();
    }
    let mut analysis = conclude(ended, inputs);
    let problems = inventory.problems.iter();
    analysis.masked = options.mask.is_some();
    let left_out: Vec<Text> = if analysis.masked {
        problems.map(|input| unnamed(input.reason.is_duplicate())).collect()
    } else {
        problems.map(ToText::to_text).collect()
    };
    analysis.left_out.splice(0..0, left_out);
    analysis
}

/// Frames are decoded by threads ahead, transactions matched on this one, put together to lookups and
/// tallied on another, and shown to the rules on one more: as many threads as stages, of which some
/// wait for others, so that the cores that there are stay busy.
fn side_by_side(
    inventory: &Inventory,
    options: &Options,
    manner: &Manner<'_>,
    threads: usize,
    sinks: Sinks<'_>,
    progress: Progress<'_>,
) -> (Vec<Read>, Ended) {
    std::thread::scope(|scope| {
        let (to, from) = sync_channel::<Vec<Item>>(AHEAD);
        let (to_rules, groups) = sync_channel::<Group>(AHEAD);
        let judge = scope.spawn(move || {
            let mut rules = Rules::all();
            while let Ok(group) = groups.recv() {
                show_all(&group, &mut rules);
            }
            rules
        });
        let tally = scope.spawn(move || {
            let known = known(options, &manner.names);
            let rules = Rules::There(to_rules);
            let mut tail = Tail::new(sinks, options.focus.clone(), known, rules);
            while let Ok(batch) = from.recv() {
                for item in batch {
                    tail.item(item);
                }
            }
            tail.end();
            tail
        });
        let batch = Batch { items: Vec::new(), to };
        let mut engine = Engine::new(manner.ports.clone(), options.mask.clone(), batch);
        let reads = feed(inventory, manner, threads - 1, scope, &mut engine, progress);
        let mut read = engine.finish();
        read.next.flush();
        drop(read.next);
        let tail = tally.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let rules = judge.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let Engined { coverage, nat, links, span, .. } = read;
        (reads, Ended::new(Engined { coverage, nat, links, span, next: tail }, rules, threads))
    })
}

/// Gathers items for another thread.
struct Batch {
    items: Vec<Item>,
    to: SyncSender<Vec<Item>>,
}

impl Batch {
    fn flush(&mut self) {
        // Without a receiver there was a panic, which joining will show.
        let _ = self.to.send(std::mem::take(&mut self.items));
    }
}

impl Next for Batch {
    fn item(&mut self, item: Item) {
        if self.items.capacity() == 0 {
            self.items.reserve_exact(BATCH);
        }
        self.items.push(item);
        if self.items.len() >= BATCH {
            self.flush();
        }
    }
}

/// What is left when all frames were read.
struct Ended {
    coverage: Coverage,
    nat: Nat,
    links: BTreeMap<LinkType, u64>,
    span: Option<Span>,
    results: Results,
}

impl Ended {
    /// What is left by an engine whose rules are on its own thread.
    fn alone(mut read: Engined<Tail<'_>>) -> Self {
        let rules = read.next.end();
        Self::new(read, rules, 1)
    }

    fn new(read: Engined<Tail<'_>>, rules: Vec<Box<dyn Detector>>, threads: usize) -> Self {
        let Engined { mut coverage, nat, links, span, next } = read;
        let results = next.finish(rules, span, &nat, &mut coverage, threads);
        Self { coverage, nat, links, span, results }
    }
}

/// What was read, as far as there were files.
#[derive(Default)]
struct Inputs {
    files: Vec<FileAccount>,
    points: Vec<PointAccount>,
    duplicates: usize,
}

impl Inputs {
    /// Paths and points name nodes and people: a masked analysis has numbers for them.
    fn hide_paths(&mut self) {
        for (index, file) in self.files.iter_mut().enumerate() {
            file.path = format!("file-{}", index + 1);
            let point = self.points.iter().position(|point| point.name == file.point);
            file.point = format!("point-{}", point.map_or(0, |point| point + 1));
        }
        for (index, point) in self.points.iter_mut().enumerate() {
            point.name = format!("point-{}", index + 1);
        }
    }
}

/// What is known before the first frame.
fn known(options: &Options, points: &[String]) -> Known {
    Known { nodes: options.nodes.clone(), points: points.to_vec() }
}

/// The names of the capture points, as far as they may be told.
fn names(inventory: &Inventory, masked: bool) -> Vec<String> {
    let name = |(index, point): (usize, &crate::capture::Point)| {
        if masked { format!("point-{}", index + 1) } else { point.name.clone() }
    };
    inventory.points.iter().enumerate().map(name).collect()
}

/// What is said of an input that was left out, where its path must not be.
fn unnamed(duplicate: bool) -> Text {
    if duplicate {
        text!("an input was left out: it was named more than once")
    } else {
        text!("an input was left out: it could not be read")
    }
}

/// Analyses frames that lie in memory, as one capture point without files.
pub fn run_frames<'f>(
    frames: impl IntoIterator<Item = Frame<'f>>,
    options: &Options,
    sinks: Sinks<'_>,
) -> Analysis {
    run_frames_by(Rules::all(), frames, options, sinks)
}

/// The same by these rules.
fn run_frames_by<'f>(
    rules: Vec<Box<dyn Detector>>,
    frames: impl IntoIterator<Item = Frame<'f>>,
    options: &Options,
    sinks: Sinks<'_>,
) -> Analysis {
    let ports = Ports::new(options.ports.iter().copied());
    let mut decoder = Decoder::new(ports.clone(), Reader::BLOCK);
    let rules = Rules::Here(rules);
    let tail = Tail::new(sinks, options.focus.clone(), known(options, &[]), rules);
    let mut engine = Engine::new(ports, options.mask.clone(), tail);
    let mut pass_on = |decoder: &mut Decoder| {
        let block = decoder.take(0);
        let links: Vec<_> = block.links.iter().map(|(&link, &n)| (link, n)).collect();
        engine.account(&block.coverage, &links);
        for unit in &block.units {
            engine.unit(unit, &block, PointId(0));
        }
    };
    for frame in frames {
        decoder.frame(frame, PointId(0));
        if decoder.is_full() {
            pass_on(&mut decoder);
        }
    }
    pass_on(&mut decoder);
    conclude(Ended::alone(engine.finish()), Inputs::default())
}

fn conclude(ended: Ended, inputs: Inputs) -> Analysis {
    let Ended { coverage, nat, links, span, results } = ended;
    let Results { mut traffic, series, profiles, mut ledger, mut findings, watch, .. } = results;
    let Results { directions, sided, loss, outside, roles, reachability, .. } = results;
    let Inputs { files, mut points, duplicates } = inputs;
    for (point, role) in points.iter_mut().zip(roles) {
        point.role = Some(role);
    }
    let mut population = traffic.population();
    population.span = span;
    // Silence of a direction that was not recorded, and waits that only the clock made, are
    // nobody's failure.
    if sided.lacks_responses() {
        ledger = Ledger::default();
    }
    ledger.retain(|harmed, steps| {
        let clock_made =
            harmed.kind != HarmKind::Failed && watch.crosses(harmed.start.ts, harmed.end);
        !clock_made && !sided.excuses(harmed, steps)
    });
    traffic.excuse(&sided, loss);
    date_findings(span, &mut findings);
    let (incidents, residual) = correlate(findings, &ledger, &population);
    let mut verdict = Verdict::of(&incidents, &residual, &traffic, &coverage.messages);
    if outside.transactions > 0 && traffic.transactions == 0 {
        verdict.headline = text!(
            "nothing in this capture fits: {focus}",
            focus = join(outside.focus.iter().cloned(), "; ")
        );
    }
    let mut health = judge(&Facts {
        span,
        watch: &watch,
        directions: &directions,
        sided: &sided,
        loss,
        coverage: &coverage,
        traffic: &traffic,
        files: &files,
        points: &points,
        duplicates,
    });
    date_health(span, &mut health);
    Analysis {
        files,
        left_out: links.iter().map(|(link, frames)| unread(*link, *frames)).collect(),
        outside,
        masked: false,
        points,
        span,
        coverage,
        health,
        traffic,
        profiles,
        series,
        verdict,
        incidents,
        residual,
        nat,
        reachability,
    }
}

/// What is said aloud of a link type that is not read.
fn unread(link: LinkType, frames: u64) -> Text {
    let (name, number, frames) = (plain(link), link.0, count(frames, "frame"));
    text!("link type {name} ({number}) is not read: {frames} left out", name, number, frames)
}

fn files(inventory: &Inventory, reads: &[Read]) -> Vec<FileAccount> {
    inventory
        .files
        .iter()
        .zip(reads)
        .map(|(file, read)| FileAccount {
            path: file.display.clone(),
            format: file.format.to_string(),
            point: inventory
                .points
                .get(usize::from(file.point.0))
                .map_or_else(String::new, |point| point.name.clone()),
            bytes: file.size,
            stats: read.stats.clone(),
            problems: read.problems.clone(),
        })
        .collect()
}

fn points(inventory: &Inventory, reads: &[Read], clocks: &Clocks) -> Vec<PointAccount> {
    inventory
        .points
        .iter()
        .map(|point| {
            let files: Vec<usize> = point.files.iter().map(|file| file.0 as usize).collect();
            let span = files
                .iter()
                .filter_map(|file| reads.get(*file)?.stats.span)
                .reduce(crate::base::Span::join);
            let at = usize::from(point.id.0);
            let clock = clocks.points.get(at).cloned().flatten();
            PointAccount {
                name: point.name.clone(),
                files,
                span: span
                    .map(|span| clock.as_ref().map_or(span, |clock| clock.shift.apply_to(span))),
                clock,
                role: None,
                reference: clocks.reference == Some(point.id),
            }
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::detect::{Finding, Glance, Interest, Scene, Which};
    use crate::lookup::Lookup;
    use crate::transaction::{TcpAttempt, Transaction};

    /// A rule that is shown everything, whatever its interest.
    struct Unasked(Box<dyn Detector>);

    impl Detector for Unasked {
        fn interest(&self) -> Interest {
            Interest::new(Which::All, Which::All).and_connects()
        }

        fn observe(&mut self, transaction: &Transaction, glance: &Glance) {
            self.0.observe(transaction, glance);
        }

        fn observe_connect(&mut self, connect: &TcpAttempt) {
            self.0.observe_connect(connect);
        }

        fn observe_lookup(&mut self, lookup: &Lookup) {
            self.0.observe_lookup(lookup);
        }

        fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
            self.0.finish(scene)
        }
    }

    /// Analyses frames by rules that are shown everything: what a rule is not interested in makes no
    /// difference to it. The scenarios of all rules are held to that.
    pub(crate) fn run_frames_unasked<'f>(
        frames: impl IntoIterator<Item = Frame<'f>>,
        options: &Options,
    ) -> Analysis {
        let unasked = |rule| Box::new(Unasked(rule)) as Box<dyn Detector>;
        let rules = Rules::all().into_iter().map(unasked).collect();
        run_frames_by(rules, frames, options, Sinks::default())
    }
}
