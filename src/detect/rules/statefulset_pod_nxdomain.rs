//! The pods of a StatefulSet have no names below the Service that clients look under.
//!
//! **Signature.** `<pod>-<ordinal>.<service>.<namespace>.svc.<zone>` is answered NXDOMAIN by every
//! server that was asked, while `<service>.<namespace>.svc.<zone>` itself, or another ordinal
//! below it, has addresses in the same window. Denials while the Service itself is gone do not
//! count.
//!
//! **Needs.** Three lookups that failed for it, and one answer that shows the Service: without
//! that contrast the Service may be missing as a whole.
//!
//! **Not this.** A pod that one replica knows and another does not is `replica-divergence`. A name
//! that the search list made up (`mongo-0.mongo` tried under the wrong suffix, and found under
//! another) ends no lookup. Where the Service is unknown too, it is `nxdomain-missing-name` or
//! `headless-nxdomain`.
//!
//! **Cannot tell.** Why the records are missing. If no ordinal ever resolves, the StatefulSet's
//! `serviceName` most likely names another Service; if some do, or did at another time, the pods
//! are most likely not ready or do not exist.
//!
//! Source: rulebook 2.F; Kubernetes StatefulSet "Stable Network ID"; RFC 8020.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::words::{Text, clock, count, list, plain, text};
use crate::base::{Set, Span};
use crate::detect::{
    Action, AskedName, Claim, Class, ClusterName, Confidence, Culprit, Descriptor, Detector, Fact,
    Finding, HarmKind, Known, Layer, Proof, RuledOut, Scene, Symptom, Tally, Where, absences,
};
use crate::dns::Name;

/// Lookups that must have failed (rulebook 7.6).
const ENOUGH: u64 = 3;
/// The contrast may lie this far outside the window: answers are cached for as long (K8).
const NEAR: Duration = Duration::from_secs(30);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "statefulset-pod-nxdomain",
    title: "a StatefulSet's pods have no names below their Service",
    class: Class::Failure,
    layer: Layer::Data,
    references: &["rulebook 2.F", "Kubernetes StatefulSet, Stable Network ID"],
    source: include_str!("statefulset_pod_nxdomain.rs"),
    new: || Box::new(StatefulsetPodNxdomain),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct StatefulsetPodNxdomain;

/// What is known below one Service.
#[derive(Default)]
struct Below<'a> {
    /// Pods without a name.
    missing: BTreeMap<&'a Name, Known>,
    /// Pods that resolve.
    found: BTreeMap<&'a Name, Known>,
}

impl Detector for StatefulsetPodNxdomain {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let pods = || scene.answers.names().filter(|asked| asked.place.is_stateful_pod());
        let suspects: Set<Name> = pods()
            .filter(|asked| asked.is_denied())
            .filter_map(|asked| asked.name.parent())
            .collect();
        let mut services: BTreeMap<Name, Below<'_>> = BTreeMap::new();
        for asked in pods().filter(|asked| suspects.contains(&asked.name.ending(1))) {
            let Some(service) = asked.name.parent() else { continue };
            let below = services.entry(service).or_default();
            let known = asked.known();
            if known.missing.ended > 0 && !is_disputed(&known) {
                below.missing.insert(asked.name, known);
            } else if known.data.times > 0 {
                below.found.insert(asked.name, known);
            }
        }
        services
            .iter_mut()
            .filter_map(|(service, below)| {
                let asked = scene.answers.name(service);
                let itself = asked.map(AskedName::known);
                let gone = asked.and_then(|asked| absences(&asked.turns(), NEAR));
                // One that never has addresses shows nothing of its pods.
                let gone = gone.iter().flatten().filter(|absence| absence.before || absence.after);
                let away: Vec<Span> = gone.map(|absence| absence.span.widened(NEAR)).collect();
                // What vanished with its Service is no matter of the pods.
                let with_it = |known: &Known| {
                    let within = |pods: Span, away: &Span| {
                        away.contains(pods.start) && away.contains(pods.end)
                    };
                    known.missing.span.is_some_and(|span| away.iter().any(|one| within(span, one)))
                };
                below.missing.retain(|_, known| !with_it(known));
                finding(service, itself.as_ref(), below, scene)
            })
            .collect()
    }
}

/// Whether some servers know the pod and others do not.
fn is_disputed(known: &Known) -> bool {
    known.data.times > 0 && known.data.servers.is_disjoint(&known.missing.servers)
}

