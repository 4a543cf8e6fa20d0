//! What a writer is given: an analysis, and what is known around it.

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
}

impl<'a> View<'a> {
    /// An analysis alone.
    pub fn of(analysis: &'a Analysis) -> Self {
        Self { analysis, names: Names::default(), ladders: Vec::new() }
    }

    /// With the names of addresses.
    #[must_use]
    pub fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// With the exchanges that prove each incident.
    #[must_use]
    pub fn with_ladders(self, ladders: Vec<Ladder>) -> Self {
        Self { ladders, ..self }
    }
}
