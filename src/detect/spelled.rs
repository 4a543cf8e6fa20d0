//! What a name that is missing says by how it is spelled.

use super::zone::{ClusterName, ClusterZones};
use crate::dns::Name;

/// Names that hosts ask for on their own, whether they exist or not.
const PROBES: [&str; 5] = ["wpad", "isatap", "localhost", "localdomain", "local"];

/// Names that are denied every day in every network.
pub(super) fn is_everyday(name: &Name) -> bool {
    let labels: Vec<String> =
        name.labels().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let first = labels.first().map_or("", String::as_str);
    let last = labels.last().map_or("", String::as_str);
    last == "arpa"
        || PROBES.contains(&first)
        || PROBES.contains(&last) && labels.len() == 1
        || labels.iter().any(|label| label.starts_with('_'))
}

/// Whether all that the capture shows is a candidate that a search list made: more than a
/// Service's two labels before `svc`, and no pod. The rest of that search is missing.
pub(super) fn is_searched(candidates: &[Name]) -> bool {
    let [only] = candidates else { return false };
    ClusterName::of(only)
        .is_some_and(|parts| parts.depth() > 3 || parts.depth() == 3 && !parts.has_ordinal())
}

/// Whether it can only be meant for the cluster: in its zone, or short and searched there.
pub(super) fn is_for_cluster(name: &Name, zones: &ClusterZones) -> bool {
    let last = name.labels().last().unwrap_or_default();
    zones.is_cluster(name) || name.label_count() <= 2 && !(last.len() == 2 || is_generic(last))
}

/// Whether a short name was searched from the first suffix on, the client's own namespace. After
/// a timeout glibc asks for it as it is, and that denial says nothing.
pub(super) fn is_complete(name: &Name, candidates: &[Name], zones: &ClusterZones) -> bool {
    let own = name.label_count();
    let first = |candidate: &Name| {
        candidate.common_prefix(name) == own
            && ClusterName::of(candidate).is_some_and(|parts| parts.depth() == own + 1)
    };
    let inside = zones.is_cluster(name);
    inside || !is_for_cluster(name, zones) || candidates.iter().any(first)
}

/// The generic top-level domains that applications ask most.
fn is_generic(label: &[u8]) -> bool {
    [
        "com", "net", "org", "io", "dev", "app", "cloud", "info", "biz", "edu", "gov", "mil",
        "example", "internal", "lan", "home", "corp",
    ]
    .iter()
    .any(|tld| label.eq_ignore_ascii_case(tld.as_bytes()))
}
