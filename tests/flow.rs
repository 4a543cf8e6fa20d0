//! Flows: segments in every order that networks and captures make of them, and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dnswhy::base::{Coverage, FiveTuple, Limit, Timestamp, Transport};
use dnswhy::capture::{FileId, FrameRef, PointId, Seen};
use dnswhy::dns::Malformed;
use dnswhy::flow::{CONNECTIONS_MOST, Connection, FlowEvent, FlowTable, Held, Ports, Rejection};
use dnswhy::packet::{Body, Datagram, IcmpError, IcmpKind, Packet, TcpSegment, Via};
use proptest::prelude::*;

/// A flow table, the clock of its capture, and everything that came out of it.
struct Flows {
    table: FlowTable,
    ports: Ports,
    coverage: Coverage,
    now: Timestamp,
    frame: u32,
    via: Via,
    client: SocketAddr,
    server: SocketAddr,
    messages: Vec<(u16, bool, u32)>,
    stops: Vec<Option<Malformed>>,
    connections: Vec<Connection>,
    rejections: Vec<Rejection>,
}

/// A segment of the client (`up`) or the server.
#[derive(Clone, Copy)]
struct Segment<'a> {
    up: bool,
    seq: u32,
    ack: Option<u32>,
    flags: &'a str,
    payload: &'a [u8],
    wire_len: usize,
}

fn up(seq: u32, payload: &[u8]) -> Segment<'_> {
    Segment { up: true, seq, ack: None, flags: "", payload, wire_len: payload.len() }
}

fn down(seq: u32, payload: &[u8]) -> Segment<'_> {
    Segment { up: false, ..up(seq, payload) }
}

impl<'a> Segment<'a> {
    fn flags(self, flags: &'a str) -> Self {
        Self { flags, ..self }
    }

    fn ack(self, ack: u32) -> Self {
        Self { ack: Some(ack), ..self }
    }
}

impl Flows {
    fn new() -> Self {
        Self {
            table: FlowTable::new(),
            ports: Ports::default(),
            coverage: Coverage::default(),
            now: Timestamp::from_parts(1_671_710_403, 0),
            frame: 0,
            via: Via { interface: Some(1), ttl: 64, ..Via::at(PointId(0)) },
            client: "10.244.1.10:40000".parse().unwrap(),
            server: "10.96.0.10:53".parse().unwrap(),
            messages: Vec::new(),
            stops: Vec::new(),
            connections: Vec::new(),
            rejections: Vec::new(),
        }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now = self.now.after(Duration::from_millis(milliseconds));
    }

    fn packet(&mut self, src: IpAddr, dst: IpAddr, body: Body<'_>) -> Held {
        self.frame += 1;
        self.now = self.now.after(Duration::from_micros(10));
        let at = FrameRef::new(FileId(0), self.frame);
        let packet = Packet { seen: Seen { ts: self.now, at }, via: self.via, src, dst, body };
        let (messages, stops) = (&mut self.messages, &mut self.stops);
        let (connections, rejections) = (&mut self.connections, &mut self.rejections);
        self.table.follow(&packet, &self.ports, &mut self.coverage, &mut |event, _| {
            keep(event, messages, stops, connections, rejections);
        })
    }

    fn tcp(&mut self, segment: Segment<'_>) -> Held {
        let (src, dst) =
            if segment.up { (self.client, self.server) } else { (self.server, self.client) };
        let body = Body::Tcp(TcpSegment {
            src_port: src.port(),
            dst_port: dst.port(),
            seq: segment.seq,
            ack: segment.ack.unwrap_or(0),
            syn: segment.flags.contains('S'),
            has_ack: segment.ack.is_some(),
            fin: segment.flags.contains('F'),
            rst: segment.flags.contains('R'),
            payload: segment.payload,
            wire_len: segment.wire_len,
        });
        self.packet(src.ip(), dst.ip(), body)
    }

