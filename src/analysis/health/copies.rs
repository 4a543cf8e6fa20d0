//! One datagram is seen several times: what is counted before copies are folded is no traffic.
//!
//! Signature: sightings with the same payload and IP identification within 50 ms at different
//! places of one host (`-i any`: veth, bridge, NIC, before and after address translation).
//!
//! Needs: nothing. Effect: copies are folded into attempts and never counted as retransmissions;
//! this line says how many there were, so that figures of other tools can be compared.
//!
//! Cannot tell: a mirror port that repeats every frame with its identification looks the same.

use super::{CaptureRule, Facts, Health};
use crate::base::words::text;

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-copies",
    title: "one datagram is seen several times",
    references: &["rulebook K3, K5, 2.A cap-copies"],
    source: include_str!("copies.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let coverage = facts.coverage;
    let copies = coverage.copies + coverage.nat_copies;
    let datagrams = coverage.messages.total.saturating_sub(copies);
    if copies == 0 || datagrams == 0 {
        return Vec::new();
    }
    vec![RULE.note(text!(
        "every datagram was seen {datagrams} times on average, before and after translation; \
         copies are folded and never counted as retransmissions",
        datagrams = format_args!("{:.1}", coverage.messages.total as f64 / datagrams as f64)
    ))]
}

#[cfg(test)]
mod tests {
    use crate::testkit::health;

    const ONE: &str = "
        client = 10.244.1.5
        service kube = 10.96.0.10
        dns1 = 10.244.2.7
        0.000 client > kube  rd A example.com.  via dns1
        0.004 client < kube  example.com. 60 A 203.0.113.7
    ";

    #[test]
    fn a_capture_on_every_interface_says_how_often_it_saw_each_datagram() {
        let text = format!("capture node sll2\n{ONE}");
        assert!(
            health(&text).contains("cap-copies: every datagram was seen 3.0 times"),
            "{}",
            health(&text)
        );
    }

    #[test]
    fn a_capture_at_one_place_has_no_copies() {
        assert!(!health(ONE).contains("cap-copies"), "{}", health(ONE));
    }
}
