//! The capture filter kept out what would settle some questions.
//!
//! Signature: the capture holds DNS, and not one ICMP error or not one later IP fragment.
//! `port 53` compiles to a test of UDP and TCP ports in first fragments, so it keeps out ICMP, all
//! fragments but the first, and what is inside VXLAN, Geneve or IP in IP on the node's NIC.
//!
//! Needs: nothing. Effect: rules that live on ICMP or fragments say "not observable in this
//! capture"; that nothing of the kind was seen is never evidence.
//!
//! Cannot tell: whether there was any ICMP to capture.

use super::facts::RECORD;
use super::{CaptureRule, Facts, Health};
use crate::base::words::{plain, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-filter-blind",
    title: "the capture filter keeps out ICMP and fragments",
    references: &["rulebook K1, 2.A cap-filter-blind", "pcap-filter(7)"],
    source: include_str!("filter_blind.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    if facts.coverage.messages.total == 0 {
        return Vec::new();
    }
    let missing = match (facts.watch.icmp, facts.watch.later_fragments) {
        (0, 0) => text!("no ICMP error and no later IP fragment is"),
        (0, _) => text!("no ICMP error is"),
        (_, 0) => text!("no later IP fragment is"),
        _ => return Vec::new(),
    };
    vec![RULE.note(text!(
        "{missing} in this capture; the filter `port 53` hides both, so their absence proves \
         nothing. Record with: {record}",
        missing,
        record = plain(RECORD)
    ))]
}

#[cfg(test)]
mod tests {
    use crate::testkit::health;

    const ASKED: &str = "
        client = 10.0.0.5
        dns = 192.0.2.53
        0.000 client > dns  rd A example.com.
    ";

    #[test]
    fn dns_alone_may_be_all_that_the_filter_let_pass() {
        let text = health(ASKED);
        assert!(
            text.contains("cap-filter-blind: no ICMP error and no later IP fragment"),
            "{text}"
        );
    }

    #[test]
    fn icmp_and_fragments_show_that_nothing_was_filtered() {
        let text = format!(
            "{ASKED}
             0.001 icmp port-unreachable 1
             0.100 client:40009 > dns  rd TXT large.example.
             0.110 client:40009 < dns  fragment 2  large.example. 60 TXT \"aaaaaaaaaaaaaaaaaaaaaaaaaaaa\""
        );
        assert!(!health(&text).contains("cap-filter-blind"), "{}", health(&text));
        let half = format!("{ASKED}\n0.001 icmp port-unreachable 1");
        assert!(health(&half).contains("cap-filter-blind: no later IP fragment is"));
    }
}
