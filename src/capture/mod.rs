//! Capture files in, [`Frame`]s out.
//!
//! [`Inventory::take`] finds what the command line names, groups it into capture points and puts it
//! in the order of capture time; [`CaptureFile::open`] gives a [`Reader`], and that gives frames,
//! borrowed from its buffer and numbered as Wireshark numbers them.
//!
//! Formats: classic pcap (draft-ietf-opsawg-pcap), pcapng (draft-ietf-opsawg-pcapng), each plain or
//! compressed. What a file is, is told by its bytes and never by its name.
//!
//! Invariant: no file, however made, costs more memory than the named bounds of this layer, and
//! whatever is not handed on as a frame is handed on as [`Damage`] or an [`InputProblem`].
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

mod clock;
mod damage;
mod decompress;
mod duplicate;
mod file;
mod frame;
mod input;
mod inventory;
mod link_type;
mod middle;
mod order;
mod pcap;
mod pcapng;
mod problem;
mod reader;
mod ring;
mod rotation;
#[cfg(test)]
mod testing;
mod window;

pub use damage::{Damage, OpenError};
pub use decompress::Compression;
pub use file::{CaptureFile, Location, Remote};
pub use frame::{FileId, Frame, FrameRef, PointId, Seen};
pub use inventory::Inventory;
pub use link_type::LinkType;
pub use problem::{InputError, InputProblem, Reason};
pub use reader::{BytesRead, Container, FileStats, Format, Reader};
pub use ring::Point;
pub use rotation::{looks_like_a_capture, stem as ring_name};
