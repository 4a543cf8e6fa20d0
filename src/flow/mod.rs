//! The flow table: packets in, whole messages and the fate of connections out.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod event;

pub use event::{CapturedMessage, Connection, FlowEvent, Rejection, Reset};