    fn handshake(&mut self) {
        self.tcp(up(999, b"").flags("S"));
        self.tcp(down(4999, b"").flags("S").ack(1000));
        self.tcp(up(1000, b"").ack(5000));
    }

    fn finish(&mut self) {
        let (messages, stops) = (&mut self.messages, &mut self.stops);
        let (connections, rejections) = (&mut self.connections, &mut self.rejections);
        self.table.finish(&mut self.coverage, &mut |event, _| {
            keep(event, messages, stops, connections, rejections);
        });
    }

    fn ids(&self) -> Vec<u16> {
        self.messages.iter().map(|(id, ..)| *id).collect()
    }
}

fn keep(
    event: FlowEvent,
    messages: &mut Vec<(u16, bool, u32)>,
    stops: &mut Vec<Option<Malformed>>,
    connections: &mut Vec<Connection>,
    rejections: &mut Vec<Rejection>,
) {
    match event {
        FlowEvent::Message(captured) => {
            let header = captured.message.header;
            messages.push((header.id, header.is_response(), captured.seen.at.number()));
            stops.push(captured.message.stop);
        }
        FlowEvent::Connection(connection) => connections.push(connection),
        FlowEvent::Unreachable(rejection) => rejections.push(rejection),
        FlowEvent::Signal(_) => {}
    }
}

/// A query for `<label>.example`, type A.
fn query(id: u16, label: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.push(u8::try_from(label.len()).unwrap());
    bytes.extend_from_slice(label.as_bytes());
    bytes.extend_from_slice(b"\x07example\x00\x00\x01\x00\x01");
    bytes
}

/// Its answer, with `count` addresses.
fn answer(id: u16, label: &str, count: u8) -> Vec<u8> {
    let mut bytes = query(id, label);
    bytes[2] = 0x81;
    bytes[3] = 0x80;
    bytes[7] = count;
    for n in 0..count {
        bytes.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\xc0\x00\x02");
        bytes.push(n);
    }
    bytes
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        stream.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
        stream.extend_from_slice(message);
    }
    stream
}

fn seq(base: u32, offset: usize) -> u32 {
    base.wrapping_add(u32::try_from(offset).unwrap())
}

#[test]
fn a_datagram_is_a_message() {
    let mut flows = Flows::new();
    let payload = query(7, "www");
    let datagram = |payload, wire_len| {
        Body::Udp(Datagram { src_port: 40000, dst_port: 53, payload, wire_len })
    };
    let (src, dst) = (flows.client.ip(), flows.server.ip());
    let length = payload.len();
    assert_eq!(flows.packet(src, dst, datagram(&payload, length)), Held::Dns);
    assert_eq!(flows.packet(src, dst, datagram(b"too short", 9)), Held::NotDns);
    assert_eq!(flows.packet(src, dst, datagram(&payload[..9], length)), Held::Cut);
    assert_eq!(flows.messages, [(7, false, 1)]);
    let counts = &flows.coverage.messages;
    assert_eq!((counts.total, counts.udp, counts.queries), (1, 1, 1));
}

#[test]
fn multicast_dns_is_never_read() {
    let mut flows = Flows::new();
    flows.ports = Ports::new([5353]);
    let payload = query(0, "printer");
    let body = Body::Udp(Datagram {
        src_port: 5353,
        dst_port: 5353,
        payload: &payload,
        wire_len: payload.len(),
    });
    let group: IpAddr = "224.0.0.251".parse().unwrap();
    assert_eq!(flows.packet(flows.client.ip(), group, body), Held::NotDns);
    assert!(flows.messages.is_empty());
}

