//! `dnswhy lookups` and `dnswhy transactions`: one line each, as they close.

#![expect(clippy::disallowed_methods, reason = "a list must not keep its reader waiting")]

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::analysis::{Options, Sinks, run};
use crate::capture::{FrameRef, Inventory};
use crate::lookup::Lookup;
use crate::report::{LookupRow, TransactionRow, lookup_row, transaction_row};
use crate::transaction::Transaction;

use super::args::ListFormat;
use super::progress::Meter;

/// What to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Lookups,
    Transactions,
}

/// What to list, how, and from what.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) what: What,
    pub(super) format: ListFormat,
    pub(super) inventory: &'a Inventory,
}

/// Lists everything that the job asks for, each line as soon as it is known.
pub(super) fn print(
    job: Job<'_>,
    options: &Options,
    meter: &Meter,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let Job { what, format, inventory } = job;
    let path = |at: FrameRef| {
        inventory.files.get(at.file.0 as usize).map_or_else(String::new, |f| f.display.clone())
    };
    let mut progress = |bytes| meter.read(bytes);
    match what {
        What::Lookups => {
            let mut lines = Lines::new(format, &LookupRow::COLUMNS, out);
            let mut lookup = |lookup: &Lookup| {
                let row = lookup_row(lookup, &path);
                lines.row(&row, LookupRow::cells);
            };
            let sinks = Sinks { lookups: Some(&mut lookup), transactions: None };
            run(inventory, options, sinks, &mut progress);
            lines.finish()
        }
        What::Transactions => {
            let mut lines = Lines::new(format, &TransactionRow::COLUMNS, out);
            let mut transaction = |transaction: &Transaction| {
                let row = transaction_row(transaction, &path);
                lines.row(&row, TransactionRow::cells);
            };
            let sinks = Sinks { transactions: Some(&mut transaction), lookups: None };
            run(inventory, options, sinks, &mut progress);
            lines.finish()
        }
    }
}

/// How long lines may wait for others, so that a reader sees them while the input goes on.
const LATEST: Duration = Duration::from_millis(100);

/// Writes rows; after the first failure nothing more.
struct Lines<'a> {
    out: Form<'a>,
    result: io::Result<()>,
    flushed: Option<Instant>,
}

enum Form<'a> {
    Jsonl(&'a mut (dyn Write + Send)),
    Csv(csv::Writer<&'a mut (dyn Write + Send)>),
}

impl Form<'_> {
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Jsonl(out) => out.flush(),
            Self::Csv(out) => out.flush(),
        }
    }
}

impl<'a> Lines<'a> {
    /// Begins, with a header where the format has one.
    fn new(format: ListFormat, columns: &[&str], out: &'a mut (dyn Write + Send)) -> Self {
        let mut result = Ok(());
        let out = match format {
            ListFormat::Jsonl => Form::Jsonl(out),
            ListFormat::Csv => {
                let mut out = csv::Writer::from_writer(out);
                result = out.write_record(columns).map_err(io::Error::from);
                Form::Csv(out)
            }
        };
        Self { out, result, flushed: None }
    }

    fn row<R: Serialize, const N: usize>(&mut self, row: &R, cells: impl Fn(&R) -> [String; N]) {
        if self.result.is_err() {
            return;
        }
        self.result = match &mut self.out {
            Form::Jsonl(out) => jsonl(out, row),
            Form::Csv(out) => out.write_record(cells(row)).map_err(io::Error::from),
        };
        let now = Instant::now();
        if self.result.is_ok() && self.flushed.is_none_or(|at| now - at >= LATEST) {
            self.result = self.out.flush();
            self.flushed = Some(now);
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.result?;
        self.out.flush()
    }
}

fn jsonl(out: &mut (dyn Write + Send), row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
    writeln!(out)
}
