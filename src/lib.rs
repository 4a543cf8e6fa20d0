//! `dnswhy` reads packet captures offline and says why DNS failed.

pub mod base;

pub mod capture;

pub mod packet;

pub mod dns;

pub mod flow;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
