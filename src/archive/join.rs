//! Incidents of several sets that are one: the same rule, the same foremost culprit, and windows
//! that touch.
//!
//! One dead backend is seen from every node, and by the next file of every ring. Where a report
//! blames nobody by name there is nothing to agree on, and its incident stays by itself. Every
//! incident of every set is in exactly one line, so that no count is lost or told twice.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{SetIncident, SetRecord};
use crate::base::{Span, Timestamp};
use crate::incident::Severity;
use crate::report::json::Culprit;

/// Windows touch if no more lies between them: clocks of nodes differ, and rings are rotated.
const TOUCH: Duration = Duration::from_mins(1);

/// One fault, as all sets saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// 1 is the worst.
    pub rank: usize,
    /// The part of the archive that it belongs to.
    pub scope: String,
    /// Rule id.
    pub rule: String,
    /// One sentence, of the set that it was worst for.
    pub title: String,
    /// The worst severity.
    pub severity: String,
    /// The surest confidence.
    pub confidence: String,
    /// The highest score.
    pub score: u8,
    /// Who is to blame in any of the sets, the foremost first.
    pub culprits: Vec<Culprit>,
    /// Where datagrams died or waited, as far as all that know agree.
    #[serde(rename = "where")]
    pub place: String,
    /// First bad packet of all.
    pub start: String,
    /// Last bad packet of all.
    pub end: String,
    /// Whether it went on when the last of the captures ended.
    pub ongoing: bool,
    /// The incidents of sets that it is joined from, the worst first.
    pub parts: Vec<Part>,
    /// How many sets saw it.
    pub sets: u64,
    /// Transactions that failed, summed.
    pub transactions: u64,
    /// Lookups that failed or waited, summed.
    pub lookups: u64,
    /// Lookups that failed, summed.
    pub failed_lookups: u64,
    /// Clients hurt, summed over the sets.
    pub clients: u64,
    /// Waiting time beyond the usual, summed.
    pub added_seconds: f64,
    /// The longest lookup.
    pub worst_lookup_seconds: Option<f64>,
    /// The fault across nodes that explains it, by its rank; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<usize>,
}

/// An incident of one set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// The set.
    pub set: String,
    /// The incident's rank in the set's report.
    pub incident: usize,
}

/// What has to agree: the scope, the rule, and kind and value of the foremost culprit; where
/// nobody is blamed, the set and the rank.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Blames(&'a str, &'a str, &'a str, &'a str),
    Alone(&'a str, &'a str, &'a str, usize),
}

/// An incident with its set and its window.
#[derive(Clone, Copy)]
struct Seen<'a> {
    set: &'a SetRecord,
    incident: &'a SetIncident,
    span: Span,
}

/// Joins the incidents of all `sets`, the worst first. Sets come in their own fixed order.
pub(super) fn join(sets: &[SetRecord]) -> Vec<Joined> {
    let mut alike: BTreeMap<Key<'_>, Vec<Seen<'_>>> = BTreeMap::new();
    for set in sets {
        for incident in &set.incidents {
            let key = match incident.culprits.first() {
                Some(culprit) => {
                    Key::Blames(&set.scope, &incident.rule, &culprit.kind, &culprit.value)
                }
                None => Key::Alone(&set.scope, &incident.rule, &set.name, incident.rank),
            };
            // A window that cannot be read touches no other, and its counts are kept.
            let span = incident.span().unwrap_or(Span::at(Timestamp::MIN));
            alike.entry(key).or_default().push(Seen { set, incident, span });
        }
    }
    let mut joined: Vec<Joined> = alike.into_values().flat_map(touching).collect();
    joined.sort_by(|one, other| {
        let worse = |joined: &Joined| (super::record::severity(&joined.severity), joined.score);
        worse(other)
            .cmp(&worse(one))
            .then_with(|| other.lookups.cmp(&one.lookups))
            .then_with(|| {
                let key = |joined: &Joined| {
                    (joined.start.clone(), joined.rule.clone(), joined.scope.clone())
                };
                key(one).cmp(&key(other))
            })
            .then_with(|| one.parts.cmp(&other.parts))
    });
    for (index, one) in joined.iter_mut().enumerate() {
        one.rank = index + 1;
    }
    joined
}

