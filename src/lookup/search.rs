//! Search lists: which names are candidates of one lookup (rulebook 5.1).
//!
//! A resolver with a search list asks `base.suffix1`, `base.suffix2`, … and `base` itself, one
//! after the other, each as soon as the one before has failed. The list is not in the capture;
//! the order of the questions is.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::base::{Set, digest};
use crate::dns::{Ending, Name};

/// Different names that must have gone from one suffix to another before that pair counts as
/// part of a search list (rulebook 5.1).
const ENOUGH: usize = 3;
/// How many pairs of suffixes are learned. A cluster has one per namespace and search domain.
const MAX_PAIRS: usize = 4_096;

/// The transitions between suffixes that the capture shows.
#[derive(Debug, Default)]
pub(super) struct SearchLists {
    /// Digests of the first few different names that made the step.
    transitions: BTreeMap<(Name, Name), SmallVec<[u64; ENOUGH]>>,
}

impl SearchLists {
    /// The number of leading labels that are the application's own, if `next` can be the candidate
    /// after `name`; `base` is that number where earlier candidates showed it.
    ///
    /// `name` has just failed and `next` was asked at once by the same client: that is the
    /// caller's to know. It is noted here, so that unusual lists are learned.
    pub(super) fn next(&mut self, name: &Name, next: &Name, base: Option<usize>) -> Option<usize> {
        let (common, known) = self.step(name, next, base)?;
        if known {
            return Some(common);
        }
        let pair = (name.without_leading(common), next.without_leading(common));
        if self.transitions.len() < MAX_PAIRS || self.transitions.contains_key(&pair) {
            let known = self.transitions.entry(pair).or_default();
            let labels: Vec<u8> =
                next.labels().take(common).flatten().map(u8::to_ascii_lowercase).collect();
            let base = digest(&labels);
            if known.len() < ENOUGH && !known.contains(&base) {
                known.push(base);
            }
        }
        None
    }

    /// Whether `next` follows `name` in a list that is known already.
    pub(super) fn follows(&self, name: &Name, next: &Name, base: Option<usize>) -> bool {
        self.step(name, next, base).is_some_and(|(_, known)| known)
    }

    /// The labels that two candidates share, and whether they are known to follow each other.
    fn step(&self, name: &Name, next: &Name, base: Option<usize>) -> Option<(usize, bool)> {
        if let Some(base) = base {
            return (name != next && name.begins_like(next, base)).then_some((base, true));
        }
        let common = name.common_prefix(next);
        let (mine, theirs) = (name.label_count(), next.label_count());
        if common == 0 || (mine == theirs && common == mine) {
            return None;
        }
        // From a suffix to the name as it is, or from the name as it is to a suffix.
        if common == theirs || common == mine {
            return Some((common, true));
        }
        // `ns.svc.zone`, `svc.zone`, `zone`: each candidate drops labels from the left.
        let from = name.labels().skip(common + mine.saturating_sub(theirs));
        let to = next.labels().skip(common);
        let drops = mine >= theirs && from.zip(to).all(|(a, b)| a.eq_ignore_ascii_case(b));
        Some((common, drops || self.learned(name.ending(common), next.ending(common))))
    }

    fn learned(&self, from: Ending<'_>, to: Ending<'_>) -> bool {
        let pair = (from.to_name(), to.to_name());
        self.transitions.get(&pair).is_some_and(|known| known.len() >= ENOUGH)
    }
}

/// The suffixes that lookups went through, each made once.
#[derive(Debug, Default)]
pub(super) struct Suffixes(Set<Name>);

impl Suffixes {
    /// The name of a suffix.
    pub(super) fn name(&mut self, suffix: Ending<'_>) -> Name {
        if let Some(known) = self.0.get(&suffix) {
            return known.clone();
        }
        let name = suffix.to_name();
        if self.0.len() < MAX_PAIRS {
            self.0.insert(name.clone());
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn chain(names: &[&str]) -> Vec<Option<usize>> {
        let mut lists = SearchLists::default();
        let mut base = None;
        names
            .windows(2)
            .map(|pair| {
                let [from, to] = pair else { unreachable!() };
                let found = lists.next(&name(from), &name(to), base);
                base = base.or(found);
                found
            })
            .collect()
    }

    #[test]
    fn the_kubernetes_list_is_followed_from_its_first_use() {
        let asked = [
            "api.example.com.shop.svc.cluster.local",
            "api.example.com.svc.cluster.local",
            "api.example.com.cluster.local",
            "api.example.com.corp.example.internal",
            "api.example.com",
        ];
        assert_eq!(chain(&asked), [Some(3), Some(3), Some(3), Some(3)]);
    }

    #[test]
    fn other_names_do_not_continue_a_search() {
        assert_eq!(chain(&["redis.default.svc.cluster.local", "mysql.svc.cluster.local"]), [None]);
        assert_eq!(chain(&["www.a.example", "www.b.example"]), [None]);
    }

    #[test]
    fn an_unusual_list_is_learned_from_three_names() {
        let mut lists = SearchLists::default();
        let mut step = |host: &str| {
            let (from, to) = (format!("{host}.lab.example"), format!("{host}.corp.test"));
            lists.next(&name(&from), &name(&to), None).is_some()
        };
        assert_eq!(
            [step("a"), step("b"), step("b"), step("c"), step("d")],
            [false, false, false, false, true]
        );
    }
}
