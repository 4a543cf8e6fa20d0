//! What comes back: faults of one rule and one culprit on several days, as a calendar of severity.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::join::Joined;
use super::record::severity;
use crate::base::Timestamp;

/// A day in nanoseconds.
const DAY: i64 = 86_400 * 1_000_000_000;
/// A window that claims more days than this is a broken clock.
const LONGEST: i64 = 400;

/// A fault that came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recurring {
    /// The part of the archive that it belongs to.
    pub scope: String,
    /// Rule id.
    pub rule: String,
    /// Who is to blame: kind and value.
    pub culprit: String,
    /// The worst severity of every day (UTC) on which it was seen.
    pub days: BTreeMap<String, String>,
    /// The lines of the index that it is made of, by their ranks.
    pub incidents: Vec<usize>,
}

/// What of `joined` was there at least twice, on different days: the most frequent first.
pub(super) fn recurring(joined: &[Joined]) -> Vec<Recurring> {
    let mut alike: BTreeMap<(&str, &str, String), Vec<&Joined>> = BTreeMap::new();
    for one in joined.iter().filter(|one| !one.culprits.is_empty()) {
        alike.entry((&one.scope, &one.rule, one.culprit())).or_default().push(one);
    }
    let mut recurring: Vec<Recurring> = alike
        .into_iter()
        .map(|((scope, rule, culprit), lines)| Recurring {
            scope: scope.to_owned(),
            rule: rule.to_owned(),
            culprit,
            days: days(&lines),
            incidents: lines.iter().map(|line| line.rank).collect(),
        })
        .filter(|one| one.incidents.len() > 1 && one.days.len() > 1)
        .collect();
    // Stable, so that equals stay in the order of their names.
    recurring.sort_by_key(|one| {
        let worst = one.days.values().map(|word| severity(word)).max();
        std::cmp::Reverse((worst, one.days.len()))
    });
    recurring
}

/// The worst severity of every day that a line touches.
fn days(lines: &[&Joined]) -> BTreeMap<String, String> {
    let mut days: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let Some(span) = line.span() else { continue };
        let first = span.start.nanos().div_euclid(DAY);
        let last = span.end.nanos().div_euclid(DAY).min(first.saturating_add(LONGEST));
        for day in first..=last {
            let name = date(day);
            let worse = days.get(&name).is_none_or(|known| severity(known) < line.severity());
            if worse {
                days.insert(name, line.severity.clone());
            }
        }
    }
    days
}

/// The date of a day since the epoch: `2026-01-31`.
fn date(day: i64) -> String {
    let at = Timestamp::from_nanos(day.saturating_mul(DAY));
    crate::base::words::date(at).to_string().chars().take_while(|c| *c != ' ').collect()
}
