//! Carries out what was typed.

use std::io::{self, Write};

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

use super::args::{Analyze, Cli, Command, FocusArgs, Input, Level, List, ReportFormat};
use super::exit::Exit;
use super::list::{self, What};
use super::output::{deliver, standard_output, style, targets, wants_ladders};
use super::progress::Meter;
use super::rules;
use super::{anonymize, focus, generate, k8s};
use crate::analysis::{Analysis, Options, Sinks};
use crate::capture::Inventory;
use crate::incident::Severity;
use crate::report::{Format, View, trace};

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
        Command::Compare(compare) => super::compare::compare(cli, compare),
        Command::Extract(extract) => super::extract::extract(cli, extract),
        Command::Batch(batch) => super::batch::batch(cli, batch),
        Command::Merge(merge) => super::batch::merge(cli, merge),
        Command::Completions { shell } => {
            let mut out = standard_output();
            generate::completions(*shell, &mut out)?;
            out.flush()?;
            Ok(Exit::Done)
        }
        Command::Man { dir } => {
            let mut out = standard_output();
            generate::man(dir.as_deref(), &mut out)?;
            out.flush()?;
            Ok(Exit::Done)
        }
        Command::Rules { schema: true, .. } => {
            let mut out = standard_output();
            out.write_all(crate::report::json::schema()?.as_bytes())?;
            out.flush()?;
            Ok(Exit::Done)
        }
        Command::Rules { id, .. } => {
            let mut out = standard_output();
            let known = rules::print(id.as_deref(), cli.lang.into(), &mut out)?;
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
    let targets = targets(analyze.format.map(format), &analyze.output)?;
    let inventory = take(&analyze.input)?;
    let mut known = k8s::known(&analyze.k8s, cli.quiet)?;
    let mut options = focused(&analyze.input, &analyze.focus, &inventory)?;
    anonymize::masked(&mut options, &analyze.privacy, cli.quiet)?;
    if let Some(mask) = &mut options.mask {
        known = known.masked(mask);
    }
    options.nodes = known.nodes();
    let meter = Meter::new(&inventory, cli.no_progress || cli.quiet);
    let analysis = crate::analysis::run(&inventory, &options, Sinks::default(), &mut |bytes| {
        meter.read(bytes);
    });
    drop(meter);
    warn(cli, &analysis);
    let end = analysis.span.map(|span| span.end);
    if let Some(day) = focus::day_taken(&analyze.focus, &inventory, end).filter(|_| !cli.quiet) {
        complain(&day);
    }
    let mut view = View::of(&analysis).with_names(known.names);
    if wants_ladders(&targets) && !has_streams(&inventory) {
        let meter = Meter::new(&inventory, cli.no_progress || cli.quiet);
        let traces = trace(&inventory, &options, &analysis, &mut |bytes| meter.read(bytes));
        view = view.with_ladders(traces.into_iter().map(|trace| trace.ladder).collect());
    }
    deliver(&view, &targets, style(cli))?;
    let worst = analysis.incidents.first().map(|incident| incident.severity);
    let matched = analyze.fail_on.zip(worst).is_some_and(|(level, worst)| worst >= severity(level));
    Ok(if matched { Exit::Matched } else { Exit::Done })
}

/// A stream is read once; there is no second look at it.
pub(super) fn has_streams(inventory: &Inventory) -> bool {
    inventory.files.iter().any(|file| file.size.is_none())
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
    let mut options = focused(&list.input, &list.focus, &inventory)?;
    anonymize::masked(&mut options, &list.privacy, cli.quiet)?;
    list::print(job, &options, &meter, &mut out)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// The captures that were named, here and elsewhere.
pub(super) fn take(input: &Input) -> Result<Inventory> {
    let (local, remotes) = super::batch::captures(&input.captures)?;
    Ok(Inventory::take_with(&local, &remotes, &input.point)?)
}

pub(super) fn options(input: &Input) -> Options {
    Options { ports: input.port.clone(), threads: input.threads, ..Options::default() }
}

/// The options of a command that can look at a part.
pub(super) fn focused(input: &Input, args: &FocusArgs, inventory: &Inventory) -> Result<Options> {
    Ok(Options { focus: focus::focus(args, inventory)?, ..options(input) })
}

/// A damaged file among good ones is a warning, here and in the report.
fn warn(cli: &Cli, analysis: &Analysis) {
    if cli.quiet {
        return;
    }
    for problem in &analysis.left_out {
        complain(&problem.to_string());
    }
    for file in &analysis.files {
        for problem in &file.problems {
            complain(&format!("{}: {problem}", file.path));
        }
    }
}

pub(super) fn format(format: ReportFormat) -> Format {
    match format {
        ReportFormat::Text => Format::Text,
        ReportFormat::Markdown => Format::Markdown,
        ReportFormat::Html => Format::Html,
        ReportFormat::Json => Format::Json,
    }
}

pub(super) fn severity(level: Level) -> Severity {
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
