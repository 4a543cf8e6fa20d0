//! What rules mean, in other languages than English, in which their own sources say it.
//!
//! One file of `locales/` for each rule. Its first line is a comment with the digest of the English
//! that it was translated from; a test fails when that has changed.

use crate::base::Lang;

macro_rules! translated {
    ($($id:literal),* $(,)?) => {
        &[$(($id, include_str!(concat!("../../locales/zh/rules/", $id, ".md")))),*]
    };
}

/// The Chinese explanations, by rule.
static ZH: &[(&str, &str)] = translated![
    "affinity-pinned",
    "autopath-wrong",
    "backend-restart",
    "cap-clock",
    "cap-copies",
    "cap-edge",
    "cap-filter-blind",
    "cap-gap",
    "cap-limit",
    "cap-loss",
    "cap-one-sided",
    "cap-order",
    "cap-snaplen",
    "case-mismatch",
    "client-egress-blocked",
    "client-node-broken",
    "client-overload",
    "client-storm",
    "cluster-nodata",
    "conntrack-full",
    "conntrack-race-aaaa",
    "coredns-imbalance",
    "coredns-overload",
    "coredns-refused-burst",
    "coredns-unsynced",
    "dead-backend",
    "dup-query-no-effect",
    "edns-formerr-badvers",
    "empty-noerror",
    "forwarder-duplicates",
    "glibc-id-collision",
    "headless-nxdomain",
    "icmp-host-unreachable",
    "icmp-port-unreachable",
    "ipvs-stale-udp",
    "late-response",
    "lossy-path",
    "malformed",
    "mtu-fragment",
    "musl-parallel-conflict",
    "nameserver-dead-first",
    "negative-sticky",
    "nodelocal-bypassed",
    "nxdomain-missing-name",
    "path-broken-pair",
    "pod-bypasses-cluster-dns",
    "replica-divergence",
    "search-suffix-storm",
    "search-timeout-abort",
    "search-wildcard-capture",
    "service-wide-outage",
    "single-family-stall",
    "slow-or-dropped-aaaa",
    "stale-backend",
    "stale-flow-pin",
    "stale-pod-record",
    "statefulset-pod-nxdomain",
    "tc-no-tcp",
    "tc-tcp-fails",
    "timeout-retries",
    "ttl0-flood",
    "udp53-blocked",
    "unexplained-slow",
    "upstream-divergent",
    "upstream-loop",
    "upstream-rate-limit",
    "upstream-refused",
    "upstream-servfail",
    "upstream-slow",
    "upstream-tcp-unsupported",
    "upstream-timeout",
    "wrong-source-reply",
];

/// What the rule means, needs and cannot tell, as Markdown; `None` where it is not translated.
pub fn explanation(rule: &str, lang: Lang) -> Option<&'static str> {
    translated_from(rule, lang).map(|(_, docs)| docs)
}

/// The digest of the English that the explanation was translated from, and the explanation.
pub fn translated_from(rule: &str, lang: Lang) -> Option<(&'static str, &'static str)> {
    let known = match lang {
        Lang::En => return None,
        Lang::Zh => ZH,
    };
    let (_, file) = known.iter().find(|(id, _)| *id == rule)?;
    let (head, docs) = file.split_once('\n')?;
    let digest = head.strip_prefix("<!-- english: ")?.strip_suffix(" -->")?;
    Some((digest, docs.trim_start()))
}
