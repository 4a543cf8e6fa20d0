//! One row for one lookup: what `dnswhy lookups` makes of captures whose clients kept a log.
//!
//! The captures lie outside the repository: `DNSWHY_SHARED` names the folder with `lab-captures/`.
//! Without it the test passes unseen.
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::Inventory;
use dnswhy::lookup::Lookup;
use serde_json::Value;

/// A lookup may be cut in two, or two be taken for one, this often.
const OFF: f64 = 0.03;
/// Rows at a time when their client asked nothing.
const GHOSTS: f64 = 0.01;
/// What one client logged.
#[derive(Default)]
struct Log {
    /// Start and end of every lookup, in seconds since the epoch.
    asked: Vec<(f64, f64)>,
    /// The capture cannot show all of them.
    hidden: bool,
}

#[test]
fn rows_are_as_many_as_the_clients_lookups() {
    let Some(shared) = std::env::var_os("DNSWHY_SHARED") else {
        eprintln!("skipped: DNSWHY_SHARED is not set");
        return;
    };
    let top = Path::new(&shared).join("lab-captures");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut rows, mut ghosts, mut clients) = (0_u64, 0_u64, 0);
    let mut off = BTreeSet::new();
    for folder in folders.iter().filter(|folder| folder.join("lookups.jsonl").exists()) {
        let label: Value =
            serde_json::from_str(&fs::read_to_string(folder.join("label.json")).unwrap()).unwrap();
        let point = &label["captures"][0];
        let filter = point["filter"].as_str().unwrap();
        if filter.contains("src port") || filter.contains("dst port") {
            // Of one direction alone no lookup can be told.
            continue;
        }
        let files: Vec<PathBuf> = point["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| folder.join(file["name"].as_str().unwrap()))
            .collect();
        let logs = logs(&folder.join("lookups.jsonl"));
        let starts = starts(&files);
        for (client, log) in &logs {
            let empty = Vec::new();
            let mine = starts.get(client).unwrap_or(&empty);
            rows += mine.len() as u64;
            ghosts += mine.iter().filter(|start| !log.was_asking(**start)).count() as u64;
            if log.hidden {
                continue;
            }
            clients += 1;
            let expected = log.asked.len() as f64;
            if (mine.len() as f64 - expected).abs() > (expected * OFF).max(1.0) {
                let scenario = folder.file_name().unwrap().to_string_lossy().into_owned();
                eprintln!("{scenario} {client}: {} rows, {expected} lookups", mine.len());
                off.insert((scenario, client.clone()));
            }
        }
    }
    assert!(clients > 50, "only {clients} clients to compare");
    assert!((ghosts as f64) < rows as f64 * GHOSTS, "{ghosts} ghosts in {rows} rows");
    assert_eq!(off, BTreeSet::new());
}

impl Log {
    fn was_asking(&self, at: f64) -> bool {
        self.asked.iter().any(|(start, end)| start - 0.01 <= at && at <= end + 0.05)
    }
}

fn logs(path: &Path) -> BTreeMap<String, Log> {
    let mut logs: BTreeMap<String, Log> = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let log = logs.entry(entry["pod"].as_str().unwrap().to_owned()).or_default();
        let start = entry["t"].as_f64().unwrap();
        log.asked.push((start, start + entry["ms"].as_f64().unwrap() / 1e3));
        log.hidden |= entry["first_query"].is_null();
    }
    logs
}

/// When the lookups of each client began.
fn starts(files: &[PathBuf]) -> BTreeMap<String, Vec<f64>> {
    let mut starts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut keep = |lookup: &Lookup| {
        let start = lookup.start.ts.nanos() as f64 / 1e9;
        starts.entry(lookup.client.to_string()).or_default().push(start);
    };
    let inventory = Inventory::take(files, &[]).unwrap();
    let sinks = Sinks { lookups: Some(&mut keep), transactions: None };
    run(&inventory, &Options::default(), sinks, &mut |_| {});
    starts
}
