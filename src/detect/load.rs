//! Load and latency of each server over time, from the answers that need nobody else: those
//! about the cluster's own names, which CoreDNS answers from memory (rulebook K8).

use std::net::IpAddr;
use std::time::Duration;

use super::glance::{Glance, is_svc};
use super::odds;
use crate::base::{Host, Span, Table, Timestamp};
use crate::dns::Name;
use crate::transaction::Transaction;

/// The width of a bin at first; it doubles whenever there are too many.
const WIDTH: i64 = 1_000_000_000;
/// Bins kept over all servers.
const MAX_BINS: usize = 20_000;
/// An answer this soon after a repeated query answers the repeat: the first one was lost.
const PROMPT: Duration = Duration::from_millis(100);
/// Latencies are kept in quarters of an octave from here on.
const FINEST_MICROS: u64 = 1_000;
const CLASSES: usize = 72;
/// Fewer bins show no course (rulebook 7.6).
const ENOUGH_BINS: usize = 30;
/// Rank correlation of queries in flight and latency (rulebook 7.6).
pub(super) const RHO: f64 = 0.6;
/// The slowest of a hundred answers that nobody notices (rulebook `slow_cluster`).
pub(super) const UNNOTICED: Duration = Duration::from_millis(50);
/// How much slower the slowest tenth of time is than the fastest (rulebook 2.C).
const RATIO: u32 = 10;
/// Slow stretches with so much between them are several, and what surrounds one is at least as long.
pub(super) const CALM: Duration = Duration::from_secs(30);
/// Edges of a slow stretch are judged over this long: a queue needs seconds to fill.
const EDGE: Duration = Duration::from_secs(5);
/// At the edges of a queue's life this share of answers is neither fast nor slow.
const GRADUAL: f64 = 0.25;

/// How long the answer took from the first query on; `None` if none came, or if it answered a
/// repeat of a query that was lost.
#[inline]
pub(super) fn delay(transaction: &Transaction, first: Timestamp) -> Option<Duration> {
    let arrived = transaction.responses.first()?.arrived_at();
    match transaction.attempts.len() {
        0 => None,
        1 => Some(arrived.since(first)),
        _ => delay_of_repeated(transaction, first, arrived),
    }
}

fn delay_of_repeated(
    transaction: &Transaction,
    first: Timestamp,
    arrived: Timestamp,
) -> Option<Duration> {
    let sent = transaction.attempts.iter().map(|attempt| attempt.sent().ts);
    let asked = sent.take_while(|sent| *sent <= arrived).last().unwrap_or(first);
    (asked == first || arrived.since(asked) >= PROMPT).then(|| arrived.since(first))
}

/// Whether the cluster's DNS answers this from memory: a Service's name, or one under a suffix
/// of Services.
pub(super) fn is_cluster_name(name: &Name) -> bool {
    name.labels().any(is_svc)
}

fn from_memory(transaction: &Transaction, glance: &Glance) -> bool {
    glance.name.service
        || transaction.responses.first().is_some_and(|response| response.header.authoritative())
}

/// The tally: bounded by `MAX_BINS`.
#[derive(Debug)]
pub struct Load {
    width: i64,
    bins: Table<(Host, i64), Bin>,
}

#[derive(Debug, Clone)]
struct Bin {
    sent: u64,
    done: u64,
    lost: u64,
    /// The longest delay, and when that query was sent.
    longest: Option<(Duration, Timestamp)>,
    classes: [u16; CLASSES],
}

impl Default for Bin {
    fn default() -> Self {
        Self { sent: 0, done: 0, lost: 0, longest: None, classes: [0; CLASSES] }
    }
}

impl Bin {
    /// Counts an answer of a class. Where one has no room left all are halved, which changes no share.
    fn count(&mut self, class: usize) {
        if self.classes.get(class) == Some(&u16::MAX) {
            self.classes.iter_mut().for_each(|times| *times = times.div_ceil(2));
        }
        self.classes.get_mut(class).into_iter().for_each(|times| *times += 1);
    }

