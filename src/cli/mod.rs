//! The command line: the only part that prints, reads clocks, and knows about terminals.

mod anonymize;
mod args;
mod batch;
mod compare;
mod exit;
mod explain;
mod extract;
mod focus;
mod generate;
mod k8s;
mod list;
mod output;
mod progress;
#[cfg(feature = "remote")]
mod remote;
mod rules;
mod run;
#[cfg(feature = "parquet")]
mod table;

pub use exit::Exit;
pub use run::run;
