//! Offset, drift and steps of a clock, from bounds over the length of a capture.

use super::bounds::Bound;
use super::shift::Piece;
use crate::base::Timestamp;

/// Neighbouring bounds that are further apart than this, in nanoseconds, and than a bad clock drifts
/// meanwhile (in billionths), show that the clock was set.
const STEP: i64 = 300_000;
const WORST_DRIFT: i64 = 300_000;
/// Differences below this, in nanoseconds, are left alone: interfaces are out of order by as much.
const NOISE: i64 = 50_000;
/// Bounds, and nanoseconds between the first and last of them, without which there is no drift.
const ENOUGH: usize = 4;
const LONG: i64 = 5_000_000_000;
/// What weighs a bound beside its own width, in nanoseconds.
const FLOOR: i64 = 20_000;

/// How one clock goes by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fit {
    /// Nanoseconds that it is ahead, in the middle of the time that both were seen.
    pub(super) offset: i64,
    /// How sure that is; `None` where datagrams of one direction only bound it from one side.
    pub(super) uncertainty: Option<i64>,
    /// How much faster it goes, in billionths.
    pub(super) drift: i64,
    /// How far a straight line misses the bounds, in nanoseconds a minute.
    pub(super) wander: i64,
    /// How often it was set.
    pub(super) steps: usize,
    /// What corrects it; empty where it agrees.
    pub(super) pieces: Vec<Piece>,
    /// The straight line through most of it, however little it drifts.
    pub(super) line: Piece,
}

impl Fit {
    /// The same, made better by what is left when it is taken away.
    pub(super) fn refined(mut self, rest: &Self) -> Self {
        for piece in &mut self.pieces {
            piece.offset = piece.offset.saturating_add(rest.line.offset_at(piece.at));
            piece.drift = piece.drift.saturating_add(rest.line.drift);
        }
        Self {
            offset: self.offset.saturating_add(rest.offset),
            uncertainty: rest.uncertainty,
            drift: self.drift.saturating_add(rest.drift),
            wander: rest.wander,
            ..self
        }
    }
}

/// The clock that fits these bounds best; `None` without any.
pub(super) fn fit(bounds: &[Bound]) -> Option<Fit> {
    let both: Vec<Bound> = bounds.iter().filter(|bound| bound.half().is_some()).copied().collect();
    if both.is_empty() {
        return one_sided(bounds);
    }
    let groups = groups(&both);
    let lines: Vec<Line> = groups.iter().map(|group| Line::through(group)).collect();
    let agrees = |bound: &&Bound| {
        bound.least.is_none_or(|least| least <= NOISE)
            && bound.most.is_none_or(|most| most >= -NOISE)
    };
    let agreeing = both.iter().filter(agrees).count();
    let in_step = agreeing * 10 >= both.len() * 9;
    // The middle of what was seen tells most: an offset that grows is told where it is average.
    let (group, line) = groups.iter().zip(&lines).max_by_key(|(group, _)| group.len())?;
    let (first, last) = (group.first()?.at(), group.last()?.at());
    let middle = Timestamp::from_nanos(first.midpoint(last));
    let minutes = (last.saturating_sub(first) / 60_000_000_000).max(1);
    let mut pieces: Vec<Piece> = groups
        .iter()
        .zip(&lines)
        .filter_map(|(group, line)| {
            let from = Timestamp::from_nanos(group.first()?.from);
            Some(Piece { from, ..line.piece })
        })
        .collect();
    if let Some(first) = pieces.first_mut() {
        first.from = Timestamp::MIN;
    }
    Some(Fit {
        offset: line.piece.offset_at(middle),
        uncertainty: Some(line.uncertainty),
        drift: line.piece.drift,
        wander: line.misfit / minutes,
        steps: if in_step { 0 } else { groups.len() - 1 },
        pieces: if in_step { Vec::new() } else { pieces },
        line: Piece { drift: line.slope, ..line.piece },
    })
}

