//! The JSON report: schema `dnswhy.report/1`.

mod convert;
mod reachability;
mod v1;

use std::io::{self, Write};

use crate::report::view::View;

pub use reachability::{CellV1, IcmpV1, ReachabilityV1, RunV1};
pub use v1::{Culprit, IncidentV1, Report, SCHEMA, SetName};

/// The JSON Schema of the report, indented, with a final newline.
///
/// # Errors
/// Never, as long as the schema is one.
pub fn schema() -> serde_json::Result<String> {
    let mut schema = schemars::schema_for!(Report);
    schema.insert("$id".to_owned(), SCHEMA.into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// Writes the report, indented, with a final newline.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Report::of(view)).map_err(io::Error::from)?;
    writeln!(out)
}
