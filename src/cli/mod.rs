//! The command line: the only part that prints, reads clocks, and knows about terminals.

mod args;
mod exit;
mod explain;
mod list;
mod output;
mod progress;
mod rules;
mod run;

pub use exit::Exit;
pub use run::run;
