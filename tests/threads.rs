//! The number of threads changes nothing: generated captures, in several files, out of order on
//! disk, with TCP, losses and retries in them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZero;

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::Inventory;
use dnswhy::lookup::Lookup;
use dnswhy::report::{Format, Style, View, write};

/// The JSON report, and a line for each lookup in the order in which they were told.
fn said(folder: &std::path::Path, threads: usize) -> (String, Vec<String>) {
    let inventory = Inventory::take(&[folder.to_owned()], &[]).unwrap();
    let options = Options { threads: NonZero::new(threads), ..Options::default() };
    let mut lookups = Vec::new();
    let mut keep = |lookup: &Lookup| lookups.push(format!("{lookup:?}"));
    let sinks = Sinks { lookups: Some(&mut keep), transactions: None };
    let analysis = run(&inventory, &options, sinks, &mut |_| {});
    let mut report = Vec::new();
    write(&View::of(&analysis), Format::Json, Style::default(), &mut report).unwrap();
    (String::from_utf8(report).unwrap(), lookups)
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
        let alone = said(folder.path(), 1);
        assert!(!alone.1.is_empty());
        for threads in [2, 3, 8] {
            let together = said(folder.path(), threads);
            assert_eq!(alone.1, together.1, "{set:?} with {threads} threads");
            assert_eq!(alone.0, together.0, "{set:?} with {threads} threads");
        }
    }
}
