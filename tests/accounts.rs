//! The account of frames, on every capture there is: each frame is counted once, as one with DNS,
//! one without, or one that could not be understood, and their number is the one that Wireshark
//! shows.
//!
//! Most captures lie outside the repository: `DNSWHY_SHARED` names the folder with `corpus/` (and its
//! `truth.json`, made with tshark) and `lab-captures/`. Without it those of the repository alone are read.
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

use std::io::Read;
use std::path::{Path, PathBuf};

use dnswhy::analysis::{Analysis, Options, Sinks, run};
use dnswhy::capture::{InputError, Inventory};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// Files of the corpus where the number of frames differs, and why that is right.
const EXPLAINED: [(&str, u64, &str); 2] = [
    (
        "OISF-suricata-verify/bug-6875-01__fuzz.pcap",
        1,
        "the second record claims 1.4 GB; Wireshark then guesses another record layout for the file",
    ),
    (
        "synth/synth-packet-before-idb.pcapng",
        38,
        "Wireshark stops at the packet before its interface; we skip that block and read on",
    ),
];

fn shared(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("DNSWHY_SHARED").map(PathBuf::from);
    if shared.is_none() {
        eprintln!("skipped: DNSWHY_SHARED is not set");
    }
    shared.map(|shared| shared.join(folder))
}

fn analyse(paths: &[PathBuf]) -> Result<Analysis, InputError> {
    let inventory = Inventory::take(paths, &[])?;
    Ok(run(&inventory, &Options::default(), Sinks::default(), &mut |_| {}))
}

/// What is wrong with an account of `wanted` frames.
fn fault(analysis: &Analysis, wanted: u64) -> Option<String> {
    let coverage = &analysis.coverage;
    let of_files: u64 = analysis.files.iter().map(|file| file.stats.frames).sum();
    if !coverage.adds_up() {
        return Some(format!("the account does not add up: {coverage:?}"));
    }
    if coverage.frames != of_files {
        return Some(format!("{} frames, and {of_files} in its files", coverage.frames));
    }
    let messages = &coverage.messages;
    if messages.total != messages.udp + messages.tcp
        || messages.total != messages.queries + messages.responses
        || messages.responses != messages.rcodes.iter().sum::<u64>()
    {
        return Some(format!("the messages do not add up: {messages:?}"));
    }
    (coverage.frames != wanted).then(|| format!("{} frames, not {wanted}", coverage.frames))
}

#[test]
fn every_frame_of_the_corpus_is_accounted_for() {
    let Some(corpus) = shared("corpus") else { return };
    let truth = std::fs::read(corpus.join("truth.json")).expect("the corpus has a truth.json");
    let truth: Value = serde_json::from_slice(&truth).expect("truth.json is JSON");
    let mut off = Vec::new();
    let (mut files, mut frames) = (0, 0);
    for (name, truth) in truth.as_object().expect("truth.json is an object") {
        if name.starts_with('_') {
            continue;
        }
        files += 1;
        let explained = EXPLAINED.iter().find(|(file, ..)| file == name);
        let wanted = explained.map_or(truth["frames"].as_u64().unwrap_or(0), |known| known.1);
        match analyse(&[corpus.join(name)]) {
            Ok(analysis) => {
                frames += analysis.coverage.frames;
                off.extend(fault(&analysis, wanted).map(|fault| format!("{name}: {fault}")));
            }
            Err(_) if wanted == 0 => {}
            Err(error) => off.push(format!("{name}: {error}, and it has {wanted} frames")),
        }
    }
    eprintln!("{files} files, {frames} frames");
    assert!(off.is_empty(), "{} of {files}:\n{}", off.len(), off.join("\n"));
}

#[test]
fn every_frame_of_the_lab_is_accounted_for_file_by_file_and_all_points_together() {
    if let Some(lab) = shared("lab-captures") {
        account_for(&lab);
    }
}

#[test]
fn every_frame_of_this_repository_is_accounted_for() {
    account_for(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap"));
}

/// Holds the account of each capture in each folder of this one against its records.
fn account_for(scenarios: &Path) {
    let mut off = Vec::new();
    let mut frames = 0;
    for folder in entries(scenarios) {
        let files: Vec<PathBuf> =
            entries(&folder).into_iter().filter(|path| is_capture(path)).collect();
        if files.is_empty() {
            continue;
        }
        let counts: Vec<u64> = files.iter().map(|path| records(path)).collect();
        for (path, wanted) in files.iter().zip(&counts) {
            let analysis = analyse(std::slice::from_ref(path)).expect("a lab capture is readable");
            off.extend(
                fault(&analysis, *wanted).map(|fault| format!("{}: {fault}", path.display())),
            );
        }
        let analysis = analyse(std::slice::from_ref(&folder)).expect("a scenario is readable");
        let all: u64 = counts.iter().sum();
        let fault = fault(&analysis, all);
        off.extend(fault.map(|fault| format!("{}: {fault}", folder.display())));
        frames += all;
    }
    eprintln!("{frames} frames in {}", scenarios.display());
    assert!(off.is_empty() && frames > 0, "{} faults:\n{}", off.len(), off.join("\n"));
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn is_capture(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".pcap"))
}

/// The whole records of a classic little-endian capture, counted without any of our code.
fn records(path: &Path) -> u64 {
    let mut bytes = std::fs::read(path).expect("a lab capture can be read");
    if path.extension().is_some_and(|extension| extension == "gz") {
        let packed = std::mem::take(&mut bytes);
        MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("it is packed with gzip");
    }
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut count = 0;
    while let Some(length) = rest.get(8..12) {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        let Some(next) = rest.get(16 + length as usize..) else { break };
        rest = next;
        count += 1;
    }
    count
}
