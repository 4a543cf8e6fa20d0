//! A bound of the analysis was reached: something was counted only in the totals, or given up early.
//!
//! Signature: one of the caps on memory was hit (open transactions, TCP connections and streams,
//! fragments, clients, servers, names, harmed lookups). Every cap is a named constant in the source.
//!
//! Needs: nothing. Effect: totals stay right; what is told one by one is not complete.
//!
//! Cannot tell: which of those left out would have mattered. Narrow the input (fewer files, one
//! capture point at a time) to see all of them.

use super::{CaptureRule, Facts, Health};
use crate::base::words::{list, text};

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-limit",
    title: "a bound of the analysis was reached",
    references: &["Coverage and Limit in this program's source"],
    source: include_str!("limit.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let limits = &facts.coverage.limits;
    if limits.is_empty() {
        return Vec::new();
    }
    let said =
        limits.iter().map(|(limit, n)| text!("{n} {describe}", n, describe = limit.describe()));
    vec![RULE.caution(list(said, limits.len()))]
}
