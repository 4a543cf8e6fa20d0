//! The clock of the capture was set while it ran, or those of two capture points differ.
//!
//! Signature: within one file a timestamp stands more than 1 ms before the one in front of it
//! (backwards); or time passes without a frame on a busy interface while several questions asked
//! just before are answered just behind, so that the wait is the clock's and not theirs
//! (forwards; a host that stood still as a whole looks the same). With several capture points: the
//! datagrams that two of them recorded arrived before they had left, or much later, by the clocks
//! of those points; those that went the one way and those that went the other bound the difference
//! from both sides, as in NTP.
//!
//! Needs: nothing. Effect: latencies across such a place are left out, whatever was open there is
//! not judged, and findings whose window holds one lose a level of confidence. The times of a point
//! whose clock differs are corrected before they meet those of others, so that every time is one of
//! the reference point's clock; files keep their own times.
//!
//! Not this: frames of several interfaces are out of order by microseconds, of a loaded host by
//! milliseconds; below 100 ms it is noted and nothing else. Files of one ring that overlap are
//! `cap-order`. Cannot tell: by how much the clocks of two hosts differ, where the same datagrams
//! were not captured on both; where only one direction was, by how much less than the bound.

use std::time::Duration;

use super::{CaptureRule, Facts, Health};
use crate::analysis::PointClock;
use crate::base::words::{Text, clock, count, duration, plain, precise, text};

/// A clock that strays by more than this a minute, in nanoseconds, puts nothing in order (rulebook
/// `cap-clock`).
const WANDER: i64 = 1_000_000;

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-clock",
    title: "a clock was set while it ran, or those of capture points differ",
    references: &["rulebook 2.A cap-clock"],
    source: include_str!("clock.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let mut health = Vec::new();
    let steps = facts.watch.steps();
    let serious: Vec<_> = steps.iter().filter(|step| step.is_serious()).collect();
    if let (Some(first), Some(longest)) =
        (serious.first(), serious.iter().map(|step| step.back).max())
    {
        health.push(RULE.caution(text!(
            "the clock went back {times} (first at {at}, by up to {longest}); latencies across it \
             are left out. Keep the clock still while recording: chronyc tracking",
            times = count(serious.len() as u64, "time"),
            at = clock(first.at),
            longest = duration(longest)
        )));
    } else if let Some(longest) = steps.iter().map(|step| step.back).max() {
        health.push(RULE.note(text!(
            "{rest} before the one in front, by up to {longest}: out of order, or a clock that is \
             being corrected",
            rest = if steps.len() == 1 {
                text!("1 frame stands")
            } else {
                text!("{frames} stand", frames = count(steps.len() as u64, "frame"))
            },
            longest = duration(longest)
        )));
    }
    let jumps: Vec<_> = facts.watch.jumps().collect();
    if let Some(first) = jumps.first() {
        let longest = jumps.iter().map(|jump| jump.length()).max().unwrap_or_default();
        health.push(RULE.caution(text!(
            "the clock jumped forward {times}, or the whole host stood still (first at {start}, \
             for up to {longest}): questions from just before were answered just behind; latencies \
             across it are left out",
            times = count(jumps.len() as u64, "time"),
            start = clock(first.start),
            longest = duration(longest)
        )));
    }
    health.extend(points(facts));
    health
}

/// What is said of the clocks of several points.
fn points(facts: &Facts<'_>) -> Vec<Health> {
    let Some(reference) = facts.points.iter().find(|point| point.reference) else {
        return Vec::new();
    };
    let differ = |clock: &PointClock| clock.is_corrected() || clock.steps > 0;
    let mut health = Vec::new();
    for point in facts.points {
        let Some(clock) = point.clock.as_ref().filter(|clock| differ(clock)) else { continue };
        let detail = text!(
            "{clock}; its times are told by the clock of {reference}",
            clock = clock.words(&point.name, &reference.name),
            reference = plain(&reference.name)
        );
        let strays = clock.wander > WANDER;
        health.push(if strays {
            RULE.caution(text!(
                "{detail}. It strays by more than 1 ms a minute: what happened first at which point \
                 is not known. Let both follow one clock: {command}",
                detail,
                command = plain("chronyc tracking")
            ))
        } else if clock.uncertainty.is_none() {
            RULE.caution(text!(
                "{detail}. Only one direction was seen at both, so that is a bound",
                detail
            ))
        } else {
            RULE.note(detail)
        });
    }
    health
}

