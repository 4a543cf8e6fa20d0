//! The part of a file that is in memory: one buffer, refilled, from which records are borrowed.
//!
//! The container parsers ask for bytes with [`Window::need`] and get all of them or learn that the
//! source has no more; so a source that returns short reads (a pipe, any decompressor) looks no
//! different from a file.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

/// A moving view of a source.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    memory: Vec<u8>,
    start: usize,
    end: usize,
    failure: Option<io::Error>,
    exhausted: bool,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>, capacity: usize) -> Self {
        Self {
            source,
            memory: vec![0; capacity.max(64)],
            start: 0,
            end: 0,
            failure: None,
            exhausted: false,
        }
    }

    /// The bytes in memory that are not consumed.
    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        self.filled().unwrap_or_default()
    }

    /// The same. It is never `None`; but whoever goes another way then is spared a choice between these
    /// bytes and none at all.
    #[inline]
    pub(super) fn filled(&self) -> Option<&[u8]> {
        self.memory.get(..self.end)?.get(self.start..)
    }

    /// Reads until at least `count` bytes are in memory; `false` if the source ends before.
    ///
    /// Memory grows with bytes that were really read, never by a claim.
    #[inline]
    pub(super) fn need(&mut self, count: usize) -> bool {
        self.end - self.start >= count || self.fill(count)
    }

    #[cold]
    fn fill(&mut self, count: usize) -> bool {
        while self.end - self.start < count {
            if self.exhausted {
                return false;
            }
            self.refill();
        }
        true
    }

    /// Passes over `count` bytes and tells where [`Window::bytes`] finds them until the next read.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let from = self.start;
        self.start = from.saturating_add(count).min(self.end);
        from..self.start
    }

    /// Bytes passed over by [`Window::take`] since the last read.
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.memory.get(range).unwrap_or_default()
    }

    /// Passes over `count` bytes, however many; `false` if the source ends before.
    pub(super) fn skip(&mut self, mut count: u64) -> bool {
        loop {
            let here = self.end - self.start;
            match usize::try_from(count) {
                Ok(rest) if rest <= here => {
                    self.start += rest;
                    return true;
                }
                _ => {
                    self.start = self.end;
                    count -= here as u64;
                    if !self.need(1) {
                        return false;
                    }
                }
            }
        }
    }

    /// Why the source ended, if not because it was over.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.as_ref().map(reason)
    }

    fn refill(&mut self) {
        self.memory.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.memory.len() {
            self.memory.resize(self.end * 2, 0);
        }
        let space = self.memory.get_mut(self.end..).unwrap_or_default();
        match self.source.read(space) {
            Ok(0) => self.exhausted = true,
            Ok(count) => self.end = self.end.saturating_add(count).min(self.memory.len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                self.exhausted = true;
                self.failure = Some(error);
            }
        }
    }
}

/// What a source that failed says, as the rest of a sentence. Files just end; only a decompressor
/// can miss bytes.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the compressed data ends early".to_owned(),
        _ => lower_first(&error.to_string()),
    }
}

/// `text` as the rest of a sentence.
pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::testing::Dripping;

    #[test]
    fn short_reads_are_filled_and_large_records_grow_the_buffer() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut window = Window::new(Box::new(Dripping::new(bytes.clone(), 3)), 64);
        assert!(window.need(10));
        let first = window.take(10);
        assert_eq!(window.bytes(first), &bytes[..10]);
        assert!(window.need(500));
        assert_eq!(&window.data()[..500], &bytes[10..510]);
        assert!(window.skip(980));
        assert!(!window.need(11));
        assert_eq!(window.data(), &bytes[990..]);
        assert!(!window.skip(11));
    }
}
