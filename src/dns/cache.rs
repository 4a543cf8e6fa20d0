//! Names and records seen before, kept so that repeated ones cost no allocation.

use std::sync::Arc;

use super::{Name, Records};
use crate::base::digest;

/// A bounded store of names, looked up by their exact bytes, and of what records say.
///
/// It is direct-mapped: a name has one place, by the digest of its bytes, and a newcomer takes
/// the place of whoever stood there. It never changes what a name is, only whether its bytes
/// are shared, so that no result depends on its size or history. The same holds for records: nearly
/// all negative answers of a zone say the same.
pub struct NameCache {
    slots: Box<[Option<Name>]>,
    records: Box<[Option<Arc<Records>>]>,
    /// What a message without records says.
    silence: Arc<Records>,
}

impl NameCache {
    /// Number of places. 8,192 pointers fill 128 KiB, which stays in a core's L2 cache, and hold
    /// the working set of a busy cluster many times over.
    pub const SLOTS: usize = 8192;

    /// Places for names to one for records: answers that have addresses seldom come back with the
    /// same TTL.
    const NAMES_A_RECORD: usize = 16;

    /// An empty cache.
    pub fn new() -> Self {
        Self::of(Self::SLOTS)
    }

    /// A cache of `slots` places.
    pub(super) fn of(slots: usize) -> Self {
        let records = vec![None; slots.div_ceil(Self::NAMES_A_RECORD)].into_boxed_slice();
        Self { slots: vec![None; slots].into_boxed_slice(), records, silence: Arc::default() }
    }

    /// The name with these wire bytes; `None` if they are not a name.
    pub fn name(&mut self, wire: &[u8]) -> Option<Name> {
        let place = place(digest(wire), self.slots.len());
        let slot = self.slots.get_mut(place)?;
        match slot {
            Some(known) if known.wire() == wire => Some(known.clone()),
            _ => {
                let name = Name::from_wire(wire)?;
                *slot = Some(name.clone());
                Some(name)
            }
        }
    }

    /// The same records, shared with messages that said the same before.
    #[inline]
    pub(super) fn records(&mut self, records: &mut Records) -> Arc<Records> {
        if records.is_silent() { Arc::clone(&self.silence) } else { self.telling(records) }
    }

    /// The same for records that say something; they are taken if they are new.
    fn telling(&mut self, records: &mut Records) -> Arc<Records> {
        let place = place(records.digest(), self.records.len());
        let slot = self.records.get_mut(place);
        if let Some(Some(known)) = &slot
            && known.is_spelled_like(records)
        {
            return Arc::clone(known);
        }
        let records = Arc::new(std::mem::take(records));
        if let Some(slot) = slot {
            *slot = Some(Arc::clone(&records));
        }
        records
    }
}

/// The one of so many places that belongs to a digest: as far into them as the digest is into all
/// digests, which takes no division.
#[inline]
fn place(digest: u64, places: usize) -> usize {
    let scaled = u128::from(digest) * u128::try_from(places).unwrap_or(0);
    usize::try_from(scaled >> u64::BITS).unwrap_or(0)
}

impl Default for NameCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Soa;

    #[test]
    fn a_name_seen_again_shares_its_bytes_and_keeps_its_case() {
        let mut cache = NameCache::new();
        let first = cache.name(b"\x03Com\x00").unwrap();
        let again = cache.name(b"\x03Com\x00").unwrap();
        assert!(std::ptr::eq(first.wire(), again.wire()));
        let other = cache.name(b"\x03com\x00").unwrap();
        assert_eq!(first, other);
        assert!(!first.same_case(&other));
        assert!(cache.name(b"\x03co").is_none());
    }

    #[test]
    fn more_names_than_places_are_still_told_apart() {
        let mut cache = NameCache::new();
        for n in 0..3 * NameCache::SLOTS {
            let label = format!("n{n}");
            let name = Name::from_labels([label.as_bytes()]).unwrap();
            assert!(cache.name(name.wire()).unwrap().same_case(&name));
        }
    }

    #[test]
    fn records_that_say_the_same_are_one() {
        let mut cache = NameCache::new();
        let answer = |ttl| Records { min_ttl: Some(ttl), matching: 1, ..Records::default() };
        let first = cache.records(&mut answer(30));
        assert!(Arc::ptr_eq(&first, &cache.records(&mut answer(30))));
        assert_eq!(*cache.records(&mut answer(29)), answer(29));
        // Names are equal in any case, but not the same.
        for name in ["WWW.corp.", "www.corp."].map(|name| Name::parse(name).unwrap()) {
            let mut alias = Records { canonical: Some(name.clone()), ..Records::default() };
            assert!(cache.records(&mut alias).canonical.as_ref().unwrap().same_case(&name));
            let soa = Soa { owner: name.clone(), ttl: 30, minimum: None };
            let mut denial = Records { soa: Some(soa), ..Records::default() };
            assert!(cache.records(&mut denial).soa.as_ref().unwrap().owner.same_case(&name));
        }
        // With one place for all, whoever comes takes it, and nobody is taken for another.
        let mut small = NameCache::of(1);
        for ttl in [30, 29, 30] {
            assert_eq!(*small.records(&mut answer(ttl)), answer(ttl));
        }
    }
}
