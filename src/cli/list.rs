//! `dnswhy lookups` and `dnswhy transactions`: one line each, as they close.

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::{Options, Sinks, run};
use crate::capture::{FrameRef, Inventory};
use crate::lookup::Lookup;
use crate::report::{lookup_row, transaction_row};
use crate::transaction::Transaction;

use super::progress::Meter;

/// What to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Lookups,
    Transactions,
}

/// Lists everything in `inventory` as JSON lines.
pub(super) fn print(
    what: What,
    inventory: &Inventory,
    options: &Options,
    meter: &Meter,
    out: &mut dyn Write,
) -> io::Result<()> {
    let path = |at: FrameRef| {
        inventory.files.get(at.file.0 as usize).map_or_else(String::new, |f| f.display.clone())
    };
    let mut result = Ok(());
    {
        let mut line = |row: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
            if result.is_ok() {
                result = row(out);
            }
        };
        let mut progress = |bytes| meter.read(bytes);
        let mut lookup = |lookup: &Lookup| line(&|out| jsonl(out, &lookup_row(lookup, &path)));
        match what {
            What::Lookups => {
                let sinks = Sinks { lookups: Some(&mut lookup), transactions: None };
                run(inventory, options, sinks, &mut progress);
            }
            What::Transactions => {
                let mut transaction = |transaction: &Transaction| {
                    line(&|out| jsonl(out, &transaction_row(transaction, &path)));
                };
                let sinks = Sinks { transactions: Some(&mut transaction), lookups: None };
                run(inventory, options, sinks, &mut progress);
            }
        }
    }
    result
}

fn jsonl(out: &mut dyn Write, row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
    writeln!(out)
}
