//! What became of datagrams between two capture points: of so many queries that left the client's
//! so many arrived at the server's, of so many answers that left there so many came back. That says
//! where they died, or how long they lay where (rulebook 6.4).

use std::time::Duration;

use super::Layer;
use super::finding::{Confidence, Fact, Finding, Where};
use super::trips::{Leg, Trip};
use crate::base::words::{Text, count, duration, plain, text};
use crate::capture::PointId;

/// Lost datagrams without which nothing is decided (rulebook `min_flows`).
const ENOUGH: u64 = 3;
/// Share of the losses that one stretch has where it is the one.
const MOST: f64 = 0.75;
/// Lost datagrams, and their share, that leave no doubt.
const CERTAIN: u64 = 5;
const SURELY: f64 = 0.9;

/// What became of the datagrams of some transactions between two points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    near: String,
    far: String,
    /// Queries that the client's node did not send on.
    pub kept: u64,
    /// Queries that left the client's point,
    pub left: u64,
    /// and of them arrived at the server's.
    pub arrived: u64,
    /// Answers that left the server's point,
    pub replied: u64,
    /// and of them arrived at the client's.
    pub returned: u64,
    /// How long the slow ones took: to the server's point, there, and back.
    pub pace: Option<Pace>,
}

/// Medians of slow transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the client's point to the server's.
    pub there: Duration,
    /// From the query's arrival at the server's point to the answer.
    pub inside: Duration,
    /// From the server's point to the client's.
    pub back: Duration,
    /// Of so many transactions.
    pub of: u64,
}

impl Stretch {
    /// Nothing yet, between points of these names.
    pub(super) fn between((near, far): (String, String)) -> Self {
        Self { near, far, kept: 0, left: 0, arrived: 0, replied: 0, returned: 0, pace: None }
    }

    /// Counts a transaction.
    pub(super) fn add(&mut self, trip: &Trip, far: PointId) {
        let number =
            |leg: Option<&Leg>, of: fn(&Leg) -> u16| leg.map_or(0, |leg| u64::from(of(leg)));
        let (home, far) = (trip.leg(trip.home), trip.leg(far));
        let weight = u64::from(trip.weight);
        let sent = number(home, |leg| leg.queries);
        let kept = u64::from(trip.kept).min(sent);
        let returned = number(home, |leg| leg.answers);
        // An answer that came has left, and its query has arrived, whether or not the far point
        // has recorded them: what a capture misses is no loss.
        let replied = number(far, |leg| leg.answers).max(returned);
        let arrived = number(far, |leg| leg.queries).max(replied);
        let left = (sent - kept).max(arrived);
        self.kept += kept * weight;
        self.left += left * weight;
        self.arrived += arrived * weight;
        self.replied += replied * weight;
        self.returned += returned * weight;
    }

    /// How many datagrams ended on the client's node, on the way to the server's point, there, and
    /// on the way back.
    fn lost(&self) -> [(Where, u64); 4] {
        [
            (Where::ClientNode, self.kept),
            (Where::PathToServer, self.left.saturating_sub(self.arrived)),
            (Where::Server, self.arrived.saturating_sub(self.replied)),
            (Where::PathToClient, self.replied.saturating_sub(self.returned)),
        ]
    }

    /// Where datagrams were lost or waited, and whether that is beyond doubt; `None` where it
    /// was not at one place.
    pub fn verdict(&self) -> Option<(Where, bool)> {
        let lost = self.lost();
        let total: u64 = lost.iter().map(|(_, lost)| lost).sum();
        let (place, most) = lost.into_iter().max_by_key(|(_, lost)| *lost)?;
        if total < ENOUGH {
            return self.slow();
        }
        let share = |part: u64| part as f64 / total as f64;
        if share(most) >= MOST {
            return Some((place, most >= CERTAIN && share(most) >= SURELY));
        }
        // The way loses them, one direction more than the other.
        let [_, (_, there), _, (_, back)] = lost;
        let way = if there >= back { Where::PathToServer } else { Where::PathToClient };
        (share(there + back) >= MOST).then_some((way, false))
    }

    /// Where slow transactions spent their time.
    fn slow(&self) -> Option<(Where, bool)> {
        let pace = self.pace?;
        let parts = [
            (Where::PathToServer, pace.there),
            (Where::Server, pace.inside),
            (Where::PathToClient, pace.back),
        ];
        let (place, longest) = parts.into_iter().max_by_key(|(_, part)| *part)?;
        let total: Duration = parts.iter().map(|(_, part)| *part).sum();
        let share = longest.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
        (pace.of >= ENOUGH && share >= MOST)
            .then_some((place, pace.of >= CERTAIN && share >= SURELY))
    }