#[test]
fn an_icmp_error_names_the_message_it_rejects() {
    let mut flows = Flows::new();
    let quoted = FiveTuple { transport: Transport::Udp, src: flows.client, dst: flows.server };
    let payload = query(0xabcd, "www");
    let error = IcmpError { kind: IcmpKind::PortUnreachable, quoted, payload: &payload[..4] };
    let (src, dst) = (flows.server.ip(), flows.client.ip());
    assert_eq!(flows.packet(src, dst, Body::Icmp(error)), Held::NotDns);
    let other = FiveTuple { dst: "10.96.0.10:123".parse().unwrap(), ..quoted };
    let error = IcmpError { quoted: other, ..error };
    flows.packet(src, dst, Body::Icmp(error));
    let [rejection] = flows.rejections.as_slice() else {
        panic!("one rejection");
    };
    assert_eq!(rejection.message, Some((0xabcd, false)));
    assert_eq!((rejection.quoted, rejection.from, rejection.to), (quoted, src, dst));
}

#[test]
fn a_whole_exchange_ends_with_the_fate_of_its_connection() {
    let mut flows = Flows::new();
    let (ask, say) = (framed(&[query(1, "www")]), framed(&[answer(1, "www", 2)]));
    flows.handshake();
    assert_eq!(flows.tcp(up(1000, &ask).ack(5000)), Held::Dns);
    assert_eq!(flows.tcp(down(5000, &say).ack(seq(1000, ask.len()))), Held::Dns);
    let (end, server_end) = (seq(1000, ask.len()), seq(5000, say.len()));
    flows.tcp(up(end, b"").ack(server_end).flags("F"));
    flows.tcp(down(server_end, b"").ack(end + 1).flags("F"));
    assert!(flows.connections.is_empty(), "stragglers may come");
    flows.tcp(up(end + 1, b"").ack(server_end + 1));
    flows.wait(1100);
    let foreign = Body::Other;
    flows.packet(flows.client.ip(), flows.server.ip(), foreign);
    let [fate] = flows.connections.as_slice() else {
        panic!("one connection");
    };
    assert_eq!((fate.tuple.src, fate.tuple.dst), (flows.client, flows.server));
    assert_eq!((fate.syns, fate.queries, fate.responses), (1, 1, 1));
    assert!(fate.finished && fate.reset.is_none() && fate.accepted.is_some());
    assert_eq!((fate.first.at.number(), fate.last.at.number()), (1, 8));
    assert_eq!(flows.messages, [(1, false, 4), (1, true, 5)]);
    assert_eq!(flows.coverage.lost_stream_bytes, 0);
}

#[test]
fn copies_of_a_syn_are_one_and_repetitions_are_more() {
    let mut flows = Flows::new();
    for _ in 0..3 {
        for interface in [4, 9, 2] {
            flows.via.interface = Some(interface);
            flows.tcp(up(999, b"").flags("S"));
        }
        flows.wait(1000);
    }
    flows.finish();
    assert_eq!(flows.connections.len(), 1);
    assert_eq!(flows.connections[0].syns, 3);
    assert_eq!(flows.connections[0].accepted, None);
}

#[test]
fn a_refused_connection_says_who_refused() {
    let mut flows = Flows::new();
    flows.tcp(up(999, b"").flags("S"));
    flows.tcp(down(0, b"").ack(1000).flags("R"));
    flows.finish();
    let fate = flows.connections[0];
    assert!(fate.reset.is_some_and(|reset| reset.by_server));
    assert_eq!((fate.accepted, fate.finished), (None, false));
}

#[test]
fn a_port_used_again_is_another_connection() {
    let mut flows = Flows::new();
    let ask = framed(&[query(1, "www")]);
    flows.handshake();
    flows.tcp(up(1000, &ask));
    flows.tcp(up(70_000, b"").flags("S"));
    flows.tcp(down(80_000, b"").ack(70_001).flags("S"));
    flows.tcp(up(70_001, &framed(&[query(2, "www")])));
    flows.finish();
    assert_eq!(flows.ids(), [1, 2]);
    assert_eq!(flows.connections.len(), 2);
    assert!(flows.connections.iter().all(|fate| fate.syns == 1 && fate.queries == 1));
}

