//! Rules: transactions, lookups and shared tallies in, [`Finding`]s out.
//!
//! A rule is one file in `rules/`, registered by one line in [`ALL`]. It keeps no messages,
//! prints nothing, reads no clock, and knows no other rule; which finding explains which is the
//! work of the incident layer.

mod answers;
mod asked;
mod at_once;
mod blackhole;
mod cached;
mod classify;
mod cutoff;
mod detector;
mod finding;
mod flow;
mod forward;
mod glance;
mod harm;
mod headless;
mod hidden;
mod inquiries;
mod kept;
mod likeness;
mod load;
mod localise;
mod missing;
mod mixture;
mod odds;
mod outside;
mod posterior;
mod reach;
mod rules;
mod runs;
mod scene;
mod slower;
mod spelled;
mod stretch;
mod surroundings;
mod tallies;
mod told;
mod trips;
mod turns;
mod unheard;
mod upstream;
mod vanish;
mod zone;

pub use answers::{Answer, Answers, SetId};
pub use asked::{Asked, ToldBy};
pub use classify::Kind;
pub use cutoff::CutOffs;
pub use detector::{Class, Descriptor, Detector, Interest, Layer, Which};
pub use finding::{Action, Claim, Confidence, Culprit, Fact, Finding, Proof, RuledOut, Where};
pub use flow::{Cell, Flow, Reached};
pub use forward::{Fate, Forward, Knock, Leg, Way};
pub use glance::{Glance, NameKind, NameKinds};
pub use harm::{Bad, BadStep, HarmKind, Harmed, Ledger, Steps, Symptom, Target};
pub use headless::{meant_as_headless, pods_below};
pub use inquiries::{AskedName, Inquiries, Inquiry, Known, Place, Tally};
pub use load::Load;
pub use localise::{End, MIN_FLOWS, Outage, localise, localise_and_tally, unopened};
pub use outside::{Outside, Second, Trouble, TroubleKind};
pub use reach::Reach;
pub use rules::ALL;
pub use scene::Scene;
pub use stretch::{Pace, Stretch};
pub use surroundings::{Column, Context};
pub use tallies::{CellTally, PutBack, Reachability, Spell};
pub use told::Told;
pub use trips::{Scope, Trips};
pub use turns::{Absence, Said, Turn, absences};
pub use zone::{ClusterName, ClusterZones};
