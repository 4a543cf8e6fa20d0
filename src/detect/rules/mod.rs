//! One file a rule.

mod affinity_pinned;
mod autopath_wrong;
mod backend_restart;
mod case_mismatch;
mod client_egress_blocked;
mod client_node_broken;
mod client_overload;
mod client_storm;
mod cluster_nodata;
mod conntrack_full;
mod conntrack_race_aaaa;
mod coredns_imbalance;
mod coredns_overload;
mod coredns_refused_burst;
mod coredns_unsynced;
mod dead_backend;
mod dup_query_no_effect;
mod edns_formerr_badvers;
mod empty_noerror;
mod forwarder_duplicates;
mod glibc_id_collision;
mod headless_nxdomain;
mod icmp_host_unreachable;
mod icmp_port_unreachable;
mod ipvs_stale_udp;
mod late_response;
mod lossy_path;
mod malformed;
mod mtu_fragment;
mod musl_parallel_conflict;
mod nameserver_dead_first;
mod negative_sticky;
mod nodelocal_bypassed;
mod nxdomain_missing_name;
mod path_broken_pair;
mod pod_bypasses_cluster_dns;
mod replica_divergence;
mod search_suffix_storm;
mod search_timeout_abort;
mod search_wildcard_capture;
mod service_wide_outage;
mod single_family_stall;
mod slow_or_dropped_aaaa;
mod stale_backend;
mod stale_flow_pin;
mod stale_pod_record;
mod statefulset_pod_nxdomain;
mod tc_no_tcp;
mod tc_tcp_fails;
mod timeout_retries;
mod ttl0_flood;
mod udp53_blocked;
mod unexplained_slow;
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
    &affinity_pinned::DETECTOR,
    &autopath_wrong::DETECTOR,
    &backend_restart::DETECTOR,
    &case_mismatch::DETECTOR,
    &client_egress_blocked::DETECTOR,
    &client_node_broken::DETECTOR,
    &client_overload::DETECTOR,
    &client_storm::DETECTOR,
    &cluster_nodata::DETECTOR,
    &conntrack_full::DETECTOR,
    &conntrack_race_aaaa::DETECTOR,
    &coredns_imbalance::DETECTOR,
    &coredns_overload::DETECTOR,
    &coredns_refused_burst::DETECTOR,
    &coredns_unsynced::DETECTOR,
    &dead_backend::DETECTOR,
    &dup_query_no_effect::DETECTOR,
    &edns_formerr_badvers::DETECTOR,
    &empty_noerror::DETECTOR,
    &forwarder_duplicates::DETECTOR,
    &glibc_id_collision::DETECTOR,
    &headless_nxdomain::DETECTOR,
    &icmp_host_unreachable::DETECTOR,
    &icmp_port_unreachable::DETECTOR,
    &ipvs_stale_udp::DETECTOR,
    &late_response::DETECTOR,
    &lossy_path::DETECTOR,
    &malformed::DETECTOR,
    &mtu_fragment::DETECTOR,
    &musl_parallel_conflict::DETECTOR,
    &nameserver_dead_first::DETECTOR,
    &negative_sticky::DETECTOR,
    &nodelocal_bypassed::DETECTOR,
    &nxdomain_missing_name::DETECTOR,
    &path_broken_pair::DETECTOR,
    &pod_bypasses_cluster_dns::DETECTOR,
    &replica_divergence::DETECTOR,
    &search_suffix_storm::DETECTOR,
    &search_timeout_abort::DETECTOR,
    &search_wildcard_capture::DETECTOR,
    &service_wide_outage::DETECTOR,
    &single_family_stall::DETECTOR,
    &slow_or_dropped_aaaa::DETECTOR,
    &stale_backend::DETECTOR,
    &stale_flow_pin::DETECTOR,
    &stale_pod_record::DETECTOR,
    &statefulset_pod_nxdomain::DETECTOR,
    &tc_no_tcp::DETECTOR,
    &tc_tcp_fails::DETECTOR,
    &timeout_retries::DETECTOR,
    &ttl0_flood::DETECTOR,
    &udp53_blocked::DETECTOR,
    &unexplained_slow::DETECTOR,
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

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::detect::Which;

    #[test]
    fn a_rule_is_interested_in_what_it_observes() {
        for rule in ALL {
            let code = rule.source.split("#[cfg(test)]").next().unwrap_or_default();
            let interest = (rule.new)().interest();
            let observed = ["fn observe(", "fn observe_lookup(", "fn observe_connect("]
                .map(|method| code.contains(method));
            let transactions = interest.transactions != Which::None;
            let lookups = interest.lookups != Which::None;
            assert_eq!([transactions, lookups, interest.connects], observed, "{}", rule.id);
        }
    }
}
