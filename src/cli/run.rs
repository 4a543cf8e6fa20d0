//! Carries out what was typed.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;

use super::args::{Analyze, Cli, Colour, Command, Input, Level, List, ReportFormat};
use super::exit::Exit;
use super::list::{self, What};
use super::progress::Meter;
use super::rules;
use crate::analysis::{Analysis, Options, Sinks};
use crate::capture::Inventory;
use crate::incident::Severity;
use crate::report::{Format, Style, write};

/// Parses the arguments and carries them out. Never panics on input; a closed pipe is a quiet
/// success.
pub fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // There is nowhere to report that this could not be printed.
            let _ = error.print();
            return if asked_for { Exit::Done } else { Exit::Failed };
        }
    };
    match carry_out(&cli) {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Done,
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Failed
        }
    }
}

fn carry_out(cli: &Cli) -> Result<Exit> {
    match &cli.command {
        Command::Analyze(analyze) => self::analyze(cli, analyze),
        Command::Lookups(list) => self::list(cli, list, What::Lookups),
        Command::Transactions(list) => self::list(cli, list, What::Transactions),
        Command::Explain(explain) => super::explain::explain(cli, explain),
        Command::Rules { id } => {
            let mut out = standard_output();
            let known = rules::print(id.as_deref(), &mut out)?;
            out.flush()?;
            if known {
                return Ok(Exit::Done);
            }
            let id = id.as_deref().unwrap_or_default();
            complain(&format!("there is no rule '{id}'; `dnswhy rules` lists them all"));
            Ok(Exit::Failed)
        }
    }
}

fn analyze(cli: &Cli, analyze: &Analyze) -> Result<Exit> {
    let inventory = take(&analyze.input)?;
    let meter = Meter::new(&inventory, cli.no_progress || cli.quiet);
    let analysis = crate::analysis::run(
        &inventory,
        &options(&analyze.input),
        Sinks::default(),
        &mut |bytes| meter.read(bytes),
    );
    drop(meter);
    warn(cli, &analysis);
    let format = match analyze.format {
        ReportFormat::Text => Format::Text,
        ReportFormat::Markdown => Format::Markdown,
        ReportFormat::Json => Format::Json,
    };
    if let Some(path) = &analyze.output {
        write_file(path, &analysis, format)?;
    } else {
        let mut out = standard_output();
        write(&analysis, format, style(cli.color), &mut out)?;
        out.flush()?;
    }
    let worst = analysis.incidents.first().map(|incident| incident.severity);
    let matched = analyze.fail_on.zip(worst).is_some_and(|(level, worst)| worst >= severity(level));
    Ok(if matched { Exit::Matched } else { Exit::Done })
}

fn list(cli: &Cli, list: &List, what: What) -> Result<Exit> {
    let inventory = take(&list.input)?;
    if !cli.quiet {
        for problem in &inventory.problems {
            complain(&problem.to_string());
        }
    }
    let meter = Meter::new(&inventory, cli.no_progress || cli.quiet);
    let mut out = standard_output();
    let job = list::Job { what, format: list.format, inventory: &inventory };
    list::print(job, &options(&list.input), &meter, &mut out)?;
    out.flush()?;
    Ok(Exit::Done)
}

fn take(input: &Input) -> Result<Inventory> {
    Ok(Inventory::take(&input.captures, &input.point)?)
}

pub(super) fn options(input: &Input) -> Options {
    Options { ports: input.port.clone(), threads: input.threads }
}

/// A damaged file among good ones is a warning, here and in the report.
fn warn(cli: &Cli, analysis: &Analysis) {
    if cli.quiet {
        return;
    }
    for problem in &analysis.left_out {
        complain(problem);
    }
    for file in &analysis.files {
        for problem in &file.problems {
            complain(&format!("{}: {problem}", file.path));
        }
    }
}

/// A report file is written whole or not at all.
fn write_file(path: &Path, analysis: &Analysis, format: Format) -> Result<()> {
    let mut report = Vec::new();
    write(analysis, format, Style::default(), &mut report)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, &report)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("failed to write {}", path.display()))
}

fn standard_output() -> BufWriter<io::Stdout> {
    BufWriter::with_capacity(64 << 10, io::stdout())
}

pub(super) fn style(colour: Colour) -> Style {
    let terminal = io::stdout().is_terminal();
    let colour = match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never && terminal
        }
    };
    let columns = || std::env::var("COLUMNS").ok()?.parse::<usize>().ok();
    let width = if terminal { columns().unwrap_or(100) } else { 100 };
    Style { width: width.clamp(60, 140), colour }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Critical => Severity::Critical,
        Level::High => Severity::High,
        Level::Medium => Severity::Medium,
        Level::Low => Severity::Low,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

pub(super) fn complain(message: &str) {
    // There is nowhere to report that standard error is closed.
    let _ = writeln!(io::stderr(), "dnswhy: {message}");
}
