//! How likely a count is by chance: the few tests that rules need (rulebook section 1).

use statrs::distribution::{Binomial, DiscreteCDF};

/// Ordinary loss: sporadic loss of UDP is normal (rulebook `p0`: 0.2 % to 5 %).
const ORDINARY_LOSS: f64 = 0.01;
/// No loss is ordinary above this.
const WORST_ORDINARY_LOSS: f64 = 0.05;
/// Loss must be less likely than this by ordinary loss (rulebook 7.6).
const LOSS_CHANCE: f64 = 0.001;

/// Whether `lost` of `sent` datagrams are more than ordinary loss explains, `looked_at` such counts
/// having been tried.
pub(super) fn beyond_ordinary_loss(lost: u64, sent: u64, looked_at: u64) -> bool {
    beyond_loss_of(ORDINARY_LOSS, lost, sent, looked_at)
}

/// The same of the highest loss that is still ordinary.
pub(super) fn beyond_worst_ordinary_loss(lost: u64, sent: u64, looked_at: u64) -> bool {
    beyond_loss_of(WORST_ORDINARY_LOSS, lost, sent, looked_at)
}

fn beyond_loss_of(share: f64, lost: u64, sent: u64, looked_at: u64) -> bool {
    lost > 0
        && Binomial::new(share, sent.max(lost))
            .is_ok_and(|ordinary| ordinary.sf(lost - 1) < LOSS_CHANCE / looked_at.max(1) as f64)
}

/// Chance of at least `more` successes out of `more + fewer` tosses of a fair coin: the sign test.
pub(super) fn sign(more: u64, fewer: u64) -> f64 {
    let n = more + fewer;
    let tail: f64 = (more..=n).map(|k| (ln_choose(n, k) - n as f64 * 2f64.ln()).exp()).sum();
    tail.min(1.0)
}

/// Fisher's exact test, one-sided: chance that `hit` or more of the `hits` hits fall into the
/// first group, if `first` of the `all` observations belong to it.
pub(super) fn fisher(hit: u64, first: u64, hits: u64, all: u64) -> f64 {
    let whole = ln_choose(all, hits);
    let tail: f64 = (hit..=hits.min(first))
        .filter(|k| hits - k <= all - first)
        .map(|k| (ln_choose(first, k) + ln_choose(all - first, hits - k) - whole).exp())
        .sum();
    tail.min(1.0)
}

/// How many standard deviations a sum of squares lies above what chance gives: chi-square with
/// `degrees` of freedom, in Wilson and Hilferty's approximation.
pub(super) fn chi_square_z(sum: f64, degrees: u64) -> f64 {
    let degrees = degrees.max(1) as f64;
    let spread = 2.0 / (9.0 * degrees);
    ((sum / degrees).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// Spearman's rank correlation; 0 where one of the two does not vary.
pub(super) fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let one = ranks(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let other = ranks(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let mean = (pairs.len() as f64 - 1.0) / 2.0;
    let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in one.iter().zip(&other) {
        both += (a - mean) * (b - mean);
        first += (a - mean) * (a - mean);
        second += (b - mean) * (b - mean);
    }
    if first * second > 0.0 { both / (first * second).sqrt() } else { 0.0 }
}

/// The rank of each value; equal ones share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let same = |at: &&usize| values[**at].total_cmp(&values[order[from]]).is_eq();
        let ties = order[from..].iter().take_while(same).count();
        for at in &order[from..from + ties] {
            ranks[*at] = from as f64 + (ties as f64 - 1.0) / 2.0;
        }
        from += ties;
    }
    ranks
}

fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Exact sums for small numbers, Stirling's series (good to 1e-9 there) for large ones.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let n = n as f64;
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + 1.0 / (12.0 * n)
        - 1.0 / (360.0 * n * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_agree_with_the_tables() {
        assert!((sign(10, 0) - 1.0 / 1024.0).abs() < 1e-12);
        assert!((sign(3, 1) - 5.0 / 16.0).abs() < 1e-12);
        // Three of three failed flows in a cell against none of eight in the rest.
        assert!((fisher(3, 3, 3, 11) - 1.0 / 165.0).abs() < 1e-9);
        assert!(fisher(0, 3, 3, 11) > 0.999);
        // One degree of freedom: 23.9 is one in a million, 4.75 standard deviations.
        assert!((chi_square_z(23.9, 1) - 4.75).abs() < 0.4);
    }

    #[test]
    fn ranks_correlate_whatever_the_scale() {
        let pairs: Vec<(f64, f64)> = (0..20).map(|n| (f64::from(n), f64::from(n).exp())).collect();
        assert!((spearman(&pairs) - 1.0).abs() < 1e-12);
        assert!(spearman(&[(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)]).abs() < 1e-12);
        assert!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]) < -0.99);
    }
}
