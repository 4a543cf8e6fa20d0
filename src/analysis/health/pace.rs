//! How fast frames come at one capture point: what pause is unusual there.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{Span, Timestamp};
use crate::capture::Seen;
use crate::dns::Name;
use crate::transaction::timing::on_retry_grid;

/// A hole is longer than this, and than [`TIMES`] the usual pause (rulebook `cap-gap`).
const HOLE: Duration = Duration::from_secs(1);
/// See [`HOLE`].
const TIMES: u32 = 20;
/// A hole is also this many times longer than any other pause of the last minute: traffic that
/// comes in bursts pauses between them.
const LONGEST_TIMES: u32 = 3;
/// Frames a second below which nothing is expected to come (rulebook `cap-gap`).
const BUSY: u64 = 20;
/// How long a point was watched before a pause can be unusual there.
const WATCHED: Duration = Duration::from_secs(10);
/// How long traffic has to go on behind a hole as it did before.
const AFTER: Duration = Duration::from_secs(1);
/// Frames nearer to each other than this belong to one exchange.
const EXCHANGE: Duration = Duration::from_millis(50);
/// The same, as a difference of times.
const EXCHANGE_NANOS: u64 = 50_000_000;
/// Frames that stand this much before their place are out of order, as interfaces and queues
/// deliver them, or stamped by a clock that was set (rulebook `cap-clock`).
const DISORDER: Duration = Duration::from_millis(1);
/// The seconds that a rate is measured over (rulebook `cap-gap`).
const SECONDS: usize = 60;
/// The same, as a difference of seconds.
const SECONDS_I64: i64 = 60;
/// Questions remembered, to know a retry behind a pause.
const ASKED: usize = 128;

/// What a frame's time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing unusual.
    None,
    /// It stands before the frame seen last.
    Back {
        /// That frame.
        last: Seen,
        /// By so much.
        back: Duration,
    },
    /// A while ago there was a hole.
    Hole(Span),
}

/// The pace of one point.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Seen>,
    since: Option<Timestamp>,
    rate: Rate,
    /// Mean pause between exchanges, exponentially weighted, in nanoseconds.
    pause: i64,
    pauses: u32,
    longest: Option<(Timestamp, Duration)>,
    asked: VecDeque<Asked>,
    candidate: Option<Candidate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    ts: Timestamp,
    client: IpAddr,
    name: u64,
    /// A digest of the first label: a resolver that waited may go on to the next candidate of its search.
    label: u64,
}

#[derive(Debug)]
struct Candidate {
    hole: Span,
    frames: u64,
}

impl Pace {
    /// Takes the next frame if it follows within the same exchange and second, as most do: there is
    /// nothing else to it.
    #[inline]
    pub(super) fn goes_on(&mut self, seen: Seen) -> bool {
        let Some(last) = &mut self.last else { return false };
        let usual = seen.ts >= last.ts
            && seen.ts.nanos().abs_diff(last.ts.nanos()) < EXCHANGE_NANOS
            && seen.ts < self.rate.until
            && self.candidate.is_none();
        if usual {
            *last = seen;
            self.rate.one_more();
        }
        usual
    }

    /// Takes the time of the next frame.
    pub(super) fn frame(&mut self, seen: Seen) -> Turn {
        let Some(last) = self.last else {
            self.restart(seen);
            return Turn::None;
        };
        if seen.ts < last.ts {
            let back = last.ts.since(seen.ts);
            if back > DISORDER {
                self.restart(seen);
                return Turn::Back { last, back };
            }
        }
        let ts = seen.ts.max(last.ts);
        self.last = Some(Seen { ts, ..seen });
        let pause = ts.since(last.ts);
        if pause >= EXCHANGE {
            if self.is_hole(pause, last.ts) {
                self.candidate = Some(Candidate { hole: Span::between(last.ts, ts), frames: 0 });
            } else {
                self.usual(pause, ts);
            }
        }
        self.rate.count(ts);
        self.confirmed(ts).map_or(Turn::None, Turn::Hole)
    }

    /// Takes a question. One that is asked again behind a pause, or whose search goes on, when its
    /// resolver was due to, shows that the client waited: there was silence and no hole.
    #[inline]
    pub(super) fn asked(&mut self, ts: Timestamp, client: IpAddr, name: &Name) {
        // A copy of the question before is not kept, and where there is no pause it shows nothing.
        if self.candidate.is_some() || !self.has_just_asked(client, name) {
            self.review(ts, client, name);
        }
    }

    /// Whether the question seen last was the same.
    #[inline]
    fn has_just_asked(&self, client: IpAddr, name: &Name) -> bool {
        let last = self.asked.back();
        last.is_some_and(|last| last.name == name.digest() && last.client == client)
    }

