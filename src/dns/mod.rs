//! The wire view of DNS: bytes in, [`Message`] out. Knows no packets.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![deny(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod cache;
mod edns;
mod header;
mod message;
mod name;
mod parse;
mod plausible;
mod recent;
mod record;
mod rewrite;
mod wire;

pub use cache::NameCache;
pub use edns::Edns;
pub use header::{Header, Opcode, Rcode};
pub use message::{AnswerKind, Malformed, Message, Question, QuestionId, Records, Soa};
pub use name::{Ending, Labels, Name};
pub use parse::{is_whole_message, parse};
pub use plausible::begins_message;
pub use recent::RecentMessages;
pub use record::{RecordType, describe};
pub use rewrite::{Rewrite, rewrite};
