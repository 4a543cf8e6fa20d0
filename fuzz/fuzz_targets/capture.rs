//! Any bytes as a capture file: frames are numbered from 1, bounded, and end.
#![no_main]

use std::io::Cursor;

use dnswhy::capture::{FileId, Reader};
use libfuzzer_sys::fuzz_target;

/// Frames looked at: a few compressed bytes may unfold to millions.
const FRAMES: u32 = 20_000;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::open(Box::new(Cursor::new(data.to_vec())), FileId(0)) else {
        return;
    };
    let mut number = 0;
    while let Some(next) = reader.next_frame() {
        match next {
            Ok(frame) => {
                number += 1;
                assert_eq!(frame.seen.at.number(), number);
                let _ = frame.is_cut();
            }
            Err(damage) => {
                assert_eq!(damage.after(), number);
                assert!(!damage.to_string().is_empty());
            }
        }
        if number >= FRAMES {
            break;
        }
    }
    assert_eq!(reader.stats().frames, u64::from(number));
});
