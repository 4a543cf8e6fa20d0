//! The language as a whole: what a scenario looks like to readers that are not ours.

use std::fmt::Write as _;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use hickory_proto::op::Message;

use super::Scenario;
use crate::capture::LinkType;

mod language;
mod places;

/// Each frame on a line: time in microseconds after the start, addresses, and the message.
fn conversation(scenario: &Scenario) -> String {
    let mut out = String::new();
    for frame in scenario.frames() {
        let skip = match frame.link {
            LinkType::ETHERNET => 14,
            LinkType::LINUX_SLL2 => 20,
            _ => 0,
        };
        if frame.link == LinkType::LINUX_SLL2 {
            let header = &frame.bytes;
            write!(out, "if {} type {} ", header[7], header[10]).unwrap();
        }
        let sliced = SlicedPacket::from_ip(&frame.bytes[skip..]).unwrap();
        let (src, dst, ttl) = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                let (src, dst) = (header.source_addr(), header.destination_addr());
                (src.to_string(), dst.to_string(), header.ttl())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let (src, dst) = (header.source_addr(), header.destination_addr());
                (src.to_string(), dst.to_string(), header.hop_limit())
            }
            NetSlice::Arp(_) => panic!("no ARP"),
        };
        let micros = frame.ts.nanos() / 1000 - 1_767_607_200_000_000;
        write!(out, "{micros} ttl {ttl} {src} > {dst} ").unwrap();
        let said = match sliced.transport {
            Some(TransportSlice::Udp(udp)) => message(udp.payload()),
            Some(TransportSlice::Tcp(tcp)) => match tcp.payload().split_at_checked(2) {
                Some((_, message_bytes)) => message(message_bytes),
                None => "no payload".to_owned(),
            },
            Some(TransportSlice::Icmpv4(icmp)) => format!("{:?}", icmp.icmp_type()),
            other => format!("{}", other.is_some()),
        };
        writeln!(out, "{said}").unwrap();
    }
    out
}

fn message(bytes: &[u8]) -> String {
    let Ok(message) = Message::from_vec(bytes) else {
        return format!("{} bytes", bytes.len());
    };
    let question = message.queries.first().map(ToString::to_string);
    let mut out = format!("{:04x} {}", message.metadata.id, question.unwrap_or_default());
    if message.metadata.message_type == hickory_proto::op::MessageType::Response {
        write!(out, " {:?}", message.metadata.response_code).unwrap();
    }
    for record in message.answers.iter().chain(&message.authorities) {
        write!(out, " [{record}]").unwrap();
    }
    out
}
