//! Headings, labelled paragraphs and lists of a page of text.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Paint};

use crate::analysis::Status;
use crate::base::Lang;
use crate::base::words::Text;
use crate::incident::Severity;
use crate::report::escape::terminal;
use crate::report::table::{pad, wrap};
use crate::report::view::View;

/// How a text report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// Whether to colour.
    pub colour: bool,
    /// In which language: every writer takes it from here, of all human formats.
    pub lang: Lang,
}

impl Default for Style {
    /// As wide as a page, without colour, in English: what a file or a pipe gets.
    fn default() -> Self {
        Self { width: 100, colour: false, lang: Lang::En }
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

    /// `text` in the language of the report.
    pub(super) fn word(&self, text: &Text) -> String {
        text.render(self.style.lang)
    }

    /// A sentence: addresses named, nothing in it that a terminal would obey.
    pub(super) fn say(&self, text: &Text) -> String {
        terminal(&self.view.names.annotate(&self.word(text)))
    }

    pub(super) fn heading(&self, text: &Text, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint(Paint::new().bold(), &self.word(text)))
    }

    /// Columns beside the margin.
    pub(super) fn beside(&self) -> usize {
        self.style.width.saturating_sub(MARGIN + 3).max(30)
    }

    /// A labelled paragraph: the label in the margin, the text wrapped beside it, addresses named.
    pub(super) fn field(&self, label: &Text, text: &Text, out: &mut dyn Write) -> io::Result<()> {
        self.list(label, [text.clone()], out)
    }

    /// Several paragraphs under one label.
    pub(super) fn list(
        &self,
        label: &Text,
        texts: impl IntoIterator<Item = Text>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut label = label.clone();
        let texts: Vec<Text> = texts.into_iter().collect();
        // Further lines of a paragraph hang, so that the next one is seen to begin.
        let indent = if texts.len() > 1 { "  " } else { "" };
        for text in &texts {
            let lines = wrap(&self.say(text), self.beside() - indent.len());
            for (index, line) in lines.iter().enumerate() {
                let hang = if index > 0 { indent } else { "" };
                self.line(&label, &format!("{hang}{line}"), out)?;
                label = Text::EMPTY;
            }
        }
        Ok(())
    }

    /// One line beside the margin, as it is: commands and filters are copied whole.
    pub(super) fn line(&self, label: &Text, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let label = pad(&self.word(label), MARGIN);
        let label =
            if label.trim().is_empty() { label } else { self.paint(Paint::new().dimmed(), &label) };
        let line = format!("  {label} {text}");
        writeln!(out, "{}", line.trim_end())
    }

    /// Lines that stand out under a heading, indented by two.
    pub(super) fn statement(&self, text: &Text, out: &mut dyn Write) -> io::Result<()> {
        for line in wrap(&self.say(text), self.style.width.saturating_sub(2)) {
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
