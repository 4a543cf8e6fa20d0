//! How the answers to one question took turns: from when to when each server said yes, and no.
//!
//! What is kept of an answer (see [`super::told`]) tells the first time and the last. A name that was gone
//! for a minute in the middle has data from the first to the last, and so has one that comes and goes.

use std::net::IpAddr;
use std::time::Duration;

use super::answers::Answer;
use super::asked::ServerId;
use super::told::Told;
use crate::base::{Span, Timestamp};

/// Turns kept for one question. In one with more, the last ones of each server grow.
const MAX_TURNS: usize = 512;
/// Turns kept in all.
pub(super) const MAX_ALL: usize = 1 << 17;

/// The kinds of answers that are told apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// Records of the type that was asked for, whichever.
    Data,
    /// NXDOMAIN.
    NoName,
    /// NOERROR without a record that answers the question.
    NoData,
    /// Another response code.
    Error,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Data(_) => Self::Data,
            Answer::NoName => Self::NoName,
            Answer::NoData => Self::NoData,
            Answer::Error(_) => Self::Error,
        }
    }
}

/// A time in which one server gave one kind of answer, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn<S = IpAddr> {
    /// Who gave them.
    pub server: S,
    /// From its first answer to its last.
    pub span: Span,
    /// How many they were.
    pub times: u32,
    /// What they said.
    pub said: Said,
}

/// The turns of one question of which servers, or one at two times, gave answers of two kinds; in the
/// order in which they began.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<Turn<ServerId>>);

impl Turns {
    /// Begins with what was `told` so far, which is all of one kind.
    pub(super) fn begin(told: &[Told]) -> Self {
        let mut turns: Vec<Turn<ServerId>> = Vec::new();
        for told in told {
            let turn = Turn::of(told.server, told);
            if let Some(known) = turns.iter_mut().find(|known| known.server == turn.server) {
                known.span = known.span.join(turn.span);
                known.times = known.times.saturating_add(turn.times);
            } else {
                turns.push(turn);
            }
        }
        turns.sort_by_key(|turn| turn.span.start);
        Self(turns)
    }

    /// Takes down that `server` gave such an answer at `ts`; false if that takes no further room.
    pub(super) fn note(&mut self, server: ServerId, said: Said, ts: Timestamp, room: bool) -> bool {
        let full = !room || self.0.len() >= MAX_TURNS;
        let mut own = self.0.iter_mut().rev().filter(|turn| turn.server == server);
        if let Some(last) = own.next() {
            // Lookups end in another order than their answers came in.
            let late = ts < last.span.start;
            let known = if last.said == said {
                Some(last)
            } else {
                own.find(|turn| turn.said == said).filter(|_| late || full)
            };
            if let Some(known) = known {
                known.span = known.span.with(ts);
                known.times = known.times.saturating_add(1);
                return false;
            }
        }
        if full {
            return false;
        }
        self.0.push(Turn { span: Span::at(ts), times: 1, said, server });
        true
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, with the address that `server` knows each of their servers by.
    pub(super) fn close(self, server: impl Fn(ServerId) -> Option<IpAddr>) -> Box<[Turn]> {
        let named = self.0.into_iter().filter_map(|Turn { server: id, span, times, said }| {
            Some(Turn { server: server(id)?, span, times, said })
        });
        let mut turns: Vec<Turn> = named.collect();
        turns.sort_by_key(|turn| (turn.span.start, turn.server, turn.said));
        turns.into()
    }
}

impl<S> Turn<S> {
    /// That of an answer whose server gave none of another kind.
    pub(super) fn of(server: S, told: &Told) -> Self {
        let times = u32::try_from(told.times()).unwrap_or(u32::MAX);
        Self { server, span: told.span, times, said: told.answer.into() }
    }

    /// How long it and another one lasted at the same time.
    pub fn along<T>(&self, other: &Turn<T>) -> Duration {
        self.span.end.min(other.span.end).since(self.span.start.max(other.span.start))
    }
}

/// A time in which whoever was asked for a name denied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// From the first denial to the last.
    pub span: Span,
    /// How many there were.
    pub times: u64,
    /// Whether answers with data came before and after.
    pub before: bool,
    /// See [`Absence::before`].
    pub after: bool,
}

/// The times in which a name of these `turns` was absent.
///
/// A change reaches every server within `lag`, and for so long both answers may be seen. `None` if they
/// were seen together for longer: then the servers disagree.
pub fn absences(turns: &[Turn], lag: Duration) -> Option<Vec<Absence>> {
    let of = |said: Said| turns.iter().filter(move |turn| turn.said == said);
    let data: Vec<Span> = of(Said::Data).map(|turn| turn.span).collect();
    let mut denied: Vec<&Turn> = of(Said::NoName).collect();
    denied.sort_by_key(|turn| turn.span.start);
    let mut absences: Vec<Absence> = Vec::new();
    for turn in denied {
        let times = u64::from(turn.times);
        // Data that came back between two denials parts them.
        let joins = |last: &&mut Absence| {
            let Span { start, end } = last.span;
            let back = |data: &&Span| data.start > start && data.end > end;
            !data.iter().filter(back).any(|data| data.start < turn.span.start)
        };
        if let Some(last) = absences.last_mut().filter(joins) {
            last.span = last.span.join(turn.span);
            last.times += times;
        } else {
            absences.push(Absence { span: turn.span, times, before: false, after: false });
        }
    }
    for absence in &mut absences {
        let Absence { span, before, after, .. } = absence;
        for data in &data {
            let overlap = data.end.min(span.end).since(data.start.max(span.start));
            let within = data.start > span.start && data.end < span.end;
            if data.overlaps(*span) && (within || overlap > lag) {
                return None;
            }
            *before |= data.start < span.start;
            *after |= data.end > span.end;
        }
    }
    Some(absences)
}
