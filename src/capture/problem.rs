//! What is wrong with what the command line names. One bad file does not stop the others.

use thiserror::Error;

use super::OpenError;
use super::window::lower_first;

/// An input that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[error("{path}: {reason}")]
pub struct InputProblem {
    /// The input, as it is displayed.
    pub path: String,
    /// Why.
    pub reason: Reason,
}

/// Why an input is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Reason {
    /// Nothing of that name exists.
    #[error("no such file or directory")]
    Missing,
    /// A pattern that nothing matches.
    #[error("no file matches this pattern")]
    NoMatch,
    /// A pattern that is none.
    #[error("not a valid pattern: {0}")]
    BadPattern(String),
    /// A directory without a capture in it.
    #[error("no capture in this directory")]
    NoCapture,
    /// The system would not give it.
    #[error("{0}")]
    System(String),
    /// It is no capture that can be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The same file was named before.
    #[error("named more than once, read once")]
    NamedTwice,
    /// The same file under another name.
    #[error("the same file as {0}, read once")]
    SameFile(String),
    /// Another file with the same content.
    #[error("the same content as {0}, read once")]
    SameContent(String),
    /// A stream that has been read.
    #[error("a stream can be read only once")]
    Consumed,
}

impl Reason {
    /// What the system said, as the rest of a sentence.
    pub(super) fn system(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied => Self::System("permission denied".to_owned()),
            _ => Self::System(lower_first(&error.to_string())),
        }
    }

    /// Whether nothing is lost by leaving the input out, because another one holds the same.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::NamedTwice | Self::SameFile(_) | Self::SameContent(_))
    }
}

/// Why there is no inventory at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InputError {
    /// Not one of the inputs can be read.
    #[error("no capture could be read{}", listed(.0))]
    NothingReadable(Vec<InputProblem>),
    /// The pattern of a capture point is none.
    #[error("the pattern '{pattern}' of capture point '{name}' is not valid: {reason}")]
    PointPattern {
        /// Name of the point.
        name: String,
        /// Its pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn listed(problems: &[InputProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if lines.is_empty() { String::new() } else { format!("\n  {}", lines.join("\n  ")) }
}