fn finding(
    service: &Name,
    itself: Option<&Known>,
    below: &Below<'_>,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let mut missing = Tally::default();
    for known in below.missing.values() {
        missing.join(&known.missing);
    }
    let span = missing.span.filter(|_| missing.ended >= ENOUGH)?;
    let near = span.widened(NEAR);
    let shown = |known: &&Known| known.data.span.is_some_and(|data| data.overlaps(near));
    let service_data = itself.filter(shown);
    let found: Vec<&Name> =
        below.found.iter().filter(|(_, known)| shown(known)).map(|(name, _)| *name).collect();
    if service_data.is_none() && found.is_empty() {
        return None;
    }
    let pods: Vec<&Name> = below.missing.keys().copied().collect();
    let (name, namespace) = ClusterName::of(service)?.service()?;
    let whole = found.is_empty();
    let once = below.missing.values().any(|known| known.data.times > 0);
    let cause = cause(service, &pods, &found, once);
    let contrast = service_data.or_else(|| below.found.values().find(shown));
    let evidence = evidence(service, &missing, contrast, if whole { service } else { found[0] });
    Some(Finding {
        rule: &DETECTOR,
        title: if whole {
            text!(
                "no pod has a name below {service}: {lookups} from {start} to {end} failed, though \
                 the Service itself resolves",
                service,
                lookups = count(missing.ended, "lookup"),
                start = clock(span.start),
                end = clock(span.end)
            )
        } else {
            text!(
                "{pods} got NXDOMAIN from {start} to {end} while other pods of {service} resolve",
                pods = list(&pods, 3),
                start = clock(span.start),
                end = clock(span.end),
                service
            )
        },
        confidence: Confidence::Likely,
        culprits: if whole {
            vec![Culprit::Name(service.clone())]
        } else {
            pods.iter()
                .take(3)
                .map(|pod| Culprit::Name((*pod).clone()))
                .chain([Culprit::Name(service.clone())])
                .collect()
        },
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: missing.times,
        claim: Claim {
            span: Some(span.widened(NEAR)),
            zones: Some(pods.iter().map(|pod| (*pod).clone()).collect()),
            symptoms: BTreeSet::from([Symptom::NxDomain]),
            kinds: BTreeSet::from([HarmKind::Negative, HarmKind::Slow]),
            ..Claim::default()
        },
        cause,
        facts: vec![
            Fact { label: text!("pod names that do not exist"), value: list(&pods, 6) },
            Fact { label: text!("lookups that ended with it"), value: plain(missing.ended) },
            Fact {
                label: text!("what resolves meanwhile"),
                value: match (service_data, whole) {
                    (Some(known), true) => {
                        text!(
                            "{service} ({answers})",
                            service,
                            answers = count(known.data.times, "answer")
                        )
                    }
                    _ => list(&found, 4),
                },
            },
            Fact { label: text!("servers that said NXDOMAIN"), value: list(&missing.servers, 4) },
        ],
        evidence,
        actions: actions(&name, &namespace),
        ruled_out: vec![
            RuledOut {
                rule: "nxdomain-missing-name",
                because: text!(
                    "the Service exists: its name was answered {times} in the same window",
                    times = count(contrast.map_or(0, |known| known.data.times), "time")
                ),
            },
            RuledOut {
                rule: "replica-divergence",
                because: text!("no server knows the names that another denies"),
            },
        ],
    })
}

/// What most likely stands behind it.
fn cause(service: &Name, pods: &[&Name], found: &[&Name], once: bool) -> Text {
    if found.is_empty() && once {
        text!(
            "{service} has addresses, and {pods} have some at other times, so the StatefulSet's \
             serviceName is right: most likely those pods were not ready or did not exist. A pod \
             that is not ready has no name unless its Service publishes it.",
            service,
            pods = list(pods, 3)
        )
    } else if found.is_empty() {
        text!(
            "{service} has addresses, but no pod name below it exists. Pod names are made below \
             the Service that the StatefulSet's serviceName gives: most likely it gives another \
             one (it cannot be changed, the StatefulSet has to be made again).",
            service
        )
    } else {
        text!(
            "{found} resolve, {pods} do not: most likely those pods are not ready or do not exist. \
             A pod that is not ready has no name unless its Service publishes it.",
            found = list(found, 3),
            pods = list(pods, 3)
        )
    }
}

