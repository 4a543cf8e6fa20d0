//! What this capture cannot show (rulebook 2.A): the `cap-*` rules.
//!
//! [`Watch`] looks at frames as they come, [`Directions`] at closed transactions and lookups; each
//! rule is one file that judges, at the end, what these two and the account of frames have counted.
//! Rules mute and demote nothing themselves: see [`super::demote`].

mod clock;
mod copies;
mod directions;
mod edge;
mod facts;
mod filter_blind;
mod gap;
mod limit;
mod loss;
mod model;
mod one_sided;
mod order;
mod pace;
mod paces;
mod snaplen;
mod watch;

pub(super) use directions::{Directions, Loss, Sided};
pub(super) use facts::{Facts, judge};
pub use model::{CaptureRule, Health};
pub(super) use paces::Paces;
pub(super) use watch::{Notice, Watch};

/// Every rule about the capture itself, in the order of their ids.
pub static CAPTURE_RULES: &[&CaptureRule] = &[
    &clock::RULE,
    &copies::RULE,
    &edge::RULE,
    &filter_blind::RULE,
    &gap::RULE,
    &limit::RULE,
    &loss::RULE,
    &one_sided::RULE,
    &order::RULE,
    &snaplen::RULE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_order_explained_and_sourced() {
        assert!(CAPTURE_RULES.is_sorted_by(|a, b| a.id < b.id));
        for rule in CAPTURE_RULES {
            assert!(rule.id.starts_with("cap-"), "{}", rule.id);
            assert!(rule.explanation().lines().count() >= 5, "{}", rule.id);
            assert!(!rule.references.is_empty(), "{}", rule.id);
        }
    }
}
