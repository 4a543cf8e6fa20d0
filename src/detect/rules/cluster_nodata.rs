//! A Service of the cluster exists, and has no record of the type that is asked for.
//!
//! **Signature.** A of `<service>.<namespace>.svc.<zone>` is NOERROR without a record, every time,
//! and at least three lookups ended with it.
//!
//! **Needs.** The clients' queries and answers.
//!
//! **Not this.** AAAA of an IPv4-only Service: its A has data. A name that only has names below
//! it. Empty answers under a search suffix outside the cluster (`empty-noerror`).
//!
//! **Cannot tell.** Why: an IPv6-only Service asked for A alone, an ExternalName Service whose
//! target has no address, or a name that is no Service. The answer is right by the data, so it is
//! information.
//!
//! Source: rulebook 2.F; RFC 2308 section 2.2, RFC 8020; Kubernetes DNS specification.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::Span;
use crate::base::words::{clock, count, list, plain, text};
use crate::detect::{
    Action, Answer, Claim, Class, ClusterName, Confidence, Culprit, Descriptor, Detector, Fact,
    Finding, HarmKind, Inquiry, Layer, Proof, RuledOut, Scene, Symptom, Tally, Where,
};
use crate::dns::{Name, RecordType};

/// Lookups that must have ended with it: as for a missing name (rulebook 7.6).
const ENOUGH: u64 = 3;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "cluster-nodata",
    title: "a Service without an address",
    class: Class::Capture,
    layer: Layer::Data,
    references: &["rulebook 2.F", "RFC 2308 section 2.2", "RFC 8020"],
    source: include_str!("cluster_nodata.rs"),
    new: || Box::new(ClusterNodata),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct ClusterNodata;

impl Detector for ClusterNodata {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let service = |inquiry: &&Inquiry| {
            inquiry.rtype == RecordType::A
                && inquiry.place.is_service()
                && inquiry.asked.told.keys().all(|(_, answer)| *answer == Answer::NoData)
        };
        let empty: Vec<&Inquiry> = scene.answers.all().iter().filter(service).collect();
        if empty.is_empty() {
            return Vec::new();
        }
        let names = scene.answers.names().filter(|name| name.resolves());
        let above: BTreeSet<Name> = names.filter_map(|name| name.name.parent()).collect();
        empty
            .into_iter()
            .filter(|inquiry| !above.contains(&inquiry.name))
            .filter_map(|Inquiry { name, asked, .. }| {
                let mut empty = Tally::default();
                for ((server, _), told) in asked.told.iter() {
                    empty.add(*server, told);
                }
                let other = scene.answers.asked(name, RecordType::AAAA);
                let six = other.is_some_and(|o| o.told.keys().any(|(_, said)| said.is_data()));
                finding(name, &empty, six, scene)
            })
            .collect()
    }
}

fn finding(name: &Name, empty: &Tally, six: bool, scene: &Scene<'_>) -> Option<Finding> {
    let span: Span = empty.span.filter(|_| empty.ended >= ENOUGH)?;
    let (service, namespace) = ClusterName::of(name)?.service()?;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{name} exists and has no A record: {lookups} ended with that from {start} to {end}",
            name,
            lookups = count(empty.ended, "lookup"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Possible,
        culprits: vec![Culprit::Name(name.clone())],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: empty.times,
        claim: Claim {
            span: Some(span.widened(Duration::from_secs(1))),
            zones: Some(BTreeSet::from([name.clone()])),
            symptoms: BTreeSet::from([Symptom::NoData]),
            kinds: BTreeSet::from([HarmKind::Negative]),
            ..Claim::default()
        },
        cause: if six {
            text!("The Service has IPv6 addresses only, and the client asks for IPv4 alone.")
        } else {
            text!(
                "The Service has no address of the type that is asked for: it is IPv6-only, or of \
                 type ExternalName with a target that has none, or the name is no Service."
            )
        },
        facts: vec![
            Fact { label: text!("answers without a record"), value: plain(empty.times) },
            Fact {
                label: text!("AAAA"),
                value: if six { text!("has data") } else { text!("no data seen") },
            },
            Fact { label: text!("servers"), value: list(&empty.servers, 4) },
        ],
        evidence: empty
            .frames
            .iter()
            .map(|seen| Proof { seen: *seen, summary: text!("{name} has no A record", name) })
            .collect(),
        actions: vec![Action {
            why: text!("see the Service's type and addresses"),
            command: format!(
                "kubectl -n {namespace} get service {service} -o \
                 jsonpath='{{.spec.type}} {{.spec.externalName}} {{.spec.clusterIPs}}'"
            ),
        }],
        ruled_out: vec![RuledOut {
            rule: "empty-noerror",
            because: text!("the name is in the cluster zone, which CoreDNS answers by itself"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    fn scenario(times: usize, answer: &str) -> String {
        format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat {times} every 1\n\
             0.000 pod:40000 > dns rd A legacy.shop.svc.cluster.local.\n\
             0.001 pod:40000 < dns {answer}\nend\n"
        )
    }

    #[test]
    fn a_service_without_an_address_is_information() {
        insta::assert_snapshot!(findings(&scenario(3, "aa NOERROR")), @"info cluster-nodata [name legacy.shop.svc.cluster.local] possible 10:00:00.001-10:00:02.001 3/3");
    }

    #[test]
    fn two_lookups_are_too_few() {
        insta::assert_snapshot!(findings(&scenario(2, "aa NOERROR")), @"quiet");
    }

    #[test]
    fn an_ipv4_service_has_no_aaaa() {
        let text = "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat 9 every 1\n\
                    0.000 pod:40000 > dns rd id 1 A redis.shop.svc.cluster.local.\n\
                    0.000 pod:40000 > dns rd id 2 AAAA redis.shop.svc.cluster.local.\n\
                    0.001 pod:40000 < dns id 1 redis.shop.svc.cluster.local. 5 A 10.96.0.20\n\
                    0.001 pod:40000 < dns id 2 NOERROR\nend\n";
        insta::assert_snapshot!(findings(text), @"quiet");
    }

    #[test]
    fn answers_that_the_capture_missed_are_not_empty() {
        assert!(!findings(&scenario(5, "aa NOERROR lost")).contains("nodata"));
    }
}
