//! What tells a copy of a datagram from a new datagram (rulebook 4.2, 4.6, K5).

use std::net::SocketAddr;

use super::hops::{Hop, Hops};
use super::model::{Transaction, Undelivered};
use super::nat::Nat;
use super::timing::{
    ANONYMOUS_COPY_WINDOW, COPY_WINDOW, DISORDER, MAX_LIFE, T_KEEP, T_WAIT, on_retry_grid,
};
use crate::base::{Timestamp, Transport};
use crate::capture::Seen;
use crate::dns::{AnswerKind, Message};
use crate::flow::Observed;
use crate::packet::Via;

/// Attempts of one transaction: one a second over its longest life, and a few more.
pub(super) const MAX_ATTEMPTS: usize = 128;

/// One sighting, as far as it tells copies from new datagrams.
#[derive(Debug)]
pub(super) struct Sighting<'a> {
    /// When.
    pub(super) seen: Seen,
    /// Where.
    pub(super) via: &'a Via,
    /// The socket of who asks, and the one that is asked, as they are written there.
    pub(super) client: &'a SocketAddr,
    /// See `client`.
    pub(super) server: &'a SocketAddr,
    /// UDP or TCP.
    pub(super) transport: Transport,
    /// Of the message.
    pub(super) digest: u64,
    /// Of the IP packet; `None` over TCP.
    pub(super) ip_id: Option<u16>,
    /// Whether it is a response that was seen.
    pub(super) is_response: bool,
}

impl<'a> Sighting<'a> {
    /// That of a message that was seen here.
    #[inline]
    pub(super) fn of(observed: &'a Observed, message: &Message) -> Self {
        let Observed { seen, via, tuple } = observed;
        let is_response = message.header.is_response();
        let (client, server) =
            if is_response { (&tuple.dst, &tuple.src) } else { (&tuple.src, &tuple.dst) };
        Self {
            seen: *seen,
            via,
            client,
            server,
            transport: tuple.transport,
            digest: message.digest,
            ip_id: (tuple.transport == Transport::Udp).then_some(via.ip_id).flatten(),
            is_response,
        }
    }

    /// The same as one of the places where a datagram was seen.
    #[inline]
    pub(super) fn hop(&self) -> Hop {
        let (via, server, client) = ((*self.via).into(), self.server.ip(), self.client.ip());
        Hop { seen: self.seen, via, server, client }
    }

    /// See [`Attempt::digest`](super::Attempt::digest).
    pub(super) fn digest_half(&self) -> u32 {
        let [.., a, b, c, d] = self.digest.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether it is one more hop of this response of a transaction, or of this attempt.
    #[inline]
    pub(super) fn is_datagram(&self, transaction: &Transaction, nth: u8, nat: &Nat) -> bool {
        let nth = usize::from(nth);
        // An answer may be reason enough to ask again at once (an error is for glibc).
        let hidden = |known: &Hop| {
            self.is_hidden_way(known, nat) && (self.is_response || transaction.responses.is_empty())
        };
        if self.is_response {
            let known = transaction.responses.get(nth);
            known
                .is_some_and(|known| self.continues(&known.hops, known.digest, known.ip_id, hidden))
        } else {
            let known = transaction.attempts.get(nth);
            known
                .is_some_and(|known| self.continues(&known.hops, known.digest, known.ip_id, hidden))
        }
    }

    /// Whether it is one more hop of the datagram that was seen at `hops` (rule 2), of which some may lie on
    /// a `hidden` way.
    fn continues(
        &self,
        hops: &Hops,
        digest: u32,
        ip_id: Option<u16>,
        hidden: impl Fn(&Hop) -> bool,
    ) -> bool {
        if digest != self.digest_half() || ip_id != self.ip_id {
            return false;
        }
        let Some(first) = hops.seen(0) else {
            return false;
        };
        let within = |window| self.seen.ts.is_near(first.ts, window);
        // At another capture point it may come as late as the way between the two makes it.
        let elsewhere = || !hops.is_seen_at(self.via.point);
        if self.ip_id.is_some() {
            return within(COPY_WINDOW) || (within(T_WAIT) && elsewhere());
        }
        let window = if self.transport == Transport::Tcp || elsewhere() {
            COPY_WINDOW
        } else {
            ANONYMOUS_COPY_WINDOW
        };
        within(window) && {
            let hop = self.hop();
            !hops.iter().any(|known| known.same_place(&hop) && !hidden(&known))
        }
    }

    /// Whether this and a sighting at what looks like the same place may lie on one way: a capture of every
    /// interface whose link type does not number them shows several places alike.
    fn is_hidden_way(&self, known: &Hop, nat: &Nat) -> bool {
        self.via.direction.is_some()
            && self.via.interface.is_none()
            && nat.relates(known.server, self.server.ip())
    }
}

/// Adds a place where a datagram was seen, in the order of its way; returns by how many bytes that grew.
#[inline]
pub(super) fn sight(hops: &mut Hops, hop: &Hop) -> usize {
    if hops.is_full() || hops.goes_on(hop) {
        return hops.push(hop);
    }
    let place = hops.iter().position(|known| hop.is_before(&known));
    hops.insert(place.unwrap_or(hops.len()), hop)
}

/// Whether a new datagram with this transaction's key is one more attempt of it (rule 3).
pub(super) fn takes_attempt(
    transaction: &Transaction,
    ts: Timestamp,
    last_activity: Timestamp,
) -> bool {
    if transaction.attempts.is_empty() {
        let arrived = transaction.first().ts;
        return arrived.distance(ts) <= DISORDER;
    }
    let first = transaction.first().ts;
    let full = transaction.attempts.len() >= MAX_ATTEMPTS;
    if full || ts.since(last_activity) > T_KEEP || ts.since(first) > MAX_LIFE {
        return false;
    }
    let done = transaction.responses.iter().any(|response| {
        matches!(response.lost, None | Some(Undelivered::Elsewhere))
            && !matches!(response.kind, AnswerKind::Error(_) | AnswerKind::Unknown)
    });
    let gap = transaction.last_sent().map_or(T_KEEP, |last| ts.since(last.ts));
    !done || on_retry_grid(gap)
}
