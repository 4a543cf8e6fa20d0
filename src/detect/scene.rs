//! What all detectors may look at when the capture is over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::cutoff::CutOffs;
use super::forward::Forward;
use super::harm::Ledger;
use super::inquiries::Inquiries;
use super::load::Load;
use super::localise::Outage;
use super::reach::Reach;
use crate::base::{Addresses, Coverage, Span};
use crate::transaction::Nat;

/// The shared view at the end of a capture.
#[derive(Debug)]
pub struct Scene<'a> {
    /// First and last frame.
    pub span: Span,
    /// What was read.
    pub coverage: &'a Coverage,
    /// Which addresses are translated to which.
    pub nat: &'a Nat,
    /// Who reached whom.
    pub reach: &'a Reach,
    /// What servers asked others, and how names outside the cluster fared.
    pub forward: &'a Forward,
    /// How servers fared over time with what they can answer alone.
    pub load: &'a Load,
    /// Who was harmed.
    pub ledger: &'a Ledger,
    /// Who was told what.
    pub answers: &'a Inquiries,
    /// Where reachability broke, as localised from `reach`.
    pub outages: &'a [Outage],
    /// Clients that no server answered while their neighbours were answered.
    pub cut_off: &'a CutOffs<'a>,
    /// Addresses that answered somebody.
    pub servers: &'a BTreeSet<IpAddr>,
    /// The addresses behind the numbers of a [`Glance`](super::Glance).
    pub addresses: &'a Addresses,
}

/// What is still going on this long before the capture's end counts as ongoing.
const EDGE: std::time::Duration = std::time::Duration::from_secs(10);

impl Scene<'_> {
    /// Whether something that was last seen at the end of `span` was still going on when the
    /// capture ended.
    pub fn lasts(&self, span: Span) -> bool {
        self.span.end.since(span.end) <= EDGE
    }

    /// The service whose backend this is, if the capture shows one.
    pub fn service_of(&self, backend: IpAddr) -> Option<IpAddr> {
        self.nat.service_of(backend)
    }

    /// The addresses that stand for servers behind services, or that were asked directly and
    /// answered.
    pub fn is_service(&self, address: IpAddr) -> bool {
        self.nat.is_service(address)
    }

    /// Whether two servers may stand behind one service: not those that the capture shows behind
    /// different ones, nor two nameservers of one resolv.conf that clients ask at once.
    pub fn may_be_replicas(&self, one: IpAddr, other: IpAddr) -> bool {
        self.nat.may_be_replicas(one, other) && self.asked_at_once(one, other).next().is_none()
    }

    /// The clients that ask two servers, or the services before them, at the same time.
    pub fn asked_at_once(&self, one: IpAddr, other: IpAddr) -> impl Iterator<Item = IpAddr> {
        let asked = |server| self.service_of(server).unwrap_or(server);
        self.answers.at_once.clients(asked(one), asked(other))
    }
}
