//! What a glance at a closed transaction tells, taken once for all who ask.

use std::time::Duration;

use super::load::delay;
use crate::base::{AddressId, Transport};
use crate::capture::Seen;
use crate::dns::Name;
use crate::transaction::{Outcome, Transaction};

/// An answer that comes sooner is noticed by nobody.
pub(super) const NOTICED: Duration = Duration::from_millis(500);

/// What several rules and tallies ask about each transaction.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    /// Whether it is like most of a healthy capture: one query over UDP that an application waited
    /// for, and one response, good or negative, before anybody noticed.
    pub plain: bool,
    /// Its first frame.
    pub first: Seen,
    /// See [`Transaction::latency`].
    pub latency: Option<Duration>,
    /// How long the answer took from the first query on; `None` if none came, or if it answered a
    /// repeat of a query that was lost.
    pub delay: Option<Duration>,
    /// What its name belongs to.
    pub name: NameKind,
    /// Who asked and who was to answer: the numbers of its client's address and its responder's in
    /// [`Scene::addresses`](super::Scene::addresses).
    pub client: AddressId,
    /// See [`Glance::client`].
    pub responder: AddressId,
}

impl Glance {
    /// Looks at a transaction of this client and responder, whose name belongs to that.
    pub fn at(
        transaction: &Transaction,
        name: NameKind,
        (client, responder): (AddressId, AddressId),
    ) -> Self {
        let quick = |took: Option<Duration>| took.is_some_and(|took| took < NOTICED);
        let first = transaction.first();
        let asked = !transaction.attempts.is_empty();
        let answer = transaction.answer().filter(|_| asked);
        let latency = answer.map(|answer| answer.delivered_at().since(first.ts));
        let delay = delay(transaction, first.ts);
        let plain = transaction.attempts.len() == 1
            && transaction.responses.len() == 1
            && transaction.rejections.is_empty()
            && transaction.transport == Transport::Udp
            && matches!(transaction.outcome(), Outcome::Ok | Outcome::Negative)
            && quick(delay)
            && quick(latency)
            && !transaction.is_infrastructure();
        Self { plain, first, latency, delay, name, client, responder }
    }
}

/// What a name belongs to, as far as its labels tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameKind {
    /// Whether it has a label `svc`: a Service's name, or one under a suffix of Services.
    pub service: bool,
    /// How many labels stand before the zone behind the last label `svc`, if that has something on
    /// both sides.
    pub zone: Option<u8>,
    /// Whether it is an address written as a name.
    pub reverse: bool,
}

impl NameKind {
    /// Looks at a name.
    pub fn of(name: &Name) -> Self {
        let (mut labels, mut svc, mut last): (u8, _, &[u8]) = (0, None, &[]);
        for label in name.labels() {
            if is_svc(label) {
                svc = Some(labels);
            }
            labels += 1;
            last = label;
        }
        Self {
            service: svc.is_some(),
            zone: svc.filter(|at| *at >= 1 && labels > at + 1).map(|at| at + 1),
            reverse: last.eq_ignore_ascii_case(b"arpa"),
        }
    }
}

/// What the names that were asked for last belong to: the same ones come again and again.
#[derive(Debug)]
pub struct NameKinds(Vec<(u64, NameKind)>);

impl Default for NameKinds {
    fn default() -> Self {
        Self((0..Self::PLACES).map(|_| <(u64, NameKind)>::default()).collect())
    }
}

impl NameKinds {
    /// As many as stay in a core's first-level cache.
    const PLACES: u64 = 1 << 10;

    /// Looks at a name, unless it was the last one in its place. Its digest is enough to say so.
    #[inline]
    pub fn of(&mut self, name: &Name) -> NameKind {
        let digest = name.digest();
        let place = usize::try_from(digest % Self::PLACES).unwrap_or(0);
        let Some((known, kind)) = self.0.get_mut(place) else {
            return NameKind::of(name);
        };
        if *known != digest {
            (*known, *kind) = (digest, NameKind::of(name));
        }
        *kind
    }
}

/// Whether a label is the one that Services stand under (rulebook K8).
pub(super) fn is_svc(label: &[u8]) -> bool {
    label.len() == 3 && label.eq_ignore_ascii_case(b"svc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_what_it_belongs_to() {
        let kind = |name: &str| NameKind::of(&Name::parse(name).unwrap());
        let service = kind("web.shop.SVC.cluster.local");
        assert_eq!(service, NameKind { service: true, zone: Some(3), reverse: false });
        assert_eq!(kind("svc.cluster.local").zone, None);
        assert_eq!(kind("web.svc"), NameKind { service: true, zone: None, reverse: false });
        assert_eq!(kind("a.svc.b.svc.zone").zone, Some(4));
        assert!(kind("1.0.0.10.in-addr.ARPA").reverse && !kind("example.com").reverse);
        assert_eq!(kind("."), NameKind::default());
    }
}
