//! The JSON report keeps the contract that is published: `docs/report-v1.schema.json`.
//!
//! After a change of the types, `UPDATE_GOLDEN=1` writes the schema anew; fields are only ever added.

use std::fs;
use std::path::Path;

const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report-v1.schema.json");

#[test]
fn the_published_schema_is_that_of_the_types() {
    let schema = dnswhy::report::json::schema().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(PUBLISHED, &schema).unwrap();
    }
    let published = fs::read_to_string(PUBLISHED).unwrap();
    assert!(schema == published, "docs/report-v1.schema.json is not current; UPDATE_GOLDEN=1");
}

#[test]
fn real_reports_are_valid() {
    let schema: serde_json::Value =
        serde_json::from_str(&dnswhy::report::json::schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for folder in ["testdata/pcap", "testdata/scenarios"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(folder).unwrap() {
            let Ok(text) = fs::read_to_string(entry.unwrap().path().join("report.json")) else {
                continue;
            };
            let report: serde_json::Value = serde_json::from_str(&text).unwrap();
            let problems: Vec<String> =
                validator.iter_errors(&report).map(|error| error.to_string()).collect();
            assert!(problems.is_empty(), "{problems:?}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} reports");
    assert!(!validator.is_valid(&serde_json::json!({ "schema": "dnswhy.report/1" })));
}
