//! One file a rule.

mod affinity_pinned;
mod backend_restart;
mod client_egress_blocked;
mod client_node_broken;
mod dead_backend;
mod empty_noerror;
mod icmp_host_unreachable;
mod icmp_port_unreachable;
mod lossy_path;
mod nameserver_dead_first;
mod path_broken_pair;
mod search_suffix_storm;
mod service_wide_outage;
mod stale_backend;
mod stale_flow_pin;
mod timeout_retries;
mod udp53_blocked;
mod wrong_source_reply;

use super::Descriptor;

/// Every rule, in the order of their ids.
pub static ALL: &[&Descriptor] = &[
    &affinity_pinned::DETECTOR,
    &backend_restart::DETECTOR,
    &client_egress_blocked::DETECTOR,
    &client_node_broken::DETECTOR,
    &dead_backend::DETECTOR,
    &empty_noerror::DETECTOR,
    &icmp_host_unreachable::DETECTOR,
    &icmp_port_unreachable::DETECTOR,
    &lossy_path::DETECTOR,
    &nameserver_dead_first::DETECTOR,
    &path_broken_pair::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &service_wide_outage::DETECTOR,
    &stale_backend::DETECTOR,
    &stale_flow_pin::DETECTOR,
    &timeout_retries::DETECTOR,
    &udp53_blocked::DETECTOR,
    &wrong_source_reply::DETECTOR,
];
