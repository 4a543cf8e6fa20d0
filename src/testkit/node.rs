//! Where one datagram is seen on its way through a node: rulebook K3, as measured.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::view::{Place, Route, View};
use crate::packet::Direction;

/// From whom to whom, addresses after translation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trip {
    pub(super) client: IpAddr,
    /// The server itself; unknown where no backend was named.
    pub(super) server: Option<IpAddr>,
    pub(super) forth: bool,
    pub(super) route: Route,
}

/// One sighting of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    /// Nanoseconds from the line's time.
    pub(super) delay: i64,
    pub(super) interface: u32,
    pub(super) direction: Direction,
    pub(super) mac_src: [u8; 6],
    pub(super) mac_dst: [u8; 6],
    /// Routers passed since the sender.
    pub(super) hops: u8,
    /// With the backend's address in place of the service's.
    pub(super) translated: bool,
}

/// The way over two nodes and the way within one, with the nanoseconds between the steps (those
/// of the way back are counted from the arrival at the client's node), and the routers passed.
type Step = (Place, i64, u8);
const FORTH: &[Step] = &[
    (Place::Veth, 0, 0),
    (Place::Bridge, 12_000, 0),
    (Place::Overlay, 25_000, 1),
    (Place::FarOverlay, 160_000, 1),
    (Place::FarBridge, 172_000, 2),
    (Place::FarVeth, 174_000, 2),
];
const BACK: &[Step] = &[
    (Place::FarVeth, -160_000, 0),
    (Place::FarBridge, -155_000, 0),
    (Place::FarOverlay, -150_000, 1),
    (Place::Overlay, 0, 1),
    (Place::Bridge, 3_000, 2),
    (Place::Veth, 5_000, 2),
];
const FORTH_WITHIN: &[Step] = &[
    (Place::Veth, 0, 0),
    (Place::Bridge, 12_000, 0),
    (Place::FarBridge, 20_000, 1),
    (Place::FarVeth, 22_000, 1),
];
const BACK_WITHIN: &[Step] = &[
    (Place::FarVeth, -12_000, 0),
    (Place::FarBridge, -8_000, 0),
    (Place::Bridge, 0, 1),
    (Place::Veth, 2_000, 1),
];

/// Interface indices of a node; veths follow in the order in which they are first used.
const BRIDGE: u32 = 3;
const OVERLAY: u32 = 4;
const FIRST_VETH: u32 = 5;

/// Where datagrams are seen, for one capture.
#[derive(Debug)]
pub(super) struct Sightings<'a> {
    view: &'a View,
    backends: BTreeSet<IpAddr>,
    veths: BTreeMap<IpAddr, u32>,
}

impl<'a> Sightings<'a> {
    pub(super) fn new(view: &'a View, backends: BTreeSet<IpAddr>) -> Self {
        let veths = BTreeMap::new();
        Self { view, backends, veths }
    }

    /// Every place of the capture that one datagram is seen at, in order.
    pub(super) fn of(&mut self, trip: Trip) -> Result<Vec<Sighting>, String> {
        if self.view.is_pod() {
            return Ok(at_the_pod(trip).into_iter().collect());
        }
        let near = self.view.client_is_here(trip.client, &self.backends);
        let far =
            trip.server.is_some_and(|server| self.view.server_is_here(server, &self.backends));
        let path = match (trip.forth, near && far) {
            (true, false) => FORTH,
            (false, false) => BACK,
            (true, true) => FORTH_WITHIN,
            (false, true) => BACK_WITHIN,
        };
        let position = |place: Place| {
            let found = path.iter().position(|step| step.0 == place);
            found.ok_or_else(|| format!("it does not pass {place:?}"))
        };
        let first = trip.route.since.map_or(Ok(0), position)?;
        let last = trip.route.until.map_or(Ok(path.len() - 1), position)?;
        let mut out = Vec::new();
        for &(place, delay, hops) in path.get(first..=last).unwrap_or_default() {
            let here = if place.is_far() { far } else { near };
            let wanted = self.view.shows(place);
            let delivery = place.is_far() == trip.forth && place.kind() != Place::Overlay;
            if here && wanted && !(trip.route.other_host && delivery) {
                let mut sighting = self.at(place, trip);
                sighting.delay = delay;
                sighting.hops = hops - if first > 0 { path[first].2 } else { 0 };
                out.push(sighting);
            }
        }
        Ok(out)
    }

    fn at(&mut self, place: Place, trip: Trip) -> Sighting {
        let owner = if place.is_far() { trip.server.unwrap_or(trip.client) } else { trip.client };
        let inward = trip.forth != place.is_far();
        let interface = match place.kind() {
            Place::Bridge => BRIDGE,
            Place::Overlay => OVERLAY,
            _ => self.veth(owner),
        };
        let direction = match place.kind() {
            // The bridge takes its port's address, so frames to it look like somebody else's.
            Place::Veth if inward => Direction::OtherHost,
            Place::Bridge if inward => Direction::Host,
            Place::Overlay if !inward && trip.route.other_host => Direction::OtherHost,
            Place::Overlay if !inward => Direction::Host,
            _ => Direction::Outgoing,
        };
        let (mac_src, mac_dst) = match place.kind() {
            Place::Overlay => {
                let sender = if trip.forth { Some(trip.client) } else { trip.server };
                let receiver = if trip.forth { trip.server } else { Some(trip.client) };
                let known = if trip.route.other_host { former } else { vtep };
                (vtep(sender), known(receiver))
            }
            _ if inward => (card(owner), bridge(owner)),
            _ => (bridge(owner), card(owner)),
        };
        let translated = match place {
            Place::Veth => false,
            // A service without a backend is rejected untranslated.
            Place::Bridge => trip.forth && !self.view.is_ipvs() && trip.server.is_some(),
            _ => true,
        };
        Sighting { delay: 0, interface, direction, mac_src, mac_dst, hops: 0, translated }
    }

    fn veth(&mut self, owner: IpAddr) -> u32 {
        let next = FIRST_VETH + u32::try_from(self.veths.len()).unwrap_or(0);
        *self.veths.entry(owner).or_insert(next)
    }
}

/// At the client itself, everything that leaves it and everything that reaches it is seen once.
fn at_the_pod(trip: Trip) -> Option<Sighting> {
    let arrives = trip.route.until.is_none() && !trip.route.other_host;
    let (mine, router) = (card(trip.client), bridge(trip.client));
    let (direction, mac_src, mac_dst) = if trip.forth {
        (Direction::Outgoing, mine, router)
    } else {
        (Direction::Host, router, mine)
    };
    (trip.forth || arrives).then_some(Sighting {
        delay: 0,
        interface: 2,
        direction,
        mac_src,
        mac_dst,
        hops: 0,
        translated: false,
    })
}

fn tail(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    }
}

fn card(ip: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = tail(ip);
    [0x02, 0x42, a, b, c, d]
}

/// A node's bridge and tunnel addresses; a node is a /24.
fn bridge(ip: IpAddr) -> [u8; 6] {
    let [a, b, c, _] = tail(ip);
    [0x0a, 0x58, a, b, c, 1]
}

fn vtep(ip: Option<IpAddr>) -> [u8; 6] {
    let [a, b, c, _] = ip.map_or([0; 4], tail);
    [0xba, 0x10, 0x0e, a, b, c]
}

/// The address that a node's tunnel had before it came back with another one.
fn former(ip: Option<IpAddr>) -> [u8; 6] {
    let [a, b, c, _] = ip.map_or([0; 4], tail);
    [0xba, 0x10, 0x0f, a, b, c]
}
