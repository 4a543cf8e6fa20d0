//! One record of a capture file, and where it came from.

use std::fmt;
use std::num::NonZero;

use super::LinkType;
use crate::base::Timestamp;

/// A capture file, by its place in the analysed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A place where a capture was taken, usually a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub u16);

/// A frame by file and number, as people open it in Wireshark. Ordered by file, then by number.
///
/// One number that is never 0: together with its time, and even where there may be none, a frame is then
/// passed on in two registers. A copy of several smaller fields would have to wait until all of them
/// are written, and hardly anything is passed on as often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameRef(NonZero<u64>);

impl FrameRef {
    /// The frame with this number in this file.
    #[inline]
    pub const fn new(file: FileId, number: u32) -> Self {
        Self(NonZero::<u64>::MIN.saturating_add((file.0 as u64) << 32 | number as u64))
    }

    /// The file.
    #[inline]
    pub fn file(self) -> FileId {
        let [f3, f2, f1, f0, _, _, _, _] = (self.0.get() - 1).to_be_bytes();
        FileId(u32::from_be_bytes([f3, f2, f1, f0]))
    }

    /// Its number in that file, counted from 1 as Wireshark does.
    #[inline]
    pub fn number(self) -> u32 {
        let [.., n3, n2, n1, n0] = (self.0.get() - 1).to_be_bytes();
        u32::from_be_bytes([n3, n2, n1, n0])
    }
}

impl fmt::Debug for FrameRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, number) = (self.file(), self.number());
        f.debug_struct("FrameRef").field("file", &file).field("number", &number).finish()
    }
}

/// Which frame, and when.
///
/// Ordered by time first, then by file and frame: a total order over a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Its timestamp.
    pub ts: Timestamp,
    /// The frame.
    pub at: FrameRef,
}

/// One record of a capture file, borrowed from the reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Which frame, and when.
    pub seen: Seen,
    /// The pcapng interface it was recorded on, counted over the file; `None` for classic pcap.
    pub interface: Option<u32>,
    /// What its first byte is.
    pub link: LinkType,
    /// Its length on the wire in bytes; more than `bytes.len()` when the snap length cut it.
    pub wire_len: u32,
    /// The captured bytes.
    pub bytes: &'a [u8],
}

impl Frame<'_> {
    /// Whether the snap length cut it.
    pub fn is_cut(&self) -> bool {
        usize::try_from(self.wire_len).is_ok_and(|wire| wire > self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_keeps_its_file_and_number() {
        let mut frames = Vec::new();
        for file in [0, 1, 7, u32::MAX] {
            for number in [0, 1, 20_000, u32::MAX - 1] {
                let frame = FrameRef::new(FileId(file), number);
                assert_eq!((frame.file(), frame.number()), (FileId(file), number));
                frames.push(frame);
            }
        }
        assert!(frames.is_sorted());
        assert_eq!(size_of::<Option<Seen>>(), 16);
    }
}
