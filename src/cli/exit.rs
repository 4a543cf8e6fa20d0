//! Exit statuses: part of the contract with scripts.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Analysed.
    Done,
    /// `--fail-on` matched.
    Matched,
    /// A usage error, or no capture could be read.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Matched => 1,
            Exit::Failed => 2,
        })
    }
}