    /// Takes in what another one counted.
    fn join(&mut self, other: &Self) {
        self.sent += other.sent;
        self.done += other.done;
        self.lost += other.lost;
        self.longest = self.longest.max(other.longest);
        let sum = |(mine, theirs): (&u16, &u16)| u32::from(*mine) + u32::from(*theirs);
        let sums = || self.classes.iter().zip(&other.classes).map(sum);
        let parts = if sums().any(|sum| sum > u32::from(u16::MAX)) { 2 } else { 1 };
        let joined: Vec<u32> = sums().map(|sum| sum.div_ceil(parts)).collect();
        for (times, sum) in self.classes.iter_mut().zip(joined) {
            *times = u16::try_from(sum).unwrap_or(u16::MAX);
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self { width: WIDTH, bins: Table::default() }
    }
}

impl Load {
    /// Adds a transaction, if its server could answer it alone.
    pub fn note(&mut self, transaction: &Transaction, glance: &Glance) {
        if transaction.attempts.is_empty()
            || transaction.is_infrastructure()
            || !from_memory(transaction, glance)
        {
            return;
        }
        let (server, sent) = (Host(transaction.responder()), glance.first.ts);
        self.make_room();
        let crowded = self.bins.len() + 1 >= MAX_BINS;
        let asked_at = self.place(sent);
        let asked = self.bins.entry((server, asked_at)).or_default();
        let Some(delay) = glance.delay else {
            asked.lost += 1;
            return;
        };
        asked.sent += 1;
        asked.longest = asked.longest.max(Some((delay, sent)));
        asked.count(class(delay));
        let done = sent.after(delay);
        if done.nanos().div_euclid(self.width) == asked_at && !crowded {
            asked.done += 1;
            return;
        }
        self.make_room();
        let done_at = self.place(done);
        self.bins.entry((server, done_at)).or_default().done += 1;
    }

    fn make_room(&mut self) {
        if self.bins.len() >= MAX_BINS {
            self.widen();
        }
    }

    /// The bin that an instant lies in.
    fn place(&self, at: Timestamp) -> i64 {
        at.nanos().div_euclid(self.width)
    }

    fn widen(&mut self) {
        self.width = self.width.saturating_mul(2);
        for ((server, at), bin) in std::mem::take(&mut self.bins) {
            self.bins.entry((server, at.div_euclid(2))).or_default().join(&bin);
        }
    }

    /// The course of every server.
    pub(super) fn courses(&self) -> Vec<Course> {
        let mut courses: Vec<Course> = Vec::new();
        let mut open = 0;
        for ((Host(server), at), bin) in &self.bins {
            if courses.last().is_none_or(|course| course.server != *server) {
                courses.push(Course { server: *server, points: Vec::new() });
                open = 0;
            }
            open += bin.sent;
            let start = Timestamp::from_nanos(at.saturating_mul(self.width));
            if let (Some(course), Some(p95)) = (courses.last_mut(), p95(&bin.classes)) {
                course.points.push(Point {
                    span: Span::between(
                        start,
                        start.after(Duration::from_nanos(self.width.unsigned_abs())),
                    ),
                    sent: bin.sent + bin.lost,
                    lost: bin.lost,
                    in_flight: open,
                    longest_from: bin.longest.map_or(start, |(_, sent)| sent),
                    p95,
                    classes: bin.classes,
                });
            }
            open = open.saturating_sub(bin.done);
        }
        courses
    }
}

/// One server over time; bins without an answer are left out.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) server: IpAddr,
    pub(super) points: Vec<Point>,
}

/// One bin of it.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) span: Span,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) in_flight: u64,
    /// When the query that waited longest was sent.
    pub(super) longest_from: Timestamp,
    pub(super) p95: Duration,
    classes: [u16; CLASSES],
}

impl Point {
    /// How many answers these bins have.
    pub(super) fn answers(points: &[&Self]) -> u64 {
        points.iter().flat_map(|point| point.classes).map(u64::from).sum()
    }

