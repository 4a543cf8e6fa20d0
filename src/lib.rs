//! `dnswhy` reads packet captures offline and says why DNS failed.

pub mod base;

pub mod capture;

pub mod packet;

pub mod dns;

pub mod flow;

pub mod transaction;

pub mod lookup;

pub mod detect;

pub mod incident;

pub mod analysis;

pub mod report;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub mod cli;
