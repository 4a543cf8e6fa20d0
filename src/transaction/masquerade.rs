//! Datagrams sent a moment ago, to know them again under another client address.

use super::sighting::Sighting;
use super::timing::ANONYMOUS_COPY_WINDOW;
use crate::base::{Map, Timestamp};

/// How many are remembered at once before the old ones are dropped: those of a moment.
const MOST: usize = 1_024;

/// The first sightings of a moment, by payload and IP identification.
#[derive(Debug, Default)]
pub(super) struct Recent(Map<(u64, u16), (Timestamp, u64)>);

impl Recent {
    /// Notes that a sighting began the transaction with this serial number.
    pub(super) fn note(&mut self, sighting: &Sighting<'_>, serial: u64) {
        let Some(ip_id) = sighting.ip_id else { return };
        let ts = sighting.seen.ts;
        if self.0.len() >= MOST {
            self.0.retain(|_, (seen, _)| ts.since(*seen) <= ANONYMOUS_COPY_WINDOW);
            if self.0.len() >= MOST {
                self.0.clear();
            }
        }
        self.0.insert((sighting.digest, ip_id), (ts, serial));
    }

    /// The transaction that began with the very same datagram a moment ago.
    pub(super) fn find(&self, sighting: &Sighting<'_>) -> Option<u64> {
        let (seen, serial) = self.0.get(&(sighting.digest, sighting.ip_id?))?;
        (sighting.seen.ts.distance(*seen) <= ANONYMOUS_COPY_WINDOW).then_some(*serial)
    }
}
