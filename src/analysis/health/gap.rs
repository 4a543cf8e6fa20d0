//! A hole in time: for a while nothing was captured where much was to be expected.
//!
//! Signature: at one capture point, after at least 20 frames a second over the last minute, no
//! frame for more than a second, more than 20 times the mean pause between exchanges and more than
//! three times the longest pause of that minute; and behind it at least 20 frames a second again.
//!
//! Needs: a busy capture. Effect: transactions that were open in a hole are `unknown`; the edges of
//! an incident at a hole are uncertain by its length.
//!
//! Not this: an idle night (less than 20 frames a second before); clients that wait for a dead
//! server, who ask the same again behind the pause just when their resolver was due, or for the
//! next candidate of their search; a clock that
//! was set forward, where questions from before are answered at once behind it (`cap-clock`); a
//! file that is missing from a ring (`cap-order` says so as well).

use super::facts::RECORD;
use super::{CaptureRule, Facts, Health};
use crate::base::words::{clock, count, duration, plain, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-gap",
    title: "a hole in time in the capture",
    references: &["rulebook 2.A cap-gap"],
    source: include_str!("gap.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let holes: Vec<_> = facts.watch.holes().collect();
    let (Some(first), Some(last)) = (holes.first(), holes.last()) else { return Vec::new() };
    let longest = holes.iter().map(|gap| gap.length()).max().unwrap_or_default();
    vec![RULE.caution(text!(
        "{holes} without a frame, the longest {longest}, between {start} and {end}; silence \
         there proves nothing. Look at \"dropped by kernel\" and the disk, and record with: \
         {record}",
        holes = count(holes.len() as u64, "hole"),
        longest = duration(longest),
        start = clock(first.start),
        end = clock(last.end),
        record = plain(RECORD)
    ))]
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, health};

    /// Lookups every 20 ms for 12 s, a pause, `first` behind it, and 12 s more.
    fn paused(before: &str, seconds: u32, behind: &str) -> String {
        let again = 12 + seconds;
        format!(
            "client = 10.0.0.5
             dns = 192.0.2.53
             repeat 600 every 0.02
             0.000 client > dns  rd A n{{n}}.example.
             0.004 client < dns  n{{n}}.example. 60 A 203.0.113.7
             end
             {before}
             {behind}
             repeat 600 every 0.02 from {again}.2
             0.000 client > dns  rd A m{{n}}.example.
             0.004 client < dns  m{{n}}.example. 60 A 203.0.113.7
             end"
        )
    }

    #[test]
    fn what_was_open_in_a_hole_is_not_judged() {
        let asked = "12.000 client:61001 > dns  rd A open.example.";
        let text = paused(asked, 20, "");
        assert!(
            health(&text).contains("cap-gap!: 1 hole without a frame, the longest 20.2 s"),
            "{}",
            health(&text)
        );
        let traffic = analyse(&text).traffic;
        assert_eq!((traffic.unanswered, traffic.unknown), (0, 1));
    }

    #[test]
    fn clients_that_wait_for_a_dead_server_are_no_hole() {
        let asked = "12.000 client:61001 > dns  rd id 4444 A open.example.";
        let again = "17.001 client:61001 > dns  rd id 4444 A open.example.";
        let text = paused(asked, 5, again);
        assert!(!health(&text).contains("cap-gap"), "{}", health(&text));
    }

    /// glibc gives up a candidate of its search when its last try is over, and asks for the next one.
    #[test]
    fn a_search_that_goes_on_behind_a_pause_is_no_hole() {
        let asked = "12.000 client:61001 > dns  rd id 4444 A open.shop.svc.cluster.local.";
        let next = "17.001 client:61002 > dns  rd id 5555 A open.";
        let text = paused(asked, 5, next);
        assert!(!health(&text).contains("cap-gap"), "{}", health(&text));
        let other = paused(asked, 5, &next.replace("A open", "A shut"));
        assert!(health(&other).contains("cap-gap"), "{}", health(&other));
    }

    #[test]
    fn a_quiet_capture_has_pauses_and_no_holes() {
        let text = "
            client = 10.0.0.5
            dns = 192.0.2.53
            repeat 40 every 0.5
            0.000 client > dns  rd A n{n}.example.
            0.004 client < dns  n{n}.example. 60 A 203.0.113.7
            end
            repeat 40 every 0.5 from 60
            0.000 client > dns  rd A m{n}.example.
            0.004 client < dns  m{n}.example. 60 A 203.0.113.7
            end
        ";
        assert!(!health(text).contains("cap-gap"), "{}", health(text));
    }

    #[test]
    fn traffic_that_ends_is_no_hole() {
        let text = paused("", 3_000, "");
        let text = text.split_once("repeat 600 every 0.02 from").unwrap().0;
        let text = format!("{text}\n3600.0 client:61001 > dns  rd A next.example.");
        assert!(!health(&text).contains("cap-gap"), "{}", health(&text));
    }
}
