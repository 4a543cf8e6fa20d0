//! `dnswhy lookups` and `dnswhy transactions`: one line each, as they close.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

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
    if format == ListFormat::Parquet {
        return table(job, options, meter, out);
    }
    let path = |at: FrameRef| {
        if options.mask.is_some() {
            return format!("file-{}", at.file().0 + 1);
        }
        inventory.files.get(at.file().0 as usize).map_or_else(String::new, |f| f.display.clone())
    };
    let columns: &[&str] = match what {
        What::Lookups => &LookupRow::COLUMNS,
        What::Transactions => &TransactionRow::COLUMNS,
    };
    let lines = Mutex::new(Lines::new(format, columns, out));
    let mut progress = |bytes| meter.read(bytes);
    promptly(&lines, || match what {
        What::Lookups => {
            let mut lookup =
                |lookup: &Lookup| hold(&lines).row(&lookup_row(lookup, &path), LookupRow::cells);
            let sinks = Sinks { lookups: Some(&mut lookup), transactions: None };
            run(inventory, options, sinks, &mut progress);
        }
        What::Transactions => {
            let mut transaction = |transaction: &Transaction| {
                hold(&lines).row(&transaction_row(transaction, &path), TransactionRow::cells);
            };
            let sinks = Sinks { transactions: Some(&mut transaction), lookups: None };
            run(inventory, options, sinks, &mut progress);
        }
    });
    lines.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
}

#[cfg(feature = "parquet")]
fn table(
    job: Job<'_>,
    options: &Options,
    meter: &Meter,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    if io::IsTerminal::is_terminal(&io::stdout()) {
        return Err(io::Error::other("a table is not for a terminal; send it to a file: > FILE"));
    }
    super::table::write(job, options, meter, out)
}

#[cfg(not(feature = "parquet"))]
fn table(_: Job<'_>, _: &Options, _: &Meter, _: &mut (dyn Write + Send)) -> io::Result<()> {
    Err(io::Error::other(
        "this build has no Parquet; build it with: cargo build --features parquet",
    ))
}

/// How long a line may wait for others, so that a reader sees it while the input goes on.
const LATEST: Duration = Duration::from_millis(100);

/// Does `work`, and meanwhile lets no line wait: the input may be a pipe that says nothing more
/// for hours.
fn promptly(lines: &Mutex<Lines<'_>>, work: impl FnOnce()) {
    let (done, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while over.recv_timeout(LATEST) == Err(RecvTimeoutError::Timeout) {
                hold(lines).flush();
            }
        });
        work();
        drop(done);
    });
}

fn hold<'m, 'a>(lines: &'m Mutex<Lines<'a>>) -> MutexGuard<'m, Lines<'a>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes rows; after the first failure nothing more.
struct Lines<'a> {
    out: Form<'a>,
    result: io::Result<()>,
    waiting: bool,
}

enum Form<'a> {
    Jsonl(&'a mut (dyn Write + Send)),
    Csv(Box<csv::Writer<&'a mut (dyn Write + Send)>>),
}

impl<'a> Lines<'a> {
    /// Begins, with a header where the format has one.
    fn new(format: ListFormat, columns: &[&str], out: &'a mut (dyn Write + Send)) -> Self {
        let mut result = Ok(());
        let out = match format {
            ListFormat::Jsonl | ListFormat::Parquet => Form::Jsonl(out),
            ListFormat::Csv => {
                let mut out = csv::Writer::from_writer(out);
                result = out.write_record(columns).map_err(io::Error::from);
                Form::Csv(Box::new(out))
            }
        };
        Self { out, result, waiting: true }
    }

    fn row<R: Serialize, const N: usize>(&mut self, row: &R, cells: impl Fn(&R) -> [String; N]) {
        if self.result.is_ok() {
            self.result = match &mut self.out {
                Form::Jsonl(out) => jsonl(out, row),
                Form::Csv(out) => out.write_record(cells(row)).map_err(io::Error::from),
            };
            self.waiting = true;
        }
    }

    fn flush(&mut self) {
        if self.result.is_ok() && std::mem::take(&mut self.waiting) {
            self.result = match &mut self.out {
                Form::Jsonl(out) => out.flush(),
                Form::Csv(out) => out.flush(),
            };
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.result
    }
}

fn jsonl(out: &mut dyn Write, row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
    writeln!(out)
}
