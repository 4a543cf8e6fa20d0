//! The bytes of one layer, and how long that layer was on the wire.

use super::Skip;
use crate::capture::Frame;

/// What was captured of one layer, which may be less than there was.
///
/// Invariant: `wire >= bytes.len()`.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The captured bytes.
    pub(super) bytes: &'a [u8],
    /// Length on the wire.
    pub(super) wire: usize,
}

impl<'a> View<'a> {
    /// A whole frame.
    #[inline]
    pub(super) fn of(frame: &Frame<'a>) -> Self {
        let wire = usize::try_from(frame.wire_len).unwrap_or(usize::MAX);
        Self { bytes: frame.bytes, wire: wire.max(frame.bytes.len()) }
    }

    /// Splits off a header of fixed size.
    #[inline]
    pub(super) fn split<const N: usize>(self) -> Result<(&'a [u8; N], Self), Skip> {
        let (header, bytes) = self.bytes.split_first_chunk().ok_or(Skip::Cut)?;
        let wire = self.wire - N;
        Ok((header, Self { bytes, wire }))
    }

    /// Drops `count` bytes at the front.
    #[inline]
    pub(super) fn skip(self, count: usize) -> Result<Self, Skip> {
        let bytes = self.bytes.get(count..).ok_or(Skip::Cut)?;
        let wire = self.wire - count;
        Ok(Self { bytes, wire })
    }

    /// The same layer, `wire` bytes long as its own header says: padding behind it is dropped,
    /// and what is missing was cut.
    #[inline]
    pub(super) fn limit(self, wire: usize) -> Self {
        let bytes = self.bytes.get(..wire).unwrap_or(self.bytes);
        Self { bytes, wire }
    }

    /// The byte at `at`.
    #[inline]
    pub(super) fn u8(self, at: usize) -> Result<u8, Skip> {
        self.bytes.get(at).copied().ok_or(Skip::Cut)
    }

    /// The big-endian number at `at`.
    #[inline]
    pub(super) fn u16(self, at: usize) -> Result<u16, Skip> {
        let rest = self.bytes.get(at..).ok_or(Skip::Cut)?;
        let bytes = rest.first_chunk().ok_or(Skip::Cut)?;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Whether the first byte is the version of IPv4 or IPv6.
    #[inline]
    pub(super) fn looks_like_ip(self) -> bool {
        matches!(self.bytes.first().map(|first| first >> 4), Some(4 | 6))
    }
}
