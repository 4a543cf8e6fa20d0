//! Messages read a moment ago: a capture on every interface shows each of them up to four times.

use super::parse::parse_after;
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

impl Slot {
    /// Whether it was these bytes that were read.
    #[inline]
    fn is_of(&self, payload: &[u8], wire_len: usize) -> bool {
        self.wire_len == wire_len && self.payload == payload
    }
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

    /// The place in the list of the message that `payload` holds; `None` if it is shorter than a
    /// header. See [`parse`](super::parse()). A new message has the place behind all others.
    #[inline]
    pub fn message(&mut self, payload: &[u8], wire_len: usize) -> Option<usize> {
        let at = slot_of(payload)?;
        match self.slots.get(at) {
            Some(slot) if slot.serial >= self.before && slot.is_of(payload, wire_len) => {
                Some(slot.serial - self.before)
            }
            _ => self.read(payload, wire_len, at),
        }
    }

    /// Reads a message that is not known, and remembers it at this slot.
    #[inline(never)]
    fn read(&mut self, payload: &[u8], wire_len: usize, at: usize) -> Option<usize> {
        let place = self.list.len();
        // The slot of a response's query is its own but for QR. Should another message stand there,
        // nothing is wrong, only slower.
        let query = self
            .slots
            .get(at ^ usize::from(RESPONSE))
            .and_then(|slot| self.list.get(slot.serial.checked_sub(self.before)?));
        let message = parse_after(query, payload, wire_len, &mut self.names)?;
        self.list.push(message);
        let slot = self.slots.get_mut(at)?;
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
        (slot.wire_len, slot.serial) = (wire_len, self.before + place);
        Some(place)
    }

    /// The list, which begins anew in the room of `next`.
    pub fn take(&mut self, mut next: Vec<Message>) -> Vec<Message> {
        self.before += self.list.len();
        next.clear();
        std::mem::replace(&mut self.list, next)
    }
}

/// QR, in the third byte of a message (RFC 1035 section 4.1.1).
const RESPONSE: u8 = 0x80;

/// The slot of a message, by its id and whether it is a response. Ids are drawn at random, or counted:
/// either way their low bytes are spread evenly.
fn slot_of(payload: &[u8]) -> Option<usize> {
    let &[_, id, flags, ..] = payload.first_chunk::<{ Header::LEN }>()?;
    Some(usize::from(id ^ (flags & RESPONSE)))
}

impl Default for RecentMessages {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::parse;

    fn query(id: u16) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes
            .extend(b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x04corp\x00\x00\x01\x00\x01");
        bytes
    }

    #[test]
    fn a_copy_is_not_read_twice_and_nothing_else_is_taken_for_one() {
        let mut recent = RecentMessages::new();
        let mut place = |bytes: &[u8], wire_len| recent.message(bytes, wire_len);
        assert_eq!(place(&query(7), 26), Some(0));
        assert_eq!(place(&query(7), 26), Some(0));
        // Longer on the wire: the capture cut it.
        assert_eq!(place(&query(7), 90), Some(1));
        assert_eq!(place(b"short", 5), None);
        for id in 0..2_000 {
            let plain = parse(&query(id), 26, &mut NameCache::new()).unwrap();
            let place = recent.message(&query(id), 26).unwrap();
            assert_eq!(recent.list[place], plain);
        }
    }

    #[test]
    fn a_response_is_read_like_one_whose_query_nobody_saw() {
        let answers = |question: &[u8]| {
            let mut bytes = b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00".to_vec();
            bytes.extend(question);
            bytes.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01");
            bytes
        };
        let same = b"\x03www\x04corp\x00\x00\x01\x00\x01";
        for question in [
            &same[..],
            b"\x03wWw\x04corp\x00\x00\x01\x00\x01",
            b"\x03www\x04corp\x00\x00\x1c\x00\x01",
            b"\x03www\x04corp\x00\x00\x01\x00\x03",
            b"\x03www\x00\x00\x01\x00\x01",
            b"\x03www\x04corp\x02xy\x00\x00\x01\x00\x01",
        ] {
            let mut recent = RecentMessages::new();
            assert_eq!(recent.message(&query(7), 26), Some(0));
            let whole = answers(question);
            for length in Header::LEN..=whole.len() {
                let bytes = &whole[..length];
                let place = recent.message(bytes, whole.len()).unwrap();
                let plain = parse(bytes, whole.len(), &mut NameCache::new()).unwrap();
                assert_eq!(recent.list[place], plain, "{bytes:?}");
                let names = [&recent.list[place], &plain].map(|message| {
                    message.question.as_ref().map(|question| question.name.to_string())
                });
                assert_eq!(names[0], names[1], "the case is the response's own");
            }
        }
    }

    #[test]
    fn each_list_holds_what_was_read_for_it() {
        let mut recent = RecentMessages::new();
        for _ in 0..3 {
            for (id, place) in [(7, 0), (8, 1), (7, 0)] {
                assert_eq!(recent.message(&query(id), 26), Some(place));
            }
            let ids: Vec<u16> =
                recent.take(Vec::new()).iter().map(|message| message.header.id).collect();
            assert_eq!(ids, [7, 8]);
        }
    }
}
