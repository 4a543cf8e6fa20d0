//! Many captures: which files make one capture set, and what all their reports say together.
//!
//! Teams keep months of captures, a ring for each node and day. [`sets()`] says which files belong
//! together; [`SetRecord`] is what is kept of the report of one set; [`Index`] is a pure function
//! over records, whoever made them and in whatever order they come: it ranks the sets, joins
//! incidents that several sets saw ([`Joined`]), localises again over the tallies of all of them
//! ([`Across`]), and shows what recurs over days ([`Recurring`]).
//!
//! Invariant: an index holds all that it was made from, so that merging indexes gives the index of
//! all their records: in any order, in any grouping, and no count is lost.

mod across;
mod calendar;
mod html;
mod index;
mod join;
mod lines;
mod markdown;
mod record;
mod sets;
mod state;

pub use across::Across;
pub use calendar::Recurring;
pub use index::{Index, SCHEMA, Totals};
pub use join::{Joined, Part};
pub use record::{SetIncident, SetRecord, Unreadable};
pub use sets::{CaptureSet, Facts, sets};
pub use state::{Fingerprint, State, Written};
