//! The story of one lookup, as `dnswhy explain` tells it: a ladder in time, and why it is or is
//! not abnormal.

mod answers;
mod frame;
mod ladder;
mod model;
mod reasons;
mod tell;
mod text;
mod words;

pub use frame::{Sight, Tie};
pub use model::{Event, FrameStory, IncidentStory, LookupStory, Rung, Sighting, Story};
pub use tell::{Found, Scene, tell};
pub use text::write as write_story;
