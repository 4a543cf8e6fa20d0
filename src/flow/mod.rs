//! The flow table: packets in, whole messages and the fate of connections out.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![deny(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod connection;
mod datagram;
mod event;
mod framer;
mod ports;
mod sink;
mod stream;
mod table;

pub use datagram::Datagrams;
pub use event::{
    CapturedMessage, Connection, FlowEvent, Observed, Rejection, Reset, Signal, SignalKind,
};
pub use ports::Ports;
pub use table::{CONNECTIONS_MOST, FlowTable, HELD_MOST, Held, IDLE, LINGER};
