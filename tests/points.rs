//! Two capture points say the same whatever their clocks say, and however many frames one of them
//! has missed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::Inventory;
use dnswhy::report::{Format, Style, View, write};
use serde_json::Value;

/// What makes a point's time of the true one, in nanoseconds since its first frame, where it is kept.
type Clock = fn(i64) -> Option<i64>;

const SECOND: i64 = 1_000_000_000;

/// A scenario with several capture points.
struct Scenario {
    name: String,
    files: Vec<(String, Vec<u8>)>,
}

/// Those of the repository, and of the lab where it is at hand.
fn scenarios() -> Vec<Scenario> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap");
    let lab =
        std::env::var_os("DNSWHY_SHARED").map(|shared| Path::new(&shared).join("lab-captures"));
    let mut folders: Vec<PathBuf> = [Some(own), lab]
        .into_iter()
        .flatten()
        .flat_map(|top| fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let scenarios = folders.iter().map(|folder| Scenario::of(folder));
    scenarios.filter(|scenario| scenario.files.iter().any(|(name, _)| is_other(name))).collect()
}

/// Whether a file is of the point that is put off.
fn is_other(name: &str) -> bool {
    name.starts_with("coredns_dns")
}

impl Scenario {
    fn of(folder: &Path) -> Self {
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".pcap"))
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let bytes = fs::read(&path).unwrap();
                match name.strip_suffix(".gz") {
                    Some(name) => {
                        let mut plain = Vec::new();
                        let mut packed = flate2::read::MultiGzDecoder::new(&bytes[..]);
                        packed.read_to_end(&mut plain).unwrap();
                        (name.to_owned(), plain)
                    }
                    None => (name, bytes),
                }
            })
            .collect();
        files.sort();
        Self { name: folder.display().to_string(), files }
    }

    /// The report where the clock of the one point goes like this.
    fn said(&self, clock: Clock) -> Value {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            let bytes = if is_other(name) { put_off(bytes, clock) } else { bytes.clone() };
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let inventory = Inventory::take(&[folder.path().to_owned()], &[]).unwrap();
        let analysis = run(&inventory, &Options::default(), Sinks::default(), &mut |_| {});
        let mut report = Vec::new();
        write(&View::of(&analysis), Format::Json, Style::default(), &mut report).unwrap();
        serde_json::from_slice(&report).unwrap()
    }
}

/// The same records by another clock.
fn put_off(bytes: &[u8], clock: Clock) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let unit = match bytes[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] => 1_000,
        [0x4d, 0x3c, 0xb2, 0xa1] => 1,
        _ => panic!("another format"),
    };
    let mut out = bytes[..24].to_vec();
    let mut at = 24;
    let mut first = None;
    while at + 16 <= bytes.len() {
        let length = 16 + number(at + 8) as usize;
        let Some(record) = bytes.get(at..at + length) else { break };
        let time = i64::from(number(at)) * SECOND + i64::from(number(at + 4)) * unit;
        let first = *first.get_or_insert(time);
        if let Some(passed) = clock(time - first) {
            let time = first + passed;
            out.extend(u32::try_from(time / SECOND).unwrap().to_le_bytes());
            out.extend(u32::try_from(time % SECOND / unit).unwrap().to_le_bytes());
            out.extend(&record[8..]);
        }
        at += length;
    }
    out
}

/// What has to stay the same of each incident.
fn incidents(report: &Value) -> Vec<[Value; 5]> {
    let incidents = report["incidents"].as_array().unwrap();
    let keys = ["rule", "where", "severity", "confidence", "culprits"];
    incidents.iter().map(|incident| keys.map(|key| incident[key].clone())).collect()
}

fn offset(report: &Value) -> (f64, f64) {
    let points = report["capture"]["points"].as_array().unwrap();
    let other = points.iter().find(|point| is_other(point["name"].as_str().unwrap())).unwrap();
    (other["offset_ms"].as_f64().unwrap(), other["drift_ppm"].as_f64().unwrap())
}

