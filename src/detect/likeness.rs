//! Which name that resolves was probably meant by one that does not.

use std::cell::OnceCell;

use super::zone::ClusterName;
use crate::base::Map;
use crate::base::words::{Text, text};
use crate::dns::Name;

/// A typo is one or two letters (rulebook 2.F), in a name long enough to be told from others.
const TYPO: usize = 2;
const LONG: usize = 8;

/// Names that resolve, spelled once, to hold others against them.
pub(super) struct Resolving<'a> {
    /// By their length: a typo changes it little. Each with its place in the order of names.
    names: Vec<(usize, Spelled<'a>)>,
    /// The first Service with each first label.
    services: Map<&'a [u8], &'a Name>,
}

/// A name as it is compared.
struct Spelled<'a> {
    name: &'a Name,
    /// Written out once it is compared letter by letter: most never are.
    text: OnceCell<String>,
    /// A bit for each letter in it.
    letters: u128,
}

impl<'a> Spelled<'a> {
    fn new(name: &'a Name) -> Self {
        let letters = name
            .labels()
            .flatten()
            .fold(0, |letters, byte| letters | 1 << (byte.to_ascii_lowercase() & 0x7f));
        Self { name, text: OnceCell::new(), letters }
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| self.name.to_string().to_ascii_lowercase())
    }

    fn length(&self) -> usize {
        self.name.wire().len()
    }

    /// The typos between them: those of the whole names, where they may be few.
    fn typos(&self, other: &Self) -> Option<usize> {
        // An edit brings in one letter at most, and takes away one at most.
        let (new, gone) = (self.letters & !other.letters, other.letters & !self.letters);
        let near = new.count_ones() as usize <= TYPO && gone.count_ones() as usize <= TYPO;
        near.then(|| edit_distance(self.text(), other.text())).filter(|typos| *typos <= TYPO)
    }
}

impl<'a> Resolving<'a> {
    pub(super) fn new(names: impl Iterator<Item = &'a Name>) -> Self {
        let names: Vec<Spelled<'a>> = names.map(Spelled::new).collect();
        let mut services = Map::default();
        for Spelled { name, .. } in &names {
            if let Some(first) = name.first_label()
                && ClusterName::of(name).is_some_and(|parts| parts.depth() == 2)
            {
                services.entry(first).or_insert(*name);
            }
        }
        let mut names: Vec<(usize, Spelled<'a>)> = names.into_iter().enumerate().collect();
        names.sort_by_key(|(_, spelled)| spelled.length());
        Self { names, services }
    }

    /// Those whose length fits a typo in `asked`.
    fn about_as_long(&self, asked: &Spelled<'_>) -> &[(usize, Spelled<'a>)] {
        let before = |length| self.names.partition_point(|(_, name)| name.length() < length);
        let length = asked.length();
        let range = before(length.saturating_sub(TYPO))..before(length + TYPO + 1);
        self.names.get(range).unwrap_or_default()
    }

    /// The name that resolves and is most like one of the candidates, and how they differ.
    pub(super) fn nearest(&self, candidates: &[Name]) -> Option<(Name, Text)> {
        let long: Vec<Spelled<'_>> =
            candidates.iter().map(Spelled::new).filter(|name| name.text().len() >= LONG).collect();
        let alike = long.iter().flat_map(|asked| {
            let found = self.about_as_long(asked).iter();
            found.filter_map(|(place, found)| Some((asked.typos(found)?, *place, found.name)))
        });
        if let Some((_, _, name)) = alike.min_by_key(|(typos, place, _)| (*typos, *place)) {
            return Some((name.clone(), text!("one or two letters differ")));
        }
        let first = candidates.first()?;
        let moved = *self.services.get(first.first_label()?)?;
        let without = first.labels().all(|label| !label.eq_ignore_ascii_case(b"svc"));
        let how = if without { text!("it lacks svc") } else { text!("it is in another namespace") };
        Some((moved.clone(), how))
    }
}

/// Insertions, deletions, replacements and swaps between two texts, counted up to [`TYPO`] + 1.
fn edit_distance(one: &str, other: &str) -> usize {
    const FAR: usize = TYPO + 1;
    const BAND: usize = 2 * TYPO + 1;
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().abs_diff(other.len()) > TYPO || one.len().max(other.len()) >= Name::MAX_WIRE {
        return FAR;
    }
    // What both begin and end with costs nothing.
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let same = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[..one.len() - same], &other[..other.len() - same]);
    // Only what lies that near to the diagonal can be few: place k of row i is column i + k - TYPO.
    let (mut before, mut row) = ([FAR; BAND + 1], [FAR; BAND + 1]);
    for (column, edits) in row[TYPO..BAND].iter_mut().enumerate() {
        *edits = column;
    }
    for i in 1..=one.len() {
        let mut next = [FAR; BAND + 1];
        for k in 0..BAND {
            let Some(j) = (i + k).checked_sub(TYPO).filter(|j| *j <= other.len()) else { continue };
            if j == 0 {
                next[k] = i;
                continue;
            }
            let left = k.checked_sub(1).map_or(FAR, |left| next[left]);
            let replaced = row[k] + usize::from(one[i - 1] != other[j - 1]);
            next[k] = replaced.min(row[k + 1] + 1).min(left + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                next[k] = next[k].min(before[k] + 1);
            }
        }
        if next.iter().all(|edits| *edits > TYPO) {
            return FAR;
        }
        (before, row) = (row, next);
    }
    row[other.len() + TYPO - one.len()].min(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_are_one_or_two_letters() {
        let distances = [("redis", "redis"), ("redis", "redsi"), ("redis", "rediss"), ("a", "xyz")]
            .map(|(one, other)| edit_distance(one, other));
        assert_eq!(distances, [0, 1, 1, 3]);
        let near = |asked: &str| {
            let found = Name::parse("redis.shop.svc.cluster.local").unwrap();
            let found = Resolving::new(std::iter::once(&found));
            found.nearest(&[Name::parse(asked).unwrap()]).map(|(_, how)| how.to_string())
        };
        assert_eq!(
            near("redsi.shop.svc.cluster.local"),
            Some("one or two letters differ".to_owned())
        );
        assert_eq!(
            near("redis.team-a.svc.cluster.local"),
            Some("it is in another namespace".to_owned())
        );
        assert_eq!(near("redis.shop.cluster.local"), Some("it lacks svc".to_owned()));
        assert_eq!(near("mysql.shop.svc.cluster.local"), None);
    }
}
