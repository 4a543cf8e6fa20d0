//! Runs of failed flows that are no chance: what an outage begins as (rulebook 6.1, 6.7).

use std::cmp::Reverse;
use std::ops::Range;
use std::time::Duration;

use super::flow::Flow;
use super::localise::MIN_FLOWS;
use crate::base::Timestamp;

/// A run shorter than this is a burst of loss, not an outage (rulebook 6.7).
const MIN_LENGTH: Duration = Duration::from_secs(2);
/// A run of failures must be rarer than this by chance, given how often the server fails outside it, in
/// all and around it: random loss also makes runs, and may itself have a beginning and an end.
const CHANCE: f64 = 0.001;
/// Times at which a server was away, the longest ones, that are judged for each group of its clients: each
/// costs a look at all flows of that group.
const MAX_ABSENCES: usize = 32;
/// How often absences are judged anew without those that were found.
const ROUNDS: usize = 3;
/// How far around a run that is looked at, in time and in flows, whichever is more.
const AROUND: Duration = Duration::from_mins(1);
const NEIGHBOURS: usize = 50;

/// Runs of failed flows during which none reached the server, as ranges of indexes. What was answered only
/// when it was sent again after them may lie before and between them.
pub(super) fn runs(flows: &[&Flow]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    let mut back: Option<Timestamp> = None;
    for (index, flow) in flows.iter().enumerate() {
        let hurt = flow.began_in_vain();
        if flow.began_well() || back.is_some_and(|at| at <= flow.first.ts) {
            found.extend(start.take().map(|start| start..index));
            back = None;
        }
        if hurt {
            start.get_or_insert(index);
        }
        if flow.succeeded() && !flow.began_well() {
            let at = flow.reached_at();
            back = Some(back.map_or(at, |known| known.min(at)));
        }
    }
    found.extend(start.map(|start| start..flows.len()));
    if found.is_empty() {
        return found;
    }
    let odds = Odds::of(flows, Flow::failed);
    found.retain(|run| {
        let mut failed = flows[run.clone()].iter().filter(|flow| flow.failed());
        let Some(first) = failed.next() else { return false };
        let last = failed.next_back().unwrap_or(first);
        let long_enough = last.last_sent().since(first.first.ts) >= MIN_LENGTH;
        long_enough && odds.are_against(run)
    });
    found
}

/// Times at which a server was away so shortly that most flows were answered when they were sent again: from
/// one instant on it answered nothing at all, for as long as such a run of flows began.
pub(super) fn absences(flows: &[&Flow]) -> Vec<Range<usize>> {
    if !flows.iter().any(|flow| flow.stalled()) {
        return Vec::new();
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut goes_on = false;
    for (index, flow) in flows.iter().enumerate() {
        if flow.began_in_vain() {
            match found.last_mut() {
                Some(run) if goes_on => run.end = index + 1,
                _ => found.push(index..index + 1),
            }
            goes_on = true;
        } else if flow.began_well() {
            goes_on = false;
        }
    }
    found.retain(|run| run.len() as u64 >= MIN_FLOWS);
    if found.is_empty() {
        return found;
    }
    found.retain(|run| {
        let bad: Vec<&&Flow> =
            flows[run.clone()].iter().filter(|flow| flow.began_in_vain()).collect();
        let Some((first, last)) = bad.first().zip(bad.last()) else { return false };
        let last = last.first.ts;
        // A server that answers repeats meanwhile is there.
        let away = bad.iter().all(|flow| flow.failed() || flow.reached_at() > last);
        away && last.since(first.first.ts) >= MIN_LENGTH
    });
    // What a server that comes and goes lost while it was surely away says nothing of how often it fails
    // at random: the shorter absences are judged without the longer ones.
    let mut absences: Vec<Range<usize>> = Vec::new();
    for _ in 0..ROUNDS {
        let odds = Odds::beside(&absences, flows, Flow::began_in_vain);
        let more: Vec<Range<usize>> = found.extract_if(.., |run| odds.are_against(run)).collect();
        if more.is_empty() {
            break;
        }
        absences.extend(more);
    }
    absences.sort_by_key(|run| (Reverse(run.len()), run.start));
    absences.truncate(MAX_ABSENCES);
    absences.sort_by_key(|run| run.start);
    absences
}

/// How often flows are bad, in all and around any of them.
struct Odds<'a> {
    flows: &'a [&'a Flow],
    /// How many flows before each were bad, and how many are decided, by their weights: of what is
    /// undecided nobody knows on which side it belongs.
    bad: Vec<u64>,
    decided: Vec<f64>,
}

impl<'a> Odds<'a> {
    fn of(flows: &'a [&'a Flow], is_bad: impl Fn(&Flow) -> bool) -> Self {
        Self::beside(&[], flows, is_bad)
    }

    /// The same without the flows of these ranges.
    fn beside(
        ranges: &[Range<usize>],
        flows: &'a [&'a Flow],
        is_bad: impl Fn(&Flow) -> bool,
    ) -> Self {
        let mut counts = vec![true; flows.len()];
        for range in ranges {
            counts[range.clone()].fill(false);
        }
        let (mut bad, mut decided) = (vec![0], vec![0.0]);
        let (mut sum, mut weight) = (0, 0.0);
        for (flow, counts) in flows.iter().zip(counts) {
            sum += u64::from(counts && is_bad(flow));
            if counts && (flow.failed() || flow.succeeded()) {
                weight += f64::from(flow.weight());
            }
            bad.push(sum);
            decided.push(weight);
        }
        Self { flows, bad, decided }
    }

    /// Bad and decided flows of a range.
    fn count(&self, range: &Range<usize>) -> (u64, f64) {
        let bad = self.bad[range.end] - self.bad[range.start];
        (bad, self.decided[range.end] - self.decided[range.start])
    }

    fn around(&self, run: &Range<usize>) -> Range<usize> {
        let (from, to) = (self.flows[run.start].first.ts, self.flows[run.end - 1].first.ts);
        let from = self.flows.partition_point(|flow| flow.first.ts < from.before(AROUND));
        let to = self.flows.partition_point(|flow| flow.first.ts <= to.after(AROUND));
        let neighbours = (run.end + NEIGHBOURS).min(self.flows.len());
        from.min(run.start.saturating_sub(NEIGHBOURS))..to.max(neighbours)
    }

    /// Whether so many bad ones in a run are no chance.
    fn are_against(&self, run: &Range<usize>) -> bool {
        let (bad, _) = self.count(run);
        let (all_bad, all) = self.count(&(0..self.flows.len()));
        let (near_bad, near) = self.count(&self.around(run));
        let outside = all - bad as f64;
        // Half a failure more than was seen: a server that never failed is not beyond failing.
        let share = ((all_bad - bad) as f64 + 0.5) / (outside + 1.0);
        let near = (near_bad - bad) as f64 / (near - bad as f64 + 1.0);
        let chance = share.max(near).powi(i32::try_from(bad).unwrap_or(i32::MAX)) * outside;
        bad >= MIN_FLOWS && chance < CHANCE
    }
}
