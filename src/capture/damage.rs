//! What can be wrong with one capture file.
//!
//! The reader knows a file by number only; whoever reports one of these puts the name before it.

use std::error::Error;
use std::fmt;

use crate::base::words::{Text, ToText, plain, text};

/// Why a file cannot be read as a capture at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenError {
    /// There is nothing in it.
    Empty,
    /// It begins like no capture that we know.
    NotACapture,
    /// It begins like a capture and ends before its header does.
    HeaderCut,
    /// A version of the format that nobody has defined, so that what follows may mean anything.
    Version {
        /// "pcap" or "pcapng".
        format: &'static str,
        /// Major version number.
        major: u16,
        /// Minor version number.
        minor: u16,
    },
    /// Bits of a classic header's link-type field that must be zero are not.
    LinkField(u32),
    /// The system or a decompressor would not give its bytes.
    Unreadable(String),
}

/// Where and why a file stopped making sense. All frames before it are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The file ends in the middle of a record, as it does while tcpdump still writes it.
    CutShort {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
    },
    /// A record claims to be longer than any record is; the rest of the file is lost.
    TooLong {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// The captured length that it claims.
        claimed: u64,
        /// The longest that is believed for its link type.
        limit: u32,
    },
    /// A pcapng block whose content contradicts itself; it was skipped and reading went on.
    BadBlock {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pcapng block whose length or byte order is not believable; the rest of the file is lost.
    LostBlocks {
        /// The last whole frame before it; 0 if there is none.
        after: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Behind one classic file stands another, as where a ring was sent through one pipe; it is read as
    /// well, and its frames are counted on.
    Joined {
        /// The last frame of the one before; 0 if there is none.
        after: u32,
    },
    /// The system or a decompressor would not give more bytes; the rest of the file is lost.
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
            | Self::Joined { after }
            | Self::TooLong { after, .. }
            | Self::BadBlock { after, .. }
            | Self::LostBlocks { after, .. }
            | Self::Unreadable { after, .. } => *after,
        }
    }
}

impl ToText for OpenError {
    fn to_text(&self) -> Text {
        match self {
            Self::Empty => text!("the file is empty"),
            Self::NotACapture => text!("not a pcap or pcapng capture"),
            Self::HeaderCut => text!("cut short inside the file header"),
            Self::Version { format, major, minor } => text!(
                "{format} version {major}.{minor} is not known",
                format = plain(format),
                major,
                minor
            ),
            Self::LinkField(field) => text!(
                "the link-type field 0x{field} of the file header makes no sense",
                field = format_args!("{field:08x}")
            ),
            Self::Unreadable(reason) => plain(reason),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

impl Error for OpenError {}

impl ToText for Damage {
    fn to_text(&self) -> Text {
        match self {
            Self::CutShort { after } => {
                text!("cut short in the middle of the record after frame {after}", after)
            }
            Self::TooLong { after, claimed, limit } => text!(
                "the record after frame {after} claims {claimed} bytes, at most {limit} are \
                 possible",
                after,
                claimed,
                limit
            ),
            Self::BadBlock { after, reason } => text!(
                "a bad block after frame {after} was skipped: {reason}",
                after,
                reason = plain(reason)
            ),
            Self::LostBlocks { after, reason } => text!(
                "the blocks after frame {after} cannot be followed: {reason}",
                after,
                reason = plain(reason)
            ),
            Self::Joined { after } => {
                text!("another capture begins after frame {after}: both are read as one", after)
            }
            Self::Unreadable { after, reason } => {
                text!("unreadable after frame {after}: {reason}", after, reason = plain(reason))
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

impl Error for Damage {}
