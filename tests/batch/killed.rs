//! A run that is killed leaves whole reports, and the next one goes on where it was.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::archive::{Archive, healthy, minute};
use super::{batch, command, said, tree};

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a run takes here says when to kill one")]
fn killed_ten_times_the_result_is_the_same_to_the_byte() {
    let archive = Archive::new();
    for n in 1..=30 {
        let text = if n % 3 == 0 { minute(n, 0.0, &["dns1"]) } else { healthy(n, 0.0) };
        archive.put_made(&format!("n{n:02}/client_dns"), &text, 250);
    }
    archive.put_broken();
    let whole = archive.beside("whole");
    let started = Instant::now();
    batch(&[&archive.path()], &whole, &[]);
    let took = started.elapsed();

    let reports = archive.beside("reports");
    let mut killed = 0;
    for round in 0..10_u32 {
        // Any moment up to a third of the whole, so that most runs are cut.
        let random = RandomState::new().hash_one(round) % 1_000;
        let share = f64::from(u32::try_from(random).unwrap()) / 1_000.0;
        let mut child = command()
            .arg("batch")
            .arg(archive.path())
            .arg("-o")
            .arg(&reports)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(took.mul_f64(share / 3.0) + Duration::from_millis(u64::from(round)));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        // Whatever is there is whole.
        if reports.is_dir() {
            for (path, bytes) in tree(&reports) {
                if path.extension().is_some_and(|ending| ending == "json") {
                    let read: Result<Value, _> = serde_json::from_slice(&bytes);
                    assert!(read.is_ok(), "{} is torn", path.display());
                }
            }
        }
    }
    assert!(killed >= 3, "only {killed} of ten runs were killed");
    let out = batch(&[&archive.path()], &reports, &[]);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let (killed, whole) = (tree(&reports), tree(&whole));
    assert_eq!(killed.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (path, bytes) in &whole {
        assert!(killed[path] == *bytes, "{} differs", path.display());
    }
}

/// What was done before a run was killed is not done again.
#[test]
fn a_run_goes_on_where_the_last_one_was() {
    let archive = Archive::new();
    for n in 1..=4 {
        archive.put_made(&format!("n{n}/client_dns"), &healthy(n, 0.0), 250);
    }
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &["-f", "json"]);
    let expected = tree(&reports);
    // As if it had been killed before the third set was remembered, half way through a report.
    fs::remove_file(reports.join(".dnswhy/n3/client_dns.json")).unwrap();
    fs::remove_file(reports.join("index.json")).unwrap();
    fs::write(reports.join("n3/.dnswhy-x.partial"), b"{").unwrap();
    let out = batch(&[&archive.path()], &reports, &["-f", "json"]);
    assert!(said(&out).contains("4 sets: 1 analysed, 3 unchanged"), "{}", said(&out));
    assert!(tree(&reports) == expected);
}
