//! A Wireshark display filter that shows an incident.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{Network, Timestamp};
use crate::detect::Culprit;
use crate::dns::Name;
use crate::incident::Incident;

/// What comes shortly before and after belongs to the story.
const MARGIN: Duration = Duration::from_secs(1);
/// Terms of one kind; more make a filter that nobody can read.
const TERMS: usize = 5;

/// The display filter for an incident: its culprits, its window, DNS and the ICMP errors about it.
pub(super) fn display_filter(incident: &Incident) -> String {
    let cause = &incident.cause;
    let span = cause.span.widened(MARGIN);
    let mut filter = String::from("(dns || icmp || icmpv6)");
    let mut hosts = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut paths = Vec::new();
    for culprit in cause.culprits.iter().take(TERMS) {
        match culprit {
            Culprit::Service(address)
            | Culprit::Backend(address)
            | Culprit::Upstream(address)
            | Culprit::Client(address)
            | Culprit::Node(address) => {
                hosts.insert(host(*address));
            }
            Culprit::ClientSubnet(network) => {
                hosts.extend(prefix(*network));
            }
            Culprit::Path(from, to) => paths.extend(path(from, to)),
            Culprit::Name(name) | Culprit::Zone(name) => names.extend(named(name, culprit)),
        }
    }
    // A path says it all: its two ends narrow it down further than either.
    let ends = if paths.is_empty() { alternatives(hosts) } else { alternatives(paths) };
    // What contains a longer name contains the shorter one too.
    let all = names.clone();
    names.retain(|name| !all.iter().any(|other| other != name && name.contains(within(other))));
    for term in [ends, alternatives(names)].into_iter().flatten() {
        let _ = write!(filter, " && {term}");
    }
    let _ = write!(
        filter,
        " && frame.time_epoch >= {} && frame.time_epoch <= {}",
        epoch(span.start),
        epoch(span.end)
    );
    filter
}

fn alternatives(terms: impl IntoIterator<Item = String>) -> Option<String> {
    let terms: Vec<String> = terms.into_iter().take(TERMS).collect();
    match terms.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        _ => Some(format!("({})", terms.join(" || "))),
    }
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("ip.addr == {v4}"),
        IpAddr::V6(v6) => format!("ipv6.addr == {v6}"),
    }
}

fn prefix(network: Network) -> Option<String> {
    match network {
        Network::V4(_) => Some(format!("ip.addr == {network}")),
        Network::V6(_) => Some(format!("ipv6.addr == {network}")),
        // Its clients are named by the incident.
        Network::Node(_) => None,
    }
}

/// Both ends of a path, as far as they are addresses or prefixes.
fn path(from: &str, to: &str) -> Option<String> {
    let end = |text: &str| {
        let terms: Vec<String> = text.split([',', ' ']).filter_map(address_or_prefix).collect();
        alternatives(terms)
    };
    match (end(from), end(to)) {
        (Some(from), Some(to)) => Some(format!("({from} && {to})")),
        (one, other) => one.or(other),
    }
}

fn address_or_prefix(text: &str) -> Option<String> {
    let bare = text.split('/').next()?;
    let length = text.split_once('/').map_or("", |(_, length)| length);
    if !length.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some(match bare.parse().ok()? {
        IpAddr::V4(_) => format!("ip.addr == {text}"),
        IpAddr::V6(_) => format!("ipv6.addr == {text}"),
    })
}

/// Only names that a filter's quotes can hold; search suffixes may stand behind one.
fn named(name: &Name, culprit: &Culprit) -> Option<String> {
    let text = name.to_string().to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_root() || !text.chars().all(plain) {
        return None;
    }
    Some(match culprit {
        Culprit::Zone(_) => format!("lower(dns.qry.name) contains \"{text}\""),
        _ => format!("lower(dns.qry.name) contains \"{}\"", text.trim_end_matches('.')),
    })
}

/// What a term for a name looks for, without its opening quote.
fn within(term: &str) -> &str {
    term.split_once('"').map_or(term, |(_, text)| text)
}

/// Seconds since the epoch with milliseconds, without going through a float; none before it.
fn epoch(ts: Timestamp) -> String {
    let nanos = ts.nanos().max(0);
    format!("{}.{:03}", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_path_are_both_asked_for() {
        assert_eq!(
            path("10.244.0.0/24", "10.244.1.10, 10.244.2.10").unwrap(),
            "(ip.addr == 10.244.0.0/24 && (ip.addr == 10.244.1.10 || ip.addr == 10.244.2.10))"
        );
        assert_eq!(path("fd00:1::/64", "somewhere").unwrap(), "ipv6.addr == fd00:1::/64");
        assert_eq!(path("here", "there"), None);
    }

    #[test]
    fn a_hostile_name_is_no_part_of_a_filter() {
        let name = Name::from_labels([b"a\" || 1".as_slice()]).unwrap();
        assert_eq!(named(&name, &Culprit::Name(name.clone())), None);
    }

    #[test]
    fn times_are_no_floats() {
        assert_eq!(epoch(Timestamp::from_parts(1_671_710_403, 5_000_300)), "1671710403.005");
        assert_eq!(epoch(Timestamp::from_nanos(-1)), "0.000");
    }
}
