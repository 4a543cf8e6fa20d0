//! Frames in, [`Packet`]s out: link layers, tunnels, IP, UDP, TCP, ICMP.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod types;

pub use types::{
    Body, Datagram, Direction, Fragment, IcmpError, IcmpKind, Packet, Skip, TcpSegment, Via,
};
