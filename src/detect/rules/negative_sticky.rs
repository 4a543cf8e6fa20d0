//! A name exists by now, and a server still denies it from its cache.
//!
//! **Signature.** A server said NXDOMAIN, another one has addresses from an instant on, and the
//! first goes on saying NXDOMAIN for no longer than its own denial may be cached (the smaller one
//! of the SOA record's TTL and MINIMUM).
//!
//! **Needs.** Both servers' own addresses, and the SOA record of the denial. Three lookups that
//! failed after the name was first known.
//!
//! **Not this.** A server that denies a name for longer than its denial lasts, or that never
//! denied it before the others knew it, holds other data: `replica-divergence`. So does a second
//! nameserver that clients ask at the same time, if it never knows the name: `musl-parallel-conflict`.
//!
//! **Cannot tell.** Whether the denial comes from this server's cache or from one behind it.
//!
//! Source: rulebook 2.D; RFC 2308 section 5; RFC 9077.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Span;
use crate::base::words::{clock, count, duration, text};
use crate::detect::{
    Action, Answer, Asked, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Inquiry, Layer, Proof, RuledOut, Scene, Told, Where,
};
use crate::dns::Name;

/// Lookups that must have failed after the name was known (rulebook 7.6).
const ENOUGH: usize = 3;
/// Timers of caches fire late; CoreDNS keeps denials in steps of whole seconds.
const SLACK: Duration = Duration::from_secs(2);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "negative-sticky",
    title: "a cached denial outlives the missing name",
    class: Class::Failure,
    layer: Layer::Data,
    references: &["rulebook 2.D", "RFC 2308 section 5"],
    source: include_str!("negative_sticky.rs"),
    new: || Box::new(NegativeSticky),
};

/// Judges what the shared tally of answers holds; keeps nothing of its own.
struct NegativeSticky;

impl Detector for NegativeSticky {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for Inquiry { name, asked, .. } in scene.answers.all() {
            for ((server, answer), told) in asked.told.iter() {
                if *answer == Answer::NoName {
                    findings.extend(finding(name, asked, *server, told, scene));
                }
            }
        }
        findings
    }
}

fn finding(
    name: &Name,
    asked: &Asked,
    server: IpAddr,
    denied: &Told,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let (fresh, known) = asked
        .told
        .iter()
        .filter(|((other, answer), _)| **other != server && answer.is_data())
        .map(|((other, _), told)| (*other, told))
        .min_by_key(|(_, told)| told.span.start)?;
    let appeared = known.span.start;
    let sticky = Span::between(appeared, denied.span.end);
    let before = denied.span.start < appeared && denied.span.end > appeared;
    let recovered = asked
        .by(server)
        .any(|(answer, told)| answer.is_data() && told.span.start < denied.span.end);
    if !before || recovered || sticky.length() > denied.longest_ttl().saturating_add(SLACK) {
        return None;
    }
    // Of two nameservers that are asked at once, one that never knows the name holds other data.
    let learns = || asked.by(server).any(|(answer, _)| answer.is_data());
    if scene.asked_at_once(server, fresh).next().is_some() && !learns() {
        return None;
    }
    // Another server that denied it later than it knew it lost the name again: another story.
    let lost =
        asked.told.get(&(fresh, Answer::NoName)).is_some_and(|told| told.span.end > appeared);
    let wrong: BTreeMap<_, _> =
        scene.answers.wronged(denied).filter(|(_, lookup)| lookup.end >= appeared).collect();
    if lost || wrong.len() < ENOUGH {
        return None;
    }
    let first = wrong.keys().next().map(|(seen, _)| *seen)?;
    let lookups = wrong.len() as u64;
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{server} went on denying {name} for {sticky} after {fresh} knew it, at {appeared}",
            server,
            name,
            sticky = duration(sticky.length()),
            fresh,
            appeared = clock(appeared)
        ),
        confidence: Confidence::Likely,
        culprits: vec![Culprit::Name(name.clone()), Culprit::Backend(server)],
        place: Where::Server,
        span: sticky,
        ongoing: scene.lasts(sticky),
        transactions: lookups,
        claim: Claim { wrong, ..Claim::default() },
        cause: text!(
            "{server} had been told that {name} does not exist, and such an answer may be cached \
             for {denial}. Whoever asks for a name before it exists makes it missing for that \
             long.",
            server,
            name,
            denial = duration(denied.longest_ttl())
        ),
        facts: vec![
            Fact { label: text!("lookups that failed meanwhile"), value: count(lookups, "lookup") },
            Fact {
                label: text!("the denial may be cached for"),
                value: duration(denied.longest_ttl()),
            },
            Fact {
                label: text!("first known / last denied"),
                value: text!(
                    "{appeared} / {end}",
                    appeared = clock(appeared),
                    end = clock(denied.span.end)
                ),
            },
        ],
        evidence: vec![
            Proof {
                seen: known.frames().next().unwrap_or(first),
                summary: text!("{fresh} has addresses for {name}", fresh, name),
            },
            Proof {
                seen: first,
                summary: text!("a lookup that {server} still ends with NXDOMAIN", server),
            },
        ],
        actions: vec![
            Action {
                why: text!("see how long the denial still lasts"),
                command: format!("dig @{server} {name} +noall +authority +comments"),
            },
            Action {
                why: text!("cache denials for a shorter time (`cache {{ denial 9984 5 }}`)"),
                command: "kubectl -n kube-system edit configmap coredns".to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "replica-divergence",
            because: text!(
                "{server} denied the name before anybody knew it, and no longer than its own \
                 denial lasts",
                server
            ),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    const NAME: &str = "new.shop.svc.cluster.local.";

    /// The first replica denies it to the end, the second knows it from the fifth second on.
    fn scenario(rounds: usize, denial: u32, old: &str) -> String {
        let mut text = String::from(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\npod = 10.244.0.2\n",
        );
        let soa = format!(
            "NXDOMAIN auth cluster.local. {denial} SOA ns.dns.cluster.local. \
             hostmaster.cluster.local. 1 7200 1800 86400 {denial}"
        );
        for round in 0..rounds {
            let fresh = if round < 5 { soa.clone() } else { format!("{NAME} 5 A 10.96.0.9") };
            for (at, via, answer) in [(0, "dns1", &soa), (5, "dns2", &fresh)] {
                let port = 40_000 + round * 16 + at;
                let late = if via == "dns1" && round >= 5 { old } else { "" };
                text.extend([format!(
                    "{round}.{at} pod:{port} > kube-dns via {via} rd A {NAME}\n\
                     {round}.{at}01 pod:{port} < kube-dns via {via} aa {answer} {late}\n"
                )]);
            }
        }
        text
    }

    #[test]
    fn a_denial_is_cached_for_as_long_as_its_soa_allows() {
        insta::assert_snapshot!(findings(&scenario(9, 30, "")), @"low negative-sticky [name new.shop.svc.cluster.local, backend 10.244.1.10] likely 10:00:05.501-10:00:08.001 3/3");
    }

    #[test]
    fn two_failed_lookups_are_too_few() {
        assert!(!findings(&scenario(8, 30, "")).contains("sticky"));
    }

    #[test]
    fn a_denial_that_outlives_its_ttl_is_other_data() {
        assert!(!findings(&scenario(14, 5, "")).contains("sticky"));
    }

    #[test]
    fn denials_that_the_capture_missed_do_not_count() {
        assert!(!findings(&scenario(9, 30, "lost")).contains("sticky"));
    }
}
