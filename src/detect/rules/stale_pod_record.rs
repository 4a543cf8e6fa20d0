//! Two pods' names give one address: one of the records may be stale.
//!
//! **Signature.** The names of two different pods, `<pod>.<service>.<namespace>.svc.<zone>`, are
//! answered with the same single address by turns. A pod's address belongs to it
//! alone, so one of the two pods is gone and its address was given to the other.
//!
//! **Needs.** Lookups of both pods' names.
//!
//! **Not this.** One pod below two Services: its own label is the same. A name whose address
//! changed, as after a restart, before the other name was given it.
//!
//! **Cannot tell.** Which of the two is stale, and whether the pods use their node's network,
//! where several share one address by design. So it is information, and possible at most: a list
//! of pods with their addresses would decide it.
//!
//! Source: rulebook 2.F; Kubernetes StatefulSet "Stable Network ID".

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{clock, list, text};
use crate::detect::{
    Action, Answer, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Inquiry, Layer, Proof, Scene, Told, Where,
};
use crate::dns::{Name, RecordType};

/// How often each answer must have come, so that their times overlap: an address that only
/// changed hands is not given under its old name any more.
const ENOUGH: u64 = 2;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "stale-pod-record",
    title: "two pods' names give one address",
    class: Class::Capture,
    layer: Layer::Data,
    references: &["rulebook 2.F", "Kubernetes StatefulSet, Stable Network ID"],
    source: include_str!("stale_pod_record.rs"),
    new: || Box::new(StalePodRecord),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct StalePodRecord;

impl Detector for StalePodRecord {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut pods: BTreeMap<IpAddr, BTreeMap<&Name, &Told>> = BTreeMap::new();
        let pod = |inquiry: &&Inquiry| {
            inquiry.place.depth() == Some(3)
                && matches!(inquiry.rtype, RecordType::A | RecordType::AAAA)
                && !inquiry.is_autopath
        };
        for Inquiry { name, asked, .. } in scene.answers.all().iter().filter(pod) {
            for ((_, answer), told) in asked.told.iter() {
                if let (Answer::Data(_), [address]) = (answer, asked.addresses(*answer))
                    && told.times() >= ENOUGH
                {
                    pods.entry(*address).or_default().insert(name, told);
                }
            }
        }
        pods.into_iter().filter_map(|(address, names)| finding(address, &names, scene)).collect()
    }
}

fn finding(address: IpAddr, names: &BTreeMap<&Name, &Told>, scene: &Scene<'_>) -> Option<Finding> {
    let mut pairs = names.iter().flat_map(|one| names.iter().map(move |other| (one, other)));
    let ((one, first), (other, second)) = pairs.find(|((one, first), (other, second))| {
        one < other && one.first_label() != other.first_label() && first.span.overlaps(second.span)
    })?;
    let span: Span = first.span.join(second.span);
    let proof = |name: &Name, told: &Told| {
        let summary = text!("{name} is {address}", name, address);
        told.frames().next().map(|seen| Proof { seen, summary })
    };
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{one} and {other} both have the address {address}, from {start} to {end}",
            one,
            other,
            address,
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Possible,
        culprits: vec![Culprit::Name((*one).clone()), Culprit::Name((*other).clone())],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: first.times() + second.times(),
        claim: Claim { zones: Some(std::collections::BTreeSet::new()), ..Claim::default() },
        cause: text!(
            "A pod has its address to itself, unless it uses its node's network. One of the \
             records may be left over from a pod that is gone."
        ),
        facts: vec![Fact { label: text!("names with this address"), value: list(names.keys(), 5) }],
        evidence: proof(one, first).into_iter().chain(proof(other, second)).collect(),
        actions: vec![Action {
            why: text!("see whose address it is"),
            command: format!(
                "kubectl get pods -A -o wide | grep -wF {address}; kubectl get endpointslices -A \
                 -o wide | grep -wF {address}"
            ),
        }],
        ruled_out: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Two pods' names, asked `times` in turn.
    fn scenario(times: usize, one: &str, other: &str, address: &str) -> String {
        format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat {times} every 2\n\
             0.000 pod:40000 > dns rd A {one}.svc.cluster.local.\n\
             0.001 pod:40000 < dns aa {one}.svc.cluster.local. 5 A 10.244.1.7\n\
             1.000 pod:40001 > dns rd A {other}.svc.cluster.local.\n\
             1.001 pod:40001 < dns aa {other}.svc.cluster.local. 5 A {address}\nend\n"
        )
    }

    #[test]
    fn two_pods_with_one_address() {
        let text = scenario(2, "etcd-0.etcd.db", "kafka-1.kafka.mq", "10.244.1.7");
        insta::assert_snapshot!(findings(&text), @"info stale-pod-record [name etcd-0.etcd.db.svc.cluster.local, name kafka-1.kafka.mq.svc.cluster.local] possible 10:00:00.001-10:00:03.001 0/0");
    }

    #[test]
    fn one_answer_each_may_be_a_change() {
        let text = scenario(1, "etcd-0.etcd.db", "kafka-1.kafka.mq", "10.244.1.7");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }

    #[test]
    fn one_pod_below_two_services() {
        let text = scenario(5, "etcd-0.etcd.db", "etcd-0.etcd-peers.db", "10.244.1.7");
        insta::assert_snapshot!(findings(&text), @"quiet");
        let text = scenario(5, "etcd-0.etcd.db", "kafka-1.kafka.mq", "10.244.1.8");
        assert_eq!(findings(&text), "quiet\n");
    }

    #[test]
    fn answers_that_the_capture_missed_do_not_count() {
        let text = scenario(2, "etcd-0.etcd.db", "kafka-1.kafka.mq", "10.244.1.7 lost");
        insta::assert_snapshot!(findings(&text), @"quiet");
    }
}
