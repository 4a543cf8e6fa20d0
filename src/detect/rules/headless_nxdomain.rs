//! A headless Service's name does not exist, for it has no ready endpoint.
//!
//! **Signature.** `<service>.<namespace>.svc.<zone>` is NXDOMAIN at every server that was asked in
//! a window, and yet it is a Service: before or after that window it has addresses, or names of
//! StatefulSet pods below it are asked for in a namespace that other names show. The names of its
//! pods vanish with it, and their lookups are counted here.
//!
//! **Needs.** Three lookups that failed for it, and the contrast above. Where it vanished several
//! times, four denials each on average: less may be servers that answer by turns.
//!
//! **Not this.** Some servers know it in that window for longer than a change takes:
//! `replica-divergence`; the denial is only cached, and ends within its own TTL:
//! `negative-sticky`. A name that never has addresses and no pods below it is
//! `nxdomain-missing-name`; pods missing below a Service that resolves are
//! `statefulset-pod-nxdomain`.
//!
//! **Cannot tell.** Whether the Service is headless where all of its answers hold a single address
//! and nobody asks for its pods: then it may as well have been deleted or not made yet (a
//! ClusterIP Service keeps its name without endpoints). CoreDNS from 1.8.4 on goes by
//! EndpointSlices and leaves out what is not ready; before 1.7 it could lose Services after the
//! API server was away.
//!
//! Source: rulebook 2.F, K8; coredns/coredns `plugin/kubernetes`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::words::{Text, clock, count, duration, list, plain, text};
use crate::detect::{
    Absence, Action, AskedName, Claim, Class, ClusterName, Confidence, Culprit, Descriptor,
    Detector, Fact, Finding, HarmKind, Known, Layer, Proof, RuledOut, Scene, Symptom, Where,
    absences, pods_below,
};
use crate::dns::Name;

/// Lookups that must have failed (rulebook 7.6).
const ENOUGH: u64 = 3;
/// Replicas and their caches follow a change within the usual TTL of 30 s and 5 s more (K8), so
/// for that long both answers may be seen.
const SETTLED: Duration = Duration::from_secs(35);
/// Denials of each time that it was gone, where there were several: so many in a row are hardly ever
/// chance, if the answer comes from one of two servers.
const IN_A_ROW: u64 = 4;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "headless-nxdomain",
    title: "a headless Service has no name",
    class: Class::Failure,
    layer: Layer::Data,
    references: &["rulebook 2.F", "coredns plugin/kubernetes"],
    source: include_str!("headless_nxdomain.rs"),
    new: || Box::new(HeadlessNxdomain),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct HeadlessNxdomain;

impl Detector for HeadlessNxdomain {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let denied: Vec<(AskedName<'_>, Known)> = scene
            .answers
            .names()
            .filter(|asked| asked.place.is_service() && asked.is_denied())
            .map(|asked| (asked, asked.known()))
            .filter(|(_, known)| known.missing.ended >= ENOUGH)
            .collect();
        let pods = pods_below(scene.answers, denied.iter().map(|(asked, _)| asked.name));
        denied
            .into_iter()
            .filter_map(|(asked, known)| finding(asked, &known, pods.get(asked.name), scene))
            .collect()
    }
}

