//! `dnswhy batch` and `dnswhy merge`: every capture set of an archive, and an index over them.

mod find;
mod folder;
mod merge;
mod run;
mod work;

pub(super) use find::captures;
#[cfg(feature = "remote")]
pub(super) use find::{Listed, Listing};
pub(super) use merge::merge;
pub(super) use run::batch;
