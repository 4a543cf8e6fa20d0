//! Capture time: integer nanoseconds since the Unix epoch, never a float, never a clock.

use std::fmt;
use std::time::Duration;

/// An instant of capture time, in nanoseconds since 1970-01-01T00:00:00Z.
///
/// Arithmetic saturates: a capture may claim any time at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest and the latest instant that can be told.
    pub const MIN: Self = Self(i64::MIN);
    /// See [`Timestamp::MIN`].
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Seconds and nanoseconds after the epoch, saturating.
    pub const fn from_parts(seconds: i64, nanos: u32) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos as i64))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The instant that an RFC 3339 time names, as a report writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Self)
    }

    /// In UTC, as a format of strftime has it.
    pub(super) fn civil(self, format: &str) -> String {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => time.strftime(format).to_string(),
            Err(_) => self.to_string(),
        }
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Distance to `other`, whichever comes first.
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }

    /// Whether more than `length` has passed since `earlier`.
    #[inline]
    pub fn is_past(self, earlier: Self, length: Duration) -> bool {
        self.0.saturating_sub(earlier.0) > saturating_nanos(length)
    }

    /// Whether `other` lies no further away than `length`, whichever comes first.
    #[inline]
    pub fn is_near(self, other: Self, length: Duration) -> bool {
        u128::from(self.0.abs_diff(other.0)) <= length.as_nanos()
    }

    /// The instant `length` after this one.
    #[must_use]
    pub fn after(self, length: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(length)))
    }

    /// The instant `length` before this one.
    #[must_use]
    pub fn before(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(length)))
    }
}

fn saturating_nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with nine digits of seconds, as the JSON report has it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(f, "{time:.9}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// A closed stretch of capture time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Its first instant.
    pub start: Timestamp,
    /// Its last instant; never before `start`.
    pub end: Timestamp,
}

impl Span {
    /// The span that is one instant long.
    pub const fn at(instant: Timestamp) -> Self {
        Self { start: instant, end: instant }
    }

    /// The span between two instants in either order.
    pub fn between(one: Timestamp, other: Timestamp) -> Self {
        Self { start: one.min(other), end: one.max(other) }
    }

    /// The span made just long enough to hold `instant`.
    #[must_use]
    pub fn with(self, instant: Timestamp) -> Self {
        Self { start: self.start.min(instant), end: self.end.max(instant) }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The span grown by `margin` on both sides.
    #[must_use]
    pub fn widened(self, margin: Duration) -> Self {
        Self { start: self.start.before(margin), end: self.end.after(margin) }
    }

    /// Whether `instant` lies in it.
    pub fn contains(self, instant: Timestamp) -> bool {
        self.start <= instant && instant <= self.end
    }

    /// Whether the two share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether it reaches into another day of UTC.
    pub fn holds_midnight(self) -> bool {
        const DAY: i64 = 86_400 * 1_000_000_000;
        self.start.0.div_euclid(DAY) != self.end.0.div_euclid(DAY)
    }

    /// Its length.
    pub fn length(self) -> Duration {
        self.end.since(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_rfc_3339_with_nanoseconds() {
        let time = Timestamp::from_parts(1_671_710_403, 5_000_300);
        assert_eq!(time.to_string(), "2022-12-22T12:00:03.005000300Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn arithmetic_saturates_at_the_ends_of_time() {
        assert_eq!(Timestamp::MAX.after(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.before(Duration::from_secs(1)), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_parts(i64::MAX, 0), Timestamp::MAX);
    }

    #[test]
    fn spans_hold_their_ends() {
        let span = Span::between(Timestamp::from_nanos(9), Timestamp::from_nanos(3));
        assert!(span.contains(Timestamp::from_nanos(3)) && span.contains(Timestamp::from_nanos(9)));
        assert!(!span.contains(Timestamp::from_nanos(10)));
        assert_eq!(span.length(), Duration::from_nanos(6));
        let midnight = Timestamp::from_parts(1_671_667_200, 0);
        let evening = Span::between(midnight.before(Duration::from_secs(1)), midnight);
        assert!(evening.holds_midnight() && !Span::at(midnight).holds_midnight());
    }
}
