//! What is cut by the beginning or the end of the capture cannot be judged.
//!
//! Signature: a query less than 10 s (the longest wait of common stubs) before the end and without
//! an answer; a response in the first 10 s whose query is not in the capture.
//!
//! Needs: nothing. Effect: the former count as `unknown` and never as timeouts, the latter are no
//! sign of lost frames. Edges of single files of a ring are no edges.
//!
//! Cannot tell: whether an outage that touches the edge began before or went on behind it.

use super::{CaptureRule, Facts, Health};
use crate::base::words::{Text, count, list, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-edge",
    title: "transactions are cut by the edge of the capture",
    references: &["rulebook 1 T_wait, 2.A cap-edge"],
    source: include_str!("edge.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let Some(span) = facts.span else { return Vec::new() };
    let at_end = facts.directions.cut_by(span.end);
    let within = facts.directions.unknown - at_end;
    let early = facts.directions.early;
    let mut parts = Vec::new();
    if at_end > 0 {
        parts.push(text!("{were_open} when the capture ended", were_open = were_open(at_end)));
    }
    if early > 0 {
        parts.push(text!("{answer} from before it began, or in a hole", answer = answer(early)));
    }
    if within > 0 {
        parts.push(text!("{were_open} at a hole, or unreadable", were_open = were_open(within)));
    }
    if parts.is_empty() {
        return Vec::new();
    }
    vec![RULE.note(text!("not judged: {parts}", parts = list(parts, 3)))]
}

fn were_open(n: u64) -> Text {
    text!("{transactions} still open", transactions = count(n, "transaction"))
}

fn answer(n: u64) -> Text {
    if n == 1 { text!("1 response to a query") } else { text!("{n} responses to queries", n) }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, health};

    const EDGES: &str = "
        client = 10.0.0.5
        dns = 192.0.2.53
        0.000 client:40001 < dns  id 0a0a  ? A early.example.  early.example. 60 A 203.0.113.7
        1.000 client:40002 > dns  rd A good.example.
        1.004 client:40002 < dns  good.example. 60 A 203.0.113.7
        30.00 client:40003 > dns  rd A late.example.
    ";

    #[test]
    fn both_edges_are_told_and_neither_is_a_failure() {
        let text = health(EDGES);
        assert!(
            text.contains(
                "cap-edge: not judged: 1 transaction still open when the capture ended, 1 response \
                 to a query from before it began, or in a hole"
            ),
            "{text}"
        );
        let traffic = analyse(EDGES).traffic;
        assert_eq!((traffic.unanswered, traffic.unknown), (0, 1));
        assert!(!text.contains("cap-loss"), "{text}");
    }

    #[test]
    fn a_capture_that_goes_on_long_enough_has_no_edge() {
        let text = format!(
            "{}\n45.0 client:40004 < dns  id 0b0b  ? A x.example.  REFUSED",
            EDGES.replace("0.000 client:40001", "30.02 client:40003")
        );
        assert!(!health(&text).contains("still open when"), "{}", health(&text));
    }
}
