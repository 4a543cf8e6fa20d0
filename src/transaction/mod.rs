//! Messages in, [`Transaction`]s out, in the order of their first frames.

mod closed;
mod connect;
mod delivery;
mod index;
mod masquerade;
mod matcher;
mod model;
mod nat;
mod path;
mod pattern;
mod rest;
mod sighting;
mod table;
pub mod timing;

pub use closed::Closed;
pub use connect::{ConnectOutcome, TcpAttempt};
pub use matcher::Matcher;
pub use model::{
    Attempt, Hop, Hops, Outcome, QueryTraits, Rejected, Response, Transaction, Undelivered,
};
pub use nat::Nat;
pub use path::Waypoint;
pub use pattern::{Paths, Stage, Vanish};
