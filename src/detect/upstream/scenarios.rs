//! Scenarios that the tests of the rules about upstreams share: a pod, a DNS pod that answers
//! names of the cluster, and an upstream behind it.

/// The hosts, and 30 s of cluster names, answered at once.
pub(in crate::detect) const CLUSTER: &str = "pod = 10.244.0.2
    core = 10.244.1.10
    up = 192.0.2.53
    other = 192.0.2.54
    repeat 30 every 1
    0.0    pod:40000 > core id 1 rd A redis.default.svc.cluster.local.
    0.0005 pod:40000 < core id 1 aa redis.default.svc.cluster.local. 5 A 10.96.0.20
    end\n";

/// Cluster names that fail, as if the DNS pod itself were in trouble.
pub(in crate::detect) const CLUSTER_FAILS: &str = "repeat 10 every 3 from 0.5
    0.0   pod:60000 > core id 3 rd A mysql.default.svc.cluster.local.
    0.020 pod:60000 < core id 3 SERVFAIL
    end\n";

/// `times` questions for `name`, one every six seconds, that are told `rcode` after `wait`.
pub(in crate::detect) fn told(times: u32, name: &str, rcode: &str, wait: f64) -> String {
    format!(
        "{CLUSTER}repeat {times} every 6 from 1
         0.0    pod:20000 > core id 2 rd A {name}
         {wait} pod:20000 < core id 2 {rcode}
         end\n"
    )
}

/// The same, and the DNS pod asks the upstream, which says `rcode` (or nothing) after 10 ms.
pub(in crate::detect) fn passed_on(times: u32, rcode: Option<&str>, wait: f64) -> String {
    let reply = rcode.map_or_else(String::new, |rcode| {
        format!("0.010 core:30000 < up id 7 {rcode}\n0.510 core:30001 < up id 8 {rcode}\n")
    });
    format!(
        "{}repeat {times} every 6 from 1
         0.001 core:30000 > up id 7 rd A n{{n}}.example.com.
         0.501 core:30001 > up id 8 rd A n{{n}}.example.com.
         {reply}end\n",
        told(times, "n{n}.example.com.", rcode.unwrap_or("SERVFAIL"), wait)
    )
}
