//! The JSON report: schema `dnswhy.report/1`.

mod convert;
mod v1;

use std::io::{self, Write};

use crate::analysis::Analysis;

pub use v1::{Report, SCHEMA};

/// Writes the report, indented, with a final newline.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn write(analysis: &Analysis, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Report::of(analysis)).map_err(io::Error::from)?;
    writeln!(out)
}
