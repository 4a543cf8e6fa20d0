//! From an inventory of captures to an analysis.

use super::engine::{Engine, Results, Sinks};
use super::merge::{Read, frames};
use super::outcome::{Analysis, FileAccount, PointAccount};
use super::verdict::Verdict;
use crate::capture::{Frame, Inventory, PointId};
use crate::detect::{Class, Ledger};
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
    let mut analysis = conclude(engine.finish());
    analysis.files = files(inventory, &reads);
    analysis.points = points(inventory, &reads);
    analysis.left_out = inventory.problems.iter().map(ToString::to_string).collect();
    analysis
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
    conclude(engine.finish())
}

fn conclude(results: Results) -> Analysis {
    let Results { coverage, traffic, mut ledger, mut findings, nat, watch, span } = results;
    let mut population = traffic.population();
    population.span = span;
    if traffic.is_one_sided() {
        // Silence of a direction that was not recorded is nobody's failure.
        findings.retain(|finding| finding.rule.class == Class::Efficiency);
        ledger = Ledger::default();
    }
    let (incidents, residual) = correlate(findings, ledger.harmed(), &population);
    let verdict = Verdict::of(&incidents, &residual, &traffic);
    let health = watch.judge(&coverage, &traffic);
    Analysis {
        files: Vec::new(),
        left_out: Vec::new(),
        points: Vec::new(),
        span,
        coverage,
        health,
        traffic,
        verdict,
        incidents,
        residual,
        nat,
    }
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
