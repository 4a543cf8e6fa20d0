//! Archives of many capture sets: what is found in them, what is done again, and what is left
//! behind by runs that were killed.

mod archive;
mod killed;
mod nodes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dnswhy::detect::Class;
use serde_json::Value;

use archive::{Archive, DAY, healthy, minute};

const DEAD: &str = "10.244.201.10";

/// Runs `dnswhy batch`, quietly where nobody looks.
fn batch(archives: &[&Path], reports: &Path, more: &[&str]) -> Output {
    let mut command = command();
    command.arg("batch").args(archives).arg("-o").arg(reports).args(more);
    command.output().unwrap()
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dnswhy"))
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn index(reports: &Path) -> Value {
    serde_json::from_slice(&fs::read(reports.join("index.json")).unwrap()).unwrap()
}

/// Everything below a folder but the lock, which names a process.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut queue = vec![folder.to_owned()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                queue.push(path);
            } else if path.file_name().unwrap() != "lock" {
                let bytes = fs::read(&path).unwrap();
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    files
}

fn lines<'a>(index: &'a Value, rule: &str) -> Vec<&'a Value> {
    index["incidents"].as_array().unwrap().iter().filter(|one| one["rule"] == rule).collect()
}

/// Seventeen nodes see one dead backend on two days; three nodes see nothing.
fn cluster(archive: &Archive) {
    for n in 1..=17 {
        archive.put_made(
            &format!("prod/n{n:02}/2026-01-05/client_dns"),
            &minute(n, 0.0, &["dns1"]),
            300,
        );
    }
    for n in 1..=3 {
        let again = minute(n, 2.0 * DAY, &["dns1"]);
        archive.put_made(&format!("prod/n{n:02}/2026-01-07/client_dns"), &again, 300);
        archive.put_made(
            &format!("stage/n{n:02}/2026-01-05/client_dns"),
            &healthy(100 + n, 0.0),
            300,
        );
    }
}

#[test]
fn an_archive_becomes_one_index() {
    let archive = Archive::new();
    cluster(&archive);
    archive.put_broken();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("DNSWHY_SHARED");
    let shared = shared.map(|path| Path::new(&path).join("lab-captures"));
    let expected = archive.put_real(&shared.unwrap_or(root.join("testdata/pcap")), 3_000_000);
    let reports = archive.beside("reports");
    let out =
        batch(&[&archive.path()], &reports, &["--format", "json,html,markdown", "--apart", "1"]);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    assert!(out.stdout.is_empty());
    let index = index(&reports);
    let sets = index["sets"].as_array().unwrap();
    assert!(sets.len() >= 30, "{} sets", sets.len());

    // What is wrong with broken ones is said, and stops nobody.
    let unread: Vec<String> = index["unreadable"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{}: {}", one["name"].as_str().unwrap(), one["reason"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        unread,
        [
            "broken/n1/2026-01-05/client_dns: client_dns.pcap00: not a pcap or pcapng capture",
            "broken/n2/2026-01-05/client_dns: client_dns.pcap00: the file is empty",
            "broken/n3/2026-01-05/client_dns: client_dns.pcap00.gz: the compressed data ends \
             early",
        ]
    );
    let cut = sets.iter().find(|set| set["name"] == "broken/n4/2026-01-05/client_dns").unwrap();
    assert_eq!(cut["problem_count"], 1);

    // One dead backend is one line for each time that it died, from all who saw it.
    let dead = lines(&index, "dead-backend");
    let ours: Vec<&&Value> =
        dead.iter().filter(|line| line["culprits"][0]["value"] == DEAD).collect();
    assert_eq!(ours.len(), 2, "{ours:#?}");
    assert_eq!(ours.iter().map(|line| line["sets"].as_u64().unwrap()).max(), Some(17));
    let first = ours.iter().find(|line| line["sets"] == 17).unwrap();
    assert_eq!(first["clients"], 3 * 17);
    let lookups: u64 = sets
        .iter()
        .filter(|set| set["name"].as_str().unwrap().contains("/2026-01-05/"))
        .flat_map(|set| set["incidents"].as_array().unwrap())
        .filter(|one| one["rule"] == "dead-backend" && one["culprits"][0]["value"] == DEAD)
        .map(|one| one["lookups"].as_u64().unwrap())
        .sum();
    assert_eq!(first["lookups"].as_u64(), Some(lookups));
    assert!(lookups > 17 * 20);
    assert_eq!(first["confidence"], "confirmed", "other nodes see the same");
    let days =
        index["recurring"].as_array().unwrap().iter().find(|one| {
            one["rule"] == "dead-backend" && one["culprit"] == format!("backend {DEAD}")
        });
    let days: Vec<&String> = days.unwrap()["days"].as_object().unwrap().keys().collect();
    assert_eq!(days, ["2026-01-05", "2026-01-07"]);

    // Every fault of a real capture is in the index, with its set.
    for expected in &expected {
        // Some faults are seen at the backend's node alone.
        let cluster = expected.set.trim_end_matches("client/2026-11-20/client_dns");
        let of_set = |line: &&Value| {
            let parts = line["parts"].as_array().unwrap();
            // What costs only work is information by its class.
            let costs = dnswhy::detect::ALL
                .iter()
                .any(|rule| line["rule"] == rule.id && rule.class == Class::Efficiency);
            let loud = expected.harmless || costs || line["severity"] != "info";
            loud && parts.iter().any(|part| part["set"].as_str().unwrap().starts_with(cluster))
        };
        let named: Vec<&str> = index["incidents"]
            .as_array()
            .unwrap()
            .iter()
            .filter(of_set)
            .map(|line| line["rule"].as_str().unwrap())
            .collect();
        for rule in &expected.rules {
            let fits = rule.split('|').any(|rule| named.contains(&rule));
            assert!(fits, "{}: {rule} is not among {named:?}", expected.set);
        }
        assert!(sets.iter().any(|set| set["name"] == *expected.set), "{}", expected.set);
    }

    // The pages lead to the reports.
    let page = fs::read_to_string(reports.join("index.html")).unwrap();
    assert!(page.contains("href=\"./prod/n01/2026-01-05/client_dns.html#incident-1\""));
    for ending in ["html", "json", "md"] {
        assert!(reports.join(format!("prod/n01/2026-01-05/client_dns.{ending}")).is_file());
    }
    let text = fs::read_to_string(reports.join("index.md")).unwrap();
    assert!(text.contains("## Recurring") && text.contains("## Could not be read"), "{text}");
    let last = said(&out).lines().last().unwrap().to_owned();
    assert!(
        last.contains(&format!("{} sets: ", sets.len() + 3))
            && last.contains("incidents above info"),
        "{last}"
    );

    // Again, nothing is done, and nothing changes.
    let before = tree(&reports);
    let again =
        batch(&[&archive.path()], &reports, &["--format", "markdown,html,json", "--apart", "1"]);
    assert!(said(&again).contains("sets: 0 analysed"), "{}", said(&again));
    assert!(tree(&reports) == before);

    // Merging the reports of all sets gives the same index, but for what could not be read.
    let merged = archive.beside("merged");
    let all: Vec<PathBuf> = sets
        .iter()
        .map(|set| reports.join(format!("{}.json", set["name"].as_str().unwrap())))
        .collect();
    let out = command().arg("merge").args(&all).arg("-o").arg(&merged).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let merged = self::index(&merged);
    for part in ["incidents", "across", "recurring"] {
        assert!(merged[part] == index[part], "{part}");
    }
}