#[test]
fn copies_on_several_interfaces_are_read_once() {
    let mut flows = Flows::new();
    flows.handshake();
    let ask = framed(&[query(1, "a"), query(2, "b")]);
    for interface in 1..4 {
        flows.via.interface = Some(interface);
        flows.tcp(up(1000, &ask));
    }
    assert_eq!(flows.ids(), [1, 2]);
}

#[test]
fn a_keep_alive_is_no_data() {
    let mut flows = Flows::new();
    flows.handshake();
    let ask = framed(&[query(1, "a")]);
    flows.tcp(up(1000, &ask));
    flows.tcp(up(seq(1000, ask.len()) - 1, b"\0"));
    flows.tcp(up(seq(1000, ask.len()), &framed(&[query(2, "b")])));
    assert_eq!(flows.ids(), [1, 2]);
}

#[test]
fn data_in_the_syn_counts() {
    let mut flows = Flows::new();
    flows.tcp(up(999, &framed(&[query(1, "a")])).flags("S"));
    assert_eq!(flows.messages, [(1, false, 1)]);
}

#[test]
fn sequence_numbers_wrap() {
    let mut flows = Flows::new();
    flows.tcp(up(u32::MAX - 20, b"").flags("S"));
    let ask = framed(&[query(1, "a"), query(2, "b"), query(3, "c")]);
    for (n, part) in ask.chunks(9).enumerate() {
        flows.tcp(up(seq(u32::MAX - 19, n * 9), part));
    }
    assert_eq!(flows.ids(), [1, 2, 3]);
}

#[test]
fn a_stream_joined_in_the_middle_of_a_message_finds_the_next_one() {
    let mut flows = Flows::new();
    let say = framed(&[answer(1, "a", 9), answer(2, "b", 1), answer(3, "c", 1)]);
    flows.tcp(down(77, &say[30..]));
    flows.tcp(down(seq(77, say.len() - 30), &framed(&[answer(4, "d", 1)])));
    assert_eq!(flows.ids(), [2, 3, 4]);
}

#[test]
fn a_stream_joined_at_a_border_loses_nothing() {
    let mut flows = Flows::new();
    let ask = framed(&[query(1, "a"), query(2, "b")]);
    for (n, part) in ask.chunks(3).enumerate() {
        flows.tcp(up(seq(500, n * 3), part));
    }
    flows.finish();
    assert_eq!(flows.ids(), [1, 2]);
    assert_eq!(flows.connections[0].syns, 0);
}

#[test]
fn a_segment_that_only_the_receiver_saw_is_passed_over() {
    let mut flows = Flows::new();
    flows.handshake();
    let say = framed(&[answer(1, "a", 20), answer(2, "b", 1)]);
    // Bytes 100 to 200 belong to the first answer.
    flows.tcp(down(5000, &say[..100]));
    flows.tcp(down(5200, &say[200..]));
    flows.tcp(up(1000, b"").ack(seq(5000, say.len())));
    assert!(flows.ids().is_empty(), "it may be late");
    flows.wait(60);
    assert_eq!(flows.tcp(up(1000, b"").ack(seq(5000, say.len()))), Held::Dns);
    assert_eq!(flows.messages, [(1, true, 4), (2, true, 5)]);
    assert_eq!(flows.stops, [Some(Malformed::Cut), None]);
    assert_eq!(flows.coverage.lost_stream_bytes, 100);
}

#[test]
fn a_late_segment_is_waited_for() {
    let mut flows = Flows::new();
    flows.handshake();
    let say = framed(&[answer(1, "a", 20), answer(2, "b", 1)]);
    flows.tcp(down(5000, &say[..100]));
    flows.tcp(down(5200, &say[200..]));
    flows.wait(3000);
    flows.tcp(up(1000, b"").ack(5100));
    assert_eq!(flows.tcp(down(5100, &say[100..200])), Held::Dns);
    assert_eq!(flows.messages, [(1, true, 7), (2, true, 7)]);
    assert_eq!(flows.coverage.lost_stream_bytes, 0);
}