    /// What so many of a hundred of them did not take longer than.
    pub(super) fn quantile(points: &[&Self], percent: u64) -> Option<Duration> {
        let mut all = [0; CLASSES];
        for point in points {
            for (sum, part) in all.iter_mut().zip(point.classes) {
                *sum += u64::from(part);
            }
        }
        quantile(&all, percent)
    }
}

/// A stretch in which a server was slow.
#[derive(Debug, Clone)]
pub(super) struct Slow {
    pub(super) server: IpAddr,
    pub(super) span: Span,
    /// The 95th percentile in the fastest tenth of the bins, and in the slowest.
    pub(super) best: Duration,
    pub(super) worst: Duration,
    /// Queries a second when it was slow, and when it was not.
    pub(super) rate: (f64, f64),
    /// Most queries that waited at once.
    pub(super) in_flight: u64,
    /// Queries in it that were not answered.
    pub(super) lost: u64,
    /// Rank correlation of queries in flight and latency.
    pub(super) rho: f64,
    /// Whether latency rose and fell step by step, as a queue does, or jumped.
    pub(super) gradual: bool,
    pub(super) bins: usize,
}

impl Course {
    /// The slow stretches of this server, each judged by what surrounds it: in a capture of hours, trouble
    /// of a minute is no tenth of the time.
    pub(super) fn slow(&self) -> Vec<Slow> {
        let Some((fast, _)) = extremes(&self.points) else { return Vec::new() };
        let knee = fast.mul_f64(f64::from(RATIO).sqrt()).max(UNNOTICED);
        let over = self.points.iter().filter(|point| point.p95 > knee);
        let mut stretches: Vec<Span> = Vec::new();
        for point in over {
            match stretches.last_mut() {
                Some(last) if point.span.start.since(last.end) <= CALM => {
                    *last = last.join(point.span);
                }
                _ => stretches.push(point.span),
            }
        }
        let around = |span: Span| {
            let span = span.widened(span.length().max(CALM));
            let from = self.points.partition_point(|point| point.span.end < span.start);
            let to = self.points.partition_point(|point| point.span.start <= span.end);
            self.points.get(from..to)
        };
        let points = stretches.into_iter().filter_map(around);
        points.filter_map(|points| slow(self.server, points)).collect()
    }
}

/// The 95th percentiles that the fastest and the slowest tenth of these bins do not pass.
fn extremes(points: &[Point]) -> Option<(Duration, Duration)> {
    let mut sorted: Vec<Duration> = points.iter().map(|point| point.p95).collect();
    sorted.sort_unstable();
    let tenth = (sorted.len() / 10).max(1);
    Some((*sorted.get(tenth - 1)?, *sorted.get(sorted.len() - tenth)?))
}

/// The slow stretch among these bins of a server, if their slowest tenth is ten times slower than their
/// fastest and slow enough to be noticed.
fn slow(server: IpAddr, points: &[Point]) -> Option<Slow> {
    let (fast, slow) = extremes(points)?;
    if slow < UNNOTICED || slow < fast * RATIO {
        return None;
    }
    // Halfway between the two on a scale of ratios, for latencies differ by ratios.
    let knee = Duration::from_secs_f64((fast.as_secs_f64() * slow.as_secs_f64()).sqrt());
    let knee = knee.max(UNNOTICED);
    let over: Vec<bool> = points.iter().map(|point| point.p95 > knee).collect();
    let lasting =
        |at: &usize| over[*at] && over.get(at + 1).or(over.get(at.wrapping_sub(1))) == Some(&true);
    let from = (0..over.len()).find(lasting)?;
    let to = (0..over.len()).rev().find(|at| over[*at])?;
    // A bin may have begun well before the trouble did.
    let span = Span::between(points[from].longest_from, points[to].span.end);
    let inside = |point: &&Point| span.overlaps(point.span) && point.p95 > knee;
    let outside = |point: &&Point| !inside(point);
    let pairs: Vec<(f64, f64)> =
        points.iter().map(|p| (p.in_flight as f64, p.p95.as_secs_f64())).collect();
    Some(Slow {
        server,
        span,
        best: fast,
        worst: slow,
        rate: (rate(points.iter().filter(inside)), rate(points.iter().filter(outside))),
        in_flight: points.iter().map(|point| point.in_flight).max().unwrap_or(0),
        lost: points.iter().filter(inside).map(|point| point.lost).sum(),
        rho: odds::spearman(&pairs),
        gradual: is_gradual(points, span, knee, slow),
        bins: points.len(),
    })
}

