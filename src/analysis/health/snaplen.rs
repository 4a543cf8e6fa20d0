//! Frames are cut by the snap length: headers and questions are whole, records may not be.
//!
//! Signature: frames whose captured length is less than their length on the wire.
//!
//! Needs: nothing. Effect: response code, flags, question and counts are used as they are; what the
//! missing records say is `unknown`, never "malformed" and never "empty answer".
//!
//! Not this: a file that ends in the middle of a record, which is damage and told as such.

use super::{CaptureRule, Facts, Health};
use crate::base::words::text;

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-snaplen",
    title: "frames are cut by the snap length",
    references: &["rulebook 2.A cap-snaplen", "tcpdump(8) -s"],
    source: include_str!("snaplen.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let coverage = facts.coverage;
    if coverage.cut_frames == 0 {
        return Vec::new();
    }
    vec![RULE.note(text!(
        "{cut_frames} of {frames} frames were cut by the snap length; record with tcpdump -s 0 to \
         see whole answers",
        cut_frames = coverage.cut_frames,
        frames = coverage.frames
    ))]
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, health};

    const CUT: &str = "
        client = 10.0.0.5
        dns = 192.0.2.53
        0.000 client > dns  rd A example.com.
        0.004 client < dns  cut 72  example.com. 60 A 203.0.113.7
        1.000 client > dns  rd A next.example.
    ";

    #[test]
    fn a_cut_answer_is_neither_empty_nor_malformed() {
        assert!(health(CUT).contains("cap-snaplen: 1 of 3 frames"), "{}", health(CUT));
        let traffic = analyse(CUT).traffic;
        assert_eq!((traffic.nodata, traffic.unanswered), (0, 0));
    }

    #[test]
    fn whole_frames_are_not_told() {
        assert!(!health(&CUT.replace("cut 72", "")).contains("cap-snaplen"));
    }
}
