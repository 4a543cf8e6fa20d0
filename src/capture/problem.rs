//! What is wrong with what the command line names. One bad file does not stop the others.

use std::fmt;

use thiserror::Error;

use super::OpenError;
use super::window::lower_first;
use crate::base::words::{Text, ToText, plain, text};

/// An input that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputProblem {
    /// The input, as it is displayed.
    pub path: String,
    /// Why.
    pub reason: Reason,
}

/// Why an input is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing of that name exists.
    Missing,
    /// A pattern that nothing matches.
    NoMatch,
    /// A pattern that is none.
    BadPattern(String),
    /// A directory without a capture in it.
    NoCapture,
    /// The system would not give it.
    System(String),
    /// It is no capture that can be read.
    Open(OpenError),
    /// The same file was named before.
    NamedTwice,
    /// The same file under another name.
    SameFile(String),
    /// Another file with the same content.
    SameContent(String),
    /// A stream that has been read.
    Consumed,
}

impl ToText for InputProblem {
    fn to_text(&self) -> Text {
        text!("{path}: {reason}", path = plain(&self.path), reason = self.reason)
    }
}

impl fmt::Display for InputProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

impl std::error::Error for InputProblem {}

impl ToText for Reason {
    fn to_text(&self) -> Text {
        match self {
            Self::Missing => text!("no such file or directory"),
            Self::NoMatch => text!("no file matches this pattern"),
            Self::BadPattern(why) => text!("not a valid pattern: {why}", why = plain(why)),
            Self::NoCapture => text!("no capture in this directory"),
            Self::System(said) => plain(said),
            Self::Open(error) => error.to_text(),
            Self::NamedTwice => text!("named more than once, read once"),
            Self::SameFile(other) => {
                text!("the same file as {other}, read once", other = plain(other))
            }
            Self::SameContent(other) => {
                text!("the same content as {other}, read once", other = plain(other))
            }
            Self::Consumed => text!("a stream can be read only once"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

impl std::error::Error for Reason {}

impl From<OpenError> for Reason {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
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
