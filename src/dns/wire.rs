//! Reading wire bytes without trusting them: integers and compressed names (RFC 1035 section
//! 4.1.4).
//!
//! Every access is checked. A compression pointer must point before the labels that it was met
//! behind, so that no name can loop, and a name takes at most [`MAX_JUMPS`] of them, so that
//! reading takes time in proportion to the message.

use super::{Malformed, Name};

/// More pointers than any name of 255 bytes needs: each is worth following only for a label of
/// at least two bytes.
const MAX_JUMPS: u8 = 127;

/// The big-endian 16 bits at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*field))
}

/// The big-endian 32 bits at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*field))
}

/// A name without compression, on the stack.
pub(super) struct Expanded {
    bytes: [u8; Name::MAX_WIRE],
    length: usize,
}

impl Expanded {
    /// Room for one name.
    pub(super) fn new() -> Self {
        Self { bytes: [0; Name::MAX_WIRE], length: 0 }
    }

    /// The name's wire bytes, the root label included.
    pub(super) fn wire(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Whether it is `wire`, case folded (length bytes lie below the letters).
    pub(super) fn is(&self, wire: &[u8]) -> bool {
        self.wire().eq_ignore_ascii_case(wire)
    }

    fn push(&mut self, label: &[u8]) -> Result<(), Malformed> {
        let end = self.length + label.len();
        let room = self.bytes.get_mut(self.length..end);
        room.ok_or(Malformed::BadName)?.copy_from_slice(label);
        self.length = end;
        Ok(())
    }
}

/// Reads the name at `start` into `into`; returns where the next field begins.
pub(super) fn expand(bytes: &[u8], start: usize, into: &mut Expanded) -> Result<usize, Malformed> {
    into.length = 0;
    let (mut at, mut run, mut behind, mut jumps) = (start, start, None, 0_u8);
    loop {
        let head = *bytes.get(at).ok_or(Malformed::Short)?;
        match head >> 6 {
            0 if head == 0 => {
                into.push(&[0])?;
                return Ok(behind.unwrap_or(at + 1));
            }
            0 => {
                let end = at + 1 + usize::from(head);
                into.push(bytes.get(at..end).ok_or(Malformed::Short)?)?;
                at = end;
            }
            3 => {
                let pointer = u16_at(bytes, at).ok_or(Malformed::Short)?;
                let target = usize::from(pointer & 0x3fff);
                behind.get_or_insert(at + 2);
                jumps += 1;
                if target >= run || jumps > MAX_JUMPS {
                    return Err(Malformed::BadPointer);
                }
                (at, run) = (target, target);
            }
            _ => return Err(Malformed::BadName),
        }
    }
}

/// The wire bytes of the name at `start`, put together in `room` if need be, and where the next field
/// begins.
#[inline]
pub(super) fn name_at<'a>(
    bytes: &'a [u8],
    start: usize,
    room: &'a mut Option<Expanded>,
) -> Result<(&'a [u8], usize), Malformed> {
    if let Some(found) = whole_name(bytes, start) {
        return Ok(found);
    }
    let expanded = room.insert(Expanded::new());
    let next = expand(bytes, start, expanded)?;
    Ok((expanded.wire(), next))
}

/// The same for a name that stands in one piece: written out, or nothing but a pointer to one that is.
/// `None` means that [`expand`] has to look at it, which gives the same for all others.
#[inline]
fn whole_name(bytes: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let (from, next) = match bytes.get(start..)? {
        &[high, low, ..] if high >= 0xc0 => {
            let target = usize::from(u16::from_be_bytes([high & 0x3f, low]));
            (Some(target).filter(|target| *target < start)?, Some(start + 2))
        }
        _ => (start, None),
    };
    let end = plain_name_end(bytes, from)?;
    Some((bytes.get(from..end)?, next.unwrap_or(end)))
}

/// The end of the name at `start` if it is written out without a pointer, as a first question's
/// always is; `None` means that [`expand`] has to look at it.
pub(super) fn plain_name_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let head = *bytes.get(at)?;
        at += 1 + usize::from(head);
        if head == 0 {
            return (at - start <= Name::MAX_WIRE).then_some(at);
        }
        if head > 63 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], start: usize) -> Result<(Vec<u8>, usize), Malformed> {
        let mut name = Expanded::new();
        expand(bytes, start, &mut name).map(|next| (name.wire().to_vec(), next))
    }

    /// Bytes in which labels and pointers are frequent.
    fn names() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![0..6_u8, Just(0xc0_u8), any::<u8>()];
        prop::collection::vec(byte, 0..300)
    }

    proptest! {
        #[test]
        fn a_name_in_one_piece_is_what_expanding_gives(bytes in names(), start in 0..310_usize) {
            let mut room = None;
            let found = name_at(&bytes, start, &mut room).map(|(wire, next)| (wire.to_vec(), next));
            prop_assert_eq!(found, read(&bytes, start));
        }
    }

    #[test]
    fn a_pointer_stands_for_the_rest_of_the_name() {
        let bytes = b"\x03com\x00\x03www\xc0\x00\xff";
        assert_eq!(read(bytes, 5), Ok((b"\x03www\x03com\x00".to_vec(), 11)));
        assert_eq!(plain_name_end(bytes, 0), Some(5));
        assert_eq!(plain_name_end(bytes, 5), None);
    }

    #[test]
    fn pointers_that_do_not_point_backwards_are_refused() {
        assert_eq!(read(b"\xc0\x00", 0), Err(Malformed::BadPointer));
        assert_eq!(read(b"\x01a\xc0\x00", 0), Err(Malformed::BadPointer));
        assert_eq!(read(b"\xc0\x02\x00", 0), Err(Malformed::BadPointer));
        // Two names that point at each other.
        assert_eq!(read(b"\x01a\xc0\x04\x01b\xc0\x00", 4), Err(Malformed::BadPointer));
    }

    #[test]
    fn a_chain_of_pointers_has_an_end() {
        let mut bytes = vec![0];
        for n in 0_u16..400 {
            let target = if n == 0 { 0 } else { n * 2 - 1 };
            bytes.extend_from_slice(&(0xc000 | target).to_be_bytes());
        }
        assert_eq!(read(&bytes, bytes.len() - 2), Err(Malformed::BadPointer));
        assert_eq!(read(&bytes, 201).map(|(name, _)| name), Ok(vec![0]));
    }

    #[test]
    fn labels_of_63_and_names_of_255_bytes_are_the_most() {
        let mut longest = Vec::new();
        for length in [63_u8, 63, 63, 61] {
            longest.push(length);
            longest.extend(std::iter::repeat_n(b'x', usize::from(length)));
        }
        longest.push(0);
        assert_eq!(read(&longest, 0), Ok((longest.clone(), 255)));
        assert_eq!(plain_name_end(&longest, 0), Some(255));
        let mut longer = b"\x01y".to_vec();
        longer.extend_from_slice(&longest);
        assert_eq!(read(&longer, 0), Err(Malformed::BadName));
        assert_eq!(plain_name_end(&longer, 0), None);
        assert_eq!(read(b"\x40x", 0), Err(Malformed::BadName));
        assert_eq!(read(b"\x80x", 0), Err(Malformed::BadName));
        assert_eq!(read(b"\x05ab", 0), Err(Malformed::Short));
    }
}
