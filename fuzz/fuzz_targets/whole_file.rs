//! Any bytes as a capture, from the container to the report: the account of frames adds up and
//! every report can be written.
#![no_main]

use std::io::Cursor;

use dnswhy::analysis::{Options, Sinks, run_frames};
use dnswhy::capture::{FileId, Frame, LinkType, Reader, Seen};
use dnswhy::report::{Format, Style, View, write};
use libfuzzer_sys::fuzz_target;

/// Frames analysed: a few compressed bytes may unfold to millions.
const FRAMES: usize = 5_000;

struct Kept {
    seen: Seen,
    interface: Option<u32>,
    link: LinkType,
    wire_len: u32,
    bytes: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::open(Box::new(Cursor::new(data.to_vec())), FileId(0)) else {
        return;
    };
    let mut kept = Vec::new();
    while let Some(next) = reader.next_frame() {
        let Ok(frame) = next else { continue };
        kept.push(Kept {
            seen: frame.seen,
            interface: frame.interface,
            link: frame.link,
            wire_len: frame.wire_len,
            bytes: frame.bytes.to_vec(),
        });
        if kept.len() >= FRAMES {
            break;
        }
    }
    let frames = kept.iter().map(|kept| Frame {
        seen: kept.seen,
        interface: kept.interface,
        link: kept.link,
        wire_len: kept.wire_len,
        bytes: &kept.bytes,
    });
    let analysis = run_frames(frames, &Options::default(), Sinks::default());
    assert_eq!(analysis.coverage.frames, kept.len() as u64);
    assert!(analysis.coverage.adds_up());
    for format in [Format::Text, Format::Markdown, Format::Html, Format::Json] {
        let mut out = Vec::new();
        write(&View::of(&analysis), format, Style::default(), &mut out)
            .expect("memory takes any report");
        assert!(!out.is_empty());
    }
});
