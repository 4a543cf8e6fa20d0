//! One file a rule.

mod client_overload;
mod client_storm;
mod conntrack_full;
mod conntrack_race_aaaa;
mod coredns_imbalance;
mod coredns_overload;
mod dup_query_no_effect;
mod empty_noerror;
mod forwarder_duplicates;
mod glibc_id_collision;
mod late_response;
mod nodelocal_bypassed;
mod search_suffix_storm;
mod single_family_stall;
mod slow_or_dropped_aaaa;
mod stale_backend;
mod timeout_retries;
mod ttl0_flood;
mod unexplained_slow;

use super::Descriptor;

/// Every rule, in the order of their ids.
pub static ALL: &[&Descriptor] = &[
    &client_overload::DETECTOR,
    &client_storm::DETECTOR,
    &conntrack_full::DETECTOR,
    &conntrack_race_aaaa::DETECTOR,
    &coredns_imbalance::DETECTOR,
    &coredns_overload::DETECTOR,
    &dup_query_no_effect::DETECTOR,
    &empty_noerror::DETECTOR,
    &forwarder_duplicates::DETECTOR,
    &glibc_id_collision::DETECTOR,
    &late_response::DETECTOR,
    &nodelocal_bypassed::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &single_family_stall::DETECTOR,
    &slow_or_dropped_aaaa::DETECTOR,
    &stale_backend::DETECTOR,
    &timeout_retries::DETECTOR,
    &ttl0_flood::DETECTOR,
    &unexplained_slow::DETECTOR,
];