fn check(clock: Clock, ahead_ms: f64, drift_ppm: f64) {
    for scenario in scenarios() {
        let (as_it_was, put_off) = (scenario.said(Some), scenario.said(clock));
        let name = &scenario.name;
        assert_eq!(incidents(&as_it_was), incidents(&put_off), "{name}");
        let (offset, drift) = offset(&put_off);
        if drift_ppm == 0.0 {
            assert!((offset - ahead_ms).abs() < 2.0, "{name}: {offset} ms");
            assert!(drift.abs() < 5.0, "{name}: {drift} ppm");
        } else {
            assert!((drift - drift_ppm).abs() < drift_ppm / 5.0, "{name}: {drift} ppm");
        }
        let told = |report: &Value| {
            let health = report["capture"]["health"].as_array().unwrap();
            health.iter().any(|health| {
                health["rule"] == "cap-clock"
                    && health["detail"].as_str().unwrap().contains("the clock of coredns_dns is")
            })
        };
        assert!(told(&put_off) && !told(&as_it_was), "{name}");
    }
}

#[test]
fn a_clock_that_is_an_hour_behind() {
    check(|passed| Some(passed - 3_600 * SECOND), -3_600_000.0, 0.0);
}

#[test]
fn a_clock_that_is_three_seconds_behind() {
    check(|passed| Some(passed - 3 * SECOND), -3_000.0, 0.0);
}

#[test]
fn a_clock_that_is_a_third_of_a_second_behind() {
    check(|passed| Some(passed - SECOND * 3 / 10), -300.0, 0.0);
}

#[test]
fn a_clock_that_is_fifty_milliseconds_ahead() {
    check(|passed| Some(passed + SECOND / 20), 50.0, 0.0);
}

#[test]
fn a_clock_that_is_two_hours_ahead() {
    check(|passed| Some(passed + 7_200 * SECOND), 7_200_000.0, 0.0);
}

#[test]
fn a_clock_that_drifts() {
    check(|passed| Some(passed + 3 * SECOND + passed / 20_000), 3_000.0, 50.0);
}

#[test]
fn packets_of_both_points_are_extracted_and_their_clocks_corrected() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap/stale-vtep-mac");
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("proof.pcapng");
    let late = |passed| Some(passed + 7 * SECOND);
    for (name, bytes) in Scenario::of(&own).files {
        let bytes = if is_other(&name) { put_off(&bytes, late) } else { bytes };
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let packets = |option: Option<&str>| {
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_dnswhy"))
            .args(["extract", "--incident", "1", "-w"])
            .args([&proof, &folder.path().join("client_dns.pcap00")])
            .arg(folder.path().join("coredns_dns.pcap00"))
            .args(option)
            .status();
        assert!(made.unwrap().success());
        let inventory = Inventory::take(std::slice::from_ref(&proof), &[]).unwrap();
        let mut reader = inventory.files[0].open().unwrap();
        let mut times: [Vec<i64>; 2] = Default::default();
        while let Some(frame) = reader.next_frame() {
            let frame = frame.unwrap();
            times[frame.interface.unwrap() as usize].push(frame.seen.ts.nanos());
        }
        assert!(!times[0].is_empty() && !times[1].is_empty());
        times
    };
    let [first, second] = packets(None);
    let apart = first[0].abs_diff(second[0]);
    assert!(apart.abs_diff(7_000_000_000) < 1_000_000_000, "{apart} ns");
    let [first, second] = packets(Some("--correct-clocks"));
    let apart = first[0].abs_diff(second[0]);
    assert!(apart < 2_000_000_000, "{apart} ns");
    // Queries lie between the client's node and the server's: there and back in under a millisecond.
    let near = second.iter().filter(|ts| first.iter().any(|own| own.abs_diff(**ts) < 1_000_000));
    assert!(near.count() * 2 > second.len());
}

#[test]
fn two_frames_in_a_hundred_that_a_point_missed_change_no_place() {
    let lossy: Clock = |passed| {
        let mixed = passed.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).rotate_left(31);
        (mixed.wrapping_mul(0x2545_f491_4f6c_dd1d).cast_unsigned() % 100 >= 2).then_some(passed)
    };
    for scenario in scenarios() {
        let place = |report: &Value| -> Vec<[Value; 2]> {
            let incidents = report["incidents"].as_array().unwrap();
            let felt = incidents.iter().filter(|incident| incident["severity"] != "info");
            felt.map(|incident| [incident["rule"].clone(), incident["where"].clone()]).collect()
        };
        let (all, some) = (scenario.said(Some), scenario.said(lossy));
        assert!(some["capture"]["frames"].as_u64() < all["capture"]["frames"].as_u64());
        assert_eq!(place(&all), place(&some), "{}", scenario.name);
    }
}
