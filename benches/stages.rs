//! What each stage costs, for one frame: `cargo bench`.
//!
//! The input is generated, the same in every run: queries and answers of some thousand pods, each
//! datagram seen two to four times. Every bench does the work of the stage and of those before it,
//! so that a stage's own cost is the difference to the line above.

use std::path::Path;
use std::sync::LazyLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use dnswhy::analysis::{Analysis, Options, Sinks, run};
use dnswhy::base::Coverage;
use dnswhy::capture::{FileId, Inventory, PointId, Reader};
use dnswhy::flow::{FlowTable, Ports};
use dnswhy::packet::decode;
use dnswhy::report::{Format, Style, View, write};
use dnswhy::transaction::Matcher;

/// A folder with one file of 20 MB, and the number of frames in it.
static INPUT: LazyLock<(tempfile::TempDir, usize)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let out = folder.path().to_string_lossy().into_owned();
    dnscapgen::generate(&["--out", &out, "--mb", "20"]).expect("generated input");
    let frames = each_frame(folder.path(), |_| {});
    (folder, frames)
});

fn main() {
    divan::main();
}

fn each_frame(folder: &Path, mut each: impl FnMut(&dnswhy::capture::Frame<'_>)) -> usize {
    let file = std::fs::File::open(folder.join("dns.pcap0")).expect("generated file");
    let mut reader = Reader::open(Box::new(file), FileId(0)).expect("a capture");
    let mut frames = 0;
    while let Some(frame) = reader.next_frame() {
        each(&frame.expect("an undamaged capture"));
        frames += 1;
    }
    frames
}

fn analyse(threads: usize) -> Analysis {
    let inventory = Inventory::take(&[INPUT.0.path().to_owned()], &[]).expect("a capture");
    let options = Options { threads: std::num::NonZero::new(threads), ..Options::default() };
    run(&inventory, &options, Sinks::default(), &mut |_| {})
}

#[divan::bench]
fn a_container(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(INPUT.1)).bench(|| each_frame(INPUT.0.path(), |_| {}));
}

#[divan::bench]
fn b_decode(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(INPUT.1)).bench(|| {
        each_frame(INPUT.0.path(), |frame| {
            let _ = black_box(decode(frame, PointId(0)));
        })
    });
}

#[divan::bench]
fn c_dns_view(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(INPUT.1)).bench(|| {
        let (mut flows, ports) = (FlowTable::new(), Ports::default());
        let mut coverage = Coverage::default();
        each_frame(INPUT.0.path(), |frame| {
            if let Ok(packet) = decode(frame, PointId(0)) {
                flows.follow(&packet, &ports, &mut coverage, &mut |event, _| {
                    black_box(event);
                });
            }
        })
    });
}

#[divan::bench]
fn d_matcher(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(INPUT.1)).bench(|| {
        let (mut flows, ports) = (FlowTable::new(), Ports::default());
        let (mut coverage, mut matcher) = (Coverage::default(), Matcher::default());
        let frames = each_frame(INPUT.0.path(), |frame| {
            if let Ok(packet) = decode(frame, PointId(0)) {
                flows.follow(&packet, &ports, &mut coverage, &mut |event, coverage| {
                    matcher.take(event, coverage, &mut |closed| {
                        black_box(closed);
                    });
                });
            }
        });
        matcher.finish(&mut |closed| {
            black_box(closed);
        });
        frames
    });
}

#[divan::bench(args = [1, 2])]
fn e_whole_analysis(bencher: Bencher<'_, '_>, threads: usize) {
    bencher.counter(ItemsCount::new(INPUT.1)).bench(|| analyse(threads));
}

#[divan::bench(args = [Format::Text, Format::Markdown, Format::Json, Format::Html])]
fn f_report(bencher: Bencher<'_, '_>, format: Format) {
    let analysis = analyse(2);
    bencher.bench(|| {
        let mut out = Vec::new();
        write(&View::of(&analysis), format, Style::default(), &mut out).expect("written");
        out
    });
}
