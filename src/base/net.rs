//! Addresses: the 5-tuple that keys every flow, and the prefix that findings are grouped by.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::address::Host;
use super::nodes::Node;
use super::text::ToText;

/// The transport of a DNS message (RFC 1035 section 4.2, RFC 7766).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// User Datagram Protocol.
    Udp,
    /// Transmission Control Protocol.
    Tcp,
}

impl ToText for Transport {}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Transport, source and destination of one packet, as it was seen at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// UDP or TCP.
    pub transport: Transport,
    /// Where the packet says it comes from.
    pub src: SocketAddr,
    /// Where it goes.
    pub dst: SocketAddr,
}

impl FiveTuple {
    /// The tuple of the way back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { transport: self.transport, src: self.dst, dst: self.src }
    }
}

impl ToText for FiveTuple {}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.transport, self.src, self.dst)
    }
}

/// The clients of one node: the node itself where it is known, else the prefix that stands for it,
/// /24 and /64, the sizes that flannel-style networks give to a node (rulebook 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// An IPv4 /24, by its first address.
    V4(Ipv4Addr),
    /// An IPv6 /64, by its first address.
    V6(Ipv6Addr),
    /// A node that the user named.
    Node(&'static Node),
}

impl Network {
    /// The prefix that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4(Ipv4Addr::new(a, b, c, 0))
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }
    }

    /// The node, where it is known.
    pub fn node(self) -> Option<&'static Node> {
        match self {
            Self::Node(node) => Some(node),
            Self::V4(_) | Self::V6(_) => None,
        }
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::Node(node) => node.holds(address),
            prefix => Self::of(address) == prefix,
        }
    }
}

/// In one step where it is a prefix, as with [`Host`].
impl Hash for Network {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match *self {
            Self::V4(first) => Host(first.into()).hash(state),
            Self::V6(first) => Host(first.into()).hash(state),
            Self::Node(node) => node.hash(state),
        }
    }
}

impl ToText for Network {}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(first) => write!(f, "{first}/24"),
            Self::V6(first) => write!(f, "{first}/64"),
            Self::Node(node) => f.write_str(node.name()),
        }
    }
}

/// Whether an address is one of the kind that a cache on the clients' own node has (NodeLocal DNSCache).
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_the_prefix_of_a_node() {
        let pod: IpAddr = "10.244.1.10".parse().unwrap();
        assert_eq!(Network::of(pod).to_string(), "10.244.1.0/24");
        assert!(Network::of(pod).contains("10.244.1.255".parse().unwrap()));
        let pod: IpAddr = "fd00:10:244:1::a".parse().unwrap();
        assert_eq!(Network::of(pod).to_string(), "fd00:10:244:1::/64");
    }
}
