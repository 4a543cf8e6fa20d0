//! What this capture cannot show (rulebook 2.A): the `cap-*` rules.

use std::collections::BTreeMap;
use std::time::Duration;

use super::traffic::{ENOUGH_QUERIES, Traffic};
use crate::base::words::{clock, count, duration, list, percent};
use crate::base::{Coverage, Span, Timestamp};
use crate::capture::PointId;
use crate::flow::FlowEvent;

/// One thing to know about the capture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health {
    /// The rule id, `cap-…`.
    pub rule: &'static str,
    /// What it means for this capture.
    pub detail: String,
    /// Whether findings have to be read with it in mind; else it is only for the record.
    pub serious: bool,
}

/// A hole is longer than this, and than [`GAP_TIMES`] the usual pause (rulebook `cap-gap`).
const GAP: Duration = Duration::from_secs(1);
/// See [`GAP`].
const GAP_TIMES: u32 = 20;
/// Frames nearer to each other than this belong to one exchange.
const EXCHANGE: Duration = Duration::from_millis(50);
/// Pauses that must have been seen before one can be unusual.
const ENOUGH_PAUSES: u32 = 20;
/// A clock that goes back by more than this stepped: interfaces disorder frames by less.
const STEP: Duration = Duration::from_millis(100);
/// Responses without query below which a share says nothing.
const ENOUGH_RESPONSES: u64 = 20;
/// Watches the frames of every point for holes and steps of the clock.
#[derive(Debug, Default)]
pub(super) struct Watch {
    points: BTreeMap<PointId, Pace>,
    gaps: Vec<Span>,
    steps: Vec<(Timestamp, Duration)>,
    icmp: u64,
}

#[derive(Debug, Default)]
struct Pace {
    last: Option<Timestamp>,
    /// Mean pause between exchanges, exponentially weighted, in nanoseconds.
    pause: i64,
    pauses: u32,
}

impl Watch {
    /// Notes a frame; returns the hole in front of it, if there is one.
    pub(super) fn frame(&mut self, ts: Timestamp, point: PointId) -> Option<Span> {
        let pace = self.points.entry(point).or_default();
        let last = pace.last.replace(ts)?;
        if last.since(ts) > STEP {
            self.steps.push((last, last.since(ts)));
            return None;
        }
        pace.last = Some(ts.max(last));
        let pause = ts.since(last);
        if pause < EXCHANGE {
            return None;
        }
        let usual = Duration::from_nanos(u64::try_from(pace.pause).unwrap_or(0));
        let hole = pace.pauses >= ENOUGH_PAUSES && pause > GAP.max(usual * GAP_TIMES);
        if hole {
            let gap = Span::between(last, ts);
            if self.gaps.len() < 1_000 {
                self.gaps.push(gap);
            }
            return Some(gap);
        }
        let nanos = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX);
        pace.pause += (nanos - pace.pause) / i64::from(pace.pauses.clamp(1, 63) + 1);
        pace.pauses += 1;
        None
    }

    /// Notes an event of the flow table.
    pub(super) fn event(&mut self, event: &FlowEvent) {
        self.icmp += u64::from(matches!(event, FlowEvent::Unreachable(_)));
    }

    /// Everything there is to say about the capture.
    pub(super) fn judge(&self, coverage: &Coverage, traffic: &Traffic) -> Vec<Health> {
        let mut health = Vec::new();
        let mut say = |rule, serious, detail| health.push(Health { rule, detail, serious });
        if let Some(sided) = one_sided(traffic) {
            say("cap-one-sided", true, sided);
        } else if let Some(loss) = loss(traffic) {
            say("cap-loss", true, loss);
        }
        if let (Some(first), Some(last)) = (self.gaps.first(), self.gaps.last()) {
            let longest = self.gaps.iter().map(|gap| gap.length()).max().unwrap_or_default();
            let detail = format!(
                "{} without a frame, the longest {}, between {} and {}; silence in them proves \
                 nothing",
                count(self.gaps.len() as u64, "hole"),
                duration(longest),
                clock(first.start),
                clock(last.end)
            );
            say("cap-gap", true, detail);
        }
        if let Some((at, back)) = self.steps.first() {
            let detail = format!(
                "the clock went back {} (first at {}, by {}); latencies across it are left out",
                count(self.steps.len() as u64, "time"),
                clock(*at),
                duration(*back)
            );
            say("cap-clock", true, detail);
        }
        if coverage.cut_frames > 0 {
            let detail = format!(
                "{} of {} frames were cut by the snap length; record with -s 0 to see whole answers",
                coverage.cut_frames, coverage.frames
            );
            say("cap-snaplen", false, detail);
        }
        if coverage.messages.total > 0 && self.icmp == 0 {
            let detail = "no ICMP error is in this capture; the filter `port 53` hides them, and \
                          later IP fragments too, so their absence proves nothing. Record with: \
                          tcpdump -i any -s 0 -C 20 -W 200 -w dns.pcap '(port 53) or icmp or icmp6 \
                          or (ip[6:2] & 0x1fff != 0)'"
                .to_owned();
            say("cap-filter-blind", false, detail);
        }
        let datagrams =
            coverage.messages.total.saturating_sub(coverage.copies + coverage.nat_copies);
        if coverage.copies + coverage.nat_copies > 0 && datagrams > 0 {
            let detail = format!(
                "every datagram was seen {:.1} times on average, before and after translation; \
                 copies are folded and never counted as retransmissions",
                coverage.messages.total as f64 / datagrams as f64
            );
            say("cap-copies", false, detail);
        }
        if traffic.unknown > 0 {
            let detail = format!(
                "{} cannot be judged: the capture begins after the query, ends before an answer \
                 was due, or missed one of the two",
                count(traffic.unknown, "transaction")
            );
            say("cap-edge", false, detail);
        }
        if coverage.lost_stream_bytes > 0 {
            let detail = format!(
                "{} of TCP streams were never captured; messages in them are missing",
                count(coverage.lost_stream_bytes, "byte")
            );
            say("cap-loss", true, detail);
        }
        let limits = coverage.limits.iter().map(|(limit, n)| format!("{n} {}", limit.describe()));
        if !coverage.limits.is_empty() {
            say("cap-limit", true, list(limits, 10));
        }
        health
    }
}

fn one_sided(traffic: &Traffic) -> Option<String> {
    let (queries, responses) = (traffic.queries, traffic.responses);
    if traffic.is_one_sided() {
        return Some(format!(
            "only queries were captured ({queries} of them, {} answered): whether they were \
             answered cannot be told, and timeouts are not reported. Record both directions",
            traffic.answered
        ));
    }
    if responses >= ENOUGH_QUERIES && queries * 20 < responses {
        return Some(format!(
            "only responses were captured ({responses} of them, {queries} queries): timeouts \
             cannot be seen. Record both directions"
        ));
    }
    None
}

fn loss(traffic: &Traffic) -> Option<String> {
    let (orphans, responses) = (traffic.unsolicited, traffic.responses);
    (responses >= ENOUGH_RESPONSES && orphans * 500 > responses).then(|| {
        format!(
            "{orphans} of {responses} responses ({}) have no query in the capture: it lost frames, \
             so some silence is its own. Record with a larger buffer (tcpdump -B 8192) and look at \
             \"dropped by kernel\"",
            percent(orphans, responses)
        )
    })
}
