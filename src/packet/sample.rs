//! Frames for this layer's tests: one DNS query, put behind whatever a test is about.

use etherparse::PacketBuilder;

use super::{Body, Packet, Skip, Via, decode};
use crate::base::Timestamp;
use crate::capture::{FileId, Frame, FrameRef, LinkType, PointId, Seen};

/// `. IN NS`, id 1234.
pub(super) const QUERY: &[u8] = &[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// The sender's link address in every header that has one.
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// An IPv4 packet with the query, TTL 63 and identification 0.
pub(super) fn v4() -> Vec<u8> {
    udp_v4(40001, 53, QUERY)
}

/// An IPv4 packet with any datagram.
pub(super) fn udp_v4(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 244, 1, 10], [10, 96, 0, 10], 63);
    let mut bytes = Vec::new();
    let builder = builder.udp(src_port, dst_port);
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// An IPv6 packet with the query, hop limit 63.
pub(super) fn v6() -> Vec<u8> {
    let builder = PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 63);
    let mut bytes = Vec::new();
    builder.udp(40001, 53).write(&mut bytes, QUERY).unwrap();
    bytes
}

/// An IPv4 header before any payload.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = etherparse::Ipv4Header::new(
        u16::try_from(payload.len()).unwrap(),
        9,
        etherparse::IpNumber(protocol),
        [192, 0, 2, 1],
        [192, 0, 2, 2],
    )
    .unwrap();
    header.header_checksum = header.calc_header_checksum();
    join(&[&header.to_bytes(), payload])
}

/// An IPv6 header before any payload.
pub(super) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = etherparse::Ipv6Header {
        payload_length: u16::try_from(payload.len()).unwrap(),
        next_header: etherparse::IpNumber(next_header),
        hop_limit: 63,
        source: [0xfd; 16],
        destination: [0xfe; 16],
        ..Default::default()
    };
    join(&[&header.to_bytes(), payload])
}

/// An Ethernet header before any payload.
pub(super) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[2, 0, 0, 0, 0, 1], &MAC, &kind.to_be_bytes(), payload])
}

/// Pieces in a row.
pub(super) fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// The `number`-th frame, a millisecond after the one before it.
pub(super) fn frame(number: u32, link: u16, bytes: &[u8]) -> Frame<'_> {
    Frame {
        seen: Seen {
            ts: Timestamp::from_nanos(i64::from(number) * 1_000_000),
            at: FrameRef::new(FileId(0), number),
        },
        interface: None,
        link: LinkType(link),
        wire_len: u32::try_from(bytes.len()).unwrap(),
        bytes,
    }
}

/// Decodes a whole frame.
pub(super) fn decoded(link: u16, bytes: &[u8]) -> Result<Packet<'_>, Skip> {
    decode(&frame(1, link, bytes), PointId(3))
}

/// Decodes a whole frame that must hold the query; tells where it was seen.
#[track_caller]
pub(super) fn query_via(link: u16, bytes: &[u8]) -> Via {
    let packet = decoded(link, bytes).unwrap();
    assert_is_query(&packet);
    packet.via
}

/// Checks that a packet holds the query.
#[track_caller]
pub(super) fn assert_is_query(packet: &Packet<'_>) {
    let Body::Udp(udp) = packet.body else {
        panic!("no datagram: {packet:?}");
    };
    assert_eq!((udp.src_port, udp.dst_port), (40001, 53));
    assert_eq!((udp.payload, udp.wire_len), (QUERY, QUERY.len()));
    assert_eq!(packet.via.ttl, 63);
    assert_eq!(packet.via.point, PointId(3));
}

/// Decodes a whole frame that must be understood and hold nothing of interest.
#[track_caller]
pub(super) fn assert_is_other(link: u16, bytes: &[u8]) {
    let packet = decoded(link, bytes).unwrap();
    assert!(matches!(packet.body, Body::Other), "{packet:?}");
}
