//! Captures cut, flipped and stretched by the thousand, through the whole library: no panic, no
//! unbounded time, and the account of frames adds up.
//!
//! The captures are made here; those of the lab join them where `DNSWHY_SHARED` names its folder.
//! Everything follows from fixed seeds, so that a failure names a capture that can be made again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::{Inventory, LinkType};
use dnswhy::report::{Format, Style, View, write};
use dnswhy::testkit::{Compression, Format as Written, PcapOptions, Scenario};

/// Damaged captures made of each whole one.
const ROUNDS: u64 = 800;
/// Bytes taken of each lab capture.
const PIECE: usize = 60_000;
/// No capture of this size may take longer, on however slow and busy a machine.
const MOST: Duration = Duration::from_secs(5);

/// What the network has to offer: UDP, TCP, fragments, ICMP, NAT, retries, odd messages.
const BUSY: &str = "
    capture node sll2 dns1
    client = 10.244.1.5
    service kube = 10.96.0.10
    dns1 = 10.244.2.7
    dns2 = 10.244.3.8
    up = 192.0.2.53

    0.000 client:40001 > kube  rd edns 1232  A redis.default.svc.cluster.local.  via dns1
    0.001 client:40001 < kube  redis.default.svc.cluster.local. 5 A 10.96.0.77
    0.010 client:40002 > kube  rd AAAA example.com.  via dns2
    5.010 client:40002 > kube  rd AAAA example.com.
    5.030 client:40002 < kube  SERVFAIL ede 22
    6.000 client:40003 > up  rd TXT large.example.
    6.010 client:40003 < up  fragment 3  large.example. 60 TXT \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"
    7.000 client:40004 > up  rd A tcp.example.
    7.010 client:40004 < up  tc
    7.020 client:40005 > up  tcp syn
    7.030 client:40005 < up  tcp syn-ack
    7.031 client:40005 > up  tcp ack
    7.040 client:40005 > up  tcp split 9 rd A tcp.example.
    7.050 client:40005 < up  tcp tcp.example. 60 A 203.0.113.9
    7.060 client:40005 > up  tcp fin
    7.070 client:40005 < up  tcp fin
    8.000 client:40006 > up  rd A refused.example.
    8.010 icmp port-unreachable 15
    9.000 client:40007 > up  raw 000000000000ffffffffffff03777777c00c
";

/// A seeded source of numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("less than a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// A damaged copy of `whole`.
fn damaged(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.below(3) {
        match dice.below(8) {
            0 => bytes.truncate(dice.below(bytes.len() + 1)),
            1 | 2 => {
                for _ in 0..=dice.below(12) {
                    let at = dice.below(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = dice.byte();
                    }
                }
            }
            3 => {
                if let (at, Some(byte)) = (dice.below(8), bytes.get_mut(dice.below(whole.len()))) {
                    *byte ^= 1 << at;
                }
            }
            4 => stretch(&mut bytes, dice),
            5 => {
                let (from, to) = between(bytes.len(), dice);
                bytes.drain(from..to);
            }
            6 => {
                // A length or a time that cannot be.
                let at = dice.below(bytes.len());
                let value = [0xffff_ffff_u32, 0x8000_0000, 0x7fff_ffff, 0, 0x0004_0001];
                let value = value[dice.below(5)].to_le_bytes();
                for (byte, value) in bytes.iter_mut().skip(at).zip(value) {
                    *byte = value;
                }
            }
            _ => {
                let (from, to) = between(bytes.len(), dice);
                let fill = dice.byte();
                bytes[from..to].fill(fill);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// Puts a piece of the capture into it once more, or many times.
fn stretch(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let (from, to) = between(bytes.len(), dice);
    let piece = bytes[from..to].to_vec();
    let at = dice.below(bytes.len() + 1);
    let times = 1 + dice.below(20);
    let tail = bytes.split_off(at);
    for _ in 0..times {
        if bytes.len() < 400_000 {
            bytes.extend(&piece);
        }
    }
    bytes.extend(tail);
}

fn between(length: usize, dice: &mut Dice) -> (usize, usize) {
    let (one, other) = (dice.below(length + 1), dice.below(length + 1));
    (one.min(other), one.max(other))
}

/// Analyses a capture and writes its reports; returns whether there was anything to read.
fn survives(path: &Path, bytes: &[u8], what: &str) -> bool {
    std::fs::write(path, bytes).expect("a file in a folder of its own");
    let Ok(inventory) = Inventory::take(&[path.to_owned()], &[]) else { return false };
    let mut transactions = 0_u64;
    let mut each = |_: &dnswhy::transaction::Transaction| transactions += 1;
    let sinks = Sinks { transactions: Some(&mut each), lookups: None };
    let analysis = run(&inventory, &Options::default(), sinks, &mut |_| {});
    let coverage = &analysis.coverage;
    assert!(coverage.adds_up(), "{what}: {coverage:?}");
    let of_files: u64 = analysis.files.iter().map(|file| file.stats.frames).sum();
    assert_eq!(coverage.frames, of_files, "{what}");
    assert!(analysis.traffic.transactions <= transactions, "{what}");
    for format in [Format::Text, Format::Markdown, Format::Html, Format::Json] {
        let mut out = Vec::new();
        write(&View::of(&analysis), format, Style::default(), &mut out)
            .expect("memory takes any report");
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn torment(name: &str, whole: &[u8], folder: &Path) {
    let path = folder.join("capture.pcap");
    let mut dice =
        Dice(name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) ^ u64::from(byte)));
    assert!(survives(&path, whole, name), "{name}: the whole capture can be read");
    let mut read = 0;
    for round in 0..ROUNDS {
        let bytes = damaged(whole, &mut dice);
        let started = Instant::now();
        read += u64::from(survives(&path, &bytes, &format!("{name}, round {round}")));
        let took = started.elapsed();
        assert!(took < MOST, "{name}, round {round}: {} bytes took {took:?}", bytes.len());
    }
    assert!(read > 0, "{name}: nothing was left of any damaged capture");
}

#[test]
fn damaged_captures_of_every_kind_end_in_order() {
    let scenario = Scenario::parse(BUSY);
    let folder = tempfile::tempdir().expect("a folder of its own");
    let links = [LinkType::LINUX_SLL2, LinkType::ETHERNET, LinkType::LINUX_SLL, LinkType::RAW];
    for format in [Written::Pcap, Written::PcapNg] {
        for (index, link) in links.into_iter().enumerate() {
            let options = PcapOptions {
                format,
                link: Some(link),
                big_endian: index % 2 == 1,
                nanoseconds: index >= 2,
                ..PcapOptions::default()
            };
            let files = scenario.write_pcap(&options);
            torment(&format!("{format:?} {link}"), &files[0], folder.path());
        }
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
            let options = PcapOptions { format, compression, ..PcapOptions::default() };
            let files = scenario.write_pcap(&options);
            torment(&format!("{format:?} {compression:?}"), &files[0], folder.path());
        }
    }
}

#[test]
fn damaged_captures_of_the_lab_end_in_order() {
    let Some(lab) = std::env::var_os("DNSWHY_SHARED").map(PathBuf::from) else { return };
    let folder = tempfile::tempdir().expect("a folder of its own");
    let mut scenarios: Vec<PathBuf> = std::fs::read_dir(lab.join("lab-captures"))
        .expect("the lab's folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    scenarios.sort();
    for scenario in scenarios.iter().step_by(8) {
        let Ok(mut whole) = std::fs::read(scenario.join("client_dns.pcap00")) else { continue };
        whole.truncate(PIECE);
        torment(&scenario.to_string_lossy(), &whole, folder.path());
    }
}
