//! Fixed-bin histograms: integers only, so that merging and order change nothing.

use std::time::Duration;

/// Bits of resolution below the leading one: bins are at most 1/32 wide.
const PRECISION: u32 = 5;
/// Values below this have a bin each.
const LINEAR: u64 = 1 << (PRECISION + 1);
/// One more than the number of a bin can tell.
const BRIM: u64 = 1 << u16::BITS;

/// A histogram of durations in whole microseconds, exact to 3 %.
///
/// Quantiles are the upper end of their bin, and never above the largest value seen. Only bins that
/// hold something take memory: there is one of these for every client and server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bins and how much each holds, in order.
    bins: Vec<(u16, u16)>,
    /// Bins that hold [`BRIM`] more than is said there, in order, once for each time.
    full: Vec<u16>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Adds one duration.
    pub fn add(&mut self, value: Duration) {
        self.put(Placed::of(value));
    }

    /// Adds one duration whose bin is known.
    pub fn put(&mut self, value: Placed) {
        match self.bins.binary_search_by_key(&value.bin, |(bin, _)| *bin) {
            Ok(place) if self.bins[place].1 < u16::MAX => self.bins[place].1 += 1,
            _ => self.fill(value.bin, 1),
        }
        self.count += 1;
        self.max = self.max.max(value.micros);
    }

    /// Adds everything that another one holds.
    pub fn absorb(&mut self, other: &Self) {
        other.held().for_each(|(bin, count)| self.fill(bin, count));
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    fn fill(&mut self, bin: u16, count: u64) {
        let place = match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(place) => place,
            Err(place) => {
                if self.bins.len() == self.bins.capacity() {
                    self.bins.reserve_exact(4 + self.bins.len() / 4);
                }
                self.bins.insert(place, (bin, 0));
                place
            }
        };
        let held = &mut self.bins[place].1;
        let sum = u64::from(*held) + count;
        *held = u16::try_from(sum % BRIM).unwrap_or(0);
        for _ in 0..sum / BRIM {
            let at = self.full.partition_point(|full| *full <= bin);
            self.full.insert(at, bin);
        }
    }

    /// Every bin and how much it holds, in order.
    fn held(&self) -> impl Iterator<Item = (u16, u64)> {
        self.bins.iter().map(|&(bin, count)| {
            let from = self.full.partition_point(|full| *full < bin);
            let times = self.full.iter().skip(from).take_while(|full| **full == bin).count();
            (bin, u64::from(count) + times as u64 * BRIM)
        })
    }

    /// Number of durations added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest one.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.max))
    }

    /// The value that `per_mille` of a thousand values do not exceed.
    pub fn quantile(&self, per_mille: u64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bin, count) in self.held() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(upper(bin).min(self.max)));
            }
        }
        self.max()
    }

    /// The bins that hold something: lower and upper bound, and how many values.
    pub fn bins(&self) -> impl Iterator<Item = (Duration, Duration, u64)> {
        self.held().map(|(bin, count)| {
            let lower = if bin == 0 { 0 } else { upper(bin - 1) + 1 };
            (Duration::from_micros(lower), Duration::from_micros(upper(bin)), count)
        })
    }
}

/// A duration and its bin: for one that goes into several histograms.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    bin: u16,
    micros: u64,
}

impl Placed {
    /// Where a duration goes.
    pub fn of(value: Duration) -> Self {
        let whole = value.as_secs().saturating_mul(1_000_000);
        let micros = whole.saturating_add(u64::from(value.subsec_micros()));
        Self { bin: bin(micros), micros }
    }
}

fn bin(micros: u64) -> u16 {
    if micros < LINEAR {
        return u16::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - PRECISION;
    let within = (micros >> shift) - (1 << PRECISION);
    let index = u64::from(shift) * (1 << PRECISION) + (1 << PRECISION) + within;
    u16::try_from(index).unwrap_or(0)
}

fn upper(bin: u16) -> u64 {
    let bin = u64::from(bin);
    if bin < LINEAR {
        return bin;
    }
    let shift = (bin >> PRECISION) - 1;
    let within = (bin & ((1 << PRECISION) - 1)) + (1 << PRECISION);
    ((within + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bin(micros in 0_u64..1 << 50) {
            let index = bin(micros);
            let lower = if index == 0 { 0 } else { upper(index - 1) + 1 };
            prop_assert!(lower <= micros && micros <= upper(index));
            prop_assert!(upper(index) - lower <= micros / 32 + 1);
        }
    }

    #[test]
    fn quantiles_are_exact_to_three_per_cent() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|n| histogram.add(Duration::from_micros(n * 10)));
        let p95 = histogram.quantile(950).unwrap().as_micros();
        assert!((9_500..=9_800).contains(&p95), "{p95}");
        assert_eq!(histogram.max(), Some(Duration::from_millis(10)));
        assert_eq!(Histogram::default().quantile(500), None);
    }

    #[test]
    fn parts_make_the_whole() {
        let of = |millis: &[u64]| {
            let mut histogram = Histogram::default();
            for millis in millis {
                histogram.add(Duration::from_millis(*millis));
            }
            histogram
        };
        let mut whole = of(&[5, 900]);
        whole.absorb(&of(&[1, 5, 60]));
        assert_eq!(whole, of(&[1, 5, 5, 60, 900]));
    }

    #[test]
    fn a_bin_may_hold_millions() {
        let (mut once, mut sum) = (Histogram::default(), Histogram::default());
        (0..100_000).for_each(|_| once.add(Duration::from_millis(1)));
        once.add(Duration::from_millis(9));
        (0..30).for_each(|_| sum.absorb(&once));
        let counts: Vec<u64> = sum.bins().map(|(_, _, count)| count).collect();
        assert_eq!((counts, sum.count()), (vec![3_000_000, 30], 3_000_030));
        assert_eq!(sum.quantile(500), once.quantile(500));
    }
}
