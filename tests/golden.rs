//! Golden reports: what dnswhy says of the captures in `testdata/`, in every format.
//!
//! Each folder of `testdata/pcap` and `testdata/scenarios` holds the expected `report.txt`,
//! `report.md` and `report.json` beside its capture or scenario. To take over a change, run with
//! `UPDATE_GOLDEN=1` and review the difference like code.

use std::fs;
use std::path::{Path, PathBuf};

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::base::Lang;
use dnswhy::capture::Inventory;
use dnswhy::report::{Format, Style, View, trace, write};
use dnswhy::testkit::{PcapOptions, Scenario};

const FORMATS: [(Format, &str); 4] = [
    (Format::Text, "report.txt"),
    (Format::Markdown, "report.md"),
    (Format::Html, "report.html"),
    (Format::Json, "report.json"),
];

#[test]
fn lab_captures_are_reported_as_before() {
    for folder in folders("testdata/pcap") {
        hold(&folder, &captures(&folder));
    }
}

/// Captures whose reports are held in every language.
const TRANSLATED: [&str; 2] = ["node-death-vxlan", "upstream-dead"];

#[test]
fn reports_in_chinese_are_as_before() {
    for name in TRANSLATED {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap").join(name);
        let files = captures(&folder);
        let style = Style { lang: Lang::Zh, ..Style::default() };
        for (format, name) in FORMATS {
            let said = report_in(&files, format, style);
            if format == Format::Json {
                assert_eq!(said, report(&files, format), "JSON is English always");
                continue;
            }
            let (stem, ending) = name.split_once('.').unwrap();
            compare(&folder.join(format!("{stem}.zh.{ending}")), &said);
        }
    }
}

#[test]
fn scenarios_are_reported_as_before() {
    for folder in folders("testdata/scenarios") {
        let text = fs::read_to_string(folder.join("scenario.txt")).unwrap();
        let made = tempfile::tempdir().unwrap();
        let files = Scenario::parse(&text).write_pcap(&PcapOptions::default());
        let paths: Vec<PathBuf> = (0..files.len())
            .map(|index| made.path().join(format!("scenario.pcap{index}")))
            .collect();
        for (path, bytes) in paths.iter().zip(files) {
            fs::write(path, bytes).unwrap();
        }
        hold(&folder, &paths);
    }
}

#[test]
fn a_report_does_not_depend_on_the_order_of_arguments() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap/healthy-ring-wrapped");
    let mut files = captures(&folder);
    let one = report(&files, Format::Json);
    files.reverse();
    assert_eq!(one, report(&files, Format::Json));
}

fn folders(of: &str) -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join(of);
    let mut folders: Vec<PathBuf> = fs::read_dir(top)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".pcap"))
        .collect();
    files.sort();
    files
}

fn report(files: &[PathBuf], format: Format) -> String {
    report_in(files, format, Style::default())
}

fn report_in(files: &[PathBuf], format: Format, style: Style) -> String {
    let inventory = Inventory::take(files, &[]).unwrap();
    let analysis = run(&inventory, &Options::default(), Sinks::default(), &mut |_| {});
    assert!(analysis.coverage.adds_up());
    let mut view = View::of(&analysis);
    if format == Format::Html {
        let traces = trace(&inventory, &Options::default(), &analysis, &mut |_| {});
        view = view.with_ladders(traces.into_iter().map(|trace| trace.ladder).collect());
    }
    let mut out = Vec::new();
    write(&view, format, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn hold(folder: &Path, files: &[PathBuf]) {
    for (format, name) in FORMATS {
        compare(&folder.join(name), &report(files, format));
    }
}

fn compare(golden: &Path, said: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, said).unwrap();
        return;
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    let first = said.lines().zip(expected.lines()).position(|(a, b)| a != b);
    assert!(
        said == expected,
        "{} is no longer what is reported, from line {} on; UPDATE_GOLDEN=1 takes it over",
        golden.display(),
        first.unwrap_or_else(|| said.lines().count().min(expected.lines().count())) + 1
    );
}
