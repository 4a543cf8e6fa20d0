//! The index for a ticket.

use std::io::{self, Write};

use super::index::Index;
use super::join::Joined;
use super::lines::{
    days, extent, few, headline, loud, note, period, quiet, waited, window, witnesses, worst,
};
use crate::base::words::count;
use crate::report::escape::{code, markdown};

impl Index {
    /// Writes it as Markdown.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "# DNS over {}\n", count(self.totals.sets, "capture set"))?;
        writeln!(out, "**{}**\n", markdown(&headline(self)))?;
        writeln!(out, "{}\n", markdown(&extent(self)))?;
        self.across_sets(out)?;
        incidents("Incidents", loud(self), out)?;
        self.calendar(out)?;
        self.unread(out)?;
        self.all_sets(out)?;
        incidents("For information", quiet(self), out)
    }

    fn across_sets(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.across.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Only visible across sets\n")?;
        for one in &self.across {
            writeln!(
                out,
                "- **A{}** {} **{}** ({}): {}",
                one.rank,
                markdown(&one.severity),
                markdown(&one.rule),
                markdown(&one.confidence),
                markdown(&one.title)
            )?;
            writeln!(out, "  - {}", markdown(&window(&one.start, &one.end)))?;
            writeln!(out, "  - {}", markdown(&one.cause))?;
            writeln!(out, "  - {}", markdown(&witnesses(one)))?;
            for (why, command) in &one.actions {
                writeln!(out, "  - {}: {}", markdown(why), code(command))?;
            }
        }
        writeln!(out)
    }

    fn calendar(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.recurring.is_empty() {
            return Ok(());
        }
        let (days, left_out) = days(self);
        writeln!(out, "## Recurring\n")?;
        if left_out > 0 {
            writeln!(out, "{left_out} earlier days are in the JSON.\n")?;
        }
        writeln!(out, "| rule | culprit | {} |", days.join(" | "))?;
        writeln!(out, "| --- | --- | {}", "--- | ".repeat(days.len()).trim_end())?;
        for one in &self.recurring {
            let cells: Vec<String> = days
                .iter()
                .map(|day| one.days.get(day).map_or_else(String::new, |word| markdown(word)))
                .collect();
            writeln!(
                out,
                "| {} | {} | {} |",
                markdown(&one.rule),
                markdown(&one.culprit),
                cells.join(" | ")
            )?;
        }
        writeln!(out)
    }

    fn unread(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.unreadable.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Could not be read\n\n| set | files | why |\n| --- | ---: | --- |")?;
        for set in &self.unreadable {
            writeln!(
                out,
                "| {} | {} | {} |",
                markdown(&set.name),
                set.files,
                markdown(&set.reason)
            )?;
        }
        writeln!(out)
    }

    fn all_sets(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "## Sets\n\n| set | DNS | worst | | lookups | failed | slow | period | problems |\n\
             | --- | --- | --- | --- | ---: | ---: | ---: | --- | ---: |"
        )?;
        for set in &self.sets {
            let (severity, rule) = worst(set);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                markdown(&set.name),
                markdown(&set.status),
                markdown(&severity),
                markdown(&rule),
                set.lookups,
                set.failed_lookups,
                set.slow_lookups,
                markdown(&period(set)),
                set.problem_count
            )?;
        }
        writeln!(out)
    }
}

fn incidents<'a>(
    title: &str,
    lines: impl Iterator<Item = &'a Joined>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "## {title}\n\n| # | severity | rule | what | when | sets | clients | lookups | failed | \
         added |\n| ---: | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: |"
    )?;
    for line in lines {
        let said = match note(line) {
            note if note.is_empty() => line.title.clone(),
            note => format!("{} ({note})", line.title),
        };
        let parts = line.parts.iter().map(|part| format!("{}#{}", part.set, part.incident));
        let parts: Vec<String> = parts.collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {}: {} | {} | {} | {} | {} |",
            line.rank,
            markdown(&line.severity),
            markdown(&line.rule),
            markdown(&said),
            markdown(&window(&line.start, &line.end)),
            line.sets,
            markdown(&few(&parts)),
            line.clients,
            line.lookups,
            line.failed_lookups,
            waited(line.added_seconds)
        )?;
    }
    writeln!(out)
}