fn finding(
    asked: AskedName<'_>,
    known: &Known,
    pods: Option<&BTreeSet<&Name>>,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let name = asked.name;
    let span = known.missing.span?;
    let data = known.data.span;
    // What knows the name never denied it: two servers with different data.
    if data.is_some() && known.data.servers.is_disjoint(&known.missing.servers) {
        return None;
    }
    // Both answers for longer than a change takes: the servers disagree.
    let away = absences(&asked.turns(), SETTLED)?;
    let denials: u64 = away.iter().map(|absence| absence.times).sum();
    if away.len() > 1 && denials < IN_A_ROW * away.len() as u64 {
        return None;
    }
    if let Some(data) = data {
        // The last part of a denial that is only cached.
        let overlap = data.end.min(span.end).since(data.start.max(span.start));
        let lag = SETTLED.max(known.missing.longest_ttl);
        let sticky = data.start > span.start && data.end > span.end && overlap <= lag;
        if sticky && data.overlaps(span) {
            return None;
        }
    }
    if data.is_none() && pods.is_none() {
        return None;
    }
    let (service, namespace) = ClusterName::of(name)?.service()?;
    let headless = pods.is_some() || known.widest > 1;
    let (after, before) = (
        data.is_some_and(|data| data.end > span.end),
        data.is_some_and(|data| data.start < span.start),
    );
    let cause = match (before, after) {
        (false, true) => {
            text!(
                "The name appeared later: its Service was made, or its first pod became ready, \
                 after clients began to ask."
            )
        }
        (true, false) => {
            text!(
                "The name was there before: its last ready pod went away, or the Service was \
                 deleted."
            )
        }
        (true, true) => {
            text!("The name was gone for a while: meanwhile no pod of the Service was ready.")
        }
        (false, false) => {
            text!(
                "Clients ask for its pods by name, so it is meant to be a headless Service; it \
                 does not exist or no pod of it was ready at any time."
            )
        }
    };
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "Service name {name} did not exist from {start} to {end}{rest}: {lookups} failed",
            name,
            start = clock(span.start),
            end = clock(span.end),
            rest = if data.is_some() { text!(", and at other times it did") } else { Text::EMPTY },
            lookups = count(known.missing.ended, "lookup")
        ),
        confidence: if headless && data.is_some() {
            Confidence::Likely
        } else {
            Confidence::Possible
        },
        culprits: vec![Culprit::Name(name.clone())],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: known.missing.times,
        claim: Claim {
            // Its pods vanish with it, a little sooner or later.
            span: Some(span.widened(SETTLED)),
            zones: Some(BTreeSet::from([name.clone()])),
            symptoms: BTreeSet::from([Symptom::NxDomain]),
            kinds: BTreeSet::from([HarmKind::Negative, HarmKind::Slow]),
            ..Claim::default()
        },
        cause: text!(
            "{cause} A headless Service without ready endpoints has no name at all, unlike one \
             with a cluster IP.",
            cause
        ),
        facts: facts(known, pods, &away),
        evidence: evidence(name, known),
        actions: actions(&service, &namespace),
        ruled_out: vec![RuledOut {
            rule: "nxdomain-missing-name",
            because: match (data, pods) {
                (Some(_), _) => text!("the name has addresses at other times"),
                _ => text!("pods below it are asked for in a namespace that exists"),
            },
        }],
    })
}

fn facts(known: &Known, pods: Option<&BTreeSet<&Name>>, away: &[Absence]) -> Vec<Fact> {
    let away = away.iter().map(|absence| absence.span.length()).sum::<Duration>();
    vec![
        Fact { label: text!("lookups that ended with it"), value: plain(known.missing.ended) },
        Fact {
            label: text!("did not exist for"),
            value: text!("{away} at least", away = duration(away)),
        },
        Fact {
            label: text!("addresses at other times"),
            value: match known.data.span {
                Some(data) => text!(
                    "{answers}, up to {widest} each, from {start} to {end}",
                    answers = count(known.data.times, "answer"),
                    widest = known.widest,
                    start = clock(data.start),
                    end = clock(data.end)
                ),
                None => text!("none"),
            },
        },
        Fact {
            label: text!("pods asked for below it"),
            value: pods.map_or_else(|| text!("none"), |pods| list(pods, 4)),
        },
        Fact { label: text!("servers that said NXDOMAIN"), value: list(&known.missing.servers, 4) },
    ]
}

fn evidence(name: &Name, known: &Known) -> Vec<Proof> {
    let denied = known
        .missing
        .frames
        .iter()
        .map(|seen| Proof { seen: *seen, summary: text!("{name} is NXDOMAIN", name) });
    let found = known
        .data
        .frames
        .first()
        .map(|seen| Proof { seen: *seen, summary: text!("{name} has addresses", name) });
    denied.chain(found).collect()
}

