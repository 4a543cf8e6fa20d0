//! The clocks of stub resolvers, as far as single transactions need them (rulebook 1 and 3).

use std::time::Duration;

use super::Attempt;
use crate::base::Timestamp;

/// Longer than any single wait of the common stubs; silence for less proves nothing.
pub const T_WAIT: Duration = Duration::from_secs(10);
/// A key that was silent for this long belongs to a new transaction: conntrack forgets an
/// unanswered UDP flow after 30 s, and no stub waits longer on one socket.
pub const T_KEEP: Duration = Duration::from_secs(30);
/// A client that repeats one key for ever must not keep one transaction open for ever. Two
/// minutes hold every retry schedule of rulebook section 3.
pub const MAX_LIFE: Duration = Duration::from_mins(2);
/// Copies of one datagram lie within this: 0.1 ms measured on one host, slack for loaded ones.
pub const COPY_WINDOW: Duration = Duration::from_millis(50);
/// The same where no IP identification ties copies together.
pub const ANONYMOUS_COPY_WINDOW: Duration = Duration::from_millis(5);
/// How far a response may stand before its own query: interfaces deliver to the capture out
/// of order.
pub const DISORDER: Duration = Duration::from_millis(10);
/// The wait of one attempt when nothing better is known: glibc, Go and the BIND tools.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timers fire late and hardly ever early (rulebook `grid_tol`).
pub const EARLY: Duration = Duration::from_millis(10);
/// See [`EARLY`].
pub const LATE: Duration = Duration::from_millis(150);

/// Whether `gap` is `expected` within the tolerance of timers: -10/+150 ms, or 3 % if larger.
pub fn on_time(gap: Duration, expected: Duration) -> bool {
    gap + EARLY >= expected && gap <= expected + LATE.max(expected * 3 / 100)
}

/// Whether `gap` is one of the intervals at which known stubs repeat a datagram.
pub fn on_retry_grid(gap: Duration) -> bool {
    const GRID_MS: [u64; 9] = [1_000, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000];
    GRID_MS.iter().any(|&ms| on_time(gap, Duration::from_millis(ms)))
}

/// How long the client listens after the last of these attempts: as long as it waited between
/// the last two, or the usual five seconds. Attempts repeated at once (after an error) say
/// nothing about its patience.
pub fn patience(attempts: &[Attempt]) -> Duration {
    let gap = |pair: &[Attempt]| match pair {
        [a, b] => b.sent().ts.since(a.sent().ts),
        _ => Duration::ZERO,
    };
    let mut gaps = attempts.windows(2).rev().map(gap);
    let long = gaps.clone().find(|gap| *gap >= Duration::from_millis(900));
    long.unwrap_or_else(|| match (gaps.next(), gaps.next()) {
        // musl divides its `timeout:` by its `attempts:`.
        (Some(last), Some(before)) if is_beat(last, before) => last,
        _ => DEFAULT_TIMEOUT,
    })
}

/// Whether two short waits are those of one timer.
fn is_beat(one: Duration, other: Duration) -> bool {
    one.min(other) >= Duration::from_millis(90) && one.abs_diff(other) <= EARLY
}

/// The instant at which the client stopped listening on the socket of these attempts.
pub fn deadline(attempts: &[Attempt]) -> Option<Timestamp> {
    Some(attempts.last()?.sent().ts.after(patience(attempts) + LATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn timers_fire_late_and_hardly_early() {
        assert!(on_time(ms(5_000), ms(5_000)) && on_time(ms(5_150), ms(5_000)));
        assert!(on_time(ms(4_990), ms(5_000)) && !on_time(ms(4_980), ms(5_000)));
        assert!(!on_time(ms(5_151), ms(5_000)) && on_time(ms(10_300), ms(10_000)));
    }

    #[test]
    fn retry_intervals_of_known_stubs_are_on_the_grid() {
        assert!([5_000, 2_503, 1_003, 4_004].into_iter().all(|n| on_retry_grid(ms(n))));
        assert!([400, 1_700, 4_500, 7_000].into_iter().all(|n| !on_retry_grid(ms(n))));
    }
}
