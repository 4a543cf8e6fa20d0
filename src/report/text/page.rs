//! Headings, labelled paragraphs and lists of a page of text.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Paint};

use crate::analysis::Status;
use crate::incident::Severity;
use crate::report::escape::terminal;
use crate::report::table::wrap;
use crate::report::view::View;

/// How a text report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// Whether to colour.
    pub colour: bool,
}

impl Default for Style {
    /// As wide as a page, without colour: what a file or a pipe gets.
    fn default() -> Self {
        Self { width: 100, colour: false }
    }
}

/// Columns of the margin that labels stand in.
const MARGIN: usize = 11;

/// Writes the report.
pub(in crate::report) fn write(
    view: &View<'_>,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let page = Page { view, style };
    page.first_screen(out)?;
    page.incidents(out)?;
    page.traffic(out)?;
    page.servers(out)?;
    page.clients(out)?;
    page.capture(out)
}

/// A report on its way to a terminal.
pub(super) struct Page<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) style: Style,
}

impl Page<'_> {
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        if self.style.colour {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    }

    pub(super) fn heading(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint(Paint::new().bold(), text))
    }

    /// Columns beside the margin.
    pub(super) fn beside(&self) -> usize {
        self.style.width.saturating_sub(MARGIN + 3).max(30)
    }

    /// A labelled paragraph: the label in the margin, the text wrapped beside it, addresses named.
    pub(super) fn field(&self, label: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
        self.list(label, [text], out)
    }

    /// Several paragraphs under one label.
    pub(super) fn list<T: AsRef<str>>(
        &self,
        label: &str,
        texts: impl IntoIterator<Item = T>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut label = label;
        let texts: Vec<T> = texts.into_iter().collect();
        // Further lines of a paragraph hang, so that the next one is seen to begin.
        let indent = if texts.len() > 1 { "  " } else { "" };
        for text in &texts {
            let text = terminal(&self.view.names.annotate(text.as_ref()));
            let lines = wrap(&text, self.beside() - indent.len());
            for (index, line) in lines.iter().enumerate() {
                let hang = if index > 0 { indent } else { "" };
                self.line(label, &format!("{hang}{line}"), out)?;
                label = "";
            }
        }
        Ok(())
    }

    /// One line beside the margin, as it is: commands and filters are copied whole.
    pub(super) fn line(&self, label: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let label = format!("{label:<MARGIN$}");
        let label =
            if label.trim().is_empty() { label } else { self.paint(Paint::new().dimmed(), &label) };
        let line = format!("  {label} {text}");
        writeln!(out, "{}", line.trim_end())
    }

    /// Lines that stand out under a heading, indented by two.
    pub(super) fn statement(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let text = terminal(&self.view.names.annotate(text));
        for line in wrap(&text, self.style.width.saturating_sub(2)) {
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }
}

/// The colour of a verdict.
pub(super) fn of_status(status: Status) -> AnsiColor {
    match status {
        Status::Healthy => AnsiColor::Green,
        Status::Degraded | Status::Inconclusive => AnsiColor::Yellow,
        Status::Failing => AnsiColor::Red,
    }
}

/// The colour of a severity.
pub(super) fn of_severity(severity: Severity) -> AnsiColor {
    match severity {
        Severity::Critical | Severity::High => AnsiColor::Red,
        Severity::Medium => AnsiColor::Yellow,
        Severity::Low => AnsiColor::Cyan,
        Severity::Info => AnsiColor::Blue,
    }
}
