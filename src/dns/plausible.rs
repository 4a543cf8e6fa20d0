//! What tells the beginning of a message from other bytes.
//!
//! A TCP stream that the capture joined in the middle, or lost a piece of, says nowhere where
//! the next message begins. [`begins_message`] judges one place: the length prefix (RFC 1035
//! section 4.2.2) against the header's counts, and the first question or record.

use super::wire::{Expanded, expand, plain_name_end, u16_at};
use super::{Header, Malformed, Opcode, Question, RecordType};

impl Header {
    /// Whether opcode and counts are such as a message of `length` bytes can have.
    ///
    /// A question takes at least 5 bytes and a record 11 (RFC 1035 sections 4.1.2 and 4.1.3).
    pub(super) fn is_plausible(self, length: usize) -> bool {
        let records = [self.answers, self.authorities, self.additionals];
        let records: usize = records.into_iter().map(usize::from).sum();
        let least = Self::LEN + 5 * usize::from(self.questions) + 11 * records;
        self.opcode().is_assigned()
            && self.questions <= 1
            && least <= length
            // A query asks for something; only a stateful operation or a cookie (RFC 7873
            // section 5.4) comes without a question.
            && (self.questions == 1
                || self.is_response()
                || self.opcode() == Opcode::DSO
                || self.additionals > 0)
    }
}

/// Whether a message of `length` bytes begins with `bytes`, of which there may be fewer;
/// `None` if more of it has to be seen.
pub fn begins_message(bytes: &[u8], length: usize) -> Option<bool> {
    if length < Header::LEN {
        return Some(false);
    }
    let bytes = bytes.get(..length).unwrap_or(bytes);
    let header = Header::read(bytes)?;
    if !header.is_plausible(length) {
        return Some(false);
    }
    let records = u32::from(header.answers) + u32::from(header.authorities);
    if header.questions == 0 && records == 0 && header.additionals == 0 {
        // Nothing but a header: an error about a message that could not be read, or a stateful
        // operation.
        return Some(length == Header::LEN || header.opcode() == Opcode::DSO);
    }
    let Some(name_end) = plain_name_end(bytes, Header::LEN) else {
        // Before the first name there is nothing that it could point to.
        let name = expand(bytes, Header::LEN, &mut Expanded::new());
        let more = name == Err(Malformed::Short) && bytes.len() < length;
        return (!more).then_some(false);
    };
    let (rtype, class) = match (u16_at(bytes, name_end), u16_at(bytes, name_end + 2)) {
        (Some(rtype), Some(class)) => (RecordType(rtype), class),
        _ => return (bytes.len() >= length).then_some(false),
    };
    Some(rtype == RecordType::OPT || Question::is_usual(rtype, class))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x00\x00\x01\x00\x01";

    #[test]
    fn a_query_is_known_once_its_question_is_there() {
        assert_eq!(begins_message(QUERY, QUERY.len()), Some(true));
        assert_eq!(begins_message(&QUERY[..11], QUERY.len()), None);
        assert_eq!(begins_message(&QUERY[..15], QUERY.len()), None);
        assert_eq!(begins_message(&QUERY[..20], QUERY.len()), None);
    }

    #[test]
    fn a_length_that_cannot_hold_the_counts_is_no_beginning() {
        assert_eq!(begins_message(QUERY, 11), Some(false));
        assert_eq!(begins_message(QUERY, 16), Some(false));
        let mut many = QUERY.to_vec();
        many[7] = 9;
        assert_eq!(begins_message(&many, QUERY.len()), Some(false));
    }

    #[test]
    fn other_bytes_are_no_beginning() {
        assert_eq!(begins_message(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 28), Some(false));
        let mut odd_class = QUERY.to_vec();
        odd_class[20] = 77;
        assert_eq!(begins_message(&odd_class, QUERY.len()), Some(false));
        assert_eq!(begins_message(&[0; 40], 40), Some(false));
    }

    #[test]
    fn a_continued_zone_transfer_has_no_question() {
        let message =
            b"\0\x01\x84\0\0\0\0\x01\0\0\0\0\x01a\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        assert_eq!(begins_message(message, message.len()), Some(true));
    }
}
