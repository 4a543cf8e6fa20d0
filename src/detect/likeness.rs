//! Which name that resolves was probably meant by one that does not.

use super::zone::ClusterName;
use crate::base::words::{Text, text};
use crate::dns::Name;

/// A typo is one or two letters (rulebook 2.F), in a name long enough to be told from others.
const TYPO: usize = 2;
const LONG: usize = 8;

/// The name that resolves and is most like one of the candidates, and how they differ.
pub(super) fn nearest(candidates: &[Name], found: &[&Name]) -> Option<(Name, Text)> {
    let text = |name: &Name| name.to_string().to_ascii_lowercase();
    let long: Vec<(usize, String)> = candidates
        .iter()
        .map(|name| (name.wire().len(), text(name)))
        .filter(|(_, text)| text.len() >= LONG)
        .collect();
    let mut best: Option<(usize, &Name)> = None;
    for name in found {
        let length = name.wire().len();
        for (_, candidate) in long.iter().filter(|(other, _)| other.abs_diff(length) <= TYPO) {
            let distance = edit_distance(candidate, &text(name));
            if distance <= TYPO && best.is_none_or(|(known, _)| distance < known) {
                best = Some((distance, name));
            }
        }
    }
    if let Some((_, name)) = best {
        return Some((name.clone(), text!("one or two letters differ")));
    }
    let first = candidates.first()?;
    let moved = found.iter().find(|name| {
        let service = ClusterName::of(name);
        let short = service.as_ref().is_some_and(|parts| parts.depth() == 2);
        short && name.first_label() == first.first_label()
    })?;
    let without = first.labels().filter(|label| label.eq_ignore_ascii_case(b"svc")).count() == 0;
    let how = if without { text!("it lacks svc") } else { text!("it is in another namespace") };
    Some(((*moved).clone(), how))
}

/// Insertions, deletions, replacements and swaps between two texts, counted up to [`TYPO`] + 1.
fn edit_distance(one: &str, other: &str) -> usize {
    const MOST: usize = Name::MAX_WIRE;
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().abs_diff(other.len()) > TYPO || one.len().max(other.len()) >= MOST {
        return TYPO + 1;
    }
    let (mut before, mut row, mut next) = ([0_u16; MOST], [0_u16; MOST], [0_u16; MOST]);
    for (place, j) in row.iter_mut().zip(0..) {
        *place = j;
    }
    for (i, of_i) in (1..=one.len()).zip(1_u16..) {
        next[0] = of_i;
        let mut least_of_row = of_i;
        for j in 1..=other.len() {
            let replaced = row[j - 1] + u16::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next[j] = least;
            least_of_row = least_of_row.min(least);
        }
        if usize::from(least_of_row) > TYPO {
            return TYPO + 1;
        }
        (before, row, next) = (row, next, before);
    }
    usize::from(row[other.len()])
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
            nearest(&[Name::parse(asked).unwrap()], &[&found]).map(|(_, how)| how.to_string())
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
