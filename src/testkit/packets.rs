//! IP datagrams written byte by byte, with correct checksums (RFC 791, 8200, 768, 9293, 792, 4443).

use std::net::{IpAddr, SocketAddr};

/// One IP datagram as its sender meant it.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    /// The port is 0 for ICMP.
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) ip_id: u16,
    pub(super) ttl: u8,
    /// Into how many fragments it is split.
    pub(super) fragments: usize,
    /// How many of them are captured; all, if nothing is said.
    pub(super) captured: Option<usize>,
    pub(super) body: Body,
}

/// What a datagram carries.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Udp(Vec<u8>),
    Tcp(Segment),
    Icmp(IcmpKind, Box<Datagram>),
}

/// A TCP segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// The eight flags from CWR to FIN.
    pub(super) flags: u8,
    pub(super) payload: Vec<u8>,
}

/// ICMP errors by their two (type, code) pairs: ICMP and ICMPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IcmpKind {
    v4: (u8, u8),
    v6: (u8, u8),
}

impl IcmpKind {
    /// The kind called `name` in scenarios.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (v4, v6) = match name {
            "port-unreachable" => ((3, 3), (1, 4)),
            "host-unreachable" => ((3, 1), (1, 3)),
            "net-unreachable" => ((3, 0), (1, 0)),
            "admin-prohibited" => ((3, 13), (1, 1)),
            "too-big" => ((3, 4), (2, 0)),
            "time-exceeded" => ((11, 0), (3, 0)),
            _ => return None,
        };
        Some(Self { v4, v6 })
    }
}

/// How much of a datagram a Linux host quotes in an ICMP error.
const QUOTE_V4: usize = 548;
const QUOTE_V6: usize = 1232;
/// What a "too big" error says is left of the path.
const MTU: u16 = 1450;

impl Datagram {
    /// The same datagram with the address `from` replaced by `to`, in quotes too, as NAT does.
    pub(super) fn translated(&self, from: SocketAddr, to: SocketAddr) -> Self {
        let replace = |address: SocketAddr| {
            if address.ip() != from.ip() {
                return address;
            }
            let port = if address.port() == from.port() { to.port() } else { address.port() };
            SocketAddr::new(to.ip(), port)
        };
        let body = match &self.body {
            Body::Icmp(kind, quoted) => Body::Icmp(*kind, Box::new(quoted.translated(from, to))),
            other => other.clone(),
        };
        Self { src: replace(self.src), dst: replace(self.dst), body, ..self.clone() }
    }

    /// The captured IP packets that it travels in: one, or its fragments.
    pub(super) fn packets(&self) -> Vec<Vec<u8>> {
        let payload = self.payload();
        let pieces = self.fragments.max(1);
        let unit = payload.len().div_ceil(pieces).next_multiple_of(8).max(8);
        let count = payload.len().div_ceil(unit).max(1);
        let chunk = |n: usize| &payload[n * unit..((n + 1) * unit).min(payload.len())];
        (0..count.min(self.captured.unwrap_or(count)))
            .map(|n| self.packet(chunk(n), n * unit, n + 1 < count))
            .collect()
    }

