//! Datagrams on port 53 that are no DNS messages, or break off in the middle.
//!
//! **Signature.** UDP payloads on a DNS port that were captured whole and cannot be read as DNS,
//! or whose records end before they should.
//!
//! **Needs.** Frames captured at full length: what the snap length cut is not counted.
//!
//! **Not this.** Tunnels, proxies and multicast DNS use port 53 at times; that is no fault, and
//! this is information, never an incident by itself.
//!
//! **Cannot tell.** Who is at fault. Frames that are listed by no other rule can be found in
//! Wireshark with `udp.port == 53 && (_ws.malformed || !dns)`.
//!
//! Source: rulebook 2.G; RFC 1035 section 4.1.

use std::collections::BTreeSet;

use crate::base::words::{count, percent, text};
use crate::detect::{
    Action, Claim, Class, Confidence, Descriptor, Detector, Fact, Finding, HarmKind, Layer, Scene,
    Where,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "malformed",
    title: "payloads on port 53 that are no DNS",
    class: Class::Capture,
    layer: Layer::Capture,
    references: &["rulebook 2.G", "RFC 1035 section 4.1"],
    source: include_str!("malformed.rs"),
    new: || Box::new(Malformed),
};

/// Reads the account of frames; keeps nothing of its own.
struct Malformed;

impl Detector for Malformed {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let garbled = scene.coverage.garbled;
        if garbled == 0 {
            return Vec::new();
        }
        vec![Finding {
            rule: &DETECTOR,
            title: text!(
                "{datagrams} on port 53 cannot be read as DNS",
                datagrams = count(garbled, "UDP datagram")
            ),
            confidence: Confidence::Confirmed,
            culprits: Vec::new(),
            place: Where::Unknown,
            span: scene.span,
            ongoing: false,
            transactions: garbled,
            claim: Claim {
                // It harms nobody; the bound that nothing fits keeps it from claiming.
                kinds: BTreeSet::from([HarmKind::Negative]),
                zones: Some(BTreeSet::new()),
                ..Claim::default()
            },
            cause: text!(
                "Something else than DNS uses the port, or messages are damaged. Alone it means \
                 nothing; together with failures of the same servers it may."
            ),
            facts: vec![Fact {
                label: text!("datagrams, copies counted"),
                value: text!(
                    "{garbled}, {share} of all frames",
                    garbled,
                    share = percent(garbled, scene.coverage.frames)
                ),
            }],
            evidence: Vec::new(),
            actions: vec![Action {
                why: text!("look at them"),
                command: "tshark -r <capture> -Y 'udp.port == 53 && (_ws.malformed || !dns)'"
                    .to_owned(),
            }],
            ruled_out: Vec::new(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use crate::analysis::{Options, Sinks, run_frames};
    use crate::testkit::{Scenario, findings};

    const FINE: &str = "pod = 10.244.0.2
        dns = 192.0.2.53
        0.0   pod > dns id 1 rd A a.example.
        0.001 pod < dns id 1 a.example. 5 A 203.0.113.7\n";

    #[test]
    fn a_payload_that_is_no_dns_is_information() {
        let text = format!("{FINE}1.0 pod:41000 > dns raw 0a0b0c0d0e\n");
        let text = findings(&text);
        assert!(text.starts_with("info malformed"), "{text}");
    }

    #[test]
    fn a_message_that_the_snap_length_cut_is_not_broken() {
        let text = format!("{FINE}1.0 pod:41000 > dns id 2 rd A b.example. cut 46\n");
        assert_eq!(findings(&text), "quiet\n");
        assert_eq!(findings(FINE), "quiet\n");
    }

    /// Twelve bytes are a whole header and nothing else.
    #[test]
    fn a_header_alone_is_a_message_and_eleven_bytes_are_none() {
        let text = format!("{FINE}1.0 pod:41000 > dns raw 123401000000000000000000\n");
        assert_eq!(findings(&text), "quiet\n");
        let text = format!("{FINE}1.0 pod:41000 > dns raw 1234010000000000000000\n");
        assert!(findings(&text).starts_with("info malformed"));
    }

    /// The first fragment alone: the filter `port 53` shows no other, or the capture ended.
    #[test]
    fn a_first_fragment_whose_rest_is_not_captured_is_not_broken() {
        let name = "a".repeat(60);
        let records: String = (0..20).map(|n| format!("b.example. 5 TXT \"{name}{n}\" ")).collect();
        let text = format!(
            "{FINE}1.0 pod:41000 > dns id 2 rd TXT b.example.\n\
             1.1 pod:41000 < dns id 2 {records} fragment 2\n"
        );
        let mut made = Scenario::parse(&text).frames();
        made.pop();
        let frames = made.iter().map(crate::testkit::MadeFrame::frame);
        let analysis = run_frames(frames, &Options::default(), Sinks::default());
        assert_eq!(analysis.coverage.garbled, 0);
        assert!(analysis.incidents.iter().all(|one| one.cause.rule.id != "malformed"));
    }
}
