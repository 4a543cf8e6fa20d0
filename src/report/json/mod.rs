//! The JSON report: schema `dnswhy.report/1`.

mod convert;
mod v1;

use std::io::{self, Write};

use crate::report::view::View;

pub use v1::{Report, SCHEMA};

/// Writes the report, indented, with a final newline.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Report::of(view)).map_err(io::Error::from)?;
    writeln!(out)
}