impl PointClock {
    /// How the clock of one point goes by that of another, in words.
    fn words(&self, point: &str, reference: &str) -> Text {
        let nanos = |nanos: i64| precise(Duration::from_nanos(nanos.unsigned_abs()));
        let (point, reference, offset) = (plain(point), plain(reference), nanos(self.offset));
        let mut words = match (self.uncertainty.map(nanos), self.offset >= 0) {
            (Some(within), true) => text!(
                "the clock of {point} is {offset} ahead of that of {reference} (± {within})",
                point,
                offset,
                reference,
                within
            ),
            (Some(within), false) => text!(
                "the clock of {point} is {offset} behind that of {reference} (± {within})",
                point,
                offset,
                reference,
                within
            ),
            (None, true) => text!(
                "the clock of {point} is at most {offset} ahead of that of {reference}",
                point,
                offset,
                reference
            ),
            (None, false) => text!(
                "the clock of {point} is at most {offset} behind that of {reference}",
                point,
                offset,
                reference
            ),
        };
        if self.drift != 0 {
            let drift = self.drift as f64 / 1_000.0;
            words.push(text!(", and drifts by {ppm} ppm", ppm = format_args!("{drift:+.1}")));
        }
        if self.steps > 0 {
            words.push(text!(", and was set {times}", times = count(self.steps as u64, "time")));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, health};

    /// Sixty lookups, one every 100 ms, the clock of the later ones set by `{step}`.
    fn stepped(stamped: &str) -> String {
        format!(
            "client = 10.0.0.5
             dns = 192.0.2.53
             repeat 30 every 0.1
             0.000 client > dns  rd A n{{n}}.example.
             0.004 client < dns  n{{n}}.example. 60 A 203.0.113.7
             end
             3.100 client:41000 > dns  rd A last.example. {stamped}
             3.104 client:41000 < dns  last.example. 60 A 203.0.113.7 {stamped}
             "
        )
    }

    #[test]
    fn a_clock_set_back_is_said_once_and_no_latency_spans_it() {
        let text = stepped("stamped 1.2");
        assert!(
            health(&text).contains("cap-clock!: the clock went back 1 time"),
            "{}",
            health(&text)
        );
        let latency = analyse(&text).traffic.latency;
        assert!(latency.max().unwrap().as_millis() < 10);
    }

    #[test]
    fn frames_out_of_order_by_microseconds_are_no_step() {
        let text = stepped("");
        assert!(!health(&text).contains("cap-clock"), "{}", health(&text));
    }

    #[test]
    fn frames_out_of_order_by_milliseconds_are_only_noted() {
        let text = stepped("stamped 2.899");
        assert!(health(&text).contains("cap-clock: 1 frame stands"), "{}", health(&text));
    }

    #[test]
    fn questions_that_straddle_a_pause_show_that_the_clock_jumped() {
        let text = "
            client = 10.0.0.5
            dns = 192.0.2.53
            repeat 600 every 0.02
            0.000 client > dns  rd A n{n}.example.
            0.004 client < dns  n{n}.example. 60 A 203.0.113.7
            end
            12.000 client:61001 > dns  rd A one.example.
            12.001 client:61002 > dns  rd A two.example.
            12.002 client:61003 > dns  rd A three.example.
            32.003 client:61001 < dns  one.example. 60 A 203.0.113.7
            32.004 client:61002 < dns  two.example. 60 A 203.0.113.7
            32.005 client:61003 < dns  three.example. 60 A 203.0.113.7
            repeat 600 every 0.02 from 32.1
            0.000 client > dns  rd A m{n}.example.
            0.004 client < dns  m{n}.example. 60 A 203.0.113.7
            end
        ";
        assert!(
            health(text).contains("cap-clock!: the clock jumped forward 1 time"),
            "{}",
            health(text)
        );
        assert!(!health(text).contains("cap-gap"), "{}", health(text));
        let analysis = analyse(text);
        assert!(analysis.traffic.latency.max().unwrap().as_millis() < 10);
        assert_eq!(analysis.traffic.slow_lookups, 0);
    }
}
