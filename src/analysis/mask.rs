//! Addresses and names made strange before anything is concluded from them.
//!
//! A masked analysis never sees what was captured, so no report of it can show it. Addresses keep
//! their common prefixes (two addresses share as many leading bits as before, as in Crypto-PAn) and
//! their class: private stays private. Names are masked label by label; what every cluster has in
//! common (`svc.cluster.local`, public top-level domains, `_udp`) stays. The same key gives the same
//! strange names in every report.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::base::{FiveTuple, Map};
use crate::dns::{Message, Name, Rewrite};
use crate::flow::FlowEvent;

/// Addresses and names remembered, so that each is masked once; a full table begins anew.
const REMEMBERED: usize = 1 << 16;
/// Letters of a masked label: enough that two labels of a cluster never meet.
const LETTERS: usize = 8;
/// Labels that every cluster or resolver shares: they tell what a name is, and nobody's secrets.
const COMMON: [&str; 24] = [
    "svc",
    "pod",
    "cluster",
    "local",
    "kubernetes",
    "default",
    "kube-system",
    "kube-dns",
    "coredns",
    "in-addr",
    "ip6",
    "arpa",
    "_tcp",
    "_udp",
    "_sctp",
    "*",
    "localhost",
    "internal",
    "localdomain",
    "endpoint",
    "lan",
    "home",
    "wpad",
    "node",
];
/// Labels that tell a public name from a private one. They stay wherever they stand: a search suffix
/// may follow.
const PUBLIC: [&str; 42] = [
    "com", "net", "org", "io", "dev", "app", "cloud", "info", "biz", "edu", "gov", "mil",
    "example", "test", "cn", "hk", "tw", "jp", "kr", "sg", "in", "au", "ru", "de", "fr", "uk",
    "eu", "nl", "it", "es", "ch", "at", "se", "no", "pl", "us", "ca", "br", "mx", "co", "me", "ai",
];

/// Makes addresses and names strange, the same way for the same key.
#[derive(Debug, Clone)]
pub struct Mask {
    key: [u8; 32],
    addresses: Map<IpAddr, IpAddr>,
    names: Map<Vec<u8>, Name>,
}

