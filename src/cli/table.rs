//! `dnswhy lookups -f parquet` and `dnswhy transactions -f parquet`.

use std::io::{self, Write};

use super::list::{Job, What};
use super::progress::Meter;
use crate::analysis::{Options, Sinks, run};
use crate::capture::FrameRef;
use crate::lookup::Lookup;
use crate::report::{Table, lookup_row, transaction_row};
use crate::transaction::Transaction;

/// Writes everything that the job asks for as one table.
pub(super) fn write(
    job: Job<'_>,
    options: &Options,
    meter: &Meter,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let inventory = job.inventory;
    let path = |at: FrameRef| {
        inventory.files.get(at.file().0 as usize).map_or_else(String::new, |f| f.display.clone())
    };
    let mut progress = |bytes| meter.read(bytes);
    match job.what {
        What::Lookups => {
            let mut table = Table::new(out)?;
            let mut lookup = |lookup: &Lookup| table.push(lookup_row(lookup, &path));
            let sinks = Sinks { lookups: Some(&mut lookup), transactions: None };
            run(inventory, options, sinks, &mut progress);
            table.finish()
        }
        What::Transactions => {
            let mut table = Table::new(out)?;
            let mut transaction =
                |transaction: &Transaction| table.push(transaction_row(transaction, &path));
            let sinks = Sinks { transactions: Some(&mut transaction), lookups: None };
            run(inventory, options, sinks, &mut progress);
            table.finish()
        }
    }
}
