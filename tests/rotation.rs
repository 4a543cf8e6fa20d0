//! How a capture is cut into files changes nothing but the references to files and frames, and
//! how many threads read it changes nothing at all.

use std::fs;
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::{FrameRef, Inventory};
use dnswhy::lookup::Lookup;
use dnswhy::report::{Format, Style, View, lookup_row, write};
use proptest::prelude::*;
use serde_json::Value;

/// A classic pcap file, taken apart.
struct Capture {
    header: Vec<u8>,
    records: Vec<Vec<u8>>,
    whole: Said,
}

/// Everything that is said of a capture, without references.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    report: Value,
    lookups: Vec<Value>,
}

static CAPTURES: LazyLock<Vec<Capture>> = LazyLock::new(|| {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.iter().map(|folder| Capture::of(folder)).collect()
});

impl Capture {
    /// The files of the first capture point of `folder`, one after the other.
    fn of(folder: &Path) -> Self {
        let mut files: Vec<(Vec<u8>, Vec<Vec<u8>>)> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("client_dns.pcap"))
            .map(|path| records(&path))
            .collect();
        // A wrapped ring is not in the order of its names.
        files.sort_by_key(|(_, records)| time(&records[0]));
        let header = files[0].0.clone();
        let records = files.into_iter().flat_map(|(_, records)| records).collect();
        let mut capture =
            Self { header, records, whole: Said { report: Value::Null, lookups: Vec::new() } };
        capture.whole = capture.said(&[], 1, 256 << 10);
        capture
    }

    /// What is said of it when it is cut before the records at `cuts`.
    fn said(&self, cuts: &[usize], threads: usize, block: usize) -> Said {
        let folder = tempfile::tempdir().unwrap();
        let mut ends = cuts.to_vec();
        ends.push(self.records.len());
        let mut start = 0;
        for (index, end) in ends.into_iter().enumerate() {
            let mut bytes = self.header.clone();
            bytes.extend(self.records[start..end].iter().flatten());
            fs::write(folder.path().join(format!("ring.pcap{index:02}")), bytes).unwrap();
            start = end;
        }
        let inventory = Inventory::take(&[folder.path().to_owned()], &[]).unwrap();
        let mut lookups = Vec::new();
        let mut keep = |lookup: &Lookup| {
            let row = lookup_row(lookup, &|_: FrameRef| String::new());
            lookups.push(without_references(serde_json::to_value(row).unwrap()));
        };
        let sinks = Sinks { lookups: Some(&mut keep), transactions: None };
        let (threads, block) = (NonZero::new(threads), NonZero::new(block));
        let options = Options { threads, block, ..Options::default() };
        let analysis = run(&inventory, &options, sinks, &mut |_| {});
        let mut report = Vec::new();
        write(&View::of(&analysis), Format::Json, Style::default(), &mut report).unwrap();
        let report = without_references(serde_json::from_slice(&report).unwrap());
        Said { report, lookups }
    }
}

fn records(path: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    let (header, mut rest) = bytes.split_at(24);
    let mut records = Vec::new();
    while let Some(length) = rest.get(8..12) {
        let length = 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some((record, after)) = rest.split_at_checked(length) else { break };
        records.push(record.to_vec());
        rest = after;
    }
    (header.to_vec(), records)
}

fn time(record: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

/// The document without files, frames and what else only says where something lies.
fn without_references(mut document: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for key in ["files", "file", "frame"] {
                    members.remove(key);
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => {
                // `cap-order` speaks of files alone: a pause may fall between two of them.
                items.retain(|item| item["rule"] != "cap-order");
                items.iter_mut().for_each(strip);
            }
            _ => {}
        }
    }
    strip(&mut document);
    document
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_capture_may_be_cut_anywhere_and_read_by_any_number_of_threads(
        which in 0_usize..9,
        places in prop::collection::vec(0.0_f64..1.0, 1..5),
        threads in 1_usize..5,
        block in prop::sample::select(vec![1_000_usize, 64 << 10, 256 << 10, 1 << 20]),
    ) {
        let capture = &CAPTURES[which % CAPTURES.len()];
        let count = capture.records.len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
        let mut cuts: Vec<usize> =
            places.iter().map(|place| (place * count as f64) as usize).filter(|cut| *cut > 0).collect();
        cuts.sort_unstable();
        cuts.dedup();
        // A ring is put in order by the time of first frames: a file whose first frame is older
        // than that of the file before cannot be told from an older one.
        let starts: Vec<_> = std::iter::once(0)
            .chain(cuts.iter().copied())
            .map(|cut| time(&capture.records[cut]))
            .collect();
        prop_assume!(starts.is_sorted());
        let cut = capture.said(&cuts, threads, block);
        prop_assert_eq!(&cut.lookups, &capture.whole.lookups);
        prop_assert_eq!(&cut.report, &capture.whole.report);
    }
}
