//! Which writer renders a report.

use std::io::{self, Write};

use super::text::Style;
use super::{json, markdown, text};
use crate::analysis::Analysis;

/// A form that a report can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For a ticket.
    Markdown,
    /// For programs: schema `dnswhy.report/1`.
    Json,
}

/// Writes `analysis` in one of the formats.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(
    analysis: &Analysis,
    format: Format,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => text::write(analysis, style, out),
        Format::Markdown => markdown::write(analysis, out),
        Format::Json => json::write(analysis, out),
    }
}
