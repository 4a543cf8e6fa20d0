//! Times and amounts as people read them in a report.

use std::fmt::Display;
use std::time::Duration;

use super::Timestamp;

pub(crate) use super::text::text;
pub use super::text::{Text, ToText, plain};

/// The time of day in UTC with milliseconds: `12:00:03.005`. A capture of several days has the day
/// put before it ([`Text::with_days`]): whoever finds something need not know how long it all was.
pub fn clock(ts: Timestamp) -> Text {
    Text::clock(ts)
}

/// Date and time of day in UTC, to the second: `2022-12-22 12:00:03`.
pub fn date(ts: Timestamp) -> Text {
    plain(ts.civil("%Y-%m-%d %H:%M:%S"))
}

/// A length of time with as many digits as it deserves: `0.4 ms`, `52 ms`, `5.00 s`, `40.2 s`,
/// `12 min`, `3.5 h`.
pub fn duration(length: Duration) -> Text {
    let seconds = length.as_secs_f64();
    if seconds < 0.01 {
        text!("{n} ms", n = format_args!("{:.1}", seconds * 1e3))
    } else if seconds < 1.0 {
        text!("{n} ms", n = format_args!("{:.0}", seconds * 1e3))
    } else if seconds < 10.0 {
        text!("{n} s", n = format_args!("{seconds:.2}"))
    } else if seconds < 600.0 {
        text!("{n} s", n = format_args!("{seconds:.1}"))
    } else if seconds < 7_200.0 {
        text!("{n} min", n = format_args!("{:.0}", seconds / 60.0))
    } else {
        text!("{n} h", n = format_args!("{:.1}", seconds / 3_600.0))
    }
}

/// A length of time to the last digit that a clock is compared by: `4 µs`, `52.31 ms`, `3600.500 s`.
pub fn precise(length: Duration) -> Text {
    let seconds = length.as_secs_f64();
    if seconds < 0.001 {
        text!("{n} µs", n = format_args!("{:.0}", seconds * 1e6))
    } else if seconds < 1.0 {
        text!("{n} ms", n = format_args!("{:.2}", seconds * 1e3))
    } else {
        text!("{n} s", n = format_args!("{seconds:.3}"))
    }
}

/// A count with its noun: `1 lookup`, `12 lookups`. The noun is a literal: the catalogues have it.
pub fn count(n: u64, noun: &'static str) -> Text {
    Text::count(n, noun)
}

/// The first few of a list, and how many more there are: `a, b, c and 4 more`.
pub fn list<T: ToText>(items: impl IntoIterator<Item = T>, most: usize) -> Text {
    Text::list(items.into_iter().map(|item| item.to_text()).collect(), most)
}

/// Clauses behind one another, with one of [`BETWEEN`](super::text::BETWEEN) between them.
pub fn join(clauses: impl IntoIterator<Item = Text>, between: &'static str) -> Text {
    Text::joined(clauses.into_iter().collect(), between)
}

/// The first of a list alone, as a command takes it; empty for none.
pub fn first<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().next().map_or_else(String::new, |item| item.to_string())
}

/// A share in per cent: `31 %`, `0.4 %`. All is `100 %` and nothing `0 %`, and nothing else is.
pub fn percent(part: u64, whole: u64) -> Text {
    if whole == 0 {
        return plain("-");
    }
    let share = part as f64 * 100.0 / whole as f64;
    if part < whole && share >= 99.5 {
        text!("over 99 %")
    } else if part > 0 && share < 0.05 {
        text!("under 0.1 %")
    } else if share > 0.0 && share < 10.0 {
        text!("{n} %", n = format_args!("{share:.1}"))
    } else {
        text!("{n} %", n = format_args!("{share:.0}"))
    }
}

/// The module docs of a source file, as Markdown: the explanation of the rule that it is.
pub fn module_docs(source: &str) -> String {
    let mut text = String::new();
    for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
        text.push_str(line.strip_prefix(' ').unwrap_or(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        assert_eq!(duration(Duration::from_micros(412)), "0.4 ms");
        assert_eq!(duration(Duration::from_millis(5_003)), "5.00 s");
        assert_eq!(duration(Duration::from_millis(40_190)), "40.2 s");
        assert_eq!(precise(Duration::from_nanos(3_500)), "4 µs");
        assert_eq!(precise(Duration::from_micros(52_314)), "52.31 ms");
        assert_eq!(precise(Duration::from_millis(3_600_500)), "3600.500 s");
        assert_eq!(count(1, "lookup"), "1 lookup");
        assert_eq!(count(2, "query"), "2 queries");
        assert_eq!(list(["a", "b", "c"].map(plain), 2), "a, b and 1 more");
        assert_eq!(first(["a", "b"]), "a");
        assert_eq!(percent(1, 250), "0.4 %");
        assert_eq!(percent(1_574, 1_575), "over 99 %");
        assert_eq!((percent(0, 9), percent(9, 9)), (plain("0 %"), plain("100 %")));
        assert_eq!(percent(1, 5_000), "under 0.1 %");
        assert_eq!(clock(Timestamp::from_parts(1_671_710_403, 5_000_000)), "12:00:03.005");
    }

    #[test]
    fn a_day_is_put_before_every_time_of_a_text() {
        let at = clock(Timestamp::from_parts(1_671_710_403, 5_000_000));
        let said = join([text!("from {at} on", at), list([plain(3), at], 2)], "; ");
        assert_eq!(said, "from 12:00:03.005 on; 3, 12:00:03.005");
        let dated = "from 2022-12-22 12:00:03.005 on; 3, 2022-12-22 12:00:03.005";
        assert_eq!(said.with_days(), dated);
    }
}
