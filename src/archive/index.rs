//! The index over many sets, and how indexes are merged. Schema `dnswhy.index/1`: fields are
//! added, never renamed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::across::{Across, across};
use super::calendar::{Recurring, recurring};
use super::join::{Joined, join};
use super::record::{SetRecord, Unreadable};
use crate::incident::Severity;

/// The schema's name.
pub const SCHEMA: &str = "dnswhy.index/1";

/// What all sets say together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Index {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The version of the tool that made it.
    pub version: String,
    /// The sums.
    pub totals: Totals,
    /// Faults that show only across sets, the worst first.
    pub across: Vec<Across>,
    /// The incidents of all sets, joined, the worst first.
    pub incidents: Vec<Joined>,
    /// What came back on several days, the worst first.
    pub recurring: Vec<Recurring>,
    /// Sets that could not be read, by name.
    pub unreadable: Vec<Unreadable>,
    /// Every set, by its worst incident.
    pub sets: Vec<SetRecord>,
}

/// Sums over all sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Sets that were read.
    pub sets: u64,
    /// Sets that could not be.
    pub unreadable: u64,
    /// First frame of all; null if there was none.
    pub start: Option<String>,
    /// Last frame of all; null if there was none.
    pub end: Option<String>,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their frames.
    pub frames: u64,
    /// Transactions.
    pub transactions: u64,
    /// Lookups.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Lookups that took a second or more without failing.
    pub slow_lookups: u64,
    /// Joined incidents by severity.
    pub incidents: BTreeMap<String, u64>,
}

impl Index {
    /// The index of these sets: the same whatever their order. What is given twice counts once.
    pub fn of(sets: Vec<SetRecord>, unreadable: Vec<Unreadable>) -> Self {
        let sets = ranked(sets);
        let mut unreadable = unreadable;
        unreadable.sort();
        unreadable.dedup();
        let mut incidents = join(&sets);
        let across = across(&sets, &mut incidents);
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            totals: totals(&sets, &unreadable, &incidents),
            across,
            recurring: recurring(&incidents),
            incidents,
            unreadable,
            sets,
        }
    }

    /// The index of all that several indexes were made from.
    #[must_use]
    pub fn merge(indexes: impl IntoIterator<Item = Self>) -> Self {
        let (mut sets, mut unreadable) = (Vec::new(), Vec::new());
        for index in indexes {
            sets.extend(index.sets);
            unreadable.extend(index.unreadable);
        }
        Self::of(sets, unreadable)
    }

    /// The worst severity of all; `None` without an incident.
    pub fn worst(&self) -> Option<Severity> {
        self.incidents.iter().map(Joined::severity).max()
    }

    /// How many lines are louder than information.
    pub fn loud(&self) -> usize {
        self.incidents.iter().filter(|one| one.severity() > Severity::Info).count()
    }

    /// The JSON Schema of the index, indented, with a final newline.
    ///
    /// # Errors
    /// Never, as long as the schema is one.
    pub fn json_schema() -> serde_json::Result<String> {
        let mut schema = schemars::schema_for!(Self);
        schema.insert("$id".to_owned(), SCHEMA.into());
        Ok(serde_json::to_string_pretty(&schema)? + "\n")
    }
}

/// Every set once, by its worst incident, then by name. Two records are the same if all but the
/// place of the report is.
fn ranked(sets: Vec<SetRecord>) -> Vec<SetRecord> {
    let mut known: BTreeMap<String, SetRecord> = BTreeMap::new();
    for mut set in sets {
        let report = set.report.take();
        // What serialises alike is alike; there is no order on floating-point numbers.
        let content = serde_json::to_string(&set).unwrap_or_default();
        let kept = known.entry(format!("{}\u{0}{content}", set.name)).or_insert(set);
        kept.report = match (kept.report.take(), report) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let mut sets: Vec<SetRecord> = known.into_values().collect();
    // Stable, so that equals stay in the order of their names.
    sets.sort_by_key(|set| {
        let worst = set.worst().map(|incident| (incident.severity(), incident.score));
        std::cmp::Reverse((worst, set.failed_lookups))
    });
    sets
}

fn totals(sets: &[SetRecord], unreadable: &[Unreadable], incidents: &[Joined]) -> Totals {
    let sum = |count: fn(&SetRecord) -> u64| sets.iter().map(count).sum();
    let span = sets.iter().filter_map(SetRecord::span).reduce(crate::base::Span::join);
    let mut by_severity: BTreeMap<String, u64> = BTreeMap::new();
    for incident in incidents {
        *by_severity.entry(incident.severity.clone()).or_default() += 1;
    }
    Totals {
        sets: sets.len() as u64,
        unreadable: unreadable.len() as u64,
        start: span.map(|span| span.start.to_string()),
        end: span.map(|span| span.end.to_string()),
        files: sum(|set| set.files),
        bytes: sum(|set| set.bytes),
        frames: sum(|set| set.frames),
        transactions: sum(|set| set.transactions),
        lookups: sum(|set| set.lookups),
        failed_lookups: sum(|set| set.failed_lookups),
        slow_lookups: sum(|set| set.slow_lookups),
        incidents: by_severity,
    }
}
