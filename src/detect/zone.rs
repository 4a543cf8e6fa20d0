//! Which zones are a cluster's own, learned from the names that clients ask for.
//!
//! Every Service lives at `<service>.<namespace>.svc.<zone>`, and every pod's search list names
//! `<namespace>.svc.<zone>`, so the label `svc` shows where the zone begins. The zone is whatever
//! the administrator chose; `cluster.local` is only the default (Kubernetes DNS specification).

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::base::digest;
use crate::dns::{Ending, Labels, Name};

/// Different names that make a zone a cluster's: an outside name with a label `svc` is an
/// accident, three of them are a scheme (rulebook 5.1).
const ENOUGH: usize = 3;
/// Candidate zones kept. A capture shows one cluster, or a few.
const MAX_ZONES: usize = 256;
/// Names that are not learned from twice in a row, by their digests.
const LEARNED: usize = 1 << 9;
/// `cluster.local`, which no public zone can be (RFC 6762).
const DEFAULT: &[u8] = b"\x07cluster\x05local\x00";

/// The zones of clusters.
#[derive(Debug, Default)]
pub struct ClusterZones {
    candidates: BTreeMap<Name, SmallVec<[u64; ENOUGH]>>,
    /// One as a rule, and looked through for every question.
    known: Vec<Name>,
    /// What names in those end with, `svc` and the zone.
    endings: Vec<Name>,
    /// The digests of the names that were learned from last: to learn from one again changes nothing.
    learned: Vec<u64>,
}

/// A name that is written as a cluster's are: what stands before `svc`, and the zone after it.
#[derive(Debug, Clone, Copy)]
pub struct ClusterName<'a> {
    name: &'a Name,
    depth: usize,
    zone: Ending<'a>,
}

impl<'a> ClusterName<'a> {
    /// Takes `name` apart at its last label `svc`; `None` if it has none with labels on both
    /// sides.
    pub fn of(name: &'a Name) -> Option<Self> {
        let is_svc = |(at, label): (usize, &[u8])| label.eq_ignore_ascii_case(b"svc").then_some(at);
        let depth = name.labels().enumerate().filter_map(is_svc).last().filter(|at| *at > 0)?;
        let zone = name.ending(depth + 1);
        (!zone.is_root()).then_some(Self { name, depth, zone })
    }

    /// The labels before `svc`: the namespace last, the service before it, a pod before that.
    pub fn own(&self) -> std::iter::Take<Labels<'a>> {
        self.name.labels().take(self.depth)
    }

    /// The service and its namespace, as they are written in commands.
    pub fn service(&self) -> Option<(String, String)> {
        let mut labels = self.own().map(|label| String::from_utf8_lossy(label).into_owned());
        Some((labels.next()?, labels.next()?))
    }

    /// Whether its first label ends in the ordinal of a StatefulSet's pod: `etcd-0`.
    pub fn has_ordinal(&self) -> bool {
        let label = self.name.first_label().unwrap_or_default();
        let digits = label.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let stem = label.get(..label.len().saturating_sub(digits)).unwrap_or_default();
        digits > 0 && stem.len() > 1 && stem.last() == Some(&b'-')
    }

    /// How many labels stand before `svc`: 2 for a Service, 3 for a pod below one.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

impl ClusterZones {
    /// Learns from a name that was asked for.
    pub fn learn(&mut self, name: &Name) {
        self.learned.resize(LEARNED, 0);
        let place = usize::try_from(name.digest() % LEARNED as u64).unwrap_or(0);
        if std::mem::replace(&mut self.learned[place], name.digest()) == name.digest() {
            return;
        }
        // Nearly every name lies in a zone that is known already, and most end as its Services do.
        if self.endings.iter().any(|ending| name.is_under(ending)) {
            return;
        }
        let Some(parts) = ClusterName::of(name).filter(|parts| !self.knows(parts.zone)) else {
            return;
        };
        let zone = parts.zone.to_name();
        if self.candidates.len() >= MAX_ZONES && !self.candidates.contains_key(&zone) {
            return;
        }
        let seen = self.candidates.entry(zone.clone()).or_default();
        let own: Option<Name> = Name::from_labels(parts.own());
        let folded: Vec<u8> =
            own.iter().flat_map(|own| own.wire().iter().map(u8::to_ascii_lowercase)).collect();
        let own = digest(&folded);
        if !seen.contains(&own) {
            seen.push(own);
        }
        if seen.len() >= ENOUGH {
            self.endings.extend(Name::parse("svc").and_then(|svc| svc.under(&zone)));
            self.known.push(zone);
        }
    }

    fn knows(&self, zone: Ending<'_>) -> bool {
        self.known.iter().any(|known| zone.is(known))
    }

    /// Whether `name` lies in a cluster's zone.
    pub fn is_cluster(&self, name: &Name) -> bool {
        name.ending(0).is_under(DEFAULT) || self.known.iter().any(|zone| name.is_under(zone))
    }

    /// `name` taken apart, if it lies in a cluster's zone and has the form of one of its names.
    pub fn split<'a>(&self, name: &'a Name) -> Option<ClusterName<'a>> {
        ClusterName::of(name).filter(|parts| self.knows(parts.zone) || parts.zone.is_under(DEFAULT))
    }

    /// The zones, `cluster.local` where none was learned.
    pub fn zones(&self) -> BTreeSet<Name> {
        if self.known.is_empty() {
            return Name::parse("cluster.local").into_iter().collect();
        }
        self.known.iter().cloned().collect()
    }
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
        let pod = name("etcd-0.etcd.db.svc.cluster.local");
        let pod = zones.split(&pod).unwrap();
        assert!(pod.has_ordinal());
        assert_eq!(Name::from_labels(pod.own()), Some(name("etcd-0.etcd.db")));
        assert_eq!((pod.depth(), pod.service()), (3, Some(("etcd-0".into(), "etcd".into()))));
        assert!(zones.split(&name("svc.cluster.local")).is_none());
    }
}
