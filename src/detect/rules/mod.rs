//! One file a rule.

mod affinity_pinned;
mod autopath_wrong;
mod backend_restart;
mod client_egress_blocked;
mod client_node_broken;
mod coredns_unsynced;
mod dead_backend;
mod empty_noerror;
mod headless_nxdomain;
mod icmp_host_unreachable;
mod icmp_port_unreachable;
mod lossy_path;
mod mtu_fragment;
mod nameserver_dead_first;
mod negative_sticky;
mod path_broken_pair;
mod replica_divergence;
mod search_suffix_storm;
mod service_wide_outage;
mod stale_backend;
mod stale_flow_pin;
mod statefulset_pod_nxdomain;
mod tc_no_tcp;
mod tc_tcp_fails;
mod timeout_retries;
mod udp53_blocked;
mod upstream_refused;
mod upstream_servfail;
mod upstream_tcp_unsupported;
mod upstream_timeout;
mod wrong_source_reply;

use super::Descriptor;

/// Every rule, in the order of their ids.
pub static ALL: &[&Descriptor] = &[
    &affinity_pinned::DETECTOR,
    &autopath_wrong::DETECTOR,
    &backend_restart::DETECTOR,
    &client_egress_blocked::DETECTOR,
    &client_node_broken::DETECTOR,
    &coredns_unsynced::DETECTOR,
    &dead_backend::DETECTOR,
    &empty_noerror::DETECTOR,
    &headless_nxdomain::DETECTOR,
    &icmp_host_unreachable::DETECTOR,
    &icmp_port_unreachable::DETECTOR,
    &lossy_path::DETECTOR,
    &mtu_fragment::DETECTOR,
    &nameserver_dead_first::DETECTOR,
    &negative_sticky::DETECTOR,
    &path_broken_pair::DETECTOR,
    &replica_divergence::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &service_wide_outage::DETECTOR,
    &stale_backend::DETECTOR,
    &stale_flow_pin::DETECTOR,
    &statefulset_pod_nxdomain::DETECTOR,
    &tc_no_tcp::DETECTOR,
    &tc_tcp_fails::DETECTOR,
    &timeout_retries::DETECTOR,
    &udp53_blocked::DETECTOR,
    &upstream_refused::DETECTOR,
    &upstream_servfail::DETECTOR,
    &upstream_tcp_unsupported::DETECTOR,
    &upstream_timeout::DETECTOR,
    &wrong_source_reply::DETECTOR,
];