#[test]
fn what_could_not_be_read_was_not_analysed() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &healthy(1, 0.0), 200);
    archive.put("n2/client_dns.pcap00", b"this is no capture, whatever its name");
    let reports = archive.beside("reports");
    let run = || said(&batch(&[&archive.path()], &reports, &["-f", "json"]));
    let first = run();
    assert!(first.contains("2 sets: 1 analysed, 0 unchanged, 1 could not be read"), "{first}");
    let again = run();
    assert!(again.contains("2 sets: 0 analysed, 1 unchanged, 1 could not be read"), "{again}");
}

#[test]
fn what_did_not_change_is_not_done_again() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &minute(1, 0.0, &["dns1"]), 200);
    archive.put_made("n2/client_dns", &healthy(2, 0.0), 200);
    let reports = archive.beside("reports");
    let run = || {
        let out = batch(&[&archive.path()], &reports, &["-f", "json"]);
        said(&out).lines().last().unwrap().to_owned()
    };
    assert!(run().contains("2 sets: 2 analysed, 0 unchanged"));
    assert!(run().contains("2 sets: 0 analysed, 2 unchanged"));
    // A copy has another time, and the same frames.
    let file = archive.path().join("n1/client_dns.pcap01.gz");
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    assert!(run().contains("2 sets: 0 analysed, 2 unchanged"));
    // A file more is another set.
    let more = dnswhy::testkit::Scenario::parse(&minute(1, 100.0, &["dns1"]));
    let more = more.write_pcap(&dnswhy::testkit::PcapOptions::default());
    archive.put("n1/client_dns.pcap90", &more[0]);
    assert!(run().contains("2 sets: 1 analysed, 1 unchanged"));
    // A report that is gone is written again.
    fs::remove_file(reports.join("n2/client_dns.json")).unwrap();
    assert!(run().contains("2 sets: 1 analysed, 1 unchanged"));
    // What is asked for may change.
    let other = batch(&[&archive.path()], &reports, &["-f", "markdown"]);
    assert!(said(&other).contains("2 sets: 2 analysed"), "{}", said(&other));
    // A set that is gone leaves its reports, and the index.
    fs::remove_dir_all(archive.path().join("n2")).unwrap();
    let out = batch(&[&archive.path()], &reports, &["-f", "markdown"]);
    assert!(said(&out).contains("reports of 1 set that are gone were left"), "{}", said(&out));
    assert!(reports.join("n2/client_dns.md").is_file());
    assert_eq!(index(&reports)["sets"].as_array().unwrap().len(), 1);
}

