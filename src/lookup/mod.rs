//! Transactions in, [`Lookup`]s out: what the application asked for, and what it felt.

mod grouper;
mod model;
mod resolver;
mod search;

pub use grouper::Grouper;
pub use model::{Lookup, LookupOutcome, Role, Sent, Step};
pub use resolver::Resolver;
