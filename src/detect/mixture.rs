//! A silent backend behind a service whose translation the capture does not show (rulebook 6.5).
//!
//! A socket is pinned to one backend (K6). With one silent backend of n, about one new socket in n
//! fails, and all repeats from its port fail with it, while other sockets are answered at the same
//! time. Independent loss lets most repeats through. Once the backend is back, or taken out and its
//! sockets are no longer pinned to it, repeats get through as well, all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::classify::{Kind, LONGEST_REMOVAL, SHORTEST_REMOVAL};
use super::flow::Flow;
use super::localise::Outage;
use super::scene::Scene;
use crate::base::{Span, Timestamp, Transport};
use crate::capture::Seen;

/// Sockets whose every repeat failed.
const ENOUGH: u64 = 5;
/// Of the sockets that repeated a query, at most this share may have got through by it.
const RECOVERED: f64 = 0.1;
/// It is over if chance alone sends so many sockets elsewhere more seldom than this.
const CHANCE: f64 = 0.001;

/// A service that answers some sockets always and others never.
#[derive(Debug)]
pub(super) struct Mixture {
    /// The address that clients ask.
    pub(super) service: IpAddr,
    /// First to last bad packet.
    pub(super) span: Span,
    /// Sockets that got nothing, whatever they repeated, as long as it lasted.
    pub(super) failed: u64,
    /// Sockets that were answered meanwhile.
    pub(super) answered: u64,
    /// Clients that had such sockets.
    pub(super) clients: BTreeSet<IpAddr>,
    /// The first such queries.
    pub(super) frames: Vec<Seen>,
    /// When the last socket began that was pinned to it, if enough were answered since.
    pub(super) over: Option<Timestamp>,
}

impl Mixture {
    /// For how long new sockets failed.
    pub(super) fn length(&self) -> Duration {
        self.over.unwrap_or(self.span.end).since(self.span.start)
    }

    /// Which rule it belongs to: whether the service got rid of the backend, or it was back, does not
    /// show, but how soon it was over does.
    pub(super) fn kind(&self) -> Kind {
        match self.length() {
            length if self.over.is_none() || length > LONGEST_REMOVAL => Kind::Dead,
            length if length < SHORTEST_REMOVAL => Kind::Restart,
            _ => Kind::Stale,
        }
    }

    /// Whether an outage of the service is no more than chance makes of one silent backend among several: so
    /// many sockets in a row were pinned to it.
    pub(super) fn explains(&self, outage: &Outage) -> bool {
        let all = (self.failed + self.answered).max(1) as f64;
        let row = i32::try_from(outage.failed).unwrap_or(i32::MAX);
        let chance = (self.failed as f64 / all).powi(row) * all;
        outage.server == self.service
            && self.span.contains(outage.span.start)
            && self.span.contains(outage.span.end)
            && chance >= CHANCE
    }

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
    let own = |flow: &&&Flow| Span::between(flow.first.ts, flow.last_sent());
    let span = bad.iter().map(own).reduce(Span::join)?;
    let last = bad.iter().map(|flow| flow.first.ts).max()?;
    // What got through only after the last socket had failed did so because it was over.
    let repeated = |flow: &&&Flow| flow.succeeded() && flow.repeated().1 > 0;
    let (stalled, recovered): (Vec<&&Flow>, Vec<&&Flow>) = flows
        .iter()
        .filter(|flow| span.contains(flow.first.ts) && repeated(flow))
        .partition(|flow| flow.last_sent() > last);
    let hurt = || bad.iter().chain(&stalled);
    let last = hurt().map(|flow| flow.first.ts).max()?;
    let weights = |from: Timestamp, to: Timestamp| -> u64 {
        let within = |flow: &&&Flow| from <= flow.first.ts && flow.first.ts <= to;
        let prompt = flows.iter().filter(within).filter(|flow| flow.succeeded() && !repeated(flow));
        prompt.map(|flow| u64::from(flow.weight())).sum()
    };
    let (failed, answered) = (hurt().count() as u64, weights(span.start, last));
    let share = recovered.len() as f64 / (recovered.len() + bad.len()) as f64;
    if (bad.len() as u64) < ENOUGH || share > RECOVERED || answered < failed / 2 {
        return None;
    }
    let mixture = Mixture {
        service,
        span: hurt().map(own).fold(span, Span::join),
        failed,
        answered,
        clients: hurt().map(|flow| flow.cell().client).collect(),
        frames: bad.iter().take(6).map(|flow| flow.first).collect(),
        over: None,
    };
    let elsewhere = 1.0 - 1.0 / mixture.one_in() as f64;
    // Of those in the last seconds of a capture only the answered ones are decided.
    let open = |flow: &&&Flow| flow.first.ts > last && !flow.succeeded() && !flow.failed();
    let until = flows.iter().find(open).map_or(Timestamp::MAX, |flow| flow.first.ts);
    let since = weights(last.after(Duration::from_nanos(1)), until);
    let over = elsewhere.powf(since as f64) < CHANCE;
    Some(Mixture { over: over.then_some(last), ..mixture })
}