    /// Takes a question that may be new, or tell what a pause was.
    #[inline(never)]
    fn review(&mut self, ts: Timestamp, client: IpAddr, name: &Name) {
        let label = name.first_label_digest();
        if let Some(candidate) = &self.candidate {
            let waited = self.asked.iter().any(|known| {
                (known.client, known.label) == (client, label)
                    && known.ts <= candidate.hole.start
                    && on_retry_grid(ts.since(known.ts))
            });
            if waited {
                self.candidate = None;
            }
        }
        if self.has_just_asked(client, name) {
            return;
        }
        if self.asked.len() >= ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { ts, client, name: name.digest(), label });
    }

    /// The hole shortly before the end, if there is one.
    pub(super) fn finish(&mut self) -> Option<Span> {
        let candidate = self.candidate.take()?;
        let watched = self.last?.ts.since(candidate.hole.end).as_millis();
        let enough = u128::from(candidate.frames) * 1_000 >= u128::from(BUSY) * watched.max(500);
        enough.then_some(candidate.hole)
    }

    fn restart(&mut self, seen: Seen) {
        self.last = Some(seen);
        self.since = Some(seen.ts);
        self.rate = Rate::default();
        self.rate.count(seen.ts);
        self.candidate = None;
    }

    fn is_hole(&self, pause: Duration, last: Timestamp) -> bool {
        let watched = self.since.map_or(Duration::ZERO, |since| last.since(since));
        let usual = Duration::from_nanos(u64::try_from(self.pause).unwrap_or(0));
        let longest = self
            .longest
            .filter(|(at, _)| last.since(*at) <= Duration::from_secs(SECONDS as u64))
            .map_or(Duration::ZERO, |(_, longest)| longest);
        watched >= WATCHED
            && pause > HOLE.max(usual * TIMES).max(longest * LONGEST_TIMES)
            && self.rate.per_second(watched) >= BUSY
    }

    fn usual(&mut self, pause: Duration, ts: Timestamp) {
        let nanos = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX);
        self.pause += (nanos - self.pause) / i64::from(self.pauses.clamp(1, 63) + 1);
        self.pauses = self.pauses.saturating_add(1);
        let outdated = |(at, longest): (Timestamp, Duration)| {
            longest <= pause || ts.since(at) > Duration::from_secs(SECONDS as u64)
        };
        if self.longest.is_none_or(outdated) {
            self.longest = Some((ts, pause));
        }
    }

    /// The hole before `ts`, once traffic has gone on behind it for long enough.
    fn confirmed(&mut self, ts: Timestamp) -> Option<Span> {
        let candidate = self.candidate.as_mut()?;
        if ts.since(candidate.hole.end) < AFTER {
            candidate.frames += 1;
            return None;
        }
        let candidate = self.candidate.take()?;
        (candidate.frames >= BUSY).then_some(candidate.hole)
    }
}

const NANOS: i64 = 1_000_000_000;

/// Where frames of a second are counted.
fn place(second: i64) -> usize {
    usize::try_from(second.rem_euclid(SECONDS_I64)).unwrap_or(0)
}

/// Frames of the last minute, second by second.
#[derive(Debug)]
struct Rate {
    counts: [u32; SECONDS],
    second: i64,
    /// Where frames of that second are counted, and when it is over.
    place: usize,
    until: Timestamp,
}

impl Default for Rate {
    fn default() -> Self {
        let (counts, until) = ([0; SECONDS], Timestamp::MIN);
        Self { counts, second: i64::MIN, place: 0, until }
    }
}

impl Rate {
    /// Counts a frame; they come in the order of time.
    fn count(&mut self, ts: Timestamp) {
        if ts >= self.until {
            self.turn_to(ts.nanos().div_euclid(NANOS));
        }
        self.one_more();
    }

    /// Counts one more frame of the same second.
    #[inline]
    fn one_more(&mut self) {
        self.counts[self.place] += 1;
    }

    /// Makes room for a second, and forgets what is older than a minute then.
    fn turn_to(&mut self, second: i64) {
        if second > self.second {
            for back in 0..second.saturating_sub(self.second).min(SECONDS_I64) {
                self.counts[place(second - back)] = 0;
            }
        }
        self.second = second;
        self.place = place(second);
        self.until = Timestamp::from_nanos(second.saturating_add(1).saturating_mul(NANOS));
    }

    /// Frames a second, over the last minute or as long as was watched.
    fn per_second(&self, watched: Duration) -> u64 {
        let frames: u64 = self.counts.iter().copied().map(u64::from).sum();
        frames / watched.as_secs().clamp(1, SECONDS as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::{FileId, FrameRef};

    proptest! {
        #[test]
        fn the_short_ways_are_the_long_ones(
            frames in prop::collection::vec(
                (
                    prop_oneof![0..9_i64, 0..60_000_i64, -3_000..90_000_000_i64, Just(i64::MAX / 2_000)],
                    prop::option::of((0..2_u8, 0..3_usize)),
                ),
                0..400,
            ),
            start in prop_oneof![Just(0), Just(i64::MIN), any::<i64>()],
        ) {
            let (mut short, mut long) = (Pace::default(), Pace::default());
            let mut ts = Timestamp::from_nanos(start);
            for (number, (micros, asked)) in (1..).zip(frames) {
                ts = Timestamp::from_nanos(ts.nanos().saturating_add(micros * 1_000));
                let seen = Seen { ts, at: FrameRef::new(FileId(0), number) };
                let turn = if short.goes_on(seen) { Turn::None } else { short.frame(seen) };
                prop_assert_eq!(turn, long.frame(seen));
                if let Some((client, name)) = asked {
                    let client = IpAddr::from([10, 0, 0, client]);
                    let name = Name::parse(["a.example", "b.example", "a"][name]).unwrap();
                    short.asked(ts, client, &name);
                    long.review(ts, client, &name);
                }
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
        }
    }
}
