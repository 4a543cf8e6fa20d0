//! The report for a terminal: the first screen closes the ticket, the rest proves it.

mod first;
mod incident;
mod page;
mod rest;

pub use page::Style;

pub(super) use page::write;