/// Puts those together whose windows touch, directly or through others.
fn touching(mut seen: Vec<Seen<'_>>) -> Vec<Joined> {
    seen.sort_by(|one, other| {
        (one.span, &one.set.name, one.incident.rank).cmp(&(
            other.span,
            &other.set.name,
            other.incident.rank,
        ))
    });
    let mut groups: Vec<(Span, Vec<Seen<'_>>)> = Vec::new();
    for one in seen {
        match groups.last_mut().filter(|(span, _)| one.span.start.since(span.end) <= TOUCH) {
            Some((span, group)) => {
                *span = span.join(one.span);
                group.push(one);
            }
            None => groups.push((one.span, vec![one])),
        }
    }
    groups.into_iter().filter_map(|(_, group)| one_line(group)).collect()
}

fn one_line(mut group: Vec<Seen<'_>>) -> Option<Joined> {
    // First and last by time; then by how bad it was.
    let start = group.iter().min_by_key(|seen| seen.span.start)?.incident.start.clone();
    let latest = group.iter().map(|seen| seen.span.end).max()?;
    let end = group.iter().find(|seen| seen.span.end == latest)?.incident.end.clone();
    let ongoing = group.iter().any(|seen| {
        let ends = seen.set.span().map(|span| span.end);
        seen.incident.ongoing && ends.is_none_or(|ends| ends >= latest)
    });
    group.sort_by(|one, other| {
        let worse = |seen: &Seen<'_>| (seen.incident.severity(), seen.incident.score);
        worse(other)
            .cmp(&worse(one))
            .then_with(|| other.incident.lookups.cmp(&one.incident.lookups))
            .then_with(|| {
                (&one.set.name, one.incident.rank).cmp(&(&other.set.name, other.incident.rank))
            })
    });
    let worst = *group.first()?;
    let sum = |count: fn(&SetIncident) -> u64| group.iter().map(|seen| count(seen.incident)).sum();
    let mut culprits: Vec<Culprit> = Vec::new();
    for culprit in group.iter().flat_map(|seen| &seen.incident.culprits) {
        if !culprits.contains(culprit) {
            culprits.push(culprit.clone());
        }
    }
    let mut sets: Vec<&str> = group.iter().map(|seen| seen.set.name.as_str()).collect();
    sets.sort_unstable();
    sets.dedup();
    Some(Joined {
        rank: 0,
        scope: worst.set.scope.clone(),
        rule: worst.incident.rule.clone(),
        title: worst.incident.title.clone(),
        severity: worst.incident.severity.clone(),
        confidence: surest(&group),
        score: worst.incident.score,
        culprits,
        place: place(&group),
        start,
        end,
        ongoing,
        sets: sets.len() as u64,
        transactions: sum(|incident| incident.transactions),
        lookups: sum(|incident| incident.lookups),
        failed_lookups: sum(|incident| incident.failed_lookups),
        clients: sum(|incident| incident.clients),
        added_seconds: group.iter().map(|seen| seen.incident.added_seconds).sum(),
        worst_lookup_seconds: group
            .iter()
            .filter_map(|seen| seen.incident.worst_lookup_seconds)
            .reduce(f64::max),
        parts: group
            .iter()
            .map(|seen| Part { set: seen.set.name.clone(), incident: seen.incident.rank })
            .collect(),
        explained_by: None,
    })
}

/// The surest word that any report has for it.
fn surest(group: &[Seen<'_>]) -> String {
    let words = ["confirmed", "likely", "possible"];
    let known = |word: &&&str| group.iter().any(|seen| seen.incident.confidence == **word);
    words.iter().find(known).map_or_else(String::new, ToString::to_string)
}

/// The place, if all who know one name the same.
fn place(group: &[Seen<'_>]) -> String {
    const UNKNOWN: &str = "unknown";
    let mut places = group.iter().map(|seen| seen.incident.place.as_str());
    let mut known: Vec<&str> = places.by_ref().filter(|place| *place != UNKNOWN).collect();
    known.sort_unstable();
    known.dedup();
    match known.as_slice() {
        [one] => (*one).to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

impl Joined {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        super::record::severity(&self.severity)
    }

    /// First to last bad packet.
    pub fn span(&self) -> Option<Span> {
        Some(Span::between(Timestamp::parse(&self.start)?, Timestamp::parse(&self.end)?))
    }

    /// The foremost culprit in words; empty where nobody is blamed.
    pub fn culprit(&self) -> String {
        self.culprits.first().map_or_else(String::new, |who| format!("{} {}", who.kind, who.value))
    }
}
