//! The packets that prove an incident, as another program reads them.
#![expect(clippy::print_stderr, reason = "a test says what it left out")]

use std::path::Path;
use std::process::Command;

use dnswhy::capture::Inventory;
use dnswhy::report::json::Report;

fn dnswhy(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_dnswhy")).args(args).output().unwrap()
}

fn capture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap").join(name);
    path.to_string_lossy().into_owned()
}

#[test]
fn an_incident_is_extracted_with_all_copies_and_the_original_times() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("proof.pcapng");
    let path = made.to_string_lossy().into_owned();
    let source = capture("node-death-vxlan/client_dns.pcap00.gz");
    let out = dnswhy(&["extract", "--incident", "1", "-w", &path, &source]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("stale-backend"));

    let report = dnswhy(&["analyze", "-f", "json", &source]);
    let report: Report = serde_json::from_slice(&report.stdout).unwrap();
    let inventory = Inventory::take(std::slice::from_ref(&made), &[]).unwrap();
    let mut reader = inventory.files[0].open().unwrap();
    let mut times = Vec::new();
    while let Some(frame) = reader.next_frame() {
        let frame = frame.unwrap();
        assert_eq!(frame.interface, Some(0));
        times.push(frame.seen.ts.to_string());
    }
    assert!(times.is_sorted());
    for proof in &report.incidents[0].evidence {
        assert!(times.contains(&proof.time), "{} is missing", proof.time);
    }
    // Copies before and after translation are there, too; the rest of the capture is not.
    assert!(times.len() >= 2 * report.incidents[0].evidence.len());
    assert!((times.len() as u64) < report.capture.frames / 4);

    let Ok(tshark) = Command::new("tshark")
        .args(["-r", &path, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.comment"])
        .output()
    else {
        eprintln!("tshark is not installed: the file is read by our own reader alone");
        return;
    };
    assert!(tshark.status.success(), "{}", String::from_utf8_lossy(&tshark.stderr));
    let said = String::from_utf8_lossy(&tshark.stdout).into_owned();
    assert_eq!(said.lines().count(), times.len());
    assert!(said.lines().all(|line| line.contains("client_dns.pcap00.gz:")), "{said}");
    assert!(said.contains("stale-backend: query to 10.244.1.10 without an answer"), "{said}");
    let filter = &report.incidents[0].display_filter;
    let shown = Command::new("tshark").args(["-r", &path, "-Y", filter]).output().unwrap();
    assert!(shown.status.success(), "{filter}: {}", String::from_utf8_lossy(&shown.stderr));
    assert!(!shown.stdout.is_empty(), "{filter} shows nothing");
}

#[test]
fn an_incident_that_is_not_there_is_an_error_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proof.pcapng").to_string_lossy().into_owned();
    for number in ["0", "99"] {
        let out = dnswhy(&["extract", "--incident", number, "-w", &path, &capture("search-storm")]);
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("1 incident"));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
