//! What a writer is given: an analysis, and what is known around it.

use super::json::SetName;
use super::ladder::Ladder;
use super::names::Names;
use crate::analysis::Analysis;

/// Everything that a report shows.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The analysis.
    pub analysis: &'a Analysis,
    /// Who the addresses are, where somebody said so.
    pub names: Names,
    /// For each incident the exchanges that prove it, where they were looked up; else empty.
    pub ladders: Vec<Ladder>,
    /// Which capture set of an archive this is, where it is one.
    pub set: Option<SetName>,
}

impl<'a> View<'a> {
    /// An analysis alone.
    pub fn of(analysis: &'a Analysis) -> Self {
        Self { analysis, names: Names::default(), ladders: Vec::new(), set: None }
    }

    /// With the names of addresses.
    #[must_use]
    pub fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// As a capture set of an archive.
    #[must_use]
    pub fn of_set(self, set: SetName) -> Self {
        Self { set: Some(set), ..self }
    }

    /// With the exchanges that prove each incident.
    #[must_use]
    pub fn with_ladders(self, ladders: Vec<Ladder>) -> Self {
        Self { ladders, ..self }
    }
}
