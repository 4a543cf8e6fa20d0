//! Answers sent to a link address that their client's host does not have (any more).
//!
//! A host whose link address changed (a node that came back with a new VTEP, rulebook 2.B) is sent the
//! answers of those that still know the old one: its interface records them, and nobody takes them. In
//! a cooked capture their packet type says so; an Ethernet frame holds both addresses, and the queries
//! show which one is the client's.
//!
//! Where two routers share a way, answers rightly come by another one than the queries went. What tells
//! the two cases apart is what the clients do: those that do not get their answers ask again.

use std::time::Duration;

use super::model::{Response, Transaction, Undelivered};
use super::sighting::Sighting;
use crate::base::{Host, Map};
use crate::capture::PointId;

/// Clients whose link addresses are known.
const MAX_SENDERS: usize = 4_096;
/// Senders that are told apart; only where answers go astray is there any.
const MAX_WAYS: usize = 64;
/// Questions repeated after their answer that prove a way wrong, and how many may not be repeated for each
/// that is: a resolver that takes a new port for every try repeats nothing.
const PROOF: u32 = 3;
const UNREPEATED: u32 = 4;
/// No resolver's timer is shorter; what follows an answer sooner is no retry for the want of one.
const TIMER: Duration = Duration::from_millis(900);

/// A link address of one interface.
type Address = [u8; 6];

/// The address, if it is that of one interface and not of a group (IEEE 802).
#[inline]
fn unicast(address: Option<Address>) -> Option<Address> {
    address.filter(|[first, ..]| first & 1 == 0)
}

/// A client as it is seen at one place.
type Seen = (PointId, Option<u32>, Host);

fn seen(sighting: &Sighting<'_>) -> Seen {
    (sighting.via.point, sighting.via.interface, Host(sighting.client.ip()))
}

/// Where clients are, and what became of answers that were sent elsewhere.
#[derive(Debug, Default)]
pub(super) struct Astray {
    /// The link addresses that queries last came from, where frames have two of them.
    senders: Map<Seen, Address>,
    /// What became of the answers to each that went elsewhere.
    ways: Vec<Way>,
}

#[derive(Debug)]
struct Way {
    sender: Address,
    repeated: u32,
    unrepeated: u32,
}

impl Way {
    fn is_wrong(&self) -> bool {
        self.repeated >= PROOF && self.repeated.saturating_mul(UNREPEATED) >= self.unrepeated
    }
}

impl Astray {
    /// Notes where a query came from.
    #[inline]
    pub(super) fn sent(&mut self, sighting: &Sighting<'_>) {
        if sighting.via.link_dst.is_some() {
            self.note(sighting);
        }
    }

    fn note(&mut self, sighting: &Sighting<'_>) {
        let Some(sender) = unicast(sighting.via.link_src) else { return };
        let seen = seen(sighting);
        if let Some(known) = self.senders.get_mut(&seen) {
            *known = sender;
        } else if self.senders.len() < MAX_SENDERS {
            self.senders.insert(seen, sender);
        }
    }

    /// Whether a response was sent to another address than its client's queries come from here.
    #[inline]
    pub(super) fn is_astray(&self, sighting: &Sighting<'_>) -> bool {
        sighting.via.link_dst.is_some() && self.is_elsewhere(sighting)
    }

    fn is_elsewhere(&self, sighting: &Sighting<'_>) -> bool {
        let receiver = unicast(sighting.via.link_dst);
        let sender = self.senders.get(&seen(sighting));
        receiver.zip(sender).is_some_and(|(receiver, sender)| receiver != *sender)
    }

    /// Decides about the answers of a finished transaction that were not meant for its client's address.
    pub(super) fn judge(&mut self, transaction: &mut Transaction) {
        let astray = |response: &&Response| response.lost == Some(Undelivered::Elsewhere);
        let Some(first) = transaction.responses.iter().find(astray) else { return };
        let arrived = first.arrived().ts;
        let repeated = transaction.last_sent().is_some_and(|last| last.ts.is_past(arrived, TIMER));
        let client = Host(transaction.client.ip());
        let place = first.hops.first().map(|hop| (hop.via.point, hop.via.interface, client));
        let wrong = place.is_some_and(|place| self.is_wrong(&place, repeated));
        for response in &mut transaction.responses {
            if response.lost == Some(Undelivered::Elsewhere) {
                response.lost = wrong.then_some(Undelivered::OtherHost);
            }
        }
    }

    /// Counts one more that was asked again for, or not, and says whether that is the rule.
    fn is_wrong(&mut self, place: &Seen, repeated: bool) -> bool {
        let Some(sender) = self.senders.get(place).copied() else { return false };
        let at = self.ways.iter().position(|way| way.sender == sender).unwrap_or_else(|| {
            if self.ways.len() < MAX_WAYS {
                self.ways.push(Way { sender, repeated: 0, unrepeated: 0 });
            }
            self.ways.len() - 1
        });
        let Some(way) = self.ways.get_mut(at).filter(|way| way.sender == sender) else {
            return false;
        };
        let count = if repeated { &mut way.repeated } else { &mut way.unrepeated };
        *count = count.saturating_add(1);
        way.is_wrong()
    }
}
