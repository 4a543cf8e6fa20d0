//! Search lists: which names are candidates of one lookup (rulebook 5.1).
//!
//! A resolver with a search list asks `base.suffix1`, `base.suffix2`, … and `base` itself, one
//! after the other, each as soon as the one before has failed. The list is not in the capture;
//! the order of the questions is.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::base::digest;
use crate::dns::Name;

/// Different names that must have gone from one suffix to another before that pair counts as
/// part of a search list (rulebook 5.1).
const ENOUGH: usize = 3;
/// How many pairs of suffixes are learned. A cluster has one per namespace and search domain.
const MAX_PAIRS: usize = 4_096;

/// The transitions between suffixes that the capture shows.
#[derive(Debug, Default)]
pub(super) struct SearchLists {
    transitions: BTreeMap<(Name, Name), Bases>,
}

#[derive(Debug, Default)]
struct Bases {
    /// Digests of the first few different names.
    seen: SmallVec<[u64; ENOUGH]>,
    count: u64,
}

/// How the next candidate continues the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Number of leading labels that are the name as the application gave it.
    pub(super) base: usize,
}

impl SearchLists {
    /// Whether `next` can be the candidate after `name`; `base` is the number of leading labels
    /// known to be the application's own, if earlier candidates showed it.
    ///
    /// `name` has just failed and `next` was asked at once by the same client: that is the
    /// caller's to know. It is noted here, so that unusual lists are learned.
    pub(super) fn next(
        &mut self,
        name: &Name,
        next: &Name,
        base: Option<usize>,
    ) -> Option<Candidate> {
        let common = name.common_prefix(next);
        if common == 0 {
            return None;
        }
        let (mine, theirs) = (name.label_count(), next.label_count());
        if let Some(base) = base {
            return (common >= base && theirs >= base && !(mine == theirs && common == mine))
                .then_some(Candidate { base });
        }
        if mine == theirs && common == mine {
            return None;
        }
        // From a suffix to the name as it is, or from the name as it is to a suffix.
        if common == theirs || common == mine {
            return Some(Candidate { base: common });
        }
        let (from, to) = (name.without_leading(common), next.without_leading(common));
        // `ns.svc.zone`, `svc.zone`, `zone`: each candidate drops labels from the left.
        if from.is_under(&to) || self.learned(&from, &to) {
            return Some(Candidate { base: common });
        }
        let pair = (from, to);
        if self.transitions.len() < MAX_PAIRS || self.transitions.contains_key(&pair) {
            let known = self.transitions.entry(pair).or_default();
            known.count += 1;
            let labels: Vec<u8> =
                next.labels().take(common).flatten().map(u8::to_ascii_lowercase).collect();
            let base = digest(&labels);
            if known.seen.len() < ENOUGH && !known.seen.contains(&base) {
                known.seen.push(base);
            }
        }
        None
    }

    fn learned(&self, from: &Name, to: &Name) -> bool {
        let pair = (from.clone(), to.clone());
        self.transitions.get(&pair).is_some_and(|known| known.seen.len() >= ENOUGH)
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
                let found = lists.next(&name(from), &name(to), base).map(|next| next.base);
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
