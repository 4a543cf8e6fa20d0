//! Names seen before, kept so that a repeated name costs no allocation.

use crate::base::digest;

use super::Name;

/// A bounded store of names, looked up by their exact bytes.
///
/// It is direct-mapped: a name has one place, by the digest of its bytes, and a newcomer takes
/// the place of whoever stood there. It never changes what a name is, only whether its bytes
/// are shared, so that no result depends on its size or history.
pub struct NameCache {
    slots: Box<[Option<Name>]>,
}

impl NameCache {
    /// Number of places. 8,192 pointers fill 128 KiB, which stays in a core's L2 cache, and hold
    /// the working set of a busy cluster many times over.
    pub const SLOTS: usize = 8192;

    /// An empty cache.
    pub fn new() -> Self {
        Self::of(Self::SLOTS)
    }

    /// A cache of `slots` places.
    pub(super) fn of(slots: usize) -> Self {
        Self { slots: vec![None; slots].into_boxed_slice() }
    }

    /// The name with these wire bytes; `None` if they are not a name.
    pub fn name(&mut self, wire: &[u8]) -> Option<Name> {
        let places = u64::try_from(self.slots.len()).unwrap_or(1).max(1);
        let place = usize::try_from(digest(wire) % places).unwrap_or(0);
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
}

impl Default for NameCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
