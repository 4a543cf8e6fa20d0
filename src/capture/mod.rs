//! Capture files in, [`Frame`]s out.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod frame;
mod link_type;

pub use frame::{FileId, Frame, FrameRef, PointId, Seen};
pub use link_type::LinkType;
