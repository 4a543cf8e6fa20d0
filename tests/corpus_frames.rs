//! Frames of real captures against Wireshark: the same number of them, with the same times.
//!
//! The captures are other people's and not in this repository: `DNSWHY_SHARED` names the folder
//! that holds them (`corpus/` with its `truth.json`, made with tshark).

#![expect(clippy::print_stderr, reason = "a test says aloud that it was skipped")]

use std::path::{Path, PathBuf};

use dnswhy::base::Timestamp;
use dnswhy::capture::{FileId, OpenError, Reader};
use serde_json::Value;

/// Files where the number of frames differs, and why that is right.
const EXPLAINED: [(&str, u64, &str); 2] = [
    (
        "OISF-suricata-verify/bug-6875-01__fuzz.pcap",
        1,
        "the second record claims 1.4 GB; Wireshark then guesses another record layout for the file",
    ),
    (
        "synth/synth-packet-before-idb.pcapng",
        38,
        "Wireshark stops at the packet before its interface; we skip that block and read on",
    ),
];

/// Files where timestamps differ, and why that is right.
const EXPLAINED_TIMES: [(&str, &str); 1] = [(
    "simsong-tcpflow/bug8.pcap",
    "the microseconds of its first record are more than a second; Wireshark's nanoseconds overflow",
)];

/// What one file gave.
struct Outcome {
    frames: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    damaged: bool,
}

fn read(path: &Path) -> Result<Outcome, OpenError> {
    let file = std::fs::File::open(path).expect("a file of the corpus opens");
    let mut reader = Reader::open(Box::new(file), FileId(0))?;
    let mut damaged = false;
    let mut number = 0;
    while let Some(next) = reader.next_frame() {
        match next {
            Ok(frame) => {
                number += 1;
                assert_eq!(frame.seen.at.number(), number, "{}", path.display());
            }
            Err(_) => damaged = true,
        }
    }
    let stats = reader.stats();
    Ok(Outcome { frames: stats.frames, first: stats.first, last: stats.last, damaged })
}

/// `1112172466.496046000` as a timestamp.
fn timestamp(text: &Value) -> Option<Timestamp> {
    let (seconds, nanos) = text.as_str()?.split_once('.')?;
    let seconds: i64 = seconds.parse().ok()?;
    Some(Timestamp::from_nanos(seconds * 1_000_000_000 + nanos.parse::<i64>().ok()?))
}

#[test]
fn every_file_of_the_corpus_has_the_frames_that_wireshark_shows() {
    let Some(shared) = std::env::var_os("DNSWHY_SHARED") else {
        eprintln!("skipped: DNSWHY_SHARED is not set");
        return;
    };
    let corpus = PathBuf::from(shared).join("corpus");
    let truth = std::fs::read(corpus.join("truth.json")).expect("the corpus has a truth.json");
    let truth: Value = serde_json::from_slice(&truth).expect("truth.json is JSON");
    let mut off = Vec::new();
    let (mut files, mut frames) = (0, 0);
    for (name, truth) in truth.as_object().expect("truth.json is an object") {
        if name.starts_with('_') {
            continue;
        }
        files += 1;
        let wanted = truth["frames"].as_u64().unwrap_or(0);
        let explained = EXPLAINED.iter().find(|(file, ..)| file == name);
        let wanted = explained.map_or(wanted, |(_, frames, _)| *frames);
        let outcome = match read(&corpus.join(name)) {
            Ok(outcome) => outcome,
            Err(error) => {
                if wanted > 0 {
                    off.push(format!("{name}: {error}, but it has {wanted} frames"));
                }
                continue;
            }
        };
        frames += outcome.frames;
        if outcome.frames != wanted {
            off.push(format!("{name}: {} frames, not {wanted}", outcome.frames));
        }
        let clean = truth["tshark_exit"].as_i64() == Some(0);
        if clean && outcome.damaged {
            off.push(format!("{name}: damaged, and fine for tshark"));
        }
        if !clean && !outcome.damaged {
            off.push(format!("{name}: fine, and damaged for tshark"));
        }
        for (which, ours) in [("first", outcome.first), ("last", outcome.last)] {
            let theirs = timestamp(&truth[format!("{which}_timestamp")]);
            let explained = EXPLAINED_TIMES.iter().any(|(file, _)| file == name);
            if clean && ours != theirs && !explained {
                off.push(format!("{name}: {which} timestamp {ours:?}, not {theirs:?}"));
            }
        }
    }
    eprintln!("{files} files, {frames} frames");
    assert!(off.is_empty(), "{} differences:\n{}", off.len(), off.join("\n"));
}
