//! Which ports DNS is expected on.

use smallvec::SmallVec;

use crate::base::FiveTuple;

/// The DNS port (RFC 1035 section 4.2).
const DOMAIN: u16 = 53;
/// Multicast DNS (RFC 6762) speaks from this port to this port.
const MDNS: u16 = 5353;
/// Link-local multicast name resolution (RFC 4795).
const LLMNR: u16 = 5355;

/// The ports whose UDP and TCP payload is read as DNS: 53 and those that were asked for.
///
/// mDNS and LLMNR look like DNS and are neither: their own port on both sides, or LLMNR's on
/// either, is never read, even where a server was said to listen there (`CoreDNS` behind
/// `OpenShift`'s service does listen on 5353).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    extra: SmallVec<[u16; 4]>,
}

impl Ports {
    /// Port 53 and `extra`.
    pub fn new(extra: impl IntoIterator<Item = u16>) -> Self {
        let unread = [DOMAIN, LLMNR];
        let mut extra: SmallVec<[u16; 4]> =
            extra.into_iter().filter(|port| !unread.contains(port)).collect();
        extra.sort_unstable();
        extra.dedup();
        Self { extra }
    }

    /// Whether DNS is expected on `port`.
    pub fn contains(&self, port: u16) -> bool {
        port == DOMAIN || self.extra.contains(&port)
    }

    /// Whether a packet between these ports may carry DNS.
    #[inline]
    pub fn concern(&self, src: u16, dst: u16) -> bool {
        // Nearly every packet has port 53 on one side, and then both are not multicast DNS's.
        src == DOMAIN
            || dst == DOMAIN
            || (self.contains(src) || self.contains(dst)) && !(src == MDNS && dst == MDNS)
    }

    /// Whether a message of `tuple` goes from client to server: the server's is the side with
    /// the DNS port. Where both have one (old servers query from port 53), a query goes to the
    /// server and a response comes from it.
    pub fn to_server(&self, tuple: &FiveTuple, is_response: bool) -> bool {
        match (self.contains(tuple.src.port()), self.contains(tuple.dst.port())) {
            (false, true) => true,
            (true, false) => false,
            _ => !is_response,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Transport;

    fn tuple(src: &str, dst: &str) -> FiveTuple {
        FiveTuple {
            transport: Transport::Udp,
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
        }
    }

    #[test]
    fn port_53_and_the_asked_for_ones_concern_dns() {
        let ports = Ports::new([8053, 5353, 5355, 53]);
        assert!(ports.concern(40000, 53) && ports.concern(53, 40000));
        assert!(ports.concern(40000, 8053) && !Ports::default().concern(40000, 8053));
        assert!(ports.concern(40000, 5353), "a server behind a service");
        assert!(!ports.concern(5353, 5353), "multicast DNS");
        assert!(!ports.concern(40000, 5355), "LLMNR");
    }

    #[test]
    fn one_dns_port_is_enough_unless_both_are_multicast_dns() {
        let ports = Ports::new([8053, 5353]);
        let some = [0, 53, 8053, 5353, 5355, 40_000];
        for (src, dst) in some.into_iter().flat_map(|src| some.map(|dst| (src, dst))) {
            let one = ports.contains(src) || ports.contains(dst);
            let multicast = src == MDNS && dst == MDNS;
            assert_eq!(ports.concern(src, dst), one && !multicast, "{src} {dst}");
        }
    }

    #[test]
    fn the_server_has_the_dns_port_or_else_the_answers() {
        let ports = Ports::default();
        assert!(ports.to_server(&tuple("10.0.0.1:4000", "10.0.0.2:53"), true));
        assert!(!ports.to_server(&tuple("10.0.0.2:53", "10.0.0.1:4000"), false));
        assert!(ports.to_server(&tuple("10.0.0.1:53", "10.0.0.2:53"), false));
        assert!(!ports.to_server(&tuple("10.0.0.1:53", "10.0.0.2:53"), true));
    }
}
