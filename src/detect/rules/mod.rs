//! One file a rule.

mod autopath_wrong;
mod case_mismatch;
mod cluster_nodata;
mod coredns_unsynced;
mod empty_noerror;
mod headless_nxdomain;
mod musl_parallel_conflict;
mod negative_sticky;
mod nxdomain_missing_name;
mod pod_bypasses_cluster_dns;
mod replica_divergence;
mod search_suffix_storm;
mod search_timeout_abort;
mod search_wildcard_capture;
mod stale_backend;
mod stale_pod_record;
mod statefulset_pod_nxdomain;
mod timeout_retries;

use super::Descriptor;

/// Every rule, in the order of their ids.
pub static ALL: &[&Descriptor] = &[
    &autopath_wrong::DETECTOR,
    &case_mismatch::DETECTOR,
    &cluster_nodata::DETECTOR,
    &coredns_unsynced::DETECTOR,
    &empty_noerror::DETECTOR,
    &headless_nxdomain::DETECTOR,
    &musl_parallel_conflict::DETECTOR,
    &negative_sticky::DETECTOR,
    &nxdomain_missing_name::DETECTOR,
    &pod_bypasses_cluster_dns::DETECTOR,
    &replica_divergence::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &search_timeout_abort::DETECTOR,
    &search_wildcard_capture::DETECTOR,
    &stale_backend::DETECTOR,
    &stale_pod_record::DETECTOR,
    &statefulset_pod_nxdomain::DETECTOR,
    &timeout_retries::DETECTOR,
];