#[test]
fn a_lost_piece_with_borders_in_it_leads_to_the_next_border() {
    let mut flows = Flows::new();
    flows.handshake();
    let messages: Vec<Vec<u8>> = (1..=6).map(|id| answer(id, "name", 3)).collect();
    let say = framed(&messages);
    let one = messages[0].len() + 2;
    // From the middle of the second message to the middle of the fourth.
    let (from, to) = (one + one / 2, 3 * one + one / 2);
    flows.tcp(down(5000, &say[..from]));
    flows.tcp(down(seq(5000, to), &say[to..]));
    flows.finish();
    assert_eq!(flows.ids(), [1, 2, 5, 6]);
    assert_eq!(flows.stops[1], Some(Malformed::Cut));
    assert_eq!(flows.coverage.lost_stream_bytes, u64::try_from(to - from).unwrap());
}

#[test]
fn segments_cut_by_the_snap_length_keep_header_and_question() {
    let mut flows = Flows::new();
    flows.handshake();
    let say = framed(&[answer(1, "a", 5)]);
    let cut = Segment { payload: &say[..50], ..down(5000, &say) };
    assert_eq!(flows.tcp(cut), Held::Dns);
    flows.tcp(down(seq(5000, say.len()), &framed(&[answer(2, "b", 1)])));
    assert_eq!(flows.ids(), [1, 2]);
    assert_eq!(flows.stops, [Some(Malformed::Cut), None]);
    assert_eq!(flows.coverage.lost_stream_bytes, u64::try_from(say.len() - 50).unwrap());
}

#[test]
fn too_much_behind_a_hole_is_given_up_and_said() {
    let mut flows = Flows::new();
    flows.handshake();
    let block = framed(&[answer(9, "a", 60)]);
    let mut at = 5000 + 10;
    while !flows.coverage.limits.contains_key(&Limit::StreamBytes) {
        flows.tcp(down(at, &block));
        at = seq(at, block.len());
        assert!(at < 400_000, "the bound holds");
    }
    assert!(flows.ids().len() > 100);
    assert_eq!(flows.coverage.lost_stream_bytes, 10);
}

#[test]
fn a_flood_of_connections_is_bounded_and_said() {
    let mut flows = Flows::new();
    let most = u32::try_from(CONNECTIONS_MOST).unwrap();
    for n in 0..most + 50 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        flows.client = SocketAddr::new(address.into(), 40000);
        flows.tcp(up(n, b"").flags("S"));
    }
    assert_eq!(flows.table.connections(), CONNECTIONS_MOST);
    assert_eq!(flows.coverage.limits.get(&Limit::Connections), Some(&50));
    assert_eq!(flows.connections.len(), 50);
    assert_eq!(flows.connections[0].tuple.src.ip().to_string(), "10.0.0.0");
    flows.finish();
    assert_eq!(flows.connections.len(), CONNECTIONS_MOST + 50);
    let firsts: Vec<u32> = flows.connections.iter().map(|fate| fate.first.at.number()).collect();
    assert!(firsts.is_sorted());
}

#[test]
fn an_idle_connection_ends() {
    let mut flows = Flows::new();
    flows.handshake();
    for _ in 0..3 {
        flows.wait(100_000);
        flows.tcp(up(1000, b"").ack(5000));
    }
    assert!(flows.connections.is_empty());
    flows.wait(121_000);
    let (src, dst) = (flows.client.ip(), flows.server.ip());
    flows.packet(src, dst, Body::Other);
    assert_eq!(flows.connections.len(), 1);
    assert_eq!(flows.table.connections(), 0);
}

