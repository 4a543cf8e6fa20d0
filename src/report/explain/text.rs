//! The story on a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Paint};

use super::model::{Event, LookupStory, Rung, Sighting, Story};
use crate::base::words::duration;
use crate::report::Style;
use crate::report::escape::terminal;
use crate::report::table::wrap;

/// Columns of the margin: a time with microseconds and a mark.
const MARGIN: usize = 20;

/// Writes the story as text.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(story: &Story, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { style };
    if let Some(frame) = &story.frame {
        page.heading(&format!("FRAME {}:{}", frame.file, frame.frame), out)?;
        page.field("captured", &frame.time, out)?;
        page.field("is", &frame.what, out)?;
        page.field("belongs", &frame.part, out)?;
    }
    if let Some(lookup) = &story.lookup {
        if story.frame.is_some() {
            writeln!(out)?;
        }
        page.lookup(lookup, out)?;
    }
    if !story.reasons.is_empty() {
        let (word, colour) = match story.verdict {
            "abnormal" => ("ABNORMAL", AnsiColor::Red),
            "normal" => ("NORMAL", AnsiColor::Green),
            _ => ("NOT TO BE TOLD", AnsiColor::Yellow),
        };
        let paint = Paint::new().bold().fg_color(Some(colour.into()));
        writeln!(out, "\n{}", page.paint(paint, word))?;
        for reason in &story.reasons {
            page.paragraph("  - ", reason, out)?;
        }
        if let Some(incident) = &story.incident {
            let text = format!(
                "incident #{} of the report, {}: {}",
                incident.rank, incident.rule, incident.title
            );
            page.paragraph("  - ", &text, out)?;
        }
    }
    if !story.ladder.is_empty() {
        writeln!(out)?;
        page.heading("LADDER (seconds after the first query)", out)?;
        for rung in &story.ladder {
            page.rung(rung, out)?;
        }
    }
    Ok(())
}

struct Page {
    style: Style,
}

impl Page {
    fn paint(&self, paint: Paint, text: &str) -> String {
        if self.style.colour {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn heading(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.paint(Paint::new().bold(), &terminal(text)))
    }

    /// `text` wrapped, behind `mark` and as far in.
    fn paragraph(&self, mark: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let width = self.style.width.saturating_sub(mark.len()).max(30);
        for (index, line) in wrap(&terminal(text), width).iter().enumerate() {
            let margin = if index == 0 { mark } else { "" };
            writeln!(out, "{margin:<width$}{line}", width = mark.len())?;
        }
        Ok(())
    }

    fn field(&self, label: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
        self.paragraph(&format!("  {label:<11} "), text, out)
    }

    fn lookup(&self, lookup: &LookupStory, out: &mut dyn Write) -> io::Result<()> {
        let types = lookup.types.join(" + ");
        self.heading(&format!("LOOKUP {} ({types}) by {}", lookup.name, lookup.client), out)?;
        let resolver = match lookup.resolver.as_str() {
            "unknown" => "not told by this lookup".to_owned(),
            known => known.to_owned(),
        };
        let observed = lookup.observed.join(", ");
        let shown = if observed.is_empty() { String::new() } else { format!(" ({observed})") };
        self.field("resolver", &format!("{resolver}{shown}"), out)?;
        let seconds = |seconds: f64| duration(std::time::Duration::from_secs_f64(seconds.max(0.0)));
        let took = lookup.duration_seconds.map_or_else(|| "not known".to_owned(), seconds);
        let added = lookup.added_seconds.filter(|added| *added >= 0.1);
        let added = added.map_or_else(String::new, |s| format!(", {} of it added", seconds(s)));
        self.field("felt", &format!("{}, {took}{added}", lookup.outcome), out)?;
        if let Some(printed) = lookup.printed {
            self.field("printed", &format!("\"{printed}\""), out)?;
        }
        let text = format!(
            "{} sent to {}; names tried with a search suffix: {}",
            crate::base::words::count(lookup.attempts as u64, "query"),
            lookup.servers.join(", "),
            lookup.suffixes_tried
        );
        self.field("asked", &text, out)
    }

    fn rung(&self, rung: &Rung, out: &mut dyn Write) -> io::Result<()> {
        let mark = match rung.event {
            Event::Candidate | Event::Connection => "--",
            Event::Query => "->",
            Event::Answer => "<-",
            Event::Icmp => "!!",
            Event::Leg => "|>",
            Event::Wait => "..",
            Event::End => "==",
        };
        let margin = match rung.event {
            Event::Wait => format!("{:>15}  {mark} ", ""),
            _ => format!("{:>+15.6}  {mark} ", rung.offset_seconds),
        };
        self.paragraph(&margin, &rung.text, out)?;
        if let Some(verdict) = &rung.verdict {
            self.paragraph(&format!("{:MARGIN$}", ""), verdict, out)?;
        }
        if !rung.seen.is_empty() {
            self.paragraph(&format!("{:MARGIN$}", ""), &seen(&rung.seen), out)?;
        }
        if rung.asked_about {
            let arrow = self.paint(Paint::new().bold(), "^ the frame that was asked about");
            writeln!(out, "{:MARGIN$}{arrow}", "")?;
        }
        Ok(())
    }
}

/// Every sighting, the file named once.
fn seen(sightings: &[Sighting]) -> String {
    let mut text = String::from("seen ");
    let (mut file, mut point) = ("", "");
    let server = sightings.first().map_or("", |first| first.server.as_str());
    let client = sightings.first().map_or("", |first| first.client.as_str());
    for (index, hop) in sightings.iter().enumerate() {
        if index > 0 {
            text.push_str("; ");
        }
        if file != hop.file {
            text.push_str(&hop.file);
            file = &hop.file;
        }
        let mut at = Vec::new();
        if point != hop.point {
            at.push(format!("at {}", hop.point));
            point = &hop.point;
        }
        at.extend(hop.interface.map(|index| format!("interface {index}")));
        at.extend(hop.direction.map(str::to_owned));
        at.extend(hop.ttl.map(|ttl| format!("TTL {ttl}")));
        if hop.server != server {
            at.push(format!("server {}", hop.server));
        }
        if hop.client != client {
            at.push(format!("client {}", hop.client));
        }
        text.push_str(&format!(":{}", hop.frame));
        if !at.is_empty() {
            text.push_str(&format!(" ({})", at.join(", ")));
        }
    }
    text
}