fn evidence(service: &Name, missing: &Tally, contrast: Option<&Known>, name: &Name) -> Vec<Proof> {
    let denied = missing.frames.iter().map(|seen| Proof {
        seen: *seen,
        summary: text!("NXDOMAIN for a pod below {service}", service),
    });
    let known = contrast
        .and_then(|known| known.data.frames.first())
        .map(|seen| Proof { seen: *seen, summary: text!("{name} has addresses", name) });
    denied.chain(known).collect()
}

fn actions(name: &str, namespace: &str) -> Vec<Action> {
    vec![
        Action {
            why: text!("compare every StatefulSet's serviceName with {name}", name = plain(name)),
            command: format!(
                "kubectl -n {namespace} get statefulset -o custom-columns=NAME:.metadata.name,\
                 SERVICE:.spec.serviceName,READY:.status.readyReplicas; kubectl -n {namespace} \
                 get service {name} -o wide"
            ),
        },
        Action {
            why: text!("see which pod names the Service publishes"),
            command: format!(
                "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name} \
                 -o yaml | grep -E 'hostname|ready'"
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// A client asks for the Service, then `times` for a pod below it, which `pod` answers.
    fn scenario(times: usize, service: &str, answer: &str) -> String {
        format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\n\
             0.000 pod:39000 > dns rd A etcd.db.svc.cluster.local.\n\
             0.001 pod:39000 < dns {service}\n\
             repeat {times} every 1 from 1\n\
             0.000 pod:40000 > dns rd A etcd-{{n}}.etcd.db.svc.cluster.local.\n\
             0.001 pod:40000 < dns {answer}\nend\n"
        )
    }
    const SERVICE: &str = "aa etcd.db.svc.cluster.local. 5 A 10.244.1.7";

    #[test]
    fn no_ordinal_has_a_name_though_the_service_resolves() {
        insta::assert_snapshot!(findings(&scenario(3, SERVICE, "aa NXDOMAIN")), @"low statefulset-pod-nxdomain [name etcd.db.svc.cluster.local] likely 10:00:01.001-10:00:03.001 3/3");
    }

    #[test]
    fn two_failed_lookups_are_too_few() {
        assert!(!findings(&scenario(2, SERVICE, "aa NXDOMAIN")).contains("statefulset"));
    }

    #[test]
    fn without_the_service_it_is_a_missing_name() {
        let all_missing = scenario(6, "aa NXDOMAIN", "aa NXDOMAIN");
        assert!(!findings(&all_missing).contains("statefulset"));
    }

    #[test]
    fn a_pod_that_is_not_ready_stands_alone() {
        let text = format!(
            "{}20.000 pod:50000 > dns rd A etcd-9.etcd.db.svc.cluster.local.\n\
             20.001 pod:50000 < dns aa etcd-9.etcd.db.svc.cluster.local. 5 A 10.244.1.9\n",
            scenario(3, "aa NXDOMAIN", "aa NXDOMAIN")
        );
        insta::assert_snapshot!(findings(&text), @"low statefulset-pod-nxdomain [name etcd-0.etcd.db.svc.cluster.local, name etcd-1.etcd.db.svc.cluster.local, name etcd-2.etcd.db.svc.cluster.local, name etcd.db.svc.cluster.local] likely 10:00:01.001-10:00:03.001 3/3");
    }

    #[test]
    fn answers_that_the_capture_missed_are_no_nxdomain() {
        let text = scenario(3, SERVICE, "aa NXDOMAIN lost");
        assert!(!findings(&text).contains("statefulset"));
    }

    /// The Service has addresses at the beginning and the end, and is denied meanwhile.
    #[test]
    fn pods_that_are_gone_while_their_service_is_do_not_count() {
        let text = |denied: &str| {
            format!(
                "{}repeat 9 every 1 from 1\n\
                 0.500 pod:41000 > dns rd A etcd.db.svc.cluster.local.\n\
                 0.501 pod:41000 < dns {denied}\nend\n\
                 20.000 pod:39000 > dns rd A etcd.db.svc.cluster.local.\n\
                 20.001 pod:39000 < dns {SERVICE}\n",
                scenario(9, SERVICE, "aa NXDOMAIN")
            )
        };
        let said = findings(&text("aa NXDOMAIN"));
        assert!(!said.contains("statefulset-pod-nxdomain"), "{said}");
        assert!(said.contains(" headless-nxdomain [name etcd.db"), "{said}");
        let said = findings(&text(SERVICE));
        assert!(said.contains(" statefulset-pod-nxdomain [name etcd.db"), "{said}");
    }
}