#[test]
fn neither_order_nor_jobs_change_a_byte() {
    let archive = Archive::new();
    for n in 1..=3 {
        archive.put_made(&format!("n{n}/client_dns"), &minute(n, 0.0, &["dns2"]), 100);
    }
    let (one, other) = (archive.beside("one"), archive.beside("other"));
    let [a, b, c] = ["n1", "n2", "n3"].map(|name| archive.path().join(name));
    batch(&[&a, &b, &c], &one, &["--jobs", "1"]);
    batch(&[&c, &a, &b, &a], &other, &["--jobs", "5"]);
    assert!(tree(&one) == tree(&other));
    assert!(one.join("n1/client_dns.html").is_file());
}

#[test]
fn a_pause_starts_a_set_and_the_ring_stays_together() {
    let archive = Archive::new();
    for (number, start) in [0.0, 100.0, 3_600.0].into_iter().enumerate() {
        let made = dnswhy::testkit::Scenario::parse(&healthy(1, start));
        let made = made.write_pcap(&dnswhy::testkit::PcapOptions::default());
        archive.put(&format!("n1/client_dns.pcap{number}"), &made[0]);
    }
    let reports = archive.beside("reports");
    let names = |more: &[&str]| {
        batch(&[&archive.path()], &reports, more);
        let index = index(&reports);
        let sets = index["sets"].as_array().unwrap().iter();
        let mut names: Vec<String> =
            sets.map(|set| format!("{} {}", set["name"].as_str().unwrap(), set["files"])).collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]), ["n1/client_dns 2", "n1/client_dns@20260105T110000Z 1"]);
    assert_eq!(names(&["--split-gap", "2h"]), ["n1/client_dns 3"]);
    assert_eq!(names(&["--split-gap", "10s"]).len(), 3);
}

#[test]
fn two_runs_in_one_folder_do_not_harm_each_other() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &healthy(1, 0.0), 200);
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &[]);
    let lock = fs::File::options().append(true).open(reports.join(".dnswhy/lock")).unwrap();
    lock.lock().unwrap();
    let before = tree(&reports);
    let out = batch(&[&archive.path()], &reports, &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("another run (process "), "{}", said(&out));
    assert!(said(&out).contains("give this one a folder of its own"), "{}", said(&out));
    assert!(tree(&reports) == before);
    drop(lock);
    assert_eq!(batch(&[&archive.path()], &reports, &[]).status.code(), Some(0));
}

#[test]
fn scripts_are_told_how_it_ended() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &minute(1, 0.0, &["dns1"]), 200);
    archive.put_made("n2/client_dns", &healthy(2, 0.0), 200);
    let reports = archive.beside("reports");
    let status = |more: &[&str]| batch(&[&archive.path()], &reports, more).status.code();
    assert_eq!(status(&[]), Some(0));
    assert_eq!(status(&["--fail-on", "low"]), Some(1));
    assert_eq!(status(&["--fail-on", "critical"]), Some(0));
    let quiet = batch(&[&archive.path()], &reports, &["--quiet"]);
    assert!(quiet.stderr.is_empty(), "{}", said(&quiet));
    let nowhere = batch(&[Path::new("/nowhere/at/all")], &reports, &[]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(said(&nowhere).contains("/nowhere/at/all"), "{}", said(&nowhere));
    let none = Archive::new();
    none.put("n1/client_dns.pcap0", b"nothing that could be read");
    let out = batch(&[&none.path()], &none.beside("reports"), &[]);
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    let index = index(&none.beside("reports"));
    assert_eq!(index["unreadable"][0]["name"], "n1/client_dns");
}

/// Two clusters use the same addresses: nobody joins them who is told so.
#[test]
fn clusters_may_be_kept_apart() {
    let archive = Archive::new();
    for cluster in ["east", "west"] {
        archive.put_made(&format!("{cluster}/n1/client_dns"), &minute(1, 0.0, &["dns1"]), 400);
    }
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &["-f", "json"]);
    assert_eq!(lines(&index(&reports), "dead-backend").len(), 1);
    batch(&[&archive.path()], &reports, &["-f", "json", "--apart", "1"]);
    let apart = index(&reports);
    let scopes: Vec<&Value> =
        lines(&apart, "dead-backend").iter().map(|line| &line["scope"]).collect();
    assert_eq!(scopes, ["east", "west"]);
    let merged = archive.beside("merged");
    let out = command()
        .arg("merge")
        .arg(reports.join("index.json"))
        .arg("-o")
        .arg(&merged)
        .args(["--apart", "0"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    assert_eq!(lines(&index(&merged), "dead-backend").len(), 1);
}

/// The published schema is that of the types, and real indexes keep it.
#[test]
fn the_index_keeps_its_schema() {
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/index-v1.schema.json");
    let schema = dnswhy::archive::Index::json_schema().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(published, &schema).unwrap();
    }
    assert!(schema == fs::read_to_string(published).unwrap(), "UPDATE_GOLDEN=1 writes it anew");
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &minute(1, 0.0, &["dns1"]), 200);
    archive.put("n2/client_dns.pcap", b"");
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &["-f", "json"]);
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(&index(&reports)).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
}
