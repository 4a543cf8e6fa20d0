//! The cause is the same however the capture was written: frames out of order, frames missed, clocks
//! that tell milliseconds alone, datagrams without an IP identification, link types that do not number
//! interfaces.

use std::fs;
use std::path::{Path, PathBuf};

use dnswhy::analysis::{Analysis, Options, Sinks, run_frames};
use dnswhy::base::Timestamp;
use dnswhy::capture::{FileId, Frame, FrameRef, Inventory, LinkType, Seen};
use dnswhy::incident::Severity;
use dnswhy::testkit::Scenario;
use dnswhy::transaction::Transaction;

/// A frame that was read.
#[derive(Clone)]
struct Kept {
    seen: Seen,
    link: LinkType,
    wire_len: u32,
    bytes: Vec<u8>,
}

/// What is done to the frames of a capture.
type Disturbance = fn(Vec<Kept>) -> Vec<Kept>;

const SLL: LinkType = LinkType(113);
const SLL2: LinkType = LinkType(276);
const SLL2_HEADER: usize = 20;

/// The captures of the repository, and of the lab where they are at hand.
fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap");
    let lab =
        std::env::var_os("DNSWHY_SHARED").map(|shared| Path::new(&shared).join("lab-captures"));
    let tops = [Some(own), lab].into_iter().flatten();
    let mut folders: Vec<PathBuf> = tops
        .flat_map(|top| fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// The frames of a folder's capture on the clients' node, in their order.
fn frames(folder: &Path) -> Vec<Kept> {
    let mut frames = Vec::new();
    for file in Inventory::take(&[folder.to_owned()], &[]).unwrap().files {
        let name = file.path.file_name().unwrap().to_string_lossy();
        if !name.starts_with("client_dns") {
            continue;
        }
        let mut reader = file.open().unwrap();
        while let Some(frame) = reader.next_frame() {
            let Ok(Frame { seen, link, wire_len, bytes, .. }) = frame else { continue };
            frames.push(Kept { seen, link, wire_len, bytes: bytes.to_vec() });
        }
    }
    frames
}

fn analyse(frames: &[Kept]) -> Analysis {
    let frames = (1..).zip(frames).map(|(number, kept)| {
        let mut seen = kept.seen;
        seen.at = FrameRef::new(FileId(0), number);
        let Kept { link, wire_len, bytes, .. } = kept;
        Frame { seen, interface: None, link: *link, wire_len: *wire_len, bytes }
    });
    run_frames(frames, &Options::default(), Sinks::default())
}

/// What the first screen says is wrong, and whose fault it is.
fn cause(frames: &[Kept]) -> Option<(&'static str, Vec<String>)> {
    let analysis = analyse(frames);
    let first = analysis.incidents.first().filter(|first| first.severity > Severity::Info)?;
    let culprits = first.cause.culprits.iter().map(|culprit| format!("{culprit:?}")).collect();
    Some((first.cause.rule.id, culprits))
}

fn check(disturb: Disturbance) {
    for folder in captures() {
        let as_it_was = frames(&folder);
        let disturbed = disturb(as_it_was.clone());
        assert_eq!(cause(&disturbed), cause(&as_it_was), "{}", folder.display());
    }
}

/// Numbers below `bound` that look drawn at random, always the same (Knuth's MMIX generator).
fn drawn(bound: u64) -> impl FnMut() -> u64 {
    let mut state = 7_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    }
}

/// Where the IP header begins behind a cooked one.
fn ip_of(kept: &mut Kept) -> Option<&mut [u8]> {
    let at = match kept.link {
        SLL2 => SLL2_HEADER,
        SLL => 16,
        _ => return None,
    };
    kept.bytes.get_mut(at..)
}

/// Several cores deliver to the capture: neighbours within 20 us change places, their times stay.
#[test]
fn frames_stand_out_of_order() {
    check(|frames| {
        let mut place = drawn(40_001);
        let mut keyed: Vec<(i64, Kept)> = frames
            .into_iter()
            .map(|kept| (kept.seen.ts.nanos() + i64::try_from(place()).unwrap() - 20_000, kept))
            .collect();
        keyed.sort_by_key(|(place, _)| *place);
        keyed.into_iter().map(|(_, kept)| kept).collect()
    });
}

#[test]
fn one_frame_in_a_hundred_is_missed() {
    check(|mut frames| {
        let mut hundred = drawn(100);
        frames.retain(|_| hundred() > 0);
        frames
    });
}

#[test]
fn clocks_tell_milliseconds_alone() {
    check(|mut frames| {
        for kept in &mut frames {
            kept.seen.ts = Timestamp::from_nanos(kept.seen.ts.nanos() / 1_000_000 * 1_000_000);
        }
        frames
    });
}

