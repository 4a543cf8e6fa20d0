//! What the legs of one upstream say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::failing::{Failing, Kind, episodes, is_enough, only_aaaa};
use crate::base::{Span, Timestamp, Transport};
use crate::detect::{Fate, Knock, Leg, Scene};
use crate::dns::{Question, Rcode};
use crate::transaction::ConnectOutcome;

/// Refused connections that are enough: a reset is no loss, and the third is no race of an idle
/// connection's close.
const ENOUGH_KNOCKS: usize = 3;
/// Silent legs of one question that loss does not make: CoreDNS sends two or three for each
/// query, and none of them may have an answer.
const STUCK: u64 = 3;
/// A limit shows as a plateau of at least this many seconds (rulebook `upstream-rate-limit`).
const PLATEAU: usize = 10;
/// How much the answers of a second may differ from the mean (rulebook `upstream-rate-limit`).
const FLAT: f64 = 0.10;
/// Answers a second below which even a steady stream is not that flat.
const BUSY: f64 = 20.0;
/// Answers that are enough for a 95th percentile (rulebook 7.6).
const ENOUGH_ANSWERS: u64 = 30;

/// Every way in which `upstream` failed.
pub(super) fn read<'a>(scene: &'a Scene<'a>, upstream: IpAddr) -> Vec<Failing<'a>> {
    let legs: Vec<&Leg> =
        scene.forward.legs().iter().filter(|l| l.way.upstream == upstream && !l.probe).collect();
    let knocks: Vec<&Knock> =
        scene.forward.knocks().iter().filter(|knock| knock.upstream == upstream).collect();
    let one = One { scene, upstream, legs, knocks };
    let mut found = one.limited();
    let limits: Vec<Span> = found.iter().map(|failing| failing.span).collect();
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED] {
        found.extend(one.errors(rcode));
    }
    for silent in one.silences(&limits) {
        // A resolver that cannot resolve some names says SERVFAIL in the end, often after its
        // client has given up: silence and SERVFAIL for names are one failing.
        let same = found.iter_mut().find(|known| {
            known.kind == Kind::ServFail && silent.by_name && known.span.overlaps(silent.span)
        });
        match same {
            Some(known) => {
                known.legs.extend(silent.legs);
                known.legs.sort_by_key(|leg| leg.sent);
                known.span = known.span.join(silent.span);
                known.by_name = true;
            }
            None => found.push(silent),
        }
    }
    found.extend(one.unconnected());
    found.extend(one.slow());
    found
}

struct One<'a> {
    scene: &'a Scene<'a>,
    upstream: IpAddr,
    legs: Vec<&'a Leg>,
    knocks: Vec<&'a Knock>,
}

impl<'a> One<'a> {
    fn failing(&self, kind: Kind, legs: Vec<&'a Leg>, answered: u64) -> Option<Failing<'a>> {
        let span = spanning(legs.iter().map(|leg| leg.sent.ts))?;
        let new = Failing::new(self.scene, kind, Some(self.upstream), span);
        Some(Failing { legs, answered, ..new })
    }

    /// Legs within `span` that came back with something else than `fate`.
    fn answered(&self, span: Span, fate: Fate) -> Vec<&'a Leg> {
        let other = |leg: &&&Leg| leg.fate.is_answered() && leg.fate != fate;
        self.legs.iter().filter(|leg| span.contains(leg.sent.ts)).filter(other).copied().collect()
    }