/// Whether enough answers at the edges of the stretch took neither short nor long.
fn is_gradual(points: &[Point], span: Span, knee: Duration, slow: Duration) -> bool {
    let (mut between, mut above) = (0_u64, 0_u64);
    let edge = |at: Timestamp| at.distance(span.start) <= EDGE || at.distance(span.end) <= EDGE;
    for point in points.iter().filter(|point| edge(point.span.start)) {
        between += sum(&point.classes, knee / 2, slow / 3);
        above += sum(&point.classes, slow / 3, Duration::MAX);
    }
    between as f64 >= GRADUAL * (between + above).max(1) as f64
}

impl Slow {
    /// Whether queries queued up: the more waited the longer, and step by step.
    pub(super) fn is_queue(&self) -> bool {
        self.rho >= RHO && self.gradual
    }

    /// Whether it is long and clear enough to call it load (rulebook 7.6).
    pub(super) fn follows_load(&self) -> bool {
        self.bins >= ENOUGH_BINS && self.is_queue()
    }
}

fn rate<'a>(points: impl Iterator<Item = &'a Point>) -> f64 {
    let (mut sent, mut seconds) = (0, 0.0);
    for point in points {
        sent += point.sent;
        seconds += point.span.length().as_secs_f64();
    }
    sent as f64 / f64::max(seconds, 1.0)
}

fn class(delay: Duration) -> usize {
    let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    if micros < FINEST_MICROS {
        return 0;
    }
    let octave = (micros / FINEST_MICROS).ilog2();
    let within = (micros >> octave).saturating_sub(FINEST_MICROS) * 4 / FINEST_MICROS;
    let class = u64::from(octave) * 4 + within + 1;
    usize::try_from(class).unwrap_or(CLASSES).min(CLASSES - 1)
}

/// The upper end of a class.
fn upper(class: usize) -> Duration {
    let (octave, within) = (class / 4, class as u64 % 4);
    Duration::from_micros((FINEST_MICROS + within * FINEST_MICROS / 4) << octave)
}

fn p95(classes: &[u16; CLASSES]) -> Option<Duration> {
    quantile(&classes.map(u64::from), 95)
}

fn quantile(classes: &[u64; CLASSES], percent: u64) -> Option<Duration> {
    let all: u64 = classes.iter().sum();
    let rank = (all * percent).div_ceil(100);
    let mut seen = 0;
    let at = classes.iter().position(|count| {
        seen += count;
        seen >= rank && all > 0
    })?;
    Some(upper(at))
}

fn sum(classes: &[u16; CLASSES], from: Duration, to: Duration) -> u64 {
    let held = |at: &usize| upper(*at) > from && upper(*at) <= to;
    (0..CLASSES).filter(held).map(|at| u64::from(classes[at])).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_class_changes_no_share() {
        let mut bin = Bin::default();
        for at in 0..500_000 {
            bin.count(if at % 11 == 0 { 20 } else { 10 });
        }
        for _ in 0..3 {
            let other = bin.clone();
            bin.join(&other);
        }
        let share = f64::from(bin.classes[20]) / f64::from(bin.classes[10]);
        assert!((share - 0.1).abs() < 0.001, "{share}");
    }

    #[test]
    fn latencies_keep_a_quarter_of_an_octave() {
        for micros in [0, 1, 999, 1_000, 1_249, 1_250, 2_000, 50_000, 2_800_000, 9_000_000] {
            let delay = Duration::from_micros(micros);
            let class = class(delay);
            assert!(delay < upper(class), "{micros}");
            assert!(class == 0 || delay >= upper(class - 1), "{micros}");
        }
        assert_eq!(class(Duration::from_secs(100_000)), CLASSES - 1);
    }
}
