//! Frames are missing from the capture, so some of the silence in it is its own.
//!
//! Signature: responses without a query (the first 10 s left out) are more than 0.2 % of all
//! responses, and spread over client networks and servers in proportion to their traffic
//! (chi-square, p > 0.01; those that are seen under a service's own address alone are its backends',
//! nobody knows which); unanswered queries that nobody asked again are about as many. Or TCP
//! acknowledges bytes that were never captured. The share of such responses estimates how much was
//! lost (`d_hat`).
//!
//! Needs: 20 responses. Effect: a finding about silence whose share of failures is not
//! significantly above three times `d_hat` is dropped, and one below ten times `d_hat`, where that
//! is more than 2 %, loses a level of confidence.
//!
//! Not this: real loss, where clients ask again and no response stands alone; one server or network
//! that is seen in one direction only (`cap-one-sided`). Cannot tell: when the frames were lost, if
//! it was not all along.

use super::{CaptureRule, Facts, Health};
use crate::base::words::{count, percent, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-loss",
    title: "frames are missing from the capture",
    references: &["rulebook 2.A cap-loss", "tcpdump(8) -B"],
    source: include_str!("loss.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let mut health = Vec::new();
    if let Some(loss) = facts.loss {
        health.push(RULE.caution(text!(
            "{orphans} of {responses} responses ({share}) have no query in the capture, and \
             {queries} were neither answered nor asked again: it lost frames, so some silence is \
             its own. Record with a larger buffer (tcpdump -B 8192) and a shorter filter, and look \
             at \"dropped by kernel\"",
            orphans = loss.orphans,
            responses = loss.responses,
            share = percent(loss.orphans, loss.responses),
            queries = count(loss.unretried, "query")
        )));
    }
    // Frames cut by the snap length lack bytes of streams as well, and for another reason.
    if facts.coverage.lost_stream_bytes > 0 && facts.coverage.cut_frames == 0 {
        let detail = text!(
            "{bytes} of TCP streams were sent and acknowledged but never captured; messages in \
             them are missing. Record with a larger buffer (tcpdump -B 8192)",
            bytes = count(facts.coverage.lost_stream_bytes, "byte")
        );
        health.push(Health { rule: RULE.id, detail, serious: health.is_empty() });
    }
    health
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, findings, health};

    /// 300 lookups of three clients, some queries and some answers of which were not captured.
    fn lossy(lost: &str) -> String {
        format!(
            "a = 10.244.1.5
             b = 10.244.2.5
             c = 10.244.3.5
             dns = 192.0.2.53
             repeat 100 every 0.5
             0.000 a > dns  rd A a{{n}}.example.
             0.004 a < dns  a{{n}}.example. 60 A 203.0.113.7
             0.100 b > dns  rd A b{{n}}.example.
             0.104 b < dns  b{{n}}.example. 60 A 203.0.113.7
             0.200 c > dns  rd A c{{n}}.example.
             0.204 c < dns  c{{n}}.example. 60 A 203.0.113.7
             end
             {lost}"
        )
    }

    /// One lookup of each client every ten seconds whose query, or whose answer, was missed.
    const MISSED: &str = "
             repeat 4 every 10 from 12
             0.000 a:50001 > dns  lost rd A p{n}.example.
             0.004 a:50001 < dns  p{n}.example. 60 A 203.0.113.7
             0.100 b:50001 > dns  lost rd A q{n}.example.
             0.104 b:50001 < dns  q{n}.example. 60 A 203.0.113.7
             0.200 c:50001 > dns  rd A r{n}.example.
             0.204 c:50001 < dns  lost r{n}.example. 60 A 203.0.113.7
             end";

    #[test]
    fn responses_without_query_all_over_show_that_frames_were_lost() {
        let text = lossy(MISSED);
        assert!(
            health(&text).contains("cap-loss!: 8 of 308 responses (2.6 %)"),
            "{}",
            health(&text)
        );
        assert_eq!(findings(&text), "quiet\n");
    }

    /// On a node each datagram has several frames: an answer whose query is missing is often seen behind
    /// the translation alone, under the service's own address.
    #[test]
    fn what_is_seen_of_a_service_alone_belongs_to_its_backends() {
        let ask = |client: &str, port: &str, name: &str, lost: &str, since: &str| {
            format!(
                "0.000 {client}:{port} > dns via core1 {lost} rd A {name}{{n}}.example.\n\
                 0.004 {client}:{port} < dns via core1 {since} {name}{{n}}.example. 60 A 203.0.113.7\n\
                 0.100 {client}:{port}1 > dns via core2 {lost} rd A {name}b{{n}}.example.\n\
                 0.104 {client}:{port}1 < dns via core2 {since} {name}b{{n}}.example. 60 A 203.0.113.7\n"
            )
        };
        let text = format!(
            "capture node sll2
             service dns = 10.96.0.10
             core1 = 10.244.8.10
             core2 = 10.244.9.10
             a = 10.244.1.5
             b = 10.244.1.6
             repeat 150 every 0.4\n{}{}end
             repeat 8 every 6 from 12.2\n{}{}end",
            ask("a", "100", "a", "", ""),
            ask("b", "200", "b", "", ""),
            ask("a", "300", "p", "lost", "since veth"),
            ask("b", "400", "q", "lost", "since veth"),
        );
        assert!(health(&text).contains("cap-loss!"), "{}", health(&text));
    }

    #[test]
    fn a_capture_that_lost_nothing_is_quiet() {
        assert!(!health(&lossy("")).contains("cap-loss"), "{}", health(&lossy("")));
    }

    #[test]
    fn responses_without_query_from_one_corner_are_another_matter() {
        let text = lossy(
            "spoofer = 198.51.100.1
             repeat 30 every 1 from 12
             0.000 a:50001 < spoofer  id 0bad  ? A x{n}.example.  x{n}.example. 60 A 203.0.113.66
             end",
        );
        assert!(!health(&text).contains("cap-loss"), "{}", health(&text));
    }

    #[test]
    fn acknowledged_bytes_that_were_never_captured_are_told() {
        let text = lossy(
            "20.00 a:50001 > dns  tcp syn
             20.01 a:50001 < dns  tcp syn-ack
             20.02 a:50001 > dns  tcp rd A t.example.
             20.03 a:50001 < dns  lost tcp t.example. 60 A 203.0.113.7
             20.04 a:50001 > dns  tcp ack
             20.05 a:50001 > dns  tcp fin
             20.06 a:50001 < dns  tcp fin",
        );
        assert!(health(&text).contains("bytes of TCP streams"), "{}", health(&text));
        assert_eq!(analyse(&text).traffic.unsolicited, 0);
    }
}