#[test]
fn a_frame_from_the_future_holds_up_nothing() {
    let mut flows = Flows::new();
    let present = flows.now;
    flows.now = Timestamp::from_parts(4_000_000_000, 0);
    flows.tcp(up(1, b"").flags("S"));
    flows.now = present;
    for n in 0..200_u32 {
        flows.client.set_port(1000 + u16::try_from(n).unwrap());
        flows.tcp(up(n, b"").flags("S"));
        flows.wait(1000);
    }
    assert!(flows.table.connections() <= 121);
}

#[test]
fn both_ends_on_port_53_are_told_apart_by_who_asks() {
    let mut flows = Flows::new();
    flows.client = "10.0.0.200:53".parse().unwrap();
    flows.server = "10.0.0.1:53".parse().unwrap();
    flows.tcp(down(1, &framed(&[answer(1, "a", 1)])));
    flows.finish();
    assert_eq!(flows.connections[0].tuple.src, flows.client);
    assert_eq!(flows.connections[0].responses, 1);
}

/// Cuts `stream` at the given places, shuffles within a window, repeats some segments.
fn segments(
    stream: &[u8],
    cuts: &[prop::sample::Index],
    swaps: &[(prop::sample::Index, usize)],
    repeats: &[prop::sample::Index],
) -> Vec<(usize, Vec<u8>)> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places.dedup();
    let pairs = places.windows(2);
    let mut parts: Vec<(usize, Vec<u8>)> =
        pairs.map(|pair| (pair[0], stream[pair[0]..pair[1]].to_vec())).collect();
    for repeat in repeats {
        let part = parts[repeat.index(parts.len())].clone();
        // With one byte more in front of it, where there is one: an overlap.
        let from = part.0.saturating_sub(1);
        let overlap = (from, stream[from..part.0 + part.1.len()].to_vec());
        let at = repeat.index(parts.len() + 1);
        parts.insert(at, overlap);
        parts.push(part);
    }
    for (at, distance) in swaps {
        let one = at.index(parts.len());
        let other = (one + distance).min(parts.len() - 1);
        parts.swap(one, other);
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_gives_the_same_messages_however_it_is_cut(
        sizes in prop::collection::vec(0_u8..30, 1..8),
        isn in any::<u32>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4), 0..12),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let messages: Vec<Vec<u8>> = (1_u16..)
            .zip(&sizes)
            .map(|(id, size)| answer(id, "some-name", *size))
            .collect();
        let stream = framed(&messages);
        let mut flows = Flows::new();
        flows.tcp(down(isn, b"").flags("S").ack(1));
        for (at, part) in segments(&stream, &cuts, &swaps, &repeats) {
            flows.tcp(down(seq(isn.wrapping_add(1), at), &part));
        }
        flows.finish();
        let wanted: Vec<u16> = (1..).take(messages.len()).collect();
        prop_assert_eq!(flows.ids(), wanted);
        prop_assert!(flows.stops.iter().all(Option::is_none));
        prop_assert_eq!(flows.coverage.lost_stream_bytes, 0);
    }

    #[test]
    fn any_segments_at_all_end_in_order(
        segments in prop::collection::vec(
            (any::<bool>(), any::<u32>(), 0_u32..300, any::<u32>(), "[SFRA]{0,2}",
             prop::collection::vec(any::<u8>(), 0..80), 0_usize..40, 0_u64..3000),
            0..120,
        ),
        near in any::<bool>(),
    ) {
        let mut flows = Flows::new();
        for (up_, far, step, ack, flags, payload, missing, pause) in &segments {
            flows.wait(*pause);
            let flags: String = flags.clone();
            flows.tcp(Segment {
                up: *up_,
                seq: if near { *step } else { *far },
                ack: flags.contains('A').then_some(if near { ack % 400 } else { *ack }),
                flags: &flags,
                payload,
                wire_len: payload.len() + missing,
            });
        }
        flows.finish();
        prop_assert_eq!(flows.table.connections(), 0);
        prop_assert_eq!(u64::try_from(flows.messages.len()).unwrap(), flows.coverage.messages.tcp);
    }
}
