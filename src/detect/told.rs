//! How often each server gave each answer to each question.
//!
//! While the capture is read, all of them stand in one row, in few bytes: there are well over a hundred
//! thousand, and most questions have three or four.

use std::num::NonZero;
use std::time::Duration;

use super::answers::Answer;
use super::asked::ServerId;
use super::kept::{Kept, Place};
use super::turns::Said;
use crate::base::{Blocks, Map, Span, Timestamp};
use crate::capture::Seen;
use crate::dns::Records;

/// Example frames kept for each answer.
pub(super) const FRAMES: usize = 4;

/// How often one server gave one answer to one question.
#[derive(Debug)]
pub struct Told {
    /// The first and the last time that it arrived.
    pub span: Span,
    first: Seen,
    /// The next few answers, as far as there were so many.
    next: Option<Box<Next>>,
    times: u32,
    hasty: u32,
    /// See [`Told::longest_ttl`], in seconds.
    longest_ttl: u32,
    ended: u32,
    /// The latest of those lookups that is kept.
    last: Place,
    /// Who gave it: the backend where it is known, else the address asked.
    pub(super) server: ServerId,
    pub(super) answer: Answer,
}

/// The frames of the second answer and of those after it; of the latest one where there are no more.
type Next = [Seen; FRAMES - 1];

/// Where an answer stands among all, counted from 1.
pub(super) type Link = Option<At>;
type At = NonZero<u32>;

/// Answers while more come.
#[derive(Debug, Default)]
pub(super) struct Rows {
    all: Blocks<Row>,
    next: Blocks<Next>,
    /// See [`Told::hasty`]; hardly any is.
    hasty: Map<At, u32>,
    /// A row that is free; it leads to the others.
    free: Link,
}

#[derive(Debug)]
struct Row {
    span: Span,
    first: Seen,
    times: u32,
    ended: u32,
    /// How many seconds its latest one may be cached, if that is the latest answer of its server.
    ttl: Option<NonZero<u32>>,
    longest_ttl: u32,
    last: Place,
    /// The place of the next few frames, counted from 1.
    next: Link,
    /// The one before it of the same question.
    before: Link,
    server: ServerId,
    answer: Answer,
}

/// What an answer says beside those that came before.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Where it stands, if it came before.
    pub(super) known: Link,
    /// Whether there are others.
    pub(super) contradicts: bool,
    /// Whether it replaces another one of its server that is still valid.
    pub(super) hasty: bool,
}

impl Rows {
    /// Whether this server gave this answer, among those that lead from `latest`.
    pub(super) fn has(&self, latest: Link, (server, answer): (ServerId, Answer)) -> bool {
        self.of(latest).any(|row| row.server == server && row.answer == answer)
    }

    /// Holds an answer that came at `ts` against those that lead from `latest`, of which `alike` says that
    /// they are all one.
    pub(super) fn compare(
        &mut self,
        latest: Link,
        (server, answer): (ServerId, Answer),
        ts: Timestamp,
        alike: bool,
    ) -> News {
        let mut news = News::default();
        let mut link = latest;
        while let Some(at) = link
            && let Some(row) = self.get_mut(at)
        {
            let other = row.answer != answer;
            news.contradicts |= other;
            if row.server == server {
                if alike && !other {
                    // This server gave no other one, and those of others say the same.
                    news.known = link;
                    break;
                }
                let valid = row.ttl.take().map(|ttl| row.span.end.after(seconds(ttl.get())));
                news.hasty |= other && valid.is_some_and(|until| ts < until);
                news.known = if other { news.known } else { link };
            }
            link = row.before;
        }
        news
    }

    /// A row for an answer that is to be noted as it arrives at `first`.
    pub(super) fn add(
        &mut self,
        first: Seen,
        (server, answer): (ServerId, Answer),
        before: Link,
    ) -> Link {
        let row = Row {
            span: Span::at(first.ts),
            first,
            times: 0,
            ended: 0,
            ttl: None,
            longest_ttl: 0,
            last: None,
            next: None,
            before,
            server,
            answer,
        };
        if let Some(at) = self.free {
            let free = self.get_mut(at)?;
            let next = std::mem::replace(free, row).before;
            self.free = next;
            return Some(at);
        }
        let at = link(self.all.len())?;
        self.all.push(row);
        Some(at)
    }

