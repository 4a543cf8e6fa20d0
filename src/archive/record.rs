//! What an index keeps of the report of one set: its figures, its incidents, and its tallies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Span, Timestamp};
use crate::incident::Severity;
use crate::report::json::{Culprit, IncidentV1, ReachabilityV1, Report, SetName};

/// How many problems with files are told one by one.
const PROBLEMS: usize = 10;

/// What is kept of one report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetRecord {
    /// The set's place in its archive.
    pub name: String,
    /// The part of the archive whose addresses mean the same; empty where all of them do.
    pub scope: String,
    /// Where its report lies, seen from the index; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The version of the tool that made the report.
    pub version: String,
    /// First frame; null if there was none.
    pub start: Option<String>,
    /// Last frame; null if there was none.
    pub end: Option<String>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their frames.
    pub frames: u64,
    /// What was wrong with its files, a few of them.
    pub problems: Vec<String>,
    /// How many problems there were.
    pub problem_count: u64,
    /// `healthy`, `degraded`, `failing` or `inconclusive`.
    pub status: String,
    /// One sentence.
    pub headline: String,
    /// Transactions.
    pub transactions: u64,
    /// Transactions that were not answered.
    pub unanswered: u64,
    /// Lookups.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Lookups that took a second or more without failing.
    pub slow_lookups: u64,
    /// Its incidents, the worst first.
    pub incidents: Vec<SetIncident>,
    /// Who reached whom.
    pub reachability: ReachabilityV1,
}

/// An incident of one report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetIncident {
    /// Its rank in the report.
    pub rank: usize,
    /// Rule id.
    pub rule: String,
    /// One sentence.
    pub title: String,
    /// `critical`, `high`, `medium`, `low` or `info`.
    pub severity: String,
    /// `confirmed`, `likely` or `possible`.
    pub confidence: String,
    /// 0 to 100.
    pub score: u8,
    /// Who is to blame, the foremost first.
    pub culprits: Vec<Culprit>,
    /// Where datagrams died or waited.
    #[serde(rename = "where")]
    pub place: String,
    /// First bad packet.
    pub start: String,
    /// Last bad packet.
    pub end: String,
    /// Whether it went on when the capture ended.
    pub ongoing: bool,
    /// Transactions that failed.
    pub transactions: u64,
    /// Lookups that failed or waited.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Clients hurt.
    pub clients: u64,
    /// Waiting time beyond the usual, summed.
    pub added_seconds: f64,
    /// The longest lookup.
    pub worst_lookup_seconds: Option<f64>,
}

/// A set that could not be read.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Unreadable {
    /// The set's place in its archive.
    pub name: String,
    /// Its files.
    pub files: u64,
    /// Why.
    pub reason: String,
}

impl SetRecord {
    /// What is kept of `report`. It goes by the name that the report has, else by `name`.
    pub fn of(report: &Report, name: &str) -> Self {
        let unnamed = || SetName { name: name.to_owned(), scope: String::new() };
        let SetName { name, scope } = report.set.clone().unwrap_or_else(unnamed);
        let (capture, traffic) = (&report.capture, &report.traffic);
        let of_files = capture.files.iter().flat_map(|file| {
            file.problems.iter().map(move |problem| format!("{}: {problem}", file.path))
        });
        let problems: Vec<String> = capture.left_out.iter().cloned().chain(of_files).collect();
        Self {
            name,
            scope,
            report: None,
            version: report.tool.version.clone(),
            start: capture.start.clone(),
            end: capture.end.clone(),
            files: capture.files.len() as u64,
            bytes: capture.files.iter().filter_map(|file| file.bytes).sum(),
            frames: capture.frames,
            problem_count: problems.len() as u64,
            problems: problems.into_iter().take(PROBLEMS).collect(),
            status: report.verdict.status.clone(),
            headline: report.verdict.headline.clone(),
            transactions: traffic.transactions,
            unanswered: traffic.unanswered,
            lookups: traffic.lookups,
            failed_lookups: traffic.failed_lookups,
            slow_lookups: traffic.slow_lookups,
            incidents: report.incidents.iter().map(SetIncident::of).collect(),
            reachability: report.reachability.clone(),
        }
    }

    /// First and last frame.
    pub fn span(&self) -> Option<Span> {
        span(self.start.as_deref()?, self.end.as_deref()?)
    }

    /// The worst of its incidents.
    pub fn worst(&self) -> Option<&SetIncident> {
        self.incidents.iter().max_by_key(|incident| {
            (incident.severity(), incident.score, std::cmp::Reverse(incident.rank))
        })
    }
}

impl SetIncident {
    fn of(incident: &IncidentV1) -> Self {
        let impact = &incident.impact;
        Self {
            rank: incident.rank,
            rule: incident.rule.clone(),
            title: incident.title.clone(),
            severity: incident.severity.clone(),
            confidence: incident.confidence.clone(),
            score: incident.score,
            culprits: incident.culprits.clone(),
            place: incident.place.clone(),
            start: incident.start.clone(),
            end: incident.end.clone(),
            ongoing: incident.ongoing,
            transactions: impact.transactions,
            lookups: impact.lookups,
            failed_lookups: impact.failed_lookups,
            clients: impact.clients as u64,
            added_seconds: impact.added_seconds,
            worst_lookup_seconds: impact.worst_lookup_seconds,
        }
    }

    /// How bad it is; what no version of this tool writes is information.
    pub fn severity(&self) -> Severity {
        severity(&self.severity)
    }

    /// First to last bad packet.
    pub fn span(&self) -> Option<Span> {
        span(&self.start, &self.end)
    }
}

/// The severity that a word of a report stands for.
pub(super) fn severity(word: &str) -> Severity {
    const ALL: [Severity; 5] =
        [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];
    ALL.into_iter().find(|known| known.to_string() == word).unwrap_or(Severity::Info)
}

fn span(start: &str, end: &str) -> Option<Span> {
    Some(Span::between(Timestamp::parse(start)?, Timestamp::parse(end)?))
}
