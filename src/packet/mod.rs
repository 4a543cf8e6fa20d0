//! Frames in, [`Packet`]s out: link layers, tunnels, IP, UDP, TCP, ICMP.
//!
//! [`decode()`] peels the headers of one frame down to the innermost packet, borrowing from the
//! frame and allocating nothing; [`Defragmenter`] puts together what IP cut into pieces.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

mod cooked;
mod decode;
mod defrag;
mod ethernet;
mod extension;
mod gre;
mod icmp;
mod lan;
mod link;
mod local;
mod network;
mod pieces;
mod ppp;
#[cfg(test)]
mod sample;
mod transport;
mod tunnel;
mod types;
mod view;
mod wireless;

pub use decode::{datagram, decode};
pub use defrag::{Defragmenter, Reassembled};
pub use types::{
    Body, Datagram, Direction, Fragment, IcmpError, IcmpKind, Packet, Skip, TcpSegment, Via,
};
