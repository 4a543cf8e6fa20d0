//! What can be wrong with one capture file.
//!
//! The reader knows a file by number only; whoever reports one of these puts the name before it.

use thiserror::Error;

/// Why a file cannot be read as a capture at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum OpenError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It begins like no capture that we know.
    #[error("not a pcap or pcapng capture")]
    NotACapture,
    /// It begins like a capture and ends before its header does.
    #[error("cut short inside the file header")]
    HeaderCut,
    /// A version of the format that nobody has defined, so that what follows may mean anything.
    #[error("{format} version {major}.{minor} is not known")]
    Version {
        /// "pcap" or "pcapng".
        format: &'static str,
        /// Major version number.
        major: u16,
        /// Minor version number.
        minor: u16,
    },
    /// Bits of a classic header's link-type field that must be zero are not.
    #[error("the link-type field 0x{0:08x} of the file header makes no sense")]
    LinkField(u32),
    /// The system or a decompressor would not give its bytes.
    #[error("{0}")]
    Unreadable(String),
}

/// Where and why a file stopped making sense. All frames before it are good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// The file ends in the middle of a record, as it does while tcpdump still writes it.
    #[error("cut short in the middle of the record after frame {after}")]
    CutShort {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
    },
    /// A record claims to be longer than any record is; the rest of the file is lost.
    #[error("the record after frame {after} claims {claimed} bytes, at most {limit} are possible")]
    TooLong {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// The captured length that it claims.
        claimed: u64,
        /// The longest that is believed for its link type.
        limit: u32,
    },
    /// A pcapng block whose content contradicts itself; it was skipped and reading went on.
    #[error("a bad block after frame {after} was skipped: {reason}")]
    BadBlock {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pcapng block whose length or byte order is not believable; the rest of the file is lost.
    #[error("the blocks after frame {after} cannot be followed: {reason}")]
    LostBlocks {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system or a decompressor would not give more bytes; the rest of the file is lost.
    #[error("unreadable after frame {after}: {reason}")]
    Unreadable {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// What the system or the decompressor said.
        reason: String,
    },
}

impl Damage {
    /// The number of the last good frame before the damage; 0 if there is none.
    pub fn after(&self) -> u32 {
        match self {
            Self::CutShort { after }
            | Self::TooLong { after, .. }
            | Self::BadBlock { after, .. }
            | Self::LostBlocks { after, .. }
            | Self::Unreadable { after, .. } => *after,
        }
    }
}
