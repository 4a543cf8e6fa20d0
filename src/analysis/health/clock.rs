//! The clock of the capture was set while it ran.
//!
//! Signature: within one file a timestamp stands more than 1 ms before the one in front of it
//! (backwards); or time passes without a frame on a busy interface while several questions asked
//! just before are answered just behind, so that the wait is the clock's and not theirs
//! (forwards; a host that stood still as a whole looks the same).
//!
//! Needs: nothing. Effect: latencies across such a place are left out, whatever was open there is
//! not judged, and findings whose window holds one lose a level of confidence.
//!
//! Not this: frames of several interfaces are out of order by microseconds, of a loaded host by
//! milliseconds; below 100 ms it is noted and nothing else. Files of one ring that overlap are
//! `cap-order`. Cannot tell: by how much the clocks of two hosts differ, where the same datagrams
//! were not captured on both.

use super::{CaptureRule, Facts, Health};
use crate::base::words::{clock, count, duration, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-clock",
    title: "the clock of the capture was set while it ran",
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
    health
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