    fn packet(&self, payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
        let fragment = narrow(offset / 8);
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let whole = offset == 0 && !more;
                let dont_fragment = whole && !matches!(self.body, Body::Icmp(..));
                let flags = u16::from(dont_fragment) << 14 | u16::from(more) << 13;
                let mut out = vec![0x45, 0];
                out.extend(narrow(20 + payload.len()).to_be_bytes());
                out.extend(self.ip_id.to_be_bytes());
                out.extend((flags | fragment).to_be_bytes());
                out.extend([self.ttl, self.protocol(), 0, 0]);
                out.extend(src.octets());
                out.extend(dst.octets());
                let sum = checksum(&[&out]);
                out[10..12].copy_from_slice(&sum.to_be_bytes());
                out.extend(payload);
                out
            }
            (src, dst) => {
                let split = offset > 0 || more;
                let extension = if split { 8 } else { 0 };
                let mut out = vec![0x60, 0, 0, 0];
                out.extend(narrow(extension + payload.len()).to_be_bytes());
                out.push(if split { 44 } else { self.protocol() });
                out.push(self.ttl);
                out.extend(octets(src));
                out.extend(octets(dst));
                if split {
                    out.extend([self.protocol(), 0]);
                    out.extend((fragment << 3 | u16::from(more)).to_be_bytes());
                    out.extend([0, 0]);
                    out.extend(self.ip_id.to_be_bytes());
                }
                out.extend(payload);
                out
            }
        }
    }

    fn protocol(&self) -> u8 {
        match self.body {
            Body::Udp(_) => 17,
            Body::Tcp(_) => 6,
            Body::Icmp(..) if self.src.is_ipv4() => 1,
            Body::Icmp(..) => 58,
        }
    }

    /// The transport header and what it carries, checksum included.
    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let sum_at = match &self.body {
            Body::Udp(data) => {
                out.extend(self.src.port().to_be_bytes());
                out.extend(self.dst.port().to_be_bytes());
                out.extend(narrow(8 + data.len()).to_be_bytes());
                out.extend([0, 0]);
                out.extend(data);
                6
            }
            Body::Tcp(segment) => {
                out.extend(self.src.port().to_be_bytes());
                out.extend(self.dst.port().to_be_bytes());
                out.extend(segment.seq.to_be_bytes());
                out.extend(segment.ack.to_be_bytes());
                out.extend([0x50, segment.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                out.extend(&segment.payload);
                16
            }
            Body::Icmp(kind, quoted) => {
                self.error(*kind, quoted, &mut out);
                2
            }
        };
        let pseudo = self.pseudo_header(out.len());
        let sum = match checksum(&[&pseudo, &out]) {
            0 if matches!(self.body, Body::Udp(_)) => 0xffff,
            sum => sum,
        };
        out[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        out
    }

    fn error(&self, kind: IcmpKind, quoted: &Self, out: &mut Vec<u8>) {
        let v4 = self.src.is_ipv4();
        let ((kind, code), limit) = if v4 { (kind.v4, QUOTE_V4) } else { (kind.v6, QUOTE_V6) };
        let too_big = matches!((v4, kind, code), (true, 3, 4) | (false, 2, 0));
        out.extend([kind, code, 0, 0, 0, 0]);
        out.extend(if too_big { MTU } else { 0 }.to_be_bytes());
        let packet = quoted.packets().swap_remove(0);
        out.extend(&packet[..packet.len().min(limit)]);
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        if matches!(self.body, Body::Icmp(..)) && self.src.is_ipv4() {
            return Vec::new();
        }
        let mut out = octets(self.src.ip());
        out.extend(octets(self.dst.ip()));
        out.extend([0, self.protocol()]);
        out.extend(narrow(length).to_be_bytes());
        out
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn narrow(length: usize) -> u16 {
    u16::try_from(length).expect("a datagram of at most 65,535 bytes")
}

/// The internet checksum over the parts, of which only the last may be odd (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};

    fn udp(src: &str, dst: &str, payload: &[u8], fragments: usize) -> Datagram {
        Datagram {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            ip_id: 7,
            ttl: 64,
            fragments,
            captured: None,
            body: Body::Udp(payload.to_vec()),
        }
    }

    #[test]
    fn checksums_hold_for_another_reader() {
        let datagram = udp("10.0.0.5:40001", "192.0.2.53:53", b"hello", 1);
        let packet = datagram.packets().remove(0);
        let sliced = SlicedPacket::from_ip(&packet).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = sliced.net else {
            panic!("not IPv4");
        };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let Some(TransportSlice::Udp(udp)) = sliced.transport else {
            panic!("not UDP");
        };
        let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
        assert_eq!(udp.checksum(), sum.unwrap());
    }

    #[test]
    fn fragments_make_up_the_datagram() {
        for (src, dst) in [("10.0.0.5:4001", "192.0.2.53:53"), ("[fd00::5]:4001", "[fd00::a]:53")] {
            let whole = udp(src, dst, &[7; 100], 1).packets().remove(0);
            let pieces = udp(src, dst, &[7; 100], 3).packets();
            let header = if src.starts_with('[') { 40 } else { 20 };
            let extension = if src.starts_with('[') { 8 } else { 0 };
            let joined: Vec<u8> =
                pieces.iter().flat_map(|piece| piece[header + extension..].to_vec()).collect();
            assert_eq!((pieces.len(), joined), (3, whole[header..].to_vec()));
        }
    }

    #[test]
    fn nat_changes_quotes_too() {
        let query = udp("10.244.0.5:40001", "10.96.0.10:53", b"hello", 1);
        let error = Datagram {
            src: "10.96.0.10:0".parse().unwrap(),
            dst: "10.244.0.5:0".parse().unwrap(),
            body: Body::Icmp(IcmpKind::named("port-unreachable").unwrap(), query.into()),
            ..udp("1.1.1.1:1", "1.1.1.1:1", b"", 1)
        };
        let service = "10.96.0.10:53".parse().unwrap();
        let seen = error.translated(service, "10.244.1.9:5353".parse().unwrap());
        let packet = seen.packets().remove(0);
        assert_eq!(packet[12..16], [10, 244, 1, 9]);
        assert_eq!(packet[28 + 16..28 + 20], [10, 244, 1, 9]);
        assert_eq!(packet[28 + 22..28 + 24], 5353_u16.to_be_bytes());
    }
}