/// Datagrams of one direction: the fastest took no time, as far as anybody can tell. That is
/// corrected only where such datagrams could not be on their way that long.
fn one_sided(bounds: &[Bound]) -> Option<Fit> {
    /// No datagram of a cluster is on its way for longer when all is well.
    const ON_ITS_WAY: u64 = 50_000_000;
    let most = bounds.iter().filter_map(|bound| bound.most).min();
    let least = bounds.iter().filter_map(|bound| bound.least).max();
    let offset = most.or(least)?;
    let at = Timestamp::from_nanos(bounds.first()?.at());
    let piece = Piece { from: Timestamp::MIN, at, offset, drift: 0 };
    let corrected = offset.unsigned_abs() > ON_ITS_WAY;
    let pieces = if corrected { vec![piece] } else { Vec::new() };
    Some(Fit { offset, uncertainty: None, drift: 0, wander: 0, steps: 0, pieces, line: piece })
}

/// Divides the bounds where the clock was set in between.
fn groups(bounds: &[Bound]) -> Vec<Vec<Bound>> {
    let mut groups: Vec<Vec<Bound>> = Vec::new();
    for bound in bounds {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| follows(last, bound)) => {
                group.push(*bound);
            }
            _ => groups.push(vec![*bound]),
        }
    }
    // A bound that neither side agrees with is an accident.
    if groups.iter().any(|group| group.len() > 1) {
        groups.retain(|group| group.len() > 1);
    }
    let mut joined: Vec<Vec<Bound>> = Vec::new();
    for group in groups {
        match joined.last_mut() {
            Some(before)
                if before.last().zip(group.first()).is_some_and(|(a, b)| follows(a, b)) =>
            {
                before.extend(group);
            }
            _ => joined.push(group),
        }
    }
    joined
}

fn follows(one: &Bound, next: &Bound) -> bool {
    let (Some(a), Some(b)) = (one.middle(), next.middle()) else { return true };
    let (Some(this), Some(that)) = (one.half(), next.half()) else { return true };
    let passed = next.at().saturating_sub(one.at()).saturating_abs();
    let drifted = i128::from(passed) * i128::from(WORST_DRIFT) / 1_000_000_000;
    let allowed = i128::from(this.max(0)) + i128::from(that.max(0)) + i128::from(STEP) + drifted;
    i128::from(a.abs_diff(b)) <= allowed
}

struct Line {
    piece: Piece,
    /// Its drift, whether or not that means anything.
    slope: i64,
    uncertainty: i64,
    misfit: i64,
}

