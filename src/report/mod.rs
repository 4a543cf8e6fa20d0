//! An analysis in, a report out: text, Markdown, HTML, JSON.
//!
//! Every writer renders the same [`View`]; none decides anything. Captured bytes are escaped
//! for the page that they go to.

mod compare;
pub(crate) mod escape;
pub mod explain;
mod explanations;
mod extract;
mod filter;
mod fold;
mod format;
mod html;
pub mod json;
mod ladder;
mod lines;
mod markdown;
mod masked;
mod names;
#[cfg(feature = "parquet")]
mod parquet;
mod provider;
mod resolvers;
mod rows;
mod table;
mod text;
mod timeline;
mod trace;
mod view;

pub use compare::{Change, Comparison, Figure};
pub use explanations::{explanation, translated_from};
pub use extract::{Picked, write_pcapng};
pub use format::{Format, write};
pub use ladder::{Ladder, Rung, RungKind};
pub use masked::Masked;
pub use names::{Named, Names};
#[cfg(feature = "parquet")]
pub use parquet::{Table, TableRow};
pub use rows::{LookupRow, TransactionRow, lookup_row, transaction_row};
pub use text::Style;
pub use trace::{Trace, trace};
pub use view::View;
