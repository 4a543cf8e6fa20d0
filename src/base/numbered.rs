//! Values by number, for rows that name a few of them very often.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

/// The number of a value in one [`Numbered`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u32);

impl Number {
    /// Where it stands among [`Numbered::known`].
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// Values, each kept once. Bounded by whoever decides which ones come here.
#[derive(Debug)]
pub struct Numbered<T> {
    /// Where each value stands among the known ones.
    places: HashTable<u32>,
    known: Vec<T>,
    hasher: foldhash::fast::RandomState,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            known: Vec::new(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl<T: Hash> Numbered<T> {
    /// The number of `value`, given out when it first comes, with what `make` makes of it; `same` says
    /// whether a known value is this one, and holds for none that is hashed differently.
    pub fn number<Q: Hash + ?Sized>(
        &mut self,
        value: &Q,
        same: impl Fn(&T, &Q) -> bool,
        make: impl FnOnce(&Q) -> T,
    ) -> Number {
        let number = self.number_within(value, usize::MAX, same, make);
        number.unwrap_or(Number(u32::MAX))
    }

    /// The same of at most `most` values; `None` if it is new and there is no room.
    pub fn number_within<Q: Hash + ?Sized>(
        &mut self,
        value: &Q,
        most: usize,
        same: impl Fn(&T, &Q) -> bool,
        make: impl FnOnce(&Q) -> T,
    ) -> Option<Number> {
        let Self { places, known, hasher } = self;
        let at = |place: &u32| known.get(*place as usize);
        let hash = hasher.hash_one(value);
        let is_same = |place: &u32| at(place).is_some_and(|one| same(one, value));
        if let Some(place) = places.find(hash, is_same) {
            return Some(Number(*place));
        }
        if known.len() >= most {
            return None;
        }
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        places.insert_unique(hash, next, |place| at(place).map_or(0, |one| hasher.hash_one(one)));
        known.push(make(value));
        Some(Number(next))
    }

    /// All values, in the order of their numbers.
    pub fn known(&self) -> &[T] {
        &self.known
    }

    /// The value with this number.
    pub fn get(&self, number: Number) -> Option<&T> {
        self.known.get(number.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_number() {
        let mut numbered = Numbered::default();
        let number = |numbered: &mut Numbered<String>, text: &str| {
            numbered.number(text, |one, other| one == other, str::to_owned)
        };
        let numbers: Vec<Number> =
            (0..1_000).map(|n| number(&mut numbered, &n.to_string())).collect();
        assert_eq!(number(&mut numbered, "7"), numbers[7]);
        let within = |numbered: &mut Numbered<String>, text: &str| {
            numbered.number_within(text, 1_000, |one, other| one == other, str::to_owned)
        };
        let known = (within(&mut numbered, "7"), within(&mut numbered, "new"));
        assert_eq!((known, numbered.known().len()), ((Some(numbers[7]), None), 1_000));
        assert_eq!(numbered.get(numbers[999]).map(String::as_str), Some("999"));
    }
}
