//! Traffic over time, and who reached whom: small tallies for a picture, integers only.
//!
//! The time axis has a fixed number of bins. It begins with short ones; when the capture outgrows
//! them, neighbours are joined and the bins are twice as long. So the tally costs the same for a
//! minute as for a week, and does not depend on how the input was cut.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::health::Sided;
use super::routes::{ByRoute, RouteId, Routes};
use crate::base::{Coverage, Limit, Timestamp};
use crate::lookup::Lookup;
use crate::transaction::{Outcome, Transaction};

/// Bins of the time axis.
const BINS: usize = 512;
/// The length of a bin at first, in nanoseconds.
const SHORTEST: u64 = 50_000_000;
/// A lookup that took this long stalled: the first common retry timers are 1 s.
const STALL: Duration = Duration::from_secs(1);

/// Traffic over time, and who reached whom.
#[derive(Debug, Clone)]
pub struct Series {
    /// Where the first bin begins.
    origin: Option<Timestamp>,
    /// The length of a bin in nanoseconds.
    width: u64,
    bins: Vec<Bin>,
    live: ByRoute<Pair>,
    /// Who asked whom, and what came of it.
    pub pairs: BTreeMap<(IpAddr, IpAddr), Pair>,
}

/// One bin of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bin {
    /// Transactions that began in it.
    pub transactions: u32,
    /// Of them, those that nobody answered in time.
    pub unanswered: u32,
    /// Of them, those that a server answered with an error (not: that a name is missing).
    pub errors: u32,
    /// Lookups that began in it and took a second or more.
    pub stalled: u32,
    /// Lookups that began in it and failed.
    pub failed: u32,
}

/// What came of one client's questions to one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pair {
    /// Transactions answered in time.
    pub answered: u64,
    /// Transactions answered too late, or not at all.
    pub unanswered: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            origin: None,
            width: SHORTEST,
            bins: Vec::new(),
            live: ByRoute::default(),
            pairs: BTreeMap::new(),
        }
    }
}

impl Series {
    /// Counts a transaction of a capture that began at `start`.
    pub(super) fn transaction(
        &mut self,
        transaction: &Transaction,
        route: Option<RouteId>,
        start: Timestamp,
        coverage: &mut Coverage,
    ) {
        if transaction.attempts.is_empty() {
            return;
        }
        self.origin.get_or_insert(start);
        let outcome = transaction.outcome();
        let lost = matches!(outcome, Outcome::Timeout | Outcome::Rejected(_) | Outcome::Late);
        if let Some(bin) = self.bin(transaction.first().ts) {
            bin.transactions = bin.transactions.saturating_add(1);
            bin.unanswered = bin.unanswered.saturating_add(u32::from(lost));
            let error = matches!(outcome, Outcome::Error(_));
            bin.errors = bin.errors.saturating_add(u32::from(error));
        }
        if !lost && !outcome.is_answered() {
            return;
        }
        let Some(route) = route else {
            coverage.limited(Limit::Clients);
            return;
        };
        let pair = self.live.row(route);
        pair.unanswered += u64::from(lost);
        pair.answered += u64::from(!lost);
    }

    /// Counts a lookup.
    pub(super) fn lookup(&mut self, lookup: &Lookup) {
        let failed = lookup.outcome.is_failure();
        let stalled = !failed && lookup.duration().is_some_and(|took| took >= STALL);
        if (failed || stalled)
            && let Some(bin) = self.bin(lookup.start.ts)
        {
            bin.failed = bin.failed.saturating_add(u32::from(failed));
            bin.stalled = bin.stalled.saturating_add(u32::from(stalled));
        }
    }

    fn bin(&mut self, ts: Timestamp) -> Option<&mut Bin> {
        let offset = ts.nanos().saturating_sub(self.origin?.nanos());
        let offset = u64::try_from(offset).unwrap_or(0);
        let mut index = offset / self.width;
        while index >= BINS as u64 {
            self.join();
            index = offset / self.width;
        }
        let index = usize::try_from(index).ok()?;
        if self.bins.len() <= index {
            self.bins.resize(index + 1, Bin::default());
        }
        self.bins.get_mut(index)
    }

    /// Makes bins twice as long.
    fn join(&mut self) {
        self.width = self.width.saturating_mul(2);
        let joined = self.bins.chunks(2).map(|two| {
            two.iter().fold(Bin::default(), |sum, bin| Bin {
                transactions: sum.transactions.saturating_add(bin.transactions),
                unanswered: sum.unanswered.saturating_add(bin.unanswered),
                errors: sum.errors.saturating_add(bin.errors),
                stalled: sum.stalled.saturating_add(bin.stalled),
                failed: sum.failed.saturating_add(bin.failed),
            })
        });
        self.bins = joined.collect();
    }

    /// Sorts what was counted; what a direction that was not captured made look like silence is
    /// none.
    pub(super) fn finish(&mut self, sided: &Sided, routes: &Routes) {
        let live = std::mem::take(&mut self.live);
        for (route, counted) in routes.rows(&live) {
            let pair = self.pairs.entry((route.client(), route.responder())).or_default();
            pair.answered += counted.answered;
            pair.unanswered += counted.unanswered;
        }
        if sided.lacks_responses() {
            self.bins.iter_mut().for_each(|bin| {
                (bin.unanswered, bin.failed, bin.stalled) = (0, 0, 0);
            });
        }
        for ((client, server), pair) in &mut self.pairs {
            if sided.lacks_responses() || sided.of_server(*server) || sided.of_client(*client) {
                pair.unanswered = 0;
            }
        }
        self.pairs.retain(|_, pair| pair.answered + pair.unanswered > 0);
    }

    /// Where the first bin begins; `None` where nothing was counted.
    pub fn start(&self) -> Option<Timestamp> {
        self.origin
    }

    /// How long a bin is.
    pub fn width(&self) -> Duration {
        Duration::from_nanos(self.width)
    }

    /// The bins in the order of time, without empty ones at the end.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_grow_with_the_capture_and_lose_nothing() {
        let start = Timestamp::from_parts(1_700_000_000, 0);
        let mut series = Series { origin: Some(start), ..Series::default() };
        for second in 0..3_600 {
            series.bin(start.after(Duration::from_secs(second))).unwrap().transactions += 1;
        }
        assert!(series.bins().len() <= BINS && series.bins().len() > BINS / 2);
        assert_eq!(series.bins().iter().map(|bin| bin.transactions).sum::<u32>(), 3_600);
        assert_eq!(series.width(), Duration::from_millis(12_800));
    }
}
