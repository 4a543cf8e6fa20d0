//! `dnswhy compare`: two JSON reports side by side.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::args::{Cli, Compare, CompareFormat};
use super::exit::Exit;
use super::output::{standard_output, style};
use crate::report::Comparison;
use crate::report::json::{Report, SCHEMA};

/// Compares the two reports that were named.
pub(super) fn compare(cli: &Cli, compare: &Compare) -> Result<Exit> {
    let comparison = Comparison::of(&read(&compare.before)?, &read(&compare.after)?);
    let mut out = standard_output();
    match compare.format {
        CompareFormat::Text => comparison.write_text(style(cli), &mut out)?,
        CompareFormat::Markdown => comparison.write_markdown(cli.lang.into(), &mut out)?,
        CompareFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &comparison).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let report: Report = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is no JSON report; make one with: dnswhy analyze -o json={} CAPTURE",
            path.display(),
            path.display()
        )
    })?;
    if report.schema != SCHEMA {
        bail!("{} has schema {}, not {SCHEMA}", path.display(), report.schema);
    }
    Ok(report)
}
