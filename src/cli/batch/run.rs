//! `dnswhy batch`: sets side by side, largest first; what did not change is not done again.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use super::find::{Entry, list, look};
use super::folder::Folder;
use super::work::{Asked, analyse};
use crate::archive::{CaptureSet, Fingerprint, Index, State, sets};
use crate::base::Timestamp;
use crate::base::words::count;
use crate::cli::args::{Batch, Cli};
use crate::cli::exit::Exit;
use crate::cli::k8s;
use crate::cli::progress::SetsMeter;
use crate::cli::run::{complain, format, severity};

/// Goes through archives and writes a report for each set, and an index over all.
pub(in crate::cli) fn batch(cli: &Cli, batch: &Batch) -> Result<Exit> {
    let folder = Folder::open(&batch.output)?;
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = batch.jobs.map_or_else(cores, NonZero::get);
    let listing = list(&batch.archives, folder.path())?;
    for problem in &listing.problems {
        complain(problem);
    }
    let files = look(&listing, jobs);
    let mut last = |entry: &Entry| entry.location.last_frame();
    let sets = sets(files, batch.split_gap, &mut last);
    if sets.is_empty() {
        bail!("no capture was found in what was named");
    }
    let asked = asked(cli, batch)?;
    let (known, pending) = recall(sets, &asked, &folder);
    let done = work(pending, &asked, jobs, &folder, cli)?;
    // What could not be read is told by itself, whether it was tried now or before.
    let read = |states: &[(String, State)]| states.iter().filter(|(_, s)| s.found.is_ok()).count();
    let (unchanged, analysed) = (read(&known), read(&done));
    let all: BTreeMap<String, State> = known.into_iter().chain(done).collect();
    let forgotten = folder.forgotten(all.len());
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for state in all.into_values() {
        match state.found {
            Ok(record) => records.push(record),
            Err(unread) => unreadable.push(unread),
        }
    }
    let index = Index::of(records, unreadable);
    folder.write_index(&index)?;
    if !cli.quiet {
        for unread in &index.unreadable {
            complain(&format!("{}: {}", unread.name, unread.reason));
        }
        complain(&summary(&index, unchanged, analysed, forgotten));
    }
    Ok(exit(&index, batch.fail_on.map(severity)))
}

/// How a run over sets ends.
pub(super) fn exit(index: &Index, fail_on: Option<crate::incident::Severity>) -> Exit {
    if index.sets.is_empty() {
        return Exit::Failed;
    }
    let matched = fail_on.zip(index.worst()).is_some_and(|(level, worst)| worst >= level);
    if matched { Exit::Matched } else { Exit::Done }
}

fn asked(cli: &Cli, batch: &Batch) -> Result<Asked> {
    let known = k8s::known(&batch.k8s, cli.quiet)?;
    let (nodes, names) = (known.nodes(), known.names);
    let mut formats: Vec<_> = batch.format.iter().copied().map(format).collect();
    formats.sort_unstable();
    formats.dedup();
    let named: Vec<_> = names.iter().collect();
    let lang = cli.lang.into();
    let words = (&formats, &batch.port, batch.apart, lang, named, &nodes);
    // Names may be thousands: what is remembered is that they are the same.
    let words = blake3::hash(format!("{words:?}").as_bytes()).to_hex().to_string();
    Ok(Asked { formats, ports: batch.port.clone(), apart: batch.apart, lang, names, nodes, words })
}

/// Parts sets into those whose reports hold, and those to analyse.
fn recall(
    sets: Vec<CaptureSet<Entry>>,
    asked: &Asked,
    folder: &Folder,
) -> (Vec<(String, State)>, Vec<CaptureSet<Entry>>) {
    let (mut known, mut pending) = (Vec::new(), Vec::new());
    for set in sets {
        let prints: Vec<Fingerprint> = set.files.iter().map(|entry| entry.print.clone()).collect();
        let mut last = |place: usize| -> Option<Timestamp> {
            set.files.get(place).and_then(|entry| entry.location.last_frame())
        };
        match folder.recall(&set.name) {
            Some(state) if state.holds_for(&asked.words, &prints, &mut last) => {
                known.push((set.name, state));
            }
            _ => pending.push(set),
        }
    }
    (known, pending)
}

/// Analyses all sets, as many at once as there are jobs; what jobs are left over when fewer sets
/// are, work within a set. The result does not depend on either.
fn work(
    mut pending: Vec<CaptureSet<Entry>>,
    asked: &Asked,
    jobs: usize,
    folder: &Folder,
    cli: &Cli,
) -> Result<Vec<(String, State)>> {
    let bytes = |set: &CaptureSet<Entry>| set.files.iter().map(|one| one.print.size).sum::<u64>();
    // The largest first, so that no long one is left alone at the end.
    pending.sort_by_key(|set| std::cmp::Reverse(bytes(set)));
    let meter = SetsMeter::new(
        pending.iter().map(bytes).sum(),
        pending.len(),
        cli.no_progress || cli.quiet,
    );
    let (next, running) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (done, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
    let stop = AtomicBool::new(false);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(set) = pending.get(place) else { return };
            let others = running.fetch_add(1, Ordering::Relaxed);
            let waiting = pending.len() - place;
            let threads = (jobs / (others + waiting).clamp(1, jobs)).max(1);
            let read = analyse(set, asked, threads, folder, &mut |bytes| meter.read(bytes));
            let remembered = read.and_then(|state| {
                folder.remember(&set.name, &state)?;
                Ok(state)
            });
            match remembered {
                Ok(state) => hold(&done).push((set.name.clone(), state)),
                Err(error) => {
                    // What cannot be written now cannot be written for the next set either.
                    hold(&failed).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
            running.fetch_sub(1, Ordering::Relaxed);
            meter.done();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.min(pending.len()) {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn hold<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn summary(index: &Index, unchanged: usize, analysed: usize, forgotten: usize) -> String {
    let sets = index.sets.len() + index.unreadable.len();
    let mut said = format!(
        "{}: {analysed} analysed, {unchanged} unchanged, {} could not be read; {}",
        count(sets as u64, "set"),
        index.unreadable.len(),
        incidents(index)
    );
    if forgotten > 0 {
        said += &format!("; reports of {} that are gone were left", count(forgotten as u64, "set"));
    }
    said
}

/// The incidents, in a few words.
pub(super) fn incidents(index: &Index) -> String {
    match index.incidents.first().filter(|_| index.loud() > 0) {
        Some(worst) => format!(
            "{} above info, {} only visible across sets, the worst {} ({})",
            count(index.loud() as u64, "incident"),
            index.across.len(),
            worst.severity,
            worst.rule
        ),
        None => "no incident above info".to_owned(),
    }
}
