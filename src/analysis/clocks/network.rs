//! The clocks of all capture points, by that of one.

use super::bounds::{Way, bounds, meetings};
use super::fit::{Fit, fit};
use super::sample::{Sample, Sight};
use super::shift::Shift;
use crate::base::Timestamp;
use crate::capture::{Inventory, PointId};
use crate::flow::Ports;

/// Datagrams in common without which two clocks are not compared.
const ENOUGH: usize = 3;

/// How a point's clock goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PointClock {
    /// Nanoseconds that it is ahead of the reference, in the middle of the capture.
    pub offset: i64,
    /// How sure that is; `None` where it is bounded from one side only.
    pub uncertainty: Option<i64>,
    /// How much faster it goes, in billionths.
    pub drift: i64,
    /// How far it strays from that, in nanoseconds a minute.
    pub wander: i64,
    /// How often it was set, as the other clocks show.
    pub steps: usize,
    /// What makes its times those of the reference.
    pub(in crate::analysis) shift: Shift,
}

impl PointClock {
    /// Whether its times are corrected.
    pub fn is_corrected(&self) -> bool {
        !self.shift.is_none()
    }

    /// The time of one of its files by the clock of the reference.
    pub fn correct(&self, ts: Timestamp) -> Timestamp {
        self.shift.apply(ts)
    }
}

/// The clocks of all points.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Clocks {
    /// By point; `None` for one that has no datagram in common with the others.
    pub(in crate::analysis) points: Vec<Option<PointClock>>,
    /// The one whose clock is the measure, where there are several.
    pub(in crate::analysis) reference: Option<PointId>,
}

/// What two points have in common.
struct Link {
    ends: (usize, usize),
    way: Way,
    in_step: bool,
    meetings: usize,
}

/// Compares the clocks of all points.
pub(in crate::analysis) fn compare(inventory: &Inventory, ports: &Ports, threads: usize) -> Clocks {
    let count = inventory.points.len();
    if count < 2 {
        return Clocks { points: vec![None; count], reference: None };
    }
    let read = |point: &crate::capture::Point| Sample::read(inventory, point.id, ports);
    if threads == 1 {
        return join(&inventory.points.iter().map(read).collect::<Vec<_>>());
    }
    let samples: Vec<Sample> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            inventory.points.iter().map(|point| scope.spawn(move || read(point))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    join(&samples)
}

fn join(samples: &[Sample]) -> Clocks {
    let count = samples.len();
    let mut links = Vec::new();
    for (one, sample) in samples.iter().enumerate() {
        for (other, its) in samples.iter().enumerate().skip(one + 1) {
            let pairs = sample.common(its);
            if let Some((fit, way)) = measure(&pairs) {
                let in_step = fit.pieces.is_empty();
                links.push(Link { ends: (one, other), way, in_step, meetings: pairs.len() });
            }
        }
    }
    let reference = reference(count, &links);
    let mut points: Vec<Option<PointClock>> = vec![None; count];
    if let Some(place) = points.get_mut(reference) {
        *place = Some(PointClock { uncertainty: Some(0), ..PointClock::default() });
    }
    // From the reference outwards, by the links with the most datagrams.
    links.sort_by_key(|link| std::cmp::Reverse(link.meetings));
    while let Some((near, far)) = links.iter().find_map(|link| {
        let (one, other) = link.ends;
        let known = |point: usize| points.get(point).is_some_and(Option::is_some);
        match (known(one), known(other)) {
            (true, false) => Some((one, other)),
            (false, true) => Some((other, one)),
            _ => None,
        }
    }) {
        let common = |(near, far): (&Sample, &Sample)| near.common(far);
        let pairs = samples.get(near).zip(samples.get(far)).map(common).unwrap_or_default();
        // What one order of the two could measure, the other can.
        let fit = measure(&pairs).map(|(fit, _)| fit);
        let base = points.get(near).cloned().flatten().unwrap_or_default();
        let mut shift = Shift::default();
        if let Some(fit) = &fit
            && !fit.pieces.is_empty()
        {
            shift.stages.push(fit.pieces.clone());
        }
        shift.stages.extend(base.shift.stages);
        let clock = fit.map_or_else(PointClock::default, |fit| PointClock {
            offset: base.offset.saturating_add(fit.offset),
            uncertainty: base.uncertainty.zip(fit.uncertainty).map(|(a, b)| a.saturating_add(b)),
            drift: base.drift.saturating_add(fit.drift),
            wander: base.wander.max(fit.wander),
            steps: base.steps + fit.steps,
            shift,
        });
        if let Some(place) = points.get_mut(far) {
            *place = Some(clock);
        }
    }
    let reference = u16::try_from(reference).ok().filter(|_| !links.is_empty()).map(PointId);
    Clocks { points, reference }
}

/// How far ahead the second clock of these sightings is, and which way queries went.
fn measure(pairs: &[(Sight, Sight)]) -> Option<(Fit, Way)> {
    let (mut meetings, way) = meetings(pairs);
    (meetings.len() >= ENOUGH).then_some(())?;
    let mut found = fit(&bounds(&meetings))?;
    if found.drift != 0 {
        // Datagrams of one stretch bound it the closer, the less the clock drifts meanwhile.
        let shift = Shift { stages: vec![found.pieces.clone()] };
        for meeting in &mut meetings {
            let at = Timestamp::from_nanos(meeting.at);
            let ahead = meeting.at.saturating_sub(shift.apply(at).nanos());
            meeting.most = meeting.most.map(|most| most.saturating_sub(ahead));
            meeting.least = meeting.least.map(|least| least.saturating_sub(ahead));
        }
        if let Some(rest) = fit(&bounds(&meetings)).filter(|rest| rest.uncertainty.is_some()) {
            found = found.refined(&rest);
        }
    }
    Some((found, way))
}

/// Of the largest group of points whose clocks agree, the one nearest to clients.
fn reference(count: usize, links: &[Link]) -> usize {
    let mut group: Vec<usize> = (0..count).collect();
    for link in links.iter().filter(|link| link.in_step) {
        let (Some(&one), Some(&other)) = (group.get(link.ends.0), group.get(link.ends.1)) else {
            continue;
        };
        for place in &mut group {
            if *place == other {
                *place = one;
            }
        }
    }
    let size = |point: usize| group.iter().filter(|g| Some(*g) == group.get(point)).count();
    let sends = |point: usize| {
        let sent = |link: &Link| {
            let (there, here) = (link.way.there.cast_signed(), link.way.here.cast_signed());
            match link.ends {
                (one, _) if one == point => there - here,
                (_, other) if other == point => here - there,
                _ => 0,
            }
        };
        links.iter().map(sent).sum::<i64>()
    };
    (0..count)
        .max_by_key(|point| (size(*point), sends(*point), std::cmp::Reverse(*point)))
        .unwrap_or(0)
}
