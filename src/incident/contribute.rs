//! What made a failure worse without being its cause: findings that harm nobody by themselves
//! stand beside the one that does (rulebook 2.B `affinity-pinned`, 2.D `search-suffix-storm`).

use super::model::Incident;
use crate::base::words::{plain, text};
use crate::detect::{Class, Fact, Finding};

/// Rules that only cost, and the failures that they make worse: affinity leaves clients no other
/// backend, and whatever adds queries or flows adds to what is full already.
const WORSE: [(&str, &[&str]); 6] = [
    (
        "affinity-pinned",
        &["dead-backend", "stale-backend", "icmp-port-unreachable", "path-broken-pair"],
    ),
    ("search-suffix-storm", FULL),
    ("client-storm", FULL),
    ("ttl0-flood", FULL),
    ("nodelocal-bypassed", FULL),
    ("coredns-imbalance", &["coredns-overload"]),
];
const FULL: &[&str] =
    &["coredns-overload", "coredns-refused-burst", "conntrack-full", "upstream-rate-limit"];

/// Says in every failure what made it worse.
pub(super) fn contribute(incidents: &mut [Incident]) {
    let beside: Vec<Finding> = incidents
        .iter()
        .filter(|incident| incident.cause.rule.class == Class::Efficiency)
        .map(|incident| incident.cause.clone())
        .collect();
    for incident in incidents {
        let worse = beside.iter().filter(|other| worsens(other, incident));
        let facts: Vec<Fact> = worse
            .map(|other| Fact {
                label: text!("made worse by"),
                value: text!("{rule}: {what}", rule = plain(other.rule.id), what = other.title),
            })
            .collect();
        incident.cause.facts.extend(facts);
    }
}

/// Whether `other` concerns the clients that the incident hurt, at that time, in a way that counts.
fn worsens(other: &Finding, incident: &Incident) -> bool {
    let failures =
        WORSE.iter().find(|(id, _)| *id == other.rule.id).map_or(&[][..], |(_, ids)| ids);
    let hurt = &incident.affected.clients;
    failures.contains(&incident.cause.rule.id)
        && other.span.overlaps(incident.cause.span)
        && other
            .claim
            .clients
            .as_ref()
            .is_none_or(|all| all.iter().any(|one| hurt.contains_key(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::ALL;

    #[test]
    fn what_only_costs_makes_failures_worse() {
        let class = |id: &str| ALL.iter().find(|rule| rule.id == id).map(|rule| rule.class);
        for (id, failures) in WORSE {
            assert_eq!(class(id), Some(Class::Efficiency), "{id}");
            for failure in failures {
                assert_eq!(class(failure), Some(Class::Failure), "{failure}");
            }
        }
    }
}
