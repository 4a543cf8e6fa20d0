//! Where the latest datagrams belong: a capture on every interface shows each of them up to four times
//! within microseconds, and only the first time is it worth a search.

/// An attempt or a response of an open entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Landed {
    /// The entry's serial number.
    pub(super) serial: u64,
    /// Which of its attempts it is, or for a response which of those.
    pub(super) nth: u8,
}

/// The latest datagrams, by the digest of their message. Direct-mapped: whoever finds his place taken is
/// searched for again.
#[derive(Debug)]
pub(super) struct Latest(Box<[Option<(u64, Landed)>]>);

impl Latest {
    /// Number of places: with the entries they lead to they stay in a core's first-level cache.
    const PLACES: usize = 256;

    /// Notes where a message with this digest belongs; nowhere, if it might belong to another of the same
    /// client as well.
    pub(super) fn note(&mut self, digest: u64, landed: Option<Landed>) {
        if let Some(place) = self.0.get_mut(place(digest)) {
            *place = landed.map(|landed| (digest, landed));
        }
    }

    /// Where the latest message with this digest belonged.
    #[inline]
    pub(super) fn find(&self, digest: u64) -> Option<Landed> {
        let (known, landed) = (*self.0.get(place(digest))?)?;
        (known == digest).then_some(landed)
    }
}

impl Default for Latest {
    fn default() -> Self {
        Self(vec![None; Self::PLACES].into_boxed_slice())
    }
}

#[inline]
fn place(digest: u64) -> usize {
    let [.., low] = digest.to_be_bytes();
    usize::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_found_by_the_whole_digest() {
        let mut latest = Latest::default();
        let landed = Landed { serial: 7, nth: 2 };
        latest.note(0x1_0005, Some(landed));
        assert_eq!(latest.find(0x1_0005), Some(landed));
        assert_eq!(latest.find(0x2_0005), None);
        latest.note(0x2_0005, None);
        assert_eq!((latest.find(0x1_0005), latest.find(0x2_0005)), (None, None));
    }
}
