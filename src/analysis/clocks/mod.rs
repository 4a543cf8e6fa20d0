//! By how much the clocks of the capture points differ (rulebook `cap-clock`, 6.4).
//!
//! Before the analysis proper a bounded sample of every point is read ([`sample`]). A datagram that
//! two points recorded is found by its payload and IP identification, whatever the clocks say and
//! whatever address translation has made of its addresses. Such a datagram bounds the difference
//! of the two clocks: it arrived after it had left. Datagrams of both directions bound it from both
//! sides, as in NTP (RFC 5905 section 8), and the fastest ones most closely ([`bounds`]); many such
//! bounds over the length of the capture show drift and steps ([`fit`]).
//!
//! The times of a point are corrected ([`Shift`]) before its frames meet those of others, and only
//! if its clock differs by more than can be explained by datagrams on their way. Every time is then
//! one of the reference point's clock: of the largest group of points whose clocks agree, the one
//! nearest to clients.

mod bounds;
mod fit;
mod network;
mod sample;
mod shift;

pub use network::PointClock;
pub(super) use network::{Clocks, compare};
pub(super) use shift::Shift;