impl Line {
    /// The straight line nearest to the middles of the bounds, the narrow ones first.
    #[expect(clippy::cast_possible_truncation, reason = "offsets are far below 2^52 nanoseconds")]
    fn through(bounds: &[Bound]) -> Self {
        let base = bounds.first().map_or(0, Bound::at);
        let start = bounds.first().and_then(Bound::middle).unwrap_or(0);
        let points: Vec<(f64, f64, f64)> = bounds
            .iter()
            .filter_map(|bound| {
                let x = bound.at().saturating_sub(base) as f64;
                let y = bound.middle()?.saturating_sub(start) as f64;
                let width = (bound.half()?.max(0) + FLOOR) as f64;
                Some((x, y, 1.0 / (width * width)))
            })
            .collect();
        let sum = |term: &dyn Fn(&(f64, f64, f64)) -> f64| points.iter().map(term).sum::<f64>();
        let weight = sum(&|p| p.2).max(f64::MIN_POSITIVE);
        let x = sum(&|p| p.0 * p.2) / weight;
        let y = sum(&|p| p.1 * p.2) / weight;
        let spread = sum(&|p| p.2 * (p.0 - x) * (p.0 - x));
        let slope = sum(&|p| p.2 * (p.0 - x) * (p.1 - y)) / spread.max(f64::MIN_POSITIVE);
        let mut halves: Vec<i64> = bounds.iter().filter_map(Bound::half).collect();
        halves.sort_unstable();
        let half = halves.get(halves.len() / 2).copied().unwrap_or(0).max(0);
        let length = bounds.last().map_or(0, |last| last.at().saturating_sub(base));
        let drifted = (slope * length as f64) as i64;
        let whole = bounds.len() >= ENOUGH && length >= LONG && spread > 0.0;
        let drifts = whole && drifted.saturating_abs() > 2 * half + NOISE;
        let raw = if whole { (slope * 1e9) as i64 } else { 0 };
        let slope = if drifts { slope } else { 0.0 };
        let piece = Piece {
            from: Timestamp::MIN,
            at: Timestamp::from_nanos(base.saturating_add(x as i64)),
            offset: start.saturating_add(y as i64),
            drift: (slope * 1e9) as i64,
        };
        let misses = |bound: &Bound| {
            let offset = piece.offset_at(Timestamp::from_nanos(bound.at()));
            let below = bound.least.map_or(0, |least| least.saturating_sub(offset));
            let above = bound.most.map_or(0, |most| offset.saturating_sub(most));
            below.max(above).max(0)
        };
        let mut misfits: Vec<i64> = bounds.iter().map(misses).collect();
        misfits.sort_unstable();
        // One bound in ten may be an accident.
        let misfit = misfits.get((misfits.len() * 9 / 10).min(misfits.len().saturating_sub(1)));
        let misfit = misfit.copied().unwrap_or(0);
        Self { piece, slope: raw, uncertainty: half + misfit + 1_000, misfit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Bounds of half a millisecond on each side of what `offset` says, one each second.
    fn bounds(offset: impl Fn(i64) -> i64) -> Vec<Bound> {
        let bound = |second: i64| {
            let middle = offset(second);
            let at = second * 1_000 * MS + middle;
            let (least, most) = (Some(middle - MS / 2), Some(middle + MS / 2));
            Bound { from: at, until: at + 100 * MS, least, most }
        };
        (0..100).map(bound).collect()
    }

    #[test]
    fn clocks_in_step_are_left_alone() {
        let fit = fit(&bounds(|second| (second % 3 - 1) * 200_000)).unwrap();
        assert_eq!((fit.pieces.len(), fit.steps, fit.drift), (0, 0, 0));
    }

    #[test]
    fn an_offset_of_hours_is_found() {
        let fit = fit(&bounds(|_| -3_600_000 * MS)).unwrap();
        assert_eq!((fit.pieces.len(), fit.steps, fit.drift), (1, 0, 0));
        assert!(fit.offset.abs_diff(-3_600_000 * MS) < MS.unsigned_abs());
        assert!(fit.uncertainty.unwrap() < MS);
    }

    #[test]
    fn drift_is_found_and_corrected() {
        let fit = fit(&bounds(|second| second * 50_000)).unwrap();
        assert!((49_000..51_000).contains(&fit.drift), "{fit:?}");
        assert_eq!(fit.steps, 0);
        let shift = super::super::Shift { stages: vec![fit.pieces] };
        let at = |second: i64| Timestamp::from_nanos(second * 1_000 * MS + second * 50_000);
        for second in [0, 50, 99] {
            let right = Timestamp::from_nanos(second * 1_000 * MS);
            assert!(shift.apply(at(second)).distance(right).as_micros() < 200, "{second}");
        }
    }

    #[test]
    fn a_step_makes_two_pieces() {
        let fit = fit(&bounds(|second| if second < 40 { 0 } else { 2_000 * MS })).unwrap();
        assert_eq!((fit.pieces.len(), fit.steps), (2, 1));
        assert_eq!(fit.pieces[0].offset / MS, 0);
        assert_eq!(fit.pieces[1].offset / MS, 2_000);
        assert_eq!(fit.pieces[1].from.nanos() / (1_000 * MS), 42);
    }

    #[test]
    fn one_direction_gives_a_bound() {
        let one = |most| Bound { from: 0, until: 1, least: None, most: Some(most) };
        let fit = fit(&[one(3_000 * MS), one(3_001 * MS)]).unwrap();
        assert_eq!((fit.offset, fit.uncertainty, fit.pieces.len()), (3_000 * MS, None, 1));
        assert!(super::fit(&[one(MS)]).unwrap().pieces.is_empty());
        assert_eq!(super::fit(&[]), None);
    }
}
