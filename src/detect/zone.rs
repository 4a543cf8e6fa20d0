//! Which zones are a cluster's own, learned from the names that clients ask for.
//!
//! Every Service lives at `<service>.<namespace>.svc.<zone>`, and every pod's search list names
//! `<namespace>.svc.<zone>`, so the label `svc` shows where the zone begins. The zone is whatever
//! the administrator chose; `cluster.local` is only the default (Kubernetes DNS specification).

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::base::{Set, digest};
use crate::dns::Name;

/// Different names that make a zone a cluster's: an outside name with a label `svc` is an
/// accident, three of them are a scheme (rulebook 5.1).
const ENOUGH: usize = 3;
/// Candidate zones kept. A capture shows one cluster, or a few.
const MAX_ZONES: usize = 256;

/// The zones of clusters.
#[derive(Debug, Default)]
pub struct ClusterZones {
    candidates: BTreeMap<Name, SmallVec<[u64; ENOUGH]>>,
    known: Set<Name>,
}

/// A name that is written as a cluster's are: what stands before `svc`, and the zone after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterName {
    /// The labels before `svc`: the namespace last, the service before it, a pod before that.
    pub own: Name,
    /// The labels after `svc`.
    pub zone: Name,
}

impl ClusterName {
    /// Takes `name` apart at its last label `svc`; `None` if it has none with labels on both
    /// sides.
    pub fn of(name: &Name) -> Option<Self> {
        let at = svc(name)?;
        let zone = name.without_leading(at + 1);
        let own = Name::from_labels(name.labels().take(at)).filter(|own| !own.is_root())?;
        (!zone.is_root()).then_some(Self { own, zone })
    }

    /// Whether its first label ends in the ordinal of a StatefulSet's pod: `etcd-0`.
    pub fn has_ordinal(&self) -> bool {
        let label = self.own.first_label().unwrap_or_default();
        let digits = label.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let stem = label.get(..label.len().saturating_sub(digits)).unwrap_or_default();
        digits > 0 && stem.len() > 1 && stem.last() == Some(&b'-')
    }

    /// How many labels stand before `svc`: 2 for a Service, 3 for a pod below one.
    pub fn depth(&self) -> usize {
        self.own.label_count()
    }
}

impl ClusterZones {
    /// Learns from a name that was asked for.
    pub fn learn(&mut self, name: &Name) {
        // Nearly every name lies in a zone that is known already.
        let Some(at) = svc(name) else { return };
        if self.known.contains(&name.ending(at + 1)) {
            return;
        }
        let Some(ClusterName { own, zone }) = ClusterName::of(name) else { return };
        if self.candidates.len() >= MAX_ZONES && !self.candidates.contains_key(&zone) {
            return;
        }
        let seen = self.candidates.entry(zone.clone()).or_default();
        let folded: Vec<u8> = own.wire().iter().map(u8::to_ascii_lowercase).collect();
        let own = digest(&folded);
        if !seen.contains(&own) {
            seen.push(own);
        }
        if seen.len() >= ENOUGH {
            self.known.insert(zone);
        }
    }

    /// Whether `name` lies in a cluster's zone.
    pub fn is_cluster(&self, name: &Name) -> bool {
        is_default(name) || self.known.iter().any(|zone| name.is_under(zone))
    }

    /// `name` taken apart, if it lies in a cluster's zone and has the form of one of its names.
    pub fn split(&self, name: &Name) -> Option<ClusterName> {
        ClusterName::of(name)
            .filter(|parts| self.known.contains(&parts.zone) || is_default(&parts.zone))
    }

    /// The zones, `cluster.local` where none was learned.
    pub fn zones(&self) -> BTreeSet<Name> {
        if self.known.is_empty() {
            return Name::parse("cluster.local").into_iter().collect();
        }
        self.known.iter().cloned().collect()
    }
}

/// The place of the last label `svc`.
fn svc(name: &Name) -> Option<usize> {
    let is_svc = |(at, label): (usize, &[u8])| label.eq_ignore_ascii_case(b"svc").then_some(at);
    name.labels().enumerate().filter_map(is_svc).last()
}

/// Whether it lies in `cluster.local`, which no public zone can be (RFC 6762).
fn is_default(name: &Name) -> bool {
    let count = name.label_count();
    let mut last = name.labels().skip(count.saturating_sub(2));
    count >= 2
        && last.next().is_some_and(|label| label.eq_ignore_ascii_case(b"cluster"))
        && last.next().is_some_and(|label| label.eq_ignore_ascii_case(b"local"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_zone_is_learned_from_three_names() {
        let mut zones = ClusterZones::default();
        let service = name("redis.default.svc.k8s.prod.corp");
        for own in ["redis.default", "redis.default", "cart.shop"] {
            zones.learn(&name(&format!("{own}.svc.k8s.prod.corp")));
            assert!(!zones.is_cluster(&service));
        }
        zones.learn(&name("api.example.com.shop.svc.k8s.prod.corp"));
        assert!(zones.is_cluster(&service));
        assert!(zones.is_cluster(&name("api.example.com.k8s.prod.corp")));
        assert!(!zones.is_cluster(&name("www.prod.corp")));
        assert_eq!(zones.zones(), BTreeSet::from([name("k8s.prod.corp")]));
    }

    #[test]
    fn the_default_needs_no_learning() {
        let zones = ClusterZones::default();
        assert!(zones.is_cluster(&name("redis.default.svc.Cluster.Local")));
        assert!(!zones.is_cluster(&name("redis.default.svc.example.com")));
        assert!(!zones.is_cluster(&name("local")));
        let pod = zones.split(&name("etcd-0.etcd.db.svc.cluster.local")).unwrap();
        assert!(pod.has_ordinal());
        assert_eq!((pod.depth(), pod.own.to_string().as_str()), (3, "etcd-0.etcd.db"));
        assert_eq!(zones.split(&name("svc.cluster.local")), None);
    }
}