    /// The facts that it gives.
    pub fn facts(&self) -> Vec<Fact> {
        let (near, far) = (plain(&self.near), plain(&self.far));
        let mut facts = vec![Fact {
            label: text!("queries under way"),
            value: text!(
                "of {left} that left {near}, {arrived} arrived at {far}",
                left = self.left,
                near = near.clone(),
                arrived = self.arrived,
                far = far.clone()
            ),
        }];
        let mut say = |label, value| facts.push(Fact { label, value });
        if self.kept > 0 {
            say(
                text!("queries that never left"),
                text!("{queries} ended at {near}", queries = self.kept, near = near.clone()),
            );
        }
        say(
            text!("answers under way"),
            text!(
                "of {left} that left {far}, {arrived} arrived at {near}",
                left = self.replied,
                far = far.clone(),
                arrived = self.returned,
                near
            ),
        );
        if let Some(Pace { there, inside, back, of }) = self.pace {
            say(
                text!("time of slow answers"),
                text!(
                    "{there} to {far}, {inside} there, {back} back (medians of {of})",
                    there = duration(there),
                    far,
                    inside = duration(inside),
                    back = duration(back),
                    of
                ),
            );
        }
        facts
    }

    /// What it decides, in one sentence.
    pub fn sentence(&self) -> Option<Text> {
        let (near, far) = (plain(&self.near), plain(&self.far));
        let (place, _) = self.verdict()?;
        let total: u64 = self.lost().iter().map(|(_, lost)| lost).sum();
        let late = total < ENOUGH;
        let queries = |n| count(n, "query");
        let answers = count(self.replied, "answer");
        Some(match (place, late) {
            (Where::PathToServer, false) => text!(
                " The capture of {far} decides it: of {queries} that left {near}, {arrived} arrived \
                 there, so the way to the server loses them.",
                far,
                queries = queries(self.left),
                near,
                arrived = self.arrived
            ),
            (Where::PathToClient, false) => text!(
                " The capture of {far} decides it: of {answers} that left there, {arrived} arrived \
                 at {near}, so the way back loses them.",
                far,
                answers,
                arrived = self.returned,
                near
            ),
            (Where::Server, false) => text!(
                " The capture of {far} decides it: {queries} arrived there, and {answers} left, so \
                 it is the server and not the way.",
                far,
                queries = queries(self.arrived),
                answers
            ),
            (Where::ClientNode, false) => text!(
                " {queries} ended on the client's node: {arrived} that left {near} arrived at {far}.",
                queries = queries(self.kept),
                arrived = self.arrived,
                near,
                far
            ),
            (Where::PathToServer, true) => {
                text!(" The capture of {far} decides it: the queries were late there already.", far)
            }
            (Where::PathToClient, true) => text!(
                " The capture of {far} decides it: the answers left there in time, so the way back \
                 holds them up.",
                far
            ),
            _ => text!(
                " The capture of {far} decides it: the time passes between a query's arrival there \
                 and its answer, so it is the server and not the way.",
                far
            ),
        })
    }

    /// Adds to a finding what it shows.
    pub(super) fn tell(&self, finding: &mut Finding) {
        finding.facts.extend(self.facts());
        let Some((place, certain)) = self.verdict() else { return };
        let open = finding.place == Where::Unknown;
        if (open || matches!(finding.rule.layer, Layer::Path | Layer::Service | Layer::Residual))
            && finding.place != place
        {
            finding.place = place;
        }
        if finding.place == place {
            if certain && finding.rule.layer != Layer::Kernel {
                finding.confidence = Confidence::Confirmed;
            }
            if let Some(sentence) = self.sentence() {
                finding.cause.push(sentence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many queries left, arrived, so many answers left, came back.
    fn stretch([left, arrived, replied, returned]: [u64; 4]) -> Stretch {
        let points = ("client".to_owned(), "dns".to_owned());
        Stretch { left, arrived, replied, returned, ..Stretch::between(points) }
    }

    #[test]
    fn the_place_is_where_most_datagrams_end() {
        let of = |counts| stretch(counts).verdict();
        assert_eq!(of([100, 80, 80, 80]), Some((Where::PathToServer, true)));
        assert_eq!(of([100, 100, 80, 80]), Some((Where::Server, true)));
        assert_eq!(of([100, 100, 100, 80]), Some((Where::PathToClient, true)));
        let kept = Stretch { kept: 9, ..stretch([100, 100, 100, 100]) };
        assert_eq!(kept.verdict(), Some((Where::ClientNode, true)));
    }

    #[test]
    fn two_losses_decide_nothing_and_three_leave_a_doubt() {
        assert_eq!(stretch([100, 98, 98, 98]).verdict(), None);
        assert_eq!(stretch([100, 97, 97, 97]).verdict(), Some((Where::PathToServer, false)));
    }

    #[test]
    fn losses_in_both_directions_are_the_ways() {
        assert_eq!(stretch([100, 88, 88, 80]).verdict(), Some((Where::PathToServer, false)));
        // The client's node, the server and the way each lose some: it is no one place.
        let mixed = Stretch { kept: 6, ..stretch([100, 94, 88, 82]) };
        assert_eq!(mixed.verdict(), None);
    }

    #[test]
    fn slow_answers_lie_where_their_time_passes() {
        let pace = |there, inside, back, of| {
            let [there, inside, back] = [there, inside, back].map(Duration::from_millis);
            Stretch { pace: Some(Pace { there, inside, back, of }), ..stretch([20; 4]) }.verdict()
        };
        assert_eq!(pace(1, 800, 1, 9), Some((Where::Server, true)));
        assert_eq!(pace(1, 1, 5_000, 4), Some((Where::PathToClient, false)));
        assert_eq!(pace(1, 800, 1, 2), None, "two are too few");
        assert_eq!(pace(400, 400, 1, 9), None, "half here and half there");
    }
}
