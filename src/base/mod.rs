//! What every layer speaks in: capture time, addresses, and the account of what was read.
//!
//! This layer imports nothing of ours.

mod address;
mod addresses;
mod blocks;
mod coverage;
mod few;
mod hash;
mod histogram;
mod lang;
mod lately;
mod net;
mod nodes;
mod numbered;
mod purge;
mod queue;
mod row;
mod table;
pub mod text;
mod time;
pub mod words;

pub use address::{Host, SocketId, halves};
pub use addresses::{AddressId, Addresses, Rows};
pub use blocks::Blocks;
pub use coverage::{Coverage, Limit, MessageCounts};
pub use few::Few;
pub use hash::{Map, Set, digest, entry_within};
pub use histogram::{Histogram, Placed};
pub use lang::Lang;
pub use lately::Lately;
pub use net::{FiveTuple, Network, Transport, is_link_local};
pub use nodes::{Node, Nodes};
pub use numbered::{Number, Numbered};
pub use purge::{Purge, forget_before_growth};
pub use queue::push_back;
pub use row::push_within;
pub use table::Table;
pub use time::{Span, Timestamp};
