//! Servers that take longer than others, or than before, for what they know by themselves.
//!
//! A delay that grows with the queries that wait is a queue's, which `coredns-overload` and
//! `coredns-imbalance` judge.
//!
//! Nobody waits for a tenth of a second once; a lookup that walks a search list waits for it five times.

use std::net::IpAddr;
use std::time::Duration;

use super::load::{Course, Load, Point, RHO, UNNOTICED};
use super::odds;
use crate::base::Span;

/// How much slower than the fastest server a slow one is (rulebook `slow_cluster`).
const RATIO: u32 = 5;
/// Answers that show how fast a server is.
const ENOUGH: u64 = 20;
/// Shorter than this it is a hiccup.
const MIN_LENGTH: Duration = Duration::from_secs(5);

/// A server that was slow for a while.
#[derive(Debug)]
pub(super) struct Slower {
    pub(super) server: IpAddr,
    pub(super) span: Span,
    /// Answers meanwhile, and how long half of them took at least.
    pub(super) answers: u64,
    pub(super) median: Duration,
    /// What the fastest server takes.
    pub(super) usual: Duration,
}

/// The servers that were, each once.
pub(super) fn slower(load: &Load) -> Vec<Slower> {
    let courses = load.courses();
    let own = |course: &Course| {
        let all: Vec<&Point> = course.points.iter().collect();
        (Point::answers(&all) >= ENOUGH).then(|| Point::quantile(&all, 25)).flatten()
    };
    let Some(usual) = courses.iter().filter_map(own).min() else { return Vec::new() };
    courses.iter().filter_map(|course| judge(course, usual)).collect()
}

fn judge(course: &Course, usual: Duration) -> Option<Slower> {
    let knee = UNNOTICED.max(usual * RATIO);
    let is_slow = |point: &Point| Point::quantile(&[point], 50).is_some_and(|half| half > knee);
    let from = course.points.iter().position(is_slow)?;
    let to = course.points.iter().rposition(is_slow)?;
    let points: Vec<&Point> = course.points.get(from..=to)?.iter().collect();
    let start = points.first()?.longest_from;
    let span = Span::between(start, points.last()?.span.end);
    let (answers, median) = (Point::answers(&points), Point::quantile(&points, 50)?);
    let half = |point: &Point| Some(Point::quantile(&[point], 50)?.as_secs_f64());
    let queued: Vec<(f64, f64)> =
        points.iter().filter_map(|point| Some((point.in_flight as f64, half(point)?))).collect();
    let steady = odds::spearman(&queued) < RHO;
    (answers >= ENOUGH && median > knee && span.length() >= MIN_LENGTH && steady)
        .then_some(Slower { server: course.server, span, answers, median, usual })
}
