//! Any bytes as frames of any link type, fragments put together: what is decoded lies within the
//! frame, and the account of frames adds up.
//!
//! Input: link type (2 bytes), then frames, each behind its captured length (2 bytes) and the
//! number of bytes that the snap length took (1 byte).
#![no_main]

use dnswhy::base::{Coverage, Timestamp};
use dnswhy::capture::{FileId, Frame, FrameRef, LinkType, PointId, Seen};
use dnswhy::flow::{FlowTable, Ports};
use dnswhy::packet::{Body, Defragmenter, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((link, mut rest)) = data.split_first_chunk::<2>() else { return };
    let link = LinkType(u16::from_be_bytes(*link));
    let (mut coverage, mut defrag) = (Coverage::default(), Defragmenter::default());
    let (mut flows, ports) = (FlowTable::new(), Ports::new([5353]));
    let mut number = 0;
    while let Some((head, behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        number += 1;
        let at = FrameRef::new(FileId(0), number);
        let frame = Frame {
            seen: Seen { ts: Timestamp::from_parts(i64::from(number), 0), at },
            interface: None,
            link,
            wire_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) + u32::from(head[2]),
            bytes,
        };
        let Ok(packet) = decode(&frame, PointId(0)) else { continue };
        if let Body::Udp(datagram) = packet.body {
            assert!(datagram.payload.len() <= bytes.len());
            assert!(datagram.payload.len() <= datagram.wire_len);
        }
        if let Body::Fragment(_) = packet.body {
            if let Some(whole) = defrag.push(&packet, &mut coverage) {
                if let Ok(packet) = whole.packet() {
                    flows.follow(&packet, &ports, &mut coverage, &mut |event, _| drop(event));
                }
            }
        } else {
            flows.follow(&packet, &ports, &mut coverage, &mut |event, _| drop(event));
        }
        for partial in defrag.expire(packet.seen.ts) {
            let _ = partial.packet();
        }
    }
    for partial in defrag.finish() {
        let _ = partial.packet();
    }
    flows.finish(&mut coverage, &mut |event, _| drop(event));
});
