//! Lookups and transactions as Parquet, for those who analyse further: the columns of CSV, with
//! types. docs/lists.md says what each holds.
//!
//! Rows are written in groups, so that memory does not grow with their number.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampNanosecondArray, UInt16Array, UInt32Array,
};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::rows::{LookupRow, TransactionRow};
use crate::base::Timestamp;

/// Rows that are encoded at once.
const BATCH: usize = 4_096;
/// Rows of a group: what is held in memory before it is written.
const GROUP: usize = 65_536;

/// A row that has a place in a table.
pub trait TableRow: Sized {
    /// The columns of so many rows, with their names.
    fn columns(rows: &[Self]) -> Vec<(&'static str, ArrayRef)>;
}

/// A Parquet file in the making.
pub struct Table<'a, R> {
    writer: ArrowWriter<&'a mut (dyn Write + Send)>,
    rows: Vec<R>,
    result: io::Result<()>,
}

impl<'a, R: TableRow> Table<'a, R> {
    /// Begins a file.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: &'a mut (dyn Write + Send)) -> io::Result<Self> {
        let empty = batch::<R>(&[]).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP))
            .set_created_by(format!("dnswhy {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = ArrowWriter::try_new(out, empty.schema(), Some(properties)).map_err(plain)?;
        Ok(Self { writer, rows: Vec::with_capacity(BATCH), result: Ok(()) })
    }

    /// Adds a row; after the first failure nothing more.
    pub fn push(&mut self, row: R) {
        self.rows.push(row);
        if self.rows.len() >= BATCH {
            self.encode();
        }
    }

    fn encode(&mut self) {
        if self.result.is_ok() && !self.rows.is_empty() {
            let written = batch(&self.rows).map_err(io::Error::other);
            self.result = written.and_then(|rows| self.writer.write(&rows).map_err(plain));
        }
        self.rows.clear();
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When anything of it could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.encode();
        self.result?;
        self.writer.close().map_err(plain)?;
        Ok(())
    }
}

/// What went wrong, so that a closed pipe is still seen to be one.
fn plain(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

fn batch<R: TableRow>(rows: &[R]) -> Result<RecordBatch, ArrowError> {
    // Every column may be empty: whether one is depends on the rows, and the schema must not.
    RecordBatch::try_from_iter_with_nullable(
        R::columns(rows).into_iter().map(|(name, column)| (name, column, true)),
    )
}

impl TableRow for LookupRow {
    fn columns(rows: &[Self]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("client", text(rows, |row| Some(&row.client))),
            ("name", text(rows, |row| Some(&row.name))),
            ("types", lists(rows, |row| row.types.clone())),
            ("start", times(rows, |row| &row.start)),
            ("duration_seconds", numbers(rows, |row| row.duration_seconds)),
            ("outcome", text(rows, |row| Some(row.outcome))),
            ("attempts", counts(rows, |row| row.attempts)),
            ("servers", lists(rows, |row| row.servers.clone())),
            ("resolver", text(rows, |row| Some(&row.resolver))),
            ("suffixes_tried", counts(rows, |row| row.suffixes_tried)),
            ("approximate", {
                let flags: BooleanArray = rows.iter().map(|row| Some(row.approximate)).collect();
                Arc::new(flags)
            }),
            ("file", text(rows, |row| Some(&row.file))),
            ("frame", counts(rows, |row| row.frame as usize)),
        ]
    }
}

impl TableRow for TransactionRow {
    fn columns(rows: &[Self]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("client", text(rows, |row| Some(&row.client))),
            ("server", text(rows, |row| Some(&row.server))),
            ("backend", text(rows, |row| row.backend.as_deref())),
            ("masquerade", text(rows, |row| row.masquerade.as_deref())),
            ("transport", text(rows, |row| Some(&row.transport))),
            ("id", {
                let ids: UInt16Array = rows.iter().map(|row| Some(row.id)).collect();
                Arc::new(ids)
            }),
            ("name", text(rows, |row| Some(&row.name))),
            ("type", text(rows, |row| Some(&row.rtype))),
            ("start", times(rows, |row| &row.start)),
            ("outcome", text(rows, |row| Some(row.outcome))),
            ("rcode", text(rows, |row| row.rcode.as_deref())),
            ("latency_ms", numbers(rows, |row| row.latency_ms)),
            ("attempts", counts(rows, |row| row.attempts.len())),
            ("responses", counts(rows, |row| row.responses.len())),
            ("frames", lists(rows, Self::frames)),
        ]
    }
}

fn text<'r, R>(rows: &'r [R], cell: impl Fn(&'r R) -> Option<&'r str>) -> ArrayRef {
    Arc::new(rows.iter().map(cell).collect::<StringArray>())
}

fn numbers<R>(rows: &[R], cell: impl Fn(&R) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(cell).collect::<Float64Array>())
}

fn counts<R>(rows: &[R], cell: impl Fn(&R) -> usize) -> ArrayRef {
    let count = |row| u32::try_from(cell(row)).unwrap_or(u32::MAX);
    Arc::new(rows.iter().map(|row| Some(count(row))).collect::<UInt32Array>())
}

fn times<R>(rows: &[R], cell: impl Fn(&R) -> &String) -> ArrayRef {
    let nanos = rows.iter().map(|row| Timestamp::parse(cell(row)).map(Timestamp::nanos));
    Arc::new(nanos.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn lists<R>(rows: &[R], cell: impl Fn(&R) -> Vec<String>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in rows {
        lists.append_value(cell(row).into_iter().map(Some));
    }
    Arc::new(lists.finish())
}