fn actions(service: &str, namespace: &str) -> Vec<Action> {
    vec![
        Action {
            why: text!("see whether the Service is headless and its pods are ready"),
            command: format!(
                "kubectl -n {namespace} get service {service}; kubectl -n {namespace} get \
                 endpointslices -l kubernetes.io/service-name={service} -o wide"
            ),
        },
        Action {
            why: text!("give pods names before they are ready, if they have to find each other"),
            command: format!(
                "kubectl -n {namespace} patch service {service} -p \
                 '{{\"spec\":{{\"publishNotReadyAddresses\":true}}}}'"
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    const NAME: &str = "kafka.mq.svc.cluster.local.";

    /// NXDOMAIN `times`, once a second, then `later` at one minute.
    fn scenario(times: usize, answer: &str, later: &str) -> String {
        format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\nrepeat {times} every 1\n\
             0.000 pod:40000 > dns rd A {NAME}\n0.001 pod:40000 < dns {answer}\nend\n\
             60.000 pod:50000 > dns rd A {NAME}\n60.001 pod:50000 < dns {later}\n"
        )
    }
    const TWO: &str =
        "aa kafka.mq.svc.cluster.local. 5 A 10.244.1.7 kafka.mq.svc.cluster.local. 5 A 10.244.2.7";

    #[test]
    fn the_name_appears_when_pods_become_ready() {
        insta::assert_snapshot!(findings(&scenario(3, "aa NXDOMAIN", TWO)), @"low headless-nxdomain [name kafka.mq.svc.cluster.local] likely 10:00:00.001-10:00:02.001 3/3");
    }

    #[test]
    fn two_failed_lookups_are_too_few() {
        assert!(!findings(&scenario(2, "aa NXDOMAIN", TWO)).contains("headless"));
    }

    #[test]
    fn a_name_that_never_exists_is_a_missing_one() {
        assert!(!findings(&scenario(5, "aa NXDOMAIN", "aa NXDOMAIN")).contains("headless"));
    }

    #[test]
    fn a_capture_that_ends_before_the_pods_are_ready_shows_no_service() {
        let text = scenario(5, "aa NXDOMAIN", &format!("{TWO} lost"));
        assert!(!findings(&text).contains("headless"));
    }

    /// Both replicas are asked in turn, every two seconds, and deny the name while `gone` says so.
    fn replicas(seconds: u32, gone: impl Fn(u32, u32) -> bool) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        for second in 0..seconds {
            let replica = second % 2 + 1;
            let answer = if gone(second, replica) { "aa NXDOMAIN" } else { TWO };
            let port = 40_000 + second * 8;
            text.extend([format!(
                "{second}.0 pod:{port} > kube-dns via dns{replica} rd A {NAME}\n\
                 {second}.001 pod:{port} < kube-dns via dns{replica} {answer}\n"
            )]);
        }
        findings(&text)
    }

    #[test]
    fn a_long_outage_lies_between_times_in_which_it_has_addresses() {
        insta::assert_snapshot!(replicas(180, |at, _| (40..130).contains(&at)), @"medium headless-nxdomain [name kafka.mq.svc.cluster.local] likely 10:00:40.001-10:02:09.001 90/90");
    }

    #[test]
    fn it_vanishes_more_than_once() {
        let said = replicas(240, |at, _| (20..80).contains(&at) || (140..200).contains(&at));
        assert!(said.contains(" headless-nxdomain [name kafka.mq"), "{said}");
        assert!(said.contains(" 10:00:20.001-10:03:19.001 120/"), "{said}");
    }

    #[test]
    fn one_replica_that_goes_on_knowing_it_is_another_story() {
        let said = replicas(180, |at, replica| replica == 1 && (40..130).contains(&at));
        assert!(!said.contains("headless"), "{said}");
        // They answer by turns.
        let said = replicas(180, |at, replica| at > 40 && (at / 2 + replica) % 3 == 0);
        assert!(!said.contains("headless"), "{said}");
    }

    #[test]
    fn its_pods_vanish_with_it_and_are_no_other_matter() {
        let mut text = String::from("pod = 10.0.0.5\ndns = 10.96.0.10\n");
        for second in 0..60 {
            let gone = (10..50).contains(&second);
            let pod = format!("kafka-{}.{NAME}", second % 2);
            let there = format!("aa {pod} 5 A 10.244.{}.7", second % 2 + 1);
            for (half, name, there) in [(0, NAME, TWO), (5, pod.as_str(), there.as_str())] {
                let answer = if gone { "aa NXDOMAIN" } else { there };
                let port = 40_000 + second * 16 + half;
                text.extend([format!(
                    "{second}.{half} pod:{port} > dns rd A {name}\n\
                     {second}.{half}01 pod:{port} < dns {answer}\n"
                )]);
            }
        }
        insta::assert_snapshot!(findings(&text), @"medium headless-nxdomain [name kafka.mq.svc.cluster.local] likely 10:00:10.001-10:00:49.001 80/80");
    }
}
