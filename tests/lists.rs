//! `dnswhy lookups` and `dnswhy transactions`: CSV beside JSON lines, in a stable order, and
//! without keeping their reader waiting.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dnswhy::testkit::{PcapOptions, Scenario};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnswhy"));
    command.args(args);
    command
}

fn printed(args: &[&str]) -> String {
    let out = command(args).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn capture(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap").join(name);
    path.to_string_lossy().into_owned()
}

fn records(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
    (header, rows.collect())
}

#[test]
fn both_formats_say_the_same_of_lookups() {
    let folder = capture("node-death-vxlan");
    let lines = printed(&["lookups", &folder]);
    let (header, rows) = records(&printed(&["lookups", "-f", "csv", &folder]));
    assert_eq!(lines.lines().count(), rows.len());
    for (line, row) in lines.lines().zip(&rows) {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object.as_object().unwrap().len(), header.len());
        for (column, cell) in header.iter().zip(row) {
            let expected = match &object[column] {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(list) => {
                    list.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(" ")
                }
                serde_json::Value::Number(number) => {
                    assert_eq!(number.as_f64(), cell.parse().ok(), "{column}");
                    continue;
                }
                other => other.to_string(),
            };
            assert_eq!(*cell, expected, "{column}");
        }
    }
}

#[test]
fn a_transaction_is_a_record_with_all_its_frames() {
    let folder = capture("healthy-mixed-sll2");
    let lines = printed(&["transactions", &folder]);
    let (header, rows) = records(&printed(&["transactions", "-f", "csv", &folder]));
    assert_eq!(lines.lines().count(), rows.len());
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    for (line, row) in lines.lines().zip(&rows) {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row[column("name")], object["name"].as_str().unwrap());
        let attempts = object["attempts"].as_array().unwrap();
        assert_eq!(row[column("attempts")], attempts.len().to_string());
        let responses = object["responses"].as_array().unwrap();
        let seen = attempts.iter().chain(responses);
        let frames: usize = seen.map(|one| one["frames"].as_array().unwrap().len()).sum();
        assert_eq!(row[column("frames")].split(' ').count(), frames);
    }
}

#[test]
fn no_cell_is_a_formula() {
    let folder = tempfile::tempdir().unwrap();
    let made = Scenario::parse(
        "
        pod = 10.244.1.7
        dns = 10.96.0.10
        0.000  pod:40000 > dns  rd  A =HYPERLINK.example.com.
        0.001  pod:40000 < dns  NXDOMAIN
        ",
    );
    let path = folder.path().join("made.pcap");
    fs::write(&path, &made.write_pcap(&PcapOptions::default())[0]).unwrap();
    let path = path.to_string_lossy();
    for list in ["lookups", "transactions"] {
        let (header, rows) = records(&printed(&[list, "-f", "csv", &path]));
        let name = header.iter().position(|column| column == "name").unwrap();
        assert_eq!(rows[0][name], "'=HYPERLINK.example.com");
    }
}

#[test]
fn rows_come_in_order_of_time_whatever_the_order_of_arguments() {
    let (one, two) = (
        capture("healthy-ring-wrapped/client_dns.pcap0.gz"),
        capture("healthy-ring-wrapped/client_dns.pcap1.gz"),
    );
    for list in ["lookups", "transactions"] {
        let there = printed(&[list, &one, &two]);
        assert_eq!(there, printed(&[list, &two, &one]));
        let starts: Vec<String> = there
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                row["start"].as_str().unwrap().to_owned()
            })
            .collect();
        let late = |pair: &&[String]| pair[0] > pair[1];
        let disorder = starts.windows(2).filter(late).count();
        assert!(disorder * 100 <= starts.len(), "{list}: {disorder} of {}", starts.len());
    }
}

/// A long capture is written to a pipe that is then held open: the reader of the rows must not
/// have to wait for the end of it.
#[test]
fn rows_come_before_the_input_ends() {
    let made = Scenario::parse(
        "
        pod = 10.244.1.7
        dns = 10.96.0.10
        repeat 6000 every 0.05
        0.000  pod > dns  rd  A name{n}.example.com.
        0.001  pod < dns  name{n}.example.com. 30 A 192.0.2.1
        end
        ",
    );
    let plain = &made.write_pcap(&PcapOptions::default())[0];
    for (list, format) in [("lookups", "jsonl"), ("transactions", "csv")] {
        let mut child = command(&[list, "-f", format, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = child.stdout.take().unwrap();
        let (told, rows) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                // The test may have seen enough before the rows end.
                let _ = told.send(line.unwrap());
            }
        });
        input.write_all(plain).unwrap();
        input.flush().unwrap();
        for _ in 0..1000 {
            let row = rows.recv_timeout(Duration::from_mins(1));
            assert!(row.is_ok(), "{list} waits for the end of its input");
        }
        drop(input);
        assert!(child.wait().unwrap().success());
        reader.join().unwrap();
    }
}
