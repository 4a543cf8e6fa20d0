//! Messages in, [`Transaction`]s out, in the order of their first frames.

mod astray;
mod closed;
mod connect;
mod delivery;
mod folded;
mod hops;
mod index;
mod latest;
mod masquerade;
mod matcher;
mod model;
mod nat;
mod path;
mod pattern;
mod sighting;
mod table;
pub mod timing;

pub use closed::Closed;
pub use connect::{ConnectOutcome, TcpAttempt};
pub use hops::{Hop, Hops, Spot};
pub use matcher::Matcher;
pub use model::{Attempt, Outcome, QueryTraits, Rejected, Response, Transaction, Undelivered};
pub use nat::Nat;
pub use path::Waypoint;
pub use pattern::{Paths, Stage, Vanish};
