//! The story on a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Paint};
use unicode_width::UnicodeWidthStr;

use super::model::{Event, LookupStory, Rung, Sighting, Story};
use crate::base::words::{Text, count, duration, join, plain, text};
use crate::report::Style;
use crate::report::escape::terminal;
use crate::report::table::{pad, wrap};

/// Columns of the margin: a time with microseconds and a mark.
const MARGIN: usize = 20;

/// Writes the story as text.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(story: &Story, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { style };
    if let Some(frame) = &story.frame {
        let at = plain(format_args!("{}:{}", frame.file, frame.frame));
        page.heading(&text!("FRAME {at}", at), out)?;
        page.field(&text!("captured"), &plain(&frame.time), out)?;
        page.field(&text!("is"), &frame.what, out)?;
        page.field(&text!("belongs"), &frame.part, out)?;
    }
    if let Some(lookup) = &story.lookup {
        if story.frame.is_some() {
            writeln!(out)?;
        }
        page.lookup(lookup, out)?;
    }
    if !story.reasons.is_empty() {
        let (word, colour) = match story.verdict {
            "abnormal" => (text!("ABNORMAL"), AnsiColor::Red),
            "normal" => (text!("NORMAL"), AnsiColor::Green),
            _ => (text!("NOT TO BE TOLD"), AnsiColor::Yellow),
        };
        let paint = Paint::new().bold().fg_color(Some(colour.into()));
        writeln!(out, "\n{}", page.paint(paint, &word.render(style.lang)))?;
        for reason in &story.reasons {
            page.paragraph("  - ", reason, out)?;
        }
        if let Some(incident) = &story.incident {
            let text = text!(
                "incident #{rank} of the report, {rule}: {title}",
                rank = incident.rank,
                rule = plain(incident.rule),
                title = incident.title
            );
            page.paragraph("  - ", &text, out)?;
        }
    }
    if !story.ladder.is_empty() {
        writeln!(out)?;
        page.heading(&text!("LADDER (seconds after the first query)"), out)?;
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

    /// `text` in the language of the story, nothing in it that a terminal would obey.
    fn say(&self, text: &Text) -> String {
        terminal(&text.render(self.style.lang))
    }

    fn heading(&self, text: &Text, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.paint(Paint::new().bold(), &self.say(text)))
    }

    /// `text` wrapped, behind `mark` and as far in.
    fn paragraph(&self, mark: &str, text: &Text, out: &mut dyn Write) -> io::Result<()> {
        let margin = mark.width();
        let width = self.style.width.saturating_sub(margin).max(30);
        for (index, line) in wrap(&self.say(text), width).iter().enumerate() {
            let mark = if index == 0 { mark } else { "" };
            writeln!(out, "{}{line}", pad(mark, margin))?;
        }
        Ok(())
    }

    fn field(&self, label: &Text, text: &Text, out: &mut dyn Write) -> io::Result<()> {
        self.paragraph(&format!("  {} ", pad(&self.say(label), 11)), text, out)
    }

    fn lookup(&self, lookup: &LookupStory, out: &mut dyn Write) -> io::Result<()> {
        let heading = text!(
            "LOOKUP {name} ({types}) by {client}",
            name = plain(&lookup.name),
            types = plain(lookup.types.join(" + ")),
            client = plain(&lookup.client)
        );
        self.heading(&heading, out)?;
        let resolver = if lookup.resolver == "unknown" {
            text!("not told by this lookup")
        } else {
            lookup.resolver.clone()
        };
        let observed = join(lookup.observed.iter().cloned(), ", ");
        let resolver = if observed.is_empty() {
            resolver
        } else {
            text!("{resolver} ({observed})", resolver, observed)
        };
        self.field(&text!("resolver"), &resolver, out)?;
        let seconds = |seconds: f64| duration(std::time::Duration::from_secs_f64(seconds.max(0.0)));
        let took = lookup.duration_seconds.map_or_else(|| text!("not known"), seconds);
        let added = lookup.added_seconds.filter(|added| *added >= 0.1);
        let added =
            added.map_or(Text::EMPTY, |s| text!(", {added} of it added", added = seconds(s)));
        let felt = text!("{outcome}, {took}{added}", outcome = lookup.outcome, took, added);
        self.field(&text!("felt"), &felt, out)?;
        if let Some(printed) = lookup.printed {
            self.field(&text!("printed"), &plain(format_args!("\"{printed}\"")), out)?;
        }
        let text = text!(
            "{queries} sent to {servers}; names tried with a search suffix: {suffixes}",
            queries = count(lookup.attempts as u64, "query"),
            servers = join(lookup.servers.iter().map(plain), ", "),
            suffixes = lookup.suffixes_tried
        );
        self.field(&text!("asked"), &text, out)
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
            let arrow = self.say(&text!("^ the frame that was asked about"));
            let arrow = self.paint(Paint::new().bold(), &arrow);
            writeln!(out, "{:MARGIN$}{arrow}", "")?;
        }
        Ok(())
    }
}

/// Every sighting, the file named once.
fn seen(sightings: &[Sighting]) -> Text {
    let mut told = Vec::new();
    let (mut file, mut point) = ("", "");
    let server = sightings.first().map_or("", |first| first.server.as_str());
    let client = sightings.first().map_or("", |first| first.client.as_str());
    for hop in sightings {
        let mut frame = format!(":{}", hop.frame);
        if file != hop.file {
            frame.insert_str(0, &hop.file);
            file = &hop.file;
        }
        let mut at = Vec::new();
        if point != hop.point {
            at.push(text!("at {point}", point = plain(&hop.point)));
            point = &hop.point;
        }
        at.extend(hop.interface.map(|index| text!("interface {index}", index)));
        at.extend(hop.direction.clone());
        at.extend(hop.ttl.map(|ttl| text!("TTL {ttl}", ttl)));
        if hop.server != server {
            at.push(text!("server {server}", server = plain(&hop.server)));
        }
        if hop.client != client {
            at.push(text!("client {client}", client = plain(&hop.client)));
        }
        let frame = plain(frame);
        told.push(if at.is_empty() {
            frame
        } else {
            text!("{frame} ({at})", frame, at = join(at, ", "))
        });
    }
    text!("seen {frames}", frames = join(told, "; "))
}
