//! Rules: transactions, lookups and shared tallies in, [`Finding`]s out.
//!
//! A rule is one file in `rules/`, registered by one line in [`ALL`]. It keeps no messages,
//! prints nothing, reads no clock, and knows no other rule; which finding explains which is the
//! work of the incident layer.

mod blackhole;
mod detector;
mod finding;
mod harm;
mod load;
mod localise;
mod odds;
mod reach;
mod rules;
mod scene;
mod vanish;

pub use detector::{Class, Descriptor, Detector, Layer};
pub use finding::{Action, Claim, Confidence, Culprit, Fact, Finding, Proof, RuledOut, Where};
pub use harm::{BadStep, HarmKind, Harmed, Ledger, Symptom};
pub use localise::{End, MIN_FLOWS, Outage, localise};
pub use reach::{Cell, Flow, Reach, Reached};
pub use rules::ALL;
pub use scene::Scene;