impl Mask {
    /// A mask by a secret; whoever knows it can find out what a report is about.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            key: blake3::derive_key("dnswhy 2026 addresses and names of reports", secret),
            addresses: Map::default(),
            names: Map::default(),
        }
    }

    /// The address that stands for `address`.
    pub fn address(&mut self, address: IpAddr) -> IpAddr {
        if let Some(known) = self.addresses.get(&address) {
            return *known;
        }
        if self.addresses.len() >= REMEMBERED {
            self.addresses.clear();
        }
        let masked = match address {
            IpAddr::V4(v4) => IpAddr::V4(self.v4(v4)),
            IpAddr::V6(v6) => IpAddr::V6(self.v6(v6)),
        };
        self.addresses.insert(address, masked);
        masked
    }

    /// The prefix that stands for `network`: that of its masked addresses.
    pub fn network(&mut self, network: IpNet) -> IpNet {
        let masked = self.address(network.addr());
        IpNet::new(masked, network.prefix_len()).map_or(network, |masked| masked.trunc())
    }

    fn v4(&self, address: Ipv4Addr) -> Ipv4Addr {
        let Some((class, kept)) = class_v4(address) else { return address };
        let mut bits = u32::from(address);
        // A step out of the class is walked on until it is back in: still one to one.
        loop {
            let original = bits;
            bits = (kept..32).fold(bits, |bits, at| {
                let prefix = original.checked_shr(32 - at).unwrap_or(0);
                bits ^ (u32::from(self.bit(4, u128::from(prefix), at)) << (31 - at))
            });
            let masked = Ipv4Addr::from(bits);
            if class_v4(masked).is_some_and(|(other, _)| other == class) {
                return masked;
            }
        }
    }

    fn v6(&self, address: Ipv6Addr) -> Ipv6Addr {
        let Some((class, kept)) = class_v6(address) else { return address };
        let mut bits = u128::from(address);
        loop {
            let original = bits;
            bits = (kept..128).fold(bits, |bits, at| {
                let prefix = if at == 0 { 0 } else { original >> (128 - at) };
                bits ^ (u128::from(self.bit(6, prefix, at)) << (127 - at))
            });
            let masked = Ipv6Addr::from(bits);
            if class_v6(masked).is_some_and(|(other, _)| other == class) {
                return masked;
            }
        }
    }

    /// Whether the bit behind a prefix of `length` bits is turned.
    fn bit(&self, family: u8, prefix: u128, length: u32) -> u8 {
        let mut input = [0_u8; 21];
        input[0] = family;
        input[1..5].copy_from_slice(&length.to_be_bytes());
        input[5..].copy_from_slice(&prefix.to_be_bytes());
        blake3::keyed_hash(&self.key, &input).as_bytes()[0] & 1
    }

    /// The name that stands for `name`.
    pub fn name(&mut self, name: &Name) -> Name {
        if let Some(known) = self.names.get(name.wire()) {
            return known.clone();
        }
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        let masked = self.reverse(name).unwrap_or_else(|| {
            let labels: Vec<Vec<u8>> = name.labels().map(|label| self.label_of(label)).collect();
            // Masked labels may be longer than those they stand for; the first ones give way.
            (0..=labels.len())
                .find_map(|skip| Name::from_labels(labels.iter().skip(skip).map(Vec::as_slice)))
                .unwrap_or_else(Name::root)
        });
        self.names.insert(name.wire().to_vec(), masked.clone());
        masked
    }

    /// A reverse name stands for its masked address.
    fn reverse(&mut self, name: &Name) -> Option<Name> {
        let labels: Vec<String> =
            name.labels().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect();
        let (digits, tail) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
        let reversed: Vec<String> = match (digits.len(), tail) {
            (4, [zone, top]) if zone == "in-addr" && top == "arpa" => {
                let octets: Option<Vec<u8>> = digits.iter().rev().map(|d| d.parse().ok()).collect();
                let octets: [u8; 4] = octets?.try_into().ok()?;
                let IpAddr::V4(masked) = self.address(IpAddr::from(octets)) else { return None };
                masked.octets().iter().rev().map(ToString::to_string).collect()
            }
            (32, [zone, top]) if zone == "ip6" && top == "arpa" => {
                let nibbles: Option<Vec<u128>> = digits
                    .iter()
                    .rev()
                    .map(|d| (d.len() == 1).then(|| u128::from_str_radix(d, 16).ok()).flatten())
                    .collect();
                let bits = nibbles?.into_iter().fold(0, |bits, nibble| bits << 4 | nibble);
                let IpAddr::V6(masked) = self.address(IpAddr::V6(bits.into())) else { return None };
                format!("{:032x}", u128::from(masked)).chars().rev().map(String::from).collect()
            }
            _ => return None,
        };
        Name::from_labels(reversed.iter().chain(tail).map(String::as_bytes))
    }

    /// A label of a name, the same wherever it stands: search lists join and cut names.
    fn label_of(&mut self, label: &[u8]) -> Vec<u8> {
        let folded = label.to_ascii_lowercase();
        let known = COMMON.iter().chain(&PUBLIC).any(|known| known.as_bytes() == folded);
        if known {
            return label.to_vec();
        }
        if let Some(address) = dashed(&folded) {
            let masked = self.address(address).to_string();
            return masked.replace(['.', ':'], "-").into_bytes();
        }
        self.label(label)
    }

    /// A label by itself: digits stay digits, `web-0` stays the first of its kind.
    fn label(&self, label: &[u8]) -> Vec<u8> {
        let folded = label.to_ascii_lowercase();
        if folded.iter().all(u8::is_ascii_digit) {
            return self.letters(&folded, folded.len(), b"0123456789");
        }
        let stem_end = folded.iter().rposition(|byte| *byte == b'-');
        if let Some(at) = stem_end
            && let (stem, ordinal) = folded.split_at(at)
            && !stem.is_empty()
            && (2..=4).contains(&ordinal.len())
            && ordinal[1..].iter().all(u8::is_ascii_digit)
        {
            let mut masked = self.letters(stem, LETTERS, b"abcdefghijklmnopqrstuvwxyz");
            masked.extend(ordinal);
            return masked;
        }
        let mut masked = self.letters(&folded, LETTERS, b"abcdefghijklmnopqrstuvwxyz");
        // A resolver that plays with case still does.
        for (at, byte) in masked.iter_mut().enumerate() {
            if label[at % label.len()].is_ascii_uppercase() {
                byte.make_ascii_uppercase();
            }
        }
        if folded.first() == Some(&b'_') {
            masked.insert(0, b'_');
        }
        masked
    }

    fn letters(&self, text: &[u8], count: usize, alphabet: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0_u8; count];
        blake3::Hasher::new_keyed(&self.key)
            .update(b"label")
            .update(text)
            .finalize_xof()
            .fill(&mut bytes);
        bytes.into_iter().map(|byte| alphabet[usize::from(byte) % alphabet.len()]).collect()
    }

    /// A word that is no domain name, such as the name of a pod or a node.
    pub fn word(&self, word: &str) -> String {
        let labels = word.split('.').filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let known = COMMON.iter().any(|known| known.eq_ignore_ascii_case(label));
            if known { label.as_bytes().to_vec() } else { self.label(label.as_bytes()) }
        });
        let labels: Vec<String> =
            labels.map(|label| String::from_utf8_lossy(&label).into_owned()).collect();
        labels.join(".")
    }

    fn tuple(&mut self, tuple: &mut FiveTuple) {
        tuple.src.set_ip(self.address(tuple.src.ip()));
        tuple.dst.set_ip(self.address(tuple.dst.ip()));
    }

    /// Masks everything that a message says of addresses and names.
    pub(super) fn message(&mut self, tuple: &mut FiveTuple, message: &mut Message) {
        self.tuple(tuple);
        if let Some(question) = &mut message.question {
            question.name = self.name(&question.name);
        }
        let records = Arc::make_mut(&mut message.records);
        for address in &mut records.addresses {
            *address = self.address(*address);
        }
        if let Some(canonical) = &mut records.canonical {
            *canonical = self.name(canonical);
        }
        if let Some(soa) = &mut records.soa {
            soa.owner = self.name(&soa.owner);
        }
    }

    /// Masks everything that an event says of addresses and names.
    pub(super) fn event(&mut self, event: &mut FlowEvent) {
        match event {
            FlowEvent::Message(captured) => {
                self.message(&mut captured.tuple, Arc::make_mut(&mut captured.message));
            }
            FlowEvent::Unreachable(rejection) => {
                rejection.from = self.address(rejection.from);
                rejection.to = self.address(rejection.to);
                self.tuple(&mut rejection.quoted);
            }
            FlowEvent::Signal(signal) => self.tuple(&mut signal.tuple),
            FlowEvent::Connection(connection) => self.tuple(&mut connection.tuple),
        }
    }
}

