//! UDP: every datagram on a DNS port is a message by itself, so nothing depends on order.

use super::sink::count;
use super::{Held, Ports};
use crate::base::{Coverage, Transport};
use crate::dns::{Malformed, Message, RecentMessages};
use crate::packet::Datagram;

/// Reads the messages of UDP datagrams into a list.
#[derive(Default)]
pub struct Datagrams {
    recent: RecentMessages,
    /// How many datagrams held each message of the list.
    sightings: Vec<u64>,
}

impl Datagrams {
    /// The place in the list of the message that a datagram on a DNS port holds, or what it holds
    /// instead. Messages are counted when the list is taken: most of them are held by several.
    ///
    /// # Errors
    /// If it holds no message.
    #[expect(clippy::inline_always, reason = "most datagrams only repeat what the one before held")]
    #[inline(always)]
    pub fn read(
        &mut self,
        datagram: &Datagram<'_>,
        ports: &Ports,
        coverage: &mut Coverage,
    ) -> Result<usize, Held> {
        if !ports.concern(datagram.src_port, datagram.dst_port) {
            return Err(Held::NotDns);
        }
        let Some(place) = self.recent.message(datagram.payload, datagram.wire_len) else {
            return Err(no_message(datagram, coverage));
        };
        match self.sightings.get_mut(place) {
            Some(sightings) => *sightings += 1,
            // Places are given in their order, so this one is the next.
            None => self.sightings.push(1),
        }
        Ok(place)
    }

    /// The list, every sighting of which is now counted in `coverage`; it begins anew in the room of
    /// `next`.
    pub fn take(&mut self, next: Vec<Message>, coverage: &mut Coverage) -> Vec<Message> {
        let messages = self.recent.take(next);
        for (message, sightings) in messages.iter().zip(self.sightings.drain(..)) {
            told(message, sightings, coverage);
        }
        messages
    }
}

/// Counts so many sightings of the message of a datagram.
pub(super) fn told(message: &Message, sightings: u64, coverage: &mut Coverage) {
    if !matches!(message.stop, None | Some(Malformed::Cut)) {
        coverage.garbled += sightings;
    }
    count(coverage, message, Transport::Udp, sightings);
}

/// Counts a datagram that holds no message.
#[cold]
pub(super) fn no_message(datagram: &Datagram<'_>, coverage: &mut Coverage) -> Held {
    let cut = datagram.payload.len() < datagram.wire_len;
    coverage.garbled += u64::from(!cut);
    if cut { Held::Cut } else { Held::NotDns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::NameCache;

    #[test]
    fn every_sighting_is_counted_once_its_list_is_taken() {
        let query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
        let refused = b"\x00\x07\x81\x85\x00\x00\x00\x00\x00\x00\x00\x00";
        let status = b"\x00\x08\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let broken = b"\x00\x09\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00";
        let sightings: [&[u8]; 8] = [query, query, refused, query, status, status, broken, broken];
        let (mut datagrams, mut counted) = (Datagrams::default(), Coverage::default());
        let mut one_by_one = Coverage::default();
        for list in sightings.chunks(5) {
            for payload in list {
                let datagram =
                    Datagram { src_port: 40_000, dst_port: 53, payload, wire_len: payload.len() };
                assert!(datagrams.read(&datagram, &Ports::default(), &mut counted).is_ok());
                let message = crate::dns::parse(payload, payload.len(), &mut NameCache::new());
                told(&message.unwrap(), 1, &mut one_by_one);
            }
            let places = datagrams.take(Vec::new(), &mut counted).len();
            assert!(places < list.len());
            assert_eq!(counted, one_by_one);
        }
        assert_eq!((counted.messages.queries, counted.messages.responses), (5, 3));
        assert_eq!((counted.garbled, counted.opcodes["STATUS"]), (2, 2));
    }
}