/// Atomic datagrams (RFC 6864) carry 0, as do all that Linux sends from sockets that are not connected.
#[test]
fn no_identification_ties_copies_together() {
    check(|mut frames| {
        for ip in frames.iter_mut().filter_map(ip_of) {
            if let [0x45, _, _, _, id @ ..] = ip
                && let [high, low, flags, offset, ..] = id
                && (*flags & 0x3f, *offset) == (0, 0)
            {
                (*high, *low, *flags) = (0, 0, 0x40);
            }
        }
        frames
    });
}

/// SLL, which tcpdump wrote for `-i any` before SLL2.
#[test]
fn the_link_type_does_not_number_interfaces() {
    check(|mut frames| {
        for kept in frames.iter_mut().filter(|kept| kept.link == SLL2) {
            let Some((&[p0, p1, _, _, _, _, _, _, h0, h1, kind, length, ref mac @ ..], packet)) =
                kept.bytes.split_first_chunk::<SLL2_HEADER>()
            else {
                continue;
            };
            let header = [&[0, kind, h0, h1, 0, length], &mac[..], &[p0, p1]].concat();
            kept.bytes = [&header, packet].concat();
            (kept.link, kept.wire_len) = (SLL, kept.wire_len - 4);
        }
        frames
    });
}

/// Client port, server, backend, attempts and outcome of every transaction of a scenario.
fn transactions(lines: &str) -> Vec<String> {
    let hosts = "service kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\ndns2 = 10.244.2.10\n\
                 pod = 10.244.0.2\nother = 192.0.2.53";
    let scenario = Scenario::parse(&format!("{hosts}\n{lines}"));
    let made = scenario.frames();
    let mut told = Vec::new();
    let mut tell = |asked: &Transaction| {
        let backend = asked.backend().map_or_else(|| "-".to_owned(), |address| address.to_string());
        let (server, attempts) = (asked.server.ip(), asked.attempts.len());
        told.push(format!("{server} {backend} {attempts} {:?}", asked.outcome()));
    };
    let sinks = Sinks { transactions: Some(&mut tell), ..Sinks::default() };
    run_frames(made.iter().map(|made| made.frame()), &Options::default(), sinks);
    told
}

/// What the node's translation is, before it matters.
const KNOWN: &str = "0.0 pod:41000 > kube-dns via dns1 rd A a.example.\n\
                     0.001 pod:41000 < kube-dns NXDOMAIN\n\
                     0.1 pod:41001 > kube-dns via dns2 rd A a.example.\n\
                     0.101 pod:41001 < kube-dns NXDOMAIN\n";

#[test]
fn a_repeat_that_is_seen_behind_the_translation_alone_went_where_it_shows() {
    let lines = "1.0 pod:42000 > kube-dns via dns1 id 7 rd A b.example.\n\
                 6.0 pod:42000 > kube-dns via dns2 id 7 rd A b.example. since bridge\n\
                 6.001 pod:42000 < kube-dns NXDOMAIN";
    let told = transactions(&format!("capture node sll2\n{KNOWN}{lines}"));
    assert_eq!(told.last().unwrap(), "10.96.0.10 10.244.2.10 2 Negative");
}

#[test]
fn the_answer_tells_who_was_asked_where_the_query_does_not() {
    let lines = "1.0 pod:42000 > kube-dns via dns1 id 7 rd A b.example. since overlay\n\
                 1.001 pod:42000 < kube-dns NXDOMAIN";
    let told = transactions(&format!("capture node sll2\n{KNOWN}{lines}"));
    assert_eq!(told.last().unwrap(), "10.96.0.10 10.244.1.10 1 Negative");
}

#[test]
fn copies_without_an_identification_on_interfaces_without_numbers_are_one_datagram() {
    let lines = "1.0 pod:42000 > kube-dns via dns1 id 7 rd A b.example. ipid 0\n\
                 1.001 pod:42000 < kube-dns NXDOMAIN ipid 0";
    let told = transactions(&format!("capture node sll\n{KNOWN}{lines}"));
    assert_eq!(told.last().unwrap(), "10.96.0.10 10.244.1.10 1 Negative");
}

/// musl asks all of its servers at once, from one port and with one id.
#[test]
fn two_servers_that_are_asked_at_once_stay_two() {
    for link in ["sll", "sll2"] {
        let lines = "1.0 pod:42000 > kube-dns via dns1 id 7 rd A b.example. ipid 0\n\
                     1.0003 pod:42000 > other id 7 rd A b.example. ipid 0\n\
                     1.001 pod:42000 < kube-dns id 7 NXDOMAIN ipid 0";
        let told = transactions(&format!("capture node {link}\n{KNOWN}{lines}"));
        let expected = ["10.96.0.10 10.244.1.10 1 Negative", "192.0.2.53 - 1 Unknown"];
        assert_eq!(told[2..], expected, "{link}");
    }
}
