//! Frames are cut by the snap length: headers and most questions are whole, records may not be.
//!
//! Signature: frames whose captured length is less than their length on the wire.
//!
//! Needs: nothing. Effect: response code, flags, question and counts are used as they are; what the
//! missing records say is `unknown`, never "malformed" and never "empty answer". Messages that are cut
//! before the end of their question are counted, and where they are most of all, nothing is said of how
//! DNS did.
//!
//! Not this: a file that ends in the middle of a record, which is damage and told as such.

use super::{CaptureRule, Facts, Health};
use crate::base::words::{count, text};

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
    // Who cuts so early has no answer and no name either, and no figure counts them.
    let cut = coverage.messages.cut_questions;
    if cut > 0 {
        return vec![RULE.caution(text!(
            "{cut_frames} of {frames} frames were cut by the snap length, and {messages} before the \
             end of the question: no figure of this report holds those. Record with tcpdump -s 0",
            cut_frames = coverage.cut_frames,
            frames = coverage.frames,
            messages = count(cut, "message")
        ))];
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
    use crate::analysis::Status;
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
    fn what_is_cut_inside_the_question_is_no_healthy_traffic() {
        let text = "
            client = 10.0.0.5
            dns = 192.0.2.53
            repeat 20 every 1
            0.000 client > dns  cut 60  rd A a-rather-long-name.shop.example.com.
            0.004 client < dns  cut 60  a-rather-long-name.shop.example.com. 60 A 203.0.113.7
            end
            30.0 client > dns  rd A example.com.
            30.1 client < dns  example.com. 60 A 203.0.113.7
        ";
        assert!(
            health(text).contains("40 messages before the end of the question"),
            "{}",
            health(text)
        );
        let verdict = analyse(text).verdict;
        assert_eq!(verdict.status, Status::Inconclusive, "{}", verdict.headline);
    }

    #[test]
    fn whole_frames_are_not_told() {
        assert!(!health(&CUT.replace("cut 72", "")).contains("cap-snaplen"));
    }
}
