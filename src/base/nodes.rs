//! Which node each client lives on, where somebody says so: better than guessing by prefix, above
//! all where a cloud gives pods of all nodes addresses of one range (rulebook 6.6).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use super::net::Network;

/// A node and the addresses of what runs on it. One node is told from another by its name.
#[derive(Debug, Default)]
pub struct Node {
    name: String,
    ranges: BTreeSet<(IpAddr, u8)>,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `address` lives on it.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|(first, bits)| in_range(address, *first, *bits))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Node {}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Node {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// All nodes that are known; none by default.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    /// The longest prefix first.
    ranges: Vec<(u8, IpAddr, &'static Node)>,
}

impl Nodes {
    /// From node names, each with a prefix of addresses that live on it: the node's pod range, or
    /// one pod with the length of a whole address. A node may come several times.
    ///
    /// What is made here is kept until the program ends, so that a [`Network`] stays a plain value.
    pub fn new<'a>(known: impl IntoIterator<Item = (&'a str, IpAddr, u8)>) -> Self {
        let mut nodes: BTreeMap<&str, Node> = BTreeMap::new();
        for (name, first, bits) in known {
            let node = nodes.entry(name).or_default();
            name.clone_into(&mut node.name);
            node.ranges.insert((first, bits));
        }
        let mut ranges: Vec<(u8, IpAddr, &'static Node)> = Vec::new();
        for node in nodes.into_values() {
            let node: &'static Node = Box::leak(Box::new(node));
            ranges.extend(node.ranges.iter().map(|(first, bits)| (*bits, *first, node)));
        }
        ranges.sort_by_key(|(bits, first, node)| (std::cmp::Reverse(*bits), *first, *node));
        Self { ranges }
    }

    /// The node that `address` lives on, if it is known.
    pub fn node_of(&self, address: IpAddr) -> Option<&'static Node> {
        let held = |(bits, first, _): &&(u8, IpAddr, _)| in_range(address, *first, *bits);
        self.ranges.iter().find(held).map(|(.., node)| *node)
    }

    /// The group that findings put `address` into: its node, or its prefix where that is not known.
    pub fn group(&self, address: IpAddr) -> Network {
        self.node_of(address).map_or_else(|| Network::of(address), Network::Node)
    }
}

fn in_range(address: IpAddr, first: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (address, first) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let rest = u32::from(width.max(bits) - bits);
    one.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_belongs_to_its_node_and_else_to_its_prefix() {
        let nodes = Nodes::new([
            ("worker-1", ip("10.244.1.0"), 24),
            ("worker-2", ip("10.244.2.0"), 23),
            ("worker-2", ip("10.0.0.7"), 32),
            ("worker-3", ip("10.244.1.9"), 32),
            ("worker-3", ip("fd00::3:0"), 112),
        ]);
        let group = |text: &str| nodes.group(ip(text)).to_string();
        assert_eq!(group("10.244.1.8"), "worker-1");
        assert_eq!(group("10.244.1.9"), "worker-3");
        assert_eq!(group("10.244.3.200"), "worker-2");
        assert_eq!(group("10.0.0.7"), "worker-2");
        assert_eq!(group("10.0.0.8"), "10.0.0.0/24");
        assert_eq!(group("fd00::3:9"), "worker-3");
        assert!(nodes.group(ip("10.0.0.7")).contains(ip("10.244.2.1")));
        assert!(!nodes.group(ip("10.0.0.7")).contains(ip("10.0.0.8")));
        assert_eq!(Nodes::default().group(ip("10.0.0.8")).to_string(), "10.0.0.0/24");
    }
}