    /// Takes down that it arrived at `seen`.
    pub(super) fn note(&mut self, at: At, seen: Seen, records: &Records, hasty: bool) {
        let Self { all, next, .. } = self;
        let Some(row) = all.get_mut(place(at)) else { return };
        row.ttl = NonZero::new(records.min_ttl.unwrap_or(0));
        row.span = row.span.with(seen.ts);
        let ttl = if row.answer.is_data() { records.min_ttl } else { records.negative_ttl() };
        row.longest_ttl = row.longest_ttl.max(ttl.unwrap_or(0));
        if let Some(later) = (row.times as usize).checked_sub(1).filter(|at| *at < FRAMES - 1) {
            if row.next.is_none() {
                row.next = link(next.len());
                next.push([seen; FRAMES - 1]);
            }
            let next = row.next.and_then(|at| next.get_mut(place(at)));
            next.into_iter().flatten().skip(later).for_each(|later| *later = seen);
        }
        row.times = row.times.saturating_add(1);
        if hasty {
            let times = self.hasty.entry(at).or_default();
            *times = times.saturating_add(1);
        }
    }

    /// Takes down that a lookup ended with it. Says how many did, and which of them was kept last.
    pub(super) fn end(&mut self, at: At) -> Option<(u32, &mut Place)> {
        let row = self.get_mut(at)?;
        row.ended = row.ended.saturating_add(1);
        Some((row.ended, &mut row.last))
    }

    /// Frees the rows that lead from `latest`, of answers that came only once, and the lookups that
    /// ended with them.
    pub(super) fn forget(&mut self, latest: Link, kept: &mut Kept) {
        let mut link = latest;
        while let Some(at) = link {
            let free = self.free;
            let Some(row) = self.get_mut(at) else { return };
            kept.forget(row.last.take());
            link = std::mem::replace(&mut row.before, free);
            self.free = Some(at);
        }
    }

    /// The kind of the answer at `latest`.
    pub(super) fn said(&self, latest: Link) -> Option<Said> {
        self.of(latest).next().map(|row| row.answer.into())
    }

    /// All that lead from `latest`.
    pub(super) fn told(&self, latest: Link) -> Vec<Told> {
        let mut told = Vec::with_capacity(self.of(latest).count());
        let mut link = latest;
        while let Some((at, row)) = link.and_then(|at| Some((at, self.all.get(place(at))?))) {
            let next = row.next.and_then(|at| self.next.get(place(at)));
            told.push(Told {
                span: row.span,
                first: row.first,
                next: next.map(|next| Box::new(*next)),
                times: row.times,
                hasty: self.hasty.get(&at).copied().unwrap_or(0),
                longest_ttl: row.longest_ttl,
                ended: row.ended,
                last: row.last,
                server: row.server,
                answer: row.answer,
            });
            link = row.before;
        }
        told
    }

    fn of(&self, latest: Link) -> impl Iterator<Item = &Row> {
        let row = |link: Link| self.all.get(place(link?));
        std::iter::successors(row(latest), move |before| row(before.before))
    }

    fn get_mut(&mut self, at: At) -> Option<&mut Row> {
        self.all.get_mut(place(at))
    }
}

fn place(at: At) -> usize {
    at.get() as usize - 1
}

/// The link to what stands at `place`.
fn link(place: usize) -> Link {
    u32::try_from(place + 1).ok().and_then(NonZero::new)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

impl Told {
    /// How often.
    pub fn times(&self) -> u64 {
        u64::from(self.times)
    }

    /// Of them, how often it replaced another answer of this server that was still valid by its
    /// own TTL.
    pub fn hasty(&self) -> u64 {
        u64::from(self.hasty)
    }

    /// Lookups that ended with it.
    pub fn ended(&self) -> u64 {
        u64::from(self.ended)
    }

    /// How long it may be cached, where it may longest: by the TTL of its records, or, where it is
    /// negative, by its SOA record (RFC 2308 section 5).
    pub fn longest_ttl(&self) -> Duration {
        seconds(self.longest_ttl)
    }

    /// The first few answers.
    pub fn frames(&self) -> impl Iterator<Item = Seen> {
        let next = self.next.iter().flat_map(|next| next.iter());
        std::iter::once(&self.first).chain(next).take(self.times as usize).copied()
    }

    /// The latest lookup that ended with it, of those that are kept.
    pub(super) fn last(&self) -> Place {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are more than a hundred thousand of them.
    #[test]
    fn an_answer_takes_few_bytes() {
        assert_eq!(size_of::<Row>(), 72);
    }
}
