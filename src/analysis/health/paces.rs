//! Looks at frames as they come: the pace of every point, and what the filter let pass.

use super::pace::{Pace, Turn};
use super::watch::{Notice, Overlap, Step};
use crate::base::Span;
use crate::capture::{PointId, Seen};
use crate::dns::{Message, Question};
use crate::flow::Observed;
use crate::packet::{Body, Packet};

/// The paces of all points.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Paces {
    points: Vec<Pace>,
    icmp: u64,
    later_fragments: u64,
}

impl Paces {
    /// Takes the next frame if there is nothing to say of it; see [`Self::frame`] for all others.
    #[inline]
    pub(in crate::analysis) fn goes_on(&mut self, seen: Seen, point: PointId) -> bool {
        self.points.get_mut(usize::from(point.0)).is_some_and(|pace| pace.goes_on(seen))
    }

    /// Takes the next frame, and returns what it shows.
    pub(in crate::analysis) fn frame(&mut self, seen: Seen, point: PointId) -> Option<Notice> {
        match self.pace(point).frame(seen) {
            Turn::None => None,
            Turn::Back { last, back } => {
                let (earlier, later) = (last.at.file(), seen.at.file());
                Some(if earlier == later {
                    Notice::Step(Step { at: last.ts, back })
                } else {
                    Notice::Overlap(Overlap { earlier, later, by: back })
                })
            }
            Turn::Hole(span) => Some(Notice::Gap(span)),
        }
    }

    /// Takes what a frame holds.
    pub(in crate::analysis) fn packet(&mut self, packet: &Packet<'_>) {
        match &packet.body {
            Body::Icmp(_) => self.icmp += 1,
            Body::Fragment(fragment) => self.later_fragments += u64::from(fragment.offset > 0),
            _ => {}
        }
    }

    /// Takes a message.
    #[inline]
    pub(in crate::analysis) fn message(&mut self, observed: &Observed, message: &Message) {
        if !message.header.is_response()
            && let Some(question) = &message.question
        {
            self.question(observed, question);
        }
    }

    fn question(&mut self, observed: &Observed, question: &Question) {
        let client = observed.tuple.src.ip();
        self.pace(observed.via.point).asked(observed.seen.ts, client, &question.name);
    }

    /// The capture is over; returns the holes shortly before its end, and what else is to be said.
    pub(in crate::analysis) fn finish(&mut self) -> (Vec<Span>, Notice) {
        let last = self.points.iter_mut().filter_map(Pace::finish).collect();
        let Self { icmp, later_fragments, .. } = *self;
        (last, Notice::Kinds { icmp, later_fragments })
    }

    #[inline]
    fn pace(&mut self, point: PointId) -> &mut Pace {
        let place = usize::from(point.0);
        if place >= self.points.len() {
            self.points.resize_with(place + 1, Pace::default);
        }
        &mut self.points[place]
    }
}
