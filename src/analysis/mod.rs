//! Captures in, an [`Analysis`] out: wires the layers from files to incidents.
//!
//! One straight way: [`run()`] takes frames in capture time from all capture points, the engine
//! decodes them and drives flow table, matcher, grouper and detectors, and what they found is
//! correlated and ranked at the end.

mod block;
mod clocks;
mod days;
mod demote;
mod engine;
mod feed;
mod focus;
mod gate;
mod group;
mod health;
mod mask;
mod outcome;
mod peers;
mod roles;
mod routes;
mod run;
mod series;
mod tail;
mod traffic;
mod verdict;

pub use clocks::PointClock;
pub use focus::{Focus, LeftOut};
pub use health::{CAPTURE_RULES, CaptureRule, Health};
pub use mask::Mask;
pub use outcome::{Analysis, FileAccount, PointAccount};
pub use roles::PointRole;
#[cfg(test)]
pub(crate) use run::tests::run_frames_unasked;
pub use run::{Options, Progress, run, run_frames};
pub use series::{Bin, Pair, Series};
pub use tail::Sinks;
pub use traffic::{ClientTally, Role, ServerTally, Tally, Traffic};
pub use verdict::{Status, Verdict};
