//! Who asks whom, by number.
//!
//! Most tallies are kept by client, by server, or by both. Those of a transaction are told apart once, for
//! all of them: its route is looked up, and whatever is kept of that is a row by number.

use std::net::IpAddr;

use crate::base::{Host, Number, Numbered};
use crate::transaction::Transaction;

/// Routes told apart: as many as a large cluster has pods.
const MAX_ROUTES: usize = 1 << 16;

/// From a client to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Route {
    client: Host,
    server: Host,
    responder: Host,
}

impl Route {
    /// That of a transaction.
    pub(super) fn of(transaction: &Transaction) -> Self {
        Self {
            client: Host(transaction.client.ip()),
            server: Host(transaction.server.ip()),
            responder: Host(transaction.responder()),
        }
    }

    /// Who asked.
    pub(super) fn client(&self) -> IpAddr {
        self.client.0
    }

    /// The address that was asked.
    pub(super) fn server(&self) -> IpAddr {
        self.server.0
    }

    /// The address behind any translation that is visible.
    pub(super) fn responder(&self) -> IpAddr {
        self.responder.0
    }
}

/// The number of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteId(Number);

/// The routes seen so far.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: Numbered<Route>,
    /// The one that was looked up last: A and AAAA of a name go the same way.
    latest: Option<(Route, RouteId)>,
}

impl Routes {
    /// The number of a route; `None` if it is new and there is no room.
    #[inline]
    pub(super) fn number(&mut self, route: &Route) -> Option<RouteId> {
        if let Some((latest, number)) = self.latest
            && latest == *route
        {
            return Some(number);
        }
        let same = |known: &Route, one: &Route| known == one;
        let number = self.known.number_within(route, MAX_ROUTES, same, |route| *route)?;
        self.latest = Some((*route, RouteId(number)));
        Some(RouteId(number))
    }

    /// All of them that have a row, in the order in which they came.
    pub(super) fn rows<'a, V>(
        &'a self,
        rows: &'a ByRoute<V>,
    ) -> impl Iterator<Item = (&'a Route, &'a V)> {
        self.known.known().iter().zip(&rows.0)
    }
}

/// A row for each route.
#[derive(Debug, Clone)]
pub(super) struct ByRoute<V>(Vec<V>);

impl<V> Default for ByRoute<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> ByRoute<V> {
    /// The row of a route.
    pub(super) fn row(&mut self, RouteId(number): RouteId) -> &mut V {
        let place = number.place();
        if place >= self.0.len() {
            self.0.resize_with(place + 1, V::default);
        }
        &mut self.0[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_keeps_its_row_and_those_without_room_have_none() {
        let route = |n: usize| Route {
            client: Host(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes())),
            server: Host([10, 96, 0, 10].into()),
            responder: Host([10, 244, 0, 2].into()),
        };
        let (mut routes, mut rows) = (Routes::default(), ByRoute::<usize>::default());
        for n in 0..MAX_ROUTES {
            *rows.row(routes.number(&route(n)).unwrap()) = n;
        }
        assert!(routes.number(&route(MAX_ROUTES)).is_none());
        *rows.row(routes.number(&route(7)).unwrap()) += 1;
        let found: Vec<_> = routes.rows(&rows).skip(7).take(2).collect();
        assert_eq!(found, [(&route(7), &8), (&route(8), &8)]);
    }
}
