//! From an inventory of captures to an analysis.

use super::engine::{Engine, Sinks};
use super::merge::{Read, frames};
use super::outcome::{Analysis, FileAccount, PointAccount};
use super::verdict::Verdict;
use crate::capture::Inventory;
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
    let reads =
        frames(inventory, |frame, point| engine.frame(frame, point), |bytes| progress(bytes));
    let results = engine.finish();
    let mut population = results.traffic.population();
    population.span = results.span;
    let (incidents, residual) = correlate(results.findings, results.ledger.harmed(), &population);
    let verdict = Verdict::of(&incidents, &residual, &results.traffic);
    let health = results.watch.judge(&results.coverage, &results.traffic);
    Analysis {
        files: files(inventory, &reads),
        left_out: inventory.problems.iter().map(ToString::to_string).collect(),
        points: points(inventory, &reads),
        span: results.span,
        coverage: results.coverage,
        health,
        traffic: results.traffic,
        verdict,
        incidents,
        residual,
        nat: results.nat,
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