    fn errors(&self, rcode: Rcode) -> Vec<Failing<'a>> {
        let kind = if rcode == Rcode::REFUSED { Kind::Refused } else { Kind::ServFail };
        let fate = Fate::Error(rcode);
        let bad: Vec<&Leg> = self.legs.iter().copied().filter(|leg| leg.fate == fate).collect();
        episodes(&bad, |leg| leg.sent.ts)
            .filter(|bad| is_enough(bad.len(), bad.iter().map(|leg| &leg.question.name)))
            .filter_map(|bad| {
                let span = spanning(bad.iter().map(|leg| leg.sent.ts))?;
                let answered = Leg::count(&self.answered(span, fate));
                let mut failing = self.failing(kind, bad.to_vec(), answered)?;
                failing.by_name = answered > Leg::count(bad);
                Some(failing)
            })
            .collect()
    }

    fn silences(&self, limits: &[Span]) -> Vec<Failing<'a>> {
        let bad: Vec<&Leg> = self
            .legs
            .iter()
            .copied()
            .filter(|leg| matches!(leg.fate, Fate::Silent | Fate::Rejected))
            .filter(|leg| !limits.iter().any(|limit| limit.contains(leg.sent.ts)))
            .collect();
        episodes(&bad, |leg| leg.sent.ts).filter_map(|bad| self.silence(bad)).collect()
    }

    fn silence(&self, bad: &[&'a Leg]) -> Option<Failing<'a>> {
        let span = spanning(bad.iter().map(|leg| leg.sent.ts))?;
        let answered = self.answered(span, Fate::Silent);
        // An upstream that is silent to EDNS alone is there for all others.
        let edns = only_without_opt(bad, &answered);
        let bad: Vec<&Leg> = bad.iter().copied().filter(|leg| !(edns && leg.opt)).collect();
        let bad = bad.as_slice();
        // Loss leaves most legs answered; an upstream that is gone does not.
        let by_name = Leg::count(&answered) > Leg::count(bad);
        let bad = if by_name { stuck(bad, &answered) } else { bad.to_vec() };
        let other_family = !only_aaaa(answered.iter().map(|leg| &*leg.question));
        let one_family = only_aaaa(bad.iter().map(|leg| &*leg.question)) && other_family;
        let enough = is_enough(bad.len(), bad.iter().map(|leg| &leg.question.name));
        if one_family || !enough {
            return None;
        }
        let failing = self.failing(Kind::Silent, bad, Leg::count(&answered))?;
        Some(Failing { by_name, ..failing })
    }

    fn unconnected(&self) -> Vec<Failing<'a>> {
        let is_bad = |knock: &&Knock| {
            !matches!(knock.outcome, ConnectOutcome::Accepted | ConnectOutcome::Unknown)
        };
        let bad: Vec<&Knock> = self.knocks.iter().copied().filter(is_bad).collect();
        let mut found = Vec::new();
        for bad in episodes(&bad, |knock| knock.sent.ts) {
            let Some(span) = spanning(bad.iter().map(|knock| knock.sent.ts)) else { continue };
            let accepted = self.knocks.iter().any(|knock| {
                knock.outcome == ConnectOutcome::Accepted && span.contains(knock.sent.ts)
            });
            if bad.len() < ENOUGH_KNOCKS || accepted {
                continue;
            }
            let over_udp = |leg: &&&Leg| {
                leg.way.transport == Transport::Udp
                    && leg.fate.is_answered()
                    && span.contains(leg.sent.ts)
            };
            let answered = Leg::count(self.legs.iter().filter(over_udp));
            let refused = bad.iter().any(|knock| knock.outcome != ConnectOutcome::Silent);
            // Silence to SYNs alone does not tell a missing TCP service from a missing host.
            let kind = if refused || answered > 0 { Kind::NoTcp } else { Kind::Silent };
            let new = Failing::new(self.scene, kind, Some(self.upstream), span);
            found.push(Failing { knocks: bad.to_vec(), answered, ..new });
        }
        found
    }

    /// Stretches in which each second brings the same number of answers, whatever was asked.
    fn limited(&self) -> Vec<Failing<'a>> {
        let mut seconds: BTreeMap<(IpAddr, i64), (u64, u64)> = BTreeMap::new();
        for leg in self.legs.iter().filter(|leg| leg.fate != Fate::Unknown) {
            let at = leg.sent.ts.nanos().div_euclid(1_000_000_000);
            let (asked, answered) = seconds.entry((leg.way.forwarder, at)).or_default();
            *asked += u64::from(leg.weight);
            *answered += u64::from(leg.weight) * u64::from(leg.fate.is_answered());
        }
        // A second over the limit leaves at least a tenth of its queries unanswered.
        let over: Vec<((IpAddr, i64), u64)> = seconds
            .into_iter()
            .filter(|(_, (asked, answered))| (asked - answered) * 10 >= *asked)
            .map(|(second, (_, answered))| (second, answered))
            .collect();
        over.chunk_by(|((one, at), _), ((other, next), _)| one == other && *next == at + 1)
            .filter(|run| run.len() >= PLATEAU)
            .filter_map(|run| {
                // The first and the last second are cut by the episode's edges.
                let middle = run.get(1..run.len() - 1)?;
                let rates: Vec<f64> = middle.iter().map(|(_, n)| *n as f64).collect();
                let mean = rates.iter().sum::<f64>() / rates.len() as f64;
                let spread = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
                let flat = (spread / rates.len() as f64).sqrt() <= FLAT * mean;
                let ((forwarder, first), (_, last)) = (run.first()?.0, run.last()?.0);
                let during = |leg: &&&Leg| {
                    let at = leg.sent.ts.nanos().div_euclid(1_000_000_000);
                    leg.way.forwarder == forwarder && (first..=last).contains(&at)
                };
                let within: Vec<&Leg> = self.legs.iter().filter(during).copied().collect();
                let answered = Leg::count(within.iter().filter(|leg| leg.fate.is_answered()));
                let silent = within.into_iter().filter(|leg| leg.fate == Fate::Silent).collect();
                (flat && mean >= BUSY)
                    .then(|| self.failing(Kind::Limited, silent, answered))
                    .flatten()
            })
            .collect()
    }

    /// Times at which answers took long. Where so few come that their slow ones stand far apart, the whole
    /// capture is one such time.
    fn slow(&self) -> Vec<Failing<'a>> {
        let is_data = |leg: &&&Leg| matches!(leg.fate, Fate::Data | Fate::Negative(_));
        let answers: Vec<&Leg> = self.legs.iter().filter(is_data).copied().collect();
        let slow: Vec<&Leg> = answers.iter().copied().filter(|leg| leg.is_slow()).collect();
        let found: Vec<Failing<'_>> = episodes(&slow, |leg| leg.sent.ts)
            .filter_map(|slow| {
                let span = spanning(slow.iter().map(|leg| leg.sent.ts))?;
                let from = answers.partition_point(|leg| leg.sent.ts < span.start);
                let to = answers.partition_point(|leg| leg.sent.ts <= span.end);
                self.slow_among(slow, answers.get(from..to)?)
            })
            .collect();
        if found.is_empty() {
            return self.slow_among(&slow, &answers).into_iter().collect();
        }
        found
    }

    fn slow_among(&self, slow: &[&'a Leg], answers: &[&Leg]) -> Option<Failing<'a>> {
        let all = Leg::count(answers);
        let few = Leg::count(slow);
        let one_family = only_aaaa(slow.iter().map(|leg| &*leg.question));
        let names = slow.iter().map(|leg| &leg.question.name);
        if all < ENOUGH_ANSWERS || few * 20 <= all || one_family || !is_enough(slow.len(), names) {
            return None;
        }
        self.failing(Kind::Slow, slow.to_vec(), all - few)
    }
}

/// Whether legs with OPT alone were silent: none of those that were answered had it, which chance does
/// not make, and hardly any without it were silent.
fn only_without_opt(bad: &[&Leg], answered: &[&Leg]) -> bool {
    const CHANCE: f64 = 0.001;
    let with_opt = |legs: &[&Leg]| legs.iter().filter(|leg| leg.opt).count();
    let plain =
        (bad.len() + answered.len() - with_opt(bad)) as f64 / (bad.len() + answered.len()) as f64;
    with_opt(answered) == 0
        && (bad.len() - with_opt(bad)) * 5 <= answered.len()
        && plain.powf(answered.len() as f64) < CHANCE
}

/// The legs of questions that were silent again and again, and never answered.
fn stuck<'a>(bad: &[&'a Leg], answered: &[&Leg]) -> Vec<&'a Leg> {
    let mut tally: BTreeMap<&Question, (u64, u64)> = BTreeMap::new();
    for leg in bad {
        tally.entry(&leg.question).or_default().0 += 1;
    }
    for leg in answered {
        let error = matches!(leg.fate, Fate::Error(_));
        tally.entry(&leg.question).or_default().1 += u64::from(!error);
    }
    bad.iter()
        .copied()
        .filter(|leg| tally.get(&*leg.question).is_some_and(|(n, ok)| *n >= STUCK && *ok == 0))
        .collect()
}

fn spanning(times: impl Iterator<Item = Timestamp>) -> Option<Span> {
    times.map(Span::at).reduce(Span::join)
}
