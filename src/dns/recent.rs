//! Messages read a moment ago: a capture on every interface shows each of them up to four times.

use super::parse::parse;
use super::{Header, Message, NameCache};

/// Reads messages into a list, and those that it read a moment ago only once.
///
/// Like [`NameCache`] it is direct-mapped and changes no result: the same bytes are the same
/// message, and whoever finds his place taken is read anew.
pub struct RecentMessages {
    slots: Box<[Slot]>,
    names: NameCache,
    list: Vec<Message>,
    /// Messages in the lists before this one.
    before: usize,
}

/// What one message was read from; empty where nothing was.
#[derive(Clone, Default)]
struct Slot {
    payload: Vec<u8>,
    wire_len: usize,
    /// How many messages were read before it.
    serial: usize,
}

impl RecentMessages {
    /// Number of places. Copies follow each other within microseconds; the bytes of 256 messages
    /// stay in a core's L2 cache.
    const SLOTS: usize = 256;

    /// An empty store.
    pub fn new() -> Self {
        Self {
            slots: vec![Slot::default(); Self::SLOTS].into_boxed_slice(),
            names: NameCache::new(),
            list: Vec::new(),
            before: 0,
        }
    }

    /// The message that `payload` holds, and its place in the list; `None` if it is shorter than a
    /// header. See [`parse`](super::parse()).
    pub fn message(&mut self, payload: &[u8], wire_len: usize) -> Option<(usize, &Message)> {
        let slot = self.slots.get_mut(slot_of(payload)?)?;
        let known = (slot.payload == payload && slot.wire_len == wire_len)
            .then(|| slot.serial.checked_sub(self.before))
            .flatten();
        let place = if let Some(place) = known {
            place
        } else {
            let place = self.list.len();
            self.list.push(parse(payload, wire_len, &mut self.names)?);
            slot.payload.clear();
            slot.payload.extend_from_slice(payload);
            (slot.wire_len, slot.serial) = (wire_len, self.before + place);
            place
        };
        Some((place, self.list.get(place)?))
    }

    /// The list, which begins anew.
    pub fn take(&mut self) -> Vec<Message> {
        self.before += self.list.len();
        let next = Vec::with_capacity(self.list.len());
        std::mem::replace(&mut self.list, next)
    }
}

/// The slot of a message, by its id and whether it is a response. Ids are drawn at random, or counted:
/// either way their low bytes are spread evenly.
fn slot_of(payload: &[u8]) -> Option<usize> {
    let &[_, id, flags, ..] = payload.first_chunk::<{ Header::LEN }>()?;
    Some(usize::from(id ^ (flags & 0x80)))
}

impl Default for RecentMessages {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(id: u16) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes
            .extend(b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x04corp\x00\x00\x01\x00\x01");
        bytes
    }

    #[test]
    fn a_copy_is_not_read_twice_and_nothing_else_is_taken_for_one() {
        let mut recent = RecentMessages::new();
        let mut place = |bytes: &[u8], wire_len| Some(recent.message(bytes, wire_len)?.0);
        assert_eq!(place(&query(7), 26), Some(0));
        assert_eq!(place(&query(7), 26), Some(0));
        // Longer on the wire: the capture cut it.
        assert_eq!(place(&query(7), 90), Some(1));
        assert_eq!(place(b"short", 5), None);
        for id in 0..2_000 {
            let plain = parse(&query(id), 26, &mut NameCache::new()).unwrap();
            assert_eq!(*recent.message(&query(id), 26).unwrap().1, plain);
        }
    }

    #[test]
    fn each_list_holds_what_was_read_for_it() {
        let mut recent = RecentMessages::new();
        for _ in 0..3 {
            for (id, place) in [(7, 0), (8, 1), (7, 0)] {
                assert_eq!(recent.message(&query(id), 26).map(|(place, _)| place), Some(place));
            }
            let ids: Vec<u16> = recent.take().iter().map(|message| message.header.id).collect();
            assert_eq!(ids, [7, 8]);
        }
    }
}
