//! What a failing upstream looks like, for the rules about it: on its own legs where the capture
//! shows them, else from what clients were told (rulebook 2.E).

mod circle;
mod clients;
mod failing;
mod legs;
mod limit;
#[cfg(test)]
pub(super) mod scenarios;
mod words;

pub(super) use circle::{BACK, Circle, circles};
pub(super) use failing::{Failing, Kind, failing};
pub(super) use limit::{AtLimit, at_limit};
pub(super) use words::{Words, ask_it, read_the_corefile, record_the_legs};
