//! Transactions in, [`Lookup`]s out: what the application asked for, and what it felt.

mod clients;
mod fingerprint;
mod grouper;
mod in_vain;
mod judge;
mod manner;
mod model;
mod open;
mod printed;
mod profile;
mod resolver;
mod round;
mod search;
mod starts;
mod wait;

pub use fingerprint::{Fingerprint, Likelihood};
pub use grouper::Grouper;
pub use model::{Lookup, LookupOutcome, Role, Sent, Step};
pub use profile::{Profile, Profiles};
pub use resolver::{Resolver, Sign};

#[cfg(test)]
mod tests;
