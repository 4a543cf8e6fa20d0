//! A silent backend behind a service whose translation the capture does not show (rulebook 6.5).
//!
//! A socket is pinned to one backend (K6). With one silent backend of n, about one new socket in n
//! fails, and all repeats from its port fail with it, while other sockets are answered at the same
//! time. Independent loss lets most repeats through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::flow::Flow;
use super::scene::Scene;
use crate::base::{Span, Transport};
use crate::capture::Seen;

/// Sockets whose every repeat failed.
const ENOUGH: u64 = 5;
/// Of the sockets that repeated a query, at most this share may have got through by it.
const RECOVERED: f64 = 0.1;

/// A service that answers some sockets always and others never.
#[derive(Debug)]
pub(super) struct Mixture {
    /// The address that clients ask.
    pub(super) service: IpAddr,
    /// First to last bad packet.
    pub(super) span: Span,
    /// Sockets that got nothing, whatever they repeated.
    pub(super) failed: u64,
    /// Sockets that were answered meanwhile.
    pub(super) answered: u64,
    /// Clients that had such sockets.
    pub(super) clients: BTreeSet<IpAddr>,
    /// The first such queries.
    pub(super) frames: Vec<Seen>,
}

impl Mixture {
    /// One backend in about how many is silent.
    pub(super) fn one_in(&self) -> u64 {
        let failed = self.failed.max(1);
        ((self.failed + self.answered + failed / 2) / failed).max(2)
    }
}

/// The services of `scene` that look like that.
pub(super) fn mixtures(scene: &Scene<'_>) -> Vec<Mixture> {
    // A silent backend does not choose among names.
    if scene.forward.outside.fails_by_name() {
        return Vec::new();
    }
    let mut services: BTreeMap<IpAddr, Vec<&Flow>> = BTreeMap::new();
    for flow in scene.reach.flows() {
        let address = flow.cell().server;
        let opaque = flow.cell().responder == address && !scene.nat.is_service(address);
        if opaque && flow.cell().transport == Transport::Udp && flow.is_fresh() {
            services.entry(address).or_default().push(flow);
        }
    }
    services.into_iter().filter_map(|(service, flows)| judge(service, &flows)).collect()
}

fn judge(service: IpAddr, flows: &[&Flow]) -> Option<Mixture> {
    let pinned = |flow: &&&Flow| flow.failed() && flow.repeated().0 > 0 && flow.lost().is_none();
    let bad: Vec<&&Flow> = flows.iter().filter(pinned).collect();
    let span =
        bad.iter().map(|flow| Span::between(flow.first.ts, flow.last_sent())).reduce(Span::join)?;
    let within = |flow: &&&Flow| span.contains(flow.first.ts);
    let recovered = flows
        .iter()
        .filter(within)
        .filter(|flow| flow.succeeded() && flow.repeated().1 > 0)
        .count();
    let answered: u64 = flows
        .iter()
        .filter(within)
        .filter(|flow| flow.succeeded())
        .map(|flow| u64::from(flow.weight()))
        .sum();
    let failed = bad.len() as u64;
    let share = recovered as f64 / (recovered as f64 + failed as f64);
    (failed >= ENOUGH && share <= RECOVERED && answered >= failed / 2).then(|| Mixture {
        service,
        span,
        failed,
        answered,
        clients: bad.iter().map(|flow| flow.cell().client).collect(),
        frames: bad.iter().take(6).map(|flow| flow.first).collect(),
    })
}
