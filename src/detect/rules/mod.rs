//! One file a rule.

mod backend_restart;
mod client_node_broken;
mod coredns_refused_burst;
mod dead_backend;
mod edns_formerr_badvers;
mod empty_noerror;
mod icmp_host_unreachable;
mod icmp_port_unreachable;
mod lossy_path;
mod malformed;
mod mtu_fragment;
mod nameserver_dead_first;
mod path_broken_pair;
mod search_suffix_storm;
mod service_wide_outage;
mod stale_backend;
mod tc_no_tcp;
mod tc_tcp_fails;
mod timeout_retries;
mod udp53_blocked;
mod upstream_divergent;
mod upstream_loop;
mod upstream_rate_limit;
mod upstream_refused;
mod upstream_servfail;
mod upstream_slow;
mod upstream_tcp_unsupported;
mod upstream_timeout;
mod wrong_source_reply;

use super::Descriptor;

/// Every rule, in the order of their ids.
pub static ALL: &[&Descriptor] = &[
    &backend_restart::DETECTOR,
    &client_node_broken::DETECTOR,
    &coredns_refused_burst::DETECTOR,
    &dead_backend::DETECTOR,
    &edns_formerr_badvers::DETECTOR,
    &empty_noerror::DETECTOR,
    &icmp_host_unreachable::DETECTOR,
    &icmp_port_unreachable::DETECTOR,
    &lossy_path::DETECTOR,
    &malformed::DETECTOR,
    &mtu_fragment::DETECTOR,
    &nameserver_dead_first::DETECTOR,
    &path_broken_pair::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &service_wide_outage::DETECTOR,
    &stale_backend::DETECTOR,
    &tc_no_tcp::DETECTOR,
    &tc_tcp_fails::DETECTOR,
    &timeout_retries::DETECTOR,
    &udp53_blocked::DETECTOR,
    &upstream_divergent::DETECTOR,
    &upstream_loop::DETECTOR,
    &upstream_rate_limit::DETECTOR,
    &upstream_refused::DETECTOR,
    &upstream_servfail::DETECTOR,
    &upstream_slow::DETECTOR,
    &upstream_tcp_unsupported::DETECTOR,
    &upstream_timeout::DETECTOR,
    &wrong_source_reply::DETECTOR,
];
