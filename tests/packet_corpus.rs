//! Holds the packets decoded from real captures against the counts of Wireshark's dissector.
//!
//! The captures lie outside the repository: `DNSWHY_SHARED` names the folder that holds
//! `corpus/truth.json` and the files that it describes. Without it the test passes unseen.
#![expect(clippy::print_stderr, reason = "a skipped test and a count that is off must say so")]

use std::path::Path;

use dnswhy::base::{Coverage, Timestamp};
use dnswhy::capture::{FileId, Frame, FrameRef, LinkType, PointId, Seen};
use dnswhy::packet::{Body, Defragmenter, Packet, decode};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use serde_json::Value;

/// Files in which Wireshark's count means something else, each with its reason.
const KNOWN: &[(&str, &str)] =
    &[("synth/synth-vxlan-8472.pcap", "Wireshark does not look into VXLAN on Linux's old port")];

/// What port 53 shows of one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    udp: u64,
    tcp: u64,
}

#[derive(Default)]
struct Tally {
    counts: Counts,
    defragmenter: Defragmenter,
    coverage: Coverage,
    number: u32,
    time: i64,
}

impl Tally {
    fn frame(&mut self, link: u16, wire_len: u32, bytes: &[u8]) {
        self.number += 1;
        self.time += 1;
        let frame = Frame {
            seen: Seen {
                ts: Timestamp::from_nanos(self.time),
                at: FrameRef::new(FileId(0), self.number),
            },
            interface: None,
            link: LinkType(link),
            wire_len,
            bytes,
        };
        let Ok(packet) = decode(&frame, PointId(0)) else {
            return;
        };
        self.packet(&packet);
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        match packet.body {
            Body::Udp(udp) if udp.src_port == 53 || udp.dst_port == 53 => {
                self.counts.udp += u64::from(!udp.payload.is_empty());
            }
            Body::Tcp(tcp) if tcp.src_port == 53 || tcp.dst_port == 53 => self.counts.tcp += 1,
            Body::Fragment(_) => {
                if let Some(whole) = self.defragmenter.push(packet, &mut self.coverage)
                    && let Ok(inner) = whole.packet()
                {
                    self.packet(&inner);
                }
            }
            _ => {}
        }
    }
}

fn legacy(bytes: &[u8], tally: &mut Tally) -> Option<()> {
    let mut reader = LegacyPcapReader::new(1 << 22, bytes).ok()?;
    let mut link = 0;
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => link = header.network.0.cast_unsigned(),
                    PcapBlockOwned::Legacy(record) => {
                        let link = u16::try_from(link & 0xffff).ok()?;
                        tally.frame(link, record.origlen, record.data);
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(length);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().ok()?,
            Err(_) => return Some(()),
        }
    }
}

fn pcapng(bytes: &[u8], tally: &mut Tally) -> Option<()> {
    use pcap_parser::Block;
    let mut reader = PcapNGReader::new(1 << 22, bytes).ok()?;
    let mut links: Vec<(u16, u32)> = Vec::new();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        let link = u16::try_from(interface.linktype.0).ok()?;
                        links.push((link, interface.snaplen));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let (link, _) = *links.get(packet.if_id as usize)?;
                        let data = packet.data.get(..packet.caplen as usize)?;
                        tally.frame(link, packet.origlen, data);
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        let (link, snaplen) = *links.first()?;
                        let snaplen = if snaplen == 0 { u32::MAX } else { snaplen };
                        let length = packet.origlen.min(snaplen) as usize;
                        let data = packet.data.get(..length).unwrap_or(packet.data);
                        tally.frame(link, packet.origlen, data);
                    }
                    _ => {}
                }
                reader.consume(length);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().ok()?,
            Err(_) => return Some(()),
        }
    }
}

/// What tshark counted: UDP messages by the layers below them, TCP frames of port 53.
fn wanted(truth: &Value) -> Counts {
    let stacks = truth["dns_stacks"].as_object();
    let udp = stacks.into_iter().flatten();
    let udp = udp.filter(|(stack, _)| stack.ends_with(":udp"));
    Counts {
        udp: udp.filter_map(|(_, count)| count.as_u64()).sum(),
        tcp: truth["tcp_port_53"]["frames"].as_u64().unwrap_or(0),
    }
}

/// Whether tshark read the file without complaint, so that its counts can be held against ours.
fn is_clean(truth: &Value) -> bool {
    let zero = |key: &str| truth[key].as_u64().unwrap_or(0) == 0;
    zero("tshark_exit")
        && zero("tshark_exit_dns")
        && zero("malformed")
        && zero("frames_cut_by_snaplen")
        && zero("dns_without_readable_flags")
}

#[test]
fn port_53_is_found_where_wireshark_finds_it() {
    let Some(shared) = std::env::var_os("DNSWHY_SHARED") else {
        eprintln!("skipped: DNSWHY_SHARED is not set");
        return;
    };
    let corpus = Path::new(&shared).join("corpus");
    let truth = std::fs::read(corpus.join("truth.json")).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let mut off = 0;
    let mut read = 0;
    for (name, truth) in truth.as_object().unwrap() {
        let container = &truth["container"];
        let known = KNOWN.iter().any(|(known, _)| known == name);
        if name.starts_with('_') || !container["compression"].is_null() {
            continue;
        }
        let Ok(bytes) = std::fs::read(corpus.join(name)) else {
            continue;
        };
        let mut tally = Tally::default();
        let finished = match container["format"].as_str() {
            Some("pcap") => legacy(&bytes, &mut tally),
            Some("pcapng") => pcapng(&bytes, &mut tally),
            _ => continue,
        };
        let frames = truth["frames"].as_u64().unwrap_or(0);
        // Damaged and modified containers are the capture reader's tests.
        if finished.is_none() || frames != u64::from(tally.number) || !is_clean(truth) {
            continue;
        }
        read += 1;
        let want = wanted(truth);
        if !known && want != tally.counts {
            off += 1;
            eprintln!("{name}: want {want:?}, got {:?}", tally.counts);
        }
    }
    eprintln!("{read} captures compared");
    assert!(read > 0, "no capture could be compared");
    assert_eq!(off, 0, "captures differ");
}
