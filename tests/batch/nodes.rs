//! Faults that no single capture shows: one path, one node.

use serde_json::Value;

use super::archive::{Archive, asking, healthy, minute};
use super::{batch, command, index, lines, said};

/// One node cannot reach one backend, which answers the others: its own capture can only say that
/// the backend, or the way to it, is dead.
#[test]
fn a_broken_path_is_named_once_others_are_seen() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &minute(1, 0.0, &["dns1"]), 400);
    archive.put_made("n2/client_dns", &healthy(2, 0.0), 400);
    archive.put_made("n3/client_dns", &healthy(3, 0.0), 400);
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &["-f", "json"]);
    let index = index(&reports);
    let across = index["across"].as_array().unwrap();
    assert_eq!(across.len(), 1, "{across:#?}");
    let path = &across[0];
    assert_eq!(path["rule"], "path-broken-pair");
    assert_eq!(path["culprits"][0]["value"], "10.244.1.0/24 -> 10.244.201.10");
    assert_eq!(path["confidence"], "likely");
    assert_eq!(path["sets"], serde_json::json!(["n1/client_dns"]));
    assert_eq!(path["judged_with"], serde_json::json!(["n2/client_dns", "n3/client_dns"]));
    let blamed = lines(&index, "dead-backend");
    assert_eq!(blamed.len(), 1);
    assert_eq!(blamed[0]["explained_by"], 1);
    assert_eq!(path["lookups"], blamed[0]["lookups"]);
    assert_eq!(path["severity"], blamed[0]["severity"]);
}

/// One node reaches nobody: its own capture, whose clients are kept to one backend, cannot tell that
/// from a service that is down.
#[test]
fn a_broken_node_is_named_once_others_are_seen() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &asking(1, 0.0, &["dns1"], &["dns1"]), 400);
    archive.put_made("n2/client_dns", &healthy(2, 0.0), 400);
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &["-f", "json"]);
    let index = index(&reports);
    let across = index["across"].as_array().unwrap();
    let rules: Vec<&Value> = across.iter().map(|one| &one["rule"]).collect();
    assert_eq!(rules, ["client-node-broken"], "{across:#?}");
    assert_eq!(across[0]["culprits"][0]["value"], "10.244.1.0/24");
    let blamed = lines(&index, "service-wide-outage");
    assert_eq!(blamed.len(), 1);
    assert_eq!(blamed[0]["explained_by"], 1);
}

/// What all nodes see is no news across them.
#[test]
fn a_dead_backend_is_no_path() {
    let archive = Archive::new();
    for n in 1..=3 {
        archive.put_made(&format!("n{n}/client_dns"), &minute(n, 0.0, &["dns1"]), 400);
    }
    let reports = archive.beside("reports");
    batch(&[&archive.path()], &reports, &["-f", "json"]);
    let index = index(&reports);
    assert_eq!(index["across"], serde_json::json!([]));
    assert_eq!(lines(&index, "dead-backend").len(), 1);
    assert_eq!(lines(&index, "dead-backend")[0]["confidence"], "confirmed");
}

/// Reports of other machines say the same together as one run over all captures, however they are
/// put together.
#[test]
fn reports_of_other_machines_are_merged() {
    let archive = Archive::new();
    archive.put_made("n1/client_dns", &minute(1, 0.0, &["dns1"]), 400);
    archive.put_made("n2/client_dns", &healthy(2, 0.0), 400);
    archive.put_made("n3/client_dns", &healthy(3, 0.0), 400);
    for n in ["n1", "n2", "n3"] {
        let out = command()
            .current_dir(archive.beside(""))
            .args(["analyze", "-o", &format!("{n}.json"), &format!("archive/{n}")])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    }
    let merge = |reports: &[&str], into: &str| {
        let out = command()
            .current_dir(archive.beside(""))
            .arg("merge")
            .args(reports)
            .args(["-o", into])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        index(&archive.beside(into))
    };
    let whole = merge(&["n1.json", "n2.json", "n3.json"], "whole");
    assert_eq!(whole["across"][0]["rule"], "path-broken-pair");
    assert_eq!(whole["sets"][0]["name"], "n1");
    assert_eq!(whole["sets"][0]["report"], "../n1.json");
    let part = merge(&["n3.json", "n1.json"], "part");
    assert_eq!(part["sets"].as_array().unwrap().len(), 2);
    assert_eq!(merge(&["n2.json", "part/index.json"], "rest"), whole);
    assert_eq!(merge(&["n1.json", "whole/index.json", "n1.json"], "again"), whole);
    let wrong = command()
        .current_dir(archive.beside(""))
        .args(["merge", "archive/n1/client_dns.pcap00.gz", "-o", "wrong"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("neither a JSON report nor an index"), "{}", said(&wrong));
}
