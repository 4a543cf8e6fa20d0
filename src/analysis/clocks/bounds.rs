//! What datagrams that two points saw say about their clocks.

use std::ops::Range;

use super::sample::Sight;

/// Datagrams that bound a difference together.
const TOGETHER: usize = 24;
/// Stretches of time that are bounded one by one.
const STRETCHES: usize = 256;
/// Sightings within this, in nanoseconds, belong to one stretch.
const STRETCH: i64 = 20_000_000_000;
/// So many of a hundred datagrams that contradict the others are accidents.
const ACCIDENTS: usize = 10;

/// One datagram at two points, the other's time less one's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meeting {
    /// When it was seen at the other point, by that clock.
    pub(super) at: i64,
    /// The other clock is at most this much ahead, if the datagram went there...
    pub(super) most: Option<i64>,
    /// ...and at least this much, if it came from there.
    pub(super) least: Option<i64>,
}

/// How much the other clock is ahead, over some time of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    /// By the other clock.
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) least: Option<i64>,
    pub(super) most: Option<i64>,
}

impl Bound {
    /// Its middle, where both sides are bounded.
    pub(super) fn middle(&self) -> Option<i64> {
        Some(self.least?.midpoint(self.most?))
    }

    /// Half its width.
    pub(super) fn half(&self) -> Option<i64> {
        Some(self.most?.saturating_sub(self.least?) / 2)
    }

    /// Its place in time.
    pub(super) fn at(&self) -> i64 {
        self.from.midpoint(self.until)
    }
}

/// Which of two points is nearer to the clients of the datagrams that both saw: how many queries
/// were seen going from one to the other, and how many the other way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) there: u64,
    pub(super) here: u64,
}

/// The datagrams that two points saw, each as a bound. Routers lower the TTL, so it tells which way
/// a datagram went; where none stands between the points, queries are later at one than responses.
pub(super) fn meetings(pairs: &[(Sight, Sight)]) -> (Vec<Meeting>, Way) {
    let mut way = Way::default();
    let level = |response: bool| {
        let mut apart: Vec<i64> = pairs
            .iter()
            .filter(|(mine, its)| mine.ttl == its.ttl && mine.response == response)
            .map(|(mine, its)| its.first.saturating_sub(mine.first))
            .collect();
        let middle = apart.len() / 2;
        (!apart.is_empty()).then(|| *apart.select_nth_unstable(middle).1)
    };
    // What both saw with the same TTL: its direction is that of the kind that comes later.
    let queries_go = match (level(false), level(true)) {
        (Some(query), Some(response)) => Some(query >= response),
        _ => None,
    };
    let meetings = pairs
        .iter()
        .filter_map(|(mine, its)| {
            let there = match mine.ttl.cmp(&its.ttl) {
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => queries_go? != mine.response,
            };
            if there == mine.response {
                way.here += 1;
            } else {
                way.there += 1;
            }
            Some(Meeting {
                at: its.first,
                most: there.then(|| its.first.saturating_sub(mine.last)),
                least: (!there).then(|| its.last.saturating_sub(mine.first)),
            })
        })
        .collect();
    (meetings, way)
}

/// Bounds over the length of the capture; `meetings` are in the order of one's own time.
pub(super) fn bounds(meetings: &[Meeting]) -> Vec<Bound> {
    let together = TOGETHER.max(meetings.len() / STRETCHES);
    let mut found = Vec::new();
    let mut start = 0;
    for at in 0..meetings.len() {
        let last = at + 1 == meetings.len();
        let pause = |next: &Meeting| {
            meetings
                .get(start)
                .is_some_and(|first| next.at.abs_diff(first.at) > STRETCH.unsigned_abs())
        };
        let full = at + 1 - start >= together;
        let far = at + 1 - start >= 4 && meetings.get(at + 1).is_some_and(pause);
        if last || full || far {
            divide(meetings, start..at + 1, &mut found);
            start = at + 1;
        }
    }
    found
}

/// Bounds a stretch; where its datagrams contradict each other the clock was set within it.
fn divide(meetings: &[Meeting], stretch: Range<usize>, found: &mut Vec<Bound>) {
    let part = meetings.get(stretch.clone()).unwrap_or_default();
    let Some((bound, agree)) = agreed(part) else { return };
    if (part.len() - agree) * 100 > part.len() * ACCIDENTS && part.len() >= 4 {
        let middle = stretch.start + part.len() / 2;
        divide(meetings, stretch.start..middle, found);
        divide(meetings, middle..stretch.end, found);
    } else {
        found.push(bound);
    }
}

/// The bound that the most datagrams agree with, and how many do.
fn agreed(part: &[Meeting]) -> Option<(Bound, usize)> {
    let from = part.iter().map(|meeting| meeting.at).min()?;
    let until = part.iter().map(|meeting| meeting.at).max()?;
    let mut most: Vec<i64> = part.iter().filter_map(|meeting| meeting.most).collect();
    let mut least: Vec<i64> = part.iter().filter_map(|meeting| meeting.least).collect();
    most.sort_unstable();
    least.sort_unstable();
    // Just above a lower bound all those up to it agree, and all upper bounds that are no smaller.
    let agree = |value: i64| {
        let below = least.partition_point(|bound| *bound <= value);
        let above = most.len() - most.partition_point(|bound| *bound < value);
        below + above
    };
    let candidates = least.iter().chain(most.first());
    let best = candidates.copied().max_by_key(|value| (agree(*value), -value.saturating_abs()))?;
    let lower = least.partition_point(|bound| *bound <= best);
    let upper = most.partition_point(|bound| *bound < best);
    let bound = Bound {
        from,
        until,
        least: lower.checked_sub(1).and_then(|at| least.get(at)).copied(),
        most: most.get(upper).copied(),
    };
    Some((bound, agree(best)))
}
