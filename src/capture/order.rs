//! Numbers in the byte order of the host that captured.

/// The byte order of a file or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u16(self, data: &[u8], at: usize) -> Option<u16> {
        let bytes = data.get(at..at + 2)?.try_into().ok()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    pub(super) fn u32(self, data: &[u8], at: usize) -> Option<u32> {
        let [number] = self.numbers([data.get(at..at + 4)?.try_into().ok()?]);
        Some(number)
    }

    #[inline]
    pub(super) fn numbers<const N: usize>(self, fields: [[u8; 4]; N]) -> [u32; N] {
        match self {
            Self::Little => fields.map(u32::from_le_bytes),
            Self::Big => fields.map(u32::from_be_bytes),
        }
    }

    pub(super) fn i64(self, data: &[u8]) -> Option<i64> {
        let bytes = data.get(..8)?.try_into().ok()?;
        Some(match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        })
    }
}
