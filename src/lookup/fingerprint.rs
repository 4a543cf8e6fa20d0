//! What a client's lookups together say of its resolvers (rulebook section 3, classifier).

use crate::base::Few;
use crate::base::words::{Text, ToText, text};
use std::fmt;

use super::resolver::{Resolver, Sign};

/// Lookups that must show the same resolver's behaviour before it counts as probable.
const ENOUGH: u64 = 3;
/// Kinds of signs that are kept for one resolver of one client.
const MAX_SIGNS: usize = 32;

/// A resolver that some lookups of a client look like. Several may share one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// What it looks like.
    pub resolver: Resolver,
    /// How sure that is.
    pub confidence: Likelihood,
    /// How many lookups look like it.
    pub lookups: u64,
    /// What was observed, the most frequent first, with the number of lookups.
    pub observed: Vec<Text>,
}

/// How sure a fingerprint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Likelihood {
    /// Only ports, ids and options speak for it.
    Possible,
    /// At least three lookups behaved like it.
    Probable,
}

impl ToText for Likelihood {
    fn to_text(&self) -> Text {
        match self {
            Self::Possible => text!("possible"),
            Self::Probable => text!("probable"),
        }
    }
}

impl fmt::Display for Likelihood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// The signs of one resolver at one client, by the number of lookups that show each.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs {
    lookups: u64,
    behaved: u64,
    seen: Few<Sign, u64>,
}

impl Signs {
    /// Adds the signs of one lookup.
    pub(super) fn add(&mut self, signs: &[Sign]) {
        self.lookups += 1;
        self.behaved += u64::from(signs.iter().any(|sign| sign.is_behaviour()));
        for sign in signs {
            if self.seen.len() < MAX_SIGNS || self.seen.contains_key(sign) {
                *self.seen.or_insert_with(*sign, u64::default) += 1;
            }
        }
    }

    fn likelihood(&self) -> Likelihood {
        if self.behaved >= ENOUGH { Likelihood::Probable } else { Likelihood::Possible }
    }

    /// The resolver that nine of ten recognised lookups of a client look like, if there is one.
    pub(super) fn usual(resolvers: &Few<Resolver, Self>) -> Option<Resolver> {
        let told = || resolvers.iter().filter(|(resolver, _)| is_told(**resolver));
        let all: u64 = told().map(|(_, signs)| signs.lookups).sum();
        let (resolver, signs) = told().max_by_key(|(_, signs)| signs.lookups)?;
        (signs.lookups >= ENOUGH && signs.lookups * 10 >= all * 9).then_some(*resolver)
    }
}

fn is_told(resolver: Resolver) -> bool {
    !matches!(resolver, Resolver::Unknown | Resolver::Libc)
}

impl Fingerprint {
    /// The fingerprints of one client, the most frequent first.
    pub(super) fn of(resolvers: &Few<Resolver, Signs>) -> Vec<Self> {
        let mut all: Vec<Self> = resolvers
            .iter()
            .filter(|(resolver, _)| is_told(**resolver))
            .map(|(resolver, signs)| {
                let mut seen: Vec<(&Sign, &u64)> = signs.seen.iter().collect();
                seen.sort_by_key(|(sign, count)| {
                    (!sign.is_behaviour(), u64::MAX - **count, **sign)
                });
                Self {
                    resolver: *resolver,
                    confidence: signs.likelihood(),
                    lookups: signs.lookups,
                    observed: seen
                        .into_iter()
                        .map(|(sign, count)| text!("{sign} ({count})", sign, count))
                        .collect(),
                }
            })
            .collect();
        all.sort_by_key(|one| (std::cmp::Reverse(one.lookups), one.resolver));
        all
    }
}