impl Rewrite for Mask {
    fn name(&mut self, name: &Name) -> Name {
        Self::name(self, name)
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        Self::address(self, address)
    }
}

/// The class of an address and how many leading bits say so; `None` for one that means the same
/// everywhere and is nobody's.
fn class_v4(address: Ipv4Addr) -> Option<(u8, u32)> {
    match address.octets() {
        [0 | 127 | 224..=255, ..] | [169, 254, ..] => None,
        [10, ..] => Some((1, 8)),
        [172, 16..=31, ..] => Some((2, 12)),
        [192, 168, ..] => Some((3, 16)),
        [100, 64..=127, ..] => Some((4, 10)),
        _ => Some((5, 0)),
    }
}

/// See [`class_v4`].
fn class_v6(address: Ipv6Addr) -> Option<(u8, u32)> {
    let [first, ..] = address.segments();
    match first {
        _ if address.is_loopback() || address.is_unspecified() => None,
        0xff00..=0xffff | 0xfe80..=0xfebf => None,
        0xfc00..=0xfdff => Some((1, 8)),
        0x2000..=0x3fff => Some((2, 3)),
        0 => Some((3, 96)),
        0x64 => Some((4, 96)),
        _ => Some((5, 0)),
    }
}

/// The address that a pod's label holds: `10-244-1-7`.
fn dashed(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    let v4 = text.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    v4.or_else(|| {
        let colons = text.contains('-').then(|| text.replace('-', ":"))?;
        colons.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Mask {
        Mask::new(b"a key of the tests")
    }

    fn v4(text: &str) -> u32 {
        let IpAddr::V4(masked) = mask().address(text.parse().unwrap()) else { unreachable!() };
        u32::from(masked)
    }

    #[test]
    fn common_prefixes_stay_common_and_private_stays_private() {
        for (one, other) in [
            ("10.244.1.10", "10.244.1.11"),
            ("10.244.1.10", "10.96.0.10"),
            ("8.8.8.8", "8.8.4.4"),
            ("192.168.3.4", "192.168.200.4"),
        ] {
            let before = u32::from(one.parse::<Ipv4Addr>().unwrap())
                ^ u32::from(other.parse::<Ipv4Addr>().unwrap());
            assert_eq!(before.leading_zeros(), (v4(one) ^ v4(other)).leading_zeros(), "{one}");
            assert_ne!(Ipv4Addr::from(v4(one)).to_string(), one);
        }
        assert_eq!(v4("10.1.2.3") >> 24, 10);
        assert_eq!(v4("127.0.0.1"), u32::from(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn another_key_is_another_world() {
        let address: IpAddr = "2001:db8::17".parse().unwrap();
        assert_eq!(mask().address(address), mask().address(address));
        assert_ne!(mask().address(address), Mask::new(b"another").address(address));
    }

    #[test]
    fn names_keep_what_every_cluster_has() {
        let mask = |text: &str| mask().name(&Name::parse(text).unwrap()).to_string();
        let service = mask("redis.shop.svc.cluster.local");
        assert!(service.ends_with(".svc.cluster.local") && !service.contains("redis"));
        assert!(!service.contains("shop"));
        assert_eq!(service.split('.').next(), mask("redis").split('.').next());
        assert!(
            mask("web-0.web.shop.svc.cluster.local").split('.').next().unwrap().ends_with("-0")
        );
        assert_eq!(mask("api.example.com").split_once('.').unwrap().1, "example.com");
        let reverse = mask("10.1.244.10.in-addr.arpa");
        let IpAddr::V4(v4) = super::tests::mask().address("10.244.1.10".parse().unwrap()) else {
            unreachable!()
        };
        let [a, b, c, d] = v4.octets();
        assert_eq!(reverse, format!("{d}.{c}.{b}.{a}.in-addr.arpa"));
        assert!(
            mask("10-244-1-10.shop.pod.cluster.local").starts_with(&format!("{a}-{b}-{c}-{d}."))
        );
    }
}
