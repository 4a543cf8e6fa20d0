//! The report for a browser: one file with everything in it, readable without a script.
//!
//! Captured text reaches the page in two ways only: through the template, which escapes it, and
//! through [`svg`], which escapes it too.

mod distribution;
mod figures;
mod page;
mod rungs;
mod svg;
mod timeline;

pub(super) use page::write;
