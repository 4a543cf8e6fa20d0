//! Only one direction was captured, of the whole or of one server or client network.
//!
//! Signature: at least 50 transactions of which less than 2 % are answered, hardly any query is
//! sent twice (at most 1.05 datagrams a transaction), and of the silent ones at least 95 % are not
//! asked again in any way, so that the clients had their answers. Or at least 50 responses, 95 % of
//! them without a query.
//!
//! Needs: nothing. Effect: the silence in that scope is `unknown`; timeouts there are no findings.
//!
//! Not this: a real blackhole, where at least half of the clients try again when their resolver is
//! due. Causes: asymmetric paths, direct server return, eBPF redirection past the tap, a capture on
//! one NIC, a filter on direction. Cannot tell: whether anybody waited.

use super::directions::Missing;
use super::facts::RECORD;
use super::{CaptureRule, Facts, Health};
use crate::base::words::{count, list, plain, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-one-sided",
    title: "only one direction was captured",
    references: &["rulebook 2.A cap-one-sided"],
    source: include_str!("one_sided.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let (sided, traffic) = (facts.sided, facts.traffic);
    match sided.whole {
        Some(Missing::Responses) => {
            return vec![RULE.caution(text!(
                "only queries were captured ({queries}, {answered} answered): whether they were \
                 answered cannot be told, and timeouts are not reported. Record both directions, \
                 on the node of the clients and on that of the servers: {record}",
                queries = count(traffic.queries, "query"),
                answered = traffic.answered,
                record = plain(RECORD)
            ))];
        }
        Some(Missing::Queries) => {
            return vec![RULE.caution(text!(
                "only responses were captured ({responses} of them, {queries}): timeouts cannot be \
                 seen. Record both directions: {record}",
                responses = traffic.responses,
                queries = count(traffic.queries, "query"),
                record = plain(RECORD)
            ))];
        }
        None => {}
    }
    let mut health = Vec::new();
    if !sided.networks.is_empty() {
        health.push(RULE.caution(text!(
            "no response to clients of {networks} was captured, and hardly any of them asks again: \
             their timeouts are not reported. Record on their node: {record}",
            networks = list(&sided.networks, 5),
            record = plain(RECORD)
        )));
    }
    if !sided.servers.is_empty() {
        health.push(RULE.note(text!(
            "no response from {servers} was captured, and hardly anybody asks again: they take \
             another way, or nobody waits for them",
            servers = list(&sided.servers, 5)
        )));
    }
    if !sided.only_responses.is_empty() {
        health.push(RULE.note(text!(
            "responses from {only_responses} were captured and queries to them were not",
            only_responses = list(&sided.only_responses, 5)
        )));
    }
    health
}

#[cfg(test)]
mod tests {
    use crate::testkit::{analyse, findings, health};

    /// Sixty lookups of one network whose answers were not captured, among good ones.
    const ANOTHER_WAY: &str = "
        here = 10.244.1.5
        there = 10.244.9.5
        dns = 192.0.2.53
        repeat 60 every 0.5
        0.000 here > dns  rd A h{n}.example.
        0.004 here < dns  h{n}.example. 60 A 203.0.113.7
        0.100 there > dns  rd A t{n}.example.
        end
        60.0 here:61000 > dns  rd A end.example.
        60.1 here:61000 < dns  end.example. 60 A 203.0.113.7
    ";

    #[test]
    fn a_network_of_which_only_queries_were_captured_has_no_timeouts() {
        let text = health(ANOTHER_WAY);
        assert!(text.contains("cap-one-sided!: no response to clients of 10.244.9.0/24"), "{text}");
        assert_eq!(findings(ANOTHER_WAY), "quiet\n");
        let traffic = analyse(ANOTHER_WAY).traffic;
        assert_eq!((traffic.unanswered, traffic.unknown, traffic.answered), (0, 60, 61));
    }

    #[test]
    fn clients_that_ask_again_were_not_answered() {
        let again = "0.100 there > dns  rd id 7777 A t{n}.example.\n\
                     5.100 there > dns  rd id 7777 A t{n}.example.";
        let text = ANOTHER_WAY.replace("0.100 there > dns  rd A t{n}.example.", again);
        assert!(!health(&text).contains("cap-one-sided"), "{}", health(&text));
        assert_eq!(analyse(&text).traffic.unanswered, 60);
    }

    #[test]
    fn a_capture_of_queries_alone_says_so() {
        let queries: String = ANOTHER_WAY
            .lines()
            .filter(|line| !line.contains('<'))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = health(&queries);
        assert!(text.contains("cap-one-sided!: only queries were captured"), "{text}");
        let traffic = analyse(&queries).traffic;
        assert_eq!(traffic.unanswered, 0);
    }

    #[test]
    fn a_capture_of_responses_alone_says_so() {
        let text = "
            client = 10.0.0.5
            dns = 192.0.2.53
            repeat 80 every 0.5
            0.000 client < dns  id 0001  ? A h{n}.example.  h{n}.example. 60 A 203.0.113.7
            end
        ";
        assert!(health(text).contains("cap-one-sided!: only responses"), "{}", health(text));
    }

    #[test]
    fn fewer_than_fifty_queries_say_nothing() {
        let text = ANOTHER_WAY.replace("repeat 60", "repeat 49");
        assert!(!health(&text).contains("cap-one-sided"), "{}", health(&text));
    }
}
