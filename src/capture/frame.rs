//! One record of a capture file, and where it came from.

use super::LinkType;
use crate::base::Timestamp;

/// A capture file, by its place in the analysed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A place where a capture was taken, usually a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub u16);

/// A frame by file and number, as people open it in Wireshark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameRef {
    /// The file.
    pub file: FileId,
    /// Its number in that file, counted from 1 as Wireshark does.
    pub number: u32,
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
