//! Which writer renders a report.

use std::io::{self, Write};
use std::path::Path;

use super::text::Style;
use super::view::View;
use super::{html, json, markdown, text};

/// A form that a report can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For a ticket.
    Markdown,
    /// For a browser: one file that needs no other.
    Html,
    /// For programs: schema `dnswhy.report/1`.
    Json,
}

impl Format {
    /// All of them, with the names that they go by on the command line and as endings of files.
    const NAMES: [(Self, &'static [&'static str]); 4] = [
        (Self::Text, &["text", "txt", "log"]),
        (Self::Markdown, &["markdown", "md"]),
        (Self::Html, &["html", "htm"]),
        (Self::Json, &["json"]),
    ];

    /// The format that goes by `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let known = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        Self::NAMES.iter().find(|(_, names)| known(names)).map(|(format, _)| *format)
    }

    /// The ending of files that hold it.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Markdown => "md",
            Self::Html => "html",
            Self::Json => "json",
        }
    }

    /// The format that a file's ending stands for.
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::named(path.extension()?.to_str()?)
    }
}

/// Writes what is in `view` in one of the formats.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(view: &View<'_>, format: Format, style: Style, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => text::write(view, style, out),
        Format::Markdown => markdown::write(view, style.lang, out),
        Format::Html => html::write(view, style.lang, out),
        Format::Json => json::write(view, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_tells_the_format() {
        assert_eq!(Format::of_file(Path::new("a/report.HTML")), Some(Format::Html));
        assert_eq!(Format::of_file(Path::new("report.md")), Some(Format::Markdown));
        assert_eq!(Format::of_file(Path::new("report.pdf")), None);
        assert_eq!(Format::of_file(Path::new("json")), None);
    }
}
