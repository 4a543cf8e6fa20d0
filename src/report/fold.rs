//! The long tail: many quiet incidents of one rule become one entry of a human report.

use crate::incident::{Incident, Severity};

/// As many quiet incidents of one rule as this are shown one by one.
const SHOWN: usize = 2;

/// One entry of a human report, in the order of ranks.
#[derive(Debug, Clone)]
pub(super) enum Entry<'a> {
    /// An incident with its rank.
    One(usize, &'a Incident),
    /// Further quiet incidents of one rule, with their ranks; never empty.
    Many(Vec<(usize, &'a Incident)>),
}

/// The incidents as people want to see them: every loud one, and of the quiet ones of each rule the
/// first few, the rest of them in one entry.
pub(super) fn entries(incidents: &[Incident]) -> Vec<Entry<'_>> {
    let quiet = |incident: &Incident| incident.severity <= Severity::Low;
    let same = |a: &Incident, b: &Incident| a.cause.rule.id == b.cause.rule.id;
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (index, incident) in incidents.iter().enumerate() {
        let ranked = (index + 1, incident);
        let before = incidents[..index].iter().filter(|i| quiet(i) && same(i, incident)).count();
        let all = incidents.iter().filter(|i| quiet(i) && same(i, incident)).count();
        // One more is no tail: folding it would save nothing.
        if !quiet(incident) || before < SHOWN || all <= SHOWN + 1 {
            entries.push(Entry::One(ranked.0, ranked.1));
            continue;
        }
        let tail = entries.iter_mut().find_map(|entry| match entry {
            Entry::Many(many) if many.iter().any(|(_, first)| same(first, incident)) => Some(many),
            _ => None,
        });
        match tail {
            Some(many) => many.push(ranked),
            None => entries.push(Entry::Many(vec![ranked])),
        }
    }
    entries
}
