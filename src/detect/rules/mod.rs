//! One file a rule.

mod empty_noerror;
mod mtu_fragment;
mod search_suffix_storm;
mod stale_backend;
mod tc_no_tcp;
mod tc_tcp_fails;
mod timeout_retries;
mod upstream_refused;
mod upstream_servfail;
mod upstream_tcp_unsupported;
mod upstream_timeout;

use super::Descriptor;

/// Every rule, in the order of their ids.
pub static ALL: &[&Descriptor] = &[
    &empty_noerror::DETECTOR,
    &mtu_fragment::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &stale_backend::DETECTOR,
    &tc_no_tcp::DETECTOR,
    &tc_tcp_fails::DETECTOR,
    &timeout_retries::DETECTOR,
    &upstream_refused::DETECTOR,
    &upstream_servfail::DETECTOR,
    &upstream_tcp_unsupported::DETECTOR,
    &upstream_timeout::DETECTOR,
];
