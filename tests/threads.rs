//! The number of threads and the size of blocks change nothing: generated captures, in several
//! files, out of order on disk, with TCP, losses and retries in them, and those of the lab.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::num::NonZero;
use std::path::Path;

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::Inventory;
use dnswhy::lookup::Lookup;
use dnswhy::report::{Format, Style, View, write};

/// The JSON report, and a line for each lookup in the order in which they were told.
fn said(folder: &Path, threads: usize, block: usize) -> (String, Vec<String>) {
    let inventory = Inventory::take(&[folder.to_owned()], &[]).unwrap();
    let (threads, block) = (NonZero::new(threads), NonZero::new(block));
    let options = Options { threads, block, ..Options::default() };
    let mut lookups = Vec::new();
    let mut keep = |lookup: &Lookup| lookups.push(format!("{lookup:?}"));
    let sinks = Sinks { lookups: Some(&mut keep), transactions: None };
    let analysis = run(&inventory, &options, sinks, &mut |_| {});
    let mut report = Vec::new();
    write(&View::of(&analysis), Format::Json, Style::default(), &mut report).unwrap();
    (String::from_utf8(report).unwrap(), lookups)
}

/// Holds every number of threads and every size of blocks against one thread and blocks of 256 K.
fn compare(folder: &Path) {
    let (report, lookups) = said(folder, 1, 256 << 10);
    assert!(!lookups.is_empty(), "{}", folder.display());
    for (threads, block) in
        [(1, 64 << 10), (2, 1 << 20), (3, 256 << 10), (8, 64 << 10), (2, 700), (1, 1 << 20)]
    {
        let other = said(folder, threads, block);
        assert!(lookups == other.1, "{} with {threads} threads, {block} bytes", folder.display());
        assert!(report == other.0, "{} with {threads} threads, {block} bytes", folder.display());
    }
}

#[test]
fn the_labs_captures_read_alike_in_any_blocks() {
    for entry in fs::read_dir("testdata/pcap").unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            compare(&folder);
        }
    }
}

#[test]
fn one_thread_or_many_say_the_same() {
    let sets: [&[&str]; 3] = [
        &["--files", "5", "--mb", "0.4", "--ring-start", "2"],
        &["--files", "2", "--mb", "0.8", "--link", "en10mb", "--timeout", "0.05", "--tcp", "0.3"],
        &["--files", "3", "--mb", "0.5", "--link", "sll", "--servfail", "0.1", "--cut-last", "700"],
    ];
    for set in sets {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_string_lossy().into_owned();
        let args: Vec<&str> = ["--out", &out].iter().chain(set).copied().collect();
        dnscapgen::generate(&args).unwrap();
        compare(folder.path());
    }
}
