//! From an inventory of captures to an analysis.

use super::engine::{Engine, Results, Sinks};
use super::health::{Facts, judge};
use super::merge::{Read, frames};
use super::outcome::{Analysis, FileAccount, PointAccount};
use super::verdict::Verdict;
use crate::base::words::count;
use crate::capture::{Frame, Inventory, LinkType, PointId};
use crate::detect::{HarmKind, Ledger};
use crate::flow::Ports;
use crate::incident::correlate;

/// What may be set.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// DNS ports beside 53.
    pub ports: Vec<u16>,
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
    let mut engine = Engine::new(Ports::new(options.ports.iter().copied()), sinks);
    let reads = frames(inventory, |frame, point| engine.frame(frame, point), progress);
    let inputs = Inputs {
        files: files(inventory, &reads),
        points: points(inventory, &reads),
        duplicates: inventory.problems.iter().filter(|input| input.reason.is_duplicate()).count(),
    };
    let mut analysis = conclude(engine.finish(), inputs);
    let left_out = inventory.problems.iter().map(ToString::to_string);
    analysis.left_out.splice(0..0, left_out);
    analysis
}

/// What was read, as far as there were files.
#[derive(Default)]
struct Inputs {
    files: Vec<FileAccount>,
    points: Vec<PointAccount>,
    duplicates: usize,
}

/// Analyses frames that lie in memory, as one capture point without files.
pub fn run_frames<'f>(
    frames: impl IntoIterator<Item = Frame<'f>>,
    options: &Options,
    sinks: Sinks<'_>,
) -> Analysis {
    let mut engine = Engine::new(Ports::new(options.ports.iter().copied()), sinks);
    for frame in frames {
        engine.frame(&frame, PointId(0));
    }
    conclude(engine.finish(), Inputs::default())
}

fn conclude(results: Results, inputs: Inputs) -> Analysis {
    let Results { coverage, mut traffic, series, mut ledger, findings, nat, watch, span, .. } =
        results;
    let Results { directions, sided, loss, links, .. } = results;
    let Inputs { files, points, duplicates } = inputs;
    let mut population = traffic.population();
    population.span = span;
    // Silence of a direction that was not recorded, and waits that only the clock made, are
    // nobody's failure.
    if sided.lacks_responses() {
        ledger = Ledger::default();
    }
    ledger.retain(|harmed| {
        let clock_made =
            harmed.kind != HarmKind::Failed && watch.crosses(harmed.start.ts, harmed.end);
        !clock_made && !sided.excuses(harmed)
    });
    traffic.excuse(&sided, loss);
    let (incidents, residual) = correlate(findings, ledger.harmed(), &population);
    let verdict = Verdict::of(&incidents, &residual, &traffic);
    let health = judge(&Facts {
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
    Analysis {
        files,
        left_out: links.iter().map(|(link, frames)| unread(*link, *frames)).collect(),
        points,
        span,
        coverage,
        health,
        traffic,
        series,
        verdict,
        incidents,
        residual,
        nat,
    }
}

/// What is said aloud of a link type that is not read.
fn unread(link: LinkType, frames: u64) -> String {
    format!("link type {link} ({}) is not read: {} left out", link.0, count(frames, "frame"))
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

fn points(inventory: &Inventory, reads: &[Read]) -> Vec<PointAccount> {
    inventory
        .points
        .iter()
        .map(|point| {
            let files: Vec<usize> = point.files.iter().map(|file| file.0 as usize).collect();
            let span = files
                .iter()
                .filter_map(|file| reads.get(*file)?.stats.span)
                .reduce(crate::base::Span::join);
            PointAccount { name: point.name.clone(), files, span }
        })
        .collect()
}
