//! Any segments of a few connections: no panic, and never more memory held than the table's bound.
//!
//! Input: segments, each of flags and connection (1 byte), sequence number (2 bytes), time (1 byte,
//! in tens of milliseconds), length of its payload (1 byte), and payload.
#![no_main]

use std::net::IpAddr;

use dnswhy::base::{Coverage, Timestamp};
use dnswhy::capture::{FileId, FrameRef, PointId, Seen};
use dnswhy::flow::{CONNECTIONS_MOST, FlowTable, Ports};
use dnswhy::packet::{Body, Packet, TcpSegment, Via};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut coverage, mut flows, ports) = (Coverage::default(), FlowTable::new(), Ports::new([]));
    let client: IpAddr = [10, 0, 0, 1].into();
    let server: IpAddr = [10, 96, 0, 10].into();
    let (mut rest, mut number, mut nanos) = (data, 0, 0_i64);
    let mut messages = 0_u64;
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let [flags, high, low, time, length] = *head;
        let (payload, next) = behind.split_at(usize::from(length).min(behind.len()));
        rest = next;
        number += 1;
        nanos = nanos.saturating_add(i64::from(time.cast_signed()) * 10_000_000);
        let from_server = flags & 1 != 0;
        let port = 40_000 + u16::from(flags & 6);
        // Two bytes reach over the whole number space, with the neighbourhood of zero.
        let seq = u32::from(u16::from_be_bytes([high, low])).wrapping_sub(0x100);
        let segment = TcpSegment {
            src_port: if from_server { 53 } else { port },
            dst_port: if from_server { port } else { 53 },
            seq,
            ack: seq.rotate_left(3),
            syn: flags & 8 != 0,
            has_ack: flags & 16 != 0,
            fin: flags & 32 != 0,
            rst: flags & 64 != 0,
            payload,
            wire_len: payload.len() + usize::from(flags & 128),
        };
        let at = FrameRef::new(FileId(0), number);
        let packet = Packet {
            seen: Seen { ts: Timestamp::from_nanos(nanos), at },
            via: Via { ttl: 64, ..Via::at(PointId(0)) },
            src: if from_server { server } else { client },
            dst: if from_server { client } else { server },
            body: Body::Tcp(segment),
        };
        flows.follow(&packet, &ports, &mut coverage, &mut |_, _| messages += 1);
        assert!(flows.connections() <= CONNECTIONS_MOST);
    }
    flows.finish(&mut coverage, &mut |_, _| messages += 1);
    assert_eq!(flows.connections(), 0);
});
