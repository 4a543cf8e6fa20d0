//! An analysis in, a report out: text, Markdown, JSON.
//!
//! Every writer renders the same [`Analysis`](crate::analysis::Analysis); none decides anything. Captured bytes are escaped
//! for the page that they go to.

mod escape;
pub mod explain;
mod format;
pub mod json;
mod lines;
mod markdown;
mod resolvers;
mod rows;
mod table;
mod text;
mod timeline;

pub use format::{Format, write};
pub use rows::{LookupRow, TransactionRow, lookup_row, transaction_row};
pub use text::Style;
