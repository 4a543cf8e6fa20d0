//! Kinds of names: the first question of every triage (rulebook section 1, S4).

use std::collections::BTreeSet;
use std::fmt;

use crate::dns::Name;

/// What kind of name it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// A Service of the cluster.
    Cluster,
    /// A headless Service, known by names below it.
    Headless,
    /// A pod's own name, below its headless Service.
    Pod,
    /// A name of the Internet.
    External,
    /// A name of a private zone outside the cluster.
    Private,
    /// A reverse lookup.
    Reverse,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Headless => "headless",
            Self::Pod => "pod",
            Self::External => "external",
            Self::Private => "private",
            Self::Reverse => "reverse",
        })
    }
}

/// Top-level labels that no public zone has (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`).
const PRIVATE: [&str; 9] =
    ["local", "internal", "lan", "home", "corp", "intranet", "private", "test", "localdomain"];

impl NameKind {
    /// The kind of `name`. `headless` holds Services below which names were asked.
    pub fn of(name: &Name, headless: &BTreeSet<Name>) -> Self {
        let labels: Vec<String> =
            name.labels().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect();
        let last = labels.last().map_or("", String::as_str);
        if last == "arpa" {
            return Self::Reverse;
        }
        // An SRV name (`_client._tcp.etcd`) is the Service's own.
        let ports = labels.iter().take_while(|label| label.starts_with('_')).count();
        let labels = labels.get(ports..).unwrap_or_default();
        let service = labels.iter().position(|label| label == "svc");
        match service {
            Some(at) if at >= 3 => Self::Pod,
            Some(_) if headless.contains(&name.without_leading(ports)) => Self::Headless,
            Some(_) => Self::Cluster,
            None if is_pod(labels) => Self::Pod,
            None if labels.len() <= 2 && !is_public(last) => Self::Cluster,
            None if PRIVATE.contains(&last) => Self::Private,
            None => Self::External,
        }
    }
}

/// `10-0-0-5.shop.pod.cluster.local`: an address in words, as CoreDNS knows pods by.
fn is_pod(labels: &[String]) -> bool {
    let in_words = |label: &str| {
        label.contains('-') && label.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
    };
    matches!(labels, [address, _, pod, _, ..] if pod == "pod" && in_words(address))
}

/// A short name (`redis`, `redis.shop`) is a Service unless its last label is a public zone's:
/// those of two letters are countries', and a few generic ones are everywhere.
fn is_public(last: &str) -> bool {
    const GENERIC: [&str; 14] = [
        "com", "net", "org", "io", "dev", "app", "cloud", "info", "biz", "edu", "gov", "mil",
        "example", "arpa",
    ];
    last.len() == 2 || GENERIC.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_by_their_labels() {
        let kind = |text: &str| NameKind::of(&Name::parse(text).unwrap(), &BTreeSet::new());
        assert_eq!(kind("redis.default.svc.cluster.local"), NameKind::Cluster);
        assert_eq!(kind("payments.shop"), NameKind::Cluster);
        assert_eq!(kind("etcd-0.etcd.default.svc.k8s.prod.corp"), NameKind::Pod);
        assert_eq!(kind("_client._tcp.kafka.default.svc.cluster.local"), NameKind::Cluster);
        assert_eq!(kind("_client._tcp.k-0.kafka.default.svc.cluster.local"), NameKind::Pod);
        assert_eq!(kind("10-0-0-5.shop.pod.cluster.local"), NameKind::Pod);
        assert_eq!(kind("a.pod.example.com"), NameKind::External);
        assert_eq!(kind("api.example.com"), NameKind::External);
        assert_eq!(kind("db.corp.example.internal"), NameKind::Private);
        assert_eq!(kind("10.0.96.10.in-addr.arpa"), NameKind::Reverse);
        let known = "kafka.default.svc.cluster.local";
        let headless = BTreeSet::from([Name::parse(known).unwrap()]);
        let service = Name::parse(&format!("_client._tcp.{known}")).unwrap();
        assert_eq!(NameKind::of(&service, &headless), NameKind::Headless);
    }
}
